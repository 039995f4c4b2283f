# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-ppc
PACKAGES += gcc-powerpc64-linux-gnu libc6-dev-ppc64-cross
PACKAGES += gcc-powerpc-linux-gnu libc6-dev-powerpc-cross
KARCH := powerpc
IMAGE := vmlinux
ABIS := ppc64 ppc32
CROSS_ppc64 := powerpc64-linux-gnu-
CROSS_ppc32 := powerpc-linux-gnu-
QEMU := qemu-system-ppc64 -machine pseries,x-vof=on -vga none -device edu \
	-prom-env boot-command=boot
MEMORY = $(call TWO_NODES,0,1)
CPU_tcg += -cpu power8
CONSOLE := hvc0
KTAP := hvc1
