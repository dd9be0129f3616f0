# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to package managers and their answers; real ones are asked in tests/integration."""

import posixpath

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils._packages import MANAGERS, Question, is_package_name, lists_present, rpm_order

# apt-cache policy (apt 2.6.1): two suites; pinned away; installed only; newer one installed only; virtual.
APT = """dpdk:
  Installed: (none)
  Candidate: 22.11.7-1~deb12u1
  Version table:
     23.11.1-1~bpo12+1 100
        100 http://mirror.example/debian bookworm-backports/main amd64 Packages
     22.11.7-1~deb12u1 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
        500 http://security.mirror.example bookworm-security/main amd64 Packages
linux-image-6.12-cloud-amd64:
  Installed: (none)
  Candidate: (none)
  Version table:
     6.12.117 -1
         -1 http://security.mirror.example bookworm-security/main amd64 Packages
local-only:
  Installed: 1.0
  Candidate: 1.0
  Version table:
 *** 1.0 100
        100 /mnt/image/var/lib/dpkg/status
held-back:
  Installed: 2.0
  Candidate: 2.0
  Version table:
 *** 2.0 100
        100 /var/lib/dpkg/status
     1.0 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
rdma-core:
  Installed: 44.0-2
  Candidate: 44.0-2
  Version table:
 *** 44.0-2 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
virtual:
  Installed: (none)
  Candidate: (none)
  Version table:
not-asked:
  Candidate: 1
  Version table:
     1 500
        500 http://mirror.example/debian bookworm/main amd64 Packages
"""


def test_apt():
    names = ["dpdk", "linux-image-6.12-cloud-amd64", "local-only", "held-back", "rdma-core", "virtual", "nowhere"]
    assert MANAGERS["apt"].parse(APT, names) == {
        "dpdk": {"version": "22.11.7-1~deb12u1", "versions": ["23.11.1-1~bpo12+1", "22.11.7-1~deb12u1"]},
        "linux-image-6.12-cloud-amd64": {"version": None, "versions": ["6.12.117"]},
        "local-only": None,
        "held-back": {"version": None, "versions": ["1.0"]},
        "rdma-core": {"version": "44.0-2", "versions": ["44.0-2"]},
        "virtual": None,
        "nowhere": None,
    }


# dnf 4.14 repoquery: an empty line after each, sorted as text; tdnf has none of the empty lines
DNF = """dpdk 2:23.11-1.el9 x86_64

kernel-modules 5.14.0-427.el9 x86_64

kernel-modules 5.14.0-503.11.1.el9 x86_64

kernel-modules 5.14.0-503.el9 x86_64

kernel-modules 5.14.0-611.el9 src

libibverbs 56.0-2.el9 i686
libibverbs 56.0-2.el9 x86_64
Last metadata expiration check: 0:00:01 ago on Mon.
"""


@pytest.mark.parametrize("manager", ["dnf", "tdnf"])
def test_dnf_and_tdnf(manager):
    exact = {"version": "5.14.0-503.el9", "versions": ["5.14.0-503.el9"]}
    expected = {
        "kernel-modules": {"version": "5.14.0-503.11.1.el9", "versions": ["5.14.0-503.11.1.el9", "5.14.0-503.el9", "5.14.0-427.el9"]},
        "kernel-modules-5.14.0-503.el9": exact,
        "kernel-modules-5.14.0-503.el9.x86_64": exact,
        "kernel-modules-5.14.0-611.el9": None,
        "dpdk": {"version": "2:23.11-1.el9", "versions": ["2:23.11-1.el9"]},
        "dpdk-23.11-1.el9": {"version": "2:23.11-1.el9", "versions": ["2:23.11-1.el9"]},
        "dpdk-2:23.11-1.el9.x86_64": {"version": "2:23.11-1.el9", "versions": ["2:23.11-1.el9"]},
        "libibverbs": {"version": "56.0-2.el9", "versions": ["56.0-2.el9"]},
        "libibverbs.i686": {"version": "56.0-2.el9", "versions": ["56.0-2.el9"]},
        "nowhere": None,
    }
    assert MANAGERS[manager].parse(DNF, list(expected)) == expected


# zypper 1.14.42
ZYPPER = """<?xml version='1.0'?>
<stream>
<message type="info">Loading repository data...</message>
<search-result version="0.0">
<solvable-list>
<solvable status="not-installed" name="dpdk" kind="package" edition="2:23.11-1" arch="x86_64" repository="one"/>
<solvable status="other-version" name="kernel-default" kind="package" edition="6.4.0-9.1" arch="x86_64" repository="one"/>
<solvable status="installed" name="kernel-default" kind="package" edition="6.4.0-10.1" arch="x86_64" repository="two"/>
<solvable status="installed" name="rdma-core" kind="package" edition="42.0" arch="x86_64" repository="(System Packages)"/>
</solvable-list>
</search-result>
</stream>
"""


