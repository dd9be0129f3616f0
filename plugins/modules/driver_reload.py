#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: driver_reload
short_description: Swap the MANA drivers in memory for those on disk, as one transaction of the host
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Unloads C(mana_ib) and C(mana) and loads what the running kernel's module index names now. The host does it by itself, in
    a transient systemd unit, so that a connection that breaks meanwhile harms nothing.
  - The unit waits until every NIC is back, with carrier where it was up before, gives NICs without a synthetic partner their
    addresses and routes again, and then waits to be confirmed. On any error, or when nobody confirms in time, it loads the
    drivers that the distribution delivered with the kernel.
  - So it takes two calls, O(state=started) and O(state=confirmed), with M(ansible.builtin.wait_for_connection) between them.
  - Asking for what is in memory already changes nothing. Whether that is so is decided by the build, as far as the kernel tells.
options:
  state:
    description:
      - V(started) begins the swap and returns at once.
      - V(confirmed) waits until the drivers are loaded, and confirms. It fails when they were taken back.
    type: str
    choices: [started, confirmed]
    required: true
  modules:
    description: What is to be in memory afterwards.
    type: list
    elements: str
    choices: [mana, mana_ib]
    default: [mana, mana_ib]
  mode:
    description:
      - V(safe) refuses while a program holds a verbs device, while a NIC is in use by user space, and for a NIC without a
        synthetic partner that carries the connection or the default route.
      - V(force) does it all the same, but never while a module is held by a program, which the kernel refuses.
    type: str
    choices: [safe, force]
    default: safe
  token:
    description: What O(state=started) has returned. Another token confirms nothing.
    type: str
  timeout:
    description: How long the NICs may take to come back, in seconds.
    type: int
    default: 120
  confirm_timeout:
    description: How long the host waits for O(state=confirmed) before it takes the swap back, in seconds.
    type: int
    default: 180
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    support: full
    platforms: linux
  idempotent:
    support: full
seealso:
  - module: accelnet.mana.dkms
    description: Builds and installs the drivers.
"""

EXAMPLES = r"""
- name: Begin to swap the drivers
  accelnet.mana.driver_reload:
    state: started
  register: swap

- name: Wait for the host
  ansible.builtin.wait_for_connection:
  when: swap is changed

- name: Confirm that the host can be reached
  accelnet.mana.driver_reload:
    state: confirmed
    token: "{{ swap.token }}"
  when: swap is changed
"""

RETURN = r"""
token:
  description: Names this swap. Empty when there is nothing to swap, and in check mode.
  type: str
  returned: when O(state=started)
unit:
  description: The transient systemd unit; its log is in the journal.
  type: str
  returned: when a swap was started
loaded:
  description: By module whether it was in memory.
  type: dict
  returned: when O(state=started)
would_require:
  description: In check mode, modules that an earlier task would bring.
  type: list
  elements: str
  returned: when there are any
result:
  description: How the swap ended, in words. Begins with V(confirmed), V(reverted) or V(failed).
  type: str
  returned: when O(state=confirmed)
reason:
  description: The reason code of a failure, V(reload_refused), V(reload_reverted) or V(bad_token).
  type: str
  returned: on failure
obstacles:
  description: Why the swap would not be safe.
  type: list
  elements: str
  returned: when V(reload_refused)
