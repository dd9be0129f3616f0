# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three kinds of GDMA rings: work queues that the driver fills, completion and event queues that the device fills.

Owner bits: a completion or event entry carries the number of times that the device has gone round the ring, modulo 8,
beginning with 1. The driver sees by them which entries are new, so it never clears any. Both kinds begin armed: the first
entry is announced without the driver's asking. Sources: mana_gd_process_eq_events, mana_gd_read_cqe and
mana_gd_get_wqe_ptr in Linux' gdma_main.c; the arming rules also from vm/devices/net/gdma/src/queues.rs of OpenVMM.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable

from .dma import DmaRegion, RingMemory
from .gdma_defs import (
    GDMA_COMP_DATA_SIZE,
    GDMA_CQE_SIZE,
    GDMA_EQE_COMPLETION,
    GDMA_EQE_SIZE,
    GDMA_WQE_BU_SIZE,
    OWNER_BITS,
    OWNER_MASK,
)
from .guest_memory import GuestMemory

_EQE = struct.Struct("<12sI")
_CQE = struct.Struct(f"<{GDMA_COMP_DATA_SIZE}sI")
_U32 = struct.Struct("<I")
_WQE_HEADER = struct.Struct("<II")
_SGE = struct.Struct("<QII")
_COUNTER_MASK = 0xFFFFFFFF  # positions in a work queue are 32-bit byte counts


class QueueError(Exception):
    """What the driver put into a queue, or rang, cannot be: the queue stops."""


class _OwnedRing:
    """Entries that the device writes and the driver reads."""

    def __init__(self, memory: GuestMemory, region: DmaRegion, entry_size: int) -> None:
        self._ring = RingMemory(memory, region)
        self._entry_size = entry_size
        self._entries = self._ring.size // entry_size
        self._shift = self._entries.bit_length() - 1
        self._head = self._entries  # the count of entries ever written, one round ahead: owner bits begin with 1
        self.armed = True

    @property
    def pages(self) -> int:
        """Pages of the DMA region that it lies in."""
        return self._ring.pages

    def _next(self) -> tuple[int, int]:
        """Byte position and owner bits of the entry to be written now."""
        position = (self._head & (self._entries - 1)) * self._entry_size
        owner = (self._head >> self._shift) & OWNER_MASK
        self._head += 1
        return position, owner

    def doorbell(self, tail: int, arm: bool) -> bool:
        """The driver has read up to tail (entries, modulo 8 rounds). True: it waits for something that is there already.

        :raises QueueError: it claims to have read what was not written, or missed a whole round
        """
        unread = (self._head - tail) & ((self._entries << OWNER_BITS) - 1)
        if unread > self._entries:
            raise QueueError(f"tail {tail} is {unread} entries behind, the queue has {self._entries}")
        self.armed = arm and unread == 0
        return arm and unread > 0


class EventQueue(_OwnedRing):
    """Announces its entries by an MSI-X vector. Several event queues may share one."""

    def __init__(self, memory: GuestMemory, region: DmaRegion, interrupt: Callable[[], None], doorbell_page: int) -> None:
        """:raises ValueError: the region can hold no queue"""
        super().__init__(memory, region, GDMA_EQE_SIZE)
        self._interrupt = interrupt
        self._disabled = False
        self.doorbell_page = doorbell_page

    def disable(self) -> None:
        """Its memory is the driver's own again. Completion queues may still name it: what they announce is lost."""
        self._disabled = True

    def post(self, event_type: int, details: bytes = b"") -> None:
        """:raises DmaError: the guest took the queue's memory away"""
        if self._disabled:
            return
        position, owner = self._next()
        self._ring.write(position, _EQE.pack(details, event_type | owner << 29))
        if self.armed:
            self.armed = False
            self._interrupt()

    def ring(self, tail: int, arm: bool) -> None:
        """:raises QueueError: see doorbell"""
        if self.doorbell(tail, arm):
            self._interrupt()


