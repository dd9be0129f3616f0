# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels and the state of their modules, from the kernels' own indexes."""

import pytest
import trees
from ansible_collections.accelnet.mana.plugins.module_utils import _kmod
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import MODULES
from trees import binary, link

R = "6.1.0-50-cloud-amd64"
MANA = "kernel/drivers/net/ethernet/microsoft/mana/mana.ko"
MANA_IB = "kernel/drivers/infiniband/hw/mana/mana_ib.ko"
FIRST = "kernel/arch/x86/crypto/aesni.ko:\n"


def kernel(dep=MANA + ":\n", builtin="kernel/fs/ext4/ext4.ko\n", release=R, base="/lib/modules", files=(MANA,)):
    """Entries of one installed kernel."""
    home = "{0}/{1}".format(base, release)
    found = {home + "/kernel/README": ""}
    for name, text in (("modules.dep", dep), ("modules.builtin", builtin)):
        if text is not None:
            found["{0}/{1}".format(home, name)] = text
    found.update({"{0}/{1}".format(home, name): {"file": True} for name in files})
    return found


def module(tree, name="mana", release=R):
    """(state, origin, path) of a module."""
    return _kmod.Indexes(tree, dict(_kmod.installed(tree))[release]).place(name)


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst", ".gz"])
def test_compressed_modules(make_tree, suffix):
    tree = make_tree(
        kernel(dep=FIRST + MANA + suffix + ":\n" + MANA_IB + suffix + ": " + MANA + suffix + "\n", files=[MANA + suffix, MANA_IB + suffix])
    )
    assert module(tree) == ("module", "inbox", "/lib/modules/{0}/{1}{2}".format(R, MANA, suffix))
    assert module(tree, "mana_ib")[0] == "module"
    assert module(tree, "mlx5_core") == ("absent", None, None)
    assert tree.warnings == []


@pytest.mark.parametrize(
    ("place", "origin"),
    [
        ("kernel/drivers/net/ethernet/microsoft/mana/mana.ko.zst", "inbox"),
        ("updates/mana.ko", "updates"),
        ("updates/dkms/mana.ko.xz", "updates"),
        ("extra/mana/mana.ko.gz", "extra"),
        ("weak-updates/mana/mana.ko", "weak-updates"),
        ("misc/mana.ko", "other"),
    ],
)
def test_origins(make_tree, place, origin):
    tree = make_tree(kernel(dep=FIRST + place + ":\n", files=[place]))
    assert module(tree) == ("module", origin, "/lib/modules/{0}/{1}".format(R, place))


def test_a_module_by_absolute_path(make_tree):
    tree = make_tree(dict(kernel(dep=FIRST + "/opt/vendor/mana.ko:\n"), **{"/opt/vendor/mana.ko": {"file": True}}))
    assert module(tree) == ("module", "other", "/opt/vendor/mana.ko")


def test_a_module_that_is_a_link_into_another_kernel(make_tree):
    other = "/lib/modules/5.14.0-1/extra/mana/mana.ko"
    files = kernel(dep=FIRST + "weak-updates/mana/mana.ko:\n", files=[])
    files["/lib/modules/{0}/weak-updates/mana/mana.ko".format(R)] = link(other)
    assert module(make_tree(dict(files, **{other: {"file": True}})))[:2] == ("module", "weak-updates")


def test_a_weak_link_that_dangles_is_no_module(make_tree):
    files = kernel(dep=FIRST + "weak-updates/mana/mana.ko:\n", files=[])
    files["/lib/modules/{0}/weak-updates/mana/mana.ko".format(R)] = link("/lib/modules/gone/extra/mana/mana.ko")
    assert module(make_tree(files)) == ("absent", None, None)


@pytest.mark.parametrize(("name", "file"), [("pci_hyperv", "pci-hyperv"), ("pci_hyperv", "pci_hyperv"), ("mana_ib", "mana-ib")])
def test_dashes_and_underscores_are_the_same(make_tree, name, file):
    place = "kernel/drivers/x/{0}.ko".format(file)
    assert module(make_tree(kernel(dep=FIRST + place + ":\n", files=[place])), name)[0] == "module"
    assert module(trees.snapshot(kernel(builtin=place + "\n")), name) == ("builtin", "inbox", None)


