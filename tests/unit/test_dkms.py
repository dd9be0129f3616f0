# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DKMS without DKMS: parsers on output that was recorded, decisions, sources. The real ones are in tests/integration/test_dkms.py."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import (
    _dkms,
    _dkms_apply,
    _dkms_build,
    _dkms_commands,
    _dkms_host,
    _dkms_journal,
    _dkms_source,
)
from ansible_collections.accelnet.mana.plugins.module_utils._dkms import Facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from hypothesis import given
from hypothesis import strategies as st

R = "6.1.0-56-cloud-amd64"
HOME = "/var/lib/dkms/accel-hello"

# --- dkms status, recorded from the dkms of Debian 11 (2.8.4), 12 (3.0.10) and 13 (3.2.2)

RECORDED = [
    ("accel-hello, 1.0: added", ("1.0", None, "added", False, [])),
    ("accel-hello, 1.0, 5.10.0-46-cloud-amd64, x86_64: built", ("1.0", "5.10.0-46-cloud-amd64", "built", False, [])),
    ("accel-hello, 1.0, 5.10.0-46-cloud-amd64, x86_64: installed", ("1.0", "5.10.0-46-cloud-amd64", "installed", False, [])),
    (
        "accel-hello, 1.0, 5.10.0-46-cloud-amd64, x86_64: installed (WARNING! Diff between built and installed module!)",
        ("1.0", "5.10.0-46-cloud-amd64", "installed", False, ["WARNING! Diff between built and installed module!"]),
    ),
    ("accel-hello/1.0: added", ("1.0", None, "added", False, [])),
    ("accel-hello/1.0, 6.1.0-56-cloud-amd64, x86_64: built", ("1.0", R, "built", False, [])),
    (
        "accel-hello/1.0, 6.1.0-56-cloud-amd64, x86_64: installed (WARNING! Diff between built and installed module!)",
        ("1.0", R, "installed", False, ["WARNING! Diff between built and installed module!"]),
    ),
    (
        "accel-hello/1.0, 6.12.118+deb13-cloud-amd64, x86_64: installed (Original modules exist)",
        ("1.0", "6.12.118+deb13-cloud-amd64", "installed", True, []),
    ),
    (
        "accel-hello/1.0, 6.12.118+deb13-cloud-amd64, x86_64: installed (Original modules exist)"
        " (Differences between built and installed modules)",
        ("1.0", "6.12.118+deb13-cloud-amd64", "installed", True, ["Differences between built and installed modules"]),
    ),
    (
        "accel-hello/1.0, 6.12.118+deb13-cloud-amd64, x86_64: installed (Original modules exist)"
        " (Built modules are missing in the kernel modules folder)",
        ("1.0", "6.12.118+deb13-cloud-amd64", "installed", True, ["Built modules are missing in the kernel modules folder"]),
    ),
    ("accel-hello/1.0: broken", ("1.0", None, "broken", False, [])),
]
# Written from the scripts, which print these where they move the kernel's own module away, or link it into another kernel.
FROM_THE_SCRIPTS = [
    (
        "accel-hello, 1.0, 5.10.0-46-cloud-amd64, x86_64: installed (original_module exists) (WARNING! Missing some built modules!)"
        " (WARNING! Missing some built modules!)",
        ("1.0", "5.10.0-46-cloud-amd64", "installed", True, ["WARNING! Missing some built modules!"]),
    ),
    ("accel-hello, 1.0, 5.14.0-1.el9, x86_64: installed-weak from 5.14.0-2.el9", ("1.0", "5.14.0-1.el9", "installed-weak", False, [])),
]


@pytest.mark.parametrize(("line", "expected"), RECORDED + FROM_THE_SCRIPTS)
def test_status_lines(line: str, expected: tuple[Any, ...]) -> None:
    (status,) = _dkms.parse_status(line + "\n")
    assert status.name == "accel-hello"
    assert (status.version, status.kernel, status.state, status.original, status.remarks) == expected
    assert status.arch == ("x86_64" if status.kernel else None)


