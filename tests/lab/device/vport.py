# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One vPort: the Ethernet port behind a netdev. Takes frames off send queues, and puts frames into receive queues.

Sources: mana_start_xmit, mana_poll_tx_cq and mana_rx_skb in Linux' mana_en.c, the out-of-band structures in its mana.h;
that the first scatter-gather entry of a packet to be segmented holds just its headers: bnic.rs of OpenVMM. That Azure drops
frames with a source address that is not the port's: the counter tx_err_SA_enforcement and CQE_TX_SA_DROP.
"""

from __future__ import annotations

import dataclasses
import struct

from lab.net.frame import Frame, is_broadcast, is_unicast, parse, pop_vlan, push_vlan
from lab.net.offload import fill_checksums, segment, verify
from lab.net.port import Port
from lab.net.rss import Toeplitz
from lab.net.switch import Switch

from .dma import Extent
from .faults import Faults
from .gdma_defs import GDMA_RQ, GDMA_SQ
from .guest_memory import DmaError
from .mana_defs import (
    CQE_RX_OBJECT_FENCE,
    CQE_RX_OKAY,
    CQE_RX_TRUNCATED,
    CQE_TX_HDR_PROCESSING_ERROR,
    CQE_TX_INVALID_ETH_TYPE,
    CQE_TX_INVALID_OOB,
    CQE_TX_MTU_DROP,
    CQE_TX_OKAY,
    CQE_TX_SA_DROP,
    CQE_TX_VPORT_DISABLED,
    CQE_TX_VPORT_IDX_OUT_OF_RANGE,
    MANA_CQE_COMPLETION,
    MANA_LONG_PKT_FMT,
)
from .queues import QueueError, WorkQueue, Wqe
from .resources import SQ_NUMBER_SHIFT, Resources

ETH_HLEN = 14
VLAN_HLEN = 4
MIN_TX_LENGTH = ETH_HLEN
MAX_LSO_HEADER = 256  # bytes of the first scatter-gather entry
MAX_TX_LENGTH = 1 << 18  # bytes of one send, segmented or not; far above what a driver may ask

_CLIENT = MANA_CQE_COMPLETION << 6
_TX_COMPLETION = struct.Struct("<III")  # struct mana_tx_comp_oob
_RX_COMPLETION = struct.Struct("<II HHII 36x I")  # struct mana_rxcomp_oob: one packet of the four that it has room for

# struct mana_rxcomp_oob, the flags after rx_vlan_id
_RX_VLANTAG_PRESENT = 1 << 12
_RX_HASHTYPE_SHIFT = 16
_RX_IPHDR_CSUM_SUCCEED = 1 << 25
_RX_IPHDR_CSUM_FAIL = 1 << 26
_RX_TCP_CSUM_SUCCEED = 1 << 27
_RX_TCP_CSUM_FAIL = 1 << 28
_RX_UDP_CSUM_SUCCEED = 1 << 29
_RX_UDP_CSUM_FAIL = 1 << 30
_RX_ALL_GOOD = _RX_IPHDR_CSUM_SUCCEED | _RX_TCP_CSUM_SUCCEED


@dataclasses.dataclass(slots=True)
class Statistics:
    """Counts since the function was made; names as in struct mana_query_gf_stat_resp. Frames as on the wire, without FCS."""

    rx_discards_nowqe: int = 0
    rx_err_vport_disabled: int = 0
    hc_rx_bytes: int = 0
    hc_rx_ucast_pkts: int = 0
    hc_rx_ucast_bytes: int = 0
    hc_rx_bcast_pkts: int = 0
    hc_rx_bcast_bytes: int = 0
    hc_rx_mcast_pkts: int = 0
    hc_rx_mcast_bytes: int = 0
    tx_err_vport_disabled: int = 0
    tx_err_inval_vport_offset_pkt: int = 0
    tx_err_ethtype_enforcement: int = 0
    tx_err_SA_enforcement: int = 0
    tx_err_mtu_violation: int = 0
    tx_err_inval_oob: int = 0
    hc_tx_bytes: int = 0
    hc_tx_ucast_pkts: int = 0
    hc_tx_ucast_bytes: int = 0
    hc_tx_bcast_pkts: int = 0
    hc_tx_bcast_bytes: int = 0
    hc_tx_mcast_pkts: int = 0
    hc_tx_mcast_bytes: int = 0
    tx_err_gdma: int = 0

    def count(self, direction: str, frame: bytes) -> None:
        """direction: rx or tx"""
        size = len(frame)
        kind = "ucast" if is_unicast(frame) else "bcast" if is_broadcast(frame) else "mcast"
        for name, amount in ((f"hc_{direction}_bytes", size), (f"hc_{direction}_{kind}_bytes", size), (f"hc_{direction}_{kind}_pkts", 1)):
            setattr(self, name, getattr(self, name) + amount)


class _Dropped(Exception):
    """A send that ends in another completion than CQE_TX_OKAY."""

    def __init__(self, cqe_type: int, counter: str) -> None:
        super().__init__(counter)
        self.cqe_type = cqe_type
        self.counter = counter


class VPort(Port):
    """State of a port: who uses it, its work queue objects, and how frames are spread over its receive queues."""

    def __init__(self, index: int, mac: bytes, switch: Switch, faults: Faults, max_frame: int, enforce_source: bool) -> None:
        """max_frame: bytes of the largest frame without VLAN tag and FCS, adapter_mtu of the device configuration."""
        self.index = index
        self.mac = mac
        self.statistics = Statistics()
        self.link = True
        self._switch = switch
        self._faults = faults
        self._max_frame = max_frame
        self._enforce_source = enforce_source
        switch.attach(self)
        self._clear()

    def _clear(self) -> None:
        self.resources: Resources | None = None
        self.pdid: int | None = None
        self.doorbell_page: int | None = None
        self.tx_vport_offset = self.index & 0xFF
        self.objects: dict[int, tuple[int, WorkQueue]] = {}  # by handle: GDMA_SQ or GDMA_RQ, and the queue
        self.rx_enabled = False
        self.rss_enabled = False
        self.default_rxobj: int | None = None
        self.indirection: list[int] = []
        self._toeplitz: Toeplitz | None = None

    def reset(self) -> None:
        """Forget what the driver made of the port; counters stay."""
        self._clear()

    def use(self, resources: Resources, pdid: int, doorbell_page: int) -> None:
        """MANA_CONFIG_VPORT_TX: the queues made from now on belong to this protection domain and doorbell page."""
        self.resources = resources
        self.pdid = pdid
        self.doorbell_page = doorbell_page

    def set_hash_key(self, key: bytes) -> None:
        self._toeplitz = Toeplitz(key)

    # From the guest to the wire

    def transmit(self, sq: WorkQueue) -> None:
        """Take what is posted in a send queue of this port.

        :raises QueueError: an entry that is none: hardware stops the queue
        :raises DmaError: the queue or its completion queue is no longer the guest's memory
        """
        while (wqe := sq.take()) is not None:
            cqe_type = CQE_TX_OKAY
            suppress = False
            try:
                suppress = self._send(sq, wqe)
            except _Dropped as dropped:
                cqe_type, suppress = dropped.cqe_type, False
                setattr(self.statistics, dropped.counter, getattr(self.statistics, dropped.counter) + 1)
            if not suppress:
                offset = wqe.offset // 32 & 0x7FFFFFF
                sq.completions.post(_TX_COMPLETION.pack(cqe_type | _CLIENT, 0, offset << 5), sq.number, True)

    def _send(self, sq: WorkQueue, wqe: Wqe) -> bool:
        """Returns whether the driver wants no completion.

        :raises _Dropped: it was not sent
        """
        if len(wqe.oob) < 8:
            raise QueueError(f"send of queue {sq.number} with {len(wqe.oob)} bytes of out-of-band data")
        # struct mana_tx_short_oob, two dwords, then struct mana_tx_long_oob
        first, second = struct.unpack_from("<II", wqe.oob)
        long_format = first & 3 == MANA_LONG_PKT_FMT
        long_first = long_second = 0
        if long_format:
            if len(wqe.oob) < 24:
                raise _Dropped(CQE_TX_INVALID_OOB, "tx_err_inval_oob")
            long_first, long_second = struct.unpack_from("<II", wqe.oob, 8)
        if first >> 8 != sq.completions.number or (second >> 10 & 0x3FFF) != sq.number >> SQ_NUMBER_SHIFT or self._faults.tx_error():
            raise _Dropped(CQE_TX_INVALID_OOB, "tx_err_inval_oob")
        vport_offset = (long_second >> 16 & 0xFFF) if long_format else second >> 24
        # The short field stays valid in the long format: Linux fills it unless the offset is too large for it.
        if vport_offset != self.tx_vport_offset and second >> 24 != self.tx_vport_offset:
            raise _Dropped(CQE_TX_VPORT_IDX_OUT_OF_RANGE, "tx_err_inval_vport_offset_pkt")
        if not self.link:
            raise _Dropped(CQE_TX_VPORT_DISABLED, "tx_err_vport_disabled")

        frame = self._gather(wqe)
        self._check(frame, segmented=wqe.oob_in_sgl)
        frames: list[bytes] | list[bytearray]
        if wqe.oob_in_sgl:
            if len(wqe.sgl) < 2 or wqe.sgl[0][2] > MAX_LSO_HEADER or not wqe.client_data_unit:
                raise _Dropped(CQE_TX_HDR_PROCESSING_ERROR, "tx_err_gdma")
            frames = segment(frame, wqe.client_data_unit)
            if any(len(piece) > self._max_frame + VLAN_HLEN for piece in frames):
                raise _Dropped(CQE_TX_MTU_DROP, "tx_err_mtu_violation")
        else:
            if first & 0x70:
                fill_checksums(frame, ip=bool(first & 1 << 4), tcp=bool(first & 1 << 5), udp=bool(first & 1 << 6))
            frames = [frame]
        for piece in frames:
            whole = push_vlan(piece, _tci(long_first)) if long_first & 1 << 3 else bytes(piece)
            self.statistics.count("tx", whole)
            on_wire = self._faults.on_wire(whole)
            if on_wire is not None:
                self._switch.send(self, on_wire)
        return bool(first & 1 << 7)

    def _gather(self, wqe: Wqe) -> bytearray:
        """:raises _Dropped: memory that is not the guest's to give, or too much of it"""
        assert self.resources is not None
        if sum(size for _, _, size in wqe.sgl) > MAX_TX_LENGTH:
            raise _Dropped(CQE_TX_MTU_DROP, "tx_err_mtu_violation")
        frame = bytearray()
        try:
            for address, size in self._extents(wqe, write=False):
                frame += self.resources.memory.read(address, size)
        except DmaError as error:
            raise _Dropped(CQE_TX_INVALID_OOB, "tx_err_gdma") from error
        return frame

    def _extents(self, wqe: Wqe, write: bool) -> list[Extent]:
        """:raises DmaError: an entry's key does not allow this access"""
        assert self.resources is not None
        found: list[Extent] = []
        for address, mem_key, size in wqe.sgl:
            key = self.resources.key(mem_key)
            if key is None:
                raise DmaError(address, size, f"memory key {mem_key}")
            found += key.extents(address, size, write)
        return found

    def _check(self, frame: bytearray, segmented: bool) -> None:
        """:raises _Dropped: a frame that Azure would not let out"""
        if len(frame) < MIN_TX_LENGTH:
            raise _Dropped(CQE_TX_INVALID_ETH_TYPE, "tx_err_ethtype_enforcement")
        if not segmented and len(frame) > self._max_frame + VLAN_HLEN:
            raise _Dropped(CQE_TX_MTU_DROP, "tx_err_mtu_violation")
        if self._enforce_source and frame[6:12] != self.mac:
            raise _Dropped(CQE_TX_SA_DROP, "tx_err_SA_enforcement")

    # From the wire to the guest

    def receive(self, frame: bytes) -> None:
        """Port: a frame from the wire. One for another MAC address is not the port's: MANA knows no promiscuous mode; nor is
        one that is too long, as links may bring."""
        if (is_unicast(frame) and frame[:6] != self.mac) or len(frame) > self._max_frame + VLAN_HLEN:
            return
        if not self.rx_enabled or not self.link or self.resources is None:
            self.statistics.rx_err_vport_disabled += 1
            return
        untagged, tci = pop_vlan(frame)
        parsed = parse(untagged)
        value, hash_type = 0, 0
        if self._toeplitz is not None and self.rss_enabled:
            value, hash_type = self._toeplitz.hash(untagged, parsed)
        rq = self._queue_for(value, hash_type)
        if rq is None:
            self.statistics.rx_err_vport_disabled += 1
            return
        flags = hash_type << _RX_HASHTYPE_SHIFT
        if tci is not None:
            flags |= tci & 0xFFF | _RX_VLANTAG_PRESENT
        flags |= _RX_ALL_GOOD if self._faults.lie_checksum else _checksum_flags(untagged, parsed)
        try:
            self._deliver(rq, untagged, flags, value, frame)
        except (QueueError, DmaError):
            # There is nobody to tell: the queue that would tell is what is broken. Hardware stops such a queue too.
            rq.failed = True
            self.statistics.rx_discards_nowqe += 1

    def _deliver(self, rq: WorkQueue, untagged: bytes, flags: int, value: int, frame: bytes) -> None:
        """:raises QueueError, DmaError: the receive queue, one of its buffers or its completion queue is broken"""
        wqe = rq.take()
        if wqe is None:
            self.statistics.rx_discards_nowqe += 1
            return
        assert self.resources is not None
        rest = memoryview(untagged)
        for address, size in self._extents(wqe, write=True):
            if not rest:
                break
            self.resources.memory.write(address, rest[:size])
            rest = rest[size:]
        cqe_type = CQE_RX_TRUNCATED if rest else CQE_RX_OKAY
        self.statistics.count("rx", frame)
        rq.completions.post(_RX_COMPLETION.pack(cqe_type | _CLIENT, flags, len(untagged), 0, 0, value, wqe.offset), rq.number, False)

    def _queue_for(self, value: int, hash_type: int) -> WorkQueue | None:
        handle = self.default_rxobj
        if hash_type and self.indirection:
            handle = self.indirection[value & (len(self.indirection) - 1)]
        found = None if handle is None else self.objects.get(handle)
        return found[1] if found is not None and found[0] == GDMA_RQ else None

    def fence(self, rq: WorkQueue) -> None:
        """MANA_FENCE_RQ: tells the driver that no frame will come that is older than this.

        :raises DmaError: the completion queue is no longer the guest's memory
        """
        rq.completions.post(_RX_COMPLETION.pack(CQE_RX_OBJECT_FENCE | _CLIENT, 0, 0, 0, 0, 0, 0), rq.number, False)

    def send_queues(self) -> list[WorkQueue]:
        return [queue for kind, queue in self.objects.values() if kind == GDMA_SQ]


def _tci(long_first: int) -> int:
    """The tag of the long out-of-band data: pcp, dei and vlan_id begin with the lowest bits there, with the highest on the wire."""
    return (long_first >> 16 & 7) << 13 | (long_first >> 19 & 1) << 12 | long_first >> 20


def _checksum_flags(frame: bytes, parsed: Frame) -> int:
    verdict = verify(frame, parsed)
    flags = 0
    if verdict.ip is not None:
        flags |= _RX_IPHDR_CSUM_SUCCEED if verdict.ip else _RX_IPHDR_CSUM_FAIL
    elif parsed.ip_version == 6 and (verdict.tcp is not None or verdict.udp is not None):
        flags |= _RX_IPHDR_CSUM_SUCCEED  # IPv6 has none that could fail; Linux wants this bit beside that of TCP or UDP
    if verdict.tcp is not None:
        flags |= _RX_TCP_CSUM_SUCCEED if verdict.tcp else _RX_TCP_CSUM_FAIL
    if verdict.udp is not None:
        flags |= _RX_UDP_CSUM_SUCCEED if verdict.udp else _RX_UDP_CSUM_FAIL
    return flags
