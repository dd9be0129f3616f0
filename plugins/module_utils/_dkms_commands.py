# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running dkms and its kin: one at a time, with a limit, and with nothing of our environment.

Private. Python 3.6, standard library.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Dict, Iterator, List, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _dkms
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOCK_DIRECTORIES = ("/run/lock", "/run", "/var/lock", "/tmp")  # noqa: S108
_LOCK = "accelnet-dkms.lock"


def zstd(data: bytes) -> Optional[bytes]:
    """What zstd makes of compressed data, or None without it."""
    program = shutil.which("zstd", path=PATH)
    if program is None:
        return None
    done = subprocess.run([program, "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout if done.returncode == 0 else None


def dkms_status(program: str, timeout: int = 120) -> str:
    """What ``dkms status`` prints, errors included."""
    with tempfile.TemporaryFile() as output:
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run(
                [program, "status"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                timeout=timeout,
                check=False,
            )
        output.seek(0)
        return output.read().decode("utf-8", "replace")


def find_dkms() -> Optional[str]:
    return shutil.which("dkms", path=PATH)


def dkms_version(program: str) -> Optional[str]:
    """``3.0.10``, from ``dkms-3.0.10``; 2.8.4 writes ``dkms: 2.8``."""
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"dkms(?:-|: ?)(\S+)", done.stdout.decode("utf-8", "replace"))
    return match.group(1) if match else None


def environment() -> Dict[str, str]:
    kept = {key: os.environ[key] for key in ("HOME", "TMPDIR") if key in os.environ}
    return dict(kept, LC_ALL="C", PATH=PATH)


class Commands:
    """Runs commands and keeps a list of them."""

    def __init__(self, name: str, work: str, timeout: int) -> None:
        """``name`` of the package; ``work`` is a directory for temporary files, ``timeout`` the seconds for each command."""
        self.program = find_dkms()
        self.done: List[str] = []
        self.environment: Dict[str, str] = {}  # besides the usual
        self._name = name
        self._work = work
        self._timeout = timeout
        self._lock: Optional[int] = None

    def dkms(self, action: str, version: str, arguments: List[str], fatal: bool = False) -> Tuple[int, str]:
        """(status, output). The status is a hint only; with ``fatal`` one that is not 0 raises dkms_failed."""
        command = [self.program or "dkms", action, "-m", self._name, "-v", version] + arguments
        code, output = self.run(command)
        if code and fatal:
            raise AccelnetError(
                _dkms.fault(output, "", action), "dkms {0} failed ({1}): {2}".format(action, code, " ".join(_dkms.tail(output, 6)))
            )
        return code, output

    def run(self, command: List[str]) -> Tuple[int, str]:
        """(status, output) of a command that has a time limit. It holds the lock too, so that it keeps it should we be killed."""
        self.done.append(" ".join(command))
        # Not a pipe: a daemon that the command leaves behind would keep it open.
        with tempfile.TemporaryFile(dir=self._work) as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment(), **self.environment),
                start_new_session=True,
                cwd="/",
                pass_fds=[] if self._lock is None else [self._lock],
            )
            try:
                code = child.wait(timeout=self._timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise AccelnetError("dkms_timeout", "{0}: did not end within {1} s".format(" ".join(command), self._timeout))
            finally:
                if child.poll() is None:
                    with contextlib.suppress(OSError):
                        os.killpg(child.pid, signal.SIGKILL)
            output.seek(0)
            return code, output.read().decode("utf-8", "replace")

    @contextlib.contextmanager
    def locked(self, lock_timeout: int) -> Iterator[None]:
        """One run at a time, and none while dkms works for somebody else. Waits that many seconds, or raises dkms_locked."""
        folder = next((path for path in _LOCK_DIRECTORIES if os.path.isdir(path)), _LOCK_DIRECTORIES[-1])
        path = os.path.join(folder, _LOCK)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + lock_timeout
            while True:
                holder = _take(handle) or _foreign_dkms()
                if holder is None:
                    break
                if time.monotonic() >= end:
                    raise AccelnetError("dkms_locked", "waited {0} s for {1}".format(lock_timeout, holder))
                time.sleep(0.2)
            self._lock = handle
            yield
        finally:
            self._lock = None
            os.close(handle)


def _take(handle: int) -> Optional[str]:
    """None when we got the lock, else what holds it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EINTR):
            raise
        return "another run of this module"
    return None


def _foreign_dkms() -> Optional[str]:
    """A dkms that somebody else runs in this root, as a package manager does after a kernel update."""
    own = os.stat("/")
    for pid in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if not pid.isdigit():
            continue
        try:
            root = os.stat("/proc/{0}/root/.".format(pid))
            if (root.st_dev, root.st_ino) == (own.st_dev, own.st_ino) and read("/proc/{0}/comm".format(pid)).strip() == "dkms":
                return "dkms, process {0}".format(pid)
        except OSError:
            continue
    return None


def read(path: str) -> str:
    """A text file; bytes that are not UTF-8 are replaced."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
