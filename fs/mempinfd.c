// SPDX-License-Identifier: GPL-2.0
/*
 * mempinfd(): pin user memory for the long term
 *
 * A device with shared virtual addressing walks the page table of the process.
 * Where an entry is missing it takes an I/O page fault, many times the cost of
 * a CPU fault.  mempinfd() gives a process an fd whose ioctls pin ranges of its
 * own address space, so that the pages stay present and where they are.
 *
 * Words
 *
 *   range  the pages that [addr, addr + size) touches, kept as the number of
 *          the first page (address >> PAGE_SHIFT) and a count of pages
 *   pin    what one successful MEM_CMD_PIN made; it lives until its UNPIN, the
 *          last close of the fd, or the end of the address space
 *   run    pages of a pin that are neighbours in physical memory (pfn, count)
 *   settle make sure, after pinning, that the page-table entries are as the
 *          device needs them and that others see the pins before they touch one
 *   charge pages counted against a user's RLIMIT_MEMLOCK (user->locked_vm) and
 *          shown as VmPin (mm->pinned_vm)
 *
 * Structure
 *
 *   struct mempinfd_owner    one for each address space that has fds
 *     struct mempinfd_ctx    one for each fd: owner, user, counters
 *       ctx->pins            xarray, indexed by the first page of the range;
 *                            an entry is the newest of a ring of pins
 *         struct mempin      one pin: count of pages, its runs
 *           full             list of chunks, each filled with runs
 *           run[]            the runs behind those in the chunks
 *
 * A pin does not remember how many runs it has: they end where their counts
 * add up to its pages.  A lone page thus costs 32 bytes and its slot.
 *
 * Invariants
 *
 *   - Every page of every pin in ctx->pins holds one FOLL_PIN reference for
 *     each time it occurs there, and has been charged once for each.
 *   - A pin is charged before its first page is touched and uncharged after
 *     its last page is let go, always to ctx->user and ctx->mm.
 *   - A pin is either in ctx->pins or owned by exactly one thread, which is
 *     building or undoing it.  Nothing of ours is locked across a page fault.
 *   - Undoing a pin allocates nothing and cannot fail.
 *
 * Lifetime
 *
 *   An fd holds its address space with mmgrab(), never mmget(): the process
 *   can go while somebody else keeps the fd.  An mmu_notifier, one for all fds
 *   of an address space, tells when that ends; its pins are undone right
 *   there.  PIN and UNPIN ask for current->mm == ctx->mm, and that is a running
 *   thread of the address space: neither can meet its end, nor succeed after.
 *
 * Locking
 *
 *   owner->lock -> ctx->lock -> memory allocation, the xarray's own lock
 *
 *   Nothing is pinned with either held.  At the end of the address space both
 *   are taken inside the SRCU of all mmu_notifiers, as it is for everybody.
 *   Settling takes mmap_lock -> hugetlb_vma_lock -> page-table lock.
 */

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <linux/sysctl.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>
#include <uapi/linux/mempinfd.h>

#define CREATE_TRACE_POINTS
#include <trace/events/mempinfd.h>

/* Pages given to GUP at a time: its array of pointers fits a 4 KiB page. */
#define MEMPIN_BATCH		512

/* Ranges up to this are built on the stack: 64 KiB, wherever it begins. */
#define MEMPIN_SMALL		17

/*
 * A folio counts its references in an int, a small one 1024 for each pin.
 * Refuse at half of it: what is left is room for the batches that other
 * threads have added and not yet looked at.
 */
#define MEMPIN_MAX_REFS		(INT_MAX / 2)

static int sysctl_unprivileged_mempinfd __read_mostly;

/**
 * struct mempinfd_owner - an address space that has fds
 * @notifier: tells when it ends; holds it, and counts the fds
 * @lock: protects @fds, and keeps them from being freed
 * @fds: struct mempinfd_ctx of the open ones
 */
struct mempinfd_owner {
	struct mmu_notifier notifier;
	struct mutex lock; /* fds */
	struct list_head fds;
};

/**
 * struct mempinfd_ctx - what an fd stands for
 * @mm: address space whose memory is pinned; fixed
 * @user: who is charged; fixed
 * @owner: what all fds of @mm share
 * @node: in @owner->fds
 * @lock: taken killably, but where pins are undone
 * @pins: newest pin of each first page
 * @nr_pins: pins alive
 * @nr_pages: pages of these pins
 * @nr_charged: pages charged: @nr_pages and those of pins being built
 */
