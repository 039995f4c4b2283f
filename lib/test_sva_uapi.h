/* SPDX-License-Identifier: GPL-2.0+ WITH Linux-syscall-note */
/*
 * Interface of the software SVA device, see lib/test_sva.c.  For tests only:
 * it may change with any kernel.
 */
#ifndef _LIB_TEST_SVA_UAPI_H
#define _LIB_TEST_SVA_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Why a translation failed, in the order in which hardware would look. */
enum test_sva_cause {
	TEST_SVA_OK,
	TEST_SVA_NOT_PRESENT,
	TEST_SVA_MIGRATION,		/* not present: a migration entry */
	TEST_SVA_PROT_NONE,		/* not present: a NUMA hint */
	TEST_SVA_WRITE_PROTECTED,
	TEST_SVA_ACCESSED,		/* accessed bit clear, no hardware update */
	TEST_SVA_DIRTY,			/* dirty bit clear, no hardware update */
	TEST_SVA_MOVED,			/* watch only: maps another page now */
	TEST_SVA_NR_CAUSES,
};

enum test_sva_op {
	TEST_SVA_COPY,			/* src to dst */
	TEST_SVA_CRC32C,		/* of src */
	TEST_SVA_TOUCH,			/* read, and write back, a byte a page of dst */
};

/**
 * struct test_sva_job - one job for the device
 * @op: enum test_sva_op
 * @repeat: how many times to do it; not 0
 * @src: address to read from
 * @dst: address to write to
 * @len: bytes; not 0
 * @cookie: handed back on completion
 */
struct test_sva_job {
	__u32 op;
	__u32 repeat;
	__aligned_u64 src;
	__aligned_u64 dst;
	__aligned_u64 len;
	__aligned_u64 cookie;
};

/**
 * struct test_sva_done - one completion; read() returns as many as fit
 * @cookie: of the job
 * @latency_ns: from submission to completion
 * @faults: page requests that it raised
 * @crc: result of TEST_SVA_CRC32C
 * @status: 0 or a negative errno
 */
struct test_sva_done {
	__aligned_u64 cookie;
	__aligned_u64 latency_ns;
	__aligned_u64 faults;
	__u32 crc;
	__s32 status;
};

#define TEST_SVA_UNKNOWN	(~0ULL)
#define TEST_SVA_BUCKETS	40	/* bucket n: below 2^n nanoseconds */

/**
 * struct test_sva_stats - what happened since the last TEST_SVA_RESET
 * @translations: addresses translated for jobs
 * @iotlb_hits: those that the IOTLB knew
 * @invalidations: calls of the IOTLB invalidation
 * @ad_updates: accessed or dirty bits set as hardware would have
 * @faults: page requests of jobs, by enum test_sva_cause
 * @lasting: those whose entry was still unusable when service began
 * @watched: failed translations of watched ranges, by cause
 * @writes: writes to the page table that took access to a watched page frame
 *	away, even for a moment and without a flush; TEST_SVA_UNKNOWN on a kernel
 *	that does not check page tables
 * @service: time to serve a page request, histogram
 * @latency: submission to completion of jobs, histogram
 */
struct test_sva_stats {
	__aligned_u64 translations;
	__aligned_u64 iotlb_hits;
	__aligned_u64 invalidations;
	__aligned_u64 ad_updates;
	__aligned_u64 faults[TEST_SVA_NR_CAUSES];
	__aligned_u64 lasting[TEST_SVA_NR_CAUSES];
	__aligned_u64 watched[TEST_SVA_NR_CAUSES];
	__aligned_u64 writes;
	__aligned_u64 service[TEST_SVA_BUCKETS];
	__aligned_u64 latency[TEST_SVA_BUCKETS];
};

/**
 * struct test_sva_range - a range of whole pages
 * @addr: first byte
 * @len: bytes
 * @write: whether the device would write there
 * @reserved: 0
 */
struct test_sva_range {
	__aligned_u64 addr;
	__aligned_u64 len;
	__u32 write;
	__u32 reserved;
};

#define TEST_SVA_NO_HW_AD	1	/* mode: accessed/dirty are faults */

#define TEST_SVA_SUBMIT		_IOW('S', 0x80, struct test_sva_job)
#define TEST_SVA_STATS		_IOR('S', 0x81, struct test_sva_stats)
#define TEST_SVA_RESET		_IO('S', 0x82)
#define TEST_SVA_SET_MODE	_IO('S', 0x83)	/* TEST_SVA_NO_HW_AD or 0 */
#define TEST_SVA_SET_EVENTFD	_IO('S', 0x84)	/* fd, or -1 for none */
/* Translate a range now and at every invalidation that touches it. */
#define TEST_SVA_WATCH		_IOW('S', 0x85, struct test_sva_range)
#define TEST_SVA_UNWATCH	_IO('S', 0x86)	/* all ranges */
/* Translate all watched ranges now; returns how many pages fail. */
#define TEST_SVA_CHECK		_IO('S', 0x87)

#endif /* _LIB_TEST_SVA_UAPI_H */
