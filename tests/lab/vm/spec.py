# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab is to be made of."""

from __future__ import annotations

import dataclasses
import typing as t

from lab.vm.errors import LabError
from lab.vm.qemu import NumaNode

# A range of Microsoft's for Azure's NICs; the last three bytes count functions and vPorts of a lab.
_MAC_PREFIX = "7c:1e:52"


def vport_mac(function: int, vport: int) -> str:
    """The MAC of a vPort when nobody chose one. Labs are separate networks, so two of them may have the same."""
    return f"{_MAC_PREFIX}:00:{function:02x}:{vport + 1:02x}"


@dataclasses.dataclass(frozen=True)
class FunctionSpec:
    """A MANA PCI function."""

    macs: tuple[str, ...] = ()
    """One per vPort; by itself one vPort with a MAC of the lab."""
    max_queues: int = 4
    options: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    """Further options of the function, see FunctionConfig of lab.device.function."""
    hotplug: bool = True
    """Whether it sits behind a PCIe root port, where it can be plugged in later."""
    present: bool = True
    """Whether it is plugged in when the machine starts; see VirtualMachine.plug."""
    numa_node: int | None = None
    failover: bool = False
    """Whether a virtio NIC of the first vPort's MAC stands beside it, which the guest pairs with it (net_failover)."""


@dataclasses.dataclass(frozen=True)
class ResponderSpec:
    """The host on the wire that answers ARP, neighbour solicitations, pings and more."""

    mac: str = "7c:1e:52:ff:00:01"
    ipv4: str = "10.77.0.1/24"
    ipv6: str = "fd77::1/64"


@dataclasses.dataclass(frozen=True)
class VmSpec:
    """A virtual machine."""

    name: str = "vm"
    guest: str = "debian-13"
    functions: tuple[FunctionSpec, ...] = (FunctionSpec(),)
    memory: int = 2048
    """In MiB."""
    cpus: int = 2
    numa: tuple[NumaNode, ...] = ()
    append: str = ""
    """Further words of the kernel command line; for guests whose kernel QEMU starts."""
    persistent: bool = False
    """Whether the disk is a qcow2 file of the lab that outlives QEMU, for machines that are switched off and on."""
    azure: bool = True
    """Whether firmware tables look like Azure's."""
    secure_boot: bool = False
    """Whether Secure Boot is on, with Microsoft's keys and our own (lab.vm.secure_boot); for guests that start by UEFI."""
    allow: tuple[str, ...] = ()
    """Regular expressions for reports of the kernel that are expected; on the console, they do not mean either that the guest is dead."""
    extra: tuple[str, ...] = ()
    """Further arguments of QEMU."""


def numbered(vms: t.Sequence[VmSpec]) -> tuple[VmSpec, ...]:
    """The same machines, with a MAC for every vPort. Raises LabError when names or MACs are not unique."""
    result = []
    count = 0
    for vm in vms:
        functions = []
        for function in vm.functions:
            functions.append(dataclasses.replace(function, macs=function.macs or (vport_mac(count, 0),)))
            count += 1
        result.append(dataclasses.replace(vm, functions=tuple(functions)))
    names = [vm.name for vm in result]
    macs = [mac.lower() for vm in result for function in vm.functions for mac in function.macs]
    if len(set(names)) < len(names) or len(set(macs)) < len(macs):
        raise LabError(f"names and MACs of a lab are unique, these are not: {', '.join(names)}; {', '.join(macs)}")
    return tuple(result)
