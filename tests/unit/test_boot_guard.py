# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""boot_guard: what it understands of boot loaders, and each of its states on trees with stand-ins for the boot loader's tools."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _boot_guard, _boot_guard_apply, _boot_guard_files, _boot_guard_loader
from ansible_collections.accelnet.mana.plugins.module_utils._boot_guard_host import Done, Host
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

BOOT = pathlib.Path(__file__).parents[1] / "fixtures" / "boot"
OLD, NEW = "6.1.0-56-cloud-amd64", "6.12.117+deb12-cloud-amd64"
DISK = "a520b2bd-ceb5-47e7-ad23-ed170b475c52"
OLD_ID = f"gnulinux-advanced-{DISK}>gnulinux-{OLD}-advanced-{DISK}"
NEW_ID = f"gnulinux-advanced-{DISK}>gnulinux-{NEW}-advanced-{DISK}"
MACHINE = "0123456789abcdef0123456789abcdef"
EL_OLD, EL_NEW = "5.14.0-427.13.1.el9_4.x86_64", "5.14.0-503.11.1.el9_5.x86_64"
SLES_OLD, SLES_NEW = "5.14.21-150400.24.108-azure", "6.4.0-150600.8.5-azure"
OPTIONS = _boot_guard_apply.Options(
    state="told",
    kernel=None,
    token=None,
    deadline=1500,
    function_timeout=0,
    boot_space=150,
    modules_space=400,
    esp_space=10,
    retry=False,
    force=False,
    check=False,
)


def text_of(name):
    return (BOOT / name).read_text(encoding="utf-8")


# --- Menus and entries


@pytest.mark.parametrize(
    ("file", "release", "entry"),
    [
        ("debian-12.cfg", OLD, OLD_ID),
        ("debian-12.cfg", NEW, NEW_ID),
        ("debian-12.cfg", "6.1.0-5-cloud-amd64", None),
        ("debian-12.cfg", "6.12.117", None),
        ("ubuntu-22.04.cfg", "6.8.0-1021-azure", "gnulinux-advanced-b>gnulinux-6.8.0-1021-azure-advanced-b"),
        ("sles-15.cfg", SLES_OLD, f"gnulinux-advanced-c>gnulinux-{SLES_OLD}-advanced-c"),
    ],
)
def test_the_entry_of_a_kernel_names_its_release(file, release, entry):
    found = _boot_guard.find_entry(_boot_guard.parse_menu(text_of(file)), release)
    assert (found and found.id) == entry


def test_a_menu_without_submenu_and_titles_as_ids():
    menu = f"menuentry 'A > B, with Linux {OLD}' --class x {{\n\tlinux /vmlinuz-{OLD} ro\n\tinitrd /i\n}}\n"
    (entry,) = _boot_guard.parse_menu(menu)
    assert entry == (f"A >> B, with Linux {OLD}", OLD, "ro", True)
    assert _boot_guard.find_entry([entry], OLD) is entry


def test_recovery_entries_are_never_chosen():
    entries = _boot_guard.parse_menu(text_of("debian-12.cfg"))
    recovery = [entry for entry in entries if _boot_guard.is_recovery(entry)]
    assert [entry.release for entry in recovery] == [NEW, OLD]
    assert _boot_guard.find_entry(recovery, OLD) is None


@pytest.mark.parametrize("garbage", ["}\n}\n", "menuentry 'x {\n}\n", "menuentry\n", "menuentry 'a' {\n", "submenu 'x' {\n}\n\x00"])
def test_a_damaged_menu_is_no_crash(garbage):
    assert all(entry.release is None for entry in _boot_guard.parse_menu(garbage))


def test_every_command_line_of_an_entry_counts():
    # Ubuntu's entries have one for the start with initramfs, and one for that without.
    entry = _boot_guard.find_entry(_boot_guard.parse_menu(text_of("ubuntu-22.04.cfg")), "6.8.0-1021-azure")
    assert len(entry.arguments.splitlines()) == 2
    assert _boot_guard.lacks_arguments(entry, ["panic=30"]) == ["panic=30"]


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("ro panic=30 oops=panic", []),
        ("ro panic=30 oops=panic panic=-1", []),
        ("ro panic=30 oops=panic panic=0", ["panic=30"]),
        ("ro oops=panic panic=30 oops=x", ["oops=panic"]),
        ("ro", ["panic=30", "oops=panic"]),
        ("ro panic=30 oops=panic\nro", ["panic=30", "oops=panic"]),
    ],
)
def test_the_last_argument_counts(line, missing):
    assert _boot_guard.lacks_arguments(_boot_guard.Entry("x", "1", line, True), ["panic=30", "oops=panic"]) == missing


def test_dracut_gets_its_own_arguments():
    assert "rd.shell=0" in _boot_guard.trial_arguments("1.2", True) and "rd.emergency=reboot" in _boot_guard.trial_arguments("1.2", True)
    assert not any(word.startswith("rd.") for word in _boot_guard.trial_arguments("1.2", False))


@pytest.mark.parametrize(
    ("abstractions", "system", "environment", "obstacle"),
    [
        ("", "ext2", {}, None),
        ("", "xfs\n", {}, None),
        ("", "fat", {}, None),
        ("lvm\n", "ext2", {}, "GRUB cannot write to lvm"),
        ("diskfilter mdraid1x", "ext2", {}, "GRUB cannot write to diskfilter"),
        ("", "btrfs\n", {}, "GRUB cannot write to btrfs"),
        ("", "btrfs", {"env_block": "512+1"}, None),
        ("", "zfs", {}, "GRUB cannot write to zfs"),
    ],
)
def test_where_grub_cannot_write(abstractions, system, environment, obstacle):
    assert _boot_guard.write_obstacle(abstractions, system, environment) == obstacle


