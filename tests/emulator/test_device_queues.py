# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rings: thousands of packets through small queues, in memory of all shapes; when the device announces, and when it must not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_fixture import RAM_ADDRESS, RAM_SIZE, Rig, rig
from lab.device.dma import DmaRegion, RingMemory
from lab.device.guest_memory import DmaError
from mini_driver import DESTROY_DMA_REGION, DEV_MANA, PAGE, SQ, Memory
from mini_ethernet import CREATE_WQ_OBJ, TX_OKAY, Ethernet, Port, TxQueue, wq_request
from mini_packets import raw_frame

BROADCAST = b"\xff" * 6
OTHER = b"\x02\0\0\0\0\x09"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def port(made: Rig) -> Port:
    return Port(Ethernet(made.driver), 0)


# Round and round


@pytest.mark.parametrize("scattered", [False, True], ids=["contiguous", "scattered"])
@pytest.mark.parametrize("pages", [1, 2, 4])
def test_send_queues_go_round(made: Rig, port: Port, pages: int, scattered: bool) -> None:
    """Entries of one to fifteen units, so that they lie across the ends of pages and of the queue in every way."""
    port.up(1, tx_bytes=pages * PAGE, scattered=scattered)
    frame = raw_frame(BROADCAST, port.mac, 300)
    rounds = 2500 if pages == 1 else 600
    for n in range(rounds):
        pieces = n % 29 + 1
        cuts = [10 * (k + 1) for k in range(pieces - 1)]
        # A changed byte tells whether it was this entry's buffers that were read.
        this = frame[:14] + n.to_bytes(4, "big") + frame[18:]
        assert port.send(this, cuts=cuts, long=n % 2) == [TX_OKAY]
        assert made.wire.take() == [this]
    assert port.tx[0].sq.head * 32 > 8 * pages * PAGE
    assert port.tx[0].cq.head > 9 * port.tx[0].cq.entries or pages > 1
    assert port.tx[0].sq.available == port.tx[0].sq.memory.size


@pytest.mark.parametrize("scattered", [False, True], ids=["contiguous", "scattered"])
@pytest.mark.parametrize("pages", [1, 2])
def test_receive_queues_go_round(made: Rig, port: Port, pages: int, scattered: bool) -> None:
    port.up(1, rx_bytes=pages * PAGE, buffer_size=128, scattered=scattered)
    for n in range(1500 if pages == 1 else 300):
        frame = raw_frame(port.mac, OTHER, 60 + n % 60, fill=n % 251)
        made.wire.send(frame)
        (packet,) = port.take()
        assert packet.data == frame
    assert port.rx[0].cq.head > 9 * port.rx[0].cq.entries or pages == 2


def test_a_full_send_queue_at_once(made: Rig, port: Port) -> None:
    port.up(1, tx_bytes=PAGE)
    frames = [raw_frame(BROADCAST, port.mac, 100, fill=n) for n in range(128)]
    for _ in range(10):
        for frame in frames:
            port.post(frame)
        assert port.tx[0].sq.available == 0
        port.tx[0].sq.ring()
        made.driver.interrupt()
        assert port.tx[0].take() == [TX_OKAY] * 128
        assert made.wire.take() == frames


def test_positions_of_work_queues_are_32_bits(made: Rig, port: Port) -> None:
    """The driver's count of bytes wraps after 4 GiB of entries: nobody waits for that, so the count is moved."""
    port.up(1, tx_bytes=PAGE, rx_bytes=PAGE, buffers=8)
    tx, rx = port.tx[0], port.rx[0]
    almost = (1 << 32) - 4 * PAGE
    (sq,) = made.function.vports[0].send_queues()
    sq._taken = sq._posted = almost
    tx.sq.head = tx.sq.tail = almost // 32
    port.destroy(2, rx.handle, rx.cq)
    rx = port.rx[0] = port.create_rx(0, PAGE, port.ethernet.eqs[0], buffers=8)
    rq = made.function._resources.rqs.get(rx.rq.id)
    rq._taken = rq._posted = almost
    rx.rq.head = rx.rq.tail = almost // 32
    rx.fill()
    port.steer()
    for n in range(1200):
        frame = raw_frame(BROADCAST, port.mac, fill=n % 256)
        assert port.send(frame) == [TX_OKAY]
        made.wire.send(raw_frame(port.mac, OTHER, fill=n % 256))
        (packet,) = port.take()
        assert packet.data[-1] == n % 256
    assert tx.sq.head * 32 > 1 << 32 and rx.rq.head * 32 > 1 << 32
    assert made.wire.take()[-1] == frame


