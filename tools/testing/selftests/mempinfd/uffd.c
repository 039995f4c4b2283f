// SPDX-License-Identifier: GPL-2.0
/* PIN waits for pages that a userfaultfd monitor has to bring. */

#include "mempinfd_util.h"
#include "mempinfd_mem.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <linux/userfaultfd.h>

#define SEED		0x7573657266617573ULL
#define MEBI		((size_t)1 << 20)
#define PATIENCE_MS	20000

/* ---- the monitor ---- */

static int uffd_open(int flags)
{
	struct uffdio_api api = { .api = UFFD_API };
	/* poll() has no answer for one that blocks */
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api))
		return -1;
	return uffd;
}

static int uffd_register(int uffd, const struct region *r)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)r->addr, r->size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg);
}

/* Wait until somebody waits for a page. */
static bool uffd_has_fault(int uffd)
{
	struct pollfd pollfd = { .fd = uffd, .events = POLLIN };

	return poll(&pollfd, 1, PATIENCE_MS) == 1 && pollfd.revents == POLLIN;
}

struct monitor {
	int uffd;
	const struct region *r;
	size_t serve;		/* bring so many pages, then report an error */
	size_t served;
	pthread_t thread;
};

/* Bring the page at @at, with what region_fill() would write there. */
static int monitor_copy(const struct monitor *m, size_t at)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)m->r->addr + at,
		.len = m->r->page,
	};
	uint64_t *page = malloc(m->r->page);
	size_t i;
	int ret;

	for (i = 0; i < m->r->page / sizeof(*page); i++)
		page[i] = SEED ^ (at / sizeof(*page) + i);
	copy.src = (uintptr_t)page;
	ret = ioctl(m->uffd, UFFDIO_COPY, &copy);
	free(page);
	return ret;
}

static int monitor_poison(const struct monitor *m, size_t at)
{
	struct uffdio_poison poison = {
		.range = { (uintptr_t)m->r->addr + at, m->r->page },
	};

	return ioctl(m->uffd, UFFDIO_POISON, &poison);
}

/* Serve one fault after the other, until all pages are there or one is bad. */
static void *monitor_run(void *arg)
{
	struct monitor *m = arg;
	struct uffd_msg msg;
	size_t at;

	while (m->served < m->r->size / m->r->page) {
		if (!uffd_has_fault(m->uffd) || read(m->uffd, &msg, sizeof(msg)) != sizeof(msg))
			return NULL;
		at = (msg.arg.pagefault.address & ~(m->r->page - 1)) - (uintptr_t)m->r->addr;
		if (m->served == m->serve) {
			monitor_poison(m, at);
			return NULL;
		}
		if (monitor_copy(m, at))
			return NULL;
		m->served++;
	}
	return NULL;
}

static int monitor_start(struct monitor *m)
{
	return pthread_create(&m->thread, NULL, monitor_run, m);
}

/* ---- a thread that waits in PIN ---- */

struct waiter {
	int fd;
	const struct region *r;
	int ret;
	pthread_t thread;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;

	w->ret = pin(w->fd, w->r->addr, w->r->size) ? errno : 0;
	return NULL;
}

/* Returns with the thread in the middle of PIN. */
static bool waiter_start(struct waiter *w, int uffd)
{
	return !pthread_create(&w->thread, NULL, waiter_run, w) && uffd_has_fault(uffd);
}

/* Errno of the PIN, 0 if it was fine. */
static int waiter_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->ret;
}

/* ---- the tests ---- */

FIXTURE(uffd) {
	int fd;
	int uffd;
	long long system_pins;
	struct region r;
	struct monitor monitor;
	struct waiter waiter;
	size_t pages;
};

FIXTURE_VARIANT(uffd) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(uffd, anon) { MEM_ANON };
FIXTURE_VARIANT_ADD(uffd, memfd) { MEM_MEMFD };
FIXTURE_VARIANT_ADD(uffd, hugetlb_private) { MEM_HUGETLB_PRIVATE };
FIXTURE_VARIANT_ADD(uffd, hugetlb_shared) { MEM_HUGETLB_SHARED };

FIXTURE_SETUP(uffd)
{
	size_t page = memory_kind_page(variant->kind);

	if (!page)
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->uffd = uffd_open(0);
	if (self->uffd < 0)
		SKIP(return, "this kernel has no userfaultfd");
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, page < MEBI ? 64 * page : 4 * page));
	self->pages = region_base_pages(&self->r);
	ASSERT_EQ(0, uffd_register(self->uffd, &self->r));
	self->monitor = (struct monitor) {
		.uffd = self->uffd, .r = &self->r, .serve = SIZE_MAX,
	};
	self->waiter = (struct waiter) { .fd = self->fd, .r = &self->r };
}

FIXTURE_TEARDOWN(uffd)
{
	close(self->uffd);
	close(self->fd);
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, vm_pin(getpid()));
	region_unmap(&self->r);
}

