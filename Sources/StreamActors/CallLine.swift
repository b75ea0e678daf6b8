// Calls that change a stream keep their order behind one whose large body a worker has.
//
//     large body ──▶ held ──(worker)──▶ free ──▶ the calls that came meanwhile, a share of them in each turn, up to the next large body

import DequeModule

struct CallLine {
    private var waiting: Deque<StreamCall> = []
    /// Calls that change the stream wait.
    private(set) var isHeld = false

    /// Calls executed in one turn.
    static let callsPerTurn = 256

    var count: Int { waiting.count }

    mutating func hold() { isHeld = true }
    mutating func free() { isHeld = false }

    mutating func add(_ call: StreamCall) { waiting.append(call) }

    /// The next one, unless they wait.
    mutating func next() -> StreamCall? { isHeld ? nil : waiting.popFirst() }
}
