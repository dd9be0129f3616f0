# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small GDMA driver: does on the client's side of vfio-user what Linux' gdma_main.c, hw_channel.c and shm_channel.c do.

It is stricter than Linux: what Linux only warns about, or does not look at, is a Violation here. Structures are written out
once more from the headers of Linux 6.12 (include/net/mana), and not taken from lab.device, so that a wrong layout is found.

The device server handles a register access before it replies. So everything that a doorbell causes has happened when the
doorbell returns: there is nothing to wait for, and nothing here sleeps.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from vfio_client import Client

PAGE = 4096
BAR = 0

# Doorbells within a page
DB_SQ, DB_RQ, DB_CQ, DB_EQ = 0x0, 0x400, 0x800, 0xFF8

SQ, RQ, CQ, EQ = 1, 2, 3, 4  # enum gdma_queue_type
DEV_NONE, DEV_HWC, DEV_MANA, DEV_MANA_IB = (0, 0), (1, 0), (2, 1), (3, 1)
MORE_ENTRIES = 0x105
UNSUPPORTED = 0xFFFFFFFF
OOB_IN_SGL = 1 << 11  # bit of the second dword of struct gdma_wqe
NO_EQ = 0xFFFF

VERIFY_VF_DRIVER_VERSION = 1
QUERY_MAX_RESOURCES = 2
LIST_DEVICES = 3
REGISTER_DEVICE = 4
DEREGISTER_DEVICE = 5
GENERATE_TEST_EQE = 10
CREATE_QUEUE = 12
DISABLE_QUEUE = 13
ALLOCATE_RESOURCE_RANGE = 22
DESTROY_RESOURCE_RANGE = 24
CREATE_DMA_REGION = 25
DMA_REGION_ADD_PAGES = 26
DESTROY_DMA_REGION = 27
CREATE_PD = 29
DESTROY_PD = 30
CREATE_MR = 31
DESTROY_MR = 32
QUERY_HWC_TIMEOUT = 84

EQE_COMPLETION, EQE_TEST = 3, 64
EQE_INIT_EQ_ID_DB, EQE_INIT_DATA, EQE_INIT_DONE = 129, 130, 131

REQUEST_HEADER = 40
RESPONSE_HEADER = 32  # gdma_msg_hdr, dev_id, activity_id, status, reserved

Sge = tuple[int, int, int]
"""Address, memory key, size."""


class Violation(AssertionError):
    """The device has done something that a driver would stumble over."""


class TimedOut(Exception):
    """No answer has come, and none will."""


def check(right: bool, what: str) -> None:
    if not right:
        raise Violation(what)


class Ram:
    """The client's memory, given out a page at a time; addresses are DMA addresses."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._free: list[int] = []
        self._next = client.ram_address + PAGE  # the page at 0 stays unused: address 0 is never right

    def read(self, address: int, size: int) -> bytes:
        begin = address - self._client.ram_address
        assert 0 <= begin and begin + size <= self._client.ram_size
        return self._client.ram[begin : begin + size]

    def write(self, address: int, data: bytes) -> None:
        begin = address - self._client.ram_address
        assert 0 <= begin and begin + len(data) <= self._client.ram_size
        self._client.ram[begin : begin + len(data)] = data

    def alloc(self, size: int, align: int = PAGE) -> int:
        """Contiguous bytes, filled with zeros."""
        size = -(-size // PAGE) * PAGE
        if size == PAGE == align and self._free:
            address = self._free.pop()
            self.write(address, bytes(PAGE))
            return address
        address = -(-self._next // align) * align
        self._next = address + size
        assert self._next <= self._client.ram_address + self._client.ram_size, "the test needs more RAM"
        # Zeros already, unless a driver before this one has used the same memory: so only what is not zero costs a page.
        if any(self.read(address, size)):
            self.write(address, bytes(size))
        return address

    def alloc_scattered(self, size: int, page_size: int = PAGE) -> list[int]:
        """Pages of which no two neighbours are neighbours in memory."""
        pages = []
        for _ in range(size // page_size):
            pages.append(self.alloc(page_size, page_size))
            self.alloc(PAGE)
        return pages[::-1]

    def free(self, pages: Sequence[int]) -> None:
        self._free += pages


class Memory:
    """Bytes of a queue or of a buffer: pages that may be anywhere."""

    def __init__(self, ram: Ram, pages: list[int], page_size: int = PAGE) -> None:
        self.ram = ram
        self.pages = pages
        self.page_size = page_size
        self.size = len(pages) * page_size

    @classmethod
    def contiguous(cls, ram: Ram, size: int) -> Memory:
        base = ram.alloc(size)
        return cls(ram, list(range(base, base + size, PAGE)))

    @classmethod
    def scattered(cls, ram: Ram, size: int) -> Memory:
        return cls(ram, ram.alloc_scattered(size))

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from offset on, modulo the size."""
        return b"".join(self.ram.read(address, count) for address, count in self._pieces(offset, size))

    def write(self, offset: int, data: bytes) -> None:
        done = 0
        for address, count in self._pieces(offset, len(data)):
            self.ram.write(address, data[done : done + count])
            done += count

    def _pieces(self, offset: int, size: int) -> list[tuple[int, int]]:
        pieces = []
        while size:
            page, within = divmod(offset % self.size, self.page_size)
            count = min(size, self.page_size - within)
            pieces.append((self.pages[page] + within, count))
            offset += count
            size -= count
        return pieces


