# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Garbled trees: whatever they hold, the facts have their form, and decisions are made of them or refused in words."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import importlib
import json
import pkgutil
import re
import signal
from collections.abc import Iterator
from typing import Any

import documented
import pytest
from ansible_collections.accelnet.mana.plugins import module_utils
from ansible_collections.accelnet.mana.plugins.module_utils import _packages, _record, _snapshot
from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._facts import collect_from
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import VERDICTS, AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import SnapshotBackend, Tree, check_snapshot_files
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan
from ansible_collections.accelnet.mana.tests.fixtures.builder.fleet.write import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BASES = ["deb12-dpdk", "rhel94-three", "ubu2404-hpc", "sles156-azure", "kvm-lab", "azl3-web", "ubu2404-netns", "ubu2204-probe"]
NAMES = [
    "..",
    "eth0",
    "7870:00:00.0",
    "f8615163-0000-1000-2000-00224871c28c",
    "6.1.0-1",
    "node0",
    "hugepages-2048kB",
    "x.conf",
    "1",
    "\u00b2",
    "\udcff",
    "a\nb",
]
LINES = [
    "kernel/drivers/mana.ko:",
    "updates/mana.ko.xz: kernel/x.ko",
    "/mana.ko:",
    "../../../../etc/passwd/mana.ko:",
    "alias pci:v00001414d000000[Z-A]* mana",
    "blacklist mana",
    "install",
    "saved_entry=",
    "GRUB_DEFAULT=saved",
    "include *",
    "CONFIG_MODULE_SIG_FORCE=y",
    "ID=\u2028",
    '{"ports": [{"mac": [], "vmbus_device": {}}]}',
    "0x" + "9" * 5000,
    "-1",
    "1e9",
    "module_blacklist=,,mana_ib,",
]


def run(examples: int) -> settings:
    """The same examples at every run."""
    return settings(max_examples=examples, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))


text = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(LINES), max_size=4).map("\n".join))
entries = st.one_of(
    text,
    st.binary(max_size=80).map(lambda data: {"base64": base64.b64encode(data).decode()}),
    st.sampled_from(
        [
            {"dir": True},
            {"file": True},
            {"error": "EACCES"},
            {"error": "EIO"},
            {"error": "EINVAL"},
            {"error": "ELOOP"},
            {"error": "ENOSUCH"},
            None,
        ]
    ),
    st.one_of(st.sampled_from(["", "/", "..", "../../../../../..", ".", "loop", "/sys/class/net", "/sys", "/dev/null"]), text).map(
        lambda target: {"link": target}
    ),
    st.integers(0, 1 << 30).map(lambda index: {"link": index}),  # to some path of the tree
)
names = st.one_of(st.sampled_from(NAMES), st.text(min_size=1, max_size=20))
# (which path, what to do with it, how deep: the entry itself or a parent of it, a new name beside it or None)
damage = st.lists(
    st.tuples(st.integers(0, 1 << 30), entries, st.sampled_from([0, 0, 0, 1, 2]), st.one_of(st.none(), st.none(), names)),
    min_size=1,
    max_size=10,
)


@functools.lru_cache(maxsize=None)
def base(name: str) -> dict[str, Any]:
    return json.loads((EXAMPLES / "snapshots" / f"{name}.json").read_text())


def damaged(files: dict[str, Any], damages: list[Any]) -> dict[str, Any]:
    files = dict(files)
    paths = sorted(files)
    for index, entry, depth, name in damages:
        path = paths[index % len(paths)]
        for _level in range(depth):
            path = path.rpartition("/")[0] or path
        if name is not None:
            path = f"{path.rpartition('/')[0]}/{name}"
        if depth and name is None:  # a whole directory becomes something else
            files = {other: value for other, value in files.items() if not other.startswith(path + "/")}
        if isinstance(entry, dict) and isinstance(entry.get("link"), int):
            entry = {"link": paths[entry["link"] % len(paths)]}
        if entry is None:
            files.pop(path, None)
        elif check_snapshot_files({path: entry}) is None:
            files[path] = entry
    return files


def check(facts: dict[str, Any]) -> None:
    documented.check(facts)
    json.dumps(facts, ensure_ascii=False, allow_nan=False).encode("utf-8")
    before = copy.deepcopy(facts)
    try:
        rows = assess(facts)
        assert {row["verdict"] for row in rows} <= set(VERDICTS)
    except AccelnetError as error:
        assert error.message
    for goal in ("ethernet", "rdma", "dpdk"):
        try:
            result = plan(facts, goal)
            json.dumps(result, ensure_ascii=False).encode("utf-8")
        except AccelnetError as error:
            assert error.message
    assert facts == before, "a decision changed the facts"


@pytest.mark.parametrize("name", BASES)
def test_garbled_trees(name: str) -> None:
    snapshot = base(name)
    answers = RecordedAnswers(snapshot["answers"])

    @run(200)
    @given(damage, st.sampled_from([None, True, False]))
    def attack(damages: list[Any], hardware: bool | None) -> None:
        check(collect_from(Tree(SnapshotBackend(damaged(snapshot["files"], damages))), answers, False, hardware=hardware))

    attack()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(names, st.sampled_from(["release", "machine", "addresses", "eth0"])), inner, max_size=3),
    ),
    max_leaves=6,
)
ANSWERS = ["uname", "python", "netlink", "ethtool", "modinfo", "packages", "addresses", "default_routes"]


