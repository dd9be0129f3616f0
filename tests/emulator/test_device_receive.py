# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiving: what is on the wire is in the right queue with the right verdict, or a counter says why not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from device_fixture import MACS, RAM_ADDRESS, RAM_SIZE, Rig, rig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mini_driver import CREATE_MR, CREATE_PD, PAGE, Memory, Sge
from mini_ethernet import RSS_KEY, RX_OKAY, RX_TRUNCATED, TX_OKAY, Ethernet, Packet, Port
from mini_packets import TCP, UDP, Flow, raw_frame, toeplitz
from test_device_gdma import mr_request

BROADCAST = b"\xff" * 6
MULTICAST = bytes.fromhex("01005e000001")
OTHER = b"\x02\0\0\0\0\x09"

V6 = {"src": "fd00::1", "dst": "fd00::2"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as r:
        yield r


@pytest.fixture
def port(made: Rig) -> Port:
    port = Port(Ethernet(made.driver), 0)
    port.up(4, rx_bytes=PAGE)
    return port


def flow(**changes: Any) -> Flow:
    return Flow(**{"dst_mac": MACS[0], "src_mac": OTHER, **changes})


def receive(made: Rig, port: Port, frame: bytes) -> Packet:
    made.wire.send(frame)
    (packet,) = port.take()
    assert packet.cqe_type == RX_OKAY
    return packet


# Which frames


@pytest.mark.parametrize("dst", [MACS[0], BROADCAST, MULTICAST, bytes.fromhex("333300000001")])
def test_frames_for_the_port(made: Rig, port: Port, dst: bytes) -> None:
    frame = raw_frame(dst, OTHER)
    assert receive(made, port, frame).data == frame


@pytest.mark.parametrize("dst", [OTHER, bytes(6), bytes.fromhex("7c1e52000003"), MACS[1]])
def test_frames_for_others(made: Rig, port: Port, dst: bytes) -> None:
    made.wire.send(raw_frame(dst, b"\x02\0\0\0\0\x07"))
    assert port.take() == []
    assert port.ethernet.statistics() in ({}, {"rx_err_vport_disabled": 1})  # of the second vPort, which nobody has configured


@pytest.mark.parametrize("size", [14, 15, 60, 1514, 1600])
def test_sizes(made: Rig, port: Port, size: int) -> None:
    frame = raw_frame(MACS[0], OTHER, size)
    packet = receive(made, port, frame)
    assert packet.data == frame and packet.length == size


@pytest.mark.parametrize("size", [0, 1, 6, 13])
def test_runts(made: Rig, port: Port, size: int) -> None:
    made.wire.send(raw_frame(MACS[0], OTHER, size))
    assert port.take() == []


def test_own_frames_do_not_come_back(made: Rig, port: Port) -> None:
    assert port.send(raw_frame(BROADCAST, port.mac)) == [TX_OKAY]
    assert port.send(raw_frame(port.mac, port.mac)) == [TX_OKAY]
    assert port.take() == []


@pytest.mark.parametrize("how", ["rx off", "link off", "down"])
def test_a_port_that_does_not_receive(made: Rig, port: Port, how: str) -> None:
    if how == "rx off":
        port.steer(rx=False)
    elif how == "link off":
        made.function.vports[0].link = False
    else:
        port.down()
    made.wire.send(raw_frame(MACS[0], OTHER))
    assert port.take() == []
    assert port.ethernet.statistics() == {"rx_err_vport_disabled": 1}


def test_receiving_again(made: Rig, port: Port) -> None:
    port.steer(rx=False)
    made.wire.send(raw_frame(MACS[0], OTHER))
    port.steer()
    assert receive(made, port, raw_frame(MACS[0], OTHER)).queue == 0


# Buffers


def test_no_buffers(made: Rig) -> None:
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=5)
    rx = port.rx[0]
    rx.repost = False
    for n in range(8):
        made.wire.send(raw_frame(MACS[0], OTHER, fill=n))
    assert [packet.data[-1] for packet in port.take()] == [0, 1, 2, 3, 4]
    assert port.ethernet.statistics()["rx_discards_nowqe"] == 3
    rx.fill(1)
    assert receive(made, port, raw_frame(MACS[0], OTHER, fill=9)).data[-1] == 9
    rx.repost = True
    rx.fill(2)
    for n in range(50):
        assert receive(made, port, raw_frame(MACS[0], OTHER, fill=n)).data[-1] == n


