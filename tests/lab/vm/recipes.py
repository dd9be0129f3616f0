# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each guest is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_BASE = (
    "systemd-sysv",
    "udev",
    "kmod",
    "busybox",  # initramfs-tools recommends it, so stock systems have it in the initramfs
    "initramfs-tools",
    "zstd",
    "openssh-server",
    "python3",
    "python3-apt",
    "procps",
    "iproute2",
    "iputils-ping",
    "ethtool",
    "pciutils",
    "iperf3",
    "tcpdump",
)


@dataclass(frozen=True)
class Recipe:
    """One guest. Everything here is part of the cache key."""

    suite: str
    kernels: str
    """Names of kernel packages, an extended regular expression: the newest that the archive really serves is taken.

    A metapackage is not named because it may depend on a version that is gone.
    """
    packages: tuple[str, ...] = ()
    """Besides the base."""
    backports: bool = False
    """Whether the suite's backports are among its sources; they are not preferred."""
    firmware: str = "none"
    """none: QEMU loads the kernel, and the disk is one file system. uefi and bios: a partitioned disk with GRUB."""
    size: int = 2 << 30
    """Of the root file system in bytes; the file is sparse."""

    @property
    def all_packages(self) -> tuple[str, ...]:
        return _BASE + self.packages

    def described(self) -> dict[str, Any]:
        """For the cache key."""
        return {**asdict(self), "packages": self.all_packages}


_BULLSEYE = r"linux-image-5\.10\.0-[0-9]+-cloud-amd64"
_BOOKWORM = r"linux-image-6\.1\.[0-9.-]+-cloud-amd64"
_TRIXIE = r"linux-image-6\.12\.[0-9.]+\+deb13-cloud-amd64"
_TRIXIE_BACKPORTS = r"linux-image-[67]\.[0-9.]+\+deb13-cloud-amd64"

RECIPES = {
    "debian-11": Recipe("bullseye", _BULLSEYE),
    "debian-12": Recipe("bookworm", _BOOKWORM),
    "debian-13": Recipe("trixie", _TRIXIE),
}
