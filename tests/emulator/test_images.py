# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What guest images are made of, when they are made again, and what is said about them. Nothing is built here."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab.vm import builder, images, secure_boot
from lab.vm.errors import LabError
from lab.vm.keys import Keys
from lab.vm.recipes import RECIPES, Recipe

RECIPE = RECIPES["debian-13"]
CHANGED: dict[str, Any] = {"suite": "sid", "kernels": "x", "packages": ("gdb",), "backports": True, "firmware": "uefi", "size": 1 << 30}
VM = Path(builder.__file__).parent


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    for name in ("login", "host"):
        (tmp_path / f"{name}.pub").write_text(f"ssh-ed25519 {name} lab\n", encoding="ascii")
    return Keys(tmp_path)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_of_a_recipe_is_in_the_key(field: str, keys: Keys) -> None:
    assert builder.key(dataclasses.replace(RECIPE, **{field: CHANGED[field]}), keys) != builder.key(RECIPE, keys)


@pytest.mark.parametrize("file", ["customize.sh", "boot_loader.sh", "rootfs/etc/fstab"])
def test_every_file_that_goes_in_is_in_the_key(file: str, keys: Keys, tmp_path: Path) -> None:
    copy = tmp_path / "vm"
    shutil.copytree(VM, copy)
    assert builder.key(RECIPE, keys, copy) == builder.key(RECIPE, keys)
    with open(copy / file, "a", encoding="utf-8") as changed:
        changed.write("# changed\n")
    assert builder.key(RECIPE, keys, copy) != builder.key(RECIPE, keys)


@pytest.mark.parametrize("name", ["login", "host"])
def test_the_keys_that_go_in_are_in_the_key(name: str, keys: Keys) -> None:
    before = builder.key(RECIPE, keys)
    (keys.directory / f"{name}.pub").write_text("ssh-ed25519 another lab\n", encoding="ascii")
    assert builder.key(RECIPE, keys) != before


