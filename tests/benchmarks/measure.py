# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share: the cost of a command, side by side with others, and how results are printed.

CPU time is what budgets are about: it counts the processes of one command only, so other work on the machine changes it
little, whereas wall time doubles.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# The checkout as a collection, as scripts/setup links it.
sys.path.append(str(ROOT / ".cache" / "collections"))

_PR_SET_CHILD_SUBREAPER = 36


@dataclasses.dataclass(frozen=True)
class Cost:
    cpu: float  # seconds, user and system, of a process and all its descendants
    wall: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.cpu - other.cpu, self.wall - other.wall)

    def __truediv__(self, number: float) -> Cost:
        return Cost(self.cpu / number, self.wall / number)


def adopt_orphans() -> None:
    """Descendants that leave their parents, as ssh's shared connections do, become our children and are counted."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def children_cpu() -> float:
    """CPU seconds of all children that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """The output of a command that has to succeed; what it said otherwise."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\nfailed with {done.returncode}")
    return done.stdout


def cost(action: Callable[[], object]) -> Cost:
    """What the child processes of an action cost."""
    cpu, wall = children_cpu(), time.monotonic()
    action()
    return Cost(children_cpu() - cpu, time.monotonic() - wall)


def side_by_side(actions: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """Every action once per round, every other round in reverse, so that what drifts hits all alike."""
    found: dict[str, list[Cost]] = {name: [] for name in actions}
    for number in range(rounds):
        for name in list(actions)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(actions[name]())
    return found


def median(costs: Iterable[Cost]) -> Cost:
    costs = list(costs)
    return Cost(statistics.median(one.cpu for one in costs), statistics.median(one.wall for one in costs))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a Markdown table."""
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")
    print(flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def verdict(ratio: float, budget: float) -> str:
    """A ratio and what the budget says to it."""
    return f"{ratio:.2f} (budget {budget:g}: {'met' if ratio <= budget else 'MISSED'})"


def machine() -> str:
    """The machine in one line."""
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    import ansible.release

    return (
        f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release()}, "
        f"controller Python {platform.python_version()}, ansible-core {ansible.release.__version__}, load {os.getloadavg()[0]:.1f}"
    )
