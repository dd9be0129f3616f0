# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs as a whole: they boot, they end, and whatever happens they leave nothing."""

from __future__ import annotations

import collections.abc
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.vm import audit, records
from lab.vm.lab import FunctionSpec, Lab, LabError, VmSpec

LabFactory = collections.abc.Callable[..., Lab]
TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 900.0


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory of this test's own, for this process and those that it starts."""
    monkeypatch.setenv("LAB_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    return tmp_path / "run"


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes of this machine in which this folder is named, but for our own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(os.fsencode(folder) in word for word in words) and path.parent.name != str(os.getpid()):
            found.append(b" ".join(words).decode(errors="replace"))
    return found


def all_end(pids: collections.abc.Iterable[int]) -> bool:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended = select.select([descriptor], [], [], 60)[0]
        os.close(descriptor)
        if not ended:
            return False
    return True


def test_the_kernel_of_the_image_runs_on_something_like_azure(debian13: Lab) -> None:
    assert debian13.vm.run("uname -r").out.strip() == debian13.vm.image.kernel_release
    assert debian13.vm.run("cat /sys/class/dmi/id/sys_vendor").out == "Microsoft Corporation\n"
    assert debian13.vm.run("cat /sys/class/dmi/id/chassis_asset_tag").out == "7783-7084-3265-9085-8269-3286-77\n"


def test_files_go_both_ways(debian13: Lab) -> None:
    content = bytes(range(256)) * 1000
    debian13.vm.ssh.put(content, "/root/a file", 0o640)
    assert debian13.vm.ssh.get("/root/a file") == content
    assert debian13.vm.run(["stat", "-c", "%a", "/root/a file"]).out == "640\n"


def test_commands_that_fail(debian13: Lab) -> None:
    assert debian13.vm.run("exit 3", check=False).code == 3
    with pytest.raises(LabError, match="ended with 3: so it goes"):
        debian13.vm.run("echo so it goes >&2; exit 3")


def test_the_stock_driver_drives_the_nic(debian13: Lab) -> None:
    (mac,) = debian13.vm.spec.functions[0].macs
    interface = debian13.vm.interface(mac)
    assert debian13.vm.run(f"basename $(readlink /sys/class/net/{interface}/device/driver)").out == "mana\n"
    assert debian13.device.command("counters")["ok"]


def test_the_audit_finds_it_accelerated(debian13: Lab, tmp_path: Path) -> None:
    result = audit.audit(debian13, tmp_path)["vm"]
    assert audit.shortcomings(result, debian13.vm.spec.functions[0].macs) == []


def test_the_vf_goes_and_returns(debian13: Lab) -> None:
    (mac,) = debian13.vm.spec.functions[0].macs
    debian13.vm.take_away()
    assert mac not in debian13.vm.run("cat /sys/class/net/*/address").out
    debian13.vm.give_back()
    assert debian13.vm.interface(mac)
    debian13.connect()


def test_a_vf_that_comes_late(elsewhere: Path, lab: LabFactory) -> None:
    late = lab(vms=[VmSpec(functions=(FunctionSpec(present=False),))])
    (mac,) = late.vm.spec.functions[0].macs
    assert late.vm.pci_address() is None
    assert mac not in late.vm.run("cat /sys/class/net/*/address").out
    late.vm.plug()
    assert late.vm.interface(mac)
    late.connect()


def test_reboot(debian13: Lab) -> None:
    before = debian13.vm.boot_id()
    debian13.vm.run("echo kept > /root/kept")
    debian13.vm.reboot()
    assert debian13.vm.boot_id() != before
    assert debian13.vm.run("cat /root/kept").out == "kept\n"
    debian13.connect()


# Writes where the function has no register. The kernel keeps user space out of what a driver has.
MISUSE = """
import mmap, os, sys
device = "/sys/bus/pci/devices/" + sys.argv[1]
open(device + "/driver/unbind", "w").write(sys.argv[1])
open(device + "/enable", "w").write("1")
mmap.mmap(os.open(device + "/resource0", os.O_RDWR), 4096)[2048:2052] = bytes(4)
"""


def test_two_at_once_and_a_kernel_and_a_nic_that_complain(elsewhere: Path, lab: LabFactory) -> None:
    first = lab()
    complaining = Lab()
    expected = r"(?s)the kernel reported: .*WARNING: of a test.*function 0 was misused: {'register': "
    with pytest.raises(LabError, match=expected) as caught, complaining as second:
        assert second.vm.ssh.port != first.vm.ssh.port
        assert second.vm.boot_id() != first.vm.boot_id()
        first.connect()
        second.vm.run("echo 'WARNING: of a test' > /dev/kmsg")
        second.vm.run(["python3", "-c", MISUSE, second.vm.pci_address() or ""])
    assert caught.value.logs is not None
    assert "WARNING: of a test" in (caught.value.logs / "vm-dmesg.log").read_text()
    assert '"problem": "register"' in (caught.value.logs / "device.log").read_text()
    # The end of one is not the end of the other.
    assert [run.id for run in records.all_runs()] == [first.run.id]
    assert first.vm.run("echo alive").out == "alive\n"


RUNNER = """
import sys
from lab.vm.lab import Lab
with Lab() as lab:
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_runner_that_is_killed_leaves_nothing(elsewhere: Path) -> None:
    runner = subprocess.Popen([sys.executable, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert runner.stdout is not None
    assert runner.stdout.readline() == b"ready\n"
    (run,) = records.all_runs()
    pids = {process.what: process.pid for process in run.processes()}
    assert set(pids) == {"device-server", "vm-qemu", "vm-ssh"}
    assert len(processes_of(elsewhere)) >= 3
    runner.kill()
    runner.communicate()
    assert all_end(pids.values())
    assert processes_of(elsewhere) == []
    command = subprocess.run([sys.executable, "-m", "lab", "list"], capture_output=True, text=True, check=True)
    assert command.stdout == ""
    assert run.id in command.stderr
    assert not run.path.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_runner_that_is_told_to_end_takes_the_lab_down(elsewhere: Path, number: signal.Signals, code: int) -> None:
    # A shell that starts these tests in the background has them ignore Ctrl-C, and so what they start.
    runner = subprocess.Popen(["env", "--default-signal=INT", sys.executable, "-m", "lab", "check"], stderr=subprocess.PIPE)
    # As soon as there is something that could be left over.
    deadline = time.monotonic() + PATIENCE
    while not any(process.what == "vm-qemu" for run in records.all_runs() for process in run.processes()):
        assert runner.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    runner.send_signal(number)
    runner.communicate(timeout=PATIENCE)
    assert runner.returncode == code
    assert records.all_runs() == []
    assert processes_of(elsewhere) == []


def test_left_running_until_it_is_ended(elsewhere: Path) -> None:
    def command(*words: str) -> str:
        return subprocess.run([sys.executable, "-m", "lab", *words], stdout=subprocess.PIPE, text=True, check=True).stdout

    connection = json.loads(command("shell", "--name", "kept", "--json"))
    assert connection["name"] == "kept"
    (vm,) = connection["vms"]
    answer = subprocess.run(f"{vm['ssh']} echo alive", shell=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert answer.stdout == "alive\n"
    (row,) = json.loads(command("list", "--json"))
    assert (row["name"], row["state"], row["connection"]) == ("kept", "left running", connection)
    command("down", "kept")
    assert records.all_runs() == []
    assert processes_of(elsewhere) == []
