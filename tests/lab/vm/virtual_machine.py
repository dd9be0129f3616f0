# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One running virtual machine of a lab."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import time
import typing as t

from lab.vm import qemu
from lab.vm.console import KernelLog, SerialLog
from lab.vm.errors import LabError
from lab.vm.images import MANAGEMENT_MAC, GuestImage
from lab.vm.qemu_tree import Qemu
from lab.vm.qmp import Qmp, QmpError
from lab.vm.records import Process, Run
from lab.vm.secure_boot import secure_boot
from lab.vm.spec import VmSpec
from lab.vm.ssh import COMMAND_TIMEOUT, Completed, Ssh, SshError

# Seconds until a guest must have an sshd: far more than the slowest that was seen (140 s on a loaded host).
BOOT_TIMEOUT = 900.0
_START_TIMEOUT = 60.0
_POLL = 0.5

# Name, MAC and driver of every interface.
_INTERFACES = 'cd /sys/class/net; for i in *; do echo "$i $(cat $i/address) $(basename "$(readlink $i/device/driver)")"; done 2>/dev/null'

# A host that is busy makes a guest's processors stand still for long. Only what is longer than that is a defect.
PATIENCE = "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120"


def forwarded_port(usernet: str) -> int:
    """The port of this machine that leads to the guest's sshd, from what `info usernet` prints. Raises LabError."""
    found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\b", usernet)
    if found is None:
        raise LabError(f"QEMU forwards no port to the guest's sshd: {usernet!r}")
    return int(found[1])


