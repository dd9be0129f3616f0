# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TAP device in a network namespace of its own: the kernel of this machine as a peer on the emulated wire."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable

from lab.net.offload import fill_checksums, segment, verify
from lab.net.switch import Switch

# Numbers of linux/sched.h, linux/if_tun.h and linux/virtio_net.h.
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN = 1, 2, 4, 8
NEEDS_CSUM, DATA_VALID = 1, 2
VNET_HDR = "=BBHHHH"


class Unavailable(Exception):
    """This machine lets us make no namespace or no TAP device."""


class TapPort:
    """A port of `switch` behind which is a kernel's TCP/IP stack.

    With `offload`, the kernel leaves checksums and segmentation to lab.net.offload, as the mana driver does, and takes its verdict on what
    it receives. All sockets for that stack must be made by `run()`.
    """

    def __init__(self, switch: Switch, *, offload: bool, addresses: list[str], mtu: int = 1500, tick: Callable[[float], None]) -> None:
        self.bad = 0
        self.segmented = 0
        self._switch = switch
        self._offload = offload
        self._tick = tick
        self._stopped = threading.Event()
        self._fd = -1
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._libc = ctypes.CDLL(None, use_errno=True)
        if self._libc.unshare(CLONE_NEWNET):
            os.close(self._home)
            raise Unavailable(f"no network namespace: {os.strerror(ctypes.get_errno())}")
        self._there = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._make_device(addresses, mtu)
        except (OSError, subprocess.CalledProcessError) as error:
            os.close(self._there)
            if self._fd >= 0:
                os.close(self._fd)
            raise Unavailable(f"no TAP device: {error}") from error
        finally:
            self._enter(self._home)
        switch.attach(self)
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _make_device(self, addresses: list[str], mtu: int) -> None:
        self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if self._offload else 0)
        fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", flags))
        if self._offload:
            fcntl.ioctl(self._fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
        commands = ["link set lo up", f"link set tap0 up mtu {mtu}", *(f"address add {text} dev tap0" for text in addresses)]
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)

    def _enter(self, namespace: int) -> None:
        if self._libc.setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def run(self, function: Callable[[], socket.socket]) -> socket.socket:
        """Call `function` inside the namespace."""
        self._enter(self._there)
        try:
            return function()
        finally:
            self._enter(self._home)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()
        for descriptor in (self._fd, self._there, self._home):
            os.close(descriptor)

    def receive(self, frame: bytes) -> None:
        verdict = verify(frame)
        if False in (verdict.ip, verdict.tcp, verdict.udp):
            self.bad += 1
        if self._offload:
            frame = struct.pack(VNET_HDR, DATA_VALID if verdict.tcp or verdict.udp else 0, 0, 0, 0, 0, 0) + frame
        os.write(self._fd, frame)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            if select.select([self._fd], [], [], 0.02)[0]:
                for frame in self._read():
                    self._switch.send(self, frame)
            self._tick(time.monotonic())

    def _read(self) -> list[bytes]:
        data = os.read(self._fd, 1 << 17)
        if not self._offload:
            return [data]
        flags, gso_type, _, gso_size, _, _ = struct.unpack_from(VNET_HDR, data)
        frame = bytearray(data[struct.calcsize(VNET_HDR) :])
        if gso_type:
            self.segmented += 1
            return segment(frame, gso_size)
        if flags & NEEDS_CSUM:
            fill_checksums(frame, ip=False, tcp=True, udp=True)
        return [bytes(frame)]
