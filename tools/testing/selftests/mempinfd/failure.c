// SPDX-License-Identifier: GPL-2.0
/* A fatal signal, as a tracer sees it. */
#include "mempinfd_util.h"

#include <signal.h>
#include <sys/stat.h>
#include <linux/userfaultfd.h>

#define TRACE_DIR	TRACE_INSTANCES "/mempinfd_failure"
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

	if (!has_tracing())
		SKIP(return, "this kernel has no tracing");
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