struct mempinfd_ctx {
	struct mm_struct *mm;
	struct user_struct *user;
	struct mempinfd_owner *owner;
	struct list_head node;
	struct mutex lock; /* pins, the rings in it, writing nr_pins, nr_pages */
	struct xarray pins;
	unsigned long nr_pins;
	unsigned long nr_pages;
	atomic_long_t nr_charged;
};

struct mempin_range {
	unsigned long first;
	unsigned long nr_pages;
};

struct mempin_run {
	u64 pfn	: 48;
	u64 nr	: 16;
};

/* A run is unpinned, and its pages perhaps freed, without rescheduling. */
#define MEMPIN_RUN_MAX		4096

struct mempin_chunk {
	struct mempin_chunk *next;
	struct mempin_run run[];
};

/**
 * struct mempin - one pin
 * @next: the next younger pin of the same first page; the newest has the
 *	oldest here, so that both ends of the ring are one step away
 * @nr_pages: pages in the range
 * @full: chunks of MEMPIN_CHUNK_RUNS runs each
 * @run: the other runs
 */
struct mempin {
	struct mempin *next;
	unsigned long nr_pages;
	struct mempin_chunk *full;
	struct mempin_run run[];
};

/* So that a chunk, and a pin with as many runs, fit one page. */
#define MEMPIN_CHUNK_RUNS \
	((PAGE_SIZE - sizeof(struct mempin)) / sizeof(struct mempin_run))

/**
 * struct mempin_draft - a pin while it is being built
 * @nr_pages: pages pinned so far
 * @full: chunks that are full
 * @chunk: chunk being filled, if the range is not small
 * @run: the runs not in @full; they stand in @chunk or in @small_run
 * @nr_runs: how many of @run are used
 * @max_runs: how many there can be
 * @batch: pages to ask GUP for at a time
 * @pages: room for them, allocated or @small_page
 * @small_run: room for the runs of a small range
 * @small_page: room for its pages
 */
struct mempin_draft {
	unsigned long nr_pages;
	struct mempin_chunk *full;
	struct mempin_chunk *chunk;
	struct mempin_run *run;
	unsigned int nr_runs;
	unsigned int max_runs;
	unsigned int batch;
	struct page **pages;
	struct mempin_run small_run[MEMPIN_SMALL];
	struct page *small_page[MEMPIN_SMALL];
};

/* ------------------------------ ranges ------------------------------ */

/* A word too narrow for the address cannot hold a tag either. */
static u64 mempin_untag(u64 addr)
{
	unsigned long word = addr;

	return word == addr ? untagged_addr(word) : addr;
}

/*
 * All arithmetic is done in 64 bits and inclusive of the last byte: nothing is
 * cut on a 32-bit kernel, and a range may end where the address space does.
 */
static int mempin_range_init(struct mempin_range *range, u64 addr, u64 size,
			     u64 task_size)
{
	u64 last;

	if (!size || check_add_overflow(addr, size - 1, &last))
		return -EINVAL;
	if (last >= task_size)
		return -EFAULT;

	range->first = addr >> PAGE_SHIFT;
	range->nr_pages = (last >> PAGE_SHIFT) - range->first + 1;
	return 0;
}

/* ----------------------------- charging ----------------------------- */

static unsigned long mempinfd_rlimit(void)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK);

	return limit == RLIM_INFINITY ? ULONG_MAX : limit >> PAGE_SHIFT;
}

/*
 * The limit is the caller's, the count is that of the user who made the fd.
 * CAP_IPC_LOCK lifts the limit, not the counting, and is asked for only where
 * the limit would be passed.
 */
static int mempinfd_charge(struct mempinfd_ctx *ctx, unsigned long nr)
{
	unsigned long limit = mempinfd_rlimit();
	long old = atomic_long_read(&ctx->user->locked_vm);
	long new;

	do {
		if (check_add_overflow(old, nr, &new))
			return -ENOMEM;
		if (new > limit && !capable(CAP_IPC_LOCK))
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&ctx->user->locked_vm, &old, new));

	atomic64_add(nr, &ctx->mm->pinned_vm);
	atomic_long_add(nr, &ctx->nr_charged);
	return 0;
}

static void mempinfd_uncharge(struct mempinfd_ctx *ctx, unsigned long nr)
{
	atomic_long_sub(nr, &ctx->nr_charged);
	atomic64_sub(nr, &ctx->mm->pinned_vm);
	atomic_long_sub(nr, &ctx->user->locked_vm);
}

/* What a PIN by the caller would be held to; ULONG_MAX is no limit. */
static unsigned long mempinfd_limit(void)
{
	if (ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK))
		return ULONG_MAX;
	return mempinfd_rlimit();
}

/* ---------------------------- building a pin ---------------------------- */

