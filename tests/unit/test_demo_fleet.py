# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo fleet: its files are what the builder makes, and every host gets the verdict that its inventory expects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet import CASES, FLEET, Entry
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import BROKEN, EXAMPLES, ROOT, SNAPSHOTS, wanted_files
from ansible_collections.accelnet.mana.tests.fixtures.lookup import lookup

# Every failure that a snapshot can show, by issue and design; reasons of plans are in the golden plans.
SHOWN = {
    "driver_missing",
    "driver_not_loaded",
    "driver_blacklisted",
    "driver_probe_failed",
    "kernel_flavour_lacks_driver",
    "loaded_differs_from_installed",
    "vf_not_offered",
    "vf_not_enslaved",
    "vf_has_address",
    "vf_down",
    "vf_revoked",
    "vf_function_unbound",
    "pci_hyperv_missing",
    "interface_in_other_netns",
    "unsupported_nic",
    "userspace_unasked",
}


def _path(name: str) -> str:
    return str((EXAMPLES / "snapshots" if name in FLEET else SNAPSHOTS) / f"{name}.json")


def _worst(rows: Iterable[Mapping[str, Any]]) -> str | None:
    return min((row["verdict"] for row in rows), key=VERDICTS.index, default=None)


def _subject(row: Mapping[str, Any]) -> str:
    return str(row["interface"] or row["mac"] or row["pci_address"])


@pytest.mark.parametrize("entry", [*FLEET.values(), *CASES.values()], ids=lambda entry: entry.name)
def test_verdict_and_reasons(entry: Entry) -> None:
    rows = assess(_facts.collect(root=_path(entry.name)), [], {})
    shown = {_subject(row): (row["verdict"], row["reasons"]) for row in rows}
    assert _worst(rows) == entry.verdict, shown
    assert sorted({reason for row in rows for reason in row["reasons"]}) == list(entry.reasons), shown
    for subject, verdict in (entry.rows or {}).items():
        assert subject in shown, shown
        assert shown[subject][0] == verdict, shown


@pytest.mark.parametrize("entry", [entry for entry in (*FLEET.values(), *CASES.values()) if entry.facts], ids=lambda entry: entry.name)
def test_facts(entry: Entry) -> None:
    facts = _facts.collect(root=_path(entry.name))
    assert {path: lookup(facts, path) for path in entry.facts} == entry.facts


def test_the_files_are_what_the_builder_makes() -> None:
    """Byte for byte; 'python -m tests.fixtures.builder.fleet' writes them."""
    wanted = wanted_files()
    stale = [str(path.relative_to(ROOT)) for path, content in wanted.items() if not path.exists() or path.read_bytes() != content.encode()]
    assert stale == []
    assert wanted == wanted_files(), "the builder is not deterministic"
    kept = set((EXAMPLES / "snapshots").glob("*.json")) - set(wanted)
    assert kept == set(), "snapshots that nobody generates"


def test_the_inventory_says_what_the_registry_says() -> None:
    inventory = yaml.safe_load((EXAMPLES / "inventory.yml").read_text())["all"]
    hosts = {name: variables for group in inventory["children"].values() for name, variables in group["hosts"].items()}
    assert set(hosts) == set(FLEET) | set(BROKEN)
    for name, entry in FLEET.items():
        assert hosts[name]["expected_verdict"] == entry.verdict
        assert hosts[name]["expected_reasons"] == list(entry.reasons)
    assert inventory["vars"]["ansible_connection"] == "local"


@pytest.mark.parametrize("name", BROKEN)
def test_broken_snapshots_fail_with_a_reason(name: str) -> None:
    with pytest.raises(AccelnetError) as caught:
        _facts.collect(root=str(EXAMPLES / "snapshots" / f"{name}.json"))
    assert caught.value.reason == BROKEN[name][1]
    assert name in caught.value.message


def test_the_fleet_shows_every_failure() -> None:
    reasons = {reason for entry in FLEET.values() for reason in entry.reasons}
    assert reasons == SHOWN
    assert reasons <= set(REASONS)
    assert {entry.verdict for entry in FLEET.values()} == {*VERDICTS, None}


@pytest.mark.parametrize("name", [*FLEET, *CASES])
def test_each_snapshot_says_where_it_comes_from(name: str) -> None:
    snapshot = json.loads(Path(_path(name)).read_text(encoding="utf-8"))
    assert snapshot["provenance"] in ("recorded", "from_packages", "synthesised")
    assert snapshot["description"]
    assert snapshot["sources"]


# Reasons that only a plan gives, with the goal and policy that show them.
EVERYTHING = {
    "driver_sources": ["inbox", "package", "kernel", "backport"],
    "allow_reboot": True,
    "allow_source_builds": True,
    "allow_untested_backport": True,
}
PLANNED = {
    "backport_untested",
    "hugepages_missing",
    "libmana_missing",
    "mana_ib_missing",
    "not_allowed_by_policy",
    "pmd_missing",
    "rdma_core_missing",
    "rdma_driver_missing",
    "secure_boot_refuses_unsigned",
    "uio_missing",
    "unsupported_os",
    "version_below_minimum",
}


def test_the_fleet_shows_what_plans_say() -> None:
    shown: set[str] = set()
    for name in FLEET:
        facts = _facts.collect(root=_path(name))
        for policy in ({}, EVERYTHING, {"driver_sources": ["inbox", "backport"]}):
            result = plan(facts, "dpdk", [], policy)
            shown |= {reason for step in result["steps"] for reason in step["reasons"]}
            shown |= {obstacle["reason"] for obstacle in result["blocked"]}
    assert shown >= PLANNED
