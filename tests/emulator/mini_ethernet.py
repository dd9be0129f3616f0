# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small MANA Ethernet driver on top of the GDMA driver: what Linux' mana_en.c does for a port, and stricter.

Packets are sent from, and received into, memory that is filled with a pattern before: a byte too many is found.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence
from typing import Any

from mini_driver import CQ, DEV_MANA, RQ, SQ, Cq, Eq, Memory, MiniDriver, Sge, Wq, check

assert CQ == 3

QUERY_DEV_CONFIG = 0x20001
QUERY_GF_STAT = 0x20002
CONFIG_VPORT_TX = 0x20003
CREATE_WQ_OBJ = 0x20004
DESTROY_WQ_OBJ = 0x20005
FENCE_RQ = 0x20006
CONFIG_VPORT_RX = 0x20007
QUERY_VPORT_CONFIG = 0x20008
QUERY_LINK_CONFIG = 0x2000A
QUERY_PHY_STAT = 0x2000C

RX_OKAY, RX_FENCE, RX_TRUNCATED = 1, 3, 4
TX_OKAY, TX_SA_DROP, TX_MTU_DROP, TX_INVALID_OOB, TX_INVALID_ETH_TYPE, TX_HDR_PROCESSING_ERROR = range(32, 38)
TX_VPORT_IDX_OUT_OF_RANGE, TX_VPORT_DISABLED = 39, 40

# struct mana_query_gf_stat_resp
STATISTICS = (
    "reported_stats",
    "rx_discards_nowqe",
    "rx_err_vport_disabled",
    "hc_rx_bytes",
    "hc_rx_ucast_pkts",
    "hc_rx_ucast_bytes",
    "hc_rx_bcast_pkts",
    "hc_rx_bcast_bytes",
    "hc_rx_mcast_pkts",
    "hc_rx_mcast_bytes",
    "tx_err_gf_disabled",
    "tx_err_vport_disabled",
    "tx_err_inval_vport_offset_pkt",
    "tx_err_vlan_enforcement",
    "tx_err_ethtype_enforcement",
    "tx_err_SA_enforcement",
    "tx_err_SQPDID_enforcement",
    "tx_err_CQPDID_enforcement",
    "tx_err_mtu_violation",
    "tx_err_inval_oob",
    "hc_tx_bytes",
    "hc_tx_ucast_pkts",
    "hc_tx_ucast_bytes",
    "hc_tx_bcast_pkts",
    "hc_tx_bcast_bytes",
    "hc_tx_mcast_pkts",
    "hc_tx_mcast_bytes",
    "tx_err_gdma",
)

RSS_KEY = bytes(range(1, 41))
FILL = 0xA5


@dataclasses.dataclass
class Packet:
    """What a receive completion says, and the packet."""

    cqe_type: int
    data: bytes
    queue: int
    length: int
    flags: int
    hash: int

    def bit(self, number: int) -> bool:
        return bool(self.flags >> number & 1)

    @property
    def vlan(self) -> int | None:
        """VLAN id of the tag that the device has taken off."""
        return self.flags & 0xFFF if self.bit(12) else None

    @property
    def hash_type(self) -> int:
        return self.flags >> 16 & 0x1FF

    @property
    def verdict(self) -> str:
        """Of the headers that were checked: I, T, U for good IP, TCP and UDP checksums, i, t, u for bad ones."""
        return "".join(letter for number, letter in zip(range(25, 31), "IiTtUu") if self.bit(number))


@dataclasses.dataclass
class _Sent:
    units: int
    offset: int
    suppressed: bool


