# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guest images by name: built on first use, then taken from the cache. `python -m lab.vm.images --help` for people."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.vm import tree
from lab.vm.cache import Cache, digest
from lab.vm.keys import Keys, keys
from lab.vm.mirror import MirrorError
from lab.vm.qemu_tree import qemu
from lab.vm.recipes import RECIPES, Recipe

BUILDER_VERSION = 1
"""Raise it when the same recipe makes another image; files of `rootfs` and `customize.sh` count by their content."""

MANAGEMENT_MAC = "52:54:00:12:34:56"
"""The one NIC that a guest configures by itself must be a virtio-net-pci with this address, QEMU's default for the first NIC."""

_HERE = Path(__file__).resolve().parent
_LABEL = "lab-root"
_CONSOLE = "console=ttyS0"


@dataclass(frozen=True)
class GuestImage:
    """A guest, ready to boot. Its files are shared: run it with `snapshot=on` or on an overlay."""

    name: str
    disk: Path
    """Raw and sparse."""
    kernel: Path | None
    initrd: Path | None
    append: str
    """Kernel command line for direct boot."""
    firmware: str
    """none, uefi or bios."""
    ssh_user: str
    ssh_key: Path
    """Private key that logs in as ssh_user."""
    host_key: str
    """What the guest identifies itself by: behind a host name, a line for known_hosts."""
    kernel_release: str
    """As `uname -r` prints it."""
    packages: Mapping[str, str]
    """Installed versions by package name."""


def guest(name: str) -> GuestImage:
    """The image called `name`; builds it when the cache has none for today's recipe.

    Raises KeyError for an unknown name, BuildError or MirrorError when building fails.
    """
    recipe = RECIPES[name]
    cache = Cache()
    login = keys(cache)
    directory = cache.entry(name, _key(recipe, login), lambda building: _build(name, recipe, login, building))
    facts = json.loads((directory / "guest.json").read_text(encoding="utf-8"))
    direct = recipe.firmware == "none"
    return GuestImage(
        name=name,
        disk=directory / "disk.img",
        kernel=directory / "vmlinuz" if direct else None,
        initrd=directory / "initrd.img" if direct else None,
        append=f"root=LABEL={_LABEL} ro {_CONSOLE}",
        firmware=recipe.firmware,
        ssh_user="root",
        ssh_key=login.login,
        host_key=login.host_public,
        kernel_release=facts["kernel_release"],
        packages=facts["packages"],
    )


def requirements() -> dict[str, str]:
    """Commands that building calls, and the Debian package of each."""
    found = {
        "mmdebstrap": "mmdebstrap",
        "apt-get": "apt",
        "unshare": "util-linux",
        "setpriv": "util-linux",
        "mkfs.ext4": "e2fsprogs",
        "tar": "tar",
        "ssh-keygen": "openssh-client",
    }
    if os.geteuid():
        found["newuidmap"] = "uidmap"
    return found


def missing() -> dict[str, str]:
    """Those of `requirements` that this machine lacks."""
    # sbin is not on an ordinary user's PATH.
    path = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return {command: package for command, package in requirements().items() if shutil.which(command, path=path) is None}


def _key(recipe: Recipe, login: Keys) -> str:
    rootfs = {str(path.relative_to(_HERE)): path.read_text(encoding="utf-8") for path in sorted(_HERE.glob("rootfs/**/*")) if path.is_file()}
    return digest(BUILDER_VERSION, recipe.described(), rootfs, (_HERE / "customize.sh").read_text(encoding="utf-8"), login.public)


def _build(name: str, recipe: Recipe, login: Keys, directory: Path) -> None:
    log, tar, root = directory / "build.log", directory / "tree.tar", directory / "tree"
    environment = {
        "LAB_KERNELS": recipe.kernels,
        "LAB_ROOTFS": str(_HERE / "rootfs"),
        "LAB_KEYS": str(login.directory),
        "LAB_HOSTNAME": name,
    }
    hook = ["sh", str(_HERE / "customize.sh")]
    tree.bootstrap(tar, recipe.suite, recipe.all_packages, log=log, backports=recipe.backports, hook=hook, environment=environment)
    # One shell, because without privileges the files' owners exist only inside one user namespace.
    script = f"""
        set -eu
        mkdir {root}
        tar --extract --numeric-owner --xattrs --xattrs-include='*' --file {tar} --directory {root}
        cp {root}/boot/vmlinuz-* {directory}/vmlinuz
        cp {root}/boot/initrd.img-* {directory}/initrd.img
        cp {root}/var/lib/lab-packages {directory}/packages
        ls {root}/lib/modules >{directory}/kernel_release
        truncate --size {recipe.size} {directory}/disk.img
        mkfs.ext4 -q -L {_LABEL} -m 0 -d {root} {directory}/disk.img
        rm -rf {root}
    """
    tree.run(tree.as_root(["sh", "-c", script]), log=log, environment={"PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"})
    tar.unlink()
    facts = {
        "kernel_release": (directory / "kernel_release").read_text(encoding="ascii").strip(),
        "packages": dict(line.split() for line in (directory / "packages").read_text(encoding="ascii").splitlines()),
    }
    (directory / "guest.json").write_text(json.dumps(facts, indent=1, sort_keys=True), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m lab.vm.images", description=__doc__)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--list", action="store_true", help="names of images that can be built")
    group.add_argument("--check", action="store_true", help="whether this machine has what building needs")
    group.add_argument("--build", nargs="+", metavar="NAME", help="build what the cache lacks; qemu is a name too")
    group.add_argument("--path", metavar="NAME", help="directory of an image, which is built if need be")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(RECIPES))
        return 0
    lacking = missing()
    if lacking:
        print("missing: " + ", ".join(f"{command} (Debian package {package})" for command, package in lacking.items()), file=sys.stderr)
        return 1
    unknown = [name for name in [*(options.build or []), *([options.path] if options.path else [])] if name != "qemu" and name not in RECIPES]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: qemu, {', '.join(RECIPES)}", file=sys.stderr)
        return 1
    try:
        for name in options.build or []:
            qemu() if name == "qemu" else guest(name)
        if options.path:
            print(qemu().tree if options.path == "qemu" else guest(options.path).disk.parent)
    except (tree.BuildError, MirrorError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