"""

import binascii
import os
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _driver_reload as reload
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

POLL = 0.5


def _write(path: str, text: str, mode: int) -> None:
    temporary = path + ".new"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(temporary, mode)
    os.rename(temporary, path)


def _state(directory: str) -> str:
    try:
        with open(os.path.join(directory, "state"), encoding="utf-8") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return "starting"


def _unfinished() -> List[str]:
    """Directory names of swaps that have not ended."""
    if not os.path.isdir(reload.STATE_DIRECTORY):
        return []
    names = [name for name in os.listdir(reload.STATE_DIRECTORY) if reload.is_token(name)]
    return [name for name in names if _state(os.path.join(reload.STATE_DIRECTORY, name)).split(":")[0] not in reload.FINAL]


def _start(module: AnsibleModule) -> None:
    facts = _facts.collect("/", None, None, ["nics", "kernels"])
    running: Dict[str, Any] = next((kernel for kernel in facts["kernels"] if kernel["running"]), {})
    if not running:
        module.fail_json(msg="the running kernel has no modules below /lib/modules", reason="bad_kernel")
    wanted = [name for name in reversed(reload.MODULES) if name in module.params["modules"]]
    loaded = {name: bool(running["modules"][name]["loaded"]) for name in reload.MODULES}
    absent = [name for name in wanted if running["modules"][name]["state"] != "module"]
    if absent and module.check_mode:
        module.exit_json(changed=True, token="", loaded=loaded, would_require=["module:" + name for name in absent])
    if absent:
        module.fail_json(
            msg="{0}: not a module of {1}, nothing can be loaded".format(", ".join(absent), running["release"]), reason="reload_refused"
        )
    if all(reload.is_current(running["modules"][name]) for name in wanted):
        module.exit_json(changed=False, token="", loaded=loaded)
    nics = facts["nics"]
    if module.params["mode"] == "safe":
        protected = _protected(nics)
        found = reload.obstacles(nics, reload.users_of_verbs(), protected)
        if found:
            module.fail_json(msg="The drivers are in use: {0}".format("; ".join(found)), reason="reload_refused", obstacles=found)
    if module.check_mode:
        module.exit_json(changed=True, token="", loaded=loaded)
    token = binascii.hexlify(os.urandom(8)).decode("ascii")
    directory = os.path.join(reload.STATE_DIRECTORY, token)
    for folder, mode in ((os.path.dirname(reload.SCRIPT_PATH), 0o755), (reload.STATE_DIRECTORY, 0o700), (directory, 0o700)):
        if not os.path.isdir(folder):
            os.makedirs(folder, mode)
    _write(reload.SCRIPT_PATH, reload.SCRIPT, 0o755)
    previous = reload.in_tree_files("/lib/modules/" + running["release"], [name for name in reload.MODULES if loaded[name]])
    values = {
        "token": token,
        "macs": [nic["mac"] for nic in nics or [] if nic["kind"] == "mana" and nic["vf"] and nic["use"] == "kernel"],
        "unload": [name for name in reload.MODULES if loaded[name]],
        "load": wanted,
        # In the order in which they are to be loaded. What is not in the tree is found by name.
        "fallback": [previous[name] for name in reversed(reload.MODULES) if name in previous],
        "fallback_names": [name for name in reversed(reload.MODULES) if loaded[name] and name not in previous],
        "timeout": module.params["timeout"],
        "confirm": module.params["confirm_timeout"],
    }
    _write(os.path.join(directory, "job"), reload.job(values), 0o600)
    unit = "accelnet-driver-reload-{0}".format(token)
    command = ["systemd-run", "--unit", unit, "--collect", "--property=KillMode=mixed", reload.SCRIPT_PATH, directory]
    rc, out, err = module.run_command(command, environ_update={"LC_ALL": "C"})
    if rc != 0:
        module.fail_json(msg="systemd-run failed: {0}".format((err or out).strip()), reason="reload_refused")
    module.exit_json(changed=True, token=token, unit=unit, loaded=loaded)


def _protected(nics: Optional[List[Dict[str, Any]]]) -> List[str]:
    """MACs of the NICs that hold a local address of an established ssh connection."""
    address = (os.environ.get("SSH_CONNECTION") or "").split()
    local = address[2] if len(address) == 4 else None
    return [nic["mac"] for nic in nics or [] if local in [entry.split("/")[0] for entry in nic["addresses"] or []]]


def _confirm(module: AnsibleModule) -> None:
    token = module.params["token"] or ""
    directory = os.path.join(reload.STATE_DIRECTORY, token)
    if not reload.is_token(token) or not os.path.isdir(directory):
        module.fail_json(msg="no swap of the drivers has the token {0!r}".format(token), reason="bad_token")
    if _state(directory) == reload.CONFIRMED:
        module.exit_json(changed=False, result=reload.CONFIRMED)
    if module.check_mode:
        module.exit_json(changed=True, result=_state(directory))
    deadline = time.monotonic() + module.params["timeout"] + module.params["confirm_timeout"]
    while time.monotonic() < deadline:
        state = _state(directory)
        if state.split(":")[0] in reload.FINAL:
            break
        if state == reload.LOADED:
            _write(os.path.join(directory, "confirm"), token, 0o600)
        time.sleep(POLL)
    state = _state(directory)
    if state != reload.CONFIRMED:
        module.fail_json(msg="The swap of the drivers was taken back: {0}".format(state), reason="reload_reverted", result=state)
    module.exit_json(changed=True, result=state)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "confirmed"], "required": True},
            "modules": {"type": "list", "elements": "str", "choices": ["mana", "mana_ib"], "default": ["mana", "mana_ib"]},
            "mode": {"type": "str", "choices": ["safe", "force"], "default": "safe"},
            "token": {"type": "str", "no_log": False},
            "timeout": {"type": "int", "default": 120},
            "confirm_timeout": {"type": "int", "default": 180},
        },
        required_if=[("state", "confirmed", ["token"])],
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "confirmed":
            _confirm(module)
        busy = _unfinished()
        if busy:
            module.fail_json(msg="Another swap of the drivers is under way: {0}".format(", ".join(busy)), reason="reload_refused")
        _start(module)
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason)


if __name__ == "__main__":
    main()
