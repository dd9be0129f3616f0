# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit XML: a test suite per host, a test case per NIC or function and one for the goal.

Private to this collection.
"""

from __future__ import annotations

import re
import typing as t
from xml.etree import ElementTree

Row = t.Mapping[str, t.Any]

_PASSES = ("accelerated", "userspace")
# What XML 1.0 cannot hold, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _clean(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)


def _mark(case: ElementTree.Element, tag: str, message: str, text: str = "") -> None:
    """The outcome of a test case that did not pass."""
    ElementTree.SubElement(case, tag, {"message": _clean(message)}).text = _clean(text)


def _remedies(codes: t.Iterable[str], reasons: Row) -> str:
    known = [(code, reasons[code]) for code in codes if code in reasons]
    return "\n".join(f"{code}: {reason['meaning']} {reason['remedy']}" for code, reason in known)


def _subject(nic: Row) -> str:
    if nic.get("interface"):
        return f"NIC {nic['interface']}"
    if nic.get("mac"):
        return f"NIC {nic['mac']}"
    return f"function {nic.get('pci_address')}"


def _nic_case(case: ElementTree.Element, nic: Row, reasons: Row) -> None:
    message = f"{nic['verdict']}: {', '.join(nic['reasons'])}" if nic["reasons"] else nic["verdict"]
    if nic["verdict"] == "unsupported":
        # Nothing of ours and nothing to mend; the test case of the goal fails where it matters.
        _mark(case, "skipped", message)
    elif nic["verdict"] not in _PASSES:
        _mark(case, "failure", message, _remedies(nic["reasons"], reasons))


def _goal_case(case: ElementTree.Element, row: Row) -> None:
    if row["met"] is None:
        _mark(case, "skipped", "not known")
    elif not row["met"]:
        codes = dict.fromkeys([entry["reason"] for entry in row["blocked"]] + [code for step in row["steps"] for code in step["reasons"]])
        lines = [f"blocked: {entry['subject']}: {entry['reason']}: {entry['remedy']}" for entry in row["blocked"]]
        lines += [f"step: {step['role']} {step['action']}: {step['why']}" for step in row["steps"]]
        _mark(case, "failure", f"not met: {', '.join(codes)}", "\n".join(lines))


def _suite(row: Row, report: Row) -> ElementTree.Element:
    host = _clean(row["host"])
    suite = ElementTree.Element("testsuite", {"name": host, "hostname": host, "timestamp": _clean(report["time"].rstrip("Z"))})

    def case(name: str) -> ElementTree.Element:
        return ElementTree.SubElement(suite, "testcase", {"classname": host, "name": _clean(name), "time": "0"})

    if row["status"] == "ok":
        for nic in row["nics"]:
            _nic_case(case(_subject(nic)), nic, report["reasons"])
        _goal_case(case(f"goal {row['goal']}"), row)
    elif row["status"] == "not_run":
        _mark(case("audit"), "skipped", "not_run: the run did not come to this host")
    else:
        error = row["error"] or {"reason": row["status"], "message": ""}
        _mark(case("audit"), "error", f"{row['status']}: {error['reason']}", error["message"])
    return suite


def _count(element: ElementTree.Element) -> None:
    """Writes how many test cases there are below, and how they ended."""
    element.set("tests", str(len(list(element.iter("testcase")))))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(list(element.iter(tag)))))


def render(report: Row) -> str:
    """The XML text."""
    root = ElementTree.Element("testsuites", {"name": _clean(f"accelnet.mana {report['run_id']}")})
    for row in report["hosts"]:
        suite = _suite(row, report)
        _count(suite)
        root.append(suite)
    _count(root)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
