# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc opensbi
PACKAGES += gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
KARCH := riscv
IMAGE := arch/riscv/boot/Image
ABIS := riscv64 riscv32
CROSS_riscv64 := riscv64-linux-gnu-
CROSS_riscv32 := riscv64-linux-gnu-
CFLAGS_riscv32 := -march=rv32imac -mabi=ilp32
NOLIBC := riscv32
# With two nodes the PLICs bring no interrupt of a PCI device.
QEMU := qemu-system-riscv64 -machine virt,aia=aplic-imsic -device edu
MEMORY = $(call TWO_NODES,0,1)
CONSOLE := ttyS0
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_CONSOLE)
# An area of CMA has to be below 4 GiB; that of the test, in node 1, would not be.
