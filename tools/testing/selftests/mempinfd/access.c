// SPDX-License-Identifier: GPL-2.0
/* Who may have a mempinfd, what it is as a file, and who can refuse it. */

#include "mempinfd_proc.h"

#include <endian.h>
#include <sched.h>
#include <stddef.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/eventfd.h>

#define NR_PAGES	4

/* ---- as a file ---- */

TEST(close_on_exec)
{
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
}

TEST(nothing_but_ioctls)
{
	int fd = mempinfd();
	char byte = 0;

	ASSERT_LE(0, fd);
	EXPECT_ERRNO(EINVAL, read(fd, &byte, 1));
	EXPECT_ERRNO(EBADF, write(fd, &byte, 1));
	EXPECT_EQ((uintptr_t)MAP_FAILED,
		  (uintptr_t)mmap(NULL, page_size(), PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_ERRNO(EINVAL, ftruncate(fd, 0));
}

static ino_t inode_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/*
 * A security module decides by the inode.  It can tell a mempinfd only if that
 * has one of its own, and not the one that eventfd and others share.
 */
TEST(inode_of_its_own)
{
	ino_t first = inode_of(mempinfd()), second = inode_of(mempinfd());
	ino_t shared = inode_of(eventfd(0, 0));

	EXPECT_EQ(shared, inode_of(eventfd(0, 0)));
	EXPECT_NE(0, first);
	EXPECT_NE(shared, first);
	EXPECT_NE(shared, second);
	EXPECT_NE(first, second);
}

TEST(no_fd_left)
{
	EXPECT_EQ(0, set_limit(RLIMIT_NOFILE, 3));
	EXPECT_ERRNO(EMFILE, mempinfd());
}

/* ---- who may call ---- */

static int call_as_user(uid_t uid)
{
	return become_user(uid) ? -1 : mempinfd();
}

/* Lose everything that root may, but for one capability. */
static int call_with_capability(int capability)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { };

	if (prctl(PR_SET_KEEPCAPS, 1) || become_user(USER_A))
		return -1;
	data[CAP_TO_INDEX(capability)].effective = CAP_TO_MASK(capability);
	data[CAP_TO_INDEX(capability)].permitted = CAP_TO_MASK(capability);
	if (syscall(__NR_capset, &header, data))
		return -1;
	return mempinfd();
}

/* Root of a user namespace has every capability, but only in there. */
static int become_namespace_root(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", USER_A);
	if (become_user(USER_A) || unshare(CLONE_NEWUSER))
		return -1;
	return write_text("/proc/self/uid_map", map);
}

FIXTURE(sysctl) {
	struct setting sysctl;
	char *buf;
	size_t size;
};

FIXTURE_VARIANT(sysctl) {
	const char *value;
	bool everybody;
};

FIXTURE_VARIANT_ADD(sysctl, off) { .value = "0", .everybody = false };
FIXTURE_VARIANT_ADD(sysctl, on) { .value = "1", .everybody = true };

FIXTURE_SETUP(sysctl)
{
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED,
				    variant->value));
}

FIXTURE_TEARDOWN_PARENT(sysctl)
{
	setting_restore(&self->sysctl);
	EXPECT_EQ(0, charged_to(USER_A));
}

#define EXPECT_ALLOWED(allowed, call)			\
	({						\
		bool __allowed = allowed;		\
		int __fd = call;			\
							\
		EXPECT_EQ(__allowed, __fd >= 0);	\
		EXPECT_EQ(__allowed ? 0 : EPERM,	\
			  __fd < 0 ? errno : 0);	\
	})

TEST_F(sysctl, root)
{
	EXPECT_ALLOWED(true, mempinfd());
}

TEST_F(sysctl, root_without_capability)
{
	ASSERT_EQ(0, drop_capability(CAP_IPC_LOCK));
	EXPECT_ALLOWED(variant->everybody, mempinfd());
}

TEST_F(sysctl, user)
{
	EXPECT_ALLOWED(variant->everybody, call_as_user(USER_A));
}

TEST_F(sysctl, user_with_cap_ipc_lock)
{
	EXPECT_ALLOWED(true, call_with_capability(CAP_IPC_LOCK));
}

TEST_F(sysctl, user_with_other_capability)
{
	EXPECT_ALLOWED(variant->everybody, call_with_capability(CAP_SYS_ADMIN));
}

TEST_F(sysctl, root_of_user_namespace)
{
	ASSERT_EQ(0, become_namespace_root());
	ASSERT_EQ(0, getuid());
	EXPECT_ALLOWED(variant->everybody, mempinfd());
}

/* The question is asked at mempinfd() alone. */
TEST_F(sysctl, fd_outlives_permission)
{
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, self->size));
	ASSERT_EQ(0, become_user(USER_A));
	EXPECT_EQ(0, pin(fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(fd, self->buf, self->size));
}

TEST(sysctl_default_is_off)
{
	EXPECT_EQ(0, read_number(SYSCTL_UNPRIVILEGED));
}

TEST(sysctl_takes_0_and_1)
{
	EXPECT_ERRNO(EINVAL, write_text(SYSCTL_UNPRIVILEGED, "2"));
	EXPECT_ERRNO(EINVAL, write_text(SYSCTL_UNPRIVILEGED, "-1"));
	EXPECT_EQ(0, read_number(SYSCTL_UNPRIVILEGED));
}

TEST(sysctl_is_for_root_to_write)
{
	ASSERT_EQ(0, become_user(USER_A));
	EXPECT_EQ(0, read_number(SYSCTL_UNPRIVILEGED));
	EXPECT_ERRNO(EACCES, write_text(SYSCTL_UNPRIVILEGED, "1"));
}

