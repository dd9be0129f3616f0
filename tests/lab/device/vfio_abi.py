# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and structures of the vfio-user protocol.

Sources: the vfio-user specification (docs/interop/vfio-user.rst in QEMU), include/vfio-user.h of libvfio-user, and linux/vfio.h,
from which the protocol takes its structures. All integers are little-endian here: both ends run on the same machine, and the lab's
machines are x86 or arm64.
"""

from __future__ import annotations

from struct import Struct

# Commands (enum vfio_user_command)
VFIO_USER_VERSION = 1
VFIO_USER_DMA_MAP = 2
VFIO_USER_DMA_UNMAP = 3
VFIO_USER_DEVICE_GET_INFO = 4
VFIO_USER_DEVICE_GET_REGION_INFO = 5
VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6
VFIO_USER_DEVICE_GET_IRQ_INFO = 7
VFIO_USER_DEVICE_SET_IRQS = 8
VFIO_USER_REGION_READ = 9
VFIO_USER_REGION_WRITE = 10
VFIO_USER_DMA_READ = 11
VFIO_USER_DMA_WRITE = 12
VFIO_USER_DEVICE_RESET = 13
VFIO_USER_REGION_WRITE_MULTI = 15
VFIO_USER_DEVICE_FEATURE = 16
VFIO_USER_MIG_DATA_READ = 17
VFIO_USER_MIG_DATA_WRITE = 18

# struct vfio_user_header: msg_id, cmd, msg_size (with the header), flags, error_no
HEADER = Struct("<HHIII")
VFIO_USER_F_TYPE_MASK = 0xF
VFIO_USER_F_TYPE_COMMAND = 0x0
VFIO_USER_F_TYPE_REPLY = 0x1
VFIO_USER_F_NO_REPLY = 0x10
VFIO_USER_F_ERROR = 0x20

# struct vfio_user_version: major, minor; JSON with a final NUL follows
VERSION = Struct("<HH")
VFIO_USER_MAJOR = 0
VFIO_USER_MINOR = 1

# struct vfio_user_dma_map: argsz, flags, offset, addr, size
DMA_MAP = Struct("<IIQQQ")
VFIO_USER_F_DMA_REGION_READ = 1 << 0
VFIO_USER_F_DMA_REGION_WRITE = 1 << 1
VFIO_USER_F_DMA_REGION_MMAP = 1 << 2

# struct vfio_user_dma_unmap without the bitmap: argsz, flags, addr, size
DMA_UNMAP = Struct("<IIQQ")
VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1

# struct vfio_user_device_info: argsz, flags, num_regions, num_irqs
DEVICE_INFO = Struct("<IIII")
VFIO_DEVICE_FLAGS_RESET = 1 << 0
VFIO_DEVICE_FLAGS_PCI = 1 << 1

# struct vfio_region_info: argsz, flags, index, cap_offset, size, offset
REGION_INFO = Struct("<IIIIQQ")
VFIO_REGION_INFO_FLAG_READ = 1 << 0
VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
VFIO_PCI_BAR0_REGION_INDEX = 0
VFIO_PCI_BAR5_REGION_INDEX = 5
VFIO_PCI_ROM_REGION_INDEX = 6
VFIO_PCI_CONFIG_REGION_INDEX = 7
VFIO_PCI_VGA_REGION_INDEX = 8
VFIO_PCI_NUM_REGIONS = 9

# struct vfio_user_region_io_fds_request and _reply: argsz, flags, index, count
REGION_IO_FDS = Struct("<IIII")

# struct vfio_irq_info: argsz, flags, index, count
IRQ_INFO = Struct("<IIII")
VFIO_IRQ_INFO_EVENTFD = 1 << 0
VFIO_PCI_INTX_IRQ_INDEX = 0
VFIO_PCI_MSI_IRQ_INDEX = 1
VFIO_PCI_MSIX_IRQ_INDEX = 2
VFIO_PCI_ERR_IRQ_INDEX = 3
VFIO_PCI_REQ_IRQ_INDEX = 4
VFIO_PCI_NUM_IRQS = 5

# struct vfio_irq_set: argsz, flags, index, start, count; data follows
IRQ_SET = Struct("<IIIII")
VFIO_IRQ_SET_DATA_NONE = 1 << 0
VFIO_IRQ_SET_DATA_BOOL = 1 << 1
VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2
VFIO_IRQ_SET_DATA_TYPE_MASK = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD
VFIO_IRQ_SET_ACTION_MASK = 1 << 3
VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4
VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5
VFIO_IRQ_SET_ACTION_TYPE_MASK = VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER

# struct vfio_user_region_access: offset, region, count; data follows
REGION_ACCESS = Struct("<QII")
