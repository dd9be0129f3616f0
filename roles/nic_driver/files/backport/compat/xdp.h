/* SPDX-License-Identifier: GPL-2.0 */
/* XDP and the page pool. */
#ifndef BACKPORT_XDP_H
#define BACKPORT_XDP_H

#include <linux/dma-mapping.h>
#include <net/page_pool/helpers.h>
#include <linux/filter.h>
#include <linux/version.h>
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

/*
 * 5.10 gives out whole pages only. The driver asks for parts when at least two buffers fit into a page; rounded up to
 * pages they never do (see mana_en.h), so this is not called, and if it were, the driver would be out of memory.
 */
#if !HAS_PAGE_POOL_ALLOC_FRAG
static inline struct page *page_pool_dev_alloc_frag(struct page_pool *pool, unsigned int *offset, unsigned int size)
{
	WARN_ON_ONCE(1);
	return NULL;
}
#endif

/*
 * 5.10 cannot give the page of a socket buffer back to its pool. Then the pool has to forget the page, or it waits for
 * it for ever when it is destroyed. rxq is a variable of the one place that uses this.
 */
#if !HAS_SKB_MARK_FOR_RECYCLE
#define skb_mark_for_recycle(skb) page_pool_release_page(rxq->page_pool, virt_to_head_page((skb)->head))
#endif

/* 5.10 lacks these two. Without metadata its pointer stands behind that of the data. */
#if !HAS_XDP_INIT_BUFF
static inline void xdp_init_buff(struct xdp_buff *xdp, u32 frame_size, struct xdp_rxq_info *rxq)
{
	xdp->frame_sz = frame_size;
	xdp->rxq = rxq;
}

static inline void xdp_prepare_buff(struct xdp_buff *xdp, unsigned char *hard_start, int headroom, int length,
				    bool has_metadata)
{
	unsigned char *data = hard_start + headroom;

	xdp->data_hard_start = hard_start;
	xdp->data = data;
	xdp->data_end = data + length;
	xdp->data_meta = has_metadata ? data : data + 1;
}
#endif

/* 5.10: see mana_compat.c. */
#if !HAS_XDP_BUILD_SKB_FROM_FRAME
struct sk_buff *backport_build_skb_from_frame(struct xdp_frame *frame, struct net_device *dev);
#define xdp_build_skb_from_frame(frame, dev) backport_build_skb_from_frame(frame, dev)
#endif

/* 5.10 does not note which NAPI a queue belongs to, nor name the device in a warning. */
#if !HAS_XDP_RXQ_NAPI_ID
#define xdp_rxq_info_reg(rxq, dev, index, napi_id) xdp_rxq_info_reg(rxq, dev, index)
#endif

#if !HAS_BPF_WARN_WITH_DEVICE
#define bpf_warn_invalid_xdp_action(dev, program, action) bpf_warn_invalid_xdp_action(action)
#endif

/*
 * Up to 5.12 a driver frees the frames that it did not send, later the stack does. Neither a signature nor a structure
 * tells, so this is the one case for a version. On a negative answer the stack frees all of them in every kernel.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 13, 0)
int backport_xdp_xmit(struct net_device *dev, int count, struct xdp_frame **frames, u32 flags);

static inline int mana_xdp_xmit(struct net_device *dev, int count, struct xdp_frame **frames, u32 flags)
{
	int sent = backport_xdp_xmit(dev, count, frames, flags);
	int i;

	for (i = sent; i >= 0 && i < count; i++)
		xdp_return_frame_rx_napi(frames[i]);
	return sent;
}
#define mana_xdp_xmit(dev, count, frames, flags) backport_xdp_xmit(dev, count, frames, flags)
#endif

#endif
