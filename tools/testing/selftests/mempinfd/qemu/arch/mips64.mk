# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-mips
PACKAGES += gcc-mips64-linux-gnuabi64 libc6-dev-mips64-cross
PACKAGES += gcc-multilib-mips64-linux-gnuabi64
PACKAGES += libc6-dev-mips32-mips64-cross libc6-dev-mipsn32-mips64-cross
KARCH := mips
IMAGE := vmlinux
ABIS := mips64 mipsn32 mipso32
CROSS_mips64 := mips64-linux-gnuabi64-
CROSS_mipsn32 := mips64-linux-gnuabi64-
CFLAGS_mipsn32 := -mabi=n32
CROSS_mipso32 := mips64-linux-gnuabi64-
CFLAGS_mipso32 := -mabi=32
QEMU := qemu-system-mips64 -machine malta
MEMORY := -m 1G
CPU_tcg := -accel tcg -cpu MIPS64R2-generic
CONSOLE := ttyS0
KTAP := ttyS1
BOOT_ARGS := END=reboot cma=64M
