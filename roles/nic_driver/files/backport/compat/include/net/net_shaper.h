/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 6.12 and older lack this header. The types here are only what the donor's code needs to compile: no kernel without
 * net_shaper ever calls it (see compat/net.h), so their values and layout mean nothing.
 */
#ifndef BACKPORT_NET_SHAPER_H
#define BACKPORT_NET_SHAPER_H

#if HAS_NET_SHAPER
#include_next <net/net_shaper.h>
#else
#include <linux/netdevice.h>

enum net_shaper_scope {
	NET_SHAPER_SCOPE_UNSPEC,
	NET_SHAPER_SCOPE_NETDEV,
};

enum {
	NET_SHAPER_A_CAPS_SUPPORT_METRIC_BPS,
	NET_SHAPER_A_CAPS_SUPPORT_BW_MAX,
};

struct net_shaper_binding {
	struct net_device *netdev;
};

struct net_shaper_handle {
	enum net_shaper_scope scope;
	u32 id;
};

struct net_shaper {
	struct net_shaper_handle handle;
	u64 bw_max;
};

struct net_shaper_ops {
	int (*set)(struct net_shaper_binding *binding, const struct net_shaper *shaper, struct netlink_ext_ack *extack);
	int (*delete)(struct net_shaper_binding *binding, const struct net_shaper_handle *handle,
		      struct netlink_ext_ack *extack);
	void (*capabilities)(struct net_shaper_binding *binding, enum net_shaper_scope scope, unsigned long *flags);
};
#endif

#endif
