// SPDX-License-Identifier: GPL-2.0
/* What can be pinned and what cannot: every kind of memory. */

#include "mempinfd_util.h"
#include "mempinfd_mem.h"

#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <linux/mempolicy.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SEED	0x6d656d70696e6664ULL
#define MEBI	((size_t)1 << 20)

/* Small for base pages, two pages for huge ones. */
static size_t kind_size(enum memory_kind kind)
{
	size_t page = memory_kind_page(kind);

	return page < MEBI ? MEBI : 2 * page;
}

/* Whether the kernel may write to @addr on our behalf.  Changes nothing. */
static bool can_write(char *addr)
{
	bool written = false;
	int fds[2];

	if (pipe(fds))
		return false;
	if (write(fds[1], addr, 1) == 1)
		written = read(fds[0], addr, 1) == 1;
	close(fds[0]);
	close(fds[1]);
	return written;
}

/* Pages that belong to this process alone, as those of a private pin must. */
static size_t count_own_pages(const struct region *r)
{
	size_t i, own = 0;

	for (i = 0; i < region_base_pages(r); i++) {
		uint64_t entry = pagemap_entry(r->addr + i * page_size());

		if (!(entry & PAGEMAP_PRESENT) || (entry & PAGEMAP_FILE))
			continue;
		own += !(frame_flags(entry & PAGEMAP_FRAME) & KPAGE_FLAG(ZERO_PAGE));
	}
	return own;
}

static size_t count_present_pages(const struct region *r)
{
	uint64_t *frames = region_frames(r);
	size_t i, present = 0;

	for (i = 0; frames && i < region_base_pages(r); i++)
		present += frames[i] != 0;
	free(frames);
	return present;
}

static bool is_private(enum memory_kind kind)
{
	return kind != MEM_MEMFD && kind != MEM_MEMFD_THP && kind != MEM_HUGETLB_SHARED;
}

/* ---- kinds that can be pinned ---- */

enum access { WRITABLE, READ_ONLY, MIXED };

FIXTURE(memory) {
	int fd;
	long long system_pins;
	struct region r;
	size_t pages;
};

FIXTURE_VARIANT(memory) {
	enum memory_kind kind;
	enum access access;
};

FIXTURE_VARIANT_ADD(memory, anon) { MEM_ANON, WRITABLE };
FIXTURE_VARIANT_ADD(memory, anon_read_only) { MEM_ANON, READ_ONLY };
FIXTURE_VARIANT_ADD(memory, anon_mixed) { MEM_ANON, MIXED };
FIXTURE_VARIANT_ADD(memory, thp) { MEM_THP, WRITABLE };
FIXTURE_VARIANT_ADD(memory, thp_read_only) { MEM_THP, READ_ONLY };
FIXTURE_VARIANT_ADD(memory, thp_mixed) { MEM_THP, MIXED };
FIXTURE_VARIANT_ADD(memory, mthp_64k) { MEM_MTHP_64K, WRITABLE };
FIXTURE_VARIANT_ADD(memory, mthp_64k_mixed) { MEM_MTHP_64K, MIXED };
FIXTURE_VARIANT_ADD(memory, hugetlb_private) { MEM_HUGETLB_PRIVATE, WRITABLE };
FIXTURE_VARIANT_ADD(memory, hugetlb_private_mixed) { MEM_HUGETLB_PRIVATE, MIXED };
FIXTURE_VARIANT_ADD(memory, hugetlb_shared) { MEM_HUGETLB_SHARED, WRITABLE };
FIXTURE_VARIANT_ADD(memory, hugetlb_shared_read_only) { MEM_HUGETLB_SHARED, READ_ONLY };
FIXTURE_VARIANT_ADD(memory, file_private) { MEM_FILE_PRIVATE, WRITABLE };
FIXTURE_VARIANT_ADD(memory, file_private_read_only) { MEM_FILE_PRIVATE, READ_ONLY };
FIXTURE_VARIANT_ADD(memory, file_private_mixed) { MEM_FILE_PRIVATE, MIXED };
FIXTURE_VARIANT_ADD(memory, memfd) { MEM_MEMFD, WRITABLE };
FIXTURE_VARIANT_ADD(memory, memfd_read_only) { MEM_MEMFD, READ_ONLY };
FIXTURE_VARIANT_ADD(memory, memfd_mixed) { MEM_MEMFD, MIXED };
FIXTURE_VARIANT_ADD(memory, memfd_thp) { MEM_MEMFD_THP, WRITABLE };
FIXTURE_VARIANT_ADD(memory, stack) { MEM_STACK, WRITABLE };
FIXTURE_VARIANT_ADD(memory, heap) { MEM_HEAP, WRITABLE };

