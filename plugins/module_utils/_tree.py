# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A read-only view of a file tree: a directory (``/`` or a mounted image) or a snapshot.

Links are resolved here, component by component, and never by the operating system: ``/`` and ``..`` end at the
tree's own root, so no link can lead out of it. Readers see canonical paths only. What cannot be read becomes a
warning and ``None``; nothing here raises for the content of a tree.

Private to this collection. Python 3.6, standard library.
"""

import base64
import binascii
import errno
import os
import re
import stat
from typing import Any, Dict, List, Optional, Pattern, Set, Tuple

MAX_LINKS = 40  # as Linux (MAXSYMLINKS)
TEXT_LIMIT = 1 << 20  # bytes; configuration and sysfs files
EXCERPT_LIMIT = 64 << 20  # bytes; module indexes
PATH_LIMIT = 4096  # characters; as Linux (PATH_MAX)
MAX_WARNINGS = 200
WARNING_LIMIT = 1000  # characters
INTEGER_LIMIT = 32  # characters: 64 bits in any base but the binary one, with room; int() of many digits takes for ever

FILE, DIRECTORY, LINK, OTHER = "file", "dir", "link", "other"

# sysfs answers these for attributes that a device does not have at the moment.
_QUIET = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENODEV, errno.EOPNOTSUPP)


class Backend:
    """What a tree is read from. Paths are canonical: absolute, and no component but the last is a link."""

    root: Optional[str] = None  # where on this machine the tree is; "" for /

    def kind(self, path: str) -> Optional[str]:
        """FILE, DIRECTORY, LINK, OTHER, or None where nothing is. Raises OSError when it cannot tell."""
        raise NotImplementedError

    def readlink(self, path: str) -> str:
        raise NotImplementedError

    def read(self, path: str, limit: int) -> bytes:
        """At most ``limit`` bytes from the start of a regular file."""
        raise NotImplementedError

    def listdir(self, path: str) -> List[str]:
        raise NotImplementedError

    def excerpt(self, path: str, pattern: Pattern[str]) -> Tuple[str, bool]:
        """The first line of a text and all lines that ``pattern`` finds; and whether the text was all there.

        The first line stays as a witness of the format, so that garbage is told from 'no match'. Indexes are long, and
        a pattern that begins with fixed characters is found in them ten times as fast as one with a choice there.
        """
        data = self.read(path, EXCERPT_LIMIT + 1)
        text = data[:EXCERPT_LIMIT].decode("utf-8", "replace")
        return excerpt_of(text, pattern), len(data) <= EXCERPT_LIMIT


def excerpt_of(text: str, pattern: Pattern[str]) -> str:
    """The first line of ``text`` and every further line in which ``pattern`` is found."""
    first_end = text.find("\n")
    if first_end < 0:
        return text
    lines = [text[:first_end]]
    position = first_end + 1
    while True:
        found = pattern.search(text, position)
        if not found:
            return "\n".join(lines) + "\n"
        start = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", found.start())
        end = len(text) if end < 0 else end
        lines.append(text[start:end])
        position = end + 1


class DirectoryBackend(Backend):
    """A directory of this machine."""

    def __init__(self, root: str) -> None:
        self.root: str = os.path.abspath(root).rstrip("/")

    def kind(self, path: str) -> Optional[str]:
        try:
            mode = os.lstat(self.root + path).st_mode
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise
        if stat.S_ISLNK(mode):
            return LINK
        if stat.S_ISDIR(mode):
            return DIRECTORY
        return FILE if stat.S_ISREG(mode) else OTHER

    def readlink(self, path: str) -> str:
        return os.readlink(self.root + path)

    def read(self, path: str, limit: int) -> bytes:
        # NOFOLLOW and NONBLOCK: a tree may change while it is read, and a FIFO must not hold us up.
        handle = os.open(self.root + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EIO, "not a regular file")
            # A buffer as large as the limit would cost more than the read. Files of proc say that they are empty.
            size = max(status.st_size, 4096) + 1
            data = os.read(handle, min(size, limit))
            part = data
            while part and len(data) < limit:
                part = os.read(handle, min(size, limit - len(data)))
                data += part
            return data
        finally:
            os.close(handle)

    def listdir(self, path: str) -> List[str]:
        return os.listdir(self.root + path)


def _recorded_error(entry: Any) -> Optional[OSError]:
    """The error that a snapshot has instead of a content, or None."""
    if not isinstance(entry, dict) or "error" not in entry:
        return None
    number = getattr(errno, str(entry["error"]), None)
    number = number if isinstance(number, int) else errno.EIO
    return OSError(number, os.strerror(number))


class SnapshotBackend(Backend):
    """The ``files`` of a snapshot: path -> text, or a mapping with one of base64, link, dir, file, error."""

    def __init__(self, files: Dict[str, Any]) -> None:
        self._files = files
        self._children: Dict[str, Set[str]] = {"/": set()}
        for path in files:
            while path != "/":
                parent, _sep, name = path.rpartition("/")
                parent = parent or "/"
                known = parent in self._children
                self._children.setdefault(parent, set()).add(name)
                if known:
                    break
                path = parent

    def kind(self, path: str) -> Optional[str]:
        entry = self._files.get(path)
        if isinstance(entry, dict):
            if "link" in entry:
                return LINK
            if "dir" in entry:
                return DIRECTORY
        if path in self._children:
            return DIRECTORY
        if entry is None:
            above = _recorded_error(self._files.get(path.rpartition("/")[0]))
            if above:  # what lies below an unreadable directory is not known to be missing
                raise above
            return None
        return FILE

    def readlink(self, path: str) -> str:
        return str(self._files[path]["link"])

    def read(self, path: str, limit: int) -> bytes:
        entry = self._files[path]
        if isinstance(entry, str):
            return entry.encode("utf-8", "replace")[:limit]
        if "base64" in entry:
            return base64.b64decode(entry["base64"])[:limit]
        raise _recorded_error(entry) or OSError(errno.ENODATA, "its content was not recorded")

    def listdir(self, path: str) -> List[str]:
        error = _recorded_error(self._files.get(path))
        if error:
            raise error
        return list(self._children.get(path, ()))


def check_snapshot_files(files: Any) -> Optional[str]:
    """What is wrong with the ``files`` of a snapshot, in words, or None."""
    if not isinstance(files, dict):
        return "'files' is not an object"
    for path, entry in files.items():
        if len(path) > PATH_LIMIT:
            return "a path is longer than {0} characters: {1}...".format(PATH_LIMIT, path[:80])
        if not path.startswith("/") or (path != "/" and path.endswith("/")) or re.search(r"//|/\.{1,2}(/|$)|\x00", path):
            return "the path {0!r} is not absolute and normal".format(path)
        if isinstance(entry, str):
            continue
        if not isinstance(entry, dict) or len(entry) != 1:
            return "{0}: the entry is neither a text nor an object with one key".format(path)
        key, value = next(iter(entry.items()))
        if key in ("link", "error", "base64"):
            if not isinstance(value, str):
                return "{0}: {1} is not a text".format(path, key)
            if key == "link" and len(value) > PATH_LIMIT:
                return "{0}: the link is longer than {1} characters".format(path, PATH_LIMIT)
            if key == "base64":
                try:
                    base64.b64decode(value, validate=True)
                except (binascii.Error, ValueError):
                    return "{0}: malformed base64".format(path)
            elif key == "error" and not re.match(r"E[A-Z0-9]+\Z", value):
                return "{0}: {1!r} is not the name of an error".format(path, value)
        elif key not in ("dir", "file") or value is not True:
            return "{0}: unknown entry {1!r}".format(path, key)
    return None


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8; other bytes come from the operating system as lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Tree:
    """Reads of one tree, with links resolved inside it and what could not be read kept as ``warnings``."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.warnings: List[str] = []
        self._warned: Set[str] = set()
        self._kinds: Dict[str, Optional[str]] = {"/": DIRECTORY}
        self._places: Dict[str, str] = {}  # where directories are that were resolved before
        self._listings: Dict[str, List[str]] = {}
        self._unreadable: Set[str] = set()

    def warn(self, message: str) -> None:
        if len(message) > WARNING_LIMIT:
            message = message[:WARNING_LIMIT] + "..."
        message = message.encode("utf-8", "backslashreplace").decode("utf-8")
        if message in self._warned or len(self._warned) > MAX_WARNINGS:
            return
        self._warned.add(message)
        # A tree can be made to fail a million times; the first failures tell what is wrong with it.
        self.warnings.append(message if len(self._warned) <= MAX_WARNINGS else "there were more warnings, which are left out")

    def resolve(self, path: str) -> Optional[str]:
        """The canonical path that ``path`` leads to, or None when it leads nowhere."""
        if len(path) > PATH_LIMIT:
            return None
        # Sysfs is read attribute by attribute: what is above them is the same for many.
        parent, _sep, name = path.rpartition("/")
        base = self._places.get(parent)
        if base is None:
            base = self._walk("", parent, path)
            if base is None:
                return None
            self._places[parent] = base
        real = self._walk(base, name, path)
        return "/" if real == "" else real

    def _walk(self, done: str, way: str, path: str) -> Optional[str]:
        """Where ``way`` leads from the canonical directory ``done``; both are "" for the root. ``path`` is the question."""
        todo = way.split("/")[::-1]
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = done + "/" + part
            kind = self._kind(here)
            if kind is None:
                if here in self._unreadable:
                    self._unreadable.add(path)
                return None
            if kind != LINK:
                done = here
                continue
            links += 1
            if links > MAX_LINKS:
                self.warn("{0}: too many links".format(path))
                return None
            try:
                target = self.backend.readlink(here)
            except OSError as error:
                self._failed(here, error)
                return None
            if target.startswith("/"):
                done = ""
            todo.extend(target.split("/")[::-1])
        return done

    def kind(self, path: str) -> Optional[str]:
        """FILE, DIRECTORY or OTHER of what ``path`` leads to, or None."""
        real = self.resolve(path)
        return None if real is None else self._kind(real)

    def exists(self, path: str) -> bool:
        return self.resolve(path) is not None

    def is_dir(self, path: str) -> bool:
        return self.kind(path) == DIRECTORY

    def names(self, path: str) -> List[str]:
        """The sorted names in a directory; empty where there is none. Names that are no text are left out."""
        if path in self._listings:
            return self._listings[path]
        real = self.resolve(path)
        if real is None:
            return []
        try:
            names = sorted(self.backend.listdir(real))
        except (OSError, ValueError) as error:
            self._failed(path, error)
            return []
        if not _is_text("".join(names)):
            for name in names:
                if not _is_text(name):
                    self.warn("{0}/{1}: its name is not UTF-8, left out".format(path, name))
            names = [name for name in names if _is_text(name)]
        self._listings[path] = names
        return names

    def data(self, path: str, limit: int = TEXT_LIMIT) -> Optional[bytes]:
        """At most ``limit`` bytes of a file, or None."""
        real = self._readable(path)
        if real is None:
            return None
        try:
            return self.backend.read(real, limit)
        except (OSError, ValueError) as error:
            self._failed(path, error)
            return None

    def text(self, path: str) -> Optional[str]:
        """A small text file, or None. Bytes that are not UTF-8 are replaced."""
        data = self.data(path, TEXT_LIMIT + 1)
        if data is None:
            return None
        if len(data) > TEXT_LIMIT:
            self.warn("{0}: larger than {1} bytes, the rest was not read".format(path, TEXT_LIMIT))
        return data[:TEXT_LIMIT].decode("utf-8", "replace")

    def value(self, path: str) -> Optional[str]:
        """A text file without the white space around it; None where it is missing or empty."""
        text = self.text(path)
        return (text.strip() or None) if text is not None else None

    def integer(self, path: str) -> Optional[int]:
        """A file that holds one integer (any base that its prefix tells), or None."""
        value = self.value(path) or ""
        try:
            return int(value, 0) if len(value) <= INTEGER_LIMIT else None
        except ValueError:
            return None

    def excerpt(self, path: str, pattern: Pattern[str]) -> Optional[str]:
        """The first line and the matching lines of a large text file, or None."""
        real = self._readable(path)
        if real is None:
            return None
        try:
            text, whole = self.backend.excerpt(real, pattern)
        except (OSError, ValueError) as error:
            self._failed(path, error)
            return None
        if not whole:
            self.warn("{0}: larger than {1} bytes, the rest was not read".format(path, EXCERPT_LIMIT))
        return text

    def link_name(self, path: str) -> Optional[str]:
        """The last component of what a link leads to: the usual way in which sysfs names drivers and devices.

        A link that dangles, as in a tree of which only parts were mounted, still says the name.
        """
        name = os.path.basename(self.resolve(path) or self._dangling(path) or "")
        return name if name and _is_text(name) else None

    def _dangling(self, path: str) -> Optional[str]:
        """Where a link that leads nowhere points to."""
        parent, _sep, name = path.rpartition("/")
        base = self.resolve(parent or "/")
        here = "{0}/{1}".format((base or "").rstrip("/"), name)
        if base is None or self._kind(here) != LINK:
            return None
        try:
            return self.backend.readlink(here).rstrip("/")
        except OSError as error:
            self._failed(path, error)
            return None

    def unreadable(self, path: str) -> bool:
        """Whether reading ``path``, or finding the way to it, failed for another reason than its absence."""
        while path:
            if path in self._unreadable:
                return True
            path = path.rpartition("/")[0]
        return False

    def _readable(self, path: str) -> Optional[str]:
        """The canonical path of a file that can be read; a device or a pipe is not even opened."""
        real = self.resolve(path)
        if real is None or self._kind(real) == DIRECTORY:
            return None
        if self._kind(real) == OTHER:
            self._failed(path, OSError(errno.EIO, "not a regular file"))
            return None
        return real

    def _kind(self, path: str) -> Optional[str]:
        if path not in self._kinds:
            try:
                self._kinds[path] = self.backend.kind(path)
            except (OSError, ValueError) as error:
                self._failed(path, error)
                self._kinds[path] = None
        return self._kinds[path]

    def _failed(self, path: str, error: Exception) -> None:
        number = getattr(error, "errno", None)
        if number in _QUIET:
            return
        self._unreadable.add(path)
        self.warn("cannot read {0}: {1}".format(path, getattr(error, "strerror", None) or error))
