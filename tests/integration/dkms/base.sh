#!/bin/sh
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# base.sh HEADERS PACKAGE TREE: mmdebstrap's customize hook. Installs real kernel headers (HEADERS is an extended regular expression), and
# gives the kernel an accel_a of its own, made of PACKAGE: a module without MODULE_VERSION, as mana and mana_ib are.
set -eu
headers=$1 package=$2 tree=$3
export DEBIAN_FRONTEND=noninteractive APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"

install_headers() {
  # The archive's index may name packages that its pool no longer has.
  for name in $(apt-cache pkgnames linux-headers- | grep -Ex "$headers" | sort -rV); do
    if apt-get -o DPkg::Chroot-Directory="$tree" --yes install "$name"; then return 0; fi
  done
  echo "the archive serves no headers that match $headers"
  return 1
}

install_headers
release=$(ls "$tree/lib/modules")
mkdir -p "$tree/root/own" "$tree/lib/modules/$release/kernel/drivers/net"
cp "$package/accel_a.c" "$tree/root/own/"
printf 'obj-m := accel_a.o\nccflags-y := -DVALUE=1\n' >"$tree/root/own/Makefile"
chroot "$tree" sh -eux -s "$release" <<'END'
modules=/lib/modules/$1
make -C "$modules/build" M=/root/own modules
strip -g /root/own/accel_a.ko
cp /root/own/accel_a.ko "$modules/kernel/drivers/net/"
# As compressed as the others of this kernel are, if there are any.
if grep -qs '\.ko\.xz:' "$modules/modules.dep"; then xz "$modules/kernel/drivers/net/accel_a.ko"; fi
touch "$modules/modules.builtin" "$modules/modules.order"
depmod -a "$1"
rm -rf /root/own
END
