# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vf_verify on an emulated NIC with the stock driver: proven by traffic, and not misled when the VF goes."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from guest import RESPONDER, vport
from lab.vm.lab import Lab
from lab.vm.playbook import play

# Fault after fault, some of which have to be waited for.
pytestmark = pytest.mark.matrix

PLAYS: list[dict[str, t.Any]] = [
    {
        "name": "Verify",
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "Begin", "accelnet.mana.report_begin": {"report_dir": "{{ directory }}/reports", "run_id": "{{ name }}"}},
            {
                "name": "Verify",
                "ansible.builtin.include_role": {"name": "accelnet.mana.vf_verify"},
                "vars": {"vf_verify_run_dir": "{{ directory }}/reports/{{ name }}"},
            },
            {
                "name": "Keep",
                "ansible.builtin.copy": {
                    "content": "{{ vf_verify_result | to_json }}",
                    "dest": "{{ directory }}/{{ name }}.json",
                    "mode": "0600",
                },
                "delegate_to": "localhost",
            },
        ],
    }
]


class Verifier:
    """Runs the role against a lab."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        self.lab = lab
        self.directory = directory

    def verify(self, name: str, code: int = 0, **variables: t.Any) -> dict[str, t.Any]:
        """The role's result; the run has to end with this code."""
        # A loaded machine is slow; the measurement ends when enough has passed.
        given = {"directory": str(self.directory), "name": name, "vf_verify_duration": 600, **variables}
        played = play(self.lab, PLAYS, given, check=False)
        assert played.code == code, played.output
        if code:
            return {}
        found: dict[str, t.Any] = json.loads((self.directory / f"{name}.json").read_text(encoding="utf-8"))
        return found

    def recorded(self, name: str) -> list[dict[str, t.Any]]:
        """The verdicts that are kept for the report."""
        (path,) = (self.directory / "reports" / name / "hosts").iterdir()
        found: list[dict[str, t.Any]] = json.loads(path.read_text(encoding="utf-8"))["plan"]["verdicts"]
        return found


@pytest.fixture
def verifier(debian13: Lab, tmp_path: Path) -> Verifier:
    return Verifier(debian13, tmp_path)


def test_the_nic_is_proven_by_traffic_and_waited_for_when_it_goes(debian13: Lab, verifier: Verifier) -> None:
    (mac,) = debian13.vm.spec.functions[0].macs
    before = vport(debian13)
    result = verifier.verify("proven", accelnet_goal="rdma", vf_verify_peer_address=RESPONDER, vf_verify_macs=[mac])
    after = vport(debian13)
    (row,) = result["nics"]
    assert (result["state"], row["state"], row["verdict"], row["proven"]) == ("verified", "passed", "accelerated", True)
    (sample,) = result["samples"]
    assert min(sample["rx_bytes"], sample["tx_bytes"]) >= 64 << 20
    assert [verdict["proven"] for verdict in verifier.recorded("proven") if verdict["mac"] == mac] == [True]
    # The device itself saw those bytes.
    for direction in ("hc_rx_bytes", "hc_tx_bytes"):
        assert after[direction] - before[direction] >= 64 << 20

    # Nobody answers at this port: unknown, and a failure only for who asks for certainty.
    options = {"vf_verify_peer_address": RESPONDER, "vf_verify_peer_port": 4}
    (row,) = verifier.verify("refused", **options)["nics"]
    assert (row["state"], row["check"], row["reason"], row["proven"]) == ("unknown", "traffic", "peer_unreachable", None)
    verifier.verify("strict", code=2, vf_verify_strict=True, **options)

    debian13.vm.take_away()
    result = verifier.verify("gone", vf_verify_peer_address=RESPONDER, vf_verify_macs=[mac], vf_verify_wait=2, __vf_verify_pause=1)
    assert (result["state"], result["waiting"], result["measurable"]) == ("unknown", True, [])
    (row,) = result["nics"]
    assert (row["mac"], row["check"], row["reason"]) == (mac, "function", "vf_not_offered")

    debian13.vm.give_back()
    debian13.connect()
    assert verifier.verify("back", vf_verify_macs=[mac])["state"] == "verified"

    # The driver lets go of it: that is no servicing.
    debian13.vm.run(f"echo {debian13.vm.pci_address()} > /sys/bus/pci/drivers/mana/unbind")
    result = verifier.verify("unbound", vf_verify_macs=[mac], vf_verify_fail=False, vf_verify_wait=600)
    (row,) = result["nics"]
    assert (result["state"], row["check"], row["reason"]) == ("failed", "driver", "driver_probe_failed")
    debian13.vm.run(f"echo {debian13.vm.pci_address()} > /sys/bus/pci/drivers/mana/bind")
