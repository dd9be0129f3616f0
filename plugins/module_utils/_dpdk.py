# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DPDK, its poll-mode drivers and huge pages: found by their files.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._libs import find, prefix_of
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

_EAL = re.compile(r"librte_eal\.so\.([0-9]{1,3})(?:\.[0-9]+)*\Z")
_PMD = re.compile(r"^librte_(net_\w+)\.(?:so(?:\.[\d.]+)?|a)$")
_PC_VERSION = re.compile(r"^Version:\s*(\d+\.\d+(?:\.\d+)?)", re.M)
_HUGE = re.compile(r"hugepages-([0-9]{1,12})kB\Z")
_NODE = re.compile(r"node[0-9]{1,9}\Z")
_REPORTED = ("net_mana", "net_netvsc", "net_mlx5", "net_mlx4", "net_failsafe", "net_vdev_netvsc", "net_tap", "net_virtio")


def _abi_version(name: str) -> Optional[str]:
    """DPDK's soname major is the year of its last long-term release plus one: 25 is 24.11 (DPDK ABI policy)."""
    found = _EAL.match(name)
    return "{0}.11".format(int(found.group(1)) - 1) if found and int(found.group(1)) > 20 else None


def _version(tree: Tree, directories: List[str]) -> Optional[str]:
    for directory in directories:
        for folder in ("/pkgconfig", ""):
            found = _PC_VERSION.search(tree.text("{0}{1}/libdpdk.pc".format(directory, folder)) or "")
            if found:
                return found.group(1)
    for path in find(tree, directories, "librte_eal.so.*"):
        version = _abi_version(path.rsplit("/", 1)[-1])
        if version:
            return version
    return None


def read_dpdk(tree: Tree, directories: List[str]) -> Dict[str, Any]:
    """The ``dpdk`` of nic_info. Several installations are reported as one, the first on the loader's path leading."""
    homes = [path.rsplit("/", 1)[0] for pattern in ("librte_eal.so.*", "librte_eal.a") for path in find(tree, directories, pattern)]
    plugins = [
        "{0}/{1}/{2}".format(directory, sub, name).replace("//", "/")
        for directory in directories
        for sub in ("", "dpdk")
        for name in tree.names("{0}/{1}".format(directory, sub) if sub else directory)
        if name.startswith("pmds-") and tree.is_dir("{0}/{1}/{2}".format(directory, sub, name))
    ]
    pmds = set()
    for folder in homes + plugins:
        for name in tree.names(folder):
            found = _PMD.match(name)
            if found and found.group(1) in _REPORTED:
                pmds.add(found.group(1))
    prefixes = [prefix_of(home) or "/usr" for home in homes] + ["/usr", "/usr/local"]
    programs = [prefix + "/bin/dpdk-testpmd" for prefix in prefixes]
    return {
        "version": _version(tree, homes + [home for home in directories if home not in homes]),
        "pmds": sorted(pmds),
        "testpmd": next((path for path in programs if tree.exists(path)), None),
        "prefix": prefixes[0] if homes else None,
    }


def read_hugepages(tree: Tree) -> Optional[List[Dict[str, Any]]]:
    """The ``hugepages`` of nic_info: one entry per size and NUMA node; node null where the kernel has no NUMA."""
    nodes = [name for name in tree.names("/sys/devices/system/node") if _NODE.match(name)]
    places: List[Tuple[str, Optional[int]]] = [("/sys/devices/system/node/{0}/hugepages".format(name), int(name[4:])) for name in nodes]
    places = [place for place in places if tree.is_dir(place[0])] or [("/sys/kernel/mm/hugepages", None)]
    found = []
    for base, node in places:
        for name in tree.names(base):
            size = _HUGE.match(name)
            if size:
                pool = "{0}/{1}".format(base, name)
                total, free = tree.integer(pool + "/nr_hugepages"), tree.integer(pool + "/free_hugepages")
                found.append({"size_kb": int(size.group(1)), "node": node, "total": total, "free": free})
    if not found and tree.unreadable("/sys/kernel/mm/hugepages"):
        return None
    return sorted(found, key=lambda entry: (entry["size_kb"], -1 if entry["node"] is None else entry["node"]))
