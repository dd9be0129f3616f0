# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending: what a driver posts is on the wire as it should be, or a completion says why not."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_fixture import MACS, RAM_ADDRESS, RAM_SIZE, Rig, rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mini_driver import CREATE_MR, CREATE_PD, PAGE, Memory
from mini_ethernet import (
    TX_HDR_PROCESSING_ERROR,
    TX_INVALID_ETH_TYPE,
    TX_INVALID_OOB,
    TX_MTU_DROP,
    TX_OKAY,
    TX_SA_DROP,
    TX_VPORT_DISABLED,
    TX_VPORT_IDX_OUT_OF_RANGE,
    Ethernet,
    Port,
)
from mini_packets import TCP, UDP, Flow, raw_frame
from test_device_gdma import mr_request, region_request

BROADCAST = b"\xff" * 6
OTHER = b"\x02\0\0\0\0\x09"
FLOWS: dict[str, dict[str, Any]] = {
    "tcp4": {"protocol": TCP},
    "udp4": {"protocol": UDP},
    "tcp4 options": {"protocol": TCP, "options": bytes([1]) * 12, "tcp_options": bytes([1]) * 12},
    "udp4 options": {"protocol": UDP, "options": bytes([1]) * 40},
    "tcp6": {"protocol": TCP, "src": "fd00::1", "dst": "fd00::2", "tcp_options": bytes([1]) * 20},
    "udp6": {"protocol": UDP, "src": "fd00::1", "dst": "fd00::2"},
    "tcp4 tagged": {"protocol": TCP, "vlan": 0x3064},
    "udp6 tagged": {"protocol": UDP, "src": "fd00::1", "dst": "fd00::2", "vlan": 100},
}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def port(made: Rig) -> Port:
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=16)
    return port


def flow(name: str, **changes: Any) -> Flow:
    return Flow(**{"dst_mac": OTHER, "src_mac": MACS[0], **FLOWS[name], **changes})


# What gets out


@pytest.mark.parametrize("long", [0, 1])
@pytest.mark.parametrize("size", [14, 15, 59, 60, 64, 1514, 4096, 9014])
def test_frames(made: Rig, port: Port, size: int, long: int) -> None:
    frame = raw_frame(OTHER, port.mac, size)
    assert port.send(frame, long=long) == [TX_OKAY]
    assert made.wire.take() == [frame]


@pytest.mark.parametrize("cuts", [(14,), (1,), (6, 12, 14), (0, 0, 14), (1514,), tuple(range(50, 1500, 50))])
def test_frames_in_pieces(made: Rig, port: Port, cuts: tuple[int, ...]) -> None:
    frame = raw_frame(OTHER, port.mac, 1514)
    assert port.send(frame, cuts=cuts) == [TX_OKAY]
    assert made.wire.take() == [frame]


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("payload", [0, 1, 2, 1000, 1401])
def test_transport_checksums(made: Rig, port: Port, name: str, payload: int) -> None:
    """As mana_start_xmit asks for them: for UDP there is no transport offset."""
    this = flow(name)
    data = bytes(n % 256 for n in range(payload))
    is_tcp = this.protocol == TCP
    offload: dict[str, Any] = (
        {"comp_tcp_csum": 1, "trans_off": this.headers - 20 - len(this.tcp_options)} if is_tcp else {"comp_udp_csum": 1}
    )
    offload["is_outer_ipv6" if this.is_v6 else "is_outer_ipv4"] = 1
    assert port.send(this.frame(data, transport_sum=False), **offload) == [TX_OKAY]
    assert made.wire.take() == [this.frame(data)]


@pytest.mark.parametrize("name", ["tcp4", "udp4", "tcp4 options", "tcp4 tagged"])
def test_ip_checksums(made: Rig, port: Port, name: str) -> None:
    """DPDK asks for this one too."""
    this = flow(name)
    assert port.send(this.frame(b"abc", ip_sum=False), comp_iphdr_csum=1, is_outer_ipv4=1) == [TX_OKAY]
    assert made.wire.take() == [this.frame(b"abc")]


