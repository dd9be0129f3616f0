# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backport built against the headers of real kernels, in chroots of the Debian releases that have them.

By default one combination runs, for CI: the 6.12 donor for Debian 12's 6.1. BACKPORT_MATRIX=all runs every combination.

Needs root and mmdebstrap, and this machine's own apt sources for the packages. The chroots, some 600 MB each, are kept
in $BACKPORT_CHROOTS (default: accelnet-backport-chroots in the folder for temporary files) and used again.
BACKPORT_GOLDEN=write accepts the answers of the probes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab.vm.mirror import machine_mirror

pytestmark = [
    pytest.mark.backport,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroots need root"),
    pytest.mark.skipif(not shutil.which("mmdebstrap"), reason="programs are missing: apt-get install mmdebstrap"),
]

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "roles/nic_driver/files/backport"
GOLDEN = ROOT / "tests/fixtures/backport"
MODULE = "ansible_collections.accelnet.mana.plugins.modules.backport_source"
CHROOTS = Path(os.environ.get("BACKPORT_CHROOTS", Path(tempfile.gettempdir()) / "accelnet-backport-chroots"))
ALL = os.environ.get("BACKPORT_MATRIX") == "all"


@dataclass(frozen=True)
class Target:
    """Headers of one flavour of a kernel: the newest package of this name that can be downloaded."""

    suite: str
    headers: str  # extended regular expression


TARGETS = {
    "5.10-cloud": Target("bullseye", "^linux-headers-5[.]10[.]0-[0-9]+-cloud-amd64$"),
    "6.1-cloud": Target("bookworm", "^linux-headers-6[.]1[.]0-[0-9]+-cloud-amd64$"),
    "6.1": Target("bookworm", "^linux-headers-6[.]1[.]0-[0-9]+-amd64$"),
    "6.12-cloud": Target("trixie", "^linux-headers-6[.]12[.][0-9]+[+]deb13-cloud-amd64$"),
    "7.3-cloud": Target("trixie", "^linux-headers-7[.]3[.][0-9]+[+]deb13-cloud-amd64$"),
}
# Package with the source of each donor, and the release that has it.
DONORS = {"6.12": ("linux-source-6.12", "bookworm"), "7.3": ("linux-source-7.3", "trixie")}
FAST = ("6.12", "6.1-cloud")
BOTH = ["mana", "mana_ib"]
# (donor, target): modules
MATRIX = {
    FAST: BOTH,
    ("7.3", "6.1-cloud"): BOTH,
    ("6.12", "6.1"): BOTH,
    ("7.3", "6.1"): BOTH,
    ("7.3", "6.12-cloud"): BOTH,
    # A donor built for its own kernel: only this shows that a probe says yes where it should.
    ("6.12", "6.12-cloud"): BOTH,
    ("7.3", "7.3-cloud"): BOTH,
    ("6.12", "5.10-cloud"): ["mana"],
    ("7.3", "5.10-cloud"): ["mana"],
}
PCI_IDS = {"6.12": {"ba", "b9"}, "7.3": {"ba", "b9", "c1"}}
AUXILIARY = {"6.12": {"auxiliary:mana.rdma"}, "7.3": {"auxiliary:mana.rdma", "auxiliary:mana.eth"}}


def combinations() -> list[Any]:
    return [pytest.param(key, id="-to-".join(key)) for key in (MATRIX if ALL else [FAST])]


# Chroots

# For each expression the newest package that can be downloaded: archives list packages that are gone.
INSTALL = r"""
set -u
root=$1; shift
for expression; do
    installed=
    for package in $(chroot "$root" apt-cache pkgnames | grep -E "$expression" | sort -rV); do
        if chroot "$root" apt-get install --yes --no-install-recommends "$package"; then installed=1; break; fi
    done
    [ -n "$installed" ] || { echo "nothing of $expression could be installed" >&2; exit 1; }
done
"""


