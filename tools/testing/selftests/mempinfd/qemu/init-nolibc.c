// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of a guest for whose architecture there is no C library:
 * runs core.c, shows the unit tests, and ends.  See init.c for the form of the
 * output, and for what comes from the kernel's command line.
 */
#include <stdbool.h>
#include <asm/ioctls.h>

#define KUNIT_RESULTS	"/sys/kernel/debug/kunit/mempinfd/results"

static int programs;	/* that have been run */

static void set_up(void)
{
	char tty[64] = "/dev/";
	int fd, tries = 200;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	strlcat(tty, getenv("KTAP") ?: "console", sizeof(tty));
	/* The console of virtio is not there before the device has answered. */
	while ((fd = open(tty, O_RDWR)) < 0 && tries--)
		msleep(100);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
}

/* The results of a program are nested: two columns to the right. */
static void indent(int from)
{
	bool in_line = false;
	char c;

	while (read(from, &c, 1) == 1) {
		if (!in_line && c != '\n')
			printf("  ");
		in_line = c != '\n';
		putchar(c);
	}
}

static bool run_core(const char *abi)
{
	char path[64] = "/tests/";
	char *const argv[] = { "core", NULL };
	int fds[2], status = 0;
	pid_t child;

	strlcat(path, abi, sizeof(path));
	strlcat(path, "/core", sizeof(path));
	if (pipe(fds))
		return false;
	child = fork();
	if (!child) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execve(path, argv, environ);
		exit(127);
	}
	close(fds[1]);
	indent(fds[0]);
	return waitpid(child, &status, 0) == child && !status;
}

/* The unit tests ran when the kernel booted. */
static bool show_kunit(const char *abi)
{
	int fd = open(KUNIT_RESULTS, O_RDONLY);

	if (fd < 0)
		return false;
	indent(fd);
	close(fd);
	return true;
}

static void run(bool (*program)(const char *abi), const char *abi, const char *name)
{
	bool ok;

	printf("# program %s/%s\n", abi, name);
	ok = program(abi);
	printf("%s %d %s/%s\n", ok ? "ok" : "not ok", ++programs, abi, name);
}

int main(void)
{
	const char *abi = getenv("ABIS") ?: "";

	set_up();
	printf("KTAP version 1\n1..2\n");
	run(run_core, abi, "core");
	run(show_kunit, abi, "kunit");
	/* A serial line without interrupts takes its time: tcdrain(). */
	ioctl(STDOUT_FILENO, TCSBRK, (void *)1);
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
	return 1;	/* the kernel panics, and that ends the guest too */
}