def fake_build(name: str, recipe: Recipe, keys: Keys, directory: Path) -> None:
    (directory / "guest.json").write_text('{"kernel_release": "6.12.1", "packages": {"bash": "5"}}', encoding="ascii")


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images are built in no time, in this cache."""
    monkeypatch.setenv("LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(builder, "build", fake_build)
    trusted = secure_boot.SecureBoot(tmp_path / "variables.fd", tmp_path / "owner.key", tmp_path / "owner.pem")
    monkeypatch.setattr(images, "secure_boot", lambda cache: trusted)
    return tmp_path / "cache"


def test_a_guest_for_direct_boot(built: Path) -> None:
    image = images.guest("debian-13")
    assert image.kernel == image.disk.parent / "vmlinuz"
    assert image.initrd == image.disk.parent / "initrd.img"
    assert image.append == "root=LABEL=lab-root ro console=ttyS0"
    assert (image.firmware, image.kernel_release, image.packages) == ("none", "6.12.1", {"bash": "5"})
    assert image.secure_boot is None


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.firmware != "none"])
def test_a_guest_with_a_boot_loader_has_no_kernel_of_its_own(name: str, built: Path) -> None:
    image = images.guest(name)
    assert (image.kernel, image.initrd, image.append) == (None, None, "")
    assert (image.secure_boot is not None) == (image.firmware == "uefi")


def test_keys_are_private_and_stay(built: Path) -> None:
    first, second = images.guest("debian-12"), images.guest("debian-13")
    assert first.ssh_key.stat().st_mode & 0o777 == 0o600
    assert first.ssh_key.parent.stat().st_mode & 0o777 == 0o700
    assert first.ssh_key.read_bytes() == second.ssh_key.read_bytes()
    assert re.fullmatch(r"ssh-ed25519 \S+", first.host_key)
    assert first.host_key == second.host_key


def test_half_a_key_pair_is_made_anew(built: Path) -> None:
    key = images.guest("debian-13").ssh_key
    key.with_suffix(".pub").unlink()
    key.write_text("half a key", encoding="ascii")
    assert "PRIVATE KEY" in images.guest("debian-13").ssh_key.read_text(encoding="ascii")


def test_an_unknown_guest() -> None:
    with pytest.raises(LabError, match="no guest windows; there are debian-11, "):
        images.guest("windows")


def test_kernels_are_those_of_the_release() -> None:
    names = {
        "debian-11": ("linux-image-5.10.0-46-cloud-amd64", "linux-image-6.1.0-0.deb11.52-cloud-amd64"),
        "debian-12": ("linux-image-6.1.0-56-cloud-amd64", "linux-image-6.12.9+bpo-cloud-amd64"),
        "debian-13": ("linux-image-6.12.118+deb13-cloud-amd64", "linux-image-6.12.118+deb13-cloud-amd64-unsigned"),
        "debian-13-backports": ("linux-image-7.3.4+deb13-cloud-amd64", "linux-image-7.3.4+deb13-cloud-amd64-dbg"),
    }
    for guest, (taken, left) in names.items():
        assert re.fullmatch(RECIPES[guest].kernels, taken)
        assert not re.fullmatch(RECIPES[guest].kernels, left)


KERNELS = "linux-image-6.12.9+deb13-cloud-amd64 linux-image-6.12.10+deb13-cloud-amd64 linux-image-6.12.11+deb13-rt-amd64"
STUBS = {
    "apt-cache": f"printf '%s\\n' {KERNELS}",
    "apt-get": 'echo "apt-get $*" >>"$LOG"; case $* in *$GONE*) exit 100 ;; esac',
    "chroot": 'echo "chroot $*" >>"$LOG"',
    "chown": ":",
}


def customize(folder: Path, keys: Keys, gone: str, **changed: str) -> tuple[int, list[str], Path]:
    """Run customize.sh on an empty tree with commands that only say that they were called: its exit code, what was called, the tree."""
    root, stubs, log = folder / "tree", folder / "bin", folder / "log"
    for path in ("etc/ssh", "root/.ssh", "usr", "var/lib", "usr/local/sbin"):
        (root / path).mkdir(parents=True, exist_ok=True)
    stubs.mkdir()
    for name, text in STUBS.items():
        (stubs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
        (stubs / name).chmod(0o755)
    keys.host.touch()
    environment = {
        "PATH": f"{stubs}:{os.environ['PATH']}",
        "LOG": str(log),
        "GONE": gone,
        "MMDEBSTRAP_APT_CONFIG": "/nowhere",
        "LAB_KERNELS": RECIPE.kernels,
        "LAB_KERNEL_FROM": "",
        "LAB_ROOTFS": str(VM / "rootfs"),
        "LAB_KEYS": str(keys.directory),
        "LAB_HOSTNAME": "debian-13",
        "LAB_FIRMWARE": "none",
        "LAB_BOOT_LOADER": str(VM / "boot_loader.sh"),
        **changed,
    }
    code = subprocess.run(["sh", str(VM / "customize.sh"), str(root)], env=environment, capture_output=True).returncode
    return code, log.read_text(encoding="ascii").splitlines(), root


def test_the_newest_kernel_that_the_archive_serves_is_installed(tmp_path: Path, keys: Keys) -> None:
    code, calls, _ = customize(tmp_path, keys, gone="6.12.10")
    assert code == 0
    tried = [call.split()[-1] for call in calls if call.startswith("apt-get")]
    assert tried == ["linux-image-6.12.10+deb13-cloud-amd64", "linux-image-6.12.9+deb13-cloud-amd64"]


def test_no_image_without_a_kernel(tmp_path: Path, keys: Keys) -> None:
    code, calls, _ = customize(tmp_path, keys, gone="linux-image")
    assert code != 0
    assert not [call for call in calls if call.startswith("chroot")]


def test_only_the_kernel_comes_from_backports(tmp_path: Path, keys: Keys) -> None:
    _, calls, root = customize(tmp_path, keys, gone="none", LAB_KERNEL_FROM="trixie-backports")
    assert "--target-release=trixie-backports" in calls[0]
    assert not (root / "etc/apt").exists()


def test_what_a_guest_is_made_from(tmp_path: Path, keys: Keys) -> None:
    _, _, root = customize(tmp_path, keys, gone="none")
    assert (root / "root/.ssh/authorized_keys").read_text(encoding="ascii") == "ssh-ed25519 login lab\n"
    assert (root / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert "LAB-ESP" not in (root / "etc/fstab").read_text(encoding="ascii")
    assert not (root / "usr/local/sbin/lab-boot-loader").exists()
    network = (root / "etc/systemd/network/10-management.network").read_text(encoding="ascii")
    assert f"MACAddress={images.MANAGEMENT_MAC}" in network
    # systemd compares these to decide whether its caches are old; see systemd-update-done.service(8).
    assert (root / "etc/.updated").stat().st_mtime >= (root / "usr").stat().st_mtime


def test_a_disk_with_a_boot_loader_has_what_that_needs(tmp_path: Path, keys: Keys) -> None:
    _, _, root = customize(tmp_path, keys, gone="none", LAB_FIRMWARE="uefi")
    assert "LABEL=LAB-ESP /boot/efi vfat" in (root / "etc/fstab").read_text(encoding="ascii")
    assert (root / "usr/local/sbin/lab-boot-loader").stat().st_mode & 0o111
    assert "console=ttyS0" in (root / "etc/default/grub.d/lab.cfg").read_text(encoding="ascii")


def test_missing_commands_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda command, path=None: None if command == "mmdebstrap" else which(command, path=path))
    assert images.main(["--build", "debian-13"]) == 1
    assert "mmdebstrap (Debian package mmdebstrap)" in capsys.readouterr().err


def test_the_command_line_lists_what_can_be_built(capsys: pytest.CaptureFixture[str]) -> None:
    assert images.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(RECIPES)
