// SPDX-License-Identifier: GPL-2.0
/*
 * A device streams through memory while the kernel keeps house.
 *
 * The program writes block after block into anonymous memory; the software SVA
 * device copies it to transparent huge pages, from there to shared memory, and
 * back; and the program looks at what arrives.  Meanwhile a storm of what kernels
 * do to memory goes over all of it.  The same stream and the same storm are run
 * with nothing done about it, with what one would take today, and with
 * mempinfd(); each time in a process of its own.
 *
 * Before that it measures what a single fault costs the CPU and the device.
 *
 * Usage: storm [SECONDS]
 *
 * Lines that begin with "# csv," are the distributions of the latency, one block
 * of "microseconds,fraction of jobs that take longer" for each run: see
 * qemu/picture.
 *
 * Ends with 0 if the device never faulted on pinned memory, and did on memory
 * that nothing was done about.
 */
#include "mempinfd_calls.h"
#include "mempinfd_mem.h"
#include "mempinfd_place.h"
#include "mempinfd_sva.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <linux/mman.h>
#include <sys/swap.h>
#include <sys/wait.h>

#include "../kselftest.h"

#define MEBI		((size_t)1 << 20)
#define STAGE_SIZE	(2 * MEBI)
#define BLOCK_SIZE	((size_t)64 << 10)
#define MAX_JOBS	200000

#define SWAP_DEVICE	"/dev/ram1"
#define NUMA_DIR	"/sys/kernel/debug/sched/numa_balancing/"
#define NUMA_SWITCH	"/proc/sys/kernel/numa_balancing"
#define COMPACT_LOCKED	"/proc/sys/vm/compact_unevictable_allowed"
#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define KHUGEPAGED_DIR	THP_DIR "khugepaged/"

