// SPDX-License-Identifier: GPL-2.0
/* Runs the examples of the manual pages and of libmempinfd. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"

#define TRACING	"/sys/kernel/tracing"
#define SHELL	"/bin/sh"
#define SYSCTL	"/proc/sys/vm/unprivileged_mempinfd"

static bool kernel_has_it(void)
{
	return !access(SYSCTL, F_OK);
}

FIXTURE(example)
{
	char path[PATH_MAX];
	char output[512];
};

FIXTURE_VARIANT(example)
{
	const char *name;
	const char *output;
	const char *output_without;	/* on a kernel without mempinfd() */
	int status_without;
	int traced;			/* successful PINs and UNPINs */
};

FIXTURE_VARIANT_ADD(example, mempinfd)
{
	.name = "mempinfd",
	.output = "VmPin:\t      64 kB\n",
	.output_without = "",
	.status_without = 1,
	.traced = 1,
};

FIXTURE_VARIANT_ADD(example, ioctl_mempinfd)
{
	.name = "ioctl_mempinfd",
	.output = "pinned: 2 pins, 2 pages charged\n"
		  "unpinned once: 1 pins, 1 pages charged\n"
		  "unpinned twice: 0 pins, 0 pages charged\n"
		  "unpinned again: No such file or directory\n",
	.output_without = "",
	.status_without = 1,
	.traced = 4,
};

FIXTURE_VARIANT_ADD(example, pin)
{
	.name = "pin",
	.output = "pinned\n",
	.output_without = "",
	.traced = 1,
};

FIXTURE_VARIANT_ADD(example, register)
{
	.name = "register",
	.output = "pinned\n",
	.output_without = "locked\n",
	.traced = 1,
};

/* They are beside this program. */
FIXTURE_SETUP(example)
{
	ssize_t len = readlink("/proc/self/exe", self->path,
			       sizeof(self->path) - 1);
	char *slash;

	ASSERT_LT(0, len);
	self->path[len] = 0;
	slash = strrchr(self->path, '/');
	ASSERT_NE(NULL, slash);
	snprintf(slash, sizeof(self->path) - (slash - self->path), "/example-%s",
		 variant->name);
}

FIXTURE_TEARDOWN(example)
{
}

/* The exit status of a program; what it prints is in @output. */
static int run(const char *const argv[], char *output, size_t size)
{
	size_t len = 0;
	ssize_t got;
	int fds[2], status;
	pid_t pid;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	while (len < size - 1 && (got = read(fds[0], output + len, size - 1 - len)) > 0)
		len += got;
	output[len] = 0;
	close(fds[0]);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_F(example, run)
{
	const char *const program[] = { self->path, NULL };
	bool has_it = kernel_has_it();

	EXPECT_EQ(has_it ? 0 : variant->status_without,
		  run(program, self->output, sizeof(self->output)));
	EXPECT_STREQ(has_it ? variant->output : variant->output_without,
		     self->output);
}

/* The recipe of Documentation/userspace-api/mempinfd.rst. */
TEST_F(example, trace)
{
	char command[PATH_MAX + 256];
	const char *const shell[] = { SHELL, "-c", command, NULL };

	if (!kernel_has_it())
		SKIP(return, "this kernel has no mempinfd()");
	if (access(TRACING "/events/mempinfd", W_OK))
		SKIP(return, "no tracefs, or not root");
	if (access(SHELL, X_OK))
		SKIP(return, "no " SHELL);
	snprintf(command, sizeof(command),
		 "set -e; cd " TRACING "; echo > trace;"
		 "echo 1 > events/mempinfd/enable; '%s' > /dev/null || :;"
		 "echo 0 > events/mempinfd/enable; grep -c ' mempin_.* ret=0$' trace",
		 self->path);
	ASSERT_EQ(0, run(shell, self->output, sizeof(self->output)));
	EXPECT_EQ(variant->traced, atoi(self->output));
}

TEST_HARNESS_MAIN
