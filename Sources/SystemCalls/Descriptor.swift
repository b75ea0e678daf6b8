// An owned file descriptor.
//
// Invariant: a `Descriptor` closes its number exactly once, at the end of its life, unless `release` has given it away.
// It cannot be copied, so two owners of one number cannot exist.

import CLinux
import Glibc
import SystemPackage

public struct Descriptor: ~Copyable, Sendable {
    public let number: Int32

    public init(owning number: Int32) {
        precondition(number >= 0, "a descriptor is not negative")
        self.number = number
    }

    deinit {
        _ = Glibc.close(number)
    }

    /// Gives the number to another owner without closing it.
    public consuming func release() -> Int32 {
        let number = self.number
        discard self
        return number
    }
}

/// Runs a system call until it is not interrupted; a negative result becomes the typed error.
@inline(__always)
@discardableResult
func unlessInterrupted<Result: FixedWidthInteger & SignedInteger>(_ call: () -> Result) throws(Errno) -> Result {
    while true {
        let result = call()
        if result >= 0 { return result }
        let code = errno
        if code != EINTR { throw Errno(rawValue: code) }
    }
}
