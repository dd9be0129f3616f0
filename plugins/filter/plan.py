# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter accelnet.mana.plan: what a host needs for a goal."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan


def plan_filter(
    facts: t.Any,
    goal: str = "ethernet",
    nics: t.Sequence[str] = (),
    policy: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    try:
        return plan(facts, goal, nics, policy)
    except AccelnetError as error:
        raise AnsibleFilterError(f"accelnet.mana.plan: {error.reason}: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"plan": plan_filter}
