/* SPDX-License-Identifier: GPL-2.0 */
/* 6.12 and older lack this header; compat/net.h has what stands for its contents. */
#ifndef BACKPORT_NETDEV_LOCK_H
#define BACKPORT_NETDEV_LOCK_H

#if HAS_NETDEV_LOCK
#include_next <net/netdev_lock.h>
#else
#include <linux/netdevice.h>
#endif

#endif
