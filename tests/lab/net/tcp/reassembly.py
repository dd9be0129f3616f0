# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps what arrived before its turn, until what is missing has come."""

from __future__ import annotations

from dataclasses import dataclass

MAX_ISLANDS = 64
"""More gaps than that are not worth the memory: further segments are dropped and come again."""


@dataclass(slots=True)
class _Island:
    """Bytes without a gap."""

    start: int
    data: bytearray

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class Reassembly:
    """Islands of bytes by sequence number, none touching another, the one that changed last first (the order that RFC 2018 wants)."""

    def __init__(self) -> None:
        self._islands: list[_Island] = []

    def __len__(self) -> int:
        """Return the number of bytes kept."""
        return sum(len(island.data) for island in self._islands)

    def insert(self, start: int, data: bytes) -> None:
        """Keep `data`, whose first byte has the number `start`; where bytes are known already, the old ones stay."""
        end = start + len(data)
        near = [island for island in self._islands if island.start <= end and start <= island.end]
        if not data or (not near and len(self._islands) >= MAX_ISLANDS):
            return
        if len(near) == 1 and near[0].end == start:
            # By far the most frequent case, and the one that copies nothing.
            near[0].data += data
            changed = near[0]
        else:
            changed = self._merge(_Island(start, bytearray(data)), near)
        self._islands = [changed, *(island for island in self._islands if island is not changed and island not in near)]

    @staticmethod
    def _merge(added: _Island, near: list[_Island]) -> _Island:
        start = min(added.start, *(island.start for island in near)) if near else added.start
        end = max(added.end, *(island.end for island in near)) if near else added.end
        merged = bytearray(end - start)
        for island in (added, *near):
            merged[island.start - start : island.end - start] = island.data
        return _Island(start, merged)

    def take(self, start: int) -> bytes:
        """Remove and return the bytes from `start` on that have no gap; forget everything before `start`."""
        taken = b""
        kept = []
        for island in self._islands:
            if island.start > start:
                kept.append(island)
            elif island.end > start:
                taken = bytes(island.data[start - island.start :])
        self._islands = kept
        return taken

    def blocks(self, limit: int) -> list[tuple[int, int]]:
        """Return first number and number behind the last of at most `limit` islands, the latest first."""
        return [(island.start, island.end) for island in self._islands[:limit]]
