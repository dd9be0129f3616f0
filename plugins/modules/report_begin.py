#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Only the documentation: the code is the action plugin of the same name, as all of it runs on the controller.

DOCUMENTATION = r"""
module: report_begin
short_description: Begin the report of a run
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Makes the directory of a run on the controller and notes there which hosts the run is about, so that hosts which
    the run does not come to are in the report too.
  - Checks everything that the whole run depends on, before any host is asked.
  - Shows the directory at once, as whoever interrupts the run needs it to report what there is.
  - Use it once per play, with C(run_once).
options:
  report_dir:
    description:
      - Directory of all runs on the controller. A relative path is below the directory in which ansible was started.
      - Empty is as not given.
    type: str
    default: accelnet-reports
  run_id:
    description:
      - Name of the run's own directory there, with letters, digits, dots, dashes and underscores. It must not exist.
      - The default is the time, such as V(20261123T040506Z), with a number behind it when there is such a run already.
        Empty is as not given.
    type: str
  goal:
    description: What the hosts are to be capable of.
    type: str
    choices: [ethernet, rdma, dpdk]
    default: ethernet
  policy:
    description: What a plan may use, see P(accelnet.mana.plan#filter).
    type: dict
    default: {}
  playbook:
    description: What the run does, for the record.
    type: str
    default: audit
  fail_on:
    description: What M(accelnet.mana.report_fleet) will get; only checked here.
    type: list
    elements: str
    default: []
  query:
    description: What M(accelnet.mana.report_fleet) will get; only checked here.
    type: str
    default: ''
extends_documentation_fragment:
  - accelnet.mana.attributes.controller
seealso:
  - module: accelnet.mana.report_host
  - module: accelnet.mana.report_fleet
"""

EXAMPLES = r"""
- name: Begin the report
  accelnet.mana.report_begin:
    goal: rdma
  register: run
  run_once: true
"""

RETURN = r"""
run_dir:
  description: Directory of the run, an absolute path on the controller.
  type: str
  returned: success
  sample: /home/me/accelnet-reports/20261123T040506Z
run_id:
  description: Name of the run.
  type: str
  returned: success
  sample: 20261123T040506Z
reason:
  description:
    - The reason code of a failure, V(bad_goal), V(bad_policy), V(bad_mac), V(bad_fail_on), V(bad_query),
      V(jmespath_missing), V(bad_run_id) or V(bad_run_dir).
  type: str
  returned: on failure
"""
