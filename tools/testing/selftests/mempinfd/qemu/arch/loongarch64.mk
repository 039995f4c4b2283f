# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc
PACKAGES += clang-19 lld-19 llvm-19
KARCH := loongarch
IMAGE := vmlinux
ABIS := loongarch64
export LLVM := -19
CC_loongarch64 := clang-19 --target=loongarch64-linux-gnu
CFLAGS_loongarch64 := -mno-lsx -fno-builtin-printf -fuse-ld=lld-19
NOLIBC := loongarch64
# This QEMU gives a kernel neither a command line nor an initramfs: the device
# tree in arch/loongarch64.diff has them.
QEMU := qemu-system-loongarch64 -machine virt -cpu la464 \
	-device loader,file=$(BUILD)/initramfs.cpio,addr=0xa0000000,force-raw=on
MEMORY := -m 1G
CPU_tcg := -accel tcg
CONSOLE := ttyS0
KTAP := ttyS1
KTAP_DEVICE := -device pci-serial,chardev=ktap
