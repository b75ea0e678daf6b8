// The proof that the server is alive: a beat is given only when a message has gone from the reactor through the journal's thread and back.
//
//     timer of the loop ──▶ journal thread (behind the batch that it syncs) ──▶ loop's mailbox ──▶ beat
//
// Either of the two that does not come round stops the beats, and the service manager ends the process (WatchdogSec=). One message is
// under way at a time, so a thread that is stuck is not buried under them.

import Reactor
import StreamStore

final class Heartbeat {
    private let loop: EventLoop
    private let lane: any JournalLane
    private let milliseconds: Int64
    private let beat: () -> Void
    private var isUnderWay = false

    /// - Parameter limitMicroseconds: the longest time between two beats; they come three times as often.
    init(loop: EventLoop, lane: any JournalLane, limitMicroseconds: UInt64, beat: @escaping () -> Void) {
        self.loop = loop
        self.lane = lane
        milliseconds = Int64(clamping: max(1, limitMicroseconds / 3000))
        self.beat = beat
    }

    func start() {
        send()
        loop.schedule(after: milliseconds) { [self] in start() }
    }

    private func send() {
        if isUnderWay { return }
        isUnderWay = true
        let (loop, returned) = (loop, Confined(self))
        lane.run { loop.post { returned.value.hasReturned() } }
    }

    private func hasReturned() {
        isUnderWay = false
        beat()
    }
}

/// A value that is used on the reactor only, carried through a closure that must be Sendable.
///
/// @unchecked Sendable: whoever carries it through another thread calls it by `EventLoop.post` only.
struct Confined<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
