# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DKMS: what its files and its output mean, what is installed in truth, and what is to be done. Pure, but for reads of a Tree.

dkms' own word counts for nothing here: its exit status is 0 after it left modules out, and its status is read from links in
its tree. What counts is the file that modules.dep names, compared with the one that was built.

Sources: dkms(8) and the script itself of releases 2.8.4 (Debian 11), 3.0.10 (Debian 12) and 3.2.2 (Debian 13).
Private. Python 3.6, standard library.
"""

import hashlib
import re
import zlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

try:
    import lzma
except ImportError:  # not in every build of Python
    lzma = None  # type: ignore[assignment]

from ansible_collections.accelnet.mana.plugins.module_utils import _modprobe
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

Layout = NamedTuple("Layout", [("tree", str), ("source", str), ("modules", str)])
Status = NamedTuple(
    "Status",
    [
        ("name", str),
        ("version", str),
        ("kernel", Optional[str]),
        ("arch", Optional[str]),
        ("state", str),
        ("original", bool),
        ("remarks", List[str]),
    ],
)
Conf = NamedTuple("Conf", [("name", Optional[str]), ("version", Optional[str]), ("modules", List[str]), ("exact", bool)])
Meta = Dict[str, Any]
Modinfo = Callable[[List[str]], Dict[str, Dict[str, str]]]

STATES = ("absent", "added", "built", "installed")
STAMP = "accelnet-source.sha256"  # in the log directory of a build: the digest of the source that it was made from
MARK = ".accelnet-source"  # at the top of a source tree that we put there
# Where dkms puts modules on Debian, Ubuntu and Arch: nothing else writes there, so what no package claims is a leftover.
DKMS_DIRECTORY = "updates/dkms"

_DEFAULTS = Layout("/var/lib/dkms", "/usr/src", "/lib/modules")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}\Z")
_STATUS = re.compile(
    r"^(?P<name>[^\s,/]+)(?:/|, )(?P<version>[^\s,:]+)(?:, (?P<kernel>[^\s,]+), (?P<arch>[^\s,:]+))?: "
    r"(?P<state>added|built|installed-weak|installed|broken)\b(?P<rest>.*)$"
)
_REMARK = re.compile(r"\(([^()]*)\)")
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]+)(?:\[(\d+)\])?=(\"[^\"]*\"|'[^']*'|[^\s;#]*)\s*(?:#.*)?$")
_MODULE_FILE = re.compile(r"^(.+)\.ko(?:\.(?:xz|zst|gz))?$")
_SIGNATURE_MAGIC = b"~Module signature appended~\n"
_SIGNATURE_HEADER = 12  # bytes: struct module_signature in Linux include/linux/module_signature.h
_MODULE_LIMIT = 256 << 20  # bytes
_MAX_MODULES = 64
_DAMAGED = (EOFError, ValueError, zlib.error) + ((lzma.LZMAError,) if lzma else ())


def is_name(name: str) -> bool:
    """Whether a name or version of a package can stand in paths and on command lines."""
    return bool(_NAME.match(name))


def read_layout(tree: Tree) -> Layout:
    """Where dkms keeps its things, from framework.conf and its drop-ins."""
    found = _DEFAULTS._asdict()
    for path in framework_files(tree):
        for key, value in parse_framework(tree.text(path) or "").items():
            field = {"dkms_tree": "tree", "source_tree": "source", "install_tree": "modules"}.get(key)
            if field and value.startswith("/"):
                found[field] = value.rstrip("/")
    return Layout(**found)


def framework_files(tree: Tree) -> List[str]:
    """dkms' own configuration, in the order in which it reads it."""
    folder = "/etc/dkms/framework.conf.d"
    drop_ins = ["{0}/{1}".format(folder, name) for name in tree.names(folder) if name.endswith(".conf")]
    return [path for path in ["/etc/dkms/framework.conf"] + drop_ins if tree.exists(path)]