@pytest.mark.parametrize(
    "text",
    [
        "Error! Could not locate dkms.conf file.\nFile: /var/lib/dkms/accel-hello/1.0/source/dkms.conf does not exist.\n",
        "Error! accel-hello/1.0: Missing the module source directory or the symbolic link pointing to it.\n"
        "Manual intervention is required!\n",
        "Deprecated feature: REMAKE_INITRD (/var/lib/dkms/accel-hello/1.0/source/dkms.conf)\n",
        "/usr/sbin/dkms: line 432: /dev/null: No such file or directory\n",
        "",
    ],
)
def test_messages_are_no_status(text: str) -> None:
    assert _dkms.parse_status(text) == []


# --- dkms.conf, framework.conf

CONF = """\
# comment
PACKAGE_NAME="accel-hello"
PACKAGE_VERSION=1.0 # comment
MAKE[0]="make -C ${kernel_source_dir} \\
  M=${dkms_tree}/build modules"
BUILT_MODULE_NAME[0]="$PACKAGE_NAME"
DEST_MODULE_NAME[0]='accel_a'
DEST_MODULE_LOCATION[0]="/updates"
BUILT_MODULE_NAME[1]="accel_b"
DEST_MODULE_LOCATION[1]="/updates"
"""


def test_conf() -> None:
    assert _dkms.parse_conf(CONF) == _dkms.Conf("accel-hello", "1.0", ["accel_a", "accel_b"], True)


def test_a_conf_of_one_module_that_leaves_its_name_out() -> None:
    conf = _dkms.parse_conf('PACKAGE_NAME="one"\nPACKAGE_VERSION="1"\nDEST_MODULE_LOCATION="/extra"\n')
    assert (conf.modules, conf.exact) == (["one"], True)


def test_names_of_other_variables() -> None:
    assert _dkms.parse_conf('PACKAGE_NAME="a"\nPACKAGE_VERSION=2\nBUILT_MODULE_NAME="${PACKAGE_NAME}_$PACKAGE_VERSION"\n').modules == [
        "a_2"
    ]
    assert _dkms.parse_conf('PACKAGE_NAME="a"\nBUILT_MODULE_NAME="$PACKAGE_NAMES"\n') == _dkms.Conf("a", None, [], False)


@pytest.mark.parametrize(
    "line", ["if true; then", 'BUILT_MODULE_NAME[2]="$(cat name)"', 'BUILT_MODULE_NAME[2]="../../x"', ". ./other", "x=$(id)"]
)
def test_a_conf_that_is_a_program_is_not_exact(line: str) -> None:
    conf = _dkms.parse_conf(CONF + line + "\n")
    assert conf.modules == ["accel_a", "accel_b"]
    assert conf.exact is (line == "x=$(id)")  # a value that we do not need


@pytest.mark.parametrize("name", ["", ".hidden", "-m", "a/b", "..", "a b", "a\n", "x" * 200, 'a"b'])
def test_what_cannot_be_a_name(name: str) -> None:
    assert not _dkms.is_name(name)


def test_layout(make_tree: Any) -> None:
    files = {
        "/etc/dkms/framework.conf": '# dkms_tree="/no"\nsource_tree="/opt/src/"\n',
        "/etc/dkms/framework.conf.d/x.conf": 'dkms_tree="/opt/dkms"\ninstall_tree="$x/modules"\n',
        "/etc/dkms/framework.conf.d/x.conf.bak": 'dkms_tree="/no"\n',
    }
    assert _dkms.read_layout(make_tree(files)) == _dkms.Layout("/opt/dkms", "/opt/src", "/lib/modules")
    assert _dkms.read_layout(make_tree({"/etc/x": ""})) == _dkms.Layout("/var/lib/dkms", "/usr/src", "/lib/modules")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"/var/lib/dkms/mok.key": ""}, True),
        ({"/var/lib/shim-signed/mok/MOK.priv": ""}, True),
        ({"/etc/dkms/framework.conf": "mok_signing_key=/etc/keys/key\n"}, False),
        ({"/etc/dkms/framework.conf": "mok_signing_key=/etc/keys/key\n", "/etc/keys/key": ""}, True),
        ({"/etc/dkms/framework.conf": 'mok_signing_key="pkcs11:token=x"\n'}, True),
    ],
)
def test_a_signing_key_that_is_there(make_tree: Any, files: dict[str, Any], expected: bool) -> None:
    assert _dkms.has_signing_key(_dkms.Reader(make_tree({"/etc/x": "", **files}), lambda paths: {})) is expected


