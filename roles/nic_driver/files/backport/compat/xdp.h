/* SPDX-License-Identifier: GPL-2.0 */
/* XDP and the page pool. */
#ifndef BACKPORT_XDP_H
#define BACKPORT_XDP_H

#include <linux/dma-mapping.h>
#include <net/page_pool/helpers.h>
#include <net/xdp.h>
#include <uapi/linux/bpf.h>

/* 6.1 does not ask drivers what they can do with XDP: every operation that is there is used. Nothing to tell. */
#if !HAS_XDP_SET_FEATURES_FLAG
#define xdp_set_features_flag(dev, features) do { } while (0)
#endif

/*
 * 6.1 lacks some members of page_pool_params. The donor fills in this structure and page_pool_create() takes from it
 * what the target knows.
 * napi: lets the stack put pages back into the pool without a lock; without it they go through the pool's ring.
 * netdev, queue_idx: for statistics by netlink and for memory of other devices, both not in these kernels.
 */
#if !HAS_PAGE_POOL_PARAMS_NAPI || !HAS_PAGE_POOL_PARAMS_NETDEV || !HAS_PAGE_POOL_PARAMS_QUEUE_IDX
struct backport_page_pool_params {
	unsigned int flags;
	unsigned int order;
	unsigned int pool_size;
	int nid;
	struct device *dev;
	struct napi_struct *napi;
	enum dma_data_direction dma_dir;
	unsigned int max_len;
	unsigned int offset;
	struct net_device *netdev;
	unsigned int queue_idx;
};

static inline struct page_pool *backport_page_pool_create(const struct backport_page_pool_params *from)
{
	struct page_pool_params params = {
		.flags = from->flags,
		.order = from->order,
		.pool_size = from->pool_size,
		.nid = from->nid,
		.dev = from->dev,
		.dma_dir = from->dma_dir,
		.max_len = from->max_len,
		.offset = from->offset,
	};

#if HAS_PAGE_POOL_PARAMS_NAPI
	params.napi = from->napi;
#endif
#if HAS_PAGE_POOL_PARAMS_NETDEV
	params.netdev = from->netdev;
#endif
#if HAS_PAGE_POOL_FRAG_FLAG
	/*
	 * Up to 6.6 a pool gives out parts of pages only when it was asked for at its creation: without the flag the
	 * allocator warns and returns NULL, and not one packet is received. With the flag it must give out nothing but
	 * parts, as whole pages have no count of users then. The driver lets a pool map its pages for DMA in exactly
	 * the case that it wants parts.
	 */
	if (params.flags & PP_FLAG_DMA_MAP)
		params.flags |= PP_FLAG_PAGE_FRAG;
#endif
	return page_pool_create(&params);
}
#define page_pool_params backport_page_pool_params
#define page_pool_create(params) backport_page_pool_create(params)
#endif

/* 6.1 lacks these two. Putting a page back respects its count of parts in use. */
#if !HAS_PAGE_POOL_FREE_VA
static inline void page_pool_free_va(struct page_pool *pool, void *va, bool allow_direct)
{
	page_pool_put_page(pool, virt_to_head_page(va), -1, allow_direct);
}
#endif

#if !HAS_PAGE_POOL_DMA_SYNC_FOR_CPU
static inline void page_pool_dma_sync_for_cpu(const struct page_pool *pool, const struct page *page, u32 offset, u32 size)
{
	struct page *page_of_pool = (struct page *)page; /* the getter takes no const one */

	dma_sync_single_range_for_cpu(pool->p.dev, page_pool_get_dma_addr(page_of_pool), offset + pool->p.offset, size,
				      pool->p.dma_dir);
}
#endif

#endif
