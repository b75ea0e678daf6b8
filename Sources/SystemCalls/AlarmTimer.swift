// A timer that is a descriptor (timerfd_create(2)): readable from a moment of the monotonic clock on, to the nanosecond, for loops whose own
// timers count milliseconds.

import CLinux
import Glibc
import SystemPackage

public struct AlarmTimer: ~Copyable {
    private let descriptor: Descriptor

    public init() throws(Errno) {
        descriptor = Descriptor(owning: try unlessInterrupted { timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK) | Int32(TFD_CLOEXEC)) })
    }

    public var number: Int32 { descriptor.number }

    /// Makes it readable at `time`, in nanoseconds of ``now()``; a moment that has passed is at once. Replaces what was set before.
    public func set(at time: Int64) {
        var setting = itimerspec()
        setting.it_value.tv_sec = Int(max(1, time) / 1_000_000_000)
        setting.it_value.tv_nsec = Int(max(1, time) % 1_000_000_000)
        let status = timerfd_settime(number, Int32(TFD_TIMER_ABSTIME), &setting, nil)
        precondition(status == 0, "a timer with a valid time can be set")
    }

    /// Takes the readiness back.
    public func acknowledge() {
        var count: UInt64 = 0
        _ = read(number, &count, 8)
    }

    /// CLOCK_MONOTONIC in nanoseconds.
    @inline(__always)
    public static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
