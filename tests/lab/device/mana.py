# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MANA: the requests of the Ethernet driver (mana_en.c). mana_ib uses some of them too, for raw-packet queue pairs."""

from __future__ import annotations

import dataclasses

from .gdma_defs import GDMA_RQ, GDMA_SQ, STATUS_INVALID_PARAMETER, STATUS_NOT_FOUND, gdma_req_hdr
from .mana_defs import (
    GDMA_MESSAGE_V2,
    MANA_CONFIG_VPORT_RX,
    MANA_CONFIG_VPORT_TX,
    MANA_CREATE_WQ_OBJ,
    MANA_DESTROY_WQ_OBJ,
    MANA_FENCE_RQ,
    MANA_INDIRECT_TABLE_DEF_SIZE,
    MANA_INDIRECT_TABLE_MAX_SIZE,
    MANA_QUERY_DEV_CONFIG,
    MANA_QUERY_GF_STAT,
    MANA_QUERY_LINK_CONFIG,
    MANA_QUERY_PHY_STAT,
    MANA_QUERY_VPORT_CONFIG,
    mana_cfg_rx_steer_req,
    mana_config_vport_req,
    mana_config_vport_resp,
    mana_create_wqobj_req,
    mana_create_wqobj_resp,
    mana_destroy_wqobj_req,
    mana_fence_rq_req,
    mana_query_device_cfg_resp,
    mana_query_gf_stat_req,
    mana_query_gf_stat_resp,
    mana_query_link_config_resp,
    mana_query_vport_cfg_req,
    mana_query_vport_cfg_resp,
)
from .resources import MAX_EQS, Refused, Request, Resources
from .vport import VPort

VPORT_HANDLE = 1
"""Handle of the first vPort; the others follow."""
LINK_SPEED_MBPS = 200_000


