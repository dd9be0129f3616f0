# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swapping drivers in memory: what is in the way, and the transaction of the host with stand-ins for the kernel's tools."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.accelnet.mana.plugins.module_utils import _driver_reload as reload
from ansible_collections.accelnet.mana.plugins.modules import driver_reload

MAC = "00:22:48:71:c2:8c"
TOKEN = "0123456789abcdef"
MODULE = {"loaded": True, "srcversion": "A", "loaded_srcversion": "A"}


def nic(**changes: object) -> dict[str, object]:
    usual = {"mac": MAC, "kind": "mana", "vf": {"interface": "eth1"}, "use": "kernel", "paired": True, "default_route": False}
    return {**usual, **changes}


@pytest.mark.parametrize(
    ("changes", "current"),
    [
        ({}, True),
        ({"srcversion": "B"}, False),
        ({"loaded": False}, False),
        ({"srcversion": None, "loaded_srcversion": None}, True),  # Debian's own: taken for the same
        ({"srcversion": "B", "loaded_srcversion": None}, False),
    ],
)
def test_what_is_in_memory(changes: dict[str, object], current: bool) -> None:
    assert reload.is_current({**MODULE, **changes}) == current


@pytest.mark.parametrize(
    ("nics", "verbs", "protected", "obstacles"),
    [
        ([nic()], [], [MAC], 0),  # paired: the synthetic interface carries the connection meanwhile
        ([nic(paired=False)], [], [], 0),
        ([nic(paired=False)], [], [MAC], 1),
        ([nic(paired=False, default_route=True)], [], [], 1),
        ([nic(paired=False, kind="mlx5")], [], [MAC], 0),
        ([nic(use="userspace")], [], [], 1),
        ([nic()], ["ibv_rc_pingpong (12)", "ibv_rc_pingpong (12)"], [], 1),
        (None, [], [], 1),
    ],
)
def test_what_is_in_the_way(nics: list[dict[str, object]] | None, verbs: list[str], protected: list[str], obstacles: int) -> None:
    assert len(reload.obstacles(nics, verbs, protected)) == obstacles


def test_programs_with_a_verbs_device(tmp_path: Path) -> None:
    for pid, name, target in ((10, "testpmd", "/dev/infiniband/uverbs0"), (11, "bash", "/dev/null")):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
        (tmp_path / str(pid) / "fd" / "3").symlink_to(target)
        (tmp_path / str(pid) / "comm").write_text(name + "\n")
    (tmp_path / "self").mkdir()
    assert reload.users_of_verbs(str(tmp_path)) == ["testpmd (10)"]


