# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared-memory channel: 256 bits in BAR 0 through which driver and device agree on the hardware channel.

Four page frame numbers of 52 bits (event, completion, receive and send queue of the hardware channel): their lower 48 bits
one after the other, then their upper 4 bits, then the MSI-X vector of the event queue, then a dword that says what is
asked. Writing that last dword makes the request; the device answers in the same dword. Source: Linux' shm_channel.c.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from .gdma_defs import MANA_PAGE_SIZE

SMC_APERTURE_SIZE = 32
_LAST_DWORD = SMC_APERTURE_SIZE - 4
_FRAME_BYTES = 6

SMC_MSG_TYPE_ESTABLISH_HWC = 1
SMC_MSG_TYPE_DESTROY_HWC = 2
_DIRECTION_RESPONSE = 1 << 7
_OWNER_IS_PF = 1 << 31
_STATUS_GOOD = 0
_STATUS_FAILED = 1


@dataclasses.dataclass(frozen=True)
class EstablishHwc:
    """DMA addresses of the four one-page queues, and the vector of the event queue."""

    eq_address: int
    cq_address: int
    rq_address: int
    sq_address: int
    msix_index: int


class SharedMemoryChannel:
    """The registers. What they ask for is done by two functions that return False when it cannot be done."""

    def __init__(self, establish: Callable[[EstablishHwc], bool], destroy: Callable[[], bool]) -> None:
        self._establish = establish
        self._destroy = destroy
        self._aperture = bytearray(SMC_APERTURE_SIZE)

    def reset(self) -> None:
        self._aperture = bytearray(SMC_APERTURE_SIZE)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._aperture[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        self._aperture[offset : offset + len(data)] = data
        if offset <= _LAST_DWORD < offset + len(data):
            self._request(int.from_bytes(self._aperture[_LAST_DWORD:], "little"))

    def _request(self, header: int) -> None:
        if header & _DIRECTION_RESPONSE or header & _OWNER_IS_PF:
            return
        message_type, version = header & 7, header >> 3 & 7
        good = False
        if version == 0 and message_type == SMC_MSG_TYPE_ESTABLISH_HWC:
            good = self._establish(self._addresses())
        elif version == 0 and message_type == SMC_MSG_TYPE_DESTROY_HWC:
            good = self._destroy()
        status = _STATUS_GOOD if good else _STATUS_FAILED
        answer = message_type | version << 3 | _DIRECTION_RESPONSE | status << 8
        self._aperture[_LAST_DWORD:] = answer.to_bytes(4, "little")

    def _addresses(self) -> EstablishHwc:
        high = int.from_bytes(self._aperture[24:26], "little")
        frames = [
            int.from_bytes(self._aperture[n * _FRAME_BYTES : (n + 1) * _FRAME_BYTES], "little") | (high >> 4 * n & 0xF) << 48
            for n in range(4)
        ]
        eq, cq, rq, sq = (frame * MANA_PAGE_SIZE for frame in frames)
        return EstablishHwc(eq, cq, rq, sq, int.from_bytes(self._aperture[26:28], "little"))
