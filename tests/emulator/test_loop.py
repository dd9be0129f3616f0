# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event loop: who is called, in which order, and who is not called any more."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from lab.device.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


def test_reader_is_called_until_it_is_removed(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    seen: list[bytes] = []

    def on_readable() -> None:
        seen.append(left.recv(1))
        if seen == [b"a", b"b"]:
            loop.remove_reader(left)
            loop.call_later(0, loop.stop)

    loop.add_reader(left, on_readable)
    right.send(b"abc")
    loop.run()
    assert seen == [b"a", b"b"]


def test_reader_and_writer_of_one_socket(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    calls: list[str] = []

    def on_writable() -> None:
        calls.append("write")
        loop.remove_writer(left)
        right.send(b"x")

    def on_readable() -> None:
        calls.append("read")
        loop.stop()

    loop.add_reader(left, on_readable)
    loop.add_writer(left, on_writable)
    loop.run()
    assert calls == ["write", "read"]


def test_a_reader_removed_in_the_same_round_is_not_called(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def reader(mine: int) -> None:
        called.append(mine)
        loop.remove_reader(pairs[1 - mine][0])
        loop.call_later(0, loop.stop)

    for number, (left, right) in enumerate(pairs):
        loop.add_reader(left, partial(reader, number))
        right.send(b"x")
    loop.run()
    assert len(set(called)) == 1
    for left, right in pairs:
        left.close()
        right.close()


def test_a_reused_number_does_not_get_the_event_of_its_predecessor(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    idle = os.eventfd(0)
    wrong: list[str] = []
    done: list[int] = []

    def reader(mine: int) -> None:
        # The other one is ready in the same round: let its number mean something else that is not ready.
        if not done:
            other = pairs[1 - mine][0].fileno()
            loop.remove_reader(other)
            os.dup2(idle, other)
            loop.add_reader(other, lambda: wrong.append("called"))
            loop.call_later(0, loop.stop)
        done.append(mine)

    for number, (left, right) in enumerate(pairs):
        loop.add_reader(left, partial(reader, number))
        right.send(b"x")
    loop.run()
    assert wrong == []
    for left, right in pairs:
        left.close()
        right.close()
    os.close(idle)


def test_timers_run_in_order_and_not_when_cancelled(loop: Loop) -> None:
    order: list[str] = []
    loop.call_later(0.002, lambda: order.append("third"))
    loop.call_later(0, lambda: order.append("first"))
    loop.call_later(0.001, lambda: order.append("cancelled")).cancel()
    loop.call_later(0.001, lambda: order.append("second"))
    loop.call_later(0.003, loop.stop)
    loop.run()
    assert order == ["first", "second", "third"]


def test_a_timer_that_starts_itself_again_does_not_starve_readers(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    left, right = pair
    rounds: list[int] = []

    def again() -> None:
        rounds.append(len(rounds))
        if len(rounds) == 3:
            right.send(b"x")
        loop.call_later(0, again)

    again()
    loop.add_reader(left, loop.stop)
    loop.run()
    assert len(rounds) >= 3


def test_stop_from_another_thread(loop: Loop) -> None:
    running = threading.Event()
    loop.call_later(0, running.set)
    thread = threading.Thread(target=loop.run)
    thread.start()
    assert running.wait(20)
    loop.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_an_exception_leaves_run(loop: Loop) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    loop.call_later(0, fail)
    with pytest.raises(RuntimeError, match="a bug"):
        loop.run()


def test_a_loop_can_run_again(loop: Loop) -> None:
    rounds: list[int] = []
    for number in range(2):
        loop.call_later(0, partial(rounds.append, number))
        loop.call_later(0, loop.stop)
        loop.run()
    assert rounds == [0, 1]
