# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is documented is there, what is there is documented, and what is there is tested."""

from __future__ import annotations

import ast
import inspect
import json
import pathlib
import re
from typing import Any

import documented
import pytest
import yaml
from ansible_collections.accelnet.mana.plugins.filter.assess import FilterModule as AssessFilters
from ansible_collections.accelnet.mana.plugins.filter.dpdk_ports import FilterModule as PortFilters
from ansible_collections.accelnet.mana.plugins.filter.eal_args import FilterModule as EalFilters
from ansible_collections.accelnet.mana.plugins.filter.plan import FilterModule as PlanFilters
from ansible_collections.accelnet.mana.plugins.filter.verify import FilterModule as VerifyFilters
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _packages
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import MODULES
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import EXAMPLES

ROOT = pathlib.Path(__file__).parents[2]
SNAPSHOTS = [path for path in sorted((EXAMPLES / "snapshots").glob("*.json")) if not path.stem.startswith("broken-")]
PLUGINS = sorted((ROOT / "plugins" / "modules").glob("*.py"))
NAMES = [path.stem for path in PLUGINS]
FILTERS = {
    name: function
    for group in (AssessFilters, EalFilters, PlanFilters, PortFilters, VerifyFilters)
    for name, function in group().filters().items()
}


@pytest.fixture(scope="module")
def facts() -> list[dict[str, Any]]:
    return [_facts.collect(str(path)) for path in SNAPSHOTS]


def test_every_key_is_documented_and_every_documented_key_is_there(facts: list[dict[str, Any]]) -> None:
    for host in facts:
        documented.check(host)
    # None of these checks was about nothing.
    for where in documented.NESTED:
        assert any(documented.instances(host, where) for host in facts), where
    assert any(host["nics"] for host in facts) and any(host["kernels"] for host in facts)


def test_all_documented_modules_are_reported(facts: list[dict[str, Any]]) -> None:
    described = " ".join(documented.RETURN["kernels"]["contains"]["modules"]["description"])
    assert [name for name in MODULES if name not in described] == []
    assert all(set(kernel["modules"]) == set(MODULES) for host in facts for kernel in host["kernels"])


@pytest.mark.parametrize("part", _facts.SUBSETS)
def test_each_part_returns_what_is_documented_for_it(part: str) -> None:
    expected = {key for key, entry in documented.RETURN.items() if entry["returned"] == "always" or f"V({part})" in entry["returned"]}
    assert set(_facts.collect(str(SNAPSHOTS[0]), subset=[part])) == expected


TYPES = {"int": int, "str": str, "list": list, "dict": dict, "bool": bool}


def test_the_types_are_the_documented_ones(facts: list[dict[str, Any]]) -> None:
    def check(entries: dict[str, Any], value: dict[str, Any], where: str) -> None:
        for key, entry in entries.items():
            if value.get(key) is None:
                continue
            assert isinstance(value[key], TYPES[entry["type"]]), f"{where}{key}"
            if "elements" in entry:
                assert all(isinstance(element, TYPES[entry["elements"]]) for element in value[key]), f"{where}{key}[]"
            if "contains" in entry:
                for element in value[key] if entry["type"] == "list" else [value[key]]:
                    check(entry["contains"], element, f"{where}{key}.")

    for host in facts:
        check(documented.RETURN, host, "")


def test_subsets_and_managers_are_those_of_the_code() -> None:
    options = _documentation("nic_info")["options"]
    assert tuple(options["subset"]["choices"]) == tuple(options["subset"]["default"]) == _facts.SUBSETS
    assert set(_documentation("package_candidates")["options"]["manager"]["choices"]) == {"auto", *_packages.MANAGERS}


def _constants(name: str) -> dict[str, str]:
    """DOCUMENTATION, EXAMPLES and RETURN of a module, without importing it."""
    tree = ast.parse((ROOT / "plugins" / "modules" / f"{name}.py").read_text())
    assignments = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    return {node.targets[0].id: node.value.value for node in assignments if isinstance(node.targets[0], ast.Name)}