# --- Compilers: what the headers of Debian 12 and 13 say


@pytest.mark.parametrize(
    ("kernelvariables", "config", "expected"),
    [
        (
            "override ARCH = x86\nCC = $(if $(DEBIAN_KERNEL_USE_CCACHE),$(CCACHE)) $(CROSS_COMPILE)gcc-14\n",
            'CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0"\n',
            ["x86_64-linux-gnu-gcc-14", "gcc-14"],
        ),
        ("", 'CONFIG_CC_VERSION_TEXT="gcc (SUSE Linux) 7.5.0"\n', ["gcc", "cc"]),
        ("", 'CONFIG_CC_VERSION_TEXT="Debian clang version 14.0.6"\n', ["clang", "gcc", "cc"]),
        ("", "", ["gcc", "cc"]),
    ],
)
def test_compilers(kernelvariables: str, config: str, expected: list[str]) -> None:
    assert _dkms.compilers(kernelvariables, config) == expected


# --- Module files

ELF = b"\x7fELF" + bytes(range(200))
SIGNED = ELF + b"S" * 70 + bytes(8) + (70).to_bytes(4, "big") + b"~Module signature appended~\n"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda data: lzma.compress(data, check=lzma.CHECK_CRC32)])
@pytest.mark.parametrize("content", [ELF, SIGNED])
def test_the_same_module_however_it_is_packed(pack: Any, content: bytes) -> None:
    assert _dkms.unpacked(pack(content)) == ELF


def test_zstd_is_asked_for() -> None:
    packed = b"\x28\xb5\x2f\xfd rest"
    assert _dkms.unpacked(packed, lambda data: ELF if data == packed else None) == ELF
    assert _dkms.unpacked(packed, lambda data: None) is None
    assert _dkms.unpacked(packed) is None


@pytest.mark.parametrize("data", [b"", b"x", gzip.compress(ELF)[:-9], lzma.compress(ELF)[:-20], b"\xfd7zXZ\x00garbage", b"\x1f\x8bgarbage"])
def test_what_is_cut_off_is_no_module(data: bytes) -> None:
    assert _dkms.unpacked(data) is None


def test_a_signature_that_claims_more_than_there_is_stays() -> None:
    bad = ELF + bytes(8) + (1 << 20).to_bytes(4, "big") + b"~Module signature appended~\n"
    assert _dkms.unpacked(bad) == bad


def meta(sha256: str | None = None, srcversion: str | None = None, vermagic: str | None = R + " SMP") -> dict[str, Any]:
    return {"path": "/x", "sha256": sha256, "srcversion": srcversion, "version": None, "vermagic": vermagic, "signer": None}


@pytest.mark.parametrize(
    ("built", "other", "expected"),
    [
        (meta("1"), meta("1"), True),
        (meta("1", "A"), meta("2", "A"), False),  # a header elsewhere differs: srcversion does not know
        (meta(None, "A"), meta("2", "A"), True),
        (meta(None, "A"), meta(None, "B"), False),
        (meta(None, "A"), meta(None, "A", "6.1.0-50 SMP"), False),
        (meta(None), meta(None), None),
        (None, meta("1"), False),
        (meta("1"), None, False),
    ],
)
def test_same_build(built: Any, other: Any, expected: bool | None) -> None:
    assert _dkms.same_build(built, other) is expected


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/b/mana-ib.ko.zst", "mana_ib"), ("mana.ko", "mana"), ("mana.ko.xz", "mana"), ("Module.symvers", None), ("mana.ko.bak", None)],
)
def test_module_names(file: str, name: str | None) -> None:
    assert _dkms.module_name(file) == name


