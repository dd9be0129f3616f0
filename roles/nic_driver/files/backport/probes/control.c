// SPDX-License-Identifier: GPL-2.0
/* The controls of run.sh: the first has to compile and the second must not, whatever the kernel. */

#ifdef PROBE_CONTROL_PRESENT
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
static inline void *probe(struct net_device *dev)
{
	return netdev_priv(dev);
}
#endif

#ifdef PROBE_CONTROL_ABSENT
#include <linux/netdevice.h>
static inline void *probe(struct net_device *dev)
{
	return netdev_priv_of_no_kernel(dev);
}
#endif
