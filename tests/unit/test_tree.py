# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees: both backends answer alike, links stay inside, nothing hangs, what cannot be read is said."""

import json
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _tree
from ansible_collections.accelnet.mana.plugins.module_utils._tree import (
    DIRECTORY,
    FILE,
    DirectoryBackend,
    Tree,
    check_snapshot_files,
    excerpt_of,
)
from trees import binary, link

LINKS = {
    "/etc/hostname": "inside\n",
    "/etc/absolute": link("/etc/hostname"),
    "/etc/relative": link("hostname"),
    "/etc/up": link("../../../../../../../../etc/hostname"),
    "/etc/chain": link("absolute"),
    "/usr/lib/modules/6.1/modules.dep": "x\n",
    "/lib": link("usr/lib"),
    "/usr/lib/modules/6.1/build": link("/usr/src/headers"),
    "/a/b/c": link("/lib/modules"),
    "/dots": link("./etc//./hostname"),
    "/parent": link("/etc/.."),
    "/dangling": link("/no/such"),
    "/self": link("self"),
    "/ping": link("/pong"),
    "/pong": link("/ping"),
    "/root": link("/"),
}


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/etc/hostname", "/etc/hostname"),
        ("/etc/absolute", "/etc/hostname"),
        ("/etc/relative", "/etc/hostname"),
        ("/etc/up", "/etc/hostname"),
        ("/etc/chain", "/etc/hostname"),
        ("/dots", "/etc/hostname"),
        ("//etc///./hostname", "/etc/hostname"),
        ("/../../etc/hostname", "/etc/hostname"),
        ("/etc/../../..", "/"),
        ("/parent/etc/hostname", "/etc/hostname"),
        ("/lib/modules/6.1/modules.dep", "/usr/lib/modules/6.1/modules.dep"),
        ("/a/b/c/6.1", "/usr/lib/modules/6.1"),
        ("/a/b/c/../modules", "/usr/lib/modules"),
        ("/root/root/root/etc", "/etc"),
        ("/lib/modules/6.1/build", None),
        ("/dangling", None),
        ("/dangling/below", None),
        ("/etc/hostname/below", None),
        ("/no", None),
        ("/self", None),
        ("/ping", None),
        ("/ping/below", None),
    ],
)
def test_links_are_resolved_inside_the_tree(make_tree, path, real):
    assert make_tree(LINKS).resolve(path) == real


def test_no_link_leads_out_of_a_directory(tmp_path):
    (tmp_path / "secret").write_text("outside")
    inside = {
        "/one": link("../secret"),
        "/two": link("../../../../../../../.." + str(tmp_path / "secret")),
        "/three": link(str(tmp_path / "secret")),
        "/deep/four": link("../../secret"),
        "/five": link(str(tmp_path)),
    }
    tree = trees.directory(tmp_path / "root", inside)
    assert [tree.text(path) for path in list(inside) + ["/five/secret", "/../secret"]] == [None] * 7
    assert tree.warnings == []


def test_loops_are_warnings_and_dangling_links_are_not(make_tree):
    tree = make_tree(LINKS)
    assert (tree.exists("/dangling"), tree.exists("/self"), tree.text("/ping")) == (False, False, None)
    assert tree.warnings == ["/self: too many links", "/ping: too many links"]


def test_forty_links_are_followed_and_no_more(make_tree):
    files = {"/{0}".format(number): link("/{0}".format(number + 1)) for number in range(41)}
    files["/41"] = "end"
    tree = make_tree(files)
    assert (tree.text("/1"), tree.text("/0")) == ("end", None)


