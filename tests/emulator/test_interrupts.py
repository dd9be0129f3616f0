# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MSI-X vectors: every trigger reaches the client once, late if need be, and no descriptor is lost or leaked."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.device.interrupts import Interrupts, MsixBar

NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = (1 << bit for bit in range(6))

Eventfd = Callable[[], int]


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    interrupts = Interrupts(4)
    yield interrupts
    interrupts.disable_all()


@pytest.fixture
def eventfd() -> Iterator[Eventfd]:
    fds: list[int] = []

    def make() -> int:
        fds.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


def count(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def set_eventfds(interrupts: Interrupts, start: int, *fds: int) -> list[int]:
    """As the server does: the descriptors of a message are copies. Returns them."""
    copies = [os.dup(fd) for fd in fds]
    left = list(copies)
    interrupts.set_irqs(EVENTFD | TRIGGER, start, len(fds), b"", left)
    assert left == []
    return copies


def test_each_trigger_signals_its_vector(interrupts: Interrupts, eventfd: Eventfd) -> None:
    one, two = eventfd(), eventfd()
    set_eventfds(interrupts, 1, one, two)
    interrupts.trigger(2)
    interrupts.trigger(2)
    assert (count(one), count(two)) == (0, 2)
    interrupts.trigger(1)
    assert (count(one), count(two)) == (1, 0)


@pytest.mark.parametrize("vector", [-1, 4])
def test_no_such_vector(interrupts: Interrupts, vector: int) -> None:
    with pytest.raises(IndexError):
        interrupts.trigger(vector)


def test_a_trigger_without_eventfd_comes_once_when_there_is_one(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fd = eventfd()
    interrupts.trigger(0)
    interrupts.trigger(0)
    assert interrupts.pending(0) and not interrupts.pending(1)
    set_eventfds(interrupts, 0, fd)
    assert count(fd) == 1
    assert not interrupts.pending(0)


def test_a_vector_whose_eventfd_is_taken_away_remembers(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fd = eventfd()
    (copy,) = set_eventfds(interrupts, 3, fd)
    interrupts.set_irqs(EVENTFD | TRIGGER, 3, 1, b"", [])
    assert not is_open(copy)
    interrupts.trigger(3)
    assert count(fd) == 0
    set_eventfds(interrupts, 3, fd)
    assert count(fd) == 1


def test_a_replaced_eventfd_is_closed_and_silent(interrupts: Interrupts, eventfd: Eventfd) -> None:
    old, new = eventfd(), eventfd()
    set_eventfds(interrupts, 0, old)
    before = len(os.listdir("/proc/self/fd"))
    set_eventfds(interrupts, 0, new)
    assert len(os.listdir("/proc/self/fd")) == before
    interrupts.trigger(0)
    assert (count(old), count(new)) == (0, 1)


def test_mask_and_unmask(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fds = [eventfd() for _ in range(4)]
    set_eventfds(interrupts, 0, *fds)
    interrupts.set_irqs(NONE | MASK, 1, 2, b"", [])
    for vector in range(4):
        interrupts.trigger(vector)
        interrupts.trigger(vector)
    assert [count(fd) for fd in fds] == [2, 0, 0, 2]
    interrupts.set_irqs(BOOL | UNMASK, 1, 2, b"\0\1", [])
    assert [count(fd) for fd in fds] == [0, 0, 1, 0]
    interrupts.set_irqs(NONE | UNMASK, 1, 1, b"", [])
    assert [count(fd) for fd in fds] == [0, 1, 0, 0]
    interrupts.set_irqs(BOOL | MASK, 0, 4, b"\1\0\0\1", [])
    for vector in range(4):
        interrupts.trigger(vector)
    assert [count(fd) for fd in fds] == [0, 1, 1, 0]


def test_the_client_can_trigger(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fds = [eventfd() for _ in range(4)]
    set_eventfds(interrupts, 0, *fds)
    interrupts.set_irqs(NONE | TRIGGER, 1, 3, b"", [])
    assert [count(fd) for fd in fds] == [0, 1, 1, 1]
    interrupts.set_irqs(BOOL | TRIGGER, 0, 3, b"\1\0\7", [])
    assert [count(fd) for fd in fds] == [1, 0, 1, 0]


def test_a_count_of_0_disables_all_and_forgets(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fds = [eventfd() for _ in range(3)]
    copies = set_eventfds(interrupts, 0, *fds)
    interrupts.set_irqs(NONE | MASK, 1, 1, b"", [])
    interrupts.trigger(1)
    interrupts.trigger(3)
    interrupts.set_irqs(NONE | TRIGGER, 0, 0, b"", [])
    assert not any(is_open(copy) for copy in copies)
    set_eventfds(interrupts, 0, *fds)
    assert [count(fd) for fd in fds] == [0, 0, 0]
    interrupts.trigger(1)
    assert count(fds[1]) == 1  # no longer masked
    assert not interrupts.pending(3)


def test_reset_forgets_what_waits_and_keeps_eventfds(interrupts: Interrupts, eventfd: Eventfd) -> None:
    fd = eventfd()
    set_eventfds(interrupts, 0, fd)
    interrupts.trigger(1)
    interrupts.forget_pending()
    other = eventfd()
    set_eventfds(interrupts, 1, other)
    interrupts.trigger(0)
    assert (count(fd), count(other)) == (1, 0)


def test_a_full_counter_does_not_block(interrupts: Interrupts) -> None:
    fd = os.eventfd(0, os.EFD_CLOEXEC)  # blocking
    set_eventfds(interrupts, 0, fd)
    os.eventfd_write(fd, (1 << 64) - 2)
    interrupts.trigger(0)
    assert os.eventfd_read(fd) == (1 << 64) - 2
    os.close(fd)


@pytest.mark.parametrize(
    ("flags", "start", "number", "data", "fds"),
    [
        (0, 0, 1, b"", 0),
        (NONE, 0, 1, b"", 0),
        (TRIGGER, 0, 1, b"", 0),
        (NONE | TRIGGER | MASK, 0, 1, b"", 0),
        (NONE | MASK | UNMASK, 0, 1, b"", 0),
        (NONE | BOOL | TRIGGER, 0, 1, b"\1", 0),
        (EVENTFD | NONE | TRIGGER, 0, 1, b"", 1),
        (NONE | TRIGGER | 0x40, 0, 1, b"", 0),
        (NONE | TRIGGER | 0x8000_0000, 0, 1, b"", 0),
        (NONE | TRIGGER, 4, 1, b"", 0),
        (NONE | TRIGGER, 3, 2, b"", 0),
        (NONE | TRIGGER, 0, 5, b"", 0),
        (NONE | TRIGGER, 0xFFFF_FFFF, 1, b"", 0),
        (NONE | TRIGGER, 1, 0xFFFF_FFFF, b"", 0),
        (NONE | TRIGGER, 1, 0, b"", 0),
        (NONE | MASK, 0, 0, b"", 0),
        (BOOL | TRIGGER, 0, 0, b"", 0),
        (EVENTFD | TRIGGER, 0, 0, b"", 0),
        (BOOL | TRIGGER, 0, 2, b"\1", 0),
        (BOOL | TRIGGER, 0, 2, b"\1\1\1", 0),
        (EVENTFD | MASK, 0, 1, b"", 1),
        (EVENTFD | UNMASK, 0, 1, b"", 1),
        (EVENTFD | TRIGGER, 0, 2, b"", 1),
        (EVENTFD | TRIGGER, 0, 1, b"", 2),
        (EVENTFD | TRIGGER, 3, 2, b"", 2),
        (NONE | TRIGGER, 0, 1, b"", 1),
        (BOOL | TRIGGER, 0, 1, b"\1", 1),
    ],
)
def test_bad_requests_change_nothing(
    interrupts: Interrupts, eventfd: Eventfd, flags: int, start: int, number: int, data: bytes, fds: int
) -> None:
    mine = [eventfd() for _ in range(4)]
    set_eventfds(interrupts, 0, *mine)
    strangers = [eventfd() for _ in range(fds)]
    left = list(strangers)
    with pytest.raises(OSError) as caught:
        interrupts.set_irqs(flags, start, number, data, left)
    assert caught.value.errno == errno.EINVAL
    assert left == strangers and all(is_open(fd) for fd in strangers)
    assert [count(fd) for fd in mine] == [0, 0, 0, 0]
    for vector in range(4):
        interrupts.trigger(vector)
    assert [count(fd) for fd in mine] == [1, 1, 1, 1]


def test_what_is_no_eventfd_is_refused(interrupts: Interrupts, eventfd: Eventfd) -> None:
    mine = eventfd()
    set_eventfds(interrupts, 0, mine)
    read_end, write_end = os.pipe()
    left = [eventfd(), write_end]
    with pytest.raises(OSError, match="not an eventfd"):
        interrupts.set_irqs(EVENTFD | TRIGGER, 0, 2, b"", left)
    assert len(left) == 2
    interrupts.trigger(0)
    assert count(mine) == 1
    os.close(read_end)
    os.close(write_end)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["trigger", "mask", "unmask", "give", "take"]), st.integers(0, 2)), max_size=40))
def test_no_interrupt_is_lost_and_none_is_invented(steps: list[tuple[str, int]]) -> None:
    interrupts = Interrupts(3)
    fds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(3)]
    given_, masked, waiting, expected = [False] * 3, [False] * 3, [False] * 3, [0] * 3
    for step, vector in steps:
        if step == "trigger":
            interrupts.trigger(vector)
            if given_[vector] and not masked[vector]:
                expected[vector] += 1
            else:
                waiting[vector] = True
        elif step == "mask":
            interrupts.mask(vector)
            masked[vector] = True
        elif step == "unmask":
            interrupts.unmask(vector)
            masked[vector] = False
        elif step == "give":
            set_eventfds(interrupts, vector, fds[vector])
            given_[vector] = True
        else:
            interrupts.clear_eventfds(vector, 1)
            given_[vector] = False
        if waiting[vector] and given_[vector] and not masked[vector]:
            waiting[vector] = False
            expected[vector] += 1
        assert [interrupts.pending(v) for v in range(3)] == waiting
    assert [count(fd) for fd in fds] == expected
    interrupts.disable_all()
    for fd in fds:
        os.close(fd)


def test_msix_bar(eventfd: Eventfd) -> None:
    interrupts = Interrupts(300)
    bar = MsixBar(interrupts)
    assert bar.size == 1 << (bar.size.bit_length() - 1)
    assert bar.pba_offset >= 300 * 16 and bar.pba_offset + 300 // 8 + 1 <= bar.size
    assert bar.read(16 * 299 + 12, 4) == b"\1\0\0\0"  # masked after reset
    bar.write(16 * 299, bytes(range(16)))
    assert bar.read(16 * 299, 24) == bytes(range(16)) + bytes(8)
    interrupts.trigger(9)
    interrupts.trigger(299)
    assert bar.read(bar.pba_offset, 4) == b"\0\2\0\0"
    assert bar.read(bar.pba_offset + 37, 1) == bytes([1 << 3])
    bar.write(bar.pba_offset, b"\xff" * 8)
    bar.write(16 * 300 - 4, b"\xff" * 8)
    assert bar.read(bar.pba_offset, 4) == b"\0\2\0\0"
    assert bar.read(16 * 300 - 4, 8) == b"\xff" * 4 + bytes(4)
    bar.reset()
    assert bar.read(16 * 299, 16) == bytes(12) + b"\1\0\0\0"
