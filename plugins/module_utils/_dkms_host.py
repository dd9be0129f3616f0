# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dkms should do by itself and does not always: take a version back completely, whatever state it is in.

Private. Python 3.6, standard library.
"""

import contextlib
import os
import shutil
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _answers, _dkms, _dkms_source, _modprobe
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_commands import PATH, Commands, read, zstd
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import DirectoryBackend, Tree


def reader(root: str = "/") -> _dkms.Reader:
    """A fresh look at a root."""
    tree = Tree(DirectoryBackend(root))
    return _dkms.Reader(tree, _answers.DirectoryAnswers(root, tree.warn).modinfo, zstd)


class Host:
    """The builds of one package on this host, for one architecture."""

    def __init__(self, name: str, arch: str, commands: Commands, warnings: List[str]) -> None:
        self._name = name
        self._arch = arch
        self._commands = commands
        self._warnings = warnings

    def build(self, version: str, release: str) -> Dict[str, Any]:
        """What there is at this moment, as Reader.build has it."""
        return reader().build(self._name, version, release, self._arch)

    def folder(self, version: str, release: str) -> str:
        """Where dkms has a build."""
        return "{0}/{1}/{2}/{3}/{4}".format(reader().layout.tree, self._name, version, release, self._arch)

    def uninstall(self, version: str, release: str) -> None:
        """Take the files of a version out of a kernel, put the kernel's own back, and keep the build.

        Also where dkms gave up, or was killed, before it took note of what it had done.
        """
        look = reader()
        active = look.active(self._name, release, self._arch)
        if active not in (None, version):
            return  # another version's files are there
        names = look.expected(self._name, version)
        build = look.build(self._name, version, release, self._arch)
        if build["disk"] == "installed":
            self._stand_in(look, version, names)
            self._commands.dkms("uninstall", version, ["-k", release, "-a", self._arch])
        link = "{0}/{1}/kernel-{2}-{3}".format(look.layout.tree, self._name, release, self._arch)
        if os.path.islink(link):
            os.unlink(link)
        self.sweep(release, names, _built(build))
        self._restore_originals(look, release, names)
        self.index(release, names)

    def drop(self, version: str, release: str) -> None:
        """Forget a build that is not installed."""
        folder = self.folder(version, release)
        _dkms_source.remove(folder)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(folder))

    def remove(self, version: str, release: str) -> None:
        """Take one build of a version away, and prove that nothing of it is loaded any more."""
        look = reader()
        names = look.expected(self._name, version)
        had = _built(look.build(self._name, version, release, self._arch))
        self.uninstall(version, release)
        self.sweep(release, names, had)
        self.index(release, names)
        # Before the build goes, without which the next run would have nothing to prove.
        self._require_restored(release, names, had)
        self.drop(version, release)

    def unregister(self, version: str) -> None:
        """Make dkms forget a version that has no builds any more; its source goes when we put it there."""
        look = reader()
        folder = "{0}/{1}/{2}".format(look.layout.tree, self._name, version)
        if look.source(self._name, version) and not look.kernels(self._name, version):
            self._commands.dkms("remove", version, ["--all"])
        _dkms_source.remove(folder)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(folder))
        place = "{0}/{1}-{2}".format(look.layout.source, self._name, version)
        if _dkms_source.is_marked(place):
            _dkms_source.remove(place)

    def _require_restored(self, release: str, names: List[str], had: List[_dkms.Meta]) -> None:
        look = reader()
        resolved = look.resolved(release, names)
        metas = look.metas([path for path in resolved.values() if path])
        contents = {meta["sha256"] for meta in had if meta["sha256"]}
        bad = []
        for name in names:
            if look.claimants(release, self._arch, name):
                continue  # another version, or package, is what is loaded
            path = resolved[name]
            own = distribution_file(look, release, name)
            if path and path != own and metas.get(path, {}).get("sha256") in contents:
                bad.append("{0}: still {1}".format(name, path))
            elif own and not path:
                bad.append("{0}: {1} is there, but modprobe would not find it".format(name, own))
        if bad:
            raise AccelnetError("dkms_not_restored", "kernel {0}: {1}".format(release, "; ".join(bad)))

    def _stand_in(self, look: _dkms.Reader, version: str, names: List[str]) -> None:
        """A source for a version that lost its own: without a dkms.conf dkms cannot take back what it installed."""
        name = self._name
        if look.source(name, version):
            return
        place = "{0}/{1}-{2}".format(look.layout.source, name, version)
        if not os.path.isfile(place + "/dkms.conf"):
            _dkms_source.remove(place)
            os.makedirs(place)
            lines = ['PACKAGE_NAME="{0}"'.format(name), 'PACKAGE_VERSION="{0}"'.format(version)]
            for index, module in enumerate(names):
                lines += ['BUILT_MODULE_NAME[{0}]="{1}"'.format(index, module), 'DEST_MODULE_LOCATION[{0}]="/updates"'.format(index)]
            for file, text in ((_dkms.MARK, ""), ("dkms.conf", "\n".join(lines) + "\n")):
                with open("{0}/{1}".format(place, file), "w", encoding="ascii") as stream:
                    stream.write(text)
            self._warnings.append("{0}-{1} had lost its source; a stand-in was made so that dkms could undo its work".format(name, version))
        link = "{0}/{1}/{2}/source".format(look.layout.tree, name, version)
        if os.path.islink(link):
            os.unlink(link)
        if not os.path.exists(link):
            os.symlink(place, link)

    def _restore_originals(self, look: _dkms.Reader, release: str, names: List[str]) -> None:
        """What dkms does itself when it can: put the kernel's own modules back that dkms 3.1 and newer move away."""
        base = "{0}/{1}/original_module/{2}/{3}".format(look.layout.tree, self._name, release, self._arch)
        own = "{0}/{1}/".format(look.layout.modules, release)
        wanted = [_modprobe.normal(name) for name in names]
        for file in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            kept = "{0}/{1}".format(base, file)
            if _dkms.module_name(file) not in wanted or not os.path.isfile(kept + ".origin"):
                continue
            target = os.path.normpath(read(kept + ".origin").split("\n", 1)[0])
            if not target.startswith(own) or os.path.exists(target):
                continue
            if target.startswith(own + _dkms.DKMS_DIRECTORY):
                os.unlink(kept)  # never was the kernel's own
            else:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.move(kept, target)
            os.unlink(kept + ".origin")
        with contextlib.suppress(OSError):
            for _level in ("architecture", "release", "original_module"):
                os.rmdir(base)
                base = os.path.dirname(base)

    def sweep(self, release: str, names: List[str], known: List[_dkms.Meta]) -> None:
        """Remove copies of modules that nothing claims: what an interrupted run left where dkms installs.

        dkms would take them for the kernel's own and keep them as such; dkms 3.1 and newer even in place of the real one.
        """
        look = reader()
        contents = {meta["sha256"] for meta in known if meta["sha256"]}
        for version in look.versions(self._name):
            contents |= {meta["sha256"] for meta in _built(look.build(self._name, version, release, self._arch))}
        for name in names:
            if look.claimants(release, self._arch, name):
                continue
            for path in look.copies(release, name):
                meta = look.metas([path]).get(path)
                if _dkms.DKMS_DIRECTORY in path or (meta and meta["sha256"] and meta["sha256"] in contents):
                    os.unlink(path)
                    self._commands.done.append("rm {0}".format(path))

    def index(self, release: str, names: List[str]) -> None:
        """depmod, where the indexes name a module that is gone or leave one out that is there."""
        look = reader()
        base = "{0}/{1}".format(look.layout.modules, release)
        if not os.path.isdir(base):
            return
        resolved = look.resolved(release, names)
        for name in names:
            copies = look.copies(release, name)
            if (not resolved[name] and (copies or distribution_file(look, release, name) or look.indexed(release, name))) or (
                copies and resolved[name] not in copies
            ):
                self._commands.run([shutil.which("depmod", path=PATH) or "depmod", "-a", release])
                return


def distribution_file(look: _dkms.Reader, release: str, name: str) -> Optional[str]:
    """The kernel's own file of a module, found by walking its directory."""
    for folder, _folders, files in os.walk("{0}/{1}/kernel".format(look.layout.modules, release)):
        for file in files:
            if _dkms.module_name(file) == _modprobe.normal(name):
                return os.path.join(folder, file)
    return None


def _built(build: Dict[str, Any]) -> List[_dkms.Meta]:
    """The files of a build."""
    return [module["built"] for module in build["modules"] if module["built"]]