def parse_framework(text: str) -> Dict[str, str]:
    """The settings of a framework.conf that are plain words."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match and "$" not in match.group(3):
            found[match.group(1)] = match.group(3).strip("\"'")
    return found


def parse_status(text: str) -> List[Status]:
    """The lines of ``dkms status``; 2.8 writes ``name, version``, 3.x ``name/version``. Other lines are messages."""
    found: List[Status] = []
    for line in text.splitlines():
        match = _STATUS.match(line.strip())
        if not match:
            continue
        remarks = []
        original = False
        for remark in _REMARK.findall(match.group("rest")):
            if "original" in remark.lower():
                original = True
            elif remark not in remarks:
                remarks.append(remark)
        name, version, kernel, arch, state = match.group("name", "version", "kernel", "arch", "state")
        found.append(Status(name, version, kernel, arch, state, original, remarks))
    return found


def parse_conf(text: str) -> Conf:
    """The package and its modules from a dkms.conf, which is a shell script: ``exact`` is false where it computes things."""
    values: Dict[str, Dict[int, str]] = {}
    exact = True
    for line in text.replace("\\\n", " ").splitlines():
        match = _ASSIGNMENT.match(line)
        if not match:
            exact = exact and (not line.strip() or line.lstrip().startswith("#"))
            continue
        name, index, value = match.groups()
        values.setdefault(name, {})[int(index or 0)] = value.strip("\"'") if value[:1] != "'" else value[1:-1]

    def plain(value: Optional[str]) -> Optional[str]:
        for key in ("PACKAGE_NAME", "PACKAGE_VERSION") if value else ():
            word = values.get(key, {}).get(0, "").replace("\\", "")
            value = re.sub(r"\$(?:\{%s\}|%s(?![A-Za-z0-9_]))" % (key, key), word, str(value))
        return value if value and is_name(value) else None

    package = plain(values.get("PACKAGE_NAME", {}).get(0))
    built, renamed, places = (values.get(key, {}) for key in ("BUILT_MODULE_NAME", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION"))
    modules = []
    for index in sorted(set(built) | set(renamed) | set(places))[:_MAX_MODULES]:
        # dkms: a package of one module may leave its name out.
        default = values.get("PACKAGE_NAME", {}).get(0) if len(places) == 1 else None
        module = plain(renamed.get(index) or built.get(index) or default)
        if module is None:
            exact = False
        else:
            modules.append(module)
    return Conf(package, plain(values.get("PACKAGE_VERSION", {}).get(0)), modules, exact and bool(modules))


# --- Module files


def unpacked(data: bytes, zstd: Optional[Callable[[bytes], Optional[bytes]]] = None) -> Optional[bytes]:
    """A module file without its compression (any that kmod knows) and without an appended signature, or None."""
    try:
        if data[:2] == b"\x1f\x8b":
            data = zlib.decompress(data, 31)
        elif data[:6] == b"\xfd7zXZ\x00":
            data = lzma.decompress(data) if lzma else b""
        elif data[:4] == b"\x28\xb5\x2f\xfd":
            data = (zstd(data) if zstd else None) or b""
    except _DAMAGED:
        return None
    if data[:4] != b"\x7fELF":
        return None
    if data.endswith(_SIGNATURE_MAGIC):
        end = len(data) - len(_SIGNATURE_MAGIC)
        length = int.from_bytes(data[end - 4 : end], "big")
        if 0 < length < end - _SIGNATURE_HEADER:
            data = data[: end - _SIGNATURE_HEADER - length]
    return data


def digest(data: Optional[bytes]) -> Optional[str]:
    return None if data is None else hashlib.sha256(data).hexdigest()


def same_build(built: Optional[Meta], resolved: Optional[Meta]) -> Optional[bool]:
    """Whether two module files are one build; None where neither their content nor their srcversion can be told.

    The content comes first: srcversion covers the files beside the module's own sources only, so a header elsewhere, as a
    compatibility layer has them, makes another module with the same srcversion (get_src_version in Linux scripts/mod/sumversion.c).
    """
    if built is None or resolved is None:
        return False
    if built["sha256"] and resolved["sha256"]:
        return bool(built["sha256"] == resolved["sha256"])
    if built["srcversion"] and resolved["srcversion"]:
        return bool(built["srcversion"] == resolved["srcversion"] and built["vermagic"] == resolved["vermagic"])
    return None


def module_name(file: str) -> Optional[str]:
    """The name that a module has in a kernel, from the name of its file, or None when it is no module."""
    match = _MODULE_FILE.match(file.rsplit("/", 1)[-1])
    return _modprobe.normal(match.group(1)) if match else None


# --- What is there


class Reader:
    """One look at dkms' tree and at the modules of kernels. Make a new one after every change: a Tree remembers."""

    def __init__(self, tree: Tree, modinfo: Modinfo, zstd: Optional[Callable[[bytes], Optional[bytes]]] = None) -> None:
        self.tree = tree
        self.layout = read_layout(tree)
        self._modinfo = modinfo
        self._zstd = zstd
        self._metas: Dict[str, Meta] = {}
        self._indexes: Dict[Tuple[str, str], Dict[str, str]] = {}

    def names(self) -> List[str]:
        return [name for name in self.tree.names(self.layout.tree) if is_name(name) and self.tree.is_dir(self._path(name))]

    def versions(self, name: str) -> List[str]:
        return [
            version
            for version in self.tree.names(self._path(name))
            if is_name(version)
            and version != "original_module"
            and not version.startswith("kernel-")
            and self.tree.is_dir(self._path(name, version))
        ]

    def kernels(self, name: str, version: str) -> List[Tuple[str, str]]:
        """(release, arch) of everything that was built, or half built."""
        found = []
        for release in self.tree.names(self._path(name, version)):
            if release in ("build", "source", "tarball", "driver_disk", "rpm", "deb") or not is_name(release):
                continue
            for arch in self.tree.names(self._path(name, version, release)):
                if is_name(arch) and self.tree.is_dir(self._path(name, version, release, arch)):
                    found.append((release, arch))
        return found

    def active(self, name: str, release: str, arch: str) -> Optional[str]:
        """The version that dkms takes for installed, from its link."""
        folder = self.tree.resolve(self._path(name))
        try:
            target = self.tree.backend.readlink("{0}/kernel-{1}-{2}".format(folder, release, arch)) if folder else ""
        except (OSError, KeyError):
            return None
        # dkms writes version/release/arch; a link that somebody made absolute ends like that too.
        parts = target.rstrip("/").split("/")
        return parts[-3] if len(parts) >= 3 and is_name(parts[-3]) else None

    def active_kernels(self, name: str, version: str, arch: str) -> List[str]:
        """The kernels that dkms takes a version for installed in, whether or not its build is still there."""
        links = [link for link in self.tree.names(self._path(name)) if link.startswith("kernel-") and link.endswith("-" + arch)]
        releases = [link[len("kernel-") : -len("-" + arch)] for link in links]
        return [release for release in releases if self.active(name, release, arch) == version]

    def conf(self, name: str, version: str) -> Optional[Conf]:
        text = self.tree.text(self._path(name, version, "source", "dkms.conf"))
        if text is None:
            text = self.tree.text("{0}/{1}-{2}/dkms.conf".format(self.layout.source, name, version))
        return None if text is None else parse_conf(text)

    def source(self, name: str, version: str) -> Optional[str]:
        """The source tree that dkms has for a version; None when the link to it is missing or dangles."""
        path = self._path(name, version, "source")
        return self.tree.resolve(path) if self.tree.exists(path + "/dkms.conf") else None

    def expected(self, name: str, version: str) -> List[str]:
        """The modules of a version, in the spelling of its dkms.conf; those of its builds where that is a program."""
        conf = self.conf(name, version)
        if conf and conf.exact:
            return conf.modules
        files = list(conf.modules) if conf else []
        for release, arch in self.kernels(name, version):
            for file in self.tree.names(self._path(name, version, release, arch, "module")):
                match = _MODULE_FILE.match(file)
                if match and is_name(match.group(1)) and match.group(1) not in files:
                    files.append(match.group(1))
        return files

    def build(self, name: str, version: str, release: str, arch: str) -> Dict[str, Any]:
        """What there is of a version for a kernel, and what of it counts."""
        base = self._path(name, version, release, arch)
        expected = self.expected(name, version)
        files = {module_name(file): "{0}/module/{1}".format(base, file) for file in self.tree.names(base + "/module")}
        built = {module: files.get(_modprobe.normal(module)) for module in expected}
        resolved = self.resolved(release, expected)
        metas = self.metas([path for path in built.values() if path] + [path for path in resolved.values() if path])
        modules: List[Dict[str, Any]] = []
        for module in expected:
            mine = metas.get(built[module] or "")
            theirs = metas.get(resolved[module] or "")
            modules.append(
                {
                    "name": module,
                    "built": mine,
                    "resolved": theirs,
                    "ours": same_build(mine, theirs),
                    "builtin": self.builtin(release, module),
                }
            )
        whole = bool(modules) and all(module["built"] and fits(module["built"], release) for module in modules)
        active = self.active(name, release, arch) == version
        if not self.tree.is_dir(base):
            disk = "absent"
        elif not whole:
            disk = "incomplete"
        else:
            disk = "installed" if active else "built"
        stamp = self.tree.value("{0}/log/{1}".format(base, STAMP))
        return {
            "kernel": release,
            "arch": arch,
            "disk": disk,
            "state": effective(disk, modules),
            "original_module": self.tree.is_dir("{0}/original_module/{1}/{2}".format(self._path(name), release, arch)),
            "source_digest": stamp,
            "modules": modules,
        }

    def resolved(self, release: str, modules: List[str]) -> Dict[str, Optional[str]]:
        """The file that modprobe would load for each module, or None."""
        index = self._index(release, "modules.dep")
        found: Dict[str, Optional[str]] = {}
        for module in modules:
            relative = index.get(_modprobe.normal(module))
            path = relative if not relative or relative.startswith("/") else "{0}/{1}/{2}".format(self.layout.modules, release, relative)
            found[module] = path if path and self.tree.exists(path) else None
        return found

    def indexed(self, release: str, module: str) -> bool:
        """Whether modules.dep names a file for a module, be it there or not."""
        return _modprobe.normal(module) in self._index(release, "modules.dep")

    def builtin(self, release: str, module: str) -> bool:
        return _modprobe.normal(module) in self._index(release, "modules.builtin")

    def copies(self, release: str, module: str, folders: Tuple[str, ...] = (DKMS_DIRECTORY, "updates", "extra")) -> List[str]:
        """Files of a module in the places where dkms installs, whatever modules.dep says."""
        found = []
        for folder in folders:
            path = "{0}/{1}/{2}".format(self.layout.modules, release, folder)
            found += ["{0}/{1}".format(path, file) for file in self.tree.names(path) if module_name(file) == _modprobe.normal(module)]
        return found

    def claimants(self, release: str, arch: str, module: str) -> List[str]:
        """``name/version`` of the packages whose active build has this module."""
        found = []
        for name in self.names():
            version = self.active(name, release, arch)
            files = self.tree.names(self._path(name, version, release, arch, "module")) if version else []
            if version and any(module_name(file) == _modprobe.normal(module) for file in files):
                found.append("{0}/{1}".format(name, version))
        return found

    def metas(self, paths: List[str]) -> Dict[str, Meta]:
        """Metadata and content digest by path. A file that is no whole module is left out."""
        wanted = [path for path in dict.fromkeys(paths) if path not in self._metas]
        answers: Dict[str, Dict[str, str]] = {}
        real = {path: self.tree.resolve(path) for path in wanted}
        if wanted:
            answers = self._modinfo(sorted(place for place in real.values() if place))
        for path in wanted:
            fields = answers.get(real[path] or "", {})
            content = digest(unpacked(self.tree.data(path, _MODULE_LIMIT) or b"", self._zstd))
            # modinfo reads the table at the end of the file: what is cut off has no fields.
            if not fields and (answers or content is None):
                continue
            self._metas[path] = {"path": path, "sha256": content}
            self._metas[path].update({key: fields.get(key) or None for key in ("srcversion", "version", "vermagic", "signer")})
        return {path: self._metas[path] for path in paths if path in self._metas}

    def package(self, name: str, version: str, kernels: Optional[List[str]] = None) -> Dict[str, Any]:
        """One version and all its builds, as dkms_info returns it."""
        builds = [
            self.build(name, version, release, arch)
            for release, arch in self.kernels(name, version)
            if kernels is None or release in kernels
        ]
        source = self.source(name, version)
        return {
            "name": name,
            "version": version,
            "source": source,
            "state": "broken" if source is None else max([build["state"] for build in builds] + ["added"], key=_rank),
            "status": None,
            "builds": builds,
        }

    def _path(self, *parts: str) -> str:
        return "/".join((self.layout.tree,) + parts)

    def _index(self, release: str, file: str) -> Dict[str, str]:
        key = (release, file)
        if key not in self._indexes:
            data = self.tree.data("{0}/{1}/{2}".format(self.layout.modules, release, file), _MODULE_LIMIT) or b""
            found: Dict[str, str] = {}
            for line in data.decode("utf-8", "replace").splitlines():
                path = line.split(":", 1)[0].strip()
                module = module_name(path)
                if module:
                    found.setdefault(module, path)
            self._indexes[key] = found
        return self._indexes[key]


