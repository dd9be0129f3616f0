# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NICs may be given to user space, and what that takes: facts of a host and who uses it -> ports, or refusals.

Our own connection is never cut: what is not known is refused. Pure. Private to this collection; users have the filter
accelnet.mana.dpdk_ports.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import RDMA_MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import Facts, check_facts, check_macs

MODES = ("netvsc", "mana")
# Connections that do not come over the network.
LOCAL = ("local", "chroot", "community.general.chroot", "ansible.builtin.local")
_OVS = "ovs-system"
_USERS = ("interfaces", "ssh_addresses", "platform_routes", "default_routes")


class _Uses:
    """What protects interfaces, looked up through bonds, VLANs and bridges."""

    def __init__(self, users: t.Mapping[str, t.Any], connection: str) -> None:
        self._interfaces: dict[str, t.Mapping[str, t.Any]] = {row["interface"]: row for row in users["interfaces"]}
        self.protected: dict[str, set[str]] = {}  # physical interface -> reasons
        self.unknown: list[str] = []  # why nobody can tell what any interface carries
        self._platform(users["platform_routes"])
        self._defaults(users["default_routes"])
        self._connections(users["ssh_addresses"], connection)

    def below(self, name: str) -> set[str] | None:
        """The physical interfaces that an interface leads to; None when that cannot be told, as of tunnels."""
        found: set[str] = set()
        todo, seen = [name], set()
        while todo:
            current = todo.pop()
            row = self._interfaces.get(current)
            if current in seen:
                continue
            seen.add(current)
            if row is None:
                return None
            if row["physical"]:
                found.add(current)
            todo += row["lowers"]
        return found or None

    def hidden(self, name: str) -> bool:
        """Whether an interface is a member of a switch that does not say where its traffic goes."""
        todo, seen = [name], set()
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            if current == _OVS:
                return True
            master = (self._interfaces.get(current) or {}).get("master")
            todo += [master] if master else []
            todo += [other for other, row in self._interfaces.items() if current in row["lowers"]]
        return False

    def _protect(self, name: str, reason: str, what: str) -> None:
        below = self.below(name)
        if below is None:
            self.unknown.append(f"{what} leads over {name}, and nobody can tell which NIC that uses")
        for physical in below or ():
            self.protected.setdefault(physical, set()).add(reason)

    def _platform(self, routes: t.Mapping[str, t.Any]) -> None:
        for destination, names in routes.items():
            if names is None:
                self.unknown.append(f"the route to {destination} is not known")
            for name in names or ():
                self._protect(name, "nic_carries_platform", f"the route to {destination}")

    def _defaults(self, names: t.Sequence[str] | None) -> None:
        if names is None:
            self.unknown.append("the default routes are not known")
        for name in names or ():
            self._protect(name, "nic_protected", "a default route")

    def _connections(self, addresses: t.Sequence[str] | None, connection: str) -> None:
        if addresses is None:
            self.unknown.append("the local addresses of ssh connections are not known; that needs root")
            return
        outside = [address for address in addresses if not _is_loopback(address)]
        # A connection over loopback comes through something that forwards it, from who knows where.
        if not outside and connection not in LOCAL:
            self.unknown.append("no local address of our own connection was found")
        for address in outside:
            holders = [name for name, row in self._interfaces.items() if _holds(row, address)]
            if not holders:
                self.unknown.append(f"no interface has {address}, which an ssh connection uses")
            for name in holders:
                self._protect(name, "nic_carries_connection", f"an ssh connection of {address}")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _holds(row: t.Mapping[str, t.Any], address: str) -> bool:
    def parsed(text: str) -> object:
        try:
            return ipaddress.ip_address(text)
        except ValueError:
            return text

    return parsed(address) in [parsed(one) for one in row["addresses"] or ()]


def _interfaces_of(nic: t.Mapping[str, t.Any]) -> list[str]:
    """Both halves."""
    names = [nic["interface"], (nic["vf"] or {}).get("interface"), (nic["synthetic"] or {}).get("interface")]
    return [name for name in dict.fromkeys(names) if name]


def _refusals(nic: t.Mapping[str, t.Any], mode: str) -> list[tuple[str, str]]:
    """(reason, why) of what forbids to give a NIC away, whatever was allowed."""
    name = nic["interface"] or nic["mac"]
    if nic["kind"] in ("other", "synthetic") and not (nic["kind"] == "synthetic" and mode == "netvsc"):
        return [("unsupported_nic", f"{name} has no virtual function that DPDK could drive")]
    if mode == "netvsc" and nic["synthetic"] and not nic["synthetic"]["vmbus_device"]:
        return [("unsupported_nic", f"{name} has no VMBus device; only the mode mana can be")]
    return []


