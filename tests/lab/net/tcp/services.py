# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the TCP server does with a connection's bytes: the classic small services."""

from __future__ import annotations

from collections.abc import Callable


class Service:
    """One connection's application. This one is discard (RFC 863): it takes everything and says nothing."""

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the peer, in order; return the answer, which is not longer."""
        return b""

    def produce(self, room: int) -> bytes:
        """Return at most `room` bytes to send unasked."""
        return b""


class Echo(Service):
    """Sends back what it gets (RFC 862). Comparing the two checks a transfer in both directions."""

    def receive(self, data: bytes) -> bytes:
        return data


class Chargen(Service):
    """Sends the rotating pattern of RFC 864 until the peer closes. It is the same for everybody, so any prefix has a known checksum."""

    def __init__(self) -> None:
        self._offset = 0

    def produce(self, room: int) -> bytes:
        start = self._offset
        self._offset = (start + room) % len(CHARGEN_PERIOD)
        repeated = CHARGEN_PERIOD * ((start + room) // len(CHARGEN_PERIOD) + 1)
        return repeated[start : start + room]


def _chargen_period() -> bytes:
    printable = bytes(range(0x20, 0x7F))
    lines = ((printable * 2)[first : first + 72] + b"\r\n" for first in range(len(printable)))
    return b"".join(lines)


CHARGEN_PERIOD = _chargen_period()
"""The pattern until it repeats: 95 lines of 72 characters, CR and LF."""

SERVICES: dict[int, Callable[[], Service]] = {7: Echo, 9: Service, 19: Chargen}
"""By port number, as IANA assigned them."""
