# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vfio-user server: every command, and every way to abuse it. After each, the next request is served and no descriptor is left."""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emulator.serving import serving
from emulator.vfio_client import CONFIG_REGION, MSIX, PAGE, TIMEOUT, Client, Dropped, Refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.device.guest_memory import DmaError, GuestMemory
from lab.device.interrupts import Interrupts, MsixBar
from lab.device.loop import Loop
from lab.device.pci import ConfigSpace
from lab.device.vfio_user import Bar, Device, Server

VECTORS = 20  # more than fit into one message
BAR0_SIZE = 0x20000
COPY_DOORBELL = 0x1F000
REFUSING = 0x1F800
VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_REGION_IO_FDS, GET_IRQ_INFO, SET_IRQS, READ, WRITE = range(1, 11)
RESET = 13
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = (1 << bit for bit in range(6))


class Registers:
    """A BAR of plain memory, with a doorbell: a 64-bit address of 8 bytes, which are copied behind themselves; vector 0 tells when."""

    size = BAR0_SIZE

    def __init__(self, memory: GuestMemory, interrupts: Interrupts) -> None:
        self.content = bytearray(self.size)
        self.memory = memory
        self.interrupts = interrupts
        self.writes: list[tuple[int, bytes]] = []

    def read(self, offset: int, count: int) -> bytes:
        if offset == REFUSING:
            raise OSError(errno.EBUSY, "not now")
        return bytes(self.content[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        if offset == REFUSING:
            raise ValueError("never")
        self.writes.append((offset, data))
        self.content[offset : offset + len(data)] = data
        if offset == COPY_DOORBELL:
            address = int.from_bytes(data, "little")
            self.memory.write(address + 8, self.memory.read(address, 8))
            self.interrupts.trigger(0)


class Toy:
    """The smallest Device."""

    def __init__(self) -> None:
        self.memory = GuestMemory()
        self.interrupts = Interrupts(VECTORS)
        self.registers = Registers(self.memory, self.interrupts)
        msix = MsixBar(self.interrupts)
        self.bars: dict[int, Bar] = {0: self.registers, 4: msix}
        self.config = ConfigSpace({0: BAR0_SIZE, 4: msix.size}, msix_vectors=VECTORS, msix_table=(4, 0), msix_pba=(4, msix.pba_offset))
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1
        self.registers.content[:] = bytes(BAR0_SIZE)


class Lab:
    """A served Toy."""

    def __init__(self, path: Path, toy: Toy, server: Server) -> None:
        self.path = path
        self.toy = toy
        self.server = server

    def client(self, **options: int | bool) -> Client:
        return Client(self.path, **options)  # type: ignore[arg-type]

    def check(self, client: Client) -> None:
        """The whole way through the device still works: registers, DMA, interrupt."""
        value = os.urandom(8)
        client.ram[64:80] = value + bytes(8)
        client.interrupts(0)
        client.write64(0, COPY_DOORBELL, client.ram_address + 64)
        assert client.ram[72:80] == value
        assert client.interrupts(0) == 1

    def fds(self) -> int:
        """Descriptors of this process while one fresh client is served: so the one before has been cleaned up."""
        gc.collect()
        with self.client(vectors=VECTORS) as client:
            self.check(client)
            return len(os.listdir("/proc/self/fd"))


def device_check(toy: Toy) -> Device:
    """The type checker sees here that Toy is a Device."""
    return toy


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    path = tmp_path_factory.mktemp("lab") / "socket"
    toy = Toy()
    with serving(device_check(toy), path) as server:
        yield Lab(path, toy, server)


@pytest.fixture
def client(lab: Lab) -> Iterator[Client]:
    """A client whose test leaves neither descriptors nor a broken server behind."""
    before = lab.fds()
    with lab.client(vectors=VECTORS) as client:
        yield client
        if client.socket.fileno() >= 0:
            lab.check(client)
    assert lab.fds() == before


def refused(code: int, action: Callable[[], object]) -> None:
    with pytest.raises(Refused) as caught:
        action()
    assert errno.errorcode[caught.value.errno or 0] == errno.errorcode[code]


# The version


@pytest.fixture
def stranger(lab: Lab) -> Iterator[Client]:
    """A client that has not negotiated anything."""
    with lab.client(negotiate=False) as client:
        yield client


def test_version(stranger: Client) -> None:
    assert stranger.negotiate(minor=0) == (0, 0)
    assert stranger.capabilities == {"max_msg_fds": 16, "max_data_xfer_size": 65536, "pgsizes": 4096, "write_multiple": False}


@pytest.mark.parametrize("minor", [1, 2, 0xFFFF])
def test_a_newer_minor_version_is_lowered(stranger: Client, minor: int) -> None:
    assert stranger.negotiate(minor=minor) == (0, 1)


@pytest.mark.parametrize("data", [b"", b"{}\0", b'{"capabilities": {}}\0', b'{"capabilities": {"max_msg_fds": 1, "new": [1]}, "x": 1}\0'])
def test_a_version_with_few_capabilities(stranger: Client, data: bytes) -> None:
    assert stranger.negotiate(data=data) == (0, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"\0",
        b"{\0",
        b"[]\0",
        b"7\0",
        b"\xff\xfe\0",
        b'{"capabilities": []}\0',
        b'{"capabilities": 3}\0',
        b'{"capabilities": {"max_data_xfer_size": "1"}}\0',
        b'{"capabilities": {"max_data_xfer_size": 1.5}}\0',
        b'{"capabilities": {"max_data_xfer_size": -1}}\0',
        b'{"capabilities": {"max_data_xfer_size": null}}\0',
        b"[" * 60000 + b"\0",
        b"9" * 60000 + b"\0",
        b'{"capabilities": {}}\0 \0x',
    ],
    ids=lambda data: repr(data[:48]),
)
def test_a_bad_version_is_refused_and_a_good_one_may_follow(stranger: Client, data: bytes) -> None:
    refused(errno.EINVAL, lambda: stranger.negotiate(data=data))
    stranger.negotiate()


def test_another_major_version_is_refused(stranger: Client) -> None:
    refused(errno.EINVAL, lambda: stranger.negotiate(major=1))
    refused(errno.EINVAL, lambda: stranger.request(VERSION, b"\0\0\0"))
    stranger.negotiate()


@pytest.mark.parametrize("command", [*range(2, 20), 0, 0xFFFF])
def test_nothing_is_served_before_the_version(stranger: Client, lab: Lab, command: int) -> None:
    refused(errno.EINVAL, lambda: stranger.request(0xFFFF))  # the client before has gone when this is answered
    resets = lab.toy.resets
    refused(errno.EINVAL, lambda: stranger.request(command, bytes(64)))
    assert lab.toy.resets == resets
    stranger.negotiate()


def test_the_version_is_negotiated_once(client: Client) -> None:
    refused(errno.EINVAL, client.negotiate)


def test_reads_are_bounded_by_what_the_client_takes(stranger: Client) -> None:
    stranger.negotiate(data=json.dumps({"capabilities": {"max_data_xfer_size": 16}}).encode() + b"\0")
    assert len(stranger.region_read(0, 0, 16)) == 16
    refused(errno.EINVAL, lambda: stranger.region_read(0, 0, 17))


# Information


def test_device_info(client: Client) -> None:
    assert client.device_info() == (0x1 | 0x2, 9, 5)


def test_region_info(client: Client, lab: Lab) -> None:
    sizes = [client.region_info(index) for index in range(9)]
    readable_writable, none = 3, (0, 0)
    expected = [none] * 9
    expected[0] = (readable_writable, BAR0_SIZE)
    expected[4] = (readable_writable, lab.toy.bars[4].size)
    expected[7] = (readable_writable, 256)
    assert sizes == expected
    refused(errno.EINVAL, lambda: client.region_info(9))
    refused(errno.EINVAL, lambda: client.region_info(0xFFFF_FFFF))


def test_irq_info(client: Client) -> None:
    assert [client.irq_info(index) for index in range(5)] == [(0, 0), (0, 0), (1, VECTORS), (0, 0), (0, 0)]
    refused(errno.EINVAL, lambda: client.irq_info(5))


def test_region_io_fds(client: Client) -> None:
    request = struct.pack("<IIII", 16, 0, 0, 0)
    assert client.request(GET_REGION_IO_FDS, request) == request
    for bad in ((15, 0, 0, 0), (16, 1, 0, 0), (16, 0, 9, 0), (16, 0, 0, 1)):
        refused(errno.EINVAL, lambda: client.request(GET_REGION_IO_FDS, struct.pack("<IIII", *bad)))


SIZES = {DMA_MAP: 32, DMA_UNMAP: 24, GET_INFO: 16, GET_REGION_INFO: 32, GET_REGION_IO_FDS: 16, GET_IRQ_INFO: 16, SET_IRQS: 20}


@pytest.mark.parametrize("command", SIZES)
def test_short_messages_and_lies_about_argsz(client: Client, command: int) -> None:
    size = SIZES[command]
    for length in range(size):
        refused(errno.EINVAL, lambda: client.request(command, struct.pack("<I", size).ljust(size, b"\0")[:length]))
    for argsz in (0, 1, size - 1):
        refused(errno.EINVAL, lambda: client.request(command, struct.pack("<I", argsz).ljust(size, b"\0")))


@pytest.mark.parametrize("command", [READ, WRITE])
def test_short_region_accesses(client: Client, command: int) -> None:
    for length in range(16):
        refused(errno.EINVAL, lambda: client.request(command, bytes(length)))


def test_argsz_may_be_larger_than_the_message(client: Client) -> None:
    payload = client.request(GET_REGION_INFO, struct.pack("<IIIIQQ", 0xFFFF_FFFF, 0, 0, 0, 0, 0))
    assert len(payload) == 32


@pytest.mark.parametrize("command", [11, 12, 15, 16, 17, 18])
def test_known_commands_that_are_not_supported(client: Client, command: int) -> None:
    refused(errno.EOPNOTSUPP, lambda: client.request(command, bytes(24)))


@pytest.mark.parametrize("command", [0, 14, 19, 0xFFFF])
def test_unknown_commands(client: Client, command: int) -> None:
    refused(errno.ENOSYS, lambda: client.request(command, bytes(24)))


# Regions


def test_registers(client: Client, lab: Lab) -> None:
    client.write32(0, 0x100, 0x12345678)
    client.write64(0, 0x104, 0x1122334455667788)
    assert client.read32(0, 0x100) == 0x12345678
    assert client.read64(0, 0x104) == 0x1122334455667788
    assert client.region_read(0, 0x103, 2) == b"\x12\x88"
    assert lab.toy.registers.writes[-2:] == [(0x100, b"\x78\x56\x34\x12"), (0x104, bytes.fromhex("8877665544332211"))]


def test_config_space(client: Client) -> None:
    config = client.region_read(CONFIG_REGION, 0, 256)
    assert config[:4] == bytes.fromhex("1414ba00")
    client.region_write(CONFIG_REGION, 0x10, b"\xff" * 8)
    assert client.read64(CONFIG_REGION, 0x10) == (1 << 64) - BAR0_SIZE | 4
    client.reset()
    assert client.region_read(CONFIG_REGION, 0, 256) == config


def test_posted_writes_get_no_reply(client: Client, lab: Lab) -> None:
    for value in range(100):
        client.region_write(0, 0x200, value.to_bytes(8, "little"), reply=False)
    assert client.read64(0, 0x200) == 99  # and the reply is the one to the read: its id was compared
    assert len([data for offset, data in lab.toy.registers.writes if offset == 0x200]) == 100
    # Not even errors are reported.
    client.post(WRITE, b"")
    client.post(0xFFFF)
    assert client.read64(0, 0x200) == 99


@pytest.mark.parametrize(
    ("region", "offset", "count"),
    [
        (0, BAR0_SIZE, 1),
        (0, BAR0_SIZE - 4, 8),
        (0, (1 << 64) - 4, 8),
        (0, (1 << 64) - 1, 0),
        (1, 0, 4),
        (1, 0, 0),
        (5, 0, 4),
        (6, 0, 4),
        (8, 0, 4),
        (9, 0, 4),
        (0xFFFF_FFFF, 0, 4),
        (7, 253, 4),
        (7, 256, 1),
    ],
)
def test_access_outside_of_regions(client: Client, lab: Lab, region: int, offset: int, count: int) -> None:
    before = len(lab.toy.registers.writes)
    refused(errno.EINVAL, lambda: client.region_read(region, offset, count))
    refused(errno.EINVAL, lambda: client.region_write(region, offset, bytes(count)))
    assert len(lab.toy.registers.writes) == before


def test_counts_that_are_not_true(client: Client, lab: Lab) -> None:
    before = len(lab.toy.registers.writes)
    for count in (0, 3, 5, 0xFFFF_FFFF):
        refused(errno.EINVAL, lambda: client.request(WRITE, struct.pack("<QII", 0, 0, count) + b"1234"))
    refused(errno.EINVAL, lambda: client.region_read(0, 0, 65537))
    assert len(lab.toy.registers.writes) == before


def test_the_largest_accesses(client: Client) -> None:
    data = os.urandom(65536)
    client.region_write(0, 0, data)
    assert client.region_read(0, 0, 65536) == data
    assert client.region_read(0, 8, 0) == b""
    client.region_write(0, 8, b"")
    assert client.region_read(0, 0, 65536) == data


def test_what_the_device_refuses(client: Client) -> None:
    refused(errno.EBUSY, lambda: client.read32(0, REFUSING))
    refused(errno.EINVAL, lambda: client.write32(0, REFUSING, 0))
    refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, 1 << 40))