static void die(const char *what)
{
	printf("storm: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* ---- what one fault costs ---- */

#define FAULT_PAGES	64
#define FAULT_TRIALS	201

static int64_t cpu_writes(const struct region *r, int device)
{
	int64_t start = now_ns();
	size_t at;

	for (at = 0; at < r->size; at += r->page)
		__atomic_store_n(r->addr + at, 1, __ATOMIC_RELAXED);
	return now_ns() - start;
}

static int64_t device_writes(const struct region *r, int device)
{
	struct test_sva_job job = {
		.op = TEST_SVA_TOUCH, .repeat = 1, .len = r->size,
		.dst = (uintptr_t)r->addr,
	};
	struct test_sva_done done;

	if (sva_run(device, &job, &done) || done.status)
		die(SVA_DEVICE);
	return done.latency_ns;
}

/* Pages that the CPU has never seen: of a file they may be in memory already. */
static void map_untouched(struct region *r, enum memory_kind kind)
{
	char *second;

	if (region_map(r, kind, FAULT_PAGES * page_size()))
		die("memory");
	if (kind == MEM_ANON)
		return;
	memset(r->addr, 1, r->size);
	second = mremap(r->addr, 0, r->size, MREMAP_MAYMOVE);
	if (second == MAP_FAILED)
		die("mremap");
	munmap(r->addr, r->size);
	r->addr = second;
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The median of what writing for the first time takes more than for the second. */
static int64_t fault_ns(enum memory_kind kind, int device,
			int64_t (*writes)(const struct region *r, int device))
{
	int64_t ns[FAULT_TRIALS];
	struct region r;
	int i;

	for (i = 0; i < FAULT_TRIALS; i++) {
		map_untouched(&r, kind);
		ns[i] = writes(&r, device);
		ns[i] = (ns[i] - writes(&r, device)) / FAULT_PAGES;
		region_unmap(&r);
	}
	qsort(ns, FAULT_TRIALS, sizeof(*ns), compare_ns);
	return ns[FAULT_TRIALS / 2];
}

static void compare_faults(const char *what, enum memory_kind kind, int device)
{
	double cpu = fault_ns(kind, device, cpu_writes) / 1e3;
	double io = fault_ns(kind, device, device_writes) / 1e3;

	printf("%-36s %8.2f us %10.2f us %7.1f times\n", what, cpu, io, io / cpu);
}

static void compare_all_faults(void)
{
	int device = sva_open();

	if (device < 0)
		die(SVA_DEVICE);
	printf("\n%-36s %11s %13s\n", "One page fault:", "CPU", "device");
	compare_faults("a new page of anonymous memory", MEM_ANON, device);
	compare_faults("a page in memory, its entry missing", MEM_MEMFD, device);
	printf("Medians of %d times writing to %d pages, less what it takes when the\n"
	       "entries are there.  Real devices have the way over the bus on top.\n\n",
	       FAULT_TRIALS, FAULT_PAGES);
	close(device);
}

/* ---- a run ---- */

enum expectation {
	SHOW,		/* whatever it is */
	NONE,		/* not a single fault */
	SOME,		/* else the storm is none */
};

struct run;

struct protection {
	const char *name;
	bool (*protect)(struct run *run);
	bool without_sysctls;
	enum expectation expect;
};

#define NR_STAGES	3

/* In memory that the parent sees. */
struct run {
	const struct protection *protection;
	struct region stages[NR_STAGES];
	bool stop;
	unsigned int rounds;		/* of the storm */
	struct test_sva_stats stats;
	uint64_t wrong_blocks;
	size_t jobs;
	int64_t latency[MAX_JOBS];
};

static bool protect_mlock(struct run *run)
{
	struct region *r;

	for (r = run->stages; r < run->stages + NR_STAGES; r++)
		if (mlock(r->addr, r->size))
			return false;
	return true;
}

/* What others are just moving cannot be moved out of CMA, and that is ENOMEM. */
static bool pin_patiently(int fd, const struct region *r)
{
	int tries = 500;

	while (pin(fd, r->addr, r->size)) {
		if (errno != ENOMEM || !--tries)
			return false;
		usleep(10000);
	}
	return true;
}

static bool protect_mempinfd(struct run *run)
{
	int fd = mempinfd();
	struct region *r;

	for (r = run->stages; r < run->stages + NR_STAGES; r++)
		if (!pin_patiently(fd, r))
			return false;
	return true;
}

static const struct protection protections[] = {
	{ "unprotected", .expect = SOME },
	{ "mlock", protect_mlock },
	{ "mlock and two sysctls", protect_mlock, .without_sysctls = true },
	{ "mempinfd", protect_mempinfd, .expect = NONE },
};

/* ---- the storm ---- */

/*
 * Each of them may be refused, by a protection or because there is nothing to
 * do, and none says so: what counts is what it does to the device.
 */
static void storm_move_pages(struct run *run)
{
	size_t i, n = STAGE_SIZE / page_size();
	int node = run->rounds % 2, nodes[n], status[n];
	struct region *r;
	void *pages[n];

	for (r = run->stages; r < run->stages + NR_STAGES; r++) {
		for (i = 0; i < n; i++) {
			pages[i] = r->addr + i * page_size();
			nodes[i] = node;
		}
		syscall(__NR_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE);
	}
}

static void storm_clear_refs(struct run *run)
{
	write_text("/proc/self/clear_refs", "4");
}

/* Writes what is there, for the fault; and not what somebody replaces just then. */
static void touch_for_write(char *addr)
{
	char byte = __atomic_load_n(addr, __ATOMIC_RELAXED);

	__atomic_compare_exchange_n(addr, &byte, byte, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
}

/* The child is gone when the parent has written everywhere. */
static void storm_fork(struct run *run)
{
	struct region *r;
	pid_t pid = fork();
	size_t at;

	if (!pid) {
		pause();
		_exit(0);
	}
	for (r = run->stages; r < run->stages + NR_STAGES; r++)
		for (at = 0; at < r->size; at += page_size())
			touch_for_write(r->addr + at);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void advise_all(struct run *run, int advice)
{
	struct region *r;

	for (r = run->stages; r < run->stages + NR_STAGES; r++)
		madvise(r->addr, r->size, advice);
}

static void storm_pageout(struct run *run)
{
	advise_all(run, MADV_PAGEOUT);
}

static void storm_collapse(struct run *run)
{
	advise_all(run, MADV_COLLAPSE);
}

static void storm_compaction(struct run *run)
{
	write_text("/proc/sys/vm/compact_memory", "1");
}

static void (* const storm[])(struct run *run) = {
	storm_move_pages, storm_clear_refs, storm_fork, storm_pageout,
	storm_collapse, storm_compaction,
};

#define STORM_PAUSE	5000	/* microseconds between two of them */

static void *keep_storming(void *arg)
{
	struct run *run = arg;
	size_t i;

	for (i = 0; !__atomic_load_n(&run->stop, __ATOMIC_RELAXED); i++) {
		storm[i % ARRAY_SIZE(storm)](run);
		run->rounds = i / ARRAY_SIZE(storm);
		usleep(STORM_PAUSE);
	}
	return NULL;
}

/* What goes on by itself: NUMA balancing, KSM and khugepaged. */
static const char * const storm_settings[][2] = {
	{ NUMA_SWITCH,				"1" },
	{ COMPACT_LOCKED,			"1" },
	{ NUMA_DIR "scan_delay_ms",		"10" },
	{ NUMA_DIR "scan_period_min_ms",	"10" },
	{ NUMA_DIR "scan_period_max_ms",	"50" },
	{ KSM_DIR "pages_to_scan",		"200" },
	{ KSM_DIR "sleep_millisecs",		"10" },
	{ KSM_DIR "run",			"1" },
	{ THP_DIR "shmem_enabled",		"advise" },
	{ KHUGEPAGED_DIR "scan_sleep_millisecs", "10" },
	{ KHUGEPAGED_DIR "alloc_sleep_millisecs", "10" },
};

static struct setting settings[ARRAY_SIZE(storm_settings)];

/* ---- the stream ---- */

static void map_stages(struct run *run)
{
	static const enum memory_kind kinds[NR_STAGES] = { MEM_ANON, MEM_THP, MEM_MEMFD };
	enum memory_kind kind;
	struct region *r;

	if (has_two_nodes() && allocate_on(1))
		die("set_mempolicy");
	for (r = run->stages; r < run->stages + NR_STAGES; r++) {
		kind = kinds[r - run->stages];
		if (!memory_kind_page(kind))
			kind = MEM_ANON;
		if (region_map(r, kind, STAGE_SIZE) || region_fill(r, 0))
			die("memory");
		madvise(r->addr, r->size, MADV_MERGEABLE);
	}
	if (has_two_nodes())
		allocate_on(-1);
	r = &run->stages[2];
	madvise(r->addr, r->size, MADV_HUGEPAGE);
}

static bool block_is(const char *block, char byte)
{
	return block[0] == byte && !memcmp(block, block + 1, BLOCK_SIZE - 1);
}

/* The pages of a round have the same in them, so that KSM has something to do. */
static void stream_one(struct run *run, int device)
{
	size_t from = run->jobs % NR_STAGES, to = (from + 1) % NR_STAGES;
	size_t block = run->jobs / NR_STAGES;
	size_t at = block * BLOCK_SIZE % STAGE_SIZE;
	char byte = 1 + block / (STAGE_SIZE / BLOCK_SIZE);
	char *src = run->stages[from].addr + at;
	char *dst = run->stages[to].addr + at;
	struct test_sva_job job = {
		.op = TEST_SVA_COPY, .repeat = 1, .len = BLOCK_SIZE,
		.src = (uintptr_t)src, .dst = (uintptr_t)dst,
	};
	struct test_sva_done done;

	if (!from)
		memset(src, byte, BLOCK_SIZE);
	if (sva_run(device, &job, &done) || done.status)
		die(SVA_DEVICE);
	run->latency[run->jobs++] = done.latency_ns;
	run->wrong_blocks += !block_is(dst, byte);
}

static void stream(struct run *run, int seconds)
{
	int64_t end = now_ns() + seconds * 1000000000LL;
	int device = sva_open();
	pthread_t thread;

	if (device < 0)
		die(SVA_DEVICE);
	if (pthread_create(&thread, NULL, keep_storming, run))
		die("pthread_create");
	while (now_ns() < end && run->jobs < MAX_JOBS)
		stream_one(run, device);
	if (ioctl(device, TEST_SVA_STATS, &run->stats))
		die("TEST_SVA_STATS");
	__atomic_store_n(&run->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
}

/* With its threads, so that the device has other CPUs to itself. */
static void stay_on_one_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("sched_setaffinity");
}

static void run_child(struct run *run, int seconds)
{
	stay_on_one_cpu();
	map_stages(run);
	if (run->protection->protect && !run->protection->protect(run))
		die(run->protection->name);
	stream(run, seconds);
	_exit(0);
}

/* ---- all of them ---- */

static void switch_one(const char *path, const char *value)
{
	if (write_text(path, value) && errno != ENOENT)
		die(path);
}

/* The two that stand beside mlock where people talk of it. */
static void switch_sysctls(const char *value)
{
	switch_one(NUMA_SWITCH, value);
	switch_one(COMPACT_LOCKED, value);
}

static void wait_run(pid_t pid, const char *name)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		die(name);
	if (status)
		exit(1);	/* it has said why */
}

static struct run *run_one(const struct protection *protection, int seconds)
{
	struct run *run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	if (run == MAP_FAILED)
		die("memory");
	run->protection = protection;
	switch_sysctls(protection->without_sysctls ? "0" : "1");
	pid = fork();
	if (!pid)
		run_child(run, seconds);
	wait_run(pid, protection->name);
	return run;
}

static double microseconds(const struct run *run, double quantile)
{
	size_t i = quantile * run->jobs;

	return run->latency[i < run->jobs ? i : run->jobs - 1] / 1e3;
}

static double per_million(const struct run *run)
{
	return 1e6 * sva_sum(run->stats.faults) / run->stats.translations;
}

static void print_head(int seconds)
{
	printf("The device copies blocks of %zu KiB, %d seconds for each line, in a storm of\n"
	       "move_pages, clear_refs, fork, MADV_PAGEOUT, MADV_COLLAPSE and compaction, while\n"
	       "NUMA balancing, KSM and khugepaged go on all the time.\n\n",
	       BLOCK_SIZE >> 10, seconds);
	printf("%-22s %10s %12s %13s %8s %27s\n", "", "accesses of",
	       "I/O page", "faults per", "blocks", "microseconds for a block");
	printf("%-22s %10s %12s %13s %8s %9s %8s %8s\n", "", "a page",
	       "faults", "million", "", "p50", "p99", "max");
}

static void print_run(const struct run *run)
{
	printf("%-22s %11llu %12llu %13.0f %8zu %9.0f %8.0f %8.0f\n", run->protection->name,
	       (unsigned long long)run->stats.translations,
	       (unsigned long long)sva_sum(run->stats.faults), per_million(run),
	       run->jobs, microseconds(run, 0.5), microseconds(run, 0.99),
	       microseconds(run, 1));
}

/* Fewer points where there are many, for a picture with logarithmic axes. */
static void print_latencies(const struct run *run)
{
	size_t slower;

	printf("# csv,\"%s: %.0f I/O page faults per million accesses\"\n",
	       run->protection->name, per_million(run));
	for (slower = run->jobs; slower; slower = slower * 19 / 20)
		printf("# csv,%.1f,%.3g\n", run->latency[run->jobs - slower] / 1e3,
		       (double)slower / run->jobs);
	printf("# csv,\n# csv,\n");
}

static bool should_be(bool holds, const struct run *run, const char *what)
{
	if (!holds)
		printf("NOT as it should be, %s: %s\n",
		       run->protection->name, what);
	return holds;
}

static bool as_expected(const struct run *run)
{
	uint64_t faults = sva_sum(run->stats.faults);
	bool good = should_be(!run->wrong_blocks, run, "every block arrives");

	if (run->protection->expect == NONE)
		good &= should_be(!faults, run, "the device never faults");
	if (run->protection->expect == SOME)
		good &= should_be(faults, run, "the storm makes the device fault");
	return good;
}

static bool run_all(int seconds)
{
	bool all_good = true;
	size_t i;

	print_head(seconds);
	for (i = 0; i < ARRAY_SIZE(protections); i++) {
		struct run *run = run_one(&protections[i], seconds);

		qsort(run->latency, run->jobs, sizeof(*run->latency), compare_ns);
		print_run(run);
		print_latencies(run);
		all_good &= as_expected(run);
		munmap(run, sizeof(*run));
	}
	return all_good;
}

/* Also if something went wrong. */
static void tear_down(void)
{
	size_t i;

	for (i = ARRAY_SIZE(settings); i--;)
		setting_restore(&settings[i]);
	swapoff(SWAP_DEVICE);
}

static void set_up(void)
{
	size_t i;

	atexit(tear_down);
	if (make_swap(SWAP_DEVICE) || swapon(SWAP_DEVICE, 0))
		die(SWAP_DEVICE);
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		if (setting_change(&settings[i], storm_settings[i][0],
				   storm_settings[i][1]) && errno != ENOENT)
			die(storm_settings[i][0]);
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 5;
	bool all_good;

	if (argc > 2 || seconds <= 0) {
		fputs("usage: storm [SECONDS]\n", stderr);
		return 2;
	}
	if (access(SVA_DEVICE, R_OK | W_OK)) {
		puts("There is no " SVA_DEVICE ", so no device can be shown.");
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	compare_all_faults();
	set_up();
	all_good = run_all(seconds);
	if (all_good)
		puts("\nOn memory that mempinfd() had pinned the device took no fault.");
	return !all_good;
}
