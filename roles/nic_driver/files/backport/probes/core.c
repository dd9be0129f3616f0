// SPDX-License-Identifier: GPL-2.0
/* Modules, work queues, time, debugfs, PCI ids, the auxiliary bus, versions, minima. */

#ifdef PROBE_NAMESPACE_STRINGS
#include <linux/module.h>
/* Older kernels make a string of the argument, "X" becomes "\"X\"", and both compile: so the length is looked at. */
#undef MODULE_INFO
#define MODULE_INFO(tag, info) static_assert(sizeof(info) == sizeof("X"))
MODULE_IMPORT_NS("X");
#endif

#ifdef PROBE_DISABLE_WORK
#include <linux/workqueue.h>
static inline void probe(struct work_struct *work, struct delayed_work *delayed)
{
	disable_work_sync(work);
	enable_work(work);
	disable_delayed_work_sync(delayed);
}
#endif

#ifdef PROBE_SECS_TO_JIFFIES
#include <linux/jiffies.h>
static inline unsigned long probe(void)
{
	return secs_to_jiffies(10);
}
#endif

#ifdef PROBE_DEBUGFS_LOOKUP_AND_REMOVE
#include <linux/debugfs.h>
static inline void probe(struct dentry *parent)
{
	debugfs_lookup_and_remove("x", parent);
}
#endif

#ifdef PROBE_AUXILIARY_BUS
#include <linux/auxiliary_bus.h>
static inline int probe(struct auxiliary_device *device)
{
	return auxiliary_device_add(device);
}
#endif

#ifdef PROBE_PCI_VENDOR_ID_MICROSOFT
#include <linux/pci_ids.h>
static const int probe = PCI_VENDOR_ID_MICROSOFT;
#endif

#ifdef PROBE_VERSION_PARTS
#include <linux/version.h>
static const int probe = LINUX_VERSION_MAJOR + LINUX_VERSION_PATCHLEVEL + LINUX_VERSION_SUBLEVEL;
#endif

#ifdef PROBE_MIN_OF_MIXED_TYPES
#include <linux/kernel.h>
static inline u32 probe(u32 value)
{
	return min(value, 512) + max(value, 1);
}
#endif
