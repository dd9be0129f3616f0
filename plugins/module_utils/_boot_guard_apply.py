# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module boot_guard does: arm, prepare a trial, confirm it, or go back.

The old kernel's entry is the default from arming to the end, and the new one is booted once. So whatever ends the trial - a panic, the
timer on the host, a power cut - the next boot is that of the old kernel, and the next run finds out here what happened.

Private. Python 3.6, standard library.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
import uuid
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _boot, _boot_guard
from ansible_collections.accelnet.mana.plugins.module_utils import _boot_guard_files as files
from ansible_collections.accelnet.mana.plugins.module_utils._boot_guard_host import Host
from ansible_collections.accelnet.mana.plugins.module_utils._boot_guard_loader import Loader, find_loader
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_release
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

Options = NamedTuple(
    "Options",
    [
        ("state", str),
        ("kernel", Optional[str]),
        ("token", Optional[str]),
        ("deadline", int),  # seconds from the boot
        ("function_timeout", int),  # seconds
        ("boot_space", int),  # MiB
        ("modules_space", int),
        ("esp_space", int),
        ("retry", bool),
        ("force", bool),
        ("check", bool),
    ],
)

_VERSION = 1
_LOCK = "/run/lock/accelnet-boot-guard.lock"
_LOCK_TIMEOUT = 60  # seconds
_SETTLE = 60  # seconds for a driver to bind a function that has just come back
_RESERVE = 60  # seconds before the deadline that the decision is made at the latest
_POLL = 5  # seconds
_MEBIBYTE = 1 << 20
_SYSCTLS = ("/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops")  # what the arguments of a trial set

# Where an arming stands. The record says what was last done, the boot id and the kernel that runs what happened since.
DISARMED, ARMED, PREPARED, ON_TRIAL, FALLING_BACK, FELL_BACK, CONFIRMED = (
    "disarmed",
    "armed",
    "prepared",
    "on_trial",
    "falling_back",
    "fell_back",
    "confirmed",
)