@pytest.mark.parametrize("name", FLOWS)
def test_without_offload_a_frame_is_left_alone(made: Rig, port: Port, name: str) -> None:
    frame = flow(name).frame(b"abc", transport_sum=False, ip_sum=False)
    assert port.send(frame) == [TX_OKAY]
    assert made.wire.take() == [frame]


def test_a_udp_checksum_of_zero_is_sent_as_ones(made: Rig, port: Port) -> None:
    for n in range(0x10000):
        this = flow("udp4", src_port=n)
        if this.frame(b"")[40:42] == b"\xff\xff":
            break
    else:
        pytest.fail("there is one")
    assert port.send(this.frame(b"", transport_sum=False), comp_udp_csum=1) == [TX_OKAY]
    assert made.wire.take() == [this.frame(b"")]


@pytest.mark.parametrize(("pcp", "dei", "vid"), [(0, 0, 0), (0, 0, 1), (0, 0, 100), (5, 0, 100), (7, 1, 4095), (1, 0, 0x123), (0, 1, 2)])
def test_vlan_tags(made: Rig, port: Port, pcp: int, dei: int, vid: int) -> None:
    """Also of what needs a checksum, and around a tag that is there already."""
    tci = pcp << 13 | dei << 12 | vid
    vlan: dict[str, Any] = {"inject_vlan": 1, "pcp": pcp, "dei": dei, "vlan_id": vid}
    this = flow("udp4")
    assert port.send(this.frame(b"abc", transport_sum=False), comp_udp_csum=1, **vlan) == [TX_OKAY]
    assert made.wire.take() == [flow("udp4", vlan=tci).frame(b"abc")]
    tagged = flow("udp4", vlan=9).frame(b"abc")
    assert port.send(tagged, **vlan) == [TX_OKAY]
    assert made.wire.take() == [tagged[:12] + struct.pack("!HH", 0x8100, tci) + tagged[12:]]


def test_the_tag_is_beyond_the_mtu(made: Rig, port: Port) -> None:
    """An MTU does not count a tag, whoever put it there."""
    frame = raw_frame(OTHER, port.mac, 9014)
    assert port.send(frame, inject_vlan=1, vlan_id=5) == [TX_OKAY]
    tagged = frame[:12] + bytes.fromhex("81000005") + frame[12:]
    assert port.send(tagged) == [TX_OKAY]
    assert made.wire.take() == [tagged, tagged]


# Segmentation


def segments(this: Flow, data: bytes, mss: int) -> list[bytes]:
    """What Linux would send without segmentation offload."""
    pieces = [data[at : at + mss] for at in range(0, len(data), mss)] or [b""]
    frames = []
    for n, piece in enumerate(pieces):
        last = n == len(pieces) - 1
        flags = this.tcp_flags & ~(0 if last else 0x09)
        part = Flow(**{**this.__dict__, "sequence": this.sequence + n * mss, "ip_id": this.ip_id + n, "tcp_flags": flags})
        frames.append(part.frame(piece))
    return frames


def for_segmentation(this: Flow, data: bytes) -> bytes:
    """As mana_start_xmit leaves the headers: length and checksum of IP 0, that of TCP the pseudo header's without length."""
    frame = bytearray(this.frame(data, transport_sum=False))
    l3 = 14 if this.vlan is None else 18
    if this.is_v6:
        frame[l3 + 4 : l3 + 6] = bytes(2)
    else:
        frame[l3 + 2 : l3 + 4] = bytes(2)
        frame[l3 + 10 : l3 + 12] = bytes(2)
    return bytes(frame)


@pytest.mark.parametrize("name", [name for name in FLOWS if "tcp" in name])
@pytest.mark.parametrize(("size", "mss"), [(60000, 1448), (1449, 1448), (2896, 1448), (1448, 1448), (100, 1448), (40000, 8900), (300, 1)])
def test_segmentation(made: Rig, port: Port, name: str, size: int, mss: int) -> None:
    this = flow(name, tcp_flags=0x19)
    data = bytes(n % 251 for n in range(size))
    assert port.send_tso(for_segmentation(this, data), this.headers, mss) == [TX_OKAY]
    assert made.wire.take() == segments(this, data, mss)


