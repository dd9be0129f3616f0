# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.report_host: plans for one host and keeps its result, whatever became of the host."""

from __future__ import annotations

import typing as t

from ansible_collections.accelnet.mana.plugins.plugin_utils import _host_result
from ansible_collections.accelnet.mana.plugins.plugin_utils._action import ControllerAction, controller_path


class ActionModule(ControllerAction):
    SPEC: t.ClassVar = {**_host_result.SPEC, "facts": {"type": "raw"}, "packages": {"type": "dict", "default": {}}}

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        options = {**arguments, "run_dir": controller_path(arguments["run_dir"])}
        return _host_result.keep(str(task_vars["inventory_hostname"]), options, arguments["facts"], arguments["packages"])
