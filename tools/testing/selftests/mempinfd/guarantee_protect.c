// SPDX-License-Identifier: GPL-2.0
/*
 * The columns of guarantee.c's table: what protects memory, or is said to, and
 * two things that shall change nothing for memory that is not protected:
 * short-term pins, and pages that have more mappings than one pin counts.
 */
#include "guarantee.h"

#include <pthread.h>
#include <signal.h>
#include <linux/io_uring.h>
#include <sys/prctl.h>
#include <sys/uio.h>

const struct kind kinds[] = {
	{ "anon",		MEM_ANON },
	{ "anon-64K",		MEM_MTHP_64K },
	{ "anon-2M",		MEM_THP },
	{ "shmem",		MEM_MEMFD },
	{ "shmem-2M",		MEM_MEMFD_THP },
	{ "hugetlb",		MEM_HUGETLB_PRIVATE },
	{ "hugetlb-shared",	MEM_HUGETLB_SHARED },
};

const size_t nr_kinds = ARRAY_SIZE(kinds);

/* ---- what one might take instead ---- */

static int protect_mlock(struct cell *c)
{
	return mlock(c->used.addr, c->used.size) ? cannot(c, "mlock") : 0;
}

static int protect_sysctls(struct cell *c)
{
	return change(c, "/proc/sys/vm/compact_unevictable_allowed", "0") ?:
	       change(c, NUMA_SWITCH, "0") ?:
	       protect_mlock(c);
}

static int protect_io_uring(struct cell *c)
{
	struct iovec iov = { c->used.addr, c->used.size };
	struct io_uring_params params = {};
	int fd;

	fd = syscall(__NR_io_uring_setup, 1, &params);
	if (fd < 0)
		return cannot(c, "io_uring_setup");
	if (syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1))
		return cannot(c, "IORING_REGISTER_BUFFERS");
	return 0;
}

/* ---- mempinfd() ---- */

static int open_mempinfd(struct cell *c)
{
	c->pin_fd = mempinfd();
	return c->pin_fd < 0 ? cannot(c, "mempinfd") : 0;
}

static int protect_mempinfd(struct cell *c)
{
	if (open_mempinfd(c))
		return -1;
	if (pin(c->pin_fd, c->used.addr, c->used.size))
		return cannot(c, "MEM_CMD_PIN");
	return 0;
}

/* ---- short-term pins ---- */

#define DIRECT_DEVICE	"/dev/ram2"
#define DIRECT_PAUSE	300	/* microseconds between two of them */

static const char *need_direct(void)
{
	return access(DIRECT_DEVICE, W_OK) ? "no " DIRECT_DEVICE : NULL;
}

static int write_direct(const struct region *r, int fd, useconds_t pause)
{
	size_t at, page = page_size();

	for (at = 0; at < r->size; at += page) {
		if (pwrite(fd, r->addr + at, page, at) != (ssize_t)page)
			return -1;
		if (pause)
			usleep(pause);
	}
	return 0;
}

static void *keep_writing_direct(void *arg)
{
	struct cell *c = arg;
	int fd = open(DIRECT_DEVICE, O_WRONLY | O_DIRECT | O_CLOEXEC);

	while (!write_direct(&c->used, fd, DIRECT_PAUSE))
		;
	cannot(c, "O_DIRECT");
	return NULL;
}

/* Each page has been pinned once, and will be again and again. */
static int write_while_stressed(struct cell *c)
{
	int fd = open(DIRECT_DEVICE, O_WRONLY | O_DIRECT | O_CLOEXEC);
	pthread_t thread;

	if (fd < 0 || write_direct(&c->used, fd, 0))
		return cannot(c, "O_DIRECT");
	close(fd);
	errno = pthread_create(&thread, NULL, keep_writing_direct, c);
	return errno ? cannot(c, "pthread_create") : 0;
}

/* ---- many mappings ---- */

#define MAPPINGS	1100	/* one pin counts as 1024 references */

/* Of length 0, mremap() makes one more mapping of what is shared. */
static int map_again(struct cell *c)
{
	char *addr = mremap(c->all.addr, 0, c->all.size, MREMAP_MAYMOVE);

	if (addr == MAP_FAILED || madvise(addr, c->all.size, MADV_POPULATE_READ))
		return cannot(c, "one more mapping");
	return 0;
}

static int map_often(struct cell *c)
{
	bool shared = SHARED & (1U << c->all.kind);
	int i, ret = 0;

	for (i = 0; i < MAPPINGS && !ret; i++)
		ret = shared ? map_again(c) : share_with_child(c);
	c->read_only = !shared;
	return ret;
}

const struct protection protections[] = {
	{ "none", .expect = SOME, .quick = true },
	{ "mlock", .protect = protect_mlock },
	{ "mlock+sysctls", .protect = protect_sysctls, .without_numa_balancing = true },
	{ "hugetlb-pool", .pool = true },
	{ "io_uring", .protect = protect_io_uring },
	{ "mempinfd", .protect = protect_mempinfd, .expect = NONE, .quick = true },
	{ "mempinfd-raced", .protect = open_mempinfd, .expect = NONE, .raced = true,
	  .quick = true },
	{ "o_direct", need_direct, write_while_stressed, .expect = AS_NONE,
	  .direct = true, .quick = true },
	{ "mapped-often", .protect = map_often, .expect = AS_NONE, .often = true },
};

const size_t nr_protections = ARRAY_SIZE(protections);
