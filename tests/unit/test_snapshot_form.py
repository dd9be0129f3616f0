# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a snapshot is checked before anything is read from it."""

import json

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _snapshot
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

GOOD = {
    "snapshot_version": 1,
    "provenance": "recorded",
    "files": {"/etc/hostname": "x\n"},
    "answers": {
        "uname": {"release": "6.1", "machine": "x86_64"},
        "python": "3.11.2",
        "netlink": {"addresses": {"eth0": ["10.0.0.4/24"]}, "default_routes": ["eth0"]},
        "ethtool": {"eth0": {"vf_rx_bytes": 1}},
        "modinfo": {"/a.ko": {"srcversion": "A", "version": None}},
        "packages": {"a": {"version": "1", "versions": ["1"]}, "b": None, "c": {"version": None}},
    },
}


def test_a_good_one():
    assert _snapshot.check("f", GOOD) is GOOD
    unanswered = dict.fromkeys(GOOD["answers"])
    assert _snapshot.check("f", dict(GOOD, answers=unanswered)) and _snapshot.check("f", dict(GOOD, answers={}))
    assert _snapshot.check("f", dict(GOOD, answers={"netlink": {"addresses": {}, "default_routes": None}}))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"snapshot_version": 2}, "snapshot_version is 2"),
        ({"snapshot_version": None}, "snapshot_version is None"),
        ({"provenance": "guessed"}, "provenance"),
        ({"provenance": []}, "provenance"),
        ({"files": None}, "'files' is not an object"),
        ({"files": {"relative": "x"}}, "'relative'"),
        ({"answers": None}, "'answers'"),
        ({"answers": []}, "'answers'"),
    ],
)
def test_bad_parts(change, fault):
    with pytest.raises(AccelnetError) as caught:
        _snapshot.check("some/file.json", dict(GOOD, **change))
    assert caught.value.reason == "bad_snapshot"
    assert caught.value.message.startswith("some/file.json: ") and fault in caught.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uname", []),
        ("uname", {"release": 6.1}),
        ("python", 3),
        ("netlink", {}),
        ("netlink", {"addresses": None}),
        ("netlink", {"addresses": {"eth0": None}}),
        ("netlink", {"addresses": {"eth0": [1]}}),
        ("netlink", {"addresses": {}, "default_routes": {}}),
        ("netlink", {"addresses": {}, "default_routes": [["eth0"]]}),
        ("ethtool", {"eth0": None}),
        ("ethtool", {"eth0": {"vf_rx_bytes": "1"}}),
        ("ethtool", []),
        ("modinfo", {"/a.ko": None}),
        ("modinfo", {"/a.ko": {"srcversion": 1}}),
        ("packages", {"a": "1.0"}),
        ("packages", {"a": {"version": 1}}),
        ("packages", {"a": {"version": "1", "versions": "1"}}),
    ],
)
def test_bad_answers(key, value):
    with pytest.raises(AccelnetError) as caught:
        _snapshot.check("f", dict(GOOD, answers=dict(GOOD["answers"], **{key: value})))
    assert caught.value.message == "f: answers.{0} does not have the documented form".format(key)


def test_loading(tmp_path, monkeypatch):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(GOOD))
    backend, answers, content = _snapshot.load(str(path))
    assert (backend.read("/etc/hostname", 9), answers.python(), content) == (b"x\n", "3.11.2", GOOD)
    for text in ("", "[]", "null", "{", "[" * 100000, '{"a": ' * 50000):
        path.write_text(text)
        with pytest.raises(AccelnetError, match="s.json"):
            _snapshot.load(str(path))
    path.write_text(json.dumps(GOOD))
    monkeypatch.setattr(_snapshot, "SIZE_LIMIT", 10)
    with pytest.raises(AccelnetError, match="larger than 10 bytes"):
        _snapshot.load(str(path))
    with pytest.raises(AccelnetError, match="No such file"):
        _snapshot.load(str(tmp_path / "none"))
