// SPDX-License-Identifier: GPL-2.0
/*
 * A device with shared virtual addressing, made of software
 *
 * /dev/test_sva behaves as an accelerator behind an IOMMU that shares the page
 * table of the process which opened it:
 *
 *  - It translates by walking the CPU page table without locks, as hardware
 *    does, and asks what hardware asks of an entry: present, user, writable,
 *    and without hardware update of these bits also accessed and dirty.
 *  - It caches translations in an IOTLB.  An mmu_notifier drops them through
 *    .arch_invalidate_secondary_tlbs, the hook that IOMMU drivers get.
 *  - A translation that fails raises a page request, which another context
 *    serves the way drivers/iommu/iommu-sva.c does, and is then tried again.
 *  - Jobs are submitted asynchronously; poll(), read() or an eventfd tell of
 *    their completion.
 *
 * Watching
 *
 *   A watched range is translated at every invalidation that touches it, as
 *   an access in flight would be.  The invalidation comes after the entry has
 *   been changed and before whoever changed it goes on: other than a thread
 *   that races with the change, this sees each of them.  It does not see a
 *   change that is taken back before anything is flushed.
 *
 *   Where page tables are checked (CONFIG_PAGE_TABLE_CHECK) such a change does
 *   not go unseen either: each write to the page table of the process that
 *   takes access to a watched page away is counted, by page frame, whatever
 *   comes after it.
 *
 * Locking
 *
 *   test_sva.lock is the innermost lock.  It is held, with interrupts off,
 *   over each walk and over the access with what the walk found:
 *    - page tables are freed by RCU, which the walk thereby holds off;
 *    - a page is freed or moved after the invalidation of its entry, and the
 *      invalidation waits for the lock, so no access outlives its entry.  No
 *      reference to the page is needed, which would keep it from moving.
 *   The second point is true of entries without the accessed bit as well, on
 *   all architectures that have the hook.
 */

#include <linux/completion.h>
#include <linux/crc32.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/page_table_check_notify.h>
#include <linux/pgtable.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "test_sva_uapi.h"

#define TEST_SVA_IOTLB_SIZE	256
#define TEST_SVA_MAX_JOBS	1024

struct test_sva_iotlb {
	unsigned long vpn;
	unsigned long pfn;
	unsigned long size;	/* of the entry in the page table */
	bool valid;
	bool write;
};

/* What the walk found: a page, and how far around it the entry reaches. */
struct test_sva_entry {
	unsigned long pfn;
	unsigned long size;
	bool young;
	bool dirty;
};

struct test_sva_watched {
	unsigned long pfn;	/* when watching began */
	unsigned long size;	/* of the entry that was seen last */
};

struct test_sva_watch {
	struct list_head list;
	unsigned long start;
	unsigned long end;
	bool write;
	struct test_sva_watched page[];
};

/**
 * struct test_sva - an open device
 * @mm: address space it is bound to, by mmgrab()
 * @notifier: invalidates the IOTLB, stops the device when @mm ends
 * @lock: protects all below up to @stats; see the head of the file
 * @alive: @mm has not ended, the file is open
 * @mode: TEST_SVA_NO_HW_AD or 0
 * @iotlb: direct-mapped by page number
 * @watches: ranges translated at every invalidation
 * @stats: see test_sva_uapi.h
 * @frames: the page frames that are watched
 * @writes: how many writes took access to one of them away
 * @checker: tells of such writes
 * @checked: it does
 * @jobs: where jobs run
 * @faults: where page requests are served
 * @done_lock: protects @done, @nr_jobs and @eventfd
 * @done: completed jobs that have not been read
 * @nr_jobs: jobs submitted and not read
 * @eventfd: signalled on completion
 * @wait: woken on completion
 */
struct test_sva {
	struct mm_struct *mm;
	struct mmu_notifier notifier;
	spinlock_t lock; /* everything up to stats */
	bool alive;
	unsigned long mode;
	struct test_sva_iotlb iotlb[TEST_SVA_IOTLB_SIZE];
	struct list_head watches;
	struct test_sva_stats stats;

	struct xarray frames;
	atomic64_t writes;
	struct notifier_block checker;
	bool checked;

	struct workqueue_struct *jobs;
	struct workqueue_struct *faults;
	spinlock_t done_lock; /* done, nr_jobs, eventfd */
	struct list_head done;
	unsigned int nr_jobs;
	struct eventfd_ctx *eventfd;
	wait_queue_head_t wait;
};