def test_the_menus_end_a_one_shot_entry():
    assert all(_boot_guard.boots_once(text_of(name)) for name in ("debian-12.cfg", "ubuntu-22.04.cfg", "sles-15.cfg", "el-9.cfg"))
    assert not _boot_guard.boots_once("set default=0\n")
    assert not _boot_guard.boots_once('set default="${next_entry}"\n')
    assert [name for name in ("debian-12.cfg", "el-9.cfg") if _boot_guard.uses_bls(text_of(name))] == ["el-9.cfg"]


def test_an_environment_block():
    block = "# GRUB Environment Block\n# x=1\nsaved_entry=a>b\\\\c\nempty=\n" + "#" * 900
    assert _boot_guard.parse_environment(block) == {"saved_entry": "a>b\\c", "empty": ""}


def test_an_entry_file_and_its_copy_for_a_trial():
    name = f"{MACHINE}-{EL_OLD}.conf"
    entry = _boot_guard.parse_bls(name, text_of("el-9-entry.conf").replace("RELEASE", EL_OLD))
    assert (entry.id, entry.release, entry.initrd) == (name[:-5], EL_OLD, True)
    copy = _boot_guard.trial_bls(text_of("el-9-entry.conf").replace("RELEASE", EL_OLD), "panic=30")
    trial = _boot_guard.parse_bls("accelnet-trial.conf", copy)
    assert trial.arguments == entry.arguments + " panic=30" and trial.release == EL_OLD
    assert "(on trial)" in copy and "grub_arg" not in copy
    assert "options panic=30\n" in _boot_guard.trial_bls("title x\nlinux /vmlinuz-1\n", "panic=30")


def test_a_trial_is_one_of_this_kernel_only():
    assert _boot_guard.is_trial(f"ro accelnet.trial={NEW} quiet", NEW)
    assert not _boot_guard.is_trial(f"ro accelnet.trial={NEW}", OLD)
    assert not _boot_guard.is_trial(f"ro accelnet.trial={NEW}-x", NEW)
    assert not _boot_guard.is_trial("ro", None)


# --- Files


def test_a_block_at_the_end_of_a_file():
    text = "GRUB_DEFAULT=0"
    once = _boot_guard_files.with_block(text, "GRUB_DEFAULT=saved\n")
    assert once.endswith("saved\n# END accelnet.mana.boot_guard\n")
    assert _boot_guard_files.with_block(once, "A=1\n").count("BEGIN") == 1
    assert _boot_guard_files.with_block(once, None) == text + "\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[main]\ngpgcheck=1\ninstallonly_limit=3\n", "[main]\ngpgcheck=1\ninstallonly_limit=0\n"),
        ("[main]\ngpgcheck=1\n", "[main]\ninstallonly_limit=0\ngpgcheck=1\n"),
        ("", "[main]\ninstallonly_limit=0\n"),
    ],
)
def test_dnf_keeps_all_kernels(before, after):
    assert _boot_guard_files.dnf_text(before) == after


def test_a_new_kernel_does_not_become_the_default_on_el():
    assert (
        _boot_guard_files.sysconfig_text("UPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel-core\n")
        == "UPDATEDEFAULT=no\nDEFAULTKERNEL=kernel-core\n"
    )


def test_apt_keeps_the_packages_of_these_kernels():
    text = _boot_guard_files.apt_text([OLD, NEW])
    assert '"^linux-.*-6\\.1\\.0-56-cloud-amd64$";' in text and '"^linux-.*-6\\.12\\.117\\+deb12-cloud-amd64$";' in text


# --- NICs


def facts(nics=(), functions=(), mana="module"):
    kernels = [{"release": NEW, "running": True, "modules": {"mana": {"state": mana}}}]
    return {"nics": list(nics), "pci_functions": list(functions), "kernels": kernels}


def nic(interface="eth0", vf=True, synthetic=True, addresses=("10.0.0.4/24",), default_route=True, mac="00:22:48:00:00:01"):
    return {
        "interface": interface,
        "mac": mac,
        "synthetic": {"interface": interface} if synthetic else None,
        "vf": {"interface": "enP1"} if vf else None,
        "addresses": list(addresses),
        "default_route": default_route,
    }


def function(driver="mana"):
    return {"address": "7870:00:00.0", "kind": "mana", "driver": driver, "expected_module": "mana"}


BEFORE = facts([nic()], [function()])


@pytest.mark.parametrize(
    ("after", "failed", "waiting"),
    [
        (facts([nic()], [function()]), [], []),
        # Azure services the host: unknown, not failed.
        (facts([nic(vf=False)], []), [], ["has no virtual function"]),
        (facts([nic(vf=False)], [function(None)]), ["has no driver"], ["has no virtual function"]),
        (facts([nic(vf=False)], [], mana="absent"), ["the kernel has no mana"], ["has no virtual function"]),
        (facts([], []), ["eth0 (00:22:48:00:00:01) is missing"], ["no default route"]),
        (facts([nic(addresses=(), default_route=False)], [function()]), [], ["has no address", "no default route"]),
    ],
)
def test_what_is_worse(after, failed, waiting):
    found = _boot_guard.nics_worse(BEFORE, after)
    assert len(found["failed"]) == len(failed) and len(found["waiting"]) == len(waiting)
    assert all(part in entry for part, entry in zip(failed + waiting, found["failed"] + found["waiting"]))


def test_only_virtual_functions_may_stay_away():
    assert _boot_guard.tolerable(["eth0 (x) has no virtual function"]) and _boot_guard.tolerable([])
    assert not _boot_guard.tolerable(["eth0 (x) has no virtual function", "there is no default route"])


def test_a_function_that_nobody_drove_before_may_stay_without():
    assert _boot_guard.nics_worse(facts([], [function(None)]), facts([], [function(None)]))["failed"] == []