@dataclasses.dataclass
class Event:
    """One entry of an event queue."""

    type: int
    details: bytes


@dataclasses.dataclass
class Completion:
    """One entry of a completion queue."""

    data: bytes
    wq_num: int
    is_sq: bool


class _OwnedRing:
    """mana_gd_process_eq_events and mana_gd_read_cqe: head counts entries and begins one round ahead."""

    def __init__(self, driver: MiniDriver, memory: Memory, entry_size: int, doorbell_page: int, doorbell: int, name: str) -> None:
        self.driver = driver
        self.memory = memory
        self.entry_size = entry_size
        self.entries = memory.size // entry_size
        self.head = self.entries
        self.id = -1
        self.doorbell_page = doorbell_page
        self._doorbell = doorbell
        self.name = name

    def pop(self) -> bytes | None:
        """The next entry without its last dword checked for anything but the owner bits."""
        raw = self.memory.read(self.head % self.entries * self.entry_size, self.entry_size)
        owner = raw[-1] >> 5
        if owner == (self.head // self.entries - 1) & 7:
            return None
        check(owner == self.head // self.entries & 7, f"{self.name} {self.id}: owner bits {owner} at head {self.head}: overflow")
        self.head += 1
        return raw

    def is_empty(self) -> bool:
        raw = self.memory.read(self.head % self.entries * self.entry_size, self.entry_size)
        return raw[-1] >> 5 == (self.head // self.entries - 1) & 7

    def ring(self, arm: bool, *, head: int | None = None) -> None:
        tail = (self.head if head is None else head) % (self.entries << 3)
        self.driver.doorbell(self.doorbell_page, self._doorbell, self.id | tail << 32 | arm << 63)


class Eq(_OwnedRing):
    def __init__(self, driver: MiniDriver, memory: Memory, doorbell_page: int, vector: int) -> None:
        super().__init__(driver, memory, 16, doorbell_page, DB_EQ, "EQ")
        self.vector = vector

    def poll(self, limit: int) -> list[Event]:
        events: list[Event] = []
        while len(events) < limit and (raw := self.pop()) is not None:
            info = int.from_bytes(raw[12:], "little")
            check(not info & 0x1FFFFF00, f"EQ {self.id}: reserved bits in {info:#x}")
            events.append(Event(info & 0xFF, raw[:12]))
        return events


class Cq(_OwnedRing):
    def __init__(self, driver: MiniDriver, memory: Memory, doorbell_page: int) -> None:
        super().__init__(driver, memory, 64, doorbell_page, DB_CQ, "CQ")
        self.callback: Callable[[], None] = lambda: check(False, f"event for CQ {self.id}, which nobody waits for")

    def poll(self, limit: int = 1 << 30) -> list[Completion]:
        found: list[Completion] = []
        while len(found) < limit and (raw := self.pop()) is not None:
            info = int.from_bytes(raw[60:], "little")
            check(not info >> 25 & 0xF, f"CQ {self.id}: reserved bits in {info:#x}")
            found.append(Completion(raw[:60], info & 0xFFFFFF, bool(info >> 24 & 1)))
        return found


class Wq:
    """mana_gd_post_work_request: head and tail count basic units of 32 bytes and are never wrapped but by 32 bits."""

    def __init__(self, driver: MiniDriver, memory: Memory, doorbell_page: int, is_sq: bool) -> None:
        self.driver = driver
        self.memory = memory
        self.id = -1
        self.head = 0
        self.tail = 0
        self.doorbell_page = doorbell_page
        self.is_sq = is_sq

    @property
    def available(self) -> int:
        """Bytes that can be posted."""
        used = (self.head - self.tail) * 32
        check(0 <= used <= self.memory.size, f"WQ {self.id}: {used} bytes used of {self.memory.size}")
        return self.memory.size - used

    def post(self, sgl: Sequence[Sge], oob: bytes = bytes(8), *, oob_in_sgl: bool = False, data_unit: int = 0) -> int:
        """Write an entry; returns its size in basic units. Nothing is rung."""
        flags = len(sgl) | len(oob) // 4 << 8 | (OOB_IN_SGL if oob_in_sgl else 0) | data_unit << 16
        last_vbytes = sgl[0][2] & 0xFF if oob_in_sgl else 0
        raw = struct.pack("<II", last_vbytes << 24, flags) + oob + b"".join(struct.pack("<QII", *sge) for sge in sgl)
        units = -(-len(raw) // 32)
        assert units * 32 <= self.available, "flow control"
        self.memory.write(self.head * 32, raw)
        self.head += units
        return units

    def post_raw(self, raw: bytes) -> None:
        """Write what may be no entry at all."""
        self.memory.write(self.head * 32, raw)
        self.head += -(-len(raw) // 32)

    def ring(self, *, tail: int | None = None) -> None:
        """tail: another count of bytes than the right one."""
        value = (self.head * 32 if tail is None else tail) & 0xFFFFFFFF
        self.driver.doorbell(self.doorbell_page, DB_SQ if self.is_sq else DB_RQ, self.id | value << 32)


class MiniDriver:
    """One function and, once established, its hardware channel. Requests of all clients go through `request`."""

    def __init__(self, client: Client) -> None:
        """Read the registers (mana_gd_init_vf_regs)."""
        self.client = client
        self.ram = Ram(client)
        self.db_page_size = client.read32(BAR, 0x10) & 0xFFFF
        self.db_page_base = client.read64(BAR, 0x08)
        self.shm_base = client.read64(BAR, 0x18)
        check(self.db_page_size == PAGE, f"doorbell pages of {self.db_page_size} bytes")
        self.eqs: list[Eq] = []
        self.cqs: dict[int, Cq] = {}
        self.events: list[tuple[int, Event]] = []
        """(event queue, event) of what is neither a completion nor known."""
        self.tests: list[int] = []
        """Event queues that have got a test event."""
        self.max_num_cqs = 0
        self.established = False
        self._activity = itertools.count(1)
        self._message = itertools.count(0)
        self._hwc_memory: list[Memory] = []

    # Registers

    def doorbell(self, page: int, offset: int, value: int) -> None:
        self.client.write64(BAR, self.db_page_base + page * self.db_page_size + offset, value & (1 << 64) - 1)

    def smc(self, message_type: int, payload: bytes = bytes(28), *, only_header: bool = False) -> int:
        """Ask through the shared-memory channel; returns the status of the answer."""
        self._smc_owned()
        if not only_header:
            for at in range(0, 28, 4):
                self.client.region_write(BAR, self.shm_base + at, payload[at : at + 4])
        self.client.write32(BAR, self.shm_base + 28, message_type)
        header = self._smc_owned()
        check(header & 7 == message_type and header >> 3 & 7 == 0, f"answer {header:#x} to request {message_type}")
        check(bool(header >> 7 & 1), f"answer {header:#x} is no response")
        return header >> 8 & 0xFF

    def _smc_owned(self) -> int:
        header = self.client.read32(BAR, self.shm_base + 28)
        check(not header >> 31, f"the device keeps the shared memory: {header:#x}")
        return header

    # The hardware channel

    def hwc_payload(self, queues: Sequence[int], vector: int = 0) -> bytes:
        """mana_smc_setup_hwc: four page frame numbers (event, completion, receive, send queue) and the vector."""
        frames = [address >> 12 for address in queues]
        high = sum((frame >> 48) << 4 * n for n, frame in enumerate(frames))
        return b"".join((frame & (1 << 48) - 1).to_bytes(6, "little") for frame in frames) + struct.pack("<HH", high, vector)

    def establish(self, vector: int = 0) -> None:
        """mana_hwc_create_channel. Raises Violation if the device refuses."""
        memory = [Memory.contiguous(self.ram, PAGE) for _ in range(6)]
        self._hwc_memory = memory
        self.hwc_eq = Eq(self, memory[0], -1, vector)
        self.hwc_cq = Cq(self, memory[1], -1)
        self.hwc_rq = Wq(self, memory[2], -1, False)
        self.hwc_sq = Wq(self, memory[3], -1, True)
        self._rx_buffer, self._tx_buffer = memory[4].pages[0], memory[5].pages[0]
        self.eqs = [self.hwc_eq]
        self.cqs = {}
        self._response: bytes | None = None
        self._sent: list[int] = []
        status = self.smc(1, self.hwc_payload([m.pages[0] for m in memory[:4]], vector))
        check(status == 0, f"establish: status {status}")
        self._init = dict.fromkeys(range(1, 10), -1)
        self._init_state = 0
        check(self.client.interrupts(vector) > 0, "no interrupt for the channel's first events")
        # Nothing can be rung before the first event has told the doorbell page: so all are read in one go, as Linux' first
        # interrupt does after its first five.
        self._read_eq(self.hwc_eq)
        check(self._init_state == 3, "the channel's events have not come")
        self.established = True
        self.interrupt()
        self.post_hwc_buffer()

    def destroy(self) -> None:
        """mana_hwc_destroy_channel."""
        status = self.smc(2, only_header=True)
        check(status == 0, f"destroy: status {status}")
        self.established = False
        for memory in self._hwc_memory:
            self.ram.free(memory.pages)
        self._hwc_memory = []
        self.eqs, self.cqs = [], {}

    def _on_init(self, event: Event) -> None:
        (value,) = struct.unpack_from("<I", event.details)
        if event.type == EQE_INIT_EQ_ID_DB:
            check(self._init_state == 0, "a second INIT_EQ_ID_DB")
            self.hwc_eq.id = value & 0xFFFF
            for queue in (self.hwc_eq, self.hwc_cq, self.hwc_rq, self.hwc_sq):
                queue.doorbell_page = value >> 16
            self._init_state = 1
        elif event.type == EQE_INIT_DATA:
            check(self._init_state == 1, "INIT_DATA out of turn")
            kind = value >> 24
            check(self._init.get(kind) == -1, f"INIT_DATA of type {kind}")
            self._init[kind] = value & 0xFFFFFF
        else:
            check(self._init_state == 1 and -1 not in self._init.values(), f"INIT_DONE too early: {self._init}")
            self._init_state = 3
            self.hwc_cq.id, self.hwc_rq.id, self.hwc_sq.id = (self._init[n] for n in (1, 2, 3))
            self.queue_depth, self.max_request, self.max_response, self.max_num_cqs = (self._init[n] for n in (4, 5, 6, 7))
            self.hwc_pdid, self.hwc_mkey = self._init[8], self._init[9]
            check(self.hwc_cq.id < self.max_num_cqs, "CQ id of the channel")
            self.hwc_cq.callback = self._on_hwc_completion
            self.cqs[self.hwc_cq.id] = self.hwc_cq

    def post_hwc_buffer(self) -> None:
        self.hwc_rq.post([(self._rx_buffer, self.hwc_mkey, 4096)])
        self.hwc_rq.ring()

    def _on_hwc_completion(self) -> None:
        found = self.hwc_cq.poll(2)
        check(bool(found), "event for the channel's CQ, which has no entries")
        for completion in found:
            (_, _, _, offset, high, _, size, _) = struct.unpack_from("<8I", completion.data)
            check(high == 0, "wqe_addr_high")
            if completion.is_sq:
                check(completion.wq_num == self.hwc_sq.id, f"completion of SQ {completion.wq_num}")
                check(offset == self.hwc_sq.tail * 32 & 0xFFFFFFFF, f"send completion at {offset}")
                check(bool(self._sent), "a completion of nothing that was sent")
                self.hwc_sq.tail += self._sent.pop(0)
            else:
                check(completion.wq_num == self.hwc_rq.id, f"completion of RQ {completion.wq_num}")
                header = self.hwc_rq.memory.read(offset, 16)
                (address,) = struct.unpack("<Q", self.hwc_rq.memory.read(offset + 8 + (header[5] & 7) * 4, 8))
                check(address == self._rx_buffer, f"answer for the buffer at {address:#x}")
                check(self._response is None, "two answers")
                check(offset == self.hwc_rq.tail * 32 & 0xFFFFFFFF, f"receive completion at {offset}")
                self.hwc_rq.tail += 1
                self._response = self.ram.read(self._rx_buffer, size)
                self.ram.write(self._rx_buffer, bytes(4096))
                self.post_hwc_buffer()
        self.hwc_cq.ring(True)

    def post_request(self, message: bytes) -> None:
        """Put bytes on the channel, as they are."""
        self.ram.write(self._tx_buffer, message)
        oob = struct.pack("<IIIIII", 0, 0, 0, 0, self.hwc_cq.id, self.hwc_sq.id)
        self._sent.append(self.hwc_sq.post([(self._tx_buffer, self.hwc_mkey, len(message))], oob))
        self.hwc_sq.ring()

    def request(
        self,
        message_type: int,
        body: bytes = b"",
        *,
        dev: tuple[int, int] = DEV_NONE,
        answer: int = 0,
        version: int = 1,
        response_version: int = 1,
        says: int | None = None,
    ) -> tuple[int, bytes]:
        """Ask, and return the status and what follows gdma_resp_hdr, `answer` bytes.

        says: a message size for the header other than the true one.

        Raises TimedOut if there is no answer, Violation if it is not what was asked for.
        """
        activity, message_id = next(self._activity), next(self._message) & 0xFFFF
        size = 32 + answer
        header = struct.pack("<IIHHI", 0, message_type, version, message_id, REQUEST_HEADER + len(body) if says is None else says)
        header += struct.pack("<IIHHI", 0, message_type, response_version, 0, size)
        header += struct.pack("<HHI", *dev, activity)
        assert len(header) == REQUEST_HEADER
        self._response = None
        self.post_request(header + body)
        self.interrupt()
        if self._response is None:
            raise TimedOut(f"request {message_type:#x}")
        response, self._response = self._response, None
        check(len(response) >= 32, f"answer of {len(response)} bytes")
        hdr_type, msg_type, msg_version, msg_id, msg_size, dev_type, instance, got_activity, status, reserved = struct.unpack_from(
            "<IIHHIHHIII", response
        )
        check(len(response) == msg_size == size, f"answer of {len(response)} bytes that says {msg_size}, asked for {size}")
        check((hdr_type, msg_type, reserved) == (0, message_type, 0), f"answer to {msg_type:#x}, asked {message_type:#x}")
        check(msg_version >= response_version, f"answer of version {msg_version}")
        check(msg_id == message_id, f"answer to message {msg_id}, not {message_id}")
        check((dev_type, instance) == dev and got_activity == activity, "answer for another device or activity")
        return status, response[32:]

    def ask(self, message_type: int, body: bytes = b"", layout: str = "", **options: Any) -> tuple[Any, ...]:
        """A request that must succeed; its answer unpacked."""
        status, data = self.request(message_type, body, answer=struct.calcsize("<" + layout), **options)
        check(status == 0, f"request {message_type:#x}: status {status:#x}")
        return struct.unpack("<" + layout, data)

    def refused(self, message_type: int, body: bytes = b"", answer: int = 8, **options: Any) -> int:
        """A request that must fail, with an empty answer; returns the status."""
        status, data = self.request(message_type, body, answer=answer, **options)
        check(status not in (0, MORE_ENTRIES), f"request {message_type:#x} was not refused")
        check(not any(data), f"request {message_type:#x} was refused, with data")
        return status

    # Interrupts

    def interrupt(self) -> int:
        """Do what the interrupts want that have come: mana_gd_intr. Returns how many event queues had something."""
        had = 0
        for _ in range(10_000):
            fired = [vector for vector in range(len(self.client.eventfds)) if self.client.interrupts(vector)]
            if not fired:
                break
            for vector in fired:
                for eq in [eq for eq in self.eqs if eq.vector == vector]:
                    had += self._process_eq(eq)
        else:
            raise Violation("the interrupts never end")
        for eq in self.eqs:
            check(eq.is_empty(), f"EQ {eq.id} has an event that no interrupt has told")
        return had

    def _process_eq(self, eq: Eq) -> bool:
        """Up to five events, then arm: mana_gd_process_eq_events. Without any nothing is rung."""
        events = eq.poll(5)
        for event in events:
            self._process_event(eq, event)
        if events:
            eq.ring(True)
        return bool(events)

    def _read_eq(self, eq: Eq) -> None:
        events = eq.poll(1 << 30)
        for event in events:
            self._process_event(eq, event)
        eq.ring(True)

    def _process_event(self, eq: Eq, event: Event) -> None:
        if event.type == EQE_COMPLETION:
            number = int.from_bytes(event.details[:4], "little") & 0xFFFFFF
            cq = self.cqs.get(number)
            check(cq is not None, f"event for CQ {number}, which there is not")
            assert cq is not None
            check(not cq.is_empty(), f"event for CQ {number}, which has no entries")
            cq.callback()
        elif event.type == EQE_TEST:
            self.tests.append(eq.id)
        elif event.type in (EQE_INIT_EQ_ID_DB, EQE_INIT_DATA, EQE_INIT_DONE):
            check(eq is self.hwc_eq, "an initial event in another queue")
            self._on_init(event)
        else:
            self.events.append((eq.id, event))

    # What every client needs

    def verify(self, flags: int = 0) -> int:
        """mana_gd_verify_vf_version; returns the device's first flags."""
        body = struct.pack("<QQ4QQIIIIII", 1, 1, flags, 0, 0, 0, 0, 0x10, 0, 6, 12, 1, 0) + bytes(8 + 4 * 128)
        version, flags1, *_ = self.ask(VERIFY_VF_DRIVER_VERSION, body, "5Q")
        check(version == 1, f"protocol {version}")
        return int(flags1)

    def register(self, dev: tuple[int, int] = DEV_MANA) -> tuple[int, int, int]:
        """Protection domain, memory key and doorbell page of a client."""
        pdid, mkey, doorbell = self.ask(REGISTER_DEVICE, b"", "III", dev=dev)
        return pdid, mkey, doorbell

    def region(self, memory: Memory, *, length: int | None = None, offset: int = 0, chunk: int = 400) -> int:
        """Make a DMA region, with as many messages as `chunk` pages in each need; returns its handle."""
        page_type = (memory.page_size // PAGE).bit_length() - 1
        pages, rest = memory.pages[:chunk], memory.pages[chunk:]
        body = struct.pack("<QIIII", memory.size if length is None else length, offset, page_type, len(memory.pages), len(pages))
        status, data = self.request(CREATE_DMA_REGION, body + struct.pack(f"<{len(pages)}Q", *pages), answer=8)
        check(status == (MORE_ENTRIES if rest else 0), f"CREATE_DMA_REGION: status {status:#x}, {len(rest)} pages left")
        handle = int.from_bytes(data, "little")
        check(handle != 0, "DMA region 0")
        while rest:
            pages, rest = rest[:chunk], rest[chunk:]
            body = struct.pack("<QII", handle, len(pages), 0) + struct.pack(f"<{len(pages)}Q", *pages)
            status, _ = self.request(DMA_REGION_ADD_PAGES, body)
            check(status == (MORE_ENTRIES if rest else 0), f"DMA_REGION_ADD_PAGES: status {status:#x}, {len(rest)} pages left")
        return handle

    def create_eq(self, memory: Memory, vector: int, *, pdid: int, doorbell_page: int, dev: tuple[int, int] = DEV_MANA) -> Eq:
        """mana_gd_create_mana_eq, with its test event."""
        handle = self.region(memory)
        body = queue_request(EQ, pdid, doorbell_page, handle, memory.size, vector)
        number: int
        (number,) = self.ask(CREATE_QUEUE, body, "I", dev=dev)
        eq = Eq(self, memory, doorbell_page, vector)
        eq.id = number
        check(number not in [other.id for other in self.eqs], f"a second EQ {number}")
        self.eqs.append(eq)
        self.test_eq(eq, dev=dev)
        return eq

    def test_eq(self, eq: Eq, dev: tuple[int, int] = DEV_MANA) -> None:
        """mana_gd_test_eq."""
        self.tests.clear()
        self.ask(GENERATE_TEST_EQE, struct.pack("<I", eq.id), dev=dev)
        check(self.tests == [eq.id], f"test events in {self.tests}, not in {eq.id}")

    def destroy_eq(self, eq: Eq, dev: tuple[int, int] = DEV_MANA) -> None:
        self.test_eq(eq, dev)
        self.ask(DISABLE_QUEUE, struct.pack("<III", EQ, eq.id, 1), dev=dev)
        self.eqs.remove(eq)


def queue_request(kind: int, pdid: int, doorbell_page: int, region: int, size: int, vector: int) -> bytes:
    """struct gdma_create_queue_req without its header."""
    return struct.pack("<IIIIQIIIIIIBBBBI", kind, 0, pdid, doorbell_page, region, 0, size, 3, vector, 0, 0, 0, 0, 0, 0, 0)
