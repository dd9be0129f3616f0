# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says of itself is what it is."""

from __future__ import annotations

import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).parents[2]


def test_action_groups_name_every_module_once() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["action_groups"]
    named = [name for names in groups.values() for name in names]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


def test_an_action_has_its_documentation() -> None:
    actions = {path.stem for path in (ROOT / "plugins/action").glob("*.py")}
    assert actions <= {path.stem for path in (ROOT / "plugins/modules").glob("*.py")}


def test_code_of_managed_nodes_imports_no_ansible() -> None:
    for path in (ROOT / "plugins/module_utils").glob("*.py"):
        imports = re.findall(r"^(?:from|import) (\S+)", path.read_text(encoding="utf-8"), re.M)
        assert [name for name in imports if name.split(".")[0] == "ansible"] == [], path.name


def test_execution_environments_get_controller_libraries_only() -> None:
    metadata = yaml.safe_load((ROOT / "meta/execution-environment.yml").read_text(encoding="utf-8"))
    assert (ROOT / metadata["dependencies"]["python"]).read_text(encoding="utf-8").split() == ["jmespath"]


def test_the_readme_names_every_playbook_module_role_and_filter() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = [
        path.stem
        for folder in ("playbooks", "plugins/modules", "plugins/filter")
        for path in (ROOT / folder).glob("*.*")
        if path.suffix != ".pyc"
    ]
    named += [path.name for path in (ROOT / "roles").iterdir()]
    assert [name for name in named if f"{name}`" not in readme] == []


def test_the_readme_has_the_sections_that_automation_hub_expects_and_absolute_links() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (.*)$", readme, re.M)
    assert sections == [
        "Description",
        "Requirements",
        "Installation",
        "Use cases",
        "Testing",
        "Support",
        "Release notes",
        "Related information",
        "License information",
    ]
    assert [url for url in re.findall(r"\]\(([^)]+)\)", readme) if not url.startswith("https://")] == []
