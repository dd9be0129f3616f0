# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids the loading of modules."""

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils import _modprobe
from trees import link


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("blacklist mana_ib\n", ["mana_ib"]),
        ("blacklist mana-ib", ["mana_ib"]),
        ("  blacklist\tmana_ib  # why", ["mana_ib"]),
        ("#blacklist mana_ib\n", []),
        ("blacklist \\\n  mana_ib\n", ["mana_ib"]),
        ("blacklist\n", []),
        ("install mana_ib /bin/true\n", ["mana_ib"]),
        ("install mana-ib /bin/false\n", ["mana_ib"]),
        ("install mana_ib echo no; exit 0\n", ["mana_ib"]),
        ("install mana_ib /sbin/modprobe --ignore-install mana_ib && logger loaded\n", []),
        ("install mana_ib\n", []),
        ("alias mana_ib off\n", ["mana_ib"]),
        ("alias pci:v00001414d000000BA* mana\n", []),
        ("options mana_ib debug=1\nsoftdep mana post: mana_ib\nremove mana_ib /bin/true\n", []),
        ("blacklistmana_ib\nblacklist_mana_ib x\n", []),
        ("\x00\x01garbage\n\n", []),
        ("blacklist mana\r\nblacklist mana_ib\r\n", ["mana", "mana_ib"]),
    ],
)
def test_modprobe_files(text, modules):
    assert _modprobe.parse_modprobe(text, "f") == [(module, "f") for module in modules]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("quiet module_blacklist=mana,mana-ib ro", [("mana", "module_blacklist"), ("mana_ib", "module_blacklist")]),
        ("modprobe.blacklist=mana_ib", [("mana_ib", "modprobe.blacklist")]),
        ("rd.driver.blacklist=mana_ib,", [("mana_ib", "rd.driver.blacklist")]),
        ('"module_blacklist=mana_ib"', [("mana_ib", "module_blacklist")]),
        ('module_blacklist="mana_ib,mana"', [("mana_ib", "module_blacklist"), ("mana", "module_blacklist")]),
        ("module-blacklist=mana_ib", [("mana_ib", "module-blacklist")]),
        ("module_blacklist=a module_blacklist=b", [("a", "module_blacklist"), ("b", "module_blacklist")]),
        ("xmodule_blacklist=mana my.module_blacklist=mana module_blacklist module_blacklist=", []),
        ("root=/dev/sda1", []),
        ("", []),
    ],
)
def test_command_lines(text, entries):
    assert _modprobe.parse_cmdline(text, "s") == [(module, "s: " + key) for module, key in entries]


def test_an_earlier_directory_hides_files_of_the_same_name(make_tree):
    tree = make_tree(
        {
            "/lib": link("usr/lib"),
            "/usr/lib/modprobe.d/a.conf": "blacklist mana\n",
            "/usr/lib/modprobe.d/b.conf": "blacklist mana_ib\n",
            "/usr/lib/modprobe.d/c.conf": "blacklist mlx5_core\n",
            "/usr/lib/modprobe.d/d.conf": "blacklist mlx4_core\n",
            "/usr/lib/modprobe.d/e.txt": "blacklist mlx4_en\n",
            "/run/modprobe.d/b.conf": "blacklist mlx5_ib\n",
            "/etc/modprobe.d/a.conf": "# nothing\n",
            "/etc/modprobe.d/c.conf": link("/dev/null"),
            "/etc/modprobe.d/z.conf": "blacklist uio_hv_generic\n",
            "/dev/null": {"file": True},
        }
    )
    entries, whole = _modprobe.read_modprobe(tree)
    assert entries == [
        ("uio_hv_generic", "/etc/modprobe.d/z.conf"),
        ("mlx5_ib", "/run/modprobe.d/b.conf"),
        ("mlx4_core", "/usr/lib/modprobe.d/d.conf"),
    ]
    assert whole


def test_not_usr_merged(make_tree):
    tree = make_tree({"/lib/modprobe.d/a.conf": "blacklist mana\n", "/usr/lib/modprobe.d/b.conf": "blacklist mana_ib\n"})
    assert [module for module, _source in _modprobe.read_modprobe(tree)[0]] == ["mana_ib", "mana"]


