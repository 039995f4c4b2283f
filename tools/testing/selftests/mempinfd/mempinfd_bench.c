// SPDX-License-Identifier: GPL-2.0
/*
 * What pinning costs, beside what others ask for the same.
 *
 * Prints comma-separated values, one figure a line:
 *
 *   part       cost     nanoseconds an operation takes on memory that is there
 *              fault    ... on memory that has not been touched yet
 *              live     ... on a page more, with so many pages pinned already
 *              close    nanoseconds for each pin that close() undoes
 *              memory   bytes of the kernel for each pin, run or GiB pinned
 *              scaling  what two threads do on one fd / on an fd each
 *   kind       of memory
 *   size       bytes of the range, or the number of live pins
 *   who        does it
 *   operation
 *   figure     the median, empty where there is none
 *   spread     how far two medians of the same are from each other, in parts
 *              of the figure; of a scaling, the lowest and the highest ratio
 *   why        there is no figure
 *
 * This is meant for a guest of "qemu -icount shift=0,sleep=off -smp 1", where a
 * nanosecond is an instruction, so that figures are the same in each boot.  On
 * another machine they are times.  In the environment may stand
 *
 *   PART=, KIND=	measure only these
 *   BENCH=scaling	what needs two CPUs, and only that
 *   BENCH=profile	run OPERATION= of WHO= on SIZE= bytes of KIND= for a
 *			profile to be taken, see qemu/profile.c; or, with
 *			OPERATION=close, the end of 10^6 pins that are
 *			KIND=adjacent or scattered
 *
 * What a clock read costs is subtracted.  Where a figure needs another's
 * subtracted, its function says so.
 */
#include "mempinfd_calls.h"
#include "mempinfd_mem.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <linux/io_uring.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <mm/gup_test.h>

#include "../kselftest.h"

#define KIBI		((size_t)1 << 10)
#define MEBI		((size_t)1 << 20)
#define GIBI		((size_t)1 << 30)

#define GUP_TEST	"/sys/kernel/debug/gup_test"
#define GUP_WRITE	(1 << 0)	/* FOLL_WRITE and FOLL_LONGTERM of */
#define GUP_LONGTERM	(1 << 8)	/* include/linux/mm_types.h */
#define CGROUP		"/sys/fs/cgroup/mempinfd"

/* Samples of a figure, and the nanoseconds they may take: enough, and at most. */
#define MAX_SAMPLES	101
#define MIN_SAMPLES	3
#define ENOUGH		20000000
#define AT_MOST		1000000000

/* ---- what is measured ---- */

enum { PIN, UNPIN, OPERATIONS };

static const char * const operations[OPERATIONS] = { "pin", "unpin" };

static const size_t sizes[] = {
	4 * KIBI, 64 * KIBI, 2 * MEBI, 64 * MEBI, GIBI
};

struct kind {
	const char *name;
	enum memory_kind kind;
	size_t largest;
	size_t hugetlb;		/* page size, where not the default one */
	bool shuffled;
	bool cgroup;		/* kernel memory is charged to a cgroup */
};

/*
 * Pages come back in the order in which others gave them away: the kinds that
 * leave memory in order go first, the shuffled one last.
 */
static const struct kind kinds[] = {
	{ "hugetlb-1G", MEM_HUGETLB_PRIVATE, GIBI, .hugetlb = GIBI },
	{ "THP-2M", MEM_THP, GIBI },
	{ "hugetlb-2M", MEM_HUGETLB_PRIVATE, GIBI },
	{ "mTHP-64K", MEM_MTHP_64K, GIBI },
	{ "shmem-4K", MEM_MEMFD, GIBI },
	{ "anon-4K", MEM_ANON, GIBI },
	{ "anon-4K-memcg", MEM_ANON, 2 * MEBI, .cgroup = true },
	{ "anon-4K-shuffled", MEM_ANON, GIBI, .shuffled = true },
};

/* What the peers work with; each test has one, in a process of its own. */
struct bench {
	const struct kind *kind;
	struct region region;
	int pins;		/* mempinfd */
	int table;		/* io_uring without buffers */
	int slots;		/* io_uring with one empty slot */
	int gup_test;
};

struct peer {
	const char *name;
	size_t largest;
	/* why it cannot be measured, or NULL */
	const char *(*not_for)(const struct bench *b, size_t size);
	/* do both operations and tell the nanoseconds of each */
	int (*pair)(struct bench *b, char *addr, size_t size, uint64_t *cost);
};

