# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels of a tree and the state of the modules that matter, from the kernels' own indexes.

Never from package names: modules.dep says what modprobe would load, modules.builtin what needs no loading.
Private. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _modprobe
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_release
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

Module = Dict[str, Any]

_NAMES = "(?:" + "|".join(name.replace("_", "[-_]") for name in MODULES) + r")\.ko\b"
_FILE = re.compile(_NAMES)
# Two patterns, as the first is found five times as fast: it begins with a fixed character.
_INDEX = re.compile("/" + _NAMES)
_FLAT_INDEX = re.compile("(?:^|/)" + _NAMES, re.M)
_INDEX_LINE = re.compile(r"^[^\s:]+\.ko(?:\.\w+)?(?::|$)")
_ALIAS = re.compile(r"alias pci:v0000(?:1414|15[Bb]3)d")
# A PCI modalias has seven fields, and an alias a number or * for each (do_pci_entry in Linux scripts/mod/file2alias.c).
# Not fnmatch: before Python 3.9 many * in a garbled index would keep it busy for ever.
_PCI_FIELDS = re.compile("pci:" + "".join(name + r"([0-9A-Fa-f]*|\*)" for name in ("v", "d", "sv", "sd", "bc", "sc", "i")) + r"\Z")
_MAX_ALIASES = 1000
_SIG_FORCE = re.compile(r"CONFIG_MODULE_SIG_FORCE=")
_MODULES_DIRS = ("/lib/modules", "/usr/lib/modules")
_ORIGINS = {"kernel": "inbox", "updates": "updates", "extra": "extra", "weak-updates": "weak-updates"}
_METADATA = ("srcversion", "version", "signer", "vermagic")


def installed(tree: Tree) -> List[Tuple[str, str]]:
    """(release, directory) of every kernel whose modules are installed, sorted by release.

    A directory that only out-of-tree modules are left in, as a removed kernel leaves one, is no kernel.
    """
    found: Dict[str, str] = {}
    for base in _MODULES_DIRS:
        real = tree.resolve(base)
        for release in tree.names(base) if real else []:
            path = "{0}/{1}".format(real, release)
            if release in found or not tree.is_dir(path):
                continue
            if not is_release(release):
                tree.warn("{0}: not a kernel release, left out".format(path))
            elif any(tree.exists(path + "/" + part) for part in ("kernel", "modules.builtin", "vmlinuz")):
                found[release] = path
    return sorted(found.items())


def _index(tree: Tree, directory: str, file: str) -> Optional[Dict[str, str]]:
    """Module -> path relative to the kernel's directory, of modules.dep or modules.builtin; None when unknown."""
    path = "{0}/{1}".format(directory, file)
    # A module that somebody put beside the indexes stands in them without a directory.
    flat = any(_FILE.match(name) for name in tree.names(directory))
    text = tree.excerpt(path, _FLAT_INDEX if flat else _INDEX)
    if text is None:
        return None
    lines = text.splitlines()
    if any(not _INDEX_LINE.match(line) for line in lines):
        tree.warn("{0}: malformed (run depmod for that kernel)".format(path))
        return None
    found: Dict[str, str] = {}
    for line in lines:
        name = line.split(":", 1)[0]
        module = _modprobe.normal(name.rsplit("/", 1)[-1].split(".ko", 1)[0])
        found.setdefault(module, name)
    return found


class Indexes:
    """The module indexes of one installed kernel."""

    def __init__(self, tree: Tree, directory: str) -> None:
        self._tree = tree
        self._aliases: Optional[List[Tuple[Tuple[str, ...], str]]] = None
        self.directory = directory
        self.loadable = _index(tree, directory, "modules.dep")
        self.builtin = _index(tree, directory, "modules.builtin")
        # depmod writes an empty index for a kernel without modules; a full disk leaves one too.
        empty = self.loadable == {} and not tree.data(directory + "/modules.dep", 1)
        if empty and tree.is_dir(directory + "/kernel/drivers"):
            tree.warn("{0}/modules.dep: empty although the kernel has modules (run depmod)".format(directory))
            self.loadable = None
        for name, index in (("modules.dep", self.loadable), ("modules.builtin", self.builtin)):
            if index is None and not tree.exists(directory + "/" + name):
                tree.warn("{0}/{1}: missing (run depmod for that kernel)".format(directory, name))

    def place(self, module: str) -> Tuple[Optional[str], Optional[str], Optional[str]]:
        """(state, origin, path) of a module: builtin, module, absent, or None where the indexes do not tell."""
        if self.builtin is not None and module in self.builtin:
            return "builtin", "inbox", None
        if self.loadable is not None and module in self.loadable:
            relative = self.loadable[module]
            path = relative if relative.startswith("/") else "{0}/{1}".format(self.directory, relative)
            if self._tree.exists(path):
                return "module", _ORIGINS.get(relative.split("/", 1)[0], "other"), path
            self._tree.warn("{0}: named by modules.dep but not there".format(path))
            return "absent", None, None
        if self.loadable is None or self.builtin is None:
            return None, None, None
        return "absent", None, None

    def module_for(self, modalias: str) -> Optional[str]:
        """The module that this kernel would load for a PCI modalias, or None."""
        if self._aliases is None:
            text = self._tree.excerpt(self.directory + "/modules.alias", _ALIAS) or ""
            self._aliases = _pci_aliases(text)
        asked = _PCI_FIELDS.match(modalias)
        for fields, module in self._aliases if asked else []:
            if asked and all(field in ("*", value) for field, value in zip(fields, asked.groups())):
                return module
        return None


