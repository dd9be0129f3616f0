# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian file trees, made by mmdebstrap so that a killed build leaves neither a mount nor a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.vm import mirror

_QUOTED_LINES = 30

# What a guest never reads. Copyright files stay, as Debian's policy wants them.
_WITHOUT_DOCUMENTATION = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


class BuildError(Exception):
    """A tool failed; the message ends with the last lines that it wrote."""


def run(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a build step; its output goes to the end of `log`. Raises BuildError."""
    with open(log, "a", encoding="utf-8") as output:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        ).returncode
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_QUOTED_LINES:]
        raise BuildError(f"{command[0]} failed with status {code}:\n" + "\n".join(lines))


def as_root(command: Sequence[str]) -> list[str]:
    """The command as root, or as what looks like root to it: in namespaces that vanish with it, and it with this process.

    mmdebstrap mounts proc, sys and dev in a tree while it works there. In a mount namespace of its own these mounts end when its last
    process does, and `--kill-child` with a PID namespace ends them all. Without privileges, a user namespace with the subordinate ids
    of the caller lets files have owners other than root.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    namespaces = ["unshare", *user, "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return ["setpriv", "--pdeathsig", "KILL", *namespaces, "--", *command]


def bootstrap(
    tar: Path, suite: str, packages: Sequence[str], *, log: Path, backports: bool = False, hook: Sequence[str] = (), environment: Mapping[str, str]
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
    options = [f'--aptopt=APT::Default-Release "{release}";', "--skip=output/dev"]
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
    if shutil.which("mmdebstrap") is None:
        raise BuildError("mmdebstrap is missing: install Debian's package mmdebstrap")
    apt = [f"--aptopt={line}" for line in ('APT::Install-Recommends "false";', *mirror.apt_options())]
    command = ["mmdebstrap", "--mode=root", f"--variant={variant}", "--architectures=amd64", "--format=tar", *apt, *options]
    command += ["--include=" + ",".join(packages), suite, str(tar), *mirror.machine_mirror().lines(suite, backports=backports)]
    # mmdebstrap's working directory holds the tree: below the cache entry, it goes away with it.
    work = tar.with_name("work")
    work.mkdir()
    if os.geteuid():
        command[1] = "--mode=unshare"
        wrapped = ["setpriv", "--pdeathsig", "KILL", *command]
    else:
        wrapped = as_root(command)
    run(wrapped, log=log, environment={"TMPDIR": str(work), "LC_ALL": "C", **environment})
    shutil.rmtree(work)
