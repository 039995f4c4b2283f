// SPDX-License-Identifier: GPL-2.0
/*
 * A security module for tests: it refuses anonymous inodes of one name.
 *
 *	echo '[userfaultfd]' > /sys/module/test_lsm/parameters/refuse
 *
 * Interfaces that are reached through an fd of their own leave it to security
 * modules who may have one.  Whether they ask, and cope with the answer, can be
 * tested with this; a real module needs a policy, and programs to load it.
 */
#include <linux/dcache.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/lsm_hooks.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <uapi/linux/lsm.h>

static char refuse[32];
module_param_string(refuse, refuse, sizeof(refuse), 0600);
MODULE_PARM_DESC(refuse, "name of the anonymous inodes to refuse");

static int test_lsm_inode_init_security_anon(struct inode *inode,
					     const struct qstr *name,
					     const struct inode *context_inode)
{
	return sysfs_streq(name->name, refuse) ? -EACCES : 0;
}

static const struct lsm_id test_lsm_id = {
	.name	= "test",
	.id	= LSM_ID_UNDEF,
};

static struct security_hook_list test_lsm_hooks[] __ro_after_init = {
	LSM_HOOK_INIT(inode_init_security_anon,
		      test_lsm_inode_init_security_anon),
};

static int __init test_lsm_init(void)
{
	security_add_hooks(test_lsm_hooks, ARRAY_SIZE(test_lsm_hooks),
			   &test_lsm_id);
	return 0;
}

DEFINE_LSM(test) = {
	.name	= "test",
	.order	= LSM_ORDER_LAST,
	.init	= test_lsm_init,
};