def test_other_modules_with_similar_names_do_not_count(make_tree):
    names = [
        "kernel/a/pci-hyperv-intf.ko",
        "kernel/a/xmana.ko",
        "kernel/a/mana_old.ko",
        "kernel/a/mana.kobj.ko",
        "kernel/mana.ko/readme.ko",
    ]
    tree = make_tree(kernel(dep="".join(name + ":\n" for name in names), builtin="kernel/fs/x.ko\n", files=names))
    index = _kmod.Indexes(tree, "/lib/modules/" + R)
    assert [name for name in MODULES if index.place(name) != ("absent", None, None)] == []


def test_builtin_wins_over_a_left_over_file(make_tree):
    assert module(make_tree(kernel(builtin=MANA + "\n"))) == ("builtin", "inbox", None)


def test_a_dependency_is_no_module_of_its_own(make_tree):
    tree = make_tree(kernel(dep=FIRST + "kernel/x/rdma.ko: " + MANA + "\n"))
    assert module(tree) == ("absent", None, None)


def test_a_stale_index_is_said(make_tree):
    tree = make_tree(kernel(files=[]))
    assert module(tree) == ("absent", None, None)
    assert tree.warnings == ["/lib/modules/{0}/{1}: named by modules.dep but not there".format(R, MANA)]


MALFORMED = "/lib/modules/{0}/{1}: malformed (run depmod for that kernel)"
MISSING = "/lib/modules/{0}/{1}: missing (run depmod for that kernel)"


@pytest.mark.parametrize(
    ("change", "state", "warning"),
    [
        ({"dep": "garbage here\n" + MANA + ":\n"}, None, MALFORMED.format(R, "modules.dep")),
        ({"dep": binary(b"\x7fELF\x00\x01\xff\xfe" * 100)}, None, MALFORMED.format(R, "modules.dep")),
        ({"dep": FIRST + "x" + MANA.replace("/", " /") + "\n"}, None, MALFORMED.format(R, "modules.dep")),
        ({"dep": "<html>\n"}, None, MALFORMED.format(R, "modules.dep")),
        ({"dep": None}, None, MISSING.format(R, "modules.dep")),
        ({"dep": {"error": "EACCES"}}, None, "cannot read /lib/modules/{0}/modules.dep: Permission denied".format(R)),
        ({"builtin": None, "dep": FIRST}, None, MISSING.format(R, "modules.builtin")),
        ({"builtin": "garbage here\n", "dep": FIRST}, None, MALFORMED.format(R, "modules.builtin")),
        # What modules.dep has is there even if the rest is not known.
        ({"builtin": None}, "module", MISSING.format(R, "modules.builtin")),
        ({"builtin": binary(b"\x00\x00\xff"), "dep": None}, None, MALFORMED.format(R, "modules.builtin")),
    ],
)
def test_a_bad_index_means_unknown(make_tree, change, state, warning):
    tree = make_tree(kernel(**change))
    assert module(tree)[0] == state
    assert warning in tree.warnings


def test_an_empty_index_of_a_kernel_without_modules_is_no_fault(make_tree):
    tree = make_tree(kernel(dep="", builtin="", files=[]))
    assert (module(tree), tree.warnings) == (("absent", None, None), [])


def test_an_empty_index_of_a_kernel_with_modules_is_a_fault(make_tree):
    tree = make_tree(kernel(dep="", builtin=""))
    assert module(tree) == (None, None, None)
    assert tree.warnings == ["/lib/modules/{0}/modules.dep: empty although the kernel has modules (run depmod)".format(R)]


def releases(tree):
    return _kmod.installed(tree)


def test_usr_merged_and_not(make_tree):
    tree = make_tree(dict(kernel(base="/usr/lib/modules"), **{"/lib": link("usr/lib")}))
    assert releases(tree) == [(R, "/usr/lib/modules/" + R)]
    assert module(tree)[2] == "/usr/lib/modules/{0}/{1}".format(R, MANA)


def test_both_module_directories(make_tree):
    tree = make_tree(
        trees.merged(
            kernel(release="5.10"), kernel(release="6.1", base="/usr/lib/modules"), kernel(release="5.10", base="/usr/lib/modules")
        )
    )
    assert releases(tree) == [("5.10", "/lib/modules/5.10"), ("6.1", "/usr/lib/modules/6.1")]


