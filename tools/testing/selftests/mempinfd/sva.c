// SPDX-License-Identifier: GPL-2.0
/*
 * The software SVA device does its jobs, and counts its faults by their cause:
 * other tests take its word for what a real device would have seen.
 */
#include "mempinfd_proc.h"
#include "mempinfd_sva.h"

#include <poll.h>
#include <linux/mempolicy.h>
#include <sys/eventfd.h>

#define PAGES	8

FIXTURE(sva) {
	int fd;
	char *mem;
	size_t size;
	struct test_sva_stats stats;
	struct test_sva_done done;
};

FIXTURE_SETUP(sva)
{
	self->fd = sva_open();
	if (self->fd < 0)
		SKIP(return, "no " SVA_DEVICE ": CONFIG_TEST_SVA");
	self->size = PAGES * page_size();
	self->mem = map_pages(PAGES);
	ASSERT_TRUE(!!self->mem);
}

FIXTURE_TEARDOWN(sva)
{
	EXPECT_EQ(0, munmap(self->mem, self->size));
	EXPECT_EQ(0, close(self->fd));
}

#define EXPECT_JOB(expected_status, ...)				\
	do {								\
		struct test_sva_job __job = { .repeat = 1, __VA_ARGS__ };	\
									\
		ASSERT_EQ(0, sva_run(self->fd, &__job, &self->done));	\
		EXPECT_EQ(expected_status, self->done.status);		\
	} while (0)

/* A byte of each page is read and written back. */
#define EXPECT_TOUCHED(expected_status, mem, size)			\
	EXPECT_JOB(expected_status, .op = TEST_SVA_TOUCH,		\
		   .dst = (uintptr_t)(mem), .len = (size))

#define EXPECT_FAULTS(expected, cause)					\
	do {								\
		const uint64_t __faults = (expected);			\
									\
		ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));	\
		EXPECT_EQ(__faults, self->stats.faults[cause]);		\
		EXPECT_EQ(__faults, sva_sum(self->stats.faults));	\
	} while (0)

/* ---- jobs ---- */

TEST_F(sva, copies)
{
	char *src = map_pages(PAGES);
	size_t len = self->size - 200;

	ASSERT_TRUE(!!src);
	memset(src, 0x5a, self->size);
	EXPECT_JOB(0, .op = TEST_SVA_COPY, .src = (uintptr_t)src + 100,
		   .dst = (uintptr_t)self->mem + 3, .len = len, .cookie = 42);
	EXPECT_EQ(42, self->done.cookie);
	EXPECT_EQ(0, memcmp(self->mem + 3, src + 100, len));
	EXPECT_EQ(0, self->mem[2]);
	EXPECT_EQ(0, self->mem[3 + len]);
	munmap(src, self->size);
}

TEST_F(sva, computes_crc32)
{
	memcpy(self->mem + page_size() - 4, "123456789", 9);
	EXPECT_JOB(0, .op = TEST_SVA_CRC32C, .repeat = 3,
		   .src = (uintptr_t)self->mem + page_size() - 4, .len = 9);
	EXPECT_EQ(0xe3069283, self->done.crc);	/* the check value of CRC-32C */
}

TEST_F(sva, rejects_bad_jobs)
{
	struct test_sva_job job = { .op = TEST_SVA_TOUCH, .repeat = 1, .len = 1 };

	job.op = TEST_SVA_TOUCH + 1;
	EXPECT_ERRNO(EINVAL, sva_submit(self->fd, &job));
	job.op = TEST_SVA_TOUCH;
	job.repeat = 0;
	EXPECT_ERRNO(EINVAL, sva_submit(self->fd, &job));
	job.repeat = 1;
	job.len = 0;
	EXPECT_ERRNO(EINVAL, sva_submit(self->fd, &job));
	job.len = 2;
	job.dst = UINT64_MAX;
	EXPECT_ERRNO(EINVAL, sva_submit(self->fd, &job));
}

TEST_F(sva, says_when_it_is_done)
{
	struct test_sva_job job = {
		.op = TEST_SVA_TOUCH, .repeat = 1, .dst = (uintptr_t)self->mem,
		.len = self->size,
	};
	struct pollfd pollfd = { .fd = self->fd, .events = POLLIN };
	int event = eventfd(0, EFD_CLOEXEC);
	uint64_t count;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_SET_EVENTFD, event));
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	ASSERT_EQ(0, sva_submit(self->fd, &job));
	EXPECT_EQ(sizeof(count), read(event, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(0, sva_wait(self->fd, &self->done));
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_SET_EVENTFD, -1));
	close(event);
}

