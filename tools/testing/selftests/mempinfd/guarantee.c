// SPDX-License-Identifier: GPL-2.0
/*
 * Housekeeping of the kernel against memory that a device uses.
 *
 * Each cell of a table  stressor x kind of memory x protection  is a test.  It
 * takes a region of the kind, protects it, has the software SVA device watch
 * it, lets the stressor work, and counts
 *
 *   transient  pages that the device could not have used for a moment; one
 *              counts again with each invalidation that finds it so
 *   lasting    pages that it still cannot use, or that are others by now, when
 *              all is over
 *   moved      pages whose physical address is another then
 *
 * All are 0 with mempinfd, but that a huge mapping which its owner has split is
 * gone for a moment.  Without protection they are not: a stressor that does not
 * hit unprotected memory proves nothing about what is protected.  The same goes
 * for memory that only looks protected.  The other protections are what one
 * might take instead; what they do is shown.
 *
 * Usage: guarantee [-abcr] [-s STRESSOR] [-k KIND] [-p PROTECTION]
 *
 *   -a  all cells, not only the quick ones
 *   -b  the kernel is without the mm patches: what they are there to keep away
 *       from pinned memory has to be seen
 *   -c  the table also as comma-separated values
 *   -r  all rows, but the quick ones of the columns only
 *   -s, -k, -p  only these
 *
 * GUARANTEE in the environment has the letters of more options.
 *
 * A cell that makes no sense is in no test: see not_applicable().
 *
 * guarantee_stress.c has the rows of the table, guarantee_memory.c the longer
 * stressors, guarantee_protect.c the columns; guarantee_table.c prints it.
 */
#include "guarantee.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define REGION_SIZE	(4 * MEBI)	/* two huge pages */
#define SMALL_SIZE	(MEBI / 4)	/* for what has very many mappings */
#define MAX_PAGE_SIZE	(32 * MEBI)

static struct options {
	bool all;
	bool base;
	bool csv;
	bool rows;
	const char *stressor;
	const char *kind;
	const char *protection;
} options;

/* ---- for all of the steps ---- */

int cannot(struct cell *c, const char *what)
{
	if (!c->result.why[0])
		snprintf(c->result.why, sizeof(c->result.why), "%s: %s", what,
			 errno ? strerror(errno) : "failed");
	return -1;
}

int change(struct cell *c, const char *path, const char *value)
{
	int i;

	for (i = 0; i < c->nr_settings; i++)
		if (!strcmp(c->settings[i].path, path))
			return write_text(path, value) ? cannot(c, path) : 0;
	if (c->nr_settings == NR_SETTINGS) {
		errno = ENOSPC;
		return cannot(c, path);
	}
	if (setting_change(&c->settings[c->nr_settings], path, value))
		return cannot(c, path);
	c->nr_settings++;
	return 0;
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void touch_all(const struct region *r)
{
	size_t at;

	for (at = 0; at < r->size; at += page_size())
		touch(r->addr + at);
}

int wait_passes(struct cell *c, const char *path, int passes)
{
	long long end = read_number(path) + passes;
	int64_t deadline = now_ms() + 1000 * CELL_SECONDS / 2;

	while (read_number(path) < end) {
		if (now_ms() > deadline) {
			errno = ETIMEDOUT;
			return cannot(c, path);
		}
		usleep(10000);
	}
	return 0;
}

static int advise_other(pid_t pid, struct iovec *iov, int advice)
{
	int pidfd = syscall(__NR_pidfd_open, pid, 0);
	ssize_t done;

	if (pidfd < 0)
		return -1;
	done = syscall(__NR_process_madvise, pidfd, iov, 1, advice, 0);
	close(pidfd);
	return done < 0 ? -1 : 0;
}

int advise(struct cell *c, char *addr, size_t size, int advice)
{
	struct iovec iov = { addr, size };

	if (getpid() == c->owner)
		return madvise(addr, size, advice);
	return advise_other(c->owner, &iov, advice);
}

/* ---- one test, in a process of its own ---- */

#define MAX_PLACES	64
#define MAX_TRIES	5

static size_t region_size(const struct cell *c)
{
	if (!c->protection->often)
		return REGION_SIZE;
	return c->stressor->huge ? thp_size() : SMALL_SIZE;
}

/* The buffers lie in the pool instead of in memory of the kind. */
static enum memory_kind kind_of_memory(const struct cell *c)
{
	if (!c->protection->pool)
		return c->kind->kind;
	return SHARED & (1U << c->kind->kind) ? MEM_HUGETLB_SHARED : MEM_HUGETLB_PRIVATE;
}

/*
 * Pages that were there before anybody asked for them.  What has migrated since
 * is in the pool of another node: the end of the test sets that of all.
 */
static int reserve_pool(struct cell *c, int regions)
{
	size_t huge = hugetlb_size(), pages = regions * ((REGION_SIZE + huge - 1) / huge);
	char path[128], text[32];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages",
		 c->stressor->node, huge >> 10);
	snprintf(text, sizeof(text), "%zu", pages);
	if (regions == 1 && change(c, "/proc/sys/vm/nr_hugepages", "0"))
		return -1;
	if (change(c, path, text))
		return -1;
	if (read_number(path) >= (long long)pages)
		return 0;
	errno = ENOMEM;
	return cannot(c, path);
}

