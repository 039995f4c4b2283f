// SPDX-License-Identifier: GPL-2.0
/*
 * What must be true on every architecture, for programs with a C library and
 * for those that have only tools/include/nolibc, which the kselftest harness
 * cannot be built with.  Asks the kernel alone: no /sys, no debugfs.
 */
#include <stdbool.h>
#ifndef NOLIBC
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#endif

#include <linux/capability.h>

#include "../kselftest.h"
#include "mempinfd_calls.h"

#define PAGES	8
#define USER	4001

/* The first of its name has short numbers, which a kernel may not know. */
#ifndef __NR_setuid32
#define __NR_setuid32 __NR_setuid
#endif
#ifndef __NR_fcntl
#define __NR_fcntl __NR_fcntl64
#endif

static char *mem;		/* PAGES pages, new for each test */
static size_t page;
static int fd;			/* a mempinfd, new for each test */
static bool passed;

#define CHECK(condition)						\
	do {								\
		if (!(condition)) {					\
			ksft_print_msg("line %d: %s: errno %d\n",	\
				       __LINE__, #condition, errno);	\
			passed = false;					\
		}							\
	} while (0)

#define CHECK_ERRNO(error, call)	CHECK((call) == -1 && errno == (error))

/* ---- what the kernel says ---- */

/* The kilobytes behind "VmPin:" in /proc/self/status, or -1. */
static long vm_pin_kilobytes(void)
{
	static const char name[] = "VmPin:";
	int status = open("/proc/self/status", O_RDONLY);
	static char text[4096 + sizeof(name)];
	const char *at = text;
	ssize_t len;

	len = read(status, text, 4096);
	close(status);
	if (len <= 0)
		return -1;
	text[len] = 0;
	while (*at && memcmp(at, name, sizeof(name) - 1))
		at++;
	if (!*at)
		return -1;
	at += sizeof(name) - 1;
	while (*at == ' ' || *at == '\t')
		at++;
	return atol(at);
}

/* No division: on some architectures that is a function of the library. */
static bool vm_pin_is(long pages)
{
	return vm_pin_kilobytes() == pages * (long)(page >> 10);
}

static bool holds(uint64_t pins, uint64_t pages)
{
	struct mem_pin_info info;

	return !pin_info(fd, &info) && info.pins == pins &&
	       info.pinned_pages == pages && info.charged_pages == pages &&
	       info.page_size == page && vm_pin_is(pages);
}

/* ---- processes ---- */

static int change_access(void *addr, size_t size, int prot)
{
	return syscall(__NR_mprotect, addr, size, prot);
}

static int set_memlock(uint64_t bytes)
{
	const uint64_t limit[2] = { bytes, bytes };

	return syscall(__NR_prlimit64, 0, RLIMIT_MEMLOCK, limit, NULL);
}

static int drop_ipc_lock(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(__NR_capget, &header, data))
		return -1;
	data[0].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	data[0].permitted &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(__NR_capset, &header, data);
}

/* Not every architecture has wait4(). */
static bool child_passes(pid_t child)
{
	uint64_t siginfo[16] = {};	/* si_status is its sixth int, or later */
	const int *word = (const int *)siginfo;

	if (child < 0 || syscall(__NR_waitid, P_PID, child, siginfo, WEXITED, NULL))
		return false;
	/* behind three ints, padding, pid and uid, comes the exit status */
	return word[sizeof(long) == 8 ? 6 : 5] == 0;
}

/* Go on with @test in a process of its own. */
static void in_child(void (*test)(void))
{
	pid_t child = fork();

	if (!child) {
		passed = true;
		test();
		exit(!passed);
	}
	CHECK(child_passes(child));
}

/* ---- tests ---- */

static void close_on_exec(void)
{
	CHECK(fd >= 0);
	CHECK(syscall(__NR_fcntl, fd, F_GETFD) == FD_CLOEXEC);
}

static void counts_pages(void)
{
	CHECK(holds(0, 0));
	CHECK(pin(fd, mem, page) == 0);
	CHECK(holds(1, 1));
	CHECK(pin(fd, mem + page - 1, 2) == 0);
	CHECK(holds(2, 3));
	CHECK(unpin(fd, mem, 1) == 0);
	CHECK(unpin(fd, mem + 1, page) == 0);
	CHECK(holds(0, 0));
}

