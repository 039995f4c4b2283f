// SPDX-License-Identifier: GPL-2.0
/*
 * libmempinfd, as a program uses it that pkg-config tells where it is.
 *
 * Runs on kernels with and without mempinfd(): where it is not there, the
 * library must not make the call, which may be another one on that kernel.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <mempinfd.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <linux/ptrace.h>

#include "../kselftest_harness.h"

#define SYSCTL	"/proc/sys/vm/unprivileged_mempinfd"
#define SIZE	(3 * 4096 + 1)
#define NOT_CALLED	255

static bool kernel_has_it(void)
{
	return !access(SYSCTL, F_OK);
}

static void hide_proc(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    umount2("/proc", MNT_DETACH))
		_exit(NOT_CALLED);
}

/* The child of traced(): tells by its status what errno mempinfd() gives. */
static void __attribute__((noreturn)) call_traced(bool hide)
{
	int fd;

	if (hide)
		hide_proc();
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	errno = 0;
	fd = mempinfd();
	_exit(fd < 0 ? errno : 0);
}

/* Count the child's system calls of @number; -1 if the kernel cannot tell. */
static int count_calls(pid_t pid, unsigned long number, int *status)
{
	struct ptrace_syscall_info info;
	int count = 0;

	waitpid(pid, status, 0);
	ptrace(PTRACE_SETOPTIONS, pid, NULL,
	       PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	while (!WIFEXITED(*status) && !WIFSIGNALED(*status)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
			count = -1;
		else if (WSTOPSIG(*status) == (SIGTRAP | 0x80) &&
			 info.op == PTRACE_SYSCALL_INFO_ENTRY)
			count += info.entry.nr == number;
		ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		waitpid(pid, status, 0);
	}
	return count;
}

/* How often mempinfd() made the system call, or -1, and the errno that it gave. */
static int traced(bool hide, int *error)
{
	int status = 0, count;
	pid_t pid = fork();

	if (!pid)
		call_traced(hide);
	count = count_calls(pid, __NR_mempinfd, &status);
	*error = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return count;
}

/* ---- where it is not there ---- */

TEST(never_called_where_it_is_not_there)
{
	int error;

	if (kernel_has_it() && geteuid())
		SKIP(return, "only root can hide /proc");
	EXPECT_GE(0, traced(kernel_has_it(), &error));
	EXPECT_EQ(ENOSYS, error);
}

/* ---- where it is ---- */

FIXTURE(library)
{
	struct mem_pin_info info;
	char *buffer;
	int fd;
};

FIXTURE_SETUP(library)
{
	if (!kernel_has_it())
		SKIP(return, "this kernel has no mempinfd()");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->buffer = malloc(SIZE);
	ASSERT_NE(NULL, self->buffer);
}

FIXTURE_TEARDOWN(library)
{
	free(self->buffer);
	close(self->fd);
}

static int read_info(int fd, struct mem_pin_info *info)
{
	*info = (struct mem_pin_info) { .size = sizeof(*info) };
	return mempin_info(fd, info);
}

TEST_F(library, makes_the_call)
{
	int error, calls = traced(false, &error);

	EXPECT_EQ(0, error);
	if (calls < 0)
		SKIP(return, "this kernel does not tell a tracer about system calls");
	EXPECT_EQ(1, calls);
}

TEST_F(library, pin_and_unpin)
{
	ASSERT_EQ(0, mempin_pin(self->fd, self->buffer, SIZE));
	ASSERT_EQ(0, read_info(self->fd, &self->info));
	EXPECT_EQ(1, self->info.pins);
	EXPECT_LE((SIZE + self->info.page_size - 1) / self->info.page_size,
		  self->info.pinned_pages);
	EXPECT_EQ(self->info.pinned_pages, self->info.charged_pages);

	ASSERT_EQ(0, mempin_unpin(self->fd, self->buffer, SIZE));
	ASSERT_EQ(0, read_info(self->fd, &self->info));
	EXPECT_EQ(0, self->info.pins);
	EXPECT_EQ(0, self->info.charged_pages);
}

#define EXPECT_ERRNO(expected_errno, cmd)		\
	({						\
		EXPECT_EQ(-1, cmd);			\
		EXPECT_EQ(expected_errno, errno);	\
	})

TEST_F(library, errno_of_the_kernel)
{
	struct rlimit none = { 0, 0 };

	EXPECT_ERRNO(EINVAL, mempin_pin(self->fd, self->buffer, 0));
	EXPECT_ERRNO(EFAULT, mempin_pin(self->fd, NULL, 1));
	EXPECT_ERRNO(ENOENT, mempin_unpin(self->fd, self->buffer, SIZE));
	EXPECT_ERRNO(EINVAL, mempin_info(self->fd, &self->info));
	EXPECT_ERRNO(EBADF, mempin_pin(-1, self->buffer, SIZE));
	EXPECT_ERRNO(EBADF, mempin_unpin(-1, self->buffer, SIZE));
	EXPECT_ERRNO(EBADF, mempin_info(-1, &self->info));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_ERRNO(EMFILE, mempinfd());
}

/* ---- the tool ---- */

/* Run a command line; the last line that it prints is in @line. */
static int last_line(const char *command, char *line, size_t size)
{
	FILE *pipe = popen(command, "r");
	int status;

	if (!pipe)
		return -1;
	while (fgets(line, size, pipe))
		;
	status = pclose(pipe);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The tool, which is beside this program, with its output for our fd. */
static int run_mempinfo(int fd, char *line, size_t size)
{
	char path[PATH_MAX], command[PATH_MAX + 64];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (len < 0)
		return -1;
	path[len] = 0;
	snprintf(command, sizeof(command), "'%s/mempinfo' | grep '^ *%d *%d '",
		 dirname(path), getpid(), fd);
	return last_line(command, line, size);
}

TEST_F(library, mempinfo)
{
	unsigned long pins, pages, charged;
	unsigned int uid;
	char line[256];
	int found;

	if (access("/bin/sh", X_OK))
		SKIP(return, "no /bin/sh, which mempinfo is written for");
	ASSERT_EQ(0, mempin_pin(self->fd, self->buffer, SIZE));
	ASSERT_EQ(0, mempin_pin(self->fd, self->buffer, 1));
	ASSERT_EQ(0, read_info(self->fd, &self->info));
	ASSERT_EQ(0, run_mempinfo(self->fd, line, sizeof(line)));
	found = sscanf(line, "%*d %*d %u %lu %lu %lu", &uid, &pins, &pages,
		       &charged);
	ASSERT_EQ(4, found);
	EXPECT_EQ(getuid(), uid);
	EXPECT_EQ(2, pins);
	EXPECT_EQ(self->info.pinned_pages, pages);
	EXPECT_EQ(self->info.charged_pages, charged);
}

TEST_HARNESS_MAIN
