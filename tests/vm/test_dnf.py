# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""nic_driver by packages of modules with the real dnf and rpm, as on EL: kernel-modules-<release> brings mana, and goes again.

EL itself is not to be had here. A Debian 12 plays it: with Debian's dnf, another os-release, without apt and dpkg's database, and with a
repository of one package, which is named as EL's and has the mana that was taken from this kernel.
"""

from __future__ import annotations

import collections.abc
import pathlib
import subprocess
import typing as t

import pytest
from lab.vm.lab import Lab
from lab.vm.playbook import Played, play
from sites import STATE

# dnf is installed, with much of Python.
pytestmark = pytest.mark.matrix

SPEC = """
Name: {name}
Version: 6.1.0
Release: 1.el9
Summary: Modules of the kernel
License: GPL-2.0-only
%description
Modules of the kernel.
%files
%attr(644, root, root) {path}
%post
/sbin/depmod {release}
%postun
/sbin/depmod {release}
"""
# Ansible, dnf and this collection all look at other things to know what a host is.
DISGUISE = r"""
set -e
printf 'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.6"\nVERSION="9.6 (Blue Onyx)"\n' > /root/os-release
rm -f /etc/os-release /etc/debian_version && cp /root/os-release /etc/os-release && cp /root/os-release /usr/lib/os-release
echo 'Rocky Linux release 9.6 (Blue Onyx)' > /etc/redhat-release
mkdir -p /root/away && mv /usr/bin/apt /usr/bin/apt-get /usr/bin/dpkg /usr/bin/dpkg-query /var/lib/dpkg/status /root/away/
mkdir -p /etc/rpm && echo '%_dbpath /var/lib/rpm' > /etc/rpm/macros.dbpath
mkdir -p /etc/yum.repos.d /etc/dnf/vars && echo 9 > /etc/dnf/vars/releasever
printf '[main]\ngpgcheck=0\n' > /etc/dnf/dnf.conf
printf '[local]\nname=local\nbaseurl=file:///root/repository\ngpgcheck=0\n' > /etc/yum.repos.d/local.repo
rpm --initdb && rpm -i --nodeps /root/repository/x86_64/basesystem-*.rpm
dnf -q makecache
"""
STATE_RPM = STATE.replace("dpkg-query -W", "rpm -qa | sort")


def make_rpm(top: pathlib.Path, spec: str) -> None:
    (top / "package.spec").write_text(spec)
    options = ["--quiet", "-bb", "--target", "x86_64", "-D", f"_topdir {top}/build", "-D", f"_rpmdir {top}/repository"]
    # The module is as the kernel was built: nothing is to be stripped from it.
    options += ["-D", "__os_install_post %{nil}", "--buildroot", str(top / "tree")]
    subprocess.run(["rpmbuild", *options, str(top / "package.spec")], check=True, capture_output=True)


def repository(top: pathlib.Path, release: str, path: str, module: bytes) -> pathlib.Path:
    """An archive of a repository with that module in the package that EL would have it in."""
    make_rpm(top, "Name: basesystem\nVersion: 11\nRelease: 1\nSummary: Any\nLicense: MIT\nProvides: /bin/sh\n%description\nAny.\n%files\n")
    file = top / "tree" / path.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_bytes(module)
    make_rpm(top, SPEC.format(name=f"kernel-modules-{release}", path=path, release=release))
    subprocess.run(["createrepo_c", "--quiet", str(top / "repository")], check=True, capture_output=True)
    archive = top / "repository.tar"
    subprocess.run(["tar", "-C", str(top), "-cf", str(archive), "repository"], check=True)
    return archive


@pytest.fixture(scope="module")
def el(tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[Lab]:
    with Lab("debian-12") as lab:
        vm = lab.vm
        install = "DEBIAN_FRONTEND=noninteractive apt-get -qqy --no-install-recommends install dnf python3-dnf rpm"
        vm.run(f"apt-get -q update && {install}", timeout=1800)
        release, path = vm.run("uname -r").out.strip(), vm.run("realpath $(modinfo -n mana)").out.strip()
        vm.ssh.put(repository(tmp_path_factory.mktemp("el"), release, path, vm.ssh.get(path)), "/root/repository.tar")
        vm.run(f"tar -C /root -xf /root/repository.tar && rmmod mana && rm {path} && depmod")
        vm.run(DISGUISE)
        yield lab


def run_role(lab: Lab, *options: str, state: str = "present") -> Played:
    release = lab.vm.image.kernel_release
    step = {
        "id": f"nic_driver.package.{release}",
        "role": "nic_driver",
        "action": "package",
        "kernel": release,
        "packages": [f"kernel-modules-{release}"],
        "metapackages": [],
        "suite": None,
        "provides": [f"module:mana@{release}", "loaded:mana"],
    }
    variables = {"nic_driver_state": state, "nic_driver_steps": [step]}
    return play(lab, [{"hosts": "all", "gather_facts": False, "roles": ["accelnet.mana.nic_driver"]}], variables, *options)


def facts(lab: Lab) -> dict[str, t.Any]:
    (mac,) = lab.vm.spec.functions[0].macs
    return {"nic": mac in lab.vm.run("cat /sys/class/net/*/address").out, "packages": lab.vm.run("rpm -qa | sort").out.split()}


def test_modules_come_by_dnf_and_go_by_rpm(el: Lab) -> None:
    before, state = facts(el), el.vm.run(STATE_RPM).out
    assert (before["nic"], before["packages"]) == (False, ["basesystem-11-1.x86_64"])

    assert run_role(el, "--check", "--diff").recap()["changed"] > 0
    assert el.vm.run(STATE_RPM).out == state

    run_role(el)
    el.connect()
    assert any(name.startswith(f"kernel-modules-{el.vm.image.kernel_release}") for name in facts(el)["packages"])
    assert run_role(el).recap()["changed"] == 0

    run_role(el, state="absent")
    assert facts(el)["packages"] == before["packages"]
    assert el.vm.run("modinfo mana", check=False).code != 0
    assert run_role(el, state="absent").recap()["changed"] == 0
