# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's own audit of a lab: what it says of the emulated NICs."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import pathlib
import typing as t

from lab.vm.errors import LabError
from lab.vm.lab import Lab
from lab.vm.playbook import play


@dataclasses.dataclass(frozen=True)
class NicVerdict:
    """What the audit says of one NIC."""

    interface: str
    mac: str
    kind: str
    verdict: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        reasons = f" ({', '.join(self.reasons)})" if self.reasons else ""
        return f"{self.interface} {self.mac}: {self.kind}, {self.verdict}{reasons}"


def audit(lab: Lab, report_dir: pathlib.Path) -> dict[str, t.Any]:
    """Run the playbook accelnet.mana.audit over the machines; returns its results by name of the machine. Raises LabError."""
    run_id = f"lab-{lab.run.id}"
    played = play(lab, "accelnet.mana.audit", {"accelnet_report_dir": str(report_dir), "accelnet_run_id": run_id}, check=False)
    results = {}
    for path in sorted((report_dir / run_id / "hosts").glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        results[result["host"]] = result
    if played.code != 0 or not results:
        raise LabError(f"the audit ended with {played.code}: {played.output[-1000:]}")
    return results


def verdicts(result: collections.abc.Mapping[str, t.Any]) -> list[NicVerdict]:
    """The verdicts of one machine's result, each with the kind of the NIC."""
    kinds = {nic["mac"]: nic["kind"] for nic in (result.get("facts") or {}).get("nics") or ()}
    rows = (result.get("plan") or {}).get("verdicts") or ()
    return [
        NicVerdict(
            row.get("interface") or row.get("pci_address") or "?",
            row.get("mac") or "?",
            kinds.get(row.get("mac"), "?"),
            row["verdict"],
            tuple(row["reasons"]),
        )
        for row in rows
    ]


def shortcomings(result: collections.abc.Mapping[str, t.Any], macs: collections.abc.Iterable[str]) -> list[str]:
    """Why these MACs are not all accelerated MANA NICs; empty when they are. Other NICs do not count."""
    if result.get("status") != "ok":
        return [f"the host is {result.get('status')}: {(result.get('error') or {}).get('message')}"]
    found = {verdict.mac.lower(): verdict for verdict in verdicts(result)}
    problems = []
    for mac in macs:
        nic = found.get(mac.lower())
        if nic is None:
            problems.append(f"there is no NIC {mac}")
        elif (nic.kind, nic.verdict) != ("mana", "accelerated"):
            problems.append(f"not an accelerated MANA NIC: {nic}")
    return problems
