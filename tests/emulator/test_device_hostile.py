# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that does anything: the server never ends, never grows without limit, and serves the next driver."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_fixture import MACS, RAM_ADDRESS, RAM_SIZE, Rig, rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from lab.device import resources as limits
from mini_driver import CREATE_DMA_REGION, DB_CQ, DB_EQ, DB_RQ, DB_SQ, DEV_MANA, DEV_MANA_IB, PAGE, MiniDriver, TimedOut, Violation
from mini_ethernet import TX_OKAY, Ethernet, Port
from mini_packets import raw_frame
from test_device_gdma import region_request

BROADCAST = b"\xff" * 6
OTHER = b"\x02\0\0\0\0\x09"

MESSAGES = [1, 2, 3, 4, 5, 10, 12, 13, 22, 24, 25, 26, 27, 29, 30, 31, 32, 84, *range(0x20001, 0x2000D), *range(0x30001, 0x3000A), 0x30022]
NUMBERS = [
    *range(6),
    16,
    64,
    256,
    1024,
    2048,
    PAGE,
    2 * PAGE,
    0xFFFF,
    (1 << 32) - 1,
    1 << 31,
    (1 << 64) - 1,
    1 << 63,
    RAM_ADDRESS,
    RAM_ADDRESS + PAGE,
    RAM_ADDRESS + RAM_SIZE,
    RAM_ADDRESS + RAM_SIZE - PAGE,
]

u32 = (st.sampled_from(NUMBERS) | st.integers(0, (1 << 32) - 1)).map(lambda value: struct.pack("<I", value & 0xFFFFFFFF))
u64 = (st.sampled_from(NUMBERS) | st.integers(0, (1 << 64) - 1)).map(lambda value: struct.pack("<Q", value))
bodies = st.lists(u32 | u64, max_size=30).map(b"".join) | st.binary(max_size=300)
messages = st.sampled_from(MESSAGES) | st.integers(0, (1 << 32) - 1)
devices = st.sampled_from([(0, 0), (1, 0), DEV_MANA, DEV_MANA_IB, (9, 9)])
doorbells = st.sampled_from([DB_SQ, DB_RQ, DB_CQ, DB_EQ]) | st.integers(0, 511).map(lambda n: n * 8)
pages = st.sampled_from([0, 1, 2, 3, 254]) | st.integers(0, 254)
numbers = st.sampled_from([0, 1, 2, 3, 4, 5, 0x400, 0x800, 0xC00, 0x1000, 0xFFFF, 0xFFFFFF]) | st.integers(0, 0xFFFFFF)
tails = st.sampled_from([0, 1, 31, 32, 64, 96, 128, 256, 4096, 1 << 31, (1 << 32) - 32, (1 << 32) - 1]) | st.integers(0, (1 << 32) - 1)
doorbell_values = st.builds(lambda number, tail: number | tail << 32, numbers, tails) | st.integers(0, (1 << 64) - 1)

sges = st.tuples(
    st.sampled_from(NUMBERS) | st.integers(RAM_ADDRESS - 100, RAM_ADDRESS + RAM_SIZE + 100),
    st.sampled_from([0, 1, 2, 256, 257, 0xFFFFFFFF]),
    st.sampled_from([0, 1, 14, 64, 1514, 9014, 65536, 0xFFFFFFFF]) | st.integers(0, 2000),
)


