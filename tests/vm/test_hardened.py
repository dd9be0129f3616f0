# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver under conditions that show missing maps, missing syncs and memory errors, which QEMU's coherent DMA hides otherwise.

All DMA goes through bounce buffers (a missing sync is lost data), freed memory is poisoned and checked, the first warning ends the
guest, four processors in two NUMA nodes race with each other. The kernel's log is judged when the lab ends.
"""

from __future__ import annotations

import collections.abc
import contextlib
import re

import pytest
from guest import LOAD, RESPONDER, echo, start, vport, wait_for, wait_for_traffic
from lab.vm.lab import FunctionSpec, Lab, VmSpec
from lab.vm.qemu import NumaNode
from lab.vm.spec import vport_mac

pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module", params=["debian-13", "debian-13-backports"], ids=["6.12", "newest"])
def hardened(request: pytest.FixtureRequest) -> collections.abc.Iterator[Lab]:
    spec = VmSpec(
        guest=request.param,
        cpus=4,
        numa=(NumaNode(1536, "0-1"), NumaNode(1536, "2-3")),
        memory=3072,
        append="swiotlb=force slub_debug=FZPU panic_on_warn=1",
        functions=(FunctionSpec(macs=(vport_mac(0, 0), vport_mac(0, 1)), numa_node=1, options={"enforce_source_mac": True}),),
    )
    with Lab(vms=[spec]) as lab:
        # While the NIC is away, nobody else answers for its network: QEMU's user network, the default route, would reset connections.
        lab.vm.run("ip route add blackhole 10.77.0.0/24 metric 9999")
        lab.connect()
        yield lab


# xdp.py INTERFACE off|pass|INTERFACE: what becomes of its frames. Debian's ip needs an object file for that, and so a compiler.
XDP = """
import ctypes, os, socket, struct, sys
name, action = sys.argv[1:]
def insn(code, register=0, immediate=0):
    return struct.pack("=BBhi", code, register, 0, immediate)
if action == "off":
    program = -1
else:
    move, call, leave = 0xb7, 0x85, 0x95  # linux/bpf.h, linux/bpf_common.h
    if action == "pass":
        code = insn(move, 0, 2)
    else:  # bpf_redirect(index, 0)
        code = insn(move, 1, socket.if_nametoindex(action)) + insn(move, 2, 0) + insn(call, 0, 23)
    code = ctypes.create_string_buffer(code + insn(leave))
    license = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(4096)
    attributes = struct.pack(
        "=IIQQIIQ", 6, len(code) // 8, ctypes.addressof(code), ctypes.addressof(license), 1, len(log), ctypes.addressof(log)
    )
    attributes = ctypes.create_string_buffer(attributes, 128)
    program = ctypes.CDLL(None, use_errno=True).syscall(321, 5, attributes, 128)  # bpf(BPF_PROG_LOAD)
    if program < 0:
        sys.exit("bpf: %s: %s" % (os.strerror(ctypes.get_errno()), log.value.decode()))
def attribute(kind, data):
    return struct.pack("=HH", len(data) + 4, kind) + data
# linux/rtnetlink.h, linux/if_link.h: RTM_SETLINK with IFLA_XDP, in the driver.
nest = attribute(43 | 0x8000, attribute(1, struct.pack("=i", program)) + attribute(3, struct.pack("=I", 4)))
body = struct.pack("=BxHiII", 0, 0, socket.if_nametoindex(name), 0, 0) + nest
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.send(struct.pack("=IHHII", 16 + len(body), 19, 5, 1, 0) + body)
error = struct.unpack_from("=i", netlink.recv(65536), 16)[0]
if error:
    sys.exit("rtnetlink: " + os.strerror(-error))
"""


# blast.py INTERFACE ADDRESS COUNT: so many datagrams to the echo service, slowly enough for most to be answered.
BLAST = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
for number in range(int(sys.argv[3])):
    sender.sendto(b"x" * 64, (sys.argv[2], 7))
    if number % 32 == 31:
        time.sleep(0.01)
time.sleep(2)
"""


@contextlib.contextmanager
def traffic(lab: Lab) -> collections.abc.Iterator[None]:
    """A connection that sends and receives as fast as it can all the while; what came back is what was sent."""
    lab.vm.run("rm -f /run/enough")
    start(lab.vm, "load", LOAD, RESPONDER, "7")
    wait_for_traffic(lab, 1 << 20)
    yield
    wait_for_traffic(lab, 1 << 20)
    lab.vm.run("touch /run/enough")
    wait_for(lab.vm, "test -s /run/load.log")
    log = lab.vm.run("cat /run/load.log").out
    sent, received, _ = log.split()
    assert sent == received, log


