// How the store leaves the reactor thread and comes back to it. The server gives it disk workers and the event loop; a simulation
// runs both in one thread, in an order it chooses.

/// What a job is for: each kind has threads of its own, so that one that is slow or frequent does not hold up another.
public enum WorkLane: Sendable, CaseIterable {
    /// Files of the journal: appends wait for these.
    case journal
    /// Flushes and the catalog's commits: a journal that is full waits for these.
    case checkpoint
    /// What a request reads: names, segments, bytes that are not in the page cache.
    case read
    /// Searches through whole streams.
    case search
    /// What takes a processor and no disk: large bodies.
    case compute
    /// What nobody waits for: removals, the scrub, certificates.
    case background
}

public protocol Dispatcher: Sendable {
    /// Runs `job` where it may wait for the disk.
    func work(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void)
    /// Runs `job` on the reactor.
    func post(_ job: @escaping @Sendable () -> Void)
}
