# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of the Ethernet and of the RDMA device: what is right works, what is wrong changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_fixture import MACS, Rig, rig
from mini_driver import (
    CQ,
    DESTROY_DMA_REGION,
    DEV_MANA,
    DEV_MANA_IB,
    EQ,
    NO_EQ,
    PAGE,
    RQ,
    SQ,
    UNSUPPORTED,
    Cq,
    Memory,
    MiniDriver,
)
from mini_ethernet import (
    CONFIG_VPORT_RX,
    CONFIG_VPORT_TX,
    CREATE_WQ_OBJ,
    DESTROY_WQ_OBJ,
    FENCE_RQ,
    QUERY_DEV_CONFIG,
    QUERY_GF_STAT,
    QUERY_LINK_CONFIG,
    QUERY_PHY_STAT,
    QUERY_VPORT_CONFIG,
    Ethernet,
    Port,
    steer_request,
    wq_request,
)
from mini_packets import raw_frame
from test_device_gdma import state

IB_GET_ADAPTER_CAP, IB_CREATE_ADAPTER, IB_DESTROY_ADAPTER, IB_CONFIG_IP_ADDR, IB_CONFIG_MAC_ADDR = range(0x30001, 0x30006)
IB_CREATE_CQ, IB_DESTROY_CQ = 0x30008, 0x30009
IB_QUERY_VF_COUNTERS = 0x30022
BROADCAST = b"\xff" * 6


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def driver(made: Rig) -> MiniDriver:
    return made.driver


@pytest.fixture
def ethernet(driver: MiniDriver) -> Ethernet:
    return Ethernet(driver, eqs=2)


@pytest.fixture
def port(ethernet: Ethernet) -> Port:
    return Port(ethernet, 0)


def steering(made: Rig, index: int = 0) -> tuple[object, ...]:
    vport = made.function.vports[index]
    return vport.rx_enabled, vport.rss_enabled, vport.default_rxobj, list(vport.indirection), vport._toeplitz


# Configuration


@pytest.mark.parametrize("mtu", [1514, 9014, 0xFFFF])
def test_device_config(tmp_path: Path, mtu: int) -> None:
    with rig(tmp_path, adapter_mtu=mtu) as r:
        body = struct.pack("<4Q4I", 0, 0, 0, 0, 0, 1, 1, 0)
        *flags, vports, reserved, eqs, adapter_mtu, reserved2, reserved3 = r.driver.ask(
            QUERY_DEV_CONFIG, body, "4QHHIHHI", dev=DEV_MANA, response_version=2
        )
        assert (flags, vports, reserved, adapter_mtu, reserved2, reserved3) == ([0] * 4, 2, 0, mtu, 0, 0)
        assert eqs >= 9


def test_device_config_for_old_drivers(driver: MiniDriver) -> None:
    """Version 1, of 6.1: the answer ends before the MTU."""
    assert driver.ask(QUERY_DEV_CONFIG, bytes(48), "4QHHI", dev=DEV_MANA)[4] == 2
    assert driver.ask(QUERY_DEV_CONFIG, bytes(48), "4QHHIHHI", dev=DEV_MANA)[7] == 0


def test_device_config_before_register(driver: MiniDriver) -> None:
    """7.x asks before it registers."""
    driver.ask(QUERY_DEV_CONFIG, bytes(48), "4QHHIHHI", dev=DEV_MANA, response_version=2)


@pytest.mark.parametrize("index", [0, 1])
def test_vport_config(tmp_path: Path, index: int) -> None:
    with rig(tmp_path, max_queues=3) as r:
        sq, rq, entries, reserved, mac, _, handle = r.driver.ask(QUERY_VPORT_CONFIG, struct.pack("<I", index), "IIII6sHQ", dev=DEV_MANA)
        assert (sq, rq, entries, reserved, mac) == (3, 3, 64, 0, MACS[index])
        assert handle not in (0, (1 << 64) - 1)


