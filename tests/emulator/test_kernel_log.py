# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a kernel's log is a defect."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lab.vm.console import KernelLog, SerialLog

SOUND = """\
[    0.000000] Linux version 6.12.118+deb13-cloud-amd64 (debian-kernel@lists.debian.org)
[    0.512003] [Firmware Bug]: TSC doesn't count with P0 frequency!
[    3.204510] mana 0000:01:00.0: Microsoft Azure Network Adapter protocol version: 0.1.1
[    3.9] mana: loading out-of-tree module taints kernel.
[    3.9] mana: module verification failed: signature and/or required key missing - tainting kernel
[    4.1] CPU: 0 UID: 0 PID: 1 Comm: x Tainted: G           OE      6.12.118
kernel.tainted = 12288
"""

# Shapes of reports as Linux 6.12 writes them.
WARNING = """\
[   40.000001] ------------[ cut here ]------------
[   40.000002] WARNING: CPU: 1 PID: 77 at drivers/net/ethernet/microsoft/mana/mana_en.c:1900 mana_poll+0x10/0x20 [mana]
[   40.000003] CPU: 1 UID: 0 PID: 77 Comm: ip Tainted: G        W          6.12.118
[   40.000004] Call Trace:
[   40.000005]  <TASK>
[   40.000006]  mana_deinit_port+0x1/0x2 [mana]
[   40.000007]  </TASK>
[   40.000008] ---[ end trace 0000000000000000 ]---
"""
HUNG = """\
[  242.1] INFO: task ip:412 blocked for more than 120 seconds.
[  242.2] Call Trace:
[  242.3]  <TASK>
[  242.4]  mana_hwc_send_request+0x1/0x2 [mana]
[  242.5]  </TASK>
"""
OOPS = """\
[   50.1] BUG: kernel NULL pointer dereference, address: 0000000000000008
[   50.2] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI
[   50.3] Call Trace:
[   50.4]  <TASK>
[   50.5]  </TASK>
[   50.6] ---[ end trace 0000000000000000 ]---
"""


def test_a_sound_log() -> None:
    assert KernelLog.problems(SOUND) == []


@pytest.mark.parametrize(
    "line",
    [
        "BUG: unable to handle page fault for address: ffff",
        "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP",
        "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        "BUG: KASAN: slab-use-after-free in mana_poll+0x1/0x2",
        "UBSAN: array-index-out-of-bounds in drivers/net/x.c:1:2",
        "refcount_t: underflow; use-after-free.",
        "WARNING: possible circular locking dependency detected",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 130s! [ip:1]",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "INFO: task ip:412 blocked for more than 120 seconds.",
        "kernel BUG at net/core/skbuff.c:200!",
        "Call Trace:",
    ],
)
def test_each_kind_is_found(line: str) -> None:
    assert KernelLog.problems(SOUND + f"[  9.1] {line}\n") == [f"[  9.1] {line}"]


def test_a_report_is_one_problem_with_the_line_that_says_what() -> None:
    (problem,) = KernelLog.problems(SOUND + WARNING)
    assert "mana_en.c:1900" in problem


def test_serial_line_and_dmesg_tell_the_same_once() -> None:
    assert len(KernelLog.problems(WARNING + WARNING)) == 1


def test_a_call_trace_belongs_to_the_line_before() -> None:
    (problem,) = KernelLog.problems(HUNG)
    assert "blocked for more than" in problem


def test_allowed_reports_are_allowed_as_a_whole_and_others_are_not() -> None:
    assert KernelLog.problems(SOUND + WARNING, [r"mana_deinit_port"]) == []
    assert KernelLog.problems(HUNG, ["task ip:"]) == []
    (problem,) = KernelLog.problems(HUNG + WARNING, ["task ip:"])
    assert "mana_en.c" in problem
    assert len(KernelLog.problems(WARNING + OOPS, ["mana_en.c"])) == 2


def test_what_only_a_later_line_matches_is_not_allowed_without_an_end() -> None:
    text = "[ 1.0] BUG: something\n[ 2.0] mana: a line like any other\n"
    assert KernelLog.problems(text, ["like any other"]) == ["[ 1.0] BUG: something"]


def test_a_report_that_was_cut_off() -> None:
    cut = WARNING.partition("Call Trace")[0]
    assert len(KernelLog.problems(cut)) == 1


@pytest.mark.parametrize(
    "line", ["CPU: 0 PID: 1 Comm: x Tainted: G      D    OE      6.12", "kernel.tainted = 512", "kernel.tainted = 12289"]
)
def test_taints_beyond_a_driver_from_outside(line: str) -> None:
    assert KernelLog.problems(SOUND + line + "\n") == [line]


def test_allowed_reports_explain_taints() -> None:
    assert KernelLog.problems(WARNING + "kernel.tainted = 512\n", ["mana_en.c"]) == []


@pytest.mark.parametrize(
    ("line", "dead"),
    [
        ("[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000000", True),
        ("ALERT!  LABEL=lab-root does not exist.  Dropping to a shell!", True),
        ("You are in emergency mode. After logging in, type", True),
        ("[    2.0] panic timeout set", False),
    ],
)
def test_a_guest_that_will_not_come_up(tmp_path: Path, line: str, dead: bool) -> None:
    log = SerialLog(tmp_path / "serial.log")
    assert log.dead() is None
    log.path.write_bytes(f"SeaBIOS\r\n\r\n{line}\r\nlogin:".encode())
    assert (log.dead() is not None) is dead
    assert log.dead([re.escape(line)]) is None
    assert log.tail(2).splitlines() == [line, "login:"]
