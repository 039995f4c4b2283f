// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls against a model of what must be pinned and charged.
 *
 * alone: one process, one thread.  The model knows what each call has to
 *	answer; INFO, fdinfo and VmPin are compared with it after every step, the
 *	page frames under pins and the counters of the system every few.
 *	A step is made of the seed and its own number, so that a run which fails
 *	can be tried again without some of its steps: it is shortened as far as
 *	it goes on failing, and printed.
 *
 * crowd: several processes of several threads, who do the same to each other's
 *	pins.  They count what succeeded, and compare when all of them rest.
 *
 * Environment: FUZZ_SECONDS (20) to run, half of them each, or FUZZ_OPS calls, a
 * tenth of them alone; FUZZ_SEED to start from; FUZZ_STEPS=n,n,.. or
 * FUZZ_CROWD=n,n,n,n to replay what has been printed.
 */
#include "mempinfd_place.h"
#include "mempinfd_proc.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/shm.h>
#include <sys/time.h>

/*
 * Low enough for every ABI, below all that the C library maps, and above a heap
 * that begins up to 1 GiB behind the program.
 */
#define WINDOW		((char *)0x60000000)
#define WINDOW_PAGES	1024
#define HUGE_PAGES	512	/* a huge page of most architectures */

#define MAX_FDS		8
#define MAX_PINS	48
#define RUN_STEPS	2000
#define FOREVER		1000000	/* seconds: init, or who started us, has a limit */

#define FUZZ_USER	4711	/* owns nothing else */

#define MADV_COLLAPSE_	25	/* newer than some C libraries */

static size_t page;		/* size of one */

/* ---- numbers that are the same in every run ---- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

struct rng {
	uint64_t state;
};

static uint64_t rng_next(struct rng *rng)
{
	return rng->state = mix(rng->state);
}

static unsigned int below(struct rng *rng, unsigned int n)
{
	return (rng_next(rng) >> 16) % n;
}

/* Pages of the window; short ranges more often. */
struct extent {
	size_t first, pages;
};

static struct extent random_span(struct rng *rng)
{
	static const unsigned int longest[] = { 2, 4, 4, 40, 40, 600, HUGE_PAGES, 1 };
	unsigned int max = longest[below(rng, ARRAY_SIZE(longest))];
	struct extent span = { .pages = 1 + below(rng, max) };

	if (max == HUGE_PAGES)
		return (struct extent){ HUGE_PAGES * below(rng, 2), HUGE_PAGES };
	span.first = below(rng, WINDOW_PAGES - span.pages + 1);
	return span;
}

static char *span_addr(struct extent span)
{
	return WINDOW + span.first * page;
}

static size_t span_size(struct extent span)
{
	return span.pages * page;
}

/* The same pages, perhaps named by a part of the first and of the last. */
static struct mem_pin_address span_range(struct rng *rng, struct extent span)
{
	struct mem_pin_address range = {
		(uintptr_t)span_addr(span), span_size(span)
	};
	size_t skip, cut;

	if (below(rng, 2))
		return range;
	skip = below(rng, page / 2);
	cut = below(rng, page / 2);
	range.addr += skip;
	range.size -= skip + cut;
	return range;
}

/* ---- the model ---- */

struct model_page {
	bool mapped;
	bool shared;
	int prot;
	unsigned int changed;	/* step in which its owner changed it last */
};

struct model_pin {
	struct extent span;
	int ctx;
	unsigned int step;
	uint64_t *frames;	/* as they were then */
};

struct model_ctx {
	bool used;
	bool foreign;		/* its address space is another one, and has ended */
};

struct model_fd {
	int fd;			/* or -1 */
	int ctx;
};

struct model {
	struct model_page pages[WINDOW_PAGES];
	struct model_pin pins[MAX_PINS];
	struct model_ctx ctxs[MAX_FDS];
	struct model_fd fds[MAX_FDS];
	int nr_pins;
	bool capable;
	rlim_t limit;		/* in bytes */
	long long system_pins;	/* before it all began */
	unsigned int step;
	int memfd, file, status, pagemap;
	struct report *report;
};

/* What a run tells the process that started it. */
struct report {
	char text[400];
	char log[160];		/* the step it is at */
	unsigned int step;
	double end;		/* when the time is over, or 0 */
	atomic_ulong ops;
	atomic_ulong pins;	/* of these that have pinned something */
};

static bool __attribute__((format(printf, 2, 3)))
wrong(struct model *m, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(m->report->text, sizeof(m->report->text), format, args);
	va_end(args);
	return false;
}

#define LOG(m, ...)	snprintf((m)->report->log, sizeof((m)->report->log), __VA_ARGS__)

static size_t ctx_pages(const struct model *m, int ctx, size_t *pins)
{
	size_t pages = 0;
	int i;

	*pins = 0;
	for (i = 0; i < m->nr_pins; i++) {
		if (ctx >= 0 && m->pins[i].ctx != ctx)
			continue;
		pages += m->pins[i].span.pages;
		++*pins;
	}
	return pages;
}

static size_t all_pages(const struct model *m)
{
	size_t pins;

	return ctx_pages(m, -1, &pins);
}

static void model_change(struct model *m, struct extent span, bool mapped, bool shared,
			 int prot)
{
	size_t i;

	for (i = span.first; i < span.first + span.pages; i++)
		m->pages[i] = (struct model_page){ mapped, shared, prot, m->step };
}

/* The pages may be others from now on, or none. */
static void model_drop(struct model *m, struct extent span)
{
	size_t i;

	for (i = span.first; i < span.first + span.pages; i++)
		m->pages[i].changed = m->step;
}

static bool all_allow(const struct model *m, struct extent span, int prot)
{
	size_t i;

	for (i = span.first; i < span.first + span.pages; i++)
		if (!m->pages[i].mapped || !(m->pages[i].prot & prot))
			return false;
	return true;
}

/* ---- comparing ---- */

static bool read_frames(const struct model *m, struct extent span, uint64_t *frames)
{
	off_t at = (uintptr_t)span_addr(span) / page * sizeof(*frames);
	ssize_t size = span.pages * sizeof(*frames);
	size_t i;

	if (pread(m->pagemap, frames, size, at) != size)
		return false;
	/* Memory begins at frame 0 on some machines: that is a page too. */
	for (i = 0; i < span.pages; i++)
		frames[i] = frames[i] & PAGEMAP_PRESENT ?
			    frames[i] & (PAGEMAP_PRESENT | PAGEMAP_FRAME) : 0;
	return true;
}