static void counts_pins(void)
{
	CHECK(pin(fd, mem, PAGES * page) == 0);
	CHECK(pin(fd, mem, PAGES * page) == 0);
	CHECK(holds(2, 2 * PAGES));
	CHECK_ERRNO(ENOENT, unpin(fd, mem, page));
	CHECK(unpin(fd, mem, PAGES * page) == 0);
	CHECK(unpin(fd, mem, PAGES * page) == 0);
	CHECK_ERRNO(ENOENT, unpin(fd, mem, PAGES * page));
	CHECK(holds(0, 0));
}

static void close_releases(void)
{
	int other = mempinfd();

	CHECK(pin(other, mem, PAGES * page) == 0);
	CHECK(vm_pin_is(PAGES));
	CHECK(close(other) == 0);
	CHECK(holds(0, 0));
}

static void bad_sizes(void)
{
	CHECK_ERRNO(EINVAL, pin(fd, mem, 0));
	CHECK_ERRNO(EINVAL, pin(fd, mem, UINT64_MAX));
	CHECK_ERRNO(EINVAL, pin_at(fd, UINT64_MAX, 2));
	CHECK_ERRNO(EINVAL, unpin(fd, mem, 0));
	CHECK(holds(0, 0));
}

/* Nothing is cut to a word: with the upper half lost these would be good. */
static void addresses_above(void)
{
	const uint64_t good = (uintptr_t)mem;

	/*
	 * Further up an address may have a tag, which does not count; and where
	 * memory is at the upper end this one is too low instead.
	 */
	CHECK_ERRNO(EFAULT, pin_at(fd, good ^ 1ULL << 55, 1));
	if (sizeof(long) == 4)
		CHECK_ERRNO(EFAULT, pin_at(fd, good | 1ULL << 32, 1));
	CHECK_ERRNO(EFAULT, pin_at(fd, UINT64_MAX, 1));
	CHECK_ERRNO(EFAULT, pin_at(fd, 0, 1));
	CHECK(holds(0, 0));
}

static void sizes_above(void)
{
	CHECK_ERRNO(sizeof(long) == 4 ? EFAULT : EINVAL,
		    pin(fd, mem, sizeof(long) == 4 ? 1ULL << 32 | page : ~0ULL));
	CHECK(holds(0, 0));
}

static void hole(void)
{
	CHECK(munmap(mem + 3 * page, page) == 0);
	CHECK_ERRNO(EFAULT, pin(fd, mem, PAGES * page));
	CHECK(holds(0, 0));
	CHECK(pin(fd, mem, 3 * page) == 0);
	CHECK(holds(1, 3));
}

static void no_access(void)
{
	CHECK(change_access(mem + page, page, PROT_NONE) == 0);
	CHECK_ERRNO(EFAULT, pin(fd, mem, PAGES * page));
	CHECK(holds(0, 0));
}

/* The zero page goes, and the page that comes stays. */
static void read_only(void)
{
	CHECK(mem[0] == 0);
	CHECK(change_access(mem, page, PROT_READ) == 0);
	CHECK(pin(fd, mem, page) == 0);
	CHECK(holds(1, 1));
	CHECK(change_access(mem, page, PROT_READ | PROT_WRITE) == 0);
	mem[0] = 1;
	CHECK(unpin(fd, mem, page) == 0);
	CHECK(mem[0] == 1);
}

static void unmapped_stays_charged(void)
{
	CHECK(pin(fd, mem, 2 * page) == 0);
	CHECK(munmap(mem, 2 * page) == 0);
	CHECK(holds(1, 2));
	CHECK(unpin(fd, mem, 2 * page) == 0);
	CHECK(holds(0, 0));
}

static void bad_argument(void)
{
	CHECK_ERRNO(EFAULT, ioctl(fd, MEM_CMD_PIN, NULL));
	CHECK_ERRNO(EFAULT, ioctl(fd, MEM_CMD_UNPIN, mem + PAGES * page - 8));
	CHECK_ERRNO(ENOTTY, ioctl(fd, _IO('M', 3), mem));
	CHECK(holds(0, 0));
}

/* One layout for all ABIs, and room for it to grow. */
static void info(void)
{
	struct {
		struct mem_pin_info info;
		uint64_t more;
	} larger = { .info.size = sizeof(larger), .more = 1 };

	CHECK(sizeof(struct mem_pin_address) == 16);
	CHECK(sizeof(struct mem_pin_info) == MEM_PIN_INFO_SIZE_VER0);
	CHECK_ERRNO(E2BIG, ioctl(fd, MEM_CMD_INFO, &larger));
	larger.more = 0;
	CHECK(ioctl(fd, MEM_CMD_INFO, &larger) == 0);
	CHECK(larger.info.size == sizeof(struct mem_pin_info));
	larger.info.size = MEM_PIN_INFO_SIZE_VER0 - 1;
	CHECK_ERRNO(EINVAL, ioctl(fd, MEM_CMD_INFO, &larger));
}