def test_the_distributions_own_files(tmp_path: Path) -> None:
    for path in ("kernel/drivers/net/mana/mana.ko.xz", "kernel/drivers/infiniband/hw/mana/mana_ib.ko", "updates/dkms/mana.ko"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = reload.in_tree_files(str(tmp_path), ["mana", "mana_ib"])
    assert found == {
        "mana": str(tmp_path / "kernel/drivers/net/mana/mana.ko.xz"),
        "mana_ib": str(tmp_path / "kernel/drivers/infiniband/hw/mana/mana_ib.ko"),
    }


def test_the_job_is_safe_for_a_shell() -> None:
    text = reload.job({"a": ["x", "y"], "b": "$(touch /tmp/no)", "c": 5})
    assert (
        subprocess.run(["sh", "-c", text + 'printf "%s|" "$a" "$b" "$c"'], capture_output=True, text=True, check=True).stdout
        == "x y|$(touch /tmp/no)|5|"
    )


class Host:
    """A fake sysfs with one NIC, and commands that do with it what the kernel would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.job = path / "job.d"
        self.log = path / "log"
        for folder in ("bin", "job.d", "sys/module/mana", "sys/module/mana_ib", "nic"):
            (path / folder).mkdir(parents=True)
        for name, content in (("address", MAC), ("flags", "0x1003"), ("carrier", "1"), ("device/vendor", "0x1414")):
            (path / "nic" / name).parent.mkdir(parents=True, exist_ok=True)
            (path / "nic" / name).write_text(content + "\n")
        (path / "sys/class/net").mkdir(parents=True)
        (path / "sys/class/net/eth1").symlink_to(path / "nic")
        net = path / "sys/class/net/eth1"
        self.command("rmmod", f'rmdir {path}/sys/module/$1; [ "$1" != mana ] || rm -f {net}')
        self.command("modprobe", f'mkdir -p {path}/sys/module/$1; [ "$1" != mana ] || ln -sfn {path}/nic {net}')
        self.command("insmod", f"mkdir -p {path}/sys/module/mana; ln -sfn {path}/nic {net}")
        for name in ("ip", "udevadm", "logger", "dmesg"):
            self.command(name, "exit 0")
        self.command("sleep", f"touch {path}/slept; exec /bin/sleep 0.05")

    def command(self, name: str, body: str) -> None:
        file = self.path / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{body}\n')
        file.chmod(0o755)

    def run(self, confirmed: bool = True, **values: object) -> str:
        job = {"token": TOKEN, "macs": [MAC], "unload": ["mana_ib", "mana"], "load": ["mana", "mana_ib"], "timeout": 3, "confirm": 3}
        (self.job / "job").write_text(reload.job({**job, "fallback": ["/old/mana.ko"], "fallback_names": [], **values}))
        if confirmed:
            (self.job / "confirm").write_text(TOKEN)
        script = self.path / "script"
        script.write_text(reload.SCRIPT.replace("/sys/", f"{self.path}/sys/"))
        subprocess.run(["sh", str(script), str(self.job)], env={"PATH": f"{self.path}/bin:{os.environ['PATH']}"}, timeout=60, check=False)
        return (self.job / "state").read_text().strip()

    def commands(self, *names: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.split()[0] in names]


def test_a_swap(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.run() == "confirmed"
    assert host.commands("rmmod", "modprobe", "insmod") == ["rmmod mana_ib", "rmmod mana", "modprobe mana", "modprobe mana_ib"]
    assert "ip link set eth1 up" in host.commands("ip")


def test_nobody_confirms(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert host.run(confirmed=False) == "reverted: nobody confirmed within 3 s"
    assert host.commands("insmod") == ["insmod /old/mana.ko"]


def test_a_stale_token_confirms_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (host.job / "confirm").write_text("fedcba9876543210")
    assert host.run(confirmed=False).startswith("reverted")


def test_a_module_that_is_held(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.command("rmmod", "exit 1")
    assert host.run() == "reverted: mana_ib cannot be unloaded"
    assert host.commands("modprobe") == []


def test_a_driver_that_does_not_load(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.command("modprobe", "exit 1")
    assert host.run().startswith("reverted: mana cannot be loaded")
    assert host.commands("insmod") == ["insmod /old/mana.ko"]


def test_a_nic_that_does_not_come_back(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.command("modprobe", "mkdir -p /dev/null/x 2>/dev/null; exit 0")
    assert host.run() == "reverted: not every NIC came back within 3 s"


def test_a_nic_that_does_not_come_back_even_with_the_old_driver(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.command("modprobe", "exit 0")
    host.command("insmod", "exit 1")
    assert host.run().startswith("failed: not every NIC came back")


# The module


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A function that runs the module on a host of whose state the test says what it likes, and returns its answer."""
    monkeypatch.setattr(reload, "STATE_DIRECTORY", str(tmp_path / "reload"))
    monkeypatch.setattr(reload, "SCRIPT_PATH", str(tmp_path / "libexec" / "driver-reload"))
    monkeypatch.setattr(reload, "users_of_verbs", lambda: ["testpmd (10)"] if (tmp_path / "verbs").exists() else [])
    modules = {name: {**MODULE, "state": "module"} for name in reload.MODULES}
    facts = {"nics": [nic(addresses=[])], "kernels": [{"release": "6.1.0", "running": True, "modules": modules}]}
    monkeypatch.setattr(driver_reload._facts, "collect", lambda *_: facts)

    def run(check: bool = False, stale: bool = True, **arguments: object) -> dict[str, Any]:
        for entry in modules.values():
            entry["loaded_srcversion"] = "old" if stale else "A"
        content = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}})
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", content.encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(sys, "stdin", io.StringIO(content))
        with pytest.raises(SystemExit):
            driver_reload.main()
        return dict(json.loads(capsys.readouterr().out))

    return run


def test_nothing_to_swap(module: Any) -> None:
    assert module(state="started", stale=False)["changed"] is False


def test_check_mode_starts_nothing(module: Any, tmp_path: Path) -> None:
    answer = module(state="started", check=True)
    assert (answer["changed"], answer["token"]) == (True, "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_a_refusal(module: Any, tmp_path: Path) -> None:
    (tmp_path / "verbs").touch()
    answer = module(state="started")
    assert answer["reason"] == "reload_refused"
    assert answer["obstacles"] == ["testpmd (10) holds a verbs device"]


@pytest.mark.parametrize("token", ["", "no such", TOKEN, "../../etc"])
def test_a_token_of_no_swap(module: Any, token: str) -> None:
    assert module(state="confirmed", token=token)["reason"] == "bad_token"


@pytest.mark.parametrize(("state", "reason"), [("reverted: mana cannot be loaded", "reload_reverted"), ("confirmed", None)])
def test_how_a_swap_ended(module: Any, tmp_path: Path, state: str, reason: str | None) -> None:
    (tmp_path / "reload" / TOKEN).mkdir(parents=True)
    (tmp_path / "reload" / TOKEN / "state").write_text(state + "\n")
    answer = module(state="confirmed", token=TOKEN)
    assert answer.get("reason") == reason
    assert answer["result"] == state


def test_two_swaps_at_once(module: Any, tmp_path: Path) -> None:
    (tmp_path / "reload" / TOKEN).mkdir(parents=True)
    (tmp_path / "reload" / TOKEN / "state").write_text("loading\n")
    answer = module(state="started")
    assert (answer["reason"], TOKEN in answer["msg"]) == ("reload_refused", True)
