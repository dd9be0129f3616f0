# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event loop that all parts of the device server share: file descriptors and timers, one thread, no locks."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import time
from collections.abc import Callable
from typing import Protocol


class HasFileno(Protocol):
    """A socket, a file, anything that `selectors` accepts."""

    def fileno(self) -> int: ...


FileObject = int | HasFileno
Callback = Callable[[], None]


class Timer:
    """A callback that `Loop.call_later` has accepted."""

    def __init__(self, deadline: float, callback: Callback) -> None:
        self.deadline = deadline
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Forget the callback. Harmless once it has run."""
        self.callback = None


class _Watch:
    """What to call for one descriptor."""

    __slots__ = ("read", "write")

    def __init__(self) -> None:
        self.read: Callback | None = None
        self.write: Callback | None = None

    def events(self) -> int:
        return (selectors.EVENT_READ if self.read else 0) | (selectors.EVENT_WRITE if self.write else 0)


class Loop:
    """Calls back when a descriptor is ready or a timer is due, until it is stopped.

    Callbacks must not block. An exception of a callback is a bug of the device server: it leaves `run`, so that it is seen.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._watches: dict[int, _Watch] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopping = False
        # A wait in progress ends only by a descriptor: signal handlers and other threads stop the loop through this one.
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.add_reader(self._wakeup, self._drain_wakeup)

    def add_reader(self, fileobj: FileObject, callback: Callback) -> None:
        """Call `callback` whenever `fileobj` is readable or at its end. Replaces an earlier reader."""
        watch = self._watch(fileobj)
        watch.read = callback
        self._update(fileobj, watch)

    def remove_reader(self, fileobj: FileObject) -> None:
        """Undo `add_reader`; call it before the descriptor is closed. Harmless if there is no reader."""
        watch = self._watch(fileobj)
        watch.read = None
        self._update(fileobj, watch)

    def add_writer(self, fileobj: FileObject, callback: Callback) -> None:
        """Call `callback` whenever `fileobj` can take more data. Replaces an earlier writer."""
        watch = self._watch(fileobj)
        watch.write = callback
        self._update(fileobj, watch)

    def remove_writer(self, fileobj: FileObject) -> None:
        """Undo `add_writer`; call it before the descriptor is closed. Harmless if there is no writer."""
        watch = self._watch(fileobj)
        watch.write = None
        self._update(fileobj, watch)

    def call_later(self, seconds: float, callback: Callback) -> Timer:
        """Call `callback` once, not before `seconds` from now. With 0 it runs in the next round, after what is ready now."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, (timer.deadline, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Serve until `stop` is called."""
        while not self._stopping:
            self._run_once()
        self._stopping = False

    def stop(self) -> None:
        """Make `run` return after the callback that is running. May be called from a signal handler or another thread."""
        self._stopping = True
        os.eventfd_write(self._wakeup, 1)

    def close(self) -> None:
        """Release the loop's own descriptors. What was registered is left open: it belongs to those who registered it."""
        self.remove_reader(self._wakeup)
        os.close(self._wakeup)
        self._selector.close()

    def _watch(self, fileobj: FileObject) -> _Watch:
        return self._watches.get(_fd(fileobj)) or _Watch()

    def _update(self, fileobj: FileObject, watch: _Watch) -> None:
        fd, events = _fd(fileobj), watch.events()
        known = fd in self._watches
        if events and known:
            self._selector.modify(fd, events, watch)
        elif events:
            self._selector.register(fd, events, watch)
            self._watches[fd] = watch
        elif known:
            self._selector.unregister(fd)
            del self._watches[fd]

    def _run_once(self) -> None:
        for key, events in self._selector.select(self._timeout()):
            # A callback of this round may have removed the next watch, and its number may already belong to somebody else. That
            # one has another watch: this one calls nobody any more.
            watch: _Watch = key.data
            if events & selectors.EVENT_READ and watch.read:
                watch.read()
            if events & selectors.EVENT_WRITE and watch.write:
                watch.write()
            if self._stopping:
                return
        self._run_timers()

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now and not self._stopping:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback:
                callback()

    def _drain_wakeup(self) -> None:
        os.eventfd_read(self._wakeup)


def _fd(fileobj: FileObject) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()
