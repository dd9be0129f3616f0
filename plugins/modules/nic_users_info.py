#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nic_users_info
short_description: Show who uses the interfaces of a host
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Reads what has to be known before an interface may be taken from the kernel. That is the local addresses of established ssh connections,
    where the kernel sends packets to Azure's own services, the default routes, and which interface is stacked upon which.
  - Needs root privileges for the connections of others; without them RV(ssh_addresses) is V(null), which is unknown and not empty.
extends_documentation_fragment:
  - accelnet.mana.attributes.info
seealso:
  - plugin: accelnet.mana.dpdk_ports
    plugin_type: filter
    description: Decides with it which NICs may be given to user space.
"""

EXAMPLES = r"""
- name: See who uses the NICs
  accelnet.mana.nic_users_info:
  register: users
"""

RETURN = r"""
interfaces:
  description:
    - Every interface with C(interface), C(mac), whether it is C(physical), its C(master), the C(lowers) that it is stacked upon, and
      its C(addresses).
  type: list
  elements: dict
  returned: always
ssh_addresses:
  description: Local addresses of the established connections of ssh servers, the one that this module came by among them.
  type: list
  elements: str
  returned: always
platform_routes:
  description:
    - For 168.63.129.16 and 169.254.169.254 the interface that leads there, as a list that is empty without a route.
    - V(null) when the kernel did not answer.
  type: dict
  returned: always
default_routes:
  description: The interfaces of default routes, of all tables.
  type: list
  elements: str
  returned: always
read_warnings:
  description: What could not be read.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _uses


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    tree, answers, _live = _facts.open_tree("/")
    users = _uses.read_users(tree, answers)
    module.exit_json(changed=False, read_warnings=tree.warnings, **users)


if __name__ == "__main__":
    main()
