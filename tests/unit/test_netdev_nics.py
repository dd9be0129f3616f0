# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces, PCI functions, VMBus devices, and the NICs that they make together."""

import json

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _netdev
from ansible_collections.accelnet.mana.plugins.module_utils._netdev import Netdev
from ansible_collections.accelnet.mana.plugins.module_utils._nics import join_nics
from trees import link, merged, netdev, pci, pci_path, verbs, vmbus, vmbus_path

MAC = ["00:22:48:71:c2:8{0}".format(number) for number in range(10)]
GUID = ["f8615163-0000-1000-2000-" + mac.replace(":", "") for mac in MAC]
PCI = "7870:00:00.0"
RECORD = "/var/lib/accelnet/dpdk_port.json"


def synthetic(number=0, name=None, **attributes):
    name = name or "eth{0}".format(number)
    return merged(vmbus(GUID[number]), netdev(name, MAC[number], vmbus_path(GUID[number]), **attributes))


def vf(number=0, name=None, master="eth{n}", address=PCI, **attributes):
    name = name or "enP30832s1" + ("" if not number else "d{0}".format(number))
    attributes.setdefault("dev_port", str(number))
    return netdev(name, MAC[number], pci_path(address), master=master and master.format(n=number), **attributes)


def paired(number=0):
    return merged(synthetic(number, lower=[vf_name(number)]), vf(number))


def vf_name(number):
    return "enP30832s1" + ("" if not number else "d{0}".format(number))


def nics(*parts, **answers):
    return trees.facts(merged({"/sys/class/net": {"dir": True}}, *parts), subset=["nics"], **answers)["nics"]


def short(found):
    """(interface, MAC, kind, use, paired, VF's interface) of NICs."""
    return [(nic["interface"], nic["mac"], nic["kind"], nic["use"], nic["paired"], (nic["vf"] or {}).get("interface")) for nic in found]


def test_one_nic_with_everything():
    netlink = {"addresses": {"eth0": ["fe80::1/64", "10.0.0.4/24"], vf_name(0): []}, "default_routes": ["eth0"]}
    found = nics(paired(), pci(PCI), verbs("mana_0", PCI), netlink=netlink, ethtool={"eth0": {"vf_rx_bytes": 7, "vf_tx_bytes": 8}})
    assert found == [
        {
            "interface": "eth0",
            "mac": MAC[0],
            "kind": "mana",
            "use": "kernel",
            "handed_over": False,
            "paired": True,
            "synthetic": {"interface": "eth0", "driver": "hv_netvsc", "vmbus_device": GUID[0], "operstate": "up"},
            "vf": {"interface": vf_name(0), "pci_address": PCI, "driver": "mana", "dev_port": 0, "operstate": "up", "addresses": []},
            "rdma": {"device": "mana_0", "port": 1, "raw_packet": True},
            "mtu": 1500,
            "addresses": ["10.0.0.4/24", "fe80::1/64"],
            "default_route": True,
            "statistics": {"rx_bytes": 1000, "tx_bytes": 2000, "vf_rx_bytes": 7, "vf_tx_bytes": 8},
        }
    ]


def test_without_recorded_answers_addresses_are_unknown_not_empty():
    (nic,) = nics(paired(), pci(PCI))
    assert (nic["addresses"], nic["vf"]["addresses"], nic["default_route"], nic["statistics"]["vf_rx_bytes"]) == (None, None, None, None)
    (nic,) = nics(paired(), pci(PCI), netlink={"addresses": {}})
    assert (nic["addresses"], nic["default_route"]) == ([], None)


