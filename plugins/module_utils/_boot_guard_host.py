# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as boot_guard sees and changes it. Tests put a tree and programs of their own in its place.

Private to this collection. Python 3.6, standard library.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import DirectoryBackend, Tree

_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_TIMEOUT = 900  # seconds; os-prober of grub-mkconfig may look at many disks

Done = NamedTuple("Done", [("code", int), ("out", str), ("err", str)])


class Host:
    """Files below a root, and the programs there."""

    def __init__(self, root: str = "") -> None:
        """``root``: empty for the running host; programs are run on that only."""
        self.root = root.rstrip("/")

    # --- Looking

    def look(self) -> Tree:
        """A fresh view: a tree remembers what it has seen."""
        return Tree(DirectoryBackend(self.root or "/"))

    def read(self, path: str) -> Optional[str]:
        """A text file, or None."""
        return self.look().text(path)

    def value(self, path: str) -> str:
        return self.look().value(path) or ""

    def release(self) -> str:
        """Of the kernel that runs."""
        return self.value("/proc/sys/kernel/osrelease")

    def boot_id(self) -> str:
        """Another one after each boot, see random(4)."""
        return self.value("/proc/sys/kernel/random/boot_id")

    def cmdline(self) -> str:
        return self.value("/proc/cmdline")

    def exists(self, path: str) -> bool:
        return self.look().exists(path)

    def program(self, *names: str) -> Optional[str]:
        """The first of these programs that is installed."""
        for name in names:
            for folder in _PATH:
                if os.access(self.root + folder + "/" + name, os.X_OK):
                    return folder + "/" + name
        return None

    def free(self, path: str) -> int:
        """Bytes that root may still write on the file system of a path."""
        found = os.statvfs(self.root + path)
        return found.f_bavail * found.f_frsize

    def device(self, path: str) -> int:
        """What tells file systems apart."""
        return os.stat(self.root + path).st_dev

    def facts(self) -> Dict[str, Any]:
        """What nic_info says of NICs and kernels. Kernels that do not run do not matter here."""
        return _facts.collect(self.root or "/", None, [self.release()], ["nics", "kernels"])

    # --- Changing

    def run(self, command: List[str], fatal: bool = True) -> Done:
        """Run a program to its end; with ``fatal`` a status other than 0 raises guard_failed."""
        environment = {"LC_ALL": "C", "PATH": ":".join(_PATH), "HOME": os.environ.get("HOME", "/")}
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                timeout=_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AccelnetError("guard_failed", "{0}: {1}".format(" ".join(command), error))
        out, err = (data.decode("utf-8", "replace") for data in (done.stdout, done.stderr))
        if fatal and done.returncode != 0:
            tail = " / ".join((err or out).strip().splitlines()[-3:])
            raise AccelnetError("guard_failed", "{0} ended with {1}: {2}".format(" ".join(command), done.returncode, tail))
        return Done(done.returncode, out, err)

    def write(self, path: str, text: str, mode: int = 0o644) -> bool:
        """Replace a file in one step, keeping the mode of one that is there; False when it has this text already."""
        if self.read(path) == text:
            return False
        place = self.root + (self.look().resolve(path) or path)
        folder = os.path.dirname(place)
        os.makedirs(folder, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=".accelnet-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fchmod(stream.fileno(), mode)
                os.fsync(stream.fileno())
            if os.path.exists(place):
                shutil.copymode(place, beside)
            os.rename(beside, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        self._settle(folder)
        return True

    def write_once(self, path: str, text: str) -> bool:
        """Make a file that nobody has made before; False when somebody has. Never seen half written."""
        place = self.root + path
        handle, beside = tempfile.mkstemp(prefix=".accelnet-", dir=os.path.dirname(place))
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
            os.link(beside, place)
        except FileExistsError:
            return False
        finally:
            os.unlink(beside)
        self._settle(os.path.dirname(place))
        return True

    def link(self, path: str, target: str) -> bool:
        place = self.root + path
        if os.path.islink(place) and os.readlink(place) == target:
            return False
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        os.symlink(target, place)
        return True

    def remove(self, path: str) -> bool:
        """A file or link, and the folders above that are empty and ours."""
        place = self.root + path
        if not os.path.lexists(place):
            return False
        os.unlink(place)
        folder = os.path.dirname(place)
        if folder.endswith((".service.d", "/accelnet", "/guard", ".target.wants")):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return True

    @staticmethod
    def _settle(folder: str) -> None:
        """A power cut after this does not take the name back."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
