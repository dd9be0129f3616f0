#!/bin/sh
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# boot_loader.sh: installs GRUB from inside a guest that QEMU started with `init=` this file. Runs as process 1, once, and removes itself.
# It is the real grub-install on a real disk, so that later `update-grub`, `grub-reboot` and kernel packages find what they expect.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# A file that runs keeps its file system busy: go on from a copy elsewhere.
if [ "$0" != /run/lab-boot-loader ]; then
  cp "$0" /run/lab-boot-loader
  mount -o remount,rw /
  rm "$0"
  exec /bin/sh /run/lab-boot-loader
fi

finish() {
  # Process 1 must not end before the machine does.
  sync
  echo o >/proc/sysrq-trigger
  while :; do sleep 1; done
}
trap finish EXIT

disk=/dev/$(lsblk --noheadings --output PKNAME "$(findmnt --noheadings --output SOURCE /)")
case $(sed -n 's/.*lab\.firmware=\([a-z]*\).*/\1/p' /proc/cmdline) in
  uefi)
    mkfs.vfat -n LAB-ESP "${disk}15"
    mkdir -p /boot/efi
    mount -t vfat "${disk}15" /boot/efi
    # NVRAM belongs to each machine: the removable path is found without it.
    grub-install --target=x86_64-efi --efi-directory=/boot/efi --no-nvram --force-extra-removable --uefi-secure-boot
    ;;
  bios)
    grub-install --target=i386-pc "$disk"
    ;;
esac
update-grub
if mountpoint -q /boot/efi; then umount /boot/efi; fi
mount -o remount,ro /
echo "lab: boot loader installed"
