// SPDX-License-Identifier: GPL-2.0
/* What is too long for a header. Part of mana.ko. */

/* The probes ran for other headers than these: every answer would be about another kernel. */
#include <generated/utsrelease.h>
static_assert(!__builtin_strcmp(PROBED_RELEASE, UTS_RELEASE), "run the probes again for this kernel");

/*
 * Work that can be disabled, for kernels without disable_work_sync().
 *
 * Disabled is work whose list entry points nowhere: INIT_WORK() makes it point to itself and the queue never leaves NULL
 * in it. All queueing of the donor goes through the functions below and holds one lock, so once work was marked while
 * it was not pending, nothing queues it any more; the last cancel then waits for a run that had begun before. INIT_WORK()
 * of other work in the same memory enables it, so no mark outlives what it was made for.
 *
 * The kernel counts how often work was disabled. Here once enabled is enabled, which is all that the donor needs.
 */
#if !HAS_DISABLE_WORK
#undef disable_work_sync
#undef disable_delayed_work_sync
#undef enable_work
#undef queue_work
#undef schedule_work
#undef schedule_delayed_work

/* Raw: an interrupt takes it, also where others are threads. */
static DEFINE_RAW_SPINLOCK(backport_work_lock);

static bool backport_is_disabled(const struct work_struct *work)
{
	return !work->entry.next;
}

/* False when it was queued again meanwhile. */
static bool backport_mark_disabled(struct work_struct *work)
{
	unsigned long flags;
	bool marked = false;

	raw_spin_lock_irqsave(&backport_work_lock, flags);
	if (!work_pending(work)) {
		work->entry.next = NULL;
		marked = true;
	}
	raw_spin_unlock_irqrestore(&backport_work_lock, flags);
	return marked;
}

void backport_disable_work_sync(struct work_struct *work)
{
	do {
		cancel_work_sync(work);
	} while (!backport_mark_disabled(work));
	cancel_work_sync(work);
}

void backport_disable_delayed_work_sync(struct delayed_work *work)
{
	do {
		cancel_delayed_work_sync(work);
	} while (!backport_mark_disabled(&work->work));
	cancel_delayed_work_sync(work);
}

void backport_enable_work(struct work_struct *work)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&backport_work_lock, flags);
	if (backport_is_disabled(work))
		INIT_LIST_HEAD(&work->entry);
	raw_spin_unlock_irqrestore(&backport_work_lock, flags);
}

bool backport_queue_work(struct workqueue_struct *queue, struct work_struct *work)
{
	unsigned long flags;
	bool queued;

	raw_spin_lock_irqsave(&backport_work_lock, flags);
	queued = !backport_is_disabled(work) && queue_work(queue, work);
	raw_spin_unlock_irqrestore(&backport_work_lock, flags);
	return queued;
}

bool backport_schedule_delayed_work(struct delayed_work *work, unsigned long delay)
{
	unsigned long flags;
	bool queued;

	raw_spin_lock_irqsave(&backport_work_lock, flags);
	queued = !backport_is_disabled(&work->work) && schedule_delayed_work(work, delay);
	raw_spin_unlock_irqrestore(&backport_work_lock, flags);
	return queued;
}
#endif

/*
 * A socket buffer of a frame that another device redirected to us: 5.10 has this for its own use only. Its page leaves
 * the pool, as socket buffers cannot give pages back there.
 */
#if !HAS_XDP_BUILD_SKB_FROM_FRAME
struct sk_buff *backport_build_skb_from_frame(struct xdp_frame *frame, struct net_device *dev)
{
	unsigned int headroom = sizeof(*frame) + frame->headroom;
	struct sk_buff *skb = build_skb(frame->data - headroom, frame->frame_sz);

	if (!skb)
		return NULL;
	skb_reserve(skb, headroom);
	__skb_put(skb, frame->len);
	if (frame->metasize)
		skb_metadata_set(skb, frame->metasize);
	skb->protocol = eth_type_trans(skb, dev);
	xdp_release_frame(frame);
	xdp_scrub_frame(frame);
	return skb;
}
#endif
