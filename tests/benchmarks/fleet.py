# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook audit against a play of one ping, over ssh.

Every host has an address of its own in 127.0.0.0/8, so that each needs its own login; an sshd of ours, with its own
keys, answers for all of them. Logins are counted in its log, starts of Python by the interpreter that the hosts have.
All of it runs on one machine: CPU time is that of controller and hosts together, and of the hosts alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from . import big_host
from .measure import ROOT, Cost, adopt_orphans, children_cpu, machine, run, side_by_side, table, verdict

BUDGET = 1.5
PING = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n"
# Ansible's own defaults, written down: a user's configuration must not change what is measured.
SSH_ARGUMENTS = "-C -o ControlMaster=auto -o ControlPersist=60s"


@dataclasses.dataclass(frozen=True)
class Run(Cost):
    hosts: float  # of ``cpu``, what sshd and all that it started used
    logins: int
    pythons: int


def descendants(parent: int, name: str = "") -> list[int]:
    """The living children of a process, by name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _parenthesis, rest = path.read_text().rpartition(") ")
        except OSError:
            continue  # ended just now
        state, ppid = rest.split()[:2]
        if int(ppid) == parent and state != "Z" and name in ("", head.partition("(")[2]):
            found.append(int(path.parent.name))
    return found


def reap() -> None:
    """Waits for children that ended, the adopted ones too."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_until(done: Callable[[], bool], what: str) -> None:
    for _attempt in range(600):
        if done():
            return
        time.sleep(0.05)
    raise TimeoutError(what)


class Fleet:
    def __init__(self, folder: Path, hosts: int, python: str, root: Path) -> None:
        self.folder = folder
        self.log, self.counter = folder / "sshd.log", folder / "pythons"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for name in ("host", "user"):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "accelnet-bench", "-f", folder / name])
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 0.0.0.0\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nPrintMotd no\nUseDNS no\nMaxStartups 1000\nLogLevel INFO\n"
        )
        interpreter = folder / "python"
        interpreter.write_text(f'#!/bin/sh\necho >>{self.counter}\nexec {python} "$@"\n')
        interpreter.chmod(0o755)
        (folder / "ping.yml").write_text(PING)
        variables = {
            "ansible_port": self.port,
            "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(folder / "user"),
            "ansible_ssh_common_args": f"-F none -o UserKnownHostsFile={folder}/known -o StrictHostKeyChecking=no -o LogLevel=ERROR",
            "ansible_python_interpreter": str(interpreter),
            "accelnet_root": str(root),
            "accelnet_report_dir": str(folder / "reports"),
            # A directory does not say which kernel runs, and plans need the tables only where they know the kernel.
            "accelnet_policy": {"target_kernels": "all"},
        }
        addresses = {f"host{number}": f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}" for number in range(1, hosts + 1)}
        inventory = {"all": {"hosts": {name: {"ansible_host": address} for name, address in addresses.items()}, "vars": variables}}
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def play(self, playbook: str | Path, forks: int) -> Run:
        """One run from no connection to no connection, everything that it started ended and counted."""
        self.log.write_text("")
        self.counter.write_text("")
        controls = Path(tempfile.mkdtemp(prefix="cp", dir=self.folder))
        env = {
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORKS": str(forks),
            "ANSIBLE_SSH_ARGS": SSH_ARGUMENTS,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(controls),
        }
        sshd = subprocess.Popen([shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-f", self.folder / "sshd_config", "-E", self.log])
        wait_until(lambda: "listening" in self.log.read_text(), f"sshd does not start: {self.log.read_text()}")
        cpu, wall = children_cpu(), time.monotonic()
        run([ROOT / ".venv/bin/ansible-playbook", "-i", self.folder / "inventory.json", playbook], env=env)
        wall = time.monotonic() - wall
        for pid in descendants(os.getpid(), "ssh"):  # the shared connections: ours since their parents ended
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not descendants(sshd.pid), "sshd's sessions do not end")
        sshd.terminate()
        _pid, _status, used = os.wait4(sshd.pid, 0)
        sshd.returncode = 0
        reap()
        for report in self.folder.glob("reports/*/report.json"):  # an audit that could not look at its hosts is quick
            status = json.loads(report.read_text())["counts"]["status"]
            if any(count for name, count in status.items() if name != "ok"):
                raise RuntimeError(f"not all hosts were audited: {status}")
        log = self.log.read_text()
        return Run(
            children_cpu() - cpu, wall, used.ru_utime + used.ru_stime, log.count("Accepted publickey"), self.counter.read_text().count("\n")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="not for 500 hosts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--forks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter of the hosts")
    arguments = parser.parse_args()
    if not shutil.which("sshd") and not Path("/usr/sbin/sshd").exists():
        print("SKIPPED: the fleet, no sshd (Debian: apt-get install openssh-server)")
        return
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which the package's service makes elsewhere
    adopt_orphans()
    print(f"## audit over ssh, {arguments.forks} forks, pipelining\n\n{machine()}\n")
    rows = []
    with tempfile.TemporaryDirectory(prefix="accelnet-") as name:
        root = big_host.make(Path(name) / "root", 1)
        for size in [size for size in arguments.sizes if not (arguments.quick and size > 100)]:
            folder = Path(name) / str(size)
            folder.mkdir()
            fleet = Fleet(folder, size, arguments.python, root)
            plays = {"ping": folder / "ping.yml", "audit": "accelnet.mana.audit"}
            found = side_by_side(
                {label: lambda playbook=playbook: fleet.play(playbook, arguments.forks) for label, playbook in plays.items()},  # type: ignore[misc]
                arguments.rounds,
            )
            cpu = {label: statistics.median(one.cpu for one in runs) for label, runs in found.items()}
            for label, runs in found.items():
                counts = {(one.logins, one.pythons) for one in runs if isinstance(one, Run)}
                hosts = statistics.median(one.hosts for one in runs if isinstance(one, Run))
                wall = statistics.median(one.wall for one in runs)
                ratio = verdict(cpu["audit"] / cpu["ping"], BUDGET) if label == "audit" else ""
                per_host = [f"{seconds / size * 1000:.0f} ms" for seconds in (cpu[label], hosts)]
                logins, pythons = (" or ".join(sorted({f"{count / size:g}" for count in column})) for column in zip(*counts))
                rows.append((size, label, logins, pythons, *per_host, f"{wall:.1f} s", ratio))
    table(("hosts", "play", "logins per host", "Pythons per host", "CPU per host", "of it on the host", "wall", "audit / ping (CPU)"), rows)


if __name__ == "__main__":
    main()
