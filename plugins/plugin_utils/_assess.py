# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only code that issues verdicts: facts of one host -> one verdict per NIC and per function without NIC.

Pure. Private to this collection; users have the filter accelnet.mana.assess.
"""

from __future__ import annotations

import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._names import normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import DRIVER_KINDS, ETHERNET_MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import Facts, check_facts, check_policy

Verdict = dict[str, t.Any]


def running_kernel(facts: Facts) -> dict[str, t.Any] | None:
    """The kernel that runs, or None when that is not known."""
    return next((kernel for kernel in facts.get("kernels") or [] if kernel["running"]), None)


def compat_host(facts: Facts, release: str | None) -> _compat.Host:
    """What the compatibility tables are asked with, for one kernel release."""
    platform = facts.get("platform") or {}
    return _compat.Host(
        distribution=platform.get("distribution"),
        like=tuple(platform.get("distribution_like") or ()),
        release=platform.get("release"),
        architecture=platform.get("architecture"),
        kernel=release,
    )


def lacks_by_flavour(facts: Facts, module: str, release: str | None) -> bool:
    """Whether the tables know that this kernel is built without the module."""
    blocks = _compat.blocks(f"module:{module}", compat_host(facts, release), "package")
    return any(block.reason == "kernel_flavour_lacks_driver" for block in blocks)


def _orphan_reasons(facts: Facts, function: t.Mapping[str, t.Any]) -> list[str]:
    """Why a function has no driver."""
    kernel = running_kernel(facts)
    module = function["expected_module"]
    if kernel is None or module is None:
        return ["facts_unknown" if kernel is None else "driver_missing"]
    state = kernel["modules"].get(module)
    if state is None or state["state"] == "absent":
        lacks = lacks_by_flavour(facts, module, kernel["release"])
        return ["driver_missing"] + (["kernel_flavour_lacks_driver"] if lacks else [])
    if state["loaded"]:
        return ["driver_probe_failed"]
    if state["blacklisted"]:
        return ["driver_blacklisted"]
    return ["facts_unknown" if state["state"] is None else "driver_not_loaded"]


def _why_no_interface(facts: Facts, function: t.Mapping[str, t.Any]) -> str:
    """Why a function with its driver shows no interface: mlx4 makes one only with a second module."""
    kernel = running_kernel(facts)
    modules = [kernel["modules"][name] for name in ETHERNET_MODULES[function["kind"]]] if kernel else []
    if any(module["state"] == "absent" for module in modules):
        return "driver_missing"
    return "driver_not_loaded" if any(module["loaded"] is False for module in modules) else "interface_in_other_netns"


def _function_verdict(facts: Facts, function: t.Mapping[str, t.Any]) -> Verdict | None:
    """The verdict on a function that shows no interface, or None where its NIC speaks for it."""
    if function["driver"] is None:
        verdict, reasons = "orphaned", _orphan_reasons(facts, function)
    elif function["interfaces"] or function["kind"] == "other":
        return None
    elif function["driver"] not in DRIVER_KINDS:
        verdict, reasons = "degraded", ["driver_unexpected"]
    else:
        verdict, reasons = "degraded", [_why_no_interface(facts, function)]
    row = {"interface": None, "mac": None, "pci_address": function["address"], "kind": function["kind"]}
    return {**row, "verdict": verdict, "reasons": reasons, "proven": None}


def _without_vf(facts: Facts, nic: t.Mapping[str, t.Any], functions: list[Verdict]) -> list[str]:
    """Why a synthetic interface has no VF."""
    seen = {reason for function in functions for reason in function["reasons"]}
    if any(function["verdict"] == "orphaned" for function in functions):
        return ["vf_function_unbound"]
    for reason in ("interface_in_other_netns", "driver_unexpected"):
        if reason in seen:
            return [reason]
    if any(device["class"] == "vpci" and device["driver"] is None for device in facts.get("vmbus_devices") or []):
        return ["pci_hyperv_missing"]
    counted = [nic["statistics"][key] or 0 for key in ("vf_rx_bytes", "vf_tx_bytes")]
    return ["vf_revoked" if any(counted) else "vf_not_offered"]


_DOWN = ("down", "lowerlayerdown", "notpresent")


def _is_link_local(address: str) -> bool:
    return address.lower().startswith("fe80:")


def differs_in_memory(module: t.Mapping[str, t.Any] | None) -> bool:
    """Whether the module in memory is another build than the installed one."""
    # Many distributions build without srcversion: then it is missing on both sides. With vermagic the file was read.
    known = module and module["vermagic"] and module["loaded"] and module["state"] == "module"
    return bool(module and known and module["srcversion"] != module["loaded_srcversion"])


def _differs(facts: Facts, nic: t.Mapping[str, t.Any]) -> bool:
    """Whether the VF's driver in memory is another build than the installed one."""
    kernel = running_kernel(facts)
    return differs_in_memory(kernel["modules"].get(nic["vf"]["driver"]) if kernel else None)


