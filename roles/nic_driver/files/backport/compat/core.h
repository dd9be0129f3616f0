/* SPDX-License-Identifier: GPL-2.0 */
/* Modules, work queues, time, debugfs, versions, minima. */
#ifndef BACKPORT_CORE_H
#define BACKPORT_CORE_H

#include <linux/auxiliary_bus.h>
#include <linux/debugfs.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/pci_ids.h>
#include <linux/version.h>
#include <linux/workqueue.h>

/*
 * 6.12 and older want the namespace of symbols without quotes and make a string of it. Donors write it either way:
 * here both ways give the string "NET_MANA".
 */
#if !HAS_NAMESPACE_STRINGS
#define NET_MANA "NET_MANA"
#undef EXPORT_SYMBOL_NS
#define EXPORT_SYMBOL_NS(symbol, namespace) __EXPORT_SYMBOL(symbol, "", namespace)
#undef MODULE_IMPORT_NS
#define MODULE_IMPORT_NS(namespace) MODULE_INFO(import_ns, namespace)
#endif

/*
 * 6.9 and older cannot disable work. Cancelling alone is not enough: an interrupt or a probe that still runs could queue
 * it again, and it would run after its memory was freed. See mana_compat.c.
 */
#if !HAS_DISABLE_WORK
void backport_disable_work_sync(struct work_struct *work);
void backport_disable_delayed_work_sync(struct delayed_work *work);
void backport_enable_work(struct work_struct *work);
bool backport_queue_work(struct workqueue_struct *queue, struct work_struct *work);
bool backport_schedule_delayed_work(struct delayed_work *work, unsigned long delay);

#define disable_work_sync(work) backport_disable_work_sync(work)
#define disable_delayed_work_sync(work) backport_disable_delayed_work_sync(work)
#define enable_work(work) backport_enable_work(work)
#define queue_work(queue, work) backport_queue_work(queue, work)
#define schedule_work(work) backport_queue_work(system_wq, work)
#define schedule_delayed_work(work, delay) backport_schedule_delayed_work(work, delay)
#endif

/* 6.12 and older, but for stable kernels that were given it. */
#if !HAS_SECS_TO_JIFFIES
#define secs_to_jiffies(seconds) ((unsigned long)(seconds) * HZ)
#endif

/* 5.10 lacks these three. */
#if !HAS_DEBUGFS_LOOKUP_AND_REMOVE
static inline void debugfs_lookup_and_remove(const char *name, struct dentry *parent)
{
	struct dentry *dentry = debugfs_lookup(name, parent);

	if (!dentry)
		return;
	debugfs_remove(dentry);
	dput(dentry); /* what the look-up took */
}
#endif

#if !HAS_PCI_VENDOR_ID_MICROSOFT
#define PCI_VENDOR_ID_MICROSOFT 0x1414
#endif

/* The driver tells the host which kernel it runs on. */
#if !HAS_VERSION_PARTS
#define LINUX_VERSION_MAJOR (LINUX_VERSION_CODE >> 16)
#define LINUX_VERSION_PATCHLEVEL ((LINUX_VERSION_CODE >> 8) & 0xff)
#define LINUX_VERSION_SUBLEVEL (LINUX_VERSION_CODE & 0xff)
#endif

/*
 * 5.10 compares values of one type only. Where types differ, newer kernels check while compiling that the result is the
 * same in both; the donor was compiled so, and the common type is right.
 */
#if !HAS_MIN_OF_MIXED_TYPES
#undef min
#define min(x, y) min_t(typeof((x) + (y)), x, y)
#undef max
#define max(x, y) max_t(typeof((x) + (y)), x, y)
#endif

#endif
