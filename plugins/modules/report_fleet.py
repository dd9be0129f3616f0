#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Only the documentation: the code is the action plugin of the same name, as all of it runs on the controller.

DOCUMENTATION = r"""
module: report_fleet
short_description: Make one report of the results of a run
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Reads what M(accelnet.mana.report_begin) and M(accelnet.mana.report_host) left in the directory of a run and writes one report
    there, as C(report.json), C(report.html) and C(junit.xml).
  - All hosts of the run are in it, also those that could not be reached, that failed or that the run did not come to.
  - Can be used again on the directory of a run that was interrupted.
  - The form of the files is described in U(https://github.com/accelnet/ansible-collection-mana/blob/main/docs/report.schema.json).
requirements:
  - jmespath, on the controller, for O(query)
options:
  run_dir:
    description: Directory of the run, as M(accelnet.mana.report_begin) returned it.
    type: str
    required: true
  fail_on:
    description:
      - Fail when a host has one of these, after everything is written.
      - Verdicts (V(orphaned), V(degraded), V(synthetic), V(unsupported), V(userspace), V(accelerated)), statuses
        (V(ok), V(failed), V(unreachable), V(not_run)), reason codes, or V(not_met).
      - V(not_met) is true of every host that was not shown to reach its goal, so also of one that was not reached.
    type: list
    elements: str
    default: []
  query:
    description:
      - JMESPath expression for the report. What it selects is written to C(query.json) and returned.
    type: str
    default: ''
  formats:
    description: The files to write.
    type: list
    elements: str
    choices: [json, html, junit]
    default: [json, html, junit]
extends_documentation_fragment:
  - accelnet.mana.attributes.controller
seealso:
  - module: accelnet.mana.report_begin
  - module: accelnet.mana.report_host
"""

EXAMPLES = r"""
- name: Make the report
  accelnet.mana.report_fleet:
    run_dir: "{{ run.run_dir }}"
  run_once: true

- name: List the hosts without driver, and fail when there are any
  accelnet.mana.report_fleet:
    run_dir: "{{ run.run_dir }}"
    query: "hosts[?verdict=='orphaned'].{host: host, kernel: kernel}"
    fail_on: [orphaned]
  run_once: true
"""

RETURN = r"""
run_id:
  description: Name of the run.
  type: str
  returned: when the run could be read
  sample: 20261123T040506Z
run_dir:
  description: Directory of the run, an absolute path on the controller.
  type: str
  returned: when the run could be read
  sample: /home/me/accelnet-reports/20261123T040506Z
counts:
  description:
    - Hosts by C(verdict) (that of a host is the worst of its NICs), C(status), C(met) and C(distribution); NICs by
      C(kind) and C(nic_verdict).
  type: dict
  returned: when the run could be read
  sample: {status: {ok: 39, failed: 1, unreachable: 0, not_run: 0}}
paths:
  description: The files that were written, by format, and C(query).
  type: dict
  returned: when the run could be read
  sample: {json: /home/me/accelnet-reports/20261123T040506Z/report.json}
failed_on:
  description: Every C(host) that has one of O(fail_on), with the C(code).
  type: list
  elements: dict
  returned: when the run could be read
  sample: [{host: web1, code: orphaned}]
query_result:
  description: What O(query) selects.
  type: raw
  returned: when O(query) is given
reason:
  description: The reason code of a failure, V(bad_run_dir), V(bad_fail_on), V(bad_query) or V(jmespath_missing).
  type: str
  returned: on failure
"""
