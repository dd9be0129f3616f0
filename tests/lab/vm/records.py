# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs which lab, on disk: so that a lab which was killed leaves nothing, and nobody else's process is ever touched.

A lab is a directory below the run directory ($LAB_RUN, or run in the cache of the lab):

    lock             locked (flock) by the owner as long as it lives; the kernel unlocks it, however the owner ends
    record.json      what the lab is, when it was made, whether it was left running on purpose
    processes/*.json one per process: pid and start time, written by the process itself (see launch.py)
    logs/            what its processes said; survives the lab, see LOGS_KEPT
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import pathlib
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import typing as t

from lab.vm.cache import Cache
from lab.vm.errors import LabError

# sun_path of unix(7) takes 108 bytes with the final NUL. The longest name below a lab is a control socket of ssh, which
# is bound under a name with 17 more characters before it is renamed.
_LONGEST_DIRECTORY = 107 - len("/control-debian-12-backports") - 17

# How many labs' logs are kept after the labs are gone, newest first.
LOGS_KEPT = 20

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")
_LOGS = re.compile(_NAME.pattern + r"-\d{8}T\d{6}-[0-9a-f]{4}")
# What is made of a lab before its record is.
_MADE_FIRST = {"lock", "processes", "logs", "record.json.new"}


def runs() -> pathlib.Path:
    """The directory that holds one directory per lab."""
    return pathlib.Path(os.environ.get("LAB_RUN") or Cache().root / "run").absolute()


def boot_id() -> str:
    """This boot of this machine: start times count from it. See random(4)."""
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@dataclasses.dataclass(frozen=True)
class ProcessRecord:
    """A process of a lab, as it was written down when it started."""

    what: str
    pid: int
    started: int
    """Clock ticks after boot, field 22 of /proc/PID/stat. A pid is used again, a pid with a start time is not."""

    def running(self) -> bool:
        """Whether this very process still runs. One that has ended and was not waited for does not."""
        try:
            stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        fields = stat.rpartition(")")[2].split()
        return fields[0] not in "ZX" and int(fields[19]) == self.started

    def kill(self, timeout: float = 30.0) -> None:
        """Kill this very process and wait, for so many seconds, until it is gone. Nothing happens when it is gone already."""
        # A pidfd keeps meaning the same process, so nobody can slip in between the look at the start time and the signal.
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if not self.running():
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            if not select.select([descriptor], [], [], timeout)[0]:
                raise LabError(f"process {self.pid} ({self.what}) does not end after SIGKILL")
        finally:
            os.close(descriptor)


class Process:
    """A process that this Python started for a lab."""

    def __init__(self, what: str, popen: subprocess.Popen[bytes], log: pathlib.Path) -> None:
        self.what = what
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_code(self) -> int | None:
        """None while it runs, else as subprocess gives it: negative for a signal."""
        return self._popen.poll()

    def log_tail(self, lines: int = 5) -> str:
        """The last lines that the process wrote."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        return ""

    def wait(self, timeout: float) -> int:
        """The exit code once it has ended; LabError when it has not after so many seconds."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.what} did not end within {timeout:.0f} s") from None

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and SIGKILL when it still runs after so many seconds; returns the exit code."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def kill(self) -> None:
        """SIGKILL; does not wait for anything but the end of the process."""
        self._popen.kill()
        self._popen.wait()


class Run:
    """The directory of one lab."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._short: pathlib.Path | None = None

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def logs(self) -> pathlib.Path:
        return self.path / "logs"

    @classmethod
    def create(cls, what: str, name: str | None = None) -> Run:
        """A new lab that belongs to this process. A lab of that name must not exist."""
        if name is not None and not _NAME.fullmatch(name):
            raise LabError(f"{name!r} is no name of a lab: up to 20 of a-z, 0-9 and -")
        with _all_runs():
            path = runs() / (name or secrets.token_hex(3))
            if path.exists():
                raise LabError(f"a lab {path.name} exists already: see `make lab-down`")
            # Nobody else looks at a directory without holding the lock of all runs, so nobody sees a half-made one.
            path.mkdir(mode=0o700)
            run = cls(path)
            run._try_lock()
            (path / "processes").mkdir()
            run.logs.mkdir()
            link = _short_link(path)
            run._write({
                "id": path.name,
                "what": what,
                "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "owner": os.getpid(),
                "boot_id": boot_id(),
                "keep": False,
                "link": None if link is None else str(link),
            })  # fmt: skip
            if link is not None:
                link.symlink_to(path, target_is_directory=True)
        return run

    @classmethod
    def find(cls, name: str) -> Run:
        """The lab of that name."""
        path = runs() / name
        if not _NAME.fullmatch(name) or not path.is_dir():
            raise LabError(f"there is no lab {name}: see scripts/lab list")
        return cls(path)

    def record(self) -> dict[str, t.Any]:
        """What record.json says; empty for a lab that was killed before it was written."""
        try:
            record = json.loads((self.path / "record.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def socket(self, name: str) -> pathlib.Path:
        """A path for a unix socket of this lab, short enough to be bound."""
        if self._short is None:
            self._short = pathlib.Path(self.record()["link"] or self.path)
        return self._short / name

    def processes(self) -> list[ProcessRecord]:
        """Every process that was ever started for this lab, in this boot of the machine."""
        if self.record().get("boot_id") != boot_id():
            return []
        found = []
        for path in sorted((self.path / "processes").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(ProcessRecord(path.stem, record["pid"], record["started"]))
        return found

    def start(
        self,
        what: str,
        command: collections.abc.Sequence[str],
        environment: collections.abc.Mapping[str, str] | None = None,
        survives: bool = False,
    ) -> Process:
        """Start a process of this lab, with its output in logs/WHAT.log.

        Unless it survives, the kernel kills it when the *thread* that calls this ends, so call it from a thread that lives
        as long as the lab. It is in a session of its own: a Ctrl-C of the terminal reaches the owner only, which then
        takes the lab down in order.
        """
        record = self.path / "processes" / f"{what}.json"
        launcher = pathlib.Path(__file__).with_name("launch.py")
        log = self.logs / f"{what}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(launcher)),
                    *(str(record), "keep" if survives else "die", str(os.getpid())),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=None if environment is None else dict(environment),
                # Core dumps, if the system makes any, are part of what it said.
                cwd=self.logs,
                start_new_session=True,
            )
        return Process(what, popen, log)

    def owned(self) -> bool:
        """Whether a process that lives, this one included, owns the lab."""
        if self._lock is not None:
            return True
        if not self._try_lock():
            return True
        self._unlock()
        return False

    def keep(self) -> None:
        """Leave the lab running when its owner ends: from now on only `lab down` ends it."""
        self._write({**self.record(), "keep": True})
        self._unlock()

    def remove(self) -> pathlib.Path:
        """Kill what still runs of the lab, remove it, and return where its logs are now."""
        for process in self.processes():
            process.kill()
        kept = logs_directory() / f"{self.id}-{datetime.datetime.now(datetime.timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        with contextlib.suppress(FileNotFoundError):
            self.logs.rename(kept)
        link = self.record().get("link")
        if link and os.path.islink(link) and os.readlink(link) == str(self.path):
            os.unlink(link)
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()
        ours = [path for path in logs_directory().iterdir() if _LOGS.fullmatch(path.name)]
        for old in sorted(ours, key=lambda path: path.stat().st_mtime, reverse=True)[LOGS_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
        return kept

    def _write(self, record: dict[str, t.Any]) -> None:
        new = self.path / "record.json.new"
        new.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        new.replace(self.path / "record.json")

    def _try_lock(self) -> bool:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            # Its owner has removed it in this moment; nobody owns it any more.
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def logs_directory() -> pathlib.Path:
    """Where the logs of labs that are gone are."""
    path = runs() / ".logs"
    path.mkdir(parents=True, exist_ok=True)
    return path


def all_runs() -> list[Run]:
    """Every lab there is."""
    if not runs().is_dir():
        return []
    return [Run(path) for path in sorted(runs().iterdir()) if _is_ours(path)]


def _is_ours(path: pathlib.Path) -> bool:
    """Whether a directory is that of a lab, or of one that was killed in the making: LAB_RUN may name a directory with other things."""
    if not _NAME.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return False
    entries = {entry.name for entry in path.iterdir()}
    return "record.json" in entries and "lock" in entries or entries <= _MADE_FIRST


def clean_dead() -> list[str]:
    """Remove what labs left whose owner was killed; returns their names. Labs that were left running on purpose stay."""
    cleaned = []
    with _all_runs():
        for run in all_runs():
            if run.owned() or run.record().get("keep"):
                continue
            run.remove()
            cleaned.append(run.id)
    return cleaned


@contextlib.contextmanager
def _all_runs() -> collections.abc.Iterator[None]:
    """Holds the lock under which labs are made and cleaned."""
    runs().mkdir(parents=True, exist_ok=True)
    with open(runs() / ".lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _short_link(path: pathlib.Path) -> pathlib.Path | None:
    """Where a link to a directory goes whose own path is too long for sockets; None when it is not."""
    if len(os.fsencode(path)) <= _LONGEST_DIRECTORY:
        return None
    for folder in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        link = pathlib.Path(folder or "/nonexistent") / f"accelnet-{secrets.token_hex(4)}"
        if os.access(link.parent, os.W_OK) and len(os.fsencode(link)) <= _LONGEST_DIRECTORY:
            return link
    raise LabError(f"{path} is too long a path for unix sockets: set LAB_RUN to a shorter directory")
