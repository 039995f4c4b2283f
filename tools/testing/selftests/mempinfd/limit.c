// SPDX-License-Identifier: GPL-2.0
/* Who may pin how much: RLIMIT_MEMLOCK, and CAP_IPC_LOCK that lifts it. */
#include "mempinfd_util.h"
#include <linux/io_uring.h>

#define LIMIT	16	/* pages */

/* A user of one's own, who may use mempinfd() and has a limit. */
FIXTURE(limit)
{
	struct setting sysctl;
	long long pins_before;
	size_t page;
	char *mem;	/* four times the limit */
	int fd;
};

FIXTURE_SETUP(limit)
{
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
	self->pins_before = system_pins();
	self->page = page_size();
	self->mem = map_pages(4 * LIMIT);
	ASSERT_TRUE(!!self->mem);
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, LIMIT * self->page));
	ASSERT_EQ(0, become_user(TEST_UID));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

/* Another user would miss the rights to do this. */
FIXTURE_TEARDOWN_PARENT(limit)
{
	setting_restore(&self->sysctl);
	EXPECT_EQ(self->pins_before, system_pins());
}

/* Nothing is charged to the user if all of the limit can be had, and no more. */
#define EXPECT_ALL_FREE()						\
	({								\
		EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem,		\
					 (LIMIT + 1) * self->page));	\
		EXPECT_EQ(0, pin(self->fd, self->mem,			\
				 LIMIT * self->page));			\
		EXPECT_EQ(0, unpin(self->fd, self->mem,			\
				   LIMIT * self->page));		\
	})

TEST_F(limit, exactly)
{
	ASSERT_EQ(0, pin(self->fd, self->mem, LIMIT * self->page));
	EXPECT_HELD(self->fd, 1, LIMIT);
	EXPECT_EQ(LIMIT, vm_pin(getpid()));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_HELD(self->fd, 1, LIMIT);
	EXPECT_EQ(0, unpin(self->fd, self->mem, LIMIT * self->page));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_ALL_FREE();
}

TEST_F(limit, one_more)
{
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, LIMIT * self->page + 1));
	EXPECT_HELD(self->fd, 0, 0);
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_ALL_FREE();
}

/* Bytes count as the pages that they touch. */
TEST_F(limit, counts_pages)
{
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem + self->page - 1,
				 (LIMIT - 1) * self->page + 2));
	EXPECT_EQ(0, pin(self->fd, self->mem + self->page - 1,
			 (LIMIT - 1) * self->page + 1));
	EXPECT_HELD(self->fd, 1, LIMIT);
}

TEST_F(limit, many_small_pins)
{
	size_t i;

	for (i = 0; i < LIMIT; i++) {
		EXPECT_EQ(0, pin(self->fd, self->mem + i * self->page, 1));
		EXPECT_EQ(i + 1, vm_pin(getpid()));
	}
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem + LIMIT * self->page, 1));
	EXPECT_HELD(self->fd, LIMIT, LIMIT);
	EXPECT_EQ(0, unpin(self->fd, self->mem + 3 * self->page, 1));
	EXPECT_EQ(0, pin(self->fd, self->mem + LIMIT * self->page, 1));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem + 3 * self->page, 1));
	EXPECT_HELD(self->fd, LIMIT, LIMIT);
}

/* The same page costs each time. */
TEST_F(limit, same_page)
{
	int i;

	for (i = 0; i < LIMIT; i++)
		EXPECT_EQ(0, pin(self->fd, self->mem, 1));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_EQ(LIMIT, vm_pin(getpid()));
}

TEST_F(limit, failure_costs_nothing)
{
	size_t i;

	ASSERT_EQ(0, pin(self->fd, self->mem, (LIMIT - 1) * self->page));
	/* A hole behind one good page, again and again. */
	ASSERT_EQ(0, munmap(self->mem + self->page, self->page));
	for (i = 0; i < 4 * LIMIT; i++) {
		EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 2 * self->page));
		EXPECT_ERRNO(EFAULT, pin(self->fd, self->mem + self->page, 1));
	}
	EXPECT_HELD(self->fd, 1, LIMIT - 1);
	EXPECT_EQ(LIMIT - 1, vm_pin(getpid()));
	EXPECT_EQ(0, pin(self->fd, self->mem, 1));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
}

TEST_F(limit, close_gives_back)
{
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pin(fd, self->mem, LIMIT * self->page));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_EQ(0, close(fd));
	EXPECT_ALL_FREE();
}

TEST_F(limit, two_processes)
{
	int up[2], down[2];
	pid_t child;
	char byte;

	ASSERT_EQ(0, pipe(up));
	ASSERT_EQ(0, pipe(down));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		int fd = mempinfd();

		close(down[1]);
		EXPECT_EQ(0, pin(fd, self->mem, (LIMIT - 2) * self->page));
		EXPECT_EQ(1, write(up[1], "", 1));
		/* Ends, with the pins alive, when the parent closes its end. */
		EXPECT_EQ(0, read(down[0], &byte, 1));
		_exit(0);
	}
	ASSERT_EQ(1, read(up[0], &byte, 1));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(LIMIT - 2, vm_pin(child));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 3 * self->page));
	EXPECT_EQ(0, pin(self->fd, self->mem, 2 * self->page));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_EQ(0, unpin(self->fd, self->mem, 2 * self->page));
	close(down[1]);
	EXPECT_EQ(0, wait_child(child));
	EXPECT_ALL_FREE();
}

