// SPDX-License-Identifier: GPL-2.0
/*
 * What a pin does, seen from the program that makes it.
 *
 * This program is in the place of a library for a device with shared virtual
 * addressing (SVA): it pins a buffer before the device uses it, and unpins it
 * afterwards.  The whole use of the interface is
 *
 *	fd = mempinfd();
 *	mempin_pin(fd, buffer, size);
 *	... the device works on the buffer ...
 *	mempin_unpin(fd, buffer, size);
 *
 * and the rest of the program looks at what that changes.  It asks the kernel
 * to move the buffer to another NUMA node, before the pin, during it and after
 * it, and looks where the pages are then; root also sees their physical
 * addresses.  It ends with 0 if all that it shows is as it should be.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/mempolicy.h>
#include <mempinfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define BUFFER_SIZE	((size_t)64 << 20)
#define BUFFER_KB	((long long)BUFFER_SIZE >> 10)
#define MOVE_TRIES	3
#define NODE_PATH	"/sys/devices/system/node/node%d"
#define PATH_SIZE	128
#define PAGEMAP_FRAME	((1ULL << 55) - 1)

static bool all_true = true;
static int home_node, other_node = -1;

static void die(const char *what)
{
	fprintf(stderr, "mempinfd-demo: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Note what should be, and complain if it is not. */
static void should_be(bool holds, const char *what, const char *where)
{
	if (holds)
		return;
	all_true = false;
	printf("NOT as it should be, %s: %s\n", where, what);
}

/* ---- what the kernel tells about itself ---- */

/* The number behind @name in a file of "name number" lines, or -1. */
static long long read_field(const char *path, const char *name)
{
	size_t len = strlen(name);
	FILE *file = fopen(path, "re");
	long long number = -1;
	char line[256];

	if (!file)
		return -1;
	while (number < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && strchr(": \t", line[len]))
			number = strtoll(line + len + 1, NULL, 10);
	fclose(file);
	return number;
}

static long long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long long number = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%lld", &number) != 1)
		number = -1;
	fclose(file);
	return number;
}

static bool write_number(const char *path, long long number)
{
	FILE *file = fopen(path, "we");
	bool done;

	if (!file)
		return false;
	done = fprintf(file, "%lld\n", number) > 0;
	return !fclose(file) && done;
}

/* The memory of this process that is pinned, as everybody can see it. */
static long long vm_pin_kb(void)
{
	return read_field("/proc/self/status", "VmPin");
}

static long long read_fdinfo(int fd, const char *name)
{
	char path[PATH_SIZE];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return read_field(path, name);
}

/* Pages pinned in the whole system; -1 if that cannot be told. */
static long long system_pins(void)
{
	long long acquired, released;

	/* Writing here makes the kernel add up what each CPU has counted. */
	if (!write_number("/proc/sys/vm/stat_refresh", 1))
		return -1;
	acquired = read_field("/proc/vmstat", "nr_foll_pin_acquired");
	released = read_field("/proc/vmstat", "nr_foll_pin_released");
	return acquired < 0 ? -1 : acquired - released;
}

/* ---- kinds of memory ---- */

struct buffer {
	char *addr;
	size_t page;	/* size of the pages that it is made of */
	size_t nr_pages;
};

struct kind {
	const char *name;
	/* Sets the page size; returns NULL if there is no such memory here. */
	char *(*map)(size_t *page);
};

static char *mapped_or_null(void *addr)
{
	return addr == MAP_FAILED ? NULL : addr;
}

