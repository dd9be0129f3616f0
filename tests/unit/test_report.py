# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Aggregation: from the files of a run to one report, whatever is in them."""

import json
import os
import stat
import sys
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _report, _run_files

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text(encoding="utf-8"))

HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "-rf",
    "a/b\\c:d",
    "x" * 300,
    "\u00fc\u0146\u00efc\u00f8d\u00e9-\U0001f4a5",
    "Web1",
    "web1",
    "WEB1",
    "web1 ",
    "</script><script>alert(1)</script>",
    "new\nline\x00\x1b[31m",
    "{{ 7 * 7 }}",
    "CON",
    "bytes\udcff",
    "",
]


def valid(name, data):
    # "$ref" beside "$defs" in a schema of its own: one part of the documented schema.
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"}).validate(data)


def nic(verdict="accelerated", reasons=(), kind="mana", interface="eth0"):
    return {
        "interface": interface,
        "mac": "00:22:48:71:c2:8c",
        "pci_address": "7870:00:00.0",
        "kind": kind,
        "verdict": verdict,
        "reasons": list(reasons),
        "proven": None,
    }


STEP = {
    "id": "nic_driver:load:6.1.0",
    "role": "nic_driver",
    "action": "load",
    "kernel": "6.1.0",
    "needs": [],
    "provides": ["loaded:mana"],
    "reasons": ["driver_not_loaded"],
    "why": "mana is installed but not loaded.",
    "reboot": False,
}
FACTS = {
    "schema_version": 1,
    "platform": {"distribution": "debian", "release": "12", "architecture": "x86_64"},
    "kernels": [{"release": "5.10.0", "running": False}, {"release": "6.1.0", "running": True}],
    "read_warnings": ["/boot/grub: Permission denied"],
}


def planned(*nics, steps=(), blocked=(), met=None):
    return {
        "goal": "ethernet",
        "met": not steps and not blocked if met is None else met,
        "verdicts": list(nics),
        "ready": {"6.1.0": {"mana": True}},
        "steps": list(steps),
        "unknown": {"packages": ["dpdk"]},
        "blocked": list(blocked),
        "advice": [],
    }


def good(host, plan=None):
    return _run_files.result(host, "ethernet", "ok", None, FACTS, plan or planned(nic()))


def begin(tmp_path, hosts, run_id="run"):
    run = {"goal": "ethernet", "playbook": "audit", "hosts": list(hosts), "policy": {}}
    return _run_files.begin_run(str(tmp_path / "reports"), run_id, run)[0]


def keep(run_dir, result):
    _run_files.write_json(_run_files.host_path(run_dir, result["host"]), result)


# Names of files


def test_a_file_name_is_safe_bounded_and_distinct_for_every_name():
    slugs = [_run_files.slug(host) for host in HOSTILE]
    for name in slugs:
        assert len(name) <= 80
        assert name[0] not in ".-"
        assert name.isascii()
        assert not set(name) & set("/\\ \n\0:")
    assert len({name.lower() for name in slugs}) == len(HOSTILE), "also distinct where file names have no case"
    assert slugs == [_run_files.slug(host) for host in HOSTILE]
    assert len({_run_files.slug(f"{'x' * 100}{number}") for number in range(5000)}) == 5000, "also where only the digest differs"
    assert _run_files.slug("web1.example.com").startswith("web1.example.com-")


def test_hostile_names_stay_in_the_run_and_come_back_as_they_are(tmp_path):
    run_dir = begin(tmp_path, HOSTILE)
    for host in HOSTILE:
        keep(run_dir, good(host))
    report = _report.collect(run_dir)
    assert [row["host"] for row in report["hosts"]] == HOSTILE
    assert {row["status"] for row in report["hosts"]} == {"ok"}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["run.json", *(f"{_run_files.slug(host)}.json" for host in HOSTILE)]
    )
    valid("report", report)
    path = os.path.join(run_dir, "report.json")
    _run_files.write_json(path, report)
    assert Path(path).read_bytes().isascii()
    assert json.loads(Path(path).read_text(encoding="ascii")) == report


# Beginning


def test_the_default_id_is_the_time_and_two_runs_of_one_second_get_one_each(tmp_path, monkeypatch):
    class Frozen(_run_files.datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 11, 23, 4, 5, 6, tzinfo=tz)

    monkeypatch.setattr(_run_files.datetime, "datetime", Frozen)
    run = {"goal": "ethernet", "playbook": "audit", "hosts": [], "policy": {}}
    found = [_run_files.begin_run(str(tmp_path), None, run) for attempt in range(3)]
    assert [run_id for run_dir, run_id in found] == ["20261123T040506Z", "20261123T040506Z-2", "20261123T040506Z-3"]
    data = json.loads(Path(found[1][0], "run.json").read_text(encoding="utf-8"))
    assert data["run_id"] == "20261123T040506Z-2"
    assert data["time"] == "2026-11-23T04:05:06Z"
    valid("run", data)