@pytest.mark.parametrize("body", [struct.pack("<I", 2), struct.pack("<I", 0xFFFFFFFF), b"", b"\0\0\0"])
def test_vports_that_there_are_not(driver: MiniDriver, body: bytes) -> None:
    driver.refused(QUERY_VPORT_CONFIG, body, dev=DEV_MANA)


def test_link_config(driver: MiniDriver) -> None:
    qos, _, _, _, speed, _ = driver.ask(QUERY_LINK_CONFIG, struct.pack("<Q", 1), "IBBHII", dev=DEV_MANA)
    assert qos == speed == 200_000


def test_physical_statistics(driver: MiniDriver) -> None:
    assert not any(driver.ask(QUERY_PHY_STAT, bytes(8), "40Q", dev=DEV_MANA))


def test_statistics_of_nothing(driver: MiniDriver) -> None:
    assert driver.ask(QUERY_GF_STAT, struct.pack("<Q", 5), "28Q", dev=DEV_MANA) == (5, *[0] * 27)
    driver.refused(QUERY_GF_STAT, bytes(4), dev=DEV_MANA)


# Transmit configuration


def test_config_vport_tx(made: Rig, ethernet: Ethernet, port: Port) -> None:
    port.config_tx()
    other = Port(ethernet, 1)
    other.config_tx()
    assert port.tx_vport_offset != other.tx_vport_offset
    assert made.function.vports[0].pdid == ethernet.pdid


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<QII", 0, 1, 1),
        struct.pack("<QII", 3, 1, 1),
        struct.pack("<QII", (1 << 64) - 1, 1, 1),
        struct.pack("<QII", 1, 1, 255),
        struct.pack("<QII", 1, 1, 0xFFFFFFFF),
        struct.pack("<QI", 1, 1),
    ],
)
def test_wrong_transmit_configuration(made: Rig, driver: MiniDriver, body: bytes) -> None:
    driver.refused(CONFIG_VPORT_TX, body, dev=DEV_MANA)
    assert made.function.vports[0].doorbell_page is None


# Work queue objects


def regions(driver: MiniDriver, wq: int = PAGE, cq: int = 2 * PAGE) -> tuple[int, int]:
    return driver.region(Memory.contiguous(driver.ram, wq)), driver.region(Memory.contiguous(driver.ram, cq))


def test_objects_have_numbers_of_their_own(ethernet: Ethernet, port: Port) -> None:
    other = Port(ethernet, 1)
    port.up(4)
    other.up(4)
    tx, rx = port.tx + other.tx, port.rx + other.rx
    assert len({queue.sq.id for queue in tx} | {ethernet.driver.hwc_sq.id}) == 9
    assert len({queue.rq.id for queue in rx} | {ethernet.driver.hwc_rq.id}) == 9
    assert len({queue.handle for queue in tx} | {queue.handle for queue in rx}) == 16
    other.down()
    port.down()


def test_up_and_down_again_and_again(made: Rig, ethernet: Ethernet, port: Port) -> None:
    before = state(made)
    highest = 0
    for _ in range(30):
        port.up(2, tx_bytes=PAGE, rx_bytes=PAGE, buffer_size=200, buffers=10)
        highest = max(highest, *(queue.cq.id for queue in port.tx), *(queue.sq.id >> 10 for queue in port.tx))
        assert port.send(raw_frame(BROADCAST, port.mac)) == [32]
        port.down()
    assert state(made) == before
    assert highest < 10, "numbers are used again"


