# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GDMA's requests for queues, doorbell pages, memory and protection domains: what is right works, what is wrong changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_fixture import RAM_ADDRESS, RAM_SIZE, Rig, rig
from lab.device.guest_memory import DmaError
from mini_driver import (
    ALLOCATE_RESOURCE_RANGE,
    CREATE_DMA_REGION,
    CREATE_MR,
    CREATE_PD,
    CREATE_QUEUE,
    DESTROY_DMA_REGION,
    DESTROY_MR,
    DESTROY_PD,
    DESTROY_RESOURCE_RANGE,
    DEV_MANA,
    DEV_MANA_IB,
    DISABLE_QUEUE,
    DMA_REGION_ADD_PAGES,
    EQ,
    GENERATE_TEST_EQE,
    MORE_ENTRIES,
    PAGE,
    UNSUPPORTED,
    Memory,
    MiniDriver,
    TimedOut,
    queue_request,
)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def driver(made: Rig) -> MiniDriver:
    return made.driver


def state(made: Rig) -> tuple[object, ...]:
    """All that requests can change."""
    resources = made.function._resources
    tables = (resources.regions, resources.eqs, resources.cqs, resources.sqs, resources.rqs, resources.pds, resources.mrs)
    pages = [(region.length, list(region.pages)) for region in resources.regions]
    objects = [dict(vport.objects) for vport in made.function.vports]
    return [len(table) for table in tables], pages, objects, set(made.function.gdma.registered), set(made.function.gdma._doorbells)


def region_request(length: int, offset: int, page_type: int, count: int, pages: list[int], said: int | None = None) -> bytes:
    body = struct.pack("<QIIII", length, offset, page_type, count, len(pages) if said is None else said)
    return body + struct.pack(f"<{len(pages)}Q", *pages)


def short_of(body: bytes) -> list[bytes]:
    return [body[:size] for size in range(0, len(body), 4)]


# Event queues


def test_event_queue(made: Rig, driver: MiniDriver) -> None:
    pdid, _, page = driver.register()
    eq = driver.create_eq(Memory.contiguous(driver.ram, 8 * PAGE), 3, pdid=pdid, doorbell_page=page)
    assert eq.id != driver.hwc_eq.id
    assert len(made.function._resources.regions) == 0  # the region is the queue's now
    driver.destroy_eq(eq)
    assert driver.refused(GENERATE_TEST_EQE, struct.pack("<I", eq.id), dev=DEV_MANA)


def test_event_queues_share_a_vector(driver: MiniDriver) -> None:
    """Without any entry a queue is not armed again: Linux does not ring then, and must not be interrupted for ever."""
    pdid, _, page = driver.register()
    eqs = [driver.create_eq(Memory.contiguous(driver.ram, PAGE), 2, pdid=pdid, doorbell_page=page) for _ in range(5)]
    eqs.append(driver.create_eq(Memory.contiguous(driver.ram, PAGE), 0, pdid=pdid, doorbell_page=page))  # with the channel's
    for _ in range(300):
        for eq in eqs:
            driver.test_eq(eq)
    driver.test_eq(driver.hwc_eq, (1, 0))


def test_an_event_queue_goes_round(driver: MiniDriver) -> None:
    pdid, _, page = driver.register()
    eq = driver.create_eq(Memory.scattered(driver.ram, 2 * PAGE), 1, pdid=pdid, doorbell_page=page)
    assert eq.entries == 512
    for _ in range(512 * 9):
        driver.test_eq(eq)
    assert eq.head > 512 * 10


def test_numbers_of_event_queues_are_used_again(driver: MiniDriver) -> None:
    pdid, _, page = driver.register()
    first = driver.create_eq(Memory.contiguous(driver.ram, PAGE), 1, pdid=pdid, doorbell_page=page)
    number = first.id
    driver.destroy_eq(first)
    again = driver.create_eq(Memory.contiguous(driver.ram, PAGE), 1, pdid=pdid, doorbell_page=page)
    assert again.id == number


def test_as_many_event_queues_as_promised(driver: MiniDriver) -> None:
    max_eq = driver.ask(2, b"", "10I")[4]
    pdid, _, page = driver.register()
    memory = Memory.contiguous(driver.ram, PAGE)
    for _ in range(max_eq - 1):  # one is the channel's
        driver.ask(CREATE_QUEUE, queue_request(EQ, pdid, page, driver.region(memory), PAGE, 1), "I", dev=DEV_MANA)
    handle = driver.region(memory)
    driver.refused(CREATE_QUEUE, queue_request(EQ, pdid, page, handle, PAGE, 1), dev=DEV_MANA)
    driver.ask(DESTROY_DMA_REGION, struct.pack("<Q", handle))  # it is still there


