# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NICs may be given to user space: who uses them is read (_uses) and judged (filter dpdk_ports)."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _uses
from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._ports import decide_ports
from hypothesis import given
from hypothesis import strategies as st

SSH, DATA, THIRD = "7c:1e:52:00:00:01", "7c:1e:52:00:00:02", "7c:1e:52:00:00:03"
PLATFORM = {"168.63.129.16": ["eth0"], "169.254.169.254": ["eth0"]}


def nic(number: int, mac: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "interface": f"eth{number}",
        "mac": mac,
        "kind": "mana",
        "use": "kernel",
        "handed_over": False,
        "paired": True,
        "synthetic": {
            "interface": f"eth{number}",
            "driver": "hv_netvsc",
            "vmbus_device": f"f8615163-000{number}-1000-2000-7c1e5200000{number}",
        },
        "vf": {"interface": f"enP1s{number}", "pci_address": "7870:00:00.0", "operstate": "up"},
        "rdma": {"device": "mana_0", "port": number + 1},
        "default_route": number == 0,
    }
    return {**found, **more}


def interface(
    name: str, physical: bool = False, lowers: tuple[str, ...] = (), addresses: tuple[str, ...] = (), master: str | None = None
) -> dict[str, Any]:
    return {"interface": name, "mac": None, "physical": physical, "lowers": list(lowers), "addresses": list(addresses), "master": master}


FACTS: dict[str, Any] = {"schema_version": 1, "vmbus_devices": [], "nics": [nic(0, SSH), nic(1, DATA), nic(2, THIRD)], "kernels": []}
USERS: dict[str, Any] = {
    "interfaces": [
        interface("lo", addresses=("127.0.0.1", "::1")),
        *(interface(f"eth{number}", True, (f"enP1s{number}",), (f"10.0.{number}.4",)) for number in range(3)),
        *(interface(f"enP1s{number}", True, master=f"eth{number}") for number in range(3)),
    ],
    "ssh_addresses": ["10.0.0.4"],
    "platform_routes": PLATFORM,
    "default_routes": ["eth0"],
}


def users(*extra: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """USERS with further interfaces and other answers."""
    found = {**copy.deepcopy(USERS), **changes}
    found["interfaces"] = [row for row in found["interfaces"] if row["interface"] not in [one["interface"] for one in extra]] + list(extra)
    return found


def reasons(macs: list[str], who: dict[str, Any] | None, **options: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in decide_ports(FACTS, who, macs, **options)["refused"]:
        found.setdefault(row["mac"], set()).add(row["reason"])
    return found


def test_a_nic_that_nobody_needs_is_a_port() -> None:
    decision = decide_ports(FACTS, USERS, [DATA.upper().replace(":", "-")])
    assert decision["refused"] == []
    assert decision["ports"] == [
        {
            "mac": DATA,
            "mode": "netvsc",
            "kind": "mana",
            "interfaces": ["eth1", "enP1s1"],
            "vmbus_device": "f8615163-0001-1000-2000-7c1e52000001",
            "pci_address": "7870:00:00.0",
        }
    ]


def test_the_nic_of_everything_is_refused_for_every_reason() -> None:
    assert reasons([SSH, DATA], USERS) == {SSH: {"nic_carries_connection", "nic_carries_platform", "nic_protected"}}


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param((interface("bond0", lowers=("eth1", "eth2"), addresses=("10.0.9.4",)),), id="bond"),
        pytest.param((interface("eth1.5", lowers=("eth1",), addresses=("10.0.9.4",)),), id="vlan"),
        pytest.param((interface("br0", lowers=("eth1",), addresses=("10.0.9.4",)),), id="bridge"),
        pytest.param(
            (
                interface("bond0", lowers=("eth1",)),
                interface("bond0.7", lowers=("bond0",)),
                interface("br0", lowers=("bond0.7",), addresses=("10.0.9.4",)),
            ),
            id="all of them",
        ),
        pytest.param((interface("enP1s1", True, addresses=("10.0.9.4",)),), id="on the virtual function"),
    ],
)
def test_connections_are_followed_to_the_nic(extra: tuple[dict[str, Any], ...]) -> None:
    assert reasons([DATA], users(*extra, ssh_addresses=["10.0.9.4"])) == {DATA: {"nic_carries_connection"}}
    assert reasons([DATA], users(*extra, default_routes=[extra[-1]["interface"]])) == {DATA: {"nic_protected"}}
    assert reasons([DATA], users(*extra, platform_routes={"169.254.169.254": [extra[-1]["interface"]]})) == {DATA: {"nic_carries_platform"}}


