# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab.device as a process: it starts, serves, is told to end, and says what is wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mini_driver import MiniDriver
from mini_ethernet import TX_OKAY, Ethernet, Port
from mini_packets import Flow, raw_frame
from test_device_faults import Asker
from vfio_client import Client

TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 30.0  # seconds after which a test fails that waits for something that never happens
BROADCAST = b"\xff" * 6


def start(data: Any, directory: Path, name: str = "config.json") -> subprocess.Popen[str]:
    path = directory / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return subprocess.Popen(
        [sys.executable, "-m", "lab.device", str(path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def served(data: dict[str, Any], directory: Path, name: str = "config.json") -> Iterator[Asker]:
    """A server that is there when the block begins, and has to end well by SIGTERM."""
    process = start(data, directory, name)
    try:
        asker = Asker(wait_for_socket(process, directory / data["control"]))
        yield asker
        asker.close()
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def wait_for_socket(process: subprocess.Popen[str], path: Path) -> Path:
    """The control socket is made last: when it is there, all is."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(str(path))
            return path
        time.sleep(0.01)
    raise AssertionError(f"the server has not started: {process.communicate() if process.poll() is not None else 'it hangs'}")


def function(number: int, **options: Any) -> dict[str, Any]:
    return {"socket": f"vf{number}.sock", "vports": [{"mac": f"7c:1e:52:00:00:0{number}"}], "msix_vectors": 4, **options}


@contextlib.contextmanager
def driver(path: Path) -> Iterator[Port]:
    with contextlib.closing(Client(path, ram_size=16 << 20, ram_address=0, vectors=4)) as client:
        mini = MiniDriver(client)
        mini.establish()
        port = Port(Ethernet(mini, eqs=1), 0)
        port.up(1, buffers=32)
        yield port


def test_two_functions_on_one_wire(tmp_path: Path) -> None:
    config = {"functions": [function(1), function(2)], "control": "control.sock", "log": "log.jsonl"}
    with served(config, tmp_path) as control:
        with driver(tmp_path / "vf1.sock") as a, driver(tmp_path / "vf2.sock") as b:
            for n in range(50):
                frame = Flow(b.mac, a.mac).frame(bytes([n]))
                assert a.send(frame) == [TX_OKAY]
                (packet,) = b.take()
                assert packet.data == frame and packet.verdict == "IU"
            one, two = control.ask("counters")["functions"]
            assert one["vports"][0]["hc_tx_ucast_pkts"] == two["vports"][0]["hc_rx_ucast_pkts"] == 50
        with driver(tmp_path / "vf1.sock") as a:  # the next one, after the first has gone
            assert a.send(raw_frame(BROADCAST, a.mac)) == [TX_OKAY]
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {event["function"] for event in events} == {0, 1}
    assert [event["function"] for event in events if event.get("event") == "hwc_established"] == [0, 1, 0]
    assert all({"type", "device", "status", "time"} <= set(event) for event in events if event.get("event") == "request")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".sock")]


def test_the_responder_answers(tmp_path: Path) -> None:
    config = {
        "functions": [function(1)],
        "responder": {"mac": "7c:1e:52:ff:00:01", "ipv4": "10.77.0.1/24"},
        "control": "control.sock",
    }
    with served(config, tmp_path), driver(tmp_path / "vf1.sock") as port:
        station = bytes.fromhex("7c1e52ff0001")
        arp = bytes.fromhex("0001080006040001") + port.mac + bytes([10, 77, 0, 2]) + bytes(6) + bytes([10, 77, 0, 1])
        assert port.send(BROADCAST + port.mac + b"\x08\x06" + arp) == [TX_OKAY]
        (answer,) = port.take()
        assert answer.data[:14] == port.mac + station + b"\x08\x06"
        assert answer.data[20:32] == b"\x00\x02" + station + bytes([10, 77, 0, 1])
        ask = Flow(station, port.mac, src="10.77.0.2", dst="10.77.0.1", dst_port=7)
        assert port.send(ask.frame(b"echo", transport_sum=False), comp_udp_csum=1) == [TX_OKAY]
        (packet,) = port.take()
        assert packet.data.endswith(b"echo") and packet.verdict == "IU"


def test_two_servers_are_joined(tmp_path: Path) -> None:
    def config(me: int, other: int) -> dict[str, Any]:
        return {
            "functions": [function(me)],
            "control": f"control{me}.sock",
            "join": {"local": f"wire{me}.sock", "peer": f"wire{other}.sock"},
        }

    with served(config(1, 2), tmp_path, "one.json"), served(config(2, 1), tmp_path, "two.json"):
        with driver(tmp_path / "vf1.sock") as a, driver(tmp_path / "vf2.sock") as b:
            for sender, receiver in ((a, b), (b, a)):
                frame = raw_frame(receiver.mac, sender.mac, 1514)
                assert sender.send(frame) == [TX_OKAY]
                receiver.driver.client.wait_interrupt(receiver.ethernet.eqs[0].vector)
                receiver.driver._process_eq(receiver.ethernet.eqs[0])
                (packet,) = receiver.take()
                assert packet.data == frame


def test_too_long_frames_from_the_other_server(tmp_path: Path) -> None:
    """A link may bring what no receive completion can describe."""
    config = {"functions": [function(1)], "control": "control.sock", "join": {"local": "wire.sock", "peer": "other.sock"}}
    with served(config, tmp_path) as control, driver(tmp_path / "vf1.sock") as port:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            for size in (9019, 65535, 65536, 100_000):
                other.sendto(raw_frame(port.mac, b"\2" * 6, size), str(tmp_path / "wire.sock"))
            other.sendto(raw_frame(port.mac, b"\2" * 6, 100), str(tmp_path / "wire.sock"))
        port.driver.client.wait_interrupt(port.ethernet.eqs[0].vector)
        port.driver._process_eq(port.ethernet.eqs[0])
        (packet,) = port.take()
        assert packet.length == 100
        assert control.ask("counters")["functions"][0]["problems"] == {}


def test_sigterm_while_a_client_is_served(tmp_path: Path) -> None:
    config = {"functions": [function(1)], "control": "control.sock"}
    with contextlib.ExitStack() as stack:
        with served(config, tmp_path):
            port = stack.enter_context(driver(tmp_path / "vf1.sock"))
        port.driver.client.wait_dropped()


def test_sigint(tmp_path: Path) -> None:
    process = start({"functions": [function(1)], "control": "control.sock"}, tmp_path)
    wait_for_socket(process, tmp_path / "control.sock")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_second_start_after_a_kill(tmp_path: Path) -> None:
    """Sockets that were left behind are replaced."""
    config = {"functions": [function(1)], "control": "control.sock"}
    process = start(config, tmp_path)
    wait_for_socket(process, tmp_path / "control.sock")
    process.kill()
    process.communicate()
    assert (tmp_path / "vf1.sock").exists()
    with served(config, tmp_path), driver(tmp_path / "vf1.sock") as port:
        assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json: "),
        ({}, "config.json: functions: at least one is needed"),
        ({"functions": [function(1, max_queues=0)]}, "functions[0].max_queues: 0 is not a number from 1 to 64"),
        ({"functions": [function(1)], "control": "no/such/directory/x"}, "No such file"),
        ({"functions": [function(1)], "log": "no/such/directory/x"}, "No such file"),
        ({"functions": [function(1)], "join": {"local": "no/such/x", "peer": "y"}}, "No such file"),
        ({"functions": [function(1)], "control": "x" * 200}, "AF_UNIX path too long"),
        ({"functions": [{**function(1), "socket": "no/such/x"}]}, "No such file"),
    ],
)
def test_what_cannot_be_served(tmp_path: Path, config: Any, message: str) -> None:
    """One line on standard error and status 2, no traceback."""
    process = start(config, tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--what"]])
def test_usage(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        [sys.executable, "-m", "lab.device", *arguments], env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2 and "usage: python -m lab.device" in done.stderr