@pytest.mark.parametrize("size", [1601, 1700, 9014])
def test_truncation(made: Rig, port: Port, size: int) -> None:
    """The buffer is filled and no more; the completion has the whole length. The next packet is all right."""
    frame = raw_frame(MACS[0], OTHER, size)
    made.wire.send(frame)
    (packet,) = port.take()
    assert packet.cqe_type == RX_TRUNCATED and packet.length == size
    assert packet.data == frame[:1600]
    receive(made, port, raw_frame(MACS[0], OTHER, 1600))


def test_jumbo_frames(made: Rig) -> None:
    ethernet = Ethernet(made.driver)
    a, b = Port(ethernet, 0), Port(ethernet, 1)
    a.up(1, buffers=4)
    b.up(1, buffers=4, buffer_size=9018)
    assert ethernet.mtu == 9014
    frame = raw_frame(b.mac, a.mac, 9014)
    for _ in range(10):
        assert a.send(frame) == [TX_OKAY]
        (packet,) = b.take()
        assert packet.data == frame


def test_a_buffer_in_pieces(made: Rig) -> None:
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=0)
    rx = port.rx[0]
    ram = made.driver.ram
    address = ram.alloc(2 * PAGE)
    ram.write(address, b"\xee" * 2 * PAGE)
    rx.rq.post([(address + 4000, rx.mkey, 14), (1, rx.mkey, 0), (address, rx.mkey, 100), (address + 6000, rx.mkey, 100)])
    rx.rq.ring()
    frame = raw_frame(MACS[0], OTHER, 150)
    made.wire.send(frame)
    expected = bytearray(b"\xee" * 2 * PAGE)
    expected[4000:4014], expected[:100], expected[6000:6036] = frame[:14], frame[14:114], frame[114:]
    assert ram.read(address, 2 * PAGE) == expected


# Spreading


def flows(count: int) -> list[Flow]:
    chance = random.Random(7)
    made = []
    for _ in range(count):
        v6 = {f: f"fd00::{chance.randrange(1 << 16):x}:{chance.randrange(1 << 16):x}" for f in ("src", "dst")}
        v4 = {f: f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}" for f in ("src", "dst")}
        ports = {"src_port": chance.randrange(1 << 16), "dst_port": chance.randrange(1 << 16)}
        made.append(flow(protocol=chance.choice((TCP, UDP)), **chance.choice((v4, v6)), **ports))
    return made


HASH_TYPES = {(False, TCP): 1 << 1, (False, UDP): 1 << 2, (True, TCP): 1 << 4, (True, UDP): 1 << 5}


def test_packets_are_spread_by_their_hash(made: Rig, port: Port) -> None:
    table = [n * 7 % 4 for n in range(64)]
    port.steer(rss=True, key=RSS_KEY, table=table)
    used = set()
    for this in flows(150):
        packet = receive(made, port, this.frame(b"abc"))
        value = toeplitz(RSS_KEY, this.hash_input)
        assert packet.hash == value
        assert packet.hash_type == HASH_TYPES[this.is_v6, this.protocol]
        assert packet.queue == table[value % 64]
        used.add(packet.queue)
    assert used == {0, 1, 2, 3}


def test_microsofts_example() -> None:
    """The tests' own Toeplitz hash, by the examples of "Verifying the RSS Hash Calculation"."""
    key = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
    this = flow(src="66.9.149.187", dst="161.142.100.80", src_port=2794, dst_port=1766)
    assert toeplitz(key, this.hash_input) == 0x51CCC178
    assert toeplitz(key, this.addresses) == 0x323E8FC2


