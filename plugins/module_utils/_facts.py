# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of nic_info: everything a decision needs, from a live host, a directory or a snapshot.

Private to this collection. Python 3.6, standard library.
"""

import json
import os
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import (
    _answers,
    _boot,
    _dpdk,
    _kmod,
    _libs,
    _netdev,
    _nics,
    _platform,
    _rdma,
    _snapshot,
)
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_guid, is_release, normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import DirectoryBackend, Tree

SCHEMA_VERSION = 1
SUBSETS = ("nics", "kernels", "rdma", "dpdk", "platform")
# What the role dpdk_port writes when it hands NICs to user space.
RECORD = "/var/lib/accelnet/dpdk_port.json"
_RECORD_LIMIT = 65536  # bytes; what is longer is not ours
_CONTAINER_MARKS = ("/run/systemd/container", "/run/.containerenv")


def in_chroot() -> bool:
    """Whether our / is not that of process 1; without /proc, as in image builds, it is taken for one."""
    try:
        ours, first = os.stat("/"), os.stat("/proc/1/root/.")
        return (ours.st_dev, ours.st_ino) != (first.st_dev, first.st_ino)
    except PermissionError:
        return False  # not root, so nobody has put us into a chroot here
    except OSError:
        # Who is not root sees no process 1 either where proc is mounted with hidepid=2 (proc(5)).
        return os.geteuid() == 0 or not os.path.exists("/proc/self")


def in_container(tree: Tree) -> bool:
    """Whether a container runtime left its mark, or what runs here is no system: no init, and no disk below the root."""
    if any(tree.exists(mark) for mark in _CONTAINER_MARKS):
        return True
    # containerd leaves no mark. /.dockerenv is none either: a machine image made from a container image keeps it.
    return os.major(os.stat("/").st_dev) == 0 and not tree.exists("/run/systemd/system")


def open_tree(root: str) -> Tuple[Tree, _answers.Answers, bool]:
    """(tree, answers, live) of a root. Raises AccelnetError: bad_root, bad_snapshot."""
    if os.path.isdir(root):
        tree = Tree(DirectoryBackend(root))
        live = os.path.realpath(root) == "/"
        answers = (_answers.LiveAnswers if live else _answers.DirectoryAnswers)(root, tree.warn)
        return tree, answers, live
    if not os.path.exists(root):
        raise AccelnetError("bad_root", "{0}: does not exist".format(root))
    if not os.path.isfile(root):
        raise AccelnetError("bad_root", "{0}: is neither a directory nor a file".format(root))
    backend, recorded, _content = _snapshot.load(root)
    return Tree(backend), recorded, False


def _has_our_sys(root: str) -> bool:
    """Whether the /sys of the machine that we run on is mounted below a root, as builders do for a chroot."""
    try:
        there, ours = os.stat(root + "/sys"), os.stat("/sys")
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def shows_hardware(tree: Tree, live: bool) -> bool:
    """Whether what /sys shows is the tree's own machine, not that of a builder."""
    if live and (in_chroot() or in_container(tree)):
        return False
    if not live and tree.backend.root is not None and _has_our_sys(tree.backend.root):
        return False
    return bool(tree.names("/sys"))


