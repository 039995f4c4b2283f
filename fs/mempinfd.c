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
 *   run    pages of a pin that are neighbours in physical memory (pfn, count),
 *          as pin_user_runs() hands them out
 *   charge pages counted against a user's RLIMIT_MEMLOCK (user->locked_vm) and
 *          shown as VmPin (mm->pinned_vm)
 *
 * Structure
 *
 *   struct mempinfd_owner    one for each address space that has fds
 *     struct mempinfd_ctx    one for each fd: owner, user, counters
 *       ctx->buckets         hash table of the ranges that are pinned
 *         struct mempin      one pin: its range and its runs, in a ring with
 *                            the other pins of the same range
 *           full             list of chunks, each filled with runs
 *           run[]            the runs behind those in the chunks
 *
 * The pages themselves, and the entries of the page table that map them, are
 * the business of pin_user_runs(): it pins under the lock of each entry, with
 * mmap_lock held.  Housekeeping looks for pins under the same locks before it
 * changes an entry, so what was changed earlier is seen by PIN and put right,
 * and what would be changed later is left alone.
 *
 * Invariants
 *
 *   - Every page of every pin in ctx->buckets holds one FOLL_PIN reference for
 *     each time it occurs there, and has been charged once for each.
 *   - A pin is charged before its first page is touched and uncharged after
 *     its last page is let go, always to ctx->user and ctx->mm.
 *   - A pin is either in ctx->buckets or owned by exactly one thread, which is
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
 *   owner->lock, a mutex, is held while the pins of an address space that ends
 *   are undone, inside the SRCU of all mmu_notifiers, as it is for everybody.
 *   ctx->lock, a spinlock, is held for as long as a pin is put into the hash
 *   table or taken out.  Neither is held while pages are pinned, nor together.
 */

#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/generic-radix-tree.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/page_run.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/syscalls.h>
#include <linux/sysctl.h>
#include <linux/uaccess.h>
#include <uapi/linux/mempinfd.h>

/* Ranges up to this are built on the stack: 64 KiB, wherever it begins. */
#define MEMPIN_SMALL		17

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
 * @lock: protects @buckets and what hangs there
 * @buckets: pins by their range, in @nr_pins + 1 lists; see mempinfd_bucket()
 * @seed: of the hash; odd
 * @nr_pins: pins alive
 * @nr_pages: pages of these pins
 * @nr_charged: pages charged: @nr_pages and those of pins being built or undone
 */
struct mempinfd_ctx {
	struct mm_struct *mm;
	struct user_struct *user;
	struct mempinfd_owner *owner;
	struct list_head node;
	spinlock_t lock; /* buckets, lists, rings, writing nr_pins, nr_pages */
	GENRADIX(struct mempin *) buckets;
	u64 seed;
	unsigned long nr_pins;
	unsigned long nr_pages;
	atomic_long_t nr_charged;
};

struct mempin_range {
	unsigned long first;
	unsigned long nr_pages;
};

struct mempin_chunk {
	struct mempin_chunk *next;
	struct page_run run[];
};

/**
 * struct mempin - one pin
 * @chain: next in the list of its bucket, if it is the newest of its ring
 * @next: the next younger pin of the same range; the newest has the oldest
 *	here, so that both ends of the ring are one step away
 * @first: first page of the range
 * @nr_pages: pages in the range
 * @nr_runs: runs in @run
 * @full: chunks of MEMPIN_CHUNK_RUNS runs each
 * @run: the other runs
 */
struct mempin {
	struct mempin *chain;
	struct mempin *next;
	unsigned long first;
	u64 nr_pages	: 48;
	u64 nr_runs	: 16;
	struct mempin_chunk *full;
	struct page_run run[];
};

/* So that a chunk, and a pin with as many runs, fit one page. */
#define MEMPIN_CHUNK_RUNS \
	((PAGE_SIZE - sizeof(struct mempin)) / sizeof(struct page_run))

/* A pin with one run, of which there may be a million, is not rounded up. */
static struct kmem_cache *mempin_cache __ro_after_init;

/**
 * struct mempin_draft - a pin while it is being built
 * @nr_pages: pages pinned so far
 * @full: chunks that are full
 * @chunk: chunk being filled, if the range is not small
 * @run: the runs not in @full; they stand in @chunk or in @small_run
 * @nr_runs: how many of @run are used
 * @max_runs: how many there can be
 * @small_run: room for the runs of a small range
 */
