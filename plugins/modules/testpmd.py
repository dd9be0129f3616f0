#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: testpmd
short_description: Let dpdk-testpmd forward on NICs for some time, and count
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Runs C(dpdk-testpmd) on the NICs that are named by MAC, and on no other, and returns what each of them did as numbers. State is no
    proof; packets that were forwarded are.
  - What is known to make it fail is looked for first, and becomes a reason code instead of a log.
  - It is always ended, also when this module is killed. Nothing else is changed.
  - The NICs have to be ready for user space, as the role P(accelnet.mana.dpdk_port#role) makes them.
options:
  nics:
    description: MAC addresses of the NICs.
    type: list
    elements: str
    required: true
  forward_mode:
    description: What testpmd does with packets.
    type: str
    choices: [rxonly, txonly, io, mac, macswap, flowgen, icmpecho, csum]
    default: txonly
  seconds:
    description: How long it forwards.
    type: float
    default: 5
  mode:
    description:
      - Whether the VMBus devices are given too. V(auto) is V(netvsc) where one of the NICs has its synthetic half in user space.
    type: str
    choices: [auto, netvsc, mana]
    default: auto
  queues:
    description: Queues of each NIC in each direction. For MANA a power of two.
    type: int
    default: 1
  tx_queues:
    description: Transmit queues, when they are to differ from O(queues); MANA cannot do that.
    type: int
  descriptors:
    description: Descriptors of each queue, a multiple of 64.
    type: int
    default: 256
  mbufs:
    description: Packet buffers in all.
    type: int
    default: 16384
  peers:
    description: For each of O(nics) the MAC address that the forward modes V(mac) and V(txonly) send to.
    type: list
    elements: str
    default: []
  tx_first:
    description: Send a burst first, so that NICs which are connected with each other have something to forward.
    type: bool
    default: false
  program:
    description: The dpdk-testpmd to run. By default the one of the DPDK that M(accelnet.mana.nic_info) finds.
    type: path
  timeout:
    description: Seconds that it may take to start and to stop.
    type: int
    default: 60
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
    details:
      - Runs nothing. What is in the way is in RV(would_require).
  diff_mode:
    support: N/A
    details:
      - This changes nothing.
  platform:
    support: full
    platforms: linux
  idempotent:
    support: N/A
    details:
      - This changes nothing that stays.
"""

EXAMPLES = r"""
- name: Send for five seconds
  accelnet.mana.testpmd:
    nics: ["00:22:48:71:c2:8c"]
  register: sent

- name: Demand that the packets took the hardware path
  ansible.builtin.assert:
    that: sent.ports[0].tx_packets > 0
"""

RETURN = r"""
ports:
  description:
    - For each port its C(port), C(mac) and C(driver); C(rx_packets), C(tx_packets), C(rx_bytes), C(tx_bytes), C(rx_errors), C(tx_errors),
      C(rx_missed) and C(rx_nombuf) as the driver counts them, C(rx_pps) and C(tx_pps) over the time measured.
    - C(forward) has what testpmd counts itself, C(xstats) the extended statistics that changed, and C(vf) those that net_netvsc
      keeps of the virtual function.
  type: list
  elements: dict
  returned: always
seconds:
  description: The time measured.
  type: float
  returned: always
command:
  description: The command line.
  type: list
  elements: str
  returned: always
would_require:
  description: Reason codes of what is in the way, in check mode.
  type: list
  elements: str
  returned: always
log:
  description: The end of what testpmd printed.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure.
  type: str
  returned: on failure
"""

import os
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _eal, _facts, _testpmd
from ansible_collections.accelnet.mana.plugins.module_utils._names import normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError


def mode_of(facts: Dict[str, Any], macs: List[str], asked: str) -> str:
    if asked != "auto":
        return asked
    halves = [nic["synthetic"] or {} for nic in facts["nics"] or [] if nic["mac"] in macs]
    return "netvsc" if any(half.get("driver") == "uio_hv_generic" for half in halves) else "mana"


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nics": {"type": "list", "elements": "str", "required": True},
            "forward_mode": {"type": "str", "choices": list(_testpmd.MODES), "default": "txonly"},
            "seconds": {"type": "float", "default": 5},
            "mode": {"type": "str", "choices": ["auto", "netvsc", "mana"], "default": "auto"},
            "queues": {"type": "int", "default": 1},
            "tx_queues": {"type": "int"},
            "descriptors": {"type": "int", "default": 256},
            "mbufs": {"type": "int", "default": 16384},
            "peers": {"type": "list", "elements": "str", "default": []},
            "tx_first": {"type": "bool", "default": False},
            "program": {"type": "path"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    macs = [normal_mac(text) or "" for text in params["nics"]]
    peers = [normal_mac(text) or "" for text in params["peers"]]
    if "" in macs + peers or not macs:
        module.fail_json(msg="nics and peers must be MAC addresses, nics at least one", reason="bad_mac")
    facts = _facts.collect("/", subset=["nics", "dpdk"])
    if params["program"]:
        facts["dpdk"] = dict(facts["dpdk"], testpmd=params["program"] if os.access(params["program"], os.X_OK) else None)
    tx_queues = params["queues"] if params["tx_queues"] is None else params["tx_queues"]
    found = _testpmd.obstacles(facts, macs, params["queues"], tx_queues, params["descriptors"])
    prefix = "accelnet-{0}".format(os.getpid())
    words = _testpmd.command(
        facts["dpdk"]["testpmd"] or "dpdk-testpmd",
        _eal.eal_args(facts["nics"] or [], macs, mode_of(facts, macs, params["mode"])),
        _testpmd.cores(sorted(os.sched_getaffinity(0)), params["queues"], len(macs)),
        prefix,
        params["forward_mode"],
        params["queues"],
        params["descriptors"],
        params["mbufs"],
        peers,
    )
    result = {"changed": False, "ports": [], "seconds": 0.0, "command": words, "log": [], "would_require": []}
    if module.check_mode:
        result["would_require"] = sorted({obstacle.reason for obstacle in found})
        module.exit_json(**result)
    if found:
        module.fail_json(msg="; ".join(obstacle.message for obstacle in found), reason=found[0].reason, **result)
    try:
        result["ports"], result["seconds"], output = _testpmd.forward(
            words, prefix, params["seconds"], params["timeout"], params["tx_first"]
        )
    except AccelnetError as error:
        result["log"] = _testpmd.tail(getattr(error, "output", ""))
        module.fail_json(msg=error.message, reason=error.reason, **result)
    except OSError as error:
        module.fail_json(msg=str(error), reason="testpmd_failed", **result)
    result["log"] = _testpmd.tail(output)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
