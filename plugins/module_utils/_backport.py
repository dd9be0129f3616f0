# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assembles the source of a DKMS package from the drivers of a newer kernel, the donor, and our compat layer.

What belongs to it, and what is edited in it, is said by ``assembly.json`` of the compat layer. Everything is read and
checked in memory before anything is written.

Private. Python 3.6, standard library.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _donor
from ansible_collections.accelnet.mana.plugins.module_utils._donor import BackportError

PACKAGE = "mana-backport"
MODULES = ("mana", "mana_ib")
RECORD = "assembled.json"  # in the package: what it was made of
SOURCES = "/usr/src"  # where dkms has its packages

_KBUILD_MAKEFILE = "Makefile"  # of the donor's root: tells its version, is not taken over
_MAX_COMPAT_FILES = 200
_MAX_FILE = 1 << 20  # bytes; the largest of ours has some 10 KiB
_FORM = 1  # of what is assembled: another number makes packages of older ones out of date

Files = Dict[str, bytes]  # content by path below the package
Options = NamedTuple(
    "Options",
    [
        ("donor", str),  # archive or directory
        ("compat", Optional[str]),  # directory of the compat layer
        ("sha256", Optional[str]),  # of the archive
        ("version", Optional[str]),  # of the donor, where it does not tell itself
        ("target_releases", List[str]),
        ("modules", List[str]),
        ("layer", Optional[Dict[str, str]]),  # files of the compat layer, by path, instead of a directory
    ],
)
Options.__new__.__defaults__ = (None,)
Edit = NamedTuple("Edit", [("name", str), ("file", str), ("guard", str), ("pattern", str), ("replacement", str), ("at_most", int)])
Recipe = NamedTuple("Recipe", [("serial", int), ("folders", List[str]), ("files", List[str]), ("edits", List[Edit])])
Assembly = NamedTuple("Assembly", [("version", str), ("record", Dict[str, Any]), ("files", Optional[Files])])


def prepare(options: Options, dest: Optional[str]) -> Tuple[Assembly, str]:
    """(the package, its directory). Its files are None when the directory already has just what would be assembled.

    Raises BackportError: donor_missing, donor_corrupt, donor_unsafe, donor_checksum_mismatch, donor_incomplete,
    donor_version_unknown, donor_older_than_target, donor_edit_mismatch, bad_target_release, compat_invalid.
    """
    layer = read_layer(options.compat) if options.compat else given_layer(options.layer or {})
    recipe = parse_recipe(layer)
    with _donor.open_donor(options.donor, options.sha256) as donor:
        inputs = _inputs_digest(options, layer, donor.sha256)
        for place in [dest] if dest is not None else _packages():
            record = _unchanged(place, inputs)
            if record is not None:
                check_targets(record["donor_version"], options.target_releases)
                return Assembly(record["version"], record, None), place
        taken = donor.take(recipe.folders, recipe.files, [_KBUILD_MAKEFILE])
        sha256 = donor.sha256
    donor_version = options.version or makefile_version(taken.pop(_KBUILD_MAKEFILE, None))
    taken.pop(_KBUILD_MAKEFILE, None)
    line = kernel_line(donor_version)
    if line is None:
        raise BackportError("donor_version_unknown", "{0!r} is no version of a kernel".format(donor_version))
    check_targets(donor_version, options.target_releases)
    hits = apply_edits(taken, recipe.edits)
    version = package_version(donor_version, recipe.serial)
    files = {"donor/" + path: content for path, content in taken.items()}
    files.update((path, content) for path, content in layer.items() if not path.endswith(".in"))
    files["dkms.conf"] = dkms_conf(layer["dkms.conf.in"].decode("utf-8"), version, line, options.modules).encode("utf-8")
    files["package.mk"] = package_mk(version, options.modules).encode("utf-8")
    record = {
        "version": version,
        "donor_version": donor_version,
        "donor_sha256": sha256,
        "modules": options.modules,
        "edits": hits,
        "inputs": inputs,
        "digest": digest(files),
    }
    return Assembly(version, record, files), dest or os.path.join(SOURCES, "{0}-{1}".format(PACKAGE, version))


