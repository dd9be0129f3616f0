# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian file trees, made by mmdebstrap so that a killed build leaves neither a mount nor a process."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.vm import mirror
from lab.vm.errors import LabError

_QUOTED_LINES = 30

# What a guest never reads. Copyright files stay, as Debian's policy wants them.
_WITHOUT_DOCUMENTATION = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


class BuildError(LabError):
    """A tool failed; the message ends with the last lines that it wrote."""


@dataclass(frozen=True)
class Unpacked:
    """A tree of unpacked packages. Its own dynamic loader starts its programs: no chroot, no mounts, no privileges."""

    root: Path

    @property
    def libraries(self) -> Path:
        return self.root / "usr/lib/x86_64-linux-gnu"

    def command(self, program: str) -> tuple[str, ...]:
        """How to start a program of the tree, by its path in it, such as `usr/bin/qemu-img`."""
        return (str(self.libraries / "ld-linux-x86-64.so.2"), "--library-path", str(self.libraries), str(self.root / program))


def run(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, text: str = "", timeout: float | None = None
) -> None:
    """Run a build step that ends when this process does, however that ends; its output goes to the end of `log`.

    text: its standard input. timeout: in seconds. Raises BuildError.
    """
    with open(log, "a", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                ["setpriv", "--pdeathsig", "KILL", *command],
                input=text,
                text=True,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                timeout=timeout,
            ).returncode
        except subprocess.TimeoutExpired:
            raise failure(f"{command[0]} did not end within {timeout} s", log) from None
    if code:
        raise failure(f"{command[0]} failed with status {code}", log)


def failure(what: str, log: Path) -> BuildError:
    """The error that says what happened, with the end of the log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_QUOTED_LINES:]
    return BuildError("\n".join([f"{what}:", *lines]))


def as_root(command: Sequence[str]) -> list[str]:
    """The command as root, or as what looks like root to it: in namespaces that vanish with it.

    mmdebstrap mounts proc, sys and dev in a tree while it works there. In a mount namespace of its own these mounts end when its last
    process does, and `--kill-child` with a PID namespace ends them all. Without privileges, a user namespace with the subordinate ids
    of the caller (subuid(5)) lets files have owners other than root, and has the caller's own rights to read the checkout.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return ["unshare", *user, "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *command]


def bootstrap(
    tar: Path,
    suite: str,
    packages: Sequence[str],
    *,
    log: Path,
    backports: bool = False,
    hook: Sequence[str] = (),
    environment: Mapping[str, str],
) -> None:
    """Make an installed system as `tar`.

    `hook` is a command that is run with the tree's path as a further argument when the packages are installed.
    """
    options = [f"--dpkgopt={option}" for option in _WITHOUT_DOCUMENTATION]
    if hook:
        options.append("--customize-hook=" + " ".join(hook) + ' "$1"')
    _mmdebstrap(tar, "minbase", suite, packages, options, log=log, backports=backports, environment=environment)


def extract(directory: Path, suite: str, packages: Sequence[str], *, log: Path, backports: bool = False) -> None:
    """Unpack packages and what they depend on into `directory`; nothing is installed, so nothing of theirs is run."""
    tar = directory.with_name(directory.name + ".tar")
    release = f"{suite}-backports" if backports else suite
    options = [f'--aptopt=APT::Default-Release "{release}";']
    _mmdebstrap(tar, "extract", suite, packages, options, log=log, backports=backports, environment={})
    directory.mkdir()
    # As the caller: nobody needs the owners, and the caller must be able to remove it again.
    left_out = [f"--exclude=./{path}" for path in ("dev", "usr/share/doc", "usr/share/man", "usr/share/locale")]
    run(["tar", "--extract", "--no-same-owner", "--file", str(tar), "--directory", str(directory), *left_out], log=log)
    tar.unlink()


def _mmdebstrap(
    tar: Path,
    variant: str,
    suite: str,
    packages: Sequence[str],
    options: Sequence[str],
    *,
    log: Path,
    backports: bool,
    environment: Mapping[str, str],
) -> None:
    if platform.machine() != "x86_64":
        raise BuildError(f"guests and QEMU are programs of amd64, which run here as they are; this machine is {platform.machine()}")
    if shutil.which("mmdebstrap") is None:
        raise BuildError("mmdebstrap is missing: install Debian's package mmdebstrap")
    apt = [f"--aptopt={line}" for line in ('APT::Install-Recommends "false";', *mirror.apt_options())]
    command = ["mmdebstrap", "--mode=root", f"--variant={variant}", "--architectures=amd64", "--format=tar", *apt, *options]
    command += ["--include=" + ",".join(packages), suite, str(tar), *mirror.machine_mirror().lines(suite, backports=backports)]
    # mmdebstrap's working directory holds the tree: below the cache entry, it goes away with it.
    work = tar.with_name("work")
    work.mkdir()
    run(as_root(command), log=log, environment={"TMPDIR": str(work), "LC_ALL": "C", **environment})
    shutil.rmtree(work)
