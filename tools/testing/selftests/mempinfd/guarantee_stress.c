// SPDX-License-Identifier: GPL-2.0
/*
 * The rows of guarantee.c's table: what stresses memory, and to which kinds of
 * memory the kernel does not do it.
 */
#include "guarantee.h"

#include <signal.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define NUMA_DIR	"/sys/kernel/debug/sched/numa_balancing/"
#define KSM_DIR		"/sys/kernel/mm/ksm/"

/* ---- nodes ---- */

const char *need_nodes(void)
{
	return has_two_nodes() ? NULL : "one NUMA node only";
}

/* What others map too has to be asked for. */
static int move_flag(const struct cell *c)
{
	return c->protection->often ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE;
}

/* There and back again. */
static int next_node(struct cell *c)
{
	c->to = !c->to;
	return c->to;
}

static int stress_move_pages(struct cell *c)
{
	size_t i, n = c->used.size / c->used.page;
	const struct region *r = &c->used;
	int node = next_node(c);
	void *pages[n];
	int nodes[n], status[n];

	for (i = 0; i < n; i++) {
		pages[i] = r->addr + i * r->page;
		nodes[i] = node;
	}
	if (syscall(__NR_move_pages, c->owner, n, pages, nodes, status, move_flag(c)) < 0)
		return cannot(c, "move_pages");
	return 0;
}

/* Answers EIO if not all pages could be moved. */
static int stress_mbind(struct cell *c)
{
	unsigned long nodes = 1UL << next_node(c);

	if (syscall(__NR_mbind, c->used.addr, c->used.size, MPOL_BIND, &nodes,
		    8 * sizeof(nodes), move_flag(c)) && errno != EIO)
		return cannot(c, "mbind");
	return 0;
}

static int stress_migrate_pages(struct cell *c)
{
	unsigned long to = 1UL << next_node(c), from = 3 & ~to;

	if (syscall(__NR_migrate_pages, c->owner, 8 * sizeof(from), &from, &to) < 0)
		return cannot(c, "migrate_pages");
	return 0;
}

/* The scheduler tells it where it has files for debugging, as NUMA_DIR is one. */
static long long numa_scans(void)
{
	return read_field("/proc/self/sched", "mm->numa_scan_seq");
}

/*
 * It scans by CPU time: see how often, however long a busy machine takes.  Not
 * every scan comes to each mapping.
 */
static int wait_numa_scans(struct cell *c)
{
	int64_t deadline = now_ms() + 1000 * CELL_SECONDS / 2;
	long long end = numa_scans() + 20;

	do {
		if (now_ms() > deadline) {
			errno = ETIMEDOUT;
			return cannot(c, "NUMA balancing");
		}
		touch_all(&c->used);
	} while (numa_scans() < end);
	return 0;
}

/* A protection may be to keep it off. */
static int stress_numa_balancing(struct cell *c)
{
	int64_t end = now_ms() + 1000;

	if (change(c, NUMA_DIR "scan_delay_ms", "10") ||
	    change(c, NUMA_DIR "scan_period_min_ms", "10") ||
	    change(c, NUMA_DIR "scan_period_max_ms", "20"))
		return -1;
	if (!c->protection->without_numa_balancing)
		return change(c, NUMA_SWITCH, "1") ?: wait_numa_scans(c);
	while (now_ms() < end)
		touch_all(&c->used);
	return 0;
}

/* ---- reclaim ---- */

static bool have_swap;

static const char *need_swap(void)
{
	return have_swap ? NULL : "cannot swap to " SWAP_DEVICE;
}

bool find_swap(void)
{
	have_swap = !make_swap(SWAP_DEVICE) && !swapon(SWAP_DEVICE, 0);
	return have_swap;
}

/* Answers EINVAL for memory that is locked, or of hugetlb. */
static int stress_pageout(struct cell *c)
{
	if (advise(c, c->used.addr, c->used.size, MADV_PAGEOUT) && errno != EINVAL)
		return cannot(c, "MADV_PAGEOUT");
	return 0;
}

static int make_cold(struct cell *c)
{
	if (advise(c, c->used.addr, c->used.size, MADV_COLD) && errno != EINVAL)
		return cannot(c, "MADV_COLD");
	return 0;
}

/* Answers EAGAIN if there was less to reclaim. */
static int stress_reclaim(struct cell *c)
{
	if (make_cold(c))
		return -1;
	if (write_text(CGROUP "/memory.reclaim", "8M swappiness=200") && errno != EAGAIN)
		return cannot(c, "memory.reclaim");
	return 0;
}

