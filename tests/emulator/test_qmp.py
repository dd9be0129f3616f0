# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of QEMU's protocol, against a server that says what it is told."""

from __future__ import annotations

import collections.abc
import json
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from lab.vm.qmp import Qmp, QmpError

Message = dict[str, t.Any]

GREETING: Message = {"QMP": {"version": {"qemu": {"major": 11}}, "capabilities": ["oob"]}}
DELETED: Message = {"event": "DEVICE_DELETED", "data": {"device": "vf0"}, "timestamp": {"seconds": 1, "microseconds": 2}}

Script = collections.abc.Sequence[Message]


class FakeQemu:
    """Sends the greeting; for each request that comes, sends the next list of messages. Closes after the last."""

    def __init__(self, folder: Path, *answers: Script, greeting: Message = GREETING, chunk: int = 4096) -> None:
        self.path = folder / "qmp.sock"
        self.requests: list[Message] = []
        self._answers = answers
        self._greeting = greeting
        self._chunk = chunk
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def join(self) -> None:
        self._thread.join(30)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, self._listener, connection.makefile("rb") as requests:
            self._send(connection, [self._greeting])
            for messages in self._answers:
                line = requests.readline()
                if not line:
                    return
                request = json.loads(line)
                number = request.pop("id")
                self.requests.append(request)
                self._send(connection, [m if "event" in m or "id" in m else {**m, "id": number} for m in messages])

    def _send(self, connection: socket.socket, messages: Script) -> None:
        data = b"".join(json.dumps(message).encode() + b"\r\n" for message in messages)
        for start in range(0, len(data), self._chunk):
            connection.sendall(data[start : start + self._chunk])


READY: Script = [{"return": {}}]


def test_negotiates_before_the_first_command(tmp_path: Path) -> None:
    qemu = FakeQemu(tmp_path, READY, [{"return": {"status": "running"}}])
    assert Qmp(qemu.path).execute("query-status") == {"status": "running"}
    qemu.join()
    assert [request["execute"] for request in qemu.requests] == ["qmp_capabilities", "query-status"]


def test_arguments(tmp_path: Path) -> None:
    qemu = FakeQemu(tmp_path, READY, [{"return": {}}], [{"return": "text\r\n"}])
    qmp = Qmp(qemu.path)
    qmp.execute("device_del", id="vf0")
    assert qmp.human("info usernet") == "text\r\n"
    qemu.join()
    assert qemu.requests[1:] == [
        {"execute": "device_del", "arguments": {"id": "vf0"}},
        {"execute": "human-monitor-command", "arguments": {"command-line": "info usernet"}},
    ]


def test_events_before_an_answer_are_kept(tmp_path: Path) -> None:
    other = {**DELETED, "data": {"path": "/x"}}
    qmp = Qmp(FakeQemu(tmp_path, READY, [other, DELETED, {"return": {}}]).path)
    qmp.execute("device_del", id="vf0")
    assert qmp.events == [other, DELETED]
    assert qmp.wait_event("DEVICE_DELETED", matches=lambda event: event["data"].get("device") == "vf0") == DELETED
    assert qmp.events == [other]


def test_waits_for_an_event_that_comes_later(tmp_path: Path) -> None:
    qmp = Qmp(FakeQemu(tmp_path, READY, [{"return": {}}, {"event": "RESET"}, DELETED], chunk=3).path)
    qmp.execute("device_del", id="vf0")
    assert qmp.wait_event("DEVICE_DELETED") == DELETED
    assert qmp.events == [{"event": "RESET"}]


def test_a_refusal(tmp_path: Path) -> None:
    qmp = Qmp(FakeQemu(tmp_path, READY, [{"error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}]).path)
    with pytest.raises(QmpError, match="device_del: Device 'x' not found"):
        qmp.execute("device_del", id="x")


def test_an_end(tmp_path: Path) -> None:
    qmp = Qmp(FakeQemu(tmp_path, READY, []).path)
    with pytest.raises(QmpError, match=r"closed|reset|pipe"):
        qmp.execute("quit")


def test_no_answer_in_time(tmp_path: Path) -> None:
    qemu = FakeQemu(tmp_path, READY, [], READY)
    qmp = Qmp(qemu.path)
    with pytest.raises(QmpError, match="in time"):
        qmp.execute("stop", timeout=0.05)
    qmp.close()
    qemu.join()


def test_an_answer_that_came_too_late_is_not_the_next_ones(tmp_path: Path) -> None:
    qmp = Qmp(FakeQemu(tmp_path, READY, [{"return": "of the one before", "id": 1}, {"return": "of this one"}]).path)
    assert qmp.execute("query-name") == "of this one"


def test_something_else_than_qemu(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="greet"):
        Qmp(FakeQemu(tmp_path, greeting={"hello": 1}).path)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match=r"qmp\.sock"):
        Qmp(tmp_path / "qmp.sock")
