# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration space of the emulated function: 256 bytes, type 0 header, one capability (MSI-X).

Offsets, bits and names are those of linux/pci_regs.h. IDs: the Linux driver's table in gdma_main.c (1414:00ba); the revision and
the BARs' use as in Microsoft's OpenVMM emulator (vm/devices/net/gdma). The mana drivers ask for no PCI Express capability.
"""

from __future__ import annotations

from collections.abc import Mapping

PCI_CFG_SPACE_SIZE = 256

PCI_VENDOR_ID = 0x00
PCI_DEVICE_ID = 0x02
PCI_COMMAND = 0x04
PCI_COMMAND_MEMORY = 0x2
PCI_COMMAND_MASTER = 0x4
PCI_COMMAND_PARITY = 0x40
PCI_COMMAND_SERR = 0x100
PCI_COMMAND_INTX_DISABLE = 0x400
PCI_STATUS = 0x06
PCI_STATUS_CAP_LIST = 0x10
PCI_CLASS_REVISION = 0x08
PCI_CACHE_LINE_SIZE = 0x0C
PCI_BASE_ADDRESS_0 = 0x10
PCI_BASE_ADDRESS_MEM_TYPE_64 = 0x04
PCI_BASE_ADDRESS_MEM_MASK = ~0x0F
PCI_SUBSYSTEM_VENDOR_ID = 0x2C
PCI_SUBSYSTEM_ID = 0x2E
PCI_CAPABILITY_LIST = 0x34
PCI_INTERRUPT_LINE = 0x3C
PCI_STD_HEADER_SIZEOF = 64

PCI_CAP_ID_MSIX = 0x11
PCI_MSIX_FLAGS = 2
PCI_MSIX_FLAGS_QSIZE = 0x07FF
PCI_MSIX_FLAGS_MASKALL = 0x4000
PCI_MSIX_FLAGS_ENABLE = 0x8000
PCI_MSIX_TABLE = 4
PCI_MSIX_PBA = 8
PCI_MSIX_TABLE_BIR = 0x7

PCI_VENDOR_ID_MICROSOFT = 0x1414
MANA_VF_DEVICE_ID = 0x00BA
PCI_CLASS_NETWORK_ETHERNET = 0x0200
MANA_REVISION = 1

_MSIX_CAPABILITY = PCI_STD_HEADER_SIZEOF


class ConfigSpace:
    """What the guest reads and writes with configuration cycles.

    bars: size in bytes (a power of two, at least 16) of each memory BAR by its index. All are 64 bits wide and take two indices.
    msix_vectors: 1 to 2048. msix_table and msix_pba: BAR index and offset (a multiple of 8) of MSI-X table and Pending Bit Array.
    """

    size = PCI_CFG_SPACE_SIZE

    def __init__(
        self,
        bars: Mapping[int, int],
        *,
        msix_vectors: int,
        msix_table: tuple[int, int],
        msix_pba: tuple[int, int],
        subsystem_vendor: int = 0,
        subsystem: int = 0,
    ) -> None:
        self._data = bytearray(PCI_CFG_SPACE_SIZE)
        # Bits that a write can change; all others are hard-wired.
        self._writable = bytearray(PCI_CFG_SPACE_SIZE)
        self._bars = dict(bars)

        self._put(PCI_VENDOR_ID, 2, PCI_VENDOR_ID_MICROSOFT)
        self._put(PCI_DEVICE_ID, 2, MANA_VF_DEVICE_ID)
        # Bus mastering and interrupts are honoured by the client; parity and SERR# bits exist only to be remembered.
        self._allow(
            PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE
        )
        self._put(PCI_STATUS, 2, PCI_STATUS_CAP_LIST)
        self._put(PCI_CLASS_REVISION, 4, PCI_CLASS_NETWORK_ETHERNET << 16 | MANA_REVISION)
        self._allow(PCI_CACHE_LINE_SIZE, 1, 0xFF)
        self._put(PCI_SUBSYSTEM_VENDOR_ID, 2, subsystem_vendor)
        self._put(PCI_SUBSYSTEM_ID, 2, subsystem)
        self._allow(PCI_INTERRUPT_LINE, 1, 0xFF)
        for index, size in bars.items():
            self._add_bar(index, size)
        self._add_msix(msix_vectors, msix_table, msix_pba)
        self._initial = bytes(self._data)

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes at `offset`. Raises ValueError outside of the 256 bytes."""
        self._check(offset, count)
        return bytes(self._data[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """Change the writable bits of `len(data)` bytes at `offset`; others ignore it, as hardware does.

        So a BAR to which all ones were written reads back its size. Raises ValueError outside of the 256 bytes.
        """
        self._check(offset, len(data))
        for position, value in enumerate(data, offset):
            writable = self._writable[position]
            self._data[position] = self._data[position] & ~writable | value & writable

    def reset(self) -> None:
        """Back to the values after power-on."""
        self._data[:] = self._initial

    def bar_address(self, index: int) -> int:
        """The address that the guest has given to BAR `index`, in bytes."""
        return self._get(_bar_offset(index), 8) & PCI_BASE_ADDRESS_MEM_MASK

    @property
    def bus_master(self) -> bool:
        """Whether the guest lets the function do DMA and send MSI-X messages."""
        return bool(self._get(PCI_COMMAND, 2) & PCI_COMMAND_MASTER)

    @property
    def msix_enabled(self) -> bool:
        """Whether the guest has enabled MSI-X."""
        return bool(self._get(_MSIX_CAPABILITY + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE)

    def _add_bar(self, index: int, size: int) -> None:
        if index not in range(5) or index - 1 in self._bars or index + 1 in self._bars:
            raise ValueError(f"no room for a 64-bit BAR {index}")
        if size < 16 or size & (size - 1):
            raise ValueError(f"BAR {index}: {size} is not a power of two from 16 on")
        self._put(_bar_offset(index), 8, PCI_BASE_ADDRESS_MEM_TYPE_64)
        self._allow(_bar_offset(index), 8, -size & PCI_BASE_ADDRESS_MEM_MASK & 0xFFFF_FFFF_FFFF_FFFF)

    def _add_msix(self, vectors: int, table: tuple[int, int], pba: tuple[int, int]) -> None:
        if not 1 <= vectors <= PCI_MSIX_FLAGS_QSIZE + 1:
            raise ValueError(f"{vectors} MSI-X vectors")
        for (bar, offset), size in ((table, 16 * vectors), (pba, -(-vectors // 64) * 8)):
            if offset & PCI_MSIX_TABLE_BIR or offset + size > self._bars.get(bar, 0):
                raise ValueError(f"no room for {size} bytes of MSI-X at {offset:#x} in BAR {bar}")
        self._put(PCI_CAPABILITY_LIST, 1, _MSIX_CAPABILITY)
        self._put(_MSIX_CAPABILITY, 2, PCI_CAP_ID_MSIX)  # the second byte, 0, ends the list
        self._put(_MSIX_CAPABILITY + PCI_MSIX_FLAGS, 2, vectors - 1)
        self._allow(_MSIX_CAPABILITY + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)
        self._put(_MSIX_CAPABILITY + PCI_MSIX_TABLE, 4, table[1] | table[0])
        self._put(_MSIX_CAPABILITY + PCI_MSIX_PBA, 4, pba[1] | pba[0])

    def _check(self, offset: int, count: int) -> None:
        if offset < 0 or count < 0 or offset + count > PCI_CFG_SPACE_SIZE:
            raise ValueError(f"{count} bytes at {offset:#x} are not in the configuration space")

    def _get(self, offset: int, size: int) -> int:
        return int.from_bytes(self._data[offset : offset + size], "little")

    def _put(self, offset: int, size: int, value: int) -> None:
        self._data[offset : offset + size] = value.to_bytes(size, "little")

    def _allow(self, offset: int, size: int, bits: int) -> None:
        self._writable[offset : offset + size] = bits.to_bytes(size, "little")


def _bar_offset(index: int) -> int:
    return PCI_BASE_ADDRESS_0 + 4 * index
