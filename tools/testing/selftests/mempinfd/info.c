// SPDX-License-Identifier: GPL-2.0
/* MEM_CMD_INFO: every size of its struct, and what it tells. */
#include "mempinfd_util.h"

#define OWN_SIZE	sizeof(struct mem_pin_info)
#define LONGEST		(OWN_SIZE + 64)
#define GUARD		0xa5

FIXTURE(info)
{
	char *edge;	/* ends a writable page; what follows cannot be read */
	size_t page;
	int fd;
};

FIXTURE_SETUP(info)
{
	char *mem;

	self->page = page_size();
	mem = map_pages(2);
	ASSERT_TRUE(!!mem);
	self->edge = mem + self->page;
	/* a hole could be filled by the next mapping */
	ASSERT_EQ(0, mprotect(self->edge, self->page, PROT_NONE));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(info)
{
	EXPECT_EQ(0, close(self->fd));
}

static bool all_bytes_are(const char *mem, char byte, size_t size)
{
	while (size && *mem == byte) {
		mem++;
		size--;
	}
	return !size;
}

/*
 * A struct of @size bytes, zero but for its size, that ends where memory does, or
 * up to 7 bytes before: at another address some CPUs refuse to look at it.
 */
static struct mem_pin_info *struct_at_edge(char *edge, size_t size)
{
	char *start = edge - (size + 7) / 8 * 8;

	memset(edge - 2 * LONGEST, GUARD, 2 * LONGEST);
	memset(start, 0, size);
	if (size >= sizeof(uint32_t))
		*(uint32_t *)start = size;
	return (void *)start;
}

/* A size that cannot even be read is a bad pointer, not a bad struct. */
TEST_F(info, size_too_small)
{
	uint32_t *start;
	size_t size;

	for (size = 0; size < MEM_PIN_INFO_SIZE_VER0; size++) {
		struct_at_edge(self->edge, OWN_SIZE);
		start = (uint32_t *)(self->edge - OWN_SIZE);
		*start = size;
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, start));
		EXPECT_EQ(size, *start);
		EXPECT_TRUE(all_bytes_are((char *)(start + 1), 0, OWN_SIZE - 4));
	}
	for (size = 0; size < sizeof(uint32_t); size++)
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, MEM_CMD_INFO, self->edge - size));
}

TEST_F(info, size_sweep)
{
	size_t size;

	for (size = MEM_PIN_INFO_SIZE_VER0; size <= LONGEST; size++) {
		struct mem_pin_info *info = struct_at_edge(self->edge, size);
		size_t written = size < OWN_SIZE ? size : OWN_SIZE;

		ASSERT_EQ(0, ioctl(self->fd, MEM_CMD_INFO, info)) {
			TH_LOG("size %zu: %s", size, strerror(errno));
		}
		EXPECT_EQ(OWN_SIZE, info->size);
		EXPECT_EQ(self->page, info->page_size);
		EXPECT_TRUE(all_bytes_are((char *)info - LONGEST / 2, (char)GUARD,
					  LONGEST / 2));
		EXPECT_TRUE(all_bytes_are((char *)info + written, 0, size - written));
		EXPECT_TRUE(all_bytes_are((char *)info + size, (char)GUARD, -size % 8));
	}
}

/* The struct says that it is longer than the memory it is in. */
TEST_F(info, size_past_the_edge)
{
	size_t size;

	for (size = MEM_PIN_INFO_SIZE_VER0; size < LONGEST; size += 8) {
		struct mem_pin_info *info = struct_at_edge(self->edge, size);

		info->size++;
		EXPECT_ERRNO(EFAULT, ioctl(self->fd, MEM_CMD_INFO, info));
		EXPECT_EQ(size + 1, info->size);
	}
}

TEST_F(info, size_huge)
{
	const uint32_t size = 1 << 20;
	struct mem_pin_info *info = map_pages(size / self->page);

	ASSERT_TRUE(!!info);
	info->size = size;
	EXPECT_EQ(0, ioctl(self->fd, MEM_CMD_INFO, info));
	EXPECT_EQ(OWN_SIZE, info->size);

	info->size = size;
	((char *)info)[size - 1] = 1;
	EXPECT_ERRNO(E2BIG, ioctl(self->fd, MEM_CMD_INFO, info));

	info = struct_at_edge(self->edge, OWN_SIZE);
	info->size = INT32_MAX;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, MEM_CMD_INFO, info));
	info->size = UINT32_MAX;
	EXPECT_ERRNO(EFAULT, ioctl(self->fd, MEM_CMD_INFO, info));
}

