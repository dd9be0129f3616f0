# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stateless offloads of a NIC: checksums and TCP segmentation on the way out, verification on the way in."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack_into, unpack_from

from lab.net.checksum import (
    IPPROTO_TCP,
    IPPROTO_UDP,
    Buffer,
    fold,
    internet_checksum,
    ones_complement_sum,
    pseudo_header_sum,
    transport_checksum,
)
from lab.net.frame import Frame, parse

_TCP_FIN = 0x01
_TCP_PSH = 0x08
_TCP_CWR = 0x80

# Offsets of the checksum field in each header.
_IPV4_CHECK = 10
_TCP_CHECK = 16
_UDP_CHECK = 6


@dataclass(slots=True)
class Verdict:
    """What a receiver found: True is good, False is bad, None is not applicable or not checked."""

    ip: bool | None = None
    tcp: bool | None = None
    udp: bool | None = None


def fill_checksums(frame: bytearray, *, ip: bool, tcp: bool, udp: bool) -> None:
    """Compute in place the checksums that the driver asked for; a request that does not fit the frame is ignored, as hardware does.

    Whatever the fields hold is ignored: drivers leave the sum of the pseudo header there (CHECKSUM_PARTIAL in Linux). Headers are found by
    parsing, because for UDP mana gives no offset. Fragments keep their transport checksum, which covers more than is here.
    """
    parsed = parse(frame)
    if ip and parsed.ip_version == 4 and parsed.ip_header_length:
        _fill_ipv4(frame, parsed)
    if _has_whole_segment(parsed) and ((tcp and parsed.l4_protocol == IPPROTO_TCP) or (udp and parsed.l4_protocol == IPPROTO_UDP)):
        _fill_transport(frame, parsed)


def _fill_ipv4(frame: bytearray, parsed: Frame) -> None:
    start = parsed.l2_length
    pack_into("!H", frame, start + _IPV4_CHECK, 0)
    pack_into("!H", frame, start + _IPV4_CHECK, internet_checksum(memoryview(frame)[start : start + parsed.ip_header_length]))


def _fill_transport(frame: bytearray, parsed: Frame) -> None:
    assert parsed.l4_offset is not None and parsed.l4_protocol is not None
    end = _segment_end(frame, parsed)
    if end is None:
        return
    field = parsed.l4_offset + (_TCP_CHECK if parsed.l4_protocol == IPPROTO_TCP else _UDP_CHECK)
    pack_into("!H", frame, field, 0)
    segment_bytes = memoryview(frame)[parsed.l4_offset : end]
    pack_into("!H", frame, field, transport_checksum(parsed.src, parsed.dst, parsed.l4_protocol, segment_bytes))


def _has_whole_segment(parsed: Frame) -> bool:
    """Return whether everything that a TCP or UDP checksum covers is in the frame."""
    return bool(parsed.l4_header_length) and not (parsed.is_fragment or parsed.is_truncated or parsed.is_routed)


def _segment_end(frame: Buffer, parsed: Frame) -> int | None:
    """Return the offset behind the transport segment; UDP brings its own length, which may be shorter than IP's. None if that is wrong."""
    if parsed.l4_protocol != IPPROTO_UDP:
        return parsed.l3_end
    assert parsed.l4_offset is not None
    (udp_length,) = unpack_from("!H", frame, parsed.l4_offset + 4)
    return parsed.l4_offset + udp_length if 8 <= udp_length <= parsed.l4_length else None


def verify(frame: Buffer, parsed: Frame | None = None) -> Verdict:
    """Check the checksums of a received frame; `parsed` saves parsing it again.

    Not checked: transport of fragments and of truncated packets, UDP over IPv4 without a checksum (RFC 768). UDP over IPv6 must have one
    (RFC 8200, section 8.1), so 0 there is bad, and so is a UDP length that does not fit the packet.
    """
    if parsed is None:
        parsed = parse(frame)
    verdict = Verdict()
    view = memoryview(frame)
    if parsed.ip_version == 4 and parsed.ip_header_length:
        start = parsed.l2_length
        verdict.ip = ones_complement_sum(view[start : start + parsed.ip_header_length]) == 0xFFFF
    if not _has_whole_segment(parsed):
        return verdict
    assert parsed.l4_offset is not None and parsed.l4_protocol is not None
    if parsed.l4_protocol == IPPROTO_UDP:
        end = _segment_end(frame, parsed)
        if end is None:
            verdict.udp = False
        elif frame[parsed.l4_offset + _UDP_CHECK] or frame[parsed.l4_offset + _UDP_CHECK + 1]:
            verdict.udp = _is_good(view[parsed.l4_offset : end], parsed)
        else:
            verdict.udp = None if parsed.ip_version == 4 else False
    else:
        verdict.tcp = _is_good(view[parsed.l4_offset : parsed.l3_end], parsed)
    return verdict


