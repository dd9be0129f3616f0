# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules dkms and dkms_info with the real dkms of three Debian releases, on real kernel headers.

The package has two modules, of which one replaces a module of the kernel that has no MODULE_VERSION, as mana and mana_ib do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dkms_root
import pytest
from dkms_root import HERE, Root, end

pytestmark = pytest.mark.dkms

NAME, VERSION = "accel-hello", "1.0"
PACKAGE = {"name": NAME, "version": VERSION}
SOURCE = "/root/source"


@pytest.fixture(params=[pytest.param(name, marks=[] if name == "bookworm" else pytest.mark.matrix) for name in sorted(dkms_root.HEADERS)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    reason = dkms_root.missing()
    if reason:
        pytest.skip(reason)
    made = Root(request.param, tmp_path)
    put_source(made)
    yield made
    made.close()


@pytest.fixture
def bookworm(tmp_path: Path) -> Iterator[Root]:
    reason = dkms_root.missing()
    if reason:
        pytest.skip(reason)
    made = Root("bookworm", tmp_path)
    put_source(made)
    yield made
    made.close()


def put_source(root: Root, path: str = SOURCE, value: int = 2, version: str = VERSION, module_version: str | None = None) -> None:
    """The package; ``value`` makes it another build, ``module_version`` is for accel_a."""
    target = root.path / path.lstrip("/")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(HERE / "package", target)
    make = (target / "Makefile").read_text().replace("VALUE ?= 2", f"VALUE ?= {value}")
    if module_version:
        make += f"CFLAGS_accel_a.o := -DVERSION='\"{module_version}\"'\n"
    (target / "Makefile").write_text(make)
    conf = (target / "dkms.conf").read_text().replace('PACKAGE_VERSION="1.0"', f'PACKAGE_VERSION="{version}"')
    (target / "dkms.conf").write_text(conf)


def dkms(root: Root, **arguments: Any) -> dict[str, Any]:
    """The module, by default to install the package from its source for the kernel of the root."""
    options = {**PACKAGE, "source": SOURCE, "kernels": [root.release], **arguments}
    if options.get("state") == "absent":
        del options["source"]
    return root.module("dkms", **{key: value for key, value in options.items() if value is not None})


def resolved(root: Root, module: str = "accel_a") -> str | None:
    """The file that modprobe would load, asked of kmod itself and not of our reader."""
    done = root.run("modinfo", "-k", root.release, "-F", "filename", module, check=False)
    path = done.stdout.strip()
    return path.split(root.release + "/", 1)[-1] if done.returncode == 0 else None


def value(root: Root) -> int | None:
    """Which build accel_a is: what its only function returns, from the code itself."""
    path = resolved(root)
    if path is None:
        return None
    full = f"/usr/lib/modules/{root.release}/{path}" if (root.path / "usr/lib/modules").exists() else f"/lib/modules/{root.release}/{path}"
    script = f"case {full} in *.xz) xz -dc {full};; *) cat {full};; esac > /tmp/a.ko && objdump -d /tmp/a.ko"
    text = root.run("sh", "-c", script).stdout
    found = [line for line in text.splitlines() if "mov " in line and "$0x" in line and "eax" in line]
    return int(found[0].split("$0x")[1].split(",")[0], 16) if found else None


def refresh_initramfs(root: Root) -> None:
    """What the role does; only Debian 13's headers bring a kernel with an initramfs along."""
    for image in (root.path / "boot").glob("initrd.img-*"):
        os.utime(image)


OWN = "kernel/drivers/net/accel_a.ko"


def assert_installed(root: Root, expected: int = 2) -> None:
    assert (resolved(root) or "").startswith("updates/dkms/accel_a.ko")
    assert (resolved(root, "accel_b") or "").startswith("updates/dkms/accel_b.ko")
    assert value(root) == expected


def assert_distributions_own(root: Root) -> None:
    assert (resolved(root) or "").startswith(OWN)
    assert resolved(root, "accel_b") is None
    assert value(root) == 1
    assert not (root.path / "lib/modules" / root.release / "updates").exists()


def test_four_runs_and_back(root: Root) -> None:
    """Check, run, run again, and the same for the removal."""
    untouched = root.state()
    predicted = dkms(root, _ansible_check_mode=True, _ansible_diff=True)
    assert root.state() == untouched
    assert (predicted["changed"], predicted["would_require"], predicted["kernels_changed"]) == (True, [], [root.release])
    done = dkms(root)
    assert done["changed"] and done["actions"] == predicted["actions"]
    assert (done["kernels_changed"], done["initramfs_stale"]) == ([root.release], [root.release])
    before, after = done["kernels"][0]["before"], done["kernels"][0]["after"]
    assert (before["state"], after["state"], predicted["kernels"][0]["after"]["state"]) == ("absent", "installed", "installed")
    assert (before["modules"]["accel_b"], before["modules"]["accel_a"]["ours"]) == (None, False)
    assert [module["ours"] for module in after["modules"].values()] == [True, True]
    assert any("accel_b.o" in line for line in done["log"])
    assert_installed(root)
    assert not (root.path / "var/lib/dkms/mok.key").exists()
    refresh_initramfs(root)
    converged = root.state()
    again = dkms(root)
    assert (again["changed"], again["commands"], again["kernels_changed"], again["initramfs_stale"]) == (False, [], [], [])
    assert root.state() == converged
    lower = dkms(root, state="added")
    assert not lower["changed"]

    predicted = dkms(root, state="absent", _ansible_check_mode=True)
    assert root.state() == converged and predicted["changed"]
    done = dkms(root, state="absent")
    assert done["changed"] and done["actions"] == predicted["actions"] and done["kernels_changed"] == [root.release]
    assert_distributions_own(root)
    again = dkms(root, state="absent")
    assert (again["changed"], again["commands"]) == (False, [])
    left = {path: content for path, content in root.state().items() if untouched.get(path) != content}
    # depmod writes its indexes anew, and the initramfs was refreshed by this test
    assert [path for path in left if "modules." not in path and not path.startswith("boot/initrd")] == []
    assert set(untouched) <= set(root.state())


def test_what_dkms_info_says(root: Root) -> None:
    assert root.module("dkms_info")["packages"] == []
    dkms(root, state="added")
    (package,) = root.module("dkms_info")["packages"]
    assert (package["state"], package["status"], package["builds"]) == ("added", "added", [])
    dkms(root, state="built")
    (package,) = root.module("dkms_info", kernels=[root.release])["packages"]
    (build,) = package["builds"]
    assert (build["state"], build["disk"], build["status"]) == ("built", "built", "built")
    assert [module["ours"] for module in build["modules"]] == [False, False]
    assert value(root) == 1
    dkms(root)
    info = root.module("dkms_info", name=NAME, version=VERSION)
    assert info["dkms_version"].startswith({"bullseye": "2.8", "bookworm": "3.0", "trixie": "3."}[root.suite])
    (build,) = info["packages"][0]["builds"]
    assert (build["state"], build["disk"], build["status"], build["remarks"]) == ("installed", "installed", "installed", [])
    assert build["modules"][0]["built"]["sha256"] == build["modules"][0]["resolved"]["sha256"]
    # dkms still says installed when another file comes first, and so it does when the file is another one.
    copy = root.path / "lib/modules" / root.release / "kernel" / "drivers" / "net"
    installed = next((root.path / "lib/modules" / root.release / "updates/dkms").glob("accel_a.ko*"))
    original = next(copy.glob("accel_a.ko*"), None) or next((root.path / f"var/lib/dkms/{NAME}/original_module").rglob("accel_a.ko*"))
    shutil.copy(original, installed)
    (build,) = root.module("dkms_info")["packages"][0]["builds"]
    assert (build["state"], build["disk"], build["status"]) == ("built", "installed", "installed")
    assert [module["ours"] for module in build["modules"]] == [False, True]
    assert any("iff" in remark for remark in build["remarks"])
    elsewhere = root.module("dkms_info", root="/nowhere")
    assert (elsewhere["failed"], elsewhere["reason"]) == (True, "bad_root")


def test_an_archive_and_another_source_of_the_same_version(bookworm: Root) -> None:
    """What was built of the old source is built anew, and a source that does not compile changes nothing."""
    archive = bookworm.path / "root/package.tar.xz"
    with tarfile.open(archive, "w:xz") as stream:
        stream.add(bookworm.path / SOURCE.lstrip("/"), f"{NAME}-{VERSION}")
    assert dkms(bookworm, source="/root/package.tar.xz")["changed"]
    assert_installed(bookworm, 2)
    assert not dkms(bookworm)["changed"]  # the directory has the same content
    put_source(bookworm, value=3)
    converged = bookworm.state()
    assert dkms(bookworm, _ansible_check_mode=True)["changed"] and bookworm.state() == converged
    assert dkms(bookworm)["changed"]
    assert_installed(bookworm, 3)
    put_source(bookworm, value="nonsense")  # type: ignore[arg-type]
    converged = bookworm.state()
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"], failed["kernels_changed"]) == ("dkms_build_failed", False, [])
    assert any("nonsense" in line for line in failed["log"])
    assert bookworm.state() == converged
    assert_installed(bookworm, 3)


def test_other_versions(root: Root) -> None:
    dkms(root)
    put_source(root, value=4, version="2.0")
    done = dkms(root, version="2.0")
    assert done["other_versions"] == [{"version": "1.0", "kernels": [root.release]}]
    assert_installed(root, 4)
    assert (root.path / f"usr/src/{NAME}-1.0").exists()
    done = dkms(root, version="2.0", replace=True)
    assert (done["changed"], done["other_versions"], done["kernels_changed"]) == (True, [], [])
    assert_installed(root, 4)
    assert not (root.path / f"usr/src/{NAME}-1.0").exists()
    assert not dkms(root, version="2.0", replace=True)["changed"]
    dkms(root, version="2.0", state="absent", kernels=None)
    assert_distributions_own(root)


def second_kernel(root: Root, release: str = "6.1.0-99-accelnet", whole: bool = True) -> str:
    """Another kernel with headers: those of the first under another name; not ``whole`` when they still say the first's."""
    first = root.path / "usr/src" / f"linux-headers-{root.release}"
    headers = root.path / "usr/src" / f"linux-headers-{release}"
    shutil.copytree(first, headers, symlinks=True)
    for name in (".kernelvariables", "include/generated/utsrelease.h", "include/config/kernel.release") if whole else ():
        if (headers / name).exists():
            (headers / name).write_text((headers / name).read_text().replace(root.release, release))
    modules = root.path / "lib/modules" / release
    (modules / "kernel").mkdir(parents=True)
    (modules / "build").symlink_to(f"/usr/src/linux-headers-{release}")
    for name in ("modules.builtin", "modules.order"):
        (modules / name).touch()
    root.run("depmod", "-a", release)
    return release


def test_several_kernels(bookworm: Root) -> None:
    """Neither of them runs, and each has its own state."""
    other = second_kernel(bookworm)
    done = dkms(bookworm, kernels=[other, bookworm.release])
    assert done["kernels_changed"] == sorted([other, bookworm.release])
    vermagic = {kernel["release"]: kernel["after"]["modules"]["accel_b"]["vermagic"] for kernel in done["kernels"]}
    assert {release: words.split()[0] for release, words in vermagic.items()} == {other: other, bookworm.release: bookworm.release}
    put_source(bookworm, value=3)
    done = dkms(bookworm)  # another source concerns the kernel that was not named too
    assert done["kernels_changed"] == sorted([other, bookworm.release])
    assert_installed(bookworm, 3)
    assert not dkms(bookworm, kernels=[other])["changed"]
    done = dkms(bookworm, state="absent")
    assert done["actions"] == [f"remove {VERSION} {bookworm.release}"]
    assert_distributions_own(bookworm)
    (build,) = bookworm.module("dkms_info")["packages"][0]["builds"]
    assert (build["kernel"], build["state"]) == (other, "installed")
    assert dkms(bookworm, state="absent", kernels=None)["actions"] == [f"remove {VERSION} {other}", f"unregister {VERSION}"]
    assert bookworm.module("dkms_info")["packages"] == []
    assert not (bookworm.path / f"usr/src/{NAME}-{VERSION}").exists()


def test_headers_of_another_kernel(bookworm: Root) -> None:
    """A build link that leads to the wrong headers: dkms builds and installs what the kernel would refuse."""
    other = second_kernel(bookworm, whole=False)
    failed = dkms(bookworm, kernels=[other])
    assert (failed["reason"], failed["changed"]) == ("dkms_build_failed", False)
    assert "for another kernel" in failed["msg"]
    assert bookworm.module("dkms_info")["packages"] == []


def test_a_module_that_dkms_leaves_out(bookworm: Root) -> None:
    """dkms 3.0.10 takes two modules without version for the same, says installed, and installs the other one only."""
    dkms(bookworm, state="built")
    bookworm.run("dkms", "install", f"{NAME}/{VERSION}", "-k", bookworm.release)
    assert "installed" in bookworm.run("dkms", "status").stdout
    assert (resolved(bookworm) or "").startswith(OWN) and value(bookworm) == 1, "this dkms has no such fault"
    done = dkms(bookworm)
    assert done["changed"] and "MODULE_VERSION" in str(done["warnings"])
    assert_installed(bookworm)


def test_with_a_module_version_nothing_is_forced(bookworm: Root) -> None:
    put_source(bookworm, module_version="1.0")
    done = dkms(bookworm)
    assert not any("--force" in command for command in done["commands"])
    assert "warnings" not in done
    assert done["kernels"][0]["after"]["modules"]["accel_a"]["version"] == "1.0"
    assert_installed(bookworm)


# --- What is missing


def test_missing_headers(bookworm: Root) -> None:
    build = bookworm.path / "lib/modules" / bookworm.release / "build"
    build.unlink()
    untouched = bookworm.state()
    predicted = dkms(bookworm, _ansible_check_mode=True)
    assert (predicted["changed"], predicted["would_require"]) == (True, ["headers:" + bookworm.release])
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"]) == ("headers_missing", False)
    assert bookworm.state() == untouched


def test_a_bare_host_in_check_mode(bookworm: Root) -> None:
    """Everything that an earlier task would bring is named, and nothing is an error."""
    for path in ("usr/sbin/dkms", "usr/bin/make"):
        (bookworm.path / path).unlink()
    untouched = bookworm.state()
    answer = dkms(bookworm, _ansible_check_mode=True, kernels=["6.1.0-99-cloud-amd64"], source="/root/not/yet")
    wanted = ["source", "kernel:6.1.0-99-cloud-amd64", "dkms", "headers:6.1.0-99-cloud-amd64", "compiler"]
    assert (answer["changed"], sorted(answer["would_require"])) == (True, sorted(wanted))
    assert bookworm.state() == untouched
    assert dkms(bookworm)["reason"] == "dkms_missing"
    info = bookworm.module("dkms_info")
    assert (info["packages"], info["dkms_version"], info["read_warnings"]) == ([], None, ["dkms is not installed"])
    assert not dkms(bookworm, state="absent")["changed"]
    assert dkms(bookworm, kernels=["6.1.0-99-cloud-amd64"])["reason"] == "bad_kernel"


def test_a_broken_compiler(bookworm: Root) -> None:
    compiler = bookworm.run("sh", "-c", "readlink -f /usr/bin/gcc").stdout.strip()
    bookworm.put(compiler, "#!/bin/sh\necho the compiler is ill >&2\nexit 1\n", 0o755)
    untouched = bookworm.state()
    assert dkms(bookworm, _ansible_check_mode=True)["would_require"] == ["compiler"]
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"]) == ("compiler_unusable", False)
    assert "the compiler is ill" in failed["msg"]
    assert bookworm.state() == untouched


def test_a_compiler_that_fails_for_kernels_only(bookworm: Root) -> None:
    """As one that the kernel's plugins or options do not fit: it compiles, but not this."""
    compiler = bookworm.run("sh", "-c", "readlink -f /usr/bin/gcc").stdout.strip()
    bookworm.run("mv", compiler, compiler + ".real")
    bookworm.put(compiler, f'#!/bin/sh\ncase "$*" in *__KERNEL__*) echo no kernels >&2; exit 1;; esac\nexec {compiler}.real "$@"\n', 0o755)
    untouched = bookworm.state()
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"]) == ("dkms_build_failed", False)
    assert any("no kernels" in line for line in failed["log"])
    assert bookworm.state() == untouched


def test_a_kernel_that_the_package_excludes(root: Root) -> None:
    conf = root.path / SOURCE.lstrip("/") / "dkms.conf"
    conf.write_text(conf.read_text() + 'BUILD_EXCLUSIVE_KERNEL="^4\\."\n')
    failed = dkms(root)
    assert (failed["reason"], failed["changed"]) == ("dkms_build_excluded", False)
    assert_distributions_own(root)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "/root/nothing"}, "bad_dkms_source"),
        ({"source": "/etc/passwd"}, "bad_dkms_source"),
        ({"source": "/etc"}, "bad_dkms_source"),
        ({"source": None}, "bad_dkms_source"),
        ({"version": "9"}, "bad_dkms_source"),
        ({"version": "../9"}, "bad_dkms_source"),
        ({"kernels": ["../../etc"]}, "bad_kernel"),
        ({"kernels": None}, "bad_kernel"),  # the one that runs is none of the root's
    ],
)
def test_bad_input(bookworm: Root, change: dict[str, Any], reason: str) -> None:
    failed = dkms(bookworm, **change)
    assert (failed["reason"], failed["changed"]) == (reason, False)