def test_msix_bar(client: Client, lab: Lab) -> None:
    client.set_irqs(EVENTFD | TRIGGER, 3, 1)
    lab.toy.interrupts.trigger(3)
    assert client.read64(4, 0x1000) == 1 << 3


# DMA


def test_dma_map_and_unmap(client: Client, lab: Lab) -> None:
    fd = os.memfd_create("more", os.MFD_CLOEXEC)
    os.ftruncate(fd, 4 * PAGE)
    os.pwrite(fd, b"12345678", 2 * PAGE)
    high = 1 << 52
    client.dma_map(high, 2 * PAGE, fd, 2 * PAGE)
    client.write64(0, COPY_DOORBELL, high)
    assert os.pread(fd, 16, 2 * PAGE) == b"12345678" * 2
    client.dma_unmap(high, 2 * PAGE)
    refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, high))
    for flags in (0, 1, 2):
        client.dma_map(high, PAGE, fd, 0, flags=flags)
        refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, high))
        client.dma_unmap(high, PAGE)
    client.dma_map(high, PAGE, fd, 0, flags=7)
    client.write64(0, COPY_DOORBELL, high)
    os.close(fd)


def test_dma_map_without_descriptor(client: Client) -> None:
    client.dma_map(1 << 40, PAGE, None)
    refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, 1 << 40))
    refused(errno.EEXIST, lambda: client.dma_map(1 << 40, PAGE, None))
    refused(errno.EINVAL, lambda: client.dma_map(1 << 41, PAGE, None, flags=7))
    client.dma_unmap(1 << 40, PAGE)


