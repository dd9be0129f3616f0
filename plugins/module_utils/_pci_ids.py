# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PCI and VMBus identities of Azure's NICs, and the modules that belong to each kind.

Sources: DPDK ``drivers/net/mana/mana.h`` and Linux ``drivers/net/ethernet/microsoft/mana`` (MANA),
microsoft/lisa ``lisa/tools/lspci.py`` (Mellanox and the look-alikes), microsoft/openvmm
``vmbus_core/src/protocol.rs`` (class GUIDs). Private to this collection.
"""

from typing import Dict, Tuple

# Ethernet only. Other devices of the same vendors differ by class: 1414:b111 and 1414:00a9 are NVMe
# (0108), InfiniBand functions of HPC sizes are class 0207.
ETHERNET_CLASS = "0x0200"

KINDS: Dict[str, str] = {
    "1414:00ba": "mana",  # VF, what VMs see
    "1414:00b9": "mana",  # PF
    "1414:00c1": "mana",  # newer PF
    "15b3:1004": "mlx4",  # ConnectX-3/Pro VF
    "15b3:1016": "mlx5",  # ConnectX-4 Lx VF
    "15b3:1018": "mlx5",  # ConnectX-5 VF
    "15b3:101a": "mlx5",  # ConnectX-5 Ex VF
}

# Drivers as sysfs names them -> kind; covers NICs that the table of ids does not know yet.
DRIVER_KINDS: Dict[str, str] = {"mana": "mana", "mlx4_core": "mlx4", "mlx5_core": "mlx5"}

EXPECTED_MODULE: Dict[str, str] = {"mana": "mana", "mlx4": "mlx4_core", "mlx5": "mlx5_core"}

# What a kernel needs for a kind, by goal; each goal includes the ones before it.
ETHERNET_MODULES: Dict[str, Tuple[str, ...]] = {"mana": ("mana",), "mlx5": ("mlx5_core",), "mlx4": ("mlx4_core", "mlx4_en")}
RDMA_MODULES: Dict[str, Tuple[str, ...]] = {"mana": ("mana_ib",), "mlx5": ("mlx5_ib",), "mlx4": ("mlx4_ib",)}

# The modules whose state nic_info reports for every kernel.
MODULES: Tuple[str, ...] = (
    "mana",
    "mana_ib",
    "mlx4_core",
    "mlx4_en",
    "mlx4_ib",
    "mlx5_core",
    "mlx5_ib",
    "hv_netvsc",
    "pci_hyperv",
    "uio_hv_generic",
    "ib_uverbs",
)

NETVSC_CLASS = "f8615163-df3e-46c5-913f-f2d2f965ed0e"
VPCI_CLASS = "44c4f61d-4444-4400-9d52-802e27ede19f"

# Drivers (of the parent device, as sysfs shows them) whose interfaces can be the partner of a VF.
# net_failover, the lab's stand-in for hv_netvsc, hangs below a virtio device.
PARTNER_DRIVERS: Tuple[str, ...] = ("hv_netvsc", "virtio_net")

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"


def kind_of(pci_id: str, driver: str = "") -> str:
    """The NIC kind of a ``vendor:device`` pair of an Ethernet-class function: mana, mlx5, mlx4 or other."""
    return KINDS.get(pci_id) or DRIVER_KINDS.get(driver, "other")
