// SPDX-License-Identifier: GPL-2.0
/* Whose pins they are, and when they end: fork, exec, exit, passing the fd. */

#include "mempinfd_proc.h"

#include <pthread.h>
#include <sched.h>

#define NR_PAGES	4
#define AFTER_EXEC	"after-exec"

/* What a process finds when it tries an fd: 0 or an errno for each call. */
struct findings {
	int pin;
	int unpin;
	int info;
	int own;
	uint64_t pins;
	uint64_t charged_pages;
};

static int errno_of(int ret)
{
	return ret ? errno : 0;
}

/* ---- what a program that was executed does ---- */

static void try_fd(int fd, struct findings *found)
{
	size_t size = NR_PAGES * page_size();
	struct mem_pin_info info;
	char *buf = map_pages(NR_PAGES);

	found->pin = errno_of(pin(fd, buf, size));
	found->unpin = errno_of(unpin(fd, buf, size));
	found->info = errno_of(pin_info(fd, &info));
	found->pins = info.pins;
	found->charged_pages = info.charged_pages;
	found->own = errno_of(pin(mempinfd(), buf, size));
}

/*
 * The harness owns main(), so a program that stands for the next one is told
 * from its first argument.  It reports, and stays until the socket is closed.
 */
static void __attribute__((constructor)) after_exec(int argc, char **argv)
{
	struct findings found;
	int sock;

	if (argc != 4 || strcmp(argv[1], AFTER_EXEC))
		return;
	sock = atoi(argv[3]);
	try_fd(atoi(argv[2]), &found);
	send(sock, &found, sizeof(found), MSG_NOSIGNAL);
	await(sock);
	_exit(0);
}

static void exec_self(int fd, int sock)
{
	char fd_arg[16], sock_arg[16];

	snprintf(fd_arg, sizeof(fd_arg), "%d", fd);
	snprintf(sock_arg, sizeof(sock_arg), "%d", sock);
	fcntl(sock, F_SETFD, 0);
	execl("/proc/self/exe", "lifetime", AFTER_EXEC, fd_arg, sock_arg, NULL);
	_exit(127);
}

static bool hear_findings(int sock, struct findings *found)
{
	return recv(sock, found, sizeof(*found), MSG_WAITALL) == sizeof(*found);
}

/* ---- one address space and those that come of it ---- */

FIXTURE(lifetime) {
	int fd;
	int sock[2];
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_SETUP(lifetime)
{
	self->system_pins = system_pins();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, self->sock));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, pin(self->fd, self->buf, self->size));
}

FIXTURE_TEARDOWN(lifetime)
{
	close(self->fd);
	EXPECT_EQ(self->system_pins, system_pins());
}

TEST_F(lifetime, fork)
{
	IN_CHILD({
		EXPECT_ERRNO(EXDEV, pin(self->fd, self->buf, self->size));
		EXPECT_ERRNO(EXDEV, unpin(self->fd, self->buf, self->size));
		EXPECT_HELD(self->fd, 1, NR_PAGES);
		EXPECT_EQ(NR_PAGES, fdinfo(getpid(), self->fd, "pinned_pages"));
		EXPECT_EQ(0, vm_pin(getpid()));
		EXPECT_EQ(0, close(self->fd));
	});
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
}

TEST_F(lifetime, fork_child_has_its_own)
{
	IN_CHILD({
		int own = mempinfd();

		EXPECT_LE(0, own);
		EXPECT_EQ(0, pin(own, self->buf, self->size));
		EXPECT_PINNED(own, 1, NR_PAGES);
		EXPECT_HELD(self->fd, 1, NR_PAGES);
	});
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
	EXPECT_EQ(self->system_pins + NR_PAGES, system_pins());
}

/* The page of the parent stays the parent's: the child takes the copy. */
TEST_F(lifetime, fork_leaves_pages)
{
	uint64_t frame = page_frame(self->buf);
	pid_t child;

	self->buf[0] = 1;
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		await(self->sock[1]);
		_exit(self->buf[0]);
	}
	self->buf[0] = 2;
	EXPECT_NE(0, frame);
	EXPECT_EQ(frame, page_frame(self->buf));
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(1, wait_child(child));
}