/* ---- faults by cause ---- */

TEST_F(sva, faults_once_on_untouched_memory)
{
	EXPECT_TOUCHED(0, self->mem, self->size);
	EXPECT_FAULTS(PAGES, TEST_SVA_NOT_PRESENT);
	EXPECT_EQ(PAGES, self->done.faults);
	EXPECT_EQ(PAGES, sva_sum(self->stats.lasting));

	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_RESET));
	EXPECT_TOUCHED(0, self->mem, self->size);
	EXPECT_FAULTS(0, TEST_SVA_NOT_PRESENT);
	EXPECT_EQ(PAGES, self->stats.iotlb_hits);
}

/* What is only read maps the zero page, without the right to write. */
TEST_F(sva, faults_on_the_zero_page)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		touch(self->mem + i * page_size());
	EXPECT_TOUCHED(0, self->mem, self->size);
	EXPECT_FAULTS(PAGES, TEST_SVA_WRITE_PROTECTED);
}

TEST_F(sva, obeys_mprotect)
{
	memset(self->mem, 1, self->size);
	EXPECT_TOUCHED(0, self->mem, self->size);
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ));
	EXPECT_TOUCHED(-EFAULT, self->mem, self->size);
	EXPECT_FAULTS(1, TEST_SVA_WRITE_PROTECTED);

	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_NONE));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_RESET));
	EXPECT_TOUCHED(-EFAULT, self->mem, self->size);
	EXPECT_FAULTS(1, TEST_SVA_PROT_NONE);

	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ | PROT_WRITE));
	EXPECT_TOUCHED(0, self->mem, self->size);
}

TEST_F(sva, cannot_reach_holes_and_the_kernel)
{
	EXPECT_TOUCHED(-EFAULT, page_size(), 1);
	EXPECT_TOUCHED(-EFAULT, ~0UL - page_size(), 1);
}

/* ---- the accessed and dirty bits ---- */

static int clear_accessed(void)
{
	return write_text("/proc/self/clear_refs", "1");
}

TEST_F(sva, sets_accessed_and_dirty_itself)
{
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, clear_accessed());
	EXPECT_TOUCHED(0, self->mem, self->size);
	EXPECT_FAULTS(0, TEST_SVA_ACCESSED);
	EXPECT_EQ(PAGES, self->stats.ad_updates);
}

TEST_F(sva, faults_for_accessed_without_hardware_update)
{
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_SET_MODE, TEST_SVA_NO_HW_AD));
	EXPECT_TOUCHED(0, self->mem, self->size);
	EXPECT_FAULTS(0, TEST_SVA_ACCESSED);

	ASSERT_EQ(0, clear_accessed());
	ASSERT_EQ(0, sva_watch(self->fd, self->mem, self->size));
	EXPECT_EQ(PAGES, ioctl(self->fd, TEST_SVA_CHECK));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(2 * PAGES, self->stats.watched[TEST_SVA_ACCESSED]);
}

/* Reading is enough to need the accessed bit, and must come to an end. */
TEST_F(sva, reads_memory_without_accessed_bit)
{
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, clear_accessed());
	EXPECT_JOB(0, .op = TEST_SVA_CRC32C, .src = (uintptr_t)self->mem,
		   .len = self->size);
	EXPECT_FAULTS(0, TEST_SVA_ACCESSED);
}

TEST_F(sva, faults_reading_without_hardware_update)
{
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, clear_accessed());
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_SET_MODE, TEST_SVA_NO_HW_AD));
	EXPECT_JOB(0, .op = TEST_SVA_CRC32C, .src = (uintptr_t)self->mem,
		   .len = self->size);
	EXPECT_FAULTS(PAGES, TEST_SVA_ACCESSED);
}

TEST_F(sva, knows_its_modes)
{
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, TEST_SVA_SET_MODE, 2));
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_SET_MODE, 0));
}

/* ---- watching ---- */

TEST_F(sva, watches_for_what_goes_and_comes_back)
{
	size_t last = self->size - page_size();

	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, sva_watch(self->fd, self->mem, self->size));
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_CHECK));

	ASSERT_EQ(0, mprotect(self->mem + last, page_size(), PROT_READ));
	ASSERT_EQ(0, mprotect(self->mem + last, page_size(), PROT_READ | PROT_WRITE));
	self->mem[last] = 2;
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_CHECK));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(1, self->stats.watched[TEST_SVA_WRITE_PROTECTED]);
	EXPECT_EQ(1, sva_sum(self->stats.watched));
}

