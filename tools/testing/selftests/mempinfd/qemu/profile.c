// SPDX-License-Identifier: GPL-2.0
/*
 * A QEMU plugin that counts the instructions of the guest between two functions
 * of a program in it:
 *
 *   -plugin profile.so,start=ADDRESS,stop=ADDRESS,out=FILE
 *
 * Executing START's first instruction starts the count, STOP's ends it, as often
 * as that happens; then FILE gets a line for each block of code that was run: its
 * address, its number of instructions, how often it ran.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-plugin.h"

int qemu_plugin_version = PLUGIN_VERSION;

/* QEMU translates a block again when it likes to: addresses can repeat. */
struct block {
	struct block *next;
	unsigned long long address;
	unsigned long long instructions;
	unsigned long long runs;
};

static struct block *blocks;
static uint64_t start, stop;
static const char *out;
static bool counting;

/* Each time: QEMU may be killed, and then there is no other. */
static void write_counts(void)
{
	FILE *file = fopen(out, "w");
	struct block *block;

	if (!file) {
		perror(out);
		return;
	}
	for (block = blocks; block; block = block->next)
		if (block->runs)
			fprintf(file, "%llx %llu %llu\n", block->address,
				block->instructions, block->runs);
	fclose(file);
}

static void count_block(unsigned int vcpu, void *data)
{
	struct block *block = data;

	if (counting && block->address == stop) {
		counting = false;
		write_counts();
	}
	if (counting)
		block->runs++;
	if (block->address == start)
		counting = true;
}

static void add_block(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct block *block = calloc(1, sizeof(*block));

	if (!block)
		abort();
	block->address = qemu_plugin_tb_vaddr(tb);
	block->instructions = qemu_plugin_tb_n_insns(tb);
	block->next = blocks;
	blocks = block;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, count_block, QEMU_PLUGIN_CB_NO_REGS,
					     block);
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc,
			char **argv)
{
	int i;

	for (i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "start=", 6))
			start = strtoull(argv[i] + 6, NULL, 16);
		else if (!strncmp(argv[i], "stop=", 5))
			stop = strtoull(argv[i] + 5, NULL, 16);
		else if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
	}
	if (!start || !stop || !out) {
		fputs("profile: start=, stop= and out= are needed\n", stderr);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, add_block);
	return 0;
}
