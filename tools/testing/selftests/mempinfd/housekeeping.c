// SPDX-License-Identifier: GPL-2.0
/*
 * Housekeeping for which the table of guarantee.c has no room: tables that
 * processes share, splits of huge pages, DAMON, and a device that takes pages to
 * its own memory.
 *
 * What is held off from pinned memory works on other memory in the same test:
 * else there would be nothing to hold off.
 */
#include "mempinfd_util.h"
#include "mempinfd_place.h"
#include "mempinfd_proc.h"
#include "mempinfd_sva.h"

#include <lib/test_hmm_uapi.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#define SEED		0x686f757365ULL
#define DAMON_DIR	"/sys/kernel/mm/damon/admin/kdamonds"
#define HMM_DEVICE	"/dev/hmm_dmirror0"

#define MADV_COLLAPSE_	25		/* newer than some C libraries */

/* What a device that walks the page table has lost of what it watches, or -1. */
static int64_t lost(int device)
{
	struct test_sva_stats stats;
	int now = -1;

	if (!ioctl(device, TEST_SVA_STATS, &stats))
		now = ioctl(device, TEST_SVA_CHECK);
	if (now < 0)
		return -1;
	return sva_sum(stats.watched) + now +
	       (stats.writes == TEST_SVA_UNKNOWN ? 0 : stats.writes);
}

static bool sees_writes(int device)
{
	struct test_sva_stats stats;

	return !ioctl(device, TEST_SVA_STATS, &stats) && stats.writes != TEST_SVA_UNKNOWN;
}

/* ---- a table that two processes share ---- */

/*
 * Where all that a table can map is of one hugetlb file, the processes that map
 * it share the table.  To move a page the kernel takes the whole table from one
 * process after the other.
 */
FIXTURE(shared_table) {
	int fd, device, sock[2];
	struct setting pool;
	struct region all;
	char *moved, *pinned;
	pid_t other;
};

/* The rest of what a table maps has no pages, and none are reserved. */
static int map_a_table(struct region *r, size_t page)
{
	r->kind = MEM_HUGETLB_SHARED;
	r->page = page * (page_size() / sizeof(uint64_t));
	r->size = r->page;
	return region_map_at(r, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1);
}

static void __attribute__((noreturn)) share_table(const char *page, int sock)
{
	touch(page);
	tell(sock);
	await(sock);
	_exit(0);
}

FIXTURE_SETUP(shared_table)
{
	size_t page = hugetlb_size();

	self->device = sva_open();
	if (self->device < 0)
		SKIP(return, "no " SVA_DEVICE ": CONFIG_TEST_SVA");
	if (!page || !has_two_nodes())
		SKIP(return, "needs huge pages and two NUMA nodes");
	ASSERT_EQ(0, setting_change(&self->pool, "/proc/sys/vm/nr_overcommit_hugepages", "8"));
	if (map_a_table(&self->all, page)) {
		setting_restore(&self->pool);
		SKIP(return, "no address space for a table of huge pages");
	}
	self->moved = self->all.addr;
	self->pinned = self->all.addr + page;
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, allocate_on(0));
	*self->moved = 1;
	*self->pinned = 2;
	ASSERT_EQ(0, allocate_on(-1));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, self->sock));
	self->other = fork();
	ASSERT_LE(0, self->other);
	if (!self->other)
		share_table(self->moved, self->sock[1]);
	ASSERT_EQ(0, await(self->sock[0]));
}

FIXTURE_TEARDOWN(shared_table)
{
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, wait_child(self->other));
	EXPECT_EQ(0, close(self->fd));
	munmap(self->all.addr, self->all.size);
	setting_restore(&self->pool);
	close(self->device);
}

static int move_to(void *page, int node)
{
	int status = -EIO;

	syscall(__NR_move_pages, 0, 1UL, &page, &node, &status, MPOL_MF_MOVE_ALL);
	return status;
}

