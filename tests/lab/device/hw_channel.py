# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardware channel (HWC): how the driver sends requests to the device, and the device its answers.

One send and one receive queue of one page each with a common completion queue, agreed upon through the shared-memory
channel. The driver posts a request in the send queue; the device writes the answer into a buffer of the receive queue.
Source: Linux' hw_channel.c and hw_channel.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from .dma import DmaRegion
from .gdma_defs import (
    GDMA_EQE_HWC_INIT_DATA,
    GDMA_EQE_HWC_INIT_DONE,
    GDMA_EQE_HWC_INIT_EQ_ID_DB,
    GDMA_EQE_HWC_RESET_REQUEST,
    GDMA_EQE_HWC_SOC_RECONFIG_DATA,
    GDMA_MAX_RQE_SIZE,
    GDMA_MAX_SQE_SIZE,
    MANA_PAGE_SIZE,
    gdma_req_hdr,
    gdma_resp_hdr,
)
from .guest_memory import GuestMemory
from .queues import CompletionQueue, EventQueue, QueueError, WorkQueue
from .shm_channel import EstablishHwc

HWC_DOORBELL_PAGE = 0
HWC_QUEUE_DEPTH = 1
HWC_MAX_MESSAGE = 4096  # bytes, of requests and of responses

# What a GDMA_EQE_HWC_SOC_RECONFIG_DATA is about; the last two for drivers that announce HW_VPORT_LINK_AWARE, as Linux 7.3's.
HWC_DATA_CFG_HWC_TIMEOUT = 1
HWC_DATA_HW_LINK_CONNECT = 2
HWC_DATA_HW_LINK_DISCONNECT = 3

# hwc_init_type_data.type
_INIT_CQID, _INIT_RQID, _INIT_SQID, _INIT_QUEUE_DEPTH, _INIT_MAX_REQUEST, _INIT_MAX_RESPONSE, _INIT_MAX_NUM_CQS = range(1, 8)
_INIT_PDID, _INIT_GPA_MKEY = 8, 9

_RX_OOB = struct.Struct("<IIIIIIII")  # struct hwc_rx_oob
_TX_OOB = struct.Struct("<IIIIII")  # struct hwc_tx_oob
_U32 = struct.Struct("<I")

Answer = tuple[int, bytes]
"""Status and what follows gdma_resp_hdr."""
Handler = Callable[[gdma_req_hdr, bytes], Answer | None]
"""Takes a request's header and what follows it; None: a request that gets no answer."""


def _page(address: int) -> DmaRegion:
    return DmaRegion(MANA_PAGE_SIZE, 0, MANA_PAGE_SIZE, 1, [address])


def _type_data(kind: int, value: int) -> bytes:
    return _U32.pack(value & 0xFFFFFF | kind << 24)


