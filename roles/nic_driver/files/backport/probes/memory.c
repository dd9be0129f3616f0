// SPDX-License-Identifier: GPL-2.0
/* Allocation and automatic release. */

#ifdef PROBE_KZALLOC_OBJ
#include <linux/mm.h>
#include <linux/slab.h>
struct probe_item {
	int count;
	int data[];
};
static inline void probe(struct probe_item *item, void *any)
{
	item = kzalloc_obj(*item);
	item = kzalloc_obj(*item, GFP_ATOMIC);
	item = kzalloc_flex(*item, data, 3);
	item = kvzalloc_obj(*item);
	item = kvzalloc_flex(*item, data, 3);
	any = kzalloc_objs(int, 3);
	any = kmalloc_objs(int, 3, GFP_ATOMIC);
	any = kvzalloc_objs(int, 3);
	any = kvmalloc_objs(int, 3);
}
#endif

#ifdef PROBE_CLEANUP_H
#include <linux/cleanup.h>
DEFINE_FREE(probe, int *, *_T = 0)
static inline int probe(int *value)
{
	int *held __free(probe) = value;

	return *held;
}
#endif

#ifdef PROBE_COUNTED_BY
#include <linux/compiler.h>
struct probe {
	int count;
	int data[] __counted_by(count);
};
#endif
