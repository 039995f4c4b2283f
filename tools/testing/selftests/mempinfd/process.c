// SPDX-License-Identifier: GPL-2.0
/* Who pays: changes of user, of threads and of the mapping while pins live. */

#include "mempinfd_proc.h"

#include <pthread.h>
#include <stdatomic.h>

#define NR_PAGES	4
#define NR_THREADS	4

/* ---- the user changes ---- */

FIXTURE(user) {
	int sock[2];
	char *buf;
	size_t size;
};

FIXTURE_SETUP(user)
{
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, self->sock));
}

FIXTURE_TEARDOWN(user)
{
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(0, charged_to(USER_B));
}

/* The child stays until it is told, so that its end cannot do the uncharging. */
static void pin_setuid_unpin(struct __test_metadata *_metadata,
			     const struct _test_data_user *self)
{
	int fd;

	EXPECT_EQ(0, set_real_uid(USER_A));
	fd = mempinfd();
	EXPECT_EQ(0, pin(fd, self->buf, self->size));
	EXPECT_EQ(0, tell(self->sock[1]));
	EXPECT_EQ(0, await(self->sock[1]));
	EXPECT_EQ(0, become_user(USER_B));
	EXPECT_EQ(0, unpin(fd, self->buf, self->size));
	EXPECT_EQ(0, tell(self->sock[1]));
	await(self->sock[1]);
	_exit(0);
}

TEST_F(user, setuid_between_pin_and_unpin)
{
	pid_t child = fork();

	ASSERT_LE(0, child);
	if (!child)
		pin_setuid_unpin(_metadata, self);
	EXPECT_EQ(0, await(self->sock[0]));
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	EXPECT_EQ(0, charged_to(USER_B));

	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, await(self->sock[0]));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(0, charged_to(USER_B));
	EXPECT_EQ(0, tell(self->sock[0]));
	EXPECT_EQ(0, wait_child(child));
}

TEST_F(user, setuid_before_pin)
{
	int fd;

	ASSERT_EQ(0, set_real_uid(USER_A));
	fd = mempinfd();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, set_real_uid(USER_B));

	EXPECT_EQ(0, pin(fd, self->buf, self->size));
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	EXPECT_EQ(0, charged_to(USER_B));
	EXPECT_EQ(USER_A, fdinfo(getpid(), fd, "uid"));
	EXPECT_EQ(0, close(fd));
	EXPECT_EQ(0, charged_to(USER_A));
}

/* USER_A has charged all but one page of the limit, USER_B nothing. */
static void pin_as_other_user(struct __test_metadata *_metadata,
			      const struct _test_data_user *self, int fd)
{
	int own;

	EXPECT_EQ(0, set_real_uid(USER_B));
	own = mempinfd();
	EXPECT_EQ(0, become_user(USER_B));
	EXPECT_EQ(0, pin(own, self->buf, self->size));
	EXPECT_ERRNO(ENOMEM, pin(fd, self->buf, self->size));
	EXPECT_EQ(0, pin(fd, self->buf, page_size()));
	EXPECT_ERRNO(ENOMEM, pin(fd, self->buf, page_size()));
}

/* The limit is that of who calls PIN; the count is that of who made the fd. */
TEST_F(user, setuid_keeps_creators_count)
{
	IN_CHILD({
		int fd;

		EXPECT_EQ(0, set_limit(RLIMIT_MEMLOCK, self->size + page_size()));
		EXPECT_EQ(0, set_real_uid(USER_A));
		fd = mempinfd();
		EXPECT_EQ(0, pin(fd, self->buf, self->size));
		pin_as_other_user(_metadata, self, fd);
	});
}

TEST_F(user, two_fds_of_two_users_in_one_process)
{
	int a, b;

	ASSERT_EQ(0, set_real_uid(USER_A));
	a = mempinfd();
	ASSERT_EQ(0, set_real_uid(USER_B));
	b = mempinfd();
	EXPECT_EQ(0, pin(a, self->buf, self->size));
	EXPECT_EQ(0, pin(b, self->buf, page_size()));
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	EXPECT_EQ(1, charged_to(USER_B));
	EXPECT_EQ(NR_PAGES + 1, vm_pin(getpid()));
	EXPECT_ERRNO(ENOENT, unpin(a, self->buf, page_size()));
	EXPECT_EQ(0, close(a));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(1, charged_to(USER_B));
	EXPECT_EQ(0, close(b));
}