def test_zypper():
    expected = {
        "dpdk": {"version": "2:23.11-1", "versions": ["2:23.11-1"]},
        "kernel-default": {"version": "6.4.0-10.1", "versions": ["6.4.0-10.1", "6.4.0-9.1"]},
        "kernel-default-6.4.0-9.1.x86_64": {"version": "6.4.0-9.1", "versions": ["6.4.0-9.1"]},
        "rdma-core": None,
        "nowhere": None,
    }
    assert MANAGERS["zypper"].parse(ZYPPER, list(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "<stream>",
        "\x00",
        "<stream><message type='error'>Medium not attached</message><message type='info'>x</message></stream>",
    ],
)
def test_an_answer_that_cannot_be_understood_is_none(text):
    assert MANAGERS["zypper"].parse(text, ["dpdk"]) == {}


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0-1", "1.0-2"),
        ("1.9-1", "1.10-1"),
        ("5.14.0-503.el9", "5.14.0-503.11.1.el9"),
        ("9.9-1", "1:1.0-1"),
        ("1.0~rc1-1", "1.0-1"),
        ("1.0-1", "1.0^git1-1"),
        ("1.0^git1-1", "1.0.1-1"),
        ("1.0a-1", "1.0.1-1"),
        ("1.0-1", "1.0a-1"),
        ("1.0-1.azl3", "1.0-10.azl3"),
        ("1.2", "1.2-1"),
    ],
)
def test_rpm_s_order(older, newer):
    assert rpm_order(older) < rpm_order(newer)


def test_equal_versions():
    assert rpm_order("0:1.01-1") == rpm_order("1.1-1")


@pytest.mark.parametrize(
    "name", ["dpdk", "libstdc++6", "kernel-modules-5.14.0-503.el9.x86_64", "linux-image-6.1.0-50-cloud-amd64", "a2:b~c^1"]
)
def test_good_names(name):
    assert is_package_name(name)


@pytest.mark.parametrize("name", ["", "-y", "--root=/", "a b", "a;b", "a\n", "*", "a/b", "dpdk,", "$(x)", "\u00fc"])
def test_bad_names(name):
    assert not is_package_name(name)


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_nothing_is_refreshed_and_another_root_stays_there(manager):
    here = MANAGERS[manager].command(Question("/", ["dpdk"], "/tmp/scratch", None))
    there = MANAGERS[manager].command(Question("/mnt/image", ["dpdk"], "/tmp/scratch", "aarch64"))
    assert [here[0], here[-1]] == [{"apt": "apt-cache"}.get(manager, manager), "dpdk"]
    assert "/mnt/image" in " ".join(there) and "/mnt" not in " ".join(here)
    assert {"apt": "policy", "dnf": "-C", "tdnf": "-C", "zypper": "--no-refresh"}[manager] in here
    assert (manager in ("apt", "dnf")) == any(word in " ".join(there) for word in ("arm64", "aarch64"))


def test_the_logs_of_dnf_go_to_the_scratch_directory_with_and_without_root_before_them():
    for root in ("/", "/mnt/deep/image"):
        option = next(word for word in MANAGERS["dnf"].command(Question(root, ["x"], "/tmp/s", None)) if "logdir" in word)
        path = option.split("=", 2)[2]
        assert [posixpath.normpath(path), posixpath.normpath(root.rstrip("/") + path)] == ["/tmp/s", "/tmp/s"]


def repo(alias, enabled="1"):
    return "[{0}]\nname=x\nenabled={1}\nbaseurl=http://x/\n".format(alias, enabled)


@pytest.mark.parametrize(
    ("manager", "files", "present"),
    [
        ("apt", {}, False),
        ("apt", {"/var/lib/apt/lists/lock": "", "/var/lib/apt/lists/partial": {"dir": True}, "/var/lib/apt/lists/auxfiles/x": ""}, False),
        ("apt", {"/var/lib/apt/lists/mirror.example_InRelease": ""}, True),
        ("apt", {"/var/lib/apt/lists": {"error": "EACCES"}}, True),  # the program will say
        ("dnf", {"/var/cache/dnf/expired_repos.json": "[]", "/var/cache/dnf/last_makecache": ""}, False),
        ("dnf", {"/var/cache/dnf/baseos.solv": ""}, True),
        ("dnf", {"/var/cache/libdnf5/baseos-abc/repodata/repomd.xml": ""}, True),
        ("tdnf", {"/var/cache/tdnf/x/repodata/repomd.xml": ""}, True),
        ("tdnf", {"/var/cache/dnf/x.solv": ""}, False),
        ("zypper", {"/var/cache/zypp/solv/@System/solv": ""}, False),
        # Without the metadata that the solv file is made of, zypper fetches it again.
        ("zypper", {"/var/cache/zypp/solv/main/solv": "", "/etc/zypp/repos.d/m.repo": repo("main")}, False),
        ("zypper", {"/var/cache/zypp/raw/main": {"dir": True}, "/etc/zypp/repos.d/m.repo": repo("main")}, False),
        ("zypper", {"/var/cache/zypp/raw/main/x": "", "/etc/zypp/repos.d/m.repo": repo("main") + repo("off", "0")}, True),
        (
            "zypper",
            {"/var/cache/zypp/raw/main/x": "", "/etc/zypp/repos.d/m.repo": repo("main"), "/etc/zypp/repos.d/n.repo": repo("new")},
            False,
        ),
        ("zypper", {"/var/cache/zypp/raw/a_b/x": "", "/etc/zypp/repos.d/m.repo": repo("a/b")}, True),
    ],
)
def test_whether_lists_were_ever_fetched(make_tree, manager, files, present):
    assert lists_present(make_tree(files), manager) is present


@pytest.mark.parametrize(("manager", "option"), [("dnf", "--setopt=plugins=0"), ("tdnf", "--noplugins")])
def test_plugins_of_another_root_do_not_run_here(manager, option):
    question = Question("/", ["dpdk"], "/tmp/x", None)
    assert option not in MANAGERS[manager].command(question)
    assert option in MANAGERS[manager].command(question._replace(root="/mnt/image"))
