# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable under its own name, wherever the checkout is."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / ".cache" / "collections"


def _importable() -> bool:
    try:
        return importlib.util.find_spec("ansible_collections.accelnet.mana.plugins") is not None
    except ImportError:
        return False


# ansible-test brings its own import path; everything else uses the link that scripts/setup makes.
if not _importable():
    link = COLLECTIONS / "ansible_collections" / "accelnet" / "mana"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(ROOT, link.parent), target_is_directory=True)
    sys.path.insert(0, str(COLLECTIONS))
