# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter accelnet.mana.assess: one verdict per NIC."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess


def assess_filter(
    facts: t.Any,
    samples: t.Sequence[t.Mapping[str, t.Any]] = (),
    policy: t.Mapping[str, t.Any] | None = None,
) -> list[dict[str, t.Any]]:
    try:
        return assess(facts, samples, policy)
    except AccelnetError as error:
        raise AnsibleFilterError(f"accelnet.mana.assess: {error.reason}: {error.message}") from error


class FilterModule:
    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"assess": assess_filter}
