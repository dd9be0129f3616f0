# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.backport_source: gives the module the compat layer of this collection, in the same call."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

_LAYER = Path(__file__).resolve().parents[2] / "roles" / "nic_driver" / "files" / "backport"


class ActionModule(ActionBase):  # type: ignore[misc]
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if "compat" not in arguments and "layer" not in arguments:
            files = sorted(path for path in _LAYER.rglob("*") if path.is_file())
            arguments["layer"] = {path.relative_to(_LAYER).as_posix(): path.read_text(encoding="utf-8") for path in files}
        result.update(self._execute_module(module_name="accelnet.mana.backport_source", module_args=arguments, task_vars=task_vars))
        return result
