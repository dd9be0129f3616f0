# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one interface between a NIC and the wire."""

from __future__ import annotations

from typing import Protocol


class Port(Protocol):
    """Something that a frame can be sent to: a vPort, a responder, a link to another switch."""

    def receive(self, frame: bytes) -> None:
        """Take one Ethernet frame without FCS, at most one frame on the wire (already segmented)."""
