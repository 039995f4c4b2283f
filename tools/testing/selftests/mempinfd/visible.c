// SPDX-License-Identifier: GPL-2.0
/* What others see: /proc, tracepoints, counters, the log, memory cgroups. */

#include "mempinfd_proc.h"

#include <sched.h>
#include <sys/auxv.h>

#define NR_PAGES	4
#define TRACE_DIR	TRACE_INSTANCES "/mempinfd_test"

FIXTURE(visible) {
	int fd;
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_SETUP(visible)
{
	self->system_pins = system_pins();
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(visible)
{
	close(self->fd);
	EXPECT_EQ(self->system_pins, system_pins());
}

/* ---- /proc ---- */

TEST_F(visible, vmpin)
{
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(NR_PAGES, vm_pin(getpid()));
	EXPECT_EQ(0, pin(self->fd, self->buf, 1));
	EXPECT_EQ(NR_PAGES + 1, vm_pin(getpid()));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(1, vm_pin(getpid()));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(0, vm_pin(getpid()));
}

TEST_F(visible, vmpin_of_two_fds)
{
	int other = mempinfd();

	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, pin(other, self->buf, self->size));
	EXPECT_EQ(2 * NR_PAGES, vm_pin(getpid()));
	EXPECT_HELD(other, 1, NR_PAGES);
	EXPECT_ERRNO(ENOENT, unpin(other, self->buf, 1));
	EXPECT_EQ(0, close(other));
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
}

TEST_F(visible, vmpin_after_failed_pin)
{
	ASSERT_EQ(0, munmap(self->buf + 2 * page_size(), page_size()));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->buf, self->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_F(visible, vmpin_of_another_process)
{
	pid_t owner = getpid();

	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	IN_CHILD({
		EXPECT_EQ(NR_PAGES, vm_pin(owner));
		EXPECT_EQ(NR_PAGES, fdinfo(owner, self->fd, "pinned_pages"));
		EXPECT_EQ(0, vm_pin(getpid()));
	});
}

/* The names in the file and the calls tell the same numbers. */
TEST_F(visible, fdinfo)
{
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "pins"));
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "pinned_pages"));
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "charged_pages"));
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "uid"));

	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, pin(self->fd, self->buf, 1));
	EXPECT_EQ(2, fdinfo(getpid(), self->fd, "pins"));
	EXPECT_EQ(NR_PAGES + 1, fdinfo(getpid(), self->fd, "pinned_pages"));
	EXPECT_EQ(NR_PAGES + 1, fdinfo(getpid(), self->fd, "charged_pages"));
	EXPECT_HELD(self->fd, 2, NR_PAGES + 1);
}

TEST_F(visible, fdinfo_uid_is_who_pays)
{
	int fd;

	ASSERT_EQ(0, set_real_uid(USER_A));
	fd = mempinfd();
	ASSERT_EQ(0, set_real_uid(USER_B));
	EXPECT_EQ(USER_A, fdinfo(getpid(), fd, "uid"));
	EXPECT_EQ(0, fdinfo(getpid(), self->fd, "uid"));
}

/* A new user namespace, in which USER_A is @inside and nobody else exists. */
static int enter_user_namespace(unsigned int inside)
{
	char map[64];

	snprintf(map, sizeof(map), "%u %u 1", inside, USER_A);
	if (become_user(USER_A) || unshare(CLONE_NEWUSER))
		return -1;
	return write_text("/proc/self/uid_map", map);
}

TEST_F(visible, fdinfo_uid_in_readers_namespace)
{
	int fd;

	ASSERT_EQ(0, set_real_uid(USER_A));
	fd = mempinfd();
	ASSERT_LE(0, fd);
	IN_CHILD({
		EXPECT_EQ(USER_A, fdinfo(getpid(), fd, "uid"));
		EXPECT_EQ(0, enter_user_namespace(7));
		EXPECT_EQ(7, fdinfo(getpid(), fd, "uid"));
		EXPECT_EQ(read_number("/proc/sys/kernel/overflowuid"),
			  fdinfo(getpid(), self->fd, "uid"));
	});
}

TEST_F(visible, fd_link)
{
	char path[64], target[64];
	ssize_t len;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	len = readlink(path, target, sizeof(target) - 1);
	ASSERT_LT(0, len);
	target[len] = 0;
	EXPECT_STREQ("anon_inode:[mempinfd]", target);
}

