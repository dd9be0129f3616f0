# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swapping the drivers in memory: whether it may be done, and the transaction that does it on the host by itself.

Private to this collection. Python 3.6, standard library.
"""

import os
import re
import shlex
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

SCRIPT_PATH = "/usr/libexec/accelnet/driver-reload"
STATE_DIRECTORY = "/var/lib/accelnet/reload"
# Unloaded in this order, loaded in the other.
MODULES = ("mana_ib", "mana")
# States that the script ends in.
CONFIRMED, REVERTED, FAILED = "confirmed", "reverted", "failed"
FINAL = (CONFIRMED, REVERTED, FAILED)
LOADED = "loaded"

_TOKEN = re.compile(r"[0-9a-f]{16}")

# Runs as a transient unit, so it goes on when the connection that started it is gone. Everything it needs is in JOB: nothing
# is asked of the network. Busy loops are bounded by $timeout and $confirm, both in seconds.
SCRIPT = r"""#!/bin/sh
# driver-reload DIRECTORY: swaps kernel modules as one transaction. Written by the Ansible module accelnet.mana.driver_reload.
set -u
cd "$1" || exit 1
. ./job

state() {
  printf '%s\n' "$*" > state.new && mv state.new state
  logger -t accelnet-driver-reload "$*" 2>/dev/null || :
}

