# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian 13 from nothing to packets in user space, by the playbook site; over a reboot, and back.

The tests are one story in their order: each is about what the one before left.
"""

from __future__ import annotations

import collections.abc
import json
import pathlib
import typing as t

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _override
from guest import vport, wait_for
from lab.vm.audit import audit, verdicts
from lab.vm.lab import Lab
from lab.vm.playbook import Played, play
from sites import Site, executions

# Packages are installed and the machine is booted again.
pytestmark = pytest.mark.matrix

QUEUE = 256
# Everything that a run could touch: contents of files, packages, the NICs and the huge pages.
STATE = """
find /etc /usr/libexec /usr/lib/systemd /var/lib/accelnet /run/accelnet -xdev -type f -print0 2>/dev/null | sort -z | xargs -0 -r sha256sum
find /etc -type l -printf '%p %l\\n' | sort
dpkg-query -W
ip -br address | sort
cat /sys/devices/system/node/node*/hugepages/*/nr_hugepages
"""
GUID = "f8615163-0001-1000-2000-7c1e52000001"


@pytest.fixture(scope="module")
def trixie() -> collections.abc.Iterator[Lab]:
    with Lab("debian-13", vports=2, memory=3072, persistent=True) as lab:
        lab.connect()
        # What depends on the moment of the first login or the like shall not count as our change.
        lab.vm.run("apt-get -q update")
        yield lab


@pytest.fixture(scope="module")
def first(trixie: Lab) -> str:
    """The host before the first role ran."""
    return trixie.vm.run(STATE).out


def mac(lab: Lab, number: int = 0) -> str:
    return lab.vm.spec.functions[0].macs[number]


@pytest.fixture(scope="module")
def site(trixie: Lab) -> Site:
    return Site(trixie, accelnet_goal="dpdk", accelnet_nics=[mac(trixie)], dpdk_port_hugepages_mb=512)


def run_role(lab: Lab, **variables: t.Any) -> Played:
    """dpdk_port alone."""
    plays = [{"name": "User space", "hosts": "all", "gather_facts": False, "roles": [{"role": "accelnet.mana.dpdk_port"}]}]
    return play(lab, plays, {"accelnet_nics": [mac(lab)], "dpdk_port_hugepages_mb": 512, **variables}, check=False)


def run_testpmd(lab: Lab, check: bool = True, **arguments: t.Any) -> dict[str, t.Any]:
    """The result of the module testpmd, whether it fails or not."""
    path = lab.run.path / "testpmd.json"
    tasks = [
        {"name": "Forward", "accelnet.mana.testpmd": {"nics": [mac(lab)], **arguments}, "register": "result", "ignore_errors": True},
        {
            "name": "Keep what it says",
            "ansible.builtin.copy": {"content": "{{ result | to_json }}", "dest": str(path), "mode": "0600"},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        },
    ]
    play(lab, [{"name": "Prove it", "hosts": "all", "gather_facts": False, "tasks": tasks}], {})
    result: dict[str, t.Any] = json.loads(path.read_text())
    if check:
        assert not result.get("failed"), result
    return result


def assert_down_without_address(lab: Lab) -> None:
    (link,) = [row for row in json.loads(lab.vm.run("ip -j address").out) if row.get("address") == mac(lab)]
    assert "UP" not in link["flags"]
    assert link["addr_info"] == []


def assert_packets_fly(lab: Lab) -> None:
    """testpmd's numbers against those of the device."""
    before = vport(lab)
    result = run_testpmd(lab, seconds=3, descriptors=QUEUE)
    after = vport(lab)
    (port,) = result["ports"]
    assert (port["mac"], port["driver"]) == (mac(lab), "net_mana")
    assert port["tx_packets"] > 100
    assert port["tx_errors"] == 0
    sent = after["hc_tx_ucast_pkts"] - before["hc_tx_ucast_pkts"]
    # net_mana counts a packet when it sees the completion: of what was sent last it saw none.
    assert 0 <= sent - port["tx_packets"] <= QUEUE
    assert after["hc_tx_bytes"] - before["hc_tx_bytes"] == sent * 64
    # It ended, and left nothing behind.
    assert lab.vm.run("pgrep dpdk-testpmd", check=False).code == 1
    assert lab.vm.run("ls /var/run/dpdk /dev/hugepages 2>/dev/null | grep -E 'accelnet|rtemap'", check=False).out == ""


def test_check_mode_on_a_bare_host_predicts_and_touches_nothing(trixie: Lab, site: Site, first: str) -> None:
    recap = site.run("--check", "--diff").recap()
    assert recap["failed"] == 0
    assert recap["changed"] >= 3  # packages twice, and the NIC
    assert trixie.vm.run(STATE).out == first


def test_the_nic_of_our_connection_is_refused(trixie: Lab, first: str) -> None:
    management = next(row["address"] for row in json.loads(trixie.vm.run("ip -j link").out) if row["ifname"] == "enp0s3")
    played = run_role(trixie, accelnet_nics=[management])
    assert played.code != 0
    assert "unsupported_nic" in played.output
    # One of the right kind, with our address moved to it for the kernel's eyes.
    interface = trixie.vm.interface(mac(trixie))
    trixie.vm.run(f"ip route replace 168.63.129.16 dev {interface}")
    played = run_role(trixie)
    trixie.vm.run(f"ip route del 168.63.129.16 dev {interface}")
    assert "nic_carries_platform" in played.output
    assert trixie.vm.run(STATE).out == first


def test_more_huge_pages_than_memory_are_refused(trixie: Lab, first: str) -> None:
    played = run_role(trixie, dpdk_port_hugepages_mb=4096)
    assert "hugepages_exceed_memory" in played.output or "may be reserved" in played.output
    assert trixie.vm.run(STATE).out == first


def test_without_any_of_it_testpmd_says_what_is_missing(trixie: Lab) -> None:
    result = run_testpmd(trixie, check=False, queues=3, descriptors=32)
    assert result["failed"]
    assert result["reason"] == "testpmd_missing"
    for word in ("huge page", "power of two", "multiple of 64", "is up"):
        assert word in result["msg"]


def test_packets_fly(trixie: Lab, site: Site, first: str) -> None:
    boot = trixie.vm.boot_id()
    before = vport(trixie)["hc_tx_ucast_pkts"]
    site.run()
    assert trixie.vm.boot_id() == boot
    # The run itself proved it.
    assert vport(trixie)["hc_tx_ucast_pkts"] > before + 100
    (nic,) = [nic for nic in site.report()["nics"] if nic["mac"] == mac(trixie)]
    assert (nic["verdict"], nic["reasons"], nic["proven"]) == ("userspace", [], True)
    assert site.report()["met"]
    assert_down_without_address(trixie)
    assert_packets_fly(trixie)


def test_known_failures_have_reasons(trixie: Lab) -> None:
    assert run_testpmd(trixie, check=False, queues=1, tx_queues=2)["reason"] == "bad_queues"
    interface = trixie.vm.interface(mac(trixie))
    trixie.vm.run(["ip", "link", "set", interface, "up"])
    assert run_testpmd(trixie, check=False)["reason"] == "vf_up"
    trixie.vm.run(["ip", "link", "set", interface, "down"])
    result = run_testpmd(trixie, check=False, mbufs=4000000)
    assert result["failed"] and result["reason"] in ("testpmd_failed", "hugepages_missing")
    assert result["log"]
    assert trixie.vm.run("pgrep dpdk-testpmd", check=False).code == 1


def test_the_second_run_changes_nothing_and_looks_once(site: Site) -> None:
    played = site.run("-vvv")
    assert played.recap()["changed"] == 0
    assert 1 <= executions(played) <= 3


def test_it_lasts_over_a_reboot(trixie: Lab, site: Site) -> None:
    trixie.vm.reboot()
    wait_for(trixie.vm, "test -s /run/accelnet/eal/default.args")
    address = trixie.vm.run("lspci -D -d 1414:00ba | cut -d' ' -f1").out.split()[0]
    assert trixie.vm.run("cat /run/accelnet/eal/default.args").out.split() == ["-a", f"{address},mac={mac(trixie)}"]
    assert_down_without_address(trixie)
    trixie.vm.run("systemctl is-active accelnet-eal-args.service")
    assert trixie.vm.run("systemctl --failed --plain --no-legend").out == ""
    assert_packets_fly(trixie)
    assert site.run().recap()["changed"] == 0


def test_the_other_port_of_the_function_stays_with_the_kernel(trixie: Lab) -> None:
    interface = trixie.vm.interface(mac(trixie, 1))
    trixie.vm.run(f"ip address replace 10.77.0.3/24 dev {interface} && ip link set {interface} up")
    trixie.vm.run(f"for i in $(seq 30); do ping -n -c 1 -W 2 -I {interface} 10.77.0.1 && exit 0; done; exit 1")


def test_the_audit_says_userspace(trixie: Lab, tmp_path: pathlib.Path) -> None:
    (result,) = audit(trixie, tmp_path).values()
    found = {verdict.mac: verdict for verdict in verdicts(result)}
    assert (found[mac(trixie)].verdict, found[mac(trixie)].reasons) == ("userspace", ())


def test_rollback_leads_back_to_the_start(trixie: Lab, site: Site, first: str) -> None:
    # The addresses of the lab are given by hand, and a reboot has taken those of the other port.
    site.rollback()
    (link,) = [row for row in json.loads(trixie.vm.run("ip -j address").out) if row.get("address") == mac(trixie)]
    assert "UP" in link["flags"]
    assert "10.77.0.2" in [entry["local"] for entry in link["addr_info"]]
    trixie.connect()

    def stable(text: str) -> list[str]:
        # Users and groups that packages made stay (Debian Policy 9.2.2); the loader's cache is rewritten; IPv6 has an order of its own.
        left = ("ld.so.cache", "/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow")
        ours = [line for line in text.splitlines() if not line.startswith(("enp", "lo"))]
        return [line for line in ours if not any(name in line for name in left)]

    assert stable(trixie.vm.run(STATE).out) == stable(first)
    assert site.rollback().recap()["changed"] == 0


SYSFS = """
mkdir -p /run/fake/sys/bus/vmbus/devices/$GUID /run/fake/sys/bus/vmbus/drivers/hv_netvsc /run/fake/sys/bus/vmbus/drivers/uio_hv_generic
cd /run/fake/sys/bus/vmbus
mkfifo drivers_probe drivers/hv_netvsc/unbind
echo '(null)' > devices/$GUID/driver_override
ln -s ../../drivers/hv_netvsc devices/$GUID/driver
"""
KERNEL = """
# Plays the kernel for a sysfs of one VMBus device.
cd /run/fake/sys/bus/vmbus
while read -r guid; do rm -f devices/$guid/driver; done <> drivers/hv_netvsc/unbind &
while read -r guid; do
  while [ -L devices/$guid/driver ]; do sleep 0.1; done
  ln -s ../../drivers/$(cat devices/$guid/driver_override) devices/$guid/driver
done <> drivers_probe
"""


def test_the_unit_for_vmbus_under_the_real_systemd(trixie: Lab) -> None:
    """QEMU has no VMBus: a sysfs that answers, a real GUID, and the unit as a boot would start it."""
    vm = trixie.vm
    vm.ssh.put(f"GUID={GUID}\n{SYSFS}".encode(), "/run/sysfs.sh")
    vm.run("bash /run/sysfs.sh")
    vm.ssh.put(KERNEL.encode(), "/run/fake/kernel.sh")
    vm.run("(setsid bash /run/fake/kernel.sh > /run/fake/kernel.log 2>&1 < /dev/null &)")
    vm.run("mkdir -p /usr/libexec/accelnet /etc/accelnet")
    vm.ssh.put(_override.SCRIPT_TEXT.encode(), _override.SCRIPT)
    vm.ssh.put(_override.UNIT_TEXT.encode(), _override.UNIT)
    vm.ssh.put(f"{GUID} uio_hv_generic\n".encode(), _override.LIST)
    vm.run(f"chmod 755 {_override.SCRIPT} && mkdir -p {_override.UNIT}.d")
    dropin = "[Service]\nEnvironment=ACCELNET_SYSFS=/run/fake/sys ACCELNET_MODPROBE=true\n"
    vm.ssh.put(dropin.encode(), f"{_override.UNIT}.d/lab.conf")
    vm.run(f"systemctl daemon-reload && systemctl enable --now {_override.UNIT_NAME}")
    assert vm.run(f"basename $(readlink /run/fake/sys/bus/vmbus/devices/{GUID}/driver)").out.strip() == "uio_hv_generic"
    # systemd has no say about network-pre.target unless somebody pulls it in.
    assert "network-pre.target" in vm.run(f"systemctl show -p Wants --value {_override.UNIT_NAME}").out.split()
    assert {"network-pre.target", "cloud-init-local.service"} <= set(
        vm.run(f"systemctl show -p Before --value {_override.UNIT_NAME}").out.split()
    )
    vm.run(f"systemctl disable --now {_override.UNIT_NAME}; pkill -f /run/fake/kernel.sh")
    vm.run(["rm", "-rf", "/run/fake", _override.UNIT, f"{_override.UNIT}.d", _override.SCRIPT, "/etc/accelnet"])
