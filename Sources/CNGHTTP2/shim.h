// libnghttp2, and the memory that its sessions allocate from: counted, and bounded (nghttp2_mem). Beyond the bound malloc gives NULL, which
// nghttp2 reports as NGHTTP2_ERR_NOMEM. Nothing else belongs here.
//
//     each block    count (16 bytes, so that what follows is aligned) | bytes that nghttp2 asked for
//                                                                     ^ what nghttp2 gets

#ifndef CNGHTTP2_SHIM_H
#define CNGHTTP2_SHIM_H

#include <nghttp2/nghttp2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    size_t used;
    size_t bound;
} cnghttp2_account;

enum { cnghttp2_block_head = 16 };

static inline void cnghttp2_free(void *block, void *account) {
    if (block == NULL) return;
    size_t *start = (size_t *)((char *)block - cnghttp2_block_head);
    ((cnghttp2_account *)account)->used -= *start;
    free(start);
}

static inline void *cnghttp2_realloc(void *block, size_t count, void *account) {
    cnghttp2_account *sum = (cnghttp2_account *)account;
    size_t *start = block == NULL ? NULL : (size_t *)((char *)block - cnghttp2_block_head);
    size_t old = start == NULL ? 0 : *start;
    if (count > SIZE_MAX - cnghttp2_block_head || count > sum->bound || sum->used - old > sum->bound - count) return NULL;
    start = (size_t *)realloc(start, count + cnghttp2_block_head);
    if (start == NULL) return NULL;
    *start = count;
    sum->used += count - old;
    return (char *)start + cnghttp2_block_head;
}

static inline void *cnghttp2_malloc(size_t count, void *account) { return cnghttp2_realloc(NULL, count, account); }

static inline void *cnghttp2_calloc(size_t items, size_t size, void *account) {
    if (size != 0 && items > SIZE_MAX / size) return NULL;
    void *block = cnghttp2_realloc(NULL, items * size, account);
    if (block != NULL) memset(block, 0, items * size);
    return block;
}

// What nghttp2_session_server_new3 and nghttp2_session_client_new3 take; `account` has to outlive the session.
static inline nghttp2_mem cnghttp2_counted(cnghttp2_account *account) {
    nghttp2_mem memory = {account, cnghttp2_malloc, cnghttp2_free, cnghttp2_calloc, cnghttp2_realloc};
    return memory;
}

#endif
