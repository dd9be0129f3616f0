# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one list of verdicts and reason codes. docs/reasons.md is generated from it.

Private to this collection. Python 3.6, standard library.
"""

from typing import Dict, NamedTuple, Tuple

# Worst first: the verdict of a host is the first of these that one of its NICs has.
VERDICTS: Tuple[str, ...] = (
    "orphaned",
    "degraded",
    "synthetic",
    "unsupported",
    "userspace",
    "accelerated",
)

Reason = NamedTuple("Reason", [("code", str), ("meaning", str), ("remedy", str)])

_ROWS: Tuple[Tuple[str, str, str], ...] = (
    # A NIC and its virtual function
    (
        "driver_missing",
        "The kernel that runs has no driver for the virtual function, so all traffic takes the slow synthetic path.",
        "Give the kernel the driver: plan the goal 'ethernet' and apply the step it names.",
    ),
    (
        "driver_not_loaded",
        "The driver is installed for the running kernel, but it is not loaded.",
        "Load it, and let it load at boot (role nic_driver, action load).",
    ),
    (
        "driver_blacklisted",
        "The driver is installed, but a modprobe.d file or the kernel command line forbids it.",
        "Remove the entry that 'blacklisted_by' names, or set the policy 'mana_ib: present' for mana_ib.",
    ),
    (
        "driver_probe_failed",
        "The driver is loaded but did not bind the function: its probe failed, or someone unbound it.",
        "Read the kernel log ('gdma probe failed' for MANA); a newer kernel is the usual cure.",
    ),
    (
        "driver_unexpected",
        "The function is bound to another driver than the one that makes a network interface of it.",
        "Remove the driver override (driverctl list-overrides shows it) and bind the kernel's driver again.",
    ),
    (
        "kernel_flavour_lacks_driver",
        "This flavour of the distribution's kernel is built without the driver.",
        "Install another kernel flavour, or allow a newer kernel or a backport in driver_sources.",
    ),
    # Sources of backports
    (
        "donor_missing",
        "The source of the newer kernel is not where it was said to be.",
        "Install the package that brings it, or name an archive or directory with nic_driver_donor.",
    ),
    (
        "donor_corrupt",
        "The archive with the source of the newer kernel cannot be read to its end.",
        "Download it again, and compare its checksum.",
    ),
    (
        "donor_unsafe",
        "The archive with the source of the newer kernel has members that no kernel has.",
        "Use the distribution's or kernel.org's archive.",
    ),
    (
        "donor_checksum_mismatch",
        "The archive has another checksum than the one that was given.",
        "Download it again, or correct the checksum if you trust the archive.",
    ),
    ("donor_incomplete", "The source lacks the drivers mana or mana_ib.", "Use the source of Linux 6.12 or newer."),
    ("donor_version_unknown", "The source does not tell its version.", "Name it with the option version."),
    (
        "donor_older_than_target",
        "The source is older than the kernel that is to get its drivers.",
        "Use the source of a newer kernel: the compat layer leads from new to old only.",
    ),
    (
        "donor_edit_mismatch",
        "The compat layer does not know this source: one of its edits does not fit.",
        "Use a donor that docs/compatibility.md names, and report this one.",
    ),
    ("bad_target_release", "A kernel release is malformed.", "Give releases as uname -r prints them."),
    ("bad_modules", "The modules that were asked for cannot be built without each other.", "Ask for mana alone, or for mana and mana_ib."),
    ("compat_invalid", "The compat layer is not whole.", "Install the collection again, or repair the directory that was given."),
    ("dest_not_ours", "The directory for the assembled source has content of somebody else.", "Choose another directory, or remove it."),
    ("dest_not_writable", "The assembled source cannot be written.", "Make room, or mount the file system writable."),
    (
        "reload_refused",
        "The drivers in memory were not swapped: something that uses them is in the way.",
        "End what holds the NIC, or let a reboot load the drivers; nic_driver_reload: force where you can reach the host otherwise.",
    ),
    (
        "reload_reverted",
        "The host took a swap of its drivers back: the new ones did not work, or nobody confirmed in time.",
        "Read the journal of the unit accelnet-driver-reload-* on the host.",
    ),
    (
        "bad_token",
        "No swap of the drivers has this token.",
        "Pass the token that driver_reload returned with state=started.",
    ),
    (
        "loaded_differs_from_installed",
        "The module in memory is not the one on disk: another build was loaded before.",
        "Reload the module or reboot, when the connection allows it.",
    ),
    (
        "builtin_not_replaceable",
        "The driver is built into the kernel, so no module can replace it.",
        "Use another kernel that has what is missing; a backport cannot help here.",
    ),
    (
        "vf_not_offered",
        "Azure offers this interface no virtual function.",
        "Enable accelerated networking on the NIC, and use a VM size that supports it.",
    ),
    (
        "vf_revoked",
        "A virtual function was there since boot and is gone: host servicing takes it away for some minutes.",
        "Wait and look again; if it stays away, stop and start (redeploy) the VM.",
    ),
    (
        "vf_function_unbound",
        "The interface has no virtual function while a function without driver waits on the PCI bus.",
        "Mend the orphaned function: its own entry names the reason.",
    ),
    (
        "vf_not_enslaved",
        "The virtual function has the MAC of a synthetic interface but is not attached to it.",
        "Leave the virtual function unmanaged (role vf_unmanaged); nothing else may enslave or rename it.",
    ),
    (
        "vf_has_address",
        "The virtual function carries an address of its own, so routes may bypass the synthetic interface.",
        "Leave the virtual function unmanaged (role vf_unmanaged) and remove the address.",
    ),
    (
        "vf_down",
        "The virtual function is attached but down, so traffic takes the synthetic path.",
        "Find who set it down; hv_netvsc brings it up when the synthetic interface comes up.",
    ),
    (
        "interface_in_other_netns",
        "The function has its driver but shows no interface here: it sits in another network namespace.",
        "Nothing if that is wanted (containers, DPDK in a pod); else move the interface back.",
    ),
    (
        "pci_hyperv_missing",
        "Hyper-V offers a PCI device, but no pci_hyperv driver has taken it, so no function can appear.",
        "Load pci_hyperv, and have it in the initramfs of images.",
    ),
    (
        "unsupported_nic",
        "The interface is neither a Hyper-V synthetic interface nor one of Azure's virtual functions.",
        "Nothing: this collection leaves such interfaces alone.",
    ),
    (
        "userspace_binding_lost",
        "Our record gives the NIC to user space, but the kernel has it: the binding did not survive.",
        "Bind it again (role dpdk_port).",
    ),
    (
        "synthetic_unbound",
        "The synthetic half of the NIC has no driver, so its VF, if there is one, has nothing to fall back to.",
        "Bind the VMBus device to hv_netvsc again; a driver_override may stand in the way.",
    ),
    (
        "interface_down",
        "The synthetic interface is down, and its VF with it: nobody uses the NIC.",
        "Nothing if that is wanted; else set the synthetic interface up.",
    ),
    (
        "userspace_unasked",
        "The interface is bound to uio_hv_generic although neither a record of ours nor accelnet_nics asks for it.",
        "Name its MAC in accelnet_nics when DPDK is to have it, else give it back to hv_netvsc.",
    ),
    # Proof
    (
        "traffic_on_synthetic",
        "Measured traffic went over the synthetic path although a virtual function is there.",
        "Check the virtual function's link and the flow steering of the measured traffic.",
    ),
    (
        "traffic_not_proven",
        "There was too little traffic in the measured window to tell which path it takes.",
        "Measure again with a longer or larger flow.",
    ),
    (
        "peer_unreachable",
        "The other end of a measurement did not accept the connection, refused our token, or broke off.",
        "Check that it listens, its firewall, and that a route leads to it through the NIC that is measured; then measure again.",
    ),
    (
        "counters_unusable",
        "A byte counter could not be read or went back in the measured window, so that tells nothing.",
        "Measure again in some minutes: host servicing takes the virtual function away, and its counters start again.",
    ),
    (
        "nic_not_measurable",
        "The NIC has no virtual function that the kernel uses, so there is no share to measure.",
        "Measure NICs that are accelerated; the message says what this one lacks.",
    ),
    (
        "nic_not_found",
        "No NIC of the host has the MAC address or interface name that was given.",
        "Give one that nic_info shows.",
    ),
    (
        "measurement_timeout",
        "A measurement did not end in its time and was ended by force.",
        "Look for a name server that does not answer, or a hung network operation in the kernel log.",
    ),
    (
        "bad_load",
        "The options of a measurement are out of bounds, or its server cannot listen where it should.",
        "Use what the message names; see the documentation of vf_check.",
    ),
    # RDMA and DPDK
    (
        "mana_ib_missing",
        "The kernel has no mana_ib, so there is no RDMA device and DPDK's net_mana cannot work.",
        "Kernel 6.2 or newer built with it, a package that carries it, or a backport.",
    ),
    (
        "rdma_driver_missing",
        "The kernel lacks the RDMA driver (mlx5_ib or mlx4_ib) of a Mellanox NIC, or ib_uverbs.",
        "Install the kernel package that carries it.",
    ),
    (
        "uio_missing",
        "The kernel has no uio_hv_generic, so DPDK cannot take the synthetic interface.",
        "Install the kernel package that carries it, or another kernel flavour.",
    ),
    (
        "libmana_missing",
        "User space has no complete MANA provider: libmana, its verbs plugin and its driver file belong together.",
        "Install rdma-core 44 or newer with the MANA provider (role rdma_core).",
    ),
    (
        "pmd_missing",
        "DPDK, or the poll-mode driver that the NIC needs, is not installed.",
        "Install a DPDK (22.11 or newer) that was built with the driver (role dpdk).",
    ),
    (
        "hugepages_missing",
        "No huge pages are reserved.",
        "Reserve them (role dpdk_port).",
    ),
    (
        "dpdk_vf_readd_unreliable",
        "This DPDK may lose the virtual function after host servicing on VMs with several NICs.",
        "Use DPDK 26.07 or newer for netvsc mode.",
    ),
    (
        "rdma_core_missing",
        "rdma-core is not installed, so no program can use the verbs device.",
        "Install rdma-core (role rdma_core).",
    ),
    (
        "version_below_minimum",
        "What is installed is older than the minimum that the tables or the policy ask for.",
        "Install a newer version.",
    ),
    (
        "nic_used_by_kernel",
        "The NIC is to be used by DPDK and is still used by the kernel.",
        "Hand it over (role dpdk_port).",
    ),
    (
        "nic_protected",
        "The NIC carries the default route, or it is not known whether it does, so it is not given to user space.",
        "Choose another NIC; a host needs one that stays with the kernel.",
    ),
    (
        "nic_carries_connection",
        "An ssh connection uses the NIC, so it is not given to user space.",
        "Choose another NIC; naming its MAC in dpdk_port_allow_protected overrides that, and may cut the connection.",
    ),
    (
        "nic_carries_platform",
        "The way to Azure's own services (168.63.129.16, 169.254.169.254) leads over the NIC, so it is not given to user space.",
        "Choose another NIC; without those services the VM gets no DHCP, DNS, health checks or extensions.",
    ),
    (
        "bind_failed",
        "A device could not be given to the driver that was asked for; what was there before has been restored.",
        "Read the message and the kernel log; 'not_restored' names what is not as it was.",
    ),
    (
        "driverctl_missing",
        "driverctl is not installed, which keeps the drivers of PCI devices over reboots.",
        "Install the package driverctl.",
    ),
    (
        "device_missing",
        "The bus has no such device.",
        "Look at 'pci_functions' and 'vmbus_devices' of nic_info.",
    ),
    (
        "hugepages_exceed_memory",
        "The huge pages that were asked for are more than a share of the node's memory; the VM might not boot again.",
        "Ask for fewer, or use a larger VM size; dpdk_port_hugepages_share is the share.",
    ),
    (
        "verbs_device_missing",
        "The virtual function has no verbs device, so DPDK cannot use it.",
        "Load mana_ib, mlx5_ib or mlx4_ib (role dpdk_port does).",
    ),
    (
        "vf_up",
        "The virtual function is up and the kernel uses it; DPDK is refused with error -19.",
        "Set it down, and find who sets it up (role dpdk_port keeps it down).",
    ),
    (
        "testpmd_missing",
        "dpdk-testpmd is not installed.",
        "Install it with DPDK (role dpdk).",
    ),
    (
        "testpmd_no_port",
        "dpdk-testpmd found no port for the NIC that was asked for.",
        "Look whether the NIC is there and its verbs device, and whether the DPDK has the driver for it.",
    ),
    ("testpmd_failed", "dpdk-testpmd ended in a way that has no reason code of its own.", "Read the end of its output in 'log'."),
    (
        "testpmd_timeout",
        "dpdk-testpmd did not answer in time and was ended.",
        "Raise timeout on slow hosts; else read the kernel log.",
    ),
    # Building and installing
    (
        "headers_missing",
        "The headers of the target kernel are not installed, so nothing can be built for it.",
        "Install the headers package of exactly that kernel release.",
    ),
    (
        "secure_boot_refuses_unsigned",
        "The kernel refuses modules that it does not trust, and a module built here would not be trusted.",
        "Prefer a signed kernel from the distribution, or give a key that the kernel trusts.",
    ),
    (
        "suse_unsupported_module",
        "SLES refuses modules that SUSE does not support (allow_unsupported_modules 0).",
        "Use a supported module, or allow unsupported ones in modprobe.d yourself.",
    ),
    (
        "reboot_pending",
        "A kernel that has what is missing is installed, but another one runs.",
        "Boot it; with allow_reboot the plan has that as a step.",
    ),
    (
        "not_allowed_by_policy",
        "There is a way, but the policy does not allow it.",
        "Allow it with the option that the entry names.",
    ),
    (
        "backport_untested",
        "A backport to this kernel line may work but was never tested.",
        "Set allow_untested_backport to try it on a host that you can lose.",
    ),
    (
        "package_not_available",
        "The repositories of this host do not offer the package that is needed.",
        "Enable the repository that carries it, or allow another way.",
    ),
    (
        "foreign_ofed_installed",
        "A vendor's OFED or DOCA replaces the distribution's RDMA stack; it breaks mana_ib and lacks libmana.",
        "Remove it on MANA hosts, then plan again.",
    ),
    (
        "unsupported_os",
        "This operating system cannot be helped by installing something in the guest.",
        "Use an image of a supported distribution, or ask the vendor for the driver.",
    ),
    (
        "no_known_remedy",
        "Nothing that this collection knows brings what is missing to this system.",
        "Use a newer release of the distribution, or report a source for the missing part.",
    ),
    (
        "facts_unknown",
        "The host did not show what is needed to decide: the warnings name what could not be read.",
        "Mend what the warnings name, or run with more privileges, and look again.",
    ),
    # Reboots
    (
        "boot_once_unsupported",
        "The boot loader cannot start an entry once only, so a kernel that fails would strand the host; nothing was touched.",
        "The message names the obstacle; else boot the kernel yourself, with the console at hand.",
    ),
    (
        "boot_space_low",
        "There is too little space for another kernel in /boot, the EFI system partition or /lib/modules.",
        "Remove kernels that are no longer needed, then run again.",
    ),
    (
        "guard_fell_back",
        "A kernel was tried and was not confirmed; the host went back to the kernel that ran before, which is the default now.",
        "'happened' says what is known. Remove that kernel and revert the guard, or mend it and allow another try (retry).",
    ),
    (
        "guard_not_ready",
        "The guard was asked for a step whose earlier step is missing: arming, the trial, or the reboot between it and the confirmation.",
        "Run the whole role boot_guard again: it goes on where it was.",
    ),
    (
        "guard_token_stale",
        "A confirmation came that was meant for an earlier arming of the guard, so it did nothing.",
        "Another run works on this host, or did since; let it end, then run again.",
    ),
    (
        "guard_failed",
        "The boot guard failed in a way that has no reason code of its own.",
        "Read the message; revert the guard if need be.",
    ),
    # DKMS
    (
        "dkms_missing",
        "DKMS is not installed, so it can neither build modules nor take back what it installed.",
        "Install the package dkms.",
    ),
    (
        "bad_dkms_source",
        "The source of the DKMS package is missing, damaged, or not of the name and version that were given.",
        "Give a directory or tar archive whose dkms.conf says that name and version.",
    ),
    (
        "compiler_unusable",
        "make or the kernel's compiler is missing, or the compiler cannot compile the simplest program.",
        "Install make and the compiler that the message names, or mend it.",
    ),
    (
        "disk_full",
        "A file system is full, so nothing could be built or installed; what was there is still there.",
        "Free some space, then run again.",
    ),
    (
        "dkms_build_failed",
        "The modules did not compile for the kernel; what was installed before still is.",
        "Read the end of the build log in 'log'; another version of the source may fit the kernel.",
    ),
    (
        "dkms_build_excluded",
        "The package says in its dkms.conf that it is not meant for this kernel (BUILD_EXCLUSIVE).",
        "Leave that kernel out: as a rule it has the driver itself.",
    ),
    (
        "dkms_not_resolved",
        "DKMS reports success, but modprobe would load another file than the one that was built.",
        "The message names that file: look who installed it, and for 'override' or 'search' lines in depmod.d.",
    ),
    (
        "dkms_not_restored",
        "The modules were removed, but the kernel's own are not what modprobe would load now.",
        "Reinstall the kernel package, or what the message names.",
    ),
    (
        "dkms_locked",
        "Another run, or the package manager, works with DKMS and did not end in time.",
        "Run again later, or raise lock_timeout.",
    ),
    (
        "dkms_timeout",
        "A DKMS command did not end in time and was killed.",
        "Raise timeout on slow hosts; else read the kernel's log for a hung disk.",
    ),
    ("dkms_failed", "DKMS failed in a way that has no reason code of its own.", "Read the message, which ends with what DKMS said."),
    # Reading
    (
        "rtnl_stuck",
        "The kernel did not answer netlink or ethtool in time: its network lock is held.",
        "Look for a hung network operation in the kernel log; a reboot is the usual cure.",
    ),
    # Input
    ("bad_root", "The root is neither a directory nor a snapshot.", "Give an existing directory or snapshot file."),
    ("bad_snapshot", "The snapshot file does not have the documented form.", "Record it again with the snapshot playbook."),
    ("bad_kernel", "A kernel release that was asked for is malformed or not installed there.", "Give a release below lib/modules."),
    ("bad_facts", "The facts are not what nic_info returns.", "Pass the result of accelnet.mana.nic_info."),
    ("bad_goal", "The goal does not exist.", "Use ethernet, rdma or dpdk."),
    ("bad_policy", "A policy option does not exist or has a value that it cannot have.", "See the documentation of the plan filter."),
    ("bad_mac", "A MAC address is malformed, or no NIC of the host has it.", "Give MAC addresses that nic_info shows."),
    ("bad_device", "The name of a device, driver, module or set of NICs is malformed.", "Give names as nic_info shows them."),
    ("bad_hugepages", "The kernel does not offer huge pages of that size, or none at all.", "Leave dpdk_port_hugepages_kb out."),
    (
        "bad_queues",
        "The numbers of queues differ or are no power of two, which net_mana refuses.",
        "Use 1, 2, 4, 8, 16 or 32 in both directions.",
    ),
    (
        "bad_descriptors",
        "The number of descriptors of a queue is no multiple of 64, which net_mana wants.",
        "Use 64, 128, 256 and so on; 256 is usual.",
    ),
    (
        "bad_record",
        "The record of what was there before the first change is damaged.",
        "Repair the file that the message names, or remove it, and know that nothing can be restored then.",
    ),
    ("packages_unknown", "The host does not tell which packages are installed.", "Repair dpkg or rpm, whose message is given."),
    ("bad_package_name", "A name cannot be that of a package.", "Pass names as the package manager has them."),
    ("bad_result_file", "A result file of the run cannot be read.", "Run the audit of that host again."),
    (
        "nic_info_failed",
        "nic_info failed on the host, or could not be started there.",
        "Read the message; it may be about Python, privileges or a variable of the host.",
    ),
    (
        "host_unreachable",
        "The controller could not log in to the host.",
        "Check that the host runs, its address and the login; then audit it again.",
    ),
    (
        "bad_run_id",
        "The name of a run is malformed, or there is a run of that name already.",
        "Use letters, digits, dots, dashes and underscores, or leave it out.",
    ),
    (
        "bad_run_dir",
        "The directory of a run does not exist, lacks its run.json or cannot be written.",
        "Give the run_dir that report_begin returned, on the controller.",
    ),
    ("bad_fail_on", "An entry of fail_on is neither a verdict, a status, a reason code nor not_met.", "Use what docs/reasons.md lists."),
    ("bad_query", "The query is no valid JMESPath expression for the report.", "Try it on report.json with jp.py; see jmespath.org."),
    (
        "jmespath_missing",
        "A query was given, but the controller's Python has no jmespath library.",
        "Install jmespath beside ansible-core, or leave the query out.",
    ),
)

REASONS: Dict[str, Reason] = {row[0]: Reason(*row) for row in _ROWS}


class AccelnetError(Exception):
    """Bad input: a reason code from :data:`REASONS` and a message that names the file or option."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = REASONS[reason].code
        self.message = message
