// A dispatcher and a journal lane whose steps the test runs, in the order it wants.

import StreamStore

final class Steps: Dispatcher, JournalLane, @unchecked Sendable {
    /// Jobs for disk workers, for the journal thread, and completions for the reactor.
    var workers: [@Sendable () -> Void] = []
    var journal: [@Sendable () -> Void] = []
    var reactor: [@Sendable () -> Void] = []

    func work(_ job: @escaping @Sendable () -> Void) { workers.append(job) }
    func run(_ job: @escaping @Sendable () -> Void) { journal.append(job) }
    func post(_ job: @escaping @Sendable () -> Void) { reactor.append(job) }

    func runJournal() { while !journal.isEmpty { journal.removeFirst()() } }
    func runWorkers() { while !workers.isEmpty { workers.removeFirst()() } }
    func runReactor() { while !reactor.isEmpty { reactor.removeFirst()() } }

    /// Until nothing is left.
    func runAll() {
        while !(workers.isEmpty && journal.isEmpty && reactor.isEmpty) {
            runJournal()
            runWorkers()
            runReactor()
        }
    }
}
