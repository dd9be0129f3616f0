# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What user space lacks for the goals rdma and dpdk: rdma-core with libmana, DPDK, huge pages, ports.

Pure. Private to this collection.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._plan_parts import Draft, Obstacle, Step, Target, higher, is_below, sentence
from ansible_collections.accelnet.mana.plugins.plugin_utils._routes import Option, from_row, options, report_dead_end


def _minimum(target: Target, name: str) -> str | None:
    """The minimum version of rdma_core or dpdk: what MANA needs, or what the policy asks for."""
    own = [_compat.limit(f"minimum_{name}")] if "mana" in target.kinds else []
    unmonitored = any(device["class"] == "netvsc" and not device["monitored"] for device in target.facts["vmbus_devices"] or [])
    if name == "dpdk" and target.uses_netvsc and unmonitored:
        own.append(_compat.limit("dpdk_unmonitored_channels"))  # older ones give up at the first such device
    return higher(*own, target.policy["minimum_versions"].get(name))


def _step(
    target: Target, role: str, option: Option, provides: tuple[str, ...], reasons: tuple[str, ...], why: str, needs: tuple[str, ...] = ()
) -> Step:
    row = option.row
    return Step(
        role=role,
        action=row.way,
        subject=role,
        provides=provides,
        reasons=reasons,
        why=sentence(why, row.note),
        needs=needs + option.needs,
        **from_row(row),
        reboot=row.reboot and target.has_hardware,
    )


def plan_rdma_core(target: Target, draft: Draft) -> None:
    """rdma-core with what the NIC kinds need of it; libmana counts, not the version alone."""
    core = target.facts["rdma_core"]
    minimum = _minimum(target, "rdma_core")
    wants_mana = "mana" in target.kinds
    if wants_mana and not core["libmana"]:
        reason = "libmana_missing"
    elif not core["version"] and not core["libmana"]:
        reason = "rdma_core_missing"
    elif is_below(core["version"], minimum):
        reason = "version_below_minimum"
    else:
        return
    if core["foreign_ofed"]:
        draft.block("rdma_core", Obstacle("foreign_ofed_installed", REASONS["foreign_ofed_installed"].remedy))
        return
    capability = "libmana" if wants_mana else "rdma_core"
    tried = options(target, capability, None, minimum=minimum)
    usable = [option for option in tried if not option.obstacles]
    if not usable:
        report_dead_end(target, draft, capability, capability, None, tried)
        return
    draft.unknown_packages.update(usable[0].unasked)
    have = f"rdma-core {core['version']} is installed" if core["version"] else "rdma-core is not installed"
    need = " ".join(filter(None, [minimum and f"{minimum} or newer", "with libmana" if wants_mana else None])) or "it"
    draft.steps.append(_step(target, "rdma_core", usable[0], (capability,), (reason,), f"{have}; the goal needs {need}"))


def needed_pmds(target: Target) -> list[str]:
    """The poll-mode drivers that the NIC kinds need."""
    return (["net_netvsc"] if target.uses_netvsc else []) + [f"net_{kind}" for kind in target.kinds]


def _lacks(dpdk: t.Mapping[str, t.Any], needed: list[str], minimum: str | None) -> tuple[list[str], bool]:
    """(capabilities that one installation lacks, whether it is too old)."""
    missing = [f"pmd:{name}" for name in needed if name not in dpdk["pmds"]] + ([] if dpdk["testpmd"] else ["testpmd"])
    return missing, is_below(dpdk["version"], minimum, dpdk.get("exact", True))


def _without_installed(target: Target, capability: str, tried: list[Option]) -> list[Option]:
    """Leaves out a package that is installed and does not have the driver; where drivers are packages, none is that one."""
    dpdk = target.facts["dpdk"]
    missing = capability.startswith("pmd:") and capability[4:] not in dpdk["pmds"]
    if not missing or not any(one["testpmd"] == "/usr/bin/dpdk-testpmd" for one in [dpdk, *(dpdk.get("installations") or [])]):
        return tried
    return [option for option in tried if option.row.way != "package" or len(option.row.packages) > 1]


