// The loop's few timers: a binary heap of deadlines (monotonic milliseconds). Connections do not use it; their deadlines live in a
// `DeadlineWheel`, eight bytes each.

public final class TimerQueue {
    public struct Token: Hashable, Sendable { let number: UInt64 }

    private struct Entry {
        let deadline: Int64
        let number: UInt64
        let action: () -> Void
        func isBefore(_ other: Entry) -> Bool { (deadline, number) < (other.deadline, other.number) }
    }

    private var heap: [Entry] = []
    private var lastNumber: UInt64 = 0

    public init() {}

    /// The earliest deadline.
    public var next: Int64? { heap.first?.deadline }

    public func add(at deadline: Int64, _ action: @escaping () -> Void) -> Token {
        lastNumber += 1
        heap.append(Entry(deadline: deadline, number: lastNumber, action: action))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            if !heap[child].isBefore(heap[parent]) { break }
            heap.swapAt(child, parent)
            child = parent
        }
        return Token(number: lastNumber)
    }

    /// Linear in the number of timers, of which there are a handful.
    public func cancel(_ token: Token) {
        let remaining = heap.filter { $0.number != token.number }
        guard remaining.count < heap.count else { return }
        heap = remaining.sorted { $0.isBefore($1) }
    }

    /// Runs what is due, in order; actions may add timers, which run in a later call even if due.
    public func fire(now: Int64) {
        let limit = lastNumber
        while let first = heap.first, first.deadline <= now, first.number <= limit {
            removeFirst()
            first.action()
        }
    }

    private func removeFirst() {
        let last = heap.removeLast()
        if heap.isEmpty { return }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].isBefore(heap[least]) {
                least = child
            }
            if least == parent { return }
            heap.swapAt(least, parent)
            parent = least
        }
    }
}