def test_segmentation_with_a_vlan_tag(made: Rig, port: Port) -> None:
    data = bytes(5000)
    assert port.send_tso(for_segmentation(flow("tcp4"), data), flow("tcp4").headers, 1000, inject_vlan=1, pcp=3, vlan_id=7) == [TX_OKAY]
    assert made.wire.take() == segments(flow("tcp4", vlan=3 << 13 | 7), data, 1000)


def test_segmentation_of_many_pieces(made: Rig, port: Port) -> None:
    this = flow("tcp6")
    data = bytes(n % 253 for n in range(17 * 3000))
    cuts = [this.headers + 3000 * n for n in range(17)]
    sent = port.send(for_segmentation(this, data), cuts=cuts, mss=1400, comp_iphdr_csum=1, comp_tcp_csum=1, is_outer_ipv6=1)
    assert sent == [TX_OKAY]
    assert made.wire.take() == segments(this, data, 1400)


@pytest.mark.parametrize(
    ("cuts", "mss"),
    [
        pytest.param([], 1000, id="headers not apart"),
        pytest.param([300], 1000, id="more than headers"),
    ],
)
def test_segmentation_that_cannot_be(made: Rig, port: Port, cuts: list[int], mss: int) -> None:
    this = flow("tcp4")
    assert port.send(for_segmentation(this, bytes(2000)), cuts=cuts, mss=mss, comp_tcp_csum=1) == [TX_HDR_PROCESSING_ERROR]
    assert made.wire.take() == []


def test_segmentation_without_a_size(made: Rig, port: Port) -> None:
    this, tx = flow("tcp4"), port.tx[0]
    units = tx.sq.post(port.sges(for_segmentation(this, bytes(2000)), [this.headers]), port.oob(tx), oob_in_sgl=True)
    tx.posted(units, False)
    tx.sq.ring()
    made.driver.interrupt()
    assert tx.take() == [TX_HDR_PROCESSING_ERROR]


def test_segments_above_the_mtu(made: Rig, port: Port) -> None:
    this = flow("tcp4")
    assert port.send_tso(for_segmentation(this, bytes(20000)), this.headers, 9000) == [TX_MTU_DROP]
    assert made.wire.take() == []
    assert port.ethernet.statistics() == {"tx_err_mtu_violation": 1}


def test_segmentation_of_absurd_sizes(made: Rig, port: Port) -> None:
    """More than 256 KiB is refused before it is gathered; no driver asks for a quarter of it."""
    this = flow("tcp4")
    header = port.sges(for_segmentation(this, b"")[: this.headers])
    piece = port.sges(bytes(60000))
    for pieces, completion in ((4, TX_OKAY), (5, TX_MTU_DROP)):
        assert port.send(b"", sgl=header + piece * pieces, mss=1400, comp_tcp_csum=1) == [completion]
        assert bool(made.wire.take()) == (completion == TX_OKAY)
    piece = [(piece[0][0], piece[0][1], 0xFFFFFFFF)]
    assert port.send(b"", sgl=header + piece, mss=1400, comp_tcp_csum=1) == [TX_MTU_DROP]


def test_what_is_no_tcp_is_not_segmented(made: Rig, port: Port) -> None:
    """It goes out whole if it fits."""
    frame = raw_frame(OTHER, port.mac, 2000)
    assert port.send_tso(frame, 14, 500) == [TX_OKAY]
    assert made.wire.take() == [frame]
    assert port.send_tso(raw_frame(OTHER, port.mac, 20000), 14, 500) == [TX_MTU_DROP]
    assert made.wire.take() == []


# Completions


def test_suppressed_completions(made: Rig, port: Port) -> None:
    """As DPDK does: only the last of a burst wants a completion."""
    tx = port.tx[0]
    for burst in range(50):
        for n in range(burst % 9):
            port.post(raw_frame(OTHER, port.mac, fill=n), suppress=1)
        port.post(raw_frame(OTHER, port.mac, fill=99))
        tx.sq.ring()
        made.driver.interrupt()
        assert tx.take() == [TX_OKAY]
        assert [frame[-1] for frame in made.wire.take()] == [*range(burst % 9), 99]
        assert tx.pending == []


def test_only_suppressed_completions(made: Rig, port: Port) -> None:
    assert port.send(raw_frame(OTHER, port.mac), suppress=1) == []
    assert len(made.wire.take()) == 1
    assert port.tx[0].cq.is_empty()


