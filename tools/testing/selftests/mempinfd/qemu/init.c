// SPDX-License-Identifier: GPL-2.0
/*
 * The first process of the guest.  The kernel hands it what the command line
 * has for it as environment variables:
 *
 *   KTAP=tty		where output goes; the kernel's log goes elsewhere
 *   MODE=test		run TESTS=a,b,.. of each of ABIS=x,y,.., of NOLIBC=z, which
 *			is one of them, only "core", and then, for the
 *			first ABI only, AFTER=c,..: one KTAP test with nested
 *			results for each program.  A program has LIMIT=seconds
 *			instead of what the tests' settings give it, and is started
 *			by RUNNER=path, if there is one, with its path as argument.
 *			/tests/programs has a,b,.. where TESTS is not there
 *   MODE=shell		give a prompt
 *   MODE=run		run PROGRAM=path,.. or the sample
 *   MODE=probe		show that the guest comes up
 *
 * The guest powers off at the end; with END=reboot it reboots, where that is
 * what ends QEMU.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <linux/limits.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define KUNIT_RESULTS	"/sys/kernel/debug/kunit/mempinfd/results"
#define KSFT_SKIP	4
#define DEFAULT_TIMEOUT	45	/* seconds, as in kselftest/runner.sh */
#define KILL_TIMEOUT	10
#define TTY_TIMEOUT	20

static const struct mount_point {
	const char *type, *dir;
} mounts[] = {
	{ "devtmpfs",	"/dev" },
	{ "proc",	"/proc" },
	{ "sysfs",	"/sys" },
	{ "debugfs",	"/sys/kernel/debug" },
	{ "tracefs",	"/sys/kernel/tracing" },
	{ "cgroup2",	"/sys/fs/cgroup" },
	{ "tmpfs",	"/tmp" },
	{ "tmpfs",	"/dev/shm" },
	{ "devpts",	"/dev/pts" },
	{}
};

static void __attribute__((noreturn)) power_off(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(getenv("END") ? RB_AUTOBOOT : RB_POWER_OFF);
	_exit(1);	/* the kernel panics, and that ends the guest too */
}

/* ---- set up ---- */

/* A minimal kernel has not every file system, and programs say what they miss. */
static void mount_all(void)
{
	const struct mount_point *m;

	for (m = mounts; m->type; m++) {
		mkdir(m->dir, 0755);
		mount(m->type, m->dir, m->type, 0, NULL);
	}
	chmod("/tmp", 01777);
	chmod("/dev/shm", 01777);
}

/* The console of virtio is not there before the device has answered. */
static int wait_tty(const char *path)
{
	int fd, tries = TTY_TIMEOUT * 100;

	while ((fd = open(path, O_RDWR)) < 0 && tries--)
		usleep(10000);
	return fd;
}

static void open_tty(void)
{
	const char *name = getenv("KTAP");
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name ? name : "console");
	fd = wait_tty(path);
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	setvbuf(stdout, NULL, _IOLBF, 0);
}

