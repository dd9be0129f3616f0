# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module backport_source (_backport, _donor) on tiny donors, and what can be said of the compat layer without a kernel.

Builds against the headers of real kernels are in tests/integration/test_backport_build.py.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _backport, _donor
from ansible_collections.accelnet.mana.plugins.module_utils._donor import BackportError

MODULE = "ansible_collections.accelnet.mana.plugins.modules.backport_source"
LAYER = Path(__file__).parents[2] / "roles" / "nic_driver" / "files" / "backport"
ETHERNET = "drivers/net/ethernet/microsoft/mana"
RDMA = "drivers/infiniband/hw/mana"

Changes = dict[str, str | None]  # of DONOR
Add = Callable[[tarfile.TarFile], None]  # adds members to an archive

# What the compat layer asks of a donor, and no more.
DONOR = {
    "Makefile": "# SPDX\nVERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\nNAME = Nobody\n",
    f"{ETHERNET}/Makefile": "mana-objs := mana_en.o\n",
    f"{ETHERNET}/mana_en.c": "struct a = {\n\t.net_shaper_ops         = &mana_shaper_ops,\n\t.b = 1,\n};\n",
    f"{ETHERNET}/mana_ethtool.c": "struct a = {\n\t.op_needs_rtnl\t\t= A |\n\t\t\t\t  B,\n\t.get_rx_ring_count\t= mana_count,\n};\n",
    f"{ETHERNET}/mana_en.o": "left by a build",
    f"{RDMA}/Makefile": "mana_ib-y := device.o\n",
    f"{RDMA}/device.c": "struct a = {\n\t.uverbs_robust_udata = true,\n};\n",
    f"{RDMA}/mana_ib.h": "/* */\n",
    "include/net/mana/mana.h": "/* */\n",
    "include/uapi/rdma/mana-abi.h": "/* */\n",
    "include/linux/other.h": "not wanted",
}


def tree(where: Path, changes: Changes | None = None) -> Path:
    """A donor's directory; a change to None leaves the file out."""
    for name, content in {**DONOR, **(changes or {})}.items():
        if content is not None:
            path = where / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return where


