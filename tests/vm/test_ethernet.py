# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stock Ethernet driver on the emulated NIC: every kernel here is the distribution's own, unmodified."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import re

import pytest
from guest import PEER, RESPONDER, RESPONDER6, echo, offload, snmp, start, statistic, vport, wait_for
from lab.vm.errors import LabError
from lab.vm.lab import Lab
from lab.vm.virtual_machine import VirtualMachine

PREPARE = """
ip netns add peer
ip link set {peer} netns peer
ip -n peer address add {address}/24 dev {peer}
ip -n peer link set lo up
ip -n peer link set {peer} up
ip address add 10.77.0.2/24 dev {interface}
ip address add fd77::2/64 dev {interface} nodad
ip link set {interface} up
"""


@dataclasses.dataclass
class Ethernet:
    """A machine with two vPorts: interface beside the responder, peer in a network namespace of its own."""

    lab: Lab
    interface: str
    peer: str

    @property
    def vm(self) -> VirtualMachine:
        return self.lab.vm

    def ping(self, *words: str) -> None:
        self.vm.run(["ping", "-c", "3", "-w", "60", "-I", self.interface, *words])


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("debian-13", id="6.12"),
        pytest.param("debian-12", id="6.1"),
        pytest.param("debian-13-backports", id="newest", marks=pytest.mark.matrix),
    ],
)
def ethernet(request: pytest.FixtureRequest) -> collections.abc.Iterator[Ethernet]:
    with Lab(request.param, vports=2) as lab:
        first, second = (lab.vm.interface(mac) for mac in lab.vm.spec.functions[0].macs)
        lab.vm.run(PREPARE.format(interface=first, peer=second, address=PEER))
        yield Ethernet(lab, first, second)


@pytest.fixture(autouse=True)
def no_faults_left(ethernet: Ethernet) -> collections.abc.Iterator[None]:
    yield
    calm = {"corrupt_every": 0, "drop_every": 0, "lie_checksum": False, "tx_errors": 0, "lose_requests": {}, "refuse_requests": {}}
    ethernet.lab.device.command("faults", **calm)


def test_driver_and_both_vports(ethernet: Ethernet) -> None:
    log = ethernet.vm.run("dmesg").out
    assert "Microsoft Azure Network Adapter protocol version: 0.1.1" in log
    assert "Configured steering vPort 1 " in log
    assert "Configured steering vPort 2 " in log
    assert ethernet.vm.run(f"cat /sys/class/net/{ethernet.interface}/dev_port").out.strip() == "0"
    assert ethernet.vm.run(f"ip netns exec peer cat /sys/class/net/{ethernet.peer}/dev_port").out.strip() == "1"
    # A right driver never does what the device counts as a problem.
    assert ethernet.lab.device.command("counters")["functions"][0]["problems"] == {}


@pytest.mark.parametrize("address", [RESPONDER, RESPONDER6, PEER])
def test_ping(ethernet: Ethernet, address: str) -> None:
    ethernet.ping(address)


@pytest.mark.parametrize("tso", [True, False], ids=["tso", "no-tso"])
def test_what_is_sent_comes_back(ethernet: Ethernet, tso: bool) -> None:
    offload(ethernet.vm, ethernet.interface, tso=tso)
    before = [statistic(ethernet.vm, ethernet.interface, f"tx_{queue}_tso_packets") for queue in (0, 1)]
    errors = snmp(ethernet.vm, "TcpInCsumErrors")
    sent, received = echo(ethernet.vm, 24)
    assert sent == received
    after = [statistic(ethernet.vm, ethernet.interface, f"tx_{queue}_tso_packets") for queue in (0, 1)]
    assert (after != before) == tso
    assert snmp(ethernet.vm, "TcpInCsumErrors") == errors
    offload(ethernet.vm, ethernet.interface, tso=True)


DATAGRAMS = """
import os, socket, sys
connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connection.settimeout(20)
connection.connect((sys.argv[1], 7))
for size in (1, 60, 500, 1472):
    block = os.urandom(size)
    connection.send(block)
    assert connection.recv(2000) == block, size
print("same")
"""


def test_datagrams_come_back(ethernet: Ethernet) -> None:
    errors = snmp(ethernet.vm, "UdpInCsumErrors")
    ethernet.vm.ssh.put(DATAGRAMS.encode(), "/run/datagrams.py")
    assert ethernet.vm.run(["python3", "/run/datagrams.py", RESPONDER]).out == "same\n"
    assert snmp(ethernet.vm, "UdpInCsumErrors") == errors


