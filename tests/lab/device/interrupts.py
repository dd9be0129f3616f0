# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MSI-X interrupts: one eventfd of the client per vector, and the BAR with the vectors' table.

QEMU keeps the real MSI-X table itself: it gives the device an eventfd for a vector when the guest first unmasks it, and takes all of
them back when the guest disables MSI-X (hw/vfio/pci.c, hw/vfio-user/device.c). The meaning of VFIO_DEVICE_SET_IRQS is in linux/vfio.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from .vfio_abi import (
    VFIO_IRQ_SET_ACTION_MASK,
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_ACTION_TYPE_MASK,
    VFIO_IRQ_SET_ACTION_UNMASK,
    VFIO_IRQ_SET_DATA_BOOL,
    VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_IRQ_SET_DATA_NONE,
    VFIO_IRQ_SET_DATA_TYPE_MASK,
)

# linux/pci_regs.h
PCI_MSIX_ENTRY_SIZE = 16
PCI_MSIX_ENTRY_VECTOR_CTRL = 0xC
PCI_MSIX_ENTRY_CTRL_MASKBIT = 0x1

EVENTFD_LINK = "anon_inode:[eventfd]"


class Interrupts:
    """The MSI-X vectors of one function, numbered from 0.

    A vector that is triggered while it is masked or has no eventfd is remembered and signalled once, when both are there, as a real
    function does with its Pending Bit Array. Otherwise an event queue that was armed, and fired, just before the guest unmasked its
    vector would stay silent for ever: it is armed once per interrupt.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._fds: list[int | None] = [None] * count
        self._masked = [False] * count
        self._pending = [False] * count

    def trigger(self, vector: int) -> None:
        """Signal `vector`, now or as soon as possible. Raises IndexError for a vector that the function does not have."""
        if not 0 <= vector < self.count:
            raise IndexError(f"vector {vector} of {self.count}")
        fd = self._fds[vector]
        if fd is None or self._masked[vector]:
            self._pending[vector] = True
            return
        try:
            os.eventfd_write(fd, 1)
        except BlockingIOError:
            # The counter is at its maximum: the client is being told already.
            pass

    def pending(self, vector: int) -> bool:
        """Whether `vector` waits for an eventfd or to be unmasked."""
        return self._pending[vector]

    def forget_pending(self) -> None:
        """Forget what waits: the device was reset, and with it the reasons to interrupt."""
        self._pending = [False] * self.count

    def set_eventfds(self, start: int, fds: Sequence[int]) -> None:
        """Signal `fds[i]` for vector `start + i` from now on, and close what these vectors had before.

        Takes the descriptors over. Raises OSError (EINVAL) and leaves them to the caller if one is not an eventfd: anything else
        could block the server, and a write to it would not be an interrupt. They become non-blocking for the same reason.
        """
        self._check_range(start, len(fds))
        for fd in fds:
            if os.readlink(f"/proc/self/fd/{fd}") != EVENTFD_LINK:
                raise OSError(errno.EINVAL, "not an eventfd")
        for vector, fd in enumerate(fds, start):
            os.set_blocking(fd, False)
            self._close(vector)
            self._fds[vector] = fd
            self._fire_pending(vector)

    def clear_eventfds(self, start: int, count: int) -> None:
        """Close the eventfds of these vectors. What happens on them from now on waits for the next eventfd."""
        self._check_range(start, count)
        for vector in range(start, start + count):
            self._close(vector)

    def mask(self, vector: int) -> None:
        """Hold the signals of `vector` back."""
        self._masked[vector] = True

    def unmask(self, vector: int) -> None:
        """Let the signals of `vector` pass, with the one that was held back."""
        self._masked[vector] = False
        self._fire_pending(vector)

    def disable_all(self) -> None:
        """Close all eventfds and forget masks and what waits: the guest has disabled MSI-X, or the client has gone."""
        self.clear_eventfds(0, self.count)
        self._masked = [False] * self.count
        self.forget_pending()

    def set_irqs(self, flags: int, start: int, count: int, data: bytes, fds: list[int]) -> None:
        """Do what a VFIO_USER_DEVICE_SET_IRQS message for MSI-X asks. Descriptors that are kept are removed from `fds`.

        Raises OSError (EINVAL) and changes nothing if the message makes no sense.
        """
        action = flags & VFIO_IRQ_SET_ACTION_TYPE_MASK
        data_type = flags & VFIO_IRQ_SET_DATA_TYPE_MASK
        self._check_range(start, count)
        if flags != action | data_type:
            raise OSError(errno.EINVAL, "unknown flags")
        if fds and data_type != VFIO_IRQ_SET_DATA_EVENTFD:
            raise OSError(errno.EINVAL, "descriptors without VFIO_IRQ_SET_DATA_EVENTFD")
        if data_type == VFIO_IRQ_SET_DATA_EVENTFD:
            if action != VFIO_IRQ_SET_ACTION_TRIGGER:
                raise OSError(errno.EINVAL, "eventfds can only be triggered, MSI-X has no automatic masks")
            self._set_irqs_eventfd(start, count, fds)
            return
        if data_type == VFIO_IRQ_SET_DATA_NONE:
            chosen = list(range(start, start + count))
        elif data_type == VFIO_IRQ_SET_DATA_BOOL:
            if len(data) != count:
                raise OSError(errno.EINVAL, f"{len(data)} bools for {count} vectors")
            chosen = [start + index for index, value in enumerate(data) if value]
        else:
            raise OSError(errno.EINVAL, "not exactly one type of data")
        if count == 0:
            if flags != VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE or start != 0:
                raise OSError(errno.EINVAL, "a count of 0 means to disable all vectors, and needs DATA_NONE, TRIGGER and start 0")
            self.disable_all()
            return
        actions = {VFIO_IRQ_SET_ACTION_MASK: self.mask, VFIO_IRQ_SET_ACTION_UNMASK: self.unmask, VFIO_IRQ_SET_ACTION_TRIGGER: self.trigger}
        if action not in actions:
            raise OSError(errno.EINVAL, "not exactly one action")
        for vector in chosen:
            actions[action](vector)

    def _set_irqs_eventfd(self, start: int, count: int, fds: list[int]) -> None:
        # In linux/vfio.h a descriptor of -1 takes the eventfd away. A message cannot carry -1, so here no descriptor at all does.
        if count == 0 or len(fds) not in (0, count):
            raise OSError(errno.EINVAL, f"{len(fds)} descriptors for {count} vectors")
        if fds:
            self.set_eventfds(start, fds)
            fds.clear()
        else:
            self.clear_eventfds(start, count)

    def _check_range(self, start: int, count: int) -> None:
        if start < 0 or count < 0 or start + count > self.count:
            raise OSError(errno.EINVAL, f"vectors {start} to {start + count - 1} of {self.count}")

    def _fire_pending(self, vector: int) -> None:
        if self._pending[vector]:
            self._pending[vector] = False
            self.trigger(vector)

    def _close(self, vector: int) -> None:
        fd, self._fds[vector] = self._fds[vector], None
        if fd is not None:
            os.close(fd)


class MsixBar:
    """The BAR with MSI-X table (at offset 0) and Pending Bit Array (behind it, on a page of its own).

    The client intercepts accesses to the table and QEMU never forwards them; it does forward reads of the Pending Bit Array
    (hw/vfio-user/pci.c). So the table is plain memory, and only the pending bits mean something.
    """

    TABLE_OFFSET = 0

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        table_size = interrupts.count * PCI_MSIX_ENTRY_SIZE
        self.pba_offset = max(0x1000, 1 << (table_size - 1).bit_length())
        self.size = 2 * self.pba_offset
        self._table = bytearray(table_size)
        self.reset()

    def reset(self) -> None:
        """All vectors masked, as after a reset of the function (PCI Local Bus Specification 3.0, 6.8.2.9)."""
        self._table[:] = bytes(len(self._table))
        for vector in range(self._interrupts.count):
            self._table[vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes at `offset`: of the table, pending bits, or zeros."""
        content = bytearray(self.size)
        content[: len(self._table)] = self._table
        for vector in range(self._interrupts.count):
            if self._interrupts.pending(vector):
                content[self.pba_offset + vector // 8] |= 1 << vector % 8
        return bytes(content[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """Store into the table; what is outside of it is read-only."""
        kept = data[: max(0, len(self._table) - offset)]
        self._table[offset : offset + len(kept)] = kept
