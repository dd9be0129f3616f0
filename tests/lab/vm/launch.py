# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Becomes another program, after it has put itself on record: python launch.py RECORD keep|die PARENT PROGRAM ARGUMENT...

A lab has to find its processes again after it was killed at any moment. If the parent wrote down the pid of its child,
there would be a gap between the start of the child and the line in the file. So the child writes it, before it becomes
QEMU or the device server: pid and start time stay the same through exec.

This is a script of its own, run by a Python without site packages, because it stands in the way of every start.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

# From include/uapi/linux/prctl.h.
PR_SET_PDEATHSIG = 1


def signal_at_parents_death(number: int) -> None:
    """Have the kernel send this signal when the thread that started this process ends; 0 takes it back. See prctl(2)."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def start_time() -> int:
    """When this process started, in clock ticks after boot: field 22 of /proc/self/stat, see proc(5)."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        # The name of the program is in parentheses and may hold spaces and parentheses itself.
        return int(file.read().rpartition(")")[2].split()[19])


def main(record: str, fate: str, parent: int, command: list[str]) -> None:
    """Write the record and become the command. With fate "die" the process does not outlive its parent."""
    # Also for those that may outlive their parent, until they are on record.
    signal_at_parents_death(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
    with open(f"{record}.new", "w", encoding="utf-8") as file:
        json.dump({"pid": os.getpid(), "started": start_time(), "command": command}, file)
    os.replace(f"{record}.new", record)
    if fate == "keep":
        signal_at_parents_death(0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
