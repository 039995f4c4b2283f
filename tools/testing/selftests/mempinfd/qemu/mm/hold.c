// SPDX-License-Identifier: GPL-2.0
/*
 * hold READY
 *
 * Pins memory of every kind, makes the file READY, holds the pins until it gets
 * SIGTERM, and says whether the pages are still where they were and hold what
 * they held.  For tests of other things to run beside it.
 */
#include "../../mempinfd_calls.h"
#include "../../mempinfd_mem.h"

#include <err.h>
#include <signal.h>

#include "../../../kselftest.h"

#define SIZE	(4 << 20)

/* Who is charged: what root may lock is for the tests. */
#define HOLD_USER	23456

static struct held {
	enum memory_kind kind;
	struct region region;
	uint64_t *frames;
} held[] = {
	{ MEM_ANON }, { MEM_THP }, { MEM_MTHP_64K }, { MEM_HUGETLB_PRIVATE },
	{ MEM_HUGETLB_SHARED }, { MEM_FILE_PRIVATE }, { MEM_MEMFD }, { MEM_MEMFD_THP },
};

static int mempinfd_of(uid_t user)
{
	int fd;

	if (setresuid(user, -1, -1))
		return -1;
	fd = mempinfd();
	return setresuid(0, -1, -1) ? -1 : fd;
}

static void hold(int fd, struct held *h)
{
	struct region *r = &h->region;

	if (region_map(r, h->kind, SIZE) || region_fill(r, h->kind))
		err(1, "%s", memory_kind_name(h->kind));
	if (pin(fd, r->addr, r->size))
		err(1, "PIN of %s", memory_kind_name(h->kind));
	h->frames = region_frames(r);
	if (!h->frames)
		err(1, "pagemap");
}

/* Returns how much is wrong. */
static int let_go(int fd, struct held *h)
{
	const struct region *r = &h->region;
	const char *name = memory_kind_name(h->kind);
	size_t moved = region_moved(r, h->frames);
	bool same = region_holds(r, h->kind);
	int ret = unpin(fd, r->addr, r->size);

	if (moved)
		printf("# %s: %zu pages have moved\n", name, moved);
	if (!same)
		printf("# %s: the contents have changed\n", name);
	if (ret)
		printf("# %s: UNPIN: %s\n", name, strerror(errno));
	region_unmap(&h->region);
	return !!moved + !same + !!ret;
}

static void wait_for_signal(const char *ready)
{
	sigset_t signals;
	int signal, fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = open(ready, O_CREAT | O_WRONLY, 0644);
	if (fd < 0)
		err(1, "%s", ready);
	close(fd);
	sigwait(&signals, &signal);
}

int main(int argc, char **argv)
{
	struct mem_pin_info info;
	int fd, wrong = 0;
	size_t i;

	if (argc != 2)
		errx(2, "usage: hold READY");
	fd = mempinfd_of(HOLD_USER);
	if (fd < 0)
		err(1, "mempinfd");
	for (i = 0; i < ARRAY_SIZE(held); i++)
		hold(fd, &held[i]);
	wait_for_signal(argv[1]);

	if (pin_info(fd, &info))
		err(1, "INFO");
	/* backwards: what a region changed in the system goes back in steps */
	for (i = ARRAY_SIZE(held); i; i--)
		wrong += let_go(fd, &held[i - 1]);
	printf("%s 1000 %llu pins of %llu pages held\n", wrong ? "not ok" : "ok",
	       (unsigned long long)info.pins, (unsigned long long)info.pinned_pages);
	return !!wrong;
}
