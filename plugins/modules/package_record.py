#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: package_record
short_description: Remember which packages a role brings, and take them away again
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Stands before and after the task that installs packages, and keeps in a file on the host what came with it, dependencies too.
  - O(state=absent) removes what came and was not there before. What others need by now stays, and so does the kernel that runs; that
    is told.
options:
  path:
    description: The record on the host.
    type: path
    required: true
  state:
    description:
      - V(begin) remembers what is installed, V(end) keeps what came since, V(absent) takes that away and removes the record.
    type: str
    choices: [begin, end, absent]
    required: true
  names:
    description:
      - With O(state=begin), the packages that are going to be installed. If that is interrupted, only these are taken to be what came.
    type: list
    elements: str
    default: []
  mask:
    description: With O(state=end), systemd units to mask where they exist. They are unmasked with O(state=absent).
    type: list
    elements: str
    default: []
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
"""

EXAMPLES = r"""
- name: Remember what is installed
  accelnet.mana.package_record:
    path: /var/lib/accelnet/dpdk.json
    state: begin
    names: [dpdk]

- name: Install DPDK
  ansible.builtin.package:
    name: dpdk

- name: Keep what came
  accelnet.mana.package_record:
    path: /var/lib/accelnet/dpdk.json
    state: end
"""

RETURN = r"""
packages:
  description: What the role brought, each package with the version that was there before, or V(null).
  type: dict
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
not_restored:
  description: What could not be taken away.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _package_record
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": ["begin", "end", "absent"]},
            "names": {"type": "list", "elements": "str", "default": []},
            "mask": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    system = System("/", module.check_mode)
    record = None
    failure = None
    try:
        record = _package_record.Record(system, module.params["path"])
        if module.params["state"] == "begin":
            record.begin(module.params["names"])
        elif module.params["state"] == "end":
            record.end(module.params["mask"])
        else:
            record.take_away()
    except AccelnetError as error:
        failure = error
    result = {
        "changed": system.changed,
        "actions": system.actions,
        "packages": record.data.get("packages", {}) if record else {},
        "not_restored": record.not_restored if record else [],
    }
    if failure is not None:
        module.fail_json(msg=failure.message, reason=failure.reason, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