TEST_F(uffd, monitor_brings_the_pages)
{
	ASSERT_EQ(0, monitor_start(&self->monitor));
	EXPECT_EQ(0, pin(self->fd, self->r.addr, self->r.size));
	ASSERT_EQ(0, pthread_join(self->monitor.thread, NULL));

	EXPECT_EQ(self->r.size / self->r.page, self->monitor.served);
	EXPECT_PINNED(self->fd, 1, self->pages);
	EXPECT_TRUE(region_holds(&self->r, SEED));
	EXPECT_EQ(0, unpin(self->fd, self->r.addr, self->r.size));
	EXPECT_PINNED(self->fd, 0, 0);
}

/* All or nothing: half of the pages are pinned when the bad one comes. */
TEST_F(uffd, monitor_reports_a_bad_page)
{
	/* the last page: PIN does not come that far */
	if (monitor_poison(&self->monitor, self->r.size - self->r.page)) {
		ASSERT_EQ(EINVAL, errno);
		SKIP(return, "this kernel cannot mark such memory as bad");
	}
	self->monitor.serve = self->r.size / self->r.page / 2;
	ASSERT_EQ(0, monitor_start(&self->monitor));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->r.addr, self->r.size));
	ASSERT_EQ(0, pthread_join(self->monitor.thread, NULL));

	EXPECT_EQ(self->monitor.serve, self->monitor.served);
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_F(uffd, monitor_goes_away)
{
	ASSERT_TRUE(waiter_start(&self->waiter, self->uffd));
	ASSERT_EQ(0, close(self->uffd));
	EXPECT_EQ(0, waiter_end(&self->waiter));
	EXPECT_PINNED(self->fd, 1, self->pages);
}

/* Nothing of the fd is locked across a fault. */
TEST_F(uffd, waiting_pin_holds_nobody_up)
{
	char other;

	ASSERT_TRUE(waiter_start(&self->waiter, self->uffd));
	EXPECT_EQ(0, pin(self->fd, &other, 1));
	EXPECT_EQ(self->pages + 1, fdinfo(getpid(), self->fd, "charged_pages"));
	EXPECT_EQ(1, fdinfo(getpid(), self->fd, "pinned_pages"));
	EXPECT_EQ(self->pages + 1, vm_pin(getpid()));
	EXPECT_EQ(0, unpin(self->fd, &other, 1));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->r.addr, self->r.size));

	ASSERT_EQ(0, monitor_start(&self->monitor));
	EXPECT_EQ(0, waiter_end(&self->waiter));
	ASSERT_EQ(0, pthread_join(self->monitor.thread, NULL));
	EXPECT_PINNED(self->fd, 1, self->pages);
	EXPECT_TRUE(region_holds(&self->r, SEED));
}

TEST_F(uffd, fd_closed_while_pin_waits)
{
	ASSERT_TRUE(waiter_start(&self->waiter, self->uffd));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, monitor_start(&self->monitor));
	EXPECT_EQ(0, waiter_end(&self->waiter));
	ASSERT_EQ(0, pthread_join(self->monitor.thread, NULL));

	/* the call held the last reference, and it is over */
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, vm_pin(getpid()));
}

static void ignore_signal(int nr)
{
}

/* Only a fatal signal ends a PIN; EINTR is nothing a program has to handle. */
TEST_F(uffd, handled_signal_does_not_interrupt)
{
	struct sigaction action = { .sa_handler = ignore_signal };

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_TRUE(waiter_start(&self->waiter, self->uffd));
	ASSERT_EQ(0, pthread_kill(self->waiter.thread, SIGUSR1));
	ASSERT_EQ(0, monitor_start(&self->monitor));
	EXPECT_EQ(0, waiter_end(&self->waiter));
	ASSERT_EQ(0, pthread_join(self->monitor.thread, NULL));
	EXPECT_PINNED(self->fd, 1, self->pages);
}

/* ---- SIGKILL ---- */

/* What the process to be killed tells: numbers in its own table of files. */
struct stuck_fds {
	int fd;
	int uffd;
};

/* Half of the pages are there: what is already pinned must be given back. */
static void get_stuck(enum memory_kind kind, size_t size, int report)
{
	struct stuck_fds fds = { mempinfd(), uffd_open(0) };
	struct region r;

	if (fds.fd < 0 || fds.uffd < 0 || region_map(&r, kind, size))
		_exit(1);
	memset(r.addr, 1, r.size / 2);
	if (uffd_register(fds.uffd, &r))
		_exit(1);
	if (write(report, &fds, sizeof(fds)) != sizeof(fds))
		_exit(1);
	pin(fds.fd, r.addr, r.size);
	_exit(1);
}

static int fd_of(int pidfd, int fd)
{
	return syscall(__NR_pidfd_getfd, pidfd, fd, 0);
}

static bool ends_in_time(int pidfd)
{
	struct pollfd pollfd = { .fd = pidfd, .events = POLLIN };

	return poll(&pollfd, 1, PATIENCE_MS) == 1;
}

