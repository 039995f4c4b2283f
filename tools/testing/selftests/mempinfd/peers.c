// SPDX-License-Identifier: GPL-2.0
/*
 * What went wrong in other interfaces that pin memory for the long term, and
 * must not go wrong here: counts that overflow, pages forgotten or let go twice
 * where a page is pinned in more than one way, and pins that meet the rest of
 * the kernel at a bad time.
 */
#include "mempinfd_place.h"
#include "mempinfd_proc.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>

#define SECOND		1000000		/* microseconds */

#define MADV_COLLAPSE_	25		/* newer than some C libraries */

FIXTURE(peers)
{
	long long system_pins;
	int fd;
	int log;
};

FIXTURE_SETUP(peers)
{
	self->system_pins = system_pins();
	ASSERT_EQ(0, set_real_uid(USER_A));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->log = kmsg_open();
	ASSERT_LE(0, self->log);
}

FIXTURE_TEARDOWN(peers)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(self->system_pins, system_pins());
}

/* ---- one page, many times ---- */

#define NO_NEIGHBOURS	"a page cannot be mapped at neighbouring addresses: caches have aliases"

/*
 * The first page of a file, mapped @times side by side.  NULL and EINVAL: this
 * CPU's caches know a page by its address, and the kernel lets not have it two
 * that they do not know for the same.
 */
