// Calls that wait for room in the journal: first in, first out.
//
//     reserve ─▶ soon ─▶ [ call ][ call ][ call ] ─▶ a checkpoint has made room ─▶ the first is executed anew, then the next, until one finds none
//
// A call that waits at a stream makes later calls that change this stream wait behind it.

import DequeModule
import StreamRules
import StreamStore

struct RoomLine {
    struct Waiter {
        let call: StreamCall
        /// Where later calls wait behind it; nil: it creates a stream.
        let stream: StreamActor?
    }

    private var waiters: Deque<Waiter> = []
    private(set) var bytes = 0
    /// The one that is being tried again.
    var retrying: Waiter?

    var count: Int { waiters.count }

    mutating func append(_ waiter: Waiter) {
        bytes += waiter.call.content.count
        waiters.append(waiter)
    }

    /// Puts the one back that was tried again: it stays the first.
    mutating func putBack(_ waiter: Waiter) {
        bytes += waiter.call.content.count
        waiters.prepend(waiter)
        retrying = nil
    }

    mutating func takeFirst() -> Waiter? {
        guard let first = waiters.popFirst() else { return nil }
        bytes -= first.call.content.count
        return first
    }
}

extension StreamRegistry {
    /// Goes on with `then` if the journal has room for a record now. Otherwise the call waits and is executed anew, or is refused where no room is to
    /// be expected.
    ///
    /// - Parameters:
    ///   - payload: bytes that the record carries.
    ///   - urgent: the record may use the last of the room.
    ///   - kept: the call's content as it waits: what has been worked out of it stays.
    ///   - stream: the stream that the call has come to; nil: it creates one.
    func withRoom(
        for body: RecordBody, payload: Int = 0, urgent: Bool = false, _ call: StreamCall, kept: @autoclosure () -> Content? = nil,
        at stream: StreamActor? = nil, _ then: () -> Outcome?
    ) -> Outcome? {
        let count = JournalRecord.paddedLength(body, payload: payload)
        switch context.journal.reserve(count, urgent: urgent, now: context.loop.now) {
        case .available: return then()
        case .soon:
            parkForRoom(call.with(kept() ?? call.content.kept), at: stream)
            return nil
        case .none: return .refused(noRoom)
        }
    }

    func parkForRoom(_ call: StreamCall, at stream: StreamActor?) {
        let waiter = RoomLine.Waiter(call: call, stream: stream)
        if isRetrying(call) {
            // There is still no room for it, and the others behind it are not asked.
            roomLine.putBack(waiter)
        } else if roomLine.bytes + call.content.count > context.limits.parkedBytes || roomLine.count >= context.limits.parkedCommands {
            call.answer(.refused(.unavailable("too much waits for room in the journal")), from: nil)
            return
        } else {
            roomLine.append(waiter)
        }
        count(waiter, +1)
    }

    private func count(_ waiter: RoomLine.Waiter, _ change: Int) {
        if let stream = waiter.stream { context.loop.isolated(stream) { $0.roomWaits += change } }
    }

    /// Whether this is the call whose time to try again has come.
    func isRetrying(_ call: StreamCall) -> Bool {
        guard let first = roomLine.retrying?.call else { return false }
        return first.requester === call.requester && first.tag == call.tag
    }

    /// Room has come: who waits gets on, in order, up to the first for whom it is not enough.
    func retryForRoom() {
        if roomLine.retrying != nil { return }
        var left = roomLine.count
        while left > 0, let waiter = roomLine.takeFirst() {
            left -= 1
            count(waiter, -1)
            roomLine.retrying = waiter
            let answer = execute(waiter.call)
            if roomLine.retrying == nil { return }
            roomLine.retrying = nil
            waiter.call.answer(answer)
        }
    }

    /// Something is refused because the journal takes nothing now; why.
    var noRoom: Refusal {
        let reason = whyNoRoom
        if reason == .noSpace { context.onNoSpace() }
        return reason
    }

    private var whyNoRoom: Refusal {
        if context.journal.failure != nil { return .unavailable("the journal has failed; the server is about to restart") }
        if let failure = context.journal.roomFailure {
            return failure.isNoSpace ? .noSpace : .unavailable("the journal cannot grow: \(failure.text)")
        }
        return .unavailable("the journal is full and the checkpoint is behind")
    }

    /// Why an append of a few kilobytes would be refused now; nil: it would be taken.
    public var unreadiness: Refusal? {
        let isTaken = context.journal.failure == nil && context.journal.reserve(8 << 10, now: context.loop.now) != .none
        return isTaken ? nil : whyNoRoom
    }
}
