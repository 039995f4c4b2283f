// SPDX-License-Identifier: GPL-2.0
/*
 * Every error of mempinfd() and its ioctls, each with otherwise valid data.
 * After every one nothing may be pinned, nothing charged, nothing logged.
 */
#include "mempinfd_util.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>

#define PAGES	4	/* in the fixture's memory */

/* More than the kernel pins at a time, so that there is something to undo. */
#define MANY	600

/* What is true before and after each test. */
struct quiet {
	int log;
	long long pins;
};

static void quiet_begin(struct quiet *quiet)
{
	quiet->log = kmsg_open();
	quiet->pins = system_pins();
}

#define EXPECT_QUIET()							\
	do {								\
		EXPECT_EQ(self->quiet.pins, system_pins());		\
		EXPECT_EQ(0, kmsg_new_records(self->quiet.log));	\
	} while (0)

/* ---- errors that the memory itself does not decide ---- */

FIXTURE(error)
{
	struct quiet quiet;
	size_t page;
	char *mem;
	int fd;
};

FIXTURE_SETUP(error)
{
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->page = page_size();
	self->mem = map_pages(PAGES);
	ASSERT_TRUE(!!self->mem);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(error)
{
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_QUIET();
}

TEST_F(error, eperm_call)
{
	ASSERT_EQ(0, read_number(SYSCTL_UNPRIVILEGED));
	IN_CHILD({
		EXPECT_EQ(0, drop_capability(CAP_IPC_LOCK));
		EXPECT_ERRNO(EPERM, mempinfd());
	});
	IN_CHILD({
		EXPECT_EQ(0, become_user(TEST_UID));
		EXPECT_ERRNO(EPERM, mempinfd());
	});
}

TEST_F(error, eperm_pin)
{
	IN_CHILD({
		int fd = mempinfd();

		EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, 0));
		EXPECT_EQ(0, drop_capability(CAP_IPC_LOCK));
		EXPECT_ERRNO(EPERM, pin(fd, self->mem, self->page));
		EXPECT_HELD(fd, 0, 0);
		EXPECT_EQ(0, vm_pin(getpid()));
	});
}

TEST_F(error, exdev)
{
	ASSERT_EQ(0, pin(self->fd, self->mem, self->page));
	IN_CHILD({
		EXPECT_ERRNO(EXDEV, pin(self->fd, self->mem, self->page));
		EXPECT_ERRNO(EXDEV, unpin(self->fd, self->mem, self->page));
		EXPECT_HELD(self->fd, 1, 1);
		EXPECT_EQ(0, vm_pin(getpid()));
	});
	EXPECT_HELD(self->fd, 1, 1);
	EXPECT_EQ(0, unpin(self->fd, self->mem, self->page));
}

TEST_F(error, einval_range)
{
	const uint64_t mem = (uintptr_t)self->mem;
	const struct mem_pin_address bad[] = {
		{ mem, 0 },
		{ 0, 0 },
		{ UINT64_MAX, 0 },
		{ mem, 0 - mem + 1 },
		{ mem, UINT64_MAX },
		{ UINT64_MAX, 2 },
		{ UINT64_MAX, UINT64_MAX },
		{ 2, UINT64_MAX },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_ERRNO(EINVAL, pin_at(self->fd, bad[i].addr, bad[i].size));
		EXPECT_ERRNO(EINVAL, unpin_at(self->fd, bad[i].addr, bad[i].size));
	}
}

TEST_F(error, einval_info)
{
	struct mem_pin_info info = { .size = MEM_PIN_INFO_SIZE_VER0 - 1 };

	EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, &info));
	info = (struct mem_pin_info) { .size = sizeof(info), .flags = 1 };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, &info));
	info = (struct mem_pin_info) { .size = sizeof(info), .reserved = 1 };
	EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, &info));
}

/* The argument can be read, but not written. */
TEST_F(error, efault_info)
{
	struct mem_pin_info *info = (void *)self->mem;

	info->size = sizeof(*info);
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, MEM_CMD_INFO, info));
}

TEST_F(error, enomem_limit)
{
	IN_CHILD({
		int fd = mempinfd();

		EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, self->page));
		EXPECT_EQ(0, drop_capability(CAP_IPC_LOCK));
		EXPECT_ERRNO(ENOMEM, pin(fd, self->mem, self->page + 1));
		EXPECT_HELD(fd, 0, 0);
		EXPECT_EQ(0, vm_pin(getpid()));
	});
}