/* Regions that lie in the wrong place go when the process does. */
static int cell_map(struct cell *c)
{
	bool (*placed)(struct cell *c) = c->stressor->placed;
	int i;

	for (i = 0; i < MAX_PLACES; i++) {
		if (c->protection->pool && reserve_pool(c, i + 1))
			return -1;
		if (region_map(&c->all, kind_of_memory(c), region_size(c)))
			return cannot(c, "memory of this kind");
		if (region_fill(&c->all, SEED))
			return cannot(c, "page sizes");
		if (!placed || placed(c))
			return 0;
	}
	errno = 0;
	return cannot(c, "memory in the right place");
}

/* What the region takes is charged to a group of its own. */
static int cell_join(struct cell *c)
{
	return write_text(CGROUP "/cgroup.procs", "0") ? cannot(c, CGROUP) : 0;
}

static int cell_prepare(struct cell *c)
{
	if (allocate_on(need_nodes() ? -1 : c->stressor->node))
		return cannot(c, "set_mempolicy");
	if (c->stressor->before && c->stressor->before(c))
		return -1;
	if (cell_map(c))
		return -1;
	if (c->stressor->prepare && c->stressor->prepare(c))
		return -1;
	errno = 0;
	if (!region_has_its_pages(&c->all))
		return cannot(c, "pages of this size");
	return allocate_on(-1) ? cannot(c, "set_mempolicy") : 0;
}

static int cell_protect(struct cell *c)
{
	c->used = c->all;
	if (c->stressor->splits)
		c->used.size -= c->used.page / 2;
	return c->protection->protect ? c->protection->protect(c) : 0;
}

static int cell_watch(struct cell *c)
{
	c->device = sva_open();
	if (c->device < 0)
		return cannot(c, SVA_DEVICE);
	if (sva_watch_access(c->device, c->used.addr, c->used.size, !c->read_only))
		return cannot(c, "TEST_SVA_WATCH");
	return 0;
}

static void add(__u64 *sum, const __u64 *counts)
{
	int i;

	for (i = 0; i < TEST_SVA_NR_CAUSES; i++)
		sum[i] += counts[i];
}

/* What has been seen up to now, for the next time from here on. */
static int take_stats(struct cell *c, __u64 *sum)
{
	struct test_sva_stats stats;

	if (ioctl(c->device, TEST_SVA_STATS, &stats) || ioctl(c->device, TEST_SVA_RESET))
		return cannot(c, "TEST_SVA_STATS");
	add(sum, stats.watched);
	if (stats.writes != TEST_SVA_UNKNOWN)
		c->result.writes += stats.writes;
	return 0;
}