/* Its neighbour goes, and the pinned page keeps its entry. */
TEST_F(shared_table, stays_with_a_pinned_page)
{
	size_t page = hugetlb_size();

	ASSERT_EQ(0, pin(self->fd, self->pinned, page));
	ASSERT_EQ(0, sva_watch(self->device, self->pinned, page));
	EXPECT_EQ(1, move_to(self->moved, 1));
	EXPECT_EQ(0, lost(self->device));
	EXPECT_NE(1, move_to(self->pinned, 1));
	EXPECT_EQ(0, lost(self->device));

	ASSERT_EQ(0, unpin(self->fd, self->pinned, page));
	EXPECT_EQ(1, move_to(self->pinned, 1));
	EXPECT_LT(0, lost(self->device));
	EXPECT_EQ(1, *self->moved);
	EXPECT_EQ(2, *self->pinned);
}

/* ---- small pages that become a huge one ---- */

FIXTURE(collapse) {
	int fd;
	char *elsewhere;
	struct region r;
};

/* Of the table a quarter is written, one only read, and the rest not touched. */
FIXTURE_SETUP(collapse)
{
	struct setting thp;
	size_t at;

	if (!thp_size())
		SKIP(return, "no transparent huge pages");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->elsewhere = map_pages(1);
	ASSERT_TRUE(!!self->elsewhere);
	ASSERT_EQ(0, region_map(&self->r, MEM_THP, 1));
	ASSERT_EQ(0, thp_setting(&thp, thp_size(), "enabled", "never"));
	memset(self->r.addr, 1, self->r.size / 4);
	for (at = self->r.size / 4; at < self->r.size / 2; at += page_size())
		touch(self->r.addr + at);
	setting_restore(&thp);
}

FIXTURE_TEARDOWN(collapse)
{
	EXPECT_EQ(0, close(self->fd));
	region_unmap(&self->r);
}

static bool collapses(const struct region *r)
{
	return !madvise(r->addr, r->size, MADV_COLLAPSE_) && region_has_its_pages(r);
}

TEST_F(collapse, only_without_pins)
{
	struct region *r = &self->r;
	char *last = r->addr + r->size / 4 - 1;

	ASSERT_EQ(0, pin(self->fd, self->elsewhere, 1));
	ASSERT_EQ(0, pin(self->fd, last, 1));
	EXPECT_FALSE(collapses(r));
	EXPECT_EQ(0, unpin(self->fd, last, 1));
	EXPECT_TRUE(collapses(r)) {
		TH_LOG("%s", strerror(errno));
	}
	EXPECT_EQ(1, *last);
	EXPECT_EQ(0, last[1]);
}

/* ---- huge pages that are split ---- */

FIXTURE(huge) {
	int fd, device;
	struct region r;
};

FIXTURE_VARIANT(huge) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(huge, thp) { MEM_THP };
FIXTURE_VARIANT_ADD(huge, memfd_thp) { MEM_MEMFD_THP };

FIXTURE_SETUP(huge)
{
	self->device = sva_open();
	if (self->device < 0)
		SKIP(return, "no " SVA_DEVICE ": CONFIG_TEST_SVA");
	if (!thp_size())
		SKIP(return, "no %s", missing_kind(MEM_THP));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 1));
	ASSERT_EQ(0, region_fill(&self->r, SEED));
	ASSERT_TRUE(region_has_its_pages(&self->r));
}

FIXTURE_TEARDOWN(huge)
{
	EXPECT_EQ(0, close(self->fd));
	region_unmap(&self->r);
	close(self->device);
}

/* As a shortage of memory would, if a part of it were not used any more. */
static int split_pages(const struct region *r)
{
	char what[96];

	sprintf(what, "%d,0x%zx,0x%zx", getpid(), (size_t)r->addr,
		(size_t)r->addr + r->size);
	return write_text("/sys/kernel/debug/split_huge_pages", what);
}

TEST_F(huge, is_split_only_without_pins)
{
	struct region *r = &self->r;

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	ASSERT_EQ(0, sva_watch(self->device, r->addr, r->size));
	if (split_pages(r))
		SKIP(return, "no split_huge_pages in debugfs");
	EXPECT_EQ(0, lost(self->device));
	EXPECT_TRUE(region_has_its_pages(r));

	ASSERT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_EQ(0, split_pages(r));
	EXPECT_LT(0, lost(self->device));
	EXPECT_FALSE(region_has_its_pages(r));
	EXPECT_TRUE(region_holds(r, SEED));
}

