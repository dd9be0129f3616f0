# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures themselves: well-formed, and the same facts whether a reader sees the snapshot or a real directory."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._tree import SnapshotBackend, Tree
from ansible_collections.accelnet.mana.tests.fixtures.builder import materialise
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet import CASES, FLEET
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import EXAMPLES, SNAPSHOTS

FILES = [*sorted((EXAMPLES / "snapshots").glob("*.json")), *sorted(SNAPSHOTS.glob("*.json"))]
FILES = [path for path in FILES if path.stem in FLEET or path.stem in CASES]

# Links that lead nowhere on purpose.
DANGLING = {
    "gzip": {"/usr/lib/modules/6.14.2-custom/build"},
    "blacklist-forms": {"/etc/modprobe.d/50-mlx5.conf"},  # /dev/null, as a mask
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_tree_is_well_formed(path: Path) -> None:
    assert path.stat().st_size < 48_000
    files = json.loads(path.read_text())["files"]
    links = {name for name, entry in files.items() if isinstance(entry, dict) and "link" in entry}
    for name in files:
        assert posixpath.normpath(name) == name
        parents = {str(parent) for parent in Path(name).parents}
        assert not parents & links, f"{name} lies behind a link, where no reader finds it"
    tree = Tree(SnapshotBackend(files))
    dangling = {name for name in links if not tree.exists(name)}
    # Directories that are there whatever they hold, and targets that matter to nobody.
    boring = ("/subsystem", "/module", "/driver")
    known = {"/bin", "/sbin", "/lib64", *DANGLING.get(path.stem, ())}
    assert {name for name in dangling if not name.endswith(boring)} - known == set()


def _facts_of_tree(snapshot: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The facts of the snapshot's files alone, as if nobody had asked the kernel or kmod."""
    file = directory / "snapshot.json"
    unanswered = {"uname": None, "python": None, "netlink": None, "ethtool": None, "modinfo": None}
    file.write_text(json.dumps({**snapshot, "answers": unanswered}))
    return _facts.collect(root=str(file))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_directory_gives_the_same_facts(path: Path, tmp_path: Path) -> None:
    snapshot = json.loads(path.read_text())
    facts = _facts.collect(root=str(materialise(snapshot, tmp_path / "root")))
    expected = _facts_of_tree(snapshot, tmp_path)
    for either in (facts, expected):
        for kernel in either["kernels"]:  # of the files' stubs, modinfo says nothing, and says so
            for module in kernel["modules"].values():
                for key in ("srcversion", "version", "signer", "vermagic"):
                    module.pop(key, None)
        # Why a file cannot be read differs: here it is closed, there it is a FIFO.
        either["read_warnings"] = [warning.rpartition(": ")[0] for warning in either["read_warnings"] if "modinfo" not in warning]
    assert facts == expected


RECORDED = sorted(SNAPSHOTS.glob("recorded-*.json"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_snapshots_can_be_read(path: Path) -> None:
    """Written by playbooks/snapshot.yml on a real host; nobody generates them again."""
    snapshot = json.loads(path.read_text())
    assert snapshot["provenance"] == "recorded"
    facts = _facts.collect(root=str(path))
    assert facts["nics"] is not None
    assert facts["platform"]["distribution"]
