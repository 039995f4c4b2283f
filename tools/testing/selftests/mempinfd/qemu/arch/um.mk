# SPDX-License-Identifier: GPL-2.0
KARCH := um
IMAGE := linux
ABIS := x86_64
HEADERS_x86_64 := x86
CPU_tcg :=
KTAP := tty0
# A program: its first console is our output, its first serial line our log.
GUEST = -- ./$(IMAGE) mem=1G initrd=$(BUILD)/initramfs.cpio \
	con=null con0=null,fd:1 ssl=null ssl0=null,fd:2 console=ttyS0 \
	panic=-1 ramdisk_size=32768 KTAP=$(KTAP) $(1)
