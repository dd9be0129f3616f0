# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.snapshot: the module, and what it returns as a file on the controller."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _run_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._action import ControllerAction, controller_path


def _keep(snapshot: t.Any, path: str) -> str | None:
    """Writes the file for its owner only; returns what went wrong."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        _run_files.write_json(path, snapshot, mode=0o600)
    except OSError as error:
        return f"cannot make the directory {os.path.dirname(path)}: {error.strerror}"
    except AccelnetError as error:
        return error.message
    return None


class ActionModule(ControllerAction):
    _requires_connection = True
    # A path of the host is not to be expanded here, so root is a text.
    SPEC: t.ClassVar = {
        "root": {"type": "str", "default": "/"},
        "description": {"type": "str", "default": ""},
        "names": {"type": "list", "elements": "str", "default": []},
        "packages": {"type": "dict", "default": {}},
        "dest": {"type": "str"},
    }

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        dest = arguments.pop("dest")
        result: dict[str, t.Any] = self._execute_module(module_name="accelnet.mana.snapshot", module_args=arguments, task_vars=task_vars)
        if not dest or result.get("failed") or "snapshot" not in result:
            return result
        snapshot = _run_files.plain(result.pop("snapshot"))
        path = os.path.join(controller_path(dest), f"{_run_files.slug(str(task_vars['inventory_hostname']))}.json")
        # Two recordings of one host never are the same, as no two have the same pseudonyms.
        result.update(changed=True, path=path)
        fault = None if self._task.check_mode else _keep(snapshot, path)
        return {**result, "failed": True, "changed": False, "msg": fault} if fault else result