class TxQueue:
    """A send queue with its completion queue."""

    def __init__(self, sq: Wq, cq: Cq, handle: int) -> None:
        self.sq = sq
        self.cq = cq
        self.handle = handle
        self.completions: list[int] = []
        """Types of the completions that have come."""
        self.pending: list[_Sent] = []
        cq.callback = self.poll

    def posted(self, units: int, suppressed: bool) -> None:
        self.pending.append(_Sent(units, self.sq.head - units, suppressed))

    def poll(self, *, arm: bool = True) -> None:
        """mana_poll_tx_cq; what was sent without wanting a completion is done when a later one is (as in DPDK's tx.c)."""
        for completion in self.cq.poll():
            check(completion.is_sq and completion.wq_num == self.sq.id, f"completion of WQ {completion.wq_num}, not of SQ {self.sq.id}")
            header, data_offset, offsets = struct.unpack_from("<III", completion.data)
            check(header >> 6 & 3 == 1, f"client type in {header:#x}")
            check(header >> 8 == 0 and data_offset == 0 and not any(completion.data[12:]), "vendor error, or reserved fields")
            check(bool(self.pending), "a completion of nothing that was sent")
            offset = offsets >> 5
            okay = header & 0x3F == TX_OKAY
            while self.pending[0].suppressed and self.pending[0].offset & 0x7FFFFFF != offset:
                self.sq.tail += self.pending.pop(0).units
            sent = self.pending.pop(0)
            check(not (sent.suppressed and okay), "a good completion that was not wanted")
            check(sent.offset & 0x7FFFFFF == offset, f"completion of the entry at {offset}, not {sent.offset}")
            self.sq.tail += sent.units
            self.completions.append(header & 0x3F)
        if arm:
            self.cq.ring(True)

    def take(self) -> list[int]:
        types, self.completions = self.completions, []
        return types


class RxQueue:
    """A receive queue with its completion queue and buffers of `size` bytes each."""

    def __init__(self, index: int, rq: Wq, cq: Cq, handle: int, mkey: int, buffers: list[int], size: int) -> None:
        self.index = index
        self.rq = rq
        self.cq = cq
        self.handle = handle
        self.mkey = mkey
        self.buffers = buffers
        self.size = size
        self.packets: list[Packet] = []
        self.fences = 0
        self.repost = True
        self._posted: list[int] = []
        self._next = 0
        cq.callback = self.poll

    def fill(self, count: int | None = None) -> None:
        """Post `count` buffers, or all."""
        for _ in range(len(self.buffers) if count is None else count):
            self._post(self.buffers[self._next])
            self._next = (self._next + 1) % len(self.buffers)
        self.rq.ring()

    def _post(self, address: int) -> None:
        # Two bytes more than the device may write to.
        self.rq.driver.ram.write(address, bytes([FILL]) * (self.size + 2))
        self._posted.append(address)
        units = self.rq.post([(address, self.mkey, self.size)])
        check(units == 1, "a receive entry is one unit")

    def poll(self, *, arm: bool = True) -> None:
        """mana_poll_rx_cq."""
        found = self.cq.poll()
        for completion in found:
            check(not completion.is_sq and completion.wq_num == self.rq.id, f"completion of WQ {completion.wq_num}, not RQ {self.rq.id}")
            header, flags, length, reserved, reserved2, value = struct.unpack_from("<IIHHII", completion.data)
            (wqe_offset,) = struct.unpack_from("<I", completion.data, 56)
            check(header >> 6 == 1, f"client type or vendor error in {header:#x}")
            check(not reserved and not reserved2 and not any(completion.data[20:56]), "reserved fields")
            check(not flags & (1 << 15 | 1 << 31), f"reserved flags in {flags:#x}")
            if header & 0x3F == RX_FENCE:
                self.fences += 1
                continue
            check(wqe_offset == self.rq.tail * 32 & 0xFFFFFFFF, f"entry at {wqe_offset}, not {self.rq.tail * 32}")
            check(bool(self._posted), "a packet in a buffer that was not posted")
            address = self._posted.pop(0)
            self.rq.tail += 1
            raw = self.rq.driver.ram.read(address, self.size + 2)
            data = raw[: min(length, self.size)]
            check(raw[len(data) :].count(FILL) == len(raw) - len(data), "more was written than the completion says")
            self.packets.append(Packet(header & 0x3F, data, self.index, length, flags, value))
            if self.repost:
                self._post(address)
        if found and self.repost:
            self.rq.ring()
        if arm:
            self.cq.ring(True)


