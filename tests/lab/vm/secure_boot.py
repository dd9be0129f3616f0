# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine owner's key for Secure Boot: what it signs, guests with these firmware variables trust besides what Microsoft signed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.vm import tools, tree
from lab.vm.cache import Cache, digest
from lab.vm.qemu_tree import qemu

_OWNER = "5a3e0e0c-7a0c-4c1e-9d0b-6d616e616c61"
"""GUID that says in the signature database whose entry it is; any will do."""

# What the kernel's documentation (admin-guide/module-signing) asks of a key for modules.
_REQUEST = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = lab machine owner
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class SecureBoot:
    """Firmware variables with Secure Boot on, and the key that they trust."""

    variables: Path
    """Template for a machine's OVMF variables, to be used with Qemu.ovmf_code_secure: the signature database (db) has our key too."""
    key: Path
    """Private, PEM. Made for the cache, worth nothing outside it."""
    certificate: Path
    """X.509, PEM."""


def secure_boot(cache: Cache | None = None) -> SecureBoot:
    """The cache's key and variables; made on first use. Raises BuildError."""
    cache = cache or Cache()
    key, certificate = _key_pair(cache)
    template = qemu().ovmf_vars_microsoft

    def build(directory: Path) -> None:
        command, environment = tools.virt_fw_vars()
        arguments = ["--input", str(template), "--output", str(directory / "variables.fd"), "--add-db", _OWNER, str(certificate)]
        tree.run([*command, *arguments], log=directory / "build.log", environment=environment)

    entry = cache.entry("secure-boot", digest(1, template.read_bytes(), certificate.read_bytes()), build)
    return SecureBoot(entry / "variables.fd", key, certificate)


def _key_pair(cache: Cache) -> tuple[Path, Path]:
    directory = cache.root / "keys"
    key, certificate = directory / "owner.key", directory / "owner.pem"
    with cache.locked("keys"):
        directory.mkdir(mode=0o700, exist_ok=True)
        if not certificate.exists():
            request = directory / "owner.cnf"
            request.write_text(_REQUEST, encoding="ascii")
            written = directory / "owner.pem.new"
            new = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "3650", "-config", str(request)]
            subprocess.run([*new, "-keyout", str(key), "-out", str(written)], check=True, capture_output=True)
            key.chmod(0o600)
            written.rename(certificate)
    return key, certificate