TEST_F(error, enoent)
{
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->mem, self->page));
	ASSERT_EQ(0, pin(self->fd, self->mem, self->page));
	EXPECT_EQ(0, unpin(self->fd, self->mem, self->page));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->mem, self->page));
}

TEST_F(error, enotty)
{
	const uint64_t arg[32] = { MEM_PIN_INFO_SIZE_VER0 };
	const unsigned long bad[] = {
		_IO('M', 0),
		_IO('M', 1),
		_IOW('M', 0, uint64_t),
		_IOR('M', 0, struct mem_pin_address),
		_IOWR('M', 1, struct mem_pin_address),
		_IOWR('M', 2, struct mem_pin_info),
		_IO('M', 3),
		_IO('M', 255),
		_IOW('N', 0, struct mem_pin_address),
		TCGETS,
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_ERRNO(ENOTTY, ioctl(self->fd, bad[i], arg));
}

TEST_F(error, e2big)
{
	struct {
		struct mem_pin_info info;
		char more[8];
	} larger = { .info.size = sizeof(larger), .more[7] = 1 };

	EXPECT_ERRNO(E2BIG, ioctl(self->fd, MEM_CMD_INFO, &larger));
}

TEST_F(error, emfile)
{
	struct rlimit old, none = {};

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	none.rlim_max = old.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_ERRNO(EMFILE, mempinfd());
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
}

/* ---- an argument that cannot be read or written ---- */

FIXTURE(argument)
{
	struct quiet quiet;
	char *mem;	/* a page of zeroes, then one that is not mapped */
	size_t page;
	int fd;
};

FIXTURE_VARIANT(argument)
{
	unsigned long cmd;
};

FIXTURE_VARIANT_ADD(argument, pin) { .cmd = MEM_CMD_PIN };
FIXTURE_VARIANT_ADD(argument, unpin) { .cmd = MEM_CMD_UNPIN };
FIXTURE_VARIANT_ADD(argument, info) { .cmd = MEM_CMD_INFO };

FIXTURE_SETUP(argument)
{
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->page = page_size();
	self->mem = map_pages(2);
	ASSERT_TRUE(!!self->mem);
	ASSERT_EQ(0, munmap(self->mem + self->page, self->page));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(argument)
{
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_QUIET();
}

TEST_F(argument, unmapped)
{
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, NULL));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, self->mem + self->page));
}

TEST_F(argument, cut_off)
{
	uint32_t *last = (uint32_t *)(self->mem + self->page) - 2;

	/* MEM_CMD_INFO can read the size, and finds no such struct behind it. */
	*last = MEM_PIN_INFO_SIZE_VER0;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, last));
}

TEST_F(argument, no_access)
{
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_NONE));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, self->mem));
}

TEST_F(argument, kernel_address)
{
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, 0UL - self->page));
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, variant->cmd, ~0UL));
}

/* ---- a page that cannot be pinned, with others around it ---- */

FIXTURE(hole)
{
	struct quiet quiet;
	char *mem;	/* 2 * MANY + 1 pages; the middle one is bad */
	char *bad;
	size_t page;
	int fd;
};

FIXTURE_VARIANT(hole)
{
	bool unmap;
	int prot;
};

FIXTURE_VARIANT_ADD(hole, unmapped) { .unmap = true };
FIXTURE_VARIANT_ADD(hole, prot_none) { .prot = PROT_NONE };
FIXTURE_VARIANT_ADD(hole, exec_only) { .prot = PROT_EXEC };

FIXTURE_SETUP(hole)
{
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->page = page_size();
	self->mem = map_pages(2 * MANY + 1);
	ASSERT_TRUE(!!self->mem);
	self->bad = self->mem + MANY * self->page;
	/* There shall be a page, only no access to it. */
	*self->bad = 1;
	ASSERT_EQ(0, variant->unmap ? munmap(self->bad, self->page) :
		     mprotect(self->bad, self->page, variant->prot));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hole)
{
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_QUIET();
}

TEST_F(hole, alone)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->bad, self->page));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->bad + 1, 1));
}

TEST_F(hole, first)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->bad, 3 * self->page));
}

TEST_F(hole, middle)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->bad - self->page, 3 * self->page));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->mem, (2 * MANY + 1) * self->page));
}

