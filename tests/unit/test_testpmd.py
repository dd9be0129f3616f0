# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dpdk-testpmd (_testpmd, module testpmd): what it printed in the lab, what is known to fail, and that it always ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _testpmd
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from hypothesis import given
from hypothesis import strategies as st

# Recorded on Debian 13 (DPDK 24.11) in the lab.
OUTPUT = Path(__file__).parents[1] / "fixtures" / "testpmd"
MAC = "7c:1e:52:00:00:01"


def text(name: str) -> str:
    return (OUTPUT / f"{name}.txt").read_text()


def test_a_recorded_run_as_numbers() -> None:
    (port,) = _testpmd.parse(text("txonly"), 4.0)
    assert (port["port"], port["mac"], port["driver"]) == (0, MAC, "net_mana")
    forwarded = re.search(r"Forward statistics for port 0.*?TX-packets: (\d+)", text("txonly"), re.DOTALL)
    assert forwarded is not None
    assert port["forward"]["tx_packets"] == int(forwarded[1]) > 0
    assert port["tx_packets"] == port["xstats"]["tx_good_packets"] > 0
    assert port["tx_bytes"] == 64 * port["tx_packets"]
    assert port["tx_pps"] == int(port["tx_packets"] / 4.0)
    assert (port["rx_errors"], port["tx_errors"], port["rx_missed"]) == (0, 0, 0)
    assert port["vf"] == {}


# What net_netvsc of DPDK 24.11 adds (drivers/net/netvsc/hn_vf.c: the names of the VF's own, after vf_).
NETVSC = """\
testpmd> show port xstats all
###### NIC extended statistics for port 1
rx_good_packets: 10
vf_rx_good_packets: 4
vf_tx_good_packets: 0
testpmd> ###### NIC extended statistics for port 1
rx_good_packets: 110
vf_rx_good_packets: 94
vf_tx_good_packets: 0
testpmd> quit
"""


def test_what_the_virtual_function_carried() -> None:
    (port,) = _testpmd.parse(NETVSC, 1.0)
    assert port["vf"] == {"vf_rx_good_packets": 90, "vf_tx_good_packets": 0}
    assert port["xstats"] == {"rx_good_packets": 100, "vf_rx_good_packets": 90}


@pytest.mark.parametrize(
    "name, reason",
    [
        ("vf_up", "vf_up"),
        ("no_hugepages", "hugepages_missing"),
        ("too_many_mbufs", "hugepages_missing"),
        ("no_port", "testpmd_no_port"),
        ("unequal_queues", "bad_queues"),
        ("few_descriptors", "bad_descriptors"),
    ],
)
def test_recorded_failures_have_reasons(name: str, reason: str) -> None:
    assert _testpmd.why(text(name)) == reason
    assert not _testpmd.gave_up(text("txonly"))


@pytest.mark.parametrize("name", ["vf_up", "unequal_queues", "few_descriptors"])
def test_a_prompt_is_no_success(name: str) -> None:
    """In interactive mode testpmd asks for commands although it has no port."""
    assert "testpmd> start" in text(name)
    assert _testpmd.gave_up(text(name).partition("testpmd> ")[0])


def test_other_failures_have_one_too() -> None:
    assert _testpmd.why("Segmentation fault") == "testpmd_failed"


@given(st.text(alphabet=st.sampled_from("#*- NICstatforp0123:\nRXTX-packets>extended")), st.floats(0, 10))
def test_garbage_is_no_fault(garbage: str, seconds: float) -> None:
    assert all(isinstance(port["tx_packets"], int) for port in _testpmd.parse(garbage, seconds))


def facts(**changes: Any) -> dict[str, Any]:
    nic: dict[str, Any] = {"mac": MAC, "vf": {"interface": "eth1", "operstate": "down"}, "rdma": {"port": 1}, "synthetic": None}
    nic.update({key: value for key, value in changes.items() if key in nic})
    found: dict[str, Any] = {"dpdk": {"testpmd": "/usr/bin/dpdk-testpmd"}, "hugepages": [{"free": 10}], "nics": [nic]}
    found.update({key: value for key, value in changes.items() if key in found})
    return found


@pytest.mark.parametrize(
    "changes, arguments, reason",
    [
        ({"dpdk": {"testpmd": None}}, {}, "testpmd_missing"),
        ({"hugepages": [{"free": 0}, {"free": 0}]}, {}, "hugepages_missing"),
        ({"rdma": None}, {}, "verbs_device_missing"),
        ({"vf": {"interface": "eth1", "operstate": "up"}}, {}, "vf_up"),
        ({"vf": None}, {}, "testpmd_no_port"),
        ({"nics": []}, {}, "bad_mac"),
        ({}, {"rx_queues": 3, "tx_queues": 3}, "bad_queues"),
        ({}, {"rx_queues": 2, "tx_queues": 4}, "bad_queues"),
        ({}, {"rx_queues": 0, "tx_queues": 0}, "bad_queues"),
        ({}, {"descriptors": 32}, "bad_descriptors"),
        ({}, {"descriptors": 100}, "bad_descriptors"),
    ],
)
def test_what_is_known_to_fail_is_found_before(changes: dict[str, Any], arguments: dict[str, int], reason: str) -> None:
    given_arguments = {"rx_queues": 1, "tx_queues": 1, "descriptors": 64, **arguments}
    assert [obstacle.reason for obstacle in _testpmd.obstacles(facts(**changes), [MAC], **given_arguments)] == [reason]


