# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a host: files, links, attributes of sysfs, commands; each remembered, and none made in check mode.

With another root than ``/`` files go below it and no command is run: that is how images and tests are written to.
Private to this collection. Python 3.6, standard library.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from typing import Any, Dict, List, Optional, Tuple

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIME_LIMIT = 120  # seconds for one command


def environment() -> Dict[str, str]:
    """That of commands: nothing of ours, and messages in English."""
    return {"LC_ALL": "C", "PATH": PATH}


class System:
    """The host, or a tree below ``root``."""

    def __init__(self, root: str = "/", check: bool = False) -> None:
        self.root = root.rstrip("/")
        self.live = not self.root
        self.check = check
        self.actions: List[str] = []  # what was done, or in check mode would be
        self.commands: List[List[str]] = []  # that were run, or would be
        self.before: Dict[str, str] = {}  # contents of changed files, for diff mode
        self.after: Dict[str, str] = {}

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    def place(self, path: str) -> str:
        """Where a path of the host is on this machine."""
        return self.root + path

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.place(path))

    def names(self, path: str) -> List[str]:
        try:
            return sorted(os.listdir(self.place(path)))
        except OSError:
            return []

    def read(self, path: str) -> Optional[str]:
        """A file's text without what is no UTF-8; None where there is none, or an attribute that says nothing now."""
        try:
            with open(self.place(path), "rb") as handle:
                return handle.read().decode("utf-8", "replace")
        except OSError:
            return None

    def value(self, path: str) -> Optional[str]:
        """The text without white space around it; None where it is missing or empty."""
        return (self.read(path) or "").strip() or None

    def link_name(self, path: str) -> Optional[str]:
        """The last component of a link's target."""
        try:
            return os.path.basename(os.readlink(self.place(path)).rstrip("/")) or None
        except OSError:
            return None

    def act(self, words: str) -> bool:
        """Remember an action; whether it is to be carried out."""
        self.actions.append(words)
        return not self.check

    def write(self, path: str, text: str, mode: int = 0o644) -> bool:
        """Make a file have this content, atomically; whether that changed anything. Of programs the diff shows no more than the path."""
        old = self.read(path)
        place = self.place(path)
        if old == text and not os.path.islink(place) and os.stat(place).st_mode & 0o7777 == mode:
            return False
        if not mode & 0o111:
            self.before[path], self.after[path] = old or "", text
        if self.act("write {0}".format(path)):
            os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".accelnet-", dir=os.path.dirname(place))
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, mode)
                os.rename(temporary, place)
            except BaseException:
                os.unlink(temporary)
                raise
        return True

    def remove(self, path: str) -> bool:
        """Remove a file or link; whether it was there."""
        if not self.exists(path):
            return False
        self.before[path], self.after[path] = self.read(path) or "", ""
        if self.act("remove {0}".format(path)):
            os.unlink(self.place(path))
        return True

    def tidy(self, *directories: str) -> None:
        """Remove directories of ours that are empty now. That alone counts as no change."""
        for path in directories if not self.check else ():
            with contextlib.suppress(OSError):
                os.rmdir(self.place(path))

    def symlink(self, path: str, target: str) -> bool:
        """Make a link with this target; whether that changed anything."""
        place = self.place(path)
        if os.path.islink(place) and os.readlink(place) == target:
            return False
        if self.act("link {0}".format(path)):
            os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
            if os.path.lexists(place):
                os.unlink(place)
            os.symlink(target, place)
        return True

    def attribute(self, path: str, value: str) -> bool:
        """Write an attribute of sysfs that does not have this value yet. Raises OSError when the kernel refuses."""
        if self.value(path) == value:
            return False
        if self.act("write {0} to {1}".format(value, path)):
            with open(self.place(path), "w", encoding="ascii") as handle:
                handle.write(value + "\n")
        return True

    def which(self, *programs: str) -> Optional[str]:
        """The path on the host of the first of these programs that it has."""
        for program in programs:
            for directory in PATH.split(":"):
                if os.access(self.place(directory + "/" + program), os.X_OK):
                    return directory + "/" + program
        return None

    def run(self, command: List[str], more: Optional[Dict[str, str]] = None, timeout: int = TIME_LIMIT) -> Tuple[int, str]:
        """(status, output) of a command; (0, "") where none is run. A command alone counts as no change."""
        self.commands.append(command)
        if self.check or not self.live:
            return 0, ""
        return run(command, more, timeout)

    def ask(self, command: List[str]) -> Tuple[int, str]:
        """(status, output) of a command that only reads, so also in check mode; (127, "") below another root."""
        return run(command) if self.live else (127, "")

    def diff(self) -> Dict[str, str]:
        """The changed files for diff mode."""
        texts = {"before": "", "after": ""}
        for path in sorted(self.before):
            texts["before"] += "--- {0}\n{1}".format(path, self.before[path])
            texts["after"] += "--- {0}\n{1}".format(path, self.after[path])
        return texts


def run(command: List[str], more: Optional[Dict[str, str]] = None, timeout: int = TIME_LIMIT) -> Tuple[int, str]:
    """(status, output) of a command with a time limit: 127 when it cannot be started, 124 when it took too long."""
    if shutil.which(command[0], path=PATH) is None:
        return 127, "{0} is not installed".format(command[0])
    # Not a pipe: a daemon that the command leaves behind would keep it open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [shutil.which(command[0], path=PATH) or command[0]] + command[1:],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment(), **(more or {})),
                timeout=timeout,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = 124
        output.seek(0)
        return code, output.read().decode("utf-8", "replace").strip()


def load_record(system: System, path: str) -> Dict[str, Any]:
    """What a role recorded before its first change; empty without a record. Raises ValueError for one that is damaged."""
    text = system.read(path)
    record = json.loads(text) if text is not None else {}
    if not isinstance(record, dict):
        raise ValueError("{0}: is no object".format(path))
    return record


def dump_record(record: Dict[str, Any]) -> str:
    return json.dumps(record, indent=2, sort_keys=True) + "\n"
