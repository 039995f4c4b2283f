# SPDX-License-Identifier: GPL-2.0
include arch/arm64.mk
CONFIGS := arch/arm64.config $(CONFIGS)
ABIS := arm64
