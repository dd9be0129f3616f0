# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording: a snapshot of a host tells the same as the host, and nothing that identifies it."""

from __future__ import annotations

import base64
import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _record, _snapshot
from ansible_collections.accelnet.mana.plugins.module_utils._names import mac_from_guid
from ansible_collections.accelnet.mana.plugins.module_utils._pseudonyms import Pseudonyms, pseudonymise
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import assess
from ansible_collections.accelnet.mana.plugins.plugin_utils._planner import plan

FLEET = pathlib.Path(__file__).parents[2] / "examples" / "fleet" / "snapshots"
HOSTS = sorted(path.stem for path in FLEET.glob("*.json") if not path.stem.startswith("broken"))


def record(root: str, names: tuple[str, ...] = ()) -> dict[str, t.Any]:
    """What the module does, without Ansible."""
    tree, answers, live = _facts.open_tree(root)
    backend, asked = _record.RecordingBackend(tree.backend), _record.RecordingAnswers(answers)
    _facts.collect_from(_facts.Tree(backend), asked, live)
    content = {
        "snapshot_version": 1,
        "provenance": "recorded",
        "description": "",
        "sources": [],
        "files": backend.files,
        "answers": {**asked.recorded, "packages": {}},
    }
    return pseudonymise(content, names, Pseudonyms(b"a key that only tests have"))


def read(content: dict[str, t.Any], path: pathlib.Path) -> dict[str, t.Any]:
    path.write_text(json.dumps(content), encoding="utf-8")
    return _facts.collect(str(path))


@pytest.mark.parametrize("host", HOSTS)
def test_a_recording_gives_the_same_verdicts_and_plans(host: str, tmp_path: pathlib.Path) -> None:
    original = _facts.collect(str(FLEET / f"{host}.json"))
    recorded = read(record(str(FLEET / f"{host}.json")), tmp_path / "snapshot.json")
    assert recorded["read_warnings"] == original["read_warnings"]

    def shape(facts: dict[str, t.Any]) -> list[t.Any]:
        rows = [[row["interface"], row["pci_address"], row["kind"], row["verdict"], row["reasons"]] for row in assess(facts)]
        return [rows, *[[plan(facts, goal)[key] for key in ("met", "ready", "unknown")] for goal in ("ethernet", "rdma", "dpdk")]]

    assert shape(recorded) == shape(original)


@pytest.mark.parametrize("host", HOSTS)
def test_a_recording_of_a_recording_loses_nothing(host: str, tmp_path: pathlib.Path) -> None:
    first = record(str(FLEET / f"{host}.json"))
    path = tmp_path / "first.json"
    path.write_text(json.dumps(first), encoding="utf-8")
    # Pseudonyms get pseudonyms again; nothing else may change.
    assert len(record(str(path))["files"]) == len(first["files"])


MAC, GUID_NEW = "00:22:48:71:c2:8c", "f8615163-0001-1000-2000-00224871c28c"
GUID_OLD = "00224871-c28c-0022-4871-c28c00224871"
DISK = "1234abcd-12ab-34cd-56ef-1234567890ab"
# Everything that names the host or its owner, in every form in which it is in the host below.
ORIGINALS = [
    MAC,
    MAC.upper(),
    MAC.replace(":", "-"),
    MAC.replace(":", ""),
    "0022:48ff:fe71:c28c",
    "222:48ff:fe71:c28c",
    "022248fffe71c28c",
    "10.20.30.40",
    "2001:db8:77::5",
    GUID_NEW,
    GUID_OLD,
    DISK,
    "payroll-db-7",
    "acme",
    "s3cr3t",
    "SN-0815",
]


def tell_tale() -> dict[str, t.Any]:
    """A host that says all it can about itself wherever it can."""
    content = copy.deepcopy(json.loads((FLEET / "deb12-web.json").read_text(encoding="utf-8")))
    old_guid = next(path.split("/")[5] for path in content["files"] if path.startswith("/sys/bus/vmbus/devices/f8615163"))
    old_mac = mac_from_guid(old_guid)
    assert old_mac
    text = json.dumps(content).replace(old_guid, GUID_NEW).replace(old_mac, MAC).replace(old_mac.replace(":", ""), MAC.replace(":", ""))
    content = json.loads(text)
    files = content["files"]
    files["/proc/cmdline"] = f"root=UUID={DISK} password=s3cr3t ip=10.20.30.40 module_blacklist=floppy hostname=payroll-db-7\n"
    files["/etc/hostname"] = "payroll-db-7\n"
    files["/etc/modprobe.d/acme.conf"] = "# for acme, s3cr3t\nblacklist mana_ib\noptions floppy key=s3cr3t\n"
    files["/etc/default/grub"] = f'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="password=s3cr3t panic=30 root=UUID={DISK}"\n'
    files["/boot/grub/grub.cfg"] = (
        f"# acme\nmenuentry 'Debian' {{\n\tlinux /boot/vmlinuz-6.1.0-50-cloud-amd64 root=UUID={DISK} s3cr3t\n}}\n"
    )
    files[next(path for path in files if path.endswith("/chassis_asset_tag"))] = "SN-0815\n"
    files["/opt/acme/secret.txt"] = "s3cr3t"
    files["/etc/shadow"] = "root:s3cr3t"
    vmbus = f"/sys/bus/vmbus/devices/{GUID_OLD}"
    files[f"{vmbus}/class_id"] = "{f8615163-df3e-46c5-913f-f2d2f965ed0e}\n"
    files["/sys/class/net/acme0"] = {"link": "../../devices/virtual/net/acme0"}
    files["/sys/devices/virtual/net/acme0/address"] = MAC.upper() + "\n"
    files["/sys/devices/virtual/net/acme0/type"] = "1\n"
    content["answers"]["netlink"] = {
        "addresses": {"eth0": ["10.20.30.40/24", "fe80::222:48ff:fe71:c28c/64", "2001:db8:77::5/64"], "acme0": ["10.20.30.41/24"]},
        "default_routes": ["eth0"],
    }
    content["answers"]["modinfo"] = {
        path: {**fields, "signer": "payroll-db-7 Secure Boot Module Signature key"}
        for path, fields in content["answers"]["modinfo"].items()
    }
    return content


