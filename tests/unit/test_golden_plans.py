# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for every supported distribution and goal, written from the facts about them and not from the compat tables.

A golden plan lists the steps in order, with packages that must be among those of the step; the reason codes of what is
blocked; and names that must be among those still to be asked for. tests/fixtures/plans/README.md has the form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import EXAMPLES, SNAPSHOTS

PLANS = Path(__file__).resolve().parents[1] / "fixtures" / "plans"
GOALS = ("ethernet", "rdma", "dpdk")

# Every distribution that is supported or named as not to be helped; each needs a plan for each goal.
DISTRIBUTIONS = (
    "debian-11",
    "debian-12",
    "debian-13",
    "ubuntu-20.04",
    "ubuntu-22.04",
    "ubuntu-24.04",
    "rhel-8.8",
    "rhel-8.10",
    "rhel-9.2",
    "rhel-9.4",
    "rhel-9.6",
    "rhel-10",
    "almalinux-8.10",
    "almalinux-9.2-arm64",
    "rocky-8.10",
    "rocky-9.6",
    "oracle-8-uek7",
    "oracle-8-rhck",
    "oracle-9-uek8",
    "sles-15.4",
    "sles-15.5",
    "sles-15.6",
    "sles-15.7",
    "sles-16",
    "azurelinux-3",
    "flatcar",
    "talos",
)


def _load() -> list[Any]:
    found = []
    for file in sorted(PLANS.glob("*.yml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for number, case in enumerate(content["plans"]):
            name = f"{file.stem}-{number}-{case['snapshot']}"
            found.append(pytest.param({"goal": content["goal"], **case}, id=name))
    return found


def _snapshot(name: str) -> str:
    fleet = EXAMPLES / "snapshots" / f"{name}.json"
    return str(fleet if fleet.exists() else SNAPSHOTS / f"{name}.json")


def _brief(step: dict[str, Any], wanted: dict[str, Any] | None) -> dict[str, Any]:
    """A step as a golden plan writes it; of the packages those that the golden plan names."""
    brief = {"role": step["role"], "action": step["action"]}
    if wanted and "packages" in wanted:
        brief["packages"] = [name for name in wanted["packages"] if name in step["packages"]]
    return brief


@pytest.mark.parametrize("case", _load())
def test_golden_plan(case: dict[str, Any]) -> None:
    facts = _facts.collect(root=_snapshot(case["snapshot"]))
    if "packages" in case:
        facts["packages"] = case["packages"]
    result = plan(facts, case["goal"], case.get("nics", []), case.get("policy", {}))
    expect = case["expect"]
    wanted = [*expect["steps"], *[None] * len(result["steps"])]
    shown = {
        "met": result["met"],
        "verdicts": {row["interface"] or row["mac"] or row["pci_address"]: row["verdict"] for row in result["verdicts"]},
        "steps": [_brief(step, golden) for step, golden in zip(result["steps"], wanted)],
        "blocked": sorted({obstacle["reason"] for obstacle in result["blocked"]}),
    }
    if "unknown_packages" in expect:
        shown["unknown_packages"] = [name for name in expect["unknown_packages"] if name in result["unknown"]["packages"]]
    if "advice" in expect:
        shown["advice"] = sorted({advice["reason"] for advice in result["advice"]})
    assert shown == expect, f"{case['because']}\n{result}"


def test_every_distribution_has_a_plan_for_every_goal() -> None:
    missing = {f"{name}-{goal}" for name in DISTRIBUTIONS for goal in GOALS} - {file.stem for file in PLANS.glob("*.yml")}
    assert missing == set()


def test_golden_plans_say_why() -> None:
    for parameter in _load():
        case = parameter.values[0]
        assert case["because"], parameter.id
        assert set(case["expect"]["blocked"]) <= set(REASONS), parameter.id
