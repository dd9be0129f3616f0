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
    "e2fsprogs",
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
    """Whether the suite's backports are among its sources; only the kernel is then preferred from there."""
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
_TRIXIE = r"linux-image-6\.12\.[0-9.]+\+deb13[0-9.]*-cloud-amd64"
_TRIXIE_BACKPORTS = r"linux-image-[0-9.]+\+deb13[0-9.]*-cloud-amd64"  # newest of all: sorts before the suite's own

# Debian 12's DPDK is built without net_mana. dpdk-testpmd is in dpdk-dev, which brings every driver and header along.
_DPDK = ("rdma-core", "ibverbs-providers", "ibverbs-utils", "dpdk", "dpdk-dev")

# As on Azure's own images: signed, so that it starts with and without Secure Boot.
_UEFI = ("grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "mokutil", "dosfstools")
_BIOS = ("grub-pc",)

RECIPES = {
    "debian-11": Recipe("bullseye", _BULLSEYE),
    "debian-12": Recipe("bookworm", _BOOKWORM),
    "debian-13": Recipe("trixie", _TRIXIE),
    "debian-13-backports": Recipe("trixie", _TRIXIE_BACKPORTS, backports=True),
    "debian-13-dpdk": Recipe("trixie", _TRIXIE, _DPDK),
    "debian-12-uefi": Recipe("bookworm", _BOOKWORM, _UEFI, firmware="uefi"),
    "debian-13-uefi": Recipe("trixie", _TRIXIE, _UEFI, firmware="uefi"),
    "debian-12-bios": Recipe("bookworm", _BOOKWORM, _BIOS, firmware="bios"),
}
