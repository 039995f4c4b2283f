# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-x86
PACKAGES += gcc-i686-linux-gnu libc6-dev-i386-cross
KARCH := i386
IMAGE := arch/x86/boot/bzImage
ABIS := i386
CROSS_i386 := i686-linux-gnu-
DEBIAN := i386
QEMU := qemu-system-i386 -machine pc
# A program can have all of it, to get at the area of CMA.
MEMORY := -smp 2 -m 2G
CPU_tcg += -cpu max
CONSOLE := ttyS0
KTAP := ttyS1
# Without ACPI, which is large, there is no power to switch off. By itself the
# area would be where DMA is wanted first.
BOOT_ARGS := no_timer_check END=reboot cma=64M@512M