/* Make room for more runs.  A small draft never comes here. */
static int mempin_draft_grow(struct mempin_draft *draft)
{
	struct mempin_chunk *chunk;

	chunk = kmalloc(struct_size(chunk, run, MEMPIN_CHUNK_RUNS),
			GFP_KERNEL_ACCOUNT);
	if (!chunk)
		return -ENOMEM;

	if (draft->chunk) {
		draft->chunk->next = draft->full;
		draft->full = draft->chunk;
	}
	draft->chunk = chunk;
	draft->run = chunk->run;
	draft->nr_runs = 0;
	draft->max_runs = MEMPIN_CHUNK_RUNS;
	return 0;
}

static int mempin_draft_init(struct mempin_draft *draft,
			     unsigned long nr_pages)
{
	draft->nr_pages = 0;
	draft->full = NULL;
	draft->chunk = NULL;
	draft->run = draft->small_run;
	draft->nr_runs = 0;
	draft->max_runs = MEMPIN_SMALL;
	draft->batch = MEMPIN_SMALL;
	draft->pages = draft->small_page;
	if (nr_pages <= MEMPIN_SMALL)
		return 0;

	draft->batch = MEMPIN_BATCH;
	draft->pages = kmalloc_array(MEMPIN_BATCH, sizeof(*draft->pages),
				     GFP_KERNEL);
	if (!draft->pages)
		return -ENOMEM;
	return mempin_draft_grow(draft);
}

/* Free the room of a draft.  The pages and full chunks live on in the pin. */
static void mempin_draft_end(struct mempin_draft *draft)
{
	kfree(draft->chunk);
	if (draft->pages != draft->small_page)
		kfree(draft->pages);
}

static bool mempin_run_continues(const struct mempin_run *run,
				 unsigned long pfn)
{
	return run->pfn + run->nr == pfn && run->nr < MEMPIN_RUN_MAX;
}

static int mempin_draft_add_pfn(struct mempin_draft *draft, unsigned long pfn)
{
	struct mempin_run *run = draft->run + draft->nr_runs;
	int ret;

	if (draft->nr_runs && mempin_run_continues(run - 1, pfn)) {
		run[-1].nr++;
	} else {
		if (draft->nr_runs == draft->max_runs) {
			ret = mempin_draft_grow(draft);
			if (ret)
				return ret;
		}
		draft->run[draft->nr_runs++] =
			(struct mempin_run) { .pfn = pfn, .nr = 1 };
	}
	draft->nr_pages++;
	return 0;
}

/* Hand one pinned page to the draft.  On error it stays the caller's. */
static int mempin_draft_add(struct mempin_draft *draft, struct page *page)
{
	if (folio_ref_count(page_folio(page)) > MEMPIN_MAX_REFS)
		return -ENOMEM;
	return mempin_draft_add_pfn(draft, page_to_pfn(page));
}

/* ------------------------------ settling ------------------------------ */

/*
 * A pin keeps the page; the device needs the page-table entry.  Whoever would
 * change an entry of the range for housekeeping looks for pins first, under
 * the lock of that change: the page-table lock, or mmap_lock for collapse.
 * But GUP-fast takes no lock: it can pin a page between that look and the
 * change, and return.
 *
 * So, after the pins are visible, take each of these locks once and read the
 * entries again.  A change that was made before is seen here: the page is let
 * go and pinned anew.  One that comes after sees the pin, because our unlock
 * comes before its lock.
 *
 * While there, set the accessed bit and, in writable entries, the dirty bit:
 * not every IOMMU can, and would fault for it.
 *
 * Another thread that keeps changing the mapping keeps its own process in
 * here, rescheduling, until a fatal signal.
 */

/*
 * The "dirty" argument of ptep_set_access_flags(): without it x86 leaves the
 * entry to the hardware, which sets the bits as it goes.
 */
#define MEMPIN_SET_ALWAYS	1

struct mempin_settle {
	unsigned long start;
	struct page **pages;
	unsigned long nr_settled;
	bool write;
};

static bool mempin_settle_maps(const struct mempin_settle *settle,
			       unsigned long addr, unsigned long pfn)
{
	struct page *page = settle->pages[(addr - settle->start) >> PAGE_SHIFT];

	return pfn == page_to_pfn(page);
}