def test_another_key(made: Rig, port: Port) -> None:
    key = bytes(255 - n for n in range(40))
    port.steer(rss=True, key=key)
    for this in flows(20):
        assert receive(made, port, this.frame(b"")).hash == toeplitz(key, this.hash_input)


def test_other_packets_have_a_hash_of_their_addresses_or_none(made: Rig, port: Port) -> None:
    this = flow(protocol=UDP)
    frame = bytearray(this.frame(b"abcd"))
    frame[23] = 47  # GRE: no ports
    packet = receive(made, port, bytes(frame))
    assert (packet.hash, packet.hash_type) == (toeplitz(RSS_KEY, this.addresses), 1)
    packet = receive(made, port, raw_frame(MACS[0], OTHER))
    assert (packet.hash, packet.hash_type, packet.queue) == (0, 0, 0)


def test_without_rss_all_go_to_the_default(made: Rig, port: Port) -> None:
    port.steer(rss=False, default=port.rx[2].handle)
    for this in flows(10):
        packet = receive(made, port, this.frame(b""))
        assert (packet.queue, packet.hash, packet.hash_type) == (2, 0, 0)


def test_the_vlan_tag_does_not_matter_to_the_hash(made: Rig, port: Port) -> None:
    for this in flows(10):
        plain = receive(made, port, this.frame(b""))
        this.vlan = 77
        tagged = receive(made, port, this.frame(b""))
        assert (plain.hash, plain.queue) == (tagged.hash, tagged.queue)


# Verdicts


@pytest.mark.parametrize(
    ("this", "good", "bad_ip", "bad_l4"),
    [
        ({"protocol": TCP}, "IT", "iT", "It"),
        ({"protocol": UDP}, "IU", "iU", "Iu"),
        ({"protocol": TCP, "options": bytes([1]) * 8}, "IT", "iT", "It"),
        ({"protocol": TCP, **V6}, "IT", None, "It"),
        ({"protocol": UDP, **V6}, "IU", None, "Iu"),
        ({"protocol": UDP, "vlan": 5}, "IU", "iU", "Iu"),
    ],
)
def test_checksum_verdicts(made: Rig, port: Port, this: dict[str, Any], good: str, bad_ip: str | None, bad_l4: str) -> None:
    """Linux takes a packet for good if the bit of IP and that of TCP or UDP are set, for IPv6 too."""
    f = flow(**this)
    frame = f.frame(b"some payload!")
    assert receive(made, port, frame).verdict == good
    wrong = bytearray(frame)
    wrong[-1] ^= 1
    assert receive(made, port, bytes(wrong)).verdict == bad_l4
    if bad_ip:
        wrong = bytearray(frame)
        wrong[(14 if f.vlan is None else 18) + 8] ^= 0xFF  # TTL: in the header's checksum only
        assert receive(made, port, bytes(wrong)).verdict == bad_ip


def test_no_verdict(made: Rig, port: Port) -> None:
    assert receive(made, port, raw_frame(MACS[0], OTHER)).verdict == ""
    this = flow(protocol=UDP)
    frame = bytearray(this.frame(b"abc"))
    frame[40:42] = bytes(2)  # UDP over IPv4 without a checksum
    assert receive(made, port, bytes(frame)).verdict == "I"
    fragment = bytearray(this.frame(b"abc", ip_sum=False))
    fragment[20] = 0x20
    fragment[24:26] = (sum_of_header(bytes(fragment[14:34])) ^ 0xFFFF).to_bytes(2, "big")
    assert receive(made, port, bytes(fragment)).verdict == "I"


def sum_of_header(header: bytes) -> int:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, 20, 2))
    return (total & 0xFFFF) + (total >> 16)


