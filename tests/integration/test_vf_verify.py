# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vf_verify as users run it, and vf_check over a wire on which bytes really move.

A network namespace stands for the host. A bridge plays the part of hv_netvsc: its counters include those of its ports, of which one
plays the VF and the other the synthetic path. A sysfs made for it says so; the counters in that are the kernel's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_audit import SNAPSHOTS, Controller

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
import trees

MAC = "00:22:48:71:c2:8c"
GUID = "f8615163-0000-1000-2000-00224871c28c"
PCI = "7870:00:00.0"
BY_VF, BY_SYNTHETIC = "10.9.0.2", "10.9.1.2"

PLAY = {
    "hosts": "vm",
    "gather_facts": False,
    "tasks": [
        {"name": "Begin", "accelnet.mana.report_begin": {"report_dir": "accelnet-reports"}, "register": "run"},
        {
            "name": "Verify",
            "ansible.builtin.include_role": {"name": "accelnet.mana.vf_verify"},
            "vars": {"vf_verify_run_dir": "{{ run.run_dir }}"},
        },
        {"name": "Keep", "ansible.builtin.copy": {"content": "{{ vf_verify_result | to_json }}", "dest": "{{ playbook_dir }}/result.json"},
         "delegate_to": "localhost", "vars": {"ansible_python_interpreter": sys.executable}, "check_mode": False, "changed_when": False},
    ],
}  # fmt: skip


