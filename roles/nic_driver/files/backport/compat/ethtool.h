/* SPDX-License-Identifier: GPL-2.0 */
/* Types and helpers of ethtool; the adapters of its operations are in ethtool_ops.h. */
#ifndef BACKPORT_ETHTOOL_H
#define BACKPORT_ETHTOOL_H

#include <linux/ethtool.h>
#include <linux/netlink.h>

/* 5.10 lacks it. */
#if !HAS_ETHTOOL_SPRINTF
static inline __printf(2, 3) void ethtool_sprintf(u8 **data, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(*data, ETH_GSTRING_LEN, format, arguments);
	va_end(arguments);
	*data += ETH_GSTRING_LEN;
}
#endif

/* 6.1 lacks it. */
#if !HAS_ETHTOOL_PUTS
#define ethtool_puts(data, text) ethtool_sprintf(data, "%s", text)
#endif

/* 6.1 has no room for a text with numbers in it: the numbers go to the log and the answer says so. */
#if !HAS_NL_SET_ERR_MSG_FMT
#define NL_SET_ERR_MSG_FMT(extack, format, ...)                                      \
	do {                                                                         \
		pr_info_ratelimited("mana: " format "\n", ##__VA_ARGS__);            \
		NL_SET_ERR_MSG(extack, "Value not accepted, see the kernel's log"); \
	} while (0)
#endif

/* 6.1: a hash table's settings are passed one by one (see ethtool_ops.h). */
#if !HAS_ETHTOOL_RXFH_PARAM
struct ethtool_rxfh_param {
	u8 hfunc;
	u32 indir_size;
	u32 *indir;
	u32 key_size;
	u8 *key;
	u8 input_xfrm;
};
#endif

/* 6.12 and older hold the RTNL around all operations: nothing has to be asked for. */
#if HAS_ETHTOOL_OP_NEEDS_RTNL
#define BACKPORT_MEMBER_op_needs_rtnl(value) .op_needs_rtnl = (value),
#else
#define BACKPORT_MEMBER_op_needs_rtnl(value)
#endif

/* 6.12 and older ask for the number of rings by get_rxnfc, and without an answer ethtool -x and -X fail. */
#if HAS_ETHTOOL_RX_RING_COUNT
#define BACKPORT_MEMBER_get_rx_ring_count(value) .get_rx_ring_count = (value),
#else
#define BACKPORT_MEMBER_get_rx_ring_count(value) .get_rxnfc = backport_get_rxnfc,
#endif

#endif
