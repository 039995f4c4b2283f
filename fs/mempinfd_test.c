// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of mempinfd.c, which includes this file. */
#include <kunit/test.h>

#define MEMPIN_TEST_PAGES(n)	((u64)(n) << PAGE_SHIFT)

struct mempin_range_case {
	const char *name;
	u64 addr;
	u64 size;
	u64 task_size;
	int ret;
	u64 first;
	u64 nr_pages;
};

#define MEMPIN_TEST_TASK	MEMPIN_TEST_PAGES(1024)

static const struct mempin_range_case mempin_range_cases[] = {
	{ "one byte", 5, 1, MEMPIN_TEST_TASK, 0, 0, 1 },
	{ "one page", PAGE_SIZE, PAGE_SIZE, MEMPIN_TEST_TASK, 0, 1, 1 },
	{ "last byte of a page and the next", 2 * PAGE_SIZE - 1, 2,
	  MEMPIN_TEST_TASK, 0, 1, 2 },
	{ "all but the outer bytes", 1, 3 * PAGE_SIZE - 2,
	  MEMPIN_TEST_TASK, 0, 0, 3 },
	{ "whole address space", 0, MEMPIN_TEST_TASK,
	  MEMPIN_TEST_TASK, 0, 0, 1024 },
	{ "one byte too long", 0, MEMPIN_TEST_TASK + 1,
	  MEMPIN_TEST_TASK, -EFAULT },
	{ "above the address space", MEMPIN_TEST_TASK, 1,
	  MEMPIN_TEST_TASK, -EFAULT },
	{ "size 0", PAGE_SIZE, 0, MEMPIN_TEST_TASK, -EINVAL },
	{ "size 0 above the address space", U64_MAX, 0,
	  MEMPIN_TEST_TASK, -EINVAL },
	{ "up to the last of 64 bits", U64_MAX - 1, 2,
	  MEMPIN_TEST_TASK, -EFAULT },
	{ "one byte beyond 64 bits", U64_MAX - 1, 3,
	  MEMPIN_TEST_TASK, -EINVAL },
	{ "everything, from 1", 1, U64_MAX, MEMPIN_TEST_TASK, -EFAULT },
	{ "everything, from 2", 2, U64_MAX, MEMPIN_TEST_TASK, -EINVAL },
	{ "everything, from 0", 0, U64_MAX, MEMPIN_TEST_TASK, -EFAULT },
	{ "above a 32-bit word", BIT_ULL(32) + PAGE_SIZE, PAGE_SIZE,
	  BIT_ULL(32), -EFAULT },
#ifdef CONFIG_64BIT
	{ "2^31 pages", PAGE_SIZE, MEMPIN_TEST_PAGES(BIT_ULL(31)),
	  MEMPIN_TEST_PAGES(BIT_ULL(32)), 0, 1, BIT_ULL(31) },
	{ "2^32 + 1 pages", PAGE_SIZE - 1, MEMPIN_TEST_PAGES(BIT_ULL(32)),
	  MEMPIN_TEST_PAGES(BIT_ULL(33)), 0, 0, BIT_ULL(32) + 1 },
#endif
};