def test_errors_are_never_suppressed(made: Rig, port: Port) -> None:
    assert port.send(raw_frame(OTHER, OTHER), suppress=1) == [TX_SA_DROP]


def good(port: Port, size: int = 100) -> bytes:
    return raw_frame(OTHER, port.mac, size)


@pytest.mark.parametrize(
    ("frame_size", "changes", "completion", "counter"),
    [
        pytest.param(100, {"vcq_num": 999}, TX_INVALID_OOB, "tx_err_inval_oob", id="another CQ"),
        pytest.param(100, {"vcq_num": 0}, TX_INVALID_OOB, "tx_err_inval_oob", id="no CQ"),
        pytest.param(100, {"vsq_frame": 0}, TX_INVALID_OOB, "tx_err_inval_oob", id="another SQ"),
        pytest.param(100, {"short_vp_offset": 1}, TX_VPORT_IDX_OUT_OF_RANGE, "tx_err_inval_vport_offset_pkt", id="another vPort"),
        pytest.param(100, {"short_vp_offset": 255}, TX_VPORT_IDX_OUT_OF_RANGE, "tx_err_inval_vport_offset_pkt", id="no vPort"),
        pytest.param(0, {}, TX_INVALID_ETH_TYPE, "tx_err_ethtype_enforcement", id="empty"),
        pytest.param(13, {}, TX_INVALID_ETH_TYPE, "tx_err_ethtype_enforcement", id="13 bytes"),
        pytest.param(9019, {}, TX_MTU_DROP, "tx_err_mtu_violation", id="above the MTU"),
        pytest.param(65536, {}, TX_MTU_DROP, "tx_err_mtu_violation", id="far above the MTU"),
        pytest.param((1 << 18) + 1, {}, TX_MTU_DROP, "tx_err_mtu_violation", id="absurd"),
    ],
)
@pytest.mark.parametrize("long", [0, 1])
def test_completions_with_errors(
    made: Rig, port: Port, frame_size: int, changes: dict[str, Any], completion: int, counter: str, long: int
) -> None:
    """Nothing is sent, one counter counts, and the queue goes on."""
    if long and "short_vp_offset" in changes:
        changes = {**changes, "long_vp_offset": 7}
    assert port.send(good(port, frame_size), long=long, **changes) == [completion]
    assert made.wire.take() == []
    assert port.ethernet.statistics() == {counter: 1}
    assert port.send(good(port)) == [TX_OKAY]


def test_a_long_format_without_its_data(made: Rig, port: Port) -> None:
    tx = port.tx[0]
    units = tx.sq.post(port.sges(good(port)), port.oob(tx, long=1)[:8])
    tx.posted(units, False)
    tx.sq.ring()
    made.driver.interrupt()
    assert tx.take() == [TX_INVALID_OOB]


def test_the_long_vport_offset(made: Rig, port: Port) -> None:
    other = Port(port.ethernet, 1)
    other.up(1, buffers=16)
    frame = raw_frame(OTHER, other.mac)
    assert other.send(frame, short_vp_offset=0, long_vp_offset=other.tx_vport_offset) == [TX_OKAY]
    assert made.wire.take() == [frame]
    assert other.send(frame, short_vp_offset=9, long_vp_offset=8) == [TX_VPORT_IDX_OUT_OF_RANGE]


@pytest.mark.parametrize("source", [OTHER, BROADCAST, bytes(6), MACS[1]])
def test_other_sources(made: Rig, port: Port, source: bytes) -> None:
    assert port.send(raw_frame(OTHER, source)) == [TX_SA_DROP]
    assert port.send(flow("tcp4", src_mac=source).frame(bytes(3000)), cuts=[54], mss=1000) == [TX_SA_DROP]
    assert made.wire.take() == []
    assert port.ethernet.statistics() == {"tx_err_SA_enforcement": 2}


def test_other_sources_where_that_is_allowed(tmp_path: Path) -> None:
    with rig(tmp_path, enforce_source_mac=False) as r:
        port = Port(Ethernet(r.driver), 0)
        port.up(1, buffers=16)
        frame = raw_frame(OTHER, b"\x02\0\0\0\0\x08")
        assert port.send(frame) == [TX_OKAY]
        assert r.wire.take() == [frame]


