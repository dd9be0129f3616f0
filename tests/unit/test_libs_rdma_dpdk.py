# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Libraries, rdma-core with its MANA provider, DPDK and huge pages, wherever they were put."""

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils._dpdk import read_dpdk, read_hugepages
from ansible_collections.accelnet.mana.plugins.module_utils._libs import library_directories, prefix_of
from ansible_collections.accelnet.mana.plugins.module_utils._rdma import read_rdma_core
from trees import link

HERE = {"file": True}
PLACES = [
    ("/usr/lib/x86_64-linux-gnu", "/etc", "/usr"),
    ("/usr/lib/aarch64-linux-gnu", "/etc", "/usr"),
    ("/usr/lib64", "/etc", "/usr"),
    ("/usr/lib64", "/usr/etc", "/usr"),
    ("/usr/local/lib", "/usr/local/etc", "/usr/local"),
    ("/usr/local/lib/x86_64-linux-gnu", "/usr/local/etc", "/usr/local"),
    ("/usr/local/lib64", "/etc", "/usr/local"),
    ("/opt/rdma/lib", "/opt/rdma/etc", "/opt/rdma"),
    ("/opt/rdma/lib64", "/opt/rdma/etc", "/opt/rdma"),
    ("/opt/accelnet/rdma-65/lib/x86_64-linux-gnu", "/opt/accelnet/rdma-65/etc", "/opt/accelnet/rdma-65"),
]


def rdma_core(tree):
    return read_rdma_core(tree, library_directories(tree))


def dpdk(tree):
    return read_dpdk(tree, library_directories(tree))


def provider(lib="/usr/lib64", etc="/etc", prefix="/usr", release="56.1"):
    return {
        lib + "/libibverbs.so.1": link("libibverbs.so.1.14." + release),
        lib + "/libibverbs.so.1.14." + release: HERE,
        lib + "/libmana.so.1": link("libmana.so.1.0." + release),
        lib + "/libmana.so.1.0." + release: HERE,
        lib + "/libibverbs/libmana-rdmav34.so": link("../libmana.so.1.0." + release),
        etc + "/libibverbs.d/mana.driver": "driver mana\n",
        prefix + "/include/infiniband/manadv.h": HERE,
    }


@pytest.mark.parametrize(("lib", "etc", "prefix"), PLACES)
def test_rdma_core_wherever_it_is(make_tree, lib, etc, prefix):
    assert rdma_core(make_tree(provider(lib, etc, prefix))) == {
        "version": "56.1",
        "libmana": lib + "/libmana.so.1",
        "parts": {
            "library": lib + "/libmana.so.1",
            "provider": lib + "/libibverbs/libmana-rdmav34.so",
            "config": etc + "/libibverbs.d/mana.driver",
        },
        "header": prefix + "/include/infiniband/manadv.h",
        "foreign_ofed": False,
    }


def test_usr_merged_by_absolute_and_relative_links(make_tree):
    for target in ("usr/lib64", "/usr/lib64"):
        tree = make_tree(dict(provider(), **{"/lib64": link(target)}))
        assert rdma_core(tree)["libmana"] == "/usr/lib64/libmana.so.1"
        assert library_directories(tree).count("/usr/lib64") == 1


@pytest.mark.parametrize("part", ["library", "provider", "config"])
def test_the_provider_is_there_only_with_all_three_parts(make_tree, part):
    files = provider()
    gone = {
        "library": "/usr/lib64/libmana.so.1",
        "provider": "/usr/lib64/libibverbs/libmana-rdmav34.so",
        "config": "/etc/libibverbs.d/mana.driver",
    }
    del files[gone[part]]
    found = rdma_core(make_tree(files))
    assert (found["libmana"], found["version"]) == (None, "56.1")
    assert sorted(key for key, value in found["parts"].items() if value) == sorted({"library", "provider", "config"} - {part})


def test_a_dangling_library_is_none(make_tree):
    files = provider()
    del files["/usr/lib64/libmana.so.1.0.56.1"]
    found = rdma_core(make_tree(files))
    assert (found["libmana"], found["parts"]["library"], found["parts"]["provider"]) == (None, None, None)


