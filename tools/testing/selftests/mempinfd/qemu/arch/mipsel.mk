# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-mips
PACKAGES += gcc-mipsel-linux-gnu libc6-dev-mipsel-cross
KARCH := mips
IMAGE := vmlinux
ABIS := mipsel
CROSS_mipsel := mipsel-linux-gnu-
DEBIAN := mipsel
QEMU := qemu-system-mipsel -machine malta
MEMORY := -m 512M
CPU_tcg := -accel tcg -cpu 24Kf
CONSOLE := ttyS0
KTAP := ttyS1
# By itself the area would be in two zones, which no area can.
BOOT_ARGS := END=reboot cma=32M@64M
