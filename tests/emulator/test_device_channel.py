# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registers, the shared-memory channel, and the hardware channel: how a driver starts, stops, and starts again."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_fixture import RAM_ADDRESS, RAM_SIZE, Rig, rig
from mini_driver import (
    CREATE_PD,
    DB_CQ,
    DB_EQ,
    DB_RQ,
    DB_SQ,
    DEREGISTER_DEVICE,
    DEV_MANA,
    LIST_DEVICES,
    PAGE,
    QUERY_HWC_TIMEOUT,
    QUERY_MAX_RESOURCES,
    REGISTER_DEVICE,
    UNSUPPORTED,
    VERIFY_VF_DRIVER_VERSION,
    Memory,
    MiniDriver,
    TimedOut,
    Violation,
)
from mini_ethernet import Ethernet, Port
from mini_packets import raw_frame


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, establish=False) as r:
        yield r


def works(driver: MiniDriver) -> None:
    driver.verify()


# Registers


def test_registers(raw: Rig) -> None:
    client = raw.client
    assert client.region_info(0)[1] == 1 << 20
    assert client.read32(0, 0x10) == 4096
    doorbells, shared = client.read64(0, 8), client.read64(0, 0x18)
    assert doorbells % PAGE == 0 and doorbells >= PAGE
    assert shared + 32 <= doorbells and shared % 4 == 0
    assert client.region_read(0, shared, 32) == bytes(32)


def test_registers_ignore_writes(raw: Rig) -> None:
    client = raw.client
    before = client.region_read(0, 0, 64)
    for offset in range(0, 64, 8):
        client.write64(0, offset, (1 << 64) - 1)
    assert client.region_read(0, 0, 64) == before
    assert raw.function.problems == {"register": 8}


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_doorbells_are_64_bits(made: Rig, size: int) -> None:
    made.client.region_write(0, made.driver.db_page_base, bytes(size))
    assert made.function.problems == {"register": 1}
    works(made.driver)


def test_doorbells_read_as_zero(made: Rig) -> None:
    assert made.client.region_read(0, made.driver.db_page_base, 64) == bytes(64)
    assert made.client.region_read(0, (1 << 20) - 8, 8) == bytes(8)


# The shared-memory channel


def test_establish_and_destroy_again_and_again(made: Rig) -> None:
    driver = made.driver
    for _ in range(20):
        works(driver)
        driver.destroy()
        assert made.function.hwc is None
        driver.establish()
    works(driver)


@pytest.mark.parametrize("vector", [0, 1, 8])
def test_the_channel_may_use_any_vector(raw: Rig, vector: int) -> None:
    raw.driver.establish(vector)
    works(raw.driver)


def test_a_vector_too_many(raw: Rig) -> None:
    memory = [Memory.contiguous(raw.driver.ram, PAGE) for _ in range(4)]
    assert raw.driver.smc(1, raw.driver.hwc_payload([m.pages[0] for m in memory], 9)) != 0
    assert raw.function.hwc is None
    raw.driver.establish()


def test_queues_of_the_channel_above_2_48(tmp_path: Path) -> None:
    # All 52 bits of the frame number are used: the map is at the top of the address space that Linux could give.
    with rig(tmp_path, establish=False) as r:
        r.client.dma_unmap(RAM_ADDRESS, RAM_SIZE)
        r.client.ram_address = 0xF << 60
        r.client.dma_map(r.client.ram_address, RAM_SIZE, r.client.ram_fd)
        driver = MiniDriver(r.client)
        driver.establish()
        works(driver)


@pytest.mark.parametrize("queue", range(4))
def test_channel_queues_outside_memory(raw: Rig, queue: int) -> None:
    """Those that the device writes to at once are refused; the others make no answer, and a new channel works."""
    driver = raw.driver
    queues = [Memory.contiguous(driver.ram, PAGE).pages[0] for _ in range(4)]
    queues[queue] = RAM_ADDRESS + RAM_SIZE
    status = driver.smc(1, driver.hwc_payload(queues))
    assert (status != 0) == (queue == 0)
    driver.establish()
    works(driver)


@pytest.mark.parametrize("header", [0, 3, 7, 1 | 1 << 3, 2 | 7 << 3])
def test_unknown_requests_of_shared_memory(made: Rig, header: int) -> None:
    """The answer says failure and echoes type and version; the channel that there is stays."""
    driver = made.driver
    made.client.write32(0, driver.shm_base + 28, header)
    answer = made.client.read32(0, driver.shm_base + 28)
    assert answer & 0x3F == header and answer >> 7 & 1
    assert answer >> 8 & 0xFF and not answer >> 31
    works(driver)


