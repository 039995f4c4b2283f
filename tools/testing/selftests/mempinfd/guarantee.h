/* SPDX-License-Identifier: GPL-2.0 */
/* What the parts of guarantee.c have in common. */
#ifndef MEMPINFD_GUARANTEE_H
#define MEMPINFD_GUARANTEE_H

#include "mempinfd_calls.h"
#include "mempinfd_mem.h"
#include "mempinfd_place.h"
#include "mempinfd_sva.h"

#include <linux/mman.h>
#include <sys/types.h>

#include "../kselftest.h"

#define MEBI		((size_t)1 << 20)
#define NR_SETTINGS	8
#define CELL_SECONDS	120
#define SEED		0x67756172616e7465ULL

#define CGROUP		"/sys/fs/cgroup/guarantee"
#define SWAP_DEVICE	"/dev/ram1"
#define NUMA_SWITCH	"/proc/sys/kernel/numa_balancing"

struct cell;

/* ---- kinds of memory ---- */

struct kind {
	const char *name;
	enum memory_kind kind;
};

/* Sets of them. */
#define KIND(kind)	(1U << MEM_##kind)
#define HUGETLB		(KIND(HUGETLB_PRIVATE) | KIND(HUGETLB_SHARED))
#define SHMEM		(KIND(MEMFD) | KIND(MEMFD_THP))
#define SHARED		(SHMEM | KIND(HUGETLB_SHARED))
#define SMALL		(KIND(ANON) | KIND(MEMFD))
#define PMD_MAPPED	(KIND(THP) | KIND(MEMFD_THP))
#define ALL_KINDS	(SMALL | PMD_MAPPED | HUGETLB | KIND(MTHP_64K))

extern const struct kind kinds[];
extern const size_t nr_kinds;

/* ---- protections ---- */

enum expectation {
	SHOW,		/* whatever it is */
	NONE,		/* not a single fault */
	SOME,		/* else the stressor is none */
	AS_NONE,	/* what happens without protection happens here too */
};

struct protection {
	const char *name;
	const char *(*need)(void);	/* what is missing here */
	int (*protect)(struct cell *c);
	enum expectation expect;
	bool without_numa_balancing;
	bool pool;			/* instead: hugetlb pages of a reserved pool */
	bool direct;			/* short-term pins come and go */
	bool often;			/* each page is mapped very often */
	bool raced;			/* comes and goes while the stressor works */
	bool quick;
};

extern const struct protection protections[];
extern const size_t nr_protections;

/* ---- stressors ---- */

/* Where a kind is named here, the kernel does not do it to that kind at all. */
struct not_applicable {
	unsigned int kinds;
	const char *why;
};

#define MAX_NOT_APPLICABLE	4

struct stressor {
	const char *name;
	const char *(*need)(void);		/* what is missing here */
	int (*before)(struct cell *c);		/* before there is memory */
	bool (*placed)(struct cell *c);		/* is it where it has to be? */
	int (*prepare)(struct cell *c);		/* before it is protected */
	int (*stress)(struct cell *c);
	int node;				/* of the memory */
	unsigned int hits_pinned;		/* kinds, without the mm patches */
	bool quick;
	bool splits;				/* transient faults are documented */
	bool once;				/* uses up what it works with */
	bool huge;				/* works on whole huge pages */
	bool by_other;				/* another process does it */
	struct not_applicable not_applicable[MAX_NOT_APPLICABLE];
	struct not_applicable not_mapped_often[MAX_NOT_APPLICABLE];
	const char *not_direct;			/* why, with short-term pins */
};

extern const struct stressor stressors[];
extern const size_t nr_stressors;

/* Why that would make no test; NULL if it does. */
const char *not_applicable(const struct stressor *s, const struct kind *k,
			   const struct protection *p);

bool find_swap(void);
const char *need_nodes(void);

/* By the owner of the memory, or the other process. */
int stress(struct cell *c);

const char *need_compaction(void);
int fill_with_gaps(struct cell *c);
int stress_compaction(struct cell *c);
const char *need_thp(void);
int prepare_collapse(struct cell *c);
int stress_madv_collapse(struct cell *c);
int stress_khugepaged(struct cell *c);
const char *need_cma(void);
int leave_cma(struct cell *c);
bool placed_in_cma(struct cell *c);
int stress_cma(struct cell *c);
const char *need_removable(void);
int leave_removable(struct cell *c);
bool placed_in_removable(struct cell *c);
int stress_offline(struct cell *c);
const char *need_soft_offline(void);
int stress_soft_offline(struct cell *c);

/* ---- a cell of the table ---- */

struct result {
	__u64 transient[TEST_SVA_NR_CAUSES];
	__u64 lasting[TEST_SVA_NR_CAUSES];
	__u64 writes;	/* to the page table, where the kernel counts them */
	uint64_t moved;
	bool ran;
	char why[192];	/* it could not be measured */
};

/*
 * What a test works with.  The test runs in a process of its own; this stands
 * in memory that it shares with the parent, who undoes the settings, and with
 * the other process that some stressors have.
 */
struct cell {
	const struct stressor *stressor;
	const struct kind *kind;
	const struct protection *protection;
	const struct cell *unprotected;	/* of the same stressor and kind */

	struct setting settings[NR_SETTINGS];
	int nr_settings;

	pid_t owner;		/* whose memory it is */
	int other;		/* socket to the other process */
	struct region all;	/* what is mapped */
	struct region used;	/* the part that is protected and watched */
	int pin_fd;
	int device;
	int to;			/* node to which memory was moved last */
	bool read_only;		/* the device only reads */
	bool stop;		/* the race is over */
	unsigned int rounds;	/* of it */
	struct result result;
};

static inline uint64_t faults(const struct result *r)
{
	return sva_sum(r->transient) + sva_sum(r->lasting);
}

static inline bool is_hugetlb(const struct cell *c)
{
	return HUGETLB & (1U << c->all.kind);
}

/* All steps of a test return 0, or tell why not. */
int cannot(struct cell *c, const char *what);
/* Until the end of the test. */
int change(struct cell *c, const char *path, const char *value);
int64_t now_ms(void);
void touch_all(const struct region *r);
/* Until a counter of passes has counted that many more. */
int wait_passes(struct cell *c, const char *path, int passes);
/* Until somebody writes, private memory is shared with a child. */
int share_with_child(struct cell *c);
/* MADV_*, by whoever calls. */
int advise(struct cell *c, char *addr, size_t size, int advice);

/* ---- the table ---- */

void print_table(const struct cell *cells);
void print_csv(const struct cell *cells);
void print_not_applicable(void);
void print_causes(const struct result *r);

#endif /* MEMPINFD_GUARANTEE_H */
