// Intel's ISA-L: crc32_iscsi is CRC32C (Castagnoli) with the fastest instructions that the processor has.
#include <isa-l/crc.h>