/* Apply the variant's access, one mapping for each of the kind's pages. */
static int restrict_access(const struct region *r, enum access access)
{
	size_t at, step = access == MIXED ? 2 * r->page : r->page;

	if (access == WRITABLE)
		return 0;
	for (at = 0; at < r->size; at += step)
		if (mprotect(r->addr + at, r->page, PROT_READ))
			return -1;
	return 0;
}

static size_t count_writable(const struct region *r)
{
	size_t at, writable = 0;

	for (at = 0; at < r->size; at += r->page)
		writable += can_write(r->addr + at);
	return writable;
}

static size_t expect_writable(const struct region *r, enum access access)
{
	size_t n = r->size / r->page;

	return access == WRITABLE ? n : access == MIXED ? n / 2 : 0;
}

FIXTURE_SETUP(memory)
{
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, kind_size(variant->kind)));
	self->pages = region_base_pages(&self->r);
}

FIXTURE_TEARDOWN(memory)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, mprotect(self->r.addr, self->r.size, PROT_READ | PROT_WRITE));
	region_unmap(&self->r);
}

TEST_F(memory, contents_and_pages_stay)
{
	struct region *r = &self->r;
	uint64_t *frames;

	ASSERT_EQ(0, region_fill(r, SEED));
	ASSERT_TRUE(region_has_its_pages(r));
	ASSERT_EQ(0, restrict_access(r, variant->access));

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 1, self->pages);
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_EQ(expect_writable(r, variant->access), count_writable(r));
	frames = region_frames(r);
	ASSERT_TRUE(!!frames);

	/* a write, a new right to write included, goes to the pinned page */
	ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ | PROT_WRITE));
	region_write(r, ~SEED);
	EXPECT_EQ(0, region_moved(r, frames));

	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
	EXPECT_TRUE(region_holds(r, ~SEED));
	EXPECT_EQ(0, region_moved(r, frames));
	free(frames);
}