@pytest.mark.parametrize(
    "change",
    [
        "vport",
        "CQ",
        "EQ",
        "type 0",
        "no wq region",
        "no cq region",
        "unknown wq region",
        "unknown cq region",
        "wq size",
        "cq size",
        "no such eq",
        "eq 0",
        "same region",
        "short",
    ],
)
@pytest.mark.parametrize("kind", [SQ, RQ])
def test_wrong_objects(made: Rig, driver: MiniDriver, ethernet: Ethernet, port: Port, kind: int, change: str) -> None:
    """The regions are not used up: the same ones do once all is right."""
    port.config_tx()
    wq, cq = regions(driver)
    values = {
        "vport": port.handle,
        "kind": kind,
        "wq_region": wq,
        "cq_region": cq,
        "wq_size": PAGE,
        "cq_size": 2 * PAGE,
        "eq_id": ethernet.eqs[0].id,
    }
    good = wq_request(**values)
    wrong = {
        "vport": {"vport": 77},
        "CQ": {"kind": CQ},
        "EQ": {"kind": EQ},
        "type 0": {"kind": 0},
        "no wq region": {"wq_region": 0},
        "no cq region": {"cq_region": 0},
        "unknown wq region": {"wq_region": 1 << 40},
        "unknown cq region": {"cq_region": 1 << 40},
        "wq size": {"wq_size": 2 * PAGE},
        "cq size": {"cq_size": PAGE},
        "no such eq": {"eq_id": 99},
        "eq 0": {"eq_id": 0},
        "same region": {"cq_region": wq, "cq_size": PAGE},
        "short": {},
    }[change]
    bad = wq_request(**{**values, **wrong})
    before = state(made)
    driver.refused(CREATE_WQ_OBJ, bad[:-4] if change == "short" else bad, dev=DEV_MANA, answer=16)
    assert state(made) == before
    driver.ask(CREATE_WQ_OBJ, good, "IIQ", dev=DEV_MANA)
    driver.refused(CREATE_WQ_OBJ, good, dev=DEV_MANA)  # now they are


def test_no_objects_before_the_vport_is_configured(made: Rig, driver: MiniDriver, port: Port) -> None:
    wq, cq = regions(driver)
    before = state(made)
    driver.refused(CREATE_WQ_OBJ, wq_request(port.handle, SQ, wq, cq, PAGE, 2 * PAGE, NO_EQ), dev=DEV_MANA)
    assert state(made) == before


def test_as_many_queues_as_promised(tmp_path: Path) -> None:
    with rig(tmp_path, max_queues=3) as r:
        ethernet = Ethernet(r.driver, eqs=1)
        port, other = Port(ethernet, 0), Port(ethernet, 1)
        port.up(3)
        before = state(r)
        for kind in (SQ, RQ):
            wq, cq = regions(r.driver)
            r.driver.refused(CREATE_WQ_OBJ, wq_request(port.handle, kind, wq, cq, PAGE, 2 * PAGE, NO_EQ), dev=DEV_MANA)
            for handle in (wq, cq):
                r.driver.ask(DESTROY_DMA_REGION, struct.pack("<Q", handle))
        assert state(r) == before
        other.up(3)


def test_destroy_objects_that_there_are_not(made: Rig, driver: MiniDriver, port: Port) -> None:
    port.up(1)
    tx, rx = port.tx[0].handle, port.rx[0].handle
    before = state(made)
    for body in (
        struct.pack("<IIQ", RQ, 0, tx),
        struct.pack("<IIQ", SQ, 0, rx),
        struct.pack("<IIQ", SQ, 0, 0),
        struct.pack("<IIQ", SQ, 0, tx + 1000),
        struct.pack("<IIQ", EQ, 0, tx),
        struct.pack("<IIQ", SQ, 0, (1 << 64) - 1),
        struct.pack("<II", SQ, 0),
    ):
        driver.refused(DESTROY_WQ_OBJ, body, dev=DEV_MANA)
    assert state(made) == before
    assert port.send(raw_frame(BROADCAST, port.mac)) == [32]


