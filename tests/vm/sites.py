# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of the playbooks site and rollback over a lab, and what they may touch."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

from lab.vm.donor import donor
from lab.vm.lab import Lab
from lab.vm.playbook import Played, play

# Everything that a run could touch: contents of files, and which packages and modules there are.
STATE = """
find /etc /usr/src /usr/libexec /lib/modules /boot /var/lib/accelnet /var/lib/dkms -xdev -type f -print0 2>/dev/null | sort -z |
  xargs -0 sha256sum | sha256sum
dpkg-query -W | sha256sum
lsmod | awk 'NR > 1 {print $1}' | sort | sha256sum
"""


# What GRUB was told before, in the guest: everything that the guard may touch.
BOOT_STATE = """
cd / && for f in etc/default/grub etc/default/grub.d/* boot/grub/grub.cfg etc/apt/apt.conf.d/*; do echo "$f $(md5sum < "$f")"; done
grub-editenv list; find /etc/systemd /usr/libexec /var/lib/accelnet ! -type d 2>/dev/null | sort
"""


class Site:
    """The playbook site with the same options again and again; each run has a report of its own."""

    def __init__(self, lab: Lab, **variables: t.Any) -> None:
        self.lab = lab
        self.variables = {"accelnet_report_dir": str(lab.run.path / "reports"), "vf_verify_wait": 60, **variables}
        self._runs = 0

    def run(self, *options: str, check: bool = True, **variables: t.Any) -> Played:
        self._runs += 1
        self._unshare()
        given = {**self.variables, "accelnet_run_id": f"run{self._runs}", **variables}
        return play(self.lab, "accelnet.mana.site", given, *options, check=check, timeout=3000)

    def _unshare(self) -> None:
        """A shared connection would be in the way of reboots."""
        for vm in self.lab.vms:
            vm.ssh.unshare()

    def report(self) -> dict[str, t.Any]:
        """What the last run reports of the only machine."""
        (row,) = self.report_rows()
        return row

    def report_rows(self) -> list[dict[str, t.Any]]:
        """What the last run reports of each machine."""
        path = self.lab.run.path / "reports" / f"run{self._runs}" / "report.json"
        found: list[dict[str, t.Any]] = json.loads(path.read_text(encoding="utf-8"))["hosts"]
        return found

    def rollback(self, *options: str, check: bool = True) -> Played:
        self._unshare()
        return play(self.lab, "accelnet.mana.rollback", self.variables, *options, check=check, timeout=3000)


def backport_from(lab: Lab, name: str) -> dict[str, t.Any]:
    """What permits a backport from this donor (lab.vm.donor), which is put into the first machine."""
    archive = donor(name)
    lab.vm.ssh.put(archive, "/root/donor.tar.gz")
    lab.vm.run("apt-get -q update")
    return {
        "accelnet_policy": {"driver_sources": ["inbox", "package", "backport"], "allow_untested_backport": True},
        "nic_driver_donor": {"path": "/root/donor.tar.gz", "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()},
    }


def executions(played: Played) -> int:
    """How many modules a run with -vvv sent to the machines."""
    return len(re.findall(r"^Using module file ", played.output, re.MULTILINE))