class Worker:
    """One run of the module. What is to be returned gathers in ``result``, also when it fails."""

    def __init__(self, options: Options, host: Optional[Host] = None) -> None:
        self.options = options
        self.host = host or Host()
        self._loader: Optional[Loader] = None
        self.record: Optional[Dict[str, Any]] = None
        self.result: Dict[str, Any] = {
            "changed": False,
            "phase": DISARMED,
            "token": None,
            "running": None,
            "old": None,
            "trial": None,
            "default": None,
            "confirmed": False,
            "reboot_required": False,
            "worse": [],
            "waited_for": [],
            "happened": None,
            "failed_kernels": [],
            "actions": [],
            "not_restored": [],
            "would_require": [],
        }

    # --- The run as a whole

    def run(self) -> Dict[str, Any]:
        """Bring the guard to the state, or in check mode say how. Raises AccelnetError."""
        options = self.options
        if options.kernel is not None and not is_release(options.kernel):
            raise AccelnetError("bad_kernel", "{0!r} cannot be a kernel release".format(options.kernel))
        steps: Dict[str, Callable[[], None]] = {
            "armed": self._armed,
            "trial": self._trial,
            "confirmed": self._confirmed,
            "reverted": self._reverted,
        }
        try:
            if options.check or options.state == "told":
                self._load()
                if options.state != "told":
                    steps[options.state]()
            else:
                with self._locked():
                    self._load()
                    steps[options.state]()
        except OSError as error:
            raise AccelnetError("boot_space_low" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "guard_failed", str(error))
        finally:
            self._report()
        return self.result

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        path = self.host.root + _LOCK
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            end = time.monotonic() + _LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise AccelnetError("guard_failed", "another run of this module did not end within {0} s".format(_LOCK_TIMEOUT))
                    time.sleep(0.2)
            yield
        finally:
            os.close(handle)

    @property
    def loader(self) -> Loader:
        if self._loader is None:
            self._loader = find_loader(self.host)
        return self._loader

    def _do(self, action: str) -> bool:
        """Note an action; whether it is to be carried out."""
        self.result["actions"].append(action)
        self.result["changed"] = True
        return not self.options.check

    # --- The record

    def _load(self) -> None:
        text = self.host.read(files.STATE)
        try:
            self.record = json.loads(text) if text else None
        except ValueError:
            # Reverting goes by our marks then.
            if self.options.state not in ("reverted", "told"):
                raise AccelnetError("guard_failed", "{0} is damaged: revert first".format(files.STATE))

    def _save(self) -> None:
        self.host.write(files.STATE, json.dumps(self.record, indent=1, sort_keys=True) + "\n", 0o600)

    def _decision(self) -> List[str]:
        """[verdict, what happened] of this arming, or nothing."""
        words = (self.host.read(files.DECISION) or "").strip().split(" ", 2)
        if self.record is None or len(words) < 2 or words[1] != self.record["token"]:
            return []
        return [words[0], words[2] if len(words) > 2 else ""]

    def phase(self) -> str:
        """Where this arming stands now."""
        record = self.record
        if record is None:
            return DISARMED
        verdict = (self._decision() or [""])[0]
        if verdict == CONFIRMED:
            return CONFIRMED
        if record["phase"] in (ARMED, FELL_BACK):
            return str(record["phase"])
        running, boot_id = self.host.release(), self.host.boot_id()
        if running == record["trial"]["release"]:
            return FALLING_BACK if verdict == FELL_BACK else ON_TRIAL
        return PREPARED if boot_id == record["boot_id"] else FELL_BACK

    def _report(self) -> None:
        """What is true at the end of the run."""
        record, result = self.record, self.result
        with contextlib.suppress(KeyError, TypeError):
            result["phase"] = self.phase()
            result["running"] = self.host.release()
            if record is not None:
                result["token"] = record["token"]
                result["old"] = record["old"]
                result["trial"] = record["trial"]
                result["failed_kernels"] = [entry["release"] for entry in record["failed"]]
        boot = _boot.read_boot(self.host.look(), False, self._releases())
        result["default"] = {"policy": boot["default_policy"], "entry": boot["default_entry"], "release": boot["default_release"]}

    def _releases(self) -> List[str]:
        return [name for name in self.host.look().names("/lib/modules") if is_release(name)]

    # --- armed

    def _armed(self) -> None:
        phase = self.phase()
        if phase == FALLING_BACK:
            self._fail_fallen()
        if phase == CONFIRMED:
            self._finish()
            phase = DISARMED
        if phase == DISARMED and self.options.kernel == self.host.release():
            return  # there is nothing to try
        if phase == DISARMED:
            self._arm()
        elif phase == FELL_BACK:
            self._settle_fallen()
        elif phase == ARMED:
            self._keep_armed()

    def _keep_armed(self) -> None:
        record = self._need_record()
        if self.host.release() != record["old"]["release"]:
            # Somebody booted another kernel since. That one works, so it is the one to go back to.
            old = self._running_entry()
            if self._do("pin {0}".format(old["release"])):
                record["old"] = old
                self._save()
                self.loader.pin(old["entry"])
        elif self.loader.pinned() != record["old"]["entry"] and self._do("pin {0} again".format(record["old"]["release"])):
            self.loader.pin(record["old"]["entry"])

    def _running_entry(self) -> Dict[str, str]:
        release = self.host.release()
        entry = self.loader.find(release)
        if entry is None:
            raise AccelnetError("boot_once_unsupported", "the boot loader has no entry of its own for {0}, which runs".format(release))
        return {"release": release, "entry": entry.id}

    def _preflight(self) -> None:
        if not self.host.exists("/run/systemd/system"):
            raise AccelnetError("boot_once_unsupported", "systemd is not process 1")
        obstacle = self.loader.obstacle()
        if obstacle:
            raise AccelnetError("boot_once_unsupported", obstacle)
        self._check_space()

    def _check_space(self) -> None:
        options = self.options
        needs = [("/boot", options.boot_space), ("/lib/modules", options.modules_space)]
        needs += [(path, options.esp_space) for path in ("/boot/efi", "/efi") if self.host.exists(path)]
        by_device: Dict[int, List[Any]] = {}
        for path, mebibytes in needs:
            if self.host.exists(path):
                by_device.setdefault(self.host.device(path), []).append((path, mebibytes))
        for group in by_device.values():
            free = self.host.free(group[0][0]) // _MEBIBYTE
            needed = sum(mebibytes for _path, mebibytes in group)
            if free < needed:
                paths = " and ".join(path for path, _mebibytes in group)
                raise AccelnetError("boot_space_low", "{0}: {1} MiB are free, {2} MiB are needed".format(paths, free, needed))

    def _arm(self) -> None:
        self._preflight()
        old = self._running_entry()
        if not self._do("pin {0}".format(old["release"])):
            return
        self.record = {
            "version": _VERSION,
            "phase": ARMED,
            "token": uuid.uuid4().hex,
            "boot_id": self.host.boot_id(),
            "loader": self.loader.kind,
            "policy": self.loader.policy(),
            "old": old,
            "trial": None,
            "failed": [],
            "edits": {},
            "sysctls": {path: self.host.value(path) for path in _SYSCTLS},
            "facts": self.host.facts(),
        }
        # The record first: what is not in it could not be undone.
        self.host.remove(files.DECISION)
        self._save()
        try:
            self._protect()
            self.loader.pin(old["entry"])
        except BaseException:
            self._disarm(None)
            raise

    def _need_record(self) -> Dict[str, Any]:
        if self.record is None:
            raise AccelnetError("guard_not_ready", "the guard is not armed")
        return self.record

    # --- Keeping both kernels

    def _protect(self) -> None:
        record = self._need_record()
        releases = [record["old"]["release"]] + ([record["trial"]["release"]] if record["trial"] else [])
        if self.host.program("apt-get"):
            self.host.write(files.APT, files.apt_text(releases))
        self._edit(files.DNF, files.dnf_text)
        self._edit(files.KERNEL_SYSCONFIG, files.sysconfig_text)
        if self.host.exists("/usr/lib/systemd/system/purge-kernels.service"):
            self.host.link(files.PURGE_KERNELS, "/dev/null")

    def _edit(self, path: str, change: Any) -> None:
        """Change a file that is there, so that it can be undone."""
        record = self._need_record()
        before = self.host.read(path)
        if before is None or path in record["edits"]:
            return
        after = change(before)
        if after != before:
            record["edits"][path] = {"before": before, "after": after}
            self._save()
            self.host.write(path, after)

    def _unprotect(self) -> None:
        for path, edit in self._need_record()["edits"].items():
            if self.host.read(path) == edit["after"]:
                self.host.write(path, edit["before"])
            elif self.host.read(path) != edit["before"]:
                self.result["not_restored"].append("{0}: somebody changed it since".format(path))
        self.host.remove(files.APT)
        if os.path.islink(self.host.root + files.PURGE_KERNELS):
            self.host.remove(files.PURGE_KERNELS)

    # --- trial

    def _trial(self) -> None:
        release = self.options.kernel
        if release is None:
            raise AccelnetError("bad_kernel", "a trial needs the release of the kernel")
        phase = self.phase()
        if phase == CONFIRMED:
            self._finish()
            phase = DISARMED
        if phase == FALLING_BACK:
            self._fail_fallen()
        if self.host.release() == release:
            return  # on trial already, or no trial is needed
        if phase == FELL_BACK:
            self._settle_fallen()
        if phase == DISARMED:
            if self.options.check:
                self._would_prepare(release, ["guard:armed"])
                return
            raise AccelnetError("guard_not_ready", "the guard has to be armed before a kernel is tried")
        if phase == ON_TRIAL:
            raise AccelnetError("guard_not_ready", "{0} is on trial already".format(self.host.release()))
        record = self._need_record()
        failed = next((entry for entry in record["failed"] if entry["release"] == release), None)
        if failed and not self.options.retry:
            raise AccelnetError("guard_fell_back", "{0} failed here before: {1}; it is not tried again".format(release, failed["happened"]))
        self._prepare(release, phase)

    def _would_prepare(self, release: str, missing: List[str]) -> None:
        self.result["would_require"] += missing
        self._do("prepare {0}".format(release))
        self.result["reboot_required"] = True

    def _prepare(self, release: str, phase: str) -> None:
        record = self._need_record()
        entry = self.loader.find(release)
        if not self.host.exists("/lib/modules/{0}/modules.dep".format(release)):
            if self.options.check:
                self._would_prepare(release, ["kernel:" + release])
                return
            raise AccelnetError("bad_kernel", "{0} is not installed completely: it has no modules.dep".format(release))
        if entry is None:
            raise AccelnetError("bad_kernel", "the boot loader has no entry for {0}".format(release))
        if not entry.initrd and not _starts_without_initrd(self.loader.entries()):
            raise AccelnetError("bad_kernel", "the entry of {0} has no initramfs, that of the kernel that runs has one".format(release))
        self.result["reboot_required"] = True
        ready = phase == PREPARED and record["trial"]["release"] == release and self.loader.next_once() == record["trial"]["once"]
        if ready or not self._do("prepare {0}".format(release)):
            return
        arguments = _boot_guard.trial_arguments(release, self.host.program("dracut") is not None)
        record.update(phase="trial", boot_id=self.host.boot_id(), facts=self.host.facts())
        record["trial"] = {"release": release, "entry": entry.id, "once": entry.id, "deadline": self.options.deadline}
        record["failed"] = [one for one in record["failed"] if one["release"] != release]
        self.host.remove(files.DECISION)
        self.host.remove(files.BOOTED)
        self._save()
        self._protect()
        self._install()
        self.loader.pin(record["old"]["entry"])
        chosen = self.loader.prepare(entry, arguments)
        record["trial"]["once"] = chosen.id
        self._save()
        # Last of all: from here on the next boot is the trial.
        self.loader.once(chosen.id)

    def _install(self) -> None:
        """The guard itself."""
        record = self._need_record()
        self.host.write(files.RESTORE, files.restore_text(record["token"], self.loader.way_back(record["old"]["entry"])))
        self.host.write(files.SCRIPT, files.SCRIPT_TEXT, 0o755)
        for path, text in files.units(self.options.deadline).items():
            self.host.write(path, text)
        for path, target in files.WANTS.items():
            self.host.link(path, target)
        self._systemctl("daemon-reload")

    def _uninstall(self) -> None:
        self._systemctl("stop", files.TIMER)
        for path in list(files.WANTS) + list(files.units(0)):
            self.host.remove(path)
        self.host.remove(files.SCRIPT)
        self.host.remove(files.RESTORE)
        self._systemctl("daemon-reload")

    def _systemctl(self, *arguments: str) -> None:
        program = self.host.program("systemctl")
        if program:
            self.host.run([program] + list(arguments), fatal=False)

    # --- confirmed

    def _confirmed(self) -> None:
        phase = self.phase()
        if phase == DISARMED:
            return
        record = self._need_record()
        if self.options.token is not None and self.options.token != record["token"]:
            raise AccelnetError("guard_token_stale", "this confirmation is for another arming than the one in force; it does nothing")
        if phase == CONFIRMED:
            self._finish()
        elif phase == FELL_BACK:
            self._settle_fallen()
            self._fail_fallen()
        elif phase == FALLING_BACK:
            self._fail_fallen()
        elif phase == ARMED:
            if self.options.kernel not in (None, self.host.release()):
                raise AccelnetError("guard_not_ready", "{0} does not run, and was not tried".format(self.options.kernel))
            if self._do("disarm"):
                self._disarm(None)
        elif phase == PREPARED:
            raise AccelnetError(
                "guard_not_ready", "the next boot, which is to try {0}, has not come yet".format(record["trial"]["release"])
            )
        else:
            self._judge()

    def _judge(self) -> None:
        """Whether the kernel on trial is good."""
        record = self._need_record()
        if self.options.kernel not in (None, record["trial"]["release"]):
            raise AccelnetError("guard_not_ready", "{0} is on trial, not {1}".format(record["trial"]["release"], self.options.kernel))
        if self.options.check:
            self._do("confirm {0}".format(record["trial"]["release"]))
            return
        worse = self._watch()
        if worse["failed"] or not _boot_guard.tolerable(worse["waiting"]):
            self.result["worse"] = worse["failed"] or worse["waiting"]
            self.host.write_once(files.DECISION, "fell_back {0} {1}\n".format(record["token"], "; ".join(self.result["worse"])))
            self.result.update(changed=True, reboot_required=True)
            self.result["actions"].append("give up {0}".format(record["trial"]["release"]))
            return
        self.result["waited_for"] = worse["waiting"]
        # A decision of an earlier arming says nothing.
        if not self._decision():
            self.host.remove(files.DECISION)
        if not self.host.write_once(files.DECISION, "confirmed {0}\n".format(record["token"])) and self.phase() != CONFIRMED:
            self._fail_fallen()
        self._do("confirm {0}".format(record["trial"]["release"]))
        self._finish()

    def _watch(self) -> Dict[str, List[str]]:
        """Wait for the NICs that were there before, within limits."""
        record = self._need_record()
        begin = time.monotonic()
        left = record["trial"]["deadline"] - _RESERVE - float((self.host.value("/proc/uptime") or "0").split()[0])
        patience = max(min(self.options.function_timeout, left), 0)
        while True:
            worse = _boot_guard.nics_worse(record["facts"], self.host.facts())
            passed = time.monotonic() - begin
            settled = passed > min(_SETTLE, patience)
            if not (worse["failed"] or worse["waiting"]) or (worse["failed"] and settled) or passed > patience:
                return worse
            time.sleep(min(_POLL, patience / 10 + 0.01))

    def _finish(self) -> None:
        """All that follows a confirmation; a run that was cut off is finished by the next one."""
        record = self._need_record()
        on_trial = self.host.release() == record["trial"]["release"]
        self.result["confirmed"] = on_trial
        if not self._do("disarm"):
            return
        self._disarm(record["trial"]["release"])
        if on_trial:
            self._calm_down(record)

    def _calm_down(self, record: Dict[str, Any]) -> None:
        """Set what the arguments of the trial set for this boot to what it was."""
        for path, value in record["sysctls"].items():
            if value and self.host.value(path) != value:
                with contextlib.suppress(OSError), open(self.host.root + path, "w", encoding="ascii") as stream:
                    stream.write(value + "\n")

    def _disarm(self, confirmed: Optional[str]) -> None:
        """Everything as it was before the arming. The record goes last, so that what is cut off can be finished."""
        record = self._need_record()
        self.loader.restore(record["policy"], confirmed)
        self._unprotect()
        self._uninstall()
        # The record before the decision: a confirmation without its record is nothing, the other way round it would be lost.
        for path in (files.BOOTED, files.STATE, files.DECISION):
            self.host.remove(path)
        self.record = None

    # --- Back on the old kernel

    def _story(self) -> str:
        """What is known of how a trial ended."""
        record = self._need_record()
        verdict, told = (self._decision() + ["", ""])[:2]
        if verdict == FELL_BACK and told:
            return told
        if (self.host.read(files.BOOTED) or "").startswith(record["token"]):
            return "it came up, and then crashed or was restarted before it was confirmed"
        return "it never mounted its file systems: a panic, no root, emergency or rescue mode, or the boot loader did not start it"

    def _settle_fallen(self) -> None:
        """Clean up after a trial that failed. The old kernel's entry stays the default: the rule might start the failed one again."""
        record = self._need_record()
        if record["phase"] == FELL_BACK:
            return
        release, story = record["trial"]["release"], self._story()
        self.result["happened"] = story
        if not self._do("clean up after {0}".format(release)):
            return
        self.loader.forget()
        self._uninstall()
        self.loader.pin(record["old"]["entry"])
        record["failed"] = [one for one in record["failed"] if one["release"] != release] + [{"release": release, "happened": story}]
        # A new token: nothing that is still on its way for the failed trial may count for the next one.
        record.update(phase=FELL_BACK, token=uuid.uuid4().hex)
        self._save()
        self.host.remove(files.DECISION)
        self.host.remove(files.BOOTED)

    def _fail_fallen(self) -> None:
        record = self._need_record()
        last = record["failed"][-1] if record["failed"] else {"release": record["trial"]["release"], "happened": self._story()}
        self.result["happened"] = last["happened"]
        raise AccelnetError(
            "guard_fell_back",
            "{0} was tried and failed: {1}. {2} runs".format(last["release"], last["happened"], self.host.release()),
        )

    # --- reverted

    def _reverted(self) -> None:
        if self.record is None:
            self._sweep()
            return
        phase = self.phase()
        record = self._need_record()
        if phase in (ON_TRIAL, FALLING_BACK):
            self.result["reboot_required"] = True
            if phase == ON_TRIAL and self._do("give up {0}".format(record["trial"]["release"])):
                self.host.write_once(files.DECISION, "fell_back {0} somebody asked for it\n".format(record["token"]))
            return
        if phase == FELL_BACK:
            self._settle_fallen()
        failed = [one["release"] for one in record["failed"]]
        if failed and not self.options.force and self._would_boot(record["policy"], failed):
            self.result["not_restored"].append(
                "the default entry: the old rule would boot {0}, which failed; remove that kernel first".format(" or ".join(failed))
            )
            return
        if self._do("disarm"):
            self._disarm(None)

    def _sweep(self) -> None:
        """Without a record only what bears our mark goes."""
        ours = [path for path in list(files.units(0)) + [files.SCRIPT, files.APT, files.STATE] if self.host.exists(path)]
        if not ours or not self._do("remove what bears our mark"):
            return
        self.loader.sweep()
        self._uninstall()
        for path in (files.APT, files.BOOTED, files.STATE, files.DECISION):
            self.host.remove(path)

    def _would_boot(self, policy: Dict[str, Any], failed: List[str]) -> bool:
        """Whether the rule that was there before might boot one of these. It may where it cannot be told."""
        there = [release for release in failed if self.loader.find(release)]
        named = policy["entry"] if policy["rule"] in ("saved", "LoaderEntryDefault") else policy["rule"]
        old = self._need_record()["old"]
        return bool(there) and not (named and (named == old["entry"] or old["release"] in named))


def _starts_without_initrd(entries: List[_boot_guard.Entry]) -> bool:
    """Whether a system of which no entry has an initramfs needs none."""
    return not any(entry.initrd for entry in entries)
