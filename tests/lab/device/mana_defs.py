# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""MANA, the Ethernet client of GDMA: numbers and structures.

Source: include/net/mana/mana.h of Linux 6.12, what is newer from that of 7.x; names are the same. Structures are given
without gdma_req_hdr and gdma_resp_hdr.
"""

from __future__ import annotations

from .wire import U8, U16, U32, U64, HashKey, Mac, Wire, wire

# enum mana_command_code
MANA_QUERY_DEV_CONFIG = 0x20001
MANA_QUERY_GF_STAT = 0x20002
MANA_CONFIG_VPORT_TX = 0x20003
MANA_CREATE_WQ_OBJ = 0x20004
MANA_DESTROY_WQ_OBJ = 0x20005
MANA_FENCE_RQ = 0x20006
MANA_CONFIG_VPORT_RX = 0x20007
MANA_QUERY_VPORT_CONFIG = 0x20008
MANA_QUERY_LINK_CONFIG = 0x2000A
MANA_SET_BW_CLAMP = 0x2000B
MANA_QUERY_PHY_STAT = 0x2000C

MANA_HASH_KEY_SIZE = 40
MANA_INDIRECT_TABLE_DEF_SIZE = 64
MANA_INDIRECT_TABLE_MAX_SIZE = 512
INVALID_MANA_HANDLE = (1 << 64) - 1
GDMA_MESSAGE_V2 = 2

MANA_SHORT_PKT_FMT = 0
MANA_LONG_PKT_FMT = 1
MANA_CQE_COMPLETION = 1  # mana_cqe_header.client_type

# enum mana_cqe_type
CQE_RX_OKAY = 1
CQE_RX_OBJECT_FENCE = 3
CQE_RX_TRUNCATED = 4
CQE_TX_OKAY = 32
CQE_TX_SA_DROP = 33
CQE_TX_MTU_DROP = 34
CQE_TX_INVALID_OOB = 35
CQE_TX_INVALID_ETH_TYPE = 36
CQE_TX_HDR_PROCESSING_ERROR = 37
CQE_TX_VPORT_IDX_OUT_OF_RANGE = 39
CQE_TX_VPORT_DISABLED = 40


@wire
class mana_query_device_cfg_req(Wire):
    mn_drv_cap_flags1: U64
    mn_drv_cap_flags2: U64
    mn_drv_cap_flags3: U64
    mn_drv_cap_flags4: U64
    proto_major_ver: U32
    proto_minor_ver: U32
    proto_micro_ver: U32
    reserved: U32


@wire
class mana_query_device_cfg_resp(Wire):
    pf_cap_flags1: U64
    pf_cap_flags2: U64
    pf_cap_flags3: U64
    pf_cap_flags4: U64
    max_num_vports: U16
    reserved: U16
    max_num_eqs: U32
    adapter_mtu: U16  # this and the rest: response version 2
    reserved2: U16
    reserved3: U32


@wire
class mana_query_vport_cfg_req(Wire):
    vport_index: U32


@wire
class mana_query_vport_cfg_resp(Wire):
    max_num_sq: U32
    max_num_rq: U32
    num_indirection_ent: U32
    reserved1: U32
    mac_addr: Mac
    reserved2: U16
    vport: U64


@wire
class mana_config_vport_req(Wire):
    vport: U64
    pdid: U32
    doorbell_pageid: U32


@wire
class mana_config_vport_resp(Wire):
    tx_vport_offset: U16
    short_form_allowed: U8
    reserved: U8


@wire
class mana_create_wqobj_req(Wire):
    vport: U64
    wq_type: U32
    reserved: U32
    wq_gdma_region: U64
    cq_gdma_region: U64
    wq_size: U32
    cq_size: U32
    cq_moderation_ctx_id: U32
    cq_parent_qid: U32


@wire
class mana_create_wqobj_resp(Wire):
    wq_id: U32
    cq_id: U32
    wq_obj: U64


@wire
class mana_destroy_wqobj_req(Wire):
    wq_type: U32
    reserved: U32
    wq_obj_handle: U64


@wire
class mana_fence_rq_req(Wire):
    wq_obj_handle: U64


@wire
class mana_query_gf_stat_req(Wire):
    req_stats: U64


@wire
class mana_query_gf_stat_resp(Wire):
    reported_stats: U64
    rx_discards_nowqe: U64
    rx_err_vport_disabled: U64
    hc_rx_bytes: U64
    hc_rx_ucast_pkts: U64
    hc_rx_ucast_bytes: U64
    hc_rx_bcast_pkts: U64
    hc_rx_bcast_bytes: U64
    hc_rx_mcast_pkts: U64
    hc_rx_mcast_bytes: U64
    tx_err_gf_disabled: U64
    tx_err_vport_disabled: U64
    tx_err_inval_vport_offset_pkt: U64
    tx_err_vlan_enforcement: U64
    tx_err_ethtype_enforcement: U64
    tx_err_SA_enforcement: U64
    tx_err_SQPDID_enforcement: U64
    tx_err_CQPDID_enforcement: U64
    tx_err_mtu_violation: U64
    tx_err_inval_oob: U64
    hc_tx_bytes: U64
    hc_tx_ucast_pkts: U64
    hc_tx_ucast_bytes: U64
    hc_tx_bcast_pkts: U64
    hc_tx_bcast_bytes: U64
    hc_tx_mcast_pkts: U64
    hc_tx_mcast_bytes: U64
    tx_err_gdma: U64


@wire
class mana_cfg_rx_steer_req(Wire):
    """Version 2 adds cqe_coalescing_enable; the indirection table lies at indir_tab_offset, counted from gdma_req_hdr."""

    vport: U64
    num_indir_entries: U16
    indir_tab_offset: U16
    rx_enable: U32
    rss_enable: U32
    update_default_rxobj: U8
    update_hashkey: U8
    update_indir_tab: U8
    reserved: U8
    default_rxobj: U64
    hashkey: HashKey


@wire
class mana_query_link_config_req(Wire):
    vport: U64


@wire
class mana_query_link_config_resp(Wire):
    qos_speed_mbps: U32
    qos_unconfigured: U8
    reserved1: U8
    reserved2: U16
    link_speed_mbps: U32
    reserved3: U32