def test_several_nics_on_one_function():
    found = nics(paired(0), paired(1), paired(2), pci(PCI), verbs("mana_0", PCI, ports=(1, 2, 3)))
    assert short(found) == [("eth{0}".format(n), MAC[n], "mana", "kernel", True, vf_name(n)) for n in range(3)]
    assert [(nic["vf"]["dev_port"], nic["rdma"]["port"]) for nic in found] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("name", "parts", "expected"),
    [
        ("no VF offered", [synthetic()], [("eth0", MAC[0], "synthetic", "kernel", False, None)]),
        ("function without driver", [synthetic(), pci(PCI, driver=None)], [("eth0", MAC[0], "synthetic", "kernel", False, None)]),
        (
            "not enslaved: same MAC",
            [synthetic(), vf(master=None), pci(PCI)],
            [("eth0", MAC[0], "mana", "kernel", False, vf_name(0))],
        ),
        (
            "the kernel's link wins over the MAC",
            [synthetic(0), synthetic(1), vf(0, master="eth1"), pci(PCI)],
            [("eth0", MAC[0], "synthetic", "kernel", False, None), ("eth1", MAC[1], "mana", "kernel", True, vf_name(0))],
        ),
        ("unpaired", [vf(master=None), pci(PCI)], [(vf_name(0), MAC[0], "mana", "kernel", False, vf_name(0))]),
        (
            "Mellanox with an unknown id",
            [synthetic(), vf(), pci(PCI, "15b3:ffff", "mlx5_core")],
            [("eth0", MAC[0], "mlx5", "kernel", True, vf_name(0))],
        ),
        (
            "some other VF that netvsc took",
            [synthetic(), vf(), pci(PCI, "8086:1515", "ixgbevf")],
            [("eth0", MAC[0], "other", "kernel", True, vf_name(0))],
        ),
        (
            "no VF of Azure's",
            [netdev("ens3", MAC[5], pci_path("0000:00:03.0")), pci("0000:00:03.0", "8086:100e", "e1000")],
            [("ens3", MAC[5], "other", "kernel", False, None)],
        ),
        (
            "a VF in a bond, with the bond's MAC",
            [
                synthetic(),
                pci(PCI),
                netdev(vf_name(0), MAC[9], pci_path(PCI), master="bond0", bonding_slave__perm_hwaddr=MAC[0]),
                netdev("bond0", MAC[9]),
            ],
            [("eth0", MAC[0], "mana", "kernel", False, vf_name(0))],
        ),
        (
            "USB",
            [netdev("usb0", MAC[4], "/sys/devices/usb1/1-1:1.0")],
            [("usb0", MAC[4], "other", "kernel", False, None)],
        ),
        (
            "a VF without MAC",
            [synthetic(), netdev(vf_name(0), None, pci_path(PCI)), pci(PCI)],
            [(vf_name(0), None, "mana", "kernel", False, vf_name(0)), ("eth0", MAC[0], "synthetic", "kernel", False, None)],
        ),
    ],
)
def test_what_makes_a_nic(name, parts, expected):
    assert short(nics(*parts)) == expected, name


def virtual(name, mac=MAC[0], **attributes):
    return netdev(name, mac, **attributes)


NOISE = [
    virtual("lo", "00:00:00:00:00:00", type="772"),
    virtual("bond0", lower=["eth0"]),
    virtual("eth0.100", lower=["eth0"]),
    virtual("br0"),
    virtual("veth1234", MAC[7], master="br0"),
    virtual("dummy0", MAC[8]),
    virtual("macvlan0", lower=["eth0"]),
    virtual("ipvl0", lower=["eth0"]),
    virtual("tun0", None, type="65534"),
    virtual("wg0", None, type="65534"),
    virtual("docker0", MAC[9]),
    virtual("ib0", "80:00:00:48:fe:80", type="32"),
    netdev("ibP1s2", "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33", pci_path("0101:00:00.0"), type="32"),
    pci("0101:00:00.0", "15b3:101e", "mlx5_core", pci_class="0x020700"),
    pci("c05b:00:00.0", "1414:b111", "nvme", pci_class="0x010802"),
    pci("6f1c:00:00.0", "1414:00a9", "nvme", pci_class="0x010802"),
    {"/sys/class/net/bonding_masters": "bond0\n"},
]


def test_virtual_interfaces_and_look_alikes_do_not_confuse():
    files = merged(paired(), pci(PCI), *NOISE)
    found = trees.facts(files, subset=["nics"])
    assert short(found["nics"]) == [("eth0", MAC[0], "mana", "kernel", True, vf_name(0))]
    assert [function["address"] for function in found["pci_functions"]] == [PCI]
    assert found["read_warnings"] == []


def test_a_bond_s_member_shows_the_bond_s_mac():
    parts = [vmbus(GUID[1]), netdev("eth1", MAC[0], vmbus_path(GUID[1]), master="bond0", bonding_slave__perm_hwaddr=MAC[1].upper())]
    found = nics(*(parts + [vf(1, master=None), pci(PCI), virtual("bond0", lower=["eth1"])]))
    assert short(found) == [("eth1", MAC[1], "mana", "kernel", False, vf_name(1))]


