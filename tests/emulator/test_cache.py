# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of the cache are complete or absent, whatever happens to their builders."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lab.vm import cache as cache_module
from lab.vm.cache import Cache, digest

KEY, OTHER_KEY = digest("one"), digest("two")
TESTS = Path(cache_module.__file__).parents[2]


def write(text: str) -> cache_module.Builder:
    """A builder of one file."""

    def build(directory: Path) -> None:
        (directory / "content").write_text(text, encoding="ascii")

    return build


def never(directory: Path) -> None:
    raise AssertionError("built again")


def names(cache: Cache) -> set[str]:
    return {path.name for path in cache.images.iterdir() if path.is_dir()}


def test_built_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.entry("guest", KEY, write("hello"))
    assert (first / "content").read_text(encoding="ascii") == "hello"
    assert cache.entry("guest", KEY, never) == first


def test_another_key_replaces_the_entry_and_no_other_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("debian-13", "debian-13-dpdk", "debian"):
        cache.entry(name, KEY, write(name))
    cache.entry("debian-13", OTHER_KEY, write("new"))
    assert names(cache) == {f"debian-13-{OTHER_KEY}", f"debian-13-dpdk-{KEY}", f"debian-{KEY}"}


def test_a_failed_build_leaves_nothing_and_spares_the_old_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.entry("guest", KEY, write("old"))

    def fail(directory: Path) -> None:
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.entry("guest", OTHER_KEY, fail)
    assert names(cache) == {f"guest-{KEY}"}


def test_what_a_killed_builder_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = """
import os, signal, sys
from pathlib import Path
from lab.vm.cache import Cache

def build(directory):
    (directory / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)

Cache(Path(sys.argv[1])).entry("guest", sys.argv[2], build)
"""
    run = subprocess.run([sys.executable, "-c", killed, str(tmp_path), OTHER_KEY], env={**os.environ, "PYTHONPATH": str(TESTS)})
    assert run.returncode == -signal.SIGKILL
    cache = Cache(tmp_path)
    assert names(cache) == {f"guest-{OTHER_KEY}.building"}
    cache.entry("guest", KEY, write("whole"))
    assert names(cache) == {f"guest-{KEY}"}


def test_builders_of_one_name_wait_for_each_other(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    begun, go_on, waiting = fork.Event(), fork.Event(), fork.Event()

    def slow(directory: Path) -> None:
        begun.set()
        assert go_on.wait(30)
        write("first")(directory)

    def second() -> None:
        cache_module.say = lambda text: waiting.set() if text.startswith("waiting") else None
        Cache(tmp_path).entry("guest", KEY, never)

    first_process = fork.Process(target=lambda: Cache(tmp_path).entry("guest", KEY, slow))
    second_process = fork.Process(target=second)
    first_process.start()
    assert begun.wait(30)
    second_process.start()
    assert waiting.wait(30)
    go_on.set()
    for process in (first_process, second_process):
        process.join(30)
        assert process.exitcode == 0


def test_the_environment_moves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_CACHE", str(tmp_path))
    assert Cache().entry("guest", KEY, write("x")).is_relative_to(tmp_path)
    monkeypatch.delenv("LAB_CACHE")
    assert Cache().root == TESTS.parent / ".cache" / "lab"