def _protections(nic: t.Mapping[str, t.Any], uses: _Uses) -> list[tuple[str, str]]:
    """(reason, why) of what forbids to give a NIC away unless that was allowed by its MAC."""
    names = _interfaces_of(nic)
    reasons = {reason for name in names for reason in uses.protected.get(name, ())}
    what = {
        "nic_carries_connection": "carries an ssh connection",
        "nic_carries_platform": "leads to Azure's own services",
        "nic_protected": "carries a default route",
    }
    found = [(reason, f"{names[0]} {words}") for reason, words in what.items() if reason in reasons]
    if nic["default_route"] and "nic_protected" not in reasons:
        found.append(("nic_protected", f"{names[0]} carries a default route"))
    if any(uses.hidden(name) for name in names):
        found.append(("nic_protected", f"{names[0]} is a member of an Open vSwitch, which does not tell what it carries"))
    # One that shows no interface carries nothing.
    if names and not found and uses.unknown:
        found += [("nic_protected", why) for why in uses.unknown]
    return found


def _verbs_modules(facts: Facts) -> list[str]:
    """The verbs modules that the kernel that runs has, for every kind of NIC: after a stop and start it may be another."""
    kernel = next((kernel for kernel in facts.get("kernels") or [] if kernel["running"]), None)
    wanted = [module for modules in RDMA_MODULES.values() for module in modules] + ["ib_uverbs"]
    if kernel is None:
        return ["mana_ib", "ib_uverbs"]
    states = {name: kernel["modules"].get(name) or {} for name in wanted}
    return [name for name in dict.fromkeys(wanted) if states[name].get("state") == "module" and not states[name].get("blacklisted")]


def decide_ports(
    facts: t.Any,
    users: t.Mapping[str, t.Any] | None,
    macs: t.Sequence[str],
    mode: str = "netvsc",
    allow: t.Sequence[str] = (),
    connection: str = "ssh",
) -> dict[str, t.Any]:
    """{ports, refused, modules} for the NICs of these MACs.

    A port is what the module dpdk_port takes. A NIC that user space has already is a port without asking who uses it.
    ``allow``: MACs that may be taken although they are protected. ``connection``: the connection plugin; over one of the
    network the address that it uses has to be known. Raises AccelnetError: bad_facts, bad_mac, bad_policy.
    """
    check_facts(facts, ("nics", "vmbus_devices"))
    if mode not in MODES:
        raise AccelnetError("bad_policy", f"the mode is {mode!r}, must be one of: {', '.join(MODES)}")
    asked, allowed = check_macs(macs), check_macs(allow)
    if asked and facts["nics"] is None:
        raise AccelnetError("bad_facts", "the facts show no hardware, so no NIC can be given to user space")
    known = {nic["mac"]: nic for nic in facts["nics"] or [] if nic["mac"]}
    for mac in asked:
        if mac not in known:
            raise AccelnetError("bad_mac", f"no NIC of this host has the MAC {mac}; it has: {', '.join(known) or 'none'}")
    if users is not None and any(key not in users for key in _USERS):
        raise AccelnetError("bad_facts", "the users are not what accelnet.mana.nic_users_info returns")
    nobody: dict[str, t.Any] = {"interfaces": [], "ssh_addresses": None, "platform_routes": {}, "default_routes": None}
    uses = _Uses(nobody if users is None else users, connection)
    ports, refused = [], []
    for mac in asked:
        nic = known[mac]
        if nic["use"] == "userspace" and nic.get("handed_over"):
            reasons = []
        else:
            reasons = _refusals(nic, mode) or ([] if mac in allowed else _protections(nic, uses))
        if reasons:
            refused += [{"mac": mac, "interface": nic["interface"], "reason": reason, "why": why} for reason, why in reasons]
            continue
        synthetic = nic["synthetic"] or {}
        ports.append(
            {
                "mac": mac,
                # Without a synthetic half there is nothing that netvsc could drive.
                "mode": mode if synthetic.get("vmbus_device") else "mana",
                "kind": nic["kind"],
                "interfaces": _interfaces_of(nic),
                "vmbus_device": synthetic.get("vmbus_device"),
                "pci_address": (nic["vf"] or {}).get("pci_address"),
            }
        )
    return {"ports": ports, "refused": refused, "modules": _verbs_modules(facts)}
