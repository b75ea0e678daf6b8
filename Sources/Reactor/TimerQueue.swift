// The loop's few timers by their deadlines (monotonic milliseconds). Connections do not use it; their deadlines live in a `DeadlineWheel`, eight
// bytes each. A timer is not taken back: whoever sets one looks, when it fires, whether it still means something.

import HeapModule

public final class TimerQueue {
    private struct Entry: Comparable {
        let deadline: Int64
        let number: UInt64
        let action: () -> Void

        static func < (one: Entry, other: Entry) -> Bool { (one.deadline, one.number) < (other.deadline, other.number) }
        static func == (one: Entry, other: Entry) -> Bool { one.number == other.number }
    }

    private var heap = Heap<Entry>()
    private var lastNumber: UInt64 = 0
    @exclusivity(unchecked) private var earliest = Int64.max

    public init() {}

    /// The earliest deadline.
    public var next: Int64? { earliest == .max ? nil : earliest }

    public func add(at deadline: Int64, _ action: @escaping () -> Void) {
        lastNumber += 1
        heap.insert(Entry(deadline: deadline, number: lastNumber, action: action))
        earliest = min(earliest, deadline)
    }

    /// Runs what is due, in order; actions may add timers, which run in a later call even if due.
    public func fire(now: Int64) {
        if earliest > now { return }
        let limit = lastNumber
        while let first = heap.min, first.deadline <= now, first.number <= limit {
            heap.removeMin()
            first.action()
        }
        earliest = heap.min?.deadline ?? .max
    }
}
