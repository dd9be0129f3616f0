# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests with a boot loader start by themselves and obey it, and a build that is killed leaves nothing behind."""

from __future__ import annotations

import collections.abc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab.vm.lab import Lab

# Images with a boot loader are built.
pytestmark = pytest.mark.matrix

LabFactory = collections.abc.Callable[..., Lab]
TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 300.0

# An entry of GRUB's menu that boots as usual, but for a word in the kernel's command line.
ADD_ENTRY = r"""
set -e
{
  echo '#!/bin/sh'
  echo 'exec tail -n +3 "$0"'
  sed -n '/^menuentry /,/^}/p' /boot/grub/grub.cfg | sed '/^}/q' |
    sed -e "s/^menuentry .*/menuentry 'chosen' --id chosen {/" -e 's/console=ttyS0/& lab.chosen/'
} > /etc/grub.d/40_chosen
chmod 755 /etc/grub.d/40_chosen
update-grub
grub-reboot chosen
"""


def wait_until(condition: collections.abc.Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def command_lines() -> str:
    """Of all processes of this machine but this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.parent.name != str(os.getpid()):
            try:
                found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)


@pytest.mark.parametrize(
    "guest",
    ["debian-12-uefi", "debian-13-uefi", "debian-12-bios"],
)
def test_grub_of_the_guest_decides_what_is_booted(guest: str, lab: LabFactory) -> None:
    vm = lab(guest, vports=0).vm
    assert vm.run("test -d /sys/firmware/efi", check=False).code == (1 if guest.endswith("bios") else 0)
    vm.run(ADD_ENTRY)
    vm.reboot()
    assert "lab.chosen" in vm.run("cat /proc/cmdline").out
    vm.reboot()
    assert "lab.chosen" not in vm.run("cat /proc/cmdline").out


def test_a_killed_build_leaves_no_process_and_no_mount(tmp_path: Path) -> None:
    environment = {**os.environ, "LAB_CACHE": str(tmp_path), "PYTHONPATH": str(TESTS)}
    builder = subprocess.Popen([sys.executable, "-m", "lab.vm.images", "--build", "debian-13"], env=environment)

    def logged() -> str:
        return "".join(log.read_text(errors="replace") for log in tmp_path.glob("images/debian-13-*.building/build.log"))

    # By then, mmdebstrap has mounted what it needs in the tree, and runs programs of the tree.
    assert wait_until(lambda: "running --customize-hook" in logged() or builder.poll() is not None)
    assert builder.poll() is None, "the build ended before it could be killed"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert wait_until(lambda: str(tmp_path) not in command_lines())
    assert "creating tarball" not in logged(), "mmdebstrap went on without the builder"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
