// SPDX-License-Identifier: GPL-2.0
/*
 * Let one point of failure after the other fail: each allocation and each copy
 * from and to user space that there is on the way through mempinfd(), PIN,
 * UNPIN, INFO, fork, exec, exit and close.
 *
 * A sweep calls the same thing again and again, with the first point failing,
 * the second and so on, until a call does not get as far as that point.  A
 * kernel with CONFIG_FAILSLAB and CONFIG_FAIL_PAGE_ALLOC has allocations for
 * points, with CONFIG_FAULT_INJECTION_USERCOPY the copies as well.  Not each
 * failure makes the call fail: some have a second choice.
 */
#include "mempinfd_place.h"
#include "mempinfd_proc.h"

#include <sys/shm.h>

#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define DEBUG_DIR	"/sys/kernel/debug/"

/* Let every allocation fail that is asked to, and say nothing of it. */
static const struct {
	const char *path, *value;
} injection[] = {
	{ DEBUG_DIR "failslab/ignore-gfp-wait", "N" },
	{ DEBUG_DIR "failslab/verbose", "0" },
	{ DEBUG_DIR "fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUG_DIR "fail_page_alloc/ignore-gfp-highmem", "N" },
	{ DEBUG_DIR "fail_page_alloc/min-order", "0" },
	{ DEBUG_DIR "fail_page_alloc/verbose", "0" },
};

static void injection_set_up(struct setting settings[ARRAY_SIZE(injection)])
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(injection); i++)
		setting_change(&settings[i], injection[i].path, injection[i].value);
	/* not in every kernel, and nothing to restore */
	write_text(DEBUG_DIR "fail_usercopy/verbose", "0");
}

static void injection_restore(struct setting settings[ARRAY_SIZE(injection)])
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(injection); i++)
		setting_restore(&settings[i]);
}

/* Then the copy of its argument is the first point of an ioctl. */
static bool has_usercopy_failures(void)
{
	return !access(DEBUG_DIR "fail_usercopy", F_OK);
}

static bool has_slab_failures(void)
{
	return !access(DEBUG_DIR "failslab", F_OK);
}

/* ---- one point ---- */

/* A sweep that comes so far does not end. */
#define NTH_MAX		5000

/* Make the @nth point that this thread comes to from now on fail. */
static int fail_later(int fail_nth, int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	return write(fail_nth, text, len) == len ? 0 : -1;
}

/*
 * Take that back.  Returns whether the point was reached: by what was to be
 * tested, that is, and not by the copies that are made in here.
 */
static bool fail_no_more(int fail_nth)
{
	char text[16] = "";
	bool reached;

	reached = pread(fail_nth, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
	while (fail_later(fail_nth, 0))
		reached = false;
	return reached;
}

/* What PIN is to answer when the @nth point of it fails and it cannot do without. */
static int wanted_errno(int nth)
{
	return nth == 1 && has_usercopy_failures() ? EFAULT : ENOMEM;
}

/* ---- what all sweeps have ---- */

FIXTURE(nth)
{
	struct setting settings[ARRAY_SIZE(injection)];
	long long system_pins;
	size_t size;
	char *mem;
	int fd;
	int fail_nth;	/* to open it takes allocations, to use it none */
};

FIXTURE_SETUP(nth)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return, "the kernel has no fault injection");
	self->system_pins = system_pins();
	self->size = 40 * page_size();
	self->mem = map_pages(40);
	ASSERT_TRUE(!!self->mem);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	injection_set_up(self->settings);
}

FIXTURE_TEARDOWN(nth)
{
	injection_restore(self->settings);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
}