/* The child of vfork() is in the address space that the fd belongs to. */
TEST_F(lifetime, vfork)
{
	pid_t child = vfork();

	if (!child)
		_exit(pin(self->fd, self->buf, self->size) ? 1 : 0);
	ASSERT_LT(0, child);
	EXPECT_EQ(0, wait_child(child));
	EXPECT_PINNED(self->fd, 2, 2 * NR_PAGES);
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
}

TEST_F(lifetime, vfork_exec)
{
	struct findings found;
	pid_t child;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFD, 0));
	child = vfork();
	if (!child)
		exec_self(self->fd, self->sock[1]);
	ASSERT_LT(0, child);
	close(self->sock[1]);
	ASSERT_TRUE(hear_findings(self->sock[0], &found));
	EXPECT_EQ(EXDEV, found.pin);
	EXPECT_EQ(EXDEV, found.unpin);
	EXPECT_EQ(1, found.pins);
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
	close(self->sock[0]);
	EXPECT_EQ(0, wait_child(child));
}

/* A process that shares the memory, but not the table of open files. */
static int pin_and_close(void *fixture)
{
	struct _test_data_lifetime *self = fixture;

	return pin(self->fd, self->buf, self->size) || close(self->fd);
}

static pid_t clone_vm(int (*start)(void *arg), void *arg)
{
	size_t size = 64 << 10;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED)
		return -1;
	return clone(start, stack + size, CLONE_VM | SIGCHLD, arg);
}

TEST_F(lifetime, clone_vm)
{
	pid_t child = clone_vm(pin_and_close, self);

	ASSERT_LT(0, child);
	EXPECT_EQ(0, wait_child(child));
	EXPECT_PINNED(self->fd, 2, 2 * NR_PAGES);
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
}

/* ---- exec ---- */

/* Start a child that pins as USER_A and then executes another program. */
static pid_t pin_and_exec(const struct _test_data_lifetime *self, int fd_flags)
{
	pid_t child = fork();
	int fd;

	if (child)
		return child;
	set_real_uid(USER_A);
	fd = mempinfd();
	if (pin(fd, self->buf, self->size) || fcntl(fd, F_SETFD, fd_flags))
		_exit(1);
	exec_self(fd, self->sock[1]);
	_exit(1);
}

/* The new program's own pin is all that it holds, whatever it inherited. */
static void expect_after_exec(struct __test_metadata *_metadata,
			      const struct _test_data_lifetime *self, pid_t child)
{
	EXPECT_EQ(NR_PAGES, vm_pin(child));
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	EXPECT_EQ(self->system_pins + 2 * NR_PAGES, system_pins());
	close(self->sock[0]);
	EXPECT_EQ(0, wait_child(child));
	EXPECT_EQ(0, charged_to(USER_A));
}

TEST_F(lifetime, exec_with_fd_kept)
{
	struct findings found;
	pid_t child = pin_and_exec(self, 0);

	ASSERT_LT(0, child);
	close(self->sock[1]);
	ASSERT_TRUE(hear_findings(self->sock[0], &found));
	EXPECT_EQ(EXDEV, found.pin);
	EXPECT_EQ(EXDEV, found.unpin);
	EXPECT_EQ(0, found.info);
	EXPECT_EQ(0, found.pins);
	EXPECT_EQ(0, found.charged_pages);
	EXPECT_EQ(0, found.own);
	expect_after_exec(_metadata, self, child);
}

TEST_F(lifetime, exec_closes_fd)
{
	struct findings found;
	pid_t child = pin_and_exec(self, FD_CLOEXEC);

	ASSERT_LT(0, child);
	close(self->sock[1]);
	ASSERT_TRUE(hear_findings(self->sock[0], &found));
	EXPECT_EQ(EBADF, found.pin);
	EXPECT_EQ(EBADF, found.unpin);
	EXPECT_EQ(EBADF, found.info);
	EXPECT_EQ(0, found.own);
	expect_after_exec(_metadata, self, child);
}

/* ---- the fd in other hands, its creator alive ---- */

TEST_F(lifetime, scm_rights)
{
	ASSERT_EQ(0, send_fd(self->sock[0], self->fd));
	IN_CHILD({
		int fd = recv_fd(self->sock[1]);

		EXPECT_HELD(fd, 1, NR_PAGES);
		EXPECT_ERRNO(EXDEV, pin(fd, self->buf, self->size));
		EXPECT_ERRNO(EXDEV, unpin(fd, self->buf, self->size));
	});
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
}

