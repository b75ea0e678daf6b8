// A few threads for everything that may wait for a disk: the reactor never does.
//
// Jobs of one server are independent of each other unless their submitter orders them (by submitting the second from the first's
// completion). The queue is bounded by what its submitters can have under way: one read per connection, one flush per stream, one
// checkpoint.

import SystemCalls

public final class DiskWorkers: Sendable {
    private let mailbox = Mailbox<@Sendable () -> Void>()
    private let threads: [ThreadHandle]

    public init(count: Int) {
        let mailbox = mailbox
        threads = (0..<count).map { index in
            Processes.startThread(named: "ds-disk-\(index)") {
                while let job = mailbox.take() { job() }
            }
        }
    }

    public func submit(_ job: @escaping @Sendable () -> Void) { mailbox.put(job) }

    /// Ends the threads after what has been submitted is done, and waits for that.
    public func shutDown() {
        mailbox.close()
        for thread in threads { thread.join() }
    }
}