/* ---- the clock ---- */

static uint64_t clock_cost;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static uint64_t since(uint64_t start)
{
	uint64_t ns = now() - start;

	return ns > clock_cost ? ns - clock_cost : 0;
}

/*
 * A QEMU plugin counts the instructions between these two, see qemu/profile.c;
 * it finds them by their names.
 */
static int profiled = OPERATIONS;

__attribute__((noinline)) void profile_start(void)
{
	asm volatile("" : : : "memory");
}

__attribute__((noinline)) void profile_stop(void)
{
	asm volatile("" : : : "memory");
}

static uint64_t begin(int operation)
{
	if (operation == profiled)
		profile_start();
	return now();
}

static uint64_t end(int operation, uint64_t start)
{
	uint64_t cost = since(start);

	if (operation == profiled)
		profile_stop();
	return cost;
}

static int compare_numbers(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *numbers, size_t n)
{
	qsort(numbers, n, sizeof(*numbers), compare_numbers);
	return n % 2 ? numbers[n / 2] : (numbers[n / 2 - 1] + numbers[n / 2]) / 2;
}

static void calibrate(void)
{
	double samples[MAX_SAMPLES];
	int i;

	for (i = 0; i < MAX_SAMPLES; i++) {
		uint64_t start = now();

		samples[i] = now() - start;
	}
	clock_cost = median(samples, MAX_SAMPLES);
}

/* ---- the lines ---- */

static void print_figure(const char *part, const char *kind, size_t size,
			 const char *who, const char *operation, double figure,
			 double spread)
{
	printf("%s,%s,%zu,%s,%s,%.2f,%.5f,\n", part, kind, size, who, operation,
	       figure, spread);
}

static void print_none(const char *part, const char *kind, size_t size,
		       const char *who, const char *operation, const char *why)
{
	printf("%s,%s,%zu,%s,%s,,,%s\n", part, kind, size, who, operation, why);
}

/* ---- peers ---- */

static int pair_mempinfd(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	uint64_t start = begin(PIN);

	if (pin(b->pins, addr, size))
		return -1;
	cost[PIN] = end(PIN, start);

	start = begin(UNPIN);
	if (unpin(b->pins, addr, size))
		return -1;
	cost[UNPIN] = end(UNPIN, start);
	return 0;
}

static int uring_register(int fd, unsigned int what, const void *arg, unsigned int n)
{
	return syscall(__NR_io_uring_register, fd, what, arg, n);
}

static int pair_uring_table(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	struct iovec iov = { addr, size };
	uint64_t start = begin(PIN);

	if (uring_register(b->table, IORING_REGISTER_BUFFERS, &iov, 1))
		return -1;
	cost[PIN] = end(PIN, start);

	start = begin(UNPIN);
	if (uring_register(b->table, IORING_UNREGISTER_BUFFERS, NULL, 0))
		return -1;
	cost[UNPIN] = end(UNPIN, start);
	return 0;
}

static int uring_set_slot(int fd, void *addr, size_t size)
{
	struct iovec iov = { addr, size };
	struct io_uring_rsrc_update2 update = {
		.data = (uintptr_t)&iov,
		.nr = 1,
	};

	return uring_register(fd, IORING_REGISTER_BUFFERS_UPDATE, &update,
			      sizeof(update)) == 1 ? 0 : -1;
}

static int pair_uring_slot(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	uint64_t start = begin(PIN);

	if (uring_set_slot(b->slots, addr, size))
		return -1;
	cost[PIN] = end(PIN, start);

	start = begin(UNPIN);
	if (uring_set_slot(b->slots, NULL, 0))
		return -1;
	cost[UNPIN] = end(UNPIN, start);
	return 0;
}

/*
 * unpin_user_pages() of a few pages is too short for the clock of gup_test: what
 * its STOP takes, less what it takes when there is nothing to unpin.  Freeing
 * the array of pages is contained.  A profile is of START or STOP.
 */
static int gup_start_stop(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	struct pin_longterm_test test = {
		.addr = (uintptr_t)addr,
		.size = size,
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE |
			 PIN_LONGTERM_TEST_FLAG_USE_FAST,
	};
	uint64_t start = begin(PIN), nothing;

	if (ioctl(b->gup_test, PIN_LONGTERM_TEST_START, &test))
		return -1;
	end(PIN, start);
	start = begin(UNPIN);
	ioctl(b->gup_test, PIN_LONGTERM_TEST_STOP);
	*cost = end(UNPIN, start);
	start = now();
	ioctl(b->gup_test, PIN_LONGTERM_TEST_STOP);
	nothing = since(start);
	*cost -= nothing < *cost ? nothing : *cost;
	return 0;
}

