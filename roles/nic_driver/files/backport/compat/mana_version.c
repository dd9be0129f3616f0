// SPDX-License-Identifier: GPL-2.0
/*
 * The version of mana.ko. Without one dkms compares the files of the modules, takes the kernel's own mana.ko for the
 * same module and does not install ours (dkms 3.0.10).
 */
#include <linux/module.h>

MODULE_VERSION(BACKPORT_VERSION);