static int stress_memory_high(struct cell *c)
{
	return make_cold(c) ?: change(c, CGROUP "/memory.high", "1M");
}

/* ---- KSM ---- */

static const char *need_ksm(void)
{
	return access(KSM_DIR "run", W_OK) ? "this kernel has no KSM" : NULL;
}

/* Without a page that can be merged there are no passes: hugetlb has none. */
static int keep_ksm_scanning(struct cell *c)
{
	struct region r;

	if (region_map(&r, MEM_ANON, page_size()) ||
	    madvise(r.addr, r.size, MADV_MERGEABLE))
		return cannot(c, "MADV_MERGEABLE");
	r.addr[0] = 1;
	return 0;
}

/* The first pass takes checksums, the second one merges. */
static int stress_ksm(struct cell *c)
{
	const struct region *r = &c->used;

	if (madvise(r->addr, r->size, MADV_MERGEABLE))
		return cannot(c, "MADV_MERGEABLE");
	if (is_hugetlb(c) && keep_ksm_scanning(c))
		return -1;
	return change(c, KSM_DIR "pages_to_scan", "10000") ?:
	       change(c, KSM_DIR "sleep_millisecs", "1") ?:
	       change(c, KSM_DIR "run", "1") ?:
	       wait_passes(c, KSM_DIR "full_scans", 4);
}

static int fill_with_same(struct cell *c)
{
	memset(c->all.addr, 0x5a, c->all.size);
	return 0;
}

/* ---- tracking of writes ---- */

/* Not every architecture has a bit for it: ask for that of a page of ours. */
static const char *need_soft_dirty(void)
{
	char page[page_size()];

	memset(page, 1, page_size());
	asm volatile("" : : "r" (page) : "memory");
	return pagemap_entry(page) & PAGEMAP_SOFT_DIRTY ? NULL :
	       "this kernel does not track soft-dirty pages";
}

static int stress_clear_refs(struct cell *c)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", c->owner);
	return write_text(path, "4") ? cannot(c, path) : 0;
}

/* PAGEMAP_SCAN write-protects what is registered for that. */
static int register_async_wp(struct cell *c)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)c->all.addr, c->all.size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return cannot(c, "userfaultfd");
	if (ioctl(fd, UFFDIO_API, &api))
		return cannot(c, "UFFDIO_API");
	if (ioctl(fd, UFFDIO_REGISTER, &range))
		return cannot(c, "UFFDIO_REGISTER");
	return 0;
}

static int stress_pagemap_scan(struct cell *c)
{
	struct page_region found[16];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)c->used.addr,
		.end = (uintptr_t)c->used.addr + c->used.size,
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", c->owner);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, PAGEMAP_SCAN, &arg) < 0)
		return cannot(c, "PAGEMAP_SCAN");
	close(fd);
	return 0;
}

/* ---- fork ---- */

/* The child lives until the parent has written everywhere. */
static int stress_fork(struct cell *c)
{
	pid_t pid = fork();
	size_t at;

	if (pid < 0)
		return cannot(c, "fork");
	if (!pid) {
		pause();
		_exit(0);
	}
	for (at = 0; at < c->used.size; at += page_size())
		c->used.addr[at]++;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return 0;
}

/* ---- mlock of the whole range ---- */

