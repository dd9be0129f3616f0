# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver gives the device of its memory: DMA regions (lists of pages) and memory keys that name them.

A region is what queues lie in. A memory key is what a scatter-gather entry names: the key of a kernel driver stands for
guest-physical (DMA) addresses, that of a memory region for virtual addresses of a process.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .gdma_defs import MANA_PAGE_SIZE
from .guest_memory import DmaError, GuestMemory

Extent = tuple[int, int]
"""DMA address and bytes of a piece of guest memory."""


@dataclasses.dataclass(slots=True)
class DmaRegion:
    """Pages in the order in which the driver numbers their bytes. Pages may still be missing: see complete."""

    length: int
    offset_in_page: int
    page_size: int
    page_count: int
    pages: list[int]

    @property
    def complete(self) -> bool:
        return len(self.pages) == self.page_count

    def extents(self, offset: int, size: int) -> list[Extent]:
        """Where the bytes [offset, offset + size) lie, neighbours merged.

        :raises DmaError: they are not all within the region
        """
        if offset < 0 or size < 0 or offset + size > self.length or not self.complete:
            raise DmaError(offset, size, f"outside a DMA region of {self.length} bytes")
        position = self.offset_in_page + offset
        found: list[Extent] = []
        while size:
            page, within = divmod(position, self.page_size)
            piece = min(size, self.page_size - within)
            address = self.pages[page] + within
            if found and sum(found[-1]) == address:
                found[-1] = (found[-1][0], found[-1][1] + piece)
            else:
                found.append((address, piece))
            position += piece
            size -= piece
        return found


class MemoryKey(Protocol):
    """What a mem_key stands for."""

    @property
    def pages(self) -> int:
        """Page addresses that are kept for it."""

    def extents(self, address: int, size: int, write: bool) -> list[Extent]:
        """:raises DmaError: the key gives no such access"""


class GpaKey:
    """gpa_mkey: addresses are DMA addresses already. GuestMemory checks them."""

    pages = 0

    def extents(self, address: int, size: int, write: bool) -> list[Extent]:
        return [(address, size)]


@dataclasses.dataclass(slots=True)
class MemoryRegion:
    """GDMA_MR_TYPE_GVA: virtual addresses from virtual_address on are the bytes of a DMA region."""

    region: DmaRegion
    virtual_address: int
    writable: bool

    @property
    def pages(self) -> int:
        return self.region.page_count

    def extents(self, address: int, size: int, write: bool) -> list[Extent]:
        if write and not self.writable:
            raise DmaError(address, size, "memory region is read-only")
        return self.region.extents(address - self.virtual_address, size)


class RingMemory:
    """The bytes of a queue: a complete region whose length is a power of two, read and written modulo that length.

    Kernel queues are one extent, those of a process may be scattered.
    """

    def __init__(self, memory: GuestMemory, region: DmaRegion) -> None:
        """:raises ValueError: the region is no ring: too short, no power of two, not aligned, incomplete"""
        size = region.length
        if size < MANA_PAGE_SIZE or size & (size - 1) or region.offset_in_page or not region.complete:
            raise ValueError(f"a DMA region of {size} bytes at offset {region.offset_in_page} can hold no queue")
        self.size = size
        self.pages = region.page_count
        self._memory = memory
        self._extents = region.extents(0, size)
        self._base = self._extents[0][0] if len(self._extents) == 1 else None

    def read(self, position: int, size: int) -> bytes:
        """:raises DmaError: the guest took the memory away"""
        position &= self.size - 1
        if self._base is not None and position + size <= self.size:
            return self._memory.read(self._base + position, size)
        return b"".join(self._memory.read(address, length) for address, length in self._pieces(position, size))

    def write(self, position: int, data: bytes) -> None:
        """:raises DmaError: the guest took the memory away"""
        position &= self.size - 1
        if self._base is not None and position + len(data) <= self.size:
            self._memory.write(self._base + position, data)
            return
        begin = 0
        for address, length in self._pieces(position, len(data)):
            self._memory.write(address, data[begin : begin + length])
            begin += length

    def _pieces(self, position: int, size: int) -> list[Extent]:
        found: list[Extent] = []
        if position + size > self.size:
            head = self.size - position
            return self._pieces(position, head) + self._pieces(0, size - head)
        for address, length in self._extents:
            piece = min(size, length - position)
            if piece > 0:
                found.append((address + position, piece))
                size -= piece
            position = max(0, position - length)
        return found