class Mana:
    """The Ethernet client of one function."""

    def __init__(self, vports: list[VPort], max_queues: int, adapter_mtu: int) -> None:
        """max_queues: send queues, and receive queues, of a vPort. adapter_mtu: bytes of a frame without VLAN tag and FCS."""
        self.vports = vports
        self._max_queues = max_queues
        self._adapter_mtu = adapter_mtu
        self._next_handle = 1
        self.requests: dict[int, Request] = {
            MANA_QUERY_DEV_CONFIG: self._query_dev_config,
            MANA_QUERY_GF_STAT: self._query_gf_stat,
            MANA_CONFIG_VPORT_TX: self._config_vport_tx,
            MANA_CREATE_WQ_OBJ: self._create_wq_obj,
            MANA_DESTROY_WQ_OBJ: self._destroy_wq_obj,
            MANA_FENCE_RQ: self._fence_rq,
            MANA_CONFIG_VPORT_RX: self._config_vport_rx,
            MANA_QUERY_VPORT_CONFIG: self._query_vport_config,
            MANA_QUERY_LINK_CONFIG: self._query_link_config,
            MANA_QUERY_PHY_STAT: self._query_phy_stat,
        }

    def reset(self) -> None:
        for vport in self.vports:
            vport.reset()

    def _vport(self, handle: int) -> VPort:
        """:raises Refused: no vPort has that handle"""
        index = handle - VPORT_HANDLE
        if not 0 <= index < len(self.vports):
            raise Refused(STATUS_NOT_FOUND, f"no vPort {handle}")
        return self.vports[index]

    def _object(self, handle: int, kind: int) -> VPort:
        """The vPort that has the work queue object.

        :raises Refused: none has
        """
        for vport in self.vports:
            found = vport.objects.get(handle)
            if found is not None and found[0] == kind:
                return vport
        raise Refused(STATUS_NOT_FOUND, f"no work queue object {handle} of type {kind}")

    def _query_dev_config(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        answer = mana_query_device_cfg_resp(max_num_vports=len(self.vports), max_num_eqs=MAX_EQS)
        # A driver that asks for version 1 (6.1 does) knows no MTU but 1500.
        if header.resp_msg_version >= GDMA_MESSAGE_V2:
            answer.adapter_mtu = self._adapter_mtu
        return bytes(answer)

    def _query_vport_config(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        index = mana_query_vport_cfg_req.parse(body).vport_index
        vport = self._vport(index + VPORT_HANDLE)
        return bytes(
            mana_query_vport_cfg_resp(
                max_num_sq=self._max_queues,
                max_num_rq=self._max_queues,
                num_indirection_ent=MANA_INDIRECT_TABLE_DEF_SIZE,
                mac_addr=tuple(vport.mac),
                vport=index + VPORT_HANDLE,
            )
        )

    def _config_vport_tx(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_config_vport_req.parse(body)
        vport = self._vport(asked.vport)
        resources.check_doorbell(asked.doorbell_pageid)
        vport.use(resources, asked.pdid, asked.doorbell_pageid)
        return bytes(mana_config_vport_resp(tx_vport_offset=vport.tx_vport_offset, short_form_allowed=1))

    def _create_wq_obj(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_create_wqobj_req.parse(body)
        vport = self._vport(asked.vport)
        if asked.wq_type not in (GDMA_SQ, GDMA_RQ):
            raise Refused(STATUS_INVALID_PARAMETER, f"work queue of type {asked.wq_type}")
        if vport.doorbell_page is None:
            raise Refused(STATUS_INVALID_PARAMETER, "the vPort was not configured")
        if sum(kind == asked.wq_type for kind, _ in vport.objects.values()) >= self._max_queues:
            raise Refused(STATUS_INVALID_PARAMETER, f"more than {self._max_queues} queues of type {asked.wq_type}")
        work, completions = resources.new_wq_cq(
            asked.wq_type == GDMA_SQ,
            (asked.wq_gdma_region, asked.wq_size),
            (asked.cq_gdma_region, asked.cq_size),
            asked.cq_parent_qid,
            vport.doorbell_page,
        )
        if asked.wq_type == GDMA_SQ:
            work.on_ring = lambda: vport.transmit(work)
        handle = self._next_handle
        self._next_handle += 1
        vport.objects[handle] = (asked.wq_type, work)
        return bytes(mana_create_wqobj_resp(wq_id=work.number, cq_id=completions.number, wq_obj=handle))

    def _destroy_wq_obj(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_destroy_wqobj_req.parse(body)
        _, work = self._object(asked.wq_obj_handle, asked.wq_type).objects.pop(asked.wq_obj_handle)
        resources.drop_wq_cq(asked.wq_type == GDMA_SQ, work)
        return b""

    def _fence_rq(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        handle = mana_fence_rq_req.parse(body).wq_obj_handle
        vport = self._object(handle, GDMA_RQ)
        vport.fence(vport.objects[handle][1])
        return b""

    def _config_vport_rx(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_cfg_rx_steer_req.parse(body)
        vport = self._vport(asked.vport)
        entries = asked.num_indir_entries
        table: list[int] = []
        if asked.update_indir_tab:
            begin = asked.indir_tab_offset - gdma_req_hdr.size()
            end = begin + 8 * entries
            if not 0 < entries <= MANA_INDIRECT_TABLE_MAX_SIZE or entries & (entries - 1) or begin < 0 or end > len(body):
                raise Refused(STATUS_INVALID_PARAMETER, f"indirection table of {entries} entries at {asked.indir_tab_offset}")
            table = [int.from_bytes(body[at : at + 8], "little") for at in range(begin, end, 8)]
        vport.rx_enabled = bool(asked.rx_enable)
        vport.rss_enabled = bool(asked.rss_enable)
        if asked.update_default_rxobj:
            vport.default_rxobj = asked.default_rxobj
        if asked.update_hashkey:
            vport.set_hash_key(bytes(asked.hashkey))
        if asked.update_indir_tab:
            vport.indirection = table
        return b""

    def _query_gf_stat(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = mana_query_gf_stat_req.parse(body)
        answer = mana_query_gf_stat_resp(reported_stats=asked.req_stats)
        for vport in self.vports:
            for field in dataclasses.fields(vport.statistics):
                setattr(answer, field.name, getattr(answer, field.name) + getattr(vport.statistics, field.name))
        return bytes(answer)

    def _query_link_config(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        return bytes(mana_query_link_config_resp(qos_speed_mbps=LINK_SPEED_MBPS, link_speed_mbps=LINK_SPEED_MBPS))

    def _query_phy_stat(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        return b""  # all counters of the physical port are zero: there is none
