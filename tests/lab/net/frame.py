# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the headers of an Ethernet frame, and puts on and takes off VLAN tags.

Nothing here trusts the frame: it may be cut anywhere and any field may lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

from lab.net.checksum import IPPROTO_TCP, IPPROTO_UDP, Buffer

# Names as in linux/if_ether.h.
ETH_HLEN = 14
ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_8021Q = 0x8100
ETH_P_IPV6 = 0x86DD
ETH_P_8021AD = 0x88A8
VLAN_HLEN = 4
VLAN_VID_MASK = 0x0FFF

BROADCAST = b"\xff" * 6

_VLAN_TYPES = (ETH_P_8021Q, ETH_P_8021AD)
_IPV4_HLEN = 20
_IPV6_HLEN = 40
_TCP_HLEN = 20
_UDP_HLEN = 8

_IPV4_MF = 0x2000
_IPV4_OFFSET = 0x1FFF

# IPv6 extension headers (IANA "IPv6 Extension Header Types"). ESP (50) hides what follows it: it ends the walk like a transport protocol.
_ROUTING = 43
_FRAGMENT = 44
_AUTHENTICATION = 51
_EXTENSIONS = frozenset({0, _ROUTING, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140})


@dataclass(slots=True)
class Frame:
    """What is sure about one frame. Offsets and lengths are bytes, offsets count from the destination MAC.

    A field that could not be read is None. An offset that is set promises that the whole fixed header there is within the frame.
    """

    length: int
    """Bytes in the frame."""
    l2_length: int = 0
    """Ethernet header with every VLAN tag; 0 if not even that is complete."""
    vlan_tci: int | None = None
    """Priority, DEI and VLAN id of the outer tag."""
    ethertype: int | None = None
    """Type behind the tags."""
    ip_version: int | None = None
    """4 or 6, if ethertype and version field agree and the fixed IP header is complete."""
    l3_offset: int | None = None
    ip_header_length: int = 0
    """IPv4 header with options, or IPv6 header with the extension headers that were walked; 0 if malformed."""
    ip_total_length: int = 0
    """IP header and payload as the IP header says (or what is there, see `parse`); without Ethernet padding."""
    is_truncated: bool = False
    """The frame ends before the IP packet does."""
    is_fragment: bool = False
    """One of several fragments, the first one included."""
    is_routed: bool = False
    """A routing header has segments left: `dst` is not yet the final destination that transport checksums cover (RFC 8200, section 8.1)."""
    src: bytes = b""
    dst: bytes = b""
    """IP addresses, 4 or 16 bytes; empty if not IP."""
    l4_protocol: int | None = None
    """Protocol number behind the IP headers; also for later fragments."""
    l4_offset: int | None = None
    """Where the payload of IP starts; None if it is outside the frame or the packet, or in another fragment."""
    l4_header_length: int = 0
    """TCP header with options, or 8 for UDP; 0 if incomplete, malformed or another protocol."""
    src_port: int | None = None
    dst_port: int | None = None

    @property
    def l3_end(self) -> int:
        """Offset behind the IP packet; beyond the frame's end if `is_truncated`."""
        return (self.l3_offset or 0) + self.ip_total_length

    @property
    def l4_length(self) -> int:
        """Bytes from the transport header to the end of the IP packet."""
        return 0 if self.l4_offset is None else self.l3_end - self.l4_offset


def parse(frame: Buffer, *, lso: bool = False) -> Frame:
    """Find the headers of `frame`; never raises for any content.

    `lso` is for frames that a driver hands over for segmentation: Linux' mana driver leaves the length field of IP 0 there
    (mana_start_xmit in mana_en.c), which then means "up to the end of the frame". Without `lso`, 0 is taken at its word.
    """
    length = len(frame)
    parsed = Frame(length)
    if length < ETH_HLEN:
        return parsed
    offset = 12
    (ethertype,) = unpack_from("!H", frame, offset)
    while ethertype in _VLAN_TYPES:
        if length < offset + VLAN_HLEN + 2:
            return parsed
        tci, ethertype = unpack_from("!HH", frame, offset + 2)
        if parsed.vlan_tci is None:
            parsed.vlan_tci = tci
        offset += VLAN_HLEN
    parsed.l2_length = offset + 2
    parsed.ethertype = ethertype
    if ethertype == ETH_P_IP:
        _parse_ipv4(frame, parsed, lso)
    elif ethertype == ETH_P_IPV6:
        _parse_ipv6(frame, parsed, lso)
    if parsed.l4_offset is not None:
        _parse_ports(frame, parsed)
    return parsed