@pytest.mark.parametrize(
    ("parts", "routes", "answer"),
    [
        ([synthetic()], ["eth0"], True),
        ([synthetic()], ["eth1"], False),
        ([synthetic()], [], False),
        ([synthetic(master="bond0"), virtual("bond0", lower=["eth0"])], ["bond0"], True),
        ([synthetic(master="bond0"), virtual("bond0", upper=["bond0.5"]), virtual("bond0.5", lower=["bond0"])], ["bond0.5"], True),
        ([synthetic(upper=["eth0.5"]), virtual("eth0.5", lower=["eth0"])], ["eth0.5"], True),
        ([synthetic(master="br0"), virtual("br0")], ["br0"], True),
        ([synthetic(), virtual("dummy0")], ["dummy0"], False),
    ],
)
def test_default_routes_through_what_is_stacked(parts, routes, answer):
    (nic,) = nics(*parts, netlink={"addresses": {}, "default_routes": routes})
    assert nic["default_route"] is answer


def test_a_loop_of_uppers_ends():
    (nic,) = nics(
        synthetic(upper=["a"]), virtual("a", upper=["b"]), virtual("b", upper=["a"]), netlink={"addresses": {}, "default_routes": ["x"]}
    )
    assert nic["default_route"] is False


def userspace(guid=GUID[0], **more):
    return vmbus(guid, driver="uio_hv_generic", override="uio_hv_generic", **more)


OLD_GUID = "000d3a7c-dd2b-000d-3a7c-dd2b000d3a7c"
RANDOM_GUID = "0e8fdd1f-9a41-4c3c-a65c-d0a1a9d1b2c3"


@pytest.mark.parametrize(
    ("guid", "record", "mac", "handed_over"),
    [
        (GUID[0], [{"mac": MAC[0].upper(), "vmbus_device": GUID[0], "mode": "netvsc"}], MAC[0], True),
        (GUID[0], None, MAC[0], False),
        (OLD_GUID, None, "00:0d:3a:7c:dd:2b", False),
        (RANDOM_GUID, [{"mac": MAC[3], "vmbus_device": RANDOM_GUID, "mode": "netvsc"}], MAC[3], True),
        (RANDOM_GUID, None, None, False),
        (GUID[0], [{"mac": MAC[1], "vmbus_device": GUID[1]}], MAC[0], False),
    ],
)
def test_a_nic_in_user_space(guid, record, mac, handed_over):
    files = {RECORD: json.dumps({"ports": record})} if record else {}
    (nic,) = nics(userspace(guid), files)
    assert (nic["interface"], nic["mac"], nic["use"], nic["handed_over"]) == (None, mac, "userspace", handed_over)
    assert nic["synthetic"] == {"interface": None, "driver": "uio_hv_generic", "vmbus_device": guid, "operstate": None}
    assert (nic["kind"], nic["vf"], nic["addresses"], nic["default_route"], nic["mtu"]) == ("synthetic", None, None, None, None)


def test_a_nic_in_user_space_keeps_its_vf():
    (nic,) = nics(userspace(), vf(master=None, operstate="down"), pci(PCI))
    assert (nic["interface"], nic["kind"], nic["vf"]["interface"], nic["vf"]["operstate"]) == (None, "mana", vf_name(0), "down")


def test_a_nic_whose_vf_alone_was_handed_over():
    (nic,) = nics(paired(), pci(PCI), {RECORD: json.dumps({"ports": [{"mac": MAC[0], "mode": "mana"}]})})
    assert (nic["interface"], nic["use"], nic["handed_over"]) == ("eth0", "userspace", True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"ports": 1}',
        '{"ports": {"a": 1}}',
        '{"ports": [1]}',
        '{"ports": [{}]}',
        '{"ports": [null]}',
        "\x00",
        "[" * 5000,
        '{"ports": [{"mac": 1' + "0" * 5000 + "}]}",
    ],
)
def test_a_malformed_record_is_ignored_and_said(text):
    found = trees.facts(merged({"/sys/class/net": {"dir": True}}, userspace(), {RECORD: text}), subset=["nics"])
    assert (found["nics"][0]["mac"], found["nics"][0]["handed_over"]) == (MAC[0], False)
    assert found["read_warnings"] == [RECORD + ": malformed, ignored"]


