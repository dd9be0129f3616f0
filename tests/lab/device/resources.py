# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver has made on the device: DMA regions, queues, memory keys, protection domains, doorbell pages.

Each table is bounded: a guest cannot make the device server grow without limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .dma import DmaRegion, GpaKey, MemoryKey
from .gdma_defs import (
    GDMA_CQ_NO_EQ,
    GDMA_MAX_RQE_SIZE,
    GDMA_MAX_SQE_SIZE,
    INVALID_DMA_REGION,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_RESOURCES,
    STATUS_NOT_FOUND,
    gdma_req_hdr,
)
from .guest_memory import GuestMemory
from .interrupts import Interrupts
from .queues import CompletionQueue, EventQueue, WorkQueue

MAX_EQS = 256
MAX_CQS = 1024
MAX_SQS = 512
MAX_RQS = 512
MAX_PDS = 1024
MAX_MRS = 4096
MAX_REGIONS = 8192
MAX_REGION_PAGES = 1 << 18  # in one region; 1 GiB of 4 KiB pages
MAX_PAGES = 1 << 20  # in all regions, and in all queues and memory regions that were made of regions

GPA_MKEY = 1
"""gpa_mkey of every kernel driver: DMA addresses as they are."""
SQ_NUMBER_SHIFT = 10
"""The TX out-of-band data holds vsq_frame, the number of the send queue without its lower ten bits."""

T = TypeVar("T")


