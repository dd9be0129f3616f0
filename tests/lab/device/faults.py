# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that can be switched on from outside, to see what the guest makes of them.

Every fault is off until asked for. Those with a count are used up: so a test can wait until its fault has happened.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Faults:
    """The fields are what the control socket takes; see the lab's README."""

    corrupt_every: int = 0
    """Of every so many frames from the guest, flip a bit of the last byte of one; its checksums stay as they were."""
    drop_every: int = 0
    """Of every so many frames from the guest, lose one; the guest is told that it was sent."""
    lie_checksum: bool = False
    """Report frames to the guest as having good checksums, whatever they have."""
    tx_errors: int = 0
    """Complete so many sends with CQE_TX_INVALID_OOB; nothing is sent."""
    lose_requests: dict[int, int] = dataclasses.field(default_factory=dict)
    """By message type: so many requests get no answer."""
    refuse_requests: dict[int, int] = dataclasses.field(default_factory=dict)
    """By message type: so many requests are answered with a status that is not good."""
    refuse_hwc: bool = False
    """Do not establish the hardware channel: the driver's probe fails."""

    _frames: int = 0
    _dropped: int = 0
    _corrupted: int = 0

    @property
    def happened(self) -> dict[str, int]:
        """How many frames were lost and damaged so far."""
        return {"dropped": self._dropped, "corrupted": self._corrupted}

    def lose_request(self, message_type: int) -> bool:
        return _use(self.lose_requests, message_type)

    def refuse_request(self, message_type: int) -> bool:
        return _use(self.refuse_requests, message_type)

    def tx_error(self) -> bool:
        if self.tx_errors <= 0:
            return False
        self.tx_errors -= 1
        return True

    def on_wire(self, frame: bytes) -> bytes | None:
        """The frame as it reaches the wire, or None: lost."""
        if not self.drop_every and not self.corrupt_every:
            return frame
        self._frames += 1
        if self.drop_every and self._frames % self.drop_every == 0:
            self._dropped += 1
            return None
        if self.corrupt_every and self._frames % self.corrupt_every == 0:
            self._corrupted += 1
            return frame[:-1] + bytes([frame[-1] ^ 1])
        return frame


def _use(counts: dict[int, int], key: int) -> bool:
    left = counts.get(key, 0)
    if left > 0:
        counts[key] = left - 1
    return left > 0
