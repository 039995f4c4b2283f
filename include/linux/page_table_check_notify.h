/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_PAGE_TABLE_CHECK_NOTIFY_H
#define _LINUX_PAGE_TABLE_CHECK_NOTIFY_H

#include <linux/errno.h>

struct mm_struct;
struct notifier_block;

/**
 * struct page_table_check_loss - what a page table no longer gives access to
 * @mm: of the page table
 * @pfn: first page of the entry
 * @nr: number of pages
 */
struct page_table_check_loss {
	struct mm_struct *mm;
	unsigned long pfn;
	unsigned long nr;
};

#ifdef CONFIG_PAGE_TABLE_CHECK
int page_table_check_register(struct notifier_block *nb);
void page_table_check_unregister(struct notifier_block *nb);
#else
static inline int page_table_check_register(struct notifier_block *nb)
{
	return -EOPNOTSUPP;
}

static inline void page_table_check_unregister(struct notifier_block *nb)
{
}
#endif

#endif /* _LINUX_PAGE_TABLE_CHECK_NOTIFY_H */
