# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of checks: the example fleet, measurements, and NICs that are named."""

from __future__ import annotations

import copy
import functools
import pathlib
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.accelnet.mana.plugins.filter.verify import FilterModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS, AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils import _verify
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._verify import verify
from hypothesis import given
from hypothesis import strategies as st

SNAPSHOTS = pathlib.Path(__file__).parents[2] / "examples" / "fleet" / "snapshots"
HOSTS = [path.stem for path in sorted(SNAPSHOTS.glob("*.json")) if not path.stem.startswith("broken-")]
ELSEWHERE = "00:22:48:ff:ff:ff"
MIB = 1 << 20
UNBOUND = ("eth0", "driver", "vf_function_unbound")


@functools.lru_cache(maxsize=None)
def _read(host: str) -> dict[str, t.Any]:
    return _facts.collect(str(SNAPSHOTS / f"{host}.json"))


def facts_of(host: str) -> dict[str, t.Any]:
    return copy.deepcopy(_read(host))


def mac_of(host: str, interface: str = "eth0") -> str:
    (mac,) = [nic["mac"] for nic in _read(host)["nics"] if nic["interface"] == interface]
    assert isinstance(mac, str)
    return mac


def ends(result: dict[str, t.Any]) -> list[tuple[str, str, str]]:
    """(subject, check, reason) of every row that did not pass."""
    return [(row["interface"] or row["pci_address"], row["check"], row["reason"]) for row in result["nics"] if row["state"] != "passed"]


def measured(host: str, share: float = 1.0, count: int = 64 * MIB, **row: t.Any) -> dict[str, t.Any]:
    """What vf_check says of the first NIC of a host."""
    vf = int(count * share)
    sample = {"mac": mac_of(host), "rx_bytes": count, "tx_bytes": count, "vf_rx_bytes": vf, "vf_tx_bytes": vf}
    return {"samples": [sample] if count else [], "measurements": [{"mac": mac_of(host), "reason": None, "message": None, **row}]}


@pytest.mark.parametrize(
    ("host", "goal", "state", "waiting", "expected"),
    [
        ("deb12-web", "ethernet", "verified", False, []),
        ("rocky10-unpaired", "ethernet", "verified", False, []),
        ("rocky88-plain", "ethernet", "unknown", True, [("eth0", "function", "vf_not_offered")]),
        ("ubu2404-serviced", "ethernet", "unknown", True, [("eth0", "function", "vf_revoked")]),
        ("rocky92-vpci", "ethernet", "failed", False, [("eth0", "function", "pci_hyperv_missing")]),
        ("rhel92-idle", "ethernet", "failed", False, [UNBOUND, ("7870:00:00.0", "driver", "driver_not_loaded")]),
        ("ubu2204-probe", "ethernet", "failed", False, [UNBOUND, ("7870:00:00.0", "driver", "driver_probe_failed")]),
        ("rhel94-three", "ethernet", "failed", False, [("eth2", "interface", "vf_down")]),
        ("ubu2404-netns", "ethernet", "unknown", False, [("b2c4:00:02.0", "interface", "interface_in_other_netns")]),
        ("alma96-nm", "ethernet", "failed", False, [("eth0", "paired", "vf_not_enslaved")]),
        ("deb12-dhcp", "ethernet", "failed", False, [("eth0", "address", "vf_has_address")]),
        ("deb12-web", "rdma", "failed", False, [("eth0", "rdma", "mana_ib_missing")]),
        ("deb12-backport", "rdma", "failed", False, [("eth0", "rdma", "driver_not_loaded")]),
        ("ubu2404-hpc", "rdma", "failed", False, [("eth0", "rdma", "driver_blacklisted")]),
        ("deb13-rdma", "rdma", "verified", False, []),
        ("deb11-mlx5", "rdma", "verified", False, []),
        # Handed to user space, as the record says: what it forwards is not checked yet.
        ("deb12-dpdk", "dpdk", "verified", False, []),
        # A machine without any NIC of Azure, and an image.
        ("kvm-lab", "ethernet", "unknown", True, [(None, "function", "vf_not_offered")]),
        ("deb12-image", "ethernet", "unknown", False, []),
    ],
)  # fmt: skip
def test_each_nic_has_one_reason(host: str, goal: str, state: str, waiting: bool, expected: list[tuple[str, str, str]]) -> None:
    result = verify(facts_of(host), goal)
    assert (result["state"], result["waiting"], ends(result)) == (state, waiting, expected)


