/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included in front of every file of the donor: makes the API of the donor's kernel out of that of the target's.
 *
 * Each adapter stands below the answer of a probe (HAS_..., see probes/), never below a version: stable and distribution
 * kernels carry changes of newer ones. Its comment says who lacks what, and why the adapter is right when it runs: what
 * compiles can still be wrong.
 *
 * Adapters are function-like macros where they can be. Such a macro changes the calls and the definition of a function,
 * and leaves its bare name, as in a table of operations, alone: there stands the adapter, which has the signature that
 * the target's table wants and calls the donor's function by its changed name.
 */
#ifndef BACKPORT_COMPAT_H
#define BACKPORT_COMPAT_H

#include "generated.h"

/*
 * What donors include comes first: adapters are for the donor's code and must not reach the inline functions of the
 * kernel's headers.
 */
#include <linux/auxiliary_bus.h>
#include <linux/bpf_trace.h>
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dim.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/inetdevice.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>
#include <net/ip6_checksum.h>
#include <net/netdev_lock.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>

#include "memory.h"
#include "core.h"
#include "cpu.h"
#include "net.h"
#include "xdp.h"
#include "ethtool.h"

/*
 * Members that structures of some kernels lack. The assembly turned `.name = value,` into BACKPORT_MEMBER(name, value)
 * (see assembly.json); what becomes of it stands beside the adapters of its theme.
 */
#define BACKPORT_MEMBER(name, value) BACKPORT_MEMBER_##name(value)

#endif
