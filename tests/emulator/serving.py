# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a device server in a thread, for tests that talk to it through its socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.device.loop import Loop
from lab.device.vfio_user import Device, Server


@contextmanager
def serving(device: Device, path: Path, loop: Loop | None = None) -> Iterator[Server]:
    """Serve `device` at `path` while the block runs. An exception that ends the server fails the test.

    Pass the `loop` with which the device was made, if it needs one.
    """
    loop = loop or Loop()
    server = Server(path, device, loop)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:
            failures.append(error)
        finally:
            server.close()  # so that clients see an end instead of waiting

    thread = threading.Thread(target=run, name="device-server", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        loop.stop()
        thread.join()
        loop.close()
        if failures:
            raise failures[0]
