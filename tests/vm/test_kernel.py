# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site on Debian 12 with permission to reboot: rdma by a newer packaged kernel, which the boot guard tries.

How a host comes back from kernels that fail is in test_boot_guard.
"""

from __future__ import annotations

import collections.abc
import json

import pytest
from guest import echo
from lab.vm.lab import Lab
from lab.vm.playbook import play
from sites import BOOT_STATE, STATE, Site, executions

# A kernel is installed, and booted several times.
pytestmark = pytest.mark.matrix

POLICY = {"driver_sources": ["inbox", "package", "kernel"], "allow_reboot": True}


@pytest.fixture(scope="module")
def bookworm() -> collections.abc.Iterator[Site]:
    with Lab("debian-12-uefi") as lab:
        # Only what this machine needs goes into the initramfs: less to write, and to load.
        lab.vm.run("echo MODULES=dep > /etc/initramfs-tools/conf.d/lab; apt-get -q update")
        yield Site(lab, accelnet_goal="rdma", accelnet_policy=POLICY)


def test_check_mode_predicts_and_touches_nothing(bookworm: Site) -> None:
    before, boot = bookworm.lab.vm.run(STATE).out, bookworm.lab.vm.boot_id()
    played = bookworm.run("--check", "--diff")
    assert played.recap()["changed"] > 0
    assert "Would boot the kernel of linux-image-6.12-cloud-amd64" in played.output
    assert (bookworm.lab.vm.run(STATE).out, bookworm.lab.vm.boot_id()) == (before, boot)


def test_a_kernel_that_cannot_be_installed_leaves_no_guard(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    before, boot = vm.run(BOOT_STATE, check=False).out, vm.boot_id()
    # Downloads are fine; what installs is not.
    vm.run("""echo 'DPkg::Pre-Invoke {"echo not today; false"};' > /etc/apt/apt.conf.d/99lab""")
    played = bookworm.run(check=False)
    vm.run("rm /etc/apt/apt.conf.d/99lab")
    assert played.code != 0
    assert "Arm the guard" in played.output
    assert "not today" in played.output
    assert (vm.run(BOOT_STATE, check=False).out, vm.boot_id()) == (before, boot)


def test_the_newer_kernel_is_tried_and_kept(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    assert vm.run("uname -r").out.startswith("6.1.")
    bookworm.run()
    vm.wait_ready()
    assert vm.run("uname -r").out.startswith("6.12.")
    (link,) = json.loads(vm.run("rdma -j link").out)
    assert link["port"] == 1
    assert bookworm.report()["met"]
    assert vm.run("test -e /var/lib/accelnet/guard", check=False).code != 0
    bookworm.lab.connect()
    sent, received = echo(vm, 16)
    assert sent == received


def test_the_second_run_changes_nothing_and_looks_once(bookworm: Site) -> None:
    played = bookworm.run("-vvv")
    assert played.recap()["changed"] == 0
    assert 1 <= executions(played) <= 3


def test_it_boots_by_itself_from_now_on(bookworm: Site) -> None:
    bookworm.lab.vm.reboot()
    assert bookworm.lab.vm.run("uname -r").out.startswith("6.12.")
    assert bookworm.run().recap()["changed"] == 0


def test_a_trial_that_nobody_ended_and_a_kernel_that_is_installed(bookworm: Site) -> None:
    """Somebody put the old kernel on trial and went away. It is confirmed; then the installed one that has what is missing is booted."""
    vm = bookworm.lab.vm
    (old,) = [release for release in vm.run("ls /lib/modules").out.split() if release.startswith("6.1.")]
    roles = [{"ansible.builtin.include_role": {"name": "accelnet.mana.boot_guard", "tasks_from": entry}} for entry in ("arm", "trial")]
    variables = {"boot_guard_kernel": old, "boot_guard_reboot_ok": True}
    vm.ssh.unshare()
    play(bookworm.lab, [{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": roles}], {})
    vm.wait_ready()
    assert vm.run("uname -r").out.strip() == old
    vm.run("test -e /var/lib/accelnet/guard/state.json")
    bookworm.run()
    vm.wait_ready()
    assert vm.run("uname -r").out.startswith("6.12.")
    assert vm.run("test -e /var/lib/accelnet/guard", check=False).code != 0
    assert bookworm.report()["met"]


def test_rollback_keeps_the_kernel_that_runs(bookworm: Site) -> None:
    played = bookworm.rollback()
    assert "is the kernel that runs" in played.output
    assert bookworm.lab.vm.run("ls /lib/modules").out.count("6.12.") == 1
    assert bookworm.lab.vm.run("test -e /usr/lib/x86_64-linux-gnu/libmana.so.1", check=False).code != 0
    assert bookworm.rollback().recap()["changed"] == 0
