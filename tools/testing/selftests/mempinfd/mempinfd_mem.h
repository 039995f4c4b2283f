/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Regions of every kind of memory that a program may hand to a device, and a
 * look at the physical pages behind them.
 *
 * Needs root, /proc and /sys.  Does not depend on the kselftest harness:
 * functions return -1 with errno set, or false, and print nothing.
 */
#ifndef MEMPINFD_MEM_H
#define MEMPINFD_MEM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kernel-page-flags.h>
#include <sys/mman.h>
#include <sys/shm.h>

#define THP_DIR		"/sys/kernel/mm/transparent_hugepage/"
#define PAGEMAP_PRESENT	0x8000000000000000ULL
#define PAGEMAP_FILE	0x2000000000000000ULL	/* or of shared memory */
#define PAGEMAP_FRAME	0x007fffffffffffffULL
#define PAGEMAP_SOFT_DIRTY	0x0080000000000000ULL
#define PAGEMAP_UFFD_WP		0x0200000000000000ULL
#define KPAGE_FLAG(nr)	(1ULL << KPF_##nr)

/* ---- settings and numbers of the system ---- */

static inline int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t written;

	if (fd < 0)
		return -1;
	written = write(fd, text, strlen(text));
	close(fd);
	return written == (ssize_t)strlen(text) ? 0 : -1;
}

static inline int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = read(fd, text, size - 1);
	close(fd);
	if (len < 0)
		return -1;
	text[len] = 0;
	return 0;
}

/* The number in a file that holds nothing else, or -1. */
static inline long long read_number(const char *path)
{
	char text[64];

	return read_text(path, text, sizeof(text)) ? -1 : strtoll(text, NULL, 0);
}

/* The number behind @name in a file of "name number" lines, or -1. */
static inline long long read_field(const char *path, const char *name)
{
	size_t len = strlen(name);
	FILE *file = fopen(path, "re");
	long long number = -1;
	char line[256];

	if (!file)
		return -1;
	while (number < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len) && strchr(": \t", line[len]))
			number = strtoll(line + len + strspn(line + len, ": \t"), NULL, 10);
	fclose(file);
	return number;
}

/* A system-wide setting that goes back to what it was. */
struct setting {
	char path[128];
	char old[64];
};

static inline int setting_change(struct setting *s, const char *path, const char *value)
{
	char text[256], *start, *end;

	s->path[0] = 0;
	if (read_text(path, text, sizeof(text)))
		return -1;
	/* "always [madvise] never": the one in brackets is in force */
	start = strchr(text, '[');
	start = start ? start + 1 : text;
	end = strpbrk(start, "]\n");
	if (end)
		*end = 0;
	snprintf(s->old, sizeof(s->old), "%.63s", start);
	if (write_text(path, value))
		return -1;
	snprintf(s->path, sizeof(s->path), "%s", path);
	return 0;
}

static inline void setting_restore(struct setting *s)
{
	if (s->path[0])
		write_text(s->path, s->old);
	s->path[0] = 0;
}

/*
 * Lines for the log: what the kernel says between these two is expected, and
 * no reason for leftover.c to complain.
 */
#define KMSG_EXPECTED		"mempinfd: expected from here"
#define KMSG_UNEXPECTED		"mempinfd: expected to here"

static inline int kmsg_write(const char *line)
{
	return write_text("/dev/kmsg", line);
}

/* ---- the pages behind an address ---- */

/* Fault a page in for reading. */
static inline void touch(const char *addr)
{
	char byte = *addr;

	asm volatile("" : : "r" (byte) : "memory");
}

/* Read the pagemap entries of @n base pages. */
static inline int pagemap_read(const void *addr, size_t n, uint64_t *entries)
{
	off_t at = (uintptr_t)addr / sysconf(_SC_PAGESIZE) * sizeof(*entries);
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -1;
	len = pread(fd, entries, n * sizeof(*entries), at);
	close(fd);
	return len == (ssize_t)(n * sizeof(*entries)) ? 0 : -1;
}

static inline uint64_t pagemap_entry(const void *addr)
{
	uint64_t entry;

	return pagemap_read(addr, 1, &entry) ? 0 : entry;
}

