# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.audit_host: nic_info, package_candidates where the plan asks for it, and report_host in one task.

One task, so that the result of a host is kept as soon as that host is known: with one task per part, ansible-core asks
the last host before it keeps the result of the first.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible_collections.accelnet.mana.plugins.plugin_utils import _host_result
from ansible_collections.accelnet.mana.plugins.plugin_utils._action import ControllerAction, controller_path
from ansible_collections.accelnet.mana.plugins.plugin_utils._run_files import plain

# What ansible-core itself wants to see of a module's result: the interpreter that it found, and what it has to say.
_FOR_CORE = ("ansible_facts", "warnings", "deprecations")


class ActionModule(ControllerAction):
    _requires_connection = True
    SPEC: t.ClassVar = {**_host_result.SPEC, "root": {"type": "str", "default": "/"}}

    def _module(self, name: str, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = self._execute_module(module_name=f"accelnet.mana.{name}", module_args=arguments, task_vars=task_vars)
        return result

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        host = str(task_vars["inventory_hostname"])
        options = {**arguments, "run_dir": controller_path(arguments["run_dir"])}
        root = {"root": arguments["root"]}
        try:
            registered = self._module("nic_info", root, task_vars)
        except AnsibleConnectionFailure as error:
            _host_result.keep(host, options, {"unreachable": True, "msg": str(error)})
            raise
        kept = _host_result.keep(host, options, plain(registered))
        if kept["unknown_packages"]:
            answer: dict[str, t.Any] = {}
            # A host that went away by now keeps the plan that says what is not known.
            with contextlib.suppress(AnsibleConnectionFailure):
                answer = self._module("package_candidates", {**root, "names": kept["unknown_packages"]}, task_vars)
            if answer.get("packages"):
                kept = _host_result.keep(host, options, plain(registered), plain(answer["packages"]))
        for_core = {key: registered[key] for key in _FOR_CORE if key in registered}
        trouble = kept.pop("error")
        if kept["status"] == "failed":
            failure = {"failed": True, "msg": trouble["message"], "reason": trouble["reason"]}
            return {**for_core, **failure, "status": kept["status"], "path": kept["path"]}
        return {**for_core, **kept}
