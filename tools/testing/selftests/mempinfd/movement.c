// SPDX-License-Identifier: GPL-2.0
/*
 * Pinned pages stay where they are, and first go to where they can stay.
 *
 * Every test lets the same mover work on memory that is not pinned as well:
 * that nothing moves proves something only where things do move.
 */

#include "mempinfd_util.h"
#include "mempinfd_mem.h"
#include "mempinfd_place.h"

#include <glob.h>
#include <sys/uio.h>

#define SEED	0x6d6f76656d656e74ULL
#define MEBI	((size_t)1 << 20)

/* Small for base pages, two pages for huge ones. */
static size_t kind_size(enum memory_kind kind)
{
	size_t page = memory_kind_page(kind);

	return page < MEBI ? MEBI : 2 * page;
}

/* ---- nodes ---- */

static int fill_on(const struct region *r, int node)
{
	int ret;

	if (allocate_on(node))
		return -1;
	ret = region_fill(r, SEED);
	return allocate_on(-1) ?: ret;
}

/* ---- movers: each tries to bring a region to a node ---- */

/* One address in each page, of whatever size the pages are by now. */
static size_t list_pages(const struct region *r, void **pages)
{
	uint64_t *frames = region_frames(r);
	size_t i, n = 0;

	for (i = 0; frames && i < region_base_pages(r); i++)
		if (!(frame_flags(frames[i]) & KPAGE_FLAG(COMPOUND_TAIL)))
			pages[n++] = r->addr + i * page_size();
	free(frames);
	return n;
}

static void mover_move_pages(const struct region *r, int node)
{
	size_t i, n = region_base_pages(r);
	void **pages = calloc(n, sizeof(*pages));
	int *nodes = calloc(n, sizeof(*nodes));
	int *status = calloc(n, sizeof(*status));

	for (i = 0; i < n; i++)
		nodes[i] = node;
	n = list_pages(r, pages);
	syscall(__NR_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE_ALL);
	free(pages);
	free(nodes);
	free(status);
}

static void mover_mbind(const struct region *r, int node)
{
	unsigned long nodes = 1UL << node;

	syscall(__NR_mbind, r->addr, r->size, MPOL_BIND, &nodes, 8 * sizeof(nodes),
		MPOL_MF_MOVE_ALL);
	syscall(__NR_mbind, r->addr, r->size, MPOL_DEFAULT, NULL, 0, 0);
}

static void mover_migrate_pages(const struct region *r, int node)
{
	unsigned long from = 1UL << !node, to = 1UL << node;

	syscall(__NR_migrate_pages, 0, 8 * sizeof(from), &from, &to);
}

FIXTURE(node) {
	int fd;
	long long system_pins;
	struct region r;
};

FIXTURE_VARIANT(node) {
	enum memory_kind kind;
	void (*mover)(const struct region *r, int node);
};

FIXTURE_VARIANT_ADD(node, move_pages_anon) { MEM_ANON, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_thp) { MEM_THP, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_mthp_64k) { MEM_MTHP_64K, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_hugetlb_private) { MEM_HUGETLB_PRIVATE, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_hugetlb_shared) { MEM_HUGETLB_SHARED, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_file_private) { MEM_FILE_PRIVATE, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_memfd) { MEM_MEMFD, mover_move_pages };
FIXTURE_VARIANT_ADD(node, move_pages_memfd_thp) { MEM_MEMFD_THP, mover_move_pages };
FIXTURE_VARIANT_ADD(node, mbind_anon) { MEM_ANON, mover_mbind };
FIXTURE_VARIANT_ADD(node, mbind_thp) { MEM_THP, mover_mbind };
FIXTURE_VARIANT_ADD(node, mbind_memfd) { MEM_MEMFD, mover_mbind };
FIXTURE_VARIANT_ADD(node, migrate_pages_anon) { MEM_ANON, mover_migrate_pages };
FIXTURE_VARIANT_ADD(node, migrate_pages_thp) { MEM_THP, mover_migrate_pages };
FIXTURE_VARIANT_ADD(node, migrate_pages_memfd) { MEM_MEMFD, mover_migrate_pages };

FIXTURE_SETUP(node)
{
	if (!has_two_nodes())
		SKIP(return, "one NUMA node only");
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, kind_size(variant->kind)));
	ASSERT_EQ(0, fill_on(&self->r, 0));
	ASSERT_TRUE(region_has_its_pages(&self->r));
}

FIXTURE_TEARDOWN(node)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	region_unmap(&self->r);
}

/* How many base pages does the variant's mover move? */
static size_t moved_to(const struct region *r, int node,
		       void (*mover)(const struct region *r, int node))
{
	uint64_t *frames = region_frames(r);
	size_t moved = 0;

	if (frames) {
		mover(r, node);
		moved = region_moved(r, frames);
	}
	free(frames);
	return moved;
}

