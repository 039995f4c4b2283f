# SPDX-License-Identifier: GPL-2.0
#
# What arch/NAME.mk says of an architecture:
#
# PACKAGES	Debian packages: QEMU, compilers, C libraries
# KARCH, IMAGE	the kernel's name for it, and the file to boot
# CONFIGS	what to add to kernel.config, if not arch/NAME.config alone
# ABIS		whose programs run on it; the first is the kernel's own
# CROSS_abi	what the names of the compiler's programs begin with,
# CFLAGS_abi	and what more it takes to compile for the ABI
# CC_abi	the compiler, if it is not gcc
# HEADERS_abi	the kernel's name for the architecture whose headers its programs
#		see, where that is not KARCH
# NOLIBC	the one among the ABIs for which there is no C library
# DEBIAN	what Debian calls it, where the guest cannot run the host's busybox
# QEMU		the machine
# MEMORY	... and how large it is
# CPU_tcg	the CPU, emulated; CPU_kvm: the same with KVM
# CONSOLE	where the kernel's log goes, the first serial line; empty: there by
#		itself
# KTAP		where the tests' output goes
# KTAP_DEVICE	QEMU's side of that: the second serial line by default
# COUNTS	where what gcov has counted goes, the third serial line
# BOOT_ARGS	what more the kernel is told

PACKAGES :=
KTAP_DEVICE := -serial chardev:ktap
CONFIGS := arch/$(ARCH).config
CPU_tcg := -accel tcg,thread=multi

# For a machine that has one serial line; KTAP is hvc0.
VIRTIO_CONSOLE := -device virtio-serial -device virtconsole,chardev=ktap
VIRTIO_MMIO_CONSOLE := -device virtio-serial-device -device virtconsole,chardev=ktap

# The second half of node 1 is for tests of CMA, where the stanza says so.
# CPUs of node 0, CPUs of node 1, number of CPUs
TWO_NODES = -smp $(or $(3),2) -m $(RAM) -object memory-backend-ram,id=m0,size=2G \
	-object memory-backend-ram,id=m1,size=$(NODE1) \
	-numa node,nodeid=0,cpus=$(or $(1),0-1),memdev=m0 \
	-numa node,nodeid=1,memdev=m1$(if $(2),$(comma)cpus=$(2))

ifeq ($(wildcard arch/$(ARCH).mk),)
$(error ARCH=$(ARCH): there is no $(HERE)/arch/$(ARCH).mk)
endif
include arch/$(ARCH).mk