/* ---- counters ---- */

TEST_F(visible, vmstat_counts_each_page_of_each_pin)
{
	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(self->system_pins + NR_PAGES, system_pins());
	EXPECT_EQ(0, pin(self->fd, self->buf + 1, 1));
	EXPECT_EQ(self->system_pins + NR_PAGES + 1, system_pins());
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(self->system_pins + 1, system_pins());
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
}

TEST_F(visible, vmstat_after_failed_pin)
{
	ASSERT_EQ(0, munmap(self->buf + 3 * page_size(), page_size()));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(self->system_pins, system_pins());
}

/* ---- tracepoints ---- */

FIXTURE(trace) {
	int fd;
	char *buf;
	size_t size;
};

FIXTURE_SETUP(trace)
{
	if (!has_tracing())
		SKIP(return, "this kernel has no tracing");
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mkdir(TRACE_DIR, 0700));
	ASSERT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/enable", "1"));
}

FIXTURE_TEARDOWN(trace)
{
	EXPECT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/enable", "0"));
	EXPECT_EQ(0, rmdir(TRACE_DIR));
}

/* How many events of this range and result there are. */
static int count_events(const char *event, const char *addr, uint64_t size, int ret)
{
	FILE *file = fopen(TRACE_DIR "/trace", "re");
	char wanted[128], line[512];
	int count = 0;

	if (!file)
		return -1;
	snprintf(wanted, sizeof(wanted), "%s: addr=0x%lx size=0x%llx ret=%d\n",
		 event, (unsigned long)addr, (unsigned long long)size, ret);
	while (fgets(line, sizeof(line), file))
		count += !!strstr(line, wanted);
	fclose(file);
	return count;
}

TEST_F(trace, pin_and_unpin)
{
	EXPECT_EQ(0, count_events("mempin_pin", self->buf, self->size, 0));
	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(1, count_events("mempin_pin", self->buf, self->size, 0));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(1, count_events("mempin_pin", self->buf, self->size, 0));
	EXPECT_EQ(1, count_events("mempin_unpin", self->buf, self->size, 0));
}

/* The range is told as the caller gave it, not rounded to pages. */
TEST_F(trace, range_as_given)
{
	EXPECT_EQ(0, pin(self->fd, self->buf + 5, 3));
	EXPECT_EQ(1, count_events("mempin_pin", self->buf + 5, 3, 0));
	EXPECT_EQ(0, unpin(self->fd, self->buf + 7, 1));
	EXPECT_EQ(1, count_events("mempin_unpin", self->buf + 7, 1, 0));
}

TEST_F(trace, failures)
{
	EXPECT_ERRNO(EINVAL, pin(self->fd, self->buf, 0));
	EXPECT_EQ(1, count_events("mempin_pin", self->buf, 0, -EINVAL));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(1, count_events("mempin_unpin", self->buf, self->size, -ENOENT));
	EXPECT_ERRNO(EINVAL, unpin(self->fd, self->buf, -1));
	EXPECT_EQ(1, count_events("mempin_unpin", self->buf, -1, -EINVAL));

	ASSERT_EQ(0, munmap(self->buf + page_size(), page_size()));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(1, count_events("mempin_pin", self->buf, self->size, -EFAULT));
}

TEST_F(trace, each_event_by_itself)
{
	ASSERT_EQ(0, write_text(TRACE_DIR "/events/mempinfd/mempin_pin/enable", "0"));
	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, count_events("mempin_pin", self->buf, self->size, 0));
	EXPECT_EQ(1, count_events("mempin_unpin", self->buf, self->size, 0));
}

/* ---- the kernel log ---- */

FIXTURE(log) {
	struct setting sysctl;
	int kmsg;
	char *buf;
	size_t size;
};

FIXTURE_SETUP(log)
{
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	/* a hole, a page that may only be read, one that may not be */
	munmap(self->buf + page_size(), page_size());
	mprotect(self->buf + 2 * page_size(), page_size(), PROT_READ);
	mprotect(self->buf + 3 * page_size(), page_size(), PROT_NONE);
	self->kmsg = kmsg_open();
	ASSERT_LE(0, self->kmsg);
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, 16 << 20));
	ASSERT_EQ(0, become_user(USER_A));
}

FIXTURE_TEARDOWN_PARENT(log)
{
	setting_restore(&self->sysctl);
	EXPECT_EQ(0, charged_to(USER_A));
}

