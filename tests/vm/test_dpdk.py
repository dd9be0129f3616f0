# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RDMA device and DPDK on the emulated NIC: rdma-core, libmana and net_mana as Debian 13 packages them."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import re

import pytest
from guest import start, vport, wait_for
from lab.vm.lab import Lab

HUGEPAGES = 512  # of 2 MiB
BURST = 32  # testpmd's default; net_mana counts a packet when it sees the completion, so of the last burst it may see none
QUEUE = 256  # MAX_SEND_BUFFERS_PER_QUEUE of net_mana


FLOOD = """
import socket, time
flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(16)]
end = time.monotonic() + 60
while time.monotonic() < end:
    for flow in flows:
        flow.sendto(b"x" * 100, ("10.80.0.1", 9))
"""


@dataclasses.dataclass(frozen=True)
class PortStatistics:
    """What testpmd's last lines say of a port."""

    rx_packets: int
    rx_dropped: int
    tx_packets: int
    output: str


@pytest.fixture(scope="module")
def dpdk() -> collections.abc.Iterator[Lab]:
    with Lab("debian-13-dpdk", vports=2, memory=3072) as lab:
        lab.vm.run("modprobe mana_ib; modprobe ib_uverbs; udevadm settle")
        lab.vm.run(f"echo {HUGEPAGES} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        yield lab


def testpmd(lab: Lab, mode: str, seconds: int, vports: tuple[int, ...] = (0,), queues: int = 1, check: bool = True) -> PortStatistics:
    """Run dpdk-testpmd on vPorts. It ends when its input does."""
    vm = lab.vm
    address = vm.run("lspci -D -d 1414:00ba | cut -d' ' -f1").out.split()[0]
    macs = [vm.spec.functions[0].macs[number] for number in vports]
    devices = " ".join(f"-a {address},mac={mac}" for mac in macs)
    program = f"dpdk-testpmd -l 0-1 {devices} -- --forward-mode={mode} --total-num-mbufs=8192 --rxq={queues} --txq={queues}"
    done = vm.run(f"cd /run && sleep {seconds} | timeout 300 {program} 2>&1", check=check, timeout=600)
    counts = re.findall(r"Forward statistics for port 0.*?RX-packets: (\d+).*?RX-dropped: (\d+).*?TX-packets: (\d+)", done.out, re.DOTALL)
    rx, dropped, tx = (int(count) for count in counts[0]) if counts else (0, 0, 0)
    return PortStatistics(rx, dropped, tx, done.out)


def both_down(lab: Lab) -> None:
    for mac in lab.vm.spec.functions[0].macs:
        lab.vm.run(["ip", "link", "set", lab.vm.interface(mac), "down"])


def kernel_on_the_other_vport(lab: Lab) -> None:
    """10.80.0.1 is the first vPort, which testpmd has; the kernel reaches it through the second."""
    ours, theirs = lab.vm.spec.functions[0].macs
    interface = lab.vm.interface(theirs)
    lab.vm.run(f"ip address replace 10.80.0.2/24 dev {interface} && ip link set {interface} up")
    lab.vm.run(f"ip neighbour replace 10.80.0.1 lladdr {ours} dev {interface}")


def test_the_rdma_device_has_a_port_for_each_vport(dpdk: Lab) -> None:
    links = json.loads(dpdk.vm.run("rdma -j link show").out)
    assert [link["port"] for link in links] == [1, 2]
    (device,) = {link["ifname"] for link in links}
    driver = dpdk.vm.run(f"basename $(readlink /sys/class/infiniband/{device}/device/driver)").out.strip()
    assert driver == "mana"
    assert "vendor_part_id" in dpdk.vm.run(f"ibv_devinfo -d {device}").out


def test_transmit(dpdk: Lab) -> None:
    both_down(dpdk)
    before = vport(dpdk)
    seen = testpmd(dpdk, "txonly", 5)
    after = vport(dpdk)
    sent = after["hc_tx_ucast_pkts"] - before["hc_tx_ucast_pkts"]
    assert seen.tx_packets > 1000
    assert 0 <= sent - seen.tx_packets <= QUEUE
    assert after["hc_tx_bytes"] - before["hc_tx_bytes"] == sent * 64
    assert after["tx_err_inval_oob"] == before["tx_err_inval_oob"]


@pytest.mark.parametrize("queues", [1, 2])
def test_receive(dpdk: Lab, queues: int) -> None:
    """The kernel sends from the other vPort, in flows that RSS spreads over the queues."""
    both_down(dpdk)
    kernel_on_the_other_vport(dpdk)
    start(dpdk.vm, "flood", FLOOD)
    before = vport(dpdk)
    seen = testpmd(dpdk, "rxonly", 8, queues=queues)
    after = vport(dpdk)
    delivered = sum(after[f"hc_rx_{kind}_pkts"] - before[f"hc_rx_{kind}_pkts"] for kind in ("ucast", "mcast", "bcast"))
    assert seen.rx_packets > 100
    assert 0 <= delivered - seen.rx_packets <= queues * QUEUE  # what still lay in the queues at the end
    if queues > 1:
        used = re.findall(r"RX Port= 0/Queue= ?(\d+).*?RX-packets: (\d+)", seen.output, re.DOTALL)
        assert {queue for queue, packets in used if int(packets) > 10} == {"0", "1"}, seen.output
    dpdk.vm.run("pkill -x -f 'python3 /run/flood.py' || true")


def test_echo(dpdk: Lab) -> None:
    """testpmd answers the pings of the kernel on the other vPort."""
    both_down(dpdk)
    kernel_on_the_other_vport(dpdk)
    dpdk.vm.run("(ping -i 0.3 -w 60 -c 10 10.80.0.1 > /run/ping 2>&1 </dev/null &)")
    seen = testpmd(dpdk, "icmpecho", 12)
    wait_for(dpdk.vm, "! pgrep -x ping")
    received = re.search(r"(\d+) received", dpdk.vm.run("cat /run/ping").out)
    assert received is not None
    assert int(received[1]) >= 3
    # Each answer that the kernel saw was sent by testpmd.
    assert seen.tx_packets >= int(received[1])


def test_refused_on_a_port_that_the_kernel_uses(dpdk: Lab) -> None:
    (mac, _) = dpdk.vm.spec.functions[0].macs
    interface = dpdk.vm.interface(mac)
    dpdk.vm.run(f"ip link set {interface} up")
    seen = testpmd(dpdk, "txonly", 3, check=False)
    assert seen.tx_packets == 0
    assert "-19" in seen.output or "No such device" in seen.output, seen.output
    dpdk.vm.run(f"ip link set {interface} down")
    assert testpmd(dpdk, "txonly", 3).tx_packets > 0


def test_the_kernel_has_its_port_back_afterwards(dpdk: Lab) -> None:
    dpdk.connect()
