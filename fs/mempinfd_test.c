// SPDX-License-Identifier: GPL-2.0
/* KUnit tests of mempinfd.c, which includes this file. */
#include <kunit/test.h>
#include <linux/mman.h>

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

static struct mempinfd_ctx *mempin_test_ctx(struct kunit *test)
{
	struct mempinfd_ctx *ctx;

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	spin_lock_init(&ctx->lock);
	ctx->seed = 0x123456789abcdef1;
	return ctx;
}

static struct mempin *mempin_test_insert(struct kunit *test,
					 struct mempinfd_ctx *ctx,
					 unsigned long first,
					 unsigned long nr_pages)
{
	struct mempin *pin = kunit_kzalloc(test, sizeof(*pin), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, pin);
	pin->first = first;
	pin->nr_pages = nr_pages;
	KUNIT_ASSERT_EQ(test, 0, mempinfd_insert(ctx, pin));
	return pin;
}

static struct mempin *mempin_test_remove(struct mempinfd_ctx *ctx,
					 unsigned long first,
					 unsigned long nr_pages)
{
	struct mempin_range range = { .first = first, .nr_pages = nr_pages };

	return mempinfd_remove(ctx, &range);
}

/* Of the pins of one range the oldest is taken out. */
static void mempin_ring_test(struct kunit *test)
{
	struct mempinfd_ctx *ctx = mempin_test_ctx(test);
	struct mempin *none = ERR_PTR(-ENOENT);
	struct mempin *pin[5];

	KUNIT_EXPECT_PTR_EQ(test, none, mempin_test_remove(ctx, 7, 1));
	pin[0] = mempin_test_insert(test, ctx, 7, 1);
	pin[1] = mempin_test_insert(test, ctx, 7, 2);
	pin[2] = mempin_test_insert(test, ctx, 7, 1);
	pin[3] = mempin_test_insert(test, ctx, 7, 2);
	pin[4] = mempin_test_insert(test, ctx, 7, 1);
	KUNIT_EXPECT_EQ(test, 5, ctx->nr_pins);
	KUNIT_EXPECT_EQ(test, 7, ctx->nr_pages);

	KUNIT_EXPECT_PTR_EQ(test, pin[1], mempin_test_remove(ctx, 7, 2));
	KUNIT_EXPECT_PTR_EQ(test, pin[3], mempin_test_remove(ctx, 7, 2));
	KUNIT_EXPECT_PTR_EQ(test, none, mempin_test_remove(ctx, 7, 2));
	KUNIT_EXPECT_PTR_EQ(test, none, mempin_test_remove(ctx, 8, 1));
	KUNIT_EXPECT_PTR_EQ(test, pin[0], mempin_test_remove(ctx, 7, 1));
	KUNIT_EXPECT_PTR_EQ(test, pin[2], mempin_test_remove(ctx, 7, 1));
	KUNIT_EXPECT_PTR_EQ(test, pin[4], mempin_test_remove(ctx, 7, 1));
	KUNIT_EXPECT_PTR_EQ(test, none, mempin_test_remove(ctx, 7, 1));

	KUNIT_EXPECT_EQ(test, 0, ctx->nr_pins);
	KUNIT_EXPECT_EQ(test, 0, ctx->nr_pages);
	genradix_free(&ctx->buckets);
}

#define MEMPIN_TEST_PINS	1000

/* The most pins that share a bucket. */
static unsigned int mempin_test_longest(struct mempinfd_ctx *ctx)
{
	unsigned int longest = 0, length;
	struct mempin *pin;
	unsigned long i;

	for (i = 0; i <= ctx->nr_pins; i++) {
		pin = *genradix_ptr(&ctx->buckets, i);
		for (length = 0; pin; pin = pin->chain)
			length++;
		longest = max(longest, length);
	}
	return longest;
}

