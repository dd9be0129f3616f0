# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Boot loaders: which entries there are, which one is the default, and how one is booted once. The work is done by their own tools.

Private to this collection. Python 3.6, standard library.
"""

import re
from typing import Any, Dict, List, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _boot, _boot_guard, _boot_guard_files
from ansible_collections.accelnet.mana.plugins.module_utils._boot_guard import Entry
from ansible_collections.accelnet.mana.plugins.module_utils._boot_guard_host import Host
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

_EFI_VARIABLES = "/sys/firmware/efi/efivars/"
_LOADER_GUID = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"  # systemd's boot loader interface
_BLS = "/boot/loader/entries"
_TRIAL_BLS = "accelnet-trial.conf"
_SAVED = re.compile(r"^[ \t]*set default=\"?\$\{saved_entry\}", re.M)


class Loader:
    """What all boot loaders have in common."""

    kind = ""

    def __init__(self, host: Host) -> None:
        self.host = host

    def obstacle(self) -> Optional[str]:
        """Why an entry cannot be booted once, or None."""
        raise NotImplementedError

    def entries(self) -> List[Entry]:
        raise NotImplementedError

    def find(self, release: str) -> Optional[Entry]:
        """The entry of a kernel, or None."""
        return _boot_guard.find_entry(self.entries(), release)

    def policy(self) -> Dict[str, Any]:
        """Which entry is booted by default, and by which rule: all that ``restore`` needs."""
        raise NotImplementedError

    def pinned(self) -> Optional[str]:
        """The entry that is the default, whatever is installed; None when that depends."""
        raise NotImplementedError

    def pin(self, entry_id: str) -> None:
        raise NotImplementedError

    def prepare(self, entry: Entry, arguments: List[str]) -> Entry:
        """Give a kernel's entry these arguments, for a trial; returns the entry to boot once."""
        raise NotImplementedError

    def forget(self) -> bool:
        """Take the arguments of a trial back, and the request to boot it once. Whether there was something to do."""
        raise NotImplementedError

    def once(self, entry_id: str) -> None:
        raise NotImplementedError

    def next_once(self) -> Optional[str]:
        """The entry that the next boot takes, only that one."""
        raise NotImplementedError

    def restore(self, policy: Dict[str, Any], confirmed: Optional[str]) -> None:
        """The rule as it was. ``confirmed``: the release that a rule which names the old kernel's entry is to name from now on."""
        raise NotImplementedError

    def sweep(self) -> None:
        """Take away what bears our mark; the rule that was there before is not known."""
        raise NotImplementedError

    def way_back(self, entry_id: str) -> List[List[str]]:
        """Commands for the script on the host: the default is this entry, and nothing is booted once."""
        raise NotImplementedError


