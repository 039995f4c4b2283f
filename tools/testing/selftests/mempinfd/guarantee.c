// SPDX-License-Identifier: GPL-2.0
/*
 * Housekeeping of the kernel against memory that a device uses.
 *
 * Each cell of a table  stressor x kind of memory x protection  is a test.  It
 * takes a region of the kind, protects it, has the software SVA device watch
 * it, lets the stressor work, and counts
 *
 *   transient  pages that the device could not have used for a moment; one
 *              counts again with each invalidation that finds it so
 *   lasting    pages that it still cannot use, or that are others by now, when
 *              all is over
 *   moved      pages whose physical address is another then
 *
 * All are 0 with mempinfd, but that a huge mapping which its owner has split is
 * gone for a moment.  Without protection they are not: a stressor that does not
 * hit unprotected memory proves nothing about what is protected.  The other
 * protections are what one might take instead; what they do is shown.
 *
 * Usage: guarantee [-a] [-c] [-s STRESSOR] [-k KIND] [-p PROTECTION]
 *
 *   -a  all cells, not only the quick ones
 *   -c  the table also as comma-separated values
 *   GUARANTEE=all in the environment is -a -c
 *   -s, -k, -p  only these
 *
 * A cell that makes no sense is in no test: see not_applicable().
 */
#include "mempinfd_calls.h"
#include "mempinfd_mem.h"
#include "mempinfd_place.h"
#include "mempinfd_sva.h"

#include <glob.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../kselftest.h"

#define MEBI		((size_t)1 << 20)
#define REGION_SIZE	(4 * MEBI)	/* two huge pages */
#define NR_SETTINGS	8
#define CELL_SECONDS	60
#define SEED		0x67756172616e7465ULL

#define CGROUP		"/sys/fs/cgroup/guarantee"
#define SWAP_DEVICE	"/dev/ram1"
#define MEMORY_DIR	"/sys/devices/system/memory/"
#define NODE_DIR	"/sys/devices/system/node/node1/"
#define NUMA_DIR	"/sys/kernel/debug/sched/numa_balancing/"
#define NUMA_SWITCH	"/proc/sys/kernel/numa_balancing"
#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define KHUGEPAGED_DIR	THP_DIR "khugepaged/"

struct result {
	__u64 transient[TEST_SVA_NR_CAUSES];
	__u64 lasting[TEST_SVA_NR_CAUSES];
	uint64_t moved;
	bool ran;
	char why[128];	/* it could not be measured */
};

/*
 * What a test works with.  The test runs in a process of its own; this stands
 * in memory that it shares with the parent, who undoes the settings.
 */
struct cell {
	const struct stressor *stressor;
	const struct kind *kind;
	const struct protection *protection;

	struct setting settings[NR_SETTINGS];
	int nr_settings;

	struct region all;	/* what is mapped */
	struct region used;	/* the part that is protected and watched */
	int pin_fd;
	int device;
	int to;			/* node to which memory was moved last */
	bool stop;		/* the race is over */
	unsigned int rounds;	/* of it */
	struct result result;
};

/* ---- for all of the steps: they return 0, or tell why not ---- */

static int cannot(struct cell *c, const char *what)
{
	if (!c->result.why[0])
		snprintf(c->result.why, sizeof(c->result.why), "%s: %s", what,
			 errno ? strerror(errno) : "failed");
	return -1;
}

/* Until the end of the test. */
static int change(struct cell *c, const char *path, const char *value)
{
	int i;

	for (i = 0; i < c->nr_settings; i++)
		if (!strcmp(c->settings[i].path, path))
			return write_text(path, value) ? cannot(c, path) : 0;
	if (c->nr_settings == NR_SETTINGS) {
		errno = ENOSPC;
		return cannot(c, path);
	}
	if (setting_change(&c->settings[c->nr_settings], path, value))
		return cannot(c, path);
	c->nr_settings++;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void touch_all(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->size; at += page_size())
		touch(r->addr + at);
}

/*
 * Takes memory that tests shall not get.  Larger pages would bring the process
 * to khugepaged's attention.
 */
static int hog_memory(struct cell *c, struct region *hog, size_t size)
{
	struct setting thp[2];
	size_t at;

	if (region_map(hog, MEM_MTHP_64K, size) || thp_settings_for(MEM_MTHP_64K, thp))
		return cannot(c, "memory to use up");
	for (at = 0; at < hog->size; at += hog->page)
		hog->addr[at] = 1;
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
	return 0;
}