@pytest.mark.parametrize(
    "change",
    ["SQ", "RQ", "CQ", "type 0", "no region", "unknown region", "half the size", "twice the size", "vector", "page", "page -1", "short"],
)
def test_wrong_event_queues(made: Rig, driver: MiniDriver, change: str) -> None:
    pdid, _, page = driver.register()
    memory = Memory.contiguous(driver.ram, 2 * PAGE)
    handle = driver.region(memory)
    kind, size, vector, region = EQ, memory.size, 1, handle
    if change in ("SQ", "RQ", "CQ", "type 0"):
        kind = ["type 0", "SQ", "RQ", "CQ"].index(change)
    elif "region" in change:
        region = 0 if change == "no region" else handle + 1000
    elif "size" in change:
        size = memory.size // 2 if "half" in change else memory.size * 2
    elif change == "vector":
        vector = 9
    elif "page" in change:
        page = 255 if change == "page" else 0xFFFFFFFF
    body = queue_request(kind, pdid, page, region, size, vector)
    before = state(made)
    driver.refused(CREATE_QUEUE, body[:40] if change == "short" else body, dev=DEV_MANA)
    assert state(made) == before
    good = queue_request(EQ, pdid, 1, handle, memory.size, 1)
    driver.ask(CREATE_QUEUE, good, "I", dev=DEV_MANA)


