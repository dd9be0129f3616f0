# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module package_record: what came is known, and only that goes (_package_record). Real dpkg in tests/vm/test_dpdk_port.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _package_record
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System

RECORD = "/var/lib/accelnet/dpdk.json"


class Packages:
    """A package manager in memory: what is installed, and what needs what."""

    def __init__(self, **installed: str) -> None:
        self.installed = installed
        self.needs: dict[str, str] = {}
        self.removals: list[list[str]] = []

    def remove(self, command: list[str], *_more: object) -> tuple[int, str]:
        names = command[2:]
        self.removals.append(names)
        kept = [name for name in names if name in self.needs and self.needs[name] not in names]
        if kept:
            return 1, "".join(
                f"dpkg: dependency problems prevent removal of {name}:\n {self.needs[name]} depends on {name}.\n" for name in kept
            )
        for name in names:
            del self.installed[name]
        return 0, ""


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Packages:
    found = Packages(libc="2", ibverbs="50")
    monkeypatch.setattr(_package_record, "installed", lambda system: dict(found.installed))
    monkeypatch.setattr(_package_record, "manager", lambda system: "dpkg")
    monkeypatch.setattr(_package_record, "run", found.remove)
    return found


def record(root: Path, check: bool = False) -> _package_record.Record:
    return _package_record.Record(System(str(root), check), RECORD)


def install(root: Path, packages: Packages, **what: str) -> None:
    record(root).begin(list(what))
    packages.installed.update(what)
    record(root).end([])


def test_what_came_goes_and_nothing_else(tmp_path: Path, packages: Packages) -> None:
    install(tmp_path, packages, dpdk="24.11", librte="24.11")
    install(tmp_path, packages)
    packages.installed["theirs"] = "1"
    back = record(tmp_path)
    back.take_away()
    assert packages.installed == {"libc": "2", "ibverbs": "50", "theirs": "1"}
    assert back.not_restored == []
    assert not (tmp_path / RECORD.lstrip("/")).exists()
    again = record(tmp_path)
    again.take_away()
    assert not again.system.changed


def test_what_others_need_by_now_stays_and_is_told(tmp_path: Path, packages: Packages) -> None:
    install(tmp_path, packages, dpdk="24.11", librte="24.11", libnuma="2")
    packages.installed["theirs"] = "1"
    packages.needs = {"librte": "theirs"}
    back = record(tmp_path)
    back.take_away()
    assert packages.removals == [["dpdk", "libnuma", "librte"], ["dpdk", "libnuma"]]
    assert packages.installed == {"libc": "2", "ibverbs": "50", "theirs": "1", "librte": "24.11"}
    assert [line for line in back.not_restored if line.startswith("librte ")]


def test_an_upgrade_cannot_be_taken_back_and_is_told(tmp_path: Path, packages: Packages) -> None:
    install(tmp_path, packages, ibverbs="56", libmana="56")
    install(tmp_path, packages, ibverbs="57")
    back = record(tmp_path)
    back.take_away()
    assert packages.installed == {"libc": "2", "ibverbs": "57"}
    assert back.not_restored == ["ibverbs was upgraded from 50"]


def test_a_run_that_died_is_remembered(tmp_path: Path, packages: Packages) -> None:
    record(tmp_path).begin(["half", "dpdk"])
    packages.installed["half"] = "1"
    # Somebody else's: a run that died cannot tell it from what it brought along.
    packages.installed["tcpdump"] = "4"
    record(tmp_path).begin(["half", "dpdk"])
    packages.installed["dpdk"] = "24.11"
    packages.installed["libdpdk"] = "24.11"
    record(tmp_path).end([])
    record(tmp_path).take_away()
    assert packages.installed == {"libc": "2", "ibverbs": "50", "tcpdump": "4"}
    record(tmp_path).begin(["half"])
    packages.installed["half:amd64"] = "1"
    record(tmp_path).take_away()
    assert "half:amd64" not in packages.installed


def test_without_a_change_there_is_no_record(tmp_path: Path, packages: Packages) -> None:
    install(tmp_path, packages)
    assert not (tmp_path / RECORD.lstrip("/")).exists()


def test_check_mode_touches_nothing(tmp_path: Path, packages: Packages) -> None:
    record(tmp_path, True).begin(["dpdk"])
    record(tmp_path, True).end(["rdma-ndd.service"])
    assert list(tmp_path.iterdir()) == []
    install(tmp_path, packages, dpdk="24.11")
    back = record(tmp_path, True)
    back.take_away()
    assert back.system.changed
    assert "dpdk" in packages.installed
    assert (tmp_path / RECORD.lstrip("/")).exists()