/* A pinned page is mapped where it was, unless its owner changed that. */
static bool check_frames(struct model *m)
{
	struct extent window = { 0, WINDOW_PAGES };
	uint64_t frames[WINDOW_PAGES];
	size_t i, at;
	int n;

	if (!read_frames(m, window, frames))
		return wrong(m, "pagemap: %s", strerror(errno));
	for (n = 0; n < m->nr_pins; n++) {
		const struct model_pin *pin = &m->pins[n];

		for (i = 0; i < pin->span.pages; i++) {
			at = pin->span.first + i;
			if (m->pages[at].changed >= pin->step)
				continue;
			if (frames[at] != pin->frames[i])
				return wrong(m, "page %zu of step %u's pin: frame %llx is %llx",
					     at, pin->step, (long long)pin->frames[i],
					     (long long)frames[at]);
		}
	}
	return true;
}

static uint64_t model_limit(const struct model *m)
{
	return m->capable || m->limit == RLIM_INFINITY ? ~0ULL : m->limit / page;
}

static bool check_info(struct model *m, int fd, size_t pins, size_t pages)
{
	struct mem_pin_info info;

	if (pin_info(fd, &info))
		return wrong(m, "INFO of fd %d: %s", fd, strerror(errno));
	if (info.pins != pins || info.pinned_pages != pages || info.charged_pages != pages)
		return wrong(m, "INFO of fd %d: %llu pins, %llu pages, %llu charged, not %zu, %zu",
			     fd, info.pins, info.pinned_pages, info.charged_pages,
			     pins, pages);
	if (info.limit_pages != model_limit(m))
		return wrong(m, "limit_pages %llu, not %llu", info.limit_pages,
			     (unsigned long long)model_limit(m));
	return true;
}

static bool check_fdinfo(struct model *m, int fd, size_t pins, size_t pages)
{
	char path[64], text[512], wanted[128];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	snprintf(wanted, sizeof(wanted),
		 "pins:\t%zu\npinned_pages:\t%zu\ncharged_pages:\t%zu\nuid:\t%d\n",
		 pins, pages, pages, FUZZ_USER);
	if (read_text(path, text, sizeof(text)))
		return wrong(m, "%s: %s", path, strerror(errno));
	if (!strstr(text, wanted))
		return wrong(m, "fdinfo of %d is '%s', not '%s'", fd, text, wanted);
	return true;
}

static bool check_vmpin(struct model *m)
{
	size_t pages = all_pages(m);
	char text[4096], *at;
	ssize_t len;

	len = pread(m->status, text, sizeof(text) - 1, 0);
	text[len < 0 ? 0 : len] = 0;
	at = strstr(text, "VmPin:");
	if (!at || strtoul(at + 6, NULL, 10) != pages * (page >> 10))
		return wrong(m, "%.20s, not of %zu pages", at ?: "no VmPin", pages);
	return true;
}

static bool check_system(struct model *m)
{
	long long pins = system_pins() - m->system_pins;

	if (pins != (long long)all_pages(m))
		return wrong(m, "the system has %lld pins, not %zu", pins, all_pages(m));
	return true;
}

static bool check_step(struct model *m)
{
	size_t pins, pages;
	int i;

	for (i = 0; i < MAX_FDS; i++) {
		if (m->fds[i].fd < 0)
			continue;
		pages = ctx_pages(m, m->fds[i].ctx, &pins);
		if (!check_info(m, m->fds[i].fd, pins, pages) ||
		    !check_fdinfo(m, m->fds[i].fd, pins, pages))
			return false;
	}
	if (!check_vmpin(m))
		return false;
	if (m->step % 16)
		return true;
	return check_frames(m) && (m->step % 64 || check_system(m));
}

/* ---- steps: PIN and UNPIN ---- */

static struct model_fd *random_fd(struct model *m, struct rng *rng)
{
	int i, at = below(rng, MAX_FDS);

	for (i = 0; i < MAX_FDS; i++)
		if (m->fds[(at + i) % MAX_FDS].fd >= 0)
			return &m->fds[(at + i) % MAX_FDS];
	return NULL;
}

static struct model_fd *free_slot(struct model *m)
{
	int i;

	for (i = 0; i < MAX_FDS; i++)
		if (m->fds[i].fd < 0)
			return &m->fds[i];
	return NULL;
}

/* Where more than one thing is wrong any of them may be named. */
struct errors {
	int of[6];
	int n;
};

static void errors_add(struct errors *errors, int error)
{
	errors->of[errors->n++] = error;
}

/* Compare what a call returned with what it may. */
static bool check_result(struct model *m, int ret, const struct errors *errors)
{
	int i, error = errno;

	if (!ret && !errors->n)
		return true;
	for (i = 0; ret && i < errors->n; i++)
		if (error == errors->of[i])
			return true;
	return wrong(m, "returned %s, wanted %s", ret ? strerror(error) : "0",
		     errors->n ? strerror(errors->of[0]) : "0");
}

static void pin_errors(const struct model *m, const struct model_fd *fd, size_t pages,
		       struct errors *errors)
{
	errors->n = 0;
	if (m->ctxs[fd->ctx].foreign)
		errors_add(errors, EXDEV);
	if (!m->capable && !m->limit)
		errors_add(errors, EPERM);
	if (!m->capable && m->limit != RLIM_INFINITY &&
	    all_pages(m) + pages > m->limit / page)
		errors_add(errors, ENOMEM);
}

static bool model_pin(struct model *m, const struct model_fd *fd, struct extent span)
{
	struct model_pin *pin = &m->pins[m->nr_pins++];
	size_t i;

	m->report->pins++;
	*pin = (struct model_pin){ span, fd->ctx, m->step };
	pin->frames = calloc(span.pages, sizeof(*pin->frames));
	if (!pin->frames || !read_frames(m, span, pin->frames))
		return wrong(m, "pagemap: %s", strerror(errno));
	for (i = 0; i < span.pages; i++)
		if (!pin->frames[i])
			return wrong(m, "page %zu is not present after PIN",
				     span.first + i);
	return true;
}

/* Most often one that can be pinned, in a window full of holes. */
static struct extent span_to_pin(const struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	int tries;

	for (tries = below(rng, 16); tries; tries--) {
		if (all_allow(m, span, PROT_READ | PROT_WRITE))
			break;
		span = random_span(rng);
	}
	return span;
}

