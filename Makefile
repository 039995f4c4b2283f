# SPDX-License-Identifier: GPL-2.0
#
# Gets the base kernel, makes build/linux of it and of this overlay, and leaves
# the rest to tools/testing/selftests/mempinfd/qemu/Makefile there.

# The base: the version of Debian's package linux-source-6.12 that is asked for
# first. BASE=tarball-or-directory takes another kernel.
BASE_VERSION := 6.12.117-1~deb12u1

ARCH ?= x86_64
HARNESS := tools/testing/selftests/mempinfd/qemu
STEP := $(HARNESS)/step

export GUARANTEE REPEAT
export HOLD PART KIND WHO SIZE OPERATION
export SECONDS OPS SEED STEPS CROWD
override ADD := $(abspath $(ADD))
export ADD
export BASE_VERSION BASE ARCH ARCHS V JOBS TESTS ACCEL TIMEOUT KDIR SEEDS FIRST

# Programs of this directory run one at a time; what they start is parallel.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

HELP := help
BUILDING := run test test-off test-debug test-kcsan test-archs coverage soak
BUILDING += guarantee shell kernel check check-tables mutants randconfig wiring
BUILDING += series bench bench-profile
BUILDING += test-mm
BUILDING += bisect deb
.PHONY: $(HELP) $(BUILDING) patch packages tree pristine clean distclean

help: ## show this help
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16
	@echo 'and these may follow'
	@sed -n 's/^#   \([A-Z]*=.*\)/  \1/p' Makefile

#   V=1               show everything that the build prints
#   JOBS=N            run N jobs at a time instead of one for each CPU
#   ARCH=arm64        build, test, run for this architecture (qemu/arch/*.mk)
#   ARCHS='arm m68k'  test-archs: only these
#   TESTS='errno..'   test: run these programs only
#   ADD='program..'   shell: put these into the guest
#   ACCEL=kvm         use KVM without trying it first; ACCEL=auto tries it
#   TIMEOUT=SECONDS   cut a guest that takes longer
#   PART=.. KIND=..   bench: this part (cost, fault, memory, live) or kind only
#   WHO=mempinfd      bench-profile: this, and KIND= SIZE= OPERATION=unpin
#   SECONDS=N         soak: so long; or OPS=N calls; SEED, STEPS, CROWD: replay
#   SEEDS=N           randconfig: so many instead of 20; FIRST=N: from here on
#   HOLD=1            test-mm: pin memory meanwhile on the kernel with the series
#   GUARANTEE=n       leave the mm patches out of the kernel
#   REPEAT=N          guarantee: make the table N times and compare
#   BASE=PATH         take the base kernel from this tarball or directory
#   KDIR=DIR          patch: the kernel tree to patch
#   CONFIG=FILE       deb: a kernel configuration other than the guest's

ifndef MEMPINFD_LOCKED

# One make at a time in this directory; the lock goes when all of it has ended.
run: ## pin memory in a guest and show what that does
test: ## run the tests in a guest
test-archs: ## run the tests on all architectures, or on ARCHS, and write a table
test-off: ## test that a kernel without mempinfd() answers ENOSYS
test-debug: ## run the tests on a kernel that looks for its own mistakes
test-kcsan: ## run the tests with threads where data races are looked for
coverage: ## count which of our lines and branches the tests execute
soak: ## compare random calls with a model, for SECONDS=n or OPS=n
test-mm: ## compare the kernel's own mm selftests with those on the base
guarantee: ## hold pinned memory against all housekeeping, as a table
bench: ## measure what pinning costs, and beside what else there is
bench-profile: ## ... and which functions an operation of it spends that in
shell: ## get a prompt in the guest; the tests are in /tests, ADD in /
kernel: ## build the guest's kernel only
check: ## check style, sparse, documentation, tables and test coverage
check-tables: ## check the number in the tables of all architectures
mutants: ## check that the tests notice deliberate mistakes
randconfig: ## compile with random configurations of three architectures
wiring: ## write the patches of the system call tables anew
series: ## write the series as mails to build/series, and try git am
bisect: ## compile each patch of the series on those before it
deb: ## make Debian packages of kernel and library, and boot that kernel

