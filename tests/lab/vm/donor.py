# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of newer kernels for backports: the distribution's package, cut down on this machine to the folders that are needed.

A guest without acceleration takes ten minutes to read the 1.5 GiB of a whole kernel. What the role does with the result is the same.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from lab.vm import tree
from lab.vm.cache import Cache, digest

_FOLDERS = ("/drivers/net/ethernet/microsoft/mana/", "/include/net/mana/", "/drivers/infiniband/hw/mana/")
_FILES = ("/include/uapi/rdma/mana-abi.h", "/Makefile")
_PACKAGES = {"6.12": ("linux-source-6.12", "bookworm")}
"""By name the package, and the Debian release that has it."""


def donor(name: str) -> Path:
    """An archive with the drivers of a kernel: 6.12. Raises BuildError, MirrorError."""
    package, suite = _PACKAGES[name]

    def build(directory: Path) -> None:
        unpacked = directory / "tree"
        tree.extract(unpacked, suite, [package], log=directory / "build.log")
        _cut(unpacked / f"usr/src/{package}.tar.xz", directory / "donor.tar.gz")
        for path in sorted(unpacked.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    return Cache().entry(f"donor-{name}", digest(package, suite, _FOLDERS, _FILES), build) / "donor.tar.gz"


def _cut(source: Path, target: Path) -> None:
    with tarfile.open(source, "r|xz") as whole, tarfile.open(target, "w:gz") as part:
        for member in whole:
            name = "/" + member.name.partition("/")[2]
            if member.isreg() and (name in _FILES or any(name.startswith(folder) for folder in _FOLDERS)):
                part.addfile(member, whole.extractfile(member))