def test_a_queue_that_was_destroyed_hears_nothing(made: Rig, driver: MiniDriver, port: Port) -> None:
    port.up(1)
    tx, rx = port.tx[0], port.rx[0]
    port.down()
    tx.sq.post([(1, 1, 64)])
    for queue in (tx.sq, rx.rq):
        queue.ring()
    for cq in (tx.cq, rx.cq):
        cq.ring(True)
    assert made.function.problems == {"doorbell": 4}
    made.wire.send(raw_frame(port.mac, b"\2" * 6))
    assert tx.cq.is_empty() and rx.cq.is_empty()


def test_a_receive_queue_destroyed_under_traffic(made: Rig, port: Port) -> None:
    """Steering still names it: frames are counted as dropped, its memory is left alone."""
    port.up(1)
    rx = port.rx[0]
    port.destroy(RQ, rx.handle, rx.cq)
    made.wire.send(raw_frame(port.mac, b"\2" * 6))
    assert port.ethernet.statistics() == {"rx_err_vport_disabled": 1}
    assert rx.cq.is_empty()


def test_an_event_queue_disabled_under_its_completion_queue(made: Rig, driver: MiniDriver, ethernet: Ethernet, port: Port) -> None:
    """A driver that does this gets no events any more; memory of the event queue is its own again."""
    port.up(1)
    eq = ethernet.eqs[0]
    driver.destroy_eq(eq)
    before = eq.memory.read(0, eq.memory.size)
    made.wire.send(raw_frame(port.mac, b"\2" * 6))
    assert eq.memory.read(0, eq.memory.size) == before
    assert not driver.client.interrupts(eq.vector)
    port.rx[0].poll()
    assert len(port.take()) == 1


@pytest.mark.parametrize("body", [struct.pack("<Q", 0), struct.pack("<Q", 1 << 40), b"", bytes(7)])
def test_fence_what_there_is_not(driver: MiniDriver, port: Port, body: bytes) -> None:
    port.up(1)
    driver.refused(FENCE_RQ, body, dev=DEV_MANA)
    driver.refused(FENCE_RQ, struct.pack("<Q", port.tx[0].handle), dev=DEV_MANA)


def test_fence_comes_behind_all_packets(made: Rig, port: Port) -> None:
    port.up(1)
    for n in range(20):
        made.wire.send(raw_frame(port.mac, b"\2" * 6, fill=n))
    port.fence(port.rx[0])
    assert [packet.data[-1] for packet in port.take()] == list(range(20))
    port.fence(port.rx[0])


# Steering


@pytest.mark.parametrize("entries", [1, 2, 64, 128, 256])
def test_indirection_tables(made: Rig, driver: MiniDriver, port: Port, entries: int) -> None:
    port.up(2)
    handles = [port.rx[n * n % 2].handle for n in range(entries)]
    driver.ask(CONFIG_VPORT_RX, steer_request(port.handle, True, True, None, None, handles, entries), dev=DEV_MANA, version=2)
    assert made.function.vports[0].indirection == handles


def test_the_largest_table_does_not_fit_in_a_message(made: Rig, driver: MiniDriver, port: Port) -> None:
    """512 entries of 8 bytes and the headers are more than HW_CHANNEL_MAX_REQUEST_SIZE; a table at its end is cut."""
    port.up(1)
    fits = (4096 - 40 - 80) // 8
    assert fits < 512
    before = steering(made)
    driver.refused(CONFIG_VPORT_RX, steer_request(port.handle, True, True, None, None, [1] * 512, 512)[: 4096 - 40], dev=DEV_MANA)
    assert steering(made) == before


def test_an_old_driver_puts_its_table_earlier(made: Rig, driver: MiniDriver, port: Port) -> None:
    """Version 1 (6.1) has no cqe_coalescing_enable: the table is where indir_tab_offset says."""
    port.up(2)
    handles = [queue.handle for queue in port.rx]
    body = struct.pack("<QHHIIBBBBQ40s", port.handle, 2, 40 + 72, 1, 1, 0, 1, 1, 0, 0, b"K" * 40)
    assert len(body) == 72
    driver.ask(CONFIG_VPORT_RX, body + struct.pack("<QQ", *handles[::-1]), dev=DEV_MANA)
    assert made.function.vports[0].indirection == handles[::-1]