@pytest.mark.parametrize("run_id", ["", "..", ".", "a/b", "-x", "\u00fc", "a" * 101, "a\n"])
def test_an_id_that_could_leave_the_directory_is_refused(tmp_path, run_id):
    with pytest.raises(AccelnetError) as caught:
        begin(tmp_path, [], run_id)
    assert caught.value.reason == "bad_run_id"
    assert not (tmp_path / "reports").exists()


def test_an_id_that_was_asked_for_and_exists_is_refused(tmp_path):
    begin(tmp_path, ["a"])
    with pytest.raises(AccelnetError, match="exists already") as caught:
        begin(tmp_path, ["b"])
    assert caught.value.reason == "bad_run_id"


def test_a_report_dir_that_is_a_file_is_named(tmp_path):
    (tmp_path / "reports").write_text("")
    with pytest.raises(AccelnetError, match="reports") as caught:
        begin(tmp_path, [])
    assert caught.value.reason == "bad_run_dir"


# Writing


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    _run_files.write_json(str(path), {"old": True})

    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run_files.write_json(str(path), {"new": True})
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": True}
    assert list(tmp_path.iterdir()) == [path], "no rubbish stays"


def test_files_are_as_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        _run_files.write_json(str(tmp_path / "x.json"), {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o640


def test_a_file_can_be_for_its_owner_only_from_the_first_byte(tmp_path, monkeypatch):
    modes = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (modes.append(stat.S_IMODE(os.stat(old).st_mode)), replace(old, new)))
    path = tmp_path / "x.json"
    path.write_text("public")
    _run_files.write_json(str(path), {}, mode=0o600)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_that_is_gone_is_named(tmp_path):
    with pytest.raises(AccelnetError, match=r"gone.x\.json") as caught:
        _run_files.write_json(str(tmp_path / "gone" / "x.json"), {})
    assert caught.value.reason == "bad_run_dir"


# Aggregation


def test_one_row_has_what_is_known_of_the_host(tmp_path):
    blocked = {"reason": "not_allowed_by_policy", "subject": "mana_ib", "remedy": "Allow it.", "option": "driver_sources"}
    plan = planned(nic(), nic("degraded", ["vf_down"], "mlx5", "eth1"), steps=[STEP], blocked=[blocked])
    run_dir = begin(tmp_path, ["web1"])
    keep(run_dir, good("web1", plan))
    report = _report.collect(run_dir)
    valid("report", report)
    assert report["hosts"] == [
        {
            "host": "web1",
            "status": "ok",
            "goal": "ethernet",
            "verdict": "degraded",
            "met": False,
            "distribution": "debian",
            "release": "12",
            "kernel": "6.1.0",
            "architecture": "x86_64",
            "kinds": ["mana", "mlx5"],
            "reasons": ["vf_down", "not_allowed_by_policy", "driver_not_loaded"],
            "nics": plan["verdicts"],
            "steps": [STEP],
            "blocked": [blocked],
            "unknown": ["dpdk"],
            "advice": [],
            "warnings": ["/boot/grub: Permission denied"],
            "error": None,
        }
    ]
    assert set(report["reasons"]) == {"vf_down", "not_allowed_by_policy", "driver_not_loaded"}
    assert report["reasons"]["vf_down"] == {"meaning": REASONS["vf_down"].meaning, "remedy": REASONS["vf_down"].remedy}


@pytest.mark.parametrize("better", range(1, len(VERDICTS)))
def test_the_verdict_of_a_host_is_the_worst_of_its_nics(better):
    rows = [nic(VERDICTS[better]), nic(VERDICTS[better - 1])]
    assert _report.worst_verdict(rows) == VERDICTS[better - 1]
    assert _report.worst_verdict(reversed(rows)) == VERDICTS[better - 1]


def test_a_host_without_known_nics_has_no_verdict():
    assert _report.worst_verdict([]) is None


def test_every_host_of_the_run_is_there_whatever_became_of_it(tmp_path):
    run_dir = begin(tmp_path, ["a", "b", "c", "d"])
    keep(run_dir, good("a"))
    keep(run_dir, _run_files.result("b", "ethernet", "unreachable", {"reason": "host_unreachable", "message": "timed out"}))
    keep(run_dir, _run_files.result("d", "ethernet", "failed", {"reason": "nic_info_failed", "message": "boom"}))
    report = _report.collect(run_dir)
    valid("report", report)
    assert [(row["host"], row["status"]) for row in report["hosts"]] == [
        ("a", "ok"),
        ("b", "unreachable"),
        ("c", "not_run"),
        ("d", "failed"),
    ]
    assert report["counts"] == {
        "verdict": {**dict.fromkeys(VERDICTS, 0), "accelerated": 1, "none": 3},
        "status": {"ok": 1, "failed": 1, "unreachable": 1, "not_run": 1},
        "met": {"true": 1, "false": 0, "unknown": 3},
        "distribution": {"debian": 1, "unknown": 3},
        "kind": {"mana": 1},
        "nic_verdict": {**dict.fromkeys(VERDICTS, 0), "accelerated": 1},
    }
    assert set(report["reasons"]) == {"host_unreachable", "nic_info_failed"}


def test_a_run_of_no_host_has_a_report(tmp_path):
    report = _report.collect(begin(tmp_path, []))
    valid("report", report)
    assert report["hosts"] == []


def change(path, value):
    """A result whose entry at the path is the value."""
    result = json.loads(json.dumps(good("a")))
    entry = result
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    return json.dumps(result)


DAMAGED = {
    "empty": "",
    "cut off": json.dumps(good("a"))[:200],
    "no text": b"\xff\xfe\x00",
    "a list": "[]",
    "null": "null",
    "deep": "[" * 100_000,
    "not a number": change(["facts", "x"], float("nan")),
    "other version": change(["schema_version"], 2),
    "other host": change(["host"], "b"),
    "status": change(["status"], "splendid"),
    "goal": change(["goal"], None),
    "error": change(["error"], "boom"),
    "facts": change(["facts"], []),
    "platform": change(["facts", "platform"], "debian"),
    "kernels": change(["facts", "kernels"], [1]),
    "warnings": change(["facts", "read_warnings"], [None]),
    "no plan": change(["plan"], None),
    "plan": change(["plan"], "x"),
    "verdicts": change(["plan", "verdicts"], None),
    "verdict": change(["plan", "verdicts", 0, "verdict"], "fine"),
    "reasons": change(["plan", "verdicts", 0, "reasons"], "vf_down"),
    "kind": change(["plan", "verdicts", 0, "kind"], None),
    "mac": change(["plan", "verdicts", 0, "mac"], 5),
    "no mac": change(["plan", "verdicts", 0], {key: value for key, value in nic().items() if key != "mac"}),
    "proven": change(["plan", "verdicts", 0, "proven"], "yes"),
    "met": change(["plan", "met"], "yes"),
    "steps": change(["plan", "steps"], [{}]),
    "packages of a step": change(["plan", "steps"], [{**STEP, "packages": "dpdk"}]),
    "version of a step": change(["plan", "steps"], [{**STEP, "version": 24.11}]),
    "reboot of a step": change(["plan", "steps"], [{**STEP, "reboot": "maybe"}]),
    "code of a step": change(["plan", "steps"], [{**STEP, "reasons": ["No Code"]}]),
    "blocked": change(["plan", "blocked"], {}),
    "option": change(["plan", "blocked"], [{"reason": "vf_down", "subject": "eth0", "remedy": "Wait.", "option": []}]),
    "advice": change(["plan", "advice"], None),
    "unknown": change(["plan", "unknown"], []),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_failed_host_and_is_named(tmp_path, damage):
    run_dir = begin(tmp_path, ["a", "z"])
    keep(run_dir, good("z"))
    content = DAMAGED[damage]
    path = Path(_run_files.host_path(run_dir, "a"))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = _report.collect(run_dir)
    valid("report", report)
    row = report["hosts"][0]
    assert (row["status"], row["error"]["reason"], row["reasons"]) == ("failed", "bad_result_file", ["bad_result_file"])
    assert str(path) in row["error"]["message"]
    assert report["hosts"][1]["status"] == "ok"


def test_a_directory_or_dangling_link_in_place_of_a_file_is_one_failed_host(tmp_path):
    run_dir = begin(tmp_path, ["a", "b"])
    os.mkdir(_run_files.host_path(run_dir, "a"))
    os.symlink("nowhere", _run_files.host_path(run_dir, "b"))
    assert [row["error"]["reason"] for row in _report.collect(run_dir)["hosts"]] == ["bad_result_file"] * 2


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{}",
        '{"schema_version": 1, "run_id": "x", "time": "t", "goal": "ethernet", "hosts": "a"}',
        '{"schema_version": 1, "run_id": 1}',
    ],
)
def test_a_run_without_a_good_run_json_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(AccelnetError, match=r"run\.json") as caught:
        _report.collect(str(tmp_path))
    assert caught.value.reason == "bad_run_dir"