/* ---- the whole limit, again and again ---- */

#define NR_ROUNDS	50

/* A user who may have NR_PAGES pinned, and not one more. */
FIXTURE(full_limit) {
	struct setting sysctl;
	char *buf;
	size_t size;
};

FIXTURE_SETUP(full_limit)
{
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
	ASSERT_EQ(0, set_limit(RLIMIT_MEMLOCK, self->size));
	ASSERT_EQ(0, become_user(USER_A));
}

FIXTURE_TEARDOWN_PARENT(full_limit)
{
	setting_restore(&self->sysctl);
	EXPECT_EQ(0, charged_to(USER_A));
}

TEST_F(full_limit, unpin_then_pin)
{
	int fd = mempinfd();
	int i;

	for (i = 0; i < NR_ROUNDS; i++) {
		ASSERT_EQ(0, pin(fd, self->buf, self->size));
		EXPECT_ERRNO(ENOMEM, pin(fd, self->buf, 1));
		ASSERT_EQ(0, unpin(fd, self->buf, self->size));
	}
}

TEST_F(full_limit, close_then_pin)
{
	int i, fd;

	for (i = 0; i < NR_ROUNDS; i++) {
		fd = mempinfd();
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, pin(fd, self->buf, self->size));
		ASSERT_EQ(0, close(fd));
	}
}

TEST_F(full_limit, exit_then_pin)
{
	int i;

	for (i = 0; i < NR_ROUNDS; i++)
		IN_CHILD(EXPECT_EQ(0, pin(mempinfd(), self->buf, self->size)));
	EXPECT_EQ(0, pin(mempinfd(), self->buf, self->size));
}

TEST_F(full_limit, kill_then_pin)
{
	int i, status;
	pid_t child;

	for (i = 0; i < NR_ROUNDS; i++) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			if (!pin(mempinfd(), self->buf, self->size))
				kill(getpid(), SIGKILL);
			_exit(1);
		}
		ASSERT_EQ(child, waitpid(child, &status, 0));
		ASSERT_EQ(SIGKILL, status);
	}
	EXPECT_EQ(0, pin(mempinfd(), self->buf, self->size));
}

/* ---- threads ---- */

FIXTURE(threads) {
	atomic_int fd;
	atomic_bool stop;
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_SETUP(threads)
{
	self->system_pins = system_pins();
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, set_real_uid(USER_A));
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(threads)
{
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(self->system_pins, system_pins());
}

typedef void *(*thread_fn)(void *fixture);

static void threads_start(pthread_t *threads, thread_fn fn, void *fixture)
{
	int i;

	for (i = 0; i < NR_THREADS; i++)
		pthread_create(&threads[i], NULL, fn, fixture);
}

/* The first thing that was wrong in any of the threads, or NULL. */
static const char *threads_join(pthread_t *threads)
{
	const char *wrong = NULL;
	void *result;
	int i;

	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(threads[i], &result);
		wrong = wrong ?: result;
	}
	return wrong;
}

#define EXPECT_NO_WRONG(wrong)			\
	({					\
		const char *__wrong = wrong;	\
						\
		EXPECT_STREQ("nothing", __wrong ?: "nothing");	\
	})

static void *pin_unpin_same(void *fixture)
{
	struct _test_data_threads *self = fixture;
	int i;

	for (i = 0; i < 500; i++) {
		if (pin(self->fd, self->buf, self->size))
			return "PIN failed";
		if (unpin(self->fd, self->buf, self->size))
			return "UNPIN failed";
	}
	return NULL;
}

TEST_F(threads, race_on_same_range)
{
	pthread_t threads[NR_THREADS];

	threads_start(threads, pin_unpin_same, self);
	EXPECT_NO_WRONG(threads_join(threads));
	EXPECT_PINNED(self->fd, 0, 0);
	close(self->fd);
}