# --- What is there


def installation(**changes: Any) -> dict[str, Any]:
    """A package of two modules that is installed as it should be; a change of None takes a path away."""
    build = f"{HOME}/1.0/{R}/x86_64"
    files: dict[str, Any] = {
        "/usr/src/accel-hello-1.0/dkms.conf": CONF,
        f"{HOME}/1.0/source": trees.link("/usr/src/accel-hello-1.0"),
        f"{build}/log/{_dkms.STAMP}": "digest\n",
        f"{build}/module/accel_a.ko": trees.binary(ELF + b"a"),
        f"{build}/module/accel_b.ko": trees.binary(ELF + b"b"),
        f"{HOME}/kernel-{R}-x86_64": trees.link(f"1.0/{R}/x86_64"),
        f"/lib/modules/{R}/updates/dkms/accel_a.ko": trees.binary(ELF + b"a"),
        f"/lib/modules/{R}/updates/dkms/accel_b.ko": trees.binary(ELF + b"b"),
        f"/lib/modules/{R}/kernel/drivers/net/accel_a.ko": trees.binary(ELF + b"inbox"),
        f"/lib/modules/{R}/modules.dep": "updates/dkms/accel_a.ko:\nupdates/dkms/accel_b.ko: updates/dkms/accel_a.ko\n",
        f"/lib/modules/{R}/modules.builtin": "kernel/drivers/net/accel_c.ko\n",
    }
    files.update(changes)
    return {path: entry for path, entry in files.items() if entry is not None}


def look(tree: Any, **fields: Any) -> _dkms.Reader:
    """A reader whose modinfo knows every whole file."""

    def modinfo(paths: list[str]) -> dict[str, dict[str, str]]:
        whole = [path for path in paths if (tree.data(path) or b"").startswith(b"\x7fELF" + bytes(range(4)))]
        return {path: {"vermagic": R + " SMP", "signer": "somebody", **fields} for path in whole}

    return _dkms.Reader(tree, modinfo)


def states(tree: Any, **fields: Any) -> tuple[str, str, list[Any]]:
    build = look(tree, **fields).build("accel-hello", "1.0", R, "x86_64")
    return build["disk"], build["state"], [module["ours"] for module in build["modules"]]


DEP = f"/lib/modules/{R}/modules.dep"
BUILT_A = f"{HOME}/1.0/{R}/x86_64/module/accel_a.ko"
ACTIVE = f"{HOME}/kernel-{R}-x86_64"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("installed", "installed", [True, True])),
        ({ACTIVE: None}, ("built", "built", [True, True])),
        ({ACTIVE: trees.link(f"2.0/{R}/x86_64")}, ("built", "built", [True, True])),
        # dkms 3.0.10 left one out, and says installed
        ({DEP: "kernel/drivers/net/accel_a.ko:\nupdates/dkms/accel_b.ko:\n"}, ("installed", "built", [False, True])),
        # depmod has not run
        ({DEP: "kernel/drivers/net/accel_a.ko:\n"}, ("installed", "built", [False, False])),
        ({DEP: None}, ("installed", "built", [False, False])),
        ({f"/lib/modules/{R}/updates/dkms/accel_a.ko": trees.binary(ELF + b"other")}, ("installed", "built", [False, True])),
        ({BUILT_A: None}, ("incomplete", "incomplete", [False, True])),
        ({BUILT_A: trees.binary(b"\x7fELF cut")}, ("incomplete", "incomplete", [False, True])),
    ],
)
def test_what_counts(make_tree: Any, changes: dict[str, Any], expected: Any) -> None:
    assert states(make_tree(installation(**changes))) == expected


def test_a_build_for_another_kernel_is_none(make_tree: Any) -> None:
    assert states(make_tree(installation()), vermagic="6.1.0-50-cloud-amd64 SMP")[0] == "incomplete"


