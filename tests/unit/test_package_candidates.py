# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module package_candidates, where no package manager is needed; the real ones are in tests/integration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = "ansible_collections.accelnet.mana.plugins.modules.package_candidates"
SNAPSHOT = {
    "snapshot_version": 1,
    "provenance": "synthesised",
    "description": "",
    "sources": [],
    "files": {"/usr/bin/dnf": {"file": True}},
    "answers": {"packages": {"rdma-core": {"version": "56.0-1", "versions": ["56.0-1"]}, "dpdk": None, "older": {"version": "1"}}},
}


def ask(**arguments: Any) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    done = subprocess.run([sys.executable, "-m", MODULE], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert bool(answer.get("failed")) == (done.returncode != 0)
    return answer


def test_a_snapshot_answers_for_its_host(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(SNAPSHOT))
    answer = ask(root=str(path), names=["dpdk", "rdma-core", "never-asked", "older", "dpdk"])
    assert (answer["manager"], answer["changed"]) == ("dnf", False)
    assert answer["packages"] == SNAPSHOT["answers"]["packages"]
    assert answer["unknown"] == ["never-asked"]
    assert answer["read_warnings"] == ["the snapshot has no answer for some packages"]


def test_no_names_is_no_question(tmp_path: Path) -> None:
    answer = ask(root=str(tmp_path), names=[])
    assert (answer["packages"], answer["unknown"]) == ({}, [])


@pytest.mark.parametrize("name", ["-y", "a b", "*", "a\n", "--root=/"])
def test_what_is_no_package_name_is_refused_by_name(name: str) -> None:
    answer = ask(names=["dpdk", name])
    assert (answer["failed"], answer["reason"]) == (True, "bad_package_name")
    assert repr(name) in answer["msg"]


def test_a_bad_root_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    assert ask(root="/no/such/root", names=["dpdk"])["reason"] == "bad_root"
    answer = ask(root=str(tmp_path / "bad.json"), names=["dpdk"])
    assert answer["reason"] == "bad_snapshot" and "bad.json" in answer["msg"]