/* Who may punch holes into a file takes its pages away, pinned or not. */
TEST_F(huge, loses_what_is_punched_out)
{
	struct region *r = &self->r, rest;
	size_t page = page_size();

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	ASSERT_EQ(0, sva_watch(self->device, r->addr, r->size));
	if (madvise(r->addr + r->size - page, page, MADV_REMOVE))
		SKIP(return, "not of a file");
	EXPECT_LT(0, lost(self->device));
	EXPECT_EQ(0, r->addr[r->size - 1]);
	rest = *r;
	rest.size -= page;
	EXPECT_TRUE(region_holds(&rest, SEED));
	EXPECT_PINNED(self->fd, 1, region_base_pages(r));
	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
}

/* ---- DAMON ---- */

/* It makes a page old to see whether it is used, one of each region at a time. */
#define DAMON_ROUNDS	20

FIXTURE(damon) {
	int fd;
	struct region pinned, other;
	int device_of_pinned, device_of_other;
};

static bool damon_write(const char *name, uint64_t value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), DAMON_DIR "/%s", name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return !write_text(path, text);
}

static bool damon_watch(int number, const struct region *r)
{
	char start[64], end[64];

	sprintf(start, "0/contexts/0/targets/0/regions/%d/start", number);
	sprintf(end, "0/contexts/0/targets/0/regions/%d/end", number);
	return damon_write(start, (uintptr_t)r->addr) &&
	       damon_write(end, (uintptr_t)r->addr + r->size);
}

/* It wants them in the order of their addresses. */
static bool damon_start(const struct region *a, const struct region *b)
{
	if (a->addr > b->addr)
		return damon_start(b, a);
	return damon_write("nr_kdamonds", 1) &&
	       damon_write("0/contexts/nr_contexts", 1) &&
	       !write_text(DAMON_DIR "/0/contexts/0/operations", "fvaddr") &&
	       damon_write("0/contexts/0/targets/nr_targets", 1) &&
	       damon_write("0/contexts/0/targets/0/pid_target", getpid()) &&
	       damon_write("0/contexts/0/targets/0/regions/nr_regions", 2) &&
	       damon_watch(0, a) && damon_watch(1, b) &&
	       !write_text(DAMON_DIR "/0/state", "on");
}

FIXTURE_SETUP(damon)
{
	if (access(DAMON_DIR, F_OK))
		SKIP(return, "no " DAMON_DIR ": CONFIG_DAMON_SYSFS");
	if (!hugetlb_size())
		SKIP(return, "no huge pages");
	self->device_of_pinned = sva_open();
	self->device_of_other = sva_open();
	if (!sees_writes(self->device_of_other))
		SKIP(return, "no " SVA_DEVICE ", or page tables are not checked");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->pinned, MEM_HUGETLB_PRIVATE, 1));
	ASSERT_EQ(0, region_map(&self->other, MEM_HUGETLB_PRIVATE, 1));
	ASSERT_EQ(0, region_fill(&self->pinned, SEED));
	ASSERT_EQ(0, region_fill(&self->other, SEED));
}

FIXTURE_TEARDOWN(damon)
{
	write_text(DAMON_DIR "/0/state", "off");
	damon_write("nr_kdamonds", 0);
	EXPECT_EQ(0, close(self->fd));
	region_unmap(&self->other);
	region_unmap(&self->pinned);
	close(self->device_of_other);
	close(self->device_of_pinned);
}

TEST_F(damon, leaves_pinned_huge_pages_young)
{
	ASSERT_EQ(0, pin(self->fd, self->pinned.addr, self->pinned.size));
	ASSERT_EQ(0, sva_watch(self->device_of_pinned, self->pinned.addr, self->pinned.size));
	ASSERT_EQ(0, sva_watch(self->device_of_other, self->other.addr, self->other.size));
	ASSERT_TRUE(damon_start(&self->pinned, &self->other));

	/* young again, or there would be nothing to make old */
	while (lost(self->device_of_other) < DAMON_ROUNDS) {
		touch(self->other.addr);
		touch(self->pinned.addr);
		usleep(1000);
	}
	EXPECT_EQ(0, lost(self->device_of_pinned));
	EXPECT_TRUE(region_holds(&self->pinned, SEED));
}