@st.composite
def entries(draw: st.DrawFn) -> bytes:
    """A work queue entry that might be one."""
    sgl = draw(st.lists(sges, max_size=6))
    oob = draw(st.sampled_from([b"", bytes(8), bytes(24)]) | st.binary(min_size=8, max_size=28))
    oob = oob[: len(oob) // 4 * 4]
    flags = draw(st.integers(0, (1 << 20) - 1)) << 12 & 0xFFFFF000
    header = struct.pack("<II", draw(st.integers(0, (1 << 32) - 1)), len(sgl) | len(oob) // 4 << 8 | draw(st.booleans()) << 11 | flags)
    return header + oob + b"".join(struct.pack("<QII", *sge) for sge in sgl)


def bounded(made: Rig) -> None:
    """All that a guest can make the server keep is below its limit."""
    function = made.function
    made_things = function._resources
    for table, limit in (
        (made_things.regions, limits.MAX_REGIONS),
        (made_things.eqs, limits.MAX_EQS),
        (made_things.cqs, limits.MAX_CQS),
        (made_things.sqs, limits.MAX_SQS),
        (made_things.rqs, limits.MAX_RQS),
        (made_things.pds, limits.MAX_PDS),
        (made_things.mrs, limits.MAX_MRS),
    ):
        assert len(table) <= limit
    assert sum(region.page_count for region in made_things.regions) <= limits.MAX_PAGES
    assert function.hwc is None or len(function.hwc._answers) <= 1
    assert len(function.problems) <= 4
    assert len(function.mana_ib.addresses) <= 1024
    for vport in function.vports:
        assert len(vport.objects) <= 2 * made.config.max_queues
        assert len(vport.indirection) <= 512
    assert len(made.switch._queue) == 0


def serves_a_fresh_driver(made: Rig) -> None:
    """After a reset, as Linux does when a guest boots."""
    if not len(made.function.memory):
        made.client.dma_map(RAM_ADDRESS, RAM_SIZE, made.client.ram_fd)
    made.client.reset()
    for vector in range(len(made.client.eventfds)):
        made.client.interrupts(vector)
    made.function.problems.clear()
    made.function.faults.lose_requests, made.function.faults.refuse_requests, made.function.faults.corrupt_every = {}, {}, 0
    driver = MiniDriver(made.client)
    driver.establish()
    driver.verify()
    ethernet = Ethernet(driver, eqs=2)
    port = Port(ethernet, 0)
    port.up(2, buffers=8)
    made.wire.take()
    frame = raw_frame(BROADCAST, port.mac)
    assert port.send(frame) == [TX_OKAY]
    assert made.wire.take() == [frame]
    made.wire.send(raw_frame(port.mac, OTHER))
    assert len(port.take()) == 1
    port.down()
    ethernet.close()
    driver.destroy()
    assert made.function.problems == {}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(message=messages, body=bodies, dev=devices, version=st.integers(0, 3), answer=st.sampled_from([0, 1, 8, 64, 4000]))
def test_any_request(made: Rig, message: int, body: bytes, dev: tuple[int, int], version: int, answer: int) -> None:
    """It gets an answer: the channel is alive whatever is asked."""
    made.driver.request(message, body, dev=dev, answer=answer, version=version, response_version=version)
    bounded(made)


@relaxed
@given(raw=st.binary(max_size=4096), size=st.sampled_from([0, 1, 39, 40, 41, 4096, 4097, 1 << 20, 0xFFFFFFFF]) | st.integers(0, 5000))
def test_any_message(made: Rig, raw: bytes, size: int) -> None:
    """Bytes instead of a request: an answer of any kind, or a channel that has stopped."""
    driver = made.driver
    driver.ram.write(driver._tx_buffer, raw.ljust(4096, b"\0"))
    driver.hwc_sq.post([(driver._tx_buffer, driver.hwc_mkey, size)], bytes(24))
    driver.hwc_sq.ring()
    bounded(made)
    driver.destroy()
    for vector in range(9):
        made.client.interrupts(vector)
    driver.establish()
    driver.verify()


@relaxed
@given(shared=st.binary(min_size=28, max_size=28), header=st.integers(0, 15) | st.integers(0, (1 << 32) - 1))
def test_any_shared_memory(made: Rig, shared: bytes, header: int) -> None:
    """A channel at any addresses. The vector is one that there is: else it is refused before anything is looked at."""
    base = made.driver.shm_base
    made.client.region_write(0, base, shared[:26] + bytes([shared[26] % 9, 0]))
    made.client.write32(0, base + 28, header)
    answer = made.client.read32(0, base + 28)
    assert header >> 31 or header >> 7 & 1 or (answer >> 7 & 1 and not answer >> 31)
    serves_a_fresh_driver(made)


@relaxed
@given(entry=entries(), tail=st.none() | tails, is_rq=st.booleans(), on_channel=st.booleans())
def test_any_entry(made: Rig, entry: bytes, tail: int | None, is_rq: bool, on_channel: bool) -> None:
    driver = MiniDriver(made.client)
    made.client.reset()
    for vector in range(9):
        made.client.interrupts(vector)
    driver.establish()
    port = Port(Ethernet(driver, eqs=1), 0)
    port.up(1, buffers=0)
    queue = {
        (False, False): port.tx[0].sq,
        (True, False): port.rx[0].rq,
        (False, True): driver.hwc_sq,
        (True, True): driver.hwc_rq,
    }[is_rq, on_channel]
    queue.post_raw(entry)
    queue.ring(tail=tail)
    made.wire.send(raw_frame(MACS[0], OTHER, 200))
    with contextlib.suppress(Violation, TimedOut):
        driver.verify()
    bounded(made)


@relaxed
@given(
    oob=st.binary(min_size=24, max_size=24),
    headers=st.binary(max_size=300),
    size=st.integers(0, 20_000),
    cut=st.integers(0, 300),
    mss=st.integers(0, 0x3FFF),
)
def test_any_out_of_band_data(made: Rig, oob: bytes, headers: bytes, size: int, cut: int, mss: int) -> None:
    """With the right numbers in it, so that it gets as far as it can; the packet is anything too."""
    driver = MiniDriver(made.client)
    made.client.reset()
    for vector in range(9):
        made.client.interrupts(vector)
    driver.establish()
    port = Port(Ethernet(driver, eqs=1), 0)
    port.up(1, buffers=4)
    tx = port.tx[0]
    first, second = struct.unpack_from("<II", oob)
    oob = struct.pack("<II", first & 0xFF | tx.cq.id << 8, second & 0x3FF | tx.sq.id >> 10 << 10) + oob[8:16] + bytes(8)
    packet = (BROADCAST + port.mac + headers).ljust(size, b"\x11")
    units = tx.sq.post(port.sges(packet, [min(cut, len(packet))]), oob, oob_in_sgl=mss % 2 == 1, data_unit=mss)
    tx.posted(units, bool(first & 1 << 7))
    tx.sq.ring()
    driver.interrupt()
    assert len(tx.completions) <= 1
    assert made.function.problems == {}
    made.wire.take()


def test_completions_nobody_reads(made: Rig) -> None:
    """Owner bits go on, memory does not grow, and nothing outside the ring is written."""
    port = Port(Ethernet(made.driver, eqs=1), 0)
    port.up(1, tx_bytes=PAGE, buffers=0)
    tx = port.tx[0]
    for _ in range(2000):
        tx.sq.tail = tx.sq.head
        port.post(raw_frame(BROADCAST, port.mac))
        tx.sq.ring()
    made.wire.take()
    serves_a_fresh_driver(made)


def test_regions_are_made_until_they_are_refused(made: Rig) -> None:
    driver = made.driver
    body = region_request(PAGE, 0, 0, 1, [RAM_ADDRESS])
    for _ in range(limits.MAX_REGIONS):
        driver.request(CREATE_DMA_REGION, body)
    driver.refused(CREATE_DMA_REGION, body)
    bounded(made)
    serves_a_fresh_driver(made)


class Guest(RuleBasedStateMachine):
    """Right and wrong things in any order."""

    @initialize()
    def start(self) -> None:
        self.stack = contextlib.ExitStack()
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.made = self.stack.enter_context(rig(Path(directory), max_queues=3))
        self.driver = self.made.driver
        self.mapped = True

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            with self.stack:
                serves_a_fresh_driver(self.made)

    @invariant()
    def is_bounded(self) -> None:
        if hasattr(self, "made"):
            self.made.client.device_info()  # it is alive
            bounded(self.made)

    @rule()
    def new_driver(self) -> None:
        """As after kexec: the old one has left everything as it was."""
        driver = MiniDriver(self.made.client)
        driver.ram._next = self.driver.ram._next
        if driver.ram._next > RAM_ADDRESS + RAM_SIZE // 2:
            driver.ram._next = RAM_ADDRESS + PAGE
        self.driver = driver
        with contextlib.suppress(Violation):
            driver.establish()

    @rule(count=st.integers(1, 3))
    def bring_up(self, count: int) -> None:
        if not self.driver.established:
            return
        with contextlib.suppress(Violation, TimedOut, AssertionError):
            ethernet = Ethernet(self.driver, eqs=count)
            for index in range(2):
                port = Port(ethernet, index)
                port.up(count, tx_bytes=PAGE, rx_bytes=PAGE, buffers=8)
                port.send(raw_frame(BROADCAST, port.mac))

    @rule(message=messages, body=bodies, dev=devices)
    def ask(self, message: int, body: bytes, dev: tuple[int, int]) -> None:
        if self.driver.established:
            with contextlib.suppress(Violation, TimedOut, AssertionError, IndexError):
                self.driver.request(message, body, dev=dev, answer=16)

    @rule(page=pages, offset=doorbells, value=doorbell_values)
    def ring(self, page: int, offset: int, value: int) -> None:
        self.driver.doorbell(page, offset, value)

    @rule(at=st.integers(1, 60), entry=entries())
    def scribble(self, at: int, entry: bytes) -> None:
        """Over queues, most likely: they are at the beginning of memory."""
        self.driver.ram.write(RAM_ADDRESS + at * PAGE, entry)

    @rule(dst=st.sampled_from([MACS[0], MACS[1], BROADCAST]), tail=st.binary(min_size=2, max_size=300))
    def receive(self, dst: bytes, tail: bytes) -> None:
        self.made.wire.send(dst + OTHER + tail)
        self.made.wire.take()

    @rule(offset=st.integers(0, 0x1100) | st.integers(0, (1 << 20) - 64), data=st.binary(min_size=1, max_size=64))
    def write_registers(self, offset: int, data: bytes) -> None:
        self.made.client.region_write(0, offset, data)
        self.made.client.region_read(0, offset, len(data))

    @rule()
    def memory_goes_or_comes(self) -> None:
        if self.mapped:
            self.made.client.dma_unmap(RAM_ADDRESS, RAM_SIZE)
        else:
            self.made.client.dma_map(RAM_ADDRESS, RAM_SIZE, self.made.client.ram_fd)
        self.mapped = not self.mapped

    @rule()
    def reset(self) -> None:
        self.made.client.reset()

    @rule(how=st.sampled_from(["lose", "refuse", "corrupt", "off"]))
    def fault(self, how: str) -> None:
        faults = self.made.function.faults
        faults.lose_requests = {2: 1} if how == "lose" else {}
        faults.refuse_requests = {0x20004: 1} if how == "refuse" else {}
        faults.corrupt_every = 2 if how == "corrupt" else 0


TestGuest = Guest.TestCase
TestGuest.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
