# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of guests: one file system for direct boot, or partitions with GRUB as on Azure. No loop devices, no mounts on this machine.

Source of the layout: Debian's images for Azure have the root file system in partition 1, the BIOS boot partition in 14 and the EFI
system partition in 15, so that one disk starts on Gen1 (BIOS) and on Gen2 (UEFI).
"""

from __future__ import annotations

from pathlib import Path

from lab.vm import tools, tree
from lab.vm.qemu_tree import qemu

LABEL = "lab-root"
CONSOLE = "console=ttyS0"

_SECTOR = 512
_ROOT_START = 128 << 20
"""Where partition 1 starts, in bytes; the two small ones are in front of it."""
_GPT_BACKUP = 1 << 20
"""Kept free at the end of the disk for the copy of the partition table."""

# Spelled out, because defaults differ: newer mkfs.ext4 set features that the GRUB and fsck of older guests refuse.
_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,"
    "extra_isize,metadata_csum"
)
_PATIENCE = 900.0  # seconds; on an idle machine it takes less than one minute


def make(root: str, disk: str, size: int, *, partitioned: bool) -> str:
    """Shell commands that turn the tree `root` into a disk of which the root file system has `size` bytes."""
    start, end = (_ROOT_START, _GPT_BACKUP) if partitioned else (0, 0)
    # Tables that are written now need not be written by the guest's kernel while tests run.
    options = f"-q -F -L {LABEL} -m 0 -O {_FEATURES} -E lazy_itable_init=0,lazy_journal_init=0,offset={start}"
    return f"""
        truncate --size {start + size + end} {disk}
        mkfs.ext4 {options} -d {root} {disk} {size // 1024}k
    """


def partition(disk: Path, size: int, *, log: Path) -> None:
    """Write the partition table of a disk that has its root file system already."""
    table = f"""
        label: gpt
        1: start={_ROOT_START // _SECTOR}, size={size // _SECTOR}, type=linux, name=root
        14: start=2048, size=6144, type=21686148-6449-6E6F-744E-656564454649, name=bios-boot
        15: start=8192, size={_ROOT_START // _SECTOR - 8192}, type=uefi, name=esp
    """
    tree.run([*tools.sfdisk(), "--quiet", str(disk)], log=log, text=table)


def install_boot_loader(disk: Path, kernel: Path, initrd: Path, firmware: str, *, log: Path) -> None:
    """Start the guest once, in QEMU, to let it install its own GRUB. Raises BuildError."""
    program = qemu()
    append = f"root=LABEL={LABEL} ro {CONSOLE} panic=-1 init=/usr/local/sbin/lab-boot-loader lab.firmware={firmware}"
    machine = ["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1G", "-nodefaults", "-no-reboot"]
    console = ["-display", "none", "-serial", "stdio"]
    drive = ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    boot = ["-kernel", str(kernel), "-initrd", str(initrd), "-append", append]
    tree.run([*program.argv, *machine, *console, *drive, *boot], log=log, environment=program.environment, timeout=_PATIENCE)
    if "lab: boot loader installed" not in log.read_text(encoding="utf-8", errors="replace"):
        raise tree.failure("installing GRUB in the guest did not work", log)
