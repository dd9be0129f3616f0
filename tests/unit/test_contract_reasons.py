# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every reason code is issued somewhere, tested somewhere, and says what to do."""

from __future__ import annotations

import functools
import pathlib
import re

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS

ROOT = pathlib.Path(__file__).parents[2]


@functools.lru_cache(maxsize=None)
def _words(*folders: str) -> frozenset[str]:
    """All snake-case words of the files below these folders."""
    files = [
        path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yml", ".json") and path.is_file()
    ]
    own = {"_reasons.py", "test_contract_reasons.py", "reasons.md"}
    return frozenset(
        word for path in files if path.name not in own for word in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", path.read_text("utf-8", "replace"))
    )


@pytest.mark.parametrize("code", sorted(REASONS))
def test_the_code_is_issued(code: str) -> None:
    assert code in _words("plugins")


@pytest.mark.parametrize("code", sorted(REASONS))
def test_the_code_is_tested(code: str) -> None:
    assert code in _words("tests", "examples")


@pytest.mark.parametrize("code", sorted(REASONS))
def test_the_code_is_documented(code: str) -> None:
    reason = REASONS[code]
    assert reason.code == code and re.match(r"^[a-z]+(_[a-z]+)+$", code)
    assert reason.meaning.endswith(".") and reason.remedy.endswith(".")