def test_the_whole_package(make_tree: Any) -> None:
    reader = look(make_tree(installation()), version="1.0")
    assert (reader.names(), reader.versions("accel-hello")) == (["accel-hello"], ["1.0"])
    package = reader.package("accel-hello", "1.0")
    assert (package["state"], package["source"]) == ("installed", "/usr/src/accel-hello-1.0")
    (build,) = package["builds"]
    assert (build["source_digest"], build["original_module"]) == ("digest", False)
    assert build["modules"][0]["resolved"]["signer"] == "somebody"
    assert reader.package("accel-hello", "1.0", ["other"])["builds"] == []
    assert reader.claimants(R, "x86_64", "accel_a") == ["accel-hello/1.0"]
    assert (reader.active_kernels("accel-hello", "1.0", "x86_64"), reader.active_kernels("accel-hello", "2.0", "x86_64")) == ([R], [])
    assert (reader.builtin(R, "accel-c"), reader.builtin(R, "accel_a")) == (True, False)


def test_a_package_without_its_source(make_tree: Any) -> None:
    package = look(make_tree(installation(**{"/usr/src/accel-hello-1.0/dkms.conf": None}))).package("accel-hello", "1.0")
    assert (package["state"], package["source"]) == ("broken", None)
    assert [module["name"] for module in package["builds"][0]["modules"]] == ["accel_a", "accel_b"]  # from the files


def test_copies_that_nothing_claims(make_tree: Any) -> None:
    reader = look(make_tree(installation(**{ACTIVE: None})))
    assert reader.claimants(R, "x86_64", "accel_a") == []
    assert reader.copies(R, "accel_a") == [f"/lib/modules/{R}/updates/dkms/accel_a.ko"]


def test_hidden_directories_are_ours_and_no_package(make_tree: Any) -> None:
    reader = look(make_tree(installation(**{"/var/lib/dkms/.accelnet-x/tree/y": "", "/var/lib/dkms/dkms_dbversion": "3"})))
    assert reader.names() == ["accel-hello"]


# --- What is to be done

STATES = ("absent", "incomplete", "built", "installed")


def build_of(disk: str, source: str | None = "new", state: str | None = None) -> dict[str, Any]:
    return {"disk": disk, "state": state or disk, "source_digest": source, "modules": []}


def steps(
    state: str,
    builds: dict[str, dict[str, Any]],
    wanted: str | None = "new",
    source: str | None = "new",
    registered: bool = True,
    **more: Any,
) -> list[str]:
    facts = Facts(wanted, source, registered, builds)
    return [" ".join(step) for step in _dkms.steps_towards(state, facts, more.pop("kernels", ["k"]), **more)]


def test_from_nothing() -> None:
    nothing = {"k": build_of("absent", None)}
    new = {"source": None, "registered": False}
    assert steps("added", nothing, **new) == ["source", "add"]
    assert steps("built", nothing, **new) == ["build k", "source", "add", "adopt k"]
    assert steps("installed", nothing, **new) == ["build k", "source", "add", "adopt k", "install k"]
    assert steps("installed", nothing, wanted=None, registered=False) == ["build k", "add", "adopt k", "install k"]


@pytest.mark.parametrize(
    ("state", "there"),
    [("added", "absent"), ("added", "installed"), ("built", "built"), ("built", "installed"), ("installed", "installed")],
)
def test_a_higher_state_satisfies_a_lower_one(state: str, there: str) -> None:
    assert steps(state, {"k": build_of(there)}) == []


def test_only_what_is_missing_is_done() -> None:
    assert steps("installed", {"k": build_of("built")}) == ["install k"]
    assert steps("installed", {"k": build_of("installed", state="built")}) == ["install k"]
    assert steps("installed", {"k": build_of("incomplete")}) == ["build k", "discard k", "adopt k", "install k"]
    assert steps("installed", {"k": build_of("installed")}, registered=False) == ["add"]


def test_force() -> None:
    builds = {"k": build_of("installed"), "other": build_of("installed")}
    assert steps("installed", builds, force=True) == ["build k", "discard k", "adopt k", "install k"]


