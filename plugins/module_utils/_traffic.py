# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The traffic of a measurement: long TCP flows in both directions, to an echo service or to a host that runs vf_check.

How the two halves of vf_check talk: the server opens with a nonce (32 hexadecimal digits and a line feed). The client
answers with a proof that it knows the token, HMAC-SHA256 over nonce and command, and the command: ``sink`` (the server
reads what comes), ``source`` (it sends) or ``end`` (it ends). The server says ``ok``. The token itself is never sent.

Private to this collection. Python 3.6, standard library.
"""

import hashlib
import hmac
import os
import select
import socket
import time
from typing import List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

CONNECT_LIMIT = 10.0  # seconds until a peer must have accepted and greeted
BLOCK = os.urandom(1 << 16)  # random, so that nothing on the way makes less of it
NONCE_DIGITS = 32
OK = b"ok\n"

Endpoint = NamedTuple(
    "Endpoint",
    [
        ("address", str),
        ("port", int),
        ("device", Optional[str]),  # the interface to go through; None leaves it to the routes
        ("sources", List[str]),  # addresses of that interface, without prefix length
    ],
)


def proof(token: str, nonce: str, command: str) -> str:
    """What shows that a client knows the token."""
    return hmac.new(token.encode("utf-8"), (nonce + " " + command).encode("ascii"), hashlib.sha256).hexdigest()


def source_for(family: int, sources: List[str]) -> Optional[str]:
    """The first address of a family that is good for more than its own link."""
    wanted = [source for source in sources if (":" in source) == (family == socket.AF_INET6)]
    return next((source for source in wanted if not source.lower().startswith("fe80:")), None)


def connect(endpoint: Endpoint, limit: float = CONNECT_LIMIT) -> Tuple[socket.socket, str]:
    """(connection, what it is bound to: device, address or routes). Raises AccelnetError (peer_unreachable)."""
    through = " through " + endpoint.device if endpoint.device else ""
    failure = "it has no address"
    try:
        found = socket.getaddrinfo(endpoint.address, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        found, failure = [], str(error)
    for family, kind, protocol, _name, where in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(limit)
            bound = _bind(connection, family, endpoint)
            connection.connect(where)
            return connection, bound
        except OSError as error:
            connection.close()
            failure = str(error)
    raise AccelnetError("peer_unreachable", "{0}:{1}{2}: {3}".format(endpoint.address, endpoint.port, through, failure))


def _bind(connection: socket.socket, family: int, endpoint: Endpoint) -> str:
    source = source_for(family, endpoint.sources)
    if source is None or endpoint.device is None:
        # The address may be that of a bond or bridge, whose packets do not belong to its members.
        return "routes"
    connection.bind((source, 0))
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, endpoint.device.encode() + b"\0")
    except PermissionError:
        return "address"  # before Linux 5.7 this is for root only
    return "device"


class Load:
    """Connections that are kept busy while they are pumped. Without any it only lets time pass."""

    def __init__(self) -> None:
        self.bound: Optional[str] = None
        self._connections: List[socket.socket] = []
        self._senders: List[socket.socket] = []

    def add(self, connection: socket.socket, sends: bool) -> None:
        """Take over a connection: what arrives is dropped; ``sends``: blocks are sent without end."""
        connection.setblocking(False)
        self._connections.append(connection)
        if sends:
            self._senders.append(connection)

    def pump(self, seconds: float) -> None:
        """Keep it busy for so long. Raises AccelnetError (peer_unreachable) when a connection ends."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            readable, writable, _failed = select.select(self._connections, self._senders, [], left)
            try:
                for connection in readable:
                    if not connection.recv(1 << 18):
                        raise OSError("the peer closed the connection")
                for connection in writable:
                    connection.send(BLOCK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise AccelnetError("peer_unreachable", "the traffic broke off: {0}".format(error))

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections, self._senders = [], []


def open_echo(endpoint: Endpoint) -> Load:
    """One connection to an echo service (RFC 862): both directions in one. Raises AccelnetError (peer_unreachable)."""
    load = Load()
    connection, load.bound = connect(endpoint)
    load.add(connection, sends=True)
    return load


def command(endpoint: Endpoint, token: str, word: str) -> Tuple[socket.socket, str]:
    """A connection to a server of vf_check that has accepted a command. Raises AccelnetError (peer_unreachable)."""
    connection, bound = connect(endpoint)
    try:
        nonce = _exactly(connection, NONCE_DIGITS + 1).decode("ascii", "replace").strip()
        connection.sendall("{0} {1}\n".format(proof(token, nonce, word), word).encode("ascii", "replace"))
        if _exactly(connection, len(OK)) != OK:
            raise OSError("it is no server of vf_check")
    except (OSError, UnicodeError) as error:
        connection.close()
        place = "{0}:{1}".format(endpoint.address, endpoint.port)
        raise AccelnetError("peer_unreachable", "{0} accepted the connection, but not us: {1}".format(place, error))
    return connection, bound


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise OSError("it closed the connection; is the token the right one?")
        received += part
    return received


def open_peer(endpoint: Endpoint, token: str) -> Load:
    """One connection per direction to a server of vf_check. Raises AccelnetError (peer_unreachable)."""
    load = Load()
    try:
        for word, sends in (("sink", True), ("source", False)):
            connection, load.bound = command(endpoint, token, word)
            load.add(connection, sends)
    except AccelnetError:
        load.close()
        raise
    return load


def end_peer(endpoint: Endpoint, token: str) -> None:
    """Tell a server of vf_check that it is not needed any more; it ends without that too, later."""
    try:
        command(endpoint, token, "end")[0].close()
    except AccelnetError:
        return
