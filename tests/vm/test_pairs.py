# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A virtual function beside a synthetic NIC of the same MAC: what net_failover and bonding make of the pair, and what the audit says of it.

QEMU has no hv_netvsc. net_failover shows the same to the outside, but for the slave flag and the counters vf_*; a bond has the flag.
"""

from __future__ import annotations

import collections.abc
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from guest import RESPONDER, link_json, vport, wait_for
from lab.vm import audit
from lab.vm.lab import FunctionSpec, Lab, ResponderSpec, VmSpec
from lab.vm.virtual_machine import VirtualMachine

# The standby NIC leads to QEMU's user network, whose host answers pings to the responder's address: with this MAC, made of 52:55 and
# the address (libslirp, slirp_init). So the guest reaches the same host both ways.
HOST_MAC = "52:55:0a:4d:00:01"
STANDBY_WIRE = (
    *("-netdev", f"user,id=standby-host,net=10.77.0.0/24,host={RESPONDER},dhcpstart=10.77.0.100,ipv6=off,restrict=on"),
    *("-netdev", "hubport,id=standby-wire,hubid=1,netdev=standby-host"),
)


@dataclasses.dataclass
class Pair:
    lab: Lab
    master: str
    standby: str

    @property
    def vm(self) -> VirtualMachine:
        return self.lab.vm

    @property
    def mac(self) -> str:
        return self.vm.spec.functions[0].macs[0]

    def ping(self) -> None:
        self.vm.run(f"ping -c 5 -i 0.2 -w 60 -I {self.master} {RESPONDER}")

    def standby_sent(self) -> int:
        return int(self.vm.run(f"cat /sys/class/net/{self.standby}/statistics/tx_packets").out)

    def wait_for_primary(self) -> None:
        """Until net_failover sends by the virtual function. Nothing in sysfs tells, so the device is asked whether a ping arrives."""
        before = vport(self.lab)["hc_tx_ucast_pkts"]
        for _ in range(60):
            self.vm.run(f"ping -c 1 -W 1 -I {self.master} {RESPONDER}", check=False)
            if vport(self.lab)["hc_tx_ucast_pkts"] > before:
                return
        raise AssertionError("the virtual function never got the traffic")


@pytest.fixture(scope="module")
def pair() -> collections.abc.Iterator[Pair]:
    spec = VmSpec(functions=(FunctionSpec(failover=True),), extra=STANDBY_WIRE)
    with Lab(vms=[spec], responder=ResponderSpec(mac=HOST_MAC)) as lab:
        (mac,) = lab.vm.spec.functions[0].macs
        primary = lab.vm.interface(mac, "mana")
        wait_for(lab.vm, f"test -e /sys/class/net/{primary}/master")
        master = lab.vm.run(f"basename $(readlink /sys/class/net/{primary}/master)").out.strip()
        lower = lab.vm.run(f"cd /sys/class/net/{master} && ls -d lower_*").out.split()
        (standby,) = {name.removeprefix("lower_") for name in lower} - {primary}
        lab.vm.run(f"ip address add 10.77.0.2/24 dev {master} && ip link set {master} up")
        yield Pair(lab, master, standby)


def nic_of(result: dict[str, Any], mac: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What nic_info and the plan say of the one NIC of this MAC."""
    (nic,) = (nic for nic in result["facts"]["nics"] if nic["mac"] == mac)
    (verdict,) = (row for row in result["plan"]["verdicts"] if row["mac"] == mac)
    return nic, verdict


def test_traffic_goes_over_the_function(pair: Pair) -> None:
    pair.wait_for_primary()
    before, standby = vport(pair.lab), pair.standby_sent()
    pair.ping()
    assert vport(pair.lab)["hc_tx_ucast_pkts"] >= before["hc_tx_ucast_pkts"] + 5
    assert vport(pair.lab)["hc_rx_ucast_pkts"] >= before["hc_rx_ucast_pkts"] + 5
    assert pair.standby_sent() < standby + 5