def test_another_source_is_built_for_every_kernel_that_has_the_old() -> None:
    builds = {"k": build_of("built", "old"), "other": build_of("installed", "old"), "gone": build_of("incomplete", "old")}
    done = steps("built", builds, source="old")
    assert done == [
        "build k",
        "build other",
        "discard gone",
        "discard k",
        "discard other",
        "source",
        "adopt k",
        "adopt other",
        "install other",
    ]
    assert steps("added", {"k": build_of("installed", "old")}, source="old")[-1] == "install k"


def test_a_build_of_another_source_than_the_one_in_place() -> None:
    """Somebody changed the source and did not build."""
    assert steps("installed", {"k": build_of("installed", "old")}, wanted=None) == ["build k", "discard k", "adopt k", "install k"]
    assert steps("installed", {"k": build_of("installed", None)}, wanted=None) == []  # built by dkms after a kernel update


def test_a_source_that_was_lost_needs_no_new_build() -> None:
    assert steps("installed", {"k": build_of("installed")}, source=None, registered=False) == ["source", "add"]


@given(
    st.sampled_from(("added", "built", "installed")),
    st.lists(st.tuples(st.sampled_from(STATES), st.sampled_from((None, "old", "new"))), min_size=3, max_size=3),
    st.sampled_from((None, "old", "new")),
    st.sampled_from((None, "new")),
    st.booleans(),
    st.booleans(),
)
def test_no_kernel_loses_what_it_has(
    state: str, there: list[tuple[str, str | None]], source: str | None, wanted: str | None, registered: bool, force: bool
) -> None:
    """Whatever there is: all is built before anything goes, and what goes comes back."""
    if source is None and wanted is None:
        return  # refused before
    names = [f"k{index}" for index in range(len(there))]
    builds = {name: build_of(disk, made_from) for name, (disk, made_from) in zip(names, there)}
    facts = Facts(wanted, source, registered, builds)
    done = _dkms.steps_towards(state, facts, names[:2], force)
    kinds = [step[0] for step in done]
    order = ["build", "discard", "source", "add", "adopt", "install"]
    assert [kind for kind, _group in itertools.groupby(kinds)] == [kind for kind in order if kind in kinds]
    after = {name: build["disk"] for name, build in builds.items()}
    for step in done:
        if step[0] in ("discard", "adopt", "install"):
            after[step[1]] = {"discard": "absent", "adopt": "built", "install": "installed"}[step[0]]
    rank = {"absent": 0, "incomplete": 0, "built": 1, "installed": 2}
    for name, build in builds.items():
        assert rank[after[name]] >= rank[build["disk"]]
        if name in names[:2]:
            assert rank[after[name]] >= {"added": 0, "built": 1, "installed": 2}[state]
    assert [name for name in names if ("build", name) in done] == [name for name in names if ("adopt", name) in done]


# --- What went wrong


@pytest.mark.parametrize(
    ("output", "log", "action", "reason"),
    [
        ("", "cc1: fatal error: error writing to /tmp/x: No space left on device", "build", "disk_full"),
        ("cp: error writing 'x': No space left on device", "", "install", "disk_full"),
        ("Error! Your kernel headers for kernel 6.1.0-50 cannot be found at /lib/modules/6.1.0-50/build", "", "build", "headers_missing"),
        ("Error! The dkms.conf for module x includes a BUILD_EXCLUSIVE directive which does not match", "", "build", "dkms_build_excluded"),
        ("Error! Bad return status for module build", "accel_a.c:1: error: x", "build", "dkms_build_failed"),
        ("Error! Something", "", "install", "dkms_failed"),
    ],
)
def test_faults(output: str, log: str, action: str, reason: str) -> None:
    assert _dkms.fault(output, log, action) == reason


def test_the_end_of_a_log_has_no_dots_of_progress() -> None:
    assert _dkms.tail("a\n....\n\n   \nb\nc\n", 2) == ["b", "c"]