def test_what_a_removed_kernel_leaves_is_no_kernel(make_tree):
    left = {
        "/lib/modules/5.10-gone/updates/dkms/mana.ko": {"file": True},
        "/lib/modules/5.10-gone/modules.dep": "updates/dkms/mana.ko:\n",
        "/lib/modules/5.10-gone/modules.alias": "#\n",
        "/lib/modules/empty": {"dir": True},
        "/lib/modules/file": "",
    }
    assert releases(make_tree(dict(kernel(), **left))) == [(R, "/lib/modules/" + R)]


def test_directories_that_are_no_releases_are_left_out_and_said(make_tree):
    tree = make_tree(trees.merged(kernel(), kernel(release="$(reboot)"), kernel(release=".hidden")))
    assert [release for release, _directory in releases(tree)] == [R]
    assert len(tree.warnings) == 2


def test_no_modules_at_all(make_tree):
    tree = make_tree({"/etc/hostname": "x"})
    assert (releases(tree), tree.warnings) == ([], [])


HOME = "/lib/modules/" + R


@pytest.mark.parametrize(
    ("files", "headers"),
    [
        ({HOME + "/build": link("/usr/src/h"), "/usr/src/h/Makefile": ""}, "/usr/src/h"),
        ({HOME + "/build": link("/usr/src/h")}, None),
        ({HOME + "/build": link("/usr/src/h"), "/usr/src/h/README": ""}, None),
        ({HOME + "/build": link("build")}, None),
        ({HOME + "/build/Makefile": ""}, HOME + "/build"),
        ({"/usr/src/linux-headers-" + R + "/Makefile": ""}, "/usr/src/linux-headers-" + R),
        ({HOME + "/build": link("/gone"), "/usr/src/kernels/" + R + "/Makefile": ""}, "/usr/src/kernels/" + R),
        ({}, None),
    ],
)
def test_headers(make_tree, files, headers):
    kernels, _indexes = _kmod.read_kernels(make_tree(dict(kernel(), **files)), None, False, None)
    assert [entry["headers"] for entry in kernels] == [headers]


@pytest.mark.parametrize(
    ("files", "sig_force"),
    [
        ({"/boot/config-" + R: "#\nCONFIG_MODULE_SIG=y\nCONFIG_MODULE_SIG_FORCE=y\n"}, True),
        ({"/boot/config-" + R: "#\n# CONFIG_MODULE_SIG_FORCE is not set\n"}, False),
        ({HOME + "/config": "CONFIG_X=y\nCONFIG_MODULE_SIG_FORCE=y\n"}, True),
        ({"/boot/config-" + R: {"error": "EACCES"}, HOME + "/config": "# x\n"}, False),
        ({"/boot/config-" + R: {"error": "EACCES"}}, None),
        ({"/boot/config-" + R: binary(b"\x1f\x8b\x00\xff")}, None),
        ({"/boot/config-" + R: ""}, None),
        ({}, None),
    ],
)
def test_forced_signatures(make_tree, files, sig_force):
    kernels, _indexes = _kmod.read_kernels(make_tree(dict(kernel(), **files)), None, False, None)
    assert [entry["sig_force"] for entry in kernels] == [sig_force]


def read(files, running=None, hardware=True, wanted=None):
    tree = trees.snapshot(files)
    kernels, _indexes = _kmod.read_kernels(tree, running, hardware, wanted)
    return {entry["release"]: entry for entry in kernels}, tree.warnings


def test_several_kernels_and_the_running_one():
    files = trees.merged(kernel(), kernel(release="5.10.0-1"), kernel(release="6.12.9", builtin=MANA + "\n"))
    files["/sys/module/mana/initstate"] = "live\n"
    files["/sys/module/mana/srcversion"] = "ABC\n"
    files["/proc/cmdline"] = "ro module_blacklist=mana_ib\n"
    kernels, warnings = read(files, running=R)
    assert {release: entry["running"] for release, entry in kernels.items()} == {R: True, "5.10.0-1": False, "6.12.9": False}
    assert {release: entry["modules"]["mana"]["loaded"] for release, entry in kernels.items()} == {
        R: True,
        "5.10.0-1": False,
        "6.12.9": False,
    }
    assert kernels[R]["modules"]["mana"]["loaded_srcversion"] == "ABC"
    assert kernels[R]["modules"]["mana_ib"]["blacklisted_by"] == ["/proc/cmdline: module_blacklist"]
    assert kernels["5.10.0-1"]["modules"]["mana_ib"]["blacklisted"] is False
    assert warnings == []


