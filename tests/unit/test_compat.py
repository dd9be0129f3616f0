# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compatibility tables: their form, their completeness, the rules of matching, and what the facts say of them."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

import jsonschema
import pytest
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._compat import CompatError, Host, blocks, remedies, supported

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ("distributions", "kernel", "limits", "sources", "userspace")
DATA = {name: _compat.read(f"{name}.yml") for name in FILES}
REMEDIES = DATA["kernel"]["remedies"] + DATA["userspace"]["remedies"]
BLOCKS = DATA["kernel"]["blocks"] + DATA["userspace"]["blocks"]

X86, ARM = "x86_64", "aarch64"

# (ID, VERSION_ID, architecture) -> kernels that such hosts boot, among them ones that they should not.
KERNELS: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("ubuntu", "20.04", X86): ("5.4.0-200-generic", "5.15.0-1045-azure", "5.15.0-1089-azure"),
    ("ubuntu", "20.04", ARM): ("5.4.0-200-generic", "5.15.0-1089-azure"),
    ("ubuntu", "22.04", X86): ("5.15.0-1045-azure", "5.15.0-1079-azure", "6.2.0-1018-azure", "6.8.0-1062-azure", "5.15.0-140-generic"),
    ("ubuntu", "22.04", ARM): ("5.15.0-1079-azure", "6.8.0-1062-azure"),
    ("ubuntu", "24.04", X86): ("6.8.0-1030-azure", "6.17.0-1021-azure", "6.8.0-60-generic"),
    ("ubuntu", "24.04", ARM): ("6.8.0-1030-azure",),
    ("debian", "11", X86): ("5.10.0-46-cloud-amd64", "6.1.0-0.deb11.52-cloud-amd64", "6.6.9-custom"),
    ("debian", "11", ARM): ("5.10.0-46-cloud-arm64",),
    ("debian", "12", X86): ("6.1.0-50-cloud-amd64", "6.1.0-50-amd64", "6.12.117+deb12-cloud-amd64", "6.6.9-custom"),
    ("debian", "12", ARM): ("6.1.0-50-cloud-arm64", "6.12.117+deb12-cloud-arm64", "6.6.9-custom"),
    ("debian", "13", X86): ("6.12.117+deb13-cloud-amd64", "6.6.9-custom"),
    ("debian", "13", ARM): ("6.12.117+deb13-cloud-arm64", "6.6.9-custom"),
    ("rhel", "8.8", X86): ("4.18.0-477.27.1.el8_8.x86_64",),
    ("rhel", "8.8", ARM): ("4.18.0-477.27.1.el8_8.aarch64",),
    ("rocky", "8.9", X86): ("4.18.0-513.5.1.el8_9.x86_64",),
    ("almalinux", "8.10", X86): ("4.18.0-553.el8_10.x86_64", "4.18.0-477.27.1.el8_8.x86_64"),
    ("rocky", "8.10", ARM): ("4.18.0-553.el8_10.aarch64",),
    ("rhel", "9.2", X86): ("5.14.0-284.30.1.el9_2.x86_64",),
    ("rhel", "9.2", ARM): ("5.14.0-284.30.1.el9_2.aarch64",),
    ("rhel", "9.3", X86): ("5.14.0-362.8.1.el9_3.x86_64",),
    ("rhel", "9.3", ARM): ("5.14.0-362.8.1.el9_3.aarch64",),
    ("rhel", "9.4", X86): ("5.14.0-427.13.1.el9_4.x86_64",),
    ("rocky", "9.6", X86): ("5.14.0-570.44.1.el9_6.x86_64",),
    ("rocky", "9.6", ARM): ("5.14.0-570.44.1.el9_6.aarch64",),
    ("almalinux", "9.8", X86): ("5.14.0-687.5.1.el9_8.x86_64",),
    ("centos", "9", X86): ("5.14.0-700.el9.x86_64",),
    ("rhel", "10.0", X86): ("6.12.0-55.9.1.el10_0.x86_64",),
    ("rhel", "10.0", ARM): ("6.12.0-55.9.1.el10_0.aarch64",),
    ("centos", "10", X86): ("6.12.0-211.el10.x86_64",),
    ("ol", "8.8", X86): ("4.18.0-477.10.1.el8_8.x86_64", "5.15.0-200.131.27.el8uek.x86_64"),
    ("ol", "8.10", X86): ("4.18.0-553.el8_10.x86_64", "5.15.0-300.163.18.el8uek.x86_64"),
    ("ol", "8.10", ARM): ("4.18.0-553.el8_10.aarch64", "5.15.0-300.163.18.el8uek.aarch64"),
    ("ol", "9.2", X86): ("5.14.0-284.11.1.el9_2.x86_64", "5.15.0-200.131.27.el9uek.x86_64"),
    ("ol", "9.6", X86): ("5.14.0-570.12.1.el9_6.x86_64", "5.15.0-310.184.5.el9uek.x86_64", "6.12.0-100.28.2.el9uek.x86_64"),
    ("ol", "9.3", ARM): ("5.14.0-362.8.1.el9_3.aarch64", "5.15.0-200.131.27.el9uek.aarch64"),
    ("ol", "9.6", ARM): ("6.12.0-100.28.2.el9uek.aarch64",),
    ("sles", "15.4", X86): ("5.14.21-150400.24.100-default", "5.14.21-150400.14.75-azure"),
    ("sles", "15.5", X86): ("5.14.21-150500.55.52-default", "5.14.21-150500.33.40-azure"),
    ("sles", "15.6", X86): ("6.4.0-150600.23.7-default", "6.4.0-150600.8.5-azure"),
    ("sles_sap", "15.7", X86): ("6.4.0-150700.51-default",),
    ("sles", "15.7", ARM): ("6.4.0-150700.51-default",),
    ("sles", "16.0", X86): ("6.12.0-160000.5-default", "6.12.0-160000.5-azure"),
    ("sles", "16.0", ARM): ("6.12.0-160000.5-default",),
    ("azurelinux", "3.0", X86): ("6.6.134.1-1.azl3", "6.12.83.1-1.azl3", "6.6.57.mshv6-1.azl3"),
    ("azurelinux", "3.0", ARM): ("6.6.134.1-1.azl3", "6.12.83.1-1.azl3"),
}
HOSTS = [Host(name, (), release, machine, kernel) for (name, release, machine), kernels in KERNELS.items() for kernel in kernels]
FOREIGN = [
    Host("flatcar", (), "3975.2.0", X86, "6.12.30-flatcar"),
    Host("talos", (), "v1.8.0", X86, "6.6.54-talos"),
    Host("vyos", (), "1.5", X86, "6.6.80-vyos"),
    Host("mariner", ("fedora",), "1.0.20210901", X86, "5.10.60.1-1.cm1"),
    Host("mariner", (), "2.0.20240609", X86, "5.15.202.1-1.cm2"),
    Host("ubuntu", (), "18.04", X86, "5.4.0-1100-azure"),
    Host("debian", (), "10", X86, "4.19.0-27-cloud-amd64"),
    Host("rhel", ("fedora",), "7.9", X86, "3.10.0-1160.el7.x86_64"),
    Host("rhel", ("fedora",), "9.1", X86, "5.14.0-162.6.1.el9_1.x86_64"),
    Host("sles", ("suse",), "15.3", X86, "5.3.18-150300.59.93-default"),
]