def test_unmap_all(client: Client, lab: Lab) -> None:
    client.dma_map(1 << 40, PAGE, client.ram_fd)
    client.dma_unmap(0, 0, flags=2)
    assert len(lab.toy.memory) == 0
    refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, 64))
    client.dma_map(client.ram_address, client.ram_size, client.ram_fd)


@pytest.mark.parametrize(("address", "size", "flags"), [(0, 0, 0), (0, PAGE, 2), (PAGE, 0, 2), (0, PAGE, 1), (0, 1 << 20, 4), (8, 8, 0)])
def test_bad_unmaps(client: Client, lab: Lab, address: int, size: int, flags: int) -> None:
    refused(errno.EINVAL, lambda: client.dma_unmap(address, size, flags=flags))
    assert len(lab.toy.memory) == 1


def test_unmap_of_nothing(client: Client) -> None:
    refused(errno.ENOENT, lambda: client.dma_unmap(1 << 40, PAGE))


@pytest.mark.parametrize(
    ("address", "size", "offset", "flags", "code"),
    [
        (1 << 40, 0, 0, 3, errno.EINVAL),
        ((1 << 64) - PAGE, 2 * PAGE, 0, 3, errno.EINVAL),
        ((1 << 64) - 1, (1 << 64) - 1, 0, 3, errno.EINVAL),
        (1 << 40, 2 << 20, 0, 3, errno.EINVAL),
        (1 << 40, PAGE, (1 << 20) - PAGE + 1, 3, errno.EINVAL),
        (1 << 40, PAGE, (1 << 64) - PAGE, 3, errno.EINVAL),
        (1 << 40, PAGE, 0, 8, errno.EINVAL),
        (1 << 40, PAGE, 0, 0x8000_0003, errno.EINVAL),
        (0, PAGE, 0, 3, errno.EEXIST),
        ((1 << 20) - 1, PAGE, 0, 3, errno.EEXIST),
    ],
)
def test_bad_maps(client: Client, lab: Lab, address: int, size: int, offset: int, flags: int, code: int) -> None:
    refused(code, lambda: client.dma_map(address, size, client.ram_fd, offset, flags=flags))
    assert len(lab.toy.memory) == 1


