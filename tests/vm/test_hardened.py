# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver under conditions that show missing maps, missing syncs and memory errors, which QEMU's coherent DMA hides otherwise.

All DMA goes through bounce buffers (a missing sync is lost data), freed memory is poisoned and checked, the first warning ends the
guest, four processors in two NUMA nodes race with each other. The kernel's log is judged when the lab ends.
"""

from __future__ import annotations

import collections.abc
import contextlib

import pytest
from guest import LOAD, RESPONDER, echo, start, wait_for, wait_for_traffic
from lab.vm.lab import FunctionSpec, Lab, VmSpec
from lab.vm.qemu import NumaNode

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module", params=["debian-13", "debian-13-backports"], ids=["6.12", "newest"])
def hardened(request: pytest.FixtureRequest) -> collections.abc.Iterator[Lab]:
    spec = VmSpec(
        guest=request.param,
        cpus=4,
        numa=(NumaNode(1024, "0-1"), NumaNode(1024, "2-3")),
        append="swiotlb=force slub_debug=FZPU panic_on_warn=1",
        functions=(FunctionSpec(numa_node=1),),
    )
    with Lab(vms=[spec]) as lab:
        # While the NIC is away, nobody else answers for its network: QEMU's user network, the default route, would reset connections.
        lab.vm.run("ip route add blackhole 10.77.0.0/24 metric 9999")
        lab.connect()
        yield lab


@contextlib.contextmanager
def traffic(lab: Lab) -> collections.abc.Iterator[None]:
    """A connection that sends and receives as fast as it can all the while; what came back is what was sent."""
    lab.vm.run("rm -f /run/enough")
    start(lab.vm, "load", LOAD, RESPONDER, "7")
    wait_for_traffic(lab, 1 << 20)
    yield
    wait_for_traffic(lab, 1 << 20)
    lab.vm.run("touch /run/enough")
    wait_for(lab.vm, "test -s /run/load.log")
    log = lab.vm.run("cat /run/load.log").out
    sent, received, _ = log.split()
    assert sent == received, log


def interface(lab: Lab) -> str:
    return lab.vm.interface(lab.vm.spec.functions[0].macs[0])


def test_the_conditions(hardened: Lab) -> None:
    log = hardened.vm.run("dmesg").out
    assert "software IO TLB" in log
    words = hardened.vm.run("cat /proc/cmdline").out.split()
    assert {"swiotlb=force", "slub_debug=FZPU", "panic_on_warn=1"} <= set(words)
    assert hardened.vm.run("nproc; ls -d /sys/devices/system/node/node* | wc -l").out.split() == ["4", "2"]
    assert hardened.vm.run(f"cat /sys/class/net/{interface(hardened)}/device/numa_node").out == "1\n"


def test_rings_channels_and_mtu_change_under_traffic(hardened: Lab) -> None:
    name, run = interface(hardened), hardened.vm.run
    with traffic(hardened):
        for channels in (1, 4, 2):
            run(f"ethtool -L {name} combined {channels}")
            wait_for_traffic(hardened, 1 << 18)
        for rx, tx in ((256, 256), (1024, 512), (512, 256)):
            run(f"ethtool -G {name} rx {rx} tx {tx}")
            wait_for_traffic(hardened, 1 << 18)
        # Not less than 1500: the other side goes on sending what it was promised in the beginning.
        for mtu in (9000, 4000, 1500):
            run(f"ip link set {name} mtu {mtu}")
            wait_for_traffic(hardened, 1 << 18)


def test_the_function_goes_and_returns_under_traffic(hardened: Lab) -> None:
    with traffic(hardened):
        for _ in range(2):
            hardened.vm.take_away()
            hardened.vm.give_back()
            hardened.connect()
            wait_for_traffic(hardened, 1 << 18)


def test_the_module_is_loaded_again(hardened: Lab) -> None:
    hardened.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; rmmod mana; modprobe mana")
    hardened.connect()
    sent, received = echo(hardened.vm, 4)
    assert sent == received