class Grub(Loader):
    """GRUB with a menu from grub-mkconfig: Debian, Ubuntu, SUSE."""

    kind = "grub"

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        tree = host.look()
        self.folder = "/boot/grub" if tree.exists("/boot/grub/grub.cfg") or not tree.exists("/boot/grub2") else "/boot/grub2"
        self.config = self._config()
        self.environment_file = tree.resolve(self.folder + "/grubenv") or self.folder + "/grubenv"

    def _config(self) -> str:
        if self.folder == "/boot/grub":
            return self.folder + "/grub.cfg"
        tree = self.host.look()
        # EL 8 has another one for UEFI, which these links know.
        links = ["/etc/grub2-efi.cfg", "/etc/grub2.cfg"] if tree.exists("/sys/firmware/efi") else ["/etc/grub2.cfg"]
        found = [tree.resolve(link) for link in links]
        return next((path for path in found if path), self.folder + "/grub.cfg")

    def _tool(self, name: str) -> Optional[str]:
        return self.host.program(*("{0}-{1}".format(prefix, name) for prefix in ("grub2", "grub")))

    def _need(self, name: str) -> str:
        program = self._tool(name)
        if program is None:
            raise AccelnetError("boot_once_unsupported", "grub-{0} is not installed".format(name))
        return program

    def _menu(self) -> str:
        return self.host.read(self.config) or ""

    def environment(self) -> Dict[str, str]:
        """GRUB's environment block."""
        return _boot_guard.parse_environment(self.host.run([self._need("editenv"), self.environment_file, "list"]).out)

    def _set(self, **variables: Optional[str]) -> None:
        for name, value in variables.items():
            if value is None:
                self.host.run([self._need("editenv"), self.environment_file, "unset", name])
            else:
                self.host.run([self._need("editenv"), self.environment_file, "set", "{0}={1}".format(name, value)])

    def obstacle(self) -> Optional[str]:
        for name in ("editenv", "probe", "reboot", "mkconfig"):
            if self._tool(name) is None:
                return "grub-{0} is not installed".format(name)
        if not _boot_guard.boots_once(self._menu()):
            return "{0} does not look for a one-shot entry (next_entry)".format(self.config)
        block = self.host.read(self.environment_file)
        if block is None:
            return "there is no environment block {0}".format(self.environment_file)
        if len(block.encode("utf-8")) != _boot_guard.ENVIRONMENT_SIZE:
            return "{0} has not the size that GRUB writes".format(self.environment_file)
        folder = self.environment_file.rpartition("/")[0]
        answers = [self.host.run([self._need("probe"), "--target=" + target, folder], fatal=False) for target in ("abstraction", "fs")]
        for answer in answers:
            if answer.code != 0:
                return "grub-probe does not know where {0} is: {1}".format(folder, answer.err.strip())
        problem = _boot_guard.write_obstacle(answers[0].out, answers[1].out, self.environment())
        return "{0}: {1}, so an entry to boot once would be booted for ever".format(self.environment_file, problem) if problem else None

    def entries(self) -> List[Entry]:
        return _boot_guard.parse_menu(self._menu())

    def policy(self) -> Dict[str, Any]:
        boot = _boot.read_boot(self.host.look(), False, [])
        return {"rule": boot["default_policy"], "entry": self.environment().get("saved_entry") or None}

    # --- Settings of grub-mkconfig

    def _has_drop_ins(self) -> bool:
        """Whether this grub-mkconfig reads /etc/default/grub.d. Debian's does, SUSE's and EL's read one file."""
        program = self._tool("mkconfig")
        return bool(program) and "default/grub.d" in (self.host.read(str(program)) or "")

    def _settings(self, text: Optional[str]) -> bool:
        """Put our settings in place, or take them away; whether that changed anything."""
        if self._has_drop_ins():
            if text is None:
                return self.host.remove(_boot_guard_files.GRUB_DROP_IN)
            return self.host.write(_boot_guard_files.GRUB_DROP_IN, text)
        old = self.host.read(_boot_guard_files.GRUB_MAIN) or ""
        new = _boot_guard_files.with_block(old, text)
        return new != old and self.host.write(_boot_guard_files.GRUB_MAIN, new)

    def _generate(self) -> None:
        update = self.host.program("update-grub")
        self.host.run([update] if update else [self._need("mkconfig"), "-o", self.config])

    def _starts_saved(self) -> bool:
        return bool(_SAVED.search(self._menu()))

    def pinned(self) -> Optional[str]:
        return self.environment().get("saved_entry") if self._starts_saved() else None

    def pin(self, entry_id: str) -> None:
        # The entry first: the rule alone would point to whatever was saved before.
        self._set(saved_entry=entry_id)
        if self._settings(_boot_guard_files.grub_settings([])) or not self._starts_saved():
            self._generate()
        if self.pinned() != entry_id:
            raise AccelnetError("boot_once_unsupported", "{0} does not start the saved entry".format(self.config))

    def prepare(self, entry: Entry, arguments: List[str]) -> Entry:
        if self._settings(_boot_guard_files.grub_settings(arguments)) or _boot_guard.lacks_arguments(entry, arguments):
            self._generate()
        found = next((one for one in self.entries() if one.id == entry.id), None)
        missing = _boot_guard.lacks_arguments(found, arguments) if found else arguments
        if found is None or missing:
            raise AccelnetError(
                "guard_failed", "{0}: {1} did not get {2}; a later setting undoes it".format(self.config, entry.id, " ".join(missing))
            )
        return found

    def forget(self) -> bool:
        changed = False
        if self.next_once():
            self._set(next_entry=None)
            changed = True
        if self._settings(_boot_guard_files.grub_settings([])):
            self._generate()
            changed = True
        return changed

    def once(self, entry_id: str) -> None:
        # SUSE's own also sees to it that the entry is forgotten should GRUB fail to do so.
        program = self.host.program("grub2-once")
        if program:
            self.host.run([program, entry_id], fatal=False)
        if self.next_once() != entry_id:
            self.host.run([self._need("reboot"), entry_id])
        if self.next_once() != entry_id:
            raise AccelnetError("boot_once_unsupported", "grub-reboot did not write {0}".format(self.environment_file))

    def next_once(self) -> Optional[str]:
        return self.environment().get("next_entry") or None

    def restore(self, policy: Dict[str, Any], confirmed: Optional[str]) -> None:
        entry = policy["entry"]
        if confirmed and entry and policy["rule"] == "saved":
            found = self.find(confirmed)
            entry = found.id if found else entry
        self._set(next_entry=None, saved_entry=entry)
        if self._settings(None):
            self._generate()

    def sweep(self) -> None:
        self._set(next_entry=None)
        if self._settings(None):
            self._generate()

    def way_back(self, entry_id: str) -> List[List[str]]:
        editenv = self._need("editenv")
        return [
            [editenv, self.environment_file, "set", "saved_entry=" + entry_id],
            [editenv, self.environment_file, "unset", "next_entry"],
        ]


