# SPDX-License-Identifier: GPL-2.0
include arch/arm64.mk
CONFIGS := arch/arm64.config $(CONFIGS)
ABIS := arm64
# By default a huge page has 512M, which is too much for most tests.
BOOT_ARGS += default_hugepagesz=2M