TEST_F(memory, untouched_is_faulted_in)
{
	struct region *r = &self->r;

	if (variant->kind == MEM_STACK) {
		/* it has not grown yet, and PIN does not make it grow */
		EXPECT_ERRNO(EFAULT, pin(self->fd, r->addr, r->size));
		EXPECT_PINNED(self->fd, 0, 0);
		region_write(r, SEED);
	}
	ASSERT_EQ(0, restrict_access(r, variant->access));

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 1, self->pages);
	EXPECT_EQ(self->pages, count_present_pages(r));
	if (is_private(variant->kind))
		EXPECT_EQ(self->pages, count_own_pages(r));

	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_F(memory, part_of_a_page)
{
	struct region *r = &self->r;
	char *last = r->addr + r->page - 1;

	ASSERT_EQ(0, region_fill(r, SEED));
	ASSERT_EQ(0, restrict_access(r, variant->access));

	/* the last byte of one page and the first of the next */
	ASSERT_EQ(0, pin(self->fd, last, 2));
	EXPECT_PINNED(self->fd, 1, 2);
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_EQ(0, unpin(self->fd, last, 2));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST(kinds_side_by_side)
{
	static const enum memory_kind kinds[] = {
		MEM_ANON, MEM_HUGETLB_SHARED, MEM_MEMFD, MEM_HUGETLB_PRIVATE, MEM_FILE_PRIVATE,
	};
	struct region r[ARRAY_SIZE(kinds)];
	size_t i, size = hugetlb_size();
	struct region whole;
	int fd;

	if (!size)
		SKIP(return, "no such memory here: hugetlb");
	fd = mempinfd();
	ASSERT_LE(0, fd);
	/* keeps a place aligned to huge pages until the others move in */
	ASSERT_EQ(0, region_map(&whole, MEM_HUGETLB_PRIVATE, ARRAY_SIZE(kinds) * size));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *at = whole.addr + i * size;

		ASSERT_EQ(0, region_map(&r[i], kinds[i], size));
		r[i].addr = mremap(r[i].addr, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		ASSERT_TRUE(r[i].addr == at);
		ASSERT_EQ(0, region_fill(&r[i], SEED + i));
	}

	ASSERT_EQ(0, pin(fd, whole.addr, whole.size));
	EXPECT_PINNED(fd, 1, whole.size / page_size());
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		EXPECT_TRUE(region_holds(&r[i], SEED + i));
	EXPECT_EQ(0, unpin(fd, whole.addr, whole.size));
	EXPECT_PINNED(fd, 0, 0);

	for (i = ARRAY_SIZE(kinds); i-- > 0; )
		region_unmap(&r[i]);
	setting_restore(&whole.hugetlb_pool);
}

TEST(write_only)
{
	char *addr = mmap(NULL, page_size(), PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	ASSERT_TRUE(addr != MAP_FAILED);
	EXPECT_EQ(0, pin(fd, addr, 1));
	EXPECT_PINNED(fd, 1, 1);
	EXPECT_EQ(0, unpin(fd, addr, 1));
	EXPECT_PINNED(fd, 0, 0);
}

/* ---- memory that was only read: the zero page ---- */

FIXTURE(zero_page) {
	int fd;
	long long system_pins;
	struct region r;
};

FIXTURE_VARIANT(zero_page) {
	enum memory_kind kind;
	enum access access;
};

FIXTURE_VARIANT_ADD(zero_page, small) { MEM_ANON, WRITABLE };
FIXTURE_VARIANT_ADD(zero_page, small_read_only) { MEM_ANON, READ_ONLY };
FIXTURE_VARIANT_ADD(zero_page, huge) { MEM_THP, WRITABLE };
FIXTURE_VARIANT_ADD(zero_page, huge_read_only) { MEM_THP, READ_ONLY };

static size_t count_zero_pages(const struct region *r)
{
	uint64_t *frames = region_frames(r);
	size_t i, zero = 0;

	for (i = 0; frames && i < region_base_pages(r); i++)
		zero += !!(frame_flags(frames[i]) & KPAGE_FLAG(ZERO_PAGE));
	free(frames);
	return zero;
}

static bool is_zero(const struct region *r)
{
	size_t i;

	for (i = 0; i < r->size; i += sizeof(uint64_t))
		if (*(uint64_t *)(r->addr + i))
			return false;
	return true;
}

FIXTURE_SETUP(zero_page)
{
	struct setting thp[2];

	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, kind_size(variant->kind)));
	ASSERT_EQ(0, restrict_access(&self->r, variant->access));

	ASSERT_EQ(0, thp_settings_for(variant->kind, thp));
	EXPECT_TRUE(is_zero(&self->r));
	setting_restore(&thp[0]);
	ASSERT_EQ(region_base_pages(&self->r), count_zero_pages(&self->r));
}

FIXTURE_TEARDOWN(zero_page)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	region_unmap(&self->r);
}

TEST_F(zero_page, is_replaced_by_own)
{
	struct region *r = &self->r;
	uint64_t *frames;

	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 1, region_base_pages(r));
	EXPECT_EQ(0, count_zero_pages(r));
	EXPECT_EQ(region_base_pages(r), count_own_pages(r));
	EXPECT_TRUE(is_zero(r));
	frames = region_frames(r);
	ASSERT_TRUE(!!frames);

	/* device and CPU must keep looking at the same page */
	ASSERT_EQ(0, mprotect(r->addr, r->size, PROT_READ | PROT_WRITE));
	region_write(r, SEED);
	EXPECT_EQ(0, region_moved(r, frames));
	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
	EXPECT_TRUE(region_holds(r, SEED));
	free(frames);
}