TEST_F(lifetime, scm_rights_back_to_creator)
{
	int fd;

	ASSERT_EQ(0, send_fd(self->sock[0], self->fd));
	IN_CHILD(EXPECT_EQ(0, send_fd(self->sock[1], recv_fd(self->sock[1]))));
	fd = recv_fd(self->sock[0]);
	ASSERT_LE(0, fd);
	close(self->fd);

	EXPECT_PINNED(fd, 1, NR_PAGES);
	EXPECT_EQ(0, pin(fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(fd, self->buf, self->size));
	EXPECT_PINNED(fd, 0, 0);
	close(fd);
}

/* An fd that is only in a message on its way is still an fd. */
TEST_F(lifetime, scm_rights_in_flight)
{
	ASSERT_EQ(0, send_fd(self->sock[0], self->fd));
	close(self->fd);
	EXPECT_EQ(NR_PAGES, vm_pin(getpid()));
	close(self->sock[0]);
	close(self->sock[1]);
	EXPECT_EQ(0, vm_pin(getpid()));
}

TEST_F(lifetime, last_close_in_other_process)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child) {
		await(self->sock[1]);
		close(self->fd);
		tell(self->sock[1]);
		await(self->sock[1]);
		_exit(0);
	}
	close(self->fd);
	EXPECT_EQ(NR_PAGES, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins + NR_PAGES, system_pins());

	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, await(self->sock[0]));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, wait_child(child));
}

/* ---- the creator gone, the fd in other hands ---- */

enum creator_end {
	END_EXIT,
	END_KILL,
	END_EXEC,
	END_OOM,
};

FIXTURE(creator) {
	int fd;
	int sock[2];
	pid_t pid;
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_VARIANT(creator) {
	enum creator_end end;
};

FIXTURE_VARIANT_ADD(creator, exits) { .end = END_EXIT };
FIXTURE_VARIANT_ADD(creator, is_killed) { .end = END_KILL };
FIXTURE_VARIANT_ADD(creator, executes) { .end = END_EXEC };
FIXTURE_VARIANT_ADD(creator, is_killed_by_oom) { .end = END_OOM };

/* Use more memory than the cgroup has, until that ends this process. */
static void run_out_of_memory(void)
{
	size_t size = 64 << 20;
	char *much = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cgroup_join();
	memset(much, 1, size);
}

static void creator_run(const struct _test_data_creator *self, enum creator_end end)
{
	int sock = self->sock[1], fd;

	close(self->sock[0]);
	set_real_uid(USER_A);
	fd = mempinfd();
	if (pin(fd, self->buf, self->size) || send_fd(sock, fd) || await(sock))
		_exit(1);
	if (end == END_EXEC)
		exec_self(fd, sock);
	if (end == END_OOM)
		run_out_of_memory();
	if (end == END_KILL)
		kill(getpid(), SIGKILL);
	_exit(0);
}

/* The kernel reports at length what it kills. */
static int oom_begin(void)
{
	return cgroup_make() || write_text(CGROUP "/memory.max", "16777216") ||
	       kmsg_write(KMSG_EXPECTED);
}

static int oom_end(void)
{
	return cgroup_end() || kmsg_write(KMSG_UNEXPECTED);
}

static long long oom_kills(void)
{
	return read_field(CGROUP "/memory.events", "oom_kill");
}

FIXTURE_SETUP(creator)
{
	if (variant->end == END_OOM && oom_begin())
		SKIP(return, "no memory cgroup (v2) in /sys/fs/cgroup");
	self->system_pins = system_pins();
	self->buf = map_pages(NR_PAGES);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, self->sock));

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid)
		creator_run(self, variant->end);
	close(self->sock[1]);
	self->fd = recv_fd(self->sock[0]);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(creator)
{
	EXPECT_EQ(0, close(self->fd));
	close(self->sock[0]);
	EXPECT_EQ(variant->end == END_EXEC ? 0 : -1, wait_child(self->pid));
	EXPECT_EQ(0, variant->end == END_OOM ? oom_end() : 0);
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(self->system_pins, system_pins());
}