/*
 * pin_user_pages_fast() and unpin_user_pages() alone, without a system call, by
 * the clock of gup_test.  That has microseconds only, so that short calls are
 * made many times, on so many bytes together.
 */
#define GUP_SPAN	(64 * MEBI)

static int pair_gup(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	size_t all = size < GUP_SPAN ? GUP_SPAN : size;
	struct gup_test test = {
		.addr = (uintptr_t)addr,
		.size = all < b->region.size ? all : b->region.size,
		.nr_pages_per_call = size / page_size(),
		.gup_flags = GUP_WRITE | GUP_LONGTERM,
	};

	all = test.size;
	if (ioctl(b->gup_test, PIN_FAST_BENCHMARK, &test) || test.size != all)
		return -1;
	cost[PIN] = test.get_delta_usec * 1000 * size / all;
	cost[UNPIN] = test.put_delta_usec * 1000 * size / all;
	if (size < 2 * MEBI || profiled != OPERATIONS)
		return gup_start_stop(b, addr, size, &cost[UNPIN]);
	return 0;
}

static int pair_mlock(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	uint64_t start = begin(PIN);

	if (mlock(addr, size))
		return -1;
	cost[PIN] = end(PIN, start);

	start = begin(UNPIN);
	if (munlock(addr, size))
		return -1;
	cost[UNPIN] = end(UNPIN, start);
	return 0;
}

static const char *mlock_not_for(const struct bench *b, size_t size)
{
	if (size >= b->region.page || b->kind->kind == MEM_MTHP_64K)
		return NULL;
	return b->kind->kind == MEM_THP ? "it would split the huge page" :
	       "hugetlb cannot be locked in part";
}

static const struct peer peers[] = {
	{ "mempinfd", GIBI, NULL, pair_mempinfd },
	{ "io_uring-table", GIBI, NULL, pair_uring_table },
	{ "io_uring-slot", 64 * MEBI, NULL, pair_uring_slot },
	{ "gup", GIBI, NULL, pair_gup },
	{ "mlock", GIBI, mlock_not_for, pair_mlock },
};

/* ---- the figures of a peer ---- */

struct series {
	double samples[OPERATIONS][MAX_SAMPLES];
	size_t n;
	double median[OPERATIONS];
};

static bool is_enough(size_t samples, uint64_t taken)
{
	if (samples >= MAX_SAMPLES || taken >= AT_MOST)
		return true;
	return samples >= MIN_SAMPLES && taken >= ENOUGH;
}

static int take_series(struct bench *b, const struct peer *peer, char *addr, size_t size,
		       struct series *s)
{
	uint64_t cost[OPERATIONS] = {}, taken = 0;
	int op;

	for (s->n = 0; !is_enough(s->n, taken); s->n++) {
		if (peer->pair(b, addr, size, cost))
			return -1;
		for (op = 0; op < OPERATIONS; op++) {
			s->samples[op][s->n] = cost[op];
			taken += cost[op];
		}
	}
	for (op = 0; op < OPERATIONS; op++)
		s->median[op] = median(s->samples[op], s->n);
	return 0;
}

static double spread_of(double a, double b)
{
	double low = a < b ? a : b, high = a < b ? b : a;

	return low > 0 ? (high - low) / low : 0;
}

/*
 * The first pages of a region are those that others have given back last, in
 * their order and not that of addresses: the middle is what it looks like.
 */
static char *range_of(const struct region *r, size_t size)
{
	size_t span = size < GUP_SPAN ? GUP_SPAN : size;

	return span < r->size ? r->addr + (r->size - span) / 2 : r->addr;
}

static void measure(struct bench *b, const struct peer *peer, size_t size)
{
	const char *why = peer->not_for ? peer->not_for(b, size) : NULL;
	char *addr = range_of(&b->region, size);
	static struct series first, second;
	int op;

	if (!why && size > b->region.size)
		why = "it does not fit";
	if (!why && (take_series(b, peer, addr, size, &first) ||
		     take_series(b, peer, addr, size, &second)))
		why = strerror(errno);
	for (op = 0; op < OPERATIONS; op++)
		if (why)
			print_none("cost", b->kind->name, size, peer->name,
				   operations[op], why);
		else
			print_figure("cost", b->kind->name, size, peer->name,
				     operations[op], first.median[op],
				     spread_of(first.median[op], second.median[op]));
}

