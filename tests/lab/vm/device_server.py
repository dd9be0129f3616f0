# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that is the NICs of a lab, and the wire between them."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib
import socket
import sys
import time
import typing as t

from lab.vm.errors import LabError
from lab.vm.records import Process, Run
from lab.vm.spec import FunctionSpec, ResponderSpec

_START_TIMEOUT = 60.0
_TESTS = pathlib.Path(__file__).resolve().parents[2]


class DeviceServer:
    """A running `python -m lab.device`."""

    def __init__(
        self,
        run: Run,
        functions: collections.abc.Mapping[str, FunctionSpec],
        responder: ResponderSpec | None,
        survives: bool = False,
        join: collections.abc.Mapping[str, str] | None = None,
    ) -> None:
        """Start it, and wait until it answers. functions: by name; their sockets are NAME.sock of the lab.

        join: paths of the `local` and the `peer` socket of a link to the wire of another server.
        """
        self.control = run.socket("control.sock")
        self._expected_to_run = True
        configuration = {
            "functions": [
                {
                    "socket": str(run.socket(f"{name}.sock")),
                    "vports": [{"mac": mac} for mac in function.macs],
                    "max_queues": function.max_queues,
                    **function.options,
                }
                for name, function in functions.items()
            ],
            "responder": None if responder is None else dataclasses.asdict(responder),
            "control": str(self.control),
            "log": str(run.logs / "device.log"),
            "join": None if join is None else dict(join),
        }
        path = run.path / "device.json"
        path.write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")
        # -I is not possible, it would hide PYTHONPATH; the rest of the user's settings stays out.
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process: Process = run.start("device-server", [sys.executable, "-m", "lab.device", str(path)], environment, survives)
        deadline = time.monotonic() + _START_TIMEOUT
        # The control socket is made last.
        while not _answers(self.control):
            if self.process.exit_code() is not None or time.monotonic() > deadline:
                raise LabError(f"the device server did not start: {self.process.log_tail() or 'it said nothing'}")
            time.sleep(0.02)

    def command(self, name: str, timeout: float = 60.0, **arguments: t.Any) -> dict[str, t.Any]:
        """Ask the server something, `counters` for example, and return its answer. The commands are in lab.device.control."""
        return control_command(self.control, name, timeout, **arguments)

    def check(self) -> None:
        """Raises LabError when the server has ended and nobody told it to."""
        code = self.process.exit_code()
        if code is not None and self._expected_to_run:
            raise LabError(f"the device server ended with {code}: {self.process.log_tail()}")

    def check_use(self) -> None:
        """Raises LabError when a driver did what a right one never does. A server that has ended knows nothing of it."""
        if self.process.exit_code() is not None:
            return
        for number, function in enumerate(self.command("counters")["functions"]):
            if function["problems"]:
                raise LabError(f"function {number} was misused: {function['problems']}; device.log says how")

    def kill(self) -> None:
        """End it as a crash would: for tests of what a guest does then."""
        self._expected_to_run = False
        self.process.kill()

    def stop(self) -> None:
        """Ask it to end, and wait for it."""
        self._expected_to_run = False
        self.process.stop()


def control_command(path: pathlib.Path, name: str, timeout: float = 60.0, **arguments: t.Any) -> dict[str, t.Any]:
    """Send one request to a control socket: a line of JSON there, a line of JSON back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            with connection.makefile("rwb") as stream:
                stream.write(json.dumps({"command": name, **arguments}).encode() + b"\n")
                stream.flush()
                line = stream.readline()
        except OSError as error:
            raise LabError(f"the device server does not answer {name}: {error}") from error
    if not line:
        raise LabError(f"the device server closed the connection instead of answering {name}")
    answer: dict[str, t.Any] = json.loads(line)
    if not answer["ok"]:
        raise LabError(f"the device server refused {name}: {answer['error']}")
    return answer


def _answers(path: pathlib.Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        return connection.connect_ex(str(path)) == 0
