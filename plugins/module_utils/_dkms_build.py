# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds of a DKMS package, away from dkms' own tree: what fails or is killed here is noticed by nobody.

Private. Python 3.6, standard library.
"""

import contextlib
import os
import shutil
import subprocess
from typing import Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _dkms, _dkms_source
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_commands import PATH, Commands, environment, read
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_host import reader
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

_NEARLY_FULL = 1 << 20  # bytes
_PROBE = b"int accelnet;\n"


class Builder:
    """Builds one version in a directory of its own, which has to be on the file system of dkms' tree."""

    def __init__(self, name: str, version: str, arch: str, commands: Commands) -> None:
        self.log: List[str] = []  # the end of the last build log
        self._name = name
        self._version = version
        self._arch = arch
        self._commands = commands

    def build(self, staged: str, digest: Optional[str], releases: List[str], scratch: str) -> Dict[str, str]:
        """By release: the directory of a finished build, below ``scratch``. ``staged`` has the source, of this digest."""
        sources, tree = os.path.join(scratch, "src"), os.path.join(scratch, "tree")
        for path in (sources, tree):
            os.mkdir(path)
        source = "{0}/{1}-{2}".format(sources, self._name, self._version)
        _dkms_source.copy(staged, source)
        where = ["--dkmstree", tree, "--sourcetree", sources]
        self._commands.dkms("add", self._version, where, fatal=True)
        # No key is made on a host: what nobody enrolled is trusted by no kernel. dkms signs with a program that may be
        # named to it, and leaves it when that is no program. A key that is there is used.
        if not _dkms.has_signing_key(reader()):
            self._commands.environment = {"sign_file": source + "/dkms.conf"}
        found = {}
        for release in releases:
            target = "{0}/{1}/{2}/{3}/{4}".format(tree, self._name, self._version, release, self._arch)
            code, output = self._commands.dkms("build", self._version, ["-k", release, "-a", self._arch] + where)
            log = _text(target + "/log/make.log") or _text("{0}/{1}/{2}/build/make.log".format(tree, self._name, self._version))
            self.log = _dkms.tail(log)
            problem = "status {0}".format(code) if code else self._problem(tree, release)
            if problem:
                reason = "disk_full" if nearly_full([tree]) else _dkms.fault(output, log, "build")
                said = " ".join(_dkms.tail(output, 4))
                message = "building {0} {1} for kernel {2} failed: {3}: {4}".format(self._name, self._version, release, problem, said)
                raise AccelnetError(reason, message)
            with open("{0}/log/{1}".format(target, _dkms.STAMP), "w", encoding="ascii") as stream:
                stream.write("{0}\n".format(digest))
            found[release] = target
        self._commands.environment = {}
        return found

    def _problem(self, tree: str, release: str) -> Optional[str]:
        """Why a build that dkms calls a success is none: modules that are missing, cut off or for another kernel."""
        look = reader()
        look.layout = look.layout._replace(tree=tree)
        build = look.build(self._name, self._version, release, self._arch)
        bad = [module["name"] for module in build["modules"] if not module["built"] or not _dkms.fits(module["built"], release)]
        if bad or not build["modules"]:
            return "dkms reports success, but these modules are missing, cut off or for another kernel: {0}".format(", ".join(bad) or "all")
        return None


def headers_there(look: _dkms.Reader, release: str) -> bool:
    """Whether dkms would find the headers of a kernel."""
    base = "{0}/{1}/build".format(look.layout.modules, release)
    return look.tree.exists(base + "/Makefile") and look.tree.exists(base + "/include")


def compiler_problem(look: _dkms.Reader, release: str, work: str) -> Optional[str]:
    """Why nothing can be compiled for a kernel, or None. Tried with the compiler that its headers name."""
    if shutil.which("make", path=PATH) is None:
        return "make is not installed"
    base = "{0}/{1}/build".format(look.layout.modules, release)
    named = _dkms.compilers(look.tree.text(base + "/.kernelvariables") or "", look.tree.text(base + "/.config") or "")
    found = next((path for path in (shutil.which(name, path=PATH) for name in named) if path), None)
    if found is None:
        return "no compiler is installed: looked for {0}".format(", ".join(named))
    target = os.path.join(work, "accelnet-probe.o")
    done = subprocess.run(
        [found, "-x", "c", "-c", "-o", target, "-"],
        input=_PROBE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(),
        check=False,
    )
    if os.path.exists(target):
        os.unlink(target)
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()[-500:]
        return "{0} cannot compile anything ({1}): {2}".format(found, done.returncode, said)
    return None


def nearly_full(paths: List[str]) -> bool:
    """Whether one of the file systems has less room than any module needs."""
    for path in paths:
        with contextlib.suppress(OSError):
            state = os.statvfs(path)
            if state.f_blocks and state.f_bavail * state.f_frsize < _NEARLY_FULL:
                return True
    return False


def _text(path: str) -> str:
    return read(path) if os.path.isfile(path) else ""
