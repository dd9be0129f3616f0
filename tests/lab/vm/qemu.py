# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU is called with: a description of a machine in, a list of arguments out. Nothing here touches the system.

Sources: qemu-system-x86_64(1), QEMU's docs/system/devices/vfio-user.rst and docs/pcie.txt.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import typing as t

from lab.vm.errors import LabError

# What the SMBIOS tables of a VM in Azure say; cloud-init and systemd-detect-virt recognise Azure by the asset tag.
AZURE_SMBIOS = (
    "type=1,manufacturer=Microsoft Corporation,product=Virtual Machine",
    "type=3,manufacturer=Microsoft Corporation,asset=7783-7084-3265-9085-8269-3286-77",
)

# Where the first function goes on the PCI root bus, clear of what QEMU places by itself from slot 1 on.
_FIRST_SLOT = 0x10


@dataclasses.dataclass(frozen=True)
class DirectKernel:
    """QEMU loads the kernel itself: quick, and the same kernel at every reboot."""

    kernel: pathlib.Path
    initrd: pathlib.Path
    append: str


@dataclasses.dataclass(frozen=True)
class Uefi:
    """OVMF, and a boot loader on the disk."""

    code: pathlib.Path
    variables: pathlib.Path
    """This machine's own copy: OVMF writes to it."""
    secure_boot: bool = False
    """The code was built for Secure Boot: it needs SMM, and variables that only SMM may write."""


@dataclasses.dataclass(frozen=True)
class Bios:
    """SeaBIOS, and a boot loader on the disk."""


Firmware = DirectKernel | Uefi | Bios


@dataclasses.dataclass(frozen=True)
class Disk:
    """The disk that the guest boots from."""

    path: pathlib.Path
    format: str = "raw"
    snapshot: bool = True
    """Whether what the guest writes is gone when QEMU ends; it stays over reboots of the guest either way."""


@dataclasses.dataclass(frozen=True)
class NumaNode:
    memory: int
    """In MiB."""
    cpus: str
    """As QEMU writes it: "0-1"."""


@dataclasses.dataclass(frozen=True)
class VfioUserFunction:
    """A PCI function that a device server implements."""

    id: str
    """Name of the device for QMP."""
    socket: pathlib.Path
    hotplug: bool = True
    """Whether it sits behind a PCIe root port, where it can be plugged in later."""
    present: bool = True
    """Whether it is plugged in when the machine starts."""
    numa_node: int | None = None
    """The node that the function is near to, by an expander bridge of that node."""
    failover_mac: str | None = None
    """MAC of a virtio NIC beside it that the guest pairs with it (net_failover)."""

    @property
    def bus(self) -> str:
        """The bus that it is plugged into, for QMP's device_add."""
        return f"{self.id}-port" if self.hotplug else "pcie.0"

    def device(self) -> dict[str, t.Any]:
        """The device as QEMU's -device and QMP's device_add take it."""
        return {
            "driver": "vfio-user-pci",
            "id": self.id,
            "bus": self.bus,
            "socket": {"type": "unix", "path": str(self.socket)},
        }


@dataclasses.dataclass(frozen=True)
class Machine:
    """A virtual machine as QEMU is to emulate it. Paths must not change while it runs."""

    name: str
    firmware: Firmware
    disk: Disk
    serial_log: pathlib.Path
    qmp_socket: pathlib.Path
    memory: int = 2048
    """In MiB."""
    cpus: int = 2
    numa: tuple[NumaNode, ...] = ()
    """Empty for a machine without NUMA; else the nodes' memory adds up to that of the machine."""
    functions: tuple[VfioUserFunction, ...] = ()
    append: str = ""
    """Further words of the kernel command line; with DirectKernel only."""
    management_mac: str = "52:54:00:12:34:56"
    """Of the NIC that ssh comes in by; this one is QEMU's default."""
    azure: bool = True
    """Whether firmware tables look like Azure's."""
    accelerator: str = "tcg,thread=multi"
    extra: tuple[str, ...] = ()
    """Further arguments, as they are."""

    def __post_init__(self) -> None:
        if self.append and not isinstance(self.firmware, DirectKernel):
            raise LabError("the command line of a kernel that a boot loader starts is not QEMU's to add to")
        if self.numa and sum(node.memory for node in self.numa) != self.memory:
            raise LabError(f"the NUMA nodes have {sum(node.memory for node in self.numa)} MiB, the machine {self.memory}")
        nodes = [function.numa_node for function in self.functions if function.numa_node is not None]
        if any(not function.present and not function.hotplug for function in self.functions):
            raise LabError("a function that is plugged in later needs hotplug")
        if any(function.numa_node is not None and not function.hotplug for function in self.functions):
            raise LabError("only a root port can be near a NUMA node: a function there needs hotplug")
        if any(node >= len(self.numa) for node in nodes):
            raise LabError("a function is on a NUMA node that the machine does not have")