def _documentation(name: str) -> dict[str, Any]:
    return yaml.safe_load(_constants(name)["DOCUMENTATION"])


@pytest.mark.parametrize("name", NAMES)
def test_every_module_is_documented(name: str) -> None:
    constants = _constants(name)
    assert _documentation(name)["module"] == name
    assert all(option.get("description") for option in (_documentation(name).get("options") or {}).values())
    examples = yaml.safe_load(constants["EXAMPLES"])
    assert any(f"accelnet.mana.{name}" in task for task in examples)
    assert yaml.safe_load(constants["RETURN"]) is not None


def _tests() -> list[tuple[pathlib.Path, str]]:
    files = [path for folder in ("unit", "integration") for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    return [(path, path.read_text()) for path in files if path != pathlib.Path(__file__)]


def _run_by_tests() -> str:
    """The tests, the playbooks that they run and the roles of those."""
    texts = [text for _path, text in _tests()]
    for playbook in (ROOT / "playbooks").glob("*.yml"):
        if any(f'"{playbook.stem}"' in text for text in texts):
            texts.append(playbook.read_text())
    for role in (ROOT / "roles").iterdir():
        if any(f"accelnet.mana.{role.name}" in text for text in texts):
            texts += [path.read_text() for path in role.glob("tasks/*.yml")]
    return "\n".join(texts)


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_test(name: str) -> None:
    assert re.search(rf"\b{name}\b", _run_by_tests())


@pytest.mark.parametrize("path", sorted((ROOT / "plugins" / "module_utils").glob("_*.py")), ids=lambda path: path.stem)
def test_every_reader_has_a_test(path: pathlib.Path) -> None:
    assert [test.name for test, text in _tests() if path.stem in text] != []


@pytest.mark.parametrize("path", sorted((ROOT / "plugins" / "action").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_every_action_has_a_documented_module(path: pathlib.Path) -> None:
    assert path.stem in NAMES


def test_action_groups_are_complete() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    members = [name for members in groups.values() for name in members]
    assert sorted(members) == sorted(NAMES)


def test_there_are_filters_and_each_file_has_its_own() -> None:
    assert sorted(FILTERS) == sorted(path.stem for path in (ROOT / "plugins" / "filter").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_every_filter_is_documented(name: str) -> None:
    sidecar = yaml.safe_load((ROOT / "plugins" / "filter" / f"{name}.yml").read_text())
    documentation = sidecar["DOCUMENTATION"]
    assert documentation["name"] == name
    arguments = inspect.signature(FILTERS[name]).parameters
    assert list(documentation["options"]) == ["_input", *list(arguments)[1:]]
    assert documentation["positional"].split(", ") == list(arguments)[1:]
    for key, option in documentation["options"].items():
        default = arguments[key].default if key != "_input" else inspect.Parameter.empty
        assert option.get("required", False) is (default is inspect.Parameter.empty), key
        if default not in (inspect.Parameter.empty, None):
            assert json.dumps(option["default"]) == json.dumps(list(default) if isinstance(default, tuple) else default), key
    assert f"accelnet.mana.{name}" in sidecar["EXAMPLES"]
    assert "_value" in sidecar["RETURN"]


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_every_key_that_a_filter_returns_is_documented(name: str, facts: list[dict[str, Any]]) -> None:
    sidecar = yaml.safe_load((ROOT / "plugins" / "filter" / f"{name}.yml").read_text())
    text = json.dumps(sidecar["RETURN"])
    results = [FILTERS[name](host) for host in facts]
    rows = [row for result in results for row in (result if isinstance(result, list) else [result])]
    assert rows
    keys = {key for row in rows if isinstance(row, dict) for key in row}
    assert [key for key in sorted(keys) if not re.search(r"C\(" + key + r"[.)]|\"" + key + r"\"", text)] == []