def test_steering_changes_only_what_it_says(made: Rig, port: Port) -> None:
    port.up(2)
    first = steering(made)
    assert first[:2] == (True, True) and first[2] == port.rx[0].handle
    port.driver.ask(CONFIG_VPORT_RX, steer_request(port.handle, True, False, None, None, None, 64), dev=DEV_MANA)
    assert steering(made) == (True, False, *first[2:])
    body = steer_request(port.handle, False, True, port.rx[1].handle, None, None, 64)
    port.driver.ask(CONFIG_VPORT_RX, body, dev=DEV_MANA)
    assert steering(made) == (False, True, port.rx[1].handle, *first[3:])
    body = steer_request(port.handle, True, True, None, b"x" * 40, None, 64)
    port.driver.ask(CONFIG_VPORT_RX, body, dev=DEV_MANA)
    assert steering(made)[:4] == (True, True, port.rx[1].handle, first[3])
    assert steering(made)[4] is not first[4]


@pytest.mark.parametrize(
    ("entries", "offset"),
    [(0, 120), (3, 120), (63, 120), (1024, 120), (0x8000, 120), (64, 39), (64, 0), (64, 128), (64, 0xFFFF), (128, 120)],
)
def test_wrong_tables(made: Rig, driver: MiniDriver, port: Port, entries: int, offset: int) -> None:
    port.up(1)
    body = bytearray(steer_request(port.handle, False, False, 5, b"y" * 40, [port.rx[0].handle] * 64, 64))
    struct.pack_into("<HH", body, 8, entries, offset)
    before = steering(made)
    driver.refused(CONFIG_VPORT_RX, bytes(body), dev=DEV_MANA, version=2)
    assert steering(made) == before
    struct.pack_into("<HH", body, 8, 64, 120)
    driver.ask(CONFIG_VPORT_RX, bytes(body), dev=DEV_MANA, version=2)


@pytest.mark.parametrize("vport", [0, 3, (1 << 64) - 1])
def test_steer_a_vport_that_there_is_not(driver: MiniDriver, vport: int) -> None:
    driver.refused(CONFIG_VPORT_RX, steer_request(vport, True, False, None, None, None, 64), dev=DEV_MANA)
    driver.refused(CONFIG_VPORT_RX, steer_request(1, True, False, None, None, None, 64)[:60], dev=DEV_MANA)


def test_steering_to_objects_that_there_are_not(made: Rig, driver: MiniDriver, port: Port) -> None:
    """Such frames go nowhere; a send queue is no receive queue."""
    port.up(2)
    for handle in (0, 999, (1 << 64) - 1, port.tx[0].handle):
        driver.ask(CONFIG_VPORT_RX, steer_request(port.handle, True, False, handle, None, [handle] * 64, 64), dev=DEV_MANA)
        made.wire.send(raw_frame(port.mac, b"\2" * 6))
    assert port.take() == []
    assert port.ethernet.statistics() == {"rx_err_vport_disabled": 4}


# RDMA


@pytest.fixture
def notify(driver: MiniDriver) -> int:
    pdid, _, page = driver.register(DEV_MANA_IB)
    return driver.create_eq(Memory.contiguous(driver.ram, PAGE), 1, pdid=pdid, doorbell_page=page, dev=DEV_MANA_IB).id