def _record(tree: Tree) -> Tuple[Dict[str, str], Dict[str, str]]:
    """(MAC by GUID, mode by MAC) of the NICs that our record gives to user space."""
    data = tree.data(RECORD, _RECORD_LIMIT) if tree.exists(RECORD) else None
    if data is None:
        return {}, {}
    try:
        ports = [
            (str(port.get("vmbus_device")), normal_mac(str(port["mac"])), str(port.get("mode", "netvsc")))
            for port in json.loads(data.decode("utf-8", "replace"))["ports"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        tree.warn("{0}: malformed, ignored".format(RECORD))
        return {}, {}
    macs = {guid: mac for guid, mac, _mode in ports if mac and is_guid(guid)}
    return macs, {mac: mode for _guid, mac, mode in ports if mac}


def _statistics(tree: Tree, nics: List[Dict[str, Any]], answers: _answers.Answers) -> None:
    synthetic = [nic["interface"] for nic in nics if nic["interface"] and (nic["synthetic"] or {}).get("driver") == "hv_netvsc"]
    by_ioctl = answers.ethtool(synthetic)
    for nic in nics:
        if not nic["interface"]:
            continue
        for direction in ("rx_bytes", "tx_bytes"):
            nic["statistics"][direction] = _netdev.statistic(tree, nic["interface"], direction)
            nic["statistics"]["vf_" + direction] = by_ioctl.get(nic["interface"], {}).get("vf_" + direction)


def _read_nics(tree: Tree, answers: _answers.Answers, index: Optional[_kmod.Indexes]) -> Dict[str, Any]:
    records, handed_over = _record(tree)
    functions = _netdev.read_pci_functions(tree, index.module_for if index else lambda modalias: None)
    vmbus = _netdev.read_vmbus_devices(tree, records)
    netdevs, rdma = _netdev.read_netdevs(tree), _netdev.read_rdma_ports(tree)
    nics = _nics.join_nics(netdevs, functions, vmbus, rdma, answers.netlink(), handed_over)
    _statistics(tree, nics, answers)
    # What could not be listed is unknown. A kernel with sysfs always has /sys/class/net and /sys/bus, where a bus is missing
    # that the machine does not have.
    listed = not tree.unreadable("/sys/class/net") and tree.is_dir("/sys/class/net")
    buses = tree.is_dir("/sys/bus")
    return {
        "nics": nics if listed else None,
        "pci_functions": functions if buses and not tree.unreadable("/sys/bus/pci/devices") else None,
        "vmbus_devices": vmbus if buses and not tree.unreadable("/sys/bus/vmbus/devices") else None,
    }


def collect(
    root: str = "/",
    hardware: Optional[bool] = None,
    kernels: Optional[List[str]] = None,
    subset: Optional[List[str]] = None,
) -> Dict[str, Any]:
    """Everything that nic_info returns.

    ``hardware``: whether to describe the machine; None decides by what the root is. ``kernels``: releases to report;
    None is all. ``subset``: parts of :data:`SUBSETS`; None is all. Parts that were not asked for are missing from
    the result. Raises AccelnetError: bad_root, bad_snapshot, bad_kernel.
    """
    return collect_from(*open_tree(root), hardware=hardware, kernels=kernels, subset=subset)


def collect_from(
    tree: Tree,
    answers: _answers.Answers,
    live: bool,
    hardware: Optional[bool] = None,
    kernels: Optional[List[str]] = None,
    subset: Optional[List[str]] = None,
) -> Dict[str, Any]:
    """The same as :func:`collect` for a tree that is open already."""
    parts = set(SUBSETS if subset is None else subset)
    if hardware is None:
        hardware = shows_hardware(tree, live)
    uname = answers.uname()
    running = (uname or {}).get("release") if hardware else None
    if running and not is_release(running):
        running = None
    for release in kernels or []:
        if not is_release(release):
            raise AccelnetError("bad_kernel", "{0!r} is not a kernel release".format(release))
    facts: Dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    read: List[Dict[str, Any]] = []
    indexes: Dict[str, _kmod.Indexes] = {}
    if parts & {"kernels", "nics"}:
        read, indexes = _kmod.read_kernels(tree, running, hardware, kernels if "kernels" in parts else [])
        if "nics" in parts and running and running not in indexes:
            directory = dict(_kmod.installed(tree)).get(running)
            if directory:
                indexes[running] = _kmod.Indexes(tree, directory)
    if "nics" in parts:
        index = indexes.get(running or "")
        facts.update(_read_nics(tree, answers, index) if hardware else dict.fromkeys(("nics", "pci_functions", "vmbus_devices")))
    if "kernels" in parts:
        missing = sorted(set(kernels or []) - {kernel["release"] for kernel in read})
        if missing:
            raise AccelnetError("bad_kernel", "no such kernel is installed there: {0}".format(", ".join(missing)))
        boot = _boot.read_boot(tree, hardware, [kernel["release"] for kernel in read])
        default = boot.pop("default_release")
        for kernel in read:
            kernel["default_boot"] = None if default is None else kernel["release"] == default
        _kmod.add_metadata(tree, read, answers.modinfo)
        facts.update(kernels=read, boot=boot)
    if "platform" in parts:
        facts["platform"] = _platform.read_platform(tree, hardware, uname, answers.python())
    if parts & {"rdma", "dpdk"}:
        directories = _libs.library_directories(tree)
        if "rdma" in parts:
            facts["rdma_core"] = _rdma.read_rdma_core(tree, directories)
        if "dpdk" in parts:
            facts["dpdk"] = _dpdk.read_dpdk(tree, directories)
            facts["hugepages"] = _dpdk.read_hugepages(tree) if hardware else None
    facts["read_warnings"] = tree.warnings
    return facts
