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
        ("secure_boot_refuses_unsigned", lambda f: f["platform"].update(secure_boot=True, lockdown=None, sig_enforce=None)),
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
    # One that was seen to work needs no further permission.
    assert blocked_reasons(facts, {**policy, "allow_untested_backport": False}) == set()
    untested = plan(facts_of("deb11-legacy"), "ethernet", policy={**policy, "allow_untested_backport": False})["blocked"]
    assert "backport_untested" in {entry["reason"] for entry in untested}


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


def test_secure_boot_alone_refuses_nothing_where_the_kernel_says_what_it_enforces() -> None:
    facts = facts_of("deb12-web")
    facts["platform"].update(secure_boot=True, lockdown="none", sig_enforce=False)
    assert "secure_boot_refuses_unsigned" not in blocked_reasons(facts, backport_only(facts))


def test_unknown_addresses_of_a_vf_are_said() -> None:
    facts = facts_of("deb12-web")
    facts["nics"][0]["vf"]["addresses"] = None
    assert (assess(facts)[0]["verdict"], assess(facts)[0]["reasons"]) == ("accelerated", ["facts_unknown"])


def test_a_binding_that_did_not_survive_is_named_and_made_again() -> None:
    facts = facts_of("deb13-rdma")
    facts["hugepages"] = [{"size_kb": 2048, "node": 0, "total": 512, "free": 512}]
    nic = facts["nics"][0]
    nic.update(handed_over=True, default_route=False)
    assert (assess(facts)[0]["verdict"], assess(facts)[0]["reasons"]) == ("degraded", ["userspace_binding_lost"])
    assert plan(facts, "ethernet")["blocked"][0]["reason"] == "userspace_binding_lost"
    result = plan(facts, "dpdk")
    assert [(step["action"], step["reasons"]) for step in result["steps"]] == [("bind", ["userspace_binding_lost"])]


def test_a_synthetic_half_without_driver_is_no_accelerated_nic() -> None:
    facts = facts_of("deb12-web")
    nic = facts["nics"][0]
    nic.update(interface=None, paired=False, default_route=None)
    nic["synthetic"].update(interface=None, driver=None)
    next(device for device in facts["vmbus_devices"] if device["class"] == "netvsc")["driver"] = None
    assert (assess(facts)[0]["verdict"], assess(facts)[0]["reasons"]) == ("degraded", ["synthetic_unbound"])
    assert "synthetic_unbound" in {entry["reason"] for entry in plan(facts, "ethernet")["blocked"]}


def test_a_nic_that_nobody_uses_does_not_hinder_the_goal() -> None:
    facts = facts_of("deb13-router")
    nic = facts["nics"][1]
    nic["synthetic"]["operstate"] = nic["vf"]["operstate"] = "down"
    assert assess(facts)[1]["reasons"] == ["interface_down"]
    assert plan(facts, "ethernet")["met"]
    nic["synthetic"]["operstate"] = "up"
    assert assess(facts)[1]["reasons"] == ["vf_down"]
    assert not plan(facts, "ethernet")["met"]


def test_an_orphan_that_the_tables_do_not_know_hinders_every_goal() -> None:
    facts = facts_of("deb12-web")
    orphan = {**facts["pci_functions"][0], "address": "abcd:00:00.0", "id": "1414:00ff", "kind": "other", "driver": None, "interfaces": []}
    facts["pci_functions"].append({**orphan, "expected_module": None})
    for goal in ("ethernet", "rdma", "dpdk"):
        assert ("driver_missing", "abcd:00:00.0") in {(entry["reason"], entry["subject"]) for entry in plan(facts, goal)["blocked"]}


def newer_kernel(facts: dict[str, t.Any]) -> None:
    """Debian's 6.12, installed and booted next."""
    kernel = copy.deepcopy(facts["kernels"][0])
    facts["kernels"][0]["default_boot"] = False
    kernel.update(release="6.12.117+deb12-cloud-amd64", running=False, default_boot=True)
    for module in kernel["modules"].values():
        module.update(state="module", origin="inbox", loaded=False, loaded_srcversion=None)
    facts["kernels"].append(kernel)


def test_an_installed_kernel_that_has_what_is_missing_is_booted_before_anything_is_built() -> None:
    facts = facts_of("deb12-web")
    newer_kernel(facts)
    result = plan(facts, "rdma", policy=EVERYTHING)
    assert [(step["action"], step["kernel"], step["reboot"]) for step in result["steps"] if step["role"] == "nic_driver"] == [
        ("boot", "6.12.117+deb12-cloud-amd64", True)
    ]
    forbidden = plan(facts, "rdma")
    assert ("reboot_pending", "allow_reboot") in {(entry["reason"], entry["option"]) for entry in forbidden["blocked"]}
    facts["kernels"][1]["modules"]["mana_ib"]["state"] = "absent"
    assert "boot" not in [step["action"] for step in plan(facts, "rdma", policy=EVERYTHING)["steps"]]


def test_a_target_that_does_not_run_yet_is_not_met_while_a_function_is_orphaned() -> None:
    facts = facts_of("deb11-legacy")
    newer_kernel(facts)
    result = plan(facts, "ethernet", policy={"target_kernels": "default"})
    assert not result["met"] and [entry["reason"] for entry in result["blocked"]] == ["reboot_pending"]


