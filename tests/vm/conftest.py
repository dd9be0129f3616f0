# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs for tests. Each boot takes 10 s to 140 s, so tests that leave a machine as it was share one."""

from __future__ import annotations

import collections.abc
import contextlib

import pytest
from lab.vm.lab import Lab

LabFactory = collections.abc.Callable[..., Lab]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here boots virtual machines."""
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker("lab")


@pytest.fixture
def lab() -> collections.abc.Iterator[LabFactory]:
    """Makes labs with the arguments of Lab; they end with the test, which fails when a kernel reported a defect."""
    with contextlib.ExitStack() as stack:

        def boot(*arguments: object, **options: object) -> Lab:
            return stack.enter_context(Lab(*arguments, **options))  # type: ignore[arg-type]

        yield boot


@pytest.fixture(scope="module")
def debian13() -> collections.abc.Iterator[Lab]:
    """A Debian 13 with a MANA NIC of one vPort that reaches the responder; shared by the tests of a module."""
    with Lab("debian-13") as shared:
        shared.connect()
        yield shared
