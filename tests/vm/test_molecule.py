# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The molecule scenarios, whose machines are labs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Users of molecule have it; the rest of the tests do not need it.
pytestmark = pytest.mark.matrix

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("scenario", ["audit"])
def test_scenario(scenario: str) -> None:
    folder = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON", "MOLECULE_"))}
    environment |= {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".cache" / "collections"),
        "ANSIBLE_HOME": str(CHECKOUT / ".cache" / "ansible"),
    }
    ran = subprocess.run(
        [folder / "molecule", "test", "-s", scenario],
        cwd=CHECKOUT / "extensions",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