@pytest.mark.parametrize(("length", "offset"), [(3 * PAGE, 0), (PAGE // 2, 0), (PAGE, 64), (5000, 0), (0, 64)])
def test_regions_that_can_hold_no_queue(made: Rig, driver: MiniDriver, length: int, offset: int) -> None:
    """Queues have a power of two of bytes, at least a page, and begin with one: MANA_MIN_QSIZE."""
    pdid, _, page = driver.register()
    handle = driver.region(Memory.contiguous(driver.ram, 4 * PAGE), length=length, offset=offset)
    before = state(made)
    driver.refused(CREATE_QUEUE, queue_request(EQ, pdid, page, handle, length, 1), dev=DEV_MANA)
    assert state(made) == before


def test_an_incomplete_region_can_hold_no_queue(made: Rig, driver: MiniDriver) -> None:
    pdid, _, page = driver.register()
    memory = Memory.contiguous(driver.ram, 2 * PAGE)
    status, data = driver.request(CREATE_DMA_REGION, region_request(2 * PAGE, 0, 0, 2, memory.pages[:1]), answer=8)
    assert status == MORE_ENTRIES
    handle = int.from_bytes(data, "little")
    before = state(made)
    driver.refused(CREATE_QUEUE, queue_request(EQ, pdid, page, handle, 2 * PAGE, 1), dev=DEV_MANA)
    assert state(made) == before
    driver.ask(DMA_REGION_ADD_PAGES, struct.pack("<QIIQ", handle, 1, 0, memory.pages[1]))
    driver.ask(CREATE_QUEUE, queue_request(EQ, pdid, page, handle, 2 * PAGE, 1), "I", dev=DEV_MANA)


def test_a_region_is_good_for_one_queue(driver: MiniDriver) -> None:
    pdid, _, page = driver.register()
    handle = driver.region(Memory.contiguous(driver.ram, PAGE))
    body = queue_request(EQ, pdid, page, handle, PAGE, 1)
    driver.ask(CREATE_QUEUE, body, "I", dev=DEV_MANA)
    driver.refused(CREATE_QUEUE, body, dev=DEV_MANA)
    driver.refused(DESTROY_DMA_REGION, struct.pack("<Q", handle))


@pytest.mark.parametrize(("kind", "number"), [(1, None), (2, None), (3, None), (0, None), (EQ, 0), (EQ, 200), (EQ, 1 << 31)])
def test_disable_what_there_is_not(made: Rig, driver: MiniDriver, kind: int, number: int | None) -> None:
    pdid, _, page = driver.register()
    eq = driver.create_eq(Memory.contiguous(driver.ram, PAGE), 1, pdid=pdid, doorbell_page=page)
    before = state(made)
    driver.refused(DISABLE_QUEUE, struct.pack("<III", kind, eq.id if number is None else number, 1), dev=DEV_MANA)
    driver.refused(DISABLE_QUEUE, struct.pack("<II", EQ, eq.id), dev=DEV_MANA)
    assert state(made) == before
    driver.test_eq(eq)


def test_the_queue_of_the_channel_cannot_be_disabled(driver: MiniDriver) -> None:
    driver.refused(DISABLE_QUEUE, struct.pack("<III", EQ, driver.hwc_eq.id, 1))
    driver.verify()


@pytest.mark.parametrize("number", [0, 2, 100, 0xFFFFFFFF])
def test_no_test_event_in_a_queue_that_there_is_not(driver: MiniDriver, number: int) -> None:
    driver.refused(GENERATE_TEST_EQE, struct.pack("<I", number))
    driver.refused(GENERATE_TEST_EQE, b"\1\0\0")


def test_an_event_queue_in_memory_that_is_gone(made: Rig, driver: MiniDriver) -> None:
    """A refused request, not a dead channel."""
    pdid, _, page = driver.register()
    extra = RAM_ADDRESS + 4 * RAM_SIZE
    made.client.dma_map(extra, RAM_SIZE // 2, made.client.ram_fd)
    memory = Memory(driver.ram, [extra + PAGE * 4000])
    (number,) = driver.ask(CREATE_QUEUE, queue_request(EQ, pdid, page, driver.region(memory), PAGE, 1), "I", dev=DEV_MANA)
    made.client.dma_unmap(extra, RAM_SIZE // 2)
    driver.refused(GENERATE_TEST_EQE, struct.pack("<I", number), dev=DEV_MANA)
    driver.verify()


# Doorbell pages


def allocate(driver: MiniDriver, count: int = 1, alignment: int = 1) -> int:
    return int(driver.ask(ALLOCATE_RESOURCE_RANGE, struct.pack("<IIII", 27, count, alignment, 0), "I")[0])


def free(page: int, count: int = 1) -> bytes:
    return struct.pack("<III", 27, count, page)


def test_doorbell_pages(driver: MiniDriver) -> None:
    used = {driver.register()[2], driver.register(DEV_MANA_IB)[2], 0}
    pages = [allocate(driver) for _ in range(10)]
    assert len(set(pages) | used) == 13 and max(pages) < 255
    driver.ask(DESTROY_RESOURCE_RANGE, free(pages[4]))
    assert allocate(driver) == pages[4]


@pytest.mark.parametrize("alignment", [0, 1, 2, 4, 16])
def test_doorbell_pages_in_a_row(driver: MiniDriver, alignment: int) -> None:
    """mana_ib asks for an alignment of its pages of memory: 16 where they have 64 KiB."""
    first = allocate(driver, 3, alignment)
    second = allocate(driver, 3, alignment)
    assert first % max(1, alignment) == second % max(1, alignment) == 0
    assert second >= first + 3
    driver.ask(DESTROY_RESOURCE_RANGE, free(first, 3))
    assert allocate(driver, 3, alignment) == first


def test_doorbell_pages_end(driver: MiniDriver) -> None:
    pages = [allocate(driver) for _ in range(252)]
    assert len(set(pages)) == 252
    driver.refused(ALLOCATE_RESOURCE_RANGE, struct.pack("<IIII", 27, 1, 1, 0))
    driver.ask(DESTROY_RESOURCE_RANGE, free(pages[0], 252))
    driver.refused(ALLOCATE_RESOURCE_RANGE, struct.pack("<IIII", 27, 253, 1, 0))
    assert allocate(driver, 252) == pages[0]


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<IIII", 26, 1, 1, 0),
        struct.pack("<IIII", 0, 1, 1, 0),
        struct.pack("<IIII", 27, 0, 1, 0),
        struct.pack("<IIII", 27, 256, 1, 0),
        struct.pack("<IIII", 27, 0xFFFFFFFF, 1, 0),
        struct.pack("<IIII", 27, 1, 0xFFFFFFFF, 0),
        struct.pack("<III", 27, 1, 1),
    ],
)
def test_wrong_allocations(made: Rig, driver: MiniDriver, body: bytes) -> None:
    before = state(made)
    driver.refused(ALLOCATE_RESOURCE_RANGE, body)
    assert state(made) == before


def test_wrong_frees(made: Rig, driver: MiniDriver) -> None:
    page = allocate(driver, 2)
    before = state(made)
    for body in (free(0), free(1), free(2), free(page + 2), free(page, 3), free(page - 1, 2), free(page, 0xFFFFFFFF), free(0xFFFFFFFF)):
        driver.refused(DESTROY_RESOURCE_RANGE, body)
    driver.refused(DESTROY_RESOURCE_RANGE, struct.pack("<III", 26, 1, page))
    driver.refused(DESTROY_RESOURCE_RANGE, free(page)[:8])
    assert state(made) == before


# DMA regions


@pytest.mark.parametrize("chunk", [1, 2, 7, 31, 500])
@pytest.mark.parametrize("pages", [1, 2, 31, 62])
def test_regions_in_several_messages(made: Rig, driver: MiniDriver, pages: int, chunk: int) -> None:
    memory = Memory.scattered(driver.ram, pages * PAGE)
    handle = driver.region(memory, chunk=chunk)
    (region,) = made.function._resources.regions
    assert region.pages == memory.pages
    driver.ask(DESTROY_DMA_REGION, struct.pack("<Q", handle))
    driver.refused(DESTROY_DMA_REGION, struct.pack("<Q", handle))


def test_a_region_begun_without_pages(driver: MiniDriver) -> None:
    status, data = driver.request(CREATE_DMA_REGION, region_request(PAGE, 0, 0, 1, []), answer=8)
    assert status == MORE_ENTRIES
    handle = int.from_bytes(data, "little")
    assert driver.request(DMA_REGION_ADD_PAGES, struct.pack("<QII", handle, 0, 0)) == (MORE_ENTRIES, b"")
    driver.ask(DMA_REGION_ADD_PAGES, struct.pack("<QIIQ", handle, 1, 0, RAM_ADDRESS))


@pytest.mark.parametrize("page_type", range(10))
def test_all_page_sizes(made: Rig, driver: MiniDriver, page_type: int) -> None:
    size = PAGE << page_type
    driver.ask(CREATE_DMA_REGION, region_request(2 * size - 100, 100, page_type, 2, [4 * size, 2 * size]), "Q")
    (region,) = made.function._resources.regions
    assert region.extents(0, 2 * size - 100) == [(4 * size + 100, size - 100), (2 * size, size)]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(region_request(PAGE, 0, 10, 1, [RAM_ADDRESS]), id="page type 10"),
        pytest.param(region_request(PAGE, 0, 0xFFFFFFFF, 1, [RAM_ADDRESS]), id="page type -1"),
        pytest.param(region_request(PAGE + 1, 0, 0, 1, [RAM_ADDRESS]), id="too long"),
        pytest.param(region_request(PAGE, 1, 0, 1, [RAM_ADDRESS]), id="too long with its offset"),
        pytest.param(region_request(1 << 63, 0, 0, 1, [RAM_ADDRESS]), id="far too long"),
        pytest.param(region_request((1 << 64) - 1, 1, 0, 1, [RAM_ADDRESS]), id="overflow"),
        pytest.param(region_request(PAGE, PAGE, 0, 2, [RAM_ADDRESS, RAM_ADDRESS]), id="offset beyond the first page"),
        pytest.param(region_request(0, 0, 0, 1, [RAM_ADDRESS]), id="empty"),
        pytest.param(region_request(PAGE, 0, 0, 0, []), id="no pages"),
        pytest.param(region_request(PAGE, 0, 0, 1, [RAM_ADDRESS, RAM_ADDRESS]), id="more pages than it has"),
        pytest.param(region_request(PAGE, 0, 0, 1, [RAM_ADDRESS + 8]), id="no page address"),
        pytest.param(region_request(8192, 0, 1, 1, [RAM_ADDRESS + PAGE]), id="not aligned to 8K"),
        pytest.param(region_request(PAGE, 0, 0, 2, [RAM_ADDRESS], 2), id="fewer addresses than it says"),
        pytest.param(region_request(PAGE, 0, 0, 1, [RAM_ADDRESS], 0xFFFFFFFF), id="far fewer"),
        pytest.param(region_request(1 << 42, 0, 0, 1 << 30, []), id="too many pages"),
        *[pytest.param(short, id=f"{len(short)} bytes") for short in short_of(region_request(PAGE, 0, 0, 1, [RAM_ADDRESS]))],
    ],
)
def test_wrong_regions(made: Rig, driver: MiniDriver, body: bytes) -> None:
    before = state(made)
    driver.refused(CREATE_DMA_REGION, body)
    assert state(made) == before


def test_wrong_pages_to_add(made: Rig, driver: MiniDriver) -> None:
    _, data = driver.request(CREATE_DMA_REGION, region_request(3 * PAGE, 0, 0, 3, [RAM_ADDRESS]), answer=8)
    handle = int.from_bytes(data, "little")
    before = state(made)
    page = RAM_ADDRESS
    good = struct.pack("<QIIQ", handle, 1, 0, page)
    for body in (
        struct.pack("<QIIQ", handle + 1, 1, 0, page),
        struct.pack("<QIIQ", 0, 1, 0, page),
        struct.pack("<QII3Q", handle, 3, 0, page, page, page),
        struct.pack("<QIIQ", handle, 2, 0, page),
        struct.pack("<QIIQ", handle, 0xFFFFFFFF, 0, page),
        struct.pack("<QIIQ", handle, 1, 0, page + 1),
        *short_of(good),
    ):
        driver.refused(DMA_REGION_ADD_PAGES, body)
        assert state(made) == before
    assert driver.request(DMA_REGION_ADD_PAGES, good)[0] == MORE_ENTRIES
    assert driver.request(DMA_REGION_ADD_PAGES, good)[0] == 0
    driver.refused(DMA_REGION_ADD_PAGES, good)


@pytest.mark.parametrize("handle", [0, 1, (1 << 64) - 1])
def test_destroy_a_region_that_there_is_not(driver: MiniDriver, handle: int) -> None:
    driver.refused(DESTROY_DMA_REGION, struct.pack("<Q", handle))
    driver.refused(DESTROY_DMA_REGION, b"")


def test_regions_are_bounded(made: Rig, driver: MiniDriver) -> None:
    """By the pages that they are going to have, however they are used: as regions, memory regions or queues."""
    pd, _, _ = driver.ask(CREATE_PD, bytes(8), "QII")
    pages = 4096
    memory = Memory(driver.ram, [RAM_ADDRESS] * pages)
    body = region_request(pages * PAGE, 0, 0, pages, memory.pages[:400])
    status, made_regions, made_keys = MORE_ENTRIES, 0, 0
    for n in range(600):
        if n % 50 == 0:
            handle = driver.region(memory, chunk=500)
            driver.ask(CREATE_MR, mr_request(pd, handle), "QII")
            made_keys += 1
        else:
            status, _ = driver.request(CREATE_DMA_REGION, body, answer=8)
            if status != MORE_ENTRIES:
                break
            made_regions += 1
    assert status not in (0, MORE_ENTRIES)
    assert (made_regions + made_keys) * pages <= 1 << 20
    driver.verify()


# Protection domains and memory regions


def mr_request(pd: int, region: int, address: int = 0, flags: int = 3, kind: int = 2) -> bytes:
    """struct gdma_create_mr_request without its header: the union in it is padded to 8 bytes."""
    return struct.pack("<QIIQQIII4x", pd, kind, 0, region, address, flags, 0, 0)


def test_protection_domains(made: Rig, driver: MiniDriver) -> None:
    kernel = {driver.register()[0], driver.register(DEV_MANA_IB)[0]}
    pds = [driver.ask(CREATE_PD, bytes(8), "QII") for _ in range(20)]
    assert len({handle for handle, _, _ in pds}) == 20
    ids = {pd_id for _, pd_id, _ in pds}
    assert len(ids) == 20 and not ids & kernel and all(reserved == 0 for _, _, reserved in pds)
    for handle, _, _ in pds:
        driver.ask(DESTROY_PD, struct.pack("<Q", handle))
        driver.refused(DESTROY_PD, struct.pack("<Q", handle))
    driver.refused(DESTROY_PD, b"")
    assert len(made.function._resources.pds) == 0


def test_protection_domains_are_bounded(driver: MiniDriver) -> None:
    for _ in range(1024):
        driver.ask(CREATE_PD, bytes(8), "QII")
    driver.refused(CREATE_PD, bytes(8))


def test_memory_regions(made: Rig, driver: MiniDriver) -> None:
    pd, _, _ = driver.ask(CREATE_PD, bytes(8), "QII")
    keys = set()
    for _ in range(50):
        handle = driver.region(Memory.contiguous(driver.ram, PAGE))
        mr, lkey, rkey = driver.ask(CREATE_MR, mr_request(pd, handle, 0x7F00_0000_0000), "QII")
        keys.add(lkey)
        assert lkey and rkey and mr
        driver.refused(DESTROY_DMA_REGION, struct.pack("<Q", handle))  # the memory region's now
    assert len(keys) == 50
    assert driver.hwc_mkey not in keys
    driver.ask(DESTROY_MR, struct.pack("<Q", mr))
    driver.refused(DESTROY_MR, struct.pack("<Q", mr))
    assert len(made.function._resources.mrs) == 49


def test_the_request_of_newer_drivers(made: Rig, driver: MiniDriver) -> None:
    """7.x packs the union, and has another length behind it: what is used of it lies where it lay."""
    pd, _, _ = driver.ask(CREATE_PD, bytes(8), "QII")
    handle = driver.region(Memory.contiguous(driver.ram, PAGE))
    body = struct.pack("<QIIQQIIQ", pd, 2, 0, handle, 0x5000, 1, 0, 0)
    assert len(body) == len(mr_request(pd, handle))
    driver.ask(CREATE_MR, body, "QII", version=2)
    (region,) = made.function._resources.mrs
    assert len(region.extents(0x5000, PAGE, False)) == 1
    with pytest.raises(DmaError):
        region.extents(0x5000, 1, True)


def test_a_key_for_all_addresses(made: Rig, driver: MiniDriver) -> None:
    """GDMA_MR_TYPE_GPA, of kernel users: without a region."""
    pd, _, _ = driver.ask(CREATE_PD, bytes(8), "QII")
    mr, lkey, _ = driver.ask(CREATE_MR, mr_request(pd, 0, kind=1), "QII")
    assert lkey not in (0, driver.hwc_mkey)
    driver.ask(DESTROY_MR, struct.pack("<Q", mr))
    assert len(made.function._resources.mrs) == 0


def test_wrong_memory_regions(made: Rig, driver: MiniDriver) -> None:
    pd, _, _ = driver.ask(CREATE_PD, bytes(8), "QII")
    handle = driver.region(Memory.contiguous(driver.ram, PAGE))
    _, data = driver.request(CREATE_DMA_REGION, region_request(PAGE, 0, 0, 1, []), answer=8)
    incomplete = int.from_bytes(data, "little")
    before = state(made)
    for body in (
        mr_request(pd + 1, handle),
        mr_request(pd, handle + 100),
        mr_request(pd, 0),
        mr_request(pd, incomplete),
        mr_request(pd, handle, kind=0),
        mr_request(pd, handle, kind=3),
        mr_request(pd, handle)[:40],
        b"",
    ):
        driver.refused(CREATE_MR, body, answer=16)
        assert state(made) == before
    driver.refused(DESTROY_MR, struct.pack("<Q", 1))  # gpa_mkey is not the driver's to destroy
    driver.refused(DESTROY_MR, b"")
    driver.ask(CREATE_MR, mr_request(pd, handle), "QII")


# Faults


def test_lost_requests(made: Rig, driver: MiniDriver) -> None:
    made.function.faults.lose_requests = {CREATE_PD: 2}
    for _ in range(2):
        with pytest.raises(TimedOut):
            driver.request(CREATE_PD, bytes(8))
    driver.verify()
    driver.ask(CREATE_PD, bytes(8), "QII")
    assert made.function.faults.lose_requests == {CREATE_PD: 0}
    assert len(made.function._resources.pds) == 1  # a lost one has done nothing


def test_refused_requests(made: Rig, driver: MiniDriver) -> None:
    made.function.faults.refuse_requests = {CREATE_PD: 1, 0x77: 1}
    driver.refused(CREATE_PD, bytes(8))
    assert len(made.function._resources.pds) == 0
    driver.ask(CREATE_PD, bytes(8), "QII")
    assert driver.refused(0x77) != UNSUPPORTED
    assert driver.refused(0x77) == UNSUPPORTED


def test_requests_are_traced(made: Rig, driver: MiniDriver) -> None:
    driver.register()
    driver.refused(CREATE_QUEUE, b"", dev=DEV_MANA)
    driver.refused(0x999)
    made.function.faults.lose_requests = {CREATE_PD: 1}
    with pytest.raises(TimedOut):
        driver.request(CREATE_PD, bytes(8))
    traced = [(event["type"], event["device"], event["status"]) for event in made.trace if event.get("event") == "request"]
    assert traced == [(4, 2, 0), (CREATE_QUEUE, 2, 1), (0x999, 0, UNSUPPORTED), (CREATE_PD, 0, None)]
