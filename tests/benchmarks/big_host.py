# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory tree of a large VM: 64 NICs and three kernels whose indexes are as long as those of distributions.

    python -m tests.benchmarks.big_host DIRECTORY

Debian 13's linux-image-6.12-amd64 has about 4,100 lines in modules.dep and 19,000 in modules.alias, Ubuntu's generic
kernel with modules-extra about 6,500 and 23,000.
"""

from __future__ import annotations

import lzma
import random
import struct
import sys
from pathlib import Path

from tests.fixtures.builder import Host, materialise
from tests.fixtures.builder.distributions import DEBIAN_13
from tests.fixtures.builder.kernels import Kernel, modules

RELEASES = ("6.12.41+deb13-cloud-amd64", "6.12.48+deb13-cloud-amd64", "6.12.57+deb13-amd64")
PORTS = 8  # of a function
DEP_LINES, BUILTIN_LINES, ALIAS_LINES, LIBRARIES = 6000, 1000, 20000, 2000
# Drivers of linux-image-6.12.117+deb12-cloud-amd64, unpacked; one fifth of that when compressed.
KILOBYTES = {"mana": 228, "mana_ib": 141}


def _pad(order: random.Random, path: Path, lines: list[str]) -> None:
    """Puts lines around those that are there."""
    first, *rest = path.read_text().splitlines()
    for line in rest:
        lines.insert(order.randrange(len(lines)), line)
    path.write_text("\n".join([first, *lines]) + "\n")


def _driver(release: str, kilobytes: int, order: random.Random) -> bytes:
    """The smallest ELF file that modinfo reads, as large and as compressible as a driver."""
    info = f"license=Dual BSD/GPL\0srcversion=0123456789ABCDEF0123456\0vermagic={release} SMP preempt mod_unload modversions \0".encode()
    text = b"".join(order.randbytes(8) if order.random() < 0.19 else b"\0" * 8 for _word in range(kilobytes << 7))
    names = b"\0.modinfo\0.text\0.shstrtab\0"
    offsets = (64, 64 + len(info), 64 + len(info) + len(text))
    body = info + text + names
    body += b"\0" * (-len(body) % 8)
    header = struct.pack("<4s5B7xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 0, 0, 1, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 4, 3)
    sections = [(0, 0, 0, 0), (1, 1, offsets[0], len(info)), (10, 1, offsets[1], len(text)), (16, 3, offsets[2], len(names))]
    return header + body + b"".join(struct.pack("<IIQQQQIIQQ", name, kind, 2, 0, at, size, 0, 0, 1, 0) for name, kind, at, size in sections)


def make(directory: Path, nics: int = 64) -> Path:
    """Writes the tree of a VM of this many NICs; returns its root."""
    order = random.Random(64)
    host = Host(DEBIAN_13, f"A VM with {nics} NICs")
    kernels = [Kernel(release, modules("mana", "mana_ib"), headers=f"/usr/src/linux-headers-{release}") for release in RELEASES]
    host.install(*kernels)
    host.boot(kernels[-1], "mana", "mana_ib", "hv_netvsc", "pci_hyperv", "ib_uverbs")
    for number in range(nics):
        domain, port = 0x7870 + number // PORTS, number % PORTS
        if port == 0:
            function = host.add_function("mana", address=f"{domain:04x}:00:00.0")
        netvsc = host.add_netvsc(f"00:22:48:71:{number >> 8:02x}:{number & 255:02x}", f"eth{number}", addresses=[f"10.0.{number}.4/24"])
        host.add_vf(function, netvsc, f"enP{domain}s1" + (f"d{port}" if port else ""), dev_port=port)
        if port == 0:
            host.add_infiniband(function, f"mana_{number // PORTS}", ports=min(PORTS, nics - number))
    host.rdma_core("56.1")
    host.dpdk("24.11.4", pmds=("netvsc", "mlx5", "mlx4", "mana"))
    host.hugepages(2048, 1024)
    host.secure_boot()
    libraries = DEBIAN_13.library_directory("x86_64")
    host.files.stub(*(f"{libraries}/libfiller{number}.so.{number % 9}" for number in range(LIBRARIES)))
    root = materialise(host.snapshot(), directory)
    for release in RELEASES:
        base = root / "usr/lib/modules" / release
        names = [f"kernel/drivers/net/filler{number // 40}/filler_{number}" for number in range(DEP_LINES)]
        needs = [" ".join(f"{order.choice(names)}.ko.xz" for _need in range(number % 4)) for number in range(DEP_LINES)]
        _pad(order, base / "modules.dep", [f"{name}.ko.xz: {need}".rstrip() for name, need in zip(names, needs)])
        _pad(order, base / "modules.builtin", [f"{name}.ko" for name in names[:BUILTIN_LINES]])
        aliases = [f"alias pci:v0000{order.randrange(65536):04X}d*sv*sd*bc*sc*i* filler_{number}" for number in range(ALIAS_LINES)]
        _pad(order, base / "modules.alias", [alias for alias in aliases if "v00001414d" not in alias and "v000015B3d" not in alias])
        for name, kilobytes in KILOBYTES.items():
            (path,) = base.glob(f"kernel/**/{name}.ko.xz")
            path.write_bytes(lzma.compress(_driver(release, kilobytes, order)))
    return root


if __name__ == "__main__":
    make(Path(sys.argv[1]), *map(int, sys.argv[2:3]))
