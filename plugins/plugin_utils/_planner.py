# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts, goal and policy -> verdicts and ordered steps, each with a reason; or what blocks the goal, and how to allow it.

Pure: the same input gives the same output. Private to this collection; users have the filter accelnet.mana.plan.
"""

from __future__ import annotations

import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import ETHERNET_MODULES, RDMA_MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import Verdict, assess, differs_in_memory
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import check_facts, check_goal, check_macs, check_policy
from ansible_collections.accelnet.mana.plugins.plugin_utils._plan_parts import Draft, Kernel, Obstacle, Step, Target, is_below, version_of
from ansible_collections.accelnet.mana.plugins.plugin_utils._routes import from_row, options, route_modules
from ansible_collections.accelnet.mana.plugins.plugin_utils._userspace import plan_dpdk, plan_ports, plan_rdma_core

_PARTS = {
    "ethernet": ("nics", "pci_functions", "vmbus_devices", "kernels", "platform"),
    "rdma": ("rdma_core",),
    "dpdk": ("rdma_core", "dpdk", "hugepages"),
}
_MISSING = {"mana_ib": "mana_ib_missing", "uio_hv_generic": "uio_missing", "pci_hyperv": "pci_hyperv_missing"}
# Reasons of a verdict that no step here can change.
_WAIT = (
    "synthetic_unbound",
    "vf_down",
    "vf_revoked",
    "vf_not_offered",
    "interface_in_other_netns",
    "driver_unexpected",
    "unsupported_nic",
    "userspace_unasked",
)
_VMBUS_CLASS = {"hv_netvsc": "netvsc", "pci_hyperv": "vpci"}
_UNMANAGED = ("vf_has_address", "vf_not_enslaved")


def target_kernels(target: Target) -> list[Kernel]:
    """The kernels that have to be ready. Raises AccelnetError (bad_policy) for one that is not installed."""
    kernels: list[Kernel] = list(target.facts["kernels"] or [])
    wanted = target.policy["target_kernels"]
    if isinstance(wanted, list):
        missing = sorted(set(wanted) - {kernel["release"] for kernel in kernels})
        if missing:
            raise AccelnetError("bad_policy", f"policy option target_kernels names kernels that are not installed: {', '.join(missing)}")
        return [kernel for kernel in kernels if kernel["release"] in wanted]
    if wanted == "running":
        running = [kernel for kernel in kernels if kernel["running"]]
        if running or target.has_hardware:
            return running
    if wanted in ("running", "default"):
        default = [kernel for kernel in kernels if kernel["default_boot"]]
        if default or wanted == "default":
            return default
    return kernels


def _needed(target: Target) -> dict[str, str]:
    """Module -> reason code when it is missing."""
    modules = [module for module, vmbus_class in _VMBUS_CLASS.items() if target.has_vmbus(vmbus_class)]
    for kind in target.kinds:
        modules += target.modules_of(kind)
    if target.goal != "ethernet" and target.kinds:
        modules.append("ib_uverbs")
    if target.goal == "dpdk" and target.kinds and target.uses_netvsc:
        modules.append("uio_hv_generic")
    rdma = {module for names in RDMA_MODULES.values() for module in names} | {"ib_uverbs"}
    return {module: _MISSING.get(module, "rdma_driver_missing" if module in rdma else "driver_missing") for module in modules}


def _must_be_loaded(target: Target, module: str) -> bool:
    """Whether the running kernel has to have a module in memory now, not only on disk."""
    if module in ("uio_hv_generic", "ib_uverbs"):
        return False  # dpdk_port loads the former when it binds a NIC, every verbs driver the latter
    if module in _VMBUS_CLASS:
        devices = target.facts["vmbus_devices"] or []
        return any(device["class"] == _VMBUS_CLASS[module] and device["driver"] is None for device in devices)
    return any(module in target.modules_of(kind) for kind in target.observed_kinds)


def _plan_blacklisted(target: Target, draft: Draft, kernel: Kernel, module: str, reason: str) -> None:
    release = kernel["release"]
    policy = target.policy
    allowed = policy["allow_unblacklist"] or (module == "mana_ib" and policy["mana_ib"] == "present")
    places = ", ".join(kernel["modules"][module]["blacklisted_by"])
    if not allowed:
        option = "mana_ib" if module == "mana_ib" else "allow_unblacklist"
        remedy = f"{module} is forbidden by {places}. Allow its removal with {option}{': present' if module == 'mana_ib' else ''}."
        draft.block(f"module:{module}@{release}", Obstacle("driver_blacklisted", remedy, option))
        return
    provides = [f"unblacklisted:{module}"] + ([f"loaded:{module}"] if target.is_live(kernel) else [])
    draft.steps.append(
        Step(
            role="nic_driver",
            action="unblacklist",
            subject=f"{module}@{release}",
            kernel=release,
            provides=tuple(provides),
            reasons=("driver_blacklisted",) if reason == "driver_missing" else ("driver_blacklisted", reason),
            why=f"{module} is installed for {release} but forbidden by {places}.",
        )
    )


def _boots_to(target: Target, kernel: Kernel, missing: t.Collection[str]) -> Kernel | None:
    """An installed kernel that has what the running one lacks, and that boots next or is newer."""
    if not target.is_live(kernel):
        return None
    found = [
        other
        for other in target.facts["kernels"]
        if other is not kernel
        and (other["default_boot"] or is_below(kernel["release"], other["release"]))
        and all(
            other["modules"][name]["state"] in ("builtin", "module") and not other["modules"][name]["blacklisted"]
            for name in _needed(target)
        )
        and not any(_compat.blocks(f"module:{name}", target.host(other), "inbox") for name in missing)
    ]
    return max(found, key=lambda other: (bool(other["default_boot"]), version_of(other["release"]) or ()), default=None)


def _boot_forbidden(target: Target, other: Kernel) -> Obstacle | None:
    """What the policy has against booting an installed kernel."""
    allowed = {"driver_sources": "inbox" in target.policy["driver_sources"], "allow_reboot": target.policy["allow_reboot"]}
    option = next((name for name, given in allowed.items() if not given), None)
    return Obstacle("reboot_pending", f"Boot {other['release']}, which is installed and has what is missing.", option) if option else None


def _plan_boot(target: Target, draft: Draft, kernel: Kernel, other: Kernel, missing: t.Mapping[str, str]) -> None:
    """The step that boots an installed kernel, or what forbids it."""
    release = other["release"]
    forbidden = _boot_forbidden(target, other)
    if forbidden:
        draft.block(f"kernel {kernel['release']}", forbidden)
        return
    draft.steps.append(
        Step(
            role="nic_driver",
            action="boot",
            subject=release,
            kernel=release,
            provides=(f"running:{release}",),
            reasons=("reboot_pending", *sorted(set(missing.values()))),
            why=f"{kernel['release']} runs and lacks {', '.join(missing)}; {release} is installed and has all of it.",
            reboot=True,
        )
    )


def _plan_load(target: Target, draft: Draft, kernel: Kernel, modules: list[str]) -> None:
    release = kernel["release"]
    if "inbox" not in target.policy["driver_sources"]:
        for module in modules:
            draft.block(f"module:{module}@{release}", Obstacle("not_allowed_by_policy", "Add 'inbox' to driver_sources.", "driver_sources"))
        return
    # mana_ib goes with the mana that it was built with: the one in memory has to be swapped first.
    stale = [name for name in ("mana",) if "mana_ib" in modules and differs_in_memory(kernel["modules"][name])]
    draft.steps.append(
        Step(
            role="nic_driver",
            action="load",
            subject=release,
            kernel=release,
            provides=tuple(f"loaded:{module}" for module in [*stale, *modules]),
            reasons=("driver_not_loaded", *(["loaded_differs_from_installed"] if stale else [])),
            why=f"{', '.join(modules)} {'is' if len(modules) == 1 else 'are'} installed for {release} but not loaded.",
        )
    )


def _plan_kernel(target: Target, draft: Draft, kernel: Kernel) -> None:
    """What one kernel lacks of the modules that the goal needs."""
    release = kernel["release"]
    missing: dict[str, str] = {}
    idle: list[str] = []
    for module, reason in _needed(target).items():
        state = kernel["modules"][module]
        if module == "mana_ib" and target.policy["mana_ib"] == "absent":
            draft.block(f"module:mana_ib@{release}", Obstacle("not_allowed_by_policy", "The goal needs mana_ib.", "mana_ib"))
        elif state["loaded"]:
            continue
        elif state["origin"] == "inbox" and (blocks := _compat.blocks(f"module:{module}", target.host(kernel), "inbox")):
            missing[module] = blocks[0].reason
        elif state["state"] is None:
            draft.block_for("facts_unknown", f"module:{module}@{release}")
        elif state["state"] == "absent":
            missing[module] = reason
        elif state["blacklisted"]:
            _plan_blacklisted(target, draft, kernel, module, reason)
        elif target.is_live(kernel) and _must_be_loaded(target, module):
            idle.append(module)
    other = _boots_to(target, kernel, missing) if missing else None
    if other is not None and not _boot_forbidden(target, other):
        _plan_boot(target, draft, kernel, other, missing)
        return
    before = len(draft.steps)
    if missing:
        route_modules(target, draft, kernel, missing)
    if other is not None and len(draft.steps) == before:
        _plan_boot(target, draft, kernel, other, missing)
    if idle and not any(step.action == "kernel" and step.kernel == release for step in draft.steps):
        _plan_load(target, draft, kernel, idle)


def _plan_verdict(target: Target, draft: Draft, row: Verdict) -> None:
    """What the verdict on one NIC or function asks for beside modules."""
    subject = row["interface"] or row["mac"] or row["pci_address"] or "?"
    unmanaged = [reason for reason in _UNMANAGED if reason in row["reasons"]]
    if unmanaged:
        usable = [option for option in options(target, "vf_unmanaged", None) if not option.obstacles]
        draft.unknown_packages.update(usable[0].unasked)
        draft.steps.append(
            Step(
                role="vf_unmanaged",
                action="configure",
                subject=row["mac"] or subject,
                provides=(f"vf_unmanaged:{row['mac']}",),
                reasons=tuple(unmanaged),
                why=f"The virtual function of {subject} is not left to its synthetic interface alone.",
                needs=usable[0].needs,
                **from_row(usable[0].row),
            )
        )
    for reason in row["reasons"]:
        if reason in _WAIT and not (reason == "unsupported_nic" and len(target.facts["nics"]) > 1):
            draft.block_for(reason, subject)


def _plan_probe_failures(target: Target, draft: Draft, verdicts: list[Verdict]) -> None:
    """A driver that is there and does not bind wants a newer kernel or driver."""
    failed = {row["kind"] for row in verdicts if "driver_probe_failed" in row["reasons"] and row["kind"] in ETHERNET_MODULES}
    if failed and target.running is not None:
        missing = {module: "driver_probe_failed" for kind in sorted(failed) for module in ETHERNET_MODULES[kind]}
        before = len(draft.steps)
        route_modules(target, draft, target.running, missing, ways=("kernel", "backport"), failed=True)
        if len(draft.steps) == before:
            addresses = [row["pci_address"] for row in verdicts if "driver_probe_failed" in row["reasons"]]
            draft.block_for("driver_probe_failed", ", ".join(addresses))


def _plan_bindings(target: Target, draft: Draft, verdicts: list[Verdict]) -> None:
    """NICs that our record gives to user space and the kernel has: bound again for DPDK, else named."""
    for row in verdicts:
        if "userspace_binding_lost" in row["reasons"] and (target.goal != "dpdk" or row["mac"] is None):
            draft.block_for("userspace_binding_lost", row["mac"] or row["interface"] or "?")


def _plan_the_rest(target: Target, draft: Draft, verdicts: list[Verdict]) -> None:
    """No goal is met over an orphaned function, whatever the tables know of it."""
    running = target.running
    others = [kernel for kernel in target_kernels(target) if running is not None and kernel["release"] != running["release"]]
    for row in (row for row in verdicts if row["verdict"] == "orphaned"):
        if row["kind"] in target.kinds and running is not None and len(others) == len(target_kernels(target)) and others:
            # What runs is no target: the driver is in the kernels that are.
            _plan_boot(target, draft, running, others[0], {f"the driver of {row['pci_address']}": row["reasons"][0]})
        elif row["kind"] not in target.kinds or not (draft.steps or draft.blocked):
            draft.block_for(row["reasons"][0], row["pci_address"])


def _plan_rdma_devices(target: Target, draft: Draft) -> None:
    """Modules that are loaded and made no verbs device."""
    if target.goal == "ethernet" or target.running is None:
        return
    for nic in target.facts["nics"] or []:
        module = (RDMA_MODULES.get(nic["kind"]) or (None,))[0]
        if module and nic["vf"] and not nic["rdma"] and target.running["modules"][module]["loaded"]:
            draft.block(
                nic["interface"] or nic["mac"] or nic["vf"]["pci_address"],
                Obstacle(
                    "driver_probe_failed",
                    f"{module} is loaded but made no verbs device: read the kernel log; a newer kernel is the usual cure.",
                ),
            )


def _readiness(target: Target, kernel: Kernel) -> dict[str, bool | None]:
    """Whether a kernel has what each kind of NIC needs for the goal."""

    def state(module: str) -> bool | None:
        entry = kernel["modules"][module]
        if entry["loaded"]:
            return True
        if entry["state"] is None:
            return None
        broken = entry["origin"] == "inbox" and _compat.blocks(f"module:{module}", target.host(kernel), "inbox")
        return entry["state"] != "absent" and not entry["blacklisted"] and not broken

    ready: dict[str, bool | None] = {}
    of_kinds = {module for kind in ETHERNET_MODULES for module in target.modules_of(kind)}
    for kind in ETHERNET_MODULES:
        states = [state(module) for module in (*target.modules_of(kind), *(name for name in _needed(target) if name not in of_kinds))]
        ready[kind] = False if False in states else (None if None in states else True)
    return ready


def plan(
    facts: t.Any,
    goal: str,
    nics: t.Sequence[str] = (),
    policy: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """The plan for one host: goal, met, verdicts, ready, steps, unknown, blocked, advice.

    ``nics``: MACs of the NICs that user space is to have; only for the goal dpdk. The facts may carry ``packages``,
    the answers of package_candidates; what is still to be asked comes back under ``unknown``. Raises AccelnetError:
    bad_facts, bad_goal, bad_policy, bad_mac.
    """
    check_goal(goal)
    options = check_policy(policy)
    macs = check_macs(nics) or options["nics"]
    check_facts(facts, dict.fromkeys(_PARTS["ethernet"] + _PARTS[goal]))
    target = Target(facts, goal, {**options, "nics": macs})
    _check_nics(target)
    try:
        return _plan(target)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AccelnetError("bad_facts", f"the facts are not what nic_info returns: {error!r}") from error


def _check_nics(target: Target) -> None:
    """Every MAC that was given has to be that of a NIC, where NICs are known. Raises AccelnetError (bad_mac)."""
    if target.facts["nics"] is None:
        return
    known = [str(nic.get("mac")) for nic in target.facts["nics"] if isinstance(nic, t.Mapping)]
    for mac in target.policy["nics"]:
        if mac not in known:
            raise AccelnetError("bad_mac", f"nics: no NIC of this host has the MAC {mac}; it has: {', '.join(known) or 'none'}")


def _plan(target: Target) -> dict[str, t.Any]:
    draft = Draft()
    verdicts = assess(target.facts, policy={"nics": target.policy["nics"]})
    kernels = target_kernels(target)
    if not kernels:
        draft.block_for("facts_unknown", "target kernel")
    if target.has_hardware and not verdicts:
        draft.block_for("facts_unknown", "nics")
    for kernel in kernels:
        _plan_kernel(target, draft, kernel)
    for row in verdicts:
        _plan_verdict(target, draft, row)
    _plan_probe_failures(target, draft, verdicts)
    _plan_bindings(target, draft, verdicts)
    if target.goal != "ethernet" and target.kinds:
        _plan_rdma_devices(target, draft)
        plan_rdma_core(target, draft)
    if target.goal == "dpdk" and target.kinds:
        plan_dpdk(target, draft)
        plan_ports(target, draft)
    _plan_the_rest(target, draft, verdicts)
    steps = {step.as_dict()["id"]: step for step in sorted(draft.steps, key=lambda step: step.rank)}
    return {
        "goal": target.goal,
        "met": not steps and not draft.blocked,
        "verdicts": verdicts,
        "ready": {kernel["release"]: _readiness(target, kernel) for kernel in kernels},
        "steps": [step.as_dict() for step in steps.values()],
        "unknown": {"packages": sorted(draft.unknown_packages)},
        "blocked": [
            {"reason": obstacle.reason, "subject": ", ".join(subjects), "remedy": obstacle.remedy, "option": obstacle.option}
            for obstacle, subjects in draft.blocked.items()
        ],
        "advice": draft.advice,
    }