@pytest.mark.parametrize(
    "bad",
    [
        {"/etc/modprobe.d/secret.conf": {"error": "EACCES"}},
        {"/etc/modprobe.d": {"error": "EACCES"}},
        {"/etc/modprobe.d": {"error": "EACCES"}, "/etc/modprobe.d/x.conf": "blacklist mana\n"},
        {"/etc/modprobe.d/x.conf": link("/root/x.conf"), "/root": {"error": "EACCES"}},
        {"/etc": {"error": "EACCES"}},
    ],
)
def test_what_could_not_be_read_might_forbid(make_tree, bad):
    tree = make_tree(dict(bad, **{"/usr/lib/modprobe.d/a.conf": "blacklist mlx4_ib\n"}))
    entries, whole = _modprobe.read_modprobe(tree)
    assert (entries, whole) == ([("mlx4_ib", "/usr/lib/modprobe.d/a.conf")], False)
    assert tree.warnings


def test_configuration_of_the_next_boots(make_tree):
    tree = make_tree(
        {
            "/etc/default/grub": '#GRUB_CMDLINE_LINUX="module_blacklist=no"\nGRUB_CMDLINE_LINUX="quiet module_blacklist=mana_ib"\n',
            "/etc/default/grub.d/50-cloud.cfg": "GRUB_CMDLINE_LINUX_DEFAULT+=' modprobe.blacklist=mana '\nOTHER=module_blacklist=no\n",
            "/etc/default/grub.d/readme": "GRUB_CMDLINE_LINUX=module_blacklist=no\n",
            "/etc/kernel/cmdline": "ro rd.driver.blacklist=mlx5_core\n",
            "/etc/default/grub.d/60-other.cfg": "GRUB_CMDLINE_LINUX_RECOVERY=module_blacklist=no\nGRUB_CMDLINE_XEN=module_blacklist=no\n",
            "/boot/loader/entries/a.conf": "version 6.1\noptions module_blacklist=no\n",
        }
    )
    assert _modprobe.by_module(_modprobe.read_boot_configuration(tree)) == {
        "mana_ib": ["/etc/default/grub: module_blacklist"],
        "mana": ["/etc/default/grub.d/50-cloud.cfg: modprobe.blacklist"],
        "mlx5_core": ["/etc/kernel/cmdline: rd.driver.blacklist"],
    }


@pytest.mark.parametrize(
    ("text", "release", "boots"),
    [
        ("title x\nversion 6.1-a\nlinux /vmlinuz-6.1-a\noptions ro module_blacklist=mana\n", "6.1-a", True),
        ("version\t6.1-a\noptions\tmodule_blacklist=mana\n", "6.1-a", True),
        ("linux /boot/vmlinuz-6.1-a\noptions module_blacklist=mana\n", "6.1-a", True),
        ("linux /0123456789abcdef/6.1-a/linux\noptions module_blacklist=mana\n", "6.1-a", True),
        ("version 6.1-a\nlinux /vmlinuz-6.1-a\noptions module_blacklist=mana\n", "6.1", False),
        ("version 0-rescue-0123\nlinux /vmlinuz-0-rescue-0123\noptions module_blacklist=mana\n", "6.1-a", False),
        ("options module_blacklist=mana\n", "6.1-a", False),
    ],
)
def test_a_boot_loader_entry_is_of_one_kernel(make_tree, text, release, boots):
    path = "/boot/loader/entries/a.conf"
    tree = make_tree({path: text, path + ".bak": text, "/boot/loader/entries/b.conf": "version 6.1-a\noptions ro\n"})
    (entry,) = _modprobe.read_boot_entries(tree)
    assert entry.entries == [("mana", path + ": module_blacklist")]
    assert _modprobe.boots(entry, release) is boots


def test_every_place_is_named_once():
    assert _modprobe.by_module([("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]) == {"a": ["x", "y"], "b": ["x"]}