/**
 * struct test_sva_task - a job from its submission until its result is read
 * @work: runs it
 * @list: in test_sva.done
 * @sva: the device
 * @job: what to do
 * @done: what came of it
 * @submitted: when
 * @aged: address whose accessed bit was clear when its last request was raised
 */
struct test_sva_task {
	struct work_struct work;
	struct list_head list;
	struct test_sva *sva;
	struct test_sva_job job;
	struct test_sva_done done;
	ktime_t submitted;
	unsigned long aged;
};

struct test_sva_request {
	struct work_struct work;
	struct completion served;
	struct test_sva *sva;
	unsigned long addr;
	bool write;
	bool lasting;
	int status;
};

/* ---------------------------- translation ---------------------------- */

/* Judge a present leaf of any level as the IOMMU would. */
static enum test_sva_cause test_sva_leaf(pte_t pte, bool write)
{
	if (pte_access_permitted(pte, write))
		return TEST_SVA_OK;
	if (pte_protnone(pte))
		return TEST_SVA_PROT_NONE;
	if (write && pte_access_permitted(pte, false))
		return TEST_SVA_WRITE_PROTECTED;
	return TEST_SVA_NOT_PRESENT;
}

static enum test_sva_cause test_sva_absent(pte_t pte)
{
	if (!pte_none(pte) && is_migration_entry(pte_to_swp_entry(pte)))
		return TEST_SVA_MIGRATION;
	return TEST_SVA_NOT_PRESENT;
}

static void test_sva_fill(struct test_sva_entry *entry, pte_t pte,
			  unsigned long addr, unsigned long pfn,
			  unsigned long size)
{
	entry->pfn = pfn + ((addr & (size - 1)) >> PAGE_SHIFT);
	entry->size = size;
	entry->young = pte_young(pte);
	entry->dirty = pte_dirty(pte);
}

static enum test_sva_cause test_sva_walk_pte(pmd_t pmd, unsigned long addr,
					     bool write,
					     struct test_sva_entry *entry)
{
	/*
	 * Page tables are never in high memory where this device exists, and an
	 * entry is one word.  ptep_get_lockless() gathers the bits of several
	 * where they are one to the CPU; not every device does.
	 */
	pte_t pte = READ_ONCE(*pte_offset_kernel(&pmd, addr));

	if (!pte_present(pte))
		return test_sva_absent(pte);
	test_sva_fill(entry, pte, addr, pte_pfn(pte), PAGE_SIZE);
	return test_sva_leaf(pte, write);
}

static enum test_sva_cause test_sva_walk_pmd(pud_t pud, unsigned long addr,
					     bool write,
					     struct test_sva_entry *entry)
{
	pmd_t pmd = pmdp_get_lockless(pmd_offset(&pud, addr));
	pte_t pte = __pte(pmd_val(pmd));

	entry->size = PMD_SIZE;
	if (pmd_none(pmd))
		return TEST_SVA_NOT_PRESENT;
	if (!pmd_present(pmd))
		return test_sva_absent(pte);
	if (!pmd_leaf(pmd)) {
		entry->size = PAGE_SIZE;
		return test_sva_walk_pte(pmd, addr, write, entry);
	}
	test_sva_fill(entry, pte, addr, pmd_pfn(pmd), PMD_SIZE);
	return test_sva_leaf(pte, write);
}

/* Fills all of @entry, but where nothing is present only its size. */
static enum test_sva_cause test_sva_walk(struct mm_struct *mm,
					 unsigned long addr, bool write,
					 struct test_sva_entry *entry)
{
	pgd_t pgd = READ_ONCE(*pgd_offset(mm, addr));
	p4d_t p4d;
	pud_t pud;
	pte_t pte;

	entry->size = PAGE_SIZE;
	if (pgd_none(pgd))
		return TEST_SVA_NOT_PRESENT;
	p4d = READ_ONCE(*p4d_offset(&pgd, addr));
	if (p4d_none(p4d))
		return TEST_SVA_NOT_PRESENT;
	pud = READ_ONCE(*pud_offset(&p4d, addr));
	if (pud_none(pud))
		return TEST_SVA_NOT_PRESENT;