def archive(
    where: Path, changes: dict[str, str | None] | None = None, kind: str = "xz", more: Callable[[tarfile.TarFile], None] | None = None
) -> Path:
    """The same as an archive; ``more`` adds what no tree has."""
    path = where / f"linux.tar.{kind}"
    with tarfile.open(path, f"w:{kind}" if kind != "tar" else "w") as tar:
        for name, content in {**DONOR, **(changes or {})}.items():
            if content is not None:
                member = tarfile.TarInfo(f"linux-7.3/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
        if more is not None:
            more(tar)
    return path


def run(**arguments: Any) -> dict[str, Any]:
    """What the module answers. Check mode and diff by _ansible_check_mode and _ansible_diff."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    stdin = json.dumps({"ANSIBLE_MODULE_ARGS": {"compat": str(LAYER), **arguments}}, default=str)
    done = subprocess.run([sys.executable, "-m", MODULE], input=stdin, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert bool(answer.get("failed")) == (done.returncode != 0)
    return answer


def state(where: Path) -> dict[str, str]:
    """All that is there, with contents and modes."""
    found = {}
    for path in sorted(where.rglob("*")):
        mode = oct(path.lstat().st_mode)
        found[str(path.relative_to(where))] = f"{mode} {path.read_bytes()!r}" if path.is_file() else mode
    return found


def prepare(donor: Path, **more: Any) -> _backport.Assembly:
    values = {
        "donor": str(donor),
        "compat": str(LAYER),
        "sha256": None,
        "version": None,
        "target_releases": [],
        "modules": ["mana", "mana_ib"],
    }
    return _backport.prepare(_backport.Options(**{**values, **more}), str(donor) + "-dest")[0]


def refusal(donor: Path, **more: Any) -> str:
    with pytest.raises(BackportError) as caught:
        prepare(donor, **more)
    return caught.value.reason


# Assembling


def test_an_archive_becomes_a_package(tmp_path: Path) -> None:
    dest = tmp_path / "src" / "mana-backport"
    answer = run(donor=archive(tmp_path), dest=dest, target_release="6.1.0-56-cloud-amd64")
    assert (answer["changed"], answer["name"], answer["version"]) == (True, "mana-backport", "7.3.4+accelnet1")
    assert (answer["donor_version"], answer["modules"]) == ("7.3.4", ["mana", "mana_ib"])
    assert answer["donor_sha256"] == hashlib.sha256((tmp_path / "linux.tar.xz").read_bytes()).hexdigest()
    assert answer["edits"] == {"net_shaper_ops": 1, "op_needs_rtnl": 1, "get_rx_ring_count": 1, "uverbs_robust_udata": 1}
    donor = {str(path.relative_to(dest / "donor")) for path in (dest / "donor").rglob("*") if path.is_file()}
    assert donor == set(DONOR) - {"Makefile", f"{ETHERNET}/mana_en.o", "include/linux/other.h"}
    assert {"Kbuild", "Makefile", "dkms.conf", "package.mk", "probes/run.sh", "compat/compat.h"} <= set(state(dest))
    assert "dkms.conf.in" not in state(dest)
    # dkms runs the probes only when they are executable.
    assert os.access(dest / "probes/run.sh", os.X_OK) and not os.access(dest / "probes/control.c", os.X_OK)
    assert dest.stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in dest.parent.iterdir()) == ["mana-backport"]


def test_edits_keep_the_values(tmp_path: Path) -> None:
    files = prepare(tree(tmp_path)).files
    assert files is not None
    assert (
        files[f"donor/{ETHERNET}/mana_en.c"].decode()
        == "struct a = {\n\tBACKPORT_MEMBER(net_shaper_ops, &mana_shaper_ops)\n\t.b = 1,\n};\n"
    )
    ethtool = files[f"donor/{ETHERNET}/mana_ethtool.c"].decode()
    assert "BACKPORT_MEMBER(op_needs_rtnl, A |\n\t\t\t\t  B)\n" in ethtool
    assert "BACKPORT_MEMBER(get_rx_ring_count, mana_count)\n" in ethtool


def test_an_older_donor_has_nothing_to_edit(tmp_path: Path) -> None:
    changes = {f"{ETHERNET}/mana_en.c": "x", f"{ETHERNET}/mana_ethtool.c": "x", f"{RDMA}/device.c": "x"}
    assert set(prepare(tree(tmp_path, changes)).record["edits"].values()) == {0}


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", "tar"])
def test_every_form_of_a_donor_gives_the_same_package(tmp_path: Path, kind: str) -> None:
    assert prepare(archive(tmp_path, kind=kind)).record["digest"] == prepare(tree(tmp_path / "tree")).record["digest"]


def test_again_is_no_change(tmp_path: Path) -> None:
    for donor in (archive(tmp_path), tree(tmp_path / "tree")):
        dest = tmp_path / f"dest-{donor.name}"
        first = run(donor=donor, dest=dest)
        before = state(dest)
        second = run(donor=donor, dest=dest)
        assert (first["changed"], second["changed"]) == (True, False)
        assert {key: second[key] for key in ("version", "digest", "edits", "donor_sha256")} == {
            key: first[key] for key in ("version", "digest", "edits", "donor_sha256")
        }
        assert state(dest) == before


def test_what_dkms_marks_is_no_change(tmp_path: Path) -> None:
    donor, dest = archive(tmp_path), tmp_path / "dest"
    run(donor=donor, dest=dest)
    (dest / ".accelnet-source").write_text("")
    assert run(donor=donor, dest=dest)["changed"] is False


@pytest.mark.parametrize("touch", ["donor/" + f"{RDMA}/device.c", "compat/compat.h", "assembled.json", "new.c"])
def test_what_was_touched_is_put_right(tmp_path: Path, touch: str) -> None:
    donor, dest = archive(tmp_path), tmp_path / "dest"
    run(donor=donor, dest=dest)
    before = state(dest)
    record = json.loads((dest / "assembled.json").read_text())
    (dest / touch).write_text(json.dumps({**record, "digest": "0"}) if touch == "assembled.json" else "touched")
    assert run(donor=donor, dest=dest)["changed"] is True
    assert state(dest) == before


@pytest.mark.parametrize("what", [{"modules": ["mana"]}, {"version": "7.4.1"}])
def test_other_options_are_another_package(tmp_path: Path, what: dict[str, Any]) -> None:
    donor, dest = archive(tmp_path), tmp_path / "dest"
    run(donor=donor, dest=dest)
    assert run(donor=donor, dest=dest, **what)["changed"] is True
    assert run(donor=donor, dest=dest, **what)["changed"] is False


def test_the_default_place_has_the_version_and_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_backport, "SOURCES", str(tmp_path))
    options = _backport.Options(str(archive(tmp_path)), str(LAYER), None, None, [], ["mana"])
    assembly, dest = _backport.prepare(options, None)
    assert dest == str(tmp_path / "mana-backport-7.3.4+accelnet1")
    _backport.write(assembly, dest)
    again, place = _backport.prepare(options, None)
    assert (again.files, place, again.record) == (None, dest, assembly.record)


def test_check_mode_tells_and_touches_nothing(tmp_path: Path) -> None:
    donor, dest = archive(tmp_path), tmp_path / "src" / "dest"
    before = state(tmp_path)
    check = run(donor=donor, dest=dest, _ansible_check_mode=True, _ansible_diff=True)
    assert state(tmp_path) == before
    assert check["changed"] is True
    assert check["diff"]["before"] == "" and "donor/include/net/mana/mana.h\n" in check["diff"]["after"]
    done = run(donor=donor, dest=dest)
    assert [check[key] for key in ("version", "digest", "dest", "edits")] == [done[key] for key in ("version", "digest", "dest", "edits")]
    assert run(donor=donor, dest=dest, _ansible_check_mode=True)["changed"] is False


# Refusing


def link(kind: bytes) -> Add:
    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(f"linux-7.3/{RDMA}/wr.c")
        member.type, member.linkname = kind, "/etc/shadow"
        tar.addfile(member)

    return add


def twice(tar: tarfile.TarFile) -> None:
    tar.addfile(tarfile.TarInfo(f"linux-7.3/{RDMA}/device.c"), io.BytesIO())


def many(tar: tarfile.TarFile) -> None:
    for number in range(300):
        tar.addfile(tarfile.TarInfo(f"linux-7.3/{RDMA}/wr{number}.c"), io.BytesIO())


def large(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo(f"linux-7.3/{RDMA}/wr.c")
    member.size = (4 << 20) + 1
    tar.addfile(member, io.BytesIO(bytes(member.size)))


def claim(size: int, name: str = "linux-7.3/big", kind: bytes = tarfile.REGTYPE) -> Add:
    """A header that says that so much follows."""

    def add(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.type = size, kind
        assert tar.fileobj is not None
        tar.fileobj.write(member.tobuf(tarfile.GNU_FORMAT))

    return add


@pytest.mark.parametrize(
    ("reason", "changes", "more", "options"),
    [
        ("donor_checksum_mismatch", {}, None, {"sha256": "0" * 64}),
        ("donor_incomplete", {f"{RDMA}/{name}": None for name in ("Makefile", "device.c", "mana_ib.h")}, None, {}),
        ("donor_incomplete", {"include/uapi/rdma/mana-abi.h": None}, None, {}),
        ("donor_incomplete", {f"{RDMA}/device.c": None}, None, {}),
        ("donor_version_unknown", {"Makefile": None}, None, {}),
        ("donor_version_unknown", {"Makefile": "VERSION = x\n"}, None, {}),
        ("donor_version_unknown", {}, None, {"version": "6.12/../../x"}),
        ("donor_version_unknown", {}, None, {"version": "unknown"}),
        ("donor_older_than_target", {}, None, {"target_releases": ["6.1.0-1", "7.4.0"]}),
        ("donor_older_than_target", {}, None, {"version": "5.9", "target_releases": ["5.10.0"]}),
        ("bad_target_release", {}, None, {"target_releases": ["latest"]}),
        ("donor_edit_mismatch", {f"{ETHERNET}/mana_en.c": ".net_shaper_ops = {1},"}, None, {}),
        ("donor_edit_mismatch", {f"{ETHERNET}/mana_en.c": ".net_shaper_ops = a,\n.net_shaper_ops = b,"}, None, {}),
        ("donor_edit_mismatch", {f"{ETHERNET}/mana_en.c": ".net_shaper_ops = a,\nops.net_shaper_ops = b;"}, None, {}),
        ("donor_unsafe", {}, link(tarfile.SYMTYPE), {}),
        ("donor_unsafe", {}, link(tarfile.LNKTYPE), {}),
        ("donor_unsafe", {}, link(tarfile.FIFOTYPE), {}),
        ("donor_unsafe", {}, twice, {}),
        ("donor_unsafe", {}, many, {}),
        ("donor_unsafe", {}, large, {}),
        ("donor_unsafe", {}, claim(1 << 40), {}),
        ("donor_unsafe", {}, claim(1 << 32, "././@LongLink", tarfile.GNUTYPE_LONGNAME), {}),
        ("donor_unsafe", {}, claim(1 << 32, "pax", tarfile.XHDTYPE), {}),
        ("donor_corrupt", {}, claim(1 << 20), {}),
    ],
)
def test_what_is_wrong_with_a_donor_leaves_everything_as_it_was(
    tmp_path: Path, reason: str, changes: Changes, more: Add | None, options: dict[str, Any]
) -> None:
    dest = tmp_path / "dest"
    run(donor=tree(tmp_path / "good"), dest=dest)
    donor = archive(tmp_path, changes, "gz", more)
    before = state(tmp_path)
    answer = run(donor=donor, dest=dest, **options)
    assert (answer["failed"], answer["reason"]) == (True, reason)
    assert state(tmp_path) == before


@pytest.mark.parametrize("kind", ["xz", "gz", "bz2", "tar"])
def test_a_donor_that_is_cut_off_is_corrupt(tmp_path: Path, kind: str) -> None:
    donor = archive(tmp_path, kind=kind)
    whole = donor.read_bytes()
    # A plain tar has nothing that tells where it ends but what is in it.
    for part in (0.1, 0.4) if kind == "tar" else (0.1, 0.5, 0.9):
        donor.write_bytes(whole[: int(len(whole) * part)])
        assert refusal(donor) in ("donor_corrupt", "donor_incomplete")
    if kind != "tar":
        donor.write_bytes(whole[:-1])
        assert refusal(donor) == "donor_corrupt"


def test_a_damaged_byte_is_noticed(tmp_path: Path) -> None:
    donor = archive(tmp_path)
    data = bytearray(donor.read_bytes())
    data[len(data) // 2] ^= 0xFF
    donor.write_bytes(bytes(data))
    assert refusal(donor) == "donor_corrupt"


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, b"\x28\xb5\x2f\xfd rest"])
def test_what_is_no_archive_is_corrupt(tmp_path: Path, content: bytes) -> None:
    donor = tmp_path / "donor"
    donor.write_bytes(content)
    assert refusal(donor) == "donor_corrupt"


def test_without_lzma_the_answer_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_donor, "lzma", None)
    assert refusal(archive(tmp_path)) == "donor_corrupt"
    assert prepare(archive(tmp_path, kind="gz")).version == "7.3.4+accelnet1"


def test_a_donor_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == "donor_missing"
    assert refusal(tree(tmp_path / "tree"), sha256="0" * 64) == "donor_checksum_mismatch"


def test_a_link_out_of_a_tree_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.c"
    secret.write_text("secret")
    donor = tree(tmp_path / "tree")
    (donor / RDMA / "wr.c").symlink_to(secret)
    assert refusal(donor) == "donor_unsafe"
    (donor / RDMA / "wr.c").unlink()
    shutil.move(donor / "include" / "net", tmp_path / "net")
    (donor / "include" / "net").symlink_to(tmp_path / "net")
    assert refusal(donor) == "donor_unsafe"


def test_names_that_lead_out_are_no_names_of_ours(tmp_path: Path) -> None:
    def add(tar: tarfile.TarFile) -> None:
        for name in (f"linux/{RDMA}/../../../x.c", "/etc/passwd", "../x.c", f"linux/{RDMA}/..", f"linux/{RDMA}/-x.c", f"linux/{RDMA}/.x.c"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())

    dest = tmp_path / "a" / "dest"
    run(donor=archive(tmp_path, more=add), dest=dest)
    assert not [name for name in state(tmp_path) if name.endswith("x.c")]


def test_what_others_put_there_stays(tmp_path: Path) -> None:
    donor = tree(tmp_path / "tree")
    foreign, file, dangling, empty = (tmp_path / name for name in ("foreign", "file", "dangling", "empty"))
    foreign.mkdir()
    (foreign / "dkms.conf").write_text("theirs")
    file.write_text("theirs")
    dangling.symlink_to(tmp_path / "nowhere")
    for dest in (foreign, file, dangling):
        before = state(tmp_path)
        answer = run(donor=donor, dest=dest)
        assert (answer["failed"], answer["reason"]) == (True, "dest_not_ours")
        assert state(tmp_path) == before
    empty.mkdir()
    assert run(donor=donor, dest=empty)["changed"] is True


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = run(donor=tree(tmp_path / "tree"), dest=tmp_path / "file" / "dest")
    assert (answer["failed"], answer["reason"]) == (True, "dest_not_writable")


def test_mana_ib_brings_mana_with_it_and_nothing_is_refused(tmp_path: Path) -> None:
    donor = tree(tmp_path / "tree")
    assert run(donor=donor, dest=tmp_path / "dest", modules=["mana_ib"])["modules"] == ["mana", "mana_ib"]
    answer = run(donor=donor, dest=tmp_path / "dest", modules=[])
    assert (answer["failed"], answer["reason"]) == (True, "bad_modules")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("assembly.json", "{"),
        ("assembly.json", "{}"),
        ("assembly.json", '{"serial": 1, "folders": ["../x"], "files": [], "edits": []}'),
        ("assembly.json", '{"serial": 1, "folders": [], "files": ["/etc/shadow"], "edits": []}'),
        ("assembly.json", '{"serial": 1, "folders": [], "files": [], "edits": [{"name": "x"}]}'),
        ("dkms.conf.in", "@NOBODY_KNOWS@"),
        ("Kbuild", None),
        ("assembly.json", None),
    ],
)
def test_a_broken_compat_layer_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    layer = tmp_path / "layer"
    shutil.copytree(LAYER, layer)
    if content is None:
        (layer / name).unlink()
    else:
        (layer / name).write_text(content)
    assert refusal(tree(tmp_path / "tree"), compat=str(layer)) == "compat_invalid"


# Whole or not at all


def test_a_run_that_was_cut_off_leaves_nothing_for_long(tmp_path: Path) -> None:
    dest = tmp_path / "src" / "dest"
    left = tmp_path / "src" / ".dest.new-abc"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    run(donor=tree(tmp_path / "tree"), dest=dest)
    assert [path.name for path in (tmp_path / "src").iterdir()] == ["dest"]


def test_when_the_new_one_cannot_take_its_place_the_old_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dest = tmp_path / "dest"
    donor = tree(tmp_path / "tree")
    _backport.write(prepare(donor), str(dest))
    before = state(tmp_path)
    newer = prepare(donor, modules=["mana"])
    renames = itertools.count(1)
    rename = os.rename

    def fail_second(source: str, target: str) -> None:
        if next(renames) == 2:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_second)
    with pytest.raises(OSError):
        _backport.write(newer, str(dest))
    assert state(tmp_path) == before


# Versions


@pytest.mark.parametrize(
    ("makefile", "version"),
    [
        ("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 117\nEXTRAVERSION =\n", "6.12.117"),
        ("VERSION = 7\nPATCHLEVEL = 4\nSUBLEVEL = 0\nEXTRAVERSION = -rc2\n", "7.4.0-rc2"),
        ("VERSION = 6\nPATCHLEVEL = 6\nSUBLEVEL = 1\nEXTRAVERSION = -vendor/../x\n", "6.6.1"),
    ],
)
def test_the_version_is_that_of_the_makefile(makefile: str, version: str) -> None:
    assert _backport.makefile_version(makefile.encode()) == version


def test_package_versions_are_valid_and_in_order() -> None:
    versions = [_backport.package_version(version, 3) for version in ("6.12", "6.12.117", "7.4.0-rc2", "7.4.0")]
    assert versions == ["6.12+accelnet3", "6.12.117+accelnet3", "7.4.0~rc2+accelnet3", "7.4.0+accelnet3"]
    for version in versions:
        assert not re.search(r"[/\s,:]", version)


RELEASES = [
    "4.18.0-553.el8_10.x86_64",
    "4.19.0-27-amd64",
    "5.4.0",
    "5.10.0-32-cloud-amd64",
    "5.14.0-503.el9.x86_64",
    "6.1.0-56-cloud-amd64",
    "6.8.0-1052-azure",
    "6.11",
    "6.11.11+bpo-amd64",
    "6.12.117+deb13-cloud-amd64",
    "6.12.0-105.51.5.el9uek.x86_64",
    "6.110.0",
    "7.0.0",
    "7.3.4+deb13-amd64",
    "7.30.1",
    "10.2.3",
]


@pytest.mark.parametrize("line", [(5, 15), (6, 1), (6, 12), (7, 0), (7, 3), (10, 4)])
def test_dkms_builds_for_older_kernels_only(line: tuple[int, int]) -> None:
    older = [release for release in RELEASES if (_backport.kernel_line(release) or (0, 0)) < line]
    expression = _backport.kernels_before(line)
    assert [release for release in RELEASES if re.match(expression, release)] == older
    # As dkms does it: its shell's expressions are others than Python's.
    script = 'for release in "${@:2}"; do [[ $release =~ $1 ]] && echo "$release"; done; true'
    out = subprocess.run(["bash", "-c", script, "bash", expression, *RELEASES], capture_output=True, text=True, check=True).stdout
    assert out.split() == older


@pytest.mark.parametrize(("line", "last"), [((6, 12), "6.11.999"), ((7, 0), "6.999"), ((7, 3), "7.2.999")])
def test_the_same_limit_as_a_version(line: tuple[int, int], last: str) -> None:
    assert _backport.last_before(line) == last


def test_a_kernel_of_the_donors_line_may_be_its_target() -> None:
    _backport.check_targets("6.12.117", ["6.12.200-x", "6.1.0", "5.10"])


@pytest.mark.parametrize("modules", [["mana", "mana_ib"], ["mana"]])
def test_dkms_conf_says_what_dkms_needs(tmp_path: Path, modules: list[str]) -> None:
    dest = tmp_path / "dest"
    run(donor=tree(tmp_path / "tree"), dest=dest, modules=modules)
    script = (
        'kernel_source_dir=/k; . "$1"; echo "$PACKAGE_NAME|$PACKAGE_VERSION|$AUTOINSTALL|$NO_WEAK_MODULES|${BUILT_MODULE_NAME[*]}|'
        '${DEST_MODULE_LOCATION[*]}|$PRE_BUILD|${MAKE[0]}|$BUILD_EXCLUSIVE_KERNEL_MAX|$BUILD_EXCLUSIVE_KERNEL|$BUILD_EXCLUSIVE_ARCH"'
    )
    out = subprocess.run(["bash", "-euc", script, "bash", str(dest / "dkms.conf")], capture_output=True, text=True, check=True).stdout
    places = " ".join(["/updates/dkms"] * len(modules))
    assert out.strip() == (
        f"mana-backport|7.3.4+accelnet1|yes|yes|{' '.join(modules)}|{places}|"
        + "probes/run.sh /k compat/generated.h|make KDIR=/k build|7.2.999|"
        + _backport.kernels_before((7, 3))
        + "|^(x86_64|aarch64)$"
    )
    assert (dest / "package.mk").read_text().splitlines()[1:] == [
        "BACKPORT_VERSION := 7.3.4+accelnet1",
        f"BACKPORT_MODULES := {' '.join(modules)}",
    ]
    assert os.access(dest / "dkms.conf", os.R_OK) and (dest / "probes/run.sh").is_file()


# The compat layer


def sources() -> dict[str, str]:
    return {str(path.relative_to(LAYER)): path.read_text() for path in sorted(LAYER.rglob("*")) if path.is_file()}


def test_every_file_has_its_licence() -> None:
    assert [name for name, text in sources().items() if "SPDX-License-Identifier" not in text[:300]] == []


def probed() -> set[str]:
    return {
        name for path, text in sources().items() if path.startswith("probes/") for name in re.findall(r"^#ifdef PROBE_(\w+)$", text, re.M)
    }


def test_every_adapter_asks_a_probe_and_every_probe_is_asked() -> None:
    asked = {name for path, text in sources().items() if path.startswith("compat/") for name in re.findall(r"\bHAS_(\w+)", text)}
    assert asked - probed() == set()
    assert probed() - asked == {"CONTROL_PRESENT", "CONTROL_ABSENT"}


def test_every_fact_of_the_donor_is_asked_and_every_one_asked_for_is_there() -> None:
    facts = {line.split()[0] for line in (LAYER / "probes/donor").read_text().splitlines() if not line.startswith("#")}
    asked = {name for path, text in sources().items() if path.startswith("compat/") for name in re.findall(r"\bDONOR_(\w+)", text)}
    assert asked == facts


def test_every_edited_member_has_an_adapter() -> None:
    edits = {edit["name"] for edit in json.loads((LAYER / "assembly.json").read_text())["edits"]}
    defined = {name for text in sources().values() for name in re.findall(r"#define BACKPORT_MEMBER_(\w+)\(", text)}
    assert defined == edits


def test_versions_decide_in_one_place_only() -> None:
    places = [path for path, text in sources().items() if re.search(r"^#(el)?if.*VERSION_CODE", text, re.M)]
    assert places == ["compat/xdp.h"]


# The probes, with a kernel that is only a Makefile and a header

CONTROLS = """
#ifdef PROBE_CONTROL_PRESENT
#include <linux/netdevice.h>
static inline void *probe(struct net_device *dev) { return netdev_priv(dev); }
#endif
#ifdef PROBE_CONTROL_ABSENT
#include <linux/netdevice.h>
static inline int probe(void) { return ABSENT; }
#endif
"""
PROBES = """
#ifdef PROBE_ONE
#include <linux/netdevice.h>
static const int probe = ONE;
#endif
#ifdef PROBE_TWO
#include <linux/netdevice.h>
static const int probe = TWO;
#endif
#ifdef PROBE_QUOTED
static const char probe[] = NAME;
typedef char right_length[sizeof(NAME) == sizeof("a b") ? 1 : -1];
typedef char right_text[sizeof(TEXT(abc)) == sizeof("abc") ? 1 : -1];
#endif
"""
# What kbuild records, with what it quotes in its way: the pound sign for make, the rest for a shell.
RECORDED = "@CMD@_flags.o := cc -Wp,-MMD,flags.d -Iinclude -DNAME='\"a b\"' '-DTEXT(x)=$(pound)x' -c -o flags.o flags.c ; ./tools/objtool\n"
KERNEL = 'flags.o:\n\t@echo "$(CURDIR)" >$(M)/folder; cp recorded $(M)/.flags.o.cmd\n'

needs_compiler = pytest.mark.skipif(not (shutil.which("cc") and shutil.which("make")), reason="needs a compiler and make")


def fake_kernel(where: Path, command: str = "savedcmd") -> Path:
    (where / "include/linux").mkdir(parents=True)
    (where / "include/generated").mkdir()
    (where / "include/linux/netdevice.h").write_text("struct net_device; void *netdev_priv(struct net_device *dev);\n#define ONE 1\n")
    (where / "include/generated/utsrelease.h").write_text('#define UTS_RELEASE "6.1.0-test"\n')
    (where / "recorded").write_text(RECORDED.replace("@CMD@", command))
    (where / "Makefile").write_text(KERNEL)
    return where


def fake_package(where: Path) -> Path:
    (where / "probes").mkdir(parents=True)
    shutil.copy(LAYER / "probes/run.sh", where / "probes")
    (where / "probes/control.c").write_text(CONTROLS)
    (where / "probes/some.c").write_text(PROBES)
    (where / "probes/donor").write_text("# comment\nNEW file.c new_thing(\nOLD file.c old_thing\n")
    (where / "donor").mkdir()
    (where / "donor/file.c").write_text("int new_thing(void);\n")
    return where


def probe(package: Path, kernel: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(package / "probes/run.sh"), str(kernel), str(package / "out.h")], capture_output=True, text=True, check=False
    )


@needs_compiler
@pytest.mark.parametrize("command", ["cmd", "savedcmd"])
def test_probes_tell_what_is_there(tmp_path: Path, command: str) -> None:
    package, kernel = fake_package(tmp_path / "package"), fake_kernel(tmp_path / "kernel", command)
    done = probe(package, kernel)
    assert done.returncode == 0, done.stderr
    assert [line for line in (package / "out.h").read_text().splitlines() if line.startswith("#define")] == [
        '#define PROBED_RELEASE "6.1.0-test"',
        "#define HAS_ONE 1",
        "#define HAS_QUOTED 1",
        "#define HAS_TWO 0",
        "#define DONOR_NEW 1",
        "#define DONOR_OLD 0",
    ]
    assert "2 of 3 present" in done.stdout


def wrong_path(package: Path, kernel: Path) -> None:
    (kernel / "include/linux/netdevice.h").rename(kernel / "include/linux/elsewhere.h")


def everything_compiles(package: Path, kernel: Path) -> None:
    (kernel / "include/linux/netdevice.h").write_text("struct net_device; void *netdev_priv(struct net_device *dev);\n#define ABSENT 1\n")


def no_compiler(package: Path, kernel: Path) -> None:
    (kernel / "Makefile").write_text("flags.o:\n\t@echo 'no such compiler' >&2; exit 1\n")


def no_command(package: Path, kernel: Path) -> None:
    (kernel / "recorded").write_text("something else\n")


def no_release(package: Path, kernel: Path) -> None:
    (kernel / "include/generated/utsrelease.h").write_text("")


def no_headers(package: Path, kernel: Path) -> None:
    shutil.rmtree(kernel)


def donor_changed(package: Path, kernel: Path) -> None:
    (package / "donor/file.c").unlink()


@needs_compiler
@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (wrong_path, "what every kernel has was not found"),
        (everything_compiles, "what no kernel has was found"),
        (no_compiler, "cannot build a module at all"),
        (no_command, "command line was not found"),
        (no_release, "does not tell its release"),
        (no_headers, "are the headers of the kernel installed?"),
        (donor_changed, "the donor has no file.c"),
    ],
)
def test_probes_that_cannot_be_trusted_are_fatal(tmp_path: Path, break_it: Callable[[Path, Path], None], message: str) -> None:
    package, kernel = fake_package(tmp_path / "package"), fake_kernel(tmp_path / "kernel")
    break_it(package, kernel)
    done = probe(package, kernel)
    assert done.returncode != 0 and message in done.stderr
    assert not (package / "out.h").exists()