def test_no_rdma_core(make_tree):
    found = rdma_core(make_tree({"/usr/lib64/libc.so.6": HERE}))
    assert (found["version"], found["libmana"], found["header"], found["foreign_ofed"]) == (None, None, None, False)


def test_the_loader_s_order_decides_between_two_versions(make_tree):
    files = dict(provider(release="44.0"), **provider("/usr/local/lib", "/etc", "/usr/local", "65.0"))
    assert rdma_core(make_tree(files))["version"] == "44.0"
    files["/etc/ld.so.conf"] = "include ld.so.conf.d/*.conf\n"
    files["/etc/ld.so.conf.d/local.conf"] = "# local\n/usr/local/lib # here\n/no/such\n"
    assert rdma_core(make_tree(files))["version"] == "65.0"


@pytest.mark.parametrize("mark", ["/usr/bin/ofed_info", "/etc/infiniband/openib.conf"])
def test_a_vendor_s_stack(make_tree, mark):
    assert rdma_core(make_tree(dict(provider(), **{mark: HERE})))["foreign_ofed"] is True


@pytest.mark.parametrize(
    ("name", "version"),
    [("libibverbs.so.1.14.44.0", "44.0"), ("libibverbs.so.1.15.65.0", "65.0"), ("libibverbs.so.1.0.0", None), ("libibverbs.so.1", None)],
)
def test_version_of_libibverbs(make_tree, name, version):
    files = {"/usr/lib64/" + name: HERE}
    files.setdefault("/usr/lib64/libibverbs.so.1", link(name))
    assert rdma_core(make_tree(files))["version"] == version


def test_an_include_line_of_a_garbled_ld_so_conf(make_tree):
    text = "include /etc/[z-a]*\ninclude *a*a*a*a*a\ninclude /etc/more.conf\n/usr/x\n"
    tree = make_tree({"/etc/ld.so.conf": text, "/etc/more.conf": "/usr/y\n", "/usr/x/f": "", "/usr/y/f": "", "/etc/" + "a" * 200: ""})
    assert library_directories(tree)[:2] == ["/usr/x", "/usr/y"]


def test_every_file_of_ld_so_conf_is_read_once_and_not_endlessly_many(monkeypatch):
    files = {"/etc/ld.so.conf": "include *\n" * 100000 + "/usr/x\n", "/usr/x/f": ""}
    files.update({"/etc/{0}".format(number): "include *\n/d{0}\n".format(number) for number in range(1000)})
    files["/etc/again"] = link("/etc/ld.so.conf")
    tree = trees.snapshot(files)
    read = []
    text = tree.text
    monkeypatch.setattr(tree, "text", lambda path: read.append(path) or text(path))
    assert "/usr/x" in library_directories(tree)
    assert len(read) == len(set(read)) == 100 and "/etc/again" not in read


def test_include_loops_in_ld_so_conf_end(make_tree):
    tree = make_tree({"/etc/ld.so.conf": "include /etc/ld.so.conf\n/usr/x, /usr/y\nrelative\n", "/usr/x/f": "", "/usr/y/f": ""})
    assert library_directories(tree)[:2] == ["/usr/x", "/usr/y"]


@pytest.mark.parametrize(
    ("directory", "prefix"),
    [
        ("/usr/lib/x86_64-linux-gnu", "/usr"),
        ("/lib64", "/usr"),
        ("/usr/lib64", "/usr"),
        ("/opt/dpdk/lib/x86_64-linux-gnu", "/opt/dpdk"),
        ("/opt/lib/dpdk/lib64", "/opt/lib/dpdk"),
        ("/srv/libraries", None),
        ("/", None),
    ],
)
def test_prefixes(directory, prefix):
    assert prefix_of(directory) == prefix