/* What it has made old is young once it is pinned. */
TEST_F(damon, pinning_makes_young)
{
	struct test_sva_job job = {
		.op = TEST_SVA_TOUCH, .repeat = 1, .dst = (uintptr_t)self->other.addr,
		.len = self->other.size,
	};
	struct test_sva_done done;

	ASSERT_EQ(0, sva_watch(self->device_of_other, self->other.addr, self->other.size));
	ASSERT_TRUE(damon_start(&self->pinned, &self->other));
	while (!lost(self->device_of_other))
		usleep(1000);
	ASSERT_EQ(0, pin(self->fd, self->other.addr, self->other.size));
	ASSERT_EQ(0, ioctl(self->device_of_other, TEST_SVA_SET_MODE, TEST_SVA_NO_HW_AD));
	ASSERT_EQ(0, sva_run(self->device_of_other, &job, &done));
	EXPECT_EQ(0, done.status);
	EXPECT_EQ(0, done.faults);
}

/* ---- the zero page ---- */

/*
 * Nobody can pin it, so its entries are cleaned in a process that has pins as
 * well: there they are looked at more closely.
 */
FIXTURE(zero_page) {
	int fd;
	char *pinned;
	struct region r;
};

FIXTURE_VARIANT(zero_page) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(zero_page, small) { MEM_ANON };
FIXTURE_VARIANT_ADD(zero_page, huge) { MEM_THP };

FIXTURE_SETUP(zero_page)
{
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", memory_kind_name(variant->kind));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->pinned = map_pages(1);
	ASSERT_TRUE(!!self->pinned);
	ASSERT_EQ(0, pin(self->fd, self->pinned, 1));
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 4 * page_size()));
}

FIXTURE_TEARDOWN(zero_page)
{
	EXPECT_EQ(0, close(self->fd));
	region_unmap(&self->r);
}

static void touch_pages(const struct region *r)
{
	struct setting thp[2];
	size_t at;

	thp_settings_for(r->kind, thp);
	for (at = 0; at < r->size; at += page_size())
		touch(r->addr + at);
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
}

TEST_F(zero_page, is_cleaned_beside_pins)
{
	size_t n = region_base_pages(&self->r);
	char *addr = self->r.addr;

	touch_pages(&self->r);
	ASSERT_EQ(n, pagemap_count(addr, n, PAGEMAP_PRESENT));
	if (!pagemap_count(addr, n, PAGEMAP_SOFT_DIRTY))
		SKIP(return, "this kernel does not track soft-dirty pages");
	ASSERT_EQ(0, write_text("/proc/self/clear_refs", "4"));
	EXPECT_EQ(0, pagemap_count(addr, n, PAGEMAP_SOFT_DIRTY));
	EXPECT_EQ(1, pagemap_count(self->pinned, 1, PAGEMAP_SOFT_DIRTY));
	addr[0] = 1;
	EXPECT_EQ(1, pagemap_count(addr, 1, PAGEMAP_SOFT_DIRTY));
}

/* ---- memory that is not there yet ---- */

FIXTURE(hole) {
	int fd, uffd, pagemap;
	struct region r;
};

static int uffd_open_async(const struct region *r)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)r->addr, r->size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (uffd >= 0 && (ioctl(uffd, UFFDIO_API, &api) ||
			  ioctl(uffd, UFFDIO_REGISTER, &range))) {
		close(uffd);
		return -1;
	}
	return uffd;
}

/* As much as one table maps at least, so that there is none for the middle. */
FIXTURE_SETUP(hole)
{
	size_t size = larger(thp_size(), 512 * page_size());

	ASSERT_EQ(0, region_map(&self->r, MEM_ANON, 4 * size));
	self->uffd = uffd_open_async(&self->r);
	if (self->uffd < 0)
		SKIP(return, "this kernel has no userfaultfd that protects by itself");
	self->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->pagemap);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hole)
{
	EXPECT_EQ(0, close(self->fd));
	close(self->pagemap);
	close(self->uffd);
	region_unmap(&self->r);
}

/* The pages written since the last time, which are protected again; or -1. */
static long written_pages(int pagemap, const struct region *r)
{
	struct page_region found[16];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)r->addr,
		.end = (uintptr_t)r->addr + r->size,
		.vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found),
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int i, n = ioctl(pagemap, PAGEMAP_SCAN, &arg);
	long pages = 0;

	for (i = 0; i < n; i++)
		pages += (found[i].end - found[i].start) / page_size();
	return n < 0 ? -1 : pages;
}

