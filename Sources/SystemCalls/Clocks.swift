// The two clocks. Monotonic time orders and limits; wall time is only for what users state in wall time (expiry, cursors, dates).

import Glibc

public enum Clocks {
    /// Milliseconds since an arbitrary start; never goes back.
    public static func monotonicMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    /// Milliseconds since 1970-01-01T00:00:00Z; can be set back and forth by the administrator.
    public static func wallMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
