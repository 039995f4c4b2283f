/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mempinfd(): pin user memory for the long term
 *
 * fd = mempinfd() returns a close-on-exec file descriptor bound to the calling
 * address space.  Its ioctls pin and unpin ranges of that address space, so
 * that a device which shares the page table finds the pages where they are.
 */
#ifndef _UAPI_LINUX_MEMPINFD_H
#define _UAPI_LINUX_MEMPINFD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General ioctl behaviour
 *
 * The system call takes no arguments and never will: new behaviour arrives as
 * a new ioctl, announced by a bit in &mem_pin_info.features, so that an old
 * kernel refuses what it does not know instead of ignoring it.
 *
 * The system call number is provisional until the series is merged.  Take it
 * from the installed headers of the kernel that is to run the program.
 *
 * These are all the errors the ioctls give:
 *
 *  - EPERM: the caller's RLIMIT_MEMLOCK is 0 and CAP_IPC_LOCK is missing
 *  - EXDEV: the caller's address space is not the one the fd was made in, or
 *    that one has ended (MEM_CMD_PIN and MEM_CMD_UNPIN only)
 *  - EINVAL: size is 0, the range wraps 64 bits, &mem_pin_info.size is below
 *    the first version's, or a field that must be 0 is not
 *  - EFAULT: the argument cannot be read or written; or a part of the range
 *    is unmapped, above the address space, PROT_NONE, device memory, secret
 *    memory, a writable shared mapping of a file system that tracks dirty
 *    pages, or cannot be pinned for another reason
 *  - EOPNOTSUPP: a part of the range maps a file on an FS-DAX file system
 *  - ENOMEM: the limit would be passed, memory ran out, a page could not be
 *    moved to where it may stay, or a page has been pinned too often
 *  - ENOENT: MEM_CMD_UNPIN of a range that is not pinned
 *  - EINTR: a fatal signal arrived (only a tracer ever sees this)
 *  - E2BIG: &mem_pin_info has a non-zero byte behind what the kernel knows
 *  - ENOTTY: unknown ioctl
 */

/**
 * struct mem_pin_address - a range of memory
 * @addr: address of the first byte; needs no alignment
 * @size: length in bytes; not 0
 *
 * The range means every page that [@addr, @addr + @size) touches.
 */
struct mem_pin_address {
	__u64 addr;
	__u64 size;
};

/**
 * define MEM_CMD_PIN - ioctl(MEM_CMD_PIN) of a struct mem_pin_address
 *
 * Fault the range in and pin all of it or, on any error, none of it.  Pages
 * of a writable mapping are pinned for writing, others for reading.  Pins are
 * independent of each other: they may overlap, and a range pinned n times
 * needs n MEM_CMD_UNPIN.  The whole range counts towards RLIMIT_MEMLOCK of
 * the user who made the fd.
 */
#define MEM_CMD_PIN	_IOW('M', 0, struct mem_pin_address)

/**
 * define MEM_CMD_UNPIN - ioctl(MEM_CMD_UNPIN) of a struct mem_pin_address
 *
 * Undo the oldest MEM_CMD_PIN of exactly these pages.  Closing the last
 * reference to the fd undoes all of them, and so does the end of the address
 * space (exit, exec), whoever else still holds the fd.
 */
#define MEM_CMD_UNPIN	_IOW('M', 1, struct mem_pin_address)

/**
 * struct mem_pin_info - ioctl(MEM_CMD_INFO)
 * @size: in: sizeof(struct mem_pin_info); out: the kernel's size of it
 * @flags: must be 0
 * @features: out: bits for what goes beyond this header; none so far
 * @pins: out: pins alive on this fd
 * @pinned_pages: out: pages of these pins; a page pinned twice counts twice
 * @charged_pages: out: pages this fd has charged to its user, those of a
 *	MEM_CMD_PIN under way included
 * @limit_pages: out: most pages the fd's user may have charged for a
 *	MEM_CMD_PIN by this caller to succeed; all ones if there is no limit
 * @page_size: out: size of a page in bytes, the unit of the counts above
 * @reserved: must be 0
 *
 * Works from any process that holds the fd.
 */
struct mem_pin_info {
	__u32 size;
	__u32 flags;
	__aligned_u64 features;
	__aligned_u64 pins;
	__aligned_u64 pinned_pages;
	__aligned_u64 charged_pages;
	__aligned_u64 limit_pages;
	__u32 page_size;
	__u32 reserved;
};

/* The ioctl's number does not depend on the size, so the struct can grow. */
#define MEM_CMD_INFO	_IO('M', 2)

#define MEM_PIN_INFO_SIZE_VER0	56	/* sizeof the first version */

#endif /* _UAPI_LINUX_MEMPINFD_H */
