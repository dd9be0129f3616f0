# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that come from a host's files."""

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _names

GUID = "f8615163-0000-1000-2000-00224871c28c"


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            _names.is_release,
            ["6.1.0-50-cloud-amd64", "5.14.0-503.el9.x86_64", "6.6.51.1-5.azl3", "5.15.0-1064-azure+", "6.12~rc1", "a" * 128],
            ["", ".", "..", "-x", "a/b", "a b", "6.1\n", "a" * 129, "$(reboot)", "6.1;x", "\u00fc"],
        ),
        (
            _names.is_interface,
            ["eth0", "enP30832s1", "a" * 15, "eth0.100", "br-lan", "a'b<c>", "\u00fc"],
            ["", ".", "..", "a" * 16, "a/b", "a:b", "a b", "eth0\n", "a\x00"],
        ),
        (
            _names.is_pci_address,
            ["7870:00:00.0", "0000:00:1f.6", "10000:00:02.0"],
            ["", "00:1f.6", "0000:00:1f.8", "0000:00:1F.6", "0000:00:1f.6\n", "7870:00:00.0/x"],
        ),
        (
            _names.is_guid,
            [GUID],
            ["", GUID.upper(), "{" + GUID + "}", GUID + "\n", GUID[:-1], GUID.replace("-", "")],
        ),
    ],
)
def test_patterns(check, good, bad):
    assert [name for name in good if not check(name)] == []
    assert [name for name in bad if check(name)] == []


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("00:22:48:71:c2:8c", "00:22:48:71:c2:8c"),
        ("00-22-48-71-C2-8C\n", "00:22:48:71:c2:8c"),
        ("00:00:00:00:00:00", None),
        ("00:22:48:71:c2", None),
        ("00:22:48:71:c2:8c:00:00", None),
        ("00:22:48:71:c2:8g", None),
        ("", None),
        (None, None),
    ],
)
def test_mac_addresses(text, mac):
    assert _names.normal_mac(text) == mac


@pytest.mark.parametrize(
    ("guid", "mac"),
    [
        (GUID, "00:22:48:71:c2:8c"),
        ("000d3a7c-dd2b-000d-3a7c-dd2b000d3a7c", "00:0d:3a:7c:dd:2b"),
        ("000d3a7c-dd2b-000d-3a7c-dd2b000d3a7d", None),
        ("f8615163-0000-1000-2000-000000000000", None),
        ("44c4f61d-4444-4400-9d52-802e27ede19f", None),
        ("00000000-0001-8899-0000-000000000000", None),
    ],
)
def test_mac_addresses_in_guids(guid, mac):
    assert _names.mac_from_guid(guid) == mac
