// SPDX-License-Identifier: GPL-2.0
/*
 * Stressors of guarantee.c that need memory of a certain shape or in a certain
 * place: compaction, collapse, CMA, and memory that goes offline.
 */
#include "guarantee.h"

#include <glob.h>
#include <sys/mman.h>

#define NODE_DIR	"/sys/devices/system/node/node1/"
#define KHUGEPAGED_DIR	THP_DIR "khugepaged/"

/*
 * Takes memory that tests shall not get.  Huge pages would bring the process to
 * khugepaged's attention.
 */
static int hog_memory(struct cell *c, struct region *hog, enum memory_kind kind,
		      size_t size)
{
	struct setting thp[2];
	size_t at;

	if (region_map(hog, kind, size) || madvise(hog->addr, hog->size, MADV_DONTFORK) ||
	    thp_settings_for(kind, thp))
		return cannot(c, "memory to use up");
	for (at = 0; at < hog->size; at += hog->page)
		hog->addr[at] = 1;
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
	return 0;
}

/* Leave that many bytes of node 1. */
static int hog_all_but(struct cell *c, long long size)
{
	long long free = read_field(NODE_DIR "meminfo", "Node 1 MemFree") << 10;
	struct region hog;

	return free > size ? hog_memory(c, &hog, MEM_MTHP_64K, free - size) : 0;
}

/* ---- compaction ---- */

const char *need_compaction(void)
{
	return access("/proc/sys/vm/compact_memory", W_OK) ?
	       "this kernel has no compaction" : NULL;
}

/*
 * Compaction moves pages up, to what is free at the end of the zone.  New pages
 * come from there: so much is used up for a while.  Small ones come from what
 * lies about before, also with the CPUs: that is used up, too.
 */
#define PCP_SWITCH	"/proc/sys/vm/percpu_pagelist_high_fraction"
#define HOG_SIZE	(512 * MEBI)
#define SMALL_HOG_SIZE	(128 * MEBI)
#define NEIGHBOURS	15

/*
 * Each page of the region gets neighbours that go away once all of it is
 * there: lone pages, and the room between them, are what compaction is for.
 */
static int fill_between(struct cell *c, struct region *neighbours)
{
	size_t at, page = c->all.page;
	struct setting thp[2];

	if (region_map(neighbours, c->all.kind, c->all.size * NEIGHBOURS) ||
	    thp_settings_for(c->all.kind, thp))
		return cannot(c, "memory between");
	for (at = 0; at < c->all.size; at += page) {
		memset(neighbours->addr + at * NEIGHBOURS, 1, page * NEIGHBOURS);
		memset(c->all.addr + at, 1, page);
	}
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
	return 0;
}

int fill_with_gaps(struct cell *c)
{
	struct region hog, small_hog, neighbours;

	/* these are large enough to be left alone */
	if (is_hugetlb(c))
		return 0;
	if (madvise(c->all.addr, c->all.size, MADV_REMOVE) &&
	    madvise(c->all.addr, c->all.size, MADV_DONTNEED))
		return cannot(c, "MADV_DONTNEED");
	if (change(c, PCP_SWITCH, "100000") ||
	    hog_memory(c, &small_hog, MEM_ANON, SMALL_HOG_SIZE) ||
	    hog_memory(c, &hog, MEM_MTHP_64K, HOG_SIZE) ||
	    fill_between(c, &neighbours))
		return -1;
	region_unmap(&small_hog);
	region_unmap(&hog);
	region_unmap(&neighbours);
	return 0;
}

int stress_compaction(struct cell *c)
{
	if (write_text("/proc/sys/vm/compact_memory", "1"))
		return cannot(c, "compact_memory");
	return 0;
}

/* ---- collapse ---- */

const char *need_thp(void)
{
	return thp_size() ? NULL : "this kernel has no transparent huge pages";
}

/*
 * A huge page mapped by small entries: the mapping is in two parts while it is
 * touched, so that no huge entry fits.
 */
static int unfold(struct cell *c)
{
	char *addr = c->all.addr;
	size_t page = page_size();

	for (; addr < c->all.addr + c->all.size; addr += c->all.page) {
		if (mprotect(addr, page, PROT_READ))
			return cannot(c, "mprotect");
		memset(addr + page, 1, c->all.page - page);
		if (mprotect(addr, page, PROT_READ | PROT_WRITE))
			return cannot(c, "mprotect");
		memset(addr, 1, page);
	}
	return 0;
}

/*
 * Base pages have been advised to stay that.  When they no longer are khugepaged
 * begins at once, and could end before the device watches.
 */
int prepare_collapse(struct cell *c)
{
	char path[128];

	if (is_hugetlb(c))
		return 0;
	if (c->all.kind == MEM_MEMFD_THP && unfold(c))
		return -1;
	thp_setting_path(path, thp_size(), "enabled");
	if (change(c, path, "never"))
		return -1;
	if (madvise(c->all.addr, c->all.size, MADV_HUGEPAGE))
		return cannot(c, "MADV_HUGEPAGE");
	return 0;
}

/*
 * Answers EINVAL or EAGAIN if that cannot be; a page in use for a moment is
 * enough for that.
 */
int stress_madv_collapse(struct cell *c)
{
	int tries = 3;

	while (tries-- && advise(c, c->used.addr, thp_size(), MADV_COLLAPSE)) {
		if (errno != EINVAL && errno != EAGAIN && errno != EBUSY)
			return cannot(c, "MADV_COLLAPSE");
	}
	return 0;
}

