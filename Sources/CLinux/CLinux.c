// The calls that need _GNU_SOURCE, which the header must not define: the other modules see the same system headers without it.
#define _GNU_SOURCE
#include "CLinux.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/statfs.h>
#include <unistd.h>

struct clinux_cachestat_range { uint64_t offset, length; };
struct clinux_cachestat { uint64_t cached, dirty, writeback, evicted, recently_evicted; };

int clinux_o_direct(void) { return O_DIRECT; }

int clinux_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }

int clinux_accept4(int listener, int flags, int *family, uint8_t address[16]) {
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    peer.ss_family = AF_UNIX;
    int connection = accept4(listener, (struct sockaddr *)&peer, &length, flags);
    *family = peer.ss_family;
    memset(address, 0, 16);
    if (peer.ss_family == AF_INET) {
        address[10] = address[11] = 0xFF;
        memcpy(address + 12, &((struct sockaddr_in *)&peer)->sin_addr, 4);
    } else if (peer.ss_family == AF_INET6) {
        memcpy(address, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
    }
    return connection;
}

ssize_t clinux_pread_nowait(int fd, void *buffer, size_t count, off_t offset) {
#ifdef RWF_NOWAIT
    struct iovec vector = {buffer, count};
    return preadv2(fd, &vector, 1, offset, RWF_NOWAIT);
#else
    errno = EOPNOTSUPP;
    return -1;
#endif
}

int clinux_cachestat(int fd, uint64_t offset, uint64_t length, uint64_t *cached_pages) {
    struct clinux_cachestat_range range = {offset, length};
    struct clinux_cachestat result;
    memset(&result, 0, sizeof result);
    long status = syscall(451, fd, &range, &result, 0);
    *cached_pages = result.cached;
    return (int)status;
}

int clinux_statfs_type(const char *path, int64_t *type) {
    struct statfs information;
    int status = statfs(path, &information);
    *type = status == 0 ? (int64_t)information.f_type : 0;
    return status;
}

int clinux_signalfd(const int *signals, int count, int block) {
    sigset_t set;
    sigemptyset(&set);
    for (int index = 0; index < count; index++) sigaddset(&set, signals[index]);
    if (block && pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) return -1;
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int clinux_signalfd_read(int fd) {
    struct signalfd_siginfo information;
    ssize_t got = read(fd, &information, sizeof information);
    return got == (ssize_t)sizeof information ? (int)information.ssi_signo : 0;
}

void clinux_ignore_signals(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
}

void clinux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