def test_vmbus_devices():
    vpci = "00000000-0001-8899-0000-000000000000"
    disk = "f8b3781a-1e82-4818-a1c3-63d806ec15bb"
    files = merged(
        synthetic(0),
        userspace(GUID[1], monitored=False),
        vmbus(GUID[2], driver=None, override="(null)"),
        vmbus(vpci, driver="hv_pci", class_id="{44C4F61D-4444-4400-9D52-802E27EDE19F}\n"),
        vmbus(disk, driver="hv_storvsc", class_id="{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}\n"),
        vmbus("not-a-guid"),
        # The name of its interface, not its GUID, has the MAC that counts.
        {"/sys/bus/vmbus/devices/" + RANDOM_GUID: link(vmbus_path(RANDOM_GUID)), vmbus_path(RANDOM_GUID) + "/class_id": trees.NETVSC_CLASS},
        {vmbus_path(RANDOM_GUID) + "/net/eth9/address": MAC[9] + "\n"},
    )
    tree = trees.snapshot(files)
    found = {entry.pop("guid"): entry for entry in _netdev.read_vmbus_devices(tree, {GUID[1]: MAC[7], RANDOM_GUID: MAC[8]})}
    assert found == {
        GUID[0]: {"class": "netvsc", "driver": "hv_netvsc", "driver_override": None, "mac": MAC[0], "monitored": True},
        GUID[1]: {"class": "netvsc", "driver": "uio_hv_generic", "driver_override": "uio_hv_generic", "mac": MAC[7], "monitored": False},
        GUID[2]: {"class": "netvsc", "driver": None, "driver_override": None, "mac": MAC[2], "monitored": True},
        vpci: {"class": "vpci", "driver": "hv_pci", "driver_override": None, "mac": None, "monitored": True},
        RANDOM_GUID: {"class": "netvsc", "driver": None, "driver_override": None, "mac": MAC[9], "monitored": False},
    }
    assert tree.warnings == ["/sys/bus/vmbus/devices/not-a-guid: not a GUID, left out"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (pci(PCI), {"id": "1414:00ba", "kind": "mana", "driver": "mana", "expected_module": "mana", "numa_node": 0}),
        (pci(PCI, driver=None), {"id": "1414:00ba", "kind": "mana", "driver": None, "expected_module": "mana", "numa_node": 0}),
        (pci(PCI, "1414:00b9"), {"id": "1414:00b9", "kind": "mana", "driver": "mana", "expected_module": "mana", "numa_node": 0}),
        (pci(PCI, driver="vfio-pci"), {"id": "1414:00ba", "kind": "mana", "driver": "vfio-pci", "expected_module": "mana", "numa_node": 0}),
        (
            pci(PCI, "15b3:1018", "mlx5_core"),
            {"id": "15b3:1018", "kind": "mlx5", "driver": "mlx5_core", "expected_module": "mlx5_core", "numa_node": 0},
        ),
        (pci(PCI, "15b3:1004", None), {"id": "15b3:1004", "kind": "mlx4", "driver": None, "expected_module": "mlx4_core", "numa_node": 0}),
        (
            pci(PCI, "8086:100e", "e1000", numa_node="-1"),
            {"id": "8086:100e", "kind": "other", "driver": "e1000", "expected_module": None, "numa_node": None},
        ),
        (pci(PCI, pci_class="0x020700"), None),
        (pci(PCI, pci_class="0x010802"), None),
        (pci("garbage"), None),
        (merged(pci(PCI), {pci_path(PCI) + "/vendor": "what\n"}), None),
    ],
)
def test_pci_functions(entry, expected):
    found = trees.facts(merged({"/sys/class/net": {"dir": True}}, entry), subset=["nics"])["pci_functions"]
    assert found == ([] if expected is None else [dict(expected, address=PCI, interfaces=[])])


def test_the_running_kernel_s_aliases_tell_the_module_of_a_function():
    home = "/lib/modules/6.1/"
    files = merged(
        {"/sys/class/net": {"dir": True}},
        pci(PCI, driver=None),
        {home + "kernel/x": "", home + "modules.alias": "#\nalias pci:v00001414d000000BAsv*sd*bc02sc00i* mana_next\n"},
    )
    for subset in (["nics"], ["nics", "kernels"]):
        found = trees.facts(files, subset=subset, uname={"release": "6.1", "machine": "x86_64"})
        assert found["pci_functions"][0]["expected_module"] == "mana_next"


def test_an_interface_in_another_namespace():
    found = trees.facts(merged(synthetic(), pci(PCI), {pci_path(PCI) + "/net": {"dir": True}}), subset=["nics"])
    assert short(found["nics"]) == [("eth0", MAC[0], "synthetic", "kernel", False, None)]
    assert (found["pci_functions"][0]["driver"], found["pci_functions"][0]["interfaces"]) == ("mana", [])