# What each goal adds to the one before it.
GOALS = {
    "ethernet": [
        "module:mana",
        "module:mlx5_core",
        "module:mlx4_core",
        "module:mlx4_en",
        "module:hv_netvsc",
        "module:pci_hyperv",
        "vf_unmanaged",
    ],
    "rdma": ["module:mana_ib", "module:mlx5_ib", "module:mlx4_ib", "module:ib_uverbs", "libmana", "rdma_core"],
    "dpdk": ["module:uio_hv_generic", "pmd:net_mana", "pmd:net_netvsc", "pmd:net_mlx5", "pmd:net_mlx4", "testpmd"],
}
CAPABILITIES = [name for names in GOALS.values() for name in names] + ["headers"]


def ids(rows: t.Iterable[_compat.Remedy | _compat.Block]) -> list[str]:
    return [row.id for row in rows]


def found(capability: str, *host: t.Any) -> list[str]:
    return ids(remedies(capability, Host(host[0], (), *host[1:])))


def all_blocks(capability: str, host: Host) -> list[_compat.Block]:
    return [block for way in _compat.BLOCKED_WAYS for block in blocks(capability, host, way)]


# Form


@pytest.mark.parametrize("name", FILES)
def test_schema(name: str) -> None:
    schema = json.loads((_compat.DIRECTORY / "schema.json").read_text(encoding="utf-8"))
    definition = {"$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": f"#/$defs/{name}"}
    validator = jsonschema.Draft202012Validator(definition)
    validator.check_schema(definition)
    assert [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator.iter_errors(DATA[name])] == []


