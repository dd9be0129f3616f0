# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit as users run it: ansible-playbook, with hosts that answer, fail, cannot be reached or take too long."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOTS = ROOT / "examples" / "fleet" / "snapshots"
PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))

HOSTILE = ["../../escape", "</script><script>", "\u00fcml\u00e4ut-\U0001f4a5", "x" * 300]


def snapshot(name, **variables):
    """A host that is one of the example fleet's files."""
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "accelnet_root": str(SNAPSHOTS / f"{name}.json"),
        **variables,
    }


def unreachable():
    """A host that refuses logins: nothing listens on this port."""
    options = "-o ConnectTimeout=3 -o BatchMode=yes -o IdentityAgent=none"
    return {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_connection": "ssh", "ansible_ssh_common_args": options}


class Controller:
    """A directory in which a user calls ansible-playbook."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.prefix: list[str] = []
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".cache" / "collections"),
            "ANSIBLE_HOME": str(path / ".ansible"),
            "ANSIBLE_LOCAL_TEMP": str(path / ".ansible" / "tmp"),
            "LC_ALL": "C.UTF-8",
        }

    def start(self, playbook, hosts, *arguments):
        inventory = hosts
        if isinstance(hosts, dict):
            inventory = self.path / "inventory.yml"
            inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False), encoding="utf-8")
        command = [*self.prefix, PLAYBOOK, f"accelnet.mana.{playbook}", *(["-i", str(inventory)] if inventory else []), *arguments]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(
            command, cwd=self.path, env=self.environment, encoding="utf-8", errors="replace", start_new_session=True, **output
        )

    def run(self, playbook, hosts, *arguments):
        """(exit code, output)"""
        process = self.start(playbook, hosts, *arguments)
        output = process.communicate(timeout=85)[0]
        assert "Traceback" not in output, output
        return process.returncode, output

    def run_dir(self) -> Path:
        return max((self.path / "accelnet-reports").iterdir())

    def report(self):
        """The report of the newest run, once all its files are seen to be in order."""
        run_dir = self.run_dir()
        for name, files in {"run": [run_dir / "run.json"], "result": run_dir.glob("hosts/*"), "report": [run_dir / "report.json"]}.items():
            for file in files:
                jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}"}).validate(
                    json.loads(file.read_text(encoding="utf-8"))
                )
        report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
        assert [suite.get("name") for suite in ElementTree.parse(run_dir / "junit.xml").getroot()] == [
            row["host"] for row in report["hosts"]
        ]
        assert (run_dir / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
        return report


@pytest.fixture
def controller(tmp_path):
    return Controller(tmp_path)


def statuses(report):
    return {row["host"]: row["status"] for row in report["hosts"]}


@pytest.mark.fleet
def test_the_example_fleet_gets_the_verdicts_that_its_inventory_expects(controller):
    inventory = ROOT / "examples" / "fleet" / "inventory.yml"
    if os.geteuid() == 0:
        controller.prefix = ["unshare", "--net"]  # it opens no network: there is none
    code, output = controller.run("audit", inventory)
    assert code == 0, output
    groups = yaml.safe_load(inventory.read_text(encoding="utf-8"))["all"]["children"].values()
    expected = {host: variables for group in groups for host, variables in group["hosts"].items()}
    report = controller.report()
    assert {row["host"]: row["verdict"] for row in report["hosts"]} == {
        host: variables["expected_verdict"] for host, variables in expected.items()
    }
    shown = {
        row["host"]: sorted({reason for nic in row["nics"] for reason in nic["reasons"]})
        for row in report["hosts"]
        if row["status"] == "ok"
    }
    assert shown == {host: sorted(expected[host]["expected_reasons"]) for host in shown}
    # Recap lines only: snapshots' texts may speak of changes.
    assert all("changed=0" in line for line in output.splitlines() if "rescued=" in line)


def test_one_host_after_the_other_may_fail_and_check_mode_is_no_different(controller):
    hosts = {
        "good": snapshot("deb12-web"),
        "no-root": snapshot("deb12-web", accelnet_root="/nowhere"),
        "no-such-nic": snapshot("deb12-web", accelnet_goal="dpdk", accelnet_nics=["00:00:00:00:00:01"]),
        "no-such-policy": snapshot("deb12-web", accelnet_policy={"allow_everything": True}),
        "no-such-goal": snapshot("deb12-web", accelnet_goal="speed"),
        "no-value": snapshot("deb12-web", accelnet_nics="{{ 1 / 0 }}"),
        "no-python": snapshot("deb12-web", ansible_python_interpreter="/nowhere/python3"),
        "closed": unreachable(),
    }
    code, output = controller.run("audit", hosts, "--check")
    assert code == 0, output
    rows = {row["host"]: row for row in controller.report()["hosts"]}
    assert {host: row["error"] and row["error"]["reason"] for host, row in rows.items()} == {
        "good": None,
        "no-root": "bad_root",
        "no-such-nic": "bad_mac",
        "no-such-policy": "bad_policy",
        "no-such-goal": "bad_goal",
        "no-value": "nic_info_failed",
        "no-python": "nic_info_failed",
        "closed": "host_unreachable",
    }
    assert rows["good"]["verdict"] == "accelerated"
    assert "zero" in rows["no-value"]["error"]["message"]
    assert "/nowhere" in rows["no-root"]["error"]["message"]
    assert rows["closed"]["status"] == "unreachable"


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
def test_nobody_can_be_reached_and_their_names_are_hostile(controller):
    code, output = controller.run("audit", {name: unreachable() for name in HOSTILE})
    assert code == 0, output
    assert statuses(controller.report()) == dict.fromkeys(HOSTILE, "unreachable")
    assert sorted(path.name for path in controller.path.iterdir()) == [".ansible", "accelnet-reports", "inventory.yml"]


def test_a_run_that_fails_on_something_has_its_report_first(controller):
    hosts = {"bare": snapshot("deb11-legacy"), "good": snapshot("deb12-web"), "other": snapshot("deb12-dhcp")}
    query = json.dumps({"accelnet_query": "hosts[].{name: host, verdict: verdict}", "accelnet_fail_on": ["orphaned"]})
    code, output = controller.run("audit", hosts, "--limit", "bare,good", "-e", query)
    assert code == 2, output
    assert "bare: orphaned" in output
    assert statuses(controller.report()) == {"bare": "ok", "good": "ok"}, "--limit leaves the others out"
    found = json.loads((controller.run_dir() / "query.json").read_text(encoding="utf-8"))
    assert found == [{"name": "bare", "verdict": "orphaned"}, {"name": "good", "verdict": "accelerated"}]


def test_what_the_plan_does_not_know_is_asked_and_planned_with(controller):
    code, output = controller.run("audit", {"web1": snapshot("rhel94-minimal")}, "-e", "accelnet_goal=rdma")
    assert code == 0, output
    row = controller.report()["hosts"][0]
    result = json.loads(next(controller.run_dir().glob("hosts/*")).read_text(encoding="utf-8"))
    assert result["facts"]["packages"], "the snapshot has the answers of its repositories"
    assert not set(row["unknown"]) & set(result["facts"]["packages"])
    assert row["goal"] == "rdma"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"accelnet_goal": "speed"}, "must be one of: ethernet, rdma, dpdk"),
        ({"accelnet_policy": {"allow_everything": True}}, "no such policy option: allow_everything"),
        ({"accelnet_fail_on": ["orphand"]}, "may have verdicts (orphaned, degraded,"),
        ({"accelnet_query": "hosts["}, "is no JMESPath expression"),
        ({"accelnet_run_id": "../x"}, "may have letters, digits, "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_for_all_is_refused_before_a_host_is_asked(controller, variables, message):
    code, output = controller.run("audit", {"good": snapshot("deb12-web")}, "-e", json.dumps(variables))
    assert code == 2
    assert message in " ".join(output.split())
    assert not (controller.path / "accelnet-reports").exists()


def test_after_an_interrupt_the_run_can_be_reported_as_far_as_it_came(controller):
    slow = controller.path / "slow-python"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    hosts = {
        "quick": snapshot("deb12-web"),
        "slow": snapshot("deb12-web", ansible_python_interpreter=str(slow)),
        "bare": snapshot("deb11-legacy"),
    }
    process = controller.start("audit", hosts)
    try:
        deadline = time.monotonic() + 40
        while len(list(controller.path.glob("accelnet-reports/*/hosts/*.json"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None, "the quick hosts' files are there at once"
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        output = process.communicate(timeout=20)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0, output
    run_dir = controller.run_dir()
    assert not (run_dir / "report.json").exists()

    relative = str(run_dir.relative_to(controller.path))
    code, output = controller.run("report", None, "-e", f"accelnet_run_dir={relative}", "-e", '{"accelnet_fail_on": ["not_run"]}')
    assert code == 2, output
    assert "slow: not_run" in output
    assert statuses(controller.report()) == {"quick": "ok", "slow": "not_run", "bare": "ok"}

    code, output = controller.run("report", None, "-e", f"accelnet_run_dir={relative}")
    assert code == 0, output


def test_reporting_a_run_that_is_not_there_names_it(controller):
    code, output = controller.run("report", None, "-e", "accelnet_run_dir=nowhere")
    assert code == 2
    assert f"{controller.path}/nowhere/run.json: No such file or directory" in " ".join(output.split())