class VirtualMachine:
    """A QEMU, the guest in it, and the ways to both."""

    ssh: Ssh
    qmp: Qmp
    process: Process

    def __init__(self, run: Run, spec: VmSpec, image: GuestImage, program: Qemu, survives: bool = False) -> None:
        """Nothing is started yet. survives: QEMU is to outlive this process."""
        self.spec = spec
        self.name = spec.name
        self.image = image
        self._run = run
        self._program = program
        self._survives = survives
        self._expected_to_run = False
        self.serial = SerialLog(run.logs / f"{self.name}-serial.log")
        self._dmesg = run.logs / f"{self.name}-dmesg.log"
        self.functions = tuple(
            qemu.VfioUserFunction(
                id=name,
                socket=run.socket(f"{name}.sock"),
                hotplug=function.hotplug,
                present=function.present,
                numa_node=function.numa_node,
                failover_mac=function.macs[0] if function.failover else None,
            )
            for name, function in zip(self.function_names(), spec.functions)
        )

    def function_names(self) -> list[str]:
        """Names of the functions within the lab; also their ids for QMP."""
        return [f"{self.name}-vf{number}" for number in range(len(self.spec.functions))]

    # Life

    def start(self) -> None:
        """Start QEMU and log in as soon as that is possible."""
        self.machine = self._machine()
        environment = {**os.environ, **self._program.environment}
        command = [*self._program.argv, *qemu.arguments(self.machine)]
        self.process = self._run.start(f"{self.name}-qemu", command, environment, self._survives)
        self._expected_to_run = True
        self.qmp = self._connect()
        known_hosts = self._run.path / f"{self.name}-known_hosts"
        known_hosts.write_text(f"{self.image.name} {self.image.host_key.strip()}\n", encoding="utf-8")
        self.ssh = Ssh(
            host="127.0.0.1",
            port=forwarded_port(self.qmp.human("info usernet")),
            user=self.image.ssh_user,
            key=self.image.ssh_key,
            known_hosts=known_hosts,
            alias=self.image.name,
            control=self._run.socket(f"{self.name}-ssh.sock"),
        )
        self.wait_ready()

    def wait_ready(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Wait, for so many seconds, until commands can be run. Fails at once when the guest or QEMU ended."""
        try:
            self.ssh.wait_ready(self.check, timeout)
        except SshError as error:
            raise LabError(f"{self.name}: {error}; its console ends with: {self._console_end()}") from error
        if not self._survives:
            self.ssh.share(self._run, f"{self.name}-ssh")

    def check(self) -> None:
        """Raises LabError when QEMU has ended, or when the guest's console says that it will not come up."""
        code = self.process.exit_code()
        if code is not None and self._expected_to_run:
            raise LabError(f"{self.name}: QEMU ended with {code}: {self.process.log_tail() or self._console_end()}")
        dead = self.serial.dead(self.spec.allow)
        if dead is not None:
            raise LabError(f"{self.name}: the guest is dead: {dead}; its console ends with: {self._console_end()}")

    def reboot(self, timeout: float = BOOT_TIMEOUT) -> None:
        """Reboot the guest, and wait until the next boot lets us in."""
        before = self.boot_id()
        self.keep_log()
        # The guest may close the connection before the command has ended.
        with contextlib.suppress(SshError):
            self.run(["reboot"], timeout=60)
        self.ssh.unshare()
        deadline = time.monotonic() + timeout
        while True:
            self.ssh.wait_ready(self.check, max(deadline - time.monotonic(), 1.0))
            with contextlib.suppress(SshError):
                if self.boot_id() != before:
                    break
            if time.monotonic() > deadline:
                raise LabError(f"{self.name}: no new boot within {timeout:.0f} s")
            time.sleep(_POLL)
        self.wait_ready()

    def stop(self) -> None:
        """End QEMU, as if the power was cut."""
        if not self._expected_to_run:
            return
        self._expected_to_run = False
        if hasattr(self, "ssh"):
            self.ssh.unshare()
        if hasattr(self, "qmp"):
            with contextlib.suppress(QmpError):
                self.qmp.execute("quit", timeout=10)
            self.qmp.close()
        self.process.stop()

    # The guest

    def run(
        self, command: str | collections.abc.Sequence[str], check: bool = True, timeout: float = COMMAND_TIMEOUT, stdin: str | bytes = b""
    ) -> Completed:
        """Run a command in the guest, see Ssh.run."""
        return self.ssh.run(command, check, timeout, stdin)

    def boot_id(self) -> str:
        """Another one after each boot; see random(4)."""
        return self.run(["cat", "/proc/sys/kernel/random/boot_id"]).out.strip()

    def interface(self, mac: str, driver: str = "", timeout: float = 120.0) -> str:
        """Name of the interface with this MAC, and this driver if there are several. Waits, for so many seconds, until it appears."""
        deadline = time.monotonic() + timeout
        seen: list[str] = []
        while True:
            rows = [line.split(" ") for line in self.run(_INTERFACES).out.splitlines()]
            found = [row[0] for row in rows if row[1].lower() == mac.lower() and driver in ("", row[2])]
            if len(found) == 1:
                if found == seen:
                    return found[0]
                # udev renames what is new: only a name that is still there when udev is done will stay.
                self.run(["udevadm", "settle"])
                seen = found
                continue
            if len(found) > 1 or time.monotonic() > deadline:
                raise LabError(f"{self.name}: {len(found)} interfaces with {mac} {driver}: {'; '.join(' '.join(row) for row in rows)}")
            self.check()
            time.sleep(_POLL)

    # The machine

    def pci_address(self, number: int = 0) -> str | None:
        """Where the guest sees a function of ours: "0000:01:00.0"; None when it is not plugged in."""

        def search(devices: list[dict[str, t.Any]]) -> str | None:
            for device in devices:
                if device["qdev_id"] == self.functions[number].id:
                    return f"0000:{device['bus']:02x}:{device['slot']:02x}.{device['function']}"
                found = search(device.get("pci_bridge", {}).get("devices", []))
                if found is not None:
                    return found
            return None

        return search([device for bus in self.qmp.execute("query-pci") for device in bus["devices"]])

    def plug(self, number: int = 0) -> None:
        """Plug in a function whose spec says that it was not there at the start: what Azure does when it offers a VF."""
        self.qmp.command({"execute": "device_add", "arguments": self.functions[number].device()})

    def take_away(self, number: int = 0) -> None:
        """Have the guest let go of a function, driver and all, as it does when the hypervisor asks it to.

        Not by QMP's device_del: QEMU 11.1.3 aborts when a vfio-user-pci with MSI-X is finalized (memory_region_del_subregion,
        "subregion->container == mr"). Azure's pci-hyperv, asked to eject, ends in the same pci_stop_and_remove_bus_device.
        """
        self.run(f"echo 1 > /sys/bus/pci/devices/{self._plugged(number)}/remove")

    def give_back(self, number: int = 0) -> None:
        """Have the guest find a function again that was taken away."""
        address = self._plugged(number)
        self.run(f"echo 1 > /sys/bus/pci/rescan && test -e /sys/bus/pci/devices/{address}")

    def _plugged(self, number: int) -> str:
        address = self.pci_address(number)
        if address is None:
            raise LabError(f"{self.name}: {self.functions[number].id} is not plugged in")
        return address

    # Its log

    def keep_log(self) -> None:
        """Add the kernel's log and what it thinks of itself to logs/NAME-dmesg.log."""
        log = self.run("dmesg; sysctl kernel.tainted || sed 's/^/kernel.tainted = /' /proc/sys/kernel/tainted", timeout=120)
        with self._dmesg.open("a", encoding="utf-8") as file:
            file.write(log.out)

    def problems(self) -> list[str]:
        """What the kernel reported since the start, without what the spec allows."""
        # A guest that no longer answers still has its console.
        if self.process.exit_code() is None:
            with contextlib.suppress(SshError):
                self.keep_log()
        text = self.serial.text()
        if self._dmesg.exists():
            text += self._dmesg.read_text(encoding="utf-8")
        return KernelLog.problems(text, self.spec.allow)

    def _console_end(self) -> str:
        return " / ".join(self.serial.tail(5).splitlines()) or "nothing"

    def _connect(self) -> Qmp:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            self.check()
            try:
                return Qmp(self.machine.qmp_socket)
            except QmpError as error:
                if self.process.exit_code() is None and time.monotonic() > deadline:
                    raise LabError(f"{self.name}: {error}") from error
            time.sleep(0.05)

    def _machine(self) -> qemu.Machine:
        spec = self.spec
        firmware = self._firmware()
        direct = isinstance(firmware, qemu.DirectKernel)
        return qemu.Machine(
            name=f"{self._run.id}-{self.name}",
            firmware=firmware,
            disk=self._disk(),
            serial_log=self.serial.path,
            qmp_socket=self._run.socket(f"{self.name}-qmp.sock"),
            memory=spec.memory,
            cpus=spec.cpus,
            numa=spec.numa,
            functions=self.functions,
            append=f"{PATIENCE} {spec.append}".strip() if direct else spec.append,
            management_mac=MANAGEMENT_MAC,
            azure=spec.azure,
            accelerator=os.environ.get("LAB_ACCELERATOR") or qemu.Machine.accelerator,
            extra=spec.extra,
        )

    def _firmware(self) -> qemu.Firmware:
        image = self.image
        if image.firmware == "uefi":
            program = self._program
            secure = self.spec.secure_boot
            variables = self._run.path / f"{self.name}-variables.fd"
            if not variables.exists():
                shutil.copyfile(secure_boot().variables if secure else program.ovmf_vars, variables)
            return qemu.Uefi(program.ovmf_code_secure if secure else program.ovmf_code, variables, secure)
        if self.spec.secure_boot:
            raise LabError(f"{image.name} does not start by UEFI: no Secure Boot")
        if image.firmware == "bios":
            return qemu.Bios()
        if image.kernel is None or image.initrd is None:
            raise LabError(f"{image.name} has neither a boot loader nor a kernel")
        return qemu.DirectKernel(image.kernel, image.initrd, image.append)

    def _disk(self) -> qemu.Disk:
        if not self.spec.persistent:
            return qemu.Disk(self.image.disk)
        overlay: pathlib.Path = self._run.path / f"{self.name}.qcow2"
        if not overlay.exists():
            made = subprocess.run(
                [*self._program.img, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(self.image.disk), str(overlay)],
                env={**os.environ, **self._program.environment},
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                raise LabError(f"qemu-img: {made.stderr.strip()}")
        return qemu.Disk(overlay, "qcow2", snapshot=False)
