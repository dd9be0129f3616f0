# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to package managers about what their repositories offer, and how to read the answers.

Only what is cached is asked: nothing is refreshed or downloaded, and logs go to a scratch directory. Pure: commands
are built here and run by the module. Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple
from xml.etree import ElementTree

from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

# Package -> {version: what would be installed, versions: all on offer}; None when the repositories lack it.
Offers = Dict[str, Optional[Dict[str, Any]]]

Question = NamedTuple(
    "Question",
    [
        ("root", str),
        ("names", List[str]),
        ("scratch", str),  # a directory of ours, for what programs insist on writing
        ("architecture", Optional[str]),  # of the root, as uname -m says it; None where it is not known
    ],
)

Manager = NamedTuple(
    "Manager",
    [
        ("command", Callable[[Question], List[str]]),
        # Answers by name; none at all when the output cannot be understood.
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


def _apt_command(question: Question) -> List[str]:
    root = question.root
    # Without its binary caches, which it would else write.
    options = ["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]
    if root != "/":
        # The apt.conf of the root is not read: apt has read that of / when it comes to these options.
        options += ["-o", "Dir=" + root, "-o", "Dir::State::status=" + root + "/var/lib/dpkg/status"]
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(question.architecture or "")
        if architecture:
            options += ["-o", "APT::Architecture=" + architecture, "-o", "APT::Architectures=" + architecture]
    return ["apt-cache"] + options + ["policy"] + question.names


def _parse_apt(text: str, names: List[str]) -> Offers:
    found: Offers = dict.fromkeys(names)
    name, candidate, version = "", "", ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            name = line.rstrip(":")
        chosen = re.match(r"^  Candidate: (\S+)", line)
        listed = re.match(r"^ (?:\*\*\*|   ) (\S+) -?\d+$", line)
        source = re.match(r"^ {8}\s*-?\d+ (\S+)", line)
        if chosen:
            candidate = chosen.group(1)
        elif listed:
            version = listed.group(1)
        # What is installed without a repository behind it is not on offer.
        elif source and name in found and not source.group(1).endswith("/var/lib/dpkg/status"):
            offer = found[name] = found[name] or {"version": None, "versions": []}
            if offer["versions"][-1:] != [version]:  # a version may have several sources
                offer["versions"].append(version)
            # Where pins forbid every version, as of a suite that is not to be used, there is no candidate.
            offer["version"] = candidate if candidate in offer["versions"] else None
    return found


def _dnf_command(question: Question) -> List[str]:
    # dnf puts the root before the place of its logs, but not for all of them: this leads to ours either way.
    options = ["--setopt=logdir=" + "/.." * question.root.count("/") + question.scratch]
    if question.root != "/":
        # The dnf.conf of a root says where plugins are: code of the root, which would run here with our rights. Those of
        # / are this host's own, and may bring repositories or lock versions. (--noplugins is --no-plugins in dnf 5.)
        options += ["--installroot=" + question.root, "--setopt=plugins=0"]
        if question.architecture:
            options.append("--forcearch=" + question.architecture)
    # dnf 5 ends no line by itself, dnf 4 ends a second one.
    return ["dnf", "-q", "-C"] + options + ["repoquery", "--queryformat", "%{name} %{evr} %{arch}\\n"] + question.names


def _rpm_parts(text: str) -> List[Tuple[Any, ...]]:
    """What rpm compares of a version: ~ is older than the end, ^ newer, then letters, then numbers (rpm-version(7))."""
    parts: List[Tuple[Any, ...]] = []
    for part in re.findall(r"[0-9]+|[A-Za-z]+|~|\^", text):
        if part in ("~", "^"):
            parts.append((0,) if part == "~" else (2,))
        else:
            digits = part.lstrip("0")
            parts.append((4, len(digits), digits) if part.isdigit() else (3, part))
    return parts + [(1,)]


def rpm_order(evr: str) -> Any:
    """A key by which epoch:version-release sorts from old to new."""
    epoch, _colon, rest = evr.rpartition(":")
    version, _dash, release = rest.partition("-")
    return _rpm_parts(epoch or "0"), _rpm_parts(version), _rpm_parts(release)


def _by_name(offers: List[Tuple[str, str, str]], names: List[str]) -> Offers:
    """What (name, epoch:version-release, architecture) offer for each name, in any form that rpm has of names."""
    found: Offers = dict.fromkeys(names)
    # Neither dnf nor zypper sorts by version: 503 comes after 503.11.1.
    for name, evr, arch in sorted(offers, key=lambda offer: (rpm_order(offer[1]), offer[1]), reverse=True):
        if arch in ("src", "nosrc"):
            continue
        forms = {name} | {"{0}-{1}".format(name, version) for version in (evr, evr.split(":", 1)[-1])}
        for form in forms | {"{0}.{1}".format(form, arch) for form in forms}:
            if form in found:
                offer = found[form] = found[form] or {"version": evr, "versions": []}
                if offer["versions"][-1:] != [evr]:  # of another architecture
                    offer["versions"].append(evr)
    return found


def _parse_rpm(text: str, names: List[str]) -> Offers:
    """Lines of name, epoch:version-release and architecture."""
    lines = [line.split() for line in text.splitlines()]
    return _by_name([(words[0], words[1], words[2]) for words in lines if len(words) == 3], names)


def _tdnf_command(question: Question) -> List[str]:
    options = ["--installroot", question.root, "--noplugins"] if question.root != "/" else []
    return ["tdnf", "-q", "-C"] + options + ["repoquery", "--qf", "%{name} %{evr} %{arch}"] + question.names


def _zypper_command(question: Question) -> List[str]:
    # Plugins of commits, services and addresses are not run by a search that fetches nothing.
    options = ["--root", question.root] if question.root != "/" else []
    options += ["--xmlout", "--non-interactive", "--no-refresh"]
    # It finds packages by their name alone, and lists all versions of them.
    names = set(question.names) | {name.rsplit("-", 2)[0] for name in question.names if re.match(r".+-[0-9][^-]*-[^-]+\Z", name)}
    return ["zypper"] + options + ["search", "--details", "--match-exact", "--type", "package"] + sorted(names)


def _parse_zypper(text: str, names: List[str]) -> Offers:
    try:
        answer = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return {}
    # A repository that could not be loaded is left out, and the exit code is that of a name that was not found.
    if any(message.get("type") == "error" for message in answer.iter("message")):
        return {}
    solvables = [solvable.attrib for solvable in answer.iter("solvable")]
    # What is installed without a repository behind it is not on offer.
    offers = [solvable for solvable in solvables if solvable.get("repository") != "(System Packages)"]
    return _by_name([(offer.get("name", ""), offer.get("edition", ""), offer.get("arch", "")) for offer in offers], names)


MANAGERS: Dict[str, Manager] = {
    "apt": Manager(_apt_command, _parse_apt, [0], ["/var/lib/apt/lists"], "run apt-get update"),
    "dnf": Manager(_dnf_command, _parse_rpm, [0], ["/var/cache/dnf", "/var/cache/libdnf5"], "run dnf makecache"),
    "tdnf": Manager(_tdnf_command, _parse_rpm, [0, 243], ["/var/cache/tdnf"], "run tdnf makecache"),
    # 104 is ZYPPER_EXIT_INF_CAP_NOT_FOUND: none of the names was found
    "zypper": Manager(_zypper_command, _parse_zypper, [0, 104], ["/var/cache/zypp/raw"], "run zypper refresh"),
}


# Where programs write their logs otherwise.
ENVIRONMENT = {"LC_ALL": "C", "LANGUAGE": "C", "ZYPP_LOGFILE": "/dev/null"}


def _zypper_repositories(tree: Tree) -> List[str]:
    """The enabled repositories, as the directories of the caches name them."""
    found = []
    for name in tree.names("/etc/zypp/repos.d"):
        text = tree.text("/etc/zypp/repos.d/" + name) if name.endswith(".repo") else None
        for alias, settings in re.findall(r"^\[([^\]\n]+)\]([^\[]*)", text or "", re.M):
            if not re.search(r"^[ \t]*enabled[ \t]*=[ \t]*(?:0|no|false|off)[ \t]*$", settings, re.M | re.I):
                found.append(alias.replace("/", "_"))
    return found


def lists_present(tree: Tree, manager: str) -> bool:
    """Whether the repositories' lists were ever fetched: without them, 'not on offer' would be a guess."""
    ignored = {"lock", "partial", "auxfiles", "@System", "expired_repos.json", "last_makecache"}
    fetched = {name for directory in MANAGERS[manager].lists for name in tree.names(directory)} - ignored
    if any(tree.unreadable(directory) for directory in MANAGERS[manager].lists):
        return True
    # It would fetch the missing ones now, --no-refresh or not, also of a repository whose solv file is there.
    if manager == "zypper" and not all(tree.names("/var/cache/zypp/raw/" + alias) for alias in _zypper_repositories(tree)):
        return False
    return bool(fetched)
