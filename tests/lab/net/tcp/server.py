# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP server's table of connections: who gets one, who is refused, which are given up."""

from __future__ import annotations

import random
from collections.abc import Callable

from lab.net.checksum import Buffer
from lab.net.frame import VLAN_VID_MASK, Frame
from lab.net.path import Path
from lab.net.tcp.connection import Connection, State, TcpCounters
from lab.net.tcp.segment import ACK, RST, SYN, Segment, build_segment, read_segment
from lab.net.tcp.services import SERVICES, Service

_Key = tuple[int | None, bytes, bytes, int, int]
"""VLAN id, own and peer's address, own and peer's port."""

_IP_HLEN = {4: 20, 16: 40}
_TCP_HLEN = 20


def _random_sequence() -> int:
    return random.getrandbits(32)


class TcpServer:
    """Serves `services` (by port) on any address that frames are passed for.

    Memory is bounded by `max_connections` times `buffer_size` bytes. When the table is full the oldest connection that is only half open
    makes room, else the peer is refused. Connections that said nothing for `idle_timeout` seconds are reset.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        *,
        mtu: int,
        services: dict[int, Callable[[], Service]] = SERVICES,
        max_connections: int = 64,
        buffer_size: int = 1 << 20,
        idle_timeout: float = 300.0,
        initial_sequence: Callable[[], int] = _random_sequence,
    ) -> None:
        """Send frames with `send`, none with more than `mtu` bytes of IP."""
        self.counters = TcpCounters()
        self._send = send
        self._mtu = mtu
        self._services = services
        self._max_connections = max_connections
        self._buffer_size = buffer_size
        self._idle_timeout = idle_timeout
        self._initial_sequence = initial_sequence
        self._connections: dict[_Key, Connection] = {}

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._connections)

    def receive(self, frame: Buffer, parsed: Frame, path: Path, now: float) -> None:
        """Take a TCP frame with good checksums; `path` leads back to its sender."""
        assert parsed.dst_port is not None and parsed.src_port is not None
        segment = read_segment(frame, parsed)
        vlan = None if parsed.vlan_tci is None else parsed.vlan_tci & VLAN_VID_MASK
        ports = (parsed.dst_port, parsed.src_port)
        key = (vlan, path.src, path.dst, *ports)
        connection = self._connections.get(key)
        if connection is None:
            self._open(key, segment, path, ports, now)
            return
        connection.path = path
        connection.receive(segment, now)
        if connection.state is State.CLOSED:
            del self._connections[key]

    def _open(self, key: _Key, segment: Segment, path: Path, ports: tuple[int, int], now: float) -> None:
        if segment.flags & RST:
            return
        is_syn = segment.flags & (SYN | ACK) == SYN
        service = self._services.get(ports[0]) if is_syn else None
        if service is None or not self._make_room():
            self.counters.refused += is_syn
            self._refuse(segment, path, ports)
            return
        self._connections[key] = Connection(
            segment,
            path,
            ports,
            service(),
            send=self._send,
            counters=self.counters,
            mss=self._mtu - _IP_HLEN[len(path.src)] - _TCP_HLEN,
            buffer_size=self._buffer_size,
            initial_sequence=self._initial_sequence(),
            now=now,
        )

    def _make_room(self) -> bool:
        if len(self._connections) < self._max_connections:
            return True
        for key, connection in self._connections.items():
            if connection.state is State.SYN_RECEIVED:
                del self._connections[key]
                return True
        return False

    def _refuse(self, segment: Segment, path: Path, ports: tuple[int, int]) -> None:
        """Send the reset that RFC 9293, section 3.10.7.1 wants for a segment of no connection."""
        if segment.flags & ACK:
            sequence, acknowledgment, flags = segment.acknowledgment, 0, RST
        else:
            sequence, acknowledgment, flags = 0, segment.sequence + segment.length, RST | ACK
        self._send(build_segment(path, ports, sequence=sequence, acknowledgment=acknowledgment, flags=flags, window=0))

    def tick(self, now: float) -> None:
        """Let timers expire."""
        for key, connection in list(self._connections.items()):
            if now - connection.last_heard > self._idle_timeout:
                connection.expire()
            else:
                connection.tick(now)
            if connection.state is State.CLOSED:
                del self._connections[key]

    def next_deadline(self) -> float | None:
        """Return when `tick()` has something to retransmit; None if nothing is on its way."""
        return min((connection.timer for connection in self._connections.values() if connection.timer is not None), default=None)
