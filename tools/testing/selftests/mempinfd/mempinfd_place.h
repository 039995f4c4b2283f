/* SPDX-License-Identifier: GPL-2.0 */
/* Where memory comes from and goes to: nodes, CMA areas, blocks, swap. */
#ifndef MEMPINFD_PLACE_H
#define MEMPINFD_PLACE_H

#include "mempinfd_mem.h"

#include <glob.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/syscall.h>

/* ---- nodes ---- */

static inline bool has_nodes(void)
{
	return !access("/sys/devices/system/node/node0", F_OK);
}

static inline bool has_two_nodes(void)
{
	return has_nodes() && !access("/sys/devices/system/node/node1", F_OK);
}

/* Allocate on @node, or, if it is negative, where one is.  A kernel without NUMA has one. */
static inline int allocate_on(int node)
{
	unsigned long nodes = 1UL << node;

	if (!has_nodes())
		return 0;
	if (node < 0)
		return syscall(__NR_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	return syscall(__NR_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes));
}

#define MOVED_PAGES	512

/* Ask for each of the first @n pages at @addr, MOVED_PAGES at most, to be on @node. */
static inline void move_pages_to(char *addr, size_t n, int node)
{
	int nodes[MOVED_PAGES], status[MOVED_PAGES];
	void *pages[MOVED_PAGES];
	size_t i;

	if (n > MOVED_PAGES)
		n = MOVED_PAGES;
	for (i = 0; i < n; i++) {
		pages[i] = addr + i * sysconf(_SC_PAGESIZE);
		nodes[i] = node;
	}
	syscall(__NR_move_pages, 0, (unsigned long)n, pages, nodes, status, MPOL_MF_MOVE);
}

/* ---- CMA ---- */

#define CMA_DIR		"/sys/kernel/debug/cma/"

struct cma {
	char dir[64];
	uint64_t first;		/* page frame number */
	uint64_t frames;
};

static inline long long cma_read(const struct cma *cma, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", cma->dir, name);
	return read_number(path);
}

static inline int cma_write(const struct cma *cma, const char *name, uint64_t pages)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", cma->dir, name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)pages);
	return write_text(path, text);
}

/* The largest area that no driver uses. */
static inline int cma_find(struct cma *largest)
{
	struct cma cma;
	glob_t found;
	size_t i;

	largest->frames = 0;
	if (glob(CMA_DIR "*", GLOB_ONLYDIR, NULL, &found))
		return -1;
	for (i = 0; i < found.gl_pathc; i++) {
		snprintf(cma.dir, sizeof(cma.dir), "%s", found.gl_pathv[i]);
		cma.first = cma_read(&cma, "base_pfn");
		cma.frames = cma_read(&cma, "count");
		if (cma.frames > largest->frames && !cma_read(&cma, "used"))
			*largest = cma;
	}
	globfree(&found);
	return largest->frames ? 0 : -1;
}

/* One page in use for a moment is enough to make it fail once. */
static inline int cma_alloc_all(const struct cma *cma)
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		if (!cma_write(cma, "alloc", cma->frames))
			return 0;
		usleep(100000);
	}
	return -1;
}

/* ---- memory blocks ---- */

#define MEMORY_DIR	"/sys/devices/system/memory/"

/* A memory block that is ZONE_MOVABLE while a test runs. */
struct block {
	char dir[64];
	int node;
	uint64_t first;		/* page frame number */
	uint64_t frames;
};

static inline int block_set(const struct block *b, const char *state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/state", b->dir);
	return write_text(path, state);
}

static inline void block_on_alarm(int signal)
{
}

/* Going offline is tried until it works, or until a signal comes: EINTR. */
static inline int block_set_offline(const struct block *b, unsigned int seconds)
{
	struct sigaction action = { .sa_handler = block_on_alarm }, old;
	int ret;

	if (sigaction(SIGALRM, &action, &old))
		return -1;
	alarm(seconds);
	ret = block_set(b, "offline");
	alarm(0);
	sigaction(SIGALRM, &old, NULL);
	return ret;
}

/* Nodes have a link each to their blocks, and blocks to their node. */
static inline int block_node(const struct block *b)
{
	char pattern[128];
	glob_t found;
	int node;

	snprintf(pattern, sizeof(pattern), "%s/node[0-9]*", b->dir);
	if (glob(pattern, 0, NULL, &found))
		return 0;
	if (sscanf(strrchr(found.gl_pathv[0], '/'), "/node%d", &node) != 1)
		node = -1;
	globfree(&found);
	return node;
}

static inline int block_init(struct block *b, const char *dir)
{
	char size[64];

	if (read_text(MEMORY_DIR "block_size_bytes", size, sizeof(size)))
		return -1;
	snprintf(b->dir, sizeof(b->dir), "%s", dir);
	b->frames = strtoull(size, NULL, 16) / (uint64_t)sysconf(_SC_PAGESIZE);
	b->first = strtoull(strrchr(dir, 'y') + 1, NULL, 10) * b->frames;
	b->node = block_node(b);
	return b->node < 0 ? -1 : 0;
}

/* A kernel whose memory is not in blocks is taken to have one node. */
static inline int node_of_frame(uint64_t frame)
{
	char dir[64], size[64];
	struct block block;

	if (read_text(MEMORY_DIR "block_size_bytes", size, sizeof(size)))
		return 0;
	snprintf(dir, sizeof(dir), MEMORY_DIR "memory%llu",
		 (unsigned long long)frame * sysconf(_SC_PAGESIZE) / strtoull(size, NULL, 16));
	return block_init(&block, dir) ? 0 : block.node;
}

/* What a test has not yet begun to use goes within seconds, or never. */
#define BLOCK_PATIENCE	30

static inline int block_make_movable(struct block *b, const char *dir)
{
	if (block_init(b, dir) || block_set_offline(b, BLOCK_PATIENCE))
		return -1;
	if (!block_set(b, "online_movable"))
		return 0;
	block_set(b, "online");
	return -1;
}

/* Not every block can go offline: kernel memory may be in it. */
static inline int block_find_movable(struct block *b)
{
	int ret = -1;
	glob_t found;
	size_t i;

	if (glob(MEMORY_DIR "memory[0-9]*", 0, NULL, &found))
		return -1;
	for (i = found.gl_pathc; ret && i > 0; i--)
		ret = block_make_movable(b, found.gl_pathv[i - 1]);
	globfree(&found);
	return ret;
}

/* Of each block that cannot go the kernel logs why. */
static inline int block_find_movable_logged(struct block *b)
{
	int ret;

	kmsg_write(KMSG_EXPECTED);
	ret = block_find_movable(b);
	kmsg_write(KMSG_UNEXPECTED);
	return ret;
}

/* Is the page at @addr in it? */
static inline bool block_has(const struct block *b, const void *addr)
{
	return page_frame(addr) - b->first < b->frames;
}

static inline void block_restore(const struct block *b)
{
	block_set_offline(b, BLOCK_PATIENCE);
	block_set(b, "online_kernel");
}

/* ---- swap ---- */

/* The header that mkswap(8) writes: see union swap_header. */
static inline int make_swap(const char *device)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int fd = open(device, O_RDWR | O_CLOEXEC);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	uint32_t version_and_last[] = { 1, size / page - 1 };
	char header[page];
	ssize_t written;

	if (size < (off_t)(2 * page))
		return -1;
	memset(header, 0, page);
	memcpy(header + 1024, version_and_last, sizeof(version_and_last));
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	written = pwrite(fd, header, page, 0);
	close(fd);
	return written == (ssize_t)page ? 0 : -1;
}

#endif /* MEMPINFD_PLACE_H */
