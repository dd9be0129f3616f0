# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of every plan, over the facts of the demo fleet, all goals and many policies."""

from __future__ import annotations

import copy
import functools
import json
import pathlib
import typing as t

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import DEFAULTS, GOALS, WAYS
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import apply_steps

SNAPSHOTS = pathlib.Path(__file__).parents[2] / "examples" / "fleet" / "snapshots"
HOSTS = sorted(path.stem for path in SNAPSHOTS.glob("*.json") if not path.stem.startswith("broken"))


@functools.lru_cache(maxsize=None)
def _read(host: str) -> dict[str, t.Any]:
    return _facts.collect(str(SNAPSHOTS / f"{host}.json"))


def facts_of(host: str) -> dict[str, t.Any]:
    return copy.deepcopy(_read(host))


policies = st.fixed_dictionaries(
    {},
    optional={
        "driver_sources": st.lists(st.sampled_from(WAYS), unique=True),
        "allow_reboot": st.booleans(),
        "allow_source_builds": st.booleans(),
        "allow_untested_backport": st.booleans(),
        "allow_unblacklist": st.booleans(),
        "module_signing": st.booleans(),
        "mana_ib": st.sampled_from(["auto", "present", "absent"]),
        "dpdk_mode": st.sampled_from(["netvsc", "mana"]),
        "target_kernels": st.sampled_from(["running", "default", "all"]),
        "target_nics": st.one_of(st.just("observed"), st.lists(st.sampled_from(["mana", "mlx5", "mlx4"]), unique=True)),
    },
)
cases = st.tuples(st.sampled_from(HOSTS), st.sampled_from(GOALS), policies)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases)
def test_the_same_input_gives_the_same_plan_and_is_not_changed(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, goal, policy = case
    facts = facts_of(host)
    before = json.dumps([facts, policy], sort_keys=True)
    first = plan(facts, goal, policy=policy)
    assert json.dumps(plan(facts, goal, policy=policy)) == json.dumps(first)
    assert json.dumps([facts, policy], sort_keys=True) == before


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases)
def test_a_plan_keeps_its_form(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, goal, policy = case
    result = plan(facts_of(host), goal, policy=policy)
    assert result["met"] == (not result["steps"] and not result["blocked"])
    assert len({step["id"] for step in result["steps"]}) == len(result["steps"])
    assert set(result["unknown"]["packages"]) <= {name for step in result["steps"] for name in step["packages"]} | {
        need.split(":", 1)[1] for step in result["steps"] for need in step["needs"] if need.startswith("package:")
    }
    for step in result["steps"]:
        assert step["reasons"] and set(step["reasons"]) <= set(REASONS)
        assert step["why"].endswith(".") and step["provides"]
    for entry in result["blocked"]:
        assert entry["reason"] in REASONS and entry["remedy"] and entry["subject"]
        assert entry["option"] is None or entry["option"] in DEFAULTS
    for row in result["verdicts"]:
        assert row["verdict"] in VERDICTS and set(row["reasons"]) <= set(REASONS)
        assert row["reasons"] or row["verdict"] in ("accelerated", "userspace")


@settings(max_examples=600, deadline=None, derandomize=True)
@given(cases)
def test_after_its_steps_a_plan_is_met_or_blocked(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, goal, policy = case
    facts = facts_of(host)
    first = plan(facts, goal, policy=policy)
    again = plan(apply_steps(facts, first["steps"]), goal, policy=policy)
    assert not again["steps"], (first["steps"], again["steps"])
    assert again["met"] or again["blocked"]
    if not first["blocked"]:
        assert again["met"], again["blocked"]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases)
def test_nothing_is_planned_for_what_is_there(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, goal, policy = case
    facts = facts_of(host)
    states = {(kernel["release"], name): module for kernel in facts["kernels"] for name, module in kernel["modules"].items()}
    for step in plan(facts, goal, policy=policy)["steps"]:
        if step["action"] in ("package", "kernel") and step["role"] == "nic_driver" and "driver_probe_failed" not in step["reasons"]:
            wanted = [p.split(":")[1].split("@")[0] for p in step["provides"] if p.startswith("module:")]
            assert any(states[step["kernel"], module]["state"] == "absent" for module in wanted)
        if step["role"] == "rdma_core":
            assert not facts["rdma_core"]["libmana"] or not facts["rdma_core"]["version"]
        if step["action"] == "load":
            for provided in step["provides"]:
                module = states[step["kernel"], provided.split(":")[1]]
                # What is loaded is loaded again only when another build of it is installed.
                assert module["loaded"] is False or module["srcversion"] != module["loaded_srcversion"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases)
def test_the_policy_is_obeyed(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, goal, policy = case
    allowed = {**DEFAULTS, **policy}
    for step in plan(facts_of(host), goal, policy=policy)["steps"]:
        if step["role"] == "nic_driver" and step["action"] in WAYS:
            assert step["action"] in allowed["driver_sources"]
        if step["action"] == "source":
            assert allowed["allow_source_builds"]
        if step["action"] == "kernel" and step["reboot"]:
            assert allowed["allow_reboot"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases)
def test_an_option_that_a_block_names_changes_the_outcome(case: tuple[str, str, dict[str, t.Any]]) -> None:
    """Who allows everything is never told that the policy forbids something."""
    host, goal, _policy = case
    everything = {
        "driver_sources": list(WAYS),
        "allow_reboot": True,
        "allow_source_builds": True,
        "allow_untested_backport": True,
        "allow_unblacklist": True,
        "module_signing": True,
        "mana_ib": "present",
        "dpdk_mode": "mana",
    }
    result = plan(facts_of(host), goal, policy=everything)
    assert [entry for entry in result["blocked"] if entry["option"]] == []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases)
def test_a_lesser_goal_needs_no_more(case: tuple[str, str, dict[str, t.Any]]) -> None:
    host, _goal, policy = case
    met = [plan(facts_of(host), goal, policy=policy)["met"] for goal in GOALS]
    assert met == sorted(met, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"goal": "fast"}, "bad_goal"),
        ({"policy": {"driver_sources": "inbox"}}, "bad_policy"),
        ({"policy": {"driver_sources": ["floppy"]}}, "bad_policy"),
        ({"policy": {"no_such": 1}}, "bad_policy"),
        ({"policy": {"allow_reboot": "yes"}}, "bad_policy"),
        ({"policy": {"target_kernels": ["9.9.9-none"]}}, "bad_policy"),
        ({"policy": {"target_kernels": ["../etc"]}}, "bad_policy"),
        ({"policy": {"minimum_versions": {"qemu": "1"}}}, "bad_policy"),
        ({"policy": ["allow_reboot"]}, "bad_policy"),
        ({"nics": ["eth0"], "goal": "dpdk"}, "bad_mac"),
        ({"nics": ["00:11:22:33:44:55"], "goal": "dpdk"}, "bad_mac"),
        ({"nics": "00:11:22:33:44:55", "goal": "dpdk"}, "bad_mac"),
        ({"facts": None}, "bad_facts"),
        ({"facts": {"schema_version": 2}}, "bad_facts"),
        ({"facts": {"schema_version": 1, "nics": []}}, "bad_facts"),
    ],
)
def test_bad_input_gets_a_reason_code(arguments: dict[str, t.Any], reason: str) -> None:
    call: dict[str, t.Any] = {"facts": facts_of(HOSTS[0]), "goal": "ethernet", **arguments}
    with pytest.raises(AccelnetError) as error:
        plan(**call)
    assert error.value.reason == reason
    assert len(error.value.message) > 20