# --- The host


class FakeHost(Host):
    """A tree, and what the boot loader's tools do to it."""

    def __init__(self, root, running=OLD):
        super().__init__(str(root))
        self.commands = []
        self.space = {}
        self.probe = {"abstraction": "", "fs": "ext2\n"}
        self.answer = facts()
        self.boots = 0
        self.boot(running, "ro")

    def put(self, path, text):
        trees.write(pathlib.Path(self.root), {path: text})

    def edit(self, path, old, new):
        self.put(path, self.read(path).replace(old, new))

    def boot(self, release, cmdline):
        self.boots += 1
        self.put("/proc/sys/kernel/osrelease", release + "\n")
        self.put("/proc/sys/kernel/random/boot_id", f"boot-{self.boots}\n")
        self.put("/proc/cmdline", cmdline + "\n")
        self.put("/proc/uptime", "20.0 30.0\n")

    def power_cycle(self):
        """What the boot loader does: the one-shot entry if there is one, once; else the default."""
        loader = _boot_guard_loader.find_loader(self)
        entry = loader.next_once() or loader.pinned()
        if loader.next_once():
            self.forget_once(loader)
        entries = loader.entries()
        trial = "/boot/loader/entries/accelnet-trial.conf"
        if os.path.exists(self.root + trial):
            copy = _boot_guard.parse_bls("accelnet-trial.conf", self.read(trial))
            entries.append(copy._replace(id=copy.id + getattr(loader, "suffix", "")))
        started = next(one for one in entries if one.id == entry) if entry else entries[0]
        self.boot(started.release, started.arguments.splitlines()[0])
        return started.release

    def forget_once(self, loader):
        loader._set(next_entry=None)

    def program(self, *names):
        return next((f"/usr/sbin/{name}" for name in names if name in self.programs), None)

    programs = ("grub-editenv", "grub-probe", "grub-reboot", "grub-mkconfig", "update-grub", "systemctl", "apt-get")

    def free(self, path):
        return self.space.get(path, 10 << 30)

    def device(self, path):
        return len(path) if path in self.space else 1

    def facts(self):
        return self.answer

    def run(self, command, fatal=True):
        name = os.path.basename(command[0]).replace("grub2-", "grub-")
        self.commands.append([name, *command[1:]])
        return Done(0, getattr(self, "_" + name.replace("-", "_"))(*command[1:]) or "", "")

    def _environment(self):
        return _boot_guard.parse_environment(pathlib.Path(self.root + self.env).read_text())

    env = "/boot/grub/grubenv"

    def _write(self, variables):
        text = "# GRUB Environment Block\n" + "".join(f"{key}={value}\n" for key, value in variables.items())
        pathlib.Path(self.root + self.env).write_text(text.ljust(1024, "#"))

    def _grub_editenv(self, path, verb, argument=""):
        assert path == self.env
        variables = self._environment()
        if verb == "list":
            return "".join(f"{key}={value}\n" for key, value in variables.items())
        key, _equals, value = argument.partition("=")
        variables.pop(key, None)
        if verb == "set":
            variables[key] = value
        self._write(variables)
        return ""

    def _grub_reboot(self, entry):
        return self._grub_editenv(self.env, "set", "next_entry=" + entry)

    def _grub_probe(self, target, path):
        assert path == os.path.dirname(self.env)
        return self.probe[target.partition("=")[2]]

    def _update_grub(self):
        return self._grub_mkconfig("-o", "/boot/grub/grub.cfg")

    def _grub_mkconfig(self, _o, config):
        """The menu again, with the default and the arguments that the settings name; sh reads them as it does for grub-mkconfig."""
        script = (
            'for f in "$1"/etc/default/grub "$1"/etc/default/grub.d/*.cfg; do [ ! -e "$f" ] || . "$f"; done; '
            'printf "%s\\n" "$GRUB_DEFAULT" "$GRUB_CMDLINE_LINUX_DEFAULT"'
        )
        default, arguments = subprocess.check_output(["sh", "-c", script, "sh", self.root], text=True).splitlines()
        lines = []
        for line in pathlib.Path(self.root + "/menu").read_text().splitlines():
            if line.strip().startswith("linux\t") and " single" not in line:
                line += " " + arguments.strip()
            lines.append(line.replace('set default="0"', 'set default="{}"'.format("${saved_entry}" if default == "saved" else default)))
        pathlib.Path(self.root + config).write_text("\n".join(lines) + "\n")

    def _systemctl(self, *_arguments):
        return ""


def settle(root, menu, releases, extra=()):
    files = {
        "/etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
        "/usr/sbin/grub-mkconfig": "for x in ${sysconfdir}/default/grub.d/*.cfg ; do\n",
        "/run/systemd/system": {"dir": True},
        "/proc/sys/kernel/panic": "0\n",
        "/proc/sys/kernel/panic_on_oops": "0\n",
        "/menu": menu,
        **{f"/lib/modules/{release}/modules.dep": "" for release in releases},
        **dict(extra),
    }
    trees.write(root, files)


@pytest.fixture
def host(tmp_path):
    """A Debian 12 with both kernels; 6.1 runs."""
    root = tmp_path / "host"
    root.mkdir()
    settle(root, text_of("debian-12.cfg"), (OLD, NEW), {"/boot/grub/grubenv": "# GRUB Environment Block\n".ljust(1024, "#")}.items())
    made = FakeHost(root)
    made._update_grub()
    made.commands.clear()
    return made


def go(host, state, **options):
    """One run of the module."""
    return _boot_guard_apply.Worker(OPTIONS._replace(state=state, **options), host).run()


def refused(host, state, **options):
    """(reason, result) of a run that fails."""
    worker = _boot_guard_apply.Worker(OPTIONS._replace(state=state, **options), host)
    with pytest.raises(AccelnetError) as error:
        worker.run()
    return error.value.reason, worker.result


