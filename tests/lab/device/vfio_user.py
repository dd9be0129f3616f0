# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vfio-user server: makes a PCI function out of a Device for the client (QEMU) that connects to a unix socket.

Protocol: docs/interop/vfio-user.rst in QEMU. Where it leaves a choice, the answer is the one that QEMU's client (hw/vfio-user/) and
libvfio-user (lib/libvfio-user.c) agree on. Two properties of QEMU's client matter: a reply may not be longer than the request, except
those to REGION_READ and GET_REGION_INFO, and its header must arrive in one piece. Both hold here by construction.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from struct import Struct
from typing import Any, Protocol

from .guest_memory import DmaError, GuestMemory
from .interrupts import Interrupts
from .loop import Loop
from .pci import ConfigSpace
from .stream import MAX_DATA_XFER_SIZE, MAX_MSG_FDS, Message, MessageStream, StreamError
from .vfio_abi import (
    DEVICE_INFO,
    DMA_MAP,
    DMA_UNMAP,
    HEADER,
    IRQ_INFO,
    IRQ_SET,
    REGION_ACCESS,
    REGION_INFO,
    REGION_IO_FDS,
    VERSION,
    VFIO_DEVICE_FLAGS_PCI,
    VFIO_DEVICE_FLAGS_RESET,
    VFIO_DMA_UNMAP_FLAG_ALL,
    VFIO_IRQ_INFO_EVENTFD,
    VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
    VFIO_PCI_NUM_IRQS,
    VFIO_PCI_NUM_REGIONS,
    VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
    VFIO_USER_DEVICE_FEATURE,
    VFIO_USER_DEVICE_GET_INFO,
    VFIO_USER_DEVICE_GET_IRQ_INFO,
    VFIO_USER_DEVICE_GET_REGION_INFO,
    VFIO_USER_DEVICE_GET_REGION_IO_FDS,
    VFIO_USER_DEVICE_RESET,
    VFIO_USER_DEVICE_SET_IRQS,
    VFIO_USER_DMA_MAP,
    VFIO_USER_DMA_READ,
    VFIO_USER_DMA_UNMAP,
    VFIO_USER_DMA_WRITE,
    VFIO_USER_F_DMA_REGION_MMAP,
    VFIO_USER_F_DMA_REGION_READ,
    VFIO_USER_F_DMA_REGION_WRITE,
    VFIO_USER_F_ERROR,
    VFIO_USER_F_NO_REPLY,
    VFIO_USER_F_TYPE_REPLY,
    VFIO_USER_MAJOR,
    VFIO_USER_MIG_DATA_READ,
    VFIO_USER_MIG_DATA_WRITE,
    VFIO_USER_MINOR,
    VFIO_USER_REGION_READ,
    VFIO_USER_REGION_WRITE,
    VFIO_USER_REGION_WRITE_MULTI,
    VFIO_USER_VERSION,
)

log = logging.getLogger(__name__)

PAGE_SIZE = 4096

# Commands that exist, but for features that this server does not offer.
_UNSUPPORTED = {
    VFIO_USER_DMA_READ,
    VFIO_USER_DMA_WRITE,
    VFIO_USER_REGION_WRITE_MULTI,
    VFIO_USER_DEVICE_FEATURE,
    VFIO_USER_MIG_DATA_READ,
    VFIO_USER_MIG_DATA_WRITE,
}
_WITH_FDS = {VFIO_USER_DMA_MAP, VFIO_USER_DEVICE_SET_IRQS}
_DMA_FLAGS = VFIO_USER_F_DMA_REGION_READ | VFIO_USER_F_DMA_REGION_WRITE | VFIO_USER_F_DMA_REGION_MMAP


