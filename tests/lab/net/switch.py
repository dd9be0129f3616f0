# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A learning switch in one process: what joins the emulated NIC's vPorts, the responder and links to other servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lab.net.frame import ETH_HLEN
from lab.net.port import Port


@dataclass(slots=True)
class SwitchCounters:
    """Plain counters since the switch was made."""

    frames: int = 0
    """Frames sent into the switch."""
    bytes: int = 0
    delivered: int = 0
    """Frames handed to a port; a flooded frame counts once for each."""
    flooded: int = 0
    """Frames for a group or for an unknown station."""
    dropped_runt: int = 0
    """Shorter than an Ethernet header."""
    dropped_source: int = 0
    """From a port that is not attached."""
    dropped_local: int = 0
    """For a station behind the very port that the frame came from."""
    dropped_tap: int = 0
    """Deliveries that the tap refused."""
    dropped_queue: int = 0
    """The queue was full: a port answers more than it is asked."""


class Switch:
    """Forwards frames by destination MAC and learns where stations are from source MACs.

    One MAC table serves all VLANs and tags pass unchanged; stations of one MAC in several VLANs must be behind one port. There is no
    spanning tree, so ports must not form a loop. Not safe for use from several threads.

    A port may send from inside `receive()`. Such frames wait until the current one is delivered and go out in the order they came,
    so the stack does not grow and no flow is reordered: the outermost `send()` returns when everything is delivered.
    """

    def __init__(self, *, max_macs: int = 4096, max_queue: int = 65536) -> None:
        """Make a switch without ports that remembers at most `max_macs` stations and holds at most `max_queue` frames."""
        self.counters = SwitchCounters()
        self.tap: Callable[[Port, bytes], bytes | None] | None = None
        """Called before each delivery with the receiving port and the frame; returns the frame to deliver, or None to drop it."""
        self._max_macs = max_macs
        self._max_queue = max_queue
        self._ports: list[Port] = []
        self._macs: dict[bytes, Port] = {}
        self._queue: deque[tuple[Port, bytes]] = deque()
        self._is_delivering = False

    def attach(self, port: Port) -> None:
        """Add a port; raises ValueError if it is there already."""
        if self._is_attached(port):
            raise ValueError("the port is attached already")
        self._ports.append(port)

    def detach(self, port: Port) -> None:
        """Remove a port and forget the stations behind it; frames that wait for it are dropped. Unknown ports are ignored."""
        self._ports = [other for other in self._ports if other is not port]
        self._macs = {mac: owner for mac, owner in self._macs.items() if owner is not port}

    def port_of(self, mac: bytes) -> Port | None:
        """Return the port behind which `mac` was last seen."""
        return self._macs.get(mac)

    def send(self, source_port: Port, frame: bytes) -> None:
        """Forward one frame that came from `source_port`; never raises for any content."""
        if self._is_delivering:
            if len(self._queue) < self._max_queue:
                self._queue.append((source_port, frame))
            else:
                self.counters.dropped_queue += 1
            return
        self._is_delivering = True
        queue = self._queue
        queue.append((source_port, frame))
        try:
            while queue:
                self._forward(*queue.popleft())
        finally:
            # If a port raises, what still waits goes out with the next send.
            self._is_delivering = False

    def _forward(self, source: Port, frame: bytes) -> None:
        counters = self.counters
        counters.frames += 1
        counters.bytes += len(frame)
        if len(frame) < ETH_HLEN:
            counters.dropped_runt += 1
            return
        if not self._is_attached(source):
            counters.dropped_source += 1
            return
        self._learn(frame[6:12], source)
        # Groups are never learned, so they are found in no table.
        destination = self._macs.get(frame[:6])
        if destination is source:
            counters.dropped_local += 1
        elif destination is not None:
            self._deliver(destination, frame)
        else:
            counters.flooded += 1
            # A copy: a port may attach or detach others from inside receive().
            for port in tuple(self._ports):
                if port is not source and self._is_attached(port):
                    self._deliver(port, frame)

    def _learn(self, mac: bytes, port: Port) -> None:
        macs = self._macs
        if macs.get(mac) is port or mac[0] & 1:
            return
        if mac not in macs and len(macs) >= self._max_macs:
            # The station that was learned first makes room; if it is still there it will be learned again.
            del macs[next(iter(macs))]
        macs[mac] = port

    def _deliver(self, port: Port, frame: bytes) -> None:
        if self.tap is not None:
            tapped = self.tap(port, frame)
            if tapped is None:
                self.counters.dropped_tap += 1
                return
            frame = tapped
        self.counters.delivered += 1
        port.receive(frame)

    def _is_attached(self, port: Port) -> bool:
        # By identity: a port may define equality for its own purposes.
        return any(other is port for other in self._ports)
