# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A QEMU that has vfio-user-pci: the machine's own if it is new enough, otherwise one that runs straight from unpacked packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lab.vm import tree
from lab.vm.cache import Cache, digest

MINIMUM = (10, 1)  # the first QEMU with vfio-user-pci
_SUITE = "trixie"
_PACKAGES = ("qemu-system-x86", "qemu-utils", "ovmf", "seabios")
_BUILDER_VERSION = 1  # raise it when the same packages make another tree


@dataclass(frozen=True)
class Qemu:
    """How to start QEMU, and the firmware that came with it."""

    argv: tuple[str, ...]
    """What QEMU's options are appended to."""
    img: tuple[str, ...]
    """The same for qemu-img."""
    environment: Mapping[str, str]
    """To be added to the environment of both."""
    tree: Path
    version: str
    ovmf_code: Path
    ovmf_vars: Path
    ovmf_code_secure: Path
    """Enforces Secure Boot; needs `-machine q35,smm=on` and `-global driver=cfi.pflash01,property=secure,value=on`."""
    ovmf_vars_microsoft: Path
    """Variables in which Microsoft's keys are enrolled, so that Secure Boot is on: pair with ovmf_code_secure."""


@lru_cache(maxsize=None)
def qemu() -> Qemu:
    """QEMU 10.1 or newer with vfio-user-pci; unpacks one (seconds, about 100 MB) when this machine has none."""
    own = _machine_qemu()
    if own is not None:
        return own
    key = digest(_BUILDER_VERSION, _SUITE, _PACKAGES)
    return _unpacked(Cache().entry("qemu", key, _build) / "tree")


def _build(directory: Path) -> None:
    tree.extract(directory / "tree", _SUITE, _PACKAGES, log=directory / "build.log", backports=True)
    _unpacked(directory / "tree")  # refuses what does not run


def _unpacked(root: Path) -> Qemu:
    unpacked = tree.Unpacked(root)
    environment = {"QEMU_MODULE_DIR": str(unpacked.libraries / "qemu")}
    # Debian keeps SeaBIOS apart and has QEMU look for it by absolute path; here, both directories are named.
    data = ("-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios"))
    program = (*unpacked.command("usr/bin/qemu-system-x86_64"), *data)
    return _checked(program, unpacked.command("usr/bin/qemu-img"), environment, root, root / "usr/share/OVMF")


def _machine_qemu() -> Qemu | None:
    program, image_tool = shutil.which("qemu-system-x86_64"), shutil.which("qemu-img")
    if program is None or image_tool is None or not Path("/usr/share/OVMF/OVMF_VARS_4M.ms.fd").is_file():
        return None
    try:
        return _checked((program,), (image_tool,), {}, Path("/"), Path("/usr/share/OVMF"))
    except tree.BuildError:
        return None


def _checked(argv: tuple[str, ...], image_tool: tuple[str, ...], environment: Mapping[str, str], root: Path, firmware: Path) -> Qemu:
    """The QEMU that `argv` starts; BuildError when it is too old or has no vfio-user-pci."""
    version = _asked((*argv, "--version"), environment)
    match = re.search(r"version (\d+)\.(\d+)\S*", version)
    if not match or (int(match[1]), int(match[2])) < MINIMUM:
        raise tree.BuildError(f"{argv[0]}: QEMU {'.'.join(map(str, MINIMUM))} or newer is needed, this is: {version.strip()}")
    _asked((*argv, "-device", "vfio-user-pci,help"), environment)
    return Qemu(
        argv=argv,
        img=image_tool,
        environment=environment,
        tree=root,
        version=match[0].removeprefix("version "),
        ovmf_code=firmware / "OVMF_CODE_4M.fd",
        ovmf_vars=firmware / "OVMF_VARS_4M.fd",
        ovmf_code_secure=firmware / "OVMF_CODE_4M.secboot.fd",
        ovmf_vars_microsoft=firmware / "OVMF_VARS_4M.ms.fd",
    )


def _asked(command: tuple[str, ...], environment: Mapping[str, str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)
    if answer.returncode:
        raise tree.BuildError(f"{' '.join(command)}: {(answer.stdout + answer.stderr).strip()}")
    return answer.stdout
