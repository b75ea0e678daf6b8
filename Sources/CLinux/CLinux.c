// CLinux is a set of inline functions; see include/CLinux.h.
#include "CLinux.h"
