// SPDX-License-Identifier: GPL-2.0
/* Which pages a range means, and how pins of many ranges get along. */
#include "mempinfd_util.h"

#define PAGES	16	/* in the fixture's memory */

FIXTURE(range)
{
	long long pins_before;
	size_t page;
	char *mem;	/* not touched yet */
	int fd;
};

FIXTURE_SETUP(range)
{
	self->pins_before = system_pins();
	self->page = page_size();
	self->mem = map_pages(PAGES);
	ASSERT_TRUE(!!self->mem);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(range)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->pins_before, system_pins());
}

/*
 * A page is pinned if fork() copies it for the child instead of sharing it.
 * That asks the page itself, not our books.
 */
static bool is_pinned(char *addr)
{
	uint64_t frame;
	pid_t child;

	(*addr)++;
	frame = page_frame(addr);
	child = fork();
	if (!child)
		_exit(page_frame(addr) != frame);
	return wait_child(child) == 1;
}

/* ---- bytes and pages ---- */

struct bytes {
	size_t page, offset;	/* of the first byte */
	size_t pages, more;	/* the size */
	size_t touched;		/* pages */
};

TEST_F(range, any_alignment)
{
	const size_t last = self->page - 1;
	const struct bytes bytes[] = {
		{ 0, 0, 0, 1, 1 },
		{ 0, last, 0, 1, 1 },
		{ 3, 77, 0, 1, 1 },
		{ 0, 0, 1, 0, 1 },
		{ 0, 0, 1, 1, 2 },
		{ 0, 1, 0, last, 1 },
		{ 0, 1, 1, 0, 2 },
		{ 0, last, 0, 2, 2 },
		{ 1, last, 1, 1, 2 },
		{ 1, last, 1, 2, 3 },
		{ 2, last, 3, 2, 5 },
		{ 0, 0, PAGES, 0, PAGES },
		{ 0, last, PAGES - 2, 2, PAGES },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bytes); i++) {
		const struct bytes *b = &bytes[i];
		char *addr = self->mem + b->page * self->page + b->offset;
		size_t size = b->pages * self->page + b->more;

		EXPECT_EQ(0, pin(self->fd, addr, size)) {
			TH_LOG("row %zu: %s", i, strerror(errno));
		}
		EXPECT_HELD(self->fd, 1, b->touched);
		EXPECT_EQ(0, unpin(self->fd, addr, size));
		EXPECT_HELD(self->fd, 0, 0);
	}
}

TEST_F(range, one_byte)
{
	ASSERT_EQ(0, pin(self->fd, self->mem + self->page + 5, 1));
	EXPECT_FALSE(is_pinned(self->mem));
	EXPECT_TRUE(is_pinned(self->mem + self->page));
	EXPECT_FALSE(is_pinned(self->mem + 2 * self->page));
}

TEST_F(range, page_crossing)
{
	ASSERT_EQ(0, pin(self->fd, self->mem + 2 * self->page - 1, 2));
	EXPECT_FALSE(is_pinned(self->mem));
	EXPECT_TRUE(is_pinned(self->mem + self->page));
	EXPECT_TRUE(is_pinned(self->mem + 2 * self->page));
	EXPECT_FALSE(is_pinned(self->mem + 3 * self->page));
}

TEST_F(range, hole_in_the_middle)
{
	char *hole = self->mem + 7 * self->page;

	ASSERT_EQ(0, munmap(hole, self->page));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->mem, PAGES * self->page));
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_FALSE(is_pinned(self->mem));
	EXPECT_FALSE(is_pinned(hole - self->page));
	EXPECT_EQ(self->pins_before, system_pins());
}

TEST_F(range, neighbouring_mappings)
{
	/* Every other page its own mapping, of other rights. */
	size_t i;

	for (i = 0; i < PAGES; i += 2)
		ASSERT_EQ(0, mprotect(self->mem + i * self->page, self->page,
				      PROT_READ));
	EXPECT_EQ(0, pin(self->fd, self->mem, PAGES * self->page));
	EXPECT_HELD(self->fd, 1, PAGES);
}

/* ---- the end of the address space ---- */

/*
 * The first address above: UNPIN answers EFAULT from there on, and ENOENT
 * below, mapped or not.
 */
