# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose kernel has no driver for the NIC: the audit says so, and says what would help."""

from __future__ import annotations

import collections.abc
from pathlib import Path

import pytest
from lab.vm import audit
from lab.vm.lab import Lab

# One more guest is built.
pytestmark = pytest.mark.matrix

LabFactory = collections.abc.Callable[..., Lab]


def test_debian_11_leaves_the_function_alone(lab: LabFactory, tmp_path: Path) -> None:
    machine = lab("debian-11")
    (mac,) = machine.vm.spec.functions[0].macs
    assert mac not in machine.vm.run("cat /sys/class/net/*/address").out
    result = audit.audit(machine, tmp_path)["vm"]
    (row,) = [row for row in result["plan"]["verdicts"] if row["pci_address"] == machine.vm.pci_address()]
    assert (row["verdict"], row["reasons"]) == ("orphaned", ["driver_missing"])
    assert audit.shortcomings(result, [mac]) != []