def _is_good(segment_bytes: memoryview, parsed: Frame) -> bool:
    assert parsed.l4_protocol is not None
    pseudo = pseudo_header_sum(parsed.src, parsed.dst, parsed.l4_protocol, len(segment_bytes))
    return not internet_checksum(segment_bytes, pseudo)


def segment(frame: Buffer, mss: int) -> list[bytes]:
    """Cut a TCP frame into frames of at most `mss` bytes of TCP payload each, with every length and checksum right (TSO, LSO).

    A TCP frame that fits comes back as one frame, its lengths and checksums filled in as well; any other frame comes back as it is.
    VLAN tags, IP options, extension headers and TCP options are repeated in every frame. A zero IP length means "up to the end of the
    frame", as `parse(lso=True)` says. Raises ValueError if `mss` is below 1.
    """
    if mss < 1:
        raise ValueError(f"mss must be positive, not {mss}")
    parsed = parse(frame, lso=True)
    if parsed.l4_protocol != IPPROTO_TCP or not _has_whole_segment(parsed):
        return [bytes(frame)]
    assert parsed.l3_offset is not None and parsed.l4_offset is not None
    l3, l4 = parsed.l3_offset, parsed.l4_offset
    payload_start = l4 + parsed.l4_header_length
    payload_end = parsed.l3_end
    # No frame may outgrow the 16-bit length of IP, however large a frame came in.
    mss = min(mss, 0xFFFF - (payload_start - l3))
    if mss < 1:
        return [bytes(frame)]
    view = memoryview(frame)
    header = bytearray(view[:payload_start])
    is_ipv4 = parsed.ip_version == 4

    # The fields that change from frame to frame: zero in the template, so that the sums below are of everything else.
    sequence, flags = unpack_from("!I", frame, l4 + 4)[0], frame[l4 + 13]
    pack_into("!I", header, l4 + 4, 0)
    header[l4 + 13] = 0
    pack_into("!H", header, l4 + _TCP_CHECK, 0)
    ip_id = ip_sum = 0
    if is_ipv4:
        (ip_id,) = unpack_from("!H", frame, l3 + 4)
        pack_into("!HH", header, l3 + 2, 0, 0)
        pack_into("!H", header, l3 + _IPV4_CHECK, 0)
        ip_sum = ones_complement_sum(header[l3:l4])
    tcp_sum = ones_complement_sum(header[l4:]) + pseudo_header_sum(parsed.src, parsed.dst, IPPROTO_TCP, parsed.l4_header_length)

    frames = []
    start = payload_start
    while True:
        payload = view[start : min(start + mss, payload_end)]
        size = len(payload)
        is_last = start + size >= payload_end
        segment_flags = flags if is_last else flags & ~(_TCP_FIN | _TCP_PSH)
        if start > payload_start:
            segment_flags &= ~_TCP_CWR
        if is_ipv4:
            total = payload_start - l3 + size
            pack_into("!HH", header, l3 + 2, total, ip_id)
            pack_into("!H", header, l3 + _IPV4_CHECK, fold(ip_sum + total + ip_id) ^ 0xFFFF)
            ip_id = (ip_id + 1) & 0xFFFF
        else:
            pack_into("!H", header, l3 + 4, payload_start - l3 - 40 + size)
        pack_into("!I", header, l4 + 4, sequence)
        header[l4 + 13] = segment_flags
        check = fold(tcp_sum + sequence + segment_flags + size + ones_complement_sum(payload)) ^ 0xFFFF
        pack_into("!H", header, l4 + _TCP_CHECK, check)
        frames.append(b"".join((header, payload)))
        if is_last:
            return frames
        sequence = (sequence + size) & 0xFFFFFFFF
        start += size