def test_kinds_names_and_contents(make_tree):
    tree = make_tree({"/d/f": " 0x10\n", "/d/g": "", "/d/sub/x": "", "/d/empty": {"dir": True}, "/d/l": link("sub"), "/d/n": "no\n"})
    assert [tree.kind(path) for path in ("/d", "/d/f", "/d/l", "/d/empty", "/d/none")] == [DIRECTORY, FILE, DIRECTORY, DIRECTORY, None]
    assert tree.names("/d") == ["empty", "f", "g", "l", "n", "sub"]
    assert (tree.names("/d/l"), tree.names("/d/empty"), tree.names("/d/f"), tree.names("/none")) == (["x"], [], [], [])
    assert (tree.text("/d/f"), tree.value("/d/f"), tree.integer("/d/f")) == (" 0x10\n", "0x10", 16)
    assert (tree.text("/d/g"), tree.value("/d/g"), tree.integer("/d/g")) == ("", None, None)
    assert (tree.integer("/d/n"), tree.integer("/d"), tree.text("/d"), tree.data("/none")) == (None, None, None, None)
    assert (tree.link_name("/d/l"), tree.link_name("/d/none"), tree.link_name("/")) == ("sub", None, None)
    assert tree.warnings == []


def test_bytes_that_are_no_text_are_replaced(make_tree):
    tree = make_tree({"/b": binary(b"a\xff\x00b\n")})
    assert (tree.text("/b"), tree.data("/b"), tree.data("/b", 2)) == ("a\ufffd\x00b\n", b"a\xff\x00b\n", b"a\xff")


def test_only_the_start_of_a_huge_file_is_read(make_tree, monkeypatch):
    monkeypatch.setattr(_tree, "TEXT_LIMIT", 10)
    monkeypatch.setattr(_tree, "EXCERPT_LIMIT", 20)
    tree = make_tree({"/ten": "0123456789", "/more": "0123456789x", "/lines": "first\n" + "a\n" * 6 + "no\na\n"})
    assert (tree.text("/ten"), tree.warnings) == ("0123456789", [])
    assert (tree.text("/more"), tree.excerpt("/lines", re.compile("a"))) == ("0123456789", "first\n" + "a\n" * 6)
    assert tree.warnings == ["{0}: larger than {1} bytes, the rest was not read".format(*pair) for pair in (("/more", 10), ("/lines", 20))]


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("", ""),
        ("only", "only"),
        ("first\n", "first\n"),
        ("first\nno\n", "first\n"),
        ("first\nmana 1\nno\nx mana\nno", "first\nmana 1\nx mana\n"),
        ("mana first\nmana\n", "mana first\nmana\n"),
        ("first\nno\nmana", "first\nmana\n"),
        ("first\nmana mana mana\nmana\n", "first\nmana mana mana\nmana\n"),
        ("\nmana\n", "\nmana\n"),
    ],
)
def test_an_excerpt_has_the_first_line_and_the_matching_ones(make_tree, text, excerpt):
    pattern = re.compile(r"\bmana\b", re.M)
    assert excerpt_of(text, pattern) == excerpt
    assert make_tree({"/index": text}).excerpt("/index", pattern) == excerpt


def test_an_excerpt_matches_at_the_start_of_lines_only_where_asked():
    assert excerpt_of("first\n  alias x\nalias y\nnoalias\n", re.compile("^alias", re.M)) == "first\nalias y\n"


UNREADABLE = {
    "/etc/secret": {"error": "EACCES"},
    "/etc/open": "x",
    "/etc/to-secret": link("/root/deep/file"),
    "/root": {"error": "EACCES"},
    "/root/deep/file": "hidden",
    "/sys/quiet": {"error": "EINVAL"},
    "/sys/broken": {"error": "EIO"},
}


def test_what_cannot_be_read_is_known_as_such(make_tree):
    tree = make_tree(UNREADABLE)
    assert (tree.text("/etc/secret"), tree.text("/sys/quiet"), tree.data("/sys/broken")) == (None, None, None)
    assert (tree.exists("/etc/secret"), tree.names("/root"), tree.text("/etc/open")) == (True, [], "x")
    assert tree.warnings == [
        "cannot read /etc/secret: Permission denied",
        "cannot read /sys/broken: Input/output error",
        "cannot read /root: Permission denied",
    ]
    assert [tree.unreadable(path) for path in ("/etc/secret", "/root", "/sys/broken", "/root/below")] == [True] * 4
    assert [tree.unreadable(path) for path in ("/sys/quiet", "/etc/open", "/etc", "/rooted")] == [False] * 4


