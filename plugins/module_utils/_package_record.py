# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages a role brought, so that it can take them away again, and no others.

Packages are taken away by dpkg and rpm themselves: they refuse what others need, where apt and dnf would remove the others too.
Private to this collection. Python 3.6, standard library.
"""

import os
import re
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System, dump_record, load_record, run

_MASK = "/dev/null"
_UNITS = ("/usr/lib/systemd/system/", "/lib/systemd/system/")
_ROUNDS = 30  # attempts to remove packages, each without those that others need
_REMOVAL_LIMIT = 1800  # seconds
# kernel, kernel-core, kernel-modules-core, and the same of flavours: kernel-uek-core, kernel-rt, kernel-default, kernel-azure.
_RPM_KERNEL = re.compile(r"kernel(-(64k|rt|uek|default|azure))?(-core|-modules-core)?[.]")
_NONINTERACTIVE = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical"}


def manager(system: System) -> Optional[str]:
    """dpkg or rpm, whichever has this host's packages."""
    if system.exists("/var/lib/dpkg/status"):
        return "dpkg"
    return "rpm" if system.which("rpm") else None


def parse_dpkg(text: str) -> Dict[str, str]:
    """Version by name, with the architecture of packages that can be there several times."""
    rows = [line.split("\t") for line in text.splitlines()]
    return {row[0]: row[1] for row in rows if len(row) == 3 and row[2].startswith("ii")}


def parse_rpm(text: str) -> Dict[str, str]:
    """All versions by name: some packages, such as kernels, are there several times."""
    found: Dict[str, List[str]] = {}
    for line in text.splitlines():
        name, _tab, version = line.partition("\t")
        if version and not name.startswith("gpg-pubkey."):
            found.setdefault(name, []).append(version)
    return {name: " ".join(sorted(versions)) for name, versions in found.items()}


def installed(system: System) -> Dict[str, str]:
    """Version by name of what is installed. Raises AccelnetError (packages_unknown)."""
    kind = manager(system)
    if kind == "dpkg":
        code, text = system.ask(["dpkg-query", "--show", "--showformat=${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\n"])
    elif kind == "rpm":
        code, text = system.ask(["rpm", "--query", "--all", "--queryformat", "%{NAME}.%{ARCH}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n"])
    else:
        raise AccelnetError("packages_unknown", "neither dpkg nor rpm was found")
    found = parse_dpkg(text) if kind == "dpkg" else parse_rpm(text)
    if code or not found:
        raise AccelnetError("packages_unknown", "{0} does not tell what is installed: {1}".format(kind, text[-300:]))
    return found


def difference(before: Dict[str, str], after: Dict[str, str]) -> Dict[str, Optional[str]]:
    """What came, with the version of before; None for what was not there."""
    return {name: before.get(name) for name in after if before.get(name) != after[name]}


def of_running_kernel(name: str, version: str, release: str) -> bool:
    """Whether a package is the kernel of this release, without which it does not boot; further modules, headers and the like are not.

    dpkg has the release in the name, rpm in the version.
    """
    if re.match("linux-(image|image-unsigned|modules)-" + re.escape(release) + "(:|$)", name):
        return True
    return bool(_RPM_KERNEL.match(name)) and release.startswith(version.partition(":")[2] or "-")


def refused(text: str) -> List[str]:
    """The packages that dpkg does not remove because others need them."""
    return re.findall(r"dependency problems prevent (?:removal|purge|disappearance) of (\S+?)(?::\w+)?[:\s]", text)


