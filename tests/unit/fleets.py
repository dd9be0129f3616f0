# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports to look at: fleets of any size that have everything a page must show, and names that mean harm."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, VERDICTS

HOSTILE_NAMES = (
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<svg onload=alert(1)>",
    "web\u202egnp.exe",
    "db\u2066\u200b\u2028twin",
    "n" * 300,
    "\U0001f469\u200d\U0001f680 caf\u00e9 \u6771\u4eac",
    "\u05e9\u05e8\u05ea-\u05d0",
    'it\'s "quoted" & `ticked` \\ {{ x }} @data@ @script@',
    "<!--<script>",
    "]]>&lt;/script&gt;",
    "__proto__",
    "\ud800 half",
    "",
)
SYSTEMS = (
    ("debian", "12", "6.1.0-50-cloud-amd64", "x86_64"),
    ("debian", "13", "6.12.48+deb13-cloud-arm64", "aarch64"),
    ("ubuntu", "22.04", "6.8.0-1052-azure", "x86_64"),
    ("ubuntu", "24.04", "6.14.0-1017-azure", "x86_64"),
    ("rhel", "8.10", "4.18.0-553.84.1.el8_10.x86_64", "x86_64"),
    ("rhel", "9.6", "5.14.0-570.58.1.el9_6.x86_64", "x86_64"),
    ("almalinux", "9.2", "5.14.0-284.11.1.el9_2.aarch64", "aarch64"),
    ("ol", "8.10", "5.15.0-313.189.5.3.el8uek.x86_64", "x86_64"),
    ("sles", "15.6", "6.4.0-150600.8.48-azure", "x86_64"),
    ("azurelinux", "3.0", "6.6.112.1-2.azl3", "x86_64"),
    ("flatcar", "4230.2.4", "6.6.110-flatcar", "x86_64"),
    ("talos", "1.11.5", "6.12.57-talos", "x86_64"),
)


def _nic(number: int, index: int, kind: str, verdict: str, reasons: t.Sequence[str]) -> dict[str, t.Any]:
    function = verdict == "orphaned"
    return {
        "interface": None if function or verdict == "userspace" else f"eth{index}",
        "mac": None if function else f"00:22:48:{number >> 8 & 255:02x}:{number & 255:02x}:{index:02x}",
        "pci_address": None if verdict == "synthetic" else f"{0x7870 + index:04x}:00:00.0",
        "kind": kind,
        "verdict": verdict,
        "reasons": list(reasons),
        "proven": True if verdict == "accelerated" and number % 9 == 0 else None,
    }


def _step(role: str, action: str, kernel: str | None, reason: str, why: str, **more: t.Any) -> dict[str, t.Any]:
    step = {"id": f"{role}.{action}.{kernel or role}", "role": role, "action": action, "kernel": kernel, "needs": [], "provides": []}
    return {**step, "reasons": [reason], "why": why, "packages": [], "version": None, "reboot": False, **more}


def _block(reason: str, subject: str, option: str | None = None) -> dict[str, t.Any]:
    return {"reason": reason, "subject": subject, "remedy": REASONS[reason].remedy, "option": option}