static char *map_page_often(int file, size_t times)
{
	size_t i, page = page_size();
	char *mem;

	mem = mmap(NULL, times * page, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	for (i = 0; mem != MAP_FAILED && i < times; i++)
		if (mmap(mem + i * page, page, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
			return NULL;
	return mem == MAP_FAILED ? NULL : mem;
}

static int one_page_file(void)
{
	int file = memfd_create("page", MFD_CLOEXEC);

	return file >= 0 && !ftruncate(file, page_size()) ? file : -1;
}

TEST_F(peers, one_page_through_many_mappings)
{
	const size_t times = 40;
	char *mem = map_page_often(one_page_file(), times);
	uint64_t frame;
	size_t i;

	if (!mem && errno == EINVAL)
		SKIP(return, NO_NEIGHBOURS);
	ASSERT_TRUE(!!mem);
	ASSERT_EQ(0, pin(self->fd, mem, times * page_size()));
	EXPECT_PINNED(self->fd, 1, times);
	EXPECT_EQ(self->system_pins + (long long)times, system_pins());
	frame = page_frame(mem);
	for (i = 0; i < times; i++)
		EXPECT_EQ(frame, page_frame(mem + i * page_size()));
	for (i = 0; i < times; i++)
		ASSERT_EQ(0, pin(self->fd, mem + i * page_size(), 1));
	EXPECT_EQ(self->system_pins + 2 * (long long)times, system_pins());
	EXPECT_EQ(0, unpin(self->fd, mem, times * page_size()));
	EXPECT_EQ(self->system_pins + (long long)times, system_pins());
	for (i = 0; i < times; i++)
		EXPECT_EQ(0, unpin(self->fd, mem + i * page_size(), 1));
	EXPECT_PINNED(self->fd, 0, 0);
}

/* A small page counts each pin 1024 times in 31 bits. */
#define PINS_TOO_MANY	0x200000
#define PINS_AT_A_TIME	1024

TEST_F(peers, page_pinned_too_often)
{
	size_t size = PINS_AT_A_TIME * page_size();
	char *mem = map_page_often(one_page_file(), PINS_AT_A_TIME);
	int n;

	if (!mem && errno == EINVAL)
		SKIP(return, NO_NEIGHBOURS);
	ASSERT_TRUE(!!mem);
	for (n = 0; n <= PINS_TOO_MANY / PINS_AT_A_TIME; n++)
		if (pin(self->fd, mem, size))
			break;
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_LT(0, n);
	EXPECT_GT(PINS_TOO_MANY / PINS_AT_A_TIME, n);
	EXPECT_PINNED(self->fd, n, (long long)n * PINS_AT_A_TIME);
	EXPECT_EQ(self->system_pins + (long long)n * PINS_AT_A_TIME, system_pins());
	EXPECT_EQ(0, kmsg_new_records(self->log));

	/* the page is as good as before, and can be pinned again after an UNPIN */
	mem[0] = 1;
	EXPECT_EQ(0, unpin(self->fd, mem, size));
	EXPECT_EQ(0, pin(self->fd, mem, size));
}

/* ---- a part of a huge page ---- */

FIXTURE(tail)
{
	struct region r;
	long long system_pins;
	int fd;
};

FIXTURE_VARIANT(tail)
{
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(tail, thp) { MEM_THP };
FIXTURE_VARIANT_ADD(tail, memfd_thp) { MEM_MEMFD_THP };
FIXTURE_VARIANT_ADD(tail, mthp_64k) { MEM_MTHP_64K };
FIXTURE_VARIANT_ADD(tail, hugetlb) { MEM_HUGETLB_SHARED };

FIXTURE_SETUP(tail)
{
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 1));
	ASSERT_EQ(0, region_fill(&self->r, 1));
	ASSERT_TRUE(region_has_its_pages(&self->r));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(tail)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
}

/* The pages of one huge page, each by itself, in an order of their own. */
TEST_F(tail, each_pinned_and_unpinned)
{
	size_t i, n = region_base_pages(&self->r), at;

	for (i = 0; i < n; i++) {
		at = (i * 7 + 3) % n;
		ASSERT_EQ(0, pin(self->fd, self->r.addr + at * page_size(), 1));
	}
	EXPECT_PINNED(self->fd, n, n);
	EXPECT_EQ(self->system_pins + (long long)n, system_pins());
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, unpin(self->fd, self->r.addr + i * page_size(), 1));
	EXPECT_PINNED(self->fd, 0, 0);
	EXPECT_TRUE(region_holds(&self->r, 1));
	region_unmap(&self->r);
}

/* Only the last page is left of the mapping when it is let go. */
TEST_F(tail, outlives_the_rest)
{
	size_t last = self->r.size - page_size();

	ASSERT_EQ(0, pin(self->fd, self->r.addr + last, page_size()));
	if (self->r.kind != MEM_HUGETLB_SHARED)
		ASSERT_EQ(0, munmap(self->r.addr, last));
	EXPECT_PINNED(self->fd, 1, 1);
	EXPECT_EQ(0, unpin(self->fd, self->r.addr + last, page_size()));
	EXPECT_PINNED(self->fd, 0, 0);
	region_unmap(&self->r);
}

/* ---- the limit of a small guest ---- */

/* RLIMIT_MEMLOCK used to be 64 KiB: eight buffers across two pages fit, no more. */
static int pin_nine_buffers(void)
{
	size_t page = page_size(), i;
	char *mem = map_pages(18);
	int fd = mempinfd();

	if (!mem || fd < 0 || set_limit(RLIMIT_MEMLOCK, 16 * page) ||
	    drop_capability(CAP_IPC_LOCK))
		return 1;
	for (i = 0; i < 8; i++)
		if (pin(fd, mem + (2 * i + 1) * page - 64, page))
			return 2;
	if (!pin(fd, mem + 17 * page - 64, page) || errno != ENOMEM)
		return 3;
	if (vm_pin(getpid()) != 16)
		return 4;
	return unpin(fd, mem + page - 64, page) || pin(fd, mem + 17 * page - 64, page);
}

TEST_F(peers, nine_unaligned_buffers)
{
	IN_CHILD(_exit(pin_nine_buffers()));
}

/* ---- PIN meets what changes the memory ---- */

#define RACE_TIMES	200
#define SWAP_DEVICE	"/dev/ram1"

FIXTURE(race)
{
	long long system_pins;
	size_t size;
	size_t touched;		/* of it, again and again; half of that is pinned */
	char *buf;		/* of the size and alignment of a huge page */
	char *other;		/* as much room beside it */
	struct block block;	/* of memory */
	struct cma cma;
	int fd;
	atomic_bool stop;
	atomic_int pinned;
};

FIXTURE_VARIANT(race)
{
	bool shared;
	void (*change)(struct _test_data_race *self, int time);
	bool swap;		/* there is some */
	bool movable;		/* memory that can go offline is used first */
	bool cma;		/* an area is where the memory is from */
	bool nodes;		/* there are two */
};

static void race_mremap(struct _test_data_race *self, int time)
{
	char *from = time % 2 ? self->other : self->buf;
	char *to = time % 2 ? self->buf : self->other;

	mremap(from, self->size / 2, self->size / 2, MREMAP_MAYMOVE | MREMAP_FIXED, to);
}

static void race_dontneed(struct _test_data_race *self, int time)
{
	madvise(self->buf, self->size, MADV_DONTNEED);
	memset(self->buf, 1, self->touched);
}

static void race_collapse(struct _test_data_race *self, int time)
{
	madvise(self->buf, self->size, MADV_COLLAPSE_);
	if (time % 2)
		madvise(self->buf, self->size, MADV_DONTNEED);
}

static void race_pageout(struct _test_data_race *self, int time)
{
	madvise(self->buf, self->size, time % 2 ? MADV_PAGEOUT : MADV_COLD);
}

static void race_punch(struct _test_data_race *self, int time)
{
	madvise(self->buf, self->size, MADV_REMOVE);
}

/* The memory that goes is used again when it comes back. */
static void race_offline(struct _test_data_race *self, int time)
{
	if (time % 10)
		return race_dontneed(self, time);
	block_set(&self->block, "offline");
	block_set(&self->block, "online_movable");
}

/*
 * move_pages() asks for mmap_lock for one page after the other, and keeps those it
 * has found from being moved by PIN until then: PIN must not wait with the lock.
 */
static void race_move_pages(struct _test_data_race *self, int time)
{
	race_dontneed(self, time);
	move_pages_to(self->buf, self->touched / page_size(), !self->block.node);
}

/* For a moment blocks of the zone that the memory is in may not be used. */
static void race_cma(struct _test_data_race *self, int time)
{
	if (!cma_write(&self->cma, "alloc", self->cma.frames / 4))
		cma_write(&self->cma, "free", self->cma.frames / 4);
	race_dontneed(self, time);
}

FIXTURE_VARIANT_ADD(race, mremap) { false, race_mremap };
FIXTURE_VARIANT_ADD(race, mremap_shared) { true, race_mremap };
FIXTURE_VARIANT_ADD(race, dontneed) { false, race_dontneed };
FIXTURE_VARIANT_ADD(race, dontneed_shared) { true, race_dontneed };
FIXTURE_VARIANT_ADD(race, collapse) { false, race_collapse };
FIXTURE_VARIANT_ADD(race, collapse_shared) { true, race_collapse };
FIXTURE_VARIANT_ADD(race, pageout) { false, race_pageout, .swap = true };
FIXTURE_VARIANT_ADD(race, pageout_shared) { true, race_pageout, .swap = true };
FIXTURE_VARIANT_ADD(race, offline) { false, race_offline, .movable = true };
FIXTURE_VARIANT_ADD(race, offline_shared) { true, race_offline, .movable = true };
FIXTURE_VARIANT_ADD(race, cma) { false, race_cma, .cma = true };
FIXTURE_VARIANT_ADD(race, punch_shared) { true, race_punch };
FIXTURE_VARIANT_ADD(race, move_pages) { false, race_move_pages, .movable = true, .nodes = true };
FIXTURE_VARIANT_ADD(race, move_pages_shared) {
	true, race_move_pages, .movable = true, .nodes = true
};

FIXTURE_SETUP(race)
{
	size_t huge = thp_size() ?: 64 * page_size();
	int file = memfd_create("race", MFD_CLOEXEC);
	char *mem;

	if (variant->nodes && !has_two_nodes())
		SKIP(return, "one NUMA node only");
	if (variant->swap && (make_swap(SWAP_DEVICE) || swapon(SWAP_DEVICE, 0)))
		SKIP(return, "cannot swap to " SWAP_DEVICE);
	if (variant->movable && block_find_movable_logged(&self->block))
		SKIP(return, "no memory can go offline");
	if (variant->cma && cma_find(&self->cma))
		SKIP(return, "no unused CMA area: boot with cma=");
	if (variant->movable)
		allocate_on(self->block.node);
	if (variant->cma)
		allocate_on(node_of_frame(self->cma.first));
	/* The kernel logs which page kept a block from going, or being had. */
	if (variant->movable || variant->cma)
		ASSERT_EQ(0, kmsg_write(KMSG_EXPECTED));
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, huge));
	self->system_pins = system_pins();
	self->size = huge;
	/* as many pages as where a huge one has 512, or fewer: else it takes long */
	self->touched = huge / 4 < 128 * page_size() ? huge / 4 : 128 * page_size();
	mem = mmap(NULL, 3 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	self->buf = (char *)(((uintptr_t)mem + huge - 1) & ~(huge - 1));
	self->other = self->buf + huge;
	ASSERT_EQ(self->buf, mmap(self->buf, huge, PROT_READ | PROT_WRITE,
				  (variant->shared ? MAP_SHARED :
				   MAP_PRIVATE | MAP_ANONYMOUS) | MAP_FIXED,
				  variant->shared ? file : -1, 0));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(race)
{
	if (variant->swap)
		EXPECT_EQ(0, swapoff(SWAP_DEVICE));
	if (variant->movable)
		block_restore(&self->block);
	if (variant->movable || variant->cma)
		EXPECT_EQ(0, kmsg_write(KMSG_UNEXPECTED));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
}

/*
 * What is not mapped for the moment is EFAULT, what cannot be moved now to where
 * it may stay is ENOMEM; what is pinned can be unpinned.
 */
static void *race_pins(void *fixture)
{
	struct _test_data_race *self = fixture;

	while (!self->stop) {
		if (!pin(self->fd, self->buf, self->touched / 2)) {
			if (unpin(self->fd, self->buf, self->touched / 2))
				return "UNPIN failed after PIN";
			self->pinned++;
		} else if (errno != EFAULT && errno != ENOMEM) {
			return strerror(errno);
		}
	}
	return NULL;
}

/* Whoever changes mappings waits for mmap_lock, and all who come later for him. */
static void *race_maps(void *fixture)
{
	struct _test_data_race *self = fixture;
	int prot = PROT_NONE;

	while (!self->stop) {
		prot ^= PROT_READ;
		mprotect(self->other + self->size / 2, page_size(), prot);
	}
	return NULL;
}

/* As long as it takes for either side to have had its turns. */
TEST_F(race, leaves_nothing)
{
	void *wrong;
	pthread_t thread, mapper;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, race_pins, self));
	ASSERT_EQ(0, pthread_create(&mapper, NULL, race_maps, self));
	for (i = 0; i < RACE_TIMES || !self->pinned; i++)
		variant->change(self, i);
	self->stop = true;
	ASSERT_EQ(0, pthread_join(thread, &wrong));
	ASSERT_EQ(0, pthread_join(mapper, NULL));
	EXPECT_STREQ("", (char *)wrong ?: "");
	EXPECT_PINNED(self->fd, 0, 0);
}