def _vf_faults(nic: t.Mapping[str, t.Any]) -> list[str]:
    vf = nic["vf"]
    faults = []
    if nic["synthetic"] and not nic["paired"]:
        faults.append("vf_not_enslaved")
    if vf["operstate"] in _DOWN:
        # Without a synthetic half the function is the interface, and nothing falls back.
        alone = nic["synthetic"] is None or nic["synthetic"].get("operstate") in _DOWN
        faults.append("interface_down" if alone else "vf_down")
    if nic["synthetic"] and any(not _is_link_local(address) for address in vf["addresses"] or []):
        faults.append("vf_has_address")
    return faults


def _proof(nic: t.Mapping[str, t.Any], samples: t.Sequence[t.Mapping[str, t.Any]]) -> tuple[bool | None, list[str]]:
    """(proven, reasons) by the bytes that a measured window saw; hv_netvsc's own counters include the VF's."""
    sample = next((s for s in samples if nic["mac"] and normal_mac(str(s["mac"])) == nic["mac"]), None)
    if sample is None:
        return None, []
    enough = [sample[key] >= _compat.limit("vf_min_bytes") for key in ("rx_bytes", "tx_bytes")]
    shares = [sample[f"vf_{key}"] / sample[key] if sample[key] else 0.0 for key in ("rx_bytes", "tx_bytes")]
    good = [share >= _compat.limit("vf_share") for share in shares]
    if any(e and not g for e, g in zip(enough, good)):
        return False, ["traffic_on_synthetic"]
    return (True, []) if all(enough) else (None, ["traffic_not_proven"])


def _nic_verdict(
    facts: Facts,
    nic: t.Mapping[str, t.Any],
    functions: list[Verdict],
    samples: t.Sequence[t.Mapping[str, t.Any]],
    asked: t.Collection[str],
) -> Verdict:
    vf = nic["vf"]
    proven: bool | None = None
    reasons: list[str] = []
    if nic["use"] == "userspace":
        unasked = not nic.get("handed_over") and nic["mac"] not in asked
        verdict, reasons = ("degraded", ["userspace_unasked"]) if unasked else ("userspace", [])
    elif nic.get("handed_over"):
        verdict, reasons = "degraded", ["userspace_binding_lost"]
    elif nic["synthetic"] and nic["synthetic"]["interface"] is None:
        verdict, reasons = "degraded", ["synthetic_unbound"]
    elif vf is None:
        verdict, reasons = ("synthetic", _without_vf(facts, nic, functions)) if nic["synthetic"] else ("unsupported", ["unsupported_nic"])
    else:
        reasons = _vf_faults(nic)
        proven, proof_reasons = _proof(nic, samples)
        if proven is False:
            reasons += proof_reasons
        verdict = "degraded" if reasons else "accelerated"
        if verdict == "accelerated":
            reasons = proof_reasons + (["loaded_differs_from_installed"] if _differs(facts, nic) else [])
            # Without the kernel's answers nobody knows whether the VF has an address of its own.
            reasons += ["facts_unknown"] if nic["synthetic"] and vf["addresses"] is None else []
    row = {"interface": nic["interface"], "mac": nic["mac"], "pci_address": vf["pci_address"] if vf else None}
    return {**row, "kind": nic["kind"], "verdict": verdict, "reasons": reasons, "proven": proven}


_SAMPLE_KEYS = ("rx_bytes", "tx_bytes", "vf_rx_bytes", "vf_tx_bytes")


def _check_samples(samples: t.Any) -> t.Sequence[t.Mapping[str, t.Any]]:
    if isinstance(samples, str) or not isinstance(samples, t.Sequence):
        raise AccelnetError("bad_facts", "the samples are not a list")
    for sample in samples:
        if not isinstance(sample, t.Mapping) or "mac" not in sample or not all(isinstance(sample.get(key), int) for key in _SAMPLE_KEYS):
            raise AccelnetError("bad_facts", f"a sample needs mac and, as integers, {', '.join(_SAMPLE_KEYS)}: {sample!r}")
    return samples


def assess(
    facts: t.Any,
    samples: t.Sequence[t.Mapping[str, t.Any]] = (),
    policy: t.Mapping[str, t.Any] | None = None,
) -> list[Verdict]:
    """One verdict per NIC, then one per function that no NIC shows; empty where the hardware is not known.

    ``samples``: per MAC the bytes of a measured window. Of the ``policy`` only ``nics`` counts here: the MACs that
    user space is to have. Raises AccelnetError: bad_facts, bad_policy, bad_mac.
    """
    check_facts(facts, ("nics", "pci_functions", "vmbus_devices"))
    asked = check_policy(policy)["nics"]
    measured = _check_samples(samples)
    try:
        functions = [row for row in (_function_verdict(facts, function) for function in facts["pci_functions"] or []) if row]
        return [_nic_verdict(facts, nic, functions, measured, asked) for nic in facts["nics"] or []] + functions
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AccelnetError("bad_facts", f"the facts are not what nic_info returns: {error!r}") from error