int share_with_child(struct cell *c)
{
	pid_t pid = fork();

	if (pid < 0)
		return cannot(c, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return 0;
}

/* What is shared gets copied: mlock() leaves no fault for later. */
static int stress_mlock(struct cell *c)
{
	if (mlock(c->used.addr, c->used.size) || munlock(c->used.addr, c->used.size))
		return cannot(c, "mlock");
	return 0;
}

/* ---- what the owner does beside the used part, in one huge mapping ---- */

/*
 * The end of the region that is not used is half a huge page.  hugetlb does not
 * let go of a part of one.
 */
static char *unused_page(struct cell *c)
{
	return c->all.addr + c->all.size - page_size();
}

static int stress_mlock_beside(struct cell *c)
{
	return mlock(unused_page(c), page_size()) ? cannot(c, "mlock") : 0;
}

static int stress_mprotect_beside(struct cell *c)
{
	if (mprotect(unused_page(c), page_size(), PROT_READ) && !is_hugetlb(c))
		return cannot(c, "mprotect");
	return 0;
}

static int stress_dontneed_beside(struct cell *c)
{
	if (madvise(unused_page(c), page_size(), MADV_DONTNEED) && !is_hugetlb(c))
		return cannot(c, "MADV_DONTNEED");
	return 0;
}

/* ---- the table ---- */

/* ---- another process ---- */

static void __attribute__((noreturn)) serve(struct cell *c, int socket)
{
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(socket, &ret, sizeof(ret)) == sizeof(ret)) {
		ret = c->stressor->stress(c);
		if (write(socket, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

/* Before there is memory: it shares nothing of it. */
static int start_other(struct cell *c)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return cannot(c, "socketpair");
	pid = fork();
	if (pid < 0)
		return cannot(c, "fork");
	if (!pid)
		serve(c, pair[1]);
	c->other = pair[0];
	return 0;
}

int stress(struct cell *c)
{
	int ret = 0;

	if (!c->stressor->by_other)
		return c->stressor->stress(c);
	if (write(c->other, &ret, sizeof(ret)) != sizeof(ret) ||
	    read(c->other, &ret, sizeof(ret)) != sizeof(ret))
		return cannot(c, "the other process");
	return ret;
}

/* ---- the table ---- */

#define IS_ELSEWHERE	"it leaves alone what is mapped elsewhere, too"
#define IS_PROTECTED	"what forked children share is write-protected already"
#define NO_SPLIT	{ SMALL | HUGETLB, "there is no large entry that could be split" }
#define NO_RECLAIM	{ HUGETLB, "hugetlb is not reclaimed" }
#define NO_COLLAPSE	{ KIND(THP) | HUGETLB, "it is as large as it can be" }

const struct stressor stressors[] = {
	{ "move_pages", need_nodes, .stress = stress_move_pages, .quick = true,
	  .hits_pinned = ALL_KINDS },
	{ "mbind", need_nodes, .stress = stress_mbind, .quick = true,
	  .hits_pinned = ALL_KINDS },
	{ "migrate_pages", need_nodes, .stress = stress_migrate_pages, .quick = true,
	  .hits_pinned = ALL_KINDS },
	{ "numa_balancing", need_nodes, .stress = stress_numa_balancing, .node = 1,
	  .hits_pinned = KIND(THP) | SHMEM,
	  .not_applicable = { { HUGETLB, "NUMA balancing leaves hugetlb alone" } },
	  .not_mapped_often = { { KIND(ANON), IS_ELSEWHERE } } },
	{ "madv_pageout", need_swap, .stress = stress_pageout, .quick = true,
	  .hits_pinned = SHMEM,
	  .not_applicable = { NO_RECLAIM },
	  .not_mapped_often = { { ALL_KINDS, IS_ELSEWHERE } } },
	{ "memory_reclaim", need_swap, .stress = stress_reclaim, .quick = true,
	  .hits_pinned = SHMEM,
	  .not_applicable = { NO_RECLAIM },
	  .not_mapped_often = { { ALL_KINDS, "as memory_high" } } },
	{ "memory_high", need_swap, .stress = stress_memory_high,
	  .hits_pinned = SHMEM,
	  .not_applicable = { NO_RECLAIM },
	  .not_mapped_often = {
		{ KIND(ANON), "reclaim takes it for pinned, and always did" },
	  } },
	{ "ksm", need_ksm, .prepare = fill_with_same, .stress = stress_ksm,
	  .hits_pinned = KIND(ANON),
	  .not_applicable = {
		{ SHMEM | HUGETLB, "KSM merges anonymous memory only" },
	  } },
	{ "clear_refs", need_soft_dirty, .stress = stress_clear_refs, .quick = true,
	  .hits_pinned = KIND(THP) | SHMEM,
	  .not_applicable = { { HUGETLB, "soft-dirty does not track hugetlb" } },
	  .not_mapped_often = { { KIND(ANON), IS_PROTECTED } } },
	{ "pagemap_scan", .prepare = register_async_wp, .stress = stress_pagemap_scan,
	  .quick = true, .hits_pinned = ALL_KINDS,
	  .not_mapped_often = { { KIND(ANON), IS_PROTECTED } } },
	{ "fork", .stress = stress_fork, .quick = true, .hits_pinned = KIND(THP),
	  .not_applicable = { { SHARED, "fork copies no shared memory" } } },
	{ "mlock", .prepare = share_with_child, .stress = stress_mlock, .quick = true,
	  .not_applicable = {
		{ SHARED, "mlock leaves entries of shared memory as they are" },
	  },
	  .not_direct = "a short-term pin copies what is shared, too" },
	{ "compaction", need_compaction, .prepare = fill_with_gaps, .stress = stress_compaction,
	  .hits_pinned = KIND(MEMFD),
	  .not_applicable = {
		{ PMD_MAPPED | HUGETLB, "compaction makes no larger pages than these" },
	  },
	  .not_mapped_often = { { ALL_KINDS, "too few pages for it to come to them" } } },
	{ "madv_collapse", need_thp, .prepare = prepare_collapse, .stress = stress_madv_collapse,
	  .quick = true, .huge = true, .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = { NO_COLLAPSE },
	  .not_mapped_often = { { KIND(ANON), IS_PROTECTED } } },
	{ "khugepaged", need_thp, .prepare = prepare_collapse, .stress = stress_khugepaged,
	  .huge = true, .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = { NO_COLLAPSE },
	  .not_mapped_often = { { ALL_KINDS, "it does what madv_collapse does" } } },
	{ "cma", need_cma, leave_cma, placed_in_cma, .stress = stress_cma, .node = 1,
	  .once = true },
	{ "offline", need_removable, leave_removable, placed_in_removable,
	  .stress = stress_offline, .node = 1, .once = true, .hits_pinned = ALL_KINDS },
	{ "soft_offline", need_soft_offline, .stress = stress_soft_offline,
	  .quick = true, .once = true, .hits_pinned = SMALL | HUGETLB },

	{ "move_pages-other", need_nodes, start_other, .stress = stress_move_pages,
	  .by_other = true, .hits_pinned = ALL_KINDS },
	{ "migrate_pages-other", need_nodes, start_other, .stress = stress_migrate_pages,
	  .by_other = true, .hits_pinned = ALL_KINDS },
	{ "madv_pageout-other", need_swap, start_other, .stress = stress_pageout,
	  .by_other = true, .hits_pinned = SHMEM,
	  .not_applicable = { NO_RECLAIM } },
	{ "memory_reclaim-other", need_swap, start_other, .stress = stress_reclaim,
	  .by_other = true, .hits_pinned = SHMEM,
	  .not_applicable = { NO_RECLAIM } },
	{ "clear_refs-other", need_soft_dirty, start_other, .stress = stress_clear_refs,
	  .by_other = true, .hits_pinned = KIND(THP) | SHMEM,
	  .not_applicable = { { HUGETLB, "soft-dirty does not track hugetlb" } } },
	{ "pagemap_scan-other", .before = start_other, .prepare = register_async_wp,
	  .stress = stress_pagemap_scan, .by_other = true, .hits_pinned = ALL_KINDS },
	{ "madv_collapse-other", need_thp, start_other, .prepare = prepare_collapse,
	  .stress = stress_madv_collapse, .by_other = true, .huge = true,
	  .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = { NO_COLLAPSE } },

	{ "mlock-beside", .stress = stress_mlock_beside, .splits = true, .once = true,
	  .quick = true, .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = {
		NO_SPLIT, { KIND(MTHP_64K), "mlock changes none of its entries" },
	  } },
	{ "mprotect-beside", .stress = stress_mprotect_beside, .splits = true,
	  .once = true, .quick = true, .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = { NO_SPLIT } },
	{ "dontneed-beside", .stress = stress_dontneed_beside, .splits = true,
	  .once = true, .quick = true, .hits_pinned = KIND(MEMFD_THP),
	  .not_applicable = { NO_SPLIT } },
};

const size_t nr_stressors = ARRAY_SIZE(stressors);

/* One architecture makes one entry for the TLB of 16 that are neighbours. */
static bool has_contpte(void)
{
	struct utsname system;

	return !uname(&system) && !strcmp(system.machine, "aarch64");
}

static const char *find_kind(const struct not_applicable *n, unsigned int kind)
{
	int i;

	for (i = 0; i < MAX_NOT_APPLICABLE; i++)
		if (n[i].kinds & kind)
			return n[i].why;
	return NULL;
}

/* What is in the same place in another column of the row is not made twice. */
const char *not_applicable(const struct stressor *s, const struct kind *k,
			   const struct protection *p)
{
	const unsigned int kind = 1U << k->kind;

	if (p->raced && s->once)
		return "it cannot be repeated";
	if (s->by_other && (p->expect == SHOW || p->expect == AS_NONE))
		return "as where the owner does it";
	if (p->expect == AS_NONE && s->splits)
		return "it is what the owner does";
	if (s->splits && (kind & KIND(MTHP_64K)) && !has_contpte())
		return "there is no large entry that could be split";
	if (p->often && !(kind & SMALL))
		return "a large page counts its pins apart from its mappings";
	if (p->direct && s->not_direct)
		return s->not_direct;
	if (p->often && find_kind(s->not_mapped_often, kind))
		return find_kind(s->not_mapped_often, kind);
	return find_kind(s->not_applicable, kind);
}
