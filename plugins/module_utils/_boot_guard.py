# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What boot_guard has to understand: boot entries, GRUB's environment block, and whether a host's NICs are worse than before.

Pure functions. Private to this collection. Python 3.6, standard library.
"""

import re
import shlex
from typing import Any, Dict, List, NamedTuple, Optional

ENVIRONMENT_SIZE = 1024  # bytes; GRUB writes no file of another size (GRUB manual, "Environment block")
MARK = "accelnet.trial"  # argument of a kernel on trial; its value is the release, so that the old kernel knows that it is not meant

# Abstractions and file systems that GRUB can read and not write; source: /etc/grub.d/00_header of Debian and Ubuntu (check_writable).
_NO_WRITE_ABSTRACTIONS = ("diskfilter", "lvm", "mdraid", "cryptodisk", "luks")
_NO_WRITE_FILE_SYSTEMS = ("btrfs", "cpiofs", "newc", "odc", "romfs", "squash4", "tarfs", "zfs")

Entry = NamedTuple(
    "Entry",
    [
        ("id", str),  # as the boot loader takes it: ids of submenus and of the entry, joined by ">"
        ("release", Optional[str]),  # of the kernel that it starts
        ("arguments", str),  # all of the kernel's command lines that it may use, one a line
        ("initrd", bool),
    ],
)

_HEADER = re.compile(r"^\s*(menuentry|submenu)\s")
_BLOCK = re.compile(r"^\s*function\s.*\{\s*$")
_LINUX = re.compile(r"^\s*linux(?:efi|16)?\s+(\S+)\s*(.*)$")
_INITRD = re.compile(r"^\s*initrd(?:efi|16)?\s+\S")
_KERNEL = re.compile(r"/?(?:vmlinuz|vmlinux|linux|Image)-(.+)$")
_ONCE = re.compile(r"save_env\s+(?:-f\s+\S+\s+)?next_entry")


# --- GRUB's menu


def _header_id(line: str) -> str:
    """The id of a menuentry or submenu, else its title; ">" is doubled as GRUB wants it."""
    try:
        words = shlex.split(line.rsplit("{", 1)[0])
    except ValueError:
        return ""
    found = words[1] if len(words) > 1 else ""
    for position in range(2, len(words) - 1):
        if words[position] in ("--id", "$menuentry_id_option", "${menuentry_id_option}"):
            found = words[position + 1]
    return found.replace(">", ">>")


def release_of(path: str) -> Optional[str]:
    """The release in the name of a kernel's file."""
    found = _KERNEL.search(path)
    return found.group(1) if found else None


def parse_menu(text: str) -> List[Entry]:
    """The entries of a grub.cfg that grub-mkconfig wrote, in its order."""
    entries: List[Entry] = []
    stack: List[Dict[str, Any]] = []
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header or _BLOCK.match(line):
            stack.append({"kind": header.group(1) if header else "function", "id": _header_id(line) if header else ""})
            stack[-1].update(release=None, arguments=[], initrd=False)
        elif line.strip() == "}" and stack:
            done = stack.pop()
            if done["kind"] == "menuentry":
                ids = [one["id"] for one in stack if one["kind"] == "submenu"] + [done["id"]]
                entries.append(Entry(">".join(ids), done["release"], "\n".join(done["arguments"]), done["initrd"]))
        elif stack and stack[-1]["kind"] == "menuentry":
            linux = _LINUX.match(line)
            if linux:
                stack[-1]["release"] = stack[-1]["release"] or release_of(linux.group(1))
                stack[-1]["arguments"].append(linux.group(2))
            elif _INITRD.match(line):
                stack[-1]["initrd"] = True
    return entries


def is_recovery(entry: Entry) -> bool:
    """Whether it starts a shell for repairs."""
    words = entry.arguments.split()
    return any(word in words for word in ("single", "recovery", "rescue", "systemd.unit=rescue.target")) or bool(
        re.search(r"-recovery-|\(recovery mode\)|0-rescue", entry.id)
    )


def find_entry(entries: List[Entry], release: str) -> Optional[Entry]:
    """The entry that starts this kernel now and after any kernel update.

    Its id has to name the release: the id of Debian's and SUSE's first entry ("gnulinux-simple-…") means whichever kernel is the newest.
    """
    named = re.compile(r"(?<![0-9.]){0}(?![0-9])".format(re.escape(release)))
    found = [entry for entry in entries if entry.release == release and not is_recovery(entry) and named.search(entry.id.split(">")[-1])]
    return found[0] if found else None


def boots_once(text: str) -> bool:
    """Whether a grub.cfg looks for a one-shot entry and ends it by writing the environment block."""
    return bool(_ONCE.search(text))


def uses_bls(text: str) -> bool:
    """Whether a grub.cfg takes its entries from /boot/loader/entries."""
    return bool(re.search(r"^\s*blscfg\b", text, re.M))


def write_obstacle(abstractions: str, file_system: str, environment: Dict[str, str]) -> Optional[str]:
    """Why GRUB cannot write its environment block, from what grub-probe says of its directory; None when it can."""
    for abstraction in abstractions.split():
        if abstraction.startswith(_NO_WRITE_ABSTRACTIONS):
            return "GRUB cannot write to {0}".format(abstraction)
    # SUSE's GRUB keeps it in a reserved area of btrfs, and then says so in the file.
    if file_system.strip() in _NO_WRITE_FILE_SYSTEMS and not (file_system.strip() == "btrfs" and environment.get("env_block")):
        return "GRUB cannot write to {0}".format(file_system.strip())
    return None


