/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mempinfd

#if !defined(_TRACE_MEMPINFD_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MEMPINFD_H

#include <linux/tracepoint.h>

/* One MEM_CMD_PIN or MEM_CMD_UNPIN: the range as the caller gave it. */
DECLARE_EVENT_CLASS(mempin_range,

	TP_PROTO(u64 addr, u64 size, int ret),

	TP_ARGS(addr, size, ret),

	TP_STRUCT__entry(
		__field(u64, addr)
		__field(u64, size)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->addr = addr;
		__entry->size = size;
		__entry->ret = ret;
	),

	TP_printk("addr=0x%llx size=0x%llx ret=%d",
		  __entry->addr, __entry->size, __entry->ret)
);

DEFINE_EVENT(mempin_range, mempin_pin,
	TP_PROTO(u64 addr, u64 size, int ret),
	TP_ARGS(addr, size, ret)
);

DEFINE_EVENT(mempin_range, mempin_unpin,
	TP_PROTO(u64 addr, u64 size, int ret),
	TP_ARGS(addr, size, ret)
);

#endif /* _TRACE_MEMPINFD_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
