# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drivers of devices: the script for VMBus against a sysfs that answers as the kernel does, its unit, driverctl for PCI."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _override
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System

GUID = "f8615163-0001-1000-2000-7c1e52000001"
OTHER = "f8615163-0002-1000-2000-7c1e52000002"
UIO = "uio_hv_generic"
MODULE = "ansible_collections.accelnet.mana.plugins.modules.driver_override"


class Vmbus:
    """A sysfs below a directory. A thread plays the kernel: FIFOs of it are the files that make something happen."""

    def __init__(self, root: Path, devices: dict[str, str | None], drivers: tuple[str, ...] = ("hv_netvsc", UIO)) -> None:
        self.root = root
        self.bus = root / "sys/bus/vmbus"
        self.stubborn = False  # whether no driver takes anything any more
        for driver in drivers:
            (self.bus / "drivers" / driver).mkdir(parents=True)
        (self.bus / "devices").mkdir(parents=True, exist_ok=True)
        for guid, driver in devices.items():
            (self.bus / "devices" / guid).mkdir()
            (self.bus / "devices" / guid / "driver_override").write_text("(null)\n")
            if driver:
                self._bind(guid, driver)
        self._fifos = {self.bus / "drivers_probe": None, **{self.bus / "drivers" / driver / "unbind": driver for driver in drivers}}
        for path, driver in self._fifos.items():
            os.mkfifo(path)
            threading.Thread(target=self._serve, args=(path, driver), daemon=True).start()

    def driver(self, guid: str) -> str | None:
        link = self.bus / "devices" / guid / "driver"
        return link.readlink().name if link.is_symlink() else None

    def override(self, guid: str) -> str:
        return (self.bus / "devices" / guid / "driver_override").read_text().strip()

    def _bind(self, guid: str, driver: str) -> None:
        (self.bus / "devices" / guid / "driver").symlink_to(f"../../drivers/{driver}")

    def _unbound(self, guid: str) -> bool:
        """The kernel has unbound a device when the write returns; our other thread may take a moment."""
        for _attempt in range(500):
            if self.driver(guid) is None:
                return True
            time.sleep(0.01)
        return False

    def _serve(self, path: Path, driver: str | None) -> None:
        while True:
            for guid in path.read_text().split():
                if driver is not None:
                    if self.driver(guid) == driver:
                        (self.bus / "devices" / guid / "driver").unlink()
                elif self._unbound(guid) and not self.stubborn:
                    wanted = self.override(guid)
                    self._bind(guid, wanted if wanted not in ("", "(null)") else "hv_netvsc")


@pytest.fixture
def vmbus(tmp_path: Path) -> Vmbus:
    return Vmbus(tmp_path, {GUID: "hv_netvsc", OTHER: "hv_netvsc"})


def set_driver(root: Path, driver: str | None, guid: str = GUID, check: bool = False) -> System:
    system = System(str(root), check)
    _override.set_override(system, "vmbus", guid, driver)
    return system


def test_a_device_is_bound_and_stays_so_at_boot(vmbus: Vmbus) -> None:
    system = set_driver(vmbus.root, UIO)
    assert system.changed
    assert (vmbus.driver(GUID), vmbus.driver(OTHER)) == (UIO, "hv_netvsc")
    assert (vmbus.override(GUID), vmbus.override(OTHER)) == (UIO, "(null)")
    assert (vmbus.root / _override.WANTED.lstrip("/")).readlink() == Path("../" + _override.UNIT_NAME)
    assert f"{GUID} {UIO}\n" in (vmbus.root / _override.LIST.lstrip("/")).read_text()
    assert os.access(vmbus.root / _override.SCRIPT.lstrip("/"), os.X_OK)
    assert not set_driver(vmbus.root, UIO).changed


