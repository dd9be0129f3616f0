# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that keep NICs of user space out of the hands of everything else, by their MACs.

After the binding the VF is unprotected: it has no master and no slave flag, so the rules for virtual functions do not match it.
Pure; which network managers a host has comes in. Sources: udev(7), systemd.network(5), NetworkManager.conf(5), ifcfg(5) of
wicked, netplan-yaml(5), cloud-init's documentation of network configuration.
Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._system import System

UDEV = "/etc/udev/rules.d/10-accelnet-dpdk-port.rules"
# Before those of netplan (10-netplan-*) and of distributions.
NETWORKD = "/etc/systemd/network/05-accelnet-dpdk-port.network"
NETWORK_MANAGER = "/etc/NetworkManager/conf.d/90-accelnet-dpdk-port.conf"
CLOUD_INIT = "/etc/cloud/cloud.cfg.d/99-accelnet-dpdk-port.cfg"
NETPLAN = "/etc/netplan/99-accelnet-dpdk-port.yaml"
MODULES_LOAD = "/etc/modules-load.d/accelnet-dpdk-port.conf"
EAL_SCRIPT = "/usr/libexec/accelnet/eal-args.py"
EAL_UNIT_NAME = "accelnet-eal-args.service"
EAL_UNIT = "/etc/systemd/system/" + EAL_UNIT_NAME
EAL_WANTED = "/etc/systemd/system/multi-user.target.wants/" + EAL_UNIT_NAME
_WICKED = "/etc/sysconfig/network/ifcfg-"
_HEAD = "# Written by accelnet.mana: NICs that user space has.\n"


def managers(system: System) -> List[str]:
    """What there is that could configure interfaces; udev always is."""
    marks = {
        "networkd": ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd"),
        "NetworkManager": ("/usr/sbin/NetworkManager",),
        "wicked": ("/usr/sbin/wicked",),
        "ifupdown": ("/sbin/ifup", "/usr/sbin/ifup"),
        "cloud-init": ("/usr/bin/cloud-init",),
        "netplan": ("/usr/sbin/netplan",),
    }
    found = [name for name, paths in marks.items() if any(system.exists(path) for path in paths)]
    # wicked and NetworkManager bring an ifup too.
    return [name for name in found if name != "ifupdown" or system.exists("/etc/network/interfaces")]


def udev_rules(macs: List[str], ip: str) -> str:
    """Both halves of a NIC have its MAC; whoever asks udev is told to leave them, and they are down from the start."""
    text = _HEAD
    for mac in macs:
        match = 'SUBSYSTEM=="net", ATTR{{address}}=="{0}"'.format(mac)
        marks = 'ENV{ACCELNET_DPDK_PORT}="1", ENV{ID_NET_MANAGED_BY}="unmanaged", ENV{NM_UNMANAGED}="1"'
        text += '{0}, ACTION!="remove", {1}\n'.format(match, marks)
        # $name is the name that the rules give it; RUN is carried out when it has that.
        text += '{0}, ACTION=="add", RUN+="{1} link set dev $name down"\n'.format(match, ip)
    return text


def networkd(macs: List[str]) -> str:
    return _HEAD + "[Match]\nMACAddress={0}\n\n[Link]\nUnmanaged=yes\nRequiredForOnline=no\n".format(" ".join(macs))


def network_manager(macs: List[str]) -> str:
    return _HEAD + "[keyfile]\nunmanaged-devices+={0}\n".format(";".join("mac:" + mac for mac in macs))


def cloud_init() -> str:
    """cloud-init would write DHCP for every NIC that the metadata service names, at every boot on Azure."""
    return _HEAD + "network: {config: disabled}\n"


def netplan_ids(texts: List[str], macs: List[str]) -> List[str]:
    """The ids of the stanzas that match one of the MACs. No YAML library is on every host; netplan's files are block style."""
    found = []
    for text in texts:
        above: List[Any] = []  # (indentation, key) of the mappings that we are in
        for line in text.splitlines():
            entry = re.match(r"^( *)([^\s#][^:]*):(?:\s+(.*))?$", line)
            if not entry:
                continue
            indent, key, value = len(entry.group(1)), entry.group(2).strip("\"' "), (entry.group(3) or "").strip("\"' ").lower()
            above = [parent for parent in above if parent[0] < indent] + [(indent, key)]
            keys = [name for _indent, name in above]
            if key == "macaddress" and value in macs and keys[-2:-1] == ["match"] and "ethernets" in keys:
                found.append(keys[-3])
    return sorted(set(found))