class Bar(Protocol):
    """A region of a function. The server calls it only within `size` bytes.

    Both methods may refuse by ValueError (the client gets EINVAL), OSError (its errno) or DmaError (EFAULT). Any other exception is
    a bug of the device, and leaves Loop.run.
    """

    @property
    def size(self) -> int:
        """Bytes; of a BAR a power of two."""

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes at `offset`."""

    def write(self, offset: int, data: bytes) -> None:
        """Store `data` at `offset`. A doorbell rings here."""


class Device(Protocol):
    """A PCI function. `memory` and `interrupts` are filled by the server and used by the device."""

    @property
    def config(self) -> ConfigSpace: ...

    @property
    def bars(self) -> Mapping[int, Bar]:
        """BARs by index; fixed while it is served."""

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def interrupts(self) -> Interrupts: ...

    def reset(self) -> None:
        """Forget everything that a driver has set up, except what the server resets itself: config, memory, interrupts.

        Called for VFIO_USER_DEVICE_RESET and when a client has gone. The memory is still mapped, but must not be touched any more
        once this returns.
        """


class Server:
    """Serves `device` to one client at a time on the unix socket `path`.

    Further clients wait in the socket's queue until the first has gone. Then the device is reset, memory is unmapped, eventfds are
    closed, and the next one is served.
    """

    def __init__(self, path: str | Path, device: Device, loop: Loop) -> None:
        self._path = Path(path)
        self._device = device
        self._loop = loop
        self._client: _Client | None = None
        _remove_socket(self._path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(self._path))
            self._listener.listen()
            self._listener.setblocking(False)
        except OSError:
            self._listener.close()
            raise
        self._loop.add_reader(self._listener, self._accept)

    @property
    def connected(self) -> bool:
        """Whether a client is being served."""
        return self._client is not None

    def close(self) -> None:
        """Drop the client, reset the device, and remove the socket."""
        if self._client:
            self._client.drop("the server was closed")
        self._loop.remove_reader(self._listener)
        self._listener.close()
        _remove_socket(self._path)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # gone again
        self._loop.remove_reader(self._listener)
        self._client = _Client(MessageStream(sock), self._device, self._loop, self._on_client_gone)

    def _on_client_gone(self) -> None:
        self._client = None
        self._loop.add_reader(self._listener, self._accept)


class _Client:
    """One connection: receives requests, calls the device, replies."""

    def __init__(self, stream: MessageStream, device: Device, loop: Loop, on_gone: Callable[[], None]) -> None:
        self._stream = stream
        self._device = device
        self._loop = loop
        self._on_gone = on_gone
        self._gone = False
        self._max_data_xfer_size = MAX_DATA_XFER_SIZE
        self._regions: dict[int, Bar] = {**device.bars, VFIO_PCI_CONFIG_REGION_INDEX: device.config}
        # Until the version is negotiated, nothing else is understood.
        self._handlers: dict[int, Callable[[Message], bytes]] = {VFIO_USER_VERSION: self._version}
        loop.add_reader(stream, self._on_readable)

    def drop(self, why: str) -> None:
        """End the connection and bring the device back to what it was before."""
        log.info("client dropped: %s", why)
        self._gone = True
        self._loop.remove_reader(self._stream)
        self._loop.remove_writer(self._stream)
        self._stream.close()
        self._reset_device()
        self._device.interrupts.disable_all()
        self._device.memory.unmap_all()
        self._on_gone()

    # Messages

    def _on_readable(self) -> None:
        try:
            self._stream.fill()
            self._serve()
        except BlockingIOError:
            pass  # readiness was a false alarm
        except (StreamError, OSError) as error:
            self.drop(str(error))

    def _on_writable(self) -> None:
        try:
            self._stream.flush()
            if self._stream.blocked:
                return
            self._loop.remove_writer(self._stream)
            self._loop.add_reader(self._stream, self._on_readable)
            self._serve()
        except (StreamError, OSError) as error:
            self.drop(str(error))

    def _serve(self) -> None:
        """Handle what was received, until there is no complete message left, or the client does not take our replies."""
        stream = self._stream
        while not self._gone:
            if stream.blocked:
                self._loop.remove_reader(stream)
                self._loop.add_writer(stream, self._on_writable)
                return
            message = stream.next_message()
            if message is None:
                return
            try:
                reply = self._handle(message)
            finally:
                if message.fds:
                    message.close_fds()
            if not message.flags & VFIO_USER_F_NO_REPLY and not self._gone:
                stream.send(reply)

    def _handle(self, message: Message) -> bytes:
        """Return the whole reply to one request."""
        command = message.command
        try:
            handler = self._handlers.get(command) or self._no_handler(command)
            if message.fds_lost or (message.fds and command not in _WITH_FDS):
                raise OSError(errno.EINVAL, "unexpected descriptors")
            payload = handler(message)
        except (OSError, ValueError, DmaError) as error:
            code = _errno_of(error)
            log.warning("command %d refused with %s: %s", command, errno.errorcode.get(code, code), error)
            return HEADER.pack(message.msg_id, command, HEADER.size, VFIO_USER_F_TYPE_REPLY | VFIO_USER_F_ERROR, code)
        return HEADER.pack(message.msg_id, command, HEADER.size + len(payload), VFIO_USER_F_TYPE_REPLY, 0) + payload

    def _no_handler(self, command: int) -> Callable[[Message], bytes]:
        if VFIO_USER_VERSION in self._handlers:
            raise OSError(errno.EINVAL, "the first command must be VFIO_USER_VERSION")
        if command == VFIO_USER_VERSION:
            raise OSError(errno.EINVAL, "the version is negotiated already")
        raise OSError(errno.EOPNOTSUPP if command in _UNSUPPORTED else errno.ENOSYS, "not supported")

    # Commands: each takes the request and returns the payload of the reply.

    def _version(self, message: Message) -> bytes:
        major, minor = _unpack(VERSION, message)
        if major != VFIO_USER_MAJOR:
            raise OSError(errno.EINVAL, f"protocol version {major}.{minor}")
        self._max_data_xfer_size = min(MAX_DATA_XFER_SIZE, _client_max_data_xfer_size(bytes(message.payload[VERSION.size :])))
        self._handlers = {
            VFIO_USER_DMA_MAP: self._dma_map,
            VFIO_USER_DMA_UNMAP: self._dma_unmap,
            VFIO_USER_DEVICE_GET_INFO: self._get_info,
            VFIO_USER_DEVICE_GET_REGION_INFO: self._get_region_info,
            VFIO_USER_DEVICE_GET_REGION_IO_FDS: self._get_region_io_fds,
            VFIO_USER_DEVICE_GET_IRQ_INFO: self._get_irq_info,
            VFIO_USER_DEVICE_SET_IRQS: self._set_irqs,
            VFIO_USER_REGION_READ: self._region_read,
            VFIO_USER_REGION_WRITE: self._region_write,
            VFIO_USER_DEVICE_RESET: self._reset,
        }
        capabilities = {
            "max_msg_fds": MAX_MSG_FDS,
            "max_data_xfer_size": MAX_DATA_XFER_SIZE,
            "pgsizes": PAGE_SIZE,
            "write_multiple": False,
        }
        return VERSION.pack(VFIO_USER_MAJOR, min(minor, VFIO_USER_MINOR)) + json.dumps({"capabilities": capabilities}).encode() + b"\0"

    def _dma_map(self, message: Message) -> bytes:
        flags, offset, address, size = _fields(DMA_MAP, message)
        if flags & ~_DMA_FLAGS or len(message.fds) > 1 or (flags & VFIO_USER_F_DMA_REGION_MMAP and not message.fds):
            raise OSError(errno.EINVAL, f"DMA map with flags {flags:#x} and {len(message.fds)} descriptors")
        self._device.memory.map(
            address,
            size,
            message.fds[0] if message.fds else None,
            offset,
            readable=bool(flags & VFIO_USER_F_DMA_REGION_READ),
            writable=bool(flags & VFIO_USER_F_DMA_REGION_WRITE),
        )
        return b""

    def _dma_unmap(self, message: Message) -> bytes:
        flags, address, size = _fields(DMA_UNMAP, message)
        if flags == VFIO_DMA_UNMAP_FLAG_ALL and address == size == 0:
            self._device.memory.unmap_all()
        elif flags == 0:
            self._device.memory.unmap(address, size)
        else:
            raise OSError(errno.EINVAL, f"DMA unmap with flags {flags:#x}")
        return bytes(message.payload[: DMA_UNMAP.size])

    def _get_info(self, message: Message) -> bytes:
        _fields(DEVICE_INFO, message)
        flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET
        return DEVICE_INFO.pack(DEVICE_INFO.size, flags, VFIO_PCI_NUM_REGIONS, VFIO_PCI_NUM_IRQS)

    def _get_region_info(self, message: Message) -> bytes:
        _, index, _, _, _ = _fields(REGION_INFO, message)
        _check_index(index, VFIO_PCI_NUM_REGIONS)
        region = self._regions.get(index)
        flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE if region else 0
        return REGION_INFO.pack(REGION_INFO.size, flags, index, 0, region.size if region else 0, 0)

    def _get_region_io_fds(self, message: Message) -> bytes:
        flags, index, count = _fields(REGION_IO_FDS, message)
        _check_index(index, VFIO_PCI_NUM_REGIONS)
        if flags or count:
            raise OSError(errno.EINVAL, f"flags {flags:#x} and count {count} must be 0")
        return REGION_IO_FDS.pack(REGION_IO_FDS.size, 0, index, 0)

    def _get_irq_info(self, message: Message) -> bytes:
        _, index, _ = _fields(IRQ_INFO, message)
        _check_index(index, VFIO_PCI_NUM_IRQS)
        is_msix = index == VFIO_PCI_MSIX_IRQ_INDEX
        return IRQ_INFO.pack(IRQ_INFO.size, VFIO_IRQ_INFO_EVENTFD if is_msix else 0, index, self._device.interrupts.count if is_msix else 0)

    def _set_irqs(self, message: Message) -> bytes:
        flags, index, start, count = _fields(IRQ_SET, message)
        _check_index(index, VFIO_PCI_NUM_IRQS)
        if index == VFIO_PCI_MSIX_IRQ_INDEX:
            self._device.interrupts.set_irqs(flags, start, count, bytes(message.payload[IRQ_SET.size :]), message.fds)
        elif (flags, start, count) != (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE, 0, 0):
            # To disable what does not exist is harmless, everything else is a mistake.
            raise OSError(errno.EINVAL, f"there are no interrupts of index {index}")
        return b""

    def _region_read(self, message: Message) -> bytes:
        offset, index, count = _unpack(REGION_ACCESS, message)
        region = self._regions.get(index)
        if region is None or offset + count > region.size or count > self._max_data_xfer_size:
            raise OSError(errno.EINVAL, f"read of {count} bytes at {offset:#x} in region {index}")
        return REGION_ACCESS.pack(offset, index, count) + region.read(offset, count)

    def _region_write(self, message: Message) -> bytes:
        payload = message.payload
        offset, index, count = _unpack(REGION_ACCESS, message)
        region = self._regions.get(index)
        if region is None or offset + count > region.size or len(payload) != REGION_ACCESS.size + count:
            raise OSError(errno.EINVAL, f"write of {count} bytes at {offset:#x} in region {index}")
        region.write(offset, bytes(payload[REGION_ACCESS.size :]))
        return REGION_ACCESS.pack(offset, index, count)

    def _reset(self, message: Message) -> bytes:
        self._reset_device()
        return b""

    def _reset_device(self) -> None:
        self._device.reset()
        self._device.config.reset()
        self._device.interrupts.forget_pending()


def _unpack(layout: Struct, message: Message) -> tuple[Any, ...]:
    """Return the fields of the structure at the beginning of the message."""
    if len(message.payload) < layout.size:
        raise OSError(errno.EINVAL, f"message of {len(message.payload)} bytes, needs {layout.size}")
    return layout.unpack_from(message.payload)


def _fields(layout: Struct, message: Message) -> tuple[int, ...]:
    """Return the fields behind argsz, which must say at least what the structure needs."""
    argsz, *fields = _unpack(layout, message)
    if argsz < layout.size:
        raise OSError(errno.EINVAL, f"argsz {argsz} is less than {layout.size}")
    return tuple(fields)


def _check_index(index: int, count: int) -> None:
    if index >= count:
        raise OSError(errno.EINVAL, f"index {index} of {count}")


def _client_max_data_xfer_size(text: bytes) -> int:
    """Return the one capability of the client that matters to us. Raises ValueError for what is not the JSON of the protocol."""
    if not text:
        return MAX_DATA_XFER_SIZE
    if not text.endswith(b"\0"):
        raise ValueError("version data without a final NUL")
    try:
        version: Any = json.loads(text[:-1])
    except RecursionError:
        raise ValueError("version data is nested too deeply") from None
    capabilities = version.get("capabilities", {}) if isinstance(version, dict) else None
    size = capabilities.get("max_data_xfer_size", MAX_DATA_XFER_SIZE) if isinstance(capabilities, dict) else None
    if not isinstance(size, int) or size < 0:
        raise ValueError("bad capabilities")
    return size


def _errno_of(error: OSError | ValueError | DmaError) -> int:
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    return errno.EFAULT if isinstance(error, DmaError) else errno.EINVAL


def _remove_socket(path: Path) -> None:
    """Remove what a server before us has left, but nothing that is not a socket."""
    try:
        if stat.S_ISSOCK(path.lstat().st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
