/* SPDX-License-Identifier: LGPL-2.1 OR MIT */
/*
 * Alpha specific definitions for NOLIBC
 */

#ifndef _NOLIBC_ARCH_ALPHA_H
#define _NOLIBC_ARCH_ALPHA_H

#include "compiler.h"
#include "crt.h"

/* The call that returns two numbers; the first is what getpid() returns. */
#ifndef __NR_getpid
#define __NR_getpid __NR_getxpid
#endif

/* Syscalls for Alpha :
 *   - syscall number is passed in $0 (v0)
 *   - arguments are in $16 .. $21 (a0 .. a5)
 *   - the system call is performed by calling PALcode's callsys
 *   - syscall return comes in $0; $19 (a3) is not zero if that is an errno
 *   - temporary registers are lost, as are the arguments
 */

#define _NOLIBC_SYSCALL_CLOBBERLIST \
	"$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", \
	"$22", "$23", "$24", "$25", "$27", "$28", "memory"

#define my_syscall0(num)                                                      \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg4 __asm__ ("$19");                                  \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "=r"(_arg4)                                     \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$16", "$17", "$18", "$20", "$21" \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall1(num, arg1)                                                \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg4 __asm__ ("$19");                                  \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "=r"(_arg4)                        \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$17", "$18", "$20", "$21"     \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall2(num, arg1, arg2)                                          \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg2 __asm__ ("$17") = (long)(arg2);                   \
	register long _arg4 __asm__ ("$19");                                  \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "=r"(_arg4)                                                 \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$18", "$20", "$21"            \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall3(num, arg1, arg2, arg3)                                    \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg2 __asm__ ("$17") = (long)(arg2);                   \
	register long _arg3 __asm__ ("$18") = (long)(arg3);                   \
	register long _arg4 __asm__ ("$19");                                  \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "=r"(_arg4)                                    \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$20", "$21"                   \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall4(num, arg1, arg2, arg3, arg4)                              \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg2 __asm__ ("$17") = (long)(arg2);                   \
	register long _arg3 __asm__ ("$18") = (long)(arg3);                   \
	register long _arg4 __asm__ ("$19") = (long)(arg4);                   \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4)                                    \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$20", "$21"                   \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall5(num, arg1, arg2, arg3, arg4, arg5)                        \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg2 __asm__ ("$17") = (long)(arg2);                   \
	register long _arg3 __asm__ ("$18") = (long)(arg3);                   \
	register long _arg4 __asm__ ("$19") = (long)(arg4);                   \
	register long _arg5 __asm__ ("$20") = (long)(arg5);                   \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4), "+r"(_arg5)                       \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "$21"                          \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

#define my_syscall6(num, arg1, arg2, arg3, arg4, arg5, arg6)                  \
({                                                                            \
	register long _num __asm__ ("$0") = (num);                            \
	register long _arg1 __asm__ ("$16") = (long)(arg1);                   \
	register long _arg2 __asm__ ("$17") = (long)(arg2);                   \
	register long _arg3 __asm__ ("$18") = (long)(arg3);                   \
	register long _arg4 __asm__ ("$19") = (long)(arg4);                   \
	register long _arg5 __asm__ ("$20") = (long)(arg5);                   \
	register long _arg6 __asm__ ("$21") = (long)(arg6);                   \
									      \
	__asm__ volatile (                                                    \
		"callsys\n"                                                   \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4), "+r"(_arg5),                      \
		  "+r"(_arg6)                                                 \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST                                 \
	);                                                                    \
	_arg4 ? -_num : _num;                                                 \
})

/* startup code */
void __attribute__((weak, noreturn)) __nolibc_entrypoint __no_stack_protector _start(void)
{
	__asm__ volatile (
		"br    $27, 1f\n"              /* find out where we are,            */
		"1:\n"
		"ldgp  $29, 0($27)\n"          /* and with it the global pointer    */
		"mov   $30, $16\n"             /* stack pointer, arg1 of _start_c   */
		"lda   $27, _start_c\n"
		"jsr   $26, ($27), _start_c\n" /* transfer to c runtime             */
	);
	__nolibc_entrypoint_epilogue();
}

#endif /* _NOLIBC_ARCH_ALPHA_H */