static bool errno_in(int a, int b)
{
	return errno == a || errno == b;
}

/* The fd may be closed, or be another one, at any time. */
static void *pin_unpin_any(void *fixture)
{
	struct _test_data_threads *self = fixture;

	while (!self->stop) {
		if (pin(self->fd, self->buf, self->size) && errno != EBADF)
			return "PIN failed, and not with EBADF";
		if (unpin(self->fd, self->buf, self->size) &&
		    !errno_in(EBADF, ENOENT))
			return "UNPIN failed, and not with EBADF or ENOENT";
	}
	return NULL;
}

TEST_F(threads, race_with_close)
{
	pthread_t threads[NR_THREADS];
	int i;

	threads_start(threads, pin_unpin_any, self);
	for (i = 0; i < 100; i++) {
		usleep(1000);
		close(self->fd);
		self->fd = mempinfd();
	}
	self->stop = true;
	EXPECT_NO_WRONG(threads_join(threads));
	close(self->fd);
}

/* UNPIN goes by the range alone, so it works whatever is mapped there now. */
static void *pin_unpin_mapped(void *fixture)
{
	struct _test_data_threads *self = fixture;

	while (!self->stop) {
		if (!pin(self->fd, self->buf, self->size)) {
			if (unpin(self->fd, self->buf, self->size))
				return "UNPIN failed after PIN";
		} else if (errno != EFAULT) {
			return "PIN failed, and not with EFAULT";
		}
	}
	return NULL;
}

TEST_F(threads, race_with_munmap)
{
	pthread_t threads[NR_THREADS];
	int i;

	threads_start(threads, pin_unpin_mapped, self);
	for (i = 0; i < 200; i++) {
		munmap(self->buf + page_size(), page_size());
		mmap(self->buf + page_size(), page_size(), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	self->stop = true;
	EXPECT_NO_WRONG(threads_join(threads));
	EXPECT_PINNED(self->fd, 0, 0);
	close(self->fd);
}

TEST_F(threads, race_with_sigkill)
{
	pthread_t threads[NR_THREADS];
	int i, status;
	pid_t child;

	close(self->fd);
	for (i = 0; i < 10; i++) {
		child = fork();
		ASSERT_LE(0, child);
		if (!child) {
			self->fd = mempinfd();
			threads_start(threads, pin_unpin_any, self);
			pause();
		}
		usleep(5000 + 1000 * i);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &status, 0));
		EXPECT_EQ(SIGKILL, status);
		EXPECT_EQ(0, charged_to(USER_A));
	}
}

/* Other processes come and go, each with a copy of fd and page table. */
TEST_F(threads, race_with_fork)
{
	pthread_t threads[NR_THREADS];
	int i;

	threads_start(threads, pin_unpin_mapped, self);
	for (i = 0; i < 20; i++)
		IN_CHILD(EXPECT_ERRNO(EXDEV, pin(self->fd, self->buf, 1)));
	self->stop = true;
	EXPECT_NO_WRONG(threads_join(threads));
	EXPECT_PINNED(self->fd, 0, 0);
	close(self->fd);
}

/* ---- the owner changes the mapping ---- */

static int do_munmap(char *buf, size_t size)
{
	return munmap(buf, size);
}

static int do_munmap_one_page(char *buf, size_t size)
{
	return munmap(buf + page_size(), page_size());
}

