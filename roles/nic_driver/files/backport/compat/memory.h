/* SPDX-License-Identifier: GPL-2.0 */
/* Allocation and automatic release. */
#ifndef BACKPORT_MEMORY_H
#define BACKPORT_MEMORY_H

#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>

/* 5.10 lacks both. The first one only helps checkers of bounds. */
#if !HAS_COUNTED_BY
#define __counted_by(member)
#endif

#if !HAS_CLEANUP_H
#define __free(name) __attribute__((__cleanup__(__free_##name)))
#endif

/*
 * 6.12 and older lack the allocators that take the object instead of its size. The newer kernel's also set the counter
 * of a flexible array (__counted_by); the donor sets it too before the array is used, so nothing is lost.
 */
#if !HAS_KZALLOC_OBJ
#define backport_first(first, ...) first
#define backport_gfp(...) backport_first(__VA_ARGS__ __VA_OPT__(,) GFP_KERNEL, 0)
#define backport_flex_size(object, member, count) struct_size((typeof(object) *)NULL, member, count)

#define kzalloc_obj(object, ...) ((typeof(object) *)kzalloc(sizeof(object), backport_gfp(__VA_ARGS__)))
#define kzalloc_objs(object, count, ...) ((typeof(object) *)kcalloc(count, sizeof(object), backport_gfp(__VA_ARGS__)))
#define kmalloc_objs(object, count, ...) \
	((typeof(object) *)kmalloc_array(count, sizeof(object), backport_gfp(__VA_ARGS__)))
#define kzalloc_flex(object, member, count, ...) \
	((typeof(object) *)kzalloc(backport_flex_size(object, member, count), backport_gfp(__VA_ARGS__)))
#define kvzalloc_obj(object, ...) ((typeof(object) *)kvzalloc(sizeof(object), backport_gfp(__VA_ARGS__)))
#define kvzalloc_objs(object, count, ...) ((typeof(object) *)kvcalloc(count, sizeof(object), backport_gfp(__VA_ARGS__)))
#define kvmalloc_objs(object, count, ...) \
	((typeof(object) *)kvmalloc_array(count, sizeof(object), backport_gfp(__VA_ARGS__)))
#define kvzalloc_flex(object, member, count, ...) \
	((typeof(object) *)kvzalloc(backport_flex_size(object, member, count), backport_gfp(__VA_ARGS__)))
#endif

#endif