def test_responses_in_shared_memory_are_no_requests(made: Rig) -> None:
    for header in (1 << 7 | 2, 2 | 1 << 31):
        made.client.write32(0, made.driver.shm_base + 28, header)
    made.client.write32(0, made.driver.shm_base + 28, 0)
    works(made.driver)


def test_shared_memory_holds_what_was_written(raw: Rig) -> None:
    base = raw.driver.shm_base
    data = bytes(range(28))
    raw.client.region_write(0, base, data)
    assert raw.client.region_read(0, base, 28) == data
    raw.client.region_write(0, base + 3, b"\xff\xfe")
    assert raw.client.region_read(0, base, 8) == b"\x00\x01\x02\xff\xfe\x05\x06\x07"


def test_one_write_of_all_256_bits(raw: Rig) -> None:
    driver = raw.driver
    queues = [Memory.contiguous(driver.ram, PAGE).pages[0] for _ in range(4)]
    raw.client.region_write(0, driver.shm_base, driver.hwc_payload(queues) + struct.pack("<I", 1))
    assert raw.client.read32(0, driver.shm_base + 28) == 1 | 1 << 7
    assert raw.function.hwc is not None


def test_destroy_without_a_channel(raw: Rig) -> None:
    assert raw.driver.smc(2, only_header=True) == 0


def test_refuse_hwc(raw: Rig) -> None:
    raw.function.faults.refuse_hwc = True
    with pytest.raises(Violation, match="establish: status 1"):
        raw.driver.establish()
    raw.function.faults.refuse_hwc = False
    raw.driver.establish()


# Everything goes with the channel


def busy(r: Rig) -> tuple[Ethernet, Port]:
    ethernet = Ethernet(r.driver)
    port = Port(ethernet, 0)
    port.up(2)
    r.driver.ask(CREATE_PD, bytes(8), "QII")
    return ethernet, port


def everything_is_gone(r: Rig) -> None:
    resources = r.function._resources
    for table in (resources.regions, resources.eqs, resources.cqs, resources.sqs, resources.rqs, resources.pds, resources.mrs):
        assert len(table) == 0
    assert not r.function.gdma.registered
    assert r.function.hwc is None
    for vport in r.function.vports:
        assert not vport.objects and not vport.rx_enabled and not vport.indirection


@pytest.mark.parametrize("how", ["destroy", "establish", "reset", "disconnect"])
def test_everything_goes_with_the_channel(made: Rig, how: str) -> None:
    ethernet, port = busy(made)
    old = [queue.cq.memory for queue in port.rx] + [eq.memory for eq in ethernet.eqs] + [made.driver.hwc_eq.memory]
    if how == "destroy":
        made.driver.destroy()
    elif how == "establish":
        made.driver.establish()  # a new one, without the old one's end: kexec does so
        made.driver.destroy()
    elif how == "reset":
        made.client.reset()
    else:
        made.client.close()
        made.connect()
        made.client.device_info()
    everything_is_gone(made)
    if how != "disconnect":
        before = [memory.read(0, memory.size) for memory in old]
        made.wire.send(raw_frame(b"\xff" * 6, b"\x02" * 6))
        assert [memory.read(0, memory.size) for memory in old] == before, "memory of a queue that is gone was written"
        made.driver = MiniDriver(made.client)
    made.driver.establish()
    ethernet = Ethernet(made.driver)
    port = Port(ethernet, 0)
    port.up(2)
    assert port.send(raw_frame(b"\xff" * 6, port.mac)) == [32]


def test_reset_in_the_middle_of_a_request(made: Rig) -> None:
    driver = made.driver
    driver.hwc_sq.post([(driver._tx_buffer, driver.hwc_mkey, 64)], bytes(24))
    made.client.reset()
    driver.hwc_sq.ring()  # nobody hears it
    assert made.function.problems == {"doorbell": 1}
    assert made.client.region_read(0, driver.shm_base, 32) == bytes(32)
    driver = MiniDriver(made.client)
    driver.establish()
    works(driver)


def test_counters_outlive_the_channel(made: Rig) -> None:
    _, port = busy(made)
    port.send(raw_frame(b"\xff" * 6, port.mac))
    made.driver.destroy()
    made.driver.establish()
    assert Ethernet(made.driver).statistics()["hc_tx_bcast_pkts"] == 1