TEST_F(node, holds_only_while_pinned)
{
	size_t pages = region_base_pages(&self->r);
	struct region *r = &self->r;

	EXPECT_EQ(pages, moved_to(r, 1, variant->mover));

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_EQ(0, moved_to(r, 0, variant->mover));
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_PINNED(self->fd, 1, pages);
	ASSERT_EQ(0, unpin(self->fd, r->addr, r->size));

	EXPECT_EQ(pages, moved_to(r, 0, variant->mover));
	EXPECT_TRUE(region_holds(r, SEED));
}

/* ---- compaction ---- */

/*
 * One page is left in each gap of this many: the free pages between attract
 * and the lone pages are what compaction moves.  Every second one is pinned.
 */
#define GAP	16

FIXTURE(compaction) {
	int fd;
	long long system_pins;
	struct region r;
	uint64_t *frames;
	struct setting pcp;
};

FIXTURE_VARIANT(compaction) {
	enum memory_kind kind;
	int free_advice;
};

FIXTURE_VARIANT_ADD(compaction, anon) { MEM_ANON, MADV_DONTNEED };
FIXTURE_VARIANT_ADD(compaction, memfd) { MEM_MEMFD, MADV_REMOVE };

static int make_gaps(const struct region *r, int free_advice)
{
	size_t at, step = GAP * r->page;

	for (at = 0; at < r->size; at += step)
		if (madvise(r->addr + at + r->page, step - r->page, free_advice))
			return -1;
	return 0;
}

FIXTURE_SETUP(compaction)
{
	if (access("/proc/sys/vm/compact_memory", W_OK))
		SKIP(return, "this kernel has no compaction");
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 64 * MEBI));
	region_write(&self->r, SEED);
	/* compaction does not find free pages on the CPUs' own lists: keep these short */
	ASSERT_EQ(0, setting_change(&self->pcp, "/proc/sys/vm/percpu_pagelist_high_fraction",
				    "1000000"));
	EXPECT_EQ(0, make_gaps(&self->r, variant->free_advice));
}

FIXTURE_TEARDOWN(compaction)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	region_unmap(&self->r);
	setting_restore(&self->pcp);
	free(self->frames);
}

/* Apply @call to every second lone page, starting with number @first. */
static int each_second_page(int fd, const struct region *r, size_t first,
			    int (*call)(int fd, const void *addr, uint64_t size))
{
	size_t at;

	for (at = first * GAP * r->page; at < r->size; at += 2 * GAP * r->page)
		if (call(fd, r->addr + at, r->page))
			return -1;
	return 0;
}

/* How many of every second lone page are no longer where they were? */
static size_t moved_since(const struct region *r, const uint64_t *before, size_t first)
{
	size_t i, n = region_base_pages(r), moved = 0;
	uint64_t *now = region_frames(r);

	for (i = first * GAP; i < n; i += 2 * GAP)
		moved += !now || now[i] != before[i];
	free(now);
	return moved;
}

TEST_F(compaction, leaves_only_pinned_pages)
{
	size_t pages = region_base_pages(&self->r) / GAP / 2;
	struct region *r = &self->r;

	ASSERT_EQ(0, each_second_page(self->fd, r, 0, pin));
	EXPECT_PINNED(self->fd, pages, pages);
	self->frames = region_frames(r);
	ASSERT_TRUE(!!self->frames);

	ASSERT_EQ(0, write_text("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(0, moved_since(r, self->frames, 0));
	EXPECT_LT(0, moved_since(r, self->frames, 1));

	EXPECT_EQ(0, each_second_page(self->fd, r, 0, unpin));
	EXPECT_PINNED(self->fd, 0, 0);
}

/* ---- memory that must be free to go: ZONE_MOVABLE ---- */

static size_t count_between(const struct region *r, uint64_t first, uint64_t frames)
{
	uint64_t *frame = region_frames(r);
	size_t i, inside = 0;

	for (i = 0; frame && i < region_base_pages(r); i++)
		inside += frame[i] >= first && frame[i] < first + frames;
	free(frame);
	return inside;
}

FIXTURE(movable_zone) {
	int fd;
	long long system_pins;
	struct region r;
	struct block block;
};

FIXTURE_VARIANT(movable_zone) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(movable_zone, anon) { MEM_ANON };
FIXTURE_VARIANT_ADD(movable_zone, thp) { MEM_THP };
FIXTURE_VARIANT_ADD(movable_zone, mthp_64k) { MEM_MTHP_64K };
FIXTURE_VARIANT_ADD(movable_zone, hugetlb) { MEM_HUGETLB_SHARED };
FIXTURE_VARIANT_ADD(movable_zone, memfd) { MEM_MEMFD };
FIXTURE_VARIANT_ADD(movable_zone, memfd_thp) { MEM_MEMFD_THP };

FIXTURE_SETUP(movable_zone)
{
	if (access(MEMORY_DIR "block_size_bytes", R_OK))
		SKIP(return, "this kernel cannot take memory offline");
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, block_find_movable_logged(&self->block));
}

FIXTURE_TEARDOWN(movable_zone)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	if (self->r.addr)
		region_unmap(&self->r);
	block_restore(&self->block);
}

