# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksum against a loop written straight from RFC 1071."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lab.net.checksum import (
    IPPROTO_TCP,
    IPPROTO_UDP,
    fold,
    internet_checksum,
    ones_complement_sum,
    pseudo_header_sum,
    transport_checksum,
)


def naive_sum(data: bytes) -> int:
    """Add 16-bit words and every carry, one by one."""
    padded = data + b"\0" * (len(data) % 2)
    total = 0
    for index in range(0, len(padded), 2):
        total += padded[index] << 8 | padded[index + 1]
        if total > 0xFFFF:
            total = (total & 0xFFFF) + 1
    return total


def test_the_example_of_rfc_1071():
    assert ones_complement_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2


@given(st.binary(max_size=300))
@example(b"")
@example(b"\0\0\0")
@example(b"\xff\xff")
@example(b"\xff\xff" * 40)
@example(b"\xff\xfe\x00\x01")
@example(b"\xff")
def test_sum_equals_the_naive_loop(data):
    for buffer in (data, bytearray(data), memoryview(data)):
        assert ones_complement_sum(buffer) == naive_sum(data)


@given(st.binary(min_size=2, max_size=100).filter(any), st.integers(0, 1 << 40))
def test_data_with_its_checksum_sums_to_zero(data, initial):
    data = data[: len(data) // 2 * 2]
    checksum = internet_checksum(data, initial)
    assert internet_checksum(data + checksum.to_bytes(2, "big"), initial) in (0, 0xFFFF)
    if any(data) or initial:
        assert internet_checksum(data + checksum.to_bytes(2, "big"), initial) == 0


@given(st.lists(st.integers(0, 0xFFFF), max_size=50))
def test_fold_is_the_sum_of_words(words):
    assert fold(sum(words)) == naive_sum(b"".join(word.to_bytes(2, "big") for word in words))


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.integers(0, 0xFFFF))
def test_pseudo_header_of_ipv4(src, dst, length):
    assert fold(pseudo_header_sum(src, dst, 6, length)) == naive_sum(src + dst + b"\0\x06" + length.to_bytes(2, "big"))


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.integers(0, 0xFFFFF))
def test_pseudo_header_of_ipv6(src, dst, length):
    assert fold(pseudo_header_sum(src, dst, 17, length)) == naive_sum(src + dst + length.to_bytes(4, "big") + b"\0\0\0\x11")


@pytest.mark.parametrize(("protocol", "expected"), [(IPPROTO_UDP, 0xFFFF), (IPPROTO_TCP, 0)])
def test_only_udp_never_has_a_zero_checksum(protocol, expected):
    # Everything but this word sums to 0xFFFF - word, so the checksum comes out as 0.
    rest = naive_sum(bytes([10, 0, 0, 1]) + bytes([10, 0, 0, 2]) + bytes([0, protocol, 0, 2]))
    assert transport_checksum(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), protocol, (0xFFFF - rest).to_bytes(2, "big")) == expected