static int next_fd(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

static void sweep_calls(struct __test_metadata *_metadata,
			const struct _test_data_nth *self)
{
	int nth, fd, free_fd = next_fd(), failed = 0;
	bool reached = true;

	for (nth = 1; reached && nth < NTH_MAX; nth++) {
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		fd = mempinfd();
		reached = fail_no_more(self->fail_nth);
		if (fd < 0) {
			EXPECT_EQ(ENOMEM, errno);
			failed++;
		} else {
			EXPECT_PINNED(fd, 0, 0);
			EXPECT_EQ(0, close(fd));
		}
		EXPECT_EQ(free_fd, next_fd());
	}
	EXPECT_LT(0, failed);
}

TEST_F(nth, call)
{
	sweep_calls(_metadata, self);
}

/* The first fd of an address space has to find out when that ends. */
TEST_F(nth, first_call)
{
	EXPECT_EQ(0, close(self->fd));
	sweep_calls(_metadata, self);
	self->fd = mempinfd();
}

/* INFO allocates nothing, and copies in and out. */
TEST_F(nth, info)
{
	struct mem_pin_info info;
	bool reached = true;
	int nth, ret, failed = 0;

	for (nth = 1; reached && nth < NTH_MAX; nth++) {
		info = (struct mem_pin_info) { .size = sizeof(info) };
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		ret = ioctl(self->fd, MEM_CMD_INFO, &info);
		reached = fail_no_more(self->fail_nth);
		if (ret) {
			EXPECT_EQ(EFAULT, errno);
			failed++;
		}
	}
	EXPECT_EQ(has_usercopy_failures() ? 2 : 0, failed);
}

/* UNPIN can fail to read its argument, and in no other way. */
TEST_F(nth, unpin)
{
	int copies = has_usercopy_failures() ? 1 : 0;
	bool reached = true;
	int nth, ret;

	for (nth = 1; reached && nth < NTH_MAX; nth++) {
		ASSERT_EQ(0, pin(self->fd, self->mem, self->size));
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		ret = unpin(self->fd, self->mem, self->size);
		reached = fail_no_more(self->fail_nth);
		if (!ret)
			continue;
		EXPECT_EQ(EFAULT, errno);
		EXPECT_PINNED(self->fd, 1, 40);
		EXPECT_EQ(0, unpin(self->fd, self->mem, self->size));
	}
	EXPECT_EQ(1 + copies, nth - 1);
	EXPECT_PINNED(self->fd, 0, 0);
}

/* To close takes no memory, whatever is still pinned. */
TEST_F(nth, close)
{
	int i, fd;

	for (i = 0; i < 3; i++) {
		fd = mempinfd();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, pin(fd, self->mem, self->size));
		ASSERT_EQ(0, pin(fd, self->mem, 1));
		ASSERT_EQ(0, fail_later(self->fail_nth, 1));
		EXPECT_EQ(0, close(fd));
		EXPECT_FALSE(fail_no_more(self->fail_nth));
		EXPECT_PINNED(self->fd, 0, 0);
		EXPECT_EQ(self->system_pins, system_pins());
	}
}

/* ---- PIN ---- */

/*
 * The first pin of an fd needs room that the others find there, and needs it last.
 * The pages are there before: each that a failing PIN brings would be a point less
 * for the next one, and the sweep would end before it comes to that room.
 */
TEST_F(nth, first_pin)
{
	int nth, fd, ret, failed = 0;
	bool reached = true;

	memset(self->mem, 1, self->size);
	for (nth = 1; reached && nth < NTH_MAX; nth++) {
		fd = mempinfd();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		ret = pin(fd, self->mem, self->size) ? errno : 0;
		reached = fail_no_more(self->fail_nth);
		if (ret) {
			EXPECT_EQ(wanted_errno(nth), ret);
			EXPECT_PINNED(fd, 0, 0);
			EXPECT_EQ(self->system_pins, system_pins());
			failed++;
		}
		EXPECT_EQ(0, close(fd));
	}
	/* the runs, the pin, and where it is found again */
	EXPECT_LE(has_slab_failures() ? 3 : 1, failed);
}

FIXTURE(nth_pin)
{
	struct setting settings[ARRAY_SIZE(injection)];
	struct setting thp[2];
	struct block block;
	long long system_pins;
	struct region r;
	int fd;
	int fail_nth;
};

FIXTURE_VARIANT(nth_pin)
{
	enum memory_kind kind;
	size_t pages;
	size_t touched;		/* that many pages are there already */
	bool scattered;		/* no two neighbours */
	bool movable;		/* and may not stay where they are */
};

FIXTURE_VARIANT_ADD(nth_pin, one_page) { MEM_ANON, 1 };
FIXTURE_VARIANT_ADD(nth_pin, anon) { MEM_ANON, 40 };
FIXTURE_VARIANT_ADD(nth_pin, thp) { MEM_THP, 1 };
FIXTURE_VARIANT_ADD(nth_pin, mthp_64k) { MEM_MTHP_64K, 1 };
FIXTURE_VARIANT_ADD(nth_pin, hugetlb_private) { MEM_HUGETLB_PRIVATE, 1 };
FIXTURE_VARIANT_ADD(nth_pin, hugetlb_shared) { MEM_HUGETLB_SHARED, 1 };
FIXTURE_VARIANT_ADD(nth_pin, file_private) { MEM_FILE_PRIVATE, 10 };
FIXTURE_VARIANT_ADD(nth_pin, memfd) { MEM_MEMFD, 10 };
FIXTURE_VARIANT_ADD(nth_pin, memfd_thp) { MEM_MEMFD_THP, 1 };
FIXTURE_VARIANT_ADD(nth_pin, batch_boundary) { MEM_ANON, 1040, 1020 };
FIXTURE_VARIANT_ADD(nth_pin, scattered) { MEM_MEMFD, 700, 700, true };
FIXTURE_VARIANT_ADD(nth_pin, movable) { MEM_ANON, 10, 10, .movable = true };