/* ---- memory ---- */

static size_t memory_available(void)
{
	return read_field("/proc/meminfo", "MemAvailable") << 10;
}

static int map_hugetlb(struct region *r, size_t page, size_t size)
{
	int shift = __builtin_ctzl(page);

	memset(r, 0, sizeof(*r));
	r->kind = MEM_HUGETLB_PRIVATE;
	r->page = page;
	r->size = size < page ? page : size;
	return region_map_at(r, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			     shift << MAP_HUGE_SHIFT, -1);
}

static int map_kind(struct region *r, const struct kind *kind, size_t size)
{
	if (kind->hugetlb)
		return map_hugetlb(r, kind->hugetlb, size);
	return region_map(r, kind->kind, size);
}

static uint64_t random_number(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15ULL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Pages taken in another order than that of their addresses are no neighbours. */
static int touch_shuffled(const struct region *r)
{
	size_t n = region_base_pages(r), i;
	uint32_t *order = malloc(n * sizeof(*order));

	if (!order)
		return -1;
	for (i = 0; i < n; i++) {
		size_t j = random_number() % (i + 1);

		order[i] = order[j];
		order[j] = i;
	}
	for (i = 0; i < n; i++)
		r->addr[order[i] * page_size()] = 1;
	free(order);
	return 0;
}

static int populate(const struct region *r, const struct kind *kind)
{
	struct setting thp[2];
	int ret;

	if (kind->shuffled)
		return touch_shuffled(r);
	ret = thp_settings_for(r->kind, thp);
	if (!ret)
		ret = madvise(r->addr, r->size, MADV_POPULATE_WRITE);
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
	return ret;
}

/* Stretches of neighbouring page frames. */
static size_t count_runs(const struct region *r)
{
	uint64_t *frames = region_frames(r);
	size_t n = region_base_pages(r), runs = 1, i;

	if (!frames)
		return 0;
	for (i = 1; i < n; i++)
		runs += frames[i] != frames[i - 1] + 1;
	free(frames);
	return runs;
}

static const char *take_region(struct bench *b)
{
	size_t size = b->kind->largest;

	while (!b->kind->hugetlb && size > 2 * MEBI && size + size / 8 > memory_available())
		size /= 4;
	if (map_kind(&b->region, b->kind, size))
		return strerror(errno);
	if (populate(&b->region, b->kind))
		return strerror(errno);
	return region_has_its_pages(&b->region) ? NULL : "no pages of this size";
}

/* ---- a process for each kind of memory ---- */

static int uring_open(void)
{
	struct io_uring_params params = {};

	return syscall(__NR_io_uring_setup, 1, &params);
}

static int uring_open_slot(void)
{
	struct io_uring_rsrc_register slots = {
		.nr = 1,
		.flags = IORING_RSRC_REGISTER_SPARSE,
	};
	int fd = uring_open();

	if (fd >= 0 && uring_register(fd, IORING_REGISTER_BUFFERS2, &slots, sizeof(slots)))
		return -1;
	return fd;
}

static void bench_open(struct bench *b)
{
	b->pins = mempinfd();
	b->table = uring_open();
	b->slots = uring_open_slot();
	b->gup_test = open(GUP_TEST, O_RDWR | O_CLOEXEC);
	if (b->pins < 0 || b->table < 0 || b->slots < 0 || b->gup_test < 0)
		ksft_exit_fail_perror("mempinfd, io_uring or " GUP_TEST);
}

static void in_child(void (*fn)(struct bench *b), const struct kind *kind)
{
	struct bench b = { .kind = kind };
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (kind && kind->cgroup && write_text(CGROUP "/cgroup.procs", "0"))
			ksft_exit_fail_perror(CGROUP);
		bench_open(&b);
		fn(&b);
		fflush(stdout);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status)
		ksft_exit_fail_msg("a measurement failed: status %#x\n", status);
}

