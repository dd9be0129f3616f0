# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Internet checksum (RFC 1071) and the pseudo headers of TCP and UDP.

A 16-bit one's-complement sum is the sum modulo 0xFFFF, because 0x10000 leaves the remainder 1: a carry out of bit 15 comes back in at
bit 0. A whole buffer read as one big-endian number leaves the same remainder. One such division is about four times faster than
`sum()` over 16-bit words, which makes a Python integer of each.
"""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview

IPPROTO_ICMP = 1
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_ICMPV6 = 58


def ones_complement_sum(data: Buffer) -> int:
    """Return the folded 16-bit sum of `data`; an odd last byte is the high half of a last word (RFC 1071, section 1).

    The sum is 0 only if every byte is 0: like adding word by word, any other multiple of 0xFFFF gives 0xFFFF.
    """
    value = int.from_bytes(data, "big")
    if not value:
        return 0
    total = value % 0xFFFF
    if len(data) & 1:
        total = (total << 8) % 0xFFFF
    return total or 0xFFFF


def fold(total: int) -> int:
    """Fold a plain sum of 16-bit words (any non-negative number) into 16 bits."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def internet_checksum(data: Buffer, initial: int = 0) -> int:
    """Return the checksum of `data`, whose checksum field must be 0; `initial` is a sum to add, say of a pseudo header.

    Over data that holds its right checksum the result is 0.
    """
    return fold(initial + ones_complement_sum(data)) ^ 0xFFFF


def pseudo_header_sum(src: Buffer, dst: Buffer, protocol: int, length: int) -> int:
    """Return the unfolded sum of the pseudo header of TCP, UDP or ICMPv6.

    `src` and `dst` are both 4 bytes (RFC 768, RFC 9293 section 3.1) or both 16 (RFC 8200, section 8.1). `length` counts the bytes of the
    transport header and its payload. The layouts differ, the sum does not: zeros add nothing, and the 32-bit length of IPv6 folds like
    two words.
    """
    return ones_complement_sum(src) + ones_complement_sum(dst) + protocol + length


def transport_checksum(src: Buffer, dst: Buffer, protocol: int, segment: Buffer) -> int:
    """Return the checksum of a TCP, UDP or ICMPv6 `segment` whose checksum field is 0.

    For UDP a result of 0 is returned as 0xFFFF, because 0 in the field says that there is no checksum (RFC 768).
    """
    checksum = internet_checksum(segment, pseudo_header_sum(src, dst, protocol, len(segment)))
    return 0xFFFF if protocol == IPPROTO_UDP and not checksum else checksum