/* ---- memory that cannot be pinned ---- */

/*
 * Each maps something at an address where private memory is mapped so far, or
 * fails; ENODEV: this machine has none.
 */
static int map_nothing(char *at, size_t size)
{
	return munmap(at, size);
}

static int map_prot_none(char *at, size_t size)
{
	return mprotect(at, size, PROT_NONE);
}

/* Pages are there but must not be looked at. */
static int map_prot_none_touched(char *at, size_t size)
{
	memset(at, 1, size);
	return mprotect(at, size, PROT_NONE);
}

static int map_exec_only(char *at, size_t size)
{
	memset(at, 1, size);
	return mprotect(at, size, PROT_EXEC);
}

static int map_fixed(char *at, size_t size, int fd)
{
	char *addr;

	if (fd < 0)
		return -1;
	addr = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	close(fd);
	return addr == at ? 0 : -1;
}

static int map_past_end_of_file(char *at, size_t size)
{
	return map_fixed(at, size, memfd_create("mempinfd", MFD_CLOEXEC));
}

/* Not every architecture has the call, and a number that is none may kill. */
static int secret_file(void)
{
#ifdef __NR_memfd_secret
	return syscall(__NR_memfd_secret, O_CLOEXEC);
#else
	return -1;
#endif
}

static int map_secret(char *at, size_t size)
{
	int fd = secret_file();

	if (fd < 0) {
		errno = ENODEV;
		return -1;
	}
	if (ftruncate(fd, size) || map_fixed(at, size, fd))
		return -1;
	memset(at, 1, size);
	return 0;
}

/* The first lines of a PCI device's "resource" file are start, end, flags. */
static bool is_memory_bar(const char *resource0, size_t size)
{
	unsigned long long start, end, flags;
	char path[256], text[256];

	snprintf(path, sizeof(path), "%.*s", (int)strlen(resource0) - 1, resource0);
	if (read_text(path, text, sizeof(text)))
		return false;
	if (sscanf(text, "%llx %llx %llx", &start, &end, &flags) != 3)
		return false;
	return (flags & 0x200 /* IORESOURCE_MEM */) && end - start >= size - 1;
}

static int map_device(char *at, size_t size)
{
	int ret = -1;
	glob_t found;
	size_t i;

	if (glob("/sys/bus/pci/devices/*/resource0", 0, NULL, &found))
		found.gl_pathc = 0;
	errno = ENODEV;
	for (i = 0; ret && i < found.gl_pathc; i++)
		if (is_memory_bar(found.gl_pathv[i], size))
			ret = map_fixed(at, size, open(found.gl_pathv[i], O_RDWR | O_CLOEXEC));
	globfree(&found);
	return ret;
}

FIXTURE(refused) {
	int fd;
	long long system_pins;
	char *addr;
	size_t size;
};

FIXTURE_VARIANT(refused) {
	int (*map)(char *at, size_t size);
};

FIXTURE_VARIANT_ADD(refused, nothing) { map_nothing };
FIXTURE_VARIANT_ADD(refused, prot_none) { map_prot_none };
FIXTURE_VARIANT_ADD(refused, prot_none_touched) { map_prot_none_touched };
FIXTURE_VARIANT_ADD(refused, exec_only) { map_exec_only };
FIXTURE_VARIANT_ADD(refused, past_end_of_file) { map_past_end_of_file };
FIXTURE_VARIANT_ADD(refused, secret_memory) { map_secret };
FIXTURE_VARIANT_ADD(refused, device_memory) { map_device };

/* Two good pages, two of the variant's, where these may be, two good pages. */
FIXTURE_SETUP(refused)
{
	size_t before = 2 * page_size();
	char *middle;
	int ret;

	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	self->size = 6 * page_size();
	self->addr = mmap(NULL, self->size + SHMLBA, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->addr != MAP_FAILED);
	self->addr += -((uintptr_t)self->addr + before) % SHMLBA;
	middle = self->addr + before;
	ret = variant->map(middle, 2 * page_size());
	if (ret && errno == ENODEV)
		SKIP(return, "no such memory on this machine");
	ASSERT_EQ(0, ret) TH_LOG("errno %d", errno);
}

