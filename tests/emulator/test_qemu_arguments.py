# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What QEMU is called with."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from lab.vm.errors import LabError
from lab.vm.qemu import Bios, DirectKernel, Disk, Machine, NumaNode, Uefi, VfioUserFunction, arguments

KERNEL = DirectKernel(Path("/i/vmlinuz"), Path("/i/initrd"), "root=LABEL=x console=ttyS0")
MACHINE = Machine("lab-vm", KERNEL, Disk(Path("/i/disk.img")), Path("/r/serial.log"), Path("/r/qmp.sock"))


def values(machine: Machine, name: str) -> list[str]:
    """What follows each of this option."""
    given = arguments(machine)
    return [given[index + 1] for index, word in enumerate(given) if word == name]


def devices(machine: Machine, driver: str) -> list[dict[str, str]]:
    """The -device arguments of a driver, which are words with commas."""
    rows = [value.split(",") for value in values(machine, "-device") if value.split(",")[0] == driver]
    return [dict(part.partition("=")[::2] for part in row[1:]) for row in rows]


def functions(machine: Machine) -> list[dict[str, object]]:
    return [json.loads(value) for value in values(machine, "-device") if value.startswith("{")]


def change(**changes: object) -> Machine:
    return dataclasses.replace(MACHINE, **changes)  # type: ignore[arg-type]


def test_the_device_server_can_map_the_memory() -> None:
    assert values(MACHINE, "-object") == ["memory-backend-memfd,id=memory,size=2048M,share=on"]
    assert values(MACHINE, "-machine") == ["q35,memory-backend=memory"]
    assert values(MACHINE, "-m") == ["2048M"]


def test_nothing_of_the_users_or_by_default() -> None:
    given = arguments(MACHINE)
    assert {"-nodefaults", "-no-user-config"} <= set(given)
    assert values(MACHINE, "-display") == ["none"]
    assert values(MACHINE, "-accel") == ["tcg,thread=multi"]


def test_direct_kernel() -> None:
    assert values(MACHINE, "-kernel") == ["/i/vmlinuz"]
    assert values(MACHINE, "-initrd") == ["/i/initrd"]
    assert values(MACHINE, "-append") == ["root=LABEL=x console=ttyS0"]
    assert values(change(append="a=1 b"), "-append") == ["root=LABEL=x console=ttyS0 a=1 b"]


def test_only_qemus_own_kernel_takes_more_words() -> None:
    with pytest.raises(LabError, match="command line"):
        change(firmware=Bios(), append="a=1")


def test_bios_loads_no_kernel() -> None:
    given = arguments(change(firmware=Bios()))
    assert not {"-kernel", "-append", "-initrd"} & set(given)


def test_uefi_has_code_read_only_and_its_own_variables() -> None:
    machine = change(firmware=Uefi(Path("/t/CODE.fd"), Path("/r/vars.fd")))
    code, variables, _disk = values(machine, "-drive")
    assert code == "if=pflash,unit=0,format=raw,readonly=on,file=/t/CODE.fd"
    assert variables == "if=pflash,unit=1,format=raw,file=/r/vars.fd"
    assert values(machine, "-machine") == ["q35,memory-backend=memory"]
    assert values(machine, "-global") == []


def test_secure_boot_protects_the_variables() -> None:
    machine = change(firmware=Uefi(Path("/t/CODE.fd"), Path("/r/vars.fd"), secure_boot=True))
    assert values(machine, "-machine") == ["q35,memory-backend=memory,smm=on"]
    assert "driver=cfi.pflash01,property=secure,value=on" in values(machine, "-global")


def test_the_image_is_not_written_to_unless_that_is_wanted() -> None:
    assert "snapshot=on" in values(MACHINE, "-drive")[0].split(",")
    persistent = values(change(disk=Disk(Path("/r/vm.qcow2"), "qcow2", snapshot=False)), "-drive")[0].split(",")
    assert {"snapshot=off", "format=qcow2", "file=/r/vm.qcow2"} <= set(persistent)


def test_commas_in_paths() -> None:
    machine = change(disk=Disk(Path("/a,b/disk.img")), serial_log=Path("/a,b/serial.log"), qmp_socket=Path("/a,b/q.sock"))
    assert values(machine, "-drive")[0].endswith(",file=/a,,b/disk.img")
    assert "path=/a,,b/serial.log" in values(machine, "-chardev")[0]
    assert values(machine, "-qmp") == ["unix:/a,,b/q.sock,server=on,wait=off"]


def test_no_two_machines_want_the_same_port() -> None:
    assert values(MACHINE, "-netdev") == ["user,id=management,hostfwd=tcp:127.0.0.1:0-:22"]


