# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the frames that answer a peer: Ethernet with the peer's own VLAN tags, IP, and a transport header with its checksum."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, pack_into

from lab.net.checksum import IPPROTO_ICMP, IPPROTO_UDP, Buffer, fold, internet_checksum, ones_complement_sum, pseudo_header_sum
from lab.net.frame import Frame

_HOP_LIMIT = 64
_IPV4_DF = 0x4000


@dataclass(slots=True, frozen=True)
class Path:
    """How packets reach one peer."""

    l2: bytes
    """Ethernet header with tags, from here to the peer."""
    src: bytes
    """Address of this side, 4 or 16 bytes."""
    dst: bytes
    """Address of the peer, as long as `src`."""

    def packet(self, protocol: int, header: bytearray, check_at: int, payload: Buffer = b"", hop_limit: int = _HOP_LIMIT) -> bytes:
        """Return the frame that carries `header` and `payload`, after the checksum of both was put in `header` at `check_at`.

        `header` has an even length. ICMP for IPv4 is the one protocol here without a pseudo header (RFC 792).
        """
        length = len(header) + len(payload)
        pack_into("!H", header, check_at, 0)
        total = ones_complement_sum(header) + ones_complement_sum(payload)
        if protocol != IPPROTO_ICMP:
            total += pseudo_header_sum(self.src, self.dst, protocol, length)
        checksum = fold(total) ^ 0xFFFF
        if protocol == IPPROTO_UDP and not checksum:
            checksum = 0xFFFF
        pack_into("!H", header, check_at, checksum)
        return b"".join((self.l2, self._ip_header(protocol, length, hop_limit), header, payload))

    def _ip_header(self, protocol: int, length: int, hop_limit: int) -> bytes:
        if len(self.src) == 16:
            return pack("!IHBB16s16s", 6 << 28, length, protocol, hop_limit, self.src, self.dst)
        # A packet that may not be fragmented needs no identification (RFC 6864).
        header = bytearray(pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, _IPV4_DF, hop_limit, protocol, 0, self.src, self.dst))
        pack_into("!H", header, 10, internet_checksum(header))
        return bytes(header)


def reply_l2(frame: Buffer, parsed: Frame, mac: bytes) -> bytes:
    """Return the Ethernet header of an answer to `frame` from station `mac`: to the sender's MAC, with the same tags and type."""
    return bytes(frame[6:12]) + mac + bytes(frame[12 : parsed.l2_length])
