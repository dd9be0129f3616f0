/* SPDX-License-Identifier: GPL-2.0 */
/* The InfiniBand core: included in front of the files of mana_ib only. */
#ifndef BACKPORT_RDMA_H
#define BACKPORT_RDMA_H

#include <linux/uaccess.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <rdma/uverbs_ioctl.h>

/*
 * 6.1 does not know the driver, and some vendors' kernels know it by another number. Programs have it from rdma-core,
 * which says 20.
 */
#if !HAS_RDMA_DRIVER_MANA
#define RDMA_DRIVER_MANA ((enum rdma_driver_id)20)
#endif

/*
 * 6.1 passes a queue's driver data alone, newer kernels all attributes of the call with it inside. For calls from user
 * space the former is a member of the latter in all kernels (rdma_udata_to_drv_context relies on it); for queues of the
 * kernel itself there is neither.
 */
#if !HAS_CREATE_CQ_ATTRS
struct mana_ib_cq;
int backport_mana_ib_create_cq(struct ib_cq *cq, const struct ib_cq_init_attr *attr, struct uverbs_attr_bundle *attrs);

static inline int mana_ib_create_cq(struct ib_cq *cq, const struct ib_cq_init_attr *attr, struct ib_udata *udata)
{
	struct uverbs_attr_bundle *attrs = NULL;

	if (udata)
		attrs = container_of(udata, struct uverbs_attr_bundle, driver_udata);
	return backport_mana_ib_create_cq(cq, attr, attrs);
}
#define mana_ib_create_cq(cq, attr, attrs) backport_mana_ib_create_cq(cq, attr, attrs)
#endif

/* 6.12 and older have no hints about a region's use by the device (dmah): the donor only looks that there is none. */
#if DONOR_DMAH && !HAS_REG_USER_MR_DMAH
struct ib_dmah;
struct ib_mr *backport_mana_ib_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 virt, int access,
					   struct ib_dmah *dmah, struct ib_udata *udata);

static inline struct ib_mr *mana_ib_reg_user_mr(struct ib_pd *pd, u64 start, u64 length, u64 virt, int access,
						struct ib_udata *udata)
{
	return backport_mana_ib_reg_user_mr(pd, start, length, virt, access, NULL, udata);
}
#define mana_ib_reg_user_mr(pd, start, length, virt, access, dmah, udata) \
	backport_mana_ib_reg_user_mr(pd, start, length, virt, access, dmah, udata)
#endif

/* As above; and 6.1 passes the driver data alone to this one as well. The donor uses neither. */
#if DONOR_DMAH && !HAS_REG_USER_MR_DMABUF_ATTRS
struct ib_mr *backport_mana_ib_reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 virt, int fd, int access,
						  struct ib_dmah *dmah, struct uverbs_attr_bundle *attrs);

#if HAS_REG_USER_MR_DMABUF_ATTRS_ONLY
static inline struct ib_mr *mana_ib_reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 virt, int fd,
						       int access, struct uverbs_attr_bundle *attrs)
{
	return backport_mana_ib_reg_user_mr_dmabuf(pd, offset, length, virt, fd, access, NULL, attrs);
}
#else
static inline struct ib_mr *mana_ib_reg_user_mr_dmabuf(struct ib_pd *pd, u64 offset, u64 length, u64 virt, int fd,
						       int access, struct ib_udata *udata)
{
	struct uverbs_attr_bundle *attrs = NULL;

	if (udata)
		attrs = container_of(udata, struct uverbs_attr_bundle, driver_udata);
	return backport_mana_ib_reg_user_mr_dmabuf(pd, offset, length, virt, fd, access, NULL, attrs);
}
#endif
#define mana_ib_reg_user_mr_dmabuf(pd, offset, length, virt, fd, access, dmah, attrs) \
	backport_mana_ib_reg_user_mr_dmabuf(pd, offset, length, virt, fd, access, dmah, attrs)
#endif

/* 6.12 and older: a region of user space is named by its address only. */
#if !HAS_UMEM_GET_VA
#define ib_umem_get_va(device, address, size, access) ib_umem_get(device, address, size, access)
#endif

/*
 * 6.12 and older lack the helpers for the data that a program and the driver exchange. Their rules, which programs
 * rely on: a request may be shorter than the kernel's structure down to its first version (the rest is zero) and longer
 * as long as what is more is zero; a bit of comp_mask that the kernel does not know is refused; an answer is cut to what
 * the program has room for, and the rest of its room is zeroed.
 */
#if !HAS_UDATA_HELPERS
static inline int backport_copy_in(struct ib_udata *udata, void *request, size_t size, size_t minimum)
{
	if (udata->inlen < minimum)
		return -EINVAL;
	if (udata->inlen > size && !ib_is_udata_cleared(udata, size, udata->inlen - size))
		return -EOPNOTSUPP;
	if (!size)
		return 0;
	memset(request, 0, size);
	return ib_copy_from_udata(request, udata, min(size, udata->inlen));
}

static inline int backport_copy_out(struct ib_udata *udata, const void *answer, size_t size)
{
	size_t length = min(size, udata->outlen);

	if (copy_to_user(udata->outbuf, answer, length))
		return -EFAULT;
	if (udata->outlen > length && clear_user(udata->outbuf + length, udata->outlen - length))
		return -EFAULT;
	return 0;
}

#define ib_copy_validate_udata_in(udata, request, end) \
	backport_copy_in(udata, &(request), sizeof(request), offsetofend(typeof(request), end))
#define ib_copy_validate_udata_in_cm(udata, request, end, known)                          \
	(ib_copy_validate_udata_in(udata, request, end) ?:                                \
	 ((request).comp_mask & ~(typeof((request).comp_mask))(known) ? -EOPNOTSUPP : 0))
#define ib_respond_udata(udata, answer) backport_copy_out(udata, &(answer), sizeof(answer))

static inline int ib_is_udata_in_empty(struct ib_udata *udata)
{
	return udata && udata->inlen ? backport_copy_in(udata, NULL, 0, 0) : 0;
}

static inline int ib_no_udata_io(struct ib_udata *udata)
{
	int err = ib_is_udata_in_empty(udata);

	if (!err && udata && udata->outlen && clear_user(udata->outbuf, udata->outlen))
		err = -EFAULT;
	return err;
}
#endif

/* 6.12 and older do not ask whether a driver checks the length of what it gets, and let longer requests through. */
#if HAS_ROBUST_UDATA
#define BACKPORT_MEMBER_uverbs_robust_udata(value) .uverbs_robust_udata = (value),
#else
#define BACKPORT_MEMBER_uverbs_robust_udata(value)
#endif

#endif