static void bench_cost(struct bench *b)
{
	const char *why = take_region(b);
	size_t i, j;

	if (why) {
		print_none("cost", b->kind->name, 0, "", "", why);
		return;
	}
	print_figure("runs", b->kind->name, b->region.size, "", "pages in a run",
		     (double)region_base_pages(&b->region) / count_runs(&b->region), 0);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		for (j = 0; j < ARRAY_SIZE(peers); j++)
			if (sizes[i] <= b->kind->largest && sizes[i] <= peers[j].largest)
				measure(b, &peers[j], sizes[i]);
}

/* ---- memory that is not there yet ---- */

static int pair_populate(struct bench *b, char *addr, size_t size, uint64_t *cost)
{
	uint64_t start = begin(PIN);

	if (madvise(addr, size, MADV_POPULATE_WRITE))
		return -1;
	cost[PIN] = end(PIN, start);
	cost[UNPIN] = 0;
	return 0;
}

static const struct peer faulting_peers[] = {
	{ "mempinfd", 64 * MEBI, NULL, pair_mempinfd },
	{ "populate", 64 * MEBI, NULL, pair_populate },
};

static int take_fault_series(struct bench *b, const struct peer *peer, size_t size,
			     struct series *s)
{
	uint64_t cost[OPERATIONS], taken = 0;
	struct region r;
	int ret = 0;

	for (s->n = 0; !ret && !is_enough(s->n, taken); s->n++) {
		if (map_kind(&r, b->kind, size))
			return -1;
		ret = peer->pair(b, r.addr, size, cost);
		if (!ret && !region_has_its_pages(&r))
			errno = ENOMEM, ret = -1;
		region_unmap(&r);
		s->samples[PIN][s->n] = cost[PIN];
		taken += cost[PIN];
	}
	s->median[PIN] = ret ? 0 : median(s->samples[PIN], s->n);
	return ret;
}

static void measure_fault(struct bench *b, const struct peer *peer, size_t size)
{
	static struct series first, second;

	if (take_fault_series(b, peer, size, &first) ||
	    take_fault_series(b, peer, size, &second))
		print_none("fault", b->kind->name, size, peer->name, "pin",
			   strerror(errno));
	else
		print_figure("fault", b->kind->name, size, peer->name, "pin",
			     first.median[PIN],
			     spread_of(first.median[PIN], second.median[PIN]));
}

static void bench_fault(struct bench *b)
{
	size_t page = b->kind->hugetlb ?: memory_kind_page(b->kind->kind);
	struct setting thp[2];
	size_t i, j;

	if (b->kind->shuffled || b->kind->cgroup)
		return;
	if (thp_settings_for(b->kind->kind, thp))
		ksft_exit_fail_perror(THP_DIR);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		for (j = 0; j < ARRAY_SIZE(faulting_peers); j++)
			if (sizes[i] >= page && sizes[i] <= faulting_peers[j].largest)
				measure_fault(b, &faulting_peers[j], sizes[i]);
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
}

/* ---- many live pins ---- */

#define ARENA_FILE	GIBI
#define ARENA_SIZE	(1024 * GIBI)
#define MOST_PINS	1000000
#define LIVE_SAMPLES	501

/*
 * One TiB of address space that 1 GiB of huge pages fills again and again: small
 * pins may lie anywhere in it, and page tables stay small.
 */
