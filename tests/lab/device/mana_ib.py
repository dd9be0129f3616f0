# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mana_ib, the RDMA client of GDMA, as far as raw-packet queue pairs need it: they are what DPDK uses.

A raw-packet queue pair is made of work queue objects of the Ethernet client (mana.py), protection domains and memory
regions (gdma.py). What is here lets the driver register its device. Connected queue pairs (RC, UD) are refused: the wire of
this lab carries Ethernet frames only. Source: mana_ib.h and main.c in Linux' drivers/infiniband/hw/mana.
"""

from __future__ import annotations

from .gdma_defs import GDMA_MAX_RQE_SIZE, GDMA_MAX_SQE_SIZE, STATUS_BUSY, STATUS_NOT_FOUND, gdma_req_hdr
from .resources import MAX_CQS, MAX_MRS, MAX_PDS, MAX_RQS, MAX_SQS, Refused, Request, Resources
from .wire import U8, U16, U32, U64, Mac, ShortMessage, Wire, wire

# enum mana_ib_command_code
MANA_IB_GET_ADAPTER_CAP = 0x30001
MANA_IB_CREATE_ADAPTER = 0x30002
MANA_IB_DESTROY_ADAPTER = 0x30003
MANA_IB_CONFIG_IP_ADDR = 0x30004
MANA_IB_CONFIG_MAC_ADDR = 0x30005
MANA_IB_CREATE_CQ = 0x30008
MANA_IB_DESTROY_CQ = 0x30009
MANA_IB_QUERY_VF_COUNTERS = 0x30022

ADDR_OP_ADD = 1
ADDR_OP_REMOVE = 2

MAX_QP_WR = 1024  # work requests of a queue
MAX_SEND_SGE = 30  # MAX_TX_WQE_SGL_ENTRIES
MAX_RECV_SGE = 15  # MAX_RX_WQE_SGL_ENTRIES
ADAPTER_HANDLE = 1
MAX_ADDRESSES = 1024


@wire
class mana_ib_query_adapter_caps_resp(Wire):
    max_sq_id: U32
    max_rq_id: U32
    max_cq_id: U32
    max_qp_count: U32
    max_cq_count: U32
    max_mr_count: U32
    max_pd_count: U32
    max_inbound_read_limit: U32
    max_outbound_read_limit: U32
    mw_count: U32
    max_srq_count: U32
    max_requester_sq_size: U32
    max_responder_sq_size: U32
    max_requester_rq_size: U32
    max_responder_rq_size: U32
    max_send_sge_count: U32
    max_recv_sge_count: U32
    max_inline_data_size: U32


@wire
class mana_rnic_create_adapter_req(Wire):
    notify_eq_id: U32
    reserved: U32
    feature_flags: U64


@wire
class mana_rnic_create_adapter_resp(Wire):
    adapter: U64


@wire
class mana_rnic_destroy_adapter_req(Wire):
    adapter: U64


@wire
class mana_rnic_config_addr_req(Wire):
    """Followed by an IPv4 or IPv6 address in 16 bytes."""

    adapter: U64
    op: U32
    sgid_type: U32


@wire
class mana_rnic_config_mac_addr_req(Wire):
    adapter: U64
    op: U32
    mac_addr: Mac
    reserved1: U16
    reserved2: U8


@wire
class mana_rnic_create_cq_req(Wire):
    adapter: U64
    gdma_region: U64
    eq_id: U32
    doorbell_page: U32


@wire
class mana_rnic_create_cq_resp(Wire):
    cq_handle: U64
    cq_id: U32
    reserved: U32


@wire
class mana_rnic_destroy_cq_req(Wire):
    adapter: U64
    cq_handle: U64


class ManaIb:
    """The RDMA client of one function: there may be one adapter, with addresses."""

    def __init__(self) -> None:
        self.adapter = False
        self.addresses: set[bytes] = set()
        self._cqs: set[int] = set()
        self.requests: dict[int, Request] = {
            MANA_IB_GET_ADAPTER_CAP: self._get_adapter_cap,
            MANA_IB_CREATE_ADAPTER: self._create_adapter,
            MANA_IB_DESTROY_ADAPTER: self._destroy_adapter,
            MANA_IB_CONFIG_IP_ADDR: self._config_ip_addr,
            MANA_IB_CONFIG_MAC_ADDR: self._config_mac_addr,
            MANA_IB_CREATE_CQ: self._create_cq,
            MANA_IB_DESTROY_CQ: self._destroy_cq,
            MANA_IB_QUERY_VF_COUNTERS: self._query_vf_counters,
        }

    def reset(self) -> None:
        self.adapter = False
        self.addresses.clear()
        self._cqs.clear()

    def _get_adapter_cap(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        return bytes(
            mana_ib_query_adapter_caps_resp(
                max_sq_id=MAX_SQS,
                max_rq_id=MAX_RQS,
                max_cq_id=MAX_CQS,
                max_qp_count=MAX_SQS,
                max_cq_count=MAX_CQS,
                max_mr_count=MAX_MRS,
                max_pd_count=MAX_PDS,
                max_requester_sq_size=MAX_QP_WR * GDMA_MAX_SQE_SIZE,
                max_responder_sq_size=MAX_QP_WR * GDMA_MAX_SQE_SIZE,
                max_requester_rq_size=MAX_QP_WR * GDMA_MAX_RQE_SIZE,
                max_responder_rq_size=MAX_QP_WR * GDMA_MAX_RQE_SIZE,
                max_send_sge_count=MAX_SEND_SGE,
                max_recv_sge_count=MAX_RECV_SGE,
            )
        )

    def _check_adapter(self, handle: int) -> None:
        """:raises Refused: there is no such adapter"""
        if not self.adapter or handle != ADAPTER_HANDLE:
            raise Refused(STATUS_NOT_FOUND, f"no adapter {handle}")

    def _create_adapter(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        resources.eqs.get(mana_rnic_create_adapter_req.parse(body).notify_eq_id)
        if self.adapter:
            raise Refused(STATUS_BUSY, "there is an adapter already")
        self.adapter = True
        return bytes(mana_rnic_create_adapter_resp(adapter=ADAPTER_HANDLE))

    def _destroy_adapter(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        self._check_adapter(mana_rnic_destroy_adapter_req.parse(body).adapter)
        for number in self._cqs:
            resources.cqs.pop(number)
        self.reset()
        return b""

    def _config_ip_addr(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_rnic_config_addr_req.parse(body)
        self._check_adapter(asked.adapter)
        address = body[mana_rnic_config_addr_req.size() :][:16]
        if len(address) < 16:
            raise ShortMessage(f"an IP address of {len(address)} bytes")
        return self._config(asked.op, address)

    def _config_mac_addr(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_rnic_config_mac_addr_req.parse(body)
        self._check_adapter(asked.adapter)
        return self._config(asked.op, bytes(asked.mac_addr))

    def _config(self, operation: int, address: bytes) -> bytes:
        """:raises Refused: an address too many, or one that is not there"""
        if operation == ADDR_OP_ADD and len(self.addresses) < MAX_ADDRESSES:
            self.addresses.add(address)
        elif operation == ADDR_OP_REMOVE and address in self.addresses:
            self.addresses.remove(address)
        else:
            raise Refused(STATUS_NOT_FOUND, f"address operation {operation}")
        return b""

    def _create_cq(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_rnic_create_cq_req.parse(body)
        self._check_adapter(asked.adapter)
        queue = resources.new_cq(asked.gdma_region, asked.eq_id, asked.doorbell_page)
        self._cqs.add(queue.number)
        return bytes(mana_rnic_create_cq_resp(cq_handle=queue.number, cq_id=queue.number))

    def _destroy_cq(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_rnic_destroy_cq_req.parse(body)
        self._check_adapter(asked.adapter)
        if asked.cq_handle not in self._cqs:
            raise Refused(STATUS_NOT_FOUND, f"no completion queue {asked.cq_handle}")
        self._cqs.remove(asked.cq_handle)
        resources.cqs.pop(asked.cq_handle)
        return b""

    def _query_vf_counters(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        return b""  # all counters are zero: nothing but Ethernet was ever sent