FIXTURE_TEARDOWN(refused)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, munmap(self->addr, self->size));
}

TEST_F(refused, as_a_whole)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->addr, self->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_F(refused, by_itself)
{
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->addr + 2 * page_size(), 1));
	EXPECT_ERRNO(EFAULT, pin(self->fd, self->addr + 4 * page_size() - 1, 1));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_F(refused, neighbours_are_fine)
{
	size_t size = 2 * page_size();

	EXPECT_EQ(0, pin(self->fd, self->addr, size));
	EXPECT_EQ(0, pin(self->fd, self->addr + 2 * size, size));
	EXPECT_PINNED(self->fd, 2, 4);
	EXPECT_EQ(0, unpin(self->fd, self->addr, size));
	EXPECT_EQ(0, unpin(self->fd, self->addr + 2 * size, size));
	EXPECT_PINNED(self->fd, 0, 0);
}

/* The start of a mapping of this process by its name in maps, or NULL. */
static char *find_mapping(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start = 0;
	char line[512];

	if (!maps)
		return NULL;
	while (!start && fgets(line, sizeof(line), maps))
		if (strstr(line, name))
			start = strtoul(line, NULL, 16);
	fclose(maps);
	return (char *)start;
}

/* Behind each mapping smaps has a line of its flags. */
static bool is_pfnmap(const char *name)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[512];

	if (!smaps)
		return false;
	while (!found && fgets(line, sizeof(line), smaps)) {
		here |= !!strstr(line, name);
		found = here && !strncmp(line, "VmFlags:", 8);
	}
	fclose(smaps);
	return found && strstr(line, " pf");
}

TEST(vm_pfnmap)
{
	char *vvar = find_mapping("[vvar]");
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	if (!vvar || !is_pfnmap("[vvar]"))
		SKIP(return, "no [vvar] mapping that is VM_PFNMAP, as in most processes");
	EXPECT_ERRNO(EFAULT, pin(fd, vvar, 1));
	EXPECT_PINNED(fd, 0, 0);
}

TEST(below_the_stack)
{
	char *stack = find_mapping("[stack]");
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	ASSERT_TRUE(!!stack);
	EXPECT_ERRNO(EFAULT, pin(fd, stack - page_size(), 2 * page_size()));
	EXPECT_PINNED(fd, 0, 0);
	EXPECT_TRUE(find_mapping("[stack]") == stack);
}

static void ignore_signal(int nr)
{
}

