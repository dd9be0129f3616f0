# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest memory: what is mapped can be accessed, everything else is refused without a trace."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.device.guest_memory import DmaError, GuestMemory

PAGE = 4096


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory()
    yield memory
    memory.unmap_all()


@pytest.fixture
def memfd() -> Iterator[Callable[[int], int]]:
    fds: list[int] = []

    def make(size: int) -> int:
        fd = os.memfd_create("test", os.MFD_CLOEXEC)
        os.ftruncate(fd, size)
        fds.append(fd)
        return fd

    yield make
    for fd in fds:
        os.close(fd)


def fd_count() -> int:
    return len(os.listdir("/proc/self/fd"))


def mappings_of(name: str) -> int:
    return Path("/proc/self/maps").read_text().count(f"/memfd:{name}")


def test_read_and_write_go_to_the_file_at_its_offset(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    fd = memfd(4 * PAGE)
    memory.map(0x10000, PAGE, fd, 2 * PAGE, readable=True, writable=True)
    memory.write(0x10010, b"hello")
    assert os.pread(fd, 5, 2 * PAGE + 0x10) == b"hello"
    os.pwrite(fd, b"world", 2 * PAGE + 0x20)
    assert memory.read(0x10020, 5) == b"world"
    assert memory.read(0x10010, 0x15) == b"hello" + bytes(11) + b"world"


@pytest.mark.parametrize("data", [b"abcd", bytearray(b"abcd"), memoryview(b"abcd")])
def test_write_takes_any_bytes(memory: GuestMemory, memfd: Callable[[int], int], data: bytes) -> None:
    memory.map(0, PAGE, memfd(PAGE), 0, readable=True, writable=True)
    for _ in range(2):  # the second time by way of the last hit
        memory.write(8, data)
    assert memory.read(8, 4) == b"abcd"


def test_an_access_may_span_adjacent_maps(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    one, two = memfd(PAGE), memfd(3 * PAGE)
    memory.map(0x1000, PAGE, one, 0, readable=True, writable=True)
    memory.map(0x2000, PAGE, two, PAGE, readable=True, writable=True)
    memory.map(0x3000, PAGE, two, 0, readable=True, writable=True)
    data = os.urandom(2 * PAGE + 8)
    memory.write(0x1FFC - PAGE + 4, data)
    assert memory.read(0x1FFC - PAGE + 4, len(data)) == data
    assert os.pread(one, PAGE, 0) == data[:PAGE]
    assert os.pread(two, PAGE, PAGE) == data[PAGE : 2 * PAGE]
    assert os.pread(two, 8, 0) == data[2 * PAGE :]
    with pytest.raises(DmaError, match="not in one map"):
        memory.view(0x1FFC, 8)


def test_view_is_the_memory_itself(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    fd = memfd(PAGE)
    memory.map(0x1000, PAGE, fd, 0, readable=True, writable=True)
    view = memory.view(0x1100, 4)
    os.pwrite(fd, b"seen", 0x100)
    assert bytes(view) == b"seen"
    view[:] = b"back"
    assert os.pread(fd, 4, 0x100) == b"back"


def test_view_of_read_only_memory_cannot_be_written(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    memory.map(0, PAGE, memfd(PAGE), 0, readable=True, writable=False)
    with pytest.raises(TypeError):
        memory.view(0, 4)[0] = 1


def test_pack_and_unpack(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    layout = Struct("<IQ")
    fd = memfd(2 * PAGE)
    memory.map(0, PAGE, fd, PAGE, readable=True, writable=True)
    memory.map(PAGE, PAGE, fd, 0, readable=True, writable=True)
    for address in (16, 16, PAGE - 4):
        memory.pack(layout, address, 7, 1 << 63)
        assert memory.unpack(layout, address) == (7, 1 << 63)
    assert os.pread(fd, 8, 0) == (1 << 63).to_bytes(8, "little")
    with pytest.raises(DmaError):
        memory.unpack(layout, 2 * PAGE - 4)


@pytest.mark.parametrize("address", [0, 0xFFF, 0x1FFD, 0x2000, 0x5000, (1 << 64) - 2, 1 << 64, -4])
def test_access_outside_touches_nothing(memory: GuestMemory, memfd: Callable[[int], int], address: int) -> None:
    fd = memfd(PAGE)
    memory.map(0x1000, PAGE, fd, 0, readable=True, writable=True)
    for warm in (False, True):
        if warm:
            memory.read(0x1000, 4)
        for access in (memory.read, memory.view):
            with pytest.raises(DmaError) as caught:
                access(address, 4)
            assert (caught.value.address, caught.value.size) == (address, 4)
        with pytest.raises(DmaError):
            memory.write(address, b"\xff" * 4)
    assert os.pread(fd, PAGE, 0) == bytes(PAGE)


@pytest.mark.parametrize(("readable", "writable"), [(True, False), (False, True), (False, False)])
def test_permissions(memory: GuestMemory, memfd: Callable[[int], int], readable: bool, writable: bool) -> None:
    fd = memfd(2 * PAGE)
    memory.map(0, PAGE, fd, 0, readable=readable, writable=writable)
    memory.map(PAGE, PAGE, fd, PAGE, readable=True, writable=True)
    for warm in (lambda: None, lambda: memory.read(PAGE, 1)):
        warm()
        # In one map, and from a map where it is allowed into this one.
        for address, size in ((16, 4), (PAGE - 4, 8)):
            if readable:
                memory.read(address, size)
            else:
                with pytest.raises(DmaError, match="not readable"):
                    memory.read(address, size)
                with pytest.raises(DmaError):
                    memory.view(address, size)
            if writable:
                memory.write(address, bytes(size))
            else:
                with pytest.raises(DmaError, match="not writable"):
                    memory.write(address, b"\xff" * size)
    assert os.pread(fd, 2 * PAGE, 0) == bytes(2 * PAGE)


def test_a_refused_write_writes_nothing_of_its_first_part(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    fd = memfd(PAGE)
    memory.map(0, PAGE, fd, 0, readable=True, writable=True)
    with pytest.raises(DmaError):
        memory.write(PAGE - 4, b"\xff" * 8)
    assert os.pread(fd, PAGE, 0) == bytes(PAGE)


def test_a_map_without_file_is_known_but_refused(memory: GuestMemory) -> None:
    memory.map(0x1000, PAGE, None, 0, readable=True, writable=True)
    for access in (lambda: memory.read(0x1000, 4), lambda: memory.write(0x1000, b"1234"), lambda: memory.view(0x1000, 4)):
        with pytest.raises(DmaError, match="without a file"):
            access()
    with pytest.raises(OSError, match="overlaps"):
        memory.map(0x1000, PAGE, None, 0, readable=True, writable=True)
    memory.unmap(0x1000, PAGE)
    assert len(memory) == 0


def test_empty_accesses_touch_nothing(memory: GuestMemory) -> None:
    assert memory.read(0x1234, 0) == b""
    memory.write(0x1234, b"")


def test_negative_sizes_are_refused(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    memory.map(0x1000, PAGE, memfd(PAGE), 0, readable=True, writable=True)
    for address in (0x1010, 0x1010, 0x5000):
        for access in (memory.read, memory.view):
            with pytest.raises(DmaError, match="negative"):
                access(address, -1)


def test_the_number_of_maps_is_bounded(memory: GuestMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.device.guest_memory.MAX_MAPS", 3)
    for page in range(3):
        memory.map(page * PAGE, PAGE, None, 0, readable=True, writable=True)
    with pytest.raises(OSError) as caught:
        memory.map(3 * PAGE, PAGE, None, 0, readable=True, writable=True)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("address", "size", "offset"),
    [
        (0, 0, 0),
        (0, -PAGE, 0),
        (-PAGE, PAGE, 0),
        (0, PAGE, -PAGE),
        ((1 << 64) - PAGE, 2 * PAGE, 0),
        (1 << 64, PAGE, 0),
        (0, PAGE, PAGE + 1),
        (0, 2 * PAGE + 1, 0),
        (0, PAGE, (1 << 64) - PAGE),
    ],
)
def test_bad_maps_are_refused(memory: GuestMemory, memfd: Callable[[int], int], address: int, size: int, offset: int) -> None:
    with pytest.raises(OSError) as caught:
        memory.map(address, size, memfd(2 * PAGE), offset, readable=True, writable=True)
    assert caught.value.errno == errno.EINVAL
    assert len(memory) == 0


def test_the_last_page_of_the_address_space_can_be_mapped(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    last = (1 << 64) - PAGE
    memory.map(last, PAGE, memfd(PAGE), 0, readable=True, writable=True)
    memory.write(last + PAGE - 4, b"last")
    assert memory.read(last + PAGE - 4, 4) == b"last"
    with pytest.raises(DmaError):
        memory.read(last + PAGE - 4, 5)


@pytest.mark.parametrize(
    ("address", "size"), [(0x2000, 0x2000), (0x1000, 0x1001), (0x3FFF, 1), (0x3FFF, 0x1000), (0, 0x10000), (0x2800, 8)]
)
def test_overlaps_are_refused(memory: GuestMemory, memfd: Callable[[int], int], address: int, size: int) -> None:
    fd = memfd(0x10000)
    memory.map(0x2000, 0x2000, fd, 0, readable=True, writable=True)
    with pytest.raises(OSError) as caught:
        memory.map(address, size, fd, 0, readable=True, writable=True)
    assert caught.value.errno == errno.EEXIST
    assert len(memory) == 1


def test_what_is_no_memory_file_is_refused(memory: GuestMemory, tmp_path: Path) -> None:
    left, right = socket.socketpair()
    read_end, write_end = os.pipe()
    fds = [
        left.detach(),
        right.detach(),
        read_end,
        write_end,
        os.eventfd(0),
        os.open(tmp_path, os.O_RDONLY),
        os.open("/dev/null", os.O_RDWR),
    ]
    try:
        for fd in fds:
            with pytest.raises(OSError) as caught:
                memory.map(0, PAGE, fd, 0, readable=True, writable=True)
            assert caught.value.errno == errno.EINVAL
    finally:
        for fd in fds:
            os.close(fd)


def test_a_file_opened_for_reading_is_for_reading(memory: GuestMemory, tmp_path: Path) -> None:
    path = tmp_path / "rom"
    path.write_bytes(b"rom!" * 1024)
    with path.open("rb") as file:
        with pytest.raises(OSError) as caught:
            memory.map(0, PAGE, file.fileno(), 0, readable=True, writable=True)
        assert caught.value.errno == errno.EACCES
        # Also not if it is mapped for writing already, through another descriptor.
        with path.open("rb+") as writable:
            memory.map(PAGE, PAGE, writable.fileno(), 0, readable=True, writable=True)
        with pytest.raises(OSError) as caught:
            memory.map(0, PAGE, file.fileno(), 0, readable=True, writable=True)
        assert caught.value.errno == errno.EACCES
        memory.map(0, PAGE, file.fileno(), 0, readable=True, writable=False)
    assert memory.read(4, 4) == b"rom!"


def test_one_mmap_per_file_until_the_last_map_goes(memory: GuestMemory) -> None:
    fd = os.memfd_create("once", os.MFD_CLOEXEC)
    os.ftruncate(fd, 64 * PAGE)
    before = fd_count()
    for page in range(64):
        # A new descriptor of the same file each time, as they come out of messages.
        copy = os.dup(fd)
        memory.map(page * 2 * PAGE, PAGE, copy, page * PAGE, readable=True, writable=True)
        os.close(copy)
    assert mappings_of("once") == 1
    assert fd_count() <= before + 1
    for page in range(63):
        memory.unmap(page * 2 * PAGE, PAGE)
    memory.write(63 * 2 * PAGE, b"still")
    assert mappings_of("once") == 1
    memory.unmap(63 * 2 * PAGE, PAGE)
    assert mappings_of("once") == 0
    assert fd_count() == before
    os.close(fd)


def test_a_file_that_has_grown(memory: GuestMemory) -> None:
    fd = os.memfd_create("grows", os.MFD_CLOEXEC)
    os.ftruncate(fd, PAGE)
    memory.map(0, PAGE, fd, 0, readable=True, writable=True)
    os.ftruncate(fd, 2 * PAGE)
    memory.map(PAGE, PAGE, fd, PAGE, readable=True, writable=True)
    memory.write(PAGE - 2, b"both")
    assert os.pread(fd, 4, PAGE - 2) == b"both"
    memory.unmap(0, PAGE)
    memory.map(0, PAGE, fd, 0, readable=True, writable=True)
    assert memory.read(PAGE - 2, 4) == b"both"
    memory.unmap_all()
    assert mappings_of("grows") == 0
    os.close(fd)


def test_unmapped_memory_is_gone_even_if_it_was_the_last_hit(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    fd = memfd(2 * PAGE)
    memory.map(0, PAGE, fd, 0, readable=True, writable=True)
    memory.map(PAGE, PAGE, fd, PAGE, readable=True, writable=True)
    memory.read(0, 4)
    memory.unmap(0, PAGE)
    with pytest.raises(DmaError):
        memory.read(0, 4)
    assert memory.read(PAGE, 4) == bytes(4)
    memory.unmap_all()
    with pytest.raises(DmaError):
        memory.read(PAGE, 4)


def test_unmap_takes_whole_maps_only(memory: GuestMemory, memfd: Callable[[int], int]) -> None:
    fd = memfd(3 * PAGE)
    for page in range(3):
        memory.map((2 * page + 1) * PAGE, PAGE, fd, page * PAGE, readable=True, writable=True)
    for address, size in ((PAGE, PAGE - 1), (PAGE + 1, PAGE), (PAGE, 2 * PAGE + 1), (3 * PAGE + 1, 8), (0, 0), (-1, PAGE), (PAGE, 1 << 64)):
        with pytest.raises(OSError) as caught:
            memory.unmap(address, size)
        assert caught.value.errno == errno.EINVAL, (address, size)
    with pytest.raises(OSError) as caught:
        memory.unmap(2 * PAGE, PAGE)
    assert caught.value.errno == errno.ENOENT
    assert len(memory) == 3
    memory.unmap(0, 4 * PAGE)
    assert len(memory) == 1
    assert memory.read(5 * PAGE, 4) == bytes(4)


def test_a_view_that_somebody_kept_does_no_harm(memory: GuestMemory) -> None:
    fd = os.memfd_create("kept", os.MFD_CLOEXEC)
    os.ftruncate(fd, PAGE)
    memory.map(0, PAGE, fd, 0, readable=True, writable=True)
    view = memory.view(0, 4)
    memory.unmap_all()
    assert bytes(view) == bytes(4)
    del view
    assert mappings_of("kept") == 0
    os.close(fd)


PAGES = 8


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["map", "unmap", "write", "read"]), st.integers(0, PAGES * 16), st.integers(1, 40), st.booleans()),
        max_size=30,
    )
)
def test_agrees_with_a_dictionary_of_bytes(steps: list[tuple[str, int, int, bool]]) -> None:
    """The simplest model there is: for each address, the file's byte that is mapped there."""
    memory = GuestMemory()
    fd = os.memfd_create("model", os.MFD_CLOEXEC)
    os.ftruncate(fd, 512)
    content = bytearray(512)
    model: dict[int, tuple[int, bool]] = {}
    maps: list[tuple[int, int]] = []
    for number, (step, address, size, flag) in enumerate(steps):
        span = range(address, address + size)
        if step == "map":
            offset = number * 7
            if any(a in model for a in span):
                with pytest.raises(OSError):
                    memory.map(address, size, fd, offset, readable=True, writable=flag)
            else:
                memory.map(address, size, fd, offset, readable=True, writable=flag)
                maps.append((address, size))
                model |= {a: (offset + i, flag) for i, a in enumerate(span)}
        elif step == "unmap":
            hit = [m for m in maps if m[0] < address + size and address < m[0] + m[1]]
            if not hit or any(m[0] < address or m[0] + m[1] > address + size for m in hit):
                with pytest.raises(OSError):
                    memory.unmap(address, size)
            else:
                memory.unmap(address, size)
                maps = [m for m in maps if m not in hit]
                model = {a: v for a, v in model.items() if a not in span}
        elif step == "read":
            if all(a in model for a in span):
                assert memory.read(address, size) == bytes(content[model[a][0]] for a in span)
            else:
                with pytest.raises(DmaError):
                    memory.read(address, size)
        elif all(a in model and model[a][1] for a in span):
            data = bytes((number + i) % 256 for i in range(size))
            memory.write(address, data)
            for a, value in zip(span, data):
                content[model[a][0]] = value
        else:
            with pytest.raises(DmaError):
                memory.write(address, b"\xff" * size)
        assert os.pread(fd, 512, 0) == content
    memory.unmap_all()
    os.close(fd)