def test_no_link(made: Rig, port: Port) -> None:
    made.function.vports[0].link = False
    assert port.send(good(port)) == [TX_VPORT_DISABLED]
    assert made.wire.take() == []
    made.function.vports[0].link = True
    assert port.send(good(port)) == [TX_OKAY]
    assert port.ethernet.statistics()["tx_err_vport_disabled"] == 1


# Memory keys


@pytest.fixture
def pd(made: Rig) -> int:
    return int(made.driver.ask(CREATE_PD, bytes(8), "QII")[0])


def key(made: Rig, pd: int, region: int, address: int = 0, flags: int = 3) -> int:
    return int(made.driver.ask(CREATE_MR, mr_request(pd, region, address, flags), "QII")[1])


@pytest.mark.parametrize("page_size", [PAGE, 2 * PAGE, 2 << 20], ids=["4K", "8K", "2M"])
@pytest.mark.parametrize("virtual", [0, 0x7F12_3456_7000, (1 << 64) - (8 << 20)])
def test_memory_regions_for_sending(made: Rig, port: Port, pd: int, page_size: int, virtual: int) -> None:
    """Virtual addresses of pages that are scattered: a piece may lie across several of them."""
    count = 3 if page_size > PAGE * 2 else 8
    memory = Memory(made.driver.ram, made.driver.ram.alloc_scattered(count * page_size, page_size), page_size)
    mkey = key(made, pd, made.driver.region(memory), virtual)
    for offset in (0, 1, page_size - 1, page_size - 50, count * page_size - 9000):
        frame = raw_frame(OTHER, port.mac, 9000)
        memory.write(offset, frame)
        assert port.send(b"", sgl=[(virtual + offset, mkey, 9000)]) == [TX_OKAY]
        assert made.wire.take() == [frame]


def test_a_memory_region_that_begins_within_a_page(made: Rig, port: Port, pd: int) -> None:
    base = made.driver.ram.alloc(2 * PAGE)
    (handle,) = made.driver.ask(25, region_request(PAGE, 100, 0, 2, [base, base + PAGE]), "Q")
    mkey = key(made, pd, handle, 0x1000_0064)
    frame = good(port)
    made.driver.ram.write(base + 100, frame)
    assert port.send(b"", sgl=[(0x1000_0064, mkey, 100)]) == [TX_OKAY]
    assert made.wire.take() == [frame]
    assert port.send(b"", sgl=[(0x1000_0063, mkey, 100)]) == [TX_INVALID_OOB]
    assert port.send(b"", sgl=[(0x1000_0064 + PAGE - 99, mkey, 100)]) == [TX_INVALID_OOB]


def outside(made: Rig, pd: int) -> dict[str, tuple[int, int, int]]:
    """Scatter-gather entries that give nothing."""
    ram = made.driver.ram
    mkey = key(made, pd, made.driver.region(Memory.contiguous(ram, PAGE)), 0x5000)
    unmapped = key(made, pd, made.driver.region(Memory(ram, [RAM_ADDRESS + RAM_SIZE])), 0x5000)
    end = RAM_ADDRESS + RAM_SIZE
    gpa = made.driver.hwc_mkey
    return {
        "before the memory": (RAM_ADDRESS - 1, gpa, 100),
        "behind the memory": (end, gpa, 100),
        "across its end": (end - 99, gpa, 100),
        "at 0": (0, gpa, 100),
        "at the end of all": ((1 << 64) - 50, gpa, 100),
        "across the end of all": ((1 << 64) - 50, gpa, 0xFFFF),
        "no key": (RAM_ADDRESS, 0, 100),
        "unknown key": (RAM_ADDRESS, 12345, 100),
        "key of ones": (RAM_ADDRESS, 0xFFFFFFFF, 100),
        "before its region": (0x4FFF, mkey, 100),
        "behind its region": (0x6000, mkey, 100),
        "across its region's end": (0x5FA0, mkey, 100),
        "a region of what there is not": (0x5000, unmapped, 100),
        "a DMA address with a region's key": (RAM_ADDRESS, mkey, 100),
    }


