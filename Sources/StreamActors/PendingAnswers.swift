// What is to be done when records are durable, in the order of the records; and what readers may see from then on.
//
//     passed, being answered │ waiting
//     [ lsn 3 ][ lsn 3 ][ lsn 5 ][ lsn 6 ][ lsn 6 ]
//                           ^ head                       LSNs ascend
//
// Answering may bring the next request of a connection, which is added at the end: what is being answered keeps its place until `forgetPassed`.

import StreamRules

/// A stream as readers may see it.
struct DurableView: Equatable {
    var tail: UInt64
    var closed: Bool
    /// How far a crash leaves the TTL renewed, at least (Unix milliseconds).
    var renewedUntil: Int64

    /// A later state is durable.
    mutating func advance(to later: DurableView) {
        tail = max(tail, later.tail)
        closed = later.closed
        renewedUntil = max(renewedUntil, later.renewedUntil)
    }
}

struct PendingAnswers {
    enum Due {
        case answer(Outcome, to: any Requester, tag: UInt32)
        /// The call is executed anew.
        case execute(StreamCall)
        case nothing
    }

    struct Entry {
        let lsn: UInt64
        let view: DurableView
        let due: Due
    }

    private var entries: [Entry] = []
    /// Of the first one that waits.
    private(set) var head = 0

    /// Beyond so many the memory of those that have passed is given back.
    private static let kept = 256

    /// Nothing waits.
    var isEmpty: Bool { head == entries.count }

    subscript(index: Int) -> Entry { entries[index] }

    /// - Parameter view: what readers may see when the record is durable.
    mutating func add(_ due: Due, after lsn: UInt64, _ view: DurableView) {
        entries.append(Entry(lsn: lsn, view: view, due: due))
    }

    /// Passes the next one over whose record is durable with `lsn`; nil: there is none.
    mutating func pass(through lsn: UInt64) -> DurableView? {
        guard head < entries.count, entries[head].lsn <= lsn else { return nil }
        head += 1
        return entries[head - 1].view
    }

    /// Those that have passed have been answered.
    mutating func forgetPassed() {
        if isEmpty {
            entries.removeAll(keepingCapacity: entries.count <= Self.kept)
            head = 0
        } else if head >= Self.kept {
            entries.removeFirst(head)
            head = 0
        }
    }
}
