# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to package managers about what their repositories offer, and how to read the answers.

Only what is cached is asked: nothing is refreshed, downloaded or written. Pure: commands are built here and run by the
module. Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional
from xml.etree import ElementTree

from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

# Package -> {version: what would be installed, versions: all on offer}; None when the repositories lack it.
Offers = Dict[str, Optional[Dict[str, Any]]]

Manager = NamedTuple(
    "Manager",
    [
        ("command", Callable[[str, List[str]], List[str]]),
        ("parse", Callable[[str, List[str]], Offers]),
        # What else than 0 may come back when the question was answered.
        ("exit_codes", List[int]),
        ("lists", List[str]),  # directories, one of which has files when the repositories' lists are there
        ("remedy", str),
    ],
)

# Debian's Policy 5.6.1 and rpm: no white space, no option-like names, no globs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._~:^-]*\Z")


def is_package_name(name: str) -> bool:
    """Whether ``name`` can be asked for; also name-version-release.arch on rpm systems."""
    return bool(_NAME.match(name))


def _apt_command(root: str, names: List[str]) -> List[str]:
    # Without its binary caches, which it would else write.
    options = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
    if root != "/":
        options += ["-o", "Dir=" + root, "-o", "Dir::State::status=" + root + "/var/lib/dpkg/status"]
    return ["apt-cache"] + options + ["policy"] + names


def _parse_apt(text: str, names: List[str]) -> Offers:
    found: Offers = dict.fromkeys(names)
    name, candidate = "", ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        chosen = re.match(r"^  Candidate: (\S+)", line)
        listed = re.match(r"^ (?:\*\*\*|   ) (\S+) -?\d+$", line)
        if chosen:
            candidate = chosen.group(1)
        elif listed and name in found:
            offer = found[name] = found[name] or {"version": None, "versions": []}
            offer["versions"].append(listed.group(1))
            # Where pins forbid every version, as of a suite that is not to be used, there is no candidate.
            offer["version"] = candidate if candidate != "(none)" else None
    return found


def _dnf_command(root: str, names: List[str]) -> List[str]:
    options = ["--installroot=" + root] if root != "/" else []
    return ["dnf", "-q", "-C"] + options + ["repoquery", "--queryformat", "%{name} %{evr} %{arch}\\n"] + names


def _parse_rpm(text: str, names: List[str]) -> Offers:
    """Lines of name, epoch:version-release and architecture."""
    found: Offers = dict.fromkeys(names)
    for line in text.splitlines():
        words = line.split()
        if len(words) != 3:
            continue
        name, evr, arch = words
        plain = evr.split(":", 1)[-1]
        for form in (name, "{0}-{1}".format(name, plain), "{0}-{1}.{2}".format(name, plain, arch), "{0}.{1}".format(name, arch)):
            if form in found:
                # The newest comes last.
                offer = found[form] = found[form] or {"version": None, "versions": []}
                offer["version"] = evr
                offer["versions"].insert(0, evr)
    return found


def _tdnf_command(root: str, names: List[str]) -> List[str]:
    options = ["--installroot", root] if root != "/" else []
    return ["tdnf", "-q", "-C"] + options + ["repoquery", "--qf", "%{name} %{evr} %{arch}"] + names


def _zypper_command(root: str, names: List[str]) -> List[str]:
    options = ["--root", root] if root != "/" else []
    options += ["--xmlout", "--non-interactive", "--no-refresh"]
    return ["zypper"] + options + ["search", "--details", "--match-exact", "--type", "package"] + names


def _parse_zypper(text: str, names: List[str]) -> Offers:
    found: Offers = dict.fromkeys(names)
    try:
        solvables = list(ElementTree.fromstring(text).iter("solvable"))
    except ElementTree.ParseError:
        return found
    for solvable in solvables:
        name, edition, repository = solvable.get("name"), solvable.get("edition"), solvable.get("repository")
        # What is installed without a repository behind it is not on offer. The newest comes first.
        if name in found and edition and repository != "(System Packages)":
            offer = found[name] = found[name] or {"version": edition, "versions": []}
            offer["versions"].append(edition)
    return found


MANAGERS: Dict[str, Manager] = {
    "apt": Manager(_apt_command, _parse_apt, [0], ["/var/lib/apt/lists"], "run apt-get update"),
    "dnf": Manager(_dnf_command, _parse_rpm, [0], ["/var/cache/dnf", "/var/cache/libdnf5"], "run dnf makecache"),
    "tdnf": Manager(_tdnf_command, _parse_rpm, [0, 243], ["/var/cache/tdnf"], "run tdnf makecache"),
    # 104 is ZYPPER_EXIT_INF_CAP_NOT_FOUND: none of the names was found
    "zypper": Manager(_zypper_command, _parse_zypper, [0, 104], ["/var/cache/zypp/solv", "/var/cache/zypp/raw"], "run zypper refresh"),
}


def lists_present(tree: Tree, manager: str) -> bool:
    """Whether the repositories' lists were ever fetched: without them, 'not on offer' would be a guess."""
    ignored = {"lock", "partial", "auxfiles", "@System", "expired_repos.json", "last_makecache"}
    return any(set(tree.names(directory)) - ignored or tree.unreadable(directory) for directory in MANAGERS[manager].lists)
