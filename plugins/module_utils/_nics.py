# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NICs of a host: synthetic interfaces joined with their virtual functions.

Pairing is by the kernel's own links (master) first and by MAC second, as in microsoft/lisa lisa/nic.py. Pure: what
sysfs and the kernel said comes in, the ``nics`` of nic_info go out. Private. Python 3.6, standard library.
"""

from typing import Any, Dict, List, Optional, Set

from ansible_collections.accelnet.mana.plugins.module_utils._netdev import Netdev
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import PARTNER_DRIVERS

Nic = Dict[str, Any]

_OVS = "ovs-system"


def _is_partner(netdev: Netdev) -> bool:
    """Whether an interface can be the synthetic half of a NIC."""
    if netdev.driver not in PARTNER_DRIVERS:
        return False
    # net_failover hangs below the virtio device of its standby; only the master has lower interfaces.
    return netdev.driver != "virtio_net" or bool(netdev.lowers)


def _carriers(netdevs: Dict[str, Netdev], name: str) -> Set[str]:
    """The interface and all that are stacked upon it: bonds, VLANs, bridges."""
    found: Set[str] = set()
    todo = [name]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            netdev = netdevs.get(current)
            todo.extend(netdev.uppers if netdev else [])
            if netdev and netdev.master:
                todo.append(netdev.master)
    return found


class _Host:
    """What the parts of one NIC are looked up in."""

    def __init__(
        self,
        netdevs: Dict[str, Netdev],
        functions: List[Dict[str, Any]],
        rdma: List[Dict[str, Any]],
        netlink: Optional[Dict[str, Any]],
    ) -> None:
        self.netdevs = netdevs
        self.functions = {function["address"]: function for function in functions}
        self._rdma = rdma
        self._addresses = (netlink or {}).get("addresses")
        self._routes = (netlink or {}).get("default_routes")

    def addresses(self, name: str) -> Optional[List[str]]:
        return None if self._addresses is None else sorted(self._addresses.get(name, []))

    def default_route(self, names: List[str]) -> Optional[bool]:
        """Whether a default route leads over one of the interfaces, or what is stacked upon them."""
        if self._routes is None:
            return None
        carriers = {carrier for name in names for carrier in _carriers(self.netdevs, name)}
        if carriers & set(self._routes):
            return True
        # Open vSwitch does not tell sysfs which of its internal ports the traffic of a member goes to.
        return None if self._routes and _OVS in carriers else False

    def rdma(self, netdev: Netdev) -> Optional[Dict[str, Any]]:
        """The verbs port of a VF: one whose GID table names it, else port dev_port + 1 of its function's device."""
        devices = [device for device in self._rdma if device["pci_address"] == netdev.device]
        # Newer mana_ib makes two devices of one function; only one of them can do raw packets.
        raw_packet = True if len(devices) == 1 else None
        for device in devices:
            for port in sorted(device["ports"]):
                if netdev.name in device["ports"][port]:
                    return {"device": device["device"], "port": port, "raw_packet": raw_packet}
        port = (netdev.dev_port or 0) + 1
        for device in devices:
            if port in device["ports"]:
                return {"device": device["device"], "port": port, "raw_packet": raw_packet}
        return None

    def vf(self, netdev: Netdev) -> Dict[str, Any]:
        return {
            "interface": netdev.name,
            "pci_address": netdev.device,
            "driver": netdev.driver,
            "dev_port": netdev.dev_port,
            "operstate": netdev.operstate,
            "addresses": self.addresses(netdev.name),
        }

    def nic(self, routable: Optional[Netdev], vf: Optional[Netdev], **more: Any) -> Nic:
        kind = self.functions[vf.device]["kind"] if vf and vf.device else ("synthetic" if more["synthetic"] else "other")
        nic = {
            "interface": routable.name if routable else None,
            "mac": routable.mac if routable else None,
            "kind": kind,
            "use": "kernel",
            "handed_over": False,
            "paired": False,
            "vf": self.vf(vf) if vf else None,
            "rdma": self.rdma(vf) if vf else None,
            "mtu": routable.mtu if routable else None,
            "addresses": self.addresses(routable.name) if routable else None,
            "default_route": self.default_route([netdev.name for netdev in (routable, vf) if netdev]) if routable else None,
            "statistics": dict.fromkeys(("rx_bytes", "tx_bytes", "vf_rx_bytes", "vf_tx_bytes")),
        }
        nic.update(more)
        return nic


