#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: package_candidates
short_description: Ask which versions of packages the repositories offer
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Asks the package manager of a host which version of each package its configured repositories offer, in one call.
  - Only asks what is cached on the host. Nothing is refreshed, downloaded or installed.
  - Meant for the names that P(accelnet.mana.plan#filter) returns under C(unknown.packages).
options:
  names:
    description:
      - Package names. On RPM systems also C(name-version-release.arch), as packages of one kernel release are named.
    type: list
    elements: str
    required: true
  manager:
    description:
      - The package manager; by default the one that the host has.
    type: str
    choices: [auto, apt, dnf, tdnf, zypper]
    default: auto
  root:
    description:
      - The system to ask for. V(/) is the running host; another directory is a mounted image or chroot that has its own
        repository configuration; a file is a snapshot with recorded answers.
      - No plugin or hook of another root is run. Yet the package manager reads that root's configuration and caches with
        the rights of the remote user, so a root that is not trusted at all is better asked by a user without any.
    type: path
    default: /
extends_documentation_fragment:
  - accelnet.mana.attributes.info
seealso:
  - plugin: accelnet.mana.plan
    plugin_type: filter
    description: Tells which packages have to be asked for.
"""

EXAMPLES = r"""
- name: Ask for what the plan does not know yet
  accelnet.mana.package_candidates:
    names: "{{ plan.unknown.packages }}"
  register: candidates

- name: Plan again with the answers
  ansible.builtin.debug:
    msg: "{{ nic | combine({'packages': candidates.packages}) | accelnet.mana.plan('rdma') }}"
"""

RETURN = r"""
manager:
  description: The package manager that was asked.
  type: str
  returned: success
  sample: apt
packages:
  description:
    - The names that could be asked for, each with the C(version) that would be installed and all C(versions) on offer; or
      V(null) when no repository has it.
  type: dict
  returned: success
  sample: {linux-modules-extra-azure: {version: 6.8.0.1052.54, versions: [6.8.0.1052.54]}, dpdk: null}
unknown:
  description: Names that could not be asked for, because the host never fetched the repositories' lists or the question failed.
  type: list
  elements: str
  returned: success
read_warnings:
  description: Why names stayed unknown.
  type: list
  elements: str
  returned: success
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import List, Optional, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _packages, _platform
from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree


def ask(module: AnsibleModule, tree: Tree, manager: str, root: str, names: List[str]) -> Tuple[_packages.Offers, Optional[str]]:
    """(offers by package, why they are not known)."""
    ways = _packages.MANAGERS[manager]
    if not _packages.lists_present(tree, manager):
        return {}, "{0} never fetched the repositories' lists: {1}".format(manager, ways.remedy)
    root = os.path.realpath(root)
    architecture = None if root == "/" else _platform.architecture(tree)
    command = ways.command(_packages.Question(root, names, module.tmpdir, architecture))
    program = module.get_bin_path(command[0])
    if program is None:
        return {}, "{0} is not installed".format(manager)
    code, out, err = module.run_command([program] + command[1:], environ_update=_packages.ENVIRONMENT)
    if code not in ways.exit_codes:
        return {}, "{0} failed ({1}): {2}".format(manager, code, (err or out).strip()[-500:])
    offers = ways.parse(out, names)
    return offers, None if offers else "the answer of {0} was not understood".format(manager)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "manager": {
                "type": "str",
                "default": "auto",
                "choices": ["auto", "apt", "dnf", "tdnf", "zypper"],
            },
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    names = sorted(set(module.params["names"]))
    bad = [name for name in names if not _packages.is_package_name(name)]
    if bad:
        module.fail_json(msg="not package names: {0}".format(", ".join(map(repr, bad))), reason="bad_package_name")
    root = module.params["root"]
    try:
        tree, answers, _live = _facts.open_tree(root)
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason)
    manager = module.params["manager"]
    if manager == "auto":
        manager = _platform.package_manager(tree)
    result = {"manager": manager, "packages": {}, "read_warnings": []}
    if isinstance(answers, RecordedAnswers):
        recorded = answers.packages()
        result["packages"] = {name: recorded[name] for name in names if name in recorded}
        if len(result["packages"]) < len(names):
            result["read_warnings"].append("the snapshot has no answer for some packages")
    elif manager is None:
        result["read_warnings"].append("no package manager that is known was found")
    elif names:
        result["packages"], fault = ask(module, tree, manager, root, names)
        if fault:
            result["read_warnings"].append(fault)
    result["unknown"] = [name for name in names if name not in result["packages"]]
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