static char *map_anon(size_t *page)
{
	char *addr = mapped_or_null(mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	/* Fails where there are no huge pages: just as well. */
	if (addr)
		madvise(addr, BUFFER_SIZE, MADV_NOHUGEPAGE);
	*page = sysconf(_SC_PAGESIZE);
	return addr;
}

static char *map_thp(size_t *page)
{
	long long size = read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
	char *addr;

	if (size <= 0)
		return NULL;
	*page = size;
	addr = mapped_or_null(mmap(NULL, BUFFER_SIZE + size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	if (!addr)
		return NULL;
	addr += -(uintptr_t)addr % size;
	return madvise(addr, BUFFER_SIZE, MADV_HUGEPAGE) ? NULL : addr;
}

/*
 * The administrator decides how many huge pages there are.  The kernel takes
 * the number for a wish, so see what came of it.
 */
static bool grow_hugetlb_pool(size_t page, long long nr_pages)
{
	char path[PATH_SIZE];
	long long old;

	snprintf(path, sizeof(path),
		 NODE_PATH "/hugepages/hugepages-%zukB/nr_hugepages",
		 home_node, page >> 10);
	old = read_number(path);
	if (old < 0 || !write_number(path, old + nr_pages))
		return false;
	if (read_number(path) == old + nr_pages)
		return true;
	write_number(path, old);
	return false;
}

static char *map_hugetlb(size_t *page)
{
	long long kb = read_field("/proc/meminfo", "Hugepagesize");
	long long nr_pages = kb > 0 ? BUFFER_KB / kb : 0;
	char *addr;

	*page = kb << 10;
	if (!nr_pages || !grow_hugetlb_pool(*page, nr_pages))
		return NULL;
	addr = mapped_or_null(mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0));
	if (!addr)
		grow_hugetlb_pool(*page, -nr_pages);
	return addr;
}

static char *map_memfd(int flags, size_t *page)
{
	int fd = memfd_create("mempinfd-demo", MFD_CLOEXEC);
	char *addr;

	*page = sysconf(_SC_PAGESIZE);
	if (fd < 0)
		return NULL;
	if (ftruncate(fd, BUFFER_SIZE))
		die("memory file");
	addr = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
	close(fd);
	return mapped_or_null(addr);
}

static char *map_shared(size_t *page)
{
	return map_memfd(MAP_SHARED, page);
}

static char *map_private_file(size_t *page)
{
	return map_memfd(MAP_PRIVATE, page);
}

static const struct kind kinds[] = {
	{ "anonymous, small pages", map_anon },
	{ "anonymous, huge pages", map_thp },
	{ "hugetlb", map_hugetlb },
	{ "shared memory (memfd)", map_shared },
	{ "private file mapping", map_private_file },
	{ }
};

/* Give back what map() took, which for hugetlb is also the pool. */
static void unmap(const struct kind *kind, const struct buffer *buffer)
{
	munmap(buffer->addr, BUFFER_SIZE);
	if (kind->map == map_hugetlb)
		grow_hugetlb_pool(buffer->page, -(long long)buffer->nr_pages);
}

static bool map(const struct kind *kind, struct buffer *buffer)
{
	buffer->addr = kind->map(&buffer->page);
	if (!buffer->addr)
		return false;
	buffer->nr_pages = BUFFER_SIZE / buffer->page;
	memset(buffer->addr, 0xa5, BUFFER_SIZE);
	return true;
}

/* ---- where the pages are, and moving them ---- */

/* The physical page behind each page of the buffer; 0 if we may not know. */
static __u64 *read_frames(const struct buffer *buffer)
{
	__u64 *frames = calloc(buffer->nr_pages, sizeof(*frames));
	size_t i, base = sysconf(_SC_PAGESIZE);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	off_t pos;

	if (!frames || fd < 0)
		die("/proc/self/pagemap");
	for (i = 0; i < buffer->nr_pages; i++) {
		pos = ((uintptr_t)buffer->addr + i * buffer->page) / base *
		      sizeof(*frames);
		if (pread(fd, &frames[i], sizeof(*frames), pos) != sizeof(*frames))
			die("reading /proc/self/pagemap");
		frames[i] &= PAGEMAP_FRAME;
	}
	close(fd);
	return frames;
}

/* Ask where the pages are, or with @nodes to move them there. */
static void move_pages(const struct buffer *buffer, const int *nodes, int *status)
{
	void **pages = calloc(buffer->nr_pages, sizeof(*pages));
	size_t i;

	if (!pages)
		die("memory");
	for (i = 0; i < buffer->nr_pages; i++)
		pages[i] = buffer->addr + i * buffer->page;
	/* A page that would not move is told in its status, or by a number. */
	if (syscall(__NR_move_pages, 0, buffer->nr_pages, pages, nodes, status,
		    nodes ? MPOL_MF_MOVE : 0) < 0)
		die("move_pages");
	free(pages);
}

static size_t count_on(const struct buffer *buffer, int node)
{
	int *status = calloc(buffer->nr_pages, sizeof(*status));
	size_t i, count = 0;

	if (!status)
		die("memory");
	move_pages(buffer, NULL, status);
	for (i = 0; i < buffer->nr_pages; i++)
		count += status[i] == node;
	free(status);
	return count;
}

/* A page may be busy for a moment, so ask a few times. */
static void move_to(const struct buffer *buffer, int node)
{
	int *nodes = calloc(buffer->nr_pages, sizeof(*nodes));
	int *status = calloc(buffer->nr_pages, sizeof(*status));
	size_t i;
	int tries;

	if (!nodes || !status)
		die("memory");
	for (i = 0; i < buffer->nr_pages; i++)
		nodes[i] = node;
	for (tries = 0; tries < MOVE_TRIES; tries++)
		move_pages(buffer, nodes, status);
	free(nodes);
	free(status);
}

/*
 * Try to move the buffer to the other node, and count the pages that arrive.
 * They have other physical addresses then, and the rest have those they had.
 */
static size_t count_moved(const struct buffer *buffer)
{
	__u64 *before, *after;
	size_t i, changed = 0, arrived;

	before = read_frames(buffer);
	move_to(buffer, other_node);
	after = read_frames(buffer);
	arrived = count_on(buffer, other_node);
	for (i = 0; i < buffer->nr_pages; i++)
		changed += before[i] != after[i];
	if (before[0])
		should_be(changed == arrived, "what moved has another address",
			  "pagemap");
	free(before);
	free(after);
	return arrived;
}

/* ---- the demonstration ---- */

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* How long it takes to pin or to unpin the buffer, in milliseconds. */
static double measure(int (*call)(int fd, const void *addr, size_t size), int fd,
		      const struct buffer *buffer)
{
	double start = now_ms();

	if (call(fd, buffer->addr, BUFFER_SIZE))
		die(call == mempin_pin ? "PIN" : "UNPIN");
	return now_ms() - start;
}

/* What is shown of one kind of memory: a line of the table. */
struct row {
	double pin_ms, unpin_ms;
	long long vm_pin_kb, pins, pinned_pages;
	size_t nr_pages, moved_before, moved_pinned, moved_after;
};

static void try_kind(int fd, const struct buffer *buffer, struct row *row)
{
	bool can_move = other_node >= 0;

	row->nr_pages = buffer->nr_pages;
	if (can_move) {
		row->moved_before = count_moved(buffer);
		move_to(buffer, home_node);
	}

	row->pin_ms = measure(mempin_pin, fd, buffer);
	row->vm_pin_kb = vm_pin_kb();
	row->pins = read_fdinfo(fd, "pins");
	row->pinned_pages = read_fdinfo(fd, "pinned_pages");
	if (can_move)
		row->moved_pinned = count_moved(buffer);

	row->unpin_ms = measure(mempin_unpin, fd, buffer);
	if (can_move)
		row->moved_after = count_moved(buffer);
}

static void print_head(void)
{
	printf("%-23s %-14s %9s %9s %9s %6s", "64 MiB of", "made of", "PIN",
	       "UNPIN", "VmPin", "fdinfo");
	if (other_node >= 0)
		printf("   %s %6s %6s", "moved: before", "pinned", "after");
	putchar('\n');
}

static void print_row(const char *name, const struct row *row)
{
	printf("%-23s %5zu x %4zu kB %6.1f ms %6.1f ms %6lld kB %6lld", name,
	       row->nr_pages, (size_t)BUFFER_KB / row->nr_pages, row->pin_ms,
	       row->unpin_ms, row->vm_pin_kb, row->pinned_pages);
	if (other_node >= 0)
		printf("   %13zu %6zu %6zu", row->moved_before,
		       row->moved_pinned, row->moved_after);
	putchar('\n');
}

static void check_row(const char *name, const struct row *row)
{
	should_be(row->vm_pin_kb == BUFFER_KB, "VmPin is the buffer's size", name);
	should_be(row->pins == 1, "the fd has one pin", name);
	should_be(row->pinned_pages == (long long)BUFFER_SIZE / sysconf(_SC_PAGESIZE),
		  "the fd has all pages pinned", name);
	should_be(vm_pin_kb() == 0, "VmPin is 0 after UNPIN", name);
	if (other_node < 0)
		return;
	should_be(row->moved_before == row->nr_pages, "all moves before PIN", name);
	should_be(row->moved_pinned == 0, "nothing moves while pinned", name);
	should_be(row->moved_after == row->nr_pages, "all moves after UNPIN", name);
}

static void show_kind(int fd, const struct kind *kind)
{
	struct buffer buffer;
	struct row row = { 0 };

	if (!map(kind, &buffer)) {
		printf("%-23s not to be had here\n", kind->name);
		return;
	}
	try_kind(fd, &buffer, &row);
	print_row(kind->name, &row);
	check_row(kind->name, &row);
	unmap(kind, &buffer);
}

/* Have all memory from one node, so that it can be seen to go to another. */
static void choose_nodes(void)
{
	unsigned long home_mask;
	char path[PATH_SIZE];
	int node;

	for (node = 1; node < 32 && other_node < 0; node++) {
		snprintf(path, sizeof(path), NODE_PATH, node);
		if (!access(path, F_OK))
			other_node = node;
	}
	if (other_node < 0)
		return;
	home_mask = 1UL << home_node;
	if (syscall(__NR_set_mempolicy, MPOL_BIND, &home_mask, 8 * sizeof(home_mask)))
		die("set_mempolicy");
}

static void explain(void)
{
	puts("A device with shared virtual addressing uses memory through the page table of\n"
	     "the program.  When the kernel moves a page, its entry there is gone for a\n"
	     "moment, and a device that comes just then has to stop and fault.  PIN makes\n"
	     "the kernel leave the pages where they are, until UNPIN.\n");
	if (other_node < 0)
		puts("This machine has one NUMA node, so there is nowhere to move the pages to,\n"
		     "and that part is left out.\n");
	else
		printf("Each buffer is asked to move from NUMA node %d to node %d: before it is\n"
		       "pinned, while it is pinned, and when it is not any more.\n\n",
		       home_node, other_node);
}

static void explain_table(void)
{
	puts("\nVmPin is what /proc/PID/status tells of the process while the buffer is pinned,\n"
	     "and fdinfo how many pages /proc/PID/fdinfo/FD tells of the fd.");
	if (other_node >= 0 && all_true)
		puts("Before PIN and after UNPIN every page moved; while pinned, none did.");
}

static void show_end(int fd, long long pins_before)
{
	long long pins = system_pins();

	printf("\nAfter the last UNPIN this process has %lld kB pinned (VmPin), and the fd holds\n"
	       "%lld pins.  ", vm_pin_kb(), read_fdinfo(fd, "pins"));
	should_be(read_fdinfo(fd, "charged_pages") == 0, "nothing is charged", "fd");
	if (pins >= 0) {
		printf("In the whole system %lld pages are pinned, and %lld were before.",
		       pins, pins_before);
		should_be(pins == pins_before, "as many pins as before", "vmstat");
	}
	printf("\n\n%s of this is as it should be.\n", all_true ? "All" : "Not all");
}

int main(void)
{
	long long pins_before = system_pins();
	const struct kind *kind;
	int fd;

	fd = mempinfd();
	if (fd < 0)
		die("mempinfd()");
	choose_nodes();
	explain();
	print_head();
	for (kind = kinds; kind->name; kind++)
		show_kind(fd, kind);
	explain_table();
	show_end(fd, pins_before);
	close(fd);
	return all_true ? 0 : 1;
}