/*
 * A copy is made of a page that is written and shared with a child: its entry
 * is flushed by itself.  Not every architecture tells the IOMMU of that.
 */
static int sees_flush_of_a_page(int fd, char *page)
{
	struct test_sva_stats stats;
	int ret = -1;
	pid_t child;

	*page = 1;
	child = fork();
	if (child < 0)
		return -1;
	if (!child)
		pause();
	if (!sva_watch_access(fd, page, page_size(), false)) {
		*page = 2;
		if (!ioctl(fd, TEST_SVA_STATS, &stats))
			ret = sva_sum(stats.watched) > 0;
	}
	ioctl(fd, TEST_SVA_UNWATCH);
	ioctl(fd, TEST_SVA_RESET);
	kill(child, SIGKILL);
	return waitpid(child, NULL, 0) == child ? ret : -1;
}

TEST_F(sva, watches_migration)
{
	void *page = self->mem;
	int node, status, seen;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one NUMA node only");
	seen = sees_flush_of_a_page(self->fd, self->mem);
	ASSERT_LE(0, seen);
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, sva_watch(self->fd, self->mem, self->size));
	/* where is it? to the other one */
	ASSERT_EQ(0, syscall(__NR_move_pages, 0, 1, &page, NULL, &status, 0));
	node = !status;
	ASSERT_EQ(0, syscall(__NR_move_pages, 0, 1, &page, &node, &status,
			     MPOL_MF_MOVE));
	ASSERT_EQ(node, status);

	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(seen, sva_sum(self->stats.watched));
	EXPECT_EQ(0, self->stats.watched[TEST_SVA_MOVED]);
	EXPECT_EQ(1, ioctl(self->fd, TEST_SVA_CHECK));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(1, self->stats.watched[TEST_SVA_MOVED]);
}

/* To allow more takes no flush, but the entry is cleared and set again. */
TEST_F(sva, sees_writes_without_a_flush)
{
	struct test_sva_range range = {
		.addr = (uintptr_t)self->mem, .len = self->size,
	};

	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_WATCH, &range));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	if (self->stats.writes == TEST_SVA_UNKNOWN)
		SKIP(return, "the kernel does not check page tables");
	EXPECT_EQ(0, self->stats.writes);

	ASSERT_EQ(0, mprotect(self->mem, self->size, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(self->size / page_size(), self->stats.writes);
	EXPECT_EQ(0, sva_sum(self->stats.watched));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_RESET));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_UNWATCH));
	ASSERT_EQ(0, munmap(self->mem, self->size));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(0, self->stats.writes);
}

TEST_F(sva, stops_watching)
{
	memset(self->mem, 1, self->size);
	ASSERT_EQ(0, sva_watch(self->fd, self->mem, self->size));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_UNWATCH));
	ASSERT_EQ(0, madvise(self->mem, self->size, MADV_DONTNEED));
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_CHECK));
	ASSERT_EQ(0, ioctl(self->fd, TEST_SVA_STATS, &self->stats));
	EXPECT_EQ(0, sva_sum(self->stats.watched));
}

TEST_F(sva, watches_whole_pages_of_users)
{
	EXPECT_ERRNO(EINVAL, sva_watch(self->fd, self->mem + 1, page_size()));
	EXPECT_ERRNO(EINVAL, sva_watch(self->fd, self->mem, page_size() + 1));
	EXPECT_ERRNO(EINVAL, sva_watch(self->fd, self->mem, 0));
	EXPECT_ERRNO(EFAULT, sva_watch(self->fd, self->mem, -2 * page_size()));
}

/* ---- what PIN leaves for it ---- */

/* Where entries are alike, some CPUs take as many as that for one. */
#define BLOCK	16

FIXTURE(pinned) {
	int device;
	int fd;
	struct region r;
	char *start;
	size_t size;
};

FIXTURE_VARIANT(pinned) {
	enum memory_kind kind;
	bool split;
	bool read_only;
};

FIXTURE_VARIANT_ADD(pinned, anon) { MEM_ANON };
FIXTURE_VARIANT_ADD(pinned, anon_read_only) { MEM_ANON, .read_only = true };
FIXTURE_VARIANT_ADD(pinned, mthp_64k) { MEM_MTHP_64K };
FIXTURE_VARIANT_ADD(pinned, mthp_64k_read_only) { MEM_MTHP_64K, .read_only = true };
FIXTURE_VARIANT_ADD(pinned, thp) { MEM_THP };
FIXTURE_VARIANT_ADD(pinned, thp_split) { MEM_THP, .split = true };