class Role:
    """A playbook that runs the role."""

    def __init__(self, path: Path, facts: dict[str, Any], hosts: dict[str, Any]) -> None:
        self.path = path
        self.controller = Controller(path)
        self.hosts = hosts
        play = {**PLAY, "module_defaults": {"accelnet.mana.nic_info": facts}}
        (path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")

    def run(self, *arguments: str, **variables: Any) -> tuple[int, str]:
        return self.controller.run("play.yml", self.hosts, "-e", json.dumps({"__vf_verify_pause": 1, **variables}), *arguments)

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return found

    def recorded(self) -> list[dict[str, Any]]:
        (path,) = (self.controller.run_dir() / "hosts").iterdir()
        found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["plan"]["verdicts"]
        return found


def on_snapshot(path: Path, name: str) -> Role:
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return Role(path, {"root": str(SNAPSHOTS / f"{name}.json")}, {"vm": here})


# --- state alone, from recorded hosts


def test_a_good_host_passes_and_nothing_counts_as_change(tmp_path: Path) -> None:
    role = on_snapshot(tmp_path, "deb13-rdma")
    code, output = role.run(accelnet_goal="rdma")
    assert code == 0, output
    assert role.result()["state"] == "verified"
    assert role.recorded()[0]["proven"] is None
    code, output = role.run("--check", accelnet_goal="rdma")
    assert code == 0, output


def test_a_host_that_lacks_something_fails_with_the_reason_and_is_recorded(tmp_path: Path) -> None:
    role = on_snapshot(tmp_path, "rhel92-idle")
    code, output = role.run()
    assert code == 2
    assert "failed at driver: driver_not_loaded" in output
    assert [row["reasons"] for row in role.recorded()] == [["vf_function_unbound"], ["driver_not_loaded"]]
    code, output = role.run(vf_verify_fail=False)
    assert code == 0, output
    assert role.result()["state"] == "failed"


@pytest.mark.parametrize(("wait", "looks"), [(0, 0), (2, 2)])
def test_a_function_that_stays_away_is_unknown(tmp_path: Path, wait: int, looks: int) -> None:
    role = on_snapshot(tmp_path, "ubu2404-serviced")
    code, output = role.run(vf_verify_wait=wait)
    assert code == 0, output
    assert output.count("FAILED - RETRYING") == looks
    assert (role.result()["state"], role.result()["waiting"]) == ("unknown", True)
    code, output = role.run(vf_verify_wait=0, vf_verify_strict=True)
    assert code == 2
    assert "unknown at function: vf_revoked" in output


def test_facts_that_cannot_be_had_are_a_failure_at_once(tmp_path: Path) -> None:
    role = on_snapshot(tmp_path, "broken-snapshot")
    code, output = role.run(vf_verify_wait=600)
    assert code == 2
    assert "is not JSON" in output and "RETRYING" not in output, output


@pytest.mark.parametrize("wrong", [{"vf_verify_goal": "fast"}, {"vf_verify_load": "much"}, {"vf_verify_wait": "long"}], ids=str)
def test_options_are_checked(tmp_path: Path, wrong: dict[str, Any]) -> None:
    code, output = on_snapshot(tmp_path, "deb12-web").run(**wrong)
    assert code == 2
    assert next(iter(wrong)) in output


# --- over a wire


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Wire:
    """A host with the bridge eth0 on enP1 (the VF) and syn0, and a peer with an address behind each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host, self.peer = (f"accelnet-{os.getpid()}-{name}" for name in ("host", "peer"))

    def __enter__(self) -> Wire:
        for name in (self.host, self.peer):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            # Each address answers on its own wire only.
            ip("netns", "exec", name, "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2")
        ip("-n", self.host, "link", "add", "name", "eth0", "address", MAC, "type", "bridge")
        for port, address in (("enP1", BY_VF), ("syn0", BY_SYNTHETIC)):
            ip("-n", self.host, "link", "add", "name", port, "type", "veth", "peer", "name", port, "netns", self.peer)
            ip("-n", self.host, "link", "set", port, "master", "eth0", "up")
            ip("-n", self.peer, "address", "add", f"{address}/24", "dev", port)
            ip("-n", self.peer, "link", "set", port, "up")
            ip("-n", self.host, "address", "add", f"{address[:-1]}1/24", "dev", "eth0")
        ip("-n", self.host, "link", "set", "eth0", "up")
        self._make_sysfs()
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.host, self.peer):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def _make_sysfs(self) -> None:
        """What nic_info is to see in place of /sys; counters and indexes lead to the real one."""
        real = self.path / "real"
        real.mkdir()
        none = {"statistics/rx_bytes": None, "statistics/tx_bytes": None}
        vf_parent = trees.pci_path(PCI)
        files = trees.merged(
            trees.vmbus(GUID),
            trees.netdev("eth0", MAC, trees.vmbus_path(GUID), lower=["enP1"], **none),
            trees.pci(PCI),
            trees.netdev("enP1", MAC, vf_parent, master="eth0", **none),
        )
        for name, parent in (("eth0", trees.vmbus_path(GUID)), ("enP1", vf_parent)):
            for entry in ("statistics", "ifindex"):
                files[f"{parent}/net/{name}/{entry}"] = trees.link(f"{real}/class/net/{name}/{entry}")
        trees.write(self.path / "fake", files)
        mounts = f"mount --bind /sys {real} && mount --bind {self.path}/fake/sys /sys"
        self._interpreter("python-host", self.host, f"""sh -c '{mounts} && exec {sys.executable} "$@"' sh""")
        self._interpreter("python-peer", self.peer, sys.executable)

    def _interpreter(self, name: str, namespace: str, command: str) -> None:
        path = self.path / name
        path.write_text(f'#!/bin/sh\nexec ip netns exec {namespace} {command} "$@"\n', encoding="utf-8")
        path.chmod(0o755)

    def role(self) -> Role:
        hosts = {
            name: {"ansible_connection": "local", "ansible_python_interpreter": str(self.path / python), "ansible_pipelining": True}
            for name, python in (("vm", "python-host"), ("peer", "python-peer"))
        }
        return Role(self.path, {"hardware": "true"}, hosts)

    def statistic(self, name: str) -> int:
        command = ["ip", "-n", self.host, "-s", "-j", "link", "show", "eth0"]
        (link,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return int(link["stats64"][name]["bytes"])

    def processes(self) -> list[str]:
        """Of both namespaces: nothing may stay."""
        return [
            subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True).stdout
            for name in (self.host, self.peer)
        ]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Wire(tmp_path)
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(made.__exit__)
            try:
                made.__enter__()
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespaces with bridges here: {error}")
            yield made
    finally:
        assert made.host not in subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout


def wait_until_ended(wire: Wire) -> None:
    """The server says goodbye before its process is gone; the test's own time limit is what ends this if it never goes."""
    while any(wire.processes()):
        os.sched_yield()


def test_traffic_that_takes_the_vf_is_proven(wire: Wire) -> None:
    role = wire.role()
    code, output = role.run(vf_verify_peer="peer", vf_verify_peer_address=BY_VF)
    assert code == 0, output
    assert "changed=0" in output
    (row,) = role.result()["nics"]
    assert (row["state"], row["proven"]) == ("passed", True)
    (sample,) = role.result()["samples"]
    assert min(sample["rx_bytes"], sample["tx_bytes"]) >= 64 << 20
    assert [verdict["proven"] for verdict in role.recorded()] == [True]
    wait_until_ended(wire)


def test_what_was_measured_before_does_not_count_again(wire: Wire) -> None:
    role = wire.role()
    (play,) = yaml.safe_load((wire.path / "play.yml").read_text(encoding="utf-8"))
    first = {"ansible.builtin.include_role": {"name": "accelnet.mana.vf_verify"}}
    echo = {**first, "vars": {"vf_verify_peer": "", "vf_verify_peer_address": BY_VF, "vf_verify_strict": False}}
    play["tasks"] = [
        {**first, "vars": {"vf_verify_peer": "peer", "vf_verify_peer_address": BY_VF, "vf_verify_strict": True}},
        echo,
        play["tasks"][-1],
    ]
    (wire.path / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    code, output = role.run()
    assert code == 0, output
    (row,) = role.result()["nics"]
    # The echo service is asked for at its own port, where nobody listens.
    assert (row["reason"], row["proven"]) == ("peer_unreachable", None)
    assert role.result()["samples"] == []


def test_one_direction_on_the_synthetic_path_is_found(wire: Wire) -> None:
    # What is sent goes to the address behind syn0, what is answered comes from there to ours behind enP1.
    role = wire.role()
    code, output = role.run(vf_verify_peer="peer", vf_verify_peer_address=BY_SYNTHETIC)
    assert code == 2
    assert "failed at traffic: traffic_on_synthetic" in output
    (verdict,) = role.recorded()
    assert (verdict["verdict"], verdict["reasons"], verdict["proven"]) == ("degraded", ["traffic_on_synthetic"], False)
    wait_until_ended(wire)


def test_check_mode_sends_nothing_and_starts_nothing(wire: Wire) -> None:
    role = wire.role()
    before = [wire.statistic(name) for name in ("rx", "tx")]
    code, output = role.run("--check", vf_verify_peer="peer", vf_verify_peer_address=BY_VF)
    assert code == 0, output
    assert role.result()["nics"][0]["proven"] is None
    # Neighbour discovery of IPv6 may say something on its own.
    assert [wire.statistic(name) - was < 1 << 16 for name, was in zip(("rx", "tx"), before)] == [True, True]
    assert wire.processes() == ["", ""]


def test_a_peer_that_does_not_answer_proves_nothing(wire: Wire) -> None:
    role = wire.role()
    code, output = role.run(vf_verify_peer_address=BY_VF)
    assert code == 0, output
    (row,) = role.result()["nics"]
    assert (row["state"], row["check"], row["reason"]) == ("unknown", "traffic", "peer_unreachable")
    assert "Connection refused" in row["message"]


def test_watching_a_quiet_wire_proves_nothing(wire: Wire) -> None:
    role = wire.role()
    code, output = role.run(vf_verify_load="watch", vf_verify_duration=1)
    assert code == 0, output
    assert role.result()["nics"][0]["reason"] == "traffic_not_proven"