	pte = __pte(pud_val(pud));
	if (!pud_present(pud))
		return test_sva_absent(pte);
	if (!pud_leaf(pud))
		return test_sva_walk_pmd(pud, addr, write, entry);
	test_sva_fill(entry, pte, addr, pud_pfn(pud), PUD_SIZE);
	return test_sva_leaf(pte, write);
}

/* Translation for an access: as the walk, and the two bits. */
static enum test_sva_cause test_sva_walk_access(struct test_sva *sva,
						unsigned long addr, bool write,
						struct test_sva_entry *entry)
{
	enum test_sva_cause cause;

	lockdep_assert_held(&sva->lock);

	cause = test_sva_walk(sva->mm, addr, write, entry);
	if (cause == TEST_SVA_OK && !entry->young)
		cause = TEST_SVA_ACCESSED;
	if (cause == TEST_SVA_OK && write && !entry->dirty)
		cause = TEST_SVA_DIRTY;
	return cause;
}

static enum test_sva_cause test_sva_translate(struct test_sva_task *task,
					      unsigned long addr, bool write,
					      unsigned long *pfn)
{
	struct test_sva *sva = task->sva;
	unsigned long vpn = addr >> PAGE_SHIFT;
	struct test_sva_iotlb *tlb = &sva->iotlb[vpn % TEST_SVA_IOTLB_SIZE];
	struct test_sva_entry entry;
	enum test_sva_cause cause;

	sva->stats.translations++;
	if (tlb->valid && tlb->vpn == vpn && (tlb->write || !write)) {
		sva->stats.iotlb_hits++;
		*pfn = tlb->pfn;
		return TEST_SVA_OK;
	}

	cause = test_sva_walk_access(sva, addr, write, &entry);
	/* x86 leaves it to the hardware to set the bit for a read. */
	if (cause == TEST_SVA_ACCESSED && !write && task->aged == addr)
		cause = TEST_SVA_OK;
	if (cause == TEST_SVA_OK) {
		*tlb = (struct test_sva_iotlb) {
			.vpn = vpn, .pfn = entry.pfn, .size = entry.size,
			.valid = true, .write = write,
		};
		*pfn = entry.pfn;
	}
	return cause;
}

/* ------------------------------ watching ------------------------------ */

static struct test_sva_watched *test_sva_watched(struct test_sva_watch *watch,
						 unsigned long addr)
{
	return &watch->page[(addr - watch->start) >> PAGE_SHIFT];
}

/*
 * Returns how many pages of [start, end) cannot be translated.  The accessed
 * and dirty bits matter only to a device that cannot set them.
 */
static long test_sva_watch_check(struct test_sva *sva,
				 struct test_sva_watch *watch,
				 unsigned long start, unsigned long end)
{
	unsigned long addr = max(start, watch->start);
	struct test_sva_watched *page;
	struct test_sva_entry entry;
	enum test_sva_cause cause;
	long failed = 0;

	for (end = min(end, watch->end); addr < end; addr += PAGE_SIZE) {
		cause = test_sva_walk_access(sva, addr, watch->write, &entry);
		if ((cause == TEST_SVA_ACCESSED || cause == TEST_SVA_DIRTY) &&
		    !(sva->mode & TEST_SVA_NO_HW_AD))
			cause = TEST_SVA_OK;
		page = test_sva_watched(watch, addr);
		page->size = entry.size;
		if (cause == TEST_SVA_OK && entry.pfn != page->pfn)
			cause = TEST_SVA_MOVED;
		if (cause == TEST_SVA_OK)
			continue;
		sva->stats.watched[cause]++;
		failed++;
	}
	return failed;
}

static void test_sva_watch_record(struct test_sva *sva,
				  struct test_sva_watch *watch)
{
	struct test_sva_entry entry;
	unsigned long addr;

	for (addr = watch->start; addr < watch->end; addr += PAGE_SIZE) {
		entry.pfn = ULONG_MAX;
		test_sva_walk(sva->mm, addr, watch->write, &entry);
		test_sva_watched(watch, addr)->pfn = entry.pfn;
	}
}

/* Called under a page table lock: nothing is locked or allocated here. */
static int test_sva_lost(struct notifier_block *nb, unsigned long action,
			 void *data)
{
	struct test_sva *sva = container_of(nb, struct test_sva, checker);
	struct page_table_check_loss *loss = data;
	unsigned long i;

	if (loss->mm != sva->mm)
		return NOTIFY_DONE;
	for (i = 0; i < loss->nr; i++)
		if (xa_load(&sva->frames, loss->pfn + i))
			atomic64_inc(&sva->writes);
	return NOTIFY_OK;
}