def chroot(suite: str) -> Path:
    """A Debian release with the compiler, dkms and the headers of its targets; made once."""
    names = [target.headers for target in TARGETS.values() if target.suite == suite]
    wanted = json.dumps(names)
    path = CHROOTS / suite
    stamp = CHROOTS / f"{suite}.json"
    if path.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return path
    shutil.rmtree(path, ignore_errors=True)
    CHROOTS.mkdir(parents=True, exist_ok=True)
    script = CHROOTS / "install.sh"
    script.write_text(INSTALL)
    lines = machine_mirror().lines(suite, backports=suite == "trixie")
    if suite == "bullseye":
        # Its archive of security updates lists packages that are gone.
        lines = [line for line in lines if "-security" not in line and "-updates" not in line]
    quoted = " ".join(f"'{name}'" for name in names)
    command = ["mmdebstrap", "--variant=apt", "--include=ca-certificates,gcc,make,dkms,kmod,libelf-dev,xz-utils"]
    command += [f'--customize-hook=sh {script} "$1" {quoted}', suite, str(path), *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    stamp.write_text(wanted)
    return path


def inside(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell command in a chroot that has /proc (objtool reads it), which goes with the command."""
    script = 'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh -c "$2"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", str(root), command]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
    return subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def release(target: Target) -> str:
    root = chroot(target.suite)
    found = sorted(path.name for path in (root / "usr/src").iterdir() if re.match(target.headers, path.name))
    assert len(found) == 1, found
    return found[0].removeprefix("linux-headers-")


def donor_archive(donor: str) -> Path:
    """The source of a donor: this machine's package, or that of the chroot."""
    package, suite = DONORS[donor]
    name = f"usr/src/{package}.tar.xz"
    if (Path("/") / name).is_file():
        return Path("/") / name
    root = chroot(suite)
    if not (root / name).is_file():
        # Only the package itself: it is the source of a kernel, and recommends compilers.
        fetch = f"apt-get update && cd /var/tmp && apt-get download {package}"
        unpack = f"dpkg-deb --fsys-tarfile {package}_*.deb | tar -C / -x ./{name}; rm -f {package}_*.deb"
        for file in ("etc/resolv.conf", "etc/hosts"):
            shutil.copy(Path("/") / file, root / file)
        done = inside(root, f"{fetch} && {unpack}")
        assert done.returncode == 0, done.stdout
    return root / name


# Packages


def assemble(donor: str, target_release: str, dest: Path, modules: list[str]) -> dict[str, Any]:
    arguments = {
        "donor": str(donor_archive(donor)),
        "compat": str(LAYER),
        "dest": str(dest),
        "target_release": target_release,
        "modules": modules,
    }
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
    done = subprocess.run([sys.executable, "-m", MODULE], input=stdin, env=environment, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert not answer.get("failed"), answer
    return answer


@dataclass(frozen=True)
class Package:
    """An assembled package inside a chroot."""

    root: Path
    name: str  # mana-backport-<version>
    version: str
    release: str
    modules: list[str]

    @property
    def path(self) -> Path:
        return self.root / "usr/src" / self.name

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return inside(self.root, f"cd /usr/src/{self.name} && {command}")

    @property
    def headers(self) -> str:
        return f"/lib/modules/{self.release}/build"


def package(donor: str, target: str) -> Package:
    found = release(TARGETS[target])
    root = chroot(TARGETS[target].suite)
    modules = MATRIX[donor, target]
    work = root / "usr/src/mana-backport-new"
    shutil.rmtree(work, ignore_errors=True)
    answer = assemble(donor, found, work, modules)
    path = root / "usr/src" / f"mana-backport-{answer['version']}"
    shutil.rmtree(path, ignore_errors=True)
    work.rename(path)
    return Package(root, path.name, answer["version"], found, modules)


@dataclass(frozen=True)
class Built:
    """What `make` of a package said and left."""

    donor: str
    target: str
    package: Package
    status: int
    output: str


@pytest.fixture(scope="module", params=combinations())
def built(request: pytest.FixtureRequest) -> Built:
    donor, target = request.param
    made = package(donor, target)
    done = made.run(f"make KDIR={made.headers}")
    return Built(donor, target, made, done.returncode, done.stdout)


def modinfo(path: Path) -> dict[str, list[str]]:
    out = subprocess.run(["/sbin/modinfo", str(path)], capture_output=True, text=True, check=True).stdout
    fields: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+): +(.*)$", out, re.M):
        fields.setdefault(key, []).append(value)
    return fields


def answers(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#define HAS_(\w+) ([01])$", text, re.M))


# Tests


def test_it_builds_without_a_word(built: Built) -> None:
    assert built.status == 0, built.output[-8000:]
    # Neither the compiler nor modpost has anything to say.
    assert [line for line in built.output.splitlines() if re.search(r"warning|error|undefined|WARNING|ERROR", line)] == []
    for module in built.package.modules:
        assert (built.package.path / f"{module}.ko").is_file()
    if "mana_ib" not in built.package.modules:
        assert not (built.package.path / "mana_ib.ko").exists()


def test_the_modules_are_of_this_package_and_this_kernel(built: Built) -> None:
    fields = {module: modinfo(built.package.path / f"{module}.ko") for module in built.package.modules}
    for each in fields.values():
        assert each["version"] == [built.package.version]
        assert each["vermagic"][0].split()[0] == built.package.release
        assert re.fullmatch(r"[0-9A-F]{23}", each["srcversion"][0])
    aliases = fields["mana"]["alias"]
    assert {alias[len("pci:v00001414d000000") :][:2].lower() for alias in aliases} == PCI_IDS[built.donor]
    if "mana_ib" in fields:
        assert set(fields["mana_ib"]["alias"]) == AUXILIARY[built.donor]
        assert fields["mana_ib"]["import_ns"] == ["NET_MANA"]
        assert {"mana", "ib_core"} <= set(fields["mana_ib"]["depends"][0].split(","))


def test_the_probes_answer_as_recorded(built: Built) -> None:
    """The very kernel has the very answers; another one of its line may have gained something, but lost nothing."""
    path = GOLDEN / f"{built.target}.json"
    found = answers((built.package.path / "compat/generated.h").read_text())
    if os.environ.get("BACKPORT_GOLDEN") == "write":
        path.write_text(json.dumps({"release": built.package.release, "answers": found}, indent=2) + "\n")
    golden = json.loads(path.read_text())
    assert set(found) == set(golden["answers"])
    lost = [name for name, answer in golden["answers"].items() if answer == "1" and found[name] == "0"]
    assert lost == []
    if golden["release"] == built.package.release:
        assert found == golden["answers"]


# The rest with one package, as it is about dkms and the probes and not about kernels.


@pytest.fixture(scope="module")
def fast() -> Package:
    return package(*FAST)


def test_dkms_installs_both(fast: Package) -> None:
    name = f"mana-backport/{fast.version}"
    fast.run(f"dkms remove {name} --all")
    kernel = f"-k {fast.release}"
    done = fast.run(f"dkms add {name} && dkms build {name} {kernel} && dkms install {name} {kernel}")
    try:
        assert done.returncode == 0, done.stdout
        assert "probes: " in done.stdout
        log = next((fast.root / "var/lib/dkms/mana-backport" / fast.version / fast.release).rglob("make.log")).read_text()
        assert [line for line in log.splitlines() if re.search(r"warning|error", line, re.I)] == []
        for module in fast.modules:
            path = fast.root / "lib/modules" / fast.release / "updates/dkms" / f"{module}.ko"
            assert modinfo(path)["version"] == [fast.version]
    finally:
        fast.run(f"dkms remove {name} --all")


def test_dkms_leaves_kernels_of_the_donors_age_alone(fast: Package) -> None:
    """Asked to build for a kernel of the donor's line, dkms refuses before it looks for the headers."""
    name = f"mana-backport/{fast.version}"
    fast.run(f"dkms remove {name} --all")
    try:
        done = fast.run(f"dkms add {name}; mkdir -p /tmp/none/include; dkms build {name} -k 6.12.1-none --kernelsourcedir /tmp/none")
        assert done.returncode != 0
        assert "BUILD_EXCLUSIVE" in done.stdout
    finally:
        fast.run(f"dkms remove {name} --all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sed -i s/netdev_priv_of_no_kernel/netdev_priv/ probes/control.c", "what no kernel has was found"),
        ("sed -i s,linux/pci.h,linux/no_such_header.h, probes/control.c", "what every kernel has was not found"),
    ],
)
def test_controls_are_fatal_with_real_headers(fast: Package, change: str, message: str) -> None:
    done = fast.run(f"rm -rf /tmp/control && cp -r . /tmp/control && cd /tmp/control && {change} && make probe KDIR={fast.headers}")
    assert done.returncode != 0
    assert message in done.stdout


def test_answers_of_another_kernel_do_not_build(fast: Package) -> None:
    done = fast.run(
        f"rm -rf /tmp/other && cp -r . /tmp/other && cd /tmp/other && make probe KDIR={fast.headers}"
        f" && sed -i '/PROBED_RELEASE/s/\"6/\"9/' compat/generated.h && make build KDIR={fast.headers}"
    )
    assert done.returncode != 0
    assert "run the probes again for this kernel" in done.stdout
