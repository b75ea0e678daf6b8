// Work off the reactor: each lane has its own queue and threads, so slow work of one kind delays no other.

import Reactor
import StreamStore

struct LoopDispatcher: Dispatcher {
    let loop: EventLoop
    let workers: DiskWorkers
    func work(_ lane: WorkLane, _ job: @escaping @Sendable () -> Void) { workers.submit(Self.index(lane), job) }
    func post(_ job: @escaping @Sendable () -> Void) { loop.post(job) }

    private static func index(_ lane: WorkLane) -> Int {
        switch lane {
        case .journal: 0
        case .checkpoint: 1
        case .read: 2
        case .search: 3
        case .compute: 4
        case .background: 5
        }
    }

    /// - Parameter readers: threads for reads, `disk-workers`.
    static func workers(readers: Int) -> DiskWorkers {
        DiskWorkers([("journal", 1), ("store", 4), ("read", readers), ("search", 1), ("compute", 1), ("back", 1)])
    }
}
