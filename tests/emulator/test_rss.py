# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Toeplitz hash against the vectors that Microsoft published, and the choice of what is hashed."""

from __future__ import annotations

import ipaddress
import struct

import frames
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.net import rss
from lab.net.frame import parse

# "Verifying the RSS Hash Calculation", Windows driver documentation: secret key and results.
KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
# Destination address and port, source address and port, hash of the addresses, hash with TCP ports.
VECTORS = [
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323E8FC2, 0x51CCC178),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xD718262A, 0xC626B0EA),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xD2D0A5DE, 0x5C2B394A),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xAFC7327F),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2CC18CD5, 0x40207D3D),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0F0C461C, 0xDDE51BBF),
    ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4B61E985, 0x02D1FEEF),
]


def naive_toeplitz(key: bytes, data: bytes) -> int:
    """Bit by bit, as the specification words it."""
    result = 0
    bits = int.from_bytes(key, "big")
    for index in range(len(data) * 8):
        if data[index // 8] & 0x80 >> index % 8:
            result ^= bits >> (len(key) * 8 - 32 - index) & 0xFFFFFFFF
    return result


def packet(version, src, dst, protocol, payload):
    if version == 4:
        return frames.ethernet(0x0800, frames.ipv4(protocol, payload, src=src, dst=dst))
    return frames.ethernet(0x86DD, frames.ipv6(protocol, payload, src=src, dst=dst))


@pytest.mark.parametrize(("dst", "dst_port", "src", "src_port", "ip_hash", "tcp_hash"), VECTORS)
def test_published_vectors(dst, dst_port, src, src_port, ip_hash, tcp_hash):
    toeplitz = rss.Toeplitz(KEY)
    version = ipaddress.ip_address(src).version
    src, dst = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    ports = {"src_port": src_port, "dst_port": dst_port}
    types = (
        (rss.NDIS_HASH_IPV4, rss.NDIS_HASH_TCP_IPV4, rss.NDIS_HASH_UDP_IPV4)
        if version == 4
        else (rss.NDIS_HASH_IPV6, rss.NDIS_HASH_TCP_IPV6, rss.NDIS_HASH_UDP_IPV6)
    )
    assert toeplitz.hash_bytes(src + dst + struct.pack("!HH", src_port, dst_port)) == tcp_hash
    assert toeplitz.hash(packet(version, src, dst, 1, bytes(8))) == (ip_hash, types[0])
    assert toeplitz.hash(packet(version, src, dst, 6, frames.tcp(**ports))) == (tcp_hash, types[1])
    assert toeplitz.hash(packet(version, src, dst, 17, frames.udp(**ports))) == (tcp_hash, types[2])


@given(st.binary(min_size=40, max_size=40), st.binary(max_size=36))
def test_tables_equal_the_definition(key, data):
    assert rss.Toeplitz(key).hash_bytes(data) == naive_toeplitz(key, data)


def test_all_fragments_of_a_packet_hash_alike():
    toeplitz = rss.Toeplitz(KEY)
    first = frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(), fragment=0x2000))
    later = frames.ethernet(0x0800, frames.ipv4(6, bytes(64), fragment=0x0005))
    assert toeplitz.hash(first) == toeplitz.hash(later)
    assert toeplitz.hash(first)[1] == rss.NDIS_HASH_IPV4


def test_vlan_tags_do_not_matter_and_a_parsed_frame_can_be_passed():
    toeplitz = rss.Toeplitz(KEY)
    tagged = frames.tcp_frame(6, b"x", vlans=(5,))
    assert toeplitz.hash(tagged) == toeplitz.hash(frames.tcp_frame(6, b"x")) == toeplitz.hash(tagged, parse(tagged))


def test_other_frames_have_no_hash():
    assert rss.Toeplitz(KEY).hash(frames.ethernet(0x0806, bytes(28))) == (0, 0)
    assert rss.Toeplitz(KEY).hash(b"") == (0, 0)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="40 bytes"):
        rss.Toeplitz(bytes(39))
    with pytest.raises(ValueError, match="36 bytes"):
        rss.Toeplitz(KEY).hash_bytes(bytes(37))