static int test_sva_watch_frames(struct test_sva *sva,
				 struct test_sva_watch *watch)
{
	unsigned long i, nr = (watch->end - watch->start) >> PAGE_SHIFT;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++)
		if (watch->page[i].pfn != ULONG_MAX)
			ret = xa_err(xa_store(&sva->frames, watch->page[i].pfn,
					      sva, GFP_KERNEL_ACCOUNT));
	return ret;
}

/* What changes before it is on the list is found by the check after that. */
static int test_sva_watch_begin(struct test_sva *sva,
				struct test_sva_watch *watch)
{
	int ret = 0;

	spin_lock_irq(&sva->lock);
	if (sva->alive)
		test_sva_watch_record(sva, watch);
	else
		ret = -ESRCH;
	spin_unlock_irq(&sva->lock);
	if (!ret && sva->checked)
		ret = test_sva_watch_frames(sva, watch);
	if (ret)
		return ret;

	spin_lock_irq(&sva->lock);
	list_add(&watch->list, &sva->watches);
	if (sva->alive)
		test_sva_watch_check(sva, watch, watch->start, watch->end);
	spin_unlock_irq(&sva->lock);
	return 0;
}

static int test_sva_watch(struct test_sva *sva, void __user *arg)
{
	struct test_sva_range range;
	struct test_sva_watch *watch;
	int ret;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	if (!range.len || range.reserved ||
	    !PAGE_ALIGNED(range.addr) || !PAGE_ALIGNED(range.len))
		return -EINVAL;
	if (range.addr >= TASK_SIZE || range.len > TASK_SIZE - range.addr)
		return -EFAULT;

	watch = kvmalloc(struct_size(watch, page, range.len >> PAGE_SHIFT),
			 GFP_KERNEL_ACCOUNT);
	if (!watch)
		return -ENOMEM;
	watch->start = range.addr;
	watch->end = range.addr + range.len;
	watch->write = range.write;

	ret = test_sva_watch_begin(sva, watch);
	if (ret)
		kvfree(watch);
	return ret;
}

static int test_sva_unwatch(struct test_sva *sva)
{
	struct test_sva_watch *watch, *next;
	LIST_HEAD(watches);

	spin_lock_irq(&sva->lock);
	list_splice_init(&sva->watches, &watches);
	spin_unlock_irq(&sva->lock);
	xa_destroy(&sva->frames);
	list_for_each_entry_safe(watch, next, &watches, list)
		kvfree(watch);
	return 0;
}

static long test_sva_check(struct test_sva *sva)
{
	struct test_sva_watch *watch;
	long failed = 0;

	spin_lock_irq(&sva->lock);
	if (sva->alive)
		list_for_each_entry(watch, &sva->watches, list)
			failed += test_sva_watch_check(sva, watch, 0,
						       ULONG_MAX);
	spin_unlock_irq(&sva->lock);
	return failed;
}

/* ---------------------------- invalidation ---------------------------- */

/*
 * An entry goes as a whole, whatever part of it is named: for one of hugetlb
 * that is a single page.
 */
static bool test_sva_iotlb_within(const struct test_sva_iotlb *tlb,
				  unsigned long start, unsigned long end)
{
	unsigned long addr = tlb->vpn << PAGE_SHIFT;

	return tlb->valid && ALIGN_DOWN(addr, tlb->size) < end &&
	       (addr | (tlb->size - 1)) >= start;
}

static void test_sva_watch_invalidate(struct test_sva *sva,
				      struct test_sva_watch *watch,
				      unsigned long start, unsigned long end)
{
	unsigned long last;

	start = max(start, watch->start);
	last = min(end, watch->end) - 1;
	if (start > last)
		return;
	start = ALIGN_DOWN(start, test_sva_watched(watch, start)->size);
	last |= test_sva_watched(watch, last)->size - 1;
	test_sva_watch_check(sva, watch, start, last + 1);
}