/* Lasting is what a look finds again a little later. */
static int cell_read(struct cell *c, const uint64_t *frames)
{
	struct result *r = &c->result;
	int failed;

	failed = take_stats(c, r->transient) ?: ioctl(c->device, TEST_SVA_CHECK);
	if (failed > 0 && c->protection->raced) {
		usleep(2000);
		failed = take_stats(c, r->transient) ?: ioctl(c->device, TEST_SVA_CHECK);
	}
	if (failed < 0 || take_stats(c, r->lasting))
		return cannot(c, "TEST_SVA_CHECK");
	r->moved += region_moved(&c->used, frames);
	return 0;
}

static bool was_hit(struct cell *c)
{
	struct test_sva_stats stats;

	return !ioctl(c->device, TEST_SVA_STATS, &stats) && sva_sum(stats.watched);
}

/* Housekeeping that takes its time gets more of it where it has to be seen. */
static int tries(const struct cell *c)
{
	enum expectation expect = c->protection->expect;

	return expect == SOME || expect == AS_NONE || options.base ? MAX_TRIES : 1;
}

static int cell_once(struct cell *c)
{
	uint64_t *frames = region_frames(&c->used);
	int i;

	if (!frames || cell_watch(c))
		return -1;
	for (i = 0; i < tries(c) && (!i || !was_hit(c)); i++)
		if (stress(c))
			return -1;
	return cell_read(c, frames);
}

static void *keep_stressing(void *arg)
{
	struct cell *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED) && !stress(c))
		;
	return NULL;
}

/* The device watches from when PIN has returned until UNPIN. */
static int cell_round(struct cell *c)
{
	uint64_t *frames;
	int ret;

	/* memory that is just being moved cannot be pinned */
	if (pin(c->pin_fd, c->used.addr, c->used.size))
		return errno == ENOMEM ? 0 : cannot(c, "MEM_CMD_PIN");
	c->rounds++;
	frames = region_frames(&c->used);
	ret = !frames || cell_watch(c);
	if (!ret) {
		usleep(500);
		ret = cell_read(c, frames);
		close(c->device);
	}
	free(frames);
	if (unpin(c->pin_fd, c->used.addr, c->used.size))
		return cannot(c, "MEM_CMD_UNPIN");
	return ret ? -1 : 0;
}

static int race_ms = 500;

