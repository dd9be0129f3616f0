# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that come from a host's files, checked before anything is made of them, and MAC addresses.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Optional

# \Z, not $: that would let a line feed at the end pass.
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}\Z")
# Linux net/core/dev.c dev_valid_name(): below IFNAMSIZ, no slash, colon or white space.
_INTERFACE = re.compile(r"[^\s/:\x00]{1,15}\Z")
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\Z")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
_NETVSC_INSTANCE = re.compile(r"^f8615163-[0-9a-f]{4}-1000-2000-")


def is_release(name: str) -> bool:
    """Whether ``name`` can be a kernel release."""
    return bool(_RELEASE.match(name))


def is_interface(name: str) -> bool:
    """Whether ``name`` can be the name of a network interface."""
    return name not in (".", "..") and bool(_INTERFACE.match(name))


def is_pci_address(name: str) -> bool:
    """Whether ``name`` is ``domain:bus:device.function`` as sysfs writes it."""
    return bool(_PCI_ADDRESS.match(name))


def is_guid(name: str) -> bool:
    """Whether ``name`` is a lower-case GUID without braces."""
    return bool(_GUID.match(name))


def normal_mac(text: Optional[str]) -> Optional[str]:
    """A MAC address in lower case with colons, or None when it is none (or all zero)."""
    mac = (text or "").strip().lower().replace("-", ":")
    return mac if _MAC.match(mac) and mac != "00:00:00:00:00:00" else None


def mac_from_guid(guid: str) -> Optional[str]:
    """The MAC that Hyper-V writes into the instance GUID of a netvsc device, or None.

    Newer hosts: f8615163-<number of the NIC>-1000-2000-<mac> (microsoft/openvmm inspect_internal.rs). Older ones repeat
    the MAC from the start: 000d3a7c-dd2b-000d-3a7c-dd2b000d3a7c.
    """
    digits = guid.replace("-", "")
    if _NETVSC_INSTANCE.match(guid):
        digits = digits[20:]
    elif not (digits[:12] == digits[12:24] and digits[:8] == digits[24:]):
        return None
    return normal_mac(":".join(digits[i : i + 2] for i in range(0, 12, 2)))