/* The first huge page is what brings a process to khugepaged's attention. */
static int enter_khugepaged(struct cell *c)
{
	struct region r;

	if (region_map(&r, MEM_THP, thp_size()) || region_fill(&r, SEED))
		return cannot(c, "a huge page");
	return 0;
}

int stress_khugepaged(struct cell *c)
{
	char path[128];

	thp_setting_path(path, thp_size(), "enabled");
	if (change(c, path, "madvise"))
		return -1;
	thp_setting_path(path, thp_size(), "shmem_enabled");
	if (change(c, path, "advise"))
		return -1;
	return change(c, KHUGEPAGED_DIR "pages_to_scan", "100000") ?:
	       change(c, KHUGEPAGED_DIR "alloc_sleep_millisecs", "0") ?:
	       change(c, KHUGEPAGED_DIR "scan_sleep_millisecs", "1") ?:
	       enter_khugepaged(c) ?:
	       wait_passes(c, KHUGEPAGED_DIR "full_scans", 3);
}

/* ---- contiguous memory ---- */

const char *need_cma(void)
{
	struct cma cma;

	return cma_find(&cma) ? "no unused CMA area: boot with cma=" : NULL;
}

/* Nobody else gets pages of it until the end of the test. */
static int hold_cma(struct cell *c)
{
	struct setting *s = &c->settings[c->nr_settings];
	struct cma cma;

	if (cma_find(&cma))
		return 0;
	if (cma_alloc_all(&cma))
		return cannot(c, "CMA allocation");
	snprintf(s->path, sizeof(s->path), "%s/free", cma.dir);
	snprintf(s->old, sizeof(s->old), "%llu", (unsigned long long)cma.frames);
	c->nr_settings++;
	return 0;
}

/* Pages come from there while they are more than half of those that are free. */
int leave_cma(struct cell *c)
{
	struct cma cma;

	if (cma_find(&cma))
		return cannot(c, CMA_DIR);
	return hog_all_but(c, 2 * cma.frames * page_size());
}

bool placed_in_cma(struct cell *c)
{
	uint64_t frame = page_frame(c->all.addr);
	struct cma cma;

	return !cma_find(&cma) && frame >= cma.first &&
	       frame < cma.first + cma.frames;
}

int stress_cma(struct cell *c)
{
	struct cma cma;

	if (cma_find(&cma) || cma_alloc_all(&cma) || cma_write(&cma, "free", cma.frames))
		return cannot(c, "CMA allocation");
	return 0;
}

/* ---- memory that goes away ---- */

/* Blocks that can go: no memory of the kernel is in them. */
#define MAX_BLOCKS	16

static struct block removable[MAX_BLOCKS];
static int nr_removable;

static void block_try(const char *dir)
{
	struct block *b = &removable[nr_removable];

	if (nr_removable < MAX_BLOCKS && !block_init(b, dir) &&
	    !block_set_offline(b, BLOCK_PATIENCE) && !block_set(b, "online"))
		nr_removable++;
}

static void find_removable(void)
{
	glob_t found;
	size_t i;

	if (glob(NODE_DIR "memory[0-9]*", 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++)
		block_try(found.gl_pathv[i]);
	globfree(&found);
}

const char *need_removable(void)
{
	static bool searched;

	if (!searched)
		find_removable();
	searched = true;
	return nr_removable ? NULL : "no memory of node 1 can go offline";
}

static struct block *block_of(uint64_t frame)
{
	struct block *b;

	for (b = removable; b < removable + nr_removable; b++)
		if (frame >= b->first && frame < b->first + b->frames)
			return b;
	return NULL;
}

/*
 * Page tables come from the node as well, and a block that has one does not go
 * offline.  Once used and freed, their place is taken by others.
 */
static int fill_page_tables(struct cell *c, struct region *sparse)
{
	size_t at;

	if (region_map(sparse, MEM_ANON, 1024 * MEBI))
		return cannot(c, "room for page tables");
	for (at = 0; at < sparse->size; at += 2 * MEBI)
		sparse->addr[at] = 1;
	return 0;
}

/* What has been offline comes last: take all the rest of the node. */
int leave_removable(struct cell *c)
{
	size_t size = nr_removable * removable[0].frames * page_size();
	struct region sparse;

	if (hold_cma(c) || fill_page_tables(c, &sparse) || hog_all_but(c, size))
		return -1;
	region_unmap(&sparse);
	return 0;
}

bool placed_in_removable(struct cell *c)
{
	return block_of(page_frame(c->all.addr));
}

int stress_offline(struct cell *c)
{
	struct block *block = block_of(page_frame(c->used.addr));
	int ret;

	errno = 0;
	if (!block)
		return cannot(c, "staying where memory can go offline");
	ret = block_set_offline(block, 3);
	if (ret && errno != EINTR)
		return cannot(c, "offline");
	if (!ret && block_set(block, "online"))
		return cannot(c, "online");
	return 0;
}

const char *need_soft_offline(void)
{
	return access("/proc/sys/vm/memory_failure_recovery", F_OK) ?
	       "this kernel has no memory failure handling" : NULL;
}

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE -1	/* not on this architecture, which handles no errors */
#endif

/* Answers EBUSY or EIO for what cannot move. */
int stress_soft_offline(struct cell *c)
{
	if (madvise(c->used.addr, page_size(), MADV_SOFT_OFFLINE) &&
	    errno != EBUSY && errno != EIO)
		return cannot(c, "MADV_SOFT_OFFLINE");
	return 0;
}