static bool step_pin(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	struct extent span = span_to_pin(m, rng);
	struct mem_pin_address range = span_range(rng, span);
	struct errors errors;
	int ret;

	if (!fd || m->nr_pins == MAX_PINS)
		return true;
	LOG(m, "PIN fd %d, pages %zu + %zu", fd->fd, span.first, span.pages);
	pin_errors(m, fd, span.pages, &errors);
	if (!all_allow(m, span, PROT_READ | PROT_WRITE))
		errors_add(&errors, EFAULT);
	ret = ioctl(fd->fd, MEM_CMD_PIN, &range);
	if (!check_result(m, ret, &errors))
		return false;
	return ret || model_pin(m, fd, span);
}

/* A range that reaches out of the window, where nothing can be pinned. */
static bool step_wild(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	struct mem_pin_address range = {
		(uintptr_t)WINDOW + (rng_next(rng) >> (16 + below(rng, 48))),
		WINDOW_PAGES * page + (rng_next(rng) >> below(rng, 60)),
	};
	struct errors errors = {};
	unsigned int cmd = below(rng, 2) ? MEM_CMD_PIN : MEM_CMD_UNPIN;

	if (!fd)
		return true;
	if (!below(rng, 8))
		range.size = 0;
	if (!below(rng, 8))
		range.addr = ~0ULL - below(rng, 1 << 20);
	LOG(m, "%s fd %d, addr %llx, size %llx", cmd == MEM_CMD_PIN ? "PIN" : "UNPIN",
	    fd->fd, range.addr, range.size);
	pin_errors(m, fd, WINDOW_PAGES, &errors);
	errors_add(&errors, EFAULT);
	if (!range.size || range.addr + range.size - 1 < range.addr)
		errors.of[errors.n - 1] = EINVAL;
	else
		errors_add(&errors, cmd == MEM_CMD_PIN ? ENOMEM : ENOENT);
	return check_result(m, ioctl(fd->fd, cmd, &range), &errors);
}

static void model_unpin(struct model *m, int i)
{
	free(m->pins[i].frames);
	m->nr_pins--;
	memmove(&m->pins[i], &m->pins[i + 1], (m->nr_pins - i) * sizeof(m->pins[0]));
}

/* The oldest: pins are in the order in which they were made. */
static int find_pin(const struct model *m, int ctx, struct extent span)
{
	int i;

	for (i = 0; i < m->nr_pins; i++)
		if (m->pins[i].ctx == ctx && m->pins[i].span.first == span.first &&
		    m->pins[i].span.pages == span.pages)
			return i;
	return -1;
}

static bool unpin_span(struct model *m, struct rng *rng, const struct model_fd *fd,
		       struct extent span)
{
	struct mem_pin_address range = span_range(rng, span);
	int found = find_pin(m, fd->ctx, span);
	struct errors errors = {};
	int ret;

	LOG(m, "UNPIN fd %d, pages %zu + %zu", fd->fd, span.first, span.pages);
	if (m->ctxs[fd->ctx].foreign)
		errors_add(&errors, EXDEV);
	else if (found < 0)
		errors_add(&errors, ENOENT);
	ret = ioctl(fd->fd, MEM_CMD_UNPIN, &range);
	if (!check_result(m, ret, &errors))
		return false;
	if (!ret)
		model_unpin(m, found);
	return true;
}

static bool step_unpin(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	struct extent span = random_span(rng);

	if (!fd)
		return true;
	/* most often something that is pinned, if perhaps on another fd */
	if (m->nr_pins && below(rng, 8))
		span = m->pins[below(rng, m->nr_pins)].span;
	return unpin_span(m, rng, fd, span);
}

/* ---- steps: arguments that are not good ---- */

static bool step_bad_pointer(struct model *m, struct rng *rng)
{
	static const uintptr_t bad[] = { 0, 1, (uintptr_t)-4096, (uintptr_t)-1 };
	static const unsigned int cmds[] = { MEM_CMD_PIN, MEM_CMD_UNPIN, MEM_CMD_INFO };
	struct model_fd *fd = random_fd(m, rng);
	struct errors errors = { { EFAULT }, 1 };
	unsigned int cmd = cmds[below(rng, ARRAY_SIZE(cmds))];

	if (!fd)
		return true;
	LOG(m, "ioctl %x of fd %d with a bad pointer", cmd, fd->fd);
	if (m->ctxs[fd->ctx].foreign && cmd != MEM_CMD_INFO)
		errors_add(&errors, EXDEV);
	return check_result(m, ioctl(fd->fd, cmd, bad[below(rng, ARRAY_SIZE(bad))]),
			    &errors);
}

static bool step_bad_info(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	struct {
		struct mem_pin_info info;
		char tail[16];
	} arg = {};
	struct errors errors = {};

	if (!fd)
		return true;
	arg.info.size = below(rng, sizeof(arg) + 1);
	arg.info.flags = !below(rng, 4);
	arg.tail[0] = !below(rng, 4);
	LOG(m, "INFO fd %d, size %u, flags %u, tail %u", fd->fd, arg.info.size,
	    arg.info.flags, arg.tail[0]);
	if (arg.info.size < MEM_PIN_INFO_SIZE_VER0 || arg.info.flags)
		errors_add(&errors, EINVAL);
	if (arg.tail[0] && arg.info.size > sizeof(arg.info))
		errors_add(&errors, E2BIG);
	return check_result(m, ioctl(fd->fd, MEM_CMD_INFO, &arg), &errors);
}

static bool step_bad_ioctl(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	unsigned int cmd = _IO('M', 3 + below(rng, 200));
	struct errors errors = { { ENOTTY }, 1 };

	if (!fd)
		return true;
	LOG(m, "ioctl %x of fd %d", cmd, fd->fd);
	return check_result(m, ioctl(fd->fd, cmd, m), &errors);
}

/* ---- steps: the owner changes mappings ---- */

static int random_prot(struct rng *rng)
{
	static const int prots[] = {
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE, PROT_EXEC, PROT_WRITE,
	};

	return prots[below(rng, ARRAY_SIZE(prots))];
}

/* Caches may know a page by its address: each page of a file has its colour then. */
static size_t random_place_in_file(struct rng *rng, struct extent span)
{
	size_t colours = SHMLBA / page, colour = span.first % colours;
	size_t places = (WINDOW_PAGES - span.pages - colour) / colours + 1;

	return below(rng, places) * colours + colour;
}

