# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run -> one report; which hosts a run fails on; queries. Pure but for ``collect``.

Private to this collection.
"""

from __future__ import annotations

import collections
import contextlib
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _run_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._run_files import STATUSES

Row = dict[str, t.Any]
Report = dict[str, t.Any]

NOT_MET = "not_met"


def worst_verdict(rows: t.Iterable[t.Mapping[str, t.Any]]) -> str | None:
    """The verdict of a host, or None where no NIC is known."""
    found = {row["verdict"] for row in rows}
    return next((verdict for verdict in VERDICTS if verdict in found), None)


def _text(value: t.Any) -> str | None:
    return value if isinstance(value, str) else None


def _running(facts: t.Mapping[str, t.Any]) -> str | None:
    return next((kernel["release"] for kernel in facts.get("kernels") or [] if kernel.get("running")), None)


def _codes(plan: t.Mapping[str, t.Any], error: t.Mapping[str, t.Any] | None) -> list[str]:
    """All reason codes of a host, what is most urgent first, each once."""
    codes = [error["reason"]] if error else []
    for row in sorted(plan.get("verdicts", []), key=lambda row: VERDICTS.index(row["verdict"])):
        codes += row["reasons"]
    codes += [entry["reason"] for entry in plan.get("blocked", [])]
    for step in plan.get("steps", []):
        codes += step["reasons"]
    codes += [entry["reason"] for entry in plan.get("advice", [])]
    return list(dict.fromkeys(codes))


def host_row(host: str, result: t.Mapping[str, t.Any] | None, goal: str) -> Row:
    """One host of the report; ``result`` is None when the run did not come to it."""
    found: t.Mapping[str, t.Any] = result or {}
    facts = found.get("facts") or {}
    plan = found.get("plan") or {}
    platform = facts.get("platform") or {}
    nics = plan.get("verdicts", [])
    return {
        "host": host,
        "status": found.get("status", "not_run"),
        "goal": found.get("goal", goal),
        "verdict": worst_verdict(nics),
        "met": plan.get("met"),
        "distribution": _text(platform.get("distribution")),
        "release": _text(platform.get("release")),
        "kernel": _running(facts),
        "architecture": _text(platform.get("architecture")),
        "kinds": sorted({row["kind"] for row in nics}),
        "reasons": _codes(plan, found.get("error")),
        "nics": nics,
        "steps": plan.get("steps", []),
        "blocked": plan.get("blocked", []),
        "unknown": plan.get("unknown", {}).get("packages", []),
        "advice": plan.get("advice", []),
        "warnings": facts.get("read_warnings") or [],
        "error": found.get("error"),
    }


def _count(values: t.Iterable[str], always: t.Iterable[str] = ()) -> dict[str, int]:
    counted = collections.Counter(values)
    return {**{key: counted.pop(key, 0) for key in always}, **dict(sorted(counted.items()))}


def _counts(rows: t.Sequence[Row]) -> dict[str, dict[str, int]]:
    nics = [nic for row in rows for nic in row["nics"]]
    met = {True: "true", False: "false", None: "unknown"}
    return {
        "verdict": _count((row["verdict"] or "none" for row in rows), (*VERDICTS, "none")),
        "status": _count((row["status"] for row in rows), STATUSES),
        "met": _count((met[row["met"]] for row in rows), met.values()),
        "distribution": _count(row["distribution"] or "unknown" for row in rows),
        "kind": _count(nic["kind"] for nic in nics),
        "nic_verdict": _count((nic["verdict"] for nic in nics), VERDICTS),
    }


def aggregate(run: t.Mapping[str, t.Any], results: t.Mapping[str, t.Mapping[str, t.Any] | None], finished: str) -> Report:
    """The report: the hosts of ``run`` in its order, those without result as not_run."""
    rows = [host_row(host, results.get(host), run["goal"]) for host in dict.fromkeys(run["hosts"])]
    codes = sorted({code for row in rows for code in row["reasons"]} & set(REASONS))
    return {
        "schema_version": _run_files.SCHEMA_VERSION,
        "run_id": run["run_id"],
        "time": run["time"],
        "finished": finished,
        "goal": run["goal"],
        "counts": _counts(rows),
        "hosts": rows,
        "reasons": {code: {"meaning": REASONS[code].meaning, "remedy": REASONS[code].remedy} for code in codes},
    }


def collect(run_dir: str) -> Report:
    """The report of a run directory. A host whose file is damaged is a failed host. Raises AccelnetError (bad_run_dir)."""
    run = _run_files.load_run(run_dir)
    results: dict[str, dict[str, t.Any] | None] = {}
    for host in run["hosts"]:
        try:
            results[host] = _run_files.load_result(run_dir, host)
        except AccelnetError as error:
            results[host] = _run_files.result(host, run["goal"], "failed", {"reason": error.reason, "message": error.message})
    return aggregate(run, results, _run_files.now())


def check_fail_on(codes: t.Any) -> list[str]:
    """The codes, each once. Raises AccelnetError (bad_fail_on)."""
    if isinstance(codes, str) or not isinstance(codes, t.Sequence):
        raise AccelnetError("bad_fail_on", f"fail_on is {codes!r}, must be a list")
    known = {*VERDICTS, *STATUSES, *REASONS, NOT_MET}
    unknown = [repr(code) for code in codes if not isinstance(code, str) or code not in known]
    if unknown:
        raise AccelnetError(
            "bad_fail_on",
            f"fail_on has {', '.join(unknown)}, may have verdicts ({', '.join(VERDICTS)}), statuses ({', '.join(STATUSES)}), "
            f"{NOT_MET} and reason codes",
        )
    return [str(code) for code in dict.fromkeys(codes)]


def fail_on(report: t.Mapping[str, t.Any], codes: t.Any) -> list[tuple[str, str]]:
    """(host, code) for every host that has one of the codes. Raises AccelnetError (bad_fail_on).

    not_met is also true of hosts of which it is not known, or a gate would let a fleet pass that nobody reached.
    """
    wanted = check_fail_on(codes)
    found = []
    for row in report["hosts"]:
        has = {row["status"], *row["reasons"], *(nic["verdict"] for nic in row["nics"])}
        if row["met"] is not True:
            has.add(NOT_MET)
        found += [(row["host"], code) for code in wanted if code in has]
    return found


def _bad_query(expression: str, trouble: str, error: Exception) -> AccelnetError:
    # jmespath repeats the value that a function cannot take: that may be the whole report.
    return AccelnetError("bad_query", f"the query {_short(repr(expression), 100)} {trouble}: {_short(str(error), 200)}")


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _calls(node: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, int]]:
    """(name, number of arguments) of every function that a parsed expression calls."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, dict):
            yield from _calls(child)


def check_query(expression: str) -> t.Any:
    """The compiled expression. Raises AccelnetError: bad_query, jmespath_missing."""
    try:
        import jmespath
        import jmespath.exceptions
        import jmespath.functions
    except ImportError as error:
        raise AccelnetError("jmespath_missing", f"the query needs the Python library jmespath on the controller: {error}") from error
    try:
        compiled = jmespath.compile(expression)
        # Searching an empty report would not do: what is in a filter is not called for a list without entries.
        for name, count in _calls(compiled.parsed):
            with contextlib.suppress(jmespath.exceptions.JMESPathTypeError):
                jmespath.functions.Functions().call_function(name, [None] * count)
        return compiled
    except (ValueError, RecursionError) as error:  # JMESPathError is a ValueError
        raise _bad_query(expression, "is no JMESPath expression", error) from error


def query(report: t.Mapping[str, t.Any], expression: str) -> t.Any:
    """What a JMESPath expression selects of the report. Raises AccelnetError: bad_query, jmespath_missing."""
    compiled = check_query(expression)
    try:
        return compiled.search(report)
    except (ValueError, TypeError, RecursionError) as error:
        raise _bad_query(expression, "cannot be applied to the report", error) from error
