// SPDX-License-Identifier: GPL-2.0-only
/* Copyright: (c) 2026, The accelnet.mana authors */
#include <linux/module.h>

int accel_a(void);

int accel_a(void)
{
	return VALUE;
}
EXPORT_SYMBOL_GPL(accel_a);

#ifdef VERSION
MODULE_VERSION(VERSION);
#endif
MODULE_LICENSE("GPL");
