// What is done at most once every so long, such as a line in the log about something that goes on.

public struct Interval: Sendable {
    private let milliseconds: Int64
    private var last: Int64?

    public init(_ milliseconds: Int64) { self.milliseconds = milliseconds }

    /// Whether it is to be done now; then the next time is so much later.
    public mutating func begins(_ now: Int64) -> Bool {
        if let last, now - last < milliseconds { return false }
        last = now
        return true
    }
}