static char *map_arena(void)
{
	struct region r = { .size = ARENA_SIZE, .page = GIBI };
	int fd = memfd_create("arena", MFD_CLOEXEC | MFD_HUGETLB);
	char *arena = region_reserve(&r), *at;

	if (fd < 0 || arena == MAP_FAILED || ftruncate(fd, ARENA_FILE))
		return NULL;
	for (at = arena; at < arena + ARENA_SIZE; at += ARENA_FILE)
		if (mmap(at, ARENA_FILE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED)
			return NULL;
	close(fd);
	return arena;
}

/* The offset of the i-th of pins that are neighbours. */
static size_t adjacent(size_t i)
{
	return i * page_size();
}

/* An odd factor makes it a permutation of all pages of the arena. */
static size_t scattered(size_t i)
{
	size_t page = (i * 0x9e3779b1 + 0x7f4a7c15) % (ARENA_SIZE / page_size());

	return page * page_size();
}

static const struct layout {
	const char *name;
	size_t (*place)(size_t i);
} layouts[] = {
	{ "adjacent", adjacent },
	{ "scattered", scattered },
};

/* Bytes that the kernel has allocated for itself, page tables left out. */
static double kernel_memory(void)
{
	char nothing[16];

	read_text("/proc/sys/vm/stat_refresh", nothing, sizeof(nothing));
	return 1024.0 * (read_field("/proc/meminfo", "Slab") +
			 read_field("/proc/meminfo", "VmallocUsed"));
}

struct live {
	double median[OPERATIONS];
	double mean[OPERATIONS];
};

/* Of another place each time.  A mean has in it what is freed by RCU meanwhile. */
static int take_live(struct bench *b, const struct layout *layout, char *arena, size_t n,
		     struct live *live)
{
	static double samples[OPERATIONS][LIVE_SAMPLES];
	uint64_t cost[OPERATIONS];
	int op, i;

	memset(live, 0, sizeof(*live));
	for (i = 0; i < LIVE_SAMPLES; i++) {
		if (pair_mempinfd(b, arena + layout->place(n + i), page_size(), cost))
			return -1;
		for (op = 0; op < OPERATIONS; op++) {
			samples[op][i] = cost[op];
			live->mean[op] += (double)cost[op] / LIVE_SAMPLES;
		}
	}
	for (op = 0; op < OPERATIONS; op++)
		live->median[op] = median(samples[op], LIVE_SAMPLES);
	return 0;
}

static void measure_live(struct bench *b, const struct layout *layout, char *arena, size_t n)
{
	static const char * const means[OPERATIONS] = { "pin-mean", "unpin-mean" };
	struct live first, second;
	int op;

	if (take_live(b, layout, arena, n, &first) || take_live(b, layout, arena, n, &second))
		ksft_exit_fail_perror("MEM_CMD_PIN");
	for (op = 0; op < OPERATIONS; op++) {
		print_figure("live", layout->name, n, "mempinfd", operations[op],
			     second.median[op],
			     spread_of(first.median[op], second.median[op]));
		print_figure("live", layout->name, n, "mempinfd", means[op],
			     second.mean[op], 0);
	}
}

static void measure_close(struct bench *b, const struct layout *layout)
{
	uint64_t start = now();

	close(b->pins);
	print_figure("close", layout->name, MOST_PINS, "mempinfd", "close",
		     (double)since(start) / MOST_PINS, 0);
	b->pins = mempinfd();
}

static void bench_layout(struct bench *b, const struct layout *layout, char *arena)
{
	double before = kernel_memory();
	size_t n, i = 0;

	for (n = 1; n <= MOST_PINS; n *= 10) {
		for (; i < n; i++)
			if (pin(b->pins, arena + layout->place(i), page_size()))
				ksft_exit_fail_perror("MEM_CMD_PIN");
		measure_live(b, layout, arena, n);
	}
	print_figure("memory", layout->name, MOST_PINS, "mempinfd", "bytes for a pin",
		     (kernel_memory() - before) / MOST_PINS, 0);
	measure_close(b, layout);
}

static char *take_arena(struct setting *pool)
{
	char *arena;

	if (setting_change(pool, "/proc/sys/vm/nr_overcommit_hugepages", "600"))
		ksft_exit_fail_perror("nr_overcommit_hugepages");
	arena = map_arena();
	if (!arena)
		ksft_exit_fail_perror("arena");
	return arena;
}

static void bench_live(struct bench *b)
{
	struct setting pool;
	char *arena = take_arena(&pool);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(layouts); i++)
		bench_layout(b, &layouts[i], arena);
	setting_restore(&pool);
}

/* ---- kernel memory ---- */

#define LONE_FDS	1000

/* What 1000 fds with a pin take, less what they take without. */
static void bench_lone(struct bench *b)
{
	static int fds[LONE_FDS];
	char *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	double before;
	int i;

	for (i = 0; i < LONE_FDS; i++)
		fds[i] = mempinfd();
	before = kernel_memory();
	for (i = 0; i < LONE_FDS; i++)
		if (pin(fds[i], page, page_size()))
			ksft_exit_fail_perror("MEM_CMD_PIN");
	print_figure("memory", "lone", 1, "mempinfd", "bytes for a pin",
		     (kernel_memory() - before) / LONE_FDS, 0);
}

/* What pins of all of the region take, each. */
static double memory_of_pins(struct bench *b, int n)
{
	double before = kernel_memory();
	int i;

	for (i = 0; i < n; i++)
		if (pin(b->pins, b->region.addr, b->region.size))
			ksft_exit_fail_perror("MEM_CMD_PIN");
	return (kernel_memory() - before) / n;
}

