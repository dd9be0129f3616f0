# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a lab that need no machine: what it is made of, how ssh is called, how its audit is read."""

from __future__ import annotations

import re
import shlex
import subprocess
import typing as t
from pathlib import Path

import pytest
from lab.vm.audit import shortcomings, verdicts
from lab.vm.errors import LabError
from lab.vm.lab import FunctionSpec, Lab, VmSpec
from lab.vm.spec import numbered
from lab.vm.ssh import Ssh
from lab.vm.virtual_machine import forwarded_port

MAC = "7c:1e:52:00:00:01"

# What QEMU 11.1 prints.
USERNET = """\
Hub -1 (management):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[ESTABLISHED]   18       127.0.0.1 52044       10.0.2.15    22     0     0\r
  TCP[HOST_FORWARD]  14       127.0.0.1 36611       10.0.2.15    22     0     0\r
"""


def test_forwarded_port() -> None:
    assert forwarded_port(USERNET) == 36611
    with pytest.raises(LabError, match="no port"):
        forwarded_port(USERNET.replace("HOST_FORWARD", "CLOSED"))


def test_macs_are_given_out_once() -> None:
    vms = numbered([VmSpec("a", functions=(FunctionSpec(), FunctionSpec())), VmSpec("b")])
    macs = [mac for vm in vms for function in vm.functions for mac in function.macs]
    assert len(set(macs)) == 3
    # Neither multicast nor locally administered.
    assert all(int(mac[:2], 16) & 3 == 0 for mac in macs)


def test_chosen_macs_stay_and_collisions_are_told() -> None:
    (vm,) = numbered([VmSpec(functions=(FunctionSpec((MAC,)),))])
    assert vm.functions[0].macs == (MAC,)
    with pytest.raises(LabError, match="unique"):
        numbered([VmSpec(functions=(FunctionSpec((MAC,)), FunctionSpec((MAC.upper(),))))])
    with pytest.raises(LabError, match="unique"):
        numbered([VmSpec(functions=()), VmSpec(functions=())])


def test_the_short_form_of_a_lab() -> None:
    assert [len(function.macs) for function in Lab(vports=3, memory=512).specs[0].functions] == [3]
    assert Lab(vports=0).specs[0].functions == ()
    assert Lab(memory=512, allow=("x",)).specs[0] == numbered([VmSpec(memory=512, allow=("x",))])[0]


def test_a_lab_without_a_nic_has_no_device() -> None:
    with pytest.raises(LabError, match="no NIC"):
        Lab(vports=0).device


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    return Ssh("127.0.0.1", 36611, "root", tmp_path / "a key", tmp_path / "known hosts", "debian-13", tmp_path / "control")


def asked(command: list[str]) -> dict[str, str]:
    """What ssh makes of options: -G prints its settings and connects to nothing."""
    printed = subprocess.run([command[0], "-G", *command[1:]], capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)


def test_ssh_takes_nothing_from_the_user_and_trusts_only_the_image(ssh: Ssh) -> None:
    settings = asked(ssh.login())
    assert (settings["hostname"], settings["port"], settings["user"]) == ("127.0.0.1", "36611", "root")
    assert settings["stricthostkeychecking"] in ("true", "yes")
    assert settings["hostkeyalias"] == "debian-13"
    assert settings["identitiesonly"] == "yes"
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert ssh.login()[1:3] == ["-F", "/dev/null"]


def test_the_configuration_for_people_says_the_same(ssh: Ssh, tmp_path: Path) -> None:
    path = tmp_path / "ssh_config"
    path.write_text(ssh.configuration("vm"))
    people, programs = asked(["ssh", "-F", str(path), "vm"]), asked(ssh.login())
    differing = {key for key in people if people[key] != programs.get(key)}
    assert differing <= {"host", "originalhost", "batchmode", "userknownhostsfile", "identityfile"}
    assert people["identityfile"] == str(ssh.key)
    assert people["userknownhostsfile"] == str(tmp_path / "known hosts")


def test_commands_reach_the_guest_as_they_are(ssh: Ssh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client that runs the command here, by the shell, as sshd would there.
    fake = tmp_path / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent), prepend=":")
    words = ["printf", "%s|", "a b", "$HOME", "'", '"', "*", ""]
    assert ssh.run(words).out == "a b|$HOME|'|\"|*||"
    assert ssh.run(words).command == shlex.join(words)
    assert ssh.run("cat", stdin="text").out == "text"
    assert ssh.run("exit 4", check=False).code == 4
    with pytest.raises(LabError, match="ended with 255"):
        ssh.run("exit 255", check=False)
    with pytest.raises(LabError, match="did not end"):
        ssh.run("exec sleep 1000", timeout=0.2)


def result(kind: str, verdict: str, *reasons: str, mac: str = MAC) -> dict[str, t.Any]:
    """A host's result as the audit writes it, of a machine with a management NIC and this one."""
    management = {"interface": "enp0s3", "mac": "52:54:00:12:34:56"}
    nic = {"interface": "enp1s0", "mac": mac}
    return {
        "status": "ok",
        "error": None,
        "facts": {"nics": [{**management, "kind": "other"}, {**nic, "kind": kind}]},
        "plan": {
            "verdicts": [
                {**management, "pci_address": None, "verdict": "unsupported", "reasons": ["unsupported_nic"]},
                {**nic, "pci_address": None, "verdict": verdict, "reasons": list(reasons)},
            ]
        },
    }


def test_an_accelerated_mana_nic() -> None:
    assert shortcomings(result("mana", "accelerated"), [MAC]) == []
    assert [str(verdict) for verdict in verdicts(result("mana", "accelerated"))] == [
        "enp0s3 52:54:00:12:34:56: other, unsupported (unsupported_nic)",
        f"enp1s0 {MAC}: mana, accelerated",
    ]


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (result("mana", "degraded", "vf_down"), r"not an accelerated MANA NIC: .* degraded \(vf_down\)"),
        (result("mlx5", "accelerated"), "mlx5"),
        (result("mana", "accelerated", mac="7c:1e:52:00:00:02"), f"there is no NIC {MAC}"),
        ({"status": "unreachable", "error": {"message": "no route"}, "facts": None, "plan": None}, "unreachable: no route"),
    ],
)
def test_anything_else_is_told(found: dict[str, t.Any], problem: str) -> None:
    (told,) = shortcomings(found, [MAC])
    assert re.search(problem, told)