def _parse_ipv4(frame: Buffer, parsed: Frame, lso: bool) -> None:
    start = parsed.l2_length
    if parsed.length < start + _IPV4_HLEN or frame[start] >> 4 != 4:
        return
    parsed.ip_version = 4
    parsed.l3_offset = start
    total, _, fragment, _, protocol, _, parsed.src, parsed.dst = unpack_from("!HHHBBH4s4s", frame, start + 2)
    if not total and lso:
        total = parsed.length - start
    parsed.ip_total_length = total
    parsed.is_truncated = start + total > parsed.length
    parsed.is_fragment = bool(fragment & (_IPV4_MF | _IPV4_OFFSET))
    parsed.l4_protocol = protocol
    header_length = (frame[start] & 0x0F) * 4
    if header_length < _IPV4_HLEN or start + header_length > parsed.length:
        return
    parsed.ip_header_length = header_length
    if header_length <= total and not fragment & _IPV4_OFFSET:
        parsed.l4_offset = start + header_length


def _parse_ipv6(frame: Buffer, parsed: Frame, lso: bool) -> None:
    start = parsed.l2_length
    if parsed.length < start + _IPV6_HLEN or frame[start] >> 4 != 6:
        return
    parsed.ip_version = 6
    parsed.l3_offset = start
    payload, protocol, _, parsed.src, parsed.dst = unpack_from("!HBB16s16s", frame, start + 4)
    total = payload + _IPV6_HLEN
    if not payload and lso:
        total = parsed.length - start
    parsed.ip_total_length = total
    parsed.is_truncated = start + total > parsed.length

    end = min(parsed.length, start + total)
    offset = start + _IPV6_HLEN
    is_first = True
    while protocol in _EXTENSIONS and is_first:
        if offset + 8 > end:
            return
        following, units = frame[offset], frame[offset + 1]
        if protocol == _FRAGMENT:
            (fragment,) = unpack_from("!H", frame, offset + 2)
            is_first = not fragment & 0xFFF8
            # Offset 0 and no more to come is an "atomic" fragment: a whole packet (RFC 6946).
            parsed.is_fragment |= bool(fragment & 0xFFF9)
            size = 8
        elif protocol == _AUTHENTICATION:
            size = (units + 2) * 4
        else:
            size = (units + 1) * 8
            parsed.is_routed |= protocol == _ROUTING and frame[offset + 3] != 0
        offset += size
        protocol = following
        if offset > end:
            return
    parsed.ip_header_length = offset - start
    parsed.l4_protocol = protocol
    if is_first:
        parsed.l4_offset = offset


def _parse_ports(frame: Buffer, parsed: Frame) -> None:
    offset = parsed.l4_offset
    assert offset is not None
    available = min(parsed.length, parsed.l3_end) - offset
    if parsed.l4_protocol == IPPROTO_TCP and available >= _TCP_HLEN:
        parsed.src_port, parsed.dst_port = unpack_from("!HH", frame, offset)
        header_length = (frame[offset + 12] >> 4) * 4
        if _TCP_HLEN <= header_length <= available:
            parsed.l4_header_length = header_length
    elif parsed.l4_protocol == IPPROTO_UDP and available >= _UDP_HLEN:
        parsed.src_port, parsed.dst_port = unpack_from("!HH", frame, offset)
        parsed.l4_header_length = _UDP_HLEN


def is_broadcast(frame: Buffer) -> bool:
    """Return whether the destination MAC is ff:ff:ff:ff:ff:ff."""
    return frame[:6] == BROADCAST


def is_multicast(frame: Buffer) -> bool:
    """Return whether the destination MAC is a group address other than broadcast."""
    return len(frame) > 0 and bool(frame[0] & 1) and not is_broadcast(frame)


def is_unicast(frame: Buffer) -> bool:
    """Return whether the destination MAC is that of one station."""
    return len(frame) > 0 and not frame[0] & 1


def push_vlan(frame: Buffer, tci: int) -> bytes:
    """Return `frame` with an outer 802.1Q tag of `tci` (0..0xFFFF); raises ValueError if it has no two MAC addresses."""
    if len(frame) < ETH_HLEN - 2:
        raise ValueError(f"no room for a VLAN tag in a frame of {len(frame)} bytes")
    view = memoryview(frame)
    return b"".join((view[:12], ETH_P_8021Q.to_bytes(2, "big"), tci.to_bytes(2, "big"), view[12:]))


def pop_vlan(frame: Buffer) -> tuple[bytes, int | None]:
    """Return `frame` without its outer tag, and the tag's TCI; the whole frame and None if there is no complete tag."""
    if len(frame) < ETH_HLEN + VLAN_HLEN:
        return bytes(frame), None
    ethertype, tci = unpack_from("!HH", frame, 12)
    if ethertype not in _VLAN_TYPES:
        return bytes(frame), None
    view = memoryview(frame)
    return b"".join((view[:12], view[16:])), tci
