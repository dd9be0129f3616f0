# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged trees and snapshots: never a traceback, never a guess; what is not damaged is read as before."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.tests.fixtures.builder import materialise
from ansible_collections.accelnet.mana.tests.fixtures.builder.damage import SECRET, SNAPSHOTS, TREES, Damage
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import EXAMPLES

GOOD = EXAMPLES / "snapshots" / "deb12-web.json"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A FIFO or a loop must not hold a reader up."""

    def alarm(*_args: object) -> None:
        raise TimeoutError("the reader hangs")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _tree(directory: Path) -> Path:
    return materialise(json.loads(GOOD.read_text()), directory / "root")


def _healthy(facts: dict[str, Any], spoiled: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if key not in (*spoiled, "read_warnings")}


@pytest.mark.parametrize("damage", TREES, ids=lambda damage: damage.name)
def test_damaged_tree(damage: Damage, tmp_path: Path) -> None:
    root = _tree(tmp_path)
    good = _facts.collect(root=str(root))
    damage.do(root)
    facts = _facts.collect(root=str(root))
    assert _healthy(facts, damage.spoiled) == _healthy(good, damage.spoiled)
    assert SECRET not in json.dumps(facts)
    assert all(isinstance(warning, str) and len(warning) < 500 for warning in facts["read_warnings"])
    if damage.warns:
        assert any(damage.warns in warning for warning in facts["read_warnings"]), facts["read_warnings"]


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_damaged_snapshot(name: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(SNAPSHOTS[name])
    with pytest.raises(AccelnetError) as caught:
        _facts.collect(root=str(path))
    assert caught.value.reason == "bad_snapshot"
    assert "damaged.json" in caught.value.message


@pytest.mark.parametrize("root", ["/nonexistent/root", "/dev/null"])
def test_bad_root(root: str) -> None:
    with pytest.raises(AccelnetError) as caught:
        _facts.collect(root=root)
    assert caught.value.reason == "bad_root"
    assert root in caught.value.message