/* Pins are found however many there are, and in whatever order they go. */
static void mempin_bucket_test(struct kunit *test)
{
	static const unsigned long strides[] = { 1, 3, 512, 1UL << 18 };
	struct mempinfd_ctx *ctx = mempin_test_ctx(test);
	struct mempin **pin;
	unsigned long s, i, j;

	pin = kunit_kcalloc(test, MEMPIN_TEST_PINS, sizeof(*pin), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, pin);
	for (s = 0; s < ARRAY_SIZE(strides); s++) {
		for (i = 0; i < MEMPIN_TEST_PINS; i++)
			pin[i] = mempin_test_insert(test, ctx, i * strides[s], 1);
		KUNIT_EXPECT_LT(test, mempin_test_longest(ctx), 16);
		/* 7 has no common divisor with the number of pins. */
		for (i = 0; i < MEMPIN_TEST_PINS; i++) {
			j = i * 7 % MEMPIN_TEST_PINS;
			KUNIT_EXPECT_PTR_EQ(test, pin[j],
					    mempin_test_remove(ctx,
							       j * strides[s],
							       1));
		}
		KUNIT_EXPECT_EQ(test, 0, ctx->nr_pins);
	}
	genradix_free(&ctx->buckets);
}

static void mempin_test_undo(struct mempin *pin)
{
	if (IS_ERR(pin))
		return;
	mempin_unpin(pin->full, pin->run, pin->nr_runs);
	kfree(pin);
}

/* A page that has as many references as it may is refused. */
static void mempin_often_test(struct kunit *test)
{
	struct mempin *pin[3];
	struct mempin_range range = { .nr_pages = 1 };
	unsigned long addr;
	struct page *page;
	int i, added;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, 0, addr);
	range.first = addr >> PAGE_SHIFT;
	pin[0] = mempin_create(&range);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, pin[0]);

	page = pfn_to_page(pin[0]->run[0].pfn);
	added = INT_MAX / 2 - page_ref_count(page);
	page_ref_add(page, added);
	pin[1] = mempin_create(&range);
	pin[2] = mempin_create(&range);
	KUNIT_EXPECT_FALSE(test, IS_ERR(pin[1]));
	KUNIT_EXPECT_EQ(test, -ENOMEM, PTR_ERR(pin[2]));

	page_ref_sub(page, added);
	for (i = 0; i < ARRAY_SIZE(pin); i++)
		mempin_test_undo(pin[i]);
}

/* No limit lets the count of a user overflow. */
static void mempin_charge_test(struct kunit *test)
{
	struct mempinfd_ctx *ctx = mempin_test_ctx(test);

	ctx->user = kunit_kzalloc(test, sizeof(*ctx->user), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->user);
	atomic_long_set(&ctx->user->locked_vm, LONG_MAX);
	KUNIT_EXPECT_EQ(test, -ENOMEM, mempinfd_charge(ctx, 1));
	KUNIT_EXPECT_EQ(test, LONG_MAX,
			atomic_long_read(&ctx->user->locked_vm));
	KUNIT_EXPECT_EQ(test, 0, atomic_long_read(&ctx->nr_charged));
}

/* Other callers of pin_user_runs() may not have looked where a range ends. */
static void mempin_wrap_test(struct kunit *test)
{
	struct page_run run;
	unsigned int nr = 1;

	KUNIT_EXPECT_EQ(test, -EFAULT,
			pin_user_runs(PAGE_SIZE, ULONG_MAX >> PAGE_SHIFT, &run,
				      &nr));
}

/* No error leaves PIN that the interface does not know. */
static void mempin_errno_test(struct kunit *test)
{
	static const int unknown[] = {
		EAGAIN, EEXIST, EFAULT, EHWPOISON, EINVAL, EREMOTEIO,
	};
	int i;

	KUNIT_EXPECT_EQ(test, -ENOMEM, mempin_errno(-ENOMEM));
	KUNIT_EXPECT_EQ(test, -ENOMEM, mempin_errno(-EBUSY));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, mempin_errno(-EOPNOTSUPP));
	for (i = 0; i < ARRAY_SIZE(unknown); i++)
		KUNIT_EXPECT_EQ(test, -EFAULT, mempin_errno(-unknown[i]));
}

static struct kunit_case mempinfd_test_cases[] = {
	KUNIT_CASE_PARAM(mempin_range_test, mempin_range_gen_params),
	KUNIT_CASE(mempin_chunk_test),
	KUNIT_CASE(mempin_ring_test),
	KUNIT_CASE(mempin_bucket_test),
	KUNIT_CASE(mempin_often_test),
	KUNIT_CASE(mempin_charge_test),
	KUNIT_CASE(mempin_wrap_test),
	KUNIT_CASE(mempin_errno_test),
	{}
};

static struct kunit_suite mempinfd_test_suite = {
	.name = "mempinfd",
	.test_cases = mempinfd_test_cases,
};

kunit_test_suite(mempinfd_test_suite);