def test_a_module_that_is_built_in(bookworm: Root) -> None:
    index = bookworm.path / "lib/modules" / bookworm.release / "modules.builtin"
    index.write_text(index.read_text() + "kernel/drivers/net/accel_b.ko\n")
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"]) == ("builtin_not_replaceable", False)


# --- What is interrupted, full or busy


def wait_for(what: Callable[[], Any], child: subprocess.Popen[str]) -> None:
    end_at = time.monotonic() + 60
    while not what():
        assert child.poll() is None and time.monotonic() < end_at, "it never happened"
        time.sleep(0.01)


def processes(root: Root, name: str) -> list[int]:
    """Processes of a root by the name of their program, with the numbers that this machine has for them."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "comm").read_text().strip() == name and os.path.samefile(folder / "root", root.path):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill_all(root: Root) -> None:
    """SIGKILL for everything that works in a root, as when the power fails."""
    for name in ("python3", "dkms", "make"):
        for pid in processes(root, name):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def slow_compiler(root: Root) -> None:
    """A compiler that waits when it is to compile a kernel module, until /tmp/go is there."""
    compiler = root.run("sh", "-c", "readlink -f /usr/bin/gcc").stdout.strip()
    root.run("mv", compiler, compiler + ".real")
    wait = 'case "$*" in *accel_a.c*) touch /tmp/compiling; while [ ! -e /tmp/go ]; do sleep 0.05; done;; esac'
    root.put(compiler, f'#!/bin/sh\n{wait}\nexec {compiler}.real "$@"\n', 0o755)


def test_killed_while_it_builds(root: Root) -> None:
    slow_compiler(root)
    child = root.start("dkms", **PACKAGE, source=SOURCE, kernels=[root.release])
    wait_for((root.path / "tmp/compiling").exists, child)
    kill_all(root)
    child.wait()
    root.put("/tmp/go", "")
    assert_distributions_own(root)
    assert root.run("dkms", "status").stdout == ""
    assert dkms(root)["changed"]
    assert_installed(root)
    assert [path.name for path in (root.path / "var/lib/dkms").iterdir() if path.name.startswith(".")] == []
    assert not dkms(root)["changed"]


def test_only_the_module_is_killed(bookworm: Root) -> None:
    """The dkms that it started goes on, and keeps the lock as long as it does."""
    slow_compiler(bookworm)
    child = bookworm.start("dkms", **PACKAGE, source=SOURCE, kernels=[bookworm.release])
    wait_for((bookworm.path / "tmp/compiling").exists, child)
    for pid in processes(bookworm, "python3"):
        os.kill(pid, signal.SIGKILL)
    child.wait()
    failed = dkms(bookworm, lock_timeout=1)
    assert (failed["reason"], failed["changed"]) == ("dkms_locked", False)
    assert "another run" in failed["msg"]
    bookworm.put("/tmp/go", "")
    assert dkms(bookworm)["changed"]
    assert_installed(bookworm)


@pytest.mark.parametrize("moment", ["install", "uninstall"])
def test_killed_while_dkms_moves_modules(root: Root, moment: str) -> None:
    """dkms is killed when the first module is in place, or gone, and the second is not."""
    if moment == "uninstall":
        dkms(root)
    # The program that is killed by itself: cp of the second module, or rm of it.
    program, victim = ("cp", "accel_b.ko") if moment == "install" else ("rm", "updates/dkms/accel_b")
    folder = "updates/dkms" if moment == "install" else victim
    where = root.run("sh", "-c", f"command -v {program}").stdout.strip()
    root.run("mv", where, where + ".real")
    root.put(
        where,
        f'#!/bin/bash\nif [[ "$*" == *{victim}* && "$*" == *{folder}* ]]; then pkill; fi\nexec {where}.real "$@"\n',
        0o755,
    )
    kill = "if [[ $(<$d/comm) == dkms || $(<$d/comm) == python3 ]]; then kill -KILL ${d#/proc/}; fi"
    root.put("/usr/bin/pkill", f"#!/bin/bash\nfor d in /proc/[0-9]*; do {kill}; done\n", 0o755)
    child = root.start("dkms", **PACKAGE, **({"source": SOURCE} if moment == "install" else {"state": "absent"}), kernels=[root.release])
    assert child.wait() != 0
    root.run("mv", where + ".real", where)
    there = resolved(root), resolved(root, "accel_b")
    assert any(path and path.startswith("updates") for path in there) or (root.path / f"lib/modules/{root.release}/updates").exists(), (
        "killed too early"
    )
    assert dkms(root)["changed"]
    assert_installed(root)
    assert dkms(root, state="absent")["changed"]
    assert_distributions_own(root)


def test_killed_twice_leaves_no_way_to_lose_the_kernels_module(root: Root) -> None:
    """A leftover where dkms installs would be kept as the kernel's own, and be put back by a removal."""
    dkms(root)
    saved = next((root.path / "lib/modules" / root.release / "updates/dkms").glob("accel_a.ko*"))
    content, name = saved.read_bytes(), saved.name
    dkms(root, state="absent")
    leftover = root.path / "lib/modules" / root.release / "updates/dkms" / name
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(content)
    root.run("depmod", "-a", root.release)
    assert dkms(root)["changed"]
    assert_installed(root)
    dkms(root, state="absent")
    assert_distributions_own(root)


