# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids the loading of kernel modules: modprobe.d and kernel command lines.

Sources: modprobe.d(5), kernel-parameters.txt (module_blacklist=), kmod's modprobe.blacklist=,
dracut.cmdline(7) (rd.driver.blacklist=), systemd modules-load.d(5). Private. Python 3.6, standard library.
"""

import re
from typing import Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

# A file in an earlier directory hides files of the same name in later ones.
MODPROBE_DIRS = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")

# The value may be quoted; kernel parameters, but not those of programs, know no difference between - and _.
_PARAMETER = re.compile(r"(?:^|[\s\"'])(module[-_]blacklist|modprobe\.blacklist|rd\.driver\.blacklist)=[\"']?([^\s\"']+)")
# Not \s at the start of a line: it takes line feeds too, and a run of them would be tried from each of its lines.
_UNSUPPORTED = re.compile(r"^[ \t]*allow_unsupported_modules[ \t]+([01])\b", re.M)
# Not those of rescue entries (_RECOVERY) and of Xen.
GRUB_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)\+?=(.*)$", re.M)
# The Boot Loader Specification's type 1.
_BLS_LINE = re.compile(r"^(version|linux|options)[ \t]+(.*)$", re.M)

Entries = List[Tuple[str, str]]  # module, where it is forbidden
BootEntry = NamedTuple("BootEntry", [("version", str), ("linux", str), ("entries", Entries)])


def normal(module: str) -> str:
    """A module's name as the kernel has it: ``-`` and ``_`` are the same."""
    return module.replace("-", "_")


def parse_modprobe(text: str, source: str) -> Entries:
    """The modules that one modprobe.d file forbids: blacklist, an install command that loads nothing, alias off."""
    entries: Entries = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) < 2:
            continue
        forbids = (
            words[0] == "blacklist"
            or (words[0] == "install" and len(words) > 2 and not re.search(r"\b(modprobe|insmod)\b", " ".join(words[2:])))
            or (words[0] == "alias" and words[2:3] == ["off"])
        )
        if forbids:
            entries.append((normal(words[1]), source))
    return entries


def parse_cmdline(text: str, source: str) -> Entries:
    """The modules that a kernel command line forbids."""
    entries: Entries = []
    for key, modules in _PARAMETER.findall(text):
        entries.extend((normal(name), "{0}: {1}".format(source, key)) for name in modules.split(",") if name)
    return entries


def read_modprobe(tree: Tree) -> Tuple[Entries, bool]:
    """All modprobe.d entries, and whether every file could be read."""
    entries: Entries = []
    whole = True
    seen = set()
    directories = set()
    for directory in MODPROBE_DIRS:
        real = tree.resolve(directory)
        if real is None or real in directories:
            whole = whole and not tree.unreadable(directory)
            continue
        directories.add(real)
        for name in tree.names(directory):
            path = "{0}/{1}".format(directory, name)
            if not name.endswith(".conf") or name in seen:
                continue
            seen.add(name)
            if tree.resolve(path) in (None, "/dev/null"):  # a dangling link or /dev/null hides the later ones
                whole = whole and not tree.unreadable(path)
                continue
            text = tree.text(path)
            if text is None:
                whole = False
            else:
                entries.extend(parse_modprobe(text, path))
        whole = whole and not tree.unreadable(directory)
    return entries, whole


def allows_unsupported(tree: Tree) -> Optional[bool]:
    """SUSE's own setting (suse-module-tools): whether modules that SUSE does not support may be loaded; None elsewhere."""
    allowed = None
    for directory in reversed(MODPROBE_DIRS):
        for name in tree.names(directory):
            text = tree.text(directory + "/" + name) if name.endswith(".conf") else None
            for value in _UNSUPPORTED.findall(text or ""):
                allowed = value == "1"
    return allowed


def read_boot_configuration(tree: Tree) -> Entries:
    """What the command lines of all kernels' next boots forbid, as far as their configuration can be read."""
    entries: Entries = []
    grub = ["/etc/default/grub"]
    grub += ["/etc/default/grub.d/" + name for name in tree.names("/etc/default/grub.d") if name.endswith(".cfg")]
    for path in grub:
        for _variable, line in GRUB_LINE.findall(tree.text(path) or "" if tree.exists(path) else ""):
            entries.extend(parse_cmdline(line, path))
    for path in ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline"):
        entries.extend(parse_cmdline(tree.text(path) or "", path))
    return entries


def read_boot_entries(tree: Tree) -> List[BootEntry]:
    """The boot loader entries that forbid something; each is of one kernel."""
    found = []
    for name in tree.names("/boot/loader/entries"):
        path = "/boot/loader/entries/" + name
        keys: Dict[str, str] = {}
        entries: Entries = []
        for key, value in _BLS_LINE.findall(tree.text(path) or "" if name.endswith(".conf") else ""):
            keys[key] = value.strip()
            if key == "options":
                entries.extend(parse_cmdline(value, path))
        if entries:
            found.append(BootEntry(keys.get("version", ""), keys.get("linux", ""), entries))
    return found


def boots(entry: BootEntry, release: str) -> bool:
    """Whether an entry starts a kernel: named by its version, by /vmlinuz-RELEASE, or by a directory of it (kernel-install(8))."""
    folders, _slash, file = entry.linux.rpartition("/")
    return entry.version == release or file.partition("-")[2] == release or folders.rpartition("/")[2] == release


def by_module(entries: Entries) -> Dict[str, List[str]]:
    """Module -> the places that forbid it, each once, in order."""
    found: Dict[str, Dict[str, None]] = {}
    for module, source in entries:
        found.setdefault(module, {}).setdefault(source)
    return {module: list(places) for module, places in found.items()}


def running_cmdline(tree: Tree) -> Optional[str]:
    """The command line of the running kernel, or None."""
    return tree.value("/proc/cmdline")
