# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of slow builds, kept below the checkout: complete or absent, and built once however many ask."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
Builder = Callable[[Path], None]
"""Fills an empty directory."""
_KEY_LENGTH = 16


def say(text: str) -> None:
    """One line of progress, on standard error."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def digest(*parts: Any) -> str:
    """The key of what `parts` (JSON's types, and others by their `repr`) decide: 16 hexadecimal digits."""
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


class Cache:
    """A directory of entries `<name>-<key>`; an entry that exists is complete, because it was renamed into place."""

    def __init__(self, root: Path | None = None) -> None:
        """`root` defaults to $LAB_CACHE, and that to `.cache/lab` of the checkout."""
        self.root = root or Path(os.environ.get("LAB_CACHE") or CHECKOUT / ".cache" / "lab").absolute()
        self.images = self.root / "images"

    def path(self, name: str, key: str) -> Path:
        """Where the entry is, or will be."""
        return self.images / f"{name}-{key}"

    def entry(self, name: str, key: str, build: Builder) -> Path:
        """The entry's directory; `build(directory)` fills it when it does not exist yet.

        Builders of one name wait for each other. What killed builders left, and entries of the same name with another key, are removed.
        Virtual machines that still run from a removed entry are not disturbed: they hold its files open.
        """
        final = self.path(name, key)
        if final.is_dir():
            return final
        with self.locked(name):
            if final.is_dir():
                return final
            for leftover in self._entries(name, suffix=".building"):
                shutil.rmtree(leftover)
            building = final.with_name(final.name + ".building")
            building.mkdir()
            say(f"building {name} …")
            started = time.monotonic()
            try:
                build(building)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            building.rename(final)
            say(f"built {name} in {time.monotonic() - started:.0f} s, {_disk_usage(final) / 2**20:.0f} MiB: {final}")
            for old in self._entries(name):
                if old != final:
                    shutil.rmtree(old, ignore_errors=True)
        return final

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Held by one process at a time; the kernel lets go of it when that process ends, however it ends."""
        self.images.mkdir(parents=True, exist_ok=True)
        with open(self.images / f"{name}.lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for the process that is making {name} …")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _entries(self, name: str, suffix: str = "") -> list[Path]:
        pattern = re.compile(re.escape(name) + "-[0-9a-f]{%d}" % _KEY_LENGTH + re.escape(suffix))
        return [path for path in self.images.iterdir() if pattern.fullmatch(path.name)]


def _disk_usage(directory: Path) -> int:
    """Bytes really allocated: images are sparse."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))
