# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian systems with dkms, kernel headers and a compiler, for tests to spoil.

Each is made once and kept below .cache; a test gets an overlay of it that lives in a mount namespace of its own, so nothing
is left when the test ends, however it ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ansible
from lab.vm import tree

HERE = Path(__file__).parent / "dkms"
CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGES = ("dkms", "gcc", "kmod", "make", "python3", "xz-utils", "zstd", "openssl")
HEADERS = {
    "bullseye": r"linux-headers-5\.10\.0-[0-9]+-cloud-amd64",
    "bookworm": r"linux-headers-6\.1\.0-[0-9]+-cloud-amd64",
    "trixie": r"linux-headers-6\.12\.[0-9.]+\+deb13[0-9.]*-cloud-amd64",
}
MODULES = "/opt/accelnet"  # where the collection is in a root


def missing() -> str | None:
    """Why there can be no such root here, or None."""
    if os.geteuid() != 0:
        return "needs root privileges (chroot, overlay mounts)"
    programs = [name for name in ("mmdebstrap", "unshare", "nsenter", "chroot") if not shutil.which(name)]
    return "programs are missing: " + " ".join(programs) if programs else None


def base(suite: str) -> Path:
    """The unpacked system of a Debian release, made on first use."""
    files = [HERE / "base.sh", HERE / "package" / "accel_a.c"]
    key = hashlib.sha256(repr((suite, PACKAGES, HEADERS[suite], [path.read_text() for path in files])).encode()).hexdigest()[:12]
    final = CHECKOUT / ".cache" / "dkms" / f"{suite}-{key}"
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with open(final.parent / f"{suite}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests may run in parallel
        if not final.is_dir():
            _make(suite, final)
    return final


def _make(suite: str, final: Path) -> None:
    for old in final.parent.glob(f"{suite}-*"):  # of other packages, or half made
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{suite}-building-", dir=final.parent) as building:
        tar, log, root = Path(building, "root.tar"), Path(building, "log"), Path(building, "root")
        hook = (str(HERE / "base.sh"), f"'{HEADERS[suite]}'", str(HERE / "package"))
        tree.bootstrap(tar, suite, PACKAGES, log=log, hook=hook, environment={})
        root.mkdir()
        subprocess.run(["tar", "--extract", "--file", tar, "--directory", root, "--exclude=./dev/*"], check=True)
        root.chmod(0o755)
        root.rename(final)


def _install_collection(root: Path) -> None:
    """The modules and ansible-core's module_utils: they are run there as Python modules, without a controller."""
    core, target = Path(ansible.__file__).parent, root / MODULES.lstrip("/")
    pure = shutil.ignore_patterns("__pycache__")
    (target / "ansible").mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "release.py"):
        shutil.copy(core / name, target / "ansible")
    for name in ("_vendor", "module_utils"):
        shutil.copytree(core / name, target / "ansible" / name, ignore=pure)
    for name in ("modules", "module_utils"):
        shutil.copytree(CHECKOUT / "plugins" / name, target / "ansible_collections/accelnet/mana/plugins" / name, ignore=pure)


class Root:
    """A writable overlay of a base, with processes and mounts of its own."""

    def __init__(self, suite: str, work: Path) -> None:
        self.suite = suite
        mounts = work / "mounts"
        mounts.mkdir(parents=True)
        script = (
            'mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/root" '
            '&& mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root" '
            '&& mkdir -p "$1/root/dev" "$1/root/proc" "$1/root/run/lock" '
            '&& mount -t proc proc "$1/root/proc" && mount --rbind /dev "$1/root/dev" '
            "&& echo ready && exec sleep infinity"
        )
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
            str(mounts),
            str(base(suite)),
        ]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "the overlay could not be mounted"
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self._inside = children[0]
        self._inner = mounts / "root"
        self.path = Path(f"/proc/{self._inside}/root{mounts}/root")
        """The root as this process sees it."""
        _install_collection(self.path)
        self.release = next(path.name for path in (self.path / "lib/modules").iterdir())

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def command(self, *words: str) -> list[str]:
        """A command as it is run in the root."""
        return ["nsenter", "--target", self._inside, "--mount", "--pid", "--", "chroot", str(self._inner), *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, env=_ENVIRONMENT)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def start(self, module: str, **arguments: Any) -> subprocess.Popen[str]:
        """A module that runs; end() waits for its answer."""
        words = self.command(
            "env",
            f"PYTHONPATH={MODULES}",
            "PYTHONDONTWRITEBYTECODE=1",
            "python3",
            "-m",
            f"ansible_collections.accelnet.mana.plugins.modules.{module}",
        )
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_ENVIRONMENT)
        assert child.stdin is not None
        child.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        child.stdin.close()
        return child

    def module(self, module: str, **arguments: Any) -> dict[str, Any]:
        """What a module answers."""
        return end(self.start(module, **arguments))

    def put(self, path: str, content: str, mode: int = 0o644) -> Path:
        """A file of the root, in place of the one that is there."""
        place = self.path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() or place.exists():
            place.unlink()
        place.write_text(content)
        place.chmod(mode)
        return place

    def state(self) -> dict[str, tuple[object, ...]]:
        """What can be told of every file without reading it: what a module that touches nothing must leave as it is."""
        found: dict[str, tuple[object, ...]] = {}
        for top in sorted(self.path.iterdir()):
            if top.name in ("dev", "opt", "proc", "run", "tmp") or top.is_symlink():
                continue
            for folder, folders, files in os.walk(top):
                for name in folders + files:
                    path = os.path.join(folder, name)
                    status = os.lstat(path)
                    own = (os.readlink(path),) if os.path.islink(path) else (status.st_size, status.st_mtime_ns)
                    found[os.path.relpath(path, self.path)] = (status.st_mode, *(() if os.path.isdir(path) else own))
        return found


def end(child: subprocess.Popen[str]) -> dict[str, Any]:
    """The answer of a module that was started."""
    assert child.stdout is not None and child.stderr is not None
    out, err = child.stdout.read(), child.stderr.read()
    code = child.wait()
    assert "Traceback" not in out + err, out + err
    answer = json.loads(out)
    assert bool(answer.get("failed")) == (code != 0)
    return answer


_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root", "TERM": "dumb"}

if __name__ == "__main__":  # python tests/integration/dkms_root.py SUITE: makes a base
    print(base(sys.argv[1]))