def test_the_same_frame_through_two_ports_and_four_queues(made: Rig, port: Port) -> None:
    other = Port(port.ethernet, 1)
    port.up(4, tx_bytes=PAGE, rx_bytes=PAGE)
    other.up(4, tx_bytes=PAGE, rx_bytes=PAGE, scattered=True)
    for n in range(1200):
        a, b = (port, other) if n % 3 else (other, port)
        frame = raw_frame(b.mac, a.mac, 60 + n % 1000, fill=n % 256)
        assert a.send(frame, n % 4) == [TX_OKAY]
        (packet,) = b.take()
        assert packet.data == frame and packet.queue == 0
        assert a.take() == []
    assert made.function.problems == {}


@pytest.mark.parametrize("pages", [1, 2, 4, 8])
def test_ring_memory_is_its_pages_in_a_circle(made: Rig, pages: int) -> None:
    """Every read and every write of RingMemory against the plain definition of it."""
    ram = made.driver.ram
    addresses = ram.alloc_scattered(pages * PAGE)
    if pages > 2:
        addresses[1:3] = sorted(addresses[1:3])
    ring = RingMemory(made.function.memory, DmaRegion(pages * PAGE, 0, PAGE, pages, addresses))
    plain = Memory(ram, addresses)
    content = bytes(n * 7 % 253 for n in range(pages * PAGE))
    plain.write(0, content)
    for position in (0, 1, PAGE - 1, PAGE, pages * PAGE - 1, pages * PAGE, 3 * pages * PAGE + 5, (1 << 32) - 8):
        for size in (0, 1, 16, 64, 512, PAGE, pages * PAGE):
            begin = position % (pages * PAGE)
            assert ring.read(position, size) == (content * 2)[begin : begin + size]
    for position in (5, PAGE - 3, pages * PAGE - 3):
        ring.write(position, b"abcdef")
        assert plain.read(position, 6) == b"abcdef"
        assert plain.read(position + 6, 64) != b"abcdef"


# Announcements


def test_entries_are_announced_once(made: Rig, port: Port) -> None:
    """Armed, the first entry makes one event and one interrupt; those behind it none, until the driver arms again."""
    port.up(1)
    rx, vector = port.rx[0], port.ethernet.eqs[0].vector
    assert made.client.interrupts(vector) == 0
    for _ in range(10):
        made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(vector) == 1
    (event,) = port.ethernet.eqs[0].poll(10)
    assert int.from_bytes(event.details[:4], "little") == rx.cq.id
    assert not any(event.details[4:])
    rx.poll(arm=False)
    assert len(rx.packets) == 10
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(vector) == 0
    assert port.ethernet.eqs[0].is_empty()


def test_a_stale_arming_fires_at_once(made: Rig, port: Port) -> None:
    port.up(1)
    rx, eq = port.rx[0], port.ethernet.eqs[0]
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(eq.vector) == 1
    eq.poll(10)
    rx.poll(arm=False)
    head = rx.cq.head
    made.wire.send(raw_frame(port.mac, OTHER))  # not armed: nobody is told
    assert made.client.interrupts(eq.vector) == 0
    eq.ring(True)
    assert made.client.interrupts(eq.vector) == 0
    rx.cq.ring(True, head=head)  # armed with a tail that is behind
    assert made.client.interrupts(eq.vector) == 1
    assert len(eq.poll(10)) == 1
    # The event was for what was there: the ring is not armed now.
    rx.poll(arm=False)
    eq.ring(True)
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(eq.vector) == 0


def test_arming_when_nothing_is_new(made: Rig, port: Port) -> None:
    port.up(1)
    rx, eq = port.rx[0], port.ethernet.eqs[0]
    for _ in range(5):
        rx.cq.ring(True)
        eq.ring(True)
    assert made.client.interrupts(eq.vector) == 0
    rx.cq.ring(False)  # taken back
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(eq.vector) == 0
    assert eq.is_empty()


def test_an_event_queue_that_is_not_armed(made: Rig, port: Port) -> None:
    port.up(2)
    eq = port.ethernet.eqs[0]
    eq.ring(False)
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(eq.vector) == 0
    assert not eq.is_empty()
    eq.ring(True)
    assert made.client.interrupts(eq.vector) == 1
    made.driver._process_eq(eq)  # that interrupt was taken away above
    assert len(port.take()) == 1


