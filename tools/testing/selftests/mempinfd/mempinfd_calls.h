/* SPDX-License-Identifier: GPL-2.0 */
/* The calls, for programs with the kselftest harness and without. */
#ifndef MEMPINFD_CALLS_H
#define MEMPINFD_CALLS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef NOLIBC	/* tools/include/nolibc comes as one file, before all others */
#include <stdint.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#endif
#include <asm/unistd.h>
#include <linux/mempinfd.h>

static inline int mempinfd(void)
{
	return syscall(__NR_mempinfd);
}

/* For addresses that need not fit a pointer of this program. */
static inline int pin_at(int fd, uint64_t addr, uint64_t size)
{
	struct mem_pin_address range = { addr, size };

	return ioctl(fd, MEM_CMD_PIN, &range);
}

static inline int unpin_at(int fd, uint64_t addr, uint64_t size)
{
	struct mem_pin_address range = { addr, size };

	return ioctl(fd, MEM_CMD_UNPIN, &range);
}

static inline int pin(int fd, const void *addr, uint64_t size)
{
	return pin_at(fd, (uintptr_t)addr, size);
}

static inline int unpin(int fd, const void *addr, uint64_t size)
{
	return unpin_at(fd, (uintptr_t)addr, size);
}

static inline int pin_info(int fd, struct mem_pin_info *info)
{
	*info = (struct mem_pin_info) { .size = sizeof(*info) };
	return ioctl(fd, MEM_CMD_INFO, info);
}

static inline size_t page_size(void)
{
	return getpagesize();
}

#endif /* MEMPINFD_CALLS_H */