def test_schema_covers_every_file() -> None:
    assert sorted(path.stem for path in _compat.DIRECTORY.glob("*.yml")) == sorted(FILES)


def test_ids_are_unique() -> None:
    rows = [*REMEDIES, *BLOCKS, *DATA["distributions"]["supported"], *DATA["distributions"]["unsupported"]]
    counted = collections.Counter(row["id"] for row in rows)
    assert [name for name, count in counted.items() if count > 1] == []


def test_sources_exist_and_are_used() -> None:
    rows = [*REMEDIES, *BLOCKS, *DATA["distributions"]["unsupported"], *DATA["limits"]["limits"].values()]
    used = {key for row in rows for key in row["source"]} | {page["source"] for page in DATA["distributions"]["microsoft"]}
    assert used == set(DATA["sources"])
    assert list(DATA["sources"]) == sorted(DATA["sources"])


def test_reasons_exist() -> None:
    assert {row["reason"] for row in [*BLOCKS, *DATA["distributions"]["unsupported"]]} <= set(REASONS)


def test_families_exist_and_hold_the_supported_distributions() -> None:
    families = DATA["distributions"]["families"]
    named = {name for row in [*REMEDIES, *BLOCKS] for name in _compat._listed(row["match"].get("family", []))}
    assert named <= set(families)
    members = [name for family in families.values() for name in family["distributions"]]
    assert len(members) == len(set(members))
    assert {name for row in DATA["distributions"]["supported"] for name in row["distributions"]} <= set(members)


def test_limits_that_the_code_asks_for_exist() -> None:
    asked = {
        name
        for path in (ROOT / "plugins").rglob("*.py")
        for name in re.findall(r"""_?compat\.limit\(["'](\w+)["']\)""", path.read_text(encoding="utf-8"))
    }
    assert asked <= set(DATA["limits"]["limits"])
    assert _compat.limit("minimum_dpdk") == "22.11"
    with pytest.raises(CompatError, match=r"limits\.yml: limit no_such_limit"):
        _compat.limit("no_such_limit")


# Where a route was seen to work as a whole, by the id of its row.
PROVED = {
    "debian-6.1-backport-6.12": "tests/vm/test_backport.py",
    "debian-headers": "tests/vm/test_backport.py",
    "debian-12-security-kernel": "tests/vm/test_kernel.py",
    "debian-libmana": "tests/vm/test_site.py",
    "debian-13-dpdk": "tests/vm/test_dpdk_port.py",
}


def test_what_is_proved_has_a_test() -> None:
    """No row claims more than what was seen: a backport is tested, and a route proved, when a test here says so."""
    rows = [*REMEDIES, *BLOCKS]
    assert {row["id"]: row["proved_on"] for row in rows if row["proved_on"] != "none"} == dict.fromkeys(PROVED, "lab")
    assert {row["id"] for row in REMEDIES if row.get("backport", {}).get("status") == "tested"} == {"debian-6.1-backport-6.12"}
    for path in PROVED.values():
        assert (ROOT / path).is_file()


def test_nothing_names_this_machine() -> None:
    for path in _compat.DIRECTORY.iterdir():
        assert not re.search(r"facts/|/home/|/root/|/tmp/", path.read_text(encoding="utf-8"))


# Completeness


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_supported_host_gets_an_answer(capability: str) -> None:
    silent = [host for host in HOSTS if not remedies(capability, host) and not all_blocks(capability, host)]
    if capability.startswith("module:"):
        # These kernels are what a remedy would install: a probe that misses a module of theirs met a damaged host.
        silent = [host for host in silent if not re.search(r"6\.12\.\d+\+deb12", host.kernel or "")]
    if capability in ("module:mana_ib", "module:uio_hv_generic"):
        # Nobody knows, and to boot another kernel for a guess is no remedy: the planner says no_known_remedy.
        silent = [host for host in silent if not (host.distribution == "sles" and host.release in ("15.4", "15.5"))]
    if capability == "headers":
        # No module is built for the kernel of hosts of virtual machines.
        silent = [host for host in silent if "mshv" not in (host.kernel or "")]
    assert silent == []


def test_hosts_cover_the_supported_releases() -> None:
    assert [host for host in HOSTS if supported(host).status != "supported"] == []
    for entry in DATA["distributions"]["supported"]:
        for release in entry["releases"]:
            matching = _compat._Releases("", "", release)
            assert any(host.distribution in entry["distributions"] and matching.match(_compat.load().release(host)) for host in HOSTS)


