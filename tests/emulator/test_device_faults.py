# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that are switched on from outside, and the control socket that does so."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_fixture import MACS, RAM_ADDRESS, RAM_SIZE, Rig, rig
from lab.device.control import MAX_LINE, Control
from lab.device.faults import Faults
from lab.device.loop import Loop
from lab.net.responder import Responder
from mini_driver import QUERY_MAX_RESOURCES, TimedOut
from mini_ethernet import TX_INVALID_OOB, TX_OKAY, TX_VPORT_DISABLED, Ethernet, Port
from mini_packets import Flow, raw_frame

BROADCAST = b"\xff" * 6
OTHER = b"\x02\0\0\0\0\x09"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def port(made: Rig) -> Port:
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=16)
    return port


# Faults of traffic


@pytest.mark.parametrize("every", [1, 2, 50])
def test_lost_frames(made: Rig, port: Port, every: int) -> None:
    """The guest is told that they were sent, and they count as sent."""
    made.function.faults.drop_every = every
    for n in range(100):
        assert port.send(raw_frame(OTHER, port.mac, fill=n)) == [TX_OKAY]
    assert [frame[-1] for frame in made.wire.take()] == [n for n in range(100) if (n + 1) % every]
    assert port.ethernet.statistics()["hc_tx_ucast_pkts"] == 100


@pytest.mark.parametrize("every", [1, 3])
def test_corrupted_frames(made: Rig, port: Port, every: int) -> None:
    other = Port(port.ethernet, 1)
    other.up(1, buffers=16)
    made.function.faults.corrupt_every = every
    frame = Flow(other.mac, port.mac).frame(b"payload!")
    verdicts = []
    for _ in range(30):
        assert port.send(frame) == [TX_OKAY]
        (packet,) = other.take()
        verdicts.append(packet.verdict)
        assert (packet.data == frame) == (packet.verdict == "IU")
        assert packet.data[:-1] == frame[:-1]
    assert verdicts == ["IU" if (n + 1) % every else "Iu" for n in range(30)]


def test_lost_and_corrupted_frames(made: Rig, port: Port) -> None:
    made.function.faults.drop_every, made.function.faults.corrupt_every = 3, 2
    for _ in range(12):
        port.send(raw_frame(OTHER, port.mac, fill=0))
    assert [frame[-1] for frame in made.wire.take()] == [0, 1, 1, 0] * 2


def test_frames_of_a_segmented_send_are_lost_one_by_one(made: Rig, port: Port) -> None:
    made.function.faults.drop_every = 3
    this = Flow(OTHER, port.mac, protocol=6)
    assert port.send_tso(this.frame(bytes(6000)), this.headers, 1000) == [TX_OKAY]
    assert len(made.wire.take()) == 4


def test_lies_about_checksums(made: Rig, port: Port) -> None:
    made.function.faults.lie_checksum = True
    frame = bytearray(Flow(port.mac, OTHER).frame(b"payload!"))
    frame[-1] ^= 1
    made.wire.send(bytes(frame))
    (packet,) = port.take()
    assert packet.verdict == "IT"


def test_bad_completions(made: Rig, port: Port) -> None:
    made.function.faults.tx_errors = 3
    results = [port.send(raw_frame(OTHER, port.mac)) for _ in range(5)]
    assert results == [[TX_INVALID_OOB]] * 3 + [[TX_OKAY]] * 2
    assert len(made.wire.take()) == 2
    assert made.function.faults.tx_errors == 0
    assert port.ethernet.statistics()["tx_err_inval_oob"] == 3


def test_faults_are_off_at_first() -> None:
    faults = Faults()
    assert faults.on_wire(b"frame") == b"frame"
    assert not faults.tx_error() and not faults.lose_request(1) and not faults.refuse_request(1)
    assert not faults.refuse_hwc and not faults.lie_checksum


def test_counted_faults_of_requests_are_used_up() -> None:
    faults = Faults(lose_requests={5: 2}, refuse_requests={6: 1})
    assert [faults.lose_request(5) for _ in range(4)] == [True, True, False, False]
    assert [faults.refuse_request(6) for _ in range(3)] == [True, False, False]
    assert not faults.lose_request(6) and not faults.refuse_request(5)


# The control socket


