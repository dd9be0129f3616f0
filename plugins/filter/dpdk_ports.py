# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter accelnet.mana.dpdk_ports: which NICs may be given to user space."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._ports import decide_ports


def dpdk_ports_filter(
    facts: t.Any,
    macs: t.Sequence[str] = (),
    users: t.Mapping[str, t.Any] | None = None,
    mode: str = "netvsc",
    allow: t.Sequence[str] = (),
    connection: str = "ssh",
) -> dict[str, t.Any]:
    try:
        return decide_ports(facts, users, macs, mode, allow, connection)
    except AccelnetError as error:
        raise AnsibleFilterError(f"accelnet.mana.dpdk_ports: {error.reason}: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"dpdk_ports": dpdk_ports_filter}
