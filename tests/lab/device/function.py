# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One MANA PCI function: configuration space, registers and doorbells in BAR 0, and all that lies behind them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from lab.net.switch import Switch

from .faults import Faults
from .gdma import Gdma
from .gdma_defs import (
    DOORBELL_OFFSET_CQ,
    DOORBELL_OFFSET_EQ,
    DOORBELL_OFFSET_RQ,
    DOORBELL_OFFSET_SQ,
    GDMA_DEVICE_MANA,
    GDMA_DEVICE_MANA_IB,
    GDMA_DRV_CAP_FLAG_1_HW_VPORT_LINK_AWARE,
    GDMA_DRV_CAP_FLAG_1_SELF_RESET_ON_EQE,
    GDMA_REG_DB_PAGE_OFFSET,
    GDMA_REG_DB_PAGE_SIZE,
    GDMA_REG_SHM_OFFSET,
    MANA_PAGE_SIZE,
    STATUS_INVALID_PARAMETER,
    gdma_req_hdr,
)
from .guest_memory import DmaError, GuestMemory
from .hw_channel import Answer, HwChannel
from .interrupts import Interrupts, MsixBar
from .mana import Mana
from .mana_ib import ManaIb
from .pci import ConfigSpace
from .queues import QueueError, WorkQueue
from .resources import GPA_MKEY, MAX_CQS, SQ_NUMBER_SHIFT, Refused, Resources
from .shm_channel import SMC_APERTURE_SIZE, EstablishHwc, SharedMemoryChannel
from .vfio_user import Bar
from .vport import VPort

BAR0_SIZE = 1 << 20
DOORBELLS = 0x1000  # offset in BAR 0 of doorbell page 0
SHARED_MEMORY = 0x100  # offset in BAR 0 of the shared-memory channel
DOORBELL_PAGES = (BAR0_SIZE - DOORBELLS) // MANA_PAGE_SIZE
MSIX_BAR = 2
HWC_PDID = 0
ADAPTER_MTU = 9014  # 9000 and the Ethernet header

Trace = Callable[[dict[str, Any]], None]
"""Takes what is worth a line in the log."""


@dataclasses.dataclass(frozen=True)
class FunctionConfig:
    """What a function is like."""

    macs: tuple[bytes, ...]
    """One vPort for each."""
    max_queues: int = 16
    """Send queues, and receive queues, of a vPort."""
    msix_vectors: int = 64
    adapter_mtu: int = ADAPTER_MTU
    """Bytes of the largest frame, without VLAN tag and FCS."""
    enforce_source_mac: bool = True
    """Drop frames whose source address is not the vPort's, as Azure does."""
    rdma: bool = True
    """Offer the RDMA device, which mana_ib binds to."""
    hwc_timeout_ms: int = 30_000
    """How long a driver that asks is to wait for answers."""