struct mempin_draft {
	unsigned long nr_pages;
	struct mempin_chunk *full;
	struct mempin_chunk *chunk;
	struct page_run *run;
	unsigned int nr_runs;
	unsigned int max_runs;
	struct page_run small_run[MEMPIN_SMALL];
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

/* A draft of a range that is not small has no room yet. */
static void mempin_draft_init(struct mempin_draft *draft,
			      unsigned long nr_pages)
{
	bool small = nr_pages <= MEMPIN_SMALL;

	draft->nr_pages = 0;
	draft->full = NULL;
	draft->chunk = NULL;
	draft->run = small ? draft->small_run : NULL;
	draft->nr_runs = 0;
	draft->max_runs = small ? MEMPIN_SMALL : 0;
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
	case -EBUSY: /* the page could not be moved to where it may stay */
		return -ENOMEM;
	default:
		return -EFAULT;
	}
}

/*
 * Pin all pages of @range.  Waiting for a userfaultfd monitor, or for swap,
 * happens in here.
 */
static int mempin_draft_range(struct mempin_draft *draft,
			      const struct mempin_range *range)
{
	unsigned long start, left;
	unsigned int nr_runs;
	long nr_pages;
	int ret;

	while ((left = range->nr_pages - draft->nr_pages) != 0) {
		if (draft->nr_runs == draft->max_runs) {
			ret = mempin_draft_grow(draft);
			if (ret)
				return ret;
		}
		start = (range->first + draft->nr_pages) << PAGE_SHIFT;
		nr_runs = draft->max_runs - draft->nr_runs;
		nr_pages = pin_user_runs(start, left,
					 draft->run + draft->nr_runs, &nr_runs);
		if (nr_pages < 0)
			return mempin_errno(nr_pages);
		draft->nr_runs += nr_runs;
		draft->nr_pages += nr_pages;
	}
	return 0;
}

static struct mempin *mempin_alloc(unsigned int nr_runs)
{
	struct mempin *pin;

	if (nr_runs == 1)
		return kmem_cache_alloc(mempin_cache, GFP_KERNEL_ACCOUNT);
	return kmalloc(struct_size(pin, run, nr_runs), GFP_KERNEL_ACCOUNT);
}

/* Make the pin that the draft is of.  Its pages and full chunks live on in it. */
static struct mempin *mempin_draft_finish(const struct mempin_draft *draft,
					  const struct mempin_range *range)
{
	struct mempin *pin = mempin_alloc(draft->nr_runs);

	if (!pin)
		return NULL;
	pin->first = range->first;
	pin->nr_pages = range->nr_pages;
	pin->nr_runs = draft->nr_runs;
	pin->full = draft->full;
	memcpy(pin->run, draft->run, draft->nr_runs * sizeof(*pin->run));
	return pin;
}

/* ---------------------------- undoing a pin ---------------------------- */

/*
 * The pages are not marked dirty, as other users of FOLL_WRITE have to: what
 * the device wrote went through the page-table entry, which was dirty when the
 * page was pinned.  If the owner has it cleaned later, a write by the device
 * sets the bit again, or faults.
 *  - An anonymous page: reclaim takes the dirty bit from the entry when it
 *    unmaps, and frees no page, lazily freed or not, while that is pinned.
 *  - A shmem page: the same; and munmap() moves the dirty bit to the folio
 *    after the device lost the entry and with it the way to the page.
 *  - A hugetlb page is never written back.
 *  - Other shared writable files cannot be pinned for the long term.
 */
static void mempin_unpin(struct mempin_chunk *full, const struct page_run *run,
			 unsigned int nr_runs)
{
	struct mempin_chunk *next;

	for (; full; full = next) {
		unpin_user_runs(full->run, MEMPIN_CHUNK_RUNS);
		next = full->next;
		kfree(full);
	}
	unpin_user_runs(run, nr_runs);
}

/* Undo a pin that is not, or is no longer, in ctx->buckets. */
static void mempin_undo(struct mempinfd_ctx *ctx, struct mempin *pin)
{
	mempin_unpin(pin->full, pin->run, pin->nr_runs);
	mempinfd_uncharge(ctx, pin->nr_pages);
	kfree(pin);
}

/**
 * struct mempin_batch - pages of many small pins, to be unpinned together
 * @nr_runs: runs in @run
 * @run: of pins that are no more
 */
struct mempin_batch {
	unsigned int nr_runs;
	struct page_run run[32];
};