def test_maps_of_what_is_no_memory(client: Client, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    directory = os.open(tmp_path, os.O_RDONLY)
    fds = [read_end, write_end, directory, client.eventfds[0], client.socket.fileno()]
    for fd in fds:
        refused(errno.EINVAL, lambda: client.dma_map(1 << 40, PAGE, fd))
    rom = tmp_path / "rom"
    rom.write_bytes(bytes(PAGE))
    with rom.open("rb") as file:
        refused(errno.EACCES, lambda: client.dma_map(1 << 40, PAGE, file.fileno()))
    os.close(read_end)
    os.close(write_end)
    os.close(directory)


def test_a_map_takes_one_descriptor(client: Client) -> None:
    payload = struct.pack("<IIQQQ", 32, 3, 0, 1 << 40, PAGE)
    refused(errno.EINVAL, lambda: client.request(DMA_MAP, payload, [client.ram_fd, client.ram_fd]))
    client.request(DMA_MAP, payload, [client.ram_fd])


# Interrupts


def test_all_vectors(client: Client, lab: Lab) -> None:
    client.set_irqs(NONE | TRIGGER, 0, VECTORS)
    assert [client.interrupts(vector) for vector in range(VECTORS)] == [1] * VECTORS
    lab.toy.interrupts.trigger(VECTORS - 1)
    assert client.wait_interrupt(VECTORS - 1) == 1


def test_disable_all(client: Client) -> None:
    client.set_irqs(NONE | TRIGGER, 0, 0)
    client.set_irqs(NONE | TRIGGER, 0, VECTORS)
    assert [client.interrupts(vector) for vector in range(VECTORS)] == [0] * VECTORS
    # What has waited comes with the new eventfds, once.
    client.set_eventfds(0, client.eventfds)
    assert [client.interrupts(vector) for vector in range(VECTORS)] == [1] * VECTORS


def test_one_vector_without_descriptor_as_qemu_does_first(client: Client) -> None:
    client.set_irqs(EVENTFD | TRIGGER, 0, 1)
    client.set_irqs(NONE | TRIGGER, 0, 2)
    assert [client.interrupts(vector) for vector in range(2)] == [0, 1]
    client.set_eventfds(0, client.eventfds[:1])
    assert client.interrupts(0) == 1


def test_interrupts_of_other_kinds(client: Client) -> None:
    for index in (0, 1, 3, 4):
        client.set_irqs(NONE | TRIGGER, 0, 0, index=index)
        refused(errno.EINVAL, lambda: client.set_irqs(NONE | TRIGGER, 0, 1, index=index))
        refused(errno.EINVAL, lambda: client.set_irqs(EVENTFD | TRIGGER, 0, 1, fds=client.eventfds[:1], index=index))
    refused(errno.EINVAL, lambda: client.set_irqs(NONE | TRIGGER, 0, 0, index=5))


@pytest.mark.parametrize(
    ("flags", "start", "count", "data", "fds"),
    [
        (0, 0, 1, b"", 0),
        (NONE | TRIGGER, 0, VECTORS + 1, b"", 0),
        (NONE | TRIGGER, VECTORS, 1, b"", 0),
        (NONE | TRIGGER, 1, 0xFFFF_FFFF, b"", 0),
        (NONE | TRIGGER, 0xFFFF_FFFF, 1, b"", 0),
        (NONE | TRIGGER, 0, 1, b"", 1),
        (BOOL | TRIGGER, 0, 4, b"\1\1\1", 0),
        (BOOL | TRIGGER, 0, 0xFFFF_FFFF, b"\1", 0),
        (EVENTFD | TRIGGER, 0, 3, b"", 2),
        (EVENTFD | TRIGGER, 0, 0xFFFF_FFFF, b"", 1),
        (EVENTFD | TRIGGER, VECTORS - 1, 2, b"", 2),
        (EVENTFD | MASK, 0, 1, b"", 1),
        (EVENTFD | BOOL | TRIGGER, 0, 1, b"\1", 1),
    ],
)
def test_bad_set_irqs(client: Client, flags: int, start: int, count: int, data: bytes, fds: int) -> None:
    refused(errno.EINVAL, lambda: client.set_irqs(flags, start, count, data, client.eventfds[:fds]))


def test_interrupts_through_what_is_no_eventfd(client: Client) -> None:
    refused(errno.EINVAL, lambda: client.set_irqs(EVENTFD | TRIGGER, 0, 2, fds=[client.eventfds[0], client.ram_fd]))


def test_replaced_eventfds_are_closed(client: Client) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        client.set_eventfds(0, client.eventfds)
    assert len(os.listdir("/proc/self/fd")) == before
    client.set_irqs(NONE | TRIGGER, 0, 0)
    assert len(os.listdir("/proc/self/fd")) == before - VECTORS
    client.set_eventfds(0, client.eventfds)


# Reset and the end of a connection


def test_reset(client: Client, lab: Lab) -> None:
    resets = lab.toy.resets
    client.write32(0, 0x100, 1)
    client.region_write(CONFIG_REGION, 4, b"\x06\x00")
    client.set_irqs(EVENTFD | TRIGGER, 1, 1)
    lab.toy.interrupts.trigger(1)
    client.reset()
    assert lab.toy.resets == resets + 1
    assert client.read32(0, 0x100) == 0
    assert client.region_read(CONFIG_REGION, 4, 2) == b"\0\0"
    client.set_eventfds(1, client.eventfds[1:2])
    assert client.interrupts(1) == 0


def test_after_a_client_everything_is_as_before(lab: Lab) -> None:
    with lab.client(vectors=3) as first:
        first.write32(0, 0x100, 1)
        first.region_write(CONFIG_REGION, 4, b"\x06\x00")
        first.set_irqs(NONE | MASK, 0, VECTORS)
        first.set_irqs(NONE | TRIGGER, 0, VECTORS)
        resets = lab.toy.resets
    with lab.client() as second:
        assert second.read32(0, 0x100) == 0
        assert second.region_read(CONFIG_REGION, 4, 2) == b"\0\0"
        assert second.read64(4, 0x1000) == 0
        assert lab.toy.resets == resets + 1
        assert len(lab.toy.memory) == 1
        second.eventfds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)]
        second.set_eventfds(0, second.eventfds)
        lab.check(second)


