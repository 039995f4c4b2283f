# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-ppc
PACKAGES += gcc-powerpc-linux-gnu libc6-dev-powerpc-cross
KARCH := powerpc
IMAGE := vmlinux
ABIS := ppc32
CROSS_ppc32 := powerpc-linux-gnu-
# ppce500 has its devices where only CONFIG_PHYS_64BIT reaches them.
QEMU := qemu-system-ppc -machine mpc8544ds -device edu
MEMORY := -m 1G
CPU_tcg := -accel tcg -cpu e500mc
CONSOLE := ttyS0
KTAP := ttyS1
BOOT_ARGS := END=reboot