class GrubBls(Grub):
    """GRUB that takes its entries from files, one for each kernel: EL and Fedora. A trial gets a file of its own."""

    kind = "grub-bls"
    directory = _BLS
    suffix = ""

    def entries(self) -> List[Entry]:
        tree = self.host.look()
        names = [name for name in tree.names(self.directory) if name.endswith(".conf") and name != _TRIAL_BLS]
        found = [_boot_guard.parse_bls(name, tree.text("{0}/{1}".format(self.directory, name)) or "") for name in names]
        return [entry._replace(id=entry.id + self.suffix) for entry in found]

    def pin(self, entry_id: str) -> None:
        self._set(saved_entry=entry_id)
        if not self._starts_saved():
            self._settings(_boot_guard_files.grub_settings([]))
            self._generate()
        if self.pinned() != entry_id:
            raise AccelnetError("boot_once_unsupported", "{0} does not start the saved entry".format(self.config))

    def _trial_file(self) -> str:
        return "{0}/{1}".format(self.directory, _TRIAL_BLS)

    def prepare(self, entry: Entry, arguments: List[str]) -> Entry:
        name = entry.id if entry.id.endswith(".conf") else entry.id + ".conf"
        original = self.host.read("{0}/{1}".format(self.directory, name)) or ""
        self.host.write(self._trial_file(), _boot_guard.trial_bls(original, " ".join(arguments)))
        found = _boot_guard.parse_bls(_TRIAL_BLS, self.host.read(self._trial_file()) or "")
        return found._replace(id=found.id + self.suffix)

    def forget(self) -> bool:
        changed = False
        if self.next_once():
            self._set(next_entry=None)
            changed = True
        return self.host.remove(self._trial_file()) or changed

    def restore(self, policy: Dict[str, Any], confirmed: Optional[str]) -> None:
        self.host.remove(self._trial_file())
        super().restore(policy, confirmed)

    def sweep(self) -> None:
        self.host.remove(self._trial_file())
        super().sweep()


class SystemdBoot(GrubBls):
    """systemd-boot; what it remembers are EFI variables."""

    kind = "systemd-boot"
    suffix = ".conf"

    def __init__(self, host: Host) -> None:  # pylint: disable=super-init-not-called
        Loader.__init__(self, host)  # pylint: disable=non-parent-init-called
        tree = host.look()
        folders = [folder for folder in ("/efi", "/boot/efi", "/boot") if tree.exists(folder + "/loader/entries")]
        self.directory = (folders[0] if folders else "/boot") + "/loader/entries"

    def _variable(self, name: str) -> Optional[str]:
        path = self.host.look().resolve(_EFI_VARIABLES + name + _LOADER_GUID)
        if path is None:
            return None
        try:
            with open(self.host.root + path, "rb") as stream:
                data = stream.read(4096)
        except OSError:
            return None
        # Four bytes of attributes, then UTF-16 with a zero at the end.
        return data[4:].decode("utf-16-le", "replace").rstrip("\0") or None

    def _bootctl(self, *arguments: str) -> None:
        program = self.host.program("bootctl")
        if program is None:
            raise AccelnetError("boot_once_unsupported", "bootctl is not installed")
        self.host.run([program] + list(arguments))

    def obstacle(self) -> Optional[str]:
        if self.host.program("bootctl") is None:
            return "bootctl is not installed"
        if self._variable("LoaderInfo") is None:
            return "systemd-boot did not start this system, or its EFI variables cannot be read"
        return None

    def policy(self) -> Dict[str, Any]:
        return {"rule": "LoaderEntryDefault", "entry": self._variable("LoaderEntryDefault")}

    def pinned(self) -> Optional[str]:
        return self._variable("LoaderEntryDefault")

    def pin(self, entry_id: str) -> None:
        self._bootctl("set-default", entry_id)
        if self.pinned() != entry_id:
            raise AccelnetError("boot_once_unsupported", "bootctl did not set LoaderEntryDefault")

    def forget(self) -> bool:
        changed = self.next_once() is not None
        if changed:
            self._bootctl("set-oneshot", "")
        return self.host.remove(self._trial_file()) or changed

    def once(self, entry_id: str) -> None:
        self._bootctl("set-oneshot", entry_id)
        if self.next_once() != entry_id:
            raise AccelnetError("boot_once_unsupported", "bootctl did not set LoaderEntryOneShot")

    def next_once(self) -> Optional[str]:
        return self._variable("LoaderEntryOneShot")

    def restore(self, policy: Dict[str, Any], confirmed: Optional[str]) -> None:
        entry = policy["entry"]
        found = self.find(confirmed) if confirmed and entry else None
        if self.next_once() is not None:
            self._bootctl("set-oneshot", "")
        self._bootctl("set-default", found.id if found else entry or "")
        self.host.remove(self._trial_file())

    def sweep(self) -> None:
        self.forget()

    def way_back(self, entry_id: str) -> List[List[str]]:
        program = self.host.program("bootctl") or "bootctl"
        return [[program, "set-default", entry_id]]


def find_loader(host: Host) -> Loader:
    """The boot loader of a host. Raises AccelnetError: boot_once_unsupported."""
    kind = _boot.read_boot(host.look(), False, [])["loader"]
    if kind == "grub":
        grub = Grub(host)
        return GrubBls(host) if _boot_guard.uses_bls(grub._menu()) and host.exists(_BLS) else grub
    if kind == "systemd-boot":
        return SystemdBoot(host)
    raise AccelnetError("boot_once_unsupported", "neither GRUB nor systemd-boot was found")
