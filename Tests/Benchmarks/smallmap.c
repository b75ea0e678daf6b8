// Preloaded into the server under valgrind, which has no room for the catalog's mapping of 1 TiB of addresses: mappings above 32 GiB become
// 16 GiB, and go as they came.
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static size_t bounded(size_t length) { return length > ((size_t)32 << 30) ? (size_t)16 << 30 : length; }

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return (void *)syscall(SYS_mmap, address, bounded(length), protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    return mmap(address, length, protection, flags, file, offset);
}

int munmap(void *address, size_t length) { return (int)syscall(SYS_munmap, address, bounded(length)); }