/* Free @pin, and see to it that its pages are unpinned, which stay charged. */
static void mempin_batch_add(struct mempin_batch *batch, struct mempin *pin)
{
	if (pin->full || pin->nr_runs > 1) {
		mempin_unpin(pin->full, pin->run, pin->nr_runs);
	} else {
		batch->run[batch->nr_runs++] = pin->run[0];
		if (batch->nr_runs == ARRAY_SIZE(batch->run)) {
			unpin_user_runs(batch->run, batch->nr_runs);
			batch->nr_runs = 0;
		}
	}
	kfree(pin);
}

/* Pin a whole range that has been charged, or nothing of it. */
static struct mempin *mempin_create(const struct mempin_range *range)
{
	struct mempin_draft draft __uninitialized; /* its runs are many */
	struct mempin *pin = NULL;
	int ret;

	mempin_draft_init(&draft, range->nr_pages);
	ret = mempin_draft_range(&draft, range);
	if (!ret) {
		pin = mempin_draft_finish(&draft, range);
		if (!pin)
			ret = -ENOMEM;
	}
	if (ret)
		mempin_unpin(draft.full, draft.run, draft.nr_runs);
	kfree(draft.chunk);
	return ret ? ERR_PTR(ret) : pin;
}

/* ------------------------- the pins of an fd ------------------------- */

/*
 * Linear hashing: there is one bucket more than pins.  With each pin that comes
 * the next bucket is split off the one whose pins it shares the lower bits of
 * the hash with, and with each that goes the last bucket returns there.  So
 * neither one pin nor a million ever wait for a table to be made anew.
 *
 * The radix tree that holds the buckets keeps its size until all is undone.
 */

/* Multiplied by an odd number that nobody knows, the upper bits are random. */
static u32 mempinfd_hash(const struct mempinfd_ctx *ctx, unsigned long first,
			 unsigned long nr_pages)
{
	return ((first + nr_pages * GOLDEN_RATIO_64) * ctx->seed) >> 32;
}

/* The bucket that @i was split off from is @i without its highest bit. */
static unsigned long mempinfd_parent(unsigned long i)
{
	return i & ~BIT(__fls(i));
}

static struct mempin **mempinfd_bucket(struct mempinfd_ctx *ctx,
				       unsigned long first,
				       unsigned long nr_pages)
{
	unsigned long mask = BIT(fls_long(ctx->nr_pins)) - 1;
	unsigned long i = mempinfd_hash(ctx, first, nr_pages) & mask;

	return genradix_ptr_inlined(&ctx->buckets,
				    i <= ctx->nr_pins ? i : mempinfd_parent(i));
}

/* Where the newest pin of a range hangs, or would. */
static struct mempin **mempinfd_find(struct mempinfd_ctx *ctx,
				     unsigned long first,
				     unsigned long nr_pages)
{
	struct mempin **link = mempinfd_bucket(ctx, first, nr_pages);

	while (*link && ((*link)->first != first ||
			 (*link)->nr_pages != nr_pages))
		link = &(*link)->chain;
	return link;
}

/* The last bucket is @to, and new. */
static void mempinfd_split(struct mempinfd_ctx *ctx, struct mempin **to)
{
	struct mempin **from = genradix_ptr_inlined(&ctx->buckets,
						    mempinfd_parent(ctx->nr_pins));
	struct mempin *pin;

	while ((pin = *from)) {
		if (mempinfd_bucket(ctx, pin->first, pin->nr_pages) == to) {
			*from = pin->chain;
			pin->chain = *to;
			*to = pin;
		} else {
			from = &pin->chain;
		}
	}
}

static void mempinfd_join(struct mempinfd_ctx *ctx)
{
	struct mempin **from = genradix_ptr_inlined(&ctx->buckets, ctx->nr_pins);
	struct mempin **to = genradix_ptr_inlined(&ctx->buckets,
						  mempinfd_parent(ctx->nr_pins));
	struct mempin *pins = *from;

	*from = NULL;
	while (*to)
		to = &(*to)->chain;
	*to = pins;
}

/* Put in @pin; @bucket is the one that comes with it. */
static void mempinfd_link(struct mempinfd_ctx *ctx, struct mempin *pin,
			  struct mempin **bucket)
{
	struct mempin **link, *newest;

	lockdep_assert_held(&ctx->lock);

	WRITE_ONCE(ctx->nr_pins, ctx->nr_pins + 1);
	WRITE_ONCE(ctx->nr_pages, ctx->nr_pages + pin->nr_pages);
	mempinfd_split(ctx, bucket);

