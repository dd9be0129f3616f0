# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP segments on the wire: RFC 9293, section 3.1, with the options MSS (section 3.7.1) and window scale (RFC 7323, section 2)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, unpack_from

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
_MAX_WINDOW_SCALE = 14


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


def syn_options(mss: int, window_scale: int | None) -> bytes:
    """Return the options of a SYN."""
    options = pack("!BBH", _OPTION_MSS, 4, mss)
    return options if window_scale is None else options + pack("!BBBB", _OPTION_NOP, _OPTION_WINDOW_SCALE, 3, window_scale)


def read_syn_options(options: bytes) -> tuple[int | None, int | None]:
    """Return MSS and window scale that a SYN offers, None for what is missing or malformed."""
    mss = window_scale = None
    offset = 0
    while offset < len(options) and options[offset] != _OPTION_END:
        if options[offset] == _OPTION_NOP:
            offset += 1
            continue
        size = options[offset + 1] if offset + 1 < len(options) else 0
        if size < 2 or offset + size > len(options):
            break
        if options[offset] == _OPTION_MSS and size == 4:
            (mss,) = unpack_from("!H", options, offset + 2)
        elif options[offset] == _OPTION_WINDOW_SCALE and size == 3:
            window_scale = min(options[offset + 2], _MAX_WINDOW_SCALE)
        offset += size
    return mss, window_scale
