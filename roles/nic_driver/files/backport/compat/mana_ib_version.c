// SPDX-License-Identifier: GPL-2.0
/* The version of mana_ib.ko; see mana_version.c. One object cannot belong to two modules. */
#include <linux/module.h>

MODULE_VERSION(BACKPORT_VERSION);