def test_units_are_masked_where_they_exist_and_unmasked_where_we_did(tmp_path: Path, packages: Packages) -> None:
    (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/rdma-ndd.service").touch()
    mask = tmp_path / "etc/systemd/system/rdma-ndd.service"
    first = record(tmp_path)
    first.end(["rdma-ndd.service", "other.service"])
    assert first.system.changed and mask.readlink() == Path("/dev/null")
    assert not (mask.parent / "other.service").is_symlink()
    second = record(tmp_path)
    second.end(["rdma-ndd.service"])
    assert not second.system.changed
    record(tmp_path).take_away()
    assert not mask.is_symlink()
    mask.symlink_to("/dev/null")  # by somebody else
    record(tmp_path).end(["rdma-ndd.service"])
    record(tmp_path).take_away()
    assert mask.is_symlink()


@pytest.mark.parametrize(
    ("name", "version", "release", "running"),
    [
        ("linux-image-6.12.118+deb12-cloud-amd64", "6.12.118-1~deb12u1", "6.12.118+deb12-cloud-amd64", True),
        ("linux-image-unsigned-6.8.0-1052-azure", "6.8.0-1052.58", "6.8.0-1052-azure", True),
        ("linux-modules-6.8.0-1052-azure", "6.8.0-1052.58", "6.8.0-1052-azure", True),
        ("linux-modules-extra-6.8.0-1052-azure", "6.8.0-1052.58", "6.8.0-1052-azure", False),
        ("linux-headers-6.12.118+deb12-cloud-amd64:amd64", "6.12.118-1~deb12u1", "6.12.118+deb12-cloud-amd64", False),
        ("linux-image-6.12-cloud-amd64", "6.12.118-1~deb12u1", "6.12.118+deb12-cloud-amd64", False),
        ("kernel-modules-core.x86_64", "0:6.12.0-55.9.1.el10_0", "6.12.0-55.9.1.el10_0.x86_64", True),
        ("kernel-modules-core.x86_64", "0:6.12.0-55.7.1.el10_0", "6.12.0-55.9.1.el10_0.x86_64", False),
        ("kernel-uek-core.x86_64", "0:6.12.0-103.40.4.2.el9uek", "6.12.0-103.40.4.2.el9uek.x86_64", True),
        ("kernel-default.x86_64", "0:6.4.0-150700.53.3.1", "6.4.0-150700.53.3.1-default", True),
        ("kernel-modules.x86_64", "0:6.12.0-55.9.1.el10_0", "6.12.0-55.9.1.el10_0.x86_64", False),
        ("kernel-devel.x86_64", "0:6.12.0-55.9.1.el10_0", "6.12.0-55.9.1.el10_0.x86_64", False),
    ],
)
def test_the_kernel_that_runs(name: str, version: str, release: str, running: bool) -> None:
    assert _package_record.of_running_kernel(name, version, release) is running


def test_the_kernel_that_runs_stays(tmp_path: Path, packages: Packages) -> None:
    install(tmp_path, packages, **{f"linux-image-{os.uname().release}": "1", "linux-image-other": "2"})
    gone = record(tmp_path)
    gone.take_away()
    assert "linux-image-other" not in packages.installed
    assert f"linux-image-{os.uname().release}" in packages.installed
    assert gone.not_restored == [f"linux-image-{os.uname().release} is the kernel that runs"]
    again = record(tmp_path)
    again.take_away()
    assert (again.system.changed, again.not_restored) == (False, gone.not_restored)


def test_answers_of_dpkg_and_rpm() -> None:
    text = "dpdk\t24.11.4-0+deb13u1\tii \nlibc6:amd64\t2.41-12\tii \nold\t1\trc \n"
    assert _package_record.parse_dpkg(text) == {"dpdk": "24.11.4-0+deb13u1", "libc6:amd64": "2.41-12"}
    text = "kernel.x86_64\t0:5.14-2\nkernel.x86_64\t0:5.14-1\ngpg-pubkey.(none)\t0:1-1\ndpdk.x86_64\t2:23.11-1\n"
    assert _package_record.parse_rpm(text)["kernel.x86_64"] == "0:5.14-1 0:5.14-2"
    assert _package_record.parse_rpm(text)["dpdk.x86_64"] == "2:23.11-1"
    refusal = "dpkg: dependency problems prevent removal of librte-eal25:amd64:\n testbed depends on librte-eal25.\n"
    assert _package_record.refused(refusal) == ["librte-eal25"]


def test_a_host_that_does_not_tell_is_no_empty_host(tmp_path: Path) -> None:
    with pytest.raises(AccelnetError) as error:
        _package_record.installed(System(str(tmp_path)))
    assert error.value.reason == "packages_unknown"


def test_the_module_package_record(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    name = "ansible_collections.accelnet.mana.plugins.modules.package_record"

    def ask(**arguments: Any) -> dict[str, Any]:
        stdin = json.dumps({"ANSIBLE_MODULE_ARGS": {"path": str(tmp_path / "record.json"), **arguments}})
        done = subprocess.run([sys.executable, "-m", name], input=stdin, env=environment, capture_output=True, text=True, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    assert ask(state="absent") == ask(state="absent") and not ask(state="absent")["changed"]
    (tmp_path / "record.json").write_text("[]")
    assert ask(state="begin")["reason"] == "bad_record"
