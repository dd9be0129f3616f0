# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook site over two machines, one ring each: what fails in the first never reaches the second, and the next run finishes."""

from __future__ import annotations

import collections.abc
import json
import pathlib
import sys

import pytest
from lab.vm.lab import Lab, VmSpec
from sites import Site

# Two machines at once.
pytestmark = pytest.mark.matrix

LabFactory = collections.abc.Callable[..., Lab]
LIBMANA = "test -e /usr/lib/x86_64-linux-gnu/libmana.so.1"


def test_a_ring_that_fails_is_the_last_one(lab: LabFactory, tmp_path: pathlib.Path) -> None:
    fleet = lab(vms=[VmSpec(name="alpha"), VmSpec(name="beta")])
    fleet.connect()
    alpha, beta = fleet.vms
    for vm in fleet.vms:
        vm.run("apt-get -q update")
    # Nothing answers there, and the lists of before are gone.
    alpha.run("mv /etc/apt /etc/apt.away && mkdir -p /etc/apt && rm -rf /var/lib/apt/lists/*")
    site = Site(fleet, accelnet_goal="rdma", accelnet_rings=[1, "100%"])

    played = site.run(check=False)
    assert played.code != 0
    assert beta.run(LIBMANA, check=False).code != 0
    rows = {row["host"]: row for row in site.report_rows()}
    assert (rows["alpha"]["met"], rows["beta"]["met"]) == (False, False)
    assert {step["role"] for step in rows["beta"]["steps"]} >= {"rdma_core"}

    alpha.run("rmdir /etc/apt/* 2>/dev/null; rm -rf /etc/apt && mv /etc/apt.away /etc/apt")
    site.run()
    for vm in fleet.vms:
        vm.run(LIBMANA)
    assert all(row["met"] for row in site.report_rows())
    assert site.run().recap()["changed"] == 0

    # A host that goes away in the middle is no failed host to Ansible: the next ring, here this very machine, is left alone all the same.
    site.rollback()
    alpha.ssh.put(b"#!/bin/sh\nsetsid sh -c 'systemctl stop ssh; pkill -KILL sshd' &\nsleep 30\n", "/root/away", 0o755)
    alpha.run("""echo 'DPkg::Pre-Invoke {"/root/away"};' > /etc/apt/apt.conf.d/99lab""")
    third = tmp_path / "third.yml"
    third.write_text(
        json.dumps({"all": {"hosts": {"gamma": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}}})
    )
    played = site.run("-i", str(third), check=False, accelnet_rings=[2, "100%"])
    assert played.code != 0
    assert "host_unreachable: alpha did not come to an end" in played.output
    beta.run(LIBMANA)
