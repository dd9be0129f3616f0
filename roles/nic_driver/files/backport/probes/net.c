// SPDX-License-Identifier: GPL-2.0
/* Network devices, NAPI and socket buffers. */

#ifdef PROBE_NETDEV_LOCK
#include <net/netdev_lock.h>
static inline void probe(struct net_device *dev)
{
	netdev_lock(dev);
	netdev_assert_locked(dev);
	netdev_unlock(dev);
}
#endif

#ifdef PROBE_NAPI_LOCKED
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev, struct napi_struct *napi, int (*poll)(struct napi_struct *, int))
{
	netif_napi_add_locked(dev, napi, poll);
	netif_napi_add_weight_locked(dev, napi, poll, 1);
	napi_enable_locked(napi);
	napi_disable_locked(napi);
	netif_napi_del_locked(napi);
}
#endif

#ifdef PROBE_NAPI_ADD_TX
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev, struct napi_struct *napi, int (*poll)(struct napi_struct *, int))
{
	netif_napi_add_tx(dev, napi, poll);
}
#endif

#ifdef PROBE_NAPI_ADD_WEIGHT
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev, struct napi_struct *napi, int (*poll)(struct napi_struct *, int))
{
	netif_napi_add_weight(dev, napi, poll, 1);
}
#endif

#ifdef PROBE_NAPI_BUILD_SKB
#include <linux/skbuff.h>
static inline struct sk_buff *probe(void *data)
{
	return napi_build_skb(data, 2048);
}
#endif

#ifdef PROBE_SKB_TCP_ALL_HEADERS
#include <linux/tcp.h>
static inline int probe(const struct sk_buff *skb)
{
	return skb_tcp_all_headers(skb) + skb_inner_tcp_all_headers(skb);
}
#endif

#ifdef PROBE_NETDEV_HOLD
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev, netdevice_tracker *tracker)
{
	netdev_hold(dev, tracker, GFP_ATOMIC);
	netdev_put(dev, tracker);
}
#endif

#ifdef PROBE_ETH_HW_ADDR_SET
#include <linux/etherdevice.h>
static inline void probe(struct net_device *dev, const u8 *address)
{
	eth_hw_addr_set(dev, address);
}
#endif

#ifdef PROBE_NETIF_SET_TSO_MAX_SIZE
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev)
{
	netif_set_tso_max_size(dev, 65536);
}
#endif

#ifdef PROBE_NETDEV_NOTIFY_PEERS_UNLOCKED
#include <linux/netdevice.h>
static inline void probe(struct net_device *dev)
{
	__netdev_notify_peers(dev);
}
#endif

#ifdef PROBE_NET_SHAPER
#include <linux/netdevice.h>
#include <net/net_shaper.h>
static const struct net_shaper_ops shaper;
static const struct net_device_ops ops = { .net_shaper_ops = &shaper };
#endif

#ifdef PROBE_NET_DIM_BY_POINTER
#include <linux/dim.h>
static inline void probe(struct dim *dim, const struct dim_sample *sample)
{
	net_dim(dim, sample);
}
#endif
