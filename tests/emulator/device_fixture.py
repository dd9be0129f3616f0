# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device server in a thread, a driver that talks to it, and the wire between its vPorts.

The server's thread waits for the driver nearly all the time. Tests look at the device's own objects, and put frames on its
wire, only while it does: after a reply, and before the next request.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.device.function import Function, FunctionConfig
from lab.device.loop import Loop
from lab.net.switch import Switch
from mini_driver import MiniDriver
from serving import serving
from vfio_client import Client

MACS = (bytes.fromhex("7c1e52000001"), bytes.fromhex("7c1e52000002"))
RAM_ADDRESS = 5 << 30  # above 4 GiB: an address that is cut to 32 bits is found
RAM_SIZE = 64 << 20


class Wire:
    """A port of the switch: keeps what it gets, and sends what a test wants to be received."""

    def __init__(self, switch: Switch) -> None:
        self.frames: list[bytes] = []
        self._switch = switch
        switch.attach(self)

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send(self, frame: bytes) -> None:
        self._switch.send(self, frame)

    def take(self) -> list[bytes]:
        """What has come since the last call."""
        frames, self.frames = self.frames, []
        return frames


class Rig:
    """All of it."""

    def __init__(self, path: Path, config: FunctionConfig) -> None:
        self.path = path
        self.config = config
        self.switch = Switch()
        self.trace: list[dict[str, Any]] = []
        self.function = Function(config, self.switch, self.trace.append)
        self.wire = Wire(self.switch)
        self.client: Client
        self.driver: MiniDriver

    def connect(self) -> None:
        """A new client and a new driver; the channel is not established yet."""
        self.client = Client(self.path, ram_size=RAM_SIZE, ram_address=RAM_ADDRESS, vectors=self.config.msix_vectors)
        self.driver = MiniDriver(self.client)


@contextlib.contextmanager
def rig(tmp_path: Path, macs: tuple[bytes, ...] = MACS, msix_vectors: int = 9, establish: bool = True, **options: Any) -> Iterator[Rig]:
    """Serve one function; with `establish` its channel is ready."""
    made = Rig(tmp_path / "vf.sock", FunctionConfig(macs=macs, msix_vectors=msix_vectors, **options))
    with serving(made.function, made.path, Loop()):
        made.connect()
        with contextlib.closing(made.client):
            if establish:
                made.driver.establish()
            yield made
