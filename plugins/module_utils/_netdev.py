# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces, PCI functions and VMBus devices as sysfs shows them.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._names import (
    is_guid,
    is_interface,
    is_pci_address,
    mac_from_guid,
    normal_mac,
)
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import (
    ETHERNET_CLASS,
    EXPECTED_MODULE,
    NETVSC_CLASS,
    VPCI_CLASS,
    kind_of,
)
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

_NET = "/sys/class/net"
_ETHER = 1  # ARPHRD_ETHER; IPoIB and tunnels have other types

Netdev = NamedTuple(
    "Netdev",
    [
        ("name", str),
        ("mac", Optional[str]),
        ("device", Optional[str]),  # last component of the parent device; None for bonds, VLANs, bridges, veth, …
        ("driver", Optional[str]),
        ("master", Optional[str]),
        ("lowers", List[str]),
        ("uppers", List[str]),
        ("dev_port", Optional[int]),
        ("operstate", Optional[str]),
        ("mtu", Optional[int]),
    ],
)


def read_netdevs(tree: Tree) -> Dict[str, Netdev]:
    """All Ethernet interfaces by name."""
    found = {}
    for name in tree.names(_NET):
        base = "{0}/{1}".format(_NET, name)
        if not tree.is_dir(base):  # bonding_masters is a file
            continue
        if not is_interface(name):
            tree.warn("{0}: not a name that an interface can have, left out".format(base))
            continue
        if tree.integer(base + "/type") not in (_ETHER, None):
            continue
        entries = tree.names(base)
        # Enslaved to a bond an interface shows the bond's MAC.
        permanent = tree.value(base + "/bonding_slave/perm_hwaddr") if "bonding_slave" in entries else None
        found[name] = Netdev(
            name=name,
            mac=normal_mac(permanent or tree.value(base + "/address")),
            device=tree.link_name(base + "/device") if "device" in entries else None,
            driver=tree.link_name(base + "/device/driver") if "device" in entries else None,
            master=tree.link_name(base + "/master") if "master" in entries else None,
            lowers=[entry[6:] for entry in entries if entry.startswith("lower_")],
            uppers=[entry[6:] for entry in entries if entry.startswith("upper_")],
            dev_port=tree.integer(base + "/dev_port"),
            operstate=tree.value(base + "/operstate"),
            mtu=tree.integer(base + "/mtu"),
        )
    return found


def statistic(tree: Tree, interface: str, name: str) -> Optional[int]:
    """One counter of an interface since it appeared."""
    return tree.integer("{0}/{1}/statistics/{2}".format(_NET, interface, name))


def read_pci_functions(tree: Tree, module_for: Callable[[str], Optional[str]]) -> List[Dict[str, Any]]:
    """The ``pci_functions`` of nic_info: class 0200 only. ``module_for`` asks the running kernel's own aliases."""
    found = []
    for address in tree.names("/sys/bus/pci/devices"):
        base = "/sys/bus/pci/devices/" + address
        if not (tree.value(base + "/class") or "").startswith(ETHERNET_CLASS):
            continue
        vendor, device = tree.integer(base + "/vendor"), tree.integer(base + "/device")
        if not is_pci_address(address) or vendor is None or device is None:
            tree.warn("{0}: malformed, left out".format(base))
            continue
        pci_id = "{0:04x}:{1:04x}".format(vendor, device)
        driver = tree.link_name(base + "/driver")
        kind = kind_of(pci_id, driver or "")
        numa_node = tree.integer(base + "/numa_node")
        found.append(
            {
                "address": address,
                "id": pci_id,
                "kind": kind,
                "driver": driver,
                "expected_module": module_for(tree.value(base + "/modalias") or "") or EXPECTED_MODULE.get(kind),
                "interfaces": [name for name in tree.names(base + "/net") if is_interface(name)],
                "numa_node": numa_node if numa_node is None or numa_node >= 0 else None,
            }
        )
    return found


def read_vmbus_devices(tree: Tree, records: Dict[str, str]) -> List[Dict[str, Any]]:
    """The ``vmbus_devices`` of nic_info: synthetic interfaces and virtual PCI buses.

    ``records`` gives the MAC of devices that this collection handed to user space, by GUID.
    """
    classes = {NETVSC_CLASS: "netvsc", VPCI_CLASS: "vpci"}
    found = []
    for guid in tree.names("/sys/bus/vmbus/devices"):
        base = "/sys/bus/vmbus/devices/" + guid
        vmbus_class = classes.get((tree.value(base + "/class_id") or "").strip("{}").lower())
        if vmbus_class is None:
            continue
        if not is_guid(guid):
            tree.warn("{0}: not a GUID, left out".format(base))
            continue
        override = tree.value(base + "/driver_override")
        macs = [normal_mac(tree.value("{0}/net/{1}/address".format(base, name))) for name in tree.names(base + "/net")]
        mac = next((mac for mac in macs if mac), None) or records.get(guid) or mac_from_guid(guid)
        found.append(
            {
                "guid": guid,
                "class": vmbus_class,
                "driver": tree.link_name(base + "/driver"),
                "driver_override": None if override in (None, "(null)") else override,
                "mac": mac if vmbus_class == "netvsc" else None,
                "monitored": tree.exists(base + "/monitor_id"),
            }
        )
    return found


def read_rdma_ports(tree: Tree) -> List[Dict[str, Any]]:
    """Verbs devices: {device, pci_address, ports: {number: [interfaces]}}; devices without a PCI parent are left out."""
    found = []
    for name in tree.names("/sys/class/infiniband"):
        base = "/sys/class/infiniband/" + name
        address = tree.link_name(base + "/device")
        if not address or not is_pci_address(address):
            continue
        ports = {}
        for port in tree.names(base + "/ports"):
            if re.match(r"[0-9]{1,9}\Z", port):
                entries = "{0}/ports/{1}/gid_attrs/ndevs".format(base, port)
                # Reading an unused entry of the GID table fails with EINVAL: that is no warning.
                ports[int(port)] = sorted({v for v in (tree.value(entries + "/" + n) for n in tree.names(entries)[:8]) if v})
        found.append({"device": name, "pci_address": address, "ports": ports})
    return found