static uint64_t address_space_end(int fd)
{
	uint64_t low = 0, high = UINT64_MAX;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (unpin_at(fd, mid, 1) && errno == EFAULT)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

TEST_F(range, last_page)
{
	uint64_t end = address_space_end(self->fd);
	uint64_t last = end - self->page;
	void *mem;

	ASSERT_EQ(0, end % self->page);
	EXPECT_LE((uintptr_t)self->mem, end);
	mem = mmap((void *)(uintptr_t)last, self->page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (mem == MAP_FAILED && errno != EEXIST)
		SKIP(return, "the last page cannot be mapped: %s", strerror(errno));
	EXPECT_EQ(0, pin_at(self->fd, last, self->page));
	EXPECT_EQ(0, pin_at(self->fd, end - 1, 1));
	EXPECT_HELD(self->fd, 2, 2);
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, last, self->page + 1));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, last, 0 - last));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, last, 0 - last + 1));
	EXPECT_HELD(self->fd, 2, 2);
	EXPECT_EQ(0, unpin_at(self->fd, last, 1));
	EXPECT_EQ(0, unpin_at(self->fd, last, self->page));
}

TEST_F(range, past_the_end)
{
	uint64_t end = address_space_end(self->fd);
	uint64_t mem = (uintptr_t)self->mem;

	EXPECT_ERRNO(EFAULT, pin_at(self->fd, end, 1));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, end - 1, 2));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, mem, end - mem + 1));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, UINT64_MAX, 1));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, mem, 0 - mem));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, 0, UINT64_MAX));
	EXPECT_HELD(self->fd, 0, 0);
}

TEST_F(range, wrap)
{
	uint64_t mem = (uintptr_t)self->mem;

	EXPECT_ERRNO(EINVAL, pin_at(self->fd, mem, 0 - mem + 1));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, mem, 0 - mem + self->page));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, mem, UINT64_MAX));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, UINT64_MAX, 2));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, UINT64_MAX, UINT64_MAX));
	EXPECT_HELD(self->fd, 0, 0);
}

/* ---- several pins ---- */

TEST_F(range, two_buffers_in_a_page)
{
	char *one = self->mem + 16, *two = self->mem + 2000;

	ASSERT_EQ(0, pin(self->fd, one, 64));
	ASSERT_EQ(0, pin(self->fd, two, 64));
	EXPECT_HELD(self->fd, 2, 2);
	EXPECT_EQ(0, unpin(self->fd, one, 64));
	EXPECT_HELD(self->fd, 1, 1);
	EXPECT_TRUE(is_pinned(self->mem));
	EXPECT_EQ(0, unpin(self->fd, two, 64));
	EXPECT_FALSE(is_pinned(self->mem));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, two, 64));
}

TEST_F(range, same_n_times)
{
	const int times = 1000;
	int i;

	for (i = 0; i < times; i++)
		ASSERT_EQ(0, pin(self->fd, self->mem, 3 * self->page));
	EXPECT_HELD(self->fd, times, 3 * times);
	EXPECT_EQ(3 * times, vm_pin(getpid()));
	for (i = 0; i < times; i++) {
		EXPECT_TRUE(i % 100 || is_pinned(self->mem));
		ASSERT_EQ(0, unpin(self->fd, self->mem, 3 * self->page));
	}
	EXPECT_FALSE(is_pinned(self->mem));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->mem, 3 * self->page));
}

/* Nested, overlapping and touching ranges, undone in every order. */
TEST_F(range, overlapping)
{
	const struct { size_t first, pages; } r[3] = { { 0, 8 }, { 2, 3 }, { 4, 8 } };
	const int orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	size_t order, i, pages;

	for (order = 0; order < ARRAY_SIZE(orders); order++) {
		for (pages = 0, i = 0; i < ARRAY_SIZE(r); pages += r[i++].pages)
			ASSERT_EQ(0, pin(self->fd, self->mem + r[i].first * self->page,
					 r[i].pages * self->page));
		/* The fifth page is in all three. */
		for (i = 0; i < ARRAY_SIZE(r); i++) {
			int which = orders[order][i];

			EXPECT_HELD(self->fd, ARRAY_SIZE(r) - i, pages);
			EXPECT_TRUE(is_pinned(self->mem + 4 * self->page));
			pages -= r[which].pages;
			EXPECT_EQ(0, unpin(self->fd,
					   self->mem + r[which].first * self->page,
					   r[which].pages * self->page));
		}
		EXPECT_HELD(self->fd, 0, 0);
		EXPECT_FALSE(is_pinned(self->mem + 4 * self->page));
	}
}

