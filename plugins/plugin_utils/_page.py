# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as one HTML file for people: no network, no storage, nothing executed but the script below page/.

Pure. Private to this collection.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import pathlib
import re
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import VERDICTS

_ASSETS = pathlib.Path(__file__).parent / "page"
# What the page shows of a NIC and of a step. The rest of a step is for the roles.
_NIC = ("interface", "kind", "verdict", "reasons", "proven")
_STEP = ("role", "action", "kernel", "packages", "version", "reboot", "reasons", "why")
# Columns of a host whose values many hosts have in common.
_SHARED = ("status", "verdict", "met", "distribution", "release", "kernel", "architecture", "kinds", "reasons", "unknown")
# Nothing in a script element may end it, start a comment in it or be a line end for some parsers. The rest of what is
# not ASCII is escaped by json itself, so that no control character of a host name reaches the file.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


class _Shared:
    """Values that occur often, each kept once; a host refers to them by number."""

    def __init__(self) -> None:
        self.values: list[t.Any] = []
        self._numbers: dict[str, int] = {}

    def number(self, value: t.Any) -> int:
        key = json.dumps(value, sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.values)
            self.values.append(value)
        return self._numbers[key]

    def numbers(self, values: t.Iterable[t.Any] | None) -> list[int]:
        return [self.number(value) for value in values or ()]


def _pick(row: t.Mapping[str, t.Any], keys: t.Iterable[str]) -> dict[str, t.Any]:
    """The keys that say something."""
    return {key: row[key] for key in keys if row.get(key) not in (None, [], False, "") or (key == "proven" and row.get(key) is False)}


def _host(row: t.Mapping[str, t.Any], shared: _Shared) -> list[t.Any]:
    nics = [[nic.get("mac"), nic.get("pci_address"), shared.number(_pick(nic, _NIC))] for nic in row.get("nics") or ()]
    return [
        row["host"],
        shared.numbers(row.get(key) for key in _SHARED),
        nics,
        shared.numbers(_pick(step, _STEP) for step in row.get("steps") or ()),
        shared.numbers(row.get("blocked")),
        shared.numbers(row.get("advice")),
        shared.numbers(row.get("warnings")),
        row.get("error"),
    ]


def _data(report: t.Mapping[str, t.Any]) -> str:
    shared = _Shared()
    hosts = [_host(row, shared) for row in report.get("hosts") or ()]
    data = {
        "run": {key: report.get(key) for key in ("run_id", "time", "finished", "goal")},
        "verdicts": VERDICTS,
        "columns": _SHARED,
        "reasons": report.get("reasons") or {},
        "values": shared.values,
        "hosts": hosts,
    }
    return json.dumps(data, ensure_ascii=True, separators=(",", ":")).translate(_ESCAPES)


def _source(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.lru_cache(maxsize=1)
def _parts() -> tuple[str, dict[str, str]]:
    """The page, and what goes into it whatever the report says."""
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = (
        "default-src 'none'",
        f"script-src {_source(script)}",
        f"style-src {_source(style)}",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    page = (_ASSETS / "page.html").read_text(encoding="utf-8")
    return page, {"policy": "; ".join(policy), "style": style, "script": script}


def render(report: t.Mapping[str, t.Any]) -> str:
    """The page for a report as report.json has it. The same report gives the same page."""
    page, parts = _parts()
    filled = {**parts, "data": _data(report)}
    # One pass: what is put in is never looked at for further places.
    return re.sub(r"@(policy|style|script|data)@", lambda place: filled[place[1]], page)