/* A run takes what is beyond a pin of one page. */
static void bench_memory_runs(struct bench *b)
{
	const char *why = take_region(b);
	struct region all = b->region;
	double page, region;

	if (why)
		ksft_exit_fail_msg("shuffled memory: %s\n", why);
	region = memory_of_pins(b, 16);
	b->region.size = page_size();
	page = memory_of_pins(b, 10000);
	print_figure("memory", b->kind->name, all.size, "mempinfd", "bytes for a run",
		     (region - page) / (count_runs(&all) - 1), 0);
}

static void bench_memory_gib(struct bench *b)
{
	const char *why = take_region(b);

	if (why || b->region.size != GIBI)
		print_none("memory", b->kind->name, GIBI, "mempinfd", "bytes for a GiB",
			   why ?: "it does not fit");
	else
		print_figure("memory", b->kind->name, GIBI, "mempinfd", "bytes for a GiB",
			     memory_of_pins(b, 100), 0);
}

/* Before any other test has put the free memory out of order. */
static void bench_memory_huge(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].kind == MEM_THP || kinds[i].kind == MEM_HUGETLB_PRIVATE)
			in_child(bench_memory_gib, &kinds[i]);
}

static void bench_memory_small(void)
{
	const struct kind shuffled = { "anon-4K-shuffled", MEM_ANON, 64 * MEBI,
				       .shuffled = true };

	in_child(bench_lone, NULL);
	in_child(bench_memory_runs, &shuffled);
}

/* ---- two threads ---- */

#define SCALING_RUNS	7
#define SCALING_SLICES	20	/* of a run, each with one fd and with two */
#define SCALING_MS	50

struct worker {
	pthread_t thread;
	struct bench bench;
	const struct peer *peer;
	char *addr;
	size_t size;
	int cpu;
	const bool *stop;
	uint64_t pairs;
};

static void *keep_pinning(void *arg)
{
	struct worker *w = arg;
	uint64_t cost[OPERATIONS];
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(w->cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	while (!__atomic_load_n(w->stop, __ATOMIC_RELAXED)) {
		if (w->peer->pair(&w->bench, w->addr, w->size, cost))
			break;
		w->pairs++;
	}
	return NULL;
}

/* What both threads have done in the time. */
static uint64_t run_workers(struct worker *workers)
{
	bool stop = false;
	int i;

	for (i = 0; i < 2; i++) {
		workers[i].stop = &stop;
		workers[i].pairs = 0;
		if (pthread_create(&workers[i].thread, NULL, keep_pinning, &workers[i]))
			ksft_exit_fail_perror("pthread_create");
	}
	usleep(1000 * SCALING_MS);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(workers[i].thread, NULL);
	return workers[0].pairs + workers[1].pairs;
}

/* In turns: the load of the machine that the guest runs on is not ours. */
static double scaling_ratio(struct worker *workers, const struct bench *b,
			    const struct bench *other)
{
	uint64_t together = 0, apart = 0;
	int i;

	for (i = 0; i < SCALING_SLICES; i++) {
		workers[1].bench = *b;
		together += run_workers(workers);
		workers[1].bench = *other;
		apart += run_workers(workers);
	}
	return apart ? (double)together / apart : 0;
}

static void measure_scaling(struct bench *b, const struct bench *other, size_t size)
{
	struct worker workers[2] = {};
	double ratios[SCALING_RUNS];
	int i;

	for (i = 0; i < 2; i++) {
		workers[i].peer = &peers[0];
		workers[i].size = size;
		workers[i].cpu = i;
		workers[i].addr = b->region.addr + i * b->region.size / 2;
		workers[i].bench = *b;
	}
	for (i = 0; i < SCALING_RUNS; i++)
		ratios[i] = scaling_ratio(workers, b, other);
	print_figure("scaling", b->kind->name, size, "mempinfd", "median",
		     median(ratios, SCALING_RUNS), 0);
	print_figure("scaling", b->kind->name, size, "mempinfd", "lowest", ratios[0], 0);
	print_figure("scaling", b->kind->name, size, "mempinfd", "highest",
		     ratios[SCALING_RUNS - 1], 0);
}

static void bench_scaling(struct bench *b)
{
	const size_t scaling_sizes[] = { 4 * KIBI, 64 * KIBI, 2 * MEBI };
	struct bench other = {};
	const char *why = take_region(b);
	size_t i;

	if (why)
		ksft_exit_fail_msg("%s: %s\n", b->kind->name, why);
	bench_open(&other);
	for (i = 0; i < ARRAY_SIZE(scaling_sizes); i++)
		measure_scaling(b, &other, scaling_sizes[i]);
}

/* ---- one operation, to be looked at ---- */

#define PROFILE_TIMES	100

static const char *option(const char *name, const char *otherwise)
{
	return getenv(name) ?: otherwise;
}

static const struct peer *find_peer(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(peers); i++)
		if (!strcmp(peers[i].name, name))
			return &peers[i];
	ksft_exit_fail_msg("WHO=%s is none of the peers\n", name);
}