def test_adapter_abilities(driver: MiniDriver) -> None:
    """struct mana_ib_query_adapter_caps_resp: mana_ib makes the verbs device's attributes of them."""
    caps = driver.ask(IB_GET_ADAPTER_CAP, b"", "18I", dev=DEV_MANA_IB, response_version=3)
    sq, rq, cq, qp, cqs, mr, pd, in_reads, out_reads, mw, srq, *sizes, send_sge, recv_sge, inline = caps
    assert min(sq, rq, cq, qp, cqs, mr, pd) >= 64
    assert (in_reads, out_reads, mw, srq, inline) == (0, 0, 0, 0, 0)
    assert (send_sge, recv_sge) == (30, 15)  # MAX_TX_WQE_SGL_ENTRIES, MAX_RX_WQE_SGL_ENTRIES
    assert [size % 256 for size in sizes] == [0] * 4 and all(sizes)


def test_adapter(driver: MiniDriver, notify: int) -> None:
    create = struct.pack("<IIQ", notify, 0, 0)
    (adapter,) = driver.ask(IB_CREATE_ADAPTER, create, "Q", dev=DEV_MANA_IB, version=2)
    assert adapter
    driver.refused(IB_CREATE_ADAPTER, create, dev=DEV_MANA_IB)
    driver.refused(IB_DESTROY_ADAPTER, struct.pack("<Q", adapter + 1), dev=DEV_MANA_IB)
    driver.ask(IB_DESTROY_ADAPTER, struct.pack("<Q", adapter), dev=DEV_MANA_IB)
    driver.refused(IB_DESTROY_ADAPTER, struct.pack("<Q", adapter), dev=DEV_MANA_IB)
    driver.ask(IB_CREATE_ADAPTER, create, "Q", dev=DEV_MANA_IB)


@pytest.mark.parametrize("body", [struct.pack("<IIQ", 0, 0, 0), struct.pack("<IIQ", 250, 0, 0), bytes(12), b""])
def test_wrong_adapters(made: Rig, driver: MiniDriver, body: bytes) -> None:
    driver.refused(IB_CREATE_ADAPTER, body, dev=DEV_MANA_IB)
    assert not made.function.mana_ib.adapter


def address_request(message: int, adapter: int, operation: int, number: int) -> bytes:
    if message == IB_CONFIG_IP_ADDR:
        return struct.pack("<QII16s", adapter, operation, 1, number.to_bytes(16, "little"))
    return struct.pack("<QI6s6x", adapter, operation, number.to_bytes(6, "little"))


@pytest.mark.parametrize("message", [IB_CONFIG_IP_ADDR, IB_CONFIG_MAC_ADDR])
def test_addresses(made: Rig, driver: MiniDriver, notify: int, message: int) -> None:
    driver.refused(message, address_request(message, 1, 1, 5), dev=DEV_MANA_IB)
    (adapter,) = driver.ask(IB_CREATE_ADAPTER, struct.pack("<IIQ", notify, 0, 0), "Q", dev=DEV_MANA_IB)
    driver.ask(message, address_request(message, adapter, 1, 5), dev=DEV_MANA_IB)
    driver.ask(message, address_request(message, adapter, 1, 6), dev=DEV_MANA_IB)
    for operation, number in ((2, 7), (0, 5), (3, 5), (0xFFFFFFFF, 5)):
        driver.refused(message, address_request(message, adapter, operation, number), dev=DEV_MANA_IB)
    driver.refused(message, address_request(message, adapter + 1, 1, 8), dev=DEV_MANA_IB)
    driver.refused(message, address_request(message, adapter, 1, 8)[:16], dev=DEV_MANA_IB)
    assert len(made.function.mana_ib.addresses) == 2
    driver.ask(message, address_request(message, adapter, 2, 5), dev=DEV_MANA_IB)
    driver.refused(message, address_request(message, adapter, 2, 5), dev=DEV_MANA_IB)
    driver.ask(IB_DESTROY_ADAPTER, struct.pack("<Q", adapter), dev=DEV_MANA_IB)
    assert not made.function.mana_ib.addresses