/* ---- a process ends amid a PIN ---- */

#define GIANT_FILE	(64UL << 20)
#define GIANT_MAPPINGS	1024		/* 64 GiB */

/* How far a child has come; shared with it. */
struct progress {
	atomic_int pins;
	atomic_int error;
	atomic_bool go_on;
};

static struct progress *map_progress(void)
{
	return mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

#if __SIZEOF_POINTER__ > 4
static char *map_giant(void)
{
	int i, file = memfd_create("giant", MFD_CLOEXEC);
	char *mem;

	mem = mmap(NULL, GIANT_FILE * GIANT_MAPPINGS, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (file < 0 || ftruncate(file, GIANT_FILE) || mem == MAP_FAILED)
		return NULL;
	for (i = 0; i < GIANT_MAPPINGS; i++)
		if (mmap(mem + i * GIANT_FILE, GIANT_FILE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
			return NULL;
	return mem;
}

static void __attribute__((noreturn)) pin_giant(char *mem, struct progress *progress)
{
	int fd = mempinfd();

	progress->pins = fd >= 0;
	pin(fd, mem, GIANT_FILE * GIANT_MAPPINGS);
	_exit(1);
}

/* It would take minutes, and ends as soon as it is killed. */
TEST_F(peers, killed_in_a_pin_of_64_gib)
{
	struct progress *progress = map_progress();
	char *mem = map_giant();
	int i, status;
	pid_t child;

	ASSERT_TRUE(!!mem);
	for (i = 0; i < 12; i++) {
		progress->pins = 0;
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			pin_giant(mem, progress);
		while (!progress->pins)
			usleep(SECOND / 1000);
		usleep(SECOND / 1000 * (1 << i) / 4);
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(SIGKILL, status);
		EXPECT_EQ(self->system_pins, system_pins());
		EXPECT_EQ(0, charged_to(USER_A));
	}
}
#endif

/* Who changes the rights of so many pages keeps all others waiting. */
#define BUSY_SIZE	(32UL << 20)
#define KILLS		40

static void *keep_others_waiting(void *mem)
{
	for (;;) {
		mprotect(mem, BUSY_SIZE, PROT_READ);
		mprotect(mem, BUSY_SIZE, PROT_READ | PROT_WRITE);
	}
	return NULL;
}

static void __attribute__((noreturn)) pin_when_it_is_my_turn(struct progress *progress)
{
	char *mem = map_pages(BUSY_SIZE / page_size()), *page = map_pages(1);
	int fd = mempinfd();
	pthread_t thread;

	if (fd < 0 || !mem || !page)
		_exit(1);
	memset(mem, 1, BUSY_SIZE);
	if (pthread_create(&thread, NULL, keep_others_waiting, mem))
		_exit(2);
	while (!pin(fd, page, 1) && !unpin(fd, page, 1))
		progress->pins++;
	_exit(3);
}

/* It waits for the lock of the address space more often than it does anything. */
TEST_F(peers, killed_while_pin_waits)
{
	struct progress *progress = map_progress();
	int i, status;
	pid_t child;

	for (i = 0; i < KILLS; i++) {
		progress->pins = 0;
		child = fork();
		ASSERT_LE(0, child);
		if (!child)
			pin_when_it_is_my_turn(progress);
		while (!progress->pins && !waitpid(child, &status, WNOHANG))
			usleep(SECOND / 1000);
		ASSERT_EQ(0, kill(child, SIGKILL));
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(SIGKILL, status);
		EXPECT_EQ(self->system_pins, system_pins());
		EXPECT_EQ(0, charged_to(USER_A));
	}
}

/* ---- more than 31 bits of pages ---- */

#if __SIZEOF_POINTER__ > 4
#define GIB		(1UL << 30)
#define GIB_PAGES	3	/* each is pinned less often than would be too often */
#define TIMES_8_TIB	2731	/* that many times all of them, and a bit */
#define FREE_GIB_PAGES	"/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages"

#ifndef MFD_HUGE_1GB
#define MFD_HUGE_1GB	(30 << 26)
#endif

static char *map_8_tib(void)
{
	int i, file = memfd_create("8 TiB", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_1GB);
	size_t size = GIB_PAGES * GIB;
	char *mem;

	mem = mmap(NULL, TIMES_8_TIB * size + GIB, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (file < 0 || ftruncate(file, size) || mem == MAP_FAILED)
		return NULL;
	mem = (char *)(((uintptr_t)mem + GIB - 1) & ~(GIB - 1));
	for (i = 0; i < TIMES_8_TIB; i++)
		if (mmap(mem + i * size, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
			return NULL;
	return mem;
}

TEST_F(peers, more_pages_than_31_bits)
{
	uint64_t size = TIMES_8_TIB * GIB_PAGES * GIB, pages = size / page_size();
	char *mem;

	if (read_number(FREE_GIB_PAGES) < GIB_PAGES)
		SKIP(return, "needs three free huge pages of 1 GiB, as make soak has");
	mem = map_8_tib();
	ASSERT_TRUE(!!mem);
	ASSERT_EQ(0, pin(self->fd, mem, size)) {
		TH_LOG("%s", strerror(errno));
	}
	EXPECT_LT(1ULL << 31, pages);
	EXPECT_PINNED(self->fd, 1, pages);
	EXPECT_EQ(self->system_pins + (long long)pages, system_pins());
	EXPECT_EQ(0, unpin(self->fd, mem, size));
	EXPECT_PINNED(self->fd, 0, 0);
	EXPECT_EQ(self->system_pins, system_pins());
}
#endif

/* ---- no memory left ---- */

/* PIN itself uses more memory than the cgroup has. */
static void __attribute__((noreturn)) pin_too_much(void)
{
	char *mem = map_pages(64 << 8);
	int fd = mempinfd();

	if (fd < 0 || !mem || cgroup_join())
		_exit(1);
	pin(fd, mem, (64 << 8) * page_size());
	_exit(2);
}

TEST_F(peers, killed_for_lack_of_memory_in_a_pin)
{
	int status;
	pid_t child;

	if (cgroup_make())
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, write_text(CGROUP "/memory.max", "16M"));
	EXPECT_EQ(0, kmsg_write(KMSG_EXPECTED));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		pin_too_much();
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(0, kmsg_write(KMSG_UNEXPECTED));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(0, cgroup_end());
}

/*
 * What the kernel remembers of pins does not fit.  Nobody can be killed for it,
 * and as long as that is so the child must not touch a page that is new to it.
 */
static int pin_until_refused(struct progress *progress)
{
	char *mem = map_pages(1);
	int fd = mempinfd();

	if (fd < 0 || !mem || write_text("/proc/self/oom_score_adj", "-1000"))
		return 1;
	*mem = 1;
	if (cgroup_join())
		return 2;
	while (!pin(fd, mem, 1))
		progress->pins++;
	progress->error = errno;
	while (!progress->go_on)
		sched_yield();
	if (progress->error != ENOMEM || vm_pin(getpid()) != progress->pins)
		return 3;
	while (progress->pins && !unpin(fd, mem, 1))
		progress->pins--;
	return progress->pins || vm_pin(getpid()) ? 4 : 0;
}

TEST_F(peers, cgroup_refuses_what_pins_cost)
{
	struct progress *progress = map_progress();
	pid_t child;

	if (cgroup_make())
		SKIP(return, "no memory cgroups");
	ASSERT_EQ(0, write_text(CGROUP "/memory.max", "1M"));
	EXPECT_EQ(0, kmsg_write(KMSG_EXPECTED));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(pin_until_refused(progress));
	while (!progress->error && !waitpid(child, NULL, WNOHANG))
		usleep(SECOND / 100);
	EXPECT_LT(0, progress->pins);
	EXPECT_EQ(0, write_text(CGROUP "/memory.max", "max"));
	progress->go_on = true;
	EXPECT_EQ(0, wait_child(child));
	EXPECT_EQ(0, kmsg_write(KMSG_UNEXPECTED));
	EXPECT_EQ(0, cgroup_end());
}

/* ---- a memory error, a core dump ---- */

static void ignore_signal(int nr)
{
}

TEST_F(peers, poisoned_while_pinned)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	char *mem = map_pages(3);

	ASSERT_TRUE(!!mem);
	ASSERT_EQ(0, pin(self->fd, mem, 3 * page_size()));
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	if (madvise(mem + page_size(), page_size(), MADV_HWPOISON)) {
		ASSERT_NE(EPERM, errno);
		SKIP(return, "this kernel does not inject this memory error: %s",
		     strerror(errno));
	}
	EXPECT_PINNED(self->fd, 1, 3);
	EXPECT_EQ(0, unpin(self->fd, mem, 3 * page_size()));
	EXPECT_PINNED(self->fd, 0, 0);
}

/* The first half is pinned; of the other only the first page is ever written. */
#define DUMPED_PAGES	80
#define ZERO_PAGES	(DUMPED_PAGES / 2 - 1)

static void __attribute__((noreturn)) dump_core(void)
{
	size_t at, size = DUMPED_PAGES * page_size();
	char *mem = map_pages(DUMPED_PAGES);

	if (!mem || set_limit(RLIMIT_CORE, RLIM_INFINITY) || chdir("/tmp"))
		_exit(1);
	/* fails where there are no huge pages to refuse: just as well */
	madvise(mem, size, MADV_NOHUGEPAGE);
	mem[size / 2] = 1;
	for (at = size / 2; at < size; at += page_size())
		touch(mem + at);
	if (pin(mempinfd(), mem, size / 2))
		_exit(1);
	abort();
}

/* Bytes of a file that there are no blocks for, or -1. */
static long long holes(const char *path)
{
	struct stat file;

	if (stat(path, &file))
		return -1;
	return (long long)file.st_size - 512 * (long long)file.st_blocks;
}

TEST_F(peers, core_dump_with_pins)
{
	struct setting pattern, by_pid;
	char core[64];
	int status;
	pid_t child;

	if (setting_change(&pattern, "/proc/sys/kernel/core_pattern", "core"))
		SKIP(return, "the kernel writes no core files");
	ASSERT_EQ(0, setting_change(&by_pid, "/proc/sys/kernel/core_uses_pid", "1"));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		dump_core();
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	EXPECT_TRUE(WCOREDUMP(status));
	snprintf(core, sizeof(core), "/tmp/core.%d", child);
	/* the zero page is nothing to write down */
	EXPECT_LE((long long)(ZERO_PAGES * page_size()), holes(core));
	EXPECT_EQ(0, unlink(core));
	setting_restore(&by_pid);
	setting_restore(&pattern);
	EXPECT_EQ(self->system_pins, system_pins());
}

/* ---- others who may touch the memory ---- */

struct victim {
	struct region r;
	uint64_t *frames;
	pid_t pid;
	int sock;
};

/* Tells what its frames are when asked to, by exit status 0 if they stayed. */
static void __attribute__((noreturn)) victim_main(int sock)
{
	struct region r;
	uint64_t *frames;
	int fd;

	if (region_map(&r, MEM_ANON, 16 * page_size()) || region_fill(&r, 1))
		_exit(1);
	fd = mempinfd();
	if (pin(fd, r.addr, r.size))
		_exit(2);
	frames = region_frames(&r);
	if (send(sock, &r, sizeof(r), 0) != sizeof(r) || await(sock))
		_exit(3);
	if (region_moved(&r, frames))
		_exit(4);
	_exit(unpin(fd, r.addr, r.size) ? 5 : 0);
}

static bool victim_start(struct victim *v)
{
	int socks[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, socks))
		return false;
	v->sock = socks[0];
	v->pid = fork();
	if (!v->pid) {
		close(socks[0]);
		victim_main(socks[1]);
	}
	close(socks[1]);
	return recv(v->sock, &v->r, sizeof(v->r), MSG_WAITALL) == sizeof(v->r);
}

static int victim_end(struct victim *v)
{
	if (tell(v->sock))
		return -1;
	return wait_child(v->pid);
}

TEST_F(peers, advised_from_outside)
{
	static const int advices[] = { MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE_ };
	struct victim v;
	struct iovec range;
	size_t i;
	int pidfd;

	ASSERT_TRUE(victim_start(&v));
	range = (struct iovec){ v.r.addr, v.r.size };
	pidfd = syscall(__NR_pidfd_open, v.pid, 0);
	ASSERT_LE(0, pidfd);
	for (i = 0; i < ARRAY_SIZE(advices); i++)
		syscall(__NR_process_madvise, pidfd, &range, 1UL, advices[i], 0);
	EXPECT_EQ(0, victim_end(&v));
}

TEST_F(peers, traced)
{
	struct victim v;
	size_t at;
	int status;

	ASSERT_TRUE(victim_start(&v));
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, v.pid, NULL, NULL));
	ASSERT_EQ(v.pid, waitpid(v.pid, &status, 0));
	for (at = 0; at < v.r.size; at += page_size())
		EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, v.pid, v.r.addr + at, 5L));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, v.pid, NULL, NULL));
	EXPECT_EQ(0, victim_end(&v));
}

TEST_HARNESS_MAIN