/* A page with a memory error: what GUP says of it is not ours to pass on. */
TEST(poisoned)
{
	char *addr = mmap(NULL, 3 * page_size(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction action = { .sa_handler = ignore_signal };
	int fd = mempinfd();

	ASSERT_LE(0, fd);
	ASSERT_TRUE(addr != MAP_FAILED);
	memset(addr, 1, 3 * page_size());
	/* who has the error injected is told of it */
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	if (madvise(addr + page_size(), page_size(), MADV_HWPOISON)) {
		ASSERT_EQ(EINVAL, errno);
		SKIP(return, "this kernel cannot handle memory errors");
	}
	EXPECT_ERRNO(EFAULT, pin(fd, addr, 3 * page_size()));
	EXPECT_PINNED(fd, 0, 0);
}

/* ---- files of a file system on a block device ---- */

FIXTURE(file) {
	int fd;
	long long system_pins;
	int file;
	size_t size;
};

FIXTURE_VARIANT(file) {
	const char *device;
	const char *options;
};

FIXTURE_VARIANT_ADD(file, ext2) { "/dev/ram0", NULL };
FIXTURE_VARIANT_ADD(file, ext2_dax) { "/dev/pmem0", "dax" };

static bool is_dax(int file)
{
	struct statx attributes;

	if (statx(file, "", AT_EMPTY_PATH, 0, &attributes))
		return false;
	return attributes.stx_attributes & STATX_ATTR_DAX;
}

static int make_ext2(const char *device)
{
	char command[128];

	snprintf(command, sizeof(command), "mke2fs -q -F -b %zu %s >/dev/null 2>&1",
		 page_size(), device);
	return system(command);
}

/* In a mount namespace of our own, which ends with the test. */
static int mount_ext2(const char *device, const char *options)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	mkdir("/mnt", 0755);
	if (!mount(device, "/mnt", "ext2", 0, options))
		return 0;
	return make_ext2(device) ?: mount(device, "/mnt", "ext2", 0, options);
}

static char *map_file(int file, size_t size, int prot, int flags)
{
	return mmap(NULL, size, prot, flags, file, 0);
}

/* Fault in for reading: what a pin must not be content with. */
static void read_pages(const char *addr, size_t size)
{
	size_t at;

	for (at = 0; at < size; at += page_size())
		touch(addr + at);
}

FIXTURE_SETUP(file)
{
	char data[4096];
	size_t at;

	if (access(variant->device, W_OK))
		SKIP(return, "no %s", variant->device);
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, mount_ext2(variant->device, variant->options));
	self->file = open("/mnt/file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(!!variant->options, is_dax(self->file));
	self->size = 4 * page_size();
	memset(data, 'x', sizeof(data));
	for (at = 0; at < self->size; at += sizeof(data))
		ASSERT_EQ(sizeof(data), write(self->file, data, sizeof(data)));
}

FIXTURE_TEARDOWN(file)
{
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	EXPECT_EQ(0, close(self->file));
	EXPECT_EQ(0, umount2("/mnt", MNT_DETACH));
}

/* Pin, or see it refused with @error: before and after a fault for reading. */
static void pin_file(struct __test_metadata *_metadata, int fd, char *addr,
		     size_t size, int error)
{
	size_t tries;

	ASSERT_TRUE(addr != MAP_FAILED);
	for (tries = 0; tries < 2; tries++) {
		int ret = pin(fd, addr, size);

		if (error) {
			EXPECT_EQ(-1, ret);
			EXPECT_EQ(error, errno);
			EXPECT_PINNED(fd, 0, 0);
		} else {
			ASSERT_EQ(0, ret);
			EXPECT_PINNED(fd, 1, size / page_size());
			EXPECT_EQ('x', addr[size - 1]);
			EXPECT_EQ(0, unpin(fd, addr, size));
		}
		read_pages(addr, size);
	}
	EXPECT_PINNED(fd, 0, 0);
}

TEST_F(file, shared_writable)
{
	char *addr = map_file(self->file, self->size, PROT_READ | PROT_WRITE, MAP_SHARED);

	pin_file(_metadata, self->fd, addr, self->size,
		 variant->options ? EOPNOTSUPP : EFAULT);
}

TEST_F(file, shared_read_only)
{
	char *addr = map_file(self->file, self->size, PROT_READ, MAP_SHARED);

	pin_file(_metadata, self->fd, addr, self->size, variant->options ? EOPNOTSUPP : 0);
}

TEST_F(file, private_writable)
{
	char *addr = map_file(self->file, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	pin_file(_metadata, self->fd, addr, self->size, variant->options ? EOPNOTSUPP : 0);
}

/* The file's pages can be written by others: a device must have its own. */
TEST_F(file, private_read_only)
{
	char *addr = map_file(self->file, self->size, PROT_READ, MAP_PRIVATE);

	pin_file(_metadata, self->fd, addr, self->size, variant->options ? EOPNOTSUPP : 0);
	if (variant->options)
		return;
	ASSERT_EQ(0, pin(self->fd, addr, self->size));
	EXPECT_EQ(0, pagemap_entry(addr) & PAGEMAP_FILE);
	EXPECT_EQ(1, pwrite(self->file, "y", 1, 0));
	EXPECT_EQ('x', *addr);
}

/* ---- NUMA hints ---- */

#define NUMA_DIR	"/sys/kernel/debug/sched/numa_balancing/"

FIXTURE(numa_hint) {
	int fd;
	long long system_pins;
	struct region r;
	struct setting balancing;
	struct setting delay;
	struct setting period;
};

FIXTURE_VARIANT(numa_hint) {
	enum memory_kind kind;
};

FIXTURE_VARIANT_ADD(numa_hint, anon) { MEM_ANON };
FIXTURE_VARIANT_ADD(numa_hint, thp) { MEM_THP };
FIXTURE_VARIANT_ADD(numa_hint, mthp_64k) { MEM_MTHP_64K };
FIXTURE_VARIANT_ADD(numa_hint, memfd) { MEM_MEMFD };

/* Balancing leaves alone what is on the node of a single-threaded process. */
static int fill_on_another_node(struct region *r)
{
	unsigned int cpu, node;
	unsigned long nodes;
	cpu_set_t cpus;
	int ret;

	if (syscall(__NR_getcpu, &cpu, &node, NULL))
		return -1;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return -1;
	nodes = node ? 1 : 2;
	if (syscall(__NR_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes)))
		return -1;
	ret = region_fill(r, SEED);
	return syscall(__NR_set_mempolicy, MPOL_DEFAULT, NULL, 0) ?: ret;
}

FIXTURE_SETUP(numa_hint)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one NUMA node only");
	if (!memory_kind_page(variant->kind))
		SKIP(return, "no such memory here: %s", missing_kind(variant->kind));
	self->system_pins = system_pins();
	self->fd = mempinfd();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map(&self->r, variant->kind, 2 * kind_size(variant->kind)));
	ASSERT_EQ(0, setting_change(&self->balancing, "/proc/sys/kernel/numa_balancing", "0"));
	EXPECT_EQ(0, fill_on_another_node(&self->r));
	EXPECT_EQ(0, setting_change(&self->delay, NUMA_DIR "scan_delay_ms", "10"));
	EXPECT_EQ(0, setting_change(&self->period, NUMA_DIR "scan_period_min_ms", "10"));
}

