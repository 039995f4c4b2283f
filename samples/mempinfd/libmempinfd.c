// SPDX-License-Identifier: GPL-2.0
/* The library as a part of the sample, so that nothing need be installed. */
#include "../../tools/lib/mempinfd/mempinfd.c"