TEST_F(range, unpin_other_range)
{
	/* first page and pages; what is pinned is { 4, 8 } */
	const struct { size_t first, pages; } other[] = {
		{ 4, 4 }, { 8, 4 }, { 5, 6 }, { 4, 7 }, { 5, 7 },
		{ 4, 9 }, { 3, 9 }, { 3, 10 }, { 0, PAGES },
		{ 3, 8 }, { 5, 8 }, { 0, 4 }, { 12, 4 }, { 4, 1 }, { 11, 1 },
	};
	size_t i;

	ASSERT_EQ(0, pin(self->fd, self->mem + 4 * self->page, 8 * self->page));
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		EXPECT_ERRNO(ENOENT, unpin(self->fd,
					   self->mem + other[i].first * self->page,
					   other[i].pages * self->page));
		EXPECT_HELD(self->fd, 1, 8);
	}
	EXPECT_EQ(0, unpin(self->fd, self->mem + 4 * self->page, 8 * self->page));
}

TEST_F(range, unpin_same_pages)
{
	ASSERT_EQ(0, pin(self->fd, self->mem + 100, 10));
	EXPECT_EQ(0, unpin(self->fd, self->mem + self->page - 1, 1));
	ASSERT_EQ(0, pin(self->fd, self->mem, 2 * self->page));
	EXPECT_EQ(0, unpin(self->fd, self->mem + self->page - 1, 2));
	EXPECT_HELD(self->fd, 0, 0);
}

/* Ranges that share their first page and differ in length. */
TEST_F(range, same_first_page)
{
	const size_t pages[] = { 1, 2, 1, 3, 2, 1 };
	const size_t undo[] = { 3, 1, 2, 1, 2, 1 };
	size_t i, held = 0;

	for (i = 0; i < ARRAY_SIZE(pages); held += pages[i++])
		ASSERT_EQ(0, pin(self->fd, self->mem, pages[i] * self->page));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->mem, 4 * self->page));
	for (i = 0; i < ARRAY_SIZE(undo); i++) {
		EXPECT_HELD(self->fd, ARRAY_SIZE(undo) - i, held);
		EXPECT_EQ(0, unpin(self->fd, self->mem, undo[i] * self->page));
		held -= undo[i];
	}
	EXPECT_HELD(self->fd, 0, 0);
}

/* Three pins of one range, each of another page: the first to go is the first. */
TEST_F(range, oldest_first)
{
	char *old[3], *elsewhere = map_pages(ARRAY_SIZE(old));
	size_t i;

	ASSERT_TRUE(!!elsewhere);
	for (i = 0; i < ARRAY_SIZE(old); i++) {
		ASSERT_EQ(0, pin(self->fd, self->mem, self->page));
		/* Keep an eye on the page, and make room for another one. */
		old[i] = mremap(self->mem, self->page, self->page,
				MREMAP_MAYMOVE | MREMAP_FIXED,
				elsewhere + i * self->page);
		ASSERT_TRUE(old[i] == elsewhere + i * self->page);
		ASSERT_TRUE(self->mem == mmap(self->mem, self->page,
					      PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
					      -1, 0));
	}
	for (i = 0; i < ARRAY_SIZE(old); i++) {
		EXPECT_TRUE(is_pinned(old[i]));
		EXPECT_EQ(0, unpin(self->fd, self->mem, self->page));
		EXPECT_FALSE(is_pinned(old[i]));
	}
}

