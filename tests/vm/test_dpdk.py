# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RDMA device and DPDK on the emulated NIC: rdma-core, libmana and net_mana as Debian 13 packages them."""

from __future__ import annotations

import collections.abc
import json
import re

import pytest
from guest import start, vport, wait_for
from lab.vm.lab import Lab

HUGEPAGES = 512  # of 2 MiB
QUEUE = 256  # MAX_SEND_BUFFERS_PER_QUEUE of net_mana


PACKETS = 8000
FLOWS = 16
SENDER = f"""
import socket, time
flows = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({FLOWS})]
for _ in range({PACKETS // FLOWS}):
    for flow in flows:
        flow.sendto(b"x" * 100, ("10.80.0.1", 9))
    time.sleep(0.002)  # slower than testpmd: a full queue would drop, and rightly so
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def dpdk() -> collections.abc.Iterator[Lab]:
    with Lab("debian-13-dpdk", vports=2, memory=3072) as lab:
        lab.vm.run("modprobe mana_ib; modprobe ib_uverbs; udevadm settle")
        lab.vm.run(f"echo {HUGEPAGES} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        yield lab


class Forwarder:
    """dpdk-testpmd on the first vPort, while the block runs; then what it counted, and all that it printed."""

    def __init__(self, lab: Lab, mode: str, queues: int = 1) -> None:
        self.vm = lab.vm
        address = self.vm.run("lspci -D -d 1414:00ba | cut -d' ' -f1").out.split()[0]
        device = f"-a {address},mac={self.vm.spec.functions[0].macs[0]}"
        self._program = (
            f"stdbuf -oL dpdk-testpmd -l 0-1 {device} -- --forward-mode={mode} --total-num-mbufs=8192 --rxq={queues} --txq={queues}"
        )
        self.rx_packets = self.tx_packets = 0
        self.output = ""

    def __enter__(self) -> Forwarder:
        # It ends when its standard input does.
        self.vm.run("rm -f /run/stdin && mkfifo /run/stdin && (setsid sleep 3600 2> /dev/null < /dev/null 1<> /run/stdin &)")
        self.vm.run(f"(setsid sh -c '{self._program} < /run/stdin; echo ended' > /run/testpmd.log 2>&1 &)")
        wait_for(self.vm, "grep -Eq 'Press enter to exit|^ended' /run/testpmd.log")
        return self

    def __exit__(self, *_: object) -> None:
        self.vm.run("pkill -x -f 'sleep 3600'")
        wait_for(self.vm, "grep -q ^ended /run/testpmd.log")
        self.output = self.vm.run("cat /run/testpmd.log").out
        counts = re.search(r"Forward statistics for port 0.*?RX-packets: (\d+).*?TX-packets: (\d+)", self.output, re.DOTALL)
        if counts is not None:
            self.rx_packets, self.tx_packets = int(counts[1]), int(counts[2])


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
    with Forwarder(dpdk, "txonly") as testpmd:
        dpdk.vm.run("sleep 3")  # the measured time, not a wait
    after = vport(dpdk)
    sent = after["hc_tx_ucast_pkts"] - before["hc_tx_ucast_pkts"]
    assert testpmd.tx_packets > 1000
    # net_mana counts a packet when it sees the completion: of what was sent last it saw none.
    assert 0 <= sent - testpmd.tx_packets <= QUEUE
    assert after["hc_tx_bytes"] - before["hc_tx_bytes"] == sent * 64
    assert after["tx_err_inval_oob"] == before["tx_err_inval_oob"]


@pytest.mark.parametrize("queues", [1, 2])
def test_receive(dpdk: Lab, queues: int) -> None:
    """The kernel sends from the other vPort, in flows that RSS spreads over the queues; each is received or counted as lost."""
    both_down(dpdk)
    kernel_on_the_other_vport(dpdk)
    with Forwarder(dpdk, "rxonly", queues) as testpmd:
        before = counters(dpdk)
        start(dpdk.vm, "send", SENDER)
        wait_for(dpdk.vm, "grep -q done /run/send.log")
        after = settled(dpdk)
    sent, received, lost, groups = (late - early for late, early in zip(after, before))
    assert sent == received + lost
    assert received > PACKETS // 2  # testpmd may be slower than the sender on a busy machine
    assert received <= testpmd.rx_packets <= received + groups + QUEUE  # of router solicitations it may have got some before
    if queues > 1:
        used = re.findall(r"RX Port= ?0/Queue= ?(\d+).*?RX-packets: (\d+)", testpmd.output, re.DOTALL)
        assert {queue for queue, packets in used if int(packets) > PACKETS // 20} == {"0", "1"}, testpmd.output


def counters(lab: Lab) -> tuple[int, int, int, int]:
    """Sent by the second vPort; received by the first, lost for want of a buffer, and received of those to groups."""
    first, second = vport(lab, 0), vport(lab, 1)
    return second["hc_tx_ucast_pkts"], first["hc_rx_ucast_pkts"], first["rx_discards_nowqe"], first["hc_rx_mcast_pkts"]


def settled(lab: Lab) -> tuple[int, int, int, int]:
    """The counters when nothing is under way any more: not changed by what takes the guest a second."""
    last = counters(lab)
    for _ in range(60):
        lab.vm.run("sleep 1")
        now = counters(lab)
        if now == last:
            return last
        last = now
    raise AssertionError(f"packets are under way without an end: {last}")


def test_echo(dpdk: Lab) -> None:
    """testpmd answers the pings of the kernel on the other vPort."""
    both_down(dpdk)
    kernel_on_the_other_vport(dpdk)
    with Forwarder(dpdk, "icmpecho") as testpmd:
        dpdk.vm.run("ping -c 5 -i 0.2 -w 60 10.80.0.1")
    assert testpmd.tx_packets >= 4  # it counts a packet when it sees the completion, of the last one perhaps never


def test_refused_on_a_port_that_the_kernel_uses(dpdk: Lab) -> None:
    interface = dpdk.vm.interface(dpdk.vm.spec.functions[0].macs[0])
    dpdk.vm.run(f"ip link set {interface} up")
    with Forwarder(dpdk, "txonly") as testpmd:
        pass
    assert testpmd.tx_packets == 0
    assert "-19" in testpmd.output or "No such device" in testpmd.output, testpmd.output
    dpdk.vm.run(f"ip link set {interface} down")


def test_the_kernel_has_its_port_back_afterwards(dpdk: Lab) -> None:
    dpdk.connect()
