# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that boot_guard puts on a host.

Private to this collection. Python 3.6, standard library.
"""

import re
import shlex
from typing import Dict, List, Optional

DIRECTORY = "/var/lib/accelnet/guard"
STATE = DIRECTORY + "/state.json"
DECISION = DIRECTORY + "/decision"  # "confirmed TOKEN" or "fell_back TOKEN what happened"; made once, so that only one side can decide
BOOTED = DIRECTORY + "/booted"  # "TOKEN boot-id" of a trial that came up
RESTORE = DIRECTORY + "/restore"  # shell: the token, and how the old entry becomes the default
SCRIPT = "/usr/libexec/accelnet/boot-guard"  # SELinux lets services run what is in libexec

_UNITS = "/etc/systemd/system/"
TIMER = "accelnet-boot-guard.timer"
SERVICE = "accelnet-boot-guard.service"
EXPIRE = "accelnet-boot-guard-expire.service"
WANTS = {_UNITS + "sysinit.target.wants/" + unit: _UNITS + unit for unit in (TIMER, SERVICE)}  # links
OVERRIDES = tuple(_UNITS + "{0}.service.d/accelnet-boot-guard.conf".format(name) for name in ("emergency", "rescue"))

GRUB_DROP_IN = "/etc/default/grub.d/zz-accelnet-guard.cfg"  # the last one, because any may set a variable anew
GRUB_MAIN = "/etc/default/grub"
APT = "/etc/apt/apt.conf.d/99accelnet-guard"
DNF = "/etc/dnf/dnf.conf"
KERNEL_SYSCONFIG = "/etc/sysconfig/kernel"
PURGE_KERNELS = _UNITS + "purge-kernels.service"

NOTE = "Written by accelnet.mana.boot_guard for a kernel on trial, which removes it afterwards."
_BEGIN, _END = "# BEGIN accelnet.mana.boot_guard", "# END accelnet.mana.boot_guard"

SCRIPT_TEXT = (
    r"""#!/bin/sh
# """
    + NOTE
    + r"""
#
# boot-guard booted     at boot: note that the trial came up, and end a one-shot entry that the boot loader could not end
# boot-guard expire     nobody confirmed the kernel in time
# boot-guard emergency  systemd gave up and was about to open a shell
#
# Does nothing unless the kernel that runs is on trial. The old kernel's entry is the default all the time, so that restarting brings it
# back even where /var is not mounted. ACCELNET_ROOT is for tests.
set -u
root=${ACCELNET_ROOT:-}
[ -n "$root" ] || PATH=/usr/sbin:/usr/bin:/sbin:/bin
guard=$root/var/lib/accelnet/guard

on_trial() {
  read -r line <"$root/proc/cmdline" || return 1
  case " $line " in
    *" accelnet.trial=$(uname -r) "*) return 0 ;;
  esac
  return 1
}

# Nothing of a record that is missing or damaged is needed to go back.
token=none
restore() { :; }
if [ -r "$guard/restore" ] && sh -n "$guard/restore"; then . "$guard/restore"; fi

# Whether it is ours to go back: not when this very arming was confirmed.
decide() {
  made=$guard/decision.$$
  printf 'fell_back %s %s\n' "$token" "$1" >"$made" || return 0
  sync
  if ! ln "$made" "$guard/decision"; then
    read -r verdict owner _ <"$guard/decision" || verdict=none owner=none
    if [ "$owner" != "$token" ]; then
      mv -f "$made" "$guard/decision" # a stale one says nothing
    elif [ "$verdict" = confirmed ]; then
      rm -f "$made"
      return 1
    fi
  fi
  rm -f "$made"
  return 0
}

go_back() {
  echo "accelnet boot-guard: $1: going back to the kernel that ran before" >"$root/dev/kmsg"
  restore
  sync
  trap '' TERM
  systemctl --no-block reboot || systemctl --force reboot
  # What hangs on the way down must not keep the host.
  sleep "$2"
  for key in s u b; do echo "$key" >"$root/proc/sysrq-trigger"; done
}

on_trial || exit 0
case ${1:-} in
  booted)
    printf '%s %s\n' "$token" "$(cat "$root/proc/sys/kernel/random/boot_id")" >"$guard/booted"
    restore
    ;;
  expire)
    decide "nobody confirmed the kernel in time" || exit 0
    go_back "not confirmed in time" 180
    ;;
  emergency)
    decide "systemd went to emergency or rescue mode" || exit 0
    go_back "emergency mode" 45
    ;;
  *)
    exit 2
    ;;
esac
"""
)

