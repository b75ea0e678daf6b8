// The kernel interfaces that the Glibc module leaves out, and inline forms of the calls whose
// macros or variadic signatures Swift cannot import.
#ifndef CLINUX_H
#define CLINUX_H
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
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

int clinux_open(const char *path, int flags, unsigned mode);
/// O_DIRECT, which Swift does not import.
int clinux_o_direct(void);

/// accept4(2) with the peer's address: `family` is AF_INET, AF_INET6 or AF_UNIX, `address` its 16 octets, IPv4 mapped into IPv6.
int clinux_accept4(int listener, int flags, int *family, uint8_t address[16]);

/// pread that never waits for the disk: EAGAIN when a page is not in the page cache.
ssize_t clinux_pread_nowait(int fd, void *buffer, size_t count, off_t offset);

/// cachestat(2), Linux 6.5: how many pages of a range are in the page cache. -1 with ENOSYS before that.
int clinux_cachestat(int fd, uint64_t offset, uint64_t length, uint64_t *cached_pages);

int clinux_statfs_type(const char *path, int64_t *type);

static inline int clinux_set_int_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}
static inline int clinux_get_int_option(int fd, int level, int name, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(fd, level, name, value, &length);
}

int clinux_signalfd(const int *signals, int count, int block);
int clinux_signalfd_read(int fd);
/// Ignores what would end the process without a line: SIGPIPE (a peer that has gone), SIGXFSZ (a limit on the size of files, which then is an error
/// of the write), SIGUSR1 and SIGUSR2 (which mean nothing here).
void clinux_ignore_signals(void);

void clinux_name_thread(const char *name);

#endif