def fits(meta: Meta, release: str) -> bool:
    """Whether a module was built for this kernel, as far as its vermagic tells."""
    return not meta["vermagic"] or str(meta["vermagic"]).split(" ", 1)[0] == release


def effective(disk: str, modules: List[Dict[str, Any]]) -> str:
    """absent, incomplete, built or installed: installed only when modprobe would load every module of this very build."""
    if disk == "installed" and not all(module["ours"] for module in modules):
        return "built"
    return disk


def _rank(state: str) -> int:
    return STATES.index(state) if state in STATES else 0


# --- Building


def compilers(kernelvariables: str, config: str) -> List[str]:
    """Names under which a kernel's compiler is looked for, best first: as its headers have them, then the usual ones.

    Debian's headers say it in .kernelvariables; CONFIG_CC_VERSION_TEXT is ``gcc-12 (Debian ...) ...`` or ``Debian clang version ...``.
    """
    found = []
    text = re.search(r'^CONFIG_CC_VERSION_TEXT="?([^"\n]*)', config, re.M)
    if text:
        found.append("clang" if "clang" in text.group(1) else text.group(1).split(" ", 1)[0])
    named = re.search(r"^\s*(?:override\s+)?CC\s*:?=.*?([\w.+-]+)\s*$", kernelvariables, re.M)
    if named:
        return list(dict.fromkeys(found + [named.group(1)]))
    return list(dict.fromkeys(found + ["gcc", "cc"]))


