// SPDX-License-Identifier: GPL-2.0
/* Operations and helpers of ethtool, and its error texts. */

#ifdef PROBE_ETHTOOL_RXFH_PARAM
#include <linux/ethtool.h>
int get(struct net_device *dev, struct ethtool_rxfh_param *rxfh);
int set(struct net_device *dev, struct ethtool_rxfh_param *rxfh, struct netlink_ext_ack *extack);
static const struct ethtool_ops ops = { .get_rxfh = get, .set_rxfh = set };
#endif

#ifdef PROBE_ETHTOOL_KERNEL_RINGPARAM
#include <linux/ethtool.h>
void get(struct net_device *dev, struct ethtool_ringparam *ring, struct kernel_ethtool_ringparam *kernel_ring,
		struct netlink_ext_ack *extack);
static const struct ethtool_ops ops = { .get_ringparam = get };
#endif

#ifdef PROBE_ETHTOOL_KERNEL_COALESCE
#include <linux/ethtool.h>
int get(struct net_device *dev, struct ethtool_coalesce *coalesce, struct kernel_ethtool_coalesce *kernel_coalesce,
	       struct netlink_ext_ack *extack);
static const struct ethtool_ops ops = { .get_coalesce = get };
#endif

#ifdef PROBE_ETHTOOL_RX_CQE
#include <linux/ethtool.h>
static const struct ethtool_ops ops = { .supported_coalesce_params = ETHTOOL_COALESCE_RX_CQE_FRAMES };
static inline u32 probe(struct kernel_ethtool_coalesce *coalesce)
{
	return coalesce->rx_cqe_frames + coalesce->rx_cqe_nsecs;
}
#endif

#ifdef PROBE_ETHTOOL_RX_RING_COUNT
#include <linux/ethtool.h>
u32 get(struct net_device *dev);
static const struct ethtool_ops ops = { .get_rx_ring_count = get };
#endif

#ifdef PROBE_ETHTOOL_OP_NEEDS_RTNL
#include <linux/ethtool.h>
static const struct ethtool_ops ops = { .op_needs_rtnl = ETHTOOL_OP_NEEDS_RTNL_SCHANNELS };
#endif

#ifdef PROBE_ETHTOOL_SPRINTF
#include <linux/ethtool.h>
static inline void probe(u8 **data)
{
	ethtool_sprintf(data, "%d", 1);
}
#endif

#ifdef PROBE_ETHTOOL_PUTS
#include <linux/ethtool.h>
static inline void probe(u8 **data)
{
	ethtool_puts(data, "x");
}
#endif

#ifdef PROBE_NL_SET_ERR_MSG_FMT
#include <linux/netlink.h>
static inline void probe(struct netlink_ext_ack *extack)
{
	NL_SET_ERR_MSG_FMT(extack, "%d", 1);
}
#endif