def picture(host):
    """Every file with its content, but for the lock and what changes with each boot."""
    return {
        str(path.relative_to(host.root)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(pathlib.Path(host.root).rglob("*"))
        if (path.is_file() or path.is_symlink()) and not str(path.relative_to(host.root)).startswith(("proc", "run"))
    }


def on_trial(host, **options):
    """As far as the boot of the new kernel; the token."""
    go(host, "armed")
    token = go(host, "trial", kernel=NEW, **options)["token"]
    assert host.power_cycle() == NEW
    return token


def test_a_good_kernel_is_kept_and_everything_is_as_before(host):
    before = picture(host)
    armed = go(host, "armed")
    assert (armed["phase"], armed["changed"], armed["default"]["entry"]) == ("armed", True, OLD_ID)
    assert go(host, "armed")["changed"] is False
    trial = go(host, "trial", kernel=NEW)
    assert (trial["phase"], trial["reboot_required"], trial["token"]) == ("prepared", True, armed["token"])
    assert host._environment() == {"saved_entry": OLD_ID, "next_entry": NEW_ID}
    assert all(release.replace(".", "\\.").replace("+", "\\+") in host.read(_boot_guard_files.APT) for release in (OLD, NEW))
    assert go(host, "trial", kernel=NEW)["changed"] is False and go(host, "armed")["changed"] is False
    assert host.power_cycle() == NEW
    assert f"accelnet.trial={NEW}" in host.cmdline().split()
    assert go(host, "told")["phase"] == "on_trial"
    again = go(host, "trial", kernel=NEW)
    assert (again["changed"], again["reboot_required"]) == (False, False)
    host.put("/proc/sys/kernel/panic", "30\n")
    done = go(host, "confirmed", kernel=NEW, token=trial["token"])
    assert (done["confirmed"], done["phase"], done["reboot_required"], done["default"]["policy"]) == (True, "disarmed", False, "0")
    assert picture(host) == before
    assert host.value("/proc/sys/kernel/panic") == "0"
    assert go(host, "confirmed", kernel=NEW)["changed"] is False


def test_check_mode_touches_nothing(host):
    before = picture(host)
    assert go(host, "armed", check=True)["changed"] is True
    trial = go(host, "trial", kernel="9.9-not-there", check=True)
    assert (trial["changed"], trial["would_require"], trial["reboot_required"]) == (True, ["guard:armed"], True)
    assert picture(host) == before
    go(host, "armed")
    before = picture(host)
    assert go(host, "trial", kernel="9.9-not-there", check=True)["would_require"] == ["kernel:9.9-not-there"]
    assert go(host, "trial", kernel=NEW, check=True)["actions"] == ["prepare " + NEW]
    assert go(host, "confirmed", check=True)["actions"] == ["disarm"]
    assert go(host, "reverted", check=True)["changed"] is True
    assert picture(host) == before


@pytest.mark.parametrize(
    "breakage",
    [
        lambda host: host.probe.update(abstraction="lvm\n"),
        lambda host: host.probe.update(fs="btrfs\n"),
        lambda host: host.put("/boot/grub/grubenv", "short"),
        lambda host: os.unlink(host.root + "/boot/grub/grubenv"),
        lambda host: host.put("/boot/grub/grub.cfg", "set default=0\n"),
        lambda host: setattr(host, "programs", ("grub-editenv", "grub-probe", "grub-mkconfig")),
        lambda host: os.rmdir(host.root + "/run/systemd/system"),
        lambda host: host.boot("6.1.0-50-cloud-amd64", "ro"),
        lambda host: shutil.rmtree(host.root + "/boot"),
    ],
)
def test_a_boot_loader_that_cannot_boot_once_is_left_alone(host, breakage):
    breakage(host)
    before = picture(host)
    assert refused(host, "armed")[0] == "boot_once_unsupported"
    assert picture(host) == before


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"/boot": 149 << 20}, "boot_space_low"),
        ({"/lib/modules": 399 << 20}, "boot_space_low"),
        ({"/boot/efi": 9 << 20}, "boot_space_low"),
        ({"/boot": 150 << 20, "/lib/modules": 400 << 20, "/boot/efi": 10 << 20}, None),
    ],
)
def test_space(host, space, reason):
    os.makedirs(host.root + "/boot/efi")
    host.space = space
    before = picture(host)
    if reason is None:
        assert go(host, "armed")["phase"] == "armed"
    else:
        assert refused(host, "armed")[0] == reason
        assert picture(host) == before


def test_needs_on_one_file_system_add_up(host):
    host.free = lambda path: 540 << 20
    assert refused(host, "armed")[0] == "boot_space_low"
    host.free = lambda path: 550 << 20
    assert go(host, "armed")["phase"] == "armed"


def test_a_kernel_that_never_came_up(host):
    before = picture(host)
    on_trial(host)
    assert host.power_cycle() == OLD
    assert go(host, "told")["phase"] == "fell_back"
    reason, result = refused(host, "confirmed", kernel=NEW)
    assert reason == "guard_fell_back" and "never mounted" in result["happened"] and result["failed_kernels"] == [NEW]
    # The rule would boot the failed kernel: the old one stays, and nothing else of the trial does.
    assert host.power_cycle() == OLD and "accelnet.trial" not in host.cmdline()
    assert not os.path.exists(host.root + _boot_guard_files.SCRIPT)
    armed = go(host, "armed")
    assert (armed["changed"], armed["failed_kernels"]) == (False, [NEW])
    assert refused(host, "trial", kernel=NEW)[0] == "guard_fell_back"
    reverted = go(host, "reverted")
    assert (reverted["changed"], len(reverted["not_restored"])) == (False, 1)
    again = go(host, "trial", kernel=NEW, retry=True)
    assert again["reboot_required"] and host.power_cycle() == NEW
    assert go(host, "confirmed", kernel=NEW)["confirmed"]
    assert picture(host) == before