static void test_sva_invalidate(struct mmu_notifier *notifier,
				struct mm_struct *mm, unsigned long start,
				unsigned long end)
{
	struct test_sva *sva = container_of(notifier, struct test_sva, notifier);
	struct test_sva_watch *watch;
	unsigned long flags;
	int i;

	spin_lock_irqsave(&sva->lock, flags);
	sva->stats.invalidations++;
	for (i = 0; i < TEST_SVA_IOTLB_SIZE; i++)
		if (test_sva_iotlb_within(&sva->iotlb[i], start, end))
			sva->iotlb[i].valid = false;
	if (sva->alive)
		list_for_each_entry(watch, &sva->watches, list)
			test_sva_watch_invalidate(sva, watch, start, end);
	spin_unlock_irqrestore(&sva->lock, flags);
}

/* No walk and no access begins after this; jobs give up. */
static void test_sva_stop(struct test_sva *sva)
{
	spin_lock_irq(&sva->lock);
	sva->alive = false;
	memset(sva->iotlb, 0, sizeof(sva->iotlb));
	spin_unlock_irq(&sva->lock);
}

/* The page table is about to be torn down. */
static void test_sva_mm_release(struct mmu_notifier *notifier,
				struct mm_struct *mm)
{
	test_sva_stop(container_of(notifier, struct test_sva, notifier));
}

static const struct mmu_notifier_ops test_sva_notifier_ops = {
	.release			= test_sva_mm_release,
	.arch_invalidate_secondary_tlbs	= test_sva_invalidate,
};

/* ---------------------------- page requests ---------------------------- */

static void test_sva_histogram(u64 *buckets, ktime_t since)
{
	u64 ns = ktime_to_ns(ktime_sub(ktime_get(), since));

	buckets[min(fls64(ns), TEST_SVA_BUCKETS - 1)]++;
}

/* What iommu_sva_handle_mm() does. */
static int test_sva_handle_mm(struct mm_struct *mm, unsigned long addr,
			      bool write)
{
	unsigned int flags = FAULT_FLAG_REMOTE | FAULT_FLAG_USER;
	vm_flags_t access = VM_READ;
	struct vm_area_struct *vma;

	if (write) {
		flags |= FAULT_FLAG_WRITE;
		access |= VM_WRITE;
	}
	vma = vma_lookup(mm, addr);
	if (!vma || (access & ~vma->vm_flags))
		return -EFAULT;
	if (handle_mm_fault(vma, addr, flags, NULL) & VM_FAULT_ERROR)
		return -EFAULT;
	return 0;
}

static void test_sva_serve(struct work_struct *work)
{
	struct test_sva_request *req =
		container_of(work, struct test_sva_request, work);
	struct test_sva *sva = req->sva;
	struct test_sva_entry entry;

	req->status = -ESRCH;
	if (mmget_not_zero(sva->mm)) {
		mmap_read_lock(sva->mm);
		spin_lock_irq(&sva->lock);
		req->lasting = test_sva_walk_access(sva, req->addr, req->write,
						    &entry) != TEST_SVA_OK;
		spin_unlock_irq(&sva->lock);
		req->status = test_sva_handle_mm(sva->mm, req->addr,
						 req->write);
		mmap_read_unlock(sva->mm);
		mmput(sva->mm);
	}
	complete(&req->served);
}

/*
 * A device that updates the bits itself would have gone on; having the fault
 * handler set them is the portable way to do so, and is not counted a fault.
 */
static bool test_sva_is_fault(struct test_sva *sva, enum test_sva_cause cause)
{
	if (cause != TEST_SVA_ACCESSED && cause != TEST_SVA_DIRTY)
		return true;
	return READ_ONCE(sva->mode) & TEST_SVA_NO_HW_AD;
}

/* Raise a page request and wait for the answer. */
static int test_sva_fault(struct test_sva_task *task, unsigned long addr,
			  bool write, enum test_sva_cause cause)
{
	struct test_sva *sva = task->sva;
	struct test_sva_request req = {
		.sva = sva, .addr = addr, .write = write,
	};
	ktime_t raised = ktime_get();

	INIT_WORK_ONSTACK(&req.work, test_sva_serve);
	init_completion(&req.served);
	queue_work(sva->faults, &req.work);
	wait_for_completion(&req.served);
	destroy_work_on_stack(&req.work);
	task->aged = cause == TEST_SVA_ACCESSED ? addr : 0;

	spin_lock_irq(&sva->lock);
	if (test_sva_is_fault(sva, cause)) {
		task->done.faults++;
		sva->stats.faults[cause]++;
		if (req.lasting)
			sva->stats.lasting[cause]++;
		test_sva_histogram(sva->stats.service, raised);
	} else {
		sva->stats.ad_updates++;
	}
	spin_unlock_irq(&sva->lock);
	return req.status;
}

