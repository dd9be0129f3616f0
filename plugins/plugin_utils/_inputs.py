# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inputs of the decisions: goal, policy, MAC addresses and facts, checked before anything is decided.

Private to this collection.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._names import is_release, normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

Facts = t.Mapping[str, t.Any]

GOALS = ("ethernet", "rdma", "dpdk")
WAYS = ("inbox", "package", "kernel", "backport")
NIC_KINDS = ("mana", "mlx5", "mlx4")

# Option -> default. The type of the default is the type of the option, unless _CHOICES or _LISTS say more.
DEFAULTS: dict[str, t.Any] = {
    "driver_sources": ["inbox", "package"],
    "allow_untested_backport": False,
    "allow_reboot": False,
    "allow_source_builds": False,
    "allow_unblacklist": False,
    "module_signing": False,
    "mana_ib": "auto",
    "dpdk_mode": "netvsc",
    "target_kernels": "running",
    "target_nics": "observed",
    "minimum_versions": {},
    "nics": [],
}
_CHOICES = {
    "mana_ib": ("auto", "present", "absent"),
    "dpdk_mode": ("netvsc", "mana"),
}
# Lists of these; a text of the second column stands for a list that the host decides.
_LISTS: dict[str, tuple[tuple[str, ...] | None, tuple[str, ...]]] = {
    "driver_sources": (WAYS, ()),
    "target_kernels": (None, ("running", "default", "all")),
    "target_nics": (NIC_KINDS, ("observed",)),
}
_VERSION = re.compile(r"^\d{1,9}(\.\d{1,9}){0,4}\Z")
_VERSIONED = ("rdma_core", "dpdk")


def _bad(message: str) -> AccelnetError:
    return AccelnetError("bad_policy", message)


def _check(name: str, value: t.Any) -> t.Any:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise _bad(f"policy option {name} is {value!r}, must be one of: {', '.join(_CHOICES[name])}")
    elif name in _LISTS:
        allowed, words = _LISTS[name]
        if isinstance(value, str) and value in words:
            return value
        if isinstance(value, str) or not isinstance(value, t.Sequence):
            raise _bad(f"policy option {name} is {value!r}, must be a list" + (f" or one of: {', '.join(words)}" if words else ""))
        for entry in value:
            if (allowed and entry not in allowed) or not is_release(str(entry)):
                raise _bad(
                    f"policy option {name} has {entry!r}"
                    + (f", may have: {', '.join(allowed)}" if allowed else ", which is no kernel release")
                )
        return list(value)
    elif name == "minimum_versions":
        if not isinstance(value, t.Mapping) or set(value) - set(_VERSIONED):
            raise _bad(f"policy option {name} is {value!r}, must give versions of: {', '.join(_VERSIONED)}")
        for key, version in value.items():
            # A number would be wrong already: YAML reads 22.10 as 22.1.
            if not isinstance(version, str) or not _VERSION.match(version):
                raise _bad(f"policy option {name} has {key}: {version!r}, must be a version such as '22.11', quoted")
        return dict(value)
    elif name == "nics":
        return check_macs(value)
    elif not isinstance(value, bool):
        raise _bad(f"policy option {name} is {value!r}, must be true or false")
    return value


def check_policy(policy: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """The policy with all defaults filled in. Raises AccelnetError (bad_policy, bad_mac)."""
    if policy is not None and not isinstance(policy, t.Mapping):
        raise _bad(f"the policy is {policy!r}, must be a mapping of options")
    unknown = sorted(set(policy or {}) - set(DEFAULTS), key=str)
    if unknown:
        raise _bad(f"no such policy option: {', '.join(map(str, unknown))}; there are: {', '.join(DEFAULTS)}")
    return {name: _check(name, (policy or {}).get(name, default)) for name, default in DEFAULTS.items()}


def check_goal(goal: t.Any) -> str:
    """The goal. Raises AccelnetError (bad_goal)."""
    if goal not in GOALS:
        raise AccelnetError("bad_goal", f"the goal is {goal!r}, must be one of: {', '.join(GOALS)}")
    return str(goal)


def check_macs(macs: t.Any) -> list[str]:
    """MAC addresses in their normal form, each once. Raises AccelnetError (bad_mac)."""
    if macs is None:
        return []
    if isinstance(macs, str) or not isinstance(macs, t.Sequence):
        raise AccelnetError("bad_mac", f"nics: {macs!r} must be a list of MAC addresses")
    found: dict[str, None] = {}
    for entry in macs:
        mac = normal_mac(entry) if isinstance(entry, str) else None
        if mac is None:
            raise AccelnetError("bad_mac", f"nics: {entry!r} is not a MAC address; quote it, as YAML reads some as numbers")
        found.setdefault(mac)
    return list(found)


_PARTS = {"nics": "nics", "pci_functions": "nics", "vmbus_devices": "nics", "kernels": "kernels", "platform": "platform"}
_LIST_PARTS = ("nics", "pci_functions", "vmbus_devices", "kernels")


def check_facts(facts: t.Any, parts: t.Iterable[str] = ()) -> Facts:
    """The facts, when they are a result of nic_info that has ``parts``. Raises AccelnetError (bad_facts)."""
    if not isinstance(facts, t.Mapping):
        raise AccelnetError("bad_facts", f"the facts are a {type(facts).__name__}, must be the result of accelnet.mana.nic_info")
    if facts.get("schema_version") != 1:
        raise AccelnetError("bad_facts", f"the facts have schema_version {facts.get('schema_version')!r}, this collection reads 1")
    for part in parts:
        if part not in facts:
            raise AccelnetError("bad_facts", f"the facts lack {part}; nic_info gives it with the subset {_PARTS.get(part, part)}")
    for part in _LIST_PARTS:
        value = facts.get(part)
        if value is not None and (isinstance(value, str) or not isinstance(value, t.Sequence)):
            raise AccelnetError("bad_facts", f"the facts' {part} is not a list")
    return facts