/* Returns what the program returned, or -1 if it was killed. */
static int run(const char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execvp(argv[0], (char **)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* Where there is such a device: a test of files wants it. */
static void copy_file_system(const char *device)
{
	int from = open("/ext2", O_RDONLY | O_CLOEXEC);
	int to = open(device, O_WRONLY | O_CLOEXEC);
	char block[4096];
	ssize_t len;

	while (to >= 0 && (len = read(from, block, sizeof(block))) > 0) {
		if (write(to, block, len) != len) {
			printf("# no file system on %s\n", device);
			break;
		}
	}
	close(from);
	close(to);
}

/* Programs by their names, where there is a busybox for this machine. */
static void link_programs(void)
{
	const char *const install[] = { "/bin/busybox", "--install", "-s", "/bin", NULL };

	if (!access(install[0], X_OK) && run(install))
		printf("# cannot install busybox\n");
}

/* Their list is longer than the command line of some machines. */
static void read_programs(void)
{
	int fd = open("/tests/programs", O_RDONLY | O_CLOEXEC);
	char list[4096];
	ssize_t len;

	if (fd < 0)
		return;
	len = read(fd, list, sizeof(list) - 1);
	close(fd);
	if (len <= 0)
		return;
	list[len] = '\0';
	list[strcspn(list, "\n")] = '\0';
	setenv("TESTS", list, 0);
}

static void set_up(void)
{
	mount_all();
	read_programs();
	open_tty();
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
	setsid();
	if (chdir("/tmp"))
		perror("/tmp");
	link_programs();
	copy_file_system("/dev/ram0");
	copy_file_system("/dev/pmem0");
}

/* ---- one program ---- */

struct output {
	int fd;
	bool in_line;
};

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* The results of a program are nested: two columns to the right. */
static void indent(struct output *out, const char *text, ssize_t len)
{
	ssize_t i;

	for (i = 0; i < len; i++) {
		if (!out->in_line && text[i] != '\n')
			fputs("  ", stdout);
		out->in_line = text[i] != '\n';
		putchar(text[i]);
	}
	fflush(stdout);
}

/* Returns false at the end of the output. */
static bool copy_output(struct output *out, int milliseconds)
{
	struct pollfd pollfd = { .fd = out->fd, .events = POLLIN };
	char text[4096];
	ssize_t len;

	if (poll(&pollfd, 1, milliseconds) <= 0)
		return false;
	len = read(out->fd, text, sizeof(text));
	if (len <= 0)
		return false;
	indent(out, text, len);
	return true;
}

static void end_line(struct output *out)
{
	if (out->in_line)
		indent(out, "\n", 1);
}

static int read_timeout(void)
{
	const char *limit = getenv("LIMIT");
	FILE *settings;
	int seconds;

	if (limit)
		return atoi(limit);
	settings = fopen("/tests/settings", "r");
	if (!settings)
		return DEFAULT_TIMEOUT;
	if (fscanf(settings, "timeout=%d", &seconds) != 1)
		seconds = DEFAULT_TIMEOUT;
	fclose(settings);
	return seconds;
}

static void __attribute__((noreturn)) exec_program(const char *path, int out)
{
	const char *runner = getenv("RUNNER");
	int null = open("/dev/null", O_RDONLY);

	setsid();
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close(null);
	close(out);
	if (runner)
		execl(runner, runner, path, NULL);
	else
		execl(path, path, NULL);
	perror(runner ?: path);
	_exit(127);
}

static pid_t start(const char *path, struct output *out)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	fflush(stdout);
	pid = fork();
	if (!pid)
		exec_program(path, fds[1]);
	close(fds[1]);
	out->fd = fds[0];
	return pid;
}

/* Returns false if the program did not end in time. */
static bool wait_program(pid_t pid, struct output *out, int *status)
{
	time_t end = now() + read_timeout();

	while (waitpid(pid, status, WNOHANG) != pid) {
		if (now() >= end)
			return false;
		if (!copy_output(out, 100))
			usleep(1000);
	}
	while (copy_output(out, 0))
		;
	return true;
}

/* As the first process of all we reach every other. */
static bool kill_rest(void)
{
	time_t end = now() + KILL_TIMEOUT;

	kill(-1, SIGKILL);
	for (;;) {
		pid_t pid = waitpid(-1, NULL, WNOHANG);

		if (pid < 0)
			return true;
		if (!pid && now() >= end)
			return false;
		if (!pid)
			usleep(1000);
	}
}

/* As diagnostics, line by line. */
static void show_file(const char *dir, const char *name)
{
	char path[PATH_MAX], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "r");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file))
		printf("#   %s: %.*s\n", name, (int)strcspn(line, "\n"), line);
	fclose(file);
}

/* The kernel's own threads have none.  To ask for arguments could take forever. */
static bool has_executable(const char *dir)
{
	char path[PATH_MAX], exe;

	snprintf(path, sizeof(path), "%s/exe", dir);
	return readlink(path, &exe, 1) > 0;
}

/*
 * Where each thread is that did not end in time: in which system call, where in
 * the kernel, and, in "stat", for how long it has used a CPU.
 */
static void show_tasks(void)
{
	glob_t tasks;
	size_t i;

	if (glob("/proc/[0-9]*/task/[0-9]*", 0, NULL, &tasks))
		return;
	for (i = 0; i < tasks.gl_pathc; i++) {
		const char *dir = tasks.gl_pathv[i];

		if (!strncmp(dir, "/proc/1/", 8) || !has_executable(dir))
			continue;
		printf("# %s\n", dir);
		show_file(dir, "stat");
		show_file(dir, "syscall");
		show_file(dir, "stack");
	}
	globfree(&tasks);
}

static void show_blocked_tasks(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	if (fd >= 0 && write(fd, "w", 1) < 0)
		perror("sysrq");
	close(fd);
}

/* ---- all programs ---- */

static int programs;	/* that have been run */

static void result(bool ok, const char *abi, const char *name, const char *why)
{
	printf("%s %d %s/%s%s\n", ok ? "ok" : "not ok", ++programs, abi, name, why);
}