def test_nothing_is_in_the_way_of_what_works() -> None:
    assert _testpmd.obstacles(facts(), [MAC], 4, 4, 64) == []
    assert _testpmd.obstacles(facts(hugepages=None), [MAC], 1, 1, 256) == []
    # In mode netvsc the VF may be away.
    assert _testpmd.obstacles(facts(vf=None, rdma=None, synthetic={"driver": "uio_hv_generic"}), [MAC], 1, 1, 256) == []


def test_the_command_line() -> None:
    words = _testpmd.command("/x/testpmd", ["-a", "1:2,mac=3"], [0, 2], "p", "mac", 2, 64, 100, ["m0", "m1"])
    assert words[: words.index("--")] == ["/x/testpmd", "-l", "0,2", "--file-prefix", "p", "--huge-unlink", "-a", "1:2,mac=3"]
    assert {"--rxq=2", "--txq=2", "--rxd=64", "--txd=64", "--forward-mode=mac", "--eth-peer=0,m0", "--eth-peer=1,m1"} <= set(words)
    assert _testpmd.cores([3, 1, 2, 0], 2, 1) == [0, 1, 2]
    assert _testpmd.cores([0, 1], 8, 2) == [0, 1]


# --- sessions with a program that behaves like it, or does not

PROGRAM = '''#!{python}
"""Prints what was recorded for each command; {what}."""
import os, sys, time
answers = {answers!r}
if {what!r} == "dies":
    print("EAL: Error: No such device (ret -19)", flush=True)
    sys.exit(1)
if {what!r} == "silent":
    time.sleep(1000)
sys.stdout.write("EAL: hello\\ntestpmd> ")
sys.stdout.flush()
while True:
    line = sys.stdin.readline().strip()
    if {what!r} == "deaf" and line.startswith("stop"):
        time.sleep(1000)
    if {what!r} == "no ports" and line.startswith("start"):
        print("Not all ports were started")
    if {what!r} == "crashes" and line.startswith("start"):
        os.kill(os.getpid(), 11)
    if {what!r} == "stays" and not line:
        time.sleep(1000)
    if line == "quit" or not line:
        break
    sys.stdout.write(line + "\\n" + (answers.get(line) or [""]).pop(0) + "testpmd> ")
    sys.stdout.flush()
'''


@pytest.fixture
def program(tmp_path: Path) -> Any:
    def make(what: str) -> str:
        pieces = re.split(r"testpmd> ", text("txonly"))
        answers: dict[str, list[str]] = {}
        for piece in pieces:
            command, _newline, answer = piece.partition("\n")
            answers.setdefault(command.strip(), []).append(answer)
        for found in answers.values():
            found.append("")
        path = tmp_path / what
        path.write_text(PROGRAM.format(python=sys.executable, what=what, answers=answers))
        path.chmod(0o755)
        return str(path)

    return make


def running(path: str) -> list[int]:
    """Processes of a program, zombies not counted."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if path.encode() in (directory / "cmdline").read_bytes() and "Z" not in (directory / "stat").read_text().rpartition(")")[2][:3]:
                found.append(int(directory.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def test_a_session(program: Any) -> None:
    path = program("works")
    (port,), seconds, output = _testpmd.forward([path], "none", 0.1, 30.0)
    assert port["mac"] == MAC
    assert port["tx_packets"] > 0
    assert seconds > 0
    assert "EAL: hello" in output
    assert running(path) == []


@pytest.mark.parametrize(
    "what, reason, timeout",
    [
        ("dies", "vf_up", 30.0),
        ("silent", "testpmd_timeout", 1.0),
        ("deaf", "testpmd_timeout", 2.0),
        ("crashes", "testpmd_failed", 30.0),
        ("no ports", "testpmd_failed", 30.0),
    ],
)
def test_whatever_it_does_it_ends_with_a_reason(
    program: Any, what: str, reason: str, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_testpmd, "POLITE", 0.5)
    path = program(what)
    with pytest.raises(AccelnetError) as error:
        _testpmd.forward([path], "none", 0.1, timeout)
    assert error.value.reason == reason
    assert running(path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_when_we_are_killed(program: Any, number: int) -> None:
    path = program("stays")
    script = "import sys; from ansible_collections.accelnet.mana.plugins.module_utils import _testpmd as t; "
    script += "t.forward(sys.argv[1:], 'none', 600.0, 600.0)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ours = subprocess.Popen([sys.executable, "-c", script, path], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(running(path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    ours.send_signal(number)
    ours.wait(60)
    while running(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(path) == []
