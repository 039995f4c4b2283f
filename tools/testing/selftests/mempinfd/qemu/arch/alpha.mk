# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc
PACKAGES += gcc-alpha-linux-gnu
KARCH := alpha
IMAGE := vmlinux
ABIS := alpha
CROSS_alpha := alpha-linux-gnu-
NOLIBC := alpha
QEMU := qemu-system-alpha -machine clipper
MEMORY := -m 512M
CPU_tcg := -accel tcg
CONSOLE := ttyS0
KTAP := ttyS1
