#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: snapshot
short_description: Record what nic_info reads of a host, without what identifies it
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Returns one object with all that M(accelnet.mana.nic_info) reads of a host, so that it can be read again anywhere by
    giving its file as O(accelnet.mana.nic_info#module:root). Made for bug reports and test fixtures.
  - Only paths of an allow-list are recorded; command lines and modprobe.d files are reduced to what decisions need.
  - MAC addresses (also inside GUIDs and IPv6 addresses), IP addresses, UUIDs, the host's name and names that people gave to
    interfaces become pseudonyms. The key of the pseudonyms is thrown away.
  - Read the result before you give it away all the same.
options:
  root:
    description: What to record, as for M(accelnet.mana.nic_info).
    type: path
    default: /
  description:
    description: One sentence on what the snapshot shows.
    type: str
    default: ''
  names:
    description: Further names that must not occur in the snapshot, such as those of the organisation.
    type: list
    elements: str
    default: []
  packages:
    description:
      - Answers of M(accelnet.mana.package_candidates) to keep with the snapshot, so that its plan is certain.
    type: dict
    default: {}
  dest:
    description:
      - Directory on the controller to keep the snapshot in, as a file that only its owner can read. A relative path is
        below the directory in which ansible was started. The directory is made when it does not exist.
      - The file's name starts with that of the host as far as that can be a file name, and no two hosts have the same.
    type: path
extends_documentation_fragment:
  - accelnet.mana.attributes.info
attributes:
  check_mode:
    description: Can run in check mode and tell what would happen, without touching the host.
    support: full
    details:
      - Reads the host, does not write the file of O(dest), and returns its path.
  idempotent:
    description: Changes nothing when it is run again.
    support: partial
    details:
      - Hosts are only read. With O(dest) each run writes the file again, as its pseudonyms are new.
  action:
    description: Has a part that runs on the controller.
    support: full
    details:
      - It writes the file of O(dest).
seealso:
  - module: accelnet.mana.nic_info
"""

EXAMPLES = r"""
- name: Record this host
  accelnet.mana.snapshot:
    description: eth1 stays synthetic after a redeploy
    dest: accelnet-snapshots
  register: recorded

- name: Look at what was recorded, anywhere
  accelnet.mana.nic_info:
    root: "{{ recorded.path }}"
  delegate_to: localhost
"""

RETURN = r"""
snapshot:
  description: The snapshot, with C(snapshot_version), C(provenance), C(description), C(sources), C(files) and C(answers).
  type: dict
  returned: success and O(dest) is not given
path:
  description: The file on the controller.
  type: str
  returned: success and O(dest) is given
  sample: /home/me/accelnet-snapshots/web1-659a7fb2af476fae.json
read_warnings:
  description: What could not be read, or was malformed.
  type: list
  elements: str
  returned: success
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import Any, Dict, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _pseudonyms, _record, _snapshot
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree


def record(root: str, description: str, names: List[str], packages: Dict[str, Any]) -> Tuple[Dict[str, Any], List[str]]:
    """(snapshot, warnings) of a root. Raises AccelnetError."""
    tree, answers, live = _facts.open_tree(root)
    backend, asked = _record.RecordingBackend(tree.backend), _record.RecordingAnswers(answers)
    recording = Tree(backend)
    facts = _facts.collect_from(recording, asked, live)
    snapshot = {
        "snapshot_version": _snapshot.VERSION,
        "provenance": "recorded",
        "description": description,
        "sources": [],
        "files": backend.files,
        "answers": dict(asked.recorded, packages=packages),
    }
    if live:
        host = os.uname().nodename
        names = names + [host, host.split(".")[0]]
    names = names + [(tree.value("/etc/hostname") or "")]
    return _pseudonyms.pseudonymise(snapshot, names, _pseudonyms.Pseudonyms()), facts["read_warnings"] + tree.warnings


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "description": {"type": "str", "default": ""},
            "names": {"type": "list", "elements": "str", "default": []},
            "packages": {"type": "dict", "default": {}},
            "dest": {"type": "path"},  # for the action plugin of the same name, which does not pass it on
        },
        supports_check_mode=True,
    )
    values = module.params
    try:
        snapshot, warnings = record(values["root"], values["description"], values["names"], values["packages"])
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason)
    module.exit_json(changed=False, snapshot=snapshot, read_warnings=warnings)


if __name__ == "__main__":
    main()
