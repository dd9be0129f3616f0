# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab.vm.recordings [NAME …]: boots machines and records them, with the collection's own playbook, as fixtures of its tests."""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import json
import pathlib
import sys
import tempfile
import typing as t

from lab.vm.lab import FunctionSpec, Lab, LabError, VmSpec
from lab.vm.playbook import play

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "snapshots"


@dataclasses.dataclass(frozen=True)
class Recording:
    """One machine, and what is done to it before it is recorded."""

    spec: VmSpec
    description: str
    prepare: str = ""
    """A command in the guest; {mac} is the MAC of the NIC."""


# All interfaces are up: this is about drivers, and who keeps a NIC down has a reason.
_UP = "ip link set $(basename $(dirname $(grep -l {mac} /sys/class/net/*/address | head -1))) up"

RECORDINGS: dict[str, Recording] = {
    "lab-debian-12": Recording(VmSpec(guest="debian-12"), "Debian 12 in the lab: an emulated MANA NIC with the stock driver of 6.1", _UP),
    "lab-debian-13": Recording(
        VmSpec(guest="debian-13"),
        "Debian 13 in the lab: an emulated MANA NIC with the stock driver of 6.12, mana_ib not loaded",
        _UP + "; if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi",
    ),
    "lab-debian-13-rdma": Recording(
        VmSpec(guest="debian-13-dpdk"),
        "Debian 13 in the lab: an emulated MANA NIC with mana_ib, rdma-core and DPDK",
        _UP + "; modprobe mana_ib; modprobe ib_uverbs; udevadm settle",
    ),
    "lab-debian-13-failover": Recording(
        VmSpec(guest="debian-13", functions=(FunctionSpec(failover=True),)),
        "Debian 13 in the lab: net_failover over virtio and an emulated MANA NIC",
        # The master is the only one of the three that has lower interfaces; it brings up the others.
        "udevadm settle; ip link set $(basename $(dirname $(ls -d /sys/class/net/*/lower_* | head -1))) up",
    ),
}


def record(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Boot the machine, and write folder/recorded-NAME.json. Raises LabError."""
    recording = RECORDINGS[name]
    with Lab(vms=[recording.spec], what=f"recording {name}") as lab, tempfile.TemporaryDirectory() as temporary:
        (mac,) = lab.vm.spec.functions[0].macs
        lab.vm.interface(mac, "mana")
        lab.vm.run(recording.prepare.format(mac=mac))
        play(lab, "accelnet.mana.snapshot", {"accelnet_snapshot_dir": temporary, "accelnet_description": recording.description})
        (made,) = pathlib.Path(temporary).glob("*.json")
        snapshot: dict[str, t.Any] = json.loads(made.read_text(encoding="utf-8"))
    snapshot["sources"] = [f"recorded by python -m lab.vm.recordings {name}"]
    path = folder / f"recorded-{name}.json"
    path.write_text(json.dumps(snapshot, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return path


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.vm.recordings", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"by itself all: {', '.join(RECORDINGS)}")
    names = parser.parse_args(arguments).names or list(RECORDINGS)
    unknown = [name for name in names if name not in RECORDINGS]
    if unknown:
        parser.error(f"there is no {unknown[0]}")
    try:
        for name in names:
            print(record(name, FIXTURES))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