/* -------------------------------- jobs -------------------------------- */

/* Do to memory what the job says.  @len does not cross a page. */
static void test_sva_operate(struct test_sva_task *task, unsigned long src_pfn,
			     unsigned long dst_pfn, u64 offset, size_t len)
{
	const struct test_sva_job *job = &task->job;
	char *src = NULL, *dst = NULL;

	if (job->op != TEST_SVA_TOUCH)
		src = kmap_local_page(pfn_to_page(src_pfn)) +
		      offset_in_page(job->src + offset);
	if (job->op != TEST_SVA_CRC32C)
		dst = kmap_local_page(pfn_to_page(dst_pfn)) +
		      offset_in_page(job->dst + offset);

	if (job->op == TEST_SVA_COPY)
		memcpy(dst, src, len);
	else if (job->op == TEST_SVA_CRC32C)
		task->done.crc = __crc32c_le(task->done.crc, src, len);
	else
		WRITE_ONCE(*dst, READ_ONCE(*dst));

	if (dst)
		kunmap_local(dst);
	if (src)
		kunmap_local(src);
}

/* One access, or the page request that it needs; -EAGAIN after the latter. */
static int test_sva_access(struct test_sva_task *task, u64 offset, size_t len)
{
	const struct test_sva_job *job = &task->job;
	unsigned long src = job->src + offset, dst = job->dst + offset;
	unsigned long src_pfn = 0, dst_pfn = 0;
	struct test_sva *sva = task->sva;
	enum test_sva_cause cause = TEST_SVA_OK;
	bool write = false;

	spin_lock_irq(&sva->lock);
	if (!sva->alive) {
		spin_unlock_irq(&sva->lock);
		return -ESRCH;
	}
	if (job->op != TEST_SVA_TOUCH)
		cause = test_sva_translate(task, src, false, &src_pfn);
	if (cause == TEST_SVA_OK && job->op != TEST_SVA_CRC32C) {
		write = true;
		cause = test_sva_translate(task, dst, true, &dst_pfn);
	}
	if (cause == TEST_SVA_OK)
		test_sva_operate(task, src_pfn, dst_pfn, offset, len);
	spin_unlock_irq(&sva->lock);

	if (cause == TEST_SVA_OK)
		return 0;
	return test_sva_fault(task, write ? dst : src, write, cause) ?: -EAGAIN;
}

/* So far that neither address crosses a page. */
static size_t test_sva_chunk(const struct test_sva_job *job, u64 offset)
{
	size_t len = min(job->len - offset, PAGE_SIZE);

	if (job->op != TEST_SVA_TOUCH)
		len = min(len, PAGE_SIZE - offset_in_page(job->src + offset));
	if (job->op != TEST_SVA_CRC32C)
		len = min(len, PAGE_SIZE - offset_in_page(job->dst + offset));
	return len;
}

static int test_sva_run_once(struct test_sva_task *task)
{
	u64 offset = 0;
	size_t len;
	int ret;

	task->done.crc = ~0;
	while (offset < task->job.len) {
		len = test_sva_chunk(&task->job, offset);
		ret = test_sva_access(task, offset, len);
		if (!ret)
			offset += len;
		else if (ret != -EAGAIN)
			return ret;
		cond_resched();
	}
	task->done.crc = ~task->done.crc;
	return 0;
}

static void test_sva_complete(struct test_sva_task *task)
{
	struct test_sva *sva = task->sva;

	spin_lock_irq(&sva->lock);
	test_sva_histogram(sva->stats.latency, task->submitted);
	spin_unlock_irq(&sva->lock);

	spin_lock_irq(&sva->done_lock);
	list_add_tail(&task->list, &sva->done);
	if (sva->eventfd)
		eventfd_signal(sva->eventfd);
	spin_unlock_irq(&sva->done_lock);
	wake_up_interruptible(&sva->wait);
}

static void test_sva_run(struct work_struct *work)
{
	struct test_sva_task *task =
		container_of(work, struct test_sva_task, work);
	u32 i;

	for (i = 0; i < task->job.repeat && !task->done.status; i++)
		task->done.status = test_sva_run_once(task);
	task->done.latency_ns = ktime_to_ns(ktime_sub(ktime_get(),
						      task->submitted));
	test_sva_complete(task);
}