def test_every_row_is_reachable() -> None:
    hosts = HOSTS + FOREIGN
    reached = {
        row.id for capability in CAPABILITIES for host in hosts for row in [*remedies(capability, host), *all_blocks(capability, host)]
    }
    assert sorted({row["id"] for row in [*REMEDIES, *BLOCKS]} - reached) == []


def test_every_unsupported_row_is_reachable() -> None:
    assert {supported(host).status for host in FOREIGN} == {"unsupported"}
    remedies_given = {supported(host).remedy for host in FOREIGN}
    assert {row["remedy"] for row in DATA["distributions"]["unsupported"]} == remedies_given


def test_no_remedy_of_a_way_that_is_always_shut() -> None:
    """A row whose way is blocked on every host that it matches would never be chosen."""
    open_somewhere = {
        row.id
        for capability in CAPABILITIES
        for host in HOSTS
        for row in remedies(capability, host)
        if not blocks(capability, host, row.way)
    }
    assert sorted({row["id"] for row in REMEDIES} - open_somewhere) == []


# Matching


@pytest.mark.parametrize(
    ("specification", "release", "expected"),
    [
        ("12", "12", True),
        ("3", "3.0", True),
        ("8.1", "8.10", False),
        ("8.9", "8.9", True),
        (">=8.8,<9", "8.10", True),
        (">=8.8,<9", "8.8", True),
        (">=8.8,<9", "9.0", False),
        (">=9.2,<10", "9", False),
        (">=9.2", "10.0", True),
        ("<=9.3", "9.3", True),
        ("<=9.3", "9.10", False),
        ("<20.04", "18.04", True),
        (">22.04", "22.04", False),
        (["8.9", "8.10"], "8.10", True),
        ([">=9.6,<9.8", "10.0"], "9.7", True),
        ([">=9.6,<9.8", "10.0"], "9.8", False),
    ],
)
def test_releases(specification: t.Any, release: str, expected: bool) -> None:
    assert _compat._Releases("f", "r", specification).match(_compat._version(release)) is expected


@pytest.mark.parametrize("specification", [9.3, "nine", ">=9.3 <10", "", "=9", "9.x"])
def test_bad_releases(specification: t.Any) -> None:
    with pytest.raises(CompatError, match=r"kernel\.yml: row x: the release"):
        _compat._Releases("kernel.yml", "row x", specification)


@pytest.mark.parametrize("part", ["distribution", "release", "architecture", "kernel"])
def test_unknown_values_match_no_condition(part: str) -> None:
    host = Host("rhel", (), "8.9", X86, "4.18.0-513.5.1.el8_9.x86_64")
    assert ids(remedies("module:mana_ib", host))
    unknown = host._replace(**{part: None})
    rows = ids(remedies("module:mana_ib", unknown))
    tested = {row["id"] for row in REMEDIES if part in row["match"] or (part == "distribution" and "family" in row["match"])}
    assert not set(rows) & tested


def test_a_host_of_which_nothing_is_known() -> None:
    for capability in CAPABILITIES:
        assert ids(remedies(capability, Host())) == (["vf-unmanaged-rule"] if capability == "vf_unmanaged" else [])
        assert all_blocks(capability, Host()) == []
    assert supported(Host()).status == "unknown"
    assert _compat.family(Host()) is None
    assert _compat.package_manager(Host()) is None
    assert remedies("no:such", HOSTS[0]) == []


@pytest.mark.parametrize("release", ["", "rolling", "v1.2", "12/sid", "9.4.beta", " 9.4"])
def test_a_release_that_is_no_version_matches_nothing(release: str) -> None:
    assert remedies("module:mana_ib", Host("debian", (), release, X86, "6.1.0-50-cloud-amd64")) == []


def test_families() -> None:
    assert _compat.family(Host("rocky", ("rhel", "centos", "fedora"))) == "el"
    assert _compat.family(Host("eurolinux", ("rhel", "fedora", "centos"))) == "el"
    assert _compat.family(Host("ol", ("fedora",))) == "oracle"
    assert _compat.family(Host("linuxmint", ("ubuntu", "debian"))) is None
    assert _compat.package_manager(Host("azurelinux")) == "tdnf"
    # A clone that is not listed gets the remedies of its family, but no promise.
    clone = Host("eurolinux", ("rhel",), "9.3", X86, "5.14.0-362.8.1.el9_3.x86_64")
    assert "el-mana-ib" in ids(remedies("module:mana_ib", clone))
    assert supported(clone).status == "unknown"