def _pci_aliases(text: str) -> List[Tuple[Tuple[str, ...], str]]:
    """(fields, module) of the PCI aliases of an index."""
    found: List[Tuple[Tuple[str, ...], str]] = []
    for line in text.splitlines():
        words = line.split()
        fields = _PCI_FIELDS.match(words[1]) if len(words) == 3 and words[0] == "alias" else None
        if fields and len(found) < _MAX_ALIASES:
            found.append((fields.groups(), _modprobe.normal(words[2])))
    return found


def _headers(tree: Tree, release: str, directory: str) -> Optional[str]:
    """The build directory of a kernel, or None: the ``build`` link may dangle."""
    for path in (directory + "/build", "/usr/src/linux-headers-" + release, "/usr/src/kernels/" + release):
        real = tree.resolve(path)
        if real and tree.exists(real + "/Makefile"):
            return real
    return None


def _sig_force(tree: Tree, release: str, directory: str) -> Optional[bool]:
    """Whether the kernel was built to refuse untrusted modules; None without its configuration."""
    for path in ("/boot/config-" + release, directory + "/config"):
        text = tree.excerpt(path, _SIG_FORCE) if tree.exists(path) else None
        if text and text.startswith(("#", "CONFIG_")):
            return "CONFIG_MODULE_SIG_FORCE=y" in text.splitlines()
    return None


def _loaded(tree: Tree, module: str, state: Optional[str]) -> Tuple[bool, Optional[str]]:
    """(is it in the running kernel, srcversion in memory)."""
    base = "/sys/module/" + module
    if state == "builtin":
        return True, None
    return tree.exists(base + "/initstate"), tree.value(base + "/srcversion")


def _decisive(entries: _modprobe.Entries) -> _modprobe.Entries:
    """Those of the modules that matter, each place once."""
    return list(dict.fromkeys(entry for entry in entries if entry[0] in MODULES))


def read_kernels(
    tree: Tree, running: Optional[str], hardware: bool, wanted: Optional[List[str]]
) -> Tuple[List[Dict[str, Any]], Dict[str, Indexes]]:
    """The ``kernels`` of nic_info (metadata still null, see :func:`add_metadata`) and their indexes by release."""
    found = installed(tree)
    entries, whole = _modprobe.read_modprobe(tree)
    entries = _decisive(entries + _modprobe.read_boot_configuration(tree))
    boot_entries = [entry._replace(entries=_decisive(entry.entries)) for entry in _modprobe.read_boot_entries(tree)]
    cmdline = _modprobe.parse_cmdline(_modprobe.running_cmdline(tree) or "", "/proc/cmdline") if hardware else []
    kernels = []
    indexes: Dict[str, Indexes] = {}
    for release, directory in found:
        if wanted is not None and release not in wanted:
            continue
        is_running = (release == running) if running else None
        own = [place for entry in boot_entries if _modprobe.boots(entry, release) for place in entry.entries]
        forbidden = _modprobe.by_module(entries + own + (cmdline if is_running else []))
        index = indexes[release] = Indexes(tree, directory)
        modules: Dict[str, Module] = {}
        for name in MODULES:
            state, origin, path = index.place(name)
            loaded, loaded_srcversion = _loaded(tree, name, state) if is_running else (None if is_running is None else False, None)
            # All these concern loading only: what is built in starts nevertheless.
            places = forbidden.get(name, []) if state != "builtin" else []
            modules[name] = {
                "state": state,
                "origin": origin,
                "path": path,
                "srcversion": None,
                "version": None,
                "signer": None,
                "vermagic": None,
                "loaded": loaded,
                "loaded_srcversion": loaded_srcversion,
                "blacklisted": True if places else (False if whole or state == "builtin" else None),
                "blacklisted_by": places,
            }
        kernels.append(
            {
                "release": release,
                "running": is_running,
                "default_boot": None,
                "headers": _headers(tree, release, directory),
                "sig_force": _sig_force(tree, release, directory),
                "modules": modules,
            }
        )
    if running and (wanted is None or running in wanted) and running not in indexes:
        kernels.append(_kernel_without_index(tree, running))
    return sorted(kernels, key=lambda kernel: str(kernel["release"])), indexes


def _kernel_without_index(tree: Tree, running: str) -> Dict[str, Any]:
    """The running kernel when its modules are not installed: only what is loaded is known."""
    tree.warn("/lib/modules/{0}: missing, so what the running kernel has is not known".format(running))
    modules: Dict[str, Module] = {}
    for name in MODULES:
        loaded, loaded_srcversion = _loaded(tree, name, None)
        module: Module = dict.fromkeys(("state", "origin", "path") + _METADATA)
        module.update(loaded=loaded or None, loaded_srcversion=loaded_srcversion, blacklisted=None, blacklisted_by=[])
        modules[name] = module
    return {"release": running, "running": True, "default_boot": None, "headers": None, "sig_force": None, "modules": modules}


def add_metadata(tree: Tree, kernels: List[Dict[str, Any]], modinfo: Any) -> None:
    """Fill srcversion, version, signer and vermagic by one call of ``modinfo(paths)``.

    Only of modules that did not come with the kernel, and of mana and mana_ib of the kernel that runs, or may run:
    decisions need no others, and their unpacking would cost more time than everything else here.
    """
    wanted: Dict[str, List[Module]] = {}
    for kernel in kernels:
        for name, module in kernel["modules"].items():
            compared = name in ("mana", "mana_ib") and kernel["running"] is not False
            if module["path"] and (compared or module["origin"] != "inbox"):
                wanted.setdefault(tree.resolve(module["path"]) or module["path"], []).append(module)
    for path, fields in (modinfo(sorted(wanted)) if wanted else {}).items():
        for module in wanted.get(path, []):
            module.update({key: fields.get(key) or None for key in _METADATA})