def test_half_a_build(bookworm: Root) -> None:
    """A directory that dkms itself left half made: it would refuse to build again."""
    dkms(bookworm, state="added")
    folder = bookworm.path / f"var/lib/dkms/{NAME}/{VERSION}/{bookworm.release}/x86_64"
    (folder / "log").mkdir(parents=True)
    (folder / "module").mkdir()
    (folder / "module/accel_a.ko").write_bytes(b"\x7fELF cut off")
    (bookworm.path / f"var/lib/dkms/{NAME}/{VERSION}/build").mkdir(exist_ok=True)
    (build,) = bookworm.module("dkms_info")["packages"][0]["builds"]
    assert build["state"] == "incomplete"
    assert dkms(bookworm)["changed"]
    assert_installed(bookworm)


@pytest.mark.parametrize("way", ["install", "remove"])
def test_a_version_that_lost_its_source(root: Root, way: str) -> None:
    dkms(root)
    shutil.rmtree(root.path / f"usr/src/{NAME}-{VERSION}")
    (package,) = root.module("dkms_info")["packages"]
    assert (package["state"], package["source"]) == ("broken", None)
    if way == "install":
        assert dkms(root)["changed"]
        assert_installed(root)
        assert not dkms(root)["changed"]
    else:
        assert dkms(root, state="absent")["changed"]
        assert_distributions_own(root)
        assert not (root.path / f"usr/src/{NAME}-{VERSION}").exists()
        assert not dkms(root, state="absent")["changed"]


