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
from ansible_collections.accelnet.mana.plugins.plugin_utils import _run_files

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
        name = playbook if playbook.endswith(".yml") else f"accelnet.mana.{playbook}"
        command = [*self.prefix, PLAYBOOK, name, *(["-i", str(inventory)] if inventory else []), *arguments]
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
    assert "fatal: [no-such-nic]: FAILED!" in output and "has the MAC 00:00:00:00:00:01" in output, "the terminal shows it too"
    assert "rescued=1" in next(line for line in output.splitlines() if line.startswith("no-such-nic "))
    assert "ok=0" in next(line for line in output.splitlines() if line.startswith("no-such-nic ")), "it is recorded once"
    assert rows["closed"]["status"] == "unreachable"


def test_a_variable_that_cannot_be_resolved_is_no_variable_that_is_not_given(controller):
    # Of these the value would be the default: the controller itself as root, no NIC, no policy.
    names = {"root": "{{ nope }}", "goal": "{{ nope }}", "nics": ["{{ nope }}"], "policy": {"allow_reboot": "{{ nope }}"}}
    hosts = {"good": snapshot("deb12-web")}
    hosts.update({name: snapshot("deb12-web", **{f"accelnet_{name}": value}) for name, value in names.items()})
    code, output = controller.run("audit", hosts)
    assert code == 0, output
    report = controller.report()
    assert statuses(report) == {"good": "ok", **dict.fromkeys(names, "failed")}
    assert all("'nope' is undefined" in row["error"]["message"] for row in report["hosts"][1:])
    assert all(f"fatal: [{name}]: FAILED!" in output for name in names)


@pytest.mark.parametrize("variable", ["fail_on", "query", "run_id", "report_dir", "hosts"])
def test_a_variable_of_the_run_that_cannot_be_resolved_stops_it(controller, variable):
    code, output = controller.run("audit", {"good": snapshot("deb12-web")}, "-e", f"accelnet_{variable}={{{{ nope }}}}")
    assert code != 0, output
    assert "'nope' is undefined" in " ".join(output.split())
    assert not (controller.path / "accelnet-reports").exists()


def test_a_gate_of_the_report_that_cannot_be_resolved_is_not_open(controller):
    assert controller.run("audit", {"good": snapshot("deb12-web")})[0] == 0
    run_dir = f"accelnet_run_dir={controller.run_dir()}"
    code, output = controller.run("report", None, "-e", run_dir, "-e", "accelnet_fail_on={{ gate_list }}")
    assert code == 2, output
    assert "gate_list" in output and "is undefined" in output


def test_a_playbook_that_imports_the_audit_gives_it_variables(controller):
    playbook = controller.path / "site.yml"
    variables = {"accelnet_hosts": "bare", "accelnet_goal": "rdma", "accelnet_report_dir": "", "accelnet_fail_on": ["orphaned"]}
    playbook.write_text(yaml.safe_dump([{"import_playbook": "accelnet.mana.audit", "vars": variables}]), encoding="utf-8")
    code, output = controller.run(str(playbook), {"bare": snapshot("deb11-legacy"), "good": snapshot("deb12-web")})
    assert code == 2 and "bare: orphaned" in output, output
    assert {row["host"]: row["goal"] for row in controller.report()["hosts"]} == {"bare": "rdma"}


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
def test_nobody_can_be_reached_and_their_names_are_hostile(controller):
    code, output = controller.run("audit", {name: unreachable() for name in HOSTILE})
    assert code == 0, output
    assert statuses(controller.report()) == dict.fromkeys(HOSTILE, "unreachable")
    assert sorted(path.name for path in controller.path.iterdir()) == [".ansible", "accelnet-reports", "inventory.yml"]


