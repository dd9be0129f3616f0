// SPDX-License-Identifier: GPL-2.0
/* The InfiniBand core. */

#ifdef PROBE_RDMA_DRIVER_MANA
#include <linux/build_bug.h>
#include <rdma/ib_user_ioctl_verbs.h>
/* rdma-core knows the driver by this number; a kernel that numbers otherwise has no use for programs. */
static_assert(RDMA_DRIVER_MANA == 20);
#endif

#ifdef PROBE_CREATE_CQ_ATTRS
#include <rdma/ib_verbs.h>
int create(struct ib_cq *cq, const struct ib_cq_init_attr *attr, struct uverbs_attr_bundle *attrs);
static const struct ib_device_ops ops = { .create_cq = create };
#endif

#ifdef PROBE_REG_USER_MR_DMAH
#include <rdma/ib_verbs.h>
struct ib_mr *reg(struct ib_pd *pd, u64 start, u64 length, u64 virt, int access, struct ib_dmah *dmah,
			 struct ib_udata *udata);
static const struct ib_device_ops ops = { .reg_user_mr = reg };
#endif

#ifdef PROBE_REG_USER_MR_DMABUF_ATTRS
#include <rdma/ib_verbs.h>
struct ib_mr *reg(struct ib_pd *pd, u64 offset, u64 length, u64 virt, int fd, int access, struct ib_dmah *dmah,
			 struct uverbs_attr_bundle *attrs);
static const struct ib_device_ops ops = { .reg_user_mr_dmabuf = reg };
#endif

#ifdef PROBE_UDATA_HELPERS
#include <linux/uaccess.h>
#include <rdma/uverbs_ioctl.h>
struct probe_request {
	u32 comp_mask;
	u32 reserved;
};
static inline int probe(struct ib_udata *udata, struct probe_request *request)
{
	return ib_copy_validate_udata_in(udata, *request, reserved) ?:
	       ib_copy_validate_udata_in_cm(udata, *request, reserved, 1) ?:
	       ib_is_udata_in_empty(udata) ?:
	       ib_no_udata_io(udata) ?:
	       ib_respond_udata(udata, *request);
}
#endif

#ifdef PROBE_UMEM_GET_VA
#include <rdma/ib_umem.h>
static inline struct ib_umem *probe(struct ib_device *device)
{
	return ib_umem_get_va(device, 0, 4096, 0);
}
#endif

#ifdef PROBE_ROBUST_UDATA
#include <rdma/ib_verbs.h>
static const struct ib_device_ops ops = { .uverbs_robust_udata = true };
#endif

#ifdef PROBE_REG_USER_MR_DMABUF_ATTRS_ONLY
#include <rdma/ib_verbs.h>
struct ib_mr *reg(struct ib_pd *pd, u64 offset, u64 length, u64 virt, int fd, int access,
			 struct uverbs_attr_bundle *attrs);
static const struct ib_device_ops ops = { .reg_user_mr_dmabuf = reg };
#endif