static int do_mremap(char *buf, size_t size)
{
	char *target = mmap(NULL, size, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mremap(buf, size, size, MREMAP_MAYMOVE | MREMAP_FIXED,
		      target) == target ? 0 : -1;
}

static int do_dontneed(char *buf, size_t size)
{
	return madvise(buf, size, MADV_DONTNEED);
}

static int do_protect_none(char *buf, size_t size)
{
	return mprotect(buf, size, PROT_NONE);
}

static int do_protect_read(char *buf, size_t size)
{
	return mprotect(buf, size, PROT_READ);
}

static int do_map_fixed(char *buf, size_t size)
{
	return mmap(buf, size, PROT_READ, MAP_FIXED | MAP_PRIVATE |
		    MAP_ANONYMOUS, -1, 0) == buf ? 0 : -1;
}

FIXTURE(changed) {
	int fd;
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_VARIANT(changed) {
	int (*change)(char *buf, size_t size);
};

FIXTURE_VARIANT_ADD(changed, munmap) { .change = do_munmap };
FIXTURE_VARIANT_ADD(changed, munmap_one_page) { .change = do_munmap_one_page };
FIXTURE_VARIANT_ADD(changed, mremap) { .change = do_mremap };
FIXTURE_VARIANT_ADD(changed, dontneed) { .change = do_dontneed };
FIXTURE_VARIANT_ADD(changed, protect_none) { .change = do_protect_none };
FIXTURE_VARIANT_ADD(changed, protect_read) { .change = do_protect_read };
FIXTURE_VARIANT_ADD(changed, map_fixed) { .change = do_map_fixed };

FIXTURE_SETUP(changed)
{
	self->system_pins = system_pins();
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	ASSERT_EQ(0, set_real_uid(USER_A));
	self->fd = mempinfd();
	ASSERT_EQ(0, pin(self->fd, self->buf, self->size));
	ASSERT_EQ(0, variant->change(self->buf, self->size));
}

FIXTURE_TEARDOWN(changed)
{
	EXPECT_EQ(0, vm_pin(getpid()));
	EXPECT_EQ(0, charged_to(USER_A));
	EXPECT_EQ(self->system_pins, system_pins());
}

TEST_F(changed, stays_charged_until_unpin)
{
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
	EXPECT_EQ(NR_PAGES, charged_to(USER_A));
	EXPECT_EQ(self->system_pins + NR_PAGES, system_pins());
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_PINNED(self->fd, 0, 0);
	EXPECT_ERRNO(ENOENT, unpin(self->fd, self->buf, self->size));
}

TEST_F(changed, stays_charged_until_close)
{
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
	EXPECT_EQ(0, close(self->fd));
}

/* ---- what follows from these changes ---- */

FIXTURE(mapping) {
	int fd;
	char *buf;
	size_t size;
	long long system_pins;
};

FIXTURE_SETUP(mapping)
{
	self->system_pins = system_pins();
	self->buf = map_pages(NR_PAGES);
	ASSERT_TRUE(!!self->buf);
	self->size = NR_PAGES * page_size();
	self->fd = mempinfd();
	ASSERT_EQ(0, pin(self->fd, self->buf, self->size));
}

FIXTURE_TEARDOWN(mapping)
{
	close(self->fd);
	EXPECT_EQ(self->system_pins, system_pins());
}

/* Pins do not follow: the range at the new address was never pinned. */
TEST_F(mapping, moved_is_not_pinned_there)
{
	uint64_t frame = page_frame(self->buf);
	char *moved = map_pages(NR_PAGES);

	ASSERT_EQ((uintptr_t)moved,
		  (uintptr_t)mremap(self->buf, self->size, self->size,
				    MREMAP_MAYMOVE | MREMAP_FIXED, moved));
	EXPECT_EQ(frame, page_frame(moved));
	EXPECT_ERRNO(ENOENT, unpin(self->fd, moved, self->size));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, pin(self->fd, moved, self->size));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_PINNED(self->fd, 1, NR_PAGES);
}

/* Each PIN walks again, and finds the page that is there now. */
TEST_F(mapping, dropped_pages_are_not_pinned_again)
{
	uint64_t frame = page_frame(self->buf);

	self->buf[0] = 1;
	ASSERT_EQ(0, madvise(self->buf, self->size, MADV_DONTNEED));
	EXPECT_EQ(0, pin(self->fd, self->buf, self->size));
	EXPECT_NE(0, frame);
	EXPECT_NE(frame, page_frame(self->buf));
	EXPECT_EQ(0, self->buf[0]);
	EXPECT_PINNED(self->fd, 2, 2 * NR_PAGES);
	EXPECT_EQ(self->system_pins + 2 * NR_PAGES, system_pins());
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_EQ(0, unpin(self->fd, self->buf, self->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_HARNESS_MAIN