# The compat layer


def read_layer(directory: str) -> Files:
    """All files of the compat layer. Raises BackportError: compat_invalid."""
    if not os.path.isfile(os.path.join(directory, "assembly.json")):
        raise BackportError("compat_invalid", "{0}: has no assembly.json".format(directory))
    found: Files = {}
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, directory)
            if not stat.S_ISREG(os.lstat(path).st_mode) or os.path.getsize(path) > _MAX_FILE or len(found) >= _MAX_COMPAT_FILES:
                raise BackportError("compat_invalid", "{0}: does not belong to the compat layer".format(path))
            with open(path, "rb") as stream:
                found[relative] = stream.read()
    return _complete(found, directory)


def given_layer(files: Dict[str, str]) -> Files:
    """The compat layer as the controller sends it. Raises BackportError: compat_invalid."""
    for path in files:
        if os.path.isabs(path) or ".." in path.split("/"):
            raise BackportError("compat_invalid", "layer: {0!r} is no path below the package".format(path))
    return _complete({path: str(text).encode("utf-8") for path, text in files.items()}, "layer")


def _complete(found: Files, origin: str) -> Files:
    """Raises BackportError: compat_invalid."""
    needed = ("assembly.json", "Kbuild", "Makefile", "dkms.conf.in", "compat/compat.h", "probes/run.sh")
    missing = [name for name in needed if name not in found]
    if missing:
        raise BackportError("compat_invalid", "{0}: lacks {1}".format(origin, ", ".join(missing)))
    return found


def parse_recipe(layer: Files) -> Recipe:
    """What assembly.json says. Raises BackportError: compat_invalid."""
    try:
        said = json.loads(layer["assembly.json"].decode("utf-8"))
        edits = [Edit(**{key: edit[key] for key in Edit._fields}) for edit in said["edits"]]
        for edit in edits:
            re.compile(edit.guard)
            re.compile(edit.pattern)
        recipe = Recipe(int(said["serial"]), list(said["folders"]), list(said["files"]), edits)
    except (ValueError, KeyError, TypeError, re.error) as error:
        raise BackportError("compat_invalid", "assembly.json: {0}: {1}".format(type(error).__name__, error))
    unsafe = [path for path in recipe.folders + recipe.files if not _donor.is_plain_path(path)]
    if unsafe:
        raise BackportError("compat_invalid", "assembly.json: {0!r} is no path inside a kernel tree".format(unsafe[0]))
    return recipe


def apply_edits(files: Files, edits: List[Edit]) -> Dict[str, int]:
    """Edits the donor's files in place and returns the number of hits of each edit.

    A donor may be too old to have what an edit is about, but what has it must be what the edit expects: the guard finds
    each place and the pattern has to match there. Raises BackportError: donor_edit_mismatch.
    """
    hits: Dict[str, int] = {}
    for edit in edits:
        if edit.file not in files:
            raise BackportError("donor_incomplete", "the donor lacks {0}".format(edit.file))
        text = files[edit.file].decode("utf-8", "surrogateescape")
        places = len(re.findall(edit.guard, text))
        edited, count = re.subn(edit.pattern, edit.replacement, text)
        if count != places or count > edit.at_most:
            raise BackportError(
                "donor_edit_mismatch",
                "{0}: the edit {1!r} fits {2} of {3} places, expected at most {4}: the compat layer does not know this donor".format(
                    edit.file, edit.name, count, places, edit.at_most
                ),
            )
        hits[edit.name] = count
        files[edit.file] = edited.encode("utf-8", "surrogateescape")
    return hits


# Versions