/* An executed program pins as much of its own as its predecessor had. */
static long own_pages(const struct _fixture_variant_creator *variant)
{
	return variant->end == END_EXEC ? NR_PAGES : 0;
}

static void end_creator(struct __test_metadata *_metadata,
			const struct _test_data_creator *self,
			const struct _fixture_variant_creator *variant)
{
	struct findings found;
	int status;

	ASSERT_EQ(0, tell(self->sock[0]));
	if (variant->end == END_EXEC) {
		ASSERT_TRUE(hear_findings(self->sock[0], &found));
		return;
	}
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, 0));
	EXPECT_EQ(variant->end == END_EXIT ? 0 : SIGKILL, status);
	EXPECT_EQ(variant->end == END_OOM, oom_kills() > 0);
}

TEST_F(creator, gives_pages_back)
{
	EXPECT_HELD(self->fd, 1, NR_PAGES);
	EXPECT_EQ(self->system_pins + NR_PAGES, system_pins());
	end_creator(_metadata, self, variant);
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "pinned_pages"));
	EXPECT_EQ(self->system_pins + own_pages(variant), system_pins());
}

TEST_F(creator, gives_charge_back)
{
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	end_creator(_metadata, self, variant);
	EXPECT_EQ(own_pages(variant), charged_to(USER_A));
}

TEST_F(creator, leaves_a_dead_fd)
{
	end_creator(_metadata, self, variant);
	EXPECT_ERRNO(EXDEV, pin(self->fd, self->buf, self->size));
	EXPECT_ERRNO(EXDEV, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(USER_A, fdinfo(getpid(), self->fd, "uid"));
}

/* ---- the creator gone, its address space not ---- */

/* Wait until the leader of the thread group has ended. */
static void await_leader_end(void)
{
	char status[4096];

	while (!read_text("/proc/self/status", status, sizeof(status)) &&
	       !strstr(status, "State:\tZ"))
		usleep(1000);
}

static void *pin_without_leader(void *fixture)
{
	struct _test_data_lifetime *self = fixture;
	int fd = mempinfd();
	int i, failed;

	failed = send_fd(self->sock[1], fd);
	await_leader_end();
	for (i = 0; i < 100 && !failed; i++)
		failed = pin(fd, self->buf, self->size) ||
			 unpin(fd, self->buf, self->size);
	failed = failed || pin(fd, self->buf, self->size) ||
		 tell(self->sock[1]) || await(self->sock[1]);
	_exit(failed);
}

TEST_F(lifetime, leader_exits_first)
{
	pthread_t thread;
	pid_t child;
	int fd;

	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		pthread_create(&thread, NULL, pin_without_leader, self);
		syscall(__NR_exit, 0);
	}
	fd = recv_fd(self->sock[0]);
	EXPECT_EQ(0, await(self->sock[0]));
	EXPECT_HELD(fd, 1, NR_PAGES);
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, wait_child(child));
	EXPECT_HELD(fd, 0, 0);
	close(fd);
}

/* Stays when the process that made the fd, and this one, has exited. */
static int pin_after_creator(void *fixture)
{
	struct _test_data_lifetime *self = fixture;
	int sock = self->sock[1];

	return await(sock) || pin(self->fd, self->buf, self->size) ||
	       tell(sock) || await(sock);
}

static void create_and_exit(struct _test_data_lifetime *self)
{
	self->fd = mempinfd();
	if (pin(self->fd, self->buf, self->size) ||
	    send_fd(self->sock[1], self->fd))
		_exit(1);
	_exit(clone_vm(pin_after_creator, self) < 0);
}

TEST_F(lifetime, creator_exits_before_clone_vm)
{
	pid_t child;
	int fd;

	ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		create_and_exit(self);
	EXPECT_EQ(0, wait_child(child));
	fd = recv_fd(self->sock[0]);
	EXPECT_HELD(fd, 1, NR_PAGES);

	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, await(self->sock[0]));
	EXPECT_HELD(fd, 2, 2 * NR_PAGES);
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_LT(0, wait(NULL));
	EXPECT_HELD(fd, 0, 0);
	close(fd);
}

TEST_HARNESS_MAIN