static void mempin_range_desc(const struct mempin_range_case *c, char *desc)
{
	strscpy(desc, c->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(mempin_range, mempin_range_cases, mempin_range_desc);

static void mempin_range_test(struct kunit *test)
{
	const struct mempin_range_case *c = test->param_value;
	struct mempin_range range = {};

	KUNIT_EXPECT_EQ(test, c->ret, mempin_range_init(&range, c->addr,
							c->size, c->task_size));
	KUNIT_EXPECT_EQ(test, c->first, (u64)range.first);
	KUNIT_EXPECT_EQ(test, c->nr_pages, (u64)range.nr_pages);
}

/* A chunk, and the largest pin, is one page: no order-1 allocation, ever. */
static void mempin_chunk_test(struct kunit *test)
{
	struct mempin_chunk *chunk;
	struct mempin *pin;

	KUNIT_EXPECT_LE(test, struct_size(chunk, run, MEMPIN_CHUNK_RUNS),
			PAGE_SIZE);
	KUNIT_EXPECT_LE(test, struct_size(pin, run, MEMPIN_CHUNK_RUNS),
			PAGE_SIZE);
	KUNIT_EXPECT_GT(test, struct_size(pin, run, MEMPIN_CHUNK_RUNS + 1),
			PAGE_SIZE);
}

/* Neighbours join until the count of a run is full. */
static void mempin_run_test(struct kunit *test)
{
	struct mempin_run run = { .pfn = 100, .nr = MEMPIN_RUN_MAX - 1 };
	unsigned long next = 100 + MEMPIN_RUN_MAX - 1;

	KUNIT_EXPECT_TRUE(test, mempin_run_continues(&run, next));
	KUNIT_EXPECT_FALSE(test, mempin_run_continues(&run, next + 1));
	KUNIT_EXPECT_FALSE(test, mempin_run_continues(&run, next - 1));
	KUNIT_EXPECT_FALSE(test, mempin_run_continues(&run, 99));

	run.nr++;
	KUNIT_EXPECT_EQ(test, MEMPIN_RUN_MAX, (u64)run.nr);
	KUNIT_EXPECT_FALSE(test, mempin_run_continues(&run, next + 1));
}

/* Runs that do not join fill chunk after chunk; the rest stays in the draft. */
static void mempin_draft_test(struct kunit *test)
{
	const unsigned int nr = 2 * MEMPIN_CHUNK_RUNS + 1;
	struct mempin_chunk *full;
	struct mempin_draft draft;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, mempin_draft_init(&draft, MEMPIN_SMALL + 1));
	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_EQ(test, 0, mempin_draft_add_pfn(&draft, 2 * i));

	KUNIT_EXPECT_EQ(test, nr, draft.nr_pages);
	KUNIT_EXPECT_EQ(test, 1, draft.nr_runs);
	KUNIT_EXPECT_EQ(test, 2 * (nr - 1), (u64)draft.run[0].pfn);

	/* The chunk that filled up last comes first. */
	for (i = 1; draft.full; i--) {
		full = draft.full;
		KUNIT_EXPECT_EQ(test, 2 * i * MEMPIN_CHUNK_RUNS,
				(u64)full->run[0].pfn);
		draft.full = full->next;
		kfree(full);
	}
	KUNIT_EXPECT_EQ(test, -1, (int)i);
	mempin_draft_end(&draft);
}

static struct mempin *mempin_test_insert(struct kunit *test,
					 struct mempinfd_ctx *ctx,
					 unsigned long nr_pages)
{
	struct mempin *pin = kunit_kzalloc(test, sizeof(*pin), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pin);
	pin->nr_pages = nr_pages;
	KUNIT_ASSERT_EQ(test, 0, mempinfd_insert(ctx, 7, pin));
	return pin;
}

/* Of pins with the same first page, the oldest that fits is taken out. */
static void mempin_ring_test(struct kunit *test)
{
	struct mempin_range one = { .first = 7, .nr_pages = 1 };
	struct mempin_range two = { .first = 7, .nr_pages = 2 };
	struct mempin_range none = { .first = 8, .nr_pages = 1 };
	struct mempinfd_ctx *ctx;
	struct mempin *pin[4];

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	mutex_init(&ctx->lock);
	xa_init(&ctx->pins);

	pin[0] = mempin_test_insert(test, ctx, 1);
	pin[1] = mempin_test_insert(test, ctx, 2);
	pin[2] = mempin_test_insert(test, ctx, 1);
	pin[3] = mempin_test_insert(test, ctx, 2);
	KUNIT_EXPECT_EQ(test, 4, ctx->nr_pins);
	KUNIT_EXPECT_EQ(test, 6, ctx->nr_pages);

	KUNIT_EXPECT_PTR_EQ(test, pin[1], mempinfd_remove(ctx, &two));
	KUNIT_EXPECT_PTR_EQ(test, pin[3], mempinfd_remove(ctx, &two));
	KUNIT_EXPECT_EQ(test, -ENOENT, PTR_ERR(mempinfd_remove(ctx, &two)));
	KUNIT_EXPECT_EQ(test, -ENOENT, PTR_ERR(mempinfd_remove(ctx, &none)));
	KUNIT_EXPECT_PTR_EQ(test, pin[0], mempinfd_remove(ctx, &one));
	KUNIT_EXPECT_PTR_EQ(test, pin[2], mempinfd_remove(ctx, &one));
	KUNIT_EXPECT_EQ(test, -ENOENT, PTR_ERR(mempinfd_remove(ctx, &one)));

	KUNIT_EXPECT_EQ(test, 0, ctx->nr_pins);
	KUNIT_EXPECT_EQ(test, 0, ctx->nr_pages);
	KUNIT_EXPECT_TRUE(test, xa_empty(&ctx->pins));
}

/* A page that has as many references as it may is refused. */
static void mempin_often_test(struct kunit *test)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct mempin_draft draft;

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_EQ(test, 0, mempin_draft_init(&draft, 1));

	page_ref_add(page, MEMPIN_MAX_REFS - 1);
	KUNIT_EXPECT_EQ(test, 0, mempin_draft_add(&draft, page));
	page_ref_inc(page);
	KUNIT_EXPECT_EQ(test, -ENOMEM, mempin_draft_add(&draft, page));
	KUNIT_EXPECT_EQ(test, 1, draft.nr_pages);
	page_ref_sub(page, MEMPIN_MAX_REFS);

	mempin_draft_end(&draft);
	__free_page(page);
}

static struct kunit_case mempinfd_test_cases[] = {
	KUNIT_CASE_PARAM(mempin_range_test, mempin_range_gen_params),
	KUNIT_CASE(mempin_chunk_test),
	KUNIT_CASE(mempin_run_test),
	KUNIT_CASE(mempin_often_test),
	KUNIT_CASE(mempin_draft_test),
	KUNIT_CASE(mempin_ring_test),
	{}
};

static struct kunit_suite mempinfd_test_suite = {
	.name = "mempinfd",
	.test_cases = mempinfd_test_cases,
};

kunit_test_suite(mempinfd_test_suite);