class Asker:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def line(self, data: bytes) -> dict[str, Any]:
        self.socket.sendall(data + b"\n")
        return self.next()

    def next(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._file.readline())
        return answer

    def ask(self, command: str, /, **arguments: Any) -> dict[str, Any]:
        answer = self.line(json.dumps({"command": command, **arguments}).encode())
        assert answer.pop("ok") is True, answer
        return answer

    def error(self, command: Any, /, **arguments: Any) -> str:
        answer = self.line(json.dumps({"command": command, **arguments}).encode())
        assert answer["ok"] is False and set(answer) == {"ok", "error"}, answer
        return str(answer["error"])

    def is_dropped(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def control(made: Rig, tmp_path: Path) -> Iterator[Asker]:
    """A control socket with a loop of its own: the device's does not end before this one."""
    loop = Loop()
    path = tmp_path / "control.sock"
    responder = Responder(made.switch, mac=b"\x02\0\0\0\0\x01", ipv4="10.0.0.9/24")
    served = Control(path, [made.function], made.switch, responder, loop)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    asker = Asker(path)
    yield asker
    asker.close()
    loop.stop()
    thread.join()
    served.close()
    loop.close()
    assert not failures, failures
    assert not path.exists()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_the_socket_is_for_its_owner(control: Asker, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600


def test_counters(made: Rig, port: Port, control: Asker) -> None:
    port.send(raw_frame(BROADCAST, port.mac))
    made.driver.verify(8)
    counters = control.ask("counters")
    (function,) = counters["functions"]
    assert function["problems"] == {}
    assert function["driver"]["major"] == 6 and function["driver"]["capabilities"] == 8
    one, two = function["vports"]
    assert (one["mac"], one["link"], one["hc_tx_bcast_pkts"]) == ("7c:1e:52:00:00:01", True, 1)
    assert (two["mac"], two["rx_err_vport_disabled"]) == ("7c:1e:52:00:00:02", 1)
    assert counters["switch"]["frames"] == 1
    assert counters["responder"] is not None
    made.client.write64(0, 0, 0)
    assert control.ask("counters")["functions"][0]["problems"] == {"register": 1}


def test_faults(made: Rig, port: Port, control: Asker) -> None:
    off = {
        "corrupt_every": 0,
        "drop_every": 0,
        "lie_checksum": False,
        "tx_errors": 0,
        "lose_requests": {},
        "refuse_requests": {},
        "refuse_hwc": False,
    }
    assert control.ask("faults")["faults"] == off
    answer = control.ask("faults", tx_errors=1, lose_requests={"2": 1, "0x20001": 0}, lie_checksum=True)
    on = {**off, "tx_errors": 1, "lose_requests": {"2": 1, str(0x20001): 0}, "lie_checksum": True}
    assert answer["faults"] == on
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_INVALID_OOB]
    with pytest.raises(TimedOut):
        made.driver.request(QUERY_MAX_RESOURCES, answer=40)
    assert control.ask("faults", function=0)["faults"] == {**on, "tx_errors": 0, "lose_requests": {"2": 0, str(0x20001): 0}}
    assert control.ask("faults", **off)["faults"] == off


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"explode": 1}, "no fault 'explode'; there are corrupt_every, drop_every, "),
        ({"_frames": 1}, "no fault '_frames'"),
        ({"lose_request": {}}, "no fault 'lose_request'"),
        ({"tx_errors": "1"}, "tx_errors: '1' is not of type int"),
        ({"tx_errors": True}, "tx_errors: True is not of type int"),
        ({"tx_errors": 1.5}, "tx_errors: 1.5 is not of type int"),
        ({"tx_errors": None}, "tx_errors: None is not of type int"),
        ({"tx_errors": -1}, "tx_errors: -1 is negative"),
        ({"drop_every": -3}, "drop_every: -3 is negative"),
        ({"lie_checksum": 1}, "lie_checksum: 1 is not of type bool"),
        ({"refuse_hwc": "no"}, "refuse_hwc: 'no' is not of type bool"),
        ({"lose_requests": 5}, "lose_requests: a table of message type and count is needed"),
        ({"lose_requests": [[1, 2]]}, "lose_requests: a table"),
        ({"lose_requests": {"1": "2"}}, "lose_requests: a table"),
        ({"lose_requests": {"1": True}}, "lose_requests: a table"),
        ({"lose_requests": {"1": -1}}, "lose_requests: a table"),
        ({"refuse_requests": {"five": 1}}, "five"),
        ({"refuse_requests": {"": 1}}, "invalid literal"),
        ({"function": 1}, "no function 1"),
        ({"function": -1}, "no function -1"),
        ({"function": "0"}, "no function '0'"),
        ({"function": False}, "no function False"),
        ({"function": None}, "no function None"),
    ],
)
def test_wrong_faults(made: Rig, control: Asker, values: dict[str, Any], message: str) -> None:
    """Nothing is changed, not even by what is right beside it."""
    before = control.ask("faults")
    assert message in control.error("faults", **{"drop_every": 7, **values})
    assert control.ask("faults") == before