def makefile_version(makefile: Optional[bytes]) -> str:
    """The version that the Makefile of a kernel's root tells, such as 6.12.117 or 7.4.0-rc2.

    Raises BackportError: donor_version_unknown.
    """
    text = (makefile or b"").decode("utf-8", "replace")
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *=[ \t]*(\S*)[ \t]*$", text, re.M))
    numbers = [found.get(key, "") for key in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    if not all(re.match(r"\d{1,5}\Z", number) for number in numbers):
        raise BackportError("donor_version_unknown", "the donor's Makefile does not tell its version: say it with the option version")
    extra = found.get("EXTRAVERSION", "")
    return ".".join(numbers) + (extra if re.match(r"-rc\d{1,3}\Z", extra) else "")


def kernel_line(release: str) -> Optional[Tuple[int, int]]:
    """(6, 12) of 6.12, 6.12.117 and 6.12.117+deb12-cloud-amd64; None of anything else."""
    match = re.match(r"(\d{1,5})\.(\d{1,5})(?![\d])", release)
    return (int(match.group(1)), int(match.group(2))) if match else None


def check_targets(donor_version: str, releases: List[str]) -> None:
    """Raises BackportError: donor_older_than_target. Our adapters lead from new to old, never the other way."""
    donor = kernel_line(donor_version)
    for release in releases:
        target = kernel_line(release)
        if target is None:
            raise BackportError("bad_target_release", "{0!r} is no release of a kernel".format(release))
        if donor is not None and donor < target:
            raise BackportError(
                "donor_older_than_target",
                "the donor {0} is older than the kernel {1}: take the drivers from a kernel of at least {2}.{3}".format(
                    donor_version, release, *target
                ),
            )


def package_version(donor_version: str, serial: int) -> str:
    """6.12.117+accelnet1; a release candidate sorts before its release: 7.4.0~rc2+accelnet1."""
    version = donor_version.replace("-rc", "~rc")
    if not re.match(r"\d{1,5}\.\d{1,5}(\.\d{1,5})?(~rc\d{1,3})?\Z", version):
        raise BackportError("donor_version_unknown", "{0!r} is no version of a kernel such as 6.12.117".format(donor_version))
    return "{0}+accelnet{1}".format(version, serial)


def kernels_before(line: Tuple[int, int]) -> str:
    """An extended regular expression for the releases of all kernels before a line, from 4.18 (EL 8) on."""
    major, minor = line
    parts = [r"4\.(1[89]|[2-9][0-9])"] if major > 4 else []
    parts += [r"{0}\.[0-9]+".format(number) for number in range(5, major)]
    minors = "|".join(str(number) for number in range(minor))
    if minors:
        parts.append(r"{0}\.({1})".format(major, minors))
    # Then a character that no number goes on with, or the end.
    return "^({0})([^0-9]|$)".format("|".join(parts))


def last_before(line: Tuple[int, int]) -> str:
    """The highest release before a line, as dkms compares them: 6.11.999 for 6.12, 6.999 for 7.0."""
    major, minor = line
    return "{0}.{1}.999".format(major, minor - 1) if minor else "{0}.999".format(major - 1)


# Generated files


def dkms_conf(template: str, version: str, line: Tuple[int, int], modules: List[str]) -> str:
    """dkms.conf. Where modules go is for dkms 2.8, which asks for it; Debian's always takes /updates/dkms."""
    rows = []
    for index, name in enumerate(modules):
        rows.append('BUILT_MODULE_NAME[{0}]="{1}"\nDEST_MODULE_LOCATION[{0}]="/updates/dkms"\n'.format(index, name))
    values = {"VERSION": version, "KERNELS": kernels_before(line), "KERNEL_MAX": last_before(line), "MODULES": "".join(rows)}
    unknown = set(re.findall(r"@([A-Z_]+)@", template)) ^ set(values)
    if unknown:
        raise BackportError("compat_invalid", "dkms.conf.in: {0} cannot be filled in".format(", ".join(sorted(unknown))))
    return re.sub(r"@([A-Z_]+)@", lambda match: values[match.group(1)], template)


def package_mk(version: str, modules: List[str]) -> str:
    """What Kbuild includes."""
    return "# Written by the assembly.\nBACKPORT_VERSION := {0}\nBACKPORT_MODULES := {1}\n".format(version, " ".join(modules))


# What is there, and what will be


def digest(files: Files) -> str:
    """SHA-256 over names and contents."""
    found = hashlib.sha256()
    for path in sorted(files):
        found.update("{0}\0{1}\0".format(path, len(files[path])).encode("utf-8") + files[path])
    return found.hexdigest()


def _inputs_digest(options: Options, layer: Files, donor_sha256: Optional[str]) -> Optional[str]:
    """Of all that the package is made of; None for a directory, which is cheaper to read than to hash."""
    if donor_sha256 is None:
        return None
    rest = json.dumps([donor_sha256, options.version, options.modules, digest(layer), _FORM], sort_keys=True)
    return hashlib.sha256(rest.encode("utf-8")).hexdigest()


def present_files(dest: str) -> Optional[Tuple[Dict[str, Any], Files]]:
    """(record, files) of a package that was assembled before; None where there is none of ours."""
    try:
        with open(os.path.join(dest, RECORD), "rb") as stream:
            record = json.loads(stream.read().decode("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    found: Files = {}
    for folder, _folders, names in os.walk(dest):
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, dest)
            # The mark of the module dkms is not ours, nor is anything else with a dot in front.
            if relative == RECORD or name.startswith("."):
                continue
            if not stat.S_ISREG(os.lstat(path).st_mode) or os.path.getsize(path) > _donor.MAX_FILE:
                found[relative] = b""
                continue
            with open(path, "rb") as stream:
                found[relative] = stream.read()
    return record, found


def _packages() -> List[str]:
    """Packages in the place where they go by default; their name depends on the donor's version."""
    names = os.listdir(SOURCES) if os.path.isdir(SOURCES) else []
    return [os.path.join(SOURCES, name) for name in sorted(names) if name.startswith(PACKAGE + "-")]


def _unchanged(dest: str, inputs: Optional[str]) -> Optional[Dict[str, Any]]:
    """The record of a package that these inputs made and nobody touched since."""
    present = present_files(dest) if inputs is not None else None
    if present is None:
        return None
    record, files = present
    keys = ("version", "donor_version", "digest", "inputs", "edits", "modules")
    if any(key not in record for key in keys) or record["inputs"] != inputs or record["digest"] != digest(files):
        return None
    return record


def is_present(dest: str, assembly: Assembly) -> bool:
    """Whether a directory holds just this package."""
    if assembly.files is None:
        return True
    present = present_files(dest)
    return present is not None and present[0] == assembly.record and digest(present[1]) == assembly.record["digest"]


def check_dest(dest: str) -> None:
    """Raises BackportError: dest_not_ours. What we did not assemble is not ours to replace."""
    if os.path.islink(dest) or (os.path.lexists(dest) and (not os.path.isdir(dest) or (os.listdir(dest) and present_files(dest) is None))):
        raise BackportError("dest_not_ours", "{0}: is there and was not assembled by this module: move it away".format(dest))


def write(assembly: Assembly, dest: str) -> None:
    """Puts the package to dest: written beside it first, then renamed, so that there is always a whole one or none."""
    parent, name = os.path.split(os.path.abspath(dest))
    os.makedirs(parent, exist_ok=True)
    prefix = ".{0}.new-".format(name)
    for left in os.listdir(parent):  # of a run that was cut off
        if left.startswith(prefix):
            shutil.rmtree(os.path.join(parent, left), ignore_errors=True)
    work = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        fresh = os.path.join(work, "new")
        files = dict(assembly.files or {})
        files[RECORD] = (json.dumps(assembly.record, indent=2, sort_keys=True) + "\n").encode("utf-8")
        for path in sorted(files):
            _write_file(os.path.join(fresh, path), files[path])
        for folder, _folders, _names in os.walk(fresh):
            os.chmod(folder, 0o755)  # noqa: S103
        old = os.path.join(work, "old")
        if os.path.isdir(dest):
            os.rename(dest, old)
        try:
            os.rename(fresh, dest)
        except OSError:
            if os.path.isdir(old):
                os.rename(old, dest)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_file(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    # dkms runs what is executable, and only that.
    os.chmod(path, 0o755 if content.startswith(b"#!") else 0o644)
