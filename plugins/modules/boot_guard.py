#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: boot_guard
short_description: Try another kernel such that the host comes back if it fails
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Lets a host boot another kernel once, on trial. Unless that is confirmed in time, the host goes back to the kernel that ran before,
    by itself and without network.
  - It does not reboot. RV(reboot_required) says when the host has to be; the role P(accelnet.mana.boot_guard#role) does that.
  - The way is O(state=armed) before the first kernel package is touched, then the installation, O(state=trial), a reboot, and
    O(state=confirmed). From arming to the end the entry of the old kernel is the default of the boot loader, and the new one is booted
    once. So a panic, a missing root file system, emergency mode, a missing network and a power cut all end with the old kernel.
  - When a run was interrupted, the next one with the same states finishes it.
  - A kernel or a boot loader that hangs without any message is out of scope, because nothing on the host can notice it.
  - Works with GRUB (menus of grub-mkconfig, and entry files as on EL) and systemd-boot, on hosts with systemd.
options:
  state:
    description:
      - V(armed) checks that the boot loader can boot an entry once and that there is space for a kernel, records the rule for the default
        entry, makes the entry of the running kernel the default, and keeps that kernel from being removed as no longer needed.
      - V(trial) prepares the next boot, and only that, to start O(kernel). It gets arguments that make it restart where it would wait for
        somebody, and a timer and overrides of emergency and rescue mode bring back the old kernel.
      - V(confirmed) compares the NICs with those before. When they are no worse, it restores the rule for the default entry and removes
        the guard. When they are worse, RV(reboot_required) is true, and the reboot brings back the old kernel. It fails with
        V(guard_fell_back) when the old kernel is back.
      - V(reverted) gives up a trial, restores what was there before and removes the guard. The rule for the default entry stays as
        it is when it would boot a kernel that failed, see O(force).
      - V(told) only tells.
    type: str
    choices: [armed, trial, confirmed, reverted, told]
    required: true
  kernel:
    description:
      - Release of the kernel to try, or to have been tried. Needed with O(state=trial).
      - With O(state=armed) nothing is armed when this kernel runs already.
    type: str
  token:
    description:
      - With O(state=confirmed) the RV(token) of the arming that is meant. A confirmation for another one does nothing and fails
        with V(guard_token_stale).
    type: str
  deadline:
    description: Seconds from the start of the kernel on trial, after which the host goes back unless there was a confirmation.
    type: int
    default: 1500
  function_timeout:
    description:
      - Seconds that O(state=confirmed) waits for NICs, functions and addresses that were there before. It decides before O(deadline)
        in any case.
      - Azure takes virtual functions away for minutes while it services a host. One that is still missing then is unknown, and no failure,
        as long as its driver is installed and the synthetic interface works. A function that is there without driver is one.
    type: int
    default: 600
  boot_space:
    description: MiB that have to be free in C(/boot). The needs of directories on one file system are added.
    type: int
    default: 150
  modules_space:
    description: MiB that have to be free in C(/lib/modules).
    type: int
    default: 400
  esp_space:
    description: MiB that have to be free in the EFI system partition, if it is mounted.
    type: int
    default: 10
  retry:
    description: Try a kernel again that failed before.
    type: bool
    default: false
  force:
    description: With O(state=reverted) restore the rule for the default entry even if it boots a kernel that failed.
    type: bool
    default: false
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
    details:
      - What an earlier task would bring is no error in check mode, RV(would_require) names it.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Arm the guard before any kernel package is touched
  accelnet.mana.boot_guard:
    state: armed

- name: Install the kernel
  ansible.builtin.package:
    name: linux-image-6.12-cloud-amd64

- name: Let the next boot try it
  accelnet.mana.boot_guard:
    state: trial
    kernel: 6.12.117+deb12-cloud-amd64
  register: trial

- name: Boot it
  ansible.builtin.reboot:
    reboot_timeout: 3600
  when: trial.reboot_required

- name: Keep it
  accelnet.mana.boot_guard:
    state: confirmed
    kernel: 6.12.117+deb12-cloud-amd64
    token: "{{ trial.token }}"
"""

RETURN = r"""
phase:
  description:
    - Where the guard stands. V(disarmed); V(armed); V(prepared) for the next boot; V(on_trial); V(falling_back) when it was decided to go
      back and the kernel on trial still runs; V(fell_back) when the old one runs again; V(confirmed) when a confirmation was cut off
      and has to be finished.
  type: str
  returned: always
  sample: on_trial
token:
  description: What tells this arming from others, or V(null).
  type: str
  returned: always
running:
  description: Release of the kernel that runs.
  type: str
  returned: always
old:
  description: The kernel to go back to, with C(release) and C(entry), or V(null).
  type: dict
  returned: always
trial:
  description: The kernel on trial, with C(release), C(entry), C(once) (the entry that is booted once) and C(deadline); or V(null).
  type: dict
  returned: always
default:
  description: What the boot loader does by default, with C(policy), C(entry) and C(release). V(null) where the files do not tell.
  type: dict
  returned: always
confirmed:
  description: Whether the kernel that runs was on trial and is confirmed by this task.
  type: bool
  returned: always
reboot_required:
  description: Whether the host has to be rebooted now, either for the trial or to go back.
  type: bool
  returned: always
worse:
  description: What is worse than before, so that the kernel on trial was given up.
  type: list
  elements: str
  returned: always
waited_for:
  description: Virtual functions that did not come back in time; they are unknown, and no failure.
  type: list
  elements: str
  returned: always
happened:
  description: How the last trial ended, as far as the host can tell; V(null) without one that failed.
  type: str
  returned: always
failed_kernels:
  description: Releases that were tried and failed. They are not tried again without O(retry).
  type: list
  elements: str
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: [pin 6.1.0-56-cloud-amd64]
not_restored:
  description: What could not be restored, and why.
  type: list
  elements: str
  returned: always
would_require:
  description: What has to be there first, in check mode. C(guard:armed), or C(kernel:) followed by a release.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _boot_guard_apply
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError


def diff(before: Dict[str, Any], result: Dict[str, Any], check: bool) -> Dict[str, str]:
    """Phase and default entry; in check mode what would be done."""

    def text(view: Dict[str, Any]) -> str:
        return "phase: {0}\ndefault policy: {1}\ndefault entry: {2}\n".format(
            view["phase"], view["default"]["policy"], view["default"]["entry"]
        )

    planned = "".join("action: {0}\n".format(action) for action in result["actions"]) if check else ""
    return {"before": text(before), "after": text(result) + planned}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["armed", "trial", "confirmed", "reverted", "told"]},
            "kernel": {"type": "str"},
            "token": {"type": "str", "no_log": False},
            "deadline": {"type": "int", "default": 1500},
            "function_timeout": {"type": "int", "default": 600},
            "boot_space": {"type": "int", "default": 150},
            "modules_space": {"type": "int", "default": 400},
            "esp_space": {"type": "int", "default": 10},
            "retry": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        required_if=[("state", "trial", ("kernel",))],
        supports_check_mode=True,
    )
    options = _boot_guard_apply.Options(check=module.check_mode, **module.params)
    if os.geteuid() != 0 and options.state != "told" and not options.check:
        module.fail_json(msg="only root may change what is booted (use become)", reason="guard_failed")
    worker = _boot_guard_apply.Worker(options)
    try:
        before = _boot_guard_apply.Worker(options._replace(state="told")).run()
        worker.run()
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason, **worker.result)
    module.exit_json(diff=diff(before, worker.result, module.check_mode), **worker.result)


if __name__ == "__main__":
    main()
