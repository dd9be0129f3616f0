# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source trees of DKMS packages: their digest, archives of them, and how one takes the place of another.

Private. Python 3.6, standard library.
"""

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
from typing import Iterator, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._dkms import MARK
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

_BLOCK = 1 << 20  # bytes


def tree_digest(directory: str) -> Optional[str]:
    """SHA-256 over names, contents, links and executable bits of a source tree; None where there is none.

    Neither times nor owners: a tree that was copied, or unpacked again, is the same source.
    """
    if not os.path.isfile(os.path.join(directory, "dkms.conf")):
        return None
    found = hashlib.sha256()
    for relative, path in _files(directory):
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            kind, content = "link", os.readlink(path).encode("utf-8", "surrogateescape")
        elif stat.S_ISREG(mode):
            kind, content = "program" if mode & 0o100 else "file", _file_digest(path)
        else:
            continue
        found.update("{0}\0{1}\0{2}\0".format(kind, relative, len(content)).encode("utf-8", "surrogateescape") + content)
    return found.hexdigest()


def _file_digest(path: str) -> bytes:
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            found.update(block)
    return found.digest()


def _files(directory: str) -> Iterator[Tuple[str, str]]:
    """(relative path, path) of everything in a tree that is no directory, sorted; our own mark is not part of the source."""
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files + [name for name in folders if os.path.islink(os.path.join(folder, name))]):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, directory)
            if relative != MARK:
                yield relative, path


def unpack(source: str, work: str) -> str:
    """The directory with the dkms.conf of a source, which is one or an archive; archives are unpacked below ``work``.

    Raises AccelnetError: bad_dkms_source.
    """
    if os.path.isdir(source):
        if not os.path.isfile(os.path.join(source, "dkms.conf")):
            raise AccelnetError("bad_dkms_source", "{0}: has no dkms.conf".format(source))
        return os.path.realpath(source)
    if not os.path.exists(source):
        raise AccelnetError("bad_dkms_source", "{0}: does not exist".format(source))
    target = tempfile.mkdtemp(prefix="source-", dir=work)
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                _extract(archive, member, target)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise AccelnetError(
            "bad_dkms_source", "{0}: is neither a directory nor a whole tar archive (plain, gz, bz2, xz): {1}".format(source, error)
        )
    places = [target] + sorted(os.path.join(target, name) for name in os.listdir(target))
    found = [place for place in places if os.path.isfile(os.path.join(place, "dkms.conf"))]
    if not found:
        raise AccelnetError("bad_dkms_source", "{0}: has no dkms.conf, neither at its top nor one folder below".format(source))
    return found[0]


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: str) -> None:
    """One member. By hand, as Python before 3.12 lets members out of the target."""
    name = os.path.normpath(member.name)
    if name == ".":
        return
    path = os.path.join(target, name)
    if os.path.isabs(name) or name.split("/")[0] == ".." or not _inside(os.path.dirname(path), target):
        raise ValueError("{0!r} leads out of the archive".format(member.name))
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if member.issym():
        if os.path.isabs(member.linkname) or not _inside(os.path.join(os.path.dirname(path), member.linkname), target):
            raise ValueError("the link {0!r} leads out of the archive".format(member.name))
        os.symlink(member.linkname, path)
        return
    content = archive.extractfile(member)  # a hard link's is that of its file
    if content is None:
        raise ValueError("{0!r} is neither file, folder nor link".format(member.name))
    with content, open(path, "wb") as stream:
        shutil.copyfileobj(content, stream)
    os.chmod(path, 0o755 if member.mode & 0o100 else 0o644)


def _inside(path: str, directory: str) -> bool:
    return (os.path.realpath(path) + "/").startswith(os.path.realpath(directory) + "/")


def copy(source: str, target: str) -> None:
    """A copy as root owns it, whoever owned the source: what is built as root must not be for others to write."""
    shutil.copytree(source, target, symlinks=True, ignore=_unwanted)
    for folder, _folders, files in os.walk(target):
        os.chmod(folder, 0o755)  # noqa: S103
        os.chown(folder, os.geteuid(), os.getegid())
        for name in files:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                os.chown(path, os.geteuid(), os.getegid())
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)


def _unwanted(folder: str, names: List[str]) -> List[str]:
    """Neither our mark nor anything that is no file, folder or link."""
    bad = []
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if name == MARK or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            bad.append(name)
    return bad


def is_marked(directory: str) -> bool:
    """Whether a source tree was put there by us."""
    return os.path.isfile(os.path.join(directory, MARK))


def remove(path: str) -> None:
    """A tree, or the link that stands for one; nothing where there is none."""
    if os.path.islink(path):
        os.unlink(path)
    elif os.path.isdir(path):
        shutil.rmtree(path)
