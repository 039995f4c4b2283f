/* SPDX-License-Identifier: GPL-2.0 */
/* The software SVA device, lib/test_sva.c. */
#ifndef MEMPINFD_SVA_H
#define MEMPINFD_SVA_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>
#include <lib/test_sva_uapi.h>
#include <sys/ioctl.h>

#define SVA_DEVICE	"/dev/test_sva"

/* Bound to the address space of the caller. */
static inline int sva_open(void)
{
	return open(SVA_DEVICE, O_RDWR | O_CLOEXEC);
}

static inline int sva_submit(int fd, const struct test_sva_job *job)
{
	return ioctl(fd, TEST_SVA_SUBMIT, job);
}

/* Wait for the job that was submitted first among those not read. */
static inline int sva_wait(int fd, struct test_sva_done *done)
{
	return read(fd, done, sizeof(*done)) == sizeof(*done) ? 0 : -1;
}

static inline int sva_run(int fd, const struct test_sva_job *job,
			  struct test_sva_done *done)
{
	return sva_submit(fd, job) ?: sva_wait(fd, done);
}

/* Report every moment in which the device could not use the range. */
static inline int sva_watch_access(int fd, const void *addr, size_t len, bool write)
{
	struct test_sva_range range = {
		.addr = (uintptr_t)addr, .len = len, .write = write,
	};

	return ioctl(fd, TEST_SVA_WATCH, &range);
}

static inline int sva_watch(int fd, const void *addr, size_t len)
{
	return sva_watch_access(fd, addr, len, true);
}

static inline uint64_t sva_sum(const __u64 causes[TEST_SVA_NR_CAUSES])
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < TEST_SVA_NR_CAUSES; i++)
		sum += causes[i];
	return sum;
}

#endif /* MEMPINFD_SVA_H */
