# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which driver a device is to have, kept over reboots: PCI by driverctl, VMBus by a unit of our own.

driverctl cannot do VMBus: its unit unescapes its instance name, so every ``-`` of a GUID becomes ``/`` (0.111 and 0.115).
Nothing is ever written to ``new_id``: that would be for all devices of the class, the one of our connection among them.

Sources: Linux drivers/hv/vmbus_drv.c (driver_override, since 4.18; drivers_probe is every bus's), systemd.unit(5).
Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _system
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_guid, is_pci_address
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System

LIST = "/etc/accelnet/vmbus-overrides"
SCRIPT = "/usr/libexec/accelnet/vmbus-override"
UNIT_NAME = "accelnet-vmbus-override.service"
UNIT = "/etc/systemd/system/" + UNIT_NAME
WANTED = "/etc/systemd/system/sysinit.target.wants/" + UNIT_NAME
_LIST_HEAD = "# Written by accelnet.mana: the driver that each of these VMBus devices gets at boot.\n"
_DRIVER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")

SCRIPT_TEXT = r"""#!/bin/sh
# Written by accelnet.mana. Gives VMBus devices the drivers that the list names, or one of them back to its own driver.
#
#   vmbus-override apply                  all that /etc/accelnet/vmbus-overrides names
#   vmbus-override apply GUID DRIVER      this one
#   vmbus-override release GUID           unset the override and let the kernel choose
#
# It runs before anything configures the network, so that the kernel never shows an interface that somebody could take.
set -u
sysfs=${ACCELNET_SYSFS:-/sys}
list=${ACCELNET_VMBUS_OVERRIDES:-/etc/accelnet/vmbus-overrides}
modprobe=${ACCELNET_MODPROBE:-modprobe}
bus=$sysfs/bus/vmbus

fail() { echo "accelnet: $*" >&2; return 1; }

# The driver that a device has, or nothing.
driver_of() {
  if [ -L "$bus/devices/$1/driver" ]; then basename "$(readlink "$bus/devices/$1/driver")"; fi
}

# The kernel prints (null) for an override that is not set.
override_of() {
  value=$(cat "$bus/devices/$1/driver_override" 2>/dev/null)
  if [ "$value" != "(null)" ]; then printf '%s' "$value"; fi
}

# Drivers may be probed in the background. Without a second argument any driver will do.
wait_for_driver() {
  for pause in 0 0.1 0.2 0.5 1 1 2; do
    sleep "$pause"
    now=$(driver_of "$1")
    if [ -n "$now" ] && [ "$now" = "${2:-$now}" ]; then return 0; fi
  done
  return 1
}

# Where hv_vmbus is a module, devices come some time after us; the first of them brings all.
wait_for_bus() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    for device in "$bus"/devices/*; do
      if [ -e "$device" ]; then return 0; fi
    done
    sleep 1
  done
  return 1
}

unbind() {
  now=$(driver_of "$1")
  if [ -n "$now" ]; then printf '%s\n' "$1" >"$bus/drivers/$now/unbind" || fail "$1: cannot be taken from $now"; fi
}

apply() {
  guid=$1 driver=$2
  case $guid in '' | *[!0-9a-f-]*) fail "'$guid' is no GUID"; return 1 ;; esac
  case $driver in '' | *[!A-Za-z0-9_-]*) fail "'$driver' is no driver"; return 1 ;; esac
  [ -d "$bus/devices/$guid" ] || { fail "$guid: there is no such VMBus device"; return 1; }
  # The override comes first: from then on no other driver takes the device.
  if [ "$(override_of "$guid")" != "$driver" ]; then
    printf '%s\n' "$driver" >"$bus/devices/$guid/driver_override" || { fail "$guid: the kernel refuses the override"; return 1; }
  fi
  [ "$(driver_of "$guid")" = "$driver" ] && return 0
  "$modprobe" -q -- "$driver" || [ -d "$bus/drivers/$driver" ] || { fail "there is no driver $driver"; return 1; }
  unbind "$guid" || return 1
  printf '%s\n' "$guid" >"$bus/drivers_probe" || fail "$guid: $driver refused it"
  wait_for_driver "$guid" "$driver" || fail "$guid: has driver '$(driver_of "$guid")', not $driver"
}

release() {
  guid=$1
  case $guid in '' | *[!0-9a-f-]*) fail "'$guid' is no GUID"; return 1 ;; esac
  [ -d "$bus/devices/$guid" ] || return 0
  override=$(override_of "$guid")
  [ -n "$override" ] || return 0
  printf '\n' >"$bus/devices/$guid/driver_override" || { fail "$guid: the override cannot be unset"; return 1; }
  if [ "$(driver_of "$guid")" = "$override" ]; then unbind "$guid" || return 1; fi
  printf '%s\n' "$guid" >"$bus/drivers_probe"
  wait_for_driver "$guid" || fail "$guid: no driver took it"
}

case ${1:-} in
  apply)
    if [ $# -eq 3 ]; then apply "$2" "$3"; exit; fi
    [ -r "$list" ] || exit 0
    wait_for_bus || { fail "there is no VMBus device"; exit 1; }
    status=0
    while read -r guid driver rest; do
      case $guid in '' | '#'*) continue ;; esac
      apply "$guid" "$driver$rest" || status=1
    done <"$list"
    exit "$status"
    ;;
  release) [ $# -eq 2 ] && release "$2" ;;
  *) fail "usage: vmbus-override apply [GUID DRIVER] | release GUID"; exit 2 ;;
esac
"""

UNIT_TEXT = """\
# Written by accelnet.mana.
[Unit]
Description=Give VMBus devices the drivers that accelnet.mana recorded
Documentation=https://docs.kernel.org/virt/hyperv/vmbus.html
DefaultDependencies=no
ConditionPathExists={list}
RequiresMountsFor=/etc /usr
After=systemd-remount-fs.service
Wants=network-pre.target
Before=network-pre.target cloud-init-main.service cloud-init-local.service sysinit.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={script} apply
TimeoutStartSec=90

[Install]
WantedBy=sysinit.target
""".format(list=LIST, script=SCRIPT)


def check_names(bus: str, device: str, driver: Optional[str]) -> None:
    """Raises AccelnetError (bad_device) for what can be neither."""
    if not (is_pci_address if bus == "pci" else is_guid)(device):
        raise AccelnetError("bad_device", "{0!r} is no device of the bus {1}".format(device, bus))
    if driver is not None and not _DRIVER.match(driver):
        raise AccelnetError("bad_device", "{0!r} is no name of a driver".format(driver))


def read_list(system: System) -> Dict[str, str]:
    """Driver by GUID of what the unit binds at boot."""
    found = {}
    for line in (system.read(LIST) or "").splitlines():
        words = line.split()
        if len(words) == 2 and is_guid(words[0]):
            found[words[0]] = words[1]
    return found


def write_list(system: System, overrides: Dict[str, str]) -> None:
    """Make the unit bind these and no others; without any the unit goes."""
    if overrides:
        lines = ["{0} {1}\n".format(guid, driver) for guid, driver in sorted(overrides.items())]
        changed = system.write(SCRIPT, SCRIPT_TEXT, 0o755)
        changed = system.write(UNIT, UNIT_TEXT) or changed
        changed = system.symlink(WANTED, "../" + UNIT_NAME) or changed
        system.write(LIST, _LIST_HEAD + "".join(lines))
    else:
        removed = [system.remove(path) for path in (WANTED, UNIT, SCRIPT, LIST)]
        changed = any(removed)
        system.tidy("/etc/accelnet", "/usr/libexec/accelnet")
    if changed and system.exists("/run/systemd/system"):
        system.run(["systemctl", "daemon-reload"])


def state_of(system: System, bus: str, device: str) -> Dict[str, Any]:
    """What a device has now, and at boot."""
    base = "/sys/bus/{0}/devices/{1}".format(bus, device)
    override = system.value(base + "/driver_override")
    if bus == "pci":
        boot = system.value("/etc/driverctl.d/pci-" + device)
    else:
        boot = read_list(system).get(device)
    return {
        "present": system.exists(base),
        "driver": system.link_name(base + "/driver"),
        "driver_override": None if override == "(null)" else override,
        "boot": boot,
    }


def run_script(system: System, arguments: List[str]) -> Tuple[int, str]:
    """Run the script that binds VMBus devices; below another root against the sysfs there, without loading modules."""
    command = ["sh", "-c", SCRIPT_TEXT, SCRIPT] + arguments
    system.commands.append([SCRIPT] + arguments)
    if system.check:
        return 0, ""
    if system.live:
        return _system.run(command)
    return _system.run(command, {"ACCELNET_SYSFS": system.place("/sys"), "ACCELNET_MODPROBE": "true"})


def _set_vmbus(system: System, device: str, driver: Optional[str]) -> None:
    now = state_of(system, "vmbus", device)
    overrides = {guid: name for guid, name in read_list(system).items() if guid != device}
    if driver is not None:
        overrides[device] = driver
    # The list first: should we die in between, a reboot has what was asked for.
    write_list(system, overrides)
    if not now["present"]:
        return
    if driver is not None and (now["driver"], now["driver_override"]) != (driver, driver):
        system.act("bind {0} to {1}".format(device, driver))
        code, output = run_script(system, ["apply", device, driver])
    elif driver is None and now["driver_override"]:
        system.act("give {0} back to its own driver".format(device))
        code, output = run_script(system, ["release", device])
    else:
        return
    if code:
        raise AccelnetError("bind_failed", "{0}: {1}".format(device, output or code))


def _set_pci(system: System, device: str, driver: Optional[str]) -> None:
    now = state_of(system, "pci", device)
    if driver is not None and (now["boot"], now["driver_override"], now["driver"]) == (driver, driver, driver):
        return
    if driver is None and not now["boot"] and not now["driver_override"]:
        return
    words = ["set-override", device, driver] if driver is not None else ["unset-override", device]
    system.act("driverctl -b pci {0}".format(" ".join(words)))
    code, output = system.run(["driverctl", "-b", "pci"] + words)
    if code:
        raise AccelnetError(
            "driverctl_missing" if code == 127 else "bind_failed", "{0}: driverctl failed: {1}".format(device, output or code)
        )


def set_override(system: System, bus: str, device: str, driver: Optional[str]) -> List[str]:
    """Give a device this driver now and at every boot; None lets the kernel choose again.

    Returns what has to be there first, in check mode: ``driverctl``, ``device``. Raises AccelnetError: bad_device,
    device_missing, driverctl_missing, bind_failed.
    """
    check_names(bus, device, driver)
    needs = []
    if bus == "pci" and driver is not None and system.which("driverctl") is None:
        needs.append("driverctl")
    if driver is not None and not state_of(system, bus, device)["present"]:
        needs.append("device")
    if needs and not system.check:
        if "device" in needs:
            raise AccelnetError("device_missing", "{0}: the bus {1} has no such device".format(device, bus))
        raise AccelnetError("driverctl_missing", "driverctl is not installed; it keeps the drivers of PCI devices over reboots")
    (_set_pci if bus == "pci" else _set_vmbus)(system, device, driver)
    if system.check or (bus == "pci" and not system.live):
        return needs
    after = state_of(system, bus, device)
    wrong = after["driver"] != driver or after["boot"] != driver if driver is not None else after["boot"] or after["driver_override"]
    if wrong and after["present"]:
        raise AccelnetError("bind_failed", "{0}: reads back as {1}".format(device, after))
    return needs