@pytest.mark.parametrize("host", HOSTS)
def test_the_chain_knows_every_verdict_and_says_what_to_do(host: str) -> None:
    """Nothing that assess has against a NIC gets lost, and nothing is added without a goal."""
    facts = facts_of(host)
    result = verify(facts)
    rows = {(row["mac"], row["pci_address"]): row for row in result["nics"]}
    for verdict in assess(facts):
        row = rows.get((verdict["mac"], verdict["pci_address"]))
        if verdict["verdict"] == "unsupported":
            assert row is None
            continue
        assert row is not None
        assert (row["state"] == "passed") == (verdict["verdict"] in ("accelerated", "userspace"))
        if row["state"] != "passed":
            assert row["reason"] in verdict["reasons"] and row["reason"] in _verify._CHECKS[row["check"]]
    for row, sentence in zip(result["nics"], result["summary"]):
        assert row["state"] == "passed" or (row["reason"] in sentence and REASONS[row["reason"]].remedy in sentence)


def test_the_first_of_several_reasons_counts() -> None:
    facts = facts_of("alma96-nm")
    (nic,) = [nic for nic in facts["nics"] if nic["interface"] == "eth0"]
    nic["vf"].update(operstate="down", addresses=["10.0.0.9/24"])
    assert ends(verify(facts)) == [("eth0", "interface", "vf_down")]


@pytest.mark.parametrize(
    ("state", "reason", "outcome"),
    [
        ({"loaded": True}, "driver_probe_failed", "failed"),
        ({"loaded": False, "state": "absent"}, "mana_ib_missing", "failed"),
        ({"loaded": False, "state": "module", "blacklisted": True}, "driver_blacklisted", "failed"),
        ({"loaded": False, "state": "module", "blacklisted": False}, "driver_not_loaded", "failed"),
        ({"loaded": None, "state": None, "blacklisted": False}, "facts_unknown", "unknown"),
    ],
)
def test_why_there_is_no_rdma_device(state: dict[str, t.Any], reason: str, outcome: str) -> None:
    facts = facts_of("deb13-rdma")
    facts["nics"][0]["rdma"] = None
    (running,) = [kernel for kernel in facts["kernels"] if kernel["running"]]
    running["modules"]["mana_ib"].update(state)
    result = verify(facts, "rdma")
    assert (result["state"], ends(result)) == (outcome, [("eth0", "rdma", reason)])
    assert result["measurable"] == []
    running["running"] = False
    assert ends(verify(facts, "rdma")) == [("eth0", "rdma", "facts_unknown")]
    assert verify(facts, "ethernet")["state"] == "verified"


def test_a_mellanox_nic_lacks_another_module() -> None:
    facts = facts_of("deb11-mlx5")
    facts["nics"][0]["rdma"] = None
    (running,) = [kernel for kernel in facts["kernels"] if kernel["running"]]
    running["modules"]["mlx5_ib"].update(loaded=False, state="absent")
    assert ends(verify(facts, "rdma")) == [("eth0", "rdma", "rdma_driver_missing")]


# --- NICs that are named


def test_only_the_nics_that_are_named_count() -> None:
    facts = facts_of("rhel94-three")
    assert verify(facts, macs=[mac_of("rhel94-three").upper()])["state"] == "verified"
    assert ends(verify(facts, macs=[mac_of("rhel94-three", "eth2")])) == [("eth2", "interface", "vf_down")]


def test_a_nic_that_does_not_show_is_waited_for() -> None:
    result = verify(facts_of("deb12-web"), macs=[mac_of("deb12-web"), ELSEWHERE])
    assert (result["state"], result["waiting"]) == ("unknown", True)
    assert [(row["mac"], row["state"], row["reason"]) for row in result["nics"]] == [
        (mac_of("deb12-web"), "passed", None),
        (ELSEWHERE, "unknown", "vf_not_offered"),
    ]


def test_unless_a_function_without_interface_tells_why() -> None:
    result = verify(facts_of("rhel92-idle"), macs=[ELSEWHERE])
    (row,) = result["nics"]
    assert (result["state"], result["waiting"]) == ("failed", False)
    assert (row["mac"], row["pci_address"], row["check"], row["reason"]) == (ELSEWHERE, "7870:00:00.0", "driver", "driver_not_loaded")


