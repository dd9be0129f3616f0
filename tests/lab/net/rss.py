# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receive-side scaling: the Toeplitz hash of Microsoft's RSS specification ("Verifying the RSS Hash Calculation")."""

from __future__ import annotations

from lab.net.checksum import IPPROTO_TCP, IPPROTO_UDP, Buffer
from lab.net.frame import Frame, parse

# Names as in include/net/mana/mana.h.
MANA_HASH_KEY_SIZE = 40
NDIS_HASH_IPV4 = 1 << 0
NDIS_HASH_TCP_IPV4 = 1 << 1
NDIS_HASH_UDP_IPV4 = 1 << 2
NDIS_HASH_IPV6 = 1 << 3
NDIS_HASH_TCP_IPV6 = 1 << 4
NDIS_HASH_UDP_IPV6 = 1 << 5
NDIS_HASH_IPV6_EX = 1 << 6
NDIS_HASH_TCP_IPV6_EX = 1 << 7
NDIS_HASH_UDP_IPV6_EX = 1 << 8
MANA_HASH_L3 = NDIS_HASH_IPV4 | NDIS_HASH_IPV6 | NDIS_HASH_IPV6_EX
MANA_HASH_L4 = (
    NDIS_HASH_TCP_IPV4 | NDIS_HASH_UDP_IPV4 | NDIS_HASH_TCP_IPV6 | NDIS_HASH_UDP_IPV6 | NDIS_HASH_TCP_IPV6_EX | NDIS_HASH_UDP_IPV6_EX
)

_MAX_INPUT = 36
"""Two IPv6 addresses and two ports: the longest input, and with 4 bytes for the window what a key of 40 bytes allows."""

_TYPES = {
    (4, None): NDIS_HASH_IPV4,
    (4, IPPROTO_TCP): NDIS_HASH_TCP_IPV4,
    (4, IPPROTO_UDP): NDIS_HASH_UDP_IPV4,
    (6, None): NDIS_HASH_IPV6,
    (6, IPPROTO_TCP): NDIS_HASH_TCP_IPV6,
    (6, IPPROTO_UDP): NDIS_HASH_UDP_IPV6,
}


class Toeplitz:
    """The hash for one key. Every set bit of the input adds (XOR) the 32 bits of the key that start at that bit's position."""

    def __init__(self, key: Buffer) -> None:
        """Take a key of 40 bytes and tabulate, for each position, what each value of the byte there adds; ValueError on another size."""
        if len(key) != MANA_HASH_KEY_SIZE:
            raise ValueError(f"an RSS key has {MANA_HASH_KEY_SIZE} bytes, not {len(key)}")
        bits = int.from_bytes(key, "big")
        self._tables = [self._table(bits >> (MANA_HASH_KEY_SIZE * 8 - 40 - position * 8)) for position in range(_MAX_INPUT)]

    @staticmethod
    def _table(window: int) -> list[int]:
        """Return the 256 contributions of a byte that meets the low 40 bits of `window` (the byte's top bit meets the top 32 of them)."""
        table = [0] * 256
        for value in range(1, 256):
            lowest = value & -value
            rest = value ^ lowest
            table[value] = table[rest] ^ table[lowest] if rest else (window >> lowest.bit_length()) & 0xFFFFFFFF
        return table

    def hash_bytes(self, data: Buffer) -> int:
        """Return the 32-bit hash of at most 36 bytes; raises ValueError for more."""
        if len(data) > _MAX_INPUT:
            raise ValueError(f"at most {_MAX_INPUT} bytes can be hashed, not {len(data)}")
        result = 0
        for table, byte in zip(self._tables, data):
            result ^= table[byte]
        return result

    def hash(self, frame: Buffer, parsed: Frame | None = None) -> tuple[int, int]:
        """Return the hash of a frame and its NDIS_HASH_* type, (0, 0) if it is not IP; `parsed` saves parsing it again.

        TCP and UDP are hashed with their ports; fragments without, the first included, so that all fragments of a packet meet in one queue.
        Addresses are those of the IP header: the IPV6_EX types (home address, routing header) are not produced.
        """
        if parsed is None:
            parsed = parse(frame)
        if parsed.ip_version is None:
            return 0, 0
        if parsed.src_port is None or parsed.is_fragment:
            return self.hash_bytes(parsed.src + parsed.dst), _TYPES[parsed.ip_version, None]
        assert parsed.l4_offset is not None
        ports = bytes(frame[parsed.l4_offset : parsed.l4_offset + 4])
        return self.hash_bytes(parsed.src + parsed.dst + ports), _TYPES[parsed.ip_version, parsed.l4_protocol]