static bool mempin_settle_pte(const struct mempin_settle *settle,
			      struct vm_area_struct *vma, unsigned long addr,
			      pte_t *ptep)
{
	pte_t pte = ptep_get(ptep);

	if (!pte_present(pte) || pte_protnone(pte) ||
	    (settle->write && !pte_write(pte)) ||
	    !mempin_settle_maps(settle, addr, pte_pfn(pte)))
		return false;

	pte = pte_mkyoung(pte);
	if (pte_write(pte))
		pte = pte_mkdirty(pte);
	if (ptep_set_access_flags(vma, addr, ptep, pte, MEMPIN_SET_ALWAYS))
		update_mmu_cache(vma, addr, ptep);
	return true;
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
/* One entry, one folio: if the first page is where it was, all are. */
static bool mempin_settle_huge(const struct mempin_settle *settle,
			       struct vm_area_struct *vma, unsigned long addr,
			       pmd_t *pmdp)
{
	unsigned long offset = (addr & ~HPAGE_PMD_MASK) >> PAGE_SHIFT;
	pmd_t pmd = pmdp_get(pmdp);

	if (!pmd_present(pmd) || pmd_protnone(pmd) ||
	    (settle->write && !pmd_write(pmd)) ||
	    !mempin_settle_maps(settle, addr, pmd_pfn(pmd) + offset))
		return false;

	pmd = pmd_mkyoung(pmd);
	if (pmd_write(pmd))
		pmd = pmd_mkdirty(pmd);
	if (pmdp_set_access_flags(vma, addr & HPAGE_PMD_MASK, pmdp, pmd,
				  MEMPIN_SET_ALWAYS))
		update_mmu_cache_pmd(vma, addr, pmdp);
	return true;
}
#else
static bool mempin_settle_huge(const struct mempin_settle *settle,
			       struct vm_area_struct *vma, unsigned long addr,
			       pmd_t *pmdp)
{
	return false;
}
#endif

static int mempin_settle_pmd_entry(pmd_t *pmd, unsigned long addr,
				   unsigned long end, struct mm_walk *walk)
{
	struct mempin_settle *settle = walk->private;
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, walk->vma);
	pte_t *start, *pte;
	bool settled = false;

	if (ptl) {
		settled = mempin_settle_huge(settle, walk->vma, addr, pmd);
		spin_unlock(ptl);
		if (settled)
			settle->nr_settled += (end - addr) >> PAGE_SHIFT;
		return !settled;
	}

	start = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!start) {
		walk->action = ACTION_AGAIN;
		return 0;
	}
	for (pte = start; addr != end; pte++, addr += PAGE_SIZE) {
		settled = mempin_settle_pte(settle, walk->vma, addr, pte);
		if (!settled)
			break;
		settle->nr_settled++;
	}
	pte_unmap_unlock(start, ptl);
	return !settled;
}

/* Huge entries of this size map device memory only, which stays as it is. */
static int mempin_settle_pud_entry(pud_t *pud, unsigned long addr,
				   unsigned long end, struct mm_walk *walk)
{
	struct mempin_settle *settle = walk->private;

	if (pud_trans_huge(*pud) || pud_devmap(*pud)) {
		settle->nr_settled += (end - addr) >> PAGE_SHIFT;
		walk->action = ACTION_CONTINUE;
	}
	return 0;
}

#ifdef CONFIG_HUGETLB_PAGE
static int mempin_settle_hugetlb_entry(pte_t *ptep, unsigned long hmask,
				       unsigned long addr, unsigned long end,
				       struct mm_walk *walk)
{
	struct mempin_settle *settle = walk->private;
	struct vm_area_struct *vma = walk->vma;
	unsigned long offset = (addr & ~hmask) >> PAGE_SHIFT;
	spinlock_t *ptl = huge_pte_lock(hstate_vma(vma), walk->mm, ptep);
	bool settled = false;
	pte_t pte;

	pte = huge_ptep_get(walk->mm, addr & hmask, ptep);
	if (pte_present(pte) && (!settle->write || huge_pte_write(pte)) &&
	    mempin_settle_maps(settle, addr, pte_pfn(pte) + offset)) {
		pte = pte_mkyoung(pte);
		if (huge_pte_write(pte))
			pte = huge_pte_mkdirty(pte);
		if (huge_ptep_set_access_flags(vma, addr & hmask, ptep, pte,
					       MEMPIN_SET_ALWAYS))
			update_mmu_cache(vma, addr & hmask, ptep);
		settle->nr_settled += (end - addr) >> PAGE_SHIFT;
		settled = true;
	}
	spin_unlock(ptl);
	return !settled;
}
#else
#define mempin_settle_hugetlb_entry	NULL
#endif

static int mempin_settle_hole(unsigned long addr, unsigned long end, int depth,
			      struct mm_walk *walk)
{
	return 1;
}

