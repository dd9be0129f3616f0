# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that images need and few machines have: run straight from unpacked Debian packages."""

from __future__ import annotations

from pathlib import Path

from lab.vm import tree
from lab.vm.cache import Cache, digest

_SUITE = "trixie"
_PACKAGES = ("fdisk", "python3-virt-firmware")
_BUILDER_VERSION = 1  # raise it when the same packages make another tree


def sfdisk() -> tuple[str, ...]:
    """sfdisk(8), to be followed by its arguments."""
    return _tools().command("usr/sbin/sfdisk")


def virt_fw_vars() -> tuple[tuple[str, ...], dict[str, str]]:
    """virt-fw-vars(1), which edits OVMF's variables, to be followed by its arguments; and what its environment must have."""
    tools = _tools()
    packages = tools.root / "usr/lib/python3/dist-packages"
    environment = {"PYTHONHOME": str(tools.root / "usr"), "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    return (*tools.command("usr/bin/python3"), str(tools.root / "usr/bin/virt-fw-vars")), environment


def _tools() -> tree.Unpacked:
    def build(directory: Path) -> None:
        tree.extract(directory / "tree", _SUITE, _PACKAGES, log=directory / "build.log")

    return tree.Unpacked(Cache().entry("tools", digest(_BUILDER_VERSION, _SUITE, _PACKAGES), build) / "tree")