/* ---- kinds of memory ---- */

#define KIND(kind)	(1U << MEM_##kind)
#define HUGETLB		(KIND(HUGETLB_PRIVATE) | KIND(HUGETLB_SHARED))
#define SHMEM		(KIND(MEMFD) | KIND(MEMFD_THP))
#define SMALL		(KIND(ANON) | KIND(MEMFD))
#define PMD_MAPPED	(KIND(THP) | KIND(MEMFD_THP))

static const struct kind {
	const char *name;
	enum memory_kind kind;
} kinds[] = {
	{ "anon",		MEM_ANON },
	{ "anon-64K",		MEM_MTHP_64K },
	{ "anon-2M",		MEM_THP },
	{ "shmem",		MEM_MEMFD },
	{ "shmem-2M",		MEM_MEMFD_THP },
	{ "hugetlb",		MEM_HUGETLB_PRIVATE },
	{ "hugetlb-shared",	MEM_HUGETLB_SHARED },
};

/* ---- protections ---- */

static int protect_mlock(struct cell *c)
{
	return mlock(c->used.addr, c->used.size) ? cannot(c, "mlock") : 0;
}

static int protect_sysctls(struct cell *c)
{
	return change(c, "/proc/sys/vm/compact_unevictable_allowed", "0") ?:
	       change(c, NUMA_SWITCH, "0") ?:
	       protect_mlock(c);
}