def test_reverting_after_a_failure_once_the_kernel_is_gone(host):
    on_trial(host)
    host.power_cycle()
    refused(host, "confirmed")
    menu = text_of("debian-12.cfg").replace(NEW, "6.12.118+deb12-cloud-amd64")
    host.put("/menu", menu)
    host._update_grub()
    assert go(host, "reverted")["phase"] == "disarmed"
    assert host._environment() == {} and 'set default="0"' in host.read("/boot/grub/grub.cfg")


def test_force_restores_the_rule_all_the_same(host):
    before = picture(host)
    on_trial(host)
    host.power_cycle()
    assert go(host, "reverted", force=True)["phase"] == "disarmed"
    assert picture(host) == before


def test_a_stale_confirmation_does_nothing(host):
    on_trial(host)
    assert refused(host, "confirmed", token="0" * 32)[0] == "guard_token_stale"
    assert go(host, "told")["phase"] == "on_trial"


def test_a_token_of_a_failed_trial_is_stale_for_the_next(host):
    first = on_trial(host)
    host.power_cycle()
    refused(host, "confirmed", token=first)
    go(host, "trial", kernel=NEW, retry=True)
    host.power_cycle()
    assert refused(host, "confirmed", token=first)[0] == "guard_token_stale"


def test_a_stale_decision_on_the_disk_does_nothing(host):
    token = on_trial(host)
    host.put(_boot_guard_files.DECISION, "confirmed 0123\n")
    assert go(host, "told")["phase"] == "on_trial"
    assert go(host, "confirmed", token=token)["confirmed"] is True


def test_worse_nics_are_not_confirmed(host):
    host.answer = BEFORE
    token = on_trial(host)
    host.answer = facts([nic(vf=False)], [function(None)])
    result = go(host, "confirmed", token=token)
    assert (result["confirmed"], result["reboot_required"], result["phase"]) == (False, True, "falling_back")
    assert refused(host, "confirmed", token=token)[0] == "guard_fell_back"
    host.power_cycle()
    reason, result = refused(host, "confirmed", token=token)
    assert reason == "guard_fell_back" and "7870:00:00.0 (mana) has no driver" in result["happened"]


def test_a_function_that_is_away_is_no_failure(host):
    host.answer = BEFORE
    token = on_trial(host)
    host.answer = facts([nic(vf=False)], [])
    result = go(host, "confirmed", token=token)
    assert result["confirmed"] and result["waited_for"] == ["eth0 (00:22:48:00:00:01) has no virtual function"]


