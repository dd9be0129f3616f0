# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""vfio-user messages, and the descriptors that came with them, from and to a non-blocking stream socket."""

from __future__ import annotations

import array
import os
import socket
from dataclasses import dataclass

from .vfio_abi import HEADER, VFIO_USER_F_TYPE_COMMAND, VFIO_USER_F_TYPE_MASK

MAX_MSG_FDS = 16
MAX_DATA_XFER_SIZE = 64 * 1024
# The largest message is a REGION_WRITE: two headers of 16 bytes each, and data.
MAX_MESSAGE_SIZE = 2 * HEADER.size + MAX_DATA_XFER_SIZE

_FD_SIZE = array.array("i").itemsize
_ANCILLARY_SIZE = socket.CMSG_SPACE(MAX_MSG_FDS * _FD_SIZE)
_RECEIVE_FLAGS = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class StreamError(Exception):
    """The peer has gone, or has sent what cannot be a message: nothing that follows can be trusted."""


@dataclass(slots=True)
class Message:
    """One command. `payload` is valid until the next `MessageStream.fill`; `fds` belong to whoever handles the message."""

    msg_id: int
    command: int
    flags: int
    payload: memoryview
    fds: list[int]
    fds_lost: bool
    """More descriptors were sent than MAX_MSG_FDS, or this process cannot open so many. The surplus is closed already."""

    def close_fds(self) -> None:
        """Close the descriptors that are still in `fds`."""
        while self.fds:
            os.close(self.fds.pop())


class _Descriptors:
    """Those that belong to one message."""

    __slots__ = ("fds", "lost")

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.lost = False

    def add(self, ancillary: list[tuple[int, int, bytes]], truncated: bool) -> None:
        """Add what one recvmsg has brought."""
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % _FD_SIZE])
                self.fds += fds
        self.lost |= truncated

    def join(self, other: _Descriptors) -> None:
        """Take over those of `other`: it was the same message. Bounded, or a client could spread thousands over its bytes."""
        if other.fds or other.lost:
            fds, lost = other.take()
            self.fds += fds
            self.lost |= lost
            while len(self.fds) > MAX_MSG_FDS:
                os.close(self.fds.pop())
                self.lost = True

    def take(self) -> tuple[list[int], bool]:
        """Return them, and whether some were lost; none are left."""
        taken = self.fds, self.lost
        self.fds, self.lost = [], False
        return taken


class MessageStream:
    """Splits what arrives into commands, and keeps what the socket does not take at once.

    To which message do descriptors belong? A client sends a message and its descriptors with one sendmsg, and Linux ends a recvmsg
    behind the block that carried descriptors (net/unix/af_unix.c, unix_stream_read_generic). Blocks without any may come before it
    in the same recvmsg. So descriptors belong to the message that holds the last byte which came with them.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._buffer = memoryview(bytearray(MAX_MESSAGE_SIZE))
        # Received and not yet handed out: buffer[start:end].
        self._start = 0
        self._end = 0
        self._first = _Descriptors()  # of the message at `start`
        self._last = _Descriptors()  # of the message that holds the byte before `end`
        self._backlog = bytearray()

    def fileno(self) -> int:
        return self._socket.fileno()

    def fill(self) -> None:
        """Receive what is there. Call it when the socket is readable and `next_message` has returned None.

        Raises StreamError at the end of the stream, OSError as the socket does.
        """
        left = self._end - self._start
        if self._start:
            if left:
                self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        count, ancillary, flags, _ = self._socket.recvmsg_into([self._buffer[left:]], _ANCILLARY_SIZE, _RECEIVE_FLAGS)
        self._end += count
        if ancillary or flags & socket.MSG_CTRUNC:
            self._last.add(ancillary, bool(flags & socket.MSG_CTRUNC))
        if not count:
            raise StreamError("closed by the client")

    def next_message(self) -> Message | None:
        """Return the next complete command, None if more must be received first. Raises StreamError for a bad header."""
        start, end = self._start, self._end
        available = end - start
        if available < HEADER.size:
            self._first.join(self._last)
            return None
        msg_id, command, size, flags, _ = HEADER.unpack_from(self._buffer, start)
        if not HEADER.size <= size <= MAX_MESSAGE_SIZE:
            raise StreamError(f"message of {size} bytes")
        if flags & VFIO_USER_F_TYPE_MASK != VFIO_USER_F_TYPE_COMMAND:
            raise StreamError(f"message with flags {flags:#x} is no command")
        if available < size:
            self._first.join(self._last)
            return None
        stop = start + size
        if stop == end:
            self._first.join(self._last)
        fds, lost = self._first.take()
        self._start = stop
        return Message(msg_id, command, flags, self._buffer[start + HEADER.size : stop], fds, lost)

    @property
    def blocked(self) -> bool:
        """Whether a part of what was sent still waits for `flush`."""
        return bool(self._backlog)

    def send(self, data: bytes) -> None:
        """Send `data`, or as much as the socket takes now, and keep the rest. Raises OSError as the socket does."""
        if self._backlog:
            self._backlog += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._backlog += data[sent:]

    def flush(self) -> None:
        """Send of the rest what the socket takes now. Call it when the socket is writable."""
        try:
            sent = self._socket.send(self._backlog)
        except BlockingIOError:
            return
        del self._backlog[:sent]

    def close(self) -> None:
        """Close the socket and the descriptors of messages that were not handed out."""
        for fd in self._first.take()[0] + self._last.take()[0]:
            os.close(fd)
        self._socket.close()
