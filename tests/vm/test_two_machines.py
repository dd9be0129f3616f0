# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several functions, several machines, several labs: all on one wire."""

from __future__ import annotations

import collections.abc
import contextlib
from pathlib import Path

import pytest
from guest import RESPONDER, echo, serve_echo, vport, wait_for
from lab.vm import audit
from lab.vm.lab import FunctionSpec, Lab, VmSpec
from lab.vm.virtual_machine import VirtualMachine


@pytest.fixture(scope="module")
def pair() -> collections.abc.Iterator[Lab]:
    """`one` has two functions, 10.77.0.2 and 10.77.0.3; `other` has 10.77.0.4."""
    specs = [VmSpec("one", functions=(FunctionSpec(), FunctionSpec())), VmSpec("other")]
    with Lab(vms=specs) as lab:
        for vm in lab.vms:
            # With several interfaces in one network, each is to answer for its own address only.
            vm.run("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2")
        lab.connect()
        yield lab


def test_both_functions_of_a_machine_are_accelerated(pair: Lab, tmp_path: Path) -> None:
    one, _ = pair.vms
    macs = [function.macs[0] for function in one.spec.functions]
    assert len({one.interface(mac) for mac in macs}) == 2
    assert one.pci_address(0) != one.pci_address(1)
    results = audit.audit(pair, tmp_path)
    assert audit.shortcomings(results["one"], macs) == []
    assert audit.shortcomings(results["other"], pair.vms[1].spec.functions[0].macs) == []


@pytest.mark.parametrize(("client", "address"), [(0, "10.77.0.4"), (1, "10.77.0.2")], ids=["there", "back"])
def test_what_is_sent_to_the_other_machine_comes_back(pair: Lab, client: int, address: str) -> None:
    serve_echo(pair.vms[1 - client])
    before = [vport(pair, function=function)["hc_tx_bytes"] for function in (0, 1, 2)]
    sent, received = echo(pair.vms[client], 8, address, 5001)
    assert sent == received
    first, second, third = (vport(pair, function=n)["hc_tx_bytes"] - before[n] for n in (0, 1, 2))
    # All of it on the wire, once each way, and nothing of it by the function that is not asked for.
    assert min(first, third) >= 8 << 20 and second < 1 << 20


def test_a_function_goes_and_the_other_stays(pair: Lab) -> None:
    one, _ = pair.vms
    staying = one.interface(one.spec.functions[1].macs[0])
    one.take_away(0)
    ping(one, staying, "10.77.0.4")
    one.give_back(0)
    pair.connect()


@pytest.mark.matrix
def test_two_labs_on_one_wire(tmp_path: Path) -> None:
    ends = tmp_path / "one.sock", tmp_path / "two.sock"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Lab(join={"local": str(ends[0]), "peer": str(ends[1])}))
        specs = [VmSpec(functions=(FunctionSpec(("7c:1e:52:00:77:01",)),))]
        second = stack.enter_context(Lab(vms=specs, responder=None, join={"local": str(ends[1]), "peer": str(ends[0])}))
        first.connect()
        interface = second.vm.interface("7c:1e:52:00:77:01")
        second.vm.run(f"ip address add 10.77.0.99/24 dev {interface} && ip link set {interface} up")
        ping(second.vm, interface, RESPONDER)  # which is in the other lab
        serve_echo(first.vm)
        sent, received = echo(second.vm, 4, "10.77.0.2", 5001)
        assert sent == received


def ping(vm: VirtualMachine, interface: str, address: str) -> None:
    wait_for(vm, f"ping -c 1 -W 5 -I {interface} {address} > /dev/null")