def test_centos_stream_is_ahead_of_the_newest_minor_release() -> None:
    assert supported(Host("centos", (), "9")).status == "supported"
    assert supported(Host("rhel", (), "9")).status == "unsupported"
    assert "el-vf-unmanaged" in found("vf_unmanaged", "centos", "10", X86, None)


def test_support() -> None:
    support = supported(Host("debian", (), "12"))
    assert (support.status, support.listed_by) == ("supported", ("MANA-OV", "AN-0202", "AN-0205"))
    assert supported(Host("debian", (), "11")) == _compat.Support("supported")
    assert supported(Host("ubuntu", (), "26.04")).status == "unknown"
    assert supported(Host("opensuse-tumbleweed", ("opensuse", "suse"), "20261120")).status == "unknown"
    assert supported(Host("flatcar", (), "3975.2.0")).reason == "unsupported_os"


def test_package_names_are_filled_in() -> None:
    (headers, *_rest) = remedies("headers", Host("debian", (), "12", X86, "6.1.0-50-cloud-amd64"))
    assert headers.packages == ("linux-headers-6.1.0-50-cloud-amd64",)
    assert headers.metapackages == ("linux-headers-cloud-amd64",)
    (headers, *_rest) = remedies("headers", Host("debian", (), "12", ARM, "6.12.117+deb12-cloud-arm64"))
    assert headers.metapackages == ("linux-headers-6.12-cloud-arm64",)
    (headers,) = remedies("headers", Host("ubuntu", (), "22.04", X86, "5.15.0-1045-azure"))
    assert (headers.packages, headers.metapackages) == (("linux-headers-5.15.0-1045-azure",), ("linux-headers-azure",))
    (headers,) = remedies("headers", Host("sles", (), "15.6", X86, "6.4.0-150600.8.5-azure"))
    assert headers.packages == ("kernel-azure-devel",)
    (kernel,) = remedies("module:mana", Host("debian", (), "13", ARM, "6.6.9-custom"))[:1]
    assert kernel.packages == ("linux-image-cloud-arm64",)
    # Without what a name needs there is no remedy; a metapackage alone can be missed.
    assert remedies("headers", Host("debian", (), "12", X86, None)) == []
    (custom,) = remedies("headers", Host("debian", (), "12", X86, "6.6.9-custom"))
    assert (custom.packages, custom.metapackages) == (("linux-headers-6.6.9-custom",), ())


def test_modules_that_show_that_a_package_is_there() -> None:
    (row, *_rest) = remedies("module:mana_ib", Host("rhel", (), "10.0", X86, "6.12.0-55.9.1.el10_0.x86_64"))
    assert "ib_uverbs" in row.shown_by
    # Every package that holds the modules of one kernel can show itself, so that no step is planned that changes nothing.
    silent = [row["id"] for row in DATA["kernel"]["remedies"] if row["way"] == "package" and "shown_by" not in row]
    assert all("modules-extra" in name for name in silent)


def test_capabilities_follow_from_what_a_kernel_or_backport_brings() -> None:
    host = Host("debian", (), "12", X86, "6.1.0-50-cloud-amd64")
    row = next(row for row in remedies("module:mana_ib", host) if row.way == "backport")
    assert row.backport is not None
    assert (row.backport.donor, row.backport.modules) == ("6.12", ("mana", "mana_ib"))
    assert row.backport.donor_packages == ("linux-source-6.12",)
    assert row in remedies("module:mana", host)
    kernel = remedies("module:mana_ib", host)[0]
    assert "uio_hv_generic" in kernel.kernel_provides


# What the facts say