static int protect_io_uring(struct cell *c)
{
	struct iovec iov = { c->used.addr, c->used.size };
	struct io_uring_params params = {};
	int fd;

	fd = syscall(__NR_io_uring_setup, 1, &params);
	if (fd < 0)
		return cannot(c, "io_uring_setup");
	if (syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return cannot(c, "IORING_REGISTER_BUFFERS");
	return 0;
}

static int open_mempinfd(struct cell *c)
{
	c->pin_fd = mempinfd();
	return c->pin_fd < 0 ? cannot(c, "mempinfd") : 0;
}

static int protect_pin(struct cell *c)
{
	if (pin(c->pin_fd, c->used.addr, c->used.size))
		return cannot(c, "MEM_CMD_PIN");
	return 0;
}

static int protect_mempinfd(struct cell *c)
{
	return open_mempinfd(c) ?: protect_pin(c);
}

enum expectation {
	SHOW,		/* whatever it is */
	NONE,		/* not a single fault */
	SOME,		/* else the stressor is none */
};

static const struct protection {
	const char *name;
	int (*protect)(struct cell *c);
	enum expectation expect;
	bool without_numa_balancing;
	bool raced;		/* comes and goes while the stressor works */
} protections[] = {
	{ "none", .expect = SOME },
	{ "mlock", protect_mlock },
	{ "mlock+sysctls", protect_sysctls, .without_numa_balancing = true },
	{ "io_uring", protect_io_uring },
	{ "mempinfd", protect_mempinfd, .expect = NONE },
	{ "mempinfd-raced", open_mempinfd, .expect = NONE, .raced = true },
};

/* ---- nodes ---- */

static const char *need_nodes(void)
{
	return has_two_nodes() ? NULL : "one NUMA node only";
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
	if (syscall(__NR_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE) < 0)
		return cannot(c, "move_pages");
	return 0;
}

/* Answers EIO if not all pages could be moved. */
static int stress_mbind(struct cell *c)
{
	unsigned long nodes = 1UL << next_node(c);

	if (syscall(__NR_mbind, c->used.addr, c->used.size, MPOL_BIND, &nodes,
		    8 * sizeof(nodes), MPOL_MF_MOVE) && errno != EIO)
		return cannot(c, "mbind");
	return 0;
}

static int stress_migrate_pages(struct cell *c)
{
	unsigned long to = 1UL << next_node(c), from = 3 & ~to;

	if (syscall(__NR_migrate_pages, 0, 8 * sizeof(from), &from, &to) < 0)
		return cannot(c, "migrate_pages");
	return 0;
}

/* A protection may be to keep it off. */
static int stress_numa_balancing(struct cell *c)
{
	int64_t end = now_ms() + 3000;

	if (change(c, NUMA_DIR "scan_delay_ms", "10") ||
	    change(c, NUMA_DIR "scan_period_min_ms", "10") ||
	    change(c, NUMA_DIR "scan_period_max_ms", "20"))
		return -1;
	if (!c->protection->without_numa_balancing && change(c, NUMA_SWITCH, "1"))
		return -1;
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

/* Answers EINVAL for memory that is locked. */
static int stress_pageout(struct cell *c)
{
	if (madvise(c->used.addr, c->used.size, MADV_PAGEOUT) && errno != EINVAL)
		return cannot(c, "MADV_PAGEOUT");
	return 0;
}

static int make_cold(struct cell *c)
{
	if (madvise(c->used.addr, c->used.size, MADV_COLD) && errno != EINVAL)
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

/* Wait until a counter of passes has counted that many more. */
static int wait_passes(struct cell *c, const char *path, int passes)
{
	long long end = read_number(path) + passes;
	int64_t deadline = now_ms() + 1000 * CELL_SECONDS / 2;

	while (read_number(path) < end) {
		if (now_ms() > deadline) {
			errno = ETIMEDOUT;
			return cannot(c, path);
		}
		usleep(10000);
	}
	return 0;
}

/* The first pass takes checksums, the second one merges. */
static int stress_ksm(struct cell *c)
{
	const struct region *r = &c->used;

	if (madvise(r->addr, r->size, MADV_MERGEABLE))
		return cannot(c, "MADV_MERGEABLE");
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

static int stress_clear_refs(struct cell *c)
{
	return write_text("/proc/self/clear_refs", "4") ? cannot(c, "clear_refs") : 0;
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
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

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

/* ---- compaction ---- */

static const char *need_compaction(void)
{
	return access("/proc/sys/vm/compact_memory", W_OK) ?
	       "this kernel has no compaction" : NULL;
}

/*
 * Compaction moves pages up, to what is free at the end of the zone.  New pages
 * come from there: so much is used up for a while.
 */
#define HOG_SIZE	(512 * MEBI)
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

static int fill_with_gaps(struct cell *c)
{
	struct region hog, neighbours;

	if (madvise(c->all.addr, c->all.size, MADV_REMOVE) &&
	    madvise(c->all.addr, c->all.size, MADV_DONTNEED))
		return cannot(c, "MADV_DONTNEED");
	if (hog_memory(c, &hog, HOG_SIZE) || fill_between(c, &neighbours))
		return -1;
	region_unmap(&hog);
	region_unmap(&neighbours);
	return 0;
}

static int stress_compaction(struct cell *c)
{
	if (write_text("/proc/sys/vm/compact_memory", "1"))
		return cannot(c, "compact_memory");
	return 0;
}

/* ---- collapse ---- */

static const char *need_thp(void)
{
	return thp_size() ? NULL : "this kernel has no transparent huge pages";
}

/* Base pages have been advised to stay that. */
static int allow_huge(struct cell *c)
{
	if (madvise(c->all.addr, c->all.size, MADV_HUGEPAGE))
		return cannot(c, "MADV_HUGEPAGE");
	return 0;
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

static int prepare_collapse(struct cell *c)
{
	return c->kind->kind == MEM_MEMFD_THP ? unfold(c) : 0;
}

/* Answers EINVAL or EAGAIN if that cannot be. */
static int stress_madv_collapse(struct cell *c)
{
	size_t huge = thp_size();
	uintptr_t start = ((uintptr_t)c->used.addr + huge - 1) & ~(huge - 1);

	if (allow_huge(c))
		return -1;
	if (madvise((void *)start, huge, MADV_COLLAPSE) &&
	    errno != EINVAL && errno != EAGAIN && errno != EBUSY)
		return cannot(c, "MADV_COLLAPSE");
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

static int stress_khugepaged(struct cell *c)
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
	       allow_huge(c) ?:
	       enter_khugepaged(c) ?:
	       wait_passes(c, KHUGEPAGED_DIR "full_scans", 3);
}

/* ---- what the owner does beside the used part, in one huge mapping ---- */

/* The end of the region that is not used is half a huge page. */
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
	if (mprotect(unused_page(c), page_size(), PROT_READ))
		return cannot(c, "mprotect");
	return 0;
}

static int stress_dontneed_beside(struct cell *c)
{
	if (madvise(unused_page(c), page_size(), MADV_DONTNEED))
		return cannot(c, "MADV_DONTNEED");
	return 0;
}

/* ---- contiguous memory ---- */

static const char *need_cma(void)
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

static bool placed_in_cma(struct cell *c)
{
	uint64_t frame = page_frame(c->all.addr);
	struct cma cma;

	return !cma_find(&cma) && frame >= cma.first &&
	       frame < cma.first + cma.frames;
}

static int stress_cma(struct cell *c)
{
	struct cma cma;

	if (cma_find(&cma) || cma_alloc_all(&cma) || cma_write(&cma, "free", cma.frames))
		return cannot(c, "CMA allocation");
	return 0;
}

/* ---- memory that goes away ---- */

/* Blocks that can go: no memory of the kernel is in them. */
#define MAX_BLOCKS	16

static struct block {
	char state[64];
	uint64_t first;		/* page frame number */
	uint64_t frames;
} removable[MAX_BLOCKS];

static int nr_removable;

static void block_try(const char *dir, uint64_t frames)
{
	struct block *b = &removable[nr_removable];

	if (nr_removable == MAX_BLOCKS)
		return;
	snprintf(b->state, sizeof(b->state), "%s/state", dir);
	b->first = strtoull(strrchr(dir, 'y') + 1, NULL, 10) * frames;
	b->frames = frames;
	if (!write_text(b->state, "offline") && !write_text(b->state, "online"))
		nr_removable++;
}

static void find_removable(void)
{
	char size[64];
	glob_t found;
	size_t i;

	if (read_text(MEMORY_DIR "block_size_bytes", size, sizeof(size)) ||
	    glob(NODE_DIR "memory[0-9]*", 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++)
		block_try(found.gl_pathv[i], strtoull(size, NULL, 16) / page_size());
	globfree(&found);
}

static const char *need_removable(void)
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

/* What has been offline comes last: take all the rest of the node. */
static int leave_removable(struct cell *c)
{
	size_t size = nr_removable * removable[0].frames * page_size();
	struct region hog;
	long long free;

	if (hold_cma(c))
		return -1;
	free = read_field(NODE_DIR "meminfo", "Node 1 MemFree") << 10;
	return free > (long long)size ? hog_memory(c, &hog, free - size) : 0;
}

static bool placed_in_removable(struct cell *c)
{
	return block_of(page_frame(c->all.addr));
}

static void on_alarm(int signal)
{
}

/* Going offline is tried until it works, or until a signal comes. */
static int stress_offline(struct cell *c)
{
	struct block *block = block_of(page_frame(c->used.addr));
	struct sigaction action = { .sa_handler = on_alarm };
	int ret;

	errno = 0;
	if (!block)
		return cannot(c, "staying where memory can go offline");
	sigaction(SIGALRM, &action, NULL);
	alarm(3);
	ret = write_text(block->state, "offline");
	alarm(0);
	if (ret && errno != EINTR)
		return cannot(c, "offline");
	if (!ret && write_text(block->state, "online"))
		return cannot(c, "online");
	return 0;
}

static const char *need_soft_offline(void)
{
	return access("/proc/sys/vm/memory_failure_recovery", F_OK) ?
	       "this kernel has no memory failure handling" : NULL;
}

/* Answers EBUSY or EIO for what cannot move. */
static int stress_soft_offline(struct cell *c)
{
	if (madvise(c->used.addr, page_size(), MADV_SOFT_OFFLINE) &&
	    errno != EBUSY && errno != EIO)
		return cannot(c, "MADV_SOFT_OFFLINE");
	return 0;
}

/* ---- the table ---- */

/* Where a kind is named here, the kernel does not do it to that kind at all. */
struct not_applicable {
	unsigned int kinds;
	const char *why;
};

#define MAX_NOT_APPLICABLE	4

static const struct stressor {
	const char *name;
	const char *(*need)(void);		/* what is missing here */
	int (*before)(struct cell *c);		/* before there is memory */
	bool (*placed)(struct cell *c);		/* is it where it has to be? */
	int (*prepare)(struct cell *c);		/* before it is protected */
	int (*stress)(struct cell *c);
	int node;				/* of the memory */
	bool quick;
	bool splits;				/* transient faults are documented */
	bool once;				/* uses up what it works with */
	struct not_applicable not_applicable[MAX_NOT_APPLICABLE];
} stressors[] = {
	{ "move_pages", need_nodes, .stress = stress_move_pages, .quick = true },
	{ "mbind", need_nodes, .stress = stress_mbind, .quick = true },
	{ "migrate_pages", need_nodes, .stress = stress_migrate_pages, .quick = true },
	{ "numa_balancing", need_nodes, .stress = stress_numa_balancing, .node = 1,
	  .not_applicable = { { HUGETLB, "NUMA balancing leaves hugetlb alone" } } },
	{ "madv_pageout", need_swap, .stress = stress_pageout, .quick = true,
	  .not_applicable = { { HUGETLB, "hugetlb is not reclaimed" } } },
	{ "memory.reclaim", need_swap, .stress = stress_reclaim, .quick = true,
	  .not_applicable = { { HUGETLB, "hugetlb is not reclaimed" } } },
	{ "memory.high", need_swap, .stress = stress_memory_high,
	  .not_applicable = { { HUGETLB, "hugetlb is not reclaimed" } } },
	{ "ksm", need_ksm, .prepare = fill_with_same, .stress = stress_ksm,
	  .not_applicable = {
		{ SHMEM | HUGETLB, "KSM merges anonymous memory only" },
	  } },
	{ "clear_refs", .stress = stress_clear_refs, .quick = true,
	  .not_applicable = { { HUGETLB, "soft-dirty does not track hugetlb" } } },
	{ "pagemap_scan", .prepare = register_async_wp, .stress = stress_pagemap_scan,
	  .quick = true },
	{ "fork", .stress = stress_fork, .quick = true,
	  .not_applicable = {
		{ SHMEM | KIND(HUGETLB_SHARED), "fork copies no shared memory" },
	  } },
	{ "compaction", need_compaction, .prepare = fill_with_gaps, .stress = stress_compaction,
	  .not_applicable = {
		{ PMD_MAPPED | HUGETLB, "compaction makes no larger pages than these" },
	  } },
	{ "madv_collapse", need_thp, .prepare = prepare_collapse, .stress = stress_madv_collapse,
	  .quick = true,
	  .not_applicable = {
		{ KIND(THP), "it is collapsed" },
		{ HUGETLB, "hugetlb has one size" },
	  } },
	{ "khugepaged", need_thp, .prepare = prepare_collapse, .stress = stress_khugepaged,
	  .not_applicable = {
		{ KIND(THP), "it is collapsed" },
		{ HUGETLB, "hugetlb has one size" },
	  } },
	{ "mlock-beside", .stress = stress_mlock_beside, .splits = true, .quick = true,
	  .not_applicable = {
		{ SMALL | KIND(MTHP_64K), "there is no huge entry to split" },
		{ HUGETLB, "hugetlb does not split" },
	  } },
	{ "mprotect-beside", .stress = stress_mprotect_beside, .splits = true,
	  .quick = true,
	  .not_applicable = {
		{ SMALL | KIND(MTHP_64K), "there is no huge entry to split" },
		{ HUGETLB, "hugetlb does not split" },
	  } },
	{ "dontneed-beside", .stress = stress_dontneed_beside, .splits = true,
	  .quick = true,
	  .not_applicable = {
		{ SMALL | KIND(MTHP_64K), "there is no huge entry to split" },
		{ HUGETLB, "hugetlb does not split" },
	  } },
	{ "cma", need_cma, .placed = placed_in_cma, .stress = stress_cma, .node = 1,
	  .once = true },
	{ "offline", need_removable, leave_removable, placed_in_removable,
	  .stress = stress_offline, .node = 1, .once = true },
	{ "soft_offline", need_soft_offline, .stress = stress_soft_offline,
	  .quick = true, .once = true },
};

/* Why that would make no test; NULL if it does. */
static const char *not_applicable(const struct stressor *s, const struct kind *k,
				  const struct protection *p)
{
	int i;

	if (p->raced && s->once)
		return "it cannot be repeated";
	for (i = 0; i < MAX_NOT_APPLICABLE; i++)
		if (s->not_applicable[i].kinds & (1U << k->kind))
			return s->not_applicable[i].why;
	return NULL;
}

/* ---- one test, in a process of its own ---- */

#define MAX_PLACES	64

/* Regions that lie in the wrong place go when the process does. */
static int cell_map(struct cell *c)
{
	bool (*placed)(struct cell *c) = c->stressor->placed;
	int i;

	for (i = 0; i < MAX_PLACES; i++) {
		if (region_map(&c->all, c->kind->kind, REGION_SIZE))
			return cannot(c, "memory of this kind");
		if (region_fill(&c->all, SEED))
			return cannot(c, "page sizes");
		if (!placed || placed(c))
			return 0;
	}
	errno = 0;
	return cannot(c, "memory in the right place");
}

/* What the region takes is charged to a group of its own. */
static int cell_join(struct cell *c)
{
	return write_text(CGROUP "/cgroup.procs", "0") ? cannot(c, CGROUP) : 0;
}

static int cell_prepare(struct cell *c)
{
	if (allocate_on(need_nodes() ? -1 : c->stressor->node))
		return cannot(c, "set_mempolicy");
	if (c->stressor->before && c->stressor->before(c))
		return -1;
	if (cell_map(c))
		return -1;
	if (c->stressor->prepare && c->stressor->prepare(c))
		return -1;
	errno = 0;
	if (!region_has_its_pages(&c->all))
		return cannot(c, "pages of this size");
	return allocate_on(-1) ? cannot(c, "set_mempolicy") : 0;
}

static int cell_protect(struct cell *c)
{
	c->used = c->all;
	if (c->stressor->splits)
		c->used.size -= c->used.page / 2;
	return c->protection->protect ? c->protection->protect(c) : 0;
}

static int cell_watch(struct cell *c)
{
	c->device = sva_open();
	if (c->device < 0)
		return cannot(c, SVA_DEVICE);
	if (sva_watch(c->device, c->used.addr, c->used.size))
		return cannot(c, "TEST_SVA_WATCH");
	return 0;
}

static void add(__u64 *sum, const __u64 *counts)
{
	int i;

	for (i = 0; i < TEST_SVA_NR_CAUSES; i++)
		sum[i] += counts[i];
}

/* What has been seen up to now, for the next time from here on. */
static int take_stats(struct cell *c, __u64 *sum)
{
	struct test_sva_stats stats;

	if (ioctl(c->device, TEST_SVA_STATS, &stats) || ioctl(c->device, TEST_SVA_RESET))
		return cannot(c, "TEST_SVA_STATS");
	add(sum, stats.watched);
	return 0;
}

/* Lasting is what a look finds again a little later. */
static int cell_read(struct cell *c, const uint64_t *frames)
{
	struct result *r = &c->result;
	int failed;

	failed = take_stats(c, r->transient) ?: ioctl(c->device, TEST_SVA_CHECK);
	if (failed > 0 && c->protection->raced) {
		usleep(2000);
		failed = take_stats(c, r->transient) ?: ioctl(c->device, TEST_SVA_CHECK);
	}
	if (failed < 0 || take_stats(c, r->lasting))
		return cannot(c, "TEST_SVA_CHECK");
	r->moved += region_moved(&c->used, frames);
	return 0;
}

static int cell_once(struct cell *c)
{
	uint64_t *frames = region_frames(&c->used);

	if (!frames || cell_watch(c) || c->stressor->stress(c))
		return -1;
	return cell_read(c, frames);
}

static void *keep_stressing(void *arg)
{
	struct cell *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED) && !c->stressor->stress(c))
		;
	return NULL;
}

/* The device watches from when PIN has returned until UNPIN. */
static int cell_round(struct cell *c)
{
	uint64_t *frames;
	int ret;

	/* memory that is just being moved cannot be pinned */
	if (pin(c->pin_fd, c->used.addr, c->used.size))
		return errno == ENOMEM ? 0 : cannot(c, "MEM_CMD_PIN");
	c->rounds++;
	frames = region_frames(&c->used);
	ret = !frames || cell_watch(c);
	if (!ret) {
		usleep(500);
		ret = cell_read(c, frames);
		close(c->device);
	}
	free(frames);
	if (unpin(c->pin_fd, c->used.addr, c->used.size))
		return cannot(c, "MEM_CMD_UNPIN");
	return ret ? -1 : 0;
}

static int race_ms = 500;

static int cell_race(struct cell *c)
{
	int64_t end = now_ms() + race_ms;
	pthread_t thread;
	int ret = 0;

	errno = pthread_create(&thread, NULL, keep_stressing, c);
	if (errno)
		return cannot(c, "pthread_create");
	while (!ret && now_ms() < end)
		ret = cell_round(c);
	if (!ret && !c->rounds)
		ret = cannot(c, "MEM_CMD_PIN, ever");
	__atomic_store_n(&c->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return ret;
}

static void run_cell(struct cell *c)
{
	if (cell_join(c) || cell_prepare(c) || cell_protect(c))
		return;
	if (c->protection->raced ? cell_race(c) : cell_once(c))
		return;
	c->result.ran = !c->result.why[0];
}

/* ---- all tests ---- */

static void wait_cell(struct cell *c, pid_t pid)
{
	int64_t end = now_ms() + 1000 * CELL_SECONDS;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now_ms() > end) {
			errno = ETIMEDOUT;
			cannot(c, "stressor");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		usleep(2000);
	}
	if (WIFSIGNALED(status) && !c->result.why[0])
		snprintf(c->result.why, sizeof(c->result.why), "killed by signal %d",
			 WTERMSIG(status));
}

static void measure(struct cell *c)
{
	pid_t pid = fork();

	if (!pid) {
		run_cell(c);
		_exit(0);
	}
	if (pid < 0)
		cannot(c, "fork");
	else
		wait_cell(c, pid);
	while (c->nr_settings)
		setting_restore(&c->settings[--c->nr_settings]);
}

static uint64_t faults(const struct result *r)
{
	return sva_sum(r->transient) + sva_sum(r->lasting);
}

static bool as_expected(const struct cell *c)
{
	const struct result *r = &c->result;

	if (!r->ran)
		return false;
	switch (c->protection->expect) {
	case SOME:
		return faults(r);
	case NONE:
		return !sva_sum(r->lasting) && !r->moved &&
		       (c->stressor->splits || !sva_sum(r->transient));
	default:
		return true;
	}
}

static const char * const causes[TEST_SVA_NR_CAUSES] = {
	[TEST_SVA_NOT_PRESENT] = "not-present",
	[TEST_SVA_MIGRATION] = "migration",
	[TEST_SVA_PROT_NONE] = "prot-none",
	[TEST_SVA_WRITE_PROTECTED] = "write-protected",
	[TEST_SVA_MOVED] = "moved",
};

static void show_causes(const char *title, const __u64 *counts)
{
	int i;

	for (i = 0; i < TEST_SVA_NR_CAUSES; i++)
		if (counts[i])
			ksft_print_msg("  %s %s: %llu\n", title, causes[i],
				       (unsigned long long)counts[i]);
}

static void report(const struct cell *c)
{
	const struct result *r = &c->result;
	char name[128];

	snprintf(name, sizeof(name), "%s/%s/%s", c->stressor->name, c->kind->name,
		 c->protection->name);
	if (r->ran) {
		show_causes("transient", r->transient);
		show_causes("lasting", r->lasting);
		if (c->protection->raced)
			ksft_print_msg("  %u rounds\n", c->rounds);
	} else {
		ksft_print_msg("  %s\n", r->why);
	}
	if (c->stressor->need && c->stressor->need())
		ksft_test_result_skip("%s %s\n", name, c->stressor->need());
	else
		ksft_test_result(as_expected(c), "%s\n", name);
}

/* ---- the table ---- */

#define NR_CELLS	(ARRAY_SIZE(stressors) * ARRAY_SIZE(kinds) *	\
			 ARRAY_SIZE(protections))

static void print_table_head(void)
{
	size_t i;

	printf("# transient/lasting/moved pages\n# %-16s %-15s", "", "");
	for (i = 0; i < ARRAY_SIZE(protections); i++)
		printf(" %15s", protections[i].name);
	printf("\n");
}

static void print_cell(const struct cell *c)
{
	const struct result *r = &c->result;
	const char *text = r->why[0] ? "failed" : "";
	char counts[64];

	if (r->ran && (faults(r) || r->moved)) {
		sprintf(counts, "%llu/%llu/%llu",
			(unsigned long long)sva_sum(r->transient),
			(unsigned long long)sva_sum(r->lasting),
			(unsigned long long)r->moved);
		text = counts;
	} else if (r->ran) {
		text = "0";
	}
	printf(" %15s", text);
}

static void print_csv(const struct cell *c)
{
	const struct result *r = &c->result;
	int i;

	if (!r->ran)
		return;
	printf("# csv,%s,%s,%s", c->stressor->name, c->kind->name, c->protection->name);
	for (i = TEST_SVA_NOT_PRESENT; i < TEST_SVA_NR_CAUSES; i++)
		if (causes[i])
			printf(",%llu,%llu", (unsigned long long)r->transient[i],
			       (unsigned long long)r->lasting[i]);
	printf(",%llu\n", (unsigned long long)r->moved);
}

static void print_csv_head(void)
{
	int i;

	printf("# csv,stressor,kind,protection");
	for (i = TEST_SVA_NOT_PRESENT; i < TEST_SVA_NR_CAUSES; i++)
		if (causes[i])
			printf(",%s,%s-lasting", causes[i], causes[i]);
	printf(",elsewhere\n");
}

/* One line for the cells of a stressor and a kind. */
static void print_table(const struct cell *cells)
{
	const size_t line = ARRAY_SIZE(protections);
	size_t i, j;

	print_table_head();
	for (i = 0; i < NR_CELLS; i += line) {
		for (j = 0; j < line && !cells[i + j].result.ran; j++)
			;
		if (j == line)
			continue;
		printf("# %-16s %-15s", cells[i].stressor->name, cells[i].kind->name);
		for (j = 0; j < line; j++)
			print_cell(&cells[i + j]);
		printf("\n");
	}
}

/* ---- set up ---- */

static struct options {
	bool all;
	bool csv;
	const char *stressor;
	const char *kind;
	const char *protection;
} options;

static void parse(int argc, char **argv)
{
	const char *all = getenv("GUARANTEE");
	int c;

	options.all = all && !strcmp(all, "all");
	options.csv = options.all;
	while ((c = getopt(argc, argv, "acs:k:p:")) > 0) {
		if (c == 'a')
			options.all = true;
		else if (c == 'c')
			options.csv = true;
		else if (c == 's')
			options.stressor = optarg;
		else if (c == 'k')
			options.kind = optarg;
		else if (c == 'p')
			options.protection = optarg;
		else
			ksft_exit_fail_msg("there are options -a -c -s -k -p only\n");
	}
}

static bool matches(const char *option, const char *name)
{
	return !option || !strcmp(option, name);
}

static bool selected(const struct cell *c)
{
	const struct options *o = &options;

	if (not_applicable(c->stressor, c->kind, c->protection) ||
	    !matches(o->stressor, c->stressor->name) ||
	    !matches(o->kind, c->kind->name) ||
	    !matches(o->protection, c->protection->name))
		return false;
	if (o->all || o->stressor)
		return true;
	return c->stressor->quick && (c->protection->expect != SHOW || o->protection);
}

static struct cell *make_cells(unsigned int *plan)
{
	struct cell *cells = mmap(NULL, NR_CELLS * sizeof(*cells),
				  PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (cells == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	for (i = 0; i < NR_CELLS; i++) {
		size_t row = i / ARRAY_SIZE(protections);

		cells[i].protection = &protections[i % ARRAY_SIZE(protections)];
		cells[i].kind = &kinds[row % ARRAY_SIZE(kinds)];
		cells[i].stressor = &stressors[row / ARRAY_SIZE(kinds)];
		*plan += selected(&cells[i]);
	}
	return cells;
}

static int make_cgroup(void)
{
	if (write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		return -1;
	return mkdir(CGROUP, 0755) && errno != EEXIST ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct cell *cells;
	unsigned int plan = 0;
	size_t i;

	parse(argc, argv);
	if (options.all)
		race_ms = 2000;
	ksft_print_header();
	if (access(SVA_DEVICE, R_OK | W_OK))
		ksft_exit_skip("no " SVA_DEVICE ": CONFIG_TEST_SVA\n");
	if (make_cgroup())
		ksft_exit_skip("no memory cgroup " CGROUP "\n");
	kmsg_write(KMSG_EXPECTED);	/* memory going offline, and swap */
	have_swap = !make_swap(SWAP_DEVICE) && !swapon(SWAP_DEVICE, 0);
	cells = make_cells(&plan);
	ksft_set_plan(plan);

	for (i = 0; i < NR_CELLS; i++) {
		struct cell *c = &cells[i];

		if (!selected(c))
			continue;
		if (!c->stressor->need || !c->stressor->need())
			measure(c);
		report(c);
	}
	print_table(cells);
	if (options.csv) {
		print_csv_head();
		for (i = 0; i < NR_CELLS; i++)
			print_csv(&cells[i]);
	}
	if (have_swap)
		swapoff(SWAP_DEVICE);
	kmsg_write(KMSG_UNEXPECTED);
	rmdir(CGROUP);
	ksft_finished();
}