class CompletionQueue(_OwnedRing):
    """Announces its entries by an event, if it has an event queue: user-space queues may be polled only."""

    def __init__(self, memory: GuestMemory, region: DmaRegion, number: int, events: EventQueue | None, doorbell_page: int) -> None:
        """:raises ValueError: the region can hold no queue"""
        super().__init__(memory, region, GDMA_CQE_SIZE)
        self.number = number
        self.doorbell_page = doorbell_page
        self._events = events

    def post(self, data: bytes, wq_num: int, is_sq: bool) -> None:
        """data: up to GDMA_COMP_DATA_SIZE bytes for the owner of the work queue.

        :raises DmaError: the guest took the queue's memory away
        """
        position, owner = self._next()
        self._ring.write(position, _CQE.pack(data, wq_num | is_sq << 24 | owner << 29))
        if self.armed:
            self.armed = False
            self._announce()

    def ring(self, tail: int, arm: bool) -> None:
        """:raises QueueError: see doorbell"""
        if self.doorbell(tail, arm):
            self._announce()

    def _announce(self) -> None:
        if self._events is not None:
            self._events.post(GDMA_EQE_COMPLETION, _U32.pack(self.number))


@dataclasses.dataclass(slots=True)
class Wqe:
    """A work queue entry: struct gdma_wqe, the client's inline out-of-band data, and what it points to."""

    offset: int
    """Where it begins: bytes since the queue was made, modulo 2**32."""
    oob: bytes
    sgl: list[tuple[int, int, int]]
    """(address, mem_key, size) of each scatter-gather entry."""
    oob_in_sgl: bool
    """For the Ethernet client: the first scatter-gather entry holds just the headers of a packet to be segmented."""
    client_data_unit: int
    """For the Ethernet client: the segment size of TSO, in bytes."""


class WorkQueue:
    """Entries that the driver writes and the device takes."""

    def __init__(
        self, memory: GuestMemory, region: DmaRegion, number: int, completions: CompletionQueue, doorbell_page: int, max_wqe_size: int
    ) -> None:
        """:raises ValueError: the region can hold no queue"""
        self._ring = RingMemory(memory, region)
        self._max_wqe_size = max_wqe_size
        self._taken = 0
        self._posted = 0
        self.number = number
        self.completions = completions
        self.doorbell_page = doorbell_page
        self.failed = False
        self.on_ring: Callable[[], None] = lambda: None
        """What is to be done when there may be something to take; the owner sets it."""

    def ring(self, tail: int) -> None:
        """The driver has posted up to tail: bytes, modulo 2**32.

        :raises QueueError: more than the queue can hold, or not whole basic units
        """
        new = (tail - self._posted) & _COUNTER_MASK
        if new > _COUNTER_MASK >> 1:
            return  # behind what was rung before: the doorbells of two processors overtook each other
        if self.waiting + new > self._ring.size or new % GDMA_WQE_BU_SIZE:
            raise QueueError(f"work queue {self.number}: {new} more bytes posted, it has {self._ring.size}")
        self._posted = tail

    @property
    def pages(self) -> int:
        """Pages of the DMA region that it lies in."""
        return self._ring.pages

    @property
    def waiting(self) -> int:
        """Bytes posted and not taken."""
        return (self._posted - self._taken) & _COUNTER_MASK

    def take(self) -> Wqe | None:
        """The next entry, or None.

        :raises QueueError: it is no entry
        :raises DmaError: the guest took the queue's memory away
        """
        available = self.waiting
        if not available or self.failed:
            return None
        # Nearly every entry is one or two basic units long: read two at once, and more only where they are needed.
        raw = self._ring.read(self._taken, min(available, 2 * GDMA_WQE_BU_SIZE))
        _, flags = _WQE_HEADER.unpack_from(raw)
        num_sge = flags & 0xFF
        oob_end = 8 + ((flags >> 8) & 7) * 4
        sgl_end = oob_end + num_sge * _SGE.size
        size = (sgl_end + GDMA_WQE_BU_SIZE - 1) & ~(GDMA_WQE_BU_SIZE - 1)
        if size > self._max_wqe_size or size > available:
            raise QueueError(f"work queue {self.number}: entry of {size} bytes, {available} posted")
        if sgl_end > len(raw):
            raw = self._ring.read(self._taken, sgl_end)
        offset = self._taken
        self._taken = (offset + size) & _COUNTER_MASK
        return Wqe(
            offset,
            raw[8:oob_end],
            [_SGE.unpack_from(raw, begin) for begin in range(oob_end, sgl_end, _SGE.size)],
            bool(flags & 1 << 11),
            flags >> 16 & 0x3FFF,
        )