# An emergency stops everything else, but for what ignores it.
_UNIT_HEAD = """# {note}
[Unit]
Description={description}
Documentation=https://github.com/accelnet/ansible-collection-mana
DefaultDependencies=no
IgnoreOnIsolate=yes
"""
_SERVICE_TEXT = """ConditionKernelCommandLine=accelnet.trial
After=local-fs.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
ExecStart={script} booted
"""
_EXPIRE_TEXT = """
[Service]
Type=oneshot
ExecStart={script} expire
"""
_TIMER_TEXT = """ConditionKernelCommandLine=accelnet.trial
Conflicts=shutdown.target
Before=shutdown.target

[Timer]
OnBootSec={deadline}
AccuracySec=1
Unit={expire}
"""
_OVERRIDE_TEXT = """# {note}
[Service]
ExecStartPre=-{script} emergency
"""


def units(deadline: int) -> Dict[str, str]:
    """The units by path. They need no network, and no more than the early start of a system. ``deadline``: seconds from the boot."""
    texts = {
        SERVICE: ("Note that a kernel on trial came up", _SERVICE_TEXT),
        EXPIRE: ("Go back to the kernel that ran before", _EXPIRE_TEXT),
        TIMER: ("Time for a kernel on trial to be confirmed", _TIMER_TEXT),
    }
    values = {"note": NOTE, "script": SCRIPT, "deadline": deadline, "expire": EXPIRE}
    files = {_UNITS + name: (_UNIT_HEAD + body).format(description=description, **values) for name, (description, body) in texts.items()}
    files.update((path, _OVERRIDE_TEXT.format(**values)) for path in OVERRIDES)
    return files


def restore_text(token: str, commands: List[List[str]]) -> str:
    """What the script sources: the token of this arming and the way back."""
    lines = ["# " + NOTE, "token=" + shlex.quote(token), "restore() {"]
    lines += ["  " + " ".join(shlex.quote(word) for word in command) for command in commands]
    return "\n".join(lines + ["  :", "}"]) + "\n"


def grub_settings(arguments: List[str]) -> str:
    """Settings for grub-mkconfig: the default is what was pinned; with arguments a trial is prepared."""
    lines = ["# " + NOTE, "GRUB_DEFAULT=saved"]
    if arguments:
        # Last on the command line, so that these count.
        lines += [
            'GRUB_CMDLINE_LINUX_DEFAULT="${{GRUB_CMDLINE_LINUX_DEFAULT:-}} {0}"'.format(" ".join(arguments)),
            # Ubuntu's Azure images try to start without initramfs first. A kernel that needs it would spend the one boot on that.
            "GRUB_FORCE_PARTUUID=",
            # Ubuntu may wait at the menu for ever after a boot that failed.
            "GRUB_RECORDFAIL_TIMEOUT=5",
        ]
    return "\n".join(lines) + "\n"


def with_block(text: str, block: Optional[str]) -> str:
    """A file with our lines at its end, or without them."""
    kept = re.sub(r"(?ms)^{0}\n.*?^{1}\n".format(re.escape(_BEGIN), re.escape(_END)), "", text)
    if block is None:
        return kept
    return "{0}{1}{2}\n{3}{4}\n".format(kept, "" if kept.endswith("\n") or not kept else "\n", _BEGIN, block, _END)


def apt_text(releases: List[str]) -> str:
    """No package of these kernels is removed as no longer needed."""
    # Names like linux-image-6.1.0-50-cloud-amd64, linux-modules-6.8.0-1021-azure.
    rows = ['  "^linux-.*-{0}$";\n'.format(re.escape(release).replace("\\-", "-")) for release in releases]
    return "// {0}\nAPT::NeverAutoRemove {{\n{1}}};\n".format(NOTE, "".join(rows))


def dnf_text(text: str) -> str:
    """dnf.conf with no limit on the number of kernels.

    It would remove the oldest that does not run, so during a trial the one to go back to.
    """
    if re.search(r"^\s*installonly_limit\s*=", text, re.M):
        return re.sub(r"(?m)^\s*installonly_limit\s*=.*$", "installonly_limit=0", text)
    if re.search(r"^\[main\]\s*$", text, re.M):
        return re.sub(r"(?m)^\[main\]\s*$", "[main]\ninstallonly_limit=0", text, count=1)
    return "[main]\ninstallonly_limit=0\n" + text


def sysconfig_text(text: str) -> str:
    """/etc/sysconfig/kernel, where a kernel that is installed does not become the default."""
    return re.sub(r"(?m)^\s*UPDATEDEFAULT=.*$", "UPDATEDEFAULT=no", text)