def test_link(made: Rig, port: Port, control: Asker) -> None:
    assert control.ask("link", up=False) == {"link": False, "told": False}
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_VPORT_DISABLED]
    made.wire.send(raw_frame(MACS[0], OTHER))
    assert port.take() == []
    assert control.ask("counters")["functions"][0]["vports"][0]["link"] is False
    assert control.ask("link", up=True, function=0, vport=0) == {"link": True, "told": False}
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]
    assert control.ask("link", up=False, vport=1) == {"link": False, "told": False}
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


LINK_AWARE = 1 << 6  # GDMA_DRV_CAP_FLAG_1_HW_VPORT_LINK_AWARE


def test_a_driver_that_knows_the_event_is_told_of_the_link(made: Rig, control: Asker) -> None:
    """GDMA_EQE_HWC_SOC_RECONFIG_DATA, 133, of type HWC_DATA_HW_LINK_DISCONNECT, 3, or HWC_DATA_HW_LINK_CONNECT, 2: for all vPorts."""
    made.driver.verify(LINK_AWARE)
    steps = [(0, False), (0, False), (1, False), (0, True), (1, True)]
    assert [control.ask("link", up=up, vport=vport)["told"] for vport, up in steps] == [False, False, True, True, False]
    made.driver.interrupt()
    events = [(number, event.type, event.details) for number, event in made.driver.events]
    assert events == [(made.driver.hwc_eq.id, 133, bytes([0, 0, 0, kind]) + bytes(8)) for kind in (3, 2)]


def test_a_driver_that_does_not_know_the_event_is_not_told(made: Rig, control: Asker) -> None:
    made.driver.verify(LINK_AWARE)
    made.driver.destroy()
    assert not any(control.ask("link", up=False, vport=vport)["told"] for vport in (0, 1))
    made.driver.establish()
    made.driver.verify(~LINK_AWARE & (1 << 64) - 1)
    assert not any(control.ask("link", up=True, vport=vport)["told"] for vport in (0, 1))
    made.driver.interrupt()
    assert made.driver.events == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "up"),
        ({"up": "false"}, "up: 'false' is not true or false"),
        ({"up": 1}, "up: 1 is not true or false"),
        ({"up": False, "vport": 2}, "no vPort 2"),
        ({"up": False, "vport": -1}, "no vPort -1"),
        ({"up": False, "vport": True}, "no vPort True"),
        ({"up": False, "function": 3}, "no function 3"),
        ({"up": False, "self": 3}, "self"),
        ({"up": False, "colour": 3}, "colour"),
    ],
)
def test_wrong_links(made: Rig, control: Asker, arguments: dict[str, Any], message: str) -> None:
    assert message in control.error("link", **arguments)
    assert all(vport.link for vport in made.function.vports)


SELF_RESET_ON_EQE = 1 << 14  # GDMA_DRV_CAP_FLAG_1_SELF_RESET_ON_EQE


def test_a_reset_is_requested(made: Rig, control: Asker) -> None:
    """GDMA_EQE_HWC_RESET_REQUEST, 135; from then on nothing is answered, until there is a new channel."""
    made.driver.verify(SELF_RESET_ON_EQE)
    assert control.ask("request_reset") == {"obeyed": True}
    made.driver.interrupt()
    assert [(number, event.type) for number, event in made.driver.events] == [(made.driver.hwc_eq.id, 135)]
    with pytest.raises(TimedOut):
        made.driver.verify()
    made.driver.destroy()
    made.driver.establish()
    made.driver.verify()


def test_a_reset_of_a_driver_that_cannot(made: Rig, control: Asker) -> None:
    made.driver.verify(~SELF_RESET_ON_EQE & (1 << 64) - 1)
    assert control.ask("request_reset") == {"obeyed": False}
    made.driver.interrupt()
    assert [event.type for _, event in made.driver.events] == [135]
    made.driver.verify()


