// Watches the start while the reactor's thread recovers and nothing else runs yet. From a thread of its own it
//
//     tells the service manager how far recovery is,
//     asks for more time as long as recovery gets on, so that a long one is not killed and one that hangs is,
//     ends the process at once when it is asked to stop: recovery writes nothing, so that is as good as never started.
//
// "Gets on" is: the recovering thread has used processor time since the last look. Reading a journal does; waiting for a disk
// that does not answer does not.

import Glibc
import Synchronization
import SystemCalls
import Systemd

final class StartWatch: Sendable {
    private let manager: ServiceManager
    private let fraction = Mutex(0.0)
    private let processorTime: @Sendable () -> Int64
    private let stopIsWanted: @Sendable () -> Bool
    private let stop: @Sendable () -> Void

    /// Between two looks for a stop.
    static let pauseMilliseconds: Int32 = 50
    /// Between two messages.
    static let messageMilliseconds: Int64 = 1000
    /// What is asked for each time: enough for a few messages that do not get through.
    static let extensionMicroseconds: UInt64 = 30_000_000

    /// - Parameters:
    ///   - processorTime: what the recovering thread has used, in any unit.
    ///   - stop: does not return.
    init(
        manager: ServiceManager, processorTime: @escaping @Sendable () -> Int64, stopIsWanted: @escaping @Sendable () -> Bool,
        stop: @escaping @Sendable () -> Void
    ) {
        self.manager = manager
        self.processorTime = processorTime
        self.stopIsWanted = stopIsWanted
        self.stop = stop
    }

    /// Watches the calling thread until `body` ends.
    static func during<Result>(manager: ServiceManager, _ body: (StartWatch) throws -> Result) rethrows -> Result {
        let time = Processes.processorTimeOfThisThread()
        let watch = StartWatch(
            manager: manager, processorTime: time, stopIsWanted: { Processes.isPending(SIGTERM) || Processes.isPending(SIGINT) },
            stop: {
                manager.stopping(status: "stopped before recovery was done")
                _exit(0)
            })
        // Closing the one end wakes the thread at the other.
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else { return try body(watch) }
        let (reading, writing) = (ends[0], ends[1])
        let thread = Processes.startThread(named: "ds-start") { watch.run(until: reading) }
        defer {
            close(writing)
            thread.join()
            close(reading)
        }
        return try body(watch)
    }

    func progress(_ fraction: Double) { self.fraction.withLock { $0 = fraction } }

    private func run(until end: Int32) {
        var used = processorTime()
        var saidAt = Clocks.monotonicMilliseconds()
        var entry = pollfd(fd: end, events: Int16(POLLIN), revents: 0)
        while poll(&entry, 1, Self.pauseMilliseconds) <= 0 {
            if stopIsWanted() { stop() }
            let now = Clocks.monotonicMilliseconds()
            if now - saidAt >= Self.messageMilliseconds {
                saidAt = now
                used = look(since: used)
            }
        }
    }

    /// One message; returns the processor time used by now.
    func look(since used: Int64) -> Int64 {
        let now = processorTime()
        let status = StatusText.recovering(fraction.withLock { $0 })
        if now > used {
            manager.extendTimeout(microseconds: Self.extensionMicroseconds, status: status)
        } else {
            manager.status(status)
        }
        return now
    }
}
