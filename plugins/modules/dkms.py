#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: dkms
short_description: Build and install kernel modules with DKMS, and prove it
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Adds, builds, installs and removes a version of a DKMS package, for any kernels that are installed, running or not.
  - Neither the exit status nor the word of DKMS is trusted. A package is installed when modules.dep names the file of this very build for
    every one of its modules. When DKMS leaves a module out because the kernel's own seems the same to it, it is forced.
  - Everything is built before anything that is there is touched. What fails later is undone, so that the host has the modules that it had
    before. What an interrupted run left behind is repaired by the next one.
  - No signing key is generated on the host. A key that DKMS finds is used.
  - Nothing is loaded, and no initramfs is refreshed. RV(initramfs_stale) names the kernels whose initramfs has to be.
options:
  name:
    description: Name of the package, C(PACKAGE_NAME) in its dkms.conf.
    type: str
    required: true
  version:
    description: Version of the package, C(PACKAGE_VERSION) in its dkms.conf.
    type: str
    required: true
  source:
    description:
      - The source on the host, a directory or a tar archive (plain, gz, bz2 or xz) with a dkms.conf at its top or one folder below.
      - It is copied to C(/usr/src). If another source of this version is there, it is replaced, and whatever was built from it is
        built again.
      - By default the source that is in C(/usr/src) is used as it is.
    type: path
  kernels:
    description:
      - Kernel releases to build for. By default the running one; with O(state=absent) all.
    type: list
    elements: str
  arch:
    description: Architecture as DKMS names it. By default that of the machine.
    type: str
  state:
    description:
      - The state for each of the O(kernels). A higher state satisfies a lower one.
      - V(added) registers the source, so that DKMS builds it for new kernels. V(built) also builds, V(installed) also installs.
      - V(absent) removes this version from O(kernels), and altogether when it is left on no other. Source that was not put there by this
        module stays.
    type: str
    choices: [added, built, installed, absent]
    default: installed
  force:
    description: Build and install again even if nothing asks for it.
    type: bool
    default: false
  replace:
    description:
      - When this version is in place, remove other versions of the package from O(kernels). By default they are only reported
        in RV(other_versions).
    type: bool
    default: false
  timeout:
    description: Seconds that one command of DKMS may take.
    type: int
    default: 1800
  lock_timeout:
    description: Seconds to wait for another run of this module, or for a DKMS that somebody else started, to end.
    type: int
    default: 600
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
    support: partial
    details:
      - Not with O(force=true).
seealso:
  - module: accelnet.mana.dkms_info
    description: Tells what is installed in truth.
"""

EXAMPLES = r"""
- name: Give two kernels the backported driver
  accelnet.mana.dkms:
    name: mana-backport
    version: 6.12.117
    source: /var/cache/accelnet/mana-backport-6.12.117.tar.gz
    kernels:
      - 6.1.0-56-cloud-amd64
      - 6.1.0-50-cloud-amd64
  register: backport

- name: Refresh the initramfs of the kernels that load other modules now
  ansible.builtin.command:
    cmd: "update-initramfs -u -k {{ item }}"
  loop: "{{ backport.initramfs_stale }}"
  changed_when: true

- name: Go back to the distribution's driver
  accelnet.mana.dkms:
    name: mana-backport
    version: 6.12.117
    state: absent
"""

RETURN = r"""
kernels:
  description:
    - For each kernel its C(release), C(arch), and the state C(before) and C(after), with C(state), C(active_version) (which DKMS
      takes for installed) and C(modules), the file that modprobe would load for each module of the package, with C(path),
      C(srcversion), C(version), C(vermagic), C(signer), C(sha256), and whether it is C(ours), of this build. In check mode the
      modules afterwards are V(null) where they would change.
  type: list
  elements: dict
  returned: always
kernels_changed:
  description: Kernel releases that would load other module files than before.
  type: list
  elements: str
  returned: always
initramfs_stale:
  description:
    - Kernel releases whose initramfs has to be refreshed, because modules changed now, or because it is older than a module of the package.
  type: list
  elements: str
  returned: always
other_versions:
  description: Other versions of the package, each C(version) with the C(kernels) that it was built for.
  type: list
  elements: dict
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: [build 6.1.0-56-cloud-amd64, source, add, adopt 6.1.0-56-cloud-amd64, install 6.1.0-56-cloud-amd64]
commands:
  description: The commands that were run.
  type: list
  elements: str
  returned: always
log:
  description: The end of the last build log.
  type: list
  elements: str
  returned: always
would_require:
  description:
    - What has to be there first, in check mode. Any of C(dkms), C(source), C(compiler), and C(kernel:) and C(headers:) followed by
      a release.
  type: list
  elements: str
  returned: always
rolled_back:
  description: After a failure, whether the host has what it had before. V(null) when there was nothing to undo.
  type: bool
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import Any, Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _dkms_apply
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError


def diff(result: Dict[str, Any]) -> Dict[str, str]:
    """State and module files by kernel."""
    texts = {"before": "", "after": ""}
    for kernel in result["kernels"]:
        for when in texts:
            view = kernel[when]
            texts[when] += "{0}: {1}\n".format(kernel["release"], view["state"])
            for name, module in sorted((view["modules"] or {}).items()):
                texts[when] += "  {0}: {1}\n".format(name, module["path"] if module else "none")
    return texts


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "source": {"type": "path"},
            "kernels": {"type": "list", "elements": "str"},
            "arch": {"type": "str"},
            "state": {"type": "str", "default": "installed", "choices": ["added", "built", "installed", "absent"]},
            "force": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
            "lock_timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = dict(module.params, check=module.check_mode, work=module.tmpdir)
    params["arch"] = params["arch"] or os.uname().machine
    worker = _dkms_apply.Worker(_dkms_apply.Options(**{key: params[key] for key in _dkms_apply.Options._fields}))
    failure = None
    try:
        worker.run()
    except AccelnetError as error:
        failure = error
    for warning in worker.warnings:
        module.warn(warning)
    result = worker.result
    if failure is not None:
        module.fail_json(msg=failure.message, reason=failure.reason, **result)
    module.exit_json(diff=diff(result), **result)


if __name__ == "__main__":
    main()
