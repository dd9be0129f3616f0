// SPDX-License-Identifier: GPL-2.0-only
/* Copyright: (c) 2026, The accelnet.mana authors */
#include <linux/module.h>

int accel_a(void);

static int __init accel_b_init(void)
{
	return accel_a();
}
module_init(accel_b_init);

MODULE_LICENSE("GPL");
