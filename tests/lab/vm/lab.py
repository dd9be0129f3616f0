# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs: virtual machines, their emulated MANA NICs and the wire between these, as one thing that ends as a whole.

`with Lab(guest="debian-13") as lab:` boots a machine with a NIC; then `lab.connect()` lets it reach the responder,
`lab.vm.run("ip -j link")` runs a command in it and `lab.device.command("counters")` asks the NIC.
"""

from __future__ import annotations

import ipaddress
import json
import pathlib
import shlex
import time
import types
import typing as t

from lab.vm import images, qemu_tree, records
from lab.vm.cache import say
from lab.vm.device_server import DeviceServer
from lab.vm.errors import LabError
from lab.vm.spec import FunctionSpec, ResponderSpec, VmSpec, numbered, vport_mac
from lab.vm.virtual_machine import VirtualMachine

_ANSWER_TIMEOUT = 120.0
_POLL = 0.5


class Lab:
    """A context manager: the lab runs within it. It fails in the end when a guest's kernel reported a defect."""

    def __init__(
        self,
        guest: str = "debian-13",
        vports: int = 1,
        name: str | None = None,
        *,
        vms: t.Sequence[VmSpec] = (),
        responder: ResponderSpec | None = ResponderSpec(),
        join: t.Mapping[str, str] | None = None,
        survives: bool = False,
        what: str = "a lab",
        misuse: bool = False,
        **options: t.Any,
    ) -> None:
        """By itself one machine with one function of so many vPorts (0: no NIC); options are further fields of its VmSpec.

        vms: the machines, instead. name: how others find the lab. join: to the wire of another lab, see DeviceServer.

        survives: `leave` is going to be called. what: for `lab list`. misuse: drivers may ask the NIC for what a right one never does.
        """
        if not vms:
            macs = tuple(vport_mac(0, vport) for vport in range(vports))
            options.setdefault("functions", (FunctionSpec(macs),) if vports else ())
            vms = [VmSpec(guest=guest, **options)]
        self.specs = numbered(vms)
        self.responder = responder
        self._join = join
        self.vms: list[VirtualMachine] = []
        self.logs: pathlib.Path | None = None
        self._name = name
        self._survives = survives
        self._what = what
        self._misuse = misuse
        self._device: DeviceServer | None = None
        self._left = False

    @property
    def vm(self) -> VirtualMachine:
        """The first machine."""
        return self.vms[0]

    @property
    def device(self) -> DeviceServer:
        """The NICs. Raises LabError in a lab without any."""
        if self._device is None:
            raise LabError("this lab has no NIC")
        return self._device

    def __enter__(self) -> Lab:
        for name in records.clean_dead():
            say(f"removed what a killed lab left: {name}")
        # Building takes minutes, and needs no lab.
        program = qemu_tree.qemu()
        guests = [images.guest(spec.guest) for spec in self.specs]
        self.run = records.Run.create(self._what, self._name)
        try:
            self.vms = [VirtualMachine(self.run, spec, image, program, self._survives) for spec, image in zip(self.specs, guests)]
            functions = {name: f for vm in self.vms for name, f in zip(vm.function_names(), vm.spec.functions)}
            if functions:
                self._device = DeviceServer(self.run, functions, self.responder, self._survives, self._join)
            # One after the other: a machine that boots has the processors to itself.
            for vm in self.vms:
                vm.start()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None) -> None:
        if self._left and error is None:
            return
        problems: list[str] = []
        try:
            # Somebody who interrupts wants an end, not a verdict.
            if error is None or isinstance(error, Exception):
                problems = self._problems()
        finally:
            self._end(error)
        if problems and error is None:
            failure = LabError("; ".join(problems))
            failure.logs = self.logs
            raise failure

    def connect(self) -> None:
        """Give every vPort an address in the responder's network, bring it up, and wait until the responder answers a ping through it."""
        if self.responder is None:
            raise LabError("this lab has no responder")
        ipv4, ipv6 = ipaddress.ip_interface(self.responder.ipv4), ipaddress.ip_interface(self.responder.ipv6)
        for (vm, mac), number in zip(self._vports(), range(1, 255)):
            interface = vm.interface(mac)
            for address in (ipv4, ipv6):
                nodad = " nodad" if address.version == 6 else ""
                vm.run(f"ip address replace {address.ip + number}/{address.network.prefixlen} dev {interface}{nodad}")
            vm.run(["ip", "link", "set", interface, "up"])
            for address in (ipv4, ipv6):
                _until_answered(vm, interface, str(address.ip))

    def inventory(self, path: pathlib.Path) -> pathlib.Path:
        """Write an Ansible inventory of the machines to this file, and return its path."""
        # JSON is YAML, and needs no library.
        path.write_text(json.dumps({"all": {"hosts": {vm.name: host_variables(vm) for vm in self.vms}}}, indent=2) + "\n", encoding="utf-8")
        return path

    def leave(self) -> dict[str, t.Any]:
        """Let the lab run on without this process until `lab down`; returns how its machines are reached."""
        if not self._survives:
            raise LabError("the processes of this lab do not survive: it was not made for that")
        self.inventory(self.run.path / "inventory.yml")
        configuration = self.run.path / "ssh_config"
        configuration.write_text("".join(vm.ssh.configuration(vm.name) for vm in self.vms), encoding="utf-8")
        connection = {
            "name": self.run.id,
            "directory": str(self.run.path),
            "inventory": str(self.run.path / "inventory.yml"),
            "vms": [
                {
                    "name": vm.name,
                    "guest": vm.spec.guest,
                    "ssh": shlex.join(["ssh", "-F", str(configuration), vm.name]),
                    "variables": host_variables(vm),
                    "macs": [mac for function in vm.spec.functions for mac in function.macs],
                }
                for vm in self.vms
            ],
        }
        (self.run.path / "connection.json").write_text(json.dumps(connection, indent=2) + "\n", encoding="utf-8")
        for vm in self.vms:
            vm.qmp.close()
        self.run.keep()
        self._left = True
        return connection

    def _vports(self) -> t.Iterator[tuple[VirtualMachine, str]]:
        for vm in self.vms:
            for function in vm.spec.functions:
                for mac in function.macs:
                    yield vm, mac

    def _problems(self) -> list[str]:
        found = [f"{vm.name}: the kernel reported: {problem}" for vm in self.vms for problem in vm.problems()]
        checks = [vm.check for vm in self.vms]
        if self._device is not None:
            checks.append(self._device.check)
            if not self._misuse:
                checks.append(self._device.check_use)
        for check in checks:
            try:
                check()
            except LabError as error:
                found.append(str(error))
        return found

    def _end(self, error: BaseException | None) -> None:
        """Stop everything, remove the directory, and tell where the logs are when something went wrong."""
        try:
            for vm in self.vms:
                vm.stop()
            if self._device is not None:
                self._device.stop()
        finally:
            self.logs = self.run.remove()
            if isinstance(error, LabError):
                error.logs = self.logs
            elif isinstance(error, Exception):
                say(f"logs of the lab: {self.logs}")


def host_variables(vm: VirtualMachine) -> dict[str, t.Any]:
    """How Ansible reaches a machine."""
    return {
        "ansible_host": vm.ssh.host,
        "ansible_port": vm.ssh.port,
        "ansible_user": vm.ssh.user,
        "ansible_ssh_private_key_file": str(vm.ssh.key),
        "ansible_ssh_common_args": shlex.join(vm.ssh.options()),
        "ansible_ssh_pipelining": True,
        "ansible_python_interpreter": "/usr/bin/python3",
    }


def _until_answered(vm: VirtualMachine, interface: str, address: str) -> None:
    """Ping until there is an answer."""
    deadline = time.monotonic() + _ANSWER_TIMEOUT
    while True:
        done = vm.run(["ping", "-n", "-c", "1", "-W", "10", "-I", interface, address], check=False)
        if done.code == 0:
            return
        vm.check()
        if time.monotonic() > deadline:
            raise LabError(f"{vm.name}: {address} does not answer a ping from {interface}: {(done.err or done.out).strip()}")
        time.sleep(_POLL)


__all__ = ["FunctionSpec", "Lab", "LabError", "ResponderSpec", "VmSpec"]
