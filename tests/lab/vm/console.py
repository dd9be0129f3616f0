# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guest's kernel says: the log of the serial line, and what in it is a defect."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import re

# Beginnings of reports of the kernel; sources: Linux lib/bug.c, kernel/panic.c, mm/kasan/report.c, lib/ubsan.c,
# lib/refcount.c, arch/x86/mm/fault.c, kernel/hung_task.c, kernel/rcu/tree_stall.h.
_PROBLEM = re.compile(
    r"WARNING: |BUG: |Call Trace|\bOops\b|Kernel panic|KASAN|KFENCE|KCSAN|UBSAN|general protection|refcount_t|"
    r"[Uu]nable to handle|kernel BUG at|blocked for more than|detected stall|self-detected stall|possible circular locking"
)
_BEGIN = "------------[ cut here ]------------"
_END = "---[ end trace"

# "Tainted: G        W  OE" after a Comm; the names of the flags are in Linux Documentation/admin-guide/tainted-kernels.rst.
_TAINTED = re.compile(r"\bTainted: ([A-Z ]*[A-Z])")
# What a driver from outside the tree causes by being there: O (out of tree), E (unsigned); G says "no P".
_EXPECTED_TAINT = frozenset("GOE")
_TAINT_BITS = {12: "O", 13: "E"}
_TAINT_VALUE = re.compile(r"^kernel\.tainted = (\d+)$")

# After one of these nothing comes any more.
_DEAD = re.compile(r"end Kernel panic|Kernel panic - not syncing|ALERT!.*does not exist|You are in emergency mode")


@dataclasses.dataclass
class SerialLog:
    """The file that QEMU writes the serial line to."""

    path: pathlib.Path

    def text(self) -> str:
        """All of it so far; empty before QEMU made it."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 15) -> str:
        """Its last lines that are not empty."""
        return "\n".join([line for line in self.text().splitlines() if line.strip()][-lines:])

    def dead(self, allow: collections.abc.Iterable[str] = ()) -> str | None:
        """The line that says that this guest will not come up any more, if there is one that is not allowed."""
        allowed = [re.compile(pattern) for pattern in allow]
        lines = (line.strip() for line in self.text().splitlines() if _DEAD.search(line))
        return next((line for line in lines if not any(pattern.search(line) for pattern in allowed)), None)


class KernelLog:
    """Judges a kernel's log: of the serial line, of dmesg, or of both after each other."""

    @staticmethod
    def problems(text: str, allow: collections.abc.Iterable[str] = ()) -> list[str]:
        """The lines that report a defect, without those that are allowed; empty for a sound kernel.

        allow: regular expressions. A report of several lines ("cut here" to "end trace") is allowed as a whole when one of
        its lines matches, and named by its first line that says something. A taint counts by itself only while no report
        was allowed: reports taint.
        """
        allowed = [re.compile(pattern) for pattern in allow]
        found: list[str] = []
        taints: list[str] = []
        excused = False
        for report in _reports(text):
            named = next((line for line in report if _PROBLEM.search(line)), None)
            # A report with an end is known to be one; else only the line that is the problem itself may excuse it.
            judged = report if _BEGIN in report[0] else report[:1]
            if named is not None and any(pattern.search(line) for pattern in allowed for line in judged):
                excused = True
            elif named is not None:
                found.append(named.strip())
            taints += [line.strip() for line in report if _bad_taint(line) and not any(pattern.search(line) for pattern in allowed)]
        if not excused and not found:
            found += taints
        return list(dict.fromkeys(found))


def _reports(text: str) -> collections.abc.Iterator[list[str]]:
    """The lines of a log, those of one report together: from "cut here" to "end trace", or from a problem to its call trace's end."""
    report: list[str] = []
    for line in text.splitlines():
        delimited = bool(report) and _BEGIN in report[0]
        begins = _BEGIN in line or (not delimited and "Call Trace" not in line and _PROBLEM.search(line) is not None)
        if begins and report:
            yield report
            report = []
        if not begins and not report:
            yield [line]
            continue
        report.append(line)
        if _END in line or ("</TASK>" in line and not delimited):
            yield report
            report = []
    if report:
        yield report


def _bad_taint(line: str) -> bool:
    flags = _TAINTED.search(line)
    if flags is not None:
        return not set(flags[1].replace(" ", "")) <= _EXPECTED_TAINT
    value = _TAINT_VALUE.match(line.strip())
    return value is not None and bool(int(value[1]) & ~sum(1 << bit for bit in _TAINT_BITS))