static bool test_sva_job_valid(const struct test_sva_job *job)
{
	u64 end;

	return job->op <= TEST_SVA_TOUCH && job->repeat && job->len &&
	       !check_add_overflow(job->src, job->len, &end) &&
	       end <= ULONG_MAX &&
	       !check_add_overflow(job->dst, job->len, &end) &&
	       end <= ULONG_MAX;
}

static int test_sva_submit(struct test_sva *sva, void __user *arg)
{
	struct test_sva_task *task;
	bool room;

	task = kzalloc(sizeof(*task), GFP_KERNEL_ACCOUNT);
	if (!task)
		return -ENOMEM;
	if (copy_from_user(&task->job, arg, sizeof(task->job))) {
		kfree(task);
		return -EFAULT;
	}
	if (!test_sva_job_valid(&task->job)) {
		kfree(task);
		return -EINVAL;
	}

	spin_lock_irq(&sva->done_lock);
	room = sva->nr_jobs < TEST_SVA_MAX_JOBS;
	if (room)
		sva->nr_jobs++;
	spin_unlock_irq(&sva->done_lock);
	if (!room) {
		kfree(task);
		return -EAGAIN;
	}

	task->sva = sva;
	task->done.cookie = task->job.cookie;
	task->submitted = ktime_get();
	INIT_WORK(&task->work, test_sva_run);
	queue_work(sva->jobs, &task->work);
	return 0;
}

static struct test_sva_task *test_sva_next_done(struct test_sva *sva)
{
	struct test_sva_task *task;

	spin_lock_irq(&sva->done_lock);
	task = list_first_entry_or_null(&sva->done, struct test_sva_task, list);
	if (task) {
		list_del(&task->list);
		sva->nr_jobs--;
	}
	spin_unlock_irq(&sva->done_lock);
	return task;
}

static ssize_t test_sva_read(struct file *file, char __user *buf, size_t count,
			     loff_t *pos)
{
	struct test_sva *sva = file->private_data;
	struct test_sva_task *task = NULL;
	ssize_t copied = 0;

	if (count < sizeof(task->done))
		return -EINVAL;
	if (!(file->f_flags & O_NONBLOCK) &&
	    wait_event_interruptible(sva->wait, !list_empty_careful(&sva->done)))
		return -ERESTARTSYS;

	while (copied + sizeof(task->done) <= count) {
		bool fault;

		task = test_sva_next_done(sva);
		if (!task)
			break;
		fault = copy_to_user(buf + copied, &task->done,
				     sizeof(task->done));
		kfree(task);
		if (fault)
			return -EFAULT;
		copied += sizeof(task->done);
	}
	return copied ?: -EAGAIN;
}

static __poll_t test_sva_poll(struct file *file, poll_table *wait)
{
	struct test_sva *sva = file->private_data;

	poll_wait(file, &sva->wait, wait);
	return list_empty_careful(&sva->done) ? 0 : EPOLLIN | EPOLLRDNORM;
}

/* ----------------------------- the device ----------------------------- */

static int test_sva_set_eventfd(struct test_sva *sva, int fd)
{
	struct eventfd_ctx *new = NULL;

	if (fd >= 0) {
		new = eventfd_ctx_fdget(fd);
		if (IS_ERR(new))
			return PTR_ERR(new);
	}
	spin_lock_irq(&sva->done_lock);
	swap(sva->eventfd, new);
	spin_unlock_irq(&sva->done_lock);
	if (new)
		eventfd_ctx_put(new);
	return 0;
}

static int test_sva_set_mode(struct test_sva *sva, unsigned long mode)
{
	if (mode & ~TEST_SVA_NO_HW_AD)
		return -EINVAL;
	spin_lock_irq(&sva->lock);
	WRITE_ONCE(sva->mode, mode);
	spin_unlock_irq(&sva->lock);
	return 0;
}

static int test_sva_get_stats(struct test_sva *sva, void __user *arg)
{
	struct test_sva_stats *stats;
	int ret;

	stats = kmalloc(sizeof(*stats), GFP_KERNEL);
	if (!stats)
		return -ENOMEM;
	spin_lock_irq(&sva->lock);
	*stats = sva->stats;
	spin_unlock_irq(&sva->lock);
	stats->writes = sva->checked ? atomic64_read(&sva->writes) :
				       TEST_SVA_UNKNOWN;
	ret = copy_to_user(arg, stats, sizeof(*stats)) ? -EFAULT : 0;
	kfree(stats);
	return ret;
}