def has_signing_key(reader: Reader) -> bool:
    """Whether dkms would find a key to sign with, instead of making one."""
    found: Dict[str, str] = {}
    for path in framework_files(reader.tree):
        found.update(parse_framework(reader.tree.text(path) or ""))
    key = found.get("mok_signing_key", "")
    if key.startswith("pkcs11:"):
        return True
    return any(reader.tree.exists(path) for path in (key, "/var/lib/dkms/mok.key", "/var/lib/shim-signed/mok/MOK.priv") if path)


# --- What is to be done


Facts = NamedTuple(
    "Facts",
    [
        ("wanted_digest", Optional[str]),  # of the source that was given; None keeps what is in place
        ("source_digest", Optional[str]),  # of what is in place, None without
        ("registered", bool),  # dkms knows the version, and its link to the source leads to what is in place
        ("builds", Dict[str, Dict[str, Any]]),  # by release, as Reader.build has them
    ],
)
Step = Tuple[str, ...]


def replaced(facts: Facts) -> bool:
    """Whether the source in place has to give way to the one that was given."""
    return facts.wanted_digest is not None and facts.wanted_digest != facts.source_digest


def stale(build: Dict[str, Any], facts: Facts) -> bool:
    """Whether a build was made from another source than the one that is wanted.

    One without our stamp was made by dkms itself, after a kernel update: from what was in place.
    """
    wanted = facts.wanted_digest or facts.source_digest
    made_from = build["source_digest"] or facts.source_digest
    return build["disk"] != "absent" and made_from != wanted