/* How many base pages have all these bits in their entries. */
static inline size_t pagemap_count(const void *addr, size_t n, uint64_t bits)
{
	uint64_t *entries = calloc(n, sizeof(*entries));
	size_t i, count = 0;

	if (entries && !pagemap_read(addr, n, entries))
		for (i = 0; i < n; i++)
			count += (entries[i] & bits) == bits;
	free(entries);
	return count;
}

/* The page frame number behind @addr; 0 if no page is present. */
static inline uint64_t page_frame(const void *addr)
{
	uint64_t entry = pagemap_entry(addr);

	return entry & PAGEMAP_PRESENT ? entry & PAGEMAP_FRAME : 0;
}

/* The flags of <linux/kernel-page-flags.h> of one page frame; 0 if unknown. */
static inline uint64_t frame_flags(uint64_t frame)
{
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	uint64_t flags = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &flags, sizeof(flags), frame * sizeof(flags)) != sizeof(flags))
		flags = 0;
	close(fd);
	return flags;
}

/* ---- kinds of memory ---- */

enum memory_kind {
	MEM_ANON,
	MEM_THP,
	MEM_MTHP_64K,
	MEM_HUGETLB_PRIVATE,
	MEM_HUGETLB_SHARED,
	MEM_FILE_PRIVATE,
	MEM_MEMFD,
	MEM_MEMFD_THP,
	MEM_STACK,
	MEM_HEAP,
	MEM_KINDS
};

static inline const char *memory_kind_name(enum memory_kind kind)
{
	static const char * const names[MEM_KINDS] = {
		[MEM_ANON] = "anonymous",
		[MEM_THP] = "transparent huge pages",
		[MEM_MTHP_64K] = "64 KiB transparent huge pages",
		[MEM_HUGETLB_PRIVATE] = "hugetlb, private",
		[MEM_HUGETLB_SHARED] = "hugetlb, shared",
		[MEM_FILE_PRIVATE] = "private file",
		[MEM_MEMFD] = "shared memfd",
		[MEM_MEMFD_THP] = "shared memfd, huge pages",
		[MEM_STACK] = "stack",
		[MEM_HEAP] = "heap",
	};

	return names[kind];
}

static inline void thp_setting_path(char *path, size_t bytes, const char *what)
{
	sprintf(path, THP_DIR "hugepages-%zukB/%s", bytes >> 10, what);
}

static inline size_t thp_pmd_size(void)
{
	long long bytes = read_number(THP_DIR "hpage_pmd_size");

	return bytes > 0 ? bytes : 0;
}

/*
 * Tests take several at a time, and a new one again and again: 0 also where so
 * few fit into memory that they could not, as with base pages of 64K on arm64.
 */
static inline size_t thp_size(void)
{
	size_t size = thp_pmd_size();

	return size / sysconf(_SC_PAGESIZE) * 16 <= (size_t)sysconf(_SC_PHYS_PAGES) ? size : 0;
}

static inline size_t hugetlb_size(void)
{
	long long kilobytes = read_field("/proc/meminfo", "Hugepagesize");

	return kilobytes > 0 ? kilobytes << 10 : 0;
}

static inline size_t mthp_64k_size(void)
{
	char path[128];

	thp_setting_path(path, 64 << 10, "enabled");
	return access(path, W_OK) ? 0 : 64 << 10;
}

/* Bytes of the pages that the kind is made of; 0 if this kernel has none. */
static inline size_t memory_kind_page(enum memory_kind kind)
{
	switch (kind) {
	case MEM_THP:
	case MEM_MEMFD_THP:
		return thp_size();
	case MEM_MTHP_64K:
		return mthp_64k_size();
	case MEM_HUGETLB_PRIVATE:
	case MEM_HUGETLB_SHARED:
		return hugetlb_size();
	default:
		return sysconf(_SC_PAGESIZE);
	}
}

/* What a test that wants the kind is skipped for, if it has no page. */
static inline const char *missing_kind(enum memory_kind kind)
{
	if ((kind == MEM_THP || kind == MEM_MEMFD_THP) && thp_pmd_size())
		return "transparent huge pages that are no more than a 16th of memory";
	return memory_kind_name(kind);
}

/* A mapped range of one kind, a multiple of @page bytes long and aligned. */
struct region {
	enum memory_kind kind;
	char *addr;
	size_t size;
	size_t page;
	struct setting hugetlb_pool;
};