TEST_F(range, many_ranges)
{
	const size_t ranges = 5000;
	char *mem = map_pages(ranges);
	size_t i;

	ASSERT_TRUE(!!mem);
	for (i = 0; i < ranges; i++)
		ASSERT_EQ(0, pin(self->fd, mem + i * self->page, 1));
	EXPECT_HELD(self->fd, ranges, ranges);
	/* From both ends, a scrap in the middle stays for close(). */
	for (i = 0; i < ranges / 2 - 50; i++) {
		ASSERT_EQ(0, unpin(self->fd, mem + i * self->page, 1));
		ASSERT_EQ(0, unpin(self->fd, mem + (ranges - 1 - i) * self->page, 1));
	}
	EXPECT_HELD(self->fd, 100, 100);
}

/* ---- the end of the fd ---- */

TEST_F(range, close_with_live_pins)
{
	int fd = mempinfd();
	int i;

	ASSERT_LE(0, fd);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pin(fd, self->mem, PAGES * self->page));
	ASSERT_EQ(0, pin(fd, self->mem + self->page, 1));
	EXPECT_EQ(3 * PAGES + 1, vm_pin(getpid()));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_FALSE(is_pinned(self->mem + self->page));
	EXPECT_EQ(self->pins_before, system_pins());
}

TEST_F(range, dup)
{
	int fd = mempinfd();
	int other = dup(fd);

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pin(fd, self->mem, self->page));
	ASSERT_EQ(0, pin(other, self->mem, self->page));
	EXPECT_HELD(other, 2, 2);
	EXPECT_EQ(0, close(fd));
	EXPECT_HELD(other, 2, 2);
	EXPECT_EQ(0, unpin(other, self->mem, self->page));
	EXPECT_TRUE(is_pinned(self->mem));
	EXPECT_EQ(0, close(other));
	EXPECT_FALSE(is_pinned(self->mem));
}

/* What one fd pinned is not another's to undo. */
TEST_F(range, two_fds)
{
	int other = mempinfd();

	ASSERT_LE(0, other);
	ASSERT_EQ(0, pin(self->fd, self->mem, self->page));
	EXPECT_ERRNO(ENOENT, unpin(other, self->mem, self->page));
	ASSERT_EQ(0, pin(other, self->mem, self->page));
	EXPECT_EQ(0, close(other));
	EXPECT_TRUE(is_pinned(self->mem));
	EXPECT_HELD(self->fd, 1, 1);
}

/* ---- very large ranges ---- */

/* Counts of pages that do not fit 31 or 32 bits, or whose low half is small. */
static const uint64_t many_pages[] = {
	(1ULL << 31) - 1, 1ULL << 31, (1ULL << 31) + 1,
	1ULL << 32, (1ULL << 32) + 1, (1ULL << 33) + 2,
};

#if __SIZEOF_POINTER__ == 8

#define GIANT_FILE	(64 << 20)
#define GIANT_TIMES	1024
#define GIANT_SIZE	((size_t)GIANT_FILE * GIANT_TIMES)

FIXTURE(giant)
{
	struct setting pool;
	long long pins_before;
	int fd;
};