def _host(number: int, name: str) -> dict[str, t.Any]:
    distribution, release, kernel, architecture = SYSTEMS[number % len(SYSTEMS)]
    row: dict[str, t.Any] = {
        "host": name,
        "status": "ok",
        "verdict": "accelerated",
        "met": True,
        "distribution": distribution,
        "release": release,
    }
    row.update(
        kernel=kernel,
        architecture=architecture,
        kinds=["mana"],
        reasons=[],
        steps=[],
        blocked=[],
        unknown=[],
        warnings=[],
        advice=[],
        error=None,
    )
    row["nics"] = [_nic(number, 0, "mana", "accelerated", [])]
    kind = number % 20
    if kind == 1:
        row["nics"] = [
            _nic(number, 0, "synthetic", "synthetic", ["vf_function_unbound"]),
            _nic(number, 1, "mana", "orphaned", ["driver_missing"]),
        ]
        row.update(verdict="orphaned", met=False)
        row["steps"] = [
            _step(
                "nic_driver",
                "package",
                kernel,
                "driver_missing",
                f"Kernel {kernel} lacks mana. The package carries it.",
                packages=["linux-modules-extra-azure"],
            ),
            _step("nic_driver", "load", kernel, "driver_not_loaded", f"mana is installed for {kernel} but not loaded."),
        ]
        row["unknown"] = ["linux-modules-extra-azure", "linux-image-azure"]
    elif kind == 3:
        row["nics"] = [
            _nic(number, 0, "mlx5", "degraded", ["vf_has_address", "vf_not_enslaved"]),
            _nic(number, 1, "mlx5", "accelerated", []),
        ]
        row.update(verdict="degraded", met=False, kinds=["mlx5"])
        row["steps"] = [
            _step("vf_unmanaged", "configure", None, "vf_has_address", "The virtual function of eth0 is not left to hv_netvsc alone.")
        ]
    elif kind == 5:
        row["nics"] = [_nic(number, 0, "synthetic", "synthetic", ["vf_not_offered"])]
        row.update(verdict="synthetic", met=False, kinds=["synthetic"], blocked=[_block("vf_not_offered", "eth0")])
    elif kind == 7:
        row["nics"] = [_nic(number, 0, "mana", "accelerated", []), _nic(number, 1, "mana", "userspace", [])]
        row.update(verdict="userspace", advice=[_block("dpdk_vf_readd_unreliable", "dpdk 24.11.4")])
    elif kind == 9:
        row.update(met=False, blocked=[_block("secure_boot_refuses_unsigned", f"module:mana_ib@{kernel}", "module_signing")])
        row["blocked"].append(_block("not_allowed_by_policy", f"module:mana_ib@{kernel}", "allow_reboot"))
        row["steps"] = [
            _step(
                "nic_driver",
                "kernel",
                kernel,
                "mana_ib_missing",
                f"Kernel {kernel} lacks mana_ib. The backports kernel has it.",
                packages=["linux-image-cloud-amd64"],
                reboot=True,
            )
        ]
    elif kind == 11:
        row.update(
            status="unreachable", verdict=None, met=None, distribution=None, release=None, kernel=None, architecture=None, kinds=[], nics=[]
        )
        row["error"] = {"reason": "unreachable", "message": "Failed to connect to the host via ssh: Connection timed out"}
    elif kind == 13:
        row.update(status="failed", verdict=None, met=None, kinds=[], nics=[])
        row["error"] = {"reason": "nic_info_failed", "message": "/usr/bin/python3: not found\nexit status 127"}
    elif kind == 15:
        row.update(
            status="not_run", verdict=None, met=None, distribution=None, release=None, kernel=None, architecture=None, kinds=[], nics=[]
        )
    elif kind == 17:
        row["nics"] = [_nic(number, 0, "other", "unsupported", ["unsupported_nic"])]
        row.update(verdict="unsupported", met=False, kinds=["other"], blocked=[_block("unsupported_nic", "ens3")])
        row["warnings"] = ["/sys/kernel/security/lockdown: Permission denied", "modinfo is not installed: no versions of modules"]
    elif kind == 19:
        row["nics"] = [
            _nic(number, index, "mana", "degraded" if index == 2 else "accelerated", ["vf_down"] if index == 2 else [])
            for index in range(8)
        ]
        row.update(verdict="degraded", met=False, blocked=[_block("vf_down", "eth2")])
    elif kind in (2, 12):
        row["nics"][0]["reasons"] = ["loaded_differs_from_installed"]
    elif kind == 14:
        row.update(verdict=None, met=True, kinds=[], nics=[])
    codes = [code for nic in row["nics"] for code in nic["reasons"]] + [code for step in row["steps"] for code in step["reasons"]]
    codes += [item["reason"] for item in row["blocked"]]
    row["reasons"] = list(dict.fromkeys(codes))
    return row


def fleet(size: int, hostile: bool = False, **run: t.Any) -> dict[str, t.Any]:
    """A report of so many hosts, the same one every time."""
    order = random.Random(7)
    listed = list(HOSTILE_NAMES) if hostile else []
    listed += [f"{order.choice(('web', 'db', 'app', 'cache', 'edge'))}{number}.westeurope.example.net" for number in range(size)]
    hosts = [_host(number, name) for number, name in enumerate(listed[:size])]
    counts: dict[str, t.Any] = {"verdict": {verdict: sum(row["verdict"] == verdict for row in hosts) for verdict in VERDICTS}}
    codes = {code for row in hosts for code in row["reasons"] + [item["reason"] for item in row["advice"]]} | {"nic_info_failed"}
    reasons = {code: {"meaning": REASONS[code].meaning, "remedy": REASONS[code].remedy} for code in sorted(codes)}
    report = {"schema_version": 1, "run_id": "20261123T040506Z", "time": "2026-11-23T04:05:06Z", "finished": "2026-11-23T04:07:31Z"}
    return {**report, "goal": "rdma", "counts": counts, "hosts": hosts, "reasons": reasons, **run}