def shared(lib="/usr/lib64", abi="23", drivers=("net_mana", "net_netvsc", "net_mlx5", "net_bonding"), prefix="/usr", plugins=True):
    files = {lib + "/librte_eal.so." + abi: HERE, prefix + "/bin/dpdk-testpmd": HERE}
    for driver in drivers:
        place = "{0}/dpdk/pmds-{1}.0/".format(lib, abi) if plugins else lib + "/"
        files["{0}librte_{1}.so.{2}".format(place, driver, abi)] = HERE
    return files


def only(installation):
    return dict(installation, installations=[installation])


@pytest.mark.parametrize(("lib", "_etc", "prefix"), PLACES)
@pytest.mark.parametrize("plugins", [True, False])
def test_dpdk_wherever_it_is(make_tree, lib, _etc, prefix, plugins):
    assert dpdk(make_tree(shared(lib, prefix=prefix, plugins=plugins))) == only(
        {
            "version": "22.11",
            "exact": False,
            "pmds": ["net_mana", "net_mlx5", "net_netvsc"],
            "testpmd": prefix + "/bin/dpdk-testpmd",
            "prefix": prefix,
        }
    )


@pytest.mark.parametrize(
    ("abi", "version"),
    [
        ("21.0", "20.11"),
        ("22.0", "21.11"),
        ("23", "22.11"),
        ("24.0", "23.11"),
        ("25", "24.11"),
        ("26.1", "25.11"),
        ("2.1", None),
        ("9" * 5000, None),
        ("x", None),
    ],
)
def test_version_by_abi(abi, version):
    assert dpdk(trees.snapshot({"/usr/lib64/librte_eal.so." + abi: HERE}))["version"] == version


@pytest.mark.parametrize("folder", ["/pkgconfig", ""])
@pytest.mark.parametrize(
    ("text", "version", "exact"),
    [
        ("Name: DPDK\nVersion: 22.11.11\n", "22.11.11", True),
        ("Version:24.11.4-rc1\n", "24.11.4", True),
        ("Version: x\n", "22.11", False),
        ("Version:\n23.11\n", "22.11", False),
        ("Version: " + "9" * 5000 + ".1\n", "22.11", False),
        ("Version: 9." + "9" * 5000 + "\n", "22.11", False),
        ("\x00", "22.11", False),
    ],
)
def test_version_by_pkg_config(make_tree, folder, text, version, exact):
    found = dpdk(make_tree(dict(shared(), **{"/usr/lib64" + folder + "/libdpdk.pc": text})))
    assert (found["version"], found["exact"]) == (version, exact)


def test_static_libraries(make_tree):
    lib = "/usr/local/lib/x86_64-linux-gnu"
    files = {lib + "/librte_eal.a": HERE, lib + "/librte_net_mana.a": HERE, lib + "/librte_net_netvsc.a": HERE, lib + "/librte_net.a": HERE}
    files[lib + "/pkgconfig/libdpdk.pc"] = "Version: 24.11.4\n"
    files["/usr/local/bin/dpdk-testpmd"] = HERE
    assert dpdk(make_tree(files)) == only(
        {
            "version": "24.11.4",
            "exact": True,
            "pmds": ["net_mana", "net_netvsc"],
            "testpmd": "/usr/local/bin/dpdk-testpmd",
            "prefix": "/usr/local",
        }
    )


def built(version, drivers=("net_mana",), testpmd=True):
    """What the role dpdk builds."""
    prefix = "/opt/accelnet/dpdk-" + version
    files = shared(prefix + "/lib", str(int(version[:2]) + 1), drivers, prefix)
    files[prefix + "/lib/pkgconfig/libdpdk.pc"] = "Version: {0}\n".format(version)
    if not testpmd:
        del files[prefix + "/bin/dpdk-testpmd"]
    return files


