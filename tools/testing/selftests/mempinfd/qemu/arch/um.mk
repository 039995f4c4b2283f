# SPDX-License-Identifier: GPL-2.0
KARCH := um
IMAGE := linux
ABIS := x86_64
CPU_tcg :=
KTAP := tty0
GUEST = -- ./$(IMAGE) mem=1G initrd=$(BUILD)/initramfs.cpio con=null \
	con0=fd:0,fd:1 panic=-1 ramdisk_size=32768 KTAP=$(KTAP) $(1)
