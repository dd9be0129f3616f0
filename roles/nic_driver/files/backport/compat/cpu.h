/* SPDX-License-Identifier: GPL-2.0 */
/* CPU masks, NUMA distances, interrupts. */
#ifndef BACKPORT_CPU_H
#define BACKPORT_CPU_H

#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/topology.h>

/* 6.1 lacks it. Where masks are on the stack (no CPUMASK_OFFSTACK) there is nothing to free and the macro does nothing. */
#if !HAS_FREE_CPUMASK_VAR
static inline void backport_free_cpumask_var(void *variable)
{
#ifdef CONFIG_CPUMASK_OFFSTACK
	free_cpumask_var(*(cpumask_var_t *)variable);
#endif
}
#define __free_free_cpumask_var backport_free_cpumask_var
#endif

/* 6.1 lacks it. */
#if !HAS_CPUMASK_WEIGHT_ANDNOT
static inline unsigned int cpumask_weight_andnot(const struct cpumask *a, const struct cpumask *b)
{
	unsigned int cpu, weight = 0;

	for_each_cpu(cpu, a)
		weight += !cpumask_test_cpu(cpu, b);
	return weight;
}
#endif

/*
 * 6.1 does not tell modules the distances between nodes as masks. Two steps take their place: the CPUs of the node, then
 * all. The driver only spreads its interrupts by it, near ones first; further distances do not occur in Azure's VMs.
 */
#if !HAS_NUMA_HOP_MASK
static inline const struct cpumask *backport_numa_hop(int node, unsigned int hop)
{
	if (hop == 0 && node != NUMA_NO_NODE)
		return cpumask_of_node(node);
	if (hop == 0 || (hop == 1 && node != NUMA_NO_NODE))
		return cpu_online_mask;
	return NULL;
}
#define for_each_numa_hop_mask(mask, node) \
	for (unsigned int __hop = 0; ((mask) = backport_numa_hop(node, __hop)); __hop++)
#endif

/* 5.10: setting the hint also sets the affinity, and clearing it leaves the affinity as it is. */
#if !HAS_IRQ_SET_AFFINITY_AND_HINT
#define irq_set_affinity_and_hint(irq, mask) irq_set_affinity_hint(irq, mask)
#define irq_update_affinity_hint(irq, mask) irq_set_affinity_hint(irq, mask)
#endif

/*
 * 6.1 allocates all of a device's interrupts at once. The driver asks first and then takes the path of such kernels, so
 * the other functions are never called.
 */
#if !HAS_MSIX_ALLOC_DYN
struct backport_msi_map {
	int index;
	int virq;
};
#define msi_map backport_msi_map

static inline bool pci_msix_can_alloc_dyn(struct pci_dev *pdev)
{
	return false;
}

static inline struct msi_map pci_msix_alloc_irq_at(struct pci_dev *pdev, unsigned int index, const void *affinity)
{
	return (struct msi_map){ .index = -EOPNOTSUPP };
}

static inline void pci_msix_free_irq(struct pci_dev *pdev, struct msi_map map)
{
}
#endif

#endif
