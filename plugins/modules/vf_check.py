#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: vf_check
short_description: Measure how much of a NIC's traffic its virtual function carries
version_added: 0.2.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Counts, during a window, the bytes of a NIC and those of them that its virtual function (VF) carried, in both directions. That a
    driver is bound does not prove that traffic takes it; this does.
  - Watches the traffic that is there, or makes its own, with one long TCP flow in each direction, through the NIC under test.
  - The NICs are measured one after the other. Each takes O(discard) and O(duration) seconds at most, and ends as soon as there are
    O(min_bytes) in both directions.
  - It decides nothing. P(accelnet.mana.assess#filter) does, with RV(samples).
  - A NIC without synthetic half is its VF. All its bytes are the VF's, so the proof is that enough of them passed at all.
  - Needs no program on the host, and no root privileges. Without them a kernel before 5.7 is bound by source address only.
options:
  nics:
    description:
      - MAC addresses or interfaces of the NICs to measure.
      - By default all that the kernel uses and that have a VF.
    type: list
    elements: str
    default: []
  load:
    description:
      - V(watch) makes no traffic.
      - V(echo) uses a TCP echo service (RFC 862) at O(peer).
      - V(peer) uses this module on another host, where it runs with O(serve).
    type: str
    choices: [watch, echo, peer]
    default: watch
  peer:
    description: Address of the other end. It has to be reached through the NIC that is measured.
    type: str
  peer_port:
    description: Its port.
    type: int
    default: 7
  duration:
    description: Seconds that one NIC is measured at most.
    type: int
    default: 30
  discard:
    description: Seconds of traffic that do not count. The first packets of a flow take the synthetic path.
    type: int
    default: 1
  min_bytes:
    description: Bytes that are to pass in each direction. With less than 64 MiB P(accelnet.mana.assess#filter) proves nothing.
    type: int
    default: 67108864
  serve:
    description:
      - Do not measure, be the peer for a measurement of another host. A process stays behind that ends when the other host has
        finished, after O(timeout) seconds at the latest. It serves only who knows O(token).
    type: bool
    default: false
  listen:
    description: Address to serve at.
    type: str
  listen_port:
    description: Port to serve at. V(0) takes one that is free.
    type: int
    default: 0
  timeout:
    description: Seconds after which the server ends in any case.
    type: int
    default: 300
  token:
    description: At least 16 characters that both ends know. It is never sent. Take random ones for each measurement.
    type: str
extends_documentation_fragment:
  - accelnet.mana.attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing is sent and nobody is served, RV(would) says what would be done.
  diff_mode:
    support: N/A
    details:
      - This changes nothing.
  platform:
    support: full
    platforms: linux
  idempotent:
    support: full
    details:
      - This changes nothing. The server ends by itself.
seealso:
  - plugin: accelnet.mana.assess
    plugin_type: filter
    description: Tells what the samples prove.
  - plugin: accelnet.mana.verify
    plugin_type: filter
    description: Tells whether the NICs of a host are what the goal asks for, measurements included.
"""

EXAMPLES = r"""
- name: Measure with an echo service
  accelnet.mana.vf_check:
    load: echo
    peer: 10.0.0.9
  register: measured

- name: Look at the NICs
  accelnet.mana.nic_info:
  register: nic

- name: Show what is proven
  ansible.builtin.debug:
    msg: "{{ nic | accelnet.mana.assess(measured.samples) }}"

- name: Have another host of the inventory serve
  accelnet.mana.vf_check:
    serve: true
    listen: 10.0.0.9
    token: "{{ random_token }}"
  delegate_to: peer1
  register: peer

- name: Measure one NIC with it
  accelnet.mana.vf_check:
    nics: [eth1]
    load: peer
    peer: 10.0.0.9
    peer_port: "{{ peer.server.port }}"
    token: "{{ random_token }}"
"""

RETURN = r"""
samples:
  description:
    - What was counted, one entry per NIC, for P(accelnet.mana.assess#filter). C(mac) and, as integers, C(rx_bytes), C(tx_bytes),
      C(vf_rx_bytes) and C(vf_tx_bytes). The former include the latter.
  type: list
  elements: dict
  returned: always
  sample:
    - {mac: "00:22:48:71:c2:8c", rx_bytes: 70254592, tx_bytes: 70254592, vf_rx_bytes: 70254592, vf_tx_bytes: 70251008}
measurements:
  description: How it was counted, one entry for each NIC. Empty in check mode.
  type: list
  elements: dict
  returned: always
  contains:
    mac:
      description: The MAC address of the NIC.
      type: str
    interface:
      description: The routable interface.
      type: str
    vf_interface:
      description: The interface of the VF.
      type: str
    source:
      description:
        - Who counted the bytes of the VF. V(ethtool) is hv_netvsc, V(sysfs) the driver of the VF beside its partner, V(interface) the
          driver of a VF without partner.
      type: str
    bound:
      description: How the traffic was led through the NIC, V(device), V(address) or, by nothing, V(routes). V(null) when watching.
      type: str
    seconds:
      description: How long was counted.
      type: float
    sample:
      description: The entry of RV(samples), or V(null) when the counters tell nothing.
      type: dict
    share:
      description: Which part the VF carried, C(rx) and C(tx). V(null) without traffic.
      type: dict
      sample: {rx: 1.0, tx: 0.9999}
    reason:
      description: The reason code of what went wrong, V(nic_not_measurable), V(counters_unusable) or V(peer_unreachable), or V(null).
      type: str
    message:
      description: What went wrong, in words, or V(null).
      type: str
server:
  description: Who serves now, with C(address), C(port), C(pid) and the C(seconds) after which it ends. V(null) when not serving.
  type: dict
  returned: always
  sample: {address: 10.0.0.9, port: 41233, pid: 1234, seconds: 300}
would:
  description: What would be done, in check mode. Empty otherwise.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure, V(bad_load), V(nic_not_found) or V(measurement_timeout).
  type: str
  returned: on failure
"""

from typing import Any, Callable, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts, _traffic, _traffic_server, _vf_check
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError

# Option -> what it may be; nobody waits for a measurement for hours by mistake.
_BOUNDS = {
    "duration": (1, 600),
    "discard": (0, 60),
    "min_bytes": (1, 1 << 40),
    "peer_port": (1, 65535),
    "listen_port": (0, 65535),
    "timeout": (1, 3600),
}
_TOKEN_LENGTH = 16


def check(params: Dict[str, Any]) -> None:
    """Raises AccelnetError (bad_load) for values that cannot be."""
    for name, (low, high) in _BOUNDS.items():
        if not low <= params[name] <= high:
            raise AccelnetError("bad_load", "{0} is {1}, must be from {2} to {3}".format(name, params[name], low, high))
    if params["token"] is not None and len(params["token"]) < _TOKEN_LENGTH:
        raise AccelnetError("bad_load", "the token has less than {0} characters".format(_TOKEN_LENGTH))


def serve(params: Dict[str, Any], dry: bool) -> Dict[str, Any]:
    if dry:
        text = "serve at {0}, port {1}, for {2} s at most".format(params["listen"], params["listen_port"] or "any", params["timeout"])
        return {"would": [text]}
    server = _traffic_server.Server(params["listen"], params["listen_port"], params["token"])
    port = server.port
    pid = _traffic_server.leave(server, params["timeout"])
    return {"server": {"address": params["listen"], "port": port, "pid": pid, "seconds": params["timeout"]}}


def _starter(params: Dict[str, Any], target: _vf_check.Target) -> Callable[[], _traffic.Load]:
    end = _traffic.Endpoint(params["peer"], params["peer_port"], target.interface, target.sources)
    if params["load"] == "echo":
        return lambda: _traffic.open_echo(end)
    if params["load"] == "peer":
        return lambda: _traffic.open_peer(end, params["token"])
    return _traffic.Load


def measure(params: Dict[str, Any], dry: bool) -> Dict[str, Any]:
    tree, answers, live = _facts.open_tree("/")
    facts = _facts.collect_from(tree, answers, live, hardware=True, subset=["nics"])
    targets, rows = _vf_check.choose(facts["nics"] or [], params["nics"])
    window = _vf_check.Window(params["discard"], params["duration"], params["min_bytes"])
    if dry:
        way = "watch"
        if params["load"] != "watch":
            way = "send to and receive from {0}, port {1}, through".format(params["peer"], params["peer_port"])
        return {"would": ["{0} {1} for {2} s at most".format(way, target.interface, window.duration) for target in targets]}
    try:
        with _vf_check.time_limit(_vf_check.longest(window, len(targets))):
            for target in targets:
                counters = _vf_check.Counters(tree, answers, target)
                rows.append(_vf_check.measure(target, counters, _starter(params, target), window))
    finally:
        if params["load"] == "peer":
            _traffic.end_peer(_traffic.Endpoint(params["peer"], params["peer_port"], None, []), params["token"])
    samples: List[Dict[str, Any]] = [row["sample"] for row in rows if row["sample"] is not None]
    return {"measurements": rows, "samples": samples}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nics": {"type": "list", "elements": "str", "default": []},
            "load": {"type": "str", "default": "watch", "choices": ["watch", "echo", "peer"]},
            "peer": {"type": "str"},
            "peer_port": {"type": "int", "default": 7},
            "duration": {"type": "int", "default": 30},
            "discard": {"type": "int", "default": 1},
            "min_bytes": {"type": "int", "default": 64 << 20},
            "serve": {"type": "bool", "default": False},
            "listen": {"type": "str"},
            "listen_port": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 300},
            "token": {"type": "str", "no_log": True},
        },
        required_if=[("load", "echo", ("peer",)), ("load", "peer", ("peer", "token")), ("serve", True, ("listen", "token"))],
        supports_check_mode=True,
    )
    result: Dict[str, Any] = {"samples": [], "measurements": [], "server": None, "would": []}
    try:
        check(module.params)
        result.update((serve if module.params["serve"] else measure)(module.params, module.check_mode))
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