TEST_F(hole, last)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->bad - self->page, self->page + 1));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->mem, (MANY + 1) * self->page));
}

/* What is beside the bad page is as good as ever. */
TEST_F(hole, beside)
{
	EXPECT_EQ(0, pin(self->fd, self->mem, MANY * self->page));
	EXPECT_EQ(0, pin(self->fd, self->bad + self->page, MANY * self->page));
	EXPECT_HELD(self->fd, 2, 2 * MANY);
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->mem, (MANY + 1) * self->page));
	EXPECT_HELD(self->fd, 2, 2 * MANY);
	EXPECT_EQ(2 * MANY, vm_pin(getpid()));
	EXPECT_EQ(0, unpin(self->fd, self->mem, MANY * self->page));
	EXPECT_EQ(0, unpin(self->fd, self->bad + self->page, MANY * self->page));
}

/* ---- addresses where no memory of the program can be ---- */

static uint64_t null_address(void)
{
	return 0;
}

/* The first byte of the stack's mapping, from a line "start-end ... [stack]". */
static uint64_t stack_start(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t start = 0;
	char line[256];

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[stack]"))
			start = strtoull(line, NULL, 16);
	if (maps)
		fclose(maps);
	return start;
}

static uint64_t below_stack(void)
{
	return stack_start() - 1;
}

static uint64_t far_below_stack(void)
{
	return stack_start() - (256 << 10);
}

static uint64_t above_32_bits(void)
{
	static char memory;

	/*
	 * Cut to a word, this would be good memory of a 32-bit program; others
	 * may be above 4 GiB themselves.
	 */
	return 1ULL << 32 ^ (uintptr_t)&memory;
}

static uint64_t not_canonical(void)
{
	return 1ULL << 62 | 0x1000;
}

static uint64_t kernel_half(void)
{
	return 1ULL << 63;
}

static uint64_t kernel_text(void)
{
	return 0xffffffff81000000ULL;
}

static uint64_t last_byte(void)
{
	return UINT64_MAX;
}

FIXTURE(outside)
{
	struct quiet quiet;
	int fd;
};

FIXTURE_VARIANT(outside)
{
	uint64_t (*addr)(void);
};

FIXTURE_VARIANT_ADD(outside, null) { .addr = null_address };
FIXTURE_VARIANT_ADD(outside, below_stack) { .addr = below_stack };
FIXTURE_VARIANT_ADD(outside, far_below_stack) { .addr = far_below_stack };
FIXTURE_VARIANT_ADD(outside, above_32_bits) { .addr = above_32_bits };
FIXTURE_VARIANT_ADD(outside, not_canonical) { .addr = not_canonical };
FIXTURE_VARIANT_ADD(outside, kernel_half) { .addr = kernel_half };
FIXTURE_VARIANT_ADD(outside, kernel_text) { .addr = kernel_text };
FIXTURE_VARIANT_ADD(outside, last_byte) { .addr = last_byte };

FIXTURE_SETUP(outside)
{
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(outside)
{
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_QUIET();
}

TEST_F(outside, efault)
{
	EXPECT_ERRNO(EFAULT, pin_at(self->fd, variant->addr(), 1));
	/* Nobody has pinned it either, above the address space or below. */
	EXPECT_EQ(-1, unpin_at(self->fd, variant->addr(), 1));
	EXPECT_TRUE(errno == EFAULT || errno == ENOENT);
}

/* ---- a fatal signal ---- */

#define TRACE_DIR	TRACE_INSTANCES "/mempinfd_errno"

FIXTURE(fatal)
{
	struct quiet quiet;
	size_t size;
	char *mem;	/* the second half comes when a monitor brings it: never */
};

FIXTURE_SETUP(fatal)
{
	if (!has_tracing())
		SKIP(return, "this kernel has no tracing");
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->size = PAGES * page_size();
	self->mem = map_pages(PAGES);
	ASSERT_TRUE(!!self->mem);
	ASSERT_EQ(0, mkdir(TRACE_DIR, 0700));
	ASSERT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/mempin_pin/enable", "1"));
}

FIXTURE_TEARDOWN(fatal)
{
	EXPECT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/mempin_pin/enable", "0"));
	EXPECT_EQ(0, rmdir(TRACE_DIR));
	EXPECT_QUIET();
}

static int hold_back(char *mem, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)mem, size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) ||
	    ioctl(uffd, UFFDIO_REGISTER, &reg))
		return -1;
	return uffd;
}