def test_pieces_that_give_nothing(made: Rig, port: Port, pd: int) -> None:
    count = 0
    for name, sge in outside(made, pd).items():
        for sgl in ([sge], [*port.sges(good(port)), sge], [sge, *port.sges(good(port))]):
            assert port.send(b"", sgl=sgl) == [TX_INVALID_OOB], name
            count += 1
    assert made.wire.take() == []
    assert port.ethernet.statistics() == {"tx_err_gdma": count}
    assert port.send(good(port)) == [TX_OKAY]
    assert made.function.problems == {}


def test_empty_pieces_need_no_memory(made: Rig, port: Port) -> None:
    """DPDK's way to post nothing: address 1, size 0, key 0 (gdma.c of net_mana)."""
    assert port.send(b"", sgl=[*port.sges(good(port)), (1, made.driver.hwc_mkey, 0)]) == [TX_OKAY]
    assert made.wire.take() == [good(port)]


def test_a_piece_across_two_maps(made: Rig, port: Port) -> None:
    """QEMU maps the memory of a PC in several parts: neighbours in DMA addresses are still neighbours."""
    address = RAM_ADDRESS + 8 * RAM_SIZE
    made.client.dma_map(address, PAGE, made.client.ram_fd, 5 * PAGE)
    made.client.dma_map(address + PAGE, PAGE, made.client.ram_fd, 20 * PAGE)
    frame = good(port)
    made.client.ram[6 * PAGE - 30 : 6 * PAGE] = frame[:30]
    made.client.ram[20 * PAGE : 20 * PAGE + 70] = frame[30:]
    assert port.send(b"", sgl=[(address + PAGE - 30, port.ethernet.mkey, 100)]) == [TX_OKAY]
    assert made.wire.take() == [frame]


def test_memory_that_the_device_may_not_read(made: Rig, port: Port) -> None:
    address = RAM_ADDRESS + 8 * RAM_SIZE
    made.client.dma_map(address, PAGE, made.client.ram_fd, 5 * PAGE, flags=2)
    assert port.send(b"", sgl=[(address, port.ethernet.mkey, 100)]) == [TX_INVALID_OOB]


def test_a_destroyed_memory_region(made: Rig, port: Port, pd: int) -> None:
    memory = Memory.contiguous(made.driver.ram, PAGE)
    memory.write(0, good(port))
    mr, mkey, _ = made.driver.ask(CREATE_MR, mr_request(pd, made.driver.region(memory), 0x5000), "QII")
    assert port.send(b"", sgl=[(0x5000, mkey, 100)]) == [TX_OKAY]
    made.driver.ask(32, struct.pack("<Q", mr))
    assert port.send(b"", sgl=[(0x5000, mkey, 100)]) == [TX_INVALID_OOB]


# Anything


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(FLOWS)),
    size=st.integers(0, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=10),
    tag=st.none() | st.integers(0, 0xFFFF),
    mss=st.integers(1, 1500),
    payload=st.binary(min_size=8, max_size=8),
)
def test_any_packet(made: Rig, port: Port, name: str, size: int, cuts: list[int], tag: int | None, mss: int, payload: bytes) -> None:
    """Whatever is offloaded, the wire sees what Linux would have sent without."""
    this = flow(name)
    data = (payload * (size // 8 + 1))[:size]
    vlan: dict[str, Any] = {} if tag is None else {"inject_vlan": 1, "pcp": tag >> 13, "dei": tag >> 12 & 1, "vlan_id": tag & 0xFFF}
    if this.protocol == TCP:
        bounds = [this.headers, *sorted(this.headers + cut for cut in cuts if cut <= size)]
        packet = for_segmentation(this, data)
        assert port.send(packet, cuts=bounds, mss=mss, comp_iphdr_csum=1, comp_tcp_csum=1, **vlan) == [TX_OKAY]
        expected = segments(this, data, mss)
    else:
        packet = this.frame(data, transport_sum=False, ip_sum=False)
        bounds = sorted(cut for cut in cuts if cut <= len(packet))
        assert port.send(packet, cuts=bounds, comp_iphdr_csum=1, comp_udp_csum=1, **vlan) == [TX_OKAY]
        expected = [this.frame(data)]
    if tag is not None:
        expected = [frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:] for frame in expected]
    assert made.wire.take() == expected