@pytest.mark.parametrize(
    ("capability", "host", "expected"),
    [
        # Debian 12: 6.1 has no mana_ib; the security suite's 6.12 comes before backports; then backports of the modules.
        (
            "module:mana_ib",
            ("debian", "12", X86, "6.1.0-50-cloud-amd64"),
            ["debian-12-security-kernel", "debian-12-backports-kernel", "debian-6.1-backport-6.12", "debian-6.1-backport-7.3"],
        ),
        # Debian 11: Ethernet by backport or by 6.1, RDMA not at all on 5.10.
        (
            "module:mana",
            ("debian", "11", X86, "5.10.0-46-cloud-amd64"),
            ["debian-11-security-kernel", "debian-5.10-backport-6.12", "debian-5.10-backport-7.3"],
        ),
        ("module:mana_ib", ("debian", "11", X86, "5.10.0-46-cloud-amd64"), []),
        # EL: mana_ib from 8.9 and 9.3 on, in kernel-modules of that very kernel.
        ("module:mana_ib", ("rhel", "8.8", X86, "4.18.0-477.27.1.el8_8.x86_64"), ["el-8-kernel-rdma", "el-backport"]),
        ("module:mana_ib", ("rhel", "8.9", X86, "4.18.0-513.5.1.el8_9.x86_64"), ["el-mana-ib", "el-8-kernel-rdma"]),
        ("module:mana_ib", ("rhel", "9.2", X86, "5.14.0-284.30.1.el9_2.x86_64"), ["el-9-kernel-rdma", "el-backport"]),
        ("module:mana_ib", ("rhel", "9.3", X86, "5.14.0-362.8.1.el9_3.x86_64"), ["el-mana-ib", "el-9-kernel-rdma"]),
        ("module:mana_ib", ("rocky", "9.6", X86, "5.14.0-570.44.1.el9_6.x86_64"), ["el-mana-ib-later", "el-9-kernel-rdma"]),
        ("module:mana_ib", ("rhel", "10.0", X86, "6.12.0-55.9.1.el10_0.x86_64"), ["el-10-mana-ib"]),
        # Oracle: UEK R8 has mana in kernel-uek-modules and no mana_ib, so RHCK.
        (
            "module:mana",
            ("ol", "9.6", X86, "6.12.0-100.28.2.el9uek.x86_64"),
            ["oracle-uek8-modules", "oracle-9-rhck", "oracle-uek8-backport"],
        ),
        ("module:mana_ib", ("ol", "9.6", X86, "6.12.0-100.28.2.el9uek.x86_64"), ["oracle-9-rhck", "oracle-uek8-backport"]),
        # SUSE: the full kernel-default, or kernel-azure.
        ("module:mana", ("sles", "15.6", X86, "6.4.0-150600.23.7-default"), ["suse-kernel-default", "suse-15.6-kernel-azure"]),
        # Azure Linux 3: mana_ib on arm64 by kernel-hwe only.
        ("module:mana_ib", ("azurelinux", "3.0", ARM, "6.6.134.1-1.azl3"), ["azurelinux-kernel-hwe-arm64"]),
        ("module:mana_ib", ("azurelinux", "3.0", X86, "6.6.134.1-1.azl3"), ["azurelinux-backport"]),
        # Ubuntu: modules-extra of the very kernel, then the metapackage, then 6.8.
        (
            "module:mana_ib",
            ("ubuntu", "22.04", X86, "6.5.0-1025-azure"),
            ["ubuntu-modules-extra", "ubuntu-modules-extra-newest", "ubuntu-kernel-azure-rdma"],
        ),
        # User space
        ("libmana", ("ubuntu", "22.04", X86, None), ["libmana-source"]),
        ("libmana", ("ubuntu", "24.04", X86, None), ["ubuntu-libmana", "libmana-source"]),
        ("libmana", ("debian", "12", X86, None), ["debian-libmana", "libmana-source-documented"]),
        ("libmana", ("rhel", "8.8", X86, None), ["libmana-source"]),
        ("libmana", ("rhel", "9.3", X86, None), ["el-libmana", "libmana-source"]),
        ("libmana", ("sles", "15.6", X86, None), ["suse-libmana", "libmana-source-documented"]),
        ("pmd:net_mana", ("debian", "12", X86, None), ["dpdk-source"]),
        ("pmd:net_mana", ("debian", "13", X86, None), ["debian-13-dpdk", "dpdk-source"]),
        ("pmd:net_mana", ("rhel", "9.3", X86, None), ["dpdk-source"]),
        ("pmd:net_mana", ("rhel", "9.6", X86, None), ["dpdk-source"]),
        ("pmd:net_mana", ("rhel", "10.1", X86, None), ["el-10-dpdk", "dpdk-source"]),
        ("pmd:net_mlx5", ("debian", "11", X86, None), ["debian-11-dpdk", "dpdk-source"]),
        ("pmd:net_mana", ("azurelinux", "3.0", X86, None), ["dpdk-source-inferred"]),
        ("pmd:net_mana", ("sles", "15.5", X86, None), ["suse-15.5-dpdk", "dpdk-source-inferred"]),
        ("vf_unmanaged", ("debian", "12", X86, None), ["debian-12-vf-unmanaged", "vf-unmanaged-rule"]),
        ("vf_unmanaged", ("rhel", "9.6", X86, None), ["el-9.6-vf-unmanaged", "vf-unmanaged-rule"]),
        ("vf_unmanaged", ("rhel", "8.10", X86, None), ["vf-unmanaged-rule"]),
    ],
)
def test_remedies_follow_the_facts(capability: str, host: tuple[t.Any, ...], expected: list[str]) -> None:
    assert found(capability, *host) == expected