def test_modules_dep_was_not_renewed(bookworm: Root) -> None:
    """dkms that was killed before depmod: the files are there, and nobody finds them."""
    index = bookworm.path / "lib/modules" / bookworm.release
    saved = {path.name: path.read_bytes() for path in index.glob("modules.*")}
    dkms(bookworm)
    for name, content in saved.items():
        (index / name).write_bytes(content)
    assert (resolved(bookworm) or "").startswith(OWN)
    assert dkms(bookworm)["changed"]
    assert_installed(bookworm)


def test_a_removal_that_modprobe_would_not_notice(bookworm: Root) -> None:
    """depmod does nothing, so the kernel's own module is there and not found; the next run proves it again."""
    dkms(bookworm)
    program = bookworm.run("sh", "-c", "command -v depmod").stdout.strip()
    bookworm.run("mv", program, program + ".real")
    bookworm.put(program, "#!/bin/sh\n", 0o755)
    for _run in range(2):
        failed = dkms(bookworm, state="absent")
        assert failed["reason"] == "dkms_not_restored" and OWN in failed["msg"]
    bookworm.run("mv", program + ".real", program)
    assert dkms(bookworm, state="absent")["changed"]
    assert_distributions_own(bookworm)


def test_another_file_comes_first(bookworm: Root) -> None:
    """An override of the administrator: nothing that could be installed would be loaded, so nothing is."""
    folder = "kernel/drivers/net"
    bookworm.put("/etc/depmod.d/local.conf", f"override accel_a * {folder}\n")
    untouched = bookworm.state()
    failed = dkms(bookworm)
    assert (failed["reason"], failed["rolled_back"], failed["changed"]) == ("dkms_not_resolved", True, False)
    assert OWN in failed["msg"]
    assert_distributions_own(bookworm)
    assert set(bookworm.state()) - set(untouched) <= {
        f"lib/modules/{bookworm.release}/modules.{name}" for name in ("dep", "alias", "symbols")
    }