def test_completion_queues_that_are_polled(made: Rig, port: Port) -> None:
    """GDMA_CQ_NO_EQ: no event, whether armed or not."""
    port.up(1, eqs=[None])
    for _ in range(500):
        assert port.send(raw_frame(BROADCAST, port.mac)) == []
        port.tx[0].poll()
        assert port.tx[0].take() == [TX_OKAY]
        made.wire.send(raw_frame(port.mac, OTHER))
        assert port.take() == []
        port.rx[0].poll(arm=False)
        assert len(port.take()) == 1
    assert [made.client.interrupts(vector) for vector in range(9)] == [0] * 9


def test_queues_that_are_never_rung(made: Rig, port: Port) -> None:
    """DPDK polls, and rings a completion queue only to be woken: by then it may have gone round many times."""
    port.up(1, tx_bytes=PAGE, rx_bytes=PAGE)
    rx, eq = port.rx[0], port.ethernet.eqs[0]
    for n in range(rx.cq.entries * 20 + 3):
        made.wire.send(raw_frame(port.mac, OTHER))
        rx.poll(arm=False)
        assert len(rx.packets) == n + 1
    made.client.interrupts(eq.vector)
    eq.poll(10)
    eq.ring(True)
    rx.cq.ring(True)
    assert made.client.interrupts(eq.vector) == 0
    made.wire.send(raw_frame(port.mac, OTHER))
    assert made.client.interrupts(eq.vector) == 1
    assert made.function.problems == {}


def test_many_completion_queues_of_one_event_queue(made: Rig, port: Port) -> None:
    other = Port(port.ethernet, 1)
    eq = port.ethernet.eqs[0]
    port.up(4, eqs=[eq])
    other.up(4, eqs=[eq])
    for n in range(400):
        frame = raw_frame(BROADCAST, port.mac, fill=n % 256)
        assert port.send(frame, n % 4) == [TX_OKAY]
        assert len(other.take()) == 1
    assert eq.head > 2 * eq.entries


# Wrong doorbells


@pytest.mark.parametrize("ahead", [1, 5, 255, 800])
def test_a_completion_tail_ahead_of_the_head(made: Rig, port: Port, ahead: int) -> None:
    """Counted; the queue goes on."""
    port.up(1, rx_bytes=PAGE)
    rx = port.rx[0]
    rx.cq.ring(True, head=rx.cq.head + ahead)
    assert made.function.problems == {"doorbell": 1}
    made.wire.send(raw_frame(port.mac, OTHER))
    assert len(port.take()) == 1


def test_a_completion_tail_of_another_round(made: Rig, port: Port) -> None:
    port.up(1, rx_bytes=PAGE)
    cq = port.rx[0].cq
    for rounds in (1, 2, 7):
        cq.ring(True, head=cq.head - rounds * cq.entries)
    # One round behind is a full queue; its arming fires. Two and more cannot be.
    assert made.function.problems == {"doorbell": 2}


@pytest.mark.parametrize("extra", [1, 8, 16, 31, PAGE + 32, 1 << 30])
def test_a_send_tail_that_cannot_be(made: Rig, port: Port, extra: int) -> None:
    """Half an entry, or more than the queue holds: the queue stops. A new one works."""
    port.up(1, tx_bytes=PAGE)
    tx = port.tx[0]
    tx.sq.ring(tail=tx.sq.head * 32 + extra)
    assert made.function.problems == {"doorbell": 1}
    port.post(raw_frame(BROADCAST, port.mac))
    tx.sq.ring()
    assert made.wire.take() == []
    port.down()
    port.up(1)
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


def test_a_doorbell_that_was_overtaken(made: Rig, port: Port) -> None:
    """Two processors ring: the older position comes later, and changes nothing."""
    port.up(1)
    tx = port.tx[0]
    port.post(raw_frame(BROADCAST, port.mac))
    first = tx.sq.head * 32
    port.post(raw_frame(BROADCAST, port.mac))
    tx.sq.ring()
    tx.sq.ring(tail=first)
    tx.sq.ring()
    made.driver.interrupt()
    assert tx.take() == [TX_OKAY] * 2
    assert len(made.wire.take()) == 2
    assert made.function.problems == {}


def test_receive_doorbells_with_a_count(made: Rig, port: Port) -> None:
    """wqe_cnt, bits 24 to 31, is to be 0 for receive queues; DPDK passes its count all the same."""
    port.up(1, buffers=4)
    rx = port.rx[0]
    rx.repost = False
    for _ in range(4):
        made.wire.send(raw_frame(port.mac, OTHER))
    assert len(port.take()) == 4
    rx._post(rx.buffers[0])
    page, offset = rx.rq.doorbell_page, 0x400
    made.driver.doorbell(page, offset, rx.rq.id | 9 << 24 | rx.rq.head * 32 << 32)
    made.wire.send(raw_frame(port.mac, OTHER))
    assert len(port.take()) == 1


