/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_PAGE_RUN_H
#define _LINUX_PAGE_RUN_H

#include <linux/types.h>

/**
 * struct page_run - pages that follow each other in physical memory
 * @pfn: page frame number of the first page
 * @nr: number of pages, at most %PAGE_RUN_MAX
 *
 * The pages are of one node, and their struct pages follow each other as well.
 */
struct page_run {
	u64 pfn	: 44;
	u64 nr	: 20;
};

#define PAGE_RUN_MAX	((1UL << 20) - 1)

long pin_user_runs(unsigned long start, unsigned long nr_pages,
		   struct page_run *run, unsigned int *nr_runs);
void unpin_user_runs(const struct page_run *run, unsigned long nr_runs);

#endif /* _LINUX_PAGE_RUN_H */
