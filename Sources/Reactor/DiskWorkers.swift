// Threads for everything that may wait for a disk or take a processor for long: the reactor never does.
//
//     lane   ──queue──▶ its threads          one queue and a few threads for each kind of work
//
// A kind of work that is slow or frequent delays itself and no other: a thousand cold reads do not hold up the checkpoint that makes room for
// appends. Jobs are independent of each other unless their submitter orders them (by submitting the second from the first's completion).
// Each queue is bounded by what its submitters can have under way: one read per connection, four flushes, one checkpoint, one body of each connection.

import SystemCalls

public final class DiskWorkers: Sendable {
    private let mailboxes: [Mailbox<@Sendable () -> Void>]
    private let threads: [ThreadHandle]

    /// - Parameter lanes: for each lane its name, which its threads bear, and how many of them there are.
    public init(_ lanes: [(name: String, count: Int)]) {
        let mailboxes = lanes.map { _ in Mailbox<@Sendable () -> Void>() }
        self.mailboxes = mailboxes
        threads = zip(lanes, mailboxes).flatMap { lane, mailbox in
            (0..<lane.count).map { index in
                Processes.startThread(named: "ds-\(lane.name)-\(index)") {
                    while let job = mailbox.take() { job() }
                }
            }
        }
    }

    public func submit(_ lane: Int, _ job: @escaping @Sendable () -> Void) { mailboxes[lane].put(job) }

    /// Ends the threads after what has been submitted is done, and waits for that.
    public func shutDown() {
        for mailbox in mailboxes { mailbox.close() }
        for thread in threads { thread.join() }
    }
}
