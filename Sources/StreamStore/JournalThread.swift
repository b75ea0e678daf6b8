// The thread that makes batches durable: takes one, writes it with one pwritev, syncs once, reports. While it syncs, the reactor gathers
// the next batch. It decides nothing, and after an error it writes nothing more.

import Glibc
import SystemCalls
import SystemPackage

/// One batch on its way to the disk.
struct JournalSubmission: Sendable {
    let arena: JournalArena
    let file: any DiskFile
    let fileNumber: UInt64
    let salt: UInt64
    let batchNumber: UInt64
    let offset: Int
    let syncs: Bool

    /// Writes and syncs. An error is final for the journal.
    func commit() -> Errno? {
        var vectors = arena.seal(file: fileNumber, salt: salt, batch: batchNumber)
        do throws(Errno) {
            try file.write(vectors: &vectors, at: offset)
            if syncs { try file.syncData() }
            return nil
        } catch {
            return error
        }
    }
}

/// Where submissions go. The completion runs on the reactor.
public protocol JournalLane: Sendable {
    func run(_ job: @escaping @Sendable () -> Void)
}

public final class JournalThread: JournalLane {
    private let mailbox = Mailbox<@Sendable () -> Void>()
    private let thread: ThreadHandle

    public init() {
        let mailbox = mailbox
        thread = Processes.startThread(named: "ds-journal") {
            while let job = mailbox.take() { job() }
        }
    }

    public func run(_ job: @escaping @Sendable () -> Void) { mailbox.put(job) }

    public func shutDown() {
        mailbox.close()
        thread.join()
    }
}
