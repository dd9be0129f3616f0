// SPDX-License-Identifier: GPL-2.0
/* CPU masks, NUMA distances, interrupts. */

#ifdef PROBE_FREE_CPUMASK_VAR
#include <linux/cpumask.h>
#include <linux/gfp.h>
static inline int probe(void)
{
	cpumask_var_t cpus __free(free_cpumask_var);

	return alloc_cpumask_var(&cpus, GFP_KERNEL) ? 0 : -1;
}
#endif

#ifdef PROBE_CPUMASK_WEIGHT_ANDNOT
#include <linux/cpumask.h>
static inline unsigned int probe(const struct cpumask *a, const struct cpumask *b)
{
	return cpumask_weight_andnot(a, b);
}
#endif

#ifdef PROBE_NUMA_HOP_MASK
#include <linux/cpumask.h>
#include <linux/topology.h>
static inline unsigned int probe(int node)
{
	const struct cpumask *mask;
	unsigned int hops = 0;

	for_each_numa_hop_mask(mask, node)
		hops++;
	return hops;
}
#endif

#ifdef PROBE_IRQ_SET_AFFINITY_AND_HINT
#include <linux/interrupt.h>
static inline int probe(unsigned int irq, const struct cpumask *mask)
{
	return irq_set_affinity_and_hint(irq, mask) + irq_update_affinity_hint(irq, NULL);
}
#endif

#ifdef PROBE_MSIX_ALLOC_DYN
#include <linux/pci.h>
static inline int probe(struct pci_dev *pdev)
{
	struct msi_map map = {};

	if (pci_msix_can_alloc_dyn(pdev))
		map = pci_msix_alloc_irq_at(pdev, 1, NULL);
	pci_msix_free_irq(pdev, map);
	return map.virq;
}
#endif
