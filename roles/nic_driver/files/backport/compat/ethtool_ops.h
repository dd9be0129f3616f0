/* SPDX-License-Identifier: GPL-2.0 */
/* Adapters of ethtool's operations: included in front of mana_ethtool.c only, as they are static to it. */
#ifndef BACKPORT_ETHTOOL_OPS_H
#define BACKPORT_ETHTOOL_OPS_H

#include "ethtool.h"

/*
 * 6.1 passes the hash function, the table and the key one by one; each of them may be missing in a get. The donor does
 * not write to what a set passes, though the structure has no const.
 */
#if !HAS_ETHTOOL_RXFH_PARAM
static int backport_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh);
static int backport_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh, struct netlink_ext_ack *extack);

static int mana_get_rxfh(struct net_device *dev, u32 *indir, u8 *key, u8 *hfunc)
{
	struct ethtool_rxfh_param rxfh = {
		.indir = indir,
		.indir_size = dev->ethtool_ops->get_rxfh_indir_size(dev),
		.key = key,
		.key_size = dev->ethtool_ops->get_rxfh_key_size(dev),
	};
	int err = backport_get_rxfh(dev, &rxfh);

	if (!err && hfunc)
		*hfunc = rxfh.hfunc;
	return err;
}

static int mana_set_rxfh(struct net_device *dev, const u32 *indir, const u8 *key, const u8 hfunc)
{
	struct ethtool_rxfh_param rxfh = {
		.hfunc = hfunc,
		.indir = (u32 *)indir,
		.indir_size = dev->ethtool_ops->get_rxfh_indir_size(dev),
		.key = (u8 *)key,
		.key_size = dev->ethtool_ops->get_rxfh_key_size(dev),
	};

	return backport_set_rxfh(dev, &rxfh, NULL);
}

#define mana_get_rxfh(dev, rxfh) backport_get_rxfh(dev, rxfh)
#define mana_set_rxfh(dev, rxfh, extack) backport_set_rxfh(dev, rxfh, extack)
#endif

/* 5.10 has no extended settings of rings, and no room for a text of what is wrong. The donor does not use the former. */
#if !HAS_ETHTOOL_KERNEL_RINGPARAM
struct kernel_ethtool_ringparam;
static void backport_get_ringparam(struct net_device *dev, struct ethtool_ringparam *ring,
				   struct kernel_ethtool_ringparam *kernel_ring, struct netlink_ext_ack *extack);
static int backport_set_ringparam(struct net_device *dev, struct ethtool_ringparam *ring,
				  struct kernel_ethtool_ringparam *kernel_ring, struct netlink_ext_ack *extack);

static void mana_get_ringparam(struct net_device *dev, struct ethtool_ringparam *ring)
{
	backport_get_ringparam(dev, ring, NULL, NULL);
}

static int mana_set_ringparam(struct net_device *dev, struct ethtool_ringparam *ring)
{
	return backport_set_ringparam(dev, ring, NULL, NULL);
}

#define mana_get_ringparam(dev, ring, kernel_ring, extack) backport_get_ringparam(dev, ring, kernel_ring, extack)
#define mana_set_ringparam(dev, ring, kernel_ring, extack) backport_set_ringparam(dev, ring, kernel_ring, extack)
#endif

/* See BACKPORT_MEMBER_get_rx_ring_count. */
#if !HAS_ETHTOOL_RX_RING_COUNT && DONOR_RX_RING_COUNT
static u32 mana_get_rx_ring_count(struct net_device *dev);

static int backport_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info, u32 *rules)
{
	if (info->cmd != ETHTOOL_GRXRINGS)
		return -EOPNOTSUPP;
	info->data = mana_get_rx_ring_count(dev);
	return 0;
}
#endif

/*
 * 7.0 and older cannot ask for several packets to be told of by one completion (rx_cqe_frames, rx_cqe_nsecs): this
 * feature is lost. A set has to keep what is set: were it 0, then the donor would refuse every ethtool -C.
 */
#if !HAS_ETHTOOL_RX_CQE && DONOR_COALESCE
struct backport_coalesce {
	u8 use_cqe_mode_tx;
	u8 use_cqe_mode_rx;
	u32 rx_cqe_frames;
	u32 rx_cqe_nsecs;
};

static int backport_get_coalesce(struct net_device *dev, struct ethtool_coalesce *coalesce, struct backport_coalesce *more,
				 struct netlink_ext_ack *extack);
static int backport_set_coalesce(struct net_device *dev, struct ethtool_coalesce *coalesce, struct backport_coalesce *more,
				 struct netlink_ext_ack *extack);

#if HAS_ETHTOOL_KERNEL_COALESCE
#define BACKPORT_COALESCE_REST , struct kernel_ethtool_coalesce *kernel_coalesce, struct netlink_ext_ack *extack
#define BACKPORT_COALESCE_EXTACK extack
#else /* 5.10 */
#define BACKPORT_COALESCE_REST
#define BACKPORT_COALESCE_EXTACK NULL
#endif

static int mana_get_coalesce(struct net_device *dev, struct ethtool_coalesce *coalesce BACKPORT_COALESCE_REST)
{
	struct backport_coalesce more = {};

	return backport_get_coalesce(dev, coalesce, &more, BACKPORT_COALESCE_EXTACK);
}

static int mana_set_coalesce(struct net_device *dev, struct ethtool_coalesce *coalesce BACKPORT_COALESCE_REST)
{
	struct ethtool_coalesce is_set = {};
	struct backport_coalesce more = {};
	int err = backport_get_coalesce(dev, &is_set, &more, BACKPORT_COALESCE_EXTACK);

	return err ?: backport_set_coalesce(dev, coalesce, &more, BACKPORT_COALESCE_EXTACK);
}

#define kernel_ethtool_coalesce backport_coalesce
#define mana_get_coalesce(dev, coalesce, more, extack) backport_get_coalesce(dev, coalesce, more, extack)
#define mana_set_coalesce(dev, coalesce, more, extack) backport_set_coalesce(dev, coalesce, more, extack)
#define ETHTOOL_COALESCE_RX_CQE_FRAMES 0
#endif

#endif
