# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many bytes of a NIC its virtual function carries during a window. It measures; what that proves is decided elsewhere.

The counters of hv_netvsc include what the VF carried, and its ``vf_*`` statistics say how much that was (Linux
``drivers/net/hyperv/netvsc_drv.c``: netvsc_get_stats64, netvsc_get_vf_stats). Where a partner has no such statistics, as
net_failover, the VF's own counters stand in for them; these start at zero again when the VF returns.

Private to this collection. Python 3.6, standard library.
"""

import contextlib
import signal
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils import _netdev
from ansible_collections.accelnet.mana.plugins.module_utils._answers import Answers
from ansible_collections.accelnet.mana.plugins.module_utils._names import normal_mac
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._traffic import CONNECT_LIMIT, Load
from ansible_collections.accelnet.mana.plugins.module_utils._tree import Tree

POLL = 0.5  # seconds between two readings
_SLACK = 10.0  # seconds that the host may be slower than planned before it is ended by force
DIRECTIONS = ("rx_bytes", "tx_bytes")
_COUNTERS = ("rx_bytes", "tx_bytes", "vf_rx_bytes", "vf_tx_bytes")

Target = NamedTuple(
    "Target",
    [
        ("mac", str),
        ("interface", str),
        ("vf_interface", str),
        ("paired", bool),  # False: the NIC has no synthetic half, interface and vf_interface are the same
        ("hv_netvsc", bool),  # whether the partner can have statistics of the VF
        ("sources", List[str]),
    ],
)

Window = NamedTuple(
    "Window",
    [
        ("discard", float),  # seconds of traffic that do not count: the first packets of a flow take the synthetic path
        ("duration", float),  # seconds that are measured at most
        ("min_bytes", int),  # per direction; it ends early once they are there
    ],
)

Reading = NamedTuple(
    "Reading",
    [
        ("rx_bytes", int),
        ("tx_bytes", int),
        ("vf_rx_bytes", int),
        ("vf_tx_bytes", int),
        ("devices", Tuple[Optional[int], ...]),  # ifindex of the interfaces: another one is another interface
    ],
)


def _why_not(nic: Dict[str, Any]) -> Optional[str]:
    """Why nothing can be measured at a NIC."""
    if nic["use"] != "kernel" or nic["interface"] is None:
        return "user space has it, or no driver"
    if nic["vf"] is None:
        return "it has no virtual function"
    if nic["synthetic"] and not nic["paired"]:
        return "its virtual function is not attached to the synthetic interface"
    return None


def _target(nic: Dict[str, Any]) -> Target:
    return Target(
        mac=nic["mac"],
        interface=nic["interface"],
        vf_interface=nic["vf"]["interface"],
        paired=bool(nic["synthetic"]),
        hv_netvsc=(nic["synthetic"] or {}).get("driver") == "hv_netvsc",
        sources=[address.partition("/")[0] for address in nic["addresses"] or []],
    )


def choose(nics: List[Dict[str, Any]], wanted: List[str]) -> Tuple[List[Target], List[Dict[str, Any]]]:
    """(what to measure, rows of what cannot be) of nic_info's ``nics``.

    ``wanted``: MAC addresses or interfaces; none means all that can be measured. Raises AccelnetError (nic_not_found).
    """
    chosen = nics
    if wanted:
        chosen = []
        for word in wanted:
            mac = normal_mac(word)
            found = [nic for nic in nics if (nic["mac"] == mac if mac else nic["interface"] == word)]
            if not found:
                known = ", ".join("{0} ({1})".format(nic["interface"], nic["mac"]) for nic in nics)
                raise AccelnetError("nic_not_found", "no NIC of this host is {0!r}; it has: {1}".format(word, known or "none"))
            chosen += [nic for nic in found if nic not in chosen]
    targets = [_target(nic) for nic in chosen if _why_not(nic) is None and nic["mac"]]
    barred = [row_of(nic["mac"], nic["interface"], "nic_not_measurable", _why_not(nic)) for nic in chosen if wanted and _why_not(nic)]
    return targets, barred


def row_of(mac: Optional[str], interface: Optional[str], reason: Optional[str] = None, message: Optional[str] = None) -> Dict[str, Any]:
    """A measurement that has not been made."""
    row: Dict[str, Any] = dict.fromkeys(("vf_interface", "source", "bound", "seconds", "sample"))
    return dict(row, mac=mac, interface=interface, share={"rx": None, "tx": None}, reason=reason, message=message)


class Counters:
    """The byte counters of one NIC."""

    def __init__(self, tree: Tree, answers: Answers, target: Target) -> None:
        self._tree = tree
        self._answers = answers
        self._target = target
        # Where the bytes of the VF are counted: by itself, by hv_netvsc, or by the driver of the VF.
        self.source = "interface" if not target.paired else ("ethtool" if self._by_ethtool() else "sysfs")

    def _by_ethtool(self) -> Optional[Dict[str, int]]:
        if not self._target.hv_netvsc:
            return None
        found = self._answers.ethtool([self._target.interface]).get(self._target.interface, {})
        return found if all("vf_" + direction in found for direction in DIRECTIONS) else None

    def _by_driver(self, interface: str) -> List[Optional[int]]:
        return [_netdev.statistic(self._tree, interface, direction) for direction in DIRECTIONS]

    def _index(self, interface: str) -> Optional[int]:
        path = "/sys/class/net/{0}/ifindex".format(interface)
        return self._tree.integer(path) if self._tree.exists(path) else None

    def read(self) -> Optional[Reading]:
        """All counters at about the same time; None when one cannot be read."""
        devices = (self._index(self._target.interface), self._index(self._target.vf_interface))
        if None in devices:
            return None
        whole = self._by_driver(self._target.interface)
        if self.source == "interface":
            part: List[Optional[int]] = list(whole)
        elif self.source == "ethtool":
            answer = self._by_ethtool() or {}
            part = [answer.get("vf_" + direction) for direction in DIRECTIONS]
        else:
            part = self._by_driver(self._target.vf_interface)
        rx, tx = whole
        vf_rx, vf_tx = part
        if rx is None or tx is None or vf_rx is None or vf_tx is None:
            return None
        return Reading(rx, tx, vf_rx, vf_tx, devices)


def sample_of(mac: str, readings: List[Optional[Reading]]) -> Dict[str, Any]:
    """What passed between the first reading and the last, as assess takes it. Raises AccelnetError (counters_unusable)."""
    whole = [reading for reading in readings if reading is not None]
    if not whole or len(whole) < len(readings):
        raise AccelnetError("counters_unusable", "the counters could not be read all the time: the VF may have gone")
    for before, after in zip(whole[:-1], whole[1:]):
        if before.devices != after.devices:
            raise AccelnetError("counters_unusable", "an interface went and returned in the window")
        for name in _COUNTERS:
            if getattr(after, name) < getattr(before, name):
                raise AccelnetError("counters_unusable", "{0} went back in the window: it wrapped, or the VF returned".format(name))
    sample: Dict[str, Any] = {name: getattr(whole[-1], name) - getattr(whole[0], name) for name in _COUNTERS}
    sample["mac"] = mac
    return sample


def _is_over(readings: List[Optional[Reading]], min_bytes: int) -> bool:
    """Whether further readings cannot change anything."""
    first, last = readings[0], readings[-1]
    if first is None or last is None or first.devices != last.devices:
        return True
    return all(getattr(last, direction) - getattr(first, direction) >= min_bytes for direction in DIRECTIONS)


def measure(
    target: Target,
    counters: Counters,
    start: Callable[[], Load],
    window: Window,
    clock: Callable[[], float] = time.monotonic,
) -> Dict[str, Any]:
    """One row of ``measurements``. ``start`` opens the load, which is closed in any case. Raises nothing of ours."""
    row = row_of(target.mac, target.interface)
    row.update(vf_interface=target.vf_interface, source=counters.source)
    readings: List[Optional[Reading]] = []
    load: Optional[Load] = None
    begin = clock()
    try:
        try:
            load = start()
            row["bound"] = load.bound
            load.pump(window.discard)
            readings.append(counters.read())
            begin = clock()
            while not _is_over(readings, window.min_bytes):
                left = begin + window.duration - clock()
                if left <= 0:
                    break
                load.pump(min(POLL, left))
                readings.append(counters.read())
        except AccelnetError as error:
            # What was measured before counts: it may be enough.
            row.update(reason=error.reason, message=error.message)
        if readings:
            row["seconds"] = round(clock() - begin, 3)
            sample = sample_of(target.mac, readings)
            row["sample"] = sample
            row["share"] = {name[:2]: round(sample["vf_" + name] / sample[name], 4) if sample[name] else None for name in DIRECTIONS}
    except AccelnetError as error:
        row.update(reason=error.reason, message=error.message)
    finally:
        if load is not None:
            load.close()
    return row


def longest(window: Window, count: int) -> float:
    """Seconds after which so many measurements must have ended."""
    return count * (window.discard + window.duration + 3 * CONNECT_LIMIT) + _SLACK


class _TimeIsOver(Exception):
    """No OSError and no AccelnetError: nothing but time_limit may take it for its own."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Ends what is in it by force. Raises AccelnetError (measurement_timeout)."""

    def over(_number: int, _frame: Any) -> None:
        raise _TimeIsOver

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except _TimeIsOver:
        raise AccelnetError("measurement_timeout", "the measurement did not end within {0:g} s".format(seconds))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
