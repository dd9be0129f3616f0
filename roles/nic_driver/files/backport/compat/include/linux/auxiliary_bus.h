/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 5.10 has no auxiliary bus, by which mana offers its RDMA part to mana_ib, and mana_ib is not built there. mana makes
 * and releases its device as ever; only nobody sees it.
 */
#ifndef BACKPORT_AUXILIARY_BUS_H
#define BACKPORT_AUXILIARY_BUS_H

#if HAS_AUXILIARY_BUS
#include_next <linux/auxiliary_bus.h>
#else
#include <linux/device.h>

struct auxiliary_device {
	struct device dev;
	const char *name;
	u32 id;
};

static inline int auxiliary_device_init(struct auxiliary_device *device)
{
	device_initialize(&device->dev);
	return 0;
}

static inline int auxiliary_device_add(struct auxiliary_device *device)
{
	return 0;
}

static inline void auxiliary_device_delete(struct auxiliary_device *device)
{
}

/* Calls the release that mana set. */
static inline void auxiliary_device_uninit(struct auxiliary_device *device)
{
	put_device(&device->dev);
}
#endif

#endif