static bool step_mmap(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng), at = span;
	int prot = random_prot(rng), kind = below(rng, 4);
	int flags = kind == 1 ? MAP_SHARED : MAP_PRIVATE;
	int fd = kind == 1 ? m->memfd : kind == 2 ? m->file : -1;

	/* the same pages of the file more than once, now and then */
	if (below(rng, 2))
		at.first = random_place_in_file(rng, span);
	LOG(m, "mmap pages %zu + %zu, prot %d, fd %d from %zu", span.first, span.pages,
	    prot, fd, at.first);
	if (mmap(span_addr(span), span_size(span), prot,
		 flags | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0), fd,
		 fd < 0 ? 0 : at.first * page) != span_addr(span))
		return wrong(m, "%s", strerror(errno));
	model_change(m, span, true, kind == 1, prot);
	return true;
}

static bool step_munmap(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);

	LOG(m, "munmap pages %zu + %zu", span.first, span.pages);
	if (munmap(span_addr(span), span_size(span)))
		return wrong(m, "%s", strerror(errno));
	model_change(m, span, false, false, 0);
	return true;
}

static bool step_mprotect(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	int prot = random_prot(rng);
	size_t i;

	for (i = span.first; i < span.first + span.pages; i++)
		if (!m->pages[i].mapped)
			return true;
	LOG(m, "mprotect pages %zu + %zu, prot %d", span.first, span.pages, prot);
	if (mprotect(span_addr(span), span_size(span), prot))
		return wrong(m, "%s", strerror(errno));
	for (i = span.first; i < span.first + span.pages; i++)
		m->pages[i].prot = prot;
	model_drop(m, span);
	return true;
}

static bool overlap(struct extent a, struct extent b)
{
	return a.first < b.first + b.pages && b.first < a.first + a.pages;
}

/* Moves one mapping; where that fails nobody knows what is left. */
static bool step_mremap(struct model *m, struct rng *rng)
{
	struct extent from = random_span(rng), to = from;
	void *moved;

	to.first = below(rng, WINDOW_PAGES - from.pages + 1);
	if (overlap(from, to))
		return true;
	LOG(m, "mremap pages %zu + %zu to %zu", from.first, from.pages, to.first);
	moved = mremap(span_addr(from), span_size(from), span_size(from),
		       MREMAP_MAYMOVE | MREMAP_FIXED, span_addr(to));
	if (moved == MAP_FAILED) {
		munmap(span_addr(from), span_size(from));
		munmap(span_addr(to), span_size(to));
		model_change(m, to, false, false, 0);
	} else {
		memcpy(&m->pages[to.first], &m->pages[from.first],
		       from.pages * sizeof(m->pages[0]));
		model_drop(m, to);
	}
	model_change(m, from, false, false, 0);
	return true;
}

static const struct {
	int advice;
	bool drops;	/* the pages may be others afterwards, or none */
} advices[] = {
	{ MADV_NORMAL },
	{ MADV_WILLNEED },
	{ MADV_DONTNEED, true },
	{ MADV_FREE, true },
	{ MADV_COLD },
	{ MADV_PAGEOUT },
	{ MADV_MERGEABLE },
	{ MADV_UNMERGEABLE },
	{ MADV_HUGEPAGE },
	{ MADV_NOHUGEPAGE },
	{ MADV_COLLAPSE_ },
	{ MADV_POPULATE_READ },
	{ MADV_POPULATE_WRITE },
	{ MADV_DONTFORK },
	{ MADV_DOFORK },
};

/* A hole in the file is one wherever that is mapped. */
static bool step_punch(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	size_t i;

	LOG(m, "MADV_REMOVE pages %zu + %zu", span.first, span.pages);
	madvise(span_addr(span), span_size(span), MADV_REMOVE);
	for (i = 0; i < WINDOW_PAGES; i++)
		if (m->pages[i].shared)
			m->pages[i].changed = m->step;
	return true;
}

static bool step_madvise(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	int i = below(rng, ARRAY_SIZE(advices));

	LOG(m, "madvise pages %zu + %zu, advice %d", span.first, span.pages,
	    advices[i].advice);
	madvise(span_addr(span), span_size(span), advices[i].advice);
	if (advices[i].drops)
		model_drop(m, span);
	return true;
}

static bool step_touch(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	bool write = below(rng, 2);
	size_t i;

	LOG(m, "%s pages %zu + %zu", write ? "write" : "read", span.first, span.pages);
	if (!all_allow(m, span, write ? PROT_WRITE : PROT_READ))
		return true;
	for (i = 0; i < span.pages; i++) {
		char *addr = span_addr(span) + i * page;

		if (write)
			*addr = m->step;
		else
			touch(addr);
	}
	return true;
}

/* ---- steps: housekeeping ---- */

static bool step_housekeeping(struct model *m, struct rng *rng)
{
	struct extent span = random_span(rng);
	int what = below(rng, 16);

	LOG(m, "housekeeping %d, pages %zu + %zu", what, span.first, span.pages);
	if (what == 0)
		write_text("/proc/sys/vm/compact_memory", "1");
	else if (what < 4)
		write_text("/proc/self/clear_refs", "4");
	else if (what < 6)
		write_text("/proc/self/clear_refs", "1");
	else
		move_pages_to(span_addr(span), span.pages, what % 2);
	return true;
}

/* ---- steps: files ---- */

static bool step_open(struct model *m, struct rng *rng)
{
	struct model_fd *slot = free_slot(m);
	int ctx = 0;

	if (!slot)
		return true;
	while (m->ctxs[ctx].used)
		ctx++;
	slot->fd = mempinfd();
	if (slot->fd < 0)
		return wrong(m, "mempinfd(): %s", strerror(errno));
	slot->ctx = ctx;
	m->ctxs[ctx] = (struct model_ctx){ true, false };
	LOG(m, "mempinfd() = %d", slot->fd);
	return true;
}

static bool step_close(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng);
	int i;

	if (!fd)
		return true;
	LOG(m, "close %d", fd->fd);
	close(fd->fd);
	fd->fd = -1;
	for (i = 0; i < MAX_FDS; i++)
		if (m->fds[i].fd >= 0 && m->fds[i].ctx == fd->ctx)
			return true;
	m->ctxs[fd->ctx].used = false;
	for (i = m->nr_pins - 1; i >= 0; i--)
		if (m->pins[i].ctx == fd->ctx)
			model_unpin(m, i);
	return true;
}