static const uint64_t strange_addresses[] = {
	0, 1, 0xfff, 0x1000, 1ULL << 31, (1ULL << 32) - 1, 1ULL << 32,
	(1ULL << 47) - 4096, 1ULL << 47, 1ULL << 56, 1ULL << 62, 1ULL << 63,
	0xffff800000000000, 0xffffffffff600000, -4096ULL, -1ULL,
};

static const uint64_t strange_sizes[] = {
	0, 1, 4095, 4096, 4097, 16384, 1ULL << 20, 1ULL << 31, 1ULL << 32,
	1ULL << 43, 1ULL << 44, 1ULL << 47, 1ULL << 63, -4096ULL, -1ULL,
};

/* Returns how many of the sizes could be pinned. */
static int try_all_sizes(int fd, uint64_t addr)
{
	int pinned = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(strange_sizes); i++) {
		pinned += !pin_at(fd, addr, strange_sizes[i]);
		unpin_at(fd, addr, strange_sizes[i]);
		unpin_at(fd, addr + 1, strange_sizes[i]);
	}
	return pinned;
}

TEST_F(log, silent_on_strange_ranges)
{
	int fd = mempinfd(), pinned = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(strange_addresses); i++)
		try_all_sizes(fd, strange_addresses[i]);
	for (i = 0; i < NR_PAGES; i++)
		pinned += try_all_sizes(fd, (uintptr_t)self->buf + i * page_size());
	EXPECT_LT(0, pinned);
	EXPECT_EQ(0, kmsg_new_records(self->kmsg));
}

/* Around the stack GUP has words of its own; the vDSO is no ordinary memory. */
TEST_F(log, silent_on_special_mappings)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);
	int fd = mempinfd(), pinned = 0;
	size_t below;

	for (below = 0; below < 64 << 20; below += 64 << 10)
		pinned += !pin_at(fd, here - below, page_size());
	EXPECT_LT(0, pinned);
	try_all_sizes(fd, getauxval(AT_SYSINFO_EHDR));
	try_all_sizes(fd, getauxval(AT_SYSINFO_EHDR) - 4 * page_size());
	try_all_sizes(fd, (uintptr_t)try_all_sizes);
	try_all_sizes(fd, (uintptr_t)strange_sizes);
	EXPECT_EQ(0, kmsg_new_records(self->kmsg));
}

TEST_F(log, silent_on_strange_ioctls)
{
	unsigned int nr, dir;
	int fd = mempinfd();

	for (nr = 0; nr < 256; nr++)
		for (dir = 0; dir < 4; dir++) {
			ioctl(fd, _IOC(dir, 'M', nr, 16), NULL);
			ioctl(fd, _IOC(dir, 'M', nr, 0), -1L);
			ioctl(fd, _IOC(dir, 'X', nr, 16), self->buf);
		}
	EXPECT_HELD(fd, 0, 0);
	EXPECT_EQ(0, kmsg_new_records(self->kmsg));
}

/* ---- memory cgroup ---- */

/* So many that the kernel does not put off adding up the pages charged for them. */
#define NR_LIVE_PINS	(4 * (int)page_size())
#define SLAB_LEAST	(NR_LIVE_PINS * 16LL)	/* bytes; a pin needs more */

static long long cgroup_slab(void)
{
	return read_field(CGROUP "/memory.stat", "slab");
}

static void hold_many_pins(struct __test_metadata *_metadata, int fd, char *page)
{
	long long before, held;
	int i;

	EXPECT_EQ(0, cgroup_join());
	before = cgroup_slab();
	for (i = 0; i < NR_LIVE_PINS; i++)
		ASSERT_EQ(0, pin(fd, page, 1));
	held = cgroup_slab();
	EXPECT_LE(before + SLAB_LEAST, held);
	for (i = 0; i < NR_LIVE_PINS; i++)
		ASSERT_EQ(0, unpin(fd, page, 1));
	EXPECT_GE(held - SLAB_LEAST, cgroup_slab());
}

TEST_F(visible, memcg_is_charged_for_kernel_memory)
{
	if (cgroup_make())
		SKIP(return, "no memory cgroup (v2) in /sys/fs/cgroup");
	IN_CHILD(hold_many_pins(_metadata, mempinfd(), self->buf));
	EXPECT_EQ(0, cgroup_end());
}

TEST_HARNESS_MAIN