def test_which_modules_are_not_ours() -> None:
    modules = [
        {"name": "a", "built": meta("1"), "resolved": meta("2"), "ours": False},
        {"name": "b", "built": meta("1"), "resolved": None, "ours": False},
        {"name": "c", "built": None, "resolved": None, "ours": False},
        {"name": "d", "built": meta("1"), "resolved": meta("1"), "ours": True},
    ]
    said = _dkms_journal.not_ours({"kernel": R, "modules": modules})
    assert "a: modprobe would load /x; b: modprobe would find none; c: not built" in said and "; d:" not in said


# --- Sources


def package(path: Path, conf: str = CONF) -> Path:
    path.mkdir(parents=True)
    (path / "dkms.conf").write_text(conf)
    (path / "src").mkdir()
    (path / "src/a.c").write_text("int a;\n")
    (path / "probe.sh").write_text("#!/bin/sh\n")
    (path / "probe.sh").chmod(0o755)
    (path / "link").symlink_to("src/a.c")
    return path


def test_the_digest_of_a_source(tmp_path: Path) -> None:
    source = package(tmp_path / "a")
    digest = _dkms_source.tree_digest(str(source))
    copy = tmp_path / "b"
    _dkms_source.copy(str(source), str(copy))
    os.utime(copy / "src/a.c", (1, 1))
    (copy / _dkms.MARK).write_text("mark")
    assert _dkms_source.tree_digest(str(copy)) == digest
    assert _dkms_source.is_marked(str(copy)) and not _dkms_source.is_marked(str(source))
    again = tmp_path / "c"
    _dkms_source.copy(str(copy), str(again))
    assert not _dkms_source.is_marked(str(again))
    for change in (
        lambda: (copy / "src/a.c").write_text("int b;\n"),
        lambda: (copy / "probe.sh").chmod(0o644),
        lambda: (copy / "new").write_text(""),
        lambda: ((copy / "link").unlink(), (copy / "link").symlink_to("probe.sh")),
        lambda: (copy / "src/a.c").rename(copy / "src/b.c"),
    ):
        shutil.rmtree(copy)
        _dkms_source.copy(str(source), str(copy))
        change()
        assert _dkms_source.tree_digest(str(copy)) != digest
    assert _dkms_source.tree_digest(str(tmp_path)) is None


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("inside", [".", "accel-hello-1.0"])
def test_archives(tmp_path: Path, compression: str, inside: str) -> None:
    source = package(tmp_path / "a")
    archive = tmp_path / "archive"
    with tarfile.open(archive, f"w:{compression}") as stream:
        stream.add(source, inside)
    staged = _dkms_source.unpack(str(archive), str(tmp_path))
    assert _dkms_source.tree_digest(staged) == _dkms_source.tree_digest(str(source))
    assert os.readlink(os.path.join(staged, "link")) == "src/a.c"


def evil(tmp_path: Path, member: tarfile.TarInfo, *before: tarfile.TarInfo) -> Path:
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as stream:
        for one in (*before, member):
            content = b"PACKAGE_NAME=x\n" if one.isfile() else b""
            one.size = len(content)
            stream.addfile(one, io.BytesIO(content))
    return archive


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


@pytest.mark.parametrize(
    "members",
    [
        [entry("../out")],
        [entry("/tmp/accelnet-out")],
        [entry("a/../../out")],
        [entry("link", tarfile.SYMTYPE, "/etc")],
        [entry("link", tarfile.SYMTYPE, "../..")],
        [entry("dev", tarfile.CHRTYPE)],
        [entry("fifo", tarfile.FIFOTYPE)],
    ],
)
def test_an_archive_cannot_lead_out_of_its_directory(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(AccelnetError) as caught:
        _dkms_source.unpack(str(evil(tmp_path, members[-1], entry("dkms.conf"), *members[:-1])), str(work))
    assert caught.value.reason == "bad_dkms_source"
    assert [path.name for path in tmp_path.iterdir()] == ["evil.tar", "work"] or {path.name for path in tmp_path.iterdir()} == {
        "work",
        "evil.tar",
    }
    assert not Path("/tmp/accelnet-out").exists()


def test_what_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "cut").write_bytes(gzip.compress(b"x" * 100000)[:50])
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "without.tar", "w") as stream:
        stream.add(tmp_path / "text", "text")
    for name in ("text", "cut", "empty", "nowhere", "without.tar"):
        with pytest.raises(AccelnetError) as caught:
            _dkms_source.unpack(str(tmp_path / name), str(tmp_path))
        assert caught.value.reason == "bad_dkms_source" and name in caught.value.message


