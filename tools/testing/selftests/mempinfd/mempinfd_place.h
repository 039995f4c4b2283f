/* SPDX-License-Identifier: GPL-2.0 */
/* Where memory comes from: nodes and CMA areas. */
#ifndef MEMPINFD_PLACE_H
#define MEMPINFD_PLACE_H

#include "mempinfd_mem.h"

#include <glob.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>

/* ---- nodes ---- */

static inline bool has_two_nodes(void)
{
	return !access("/sys/devices/system/node/node0", F_OK) &&
	       !access("/sys/devices/system/node/node1", F_OK);
}

static inline int allocate_on(int node)
{
	unsigned long nodes = 1UL << node;

	if (node < 0)
		return syscall(__NR_set_mempolicy, MPOL_DEFAULT, NULL, 0);
	return syscall(__NR_set_mempolicy, MPOL_BIND, &nodes, 8 * sizeof(nodes));
}

/* ---- CMA ---- */

#define CMA_DIR		"/sys/kernel/debug/cma/"

struct cma {
	char dir[64];
	uint64_t first;		/* page frame number */
	uint64_t frames;
};

static inline long long cma_read(const struct cma *cma, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", cma->dir, name);
	return read_number(path);
}

static inline int cma_write(const struct cma *cma, const char *name, uint64_t pages)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "%s/%s", cma->dir, name);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)pages);
	return write_text(path, text);
}

/* The largest area that no driver uses. */
static inline int cma_find(struct cma *largest)
{
	struct cma cma;
	glob_t found;
	size_t i;

	largest->frames = 0;
	if (glob(CMA_DIR "*", GLOB_ONLYDIR, NULL, &found))
		return -1;
	for (i = 0; i < found.gl_pathc; i++) {
		snprintf(cma.dir, sizeof(cma.dir), "%s", found.gl_pathv[i]);
		cma.first = cma_read(&cma, "base_pfn");
		cma.frames = cma_read(&cma, "count");
		if (cma.frames > largest->frames && !cma_read(&cma, "used"))
			*largest = cma;
	}
	globfree(&found);
	return largest->frames ? 0 : -1;
}

/* One page in use for a moment is enough to make it fail once. */
static inline int cma_alloc_all(const struct cma *cma)
{
	int tries;

	for (tries = 0; tries < 10; tries++) {
		if (!cma_write(cma, "alloc", cma->frames))
			return 0;
		usleep(100000);
	}
	return -1;
}

#endif /* MEMPINFD_PLACE_H */