static int test_sva_reset(struct test_sva *sva)
{
	spin_lock_irq(&sva->lock);
	memset(&sva->stats, 0, sizeof(sva->stats));
	spin_unlock_irq(&sva->lock);
	atomic64_set(&sva->writes, 0);
	return 0;
}

static long test_sva_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct test_sva *sva = file->private_data;

	switch (cmd) {
	case TEST_SVA_SUBMIT:
		return test_sva_submit(sva, (void __user *)arg);
	case TEST_SVA_STATS:
		return test_sva_get_stats(sva, (void __user *)arg);
	case TEST_SVA_RESET:
		return test_sva_reset(sva);
	case TEST_SVA_SET_MODE:
		return test_sva_set_mode(sva, arg);
	case TEST_SVA_SET_EVENTFD:
		return test_sva_set_eventfd(sva, arg);
	case TEST_SVA_WATCH:
		return test_sva_watch(sva, (void __user *)arg);
	case TEST_SVA_UNWATCH:
		return test_sva_unwatch(sva);
	case TEST_SVA_CHECK:
		return test_sva_check(sva);
	default:
		return -ENOTTY;
	}
}

static void test_sva_free(struct test_sva *sva)
{
	if (sva->jobs)
		destroy_workqueue(sva->jobs);
	if (sva->faults)
		destroy_workqueue(sva->faults);
	kvfree(sva);
}

static struct test_sva *test_sva_alloc(void)
{
	struct test_sva *sva;

	sva = kvzalloc(sizeof(*sva), GFP_KERNEL_ACCOUNT);
	if (!sva)
		return NULL;
	spin_lock_init(&sva->lock);
	spin_lock_init(&sva->done_lock);
	INIT_LIST_HEAD(&sva->watches);
	INIT_LIST_HEAD(&sva->done);
	init_waitqueue_head(&sva->wait);
	xa_init(&sva->frames);
	sva->checker.notifier_call = test_sva_lost;
	sva->alive = true;
	sva->mm = current->mm;
	sva->notifier.ops = &test_sva_notifier_ops;
	/* A device does not wait for its turn; who serves its requests does. */
	sva->jobs = alloc_workqueue("test_sva_jobs", WQ_UNBOUND | WQ_HIGHPRI, 0);
	sva->faults = alloc_workqueue("test_sva_iopf", WQ_UNBOUND, 0);
	if (sva->jobs && sva->faults)
		return sva;
	test_sva_free(sva);
	return NULL;
}

static int test_sva_open(struct inode *inode, struct file *file)
{
	struct test_sva *sva;
	int ret;

	sva = test_sva_alloc();
	if (!sva)
		return -ENOMEM;
	ret = mmu_notifier_register(&sva->notifier, sva->mm);
	if (ret) {
		test_sva_free(sva);
		return ret;
	}
	sva->checked = !page_table_check_register(&sva->checker);
	file->private_data = sva;
	return nonseekable_open(inode, file);
}

static int test_sva_close(struct inode *inode, struct file *file)
{
	struct test_sva *sva = file->private_data;
	struct test_sva_task *task;

	test_sva_stop(sva);
	if (sva->checked)
		page_table_check_unregister(&sva->checker);
	flush_workqueue(sva->jobs);
	mmu_notifier_unregister(&sva->notifier, sva->mm); /* drops mm */
	while ((task = test_sva_next_done(sva)))
		kfree(task);
	test_sva_unwatch(sva);
	test_sva_set_eventfd(sva, -1);
	test_sva_free(sva);
	return 0;
}

static const struct file_operations test_sva_fops = {
	.owner		= THIS_MODULE,
	.open		= test_sva_open,
	.release	= test_sva_close,
	.read		= test_sva_read,
	.poll		= test_sva_poll,
	.unlocked_ioctl	= test_sva_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice test_sva_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "test_sva",
	.fops	= &test_sva_fops,
};
module_misc_device(test_sva_misc);

MODULE_DESCRIPTION("A device with shared virtual addressing, made of software");
MODULE_LICENSE("GPL");