FIXTURE_TEARDOWN(numa_hint)
{
	setting_restore(&self->period);
	setting_restore(&self->delay);
	setting_restore(&self->balancing);
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(self->system_pins, system_pins());
	region_unmap(&self->r);
}

/* Run without touching the region until all of it has been scanned. */
static bool wait_for_hints(size_t pages)
{
	long long start = read_field("/proc/vmstat", "numa_pte_updates");
	time_t end = time(NULL) + 20;

	while (time(NULL) < end)
		if (read_field("/proc/vmstat", "numa_pte_updates") >= start + (long long)pages)
			return true;
	return false;
}

/* Faults taken by reading every second of the kind's pages, from @first on. */
static long touch_faults(const struct region *r, size_t first)
{
	struct rusage before, after;
	size_t at;

	getrusage(RUSAGE_SELF, &before);
	for (at = first * r->page; at < r->size; at += 2 * r->page)
		touch(r->addr + at);
	getrusage(RUSAGE_SELF, &after);
	return after.ru_minflt - before.ru_minflt;
}

TEST_F(numa_hint, is_resolved_by_pin)
{
	struct region *r = &self->r;

	EXPECT_EQ(0, touch_faults(r, 0));
	ASSERT_EQ(0, write_text(self->balancing.path, "1"));
	ASSERT_TRUE(wait_for_hints(region_base_pages(r)));
	ASSERT_EQ(0, write_text(self->balancing.path, "0"));

	/* the hints are there: half of the pages tell */
	ASSERT_LT(0, touch_faults(r, 0));
	ASSERT_EQ(0, pin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 1, region_base_pages(r));
	/* and they are gone: so does the other half */
	EXPECT_EQ(0, touch_faults(r, 1));
	EXPECT_TRUE(region_holds(r, SEED));
	EXPECT_EQ(0, unpin(self->fd, r->addr, r->size));
	EXPECT_PINNED(self->fd, 0, 0);
}

TEST_HARNESS_MAIN