def test_over_ipv6_and_without_checksum_offload(ethernet: Ethernet) -> None:
    offload(ethernet.vm, ethernet.interface, tx=False, rx=False)
    sent, received = echo(ethernet.vm, 4, RESPONDER6)
    assert sent == received
    offload(ethernet.vm, ethernet.interface, tx=True, rx=True, tso=True)
    sent, received = echo(ethernet.vm, 4, RESPONDER6)
    assert sent == received


def test_vlan(ethernet: Ethernet) -> None:
    run = ethernet.vm.run
    run(f"ip link add link {ethernet.interface} name vlan7 type vlan id 7 && ip address add 10.78.0.2/24 dev vlan7 && ip link set vlan7 up")
    run(f"ip -n peer link add link {ethernet.peer} name vlan7 type vlan id 7 && ip -n peer address add 10.78.0.9/24 dev vlan7")
    run("ip -n peer link set vlan7 up")
    run("ping -c 3 -w 60 10.78.0.9")
    tagged = statistic(ethernet.vm, ethernet.interface, "tx_0_long_pkt_fmt") + statistic(
        ethernet.vm, ethernet.interface, "tx_1_long_pkt_fmt"
    )
    assert tagged >= 3
    (peer,) = json.loads(run("ip -n peer -s -j link show vlan7").out)
    assert peer["stats64"]["rx"]["packets"] >= 3  # the tag came off where it should
    run("ip link delete vlan7; ip -n peer link delete vlan7")


def test_large_frames(ethernet: Ethernet) -> None:
    if ethernet.vm.run(f"ip link set {ethernet.interface} mtu 9000", check=False).code != 0:
        # The limit is the driver's: until Linux 6.4 it knew no other MTU than 1500, whatever the device offers.
        assert ethernet.vm.image.kernel_release.startswith("6.1.")
        return
    ethernet.ping("-M", "do", "-s", "8972", RESPONDER)
    sent, received = echo(ethernet.vm, 8)
    assert sent == received
    assert ethernet.vm.run(f"ip link set {ethernet.interface} mtu 9001", check=False).code != 0
    ethernet.vm.run(f"ip link set {ethernet.interface} mtu 1500")


def test_channels_rings_and_indirection(ethernet: Ethernet) -> None:
    interface, run = ethernet.interface, ethernet.vm.run
    run(f"ethtool -L {interface} combined 1")
    ethernet.ping(RESPONDER)
    run(f"ethtool -L {interface} combined 2")
    ethernet.ping(RESPONDER)
    if run(f"ethtool -G {interface} rx 256 tx 512", check=False).code == 0:
        assert re.search(r"Current.*?RX:\s+256\n.*?TX:\s+512\n", run(f"ethtool -g {interface}").out, re.DOTALL)
        ethernet.ping(RESPONDER)
    else:
        assert ethernet.vm.image.kernel_release.startswith("6.1.")  # the driver learnt it later
    # All flows to queue 1, then evenly again.
    run(f"ethtool -X {interface} weight 0 1")
    before = statistic(ethernet.vm, interface, "rx_1_packets"), statistic(ethernet.vm, interface, "rx_0_packets")
    sent, received = echo(ethernet.vm, 4)
    assert sent == received
    assert statistic(ethernet.vm, interface, "rx_1_packets") > before[0] + 100
    assert statistic(ethernet.vm, interface, "rx_0_packets") < before[1] + 20  # what is not IP, or of older flows
    run(f"ethtool -X {interface} equal 2")
    ethernet.ping(RESPONDER)


def test_the_counters_agree(ethernet: Ethernet) -> None:
    """What the driver reads from the device, and what the device tells by itself."""
    names = ("hc_tx_bytes", "hc_rx_bytes", "hc_tx_ucast_pkts", "hc_rx_ucast_pkts")
    ethernet.ping(RESPONDER)
    # The stack sends router solicitations and the like by itself, and 7.x reads the device every two seconds only: so they are
    # read again until nothing came in between.
    for _ in range(20):
        before = [vport(ethernet.lab, number) for number in (0, 1)]
        by_driver = {name: statistic(ethernet.vm, ethernet.interface, name) for name in names}
        by_device = {name: sum(counters[name] for counters in before) for name in names}  # of the whole function
        if by_driver == by_device and before == [vport(ethernet.lab, number) for number in (0, 1)]:
            break
        ethernet.vm.run("sleep 1")
    assert by_driver == by_device
    assert all(by_driver.values())


