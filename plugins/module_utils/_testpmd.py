# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dpdk-testpmd: its command line, what is known to fail, what it prints, and a session with it that always ends.

Sources: DPDK doc/guides/testpmd_app_ug, app/test-pmd/{config,testpmd}.c, drivers/net/mana/mana.c (queues, descriptors).
Private to this collection. Python 3.6, standard library.
"""

import contextlib
import ctypes
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import tty
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import environment

MODES = ("rxonly", "txonly", "io", "mac", "macswap", "flowgen", "icmpecho", "csum")
PROMPT = b"testpmd> "
MIN_DESCRIPTORS = 64  # net_mana takes multiples of it
POLITE = 15.0  # seconds that it has to quit
_OUTPUT_LIMIT = 4 << 20  # bytes

Obstacle = NamedTuple("Obstacle", [("reason", str), ("message", str)])


def obstacles(facts: Dict[str, Any], macs: List[str], rx_queues: int, tx_queues: int, descriptors: int) -> List[Obstacle]:
    """What is known to make testpmd fail, from the facts of nic_info (nics, dpdk) alone."""
    found = []
    if not facts["dpdk"]["testpmd"]:
        found.append(Obstacle("testpmd_missing", "dpdk-testpmd is not installed beside a DPDK"))
    if rx_queues != tx_queues or rx_queues < 1 or rx_queues & (rx_queues - 1):
        found.append(
            Obstacle(
                "bad_queues", "{0} receive and {1} transmit queues: net_mana wants as many, a power of two".format(rx_queues, tx_queues)
            )
        )
    if descriptors < MIN_DESCRIPTORS or descriptors % MIN_DESCRIPTORS:
        found.append(Obstacle("bad_descriptors", "{0} descriptors: net_mana wants a multiple of {1}".format(descriptors, MIN_DESCRIPTORS)))
    pools = facts.get("hugepages")
    if pools is not None and not any(pool["free"] for pool in pools):
        found.append(Obstacle("hugepages_missing", "no huge page is free"))
    nics = {nic["mac"]: nic for nic in facts["nics"] or []}
    for mac in macs:
        nic = nics.get(mac)
        if nic is None:
            found.append(
                Obstacle("bad_mac", "no NIC of this host has the MAC {0}; it has: {1}".format(mac, ", ".join(sorted(filter(None, nics)))))
            )
        elif nic["vf"] and not nic["rdma"]:
            found.append(Obstacle("verbs_device_missing", "{0} has no verbs device: its verbs driver is not loaded".format(mac)))
        elif nic["vf"] and nic["vf"]["operstate"] not in ("down", None):
            found.append(Obstacle("vf_up", "{0} is up, and the kernel lets nobody else have it (-19)".format(nic["vf"]["interface"])))
        elif not nic["vf"] and (nic["synthetic"] or {}).get("driver") != "uio_hv_generic":
            found.append(Obstacle("testpmd_no_port", "{0} has no virtual function, and its synthetic half is the kernel's".format(mac)))
    return found


def cores(available: List[int], queues: int, ports: int) -> List[int]:
    """One core for the commands, and one for each queue of each port as far as there are any."""
    return sorted(available)[: 1 + max(1, queues * ports)]


def command(
    program: str, eal: List[str], lcores: List[int], prefix: str, mode: str, queues: int, descriptors: int, mbufs: int, peers: List[str]
) -> List[str]:
    """The command line. Peers: per port the MAC that the packets of some forward modes go to."""
    words = [program, "-l", ",".join(map(str, lcores)), "--file-prefix", prefix, "--huge-unlink"] + eal
    words += ["--", "--interactive", "--forward-mode=" + mode, "--total-num-mbufs={0}".format(mbufs)]
    words += ["--rxq={0}".format(queues), "--txq={0}".format(queues), "--rxd={0}".format(descriptors), "--txd={0}".format(descriptors)]
    for number, peer in enumerate(peers):
        words.append("--eth-peer={0},{1}".format(number, peer))
    return words


_HEADS = {
    "info": re.compile(r"\*+ Infos for port (\d+)\s+\*+"),
    "stats": re.compile(r"#+ NIC statistics for port (\d+)\s+#+"),
    "xstats": re.compile(r"#+ NIC extended statistics for port (\d+)"),
    "forward": re.compile(r"-+ Forward statistics for port (\d+)\s+-+"),
}
_MAC = re.compile(r"^MAC address: ([0-9A-Fa-f:]{17})\s*$", re.M)
_DRIVER = re.compile(r"^Driver name: (\S+)", re.M)
_PAIR = re.compile(r"\b((?:RX|TX)-[a-z]+):\s*(\d+)")
_XSTAT = re.compile(r"^(\w+): (\d+)\s*$", re.M)


def blocks(text: str) -> List[Tuple[str, int, str]]:
    """(kind, port, text) of every block of numbers, in order; a block ends where the next begins, or at a prompt."""
    found = sorted(
        (match.start(), kind, int(match.group(1)), match.end()) for kind, head in _HEADS.items() for match in head.finditer(text)
    )
    ends = [start for start, _kind, _port, _end in found[1:]] + [len(text)]
    result = []
    for (_start, kind, port, begin), end in zip(found, ends):
        result.append((kind, port, text[begin:end].split("testpmd> ")[0]))
    return result


Numbers = Dict[Tuple[str, int], Dict[str, int]]


def _delta(first: Numbers, last: Numbers, kind: str, port: int) -> Dict[str, int]:
    """What the numbers of a port grew by between their first and their last showing."""
    before = first.get((kind, port), {})
    return {name: value - before.get(name, 0) for name, value in last.get((kind, port), {}).items()}


def parse(text: str, seconds: float) -> List[Dict[str, Any]]:
    """What each port did between the first and the last showing of its numbers.

    Bytes and errors are those that the driver counts, ``forward`` what testpmd itself counts. ``vf_*`` are of net_netvsc: what
    went over the virtual function and not over the synthetic half.
    """
    ports: Dict[int, Dict[str, Any]] = {}
    first: Numbers = {}
    last: Numbers = {}
    for kind, number, body in blocks(text):
        port = ports.setdefault(number, {"port": number, "mac": None, "driver": None})
        if kind == "info":
            mac, driver = _MAC.search(body), _DRIVER.search(body)
            port["mac"] = mac.group(1).lower() if mac else port["mac"]
            port["driver"] = driver.group(1) if driver else port["driver"]
            continue
        pairs = (_XSTAT if kind == "xstats" else _PAIR).findall(body)
        numbers = {name: int(value) for name, value in pairs}
        first.setdefault((kind, number), numbers)
        last[(kind, number)] = numbers
    for number, port in ports.items():
        stats = _delta(first, last, "stats", number)
        xstats = _delta(first, last, "xstats", number)
        for direction in ("rx", "tx"):
            for what in ("packets", "bytes", "errors"):
                port["{0}_{1}".format(direction, what)] = stats.get("{0}-{1}".format(direction.upper(), what), 0)
            port[direction + "_pps"] = int(port[direction + "_packets"] / seconds) if seconds > 0 else 0
        port["rx_missed"], port["rx_nombuf"] = stats.get("RX-missed", 0), stats.get("RX-nombuf", 0)
        port["forward"] = {name.lower().replace("-", "_"): value for name, value in sorted(last.get(("forward", number), {}).items())}
        port["xstats"] = {name: value for name, value in sorted(xstats.items()) if value}
        port["vf"] = {name: value for name, value in sorted(xstats.items()) if name.startswith("vf_")}
    return [ports[number] for number in sorted(ports)]


# What testpmd prints -> the reason, the more telling first.
_SIGNS = (
    (re.compile(r"Only support equal number of rx/tx queues|power of 2|power of two"), "bad_queues"),
    (re.compile(r"Invalid value for nb_[rt]x_desc"), "bad_descriptors"),
    (re.compile(r"queues -19\b|ret(?:urned)? -19\b|No such device"), "vf_up"),
    (re.compile(r"No free \d+ kB hugepages|Cannot get hugepage|[Cc]annot allocate memory|[Nn]ot enough memory"), "hugepages_missing"),
    (re.compile(r"No probed ethernet devices|max_rx_queues \(0\)"), "testpmd_no_port"),
)
# In interactive mode it goes on without ports, as if nothing were wrong.
_GAVE_UP = re.compile(r"No probed ethernet devices|Start ports failed|Fail to (?:start|configure) port|Not all ports were started")


def gave_up(text: str) -> bool:
    """Whether a testpmd that still runs has no port to forward on."""
    return bool(_GAVE_UP.search(text))


def why(text: str) -> str:
    """The reason code of an output of a testpmd that failed."""
    return next((reason for sign, reason in _SIGNS if sign.search(text)), "testpmd_failed")


_COMPLAINT = re.compile(r"\bfail|\berror\b|No such|annot|No probed|Only support|Invalid|No free", re.I)


def complaints(text: str) -> str:
    """The lines that say what went wrong."""
    lines = [line.strip() for line in text.splitlines() if _COMPLAINT.search(line) and "- ignore" not in line]
    return " | ".join(lines)[:500]


def tail(text: str, count: int = 20) -> List[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _die_with_parent() -> None:
    """Should we be killed, the kernel kills testpmd (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


class Session:
    """A dpdk-testpmd that takes commands, while the block runs."""

    def __init__(self, words: List[str], prefix: str, deadline: float) -> None:
        self._words, self._prefix, self._deadline = words, prefix, deadline
        self._data = b""
        self._terminal = -1
        self._child: Any = None  # Popen, while the block runs

    @property
    def output(self) -> str:
        return self._data.decode("utf-8", "replace").replace("\r\n", "\n")

    def __enter__(self) -> "Session":
        # To a pipe it would write its prompts at once and all else at the end; to a terminal it writes line by line.
        self._terminal, theirs = pty.openpty()
        tty.setraw(theirs)
        try:
            self._child = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=theirs,
                stderr=theirs,
                env=environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent,
                bufsize=0,
            )
        except BaseException:
            os.close(self._terminal)
            raise
        finally:
            os.close(theirs)
        try:
            self.expect(1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: Any) -> None:
        """End it: politely when it can still hear us."""
        child = self._child
        if child is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if child.poll() is None:
                child.stdin.write(b"quit\n")
            child.stdin.close()
        self._read_until(lambda: False, time.monotonic() + POLITE)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if child.poll() is not None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
        child.wait()
        os.close(self._terminal)
        # What a killed one leaves behind; its huge pages are unlinked since it began.
        shutil.rmtree("/var/run/dpdk/" + self._prefix, ignore_errors=True)

    def _read_until(self, done: Any, limit: float) -> bool:
        """Read until the condition holds; False when the time is up or testpmd ended."""
        while not done():
            ready, _w, _x = select.select([self._terminal], [], [], max(0.0, min(limit - time.monotonic(), 1.0)))
            if ready:
                try:
                    part = os.read(self._terminal, 65536)
                except OSError:
                    part = b""  # EIO: nobody has the other end any more
                if not part:
                    self._child.wait()
                    return False
                self._data = (self._data + part)[-_OUTPUT_LIMIT:]
            elif time.monotonic() >= limit:
                return False
        return True

    def expect(self, prompts: int) -> None:
        """Wait for so many prompts in all. Raises AccelnetError: testpmd_timeout, or why it ended."""
        if self._read_until(lambda: self._data.count(PROMPT) >= prompts, self._deadline):
            return
        if self._child.poll() is None:
            raise AccelnetError("testpmd_timeout", "dpdk-testpmd did not answer in time")
        raise AccelnetError(why(self.output), "dpdk-testpmd ended ({0}): {1}".format(self._child.returncode, complaints(self.output)))

    def demand_ports(self) -> None:
        """Raises AccelnetError when it could not start the ports."""
        if gave_up(self.output):
            raise AccelnetError(why(self.output), "dpdk-testpmd could not start its ports: {0}".format(complaints(self.output)))

    def say(self, text: str) -> None:
        """Give a command and wait for the prompt after it."""
        prompts = self._data.count(PROMPT)
        try:
            self._child.stdin.write(text.encode("ascii") + b"\n")
        except OSError:
            pass  # it ended; expect tells why
        self.expect(prompts + 1)

    def listen(self, seconds: float) -> None:
        """Let it work. Raises AccelnetError when it ends meanwhile."""
        self._read_until(lambda: False, min(time.monotonic() + seconds, self._deadline))
        if self._child.poll() is not None:
            self.expect(1 << 30)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Signals that end us become exceptions, so that what was started is ended first."""

    def stop(number: int, _frame: Any) -> None:
        raise AccelnetError("testpmd_timeout", "ended by signal {0}".format(number))

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def forward(
    words: List[str], prefix: str, seconds: float, timeout: float, tx_first: bool = False
) -> Tuple[List[Dict[str, Any]], float, str]:
    """(what each port did, the measured seconds, the output). Raises AccelnetError with an attribute ``output``."""
    session = Session(words, prefix, time.monotonic() + timeout + seconds)
    try:
        with signals_raise(), session:
            session.demand_ports()
            session.say("show port info all")
            session.say("show port stats all")
            session.say("show port xstats all")
            begin = time.monotonic()
            session.say("start tx_first" if tx_first else "start")
            session.demand_ports()
            session.listen(seconds)
            session.say("stop")
            measured = time.monotonic() - begin
            session.say("show port stats all")
            session.say("show port xstats all")
    except AccelnetError as error:
        error.output = session.output  # type: ignore[attr-defined]
        raise
    return parse(session.output, measured), measured, session.output
