# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registered result of nic_info -> the host's result, planned and kept in its file.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat, _run_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import GOALS
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan

# Options of a plan that both actions have. Raw, as the planner checks them: what is wrong for one host is in that
# host's result, and the run goes on.
SPEC: dict[str, dict[str, t.Any]] = {
    "run_dir": {"type": "str", "required": True},
    "goal": {"type": "raw"},
    "nics": {"type": "raw", "default": []},
    "policy": {"type": "raw", "default": {}},
    "samples": {"type": "raw", "default": []},
    "forwarded": {"type": "list", "elements": "str", "default": []},
}

# What ansible-core and a task's keywords put into a registered result beside what the module returned.
_NOT_FACTS = frozenset(
    "ansible_facts ansible_loop_var attempts changed deprecations diff exception failed failed_when_result invocation item "
    "module_stderr module_stdout msg rc reason retries skip_reason skipped stderr stderr_lines stdout stdout_lines "
    "unreachable warnings".split()
)
_MESSAGE_LENGTH = 2000

# ansible-playbook imports its actions before it forks a process per host, so that none of these has to read the tables
# again: that takes longer than a plan. What is wrong with them is told by the first plan that needs them.
with contextlib.suppress(_compat.CompatError):
    _compat.load()


def _facts(registered: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: value for key, value in registered.items() if key not in _NOT_FACTS and not key.startswith("_ansible")}


def _message(registered: t.Mapping[str, t.Any]) -> str:
    # A module that could not even start says why on stderr only.
    parts = [str(registered[key]).strip() for key in ("msg", "module_stderr") if registered.get(key)]
    return "\n".join(parts)[:_MESSAGE_LENGTH] or "no message"


def _trouble(registered: t.Mapping[str, t.Any] | None) -> tuple[str, dict[str, str] | None] | None:
    """(status, error) where there are no facts to plan with."""
    if registered is None or registered.get("skipped"):
        return "not_run", None
    if registered.get("unreachable"):
        return "unreachable", {"reason": "host_unreachable", "message": _message(registered)}
    if registered.get("failed"):
        reason = registered.get("reason")
        known = isinstance(reason, str) and reason in REASONS
        return "failed", {"reason": str(reason) if known else "nic_info_failed", "message": _message(registered)}
    return None


def _plan(facts: dict[str, t.Any], options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    policy = options["policy"] or {}
    planned = plan(facts, options["goal"], options["nics"] or [], policy)
    if options["samples"]:
        planned["verdicts"] = assess(facts, options["samples"], {**policy, "nics": options["nics"] or policy.get("nics", [])})
    # What testpmd forwarded is proof, too.
    for row in planned["verdicts"]:
        if row["verdict"] == "userspace" and row["mac"] in options["forwarded"]:
            row["proven"] = True
    return planned


def keep(host: str, options: t.Mapping[str, t.Any], registered: t.Any, packages: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Plans, writes the host's file and returns what the action returns. Raises AccelnetError (bad_run_dir).

    ``options``: those of SPEC, with the absolute path of run_dir. Never fails because of the host or its input.
    """
    run = _run_files.load_run(options["run_dir"])
    options = {**options, "goal": run["goal"] if options["goal"] is None else options["goal"]}
    facts: dict[str, t.Any] | None = None
    planned: dict[str, t.Any] | None = None
    try:
        if registered is not None and not isinstance(registered, dict):
            kind = type(registered).__name__
            raise AccelnetError("bad_facts", f"the facts are a {kind}, must be the registered result of accelnet.mana.nic_info")
        trouble = _trouble(registered)
        if trouble is None:
            facts = _facts(registered or {})
            if packages:
                facts["packages"] = {**(facts.get("packages") or {}), **packages}
            planned = _plan(facts, options)
        status, error = trouble or ("ok", None)
    except AccelnetError as fault:
        status, error = "failed", {"reason": fault.reason, "message": fault.message}
    goal = options["goal"] if options["goal"] in GOALS else run["goal"]
    path = _run_files.host_path(options["run_dir"], host)
    _run_files.write_json(path, _run_files.result(host, goal, status, error, facts, planned))
    found = planned or {}
    return {
        "status": status,
        "verdicts": found.get("verdicts", []),
        "met": found.get("met"),
        "steps": found.get("steps", []),
        "blocked": found.get("blocked", []),
        "guarded": bool(((facts or {}).get("boot") or {}).get("guarded")),
        "unknown_packages": found.get("unknown", {}).get("packages", []),
        "error": error,
        "path": path,
    }
