# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own mm selftests, on this kernel and on the one in PRISTINE, the
# base. Included by ../Makefile.

MM := $(BUILD)-mm
MM_BASE := $(MM)-base
MM_CONFIG := $(FRAGMENTS) mm/kernel.config
MM_TESTS := $(or $(MM_TESTS),$(shell sed -n 's/^\([a-z]\S*\).*/\1/p' mm/tests))

.PHONY: test-mm mm-kernels mm-initramfs mm-guest

mm-kernels:
	@$(MAKE) BUILD=$(MM) FRAGMENTS='$(MM_CONFIG)' headers
	@$(MAKE) BUILD=$(MM_BASE) KERNEL=$(PRISTINE) \
		FRAGMENTS='$(MM_CONFIG) mm/base.config' kernel

mm-initramfs: mm-kernels
	$(Q)$(STEP) 'init' $(MM)/init.log ./build-tests $(MM) $(JOBS) enosys \
		'$(ABI)=$(call compiler,$(ABI))'
	$(Q)$(STEP) 'mm selftests' $(MM)/tests.log mm/build $(MM) $(JOBS) \
		'$(CROSS_$(ABI))'
	$(Q)$(STEP) 'initramfs' $(MM)/initramfs.log ./build-initramfs $(MM) \
		$(ABI) mm

# The migration test wants three CPUs.
mm-guest: MEMORY = $(call TWO_NODES,0-2,,3)
mm-guest:
	$(Q)($(VM) record $(call GUEST,MODE=test ABIS=mm \
		TESTS=$(call list,$(TESTS)) RUNNER=/tests/mm/run LIMIT=1200 \
		$(if $(HOLD),HOLD=1))); \
	status=$$?; \
	mv $(WHERE)/ktap.log $(WHERE)/$(RUN).ktap; \
	mv $(WHERE)/console.log $(WHERE)/$(RUN).console; exit $$status

# mm_boot: which kernel, its directory, tests, name of the run, HOLD
mm_boot = $(STEP) 'mm tests: $(1)' $(2)/$(4).log $(MAKE) BUILD=$(MM) \
	WHERE=$(2) TESTS="$(3)" RUN=$(4) HOLD=$(5) TIMEOUT=5400 mm-guest
mm_both = $(call mm_boot,base,$(MM_BASE),$(1),$(2)) && \
	$(call mm_boot,patched,$(MM),$(1),$(2),$(HOLD))

# What differs is run three times more: a test may be flaky.
test-mm: mm-initramfs
	@rm -f $(MM)/again.* $(MM_BASE)/again.*
	@$(call mm_both,$(MM_TESTS),first)
	@again=$$(mm/compare --again $(MM_BASE) $(MM)); [ -z "$$again" ] || { \
		$(call mm_both,$$again $$again $$again,again); }
	@mm/compare $(MM_BASE) $(MM) > $(MM)/compare.txt; status=$$?; \
	cat $(MM)/compare.txt; exit $$status
