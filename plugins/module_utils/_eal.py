# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EAL arguments of DPDK for NICs that are named by MAC: what the filter eal_args gives, and what is written at every boot.

Addresses go stale: after a stop and start the function may have another PCI address and the NIC may be of another kind. So
this file is also a program, which the role dpdk_port installs and a unit runs at boot. It imports nothing of the
collection for that reason.

Sources: DPDK doc/guides/nics/{mana,netvsc}.rst; drivers/bus/vmbus (``-a vmbus:GUID``).
Private to this collection. Python 3.6, standard library.
"""

import json
import os
import sys
import time
from typing import Any, Dict, List

RECORD = "/var/lib/accelnet/dpdk_port.json"
OUTPUT = "/run/accelnet/eal"
# hv_netvsc's VF may come some time after the synthetic half. Longer is host servicing: netvsc does without, and takes it later.
WAIT = 30.0  # seconds


def eal_args(nics: List[Dict[str, Any]], macs: List[str], mode: str = "netvsc") -> List[str]:
    """The arguments that make DPDK take the NICs of these MACs and no other, in the form of nic_info's ``nics``.

    Without ``mac=`` net_mana would probe every port of a function, the one of our ssh connection among them. A NIC whose
    VF is away has none of it in mode netvsc, where the synthetic half is given too. When nothing can be given to a bus,
    it is told to probe none.
    """
    by_mac = {nic["mac"]: nic for nic in nics if nic.get("mac")}
    functions: Dict[str, List[str]] = {}
    synthetic = []
    for mac in macs:
        nic = by_mac.get(mac) or {}
        vf, half = nic.get("vf"), nic.get("synthetic")
        if vf and vf.get("pci_address"):
            # Mellanox: one function for each NIC, and no such argument.
            known = functions.setdefault(vf["pci_address"], [])
            if nic.get("kind") == "mana":
                known.append(mac)
        if mode == "netvsc" and half and half.get("vmbus_device"):
            synthetic.append(half["vmbus_device"])
    args: List[str] = []
    for address in sorted(functions):
        args += ["-a", ",".join([address] + ["mac=" + mac for mac in functions[address]])]
    for guid in sorted(synthetic):
        args += ["-a", "vmbus:" + guid]
    return args if functions else ["--no-pci"] + args


def _value(path: str) -> str:
    try:
        with open(path, "rb") as handle:
            return handle.read().decode("ascii", "replace").strip()
    except OSError:
        return ""


def _names(path: str) -> List[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def read_nics(sysfs: str, ports: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What eal_args needs of the NICs of the recorded ports."""
    functions = {}
    for name in _names(sysfs + "/class/net"):
        device = os.path.realpath("{0}/class/net/{1}/device".format(sysfs, name))
        # The synthetic half has the same MAC.
        if os.path.basename(os.path.realpath(device + "/subsystem")) == "pci":
            vendor = _value(device + "/vendor")
            mac = _value("{0}/class/net/{1}/address".format(sysfs, name)).lower()
            functions[mac] = {"pci_address": os.path.basename(device), "kind": "mana" if vendor == "0x1414" else "other"}
    nics = []
    for port in ports:
        function = functions.get(port["mac"])
        guid = port.get("vmbus_device")
        here = guid and os.path.isdir("{0}/bus/vmbus/devices/{1}".format(sysfs, guid))
        nics.append(
            {
                "mac": port["mac"],
                "kind": function["kind"] if function else None,
                "vf": function,
                "synthetic": {"vmbus_device": guid} if here else None,
            }
        )
    return nics


def write_args(root: str = "", wait: float = WAIT) -> List[str]:
    """Write the arguments of every set of recorded ports; returns MACs whose VF did not come in time."""
    try:
        with open(root + RECORD, encoding="utf-8") as handle:
            ports = json.load(handle)["ports"]
    except FileNotFoundError:
        ports = []
    sets: Dict[str, List[Dict[str, Any]]] = {}
    for port in ports:
        sets.setdefault(port.get("eal_name") or "default", []).append(port)
    deadline = time.monotonic() + wait
    nics = read_nics(root + "/sys", ports)
    while not all(nic["vf"] for nic in nics) and time.monotonic() < deadline:
        time.sleep(0.2)
        nics = read_nics(root + "/sys", ports)
    os.makedirs(root + OUTPUT, mode=0o755, exist_ok=True)
    texts = {}
    for name, members in sets.items():
        modes = {member.get("mode", "netvsc") for member in members}
        args = eal_args(nics, [member["mac"] for member in members], "netvsc" if "netvsc" in modes else "mana")
        texts[name + ".args"] = "".join(arg + "\n" for arg in args)
        # For EnvironmentFile= of a unit: ExecStart=... $EAL_ARGS
        texts[name + ".env"] = "EAL_ARGS={0}\n".format(" ".join(args))
    for name in _names(root + OUTPUT):
        if name not in texts:
            os.unlink("{0}{1}/{2}".format(root, OUTPUT, name))
    for name, text in texts.items():
        temporary = "{0}{1}/.{2}".format(root, OUTPUT, name)
        with open(temporary, "w", encoding="ascii") as handle:
            handle.write(text)
        os.rename(temporary, "{0}{1}/{2}".format(root, OUTPUT, name))
    return [nic["mac"] for nic in nics if not nic["vf"]]


if __name__ == "__main__":
    for missing in write_args():
        sys.stderr.write("accelnet: no virtual function of {0} yet\n".format(missing))
