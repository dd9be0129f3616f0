#!/bin/sh
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# customize.sh TREE: makes a guest of the system that mmdebstrap has just installed in TREE. mmdebstrap runs it as its customize hook.
#   LAB_KERNELS      kernel packages as an extended regular expression; the newest one that the archive really serves is installed
#   LAB_KERNEL_FROM  a release, such as trixie-backports, that the kernel and what it depends on are preferred from; may be empty
#   LAB_ROOTFS       directory that is copied over the tree
#   LAB_KEYS         directory with the login key's and the host key's files
#   LAB_HOSTNAME     the guest's name
#   LAB_FIRMWARE     none, uefi or bios
#   LAB_BOOT_LOADER  the script that installs GRUB, for uefi and bios
set -eu
tree=$1
export DEBIAN_FRONTEND=noninteractive

say() { printf 'customize: %s\n' "$*"; }

install_kernel() {
  # apt as mmdebstrap itself calls it: outside, with the tree's state, and dpkg inside.
  export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
  # The archive's index may name packages that its pool no longer has, the metapackage's dependency among them.
  for package in $(apt-cache pkgnames linux-image- | grep -Ex "$LAB_KERNELS" | sort -rV); do
    say "trying $package"
    if apt-get -o DPkg::Chroot-Directory="$tree" --yes ${LAB_KERNEL_FROM:+"--target-release=$LAB_KERNEL_FROM"} install "$package"; then return 0; fi
  done
  say "the archive serves no kernel package that matches $LAB_KERNELS"
  return 1
}

configure() {
  cp -R --no-preserve=ownership "$LAB_ROOTFS/." "$tree/"
  printf '%s\n' "$LAB_HOSTNAME" >"$tree/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$LAB_HOSTNAME" >"$tree/etc/hosts"
  # The name server of QEMU's user network.
  printf 'nameserver 10.0.2.3\n' >"$tree/etc/resolv.conf"

  mkdir -p "$tree/root/.ssh"
  chmod 0700 "$tree/root/.ssh"
  cp "$LAB_KEYS/login.pub" "$tree/root/.ssh/authorized_keys"
  rm -f "$tree"/etc/ssh/ssh_host_*
  cp "$LAB_KEYS/host" "$tree/etc/ssh/ssh_host_ed25519_key"
  cp "$LAB_KEYS/host.pub" "$tree/etc/ssh/ssh_host_ed25519_key.pub"
  chown -R 0:0 "$tree/root/.ssh" "$tree/etc/ssh"
  chmod 0600 "$tree/etc/ssh/ssh_host_ed25519_key" "$tree/root/.ssh/authorized_keys"
}

quicken() {
  chroot "$tree" systemctl enable systemd-networkd.service
  # What a guest that lives for minutes never needs, and that takes its time under emulation.
  chroot "$tree" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer getty@tty1.service getty-static.service systemd-networkd-wait-online.service systemd-pstore.service systemd-tmpfiles-clean.timer
  # A machine id that is there already spares the first boot the work of making one.
  printf '%s' "$LAB_HOSTNAME" | md5sum | cut -c 1-32 >"$tree/etc/machine-id"
  # systemd rebuilds the hardware database and other caches when /usr is newer than these two (systemd-update-done.service(8)).
  touch --reference="$tree/usr" "$tree/etc/.updated" "$tree/var/.updated"
}

prepare_boot_loader() {
  if [ "$LAB_FIRMWARE" = none ]; then return 0; fi
  cp "$LAB_BOOT_LOADER" "$tree/usr/local/sbin/lab-boot-loader"
  mkdir -p "$tree/etc/default/grub.d"
  cat >"$tree/etc/default/grub.d/lab.cfg" <<'END'
GRUB_TIMEOUT=0
GRUB_TERMINAL=console
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=ttyS0"
END
  if [ "$LAB_FIRMWARE" = uefi ]; then
    printf 'LABEL=LAB-ESP /boot/efi vfat umask=0077 0 1\n' >>"$tree/etc/fstab"
    # An upgrade of GRUB must renew what this disk is started by.
    echo 'grub-efi-amd64 grub2/force_efi_extra_removable boolean true' | chroot "$tree" debconf-set-selections
  else
    echo 'grub-pc grub-pc/install_devices multiselect /dev/vda' | chroot "$tree" debconf-set-selections
  fi
}

install_kernel
configure
prepare_boot_loader
quicken
# shellcheck disable=SC2016  # dpkg-query's own variables
chroot "$tree" dpkg-query --show --showformat='${Package} ${Version}\n' >"$tree/var/lib/lab-packages"
