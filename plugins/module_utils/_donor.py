# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads some files of a kernel's source: a tree, or an archive of one as distributions and kernel.org have it.

Nothing is unpacked to disk: the few files that are wanted are read into memory, all others are skipped. So no name,
link or size in an archive can do harm.

Private. Python 3.6, standard library.
"""

import bz2
import gzip
import hashlib
import os
import re
import stat
import tarfile
import zlib
from typing import Any, BinaryIO, Dict, List, Optional, Tuple, Type

try:
    import lzma
except ImportError:  # Python can be built without it
    lzma = None  # type: ignore[assignment]

MAX_FILE = 4 << 20  # bytes of one file that is wanted; the largest has 150 KiB
_MAX_FILES = 200  # that are wanted
_MAX_MEMBERS = 500000  # of an archive; Linux has less than 100,000
_MAX_ARCHIVE = 16 << 30  # bytes of an archive when it is unpacked; Linux has 1.5 GiB
_MAX_HEADER = 1 << 20  # bytes of a member's own headers, which are read into memory
_BLOCK = 1 << 20  # bytes

_WANTED_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.[ch]\Z|Makefile\Z")
_MAGIC = ((b"\xfd7zXZ\0", "xz"), (b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zst"))

# What reading a broken archive raises.
_BROKEN: Tuple[Type[BaseException], ...] = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error)
if lzma is not None:
    _BROKEN += (lzma.LZMAError,)


class BackportError(Exception):
    """Why no package can be assembled: a reason code, and a message that names the file or option."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def is_plain_path(path: str) -> bool:
    """Whether it is a relative path without anything special in it."""
    return bool(re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\Z", path))


class _Member(tarfile.TarInfo):
    """A member whose headers cannot fill the memory: long names and attributes have a size of their own."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:  # pylint: disable=arguments-renamed
        if not self.isreg() and self.size > _MAX_HEADER:
            raise BackportError("donor_unsafe", "the archive has a header of {0} bytes".format(self.size))
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]


class _Wanted:
    """Sorts out the files that are wanted and keeps their contents."""

    def __init__(self, folders: List[str], files: List[str], optional: List[str]) -> None:
        self.folders = folders
        self.files = files
        self.optional = optional
        self.found: Dict[str, bytes] = {}

    def wants(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return path in self.files or path in self.optional or (folder in self.folders and bool(_WANTED_NAME.match(name)))

    def check(self, path: str, regular: bool, size: int) -> None:
        """Raises BackportError: donor_unsafe."""
        if not regular:
            raise BackportError("donor_unsafe", "{0} of the donor is no regular file".format(path))
        if size > MAX_FILE or len(self.found) >= _MAX_FILES:
            raise BackportError("donor_unsafe", "{0} of the donor is larger than any driver: is this a kernel?".format(path))
        if path in self.found:
            raise BackportError("donor_unsafe", "{0} is in the donor twice".format(path))

    def complete(self) -> Dict[str, bytes]:
        """Raises BackportError: donor_incomplete."""
        missing = [path for path in self.files if path not in self.found]
        missing += [folder + "/" for folder in self.folders if not any(os.path.dirname(path) == folder for path in self.found)]
        if missing:
            raise BackportError(
                "donor_incomplete", "the donor lacks {0}: is it the source of a kernel with mana and mana_ib?".format(", ".join(missing))
            )
        return self.found


class Tree:
    """A directory: the root of a kernel's source."""

    sha256: Optional[str] = None

    def __init__(self, path: str) -> None:
        self._root = os.path.realpath(path)

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *_error: Any) -> None:
        return None

    def take(self, folders: List[str], files: List[str], optional: List[str]) -> Dict[str, bytes]:
        """Contents by path below the root. Raises BackportError: donor_unsafe, donor_incomplete."""
        wanted = _Wanted(folders, files, optional)
        paths = list(files) + list(optional)
        for folder in folders:
            absolute = os.path.join(self._root, folder)
            if os.path.isdir(absolute):
                paths += [folder + "/" + name for name in sorted(os.listdir(absolute))]
        for path in paths:
            absolute = os.path.join(self._root, path)
            if not wanted.wants(path) or not os.path.lexists(absolute):
                continue
            inside = os.path.realpath(absolute) == absolute
            status = os.lstat(absolute)
            wanted.check(path, inside and stat.S_ISREG(status.st_mode), status.st_size)
            with open(absolute, "rb") as stream:
                wanted.found[path] = stream.read(MAX_FILE)
        return wanted.complete()


