#!/usr/bin/python
# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r"""
module: nic_info
short_description: Show the NICs of an Azure VM and all that their drivers need
version_added: 0.1.0
author:
  - The accelnet.mana authors (@accelnet)
description:
  - Reads, in one call, everything that decides whether a VM uses its hardware NIC, and what is missing for RDMA and
    DPDK. That is the NICs with their virtual functions (VFs), PCI functions without driver, the drivers of every
    installed kernel, rdma-core, DPDK, huge pages, the boot loader and what the kernel enforces.
  - Needs no program on the host. Versions and signers of kernel modules need C(modinfo).
  - Works without root privileges; RV(read_warnings) says what could not be read.
  - A value that is not known is V(null), never empty or false.
options:
  root:
    description:
      - What to read. V(/) is the running host; another directory is a mounted image, a chroot or a copy of a tree; a
        file is a snapshot that M(accelnet.mana.snapshot) recorded.
      - Links are resolved below the root and never lead out of it.
    type: path
    default: /
  hardware:
    description:
      - Whether to describe the machine (NICs, running kernel, huge pages, Secure Boot) or only what is installed.
      - V(auto) is V(true) for V(/) when that is neither a chroot nor a container, and for a tree or snapshot with a
        C(sys) directory that is not empty, unless that is the C(/sys) of this machine, mounted for an image build.
      - With V(false) everything that would describe the machine that builds an image is V(null).
    type: str
    choices: [auto, 'true', 'false']
    default: auto
  kernels:
    description:
      - Kernel releases to report, as below C(/lib/modules). Default is all that are installed, and the running one.
    type: list
    elements: str
  subset:
    description:
      - The parts to read.
    type: list
    elements: str
    choices: [nics, kernels, rdma, dpdk, platform]
    default: [nics, kernels, rdma, dpdk, platform]
extends_documentation_fragment:
  - accelnet.mana.attributes.info
seealso:
  - plugin: accelnet.mana.plan
    plugin_type: filter
    description: Turns these facts, a goal and a policy into what is to be done.
  - plugin: accelnet.mana.assess
    plugin_type: filter
    description: Turns these facts into one verdict per NIC.
"""

EXAMPLES = r"""
- name: Look at the NICs of a host
  accelnet.mana.nic_info:
  register: nic

- name: Show the verdict of each NIC
  ansible.builtin.debug:
    msg: "{{ nic | accelnet.mana.assess }}"

- name: Look into a mounted image, where no NIC can be
  accelnet.mana.nic_info:
    root: /mnt/image
    subset: [kernels, rdma, dpdk, platform]
"""

RETURN = r"""
schema_version:
  description: Version of the form of this result.
  type: int
  returned: always
  sample: 1
nics:
  description:
    - What Azure calls network interfaces of the VM, sorted by interface. V(null) without hardware.
  type: list
  elements: dict
  returned: when O(subset) has V(nics)
  contains:
    interface:
      description: The routable interface; the VF itself when it has no synthetic partner; V(null) in user space.
      type: str
      sample: eth0
    mac:
      description: The MAC address, lower case with colons.
      type: str
      sample: "00:22:48:71:c2:8c"
    kind:
      description: What the VF is. V(synthetic) without VF, V(other) for what is no NIC of Azure.
      type: str
      sample: mana
    use:
      description: Who uses the NIC, V(kernel) or V(userspace).
      type: str
      sample: kernel
    handed_over:
      description: Whether the record of this collection gives the NIC to user space.
      type: bool
    paired:
      description: Whether the VF is attached to its synthetic interface.
      type: bool
    synthetic:
      description: The synthetic half, with C(interface), C(driver), C(vmbus_device) and C(operstate); or V(null).
      type: dict
    vf:
      description:
        - The VF's interface, with C(interface), C(pci_address), C(driver), C(dev_port), C(operstate) and C(addresses);
          or V(null).
      type: dict
    rdma:
      description: Its verbs C(device), C(port) and whether that can send raw packets (C(raw_packet)); or V(null).
      type: dict
    mtu:
      description: MTU of the routable interface in bytes.
      type: int
    addresses:
      description: Addresses of the routable interface with prefix length.
      type: list
      elements: str
    default_route:
      description: Whether a default route leads over it, also through bonds, VLANs and bridges.
      type: bool
    statistics:
      description:
        - Bytes since the interface appeared, C(rx_bytes) and C(tx_bytes); those that the VF carried, as hv_netvsc
          counts them, C(vf_rx_bytes) and C(vf_tx_bytes). The former include the latter.
      type: dict
pci_functions:
  description:
    - PCI functions of class 0200 (Ethernet), with C(address), C(id), C(kind), C(driver), C(expected_module),
      C(interfaces) and C(numa_node). V(null) without hardware or C(/sys/bus).
  type: list
  elements: dict
  returned: when O(subset) has V(nics)
vmbus_devices:
  description:
    - Hyper-V's synthetic interfaces and virtual PCI buses, with C(guid), C(class), C(driver), C(driver_override),
      C(mac) and C(monitored). V(null) without hardware or C(/sys/bus).
  type: list
  elements: dict
  returned: when O(subset) has V(nics)
