# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksum offload, TSO and verification against a checksum loop of the test's own."""

from __future__ import annotations

import struct

import frames
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.net.frame import parse
from lab.net.offload import Verdict, fill_checksums, segment, verify
from test_checksum import naive_sum

FIN, SYN, PSH, ACK, ECE, CWR = 0x01, 0x02, 0x08, 0x10, 0x40, 0x80


def is_right(frame: bytes, version: int, protocol: int, l2: int = 14) -> bool:
    """Judge a frame without options or extension headers by the naive loop."""
    packet = frame[l2:]
    if version == 4:
        total = struct.unpack_from("!H", packet, 2)[0]
        body, pseudo = packet[20:total], packet[12:20] + struct.pack("!HH", protocol, total - 20)
        if naive_sum(packet[:20]) != 0xFFFF:
            return False
    else:
        length = struct.unpack_from("!H", packet, 4)[0]
        body, pseudo = packet[40 : 40 + length], packet[8:40] + struct.pack("!II", length, protocol)
    return naive_sum(pseudo + body) == 0xFFFF


def filled(frame: bytes, **wanted: bool) -> bytes:
    buffer = bytearray(frame)
    fill_checksums(buffer, **{"ip": True, "tcp": True, "udp": True, **wanted})
    return bytes(buffer)


versions = pytest.mark.parametrize("version", [4, 6])
vlan_stacks = pytest.mark.parametrize("vlans", [(), (9,), (9, 10)])


@versions
@vlan_stacks
@given(payload=st.binary(max_size=80), garbage=st.integers(0, 0xFFFF))
def test_filled_frames_are_right_whatever_was_in_the_field(version, vlans, payload, garbage):
    l2 = 14 + 4 * len(vlans)
    tcp = bytearray(frames.tcp_frame(version, payload, vlans=vlans))
    struct.pack_into("!H", tcp, l2 + (20 if version == 4 else 40) + 16, garbage)
    assert is_right(filled(tcp), version, 6, l2)
    assert is_right(filled(frames.udp_frame(version, payload, vlans=vlans, checksum=garbage)), version, 17, l2)


def test_only_what_is_asked_for_is_filled():
    tcp, udp = frames.tcp_frame(4, b"abc"), frames.udp_frame(4, b"abc")
    assert filled(tcp, ip=False, tcp=False) == tcp
    assert filled(udp, ip=False, udp=False) == udp
    assert filled(tcp, tcp=False)[24:26] != b"\0\0"
    assert filled(tcp, tcp=False)[34:] == tcp[34:]
    assert filled(tcp, ip=False)[:34] == tcp[:34]


def test_a_udp_checksum_of_zero_is_sent_as_ffff():
    # The payload makes everything else sum to 0xFFFF.
    base = frames.udp_frame(4, b"\0\0")
    rest = naive_sum(base[26:34] + struct.pack("!HH", 17, 10) + base[34:])
    frame = filled(frames.udp_frame(4, struct.pack("!H", 0xFFFF - rest)))
    assert frame[40:42] == b"\xff\xff"
    assert verify(frame) == Verdict(ip=True, udp=True)


@pytest.mark.parametrize(
    "frame",
    [
        frames.ethernet(0x0806, bytes(28)),
        frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"abc", length=7))),
        frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"abc", length=12))),
        frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(b"abc"), fragment=0x2000)),
        frames.tcp_frame(6, b"abc")[:-1],
        b"",
    ],
)
def test_requests_that_do_not_fit_are_ignored(frame):
    assert filled(frame, ip=False) == frame


@versions
@vlan_stacks
def test_verify_good(version, vlans):
    ip = True if version == 4 else None
    assert verify(filled(frames.tcp_frame(version, b"odd", vlans=vlans))) == Verdict(ip=ip, tcp=True)
    assert verify(filled(frames.udp_frame(version, b"even", vlans=vlans)) + b"padding") == Verdict(ip=ip, udp=True)


@versions
@pytest.mark.parametrize("build", [frames.tcp_frame, frames.udp_frame])
@given(data=st.data())
def test_any_changed_byte_of_the_transport_is_noticed(version, build, data):
    frame = bytearray(filled(build(version, b"some payload")))
    start = 14 + (20 if version == 4 else 40)
    covered = [*range(start - (8 if version == 4 else 32), start), *range(start, len(frame))]
    # Not TCP's header length and UDP's length and checksum, which change what is covered.
    special = [start + 12] if build is frames.tcp_frame else [start + 4, start + 5, start + 6, start + 7]
    index = data.draw(st.sampled_from([index for index in covered if index not in special]))
    frame[index] ^= data.draw(st.integers(1, 255))
    verdict = verify(frame)
    assert (verdict.tcp, verdict.udp) == ((False, None) if build is frames.tcp_frame else (None, False))
    assert verdict.ip is (None if version == 6 else index >= start)