def test_a_second_client_waits_for_its_turn(lab: Lab) -> None:
    with lab.client() as first, lab.client(negotiate=False) as second:
        second.send_raw(second.message(VERSION, struct.pack("<HH", 0, 1)))
        for value in range(20):  # time enough to be unfair
            first.write32(0, 0x100, value)
            assert first.read32(0, 0x100) == value
        second.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.socket.recv(1)
        second.socket.settimeout(TIMEOUT)
        first.close()
        assert second.receive().command == VERSION


# The stream


def test_several_messages_at_once(client: Client) -> None:
    messages = [client.message(WRITE, struct.pack("<QIIQ", 0x100 + 8 * i, 0, 8, i)) for i in range(500)]
    client.send_raw(b"".join(messages))
    for message in messages:
        reply = client.receive()
        assert (reply.msg_id, reply.error) == (int.from_bytes(message[:2], "little"), 0)
    assert client.read64(0, 0x100 + 8 * 499) == 499


def test_a_message_in_many_pieces(client: Client) -> None:
    message = client.message(WRITE, struct.pack("<QIIQ", 0x100, 0, 8, 0x5555))
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for byte in message:
        client.send_raw(bytes([byte]))
    assert client.receive().error == 0
    assert client.read64(0, 0x100) == 0x5555


