// SPDX-License-Identifier: GPL-2.0
/* Run by qemu/ after all other tests: they must have left nothing behind. */
#include "mempinfd_util.h"

TEST(every_pin_was_released)
{
	EXPECT_EQ(0, system_pins());
}

/* A page more than what is charged to the user would be above the limit. */
static void pin_at_limit_of_one(void)
{
	char *mem = map_pages(1);
	int fd = mempinfd();

	if (fd < 0 || !mem || set_limit(RLIMIT_MEMLOCK, page_size()) ||
	    drop_capability(CAP_IPC_LOCK) || pin(fd, mem, 1))
		_exit(errno);
}

TEST(nothing_charged_to_root)
{
	IN_CHILD(pin_at_limit_of_one());
}

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define KMEMLEAK_AGE	6	/* seconds, after which an object is looked at */

/* The first scan takes checksums, the second reports what has kept its own. */
TEST(no_memory_leaked)
{
	char leaks[8192];

	if (access(KMEMLEAK, W_OK))
		SKIP(return, "the kernel has no kmemleak");
	sleep(KMEMLEAK_AGE);
	ASSERT_EQ(0, write_text(KMEMLEAK, "scan"));
	ASSERT_EQ(0, write_text(KMEMLEAK, "scan"));
	ASSERT_EQ(0, read_text(KMEMLEAK, leaks, sizeof(leaks)));
	EXPECT_STREQ("", leaks);
}

/* What the kernel says of what the tests do, and would without mempinfd(). */
static const char *const provoked[] = {
	"Adding ",			/* swap */
	"Built ",			/* zone lists: memory on and off line */
	"EXT2-fs (",
	"Fallback order for Node ",
	"Injecting memory failure ",
	"Memory failure: ",
	"Offlined Pages ",
	"Policy zone: ",
	"Soft offline: ",
	"Soft offlining ",
	"VFS: file-max limit ",
	"ext2 filesystem being mounted at ",
	NULL
};

static bool is_provoked(const char *record)
{
	const char *message = strchr(record, ';');
	const char *const *start;

	for (start = provoked; message && *start; start++)
		if (!strncmp(message + 1, *start, strlen(*start)))
			return true;
	return false;
}

/* From the kernel, and neither provoked nor a kernel thread's own business. */
static bool is_bad(const char *record)
{
	return atoi(record) < 8 && !is_provoked(record) &&
	       !kmsg_is_unrelated(record);
}

/*
 * init marked the log when it began to run tests.  Where a test has the kernel
 * log more than a line, a report of an out-of-memory kill say, it put that
 * between two marks of its own.
 */
TEST(nothing_logged)
{
	bool begun = false, expected = false;
	char record[8192];
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	ssize_t len;

	if (has_kcsan())
		SKIP(return, "KCSAN logs races of others");
	ASSERT_LE(0, fd);
	while ((len = read(fd, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		if (strstr(record, "mempinfd: tests begin"))
			begun = true;
		else if (strstr(record, KMSG_EXPECTED))
			expected = true;
		else if (strstr(record, KMSG_UNEXPECTED))
			expected = false;
		else if (begun && !expected && is_bad(record))
			EXPECT_STREQ("", record);
	}
	EXPECT_TRUE(begun);
	close(fd);
}

TEST_HARNESS_MAIN