/* The limit that counts is the one at the time of the call. */
TEST_F(limit, lowered)
{
	ASSERT_EQ(0, pin(self->fd, self->mem, LIMIT * self->page));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 2 * self->page));
	EXPECT_HELD(self->fd, 1, LIMIT);
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_EQ(0, unpin(self->fd, self->mem, LIMIT * self->page));
	EXPECT_EQ(0, pin(self->fd, self->mem, 2 * self->page));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
}

TEST_F(limit, less_than_a_page)
{
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, self->page - 1));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
	EXPECT_HELD(self->fd, 0, 0);
}

TEST_F(limit, zero)
{
	ASSERT_EQ(0, pin(self->fd, self->mem, 1));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 0));
	EXPECT_ERRNO(EPERM, pin(self->fd, self->mem, 1));
	EXPECT_ERRNO(EPERM, pin(self->fd, self->mem, (LIMIT + 1) * self->page));
	EXPECT_HELD(self->fd, 1, 1);
	EXPECT_LE(0, mempinfd());
	EXPECT_EQ(0, unpin(self->fd, self->mem, 1));
	EXPECT_HELD(self->fd, 0, 0);
}

/* mlock() has its own count: neither eats the other's. */
TEST_F(limit, mlock_apart)
{
	ASSERT_EQ(0, mlock(self->mem, LIMIT * self->page));
	EXPECT_EQ(0, pin(self->fd, self->mem, LIMIT * self->page));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 1));
}

/* What io_uring pins for the same user comes out of the same limit. */
TEST_F(limit, shared_with_io_uring)
{
	struct iovec buffer = { self->mem, (LIMIT - 1) * self->page };
	struct io_uring_params params = {};
	int ring = syscall(__NR_io_uring_setup, 1, &params);

	if (ring < 0)
		SKIP(return, "no io_uring: %s", strerror(errno));
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_REGISTER_BUFFERS, &buffer, 1)) {
		TH_LOG("%s", strerror(errno));
	}
	EXPECT_EQ(LIMIT - 1, vm_pin(getpid()));
	EXPECT_ERRNO(ENOMEM, pin(self->fd, self->mem, 2 * self->page));
	EXPECT_EQ(0, pin(self->fd, self->mem, 1));
	EXPECT_EQ(LIMIT, vm_pin(getpid()));
	EXPECT_EQ(0, syscall(__NR_io_uring_register, ring,
			     IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_EQ(0, pin(self->fd, self->mem, (LIMIT - 1) * self->page));
}

/* ---- with CAP_IPC_LOCK ---- */

FIXTURE(capable)
{
	long long pins_before;
	size_t page;
	char *mem;	/* four times the limit */
	int fd;
};

FIXTURE_SETUP(capable)
{
	self->pins_before = system_pins();
	self->page = page_size();
	self->mem = map_pages(4 * LIMIT);
	ASSERT_TRUE(!!self->mem);
	/* To be charged as a user of one's own takes the real uid only. */
	ASSERT_EQ(0, setresuid(TEST_UID, 0, 0));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, LIMIT * self->page));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(capable)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(self->pins_before, system_pins());
}

TEST_F(capable, lifts_the_limit)
{
	EXPECT_EQ(0, pin(self->fd, self->mem, 3 * LIMIT * self->page));
	EXPECT_EQ(0, pin(self->fd, self->mem, 3 * LIMIT * self->page));
	EXPECT_HELD(self->fd, 2, 6 * LIMIT);
	EXPECT_EQ(6 * LIMIT, vm_pin(getpid()));
}

TEST_F(capable, not_the_counting)
{
	ASSERT_EQ(0, pin(self->fd, self->mem, LIMIT * self->page));
	IN_CHILD({
		char *mem = map_pages(LIMIT + 1);
		int fd = mempinfd();

		EXPECT_EQ(0, drop_capability(CAP_IPC_LOCK));
		EXPECT_ERRNO(ENOMEM, pin(fd, mem, 1));
	});
	EXPECT_EQ(0, unpin(self->fd, self->mem, LIMIT * self->page));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_ALL_FREE();
}

TEST_F(capable, limit_zero)
{
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 0));
	EXPECT_EQ(0, pin(self->fd, self->mem, self->page));
	EXPECT_HELD(self->fd, 1, 1);
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_ERRNO(EPERM, pin(self->fd, self->mem, self->page));
	EXPECT_EQ(0, unpin(self->fd, self->mem, self->page));
}

TEST_F(capable, unlimited)
{
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, RLIM_INFINITY));
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_EQ(0, pin(self->fd, self->mem, 4 * LIMIT * self->page));
	EXPECT_EQ(4 * LIMIT, vm_pin(getpid()));
}

TEST_HARNESS_MAIN
