/* SPDX-License-Identifier: LGPL-2.1 OR MIT */
/*
 * OpenRISC specific definitions for NOLIBC
 */

#ifndef _NOLIBC_ARCH_OPENRISC_H
#define _NOLIBC_ARCH_OPENRISC_H

#include "compiler.h"
#include "crt.h"

/* Syscalls for OpenRISC :
 *   - syscall number is passed in r11
 *   - arguments are in r3 .. r8
 *   - the system call is performed by calling "l.sys 1"
 *   - syscall return comes in r11
 *   - the temporary registers and the arguments are lost
 */

#define _NOLIBC_SYSCALL_CLOBBERLIST \
	"r12", "r13", "r15", "r17", "r19", "r21", "r23", "r25", "r27", "r29", \
	"r31", "memory"

#define my_syscall0(num)                                                      \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num)                                                  \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r3", "r4", "r5", "r6", "r7", "r8" \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall1(num, arg1)                                                \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1)                                     \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r4", "r5", "r6", "r7", "r8"   \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall2(num, arg1, arg2)                                          \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
	register long _arg2 __asm__ ("r4") = (long)(arg2);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2)                        \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r5", "r6", "r7", "r8"         \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall3(num, arg1, arg2, arg3)                                    \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
	register long _arg2 __asm__ ("r4") = (long)(arg2);                    \
	register long _arg3 __asm__ ("r5") = (long)(arg3);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3)                                                 \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r6", "r7", "r8"               \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall4(num, arg1, arg2, arg3, arg4)                              \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
	register long _arg2 __asm__ ("r4") = (long)(arg2);                    \
	register long _arg3 __asm__ ("r5") = (long)(arg3);                    \
	register long _arg4 __asm__ ("r6") = (long)(arg4);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4)                                    \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r7", "r8"                     \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall5(num, arg1, arg2, arg3, arg4, arg5)                        \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
	register long _arg2 __asm__ ("r4") = (long)(arg2);                    \
	register long _arg3 __asm__ ("r5") = (long)(arg3);                    \
	register long _arg4 __asm__ ("r6") = (long)(arg4);                    \
	register long _arg5 __asm__ ("r7") = (long)(arg5);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4), "+r"(_arg5)                       \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST, "r8"                           \
	);                                                                    \
	_num;                                                                 \
})

#define my_syscall6(num, arg1, arg2, arg3, arg4, arg5, arg6)                  \
({                                                                            \
	register long _num __asm__ ("r11") = (num);                           \
	register long _arg1 __asm__ ("r3") = (long)(arg1);                    \
	register long _arg2 __asm__ ("r4") = (long)(arg2);                    \
	register long _arg3 __asm__ ("r5") = (long)(arg3);                    \
	register long _arg4 __asm__ ("r6") = (long)(arg4);                    \
	register long _arg5 __asm__ ("r7") = (long)(arg5);                    \
	register long _arg6 __asm__ ("r8") = (long)(arg6);                    \
									      \
	__asm__ volatile (                                                    \
		"l.sys 1\n"                                                   \
		"l.nop\n"                                                     \
		: "+r"(_num), "+r"(_arg1), "+r"(_arg2),                       \
		  "+r"(_arg3), "+r"(_arg4), "+r"(_arg5),                      \
		  "+r"(_arg6)                                                 \
		:                                                             \
		: _NOLIBC_SYSCALL_CLOBBERLIST                                 \
	);                                                                    \
	_num;                                                                 \
})

/* startup code */
void __attribute__((weak, noreturn)) __nolibc_entrypoint __no_stack_protector _start(void)
{
	__asm__ volatile (
		"l.ori  r3, r1, 0\n"   /* save stack pointer to r3, as arg1 of _start_c */
		"l.jal  _start_c\n"    /* transfer to c runtime                         */
		"l.nop\n"
	);
	__nolibc_entrypoint_epilogue();
}

#endif /* _NOLIBC_ARCH_OPENRISC_H */
