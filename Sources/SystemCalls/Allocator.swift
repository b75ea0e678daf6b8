// How the C library's allocator treats large blocks (mallopt(3)).

import CLinux

public enum Allocator {
    /// A block of so many bytes has pages of its own.
    private static let largeBytes: Int32 = 2 << 20
    /// Free memory at the end of the heap that is kept.
    private static let keptBytes: Int32 = 32 << 20

    /// Gives large blocks pages of their own, whatever has been freed before. Left to itself the allocator takes them from the heap from the
    /// first free of one on: then a body that grows is copied each time, and what is freed stays with the process.
    public static func prepare() {
        mallopt(M_MMAP_THRESHOLD, largeBytes)
        mallopt(M_TRIM_THRESHOLD, keptBytes)
    }
}