def test_net_failover_is_one_nic():
    virtio = "/sys/devices/pci0000:00/0000:00:03.0/virtio0"
    driver = {virtio + "/driver": link("/sys/bus/virtio/drivers/virtio_net"), "/sys/bus/virtio/drivers/virtio_net/x": ""}
    found = nics(
        netdev("ens3", MAC[0], virtio, lower=["ens3nsby", "ens4"]),
        netdev("ens3nsby", MAC[0], virtio, master="ens3"),
        netdev("ens4", MAC[0], pci_path("0000:01:00.0"), master="ens3"),
        pci("0000:01:00.0", "1414:00ba", "mana"),
        driver,
    )
    assert short(found) == [("ens3", MAC[0], "mana", "kernel", True, "ens4")]
    assert found[0]["synthetic"] == {"interface": "ens3", "driver": "net_failover", "vmbus_device": None, "operstate": "up"}
    assert short(nics(netdev("ens3", MAC[0], virtio), driver)) == [("ens3", MAC[0], "other", "kernel", False, None)]


@pytest.mark.parametrize(
    ("devices", "rdma"),
    [
        ([verbs("mana_0", PCI, ports=(1, 2))], {"device": "mana_0", "port": 2, "raw_packet": True}),
        # udev renames verbs devices; the parent tells
        ([verbs("manae_0", PCI, ports=(1, 2)), verbs("mana_0", "1111:00:00.0")], {"device": "manae_0", "port": 2, "raw_packet": True}),
        # the GID table names the interface, whatever dev_port says; unused entries answer EINVAL
        (
            [verbs("a", PCI, ports=(1, 2), netdevs={1: {"0": {"error": "EINVAL"}, "1": vf_name(1) + "\n"}, 2: {"0": {"error": "EINVAL"}}})],
            {"device": "a", "port": 1, "raw_packet": True},
        ),
        # newer mana_ib: two devices of one function
        ([verbs("mana_0", PCI, ports=(1, 2)), verbs("mana_1", PCI, ports=())], {"device": "mana_0", "port": 2, "raw_packet": None}),
        ([verbs("mana_0", PCI, ports=(1,))], None),
        ([verbs("rxe0", PCI, ports=("\u00b2", "x", "2"))], {"device": "rxe0", "port": 2, "raw_packet": True}),
        ([], None),
    ],
)
def test_verbs_ports(devices, rdma):
    found = trees.facts(merged(paired(1), pci(PCI), *devices), subset=["nics"])
    assert found["nics"][0]["rdma"] == rdma
    assert found["read_warnings"] == []


def test_a_verbs_device_without_pci_parent_does_not_count():
    home = "/sys/class/infiniband/rxe0"
    assert _netdev.read_rdma_ports(trees.snapshot({home + "/ports/1/state": "", home + "/device": link("/sys/devices/virtual/rxe")})) == []


def test_order_and_hostile_names():
    found = trees.facts(
        merged(
            synthetic(2, "zeth"),
            synthetic(1, "<script>"),
            userspace(GUID[3]),
            netdev("way-too-long-a-name", MAC[5], pci_path(PCI)),
            netdev("eth0\n", MAC[6], pci_path(PCI)),
        ),
        subset=["nics"],
    )
    assert [nic["interface"] for nic in found["nics"]] == ["<script>", "zeth", None]
    assert len(found["read_warnings"]) == 2


def test_garbage_in_attributes_is_unknown():
    parts = synthetic(mtu="big", operstate="", type="", dev_port="-", statistics__rx_bytes="x")
    (nic,) = nics(parts)
    assert (nic["mtu"], nic["statistics"]["rx_bytes"], nic["mac"]) == (None, None, MAC[0])


@pytest.mark.parametrize(
    ("bad", "key"),
    [("/sys/class/net", "nics"), ("/sys/bus/pci/devices", "pci_functions"), ("/sys/bus/vmbus/devices", "vmbus_devices")],
)
def test_what_cannot_be_listed_is_null_not_empty(bad, key):
    found = trees.facts(dict(merged(paired(), pci(PCI)), **{bad: {"error": "EACCES"}}), subset=["nics"])
    assert found[key] is None
    assert found["read_warnings"]