/* Tells the number of its userfaultfd, and waits in PIN until it is killed. */
static void wait_in_pin(char *mem, size_t size, int report)
{
	int fd = mempinfd();
	int uffd;

	memset(mem, 1, size / 2);
	uffd = hold_back(mem, size);
	if (fd < 0 || uffd < 0 || write(report, &uffd, sizeof(uffd)) < 0)
		_exit(1);
	pin(fd, mem, size);
	_exit(1);
}

/* Wait until a page that @child holds back is asked for. */
static bool has_fault(pid_t child, int uffd)
{
	int pidfd = syscall(__NR_pidfd_open, child, 0);
	struct pollfd poll_uffd = {
		.fd = syscall(__NR_pidfd_getfd, pidfd, uffd, 0),
		.events = POLLIN,
	};

	return poll(&poll_uffd, 1, 10000) == 1 && poll_uffd.revents == POLLIN;
}

/* The killed program does not get to see the error, but a tracer does. */
TEST_F(fatal, eintr)
{
	int report[2], status, uffd;
	char trace[8192], wanted[32];
	pid_t child;

	ASSERT_EQ(0, pipe(report));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		wait_in_pin(self->mem, self->size, report[1]);
	ASSERT_EQ(sizeof(uffd), read(report[0], &uffd, sizeof(uffd)));
	EXPECT_TRUE(has_fault(child, uffd));
	EXPECT_EQ(0, kill(child, SIGKILL));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	ASSERT_EQ(0, read_text(TRACE_DIR "/trace", trace, sizeof(trace)));
	snprintf(wanted, sizeof(wanted), " ret=%d\n", -EINTR);
	EXPECT_TRUE(!!strstr(trace, wanted)) {
		TH_LOG("%s", trace);
	}
}

/* ---- a signal that the program handles ---- */

#define MAPPINGS	2000
#define SIGNALS		200

static atomic_int signals;

/* Enough of them, or a call that is slow would be interrupted for ever. */
static void count_signal(int nr)
{
	const struct itimerval never = {};

	if (++signals == SIGNALS)
		setitimer(ITIMER_REAL, &never, NULL);
}

/* Neighbours of different rights are mappings of their own. */
static int map_many(void)
{
	size_t i, page = page_size();
	char *mem = map_pages(MAPPINGS);

	for (i = 0; mem && i < MAPPINGS; i += 2)
		if (mprotect(mem + i * page, page, PROT_READ))
			return -1;
	return mem ? 0 : -1;
}

/*
 * The first fd of an address space takes the locks of all mappings, and that
 * gives up when a signal comes: nothing that a program should have to know.
 */
TEST(signal_does_not_interrupt_the_call)
{
	const struct itimerval often = { { 0, 300 }, { 0, 300 } };
	struct sigaction action = { .sa_handler = count_signal };
	int fd;

	ASSERT_EQ(0, map_many());
	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	while (signals < SIGNALS) {
		fd = mempinfd();
		ASSERT_LE(0, fd) {
			TH_LOG("%s", strerror(errno));
		}
		EXPECT_EQ(0, close(fd));
	}
}

/* ---- the limits of the system ---- */

FIXTURE(files)
{
	struct setting sysctl;
	struct setting file_max;
};

FIXTURE_SETUP(files)
{
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
}

FIXTURE_TEARDOWN_PARENT(files)
{
	setting_restore(&self->file_max);
	setting_restore(&self->sysctl);
}

/* Says so in the log, as for any other file: no look at the log here. */
TEST_F(files, enfile)
{
	ASSERT_EQ(0, setting_change(&self->file_max, "/proc/sys/fs/file-max", "0"));
	ASSERT_EQ(0, become_user(TEST_UID));
	EXPECT_ERRNO(ENFILE, mempinfd());
}

/* ---- whatever an unprivileged program says, the log stays as it is ---- */

#define FUZZ_CALLS	50000
#define FUZZ_LIMIT	64	/* pages */

FIXTURE(fuzz)
{
	struct setting sysctl;
	struct quiet quiet;
	char *mem;	/* pages: writable, read-only, hole, PROT_NONE */
	size_t page;
};

