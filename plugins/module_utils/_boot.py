# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the boot loader will start: loader, default entry, whether the initramfs is skipped.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

_ENTRY_LIMIT = 1024  # characters; GRUB's environment block has as many bytes
_GRUB_DIRS = ("/boot/grub", "/boot/grub2")
_SYSTEMD_BOOT = ("/boot/efi/loader/loader.conf", "/boot/loader/loader.conf", "/efi/loader/loader.conf")
# Not \s at the start of a line: it takes line feeds too, and a run of them would be tried from each of its lines.
_SETTING = re.compile(r"^[ \t]*(?:export[ \t]+)?(GRUB_DEFAULT|GRUB_FORCE_PARTUUID)=[\"']?([^\"'\n#]*)", re.M)
_GRUB_CFG = re.compile(r"^[ \t]*(?:set default=|menuentry |submenu |linux(?:efi|16)?[ \t]|blscfg)", re.M)
_KERNEL_FILE = re.compile(r"^[ \t]*linux(?:efi|16)?[ \t]+\S*/(?:vmlinuz|vmlinux|linux|Image)-(\S+)", re.M)


def _loader(tree: Tree) -> Optional[str]:
    if any(tree.exists(directory + "/grub.cfg") or tree.exists(directory + "/grubenv") for directory in _GRUB_DIRS):
        return "grub"
    return "systemd-boot" if any(tree.exists(path) for path in _SYSTEMD_BOOT) else None


def _grub_settings(tree: Tree) -> Dict[str, str]:
    settings: Dict[str, str] = {}
    paths = ["/etc/default/grub"]
    paths += ["/etc/default/grub.d/" + name for name in tree.names("/etc/default/grub.d") if name.endswith(".cfg")]
    for path in paths:
        settings.update((key, value.strip()[:_ENTRY_LIMIT]) for key, value in _SETTING.findall(tree.text(path) or ""))
    return settings


def _environment(tree: Tree, name: str) -> Optional[str]:
    """A variable of GRUB's environment block."""
    for directory in _GRUB_DIRS:
        found = re.search(r"^{0}=(.+)$".format(name), tree.text(directory + "/grubenv") or "", re.M)
        if found:
            return found.group(1)[:_ENTRY_LIMIT]
    return None


def _default_release(tree: Tree, policy: Optional[str], saved: Optional[str], releases: List[str]) -> Optional[str]:
    """The release that boots next, or None where it cannot be told."""
    entry = saved if policy == "saved" else policy
    # The longest first: one release may be the start of another.
    for release in sorted(releases, key=len, reverse=True):
        if entry and re.search(r"(?<![0-9.]){0}(?![0-9])".format(re.escape(release)), entry):
            return release
    if policy != "0" and not (policy == "saved" and entry in (None, "0")):
        return None
    for directory in _GRUB_DIRS:
        # With BLS the entries are sorted by GRUB itself: not guessed here.
        text = tree.excerpt(directory + "/grub.cfg", _GRUB_CFG) or ""
        if not re.search(r"^[ \t]*blscfg", text, re.M):
            found = _KERNEL_FILE.search(text)
            if found and found.group(1) in releases:
                return found.group(1)
    return None


def _guarded(tree: Tree) -> Optional[bool]:
    """Whether the module boot_guard has a record."""
    if tree.exists("/var/lib/accelnet/guard/state.json"):
        return True
    return None if tree.unreadable("/var/lib/accelnet/guard") or tree.unreadable("/var/lib/accelnet") else False


def read_boot(tree: Tree, hardware: bool, releases: List[str]) -> Dict[str, Any]:
    """The ``boot`` of nic_info, with ``default_release`` beside the documented keys."""
    loader = _loader(tree)
    settings = _grub_settings(tree)
    policy = settings.get("GRUB_DEFAULT", "0") if loader == "grub" else None
    saved = _environment(tree, "saved_entry") if loader == "grub" else None
    once = _environment(tree, "next_entry") if loader == "grub" else None  # one boot only: grub-reboot(8)
    return {
        "loader": loader,
        # Ubuntu's cloud images boot without initramfs first when this is set (40-force-partuuid.cfg).
        "initrdless": bool(settings.get("GRUB_FORCE_PARTUUID")) if loader == "grub" else None,
        "default_policy": policy,
        "default_entry": saved,
        "default_release": _default_release(tree, once or policy, saved, releases) if loader == "grub" else None,
        "cmdline": tree.value("/proc/cmdline") if hardware else None,
        "guarded": _guarded(tree),
    }
