# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who uses the interfaces of a host: ssh connections, routes that the platform needs, and what is stacked upon what.

Reads only; what follows from it is decided on the controller. Sources: proc_pid_net(5), rtnetlink(7), Linux
``include/uapi/linux/rtnetlink.h``. Private to this collection. Python 3.6, standard library.
"""

import binascii
import os
import re
import socket
import struct
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._answers import Answers, LiveAnswers, ask_in_child
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_interface, normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

# Azure's own services: the wire server (health, extensions, DHCP, DNS) and the metadata service.
PLATFORM = ("168.63.129.16", "169.254.169.254")
_SERVERS = ("sshd", "sshd-session", "sshd-auth", "dropbear")
_ESTABLISHED = "01"
_PARENTS = 64  # processes between us and the one that ssh started
_NET = "/sys/class/net"


def parse_tcp(text: str) -> Dict[str, str]:
    """Local address by inode of the established connections in a file of /proc/net/tcp or tcp6."""
    found = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != _ESTABLISHED:
            continue
        address = _address(words[1].partition(":")[0])
        if address:
            found[words[9]] = address
    return found


def _address(digits: str) -> Optional[str]:
    """An address as /proc/net writes it, in words of 32 bits of this machine's byte order."""
    try:
        data = binascii.unhexlify(digits)
        words = [struct.pack("=I", word) for word in struct.unpack(">{0}I".format(len(data) // 4), data)]
        packed = b"".join(words)
        if len(packed) == 16 and packed.startswith(b"\0" * 10 + b"\xff\xff"):
            packed = packed[12:]  # IPv4 over a socket of IPv6
        return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    except (binascii.Error, ValueError, OSError, struct.error):
        return None


def _read(path: str) -> Optional[str]:
    try:
        with open(path, "rb") as handle:
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return None


def _own_connection(proc: str, pid: int) -> Optional[str]:
    """The local address in the SSH_CONNECTION of us or of a parent: sudo takes it out of our own environment."""
    for _number in range(_PARENTS):
        for entry in (_read("{0}/{1}/environ".format(proc, pid)) or "").split("\0"):
            words = entry.partition("=")[2].split() if entry.startswith("SSH_CONNECTION=") else []
            if len(words) == 4:
                return words[2].partition("%")[0]
        found = re.search(r"^PPid:\s*(\d+)", _read("{0}/{1}/status".format(proc, pid)) or "", re.M)
        pid = int(found.group(1)) if found else 0
        if pid <= 1:
            break
    return None


def _sockets(proc: str, pid: str) -> Tuple[Set[str], bool]:
    """(inodes of a process' sockets, whether it let us look)."""
    directory = "{0}/{1}/fd".format(proc, pid)
    try:
        targets = [os.readlink("{0}/{1}".format(directory, name)) for name in os.listdir(directory)]
    except FileNotFoundError:
        return set(), True  # it ended
    except OSError:
        return set(), False
    return {target[8:-1] for target in targets if target.startswith("socket:[")}, True


def ssh_addresses(proc: str = "/proc", pid: Optional[int] = None) -> Optional[List[str]]:
    """Local addresses of the established connections of ssh servers, ours among them; None when they cannot be read."""
    tables = [parse_tcp(text) for text in (_read(proc + "/net/" + name) for name in ("tcp", "tcp6")) if text]
    if not tables:
        return None
    by_inode = {inode: address for table in tables for inode, address in table.items()}
    found: Set[str] = set()
    try:
        pids = [name for name in os.listdir(proc) if name.isdigit()]
    except OSError:
        return None
    for name in pids:
        if (_read("{0}/{1}/comm".format(proc, name)) or "").strip() in _SERVERS:
            inodes, readable = _sockets(proc, name)
            if not readable:
                return None
            found.update(by_inode[inode] for inode in inodes if inode in by_inode)
    own = _own_connection(proc, os.getpid() if pid is None else pid)
    return sorted(found | ({own} if own else set()))


_RTM_NEWROUTE, _RTM_GETROUTE = 24, 26
_RTA_DST, _RTA_OIF = 1, 4


def _interface_to(destination: str) -> Optional[str]:
    """The interface that the kernel would send a packet to this IPv4 address through; None without a route."""
    packed = socket.inet_pton(socket.AF_INET, destination)
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 32, 0, 0, 0, 0, 0, 0, 0) + struct.pack("=HH", 8, _RTA_DST) + packed
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(body), _RTM_GETROUTE, 1, 1, 0) + body)
        data = link.recv(65536)
    length, kind = struct.unpack_from("=IH", data)
    if kind != _RTM_NEWROUTE:
        return None
    offset = 28
    while offset + 4 <= length:
        size, attribute = struct.unpack_from("=HH", data, offset)
        if size < 4:
            break
        if attribute == _RTA_OIF:
            return socket.if_indextoname(struct.unpack_from("=I", data, offset + 4)[0])
        offset += (size + 3) & ~3
    return None


def platform_routes() -> Dict[str, Optional[List[str]]]:
    """Interfaces by address of Azure's services: empty without a route, None when the kernel did not answer."""

    def question(destination: str) -> Tuple[str, Callable[[], Any]]:
        return destination, lambda: _interface_to(destination)

    answers, _in_time = ask_in_child([question(destination) for destination in PLATFORM], 2.0)
    return {name: ([answers[name]] if answers[name] else []) if name in answers else None for name in PLATFORM}


def read_interfaces(tree: Tree, addresses: Optional[Dict[str, List[str]]]) -> List[Dict[str, Any]]:
    """Every interface with what it is stacked upon; ``physical`` is one that has a device of its own."""
    found = []
    for name in tree.names(_NET):
        base = "{0}/{1}".format(_NET, name)
        if not tree.is_dir(base) or not is_interface(name):
            continue
        entries = tree.names(base)
        found.append(
            {
                "interface": name,
                "mac": normal_mac(tree.value(base + "/address")),
                "physical": "device" in entries,
                "master": tree.link_name(base + "/master") if "master" in entries else None,
                "lowers": [entry[6:] for entry in entries if entry.startswith("lower_")],
                "addresses": None if addresses is None else [text.partition("/")[0] for text in addresses.get(name, [])],
            }
        )
    return found


def read_users(tree: Tree, answers: Answers) -> Dict[str, Any]:
    """The result of nic_users_info. Connections and routes are those of the running host, None for another tree."""
    live = isinstance(answers, LiveAnswers)
    netlink = answers.netlink()
    return {
        "interfaces": read_interfaces(tree, None if netlink is None else netlink.get("addresses")),
        "ssh_addresses": ssh_addresses() if live else None,
        "platform_routes": platform_routes() if live else dict.fromkeys(PLATFORM),
        "default_routes": None if netlink is None else netlink.get("default_routes"),
    }
