# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc
PACKAGES += gcc-or1k-elf
KARCH := openrisc
IMAGE := vmlinux
ABIS := openrisc
CROSS_openrisc := or1k-elf-
NOLIBC := openrisc
# For the compiler there is no system, and programs begin at 0x100.
CFLAGS_openrisc := -Wl,-e,_start -Wl,-Ttext-segment=0x10000
QEMU := qemu-system-or1k -machine virt
MEMORY := -m 512M
CPU_tcg := -accel tcg
CONSOLE := ttyS0
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_MMIO_CONSOLE)