class HwChannel:
    """An established channel. Its queues have numbers of their own, given by the caller's allocator."""

    def __init__(
        self,
        memory: GuestMemory,
        asked: EstablishHwc,
        numbers: tuple[int, int, int, int],
        interrupt: Callable[[], None],
        handler: Handler,
    ) -> None:
        """numbers: of the event, completion, receive and send queue.

        :raises ValueError: the addresses can hold no queues
        """
        self.eq_id, cq_id, rq_id, sq_id = numbers
        self._memory = memory
        self._handler = handler
        self.eq = EventQueue(memory, _page(asked.eq_address), interrupt, HWC_DOORBELL_PAGE)
        self.cq = CompletionQueue(memory, _page(asked.cq_address), cq_id, self.eq, HWC_DOORBELL_PAGE)
        self.rq = WorkQueue(memory, _page(asked.rq_address), rq_id, self.cq, HWC_DOORBELL_PAGE, GDMA_MAX_RQE_SIZE)
        self.sq = WorkQueue(memory, _page(asked.sq_address), sq_id, self.cq, HWC_DOORBELL_PAGE, GDMA_MAX_SQE_SIZE)
        self._answers: list[bytes] = []
        self._silent = False

    def announce(self, max_num_cqs: int, pdid: int, gpa_mkey: int) -> None:
        """Tell the driver what the channel is like: it waits for the last of these events."""
        self.eq.post(GDMA_EQE_HWC_INIT_EQ_ID_DB, _U32.pack(self.eq_id | HWC_DOORBELL_PAGE << 16))
        for kind, value in (
            (_INIT_CQID, self.cq.number),
            (_INIT_RQID, self.rq.number),
            (_INIT_SQID, self.sq.number),
            (_INIT_QUEUE_DEPTH, HWC_QUEUE_DEPTH),
            (_INIT_MAX_REQUEST, HWC_MAX_MESSAGE),
            (_INIT_MAX_RESPONSE, HWC_MAX_MESSAGE),
            (_INIT_MAX_NUM_CQS, max_num_cqs),
            (_INIT_PDID, pdid),
            (_INIT_GPA_MKEY, gpa_mkey),
        ):
            self.eq.post(GDMA_EQE_HWC_INIT_DATA, _type_data(kind, value))
        self.eq.post(GDMA_EQE_HWC_INIT_DONE)

    def reconfigure_timeout(self, milliseconds: int) -> None:
        """How long the driver is to wait for answers from now on."""
        self.eq.post(GDMA_EQE_HWC_SOC_RECONFIG_DATA, _type_data(HWC_DATA_CFG_HWC_TIMEOUT, milliseconds))

    def link_changed(self, up: bool) -> None:
        """Whether there is a wire from now on: of all vPorts, the event names none."""
        self.eq.post(GDMA_EQE_HWC_SOC_RECONFIG_DATA, _type_data(HWC_DATA_HW_LINK_CONNECT if up else HWC_DATA_HW_LINK_DISCONNECT, 0))

    def request_reset(self, obeyed: bool) -> None:
        """Ask the driver to reset the function; if it obeys, nothing is answered any more, as while Azure services the card."""
        self.eq.post(GDMA_EQE_HWC_RESET_REQUEST)
        self._silent = obeyed

    def run(self) -> None:
        """Take the requests that are posted, and deliver answers as far as there are buffers.

        :raises QueueError: an entry that is none
        :raises DmaError: memory that the guest does not give
        """
        while True:
            while self._answers and (buffer := self.rq.take()) is not None:
                self._deliver(self._answers.pop(0), buffer.offset, buffer.sgl)
            # An answer that waits for a buffer holds back the requests behind it: so a driver cannot pile them up here.
            if self._answers or (wqe := self.sq.take()) is None:
                return
            if not wqe.sgl or len(wqe.oob) < _TX_OOB.size:
                raise QueueError("request without data or out-of-band data")
            # The addresses are DMA addresses: this channel's gpa_mkey is the only key that it knows.
            message = b"".join(self._memory.read(address, min(size, HWC_MAX_MESSAGE)) for address, _, size in wqe.sgl)
            self.cq.post(_RX_OOB.pack(0, 0, 0, wqe.offset, 0, 0, 0, 0), self.sq.number, True)
            answer = self._answer(message)
            if answer is not None and not self._silent:
                self._answers.append(answer)

    def _answer(self, message: bytes) -> bytes | None:
        """:raises QueueError: a message that is too short for a header"""
        if len(message) < gdma_req_hdr.size():
            raise QueueError(f"request of {len(message)} bytes")
        header = gdma_req_hdr.parse(message)
        end = min(header.req_msg_size, len(message))
        answer = self._handler(header, message[gdma_req_hdr.size() : end])
        if answer is None:
            return None
        status, body = answer
        size = max(gdma_resp_hdr.size(), min(header.resp_msg_size, HWC_MAX_MESSAGE))
        response = gdma_resp_hdr(
            hdr_type=header.resp_hdr_type,
            msg_type=header.resp_msg_type,
            msg_version=header.resp_msg_version,
            hwc_msg_id=header.req_hwc_msg_id,
            msg_size=size,
            dev_type=header.dev_type,
            dev_instance=header.dev_instance,
            activity_id=header.activity_id,
            status=status,
        )
        # As long as was asked for: a driver that knows more fields than this device reads zeros there.
        return (bytes(response) + body)[:size].ljust(size, b"\0")

    def _deliver(self, answer: bytes, offset: int, sgl: list[tuple[int, int, int]]) -> None:
        rest = answer
        for address, _, size in sgl:
            self._memory.write(address, rest[:size])
            rest = rest[size:]
        self.cq.post(_RX_OOB.pack(0, 0, 0, offset, 0, 0, len(answer) - len(rest), 0), self.rq.number, False)
