# SPDX-License-Identifier: GPL-2.0
PACKAGES += qemu-system-misc
PACKAGES += gcc-s390x-linux-gnu libc6-dev-s390x-cross
PACKAGES += gcc-multilib-s390x-linux-gnu libc6-dev-s390-s390x-cross
KARCH := s390
IMAGE := arch/s390/boot/bzImage
ABIS := s390x s390
CROSS_s390x := s390x-linux-gnu-
CROSS_s390 := s390x-linux-gnu-
CFLAGS_s390 := -m31
DEBIAN := s390x
QEMU := qemu-system-s390x -machine s390-ccw-virtio
MEMORY := -smp 2 -m 2G
CPU_tcg += -cpu max
KTAP := hvc0
KTAP_DEVICE := $(VIRTIO_CONSOLE)
BOOT_ARGS := cma=512M