FIXTURE_SETUP(nth_pin)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return, "the kernel has no fault injection");
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no %s", missing_kind(variant->kind));
	if (variant->movable && block_find_movable_logged(&self->block))
		SKIP(return, "no memory can go offline");
	self->system_pins = system_pins();
	ASSERT_EQ(0, thp_settings_for(variant->kind, self->thp));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	injection_set_up(self->settings);
}

FIXTURE_TEARDOWN(nth_pin)
{
	injection_restore(self->settings);
	setting_restore(&self->thp[1]);
	setting_restore(&self->thp[0]);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
	if (variant->movable)
		block_restore(&self->block);
}

/*
 * Pages of the file in the opposite order of addresses, and so far apart that
 * each can be where the caches want it: they may know a page by its address.
 */
static int scatter(const struct region *r)
{
	int file = memfd_create("scattered", MFD_CLOEXEC);
	size_t page = page_size(), i = region_base_pages(r);
	char *addr = r->addr;

	if (file < 0 || ftruncate(file, i * SHMLBA))
		return -1;
	for (; i--; addr += page)
		if (mmap(addr, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 file, i * SHMLBA + (uintptr_t)addr % SHMLBA) == MAP_FAILED)
			return -1;
	return close(file);
}

static int map_for(struct region *r, const struct _fixture_variant_nth_pin *variant)
{
	if (region_map(r, variant->kind, variant->pages * page_size()))
		return -1;
	if (variant->scattered && scatter(r))
		return -1;
	memset(r->addr, 1, variant->touched * page_size());
	return 0;
}

/* Memory that can go offline is what its node uses first. */
static int map_in_block(struct region *r, const struct _fixture_variant_nth_pin *variant,
			const struct block *block)
{
	if (allocate_on(block->node) || map_for(r, variant))
		return -1;
	return allocate_on(-1) ?: !block_has(block, r->addr);
}

TEST_F(nth_pin, sweep)
{
	int nth, ret, failed = 0;
	bool reached = true;
	size_t pages;

	for (nth = 1; reached && nth < NTH_MAX; nth++) {
		ASSERT_EQ(0, variant->movable ?
			  map_in_block(&self->r, variant, &self->block) :
			  map_for(&self->r, variant));
		pages = region_base_pages(&self->r);
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		ret = pin(self->fd, self->r.addr, self->r.size) ? errno : 0;
		reached = fail_no_more(self->fail_nth);
		if (ret) {
			EXPECT_EQ(wanted_errno(nth), ret);
			EXPECT_PINNED(self->fd, 0, 0);
			EXPECT_EQ(self->system_pins, system_pins());
			EXPECT_EQ(0, pin(self->fd, self->r.addr, self->r.size));
			failed++;
		}
		EXPECT_PINNED(self->fd, 1, pages);
		EXPECT_FALSE(variant->movable && block_has(&self->block, self->r.addr));
		EXPECT_EQ(0, unpin(self->fd, self->r.addr, self->r.size));
		region_unmap(&self->r);
	}
	EXPECT_LT(0, failed);
	TH_LOG("%d points, %d of them made PIN fail", nth - 2, failed);
}

/* ---- the life of a process that has pins ---- */

FIXTURE(nth_life)
{
	struct setting settings[ARRAY_SIZE(injection)];
	long long system_pins;
	struct region small, huge;
	int fd;
	int fail_nth;
};

FIXTURE_SETUP(nth_life)
{
	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return, "the kernel has no fault injection");
	self->system_pins = system_pins();
	ASSERT_EQ(0, region_map(&self->small, MEM_ANON, 8 * page_size()));
	ASSERT_EQ(0, region_fill(&self->small, 1));
	/* where nothing is huge, another page that is small */
	ASSERT_EQ(0, region_map(&self->huge, thp_size() ? MEM_THP : MEM_ANON, 1));
	ASSERT_EQ(0, region_fill(&self->huge, 2));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	injection_set_up(self->settings);
	/* user space can be hit as well: "Huh VM_FAULT_OOM leaked out" */
	ASSERT_EQ(0, kmsg_write(KMSG_EXPECTED));
}

