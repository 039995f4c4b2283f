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
 *   charge pages counted against a user's RLIMIT_MEMLOCK (user->locked_vm) and
 *          shown as VmPin (mm->pinned_vm)
 *
 * Structure
 *
 *   struct mempinfd_ctx    one for each fd: owner, user, counters
 *     ctx->pins            xarray, indexed by the first page of the range;
 *                          an entry is the newest of a ring of pins
 *       struct mempin      one pin: count of pages, its runs
 *         full             list of chunks, each filled with runs
 *         run[]            the runs behind those in the chunks
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
 *   The ctx holds its address space with mmgrab(), never mmget(): the process
 *   can go while somebody else keeps the fd.  An mmu_notifier tells when the
 *   address space ends; its pins are undone right there.  PIN and UNPIN ask
 *   for current->mm == ctx->mm, and that is a running thread of the address
 *   space: neither can meet its end, nor succeed afterwards.
 *
 * Locking
 *
 *   ctx->lock is the only lock.  It nests inside the SRCU of the mmu_notifier
 *   and outside memory allocation and the xarray's own lock.
 */

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
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

/* Ranges up to this many pages are built on the stack. */
#define MEMPIN_SMALL		16

/*
 * A folio counts its references in an int, a small one 1024 for each pin.
 * Refuse at half of it: what is left is room for the batches that other
 * threads have added and not yet looked at.
 */
#define MEMPIN_MAX_REFS		(INT_MAX / 2)

static int sysctl_unprivileged_mempinfd __read_mostly;

/**
 * struct mempinfd_ctx - what an fd stands for
 * @mm: address space whose memory is pinned; fixed
 * @user: who is charged; fixed
 * @notifier: tells when @mm ends
 * @lock: see there; waited for killably but where nothing may fail
 * @pins: newest pin of each first page
 * @nr_pins: pins alive
 * @nr_pages: pages of these pins
 * @nr_charged: pages charged: @nr_pages and those of pins being built
 */
struct mempinfd_ctx {
	struct mm_struct *mm;
	struct user_struct *user;
	struct mmu_notifier notifier;
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

/* Long enough for 256 MiB of 4 KiB pages, short enough to unpin in one go. */
struct mempin_run {
	u64 pfn	: 48;
	u64 nr	: 16;
};

#define MEMPIN_RUN_MAX		U16_MAX

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

/*
 * The limit is the caller's, the count is that of the user who made the fd.
 * CAP_IPC_LOCK lifts the limit, not the counting, and is asked for only where
 * the limit would be passed.
 */
static int mempinfd_charge(struct mempinfd_ctx *ctx, unsigned long nr)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
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
	unsigned long limit = rlimit(RLIMIT_MEMLOCK);

	if (limit == RLIM_INFINITY ||
	    ns_capable_noaudit(&init_user_ns, CAP_IPC_LOCK))
		return ULONG_MAX;
	return limit >> PAGE_SHIFT;
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

/* Give back the room, not what was built in it. */
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

/* Hand one pinned page to the draft.  On error it stays the caller's. */
static int mempin_draft_add(struct mempin_draft *draft, struct page *page)
{
	unsigned long pfn = page_to_pfn(page);
	struct mempin_run *run = draft->run + draft->nr_runs;
	int ret;

	if (folio_ref_count(page_folio(page)) > MEMPIN_MAX_REFS)
		return -ENOMEM;

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

/* GUP has more errors than the interface. */
static int mempin_errno(long err)
{
	if (fatal_signal_pending(current))
		return -EINTR;

	switch (err) {
	case -ENOMEM:
	case -EOPNOTSUPP:
		return err;
	default:
		return -EFAULT;
	}
}

/*
 * What the mapping at @start allows decides how its pages are pinned.  Asking
 * it first also keeps GUP away from holes: it has words for the log about one
 * just below a stack.
 *
 * Lowers @nr to what one mapping covers.
 */
static int mempin_access(unsigned long start, unsigned long *nr,
			 unsigned int *gup_flags)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = vma_lookup(mm, start);
	if (vma) {
		*nr = min(*nr, (vma->vm_end - start) >> PAGE_SHIFT);
		if (vma->vm_flags & VM_WRITE)
			*gup_flags |= FOLL_WRITE;
	}
	mmap_read_unlock(mm);
	return vma ? 0 : -EFAULT;
}

/*
 * Pin the pages that come next, as many as fit a batch and one mapping.
 * Waiting for a userfaultfd monitor, or for swap, happens in here.
 */
static int mempin_draft_batch(struct mempin_draft *draft,
			      const struct mempin_range *range)
{
	unsigned long start = (range->first + draft->nr_pages) << PAGE_SHIFT;
	unsigned long nr = range->nr_pages - draft->nr_pages;
	unsigned int gup_flags = FOLL_LONGTERM | FOLL_HONOR_NUMA_FAULT;
	int i, pinned, ret;

	nr = min(nr, draft->batch);
	ret = mempin_access(start, &nr, &gup_flags);
	if (ret)
		return ret;

	pinned = pin_user_pages_fast(start, nr, gup_flags, draft->pages);
	if (pinned <= 0)
		return mempin_errno(pinned);

	for (i = 0; i < pinned; i++) {
		ret = mempin_draft_add(draft, draft->pages[i]);
		if (ret) {
			unpin_user_pages(draft->pages + i, pinned - i);
			return ret;
		}
	}
	return 0;
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
 * the device wrote went through the page-table entry, which was made dirty
 * when the page was faulted in for writing.
 *  - An anonymous page: reclaim takes the dirty bit from the entry when it
 *    unmaps, and it cannot have freed the page while that was pinned.
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

	mutex_lock(&ctx->lock);
	xa_for_each(&ctx->pins, first, newest) {
		do {
			pin = newest->next;
			mempinfd_unlink(ctx, first, newest, newest);
			mempin_undo(ctx, pin);
		} while (pin != newest);
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

/* exit, exec or an OOM kill: give the memory back, whoever holds the fd. */
static void mempinfd_mm_release(struct mmu_notifier *notifier,
				struct mm_struct *mm)
{
	mempinfd_undo_all(container_of(notifier, struct mempinfd_ctx,
				       notifier));
}

static const struct mmu_notifier_ops mempinfd_notifier_ops = {
	.release	= mempinfd_mm_release,
};

static void mempinfd_free(struct mempinfd_ctx *ctx)
{
	/* Outside the notifier's SRCU: this can take long. */
	mempinfd_undo_all(ctx);
	/* Waits for mempinfd_mm_release() to be done with ctx; drops ctx->mm. */
	mmu_notifier_unregister(&ctx->notifier, ctx->mm);
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

static struct mempinfd_ctx *mempinfd_alloc(void)
{
	struct mempinfd_ctx *ctx;
	int ret;

	ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	if (!ctx)
		return ERR_PTR(-ENOMEM);

	mutex_init(&ctx->lock);
	xa_init(&ctx->pins);
	ctx->mm = current->mm;
	ctx->notifier.ops = &mempinfd_notifier_ops;
	ret = mmu_notifier_register(&ctx->notifier, ctx->mm); /* mmgrab() */
	if (ret) {
		kfree(ctx);
		/* It gives up on any signal; the caller shall not see that. */
		return ERR_PTR(ret == -EINTR ? -ERESTARTNOINTR : ret);
	}
	ctx->user = get_uid(current_user());
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