def test_a_run_that_fails_on_something_has_its_report_first(controller):
    hosts = {"bare": snapshot("deb11-legacy"), "good": snapshot("deb12-web"), "other": snapshot("deb12-dhcp")}
    controller.environment["ANSIBLE_STRATEGY"] = "free"  # has no run_once; the playbook has its own
    query = json.dumps({"accelnet_query": "hosts[].{name: host, verdict: verdict}", "accelnet_fail_on": ["orphaned"]})
    code, output = controller.run("audit", hosts, "--limit", "bare,good", "-e", query)
    assert code == 2, output
    assert f"fail_on matched 1 times (see {controller.run_dir()}/report.html): bare: orphaned" in " ".join(output.split())
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
        ({"accelnet_query": "hosts[?nosuch(host)]"}, "Unknown function: nosuch()"),
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
    assert f"The results go to {run_dir}" in output
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


@pytest.mark.parametrize("arguments", [[], ["-e", "accelnet_run_dir="]], ids=["not given", "empty"])
def test_reporting_no_run_asks_which(controller, arguments):
    code, output = controller.run("report", None, *arguments)
    assert code == 2
    assert "accelnet_run_dir is not given: which run?" in " ".join(output.split())


def test_a_report_dir_that_cannot_be_written_says_how_to_have_another(controller):
    (controller.path / "accelnet-reports").write_text("")
    code, output = controller.run("audit", {"good": snapshot("deb12-web")})
    assert code == 2
    assert "accelnet_report_dir gives the playbooks another one" in " ".join(output.split())


def test_recorded_snapshots_tell_the_same_as_their_hosts(controller):
    # Without answers of the package manager a host can be recorded all the same.
    broken = controller.path / "broken-packages"
    broken.write_text(f'#!/bin/sh\ncase "$*" in *package_candidates*) echo boom >&2; exit 1 ;; esac\nexec "{sys.executable}" "$@"\n')
    broken.chmod(0o755)
    hosts = {
        "x y": snapshot("deb11-legacy"),
        "x_y": snapshot("deb12-dhcp"),
        "..": snapshot("deb12-web"),
        "../" + "x" * 300: snapshot("rhel94-minimal"),
        "broken": snapshot("deb12-dpdk", ansible_python_interpreter=str(broken)),
    }
    code, output = controller.run("snapshot", hosts, "-e", "accelnet_snapshot_dir=kept/here", "--check")
    assert code == 0, output
    assert not (controller.path / "kept").exists()
    code, output = controller.run("snapshot", hosts, "-e", "accelnet_snapshot_dir=kept/here")
    assert code == 0, output
    recaps = [line for line in output.splitlines() if "rescued=" in line]
    assert all("changed=1" in line and "failed=0" in line for line in recaps) and len(recaps) == len(hosts)

    folder = controller.path / "kept" / "here"
    files = {name: folder / f"{_run_files.slug(name)}.json" for name in hosts}
    assert sorted(folder.iterdir()) == sorted(files.values())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert json.loads(files["broken"].read_text(encoding="ascii"))["answers"]["packages"] == {}

    def audited(audited_hosts):
        assert controller.run("audit", audited_hosts)[0] == 0
        rows = controller.report()["hosts"]
        return {row["host"]: [row["met"], [(nic["kind"], nic["verdict"], nic["reasons"]) for nic in row["nics"]]] for row in rows}

    of_hosts = audited({name: {**variables, "ansible_python_interpreter": sys.executable} for name, variables in hosts.items()})
    assert audited({name: snapshot("", accelnet_root=str(file)) for name, file in files.items()}) == of_hosts
    assert [row[1] for row in of_hosts.values() if not row[1]] == []


def test_a_snapshot_that_cannot_be_kept_says_why(controller):
    (controller.path / "accelnet-snapshots").write_text("")
    code, output = controller.run("snapshot", {"good": snapshot("deb12-web")}, "-e", "accelnet_snapshot_dir=")
    assert code == 2
    assert f"cannot make the directory {controller.path}/accelnet-snapshots: File exists" in " ".join(output.split())