$(BUILDING):
	@project/builddir
	@exec 9> build/lock; \
	flock -n 9 || { echo 'waiting for another make to end'; flock 9; }; \
	exec $(MAKE) MEMPINFD_LOCKED=1 $@

clean: ## remove what was built, keep the unpacked kernel
	rm -rf build/$(ARCH) build/$(ARCH)-*

distclean: ## remove the build directory
	@project/builddir --remove

else

# Kernel makefiles want a path without spaces: the real one of build/.
QEMU_MAKE = $(MAKE) -C build/linux/$(HARNESS) \
	BUILD="$$(realpath build)/$(ARCH)" OFF="$$(realpath build)/$(ARCH)-off" \
	DEBUG="$$(realpath build)/$(ARCH)-debug" \
	KCSAN="$$(realpath build)/$(ARCH)-kcsan" \
	GCOV="$$(realpath build)/$(ARCH)-gcov"

run: PACKAGES := gnuplot-nox

packages:
	@project/packages $(PACKAGES)

tree: packages
	@$(STEP) 'base kernel' build/base.log project/base build/linux
	@$(STEP) 'overlay' build/apply.log project/apply --update \
		$(if $(filter n,$(GUARANTEE)),--without '00*-mm-*') build/linux

pristine: tree
	@$(STEP) 'pristine kernel' build/pristine.log \
		project/pristine build/linux build/pristine

run test test-off test-debug test-kcsan soak guarantee bench bench-profile \
		shell kernel: tree
	@exec $(QEMU_MAKE) $@

bench: PACKAGES := gnuplot-nox
coverage: PACKAGES := lcov
coverage: tree
	@exec $(QEMU_MAKE) COVERED="$$(project/coverage --objects)" \
		INLINED="$$(project/coverage --inlined)" $@
	@exec project/coverage build/linux build/$(ARCH)-gcov

test-archs: tree
	@exec project/$@ build/linux $(ARCHS)

test-mm: PACKAGES := libcap-dev libnuma-dev liburing-dev stress-ng
test-mm: pristine
	@exec $(QEMU_MAKE) PRISTINE="$$(realpath build)/pristine" $@

check check-tables mutants randconfig: tree
	@exec project/$@ build/linux

wiring: tree
	@exec project/wire --patches build/linux

series: pristine
	@$(STEP) 'series' build/series.log \
		project/mails build/linux build/pristine build/series
	@echo "$$(ls build/series | wc -l) mails in build/series"

# The configuration is the guest's.
bisect: series
	@$(QEMU_MAKE) "$$(realpath build)/$(ARCH)/configured"
	@exec project/bisect build/pristine build/series build/$(ARCH)/.config \
		build/bisect

# A kernel that was configured here can do without what the guest needs.
DEB_GUEST := WHERE="$$(realpath build)/deb/guest" ABIS=$(ARCH) AFTER= \
	IMAGE="$$(realpath build)/deb/guest/vmlinuz" TESTS='library examples rfc'

deb: PACKAGES := debhelper dpkg-dev kmod
deb: tree
	@$(QEMU_MAKE) initramfs
	@$(STEP) 'packages' build/deb.log \
		project/deb build/linux build/$(ARCH) build/deb $(CONFIG)
	@ls build/deb/*.deb
ifndef CONFIG
	@rm -rf build/deb/guest; mkdir build/deb/guest
	@dpkg-deb --fsys-tarfile build/deb/linux-image-*.deb | \
		tar -xO --wildcards './boot/vmlinuz-*' > build/deb/guest/vmlinuz
	@exec $(QEMU_MAKE) $(DEB_GUEST) test-guest
endif

endif

patch: ## apply mempinfd to the kernel tree KDIR
	@test -n "$(KDIR)" || { echo 'usage: make patch KDIR=DIR' >&2; exit 2; }
	@project/apply "$(KDIR)"
