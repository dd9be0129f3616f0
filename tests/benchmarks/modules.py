# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nic_info of a host with 64 NICs against ansible.builtin.ping and ansible.builtin.setup.

First as tasks: one ansible-playbook with a loop of so many items each, less what one with a single item costs, so that
neither its start nor the packing of the module count. Then the very programs that Ansible sends to a host, run by
themselves: what the host pays. Last, where that time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import big_host
from .measure import ROOT, Cost, cost, machine, median, ms, run, side_by_side, table, verdict

BUDGETS = {"ping": 1.3, "setup": 0.3}
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Measure
      {module}: {arguments}
      loop: "{{{{ range({items}) | list }}}}"
"""


def ansible(playbook: Path, folder: Path, python: str, **env: str) -> None:
    command: list[str | Path] = [ROOT / ".venv/bin/ansible-playbook", "-i", "localhost,", "-c", "local", playbook]
    for variable in (f"ansible_python_interpreter={python}", f"ansible_remote_tmp={folder}/remote"):
        command += ["-e", variable]
    run(command, env={"ANSIBLE_PIPELINING": "true", **env})


def programs(folder: Path, modules: dict[str, str], python: str) -> dict[str, Path]:
    """The file that Ansible would run on a host, by module."""
    found = {}
    for name, task in modules.items():
        playbook = folder / f"keep-{name}.yml"
        module, _space, arguments = task.partition(" ")
        playbook.write_text(PLAYBOOK.format(module=module, arguments=arguments, items=1))
        before = set(folder.glob("remote/*/AnsiballZ_*.py"))
        ansible(playbook, folder, python, ANSIBLE_PIPELINING="false", ANSIBLE_KEEP_REMOTE_FILES="true")
        (found[name],) = set(folder.glob("remote/*/AnsiballZ_*.py")) - before
    return found


def profile(root: Path) -> None:
    """The readers by the time they take, without the import of anything."""
    from ansible_collections.accelnet.mana.plugins.module_utils import _facts

    _facts.collect(str(root))
    profiler = cProfile.Profile()
    profiler.runcall(_facts.collect, str(root))
    readers = {}
    for (path, _line, name), (_calls, _all_calls, _own, total, _callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if "/module_utils/_" in path and not name.startswith("<"):
            readers[f"`{Path(path).stem}.{name}`"] = total
    whole = max(readers.values())
    rows = [(name, f"{total / whole:.0%}") for name, total in sorted(readers.items(), key=lambda row: -row[1])]
    table(("reader, with all that it calls", "share of `collect`, profiled"), rows[:20])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nics", type=int, default=64)
    parser.add_argument("--items", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter of the managed host")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="accelnet-bench-") as name:
        folder = Path(name)
        root = big_host.make(folder / "root", arguments.nics)
        modules = {name: f"ansible.builtin.{name} {{}}" for name in ("ping", "setup")}
        modules["nic_info"] = f"accelnet.mana.nic_info {{root: {root}}}"
        modules["platform"] = f"accelnet.mana.nic_info {{root: {root}, subset: [platform]}}"  # next to nothing is read
        version = run([arguments.python, "-V"]).strip()
        print(f"## nic_info with {arguments.nics} NICs\n\n{machine()}, managed host: {version}\n")

        tasks: dict[str, Callable[[], Cost]] = {}
        for label, task in modules.items():
            for items in (1, 1 + arguments.items):
                module, _space, options = task.partition(" ")
                playbook = folder / f"{label}-{items}.yml"
                playbook.write_text(PLAYBOOK.format(module=module, arguments=options, items=items))
                tasks[playbook.stem] = lambda playbook=playbook: cost(lambda: ansible(playbook, folder, arguments.python))  # type: ignore[misc]
        found = {label: median(costs) for label, costs in side_by_side(tasks, arguments.rounds).items()}
        print("platform is nic_info with subset=platform, which shows what its imports cost.\n")
        more = {label: found[f"{label}-{1 + arguments.items}"] - found[f"{label}-1"] for label in modules}
        report("task", {label: one / arguments.items for label, one in more.items()})

        files = programs(folder, modules, arguments.python)
        alone: dict[str, Callable[[], Cost]] = {
            label: lambda path=path: cost(lambda: run([arguments.python, path]))  # type: ignore[misc]
            for label, path in files.items()
        }
        alone["python"] = lambda: cost(lambda: run([arguments.python, "-c", "pass"]))
        spent = side_by_side(alone, arguments.rounds * 4)
        report("program on the host", {label: median(costs) for label, costs in spent.items()})
        print(f"Size of the programs: {', '.join(f'{label} {path.stat().st_size // 1024} KiB' for label, path in files.items())}\n")
        table(("CPU of `_facts.collect` alone",), [(ms(collect_alone(root, arguments.python)),)])
        profile(root)


def collect_alone(root: Path, python: str) -> float:
    """CPU seconds, with those of modinfo, of one read by a warm process of the managed host's Python."""
    code = (
        "import os, sys, statistics; sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.accelnet.mana.plugins.module_utils import _facts\n"
        "found = []\n"
        "for number in range(12):\n"
        "    before = os.times(); _facts.collect(sys.argv[2]); found.append(sum(os.times()[:4]) - sum(before[:4]))\n"
        "print(statistics.median(found[2:]))"
    )
    done = subprocess.run([python, "-c", code, str(ROOT / ".cache/collections"), str(root)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def report(what: str, costs: dict[str, Cost]) -> None:
    ours = costs["nic_info"]
    rows = []
    for label, one in costs.items():
        ratio = ours.cpu / one.cpu if one.cpu else 0.0
        shown = "" if label == "nic_info" else verdict(ratio, BUDGETS[label]) if label in BUDGETS else f"{ratio:.2f}"
        rows.append((label, ms(one.cpu), ms(one.wall), shown))
    table((what, "CPU", "wall", "nic_info / this (CPU)"), rows)


if __name__ == "__main__":
    main()