def test_it_waits_for_what_may_come(host, monkeypatch):
    host.answer = BEFORE
    token = on_trial(host)
    answers = [facts([nic(addresses=())], []), facts([nic(vf=False)], []), BEFORE]
    monkeypatch.setattr(_boot_guard_apply.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(host, "facts", lambda: answers.pop(0))
    result = go(host, "confirmed", token=token, function_timeout=600)
    assert (result["confirmed"], result["waited_for"], answers) == (True, [], [])


def test_the_decision_comes_before_the_deadline(host):
    host.answer = BEFORE
    token = on_trial(host, deadline=30)
    host.answer = facts([nic(vf=False)], [])
    assert go(host, "confirmed", token=token, function_timeout=600)["confirmed"]


def test_a_guard_that_decided_first_wins(host):
    token = on_trial(host)
    host.put(_boot_guard_files.DECISION, f"fell_back {token} nobody confirmed the kernel in time\n")
    reason, result = refused(host, "confirmed", token=token)
    assert reason == "guard_fell_back" and "nobody confirmed" in result["happened"]
    assert go(host, "reverted")["reboot_required"] is True
    host.power_cycle()
    assert refused(host, "confirmed", token=token)[0] == "guard_fell_back"


def test_power_cuts_anywhere_end_in_a_run_that_finishes(host):
    before = picture(host)
    go(host, "armed")
    assert host.power_cycle() == OLD
    assert go(host, "armed")["changed"] is False
    go(host, "trial", kernel=NEW)
    assert host.power_cycle() == NEW
    assert go(host, "armed")["changed"] is False and go(host, "trial", kernel=NEW)["changed"] is False
    token = go(host, "told")["token"]
    # The decision was written, and nothing of what follows.
    host.put(_boot_guard_files.DECISION, f"confirmed {token}\n")
    assert go(host, "told")["phase"] == "confirmed"
    assert go(host, "confirmed")["confirmed"] is True
    assert picture(host) == before


def test_arming_that_is_cut_off_before_the_pin_is_finished_by_the_next(host):
    def cut(entry):
        raise KeyboardInterrupt

    worker = _boot_guard_apply.Worker(OPTIONS._replace(state="armed"), host)
    worker.loader.pin = cut
    worker._disarm = lambda confirmed: None  # a power cut undoes nothing
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    result = go(host, "armed")
    assert result["changed"] and result["default"]["entry"] == OLD_ID


def test_an_arming_that_fails_is_undone(host):
    before = picture(host)
    worker = _boot_guard_apply.Worker(OPTIONS._replace(state="armed"), host)

    def broken():
        raise AccelnetError("guard_failed", "update-grub failed")

    worker.loader._generate, generate = broken, worker.loader._generate
    restore = worker.loader.restore

    def repaired(policy, confirmed):
        worker.loader._generate = generate
        restore(policy, confirmed)

    worker.loader.restore = repaired
    with pytest.raises(AccelnetError):
        worker.run()
    assert picture(host) == before


@pytest.mark.parametrize("state", ["trial", "confirmed"])
def test_steps_out_of_order(host, state):
    if state == "trial":
        assert refused(host, "trial", kernel=NEW)[0] == "guard_not_ready"
        return
    go(host, "armed")
    assert refused(host, "confirmed", kernel=NEW)[0] == "guard_not_ready"
    go(host, "trial", kernel=NEW)
    assert refused(host, "confirmed", kernel=NEW)[0] == "guard_not_ready"
    host.power_cycle()
    assert refused(host, "confirmed", kernel="5.10.0-1-amd64")[0] == "guard_not_ready"


def test_no_trial_of_what_runs(host):
    assert go(host, "armed", kernel=OLD)["phase"] == "disarmed"
    assert go(host, "trial", kernel=OLD)["changed"] is False
    before = picture(host)
    go(host, "armed")
    assert go(host, "trial", kernel=OLD)["reboot_required"] is False
    assert go(host, "confirmed", kernel=OLD)["phase"] == "disarmed"
    assert picture(host) == before


@pytest.mark.parametrize(
    ("kernel", "breakage"),
    [
        ("9.9-not-there", lambda host: None),
        ("../x", lambda host: None),
        (NEW, lambda host: os.unlink(f"{host.root}/lib/modules/{NEW}/modules.dep")),
        (
            NEW,
            lambda host: host.put("/boot/grub/grub.cfg", host.read("/boot/grub/grub.cfg").replace(f"initrd\t/boot/initrd.img-{NEW}", "")),
        ),
    ],
)
def test_a_kernel_that_is_not_whole_is_not_tried(host, kernel, breakage):
    go(host, "armed")
    breakage(host)
    assert refused(host, "trial", kernel=kernel)[0] == "bad_kernel"
    assert host._environment() == {"saved_entry": OLD_ID}


def test_arguments_that_a_later_setting_undoes_are_noticed(host):
    go(host, "armed")
    host.put("/etc/default/grub.d/zzz.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=panic=0\n")
    assert refused(host, "trial", kernel=NEW)[0] == "guard_failed"
    assert host.power_cycle() == OLD


def test_ubuntu_starts_its_trial_with_initramfs(host):
    host.put("/etc/default/grub.d/40-force-partuuid.cfg", "GRUB_FORCE_PARTUUID=abcd-01\n")
    go(host, "armed")
    go(host, "trial", kernel=NEW)
    assert "\nGRUB_FORCE_PARTUUID=\n" in host.read(_boot_guard_files.GRUB_DROP_IN)


def test_an_entry_that_was_pinned_before_is_the_new_one_afterwards(host):
    host.put("/etc/default/grub", "GRUB_DEFAULT=saved\n")
    host._write({"saved_entry": OLD_ID})
    host._update_grub()
    token = on_trial(host)
    go(host, "confirmed", token=token)
    assert host._environment() == {"saved_entry": NEW_ID}


def test_an_entry_that_was_pinned_before_comes_back_with_a_revert(host):
    host.put("/etc/default/grub", "GRUB_DEFAULT=saved\n")
    host._write({"saved_entry": OLD_ID, "other": "1"})
    host._update_grub()
    before = picture(host)
    on_trial(host)
    assert go(host, "reverted")["reboot_required"] is True
    host.power_cycle()
    assert go(host, "reverted")["phase"] == "disarmed"
    assert {**before, "boot/grub/grubenv": b""} == {**picture(host), "boot/grub/grubenv": b""}
    assert host._environment() == {"saved_entry": OLD_ID, "other": "1"}


def test_reverting_a_trial_that_is_only_prepared(host):
    before = picture(host)
    go(host, "armed")
    go(host, "trial", kernel=NEW)
    result = go(host, "reverted")
    assert (result["changed"], result["reboot_required"]) == (True, False)
    assert picture(host) == before
    assert go(host, "reverted")["changed"] is False


def test_without_a_record_only_what_bears_our_mark_goes(host):
    before = picture(host)
    go(host, "armed")
    go(host, "trial", kernel=NEW)
    host.put(_boot_guard_files.STATE, "{damaged")
    assert refused(host, "armed")[0] == "guard_failed"
    assert go(host, "reverted")["changed"] is True
    assert {**before, "boot/grub/grubenv": b""} == {**picture(host), "boot/grub/grubenv": b""}


def test_a_kernel_that_somebody_else_booted_is_the_one_to_go_back_to(host):
    go(host, "armed")
    host.boot(NEW, "ro")
    result = go(host, "armed")
    assert result["changed"] and result["old"] == {"release": NEW, "entry": NEW_ID}
    assert go(host, "armed")["changed"] is False


def test_a_disk_that_is_full_is_named(host, monkeypatch):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host, "write", full)
    assert refused(host, "armed")[0] == "boot_space_low"


# --- Other boot loaders


class ElHost(FakeHost):
    programs = ("grub2-editenv", "grub2-probe", "grub2-reboot", "grub2-mkconfig", "systemctl", "dracut")
    env = "/boot/grub2/grubenv"


@pytest.fixture
def el(tmp_path):
    """An EL 9 with entry files; the older kernel runs. From grubby(8) and the files of the packages, see the fixture's README."""
    root = tmp_path / "host"
    root.mkdir()
    extra = {
        "/boot/grub2/grub.cfg": text_of("el-9.cfg"),
        "/boot/grub2/grubenv": f"# GRUB Environment Block\nsaved_entry={MACHINE}-{EL_OLD}\n".ljust(1024, "#"),
        "/etc/grub2.cfg": trees.link("../boot/grub2/grub.cfg"),
        "/usr/sbin/grub2-mkconfig": ". ${sysconfdir}/default/grub\n",
        "/etc/default/grub": "GRUB_DEFAULT=saved\nGRUB_ENABLE_BLSCFG=true\n",
        "/etc/dnf/dnf.conf": "[main]\ninstallonly_limit=3\n",
        "/etc/sysconfig/kernel": "UPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel-core\n",
    }
    for release in (EL_OLD, EL_NEW):
        extra[f"/boot/loader/entries/{MACHINE}-{release}.conf"] = text_of("el-9-entry.conf").replace("RELEASE", release)
    extra[f"/boot/loader/entries/{MACHINE}-0-rescue.conf"] = text_of("el-9-entry.conf").replace("RELEASE", "0-rescue-" + MACHINE)
    settle(root, "", (EL_OLD, EL_NEW), extra.items())
    return ElHost(root, EL_OLD)