def test_an_interface_that_is_down_matters_to_who_names_it() -> None:
    facts = facts_of("deb12-web")
    facts["nics"][0]["synthetic"]["operstate"] = facts["nics"][0]["vf"]["operstate"] = "down"
    assert verify(facts)["state"] == "unknown"
    assert verify(facts, macs=[mac_of("deb12-web")])["state"] == "failed"


def test_other_hardware_counts_only_when_it_is_named() -> None:
    facts = facts_of("kvm-lab")
    macs = [nic["mac"] for nic in facts["nics"] if nic["kind"] == "other"]
    assert {row["reason"] for row in verify(facts, macs=macs)["nics"]} == {"unsupported_nic"}


def test_an_address_that_nobody_could_ask_for_is_unknown() -> None:
    facts = facts_of("deb12-web")
    facts["nics"][0]["vf"]["addresses"] = None
    assert (verify(facts)["state"], ends(verify(facts))) == ("unknown", [("eth0", "address", "facts_unknown")])


# --- traffic


@pytest.mark.parametrize(
    ("found", "state", "expected"),
    [
        (measured("deb12-web"), "verified", []),
        (measured("deb12-web", share=0.94), "failed", [("eth0", "traffic", "traffic_on_synthetic")]),
        (measured("deb12-web", count=MIB), "unknown", [("eth0", "traffic", "traffic_not_proven")]),
        (
            measured("deb12-web", count=0, reason="peer_unreachable", message="refused"),
            "unknown",
            [("eth0", "traffic", "peer_unreachable")],
        ),
        (measured("deb12-web", count=0, reason="counters_unusable"), "unknown", [("eth0", "traffic", "counters_unusable")]),
        # It broke off, but enough had passed.
        (measured("deb12-web", reason="peer_unreachable"), "verified", []),
        # It was not measured, although others were.
        ({"samples": [], "measurements": [{"mac": ELSEWHERE}]}, "unknown", [("eth0", "traffic", "traffic_not_proven")]),
        # Check mode measures nothing.
        ({"samples": [], "measurements": []}, "verified", []),
    ],
)
def test_what_was_measured_is_the_end_of_the_chain(found: dict[str, t.Any], state: str, expected: list[tuple[str, str, str]]) -> None:
    result = verify(facts_of("deb12-web"), measured=found)
    assert (result["state"], ends(result)) == (state, expected)
    assert result["samples"] == found["samples"]
    assert result["waiting"] is False
    assert result["nics"][0]["proven"] is {"verified": True if found["samples"] else None, "failed": False}.get(state)


def test_a_message_of_the_measurement_is_handed_on() -> None:
    result = verify(facts_of("deb12-web"), measured=measured("deb12-web", count=0, reason="peer_unreachable", message="no route"))
    assert "no route" in result["summary"][0]


def test_state_comes_before_traffic() -> None:
    assert ends(verify(facts_of("deb12-dhcp"), measured=measured("deb12-dhcp", share=0.1))) == [("eth0", "address", "vf_has_address")]


def test_bad_traffic_does_not_take_a_nic_from_the_measurable_ones_of_the_state() -> None:
    assert verify(facts_of("deb12-web"))["measurable"] == [mac_of("deb12-web")]
    assert verify(facts_of("rhel94-three"))["measurable"] == [mac_of("rhel94-three"), mac_of("rhel94-three", "eth1")]
    assert verify(facts_of("deb12-dhcp"))["measurable"] == []
    # The NIC of user space is no NIC of the kernel's.
    assert verify(facts_of("deb12-dpdk"), "dpdk")["measurable"] == [mac_of("deb12-dpdk")]


# --- input


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"facts": None}, "bad_facts"),
        ({"facts": {"schema_version": 1}}, "bad_facts"),
        ({"goal": "fast"}, "bad_goal"),
        ({"macs": "eth0"}, "bad_mac"),
        ({"macs": ["eth0"]}, "bad_mac"),
        ({"policy": {"speed": 1}}, "bad_policy"),
        ({"measured": [1]}, "bad_facts"),
        ({"measured": {"measurements": "x"}}, "bad_facts"),
        ({"measured": {"measurements": [1]}}, "bad_facts"),
        ({"measured": {"measurements": [{}], "samples": [{}]}}, "bad_facts"),
    ],
)
def test_what_is_wrong_with_the_input_is_said(arguments: dict[str, t.Any], reason: str) -> None:
    arguments = {"facts": facts_of("deb12-web"), **arguments}
    with pytest.raises(AccelnetError) as error:
        verify(**arguments)
    assert error.value.reason == reason
    with pytest.raises(AnsibleFilterError, match=reason):
        FilterModule().filters()["verify"](**arguments)


