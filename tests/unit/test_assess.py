# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts from measured samples, and what the planner does with facts that no snapshot of the fleet has."""

from __future__ import annotations

import copy
import pathlib
import typing as t

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan

SNAPSHOTS = pathlib.Path(__file__).parents[2] / "examples" / "fleet" / "snapshots"
MIB = 1 << 20


def facts_of(host: str) -> dict[str, t.Any]:
    return copy.deepcopy(_facts.collect(str(SNAPSHOTS / f"{host}.json")))


def sample_of(facts: dict[str, t.Any], rx: int, tx: int, vf_rx: int, vf_tx: int) -> dict[str, t.Any]:
    return {"mac": facts["nics"][0]["mac"], "rx_bytes": rx, "tx_bytes": tx, "vf_rx_bytes": vf_rx, "vf_tx_bytes": vf_tx}


@pytest.mark.parametrize(
    ("sample", "verdict", "reasons", "proven"),
    [
        ((100 * MIB, 100 * MIB, 100 * MIB, 96 * MIB), "accelerated", [], True),
        ((100 * MIB, 100 * MIB, 100 * MIB, 94 * MIB), "degraded", ["traffic_on_synthetic"], False),
        ((100 * MIB, 100 * MIB, 0, 100 * MIB), "degraded", ["traffic_on_synthetic"], False),
        # One direction is proven bad, whatever the other lacks.
        ((100 * MIB, 1 * MIB, 0, 0), "degraded", ["traffic_on_synthetic"], False),
        ((63 * MIB, 100 * MIB, 63 * MIB, 100 * MIB), "accelerated", ["traffic_not_proven"], None),
        ((0, 0, 0, 0), "accelerated", ["traffic_not_proven"], None),
    ],
)
def test_a_measured_window_decides(sample: tuple[int, int, int, int], verdict: str, reasons: list[str], proven: bool | None) -> None:
    facts = facts_of("deb12-web")
    row = assess(facts, [sample_of(facts, *sample)])[0]
    assert (row["verdict"], row["reasons"], row["proven"]) == (verdict, reasons, proven)


def test_a_sample_of_another_nic_proves_nothing() -> None:
    facts = facts_of("deb12-web")
    sample = {**sample_of(facts, 100 * MIB, 100 * MIB, 0, 0), "mac": "00:22:48:ff:ff:ff"}
    assert assess(facts, [sample])[0]["proven"] is None


@pytest.mark.parametrize("samples", ["eth0", [{"mac": "00:22:48:ff:ff:ff"}], [None], [{"mac": "x", "rx_bytes": "1"}]])
def test_malformed_samples(samples: t.Any) -> None:
    with pytest.raises(AccelnetError) as error:
        assess(facts_of("deb12-web"), samples)
    assert error.value.reason == "bad_facts"


def test_link_local_addresses_of_a_vf_are_harmless_others_are_not() -> None:
    facts = facts_of("deb12-web")
    vf = facts["nics"][0]["vf"]
    for addresses, verdict in (
        (["fe80::1/64"], "accelerated"),
        (["10.0.0.9/24"], "degraded"),
        (["2001:db8::9/64"], "degraded"),
        (None, "accelerated"),
    ):
        vf["addresses"] = addresses
        assert assess(facts)[0]["verdict"] == verdict


def test_unknown_hardware_has_no_verdicts() -> None:
    assert assess(facts_of("deb12-image")) == []


def test_an_unknown_running_kernel_is_not_taken_for_one_without_driver() -> None:
    facts = facts_of("rhel92-idle")
    for kernel in facts["kernels"]:
        kernel["running"] = None
    assert next(row for row in assess(facts) if row["verdict"] == "orphaned")["reasons"] == ["facts_unknown"]
    assert "facts_unknown" in {entry["reason"] for entry in plan(facts, "ethernet")["blocked"]}


def test_a_nic_for_dpdk_is_bound_unless_it_is_protected() -> None:
    facts = facts_of("deb13-rdma")
    facts["hugepages"] = [{"size_kb": 2048, "node": 0, "total": 512, "free": 512}]
    mac = facts["nics"][0]["mac"]
    for default_route, steps, blocked in ((False, ["bind"], []), (True, [], ["nic_protected"]), (None, [], ["nic_protected"])):
        facts["nics"][0]["default_route"] = default_route
        result = plan(facts, "dpdk", [mac.upper()])
        assert [step["action"] for step in result["steps"] if step["role"] == "dpdk_port"] == steps
        assert [entry["reason"] for entry in result["blocked"]] == blocked
    facts["nics"][0]["default_route"] = False
    assert plan(facts, "dpdk", [mac])["steps"][-1]["reasons"] == ["nic_used_by_kernel"]
    assert plan(facts, "dpdk")["met"]