/* It is protected as well; a page that is pinned later stays as it is. */
TEST_F(hole, is_protected)
{
	struct region *r = &self->r;
	char *page = r->addr + r->size / 2;

	EXPECT_EQ((long)region_base_pages(r), written_pages(self->pagemap, r));
	EXPECT_EQ(0, written_pages(self->pagemap, r));
	ASSERT_EQ(0, pin(self->fd, page, 1));
	EXPECT_EQ(1, written_pages(self->pagemap, r));
	EXPECT_EQ(1, written_pages(self->pagemap, r));
	EXPECT_EQ(0, unpin(self->fd, page, 1));
	EXPECT_EQ(1, written_pages(self->pagemap, r));
	EXPECT_EQ(0, written_pages(self->pagemap, r));
}

/* ---- a device with memory of its own ---- */

FIXTURE(device_memory) {
	int fd, device, hmm;
	struct region r;
	char *copy;
};

FIXTURE_SETUP(device_memory)
{
	struct hmm_dmirror_cmd nothing = {};

	self->hmm = open(HMM_DEVICE, O_RDWR | O_CLOEXEC);
	if (self->hmm < 0)
		SKIP(return, "no " HMM_DEVICE ": CONFIG_TEST_HMM");
	if (!ioctl(self->hmm, HMM_DMIRROR_READ, &nothing) || errno == ENOTTY)
		SKIP(return, HMM_DEVICE " knows no calls of 32-bit programs");
	self->device = sva_open();
	if (self->device < 0)
		SKIP(return, "no " SVA_DEVICE ": CONFIG_TEST_SVA");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, MEM_ANON, 16 * page_size()));
	ASSERT_EQ(0, region_fill(&self->r, SEED));
	self->copy = malloc(self->r.size);
	ASSERT_TRUE(!!self->copy);
}

FIXTURE_TEARDOWN(device_memory)
{
	EXPECT_TRUE(region_holds(&self->r, SEED));
	EXPECT_EQ(0, close(self->fd));
	free(self->copy);
	region_unmap(&self->r);
	close(self->device);
	close(self->hmm);
}

/* How many pages the process has there itself, after the device asked for all. */
static size_t left_by_device(int hmm, const struct region *r, char *copy)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)r->addr, .ptr = (uintptr_t)copy,
		.npages = region_base_pages(r),
	};
	size_t i, left = 0;

	/* which fails unless it got all of them */
	ioctl(hmm, HMM_DMIRROR_MIGRATE_TO_DEV, &cmd);
	for (i = 0; i < region_base_pages(r); i++)
		left += !!page_frame(r->addr + i * page_size());
	return left;
}

TEST_F(device_memory, takes_no_pinned_page)
{
	struct region *r = &self->r;

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	ASSERT_EQ(0, sva_watch(self->device, r->addr, r->size));
	EXPECT_EQ(region_base_pages(r), left_by_device(self->hmm, r, self->copy));
	EXPECT_EQ(0, lost(self->device));

	ASSERT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_EQ(0, left_by_device(self->hmm, r, self->copy));
	EXPECT_LT(0, lost(self->device));
}

/* It gets a small page, of a huge one as well; who then writes takes it back. */
TEST_F(device_memory, access_of_its_own)
{
	struct hmm_dmirror_cmd cmd = { .npages = 1 };
	struct region huge;

	if (!thp_size())
		SKIP(return, "no %s", missing_kind(MEM_THP));
	ASSERT_EQ(0, region_map(&huge, MEM_THP, 1));
	ASSERT_EQ(0, region_fill(&huge, SEED));
	cmd.addr = (uintptr_t)huge.addr;
	cmd.ptr = (uintptr_t)self->copy;
	EXPECT_EQ(0, ioctl(self->hmm, HMM_DMIRROR_EXCLUSIVE, &cmd));
	EXPECT_EQ(0, page_frame(huge.addr));
	EXPECT_EQ(0, pin(self->fd, huge.addr, huge.size));
	EXPECT_NE(0, page_frame(huge.addr));
	EXPECT_TRUE(region_holds(&huge, SEED));
	EXPECT_EQ(0, unpin(self->fd, huge.addr, huge.size));
	region_unmap(&huge);
}

TEST_HARNESS_MAIN