def test_the_way_through_an_unreadable_directory_is_unreadable(tmp_path):
    tree = trees.directory(tmp_path / "root", UNREADABLE)
    assert (tree.exists("/etc/to-secret"), tree.unreadable("/etc/to-secret")) == (False, True)


def test_below_a_recorded_unreadable_directory_nothing_is_known_to_be_missing():
    tree = trees.snapshot({"/root": {"error": "EACCES"}, "/etc/to-secret": link("/root/file")})
    assert (tree.names("/root"), tree.exists("/root/file"), tree.exists("/etc/to-secret")) == ([], False, False)
    assert tree.unreadable("/root/file") and tree.unreadable("/etc/to-secret")


def test_a_warning_is_given_once(make_tree):
    tree = make_tree(UNREADABLE)
    for _count in range(3):
        tree.text("/etc/secret")
    assert len(tree.warnings) == 1


def _as_nobody(function):
    """What a function returns (as JSON) in a child without root's privileges."""
    if os.geteuid() != 0:
        return function()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return json.loads(answer.decode())


def test_real_permissions():
    root = Path(tempfile.mkdtemp())  # pytest's own directories are closed to others
    try:
        root.chmod(0o755)
        trees.write(root, {"/closed/file": "x", "/open/secret": "x", "/open/file": "y"})
        (root / "open" / "secret").chmod(0)
        (root / "closed").chmod(0)

        def ask():
            tree = Tree(DirectoryBackend(str(root)))
            answers = [tree.text("/open/secret"), tree.text("/open/file"), tree.names("/closed"), tree.exists("/closed/file")]
            return answers, sorted(tree.warnings), [tree.unreadable("/closed/file"), tree.unreadable("/open/file")]

        answers, warnings, unreadable = _as_nobody(ask)
    finally:
        (root / "closed").chmod(0o755)
        shutil.rmtree(str(root))
    assert answers == [None, "y", [], False]
    assert warnings == ["cannot read {0}: Permission denied".format(path) for path in ("/closed/file", "/closed", "/open/secret")]
    assert unreadable == [True, False]


def test_pipes_sockets_and_devices_are_not_even_opened(tmp_path, monkeypatch):
    tree = trees.directory(tmp_path / "root", {"/file": "x"})
    os.mkfifo(str(tmp_path / "root" / "pipe"))
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
    sockets = socket.socket(socket.AF_UNIX)
    sockets.bind("root/socket")
    sockets.close()
    names = ["pipe", "socket"]
    if os.geteuid() == 0:
        os.mknod(str(tmp_path / "root" / "device"), 0o20666, os.makedev(1, 5))  # /dev/zero never ends
        names.append("device")
    opened = []
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(str(path)) or real_open(path, *rest))
    for name in names:
        assert (tree.text("/" + name), tree.excerpt("/" + name, re.compile("x")), tree.names("/" + name)) == (None, None, [])
    assert tree.text("/file") == "x"
    assert [os.path.basename(path) for path in opened] == ["file"]
    assert tree.warnings == ["cannot read /{0}: not a regular file".format(name) for name in names]


def test_a_file_that_becomes_a_pipe_or_a_link_meanwhile_does_not_hold_us_up(tmp_path):
    trees.write(tmp_path, {"/a": "x", "/b": "x"})
    tree = Tree(DirectoryBackend(str(tmp_path)))
    assert tree.exists("/a") and tree.exists("/b")
    for name in ("a", "b"):
        (tmp_path / name).unlink()
    os.mkfifo(str(tmp_path / "a"))
    (tmp_path / "b").symlink_to("/etc/passwd")
    assert (tree.text("/a"), tree.text("/b")) == (None, None)
    assert len(tree.warnings) == 2


