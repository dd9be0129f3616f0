# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a run on the controller: run.json, one file per host, and what is made from them.

Every file is written whole or not at all, so that a run that was interrupted can be aggregated. Their form is in
docs/report.schema.json. Private to this collection.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import json
import os
import re
import secrets
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import GOALS

STATUSES = ("ok", "failed", "unreachable", "not_run")
SCHEMA_VERSION = 1

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CODE = re.compile(r"[a-z][a-z0-9_]*")
_PREFIX_LENGTH = 60


def now() -> str:
    """The time in the form that all files of a run have."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def slug(host: str) -> str:
    """A file name for an inventory name, whatever that is: bounded, readable, and no two hosts have the same.

    The digest is always there: it tells apart names that differ only in what file systems fold or forbid.
    """
    prefix = re.sub(r"[^A-Za-z0-9._-]+", "_", host)[:_PREFIX_LENGTH].strip("._-") or "host"
    return f"{prefix}-{hashlib.sha256(host.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def host_path(run_dir: str, host: str) -> str:
    return os.path.join(run_dir, "hosts", f"{slug(host)}.json")


def plain(value: t.Any) -> t.Any:
    """A copy of only what JSON knows: ansible-core passes strings and containers of its own types."""
    return json.loads(json.dumps(value, default=str))


def write_text(path: str, text: str, mode: int = 0o666) -> None:
    """Writes a file whole or not at all, with the part of ``mode`` that the umask leaves. Raises AccelnetError (bad_run_dir)."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(4)}")
    try:
        # Not the tempfile module, as its files are always 0600: a report is as readable as the user's umask says.
        opener = functools.partial(os.open, mode=mode)
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n", opener=opener) as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise AccelnetError("bad_run_dir", f"cannot write {path}: {error.strerror}") from error
    finally:
        # Gone when all went well; also when a signal came in between it must not stay.
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def write_json(path: str, data: t.Any, mode: int = 0o666) -> None:
    # ASCII only: inventory names may hold what UTF-8 cannot encode.
    write_text(path, json.dumps(data, indent=1) + "\n", mode)


def begin_run(report_dir: str, run_id: str | None, run: t.Mapping[str, t.Any]) -> tuple[str, str]:
    """Makes the directory of a new run with its run.json; returns (run_dir, run_id).

    Raises AccelnetError: bad_run_id, bad_run_dir.
    """
    if run_id is not None and not _RUN_ID.fullmatch(run_id):
        raise AccelnetError(
            "bad_run_id", f"run_id is {run_id!r}, may have letters, digits, '.', '_' and '-', and starts with a letter or digit"
        )
    wanted = run_id or datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    taken = wanted
    number = 1
    try:
        os.makedirs(report_dir, exist_ok=True)
        while True:
            try:
                # Making the directory claims the name: two runs that start in the same second get one each.
                os.mkdir(os.path.join(report_dir, taken))
                break
            except FileExistsError as error:
                if run_id is not None:
                    raise AccelnetError("bad_run_id", f"run_id {run_id} exists already in {report_dir}") from error
                number += 1
                taken = f"{wanted}-{number}"
        run_dir = os.path.join(report_dir, taken)
        os.mkdir(os.path.join(run_dir, "hosts"))
    except OSError as error:
        raise AccelnetError(
            "bad_run_dir",
            f"cannot make the run in report_dir {report_dir}: {error.strerror}; accelnet_report_dir gives the playbooks another one",
        ) from error
    write_json(os.path.join(run_dir, "run.json"), {"schema_version": SCHEMA_VERSION, "run_id": taken, "time": now(), **run})
    return run_dir, taken


