# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archives the lab takes Debian from, by a machine's apt configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab.vm.mirror import Mirror, MirrorError, Source, machine_mirror, reaching, read_sources

DEB822 = """\
# What the installer wrote
Types: deb deb-src
# URIs: http://old.example/debian
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites:
# Snapshot: http://old.example/security
 bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w
 -----END PGP PUBLIC KEY BLOCK-----
"""


def etc(folder: Path, **files: str) -> Path:
    """An /etc/apt; `_` in an argument's name stands for `.`, and sources_list is outside of sources.list.d."""
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        parent = folder if name == "sources_list" else folder / "sources.list.d"
        (parent / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_deb822(tmp_path: Path) -> None:
    mirror = machine_mirror(etc(tmp_path, debian_sources=DEB822), {})
    assert mirror.lines("trixie") == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/security trixie-security main",
    ]


def test_backports_on_demand(tmp_path: Path) -> None:
    mirror = machine_mirror(etc(tmp_path, debian_sources=DEB822), {})
    assert "deb http://mirror.example/debian trixie-backports main" in mirror.lines("trixie", backports=True)


def test_one_line(tmp_path: Path) -> None:
    text = """\
    # deb http://comment.example/debian bookworm main
    deb-src http://source.example/debian bookworm main
    deb [arch=amd64 signed-by=/etc/apt/keyrings/ours.gpg] http://mirror.example/debian stable main contrib # ours
    deb http://security.example/ bullseye-security main
    """
    mirror = machine_mirror(etc(tmp_path, sources_list=text), {})
    assert mirror.main == Source("http://mirror.example/debian", "stable", {"signed-by": "/etc/apt/keyrings/ours.gpg"})
    assert mirror.lines("bullseye") == [
        "deb [signed-by=/etc/apt/keyrings/ours.gpg] http://mirror.example/debian bullseye main",
        "deb [signed-by=/etc/apt/keyrings/ours.gpg] http://mirror.example/debian bullseye-updates main",
        "deb http://security.example/ bullseye-security main",
    ]


def test_other_vendors_and_what_is_switched_off_do_not_count(tmp_path: Path) -> None:
    files = {
        "a_sources": "Enabled: no\n" + DEB822.replace("mirror.example", "off.example").replace("\n\n", "\n\nEnabled: no\n"),
        "b_list": "deb https://packages.example/apt cloud-sdk-bookworm main\ndeb http://archive.example/ubuntu noble main\n",
        "c_list_disabled": "deb http://disabled.example/debian bookworm main\n",
        "d_sources": DEB822,
    }
    mirror = machine_mirror(etc(tmp_path, **files), {})
    assert (mirror.main.uri, mirror.security.uri) == ("http://mirror.example/debian", "http://mirror.example/security")


def test_the_name_of_an_old_security_suite() -> None:
    mirror = Mirror(Source("http://m.example", "bookworm"), Source("http://s.example", "bookworm-security"))
    assert mirror.lines("buster")[-1] == "deb http://s.example buster/updates main"


def test_a_debian_keyring_is_left_to_mmdebstrap_and_another_is_kept(tmp_path: Path) -> None:
    ours = DEB822.replace("/usr/share/keyrings/debian-archive-keyring.gpg", "/etc/apt/keyrings/ours.gpg")
    sources = read_sources(etc(tmp_path, a_sources=DEB822, b_sources=ours))
    assert [source.options for source in sources] == [{}, {}, {}, *[{"signed-by": "/etc/apt/keyrings/ours.gpg"}] * 2, {}]


def test_the_environment_has_the_last_word(tmp_path: Path) -> None:
    environment = {"LAB_MIRROR": "http://a.example/debian", "LAB_SECURITY_MIRROR": "http://b.example/security"}
    mirror = machine_mirror(etc(tmp_path, debian_sources=DEB822), environment)
    assert mirror.lines("trixie")[0] == "deb http://a.example/debian trixie main"
    assert mirror.lines("trixie")[-1] == "deb http://b.example/security trixie-security main"


@pytest.mark.parametrize("files", [{}, {"ubuntu_list": "deb http://archive.example/ubuntu noble main\n"}])
def test_without_debian_the_error_says_what_to_set(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(MirrorError, match="LAB_MIRROR and LAB_SECURITY_MIRROR"):
        machine_mirror(etc(tmp_path, **files), {})


def test_options_that_reach_an_archive() -> None:
    dump = """\
APT::Install-Recommends "true";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CAInfo "/etc/ssl/ours.pem";
Acquire::Retries "3";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
"""
    assert reaching(dump) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https::CAInfo "/etc/ssl/ours.pem";',
        'Acquire::Retries "3";',
    ]
