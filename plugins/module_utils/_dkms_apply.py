# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module dkms does to a host.

Builds happen in a tree of our own, below dkms' and hidden from it, and move over whole: a build that fails or is killed
leaves nothing behind that dkms, or an installed driver, would notice. Whatever fails afterwards is undone.

Private. Python 3.6, standard library.
"""

import errno
import os
import shutil
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _dkms, _dkms_build, _dkms_source
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_commands import Commands, read
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_host import Host, reader
from ansible_collections.accelnet.mana.plugins.module_utils._dkms_journal import SCRATCH, Journal, not_ours
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_release
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

Options = NamedTuple(
    "Options",
    [
        ("name", str),
        ("version", str),
        ("source", Optional[str]),
        ("kernels", Optional[List[str]]),
        ("arch", str),
        ("state", str),
        ("force", bool),
        ("replace", bool),
        ("timeout", int),  # seconds, for one command
        ("lock_timeout", int),  # seconds
        ("check", bool),
        ("work", str),  # directory for temporary files
    ],
)
View = Dict[str, Dict[str, Any]]

_INITRAMFS = ("/boot/initrd.img-{0}", "/boot/initramfs-{0}.img", "/boot/initrd-{0}")


class Worker:
    """One run of the module. What is to be returned gathers in ``result``, also when it fails."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.warnings: List[str] = []
        self.result: Dict[str, Any] = {
            "changed": False,
            "kernels": [],
            "kernels_changed": [],
            "initramfs_stale": [],
            "other_versions": [],
            "actions": [],
            "commands": [],
            "log": [],
            "would_require": [],
            "rolled_back": None,
        }
        self._commands = Commands(options.name, options.work, options.timeout)
        self._host = Host(options.name, options.arch, self._commands, self.warnings)
        self._scratch: Optional[str] = None
        self._staged: Optional[str] = None
        self._changed = False

    # --- The run as a whole

    def run(self) -> Dict[str, Any]:
        """Bring the host to the state, or in check mode say how. Raises AccelnetError; ``result`` is filled anyhow."""
        options = self.options
        for name in (options.name, options.version, options.arch):
            if not _dkms.is_name(name):
                raise AccelnetError("bad_dkms_source", "{0!r} cannot be a name, version or architecture".format(name))
        for release in options.kernels or []:
            if not is_release(release):
                raise AccelnetError("bad_kernel", "{0!r} cannot be a kernel release".format(release))
        if not options.check and os.geteuid() != 0:
            raise AccelnetError("dkms_failed", "modules can be installed by root only (use become)")
        os.umask(0o022)
        try:
            if options.check:
                self._dispatch()  # waits for nobody
            else:
                with self._commands.locked(options.lock_timeout):
                    self._dispatch()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
            raise AccelnetError("disk_full" if full else "dkms_failed", str(error))
        finally:
            self.result["commands"] = self._commands.done
            self.result["changed"] = self._changed
        return self.result

    def _dispatch(self) -> None:
        try:
            if self.options.state == "absent":
                self._absent()
            else:
                self._present()
        finally:
            if self._scratch:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _present(self) -> None:
        options = self.options
        look = reader()
        kernels = sorted(set([os.uname().release] if options.kernels is None else options.kernels))
        place = self._place(look)
        staged = self._stage(look, place)
        conf = _dkms.parse_conf(read(os.path.join(staged, "dkms.conf"))) if staged else None
        self._check_conf(conf)
        facts = self._facts(look, kernels, place, staged)
        self._check_kernels(look, kernels, conf)
        steps = _dkms.steps_towards(options.state, facts, kernels, options.force)
        self._check_tools(look, steps)
        others = self._others(look)
        names = self._names(look, conf)
        wanted = _dkms.targets(options.state, facts, kernels)
        concerned = sorted(set(kernels) | set(wanted) | {step[1] for step in steps if len(step) > 1})
        before = self._view(look, concerned, names)
        obsolete = (
            [(version, release) for version, releases in others.items() for release in releases if release in kernels]
            if options.replace
            else []
        )
        spare = [version for version, releases in others.items() if options.replace and not set(releases) - set(kernels)]
        self.result["actions"] = [" ".join(step) for step in steps] + ["remove {0} {1}".format(*entry) for entry in obsolete]
        self.result["actions"] += ["unregister {0}".format(version) for version in spare]
        self._changed = bool(self.result["actions"])
        if options.check:
            self._predict(before, wanted)
            self._report_others(others)
            return
        self._clean_scratch(look)
        try:
            if steps:
                self._carry_out(steps, facts, place)
            for version, release in obsolete:
                self._host.remove(version, release)
            for version in spare:
                self._host.unregister(version)
        finally:
            self._settle(before, names)
        if options.state == "installed":
            self._require_installed(kernels)

    def _absent(self) -> None:
        options = self.options
        look = reader()
        built = look.kernels(options.name, options.version)
        there = {release for release, arch in built if arch == options.arch}
        there |= set(look.active_kernels(options.name, options.version, options.arch))
        folder = "{0}/{1}/{2}".format(look.layout.tree, options.name, options.version)
        place = self._place(look)
        kernels = sorted(there if options.kernels is None else set(options.kernels))
        gone = [release for release in kernels if release in there]
        last = there <= set(kernels) and all(arch == options.arch for _release, arch in built)
        registered = os.path.isdir(folder) or _dkms_source.is_marked(place)
        names = self._names(look, None)
        before = self._view(look, kernels, names)
        steps: List[_dkms.Step] = [("remove", options.version, release) for release in gone]
        if registered and last:
            steps.append(("unregister", options.version))
        self.result["actions"] = [" ".join(step) for step in steps]
        self._changed = bool(steps)
        if steps and self._commands.program is None:
            if not options.check:
                raise AccelnetError("dkms_missing", "dkms has to undo what it installed, but it is not installed")
            self.result["would_require"].append("dkms")
        if options.check:
            self._predict(before, dict.fromkeys(kernels, "absent"))
            self._report_others(self._others(look))
            return
        self._clean_scratch(look)
        try:
            for release in gone:
                self._host.remove(options.version, release)
            if registered and last:
                self._host.unregister(options.version)
        finally:
            self._settle(before, names)

    # --- What is there

    def _place(self, look: _dkms.Reader) -> str:
        """Where the source of this version belongs."""
        return "{0}/{1}-{2}".format(look.layout.source, self.options.name, self.options.version)

    def _stage(self, look: _dkms.Reader, place: str) -> Optional[str]:
        """A directory with the source that is wanted; None in check mode where an earlier step would bring it."""
        source = self.options.source or place
        if self.options.check and not os.path.exists(source):
            self.result["would_require"].append("source")
            return None
        if self.options.source is None and not os.path.isfile(place + "/dkms.conf"):
            raise AccelnetError("bad_dkms_source", "{0}: has no dkms.conf, and no source was given".format(place))
        self._staged = _dkms_source.unpack(source, self.options.work)
        return self._staged

    def _check_conf(self, conf: Optional[_dkms.Conf]) -> None:
        for what, found, wanted in (
            ("PACKAGE_NAME", conf and conf.name, self.options.name),
            ("PACKAGE_VERSION", conf and conf.version, self.options.version),
        ):
            if found and found != wanted:
                raise AccelnetError("bad_dkms_source", "dkms.conf says {0} {1}, not {2}".format(what, found, wanted))

    def _facts(self, look: _dkms.Reader, kernels: List[str], place: str, staged: Optional[str]) -> _dkms.Facts:
        name, version, arch = self.options.name, self.options.version, self.options.arch
        there = {release for release, its in look.kernels(name, version) if its == arch}
        builds = {release: look.build(name, version, release, arch) for release in sorted(there | set(kernels))}
        for release, build in builds.items():
            # The build of a kernel that was removed keeps nobody from anything.
            if release not in kernels and not look.tree.exists("{0}/{1}/modules.dep".format(look.layout.modules, release)):
                build["disk"] = "incomplete"
        source = look.source(name, version)
        registered = source is not None and source == look.tree.resolve(place)
        in_place = os.path.realpath(place) == staged
        wanted = _dkms_source.tree_digest(staged) if staged and not in_place else None
        return _dkms.Facts(wanted, _dkms_source.tree_digest(place), registered, builds)

    def _check_kernels(self, look: _dkms.Reader, kernels: List[str], conf: Optional[_dkms.Conf]) -> None:
        for release in kernels if self.options.state != "added" else []:
            if not look.tree.is_dir("{0}/{1}".format(look.layout.modules, release)):
                self._lack("bad_kernel", "kernel:" + release, "{0}/{1}: no such kernel is installed".format(look.layout.modules, release))
            for module in conf.modules if conf else []:
                if look.builtin(release, module):
                    raise AccelnetError("builtin_not_replaceable", "{0} is built into kernel {1}".format(module, release))

    def _check_tools(self, look: _dkms.Reader, steps: List[_dkms.Step]) -> None:
        """That everything the steps need is there, before the first of them."""
        if steps and self._commands.program is None:
            self._lack("dkms_missing", "dkms", "dkms is not installed")
        builds = [step[1] for step in steps if step[0] == "build"]
        for release in builds:
            if not _dkms_build.headers_there(look, release):
                message = "{0}/{1}/build: the headers of the kernel are not installed".format(look.layout.modules, release)
                self._lack("headers_missing", "headers:" + release, message)
        for release in builds:
            problem = _dkms_build.compiler_problem(look, release, self.options.work)
            if problem:
                self._lack("compiler_unusable", "compiler", problem)
                break

    def _lack(self, reason: str, item: str, message: str) -> None:
        """A prerequisite that is missing: an error, but in check mode an earlier step may be what would bring it."""
        if not self.options.check:
            raise AccelnetError(reason, message)
        if item not in self.result["would_require"]:
            self.result["would_require"].append(item)

    def _names(self, look: _dkms.Reader, conf: Optional[_dkms.Conf]) -> List[str]:
        """The modules of the package: of this version, and of the others that it may replace."""
        names = list(conf.modules) if conf else []
        for version in [self.options.version] + look.versions(self.options.name):
            names += look.expected(self.options.name, version)
        return list(dict.fromkeys(names))

    def _others(self, look: _dkms.Reader) -> Dict[str, List[str]]:
        """Other versions of the package, and the kernels that they were built for."""
        name, arch = self.options.name, self.options.arch
        return {
            version: [release for release, its in look.kernels(name, version) if its == arch]
            for version in look.versions(name)
            if version != self.options.version
        }

    def _report_others(self, others: Dict[str, List[str]]) -> None:
        self.result["other_versions"] = [{"version": version, "kernels": releases} for version, releases in sorted(others.items())]

    def _view(self, look: _dkms.Reader, kernels: List[str], names: List[str]) -> View:
        """By kernel: the state of this version, and the module files that count."""
        found: View = {}
        for release in kernels:
            build = look.build(self.options.name, self.options.version, release, self.options.arch)
            ours = {module["name"]: module["ours"] for module in build["modules"]} if build["disk"] != "absent" else {}
            paths = look.resolved(release, names)
            metas = look.metas([path for path in paths.values() if path])
            modules = {}
            for name in names:
                meta = metas.get(paths[name] or "")
                modules[name] = (
                    dict(meta, ours=bool(ours.get(name))) if meta else ({"path": paths[name], "ours": False} if paths[name] else None)
                )
            state = build["state"]
            if state == "absent" and look.source(self.options.name, self.options.version):
                state = "added"
            found[release] = {
                "state": state,
                "active_version": look.active(self.options.name, release, self.options.arch),
                "modules": modules,
            }
        return found

    def _predict(self, before: View, wanted: Dict[str, str]) -> None:
        """What check mode says will be: a path is not predicted, only whose file it will be."""
        for release in sorted(set(before) | set(wanted)):
            had = before[release]
            state = wanted.get(release, had["state"])
            after = dict(had, state=state)
            if self._changed and (had["state"] != state or any(action.endswith(" " + release) for action in self.result["actions"])):
                after["modules"] = None
                if "installed" in (state, had["state"]):
                    self.result["kernels_changed"].append(release)
                    self.result["initramfs_stale"].append(release)
            self.result["kernels"].append({"release": release, "arch": self.options.arch, "before": had, "after": after})

    def _settle(self, before: View, names: List[str]) -> None:
        """What there is now, and which kernels load something else than before."""
        look = reader()
        names = list(dict.fromkeys(names + look.expected(self.options.name, self.options.version)))
        after = self._view(look, sorted(before), names)
        for release, had in before.items():
            now = after[release]
            self.result["kernels"].append({"release": release, "arch": self.options.arch, "before": had, "after": now})
            changed = any(_identity(had["modules"].get(name)) != _identity(now["modules"].get(name)) for name in names)
            if changed:
                self.result["kernels_changed"].append(release)
            if changed or _older_initramfs(look, release, now):
                self.result["initramfs_stale"].append(release)
        self._report_others(self._others(look))

    # --- Doing it

    def _carry_out(self, steps: List[_dkms.Step], facts: _dkms.Facts, place: str) -> None:
        """All builds first; then, with a way back, what changes the host."""
        options = self.options
        tree = reader().layout.tree
        os.makedirs(tree, exist_ok=True)
        scratch = self._scratch = tempfile.mkdtemp(prefix=SCRATCH, dir=tree)
        releases = [step[1] for step in steps if step[0] == "build"]
        builder = _dkms_build.Builder(options.name, options.version, options.arch, self._commands)
        staged = self._staged or place
        built: Dict[str, str] = {}
        try:
            if releases:
                built = builder.build(staged, facts.wanted_digest or facts.source_digest, releases, scratch)
        except (AccelnetError, OSError):
            self._changed = False
            raise
        finally:
            self.result["log"] = builder.log
        journal = Journal(self._host, self._commands, options.name, options.version, options.arch, scratch, self.warnings)
        try:
            for step in steps:
                if step[0] == "discard":
                    journal.discard(step[1])
                elif step[0] == "source":
                    journal.put_source(staged)
                elif step[0] == "add":
                    journal.add()
                elif step[0] == "adopt":
                    journal.adopt(built[step[1]], step[1])
                elif step[0] == "install":
                    journal.install(step[1])
        except (AccelnetError, OSError):
            self.result["rolled_back"] = journal.undo()
            self._changed = not self.result["rolled_back"]
            raise
        finally:
            journal.close()

    def _require_installed(self, kernels: List[str]) -> None:
        look = reader()
        for release in kernels:
            build = look.build(self.options.name, self.options.version, release, self.options.arch)
            if build["state"] != "installed":
                raise AccelnetError("dkms_not_resolved", not_ours(build))

    def _clean_scratch(self, look: _dkms.Reader) -> None:
        """Remove what runs that were killed left; nobody else can be using it, as we hold the lock."""
        for folder in (look.layout.tree, look.layout.source):
            for name in os.listdir(folder) if os.path.isdir(folder) else []:
                if name.startswith(SCRATCH):
                    shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _identity(module: Optional[Dict[str, Any]]) -> Tuple[Any, Any]:
    return (None, None) if module is None else (module.get("path"), module.get("sha256"))


def _older_initramfs(look: _dkms.Reader, release: str, view: Dict[str, Any]) -> bool:
    """Whether a kernel's initramfs is older than a module of ours: an earlier run may have ended before it was refreshed."""
    try:
        images = [os.stat(path.format(release)).st_mtime for path in _INITRAMFS if os.path.exists(path.format(release))]
        modules = [os.stat(module["path"]).st_mtime for module in view["modules"].values() if module and module["ours"]]
    except OSError:
        return True
    return bool(images and modules and min(images) < max(modules))