/* Data survives, on caches that know addresses too. */
static void contents(void)
{
	size_t i;

	for (i = 0; i < PAGES * page; i++)
		mem[i] = i * 7;
	CHECK(pin(fd, mem, PAGES * page) == 0);
	for (i = 0; i < PAGES * page && mem[i] == (char)(i * 7); i++)
		mem[i] = ~mem[i];
	CHECK(i == PAGES * page);
	CHECK(unpin(fd, mem, PAGES * page) == 0);
	for (i = 0; i < PAGES * page && mem[i] == (char)~(i * 7); i++)
		;
	CHECK(i == PAGES * page);
}

static void child_of_owner(void)
{
	struct mem_pin_info info;

	CHECK_ERRNO(EXDEV, pin(fd, mem, page));
	CHECK_ERRNO(EXDEV, unpin(fd, mem, page));
	CHECK(pin_info(fd, &info) == 0 && info.pins == 1);
	CHECK(vm_pin_is(0));
	/* copied by fork(), so that the parent keeps the page that is pinned */
	CHECK(mem[0] == 1);
	mem[0] = 2;
}

static void other_process(void)
{
	mem[0] = 1;
	CHECK(pin(fd, mem, page) == 0);
	in_child(child_of_owner);
	CHECK(mem[0] == 1);
	CHECK(holds(1, 1));
}

static void user_without_capability(void)
{
	int own = mempinfd();

	CHECK(syscall(__NR_setuid32, USER) == 0);
	CHECK_ERRNO(EPERM, mempinfd());
	CHECK(own >= 0);
}

static void permission(void)
{
	in_child(user_without_capability);
}

static void user_with_limit(void)
{
	fd = mempinfd();
	CHECK(set_memlock(4 * page) == 0);
	CHECK(drop_ipc_lock() == 0);
	CHECK_ERRNO(ENOMEM, pin(fd, mem, 4 * page + 1));
	CHECK(holds(0, 0));
	CHECK(pin(fd, mem, 4 * page) == 0);
	CHECK_ERRNO(ENOMEM, pin(fd, mem, 1));
	CHECK(holds(1, 4));
	CHECK(unpin(fd, mem, 4 * page) == 0);
	CHECK(set_memlock(0) == 0);
	CHECK_ERRNO(EPERM, pin(fd, mem, 1));
	CHECK(holds(0, 0));
}

static void limit(void)
{
	in_child(user_with_limit);
}

/* More pages than the kernel pins at a time. */
static void many_pages(void)
{
	const size_t size = 1100 * page;
	char *many = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(many != MAP_FAILED);
	CHECK(pin(fd, many, size) == 0);
	CHECK(holds(1, 1100));
	CHECK(unpin(fd, many, size) == 0);
	CHECK(munmap(many + size - page, page) == 0);
	CHECK_ERRNO(EFAULT, pin(fd, many, size));
	CHECK(holds(0, 0));
	CHECK(munmap(many, size - page) == 0);
}

#define TEST(function)	{ #function, function }

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	TEST(close_on_exec),
	TEST(counts_pages),
	TEST(counts_pins),
	TEST(close_releases),
	TEST(bad_sizes),
	TEST(addresses_above),
	TEST(sizes_above),
	TEST(hole),
	TEST(no_access),
	TEST(read_only),
	TEST(unmapped_stays_charged),
	TEST(bad_argument),
	TEST(info),
	TEST(contents),
	TEST(other_process),
	TEST(permission),
	TEST(limit),
	TEST(many_pages),
};

/* Behind the memory is a page that is not mapped. */
static bool set_up(void)
{
	page = page_size();
	fd = mempinfd();
	mem = mmap(NULL, (PAGES + 1) * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return fd >= 0 && mem != MAP_FAILED && !munmap(mem + PAGES * page, page);
}

static void tear_down(void)
{
	munmap(mem, PAGES * page);
	close(fd);
	CHECK(vm_pin_is(0));
}

int main(void)
{
	size_t i;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(tests));
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		passed = set_up();
		if (passed)
			tests[i].run();
		else
			ksft_print_msg("no mempinfd(): errno %d\n", errno);
		tear_down();
		ksft_test_result(passed, "%s\n", tests[i].name);
	}
	ksft_finished();
}
