# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operating system of a tree."""

import struct

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._platform import package_manager, parse_os_release, read_platform
from ansible_collections.accelnet.mana.plugins.module_utils._record import RecordingBackend
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree
from trees import binary, link

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
AZURE = "7783-7084-3265-9085-8269-3286-77\n"


def platform(tree, hardware=True, uname=None, python=None):
    return read_platform(tree, hardware, uname, python)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("ID=debian", "debian"),
        ('ID="sles"', "sles"),
        ("ID='ol'", "ol"),
        ("  ID=rhel  ", "rhel"),
        ('ID="a b"', "a b"),
        ('ID="a\\"b\\$c"', 'a"b$c'),
        ("ID=", ""),
        ('ID=""', ""),
        ('ID="', '"'),
        ("ID=a=b", "a=b"),
        ("#ID=x\nID=y", "y"),
        ("ID=x\nID=y", "y"),
        ("ID=debian\r", "debian"),
    ],
)
def test_quoting_in_os_release(line, value):
    assert parse_os_release(line) == ({"ID": value}, [])


def test_lines_that_assign_nothing():
    assert parse_os_release("garbage\nid=x\n=y\n\n# no\nID=ok\n<html>") == ({"ID": "ok"}, ["garbage", "id=x", "=y", "<html>"])


UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nVERSION_ID="24.04"\nID=ubuntu\nID_LIKE="debian linux"\n'


@pytest.mark.parametrize(
    ("files", "distribution", "warnings"),
    [
        ({"/etc/os-release": UBUNTU}, "ubuntu", 0),
        ({"/etc/os-release": link("../usr/lib/os-release"), "/usr/lib/os-release": UBUNTU}, "ubuntu", 0),
        ({"/etc/os-release": link("/usr/lib/os-release"), "/usr/lib/os-release": UBUNTU}, "ubuntu", 0),
        ({"/usr/lib/os-release": UBUNTU}, "ubuntu", 0),
        ({"/etc/os-release": "ID=debian\n", "/usr/lib/os-release": UBUNTU}, "debian", 0),
        ({"/etc/os-release": {"error": "EACCES"}, "/usr/lib/os-release": UBUNTU}, "ubuntu", 1),
        ({"/etc/os-release": "garbage\nID=debian\n"}, "debian", 1),
        ({"/etc/os-release": ""}, None, 1),
        ({"/etc/os-release": 'ID="Not Valid"\n'}, None, 1),
        ({"/etc/os-release": binary(b"\x7fELF\x00\xff\xfe\n\x01=")}, None, 2),
        ({"/etc/os-release": link("/gone")}, None, 1),
        ({"/etc/os-release": {"dir": True}}, None, 1),
        ({}, None, 1),
    ],
)
def test_which_distribution(make_tree, files, distribution, warnings):
    tree = make_tree(files)
    assert platform(tree)["distribution"] == distribution
    assert len(tree.warnings) == warnings, tree.warnings


def test_the_rest_of_os_release(make_tree):
    found = platform(make_tree({"/etc/os-release": UBUNTU}))
    assert (found["release"], found["distribution_like"], found["distribution_name"]) == (
        "24.04",
        ["debian", "linux"],
        "Ubuntu 24.04.1 LTS",
    )
    found = platform(make_tree({}))
    assert (found["release"], found["distribution_like"], found["distribution_name"]) == (None, [], None)


def elf(machine, order=1, magic=b"\x7fELF"):
    header = magic + bytes(bytearray([2, order, 1])) + bytes(9)
    return binary(header + struct.pack("<HH" if order == 1 else ">HH", 2, machine) + b"more")


@pytest.mark.parametrize(
    ("files", "architecture"),
    [
        ({"/bin/sh": elf(62)}, "x86_64"),
        ({"/bin/sh": elf(183)}, "aarch64"),
        ({"/bin": link("usr/bin"), "/usr/bin/sh": link("/usr/bin/dash"), "/usr/bin/dash": elf(183)}, "aarch64"),
        ({"/bin/sh": "#!/bin/busybox\n", "/usr/bin/env": elf(62)}, "x86_64"),
        ({"/bin/sh": elf(3)}, None),
        ({"/bin/sh": elf(62, order=2)}, None),
        ({"/bin/sh": elf(62, magic=b"\x7fELG")}, None),
        ({"/bin/sh": binary(b"\x7fELF\x02\x01")}, None),
        ({"/bin/sh": ""}, None),
        ({}, None),
    ],
)
def test_architecture_of_a_tree(make_tree, files, architecture):
    assert platform(make_tree(files))["architecture"] == architecture


def test_a_running_system_says_its_architecture(make_tree):
    assert platform(make_tree({"/bin/sh": elf(62)}), uname={"release": "6.1", "machine": "aarch64"})["architecture"] == "aarch64"


@pytest.mark.parametrize(
    ("files", "secure_boot"),
    [
        ({SECURE_BOOT: binary(b"\x06\x00\x00\x00\x01")}, True),
        ({SECURE_BOOT: binary(b"\x06\x00\x00\x00\x00")}, False),
        ({SECURE_BOOT: binary(b"\x06\x00")}, None),
        ({SECURE_BOOT: {"error": "EACCES"}}, None),
        ({SECURE_BOOT: {"error": "EIO"}}, None),
        ({"/sys/firmware/efi/efivars": {"dir": True}}, None),
        ({"/sys/firmware/acpi": {"dir": True}}, False),  # booted without EFI
        ({"/sys/firmware": {"error": "EACCES"}, "/sys/firmware/efi/x": ""}, None),
        ({}, None),
    ],
)
def test_secure_boot(make_tree, files, secure_boot):
    assert platform(make_tree(files))["secure_boot"] is secure_boot