def test_a_new_timeout(made: Rig, control: Asker) -> None:
    """GDMA_EQE_HWC_SOC_RECONFIG_DATA, 133, of type HWC_DATA_CFG_HWC_TIMEOUT, 1."""
    assert control.ask("hwc_timeout", milliseconds=0x123456) == {}
    made.driver.interrupt()
    ((number, event),) = made.driver.events
    assert (number, event.type, event.details) == (made.driver.hwc_eq.id, 133, (0x01123456).to_bytes(4, "little") + bytes(8))
    made.driver.verify()


@pytest.mark.parametrize("value", [0, -1, 1 << 24, "5", True, None, 1.0])
def test_wrong_timeouts(made: Rig, control: Asker, value: Any) -> None:
    assert "not a number of milliseconds" in control.error("hwc_timeout", milliseconds=value)
    made.driver.interrupt()
    assert made.driver.events == []


def test_events_without_a_channel(made: Rig, control: Asker) -> None:
    made.driver.destroy()
    assert "no driver has established" in control.error("request_reset")
    assert "no hardware channel" in control.error("hwc_timeout", milliseconds=5)


def test_events_to_memory_that_is_gone(made: Rig, control: Asker) -> None:
    made.client.dma_unmap(RAM_ADDRESS, RAM_SIZE)
    assert "nothing is mapped" in control.error("request_reset")
    assert "nothing is mapped" in control.error("hwc_timeout", milliseconds=5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", ""),
        (b"{", ""),
        (b"\xc3(", "decode"),
        (b"5", "not an object with a command"),
        (b"[]", "not an object with a command"),
        (b"null", "not an object with a command"),
        (b"{}", "not an object with a command"),
        (b'{"command": 5}', "not an object with a command"),
        (b'{"command": ["counters"]}', "not an object with a command"),
        (b'{"command": ""}', "unknown command ''; known are counters, faults, hwc_timeout, link, request_reset"),
        (b'{"command": "Counters"}', "unknown command 'Counters'"),
        (b'{"command": "_function"}', "unknown command '_function'"),
        (b'{"command": "__class__"}', "unknown command '__class__'"),
        (b'{"command": "counters", "x": 1}', "x"),
        (b'{"command": "counters", "answer": 1}', "answer"),
        (b'{"command": "counters"} {"command": "counters"}', ""),
        (b"[" * 60_000, ""),
        (b"9" * 10_000, ""),
        (b'{"command": "faults", "tx_errors": ' + b"9" * 10_000 + b"}", ""),
        (b"GET / HTTP/1.1\r", ""),
    ],
)
def test_lines_that_are_no_commands(control: Asker, line: bytes, message: str) -> None:
    answer = control.line(line)
    assert answer["ok"] is False and message in answer["error"]
    control.ask("counters")


def test_many_lines_at_once_and_half_lines(control: Asker) -> None:
    control.socket.sendall(b'{"command": "faults"}\n{"command": "nothing"}\n{"comm')
    assert control.next()["ok"] is True
    assert control.next()["ok"] is False
    control.socket.sendall(b'and": "faults"}')
    control.socket.sendall(b"\n")
    assert control.next()["ok"] is True


def test_a_line_that_never_ends(control: Asker, path: Path) -> None:
    endless = Asker(path)
    try:
        endless.socket.sendall(b"x" * (4 * MAX_LINE))
    except ConnectionError:
        pass  # dropped in the middle of it
    assert endless.is_dropped()
    endless.close()
    control.ask("counters")


def test_a_client_that_does_not_read(control: Asker, path: Path) -> None:
    deaf = Asker(path)
    try:
        for _ in range(10_000):
            deaf.socket.sendall(b'{"command": "counters"}\n' * 10)
        pytest.fail("it should have been dropped")
    except ConnectionError:
        pass
    deaf.close()
    control.ask("counters")


def test_several_clients(control: Asker, path: Path) -> None:
    others = [Asker(path) for _ in range(20)]
    for other in others:
        other.ask("counters")
    for other in others[::2]:
        other.close()
    for other in others[1::2]:
        other.ask("faults", drop_every=0)
        other.close()
    control.ask("counters")


def test_a_socket_that_was_left_behind(made: Rig, tmp_path: Path) -> None:
    path = tmp_path / "left"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(path))
    loop = Loop()
    served = Control(path, [made.function], made.switch, None, loop)
    assert served.answer(b'{"command": "counters"}')["responder"] is None
    served.close()
    loop.close()
    left.close()


def test_only_sockets_are_replaced(made: Rig, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    loop = Loop()
    with pytest.raises(OSError, match="in use"):
        Control(path, [made.function], made.switch, None, loop)
    loop.close()
    assert path.read_text() == "data"
