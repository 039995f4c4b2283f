// SPDX-License-Identifier: GPL-2.0
/* A kernel without CONFIG_MEMPINFD.  Run by itself: make test-off in qemu/. */
#include <errno.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <sys/syscall.h>

#include "../kselftest_harness.h"

TEST(system_call)
{
	EXPECT_EQ(-1, syscall(__NR_mempinfd));
	EXPECT_EQ(ENOSYS, errno);
}

TEST(sysctl)
{
	EXPECT_EQ(-1, access("/proc/sys/vm/unprivileged_mempinfd", F_OK));
	EXPECT_EQ(ENOENT, errno);
}

TEST_HARNESS_MAIN
