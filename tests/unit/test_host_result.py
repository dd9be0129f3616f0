# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a task registered to the host's file."""

import json
from pathlib import Path

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _host_result, _run_files
from test_report import valid

SNAPSHOTS = Path(__file__).resolve().parents[2] / "examples" / "fleet" / "snapshots"
# What ansible-core adds to the result of a module, over all its versions and keywords.
ADDED = {
    "changed": False,
    "failed": False,
    "ansible_facts": {"discovered_interpreter_python": "/usr/bin/python3.11"},
    "warnings": ["interpreter discovered"],
    "deprecations": [],
    "invocation": {"module_args": {"root": "/"}},
    "attempts": 1,
    "_ansible_no_log": False,
}


@pytest.fixture(scope="module")
def facts():
    return _facts.collect(root=str(SNAPSHOTS / "deb12-web.json"))


@pytest.fixture
def options(tmp_path):
    run = {"goal": "rdma", "playbook": "audit", "hosts": ["web1"], "policy": {}}
    run_dir = _run_files.begin_run(str(tmp_path), None, run)[0]
    return {"run_dir": run_dir, "goal": "ethernet", "nics": [], "policy": {}, "samples": [], "forwarded": []}


def keep(options, registered, packages=None):
    """(what the action returns, what the file has)"""
    returned = _host_result.keep("web1", options, registered, packages)
    kept = json.loads(Path(returned["path"]).read_text(encoding="utf-8"))
    valid("result", kept)
    assert (kept["host"], kept["status"], kept["error"]) == ("web1", returned["status"], returned["error"])
    return returned, kept


def test_facts_are_planned_with_and_kept_without_what_ansible_added(options, facts):
    returned, kept = keep(options, {**facts, **ADDED})
    assert returned["status"] == "ok"
    assert returned["met"] is True
    assert [row["verdict"] for row in returned["verdicts"]] == ["accelerated"]
    assert kept["facts"] == json.loads(json.dumps(facts))
    assert kept["plan"]["verdicts"] == returned["verdicts"]


def test_the_goal_of_the_run_is_the_default(options, facts):
    kept = keep({**options, "goal": None}, facts)[1]
    assert kept["goal"] == kept["plan"]["goal"] == "rdma"


def test_answers_about_packages_are_planned_with_and_kept(options, facts):
    policy = {"driver_sources": ["inbox", "package", "kernel", "backport"], "allow_reboot": True, "allow_source_builds": True}
    options = {**options, "goal": "rdma", "policy": policy}
    unknown = keep(options, facts)[0]["unknown_packages"]
    assert unknown
    returned, kept = keep(options, facts, dict.fromkeys(unknown))
    assert kept["facts"]["packages"] == dict.fromkeys(unknown)
    assert not set(returned["unknown_packages"]) & set(unknown)


def test_samples_make_the_verdicts(options, facts):
    mac = facts["nics"][0]["mac"]
    sample = {"mac": mac, "rx_bytes": 10**9, "tx_bytes": 10**9, "vf_rx_bytes": 0, "vf_tx_bytes": 0}
    returned, kept = keep({**options, "samples": [sample]}, facts)
    assert [(row["verdict"], row["reasons"], row["proven"]) for row in returned["verdicts"]] == [
        ("degraded", ["traffic_on_synthetic"], False)
    ]
    assert kept["plan"]["verdicts"] == returned["verdicts"]


@pytest.mark.parametrize(
    ("registered", "status", "reason"),
    [
        (None, "not_run", None),
        ({"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}, "not_run", None),
        ({"unreachable": True, "msg": "Connection refused", "changed": False}, "unreachable", "host_unreachable"),
        ({"failed": True, "msg": "/mnt: does not exist", "reason": "bad_root"}, "failed", "bad_root"),
        ({"failed": True, "msg": "no Python", "module_stderr": "sh: 1: not found"}, "failed", "nic_info_failed"),
        ({"failed": True, "msg": "x", "reason": "no_such_code"}, "failed", "nic_info_failed"),
        ({"failed": True, "msg": "x", "reason": ["odd"]}, "failed", "nic_info_failed"),
        ({"failed": True}, "failed", "nic_info_failed"),
        ({}, "failed", "bad_facts"),
        ("text", "failed", "bad_facts"),
        ([], "failed", "bad_facts"),
    ],
)
def test_hosts_without_facts(options, registered, status, reason):
    returned, kept = keep(options, registered)
    assert (returned["status"], returned["error"] and returned["error"]["reason"]) == (status, reason)
    assert (returned["verdicts"], returned["met"], returned["unknown_packages"]) == ([], None, [])
    assert kept["plan"] is None
    if isinstance(registered, dict) and registered.get("msg"):
        assert all(registered[key] in returned["error"]["message"] for key in ("msg", "module_stderr") if key in registered)


def test_a_message_has_a_bound(options):
    assert len(keep(options, {"failed": True, "msg": "x" * 100_000})[1]["error"]["message"]) == 2000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"goal": "speed"}, "bad_goal"),
        ({"goal": ["rdma"]}, "bad_goal"),
        ({"nics": "00:22:48:71:c2:8c"}, "bad_mac"),
        ({"nics": [1234]}, "bad_mac"),
        ({"policy": {"no_such": 1}}, "bad_policy"),
        ({"policy": "x"}, "bad_policy"),
        ({"policy": []}, None),
        ({"samples": [{}]}, "bad_facts"),
    ],
)
def test_bad_input_for_a_host_is_in_its_result_with_the_facts(options, facts, change, reason):
    returned, kept = keep({**options, **change}, facts)
    assert (returned["error"] and returned["error"]["reason"]) == reason
    assert kept["facts"]["nics"]
    assert kept["goal"] == ("rdma" if "goal" in change else "ethernet"), "that of the run where it has none that exists"


def test_a_run_that_was_never_begun_is_the_one_thing_that_fails(tmp_path, facts):
    with pytest.raises(AccelnetError, match=r"run\.json") as caught:
        _host_result.keep("web1", {"run_dir": str(tmp_path), "goal": "ethernet"}, facts)
    assert caught.value.reason == "bad_run_dir"


def test_packets_of_testpmd_prove_only_what_user_space_has(options):
    facts = _facts.collect(root=str(SNAPSHOTS / "deb12-dpdk.json"))
    macs = [nic["mac"] for nic in facts["nics"]]
    proven = {row["verdict"]: row["proven"] for row in keep({**options, "forwarded": macs}, facts)[1]["plan"]["verdicts"]}
    assert proven == {"accelerated": None, "userspace": True}
    assert {row["proven"] for row in keep(options, facts)[1]["plan"]["verdicts"]} == {None}


@pytest.mark.parametrize("guarded", [True, False, None])
def test_an_armed_boot_guard_is_passed_on(options, facts, guarded):
    assert keep(options, {**facts, "boot": {**facts["boot"], "guarded": guarded}})[0]["guarded"] is bool(guarded)