def small_disk(root: Root, path: str, size: str) -> None:
    inside = root.command()[-1]
    enter = root.command()[:5] + ["--"]
    (root.path / path).mkdir(parents=True, exist_ok=True)
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", f"{inside}/{path}"], check=True)


@pytest.mark.parametrize("size", ["64k", "700k"])
def test_a_full_disk_while_it_builds(bookworm: Root, size: str) -> None:
    small_disk(bookworm, "var/lib/dkms", size)
    failed = dkms(bookworm)
    assert (failed["reason"], failed["changed"]) == ("disk_full", False)
    assert_distributions_own(bookworm)
    assert list((bookworm.path / "var/lib/dkms").iterdir()) == []
    assert not (bookworm.path / f"usr/src/{NAME}-{VERSION}").exists()


def test_a_full_disk_while_it_installs(root: Root) -> None:
    """The modules' own file system is full; copies of modules that were cut off do not stay."""
    dkms(root, state="built")
    place = root.path / "lib/modules" / root.release / "updates"
    place.mkdir()
    small_disk(root, f"lib/modules/{root.release}/updates", "4k")
    failed = dkms(root)
    assert failed["reason"] == "disk_full" and failed["rolled_back"] is True
    assert (resolved(root) or "").startswith(OWN)
    assert value(root) == 1
    assert root.module("dkms_info")["packages"][0]["builds"][0]["state"] == "built"