FIXTURE_TEARDOWN(nth_life)
{
	injection_restore(self->settings);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, kmsg_write(KMSG_UNEXPECTED));
}

static int pin_both(int fd, const struct region *small, const struct region *huge)
{
	return pin(fd, small->addr, small->size) ?: pin(fd, huge->addr, huge->size);
}

/* The parent's pins are its own, whether the child comes to be or not. */
TEST_F(nth_life, fork)
{
	size_t pages = region_base_pages(&self->small) + region_base_pages(&self->huge);
	uint64_t *frames;
	bool reached = true;
	int nth, failed = 0;
	pid_t child;

	ASSERT_EQ(0, pin_both(self->fd, &self->small, &self->huge));
	/* only now: PIN moves what is in an area of CMA */
	frames = region_frames(&self->huge);
	/* far on, page after page of the huge one is copied, and all are alike */
	for (nth = 1; reached && nth < NTH_MAX; nth += nth < 200 ? 1 : 17) {
		ASSERT_EQ(0, fail_later(self->fail_nth, nth));
		child = fork();
		if (!child)
			_exit(0);
		reached = fail_no_more(self->fail_nth);
		if (child < 0) {
			EXPECT_EQ(ENOMEM, errno);
			failed++;
		} else {
			EXPECT_EQ(0, wait_child(child));
		}
		EXPECT_PINNED(self->fd, 2, pages);
		EXPECT_EQ(0, region_moved(&self->huge, frames));
	}
	EXPECT_LT(0, failed);
	TH_LOG("up to point %d, %d of them made fork fail", nth, failed);
	free(frames);
}

/* The child's files stay with the parent. */
#define CHILD_FD	100
#define CHILD_FAIL_NTH	101

/* How a child ends that finds something wrong; a failing exec has its own ways. */
#define WRONG		200

static bool move_fd(int from, int to)
{
	return dup2(from, to) == to && !close(from);
}

struct child {
	const struct region *small, *huge;
	int nth;
	void (*end)(void);
};

/* Has pins, and from then on the point of failure number nth fails. */
static int child_main(void *arg)
{
	const struct child *child = arg;

	if (!move_fd(open(FAIL_NTH, O_RDWR | O_CLOEXEC), CHILD_FAIL_NTH) ||
	    !move_fd(mempinfd(), CHILD_FD) ||
	    pin_both(CHILD_FD, child->small, child->huge) ||
	    fail_later(CHILD_FAIL_NTH, child->nth))
		return WRONG;
	child->end();
	return 0;
}

/* exec may fail: then the pins are still there. */
static void child_exec(void)
{
	struct mem_pin_info info;

	exec_nothing();
	fail_no_more(CHILD_FAIL_NTH);
	_exit(pin_info(CHILD_FD, &info) || info.pins != 2 ? WRONG : 0);
}

static void child_exit(void)
{
	_exit(0);
}

/*
 * Whatever happens in its last moments, nothing of the child's is left.  Even
 * when it is gone, and not yet waited for, its point of failure can be read.
 */
static bool child_ended(struct __test_metadata *_metadata, pid_t child, int *status)
{
	char path[64];
	siginfo_t info;
	long long left;

	EXPECT_EQ(0, waitid(P_PID, child, &info, WEXITED | WNOWAIT));
	snprintf(path, sizeof(path), "/proc/%d/fail-nth", child);
	left = read_number(path);
	EXPECT_EQ(child, waitpid(child, status, 0));
	EXPECT_LE(0, left);
	EXPECT_HELD(CHILD_FD, 0, 0);
	EXPECT_EQ(0, close(CHILD_FD));
	EXPECT_EQ(0, close(CHILD_FAIL_NTH));
	return !left;
}

static void sweep_of_child(struct __test_metadata *_metadata,
			   struct _test_data_nth_life *self, void (*end)(void))
{
	struct child child = { &self->small, &self->huge, .end = end };
	bool reached = true;
	int status;
	pid_t pid;

	for (child.nth = 1; reached && child.nth < NTH_MAX; child.nth++) {
		pid = fork_with_files(child_main, &child);
		ASSERT_LE(0, pid);
		reached = child_ended(_metadata, pid, &status);
		EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == WRONG);
		EXPECT_EQ(self->system_pins, system_pins());
	}
	EXPECT_EQ(0, status);
	TH_LOG("%d points", child.nth - 2);
}

TEST_F(nth_life, exec)
{
	sweep_of_child(_metadata, self, child_exec);
}

TEST_F(nth_life, exit)
{
	sweep_of_child(_metadata, self, child_exit);
}

TEST_HARNESS_MAIN