def test_the_files_have_the_documented_form():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    valid("result", good("a"))
    valid("result", _run_files.result("a", "rdma", "unreachable", {"reason": "host_unreachable", "message": "x"}))
    with pytest.raises(jsonschema.ValidationError):
        valid("result", {**good("a"), "plan": None})
    assert SCHEMA["$defs"]["verdict"]["enum"] == list(VERDICTS)
    assert SCHEMA["$defs"]["status"]["enum"] == list(_run_files.STATUSES)


# What a run fails on


@pytest.fixture
def fleet(tmp_path):
    run_dir = begin(tmp_path, ["good", "mixed", "blocked", "gone", "never"])
    keep(run_dir, good("good"))
    keep(run_dir, good("mixed", planned(nic(), nic("orphaned", ["driver_missing"]), nic("degraded", ["vf_down"]), met=False)))
    keep(run_dir, good("blocked", planned(nic(), steps=[STEP], blocked=[{"reason": "mana_ib_missing", "subject": "x", "remedy": "y"}])))
    keep(run_dir, _run_files.result("gone", "ethernet", "unreachable", {"reason": "host_unreachable", "message": "x"}))
    return _report.collect(run_dir)


@pytest.mark.parametrize(
    ("codes", "hosts"),
    [
        ([], []),
        (["orphaned"], ["mixed"]),
        (["degraded"], ["mixed"]),
        (["synthetic"], []),
        (["vf_down"], ["mixed"]),
        (["driver_not_loaded"], ["blocked"]),
        (["mana_ib_missing"], ["blocked"]),
        (["unreachable"], ["gone"]),
        (["host_unreachable"], ["gone"]),
        (["not_run"], ["never"]),
        (["not_met"], ["mixed", "blocked", "gone", "never"]),
        (["unreachable", "not_run", "unreachable"], ["gone", "never"]),
    ],
)
def test_fail_on(fleet, codes, hosts):
    assert [host for host, code in _report.fail_on(fleet, codes)] == hosts


