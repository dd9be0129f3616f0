# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GDMA: the requests that every client of the hardware channel may make. Source: Linux' gdma_main.c and mana_ib's main.c."""

from __future__ import annotations

import struct

from .dma import DmaRegion, GpaKey, MemoryRegion
from .gdma_defs import (
    ATB_PAGE_SIZE_MAX,
    GDMA_ACCESS_FLAG_LOCAL_WRITE,
    GDMA_ALLOCATE_RESOURCE_RANGE,
    GDMA_CREATE_DMA_REGION,
    GDMA_CREATE_MR,
    GDMA_CREATE_PD,
    GDMA_CREATE_QUEUE,
    GDMA_DEREGISTER_DEVICE,
    GDMA_DESTROY_DMA_REGION,
    GDMA_DESTROY_MR,
    GDMA_DESTROY_PD,
    GDMA_DESTROY_RESOURCE_RANGE,
    GDMA_DEV_LIST_SIZE,
    GDMA_DEVICE_HWC,
    GDMA_DEVICE_MANA,
    GDMA_DEVICE_MANA_IB,
    GDMA_DISABLE_QUEUE,
    GDMA_DMA_REGION_ADD_PAGES,
    GDMA_DRV_CAP_FLAG_1_HWC_TIMEOUT_RECONFIG,
    GDMA_EQ,
    GDMA_EQE_TEST_EVENT,
    GDMA_GENERATE_TEST_EQE,
    GDMA_LIST_DEVICES,
    GDMA_MR_TYPE_GPA,
    GDMA_MR_TYPE_GVA,
    GDMA_PROTOCOL_V1,
    GDMA_QUERY_HWC_TIMEOUT,
    GDMA_QUERY_MAX_RESOURCES,
    GDMA_REGISTER_DEVICE,
    GDMA_RESOURCE_DOORBELL_PAGE,
    GDMA_STATUS_CMD_UNSUPPORTED,
    GDMA_STATUS_MORE_ENTRIES,
    GDMA_VERIFY_VF_DRIVER_VERSION,
    MANA_PAGE_SIZE,
    STATUS_BUSY,
    STATUS_INVALID_PARAMETER,
    STATUS_NO_RESOURCES,
    STATUS_NOT_FOUND,
    gdma_allocate_resource_range_req,
    gdma_allocate_resource_range_resp,
    gdma_create_dma_region_req,
    gdma_create_dma_region_resp,
    gdma_create_mr_request,
    gdma_create_mr_response,
    gdma_create_pd_resp,
    gdma_create_queue_req,
    gdma_create_queue_resp,
    gdma_destroy_dma_region_req,
    gdma_destroy_mr_request,
    gdma_destroy_pd_req,
    gdma_destroy_resource_range_req,
    gdma_dev_id,
    gdma_disable_queue_req,
    gdma_dma_region_add_pages_req,
    gdma_generate_test_event_req,
    gdma_list_devices_resp,
    gdma_query_hwc_timeout_resp,
    gdma_query_max_resources_resp,
    gdma_register_device_resp,
    gdma_req_hdr,
    gdma_verify_ver_req,
    gdma_verify_ver_resp,
)
from .guest_memory import DmaError
from .resources import GPA_MKEY, MAX_CQS, MAX_EQS, MAX_MRS, MAX_REGION_PAGES, MAX_RQS, MAX_SQS, Refused, Request, Resources
from .wire import ShortMessage

DEVICE_INSTANCE = 1
KERNEL_DOORBELL_PAGE = {GDMA_DEVICE_MANA: 1, GDMA_DEVICE_MANA_IB: 2}
KERNEL_PDID = {GDMA_DEVICE_MANA: 1, GDMA_DEVICE_MANA_IB: 2}
FIRST_USER_DOORBELL_PAGE = 3
DEFAULT_HWC_TIMEOUT_MS = 30_000


