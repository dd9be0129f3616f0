# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast the device core is: frames from one vPort to the other, as packets and bytes per second of processor time.

    PYTHONPATH=tests:tests/emulator python tests/emulator/measure_device.py [--profile NAME]

The driver's part is not counted: it fills the send queue, and only the doorbell is timed, called without the socket.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from device_fixture import Rig, rig
from mini_ethernet import Ethernet, Port
from mini_packets import TCP, UDP, Flow

BURST = 32
SECONDS = 1.0


def cases() -> dict[str, Callable[[Port, Port, int], int]]:
    """Each posts one send and returns the bytes of its frames on the wire."""

    def flow(a: Port, b: Port, protocol: int, n: int) -> Flow:
        return Flow(b.mac, a.mac, protocol=protocol, src_port=1000 + n)

    def udp(size: int) -> Callable[[Port, Port, int], int]:
        def post(a: Port, b: Port, n: int) -> int:
            frame = flow(a, b, UDP, n).frame(bytes(size - 42), transport_sum=False)
            a.post(frame, comp_udp_csum=1, is_outer_ipv4=1)
            return len(frame)

        return post

    def tso(a: Port, b: Port, n: int) -> int:
        this = flow(a, b, TCP, n)
        data = bytes(14480)
        a.post(this.frame(data, transport_sum=False), cuts=[this.headers], mss=1448, comp_iphdr_csum=1, comp_tcp_csum=1)
        return len(data) + 10 * this.headers

    return {"udp-64": udp(64), "udp-1514": udp(1514), "udp-9014": udp(9014), "tso-14480": tso}


def doorbell(r: Rig, queue: int, tail: int) -> None:
    """What a write to the doorbell does, without the way there."""
    r.function.doorbell(4096, queue | (tail & 0xFFFFFFFF) << 32)


def measure(name: str, post: Callable[[Port, Port, int], int], profile: bool) -> None:
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as directory, rig(Path(directory)) as r:
        r.switch.detach(r.wire)
        ethernet = Ethernet(r.driver)
        a, b = Port(ethernet, 0), Port(ethernet, 1)
        a.up(1, tx_bytes=1 << 15)
        b.up(2, rx_bytes=1 << 15, buffer_size=9100)
        b.post(Flow(a.mac, b.mac).frame(b""))  # so that the switch knows it
        doorbell(r, b.tx[0].sq.id, b.tx[0].sq.head * 32)
        r.driver.interrupt()
        sends = spent = size = 0.0
        while spent < SECONDS:
            for n in range(BURST):
                size += post(a, b, n)
            begin = time.thread_time()
            if profile:
                profiler.enable()
            doorbell(r, a.tx[0].sq.id, a.tx[0].sq.head * 32)
            profiler.disable()
            spent += time.thread_time() - begin
            sends += BURST
            r.driver.interrupt()
            a.tx[0].take()
            b.take()
        packets = ethernet.statistics()["hc_rx_ucast_pkts"] - 1
        print(f"{name:10} {sends / spent:9.0f} sends/s {packets / spent:9.0f} packets/s {size / spent / 1e6:8.1f} MB/s")
        if profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(22)


def round_trips() -> None:
    """A doorbell with nothing behind it, through the socket: the cost of each of the guest's register writes."""
    with tempfile.TemporaryDirectory() as directory, rig(Path(directory)) as r:
        count = 20_000
        begin = time.process_time()
        for _ in range(count):
            r.driver.hwc_sq.ring()
        print(f"doorbell   {count / (time.process_time() - begin):9.0f} writes/s with a reply each, processor time of both sides")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", choices=sorted(cases()))
    chosen = parser.parse_args().profile
    for name, post in cases().items():
        if chosen in (None, name):
            measure(name, post, profile=chosen is not None)
    if chosen is None:
        round_trips()


if __name__ == "__main__":
    main()
