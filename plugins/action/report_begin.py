# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.report_begin: the directory of a run, once all that the run depends on is checked."""

from __future__ import annotations

import typing as t

from ansible_collections.accelnet.mana.plugins.plugin_utils import _report, _run_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._action import ControllerAction, controller_path
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import check_goal, check_policy


class ActionModule(ControllerAction):
    SPEC: t.ClassVar = {
        "report_dir": {"type": "str", "default": "accelnet-reports"},
        "run_id": {"type": "str"},
        "goal": {"type": "str", "default": "ethernet"},
        "policy": {"type": "raw", "default": {}},
        "playbook": {"type": "str", "default": "audit"},
        "fail_on": {"type": "list", "elements": "str", "default": []},
        "query": {"type": "str", "default": ""},
    }

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        run = {
            "goal": check_goal(arguments["goal"]),
            "playbook": arguments["playbook"],
            "hosts": [str(host) for host in task_vars["ansible_play_hosts_all"]],
            "policy": check_policy(arguments["policy"]),
        }
        _report.check_fail_on(arguments["fail_on"])
        if arguments["query"]:
            _report.check_query(arguments["query"])
        # Empty as not given: that is what a survey or a variable of a pipeline passes for it.
        report_dir = arguments["report_dir"] or self.SPEC["report_dir"]["default"]
        run_dir, run_id = _run_files.begin_run(controller_path(report_dir), arguments["run_id"] or None, run)
        # Shown at once, as whoever interrupts the run needs it. Not on stdout, which may be a callback's JSON.
        self._display.display(f"The results go to {run_dir}", stderr=True)
        return {"run_dir": run_dir, "run_id": run_id}
