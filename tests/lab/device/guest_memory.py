# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest memory as the device sees it: DMA addresses backed by files that the client has shared.

Limits: a client that truncates a file after it was mapped makes the next access end in SIGBUS, which kills the device server.
Nothing but F_SEAL_SHRINK can prevent that; QEMU's memory-backend-memfd seals its files by default, so the lab does not check for it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from struct import Struct
from typing import Any

ADDRESS_SPACE_SIZE = 1 << 64
# QEMU's own limit (VFIO_USER_DEF_MAP_MAX in hw/vfio-user/proxy.h), and that of the kernel's type 1 IOMMU.
MAX_MAPS = 65535


class DmaError(Exception):
    """The device was told to access memory that it must not: `size` bytes at `address`. Nothing was read or written."""

    def __init__(self, address: int, size: int, why: str) -> None:
        super().__init__(f"DMA of {size} bytes at {address:#x}: {why}")
        self.address = address
        self.size = size
        self.why = why


class _File:
    """One mmap of a whole file, shared by all maps of that file: QEMU sends dozens of small maps of one memfd while it boots."""

    def __init__(self, fd: int, size: int, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.memory = mmap.mmap(fd, size, mmap.MAP_SHARED, protection)
        self.size = size
        self.users = 0

    def release(self) -> bool:
        """Count one user less. Returns whether that was the last one, and the mmap is closed."""
        self.users -= 1
        if self.users:
            return False
        try:
            self.memory.close()
        except BufferError:
            # Somebody still holds a view(). Python unmaps the file when the last view is gone.
            pass
        return True


class _Map:
    """DMA addresses `start` ≤ a < `end`. `base` is the offset in the file that stands for `start`."""

    __slots__ = ("base", "end", "file", "key", "memory", "readable", "start", "writable")

    def __init__(self, start: int, end: int, base: int, readable: bool, writable: bool) -> None:
        self.start = start
        self.end = end
        self.base = base
        self.readable = readable
        self.writable = writable
        self.key: tuple[int, int, bool] | None = None
        self.file: _File | None = None
        self.memory: Any = None  # file.memory (an mmap), one look-up nearer to the data path


# What the last hit refers to when there is none: no address is in it.
_NOWHERE = _Map(0, -1, 0, False, False)


class GuestMemory:
    """The maps that VFIO_USER_DMA_MAP has made, and access to what is behind them."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._maps: list[_Map] = []
        self._files: dict[tuple[int, int, bool], _File] = {}
        # Rings and buffers of a queue are neighbours: the last hit is usually the next one.
        self._last = _NOWHERE

    def __len__(self) -> int:
        """The number of maps."""
        return len(self._maps)

    # Maps

    def map(self, address: int, size: int, fd: int | None, offset: int, *, readable: bool, writable: bool) -> None:
        """Let the device access `size` bytes at DMA address `address`, which are in file `fd` from byte `offset` on.

        The caller keeps `fd` and may close it. Without `fd` the map is recorded, but every access is refused: the protocol then
        wants VFIO_USER_DMA_READ and _WRITE messages, which QEMU does not serve.

        Raises OSError and changes nothing: EINVAL for ranges that are empty, beyond 64 bits or beyond the end of the file, and for
        what is no regular file (a memfd is one); EEXIST for overlaps; ENOSPC for more than MAX_MAPS; EACCES or EPERM for a file that
        may not be mapped this way.
        """
        if size <= 0 or address < 0 or offset < 0 or address + size > ADDRESS_SPACE_SIZE:
            raise OSError(errno.EINVAL, f"bad map of {size} bytes at {address:#x}, offset {offset:#x}")
        if len(self._maps) >= MAX_MAPS:
            raise OSError(errno.ENOSPC, f"more than {MAX_MAPS} maps")
        index = bisect_right(self._starts, address)
        before_ends = self._maps[index - 1].end if index else 0
        after_starts = self._starts[index] if index < len(self._starts) else ADDRESS_SPACE_SIZE
        if before_ends > address or after_starts < address + size:
            raise OSError(errno.EEXIST, f"map of {size} bytes at {address:#x} overlaps another one")
        part = _Map(address, address + size, offset, readable, writable)
        if fd is not None:
            part.key, part.file = self._open(fd, offset + size, writable)
            part.file.users += 1
            part.memory = part.file.memory
        self._starts.insert(index, address)
        self._maps.insert(index, part)

    def unmap(self, address: int, size: int) -> None:
        """Remove all maps inside `size` bytes at `address`. Raises OSError and changes nothing: ENOENT if there are none,
        EINVAL if the range would cut one in two."""
        if size <= 0 or address < 0 or address + size > ADDRESS_SPACE_SIZE:
            raise OSError(errno.EINVAL, f"bad unmap of {size} bytes at {address:#x}")
        end = address + size
        first = bisect_right(self._starts, address - 1)
        last = bisect_right(self._starts, end - 1)
        cut_at_start = first > 0 and self._maps[first - 1].end > address
        cut_at_end = last > first and self._maps[last - 1].end > end
        if cut_at_start or cut_at_end:
            raise OSError(errno.EINVAL, f"unmap of {size} bytes at {address:#x} would cut a map")
        if first == last:
            raise OSError(errno.ENOENT, f"nothing is mapped in {size} bytes at {address:#x}")
        self._remove(first, last)

    def unmap_all(self) -> None:
        """Remove all maps."""
        self._remove(0, len(self._maps))

    # Access

    def read(self, address: int, size: int) -> bytes:
        """Return a copy of `size` bytes at `address`. Raises DmaError."""
        part = self._last
        if not part.start <= address <= address + size <= part.end:
            part = self._find(address, size)
        if part.readable and part.file:
            at = part.base + address - part.start
            data: bytes = part.memory[at : at + size]
            return data
        parts = list(self._parts(address, size, writing=False))
        return b"".join(part.memory[at : at + count] for part, at, count in parts)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at `address`. Raises DmaError before anything is written."""
        part = self._last
        size = len(data)
        if not part.start <= address <= address + size <= part.end:
            part = self._find(address, size)
        if part.writable and part.file:
            at = part.base + address - part.start
            part.memory[at : at + size] = data
            return
        done = 0
        for part, at, count in list(self._parts(address, size, writing=True)):
            part.memory[at : at + count] = data[done : done + count]
            done += count

    def view(self, address: int, size: int) -> memoryview:
        """Return `size` bytes at `address` without a copy; writable where the device may write.

        Raises DmaError, also where the bytes are in two adjacent maps: use `read` then. Do not keep the view for longer than one
        request: it pins the file, and would show memory that the guest has taken back.
        """
        part = self._last
        if not part.start <= address <= address + size <= part.end:
            part = self._find(address, size)
        if not (part.readable and part.file):
            list(self._parts(address, size, writing=False))  # says what is wrong, if it is more than this:
            raise DmaError(address, size, "not in one map")
        at = part.base + address - part.start
        return memoryview(part.memory)[at : at + size]

    def unpack(self, layout: Struct, address: int) -> tuple[Any, ...]:
        """Return the fields of the structure at `address`. Raises DmaError."""
        part = self._last
        if not (part.start <= address and address + layout.size <= part.end):
            part = self._find(address, layout.size)
        if part.readable and part.file:
            return layout.unpack_from(part.memory, part.base + address - part.start)
        return layout.unpack(self.read(address, layout.size))

    def pack(self, layout: Struct, address: int, *values: Any) -> None:
        """Store a structure at `address`. Raises DmaError."""
        self.write(address, layout.pack(*values))

    # Internals

    def _open(self, fd: int, needed: int, writable: bool) -> tuple[tuple[int, int, bool], _File]:
        """Return the mmap for `fd`, which must have `needed` bytes. Only an access beyond the end of the file could kill the
        server (SIGBUS), so the size is checked and not what the client says."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "guest memory must be a regular file or a memfd")
        if needed > status.st_size:
            raise OSError(errno.EINVAL, f"file has {status.st_size} bytes, the map needs {needed}")
        if writable and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDWR:
            raise OSError(errno.EACCES, "writable map of a read-only file")
        key = (status.st_dev, status.st_ino, writable)
        known = self._files.get(key)
        # A file that has grown since needs a longer mmap; the maps of the shorter one keep theirs.
        if known is None or known.size < needed:
            known = self._files[key] = _File(fd, status.st_size, writable)
        return key, known

    def _remove(self, first: int, last: int) -> None:
        removed = self._maps[first:last]
        del self._maps[first:last]
        del self._starts[first:last]
        self._last = _NOWHERE
        for part in removed:
            part.memory = None
            if part.file and part.key and part.file.release() and self._files.get(part.key) is part.file:
                del self._files[part.key]

    def _find(self, address: int, size: int) -> _Map:
        """Return the one map that holds the bytes, and remember it; without one, a map that may not be accessed."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and size >= 0 and address + size <= self._maps[index].end:
            self._last = self._maps[index]
            return self._last
        return _NOWHERE

    def _parts(self, address: int, size: int, *, writing: bool) -> Iterator[tuple[_Map, int, int]]:
        """Yield (map, offset in its file, number of bytes) for each of the adjacent maps that hold the bytes."""
        if size < 0:
            raise DmaError(address, size, "negative size")
        position, end = address, address + size
        while position < end:
            index = bisect_right(self._starts, position) - 1
            part = self._maps[index] if index >= 0 else _NOWHERE
            if position >= part.end:
                raise DmaError(address, size, f"nothing is mapped at {position:#x}")
            if not (part.writable if writing else part.readable):
                raise DmaError(address, size, "not writable" if writing else "not readable")
            if part.file is None:
                raise DmaError(address, size, "mapped without a file")
            count = min(end, part.end) - position
            yield part, part.base + position - part.start, count
            position += count
