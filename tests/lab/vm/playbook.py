# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible playbooks, run over the machines of a lab with the checkout's own settings."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import json
import os
import pathlib
import re
import sys
import typing as t

from lab.vm.errors import LabError
from lab.vm.lab import Lab

_CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
_TIMEOUT = 1800.0
_RECAP = re.compile(r"^\S+ +: (ok=\d+ .*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Played:
    """A run of ansible-playbook that has ended."""

    code: int
    output: str

    def recap(self) -> dict[str, int]:
        """The counts of PLAY RECAP, `changed` and `failed` for example, of all machines together. Raises LabError without one."""
        counts: collections.Counter[str] = collections.Counter()
        lines = _RECAP.findall(self.output)
        if not lines:
            raise LabError(f"ansible-playbook names no machine in the end: {self.output[-1000:]}")
        for line in lines:
            for word in line.split():
                name, _, value = word.partition("=")
                counts[name] += int(value)
        return counts


def play(
    lab: Lab,
    playbook: str | collections.abc.Sequence[collections.abc.Mapping[str, t.Any]],
    variables: collections.abc.Mapping[str, t.Any],
    *options: str,
    check: bool = True,
    timeout: float = _TIMEOUT,
) -> Played:
    """Run a playbook of a collection, or these plays, with further options of ansible-playbook; for so many seconds at most.

    Raises LabError when that is not possible, and with check also when it fails.
    """
    program = pathlib.Path(sys.executable).with_name("ansible-playbook")
    if not program.exists():
        raise LabError(f"there is no {program}: run `make setup`")
    inventory = lab.inventory(lab.run.path / "inventory.yml")
    if not isinstance(playbook, str):
        path = lab.run.path / "playbook.yml"
        path.write_text(json.dumps(playbook), encoding="utf-8")  # JSON is YAML
        playbook = str(path)
    # The checkout's own settings, as scripts/lib.sh has them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    environment |= {
        "ANSIBLE_CONFIG": str(_CHECKOUT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(_CHECKOUT / ".cache" / "collections"),
        "ANSIBLE_HOME": str(_CHECKOUT / ".cache" / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
    }
    log = lab.run.logs / "ansible-playbook.log"
    begin = log.stat().st_size if log.exists() else 0
    command = [str(program), playbook, "-i", str(inventory), "-e", json.dumps(variables), *options]
    code = lab.run.start("ansible-playbook", command, environment).wait(timeout)
    played = Played(code, log.read_bytes()[begin:].decode(errors="replace"))
    if check and code != 0:
        raise LabError(f"ansible-playbook ended with {code}: {played.output[-2000:]}")
    return played
