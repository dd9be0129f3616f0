# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key pairs of a cache: one to log in to its guests, one that the guests identify themselves by."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.vm.cache import Cache


@dataclass(frozen=True)
class Keys:
    """Where the keys are; they are made on first use, never leave the cache, and are worth nothing outside it."""

    directory: Path

    @property
    def login(self) -> Path:
        """The private key that root's account of every guest accepts."""
        return self.directory / "login"

    @property
    def host(self) -> Path:
        """The private host key of every guest."""
        return self.directory / "host"

    @property
    def host_public(self) -> str:
        """`ssh-ed25519 AAAA…`: behind a host name, a line for a known_hosts file."""
        return " ".join(self.host.with_suffix(".pub").read_text(encoding="ascii").split()[:2])

    @property
    def public(self) -> tuple[str, str]:
        """Both public keys; images are made for these."""
        return self.login.with_suffix(".pub").read_text(encoding="ascii"), self.host_public


def make_keys(cache: Cache) -> Keys:
    """The keys of `cache`."""
    found = Keys(cache.root / "keys")
    with cache.locked("keys"):
        found.directory.mkdir(mode=0o700, exist_ok=True)
        for path in (found.login, found.host):
            # The public half is written last: without it, ssh-keygen was killed.
            if not path.with_suffix(".pub").exists():
                path.unlink(missing_ok=True)
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path)], check=True)
    return found
