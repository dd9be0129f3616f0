# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operating system of a tree: distribution, architecture, Azure, what the kernel enforces.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._modprobe import allows_unsupported
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import AZURE_ASSET_TAG
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

# os-release(5): the first that exists counts.
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_ASSIGNMENT = re.compile(r"^([A-Z][A-Z0-9_]{0,63})=(.{0,1024})$")
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# tdnf before dnf: Azure Linux has both and ships tdnf by default.
_PACKAGE_MANAGERS = (("apt", "apt-get"), ("tdnf", "tdnf"), ("dnf", "dnf"), ("zypper", "zypper"))
_BIN = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
# ELF e_machine (elf.h) of the architectures that Azure has.
_MACHINES = {62: "x86_64", 183: "aarch64"}
_ELF_PROBES = ("/bin/sh", "/usr/bin/env", "/sbin/init", "/usr/lib/systemd/systemd")


def parse_os_release(text: str) -> Tuple[Dict[str, str], List[str]]:
    """(assignments, lines that are none) of an os-release file."""
    values: Dict[str, str] = {}
    bad = []
    for line in text.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _ASSIGNMENT.match(line)
        if not found:
            bad.append(line)
            continue
        value = found.group(2).strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        values[found.group(1)] = value
    return values, bad


def _os_release(tree: Tree) -> Dict[str, str]:
    for path in _OS_RELEASE:
        text = tree.text(path) if tree.exists(path) else None
        if text is None:
            continue
        values, bad = parse_os_release(text)
        if bad:
            tree.warn("{0}: {1} malformed lines were ignored".format(path, len(bad)))
        if not re.match(r"^[a-z0-9._-]+$", values.get("ID", "")):
            tree.warn("{0}: has no valid ID, so the distribution is not known".format(path))
            values.pop("ID", None)
        return values
    tree.warn("no os-release file could be read, so the distribution is not known")
    return {}


def architecture(tree: Tree) -> Optional[str]:
    """What the programs of a tree were built for."""
    for path in _ELF_PROBES:
        header = tree.data(path, 20)
        if header and header[:4] == b"\x7fELF" and len(header) == 20 and header[5] == 1:
            return _MACHINES.get(header[18] | header[19] << 8)
    return None


def _secure_boot(tree: Tree) -> Optional[bool]:
    if not tree.is_dir("/sys/firmware/efi"):
        return None if tree.unreadable("/sys/firmware/efi") or not tree.is_dir("/sys/firmware") else False
    data = tree.data(_SECURE_BOOT, 5)  # four bytes of attributes, then the value
    return bool(data[4]) if data and len(data) == 5 else None


def _lockdown(tree: Tree) -> Optional[str]:
    found = re.search(r"\[(\w+)\]", tree.value("/sys/kernel/security/lockdown") or "")
    return found.group(1) if found else None


def package_manager(tree: Tree) -> Optional[str]:
    """The package manager that a tree has: apt, tdnf, dnf or zypper."""
    for manager, program in _PACKAGE_MANAGERS:
        if any(tree.exists("{0}/{1}".format(directory, program)) for directory in _BIN):
            return manager
    return None


def read_platform(tree: Tree, hardware: bool, uname: Optional[Dict[str, str]], python: Optional[str]) -> Dict[str, Any]:
    """The ``platform`` of nic_info. ``uname`` and ``python`` are the host's answers, None for a tree without them."""
    values = _os_release(tree)
    sig_enforce = tree.value("/sys/module/module/parameters/sig_enforce") if hardware else None
    asset_tag = tree.value("/sys/class/dmi/id/chassis_asset_tag") if hardware else None
    dmi = hardware and tree.is_dir("/sys/class/dmi/id") and not tree.unreadable("/sys/class/dmi/id/chassis_asset_tag")
    return {
        "system": "Linux",
        "azure": (asset_tag == AZURE_ASSET_TAG) if asset_tag or dmi else None,
        "distribution": values.get("ID") or None,
        "distribution_like": values.get("ID_LIKE", "").split(),
        "distribution_name": values.get("PRETTY_NAME") or None,
        "release": values.get("VERSION_ID") or None,
        "architecture": (uname or {}).get("machine") or architecture(tree),
        "secure_boot": _secure_boot(tree) if hardware else None,
        "lockdown": _lockdown(tree) if hardware else None,
        "sig_enforce": {"Y": True, "1": True, "N": False, "0": False}.get(sig_enforce or ""),
        "allow_unsupported_modules": allows_unsupported(tree),
        "package_manager": package_manager(tree),
        "python": python,
    }
