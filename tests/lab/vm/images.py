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

from lab.vm import builder, disk
from lab.vm.cache import Cache
from lab.vm.errors import LabError
from lab.vm.keys import make_keys
from lab.vm.qemu_tree import qemu
from lab.vm.recipes import RECIPES
from lab.vm.secure_boot import SecureBoot, secure_boot

MANAGEMENT_MAC = "52:54:00:12:34:56"
"""The one NIC that a guest configures by itself must be a virtio-net-pci with this address, QEMU's default for the first NIC."""


_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class GuestImage:
    """A guest, ready to boot. Its files are shared: run it with `snapshot=on` or on an overlay."""

    name: str
    disk: Path
    """Raw and sparse."""
    kernel: Path | None
    """For direct boot only, like initrd."""
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
    secure_boot: SecureBoot | None = None
    """For uefi: firmware variables with Secure Boot on, and a key of our own that these trust besides Microsoft's."""


def guest(name: str) -> GuestImage:
    """The image called `name`; builds it when the cache has none for today's recipe. Raises LabError."""
    recipe = RECIPES.get(name)
    if recipe is None:
        raise LabError(f"there is no guest {name}; there are {', '.join(RECIPES)}")
    cache = Cache()
    keys = make_keys(cache)
    directory = cache.entry(name, builder.key(recipe, keys), lambda building: builder.build(name, recipe, keys, building))
    facts = json.loads((directory / "guest.json").read_text(encoding="utf-8"))
    direct = recipe.firmware == "none"
    return GuestImage(
        name=name,
        disk=directory / "disk.img",
        kernel=directory / "vmlinuz" if direct else None,
        initrd=directory / "initrd.img" if direct else None,
        append=f"root=LABEL={disk.LABEL} ro {disk.CONSOLE}" if direct else "",
        firmware=recipe.firmware,
        ssh_user="root",
        ssh_key=keys.login,
        host_key=keys.host_public,
        kernel_release=facts["kernel_release"],
        packages=facts["packages"],
        secure_boot=secure_boot(cache) if recipe.firmware == "uefi" else None,
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
        "openssl": "openssl",
    }
    if os.geteuid():
        found["newuidmap"] = "uidmap"
    return found


def missing() -> dict[str, str]:
    """Those of `requirements` that this machine lacks, and what proves that Debian's packages are Debian's."""
    # sbin is not on an ordinary user's PATH.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    found = {command: package for command, package in requirements().items() if shutil.which(command, path=path) is None}
    if not _KEYRING.exists():
        found[str(_KEYRING)] = "debian-archive-keyring"
    return found


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
    try:
        for name in options.build or []:
            _directory(name)
        if options.path:
            print(_directory(options.path))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _directory(name: str) -> Path:
    return qemu().tree if name == "qemu" else guest(name).disk.parent


if __name__ == "__main__":
    sys.exit(main())
