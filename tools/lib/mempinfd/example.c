// SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause)
/*
 * How a user-space driver for a device with shared virtual addressing registers
 * a buffer, and what it does where the kernel has no mempinfd().
 *
 *   cc example.c $(pkg-config --cflags --libs libmempinfd)
 */
#include <mempinfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Returns what keeps the device from faulting on the buffer. */
static const char *register_buffer(int fd, const void *buffer, size_t size)
{
	if (fd >= 0 && !mempin_pin(fd, buffer, size))
		return "pinned";
	/* Without swap at least; a page that is moved still costs a fault. */
	return mlock(buffer, size) ? "nothing" : "locked";
}

int main(void)
{
	size_t size = 1 << 20;
	void *buffer = malloc(size);
	int fd = mempinfd();	/* one for all buffers of the process */

	if (!buffer)
		return 1;
	if (fd < 0)
		perror("mempinfd");
	puts(register_buffer(fd, buffer, size));
	if (fd >= 0)
		close(fd);	/* nothing is pinned any more */
	free(buffer);
	return 0;
}
