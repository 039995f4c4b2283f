# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-sparc
PACKAGES += gcc-sparc64-linux-gnu libc6-dev-sparc64-cross
PACKAGES += gcc-multilib-sparc64-linux-gnu libc6-dev-sparc-sparc64-cross
KARCH := sparc
IMAGE := vmlinux
ABIS := sparc64 sparc32
CROSS_sparc64 := sparc64-linux-gnu-
CROSS_sparc32 := sparc64-linux-gnu-
CFLAGS_sparc32 := -m32
QEMU := qemu-system-sparc64 -machine sun4u
MEMORY := -m 1G
CPU_tcg := -accel tcg
CONSOLE := ttyS0
KTAP := hvc0
# Its first bus has no room for it.
KTAP_DEVICE := -device virtio-serial,bus=pciB -device virtconsole,chardev=ktap
