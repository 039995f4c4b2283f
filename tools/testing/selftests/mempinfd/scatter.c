// SPDX-License-Identifier: GPL-2.0
/*
 * What pins cost everybody else when they are scattered.
 *
 * RLIMIT_MEMLOCK counts pages; memory is taken out of use in blocks.  These
 * tests measure by how much, and hold the documentation to it.
 */
#include "mempinfd_util.h"
#include "mempinfd_place.h"

#define MEBI		((size_t)1 << 20)
#define SCATTER_SIZE	(256 * MEBI)
#define NODE_POOL	"/sys/devices/system/node/node0/hugepages/"
#define ONLY_POOL	"/sys/kernel/mm/hugepages/"

/* The huge pages of node 0, which is all where the kernel knows no nodes. */
struct pool {
	char path[128];
	long long kept;		/* that were there before */
};

FIXTURE(scatter) {
	int fd;
	size_t huge;		/* bytes of a block */
	struct region r;
	struct pool pool;
};

FIXTURE_SETUP(scatter)
{
	self->huge = hugetlb_size();
	if (!self->huge || self->huge > SCATTER_SIZE / 8)
		SKIP(return, "no huge pages, or only very large ones");
	snprintf(self->pool.path, sizeof(self->pool.path),
		 "%shugepages-%zukB/nr_hugepages",
		 has_nodes() ? NODE_POOL : ONLY_POOL, self->huge >> 10);
	self->pool.kept = read_number(self->pool.path);
	if (self->pool.kept < 0)
		SKIP(return, "no pool of huge pages");
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(scatter)
{
	close(self->fd);
	if (self->r.addr)
		region_unmap(&self->r);
}

static void set_pool(const struct pool *pool, long long pages)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", pages);
	write_text(pool->path, text);
}

/*
 * How many huge pages node 0 can make of its memory now, compacting what it
 * has to.  It is asked a few times: each brings it nearer to what there is.
 */
static long long huge_pages_to_be_had(const struct pool *pool)
{
	long long most = 0, pages;
	int tries;

	for (tries = 0; tries < 4; tries++) {
		write_text("/proc/sys/vm/compact_memory", "1");
		set_pool(pool, 1 << 20);
		pages = read_number(pool->path);
		if (pages > most)
			most = pages;
		set_pool(pool, pool->kept);
	}
	return most;
}

/*
 * The first page that the region has in each block of physical memory, but for
 * those that PIN takes away from there: they were in an area of CMA.
 */
static size_t pin_one_of_each_block(int fd, const struct region *r, size_t block_size)
{
	size_t in_block = block_size / page_size(), blocks = 1 << 20;
	size_t i, n = region_base_pages(r), pins = 0;
	uint64_t *frames = region_frames(r);
	bool *seen = calloc(blocks, sizeof(*seen));
	char *addr;

	for (i = 0; frames && seen && i < n; i++) {
		uint64_t block = frames[i] / in_block;

		if (block >= blocks || seen[block])
			continue;
		seen[block] = true;
		addr = r->addr + i * page_size();
		if (pin(fd, addr, page_size()))
			continue;
		if (page_frame(addr) == frames[i])
			pins++;
		else
			unpin(fd, addr, page_size());
	}
	free(frames);
	free(seen);
	return pins;
}

/* Pages of at least @blocks blocks, or of many more where these are small. */
static int map_on_node_0(struct region *r, size_t blocks, size_t block_size)
{
	size_t size = larger(SCATTER_SIZE, blocks * block_size);

	if (allocate_on(0) || region_map(r, MEM_ANON, size) ||
	    region_fill(r, 0))
		return -1;
	return allocate_on(-1);
}

TEST_F_TIMEOUT(scatter, each_page_keeps_a_block_from_being_huge, 120)
{
	size_t block = self->huge, pins;
	long long before, pinned, after;
	struct mem_pin_info info;

	before = huge_pages_to_be_had(&self->pool);
	ASSERT_EQ(0, map_on_node_0(&self->r, 16, block));
	pins = pin_one_of_each_block(self->fd, &self->r, block);
	ASSERT_LT(8, pins);
	ASSERT_EQ(0, madvise(self->r.addr, self->r.size, MADV_DONTNEED));
	ASSERT_EQ(0, pin_info(self->fd, &info));
	EXPECT_EQ(pins, info.charged_pages);

	pinned = huge_pages_to_be_had(&self->pool);
	close(self->fd);
	self->fd = -1;
	after = huge_pages_to_be_had(&self->pool);

	TH_LOG("%zu pages pinned, one in each block of %zu KiB, that is %zu KiB",
	       pins, block >> 10, pins * page_size() >> 10);
	TH_LOG("huge pages to be had: %lld before, %lld with the pins, %lld after",
	       before, pinned, after);
	/* some blocks can never be huge: what is in them does not move either */
	EXPECT_LT(pinned + pins / 2, after);
}

/* Of a huge page that is unmapped, but for a page: what is still in use? */
static size_t pages_in_use(uint64_t first, size_t n)
{
	size_t i, used = 0;

	for (i = 0; i < n; i++)
		used += !!(frame_flags(first + i) &
			   (KPAGE_FLAG(COMPOUND_HEAD) | KPAGE_FLAG(COMPOUND_TAIL)));
	return used;
}

TEST_F(scatter, a_page_of_a_huge_page_keeps_all_of_it)
{
	size_t in_block = self->huge / page_size();
	struct mem_pin_info info;
	uint64_t frame;

	if (thp_size() != self->huge)
		SKIP(return, "no transparent huge pages of this size");
	ASSERT_EQ(0, region_map(&self->r, MEM_THP, self->huge));
	ASSERT_EQ(0, region_fill(&self->r, 0));
	ASSERT_TRUE(region_has_its_pages(&self->r));
	ASSERT_EQ(0, pin(self->fd, self->r.addr, page_size()));
	/* only now: PIN moves what is in an area of CMA */
	frame = page_frame(self->r.addr);
	if (!region_has_its_pages(&self->r))
		SKIP(return, "this kernel splits a huge page that has to leave CMA");
	ASSERT_EQ(0, madvise(self->r.addr, self->r.size, MADV_DONTNEED));

	ASSERT_EQ(0, pin_info(self->fd, &info));
	EXPECT_EQ(1, info.charged_pages);
	EXPECT_EQ(in_block, pages_in_use(frame, in_block));
	ASSERT_EQ(0, unpin(self->fd, self->r.addr, page_size()));
	EXPECT_GT(in_block, pages_in_use(frame, in_block));
}

TEST_HARNESS_MAIN
