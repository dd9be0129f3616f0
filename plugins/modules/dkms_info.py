#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: dkms_info
short_description: Tell which DKMS packages are installed in truth
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - For every version of every DKMS package, and every kernel that it was built for, tells what DKMS says and what counts,
    which is the file that modules.dep names for each of its modules, and whether it is the one that was built.
  - The two differ more often than one would think. DKMS leaves modules out that seem to be the kernel's own, an interrupted
    run leaves half of a package, and something else may have put another file first.
  - Works without DKMS, and then finds nothing or what was left behind.
options:
  name:
    description: Only the package of this name.
    type: str
  version:
    description: Only this version.
    type: str
  kernels:
    description: Only builds for these kernel releases. By default those for all kernels.
    type: list
    elements: str
  root:
    description:
      - Directory with the system to look into, such as a mounted image. Of another root than V(/) only the files are read, and
        C(dkms status) is not asked. To ask in a chroot, run the module there, with a connection plugin for chroots.
    type: path
    default: /
extends_documentation_fragment:
  - accelnet.mana.attributes.info
seealso:
  - module: accelnet.mana.dkms
    description: Installs and removes DKMS packages.
"""

EXAMPLES = r"""
- name: Look at the backported driver
  accelnet.mana.dkms_info:
    name: mana-backport
  register: backport

- name: Both modules of the running kernel must be ours
  ansible.builtin.assert:
    that: >-
      backport.packages | map(attribute='builds') | flatten | selectattr('kernel', 'eq', ansible_facts.kernel)
      | selectattr('state', 'eq', 'installed') | length == 1
"""

RETURN = r"""
dkms_version:
  description: The version of DKMS, or V(null) where it is not installed or another root was looked into.
  type: str
  returned: success
  sample: 3.0.10
packages:
  description: Every version of every package that DKMS has something of, sorted by name and version.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the package.
      type: str
      sample: mana-backport
    version:
      description: Its version.
      type: str
      sample: 6.12.117
    source:
      description: Where its source is. V(null) when it is missing, so that DKMS can do nothing with it.
      type: str
      sample: /usr/src/mana-backport-6.12.117
    state:
      description: The highest state of its builds, V(added) without any, V(broken) without source.
      type: str
      sample: installed
    status:
      description: What C(dkms status) says of the version as a whole, V(added) or V(broken), else V(null).
      type: str
    builds:
      description: What was built, by kernel and architecture.
      type: list
      elements: dict
      contains:
        kernel:
          description: Kernel release.
          type: str
          sample: 6.1.0-56-cloud-amd64
        arch:
          description: Architecture as DKMS names it.
          type: str
          sample: x86_64
        state:
          description:
            - What counts. V(installed) when modules.dep names the files of this very build for every module, V(built) when all modules
              are there, V(incomplete) when some are missing, cut off or for another kernel.
          type: str
          sample: installed
        disk:
          description: What the files below C(/var/lib/dkms) say, with the same words. V(installed) here only means that DKMS thinks so.
          type: str
          sample: installed
        status:
          description: What C(dkms status) says, or V(null).
          type: str
          sample: installed
        remarks:
          description: What C(dkms status) adds in brackets, but for the original module.
          type: list
          elements: str
          sample: ["WARNING! Diff between built and installed module!"]
        original_module:
          description: Whether DKMS keeps the kernel's own module, to put it back later.
          type: bool
        source_digest:
          description: SHA-256 of the source that it was built from, when M(accelnet.mana.dkms) built it.
          type: str
        modules:
          description:
            - For each module its C(name), whether it is C(builtin) in the kernel, the C(built) and the C(resolved) file, and whether
              the latter is C(ours), the same build. Files have C(path), C(srcversion), C(version), C(vermagic), C(signer) and
              C(sha256), that of the module without compression and signature.
          type: list
          elements: dict
read_warnings:
  description: What could not be read, and what C(dkms status) had to say besides its list.
  type: list
  elements: str
  returned: success
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _dkms, _dkms_commands, _dkms_host


def add_status(packages: List[Dict[str, Any]], lines: List[_dkms.Status]) -> None:
    """What dkms says, beside what was read."""
    for package in packages:
        own = [line for line in lines if (line.name, line.version) == (package["name"], package["version"])]
        package["status"] = next((line.state for line in own if line.kernel is None), None)
        for build in package["builds"]:
            line = next((line for line in own if (line.kernel, line.arch) == (build["kernel"], build["arch"])), None)
            build["status"] = line.state if line else None
            build["remarks"] = line.remarks if line else []
            build["original_module"] = build["original_module"] or bool(line and line.original)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "version": {"type": "str"},
            "kernels": {"type": "list", "elements": "str"},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    root = module.params["root"]
    if not os.path.isdir(root):
        module.fail_json(msg="{0}: is no directory".format(root), reason="bad_root")
    look = _dkms_host.reader(root)
    packages = [
        look.package(name, version, module.params["kernels"])
        for name in look.names()
        for version in look.versions(name)
        if module.params["name"] in (None, name) and module.params["version"] in (None, version)
    ]
    live = os.path.realpath(root) == "/"
    program = _dkms_commands.find_dkms() if live else None
    warnings = list(look.tree.warnings)
    text = _dkms_commands.dkms_status(program) if program else ""
    lines = _dkms.parse_status(text)
    add_status(packages, lines)
    warnings += [line.strip() for line in text.splitlines() if line.strip() and not _dkms.parse_status(line)]
    if live and program is None:
        warnings.append("dkms is not installed")
    version = _dkms_commands.dkms_version(program) if program else None
    module.exit_json(changed=False, dkms_version=version, packages=packages, read_warnings=warnings)


if __name__ == "__main__":
    main()
