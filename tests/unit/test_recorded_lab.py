# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nic_info and the planner say of machines of the lab: real kernels, an emulated NIC, recorded by tests/lab/vm/recordings.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import SNAPSHOTS

HOSTS = ["lab-debian-12", "lab-debian-13", "lab-debian-13-rdma", "lab-debian-13-failover"]


def facts_of(host: str) -> dict[str, Any]:
    return _facts.collect(root=str(SNAPSHOTS / f"recorded-{host}.json"))


def mana_nic(facts: dict[str, Any]) -> dict[str, Any]:
    (nic,) = (nic for nic in facts["nics"] if nic["kind"] == "mana")
    assert isinstance(nic, dict)
    return nic


def test_all_recordings_are_looked_at() -> None:
    assert {path.stem for path in SNAPSHOTS.glob("recorded-lab-*.json")} == {f"recorded-{host}" for host in HOSTS}


@pytest.mark.parametrize("host", HOSTS)
def test_the_nic_is_accelerated(host: str) -> None:
    facts = facts_of(host)
    nic = mana_nic(facts)
    assert (nic["vf"]["driver"], nic["vf"]["dev_port"], nic["vf"]["operstate"]) == ("mana", 0, "up")
    (function,) = (function for function in facts["pci_functions"] if function["kind"] == "mana")
    assert (function["id"], function["driver"], function["address"]) == ("1414:00ba", "mana", nic["vf"]["pci_address"])
    verdicts = {row["mac"]: (row["kind"], row["verdict"], row["reasons"]) for row in assess(facts)}
    assert verdicts[nic["mac"]] == ("mana", "accelerated", [])
    assert facts["read_warnings"] == []
    # Nothing but the management NIC and this one; the halves of a pair are none of their own.
    assert sorted(row[0] for row in verdicts.values()) == ["mana", "other"]


@pytest.mark.parametrize(("host", "kernel"), [("lab-debian-12", "6.1."), ("lab-debian-13", "6.12.")])
def test_a_function_without_partner_and_without_verbs(host: str, kernel: str) -> None:
    facts = facts_of(host)
    nic = mana_nic(facts)
    assert (nic["synthetic"], nic["paired"], nic["rdma"]) == (None, False, None)
    assert nic["interface"] == nic["vf"]["interface"]
    assert plan(facts, "ethernet")["met"] is True
    (running,) = (one for one in facts["kernels"] if one["running"])
    assert running["release"].startswith(kernel)
    assert running["modules"]["mana"]["loaded"] is True
    # Verbs: 6.1 has no mana_ib, so the goal is blocked; 6.12 only has to load it, which worked in the lab.
    verbs = plan(facts, "rdma")
    assert verbs["met"] is False
    if kernel == "6.1.":
        assert running["modules"]["mana_ib"]["state"] == "absent"
        assert {obstacle["subject"] for obstacle in verbs["blocked"]} >= {f"module:mana_ib@{running['release']}"}
    else:
        assert running["modules"]["mana_ib"]["state"] == "module"
        assert [step["action"] for step in verbs["steps"] if step["role"] == "nic_driver"] == ["load"]
        assert not any("mana_ib" in obstacle["subject"] for obstacle in verbs["blocked"])


def test_verbs() -> None:
    facts = facts_of("lab-debian-13-rdma")
    rdma = mana_nic(facts)["rdma"]
    assert (rdma["port"], rdma["raw_packet"]) == (1, True)
    assert rdma["device"].startswith("roce")  # udev has renamed mana_0
    assert plan(facts, "rdma")["met"] is True
    assert plan(facts, "ethernet")["met"] is True
    # Debian's own DPDK and libmana, with which testpmd forwarded packets on this guest; it only had huge pages besides.
    assert "net_mana" in facts["dpdk"]["pmds"] and facts["rdma_core"]["libmana"]
    dpdk = plan(facts, "dpdk")
    assert ([step["action"] for step in dpdk["steps"]], dpdk["blocked"]) == (["hugepages"], [])


def test_a_failover_pair() -> None:
    facts = facts_of("lab-debian-13-failover")
    nic = mana_nic(facts)
    assert nic["paired"] is True
    assert nic["synthetic"]["driver"] == "net_failover"
    assert (nic["synthetic"]["vmbus_device"], nic["synthetic"]["interface"]) == (None, nic["interface"])
    assert nic["vf"]["interface"] != nic["interface"]
    assert nic["vf"]["addresses"] == []
    assert nic["rdma"]["port"] == 1  # found by the function, although the interface that people see is another
