// LMDB, the ordered memory-mapped key-value store that holds the catalog.
#include <lmdb.h>
