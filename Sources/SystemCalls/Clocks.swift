// The two clocks. Monotonic time orders and limits; wall time is only for what users state in wall time (expiry, cursors, dates).

import Glibc

public struct Clocks: Sendable {
    /// Milliseconds since the machine's start, suspends included; never goes back, and nobody sets it.
    public let monotonic: @Sendable () -> Int64
    /// Milliseconds since 1970-01-01T00:00:00Z.
    public let wall: @Sendable () -> Int64

    public init(monotonic: @escaping @Sendable () -> Int64, wall: @escaping @Sendable () -> Int64) {
        self.monotonic = monotonic
        self.wall = wall
    }

    /// The kernel's. A simulation brings its own.
    public static let system = Clocks(monotonic: monotonicMilliseconds, wall: wallMilliseconds)

    /// Milliseconds since the machine's start, suspends included; never goes back, and nobody sets it.
    public static func monotonicMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Tells one start of the machine from another; empty if the kernel does not say.
    public static func bootID() -> [UInt8] {
        guard let file = try? FileCalls.open("/proc/sys/kernel/random/boot_id", .readOnly) else { return [] }
        var text = [UInt8](repeating: 0, count: 36)
        let count = text.withUnsafeMutableBytes { buffer in (try? FileCalls.read(file.number, into: buffer, at: 0)) ?? 0 }
        return Array(text.prefix(count))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; can be set back and forth by the administrator.
    public static func wallMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
