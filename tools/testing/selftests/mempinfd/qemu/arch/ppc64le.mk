# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-ppc
PACKAGES += gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross
KARCH := powerpc
IMAGE := vmlinux
ABIS := ppc64le ppc32le
CROSS_ppc64le := powerpc64le-linux-gnu-
CROSS_ppc32le := powerpc64le-linux-gnu-
CFLAGS_ppc32le := -m32
NOLIBC := ppc32le
DEBIAN := ppc64el
# Without a variable to keep there the NVRAM would be empty, which the kernel
# takes for damage.
QEMU := qemu-system-ppc64 -machine pseries,x-vof=on -vga none -device edu \
	-prom-env boot-command=boot
MEMORY = $(call TWO_NODES,0,1)
CPU_tcg += -cpu power9
CONSOLE := hvc0
KTAP := hvc1