@pytest.mark.parametrize(
    "who",
    [
        pytest.param(None, id="nobody looked"),
        pytest.param(users(ssh_addresses=None), id="connections are hidden from us"),
        pytest.param(users(ssh_addresses=[]), id="ours was not found"),
        pytest.param(users(ssh_addresses=["127.0.0.1"]), id="ours comes out of a tunnel"),
        pytest.param(users(ssh_addresses=["10.9.9.9"]), id="no interface has the address"),
        pytest.param(users(interface("wg0", addresses=("10.9.9.9",)), ssh_addresses=["10.9.9.9"]), id="over a VPN"),
        pytest.param(users(default_routes=None), id="no routes"),
        pytest.param(users(platform_routes={"168.63.129.16": None}), id="no answer about the platform"),
        pytest.param(users(interface("eth1", True, ("enP1s1",), master="ovs-system")), id="in an Open vSwitch"),
    ],
)
def test_what_is_not_known_is_refused_unless_allowed(who: dict[str, Any] | None) -> None:
    assert reasons([DATA], who) == {DATA: {"nic_protected"}}
    assert decide_ports(FACTS, who, [DATA], allow=[DATA])["refused"] == []
    assert reasons([DATA], who, allow=[THIRD]) == {DATA: {"nic_protected"}}


def test_a_local_connection_needs_no_address() -> None:
    assert reasons([DATA], users(ssh_addresses=[]), connection="local") == {}


def test_what_user_space_has_already_stays_a_port() -> None:
    taken = nic(1, DATA, use="userspace", handed_over=True, interface=None)
    decision = decide_ports({**FACTS, "nics": [nic(0, SSH), taken]}, None, [DATA])
    assert [port["mac"] for port in decision["ports"]] == [DATA]
    # Bound by somebody else: without an interface it carries nothing.
    taken = nic(1, DATA, use="userspace", interface=None, vf=None, kind="synthetic", default_route=None)
    taken["synthetic"].update(interface=None, driver="uio_hv_generic")
    assert decide_ports({**FACTS, "nics": [nic(0, SSH), taken]}, users(ssh_addresses=None), [DATA])["refused"] == []


def test_without_a_synthetic_half_the_mode_is_mana() -> None:
    facts = {**FACTS, "nics": [nic(0, SSH), nic(1, DATA, synthetic=None, interface="enP1s1")]}
    (port,) = decide_ports(facts, USERS, [DATA])["ports"]
    assert (port["mode"], port["interfaces"]) == ("mana", ["enP1s1"])


def test_a_nic_that_dpdk_cannot_drive_is_unsupported_whatever_is_allowed() -> None:
    facts = {**FACTS, "nics": [nic(1, DATA, kind="other", vf=None)]}
    assert [row["reason"] for row in decide_ports(facts, USERS, [DATA], allow=[DATA])["refused"]] == ["unsupported_nic"]


@pytest.mark.parametrize(
    "macs, mode, reason", [(["7c:1e:52:00:00:09"], "mana", "bad_mac"), (["x"], "mana", "bad_mac"), ([DATA], "vfio", "bad_policy")]
)
def test_bad_input_has_a_reason(macs: list[str], mode: str, reason: str) -> None:
    with pytest.raises(AccelnetError) as error:
        decide_ports(FACTS, USERS, macs, mode)
    assert error.value.reason == reason


def test_verbs_modules_are_those_that_the_kernel_has() -> None:
    states = {"mana_ib": "module", "mlx5_ib": "module", "mlx4_ib": "absent", "ib_uverbs": "builtin"}
    modules = {name: {"state": state, "blacklisted": name == "mlx5_ib"} for name, state in states.items()}
    facts = {**FACTS, "kernels": [{"release": "6.12", "running": True, "modules": modules}]}
    assert decide_ports(facts, USERS, [])["modules"] == ["mana_ib"]


NAMES = [f"eth{number}" for number in range(3)] + [f"x{number}" for number in range(5)]


@given(
    stacks=st.lists(st.tuples(st.sampled_from(NAMES[3:]), st.lists(st.sampled_from(NAMES), max_size=3)), max_size=8),
    holder=st.sampled_from(NAMES),
    asked=st.sampled_from([DATA, THIRD]),
)
def test_no_stack_of_interfaces_lets_the_connection_be_cut(stacks: list[tuple[str, list[str]]], holder: str, asked: str) -> None:
    """Whatever is stacked upon what, loops too: a NIC below the holder of our address is refused."""
    lowers: dict[str, list[str]] = {name: [] for name in NAMES[3:]}
    for name, below in stacks:
        lowers.setdefault(name, []).extend(below)
    addresses = {holder: ("10.0.9.4",)}
    rows = [interface(name, lowers=tuple(below), addresses=addresses.get(name, ())) for name, below in lowers.items()]
    if holder not in lowers:
        rows.append(interface(holder, holder in NAMES[:3], addresses=("10.0.9.4",)))
    below, todo = set(), [holder]
    while todo:
        name = todo.pop()
        if name not in below:
            below.add(name)
            todo += lowers.get(name, [])
    mine = {DATA: "eth1", THIRD: "eth2"}[asked]
    refused = reasons([asked], users(*rows, ssh_addresses=["10.0.9.4"], default_routes=[], platform_routes={}))
    assert bool(refused) == (mine in below or not below & set(NAMES[:3]))


