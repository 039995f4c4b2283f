// SPDX-License-Identifier: GPL-2.0
/*
 * The table of guarantee.c: as text, and as comma-separated values for programs.
 * Each line begins with "# ", which makes it a comment in KTAP.
 */
#include "guarantee.h"

static const char * const causes[TEST_SVA_NR_CAUSES] = {
	[TEST_SVA_NOT_PRESENT] = "not-present",
	[TEST_SVA_MIGRATION] = "migration",
	[TEST_SVA_PROT_NONE] = "prot-none",
	[TEST_SVA_WRITE_PROTECTED] = "write-protected",
	[TEST_SVA_MOVED] = "moved",
};

static void print_counts(const char *title, const __u64 *counts)
{
	int i;

	for (i = 0; i < TEST_SVA_NR_CAUSES; i++)
		if (counts[i])
			printf("#   %s %s: %llu\n", title, causes[i],
			       (unsigned long long)counts[i]);
}

void print_causes(const struct result *r)
{
	print_counts("transient", r->transient);
	print_counts("lasting", r->lasting);
	if (r->writes)
		printf("#   writes that take access away: %llu\n",
		       (unsigned long long)r->writes);
}

/* ---- as text ---- */

static void print_head(void)
{
	size_t i;

	printf("# transient/lasting/moved pages\n# %-19s %-14s", "", "");
	for (i = 0; i < nr_protections; i++)
		printf(" %15s", protections[i].name);
	printf("\n");
}

static void print_cell(const struct cell *c)
{
	const struct result *r = &c->result;
	const char *text = r->why[0] ? "failed" : "";
	char counts[64];

	if (r->ran && (faults(r) || r->moved)) {
		sprintf(counts, "%llu/%llu/%llu",
			(unsigned long long)sva_sum(r->transient),
			(unsigned long long)sva_sum(r->lasting),
			(unsigned long long)r->moved);
		text = counts;
	} else if (r->ran) {
		text = "0";
	} else if (not_applicable(c->stressor, c->kind, c->protection)) {
		text = "n/a";
	}
	printf(" %15s", text);
}

static bool has_results(const struct cell *line)
{
	size_t i;

	for (i = 0; i < nr_protections; i++)
		if (line[i].result.ran)
			return true;
	return false;
}

/* One line for the cells of a stressor and a kind. */
void print_table(const struct cell *cells)
{
	const struct cell *line = cells;
	size_t i, j;

	print_head();
	for (i = 0; i < nr_stressors * nr_kinds; i++, line += nr_protections) {
		if (!has_results(line))
			continue;
		printf("# %-19s %-14s", line->stressor->name, line->kind->name);
		for (j = 0; j < nr_protections; j++)
			print_cell(&line[j]);
		printf("\n");
	}
}

/* ---- why not ---- */

void print_not_applicable(void)
{
	const struct stressor *s;
	const char *why;
	size_t i;

	printf("# not applicable, because\n");
	for (s = stressors; s < stressors + nr_stressors; s++)
		for (i = 0; i < nr_kinds; i++) {
			why = not_applicable(s, &kinds[i], &protections[0]);
			if (why)
				printf("# %-19s %-14s %s\n", s->name, kinds[i].name, why);
		}
}

/* ---- as comma-separated values ---- */

static void print_csv_head(void)
{
	int i;

	printf("# csv,stressor,kind,protection");
	for (i = TEST_SVA_NOT_PRESENT; i < TEST_SVA_NR_CAUSES; i++)
		if (causes[i])
			printf(",%s,%s-lasting", causes[i], causes[i]);
	printf(",elsewhere\n");
}

static void print_csv_cell(const struct cell *c)
{
	const struct result *r = &c->result;
	int i;

	printf("# csv,%s,%s,%s", c->stressor->name, c->kind->name, c->protection->name);
	for (i = TEST_SVA_NOT_PRESENT; i < TEST_SVA_NR_CAUSES; i++)
		if (causes[i])
			printf(",%llu,%llu", (unsigned long long)r->transient[i],
			       (unsigned long long)r->lasting[i]);
	printf(",%llu\n", (unsigned long long)r->moved);
}

void print_csv(const struct cell *cells)
{
	size_t i;

	print_csv_head();
	for (i = 0; i < nr_stressors * nr_kinds * nr_protections; i++)
		if (cells[i].result.ran)
			print_csv_cell(&cells[i]);
}