static const struct mm_walk_ops mempin_settle_ops = {
	.pud_entry	= mempin_settle_pud_entry,
	.pmd_entry	= mempin_settle_pmd_entry,
	.pte_hole	= mempin_settle_hole,
	.hugetlb_entry	= mempin_settle_hugetlb_entry,
	.walk_lock	= PGWALK_RDLOCK,
};

/* Returns how many of the @nr pages from @start on are settled. */
static int mempin_settle(unsigned long start, int nr, struct page **pages,
			 bool write)
{
	struct mempin_settle settle = {
		.start = start, .pages = pages, .write = write,
	};
	struct mm_struct *mm = current->mm;

	if (mmap_read_lock_killable(mm))
		return 0;
	walk_page_range(mm, start, start + ((unsigned long)nr << PAGE_SHIFT),
			&mempin_settle_ops, &settle);
	mmap_read_unlock(mm);
	return settle.nr_settled;
}

/* -------------------------- pinning a range -------------------------- */

/* GUP has more errors than the interface. */
static int mempin_errno(long err)
{
	if (fatal_signal_pending(current))
		return -EINTR;

	switch (err) {
	case -ENOMEM:
	case -EOPNOTSUPP:
		return err;
	case -EBUSY: /* the page could not be moved to where it may stay */
		return -ENOMEM;
	default:
		return -EFAULT;
	}
}

/*
 * What the mapping at @start allows decides how its pages are pinned; lowers
 * @nr to what that mapping covers.
 *
 * Asking first also keeps GUP away from holes.  It warns in the log, once an
 * hour, of one just below a stack.  A thread that unmaps what lies there after
 * this look can still bring that about, as with any other user of GUP.
 *
 * GUP-fast knows no mappings: an executable one that is not readable has to be
 * refused here.
 */
static int mempin_access(unsigned long start, unsigned long *nr,
			 unsigned int *gup_flags)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int ret = -EFAULT;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = vma_lookup(mm, start);
	if (vma && (vma->vm_flags & (VM_READ | VM_WRITE))) {
		*nr = min(*nr, (vma->vm_end - start) >> PAGE_SHIFT);
		if (vma->vm_flags & VM_WRITE)
			*gup_flags |= FOLL_WRITE;
		ret = 0;
	}
	mmap_read_unlock(mm);
	return ret;
}

/*
 * Pin the pages that come next, as many as fit a batch, lie in one mapping and
 * settle: none may, and the caller comes again.
 * Waiting for a userfaultfd monitor, or for swap, happens in here.
 */
static int mempin_draft_batch(struct mempin_draft *draft,
			      const struct mempin_range *range)
{
	unsigned long start = (range->first + draft->nr_pages) << PAGE_SHIFT;
	unsigned long nr = range->nr_pages - draft->nr_pages;
	unsigned int gup_flags = FOLL_LONGTERM | FOLL_HONOR_NUMA_FAULT;
	int pinned, settled, i = 0, ret = 0;

	nr = min(nr, draft->batch);
	ret = mempin_access(start, &nr, &gup_flags);
	if (ret)
		return ret;

	pinned = pin_user_pages_fast(start, nr, gup_flags, draft->pages);
	if (pinned <= 0)
		return mempin_errno(pinned);

	settled = mempin_settle(start, pinned, draft->pages,
				gup_flags & FOLL_WRITE);
	while (i < settled) {
		ret = mempin_draft_add(draft, draft->pages[i]);
		if (ret)
			break;
		i++;
	}
	unpin_user_pages(draft->pages + i, pinned - i);
	return ret;
}