@given(st.sampled_from(HOSTS), st.sampled_from(["ethernet", "rdma", "dpdk"]), st.floats(0, 1), st.integers(0, 200 * MIB))
def test_nothing_is_verified_that_is_not_shown(host: str, goal: str, share: float, count: int) -> None:
    facts = facts_of(host)
    macs = [nic["mac"] for nic in facts["nics"] or []]
    part = int(count * share)
    samples = [{"mac": mac, "rx_bytes": count, "tx_bytes": count, "vf_rx_bytes": part, "vf_tx_bytes": part} for mac in macs]
    without = verify(facts, goal)
    result = verify(facts, goal, measured={"samples": samples, "measurements": [{"mac": mac} for mac in macs]})
    assert result["waiting"] == without["waiting"]
    assert (result["state"] == "verified") <= (without["state"] == "verified")
    if result["state"] == "verified":
        assert all(row["proven"] for row in result["nics"] if row["mac"] in result["measurable"])
    if without["state"] == "failed":
        assert result["state"] == "failed"


DPDK_MAC = "60:45:bd:fd:d8:eb"  # of the host deb12-dpdk, in user space


def test_packets_of_testpmd_prove_a_nic_in_user_space() -> None:
    facts, policy = facts_of("deb12-dpdk"), {"nics": [DPDK_MAC]}
    look = verify(facts, "dpdk", [DPDK_MAC], policy=policy)
    assert (look["state"], look["forwardable"], look["nics"][0]["proven"]) == ("verified", [DPDK_MAC], None)
    forwarded = {"ports": [{"mac": DPDK_MAC, "tx_packets": 7, "rx_packets": 0}], "failed": True, "reason": "testpmd_timeout"}
    (row,) = verify(facts, "dpdk", [DPDK_MAC], policy=policy, forwarded=forwarded)["nics"]
    assert (row["state"], row["proven"]) == ("passed", True)


@pytest.mark.parametrize(
    ("forwarded", "reason"),
    [
        ({"ports": [{"mac": DPDK_MAC, "tx_packets": 0, "rx_packets": 0}]}, "testpmd_failed"),
        ({"ports": [{"mac": ELSEWHERE, "tx_packets": 7, "rx_packets": 7}]}, "testpmd_failed"),
        ({"ports": [], "failed": True, "reason": "vf_up", "msg": "it is up"}, "vf_up"),
        ({"failed": True, "msg": "no such module"}, "testpmd_failed"),
    ],
)
def test_a_nic_in_user_space_that_forwards_nothing_fails(forwarded: dict[str, t.Any], reason: str) -> None:
    result = verify(facts_of("deb12-dpdk"), "dpdk", [DPDK_MAC], policy={"nics": [DPDK_MAC]}, forwarded=forwarded)
    assert (result["state"], ends(result)[0][1:]) == ("failed", ("forwarding", reason))


def test_what_testpmd_did_is_nothing_to_nics_of_the_kernel() -> None:
    facts = facts_of("deb12-dpdk")
    forwarded = {"ports": [], "failed": True}
    kernels = verify(facts)["measurable"]
    assert kernels != []
    assert all(row["state"] == "passed" for row in verify(facts, macs=kernels, forwarded=forwarded)["nics"])


@pytest.mark.parametrize(("by_vf", "proven"), [(0, False), (50, False), (100, True)])
def test_packets_of_the_synthetic_half_prove_nothing(by_vf: int, proven: bool) -> None:
    port = {"mac": DPDK_MAC, "driver": "net_netvsc", "tx_packets": 100, "rx_packets": 0, "vf": {"vf_tx_good_packets": by_vf}}
    result = verify(facts_of("deb12-dpdk"), "dpdk", [DPDK_MAC], policy={"nics": [DPDK_MAC]}, forwarded={"ports": [port]})
    (row,) = result["nics"]
    assert (row["proven"], row["reason"]) == ((True, None) if proven else (False, "traffic_on_synthetic"))


def test_a_nic_without_its_virtual_function_is_not_sent_on() -> None:
    facts = facts_of("deb12-dpdk")
    (nic,) = [nic for nic in facts["nics"] if nic["mac"] == DPDK_MAC]
    nic["vf"] = None
    assert verify(facts, "dpdk", [DPDK_MAC], policy={"nics": [DPDK_MAC]})["forwardable"] == []