def test_el_tries_a_copy_of_the_entry(el):
    before = picture(el)
    go(el, "armed")
    assert el.read("/etc/sysconfig/kernel").startswith("UPDATEDEFAULT=no\n") and "installonly_limit=0" in el.read("/etc/dnf/dnf.conf")
    trial = go(el, "trial", kernel=EL_NEW)
    assert trial["trial"]["once"] == "accelnet-trial"
    assert el.commands[-2] == ["grub-reboot", "accelnet-trial"]
    assert el.power_cycle() == EL_NEW
    assert {"panic=30", "rd.shell=0", "rd.emergency=reboot", f"accelnet.trial={EL_NEW}"} <= set(el.cmdline().split())
    assert go(el, "confirmed", token=trial["token"])["confirmed"]
    # As the installation would have left it: UPDATEDEFAULT=yes.
    assert el._environment() == {"saved_entry": f"{MACHINE}-{EL_NEW}"}
    assert {**before, "boot/grub2/grubenv": b""} == {**picture(el), "boot/grub2/grubenv": b""}


def test_el_goes_back(el):
    before = picture(el)
    go(el, "armed")
    go(el, "trial", kernel=EL_NEW)
    assert [el.power_cycle(), el.power_cycle()] == [EL_NEW, EL_OLD]
    assert refused(el, "confirmed")[0] == "guard_fell_back"
    assert not os.path.exists(el.root + "/boot/loader/entries/accelnet-trial.conf")
    assert el.power_cycle() == EL_OLD
    # It named the old entry before, so restoring it is safe.
    assert go(el, "reverted")["phase"] == "disarmed"
    assert picture(el) == before


def test_el_8_has_another_menu_for_uefi(el):
    trees.write(pathlib.Path(el.root), {"/sys/firmware/efi/x": "", "/boot/efi/EFI/redhat/grub.cfg": text_of("el-9.cfg")})
    trees.write(pathlib.Path(el.root), {"/etc/grub2-efi.cfg": trees.link("../boot/efi/EFI/redhat/grub.cfg")})
    assert _boot_guard_loader.Grub(el).config == "/boot/efi/EFI/redhat/grub.cfg"
    assert _boot_guard_loader.find_loader(el).kind == "grub-bls"


class SuseHost(FakeHost):
    programs = ("grub2-editenv", "grub2-probe", "grub2-reboot", "grub2-once", "grub2-mkconfig", "systemctl", "dracut")
    env = "/boot/grub2/grubenv"

    def _grub_once(self, entry):
        return self._grub_reboot(entry)


@pytest.fixture
def suse(tmp_path):
    root = tmp_path / "host"
    root.mkdir()
    extra = {
        "/boot/grub2/grubenv": "# GRUB Environment Block\n".ljust(1024, "#"),
        "/boot/grub2/grub.cfg": "",
        "/usr/sbin/grub2-mkconfig": ". ${sysconfdir}/default/grub\n",
        "/usr/lib/systemd/system/purge-kernels.service": "",
    }
    settle(root, text_of("sles-15.cfg"), (SLES_OLD, SLES_NEW), extra.items())
    made = SuseHost(root, SLES_OLD)
    made._grub_mkconfig("-o", "/boot/grub2/grub.cfg")
    return made


def test_suse_has_its_settings_in_one_file_and_its_own_one_shot(suse):
    before = picture(suse)
    go(suse, "armed")
    assert os.readlink(suse.root + _boot_guard_files.PURGE_KERNELS) == "/dev/null"
    assert "# BEGIN accelnet.mana.boot_guard" in suse.read("/etc/default/grub")
    token = go(suse, "trial", kernel=SLES_NEW)["token"]
    assert ["grub-once", f"gnulinux-advanced-c>gnulinux-{SLES_NEW}-advanced-c"] in suse.commands
    assert suse.power_cycle() == SLES_NEW and "rd.emergency=reboot" in suse.cmdline()
    assert go(suse, "confirmed", token=token)["confirmed"]
    assert picture(suse) == before


class SystemdBootHost(FakeHost):
    programs = ("bootctl", "systemctl")

    def _variable(self, name):
        return pathlib.Path(self.root) / f"sys/firmware/efi/efivars/{name}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

    def _bootctl(self, verb, entry):
        path = self._variable({"set-default": "LoaderEntryDefault", "set-oneshot": "LoaderEntryOneShot"}[verb])
        path.unlink(missing_ok=True)
        if entry:
            path.write_bytes(b"\7\0\0\0" + (entry + "\0").encode("utf-16-le"))
        return ""

    def forget_once(self, loader):
        self._bootctl("set-oneshot", "")


