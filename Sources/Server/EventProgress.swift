// How far a reader of events that is behind has come, and the step to its next piece.
//
//     position of the payload   ├───── event ─────┤├── event ──┤├───
//     pieces that are sent      ├── piece ──┤├ piece ┤├─ piece ─┤        each at most so many bytes
//
// One event may be as large as a body, so it goes out in pieces; between two of them the reader keeps this value and no bytes of the stream. What
// comes next is read from the stream again, from memory or from a segment.
//
// Where events end: a plan says it for what was published while the reader was at the tail (one event for each stored append). Elsewhere a
// batch is what one read gives; of JSON what ends with a message in it, and a message that is larger than a read goes on until its end.
//
// Many readers of one plan get the same pieces. `EventPlan` keeps the newest of them, so that each is encoded once as long as its readers keep up
// with each other; one that lags further behind encodes for itself.

import StreamRules
import StreamStore

/// Where the events end that a stream's readers are to get for one publication, and the pieces that were made of them.
final class EventPlan {
    /// One piece, and where the reader stands after it.
    struct Step {
        let frames: EventFrames
        /// Without the plan, which holds the step.
        let progress: EventProgress
        /// There is more of the plan.
        let continues: Bool
        /// The piece says that the reader is up to date, which is true as long as the stream is like this.
        let claim: Claim?
    }

    struct Claim: Equatable {
        let tail: UInt64
        let closed: Bool
    }

    /// Ascending; the position behind each append.
    let ends: [UInt64]
    /// Readers whose frames differ by a cursor of their own share nothing.
    private let account: ByteAccount?
    private var steps: [Int: Step] = [:]
    private var newest = -1
    /// So many of the newest pieces are kept.
    private static let window = 16

    /// - Parameter account: what shared pieces are charged to; nil: nothing is shared.
    init(_ ends: [UInt64], sharedIn account: ByteAccount?) {
        self.ends = ends
        self.account = account
    }

    deinit { for step in steps.values { account?.held -= step.frames.count } }

    /// The piece that comes next for a reader that has taken `index` of them, if it is here and says what is true now.
    func step(_ index: Int, _ claim: Claim) -> Step? {
        guard let step = steps[index], step.claim == nil || step.claim == claim else { return nil }
        return step
    }

    /// Keeps a piece for the others, within `bound` bytes for all plans.
    func keep(_ frames: EventFrames, _ progress: EventProgress, claim: Claim?, at index: Int, bound: Int) {
        guard let account, account.held + frames.count <= bound, steps[index] == nil, index > newest - Self.window else { return }
        var bare = progress
        bare.leavePlan()
        account.held += frames.count
        steps[index] = Step(frames: frames, progress: bare, continues: progress.plan != nil, claim: claim)
        newest = max(newest, index)
        for old in steps.keys where old <= newest - Self.window { account.held -= steps.removeValue(forKey: old)!.frames.count }
    }
}

/// Where a reader stands in its stream and in the event under way.
struct EventProgress {
    /// Payload up to here has been encoded.
    private(set) var position: UInt64
    private(set) var encoder: EventEncoder
    /// Where the event under way ends, where that is known.
    private var eventEnd: UInt64?
    private(set) var plan: EventPlan?
    private var nextEnd = 0
    /// Pieces of the plan that were taken.
    private(set) var stepIndex = 0

    init(position: UInt64, form: EventEncoder.Form, carry: Carry, plan: EventPlan? = nil) {
        self.position = position
        encoder = EventEncoder(form, carry: carry)
        self.plan = plan
    }

    /// Where the reader stands after a piece that somebody else has encoded.
    init(_ step: EventPlan.Step, of plan: EventPlan) {
        self = step.progress
        if step.continues { self.plan = plan }
    }

    mutating func leavePlan() { plan = nil }

    /// An event has been begun and not ended: what is sent next belongs to it.
    var isInsideEvent: Bool { encoder.hasBegun }