def test_what_cannot_be_checked_is_not_judged():
    assert verify(filled(frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(b"x"), fragment=0x2000)))) == Verdict(ip=True)
    assert verify(filled(frames.tcp_frame(4, b"xyz"))[:-1]) == Verdict(ip=True)
    assert verify(filled(frames.udp_frame(4, b"x"), udp=False)) == Verdict(ip=True)
    assert verify(frames.ethernet(0x0806, bytes(28))) == Verdict()
    routing = bytes([6, 0, 0, 1]) + bytes(4)
    assert verify(filled(frames.ethernet(0x86DD, frames.ipv6(43, routing + frames.tcp(b"x"))))) == Verdict()


def test_udp_that_must_have_a_checksum_or_has_a_wrong_length_is_bad():
    assert verify(frames.udp_frame(6, b"x")).udp is False
    assert verify(frames.ethernet(0x0800, frames.ipv4(17, frames.udp(b"abc", length=40)))).udp is False


@given(st.binary(max_size=150))
def test_no_content_raises(data):
    frame = bytearray(bytes(12) + data)
    verify(frame)
    fill_checksums(frame, ip=True, tcp=True, udp=True)
    assert b"".join(segment(frame, 8))


def check_segments(original: bytes, parts: list[bytes], mss: int) -> None:
    whole = parse(original, lso=True)
    first = whole.l4_offset + whole.l4_header_length
    payload, flags = original[first : whole.l3_end], original[whole.l4_offset + 13]
    (sequence,) = struct.unpack_from("!I", original, whole.l4_offset + 4)
    collected = b""
    for index, part in enumerate(parts):
        parsed = parse(part)
        assert (parsed.l4_offset, parsed.l4_header_length, parsed.l3_end) == (whole.l4_offset, whole.l4_header_length, len(part))
        assert part[: whole.l2_length] == original[: whole.l2_length]
        assert part[whole.l4_offset + 20 : first] == original[whole.l4_offset + 20 : first]
        verdict = verify(part)
        assert verdict.tcp is True
        assert verdict.ip is (True if whole.ip_version == 4 else None)
        if whole.ip_version == 4:
            identification = struct.unpack_from("!H", original, whole.l3_offset + 4)[0] + index
            assert struct.unpack_from("!H", part, whole.l3_offset + 4)[0] == identification & 0xFFFF
        assert struct.unpack_from("!I", part, whole.l4_offset + 4)[0] == (sequence + len(collected)) & 0xFFFFFFFF
        expected = flags
        if index > 0:
            expected &= ~CWR
        if index < len(parts) - 1:
            expected &= ~(FIN | PSH)
            assert len(part) - first == mss
        assert part[whole.l4_offset + 13] == expected
        assert part[whole.l4_offset + 14 : whole.l4_offset + 16] == original[whole.l4_offset + 14 : whole.l4_offset + 16]
        collected += part[first:]
    assert collected == payload
    assert len(parts) == max(-(-len(payload) // mss), 1)


@versions
@vlan_stacks
@given(
    payload=st.binary(max_size=200),
    mss=st.integers(1, 100),
    sequence=st.sampled_from([0, 0xFFFFFFF0, 0x1234FFFF]),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | PSH | FIN | CWR | ECE]),
    options=st.sampled_from([b"", b"\1\1\x08\x0a\0\0\0\1\0\0\0\2"]),
    zero_length=st.booleans(),
    identification=st.sampled_from([0, 0xFFFE]),
)
@settings(max_examples=60)
def test_segments_make_up_the_original(version, vlans, payload, mss, sequence, flags, options, zero_length, identification):
    frame = frames.tcp_frame(
        version,
        payload,
        vlans=vlans,
        sequence=sequence,
        flags=flags,
        options=options,
        zero_length=zero_length,
        identification=identification,
    )
    check_segments(frame, segment(frame, mss), mss)


@versions
def test_large_frames(version):
    frame = frames.tcp_frame(version, bytes(range(256)) * 253, zero_length=True)
    check_segments(frame, segment(bytearray(frame), 1448), 1448)
    assert is_right(segment(frame, 1448)[3], version, 6)


def test_ip_options_and_extension_headers_are_repeated():
    four = frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(b"abcdef"), options=bytes([148, 4, 0, 0])))
    six = frames.ethernet(0x86DD, frames.ipv6(0, bytes([6, 0]) + bytes(6) + frames.tcp(b"abcdef")))
    check_segments(four, segment(four, 4), 4)
    check_segments(six, segment(six, 4), 4)


def test_padding_is_not_sent_as_payload():
    frame = frames.tcp_frame(4, b"abcdef")
    assert segment(frame + b"padding", 4) == segment(frame, 4)


def test_no_segment_outgrows_the_ip_length():
    parts = segment(frames.tcp_frame(6, bytes(70000), zero_length=True), 70000)
    assert all(verify(part).tcp for part in parts)


def test_other_frames_come_back_as_they_are():
    for frame in (frames.udp_frame(4, bytes(100)), frames.ethernet(0x0800, frames.ipv4(6, frames.tcp(bytes(100)), fragment=0x2000)), b"x"):
        assert segment(frame, 10) == [frame]


@pytest.mark.parametrize("mss", [0, -1])
def test_mss_must_be_positive(mss):
    with pytest.raises(ValueError, match="mss"):
        segment(frames.tcp_frame(4, b"abc"), mss)