class Ethernet:
    """The registered MANA device, with as many event queues as it has vectors beside the channel's."""

    def __init__(self, driver: MiniDriver, eqs: int = 4) -> None:
        self.driver = driver
        self.pdid, self.mkey, self.doorbell_page = driver.register()
        self.max_vports, self.mtu = self._query()
        vectors = max(1, len(driver.client.eventfds) - 1)
        self.eqs = [self.create_eq(1 + n % vectors) for n in range(eqs)]

    def create_eq(self, vector: int, size: int = 8192) -> Eq:
        memory = Memory.contiguous(self.driver.ram, size)
        return self.driver.create_eq(memory, vector, pdid=self.pdid, doorbell_page=self.doorbell_page)

    def _query(self) -> tuple[int, int]:
        body = struct.pack("<4Q4I", 0, 0, 0, 0, 0, 1, 1, 0)
        answer = self.driver.ask(QUERY_DEV_CONFIG, body, "4QHHIHHI", dev=DEV_MANA, response_version=2)
        return answer[4], answer[7]

    def statistics(self) -> dict[str, int]:
        """Those that are not zero."""
        values = self.driver.ask(QUERY_GF_STAT, struct.pack("<Q", 0x7FFFFFF), "28Q", dev=DEV_MANA)
        check(values[0] == 0x7FFFFFF, "reported_stats")
        return {name: value for name, value in zip(STATISTICS[1:], values[1:]) if value}

    def close(self) -> None:
        for eq in self.eqs:
            self.driver.destroy_eq(eq)
        self.driver.ask(5, dev=DEV_MANA)


