# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site on a Debian 13 whose administrator forbade mana_ib: to rdma by what is there and by packages, and back."""

from __future__ import annotations

import collections.abc
import json

import pytest
from lab.vm.lab import Lab
from sites import STATE, Site, executions

FORBIDDEN = "# Ours.\nblacklist mana-ib\noptions mana_ib foo=1\n"


@pytest.fixture(scope="module")
def site() -> collections.abc.Iterator[Site]:
    with Lab("debian-13") as lab:
        lab.connect()
        lab.vm.ssh.put(FORBIDDEN.encode(), "/etc/modprobe.d/hpc.conf")
        lab.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; apt-get -q update")
        yield Site(lab, accelnet_goal="rdma", accelnet_policy={"mana_ib": "present"})


def test_what_an_administrator_forbade_is_not_touched_without_permission(site: Site) -> None:
    before = site.lab.vm.run(STATE).out
    played = site.run(accelnet_policy={})
    assert played.recap()["changed"] == 0
    assert "driver_blacklisted: " in played.output
    assert [row["reason"] for row in site.report()["blocked"]] == ["driver_blacklisted"]
    assert site.lab.vm.run(STATE).out == before


def test_check_mode_predicts_and_touches_nothing(site: Site) -> None:
    before = site.lab.vm.run(STATE).out
    played = site.run("--check", "--diff")
    assert played.recap()["changed"] > 0
    assert "accelnet.mana allows it" in played.output
    assert site.lab.vm.run(STATE).out == before


def test_the_goal_is_reached(site: Site) -> None:
    site.run()
    links = json.loads(site.lab.vm.run("rdma -j link").out)
    assert [link["state"] for link in links] == ["ACTIVE"]
    assert site.lab.vm.run("cat /etc/modprobe.d/hpc.conf").out == FORBIDDEN.replace("blacklist", "# accelnet.mana allows it: blacklist")
    assert site.lab.vm.run("ls /usr/lib/x86_64-linux-gnu/libmana.so.1").code == 0
    assert site.report()["met"]


def test_a_second_run_changes_nothing_and_looks_once(site: Site) -> None:
    played = site.run("-vvv")
    assert played.recap()["changed"] == 0
    assert 1 <= executions(played) <= 3


def test_rollback_restores_what_was_there(site: Site) -> None:
    assert site.rollback("--check", "--diff").recap()["changed"] > 0
    assert site.lab.vm.run("ls /usr/lib/x86_64-linux-gnu/libmana.so.1").code == 0
    site.rollback()
    assert site.lab.vm.run("cat /etc/modprobe.d/hpc.conf").out == FORBIDDEN
    assert site.lab.vm.run("ls /usr/lib/x86_64-linux-gnu/libmana.so.1", check=False).code != 0
    assert site.lab.vm.run("test -e /var/lib/accelnet", check=False).code != 0
    assert site.rollback().recap()["changed"] == 0


@pytest.mark.matrix  # One more boot.
def test_drivers_that_may_not_be_swapped_wait_for_a_boot(site: Site) -> None:
    """Without permission to boot, nothing that needs the drivers is done; with it, the same kernel is booted and the goal reached."""
    vm = site.lab.vm
    vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi")
    boot = vm.boot_id()
    played = site.run(check=False, nic_driver_reload="never")
    assert "A boot is due and accelnet_policy.allow_reboot is not given: the same kernel" in played.output
    assert vm.boot_id() == boot
    site.run(nic_driver_reload="never", accelnet_policy={"mana_ib": "present", "allow_reboot": True})
    vm.wait_ready()
    assert vm.boot_id() != boot
    assert json.loads(vm.run("rdma -j link").out) != []
    assert site.report()["met"]
    site.rollback()