/* hugetlb takes its pages when it is mapped, others when touched */
static int map_in_block(struct region *r, enum memory_kind kind, const struct block *block)
{
	if (allocate_on(block->node) || region_map(r, kind, kind_size(kind)))
		return -1;
	return fill_on(r, block->node);
}

TEST_F(movable_zone, is_left_by_pinned_pages)
{
	struct block *block = &self->block;
	struct region *r = &self->r;
	uint64_t *frames;

	ASSERT_EQ(0, map_in_block(r, variant->kind, block));
	ASSERT_EQ(region_base_pages(r), count_between(r, block->first, block->frames));

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_EQ(0, count_between(r, block->first, block->frames));
	EXPECT_TRUE(region_holds(r, SEED));

	/* the block can go, and it takes nothing along */
	frames = region_frames(r);
	ASSERT_TRUE(!!frames);
	EXPECT_EQ(0, block_set(block, "offline"));
	EXPECT_EQ(0, region_moved(r, frames));
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
	free(frames);
}

/* A pipe has a reference to a page that it was given. */
TEST_F(movable_zone, is_not_left_by_a_page_in_use)
{
	struct region *r = &self->r;
	struct iovec part = { .iov_len = page_size() };
	int ends[2];

	ASSERT_EQ(0, map_in_block(r, variant->kind, &self->block));
	part.iov_base = r->addr;
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ((ssize_t)part.iov_len, vmsplice(ends[1], &part, 1, 0));

	EXPECT_ERRNO(ENOMEM, pin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
	close(ends[0]);
	close(ends[1]);
	EXPECT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_TRUE(region_holds(r, SEED));
}

/* ---- memory that must be free to go: CMA ---- */

#define CMA_STEP	(4 * MEBI)
#define CMA_WANTED	16	/* pages in the area before the test goes on */

static size_t free_memory_of_node(int node)
{
	char path[64], name[32];
	long long kilobytes;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
	snprintf(name, sizeof(name), "Node %d MemFree", node);
	kilobytes = read_field(path, name);
	if (kilobytes < 0)
		kilobytes = read_field("/proc/meminfo", "MemFree");
	return kilobytes << 10;
}

/*
 * The page allocator turns to a CMA area when that is more than half of what
 * is free: use memory up until then, and keep the pages that came last.
 */
static int take_cma_pages(const struct cma *cma, struct region *r)
{
	int node = node_of_frame(cma->first);
	size_t size = free_memory_of_node(node) - cma->frames * page_size();
	struct region all, part;

	if (allocate_on(node) || region_map(&all, MEM_ANON, size))
		return -1;
	part = all;
	part.size = CMA_STEP;
	for (; part.addr + part.size <= all.addr + all.size; part.addr += part.size) {
		if (madvise(part.addr, part.size, MADV_POPULATE_WRITE))
			break;
		if (count_between(&part, cma->first, cma->frames) < CMA_WANTED)
			continue;
		*r = part;
		munmap(part.addr + part.size, all.addr + all.size - part.addr - part.size);
		munmap(all.addr, part.addr - all.addr);
		return allocate_on(-1);
	}
	region_unmap(&all);
	return -1;
}

FIXTURE(cma) {
	int fd;
	long long system_pins;
	struct cma cma;
	struct region r;
};

FIXTURE_SETUP(cma)
{
	if (cma_find(&self->cma))
		SKIP(return, "no unused CMA area: boot with cma=");
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, take_cma_pages(&self->cma, &self->r));
	region_write(&self->r, SEED);
}

FIXTURE_TEARDOWN(cma)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	region_unmap(&self->r);
}

TEST_F(cma, allocation_succeeds_in_spite_of_pins)
{
	struct cma *cma = &self->cma;
	struct region *r = &self->r;

	ASSERT_LE(CMA_WANTED, count_between(r, cma->first, cma->frames));
	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_EQ(0, count_between(r, cma->first, cma->frames));
	EXPECT_TRUE(region_holds(r, SEED));

	EXPECT_EQ(0, cma_alloc_all(cma));
	EXPECT_EQ(cma->frames, cma_read(cma, "used"));
	EXPECT_EQ(0, cma_write(cma, "free", cma->frames));
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_HARNESS_MAIN
