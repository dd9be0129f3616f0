# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts and measurements of a host -> for each NIC a chain of checks, of which the first that fails counts.

It issues no verdicts of its own, these come from assess. Pure. Private to this collection; users have the filter
accelnet.mana.verify.
"""

from __future__ import annotations

import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import RDMA_MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import Verdict, assess, running_kernel
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import check_goal, check_macs

Row = dict[str, t.Any]

# Check -> the reasons of a verdict that belong to it, in the order of the chain. After these come rdma and traffic.
_CHECKS: dict[str, tuple[str, ...]] = {
    "function": ("vf_not_offered", "vf_revoked", "pci_hyperv_missing", "unsupported_nic"),
    "driver": (
        "driver_missing",
        "driver_blacklisted",
        "driver_not_loaded",
        "driver_probe_failed",
        "driver_unexpected",
        "vf_function_unbound",
        "synthetic_unbound",
        "userspace_binding_lost",
        "userspace_unasked",
    ),
    "interface": ("interface_in_other_netns", "interface_down", "vf_down"),
    "paired": ("vf_not_enslaved",),
    "address": ("vf_has_address", "facts_unknown"),
}
# What servicing takes away for some minutes: it is waited for.
_AWAITED = ("vf_not_offered", "vf_revoked")
# Reasons that say that nothing can be told.
_UNKNOWN = (*_AWAITED, "facts_unknown", "interface_in_other_netns")
_TRAFFIC_REASONS = ("traffic_on_synthetic", "traffic_not_proven")


def _end(row: Row, check: str, reason: str, state: str, message: str | None = None) -> Row:
    return {**row, "state": state, "check": check, "reason": reason, "message": message or REASONS[reason].meaning}


def _row(verdict: t.Mapping[str, t.Any]) -> Row:
    keys = ("interface", "mac", "pci_address", "verdict", "reasons", "proven")
    passed = {"state": "passed", "check": None, "reason": None, "message": None}
    return {**{key: verdict[key] for key in keys}, **passed}


def _check_state(row: Row, named: bool) -> Row:
    """The checks that the verdict answers."""
    if row["verdict"] == "unsupported" and not named:
        return row
    reasons = [reason for reason in row["reasons"] if reason not in _TRAFFIC_REASONS]
    for check, belonging in _CHECKS.items():
        for reason in reasons:
            if reason in belonging:
                # An interface that is down is used by nobody: no failure unless somebody asks for this one.
                unknown = reason in _UNKNOWN or (reason == "interface_down" and not named)
                return _end(row, check, reason, "unknown" if unknown else "failed")
    bad = [reason for reason in reasons if reason != "loaded_differs_from_installed"]
    return _end(row, "driver", bad[0], "failed") if bad else row


def _why_no_device(facts: t.Mapping[str, t.Any], kind: str) -> str:
    """Why a NIC of this kind has no RDMA device."""
    kernel = running_kernel(facts)
    (module,) = RDMA_MODULES[kind]
    state = kernel["modules"].get(module) if kernel else None
    if state is None:
        return "facts_unknown"
    if state["loaded"]:
        return "driver_probe_failed"
    if state["state"] == "absent":
        return "mana_ib_missing" if module == "mana_ib" else "rdma_driver_missing"
    if state["blacklisted"]:
        return "driver_blacklisted"
    return "facts_unknown" if state["state"] is None else "driver_not_loaded"


def _check_rdma(row: Row, facts: t.Mapping[str, t.Any], nic: t.Mapping[str, t.Any] | None) -> Row:
    """Whether a NIC with a VF has an RDMA device."""
    if nic is None or nic["kind"] not in RDMA_MODULES or nic["vf"] is None or nic["rdma"] is not None:
        return row
    reason = _why_no_device(facts, nic["kind"])
    return _end(row, "rdma", reason, "unknown" if reason in _UNKNOWN else "failed")


def _check_traffic(row: Row, measurements: t.Mapping[str, t.Mapping[str, t.Any]]) -> Row:
    """What the measured window says of a NIC."""
    if row["proven"] is True:
        return row
    if row["proven"] is False:
        return _end(row, "traffic", "traffic_on_synthetic", "failed")
    measured = measurements.get(row["mac"] or "") or {}
    reason = measured.get("reason") or "traffic_not_proven"
    return _end(row, "traffic", reason if reason in REASONS else "traffic_not_proven", "unknown", measured.get("message"))


def _check_forwarding(row: Row, forwarded: t.Mapping[str, t.Any]) -> Row:
    """What dpdk-testpmd did with a NIC. Packets count, and not that it ended well.

    A port of net_netvsc may send on its synthetic half: those that its virtual function had are counted in ``vf``.
    """
    port: t.Mapping[str, t.Any] = next((port for port in forwarded.get("ports") or [] if port.get("mac") == row["mac"]), {})
    packets = port.get("tx_packets", 0) + port.get("rx_packets", 0)
    by_vf = sum((port.get("vf") or {}).get(f"vf_{direction}_good_packets", 0) for direction in ("tx", "rx"))
    if packets > 0 and port.get("driver") == "net_netvsc" and by_vf < packets * _compat.limit("vf_share"):
        return _end({**row, "proven": False}, "forwarding", "traffic_on_synthetic", "failed")
    if packets > 0:
        return {**row, "proven": True}
    reason = forwarded.get("reason")
    message = forwarded.get("msg") or "dpdk-testpmd forwarded nothing."
    return _end(row, "forwarding", reason if reason in REASONS else "testpmd_failed", "failed", message)


def _missing(mac: str | None, functions: t.Sequence[Row]) -> Row:
    """The row of a NIC that does not show at all: perhaps it is behind a function that shows no interface."""
    row = _row({"interface": None, "mac": mac, "pci_address": None, "verdict": None, "reasons": [], "proven": None})
    broken = next((function for function in functions if function["state"] != "passed"), None)
    if broken is None:
        return _end(row, "function", "vf_not_offered", "unknown")
    return {**row, **{key: broken[key] for key in ("pci_address", "state", "check", "reason", "message")}}


def _chosen(verdicts: t.Sequence[Verdict], macs: t.Sequence[str]) -> list[Row]:
    """The rows that count, with what the state of the host says of them."""
    nics = [verdict for verdict in verdicts if verdict["interface"] or verdict["mac"]]
    functions = [_check_state(_row(verdict), True) for verdict in verdicts if verdict not in nics]
    if not macs:
        rows = [_check_state(_row(verdict), False) for verdict in nics if verdict["verdict"] != "unsupported"] + functions
        return rows or [_missing(None, [])]
    by_mac = {verdict["mac"]: _check_state(_row(verdict), True) for verdict in nics}
    return [by_mac.get(mac) or _missing(mac, functions) for mac in macs]


def _summary(row: Row) -> str:
    name = row["interface"] or row["mac"] or row["pci_address"] or "no NIC of Azure"
    if row["state"] == "passed":
        return f"{name}: passed" + (", proven by traffic" if row["proven"] else "")
    return f"{name}: {row['state']} at {row['check']}: {row['reason']}: {row['message']} {REASONS[row['reason']].remedy}"


def _measured(measured: t.Any) -> tuple[list[t.Any], dict[str, t.Mapping[str, t.Any]], bool]:
    """(samples, measurements by MAC, whether there are any). Raises AccelnetError (bad_facts)."""
    if not measured:
        return [], {}, False
    rows = measured.get("measurements", []) if isinstance(measured, t.Mapping) else None
    if isinstance(rows, str) or not isinstance(rows, t.Sequence) or not all(isinstance(row, t.Mapping) for row in rows):
        raise AccelnetError("bad_facts", "measured is not the result of accelnet.mana.vf_check")
    return list(measured.get("samples", [])), {str(row.get("mac")): row for row in rows}, bool(rows)


def verify(
    facts: t.Any,
    goal: str = "ethernet",
    macs: t.Sequence[str] = (),
    measured: t.Mapping[str, t.Any] | None = None,
    policy: t.Mapping[str, t.Any] | None = None,
    forwarded: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    """Whether the NICs of a host are what the goal asks for: state, waiting, nics, measurable, forwardable, samples, summary.

    ``macs``: the NICs that count; none means all of Azure's. ``measured``: the result of vf_check. ``forwarded``: that of testpmd, also of
    a run that failed. Raises AccelnetError: bad_facts, bad_goal, bad_mac, bad_policy.
    """
    check_goal(goal)
    samples, measurements, with_traffic = _measured(measured)
    verdicts = assess(facts, samples, policy)
    rows = _chosen(verdicts, check_macs(macs)) if facts.get("nics") is not None else []
    by_mac = {nic["mac"]: nic for nic in facts.get("nics") or []}
    kernels = [mac for mac, nic in by_mac.items() if nic["use"] == "kernel" and nic["vf"] is not None]
    if goal != "ethernet":
        rows = [_check_rdma(row, facts, by_mac.get(row["mac"])) if row["state"] == "passed" else row for row in rows]
    measurable = [row["mac"] for row in rows if row["state"] == "passed" and row["mac"] in kernels]
    userspace = [mac for mac, nic in by_mac.items() if nic["use"] == "userspace" and nic["vf"] is not None]
    forwardable = [row["mac"] for row in rows if row["state"] == "passed" and row["mac"] in userspace]
    if with_traffic:
        rows = [_check_traffic(row, measurements) if row["mac"] in measurable else row for row in rows]
    if forwarded:
        rows = [_check_forwarding(row, forwarded) if row["mac"] in forwardable else row for row in rows]
    states = {row["state"] for row in rows} or {"unknown"}
    return {
        "state": next((state for state in ("failed", "unknown") if state in states), "verified"),
        "waiting": any(row["state"] == "unknown" and row["reason"] in _AWAITED for row in rows),
        "nics": rows,
        "measurable": measurable,
        "forwardable": forwardable,
        "samples": samples,
        "summary": [_summary(row) for row in rows] or ["the hardware of this host is not known"],
    }
