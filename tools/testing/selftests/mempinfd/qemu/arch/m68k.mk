# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc
PACKAGES += gcc-m68k-linux-gnu libc6-dev-m68k-cross
KARCH := m68k
IMAGE := vmlinux
ABIS := m68k
CROSS_m68k := m68k-linux-gnu-
QEMU := qemu-system-m68k -machine virt
MEMORY := -m 512M
CPU_tcg := -accel tcg
CONSOLE := ttyGF0
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_MMIO_CONSOLE)
