# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""package_candidates asks real package managers about systems of their own in temporary directories.

Debian's packages apt-utils, createrepo-c, dnf, dpkg-dev, rpm and zypper bring the programs. tdnf is in no Debian
archive, so what the module knows about it is tried nowhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.packages

PROGRAMS = {
    "apt-cache": "apt",
    "apt-ftparchive": "apt-utils",
    "createrepo_c": "createrepo-c",
    "dnf": "dnf",
    "dpkg-deb": "dpkg",
    "rpm": "rpm",
    "rpmbuild": "rpm",
    "zypper": "zypper",
}


def need(*programs: str) -> None:
    missing = sorted({PROGRAMS[program] for program in programs if not shutil.which(program)})
    if missing:
        pytest.skip("programs are missing: apt-get install " + " ".join(missing))


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, "LC_ALL": "C", **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def ask(root: Path, names: Sequence[str], manager: str = "auto", home: Path | None = None) -> dict[str, Any]:
    """What the module answers."""
    arguments = {"ANSIBLE_MODULE_ARGS": {"names": list(names), "root": str(root), "manager": manager}}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home or root)}
    module = "ansible_collections.accelnet.mana.plugins.modules.package_candidates"
    done = subprocess.run(
        [sys.executable, "-m", module], input=json.dumps(arguments), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def state(root: Path) -> dict[str, str]:
    """All that can be seen of a tree; rpm's shared memory is no content."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith("-shm"):
            continue
        if path.is_symlink():
            found[str(path)] = "link " + str(path.readlink())
        else:
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "directory"
    return found


def unchanged_while_asked(root: Path, names: Sequence[str], **more: Any) -> dict[str, Any]:
    before = state(root)
    answer = ask(root, names, **more)
    assert state(root) == before
    assert answer["changed"] is False
    return answer


# --- apt


def make_deb(repository: Path, name: str, version: str, architecture: str = "all") -> None:
    source = repository.parent / "deb" / f"{name}_{version}_{architecture}"
    (source / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: x <x@example.com>\nDescription: test\n"
    (source / "DEBIAN" / "control").write_text(control)
    run("dpkg-deb", "--build", "--root-owner-group", source, repository)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("dpkg-deb", "apt-ftparchive", "apt-cache")
    repository = tmp_path_factory.mktemp("apt") / "repository"
    repository.mkdir()
    for name, version in (("rdma-core", "44.0-2"), ("dpdk", "22.11.7-1~deb12u1"), ("dpdk", "24.11.4-1~bpo12+1"), ("dpdk", "23.11-1")):
        make_deb(repository, name, version)
    make_deb(repository, "linux-image-6.1.0-50-cloud-amd64", "6.1.176-1", "amd64")
    make_deb(repository, "linux-image-6.1.0-50-cloud-arm64", "6.1.176-1", "arm64")
    (repository / "Packages").write_text(run("apt-ftparchive", "packages", repository).replace(str(repository), "."))
    return repository


ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"


def debian(tmp_path: Path, repository: Path, machine: int = 62) -> Path:
    root = tmp_path / "debian"
    for folder in (
        "etc/apt/sources.list.d",
        "etc/apt/preferences.d",
        "etc/apt/apt.conf.d",
        "var/lib/apt/lists/partial",
        "var/lib/dpkg",
        "var/cache/apt/archives/partial",
        "usr/bin",
    ):
        (root / folder).mkdir(parents=True)
    (root / "etc/apt/sources.list").write_text(f"deb [trusted=yes] copy:{repository} ./\n")
    (root / "var/lib/dpkg/status").write_text(
        "Package: installed-only\nStatus: install ok installed\nMaintainer: x <x@example.com>\n"
        "Architecture: all\nVersion: 1.0\nDescription: x\n\n"
    )
    (root / "usr/bin/apt-get").touch()
    (root / "usr/bin/env").write_bytes(ELF + bytes([machine, 0]))
    return root


def apt_update(root: Path, architecture: str = "amd64") -> None:
    options = [
        f"-oDir={root}",
        f"-oDir::State::status={root}/var/lib/dpkg/status",
        f"-oAPT::Architecture={architecture}",
        f"-oAPT::Architectures={architecture}",
    ]
    run("apt-get", *options, "-oAPT::Sandbox::User=root", "update")


def test_apt(debs: Path, tmp_path: Path) -> None:
    root = debian(tmp_path, debs)
    apt_update(root)
    (root / "etc/apt/preferences.d/pin").write_text("Package: dpdk\nPin: version 24.*\nPin-Priority: -1\n")
    names = ["rdma-core", "dpdk", "installed-only", "nowhere", "linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-50-cloud-arm64"]
    answer = unchanged_while_asked(root, names)
    assert answer["manager"] == "apt"
    assert answer["packages"] == {
        "rdma-core": {"version": "44.0-2", "versions": ["44.0-2"]},
        "dpdk": {"version": "23.11-1", "versions": ["24.11.4-1~bpo12+1", "23.11-1", "22.11.7-1~deb12u1"]},
        "installed-only": None,
        "nowhere": None,
        "linux-image-6.1.0-50-cloud-amd64": {"version": "6.1.176-1", "versions": ["6.1.176-1"]},
        "linux-image-6.1.0-50-cloud-arm64": None,
    }
    assert (answer["unknown"], answer["read_warnings"]) == ([], [])


def test_apt_in_an_image_of_another_architecture(debs: Path, tmp_path: Path) -> None:
    root = debian(tmp_path, debs, machine=183)
    apt_update(root, "arm64")
    answer = unchanged_while_asked(root, ["linux-image-6.1.0-50-cloud-amd64", "linux-image-6.1.0-50-cloud-arm64"])
    assert [name for name, offer in answer["packages"].items() if offer] == ["linux-image-6.1.0-50-cloud-arm64"]


def test_apt_that_was_never_refreshed(debs: Path, tmp_path: Path) -> None:
    answer = unchanged_while_asked(debian(tmp_path, debs), ["dpdk", "nowhere"])
    assert (answer["packages"], answer["unknown"]) == ({}, ["dpdk", "nowhere"])
    assert "apt-get update" in answer["read_warnings"][0]


# --- rpm


def make_rpm(top: Path, name: str, version: str, release: str, epoch: int | None = None) -> None:
    spec = top / f"{name}-{version}-{release}.spec"
    lines = [f"Name: {name}", f"Version: {version}", f"Release: {release}", "Summary: test", "License: MIT", "BuildArch: x86_64"]
    lines += [f"Epoch: {epoch}"] if epoch is not None else []
    spec.write_text("\n".join([*lines, "%description", "test", "%files", ""]))
    run("rpmbuild", "--quiet", "-bb", "--target", "x86_64", f"-D_topdir {top}/build", f"-D_rpmdir {top}/repository", spec)


RPMS = [
    ("rdma-core", "56.0", "2.el9", None),
    ("dpdk", "23.11", "1.el9", 2),
    ("kernel-modules", "5.14.0", "427.el9", None),
    ("kernel-modules", "5.14.0", "503.el9", None),
    ("kernel-modules", "5.14.0", "503.11.1.el9", None),
]
KERNEL_MODULES = ["5.14.0-503.11.1.el9", "5.14.0-503.el9", "5.14.0-427.el9"]
ASKED = [
    "rdma-core",
    "dpdk",
    "kernel-modules",
    "kernel-modules-5.14.0-503.el9.x86_64",
    "kernel-modules-5.14.0-999.el9.x86_64",
    "nowhere",
    "local-only",
]
OFFERED = {
    "rdma-core": {"version": "56.0-2.el9", "versions": ["56.0-2.el9"]},
    "dpdk": {"version": "2:23.11-1.el9", "versions": ["2:23.11-1.el9"]},
    "kernel-modules": {"version": KERNEL_MODULES[0], "versions": KERNEL_MODULES},
    "kernel-modules-5.14.0-503.el9.x86_64": {"version": "5.14.0-503.el9", "versions": ["5.14.0-503.el9"]},
    "kernel-modules-5.14.0-999.el9.x86_64": None,
    "nowhere": None,
    "local-only": None,
}


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("rpmbuild", "createrepo_c", "rpm")
    top = tmp_path_factory.mktemp("rpm")
    for package in RPMS:
        make_rpm(top, *package)
    run("createrepo_c", "--quiet", top / "repository")
    make_rpm(top, "local-only", "1.0", "1")
    return top / "repository"


def rpm_system(root: Path, repository: Path, program: str, repositories: str) -> Path:
    """A root with an rpm database that has one package that no repository has."""
    for folder in ("usr/bin", "usr/lib/sysimage", "var/lib/rpm", "etc", repositories):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "usr/bin" / program).touch()
    (root / "usr/bin/env").write_bytes(ELF + b"\x3e\x00")
    (root / repositories / "local.repo").write_text(
        f"[local]\nname=local\nbaseurl=file://{repository}\nenabled=1\ngpgcheck=0\nautorefresh=0\ntype=rpm-md\n"
    )
    # Debian's rpm keeps its database in the home directory
    (root / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
    run("rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "-i", next(repository.rglob("local-only*.rpm")), HOME=str(root))
    return root


def el(tmp_path: Path, repository: Path) -> Path:
    root = rpm_system(tmp_path / "el", repository, "dnf", "etc/yum.repos.d")
    (root / "etc/os-release").write_text('ID=rocky\nVERSION_ID="9.4"\nPLATFORM_ID="platform:el9"\n')
    (root / "etc/dnf/vars").mkdir(parents=True)
    (root / "etc/dnf/vars/releasever").write_text("9\n")
    (root / "etc/dnf/dnf.conf").write_text("[main]\ngpgcheck=0\n")
    return root


def test_dnf(rpms: Path, tmp_path: Path) -> None:
    need("dnf")
    root = el(tmp_path, rpms)
    run("dnf", "-q", f"--installroot={root}", "--forcearch=x86_64", "makecache", HOME=str(root))
    answer = unchanged_while_asked(root, ASKED)
    assert (answer["packages"], answer["unknown"], answer["read_warnings"]) == (OFFERED, [], [])


def test_plugins_of_an_image_do_not_run(rpms: Path, tmp_path: Path) -> None:
    """An image's dnf.conf can name plugins anywhere, in the image too; root's rights are not for them."""
    need("dnf")
    root, mark = el(tmp_path, rpms), tmp_path / "mark"
    run("dnf", "-q", f"--installroot={root}", "--forcearch=x86_64", "makecache", HOME=str(root))
    for folder in ("plugins", "conf"):
        (root / folder).mkdir()
    (root / "plugins/x.py").write_text(f"import dnf\nopen({str(mark)!r}, 'w').close()\nclass X(dnf.Plugin):\n    name = 'x'\n")
    (root / "conf/x.conf").write_text("[main]\nenabled=1\n")
    with (root / "etc/dnf/dnf.conf").open("a") as stream:
        stream.write(f"plugins=1\npluginpath={root}/plugins\npluginconfpath={root}/conf\n")
    run("dnf", "-q", "-C", f"--installroot={root}", "--forcearch=x86_64", "repoquery", "dpdk", HOME=str(root))
    assert mark.exists(), "the trap does not work"
    mark.unlink()
    answer = ask(root, ASKED)
    assert (answer["packages"], mark.exists()) == (OFFERED, False)


def test_dnf_that_was_never_refreshed(rpms: Path, tmp_path: Path) -> None:
    need("dnf")
    answer = unchanged_while_asked(el(tmp_path, rpms), ASKED)
    assert (answer["packages"], answer["unknown"]) == ({}, sorted(ASKED))
    assert "dnf makecache" in answer["read_warnings"][0]


def test_dnf_with_a_repository_that_was_never_fetched(rpms: Path, tmp_path: Path) -> None:
    need("dnf")
    root = el(tmp_path, rpms)
    run("dnf", "-q", f"--installroot={root}", "--forcearch=x86_64", "makecache", HOME=str(root))
    (root / "etc/yum.repos.d/new.repo").write_text("[new]\nname=new\nbaseurl=file:///nowhere\ngpgcheck=0\n")
    answer = ask(root, ASKED)
    assert (answer["packages"], answer["unknown"]) == ({}, sorted(ASKED))
    assert "new" in answer["read_warnings"][0]


def trap(path: Path, mark: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ntouch {mark}\n")
    path.chmod(0o755)


def test_programs_of_an_image_do_not_run_for_apt(debs: Path, tmp_path: Path) -> None:
    root, mark = debian(tmp_path, debs), tmp_path / "mark"
    apt_update(root)
    for name in ("dpkg", "x"):
        trap(root / "usr/bin" / name, mark)
    program = root / "usr/bin/x"
    hooks = "".join(f'{hook} {{"{program}";}};\n' for hook in ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke", "DPkg::Pre-Invoke"))
    (root / "etc/apt/apt.conf.d/99x").write_text(f'Dir::Bin::dpkg "{program}";\nDir::Bin::methods "{program.parent}";\n{hooks}')
    (root / "usr/bin/env").unlink()  # then apt asks dpkg for architectures
    assert (ask(root, ["rdma-core"])["packages"]["rdma-core"] is None, mark.exists()) == (False, False)


def sles(tmp_path: Path, repository: Path) -> Path:
    root = rpm_system(tmp_path / "sles", repository, "zypper", "etc/zypp/repos.d")
    (root / "etc/os-release").write_text('ID=sles\nVERSION_ID="15.6"\n')
    return root


def test_zypper(rpms: Path, tmp_path: Path) -> None:
    need("zypper")
    root = sles(tmp_path, rpms)
    run("zypper", "--root", root, "--non-interactive", "--no-gpg-checks", "refresh", HOME=str(root), ZYPP_LOGFILE="/dev/null")
    ask(root, ["rdma-core"])  # the first question makes the lock file
    answer = unchanged_while_asked(root, ASKED)
    assert (answer["packages"], answer["unknown"], answer["read_warnings"]) == (OFFERED, [], [])
    answer = unchanged_while_asked(root, ["nowhere"])
    assert (answer["packages"], answer["unknown"]) == ({"nowhere": None}, [])


def test_programs_of_an_image_do_not_run_for_zypper(rpms: Path, tmp_path: Path) -> None:
    need("zypper")
    root, mark = sles(tmp_path, rpms), tmp_path / "mark"
    run("zypper", "--root", root, "--non-interactive", "--no-gpg-checks", "refresh", HOME=str(root), ZYPP_LOGFILE="/dev/null")
    for kind in ("appdata", "commit", "services", "system", "urlresolver"):
        trap(root / "usr/lib/zypp/plugins" / kind / "x", mark)
    (root / "etc/zypp/services.d").mkdir()
    (root / "etc/zypp/services.d/x.service").write_text("[x]\nname=x\nenabled=1\nautorefresh=1\nurl=plugin:x\ntype=plugin\n")
    repository = root / "etc/zypp/repos.d/local.repo"
    repository.write_text(repository.read_text().replace("baseurl=file://", "baseurl=plugin:x#").replace("autorefresh=0", "autorefresh=1"))
    assert (ask(root, ["rdma-core"])["packages"], mark.exists()) == ({"rdma-core": OFFERED["rdma-core"]}, False)
    shutil.rmtree(root / "var/cache/zypp/raw")
    assert (ask(root, ["rdma-core"])["unknown"], mark.exists()) == (["rdma-core"], False)


@pytest.mark.parametrize("refreshed", [False, True])
def test_zypper_with_a_repository_that_was_never_fetched(rpms: Path, tmp_path: Path, refreshed: bool) -> None:
    need("zypper")
    root = sles(tmp_path, rpms)
    if refreshed:
        run("zypper", "--root", root, "--non-interactive", "--no-gpg-checks", "refresh", HOME=str(root), ZYPP_LOGFILE="/dev/null")
        text = (root / "etc/zypp/repos.d/local.repo").read_text().replace("local", "new", 2)
        (root / "etc/zypp/repos.d/new.repo").write_text(text)
    answer = unchanged_while_asked(root, ASKED)
    assert (answer["packages"], answer["unknown"]) == ({}, sorted(ASKED))
    assert "zypper refresh" in answer["read_warnings"][0]


@pytest.mark.parametrize("manager", ["dnf", "zypper", "tdnf"])
def test_a_manager_that_the_root_does_not_have(tmp_path: Path, manager: str) -> None:
    (tmp_path / "root").mkdir()
    answer = unchanged_while_asked(tmp_path / "root", ["dpdk"], manager=manager)
    assert (answer["unknown"], len(answer["read_warnings"])) == (["dpdk"], 1)


def test_no_manager_at_all(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    answer = unchanged_while_asked(tmp_path / "root", ["dpdk"])
    assert (answer["manager"], answer["unknown"]) == (None, ["dpdk"])
