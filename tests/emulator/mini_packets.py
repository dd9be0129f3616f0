# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames, checksums and RSS hashes for tests, computed in the plainest way and without lab.net, which they check."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

TCP, UDP, ICMP = 6, 17, 1


def words_sum(data: bytes) -> int:
    """RFC 1071: the one's-complement sum of 16-bit words."""
    data += b"\0" * (len(data) % 2)
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


def toeplitz(key: bytes, data: bytes) -> int:
    """Microsoft's RSS hash, a bit at a time."""
    window = int.from_bytes(key, "big")
    bits = len(key) * 8
    result = 0
    for index in range(len(data) * 8):
        if data[index // 8] >> (7 - index % 8) & 1:
            result ^= window >> (bits - 32 - index) & 0xFFFFFFFF
    return result


@dataclasses.dataclass
class Flow:
    """Everything of a packet but its payload."""

    dst_mac: bytes
    src_mac: bytes
    src: str = "10.0.0.1"
    dst: str = "10.0.0.2"
    protocol: int = UDP
    src_port: int = 1000
    dst_port: int = 2000
    vlan: int | None = None
    """TCI of a tag."""
    options: bytes = b""
    """IPv4 options, a multiple of 4 bytes."""
    tcp_options: bytes = b""
    tcp_flags: int = 0x18
    sequence: int = 1
    ip_id: int = 7

    @property
    def is_v6(self) -> bool:
        return ":" in self.src

    @property
    def addresses(self) -> bytes:
        return ipaddress.ip_address(self.src).packed + ipaddress.ip_address(self.dst).packed

    @property
    def hash_input(self) -> bytes:
        return self.addresses + struct.pack("!HH", self.src_port, self.dst_port)

    @property
    def headers(self) -> int:
        """Bytes before the payload."""
        l2 = 14 if self.vlan is None else 18
        l3 = 40 if self.is_v6 else 20 + len(self.options)
        return l2 + l3 + (20 + len(self.tcp_options) if self.protocol == TCP else 8)

    def pseudo(self, length: int) -> bytes:
        if self.is_v6:
            return self.addresses + struct.pack("!II", length, self.protocol)
        return self.addresses + struct.pack("!HH", self.protocol, length)

    def frame(self, payload: bytes, *, transport_sum: bool = True, ip_sum: bool = True) -> bytes:
        """The frame. Without transport_sum it has that of the pseudo header (CHECKSUM_PARTIAL), without ip_sum zero."""
        if self.protocol == TCP:
            offset = (20 + len(self.tcp_options)) // 4
            l4 = struct.pack("!HHIIBBHHH", self.src_port, self.dst_port, self.sequence, 9, offset << 4, self.tcp_flags, 4096, 0, 0)
            l4, at = l4 + self.tcp_options + payload, 16
        else:
            l4, at = struct.pack("!HHHH", self.src_port, self.dst_port, 8 + len(payload), 0) + payload, 6
        pseudo = self.pseudo(len(l4))
        if transport_sum:
            check = words_sum(pseudo + l4) ^ 0xFFFF
            check = 0xFFFF if self.protocol == UDP and not check else check
        else:
            check = words_sum(pseudo)
        l4 = l4[:at] + check.to_bytes(2, "big") + l4[at + 2 :]
        ethertype = 0x86DD if self.is_v6 else 0x0800
        tag = b"" if self.vlan is None else struct.pack("!HH", 0x8100, self.vlan)
        l2 = self.dst_mac + self.src_mac + tag + struct.pack("!H", ethertype)
        if self.is_v6:
            return l2 + struct.pack("!IHBB", 6 << 28, len(l4), self.protocol, 64) + self.addresses + l4
        words = 5 + len(self.options) // 4
        l3 = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(l4), self.ip_id, 0x4000, 64, self.protocol, 0)
        l3 += self.addresses + self.options
        if ip_sum:
            l3 = l3[:10] + (words_sum(l3) ^ 0xFFFF).to_bytes(2, "big") + l3[12:]
        return l2 + l3 + l4


def raw_frame(dst_mac: bytes, src_mac: bytes, size: int = 64, fill: int = 0x5A, ethertype: int = 0x88B5) -> bytes:
    """A frame of `size` bytes that is no IP packet."""
    return (dst_mac + src_mac + ethertype.to_bytes(2, "big")).ljust(size, bytes([fill]))[:size]