# Entries that are none


def entry(sges: int, oob_dwords: int, more_flags: int = 0) -> bytes:
    return struct.pack("<II", 0, sges | oob_dwords << 8 | more_flags)


@pytest.mark.parametrize(
    ("raw", "units"),
    [
        pytest.param(entry(255, 2), 128, id="255 pieces"),
        pytest.param(entry(31, 6), 17, id="528 bytes"),
        pytest.param(entry(3, 2), 1, id="longer than what was posted"),
        pytest.param(entry(0, 0), 1, id="no out-of-band data"),
        pytest.param(entry(1, 1), 1, id="half of it"),
        pytest.param(bytes(32), 1, id="nothing"),
        pytest.param(b"\xff" * 4096, 128, id="ones"),
    ],
)
def test_sends_that_are_none(made: Rig, port: Port, raw: bytes, units: int) -> None:
    """The queue stops, without a completion; all others go on."""
    port.up(2, tx_bytes=PAGE)
    tx = port.tx[0]
    tx.sq.post_raw(raw.ljust(units * 32, b"\0"))
    tx.sq.ring()
    assert made.function.problems == {"doorbell": 1}
    assert tx.cq.is_empty() and made.wire.take() == []
    tx.sq.ring()
    assert made.function.problems == {"doorbell": 1}
    assert port.send(raw_frame(BROADCAST, port.mac), 1) == [TX_OKAY]


@pytest.mark.parametrize("raw", [entry(255, 2), entry(15, 2), b"\xff" * 64])
def test_receive_entries_that_are_none(made: Rig, port: Port, raw: bytes) -> None:
    port.up(1, buffers=0)
    rx = port.rx[0]
    rx.rq.post_raw(raw.ljust(512, b"\0"))
    rx.rq.ring()
    made.wire.send(raw_frame(port.mac, OTHER))
    assert port.take() == []
    assert port.ethernet.statistics() == {"rx_discards_nowqe": 1}
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


def test_the_largest_entries(made: Rig, port: Port) -> None:
    """30 pieces fit in 512 bytes of a send entry, 15 in 256 of a receive entry (MAX_TX_WQE_SGL_ENTRIES, MAX_RX_WQE_SGL_ENTRIES)."""
    port.up(1, buffers=0)
    frame = raw_frame(BROADCAST, port.mac, 900)
    assert port.send(frame, cuts=[30 * (n + 1) for n in range(29)], long=1) == [TX_OKAY]
    assert port.send(frame, cuts=[30 * (n + 1) for n in range(30)]) == [TX_OKAY]
    assert made.wire.take() == [frame] * 2
    rx = port.rx[0]
    address = made.driver.ram.alloc(PAGE)
    rx.rq.post([(address + 256 * (14 - n), port.ethernet.mkey, 100) for n in range(15)])
    rx.rq.ring()
    incoming = raw_frame(port.mac, OTHER, 1450)
    made.wire.send(incoming)
    got = b"".join(made.driver.ram.read(address + 256 * (14 - n), 100) for n in range(15))
    assert got[:1450] == incoming and got[1450:] == bytes(50)


# Memory that goes away


@pytest.fixture
def extra(made: Rig) -> int:
    """Address of a second map of the same memory, which a test takes away."""
    address = RAM_ADDRESS + 4 * RAM_SIZE
    made.client.dma_map(address, RAM_SIZE, made.client.ram_fd)
    return address


def elsewhere(memory: Memory, extra: int) -> Memory:
    """The same memory at the addresses of the second map."""
    moved = Memory(memory.ram, [page - RAM_ADDRESS + extra for page in memory.pages])
    moved.read = memory.read  # type: ignore[method-assign]
    moved.write = memory.write  # type: ignore[method-assign]
    return moved


