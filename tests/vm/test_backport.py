# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role nic_driver on real kernels: Debian 12, whose 6.1 has no mana_ib, gets it without a reboot, and gives it back."""

from __future__ import annotations

import collections.abc
import hashlib
import json
import typing as t

import pytest
from guest import echo
from lab.vm.donor import donor
from lab.vm.lab import Lab
from lab.vm.playbook import Played, play

# A compiler in a guest without acceleration takes its time.
pytestmark = pytest.mark.matrix

DONOR = "/root/donor.tar.gz"
POLICY = {"driver_sources": ["inbox", "package", "backport"], "allow_untested_backport": True}
ROLE: list[dict[str, t.Any]] = [
    {"name": "Drivers", "hosts": "all", "gather_facts": False, "roles": [{"role": "accelnet.mana.nic_driver"}]},
]

# Everything that a run could touch: contents of files, and which packages and modules there are.
STATE = """
find /etc /usr/src /usr/libexec /lib/modules /boot /var/lib/accelnet /var/lib/dkms -xdev -type f -print0 2>/dev/null | sort -z |
  xargs -0 sha256sum | sha256sum
dpkg-query -W | sha256sum
lsmod | awk 'NR > 1 {print $1}' | sort | sha256sum
"""


@pytest.fixture(scope="module")
def bookworm() -> collections.abc.Iterator[Lab]:
    # With a boot loader: a guest whose kernel QEMU starts keeps the initramfs that it was built with.
    with Lab("debian-12-uefi", memory=3072, allow=("out-of-tree module", "module verification failed")) as lab:
        lab.connect()
        lab.vm.ssh.put(donor("6.12"), DONOR)
        yield lab


def run_role(lab: Lab, *options: str, check: bool = True, **variables: t.Any) -> Played:
    usual = {
        "nic_driver_goal": "rdma",
        "nic_driver_policy": POLICY,
        "nic_driver_donor": {"path": DONOR, "sha256": hashlib.sha256(donor("6.12").read_bytes()).hexdigest()},
    }
    return play(lab, ROLE, {**usual, **variables}, *options, check=check)


def module_path(lab: Lab, name: str) -> str:
    return lab.vm.run(["modinfo", "-n", name]).out.strip()


def test_without_permission_nothing_is_touched(bookworm: Lab) -> None:
    before = bookworm.vm.run(STATE).out
    played = run_role(bookworm, check=False, nic_driver_policy={})
    assert played.code != 0
    assert "not_allowed_by_policy" in played.output
    assert bookworm.vm.run(STATE).out == before


def test_check_mode_predicts_and_touches_nothing(bookworm: Lab) -> None:
    bookworm.vm.run("apt-get -q update")
    before = bookworm.vm.run(STATE).out
    played = run_role(bookworm, "--check", "--diff")
    assert played.recap()["changed"] > 0
    assert played.recap()["failed"] == 0
    assert bookworm.vm.run(STATE).out == before


def test_both_modules_without_a_reboot(bookworm: Lab) -> None:
    boot = bookworm.vm.boot_id()
    run_role(bookworm)
    assert bookworm.vm.boot_id() == boot
    for module in ("mana", "mana_ib"):
        assert module_path(bookworm, module).endswith(f"/updates/dkms/{module}.ko")
    versions = {bookworm.vm.run(["cat", f"/sys/module/{module}/version"]).out for module in ("mana", "mana_ib")}
    assert len(versions) == 1
    assert "accelnet" in versions.pop()
    (link,) = json.loads(
        bookworm.vm.run("for i in $(seq 100); do rdma -j link show | grep -q ifname && break; sleep 0.2; done; rdma -j link").out
    )
    assert link["port"] == 1
    bookworm.connect()
    sent, received = echo(bookworm.vm, 100)
    assert sent == received


def test_the_second_run_changes_nothing(bookworm: Lab) -> None:
    assert run_role(bookworm).recap()["changed"] == 0


def test_the_backport_is_what_loads_at_boot(bookworm: Lab) -> None:
    bookworm.vm.reboot()
    assert "accelnet" in bookworm.vm.run("cat /sys/module/mana/version").out
    assert bookworm.vm.run("modprobe mana_ib && cat /sys/module/mana_ib/version").out == bookworm.vm.run("cat /sys/module/mana/version").out
    assert run_role(bookworm).recap()["changed"] == 0
    bookworm.connect()


def test_absent_restores_what_was_there(bookworm: Lab) -> None:
    run_role(bookworm, nic_driver_state="absent")
    assert "/kernel/drivers/net/" in module_path(bookworm, "mana")
    assert bookworm.vm.run("modinfo -n mana_ib", check=False).code != 0
    assert bookworm.vm.run("test -e /sys/module/mana/version", check=False).code != 0
    assert bookworm.vm.run("ls /usr/src /var/lib/accelnet").out.find("mana-backport") == -1
    bookworm.connect()
    assert run_role(bookworm, nic_driver_state="absent").recap()["changed"] == 0
