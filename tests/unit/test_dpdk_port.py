# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Giving NICs to DPDK and back (_port_apply, _port_files, _hugepages) below a root of files, and the EAL arguments (_eal)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.filter.eal_args import eal_args_filter
from ansible_collections.accelnet.mana.plugins.module_utils import _eal, _facts, _hugepages, _port_apply, _port_files
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System
from hypothesis import given
from hypothesis import strategies as st

DATA, OTHER = "7c:1e:52:00:00:01", "7c:1e:52:00:00:02"
MODULE = "ansible_collections.accelnet.mana.plugins.modules.dpdk_port"
POOL = "sys/devices/system/node/node0/hugepages/hugepages-2048kB"
PORT = {"mac": DATA, "mode": "mana", "interfaces": ["enP1s0"], "vmbus_device": None}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host with one MANA function of two ports, systemd-networkd, and 4 GiB of memory."""
    function = tmp_path / "sys/devices/pci/7870:00:00.0"
    for number, mac in enumerate((DATA, OTHER)):
        net = function / f"net/enP1s{number}"
        net.mkdir(parents=True)
        (net / "address").write_text(mac + "\n")
        (net / "dev_port").write_text(f"{number}\n")
        (net / "flags").write_text("0x1003\n")
        (net / "type").write_text("1\n")
        (net / "operstate").write_text("up\n")
        (net / "device").symlink_to("../..")
        (tmp_path / "sys/class/net").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"sys/class/net/enP1s{number}").symlink_to(f"../../devices/pci/7870:00:00.0/net/enP1s{number}")
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    (tmp_path / "sys/bus/pci/devices/7870:00:00.0").symlink_to("../../../devices/pci/7870:00:00.0")
    (function / "subsystem").symlink_to("../../../bus/pci")
    for name, value in {"vendor": "0x1414", "device": "0x00ba", "class": "0x020000"}.items():
        (function / name).write_text(value + "\n")
    (tmp_path / POOL).mkdir(parents=True)
    (tmp_path / POOL / "nr_hugepages").write_text("0\n")
    (tmp_path / "sys/devices/system/node/node0/meminfo").write_text("Node 0 MemTotal:        4194304 kB\n")
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd-networkd").touch()
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return tmp_path


def run_module(root: Path, check: bool = False, **arguments: Any) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": {"root": str(root), "_ansible_check_mode": check, **arguments}})
    done = subprocess.run([sys.executable, "-m", MODULE], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()}


def file(root: Path, path: str) -> str:
    return (root / path.lstrip("/")).read_text()


def give(root: Path, *ports: dict[str, Any], check: bool = False, **more: Any) -> tuple[System, _port_apply.Ports]:
    system = System(str(root), check)
    worker = _port_apply.Ports(system)
    options: dict[str, Any] = {
        "ports": [dict(port) for port in ports],
        "modules": ["mana_ib", "ib_uverbs"],
        "hugepages_mb": 512,
        "hugepages_kb": None,
        "hugepages_share": 0.5,
        "cloud_init": False,
        "eal_name": "default",
        "python": "/usr/bin/python3",
    }
    worker.give(_port_apply.Options(**{**options, **more}))
    return system, worker


def test_check_mode_predicts_and_touches_nothing(host: Path) -> None:
    before = content(host)
    answer = run_module(host, True, ports=[PORT], modules=["mana_ib"], hugepages_mb=512)
    assert answer["changed"]
    assert content(host) == before
    done = run_module(host, ports=[PORT], modules=["mana_ib"], hugepages_mb=512)
    # What is written last is known only then.
    assert [action for action in done["actions"] if "EAL" not in action] == answer["actions"]
    assert DATA in done["diff"]["after"]


def test_a_port_lasts_and_goes_back_without_a_trace(host: Path) -> None:
    before = content(host)
    answer = run_module(host, ports=[PORT], modules=["mana_ib", "ib_uverbs"], hugepages_mb=512)
    assert answer["changed"]
    assert ["ip", "link", "set", "dev", "enP1s0", "down"] in answer["commands"]
    assert not any("enP1s1" in word for command in answer["commands"] for word in command)
    for path in (_port_files.UDEV, _port_files.NETWORKD):
        assert DATA in file(host, path) and OTHER not in file(host, path)
    assert "Unmanaged=yes" in file(host, _port_files.NETWORKD)
    assert file(host, _port_files.MODULES_LOAD).splitlines()[1:] == ["mana_ib", "ib_uverbs"]
    assert file(host, _hugepages.TMPFILES).splitlines()[1:] == [f"w! /{POOL}/nr_hugepages - - - - 256"]
    assert file(host, POOL + "/nr_hugepages") == "256\n"
    assert file(host, _eal.OUTPUT + "/default.args") == f"-a\n7870:00:00.0,mac={DATA}\n"
    assert file(host, _eal.OUTPUT + "/default.env") == f"EAL_ARGS=-a 7870:00:00.0,mac={DATA}\n"
    # As the kernel has it after the commands.
    flags = host / "sys/class/net/enP1s0/flags"
    flags.write_text("0x1002\n")
    for name in ("mana_ib", "ib_uverbs"):
        (host / "sys/module" / name).mkdir(parents=True)
    assert not run_module(host, ports=[PORT], modules=["mana_ib", "ib_uverbs"], hugepages_mb=512)["changed"]
    # The readers of the audit understand the record.
    facts = _facts.collect(str(host), hardware=True)
    assert {nic["mac"]: (nic["use"], nic["handed_over"]) for nic in facts["nics"]} == {DATA: ("userspace", True), OTHER: ("kernel", False)}
    back = run_module(host, state="absent")
    assert (back["changed"], back["not_restored"], back["ports"]) == (True, [], [])
    assert ["ip", "link", "set", "dev", "enP1s0", "up"] in back["commands"]
    flags.write_text("0x1003\n")
    for name in ("run/accelnet", "usr/libexec/accelnet", "var/lib/accelnet"):
        assert not (host / name).exists()
    assert content(host) == before
    assert not run_module(host, state="absent")["changed"]


def test_one_of_two_goes_back(host: Path) -> None:
    give(host, PORT, {**PORT, "mac": OTHER, "interfaces": ["enP1s1"]})
    assert DATA in file(host, _port_files.UDEV) and OTHER in file(host, _port_files.UDEV)
    answer = run_module(host, state="absent", macs=[DATA])
    assert [port["mac"] for port in answer["ports"]] == [OTHER]
    assert DATA not in file(host, _port_files.UDEV) and OTHER in file(host, _port_files.UDEV)
    assert file(host, POOL + "/nr_hugepages") == "256\n"
    assert file(host, _eal.OUTPUT + "/default.args") == f"-a\n7870:00:00.0,mac={OTHER}\n"
    assert not run_module(host, state="absent", macs=[DATA])["changed"]
    # With the last one everything goes.
    assert run_module(host, state="absent", macs=[OTHER])["hugepages"] == [{"size_kb": 2048, "node": 0, "total": 0}]
    assert not (host / "var/lib/accelnet").exists()


def test_what_was_there_before_is_put_back(host: Path) -> None:
    (host / "etc/systemd/network").mkdir(parents=True)
    (host / _port_files.NETWORKD.lstrip("/")).write_text("theirs\n")
    (host / POOL / "nr_hugepages").write_text("100\n")
    before = content(host)
    give(host, PORT)
    # Whoever runs it again must not take our file for theirs.
    give(host, PORT, cloud_init=True)
    run_module(host, state="absent")
    assert content(host) == before


def test_huge_pages_that_somebody_changed_since_are_left_alone(host: Path) -> None:
    give(host, PORT)
    (host / POOL / "nr_hugepages").write_text("300\n")
    answer = run_module(host, state="absent")
    assert "300 pages" in answer["not_restored"][0]
    assert file(host, POOL + "/nr_hugepages") == "300\n"


def test_a_failure_is_undone(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(host)

    def refuse(*_arguments: object) -> None:
        raise AccelnetError("bind_failed", "no")

    monkeypatch.setattr(_port_apply._override, "set_override", refuse)
    with pytest.raises(AccelnetError):
        give(host, {**PORT, "mode": "netvsc", "vmbus_device": "f8615163-0001-1000-2000-7c1e52000001"})
    assert content(host) == before
    monkeypatch.undo()
    # What an earlier run gave stays.
    give(host, PORT)
    given = content(host)
    monkeypatch.setattr(_port_apply._override, "set_override", refuse)
    with pytest.raises(AccelnetError):
        give(
            host, {**PORT, "mac": OTHER, "mode": "netvsc", "interfaces": ["enP1s1"], "vmbus_device": "f8615163-0001-1000-2000-7c1e52000001"}
        )
    assert content(host) == given


def test_a_damaged_record_is_no_reason_to_start_anew(host: Path) -> None:
    (host / "var/lib/accelnet").mkdir(parents=True)
    (host / _port_apply.RECORD.lstrip("/")).write_text("{")
    assert run_module(host, ports=[PORT])["reason"] == "bad_record"


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ({"ports": [{"mac": "x"}]}, "bad_mac"),
        ({"state": "absent", "macs": ["x"]}, "bad_mac"),
        ({"ports": [{"mac": DATA, "vmbus_device": "../x"}]}, "bad_device"),
        ({"ports": [{"mac": DATA, "interfaces": ["a/b"]}]}, "bad_device"),
        ({"modules": ["a b"]}, "bad_device"),
        ({"eal_name": "../x"}, "bad_device"),
        ({"hugepages_mb": 3000}, "hugepages_exceed_memory"),
        ({"hugepages_mb": 2, "hugepages_kb": 64}, "bad_hugepages"),
    ],
)
def test_bad_input_has_a_reason_and_touches_nothing(host: Path, arguments: dict[str, Any], reason: str) -> None:
    before = content(host)
    assert run_module(host, **arguments)["reason"] == reason
    assert content(host) == before


# --- who else could configure the NIC


def test_every_manager_that_is_there_is_told(host: Path) -> None:
    for path in ("usr/sbin/NetworkManager", "usr/sbin/wicked", "usr/bin/cloud-init", "usr/sbin/netplan"):
        (host / path).parent.mkdir(parents=True, exist_ok=True)
        (host / path).touch()
    (host / "etc/netplan").mkdir(parents=True)
    netplan = "network:\n  version: 2\n  ethernets:\n    eth0:\n      dhcp4: true\n"
    netplan += '    data:\n      match:\n        macaddress: "%s"\n      dhcp4: true\n'
    (host / "etc/netplan/50-cloud-init.yaml").write_text(netplan % DATA.upper())
    _system, worker = give(host, PORT)
    assert f"unmanaged-devices+=mac:{DATA}" in file(host, _port_files.NETWORK_MANAGER)
    assert "STARTMODE='off'" in file(host, "/etc/sysconfig/network/ifcfg-enP1s0")
    # Not without consent.
    assert not (host / _port_files.CLOUD_INIT.lstrip("/")).exists() and not (host / _port_files.NETPLAN.lstrip("/")).exists()
    assert [remark.split()[0] for remark in worker.warnings if "dpdk_port_cloud_init" in remark] == ["cloud-init", "netplan"]
    _system, worker = give(host, PORT, cloud_init=True)
    assert not [remark for remark in worker.warnings if "dpdk_port_cloud_init" in remark]
    assert "network: {config: disabled}" in file(host, _port_files.CLOUD_INIT)
    assert "    data:\n      optional: true\n" in file(host, _port_files.NETPLAN)
    assert "eth0" not in file(host, _port_files.NETPLAN)


def test_interfaces_of_ifupdown_are_named(host: Path) -> None:
    (host / "sbin").mkdir()
    (host / "sbin/ifup").touch()
    (host / "etc/network").mkdir(parents=True)
    (host / "etc/network/interfaces").write_text("auto lo enP1s0\niface enP1s0 inet dhcp\n")
    _system, worker = give(host, PORT)
    assert any("enP1s0" in remark for remark in worker.warnings)


@pytest.mark.parametrize(
    "text, ids",
    [
        (f"network:\n  ethernets:\n    a:\n      match: {{macaddress: '{DATA}'}}\n", []),  # flow style is not read
        (f"network:\n  ethernets:\n    a:\n      macaddress: {DATA}\n", []),  # sets one, matches none
        (f"network:\n  bonds:\n    a:\n      match:\n        macaddress: {DATA}\n", []),
        (
            f"network:\n  ethernets:\n    a:\n      match:\n        driver: x\n        macaddress: {DATA}\n"
            f"    b:\n      match:\n        macaddress: {OTHER}\n",
            ["a"],
        ),
    ],
)
def test_stanzas_of_netplan(text: str, ids: list[str]) -> None:
    assert _port_files.netplan_ids([text], [DATA]) == ids


# --- huge pages


def pools(*rows: tuple[int | None, int, int, int | None]) -> list[_hugepages.Pool]:
    return [_hugepages.Pool(f"/{node}/{size}", node, size, total, memory) for node, size, total, memory in rows]


def test_pages_of_every_node_that_has_memory() -> None:
    found = pools((0, 2048, 0, 8 << 20), (1, 2048, 600, 8 << 20), (2, 2048, 0, 0), (0, 1048576, 1, 8 << 20))
    assert _hugepages.wanted(found, 1024, None, 0.5) == {"/0/2048": 512, "/1/2048": 600}
    assert _hugepages.wanted(found, 1025, 2048, 0.5) == {"/0/2048": 513, "/1/2048": 600}
    # Kernels with pages of 64 KiB have other sizes.
    assert _hugepages.wanted(pools((None, 524288, 0, 8 << 20)), 1024, None, 0.5) == {"/None/524288": 2}


@pytest.mark.parametrize("memory, others", [(2 << 20, 0), (4 << 20, 2), (None, 0)])
def test_more_than_the_share_of_a_node_is_refused(memory: int | None, others: int) -> None:
    with pytest.raises(AccelnetError) as error:
        _hugepages.wanted(pools((0, 2048, 0, memory), (0, 1048576, others, memory)), 1025, None, 0.5)
    assert error.value.reason == "hugepages_exceed_memory"


def test_what_is_reserved_already_is_never_refused() -> None:
    assert _hugepages.wanted(pools((0, 2048, 900, 2 << 20)), 1024, None, 0.5) == {"/0/2048": 900}


# --- EAL arguments


def nic(mac: str, address: str | None = "7870:00:00.0", guid: str | None = None, kind: str = "mana") -> dict[str, Any]:
    return {
        "mac": mac,
        "kind": kind,
        "vf": {"pci_address": address} if address else None,
        "synthetic": {"vmbus_device": guid} if guid else None,
    }


GUID = "f8615163-0001-1000-2000-7c1e52000001"


@pytest.mark.parametrize(
    "nics, mode, args",
    [
        ([nic(DATA), nic(OTHER)], "mana", ["-a", f"7870:00:00.0,mac={DATA}"]),
        ([nic(DATA, guid=GUID)], "mana", ["-a", f"7870:00:00.0,mac={DATA}"]),
        ([nic(DATA, guid=GUID)], "netvsc", ["-a", f"7870:00:00.0,mac={DATA}", "-a", f"vmbus:{GUID}"]),
        ([nic(DATA, None, GUID)], "netvsc", ["--no-pci", "-a", f"vmbus:{GUID}"]),
        ([nic(DATA, "0002:00:02.0", GUID, "mlx5")], "netvsc", ["-a", "0002:00:02.0", "-a", f"vmbus:{GUID}"]),
        ([nic(DATA, None)], "mana", ["--no-pci"]),
    ],
)
def test_arguments(nics: list[dict[str, Any]], mode: str, args: list[str]) -> None:
    assert eal_args_filter({"schema_version": 1, "nics": nics}, [DATA], mode) == args


def test_ports_of_one_function_are_one_argument() -> None:
    assert _eal.eal_args([nic(OTHER), nic(DATA)], [DATA, OTHER], "mana") == ["-a", f"7870:00:00.0,mac={DATA},mac={OTHER}"]


@given(macs=st.lists(st.sampled_from([DATA, OTHER]), unique=True, max_size=2), mode=st.sampled_from(["netvsc", "mana"]))
def test_a_nic_that_was_not_named_is_never_probed(macs: list[str], mode: str) -> None:
    """Neither by its MAC nor, which is worse, by a function without one."""
    args = _eal.eal_args([nic(DATA, guid=GUID), nic(OTHER)], macs, mode)
    text = " ".join(args)
    assert [mac for mac in (DATA, OTHER) if mac in text] == sorted(macs)
    assert "--no-pci" in args or all("mac=" in arg for arg in args if arg.startswith("7870"))


@pytest.mark.parametrize("macs, mode", [(["7c:1e:52:00:00:09"], "mana"), ([DATA], "x"), ("x", "mana")])
def test_bad_arguments_are_refused(macs: Any, mode: str) -> None:
    with pytest.raises(AnsibleFilterError):
        eal_args_filter({"schema_version": 1, "nics": [nic(DATA)]}, macs, mode)


def test_the_program_of_the_boot_says_the_same_as_the_filter(host: Path) -> None:
    """It reads sysfs for itself, on hosts that have nothing of this collection."""
    give(host, PORT)
    facts = _facts.collect(str(host), hardware=True)
    args = file(host, _eal.OUTPUT + "/default.args").splitlines()
    assert args == eal_args_filter(facts, [DATA], "mana")
    program = (host / _port_files.EAL_SCRIPT.lstrip("/")).read_text()
    assert "ansible_collections" not in program
    # After a stop and start the function is elsewhere.
    (host / "sys/devices/pci/7870:00:00.0").rename(host / "sys/devices/pci/1a2b:00:00.0")
    for number in (0, 1):
        link = host / f"sys/class/net/enP1s{number}"
        link.unlink()
        link.symlink_to(f"../../devices/pci/1a2b:00:00.0/net/enP1s{number}")
    script = f"import importlib.util as u; s = u.spec_from_file_location('e', {str(host / _port_files.EAL_SCRIPT.lstrip('/'))!r}); "
    script += f"m = u.module_from_spec(s); s.loader.exec_module(m); print(m.write_args({str(host)!r}, 0.0))"
    done = subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert file(host, _eal.OUTPUT + "/default.args") == f"-a\n1a2b:00:00.0,mac={DATA}\n"


def test_a_virtual_function_that_is_away_is_named_and_not_waited_for_long(host: Path) -> None:
    give(host, PORT)
    (host / "sys/class/net/enP1s0").unlink()
    assert _eal.write_args(str(host), 0.3) == [DATA]
    assert file(host, _eal.OUTPUT + "/default.args") == "--no-pci\n"