def test_no_original_is_left_in_any_encoding(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(tell_tale()), encoding="utf-8")
    before = path.read_text(encoding="utf-8")
    recorded = record(str(path), ("payroll-db-7", "acme"))
    after = json.dumps(recorded)
    plain = after + "".join(
        base64.b64decode(entry["base64"]).decode("latin-1")
        for entry in recorded["files"].values()
        if isinstance(entry, dict) and "base64" in entry
    )
    for original in ORIGINALS:
        assert original.lower() not in plain.lower(), original
        encoded = base64.b64encode(original.encode()).decode().rstrip("=")
        assert encoded not in after, original
    assert all(original.lower() in before.lower() for original in (MAC, GUID_NEW, GUID_OLD, DISK, "payroll-db-7", "s3cr3t", "SN-0815"))


def test_what_decisions_need_is_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(tell_tale()), encoding="utf-8")
    facts = read(record(str(path), ("payroll-db-7", "acme")), tmp_path / "recorded.json")
    nic = next(nic for nic in facts["nics"] if nic["interface"] == "eth0")
    assert nic["paired"] and nic["mac"] == mac_from_guid(nic["synthetic"]["vmbus_device"]) and nic["mac"].startswith("00:22:48:")
    assert [address.split("/")[1] for address in nic["addresses"]] == ["24", "64", "64"] and nic["default_route"]
    module = facts["kernels"][0]["modules"]["mana_ib"]
    # What a file of the owner is called goes, that a file forbids the module stays.
    assert module["blacklisted"] and len(module["blacklisted_by"]) == 1
    assert facts["boot"]["cmdline"] == "module_blacklist=floppy"
    assert facts["platform"]["azure"] is False


def test_pseudonyms_differ_between_recordings() -> None:
    assert Pseudonyms().mac(MAC) != Pseudonyms().mac(MAC)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow", "/root/.ssh/id_ed25519", "/home/user/notes", "/etc/hostname", "/etc/machine-id", "/proc/1/environ",
        "/sys/class/dmi/id/product_serial", "/var/lib/waagent/ovf-env.xml", "/etc/ssh/ssh_host_rsa_key", "/etc/modprobe.d", "/opt",
    ],
)  # fmt: skip
def test_nothing_else_is_recorded(path: str) -> None:
    assert not _record.is_allowed(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(snapshot_version=2),
        lambda c: c.update(provenance="rumour"),
        lambda c: c.pop("answers"),
        lambda c: c.update(files=[]),
        lambda c: c["files"].update({"etc/passwd": "x"}),
        lambda c: c["files"].update({"/a/../b": "x"}),
        lambda c: c["files"].update({"/a": {"link": 1}}),
        lambda c: c["files"].update({"/a": {"base64": "***"}}),
        lambda c: c["files"].update({"/a": {"link": "b", "dir": True}}),
        lambda c: c["answers"].update(ethtool=[1]),
        lambda c: c["answers"].update(netlink={"addresses": {"eth0": "10.0.0.1/8"}}),
    ],
)
def test_a_malformed_snapshot_is_refused_by_name(change: t.Callable[[dict[str, t.Any]], t.Any], tmp_path: pathlib.Path) -> None:
    content = json.loads((FLEET / "deb12-web.json").read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(AccelnetError) as error:
        _facts.collect(str(path))
    assert error.value.reason == "bad_snapshot" and str(path) in error.value.message


@pytest.mark.parametrize("release", ["../../etc", "", "a b", "9.9.9-not-installed"])
def test_a_kernel_that_is_none(release: str) -> None:
    with pytest.raises(AccelnetError) as error:
        _facts.collect(str(FLEET / "deb12-web.json"), kernels=[release])
    assert error.value.reason == "bad_kernel"


def test_the_limit_of_a_snapshots_size_is_checked_before_reading(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.json"
    path.write_text("x" * 100, encoding="utf-8")
    monkeypatch.setattr(_snapshot, "SIZE_LIMIT", 10)
    with pytest.raises(AccelnetError, match="larger"):
        _facts.collect(str(path))


def test_command_lines_are_kept_as_the_readers_need_them() -> None:
    grub = "export GRUB_CMDLINE_LINUX='quiet panic=1 key=s'\n GRUB_CMDLINE_LINUX_DEFAULT+=module_blacklist=mana\n"
    grub += "GRUB_CMDLINE_LINUX_RECOVERY=panic=2\n"
    assert _record.reduce_text("/etc/default/grub", grub) == (
        'GRUB_CMDLINE_LINUX="panic=1"\nGRUB_CMDLINE_LINUX_DEFAULT="module_blacklist=mana"\n'
    )
    entry = "title x\nversion 6.1\nlinux /vmlinuz-6.1\ninitrd /i\noptions\troot=UUID=x module_blacklist=mana\n"
    assert _record.reduce_text("/boot/loader/entries/x.conf", entry) == (
        "title x\nversion 6.1\nlinux /vmlinuz-6.1\noptions module_blacklist=mana\n"
    )
