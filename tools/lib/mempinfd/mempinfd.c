// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "mempinfd.h"

/* A kernel with mempinfd() has it, no other has. */
#define SYSCTL	"/proc/sys/vm/unprivileged_mempinfd"

/*
 * With headers that do not know the call, its number is that of the kernel
 * tree this is built in: the same on all architectures, counted from where the
 * ABI begins to count.
 */
#ifndef __NR_mempinfd
#if defined(__alpha__)
#define __NR_mempinfd	(110 + MEMPINFD_NUMBER)
#elif defined(__mips__)
#define __NR_mempinfd	(__NR_Linux + MEMPINFD_NUMBER)
#elif defined(__x86_64__) && defined(__ILP32__)
#define __NR_mempinfd	(__X32_SYSCALL_BIT + MEMPINFD_NUMBER)
#else
#define __NR_mempinfd	MEMPINFD_NUMBER
#endif
#endif

/*
 * The number is provisional, and another kernel has another call there: look
 * first what kernel this is.
 */
int mempinfd(void)
{
	if (access(SYSCTL, F_OK)) {
		errno = ENOSYS;
		return -1;
	}
	return syscall(__NR_mempinfd);
}

static int range_ioctl(int fd, unsigned long cmd, const void *addr, size_t size)
{
	struct mem_pin_address range = {
		.addr = (uintptr_t)addr,
		.size = size,
	};

	return ioctl(fd, cmd, &range);
}

int mempin_pin(int fd, const void *addr, size_t size)
{
	return range_ioctl(fd, MEM_CMD_PIN, addr, size);
}

int mempin_unpin(int fd, const void *addr, size_t size)
{
	return range_ioctl(fd, MEM_CMD_UNPIN, addr, size);
}

int mempin_info(int fd, struct mem_pin_info *info)
{
	return ioctl(fd, MEM_CMD_INFO, info);
}