def plan_dpdk(target: Target, draft: Draft) -> None:
    """DPDK with the drivers for the NIC kinds, and testpmd to prove it."""
    minimum = _minimum(target, "dpdk")
    needed = needed_pmds(target)
    # An application finds one DPDK, so one of them has to have everything.
    found = [(dpdk, *_lacks(dpdk, needed, minimum)) for dpdk in target.facts["dpdk"].get("installations") or [target.facts["dpdk"]]]
    dpdk, missing, too_old = next((entry for entry in found if not entry[1] and not entry[2]), found[0])
    if not missing and not too_old:
        synthetic = [nic for nic in target.facts["nics"] or [] if nic["synthetic"]]
        several = not target.has_hardware or len(synthetic) > 1
        if several and is_below(dpdk["version"], _compat.limit("dpdk_reliable_netvsc")) and "net_netvsc" in needed:
            reason = REASONS["dpdk_vf_readd_unreliable"]
            draft.advice.append({"reason": reason.code, "subject": f"dpdk {dpdk['version']}", "remedy": reason.remedy})
        return
    # One build or one set of packages has to bring all of it, so that an application finds one DPDK.
    wanted = [f"pmd:{name}" for name in needed] + ["testpmd"]
    by_capability = {
        capability: _without_installed(target, capability, options(target, capability, None, minimum=minimum)) for capability in wanted
    }
    for way in ("package", "source"):
        chosen = [next((o for o in tried if o.row.way == way and not o.obstacles), None) for tried in by_capability.values()]
        usable = [option for option in chosen if option is not None]
        if len(usable) == len(chosen) and usable:
            _add_dpdk(target, draft, usable, wanted, missing, too_old)
            return
    for capability, tried in by_capability.items():
        if not any(not option.obstacles for option in tried):
            report_dead_end(target, draft, capability, capability, None, tried)


def _add_dpdk(target: Target, draft: Draft, chosen: list[Option], wanted: list[str], missing: list[str], too_old: bool) -> None:
    for option in chosen:
        draft.unknown_packages.update(option.unasked)
    packages = tuple(dict.fromkeys(name for option in chosen for name in option.row.packages))
    step = _step(
        target,
        "dpdk",
        chosen[0],
        tuple(wanted),
        (("pmd_missing",) if missing else ()) + (("version_below_minimum",) if too_old else ()),
        f"DPDK lacks {', '.join(missing)}" if missing else f"DPDK {target.facts['dpdk']['version']} is too old",
        needs=("libmana",) if "mana" in target.kinds and chosen[0].row.way == "source" else (),
    )
    needs = tuple(dict.fromkeys(step.needs + tuple(f"package:{name}" for name in packages)))
    notes = [note for note in dict.fromkeys(option.row.note for option in chosen) if note]
    why = sentence(step.why.split(". ")[0], *notes)
    draft.steps.append(dataclasses.replace(step, packages=packages, needs=needs, why=why))


def plan_ports(target: Target, draft: Draft) -> None:
    """Huge pages, and the NICs that were named for user space."""
    pools = target.facts["hugepages"]
    totals = [pool["total"] for pool in pools or []]
    if pools is not None and not any(totals) and None in totals:
        draft.block_for("facts_unknown", "hugepages")
    elif pools is not None and not any(totals):
        draft.steps.append(
            Step("dpdk_port", "hugepages", "hugepages", ("hugepages",), ("hugepages_missing",), "No huge pages are reserved.", needs=())
        )
    for nic in target.facts["nics"] or []:
        mac = nic["mac"]
        asked = mac in target.policy["nics"] or (nic.get("handed_over") and mac)
        if not asked or nic["use"] == "userspace":
            continue
        if nic["kind"] == "other":
            draft.block_for("unsupported_nic", nic["interface"] or mac)
            continue
        # One that shows no interface carries no route either.
        if nic["interface"] and nic["default_route"] is not False:
            draft.block_for("nic_protected", nic["interface"])
            continue
        draft.steps.append(
            Step(
                role="dpdk_port",
                action="bind",
                subject=mac,
                provides=(f"userspace:{mac}",),
                reasons=("userspace_binding_lost",) if nic.get("handed_over") else ("nic_used_by_kernel",),
                why=f"{nic['interface'] or mac} is to be used by DPDK and is still used by the kernel.",
                needs=tuple(f"pmd:{name}" for name in needed_pmds(target)),
            )
        )
