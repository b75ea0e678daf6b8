// One stretch of load, and what came of it. A phase begins when nothing is under way and ends when all that it has sent is answered, so
// what is counted, the time, and the processor time of both sides belong to the same operations.
//
//     start ───── operations are begun ─────▶ end (or the wanted number is begun) ── the last ones are answered ──▶ finished

/// What went wrong, by kind.
public struct ErrorTally: Sendable {
    public enum Kind: Hashable, Sendable {
        /// A connection could not be made.
        case connect
        /// It ended before the answer was complete.
        case closed
        /// No answer in time.
        case timeout
        /// Bytes that are no right answer.
        case malformed
        /// Another status than the operation has when it succeeds.
        case status(Int)
        /// Appends that did not reach a reader in time: one for each append and reader.
        case lost
        /// Operations of the open loop that could not even be begun in time.
        case late

        public var text: String {
            switch self {
            case .connect: "connect"
            case .closed: "closed"
            case .timeout: "timeout"
            case .malformed: "malformed"
            case .status(let status): "status \(status)"
            case .lost: "lost"
            case .late: "late"
            }
        }
    }

    public private(set) var counts: [Kind: Int] = [:]
    /// What was said of the first of each kind.
    public private(set) var examples: [Kind: String] = [:]

    public var total: Int { counts.values.reduce(0, +) }
    /// In a fixed order.
    public var kinds: [Kind] { counts.keys.sorted { $0.text < $1.text } }

    mutating func add(_ kind: Kind, _ example: String, count: Int = 1) {
        counts[kind, default: 0] += count
        if examples[kind] == nil { examples[kind] = example }
    }

    mutating func merge(_ other: ErrorTally) {
        for (kind, count) in other.counts { add(kind, other.examples[kind] ?? "", count: count) }
    }
}

/// What a duration is of.
public enum Measure: String, CaseIterable, Sendable {
    case append, create, read
    case catchUp = "catch-up"
    case get, receipt
    /// Fan-out: from the acknowledgement of an append to the first receipt, to every receipt, to the last one.
    case first, all, last
}

final class LoadPhase {
    enum Work { case create, preload, measured, delete }

    let work: Work
    /// Nanoseconds; `end` is when no operation is begun any more.
    var start: Int64 = 0
    var end: Int64 = .max
    /// Operations to begin, if it is not the time that ends the phase.
    let limit: Int?
    /// Nanoseconds from one operation to the next, in the open loop.
    let interval: Double?

    var begun = 0
    /// Answered as they should be.
    var succeeded = 0
    /// Answered otherwise, or not at all.
    var failed = 0
    var outstanding: Int { begun - succeeded - failed }
    /// When the last one was answered; receipts count too.
    var lastAnswer: Int64 = 0
    /// Content of answers, or of the requests that append.
    var bytes = 0
    /// Live: receipts that have to come, and those that came.
    var expected = 0
    var receipts = 0
    /// Connections that the server ended between two requests or events, as it may.
    var reconnects = 0
    var errors = ErrorTally()
    var histograms: [Measure: LatencyHistogram] = [:]

    init(work: Work, limit: Int?, interval: Double?) {
        self.work = work
        self.limit = limit
        self.interval = interval
    }

    /// In the open loop, when operation number `number` is due.
    func due(_ number: Int) -> Int64 { start + Int64(Double(number) * (interval ?? 0)) }
}
