# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit XML."""

from xml.etree import ElementTree

import pytest
from ansible_collections.accelnet.mana.plugins.plugin_utils import _junit, _report, _run_files
from test_report import HOSTILE, STEP, good, nic, planned

RUN = {"run_id": "20261123T040506Z", "time": "2026-11-23T04:05:06Z", "goal": "ethernet"}


def xml(results):
    report = _report.aggregate({**RUN, "hosts": list(results)}, results, "2026-11-23T04:06:00Z")
    # As bytes: what CI reads.
    return ElementTree.fromstring(_junit.render(report).encode("utf-8", "strict"))


def outcome(case):
    return case[0].tag if len(case) else "passed"


def cases(root):
    return {case.get("name"): case for case in root.iter("testcase")}


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        ("accelerated", "passed"),
        ("userspace", "passed"),
        ("unsupported", "skipped"),
        ("synthetic", "failure"),
        ("degraded", "failure"),
        ("orphaned", "failure"),
    ],
)
def test_the_outcome_of_a_nic(verdict, expected):
    assert outcome(cases(xml({"a": good("a", planned(nic(verdict, ["vf_down"])))}))["NIC eth0"]) == expected


def test_a_failure_says_why_and_what_to_do():
    case = cases(xml({"a": good("a", planned(nic("degraded", ["vf_down", "vf_has_address"])))}))["NIC eth0"]
    assert case[0].get("message") == "degraded: vf_down, vf_has_address"
    assert "vf_down: The virtual function is attached but down" in case[0].text
    assert "hv_netvsc brings it up" in case[0].text


def test_a_function_without_nic_is_named_by_its_address():
    row = {**nic("orphaned", ["driver_missing"]), "interface": None, "mac": None}
    assert outcome(cases(xml({"a": good("a", planned(row))}))["function 7870:00:00.0"]) == "failure"


def test_the_goal_is_a_test_case_of_its_own():
    blocked = {"reason": "mana_ib_missing", "subject": "module:mana_ib@6.1.0", "remedy": "Allow a backport.", "option": "driver_sources"}
    root = xml({"a": good("a"), "b": good("b", planned(nic(), steps=[STEP], blocked=[blocked]))})
    passed, failed = [case for case in root.iter("testcase") if case.get("name") == "goal ethernet"]
    assert outcome(passed) == "passed"
    assert failed[0].get("message") == "not met: mana_ib_missing, driver_not_loaded"
    assert failed[0].text.splitlines() == [
        "blocked: module:mana_ib@6.1.0: mana_ib_missing: Allow a backport.",
        "step: nic_driver load: mana is installed but not loaded.",
    ]


def test_hosts_that_were_not_audited_and_the_sums():
    results = {
        "ok": good("ok", planned(nic(), nic("orphaned", ["driver_missing"], interface="eth1"), met=False)),
        "gone": _run_files.result("gone", "ethernet", "unreachable", {"reason": "host_unreachable", "message": "timed out"}),
        "broken": _run_files.result("broken", "ethernet", "failed", {"reason": "bad_mac", "message": "no such NIC"}),
        "never": None,
    }
    root = xml(results)
    suites = {suite.get("name"): suite for suite in root}
    assert [outcome(case) for case in suites["gone"]] == ["error"]
    assert suites["gone"][0][0].get("message") == "unreachable: host_unreachable"
    assert suites["gone"][0][0].text == "timed out"
    assert suites["broken"][0][0].get("message") == "failed: bad_mac"
    assert [outcome(case) for case in suites["never"]] == ["skipped"]

    def sums(element):
        return tuple(int(element.get(key)) for key in ("tests", "failures", "errors", "skipped"))

    assert sums(suites["ok"]) == (3, 2, 0, 0)
    assert sums(suites["gone"]) == (1, 0, 1, 0)
    assert sums(root) == (6, 2, 2, 1)


def test_hostile_text_is_well_formed_and_means_the_same():
    evil = "a\x00\x08\x1b\ud800\ufffe<&\"']]>\n\u00fc\U0001f4a5"
    results = {host: good(host) for host in HOSTILE}
    results[evil] = _run_files.result(evil, "ethernet", "failed", {"reason": "nic_info_failed", "message": evil})
    root = xml(results)
    assert len(root) == len(results)
    clean = "a\ufffd\ufffd\ufffd\ufffd\ufffd<&\"']]>\n\u00fc\U0001f4a5"
    assert root[-1].get("name") == clean
    assert root[-1][0][0].text == clean
    assert root[0].get("name") == "../../etc/passwd"
