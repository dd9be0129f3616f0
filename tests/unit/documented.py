# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of nic_info says that it returns."""

from __future__ import annotations

import re
from typing import Any

import yaml
from ansible_collections.accelnet.mana.plugins.modules import nic_info

# Returned with failures only, so not by collect()
FAILURE = {"reason"}
RETURN: dict[str, Any] = yaml.safe_load(nic_info.RETURN)


def described(entry: dict[str, Any]) -> set[str]:
    """The keys of a dictionary: those below ``contains``, else the words in C() of its description."""
    if "contains" in entry:
        return set(entry["contains"])
    text = entry["description"] if isinstance(entry["description"], str) else " ".join(entry["description"])
    return set(re.findall(r"C\((\w+)\)", text))


TOP = set(RETURN) - FAILURE
NIC = described(RETURN["nics"])
KERNEL = described(RETURN["kernels"])
# Nested dictionaries: where they are -> their keys
NESTED = {
    **{key: described(RETURN[key]) for key in ("pci_functions", "vmbus_devices", "boot", "platform", "rdma_core", "dpdk", "hugepages")},
    **{"nics." + key: described(RETURN["nics"]["contains"][key]) for key in ("synthetic", "vf", "rdma", "statistics")},
    "kernels.modules": described(RETURN["kernels"]["contains"]["modules"]),
    "dpdk.installations": described(RETURN["dpdk"]["contains"]["installations"]),
}


def instances(facts: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """All dictionaries of the facts that are at a place of :data:`NESTED`."""
    first, _dot, second = where.partition(".")
    values = facts.get(first)
    values = values if isinstance(values, list) else [values]
    if second == "modules":
        values = [module for value in values for module in value["modules"].values()]
    elif second:
        values = [value[second] for value in values if value]
        values = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return [value for value in values if value is not None]


def check(facts: dict[str, Any]) -> None:
    """That facts have the documented keys, each and no other."""
    assert set(facts) == TOP
    for nic in facts["nics"] or []:
        assert set(nic) == NIC
    for kernel in facts["kernels"]:
        assert set(kernel) == KERNEL
    for where, keys in NESTED.items():
        for value in instances(facts, where):
            assert set(value) == keys, where
