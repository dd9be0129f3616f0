# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests whose kernel asks for signatures: by Secure Boot with a key of ours in db, and by module.sig_enforce=1.

The stock mana is taken apart from its signature, and put back unsigned, signed by the lab's key or signed by a stranger's.
"""

from __future__ import annotations

import collections.abc
import lzma
import subprocess
from pathlib import Path

import pytest
from lab.vm.lab import Lab
from lab.vm.secure_boot import secure_boot
from sites import STATE, Site

pytestmark = pytest.mark.matrix

# "lab machine owner" is the name in the certificate of lab.vm.secure_boot.
TRUSTED = "grep -q 'lab machine owner' /proc/keys"
# What modprobe says when the kernel returns EKEYREJECTED, and what when it returns EPERM for want of a signature.
REFUSED = ("Key was rejected by service", "Operation not permitted", "Required key not available")


def unsigned(module: bytes) -> bytes:
    """Without what scripts/sign-file appended (Linux include/linux/module_signature.h): a signature, 12 bytes about it, and a marker."""
    marker = b"~Module signature appended~\n"
    assert module.endswith(marker)
    about = module[-len(marker) - 12 : -len(marker)]
    return module[: -len(marker) - 12 - int.from_bytes(about[8:], "big")]


def signed(module: bytes, key: Path, certificate: Path, folder: Path) -> bytes:
    """As scripts/sign-file does it: a detached CMS signature in DER, without attributes and certificates."""
    (folder / "module").write_bytes(module)
    command = ["openssl", "cms", "-sign", "-binary", "-noattr", "-nocerts", "-md", "sha256", "-outform", "DER"]
    files = ["-in", str(folder / "module"), "-signer", str(certificate), "-inkey", str(key), "-out", str(folder / "signature")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    signature = (folder / "signature").read_bytes()
    about = bytes((0, 0, 2, 0, 0, 0, 0, 0)) + len(signature).to_bytes(4, "big")  # PKEY_ID_PKCS7
    return module + signature + about + b"~Module signature appended~\n"


def stranger(folder: Path) -> tuple[Path, Path]:
    """Key and certificate of somebody whom no guest knows."""
    key, certificate = folder / "stranger.key", folder / "stranger.pem"
    command = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=stranger", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(certificate)], check=True, capture_output=True)
    return key, certificate


class Loader:
    """Loads variants of the guest's own mana."""

    def __init__(self, lab: Lab) -> None:
        self.vm = lab.vm
        # Debian 13 compresses modules.
        self.stock = lzma.decompress(self.vm.ssh.get(self.vm.run(["modinfo", "-n", "mana"]).out.strip()))
        self.module = unsigned(self.stock)

    def load(self, module: bytes) -> str:
        """What insmod complains of; empty when the module is loaded."""
        self.vm.ssh.put(module, "/run/mana.ko")
        self.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; if grep -q '^mana ' /proc/modules; then rmmod mana; fi")
        return self.vm.run(["insmod", "/run/mana.ko"], check=False).err


@pytest.fixture(params=["secure boot", "sig_enforce"])
def enforcing(request: pytest.FixtureRequest) -> collections.abc.Iterator[Lab]:
    if request.param == "secure boot":
        with Lab("debian-13-uefi", secure_boot=True) as lab:
            assert lab.vm.run("mokutil --sb-state").out == "SecureBoot enabled\n"
            lab.vm.run(TRUSTED)
            yield lab
    else:
        with Lab("debian-13", append="module.sig_enforce=1") as lab:
            assert lab.vm.run(TRUSTED, check=False).code != 0
            yield lab


def test_only_what_a_trusted_key_signed_is_loaded(enforcing: Lab, tmp_path: Path) -> None:
    loader = Loader(enforcing)
    ours = secure_boot()
    trusted = enforcing.vm.spec.secure_boot
    assert loader.load(loader.stock) == ""
    enforcing.connect()
    assert any(words in loader.load(loader.module) for words in REFUSED)
    assert any(words in loader.load(signed(loader.module, *stranger(tmp_path), tmp_path)) for words in REFUSED)
    refused = loader.load(signed(loader.module, ours.key, ours.certificate, tmp_path))
    assert (refused == "") is trusted, refused
    if trusted:
        enforcing.connect()
        assert loader.vm.run("cat /proc/sys/kernel/tainted").out == "0\n"


def test_without_a_key_nothing_is_built_and_nothing_is_touched() -> None:
    with Lab("debian-12", append="module.sig_enforce=1") as lab:
        lab.vm.run("apt-get -q update")
        policy = {"driver_sources": ["inbox", "package", "backport"], "allow_untested_backport": True}
        site = Site(lab, accelnet_goal="rdma", accelnet_policy=policy)
        before = lab.vm.run(STATE).out
        assert site.run().recap()["changed"] == 0
        assert ("secure_boot_refuses_unsigned", "module_signing") in {(row["reason"], row["option"]) for row in site.report()["blocked"]}
        assert lab.vm.run(STATE).out == before
