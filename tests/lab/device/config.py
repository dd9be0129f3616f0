# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device server is to serve: read from a JSON file, checked before anything is opened.

    {"functions": [{"socket": "vf0.sock", "vports": [{"mac": "7c:1e:52:00:00:01"}], "max_queues": 4}],
     "responder": {"mac": "7c:1e:52:ff:00:01", "ipv4": "10.77.0.1/24", "ipv6": ["fd77::1/64"]},
     "join": {"local": "wire-a.sock", "peer": "wire-b.sock"},
     "control": "control.sock", "log": "device.jsonl"}

All keys but functions may be left out. All functions and the responder are on one wire; join adds that of another server.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .function import FunctionConfig

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# Least and largest numbers: Linux' MANA_MAX_NUM_QUEUES; its two vectors at least, the 2048 of MSI-X at most; an MTU of 68, a VLAN tag
# less than the 16-bit length of a receive completion; 32 bits of milliseconds.
_RANGES = {"max_queues": (1, 64), "msix_vectors": (2, 2048), "adapter_mtu": (82, 0xFFFF - 4), "hwc_timeout_ms": (1, 0xFFFFFFFF)}


class ConfigError(ValueError):
    """The file does not say what to serve; the message says where."""


@dataclasses.dataclass(frozen=True)
class ResponderConfig:
    mac: bytes
    ipv4: str | None
    ipv6: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    functions: tuple[tuple[Path, FunctionConfig], ...]
    """Socket and description of each function."""
    responder: ResponderConfig | None
    join: tuple[Path, Path] | None
    """Own and the other server's socket of the link between two wires."""
    control: Path | None
    log: Path | None


def load(path: Path) -> ServerConfig:
    """:raises ConfigError: the file is not what it should be"""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(data: Any) -> ServerConfig:
    """:raises ConfigError: data is not what it should be"""
    top = _table(data, "", {"functions", "responder", "join", "control", "log"})
    entries = top.get("functions")
    if not isinstance(entries, list) or not entries:
        raise ConfigError("functions: at least one is needed")
    functions = tuple(_function(entry, f"functions[{index}]") for index, entry in enumerate(entries))
    macs = [mac for _, function in functions for mac in function.macs]
    responder = None if top.get("responder") is None else _responder(top["responder"])
    if responder is not None:
        macs.append(responder.mac)
    if len(set(macs)) != len(macs):
        raise ConfigError("a MAC address is given twice")
    join = None
    if top.get("join") is not None:
        entry = _table(top["join"], "join", {"local", "peer"})
        join = _path(entry, "local", "join"), _path(entry, "peer", "join")
    control = None if top.get("control") is None else _path(top, "control", "")
    log = None if top.get("log") is None else _path(top, "log", "")
    paths = [path for path in (*(socket for socket, _ in functions), *(join or ()), control, log) if path is not None]
    if len(set(paths)) != len(paths):
        raise ConfigError("a path is given twice")
    return ServerConfig(functions, responder, join, control, log)


def _function(data: Any, where: str) -> tuple[Path, FunctionConfig]:
    options = {field.name for field in dataclasses.fields(FunctionConfig)} - {"macs"}
    entry = _table(data, where, {"socket", "vports"} | options)
    vports = entry.get("vports")
    if not isinstance(vports, list) or not vports:
        raise ConfigError(f"{where}.vports: at least one is needed")
    macs = tuple(
        _mac(_table(vport, f"{where}.vports[{n}]", {"mac"}).get("mac"), f"{where}.vports[{n}].mac") for n, vport in enumerate(vports)
    )
    given = {name: entry[name] for name in options if name in entry}
    for name, value in given.items():
        low, high = _RANGES.get(name, (0, 0))
        if name in _RANGES and not (type(value) is int and low <= value <= high):
            raise ConfigError(f"{where}.{name}: {value!r} is not a number from {low} to {high}")
        if name not in _RANGES and type(value) is not bool:
            raise ConfigError(f"{where}.{name}: {value!r} is not true or false")
    return _path(entry, "socket", where), FunctionConfig(macs=macs, **given)


def _responder(data: Any) -> ResponderConfig:
    entry = _table(data, "responder", {"mac", "ipv4", "ipv6"})
    ipv4, addresses = entry.get("ipv4"), entry.get("ipv6")
    if isinstance(addresses, str):
        addresses = [addresses]
    if addresses is not None and not isinstance(addresses, list):
        raise ConfigError("responder.ipv6: addresses are needed")
    if ipv4 is not None:
        _address(ipv4, ipaddress.IPv4Interface, "responder.ipv4")
    for address in addresses or ():
        _address(address, ipaddress.IPv6Interface, "responder.ipv6")
    return ResponderConfig(_mac(entry.get("mac"), "responder.mac"), ipv4, None if addresses is None else tuple(addresses))


def _address(value: Any, kind: Callable[[str], object], where: str) -> None:
    """:raises ConfigError: not the text of such an address"""
    if not isinstance(value, str):
        raise ConfigError(f"{where}: {value!r} is not an address")
    try:
        kind(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _table(data: Any, where: str, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where or 'the file'}: not a table")
    unknown = set(data) - allowed
    if unknown:
        raise ConfigError(f"{where + '.' if where else ''}{sorted(unknown)[0]}: unknown; known are {', '.join(sorted(allowed))}")
    return data


def _mac(text: Any, where: str) -> bytes:
    if not isinstance(text, str) or not _MAC.fullmatch(text.lower()):
        raise ConfigError(f"{where}: {text!r} is not a MAC address")
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1:
        raise ConfigError(f"{where}: {text} is a group address")
    return mac


def _path(entry: dict[str, Any], key: str, where: str) -> Path:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where + '.' if where else ''}{key}: a path is needed")
    return Path(value)
