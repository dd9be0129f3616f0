# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab.device CONFIG: serves MANA functions until it is told to end (SIGTERM, SIGINT).

The control socket is made last: when it is there, all is.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from lab.net.link import DatagramLink
from lab.net.responder import Responder
from lab.net.switch import Switch

from .config import ConfigError, ServerConfig, load
from .control import Control
from .function import Function
from .loop import Loop
from .vfio_user import Server

TICK = 0.02  # seconds between two looks at the timers of responder and link

MAX_LINES = 200_000  # of the log: a guest decides how many there are


class DeviceServer:
    """Everything that one process serves."""

    def __init__(self, config: ServerConfig, loop: Loop) -> None:
        """:raises OSError: a socket or the log cannot be made"""
        self._loop = loop
        self._log: TextIO | None = config.log.open("a", encoding="utf-8", buffering=1) if config.log else None
        self._lines = 0
        self.switch = Switch()
        self.functions = [Function(function, self.switch, self._trace_of(index)) for index, (_, function) in enumerate(config.functions)]
        self._servers = [Server(path, function, loop) for (path, _), function in zip(config.functions, self.functions, strict=True)]
        self.responder: Responder | None = None
        if config.responder is not None:
            self.responder = Responder(self.switch, mac=config.responder.mac, ipv4=config.responder.ipv4, ipv6=config.responder.ipv6)
        self._link: DatagramLink | None = None
        if config.join is not None:
            self._link = DatagramLink(self.switch, *config.join)
            loop.add_reader(self._link, self._link.on_readable)
        self._tick()
        self._control = Control(config.control, self.functions, self.switch, self.responder, loop) if config.control else None

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
        for server in self._servers:
            server.close()
        if self._link is not None:
            self._loop.remove_reader(self._link)
            self._link.close()
        if self._log is not None:
            self._log.close()

    def _trace_of(self, function: int) -> Any:
        def trace(event: dict[str, Any]) -> None:
            if self._log is None or self._lines > MAX_LINES:
                return
            self._lines += 1
            line = {"function": function, **event} if self._lines <= MAX_LINES else {"truncated": True}
            self._log.write(json.dumps(line) + "\n")

        return trace

    def _tick(self) -> None:
        """Timers of the responder's TCP, and the link's look after its other side."""
        now = time.monotonic()
        if self.responder is not None:
            self.responder.tick(now)
        if self._link is not None:
            self._link.tick(now)
        self._loop.call_later(TICK, self._tick)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.device", description="Serve emulated MANA functions over vfio-user.")
    parser.add_argument("config", type=Path, help="JSON file; lab/device/config.py says what is in it")
    loop = Loop()
    try:
        server = DeviceServer(load(parser.parse_args().config), loop)
    except (ConfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    try:
        loop.run()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
