# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pseudonyms for what identifies a host or its owner, in every form in which it occurs in a snapshot.

MAC addresses (also without colons, inside the GUIDs of VMBus devices and in EUI-64 addresses), IP addresses, UUIDs,
host names and names that people gave to interfaces. A pseudonym is an HMAC under a key that is thrown away: equal
originals stay equal within a snapshot, and nobody, we included, can go back.
Private to this collection. Python 3.6, standard library.
"""

import hashlib
import hmac
import ipaddress
import json
import os
import re
from typing import Any, Callable, Dict, Iterable, List, Set, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._names import mac_from_guid, normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import NETVSC_CLASS, VPCI_CLASS

_MAC = re.compile(r"(?<![0-9A-Fa-f:])(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}(?![0-9A-Fa-f:])")
_GUID = re.compile(r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Fa-f])")
# Of the platform, the same everywhere: device classes and the UEFI global variable namespace.
_KNOWN_GUIDS = (NETVSC_CLASS, VPCI_CLASS, "8be4df61-93ca-11d2-aa0d-00e098032b8c")
_KNOWN_MACS = ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
# Names that the kernel or udev give by themselves say nothing about their owner.
_USUAL_NAME = re.compile(
    r"^(?:lo|(?:eth|bond|br|team|dummy|veth|ib|wlan|ens|eno|enp|usb|ifb|virbr|docker|cni|vlan|vnet|tun|tap)[\da-f.]*"
    r"|en[A-Za-z]?\w*|eth\d+n(?:sb|by)y?|veth[0-9a-f]+|docker0|bonding_masters|azv[0-9a-f]+|lxc[0-9a-f]+|cali[0-9a-f]+)(?:\.\d+)?$"
)

Pairs = List[Tuple[str, str]]


class Pseudonyms:
    """The pseudonyms of one snapshot. ``key`` is given by tests only."""

    def __init__(self, key: bytes = b"") -> None:
        self._key = key or os.urandom(32)

    def _digest(self, kind: str, original: str) -> str:
        return hmac.new(self._key, "{0}:{1}".format(kind, original).encode(), hashlib.sha256).hexdigest()

    def mac(self, original: str) -> str:
        """The vendor's half stays: it tells Azure's NICs from others, and no host from another."""
        digest = self._digest("mac", original.lower())
        return original.lower()[:9] + ":".join(digest[i : i + 2] for i in (0, 2, 4))

    def guid(self, original: str) -> str:
        guid = original.lower()
        mac = mac_from_guid(guid)
        if mac:
            plain, new = mac.replace(":", ""), self.mac(mac).replace(":", "")
            digits = guid.replace("-", "").replace(plain, new)
            if digits[24:] == plain[:8]:  # the older form ends with the MAC's first half
                digits = digits[:24] + new[:8]
        else:
            digits = self._digest("guid", guid)[:32]
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def address(self, original: str) -> str:
        """Of the ranges for documentation and benchmarks (RFC 2544, RFC 3849); link-local stays so."""
        ip = ipaddress.ip_address(original)
        if ip.is_loopback or ip.is_unspecified:
            return original
        digest = int(self._digest("address", str(ip))[:16], 16)
        if ip.version == 4:
            return str(ipaddress.IPv4Address((198 << 24) + (18 << 16) + digest % (1 << 17)))
        start = 0xFE80 << 112 if ip.is_link_local else 0x20010DB8 << 96
        return str(ipaddress.IPv6Address(start + digest))

    def name(self, original: str) -> str:
        return "x" + self._digest("name", original)[:8]


def _mac_forms(mac: str) -> List[str]:
    """The ways in which a MAC address can be written, and its modified EUI-64 form (RFC 4291, appendix A)."""
    plain = mac.replace(":", "")
    flipped = "{0:02x}".format(int(plain[:2], 16) ^ 2) + plain[2:6] + "fffe" + plain[6:]
    quads = [flipped[i : i + 4] for i in range(0, 16, 4)]
    return [mac, mac.replace(":", "-"), plain, plain[:6] + "fffe" + plain[6:], flipped, ":".join(quads)]


def _case_forms(pairs: Iterable[Tuple[str, str]]) -> Pairs:
    return [form for old, new in pairs for form in ((old, new), (old.upper(), new.upper()))]


def find_originals(snapshot: Dict[str, Any], host_names: Iterable[str]) -> Dict[str, Set[str]]:
    """What is to be replaced, by kind: mac, guid, address, name."""
    text = json.dumps([snapshot["files"], snapshot["answers"]])
    guids = {guid for guid in _GUID.findall(text) if guid.lower() not in _KNOWN_GUIDS}
    macs = {mac.lower() for mac in _MAC.findall(text)} | {mac for mac in map(mac_from_guid, (g.lower() for g in guids)) if mac}
    netlink = snapshot["answers"].get("netlink") or {}
    addresses = {address.split("/")[0] for entries in (netlink.get("addresses") or {}).values() for address in entries}
    names = {name for name in host_names if len(name) > 2 and name != "localhost"}
    interfaces = {path.split("/")[4] for path in snapshot["files"] if re.match(r"^/sys/class/net/[^/]+$", path)}
    interfaces |= set(netlink.get("addresses") or {})
    names |= {name for name in interfaces if not _USUAL_NAME.match(name)}
    return {"mac": {mac for mac in macs if normal_mac(mac) and mac not in _KNOWN_MACS}, "guid": guids, "address": addresses, "name": names}


def _replacements(originals: Dict[str, Set[str]], pseudonyms: Pseudonyms) -> Pairs:
    pairs = _case_forms((guid, pseudonyms.guid(guid)) for guid in originals["guid"])
    for mac in originals["mac"]:
        pairs += _case_forms(zip(_mac_forms(mac), _mac_forms(pseudonyms.mac(mac))))
    pairs += [(address, pseudonyms.address(address)) for address in originals["address"]]
    pairs += [(name, pseudonyms.name(name)) for name in originals["name"]]
    # The longest first, so that no original is replaced in the middle of another.
    return sorted(set(pairs), key=lambda pair: (-len(pair[0]), pair[0]))


def _replacer(pairs: Pairs) -> Callable[[str], str]:
    table = dict(reversed(pairs))
    if not table:
        return lambda text: text
    # A name or address must not be found inside a longer one (10.0.0.4 in 10.0.0.40); hexadecimal forms may be.
    hexadecimal = re.compile(r"^[0-9A-Fa-f:-]{12,}$")
    pattern = re.compile(
        "|".join(
            re.escape(old) if hexadecimal.match(old) else r"(?<![A-Za-z0-9.]){0}(?![A-Za-z0-9])".format(re.escape(old))
            for old, _new in pairs
        )
    )
    return lambda text: pattern.sub(lambda found: table[found.group(0)], text)


def pseudonymise(snapshot: Dict[str, Any], host_names: Iterable[str], pseudonyms: Pseudonyms) -> Dict[str, Any]:
    """The snapshot with every original replaced, in keys and values alike."""
    replace = _replacer(_replacements(find_originals(snapshot, host_names), pseudonyms))

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return replace(value)
        if isinstance(value, list):
            return [walk(entry) for entry in value]
        if isinstance(value, dict):
            return {replace(key): walk(entry) for key, entry in value.items()}
        return value

    return {**snapshot, "files": walk(snapshot["files"]), "answers": walk(snapshot["answers"])}
