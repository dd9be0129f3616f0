# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins the switches of two server processes: one Ethernet frame is one datagram between two Unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from lab.net.frame import ETH_HLEN
from lab.net.port import Port
from lab.net.switch import Switch

_MAX_FRAME = 1 << 17
_BUFFER_SIZE = 4 << 20
_FRAMES_PER_CALL = 256
"""So that one busy link does not starve the rest of the event loop."""
_CHECK_INTERVAL = 1.0


@dataclass(slots=True)
class LinkCounters:
    """Plain counters since the link was made."""

    sent: int = 0
    received: int = 0
    dropped_no_peer: int = 0
    """The other side has not started, or is gone."""
    dropped_full: int = 0
    """The other side does not read as fast as frames come."""
    dropped_error: int = 0
    """The frame is too long for a datagram, or the system has no memory."""


class DatagramLink(Port):
    """A port of `switch` that sends to the link that is bound to `peer_path`, and delivers what arrives at `local_path`.

    Both sides may start, end and start again in any order. Frames are lost while there is no peer, like on a cable without one.

    The socket is connected to the peer's when possible: between two sockets connected to each other Linux limits what waits by the size
    of the send buffer only, else by net.unix.max_dgram_qlen, which is 10 datagrams on many systems (unix_dgram_sendmsg in af_unix.c).
    """

    def __init__(self, switch: Switch, local_path: str | Path, peer_path: str | Path) -> None:
        """Bind `local_path`, replacing a socket that is there, and attach to `switch`; raises OSError if that cannot be."""
        self.counters = LinkCounters()
        self._switch = switch
        self._local_path = str(local_path)
        self._peer_path = str(peer_path)
        self._is_connected = False
        self._next_check = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_SIZE)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._local_path)
            self._socket.bind(self._local_path)
        except OSError:
            self._socket.close()
            raise
        switch.attach(self)

    def fileno(self) -> int:
        """Return the descriptor to watch for reading."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leave the switch and remove the socket."""
        self._switch.detach(self)
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._local_path)

    def receive(self, frame: bytes) -> None:
        """Send one frame to the other side, or count why not; never blocks."""
        if self._send(frame):
            self.counters.sent += 1

    def on_readable(self) -> None:
        """Deliver frames that have arrived; call it when `fileno()` is readable, and again while it is."""
        for _ in range(_FRAMES_PER_CALL):
            try:
                frame = self._socket.recv(_MAX_FRAME)
            except (BlockingIOError, ConnectionError):
                return
            # Shorter ones are only to see whether this side is alive.
            if len(frame) >= ETH_HLEN:
                self.counters.received += 1
                self._switch.send(self, frame)

    def tick(self, now: float) -> None:
        """Find out once a second whether the peer is there; call it now and then with a clock in seconds.

        A socket that is connected to a peer that has ended accepts nothing from the peer's successor until a send fails, so something must
        be sent even if there are no frames.
        """
        if now >= self._next_check:
            self._next_check = now + _CHECK_INTERVAL
            before = (self.counters.dropped_no_peer, self.counters.dropped_full, self.counters.dropped_error)
            self._send(b"")
            self.counters.dropped_no_peer, self.counters.dropped_full, self.counters.dropped_error = before

    def _send(self, datagram: bytes) -> bool:
        # The second attempt is for a peer that has been started again on the same path.
        for _ in range(2):
            if not self._is_connected and not self._connect():
                break
            try:
                self._socket.send(datagram)
                return True
            except BlockingIOError:
                self.counters.dropped_full += 1
                return False
            except (ConnectionError, FileNotFoundError, PermissionError):
                self._is_connected = False
            except OSError:
                self.counters.dropped_error += 1
                return False
        self.counters.dropped_no_peer += 1
        return False

    def _connect(self) -> bool:
        try:
            self._socket.connect(self._peer_path)
        except OSError:
            return False
        self._is_connected = True
        return True
