# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsing of good, odd and hostile frames, and VLAN tags."""

from __future__ import annotations

import struct

import frames
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.net.frame import is_broadcast, is_multicast, is_unicast, parse, pop_vlan, push_vlan

FRAGMENT_FIRST = bytes([6, 0, 0, 1, 0, 0, 0, 9])
FRAGMENT_LATER = bytes([6, 0, 0, 8, 0, 0, 0, 9])
FRAGMENT_ATOMIC = bytes([6, 0, 0, 0, 0, 0, 0, 9])


@pytest.mark.parametrize("vlans", [(), (0x2005,), (0x2005, 7)])
@pytest.mark.parametrize("version", [4, 6])
def test_tcp(version, vlans):
    frame = frames.tcp_frame(version, b"hello", vlans=vlans, options=b"\1" * 12)
    parsed = parse(frame)
    l2, l3 = 14 + 4 * len(vlans), 20 if version == 4 else 40
    assert (parsed.l2_length, parsed.vlan_tci) == (l2, vlans[0] if vlans else None)
    assert parsed.ethertype == (0x0800 if version == 4 else 0x86DD)
    assert (parsed.ip_version, parsed.l3_offset, parsed.ip_header_length) == (version, l2, l3)
    assert (parsed.l4_protocol, parsed.l4_offset, parsed.l4_header_length) == (6, l2 + l3, 32)
    assert (parsed.src, parsed.dst) == ((frames.IP4_A, frames.IP4_B) if version == 4 else (frames.IP6_A, frames.IP6_B))
    assert (parsed.src_port, parsed.dst_port) == (1000, 2000)
    assert parsed.ip_total_length == l3 + 37
    assert (parsed.l3_end, parsed.l4_length) == (len(frame), 37)
    assert not (parsed.is_fragment or parsed.is_truncated or parsed.is_routed)


def test_padding_is_not_part_of_the_packet():
    parsed = parse(frames.udp_frame(4, b"x") + bytes(17))
    assert parsed.l4_length == 9
    assert not parsed.is_truncated


def test_a_missing_byte_makes_a_packet_truncated():
    parsed = parse(frames.udp_frame(6, b"xy")[:-1])
    assert parsed.is_truncated
    assert parsed.src_port == 1000


@pytest.mark.parametrize("version", [4, 6])
def test_zero_ip_length_is_the_rest_for_lso_only(version):
    frame = frames.tcp_frame(version, b"data", zero_length=True)
    assert parse(frame, lso=True).l4_length == 24
    assert parse(frame).src_port is None


def test_ipv4_options_are_skipped():
    parsed = parse(frames.ethernet(0x0800, frames.ipv4(17, frames.udp(), options=bytes([148, 4, 0, 0]))))
    assert (parsed.ip_header_length, parsed.l4_offset, parsed.dst_port) == (24, 38, 2000)


@pytest.mark.parametrize(
    ("fragment", "is_fragment", "has_ports"),
    [(0, False, True), (0x4000, False, True), (0x2000, True, True), (0x2001, True, False), (0x0001, True, False)],
)
def test_ipv4_fragments(fragment, is_fragment, has_ports):
    parsed = parse(frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(), fragment=fragment)))
    assert (parsed.is_fragment, parsed.src_port is not None, parsed.l4_protocol) == (is_fragment, has_ports, 6)


@pytest.mark.parametrize(
    ("header", "is_fragment", "has_ports"),
    [(FRAGMENT_FIRST, True, True), (FRAGMENT_LATER, True, False), (FRAGMENT_ATOMIC, False, True)],
)
def test_ipv6_fragments(header, is_fragment, has_ports):
    parsed = parse(frames.ethernet(0x86DD, frames.ipv6(44, header + frames.tcp())))
    assert (parsed.is_fragment, parsed.src_port is not None, parsed.l4_protocol) == (is_fragment, has_ports, 6)


def test_ipv6_extension_headers_are_walked():
    hop_by_hop = bytes([60, 1]) + bytes(14)
    destination = bytes([51, 0]) + bytes(6)
    authentication = bytes([43, 1]) + bytes(10)
    routing = bytes([17, 0, 0, 1]) + bytes(4)
    chain = hop_by_hop + destination + authentication + routing
    parsed = parse(frames.ethernet(0x86DD, frames.ipv6(0, chain + frames.udp(b"ab"))))
    assert (parsed.l4_protocol, parsed.ip_header_length, parsed.dst_port) == (17, 40 + len(chain), 2000)
    assert parsed.is_routed


def test_an_extension_header_that_reaches_beyond_the_packet_ends_the_walk():
    parsed = parse(frames.ethernet(0x86DD, frames.ipv6(0, bytes([6, 9]) + bytes(6) + frames.tcp())))
    assert (parsed.ip_version, parsed.l4_protocol, parsed.l4_offset, parsed.ip_header_length) == (6, None, None, 0)