def test_installations_are_not_mixed_and_ours_lead_by_age(make_tree):
    files = dict(shared(drivers=["net_mlx5"]), **shared("/usr/local/lib", "24", ["net_netvsc"], "/usr/local"))
    files.update(trees.merged(built("24.11.9"), built("24.11.10", ["net_netvsc"])))
    found = dpdk(make_tree(files))
    assert [(one["prefix"], one["version"], one["exact"], one["pmds"]) for one in found["installations"]] == [
        ("/opt/accelnet/dpdk-24.11.10", "24.11.10", True, ["net_netvsc"]),
        ("/opt/accelnet/dpdk-24.11.9", "24.11.9", True, ["net_mana"]),
        ("/usr", "22.11", False, ["net_mlx5"]),
        ("/usr/local", "23.11", False, ["net_netvsc"]),
    ]
    assert {key: value for key, value in found.items() if key != "installations"} == found["installations"][0]


@pytest.mark.parametrize("lacking", [{"drivers": ()}, {"testpmd": False}])
def test_the_first_installation_that_can_be_used_counts(make_tree, lacking):
    found = dpdk(make_tree(dict(shared(), **built("26.07", **lacking))))
    assert [one["prefix"] for one in found["installations"]] == ["/opt/accelnet/dpdk-26.07", "/usr"]
    assert (found["prefix"], found["version"], found["testpmd"]) == ("/usr", "22.11", "/usr/bin/dpdk-testpmd")
    alone = dpdk(trees.snapshot(built("26.07", **lacking)))
    assert (alone["prefix"], alone["version"], alone["exact"]) == ("/opt/accelnet/dpdk-26.07", "26.07", True)


def test_libraries_that_an_upgrade_left_do_not_count(make_tree):
    files = dict(shared(abi="23", drivers=["net_mana", "net_mlx4"]), **shared(abi="25", drivers=["net_netvsc"]))
    files["/usr/lib64/librte_net_mlx5.so.23"] = HERE
    found = dpdk(make_tree(files))
    assert (found["version"], found["pmds"], len(found["installations"])) == ("24.11", ["net_netvsc"], 1)


def test_no_dpdk(make_tree):
    none = {"version": None, "exact": None, "pmds": [], "testpmd": None, "prefix": None, "installations": []}
    assert dpdk(make_tree({"/usr/lib64/librte_something.so": HERE, "/usr/bin/dpdk-testpmd": HERE})) == none


def pages(base, size, total, free):
    return {"{0}/hugepages-{1}/nr_hugepages".format(base, size): total, "{0}/hugepages-{1}/free_hugepages".format(base, size): free}


NODE0, NODE1, ALL = "/sys/devices/system/node/node0/hugepages", "/sys/devices/system/node/node1/hugepages", "/sys/kernel/mm/hugepages"


def test_huge_pages_by_node(make_tree):
    files = dict(pages(ALL, "2048kB", "96\n", "0\n"), **pages(NODE1, "2048kB", "32\n", "8\n"))
    files.update(pages(NODE0, "2048kB", "64\n", "16\n"))
    files.update(pages(NODE0, "1048576kB", "0\n", "garbage\n"))
    files["/sys/devices/system/node/possible"] = "0-1\n"
    files[NODE0 + "/hugepages-xkB/nr_hugepages"] = "1\n"
    assert read_hugepages(make_tree(files)) == [
        {"size_kb": 2048, "node": 0, "total": 64, "free": 16},
        {"size_kb": 2048, "node": 1, "total": 32, "free": 8},
        {"size_kb": 1048576, "node": 0, "total": 0, "free": None},
    ]


def test_huge_pages_without_numa(make_tree):
    assert read_hugepages(make_tree(pages(ALL, "64kB", "4\n", "4\n"))) == [{"size_kb": 64, "node": None, "total": 4, "free": 4}]
    assert read_hugepages(make_tree({"/sys/kernel/mm": {"dir": True}})) == []
    assert read_hugepages(make_tree({"/etc": {"dir": True}})) is None


@pytest.mark.parametrize(
    "bad", [{ALL: {"error": "EACCES"}, ALL + "/hugepages-2048kB/nr_hugepages": "1\n"}, {"/sys/kernel": {"error": "EACCES"}}]
)
def test_huge_pages_that_cannot_be_listed_are_unknown(make_tree, bad):
    assert read_hugepages(make_tree(bad)) is None