def test_two_at_once(bookworm: Root) -> None:
    slow_compiler(bookworm)
    first = bookworm.start("dkms", **PACKAGE, source=SOURCE, kernels=[bookworm.release])
    wait_for((bookworm.path / "tmp/compiling").exists, first)
    impatient = dkms(bookworm, lock_timeout=1)
    assert (impatient["reason"], impatient["changed"]) == ("dkms_locked", False)
    second = bookworm.start("dkms", **PACKAGE, source=SOURCE, kernels=[bookworm.release])
    bookworm.put("/tmp/go", "")
    answers = [end(first), end(second)]
    assert [answer["changed"] for answer in answers] == [True, False]
    assert_installed(bookworm)


def test_a_dkms_of_somebody_else(bookworm: Root) -> None:
    """As a package manager runs it after a kernel update."""
    slow_compiler(bookworm)
    shutil.copytree(bookworm.path / SOURCE.lstrip("/"), bookworm.path / f"usr/src/{NAME}-{VERSION}")
    foreign = subprocess.Popen(
        bookworm.command("dkms", "install", f"{NAME}/{VERSION}", "-k", bookworm.release), stdout=subprocess.DEVNULL, text=True
    )
    wait_for((bookworm.path / "tmp/compiling").exists, foreign)
    failed = dkms(bookworm, lock_timeout=1)
    assert failed["reason"] == "dkms_locked" and "process" in failed["msg"]
    bookworm.put("/tmp/go", "")
    foreign.wait()
    dkms(bookworm)
    assert_installed(bookworm)