def parse_environment(text: str) -> Dict[str, str]:
    """The variables of an environment block, or of what ``grub-editenv list`` prints."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key] = re.sub(r"\\(.)", r"\1", value)
    return found


# --- Boot Loader Specification, type 1


def parse_bls(name: str, text: str) -> Entry:
    """An entry file; its id is its name without ".conf"."""
    keys: Dict[str, List[str]] = {}
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            keys.setdefault(words[0], []).append(words[1].strip())
    linux = (keys.get("linux") or [""])[0]
    release = release_of(linux) or (keys.get("version") or [""])[0] or None
    return Entry(re.sub(r"\.conf$", "", name), release, " ".join(keys.get("options", [])), bool(keys.get("initrd")))


def trial_bls(text: str, arguments: str) -> str:
    """The same entry with more arguments, told from the other by its title."""
    lines = []
    done = False
    for line in text.splitlines():
        key = line.split(None, 1)[0] if line.strip() else ""
        if key == "title":
            line += " (on trial)"
        if key == "options" and not done:
            line, done = "{0} {1}".format(line.rstrip(), arguments), True
        # Tools would take a copy for the entry that they keep themselves.
        if key not in ("id", "grub_arg", "machine-id", "sort-key"):
            lines.append(line)
    if not done:
        lines.append("options " + arguments)
    return "\n".join(lines) + "\n"


# --- Arguments


def trial_arguments(release: str, dracut: bool) -> List[str]:
    """What makes a kernel that fails start again, rather than wait for somebody at the console.

    A Debian cloud kernel is built with PANIC_TIMEOUT=0 and would halt for ever. initramfs-tools takes ``panic`` too: it
    then restarts where it would open a shell (initramfs-tools(7)). For dracut see dracut.cmdline(7), for systemd systemd(1).
    """
    arguments = ["panic=30", "oops=panic", "systemd.crash_reboot=1"]
    if dracut:
        arguments += ["rd.shell=0", "rd.emergency=reboot"]
    return arguments + ["{0}={1}".format(MARK, release)]


def lacks_arguments(entry: Entry, arguments: List[str]) -> List[str]:
    """Those that are missing in one of the command lines of an entry, or are overridden by a later one."""
    missing = []
    for line in entry.arguments.splitlines() or [""]:
        last: Dict[str, str] = {}
        for word in line.split():
            last[word.split("=")[0]] = word
        for argument in arguments:
            key, _equals, _value = argument.partition("=")
            good = last.get(key) == argument
            if key == "panic" and re.match(r"panic=-?[1-9][0-9]*$", last.get(key, "")):
                good = True  # it restarts, only sooner or later
            if not good and argument not in missing:
                missing.append(argument)
    return missing


def is_trial(cmdline: str, running: Optional[str]) -> bool:
    """Whether the kernel that runs is on trial."""
    return bool(running) and "{0}={1}".format(MARK, running) in cmdline.split()


# --- NICs before and after


def nics_worse(before: Dict[str, Any], after: Dict[str, Any]) -> Dict[str, List[str]]:
    """``failed``: what got worse; ``waiting``: what is not there yet, and may come.

    Both are results of nic_info. A function that is missing is unknown, because Azure takes it away for minutes while it services the
    host. A function that is there and lacks the driver that it had is a failure, and so is a missing synthetic interface.
    """
    failed: List[str] = []
    waiting: List[str] = []
    kinds = {function["kind"] for function in before.get("pci_functions") or [] if function["driver"]}
    functions = after.get("pci_functions") or []
    for function in functions:
        if function["kind"] in kinds and function["driver"] is None:
            failed.append("{0} ({1}) has no driver".format(function["address"], function["kind"]))
    running = next((kernel for kernel in after.get("kernels") or [] if kernel["running"]), None)
    bound = {function["expected_module"] for function in before.get("pci_functions") or [] if function["driver"]}
    for module in sorted(name for name in bound if name):
        state = (running or {}).get("modules", {}).get(module, {}).get("state")
        if state == "absent":
            failed.append("the kernel has no {0}".format(module))
    there = {nic["mac"]: nic for nic in after.get("nics") or []}
    for nic in before.get("nics") or []:
        name = "{0} ({1})".format(nic["interface"] or "a NIC in user space", nic["mac"])
        now = there.get(nic["mac"])
        if now is None:
            # A VF without partner is the function itself: it may be serviced. Its connection counts below, as that of others does.
            (waiting if nic["synthetic"] is None else failed).append("{0} is missing".format(name))
            continue
        if nic["vf"] and not now["vf"]:
            waiting.append("{0} has no virtual function".format(name))
        if nic["addresses"] and not now["addresses"] and now["addresses"] is not None:
            waiting.append("{0} has no address".format(name))
    had_route = [nic for nic in before.get("nics") or [] if nic["default_route"]]
    if had_route and not any(nic["default_route"] for nic in there.values()):
        waiting.append("there is no default route")
    return {"failed": failed, "waiting": waiting}


def tolerable(waiting: List[str]) -> bool:
    """Whether a trial may be confirmed although these did not come in time: virtual functions may stay away, connections not."""
    return all(entry.endswith("has no virtual function") for entry in waiting)
