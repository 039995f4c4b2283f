// SPDX-License-Identifier: GPL-2.0
/*
 * A program that knows mempinfd() from the RFC of February 2021 only: one fd
 * for many threads, each pinning and unpinning a buffer of its own.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/mempinfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "../kselftest_harness.h"

#define THREADS		20
#define SIZE		(4 * 1024 * 1024)
#define TIMES		200

static int fd;

/* Returns how many calls did not return 0. */
static void *pin_and_unpin(void *unused)
{
	struct mem_pin_address addr;
	long failed = 0;
	void *mem;
	int i;

	mem = malloc(SIZE);
	if (!mem)
		return (void *)(2L * TIMES);

	addr.addr = (unsigned long)mem;
	addr.size = SIZE;
	for (i = 0; i < TIMES; i++) {
		failed += ioctl(fd, MEM_CMD_PIN, &addr) != 0;
		failed += ioctl(fd, MEM_CMD_UNPIN, &addr) != 0;
	}
	free(mem);
	return (void *)failed;
}

FIXTURE(rfc)
{
	pthread_t threads[THREADS];
};

FIXTURE_SETUP(rfc)
{
	fd = syscall(__NR_mempinfd);
	ASSERT_LE(0, fd);
}

FIXTURE_TEARDOWN(rfc)
{
	EXPECT_EQ(0, close(fd));
}

TEST_F(rfc, threads)
{
	void *failed;
	int i;

	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&self->threads[i], NULL,
					    pin_and_unpin, NULL));
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_join(self->threads[i], &failed));
		EXPECT_EQ(0, (long)failed);
	}
}

TEST_HARNESS_MAIN
