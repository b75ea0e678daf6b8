// What was measured. Times in nanoseconds, memory in bytes.

public struct BenchRun: Sendable {
    /// From the start of the clock to the last answer.
    public var seconds = 0.0
    /// Answered as they should be, within the run.
    public var operations = 0
    public var bytes = 0
    public var receipts = 0
    public var reconnects = 0
    public var errors = ErrorTally()
    public var latencies: [Measure: LatencyHistogram] = [:]
    /// Processor seconds of this process and of the server's.
    public var clientCPU = 0.0
    public var serverCPU: Double?
    /// At the end of the run.
    public var server: ProcessUse?

    public var rate: Double { seconds > 0 ? Double(operations) / seconds : 0 }
    public var bytesPerSecond: Double { seconds > 0 ? Double(bytes) / seconds : 0 }
    public func perOperation(_ seconds: Double) -> Double { operations > 0 ? seconds / Double(operations) : 0 }
}

public struct BenchResult: Sendable {
    public let plan: BenchPlan
    /// The part of the path that the streams of this run share.
    public var prefix = ""
    public var runs: [BenchRun] = []
    /// Everything outside the runs: opening connections, warm-up, removal.
    public var otherErrors = ErrorTally()
    /// Operations that were answered well in all, the warm-up included; with nothing uncertain, as many are in the streams.
    public var acknowledged = 0
    /// How long it took until all connections of a kind were up, and the longest one.
    public var opening: [(what: String, count: Int, seconds: Double, slowest: Double)] = []
    /// Live: the server before the readers connected and with all of them waiting.
    public var withoutReaders: ProcessUse?
    public var withReaders: ProcessUse?
    public var wasInterrupted = false

    init(plan: BenchPlan) { self.plan = plan }

    public var errors: Int { runs.reduce(otherErrors.total) { $0 + $1.errors.total } }
    /// Every operation was answered as it should be, and there was one in each run.
    public var isClean: Bool { errors == 0 && !wasInterrupted && runs.count == plan.runs && runs.allSatisfy { $0.operations > 0 } }
}