def test_mlx4_without_its_second_module_is_not_in_another_namespace() -> None:
    facts = facts_of("rocky810-mlx4")
    facts["pci_functions"][0]["interfaces"] = []
    for module, reason in ((False, "driver_not_loaded"), (True, "interface_in_other_netns")):
        facts["kernels"][0]["modules"]["mlx4_en"]["loaded"] = module
        assert assess(facts)[-1]["reasons"] == [reason]


def dpdk(prefix: str, version: str, *pmds: str, exact: bool = True) -> dict[str, t.Any]:
    return {"prefix": prefix, "version": version, "exact": exact, "pmds": list(pmds), "testpmd": f"{prefix}/bin/dpdk-testpmd"}


def test_one_dpdk_has_to_have_everything() -> None:
    facts = facts_of("deb13-rdma")
    mixed = [dpdk("/opt/accelnet/dpdk-26.07", "26.07", "net_mana"), dpdk("/usr", "24.11.4", "net_netvsc")]
    facts["dpdk"] = {**mixed[0], "installations": mixed}
    assert "dpdk" in [step["role"] for step in plan(facts, "dpdk", policy=EVERYTHING)["steps"]]
    whole = [*mixed, dpdk("/opt/own", "25.11", "net_mana", "net_netvsc")]
    facts["dpdk"] = {**mixed[0], "installations": whole}
    assert plan(facts, "dpdk", policy=EVERYTHING)["met"]


def test_a_version_from_a_soname_is_compared_as_far_as_it_goes() -> None:
    facts = facts_of("deb13-rdma")
    for exact, met in ((False, True), (True, False)):
        one = dpdk("/usr", "24.11", "net_mana", "net_netvsc", exact=exact)
        facts["dpdk"] = {**one, "installations": [one]}
        assert plan(facts, "dpdk", policy={"minimum_versions": {"dpdk": "24.11.4"}})["met"] is met


def test_an_unmonitored_channel_needs_a_dpdk_that_can_bear_it() -> None:
    facts = facts_of("deb13-rdma")
    assert plan(facts, "dpdk")["met"]
    next(device for device in facts["vmbus_devices"] if device["class"] == "netvsc")["monitored"] = False
    names = plan(facts, "dpdk", policy=EVERYTHING)["unknown"]["packages"]
    facts["packages"] = {name: {"version": "24.11.4-1"} for name in names}
    result = plan(facts, "dpdk", policy=EVERYTHING)
    assert [(step["role"], step["action"], step["reasons"]) for step in result["steps"]] == [("dpdk", "source", ["version_below_minimum"])]


def test_a_nic_that_is_none_of_azures_is_not_bound() -> None:
    facts = facts_of("deb13-rdma")
    facts["nics"].append(
        {**facts["nics"][0], "interface": "ens9", "mac": "02:00:00:00:00:09", "kind": "other", "synthetic": None, "vf": None}
    )
    facts["nics"][-1].update(default_route=False)
    result = plan(facts, "dpdk", ["02:00:00:00:00:09"])
    assert "bind" not in [step["action"] for step in result["steps"]]
    assert "unsupported_nic" in {entry["reason"] for entry in result["blocked"]}


def test_huge_pages_that_cannot_be_read_are_not_taken_for_none() -> None:
    facts = facts_of("deb13-rdma")
    facts["hugepages"] = [{"size_kb": 2048, "node": 0, "total": None, "free": None}]
    assert [entry["subject"] for entry in plan(facts, "dpdk")["blocked"]] == ["hugepages"]


def test_after_a_failed_probe_only_a_newer_kernel_helps() -> None:
    facts = facts_of("rhel94-three")
    function, nics = facts["pci_functions"][0], facts["nics"]
    function.update(driver=None, interfaces=[])
    for nic in nics:
        nic.update(vf=None, rdma=None, paired=False, kind="synthetic")
    assert assess(facts)[-1]["reasons"] == ["driver_probe_failed"]
    policy = {**EVERYTHING, "driver_sources": ["kernel"]}
    step = plan(facts, "ethernet", policy=policy)["steps"][0]
    assert step["action"] == "kernel" and "failed" in step["why"]
    running = next(kernel["release"] for kernel in facts["kernels"] if kernel["running"]).removesuffix(".x86_64")
    for version, actions in ((running, []), ("5.14.0-570.22.1.el9_6", ["kernel"])):
        offered = {**facts, "packages": {name: {"version": version} for name in step["packages"]}}
        result = plan(offered, "ethernet", policy=policy)
        assert [entry["action"] for entry in result["steps"]] == actions
        assert ("driver_probe_failed" in {entry["reason"] for entry in result["blocked"]}) is not bool(actions)


def test_a_function_without_synthetic_half_that_is_down_is_an_interface_that_is_down() -> None:
    facts = copy.deepcopy(facts_of("rocky10-unpaired"))
    (nic,) = [nic for nic in facts["nics"] if nic["kind"] == "mana"]
    nic["vf"]["operstate"] = "down"
    (row,) = [row for row in assess(facts) if row["mac"] == nic["mac"]]
    assert (row["verdict"], row["reasons"]) == ("degraded", ["interface_down"])
