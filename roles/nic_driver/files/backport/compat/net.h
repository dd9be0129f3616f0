/* SPDX-License-Identifier: GPL-2.0 */
/* Network devices, NAPI and socket buffers. */
#ifndef BACKPORT_NET_H
#define BACKPORT_NET_H

#include <linux/dim.h>
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>

/*
 * 6.12 and older have no lock of one network device that the stack holds around the driver's operations; all of them
 * run under the RTNL there. So the variants for holders of that lock are the plain ones, and taking it is for nothing:
 * the driver takes it in one place outside of operations, around a store that those under the RTNL read.
 */
#if !HAS_NETDEV_LOCK
static inline void netdev_lock(struct net_device *dev)
{
}

static inline void netdev_unlock(struct net_device *dev)
{
}

#define netdev_assert_locked(dev) ASSERT_RTNL()
#endif

#if !HAS_NAPI_LOCKED
#define netif_napi_add_locked(dev, napi, poll) netif_napi_add(dev, napi, poll)
#define netif_napi_add_weight_locked(dev, napi, poll, weight) netif_napi_add_weight(dev, napi, poll, weight)
#define netif_napi_del_locked(napi) netif_napi_del(napi)
#define napi_enable_locked(napi) napi_enable(napi)
#define napi_disable_locked(napi) napi_disable(napi)
#endif

/* Up to 6.12 the last sample is passed by value. */
#if !HAS_NET_DIM_BY_POINTER
#define net_dim(dim, sample) net_dim(dim, *(sample))
#endif

/*
 * 6.12 and older have no rate limits of a device by netlink (net_shaper). The driver's code for it is compiled against
 * the types in include/net/net_shaper.h and never called: this feature is lost.
 */
#if HAS_NET_SHAPER
#define BACKPORT_MEMBER_net_shaper_ops(value) .net_shaper_ops = (value),
#else
#define BACKPORT_MEMBER_net_shaper_ops(value)
#endif

#endif
