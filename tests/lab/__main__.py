# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab for people: check that it works, leave a machine running, end it."""

from __future__ import annotations

import argparse
import collections.abc
import json
import pathlib
import signal
import sys
import types
import typing as t

from lab.vm import audit, images, records
from lab.vm.cache import say
from lab.vm.errors import LabError
from lab.vm.lab import Lab
from lab.vm.mirror import MirrorError
from lab.vm.recipes import RECIPES
from lab.vm.tree import BuildError


def check(options: argparse.Namespace) -> int:
    """Boot a machine with a MANA NIC and have the collection audit it."""
    with Lab(options.guest, what=f"check of {options.guest}") as lab:
        say(f"{options.guest} runs {lab.vm.image.kernel_release}; connecting its NIC")
        lab.connect()
        result = audit.audit(lab, options.report_dir.absolute())[lab.vm.name]
        macs = [mac for function in lab.vm.spec.functions for mac in function.macs]
        for verdict in audit.verdicts(result):
            print(f"{verdict}{'' if verdict.mac in macs else ' [not of the lab]'}")
        problems = audit.shortcomings(result, macs)
        if problems:
            raise LabError("; ".join(problems))
    return 0


def shell(options: argparse.Namespace) -> int:
    """Boot a machine and leave it running."""
    with Lab(options.guest, options.vports, options.name, survives=True, what=f"{options.guest} for people", memory=options.memory) as lab:
        if options.connect and options.vports:
            lab.connect()
        connection = lab.leave()
    if options.json:
        print(json.dumps(connection))
    else:
        _print_lab(connection)
        print(f"end it with: scripts/lab down {connection['name']}")
    return 0


def down(options: argparse.Namespace) -> int:
    """End labs that were left running."""
    kept = [run for run in records.all_runs() if run.record().get("keep")]
    if options.all:
        ending = kept
    elif options.names:
        ending = [records.Run.find(name) for name in options.names]
    elif len(kept) == 1:
        ending = kept
    else:
        raise LabError(f"which one: {', '.join(run.id for run in kept)}?" if kept else "no lab was left running")
    for run in ending:
        if run.owned():
            raise LabError(f"the lab {run.id} belongs to process {run.record().get('owner')}, which still runs: end that instead")
        say(f"ended {run.id}; its logs: {run.remove()}")
    return 0


def list_labs(options: argparse.Namespace) -> int:
    """Tell what runs."""
    rows = [_described(run) for run in records.all_runs()]
    if options.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(f"{row['name']}: {row['what']}, {row['state']}, since {row['created']}")
        if row["connection"]:
            _print_lab(row["connection"])
    return 0


def _described(run: records.Run) -> dict[str, t.Any]:
    record = run.record()
    connection = run.path / "connection.json"
    if run.owned():
        state = f"belongs to process {record.get('owner')}"
    elif any(process.running() for process in run.processes()):
        state = "left running"
    else:
        state = "has ended"
    return {
        "name": run.id,
        "what": record.get("what"),
        "created": record.get("created"),
        "state": state,
        "connection": json.loads(connection.read_text(encoding="utf-8")) if connection.exists() else None,
    }


def _print_lab(connection: collections.abc.Mapping[str, t.Any]) -> None:
    for vm in connection["vms"]:
        print(f"{vm['name']}: {vm['ssh']}")
    print(f"inventory: {connection['inventory']}")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: collections.abc.Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        added.set_defaults(function=function)
        return added

    added = command("check", check)
    added.add_argument("--guest", choices=sorted(RECIPES), default="debian-13")
    added.add_argument("--report-dir", type=pathlib.Path, default=pathlib.Path("accelnet-reports"), help="where the report goes")
    added = command("shell", shell)
    added.add_argument("--guest", choices=sorted(RECIPES), default="debian-13")
    added.add_argument("--name", help="of the lab; by itself a random one")
    added.add_argument("--vports", type=int, default=1, help="how many vPorts the MANA NIC has; 0: no NIC")
    added.add_argument("--memory", type=int, default=2048, help="in MiB")
    added.add_argument("--connect", action=argparse.BooleanOptionalAction, default=True, help="configure the NIC's interfaces")
    added.add_argument("--json", action="store_true", help="tell how to reach the machine as JSON")
    added = command("down", down)
    added.add_argument("names", nargs="*", metavar="NAME", help="of a lab; may be left out when there is one only")
    added.add_argument("--all", action="store_true", help="all that were left running")
    added = command("list", list_labs)
    added.add_argument("--json", action="store_true")
    return parser


def _terminated(number: int, frame: types.FrameType | None) -> t.NoReturn:
    """A signal that ends programs, as an exception: so that the lab is taken down."""
    raise SystemExit(128 + number)


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. What went wrong is one line on standard error."""
    options = _arguments().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    try:
        for name in records.clean_dead():
            say(f"removed what a killed lab left: {name}")
        missing = images.missing() if options.function in (check, shell) else {}
        if missing:
            raise LabError(f"commands are missing: {', '.join(missing)}; scripts/setup lab installs them")
        return int(options.function(options))
    except (LabError, BuildError, MirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the lab was taken down", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