def test_azures_asset_tag() -> None:
    assert any("asset=7783-7084-3265-9085-8269-3286-77" in value for value in values(MACHINE, "-smbios"))
    assert values(change(azure=False), "-smbios") == []


def test_a_function_behind_a_root_port_can_be_plugged_again() -> None:
    function = VfioUserFunction("vf0", Path("/r/vf0.sock"))
    machine = change(functions=(function,))
    (port,) = devices(machine, "pcie-root-port")
    assert (port["id"], port["bus"]) == ("vf0-port", "pcie.0")
    socket = {"type": "unix", "path": "/r/vf0.sock"}
    assert functions(machine) == [{"driver": "vfio-user-pci", "id": "vf0", "bus": "vf0-port", "socket": socket}]
    # What QMP adds later is the same device in the same place.
    assert function.device() == functions(machine)[0]


def test_a_function_that_is_plugged_in_later_has_its_port_already() -> None:
    machine = change(functions=(VfioUserFunction("vf0", Path("/r/vf0.sock"), present=False),))
    assert [port["id"] for port in devices(machine, "pcie-root-port")] == ["vf0-port"]
    assert functions(machine) == []
    with pytest.raises(LabError, match="hotplug"):
        change(functions=(VfioUserFunction("vf0", Path("/r/vf0.sock"), hotplug=False, present=False),))


def test_a_function_on_the_root_bus() -> None:
    machine = change(functions=(VfioUserFunction("vf0", Path("/r/vf0.sock"), hotplug=False),))
    assert devices(machine, "pcie-root-port") == []
    (device,) = functions(machine)
    assert (device["bus"], device["addr"]) == ("pcie.0", "0x10")


def test_functions_do_not_share_slots() -> None:
    machine = change(functions=tuple(VfioUserFunction(f"vf{n}", Path(f"/r/{n}"), hotplug=n != 1) for n in range(3)))
    ports = devices(machine, "pcie-root-port")
    slots = [port["addr"] for port in ports] + [device["addr"] for device in functions(machine) if "addr" in device]
    assert len(slots) == len(set(slots)) == 3
    assert len({port["chassis"] for port in ports}) == 2


def test_numa_nodes_have_the_memory() -> None:
    machine = change(numa=(NumaNode(1024, "0"), NumaNode(1024, "1")))
    assert values(machine, "-machine") == ["q35"]
    assert values(machine, "-smp") == ["2,sockets=2"]
    assert [value.split(",")[1:3] for value in values(machine, "-object")] == [["id=memory0", "size=1024M"], ["id=memory1", "size=1024M"]]
    assert values(machine, "-numa") == ["node,nodeid=0,memdev=memory0,cpus=0", "node,nodeid=1,memdev=memory1,cpus=1"]
    assert all(value.endswith("share=on") for value in values(machine, "-object"))


def test_numa_nodes_add_up() -> None:
    with pytest.raises(LabError, match="1024 MiB"):
        change(numa=(NumaNode(512, "0"), NumaNode(512, "1")))


def test_a_function_near_a_node() -> None:
    nodes = (NumaNode(1024, "0"), NumaNode(1024, "1"))
    machine = change(numa=nodes, functions=(VfioUserFunction("vf0", Path("/r/0"), numa_node=1),))
    (expander,) = devices(machine, "pxb-pcie")
    assert (expander["id"], expander["numa_node"]) == ("vf0-node", "1")
    assert devices(machine, "pcie-root-port")[0]["bus"] == "vf0-node"
    # QEMU allows nothing but bridges on an expander.
    with pytest.raises(LabError, match="root port"):
        change(numa=nodes, functions=(VfioUserFunction("vf0", Path("/r/0"), numa_node=1, hotplug=False),))


def test_a_node_that_is_not_there() -> None:
    with pytest.raises(LabError, match="NUMA node"):
        change(functions=(VfioUserFunction("vf0", Path("/r/0"), numa_node=0),))


def test_failover_pair() -> None:
    machine = change(functions=(VfioUserFunction("vf0", Path("/r/0"), failover_mac="7c:1e:52:00:00:01"),))
    pair = [device for device in devices(machine, "virtio-net-pci") if device.get("failover") == "on"]
    assert [(device["mac"], device["bus"]) for device in pair] == [("7c:1e:52:00:00:01", "pcie.0")]
    assert f"hubport,id={pair[0]['netdev']},hubid=1" in values(machine, "-netdev")


def test_further_arguments_are_passed_as_they_are() -> None:
    assert arguments(change(extra=("-s", "-S")))[-2:] == ("-s", "-S")