class Function:
    """Implements lab.device.vfio_user.Device."""

    def __init__(self, config: FunctionConfig, switch: Switch, trace: Trace = lambda event: None) -> None:
        self._trace = trace
        self.memory = GuestMemory()
        self.interrupts = Interrupts(config.msix_vectors)
        self.faults = Faults()
        self.vports = [
            VPort(index, mac, switch, self.faults, config.adapter_mtu, config.enforce_source_mac) for index, mac in enumerate(config.macs)
        ]
        self.mana = Mana(self.vports, config.max_queues, config.adapter_mtu)
        self.mana_ib = ManaIb()
        clients = {GDMA_DEVICE_MANA: self.mana.requests}
        if config.rdma:
            clients[GDMA_DEVICE_MANA_IB] = self.mana_ib.requests
        self.gdma = Gdma(clients, config.max_queues, config.hwc_timeout_ms)
        self.problems: dict[str, int] = {}
        self.hwc: HwChannel | None = None
        self._resources = self._new_resources()
        self._msix_bar = msix_bar = MsixBar(self.interrupts)
        self.bars: Mapping[int, Bar] = {0: _Registers(self), MSIX_BAR: msix_bar}
        self.config = ConfigSpace(
            {index: bar.size for index, bar in self.bars.items()},
            msix_vectors=config.msix_vectors,
            msix_table=(MSIX_BAR, 0),
            msix_pba=(MSIX_BAR, msix_bar.pba_offset),
        )
        self.shm_channel = SharedMemoryChannel(self._establish_hwc, self._destroy_hwc)

    def _new_resources(self) -> Resources:
        return Resources(self.memory, self.interrupts, DOORBELL_PAGES)

    def reset(self) -> None:
        """Device: a reset of the PCI function, or the end of its client."""
        self._destroy_hwc()
        self.shm_channel.reset()
        self._msix_bar.reset()

    def problem(self, what: str, why: object) -> None:
        """Count, and write to the log, something that a right driver does not do."""
        self.problems[what] = self.problems.get(what, 0) + 1
        self._trace({"problem": what, "why": str(why)})

    # The hardware channel

    def _establish_hwc(self, asked: EstablishHwc) -> bool:
        if self.faults.refuse_hwc:
            return False
        self._destroy_hwc()
        resources = self._resources
        try:
            channel = HwChannel(
                self.memory,
                asked,
                (resources.eqs.number(), resources.cqs.number(), resources.rqs.number(), resources.sqs.number() << SQ_NUMBER_SHIFT),
                resources.interrupt(asked.msix_index),
                self._request,
            )
            resources.add_hwc(channel.eq, channel.cq, channel.rq, channel.sq)
            channel.sq.on_ring = channel.rq.on_ring = channel.run
            channel.announce(MAX_CQS, HWC_PDID, GPA_MKEY)
        except (Refused, ValueError, DmaError) as error:
            self.problem("establish_hwc", error)
            self._resources = self._new_resources()
            return False
        self.hwc = channel
        self._trace({"event": "hwc_established"})
        return True

    def _destroy_hwc(self) -> bool:
        """Everything that was made through the channel goes with it."""
        self.hwc = None
        self.gdma.reset()
        self.mana.reset()
        self.mana_ib.reset()
        self._resources = self._new_resources()
        return True

    def set_link(self, vport: int, up: bool) -> bool:
        """Take the wire out of a vPort, or put it in again. Returns whether the driver was told.

        It is told when the first of all vPorts gets its wire and when the last loses it, because the event names none; and
        only if it said that it knows the event.

        :raises DmaError: the event queue is not in the guest's memory
        """
        before = any(each.link for each in self.vports)
        self.vports[vport].link = up
        after = any(each.link for each in self.vports)
        if self.hwc is None or not self._driver_can(GDMA_DRV_CAP_FLAG_1_HW_VPORT_LINK_AWARE) or before == after:
            return False
        self.hwc.link_changed(after)
        return True

    def request_reset(self) -> bool:
        """Ask the driver to reset the function. Returns whether it said that it would; another goes on as before.

        :raises ValueError: no driver has established a hardware channel
        :raises DmaError: the event queue is not in the guest's memory
        """
        if self.hwc is None:
            raise ValueError("no driver has established a hardware channel")
        obeyed = self._driver_can(GDMA_DRV_CAP_FLAG_1_SELF_RESET_ON_EQE)
        self.hwc.request_reset(obeyed)
        return obeyed

    def _driver_can(self, flag: int) -> bool:
        """Whether the driver announced this in gd_drv_cap_flags1."""
        return bool(self.gdma.driver.get("capabilities", 0) & flag)

    def _request(self, header: gdma_req_hdr, body: bytes) -> Answer | None:
        message = header.req_msg_type
        answer: Answer | None
        if self.faults.lose_request(message):
            answer = None
        elif self.faults.refuse_request(message):
            answer = STATUS_INVALID_PARAMETER, b""
        else:
            answer = self.gdma.handle(self._resources, header, body)
        status = None if answer is None else answer[0]
        self._trace({"event": "request", "time": time.time(), "type": message, "device": header.dev_type, "status": status})
        return answer

    # Doorbells

    def doorbell(self, offset: int, value: int) -> None:
        """A 64-bit write at an offset within the doorbell pages."""
        page, kind = divmod(offset, MANA_PAGE_SIZE)
        resources = self._resources
        try:
            if kind in (DOORBELL_OFFSET_SQ, DOORBELL_OFFSET_RQ):
                number = value & 0xFFFFFF
                work = resources.sqs.find(number >> SQ_NUMBER_SHIFT) if kind == DOORBELL_OFFSET_SQ else resources.rqs.find(number)
                if work is None or work.number != number or work.doorbell_page != page:
                    raise QueueError(f"work queue {number} rung at doorbell page {page}")
                self._ring(work, value >> 32)
            elif kind in (DOORBELL_OFFSET_CQ, DOORBELL_OFFSET_EQ):
                is_cq = kind == DOORBELL_OFFSET_CQ
                number = value & (0xFFFFFF if is_cq else 0xFFFF)
                queue = resources.cqs.find(number) if is_cq else resources.eqs.find(number)
                if queue is None or queue.doorbell_page != page:
                    raise QueueError(f"{'completion' if is_cq else 'event'} queue {number} rung at doorbell page {page}")
                queue.ring(value >> 32 & 0x7FFFFFFF, bool(value >> 63))
            else:
                raise QueueError(f"doorbell at offset {kind:#x}")
        except (QueueError, DmaError) as error:
            self.problem("doorbell", error)

    def _ring(self, work: WorkQueue, tail: int) -> None:
        """:raises QueueError, DmaError: the queue is broken; it takes no more"""
        try:
            work.ring(tail)
            work.on_ring()
        except (QueueError, DmaError):
            work.failed = True
            raise


class _Registers:
    """BAR 0. Implements lab.device.vfio_user.Bar."""

    size = BAR0_SIZE

    def __init__(self, function: Function) -> None:
        self._function = function
        page = bytearray(DOORBELLS)
        page[GDMA_REG_DB_PAGE_OFFSET : GDMA_REG_DB_PAGE_OFFSET + 8] = DOORBELLS.to_bytes(8, "little")
        page[GDMA_REG_DB_PAGE_SIZE : GDMA_REG_DB_PAGE_SIZE + 4] = MANA_PAGE_SIZE.to_bytes(4, "little")
        page[GDMA_REG_SHM_OFFSET : GDMA_REG_SHM_OFFSET + 8] = SHARED_MEMORY.to_bytes(8, "little")
        self._page = bytes(page)

    def read(self, offset: int, count: int) -> bytes:
        if SHARED_MEMORY <= offset and offset + count <= SHARED_MEMORY + SMC_APERTURE_SIZE:
            return self._function.shm_channel.read(offset - SHARED_MEMORY, count)
        return self._page[offset : offset + count].ljust(count, b"\0")  # doorbells read as zero

    def write(self, offset: int, data: bytes) -> None:
        if offset >= DOORBELLS and len(data) == 8:
            self._function.doorbell(offset - DOORBELLS, int.from_bytes(data, "little"))
        elif SHARED_MEMORY <= offset and offset + len(data) <= SHARED_MEMORY + SMC_APERTURE_SIZE:
            self._function.shm_channel.write(offset - SHARED_MEMORY, data)
        else:
            self._function.problem("register", f"write of {len(data)} bytes at {offset:#x}")