class Record:
    """What a role brought, in a file that outlives it."""

    def __init__(self, system: System, path: str) -> None:
        self.system = system
        self.path = path
        self.not_restored: List[str] = []
        try:
            self.data: Dict[str, Any] = load_record(system, path)
        except ValueError as error:
            raise AccelnetError("bad_record", "{0}: {1}".format(path, error))

    def begin(self, names: List[str]) -> None:
        """Remember what is there before these packages are installed."""
        self._close()
        self.data["before"] = installed(self.system)
        self.data["asked"] = sorted(names)
        # That something is about to happen is no change yet; in the end it is, if anything came.
        if not self.system.check:
            self._save_silently()

    def _close(self) -> None:
        """What a run that died brought. Others may have installed something since: only what it had asked for is surely ours."""
        before, asked = self.data.pop("before", None), self.data.pop("asked", [])
        if before is None:
            return
        came = difference(before, installed(self.system))
        packages = self.data.setdefault("packages", {})
        for name, version in came.items():
            # dpkg and rpm may add the architecture.
            if {name, name.partition(":")[0], name.rpartition(".")[0]} & set(asked):
                packages.setdefault(name, version)

    def _save_silently(self) -> None:
        actions = list(self.system.actions)
        self.system.write(self.path, dump_record(self.data), 0o600)
        self.system.actions = actions

    def end(self, units: List[str]) -> None:
        """Keep what came, and mask units of it that exist."""
        before = self.data.pop("before", None)
        self.data.pop("asked", None)
        came = difference(before, installed(self.system)) if before is not None else {}
        packages = self.data.setdefault("packages", {})
        for name, version in came.items():
            packages.setdefault(name, version)
        masked = self.data.setdefault("masked", [])
        for unit in units:
            path = "/etc/systemd/system/" + unit
            if any(self.system.exists(directory + unit) for directory in _UNITS) and not self.system.exists(path):
                self.system.symlink(path, _MASK)
                masked.append(unit)
        if packages or masked:
            if not self.system.check:
                self._save_silently()
        elif before is not None and not self.system.check:
            actions = list(self.system.actions)
            self.system.remove(self.path)
            self.system.actions = actions

    def take_away(self) -> None:
        """Remove what came and nobody needs, unmask, and forget. Without a record nothing is ours."""
        if not self.data:
            self._tidy()
            return
        self._close()
        for unit in self.data.get("masked", []):
            path = "/etc/systemd/system/" + unit
            if self.system.link_name(path) == "null":
                self.system.remove(path)
        packages = self.data.get("packages", {})
        there = installed(self.system) if packages else {}
        for name, version in sorted(packages.items()):
            if version is not None and there.get(name) not in (None, version):
                self.not_restored.append("{0} was upgraded from {1}".format(name, version))
        ours = sorted(name for name, version in packages.items() if version is None and name in there)
        release = os.uname().release
        running = [name for name in ours if of_running_kernel(name, there[name], release)]
        ours = [name for name in ours if name not in running]
        self.not_restored += ["{0} is the kernel that runs".format(name) for name in running]
        if ours and self.system.act("remove {0}".format(" ".join(ours))):
            self._remove(ours)
        if running:
            # It can go as soon as another one runs.
            self.data = {"packages": dict.fromkeys(running)}
            self.system.write(self.path, dump_record(self.data), 0o600)
        else:
            self.system.remove(self.path)
        self._tidy()

    def _tidy(self) -> None:
        self.system.tidy("/usr/libexec/accelnet", "/var/lib/accelnet")

    def _remove(self, names: List[str]) -> None:
        kind = manager(self.system)
        command = ["dpkg", "--purge"] if kind == "dpkg" else ["rpm", "--erase"]
        left = list(names)
        text = ""
        for _round in range(_ROUNDS):
            if not left:
                break
            self.system.commands.append(command + left)
            code, text = run(command + left, _NONINTERACTIVE, _REMOVAL_LIMIT)
            if code == 0:
                left = []
                break
            there = installed(self.system)
            needed = set(refused(text)) if kind == "dpkg" else {name for name in left if self._rpm_refuses(name)}
            still = [name for name in left if name in there and name.partition(":")[0] not in needed and name not in needed]
            if len(still) == len(left):
                break
            left = still
        there = installed(self.system)
        self.not_restored += ["{0} is needed by others or could not be removed".format(name) for name in names if name in there]
        if left:
            self.not_restored.append("the package manager says: {0}".format(text[-300:]))

    @staticmethod
    def _rpm_refuses(name: str) -> bool:
        return run(["rpm", "--erase", "--test", name], None, _REMOVAL_LIMIT)[0] != 0