def test_descriptors_reach_their_message(client: Client) -> None:
    """Three requests are waiting in the socket before the server looks; only the second has a descriptor."""
    address = 1 << 40
    # The server is busy with this while the others arrive: it wants to send more than the socket takes.
    flood = 40
    for _ in range(flood):
        client.send_raw(client.message(READ, struct.pack("<QII", 0, 0, 65536)))
    client.send_raw(client.message(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, 1 << 41, PAGE)))
    client.send_raw(client.message(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, address, PAGE)), [client.ram_fd])
    client.send_raw(client.message(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, address + PAGE, PAGE)))
    client.send_raw(client.message(DMA_MAP, struct.pack("<IIQQQ", 32, 7, 0, address + 2 * PAGE, PAGE)))
    replies = [client.receive() for _ in range(flood + 4)]
    assert [reply.error for reply in replies[flood:]] == [errno.ENOENT, 0, 0, errno.EINVAL]
    client.ram[0:8] = b"abcdefgh"
    client.write64(0, COPY_DOORBELL, address)
    assert client.ram[8:16] == b"abcdefgh"
    refused(errno.EFAULT, lambda: client.write64(0, COPY_DOORBELL, address + PAGE))
    client.interrupts(0)


def test_descriptors_with_a_part_of_the_message(client: Client) -> None:
    message = client.message(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 1 << 40, PAGE))
    client.send_raw(message[:5], [client.ram_fd])
    client.send_raw(message[5:20])
    client.send_raw(message[20:])
    assert client.receive().error == 0