# --- Commands


def commands(tmp_path: Path, timeout: int = 60) -> _dkms_commands.Commands:
    return _dkms_commands.Commands("x", str(tmp_path), timeout)


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"(sleep 600; touch {mark}) & echo $! > {mark}.pid; wait"
    with pytest.raises(AccelnetError) as caught:
        commands(tmp_path, 1).run(["sh", "-c", script])
    assert caught.value.reason == "dkms_timeout"
    child = int(Path(f"{mark}.pid").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] in ("Z", "X")


def test_what_a_command_says_and_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "mine")
    one = commands(tmp_path)
    one.environment = {"sign_file": "x"}
    code, output = one.run(["sh", "-c", "echo out; echo err >&2; echo $LC_ALL ${CC:-none} $sign_file; exit 3"])
    assert (code, output) == (3, "out\nerr\nC none x\n")
    assert one.done == ["sh -c echo out; echo err >&2; echo $LC_ALL ${CC:-none} $sign_file; exit 3"]


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dkms_commands, "_LOCK_DIRECTORIES", (str(tmp_path / "missing"), str(tmp_path)))
    first, second = commands(tmp_path), commands(tmp_path)
    with first.locked(0):
        with pytest.raises(AccelnetError) as caught, second.locked(0):
            raise AssertionError
        assert caught.value.reason == "dkms_locked"
    with second.locked(0):
        pass


def test_a_full_file_system_is_told_by_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _dkms_build.nearly_full(["/proc", "/nowhere"])

    class Full:
        f_blocks, f_bavail, f_frsize = 1000, 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Full)
    assert _dkms_build.nearly_full(["/"])


# --- The modules


def run_module(which: str, **arguments: Any) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    module = "ansible_collections.accelnet.mana.plugins.modules." + which
    done = subprocess.run([sys.executable, "-m", module], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_dkms_info_of_a_tree(tmp_path: Path) -> None:
    trees.write(tmp_path, installation())
    answer = run_module("dkms_info", root=str(tmp_path))
    (found,) = answer["packages"]
    assert (answer["changed"], answer["dkms_version"], found["status"], found["builds"][0]["disk"]) == (False, None, None, "installed")
    assert run_module("dkms_info", root=str(tmp_path), version="2.0")["packages"] == []
    assert run_module("dkms_info", root="/nowhere")["reason"] == "bad_root"


def test_bad_input_is_refused_before_anything_else() -> None:
    for change, reason in (({"version": "../x"}, "bad_dkms_source"), ({"kernels": ["a/b"]}, "bad_kernel")):
        answer = run_module("dkms", **{"name": "x", "version": "1", **change}, _ansible_check_mode=True)
        assert (answer["failed"], answer["reason"], answer["changed"]) == (True, reason, False)


def test_check_mode_on_a_bare_host_names_what_is_missing() -> None:
    answer = run_module("dkms", name="x", version="1", source="/not/yet", kernels=["9.9.9-none"], _ansible_check_mode=True)
    assert "failed" not in answer and answer["changed"] is True
    assert {"source", "kernel:9.9.9-none", "headers:9.9.9-none"} <= set(answer["would_require"])
    absent = run_module("dkms", name="x", version="1", state="absent", _ansible_check_mode=True)
    assert (absent["changed"], absent["actions"]) == (False, [])


def test_the_keys_of_a_result_are_documented() -> None:
    import yaml
    from ansible_collections.accelnet.mana.plugins.modules import dkms

    documented = set(yaml.safe_load(dkms.RETURN))
    options = _dkms_apply.Options("x", "1", None, None, "x86_64", "installed", False, False, 1, 1, True, "/tmp")
    assert set(_dkms_apply.Worker(options).result) - {"changed"} | {"reason"} == documented
    assert _dkms_host.reader("/").layout.modules