@pytest.mark.parametrize(
    ("text", "lockdown"),
    [
        ("[none] integrity confidentiality\n", "none"),
        ("none [integrity] confidentiality\n", "integrity"),
        ("none integrity [confidentiality]\n", "confidentiality"),
        ("garbage\n", None),
        ({"error": "EACCES"}, None),
        (None, None),
    ],
)
def test_lockdown(make_tree, text, lockdown):
    files = {} if text is None else {"/sys/kernel/security/lockdown": text}
    assert platform(make_tree(files))["lockdown"] == lockdown


@pytest.mark.parametrize(("text", "enforced"), [("Y\n", True), ("N\n", False), ("1\n", True), ("0\n", False), ("?\n", None), (None, None)])
def test_enforced_signatures(make_tree, text, enforced):
    files = {} if text is None else {"/sys/module/module/parameters/sig_enforce": text}
    assert platform(make_tree(files))["sig_enforce"] is enforced


@pytest.mark.parametrize(
    ("files", "azure"),
    [
        ({"/sys/class/dmi/id/chassis_asset_tag": AZURE}, True),
        ({"/sys/class/dmi/id/chassis_asset_tag": "other\n"}, False),
        ({"/sys/class/dmi/id/chassis_asset_tag": "\n"}, False),
        ({"/sys/class/dmi/id/sys_vendor": "QEMU\n"}, False),
        ({"/sys/class/dmi/id/chassis_asset_tag": {"error": "EACCES"}}, None),
        ({}, None),
    ],
)
def test_azure(make_tree, files, azure):
    assert platform(make_tree(files))["azure"] is azure


def test_the_builder_s_machine_is_not_described(make_tree):
    files = {
        SECURE_BOOT: binary(b"\x06\x00\x00\x00\x01"),
        "/sys/kernel/security/lockdown": "none [integrity]\n",
        "/sys/module/module/parameters/sig_enforce": "Y\n",
        "/sys/class/dmi/id/chassis_asset_tag": AZURE,
    }
    found = platform(make_tree(files), hardware=False)
    assert [found[key] for key in ("azure", "secure_boot", "lockdown", "sig_enforce")] == [None] * 4


@pytest.mark.parametrize(
    ("files", "manager"),
    [
        ({"/usr/bin/apt-get": ""}, "apt"),
        ({"/usr/bin/dnf": link("dnf-3"), "/usr/bin/dnf-3": ""}, "dnf"),
        ({"/usr/bin/dnf": link("dnf-gone")}, None),
        ({"/usr/bin/dnf": "", "/usr/bin/tdnf": ""}, "tdnf"),
        ({"/bin": link("usr/bin"), "/usr/bin/zypper": ""}, "zypper"),
        ({"/usr/bin/pacman": ""}, None),
        ({}, None),
    ],
)
def test_package_manager(make_tree, files, manager):
    assert package_manager(make_tree(files)) == manager


@pytest.mark.parametrize(
    ("error", "euid", "proc", "chroot"),
    [
        (PermissionError, 1000, True, False),
        # hidepid=2: process 1 is not there for others than root
        (FileNotFoundError, 1000, True, False),
        (FileNotFoundError, 1000, False, True),
        (FileNotFoundError, 0, True, True),
        (FileNotFoundError, 0, False, True),
    ],
)
def test_a_chroot_whose_process_1_cannot_be_looked_at(error, euid, proc, chroot, monkeypatch):
    stat, exists = _facts.os.stat, _facts.os.path.exists

    def refuse(path, **more):
        if str(path).startswith("/proc/1/"):
            raise error(path)
        return stat(path, **more)

    monkeypatch.setattr(_facts.os, "stat", refuse)
    monkeypatch.setattr(_facts.os, "geteuid", lambda: euid)
    monkeypatch.setattr(_facts.os.path, "exists", lambda path: proc if path == "/proc/self" else exists(path))
    assert _facts.in_chroot() is chroot


def test_the_builder_s_sysfs_in_an_image_is_not_its_hardware(tmp_path, monkeypatch):
    (tmp_path / "sys" / "class").mkdir(parents=True)
    tree, _answers, live = _facts.open_tree(str(tmp_path))
    assert _facts.shows_hardware(tree, live) is True
    stat = _facts.os.stat
    monkeypatch.setattr(_facts.os, "stat", lambda path, **more: stat(str(tmp_path / "sys") if path == "/sys" else path, **more))
    assert _facts.shows_hardware(tree, live) is False
    assert _facts.shows_hardware(Tree(RecordingBackend(tree.backend)), live) is False


@pytest.mark.parametrize(
    ("files", "disk", "expected"),
    [
        ({"/run/systemd/system": {"dir": True}}, 8, False),
        # An ostree system has an overlay as root, too.
        ({"/run/systemd/system": {"dir": True}}, 0, False),
        # A machine image made from a container image keeps Docker's mark.
        ({"/.dockerenv": ""}, 8, False),
        ({"/.dockerenv": ""}, 0, True),
        ({}, 0, True),  # containerd leaves no mark
        ({"/run/.containerenv": ""}, 8, True),
        ({"/run/systemd/container": "lxc"}, 8, True),
    ],
)
def test_a_container_is_told_from_a_machine(files, disk, expected, make_tree, monkeypatch):
    monkeypatch.setattr(_facts.os, "major", lambda device: disk)
    assert _facts.in_container(make_tree(files)) is expected
