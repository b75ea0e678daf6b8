// Says that the disk fills up before it is full, and that it is full while it is: once each interval, with what was refused meanwhile.
//
//     every ten seconds, on a worker: free space ──▶ under a tenth: a warning, again every ten minutes until there is an eighth
//     each 507 ──▶ counted ──▶ an error, at most once a minute

import Logging
import Reactor
import ServerSettings
import StreamStore
import SystemCalls

/// @unchecked Sendable: confined to the reactor.
final class DiskWatch: @unchecked Sendable {
    private let path: String
    private let loop: EventLoop
    private let dispatcher: any Dispatcher
    private let logger: Logger
    private var isLooking = false
    /// Since it became low, when that was said last.
    private var lowToldAt: Int64?
    private var fullLines = Interval(60_000)
    private var looks = Interval(10_000)
    private var refused = 0

    private static let lowMilliseconds: Int64 = 600_000

    init(_ path: String, loop: EventLoop, dispatcher: any Dispatcher, logger: Logger) {
        self.path = path
        self.loop = loop
        self.dispatcher = dispatcher
        self.logger = logger
    }

    /// Called about once a second.
    func tick() {
        if isLooking || !looks.begins(loop.now) { return }
        isLooking = true
        let path = path
        dispatcher.work(.background) { [dispatcher] in
            let space = FileCalls.space(of: path)
            dispatcher.post { self.found(space) }
        }
    }

    private func found(_ space: (free: Int, total: Int)?) {
        isLooking = false
        guard let space, space.total > 0 else { return }
        if space.free >= space.total / 8 {
            lowToldAt = nil
            return
        }
        guard lowToldAt.map({ loop.now - $0 >= Self.lowMilliseconds }) ?? (space.free < space.total / 10) else { return }
        lowToldAt = loop.now
        logger.log(
            .warning, .diskNearlyFull, "the disk of the data directory is nearly full",
            metadata: ["free": "\(SizeText.write(space.free))", "total": "\(SizeText.write(space.total))", "data-dir": "\(path)"])
    }

    /// A command was refused, or a flush put off, because there is no space.
    func isFull() {
        refused += 1
        guard fullLines.begins(loop.now) else { return }
        logger.log(
            .error, .diskFull, "the disk of the data directory is full: appends are answered 507",
            metadata: ["data-dir": "\(path)", "refused": "\(refused)"])
        refused = 0
    }
}