def interface(lab: Lab, number: int = 0) -> str:
    return lab.vm.interface(lab.vm.spec.functions[0].macs[number])


def test_the_conditions(hardened: Lab) -> None:
    log = hardened.vm.run("dmesg").out
    assert "software IO TLB" in log
    words = hardened.vm.run("cat /proc/cmdline").out.split()
    assert {"swiotlb=force", "slub_debug=FZPU", "panic_on_warn=1"} <= set(words)
    assert hardened.vm.run("nproc; ls -d /sys/devices/system/node/node* | wc -l").out.split() == ["4", "2"]
    assert hardened.vm.run(f"cat /sys/class/net/{interface(hardened)}/device/numa_node").out == "1\n"


def test_rings_channels_and_mtu_change_under_traffic(hardened: Lab) -> None:
    name, run = interface(hardened), hardened.vm.run
    with traffic(hardened):
        for channels in (1, 4, 2):
            run(f"ethtool -L {name} combined {channels}")
            wait_for_traffic(hardened, 1 << 18)
        for rx, tx in ((256, 256), (1024, 512), (512, 256)):
            run(f"ethtool -G {name} rx {rx} tx {tx}")
            wait_for_traffic(hardened, 1 << 18)
        # Not less than 1500: the other side goes on sending what it was promised in the beginning.
        for mtu in (9000, 4000, 1500):
            run(f"ip link set {name} mtu {mtu}")
            wait_for_traffic(hardened, 1 << 18)


def test_the_settings_of_the_second_vport(hardened: Lab) -> None:
    """The hash table, and coalescing wherever the driver knows it."""
    name, run = interface(hardened, 1), hardened.vm.run
    run(f"ethtool -L {name} combined 4 && ethtool -X {name} weight 0 1 1 2")
    used = {word for line in run(f"ethtool -x {name}").out.splitlines()[1:] if ":" in line for word in line.split(":")[1].split()}
    assert {"1", "2", "3"} <= used, used
    assert "0" not in used
    run(f"ethtool -X {name} equal 4")
    shown = run(f"ethtool -c {name}", check=False)
    usecs = re.search(r"^rx-usecs:\s+(\d+)$", shown.out, re.MULTILINE)
    if shown.code == 0 and usecs is not None:
        run(f"ethtool -C {name} rx-usecs {int(usecs[1]) + 1}")


def test_xdp_redirects_and_loses_no_memory(hardened: Lab) -> None:
    """What arrives at the first vPort leaves by the second: the answers of the responder, which so never arrive."""
    first, second, run = interface(hardened), interface(hardened, 1), hardened.vm.run
    run(f"ethtool -L {first} combined 2; ethtool -L {second} combined 2; ip link set {first} mtu 1500; ip link set {second} mtu 1500")
    hardened.vm.ssh.put(XDP.encode(), "/run/xdp.py")
    hardened.vm.ssh.put(BLAST.encode(), "/run/blast.py")
    run(f"ping -c 2 -W 5 -I {first} {RESPONDER}")
    run(f"python3 /run/xdp.py {second} pass && python3 /run/xdp.py {first} {second}")
    count = 16000
    before, free = vport(hardened, 1), available(hardened)
    run(f"python3 /run/blast.py {first} {RESPONDER} {count}")
    after, left = vport(hardened, 1), available(hardened)
    run(f"python3 /run/xdp.py {first} off && python3 /run/xdp.py {second} off")
    # Their source is the responder, so that the NIC refuses them. Else they would go to the first vPort again, for ever.
    assert after["tx_err_SA_enforcement"] - before["tx_err_SA_enforcement"] > count // 4
    run(f"ping -c 2 -W 5 -I {first} {RESPONDER}")
    # Each has a page.
    assert free - left < count // 4 * 4096


def available(lab: Lab) -> int:
    """Bytes of memory, after what can be freed was freed."""
    return int(lab.vm.run("sync; echo 3 > /proc/sys/vm/drop_caches; awk '/^MemFree/ {print $2}' /proc/meminfo").out) << 10


def test_the_function_goes_and_returns_under_traffic(hardened: Lab) -> None:
    with traffic(hardened):
        for _ in range(2):
            hardened.vm.take_away()
            hardened.vm.give_back()
            hardened.connect()
            wait_for_traffic(hardened, 1 << 18)


def test_the_module_is_loaded_again(hardened: Lab) -> None:
    hardened.vm.run("if grep -q ^mana_ib /proc/modules; then rmmod mana_ib; fi; rmmod mana; modprobe mana")
    hardened.connect()
    sent, received = echo(hardened.vm, 4)
    assert sent == received