@pytest.mark.parametrize("protocol", [50, 59])
def test_the_walk_ends_where_nothing_can_follow(protocol):
    parsed = parse(frames.ethernet(0x86DD, frames.ipv6(protocol, bytes(40))))
    assert (parsed.l4_protocol, parsed.src_port) == (protocol, None)


@pytest.mark.parametrize(
    "packet",
    [
        b"\x44" + frames.ipv4(6, frames.tcp())[1:],  # header length below 20
        b"\x55" + frames.ipv4(6, frames.tcp())[1:],  # wrong version
        frames.ipv4(6, frames.tcp(), total=19),  # packet shorter than its header
        frames.ipv4(6, frames.tcp(), total=39),  # no room for TCP
        b"\x4f" + frames.ipv4(6, b"")[1:],  # options beyond the frame
    ],
)
def test_malformed_ipv4_has_no_ports(packet):
    assert parse(frames.ethernet(0x0800, packet)).src_port is None


@pytest.mark.parametrize(("offset", "expected"), [(0x40, 0), (0x50, 20), (0xF0, 0)])
def test_tcp_header_length_must_fit(offset, expected):
    segment = bytearray(frames.tcp(b"abcd"))
    segment[12] = offset
    assert parse(frames.ethernet(0x0800, frames.ipv4(6, bytes(segment)))).l4_header_length == expected


def seeds():
    yield frames.tcp_frame(4, b"payload", vlans=(5,))
    yield frames.tcp_frame(6, b"payload", options=b"\1" * 8)
    yield frames.udp_frame(4, b"payload")
    yield frames.ethernet(0x86DD, frames.ipv6(0, bytes([44, 0]) + bytes(6) + FRAGMENT_ATOMIC + frames.tcp()), vlans=(5, 6))


def check_promises(frame, parsed):
    assert parsed.length == len(frame)
    assert parsed.l2_length <= len(frame)
    if parsed.ip_version is not None:
        assert len(parsed.src) == len(parsed.dst) == (4 if parsed.ip_version == 4 else 16)
        assert parsed.l3_offset + parsed.ip_header_length <= len(frame)
    if parsed.l4_offset is not None:
        assert parsed.l4_offset <= min(len(frame), parsed.l3_end)
        assert parsed.l4_offset + parsed.l4_header_length <= min(len(frame), parsed.l3_end)
    if parsed.src_port is not None:
        assert struct.unpack_from("!HH", frame, parsed.l4_offset) == (parsed.src_port, parsed.dst_port)


@given(
    st.binary(max_size=120),
    st.sampled_from([b"", b"\x81\0\0\x05", b"\x08\0E", b"\x86\xdd`", b"\x88\xa8\0\1\x81\0\0\2\x86\xdd`"]),
    st.booleans(),
)
def test_any_bytes_parse(data, middle, lso):
    frame = bytes(12) + middle + data if middle else data
    for buffer in (frame, bytearray(frame), memoryview(frame)):
        check_promises(frame, parse(buffer, lso=lso))


@given(st.sampled_from(list(seeds())), st.data())
def test_damaged_frames_parse(seed, data):
    frame = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(12, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame = frame[: data.draw(st.integers(0, len(frame)))]
    check_promises(frame, parse(frame))


@pytest.mark.parametrize(
    ("mac", "kinds"),
    [
        ("ffffffffffff", (False, False, True)),
        ("01005e000001", (False, True, False)),
        ("020000000001", (True, False, False)),
        ("", (False,) * 3),
    ],
)
def test_kinds_of_destination(mac, kinds):
    frame = bytes.fromhex(mac) + (bytes(8) if mac else b"")
    assert (is_unicast(frame), is_multicast(frame), is_broadcast(frame)) == kinds


@given(st.binary(min_size=14, max_size=100), st.integers(0, 0xFFFF))
def test_push_then_pop_gives_the_frame_back(frame, tci):
    tagged = push_vlan(frame, tci)
    assert parse(tagged).vlan_tci == tci or len(frame) < 18
    assert pop_vlan(tagged) == (frame, tci)


def test_push_makes_the_outer_tag():
    assert push_vlan(frames.udp_frame(4, b"x", vlans=(7,)), 5) == frames.udp_frame(4, b"x", vlans=(5, 7))


def test_what_cannot_be_tagged_is_refused():
    with pytest.raises(ValueError, match="11 bytes"):
        push_vlan(bytes(11), 1)


def test_pop_leaves_untagged_and_cut_frames_alone():
    plain = frames.udp_frame(4, b"x")
    assert pop_vlan(plain) == (plain, None)
    cut = frames.udp_frame(4, b"x", vlans=(5,))[:17]
    assert pop_vlan(cut) == (cut, None)