def _use(mac: Optional[str], handed_over: Dict[str, str]) -> Dict[str, Any]:
    """What our record says of a NIC that shows an interface.

    In mode mana DPDK drives the VF alone while hv_netvsc keeps its half. In mode netvsc there would be no interface if
    the binding were in place: the kernel has the NIC, against the record.
    """
    return {"use": "userspace" if handed_over.get(mac or "") == "mana" else "kernel", "handed_over": mac in handed_over}


def join_nics(
    netdevs: Dict[str, Netdev],
    functions: List[Dict[str, Any]],
    vmbus_devices: List[Dict[str, Any]],
    rdma: List[Dict[str, Any]],
    netlink: Optional[Dict[str, Any]],
    handed_over: Dict[str, str],
) -> List[Nic]:
    """The ``nics`` of nic_info, statistics still null. ``handed_over``: mode by MAC of what our record gives to user space."""
    host = _Host(netdevs, functions, rdma, netlink)
    partners = {name: netdev for name, netdev in netdevs.items() if _is_partner(netdev)}
    vfs = [netdev for netdev in netdevs.values() if netdev.device in host.functions and netdev.name not in partners]
    # An e1000 is a PCI NIC too, but no VF: only known kinds and what a partner has taken are.
    vfs = [vf for vf in vfs if host.functions[vf.device]["kind"] != "other" or vf.master in partners]
    # Those of hv_netvsc show an interface, if not here then in another network namespace.
    without_interface = [device for device in vmbus_devices if device["class"] == "netvsc" and device["driver"] != "hv_netvsc"]

    by_master = {vf.master: vf for vf in vfs if vf.master in partners}
    free = [vf for vf in vfs if vf.master not in partners]
    by_mac: Dict[str, Netdev] = {}
    for vf in free:
        if vf.mac:
            by_mac.setdefault(vf.mac, vf)

    nics = []
    used = {vf.name for vf in by_master.values()}

    def take(mac: Optional[str]) -> Optional[Netdev]:
        """The unattached VF of a MAC, which no other NIC gets then."""
        found = by_mac.pop(mac or "", None)
        used.update([found.name] if found else [])
        return found

    for name, netdev in partners.items():
        vf_netdev = by_master.get(name) or take(netdev.mac)
        vmbus = netdev.device if netdev.driver == "hv_netvsc" else None
        driver = netdev.driver if vmbus else "net_failover"
        synthetic = {"interface": name, "driver": driver, "vmbus_device": vmbus, "operstate": netdev.operstate}
        nics.append(host.nic(netdev, vf_netdev, synthetic=synthetic, paired=name in by_master, **_use(netdev.mac, handed_over)))
    for device in without_interface:
        vf_netdev = take(device["mac"])
        synthetic = {"interface": None, "driver": device["driver"], "vmbus_device": device["guid"], "operstate": None}
        use = {"use": "userspace" if device["driver"] == "uio_hv_generic" else "kernel", "handed_over": device["mac"] in handed_over}
        nics.append(host.nic(None, vf_netdev, synthetic=synthetic, mac=device["mac"], **use))
    for vf in free:
        if vf.name not in used:
            nics.append(host.nic(vf, vf, synthetic=None, **_use(vf.mac, handed_over)))
            used.add(vf.name)
    for netdev in netdevs.values():
        # Other hardware; the halves of a net_failover and virtual interfaces are no NICs of their own.
        if netdev.device and netdev.name not in used and netdev.name not in partners and netdev.master not in partners:
            nics.append(host.nic(netdev, None, synthetic=None))
    return sorted(nics, key=lambda nic: (nic["interface"] is None, nic["interface"] or "", nic["mac"] or ""))
