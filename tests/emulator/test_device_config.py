# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The device server's configuration: what it may say, and where it says what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.device.config import ConfigError, load, parse
from lab.device.function import Function
from lab.net.responder import Responder
from lab.net.switch import Switch

MAC = "7c:1e:52:00:00:01"


def config(**changes: Any) -> dict[str, Any]:
    return {"functions": [function()], **changes}


def function(**changes: Any) -> dict[str, Any]:
    return {"socket": "vf.sock", "vports": [{"mac": MAC}], **changes}


def test_the_shortest() -> None:
    parsed = parse(config())
    ((path, options),) = parsed.functions
    assert path == Path("vf.sock")
    assert options.macs == (bytes.fromhex("7c1e52000001"),)
    assert (options.max_queues, options.msix_vectors, options.adapter_mtu) == (16, 64, 9014)
    assert (options.enforce_source_mac, options.rdma) == (True, True)
    assert [parsed.responder, parsed.join, parsed.control, parsed.log] == [None] * 4


def test_all_of_it(tmp_path: Path) -> None:
    data = {
        "functions": [
            function(max_queues=4, msix_vectors=5, adapter_mtu=1514, enforce_source_mac=False, rdma=False, hwc_timeout_ms=100),
            {"socket": "two.sock", "vports": [{"mac": "7C:1E:52:00:00:02"}, {"mac": "7c:1e:52:00:00:03"}]},
        ],
        "responder": {"mac": "7c:1e:52:ff:00:01", "ipv4": "10.77.0.1/24", "ipv6": ["fd77::1/64", "fe80::1"]},
        "join": {"local": "a", "peer": "b"},
        "control": "control.sock",
        "log": "log.jsonl",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    parsed = load(path)
    (_, one), (_, two) = parsed.functions
    assert (one.max_queues, one.msix_vectors, one.adapter_mtu, one.hwc_timeout_ms) == (4, 5, 1514, 100)
    assert (one.enforce_source_mac, one.rdma) == (False, False)
    assert two.macs == (bytes.fromhex("7c1e52000002"), bytes.fromhex("7c1e52000003"))
    assert parsed.responder is not None
    assert (parsed.responder.ipv4, parsed.responder.ipv6) == ("10.77.0.1/24", ("fd77::1/64", "fe80::1"))
    assert (parsed.join, parsed.control, parsed.log) == ((Path("a"), Path("b")), Path("control.sock"), Path("log.jsonl"))


def test_one_ipv6_address_as_text() -> None:
    parsed = parse(config(responder={"mac": "7c:1e:52:ff:00:01", "ipv6": "fd77::1"}))
    assert parsed.responder is not None and parsed.responder.ipv6 == ("fd77::1",)


RESPONDER = {"mac": "7c:1e:52:ff:00:01"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "the file: not a table"),
        ([], "the file: not a table"),
        ("x", "the file: not a table"),
        ({}, "functions: at least one is needed"),
        ({"functions": []}, "functions: at least one is needed"),
        ({"functions": None}, "functions: at least one is needed"),
        ({"functions": 5}, "functions: at least one is needed"),
        ({"functions": {"a": 1}}, "functions: at least one is needed"),
        ({"functions": "text"}, "functions: at least one is needed"),
        ({"functions": [5]}, r"functions\[0\]: not a table"),
        (config(colour="red"), "colour: unknown; known are control, functions, join, log, responder"),
        ({"functions": [function(), function(colour=1)]}, r"functions\[1\].colour: unknown; known are adapter_mtu, "),
        ({"functions": [{"vports": [{"mac": MAC}]}]}, r"functions\[0\].socket: a path is needed"),
        ({"functions": [function(socket="")]}, r"functions\[0\].socket: a path is needed"),
        ({"functions": [function(socket=7)]}, r"functions\[0\].socket: a path is needed"),
        ({"functions": [function(vports=[])]}, r"functions\[0\].vports: at least one is needed"),
        ({"functions": [function(vports=None)]}, r"functions\[0\].vports: at least one is needed"),
        ({"functions": [function(vports={"mac": MAC})]}, r"functions\[0\].vports: at least one is needed"),
        ({"functions": [function(vports=[MAC])]}, r"functions\[0\].vports\[0\]: not a table"),
        ({"functions": [function(vports=[{"mac": MAC, "x": 1}])]}, r"functions\[0\].vports\[0\].x: unknown; known are mac"),
        *[
            ({"functions": [function(vports=[{"mac": mac}])]}, r"functions\[0\].vports\[0\].mac: .* is not a MAC address")
            for mac in (None, 5, "", "7c1e52000001", "7c:1e:52:00:00", "7c:1e:52:00:00:0g", "7c:1e:52:00:00:01:02", MAC + "\n")
        ],
        ({"functions": [function(vports=[{"mac": "01:00:5e:00:00:01"}])]}, "01:00:5e:00:00:01 is a group address"),
        ({"functions": [function(vports=[{"mac": MAC}, {"mac": MAC.upper()}])]}, "a MAC address is given twice"),
        ({"functions": [function(), function(socket="b")]}, "a MAC address is given twice"),
        (config(responder={"mac": MAC}), "a MAC address is given twice"),
        ({"functions": [function(), function(vports=[{"mac": "7c:1e:52:00:00:02"}])]}, "a path is given twice"),
        (config(control="vf.sock"), "a path is given twice"),
        (config(control="a", log="a"), "a path is given twice"),
        (config(join={"local": "a", "peer": "a"}), "a path is given twice"),
        *[
            ({"functions": [function(**{name: value})]}, rf"functions\[0\].{name}: .* is not a number from ")
            for name, values in {
                "max_queues": (0, -1, 65, "4", 4.0, True, None),
                "msix_vectors": (1, 2049, [1]),
                "adapter_mtu": (81, 65532, 65536, "9000"),
                "hwc_timeout_ms": (0, 1 << 32),
            }.items()
            for value in values
        ],
        *[
            ({"functions": [function(**{name: value})]}, rf"functions\[0\].{name}: .* is not true or false")
            for name in ("rdma", "enforce_source_mac")
            for value in (0, 1, "yes", None)
        ],
        (config(responder=5), "responder: not a table"),
        (config(responder={}), "responder.mac: None is not a MAC address"),
        (config(responder={**RESPONDER, "ipv5": 1}), "responder.ipv5: unknown"),
        (config(responder={**RESPONDER, "ipv4": "10.0.0"}), "responder.ipv4: .*10.0.0"),
        (config(responder={**RESPONDER, "ipv4": "10.0.0.1/33"}), "responder.ipv4: "),
        (config(responder={**RESPONDER, "ipv4": "fd00::1"}), "responder.ipv4: "),
        (config(responder={**RESPONDER, "ipv4": 167772161}), "responder.ipv4: 167772161 is not an address"),
        (config(responder={**RESPONDER, "ipv6": "10.0.0.1"}), "responder.ipv6: "),
        (config(responder={**RESPONDER, "ipv6": ["fd00::1", 7]}), "responder.ipv6: 7 is not an address"),
        (config(responder={**RESPONDER, "ipv6": 7}), "responder.ipv6: addresses are needed"),
        (config(join=5), "join: not a table"),
        (config(join={"local": "a"}), "join.peer: a path is needed"),
        (config(join={"peer": "a"}), "join.local: a path is needed"),
        (config(join={"local": "a", "peer": "b", "c": "d"}), "join.c: unknown; known are local, peer"),
        (config(control=5), "control: a path is needed"),
        (config(log=[]), "log: a path is needed"),
    ],
)
def test_what_is_wrong_and_where(data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(data)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff", '{"functions": [}', "9" * 5000])
def test_files_that_are_no_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="config.json: "):
        load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"max_queues": 1, "msix_vectors": 2, "adapter_mtu": 82, "hwc_timeout_ms": 1},
        {"max_queues": 64, "msix_vectors": 2048, "adapter_mtu": 65531, "hwc_timeout_ms": (1 << 32) - 1},
    ],
)
def test_what_is_accepted_can_be_served(options: dict[str, int]) -> None:
    parsed = parse(config(functions=[function(**options)], responder={**RESPONDER, "ipv4": "10.0.0.1", "ipv6": []}))
    switch = Switch()
    Function(parsed.functions[0][1], switch)
    assert parsed.responder is not None
    Responder(switch, mac=parsed.responder.mac, ipv4=parsed.responder.ipv4, ipv6=parsed.responder.ipv6)


KEYS = {
    "functions",
    "socket",
    "vports",
    "mac",
    "responder",
    "ipv4",
    "ipv6",
    "join",
    "local",
    "peer",
    "control",
    "log",
    "max_queues",
    "rdma",
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just(MAC),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(KEYS)), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(data=values | values.map(lambda value: {"functions": value}) | values.map(lambda value: config(responder=value)))
def test_anything(data: Any) -> None:
    """A ConfigError or something that can be served; no other exception."""
    try:
        parsed = parse(data)
    except ConfigError:
        return
    assert parsed.functions
