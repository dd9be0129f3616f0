# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vfio-user client: does to the device server what QEMU does, and what QEMU would never do.

Structures are written out here once more, and not taken from lab.device.vfio_abi, so that a wrong layout there is found.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from lab.device import vfio_abi as abi

PAGE = 4096
CONFIG_REGION = 7
MSIX = 2
TIMEOUT = 20.0
"""Seconds after which a test fails that waits for something that never happens. Nothing takes that long."""


class Refused(OSError):
    """The server has answered with an error; `errno` says which."""


class Dropped(Exception):
    """The server has closed the connection."""


@dataclass
class Reply:
    """One message of the server."""

    msg_id: int
    command: int
    flags: int
    error: int
    payload: bytes


class Client:
    """One connection, guest memory of `ram_size` bytes at DMA address `ram_address`, and an eventfd for each of `vectors` vectors.

    `ram` is that memory: `client.ram[offset : offset + 4]`; with the default `ram_address`, offsets and DMA addresses are the same.
    With `negotiate=False` nothing is sent before the test does it.
    """

    def __init__(
        self, path: str | Path, *, ram_size: int = 1 << 20, ram_address: int = 0, vectors: int = 0, negotiate: bool = True
    ) -> None:
        self.ram_address = ram_address
        self.ram_size = ram_size
        self.ram_fd = os.memfd_create("guest-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.ram_fd, ram_size)
        self.ram = mmap.mmap(self.ram_fd, ram_size)
        self.eventfds = [os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) for _ in range(vectors)]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        self.capabilities: dict[str, object] = {}
        self._next_id = 0
        try:
            self.socket.connect(str(path))
            if negotiate:
                self.negotiate()
                self.dma_map(ram_address, ram_size, self.ram_fd)
                if vectors:
                    self.set_eventfds(0, self.eventfds)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave: what is below is closed, and the server notices."""
        self.socket.close()
        if self.ram_fd >= 0:
            self.ram.close()
            os.close(self.ram_fd)
            self.ram_fd = -1
        while self.eventfds:
            os.close(self.eventfds.pop())

    # Messages

    def send_raw(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send bytes as they are, in one sendmsg with `fds`."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"<{len(fds)}i", *fds))] if fds else []
        sent = self.socket.sendmsg([data], rights)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def message(self, command: int, payload: bytes = b"", *, flags: int = 0) -> bytes:
        """Return the bytes of a command with the next message id."""
        self._next_id = (self._next_id + 1) % 0x10000
        return struct.pack("<HHIII", self._next_id, command, 16 + len(payload), flags, 0) + payload

    def receive(self) -> Reply:
        """Return the next message of the server. Raises Dropped at the end of the stream."""
        msg_id, command, size, flags, error = struct.unpack("<HHIII", self._receive_exactly(16))
        return Reply(msg_id, command, flags, error, self._receive_exactly(size - 16))

    def request(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> bytes:
        """Send a command and return the payload of its reply. Raises Refused for an error, Dropped if there is none."""
        self.send_raw(self.message(command, payload), fds)
        reply = self.receive()
        assert (reply.msg_id, reply.command) == (self._next_id, command), reply
        assert reply.flags & 0xF == abi.VFIO_USER_F_TYPE_REPLY, reply
        if reply.flags & abi.VFIO_USER_F_ERROR:
            assert reply.error and not reply.payload, reply
            raise Refused(reply.error, os.strerror(reply.error))
        return reply.payload

    def post(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Send a command that wants no reply."""
        self.send_raw(self.message(command, payload, flags=abi.VFIO_USER_F_NO_REPLY), fds)

    def wait_dropped(self) -> None:
        """Return when the server has closed the connection; replies before that are ignored."""
        try:
            while True:
                self.receive()
        except (Dropped, ConnectionError):
            pass

    # Commands

    def negotiate(self, *, major: int = 0, minor: int = 1, data: bytes | None = None) -> tuple[int, int]:
        """Negotiate the version; returns what the server speaks, and fills `capabilities`."""
        if data is None:
            capabilities = {"max_msg_fds": 8, "max_data_xfer_size": 1 << 20, "write_multiple": True}
            data = json.dumps({"capabilities": capabilities}).encode() + b"\0"
        payload = self.request(abi.VFIO_USER_VERSION, struct.pack("<HH", major, minor) + data)
        assert payload.endswith(b"\0")
        self.capabilities = json.loads(payload[4:-1])["capabilities"]
        server_major, server_minor = struct.unpack_from("<HH", payload)
        return server_major, server_minor

    def dma_map(self, address: int, size: int, fd: int | None, offset: int = 0, *, flags: int = 3, argsz: int = 32) -> None:
        """Share `size` bytes of `fd`. Flags: 1 the device may read, 2 write (the default is both), 4 mmap."""
        payload = struct.pack("<IIQQQ", argsz, flags, offset, address, size)
        assert self.request(abi.VFIO_USER_DMA_MAP, payload, [] if fd is None else [fd]) == b""

    def dma_unmap(self, address: int, size: int, *, flags: int = 0, argsz: int = 24) -> None:
        """Take memory back. `flags` 2 with address and size 0: all of it."""
        payload = struct.pack("<IIQQ", argsz, flags, address, size)
        assert self.request(abi.VFIO_USER_DMA_UNMAP, payload) == payload

    def device_info(self) -> tuple[int, int, int]:
        """Return flags, number of regions, number of interrupt indices."""
        argsz, flags, regions, irqs = struct.unpack("<IIII", self.request(abi.VFIO_USER_DEVICE_GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)))
        assert argsz == 16
        return flags, regions, irqs

    def region_info(self, index: int) -> tuple[int, int]:
        """Return flags and size in bytes of a region."""
        payload = self.request(abi.VFIO_USER_DEVICE_GET_REGION_INFO, struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
        argsz, flags, same_index, cap_offset, size, _ = struct.unpack("<IIIIQQ", payload)
        assert (argsz, same_index, cap_offset) == (32, index, 0)
        return flags, size

    def irq_info(self, index: int) -> tuple[int, int]:
        """Return flags and number of vectors of an interrupt index."""
        payload = self.request(abi.VFIO_USER_DEVICE_GET_IRQ_INFO, struct.pack("<IIII", 16, 0, index, 0))
        argsz, flags, same_index, count = struct.unpack("<IIII", payload)
        assert (argsz, same_index) == (16, index)
        return flags, count

    def set_irqs(
        self, flags: int, start: int, count: int, data: bytes = b"", fds: Sequence[int] = (), *, index: int = MSIX, argsz: int | None = None
    ) -> None:
        """Send VFIO_USER_DEVICE_SET_IRQS with VFIO_IRQ_SET_* flags."""
        size = 20 + len(data) if argsz is None else argsz
        payload = struct.pack("<IIIII", size, flags, index, start, count) + data
        assert self.request(abi.VFIO_USER_DEVICE_SET_IRQS, payload, fds) == b""

    def set_eventfds(self, start: int, fds: Sequence[int]) -> None:
        """Give vectors from `start` on these eventfds, in as many messages as the protocol needs."""
        flags = abi.VFIO_IRQ_SET_DATA_EVENTFD | abi.VFIO_IRQ_SET_ACTION_TRIGGER
        for done in range(0, len(fds), 16):
            part = fds[done : done + 16]
            self.set_irqs(flags, start + done, len(part), fds=part)

    def reset(self) -> None:
        """Reset the device."""
        assert self.request(abi.VFIO_USER_DEVICE_RESET) == b""

    # Registers

    def region_read(self, region: int, offset: int, count: int) -> bytes:
        """Return `count` bytes of a region. Regions 0 to 5 are BARs, CONFIG_REGION is the configuration space."""
        header = struct.pack("<QII", offset, region, count)
        payload = self.request(abi.VFIO_USER_REGION_READ, header)
        assert payload[:16] == header and len(payload) == 16 + count
        return payload[16:]

    def region_write(self, region: int, offset: int, data: bytes, *, reply: bool = True) -> None:
        """Store `data` in a region; without `reply` it is a posted write."""
        header = struct.pack("<QII", offset, region, len(data))
        if reply:
            assert self.request(abi.VFIO_USER_REGION_WRITE, header + data) == header
        else:
            self.post(abi.VFIO_USER_REGION_WRITE, header + data)

    def read32(self, bar: int, offset: int) -> int:
        return int.from_bytes(self.region_read(bar, offset, 4), "little")

    def read64(self, bar: int, offset: int) -> int:
        return int.from_bytes(self.region_read(bar, offset, 8), "little")

    def write32(self, bar: int, offset: int, value: int) -> None:
        self.region_write(bar, offset, value.to_bytes(4, "little"))

    def write64(self, bar: int, offset: int, value: int) -> None:
        self.region_write(bar, offset, value.to_bytes(8, "little"))

    # Interrupts

    def wait_interrupt(self, vector: int, timeout: float = TIMEOUT) -> int:
        """Wait until `vector` has been signalled; returns how often since the last call. Raises TimeoutError."""
        poll = select.poll()
        poll.register(self.eventfds[vector], select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise TimeoutError(f"no interrupt of vector {vector}")
        return os.eventfd_read(self.eventfds[vector])

    def interrupts(self, vector: int) -> int:
        """How often `vector` has been signalled since the last call, without waiting.

        The server signals before it replies: after a request there is nothing to wait for.
        """
        try:
            return os.eventfd_read(self.eventfds[vector])
        except BlockingIOError:
            return 0

    def _receive_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Dropped("closed by the server")
            data += part
        return data