class Archive:
    """A tar archive, compressed or not, with the kernel's source in one folder."""

    def __init__(self, path: str, sha256: Optional[str]) -> None:
        self._path = path
        self._stream: BinaryIO = open(path, "rb")
        try:
            self.sha256: Optional[str] = self._digest()
            if sha256 is not None and sha256.lower() != self.sha256:
                raise BackportError("donor_checksum_mismatch", "{0}: its SHA-256 is {1}, not {2}".format(path, self.sha256, sha256))
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_error: Any) -> None:
        self._stream.close()

    def _digest(self) -> str:
        found = hashlib.sha256()
        for block in iter(lambda: self._stream.read(_BLOCK), b""):
            found.update(block)
        return found.hexdigest()

    def _unpacked(self) -> BinaryIO:
        # The very file whose digest was taken, even if another has its name by now.
        self._stream.seek(0)
        start = self._stream.read(8)
        self._stream.seek(0)
        kind = next((name for magic, name in _MAGIC if start.startswith(magic)), "tar")
        if kind == "zst" or (kind == "xz" and lzma is None):
            raise BackportError(
                "donor_corrupt",
                "{0}: this host's Python cannot unpack {1}: pack it as tar.gz, or give the directory".format(self._path, kind),
            )
        if kind == "xz":
            return lzma.open(self._stream)  # type: ignore[return-value]
        if kind == "gz":
            return gzip.GzipFile(fileobj=self._stream)  # type: ignore[return-value]
        if kind == "bz2":
            return bz2.BZ2File(self._stream)  # type: ignore[return-value]
        return self._stream

    def take(self, folders: List[str], files: List[str], optional: List[str]) -> Dict[str, bytes]:
        """As for a tree. Raises BackportError: donor_corrupt, donor_unsafe, donor_incomplete."""
        wanted = _Wanted(folders, files, optional)
        try:
            unpacked = self._unpacked()
            # Not by tarfile itself: it takes a stream that is cut off for one that ends.
            with tarfile.open(fileobj=unpacked, mode="r|", tarinfo=_Member) as archive:
                self._read(archive, wanted)
            while unpacked.read(_BLOCK):  # to the end, where the checksums are
                pass
        except _BROKEN as error:
            raise BackportError("donor_corrupt", "{0}: is no whole tar archive: {1}".format(self._path, error or type(error).__name__))
        return wanted.complete()

    def _read(self, archive: tarfile.TarFile, wanted: _Wanted) -> None:
        count = total = 0
        while True:
            member = archive.next()
            if member is None:
                return
            archive.members = []  # type: ignore[attr-defined]  # else all 100,000 are kept in memory
            count += 1
            total += max(member.size, 0)
            if count > _MAX_MEMBERS or total > _MAX_ARCHIVE:
                raise BackportError("donor_unsafe", "{0}: is larger than any kernel".format(self._path))
            # `linux-6.12/drivers/…`, also with ./ in front; the folder's name says nothing.
            name = member.name[2:] if member.name.startswith("./") else member.name
            path = name.partition("/")[2]
            if not wanted.wants(path):
                continue
            wanted.check(path, member.isreg(), member.size)
            content = archive.extractfile(member)
            wanted.found[path] = content.read() if content is not None else b""
            if len(wanted.found[path]) != member.size:
                raise EOFError("{0} is cut off".format(member.name))


def open_donor(path: str, sha256: Optional[str]) -> Any:
    """A Tree or an Archive. Raises BackportError: donor_missing, donor_checksum_mismatch."""
    if os.path.isdir(path):
        if sha256 is not None:
            raise BackportError("donor_checksum_mismatch", "{0}: a directory has no SHA-256, only an archive has".format(path))
        return Tree(path)
    if not os.path.isfile(path):
        raise BackportError("donor_missing", "{0}: there is neither an archive nor a directory".format(path))
    return Archive(path, sha256)
