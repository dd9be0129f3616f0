# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GDMA: numbers and structures shared by driver and device.

Source: include/net/mana/gdma.h and shm_channel.c, hw_channel.h of Linux 6.12; names are the same. Structures of requests
and responses are given here without gdma_req_hdr and gdma_resp_hdr, which the hardware channel takes off and puts on.
"""

from __future__ import annotations

from .wire import U8, U16, U32, U64, Wire, wire

MICROSOFT = 0x1414  # PCI vendor
MANA_VF_DEVICE_ID = 0x00BA

# Registers of a VF in BAR 0: offsets of the doorbell pages, their size, and offset of the shared-memory channel.
GDMA_REG_DB_PAGE_OFFSET = 0x08
GDMA_REG_DB_PAGE_SIZE = 0x10
GDMA_REG_SHM_OFFSET = 0x18

# Doorbells within a doorbell page.
DOORBELL_OFFSET_SQ = 0x0
DOORBELL_OFFSET_RQ = 0x400
DOORBELL_OFFSET_CQ = 0x800
DOORBELL_OFFSET_EQ = 0xFF8

MANA_PAGE_SIZE = 4096
GDMA_CQE_SIZE = 64
GDMA_EQE_SIZE = 16
GDMA_WQE_BU_SIZE = 32
GDMA_MAX_SQE_SIZE = 512
GDMA_MAX_RQE_SIZE = 256
GDMA_COMP_DATA_SIZE = 0x3C
OWNER_BITS = 3  # GDMA_CQE_OWNER_BITS and GDMA_EQE_OWNER_BITS
OWNER_MASK = (1 << OWNER_BITS) - 1
GDMA_CQ_NO_EQ = 0xFFFF

# enum gdma_queue_type
GDMA_SQ = 1
GDMA_RQ = 2
GDMA_CQ = 3
GDMA_EQ = 4

# enum gdma_request_type
GDMA_VERIFY_VF_DRIVER_VERSION = 1
GDMA_QUERY_MAX_RESOURCES = 2
GDMA_LIST_DEVICES = 3
GDMA_REGISTER_DEVICE = 4
GDMA_DEREGISTER_DEVICE = 5
GDMA_GENERATE_TEST_EQE = 10
GDMA_CREATE_QUEUE = 12
GDMA_DISABLE_QUEUE = 13
GDMA_ALLOCATE_RESOURCE_RANGE = 22
GDMA_DESTROY_RESOURCE_RANGE = 24
GDMA_CREATE_DMA_REGION = 25
GDMA_DMA_REGION_ADD_PAGES = 26
GDMA_DESTROY_DMA_REGION = 27
GDMA_CREATE_PD = 29
GDMA_DESTROY_PD = 30
GDMA_CREATE_MR = 31
GDMA_DESTROY_MR = 32
GDMA_QUERY_HWC_TIMEOUT = 84

GDMA_RESOURCE_DOORBELL_PAGE = 27

# enum gdma_eqe_type
GDMA_EQE_COMPLETION = 3
GDMA_EQE_TEST_EVENT = 64
GDMA_EQE_HWC_INIT_EQ_ID_DB = 129
GDMA_EQE_HWC_INIT_DATA = 130
GDMA_EQE_HWC_INIT_DONE = 131
GDMA_EQE_HWC_SOC_RECONFIG_DATA = 133
GDMA_EQE_HWC_RESET_REQUEST = 135

# Types of a gdma_dev_id
GDMA_DEVICE_HWC = 1
GDMA_DEVICE_MANA = 2
GDMA_DEVICE_MANA_IB = 3
GDMA_DEV_LIST_SIZE = 64

GDMA_PROTOCOL_V1 = 1
GDMA_DRV_CAP_FLAG_1_HWC_TIMEOUT_RECONFIG = 1 << 3
GDMA_DRV_CAP_FLAG_1_HW_VPORT_LINK_AWARE = 1 << 6  # in Linux 7.3, not yet in 6.12
GDMA_DRV_CAP_FLAG_1_SELF_RESET_ON_EQE = 1 << 14  # the same

# Status of a response. The driver knows these two beside "0 is good"; the others are this device's own.
GDMA_STATUS_MORE_ENTRIES = 0x105
GDMA_STATUS_CMD_UNSUPPORTED = 0xFFFFFFFF
STATUS_INVALID_PARAMETER = 1
STATUS_NO_RESOURCES = 2
STATUS_NOT_FOUND = 3
STATUS_BUSY = 4

INVALID_DMA_REGION = 0
ATB_PAGE_SIZE_4K = 0
ATB_PAGE_SIZE_MAX = 10  # the page of type n has 4096 << n bytes, 2 MiB at most

GDMA_MR_TYPE_GPA = 1
GDMA_MR_TYPE_GVA = 2
GDMA_ACCESS_FLAG_LOCAL_WRITE = 1 << 1


@wire
class gdma_dev_id(Wire):
    type: U16
    instance: U16


@wire
class gdma_req_hdr(Wire):
    """Two gdma_msg_hdr, of the request and of the response that is expected, and what they are about."""

    req_hdr_type: U32
    req_msg_type: U32
    req_msg_version: U16
    req_hwc_msg_id: U16
    req_msg_size: U32
    resp_hdr_type: U32
    resp_msg_type: U32
    resp_msg_version: U16
    resp_hwc_msg_id: U16
    resp_msg_size: U32
    dev_type: U16
    dev_instance: U16
    activity_id: U32


@wire
class gdma_resp_hdr(Wire):
    hdr_type: U32
    msg_type: U32
    msg_version: U16
    hwc_msg_id: U16
    msg_size: U32
    dev_type: U16
    dev_instance: U16
    activity_id: U32
    status: U32
    reserved: U32


@wire
class gdma_generate_test_event_req(Wire):
    queue_index: U32


@wire
class gdma_verify_ver_req(Wire):
    protocol_ver_min: U64
    protocol_ver_max: U64
    gd_drv_cap_flags1: U64
    gd_drv_cap_flags2: U64
    gd_drv_cap_flags3: U64
    gd_drv_cap_flags4: U64
    drv_ver: U64
    os_type: U32
    reserved: U32
    os_ver_major: U32
    os_ver_minor: U32
    os_ver_build: U32
    os_ver_platform: U32


@wire
class gdma_verify_ver_resp(Wire):
    gdma_protocol_ver: U64
    pf_cap_flags1: U64
    pf_cap_flags2: U64
    pf_cap_flags3: U64
    pf_cap_flags4: U64


@wire
class gdma_query_max_resources_resp(Wire):
    status: U32
    max_sq: U32
    max_rq: U32
    max_cq: U32
    max_eq: U32
    max_db: U32
    max_mst: U32
    max_cq_mod_ctx: U32
    max_mod_cq: U32
    max_msix: U32


@wire
class gdma_list_devices_resp(Wire):
    """Followed by GDMA_DEV_LIST_SIZE entries of gdma_dev_id."""

    num_of_devs: U32
    reserved: U32


@wire
class gdma_register_device_resp(Wire):
    pdid: U32
    gpa_mkey: U32
    db_id: U32


@wire
class gdma_allocate_resource_range_req(Wire):
    resource_type: U32
    num_resources: U32
    alignment: U32
    allocated_resources: U32


@wire
class gdma_allocate_resource_range_resp(Wire):
    allocated_resources: U32


@wire
class gdma_destroy_resource_range_req(Wire):
    resource_type: U32
    num_resources: U32
    allocated_resources: U32


@wire
class gdma_create_queue_req(Wire):
    type: U32
    reserved1: U32
    pdid: U32
    doolbell_id: U32  # sic
    gdma_region: U64
    reserved2: U32
    queue_size: U32
    log2_throttle_limit: U32
    eq_pci_msix_index: U32
    cq_mod_ctx_id: U32
    cq_parent_eq_id: U32
    rq_drop_on_overrun: U8
    rq_err_on_wqe_overflow: U8
    rq_chain_rec_wqes: U8
    sq_hw_db: U8
    reserved3: U32


@wire
class gdma_create_queue_resp(Wire):
    queue_index: U32


@wire
class gdma_disable_queue_req(Wire):
    type: U32
    queue_index: U32
    alloc_res_id_on_creation: U32


@wire
class gdma_query_hwc_timeout_req(Wire):
    timeout_ms: U32
    reserved: U32


@wire
class gdma_query_hwc_timeout_resp(Wire):
    timeout_ms: U32
    reserved: U32


@wire
class gdma_create_dma_region_req(Wire):
    """Followed by page_addr_list_len addresses of 64 bits."""

    length: U64
    offset_in_page: U32
    gdma_page_type: U32
    page_count: U32
    page_addr_list_len: U32


@wire
class gdma_create_dma_region_resp(Wire):
    dma_region_handle: U64


@wire
class gdma_dma_region_add_pages_req(Wire):
    """Followed by page_addr_list_len addresses of 64 bits."""

    dma_region_handle: U64
    page_addr_list_len: U32
    reserved3: U32


@wire
class gdma_destroy_dma_region_req(Wire):
    dma_region_handle: U64


@wire
class gdma_create_pd_req(Wire):
    flags: U32
    reserved: U32


@wire
class gdma_create_pd_resp(Wire):
    pd_handle: U64
    pd_id: U32
    reserved: U32


@wire
class gdma_destroy_pd_req(Wire):
    pd_handle: U64


@wire
class gdma_create_mr_request(Wire):
    pd_handle: U64
    mr_type: U32
    reserved_1: U32
    dma_region_handle: U64
    virtual_address: U64
    access_flags: U32  # enum gdma_mr_access_flags; the union around it is padded to 64 bits
    padding: U32
    reserved_2: U32


@wire
class gdma_create_mr_response(Wire):
    mr_handle: U64
    lkey: U32
    rkey: U32


@wire
class gdma_destroy_mr_request(Wire):
    mr_handle: U64