def test_fail_on_says_which_code(fleet):
    assert _report.fail_on(fleet, ["orphaned", "not_met"])[:2] == [("mixed", "orphaned"), ("mixed", "not_met")]


@pytest.mark.parametrize("codes", ["orphaned", ["orphand"], [None], [["orphaned"]], {"orphaned": 1}, None])
def test_fail_on_refuses_what_does_not_exist(fleet, codes):
    with pytest.raises(AccelnetError, match="fail_on") as caught:
        _report.fail_on(fleet, codes)
    assert caught.value.reason == "bad_fail_on"


# Queries


def test_a_query_selects_hosts_and_columns(fleet):
    found = _report.query(fleet, "hosts[?verdict=='orphaned'].{host: host, kernel: kernel}")
    assert found == [{"host": "mixed", "kernel": "6.1.0"}]
    assert _report.query(fleet, "length(hosts)") == 5


@pytest.mark.parametrize("expression", ["hosts[", "", "nosuch(@)", "sort(hosts)", "hosts[?", "length(`1`)", "(" * 20_000])
def test_a_bad_query_is_named(fleet, expression):
    with pytest.raises(AccelnetError, match="query") as caught:
        _report.query(fleet, expression)
    assert caught.value.reason == "bad_query"


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("hosts[?nosuch(host)]", "Unknown function: nosuch()"),
        ("hosts[].{a: map(&nosuch(@), nics)}", "Unknown function: nosuch()"),
        ("hosts[?contains(reasons)]", "Expected 2 arguments for function contains()"),
        ("hosts[?not_null()]", "Expected at least 1 argument"),
    ],
)
def test_a_query_with_a_function_that_does_not_exist_is_refused_before_there_is_a_report(expression, error):
    with pytest.raises(AccelnetError, match="query") as caught:
        _report.check_query(expression)
    assert caught.value.reason == "bad_query"
    assert error in caught.value.message


@pytest.mark.parametrize(
    "expression",
    [
        "hosts[?contains(reasons, 'driver_missing')] | sort_by(@, &host)[0].host",
        "max_by(hosts, &length(nics)).host",
        "hosts[0].nics | length(@)",
        "hosts[].not_null(kernel, 'x') | {a: to_string(@), b: [0:1]}",
        "!hosts || `{}`",
    ],
)
def test_a_good_query_is_not_refused_beforehand(fleet, expression):
    _report.check_query(expression)
    _report.query(fleet, expression)


def test_the_message_about_a_query_does_not_have_the_report_in_it(fleet):
    for expression in ("length(`1`)", "abs(@)", "abs(" + "a" * 10_000):
        with pytest.raises(AccelnetError) as caught:
            _report.query(fleet, expression)
        assert len(caught.value.message) < 400


def test_a_query_without_the_library_says_so(fleet, monkeypatch):
    monkeypatch.setitem(sys.modules, "jmespath", None)
    with pytest.raises(AccelnetError, match="jmespath") as caught:
        _report.query(fleet, "hosts")
    assert caught.value.reason == "jmespath_missing"
