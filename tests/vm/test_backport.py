# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site on Debian 12, whose 6.1 has no mana_ib: it gets one by a backport without a reboot, and gives it back."""

from __future__ import annotations

import collections.abc
import json

import pytest
from guest import echo
from lab.vm.lab import Lab
from sites import STATE, Site, backport_from, executions

# A compiler in a guest without acceleration takes its time.
pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def bookworm() -> collections.abc.Iterator[Site]:
    # With a boot loader: a guest whose kernel QEMU starts keeps the initramfs that it was built with.
    with Lab("debian-12-uefi", memory=3072, allow=("out-of-tree module", "module verification failed")) as lab:
        lab.connect()
        yield Site(lab, accelnet_goal="rdma", **backport_from(lab, "6.12"))


def module_path(site: Site, name: str) -> str:
    return site.lab.vm.run(["modinfo", "-n", name]).out.strip()


def test_without_permission_nothing_is_touched(bookworm: Site) -> None:
    before = bookworm.lab.vm.run(STATE).out
    played = bookworm.run(accelnet_policy={})
    assert played.recap()["changed"] == 0
    assert {row["option"] for row in bookworm.report()["blocked"]} >= {"driver_sources"}
    assert bookworm.lab.vm.run(STATE).out == before


def test_check_mode_predicts_and_touches_nothing(bookworm: Site) -> None:
    before = bookworm.lab.vm.run(STATE).out
    played = bookworm.run("--check", "--diff")
    assert played.recap()["changed"] > 0
    assert bookworm.lab.vm.run(STATE).out == before


def test_both_modules_without_a_reboot(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    boot = vm.boot_id()
    bookworm.run()
    assert vm.boot_id() == boot
    for module in ("mana", "mana_ib"):
        assert module_path(bookworm, module).endswith(f"/updates/dkms/{module}.ko")
    versions = {vm.run(["cat", f"/sys/module/{module}/version"]).out for module in ("mana", "mana_ib")}
    assert len(versions) == 1
    assert "accelnet" in versions.pop()
    (link,) = json.loads(vm.run("for i in $(seq 100); do rdma -j link show | grep -q ifname && break; sleep 0.2; done; rdma -j link").out)
    assert link["port"] == 1
    assert bookworm.report()["met"]
    bookworm.lab.connect()
    sent, received = echo(vm, 100)
    assert sent == received


def test_the_second_run_changes_nothing_and_looks_once(bookworm: Site) -> None:
    played = bookworm.run("-vvv")
    assert played.recap()["changed"] == 0
    assert 1 <= executions(played) <= 3


def test_the_backport_is_what_loads_at_boot(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    vm.reboot()
    assert vm.run("systemctl is-active accelnet-driver-check.service").out == "active\n"
    assert "accelnet" in vm.run("cat /sys/module/mana/version").out
    # Loaded at boot, not by hand.
    assert vm.run("cat /sys/module/mana_ib/version").out == vm.run("cat /sys/module/mana/version").out
    assert bookworm.run().recap()["changed"] == 0
    bookworm.lab.connect()


def test_a_kernel_without_the_modules_is_told(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    path = module_path(bookworm, "mana_ib")
    vm.run(f"mv {path} {path}.away && depmod")
    assert vm.run("systemctl restart accelnet-driver-check.service", check=False).code != 0
    assert "driver_lost_after_kernel_update" in vm.run("journalctl -q -u accelnet-driver-check.service -o cat").out
    vm.run(f"mv {path}.away {path} && depmod && systemctl restart accelnet-driver-check.service")


def test_rollback_restores_what_was_there(bookworm: Site) -> None:
    vm = bookworm.lab.vm
    bookworm.rollback()
    assert "/kernel/drivers/net/" in module_path(bookworm, "mana")
    assert vm.run("modinfo -n mana_ib", check=False).code != 0
    assert vm.run("test -e /sys/module/mana/version", check=False).code != 0
    assert vm.run("find /var/lib/accelnet /usr/libexec/accelnet /usr/src -path '*backport*' -o -path '*accelnet*'", check=False).out == ""
    assert vm.run("systemctl cat accelnet-driver-check.service", check=False).code != 0
    bookworm.lab.connect()
    assert bookworm.rollback().recap()["changed"] == 0