FIXTURE_SETUP(fuzz)
{
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
	quiet_begin(&self->quiet);
	ASSERT_LE(0, self->quiet.log);
	self->page = page_size();
	self->mem = map_pages(4);
	ASSERT_TRUE(!!self->mem);
	ASSERT_EQ(0, mprotect(self->mem + self->page, self->page, PROT_READ));
	ASSERT_EQ(0, munmap(self->mem + 2 * self->page, self->page));
	ASSERT_EQ(0, mprotect(self->mem + 3 * self->page, self->page, PROT_NONE));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, FUZZ_LIMIT * self->page));
}

FIXTURE_TEARDOWN_PARENT(fuzz)
{
	setting_restore(&self->sysctl);
	EXPECT_EQ(self->quiet.pins, system_pins());
}

struct fuzz {
	int fd;
	uint64_t state;
	uint64_t edge[16];	/* where something begins or ends */
	void *bad[8];		/* pointers that no ioctl can use */
};

static void fuzz_init(struct fuzz *fuzz, int fd, char *mem)
{
	const unsigned long page = page_size();
	const uint64_t at = (uintptr_t)mem;

	*fuzz = (struct fuzz) {
		.fd = fd,
		.state = 0x6d656d70696e6664ULL,
		.edge = {
			0, at, at + page, at + 2 * page, at + 3 * page,
			at + 4 * page, stack_start(), 1ULL << 31, 1ULL << 32,
			1ULL << 43, 1ULL << 47, 1ULL << 56, 1ULL << 62,
			1ULL << 63, 0xffffffff81000000ULL, UINT64_MAX,
		},
		.bad = {
			NULL, mem + page, mem + 2 * page - 8, mem + 2 * page,
			mem + 3 * page, mem + 4 * page - 4, (void *)~0UL,
			(void *)(0UL - page),
		},
	};
}

/* The same numbers in every run: xorshift64. */
static uint64_t fuzz_next(struct fuzz *fuzz)
{
	fuzz->state ^= fuzz->state << 13;
	fuzz->state ^= fuzz->state >> 7;
	fuzz->state ^= fuzz->state << 17;
	return fuzz->state;
}

/* A number near to an edge, small ones more often. */
static uint64_t fuzz_number(struct fuzz *fuzz)
{
	uint64_t edge = fuzz->edge[fuzz_next(fuzz) % ARRAY_SIZE(fuzz->edge)];
	uint64_t offset = fuzz_next(fuzz) >> (fuzz_next(fuzz) % 50 + 14);

	return fuzz_next(fuzz) & 1 ? edge + offset : edge - offset;
}

/* Only PIN and UNPIN get a good pointer: others could do real harm with it. */
static void fuzz_call(struct fuzz *fuzz)
{
	struct mem_pin_address range = { fuzz_number(fuzz), fuzz_number(fuzz) };
	void *bad = fuzz->bad[fuzz_next(fuzz) % ARRAY_SIZE(fuzz->bad)];

	switch (fuzz_next(fuzz) % 8) {
	case 0:
		ioctl(fuzz->fd, MEM_CMD_INFO, bad);
		break;
	case 1:
		ioctl(fuzz->fd, _IO('M', fuzz_next(fuzz) & 0xff), bad);
		break;
	case 2:
		ioctl(fuzz->fd, MEM_CMD_PIN, bad);
		break;
	case 3:
		ioctl(fuzz->fd, MEM_CMD_UNPIN, &range);
		break;
	default:
		ioctl(fuzz->fd, MEM_CMD_PIN, &range);
	}
}

TEST_F(fuzz, log_unchanged)
{
	struct mem_pin_info info;
	struct fuzz fuzz;
	int fd, i;

	ASSERT_EQ(0, become_user(TEST_UID));
	fd = mempinfd();
	ASSERT_LE(0, fd);
	fuzz_init(&fuzz, fd, self->mem);
	for (i = 0; i < FUZZ_CALLS; i++)
		fuzz_call(&fuzz);
	ASSERT_EQ(0, pin_info(fd, &info));
	EXPECT_GE(FUZZ_LIMIT, info.charged_pages);
	EXPECT_EQ(info.charged_pages, info.pinned_pages);
	EXPECT_EQ((long long)info.charged_pages, vm_pin(getpid()));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, kmsg_new_records(self->quiet.log));
}

TEST_HARNESS_MAIN