def test_only_the_wanted_kernels():
    files = trees.merged(kernel(), kernel(release="5.10.0-1"))
    assert list(read(files, running=R, wanted=["5.10.0-1"])[0]) == ["5.10.0-1"]
    assert list(read(files, running="9.9", wanted=["5.10.0-1"])[0]) == ["5.10.0-1"]
    assert read(files, running=R, wanted=[])[0] == {}


def test_without_hardware_nothing_runs_and_the_builder_s_command_line_does_not_count():
    kernels, _warnings = read(
        dict(kernel(), **{"/proc/cmdline": "module_blacklist=mana\n", "/sys/module/mana/initstate": "live\n"}), hardware=False
    )
    assert (kernels[R]["running"], kernels[R]["modules"]["mana"]["loaded"]) == (None, None)
    assert kernels[R]["modules"]["mana"]["blacklisted"] is False


def test_a_builtin_module_of_the_running_kernel_is_loaded():
    kernels, _warnings = read(kernel(builtin=MANA + "\n"), running=R)
    assert kernels[R]["modules"]["mana"]["loaded"] is True


def test_a_module_directory_in_sysfs_without_state_is_builtin_parameters_only():
    kernels, _warnings = read(dict(kernel(), **{"/sys/module/mana/parameters/x": "1\n"}), running=R)
    assert kernels[R]["modules"]["mana"]["loaded"] is False


@pytest.mark.parametrize(
    "left", [{}, {"/lib/modules/9.9/updates/mana.ko": {"file": True}, "/lib/modules/9.9/modules.dep": "updates/mana.ko:\n"}]
)
def test_the_running_kernel_without_its_modules(left):
    kernels, warnings = read(dict(kernel(), **dict(left, **{"/sys/module/mana/initstate": "live\n"})), running="9.9")
    assert (kernels["9.9"]["modules"]["mana"]["state"], kernels["9.9"]["modules"]["mana"]["loaded"]) == (None, True)
    assert kernels["9.9"]["modules"]["mana_ib"]["loaded"] is None
    assert warnings == ["/lib/modules/9.9: missing, so what the running kernel has is not known"]
    assert set(kernels["9.9"]["modules"]["mana"]) == set(kernels[R]["modules"]["mana"])


@pytest.mark.parametrize(
    ("files", "blacklisted"),
    [
        ({}, False),
        ({"/etc/modprobe.d/x.conf": "blacklist mana-ib\n"}, True),
        ({"/etc/default/grub": "GRUB_CMDLINE_LINUX=modprobe.blacklist=mana_ib\n"}, True),
        ({"/etc/modprobe.d/x.conf": {"error": "EACCES"}}, None),
        ({"/etc/modprobe.d/x.conf": {"error": "EACCES"}, "/etc/modprobe.d/y.conf": "blacklist mana_ib\n"}, True),
    ],
)
def test_blacklists(files, blacklisted):
    assert read(dict(kernel(), **files))[0][R]["modules"]["mana_ib"]["blacklisted"] is blacklisted


def test_an_entry_of_the_boot_loader_concerns_its_kernel_only():
    text = "version {0}\nlinux /vmlinuz-{0}\noptions module_blacklist=mana_ib\n"
    files = trees.merged(kernel(), kernel(release="5.10.0-1"))
    files["/boot/loader/entries/a.conf"] = text.format(R)
    files["/boot/loader/entries/rescue.conf"] = text.format("0-rescue-0123").replace("mana_ib", "mana")
    kernels, _warnings = read(files)
    places = {release: [entry["modules"][name]["blacklisted_by"] for name in ("mana_ib", "mana")] for release, entry in kernels.items()}
    assert places == {R: [["/boot/loader/entries/a.conf: module_blacklist"], []], "5.10.0-1": [[], []]}


@pytest.mark.parametrize("more", [{}, {"/etc/modprobe.d/y.conf": {"error": "EACCES"}}])
def test_what_is_built_in_is_not_loaded_so_nothing_forbids_it(more):
    files = dict(kernel(builtin=MANA + "\n"), **{"/etc/modprobe.d/x.conf": "blacklist mana\nblacklist mana_ib\n"})
    files.update({"/proc/cmdline": "module_blacklist=mana\n", "/etc/kernel/cmdline": "modprobe.blacklist=mana\n"}, **more)
    modules = read(files, running=R)[0][R]["modules"]
    assert [modules["mana"][key] for key in ("state", "blacklisted", "blacklisted_by")] == ["builtin", False, []]
    assert modules["mana_ib"]["blacklisted_by"] == ["/etc/modprobe.d/x.conf"]