/* Large pages stay; what maps them becomes small entries. */
static int split_mappings(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->size; at += r->page)
		if (mlock(r->addr + at, page_size()) || munlock(r->addr + at, page_size()))
			return -1;
	return 0;
}

/* A pin that begins with the last entry of a block and ends with a first one. */
FIXTURE_SETUP(pinned)
{
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->device = sva_open();
	if (self->device < 0)
		SKIP(return, "no " SVA_DEVICE ": CONFIG_TEST_SVA");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ioctl(self->device, TEST_SVA_SET_MODE, TEST_SVA_NO_HW_AD));

	ASSERT_EQ(0, region_map(&self->r, variant->kind, 4 << 20));
	ASSERT_EQ(0, region_fill(&self->r, 0));
	ASSERT_TRUE(region_has_its_pages(&self->r));
	if (variant->split)
		ASSERT_EQ(0, split_mappings(&self->r));
	if (variant->read_only)
		ASSERT_EQ(0, mprotect(self->r.addr, self->r.size, PROT_READ));
	self->start = self->r.addr + (BLOCK - 1) * page_size();
	self->size = self->r.size - 2 * (BLOCK - 1) * page_size();
}

FIXTURE_TEARDOWN(pinned)
{
	region_unmap(&self->r);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, close(self->device));
}

/* A CPU that sets the bits sets those of an entry, whatever it takes for one. */
TEST_F(pinned, is_accessed_and_dirty)
{
	size_t at, page = page_size();

	ASSERT_EQ(0, madvise(self->r.addr, self->r.size, MADV_FREE));
	ASSERT_EQ(0, sva_watch_access(self->device, self->start, self->size,
				      !variant->read_only));
	EXPECT_EQ(self->size / page, ioctl(self->device, TEST_SVA_CHECK));

	for (at = 2 * page; at < self->r.size; at += BLOCK * page) {
		if (variant->read_only)
			touch(self->r.addr + at);
		else
			self->r.addr[at] = 1;
	}
	ASSERT_EQ(0, pin(self->fd, self->start, self->size));
	EXPECT_EQ(0, ioctl(self->device, TEST_SVA_CHECK));
	EXPECT_EQ(0, unpin(self->fd, self->start, self->size));
}

/* ---- its address space ends ---- */

/* The job would take for ever: it ends because its memory does. */
struct endless {
	char *mem;
	size_t size;
	int out;	/* a pipe: says which fd the device has */
};

static int submit_endless(void *arg)
{
	const struct endless *endless = arg;
	struct test_sva_job job = {
		.op = TEST_SVA_TOUCH, .repeat = UINT32_MAX,
		.dst = (uintptr_t)endless->mem, .len = endless->size,
	};
	int fd = sva_open();

	memset(endless->mem, 1, endless->size);
	return write(endless->out, &fd, sizeof(fd)) != sizeof(fd) || sva_submit(fd, &job);
}

TEST_F(sva, stops_at_exit)
{
	struct test_sva_job job = { .op = TEST_SVA_TOUCH, .repeat = 1, .len = 1 };
	struct endless endless = { self->mem, self->size };
	int fds[2];
	pid_t pid;

	/* a device opened by the child, and kept open by the parent */
	ASSERT_EQ(0, pipe(fds));
	endless.out = fds[1];
	pid = fork_with_files(submit_endless, &endless);
	ASSERT_LT(0, pid);
	close(self->fd);
	ASSERT_EQ(sizeof(self->fd), read(fds[0], &self->fd, sizeof(self->fd)));
	EXPECT_EQ(0, wait_child(pid));
	ASSERT_EQ(0, sva_wait(self->fd, &self->done));
	EXPECT_EQ(-ESRCH, self->done.status);

	/* it is of no more use */
	ASSERT_EQ(0, sva_run(self->fd, &job, &self->done));
	EXPECT_EQ(-ESRCH, self->done.status);
	EXPECT_ERRNO(ESRCH, sva_watch(self->fd, self->mem, self->size));
	EXPECT_EQ(0, ioctl(self->fd, TEST_SVA_CHECK));
	close(fds[0]);
	close(fds[1]);
}

TEST_F(sva, close_ends_jobs)
{
	struct test_sva_job job = {
		.op = TEST_SVA_TOUCH, .repeat = UINT32_MAX,
		.dst = (uintptr_t)self->mem, .len = self->size,
	};

	ASSERT_EQ(0, sva_submit(self->fd, &job));
	ASSERT_EQ(0, sva_submit(self->fd, &job));
	EXPECT_EQ(0, close(self->fd));
	self->fd = sva_open();
	ASSERT_LE(0, self->fd);
}

TEST_HARNESS_MAIN
