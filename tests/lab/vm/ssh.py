# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ssh to a virtual machine: the plain client, with nothing of the user's own configuration."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import pathlib
import shlex
import socket
import subprocess
import time

from lab.vm.errors import LabError
from lab.vm.records import Process, Run

# Seconds. A guest on a loaded host answers late; what has really ended is noticed in other ways.
COMMAND_TIMEOUT = 600.0
_BANNER_TIMEOUT = 10.0
_POLL = 0.5


class SshError(LabError):
    """A command in the guest failed, or ssh did."""


@dataclasses.dataclass(frozen=True)
class Completed:
    """A command that ran in the guest."""

    command: str
    code: int
    out: str
    err: str


class Ssh:
    """A login on a virtual machine. Commands share one connection while it stands, and make their own when it does not."""

    def __init__(
        self, host: str, port: int, user: str, key: pathlib.Path, known_hosts: pathlib.Path, alias: str, control: pathlib.Path
    ) -> None:
        """alias: the name that the host key has in known_hosts. control: path of the socket of the shared connection."""
        self.host = host
        self.port = port
        self.user = user
        self.key = key
        self._control = control
        self._master: Process | None = None
        self._options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": str(known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "HostKeyAlias": alias,
            "ConnectTimeout": "60",
            "ServerAliveInterval": "30",
            "ServerAliveCountMax": "10",
            "LogLevel": "ERROR",
        }

    def options(self) -> list[str]:
        """The options that any OpenSSH client needs to get in; without the shared connection."""
        given = [f"-o{key}={value}" for key, value in self._options.items()]
        return ["-F", "/dev/null", "-i", str(self.key), *given]

    def configuration(self, name: str) -> str:
        """The same for people, as an ssh_config(5) that knows the machine by this name."""
        rows = {"HostName": self.host, "Port": self.port, "User": self.user, "IdentityFile": f'"{self.key}"', **self._options}
        rows |= {"UserKnownHostsFile": f'"{rows["UserKnownHostsFile"]}"', "BatchMode": "no"}
        return "".join([f"Host {name}\n", *(f"  {key} {value}\n" for key, value in rows.items())])

    def login(self) -> list[str]:
        """The ssh command of this login; a command of the guest may follow."""
        return ["ssh", *self.options(), "-p", str(self.port), f"{self.user}@{self.host}"]

    def run(
        self,
        command: str | collections.abc.Sequence[str],
        check: bool = True,
        timeout: float = COMMAND_TIMEOUT,
        stdin: str | bytes = b"",
    ) -> Completed:
        """Run a command in the guest: a list as it is, a string by the login shell there. Seconds for the timeout.

        Raises SshError when it ends with another code than 0 and check is true, always when ssh itself fails (code 255) or
        the time is over.
        """
        text, code, out, err = self._run(command, timeout, stdin)
        if code == 255 or (check and code != 0):
            raise SshError(f"{text!r} in the guest ended with {code}: {_last(err) or _last(out.decode(errors='replace')) or 'no output'}")
        return Completed(text, code, out.decode(errors="replace"), err)

    def put(self, local: pathlib.Path | bytes, remote: str, mode: int = 0o644) -> None:
        """Write a file in the guest, with the content of a local one or these bytes."""
        path = shlex.quote(remote)
        content = local if isinstance(local, bytes) else local.read_bytes()
        self.run(f"cat > {path} && chmod {mode:o} {path}", stdin=content)

    def get(self, remote: str) -> bytes:
        """What a file of the guest holds."""
        text, code, out, err = self._run(["cat", "--", remote], COMMAND_TIMEOUT, b"")
        if code != 0:
            raise SshError(f"{text!r} in the guest ended with {code}: {_last(err)}")
        return out

    def wait_ready(self, alive: collections.abc.Callable[[], None], timeout: float) -> None:
        """Wait until a command can be run. alive is asked again and again, and raises when waiting has become useless."""
        deadline = time.monotonic() + timeout
        problem = "sshd never answered"
        while True:
            alive()
            if self._banner():
                try:
                    self.run(["true"], timeout=120)
                    return
                except SshError as error:
                    problem = str(error)
            if time.monotonic() > deadline:
                raise SshError(f"no ssh within {timeout:.0f} s: {problem}")
            time.sleep(_POLL)

    def share(self, run: Run, what: str) -> None:
        """Open the connection that further commands share, as a process of the lab like any other."""
        self.unshare()
        command = ["ssh", "-M", "-N", "-S", str(self._control), "-oControlPersist=no", *self.login()[1:]]
        master = run.start(what, command)
        deadline = time.monotonic() + float(self._options["ConnectTimeout"])
        # Without it everything works too, only slower: no reason to fail.
        while master.exit_code() is None and time.monotonic() < deadline and not self._control.exists():
            time.sleep(0.02)
        self._master = master

    def unshare(self) -> None:
        """Close the shared connection, if there is one."""
        if self._master is not None:
            self._master.stop()
            self._master = None
        with contextlib.suppress(FileNotFoundError):
            self._control.unlink()

    def _run(self, command: str | collections.abc.Sequence[str], timeout: float, stdin: str | bytes) -> tuple[str, int, bytes, str]:
        text = command if isinstance(command, str) else shlex.join(command)
        login = self.login()
        shared = ["-oControlMaster=no", f"-oControlPath={self._control if self._control.exists() else 'none'}"]
        try:
            done = subprocess.run(
                [login[0], *shared, *login[1:], "--", text],
                input=stdin.encode() if isinstance(stdin, str) else stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SshError(f"{text!r} in the guest did not end within {timeout:.0f} s: {_last((error.stderr or b'').decode())}") from error
        return text, done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def _banner(self) -> bool:
        """Whether an sshd greets. A look that costs no process; QEMU takes connections long before the guest does."""
        try:
            with socket.create_connection((self.host, self.port), _BANNER_TIMEOUT) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _last(text: str) -> str:
    """The end of an output that a one-line message can hold."""
    return " / ".join(text.strip().splitlines()[-3:])
