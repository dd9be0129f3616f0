/* SPDX-License-Identifier: GPL-2.0 */
/* Included in front of mana_en.c only. */
#ifndef BACKPORT_MANA_EN_H
#define BACKPORT_MANA_EN_H

#include <net/mana/mana.h>

/*
 * 5.10 has no parts of pages for received packets (see page_pool_dev_alloc_frag). With the size of a buffer rounded up
 * to pages no two fit into one, and the driver takes the path of one buffer for each page, whatever its private flag.
 */
#if !HAS_PAGE_POOL_ALLOC_FRAG
#undef MANA_RX_FRAG_ALIGNMENT
#define MANA_RX_FRAG_ALIGNMENT PAGE_SIZE
#endif

#endif