def test_the_audit_of_a_pair(pair: Pair, tmp_path: Path) -> None:
    nic, verdict = nic_of(audit.audit(pair.lab, tmp_path)["vm"], pair.mac)
    assert (nic["kind"], nic["synthetic"]["interface"], nic["synthetic"]["driver"]) == ("mana", pair.master, "net_failover")
    assert nic["vf"]["driver"] == "mana"
    assert (verdict["interface"], verdict["verdict"], verdict["reasons"]) == (pair.master, "accelerated", [])


def test_it_falls_back_and_returns(pair: Pair, tmp_path: Path) -> None:
    pair.vm.take_away()
    standby = pair.standby_sent()
    pair.ping()
    assert pair.standby_sent() >= standby + 5
    nic, verdict = nic_of(audit.audit(pair.lab, tmp_path)["vm"], pair.mac)
    assert nic["vf"] is None
    assert verdict["verdict"] == "synthetic"
    pair.vm.give_back()
    primary = pair.vm.interface(pair.mac, "mana")
    wait_for(pair.vm, f"test -e /sys/class/net/{primary}/master")
    pair.wait_for_primary()
    test_traffic_goes_over_the_function(pair)


@pytest.mark.matrix
def test_a_bond(lab: collections.abc.Callable[..., Lab], tmp_path: Path) -> None:
    """active-backup over a virtio NIC and the function. The driver cannot change its MAC, so the bond makes fail_over_mac active."""
    standby = "7c:1e:52:00:99:01"
    extra = (
        *("-netdev", f"user,id=standby,net=10.77.0.0/24,host={RESPONDER},dhcpstart=10.77.0.100,ipv6=off,restrict=on"),
        *("-device", f"virtio-net-pci,netdev=standby,mac={standby},romfile="),
    )
    bonded = lab(extra=extra, responder=ResponderSpec(mac=HOST_MAC))
    vm = bonded.vm
    primary, slow = vm.interface(vm.spec.functions[0].macs[0]), vm.interface(standby)
    vm.run("ip link add bond7 type bond mode active-backup miimon 100 fail_over_mac none")
    for name in (primary, slow):
        vm.run(f"ip link set {name} down && ip link set {name} master bond7")
    vm.run(f"ip link set bond7 type bond primary {primary} && ip address add 10.77.0.2/24 dev bond7 && ip link set bond7 up")
    wait_for(vm, f"grep -q 'Currently Active Slave: {primary}' /proc/net/bonding/bond7")
    assert "SLAVE" in link_json(vm, primary)["flags"]
    before = vport(bonded)["hc_tx_ucast_pkts"]
    vm.run(f"ping -c 5 -i 0.2 -w 60 -I bond7 {RESPONDER}")
    assert vport(bonded)["hc_tx_ucast_pkts"] >= before + 5
    result = audit.audit(bonded, tmp_path)["vm"]
    assert "fail_over_mac active" in vm.run("cat /proc/net/bonding/bond7").out
    # Neither is the other's virtual function: a MANA NIC by itself, and one that is of no interest.
    nics = {nic["interface"]: nic for nic in result["facts"]["nics"]}
    assert (nics[primary]["mac"], nics[slow]["mac"]) == (vm.spec.functions[0].macs[0], standby)
    assert (nics[primary]["kind"], nics[primary]["synthetic"], nics[primary]["paired"]) == ("mana", None, False)
    verdicts = {row["interface"]: (row["verdict"], row["reasons"]) for row in result["plan"]["verdicts"]}
    assert verdicts[primary] == ("accelerated", [])
    assert verdicts[slow] == ("unsupported", ["unsupported_nic"])
    vm.take_away()
    wait_for(vm, f"grep -q 'Currently Active Slave: {slow}' /proc/net/bonding/bond7")
    vm.run(f"ping -c 5 -i 0.2 -w 60 -I bond7 {RESPONDER}")