def netplan(ids: List[str]) -> str:
    text = _HEAD + "network:\n  version: 2\n  ethernets:\n"
    for name in ids:
        text += "    {0}:\n      optional: true\n      dhcp4: false\n      dhcp6: false\n".format(name)
    return text


def modules_load(modules: List[str]) -> str:
    return "# Written by accelnet.mana: verbs drivers for DPDK, of every kind of NIC that the VM may get.\n" + "".join(
        name + "\n" for name in modules
    )


def eal_unit(python: str) -> str:
    """Writes the EAL arguments before the applications, which come after this unit by its name."""
    return """\
# Written by accelnet.mana. Applications: After={unit} and EnvironmentFile=/run/accelnet/eal/NAME.env
[Unit]
Description=EAL arguments of the NICs that accelnet.mana gave to DPDK
ConditionPathExists=/var/lib/accelnet/dpdk_port.json
After=accelnet-vmbus-override.service systemd-modules-load.service systemd-tmpfiles-setup.service
Before=multi-user.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} {script}
TimeoutStartSec=60

[Install]
WantedBy=multi-user.target
""".format(unit=EAL_UNIT_NAME, python=python, script=EAL_SCRIPT)


def wicked_files(interfaces: List[str]) -> Dict[str, str]:
    """wicked knows interfaces by name only."""
    return {_WICKED + name: _HEAD + "STARTMODE='off'\nBOOTPROTO='none'\n" for name in interfaces}


def wanted_files(
    system: System, macs: List[str], interfaces: List[str], modules: List[str], python: str, eal_source: str, consent: bool
) -> Dict[str, str]:
    """Text by path of all that these ports need. ``consent``: whether cloud-init's and netplan's configuration may change."""
    present = managers(system)
    ip = system.which("ip") or "/sbin/ip"
    files = {UDEV: udev_rules(macs, ip), EAL_SCRIPT: eal_source, EAL_UNIT: eal_unit(python)}
    if modules:
        files[MODULES_LOAD] = modules_load(modules)
    if "networkd" in present:
        files[NETWORKD] = networkd(macs)
    if "NetworkManager" in present:
        files[NETWORK_MANAGER] = network_manager(macs)
    if "wicked" in present:
        files.update(wicked_files(interfaces))
    if consent and "cloud-init" in present:
        files[CLOUD_INIT] = cloud_init()
    ids = _netplan_ids(system, macs)
    if consent and ids:
        files[NETPLAN] = netplan(ids)
    return files


def _netplan_ids(system: System, macs: List[str]) -> List[str]:
    paths = ["/etc/netplan/" + name for name in system.names("/etc/netplan") if name.endswith(".yaml")]
    return netplan_ids([system.read(path) or "" for path in paths if path != NETPLAN], macs)


def remarks(system: System, macs: List[str], interfaces: List[str], consent: bool) -> List[str]:
    """What the files do not cover, in words."""
    present = managers(system)
    found = []
    if not consent and "cloud-init" in present and not _cloud_init_is_off(system):
        found.append("cloud-init writes the network configuration of every NIC at boot; set dpdk_port_cloud_init to stop that")
    if not consent and _netplan_ids(system, macs):
        found.append("netplan configures one of the NICs; set dpdk_port_cloud_init to make it optional and without DHCP")
    if "ifupdown" in present:
        text = "".join(
            system.read(path) or ""
            for path in ["/etc/network/interfaces"]
            + ["/etc/network/interfaces.d/" + name for name in system.names("/etc/network/interfaces.d")]
        )
        named = [name for name in interfaces if re.search(r"^\s*(auto|allow-\S+)\b.*\b{0}\b".format(re.escape(name)), text, re.M)]
        if named:
            found.append("/etc/network/interfaces brings up {0}, which only its owner can take out".format(", ".join(named)))
    return found


def _cloud_init_is_off(system: System) -> bool:
    """Whether cloud-init leaves the network alone already, or is off altogether."""
    if system.exists("/etc/cloud/cloud-init.disabled"):
        return True
    for name in system.names("/etc/cloud/cloud.cfg.d"):
        text: Optional[str] = system.read("/etc/cloud/cloud.cfg.d/" + name) if name.endswith(".cfg") else None
        if re.search(r"^network:\s*(\{\s*config:\s*disabled|\n\s+config:\s*disabled)", text or "", re.M):
            return True
    return False