TEST_F(uffd, sigkill_frees_a_stuck_pin)
{
	struct stuck_fds fds;
	struct mem_pin_info info;
	int report[2], pidfd, status;
	pid_t child;

	ASSERT_EQ(0, pipe(report));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		get_stuck(variant->kind, self->r.size, report[1]);
	ASSERT_EQ(sizeof(fds), read(report[0], &fds, sizeof(fds)));
	pidfd = syscall(__NR_pidfd_open, child, 0);
	ASSERT_LE(0, pidfd);
	fds.fd = fd_of(pidfd, fds.fd);
	fds.uffd = fd_of(pidfd, fds.uffd);
	ASSERT_LE(0, fds.fd);
	ASSERT_TRUE(uffd_has_fault(fds.uffd));

	ASSERT_EQ(0, pin_info(fds.fd, &info));
	EXPECT_EQ(0, info.pinned_pages);
	EXPECT_EQ(self->pages, info.charged_pages);
	EXPECT_LT(self->system_pins, system_pins());

	ASSERT_EQ(0, kill(child, SIGKILL));
	ASSERT_TRUE(ends_in_time(pidfd));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_HELD(fds.fd, 0, 0);
	EXPECT_EQ(self->system_pins, system_pins());
}

/* A monitor that is not to see faults of the kernel is not asked by PIN. */
TEST(user_mode_only)
{
	int uffd = uffd_open(UFFD_USER_MODE_ONLY);
	int fd = mempinfd();
	struct region r;

	if (uffd < 0)
		SKIP(return, "this kernel has no userfaultfd");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map(&r, MEM_ANON, MEBI));
	ASSERT_EQ(0, uffd_register(uffd, &r));
	EXPECT_ERRNO(EFAULT, pin(fd, r.addr, r.size));
	EXPECT_PINNED(fd, 0, 0);
	region_unmap(&r);
}

/* ---- pages that are write-protected when they are copied for a child ---- */

FIXTURE(protected) {
	int fd;
	int uffd;
	struct region r;
	size_t pages;
};

FIXTURE_VARIANT(protected) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(protected, anon) { MEM_ANON };
FIXTURE_VARIANT_ADD(protected, thp) { MEM_THP };

/* It protects, and goes along with a fork: else the child has nothing of it. */
static int uffd_open_for_child(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_FORK,
	};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api)) {
		close(uffd);
		return -1;
	}
	return uffd;
}

static int uffd_protect(int uffd, const struct region *r)
{
	struct uffdio_range range = { (uintptr_t)r->addr, r->size };
	struct uffdio_register reg = {
		.range = range, .mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect protect = {
		.range = range, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &reg) ?:
	       ioctl(uffd, UFFDIO_WRITEPROTECT, &protect);
}

struct ears {
	int uffd;
	int uffd_of_child;	/* closed, it would take the protection away */
};

/* fork() waits until the monitor has heard of it. */
static void *hear_of_fork(void *arg)
{
	struct ears *ears = arg;
	struct uffd_msg msg;

	if (!uffd_has_fault(ears->uffd) ||
	    read(ears->uffd, &msg, sizeof(msg)) != sizeof(msg))
		return "nothing to be heard";
	if (msg.event != UFFD_EVENT_FORK)
		return "something else";
	ears->uffd_of_child = msg.arg.fork.ufd;
	return NULL;
}

FIXTURE_SETUP(protected)
{
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", memory_kind_name(variant->kind));
	self->uffd = uffd_open_for_child();
	if (self->uffd < 0)
		SKIP(return, "this kernel has no userfaultfd that protects");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 4 * page_size()));
	ASSERT_EQ(0, region_fill(&self->r, SEED));
	ASSERT_TRUE(region_has_its_pages(&self->r));
	self->pages = region_base_pages(&self->r);
}

FIXTURE_TEARDOWN(protected)
{
	close(self->uffd);
	EXPECT_EQ(0, close(self->fd));
	region_unmap(&self->r);
}

TEST_F(protected, copies_are_too)
{
	struct ears ears = { self->uffd, -1 };
	struct region *r = &self->r;
	uint64_t *frames;
	pthread_t monitor;
	void *wrong;
	pid_t child;

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	ASSERT_EQ(0, uffd_protect(self->uffd, r));
	ASSERT_EQ(self->pages, pagemap_count(r->addr, self->pages, PAGEMAP_UFFD_WP));
	frames = region_frames(r);
	ASSERT_TRUE(!!frames);
	ASSERT_EQ(0, pthread_create(&monitor, NULL, hear_of_fork, &ears));
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		_exit(region_moved(r, frames) == self->pages && region_holds(r, SEED) ?
		      pagemap_count(r->addr, self->pages, PAGEMAP_UFFD_WP) != self->pages :
		      2);
	EXPECT_EQ(0, pthread_join(monitor, &wrong));
	EXPECT_STREQ("", (char *)wrong ?: "");
	EXPECT_EQ(0, wait_child(child));
	EXPECT_EQ(0, close(ears.uffd_of_child));
	EXPECT_EQ(0, region_moved(r, frames));
	free(frames);
}

TEST_HARNESS_MAIN