def targets(state: str, facts: Facts, kernels: List[str]) -> Dict[str, str]:
    """The state that each kernel shall have: at least the one asked for, never less than it has.

    Another source concerns every kernel that has a build: the others must not lose their driver for it.
    """
    wanted = dict.fromkeys(kernels, state)
    for release, build in facts.builds.items():
        if build["disk"] in STATES and (release in wanted or replaced(facts)):
            wanted[release] = max(wanted.get(release, "absent"), build["disk"], key=_rank)
    return {release: wanted[release] for release in sorted(wanted) if wanted[release] != "absent"}


def steps_towards(state: str, facts: Facts, kernels: List[str], force: bool = False) -> List[Step]:
    """What has to be done for a state other than absent, in order; empty when there is nothing.

    Everything is built before anything that is there is touched: most of what can go wrong goes wrong in a build.
    """
    builds: List[Step] = []
    discards: List[Step] = []
    installs: List[Step] = []
    wanted = targets(state, facts, kernels)
    for release, target in wanted.items():
        build = facts.builds[release]
        there = build["disk"] in ("built", "installed") and not stale(build, facts)
        rebuild = target in ("built", "installed") and (not there or (force and release in kernels))
        if rebuild:
            builds.append(("build", release))
        if target == "installed" and (rebuild or build["state"] != "installed"):
            installs.append(("install", release))
    for release, build in sorted(facts.builds.items()):
        if build["disk"] != "absent" and (("build", release) in builds or (replaced(facts) and stale(build, facts))):
            discards.append(("discard", release))
    source: List[Step] = [("source",)] if replaced(facts) else []
    add: List[Step] = [] if facts.registered else [("add",)]
    adopts: List[Step] = [("adopt", step[1]) for step in builds]
    return builds + discards + source + add + adopts + installs


# --- What went wrong


_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.I)
_HEADERS = re.compile(r"kernel headers for kernel \S+ cannot be found|kernel headers.*(?:not installed|missing)", re.I)
_EXCLUDED = re.compile(r"BUILD_EXCLUSIVE directive", re.I)


def fault(output: str, log: str, action: str) -> str:
    """The reason code of a failed dkms command, from what it printed and what its build log says."""
    text = output + "\n" + log
    if _FULL.search(text):
        return "disk_full"
    if _HEADERS.search(output):
        return "headers_missing"
    if _EXCLUDED.search(output):
        return "dkms_build_excluded"
    return "dkms_build_failed" if action == "build" else "dkms_failed"


def left_out(output: str) -> bool:
    """Whether dkms says that it did not install a module because the kernel's own is as new, or the same to it."""
    return bool(
        re.search(
            r"exactly matches what is already found|is not newer than what is already found|already installed (?:at version|\(unversioned)",
            output,
        )
    )


def tail(text: str, lines: int = 40) -> List[str]:
    """The last lines of a log, without the progress dots of dkms."""
    return [line for line in text.splitlines() if line.strip(" .")][-lines:]
