#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Only the documentation: the code is the action plugin of the same name.

DOCUMENTATION = r"""
module: audit_host
short_description: Look at a host, plan and keep the result
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - M(accelnet.mana.nic_info), P(accelnet.mana.plan#filter) and M(accelnet.mana.report_host) in one task; also
    M(accelnet.mana.package_candidates), for hosts whose plan asks for it.
  - The result is in the host's file of the run as soon as the host was looked at, so that a run which is interrupted can
    be reported as far as it came. That of a host which cannot be reached or on which the module fails is kept too.
  - Fails where there is no plan, also because of what was given for the host, such as a MAC address that it does not have.
options:
  root:
    description: What to look at, see M(accelnet.mana.nic_info).
    type: str
    default: /
extends_documentation_fragment:
  - accelnet.mana.host_result
  - accelnet.mana.attributes.info
seealso:
  - module: accelnet.mana.report_begin
  - module: accelnet.mana.report_fleet
  - module: accelnet.mana.report_host
  - module: accelnet.mana.nic_info
  - plugin: accelnet.mana.plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the hosts and keep the results
  accelnet.mana.audit_host:
    run_dir: "{{ run.run_dir }}"
    goal: rdma
  ignore_unreachable: true
"""

RETURN = r"""
status:
  description: V(ok), or V(failed) when the task fails.
  type: str
  returned: when the run could be read
  sample: ok
verdicts:
  description: One verdict per NIC, see P(accelnet.mana.assess#filter).
  type: list
  elements: dict
  returned: success
met:
  description: Whether the host is what the goal asks for.
  type: bool
  returned: success
steps:
  description: What is to be done, in this order, see P(accelnet.mana.plan#filter).
  type: list
  elements: dict
  returned: success
blocked:
  description: What no allowed step can change, see P(accelnet.mana.plan#filter).
  type: list
  elements: dict
  returned: success
guarded:
  description: Whether M(accelnet.mana.boot_guard) is armed on the host, as after a trial that nobody ended.
  type: bool
  returned: success
unknown_packages:
  description: What M(accelnet.mana.package_candidates) has to be asked for before the plan is certain.
  type: list
  elements: str
  returned: success
  sample: [rdma-core]
path:
  description: The host's file on the controller.
  type: str
  returned: when the run could be read
  sample: /home/me/accelnet-reports/20261123T040506Z/hosts/web1-659a7fb2af476fae.json
reason:
  description: The reason code of a failure, V(bad_run_dir), that of M(accelnet.mana.nic_info) or that of P(accelnet.mana.plan#filter).
  type: str
  returned: on failure
"""