static int cell_race(struct cell *c)
{
	int64_t end = now_ms() + race_ms, last = end + 10 * race_ms;
	pthread_t thread;
	int ret = 0;

	errno = pthread_create(&thread, NULL, keep_stressing, c);
	if (errno)
		return cannot(c, "pthread_create");
	while (!ret && (now_ms() < end || (!c->rounds && now_ms() < last)))
		ret = cell_round(c);
	if (!ret && !c->rounds)
		ret = cannot(c, "MEM_CMD_PIN, ever");
	__atomic_store_n(&c->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	return ret;
}

static void run_cell(struct cell *c)
{
	c->owner = getpid();
	if (cell_join(c) || cell_prepare(c) || cell_protect(c))
		return;
	if (c->protection->raced ? cell_race(c) : cell_once(c))
		return;
	c->result.ran = !c->result.why[0];
}

/* ---- its process ---- */

static void wait_cell(struct cell *c, pid_t pid)
{
	int64_t end = now_ms() + 1000 * CELL_SECONDS;
	int status;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		if (now_ms() > end) {
			errno = ETIMEDOUT;
			cannot(c, "stressor");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		usleep(2000);
	}
	if (WIFSIGNALED(status) && !c->result.why[0])
		snprintf(c->result.why, sizeof(c->result.why), "killed by signal %d",
			 WTERMSIG(status));
}

/* Children of the test go after it, and give back memory when they do. */
static void wait_empty(void)
{
	int64_t end = now_ms() + 1000 * CELL_SECONDS;

	while (read_field(CGROUP "/cgroup.events", "populated") == 1 && now_ms() < end)
		usleep(2000);
}

static void measure(struct cell *c)
{
	pid_t pid = fork();

	if (!pid) {
		run_cell(c);
		_exit(0);
	}
	if (pid < 0)
		cannot(c, "fork");
	else
		wait_cell(c, pid);
	wait_empty();
	setting_restore(&c->all.hugetlb_pool);
	while (c->nr_settings)
		setting_restore(&c->settings[--c->nr_settings]);
}

/* ---- what it shall be ---- */

static bool never_disturbed(const struct cell *c)
{
	const struct result *r = &c->result;

	return !sva_sum(r->lasting) && !r->moved &&
	       (c->stressor->splits || (!sva_sum(r->transient) && !r->writes));
}

/* Do the mm patches say that they keep it away from pinned memory? */
static bool is_claimed(const struct cell *c)
{
	return c->protection->expect == NONE && !c->protection->raced &&
	       (c->stressor->hits_pinned & (1U << c->kind->kind));
}

static bool as_expected(const struct cell *c)
{
	const struct result *r = &c->result;

	if (!r->ran)
		return false;
	switch (c->protection->expect) {
	case SOME:
		return faults(r);
	case AS_NONE:
		return faults(r) && (r->moved || !c->unprotected->result.moved);
	case NONE:
		if (options.base)
			return !is_claimed(c) || !never_disturbed(c);
		return never_disturbed(c);
	default:
		return true;
	}
}

/* ---- all tests ---- */

/*
 * Where pages lie is a matter of luck: one of the kernel in the same block keeps
 * it from going offline, and compaction moves only what has free memory above.
 */
static bool shall_try_again(const struct cell *c)
{
	enum expectation expect = c->protection->expect;

	return !c->result.ran ||
	       ((expect == SOME || expect == AS_NONE) && !as_expected(c));
}

static void measure_often(struct cell *c)
{
	int i;

	for (i = 0; i < MAX_TRIES && shall_try_again(c); i++) {
		memset(&c->result, 0, sizeof(c->result));
		c->stop = false;
		measure(c);
	}
}

static const char *missing_pages(enum memory_kind kind)
{
	size_t size = memory_kind_page(kind);

	if (!size)
		return "this kernel has no such pages";
	return size > MAX_PAGE_SIZE ? "a page is too large for the memory there is" : NULL;
}

/* NULL if everything is there. */
static const char *missing(const struct cell *c)
{
	const char *what = missing_pages(c->kind->kind);

	if (!what)
		what = missing_pages(kind_of_memory(c));
	if (!what && c->stressor->need)
		what = c->stressor->need();
	if (!what && c->protection->need)
		what = c->protection->need();
	return what;
}

static void report(const struct cell *c)
{
	const char *what = missing(c);
	char name[128];

	snprintf(name, sizeof(name), "%s.%s.%s", c->stressor->name, c->kind->name,
		 c->protection->name);
	if (what) {
		ksft_test_result_skip("%s %s\n", name, what);
		return;
	}
	if (c->result.ran)
		print_causes(&c->result);
	else
		printf("#   %s\n", c->result.why);
	if (c->protection->raced)
		printf("#   %u rounds\n", c->rounds);
	ksft_test_result(as_expected(c), "%s\n", name);
}

/* ---- set up ---- */

static bool set_switch(int c)
{
	bool *const to = c == 'a' ? &options.all :
			 c == 'b' ? &options.base :
			 c == 'c' ? &options.csv :
			 c == 'r' ? &options.rows : NULL;

	if (to)
		*to = true;
	return to;
}

static void parse(int argc, char **argv)
{
	const char *more = getenv("GUARANTEE");
	int c;

	while (more && *more)
		if (!set_switch(*more++))
			ksft_exit_fail_msg("GUARANTEE is of the letters a, b, c and r\n");
	while ((c = getopt(argc, argv, "abcrs:k:p:")) > 0) {
		if (c == 's')
			options.stressor = optarg;
		else if (c == 'k')
			options.kind = optarg;
		else if (c == 'p')
			options.protection = optarg;
		else if (!set_switch(c))
			ksft_exit_fail_msg("there are options -a -b -c -r -s -k -p only\n");
	}
}

static bool matches(const char *option, const char *name)
{
	return !option || !strcmp(option, name);
}

static bool selected(const struct cell *c)
{
	const struct options *o = &options;

	if (not_applicable(c->stressor, c->kind, c->protection) ||
	    !matches(o->stressor, c->stressor->name) ||
	    !matches(o->kind, c->kind->name) ||
	    !matches(o->protection, c->protection->name))
		return false;
	if (o->all || o->stressor)
		return true;
	return (c->stressor->quick || o->rows) && (c->protection->quick || o->protection);
}

static size_t nr_cells(void)
{
	return nr_stressors * nr_kinds * nr_protections;
}

/* In the order of the table: line by line. */
static struct cell *make_cells(unsigned int *plan)
{
	struct cell *cells = mmap(NULL, nr_cells() * sizeof(*cells),
				  PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t i;

	if (cells == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	for (i = 0; i < nr_cells(); i++) {
		size_t line = i / nr_protections;

		cells[i].protection = &protections[i % nr_protections];
		cells[i].kind = &kinds[line % nr_kinds];
		cells[i].stressor = &stressors[line / nr_kinds];
		cells[i].unprotected = &cells[line * nr_protections];
		*plan += selected(&cells[i]);
	}
	return cells;
}

static int make_cgroup(void)
{
	if (write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		return -1;
	return mkdir(CGROUP, 0755) && errno != EEXIST ? -1 : 0;
}

static void run_cells(struct cell *cells)
{
	size_t i;

	for (i = 0; i < nr_cells(); i++) {
		if (!selected(&cells[i]))
			continue;
		if (!missing(&cells[i]))
			measure_often(&cells[i]);
		report(&cells[i]);
	}
}

/* On the base: how many of the cells that are claimed were hit? */
static void count_claimed(const struct cell *cells)
{
	unsigned int claimed = 0, hit = 0;
	size_t i;

	for (i = 0; i < nr_cells(); i++) {
		if (!cells[i].result.ran || !is_claimed(&cells[i]))
			continue;
		claimed++;
		hit += !never_disturbed(&cells[i]);
	}
	printf("# without the mm patches: %u of the %u cells that they are for are hit\n",
	       hit, claimed);
}

static void print_results(const struct cell *cells)
{
	print_table(cells);
	if (options.base)
		count_claimed(cells);
	if (options.all)
		print_not_applicable();
	if (options.csv)
		print_csv(cells);
}

int main(int argc, char **argv)
{
	struct cell *cells;
	unsigned int plan = 0;
	bool have_swap;

	ksft_print_header();
	parse(argc, argv);
	if (options.all)
		race_ms = 1000;
	if (access(SVA_DEVICE, R_OK | W_OK))
		ksft_exit_skip("no " SVA_DEVICE ": CONFIG_TEST_SVA\n");
	if (make_cgroup())
		ksft_exit_skip("no memory cgroup " CGROUP "\n");
	kmsg_write(KMSG_EXPECTED);	/* memory going offline, and swap */
	have_swap = find_swap();
	cells = make_cells(&plan);
	ksft_set_plan(plan);
	run_cells(cells);
	print_results(cells);
	if (have_swap)
		swapoff(SWAP_DEVICE);
	kmsg_write(KMSG_UNEXPECTED);
	rmdir(CGROUP);
	ksft_finished();
}
