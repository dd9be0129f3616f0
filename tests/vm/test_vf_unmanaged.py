# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vf_unmanaged, with a bond in place of the synthetic interface: what counts is the slave flag, which the function gets late.

systemd-networkd has a file here that wants every interface. Debian 13 has 257, which reads the property itself; 252 of Debian 12, which
reads our .network file, is not covered.
"""

from __future__ import annotations

import collections.abc
import re

import pytest
from guest import wait_for
from lab.vm.lab import Lab
from lab.vm.playbook import Played, play

# The guest has a boot loader, and is booted twice.
pytestmark = pytest.mark.matrix

LabFactory = collections.abc.Callable[..., Lab]

GREEDY = "[Match]\nType=ether\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n"
FILES = "cd / && find etc/udev etc/systemd/network etc/initramfs-tools/hooks -type f | xargs sha256sum"


def run_role(lab: Lab, *options: str, state: str = "present") -> Played:
    plays = [{"hosts": "all", "gather_facts": False, "roles": [{"role": "accelnet.mana.vf_unmanaged", "vf_unmanaged_state": state}]}]
    return play(lab, plays, {}, *options)


def bond(lab: Lab) -> str:
    """Enslaves the function, and returns its name."""
    vm = lab.vm
    interface = vm.interface(vm.spec.functions[0].macs[0])
    vm.run("ip link show bond7 || ip link add bond7 type bond mode active-backup", check=False)
    vm.run(f"ip link set {interface} down && ip link set {interface} master bond7 && ip link set {interface} up")
    return interface


def managed(interface: str) -> str:
    """A shell command that succeeds while networkd looks after the interface."""
    return rf"networkctl --no-legend list {interface} | grep -Eq ' (pending|configuring|configured|failed) *$'"


def unmanaged(interface: str) -> str:
    return rf"networkctl --no-legend list {interface} | grep -Eq ' unmanaged *$'"


@pytest.mark.parametrize("guest", ["debian-13-uefi"])
def test_an_enslaved_function_is_left_alone(guest: str, lab: LabFactory) -> None:
    machine = lab(guest)
    vm = machine.vm
    vm.ssh.put(GREEDY.encode(), "/etc/systemd/network/90-greedy.network", 0o644)
    vm.run("systemctl restart systemd-networkd")  # no D-Bus here, which networkctl would reload by
    interface = bond(machine)
    wait_for(vm, managed(interface))
    before = vm.run(FILES).out

    assert run_role(machine, "--check", "--diff").recap()["changed"] > 0
    assert vm.run(FILES).out == before
    vm.run(managed(interface))

    run_role(machine)
    wait_for(vm, unmanaged(interface))
    assert run_role(machine).recap()["changed"] == 0

    # The initramfs has the rule; a function that is nobody's slave is managed, until it becomes one.
    assert "10-accelnet-unmanaged-vf.rules" in vm.run("lsinitramfs /boot/initrd.img-$(uname -r)").out
    vm.reboot()
    interface = vm.interface(vm.spec.functions[0].macs[0])
    wait_for(vm, managed(interface))
    assert bond(machine) == interface
    # The kernel tells udev of a new slave only when something else changes too, as its name does on Azure.
    vm.run(f"udevadm trigger --action=change /sys/class/net/{interface}")
    wait_for(vm, unmanaged(interface))
    properties = vm.run(f"udevadm info /sys/class/net/{interface}").out
    assert set(re.findall(r"(ID_NET_MANAGED_BY|NM_UNMANAGED|AZURE_UNMANAGED_SRIOV)=(\w+)", properties)) == {
        ("ID_NET_MANAGED_BY", "unmanaged"),
        ("NM_UNMANAGED", "1"),
        ("AZURE_UNMANAGED_SRIOV", "1"),
    }

    run_role(machine, state="absent")
    assert vm.run(FILES).out == before
    # networkd takes nothing back that it once let go.
    vm.run("systemctl restart systemd-networkd")
    wait_for(vm, managed(interface))
    assert run_role(machine, state="absent").recap()["changed"] == 0
