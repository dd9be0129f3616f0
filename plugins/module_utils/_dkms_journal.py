# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the module dkms that change a host, and the way back from each.

Private. Python 3.6, standard library.
"""

import contextlib
import os
import shutil
import tempfile
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _dkms, _dkms_source
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_build import nearly_full
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_commands import Commands
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_host import Host, reader
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

SCRATCH = ".accelnet-"  # prefix of our directories: dkms takes no notice of hidden names


class Journal:
    """The steps that change the host, and the way back from each."""

    def __init__(self, host: Host, commands: Commands, name: str, version: str, arch: str, scratch: str, warnings: List[str]) -> None:
        """``scratch`` is a directory on the file system of dkms' tree, where what is put aside stays until the end of the run."""
        self._host = host
        self._commands = commands
        self._name = name
        self._version = version
        self._arch = arch
        self._scratch = scratch
        self._warnings = warnings
        self._layout = reader().layout
        self._place = "{0}/{1}-{2}".format(self._layout.source, name, version)
        self._beside: Optional[str] = None
        self._old_source: Optional[str] = None
        self._new_source = False
        self._added = False
        self._discarded: Dict[str, str] = {}
        self._adopted: List[str] = []
        self._installed: List[str] = []
        self._previous: Dict[str, Optional[str]] = {}

    def _remember(self, release: str) -> None:
        if release not in self._previous:
            self._previous[release] = reader().active(self._name, release, self._arch)

    def discard(self, release: str) -> None:
        """Uninstall an earlier build of this version and put it aside."""
        self._remember(release)
        self._host.uninstall(self._version, release)
        aside = os.path.join(self._scratch, "old-" + release)
        if os.path.isdir(self._host.folder(self._version, release)):
            os.rename(self._host.folder(self._version, release), aside)
            self._discarded[release] = aside
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(self._host.folder(self._version, release)))

    def put_source(self, staged: str) -> None:
        """Put a source in place; the old one waits beside it until the end."""
        self._beside = tempfile.mkdtemp(prefix=SCRATCH, dir=self._layout.source)
        target = os.path.join(self._beside, "new")
        _dkms_source.copy(staged, target)
        with open(os.path.join(target, _dkms.MARK), "w", encoding="ascii") as stream:
            stream.write("Put here by accelnet.mana.dkms, which removes it with the package.\n")
        if os.path.lexists(self._place):
            if not _dkms_source.is_marked(self._place):
                self._warnings.append("{0}: was there with another content, and was replaced".format(self._place))
            self._old_source = os.path.join(self._beside, "old")
            os.rename(self._place, self._old_source)
        os.rename(target, self._place)
        self._new_source = True

    def add(self) -> None:
        link = "{0}/{1}/{2}/source".format(self._layout.tree, self._name, self._version)
        if os.path.islink(link):
            os.unlink(link)
        self._added = True
        self._commands.dkms("add", self._version, [], fatal=True)

    def adopt(self, built: str, release: str) -> None:
        """Move a finished build into dkms' tree."""
        self._remember(release)
        os.makedirs(os.path.dirname(self._host.folder(self._version, release)), exist_ok=True)
        _dkms_source.remove(self._host.folder(self._version, release))
        self._adopted.append(release)
        os.rename(built, self._host.folder(self._version, release))

    def install(self, release: str) -> None:
        """Install until modules.dep names the files of this build, or raise dkms_not_resolved."""
        self._remember(release)
        self._installed.append(release)
        names = reader().expected(self._name, self._version)
        if self._previous[release] == self._version and release not in self._adopted:
            self._host.uninstall(self._version, release)  # an installation that is damaged
        self._host.sweep(release, names, [])
        output = ""
        for force in ([], ["--force"]):
            _code, output = self._commands.dkms("install", self._version, ["-k", release, "-a", self._arch] + force)
            self._host.index(release, names)
            build = self._host.build(self._version, release)
            if build["state"] == "installed":
                if force:
                    self._warnings.append(
                        "kernel {0}: dkms left modules out because the kernel's own seemed the same or newer to it, and was forced; it "
                        "will leave them out again after kernel updates unless they get a newer MODULE_VERSION".format(release)
                    )
                return
            if nearly_full([self._layout.tree, self._layout.modules]) or _dkms.fault(output, "", "install") == "disk_full":
                raise AccelnetError("disk_full", "installing for kernel {0}: {1}".format(release, not_ours(build)))
            self._host.uninstall(self._version, release)
        raise AccelnetError("dkms_not_resolved", "{0} (dkms said: {1})".format(not_ours(build), " ".join(_dkms.tail(output, 6))))

    def undo(self) -> bool:
        """Everything as it was; False when not all of that worked."""
        try:
            for release in self._installed:
                self._host.uninstall(self._version, release)
            for release in self._adopted:
                self._host.drop(self._version, release)
            if self._new_source:
                _dkms_source.remove(self._place)
            if self._old_source:
                os.rename(self._old_source, self._place)
            for release, aside in self._discarded.items():
                os.makedirs(os.path.dirname(self._host.folder(self._version, release)), exist_ok=True)
                os.rename(aside, self._host.folder(self._version, release))
            if self._added and not reader().kernels(self._name, self._version):
                folder = "{0}/{1}/{2}".format(self._layout.tree, self._name, self._version)
                _dkms_source.remove(folder)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(folder))
            for release, version in self._previous.items():
                now = reader().active(self._name, release, self._arch)
                if version and now != version:
                    self._commands.dkms("install", version, ["-k", release, "-a", self._arch, "--force"])
                elif not version and now:
                    return False
            return True
        except (AccelnetError, OSError) as error:
            self._warnings.append("undoing failed: {0}".format(error))
            return False

    def close(self) -> None:
        """Remove what waited for a way back."""
        if self._beside:
            shutil.rmtree(self._beside, ignore_errors=True)


def not_ours(build: Dict[str, Any]) -> str:
    """Which modules of a kernel are not those of the build."""
    parts = []
    for module in build["modules"]:
        if not module["built"]:
            parts.append("{0}: not built".format(module["name"]))
        elif not module["ours"]:
            path = (module["resolved"] or {}).get("path")
            parts.append("{0}: {1}".format(module["name"], "modprobe would load " + path if path else "modprobe would find none"))
    return "kernel {0} does not get this build: {1}".format(build["kernel"], "; ".join(parts) or "dkms does not take it for installed")