EVERYTHING = {
    "driver_sources": ["inbox", "package", "kernel", "backport"],
    "allow_reboot": True,
    "allow_source_builds": True,
    "allow_untested_backport": True,
}


def blocked_reasons(facts: dict[str, t.Any], policy: dict[str, t.Any]) -> set[str]:
    return {entry["reason"] for entry in plan(facts, "rdma", policy=policy)["blocked"]}


def backport_only(facts: dict[str, t.Any]) -> dict[str, t.Any]:
    return {**EVERYTHING, "driver_sources": ["inbox", "backport"]}


def test_what_stands_in_the_way_of_a_backport() -> None:
    facts = facts_of("deb12-web")
    policy = backport_only(facts)
    assert [step["action"] for step in plan(facts, "rdma", policy=policy)["steps"]] == ["backport", "package"]
    hostile: list[tuple[str, t.Callable[[dict[str, t.Any]], None]]] = [
        ("secure_boot_refuses_unsigned", lambda f: f["platform"].update(sig_enforce=True)),
        ("secure_boot_refuses_unsigned", lambda f: f["platform"].update(lockdown="integrity")),
        ("secure_boot_refuses_unsigned", lambda f: f["platform"].update(secure_boot=True)),
        ("secure_boot_refuses_unsigned", lambda f: f["kernels"][0].update(sig_force=True)),
        ("suse_unsupported_module", lambda f: f["platform"].update(allow_unsupported_modules=False)),
        ("builtin_not_replaceable", lambda f: f["kernels"][0]["modules"]["mana"].update(state="builtin")),
        ("headers_missing", lambda f: f.update(packages={"linux-headers-6.1.0-50-cloud-amd64": None})),
    ]
    for reason, change in hostile:
        changed = copy.deepcopy(facts)
        changed["kernels"][0]["headers"] = None
        change(changed)
        assert reason in blocked_reasons(changed, policy), reason
    assert "secure_boot_refuses_unsigned" not in blocked_reasons(
        {**facts, "platform": {**facts["platform"], "sig_enforce": True}}, {**policy, "module_signing": True}
    )
    assert "backport_untested" in blocked_reasons(facts, {**policy, "allow_untested_backport": False})


def test_the_answers_of_the_package_manager_decide() -> None:
    facts = facts_of("deb12-web")
    first = plan(facts, "rdma", policy=EVERYTHING)
    assert "linux-image-6.12-cloud-amd64" in first["unknown"]["packages"]
    offered = {name: {"version": "6.12.117-1" if "linux" in name else "44.0-2"} for name in first["unknown"]["packages"]}
    certain = plan({**facts, "packages": offered}, "rdma", policy=EVERYTHING)
    assert certain["unknown"]["packages"] == [] and [step["action"] for step in certain["steps"]] == ["kernel", "package"]
    nothing = plan({**facts, "packages": dict.fromkeys(offered)}, "rdma", policy={**EVERYTHING, "allow_source_builds": False})
    assert "linux-image-6.12-cloud-amd64" not in [name for step in nothing["steps"] for name in step["packages"]]


def test_a_version_that_is_too_low_is_no_remedy() -> None:
    facts = facts_of("deb12-web")
    names = plan(facts, "rdma", policy=EVERYTHING)["unknown"]["packages"]
    packages = {name: {"version": "39.0-1", "versions": ["39.0-1"]} for name in names if "linux" not in name}
    step = next(step for step in plan({**facts, "packages": packages}, "rdma", policy=EVERYTHING)["steps"] if step["role"] == "rdma_core")
    assert step["action"] == "source"


def test_a_policy_can_ask_for_newer_user_space() -> None:
    facts = facts_of("deb13-rdma")
    assert plan(facts, "rdma")["met"]
    result = plan(facts, "rdma", policy={"minimum_versions": {"rdma_core": "60"}})
    assert [step["reasons"] for step in result["steps"]] == [["version_below_minimum"]]


def test_mana_ib_of_an_hpc_image_is_respected() -> None:
    facts = facts_of("ubu2404-hpc")
    by_default = plan(facts, "rdma")
    assert {(entry["reason"], entry["option"]) for entry in by_default["blocked"]} == {("driver_blacklisted", "mana_ib")}
    assert "unblacklist" in [step["action"] for step in plan(facts, "rdma", policy={"mana_ib": "present"})["steps"]]


def test_foreign_ofed_is_refused() -> None:
    facts = facts_of("deb12-web")
    facts["rdma_core"]["foreign_ofed"] = True
    assert "foreign_ofed_installed" in blocked_reasons(facts, EVERYTHING)
