# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures that several files use."""

import pytest
import trees


@pytest.fixture(params=["directory", "snapshot"])
def make_tree(request, tmp_path):
    """A function that makes a tree of entries: once of real files, once of a snapshot."""
    if request.param == "snapshot":
        return trees.snapshot
    return lambda files: trees.directory(tmp_path / "root{0}".format(len(list(tmp_path.iterdir()))), files)