static inline size_t region_base_pages(const struct region *r)
{
	return r->size / sysconf(_SC_PAGESIZE);
}

static inline size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/*
 * Address space for the region, not accessible; aligned to its page size, so
 * that even small pages could be replaced by huge ones, and as memory must be
 * that processes share.
 */
static inline char *region_reserve(const struct region *r)
{
	size_t align = larger(larger(thp_size(), r->page), SHMLBA);
	char *start, *addr;

	start = mmap(NULL, r->size + align, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return MAP_FAILED;
	addr = (char *)(((uintptr_t)start + align - 1) & ~(align - 1));
	if (addr > start)
		munmap(start, addr - start);
	munmap(addr + r->size, start + align - addr);
	return addr;
}

static inline int region_map_at(struct region *r, int flags, int fd)
{
	char *addr = region_reserve(r);

	if (addr == MAP_FAILED)
		return -1;
	r->addr = mmap(addr, r->size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);
	if (r->addr != MAP_FAILED)
		return 0;
	munmap(addr, r->size);
	return -1;
}

/* The mapping keeps the file alive, so that nothing but it needs cleaning up. */
static inline int region_map_file(struct region *r, int flags, int fd)
{
	int ret = -1;

	if (fd < 0)
		return -1;
	if (!ftruncate(fd, r->size))
		ret = region_map_at(r, flags, fd);
	close(fd);
	return ret;
}

static inline int unlinked_file(void)
{
	char path[] = P_tmpdir "/mempinfdXXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Pages beyond the pool come when they are needed and go when they are freed. */
static inline int region_map_hugetlb(struct region *r, int flags)
{
	char pages[32];

	snprintf(pages, sizeof(pages), "%zu", r->size / r->page + 64);
	if (setting_change(&r->hugetlb_pool, "/proc/sys/vm/nr_overcommit_hugepages", pages))
		return -1;
	if (!region_map_at(r, flags | MAP_ANONYMOUS | MAP_HUGETLB, -1))
		return 0;
	setting_restore(&r->hugetlb_pool);
	return -1;
}

/*
 * Far enough below the frames in use that no call made by a test reaches it;
 * region_write() makes the stack grow down to it.
 */
static inline int region_take_stack(struct region *r)
{
	uintptr_t top = (uintptr_t)__builtin_frame_address(0) - (1 << 20);

	r->addr = (char *)((top - r->size) & ~(r->page - 1));
	return 0;
}

/* Some kernels let it grow down to the stack pointer and no further. */
static __attribute__((noinline)) void grow_stack(const char *down_to)
{
	char *lowest = alloca((char *)__builtin_frame_address(0) - down_to);

	*lowest = 0;
	asm volatile("" : : "r" (lowest) : "memory");
}

static inline int region_take_heap(struct region *r)
{
	/* else malloc() would take another mapping for so much */
	mallopt(M_MMAP_THRESHOLD, 2 * r->size);
	r->addr = memalign(r->page, r->size);
	return r->addr ? 0 : -1;
}

static inline int region_map_kind(struct region *r)
{
	switch (r->kind) {
	case MEM_HUGETLB_PRIVATE:
		return region_map_hugetlb(r, MAP_PRIVATE);
	case MEM_HUGETLB_SHARED:
		return region_map_hugetlb(r, MAP_SHARED);
	case MEM_FILE_PRIVATE:
		return region_map_file(r, MAP_PRIVATE, unlinked_file());
	case MEM_MEMFD:
	case MEM_MEMFD_THP:
		return region_map_file(r, MAP_SHARED, memfd_create("mempinfd", MFD_CLOEXEC));
	case MEM_STACK:
		return region_take_stack(r);
	case MEM_HEAP:
		return region_take_heap(r);
	default:
		return region_map_at(r, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	}
}

/* Map at least @size bytes of a kind, writable, nothing touched yet. */
static inline int region_map(struct region *r, enum memory_kind kind, size_t size)
{
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->page = memory_kind_page(kind);
	if (!r->page) {
		errno = ENOTSUP;
		return -1;
	}
	r->size = (size + r->page - 1) & ~(r->page - 1);
	if (region_map_kind(r))
		return -1;

	if (kind == MEM_THP || kind == MEM_MTHP_64K || kind == MEM_MEMFD_THP)
		return madvise(r->addr, r->size, MADV_HUGEPAGE);
	/* fails where there are no huge pages to refuse: just as well */
	if (r->page == (size_t)sysconf(_SC_PAGESIZE))
		madvise(r->addr, r->size, MADV_NOHUGEPAGE);
	return 0;
}

static inline void region_unmap(struct region *r)
{
	if (r->kind == MEM_HEAP)
		free(r->addr);
	else if (r->kind != MEM_STACK)
		munmap(r->addr, r->size);
	setting_restore(&r->hugetlb_pool);
}

static inline int thp_setting(struct setting *s, size_t bytes, const char *what,
			      const char *value)
{
	char path[128];

	thp_setting_path(path, bytes, what);
	return setting_change(s, path, value);
}

/* Let a fault take a page of just the size that the kind asks for. */
static inline int thp_settings_for(enum memory_kind kind, struct setting s[2])
{
	s[0].path[0] = 0;
	s[1].path[0] = 0;
	switch (kind) {
	case MEM_THP:
		return thp_setting(&s[0], thp_size(), "enabled", "madvise");
	case MEM_MEMFD_THP:
		return thp_setting(&s[0], thp_size(), "shmem_enabled", "advise");
	case MEM_MTHP_64K:
		return thp_setting(&s[0], thp_pmd_size(), "enabled", "never") ?:
		       thp_setting(&s[1], mthp_64k_size(), "enabled", "madvise");
	default:
		return 0;
	}
}

static inline void region_write(const struct region *r, uint64_t seed)
{
	uint64_t *word = (uint64_t *)r->addr;
	size_t i;

	if (r->kind == MEM_STACK)
		grow_stack(r->addr);
	for (i = 0; i < r->size / sizeof(*word); i++)
		word[i] = seed ^ i;
}

/* Write a pattern into all of it; the pages get the size the kind promises. */
static inline int region_fill(const struct region *r, uint64_t seed)
{
	struct setting thp[2];
	int ret = thp_settings_for(r->kind, thp);

	if (!ret)
		region_write(r, seed);
	setting_restore(&thp[1]);
	setting_restore(&thp[0]);
	return ret;
}

/* Is it what region_fill() wrote? */
static inline bool region_holds(const struct region *r, uint64_t seed)
{
	const uint64_t *word = (const uint64_t *)r->addr;
	size_t i;

	for (i = 0; i < r->size / sizeof(*word); i++)
		if (word[i] != (seed ^ i))
			return false;
	return true;
}

/* Is every page of the region one page of the size its kind promises? */
static inline bool region_has_its_pages(const struct region *r)
{
	uint64_t wanted = KPAGE_FLAG(COMPOUND_HEAD);
	uint64_t tail = KPAGE_FLAG(COMPOUND_TAIL);
	size_t base = sysconf(_SC_PAGESIZE);
	char *addr;

	if (r->page == base)
		return true;
	for (addr = r->addr; addr < r->addr + r->size; addr += r->page) {
		uint64_t head = page_frame(addr);
		uint64_t last = page_frame(addr + r->page - base);

		if (!head || last != head + r->page / base - 1)
			return false;
		if (!(frame_flags(head) & wanted) || !(frame_flags(last) & tail))
			return false;
	}
	return true;
}

/* The page frames of a region, for free(); 0 where no page is present. */
static inline uint64_t *region_frames(const struct region *r)
{
	size_t i, n = region_base_pages(r);
	uint64_t *frames = calloc(n, sizeof(*frames));

	if (!frames)
		return NULL;
	if (pagemap_read(r->addr, n, frames)) {
		free(frames);
		return NULL;
	}
	for (i = 0; i < n; i++)
		frames[i] = frames[i] & PAGEMAP_PRESENT ? frames[i] & PAGEMAP_FRAME : 0;
	return frames;
}

/* How many base pages are not, or no longer, where region_frames() saw them? */
static inline size_t region_moved(const struct region *r, const uint64_t *before)
{
	size_t i, n = region_base_pages(r), moved = 0;
	uint64_t *now = region_frames(r);

	for (i = 0; i < n; i++)
		moved += !now || !now[i] || now[i] != before[i];
	free(now);
	return moved;
}

#endif /* MEMPINFD_MEM_H */