static int mempin_draft_range(struct mempin_draft *draft,
			      const struct mempin_range *range)
{
	int ret;

	while (draft->nr_pages < range->nr_pages) {
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = mempin_draft_batch(draft, range);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

/* ---------------------------- undoing a pin ---------------------------- */

/*
 * Unpin the pages of @run until @nr_pages have been; returns how many of
 * @nr_pages were not among the first @nr_runs runs.
 *
 * The pages are not marked dirty, as other users of FOLL_WRITE have to: what
 * the device wrote went through the page-table entry, which was made dirty when
 * it settled.  If the owner has it cleaned later, a write by the device sets
 * the bit again, or faults.
 *  - An anonymous page: reclaim takes the dirty bit from the entry when it
 *    unmaps, and frees no page, lazily freed or not, while that is pinned.
 *  - A shmem page: the same; and munmap() moves the dirty bit to the folio
 *    after the device lost the entry and with it the way to the page.
 *  - A hugetlb page is never written back.
 *  - Other shared writable files cannot be pinned for the long term.
 */
static unsigned long mempin_unpin_runs(const struct mempin_run *run,
				       unsigned long nr_runs,
				       unsigned long nr_pages)
{
	for (; nr_pages && nr_runs; run++, nr_runs--) {
		unpin_user_page_range_dirty_lock(pfn_to_page(run->pfn),
						 run->nr, false);
		nr_pages -= run->nr;
		cond_resched();
	}
	return nr_pages;
}

static void mempin_unpin(struct mempin_chunk *full,
			 const struct mempin_run *run, unsigned long nr_pages)
{
	struct mempin_chunk *next;

	for (; full; full = next) {
		nr_pages = mempin_unpin_runs(full->run, MEMPIN_CHUNK_RUNS,
					     nr_pages);
		next = full->next;
		kfree(full);
	}
	mempin_unpin_runs(run, ULONG_MAX, nr_pages);
}

/* Undo a pin that is, or is no longer, in ctx->pins. */
static void mempin_undo(struct mempinfd_ctx *ctx, struct mempin *pin)
{
	mempin_unpin(pin->full, pin->run, pin->nr_pages);
	mempinfd_uncharge(ctx, pin->nr_pages);
	kfree(pin);
}

/* Pin a whole range that has been charged, or nothing of it. */
static struct mempin *mempin_create(const struct mempin_range *range)
{
	struct mempin_draft draft;
	struct mempin *pin = NULL;
	int ret;

	ret = mempin_draft_init(&draft, range->nr_pages);
	if (!ret)
		ret = mempin_draft_range(&draft, range);
	if (!ret) {
		pin = kmalloc(struct_size(pin, run, draft.nr_runs),
			      GFP_KERNEL_ACCOUNT);
		if (!pin)
			ret = -ENOMEM;
	}
	if (ret) {
		mempin_unpin(draft.full, draft.run, draft.nr_pages);
	} else {
		pin->nr_pages = draft.nr_pages;
		pin->full = draft.full;
		memcpy(pin->run, draft.run,
		       flex_array_size(pin, run, draft.nr_runs));
	}
	mempin_draft_end(&draft);
	return ret ? ERR_PTR(ret) : pin;
}

/* ------------------------- the pins of an fd ------------------------- */

static int mempinfd_insert(struct mempinfd_ctx *ctx, unsigned long first,
			   struct mempin *pin)
{
	struct mempin *newest;
	int ret;

	if (mutex_lock_killable(&ctx->lock))
		return -EINTR;
	newest = xa_load(&ctx->pins, first);
	pin->next = newest ? newest->next : pin;
	ret = xa_err(xa_store(&ctx->pins, first, pin, GFP_KERNEL_ACCOUNT));
	if (!ret) {
		if (newest)
			newest->next = pin;
		WRITE_ONCE(ctx->nr_pins, ctx->nr_pins + 1);
		WRITE_ONCE(ctx->nr_pages, ctx->nr_pages + pin->nr_pages);
	}
	mutex_unlock(&ctx->lock);
	return ret;
}

/* Take the pin behind @prev out of its ring, which @newest stands for. */
static void mempinfd_unlink(struct mempinfd_ctx *ctx, unsigned long first,
			    struct mempin *newest, struct mempin *prev)
{
	struct mempin *pin = prev->next;

	lockdep_assert_held(&ctx->lock);

	prev->next = pin->next;
	if (prev == pin)
		xa_erase(&ctx->pins, first);
	else if (pin == newest)
		xa_store(&ctx->pins, first, prev, 0); /* replaces: no memory */
	WRITE_ONCE(ctx->nr_pins, ctx->nr_pins - 1);
	WRITE_ONCE(ctx->nr_pages, ctx->nr_pages - pin->nr_pages);
}

/* Take out the oldest pin of exactly @range. */
static struct mempin *mempinfd_remove(struct mempinfd_ctx *ctx,
				      const struct mempin_range *range)
{
	struct mempin *newest, *prev, *pin = NULL;

	if (mutex_lock_killable(&ctx->lock))
		return ERR_PTR(-EINTR);
	newest = xa_load(&ctx->pins, range->first);
	prev = newest;
	while (prev) {
		if (prev->next->nr_pages == range->nr_pages) {
			pin = prev->next;
			mempinfd_unlink(ctx, range->first, newest, prev);
			break;
		}
		prev = prev->next == newest ? NULL : prev->next;
		cond_resched();
	}
	mutex_unlock(&ctx->lock);
	return pin ?: ERR_PTR(-ENOENT);
}

/* Nobody can add a pin any more, or will: the fd or its owner is going. */
static void mempinfd_undo_all(struct mempinfd_ctx *ctx)
{
	struct mempin *newest, *pin;
	unsigned long first;
	bool last;

	mutex_lock(&ctx->lock);
	xa_for_each(&ctx->pins, first, newest) {
		do {
			pin = newest->next;
			last = pin == newest;
			mempinfd_unlink(ctx, first, newest, newest);
			mempin_undo(ctx, pin);
		} while (!last);
	}
	mutex_unlock(&ctx->lock);
}

/* ------------------------------ the fd ------------------------------ */

static int mempinfd_pin(struct mempinfd_ctx *ctx,
			const struct mempin_range *range)
{
	struct mempin *pin;
	int ret;

	if (!can_do_mlock())
		return -EPERM;
	ret = mempinfd_charge(ctx, range->nr_pages);
	if (ret)
		return ret;

	pin = mempin_create(range);
	if (IS_ERR(pin)) {
		mempinfd_uncharge(ctx, range->nr_pages);
		return PTR_ERR(pin);
	}
	ret = mempinfd_insert(ctx, range->first, pin);
	if (ret)
		mempin_undo(ctx, pin);
	return ret;
}

static int mempinfd_unpin(struct mempinfd_ctx *ctx,
			  const struct mempin_range *range)
{
	struct mempin *pin = mempinfd_remove(ctx, range);

	if (IS_ERR(pin))
		return PTR_ERR(pin);
	mempin_undo(ctx, pin);
	return 0;
}

static long mempinfd_pin_unpin(struct mempinfd_ctx *ctx, unsigned int cmd,
			       const struct mem_pin_address __user *uarg)
{
	struct mempin_range range;
	struct mem_pin_address arg;
	int ret;

	if (current->mm != ctx->mm)
		return -EXDEV;
	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;

	ret = mempin_range_init(&range, mempin_untag(arg.addr), arg.size,
				ctx->mm->task_size);
	if (cmd == MEM_CMD_PIN) {
		if (!ret)
			ret = mempinfd_pin(ctx, &range);
		trace_mempin_pin(arg.addr, arg.size, ret);
	} else {
		if (!ret)
			ret = mempinfd_unpin(ctx, &range);
		trace_mempin_unpin(arg.addr, arg.size, ret);
	}
	return ret;
}

static long mempinfd_info(struct mempinfd_ctx *ctx,
			  struct mem_pin_info __user *uinfo)
{
	unsigned long limit = mempinfd_limit();
	struct mem_pin_info info;
	u32 size;
	int ret;

	BUILD_BUG_ON(sizeof(info) != MEM_PIN_INFO_SIZE_VER0);

	if (get_user(size, &uinfo->size))
		return -EFAULT;
	if (size < MEM_PIN_INFO_SIZE_VER0)
		return -EINVAL;
	ret = copy_struct_from_user(&info, sizeof(info), uinfo, size);
	if (ret)
		return ret;
	if (info.flags || info.reserved)
		return -EINVAL;

	info = (struct mem_pin_info) {
		.size = sizeof(info),
		.pins = READ_ONCE(ctx->nr_pins),
		.pinned_pages = READ_ONCE(ctx->nr_pages),
		.charged_pages = atomic_long_read(&ctx->nr_charged),
		.limit_pages = limit == ULONG_MAX ? U64_MAX : limit,
		.page_size = PAGE_SIZE,
	};
	/* The caller's struct is at least this long: see the first check. */
	return copy_to_user(uinfo, &info, sizeof(info)) ? -EFAULT : 0;
}

static long mempinfd_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct mempinfd_ctx *ctx = file->private_data;

	switch (cmd) {
	case MEM_CMD_PIN:
	case MEM_CMD_UNPIN:
		return mempinfd_pin_unpin(ctx, cmd, (void __user *)arg);
	case MEM_CMD_INFO:
		return mempinfd_info(ctx, (void __user *)arg);
	default:
		return -ENOTTY;
	}
}

#ifdef CONFIG_PROC_FS
static void mempinfd_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct mempinfd_ctx *ctx = file->private_data;

	seq_printf(m, "pins:\t%lu\n", READ_ONCE(ctx->nr_pins));
	seq_printf(m, "pinned_pages:\t%lu\n", READ_ONCE(ctx->nr_pages));
	seq_printf(m, "charged_pages:\t%ld\n",
		   atomic_long_read(&ctx->nr_charged));
	seq_printf(m, "uid:\t%u\n",
		   from_kuid_munged(seq_user_ns(m), ctx->user->uid));
}
#endif