FIXTURE_SETUP(giant)
{
	if (!hugetlb_size() || GIANT_FILE % hugetlb_size())
		SKIP(return, "no huge pages of a size that divides %d MiB",
		     GIANT_FILE >> 20);
	/* The file takes as many huge pages as it needs, and gives them back. */
	if (setting_change(&self->pool, "/proc/sys/vm/nr_overcommit_hugepages", "64"))
		SKIP(return, "no huge pages");
	self->pins_before = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN_PARENT(giant)
{
	EXPECT_EQ(self->pins_before, system_pins());
	setting_restore(&self->pool);
}

/* Map one file side by side until 64 GiB are full. */
static char *map_giant(int file)
{
	char *mem, *at;

	mem = mmap(NULL, GIANT_SIZE + GIANT_FILE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	mem = (char *)(((uintptr_t)mem + GIANT_FILE - 1) &
		       ~((uintptr_t)GIANT_FILE - 1));
	for (at = mem; (size_t)(at - mem) < GIANT_SIZE; at += GIANT_FILE)
		if (mmap(at, GIANT_FILE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
			return NULL;
	return mem;
}

/* Huge pages, as the page tables of 64 GiB in small ones would take 128 MiB. */
TEST_F(giant, memfd_64g)
{
	const uint64_t pages = GIANT_SIZE / page_size();
	char *mem;
	int file;

	file = memfd_create("giant", MFD_CLOEXEC | MFD_HUGETLB);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, GIANT_FILE));
	mem = map_giant(file);
	ASSERT_TRUE(!!mem);
	ASSERT_EQ(0, pin(self->fd, mem, GIANT_SIZE)) {
		TH_LOG("%s", strerror(errno));
	}
	EXPECT_HELD(self->fd, 1, pages);
	EXPECT_EQ((long long)pages, vm_pin(getpid()));
	EXPECT_EQ(self->pins_before + (long long)pages, system_pins());
	EXPECT_EQ(0, unpin(self->fd, mem, GIANT_SIZE));
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(self->pins_before, system_pins());
}

/* Some pages with room above them for all of these. */
static char *map_low(void)
{
	void *low = (void *)(uintptr_t)(1ULL << 40);
	void *mem = mmap(low, 8 * page_size(), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

TEST_F(giant, hole)
{
	char *mem = map_low();
	size_t i;

	if (!mem)
		SKIP(return, "the address space is too small");
	for (i = 0; i < ARRAY_SIZE(many_pages); i++) {
		EXPECT_ERRNO(EFAULT, pin(self->fd, mem, many_pages[i] * page_size()));
		EXPECT_ERRNO(ENOENT, unpin(self->fd, mem, many_pages[i] * page_size()));
	}
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
}

TEST_F(giant, limit)
{
	char *mem = map_low();
	size_t i;

	if (!mem)
		SKIP(return, "the address space is too small");
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 8 * page_size()));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	for (i = 0; i < ARRAY_SIZE(many_pages); i++)
		EXPECT_ERRNO(ENOMEM, pin(self->fd, mem, many_pages[i] * page_size()));
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
	/* And what is allowed still is. */
	EXPECT_EQ(0, pin(self->fd, mem, 8 * page_size()));
	EXPECT_EQ(0, unpin(self->fd, mem, 8 * page_size()));
}

#else

/* All of these reach out of the address space, and none is cut to fit. */
TEST_F(range, nothing_is_cut)
{
	char *mem = self->mem;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(many_pages); i++)
		EXPECT_ERRNO(EFAULT, pin(self->fd, mem, many_pages[i] * page_size()));
	EXPECT_ERRNO(EFAULT, pin(self->fd, mem, (1ULL << 32) + 1));
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, (1ULL << 32) + (uintptr_t)mem, 1));
	EXPECT_ERRNO(EFAULT, unpin_at(self->fd, (1ULL << 32) + (uintptr_t)mem, 1));
	EXPECT_HELD(self->fd, 0, 0);
}

#endif

/* ---- tagged addresses ---- */

#if defined(__x86_64__) && !defined(__ILP32__)

#define ARCH_ENABLE_TAGGED_ADDR	0x4002
#define TAG			(0x2aULL << 57)

/* Linear address masking, bits 57 to 62. */
static const char *enable_tags(void)
{
	if (syscall(__NR_arch_prctl, ARCH_ENABLE_TAGGED_ADDR, 6))
		return "the CPU or the kernel has no linear address masking";
	return NULL;
}

#elif defined(__aarch64__)

#define TAG			(0x5aULL << 56)

/* The top byte is always ignored; this says that system calls may get it. */
static const char *enable_tags(void)
{
	if (prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE, 0, 0, 0))
		return "the kernel takes no tagged addresses";
	return NULL;
}

#endif

#ifdef TAG
TEST_F(range, tagged)
{
	const uint64_t mem = (uintptr_t)self->mem;
	const char *missing = enable_tags();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, pin_at(self->fd, mem | TAG, self->page));
	EXPECT_EQ(0, unpin_at(self->fd, mem, self->page));
	ASSERT_EQ(0, pin_at(self->fd, mem, self->page));
	EXPECT_EQ(0, unpin_at(self->fd, mem | TAG, self->page));
	EXPECT_HELD(self->fd, 0, 0);
	/* The tag goes before the end of the range is looked for. */
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, mem | TAG, 0 - mem));
	EXPECT_ERRNO(EINVAL, pin_at(self->fd, mem | TAG, 0 - mem + 1));
}
#endif

TEST_HARNESS_MAIN
