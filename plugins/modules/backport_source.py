#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: backport_source
short_description: Assemble the DKMS source of backported MANA drivers
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Takes the drivers C(mana) and C(mana_ib) out of the source of a newer kernel, the donor, and puts them together with this collection's
    compat layer into the source of one DKMS package for older kernels.
  - The donor is checked and everything is read before anything is written. When something is wrong, the host is as before.
  - Nothing is built. Give the result to M(accelnet.mana.dkms).
options:
  donor:
    description:
      - The source of the donor on the host, either a tar archive (plain, gz, bz2 or xz) with one folder at its top, such as those of
        kernel.org and of Debian's packages C(linux-source-*), or the directory of a kernel tree.
      - Of an archive only the files that are needed are read. Nothing of it is unpacked to disk.
    type: path
    required: true
  sha256:
    description: SHA-256 that the archive has to have. Not for a directory.
    type: str
  compat:
    description:
      - Directory on the host with a compat layer of your own.
      - By default the one of the role C(nic_driver) is used, which goes to the host together with the module.
    type: path
  layer:
    description: The files of the compat layer by path. The part that runs on the controller sets this, unless O(compat) is given.
    type: dict
  version:
    description: Version of the donor, such as V(6.12.117). By default the one that the Makefile in its root tells.
    type: str
  target_releases:
    description:
      - Kernel releases that the package is for. A donor that is older than one of them is refused, as adapters lead from a newer kernel
        to an older one only.
    type: list
    elements: str
    default: []
    aliases: [target_release]
  modules:
    description:
      - Modules to build. V(mana_ib) brings V(mana) with it, as it works with the one of its own package only.
    type: list
    elements: str
    choices: [mana, mana_ib]
    default: [mana, mana_ib]
  dest:
    description:
      - Directory to assemble to. It is replaced as a whole, when it was assembled by this module.
      - The default is C(/usr/src/mana-backport-) followed by RV(version).
    type: path
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
    details:
      - Also in check mode the donor has to be there, as it is read and checked.
  diff_mode:
    support: full
  platform:
    support: full
    platforms: linux
  idempotent:
    support: full
seealso:
  - module: accelnet.mana.dkms
    description: Builds and installs the package.
"""

EXAMPLES = r"""
- name: Drivers of Debian's linux-source-6.12 for the running kernel
  accelnet.mana.backport_source:
    donor: /usr/src/linux-source-6.12.tar.xz
    target_releases:
      - "{{ ansible_facts['kernel'] }}"
  register: backport

- name: Build and install them
  accelnet.mana.dkms:
    name: "{{ backport.name }}"
    version: "{{ backport.version }}"
    source: "{{ backport.dest }}"

- name: Ethernet only, from a tree of your own
  accelnet.mana.backport_source:
    donor: /home/me/linux
    modules:
      - mana
    dest: /tmp/mana-backport
"""

RETURN = r"""
name:
  description: Name of the DKMS package.
  type: str
  returned: success
  sample: mana-backport
version:
  description: Version of the DKMS package, made of that of the donor and the serial number of the compat layer.
  type: str
  returned: success
  sample: 6.12.117+accelnet1
dest:
  description: Directory of the package.
  type: str
  returned: success
  sample: /usr/src/mana-backport-6.12.117+accelnet1
donor_version:
  description: Version of the donor.
  type: str
  returned: success
  sample: 6.12.117
donor_sha256:
  description: SHA-256 of the donor, V(null) for a directory.
  type: str
  returned: success
digest:
  description: SHA-256 over names and contents of the package's files. The same donor and compat layer give the same digest on every host.
  type: str
  returned: success
modules:
  description: Modules that the package builds.
  type: list
  elements: str
  returned: success
edits:
  description: How often each edit of the compat layer was applied to the donor, by its name. An older donor has nothing to edit.
  type: dict
  returned: success
  sample: {net_shaper_ops: 1}
reason:
  description:
    - The reason code of a failure, one of V(donor_missing), V(donor_corrupt), V(donor_unsafe), V(donor_checksum_mismatch),
      V(donor_incomplete), V(donor_version_unknown), V(donor_older_than_target), V(donor_edit_mismatch), V(bad_target_release),
      V(bad_modules), V(compat_invalid), V(dest_not_ours) and V(dest_not_writable).
  type: str
  returned: on failure
"""

import hashlib
import os
from typing import Dict

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _backport
from ansible_collections.accelnet.mana.plugins.module_utils._donor import BackportError


def listing(files: "_backport.Files") -> str:
    """One line for each file: its name and the start of its digest."""
    return "".join("{0} {1}\n".format(hashlib.sha256(files[path]).hexdigest()[:12], path) for path in sorted(files))


def difference(dest: str, assembly: "_backport.Assembly") -> Dict[str, str]:
    present = _backport.present_files(dest)
    return {
        "before_header": dest,
        "after_header": dest,
        "before": listing(present[1]) if present else "",
        "after": listing(assembly.files or {}),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "donor": {"type": "path", "required": True},
            "sha256": {"type": "str"},
            "compat": {"type": "path"},
            "layer": {"type": "dict"},
            "version": {"type": "str"},
            "target_releases": {"type": "list", "elements": "str", "default": [], "aliases": ["target_release"]},
            "modules": {"type": "list", "elements": "str", "default": ["mana", "mana_ib"], "choices": ["mana", "mana_ib"]},
            "dest": {"type": "path"},
        },
        required_one_of=[("compat", "layer")],
        mutually_exclusive=[("compat", "layer")],
        supports_check_mode=True,
    )
    params = dict(module.params)
    if not params["modules"]:
        module.fail_json(msg="modules: no module to build", reason="bad_modules")
    # mana_ib works with the mana of its own package only.
    params["modules"] = [name for name in _backport.MODULES if name == "mana" or name in params["modules"]]
    try:
        options = _backport.Options(**{key: params[key] for key in _backport.Options._fields})
        assembly, dest = _backport.prepare(options, params["dest"])
        changed = not _backport.is_present(dest, assembly)
        result = {
            "changed": changed,
            "name": _backport.PACKAGE,
            "dest": dest,
            "version": assembly.version,
            "donor_version": assembly.record["donor_version"],
            "donor_sha256": assembly.record["donor_sha256"],
            "digest": assembly.record["digest"],
            "modules": assembly.record["modules"],
            "edits": assembly.record["edits"],
        }
        if changed:
            _backport.check_dest(dest)
            result["diff"] = difference(dest, assembly)
            if not module.check_mode:
                _backport.write(assembly, dest)
    except BackportError as error:
        module.fail_json(msg=error.message, reason=error.reason)
    except OSError as error:
        module.fail_json(
            msg="{0}: {1}".format(error.filename or os.path.dirname(params["dest"] or "/usr/src"), error.strerror),
            reason="dest_not_writable",
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
