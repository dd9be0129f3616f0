# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of QEMU's machine protocol.

Source: QEMU's docs/interop/qmp-spec. One JSON object per line; the server greets, and answers commands in order after
qmp_capabilities; events may come between a command and its answer.
"""

from __future__ import annotations

import collections.abc
import json
import pathlib
import socket
import time
import typing as t

from lab.vm.errors import LabError

Message = dict[str, t.Any]


class QmpError(LabError):
    """QEMU refused a command, answered too late, or went away."""


class Qmp:
    """A connection to one QEMU. Synchronous; events that come meanwhile are kept in order in `events`."""

    def __init__(self, path: pathlib.Path, timeout: float = 60.0) -> None:
        """Connect to the unix socket and negotiate; timeout in seconds is also the default of every command."""
        self.timeout = timeout
        self.events: list[Message] = []
        self._buffer = b""
        self._id = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
            deadline = time.monotonic() + timeout
            if "QMP" not in self._read(deadline):
                raise QmpError(f"{path} does not greet as QMP does")
            self.execute("qmp_capabilities")
        except OSError as error:
            self.close()
            raise QmpError(f"QMP: {path}: {error}") from error
        except QmpError:
            self.close()
            raise

    def execute(self, command: str, /, timeout: float | None = None, **arguments: t.Any) -> t.Any:
        """What the command returns. Underscores in names of arguments stand for themselves; QMP writes most with dashes."""
        return self.command({"execute": command, "arguments": arguments}, timeout)

    def command(self, request: Message, timeout: float | None = None) -> t.Any:
        """Like execute, with the whole request as the protocol has it: for arguments that are no Python names."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        # An answer bears the id of its request: one that came too late is not taken for that of the next.
        self._id += 1
        try:
            self._socket.sendall(json.dumps({**request, "id": self._id}).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"QMP: {request['execute']}: {error}") from error
        while True:
            message = self._read(deadline)
            if "event" in message:
                self.events.append(message)
            elif message.get("id") != self._id:
                continue
            elif "error" in message:
                raise QmpError(f"QMP: {request['execute']}: {message['error'].get('desc', message['error'])}")
            elif "return" in message:
                return message["return"]

    def human(self, line: str) -> str:
        """What a line of the human monitor prints; for what has no command of its own."""
        return str(self.command({"execute": "human-monitor-command", "arguments": {"command-line": line}}))

    def wait_event(
        self, name: str, timeout: float | None = None, matches: collections.abc.Callable[[Message], bool] | None = None
    ) -> Message:
        """The first event of that name, also one that came before; it is taken out of `events`."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name and (matches is None or matches(event)):
                    return self.events.pop(index)
            message = self._read(deadline)
            if "event" in message:
                self.events.append(message)

    def close(self) -> None:
        self._socket.close()

    def _read(self, deadline: float) -> Message:
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QmpError("QMP: no answer in time")
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise QmpError("QMP: no answer in time") from None
            except OSError as error:
                raise QmpError(f"QMP: {error}") from error
            if not data:
                raise QmpError("QMP: QEMU closed the connection")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise QmpError(f"QMP: not an object: {message!r}")
        return message
