#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: dpdk_port
short_description: Give NICs to user space for good, or back to the kernel
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Makes DPDK have the NICs that are named by MAC, now and after every reboot. In mode C(netvsc) the VMBus device is bound to
    C(uio_hv_generic); in both modes the virtual function stays with its driver, is down, and is left alone by udev, systemd-networkd,
    NetworkManager and wicked.
  - Reserves huge pages, loads verbs drivers at boot, and writes the EAL arguments to C(/run/accelnet/eal) at every boot.
  - What was there before is recorded in C(/var/lib/accelnet/dpdk_port.json) before the first change. After a failure all is undone.
  - This module does not ask who uses a NIC. P(accelnet.mana.dpdk_ports#filter) does, and the role P(accelnet.mana.dpdk_port#role) puts both
    together; use that.
options:
  ports:
    description:
      - C(ports) of P(accelnet.mana.dpdk_ports#filter). NICs that user space has already, and that are not named, stay with it.
    type: list
    elements: dict
    default: []
    suboptions:
      mac:
        description: The MAC address.
        type: str
        required: true
      mode:
        description: What DPDK gets, the synthetic interface and its virtual function, or the latter alone.
        type: str
        choices: [netvsc, mana]
        default: netvsc
      kind:
        description: What the virtual function is. Not used.
        type: str
      interfaces:
        description: Names of its interfaces.
        type: list
        elements: str
        default: []
      vmbus_device:
        description: GUID of its VMBus device.
        type: str
      pci_address:
        description: Address of its function. Not used, it may change.
        type: str
  macs:
    description:
      - With O(state=absent), MAC addresses of the NICs that go back, by default all. When none is left the huge pages go too.
    type: list
    elements: str
    default: []
  modules:
    description: Verbs drivers to load, now and at boot.
    type: list
    elements: str
    default: []
  hugepages_mb:
    description: Huge pages in MiB that each NUMA node has to have. More that is there stays. V(0) leaves them alone.
    type: int
    default: 0
  hugepages_kb:
    description: Size of the pages in kB. By default 2048 where the host has it, else its smallest.
    type: int
  hugepages_share:
    description: The share of a node's memory that huge pages of all sizes may have.
    type: float
    default: 0.5
  cloud_init:
    description: Whether cloud-init may be told to leave the network alone, and netplan to wait for none of these NICs.
    type: bool
    default: false
  eal_name:
    description: Name of the set of NICs, and of the files in C(/run/accelnet/eal).
    type: str
    default: default
  state:
    description: V(absent) gives NICs back to the kernel, and restores what was before.
    type: str
    choices: [present, absent]
    default: present
  root:
    description: The system to change. Below another directory than V(/) no command is run.
    type: path
    default: /
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: Give two NICs to DPDK
  accelnet.mana.dpdk_port:
    ports: "{{ decision.ports }}"
    modules: "{{ decision.modules }}"
    hugepages_mb: 1024

- name: Give all of them back
  accelnet.mana.dpdk_port:
    state: absent
"""

RETURN = r"""
ports:
  description: The NICs that user space has afterwards, as recorded.
  type: list
  elements: dict
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
commands:
  description: The commands that were run, or in check mode would be.
  type: list
  elements: list
  returned: always
hugepages:
  description: The pools afterwards, with C(size_kb), C(node) and C(total).
  type: list
  elements: dict
  returned: always
remarks:
  description: What this module does not change and somebody has to know.
  type: list
  elements: str
  returned: always
not_restored:
  description: What could not be given back.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import re
import sys
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _hugepages, _port_apply
from ansible_collections.accelnet.mana.plugins.module_utils._names import is_guid, is_interface, normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System

PORT = {
    "mac": {"type": "str", "required": True},
    "mode": {"type": "str", "choices": ["netvsc", "mana"], "default": "netvsc"},
    "kind": {"type": "str"},
    "interfaces": {"type": "list", "elements": "str", "default": []},
    "vmbus_device": {"type": "str"},
    "pci_address": {"type": "str"},
}


def check(params: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The ports with MACs in their normal form. Raises AccelnetError: bad_mac, bad_device."""
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z", params["eal_name"]):
        raise AccelnetError("bad_device", "{0!r} is no name for a file".format(params["eal_name"]))
    for name in params["modules"]:
        if not re.match(r"[a-z0-9_]{1,63}\Z", name):
            raise AccelnetError("bad_device", "{0!r} is no module".format(name))
    ports = []
    for port in params["ports"]:
        mac = normal_mac(port["mac"])
        if mac is None:
            raise AccelnetError("bad_mac", "{0!r} is not a MAC address".format(port["mac"]))
        if port["vmbus_device"] and not is_guid(port["vmbus_device"]):
            raise AccelnetError("bad_device", "{0!r} is not a GUID".format(port["vmbus_device"]))
        if not all(is_interface(name) for name in port["interfaces"]):
            raise AccelnetError("bad_device", "{0}: not all of {1} are names of interfaces".format(mac, port["interfaces"]))
        ports.append(dict(port, mac=mac))
    return ports


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "dict", "options": PORT, "default": []},
            "macs": {"type": "list", "elements": "str", "default": []},
            "modules": {"type": "list", "elements": "str", "default": []},
            "hugepages_mb": {"type": "int", "default": 0},
            "hugepages_kb": {"type": "int"},
            "hugepages_share": {"type": "float", "default": 0.5},
            "cloud_init": {"type": "bool", "default": False},
            "eal_name": {"type": "str", "default": "default"},
            "state": {"type": "str", "default": "present", "choices": ["present", "absent"]},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    params = module.params
    system = System(params["root"], module.check_mode)
    failure = None
    worker = None
    try:
        ports = check(params)
        worker = _port_apply.Ports(system)
        if params["state"] == "present":
            options = _port_apply.Options(
                ports=ports,
                python=_port_apply.python_of(system, sys.executable),
                **{name: params[name] for name in _port_apply.Options._fields if name not in ("ports", "python")},
            )
            worker.give(options)
        else:
            macs = [normal_mac(text) or "" for text in params["macs"]]
            if "" in macs:
                raise AccelnetError("bad_mac", "{0} are not all MAC addresses".format(params["macs"]))
            worker.take_back(macs)
    except AccelnetError as error:
        failure = error
    result = {
        "changed": system.changed,
        "actions": system.actions,
        "commands": system.commands,
        "ports": worker.record["ports"] if worker else [],
        "hugepages": _hugepages.describe(_hugepages.read_pools(system)),
        "remarks": worker.warnings if worker else [],
        "not_restored": worker.not_restored if worker else [],
    }
    if failure is not None:
        module.fail_json(msg=failure.message, reason=failure.reason, **result)
    module.exit_json(diff=system.diff(), **result)


if __name__ == "__main__":
    main()
