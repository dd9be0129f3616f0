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
_ABI = re.compile(r"(?:\.so\.|/pmds-)([0-9]{1,3})(?:\.[0-9]+)*\Z")
_PC_VERSION = re.compile(r"^Version:[ \t]*([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)(?![0-9])", re.M)
_HUGE = re.compile(r"hugepages-([0-9]{1,12})kB\Z")
_NODE = re.compile(r"node[0-9]{1,9}\Z")
_OURS = "/opt/accelnet"  # where the role dpdk builds
_REPORTED = ("net_mana", "net_netvsc", "net_mlx5", "net_mlx4", "net_failsafe", "net_vdev_netvsc", "net_tap", "net_virtio")


def _abi(name: str) -> Optional[str]:
    """The major number of the ABI in the name of a shared library or of a directory of drivers."""
    found = _ABI.search(name)
    return found.group(1) if found else None


def _version_order(version: Optional[str]) -> List[int]:
    """A key by which versions sort from old to new; an unknown one is the oldest."""
    return [int(part) for part in (version or "").split(".") if part]


def _release(tree: Tree, libraries: List[str], abi: Optional[str]) -> Tuple[Optional[str], bool]:
    """(version, whether it is exact) of the DPDK in some library directories."""
    for directory in libraries:
        for folder in ("/pkgconfig", ""):
            found = _PC_VERSION.search(tree.text("{0}{1}/libdpdk.pc".format(directory, folder)) or "")
            if found:
                return found.group(1), True
    # Of a shared library the year of the last long-term release plus one: 25 is 24.11 (DPDK's ABI policy).
    return ("{0}.11".format(int(abi) - 1) if abi and int(abi) > 20 else None), False


def _drivers(tree: Tree, libraries: List[str], abi: Optional[str]) -> List[str]:
    """The poll-mode drivers in some library directories that are of the same ABI."""
    found = set()
    folders = list(libraries)
    for directory in libraries:
        for place in (directory, directory + "/dpdk"):
            folders += ["{0}/{1}".format(place, name) for name in tree.names(place) if name.startswith("pmds-")]
    for folder in folders:
        for name in tree.names(folder):
            driver = _PMD.match(name)
            # An upgrade may leave libraries of an older DPDK beside those of the new one.
            if driver and driver.group(1) in _REPORTED and (_abi(name) or _abi(folder) or abi) == abi:
                found.add(driver.group(1))
    return sorted(found)


def _installation(tree: Tree, prefix: str, libraries: List[str]) -> Dict[str, Any]:
    numbers = [_abi(name) for directory in libraries for name in tree.names(directory) if _EAL.match(name)]
    abi = max((number for number in numbers if number), key=int, default=None)
    version, exact = _release(tree, libraries, abi)
    testpmd = prefix + "/bin/dpdk-testpmd"
    return {
        "prefix": prefix,
        "version": version,
        "exact": exact,
        "pmds": _drivers(tree, libraries, abi),
        "testpmd": testpmd if tree.exists(testpmd) else None,
    }


def read_dpdk(tree: Tree, directories: List[str]) -> Dict[str, Any]:
    """The ``dpdk`` of nic_info: all installations, and that one which counts. Nothing is made of parts of several."""
    libraries: Dict[str, Dict[str, None]] = {}
    for pattern in ("librte_eal.so.*", "librte_eal.a"):
        for path in find(tree, directories, pattern):
            directory = path.rpartition("/")[0]
            libraries.setdefault(prefix_of(directory) or directory, {}).setdefault(directory)
    # A prefix whose shared libraries are in one directory may have its static ones first in another.
    order = {directory: position for position, directory in enumerate(directories)}
    prefixes = sorted(libraries, key=lambda prefix: min(order[directory] for directory in libraries[prefix]))
    found = [_installation(tree, prefix, sorted(libraries[prefix], key=order.__getitem__)) for prefix in prefixes]
    ours = [one for one in found if one["prefix"].startswith((tree.resolve(_OURS) or _OURS) + "/")]
    ours.sort(key=lambda one: _version_order(one["version"]), reverse=True)
    found = ours + [one for one in found if one not in ours]
    none: Dict[str, Any] = {"prefix": None, "version": None, "exact": None, "pmds": [], "testpmd": None}
    chosen = next((one for one in found if one["testpmd"] and one["pmds"]), found[0] if found else none)
    return dict(chosen, pmds=list(chosen["pmds"]), installations=found)


def read_hugepages(tree: Tree) -> Optional[List[Dict[str, Any]]]:
    """The ``hugepages`` of nic_info: one entry per size and NUMA node; node null where the kernel has no NUMA."""
    if not tree.is_dir("/sys"):
        return None
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
