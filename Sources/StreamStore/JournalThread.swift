// The thread that makes batches durable: takes one, writes it (one pwritev where it fits), syncs once, reports. While it syncs, the reactor gathers
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
        var vectors = arena.seal(file: fileNumber, salt: salt, batch: batchNumber, alignment: file.alignment)
        do throws(Errno) {
            if file.alignment > 8, !arena.isContiguous {
                try writeAligned(vectors)
            } else {
                try file.write(vectors: &vectors, at: offset)
            }
            if syncs { try file.syncData() }
            return nil
        } catch {
            return error
        }
    }
}

extension JournalSubmission {
    /// Writes vectors that are not aligned, by way of memory that is.
    private func writeAligned(_ vectors: [iovec]) throws(Errno) {
        let window = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: file.alignment)
        defer { window.deallocate() }
        var position = offset
        var filled = 0
        for vector in vectors {
            var done = 0
            while done < vector.iov_len {
                let count = min(window.count - filled, vector.iov_len - done)
                (window.baseAddress! + filled).copyMemory(from: vector.iov_base + done, byteCount: count)
                filled += count
                done += count
                if filled == window.count {
                    try file.write(UnsafeRawBufferPointer(window), at: position)
                    position += filled
                    filled = 0
                }
            }
        }
        let padded = JournalFile.align(filled, to: file.alignment)
        (window.baseAddress! + filled).initializeMemory(as: UInt8.self, repeating: 0, count: padded - filled)
        if padded > 0 { try file.write(UnsafeRawBufferPointer(rebasing: window[..<padded]), at: position) }
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