def test_a_build_that_takes_too_long(bookworm: Root) -> None:
    slow_compiler(bookworm)
    untouched = bookworm.state()
    failed = dkms(bookworm, timeout=5)
    assert (failed["reason"], failed["changed"]) == ("dkms_timeout", False)
    assert bookworm.state() == untouched
    assert processes(bookworm, "dkms") == []


def test_a_kernel_update_builds_by_itself(root: Root) -> None:
    """What dkms' own hook builds for a new kernel is ours too: nothing is to be done."""
    dkms(root, state="added")
    root.run("dkms", "autoinstall", "-k", root.release)
    done = dkms(root)
    assert_installed(root)
    if root.suite != "bookworm":  # where dkms leaves accel_a out
        assert not done["changed"]
    assert not dkms(root)["changed"]


def test_an_initramfs_that_was_not_refreshed(bookworm: Root) -> None:
    """An earlier run ended before the role refreshed it: the next one, which changes nothing, still says so."""
    dkms(bookworm)
    image = bookworm.put(f"/boot/initrd.img-{bookworm.release}", "")
    os.utime(image, (1, 1))
    again = dkms(bookworm)
    assert (again["changed"], again["initramfs_stale"]) == (False, [bookworm.release])
    os.utime(image)
    assert dkms(bookworm)["initramfs_stale"] == []