class Gdma:
    """The function's own requests, and the table of all that its clients answer."""

    def __init__(self, clients: dict[int, dict[int, Request]], max_queues: int, hwc_timeout_ms: int = DEFAULT_HWC_TIMEOUT_MS) -> None:
        """clients: by GDMA device type the requests that the client of that type answers.

        max_queues: how many send, receive and event queues the driver is told that it may have.
        """
        self._clients = clients
        self._max_queues = max_queues
        self._hwc_timeout_ms = hwc_timeout_ms
        self._client_of = {message: kind for kind, requests in clients.items() for message in requests}
        self.registered: set[int] = set()
        self.driver: dict[str, int] = {}
        self._doorbells: set[int] = set()
        self._requests: dict[int, Request] = {
            GDMA_VERIFY_VF_DRIVER_VERSION: self._verify_vf_driver_version,
            GDMA_QUERY_MAX_RESOURCES: self._query_max_resources,
            GDMA_LIST_DEVICES: self._list_devices,
            GDMA_REGISTER_DEVICE: self._register_device,
            GDMA_DEREGISTER_DEVICE: self._deregister_device,
            GDMA_GENERATE_TEST_EQE: self._generate_test_eqe,
            GDMA_CREATE_QUEUE: self._create_queue,
            GDMA_DISABLE_QUEUE: self._disable_queue,
            GDMA_ALLOCATE_RESOURCE_RANGE: self._allocate_resource_range,
            GDMA_DESTROY_RESOURCE_RANGE: self._destroy_resource_range,
            GDMA_CREATE_DMA_REGION: self._create_dma_region,
            GDMA_DMA_REGION_ADD_PAGES: self._dma_region_add_pages,
            GDMA_DESTROY_DMA_REGION: self._destroy_dma_region,
            GDMA_CREATE_PD: self._create_pd,
            GDMA_DESTROY_PD: self._destroy_pd,
            GDMA_CREATE_MR: self._create_mr,
            GDMA_DESTROY_MR: self._destroy_mr,
            GDMA_QUERY_HWC_TIMEOUT: self._query_hwc_timeout,
        }

    def reset(self) -> None:
        self.registered.clear()
        self.driver = {}
        self._doorbells.clear()

    def handle(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> tuple[int, bytes]:
        """Status and what follows gdma_resp_hdr."""
        try:
            answer = self._find(header)(resources, header, body)
        except Refused as refused:
            return refused.status, b""
        except (ShortMessage, DmaError):
            return STATUS_INVALID_PARAMETER, b""
        return GDMA_STATUS_MORE_ENTRIES if isinstance(answer, _Partial) else 0, answer

    def _find(self, header: gdma_req_hdr) -> Request:
        """:raises Refused: a request that this device does not know, or of another client"""
        message = header.req_msg_type
        if message in self._requests:
            return self._requests[message]
        kind = self._client_of.get(message)
        if kind is None:
            raise Refused(GDMA_STATUS_CMD_UNSUPPORTED, f"request {message:#x}")
        if kind != self._client(header):
            raise Refused(STATUS_NOT_FOUND, f"request {message:#x} for device {header.dev_type}")
        return self._clients[kind][message]

    # The function

    def _verify_vf_driver_version(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_verify_ver_req.parse(body)
        if not asked.protocol_ver_min <= GDMA_PROTOCOL_V1 <= asked.protocol_ver_max:
            raise Refused(STATUS_INVALID_PARAMETER, f"protocol {asked.protocol_ver_min} to {asked.protocol_ver_max}")
        self.driver = {
            "os_type": asked.os_type,
            "major": asked.os_ver_major,
            "minor": asked.os_ver_minor,
            "build": asked.os_ver_build,
            "capabilities": asked.gd_drv_cap_flags1,
        }
        flags = asked.gd_drv_cap_flags1 & GDMA_DRV_CAP_FLAG_1_HWC_TIMEOUT_RECONFIG
        return bytes(gdma_verify_ver_resp(gdma_protocol_ver=GDMA_PROTOCOL_V1, pf_cap_flags1=flags))

    def _query_hwc_timeout(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        return bytes(gdma_query_hwc_timeout_resp(timeout_ms=self._hwc_timeout_ms))

    def _query_max_resources(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        queues = self._max_queues
        return bytes(
            gdma_query_max_resources_resp(
                max_sq=min(queues, MAX_SQS),
                max_rq=min(queues, MAX_RQS),
                max_cq=MAX_CQS,
                max_eq=MAX_EQS,
                max_db=resources.doorbell_pages,
                max_mst=MAX_MRS,
                max_msix=resources.interrupts.count,
            )
        )

    def _list_devices(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        kinds = [GDMA_DEVICE_HWC, *sorted(self._clients)]
        listed = b"".join(bytes(gdma_dev_id(type=kind, instance=0 if kind == GDMA_DEVICE_HWC else DEVICE_INSTANCE)) for kind in kinds)
        return bytes(gdma_list_devices_resp(num_of_devs=len(kinds))) + listed.ljust(GDMA_DEV_LIST_SIZE * gdma_dev_id.size(), b"\0")

    def _register_device(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        kind = self._client(header)
        if kind in self.registered:
            raise Refused(STATUS_BUSY, f"device {kind} is registered already")
        self.registered.add(kind)
        return bytes(gdma_register_device_resp(pdid=KERNEL_PDID[kind], gpa_mkey=GPA_MKEY, db_id=KERNEL_DOORBELL_PAGE[kind]))

    def _deregister_device(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        kind = self._client(header)
        if kind not in self.registered:
            raise Refused(STATUS_NOT_FOUND, f"device {kind} is not registered")
        self.registered.remove(kind)
        return b""

    def _client(self, header: gdma_req_hdr) -> int:
        """:raises Refused: no such device"""
        if header.dev_type not in self._clients or header.dev_instance != DEVICE_INSTANCE:
            raise Refused(STATUS_NOT_FOUND, f"device {header.dev_type}, instance {header.dev_instance}")
        return header.dev_type

    def _generate_test_eqe(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        resources.eqs.get(gdma_generate_test_event_req.parse(body).queue_index).post(GDMA_EQE_TEST_EVENT)
        return b""

    # Queues and doorbell pages

    def _create_queue(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_create_queue_req.parse(body)
        if asked.type != GDMA_EQ:
            raise Refused(STATUS_INVALID_PARAMETER, f"queue of type {asked.type}: work and completion queues are made as objects")
        number = resources.new_eq(asked.gdma_region, asked.queue_size, asked.eq_pci_msix_index, asked.doolbell_id)
        return bytes(gdma_create_queue_resp(queue_index=number))

    def _disable_queue(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_disable_queue_req.parse(body)
        if asked.type != GDMA_EQ:
            raise Refused(STATUS_INVALID_PARAMETER, f"queue of type {asked.type}")
        if resources.is_hwc_eq(asked.queue_index):
            raise Refused(STATUS_BUSY, "the event queue of the hardware channel")
        resources.eqs.pop(asked.queue_index).disable()
        return b""

    def _allocate_resource_range(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_allocate_resource_range_req.parse(body)
        count, alignment = asked.num_resources, max(1, asked.alignment)
        if asked.resource_type != GDMA_RESOURCE_DOORBELL_PAGE or not 0 < count <= resources.doorbell_pages:
            raise Refused(STATUS_INVALID_PARAMETER, f"{count} resources of type {asked.resource_type}")
        first = -(-FIRST_USER_DOORBELL_PAGE // alignment) * alignment
        for begin in range(first, resources.doorbell_pages - count + 1, alignment):
            pages = set(range(begin, begin + count))
            if not pages & self._doorbells:
                self._doorbells |= pages
                return bytes(gdma_allocate_resource_range_resp(allocated_resources=begin))
        raise Refused(STATUS_NO_RESOURCES, f"no {count} doorbell pages left")

    def _destroy_resource_range(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_destroy_resource_range_req.parse(body)
        if asked.resource_type != GDMA_RESOURCE_DOORBELL_PAGE or asked.num_resources > resources.doorbell_pages:
            raise Refused(STATUS_INVALID_PARAMETER, f"resource of type {asked.resource_type}")
        pages = set(range(asked.allocated_resources, asked.allocated_resources + asked.num_resources))
        if not pages <= self._doorbells:
            raise Refused(STATUS_NOT_FOUND, "doorbell pages that were not allocated")
        self._doorbells -= pages
        return b""

    # Memory

    def _create_dma_region(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_create_dma_region_req.parse(body)
        pages = _page_addresses(body[gdma_create_dma_region_req.size() :], asked.page_addr_list_len)
        if not 0 <= asked.gdma_page_type < ATB_PAGE_SIZE_MAX:
            raise Refused(STATUS_INVALID_PARAMETER, f"page type {asked.gdma_page_type}")
        page_size = MANA_PAGE_SIZE << asked.gdma_page_type
        fits = asked.offset_in_page < page_size and 0 < asked.offset_in_page + asked.length <= asked.page_count * page_size
        if not fits or not 0 < asked.page_count <= MAX_REGION_PAGES or len(pages) > asked.page_count:
            raise Refused(STATUS_INVALID_PARAMETER, f"{asked.length} bytes in {asked.page_count} pages, {len(pages)} of them given")
        _check_pages(pages, page_size)
        region = DmaRegion(asked.length, asked.offset_in_page, page_size, asked.page_count, pages)
        answer = bytes(gdma_create_dma_region_resp(dma_region_handle=resources.add_region(region)))
        return answer if region.complete else _Partial(answer)

    def _dma_region_add_pages(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_dma_region_add_pages_req.parse(body)
        pages = _page_addresses(body[gdma_dma_region_add_pages_req.size() :], asked.page_addr_list_len)
        region = resources.regions.get(asked.dma_region_handle)
        if len(region.pages) + len(pages) > region.page_count:
            raise Refused(STATUS_INVALID_PARAMETER, "more pages than the region has")
        _check_pages(pages, region.page_size)
        region.pages += pages
        return b"" if region.complete else _Partial(b"")

    def _destroy_dma_region(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        resources.regions.pop(gdma_destroy_dma_region_req.parse(body).dma_region_handle)
        return b""

    def _create_pd(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        number = resources.pds.number()
        resources.pds.add(number)
        return bytes(gdma_create_pd_resp(pd_handle=number, pd_id=number))

    def _destroy_pd(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        resources.pds.pop(gdma_destroy_pd_req.parse(body).pd_handle)
        return b""

    def _create_mr(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        asked = gdma_create_mr_request.parse(body)
        resources.pds.get(asked.pd_handle)
        number = resources.mrs.number()
        if asked.mr_type == GDMA_MR_TYPE_GPA:  # of kernel users, since Linux 6.15
            resources.mrs.add(GpaKey())
        elif asked.mr_type == GDMA_MR_TYPE_GVA:
            region = resources.regions.get(asked.dma_region_handle)
            if not region.complete:
                raise Refused(STATUS_INVALID_PARAMETER, "pages of the DMA region are missing")
            resources.mrs.add(MemoryRegion(region, asked.virtual_address, bool(asked.access_flags & GDMA_ACCESS_FLAG_LOCAL_WRITE)))
            resources.regions.pop(asked.dma_region_handle)
        else:
            raise Refused(STATUS_INVALID_PARAMETER, f"memory region of type {asked.mr_type}")
        return bytes(gdma_create_mr_response(mr_handle=number, lkey=number, rkey=number))

    def _destroy_mr(self, resources: Resources, header: gdma_req_hdr, body: bytes) -> bytes:
        resources.mrs.pop(gdma_destroy_mr_request.parse(body).mr_handle)
        return b""


class _Partial(bytes):
    """An answer of status GDMA_STATUS_MORE_ENTRIES: the driver is to send more pages of the region."""


def _page_addresses(data: bytes, count: int) -> list[int]:
    """:raises ShortMessage: fewer addresses than the request says"""
    if len(data) < 8 * count:
        raise ShortMessage(f"{count} page addresses in {len(data)} bytes")
    return list(struct.unpack_from(f"<{count}Q", data))


def _check_pages(pages: list[int], page_size: int) -> None:
    """:raises Refused: an address that is not that of a page"""
    if any(page % page_size for page in pages):
        raise Refused(STATUS_INVALID_PARAMETER, f"page addresses that are not multiples of {page_size}")