def test_addresses_are_bounded(driver: MiniDriver, notify: int) -> None:
    (adapter,) = driver.ask(IB_CREATE_ADAPTER, struct.pack("<IIQ", notify, 0, 0), "Q", dev=DEV_MANA_IB)
    for number in range(1024):
        driver.ask(IB_CONFIG_MAC_ADDR, address_request(IB_CONFIG_MAC_ADDR, adapter, 1, number), dev=DEV_MANA_IB)
    driver.refused(IB_CONFIG_MAC_ADDR, address_request(IB_CONFIG_MAC_ADDR, adapter, 1, 9999), dev=DEV_MANA_IB)
    driver.refused(IB_CONFIG_IP_ADDR, address_request(IB_CONFIG_IP_ADDR, adapter, 1, 9999), dev=DEV_MANA_IB)


def test_rdma_counters(driver: MiniDriver) -> None:
    assert not any(driver.ask(IB_QUERY_VF_COUNTERS, bytes(8), "40Q", dev=DEV_MANA_IB))


def test_completion_queues_of_verbs(made: Rig, driver: MiniDriver, notify: int) -> None:
    """MANA_IB_CREATE_CQ: as large as its region; 7.x makes all user-space queues with it."""
    (adapter,) = driver.ask(IB_CREATE_ADAPTER, struct.pack("<IIQ", notify, 0, 0), "Q", dev=DEV_MANA_IB)
    handle = driver.region(Memory.scattered(driver.ram, 4 * PAGE))
    before = state(made)
    good = struct.pack("<QQII", adapter, handle, notify, 3)
    for body in (
        struct.pack("<QQII", adapter + 1, handle, notify, 3),
        struct.pack("<QQII", adapter, handle + 1, notify, 3),
        struct.pack("<QQII", adapter, 0, notify, 3),
        struct.pack("<QQII", adapter, handle, notify + 50, 3),
        struct.pack("<QQII", adapter, handle, notify, 255),
        good[:20],
    ):
        driver.refused(IB_CREATE_CQ, body, dev=DEV_MANA_IB)
        assert state(made) == before
    cq_handle, cq_id, reserved = driver.ask(IB_CREATE_CQ, good, "QII", dev=DEV_MANA_IB)
    assert cq_id not in driver.cqs and cq_id < driver.max_num_cqs and reserved == 0
    driver.refused(IB_CREATE_CQ, good, dev=DEV_MANA_IB)
    cq = Cq(driver, Memory.contiguous(driver.ram, 4 * PAGE), 3)
    cq.id = cq_id
    cq.ring(True)
    assert made.function.problems == {}
    for wrong in ((adapter, driver.hwc_cq.id), (adapter, cq_handle + 1), (adapter + 1, cq_handle)):
        driver.refused(IB_DESTROY_CQ, struct.pack("<QQ", *wrong), dev=DEV_MANA_IB)
    driver.ask(IB_DESTROY_CQ, struct.pack("<QQ", adapter, cq_handle), dev=DEV_MANA_IB)
    driver.refused(IB_DESTROY_CQ, struct.pack("<QQ", adapter, cq_handle), dev=DEV_MANA_IB)
    cq.ring(True)
    assert made.function.problems == {"doorbell": 1}


@pytest.mark.parametrize("message", [0x30006, 0x30007, *range(0x3000A, 0x30010), 0x30021, 0x30023])
def test_connected_queue_pairs_are_not_known(driver: MiniDriver, message: int) -> None:
    """What needs a real RDMA device: create, modify and destroy queue pairs and the like."""
    assert driver.refused(message, bytes(128), dev=DEV_MANA_IB) == UNSUPPORTED


@pytest.mark.parametrize("message", [IB_GET_ADAPTER_CAP, IB_CREATE_ADAPTER, IB_QUERY_VF_COUNTERS])
@pytest.mark.parametrize("dev", [(0, 0), DEV_MANA, (3, 0)])
def test_rdma_requests_for_another_device(driver: MiniDriver, dev: tuple[int, int], message: int) -> None:
    driver.refused(message, bytes(64), dev=dev)