def option(value: object) -> str:
    """A value within QEMU's key=value,… syntax, in which a comma is written twice."""
    return str(value).replace(",", ",,")


def arguments(machine: Machine) -> tuple[str, ...]:
    """The arguments of qemu-system-x86_64 for this machine, without the program itself."""
    return (
        *("-name", option(machine.name)),
        # No devices but ours, no files of the user's, nothing on the terminal.
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-accel", machine.accelerator, "-cpu", "max", "-smp", _processors(machine)),
        *_memory(machine),
        *_firmware(machine),
        *(("-smbios", AZURE_SMBIOS[0], "-smbios", AZURE_SMBIOS[1]) if machine.azure else ()),
        *("-chardev", f"file,id=serial,path={option(machine.serial_log)},append=on", "-serial", "chardev:serial"),
        *("-qmp", f"unix:{option(machine.qmp_socket)},server=on,wait=off"),
        *("-device", "virtio-rng-pci"),
        *_disk(machine.disk),
        # Port 0: the system chooses a free port, `info usernet` tells which. So labs cannot collide.
        *("-netdev", "user,id=management,hostfwd=tcp:127.0.0.1:0-:22"),
        *("-device", f"virtio-net-pci,netdev=management,mac={machine.management_mac},romfile="),
        *_functions(machine),
        *machine.extra,
    )


def _processors(machine: Machine) -> str:
    # Linux warns (topology_sane) when processors of one socket are in several nodes.
    return f"{machine.cpus},sockets={len(machine.numa)}" if machine.numa else str(machine.cpus)


def _memory(machine: Machine) -> tuple[str, ...]:
    # The device server reads and writes the guest's memory itself: it gets the memfds over the socket.
    def backend(name: str, mebibytes: int) -> tuple[str, str]:
        return "-object", f"memory-backend-memfd,id={name},size={mebibytes}M,share=on"

    secure = ",smm=on" if isinstance(machine.firmware, Uefi) and machine.firmware.secure_boot else ""
    if not machine.numa:
        return (*("-machine", f"q35,memory-backend=memory{secure}", "-m", f"{machine.memory}M"), *backend("memory", machine.memory))
    found = ["-machine", f"q35{secure}", "-m", f"{machine.memory}M"]
    for number, node in enumerate(machine.numa):
        found += backend(f"memory{number}", node.memory)
        found += ["-numa", f"node,nodeid={number},memdev=memory{number},cpus={node.cpus}"]
    return tuple(found)


def _firmware(machine: Machine) -> tuple[str, ...]:
    firmware = machine.firmware
    if isinstance(firmware, DirectKernel):
        append = f"{firmware.append} {machine.append}".strip()
        return ("-kernel", str(firmware.kernel), "-initrd", str(firmware.initrd), "-append", append)
    if isinstance(firmware, Uefi):
        secure = ("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
        return (
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={option(firmware.code)}"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={option(firmware.variables)}"),
            *(secure if firmware.secure_boot else ()),
        )
    return ()


def _disk(disk: Disk) -> tuple[str, ...]:
    # Boot index 0 is what QEMU starts a kernel of its own command line by.
    # Nobody needs the disk of a lab after a power failure of the host, and everybody needs it to be quick.
    snapshot = "on" if disk.snapshot else "off"
    drive = f"if=none,id=disk,format={disk.format},snapshot={snapshot},cache=unsafe,discard=unmap,file={option(disk.path)}"
    return ("-drive", drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1")


def _functions(machine: Machine) -> tuple[str, ...]:
    found: list[str] = []
    for number, function in enumerate(machine.functions):
        device = function.device()
        slot = f"{_FIRST_SLOT + number:#x}"
        bus = "pcie.0"
        if function.numa_node is not None:
            # Bus numbers of expanders grow downwards from the top, far from those that the firmware gives out from 0 on.
            bus = f"{function.id}-node"
            found += ["-device", f"pxb-pcie,id={bus},bus_nr={0xF0 - 8 * number},numa_node={function.numa_node},bus=pcie.0,addr={slot}"]
            slot = "0x0"
        if function.hotplug:
            found += ["-device", f"pcie-root-port,id={function.bus},bus={bus},addr={slot},chassis={number + 1},slot={number + 1}"]
        else:
            device.update(bus=bus, addr=slot)
        if function.failover_mac is not None:
            # It leads nowhere unless somebody connects it: the pair is what the guest sees, not a second way out.
            found += ["-netdev", f"hubport,id={function.id}-standby,hubid={number + 1}"]
            found += ["-device", f"virtio-net-pci,bus=pcie.0,netdev={function.id}-standby,mac={function.failover_mac},failover=on,romfile="]
        if function.present:
            found += ["-device", json.dumps(device)]
    return tuple(found)