# --- reading

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0400000A:0016 0200000A:C350 01 00000000:00000000 02:000A0000 00000000     0        0 4711 4 0000000000000000 20 4 30 10 -1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                  st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000500000A:0016 0000000000000000FFFF00000200000A:C350 01 00000000:00000000 02:0 0 0 0 4714 4 0 20 4 30 10 -1
   1: B80D0120000000000000000001000000:0016 B80D0120000000000000000002000000:C350 01 00000000:00000000 02:0 0 0 0 4715 4 0 20 4 30 10 -1
"""
little = pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")


@little
def test_addresses_of_proc() -> None:
    assert _uses.parse_tcp(TCP) == {"4711": "10.0.0.4", "4713": "127.0.0.1"}
    assert _uses.parse_tcp(TCP6) == {"4714": "10.0.0.5", "4715": "2001:db8::1"}
    assert _uses.parse_tcp("x\n 0: zz:0016 00:00 01 a b c d e 1\n") == {}


def process(proc: Path, pid: int, comm: str, inodes: tuple[int, ...] = (), parent: int = 1, environment: str = "") -> None:
    directory = proc / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "comm").write_text(comm + "\n")
    (directory / "status").write_text(f"Name:\t{comm}\nPPid:\t{parent}\n")
    (directory / "environ").write_text(environment)
    for number, inode in enumerate(inodes):
        (directory / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


@little
def test_connections_of_ssh_servers_and_ours_through_sudo(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp").write_text(TCP)
    (tmp_path / "net/tcp6").write_text(TCP6)
    process(tmp_path, 10, "sshd-session", (4715,))
    process(tmp_path, 20, "nginx", (4713,))
    process(tmp_path, 30, "sh", parent=10, environment="SSH_CONNECTION=10.0.0.2 50000 10.0.0.4 22\0")
    process(tmp_path, 31, "sudo", parent=30)
    process(tmp_path, 32, "python3", parent=31)
    assert _uses.ssh_addresses(str(tmp_path), 32) == ["10.0.0.4", "2001:db8::1"]
    assert _uses.ssh_addresses(str(tmp_path), 20) == ["2001:db8::1"]


def test_without_the_tables_connections_are_unknown(tmp_path: Path) -> None:
    assert _uses.ssh_addresses(str(tmp_path), 1) is None


def test_interfaces_are_read_with_what_they_are_stacked_upon(make_tree: Any) -> None:
    tree = make_tree(
        {
            "/sys/class/net/eth1/address": DATA + "\n",
            "/sys/class/net/eth1/device": trees.link("../../../x"),
            "/sys/class/net/eth1/upper_bond0": trees.link("../bond0"),
            "/sys/class/net/eth1/master": trees.link("../bond0"),
            "/sys/class/net/bond0/lower_eth1": trees.link("../eth1"),
            "/sys/class/net/bonding_masters": "bond0\n",
        }
    )
    answers = RecordedAnswers({"netlink": {"addresses": {"bond0": ["10.0.0.4/24"]}, "default_routes": ["bond0"]}})
    found = _uses.read_users(tree, answers)
    assert found["interfaces"] == [
        {"interface": "bond0", "mac": None, "physical": False, "master": None, "lowers": ["eth1"], "addresses": ["10.0.0.4"]},
        {"interface": "eth1", "mac": DATA, "physical": True, "master": "bond0", "lowers": [], "addresses": []},
    ]
    assert (found["ssh_addresses"], found["default_routes"]) == (None, ["bond0"])


def test_the_module_nic_users_info_on_this_machine() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SSH_CONNECTION": "192.0.2.2 50000 192.0.2.1 22"}
    name = "ansible_collections.accelnet.mana.plugins.modules.nic_users_info"
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": {}})
    done = subprocess.run([sys.executable, "-m", name], input=stdin, env=environment, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["ssh_addresses"] is None or "192.0.2.1" in answer["ssh_addresses"]
    names = {row["interface"] for row in answer["interfaces"]}
    assert {name for _index, name in socket.if_nameindex()} >= names >= {"lo"}
    routes = answer["platform_routes"]
    assert set(routes) == set(PLATFORM)
    assert all(names >= set(routes[key] or []) for key in routes)
