/* SPDX-License-Identifier: GPL-2.0 */
/* Up to 6.5 all of the page pool is in net/page_pool.h. */
#ifndef BACKPORT_PAGE_POOL_HELPERS_H
#define BACKPORT_PAGE_POOL_HELPERS_H

#if HAS_PAGE_POOL_HELPERS_H
#include_next <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif

#endif
