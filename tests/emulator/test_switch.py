# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Learning, flooding, order and limits of the switch."""

from __future__ import annotations

import pytest
from lab.net.switch import Switch

BROADCAST = b"\xff" * 6


class Recorder:
    """A port that keeps what it gets and may answer."""

    def __init__(self, switch: Switch, answer=None) -> None:
        self.switch = switch
        self.answer = answer
        self.frames: list[bytes] = []
        switch.attach(self)

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)
        if self.answer is not None:
            self.answer(frame)


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, number >> 8, number & 0xFF])


def frame(dst: bytes, src: bytes, payload: bytes = b"") -> bytes:
    return dst + src + b"\x08\x00" + payload


def three_ports() -> tuple[Switch, list[Recorder]]:
    switch = Switch()
    return switch, [Recorder(switch) for _ in range(3)]


def test_unknown_stations_are_flooded_and_known_ones_are_not():
    switch, (a, b, c) = three_ports()
    switch.send(a, frame(mac(2), mac(1)))
    assert (len(a.frames), len(b.frames), len(c.frames)) == (0, 1, 1)
    switch.send(b, frame(mac(1), mac(2)))
    switch.send(a, frame(mac(2), mac(1)))
    assert (len(a.frames), len(b.frames), len(c.frames)) == (1, 2, 1)
    assert switch.port_of(mac(2)) is b
    assert (switch.counters.frames, switch.counters.bytes) == (3, 42)
    assert (switch.counters.delivered, switch.counters.flooded) == (4, 1)


@pytest.mark.parametrize("dst", [BROADCAST, bytes.fromhex("333300000001")])
def test_groups_are_flooded_even_after_they_were_a_source(dst):
    switch, (a, b, c) = three_ports()
    switch.send(b, frame(mac(9), dst))
    switch.send(a, frame(dst, mac(1)))
    assert (len(a.frames), len(b.frames), len(c.frames)) == (1, 1, 2)


def test_a_station_behind_the_source_port_gets_no_copy():
    switch, (a, b, c) = three_ports()
    switch.send(a, frame(BROADCAST, mac(1)))
    switch.send(a, frame(mac(1), mac(3)))
    assert (len(a.frames), len(b.frames), len(c.frames)) == (0, 1, 1)
    assert switch.counters.dropped_local == 1


def test_a_station_may_move():
    switch, (a, b, c) = three_ports()
    switch.send(a, frame(BROADCAST, mac(1)))
    switch.send(b, frame(BROADCAST, mac(1)))
    switch.send(c, frame(mac(1), mac(3)))
    assert (len(a.frames), len(b.frames)) == (1, 2)


def test_detached_ports_get_nothing_and_are_forgotten():
    switch, (a, b, c) = three_ports()
    switch.send(b, frame(BROADCAST, mac(2)))
    switch.detach(b)
    switch.detach(b)
    assert switch.port_of(mac(2)) is None
    switch.send(a, frame(mac(2), mac(1)))
    switch.send(b, frame(mac(1), mac(2)))
    assert (len(a.frames), len(b.frames), len(c.frames)) == (1, 0, 2)
    assert switch.counters.dropped_source == 1
    with pytest.raises(ValueError, match="attached"):
        switch.attach(a)


def test_runts_are_dropped():
    switch, (a, b, _) = three_ports()
    switch.send(a, bytes(13))
    assert b.frames == []
    assert switch.counters.dropped_runt == 1


def test_the_mac_table_is_bounded():
    switch = Switch(max_macs=3)
    a = Recorder(switch)
    for number in range(1, 6):
        switch.send(a, frame(BROADCAST, mac(number)))
    assert [switch.port_of(mac(number)) is a for number in range(1, 6)] == [False, False, True, True, True]


def test_the_tap_drops_and_changes():
    switch, (a, b, c) = three_ports()
    seen = []

    def tap(port, data):
        seen.append((port, data))
        return None if port is b else data + b"!"

    switch.tap = tap
    switch.send(a, frame(BROADCAST, mac(1)))
    assert [port for port, _ in seen] == [b, c]
    assert b.frames == []
    assert c.frames == [frame(BROADCAST, mac(1), b"!")]
    assert (switch.counters.dropped_tap, switch.counters.delivered) == (1, 1)


def test_answers_do_not_nest_and_keep_their_order():
    switch = Switch()
    depth = deepest = 0

    def countdown(port: Recorder, number: int, data: bytes) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        if int(data[14:]):
            switch.send(port, frame(BROADCAST, mac(number), b"%d" % (int(data[14:]) - 1)))
        depth -= 1

    a, b = Recorder(switch), Recorder(switch)
    a.answer = lambda data: countdown(a, 1, data)
    b.answer = lambda data: countdown(b, 2, data)
    switch.send(a, frame(BROADCAST, mac(1), b"5000"))
    assert deepest == 1
    assert [int(data[14:]) for data in b.frames] == list(range(5000, -1, -2))
    assert [int(data[14:]) for data in a.frames] == list(range(4999, 0, -2))


def test_frames_sent_during_a_delivery_come_after_it():
    switch = Switch()
    source, sink = Recorder(switch), Recorder(switch)

    def burst(data: bytes) -> None:
        for number in range(3):
            switch.send(middle, frame(BROADCAST, mac(2), b"%d" % number))

    middle = Recorder(switch, burst)
    switch.send(source, frame(BROADCAST, mac(1), b"first"))
    assert [data[14:] for data in sink.frames] == [b"first", b"0", b"1", b"2"]


def test_the_queue_is_bounded():
    switch = Switch(max_queue=5)
    source = Recorder(switch)

    def burst(data: bytes) -> None:
        for _ in range(8):
            switch.send(middle, frame(BROADCAST, mac(2)))

    middle = Recorder(switch, burst)
    switch.send(source, frame(BROADCAST, mac(1)))
    assert len(source.frames) == 5
    assert switch.counters.dropped_queue == 3


def test_a_port_that_raises_does_not_stop_the_switch():
    switch = Switch()

    def fail(data: bytes) -> None:
        raise RuntimeError("broken port")

    source, sink = Recorder(switch), Recorder(switch)
    broken = Recorder(switch, fail)
    with pytest.raises(RuntimeError):
        switch.send(source, frame(BROADCAST, mac(1)))
    switch.detach(broken)
    switch.send(source, frame(BROADCAST, mac(1)))
    assert len(sink.frames) == 2
