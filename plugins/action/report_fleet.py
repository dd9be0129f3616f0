# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action accelnet.mana.report_fleet: a run's results -> report.json, report.html, junit.xml and query.json."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _junit, _report, _run_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._action import ControllerAction, controller_path

# So many hosts are named in the message of a failure; failed_on has all.
_NAMED = 20


def _write(report: _report.Report, run_dir: str, formats: t.Sequence[str]) -> dict[str, str]:
    """Writes the files; the data first, so that it is there whatever becomes of the others."""
    paths = {}
    for name, file in (("json", "report.json"), ("junit", "junit.xml"), ("html", "report.html")):
        if name not in formats:
            continue
        paths[name] = os.path.join(run_dir, file)
        if name == "json":
            _run_files.write_json(paths[name], report)
        elif name == "junit":
            _run_files.write_text(paths[name], _junit.render(report))
        else:
            from ansible_collections.accelnet.mana.plugins.plugin_utils import _page

            _run_files.write_text(paths[name], _page.render(report))
    return paths


def _failure(failed_on: t.Sequence[tuple[str, str]], paths: t.Mapping[str, str]) -> str:
    lines = [f"{host}: {code}" for host, code in failed_on[:_NAMED]]
    if len(failed_on) > _NAMED:
        lines.append(f"and {len(failed_on) - _NAMED} more")
    file = paths.get("html") or next(iter(paths.values()), None)
    where = f" (see {file})" if file else ""
    return f"fail_on matched {len(failed_on)} times{where}: {'; '.join(lines)}"


class ActionModule(ControllerAction):
    SPEC: t.ClassVar = {
        "run_dir": {"type": "str", "required": True},
        "fail_on": {"type": "list", "elements": "str", "default": []},
        "query": {"type": "str", "default": ""},
        "formats": {"type": "list", "elements": "str", "choices": ["json", "html", "junit"], "default": ["json", "html", "junit"]},
    }

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        run_dir = controller_path(arguments["run_dir"])
        report = _report.collect(run_dir)
        paths = _write(report, run_dir, arguments["formats"])
        result = {"run_id": report["run_id"], "run_dir": run_dir, "counts": report["counts"], "paths": paths, "failed_on": []}
        try:
            if arguments["query"]:
                result["query_result"] = _report.query(report, arguments["query"])
                paths["query"] = os.path.join(run_dir, "query.json")
                _run_files.write_json(paths["query"], result["query_result"])
            failed_on = _report.fail_on(report, arguments["fail_on"])
        except AccelnetError as error:
            # Not raised: the result tells where the files are that were written.
            return {**result, "failed": True, "msg": error.message, "reason": error.reason}
        if failed_on:
            result["failed_on"] = [{"host": host, "code": code} for host, code in failed_on]
            return {**result, "failed": True, "msg": _failure(failed_on, paths)}
        return result
