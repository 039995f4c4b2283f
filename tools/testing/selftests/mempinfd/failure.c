// SPDX-License-Identifier: GPL-2.0
/* Failures that do not come by themselves: no memory left, a fatal signal. */
#include "mempinfd_util.h"

#include <signal.h>
#include <sys/stat.h>
#include <linux/userfaultfd.h>

/* ---- the kernel has no memory for us ---- */

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

/* Make the @nth allocation of this thread from now on fail. */
static void fail_later(int fail_nth, int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", nth);

	if (write(fail_nth, text, len) != len)
		perror(FAIL_NTH);
}

/* Take that back.  Returns how many allocations were left until it failed. */
static int fail_no_more(int fail_nth)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 0)
		perror(FAIL_NTH);
	fail_later(fail_nth, 0);
	return atoi(text);
}

FIXTURE(no_memory)
{
	struct setting settings[ARRAY_SIZE(injection)];
	long long system_pins;
	size_t size;
	char *mem;	/* not touched yet */
	int fd;
	int fail_nth;	/* to open it takes allocations, to use it none */
};

FIXTURE_VARIANT(no_memory)
{
	size_t pages;
};

FIXTURE_VARIANT_ADD(no_memory, one_page) { .pages = 1 };
FIXTURE_VARIANT_ADD(no_memory, many_pages) { .pages = 40 };

FIXTURE_SETUP(no_memory)
{
	size_t i;

	self->fail_nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	if (self->fail_nth < 0)
		SKIP(return, "the kernel has no fault injection");
	self->system_pins = system_pins();
	self->size = variant->pages * page_size();
	self->mem = map_pages(variant->pages);
	ASSERT_TRUE(!!self->mem);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	for (i = 0; i < ARRAY_SIZE(injection); i++)
		ASSERT_EQ(0, setting_change(&self->settings[i], injection[i].path,
					    injection[i].value));
}

FIXTURE_TEARDOWN(no_memory)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(injection); i++)
		setting_restore(&self->settings[i]);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
}

/* Let one allocation after the other fail until there are no more. */
TEST_F(no_memory, for_pin)
{
	int nth, ret, left, failed = 0;

	for (nth = 1, left = 0; !left; nth++) {
		ASSERT_EQ(0, madvise(self->mem, self->size, MADV_DONTNEED));
		fail_later(self->fail_nth, nth);
		ret = pin(self->fd, self->mem, self->size) ? errno : 0;
		left = fail_no_more(self->fail_nth);
		if (ret) {
			EXPECT_EQ(ENOMEM, ret);
			EXPECT_PINNED(self->fd, 0, 0);
			failed++;
		} else {
			EXPECT_PINNED(self->fd, 1, variant->pages);
			EXPECT_EQ(0, unpin(self->fd, self->mem, self->size));
		}
	}
	/* PIN tries once more where it got some pages, and gives up else. */
	EXPECT_LT(variant->pages, nth);
	EXPECT_LT(0, failed);
}

TEST_F(no_memory, for_call)
{
	int nth, fd, left, failed = 0;

	for (nth = 1, left = 0; !left; nth++) {
		fail_later(self->fail_nth, nth);
		fd = mempinfd();
		left = fail_no_more(self->fail_nth);
		if (fd < 0) {
			EXPECT_EQ(ENOMEM, errno);
			failed++;
		} else {
			EXPECT_EQ(0, close(fd));
		}
	}
	EXPECT_LT(0, failed);
}

/* To undo a pin takes no memory. */
TEST_F(no_memory, for_unpin)
{
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pin(self->fd, self->mem, self->size));
	for (i = 0; i < 3; i++) {
		fail_later(self->fail_nth, 1);
		EXPECT_EQ(0, unpin(self->fd, self->mem, self->size));
		EXPECT_EQ(1, fail_no_more(self->fail_nth));
	}
	EXPECT_PINNED(self->fd, 0, 0);
}

/* ---- a fatal signal ---- */

#define TRACE_DIR	"/sys/kernel/tracing/instances/mempinfd_failure"
#define CHILD_FD	100
#define SECOND		1000000

/* Nobody brings this page. */
static void *missing_page(void)
{
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	void *page = map_pages(1);

	reg.range.start = (uintptr_t)page;
	reg.range.len = page_size();
	if (ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		return NULL;
	return page;
}

static void pin_missing_page(void)
{
	void *page = missing_page();

	if (page && dup2(mempinfd(), CHILD_FD) == CHILD_FD)
		pin(CHILD_FD, page, page_size());
	_exit(1);
}

static bool wait_for_charge(pid_t child)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (fdinfo(child, CHILD_FD, "charged_pages") == 1)
			return true;
		usleep(SECOND / 100);
	}
	return false;
}

/* A tracer sees what the call returns to a process that never reads it. */
TEST(fatal_signal)
{
	char trace[8192], wanted[16];
	int status;
	pid_t child;

	ASSERT_EQ(0, mkdir(TRACE_DIR, 0700));
	EXPECT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/mempin_pin/enable", "1"));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		pin_missing_page();
	EXPECT_TRUE(wait_for_charge(child));
	usleep(SECOND / 10);
	EXPECT_EQ(0, kill(child, SIGKILL));
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_EQ(0, read_text(TRACE_DIR "/trace", trace, sizeof(trace)));
	snprintf(wanted, sizeof(wanted), " ret=%d\n", -EINTR);
	EXPECT_NE(NULL, strstr(trace, wanted));
	EXPECT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/mempin_pin/enable", "0"));
	EXPECT_EQ(0, rmdir(TRACE_DIR));
}

TEST_HARNESS_MAIN