ALIASES = """# Aliases extracted from modules themselves.
alias pci:v00001414d000000BAsv*sd*bc02sc00i* mana
alias pci:v000015B3d00001016sv*sd*bc*sc*i* mlx5-core
alias pci:v00001414d000000[B
alias pci:v00001414d000000[z-a]sv* broken
alias pci:v00001414d000000B9sv*sd*bc*sc*i* mana
"""


@pytest.mark.parametrize(
    ("modalias", "name"),
    [
        ("pci:v00001414d000000BAsv00001414sd00000000bc02sc00i00", "mana"),
        ("pci:v00001414d000000B9sv00001414sd00000000bc02sc00i00", "mana"),
        ("pci:v000015B3d00001016sv000015B3sd00000190bc02sc00i00", "mlx5_core"),
        ("pci:v00001414d000000BAsv00001414sd00000000bc01sc08i02", None),
        ("pci:v000015B3d00001018sv000015B3sd00000190bc02sc00i00", None),
        ("", None),
    ],
)
def test_the_kernel_s_own_aliases(make_tree, modalias, name):
    tree = make_tree(dict(kernel(), **{HOME + "/modules.alias": ALIASES}))
    assert _kmod.Indexes(tree, HOME).module_for(modalias) == name


def test_aliases_are_read_once_for_all_functions():
    tree = trees.snapshot(dict(kernel(), **{HOME + "/modules.alias": ALIASES}))
    index = _kmod.Indexes(tree, HOME)
    reads = []
    tree.excerpt = lambda path, pattern: reads.append(path) or ALIASES
    assert [index.module_for("pci:v00001414d000000BAsvsdbc02sc00i") for _count in range(64)] == ["mana"] * 64
    assert reads == [HOME + "/modules.alias"]


def test_metadata_is_asked_by_one_question_and_only_where_it_decides():
    names = [MANA, MANA_IB, "kernel/mlx5_core.ko", "updates/mlx4_core.ko"]
    files = trees.merged(*(kernel(release=r, dep="".join(n + ":\n" for n in names), files=names) for r in ("5.1", "6.1")))
    tree = trees.snapshot(files)
    kernels, _indexes = _kmod.read_kernels(tree, None, False, None)
    questions = []

    def modinfo(paths):
        questions.append(paths)
        return {"/lib/modules/6.1/" + MANA: {"srcversion": "A", "version": "", "signer": "Debian"}, "/not/asked": {"srcversion": "B"}}

    _kmod.add_metadata(tree, kernels, modinfo)
    assert questions == [sorted("/lib/modules/{0}/{1}".format(r, n) for r in ("5.1", "6.1") for n in names if "mlx5" not in n)]
    found = {entry["release"]: entry["modules"]["mana"] for entry in kernels}
    assert (found["6.1"]["srcversion"], found["6.1"]["version"], found["6.1"]["signer"]) == ("A", None, "Debian")
    assert found["5.1"]["srcversion"] is None


def test_nothing_is_asked_where_nothing_is():
    kernels, _indexes = _kmod.read_kernels(trees.snapshot(kernel(dep=FIRST)), None, False, None)
    _kmod.add_metadata(trees.snapshot({}), kernels, None)


def test_modinfo_is_asked_only_for_what_decisions_compare(make_tree):
    def module(path, origin="inbox"):
        return {"path": path, "origin": origin, **dict.fromkeys(("srcversion", "version", "signer", "vermagic"))}

    kernels = [
        {"running": False, "modules": {"mana": module("/old/mana.ko"), "mlx5_core": module("/old/mlx5_core.ko", "updates")}},
        {"running": True, "modules": {"mana": module("/new/mana.ko"), "mlx5_core": module("/new/mlx5_core.ko"), "mana_ib": module(None)}},
        {"running": None, "modules": {"mana": module("/image/mana.ko")}},
    ]
    asked = []
    _kmod.add_metadata(make_tree({}), kernels, lambda paths: asked.extend(paths) or {"/new/mana.ko": {"vermagic": "6.1", "version": ""}})
    assert asked == ["/image/mana.ko", "/new/mana.ko", "/old/mlx5_core.ko"]
    assert kernels[1]["modules"]["mana"]["vermagic"] == "6.1" and kernels[1]["modules"]["mana"]["version"] is None
