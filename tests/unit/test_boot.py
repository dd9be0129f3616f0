# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the boot loader will start."""

import pytest
from ansible_collections.accelnet.mana.plugins.module_utils._boot import read_boot
from trees import link

OLD, NEW = "6.1.0-5-cloud-amd64", "6.1.0-50-cloud-amd64"
GRUB_CFG = (
    """
set default="0"

menuentry 'Debian GNU/Linux' --id 'gnulinux-simple-x' {
{TAB}linux{TAB}/boot/vmlinuz-{NEW} root=UUID=x ro
}
submenu 'Advanced options' {
{TAB}menuentry 'Debian GNU/Linux, with Linux {OLD}' {
{TAB}{TAB}linux{TAB}/boot/vmlinuz-{OLD} root=UUID=x ro
{TAB}}
}
""".replace("{TAB}", "\t")
    .replace("{NEW}", NEW)
    .replace("{OLD}", OLD)
)


def boot(tree, hardware=True, releases=(OLD, NEW)):
    return read_boot(tree, hardware, list(releases))


@pytest.mark.parametrize(
    ("files", "loader"),
    [
        ({"/boot/grub/grub.cfg": ""}, "grub"),
        ({"/boot/grub2/grubenv": ""}, "grub"),
        ({"/boot": link("/mnt/boot"), "/mnt/boot/grub2/grub.cfg": ""}, "grub"),
        ({"/boot/efi/loader/loader.conf": ""}, "systemd-boot"),
        ({"/boot/loader/loader.conf": "", "/boot/grub2/grub.cfg": ""}, "grub"),
        ({"/boot/grub2": {"error": "EACCES"}}, None),
        ({}, None),
    ],
)
def test_loader(make_tree, files, loader):
    assert boot(make_tree(files))["loader"] == loader


@pytest.mark.parametrize(
    ("settings", "grubenv", "config", "policy", "default"),
    [
        (None, None, GRUB_CFG, "0", NEW),
        ("GRUB_DEFAULT=0\n", None, GRUB_CFG, "0", NEW),
        ("\n\n \nGRUB_DEFAULT=0\n", None, "\n\n\n" + GRUB_CFG.replace("\n", "\n\n"), "0", NEW),
        ('GRUB_DEFAULT="0" # first\n', None, GRUB_CFG, "0", NEW),
        ("#GRUB_DEFAULT=5\n", None, GRUB_CFG, "0", NEW),
        (
            "GRUB_DEFAULT=saved\n",
            "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-x>gnulinux-" + OLD + "-advanced-x\n",
            GRUB_CFG,
            "saved",
            OLD,
        ),
        ("GRUB_DEFAULT=0\n", "next_entry=gnulinux-" + OLD + "-advanced-x\n", GRUB_CFG, "0", OLD),
        ("GRUB_DEFAULT=saved\n", "saved_entry=gnulinux-" + NEW + "-advanced-x\n", GRUB_CFG, "saved", NEW),
        ("GRUB_DEFAULT=saved\n", "saved_entry=0\n", GRUB_CFG, "saved", NEW),
        ("GRUB_DEFAULT=saved\n", "saved_entry=\n", GRUB_CFG, "saved", NEW),
        ("GRUB_DEFAULT=saved\n", None, GRUB_CFG, "saved", NEW),
        # An entry of a kernel that is gone; its release starts like one that is there.
        ("GRUB_DEFAULT=saved\n", "saved_entry=gnulinux-6.1.0-500-cloud-amd64-x\n", GRUB_CFG, "saved", None),
        ("GRUB_DEFAULT='1>2'\n", None, GRUB_CFG, "1>2", None),
        ("GRUB_DEFAULT='Advanced options>Debian GNU/Linux, with Linux " + OLD + "'\n", None, GRUB_CFG, None, OLD),
        # BLS: entries are sorted by GRUB itself
        ("GRUB_DEFAULT=saved\n", None, "insmod blscfg\nblscfg\n" + GRUB_CFG, "saved", None),
        ("GRUB_DEFAULT=saved\n", "saved_entry=0123abcd-" + OLD + "\n", "blscfg\n", "saved", OLD),
        (None, None, "\x00\xff garbage", "0", None),
        (None, None, {"error": "EACCES"}, "0", None),
        (None, None, "linux /boot/vmlinuz-9.9-gone\n", "0", None),
    ],
)
def test_default_entry(make_tree, settings, grubenv, config, policy, default):
    files = {"/boot/grub/grub.cfg": config}
    if settings:
        files["/etc/default/grub"] = settings
    if grubenv:
        files["/boot/grub/grubenv"] = grubenv
    found = boot(make_tree(files))
    assert found["default_release"] == default
    assert policy is None or found["default_policy"] == policy


@pytest.mark.parametrize(("entry", "default"), [("x-6.1.0-5-advanced", "6.1.0-5"), ("x-6.1.0-50-advanced", None), ("x-16.1.0-5", None)])
def test_a_release_that_another_one_starts_or_ends_with(make_tree, entry, default):
    files = {"/boot/grub/grubenv": "saved_entry=" + entry + "\n", "/etc/default/grub": "GRUB_DEFAULT=saved\n"}
    assert boot(make_tree(files), releases=["6.1.0-5"])["default_release"] == default


def test_drop_ins_override_and_initrdless(make_tree):
    files = {
        "/boot/grub/grub.cfg": "x",
        "/etc/default/grub": "GRUB_DEFAULT=0\n",
        "/etc/default/grub.d/40-force-partuuid.cfg": "# Force\nGRUB_FORCE_PARTUUID=abcd-01\n",
        "/etc/default/grub.d/50-saved.cfg": "export GRUB_DEFAULT=saved\n",
        "/etc/default/grub.d/60-other.bak": "GRUB_DEFAULT=7\n",
    }
    found = boot(make_tree(files))
    assert (found["default_policy"], found["initrdless"]) == ("saved", True)
    files["/etc/default/grub.d/99-accelnet.cfg"] = "GRUB_FORCE_PARTUUID=\n"
    assert boot(make_tree(files))["initrdless"] is False


def test_unknown_loader_means_unknown_policy(make_tree):
    found = boot(make_tree({"/etc/default/grub": "GRUB_DEFAULT=0\n", "/proc/cmdline": "ro quiet\n"}))
    assert found == {
        "loader": None,
        "initrdless": None,
        "default_policy": None,
        "default_entry": None,
        "default_release": None,
        "cmdline": "ro quiet",
        "guarded": False,
    }
    assert boot(make_tree({"/proc/cmdline": "ro\n"}), hardware=False)["cmdline"] is None


@pytest.mark.parametrize("armed", [True, False])
def test_the_boot_guard_is_seen(make_tree, armed):
    files = {"/var/lib/accelnet/guard/state.json": "{}"} if armed else {"/var/lib/accelnet/dpdk.json": "{}"}
    assert boot(make_tree(files))["guarded"] is armed