def test_the_boot_binds_again_and_leaves_others_alone(vmbus: Vmbus) -> None:
    set_driver(vmbus.root, UIO)
    # After a reboot: hv_netvsc was first.
    (vmbus.bus / "devices" / GUID / "driver_override").write_text("(null)\n")
    (vmbus.bus / "devices" / GUID / "driver").unlink()
    (vmbus.bus / "devices" / GUID / "driver").symlink_to("../../drivers/hv_netvsc")
    environment = {
        **os.environ,
        "ACCELNET_SYSFS": str(vmbus.root / "sys"),
        "ACCELNET_VMBUS_OVERRIDES": str(vmbus.root / _override.LIST.lstrip("/")),
        "ACCELNET_MODPROBE": "true",
    }
    script = str(vmbus.root / _override.SCRIPT.lstrip("/"))
    subprocess.run([script, "apply"], env=environment, check=True, timeout=60)
    assert (vmbus.driver(GUID), vmbus.driver(OTHER)) == (UIO, "hv_netvsc")
    # One whose device is gone does not keep the others from theirs.
    with open(vmbus.root / _override.LIST.lstrip("/"), "a") as handle:
        handle.write(f"f8615163-0009-1000-2000-7c1e52000009 {UIO}\n{OTHER} {UIO}\n")
    done = subprocess.run([script, "apply"], env=environment, check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no such VMBus device" in done.stderr
    assert vmbus.driver(OTHER) == UIO


def test_it_is_given_back_to_the_driver_that_the_kernel_chooses(vmbus: Vmbus) -> None:
    set_driver(vmbus.root, UIO)
    set_driver(vmbus.root, UIO, OTHER)
    assert set_driver(vmbus.root, None).changed
    assert (vmbus.driver(GUID), vmbus.driver(OTHER)) == ("hv_netvsc", UIO)
    assert (vmbus.root / _override.UNIT.lstrip("/")).exists()
    set_driver(vmbus.root, None, OTHER)
    assert [path for path in (vmbus.root / "etc").rglob("*") if path.is_file() or path.is_symlink()] == []
    assert not set_driver(vmbus.root, None).changed


def test_what_is_not_overridden_is_not_released(vmbus: Vmbus) -> None:
    code, _output = _override.run_script(System(str(vmbus.root)), ["release", GUID])
    assert (code, vmbus.driver(GUID), vmbus.override(GUID)) == (0, "hv_netvsc", "(null)")


def test_check_mode_touches_nothing(vmbus: Vmbus) -> None:
    before = sorted(map(str, vmbus.root.rglob("*")))
    assert set_driver(vmbus.root, UIO, check=True).changed
    assert sorted(map(str, vmbus.root.rglob("*"))) == before
    assert (vmbus.driver(GUID), vmbus.override(GUID)) == ("hv_netvsc", "(null)")


def test_what_is_not_there_is_required_in_check_mode_and_refused_else(vmbus: Vmbus) -> None:
    missing = "f8615163-0009-1000-2000-7c1e52000009"
    assert _override.set_override(System(str(vmbus.root), True), "vmbus", missing, UIO) == ["device"]
    with pytest.raises(AccelnetError) as error:
        set_driver(vmbus.root, UIO, missing)
    assert error.value.reason == "device_missing"
    with pytest.raises(AccelnetError) as error:
        _override.set_override(System(str(vmbus.root)), "pci", "7870:00:00.0", "vfio-pci")
    assert error.value.reason == "device_missing"
    (vmbus.root / "sys/bus/pci/devices/7870:00:00.0").mkdir(parents=True)
    with pytest.raises(AccelnetError) as error:
        _override.set_override(System(str(vmbus.root)), "pci", "7870:00:00.0", "vfio-pci")
    assert error.value.reason == "driverctl_missing"


def test_a_driver_that_refuses_is_a_failure(vmbus: Vmbus) -> None:
    vmbus.stubborn = True
    with pytest.raises(AccelnetError) as error:
        set_driver(vmbus.root, UIO)
    assert error.value.reason == "bind_failed"
    assert GUID in error.value.message


@pytest.mark.parametrize(
    "bus, device, driver",
    [("vmbus", GUID.upper(), UIO), ("vmbus", "../" + GUID, UIO), ("vmbus", GUID, "a b"), ("pci", GUID, UIO), ("vmbus", GUID, "../x")],
)
def test_names_are_checked(tmp_path: Path, bus: str, device: str, driver: str) -> None:
    with pytest.raises(AccelnetError) as error:
        _override.set_override(System(str(tmp_path)), bus, device, driver)
    assert error.value.reason == "bad_device"


def test_pci_is_left_to_driverctl(tmp_path: Path) -> None:
    device = tmp_path / "sys/bus/pci/devices/7870:00:00.0"
    device.mkdir(parents=True)
    (device / "driver_override").write_text("(null)\n")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "usr/sbin/driverctl").write_text("")
    (tmp_path / "usr/sbin/driverctl").chmod(0o755)
    system = System(str(tmp_path))
    assert _override.set_override(system, "pci", "7870:00:00.0", "vfio-pci") == []
    assert system.commands == [["driverctl", "-b", "pci", "set-override", "7870:00:00.0", "vfio-pci"]]
    # As driverctl leaves it.
    (device / "driver_override").write_text("vfio-pci\n")
    (device / "driver").symlink_to("../../drivers/vfio-pci")
    (tmp_path / "etc/driverctl.d").mkdir(parents=True)
    (tmp_path / "etc/driverctl.d/pci-7870:00:00.0").write_text("vfio-pci\n")
    again = System(str(tmp_path))
    _override.set_override(again, "pci", "7870:00:00.0", "vfio-pci")
    assert not again.changed
    _override.set_override(again, "pci", "7870:00:00.0", None)
    assert again.commands == [["driverctl", "-b", "pci", "unset-override", "7870:00:00.0"]]


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_the_script_has_no_faults_that_shellcheck_knows(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text(_override.SCRIPT_TEXT)
    subprocess.run(["shellcheck", str(path)], check=True)


def test_nothing_is_ever_written_to_new_id() -> None:
    assert "new_id" not in _override.SCRIPT_TEXT


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(_override.SCRIPT_TEXT)
    script.chmod(0o755)
    unit = tmp_path / _override.UNIT_NAME
    unit.write_text(_override.UNIT_TEXT.replace(_override.SCRIPT, str(script)))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if _override.UNIT_NAME in line] == []
    before = next(line for line in _override.UNIT_TEXT.splitlines() if line.startswith("Before="))
    assert {"network-pre.target", "cloud-init-local.service"} <= set(before.partition("=")[2].split())


def wait_until(condition: Callable[[], bool]) -> bool:
    for _attempt in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def run_module(**arguments: Any) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    done = subprocess.run([sys.executable, "-m", MODULE], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_module_driver_override(vmbus: Vmbus) -> None:
    arguments = {"bus": "vmbus", "device": GUID, "driver": UIO, "root": str(vmbus.root)}
    checked = run_module(**arguments, _ansible_check_mode=True)
    assert (checked["changed"], checked["after"]["driver"]) == (True, "hv_netvsc")
    done = run_module(**arguments)
    assert (done["changed"], done["before"]["driver"], done["after"]["driver"], done["after"]["boot"]) == (True, "hv_netvsc", UIO, UIO)
    assert GUID in done["diff"]["after"]
    assert not run_module(**arguments)["changed"]
    assert run_module(bus="vmbus", device=GUID, state="absent", root=str(vmbus.root))["changed"]
    # The kernel has bound a device when the write returns; our other thread may take a moment, and the module looks only once.
    assert wait_until(lambda: vmbus.driver(GUID) == "hv_netvsc")
    assert run_module(**{**arguments, "device": "x"})["reason"] == "bad_device"