def test_padding_does_not_matter(made: Rig, port: Port) -> None:
    for this in (flow(protocol=TCP), flow(protocol=UDP), flow(protocol=UDP, **V6)):
        frame = this.frame(b"").ljust(100, b"\x99")
        packet = receive(made, port, frame)
        assert packet.data == frame and packet.verdict in ("IT", "IU")


# VLAN


@pytest.mark.parametrize("tci", [0, 1, 100, 4095, 0xFFFF, 0x3064])
def test_vlan_tags_are_taken_off(made: Rig, port: Port, tci: int) -> None:
    """The completion has room for the VLAN id only."""
    packet = receive(made, port, flow(vlan=tci).frame(b"abc"))
    assert packet.data == flow().frame(b"abc")
    assert packet.vlan == tci & 0xFFF
    assert receive(made, port, flow().frame(b"abc")).vlan is None


def test_only_the_outer_tag_is_taken_off(made: Rig, port: Port) -> None:
    inner = flow(vlan=7).frame(b"abc")
    packet = receive(made, port, inner[:12] + bytes.fromhex("81000009") + inner[12:])
    assert packet.vlan == 9 and packet.data == inner


def test_a_tag_from_port_to_port(made: Rig, port: Port) -> None:
    other = Port(port.ethernet, 1)
    other.up(1, buffers=8)
    frame = Flow(port.mac, other.mac).frame(b"abc")
    assert other.send(frame, inject_vlan=1, pcp=5, vlan_id=0x456) == [TX_OKAY]
    (packet,) = port.take()
    assert packet.data == frame and packet.vlan == 0x456 and packet.verdict == "IU"


# Statistics


def test_statistics_add_up(made: Rig) -> None:
    """What one vPort sends is what the other one and the wire receive."""
    ethernet = Ethernet(made.driver)
    a, b = Port(ethernet, 0), Port(ethernet, 1)
    a.up(1, buffers=16)
    b.up(2, buffers=16)
    expected: dict[str, int] = {}

    def count(name: str, size: int) -> None:
        for direction in ("tx", "rx"):
            for key, value in ((f"hc_{direction}_bytes", size), (f"hc_{direction}_{name}_pkts", 1), (f"hc_{direction}_{name}_bytes", size)):
                expected[key] = expected.get(key, 0) + value

    for n in range(60):
        name, dst = (("ucast", b.mac), ("bcast", BROADCAST), ("mcast", MULTICAST))[n % 3]
        size = 60 + 20 * n
        vlan: dict[str, Any] = {"inject_vlan": 1, "vlan_id": 3} if n % 2 else {}
        assert a.send(raw_frame(dst, a.mac, size), **vlan) == [TX_OKAY]
        count(name, size + (4 if vlan else 0))
        assert len(b.take()) == 1
    header = Flow(b.mac, a.mac, protocol=TCP)
    assert a.send_tso(header.frame(bytes(3000)), header.headers, 1000) == [TX_OKAY]
    for _ in range(3):
        count("ucast", header.headers + 1000)
    assert len(b.take()) == 3
    assert ethernet.statistics() == expected
    wire = made.wire.take()
    assert sum(map(len, wire)) <= expected["hc_tx_bytes"]


# Memory keys


def test_receiving_into_memory_regions(made: Rig) -> None:
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=0)
    rx, driver = port.rx[0], made.driver
    pd = driver.ask(CREATE_PD, bytes(8), "QII")[0]
    memory = Memory.scattered(driver.ram, 4 * PAGE)
    virtual = 0x7F00_0000_0000
    lkey = driver.ask(CREATE_MR, mr_request(pd, driver.region(memory), virtual), "QII")[1]
    rx.rq.post([(virtual + PAGE - 10, lkey, 2000)])
    rx.rq.ring()
    frame = raw_frame(MACS[0], OTHER, 1500)
    made.wire.send(frame)
    assert memory.read(PAGE - 10, 1500) == frame
    assert memory.read(0, PAGE - 10) == bytes(PAGE - 10)
    assert not any(memory.read(PAGE + 1490, 4 * PAGE - PAGE - 1490))