/* ---- the limit and user namespaces ---- */

TEST(namespace_root_has_the_limit)
{
	size_t size = NR_PAGES * page_size();
	char *buf = map_pages(NR_PAGES + 1);
	struct mem_pin_info info;
	int fd = mempinfd();

	ASSERT_TRUE(!!buf);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, size));
	ASSERT_EQ(0, become_namespace_root());
	EXPECT_ERRNO(ENOMEM, pin(fd, buf, size + 1));
	ASSERT_EQ(0, pin_info(fd, &info));
	EXPECT_EQ(NR_PAGES, info.limit_pages);
}

/* ---- seccomp ---- */

#define SECCOMP_DATA(field)	offsetof(struct seccomp_data, field)
#define LOAD(field)		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SECCOMP_DATA(field))
#define UNLESS_EQUAL(value, skip) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define RETURN(action)		BPF_STMT(BPF_RET | BPF_K, action)

/* The lower half of a word of 64 bits: a filter loads 32. */
#define LOW_HALF	(htole32(1) == 1 ? 0 : 4)
#define LOAD_ARG(n) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SECCOMP_DATA(args[n]) + LOW_HALF)

/* Not on every architecture that has seccomp: there it does not look for the filter. */
static bool has_filters(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) && errno == EFAULT;
}

static int add_filter(struct sock_filter *filter, unsigned short len)
{
	struct sock_fprog prog = { .len = len, .filter = filter };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

TEST(seccomp_refuses_the_call)
{
	struct sock_filter filter[] = {
		LOAD(nr),
		UNLESS_EQUAL(__NR_mempinfd, 1),
		RETURN(SECCOMP_RET_ERRNO | EACCES),
		RETURN(SECCOMP_RET_ALLOW),
	};
	int before = mempinfd();

	if (!has_filters())
		SKIP(return, "this kernel has no seccomp filters");
	ASSERT_LE(0, before);
	ASSERT_EQ(0, add_filter(filter, ARRAY_SIZE(filter)));
	EXPECT_ERRNO(EACCES, mempinfd());
	EXPECT_HELD(before, 0, 0);
}

/* The commands have numbers of their own, so one can be refused by itself. */
TEST(seccomp_refuses_one_ioctl)
{
	struct sock_filter filter[] = {
		LOAD(nr),
		UNLESS_EQUAL(__NR_ioctl, 3),
		LOAD_ARG(1),
		UNLESS_EQUAL(MEM_CMD_PIN, 1),
		RETURN(SECCOMP_RET_ERRNO | EACCES),
		RETURN(SECCOMP_RET_ALLOW),
	};
	char *buf = map_pages(NR_PAGES);
	int fd = mempinfd();

	if (!has_filters())
		SKIP(return, "this kernel has no seccomp filters");
	ASSERT_EQ(0, pin(fd, buf, page_size()));
	ASSERT_EQ(0, add_filter(filter, ARRAY_SIZE(filter)));
	EXPECT_ERRNO(EACCES, pin(fd, buf, page_size()));
	EXPECT_HELD(fd, 1, 1);
	EXPECT_EQ(0, unpin(fd, buf, page_size()));
}

#define LSM_REFUSES	"/sys/module/test_lsm/parameters/refuse"

TEST(security_module_refuses_the_inode)
{
	int before = mempinfd(), next;

	if (access(LSM_REFUSES, W_OK))
		SKIP(return, "the kernel has no CONFIG_TEST_LSM");
	next = dup(before);
	close(next);
	ASSERT_EQ(0, write_text(LSM_REFUSES, "[mempinfd]"));
	EXPECT_ERRNO(EACCES, mempinfd());
	EXPECT_EQ(next, dup(before));
	/* to write nothing would change nothing */
	ASSERT_EQ(0, write_text(LSM_REFUSES, "\n"));
	EXPECT_LE(0, mempinfd());
	EXPECT_HELD(before, 0, 0);
}

/* ---- what nobody is told ---- */

/* Nothing that can be read from user space has an address of the kernel in it. */
static bool has_kernel_address(const char *text)
{
	const char *at;

	for (at = text; (at = strstr(at, "ffff")); at += 4) {
		size_t digits = strspn(at, "0123456789abcdef");

		if (digits == 16 && strncmp(at, "ffffffffffffffff", 16))
			return true;
		at += digits > 4 ? digits - 4 : 0;
	}
	return false;
}

#define EVENTS	"/sys/kernel/tracing/events/mempinfd/"

TEST(no_kernel_address_in_any_output)
{
	char path[64], text[8192];
	struct mem_pin_info info;
	char *buf = map_pages(NR_PAGES);
	int fd = mempinfd();
	size_t i;

	ASSERT_EQ(0, pin(fd, buf, page_size()));
	snprintf(path, sizeof(path), FDINFO_PATH, getpid(), fd);
	ASSERT_EQ(0, read_text(path, text, sizeof(text)));
	EXPECT_FALSE(has_kernel_address(text));
	if (has_tracing()) {
		ASSERT_EQ(0, read_text(EVENTS "mempin_pin/format", text, sizeof(text)));
		EXPECT_EQ(NULL, strstr(text, "%p"));
	}
	ASSERT_EQ(0, pin_info(fd, &info));
	for (i = 0; i < sizeof(info) / sizeof(uint64_t); i++) {
		uint64_t word = ((uint64_t *)&info)[i];

		EXPECT_TRUE(word == ~0ULL || word >> 48 == 0);
	}
}

TEST_HARNESS_MAIN
