# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Azure does to a running NIC, and what breaks: the function goes and returns, resets, loses its link, its answers, its device.

What a driver is expected to do follows from what it announced that it can do, not from the number of its kernel.
"""

from __future__ import annotations

import collections.abc
import dataclasses
from pathlib import Path

import pytest
from guest import LOAD, RESPONDER, start, wait_for, wait_for_traffic
from lab.vm import audit
from lab.vm.errors import LabError
from lab.vm.lab import FunctionSpec, Lab
from lab.vm.virtual_machine import VirtualMachine

# gd_drv_cap_flags1 of GDMA_VERIFY_VF_DRIVER_VERSION; source: include/net/mana/gdma.h of Linux 7.3. 6.12 has none of these.
HW_VPORT_LINK_AWARE = 1 << 6
SELF_RESET_ON_EQE = 1 << 14
PROBE_RECOVERY = 1 << 22
HWC_TIMEOUT_RECOVERY = 1 << 25

MANA_QUERY_GF_STAT = "0x20002"
MANA_CREATE_WQ_OBJ = "0x20004"

# Milliseconds until the driver gives a request up: less than the usual 30 s, and enough for a busy host. To be asked for at the start,
# because 6.12 takes no later change: its mana_gd_process_eqe() does not pass GDMA_EQE_HWC_SOC_RECONFIG_DATA on.
PATIENCE = 5000


@dataclasses.dataclass
class Serviced:
    """A machine whose NIC reaches the responder."""

    lab: Lab
    capabilities: int
    killed: bool = False

    @property
    def vm(self) -> VirtualMachine:
        return self.lab.vm

    @property
    def mac(self) -> str:
        return self.vm.spec.functions[0].macs[0]

    @property
    def interface(self) -> str:
        return self.vm.interface(self.mac)

    def can(self, capability: int) -> bool:
        return bool(self.capabilities & capability)

    def forget_log(self) -> None:
        """So that wait_for_log finds only what comes from now on; what was there is kept for the verdict in the end."""
        self.vm.keep_log()
        self.vm.run("dmesg --clear")

    def wait_for_log(self, text: str) -> None:
        wait_for(self.vm, f"dmesg | grep -qF '{text}'")


@pytest.fixture(
    scope="module",
    params=[pytest.param("debian-13", id="6.12"), pytest.param("debian-13-backports", id="newest", marks=pytest.mark.matrix)],
)
def serviced(request: pytest.FixtureRequest) -> collections.abc.Iterator[Serviced]:
    with Lab(request.param, functions=(FunctionSpec(options={"hwc_timeout_ms": PATIENCE}),)) as lab:
        # While the NIC is away, nobody else answers for its network: QEMU's user network, the default route, would reset connections.
        lab.vm.run("ip route add blackhole 10.77.0.0/24 metric 9999")
        lab.connect()
        yield Serviced(lab, lab.device.command("counters")["functions"][0]["driver"]["capabilities"])


@pytest.fixture(autouse=True)
def no_faults_left(serviced: Serviced) -> collections.abc.Iterator[None]:
    yield
    if not serviced.killed:
        serviced.lab.device.command("faults", lose_requests={}, refuse_requests={}, refuse_hwc=False)


def test_a_connection_outlives_the_loss_of_the_function(serviced: Serviced) -> None:
    vm = serviced.vm
    vm.run("rm -f /run/enough")
    start(vm, "load", LOAD, RESPONDER, "7")
    wait_for_traffic(serviced.lab, 1 << 20)
    vm.take_away()
    assert serviced.mac not in vm.run("cat /sys/class/net/*/address").out
    vm.give_back()
    serviced.lab.connect()
    wait_for_traffic(serviced.lab, 1 << 20)
    vm.run("touch /run/enough")
    wait_for(vm, "test -s /run/load.log")
    log = vm.run("cat /run/load.log").out
    sent, received, count = log.split()
    assert (sent, int(count) >= 1 << 20) == (received, True), log


def test_the_link_goes_and_returns(serviced: Serviced) -> None:
    """Only a driver that knows the event notices; for another, frames just get lost."""
    device, carrier = serviced.lab.device, f"/sys/class/net/{serviced.interface}/carrier"
    aware = serviced.can(HW_VPORT_LINK_AWARE)
    assert device.command("link", up=False)["told"] == aware
    if aware:
        wait_for(serviced.vm, f"grep -q 0 {carrier}")
    with pytest.raises(LabError):
        serviced.vm.run(f"ping -c 1 -W 2 -I {serviced.interface} {RESPONDER}")
    assert serviced.vm.run(f"cat {carrier}").out == ("0\n" if aware else "1\n")
    assert device.command("link", up=True)["told"] == aware
    wait_for(serviced.vm, f"grep -q 1 {carrier}")
    serviced.lab.connect()


def test_a_reset_is_requested(serviced: Serviced) -> None:
    obeyed = serviced.can(SELF_RESET_ON_EQE)
    serviced.forget_log()
    before = serviced.lab.device.command("counters")["functions"][0]["driver"]
    assert serviced.lab.device.command("request_reset")["obeyed"] == obeyed
    if obeyed:
        serviced.wait_for_log("MANA reset cycle completed")
        assert serviced.lab.device.command("counters")["functions"][0]["driver"] == before  # it has said so again
        # Addresses and all were kept: nobody but the driver did anything.
        wait_for(serviced.vm, f"ping -c 1 -W 2 -I {serviced.interface} {RESPONDER}")
    serviced.vm.run(f"ip link set {serviced.interface} down && ip link set {serviced.interface} up")  # the channel answers
    serviced.lab.connect()


def test_a_lost_request(serviced: Serviced) -> None:
    serviced.forget_log()
    serviced.lab.device.command("faults", lose_requests={MANA_QUERY_GF_STAT: 1})
    if serviced.can(HWC_TIMEOUT_RECOVERY):
        # It asks for the statistics every two seconds, and resets the function when there is no answer.
        serviced.wait_for_log("MANA reset cycle completed")
    else:
        serviced.vm.run(f"ethtool -S {serviced.interface}")
        serviced.wait_for_log("HWC: Request timed out!")
    serviced.lab.connect()
    assert "timed out" in serviced.vm.run("dmesg").out


def test_a_refused_queue(serviced: Serviced) -> None:
    serviced.forget_log()
    interface = serviced.interface
    serviced.vm.run(f"ip link set {interface} down")
    serviced.lab.device.command("faults", refuse_requests={MANA_CREATE_WQ_OBJ: 1})
    with pytest.raises(LabError):
        serviced.vm.run(f"ip link set {interface} up")
    assert "Failed to create WQ object" in serviced.vm.run("dmesg").out
    again = serviced.vm.run(f"ip link set {interface} up", check=False)
    if again.code != 0:
        # Seen with 6.12: it does not give back the vPort that it could not furnish.
        assert "busy" in again.err
        serviced.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; rmmod mana; modprobe mana")
    serviced.lab.connect()


def test_a_refused_hardware_channel(serviced: Serviced, tmp_path: Path) -> None:
    vm, device = serviced.vm, serviced.lab.device
    address = vm.pci_address()
    serviced.forget_log()
    vm.take_away()
    device.command("faults", refuse_hwc=True)
    vm.run("echo 1 > /sys/bus/pci/rescan")
    serviced.wait_for_log("gdma probe failed")
    if serviced.can(PROBE_RECOVERY):
        device.command("faults", refuse_hwc=False)  # it tries again and again by itself
    else:
        result = audit.audit(serviced.lab, tmp_path)["vm"]
        (verdict,) = (row for row in result["plan"]["verdicts"] if row["pci_address"] == address)
        assert (verdict["verdict"], verdict["reasons"]) == ("orphaned", ["driver_probe_failed"])
        device.command("faults", refuse_hwc=False)
        vm.run(f"echo {address} > /sys/bus/pci/drivers_probe")
    serviced.lab.connect()


def test_a_device_that_dies(serviced: Serviced) -> None:
    """The last test with this machine."""
    serviced.forget_log()
    boot, interface = serviced.vm.boot_id(), serviced.interface
    serviced.killed = True
    serviced.lab.device.kill()
    serviced.vm.run(f"timeout 60 ip link set {interface} down", check=False)
    serviced.wait_for_log("mana 0000:")
    assert serviced.vm.boot_id() == boot
    assert serviced.vm.process.exit_code() is None
    assert serviced.vm.problems() == []
    others = [line for line in serviced.vm.run("dmesg --notime").out.splitlines() if not line.startswith(("mana ", "infiniband mana"))]
    assert others == []
