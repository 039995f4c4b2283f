/* SPDX-License-Identifier: GPL-2.0 */
/* What every mempinfd test needs: the calls, and the counters around them. */
#ifndef MEMPINFD_UTIL_H
#define MEMPINFD_UTIL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/capability.h>
#include <linux/mempinfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "mempinfd_calls.h"
#include "mempinfd_mem.h"

/*
 * How long a test takes depends on the kernel's debugging options and on the
 * emulator under it.  Who runs the program ends it if it hangs: this is so much
 * that it never comes first.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	3600

#define SYSCTL_UNPRIVILEGED	"/proc/sys/vm/unprivileged_mempinfd"

#define FDINFO_PATH		"/proc/%d/fdinfo/%d"

/* A user who owns nothing else in the system, so that all charges are ours. */
#define TEST_UID		54321

/* Expect a call to fail, and to say why. */
#define EXPECT_ERRNO(expected_errno, cmd)		\
	({						\
		EXPECT_EQ(-1, cmd);			\
		EXPECT_EQ(expected_errno, errno);	\
	})

/* Expect what an fd holds, by its own account. */
#define EXPECT_HELD(fd, expected_pins, expected_pages)			\
	({								\
		const uint64_t __pages = (expected_pages);		\
		struct mem_pin_info __info;				\
									\
		EXPECT_EQ(0, pin_info(fd, &__info));			\
		EXPECT_EQ((uint64_t)(expected_pins), __info.pins);	\
		EXPECT_EQ(__pages, __info.pinned_pages);		\
		EXPECT_EQ(__pages, __info.charged_pages);		\
	})

/* The same of the only fd that this process uses: VmPin agrees. */
#define EXPECT_PINNED(fd, expected_pins, expected_pages)		\
	({								\
		const long long __vm_pin = (expected_pages);		\
									\
		EXPECT_HELD(fd, expected_pins, __vm_pin);		\
		EXPECT_EQ(__vm_pin, vm_pin(getpid()));			\
	})

/* Private memory of @pages pages, not touched yet; NULL if there is none. */
static inline void *map_pages(size_t pages)
{
	void *mem = mmap(NULL, pages * page_size(), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

/* ---- the counters ---- */

/* Pages that /proc/PID/status shows as VmPin, or -1. */
static inline long long vm_pin(pid_t pid)
{
	long long kilobytes;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	kilobytes = read_field(path, "VmPin");
	return kilobytes < 0 ? -1 : kilobytes / (long long)(page_size() >> 10);
}

/* A line of /proc/PID/fdinfo/FD, or -1: pins, pinned_pages, charged_pages, uid. */
static inline long long fdinfo(pid_t pid, int fd, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), FDINFO_PATH, pid, fd);
	return read_field(path, name);
}

/*
 * Page references that FOLL_PIN holds in the whole system.  Exact while no
 * other thread pins; needs root, who may have the per-CPU counts folded in.
 */
static inline long long system_pins(void)
{
	const char *refresh = "/proc/sys/vm/stat_refresh";
	char nothing[16];

	/* a kernel for one CPU has not got it, and nothing to fold in */
	if (!access(refresh, F_OK) && read_text(refresh, nothing, sizeof(nothing)))
		return -1;
	return read_field("/proc/vmstat", "nr_foll_pin_acquired") -
	       read_field("/proc/vmstat", "nr_foll_pin_released");
}

/* ---- tracing ---- */

#define TRACE_INSTANCES	"/sys/kernel/tracing/instances"

/* Not every architecture can. */
static inline bool has_tracing(void)
{
	return !access(TRACE_INSTANCES, W_OK);
}

/* ---- the kernel log ---- */

/* Open the log behind its last record. */
static inline int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* It logs races of others as well, in many lines: qemu/vm sorts them. */
static inline bool has_kcsan(void)
{
	return !access("/sys/kernel/debug/kcsan", F_OK);
}

/*
 * From a kernel thread or an interrupt, about matters of its own.  The record
 * says so with CONFIG_PRINTK_CALLER only; without, each is taken for ours.
 */
static inline bool kmsg_is_unrelated(const char *record)
{
	const char *caller = strstr(record, ",caller=");
	const char *message = strchr(record, ';');
	char path[64], arguments[8];

	if (has_kcsan())
		return true;
	if (!caller || caller > message)
		return false;
	caller += strlen(",caller=");
	if (*caller == 'C')
		return true;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", atoi(caller + 1));
	return !read_text(path, arguments, sizeof(arguments)) && !arguments[0];
}

/*
 * Count what the kernel has said since kmsg_open() or the last call, and show
 * it.  The number in front of a record is facility * 8 + level, and facility 0
 * is the kernel.
 */
static inline int kmsg_new_records(int fd)
{
	char record[8192];
	int records = 0;
	ssize_t len;

	for (;;) {
		len = read(fd, record, sizeof(record) - 1);
		if (len < 0 && errno == EPIPE)
			continue;	/* overwritten by newer ones */
		if (len <= 0)
			return records;
		record[len] = 0;
		if (atoi(record) >= 8 || kmsg_is_unrelated(record))
			continue;
		fprintf(stderr, "# kernel log: %s", record);
		records++;
	}
}

/* ---- who we are, and what we may ---- */

static inline int set_limit(int resource, rlim_t limit)
{
	struct rlimit rlimit = { limit, limit };

	return setrlimit(resource, &rlimit);
}

/* Keep the uid, and of the capabilities only those in the mask. */
static inline int keep_capabilities(uint64_t mask)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	int i;

	if (syscall(__NR_capget, &header, data))
		return -1;
	for (i = 0; i < _LINUX_CAPABILITY_U32S_3; i++, mask >>= 32) {
		data[i].effective &= mask;
		data[i].permitted &= mask;
		data[i].inheritable &= mask;
	}
	return syscall(__NR_capset, &header, data);
}

static inline int drop_capability(int capability)
{
	return keep_capabilities(~(1ULL << capability));
}

/* Become a user without capabilities who can still look at /proc/self. */
static inline int become_user(uid_t uid)
{
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, uid))
		return -1;
	return prctl(PR_SET_DUMPABLE, 1);
}

/* The exit status of a child, or -1 if a signal ended it. */
static inline int wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* Run a block in a child and expect it to come through. */
#define IN_CHILD(...)							\
	do {								\
		pid_t __child = fork();					\
									\
		ASSERT_LE(0, __child);					\
		if (!__child) {						\
			__VA_ARGS__;					\
			_exit(0);					\
		}							\
		EXPECT_EQ(0, wait_child(__child));			\
	} while (0)

#endif /* MEMPINFD_UTIL_H */
