#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: driver_override
short_description: Give a PCI or VMBus device a driver, now and at every boot
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Sets the C(driver_override) of one device, binds it, reads back what the kernel made of it, and keeps it over reboots.
  - PCI devices are left to C(driverctl), which has to be installed.
  - VMBus devices are bound by a systemd unit of this collection, C(accelnet-vmbus-override.service), before anything configures the
    network. What driverctl sets on VMBus does not survive a reboot.
  - Only the device that is named is bound. Nothing is written to C(new_id), which would be for all devices of a class.
  - This module does not ask who uses the device. The role P(accelnet.mana.dpdk_port#role) does, so use that for NICs.
options:
  bus:
    description: The bus of the device.
    type: str
    choices: [pci, vmbus]
    required: true
  device:
    description: The PCI address, such as V(7870:00:00.0), or the GUID of the VMBus device, in lower case without braces.
    type: str
    required: true
  driver:
    description: The driver that it is to have. Required with O(state=present).
    type: str
  state:
    description: V(absent) unsets the override, and lets the kernel choose the driver again.
    type: str
    choices: [present, absent]
    default: present
  root:
    description:
      - The system to change. Below another directory than V(/) its C(sys) is used, and neither driverctl nor modprobe is run.
    type: path
    default: /
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
- name: Give a synthetic interface to user space
  accelnet.mana.driver_override:
    bus: vmbus
    device: f8615163-0001-1000-2000-0022487143aa
    driver: uio_hv_generic

- name: Give it back to the kernel
  accelnet.mana.driver_override:
    bus: vmbus
    device: f8615163-0001-1000-2000-0022487143aa
    state: absent
"""

RETURN = r"""
before:
  description:
    - Whether the device is C(present), its C(driver) and C(driver_override), and the driver that it gets at C(boot).
  type: dict
  returned: always
after:
  description: The same afterwards. In check mode what it was before.
  type: dict
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
would_require:
  description: What has to be there first, in check mode. Any of C(driverctl) and C(device).
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _override
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bus": {"type": "str", "required": True, "choices": ["pci", "vmbus"]},
            "device": {"type": "str", "required": True},
            "driver": {"type": "str"},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "root": {"type": "path", "default": "/"},
        },
        required_if=[("state", "present", ["driver"])],
        supports_check_mode=True,
    )
    bus, device = module.params["bus"], module.params["device"]
    driver = module.params["driver"] if module.params["state"] == "present" else None
    system = System(module.params["root"], module.check_mode)
    result: Dict[str, Any] = {"would_require": []}
    failure = None
    try:
        _override.check_names(bus, device, driver)
        result["before"] = _override.state_of(system, bus, device)
        result["would_require"] = _override.set_override(system, bus, device, driver)
    except AccelnetError as error:
        failure = error
    except OSError as error:
        failure = AccelnetError("bind_failed", str(error))
    result.update(actions=system.actions, changed=system.changed)
    if failure is not None:
        module.fail_json(msg=failure.message, reason=failure.reason, **result)
    result["after"] = _override.state_of(system, bus, device)
    module.exit_json(diff=system.diff(), **result)


if __name__ == "__main__":
    main()