def _read(path: str, reason: str) -> dict[str, t.Any]:
    def refuse(constant: str) -> t.NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file, parse_constant=refuse)
    except OSError as error:
        raise AccelnetError(reason, f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise AccelnetError(reason, f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise AccelnetError(reason, f"{path} has no mapping")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise AccelnetError(reason, f"{path} has schema_version {data.get('schema_version')!r}, this collection reads {SCHEMA_VERSION}")
    return data


def _is_texts(value: t.Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str)


def _is_text_or_null(value: t.Any) -> bool:
    return value is None or isinstance(value, str)


def _is_flag(value: t.Any) -> bool:
    return isinstance(value, bool)


def _is_code(value: t.Any) -> bool:
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def _is_codes(value: t.Any) -> bool:
    return isinstance(value, list) and all(map(_is_code, value))


_Form = t.Mapping[str, t.Callable[[t.Any], bool]]
_ERROR: _Form = {"reason": _is_code, "message": _is_text}
_NIC: _Form = {
    **dict.fromkeys(("interface", "mac", "pci_address"), _is_text_or_null),
    "kind": ("mana", "mlx5", "mlx4", "synthetic", "other").__contains__,
    "verdict": VERDICTS.__contains__,
    "reasons": _is_codes,
    "proven": lambda value: value is None or isinstance(value, bool),
}
_STEP: _Form = {**dict.fromkeys(("id", "role", "action", "why"), _is_text), "reasons": _is_codes, "reboot": _is_flag}
_STEP_MAY: _Form = {
    **dict.fromkeys(("kernel", "version"), _is_text_or_null),
    **dict.fromkeys(("needs", "provides", "packages"), _is_texts),
}
_OBSTACLE: _Form = {"reason": _is_code, "subject": _is_text, "remedy": _is_text}
_OBSTACLE_MAY: _Form = {"option": _is_text_or_null}


def _is_entries(value: t.Any, must: _Form, may: _Form | None = None) -> bool:
    """Whether it is a list of mappings of this form; they may have more."""
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and all(key in entry and fits(entry[key]) for key, fits in must.items())
        and all(fits(entry[key]) for key, fits in (may or {}).items() if key in entry)
        for entry in value
    )


def load_run(run_dir: str) -> dict[str, t.Any]:
    """The run.json of a run. Raises AccelnetError (bad_run_dir)."""
    path = os.path.join(run_dir, "run.json")
    run = _read(path, "bad_run_dir")
    for key in ("run_id", "time", "goal"):
        if not isinstance(run.get(key), str):
            raise AccelnetError("bad_run_dir", f"{path}: {key} is no text")
    if not _is_texts(run.get("hosts")):
        raise AccelnetError("bad_run_dir", f"{path}: hosts is no list of names")
    return run


def _faults(result: t.Mapping[str, t.Any], host: str) -> t.Iterator[str]:
    """What is wrong with the form of a host's result, as far as the report takes it over."""
    if result.get("host") != host:
        yield f"host is not {host!r}"
    if result.get("status") not in STATUSES:
        yield "status"
    if result.get("goal") not in GOALS:
        yield "goal"
    error, facts, plan = result.get("error"), result.get("facts"), result.get("plan")
    if error is not None and not _is_entries([error], _ERROR):
        yield "error"
    if facts is not None:
        if not isinstance(facts, dict):
            yield "facts"
        else:
            if not isinstance(facts.get("platform") or {}, dict):
                yield "facts.platform"
            if not _is_entries(facts.get("kernels") or [], {"release": _is_text}):
                yield "facts.kernels"
            if not _is_texts(facts.get("read_warnings") or []):
                yield "facts.read_warnings"
    if plan is None:
        if result.get("status") == "ok":
            yield "plan"
    elif not isinstance(plan, dict):
        yield "plan"
    else:
        if not _is_entries(plan.get("verdicts"), _NIC):
            yield "plan.verdicts"
        if not isinstance(plan.get("met"), bool):
            yield "plan.met"
        if not _is_entries(plan.get("steps"), _STEP, _STEP_MAY):
            yield "plan.steps"
        if not _is_entries(plan.get("blocked"), _OBSTACLE, _OBSTACLE_MAY):
            yield "plan.blocked"
        if not _is_entries(plan.get("advice", []), _OBSTACLE, _OBSTACLE_MAY):
            yield "plan.advice"
        unknown = plan.get("unknown")
        if not isinstance(unknown, dict) or not _is_texts(unknown.get("packages")):
            yield "plan.unknown"


def load_result(run_dir: str, host: str) -> dict[str, t.Any] | None:
    """A host's result, or None when there is none. Raises AccelnetError (bad_result_file)."""
    path = host_path(run_dir, host)
    if not os.path.lexists(path):
        return None
    result = _read(path, "bad_result_file")
    faults = list(_faults(result, host))
    if faults:
        raise AccelnetError("bad_result_file", f"{path} does not have the documented form: {', '.join(faults)}")
    return result


def result(
    host: str, goal: str, status: str, error: t.Mapping[str, str] | None = None, facts: t.Any = None, plan: t.Any = None
) -> dict[str, t.Any]:
    """A host's result in the form of its file."""
    return {
        "schema_version": SCHEMA_VERSION,
        "host": host,
        "status": status,
        "error": error,
        "goal": goal,
        "time": now(),
        "facts": facts,
        "plan": plan,
    }
