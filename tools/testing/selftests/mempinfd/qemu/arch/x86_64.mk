# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-x86 busybox-static
PACKAGES += gcc-i686-linux-gnu libc6-dev-i386-cross
PACKAGES += gcc-x86-64-linux-gnux32 libc6-dev-x32-cross
KARCH := x86_64
IMAGE := arch/x86/boot/bzImage
ABIS := x86_64 i386 x32
CROSS_x86_64 := $(if $(filter x86_64,$(shell uname -m)),,x86_64-linux-gnu-)
CROSS_i386 := i686-linux-gnu-
CROSS_x32 := x86_64-linux-gnux32-
QEMU := qemu-system-x86_64 -machine pc
MEMORY = $(call TWO_NODES)
# On a busy machine the TSC is taken for several times slower than it is, if the
# kernel measures it against the PIT instead of the HPET: all times are wrong then.
CPU_tcg += -cpu max -machine pit=off
CPU_kvm := -accel kvm -cpu host
CONSOLE := ttyS0
KTAP := ttyS1
COUNTS := ttyS2
# An IO-APIC panic is seen under load without no_timer_check. 64 MiB of node 1
# are persistent memory.
BOOT_ARGS := no_timer_check cma=512M@2G memmap=64M!2816M