kernels:
  description: The installed kernels, sorted by release.
  type: list
  elements: dict
  returned: when O(subset) has V(kernels)
  contains:
    release:
      description: Its release.
      type: str
      sample: 6.1.0-50-cloud-amd64
    running:
      description: Whether it runs.
      type: bool
    default_boot:
      description: Whether it boots next; V(null) where the boot loader's files do not tell.
      type: bool
    headers:
      description: Its build directory, or V(null).
      type: str
    sig_force:
      description: Whether it was built to refuse modules that it does not trust; V(null) without its configuration.
      type: bool
    modules:
      description:
        - The state of the modules mana, mana_ib, mlx4_core, mlx4_en, mlx4_ib, mlx5_core, mlx5_ib, hv_netvsc,
          pci_hyperv, uio_hv_generic and ib_uverbs by name.
        - Each has C(state) (V(builtin), V(module), V(absent) or V(null)), C(origin) (V(inbox), V(updates), V(extra),
          V(weak-updates), V(other) or V(null)), C(path), C(srcversion), C(version), C(signer), C(vermagic), C(loaded),
          C(loaded_srcversion), C(blacklisted) and C(blacklisted_by). What is built in cannot be blacklisted.
        - C(srcversion), C(version), C(signer) and C(vermagic) are read for modules that did not come with the kernel, and
          for mana and mana_ib of the kernel that runs, or of all where that is not known.
      type: dict
boot:
  description: The boot loader, with C(loader), C(initrdless), C(default_policy), C(default_entry) and C(cmdline);
    C(guarded) says whether M(accelnet.mana.boot_guard) is armed.
  type: dict
  returned: when O(subset) has V(kernels)
platform:
  description:
    - The system, with C(system), C(azure), C(distribution), C(distribution_like), C(distribution_name), C(release),
      C(architecture), C(secure_boot), C(lockdown), C(sig_enforce), C(allow_unsupported_modules) (SUSE), C(package_manager) and C(python).
  type: dict
  returned: when O(subset) has V(platform)
rdma_core:
  description:
    - Its C(version), C(libmana) (the library when the whole provider is there, else V(null)), C(parts) of the
      provider, C(header) and whether a vendor's stack is installed (C(foreign_ofed)).
  type: dict
  returned: when O(subset) has V(rdma)
dpdk:
  description:
    - The installation that counts, which is the first of RV(dpdk.installations) with dpdk-testpmd and any of the drivers,
      else the first. Nothing is put together from several.
  type: dict
  returned: when O(subset) has V(dpdk)
  contains:
    prefix:
      description: Where it is installed, V(null) without DPDK.
      type: str
      sample: /usr
    version:
      description: Its version.
      type: str
      sample: 24.11.4
    exact:
      description:
        - Whether the version is that of its pkg-config file. V(false) when it was told from the ABI number of the library
          alone, which every release of a year has; V(null) without DPDK.
      type: bool
    pmds:
      description: The poll-mode drivers for Azure's NICs and for virtual ones.
      type: list
      elements: str
      sample: [net_mana, net_netvsc]
    testpmd:
      description: The path of dpdk-testpmd below the same prefix, or V(null).
      type: str
      sample: /usr/bin/dpdk-testpmd
    installations:
      description:
        - All installations, one for each prefix with the library librte_eal. Those below C(/opt/accelnet) come first, the
          newest leading, then the others in the order in which the loader looks.
      type: list
      elements: dict
      contains:
        prefix:
          description: As RV(dpdk.prefix).
          type: str
        version:
          description: As RV(dpdk.version).
          type: str
        exact:
          description: As RV(dpdk.exact).
          type: bool
        pmds:
          description: As RV(dpdk.pmds).
          type: list
          elements: str
        testpmd:
          description: As RV(dpdk.testpmd).
          type: str
hugepages:
  description: Huge pages by C(size_kb) and C(node), with C(total) and C(free) pages. V(null) without hardware.
  type: list
  elements: dict
  returned: when O(subset) has V(dpdk)
read_warnings:
  description:
    - What could not be read, or was malformed. Not named warnings, because ansible-core keeps that key to itself.
  type: list
  elements: str
  returned: always
reason:
  description: The reason code of a failure, V(bad_root), V(bad_snapshot) or V(bad_kernel).
  type: str
  returned: on failure
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.accelnet.mana.plugins.module_utils import _facts
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/"},
            "hardware": {"type": "str", "default": "auto", "choices": ["auto", "true", "false"]},
            "kernels": {"type": "list", "elements": "str"},
            "subset": {
                "type": "list",
                "elements": "str",
                "default": list(_facts.SUBSETS),
                "choices": list(_facts.SUBSETS),
            },
        },
        supports_check_mode=True,
    )
    hardware = {"auto": None, "true": True, "false": False}[module.params["hardware"]]
    try:
        facts = _facts.collect(module.params["root"], hardware, module.params["kernels"], module.params["subset"])
    except AccelnetError as error:
        module.fail_json(msg=error.message, reason=error.reason)
    module.exit_json(changed=False, **facts)


if __name__ == "__main__":
    main()
