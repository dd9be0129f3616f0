# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a tree keeps shared libraries: the loader's own list first, then where source builds put them.

Private to this collection. Python 3.6, standard library.
"""

import fnmatch
import re
from typing import Dict, List, Optional, Set

from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

_DEFAULT = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_LOCAL = ("/usr/local/lib", "/usr/local/lib64")
# Real systems have ten of each at most.
_MAX_FILES = 100
_MAX_PATTERNS = 100
_MAX_DIRECTORIES = 500


def _included(tree: Tree, pattern: str) -> List[str]:
    """The files that the pattern of an include line names."""
    directory, _sep, name = pattern.rpartition("/")
    if name.count("*") > 2:  # before Python 3.9 each * more multiplies the time
        return []
    try:
        return [directory + "/" + found for found in tree.names(directory) if fnmatch.fnmatchcase(found, name)]
    except re.error:  # of a range from z to a, before Python 3.11
        return []


def _configured(tree: Tree) -> List[str]:
    """The directories of ld.so.conf, in its order, with include lines followed (ldconfig(8))."""
    found: Dict[str, None] = {}
    files = ["/etc/ld.so.conf"]
    queued = {tree.resolve(files[0])}
    patterns: Set[str] = set()
    while files:
        file = files.pop(0)
        for line in (tree.text(file) or "").splitlines():
            words = line.split("#", 1)[0].replace(",", " ").split()
            if words[:1] != ["include"]:
                for word in words:
                    if word.startswith("/") and len(found) < _MAX_DIRECTORIES:
                        found.setdefault(word)
                continue
            for pattern in words[1:]:
                pattern = pattern if pattern.startswith("/") else "/etc/" + pattern
                if pattern in patterns or len(patterns) >= _MAX_PATTERNS:
                    continue
                patterns.add(pattern)
                for path in _included(tree, pattern):
                    if len(queued) < _MAX_FILES and tree.resolve(path) not in queued:
                        queued.add(tree.resolve(path))
                        files.append(path)
    return list(found)


def library_directories(tree: Tree) -> List[str]:
    """Every library directory that exists, canonical and each once, in the order in which the loader looks."""
    candidates = _configured(tree) + list(_DEFAULT)
    # Multiarch directories are configured on Debian; found by their shape where that file is missing.
    candidates += ["/usr/lib/" + name for name in tree.names("/usr/lib") if name.endswith(("-linux-gnu", "-linux-gnueabihf"))]
    prefixes = ["/opt/" + name for name in tree.names("/opt")]
    prefixes += ["/opt/accelnet/" + name for name in tree.names("/opt/accelnet")]
    for base in list(_LOCAL) + [prefix + lib for prefix in prefixes for lib in ("/lib", "/lib64")]:
        candidates.append(base)
        candidates += [base + "/" + name for name in tree.names(base) if name.endswith("-linux-gnu")]
    found: Dict[str, None] = {}
    for path in candidates:
        real = tree.resolve(path)
        if real and tree.is_dir(real):
            found.setdefault(real)
    return list(found)


def find(tree: Tree, directories: List[str], pattern: str) -> List[str]:
    """Paths of the files whose name matches a glob pattern, in the order of the directories."""
    return [
        "{0}/{1}".format(directory, name)
        for directory in directories
        for name in fnmatch.filter(tree.names(directory), pattern)
        if tree.exists("{0}/{1}".format(directory, name))
    ]


def prefix_of(directory: str) -> Optional[str]:
    """The installation prefix of a library directory: ``/opt/dpdk`` of ``/opt/dpdk/lib/x86_64-linux-gnu``."""
    parts = directory.split("/")
    for index in range(len(parts) - 1, 0, -1):
        if parts[index] in ("lib", "lib64"):
            return "/".join(parts[:index]) or "/usr"
    return None
