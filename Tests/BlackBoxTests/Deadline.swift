// A point in time by which something must have happened. Every wait of these tests ends at one, so that a server that
// does nothing makes a test fail, not hang. The deadlines are long, because the machine may be busy; no test that passes waits for one.

import Glibc

struct Deadline: Sendable {
    private let instant: ContinuousClock.Instant

    /// What is awaited within a test unless it says otherwise.
    static let usual: Duration = .seconds(20)

    init(in time: Duration = Deadline.usual) { instant = .now + time }

    var hasPassed: Bool { ContinuousClock.now >= instant }

    /// For poll(2): at least 0; 0 once it has passed.
    var milliseconds: Int32 {
        let left = ContinuousClock.now.duration(to: instant)
        if left <= .zero { return 0 }
        let (seconds, attoseconds) = left.components
        return Int32(clamping: seconds * 1000 + attoseconds / 1_000_000_000_000_000 + 1)
    }

    /// Asks again and again until the condition holds.
    /// - Returns: whether it came to hold in time.
    static func poll(within time: Duration = Deadline.usual, every pause: Duration = .milliseconds(5), until condition: () throws -> Bool)
        rethrows -> Bool
    {
        let deadline = Deadline(in: time)
        while !(try condition()) {
            if deadline.hasPassed { return false }
            usleep(UInt32(pause.components.attoseconds / 1_000_000_000_000))
        }
        return true
    }
}

/// How long the work takes.
func elapsed(_ work: () throws -> Void) rethrows -> Duration {
    let start = ContinuousClock.now
    try work()
    return start.duration(to: .now)
}
