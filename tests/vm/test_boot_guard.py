# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role boot_guard on a Debian 12 with GRUB: a good kernel is kept, and from each kind of bad one the host comes back by itself.

The bad kernels are the real new one with an initramfs that spoils the start in one way. All tests share a machine, and each leaves it
with the guard removed; which of the two kernels is the new one depends on what ran before.
"""

from __future__ import annotations

import collections.abc
import contextlib

import pytest
from lab.vm.lab import Lab
from lab.vm.playbook import play
from sites import BOOT_STATE

# Kernels are installed and booted several times.
pytestmark = pytest.mark.matrix

PACKAGE = "linux-image-6.12-cloud-amd64"
PATIENCE = 3000  # seconds for a playbook; a trial that fails takes two boots

# Sourced by initramfs-tools before each stage of its scripts (initramfs-tools(7), conf/param.conf).
NO_ROOT = "ROOT=/dev/not-there\nROOTDELAY=1\n"
EMERGENCY = "mkdir -p /run/systemd/system; ln -sf /lib/systemd/system/emergency.target /run/systemd/system/default.target\n"
NO_NETWORK = "mkdir -p /run/systemd/system; for i in service socket; do ln -sf /dev/null /run/systemd/system/systemd-networkd.$i; done\n"


def cpio(files: dict[str, str]) -> bytes:
    """An archive in the form that the kernel unpacks (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", "")], 1):
        data = content.encode()
        fields = (number, 0o100755, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)
    return archive


class Host:
    """The machine, and the role for it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.vm = lab.vm
        self.other = ""

    def role(self, entry: str = "main", **variables: object) -> tuple[int, str]:
        """(status, output) of an entry of the role. The shared connection would be in the way of reboots."""
        self.vm.ssh.unshare()
        options = {"boot_guard_reboot_ok": True, "boot_guard_kernel": self.other, **variables}
        tasks = [{"ansible.builtin.include_role": {"name": "accelnet.mana.boot_guard", "tasks_from": entry}}]
        plays = [{"hosts": "all", "gather_facts": False, "vars": options, "tasks": tasks}]
        played = play(self.lab, plays, {}, check=False, timeout=PATIENCE)
        return played.code, played.output

    def running(self) -> str:
        return self.vm.run(["uname", "-r"]).out.strip()

    def picture(self) -> str:
        return self.vm.run(BOOT_STATE, check=False).out

    def install(self) -> None:
        """The new kernel, from the guest's own sources; only what this machine needs goes into its initramfs."""
        self.vm.run("echo MODULES=dep > /etc/initramfs-tools/conf.d/lab")
        self.vm.run(f"apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qqy install {PACKAGE}", timeout=PATIENCE)

    @contextlib.contextmanager
    def spoiled(self, files: dict[str, str]) -> collections.abc.Iterator[None]:
        """The kernel that does not run has these files over those of its initramfs."""
        image = f"/boot/initrd.img-{self.other}"
        self.vm.ssh.put(cpio(files), "/root/extra.cpio")
        self.vm.run(f"cp {image} /root/initrd && truncate -s %512 {image} && cat /root/extra.cpio >> {image}")
        try:
            yield
        finally:
            self.vm.run(f"cp /root/initrd {image} && sync")


@pytest.fixture(scope="module")
def machine() -> collections.abc.Iterator[Host]:
    """With a MANA NIC, and with 6.1 as the only kernel."""
    # What the tests are about, and what the host comes back from.
    expected = ("Attempted to kill init", "ALERT!.*does not exist", "You are in emergency mode", "end Kernel panic")
    with Lab("debian-12-uefi", persistent=True, allow=expected) as lab:
        yield Host(lab)


@pytest.fixture
def host(machine: Host) -> Host:
    """With both kernels, and without the guard."""
    releases = machine.vm.run("ls /lib/modules").out.split()
    if len(releases) < 2:
        machine.install()
        releases = machine.vm.run("ls /lib/modules").out.split()
    (machine.other,) = set(releases) - {machine.running()}
    return machine


def test_a_power_cut_and_then_a_good_kernel(machine: Host) -> None:
    """Armed, then installed, then the power is cut: the old kernel comes up, and the next run finishes."""
    host = machine
    old = host.running()
    before = host.picture()
    code, out = host.role("arm", boot_guard_kernel="6.12-unknown-yet")
    assert code == 0 and "changed=1" in out, out
    if len(host.vm.run("ls /lib/modules").out.split()) < 2:
        host.install()
    host.vm.run("sync")
    host.vm.stop()
    host.vm.start()
    assert host.running() == old
    (host.other,) = set(host.vm.run("ls /lib/modules").out.split()) - {old}
    code, out = host.role()
    assert code == 0, out
    assert host.running() == host.other
    assert host.vm.run("cat /proc/sys/kernel/panic").out == "0\n"
    # grub.cfg has another menu now, and that is all.
    assert [line for line in host.picture().splitlines() if "grub.cfg" not in line] == [
        line for line in before.splitlines() if "grub.cfg" not in line
    ]
    assert 'set default="0"' in host.vm.run("cat /boot/grub/grub.cfg").out
    assert "accelnet.trial" not in host.vm.run("cat /boot/grub/grub.cfg").out
    code, out = host.role()
    assert code == 0 and "changed=0" in out, out


@pytest.mark.parametrize(
    ("files", "deadline", "happened"),
    [
        pytest.param({"init": "#!/bin/sh\nexit 1\n"}, 1500, "never mounted its file systems", id="panics at once"),
        pytest.param({"conf/param.conf": NO_ROOT}, 1500, "never mounted its file systems", id="has no root file system"),
        # The root file system cannot be written yet: what happened is told on the console only.
        pytest.param({"conf/param.conf": EMERGENCY}, 1500, "emergency or rescue mode", id="drops to emergency mode"),
        pytest.param({"conf/param.conf": NO_NETWORK}, 120, "nobody confirmed the kernel in time", id="has no network"),
    ],
)
def test_a_bad_kernel_does_not_keep_the_host(host: Host, files: dict[str, str], deadline: int, happened: str) -> None:
    old = host.running()
    before = host.picture()
    shown = len(host.vm.serial.text())
    with host.spoiled(files):
        code, out = host.role(boot_guard_deadline=deadline)
        assert code != 0 and "guard_fell_back" in out and happened in out, out
        assert host.running() == old
        # Panics of the kernel and of initramfs-tools restart by an argument, the others by the guard.
        assert ("accelnet boot-guard: " in host.vm.serial.text()[shown:]) is ("never mounted" not in happened)
        assert "accelnet.trial" not in host.vm.run("cat /boot/grub/grub.cfg").out
        # Neither is it tried again without being told to, nor does it become the default.
        code, out = host.role()
        assert code != 0 and "is not tried again" in out, out
    code, out = host.role("revert", boot_guard_force=True)
    assert code == 0, out
    assert host.picture() == before
