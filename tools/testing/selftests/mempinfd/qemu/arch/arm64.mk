# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-arm
PACKAGES += gcc-aarch64-linux-gnu libc6-dev-arm64-cross
PACKAGES += gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
KARCH := arm64
IMAGE := arch/arm64/boot/Image
ABIS := arm64 arm
CROSS_arm64 := aarch64-linux-gnu-
CROSS_arm := arm-linux-gnueabihf-
HEADERS_arm := arm
DEBIAN := arm64
QEMU := qemu-system-aarch64 -machine virt,gic-version=3 -device edu
# Node 1 has memory that can go offline.
MEMORY = $(call TWO_NODES) -m maxmem=$(MAXMEM) \
	-object memory-backend-ram,id=plugged,size=512M \
	-device virtio-mem-pci,memdev=plugged,node=1,requested-size=512M
MAXMEM := 16G
CPU_tcg += -cpu max,pauth-impdef=on
CONSOLE := ttyAMA0
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_CONSOLE)
BOOT_ARGS := numa_cma=1:512M memhp_default_state=online