def test_systemd_boot(tmp_path):
    root = tmp_path / "host"
    root.mkdir()
    extra = {"/boot/loader/loader.conf": "default x\n"}
    for release in (OLD, NEW):
        extra[f"/boot/loader/entries/{MACHINE}-{release}.conf"] = text_of("el-9-entry.conf").replace("RELEASE", release)
    settle(root, "", (OLD, NEW), extra.items())
    host = SystemdBootHost(root)
    assert refused(host, "armed")[0] == "boot_once_unsupported"
    host._variable("LoaderInfo").parent.mkdir(parents=True)
    host._variable("LoaderInfo").write_bytes(b"\6\0\0\0" + "systemd-boot 252\0".encode("utf-16-le"))
    before = picture(host)
    go(host, "armed")
    token = go(host, "trial", kernel=NEW)["token"]
    assert host.power_cycle() == NEW and "panic=30" in host.cmdline()
    assert go(host, "confirmed", token=token)["confirmed"]
    assert picture(host) == before
    go(host, "armed")
    assert host.power_cycle() == NEW


# --- The script on the host


class Script:
    """Runs the guard's script on a tree, with stand-ins for what restarts."""

    def __init__(self, root, running=NEW, cmdline=f"ro accelnet.trial={NEW}"):
        self.root = root
        for path in ("proc/sys/kernel/random", "dev", "var/lib/accelnet/guard", "bin"):
            (root / path).mkdir(parents=True)
        (root / "proc/cmdline").write_text(cmdline + "\n")
        (root / "proc/sys/kernel/random/boot_id").write_text("boot-7\n")
        (root / "proc/sysrq-trigger").write_text("")
        (root / "dev/kmsg").write_text("")
        self.tool("uname", f"echo {running}")
        self.tool("systemctl", f'echo "$@" >> {root}/restarts')
        self.tool("sleep", "exit 0")
        self.tool("sync", "exit 0")
        (root / "script").write_text(_boot_guard_files.SCRIPT_TEXT)
        self.guard = root / "var/lib/accelnet/guard"
        restore = _boot_guard_files.restore_text("token1", [["sh", "-c", f"echo restored >> {root}/restored"]])
        (self.guard / "restore").write_text(restore)

    def tool(self, name, body):
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def run(self, verb):
        environment = {"PATH": f"{self.root}/bin:/usr/bin:/bin", "ACCELNET_ROOT": str(self.root)}
        return subprocess.run(["sh", str(self.root / "script"), verb], env=environment, check=False, capture_output=True, text=True)

    @property
    def restarted(self):
        return (self.root / "restarts").exists()

    @property
    def decision(self):
        return (self.guard / "decision").read_text() if (self.guard / "decision").exists() else None


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


@pytest.mark.parametrize("verb", ["expire", "emergency"])
def test_the_host_goes_back_by_itself(script, verb):
    assert script.run(verb).returncode == 0
    assert script.restarted and (script.root / "restored").read_text() == "restored\n"
    assert script.decision.startswith("fell_back token1 ")
    # Should the way down hang.
    assert (script.root / "proc/sysrq-trigger").read_text() == "b\n"
    assert sorted(path.name for path in script.guard.iterdir()) == ["decision", "restore"]


@pytest.mark.parametrize("verb", ["expire", "emergency", "booted"])
@pytest.mark.parametrize(("running", "cmdline"), [(OLD, f"ro accelnet.trial={NEW}"), (NEW, "ro"), (NEW, f"accelnet.trial={NEW}x ro")])
def test_other_kernels_are_left_alone(tmp_path, verb, running, cmdline):
    script = Script(tmp_path, running, cmdline)
    assert script.run(verb).returncode == 0
    assert not script.restarted and script.decision is None and not (script.guard / "booted").exists()


@pytest.mark.parametrize(("decision", "restarts"), [("confirmed token1\n", False), ("confirmed token0\n", True), ("", True), ("x\n", True)])
def test_only_the_confirmation_of_this_arming_counts(script, decision, restarts):
    (script.guard / "decision").write_text(decision)
    script.run("expire")
    assert script.restarted is restarts
    assert script.decision.startswith("fell_back token1 " if restarts else "confirmed token1")


@pytest.mark.parametrize(
    "breakage",
    [
        lambda script: shutil.rmtree(script.guard),
        lambda script: (script.guard / "restore").write_text("token='"),
        lambda script: (script.guard / "restore").unlink(),
        lambda script: script.tool("systemctl", f'echo "$@" >> {script.root}/restarts; exit 1'),
    ],
)
def test_damage_does_not_keep_the_host(script, breakage):
    breakage(script)
    script.run("emergency")
    assert script.restarted and (script.root / "proc/sysrq-trigger").read_text() == "b\n"


def test_a_boot_on_trial_is_noted_and_a_one_shot_entry_is_ended(script):
    assert script.run("booted").returncode == 0
    assert (script.guard / "booted").read_text() == "token1 boot-7\n"
    assert (script.root / "restored").exists() and not script.restarted


def test_the_trail_that_the_script_leaves_is_understood(host):
    token = on_trial(host)
    host.put(_boot_guard_files.BOOTED, f"{token} boot-2\n")
    host.power_cycle()
    assert "it came up" in refused(host, "confirmed")[1]["happened"]


def test_the_script_is_sound(tmp_path):
    path = tmp_path / "boot-guard"
    path.write_text(_boot_guard_files.SCRIPT_TEXT)
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([checker, "--exclude=SC1090,SC1091", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_units_need_no_network_and_survive_an_emergency():
    units = _boot_guard_files.units(900)
    timer = units["/etc/systemd/system/accelnet-boot-guard.timer"]
    assert "OnBootSec=900\n" in timer and "DefaultDependencies=no" in timer and "IgnoreOnIsolate=yes" in timer
    assert not any("network" in text for text in units.values())
    assert [path for path in units if path.endswith(".service.d/accelnet-boot-guard.conf")] == list(_boot_guard_files.OVERRIDES)
    assert set(_boot_guard_files.WANTS.values()) <= set(units)


def test_the_record_says_what_was_there(host):
    go(host, "armed")
    record = json.loads(host.read(_boot_guard_files.STATE))
    assert record["policy"] == {"rule": "0", "entry": None} and record["old"]["release"] == OLD
