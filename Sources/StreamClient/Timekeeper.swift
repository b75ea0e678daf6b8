// Timekeeper: the clock and the waiting of a client command, in one value so that tests can put virtual time in their place.

import Glibc

public struct Timekeeper: Sendable {
    /// Milliseconds on a clock that does not go back.
    public var now: @Sendable () -> Int
    /// Waits so many milliseconds. Returns early, with true, when the descriptor becomes readable: the user interrupted.
    public var wait: @Sendable (_ milliseconds: Int, _ interruption: Int32?) -> Bool

    public init(now: @escaping @Sendable () -> Int, wait: @escaping @Sendable (Int, Int32?) -> Bool) {
        self.now = now
        self.wait = wait
    }

    public static let system = Timekeeper(now: monotonic) { milliseconds, interruption in
        let deadline = monotonic() + milliseconds
        while true {
            let remaining = deadline - monotonic()
            guard remaining > 0 else { return false }
            // poll passes over a negative descriptor.
            var descriptor = pollfd(fd: interruption ?? -1, events: Int16(POLLIN), revents: 0)
            if poll(&descriptor, 1, Int32(clamping: remaining)) > 0 { return true }
        }
    }

    @Sendable private static func monotonic() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }
}
