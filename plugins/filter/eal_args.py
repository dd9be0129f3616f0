# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter accelnet.mana.eal_args: the EAL arguments of DPDK for NICs by MAC."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.module_utils import _eal
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import check_facts, check_macs


def eal_args_filter(facts: t.Any, macs: t.Sequence[str] = (), mode: str = "netvsc") -> list[str]:
    try:
        nics = check_facts(facts, ("nics",))["nics"] or []
        wanted = check_macs(macs)
        missing = sorted(set(wanted) - {nic["mac"] for nic in nics})
        if missing:
            raise AccelnetError("bad_mac", f"no NIC of this host has the MAC {', '.join(missing)}")
        if mode not in ("netvsc", "mana"):
            raise AccelnetError("bad_policy", f"the mode is {mode!r}, must be netvsc or mana")
        return _eal.eal_args(nics, wanted, mode)
    except AccelnetError as error:
        raise AnsibleFilterError(f"accelnet.mana.eal_args: {error.reason}: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"eal_args": eal_args_filter}
