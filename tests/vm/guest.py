# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several files of these tests do in a guest."""

from __future__ import annotations

import json
import shlex
import time
import typing as t

from lab.vm.lab import Lab
from lab.vm.virtual_machine import VirtualMachine

RESPONDER = "10.77.0.1"
RESPONDER6 = "fd77::1"
PEER = "10.77.0.9"

# Sends random bytes to an echo service, reads them back, and prints both digests: nothing but the network is in between.
ECHO = """
import hashlib, os, socket, sys, threading
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connection = socket.create_connection((address, port), timeout=300)
sent, received, left = hashlib.sha256(), hashlib.sha256(), count
def send():
    for _ in range(count >> 16):
        block = os.urandom(1 << 16)
        sent.update(block)
        connection.sendall(block)
thread = threading.Thread(target=send)
thread.start()
while left:
    block = connection.recv(1 << 16)
    if not block:
        sys.exit("the connection ended early, %d bytes were missing" % left)
    received.update(block)
    left -= len(block)
thread.join()
print(sent.hexdigest(), received.hexdigest())
"""

# Does the same until there is a file /run/enough, and prints the number of bytes too.
LOAD = """
import hashlib, os, socket, sys, threading
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=300)
sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
def send():
    while not os.path.exists("/run/enough"):
        block = os.urandom(1 << 16)
        sent.update(block)
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
thread = threading.Thread(target=send)
thread.start()
while block := connection.recv(1 << 16):
    received.update(block)
    count += len(block)
thread.join()
print(sent.hexdigest(), received.hexdigest(), count)
"""

ECHO_SERVER = """
import socket, threading
def serve(connection):
    while block := connection.recv(65536):
        connection.sendall(block)
    connection.close()
listener = socket.create_server(("", 5001))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def echo(vm: VirtualMachine, mebibytes: int, address: str = RESPONDER, port: int = 7) -> tuple[str, str]:
    """Digests of what was sent, and of what came back."""
    script = "/run/echo.py"
    vm.ssh.put(ECHO.encode(), script)
    sent, received = vm.run(["python3", script, address, str(port), str(mebibytes << 20)], timeout=900).out.split()
    return sent, received


def start(vm: VirtualMachine, name: str, script: str, *arguments: str, namespace: str = "") -> None:
    """Run a Python script in the guest's background; what it prints goes to /run/NAME.log."""
    vm.ssh.put(script.encode(), f"/run/{name}.py")
    prefix = f"ip netns exec {namespace} " if namespace else ""
    vm.run(f"(setsid {prefix}python3 /run/{name}.py {shlex.join(arguments)} > /run/{name}.log 2>&1 < /dev/null &)")


def serve_echo(vm: VirtualMachine) -> None:
    """An echo service for TCP at port 5001 of the guest, for as long as the guest runs."""
    if vm.run("ss -Hltn sport = :5001").out:
        return
    start(vm, "serve-echo", ECHO_SERVER)
    wait_for(vm, "ss -Hltn sport = :5001 | grep -q .")


def wait_for(vm: VirtualMachine, condition: str) -> None:
    """Until this shell command succeeds; LabError when it has not for a minute, a busy host's allowance included for slow commands."""
    vm.run(f"end=$(($(date +%s) + 60)); until {condition}; do [ $(date +%s) -lt $end ] || exit 1; sleep 0.2; done")


def statistic(vm: VirtualMachine, interface: str, name: str) -> int:
    """One line of ethtool -S."""
    for line in vm.run(["ethtool", "-S", interface]).out.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == name:
            return int(value)
    raise AssertionError(f"ethtool -S {interface} knows no {name}")


def snmp(vm: VirtualMachine, name: str, namespace: str = "") -> int:
    """A counter of the guest's network stack, as nstat names it."""
    prefix = f"ip netns exec {namespace} " if namespace else ""
    for line in vm.run(f"{prefix}nstat -asz {name}").out.splitlines():
        if line.startswith(name + " "):
            return int(line.split()[1])
    raise AssertionError(f"no counter {name}")


def vport(lab: Lab, number: int = 0, function: int = 0) -> dict[str, t.Any]:
    """The device's own counters of a vPort."""
    found: dict[str, t.Any] = lab.device.command("counters")["functions"][function]["vports"][number]
    return found


def wait_for_traffic(lab: Lab, octets: int, number: int = 0, function: int = 0) -> None:
    """Until the vPort has sent so many bytes more, for a minute at most."""
    goal = vport(lab, number, function)["hc_tx_bytes"] + octets
    deadline = time.monotonic() + 60
    while vport(lab, number, function)["hc_tx_bytes"] < goal:
        assert time.monotonic() < deadline, "there is no traffic"
        time.sleep(0.1)


def offload(vm: VirtualMachine, interface: str, **features: bool) -> None:
    """ethtool -K; the names with underscores."""
    for name, on in features.items():
        vm.run(["ethtool", "-K", interface, name.replace("_", "-"), "on" if on else "off"])


def link_json(vm: VirtualMachine, interface: str) -> dict[str, t.Any]:
    (found,) = json.loads(vm.run(["ip", "-d", "-j", "link", "show", interface]).out)
    assert isinstance(found, dict)
    return found
