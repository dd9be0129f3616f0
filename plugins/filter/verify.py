# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter accelnet.mana.verify: whether the NICs of a host are what the goal asks for."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._verify import verify


def verify_filter(
    facts: t.Any,
    goal: str = "ethernet",
    macs: t.Sequence[str] = (),
    measured: t.Mapping[str, t.Any] | None = None,
    policy: t.Mapping[str, t.Any] | None = None,
    forwarded: t.Mapping[str, t.Any] | None = None,
) -> dict[str, t.Any]:
    try:
        return verify(facts, goal, macs, measured, policy, forwarded)
    except AccelnetError as error:
        raise AnsibleFilterError(f"accelnet.mana.verify: {error.reason}: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"verify": verify_filter}