static const struct layout *find_layout(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(layouts); i++)
		if (!strcmp(layouts[i].name, name))
			return &layouts[i];
	ksft_exit_fail_msg("KIND=%s is neither adjacent nor scattered\n", name);
}

static size_t profiled_size(void)
{
	return strtoull(option("SIZE", "2097152"), NULL, 0);
}

/* No more of it than the operation needs, and for small ones some on either side. */
static const struct kind *profiled_kind(void)
{
	const char *name = option("KIND", "anon-4K");
	static struct kind kind;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			kind = kinds[i];
	if (!kind.name)
		ksft_exit_fail_msg("KIND=%s is none of the kinds of memory\n", name);
	kind.largest = profiled_size() > GUP_SPAN ? profiled_size() : 4 * GUP_SPAN;
	return &kind;
}

/* The first ones are not counted: they may allocate what others find. */
static void bench_profile(struct bench *b)
{
	const struct peer *peer = find_peer(option("WHO", "mempinfd"));
	size_t size = profiled_size();
	const char *operation = option("OPERATION", "pin");
	const char *why = take_region(b);
	uint64_t cost[OPERATIONS];
	int i;

	if (why)
		ksft_exit_fail_msg("%s: %s\n", b->kind->name, why);
	for (i = 0; i < 2 * PROFILE_TIMES; i++) {
		if (i == PROFILE_TIMES)
			profiled = strcmp(operation, "pin") ? UNPIN : PIN;
		if (peer->pair(b, range_of(&b->region, size), size, cost))
			ksft_exit_fail_perror(peer->name);
	}
	printf("profile,%s,%zu,%s,%s,%d,,\n", b->kind->name, size, peer->name,
	       operations[profiled], PROFILE_TIMES);
}

/* For each of many pins; there is one size, and who does it. */
static void bench_profile_close(struct bench *b)
{
	const struct layout *layout = find_layout(option("KIND", "adjacent"));
	struct setting pool;
	char *arena = take_arena(&pool);
	size_t i;

	for (i = 0; i < MOST_PINS; i++)
		if (pin(b->pins, arena + layout->place(i), page_size()))
			ksft_exit_fail_perror("MEM_CMD_PIN");
	profile_start();
	close(b->pins);
	profile_stop();
	printf("profile,%s,%zu,mempinfd,close,%d,,\n", layout->name, page_size(),
	       MOST_PINS);
	setting_restore(&pool);
}

/* ---- all of it ---- */

static bool wanted(const char *variable, const char *name)
{
	return !strcmp(option(variable, name), name);
}

static void for_kinds(const char *part, void (*fn)(struct bench *b))
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (wanted("PART", part) && wanted("KIND", kinds[i].name))
			in_child(fn, &kinds[i]);
}

static void bench_single(void)
{
	if (wanted("PART", "memory"))
		bench_memory_huge();
	for_kinds("cost", bench_cost);
	for_kinds("fault", bench_fault);
	if (wanted("PART", "memory"))
		bench_memory_small();
	if (wanted("PART", "live"))
		in_child(bench_live, NULL);
}

int main(void)
{
	const struct kind small = { "anon-4K", MEM_ANON, 4 * MEBI };
	const char *what = option("BENCH", "single");

	setvbuf(stdout, NULL, _IOLBF, 0);
	write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	calibrate();
	printf("part,kind,size,who,operation,figure,spread,why\n");
	print_figure("clock", "", 0, "", "read", clock_cost, 0);
	if (!strcmp(what, "scaling"))
		in_child(bench_scaling, &small);
	else if (strcmp(what, "profile"))
		bench_single();
	else if (!strcmp(option("OPERATION", "pin"), "close"))
		in_child(bench_profile_close, NULL);
	else
		in_child(bench_profile, profiled_kind());
	return 0;
}
