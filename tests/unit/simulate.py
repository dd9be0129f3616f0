# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the facts of a host would be after the steps of a plan: the meaning of ``provides``, spelled out."""

from __future__ import annotations

import copy
import typing as t

Facts = dict[str, t.Any]


def _kernel(facts: Facts, release: str) -> dict[str, t.Any] | None:
    return next((kernel for kernel in facts["kernels"] if kernel["release"] == release), None)


def _running(facts: Facts) -> dict[str, t.Any]:
    return next(kernel for kernel in facts["kernels"] if kernel["running"])


def _add_kernel(facts: Facts, release: str, provided: list[str]) -> None:
    """A new kernel has exactly the modules that the step provides; it boots next, and runs where anything ran."""
    template = copy.deepcopy(facts["kernels"][0])
    live = any(kernel["running"] for kernel in facts["kernels"])
    for kernel in facts["kernels"]:
        kernel["default_boot"] = False
        kernel["running"] = False if live else kernel["running"]
    old = facts["kernels"][0]["modules"]
    for name, module in template["modules"].items():
        inbox = name in provided or old[name]["state"] == "builtin"
        module.update(state="module" if inbox else "absent", loaded=live and inbox, loaded_srcversion=None, srcversion=None)
        module.update(origin="inbox" if inbox else None, path=f"/lib/modules/{release}/{name}.ko" if inbox else None)
    template.update(release=release, running=True if live else None, default_boot=True, headers=None)
    facts["kernels"].append(template)
    if live:
        _bind(facts)


def _bind(facts: Facts) -> None:
    """Functions bind to the drivers that are loaded now, and their synthetic interfaces get their VFs."""
    running = _running(facts)
    for function in facts["pci_functions"] or []:
        module = running["modules"].get(function["expected_module"] or "")
        if function["driver"] is None and module and module["loaded"]:
            function["driver"] = function["expected_module"]
            for nic in facts["nics"]:
                if nic["synthetic"] and nic["vf"] is None and nic["use"] == "kernel":
                    name = f"vf{len(function['interfaces'])}"
                    function["interfaces"].append(name)
                    nic.update(kind=function["kind"], paired=True)
                    nic["vf"] = {
                        "interface": name,
                        "pci_address": function["address"],
                        "driver": function["driver"],
                        "dev_port": 0,
                        "operstate": "up",
                        "addresses": [],
                    }
    ib = {"mana": "mana_ib", "mlx5": "mlx5_ib", "mlx4": "mlx4_ib"}
    for nic in facts["nics"] or []:
        module = ib.get(nic["kind"])
        if module and nic["vf"] and running["modules"][module]["loaded"]:
            nic["rdma"] = {"device": f"{module}0", "port": 1, "raw_packet": True}


def apply_steps(facts: Facts, steps: list[dict[str, t.Any]]) -> Facts:
    """A copy of the facts in which everything that the steps provide is there."""
    after = copy.deepcopy(facts)
    for step in steps:
        for provided in step["provides"]:
            _provide(after, step, provided)
    return after


def _boot(facts: Facts, release: str) -> None:
    """Another installed kernel runs now, with everything loaded that it has."""
    for kernel in facts["kernels"]:
        kernel["running"] = kernel["release"] == release
        for module in kernel["modules"].values():
            module["loaded"] = kernel["running"] and module["state"] in ("module", "builtin") and not module["blacklisted"]
            module["loaded_srcversion"] = module["srcversion"] if module["loaded"] else None
    _bind(facts)


def _provide(facts: Facts, step: dict[str, t.Any], provided: str) -> None:
    what, _colon, subject = provided.partition(":")
    if what == "module":
        module, _at, release = subject.partition("@")
        kernel = _kernel(facts, release)
        assert kernel is not None, f"{step['id']} provides {provided} for a kernel that is not there"
        kernel["modules"][module].update(state="module", origin="updates", path=f"/lib/modules/{release}/{module}.ko")
    elif what == "running":
        _boot(facts, subject)
    elif what == "kernel":
        _add_kernel(facts, subject, [p.split(":")[1].split("@")[0] for p in step["provides"] if p.startswith("module:")])
    elif what == "loaded":
        module = _running(facts)["modules"][subject]
        module.update(loaded=True, loaded_srcversion=module["srcversion"])
        _bind(facts)
    elif what == "unblacklisted":
        for kernel in facts["kernels"]:
            kernel["modules"][subject].update(blacklisted=False, blacklisted_by=[])
    elif what == "libmana":
        facts["rdma_core"].update(version="9999.0", libmana="/usr/lib/libmana.so.1")
    elif what == "rdma_core":
        facts["rdma_core"]["version"] = "9999.0"
    elif what == "pmd":
        facts["dpdk"].pop("installations", None)
        facts["dpdk"]["pmds"] = sorted({*facts["dpdk"]["pmds"], subject})
        facts["dpdk"]["version"] = "9999.11"
    elif what == "testpmd":
        facts["dpdk"].pop("installations", None)
        facts["dpdk"]["testpmd"] = "/usr/bin/dpdk-testpmd"
    elif what == "hugepages":
        facts["hugepages"] = [{"size_kb": 2048, "node": 0, "total": 512, "free": 512}]
    elif what == "userspace":
        nic = next(nic for nic in facts["nics"] if nic["mac"] == subject)
        nic.update(use="userspace", handed_over=True, interface=None)
    elif what == "vf_unmanaged":
        nic = next(nic for nic in facts["nics"] if nic["mac"] == subject)
        nic["paired"] = True
        nic["vf"]["addresses"] = []
    else:
        raise AssertionError(f"{step['id']} provides {provided!r}, whose meaning is not defined")
