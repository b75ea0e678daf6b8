// The server's other threads, without threads: jobs wait until the simulation runs them, in the order it chooses.
//
// Disk workers may take jobs in any order; the journal thread and the reactor's mailbox keep theirs.
//
// @unchecked Sendable: confined to the simulation's thread.

import StreamStore

public final class SimulatedThreads: Dispatcher, JournalLane, @unchecked Sendable {
    public typealias Job = @Sendable () -> Void

    /// Jobs for disk workers, for the journal thread, and completions for the reactor.
    public var workers: [Job] = []
    public var journal: [Job] = []
    public var reactor: [Job] = []
    /// The server is gone: what its last objects still ask for is dropped.
    private var isClosed = false

    public init() {}

    public func work(_ lane: WorkLane, _ job: @escaping Job) { if !isClosed { workers.append(job) } }
    public func run(_ job: @escaping Job) { if !isClosed { journal.append(job) } }
    public func post(_ job: @escaping Job) { if !isClosed { reactor.append(job) } }

    public var isIdle: Bool { workers.isEmpty && journal.isEmpty && reactor.isEmpty }

    public func runJournal() { while !journal.isEmpty { journal.removeFirst()() } }
    public func runWorkers() { while !workers.isEmpty { workers.removeFirst()() } }
    public func runReactor() { while !reactor.isEmpty { reactor.removeFirst()() } }

    /// Until nothing is left.
    public func runAll() {
        while !isIdle {
            runJournal()
            runWorkers()
            runReactor()
        }
    }

    public func close() {
        isClosed = true
        workers = []
        journal = []
        reactor = []
    }
}