	link = mempinfd_find(ctx, pin->first, pin->nr_pages);
	newest = *link;
	pin->chain = newest ? newest->chain : NULL;
	pin->next = newest ? newest->next : pin;
	if (newest)
		newest->next = pin;
	*link = pin;
}

static int mempinfd_insert(struct mempinfd_ctx *ctx, struct mempin *pin)
{
	struct mempin **bucket;
	unsigned long nr;

	spin_lock(&ctx->lock);
	for (;;) {
		nr = ctx->nr_pins + 1;
		bucket = genradix_ptr_inlined(&ctx->buckets, nr);
		if (bucket)
			break;
		spin_unlock(&ctx->lock);
		if (!genradix_ptr_alloc(&ctx->buckets, nr, GFP_KERNEL_ACCOUNT))
			return -ENOMEM;
		spin_lock(&ctx->lock);
	}
	mempinfd_link(ctx, pin, bucket);
	spin_unlock(&ctx->lock);
	return 0;
}

/* Take the oldest pin out of the ring whose newest hangs at @link. */
static struct mempin *mempinfd_unlink(struct mempin **link)
{
	struct mempin *newest = *link;
	struct mempin *pin = newest->next;

	if (pin == newest)
		*link = pin->chain;
	else
		newest->next = pin->next;
	return pin;
}

/* Take out the oldest pin of exactly @range. */
static struct mempin *mempinfd_remove(struct mempinfd_ctx *ctx,
				      const struct mempin_range *range)
{
	struct mempin *pin = ERR_PTR(-ENOENT);
	struct mempin **link;

	spin_lock(&ctx->lock);
	if (!ctx->nr_pins)
		goto unlock;
	link = mempinfd_find(ctx, range->first, range->nr_pages);
	if (!*link)
		goto unlock;
	pin = mempinfd_unlink(link);
	mempinfd_join(ctx);
	WRITE_ONCE(ctx->nr_pins, ctx->nr_pins - 1);
	WRITE_ONCE(ctx->nr_pages, ctx->nr_pages - pin->nr_pages);
unlock:
	spin_unlock(&ctx->lock);
	return pin;
}

/*
 * Nobody else looks at the pins, or will: the fd or its address space is going.
 * So there is nobody for ctx->lock to keep out.
 */
static void mempinfd_undo_all(struct mempinfd_ctx *ctx)
{
	unsigned long i, last = ctx->nr_pins, nr_pages = ctx->nr_pages;
	struct mempin_batch batch __uninitialized;
	struct mempin **bucket = NULL, *pin;

	batch.nr_runs = 0;
	for (i = 0; ctx->nr_pins && i <= last; i++, bucket++) {
		/* Those in one node of the radix tree follow each other. */
		if (i % (GENRADIX_NODE_SIZE / sizeof(*bucket)) == 0)
			bucket = genradix_ptr(&ctx->buckets, i);
		while (*bucket) {
			pin = mempinfd_unlink(bucket);
			WRITE_ONCE(ctx->nr_pins, ctx->nr_pins - 1);
			WRITE_ONCE(ctx->nr_pages,
				   ctx->nr_pages - pin->nr_pages);
			mempin_batch_add(&batch, pin);
		}
	}
	unpin_user_runs(batch.run, batch.nr_runs);
	mempinfd_uncharge(ctx, nr_pages);
	genradix_free(&ctx->buckets);
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
	ret = mempinfd_insert(ctx, pin);
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
	if (ret)
		return ret;
	return cmd == MEM_CMD_PIN ? mempinfd_pin(ctx, &range) :
				    mempinfd_unpin(ctx, &range);
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

	spin_lock_init(&ctx->lock);
	ctx->seed = get_random_u64() | 1;
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

static void __init mempinfd_register_sysctl(void)
{
	register_sysctl_init("vm", vm_mempinfd_table);
}
#else
static void __init mempinfd_register_sysctl(void)
{
}
#endif

static int __init mempinfd_init(void)
{
	mempin_cache = kmem_cache_create("mempin",
					 struct_size_t(struct mempin, run, 1),
					 0, SLAB_PANIC | SLAB_ACCOUNT, NULL);
	mempinfd_register_sysctl();
	return 0;
}
fs_initcall(mempinfd_init);

#ifdef CONFIG_MEMPINFD_KUNIT_TEST
#include "mempinfd_test.c"
#endif
