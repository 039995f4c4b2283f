/* SPDX-License-Identifier: GPL-2.0 */
/* Processes: who they are, what they are charged, and how they meet. */
#ifndef MEMPINFD_PROC_H
#define MEMPINFD_PROC_H

#include "mempinfd_util.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Users that own nothing else. */
#define USER_A		4001
#define USER_B		4002

#define CGROUP		"/sys/fs/cgroup/mempinfd"

/* Be charged as @uid, but stay privileged. */
static inline int set_real_uid(uid_t uid)
{
	return setreuid(uid, -1);
}

/* ---- a program that does nothing ---- */

#define DO_NOTHING	"--nothing"

/* It is this one, told so: nothing is needed that could be missing. */
static inline int exec_nothing(void)
{
	return execl("/proc/self/exe", "nothing", DO_NOTHING, NULL);
}

static void __attribute__((constructor)) do_nothing(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], DO_NOTHING))
		_exit(0);
}

/*
 * Start a process that shares the files with the caller and not the memory: its
 * stack is a copy, as all else is.  The bare system call takes its arguments in
 * another order on some architectures, and on some returns twice alike.
 */
static inline pid_t fork_with_files(int (*fn)(void *arg), void *arg)
{
	static max_align_t stack[4096];

	return clone(fn, stack + ARRAY_SIZE(stack), CLONE_FILES | SIGCHLD, arg);
}

/* ---- what one is charged ---- */

/* More than any test charges. */
#define PROBE_MAX	0x40000L

/* The hard limit stays, so that the next try can be higher. */
static inline int set_soft_memlock(long pages)
{
	struct rlimit limit = {
		.rlim_cur = pages * page_size(),
		.rlim_max = RLIM_INFINITY,
	};

	return setrlimit(RLIMIT_MEMLOCK, &limit);
}

static inline bool pin_fits(int fd, const void *page, long limit)
{
	return !set_soft_memlock(limit) && !pin(fd, page, 1) &&
	       !unpin(fd, page, 1);
}

/* The least limit at which @uid can pin one page more, without privilege. */
static inline long probe_limit(uid_t uid, const void *page)
{
	long low = 1, high = PROBE_MAX;
	int fd;

	if (set_soft_memlock(PROBE_MAX) || set_real_uid(uid))
		return -1;
	fd = mempinfd();
	if (fd < 0 || drop_capability(CAP_IPC_LOCK) || !pin_fits(fd, page, high))
		return -1;
	while (low < high) {
		long mid = (low + high) / 2;

		if (pin_fits(fd, page, mid))
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Pages charged to @uid, by all its processes, or a negative number. */
static inline long charged_to(uid_t uid)
{
	long charged, *limit;
	pid_t child;

	limit = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (limit == MAP_FAILED)
		return -1;
	*limit = -1;
	child = fork();
	if (!child) {
		*limit = probe_limit(uid, limit);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	charged = *limit - 1;
	munmap(limit, page_size());
	return charged;
}

/* ---- how they meet ---- */

/* Tell the process at the other end to go on. */
static inline int tell(int sock)
{
	return send(sock, "", 1, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* Wait to be told; fails when the other end has gone, not for a tracer. */
static inline int await(int sock)
{
	ssize_t got;
	char byte;

	do
		got = recv(sock, &byte, 1, MSG_WAITALL);
	while (got < 0 && errno == EINTR);
	return got == 1 ? 0 : -1;
}

struct fd_message {
	struct msghdr header;
	struct iovec iov;
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

static inline void fd_message_init(struct fd_message *message)
{
	memset(message, 0, sizeof(*message));
	message->iov.iov_base = &message->byte;
	message->iov.iov_len = 1;
	message->header.msg_iov = &message->iov;
	message->header.msg_iovlen = 1;
	message->header.msg_control = message->control.bytes;
	message->header.msg_controllen = sizeof(message->control.bytes);
}

static inline int send_fd(int sock, int fd)
{
	struct fd_message message;
	struct cmsghdr *cmsg;

	fd_message_init(&message);
	cmsg = CMSG_FIRSTHDR(&message.header);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &message.header, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

static inline int recv_fd(int sock)
{
	struct fd_message message;
	struct cmsghdr *cmsg;
	int fd;

	fd_message_init(&message);
	if (recvmsg(sock, &message.header, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&message.header);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* ---- a memory cgroup of one's own ---- */

static inline int cgroup_make(void)
{
	if (write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		return -1;
	return mkdir(CGROUP, 0755) && errno != EEXIST ? -1 : 0;
}

static inline int cgroup_join(void)
{
	return write_text(CGROUP "/cgroup.procs", "0");
}

/* All that were in it must have ended. */
static inline int cgroup_end(void)
{
	return rmdir(CGROUP);
}

#endif /* MEMPINFD_PROC_H */
