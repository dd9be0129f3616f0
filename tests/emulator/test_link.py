# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two switches joined over datagram sockets, with peers that come and go."""

from __future__ import annotations

import select
import socket

import pytest
from lab.net.link import DatagramLink
from lab.net.switch import Switch


class Station:
    def __init__(self, switch: Switch) -> None:
        self.frames: list[bytes] = []
        switch.attach(self)
        self._switch = switch

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send(self, payload: bytes) -> bytes:
        frame = b"\xff" * 6 + bytes.fromhex("020000000001") + b"\x08\x00" + payload
        self._switch.send(self, frame)
        return frame


class Side:
    """One server: a switch, a station and the link."""

    def __init__(self, local, peer) -> None:
        self.switch = Switch()
        self.station = Station(self.switch)
        self.link = DatagramLink(self.switch, local, peer)

    def pump(self) -> None:
        while select.select([self.link], [], [], 0)[0]:
            self.link.on_readable()


@pytest.fixture
def sides(tmp_path):
    made = []

    def make(local, peer):
        made.append(Side(tmp_path / local, tmp_path / peer))
        return made[-1]

    yield make
    for side in made:
        if side.link.fileno() >= 0:
            side.link.close()


def test_frames_of_all_sizes_pass_both_ways(sides):
    a, b = sides("a", "b"), sides("b", "a")
    sent = [a.station.send(bytes(size)) for size in (0, 46, 1500, 9000, 65000)]
    b.pump()
    assert b.station.frames == sent
    answer = b.station.send(b"answer")
    a.pump()
    assert a.station.frames == [answer]
    assert (a.link.counters.sent, b.link.counters.received) == (5, 5)


def test_a_burst_longer_than_the_kernels_datagram_queue_is_not_lost(sides):
    a, b = sides("a", "b"), sides("b", "a")
    b.link.tick(0.0)
    sent = [a.station.send(b"%04d" % number + bytes(1446)) for number in range(44)]
    b.pump()
    assert b.station.frames == sent
    assert a.link.counters.dropped_full == 0


def test_a_peer_that_does_not_read_costs_frames_but_does_not_block(sides):
    a, b = sides("a", "b"), sides("b", "a")
    for _ in range(20000):
        a.station.send(bytes(1446))
        if a.link.counters.dropped_full:
            break
    assert a.link.counters.dropped_full == 1
    b.pump()
    assert len(b.station.frames) == a.link.counters.sent


def test_the_peer_may_come_later(sides):
    a = sides("a", "b")
    a.station.send(b"lost")
    assert a.link.counters.dropped_no_peer == 1
    b = sides("b", "a")
    sent = a.station.send(b"seen")
    b.pump()
    assert b.station.frames == [sent]


def test_the_peer_may_vanish_and_return(sides):
    a, b = sides("a", "b"), sides("b", "a")
    a.station.send(b"first")
    b.station.send(b"first")
    b.link.close()
    a.station.send(b"lost")
    assert a.link.counters.dropped_no_peer == 1
    again = sides("b", "a")
    sent = a.station.send(b"back")
    again.pump()
    assert again.station.frames == [sent]


def test_a_peer_that_was_started_again_in_between_misses_nothing(sides):
    a, b = sides("a", "b"), sides("b", "a")
    a.station.send(b"first")
    b.link.close()
    again = sides("b", "a")
    sent = a.station.send(b"second")
    again.pump()
    assert again.station.frames == [sent]


def test_the_socket_of_a_server_that_was_killed_is_replaced(sides, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
        killed.bind(str(tmp_path / "a"))
    sides("a", "b")


def test_a_returned_peer_that_speaks_first_is_heard_after_a_tick(sides):
    a, b = sides("a", "b"), sides("b", "a")
    a.station.send(b"connects a to b")
    b.link.close()
    again = sides("b", "a")
    again.station.send(b"refused: a still is connected to the old socket")
    assert again.link.counters.dropped_no_peer == 1
    a.pump()
    before = (a.link.counters.sent, a.link.counters.dropped_no_peer)
    a.link.tick(0.0)
    assert (a.link.counters.sent, a.link.counters.dropped_no_peer) == before
    again.pump()
    sent = again.station.send(b"heard")
    a.pump()
    assert a.station.frames[-1] == sent
    assert again.station.frames == []


def test_a_frame_that_no_datagram_holds_is_counted(sides):
    a = sides("a", "b")
    sides("b", "a")
    a.station.send(bytes(64 << 20))
    assert a.link.counters.dropped_error == 1


def test_closing_removes_the_socket(sides, tmp_path):
    a = sides("a", "b")
    a.link.close()
    assert not (tmp_path / "a").exists()
    with pytest.raises(OSError):
        DatagramLink(Switch(), tmp_path / "no" / "directory", tmp_path / "b")