static void mempinfd_free(struct mempinfd_ctx *ctx)
{
	struct mempinfd_owner *owner = ctx->owner;

	/* From here on the end of the address space does not find it. */
	mutex_lock(&owner->lock);
	list_del(&ctx->node);
	mutex_unlock(&owner->lock);

	mempinfd_undo_all(ctx);
	mmu_notifier_put(&owner->notifier); /* may drop ctx->mm */
	free_uid(ctx->user);
	kfree(ctx);
}

static int mempinfd_release(struct inode *inode, struct file *file)
{
	mempinfd_free(file->private_data);
	return 0;
}

static const struct file_operations mempinfd_fops = {
#ifdef CONFIG_PROC_FS
	.show_fdinfo	= mempinfd_show_fdinfo,
#endif
	.release	= mempinfd_release,
	.unlocked_ioctl	= mempinfd_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.llseek		= noop_llseek,
};

static struct mmu_notifier *mempinfd_alloc_owner(struct mm_struct *mm)
{
	struct mempinfd_owner *owner;

	owner = kmalloc(sizeof(*owner), GFP_KERNEL_ACCOUNT);
	if (!owner)
		return ERR_PTR(-ENOMEM);
	mutex_init(&owner->lock);
	INIT_LIST_HEAD(&owner->fds);
	return &owner->notifier;
}