static int through_socket(int fd)
{
	int socks[2], copy = -1;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks))
		return -1;
	if (!send_fd(socks[0], fd))
		copy = recv_fd(socks[1]);
	/* and one that nobody takes, which goes with the socket */
	send_fd(socks[0], fd);
	close(socks[0]);
	close(socks[1]);
	return copy;
}

static bool step_dup(struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd(m, rng), *slot = free_slot(m);
	bool sent = below(rng, 2);

	if (!fd || !slot)
		return true;
	slot->fd = sent ? through_socket(fd->fd) : dup(fd->fd);
	if (slot->fd < 0)
		return wrong(m, "copy of fd %d: %s", fd->fd, strerror(errno));
	slot->ctx = fd->ctx;
	LOG(m, "copy %d%s is %d", fd->fd, sent ? " through a socket" : "", slot->fd);
	return true;
}

/* ---- steps: processes ---- */

/* In a child: nothing of the parent's can be pinned, unpinned or changed. */
static int child_checks(const struct model *m, struct rng *rng)
{
	struct model_fd *fd = random_fd((struct model *)m, rng);
	struct mem_pin_info info;
	size_t pins, pages;

	if (!fd)
		return 0;
	pages = ctx_pages(m, fd->ctx, &pins);
	if (!pin(fd->fd, WINDOW, page) || errno != EXDEV ||
	    !unpin(fd->fd, WINDOW, page) || errno != EXDEV)
		return 1;
	if (pin_info(fd->fd, &info) || info.pins != pins || info.pinned_pages != pages)
		return 2;
	return 0;
}

/* Some pins of its own, which nobody undoes. */
static void child_pins(struct rng *rng)
{
	int i, fd = mempinfd();

	for (i = 0; i < 4; i++) {
		struct extent span = random_span(rng);

		pin(fd, span_addr(span), span_size(span));
	}
}

static void __attribute__((noreturn)) child_main(struct model *m, struct rng *rng)
{
	int ret = child_checks(m, rng);

	if (below(rng, 2))
		child_pins(rng);
	if (!ret && !below(rng, 4))
		exec_nothing();
	if (!ret && !below(rng, 4))
		kill(getpid(), SIGKILL);
	_exit(ret);
}

static bool step_fork(struct model *m, struct rng *rng)
{
	pid_t child;
	int status;

	LOG(m, "fork");
	child = fork();
	if (!child)
		child_main(m, rng);
	if (child < 0 || waitpid(child, &status, 0) != child)
		return wrong(m, "fork: %s", strerror(errno));
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return wrong(m, "the child ended with status %x", status);
	return true;
}

static int pin_as_child(void *unused)
{
	int fd = mempinfd();

	pin(fd, WINDOW, page);
	return fd < 0 ? 255 : fd;
}

/* A child that shares only the files leaves an fd, and takes its memory along. */
static bool step_foreign(struct model *m, struct rng *rng)
{
	struct model_fd *slot = free_slot(m);
	int ctx = 0, status;
	pid_t child;

	if (!slot)
		return true;
	child = fork_with_files(pin_as_child, NULL);
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) ||
	    WEXITSTATUS(status) == 255)
		return wrong(m, "a child that shares files: %s", strerror(errno));
	while (m->ctxs[ctx].used)
		ctx++;
	m->ctxs[ctx] = (struct model_ctx){ true, true };
	*slot = (struct model_fd){ WEXITSTATUS(status), ctx };
	LOG(m, "fd %d of a child that has ended", slot->fd);
	return true;
}

/* ---- steps: what the caller may ---- */

static int set_cap_ipc_lock(bool on)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};

	if (syscall(__NR_capget, &header, data))
		return -1;
	if (on)
		data[0].effective |= 1U << CAP_IPC_LOCK;
	else
		data[0].effective &= ~(1U << CAP_IPC_LOCK);
	return syscall(__NR_capset, &header, data);
}

static int set_soft_limit(rlim_t bytes)
{
	struct rlimit limit = { bytes, RLIM_INFINITY };

	return setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* mempinfd() itself needs the capability, or the sysctl that main() sets. */
static bool step_limit(struct model *m, struct rng *rng)
{
	const rlim_t limits[] = {
		0, page - 1, 16 * page + 1, 600 * page, 2000 * page, 4096 * page,
		RLIM_INFINITY, RLIM_INFINITY,
	};

	m->limit = limits[below(rng, ARRAY_SIZE(limits))];
	m->capable = below(rng, 4);
	LOG(m, "limit %llx, %scapable", (unsigned long long)m->limit,
	    m->capable ? "" : "not ");
	if (set_soft_limit(m->limit) || set_cap_ipc_lock(m->capable))
		return wrong(m, "%s", strerror(errno));
	return true;
}

/* ---- a run ---- */

static const struct {
	bool (*step)(struct model *m, struct rng *rng);
	unsigned int weight;
} steps[] = {
	{ step_pin, 40 },
	{ step_unpin, 30 },
	{ step_wild, 4 },
	{ step_bad_pointer, 2 },
	{ step_bad_info, 3 },
	{ step_bad_ioctl, 1 },
	{ step_mmap, 14 },
	{ step_munmap, 4 },
	{ step_mprotect, 6 },
	{ step_mremap, 5 },
	{ step_madvise, 16 },
	{ step_punch, 1 },
	{ step_touch, 14 },
	{ step_housekeeping, 8 },
	{ step_open, 5 },
	{ step_close, 3 },
	{ step_dup, 3 },
	{ step_fork, 2 },
	{ step_foreign, 1 },
	{ step_limit, 5 },
};

static bool do_step(struct model *m, uint64_t seed)
{
	struct rng rng = { mix(seed) ^ mix(m->step) };
	unsigned int total = 0, at;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(steps); i++)
		total += steps[i].weight;
	at = below(&rng, total);
	for (i = 0; at >= steps[i].weight; i++)
		at -= steps[i].weight;
	m->report->step = m->step;
	LOG(m, "nothing");
	return steps[i].step(m, &rng);
}

static void on_alarm(int signal)
{
}

