# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of everything that keeps the result of a host."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  run_dir:
    description: Directory of the run, as M(accelnet.mana.report_begin) returned it.
    type: str
    required: true
  goal:
    description: What the host is to be capable of. The default is the goal of the run.
    type: str
    choices: [ethernet, rdma, dpdk]
  nics:
    description: MAC addresses of the NICs that DPDK is to have, for the goal V(dpdk).
    type: list
    elements: str
    default: []
  policy:
    description: What the plan may use, see P(accelnet.mana.plan#filter).
    type: dict
    default: {}
  forwarded:
    description: MAC addresses of the NICs in user space on which M(accelnet.mana.testpmd) forwarded packets.
    type: list
    elements: str
    default: []
  samples:
    description: What a measured window saw, see P(accelnet.mana.assess#filter).
    type: list
    elements: dict
    default: []
"""
