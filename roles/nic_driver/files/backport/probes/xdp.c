// SPDX-License-Identifier: GPL-2.0
/* XDP and the page pool. */

#ifdef PROBE_XDP_SET_FEATURES_FLAG
#include <net/xdp.h>
static inline void probe(struct net_device *dev)
{
	xdp_set_features_flag(dev, NETDEV_XDP_ACT_BASIC | NETDEV_XDP_ACT_REDIRECT | NETDEV_XDP_ACT_NDO_XMIT);
}
#endif

#ifdef PROBE_XDP_INIT_BUFF
#include <net/xdp.h>
static inline void probe(struct xdp_buff *xdp, struct xdp_rxq_info *rxq, unsigned char *hard_start)
{
	xdp_init_buff(xdp, 4096, rxq);
	xdp_prepare_buff(xdp, hard_start, 0, 0, false);
}
#endif

#ifdef PROBE_XDP_BUILD_SKB_FROM_FRAME
#include <net/xdp.h>
static inline struct sk_buff *probe(struct xdp_frame *frame, struct net_device *dev)
{
	return xdp_build_skb_from_frame(frame, dev);
}
#endif

#ifdef PROBE_XDP_RXQ_NAPI_ID
#include <net/xdp.h>
static inline int probe(struct xdp_rxq_info *rxq, struct net_device *dev)
{
	return xdp_rxq_info_reg(rxq, dev, 0, 0U);
}
#endif

#ifdef PROBE_BPF_WARN_WITH_DEVICE
#include <linux/filter.h>
static inline void probe(struct net_device *dev, struct bpf_prog *prog)
{
	bpf_warn_invalid_xdp_action(dev, prog, 9);
}
#endif

#ifdef PROBE_PAGE_POOL_HELPERS_H
#include <net/page_pool/helpers.h>
#endif

#ifdef PROBE_PAGE_POOL_PARAMS_NAPI
#include <linux/netdevice.h>
#if __has_include(<net/page_pool/types.h>)
#include <net/page_pool/types.h>
#else
#include <net/page_pool.h>
#endif
static inline void probe(struct page_pool_params *params, struct napi_struct *napi)
{
	params->napi = napi;
}
#endif

#ifdef PROBE_PAGE_POOL_PARAMS_NETDEV
#include <linux/netdevice.h>
#include <net/page_pool/types.h>
static inline void probe(struct page_pool_params *params, struct net_device *dev)
{
	params->netdev = dev;
}
#endif

#ifdef PROBE_PAGE_POOL_PARAMS_QUEUE_IDX
#include <net/page_pool/types.h>
static inline void probe(struct page_pool_params *params)
{
	params->queue_idx = 1;
}
#endif

#ifdef PROBE_PAGE_POOL_FRAG_FLAG
#if __has_include(<net/page_pool/types.h>)
#include <net/page_pool/types.h>
#else
#include <net/page_pool.h>
#endif
static const int probe = PP_FLAG_PAGE_FRAG;
#endif

#ifdef PROBE_PAGE_POOL_ALLOC_FRAG
#if __has_include(<net/page_pool/helpers.h>)
#include <net/page_pool/helpers.h>
#else
#include <net/page_pool.h>
#endif
static inline struct page *probe(struct page_pool *pool, unsigned int *offset)
{
	return page_pool_dev_alloc_frag(pool, offset, 2048);
}
#endif

#ifdef PROBE_PAGE_POOL_FREE_VA
#include <net/page_pool/helpers.h>
static inline void probe(struct page_pool *pool, void *va)
{
	page_pool_free_va(pool, va, true);
}
#endif

#ifdef PROBE_PAGE_POOL_DMA_SYNC_FOR_CPU
#include <net/page_pool/helpers.h>
static inline void probe(struct page_pool *pool, struct page *page)
{
	page_pool_dma_sync_for_cpu(pool, page, 0, 64);
}
#endif

#ifdef PROBE_SKB_MARK_FOR_RECYCLE
#include <linux/skbuff.h>
static inline void probe(struct sk_buff *skb)
{
	skb_mark_for_recycle(skb);
}
#endif