class Port:
    """One vPort."""

    def __init__(self, ethernet: Ethernet, index: int) -> None:
        self.ethernet = ethernet
        self.driver = ethernet.driver
        answer = self.driver.ask(QUERY_VPORT_CONFIG, struct.pack("<I", index), "IIII6sHQ", dev=DEV_MANA)
        self.max_sq, self.max_rq, self.indirection_size, _, _, _, self.handle = answer
        self.mac: bytes = answer[4]
        self.tx: list[TxQueue] = []
        self.rx: list[RxQueue] = []
        self.tx_vport_offset = -1
        self._tx_slab = Memory.contiguous(self.driver.ram, 1 << 20)
        self._tx_next = 0

    # Bring-up

    def config_tx(self) -> None:
        body = struct.pack("<QII", self.handle, self.ethernet.pdid, self.ethernet.doorbell_page)
        self.tx_vport_offset, short_form_allowed, _ = self.driver.ask(CONFIG_VPORT_TX, body, "HBB", dev=DEV_MANA)
        check(short_form_allowed == 1, "no short form")

    def up(
        self,
        queues: int = 1,
        *,
        tx_bytes: int = 8192,
        rx_bytes: int = 8192,
        buffer_size: int = 1600,
        buffers: int | None = None,
        scattered: bool = False,
        rss: bool | None = None,
        eqs: Sequence[Eq | None] | None = None,
    ) -> None:
        """mana_alloc_queues. tx_bytes, rx_bytes: sizes of the work queues; completion queues are twice as long."""
        self.config_tx()
        chosen = list(self.ethernet.eqs if eqs is None else eqs)
        for n in range(queues):
            self.tx.append(self.create_tx(tx_bytes, chosen[n % len(chosen)], scattered))
        for n in range(queues):
            queue = self.create_rx(n, rx_bytes, chosen[n % len(chosen)], scattered, buffer_size, buffers)
            self.rx.append(queue)
            queue.fill()
        self.steer(rss=queues > 1 if rss is None else rss, key=RSS_KEY, table=[n % queues for n in range(self.indirection_size)])

    def create_tx(self, size: int, eq: Eq | None, scattered: bool = False) -> TxQueue:
        sq, cq, handle = self._create(SQ, size, 2 * size, eq, scattered)
        return TxQueue(sq, cq, handle)

    def create_rx(
        self, index: int, size: int, eq: Eq | None, scattered: bool = False, buffer_size: int = 1600, buffers: int | None = None
    ) -> RxQueue:
        rq, cq, handle = self._create(RQ, size, 2 * size, eq, scattered)
        count = size // 32 if buffers is None else buffers
        stride = -(-(buffer_size + 2) // 64) * 64
        base = self.driver.ram.alloc(stride * count)
        return RxQueue(index, rq, cq, handle, self.ethernet.mkey, [base + n * stride for n in range(count)], buffer_size)

    def _create(self, kind: int, wq_size: int, cq_size: int, eq: Eq | None, scattered: bool) -> tuple[Wq, Cq, int]:
        make = Memory.scattered if scattered else Memory.contiguous
        ram = self.driver.ram
        page = self.ethernet.doorbell_page
        wq = Wq(self.driver, make(ram, wq_size), page, kind == SQ)
        cq = Cq(self.driver, make(ram, cq_size), page)
        wq_region, cq_region = self.driver.region(wq.memory), self.driver.region(cq.memory)
        body = wq_request(self.handle, kind, wq_region, cq_region, wq_size, cq_size, 0xFFFF if eq is None else eq.id)
        wq.id, cq.id, handle = self.driver.ask(CREATE_WQ_OBJ, body, "IIQ", dev=DEV_MANA)
        check(cq.id not in self.driver.cqs and cq.id < self.driver.max_num_cqs, f"CQ id {cq.id}")
        check(handle != (1 << 64) - 1, "an invalid handle")
        if kind == SQ:
            check(not wq.id & 0x3FF, f"SQ id {wq.id} has bits that the out-of-band data cannot hold")
        self.driver.cqs[cq.id] = cq
        cq.ring(True)
        return wq, cq, handle

    def steer(
        self,
        *,
        rx: bool = True,
        rss: bool = False,
        default: int | None = None,
        key: bytes | None = None,
        table: Sequence[int] | None = None,
    ) -> None:
        """mana_cfg_vport_steering. table: indices of receive queues."""
        handles = None if table is None else [self.rx[n].handle for n in table]
        default_handle = self.rx[0].handle if default is None and self.rx else default or 0
        body = steer_request(self.handle, rx, rss, default_handle, key, handles, self.indirection_size)
        self.driver.ask(CONFIG_VPORT_RX, body, dev=DEV_MANA, version=2)

    def down(self) -> None:
        """mana_dealloc_queues: stop receiving, fence, destroy."""
        self.steer(rx=False)
        for queue in self.rx:
            self.fence(queue)
        for tx in self.tx:
            self.destroy(SQ, tx.handle, tx.cq)
        for rx in self.rx:
            self.destroy(RQ, rx.handle, rx.cq)
        self.tx, self.rx = [], []

    def fence(self, queue: RxQueue) -> None:
        before = queue.fences
        self.driver.ask(FENCE_RQ, struct.pack("<Q", queue.handle), dev=DEV_MANA)
        check(queue.fences == before + 1, f"{queue.fences - before} fences")

    def destroy(self, kind: int, handle: int, cq: Cq) -> None:
        self.driver.ask(DESTROY_WQ_OBJ, struct.pack("<IIQ", kind, 0, handle), dev=DEV_MANA)
        del self.driver.cqs[cq.id]

    # Traffic

    def tx_buffer(self, data: bytes) -> int:
        """Put data somewhere in memory that is not used for others soon; returns its address."""
        if self._tx_next + len(data) > self._tx_slab.size:
            self._tx_next = 0
        address = self._tx_slab.pages[0] + self._tx_next
        self.driver.ram.write(address, data)
        self._tx_next += -(-len(data) // 64) * 64
        return address

    def sges(self, data: bytes, cuts: Sequence[int] = ()) -> list[Sge]:
        """Scatter-gather entries for the pieces of data between the cuts."""
        bounds = [0, *cuts, len(data)]
        return [(self.tx_buffer(data[a:b]), self.ethernet.mkey, b - a) for a, b in zip(bounds, bounds[1:])]

    def oob(self, queue: TxQueue, **changes: Any) -> bytes:
        """struct mana_tx_oob as mana_start_xmit fills it. Changes are its fields: see tx_oob."""
        fields = {"vcq_num": queue.cq.id, "vsq_frame": queue.sq.id >> 10, "short_vp_offset": self.tx_vport_offset, **changes}
        return tx_oob(**fields)

    def post(
        self, frame: bytes, queue: int = 0, *, cuts: Sequence[int] = (), sgl: Sequence[Sge] | None = None, mss: int = 0, **changes: Any
    ) -> None:
        """Write an entry for a frame, without ringing. mss: segment it; its headers are then before the first cut."""
        tx = self.tx[queue]
        units = tx.sq.post(
            self.sges(frame, cuts) if sgl is None else sgl, self.oob(tx, **changes), oob_in_sgl=bool(mss), data_unit=mss & 0x3FFF
        )
        tx.posted(units, bool(changes.get("suppress")))

    def send(
        self, frame: bytes, queue: int = 0, *, cuts: Sequence[int] = (), sgl: Sequence[Sge] | None = None, mss: int = 0, **changes: Any
    ) -> list[int]:
        """Post, ring, do what the interrupts want. Returns the types of the completions that came."""
        self.post(frame, queue, cuts=cuts, sgl=sgl, mss=mss, **changes)
        self.tx[queue].sq.ring()
        self.driver.interrupt()
        return self.tx[queue].take()

    def send_tso(self, frame: bytes, header: int, mss: int, **changes: Any) -> list[int]:
        """As mana_start_xmit sends a packet for segmentation: headers of `header` bytes in an entry of their own."""
        return self.send(frame, cuts=[header], mss=mss, comp_iphdr_csum=1, comp_tcp_csum=1, **changes)

    def take(self) -> list[Packet]:
        """What was received since the last call, queue by queue."""
        self.driver.interrupt()
        packets = []
        for queue in self.rx:
            packets += queue.packets
            queue.packets = []
        return packets


def tx_oob(
    *,
    vcq_num: int,
    vsq_frame: int,
    short_vp_offset: int,
    long: int | None = None,
    is_outer_ipv4: int = 0,
    is_outer_ipv6: int = 0,
    comp_iphdr_csum: int = 0,
    comp_tcp_csum: int = 0,
    comp_udp_csum: int = 0,
    suppress: int = 0,
    trans_off: int = 0,
    inject_vlan: int = 0,
    pcp: int = 0,
    dei: int = 0,
    vlan_id: int = 0,
    long_vp_offset: int = 0,
) -> bytes:
    """struct mana_tx_short_oob, and struct mana_tx_long_oob if something needs it or `long` asks for it."""
    is_long = bool(inject_vlan or long_vp_offset) if long is None else bool(long)
    short = struct.pack(
        "<II",
        is_long
        | is_outer_ipv4 << 2
        | is_outer_ipv6 << 3
        | comp_iphdr_csum << 4
        | comp_tcp_csum << 5
        | comp_udp_csum << 6
        | suppress << 7
        | vcq_num << 8,
        trans_off | vsq_frame << 10 | short_vp_offset << 24,
    )
    if not is_long:
        return short
    return short + struct.pack("<IIII", inject_vlan << 3 | pcp << 16 | dei << 19 | vlan_id << 20, long_vp_offset << 16, 0, 0)


def wq_request(vport: int, kind: int, wq_region: int, cq_region: int, wq_size: int, cq_size: int, eq_id: int) -> bytes:
    """struct mana_create_wqobj_req without its header."""
    return struct.pack("<QIIQQIIII", vport, kind, 0, wq_region, cq_region, wq_size, cq_size, 0, eq_id)


def steer_request(
    vport: int, rx: bool, rss: bool, default: int | None, key: bytes | None, handles: Sequence[int] | None, entries: int
) -> bytes:
    """struct mana_cfg_rx_steer_req_v2 without its header."""
    fixed = struct.Struct("<QHHIIBBBBQ40sB7x")
    body = fixed.pack(
        vport,
        entries,
        40 + fixed.size,
        rx,
        rss,
        default is not None,
        key is not None,
        handles is not None,
        0,
        default or 0,
        key or bytes(40),
        0,
    )
    return body + struct.pack(f"<{entries}Q", *(handles if handles is not None else [0] * entries))
