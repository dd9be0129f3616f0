# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control socket: tests and people ask a running device server here, beside the guest's own way.

A unix stream socket. One JSON object a line is asked, one a line is answered: {"ok": true, …} or {"ok": false, "error": "…"}.
Commands and their arguments are the methods of Control whose names begin with do_; the lab's README lists them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.net.responder import Responder
from lab.net.switch import Switch

from .faults import Faults
from .function import Function
from .guest_memory import DmaError
from .loop import Loop

MAX_LINE = 1 << 16


class CommandError(ValueError):
    """What was asked cannot be done."""


class Control:
    """Serves the socket. Any number of clients; answers are small, a client that does not read them is dropped."""

    def __init__(self, path: Path, functions: list[Function], switch: Switch, responder: Responder | None, loop: Loop) -> None:
        """:raises OSError: the socket cannot be made"""
        self._functions = functions
        self._switch = switch
        self._responder = responder
        self._loop = loop
        self._path = path
        self._clients: dict[socket.socket, bytes] = {}
        if path.is_socket():  # left by a server before; anything else makes bind() fail
            path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen()
        self._listener.setblocking(False)
        loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        for client in list(self._clients):
            self._drop(client)
        self._loop.remove_reader(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        client.setblocking(False)
        self._clients[client] = b""
        self._loop.add_reader(client, lambda: self._on_readable(client))

    def _drop(self, client: socket.socket) -> None:
        self._loop.remove_reader(client)
        del self._clients[client]
        client.close()

    def _on_readable(self, client: socket.socket) -> None:
        try:
            data = client.recv(MAX_LINE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        *lines, rest = (self._clients[client] + data).split(b"\n")
        if not data or len(rest) > MAX_LINE:
            self._drop(client)
            return
        self._clients[client] = rest
        for line in lines:
            try:
                client.sendall(json.dumps(self.answer(line)).encode() + b"\n")
            except OSError:
                self._drop(client)
                return

    def answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            if not isinstance(asked, dict) or not isinstance(asked.get("command"), str):
                raise CommandError("not an object with a command")
            arguments = dict(asked)
            method: Callable[..., dict[str, Any]] | None = getattr(self, "do_" + arguments.pop("command"), None)
            if method is None:
                known = ", ".join(sorted(name[3:] for name in dir(self) if name.startswith("do_")))
                raise CommandError(f"unknown command {asked['command']!r}; known are {known}")
            return {"ok": True, **method(**arguments)}
        except (ValueError, TypeError, RecursionError, DmaError) as error:
            return {"ok": False, "error": str(error)}

    def _function(self, index: int) -> Function:
        if type(index) is not int or not 0 <= index < len(self._functions):
            raise CommandError(f"no function {index!r}")
        return self._functions[index]

    def do_counters(self) -> dict[str, Any]:
        """Counters of every vPort, the switch and the responder, and what drivers did that they should not."""
        return {
            "functions": [
                {
                    "problems": function.problems,
                    "driver": function.gdma.driver,
                    "vports": [
                        {"mac": vport.mac.hex(":"), "link": vport.link, **dataclasses.asdict(vport.statistics)} for vport in function.vports
                    ],
                }
                for function in self._functions
            ],
            "switch": dataclasses.asdict(self._switch.counters),
            "responder": None if self._responder is None else dataclasses.asdict(self._responder.counters),
        }

    def do_faults(self, function: int = 0, **values: Any) -> dict[str, Any]:
        """Set fields of Faults; without any, just tell them. lose_requests and refuse_requests take message types as strings."""
        faults = self._function(function).faults
        checked = {name: _fault(name, value) for name, value in values.items()}
        for name, value in checked.items():
            setattr(faults, name, value)
        fields = {name: value for name, value in dataclasses.asdict(faults).items() if not name.startswith("_")}
        return {"faults": fields, "happened": faults.happened}

    def do_link(self, up: bool, function: int = 0, vport: int = 0) -> dict[str, Any]:
        """Take the wire out of a vPort, or put it in again. `told`: whether the driver got an event, see Function.set_link."""
        served = self._function(function)
        if type(vport) is not int or not 0 <= vport < len(served.vports):
            raise CommandError(f"no vPort {vport!r}")
        if type(up) is not bool:
            raise CommandError(f"up: {up!r} is not true or false")
        told = served.set_link(vport, up)
        return {"link": served.vports[vport].link, "told": told}

    def do_request_reset(self, function: int = 0) -> dict[str, Any]:
        """Ask the driver to reset the function (GDMA_EQE_HWC_RESET_REQUEST): what Azure does for servicing. `obeyed`: whether it will."""
        return {"obeyed": self._function(function).request_reset()}

    def do_hwc_timeout(self, milliseconds: int, function: int = 0) -> dict[str, Any]:
        """Tell the driver how long to wait for answers (GDMA_EQE_HWC_SOC_RECONFIG_DATA)."""
        hwc = self._function(function).hwc
        if hwc is None or type(milliseconds) is not int or not 0 < milliseconds < 1 << 24:
            raise CommandError("no hardware channel, or not a number of milliseconds")
        hwc.reconfigure_timeout(milliseconds)
        return {}


def _fault(name: str, value: Any) -> Any:
    """:raises CommandError: no such fault, or not a value for it"""
    defaults = {name: value for name, value in dataclasses.asdict(Faults()).items() if not name.startswith("_")}
    if name not in defaults:
        raise CommandError(f"no fault {name!r}; there are {', '.join(sorted(defaults))}")
    if isinstance(defaults[name], dict):
        if not isinstance(value, dict) or not all(type(count) is int and count >= 0 for count in value.values()):
            raise CommandError(f"{name}: a table of message type and count is needed")
        return {int(message, 0): count for message, count in value.items()}
    if type(value) is not type(defaults[name]):
        raise CommandError(f"{name}: {value!r} is not of type {type(defaults[name]).__name__}")
    if type(value) is int and value < 0:
        raise CommandError(f"{name}: {value} is negative")
    return value
