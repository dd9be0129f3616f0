# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP segments on the wire: RFC 9293, section 3.1, with the options MSS (section 3.7.1), window scale (RFC 7323) and SACK (RFC 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import iter_unpack, pack, unpack_from

from lab.net.checksum import IPPROTO_TCP, Buffer
from lab.net.frame import Frame
from lab.net.path import Path

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10

_OPTION_END = 0
_OPTION_NOP = 1
_OPTION_MSS = 2
_OPTION_WINDOW_SCALE = 3
_OPTION_SACK_PERMITTED = 4
_OPTION_SACK = 5
_MAX_WINDOW_SCALE = 14
MAX_SACK_BLOCKS = 4
"""As many as fit in 40 bytes of options."""


@dataclass(slots=True)
class Segment:
    """One received segment."""

    sequence: int
    acknowledgment: int
    flags: int
    window: int
    """As in the header, not scaled."""
    options: bytes
    payload: bytes

    @property
    def length(self) -> int:
        """Sequence numbers that the segment takes: payload, SYN and FIN."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


def read_segment(frame: Buffer, parsed: Frame) -> Segment:
    """Take apart a TCP frame that `verify()` found good."""
    assert parsed.l4_offset is not None
    start = parsed.l4_offset
    sequence, acknowledgment, _, flags, window = unpack_from("!IIBBH", frame, start + 4)
    view = memoryview(frame)
    header_end = start + parsed.l4_header_length
    options = bytes(view[start + 20 : header_end])
    return Segment(sequence, acknowledgment, flags, window, options, bytes(view[header_end : parsed.l3_end]))


def build_segment(
    path: Path,
    ports: tuple[int, int],
    *,
    sequence: int,
    acknowledgment: int,
    flags: int,
    window: int,
    options: bytes = b"",
    payload: Buffer = b"",
) -> bytes:
    """Return the frame of one segment; `ports` are own and peer's, `options` has a multiple of 4 bytes, the numbers may exceed 32 bits."""
    offset = (20 + len(options)) // 4 << 4
    fixed = pack("!HHIIBBHHH", *ports, sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF, offset, flags, window, 0, 0)
    return path.packet(IPPROTO_TCP, bytearray(fixed + options), 16, payload)


@dataclass(slots=True)
class SynOptions:
    """What a SYN offers."""

    mss: int | None = None
    window_scale: int | None = None
    sack: bool = False

    def build(self) -> bytes:
        """Return the options as they are sent, padded to a multiple of 4 bytes."""
        options = b""
        if self.mss is not None:
            options += pack("!BBH", _OPTION_MSS, 4, self.mss)
        if self.window_scale is not None:
            options += pack("!BBBB", _OPTION_NOP, _OPTION_WINDOW_SCALE, 3, self.window_scale)
        if self.sack:
            options += pack("!BBBB", _OPTION_NOP, _OPTION_NOP, _OPTION_SACK_PERMITTED, 2)
        return options


def read_syn_options(options: bytes) -> SynOptions:
    """Return what a SYN offers; what is missing or malformed is left out."""
    result = SynOptions()
    for kind, value in _walk_options(options):
        if kind == _OPTION_MSS and len(value) == 2:
            result.mss = int.from_bytes(value, "big")
        elif kind == _OPTION_WINDOW_SCALE and len(value) == 1:
            result.window_scale = min(value[0], _MAX_WINDOW_SCALE)
        elif kind == _OPTION_SACK_PERMITTED and not value:
            result.sack = True
    return result


def sack_option(blocks: list[tuple[int, int]]) -> bytes:
    """Return the SACK option for at most MAX_SACK_BLOCKS blocks: first number and number behind the last of each."""
    if not blocks:
        return b""
    edges = b"".join(pack("!II", start & 0xFFFFFFFF, end & 0xFFFFFFFF) for start, end in blocks)
    return pack("!BBBB", _OPTION_NOP, _OPTION_NOP, _OPTION_SACK, 2 + len(edges)) + edges


def read_sack_blocks(options: bytes) -> list[tuple[int, int]]:
    """Return the blocks of a SACK option, as 32-bit numbers."""
    blocks = []
    for kind, value in _walk_options(options):
        if kind == _OPTION_SACK and len(value) % 8 == 0:
            blocks += list(iter_unpack("!II", value))
    return blocks


def _walk_options(options: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and value of each option up to the end or to the first that is malformed."""
    offset = 0
    while offset < len(options) and options[offset] != _OPTION_END:
        if options[offset] == _OPTION_NOP:
            offset += 1
            continue
        size = options[offset + 1] if offset + 1 < len(options) else 0
        if size < 2 or offset + size > len(options):
            return
        yield options[offset], options[offset + 2 : offset + size]
        offset += size