def test_a_send_queue_in_memory_that_is_gone(made: Rig, port: Port, extra: int) -> None:
    port.up(1)
    ram = made.driver.ram
    wq, cq = Memory.contiguous(ram, PAGE), Memory.contiguous(ram, 2 * PAGE)
    regions = made.driver.region(elsewhere(wq, extra)), made.driver.region(cq)
    body = wq_request(port.handle, SQ, *regions, PAGE, 2 * PAGE, 0xFFFF)
    number, _, _ = made.driver.ask(CREATE_WQ_OBJ, body, "IIQ", dev=DEV_MANA)
    made.client.dma_unmap(extra, RAM_SIZE)
    made.driver.doorbell(1, 0, number | 32 << 32)
    assert made.function.problems == {"doorbell": 1}
    made.client.dma_map(extra, RAM_SIZE, made.client.ram_fd)
    made.driver.doorbell(1, 0, number | 64 << 32)  # it has stopped for good
    assert made.wire.take() == []
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


@pytest.mark.parametrize("what", ["cq", "eq"])
def test_completions_to_memory_that_is_gone(made: Rig, port: Port, extra: int, what: str) -> None:
    """Of a send queue and of a receive queue; nothing else is written, and other queues go on."""
    port.up(2)
    eq = port.ethernet.eqs[0]
    if what == "eq":
        moved = elsewhere(eq.memory, extra)
        made.driver.destroy_eq(eq)
        eq.memory.write(0, bytes(eq.memory.size))
        eq = made.driver.create_eq(moved, 1, pdid=port.ethernet.pdid, doorbell_page=1)
    create_region = made.driver.region

    def region(memory: Memory, **options: Any) -> int:
        return create_region(elsewhere(memory, extra) if what == "cq" and memory.size == 2 * PAGE else memory, **options)

    made.driver.region = region  # type: ignore[method-assign]
    tx = port.create_tx(PAGE, eq)
    rx = port.create_rx(2, PAGE, eq, buffers=4)
    rx.fill()
    made.driver.region = create_region  # type: ignore[method-assign]
    port.tx.append(tx)
    port.rx.append(rx)
    port.steer(default=rx.handle)
    made.client.dma_unmap(extra, RAM_SIZE)
    port.post(raw_frame(BROADCAST, port.mac), 2)
    tx.sq.ring()
    assert made.function.problems == {"doorbell": 1}
    made.wire.send(raw_frame(port.mac, OTHER))
    assert port.ethernet.statistics()["rx_discards_nowqe"] == 1
    assert port.send(raw_frame(BROADCAST, port.mac), 1) == [TX_OKAY]


def test_all_memory_goes_and_comes_back(made: Rig, port: Port) -> None:
    """The server only counts; a new driver starts afresh."""
    port.up(2)
    made.client.dma_unmap(RAM_ADDRESS, RAM_SIZE)
    for offset in (0, 0x400):
        for number in (port.tx[0].sq.id, port.rx[0].rq.id):
            made.driver.doorbell(1, offset, number | 32 << 32)
    for ring in (port.tx[0].cq, port.rx[0].cq, port.ethernet.eqs[0]):
        ring.ring(True)
    made.driver.doorbell(0, 0, made.driver.hwc_sq.id | (made.driver.hwc_sq.head + 2) * 32 << 32)
    made.wire.send(raw_frame(port.mac, OTHER))
    made.client.dma_map(RAM_ADDRESS, RAM_SIZE, made.client.ram_fd)
    made.client.reset()
    made.driver.establish()
    fresh = Port(Ethernet(made.driver), 0)
    fresh.up(2)
    assert fresh.send(raw_frame(BROADCAST, fresh.mac)) == [TX_OKAY]


def test_a_ring_outside_memory_says_so(made: Rig) -> None:
    ring = RingMemory(made.function.memory, DmaRegion(PAGE, 0, PAGE, 1, [RAM_ADDRESS + RAM_SIZE]))
    with pytest.raises(DmaError):
        ring.read(0, 4)
    with pytest.raises(DmaError):
        ring.write(0, b"xxxx")


def test_destroyed_regions_do_not_matter_to_queues(made: Rig, port: Port) -> None:
    """Handles of regions are used again by others."""
    port.up(1)
    for _ in range(10):
        handle = made.driver.region(Memory.contiguous(made.driver.ram, PAGE))
        made.driver.ask(DESTROY_DMA_REGION, struct.pack("<Q", handle))
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]


def test_the_mini_driver_is_strict(made: Rig, port: Port) -> None:
    """Of the tests' own tools: an entry that was never written by the device is found."""
    port.up(1)
    tx: TxQueue = port.tx[0]
    tx.cq.memory.write(tx.cq.head % tx.cq.entries * 64 + 60, struct.pack("<I", tx.sq.id | 1 << 24 | 5 << 29))
    with pytest.raises(AssertionError, match="overflow"):
        tx.poll()