static void run_program(const char *abi, const char *name)
{
	struct output out = { .fd = -1 };
	char path[PATH_MAX], why[64] = "";
	int status = 0;
	bool in_time;
	pid_t pid;

	snprintf(path, sizeof(path), "/tests/%s/%s", abi, name);
	printf("# program %s/%s\n", abi, name);
	pid = start(path, &out);
	in_time = pid > 0 && wait_program(pid, &out, &status);
	end_line(&out);
	if (pid > 0 && !in_time)
		show_tasks();
	if (pid < 0)
		snprintf(why, sizeof(why), " # cannot start: %s", strerror(errno));
	else if (!in_time)
		snprintf(why, sizeof(why), " # TIMEOUT %d seconds", read_timeout());
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), " # signal %d", WTERMSIG(status));
	else if (WEXITSTATUS(status) == KSFT_SKIP)
		snprintf(why, sizeof(why), " # SKIP");
	else if (status)
		snprintf(why, sizeof(why), " # exit=%d", WEXITSTATUS(status));
	result(in_time && (!status || strstr(why, "SKIP")), abi, name, why);
	close(out.fd);

	if (!kill_rest()) {
		show_blocked_tasks();
		printf("Bail out! A process of %s/%s cannot be killed\n", abi, name);
		power_off();
	}
}

/* The unit tests ran when the kernel booted. */
static void show_kunit(const char *abi)
{
	struct output out = { .fd = open(KUNIT_RESULTS, O_RDONLY) };
	bool ok;

	printf("# program %s/kunit\n", abi);
	ok = copy_output(&out, 0);
	while (copy_output(&out, 0))
		;
	end_line(&out);
	result(ok, abi, "kunit", ok ? "" : " # no " KUNIT_RESULTS);
	close(out.fd);
}

/* Calls @fn, if there is one, for each word and returns their number. */
static int each_word(const char *variable, const char *arg,
		     void (*fn)(const char *arg, const char *word))
{
	const char *value = getenv(variable);
	char *words = strdup(value ? value : ""), *rest, *word;
	int n = 0;

	for (word = strtok_r(words, ",", &rest); word;
	     word = strtok_r(NULL, ",", &rest), n++)
		if (fn)
			fn(arg, word);
	free(words);
	return n;
}

static void run_test(const char *abi, const char *name)
{
	if (strcmp(name, "kunit"))
		run_program(abi, name);
	else
		show_kunit(abi);
}

/* This ABI has no C library, and therefore not all of the tests. */
static bool has_core_only(const char *abi)
{
	return !strcmp(getenv("NOLIBC") ?: "", abi);
}

static void run_abi(const char *unused, const char *abi)
{
	if (has_core_only(abi))
		run_program(abi, "core");
	else
		each_word("TESTS", abi, run_test);
}

/*
 * leftover.c looks for what the kernel logs from here on.  Without its newline
 * the record would not be there to be read before the next one is.
 */
static void mark_log(void)
{
	int fd = open("/dev/kmsg", O_WRONLY);

	if (fd < 0 || write(fd, "mempinfd: tests begin\n", 22) < 0)
		perror("/dev/kmsg");
	close(fd);
}

static void send_counts(const char *tty)
{
	char path[PATH_MAX];
	const char *const send[] = { "/send-counts", path, NULL };

	snprintf(path, sizeof(path), "/dev/%s", tty);
	if (run(send))
		puts("Bail out! Cannot send what gcov has counted");
}

static void run_tests(void)
{
	int n = each_word("TESTS", NULL, NULL), abis = each_word("ABIS", NULL, NULL);
	char *abi = strdup(getenv("ABIS") ?: "");

	abi[strcspn(abi, ",")] = '\0';
	mark_log();
	n = getenv("NOLIBC") ? n * (abis - 1) + 1 : n * abis;
	printf("KTAP version 1\n1..%d\n", n + each_word("AFTER", NULL, NULL));
	each_word("ABIS", NULL, run_abi);
	each_word("AFTER", abi, run_test);
	free(abi);
	if (getenv("GCOV"))
		send_counts(getenv("GCOV"));
}

static void run_shell(void)
{
	const char *const shell[] = { "/bin/sh", "-l", NULL };

	ioctl(STDIN_FILENO, TIOCSCTTY, 1);
	puts("The tests are in /tests, the sample is /mempinfd-demo; 'exit' ends the guest.");
	run(shell);
}

/* Fails if one of them does. */
static void run_programs(void)
{
	char *paths = strdup(getenv("PROGRAM") ?: "/mempinfd-demo"), *rest, *path;
	int status = 0;

	for (path = strtok_r(paths, ",", &rest); path;
	     path = strtok_r(NULL, ",", &rest)) {
		const char *const program[] = { path, NULL };

		status = run(program) ?: status;
	}
	free(paths);
	printf("# exit=%d\n", status);
}

int main(void)
{
	const char *mode = getenv("MODE") ?: "shell";

	set_up();
	if (!strcmp(mode, "test"))
		run_tests();
	else if (!strcmp(mode, "run"))
		run_programs();
	else if (!strcmp(mode, "probe"))
		puts("# exit=0");
	else
		run_shell();
	power_off();
}