@pytest.mark.parametrize("command", [VERSION, GET_INFO, READ, WRITE, DMA_UNMAP, RESET, 16, 99])
def test_unexpected_descriptors_are_refused(client: Client, lab: Lab, command: int) -> None:
    resets = lab.toy.resets
    with pytest.raises(Refused):
        client.request(command, bytes(32), client.eventfds[:3])
    assert lab.toy.resets == resets


def test_unexpected_descriptors_without_reply(client: Client) -> None:
    client.post(WRITE, struct.pack("<QII", 0, 0, 0), client.eventfds[:3])


@pytest.mark.parametrize("number", [17, 100, 253])
def test_too_many_descriptors(client: Client, number: int) -> None:
    fds = [client.eventfds[0]] * number
    refused(errno.EINVAL, lambda: client.set_irqs(EVENTFD | TRIGGER, 0, 16, fds=fds))


def test_too_many_descriptors_in_pieces(client: Client) -> None:
    message = client.message(SET_IRQS, struct.pack("<IIIII", 20, EVENTFD | TRIGGER, MSIX, 0, 16))
    for byte in message:
        client.send_raw(bytes([byte]), client.eventfds[:16])
    assert client.receive().error == errno.EINVAL


def test_a_client_that_does_not_read_does_not_block_the_server(client: Client, lab: Lab) -> None:
    # More replies than any socket buffer takes; requests wait meanwhile, and are answered when the client reads.
    wanted = 200
    reading = client.message(READ, struct.pack("<QII", 0, 0, 65536))
    client.send_raw(reading * wanted)
    for _ in range(wanted):
        assert len(client.receive().payload) == 16 + 65536


@pytest.mark.parametrize("size", [0, 1, 15, 65536 + 33, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_an_impossible_size_ends_the_connection(client: Client, size: int) -> None:
    client.send_raw(struct.pack("<HHIII", 1, GET_INFO, size, 0, 0), client.eventfds[:2])
    client.wait_dropped()
    client.close()


@pytest.mark.parametrize("flags", [1, 2, 0xF, 0x21])
def test_what_is_no_command_ends_the_connection(client: Client, flags: int) -> None:
    client.send_raw(struct.pack("<HHIII", 1, GET_INFO, 32, flags, 0) + bytes(16))
    client.wait_dropped()
    client.close()


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 47])
def test_a_client_that_leaves_in_the_middle(client: Client, cut: int) -> None:
    message = client.message(DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 1 << 40, PAGE))
    client.send_raw(message[:cut], [client.ram_fd])
    client.close()


