// The kernel interfaces that the Glibc module leaves out, and inline forms of the calls whose
// macros or variadic signatures Swift cannot import.
#ifndef CLINUX_H
#define CLINUX_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/// An epoll_event is packed on x86-64; these two keep its layout out of Swift code.
static inline int clinux_epoll_ctl(int epoll, int operation, int descriptor, uint32_t events, uint64_t data) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = events;
    event.data.u64 = data;
    return epoll_ctl(epoll, operation, descriptor, &event);
}
static inline uint64_t clinux_epoll_data(const struct epoll_event *events, int index) { return events[index].data.u64; }
static inline uint32_t clinux_epoll_events(const struct epoll_event *events, int index) { return events[index].events; }

static inline int clinux_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }

static inline int clinux_accept4(int listener, int flags) { return accept4(listener, NULL, NULL, flags); }

/// pread that never waits for the disk: EAGAIN when a page is not in the page cache.
static inline ssize_t clinux_pread_nowait(int fd, void *buffer, size_t count, off_t offset) {
#ifdef RWF_NOWAIT
    struct iovec vector = {buffer, count};
    return preadv2(fd, &vector, 1, offset, RWF_NOWAIT);
#else
    errno = EOPNOTSUPP;
    return -1;
#endif
}

struct clinux_cachestat_range { uint64_t offset, length; };
struct clinux_cachestat { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

/// cachestat(2), Linux 6.5: how many pages of a range are in the page cache. -1 with ENOSYS before that.
static inline int clinux_cachestat(int fd, uint64_t offset, uint64_t length, uint64_t *cached_pages) {
    struct clinux_cachestat_range range = {offset, length};
    struct clinux_cachestat result;
    memset(&result, 0, sizeof result);
    long status = syscall(451, fd, &range, &result, 0);
    *cached_pages = result.cached;
    return (int)status;
}

static inline int clinux_statfs_type(const char *path, int64_t *type) {
    struct statfs information;
    int status = statfs(path, &information);
    *type = status == 0 ? (int64_t)information.f_type : 0;
    return status;
}

static inline int clinux_set_int_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}
static inline int clinux_get_int_option(int fd, int level, int name, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(fd, level, name, value, &length);
}

static inline int clinux_signalfd(const int *signals, int count, int block) {
    sigset_t set;
    sigemptyset(&set);
    for (int index = 0; index < count; index++) sigaddset(&set, signals[index]);
    if (block && pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}
static inline int clinux_signalfd_read(int fd) {
    struct signalfd_siginfo information;
    ssize_t got = read(fd, &information, sizeof information);
    return got == (ssize_t)sizeof information ? (int)information.ssi_signo : 0;
}
static inline void clinux_ignore_sigpipe(void) { signal(SIGPIPE, SIG_IGN); }

static inline void clinux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

#endif