@pytest.mark.parametrize(
    ("capability", "way", "host", "expected"),
    [
        ("module:mana_ib", "backport", ("debian", "11", X86, "5.10.0-46-cloud-amd64"), ["debian-5.10-rdma"]),
        ("module:mana_ib", "kernel", ("debian", "11", X86, "5.10.0-46-cloud-amd64"), ["debian-11-mana-ib"]),
        ("module:mana_ib", "backport", ("debian", "11", X86, "6.1.0-0.deb11.52-cloud-amd64"), []),
        ("module:mana", "backport", ("debian", "11", X86, "5.10.0-46-cloud-amd64"), []),
        ("module:uio_hv_generic", "kernel", ("debian", "13", ARM, "6.12.117+deb13-cloud-arm64"), ["debian-arm64-uio"]),
        ("module:mana", "package", ("rhel", "9.3", ARM, "5.14.0-362.8.1.el9_3.aarch64"), ["el-arm64"]),
        ("module:mana", "kernel", ("rhel", "8.10", ARM, "4.18.0-553.el8_10.aarch64"), ["el-arm64"]),
        ("module:mana", "package", ("rhel", "9.4", ARM, "5.14.0-427.13.1.el9_4.aarch64"), []),
        ("module:mana", "package", ("rhel", "9.3", X86, "5.14.0-362.8.1.el9_3.x86_64"), []),
        ("module:mlx5_core", "kernel", ("rhel", "9.3", ARM, "5.14.0-362.8.1.el9_3.aarch64"), []),
        ("module:mana_ib", "package", ("ol", "9.6", X86, "6.12.0-100.28.2.el9uek.x86_64"), ["oracle-uek8-mana-ib"]),
        ("module:mana_ib", "kernel", ("azurelinux", "3.0", X86, "6.6.134.1-1.azl3"), ["azurelinux-mana-ib-x86"]),
        ("module:mana", "package", ("azurelinux", "3.0", X86, "6.6.57.mshv6-1.azl3"), ["azurelinux-mshv"]),
        ("module:mana_ib", "inbox", ("ubuntu", "22.04", X86, "5.15.0-1045-azure"), ["ubuntu-5.15-mana-ib"]),
        ("module:mana_ib", "inbox", ("ubuntu", "22.04", X86, "5.15.0-1046-azure"), []),
        ("module:mana_ib", "package", ("ubuntu", "22.04", X86, "5.15.0-1079-azure"), []),
        ("module:mana", "inbox", ("ubuntu", "22.04", X86, "6.2.0-1018-azure"), ["ubuntu-6.2-probe"]),
        ("module:mana", "package", ("talos", "v1.8.0", X86, "6.6.54-talos"), ["talos-mana"]),
        ("module:mana", "package", ("flatcar", "3975.2.0", X86, "6.12.30-flatcar"), []),
        ("module:mana_ib", "package", ("flatcar", "3975.2.0", X86, "6.12.30-flatcar"), ["flatcar-rdma"]),
        ("module:mana", "backport", (None, None, X86, "3.10.0-1160.el7.x86_64"), ["kernel-too-old"]),
        ("libmana", "package", ("rhel", "9.2", X86, None), ["el-libmana-disabled"]),
        ("libmana", "source", ("rhel", "9.2", X86, None), []),
        ("libmana", "package", ("rhel", "9.4", X86, None), []),
        ("pmd:net_mana", "package", ("debian", "12", X86, None), ["debian-12-net-mana"]),
        ("pmd:net_mana", "package", ("sles", "15.6", X86, None), []),
    ],
)
def test_blocks_follow_the_facts(capability: str, way: str, host: tuple[t.Any, ...], expected: list[str]) -> None:
    assert ids(blocks(capability, Host(host[0], (), *host[1:]), way)) == expected


def test_what_nobody_looked_at_is_never_blocked_nor_sure() -> None:
    assert "unknown" not in {row["confidence"] for row in BLOCKS}
    for capability, host in (
        ("module:mana_ib", Host("rhel", (), "10.0", X86, "6.12.0-55.9.1.el10_0.x86_64")),
        ("module:mana_ib", Host("sles", (), "15.5", X86, "5.14.21-150500.55.52-default")),
        ("libmana", Host("sles", (), "16.0", X86)),
        ("pmd:net_mana", Host("sles", (), "15.6", X86)),
        ("module:mana_ib", Host("ol", (), "8.10", X86, "5.15.0-300.163.18.el8uek.x86_64")),
    ):
        package = next(row for row in remedies(capability, host) if row.way == "package")
        assert package.confidence == "unknown"
        assert blocks(capability, host, "package") == []