interface_of() { # MAC: the interface with this MAC that has a PCI function below it
  for entry in /sys/class/net/*; do
    [ -e "$entry/device/vendor" ] || continue
    [ "$(cat "$entry/address" 2>/dev/null)" = "$1" ] && { basename "$entry"; return; }
  done
}

remember() { # what the kernel forgets with the interface: whether it was up, its own addresses and routes
  for mac in $macs; do
    name=$(interface_of "$mac")
    [ -n "$name" ] || continue
    flags=$(cat "/sys/class/net/$name/flags" 2>/dev/null || echo 0)
    [ $((flags & 1)) = 1 ] && echo "$mac" >> up
    [ -e "/sys/class/net/$name/master" ] && continue
    ip -o address show dev "$name" scope global | sed -n 's/^.* \(inet6\{0,1\} [^ ]*\).*$/\1/p' |
      while read -r _ address; do echo "$mac $address"; done >> addresses
    for family in -4 -6; do
      ip $family route show dev "$name" proto static 2>/dev/null | while read -r route; do echo "$mac $family $route"; done >> routes
      ip $family route show dev "$name" proto boot 2>/dev/null | while read -r route; do echo "$mac $family $route"; done >> routes
    done
  done
}

restore() {
  [ -s up ] && while read -r mac; do
    name=$(interface_of "$mac")
    [ -n "$name" ] && ip link set "$name" up
  done < up
  [ -s addresses ] && while read -r mac address; do
    name=$(interface_of "$mac")
    [ -n "$name" ] && ip address replace "$address" dev "$name"
  done < addresses
  [ -s routes ] && while read -r mac family route; do
    name=$(interface_of "$mac")
    # shellcheck disable=SC2086 # a route is several words
    [ -n "$name" ] && ip $family route replace $route dev "$name"
  done < routes
  return 0
}

unload() {
  for module in $unload; do
    [ -e "/sys/module/$module" ] || continue
    rmmod "$module" || { reason="$module cannot be unloaded"; return 1; }
  done
}

there() { # every NIC is back, with carrier if it is up
  for mac in $macs; do
    name=$(interface_of "$mac")
    [ -n "$name" ] || return 1
    if [ -s up ] && grep -qx "$mac" up; then
      [ "$(cat "/sys/class/net/$name/carrier" 2>/dev/null)" = 1 ] || return 1
    fi
  done
}

wait_for_nics() {
  left=$timeout
  while [ "$left" -gt 0 ]; do
    udevadm settle --timeout=5 2>/dev/null
    restore 2>/dev/null
    there && return 0
    sleep 1
    left=$((left - 1))
  done
  reason="not every NIC came back within $timeout s"
  return 1
}

revert() {
  reason=$*
  unload || :
  for file in $fallback; do insmod "$file" 2>/dev/null || :; done
  for module in $fallback_names; do modprobe "$module" 2>/dev/null || :; done
  if [ -z "$fallback$fallback_names" ] || wait_for_nics; then state "reverted: $*"; else state "failed: $*; $reason"; fi
  exit 1
}

state unloading
: > up; : > addresses; : > routes
remember
reason=
unload || revert "$reason"
state loading
for module in $load; do
  modprobe "$module" || revert "$module cannot be loaded: $(dmesg 2>/dev/null | tail -n 1)"
done
wait_for_nics || revert "$reason"
state loaded
left=$confirm
while [ "$left" -gt 0 ]; do
  [ "$(cat confirm 2>/dev/null)" = "$token" ] && { state confirmed; exit 0; }
  sleep 1
  left=$((left - 1))
done
revert "nobody confirmed within $confirm s"
"""


Holder = NamedTuple("Holder", [("module", str), ("why", str)])


def is_current(module: Dict[str, Any]) -> bool:
    """Whether what is in memory is what would be loaded now, as far as the kernel tells: modules without srcversion are taken as such."""
    return bool(module["loaded"]) and module["loaded_srcversion"] == module["srcversion"]


def is_token(text: str) -> bool:
    return bool(_TOKEN.fullmatch(text))


def job(values: Dict[str, Any]) -> str:
    """The file that the script reads: shell assignments, lists as words."""
    lines = []
    for name, value in sorted(values.items()):
        text = " ".join(value) if isinstance(value, (list, tuple)) else str(value)
        lines.append("{0}={1}\n".format(name, shlex.quote(text)))
    return "".join(lines)


def obstacles(nics: Optional[List[Dict[str, Any]]], verbs_users: Iterable[str], protected: Iterable[str]) -> List[str]:
    """Why a swap would not be safe: in words, one a reason. ``nics``: as nic_info has them, None unknown.

    ``verbs_users``: programs that hold a verbs device. ``protected``: MACs that hold the connection or the default route.
    A paired NIC falls back to its synthetic interface while its driver is away, so connections through it live on.
    """
    found = []
    if nics is None:
        return ["the NICs are unknown"]
    for program in sorted(set(verbs_users)):
        found.append("{0} holds a verbs device".format(program))
    guarded = set(protected)
    for nic in nics:
        if nic.get("kind") != "mana" or not nic.get("vf"):
            continue
        if nic.get("use") == "userspace":
            found.append("NIC {0} belongs to user space".format(nic["mac"]))
        elif not nic.get("paired") and (nic["mac"] in guarded or nic.get("default_route")):
            found.append("NIC {0} has no synthetic partner and carries the connection or the default route".format(nic["mac"]))
    return found


def users_of_verbs(proc: str = "/proc", device_directory: str = "/dev/infiniband") -> List[str]:
    """Names of the processes that have a verbs device open. Needs root to see those of others."""
    found = []
    for pid in os.listdir(proc):
        if not pid.isdigit():
            continue
        directory = os.path.join(proc, pid, "fd")
        try:
            targets = [os.readlink(os.path.join(directory, name)) for name in os.listdir(directory)]
        except OSError:
            continue  # gone, or not ours to see
        if any(target.startswith(device_directory + "/uverbs") for target in targets):
            try:
                with open(os.path.join(proc, pid, "comm"), encoding="utf-8", errors="replace") as stream:
                    found.append("{0} ({1})".format(stream.read().strip(), pid))
            except OSError:
                found.append(pid)
    return found


def in_tree_files(directory: str, modules: Iterable[str]) -> Dict[str, str]:
    """By module its file below kernel/ of a kernel's module directory: what the distribution delivered."""
    wanted = set(modules)
    found = {}
    for folder, _folders, names in os.walk(os.path.join(directory, "kernel", "drivers")):
        for name in names:
            module = name.split(".")[0].replace("-", "_")
            if module in wanted and ".ko" in name:
                found[module] = os.path.join(folder, name)
    return found