def test_module_reload(ethernet: Ethernet) -> None:
    macs = ethernet.vm.spec.functions[0].macs
    ethernet.vm.run("ip netns delete peer")  # the interface comes back
    ethernet.vm.interface(macs[1])
    ethernet.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; rmmod mana; modprobe mana")
    first, second = (ethernet.vm.interface(mac) for mac in macs)
    ethernet.vm.run("udevadm settle")
    first, second = (ethernet.vm.interface(mac) for mac in macs)
    ethernet.vm.run(PREPARE.format(interface=first, peer=second, address=PEER))
    ethernet.interface, ethernet.peer = first, second
    ethernet.ping(RESPONDER)
    ethernet.ping(PEER)


# Negative controls: what is broken is seen to be broken.


ECHO_SERVER = """
import socket
connection, _ = socket.create_server(("", 5001)).accept()
while block := connection.recv(65536):
    connection.sendall(block)
"""
RECEIVER = """
import socket
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("", 5002))
print(receiver.recv(100).decode(), flush=True)
"""
SENDER = f"""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"0" * 60, ("{PEER}", 5002))
"""


def test_damaged_frames_are_noticed_and_repaired(ethernet: Ethernet) -> None:
    errors = snmp(ethernet.vm, "TcpInCsumErrors", "peer")
    start(ethernet.vm, "serve", ECHO_SERVER, namespace="peer")
    wait_for(ethernet.vm, "ip netns exec peer ss -ltn | grep -q :5001")
    ethernet.lab.device.command("faults", corrupt_every=50)
    sent, received = echo(ethernet.vm, 2, PEER, 5001)
    assert sent == received  # TCP sends again what was damaged
    assert snmp(ethernet.vm, "TcpInCsumErrors", "peer") > errors


def test_a_verdict_that_lies_lets_damage_through(ethernet: Ethernet) -> None:
    """Only because the guest believes the device's verdicts does the test before this one mean anything."""
    start(ethernet.vm, "receive", RECEIVER, namespace="peer")
    wait_for(ethernet.vm, "ip netns exec peer ss -lun | grep -q :5002")
    # Address resolution would be damaged too.
    ethernet.vm.run(f"ip neighbour replace {PEER} lladdr {ethernet.vm.spec.functions[0].macs[1]} dev {ethernet.interface}")
    ethernet.lab.device.command("faults", corrupt_every=1, lie_checksum=True)
    start(ethernet.vm, "send", SENDER)
    wait_for(ethernet.vm, "test -s /run/receive.log")
    assert ethernet.vm.run("cat /run/receive.log").out.strip() == "0" * 59 + "1"
    ethernet.vm.run(f"ip neighbour delete {PEER} dev {ethernet.interface}")


def test_lost_frames_are_counted_and_sent_again(ethernet: Ethernet) -> None:
    again = snmp(ethernet.vm, "TcpRetransSegs")
    before = ethernet.lab.device.command("faults", drop_every=50)["happened"]["dropped"]
    sent, received = echo(ethernet.vm, 2)
    assert sent == received
    assert ethernet.lab.device.command("faults")["happened"]["dropped"] > before
    assert snmp(ethernet.vm, "TcpRetransSegs") > again


def test_failed_sends_are_counted(ethernet: Ethernet) -> None:
    before = statistic(ethernet.vm, ethernet.interface, "tx_cq_err")
    ethernet.lab.device.command("faults", tx_errors=2)
    ethernet.ping(RESPONDER)
    assert statistic(ethernet.vm, ethernet.interface, "tx_cq_err") == before + 2
    assert vport(ethernet.lab)["tx_err_inval_oob"] == 2


def test_a_refused_request_fails_what_needs_it(ethernet: Ethernet) -> None:
    ethernet.vm.run(f"ip link set {ethernet.interface} down")
    # MANA_CONFIG_VPORT_TX: before any queue is made, so all kernels recover. All of 6.12 do not from a refused queue.
    ethernet.lab.device.command("faults", refuse_requests={"0x20003": 1})
    with pytest.raises(LabError):
        ethernet.vm.run(f"ip link set {ethernet.interface} up")
    assert "Failed to configure vPort" in ethernet.vm.run("dmesg").out
    ethernet.vm.run(f"ip link set {ethernet.interface} up")
    ethernet.ping(RESPONDER)