def read_only(made: Rig) -> tuple[int, int, int]:
    pd = made.driver.ask(CREATE_PD, bytes(8), "QII")[0]
    memory = Memory.contiguous(made.driver.ram, PAGE)
    return 0x5000, made.driver.ask(CREATE_MR, mr_request(pd, made.driver.region(memory), 0x5000, 1), "QII")[1], 2000


@pytest.mark.parametrize(
    "what", ["read-only region", "behind memory", "across its end", "no key", "unknown key", "read-only map", "the second of two"]
)
def test_buffers_that_cannot_be_written(made: Rig, what: str) -> None:
    """Nothing is written anywhere; that queue stops, and a new one works. Reading such a region is fine."""
    port = Port(Ethernet(made.driver), 0)
    port.up(1, buffers=0)
    rx = port.rx[0]
    end, gpa = RAM_ADDRESS + RAM_SIZE, rx.mkey
    good = made.driver.ram.alloc(PAGE)
    elsewhere = RAM_ADDRESS + 8 * RAM_SIZE
    made.client.dma_map(elsewhere, PAGE, made.client.ram_fd, 5 * PAGE, flags=1)
    makers: dict[str, Callable[[], list[Sge]]] = {
        "read-only region": lambda: [read_only(made)],
        "behind memory": lambda: [(end, gpa, 2000)],
        "across its end": lambda: [(end - 40, gpa, 2000)],
        "no key": lambda: [(good, 0, 2000)],
        "unknown key": lambda: [(good, 4711, 2000)],
        "read-only map": lambda: [(elsewhere, gpa, 2000)],
        "the second of two": lambda: [(good, gpa, 30), (good, 4711, 2000)],
    }
    sgl = makers[what]()
    rx.rq.post(sgl)
    rx.rq.ring()
    port.driver.interrupt()
    before = bytes(made.client.ram)
    made.wire.send(raw_frame(MACS[0], OTHER, 1000))
    assert bytes(made.client.ram) == before
    assert port.ethernet.statistics() == {"rx_discards_nowqe": 1}
    if what == "read-only region":
        made.driver.ram.write(good, raw_frame(OTHER, port.mac, 1000))
        assert port.send(b"", sgl=[(good, gpa, 14), (0x5000, sgl[0][1], 100)]) == [TX_OKAY]
    rx.fill(0)
    port.down()
    port.up(1, buffers=8)
    assert receive(made, port, raw_frame(MACS[0], OTHER, 1000)).length == 1000


# Anything


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(min_size=2, max_size=200), dst=st.sampled_from([MACS[0], BROADCAST]))
def test_any_frame(made: Rig, port: Port, tail: bytes, dst: bytes) -> None:
    """It arrives as it is, but for an outer tag."""
    frame = dst + OTHER + tail
    packet = receive(made, port, frame)
    tagged = frame[12:14] in (b"\x81\x00", b"\x88\xa8") and len(frame) >= 18
    assert packet.data == (frame[:12] + frame[16:] if tagged else frame)
    assert (packet.vlan is not None) == tagged


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(this=st.sampled_from(flows(20)), cut=st.integers(14, 120), position=st.integers(12, 90), value=st.integers(0, 255))
def test_damaged_packets(made: Rig, port: Port, this: Flow, cut: int, position: int, value: int) -> None:
    """Cut anywhere, with a wrong byte anywhere: the device has a verdict, or none, and goes on."""
    frame = bytearray(this.frame(b"0123456789"))
    if position < len(frame):
        frame[position] = value
    packet = receive(made, port, bytes(frame[:cut]))
    assert not ({"I", "i"} <= set(packet.verdict) or {"T", "t"} <= set(packet.verdict) or {"U", "u"} <= set(packet.verdict))