# Messages


def test_many_requests(made: Rig) -> None:
    """Message ids, activity ids, owner bits and positions through many rounds of all four queues."""
    for _ in range(1500):
        made.driver.ask(QUERY_MAX_RESOURCES, b"", "10I")


@pytest.mark.parametrize("message", [0, 6, 11, 14, 23, 28, 33, 85, 0x2000B, 0x20009, 0x28000, 0x30006, 0x3FFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("dev", [(0, 0), (1, 0), DEV_MANA, (3, 1), (9, 9)])
def test_unknown_requests(made: Rig, message: int, dev: tuple[int, int]) -> None:
    assert made.driver.refused(message, bytes(64), dev=dev) == UNSUPPORTED


def test_answers_are_as_long_as_asked(made: Rig) -> None:
    whole = made.driver.request(LIST_DEVICES, answer=8 + 64 * 4)[1]
    for size in (0, 1, 7, 8, 12, 16):
        assert made.driver.request(LIST_DEVICES, answer=size) == (0, whole[:size])
    longer = made.driver.request(LIST_DEVICES, answer=2000)[1]
    assert longer == whole + bytes(2000 - len(whole))


def test_an_answer_is_never_longer_than_a_buffer(made: Rig) -> None:
    driver = made.driver
    with pytest.raises(Violation, match="answer of 4096 bytes that says 4096, asked for 65568"):
        driver.request(LIST_DEVICES, answer=65536)
    works(driver)


def test_an_answer_is_never_shorter_than_its_header(made: Rig) -> None:
    with pytest.raises(Violation, match="answer of 32 bytes that says 32, asked for 22"):
        made.driver.request(LIST_DEVICES, answer=-10)
    works(made.driver)


@pytest.mark.parametrize("says", [0, 40, 47])
def test_a_request_ends_where_its_header_says(made: Rig, says: int) -> None:
    """A body that is cut off is a short one, not one that continues with what is in the buffer."""
    made.driver.refused(VERIFY_VF_DRIVER_VERSION, struct.pack("<QQ", 1, 1) + bytes(1000), says=says)


def test_a_header_that_claims_more_than_there_is(made: Rig) -> None:
    body = struct.pack("<QQ", 1, 1) + bytes(64)
    status, _ = made.driver.request(VERIFY_VF_DRIVER_VERSION, body, answer=40, says=1 << 31)
    assert status == 0


def test_a_request_in_pieces(made: Rig) -> None:
    """Linux sends one piece; the queue allows more."""
    driver = made.driver
    message = struct.pack("<IIHHI", 0, LIST_DEVICES, 1, 77, 40) + struct.pack("<IIHHI", 0, LIST_DEVICES, 1, 0, 40) + bytes(8)
    address = driver.ram.alloc(PAGE)
    driver.ram.write(address, message[:10])
    driver.ram.write(address + 2048, message[10:])
    driver._sent.append(driver.hwc_sq.post([(address, driver.hwc_mkey, 10), (address + 2048, driver.hwc_mkey, 30)], bytes(24)))
    driver.hwc_sq.ring()
    driver.interrupt()
    assert driver._response is not None
    assert struct.unpack_from("<IIHHI", driver._response) == (0, LIST_DEVICES, 1, 77, 40)
    assert driver._response[32] == 3


def test_the_answer_waits_for_a_buffer(made: Rig) -> None:
    driver = made.driver
    post, driver.post_hwc_buffer = driver.post_hwc_buffer, lambda: None  # type: ignore[method-assign]
    works(driver)  # takes the only buffer
    with pytest.raises(TimedOut):
        works(driver)
    driver.post_hwc_buffer = post  # type: ignore[method-assign]
    driver.post_hwc_buffer()
    driver.interrupt()
    assert driver._response is not None
    assert driver._response[4] == VERIFY_VF_DRIVER_VERSION


def test_a_driver_without_buffers_cannot_fill_the_server(made: Rig) -> None:
    """Answers that nobody takes are bounded: the device takes no more requests until they are gone."""
    driver = made.driver
    driver.post_hwc_buffer = lambda: None  # type: ignore[method-assign]
    message = struct.pack("<IIHHI", 0, LIST_DEVICES, 1, 1, 40) + struct.pack("<IIHHI", 0, LIST_DEVICES, 1, 0, 4096) + bytes(8)
    for _ in range(40):
        driver.post_request(message)
        driver.interrupt()
    assert made.function.hwc is not None
    assert len(made.function.hwc._answers) <= 2


@pytest.mark.parametrize("size", [0, 1, 39])
def test_a_request_without_a_header(made: Rig, size: int) -> None:
    driver = made.driver
    driver.hwc_sq.post([(driver._tx_buffer, driver.hwc_mkey, size)], bytes(24))
    driver.hwc_sq.ring()
    assert made.function.problems["doorbell"] == 1
    made.client.reset()
    driver = MiniDriver(made.client)
    driver.establish()
    works(driver)


@pytest.mark.parametrize("what", ["no oob", "no data"])
def test_a_request_that_is_none(made: Rig, what: str) -> None:
    driver = made.driver
    sgl = [] if what == "no data" else [(driver._tx_buffer, driver.hwc_mkey, 64)]
    driver.hwc_sq.post(sgl, bytes(8 if what == "no oob" else 24))
    driver.hwc_sq.ring()
    assert made.function.problems["doorbell"] == 1
    made.driver.destroy()
    made.driver.establish()
    works(made.driver)


def test_a_request_from_memory_that_is_not_there(made: Rig) -> None:
    driver = made.driver
    driver.hwc_sq.post([(RAM_ADDRESS + RAM_SIZE - 8, driver.hwc_mkey, 64)], bytes(24))
    driver.hwc_sq.ring()
    assert made.function.problems["doorbell"] == 1
    driver.destroy()
    driver.establish()
    works(driver)


def test_an_answer_to_memory_that_is_not_there(made: Rig) -> None:
    driver = made.driver
    driver.post_hwc_buffer = lambda: None  # type: ignore[method-assign]
    works(driver)
    driver.hwc_rq.post([(RAM_ADDRESS + RAM_SIZE, driver.hwc_mkey, 4096)])
    driver.hwc_rq.ring()
    with pytest.raises(TimedOut):
        works(driver)
    assert made.function.problems["doorbell"] == 1
    driver = MiniDriver(made.client)
    driver.establish()
    works(driver)


def test_an_answer_in_small_pieces(made: Rig) -> None:
    """A buffer in pieces is filled; one that is too small is said to be so by the size of the answer."""
    driver = made.driver
    driver.post_hwc_buffer = lambda: None  # type: ignore[method-assign]
    whole = driver.request(LIST_DEVICES, answer=264)[1]
    base = driver._rx_buffer
    driver.hwc_rq.post([(base, driver.hwc_mkey, 10), (base + 10, driver.hwc_mkey, 100), (base + 110, driver.hwc_mkey, 500)])
    driver.hwc_rq.ring()
    assert driver.request(LIST_DEVICES, answer=264)[1] == whole
    driver.hwc_rq.tail = driver.hwc_rq.head
    driver.hwc_rq.post([(base, driver.hwc_mkey, 40)])
    driver.hwc_rq.ring()
    with pytest.raises(Violation, match="answer of 40 bytes that says 296"):
        driver.request(LIST_DEVICES, answer=264)


# The first requests of every driver


@pytest.mark.parametrize("flags", [0, 1 << 3, 1 << 3 | 0x825, (1 << 64) - 1])
def test_verify_version(made: Rig, flags: int) -> None:
    """Of the driver's abilities the device has only the one to tell its timeout (GDMA_DRV_CAP_FLAG_1_HWC_TIMEOUT_RECONFIG)."""
    assert made.driver.verify(flags) == flags & 1 << 3
    assert made.function.gdma.driver == {"os_type": 0x10, "major": 6, "minor": 12, "build": 1, "capabilities": flags}


def test_verify_version_of_the_shortest_driver(made: Rig) -> None:
    made.driver.ask(VERIFY_VF_DRIVER_VERSION, struct.pack("<QQ4QQIIIIII", 1, 9, *[0] * 11), "5Q")


@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (2, 2), (2, 1 << 63)])
def test_verify_other_versions(made: Rig, lowest: int, highest: int) -> None:
    made.driver.refused(VERIFY_VF_DRIVER_VERSION, struct.pack("<QQ", lowest, highest) + bytes(1000))
    assert made.function.gdma.driver == {}