def test_a_sysfs_without_pci_and_vmbus_has_none():
    found = trees.facts(merged(virtual("lo", type="772"), {"/sys/bus": {"dir": True}}), subset=["nics"])
    assert (found["nics"], found["pci_functions"], found["vmbus_devices"]) == ([], [], [])


def test_a_tree_without_buses_or_sysfs_tells_nothing():
    found = trees.facts(virtual("lo", type="772"), subset=["nics"])
    assert (found["nics"], found["pci_functions"], found["vmbus_devices"]) == ([], None, None)
    found = trees.facts({"/etc/hostname": "x"}, hardware=True, subset=["nics", "dpdk"])
    assert [found[key] for key in ("nics", "pci_functions", "vmbus_devices", "hugepages")] == [None] * 4


def test_without_hardware_everything_is_null():
    found = trees.facts(merged(paired(), pci(PCI)), hardware=False, uname={"release": "6.1"})
    assert [found[key] for key in ("nics", "pci_functions", "vmbus_devices", "hugepages")] == [None] * 4
    assert [found["boot"]["cmdline"], found["platform"]["azure"], found["kernels"]] == [None, None, []]


def interface(name, **more):
    return Netdev(**{**dict.fromkeys(Netdev._fields), "name": name, "lowers": [], "uppers": [], **more})


VF_FUNCTION = [{"address": PCI, "kind": "mana", "driver": "mana", "interfaces": ["vf0"]}]


@pytest.mark.parametrize(
    ("others", "routes", "expected"),
    [
        ([], ["eth0"], True),
        ([], ["vf0"], True),  # DHCP on the VF
        ([], ["eth9"], False),
        ([], [], False),
        ([interface("bond0")], ["bond0"], True),
        ([interface("bond0", uppers=["vlan5"]), interface("vlan5", master="br0"), interface("br0")], ["br0"], True),
    ],
)
def test_default_routes_through_what_is_stacked_upon_a_nic(others, routes, expected):
    lower = {"master": "bond0"} if others else {}
    devices = [
        interface("eth0", mac=MAC[0], device=GUID[0], driver="hv_netvsc", **lower),
        interface("vf0", mac=MAC[0], device=PCI, driver="mana", master="eth0"),
    ]
    devices += others
    found = join_nics({one.name: one for one in devices}, VF_FUNCTION, [], [], {"addresses": {}, "default_routes": routes}, {})
    assert found[0]["default_route"] is expected


def test_a_route_through_open_vswitch_is_not_known():
    devices = {
        one.name: one
        for one in [interface("eth0", mac=MAC[0], device=GUID[0], driver="hv_netvsc", master="ovs-system"), interface("ovs-system")]
    }
    for routes, expected in ((["br-ex"], None), ([], False), (["eth0"], True)):
        assert join_nics(devices, [], [], [], {"addresses": {}, "default_routes": routes}, {})[0]["default_route"] is expected


@pytest.mark.parametrize(("mode", "use"), [("mana", "userspace"), ("netvsc", "kernel")])
def test_the_record_against_what_is_seen(mode, use):
    """With its binding in place a NIC of mode netvsc would show no interface."""
    devices = {"eth0": interface("eth0", mac=MAC[0], device=GUID[0], driver="hv_netvsc")}
    found = join_nics(devices, [], [], [], None, {MAC[0]: mode})
    assert (found[0]["use"], found[0]["handed_over"]) == (use, True)


@pytest.mark.parametrize(("driver", "use"), [(None, "kernel"), ("uio_hv_generic", "userspace"), ("vmbus_other", "kernel")])
def test_a_synthetic_half_that_shows_no_interface_is_a_nic_all_the_same(driver, use):
    devices_of_vmbus = [{"guid": GUID[0], "class": "netvsc", "driver": driver, "driver_override": None, "mac": MAC[0], "monitored": True}]
    devices = {"vf0": interface("vf0", mac=MAC[0], device=PCI, driver="mana")}
    found = join_nics(devices, VF_FUNCTION, devices_of_vmbus, [], None, {})
    assert [(nic["interface"], nic["use"], nic["vf"]["interface"]) for nic in found] == [(None, use, "vf0")]


def test_a_synthetic_half_in_another_namespace_is_no_nic_of_this_one():
    devices_of_vmbus = [
        {"guid": GUID[0], "class": "netvsc", "driver": "hv_netvsc", "driver_override": None, "mac": MAC[0], "monitored": True}
    ]
    assert join_nics({}, [], devices_of_vmbus, [], None, {}) == []