class Refused(Exception):
    """A request that is answered with a status other than good."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Table(Generic[T]):
    """Numbered objects of one kind. Numbers begin with first and are used again, lowest first."""

    def __init__(self, kind: str, limit: int, first: int = 1) -> None:
        self._kind = kind
        self._limit = limit
        self._first = first
        self._objects: dict[int, T] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._objects.values()))

    def number(self) -> int:
        """The number that the next object is to have.

        :raises Refused: there are as many as there can be
        """
        if len(self._objects) >= self._limit:
            raise Refused(STATUS_NO_RESOURCES, f"there are {self._limit} of {self._kind} already")
        number = self._first
        while number in self._objects:
            number += 1
        return number

    def add(self, thing: T) -> int:
        number = self.number()
        self._objects[number] = thing
        return number

    def find(self, number: int) -> T | None:
        return self._objects.get(number)

    def get(self, number: int) -> T:
        """:raises Refused: there is none of that number"""
        found = self._objects.get(number)
        if found is None:
            raise Refused(STATUS_NOT_FOUND, f"no {self._kind} {number}")
        return found

    def pop(self, number: int) -> T:
        """:raises Refused: there is none of that number"""
        found = self.get(number)
        del self._objects[number]
        return found


class Resources:
    """All tables of a function. A reset makes a new one."""

    def __init__(self, memory: GuestMemory, interrupts: Interrupts, doorbell_pages: int) -> None:
        self.memory = memory
        self.interrupts = interrupts
        self.doorbell_pages = doorbell_pages
        self.regions: Table[DmaRegion] = Table("DMA region", MAX_REGIONS)
        self.eqs: Table[EventQueue] = Table("event queue", MAX_EQS)
        self.cqs: Table[CompletionQueue] = Table("completion queue", MAX_CQS - 1)
        self.sqs: Table[WorkQueue] = Table("send queue", MAX_SQS)  # by number >> SQ_NUMBER_SHIFT
        self.rqs: Table[WorkQueue] = Table("receive queue", MAX_RQS)
        self.pds: Table[int] = Table("protection domain", MAX_PDS, first=16)
        self.mrs: Table[MemoryKey] = Table("memory region", MAX_MRS, first=256)
        self._gpa = GpaKey()
        self._hwc_eq: int | None = None

    # Memory

    def add_region(self, region: DmaRegion) -> int:
        """:raises Refused: too many regions, or too many pages in them"""
        held = sum(other.page_count for other in self.regions) + sum(key.pages for key in self.mrs)
        held += sum(queue.pages for table in (self.eqs, self.cqs, self.sqs, self.rqs) for queue in table)
        if held + region.page_count > MAX_PAGES:
            raise Refused(STATUS_NO_RESOURCES, f"more than {MAX_PAGES} pages in DMA regions")
        return self.regions.add(region)

    def _region(self, handle: int, size: int) -> DmaRegion:
        if handle == INVALID_DMA_REGION:
            raise Refused(STATUS_INVALID_PARAMETER, "DMA region 0")
        region = self.regions.get(handle)
        if region.length != size or not region.complete:
            raise Refused(STATUS_INVALID_PARAMETER, f"a queue of {size} bytes in a DMA region of {region.length}")
        return region

    def key(self, mem_key: int) -> MemoryKey | None:
        """What a scatter-gather entry's mem_key stands for, or None."""
        return self._gpa if mem_key == GPA_MKEY else self.mrs.find(mem_key)

    # Queues

    def add_hwc(self, eq: EventQueue, cq: CompletionQueue, rq: WorkQueue, sq: WorkQueue) -> None:
        """The queues of the hardware channel, made with the next numbers of each kind."""
        self._hwc_eq = self.eqs.add(eq)
        self.cqs.add(cq)
        self.rqs.add(rq)
        self.sqs.add(sq)

    def is_hwc_eq(self, number: int) -> bool:
        """The driver may disable any event queue but this one."""
        return number == self._hwc_eq

    def check_doorbell(self, page: int) -> None:
        """:raises Refused: no such doorbell page"""
        if not 0 <= page < self.doorbell_pages:
            raise Refused(STATUS_INVALID_PARAMETER, f"doorbell page {page}")

    def interrupt(self, vector: int) -> Callable[[], None]:
        """:raises Refused: no such MSI-X vector"""
        if vector >= self.interrupts.count:
            raise Refused(STATUS_INVALID_PARAMETER, f"MSI-X vector {vector}")
        return lambda: self.interrupts.trigger(vector)

    def new_eq(self, handle: int, size: int, vector: int, doorbell: int) -> int:
        """:raises Refused: anything about it is wrong; then the region is untouched"""
        self.check_doorbell(doorbell)
        with _as_refusal():
            queue = EventQueue(self.memory, self._region(handle, size), self.interrupt(vector), doorbell)
        number = self.eqs.add(queue)
        self.regions.pop(handle)
        return number

    def new_cq(self, handle: int, eq_id: int, doorbell: int) -> CompletionQueue:
        """A completion queue alone, as large as its region.

        :raises Refused: anything about it is wrong; then the region is untouched
        """
        self.check_doorbell(doorbell)
        region = self.regions.get(handle)
        with _as_refusal():
            queue = CompletionQueue(self.memory, self._region(handle, region.length), self.cqs.number(), self.eqs.get(eq_id), doorbell)
        self.cqs.add(queue)
        self.regions.pop(handle)
        return queue

    def new_wq_cq(
        self, send: bool, wq: tuple[int, int], cq: tuple[int, int], eq_id: int, doorbell: int
    ) -> tuple[WorkQueue, CompletionQueue]:
        """wq, cq: handle of the region and size of the queue, in bytes.

        :raises Refused: anything about them is wrong; then the regions are untouched
        """
        self.check_doorbell(doorbell)
        events = None if eq_id == GDMA_CQ_NO_EQ else self.eqs.get(eq_id)
        if wq[0] == cq[0]:
            raise Refused(STATUS_INVALID_PARAMETER, "both queues in one DMA region")
        table = self.sqs if send else self.rqs
        with _as_refusal():
            completions = CompletionQueue(self.memory, self._region(*cq), self.cqs.number(), events, doorbell)
            number = table.number() << SQ_NUMBER_SHIFT if send else table.number()
            largest = GDMA_MAX_SQE_SIZE if send else GDMA_MAX_RQE_SIZE
            work = WorkQueue(self.memory, self._region(*wq), number, completions, doorbell, largest)
        self.cqs.add(completions)
        table.add(work)
        self.regions.pop(wq[0])
        self.regions.pop(cq[0])
        return work, completions

    def drop_wq_cq(self, send: bool, work: WorkQueue) -> None:
        self.cqs.pop(work.completions.number)
        if send:
            self.sqs.pop(work.number >> SQ_NUMBER_SHIFT)
        else:
            self.rqs.pop(work.number)


class _as_refusal:
    """Turns the ValueError of a queue that cannot be into a refusal."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, ValueError):
            raise Refused(STATUS_INVALID_PARAMETER, str(error)) from error


Request = Callable[[Resources, gdma_req_hdr, bytes], bytes]
"""Handles a request: takes what follows its header, returns what follows that of the response.

:raises Refused: the status of the response
:raises ShortMessage: the request is too short
"""