/* Signals that are handled arrive all the time and must change nothing. */
static void start_signals(void)
{
	const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	const struct sigaction action = {
		.sa_handler = on_alarm, .sa_flags = SA_RESTART,
	};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* The window with a border in which nothing can be pinned. */
static int map_window(void)
{
	size_t border = HUGE_PAGES * page, size = WINDOW_PAGES * page;

	if (mmap(WINDOW - border, size + 2 * border, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
		 -1, 0) != WINDOW - border)
		return -1;
	return mmap(WINDOW, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == WINDOW ? 0 : -1;
}

static int sized_memfd(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	return fd >= 0 && !ftruncate(fd, WINDOW_PAGES * page) ? fd : -1;
}

static bool model_init(struct model *m, struct report *report)
{
	struct extent window = { 0, WINDOW_PAGES };
	int i;

	memset(m, 0, sizeof(*m));
	m->report = report;
	for (i = 0; i < MAX_FDS; i++)
		m->fds[i].fd = -1;
	m->memfd = sized_memfd("fuzz");
	m->file = sized_memfd("fuzz-private");
	m->status = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	m->capable = true;
	m->limit = RLIM_INFINITY;
	m->system_pins = system_pins();
	if (m->memfd < 0 || m->file < 0 || m->status < 0 || m->pagemap < 0 ||
	    m->system_pins < 0 || map_window() || set_soft_limit(m->limit) ||
	    set_real_uid(FUZZ_USER))
		return wrong(m, "set up: %s", strerror(errno));
	model_change(m, window, true, false, PROT_READ | PROT_WRITE);
	start_signals();
	return true;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static bool time_is_over(const struct report *report)
{
	return report->end && seconds() >= report->end;
}

/* Run the steps of @keep in a process of their own, which ends with the last. */
static void __attribute__((noreturn))
run_steps(struct report *report, uint64_t seed, const unsigned int *keep, int nr)
{
	static struct model m;
	int i;

	if (!model_init(&m, report))
		_exit(1);
	for (i = 0; i < nr && !time_is_over(report); i++) {
		m.step = keep[i];
		if (!do_step(&m, seed) || !check_step(&m))
			_exit(1);
		report->ops++;
	}
	_exit(!check_frames(&m) || !check_system(&m));
}

static bool run_fails(struct report *report, uint64_t seed, const unsigned int *keep,
		      int nr)
{
	int status;
	pid_t child;

	report->text[0] = 0;
	child = fork();
	if (!child)
		run_steps(report, seed, keep, nr);
	if (waitpid(child, &status, 0) != child)
		return true;
	if (WIFSIGNALED(status))
		snprintf(report->text, sizeof(report->text), "signal %d", WTERMSIG(status));
	return status;
}

/* ---- shortening ---- */

#define SHORTEN_SECONDS	60

/* Nothing after the step that failed had a part in it. */
static int steps_until_failure(const struct report *report, const unsigned int *keep,
			       int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		if (keep[i] == report->step)
			return i + 1;
	return nr;
}

/* Leave out ever shorter pieces, as long as it still fails. */
static int shorten(struct report *report, uint64_t seed, unsigned int *keep, int nr)
{
	unsigned int *fewer = calloc(nr, sizeof(*fewer));
	double end = seconds() + SHORTEN_SECONDS;
	int piece, at;

	nr = steps_until_failure(report, keep, nr);
	for (piece = nr / 2; fewer && piece; piece /= 2) {
		for (at = 0; at < nr && seconds() < end;) {
			int next = at + piece < nr ? at + piece : nr;
			int left = nr - (next - at);

			memcpy(fewer, keep, at * sizeof(*keep));
			memcpy(fewer + at, keep + next, (nr - next) * sizeof(*keep));
			if (run_fails(report, seed, fewer, left)) {
				memcpy(keep, fewer, left * sizeof(*keep));
				nr = left;
			} else {
				at = next;
			}
		}
	}
	free(fewer);
	return nr;
}

static void print_failure(struct report *report, uint64_t seed, unsigned int *keep, int nr)
{
	int i;

	printf("# step %u: %s: %s\n", report->step, report->log, report->text);
	nr = shorten(report, seed, keep, nr);
	for (i = 1; i < nr && !run_fails(report, seed, keep, i); i++)
		printf("#   step %u: %s\n", report->step, report->log);
	run_fails(report, seed, keep, nr);
	printf("#   step %u: %s: %s\n", report->step, report->log, report->text);
	printf("# replay: FUZZ_SEED=%llu FUZZ_STEPS=", (unsigned long long)seed);
	for (i = 0; i < nr; i++)
		printf("%s%u", i ? "," : "", keep[i]);
	printf("\n");
}

/* ---- how long, and from where ---- */

static unsigned long long number_from_env(const char *name, unsigned long long otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 0) : otherwise;
}

FIXTURE(fuzz)
{
	struct setting sysctl;
	struct report *report;
	uint64_t seed;
	unsigned long ops;	/* instead of an end if not 0 */
	bool replays_steps, replays_crowd;
};

FIXTURE_SETUP(fuzz)
{
	page = page_size();
	self->report = mmap(NULL, page, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->report);
	self->seed = number_from_env("FUZZ_SEED", time(NULL) * 1000003ULL + getpid());
	self->ops = number_from_env("FUZZ_OPS", 0);
	self->replays_steps = getenv("FUZZ_STEPS");
	self->replays_crowd = getenv("FUZZ_CROWD");
	if (!self->ops)
		self->report->end = seconds() + number_from_env("FUZZ_SECONDS", 20) / 2.0;
	printf("# seed %llu\n", (unsigned long long)self->seed);
	fflush(stdout);
	ASSERT_EQ(0, setting_change(&self->sysctl, SYSCTL_UNPRIVILEGED, "1"));
}

FIXTURE_TEARDOWN(fuzz)
{
	setting_restore(&self->sysctl);
	TH_LOG("%lu operations, %lu of them pinned; seed %llu",
	       (unsigned long)self->report->ops, (unsigned long)self->report->pins,
	       (unsigned long long)self->seed);
	/* what is replayed may be too little to pin anything */
	if (!self->replays_steps && !self->replays_crowd)
		EXPECT_LT(0, self->report->pins);
}

static bool fuzz_goes_on(const struct _test_data_fuzz *self, unsigned long ops)
{
	if (self->ops)
		return self->report->ops < ops;
	return !time_is_over(self->report);
}

static int steps_from_env(unsigned int *keep, int nr)
{
	char *list = getenv("FUZZ_STEPS"), *word;
	int i;

	if (list && *list) {
		for (i = 0, word = strtok(list, ","); word && i < nr; i++) {
			keep[i] = strtoul(word, NULL, 10);
			word = strtok(NULL, ",");
		}
		return i;
	}
	for (i = 0; i < nr; i++)
		keep[i] = i + 1;
	return nr;
}

TEST_F_TIMEOUT(fuzz, alone, FOREVER)
{
	unsigned int keep[RUN_STEPS];
	int nr = steps_from_env(keep, RUN_STEPS);
	uint64_t seed = self->seed;

	if (self->replays_crowd)
		SKIP(return, "the numbers of FUZZ_CROWD are for many processes");
	do {
		if (run_fails(self->report, seed, keep, nr)) {
			self->report->end = 0;
			print_failure(self->report, seed, keep, nr);
			EXPECT_STREQ("", self->report->text);
			break;
		}
		EXPECT_EQ(0, charged_to(FUZZ_USER));
		seed++;
	} while (!self->replays_steps && fuzz_goes_on(self, self->ops / 10));
}

/* ---- many at once ---- */

#define MAX_CREWS	3
#define MAX_THREADS	3
#define SHARED_FDS	3

/* How many processes, threads of each, rests, and calls from one to the next. */
struct crowd_size {
	int crews, threads, rounds, calls;
};

static const struct crowd_size whole_crowd = { MAX_CREWS, MAX_THREADS, 10, 400 };

/* What the threads of one process share. */
struct crew {
	struct crowd *crowd;
	int fds[SHARED_FDS];
	atomic_int loose;	/* an fd that comes and goes */
	atomic_long pins[SHARED_FDS];
	atomic_long pages[SHARED_FDS];
	int memfd;
};

/* What all processes share. */
struct crowd {
	struct crew crews[MAX_CREWS];
	struct crowd_size size;
	pthread_barrier_t rest;
	atomic_bool failed;
	atomic_bool over;
	struct report *report;
	uint64_t seed;
	long long system_pins;
};

struct member {
	struct crew *crew;
	struct rng rng;
	bool first;		/* of its process */
	bool leader;		/* of all */
};

static void crowd_fail(struct crowd *crowd, const char *format, ...)
{
	va_list args;

	if (atomic_exchange(&crowd->failed, true))
		return;
	va_start(args, format);
	vsnprintf(crowd->report->text, sizeof(crowd->report->text), format, args);
	va_end(args);
}

static bool is_documented(int error)
{
	return error == ENOMEM || error == EFAULT || error == EPERM || error == ENOENT;
}

/* Counted when it has succeeded, and compared when nothing is under way. */
static void member_pin(struct member *member)
{
	struct crew *crew = member->crew;
	struct extent span = random_span(&member->rng);
	struct mem_pin_address range = span_range(&member->rng, span);
	int i = below(&member->rng, SHARED_FDS);
	bool undo = below(&member->rng, 2);

	if (!ioctl(crew->fds[i], undo ? MEM_CMD_UNPIN : MEM_CMD_PIN, &range)) {
		crew->crowd->report->pins += !undo;
		crew->pins[i] += undo ? -1 : 1;
		crew->pages[i] += undo ? -(long)span.pages : (long)span.pages;
	} else if (!is_documented(errno)) {
		crowd_fail(crew->crowd, "%s: %s", undo ? "UNPIN" : "PIN", strerror(errno));
	}
}

/* On an fd that anybody may close meanwhile: nobody can say what it holds. */
static void member_loose(struct member *member)
{
	struct crew *crew = member->crew;
	struct extent span = random_span(&member->rng);
	int fd;

	switch (below(&member->rng, 4)) {
	case 0:
		fd = atomic_exchange(&crew->loose, mempinfd());
		close(fd);
		break;
	case 1:
		unpin(crew->loose, span_addr(span), span_size(span));
		break;
	default:
		pin(crew->loose, span_addr(span), span_size(span));
	}
}

static void member_map(struct member *member)
{
	struct rng *rng = &member->rng;
	struct extent span = random_span(rng);
	bool shared = below(rng, 2);
	struct extent to = random_span(rng);

	switch (below(rng, 5)) {
	case 0:
		munmap(span_addr(span), span_size(span));
		break;
	case 1:
		mprotect(span_addr(span), span_size(span), random_prot(rng));
		break;
	case 2:
		mremap(span_addr(span), span_size(span), span_size(span),
		       MREMAP_MAYMOVE | MREMAP_FIXED,
		       WINDOW + to.first % (WINDOW_PAGES - span.pages + 1) * page);
		break;
	default:
		mmap(span_addr(span), span_size(span), PROT_READ | PROT_WRITE,
		     MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS),
		     shared ? member->crew->memfd : -1, 0);
	}
}

static void member_advise(struct member *member)
{
	struct rng *rng = &member->rng;
	struct extent span = random_span(rng);
	int i = below(rng, ARRAY_SIZE(advices) + 2);

	if (i >= (int)ARRAY_SIZE(advices))
		move_pages_to(span_addr(span), span.pages, i % 2);
	else
		madvise(span_addr(span), span_size(span), advices[i].advice);
}

/* Only what may be called after fork() by a process of several threads. */
static void member_fork(struct member *member)
{
	struct crew *crew = member->crew;
	pid_t child = fork();
	int status;

	if (!child)
		_exit(!pin(crew->fds[0], WINDOW, 1) || errno != EXDEV);
	if (child > 0 && (waitpid(child, &status, 0) != child || status))
		crowd_fail(crew->crowd, "a child pinned with its parent's fd");
}

static void member_call(struct member *member)
{
	unsigned int what = below(&member->rng, 100);

	if (what < 50)
		member_pin(member);
	else if (what < 60)
		member_loose(member);
	else if (what < 80)
		member_map(member);
	else if (what < 99)
		member_advise(member);
	else
		member_fork(member);
	member->crew->crowd->report->ops++;
}

/* All of this process's threads rest: what it holds is what they counted. */
static long crew_check(struct crew *crew)
{
	struct crowd *crowd = crew->crowd;
	struct mem_pin_info info;
	long pages = 0;
	int i;

	for (i = 0; i < SHARED_FDS; i++) {
		pages += crew->pages[i];
		if (pin_info(crew->fds[i], &info) ||
		    info.pins != (uint64_t)crew->pins[i] ||
		    info.pinned_pages != (uint64_t)crew->pages[i] ||
		    info.charged_pages != (uint64_t)crew->pages[i])
			crowd_fail(crowd, "INFO: %llu pins, %llu pages, %llu charged, not %ld, %ld",
				   info.pins, info.pinned_pages, info.charged_pages,
				   crew->pins[i], crew->pages[i]);
	}
	if (vm_pin(getpid()) != pages)
		crowd_fail(crowd, "VmPin %lld, not %ld", vm_pin(getpid()), pages);
	return pages;
}

static void crowd_check(struct crowd *crowd)
{
	long long wanted = crowd->system_pins, pins = system_pins();
	int i, j;

	for (i = 0; i < MAX_CREWS; i++)
		for (j = 0; j < SHARED_FDS; j++)
			wanted += crowd->crews[i].pages[j];
	if (pins != wanted)
		crowd_fail(crowd, "the system has %lld pins, not %lld", pins, wanted);
}

/* Nobody is in a call from here until all have come here again. */
static void member_rest(struct member *member)
{
	struct crew *crew = member->crew;

	pthread_barrier_wait(&crew->crowd->rest);
	if (member->first) {
		close(atomic_exchange(&crew->loose, -1));
		crew_check(crew);
	}
	pthread_barrier_wait(&crew->crowd->rest);
	if (member->leader) {
		crowd_check(crew->crowd);
		crew->crowd->over = time_is_over(crew->crowd->report);
	}
	pthread_barrier_wait(&crew->crowd->rest);
}

static void *member_main(void *arg)
{
	struct member *member = arg;
	const struct crowd *crowd = member->crew->crowd;
	int round, i;

	for (round = 0; round < crowd->size.rounds && !crowd->over; round++) {
		for (i = 0; i < crowd->size.calls; i++)
			member_call(member);
		member_rest(member);
	}
	/* on and on, for the one that is to be killed */
	while (member->leader)
		member_call(member);
	return NULL;
}

static void __attribute__((noreturn)) crew_main(struct crowd *crowd, int number)
{
	struct crew *crew = &crowd->crews[number];
	struct member members[MAX_THREADS];
	pthread_t threads[MAX_THREADS];
	int i;

	crew->crowd = crowd;
	crew->loose = -1;
	crew->memfd = sized_memfd("crowd");
	if (crew->memfd < 0 || map_window() || set_real_uid(FUZZ_USER) ||
	    set_soft_limit(2 * WINDOW_PAGES * page) ||
	    (number && set_cap_ipc_lock(false)))
		_exit(1);
	for (i = 0; i < SHARED_FDS; i++)
		crew->fds[i] = mempinfd();
	for (i = 0; i < crowd->size.threads; i++) {
		members[i] = (struct member){
			crew, { mix(crowd->seed + number * MAX_THREADS + i) },
			i == 0, number == 0 && i == 0,
		};
		if (pthread_create(&threads[i], NULL, member_main, &members[i]))
			_exit(2);
	}
	for (i = 0; i < crowd->size.threads; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static void crowd_init(struct crowd *crowd, struct report *report, uint64_t seed,
		       struct crowd_size size)
{
	pthread_barrierattr_t attr;

	memset(crowd, 0, sizeof(*crowd));
	crowd->report = report;
	crowd->seed = seed;
	crowd->size = size;
	crowd->system_pins = system_pins();
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crowd->rest, &attr, size.crews * size.threads);
}

static void kill_crews(const pid_t *pids, int crews)
{
	while (crews--)
		if (pids[crews] > 0)
			kill(pids[crews], SIGKILL);
}

/*
 * The leader never ends: the others do, and then it is killed amid its calls.
 * If one ends before its time the rest would wait for it.
 */
static void crowd_wait(struct crowd *crowd, const pid_t *pids)
{
	int left, status = -1;
	pid_t pid;

	for (left = crowd->size.crews; left; left--) {
		if (left == 1)
			kill_crews(pids, 1);
		pid = waitpid(-1, &status, 0);
		if (pid != pids[0] ? !status : left == 1)
			continue;
		crowd_fail(crowd, "process %d ended with status %x", pid, status);
		kill_crews(pids, crowd->size.crews);
	}
}

static void crowd_run(struct crowd *crowd)
{
	pid_t pids[MAX_CREWS];
	int i;

	for (i = 0; i < crowd->size.crews; i++) {
		pids[i] = fork();
		if (!pids[i])
			crew_main(crowd, i);
	}
	crowd_wait(crowd, pids);
	if (system_pins() != crowd->system_pins)
		crowd_fail(crowd, "after all have ended the system has %lld pins more",
			   system_pins() - crowd->system_pins);
}

/* What races may need more than one try. */
#define CROWD_TRIES	5

static bool crowd_fails(struct crowd *crowd, struct report *report, uint64_t seed,
			struct crowd_size size, int tries)
{
	while (tries--) {
		crowd_init(crowd, report, seed, size);
		crowd_run(crowd);
		if (crowd->failed)
			return true;
	}
	return false;
}

/* Halve one number after the other, as long as it still fails. */
static struct crowd_size shorten_crowd(struct crowd *crowd, struct report *report,
				       uint64_t seed, struct crowd_size size)
{
	int *const numbers[] = { &size.rounds, &size.crews, &size.threads, &size.calls };
	int before;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		while (*numbers[i] > 1) {
			before = *numbers[i];
			*numbers[i] = before / 2;
			if (!crowd_fails(crowd, report, seed, size, CROWD_TRIES)) {
				*numbers[i] = before;
				break;
			}
		}
	}
	return size;
}

static struct crowd_size crowd_size_from_env(void)
{
	struct crowd_size size = whole_crowd;
	const char *value = getenv("FUZZ_CROWD");

	if (value && *value)
		sscanf(value, "%d,%d,%d,%d", &size.crews, &size.threads, &size.rounds,
		       &size.calls);
	return size;
}

TEST_F_TIMEOUT(fuzz, crowd, FOREVER)
{
	struct crowd_size size = crowd_size_from_env();
	uint64_t seed = self->seed;
	struct crowd *crowd;

	if (self->replays_steps)
		SKIP(return, "the steps of FUZZ_STEPS are for one process");
	crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, crowd);
	do {
		if (crowd_fails(crowd, self->report, seed, size, 1)) {
			printf("# %s\n", self->report->text);
			self->report->end = 0;
			size = shorten_crowd(crowd, self->report, seed, size);
			printf("# replay: FUZZ_SEED=%llu FUZZ_CROWD=%d,%d,%d,%d\n",
			       (unsigned long long)seed, size.crews, size.threads,
			       size.rounds, size.calls);
			EXPECT_STREQ("", self->report->text);
			break;
		}
		EXPECT_EQ(0, charged_to(FUZZ_USER));
		seed++;
	} while (fuzz_goes_on(self, self->ops - self->ops / 10));
}

TEST_HARNESS_MAIN