TEST_F(info, tail_not_zero)
{
	struct mem_pin_info *info;
	size_t i;

	for (i = OWN_SIZE; i < LONGEST; i++) {
		info = struct_at_edge(self->edge, LONGEST);
		((char *)info)[i] = 1;
		EXPECT_ERRNO(E2BIG, ioctl(self->fd, MEM_CMD_INFO, info));
		EXPECT_EQ(LONGEST, info->size);
		EXPECT_EQ(0, info->page_size);
	}
}

TEST_F(info, flags_and_reserved)
{
	struct mem_pin_info info;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		info = (struct mem_pin_info) { .size = OWN_SIZE, .flags = 1U << bit };
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, &info));
		info = (struct mem_pin_info) { .size = OWN_SIZE, .reserved = 1U << bit };
		EXPECT_ERRNO(EINVAL, ioctl(self->fd, MEM_CMD_INFO, &info));
		EXPECT_EQ(0, info.page_size);
	}
}

/* What only the kernel fills in may hold anything before. */
TEST_F(info, output_overwritten)
{
	struct mem_pin_info info;

	memset(&info, 0xff, sizeof(info));
	info.size = sizeof(info);
	info.flags = 0;
	info.reserved = 0;
	ASSERT_EQ(0, ioctl(self->fd, MEM_CMD_INFO, &info));
	EXPECT_EQ(0, info.flags);
	EXPECT_EQ(0, info.features);
	EXPECT_EQ(0, info.pins);
	EXPECT_EQ(0, info.pinned_pages);
	EXPECT_EQ(0, info.charged_pages);
	EXPECT_EQ(self->page, info.page_size);
	EXPECT_EQ(0, info.reserved);
}

TEST_F(info, counts)
{
	char *mem = map_pages(8);
	int other = mempinfd();

	ASSERT_TRUE(!!mem);
	ASSERT_LE(0, other);
	EXPECT_HELD(self->fd, 0, 0);
	ASSERT_EQ(0, pin(self->fd, mem, 8 * self->page));
	ASSERT_EQ(0, pin(self->fd, mem, 8 * self->page));
	ASSERT_EQ(0, pin(self->fd, mem + self->page - 1, 2));
	ASSERT_EQ(0, pin(other, mem, self->page));
	EXPECT_HELD(self->fd, 3, 18);
	EXPECT_HELD(other, 1, 1);
	EXPECT_EQ(19, vm_pin(getpid()));
	ASSERT_EQ(0, unpin(self->fd, mem, 8 * self->page));
	EXPECT_HELD(self->fd, 2, 10);
	EXPECT_EQ(0, close(other));
	EXPECT_EQ(10, vm_pin(getpid()));
}

TEST_F(info, from_other_process)
{
	char *mem = map_pages(3);

	ASSERT_TRUE(!!mem);
	ASSERT_EQ(0, pin(self->fd, mem, 3 * self->page));
	IN_CHILD({
		EXPECT_HELD(self->fd, 1, 3);
		EXPECT_EQ(0, vm_pin(getpid()));
	});
}

/* The limit is that of whoever asks, not of whoever made the fd. */
TEST_F(info, limit)
{
	struct mem_pin_info info;

	EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, 5 * self->page + 1));
	ASSERT_EQ(0, pin_info(self->fd, &info));
	EXPECT_EQ(UINT64_MAX, info.limit_pages);
	IN_CHILD({
		EXPECT_EQ(0, drop_capability(CAP_IPC_LOCK));
		EXPECT_EQ(0, pin_info(self->fd, &info));
		EXPECT_EQ(5, info.limit_pages);
		EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, 0));
		EXPECT_EQ(0, pin_info(self->fd, &info));
		EXPECT_EQ(0, info.limit_pages);
		EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, RLIM_INFINITY));
		EXPECT_EQ(0, pin_info(self->fd, &info));
		EXPECT_EQ(UINT64_MAX, info.limit_pages);
	});
}

TEST_HARNESS_MAIN