def test_a_client_that_leaves_without_reading(client: Client) -> None:
    client.send_raw(client.message(READ, struct.pack("<QII", 0, 0, 65536)) * 100)
    client.close()


def test_a_client_that_only_connects(lab: Lab) -> None:
    before = lab.fds()
    for _ in range(5):
        lab.client(negotiate=False).close()
    assert lab.fds() == before


def test_a_dropped_client_gets_no_more_replies(client: Client) -> None:
    client.send_raw(client.message(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)) + bytes(16))
    assert client.receive().error == 0
    with pytest.raises(Dropped):
        client.receive()
    client.close()


# Numbers that mean something somewhere: sizes, flags, indices, addresses of memory, and the edges.
numbers = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 20, 24, 32, 33, 36, PAGE, 1 << 20, COPY_DOORBELL, 0xFFFF_FFFF])
fields = st.lists(st.one_of(numbers.map(lambda n: struct.pack("<I", n)), numbers.map(lambda n: struct.pack("<Q", n))), max_size=8)
payloads = st.one_of(st.binary(max_size=64), fields.map(b"".join))
headers = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 20), st.sampled_from([0, 0x10]), payloads, st.integers(0, 3))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(headers, max_size=30))
def test_random_commands(lab: Lab, commands: list[tuple[int, int, int, bytes, int]]) -> None:
    with lab.client(vectors=VECTORS) as client:
        kinds = [client.ram_fd, client.eventfds[0], client.socket.fileno()]
        wanted = []
        for msg_id, command, flags, payload, fds in commands:
            client.send_raw(struct.pack("<HHIII", msg_id, command, 16 + len(payload), flags, 0) + payload, kinds[:fds])
            if not flags:
                wanted.append((msg_id, command))
        assert [(reply.msg_id, reply.command) for reply in (client.receive() for _ in wanted)] == wanted
        # Whatever was changed, the next request is served.
        assert client.device_info() == (3, 9, 5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes(lab: Lab, data: bytes, negotiated: bool) -> None:
    with lab.client(negotiate=negotiated, vectors=2) as client:
        client.send_raw(data or b"\0", client.eventfds)
        client.socket.shutdown(socket.SHUT_WR)
        client.wait_dropped()


def test_the_random_tests_have_left_nothing_behind(lab: Lab) -> None:
    before = lab.fds()
    test_random_commands(lab)
    test_random_bytes(lab)
    assert lab.fds() == before


# The server itself


def test_the_socket_of_a_server_before_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with serving(Toy(), path), Client(path, vectors=1) as client:
        client.device_info()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    loop = Loop()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        Server(path, Toy(), loop)
    assert path.read_text() == "data" and stat.S_ISREG(path.stat().st_mode)
    assert len(os.listdir("/proc/self/fd")) == before
    loop.close()


def test_close_ends_the_connection(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    toy = Toy()
    with serving(toy, tmp_path / "socket") as server:
        client = Client(tmp_path / "socket", vectors=3)
        assert server.connected
    client.wait_dropped()
    client.close()
    assert len(toy.memory) == 0 and toy.resets == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_bug_of_the_device_is_not_hidden(tmp_path: Path) -> None:
    class Broken(Registers):
        def write(self, offset: int, data: bytes) -> None:
            raise ZeroDivisionError("a bug")

    toy = Toy()
    toy.bars[0] = Broken(toy.memory, toy.interrupts)
    with pytest.raises(ZeroDivisionError, match="a bug"), serving(toy, tmp_path / "socket"), Client(tmp_path / "socket") as client:
        client.write32(0, 0, 0)


def test_dma_error_tells_what_was_wrong() -> None:
    assert str(DmaError(0x1000, 8, "not readable")) == "DMA of 8 bytes at 0x1000: not readable"
