# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds frames for the tests of lab.net field by field, without any of the code under test."""

from __future__ import annotations

import ipaddress
import struct

MAC_A = bytes.fromhex("020000000001")
MAC_B = bytes.fromhex("020000000002")
IP4_A, IP4_B = (ipaddress.ip_address(text).packed for text in ("192.0.2.1", "192.0.2.2"))
IP6_A, IP6_B = (ipaddress.ip_address(text).packed for text in ("2001:db8::1", "2001:db8::2"))


def ethernet(ethertype: int, payload: bytes, *, vlans: tuple[int, ...] = (), src: bytes = MAC_A, dst: bytes = MAC_B) -> bytes:
    tags = b"".join(struct.pack("!HH", 0x8100, tci) for tci in vlans)
    return dst + src + tags + struct.pack("!H", ethertype) + payload


def ipv4(
    protocol: int,
    payload: bytes,
    *,
    src: bytes = IP4_A,
    dst: bytes = IP4_B,
    options: bytes = b"",
    fragment: int = 0,
    identification: int = 1,
    total: int | None = None,
) -> bytes:
    length = 20 + len(options)
    return (
        struct.pack(
            "!BBHHHBBH4s4s",
            0x40 | length // 4,
            0,
            length + len(payload) if total is None else total,
            identification,
            fragment,
            64,
            protocol,
            0,
            src,
            dst,
        )
        + options
        + payload
    )


def ipv6(next_header: int, payload: bytes, *, src: bytes = IP6_A, dst: bytes = IP6_B, length: int | None = None, hops: int = 64) -> bytes:
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload) if length is None else length, next_header, hops, src, dst) + payload


def tcp(
    payload: bytes = b"",
    *,
    src_port: int = 1000,
    dst_port: int = 2000,
    sequence: int = 100,
    acknowledgment: int = 200,
    flags: int = 0x10,
    window: int = 5000,
    options: bytes = b"",
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    return struct.pack("!HHIIBBHHH", src_port, dst_port, sequence, acknowledgment, offset, flags, window, 0, 0) + options + payload


def udp(payload: bytes = b"", *, src_port: int = 1000, dst_port: int = 2000, length: int | None = None, checksum: int = 0) -> bytes:
    return struct.pack("!HHHH", src_port, dst_port, 8 + len(payload) if length is None else length, checksum) + payload


def tcp_frame(
    version: int, payload: bytes, *, vlans: tuple[int, ...] = (), identification: int = 1, zero_length: bool = False, **fields
) -> bytes:
    segment = tcp(payload, **fields)
    if version == 4:
        return ethernet(0x0800, ipv4(6, segment, identification=identification, total=0 if zero_length else None), vlans=vlans)
    return ethernet(0x86DD, ipv6(6, segment, length=0 if zero_length else None), vlans=vlans)


def udp_frame(version: int, payload: bytes, *, vlans: tuple[int, ...] = (), **fields) -> bytes:
    datagram = udp(payload, **fields)
    return ethernet(0x0800, ipv4(17, datagram), vlans=vlans) if version == 4 else ethernet(0x86DD, ipv6(17, datagram), vlans=vlans)
