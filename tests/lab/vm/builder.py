# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a recipe to the files of a guest image."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from lab.vm import disk, tree
from lab.vm.cache import digest
from lab.vm.keys import Keys
from lab.vm.recipes import Recipe

VERSION = 1
"""Raise it when the same recipe makes another image; what lies in `rootfs` and the scripts beside this file count by their content."""

_HERE = Path(__file__).resolve().parent
_CUSTOMIZE = _HERE / "customize.sh"
_BOOT_LOADER = _HERE / "boot_loader.sh"
_ROOTFS = _HERE / "rootfs"


def key(recipe: Recipe, keys: Keys, folder: Path = _HERE) -> str:
    """Of everything that decides what is in the image, but for what the archive serves that day.

    folder: where the scripts and `rootfs` are.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and (path.suffix == ".sh" or folder / "rootfs" in path.parents)]
    contents = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}
    return digest(VERSION, recipe.described(), contents, keys.public)


def build(name: str, recipe: Recipe, keys: Keys, directory: Path) -> None:
    """Fill `directory` with disk.img, guest.json and, for direct boot, vmlinuz and initrd.img. Raises BuildError or MirrorError."""
    log, tar = directory / "build.log", directory / "tree.tar"
    environment = {
        "LAB_KERNELS": recipe.kernels,
        "LAB_KERNEL_FROM": f"{recipe.suite}-backports" if recipe.backports else "",
        "LAB_ROOTFS": str(_ROOTFS),
        "LAB_KEYS": str(keys.directory),
        "LAB_HOSTNAME": name,
        "LAB_FIRMWARE": recipe.firmware,
        "LAB_BOOT_LOADER": str(_BOOT_LOADER),
    }
    hook = ["sh", str(_CUSTOMIZE)]
    tree.bootstrap(tar, recipe.suite, recipe.all_packages, log=log, backports=recipe.backports, hook=hook, environment=environment)
    _make_disk(tar, recipe, directory, log)
    tar.unlink()
    if recipe.firmware != "none":
        disk.partition(directory / "disk.img", recipe.size, log=log)
        disk.install_boot_loader(directory / "disk.img", directory / "vmlinuz", directory / "initrd.img", recipe.firmware, log=log)
        (directory / "vmlinuz").unlink()
        (directory / "initrd.img").unlink()
    facts = {
        "kernel_release": (directory / "kernel_release").read_text(encoding="ascii").strip(),
        "packages": dict(line.split() for line in (directory / "packages").read_text(encoding="ascii").splitlines()),
    }
    (directory / "guest.json").write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def _make_disk(tar: Path, recipe: Recipe, directory: Path, log: Path) -> None:
    # One shell, because without privileges the files' owners exist only inside one user namespace.
    script = f"""
        set -eu
        cd {shlex.quote(str(directory))}
        mkdir tree
        # Device nodes take privileges to make, and a guest's kernel makes its own.
        tar --extract --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' --file {tar.name} --directory tree
        cp tree/boot/vmlinuz-* vmlinuz
        cp tree/boot/initrd.img-* initrd.img
        cp tree/var/lib/lab-packages packages
        ls tree/lib/modules >kernel_release
        {disk.make("tree", "disk.img", recipe.size, partitioned=recipe.firmware != "none")}
        rm -rf tree
    """
    tree.run(tree.as_root(["sh", "-c", script]), log=log, environment={"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"})
