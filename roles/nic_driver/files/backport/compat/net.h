/* SPDX-License-Identifier: GPL-2.0 */
/* Network devices, NAPI and socket buffers. */
#ifndef BACKPORT_NET_H
#define BACKPORT_NET_H

#include <linux/dim.h>
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/tcp.h>

/*
 * 6.12 and older have no lock of one network device that the stack holds around the driver's operations; all of them
 * run under the RTNL there. So the variants for holders of that lock are the plain ones, and taking it is for nothing:
 * the one place where the driver takes it is under the RTNL too.
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

/* 5.10 asks for the weight in each case and has another name for queues that only send. */
#if !HAS_NAPI_ADD_TX
#define netif_napi_add_tx(dev, napi, poll) netif_tx_napi_add(dev, napi, poll, NAPI_POLL_WEIGHT)
#endif

#if !HAS_NAPI_ADD_WEIGHT
#define netif_napi_add_weight(dev, napi, poll, weight) netif_napi_add(dev, napi, poll, weight)
#endif

#if !HAS_NAPI_LOCKED
#define netif_napi_add_locked(dev, napi, poll) netif_napi_add_weight(dev, napi, poll, NAPI_POLL_WEIGHT)
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

/* 5.10 lacks all that follows. Allocating from the cache of NAPI is only faster. */
#if !HAS_NAPI_BUILD_SKB
#define napi_build_skb(data, size) build_skb(data, size)
#endif

#if !HAS_SKB_TCP_ALL_HEADERS
static inline int skb_tcp_all_headers(const struct sk_buff *skb)
{
	return skb_transport_offset(skb) + tcp_hdrlen(skb);
}

static inline int skb_inner_tcp_all_headers(const struct sk_buff *skb)
{
	return skb_inner_transport_offset(skb) + inner_tcp_hdrlen(skb);
}
#endif

/* A reference without somebody who keeps count of its holders. */
#if !HAS_NETDEV_HOLD
typedef struct {
} netdevice_tracker;

static inline void netdev_hold(struct net_device *dev, netdevice_tracker *tracker, gfp_t gfp)
{
	if (dev)
		dev_hold(dev);
}

static inline void netdev_put(struct net_device *dev, netdevice_tracker *tracker)
{
	if (dev)
		dev_put(dev);
}
#endif

#if !HAS_ETH_HW_ADDR_SET
#define eth_hw_addr_set(dev, address) ether_addr_copy((dev)->dev_addr, address)
#endif

#if !HAS_NETIF_SET_TSO_MAX_SIZE
#define netif_set_tso_max_size(dev, size) netif_set_gso_max_size(dev, min_t(unsigned int, size, GSO_MAX_SIZE))
#endif

/* The one without underscores takes the RTNL, which the caller of this one holds: it would wait for itself. */
#if !HAS_NETDEV_NOTIFY_PEERS_UNLOCKED
static inline void __netdev_notify_peers(struct net_device *dev)
{
	ASSERT_RTNL();
	call_netdevice_notifiers(NETDEV_NOTIFY_PEERS, dev);
	call_netdevice_notifiers(NETDEV_RESEND_IGMP, dev);
}
#endif

#endif