    /// Encodes one piece of the payload [position, end), which lies in `buffers`.
    ///
    /// - Parameter oneEvent: it ends with the event under way, or the next one.
    /// - Returns: whether the piece says that the reader is up to date.
    mutating func encode(
        _ buffers: [UnsafeRawBufferPointer], end: UInt64, tail: UInt64, closed: Bool, cursor: UInt64, oneEvent: Bool = false,
        _ sink: inout ByteSink
    ) -> Bool {
        let start = position
        var claims = false
        while !sink.isFull {
            if eventEnd == nil { findEnd(buffers, from: start, end: end, tail: tail) }
            let stop = min(eventEnd ?? end, end)
            take(buffers, from: start, to: stop, &sink)
            guard position == stop, let reached = eventEnd, reached == stop else { break }
            let isEnd = closed && reached == tail
            eventEnd = nil
            if let told = encoder.finish(end: reached, isEndOfClosed: isEnd, &sink) {
                let isUpToDate = reached == tail
                claims = claims || isUpToDate
                let progress: EventStreamControl.Progress =
                    isEnd ? .closed : isUpToDate ? .upToDate(cursor: cursor) : .behind(cursor: cursor)
                EventStream.putControl(EventStreamControl(nextOffset: StreamOffset(position: told), progress: progress), &sink)
            }
            // Without a plan a piece is one batch.
            guard let plan, nextEnd < plan.ends.count, position < end, !oneEvent else { break }
        }
        stepIndex += 1
        if let plan, nextEnd == plan.ends.count, eventEnd == nil { self.plan = nil }
        return claims
    }

    /// Ends what is held back at the end of a closed stream, and says that this is the end.
    mutating func end(at tail: UInt64, _ sink: inout ByteSink) {
        _ = encoder.finish(end: tail, isEndOfClosed: true, &sink)
        EventStream.putControl(EventStreamControl(nextOffset: StreamOffset(position: tail), progress: .closed), &sink)
    }

    private mutating func findEnd(_ buffers: [UnsafeRawBufferPointer], from start: UInt64, end: UInt64, tail: UInt64) {
        if let plan {
            while nextEnd < plan.ends.count {
                nextEnd += 1
                if plan.ends[nextEnd - 1] > position {
                    eventEnd = plan.ends[nextEnd - 1]
                    return
                }
            }
            self.plan = nil
        }
        if encoder.form == .text, end < tail, end - 1 > position, Self.last(buffers, start: start, before: end) == 0x0D {
            // A line end of two bytes stays in one event: two would make two line ends of it.
            eventEnd = end - 1
        } else if encoder.form != .json {
            eventEnd = end
        } else if encoder.hasBegun {
            eventEnd = Self.firstMessageEnd(buffers, start: start, from: position)
        } else {
            eventEnd = Self.lastMessageEnd(buffers, start: start, from: position)
        }
    }

    private mutating func take(_ buffers: [UnsafeRawBufferPointer], from start: UInt64, to stop: UInt64, _ sink: inout ByteSink) {
        var base = start
        for buffer in buffers {
            let end = base + UInt64(buffer.count)
            while position < min(end, stop), position >= base, !sink.isFull {
                let part = buffer[Int(position - base)..<Int(min(end, stop) - base)]
                position += UInt64(encoder.encode(UnsafeRawBufferPointer(rebasing: part), &sink))
            }
            base = end
        }
    }

    /// The byte in front of `end`.
    private static func last(_ buffers: [UnsafeRawBufferPointer], start: UInt64, before end: UInt64) -> UInt8? {
        var base = start
        for buffer in buffers {
            if end > base, end <= base + UInt64(buffer.count) { return buffer[Int(end - 1 - base)] }
            base += UInt64(buffer.count)
        }
        return nil
    }

    /// A message ends behind each newline of the stored form (StoredJSON).
    private static func firstMessageEnd(_ buffers: [UnsafeRawBufferPointer], start: UInt64, from position: UInt64) -> UInt64? {
        var base = start
        for buffer in buffers {
            let end = base + UInt64(buffer.count)
            if position < end {
                let first = Int(max(position, base) - base)
                if let index = buffer[first...].firstIndex(of: 0x0A) { return base + UInt64(index) + 1 }
            }
            base = end
        }
        return nil
    }

    private static func lastMessageEnd(_ buffers: [UnsafeRawBufferPointer], start: UInt64, from position: UInt64) -> UInt64? {
        var end = buffers.reduce(start) { $0 + UInt64($1.count) }
        for buffer in buffers.reversed() {
            let base = end - UInt64(buffer.count)
            if let index = buffer.lastIndex(of: 0x0A) {
                let found = base + UInt64(index) + 1
                return found > position ? found : nil
            }
            end = base
        }
        return nil
    }
}
