/* SPDX-License-Identifier: (LGPL-2.1 OR BSD-2-Clause) */
/*
 * libmempinfd: pin memory for devices that share the page table
 *
 * Each function returns -1 and sets errno if it fails, to what the kernel says.
 * See mempinfd(2), ioctl_mempinfd(2) and libmempinfd(3).
 */
#ifndef MEMPINFD_H
#define MEMPINFD_H

#include <stddef.h>
#include <linux/mempinfd.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Returns a file descriptor to pin memory of this process with.  ENOSYS where
 * the kernel has no such call, or there is no /proc to tell.
 */
int mempinfd(void);

/* Fault in and pin every page that the buffer touches, or none of them. */
int mempin_pin(int fd, const void *addr, size_t size);

/* Undo the oldest mempin_pin() of exactly these pages. */
int mempin_unpin(int fd, const void *addr, size_t size);

/* What @fd holds.  Set info->size to sizeof(*info), all the rest to 0. */
int mempin_info(int fd, struct mem_pin_info *info);

#ifdef __cplusplus
}
#endif

#endif /* MEMPINFD_H */
