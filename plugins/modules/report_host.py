#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Only the documentation: the code is the action plugin of the same name, as all of it runs on the controller.

DOCUMENTATION = r"""
module: report_host
short_description: Plan for a host and keep the result
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Plans for a host as P(accelnet.mana.plan#filter) does and writes facts and plan to the host's file of the run, on
    the controller, at once.
  - Takes the registered result of M(accelnet.mana.nic_info) as it is, also that of a host which could not be reached or
    on which it failed.
  - Does not fail because of the host. What is wrong with it, or with the input for it, is in the result and in the file.
options:
  facts:
    description: The registered result of M(accelnet.mana.nic_info). Without it the host counts as not run.
    type: dict
  packages:
    description: Answers of M(accelnet.mana.package_candidates). They are planned with, and kept with the facts.
    type: dict
    default: {}
extends_documentation_fragment:
  - accelnet.mana.host_result
  - accelnet.mana.attributes.controller
seealso:
  - module: accelnet.mana.report_begin
  - module: accelnet.mana.report_fleet
  - module: accelnet.mana.nic_info
  - plugin: accelnet.mana.plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Observe
  accelnet.mana.nic_info:
  register: nic
  ignore_errors: true
  ignore_unreachable: true

- name: Plan and record
  accelnet.mana.report_host:
    run_dir: "{{ run.run_dir }}"
    facts: "{{ nic }}"
    goal: rdma
"""

RETURN = r"""
status:
  description: V(ok), V(failed), V(unreachable) or V(not_run).
  type: str
  returned: success
  sample: ok
verdicts:
  description: One verdict per NIC, see P(accelnet.mana.assess#filter). Empty without facts.
  type: list
  elements: dict
  returned: success
met:
  description: Whether the host is what the goal asks for. V(null) where that is not known.
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
error:
  description: C(reason) and C(message) of a host without facts or plan, else V(null).
  type: dict
  returned: success
  sample: {reason: host_unreachable, message: "Failed to connect to the host via ssh"}
path:
  description: The host's file on the controller.
  type: str
  returned: success
  sample: /home/me/accelnet-reports/20261123T040506Z/hosts/web1-659a7fb2af476fae.json
reason:
  description: The reason code of a failure, V(bad_run_dir).
  type: str
  returned: on failure
"""