def test_names_of_odd_bytes_are_left_out_and_said(tmp_path):
    tree = trees.directory(tmp_path / "root", {"/d/good": "", "/d/\u00fc": "", "/d/with space\n": ""})
    place = os.fsencode(str(tmp_path / "root" / "d"))
    open(os.path.join(place, b"\xff\xfe"), "w").close()
    os.symlink(b"/d/\xff\xfe", os.path.join(place, b"link"))
    assert tree.names("/d") == ["good", "link", "with space\n", "\u00fc"]
    assert tree.link_name("/d/link") is None
    assert tree.warnings == ["/d/\\udcff\\udcfe: its name is not UTF-8, left out"]
    json.dumps(tree.warnings, ensure_ascii=False).encode("utf-8")


def test_warnings_are_few_and_short():
    tree = trees.snapshot({})
    for number in range(10000):
        tree.warn("x{0}".format(number % 5000) + "y" * 5000)
    assert len(tree.warnings) == 201 and tree.warnings[-1] == "there were more warnings, which are left out"
    assert max(map(len, tree.warnings)) < 1100
    tree = trees.snapshot({})
    for number in range(200):
        tree.warn(str(number))
    assert tree.warnings == [str(number) for number in range(200)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0x1414\n", 0x1414),
        ("-1\n", -1),
        ("18446744073709551615\n", (1 << 64) - 1),
        ("9" * 33, None),
        ("0x" + "f" * 500000, None),
        ("x", None),
    ],
)
def test_integers(make_tree, text, number):
    assert make_tree({"/f": text}).integer("/f") == number


@pytest.mark.parametrize("path", ["/nul\x00byte", "/" + "n" * 300, "/\ud800", "/" + "d/" * 3000])
def test_paths_that_cannot_be_are_nowhere(make_tree, path):
    tree = make_tree({"/file": "x"})
    assert (tree.exists(path), tree.text(path), tree.names(path)) == (False, None, [])
    json.dumps(tree.warnings, ensure_ascii=False).encode("utf-8")


def test_a_recorded_file_without_content_is_there_but_not_known():
    tree = trees.snapshot({"/f": {"file": True}})
    assert (tree.exists("/f"), tree.text("/f"), tree.warnings) == (True, None, ["cannot read /f: its content was not recorded"])


@pytest.mark.parametrize("name", ["EACCES", "ENOSUCHERROR", "errorcode", "__name__"])
def test_a_recorded_error_is_an_error_whatever_its_name(name):
    tree = trees.snapshot({"/f": {"error": name}})
    assert (tree.text("/f"), tree.names("/f"), len(tree.warnings)) == (None, [], 1)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({}, None),
        ({"/": {"dir": True}, "/a": "", "/b": {"link": "x"}, "/c": {"error": "EACCES"}, "/d": {"file": True}, "/e": binary(b"\xff")}, None),
        ([], "'files' is not an object"),
        ({"a": ""}, "not absolute and normal"),
        ({"/a/": ""}, "not absolute and normal"),
        ({"/a//b": ""}, "not absolute and normal"),
        ({"/a/../b": ""}, "not absolute and normal"),
        ({"/a/.": ""}, "not absolute and normal"),
        ({"/a\x00": ""}, "not absolute and normal"),
        ({"/a": 1}, "/a: the entry is neither"),
        ({"/a": None}, "/a: the entry is neither"),
        ({"/a": {}}, "/a: the entry is neither"),
        ({"/a": {"link": "x", "dir": True}}, "/a: the entry is neither"),
        ({"/a": {"link": 1}}, "/a: link is not a text"),
        ({"/a": {"base64": "%"}}, "/a: malformed base64"),
        ({"/a": {"base64": "\u00fc"}}, "/a: malformed base64"),
        ({"/a": {"error": "errorcode"}}, "/a: 'errorcode' is not the name of an error"),
        ({"/a": {"dir": 1}}, "/a: unknown entry 'dir'"),
        ({"/a": {"link": "x/" * 2049}}, "/a: the link is longer than 4096"),
        ({"/a" * 2049: ""}, "a path is longer than 4096 characters: /a/a"),
        ({"/a": {"text": True}}, "/a: unknown entry 'text'"),
    ],
)
def test_the_form_of_a_snapshot_is_checked(files, fault):
    found = check_snapshot_files(files)
    assert found is None if fault is None else fault in found
