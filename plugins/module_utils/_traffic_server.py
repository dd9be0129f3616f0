# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of a measurement: a TCP sink and source that serves whoever knows its token, and ends by itself.

Private to this collection. Python 3.6, standard library.
"""

import hmac
import os
import select
import signal
import socket
import time
from typing import Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._traffic import BLOCK, NONCE_DIGITS, OK, proof

_MOST = 16  # connections at a time; further ones wait
_LOGIN_LIMIT = 5.0  # seconds for a client to prove that it knows the token
_LINE = 128  # bytes; a longer first line is not a client's
_COMMANDS = ("sink", "source", "end")


class _Client:
    """One connection: first a line, then what it asked for."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline: Optional[float] = deadline
        self.nonce = os.urandom(NONCE_DIGITS // 2).hex()
        self.command: Optional[str] = None
        self._line = b""
        connection.setblocking(False)
        connection.send(self.nonce.encode("ascii") + b"\n")

    def read(self, token: str) -> None:
        """Take what came. Raises OSError when the connection is over."""
        if self.command is not None:
            if not self.connection.recv(1 << 18):
                raise OSError("closed")
            return
        part = self.connection.recv(_LINE)
        self._line += part
        if not part or len(self._line) > _LINE:
            raise OSError("no client of ours")
        if self._line.endswith(b"\n"):
            given, _space, word = self._line.decode("ascii", "replace").strip().partition(" ")
            known = word in _COMMANDS and hmac.compare_digest(proof(token, self.nonce, word).encode(), given.encode("utf-8"))
            if not known:
                raise OSError("no client of ours")
            self.connection.send(OK)
            self.command, self.deadline = word, None


class Server:
    """Listens from the start. Raises AccelnetError (bad_load) where that is not possible."""

    def __init__(self, address: str, port: int, token: str) -> None:
        self._token = token
        self._clients: Dict[socket.socket, _Client] = {}
        try:
            family, kind, protocol, _name, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
            self._listener = socket.socket(family, kind, protocol)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(where)
            self._listener.listen(_MOST)
        except (OSError, UnicodeError) as error:
            raise AccelnetError("bad_load", "cannot listen at {0}, port {1}: {2}".format(address, port, error))
        self.port: int = self._listener.getsockname()[1]

    def run(self, seconds: float) -> None:
        """Serve until a client says that it is enough, or for so long."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline and not self._turn(deadline):
                pass
        finally:
            self.close()

    def close(self) -> None:
        self._listener.close()
        for connection in self._clients:
            connection.close()
        self._clients = {}

    def _turn(self, deadline: float) -> bool:
        """Wait for something to do and do it; whether it is enough."""
        now = time.monotonic()
        for client in list(self._clients.values()):
            if client.deadline is not None and client.deadline <= now:
                self._drop(client)
        ends = [client.deadline for client in self._clients.values() if client.deadline is not None]
        listeners = [self._listener] if len(self._clients) < _MOST else []
        readers: List[socket.socket] = listeners + list(self._clients)
        writers = [client.connection for client in self._clients.values() if client.command == "source"]
        readable, writable, _failed = select.select(readers, writers, [], max(0.0, min([deadline] + ends) - now))
        for ready in readable:
            if ready is self._listener:
                self._accept()
            else:
                self._serve(self._clients[ready])
        for ready in writable:
            if ready in self._clients:
                self._send(self._clients[ready])
        return any(client.command == "end" for client in self._clients.values())

    def _accept(self) -> None:
        try:
            connection = self._listener.accept()[0]
        except OSError:
            return
        try:
            self._clients[connection] = _Client(connection, time.monotonic() + _LOGIN_LIMIT)
        except OSError:
            connection.close()

    def _serve(self, client: _Client) -> None:
        try:
            client.read(self._token)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        try:
            client.connection.send(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection]
        client.connection.close()


def leave(server: Server, seconds: int) -> int:
    """Let a server run on in a process of its own for so many seconds at most; returns the id of that process."""
    child = os.fork()
    if child:
        server._listener.close()
        return child
    try:
        # Whatever happens in here, even a hang, the kernel ends it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds + 5)
        os.setsid()
        # The login that started us must be able to end.
        null = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(null, handle)
        os.chdir("/")
        server.run(seconds)
    finally:
        os._exit(0)
