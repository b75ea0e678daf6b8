// Preloaded into the server: makes calls that write to regular files fail, by seed.
//
//     FAULT_SEED    what fails is a function of it and of the number of the call
//     FAULT_RATE    one call in so many fails (0: none)
//     FAULT_AFTER   so many calls go through first, so that the server starts
//     FAULT_SYNCS   1: syncs fail too, after which the server has to end with status 74
//
// A write fails with EIO, ENOSPC or by being cut short; a sync with EIO; an open that creates, a rename and an allocation with ENOSPC.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_ulong calls;
static unsigned long seed, rate, after, syncs;
static int ready;

static void setup(void) {
    const char *text;
    seed = (text = getenv("FAULT_SEED")) ? strtoul(text, 0, 10) : 0;
    rate = (text = getenv("FAULT_RATE")) ? strtoul(text, 0, 10) : 0;
    after = (text = getenv("FAULT_AFTER")) ? strtoul(text, 0, 10) : 0;
    syncs = (text = getenv("FAULT_SYNCS")) ? strtoul(text, 0, 10) : 0;
    ready = 1;
}

/// A number that decides this call's fate; 0: it goes through.
static unsigned long fate(void) {
    if (!ready) setup();
    unsigned long number = atomic_fetch_add(&calls, 1);
    if (rate == 0 || number < after) return 0;
    uint64_t x = seed * 0x9E3779B97F4A7C15u + number;
    x ^= x >> 30; x *= 0xBF58476D1CE4E5B9u; x ^= x >> 27; x *= 0x94D049BB133111EBu; x ^= x >> 31;
    return x % rate == 0 ? (unsigned long)(x >> 33) | 1 : 0;
}

static int is_file(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real; })

/// How many of `count` bytes are written; -1: none, with errno.
static ssize_t cut(int fd, size_t count) {
    if (!is_file(fd)) return count;
    unsigned long x = fate();
    if (x == 0) return count;
    switch (x / 2 % 4) {
    case 0: errno = EIO; return -1;
    case 1: case 2: errno = ENOSPC; return -1;
    default: return count > 1 ? (ssize_t)(x / 8 % (count - 1)) + 1 : 1;
    }
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) {
    ssize_t part = cut(fd, count);
    return part < 0 ? -1 : REAL(pwrite)(fd, data, part, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) {
    ssize_t part = cut(fd, count);
    return part < 0 ? -1 : REAL(pwrite64)(fd, data, part, offset);
}
ssize_t pwritev(int fd, const struct iovec *vectors, int count, off_t offset) {
    ssize_t part = cut(fd, vectors[0].iov_len);
    if (part < 0) return -1;
    if ((size_t)part < vectors[0].iov_len) return REAL(pwrite)(fd, vectors[0].iov_base, part, offset);
    return REAL(pwritev)(fd, vectors, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *vectors, int count, off64_t offset) { return pwritev(fd, vectors, count, offset); }

static int sync_fate(void) {
    if (!ready) setup();
    if (!syncs) return 0;
    if (fate() == 0) return 0;
    errno = EIO;
    return -1;
}
int fdatasync(int fd) { return sync_fate() ? -1 : REAL(fdatasync)(fd); }
int fsync(int fd) { return sync_fate() ? -1 : REAL(fsync)(fd); }

int posix_fallocate(int fd, off_t offset, off_t length) { return fate() ? ENOSPC : REAL(posix_fallocate)(fd, offset, length); }
int rename(const char *from, const char *to) {
    if (fate()) { errno = ENOSPC; return -1; }
    return REAL(rename)(from, to);
}

static int refuses_open(int flags) {
    if (!(flags & O_CREAT) || !fate()) return 0;
    errno = ENOSPC;
    return 1;
}
int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    return refuses_open(flags) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = flags & O_CREAT ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    return refuses_open(flags) ? -1 : REAL(open64)(path, flags, mode);
}
