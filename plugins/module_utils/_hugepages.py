# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Huge pages: reserved now and at every boot, per size and NUMA node, and never more than a share of a node's memory.

An over-reserve makes a VM that does not boot any more, so that is refused. systemd-tmpfiles writes the numbers at boot: early,
for each node, and not on the kernel command line, which kdump's kernel would inherit.

Sources: Linux Documentation/admin-guide/mm/hugetlbpage.rst, tmpfiles.d(5).
Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System

TMPFILES = "/etc/tmpfiles.d/accelnet-hugepages.conf"
_NODES = "/sys/devices/system/node"
_GLOBAL = "/sys/kernel/mm/hugepages"
_USUAL_KB = 2048

Pool = NamedTuple("Pool", [("path", str), ("node", Optional[int]), ("size_kb", int), ("total", int), ("memory_kb", Optional[int])])


def _memory_kb(system: System, node: Optional[int]) -> Optional[int]:
    path = "/proc/meminfo" if node is None else "{0}/node{1}/meminfo".format(_NODES, node)
    found = re.search(r"MemTotal:\s*(\d+) kB", system.read(path) or "")
    return int(found.group(1)) if found else None


def read_pools(system: System) -> List[Pool]:
    """The pools of every node; of the system where the kernel has no NUMA."""
    places: List[Tuple[str, Optional[int]]] = [
        ("{0}/{1}/hugepages".format(_NODES, name), int(name[4:])) for name in system.names(_NODES) if re.match(r"node\d+\Z", name)
    ]
    found = []
    for base, node in [place for place in places if system.names(place[0])] or [(_GLOBAL, None)]:
        memory = _memory_kb(system, node)
        for name in system.names(base):
            size = re.match(r"hugepages-(\d+)kB\Z", name)
            if size:
                path = "{0}/{1}/nr_hugepages".format(base, name)
                found.append(Pool(path, node, int(size.group(1)), int(system.value(path) or 0), memory))
    return sorted(found, key=lambda pool: (pool.size_kb, pool.node or 0))


def wanted(pools: List[Pool], megabytes: int, size_kb: Optional[int], share: float) -> Dict[str, int]:
    """Number of pages by path, so that each node with memory has this much. More that is there already stays.

    ``size_kb`` None takes 2 MiB where the host has it, else its smallest size. Raises AccelnetError: bad_hugepages,
    hugepages_exceed_memory.
    """
    sizes = sorted({pool.size_kb for pool in pools})
    if not sizes:
        raise AccelnetError("bad_hugepages", "this kernel offers no huge pages")
    size = size_kb or (_USUAL_KB if _USUAL_KB in sizes else sizes[0])
    if size not in sizes:
        raise AccelnetError("bad_hugepages", "pages of {0} kB are not offered, only of: {1}".format(size, ", ".join(map(str, sizes))))
    counts = {}
    for pool in pools:
        if pool.size_kb != size or pool.memory_kb == 0:
            continue
        count = max(pool.total, -(-megabytes * 1024 // size))
        # What other sizes have is gone from the same memory.
        others = sum(other.total * other.size_kb for other in pools if other.node == pool.node and other.size_kb != size)
        where = "the system" if pool.node is None else "node {0}".format(pool.node)
        if pool.memory_kb is None:
            raise AccelnetError("hugepages_exceed_memory", "the memory of {0} is not known".format(where))
        if count > pool.total and count * size + others > pool.memory_kb * share:
            raise AccelnetError(
                "hugepages_exceed_memory",
                "{0} pages of {1} kB are {2} MiB of huge pages on {3}, which has {4} MiB; {5:.0%} may be reserved".format(
                    count, size, (count * size + others) // 1024, where, pool.memory_kb // 1024, share
                ),
            )
        counts[pool.path] = count
    return counts


def tmpfiles(counts: Dict[str, int]) -> str:
    """The file that reserves them at boot, when memory is not in pieces yet."""
    lines = ["w! {0} - - - - {1}\n".format(path, count) for path, count in sorted(counts.items())]
    return "# Written by accelnet.mana: huge pages for DPDK.\n" + "".join(lines)


def reserve(system: System, counts: Dict[str, int]) -> None:
    """Reserve them now. Raises AccelnetError (hugepages_missing) when the kernel cannot find as many."""
    for path, count in sorted(counts.items()):
        system.attribute(path, str(count))
        got = int(system.value(path) or 0)
        if not system.check and got < count:
            raise AccelnetError(
                "hugepages_missing",
                "{0}: {1} pages were asked for, the kernel found {2}; memory is in pieces, a reboot has them".format(path, count, got),
            )


def restore(system: System, before: Dict[str, int], ours: Dict[str, int]) -> List[str]:
    """Give back what was reserved; pools that somebody changed since are left alone and returned."""
    left = []
    for path, count in sorted(before.items()):
        now = system.value(path)
        if now is None or now == str(count):
            continue
        if now != str(ours.get(path)):
            left.append("{0}: has {1} pages, which is not what was reserved".format(path, now))
            continue
        system.attribute(path, str(count))
        if not system.check and system.value(path) != str(count):
            left.append("{0}: {1} pages are still in use".format(path, system.value(path)))
    return left


def describe(pools: List[Pool]) -> List[Dict[str, Any]]:
    return [{"size_kb": pool.size_kb, "node": pool.node, "total": pool.total} for pool in pools]
