# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab that was killed leaves, and who removes it."""

from __future__ import annotations

import collections.abc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lab.vm import launch, records
from lab.vm.errors import LabError
from lab.vm.records import ProcessRecord, Run

TESTS = Path(__file__).resolve().parents[1]
SLEEP = ("sleep", "1000")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> collections.abc.Iterator[Path]:
    monkeypatch.setenv("LAB_RUN", str(tmp_path / "run"))
    yield tmp_path / "run"
    for run in records.all_runs():
        run.remove()


def recorded(run: Run, what: str = "sleeper") -> ProcessRecord:
    """The process of a lab once it is on record; fails when it ends before."""
    while True:
        for process in run.processes():
            if process.what == what:
                return process


def ends(pid: int, seconds: float = 30.0) -> bool:
    """Whether a process that is not ours to wait for ends."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def owner(survives: bool, keep: bool = False) -> tuple[subprocess.Popen[bytes], Run]:
    """Another Python that owns a lab with a process in it, and waits."""
    script = f"""
import sys
from lab.vm.records import Run
run = Run.create("of a test", "other")
run.start("sleeper", {SLEEP!r}, survives={survives})
if {keep}:
    run.keep()
print("ready", flush=True)
sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TESTS)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process, Run.find("other")


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_a_process_is_on_record_as_what_it_becomes() -> None:
    run = Run.create("x")
    process = run.start("sleeper", SLEEP)
    record = recorded(run)
    assert record.pid == process.pid
    assert record.running()
    assert json.loads((run.path / "processes" / "sleeper.json").read_text())["command"] == list(SLEEP)
    process.kill()
    assert not record.running()


def test_output_is_logged_and_the_logs_survive() -> None:
    run = Run.create("x")
    process = run.start("talker", [sys.executable, "-c", "import sys; print('out'); sys.exit('err')"])
    assert process.wait(60) == 1
    assert process.log_tail() == "out\nerr" or process.log_tail() == "err\nout"
    logs = run.remove()
    assert (logs / "talker.log").exists()
    assert not run.path.exists()


def test_a_process_that_was_not_waited_for_does_not_run() -> None:
    run = Run.create("x")
    process = run.start("sleeper", SLEEP)
    record = recorded(run)
    os.kill(process.pid, signal.SIGKILL)
    assert ends(process.pid)
    assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    assert not record.running()
    process.wait(60)


def test_a_pid_that_is_used_again_is_somebody_elses() -> None:
    with subprocess.Popen(SLEEP) as other:
        started = int(Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19])
        assert ProcessRecord("same", other.pid, started).running()
        recycled = ProcessRecord("gone", other.pid, started - 1)
        assert not recycled.running()
        recycled.kill()
        assert not ends(other.pid, 0.2)
        ProcessRecord("same", other.pid, started).kill()
        assert other.wait(30) == -signal.SIGKILL


def test_records_of_another_boot_mean_nothing() -> None:
    run = Run.create("x")
    process = run.start("sleeper", SLEEP)
    recorded(run)
    (run.path / "record.json").write_text(json.dumps({**run.record(), "boot_id": "another"}))
    assert run.processes() == []
    process.kill()


def test_a_killed_owner_takes_its_processes_along() -> None:
    process, run = owner(survives=False)
    record = recorded(run)
    assert record.running()
    end(process)
    assert ends(record.pid)
    assert records.clean_dead() == ["other"]
    assert not run.path.exists()


def test_what_survived_a_killed_owner_is_ended_by_the_next() -> None:
    process, run = owner(survives=True)
    record = recorded(run)
    end(process)
    assert record.running()
    assert records.clean_dead() == ["other"]
    assert not record.running()
    assert not run.path.exists()
    assert list(records.logs_directory().glob("other-*/sleeper.log"))


def test_a_lab_whose_owner_lives_is_left_alone() -> None:
    process, run = owner(survives=False)
    own = Run.create("x", "own")
    record = recorded(run)
    assert records.clean_dead() == []
    assert run.owned()
    assert own.owned()
    assert record.running()
    end(process)
    assert not run.owned()


def test_a_lab_that_was_left_running_is_left_alone() -> None:
    process, run = owner(survives=True, keep=True)
    record = recorded(run)
    end(process)
    assert records.clean_dead() == []
    assert record.running()
    run.remove()
    assert not record.running()


@pytest.mark.parametrize("made", [(), ("lock",), ("lock", "processes", "logs")])
def test_an_owner_that_was_killed_before_its_record(made: tuple[str, ...]) -> None:
    runs = records.runs()
    (runs / "half").mkdir(parents=True)
    for name in made:
        (runs / "half" / name).touch() if name == "lock" else (runs / "half" / name).mkdir()
    assert records.clean_dead() == ["half"]
    assert not (runs / "half").exists()


def test_other_things_in_the_directory_of_labs_stay() -> None:
    runs = records.runs()
    for folder in ("project", "Documents", ".logs/their-logs"):
        (runs / folder).mkdir(parents=True)
        (runs / folder / "lock").touch()
        (runs / folder / "thesis.tex").write_text("years of work")
    for number in range(records.LOGS_KEPT + 2):
        Run.create("x", f"name-{number}").remove()
    assert records.clean_dead() == []
    assert sorted(path.name for path in runs.rglob("thesis.tex")) == ["thesis.tex"] * 3


def test_a_process_whose_parent_is_gone_already_does_not_start(tmp_path: Path) -> None:
    # Not the parent of what is started here.
    stranger = os.getppid()
    command = [sys.executable, launch.__file__, str(tmp_path / "record"), "keep", str(stranger), "touch", str(tmp_path / "started")]
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0
    assert not (tmp_path / "started").exists()
    assert not (tmp_path / "record").exists()


def test_names() -> None:
    Run.create("x", "name-1")
    with pytest.raises(LabError, match="exists already"):
        Run.create("x", "name-1")
    for name in ("", "../up", "A", "a/b", "a" * 21):
        with pytest.raises(LabError, match="no name"):
            Run.create("x", name)
        with pytest.raises(LabError, match="there is no lab"):
            Run.find(name)
    assert Run.create("x").id != Run.create("x").id


def test_sockets_below_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_RUN", str(tmp_path / ("long" * 30)))
    run = Run.create("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(run.socket("control-debian-12-backports")) + 17 * "x")
    (inside,) = run.path.glob("control-*")
    link = run.socket("x").parent
    assert link.is_symlink()
    assert inside.parent == link.resolve()
    run.remove()
    assert not link.is_symlink()


def test_only_the_newest_logs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LOGS_KEPT", 2)
    kept = []
    for number in range(4):
        logs = Run.create("x", f"lab-{number}").remove()
        os.utime(logs, (number, number))
        kept.append(logs)
    last = Run.create("x", "last").remove()
    assert sorted(records.logs_directory().iterdir()) == sorted([kept[3], last])


def test_stop_waits_for_a_process_that_takes_leave() -> None:
    run = Run.create("x")
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('ready', flush=True); signal.pause()"
    process = run.start("polite", [sys.executable, "-c", script])
    while "ready" not in process.log_tail():
        assert process.exit_code() is None
    assert process.stop(60) == 7
    assert process.stop() == 7


def test_stop_does_not_wait_for_ever() -> None:
    run = Run.create("x")
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    process = run.start("stubborn", [sys.executable, "-c", script])
    while "ready" not in process.log_tail():
        assert process.exit_code() is None
    assert process.stop(0.1) == -signal.SIGKILL