def test_hwc_timeout(tmp_path: Path) -> None:
    with rig(tmp_path, hwc_timeout_ms=12345) as r:
        assert r.driver.ask(QUERY_HWC_TIMEOUT, struct.pack("<II", 30000, 0), "II") == (12345, 0)


def test_max_resources(tmp_path: Path) -> None:
    with rig(tmp_path, max_queues=5, msix_vectors=7) as r:
        status, max_sq, max_rq, max_cq, max_eq, max_db, max_mst, _, _, max_msix = r.driver.ask(QUERY_MAX_RESOURCES, b"", "10I")
        assert (status, max_sq, max_rq, max_msix) == (0, 5, 5, 7)
        assert max_cq == r.driver.max_num_cqs and max_eq >= 7 and max_db == 255 and max_mst >= 1024


@pytest.mark.parametrize(("rdma", "kinds"), [(True, [(1, 0), (2, 1), (3, 1)]), (False, [(1, 0), (2, 1)])])
def test_list_devices(tmp_path: Path, rdma: bool, kinds: list[tuple[int, int]]) -> None:
    with rig(tmp_path, rdma=rdma) as r:
        count, reserved, *listed = r.driver.ask(LIST_DEVICES, b"", "II128H")
        assert (count, reserved) == (len(kinds), 0)
        pairs = list(zip(listed[::2], listed[1::2]))
        assert pairs == kinds + [(0, 0)] * (64 - len(kinds))