@run(150)
@given(
    st.dictionaries(st.sampled_from(ANSWERS), json_values, max_size=4),
    st.dictionaries(st.sampled_from(ANSWERS[:6]), json_values, max_size=1),
)
def test_garbled_answers_are_refused_or_read(parts: dict[str, Any], whole: dict[str, Any]) -> None:
    snapshot = base("deb12-dpdk")
    answers = copy.deepcopy(snapshot["answers"])
    for key, value in parts.items():
        place = answers["netlink"] if key in ("addresses", "default_routes") else answers.get(key)
        if isinstance(place, dict):  # one value in it
            place[key if place is answers["netlink"] else next(iter(place), "x")] = value
    answers.update(whole)
    try:
        content = _snapshot.check("x.json", {**snapshot, "answers": answers})
    except AccelnetError as error:
        assert (error.reason, "x.json: answers." in error.message) == ("bad_snapshot", True)
        return
    check(collect_from(Tree(SnapshotBackend(content["files"])), RecordedAnswers(content["answers"]), False))


@run(150)
@given(st.one_of(st.binary(max_size=60), json_values.map(lambda value: json.dumps(value).encode("utf-8", "replace"))))
def test_a_snapshot_file_of_garbage_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.json"
    path.write_bytes(data)
    with pytest.raises(AccelnetError) as caught:
        _snapshot.load(str(path))
    assert caught.value.reason == "bad_snapshot"
    assert caught.value.message.startswith(str(path))


RAW = [b"\x7fELF", bytes(range(256)), b"\n\n\n", b"=", b"[", b"a" * 5000, b"\xff\xfe", b"kernel/mana.ko:\n" * 50]


@pytest.mark.parametrize("raw", RAW, ids=lambda raw: repr(raw[:8]))
@pytest.mark.parametrize("name", BASES[:3])
def test_every_file_full_of_the_same_bytes(name: str, raw: bytes) -> None:
    garbage = {"base64": base64.b64encode(raw).decode()}
    snapshot = base(name)
    files = {path: entry if isinstance(entry, dict) and "link" in entry else garbage for path, entry in snapshot["files"].items()}
    check(collect_from(Tree(SnapshotBackend(files)), RecordedAnswers(snapshot["answers"]), False))


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """What takes quadratic time takes hours here; regular expressions are interrupted by signals, too."""

    def stop(_number: int, _frame: Any) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


SIZE = 200_000
LONG = [
    "\n",
    " ",
    " \n",
    "\t\r\n",
    "9",
    "9.",
    "a",
    "*",
    "*a",
    "/",
    "a/../",
    ".ko",
    ".ko:\n",
    "[",
    "x=",
    '"',
    "linux \n\n",
    "linux ",
    "export ",
    "GRUB_DEFAULT=\n\n",
    "GRUB_CMDLINE_LINUX",
    "module_blacklist=",
    "module_blacklist=mana,mana-ib\n",
    "blacklist mana\n",
    "install mana x\n",
    "allow_unsupported_modules ",
    "include *\n",
    "include *a*a*a\n/x\n",
    "options ",
    "Version:\n\n",
    "[a]\nenabled\n\n",
    "alias pci:v00001414d" + "*" * 50 + "x mana\n",
]


def read_long(name: str, text: str) -> None:
    entry = text * (SIZE // len(text))
    snapshot = base(name)
    files = {path: old if isinstance(old, dict) and "link" in old else entry for path, old in snapshot["files"].items()}
    files.update(dict.fromkeys(MORE_FILES, entry))
    tree = Tree(_record.RecordingBackend(SnapshotBackend(files)))
    facts = collect_from(tree, RecordedAnswers(snapshot["answers"]), False, hardware=True)
    for manager in _packages.MANAGERS:
        _packages.lists_present(tree, manager)
    check(facts)


# What none of the hosts has
MORE_FILES = [
    "/boot/grub/grub.cfg",
    "/boot/grub2/grub.cfg",
    "/boot/grub2/grubenv",
    "/boot/loader/entries/x.conf",
    "/etc/default/grub.d/x.cfg",
    "/etc/kernel/cmdline",
    "/etc/ld.so.conf",
    "/etc/modprobe.d/x.conf",
    "/etc/zypp/repos.d/x.repo",
    "/sys/kernel/security/lockdown",
    "/usr/lib64/librte_eal.so.25",
    "/usr/lib64/pkgconfig/libdpdk.pc",
    "/var/lib/accelnet/dpdk_port.json",
]


@pytest.mark.parametrize("text", LONG)
def test_every_file_long_and_dull(text: str) -> None:
    with no_hang():
        read_long("rhel94-three", text)


def test_a_line_of_white_space_is_tried_once() -> None:
    """A run of white space at the start of a line, with \\s, is tried from every line of it: quadratic."""
    patterns = []
    for info in pkgutil.iter_modules(module_utils.__path__):
        module = importlib.import_module(f"{module_utils.__name__}.{info.name}")
        patterns += [value for value in vars(module).values() if isinstance(value, re.Pattern)]
    assert len(patterns) > 20
    for pattern in patterns:
        assert not (pattern.flags & re.M and "^\\s" in pattern.pattern), pattern.pattern
        with no_hang():
            for text in ("\n", " ", "\t\n"):
                list(pattern.finditer(text * SIZE))


@pytest.mark.parametrize("error", ["EACCES", "EIO", "ENOENT", "EINVAL"])
@pytest.mark.parametrize("name", BASES[:3])
def test_no_file_can_be_read(name: str, error: str) -> None:
    snapshot = base(name)
    files = {path: entry if isinstance(entry, dict) and "link" in entry else {"error": error} for path, entry in snapshot["files"].items()}
    check(collect_from(Tree(SnapshotBackend(files)), RecordedAnswers(snapshot["answers"]), False))