def test_source_builds_default_to_the_version_that_keeps_the_virtual_functions() -> None:
    for host in HOSTS:
        (row,) = [row for row in remedies("pmd:net_mana", host) if row.way == "source"]
        assert row.version == _compat.limit("dpdk_reliable_netvsc")


def test_debian_11_backports_bring_ethernet_only() -> None:
    rows = remedies("module:mana", Host("debian", (), "11", X86, "5.10.0-46-cloud-amd64"))
    backports = [row.backport for row in rows if row.backport]
    assert [backport.modules for backport in backports] == [("mana",), ("mana",)]
    assert all("RDMA" in backport.lost for backport in backports)


# Bad files


@pytest.fixture
def broken(tmp_path: pathlib.Path) -> t.Callable[[str, str, str], pathlib.Path]:
    """Copies the tables and replaces the first occurrence of a text in one of them."""

    def copy(file: str, old: str, new: str) -> pathlib.Path:
        directory = tmp_path / "compat"
        shutil.copytree(_compat.DIRECTORY, directory)
        text = (directory / file).read_text(encoding="utf-8")
        assert old in text
        (directory / file).write_text(text.replace(old, new, 1), encoding="utf-8")
        return directory

    return copy


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("kernel.yml", "    source: [DEB]\n", "", r"kernel\.yml: row debian-13-kernel: has no source"),
        ("kernel.yml", "    source: [DEB]\n", "    source: []\n", r"kernel\.yml: row debian-13-kernel: has no source"),
        ("userspace.yml", "    source: [DEB]\n", "    source: DEB\n", r"userspace\.yml: row debian-libmana: has no source"),
        ("limits.yml", "    source: [RDMA]\n", "", r"limits\.yml: limit minimum_rdma_core: has no source"),
        ("distributions.yml", "    source: [FLATCAR]\n", "", r"distributions\.yml: row flatcar: has no source"),
        ("kernel.yml", "    confidence: verified", "    confidence: certain", r"row debian-13-kernel: confidence is 'certain'"),
        ("kernel.yml", "    proved_on: none", "    proved_on: production", r"row debian-13-kernel: proved_on is 'production'"),
        ("kernel.yml", "way: kernel", "way: magic", r"row debian-13-kernel: way is 'magic'"),
        ("kernel.yml", 'release: "13"', "release: 13", r"row debian-13-kernel: the release 13 is no version"),
        ("kernel.yml", 'release: "13"', 'realease: "13"', r"row debian-13-kernel: match has an unknown condition: realease"),
        ("kernel.yml", '"^(?!6', '"^((?!6', r"row debian-13-kernel: .* is no regular expression"),
        (
            "kernel.yml",
            "- id: debian-13-kernel\n",
            "- name: debian-13-kernel\n",
            r"kernel\.yml: remedies row 1: is not a mapping with an id",
        ),
        ("kernel.yml", "ways: [package, kernel]", "ways: [pakage]", r"row debian-11-mana-ib: way is 'pakage'"),
        ("kernel.yml", "    reason: mana_ib_missing\n", "", r"row debian-11-mana-ib: has no reason"),
        ("kernel.yml", "remedies:\n", "remedies: [\n", r"kernel\.yml: the file: cannot be read"),
        ("kernel.yml", "blocks:\n", "blocked:\n", r"kernel\.yml: blocks: is missing"),
    ],
)
def test_bad_files(broken: t.Callable[[str, str, str], pathlib.Path], file: str, old: str, new: str, message: str) -> None:
    with pytest.raises(CompatError, match=message) as caught:
        _compat.load(broken(file, old, new))
    assert caught.value.file == file


def test_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CompatError, match=r"kernel\.yml: the file: cannot be read"):
        _compat.load(tmp_path)


# Documentation


@pytest.mark.parametrize("script", ["docs-compat", "docs-reasons"])
def test_generated_pages_are_not_stale(script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--check"], check=False, capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr


def test_generated_page_shows_every_row() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    for row in [*REMEDIES, *BLOCKS]:
        assert " ".join((row.get("note") or row.get("remedy") or row["packages"][0]).split()).replace("|", "\\|") in page
    for key in DATA["sources"]:
        assert f'<a id="{key.lower()}"></a>' in page
