# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rdma-core with its MANA provider: found by its files, whoever installed them.

The provider is there only when its three parts are: libmana.so.1, the plugin libmana-rdmav*.so that libibverbs
loads, and mana.driver, which tells libibverbs to try it (rdma-core, Documentation/libibverbs.md).
Private. Python 3.6, standard library.
"""

import fnmatch
import re
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._libs import find, prefix_of
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

_DRIVER_DIRS = ("/etc/libibverbs.d", "/usr/etc/libibverbs.d", "/usr/share/libibverbs.d", "/usr/local/etc/libibverbs.d")
# rdma-core installs libibverbs.so.1.<private ABI>.<version>, such as libibverbs.so.1.14.44.0
_LIBIBVERBS = re.compile(r"^libibverbs\.so\.1\.\d{1,9}\.(\d{1,9}\.\d{1,9})$")
# Traces of a vendor's RDMA stack: MLNX_OFED and DOCA bring ofed_info; their kernel modules go below updates/.
_OFED = ("/usr/bin/ofed_info", "/etc/infiniband/openib.conf", "/usr/sbin/mlnxofedctl", "/opt/mellanox/doca/applications.list")


def _version(tree: Tree, directories: List[str]) -> Optional[str]:
    """The version of the first libibverbs that the loader would find."""
    for path in find(tree, directories, "libibverbs.so.1"):
        found = _LIBIBVERBS.match(tree.link_name(path) or "")
        if found:
            return found.group(1)
    return None


def _first(paths: List[str]) -> Optional[str]:
    return paths[0] if paths else None


def _driver_file(tree: Tree, directories: List[str]) -> Optional[str]:
    folders = list(_DRIVER_DIRS)
    for directory in directories:
        prefix = prefix_of(directory)
        if prefix and prefix.startswith("/opt/"):
            folders.append(prefix + "/etc/libibverbs.d")
    for folder in folders:
        for name in tree.names(folder):
            if fnmatch.fnmatchcase(name, "*mana*.driver") and tree.exists(folder + "/" + name):
                return "{0}/{1}".format(folder, name)
    return None


def read_rdma_core(tree: Tree, directories: List[str]) -> Dict[str, Any]:
    """The ``rdma_core`` of nic_info; values are null when absent."""
    parts = {
        "library": _first(find(tree, directories, "libmana.so.1")),
        "provider": _first(find(tree, [directory + "/libibverbs" for directory in directories], "libmana-rdmav*.so")),
        "config": _driver_file(tree, directories),
    }
    headers = [(prefix_of(directory) or "/usr") + "/include/infiniband/manadv.h" for directory in directories]
    return {
        "version": _version(tree, directories),
        "libmana": parts["library"] if all(parts.values()) else None,
        "parts": parts,
        "header": _first([path for path in headers if tree.exists(path)]),
        "foreign_ofed": any(tree.exists(path) for path in _OFED),
    }