def test_register(made: Rig) -> None:
    driver = made.driver
    pdid, mkey, doorbell = driver.register()
    other_pdid, _, other_doorbell = driver.register((3, 1))
    assert pdid != other_pdid and doorbell != other_doorbell and 0 not in (doorbell, other_doorbell)
    assert mkey not in (0, 0xFFFFFFFF)
    driver.refused(REGISTER_DEVICE, dev=DEV_MANA)
    driver.ask(DEREGISTER_DEVICE, dev=DEV_MANA)
    driver.refused(DEREGISTER_DEVICE, dev=DEV_MANA)
    assert driver.register() == (pdid, mkey, doorbell)


@pytest.mark.parametrize("dev", [(0, 0), (1, 0), (2, 0), (2, 2), (3, 0), (4, 1), (0xFFFF, 0xFFFF)])
@pytest.mark.parametrize("message", [REGISTER_DEVICE, DEREGISTER_DEVICE])
def test_register_what_there_is_not(made: Rig, dev: tuple[int, int], message: int) -> None:
    made.driver.refused(message, dev=dev)


def test_register_rdma_where_there_is_none(tmp_path: Path) -> None:
    with rig(tmp_path, rdma=False) as r:
        r.driver.refused(REGISTER_DEVICE, dev=(3, 1))
        assert r.driver.refused(0x30001, dev=(3, 1)) == UNSUPPORTED


@pytest.mark.parametrize("dev", [(0, 0), (3, 1), (2, 2)])
def test_ethernet_requests_for_another_device(made: Rig, dev: tuple[int, int]) -> None:
    assert made.driver.refused(0x20001, bytes(48), dev=dev) != UNSUPPORTED


# Doorbells


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (DB_SQ, 0x400),
        (DB_SQ, 0x401 | 32 << 32),
        (DB_SQ, 0xFFFFFF),
        (DB_RQ, 2),
        (DB_RQ, 0xFFFFFF),
        (DB_CQ, 0xFFFFFF | 1 << 63),
        (DB_EQ, 0xFFFF | 1 << 63),
        (8, 0),
        (0x10, 0),
        (0xFF0, 0),
    ],
)
@pytest.mark.parametrize("page", [0, 1, 254])
def test_wrong_doorbells(made: Rig, page: int, offset: int, value: int) -> None:
    """A queue that there is not, another page, or no doorbell at all: counted, without effect."""
    driver = made.driver
    sq = driver.hwc_sq
    if page == 0 and offset == DB_SQ and value == 0x400:
        value |= 31 << 32  # the right queue: half an entry
        assert sq.id == 0x400
    driver.doorbell(page, offset, value)
    assert made.function.problems == {"doorbell": 1}


def test_a_right_doorbell_at_a_wrong_page(made: Rig) -> None:
    driver = made.driver
    driver.post_request(b"")  # 40 bytes too short, but it is not taken
    made.function.problems.clear()
    driver.destroy()
    driver.establish()
    for queue in (driver.hwc_sq, driver.hwc_rq):
        queue.doorbell_page = 1
        queue.ring()
        queue.doorbell_page = 0
    for ring in (driver.hwc_cq, driver.hwc_eq):
        ring.doorbell_page = 1
        ring.ring(True)
        ring.doorbell_page = 0
    assert made.function.problems == {"doorbell": 4}
    works(driver)