static void mempinfd_free_owner(struct mmu_notifier *notifier)
{
	kfree(container_of(notifier, struct mempinfd_owner, notifier));
}

/* exit, exec or an OOM kill: give the memory back, whoever holds the fds. */
static void mempinfd_mm_release(struct mmu_notifier *notifier,
				struct mm_struct *mm)
{
	struct mempinfd_owner *owner;
	struct mempinfd_ctx *ctx;

	owner = container_of(notifier, struct mempinfd_owner, notifier);
	mutex_lock(&owner->lock);
	list_for_each_entry(ctx, &owner->fds, node)
		mempinfd_undo_all(ctx);
	mutex_unlock(&owner->lock);
}

static const struct mmu_notifier_ops mempinfd_notifier_ops = {
	.release	= mempinfd_mm_release,
	.alloc_notifier	= mempinfd_alloc_owner,
	.free_notifier	= mempinfd_free_owner,
};

static struct mempinfd_ctx *mempinfd_alloc(void)
{
	struct mmu_notifier *notifier;
	struct mempinfd_ctx *ctx;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return ERR_PTR(-ENOMEM);

	notifier = mmu_notifier_get(&mempinfd_notifier_ops, current->mm);
	if (IS_ERR(notifier)) {
		kfree(ctx);
		/* It gives up on any signal; the caller shall not see that. */
		return notifier == ERR_PTR(-EINTR) ? ERR_PTR(-ERESTARTNOINTR) :
						     ERR_CAST(notifier);
	}

	mutex_init(&ctx->lock);
	xa_init_flags(&ctx->pins, XA_FLAGS_ACCOUNT);
	ctx->mm = current->mm;
	ctx->user = get_uid(current_user());
	ctx->owner = container_of(notifier, struct mempinfd_owner, notifier);
	mutex_lock(&ctx->owner->lock);
	list_add(&ctx->node, &ctx->owner->fds);
	mutex_unlock(&ctx->owner->lock);
	return ctx;
}

static bool mempinfd_syscall_allowed(void)
{
	/* The administrator trusts everybody with it, up to RLIMIT_MEMLOCK. */
	if (READ_ONCE(sysctl_unprivileged_mempinfd))
		return true;

	/* Root of a user namespace is not trusted with everybody's memory. */
	return capable(CAP_IPC_LOCK);
}

SYSCALL_DEFINE0(mempinfd)
{
	struct mempinfd_ctx *ctx;
	int fd;

	if (!mempinfd_syscall_allowed())
		return -EPERM;

	ctx = mempinfd_alloc();
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);

	/* Create a new inode so that the LSM can block the creation. */
	fd = anon_inode_create_getfd("[mempinfd]", &mempinfd_fops, ctx,
				     O_RDONLY | O_CLOEXEC, NULL);
	if (fd < 0)
		mempinfd_free(ctx);
	return fd;
}

#ifdef CONFIG_SYSCTL
static struct ctl_table vm_mempinfd_table[] = {
	{
		.procname	= "unprivileged_mempinfd",
		.data		= &sysctl_unprivileged_mempinfd,
		.maxlen		= sizeof(sysctl_unprivileged_mempinfd),
		.mode		= 0644,
		.proc_handler	= proc_dointvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_ONE,
	},
};

static int __init mempinfd_init(void)
{
	register_sysctl_init("vm", vm_mempinfd_table);
	return 0;
}
fs_initcall(mempinfd_init);
#endif

#ifdef CONFIG_MEMPINFD_KUNIT_TEST
#include "mempinfd_test.c"
#endif
