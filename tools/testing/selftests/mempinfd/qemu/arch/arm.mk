# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-arm
PACKAGES += gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
KARCH := arm
IMAGE := arch/arm/boot/zImage
ABIS := arm
CROSS_arm := arm-linux-gnueabihf-
DEBIAN := armhf
QEMU := qemu-system-arm -machine virt -device edu
MEMORY := -smp 2 -m 2G
CPU_tcg += -cpu cortex-a15
CONSOLE := ttyAMA0
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_CONSOLE)
