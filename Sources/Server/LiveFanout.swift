// One publication to all of a stream's waiting readers: each distinct answer is made once and shared by reference.
//
//     publish ──▶ pass: reader reader reader … │ next turn │ reader reader … │ next turn │ … end
//                        `── one turn's share ─┘
//     published meanwhile ──▶ joined to one publication ──▶ the next pass
//
// Readers differ in what they have (position, held-back bytes), and in rare cases in what their request said (a cursor ahead of the
// clock, If-None-Match, an origin that matters, HTTP/1.0). All that differ in nothing get the same bytes.
//
// Ten thousand sends are tens of milliseconds. A pass takes its share of a turn and goes on in the next, so that other requests wait a
// millisecond or two and not for its end. What the stream publishes before the end of a pass is gathered: a stream that is written faster
// than its readers can be reached costs one send per reader and pass, however many appends there were.
//
// Invariants: a long-poll that was woken waits no longer, whenever its turn comes (`Exchange.isWoken`). A reader of events gets exactly the
// bytes from its position on: one that has all of a publication is passed over, one that has a part of it reads for itself. The stream's
// actor stays in memory until the pass is over. When the stream ends, whoever has not been reached is told that, and nothing of before.

import HTTPWire
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore

/// What is being told to one stream's readers.
///
/// @unchecked Sendable: confined to the reactor, like the readers in it.
final class Fanout: @unchecked Sendable {
    struct Work {
        var publication: Publication
        var polls: [any LiveReader]
        var events: [any LiveReader]

        /// Its bytes are not kept: what is more than one piece is read from the stream.
        private(set) var isLarge: Bool
        /// So many appends are told apart; beyond that readers get what came in batches.
        private static let appendsKept = 16_384
        private static let largest = UInt64(TailBuffer.adoptionThreshold)

        init(_ publication: Publication, polls: [any LiveReader], events: [any LiveReader]) {
            isLarge = publication.facts.tail - publication.from > Self.largest
            self.publication = isLarge ? publication.withoutBytes() : publication
            self.polls = polls
            self.events = events
        }

        /// What was published later, joined to it.
        mutating func join(_ later: Publication, polls: [any LiveReader], events: [any LiveReader]) {
            isLarge = isLarge || later.facts.tail - publication.from > Self.largest
            publication = publication.joined(by: later, keepingBytes: !isLarge, appends: Self.appendsKept)
            self.polls += polls
            // The later list has everyone who still waits.
            self.events = events
        }
    }

    let stream: StreamActor
    var work: Work
    var nextPoll = 0
    var nextEvents = 0
    var meanwhile: Work?

    /// What long-polls may differ in and still share: where they are, whether they began at `offset=now` (not to be cached), whether they are told
    /// to stay with HTTPS.
    struct Form: Equatable {
        let position: UInt64
        let fromNow: Bool
        let tellsStrictTransport: Bool

        init(_ reader: Exchange) {
            position = reader.livePosition
            fromNow = reader.liveFromNow
            tellsStrictTransport = reader.liveTellsStrictTransport
        }
    }
    var answers: [(form: Form, answer: SharedAnswer)] = []
    /// Long-polls wait at the tail, so there are few positions.
    static let answersKept = 8
    /// The frames for each distinct held-back tail of a character: readers at one position differ in that only if they began within a
    /// character, so there are at most four.
    var frames: [(before: Carry, after: Carry, frames: EventFrames?)] = []
    /// Of a large publication: where its events end, and what is shared of them.
    var plans: [(before: Carry, plan: EventPlan)] = []

    init(_ stream: StreamActor, _ work: Work) {
        self.stream = stream
        self.work = work
    }

    private var interval: UInt64 = 0

    /// What was made names the cursor of its interval.
    func enter(_ interval: UInt64) {
        if interval == self.interval { return }
        self.interval = interval
        answers = []
        frames = []
        plans = []
    }

    /// Begins the pass for what was published meanwhile; false if there was nothing.
    func turnOver() -> Bool {
        guard let work = meanwhile else { return false }
        self.work = work
        meanwhile = nil
        nextPoll = 0
        nextEvents = 0
        answers = []
        frames = []
        plans = []
        return true
    }
}

/// How much of a turn live readers may take, in bytes sent; a send costs so many bytes' worth by itself.
struct FanoutBudget {
    static let perSend = 4096
    var left: Int
    var isSpent: Bool { left <= 0 }
    mutating func spend(_ bytes: Int) { left -= bytes + Self.perSend }
}

extension ServerCore: LiveSink {
    func publish(_ publication: Publication, polls: [any LiveReader], events: [any LiveReader], stream: isolated StreamActor) {
        for reader in polls { exchange(reader).isWoken() }
        if let running = fanouts[stream.id] {
            if running.meanwhile == nil {
                running.meanwhile = Fanout.Work(publication, polls: polls, events: events)
            } else {
                running.meanwhile!.join(publication, polls: polls, events: events)
            }
            return
        }
        let fanout = Fanout(stream, Fanout.Work(publication, polls: polls, events: events))
        if fanouts.isEmpty, proceed(with: fanout, stream) { return }
        stream.hold()
        fanouts[stream.id] = fanout
        fanoutOrder.append(fanout)
        continueSoon()
    }

    /// A further share of the passes under way, which take turns.
    func continueFanouts() {
        var waiting = fanoutOrder.count
        while waiting > 0, !fanoutBudget.isSpent, let fanout = fanoutOrder.popFirst() {
            waiting -= 1
            let isDone = loop.isolated(fanout.stream) { stream in
                let isDone = proceed(with: fanout, stream)
                if isDone { stream.release() }
                return isDone
            }
            if isDone { fanouts[fanout.stream.id] = nil } else { fanoutOrder.append(fanout) }
        }
    }

    /// True when all has been told.
    private func proceed(with fanout: Fanout, _ stream: isolated StreamActor) -> Bool {
        repeat {
            if let end = fanout.work.publication.end {
                if !tell(end, fanout, stream) { return false }
            } else if !tellPolls(fanout, stream) || !tellEvents(fanout) {
                return false
            }
        } while fanout.turnOver()
        return true
    }

    private func exchange(_ reader: any LiveReader) -> Exchange { unsafeDowncast(reader, to: Exchange.self) }

    // MARK: The end of the stream

    private func tell(_ end: Refusal, _ fanout: Fanout, _ stream: isolated StreamActor) -> Bool {
        while fanout.nextPoll < fanout.work.polls.count {
            if fanoutBudget.isSpent { return false }
            exchange(fanout.work.polls[fanout.nextPoll]).answerWhenWoken(.refused(end), stream)
            fanout.nextPoll += 1
            fanoutBudget.spend(0)
        }
        while fanout.nextEvents < fanout.work.events.count {
            if fanoutBudget.isSpent { return false }
            exchange(fanout.work.events[fanout.nextEvents]).endEvents()
            fanout.nextEvents += 1
            fanoutBudget.spend(0)
        }
        return true
    }

    // MARK: Long-poll

    private func tellPolls(_ fanout: Fanout, _ stream: isolated StreamActor) -> Bool {
        let interval = StreamCursor.interval(atUnixMilliseconds: loop.wallNow)
        fanout.enter(interval)
        while fanout.nextPoll < fanout.work.polls.count {
            if fanoutBudget.isSpent { return false }
            let reader = exchange(fanout.work.polls[fanout.nextPoll])
            fanout.nextPoll += 1
            if reader.phase != .executing { continue }
            let isShared = reader.takesSharedAnswer(in: interval)
            if isShared, let known = fanout.answers.first(where: { $0.form == Fanout.Form(reader) }) {
                reader.respond(shared: known.answer)
                fanoutBudget.spend(known.answer.block.count)
                continue
            }
            guard let outcome = reader.readWhenWoken(stream) else {
                fanoutBudget.spend(Self.copyLimit)
                continue
            }
            if isShared, case .read(let result) = outcome, result.from < result.to, result.to - result.from <= UInt64(Self.copyLimit),
                let buffers = memory(of: result)
            {
                let answer = encode(result, buffers, reader.context)
                if fanout.answers.count == Fanout.answersKept { fanout.answers.removeFirst() }
                fanout.answers.append((Fanout.Form(reader), answer))
                reader.respond(shared: answer)
                fanoutBudget.spend(answer.block.count)
            } else {
                fanoutBudget.spend(Self.copyLimit)
                reader.answerWhenWoken(outcome, stream)
            }
        }
        return true
    }

    private func encode(_ result: ReadResult, _ buffers: [UnsafeRawBufferPointer], _ context: ResponseContext) -> SharedAnswer {
        let range = RangeFacts(facts: result.facts, from: result.from, to: result.to)
        _ = responder.read(range, context, &head)
        serializeHead(keepAlive: true, minorVersion: 1)
        let bodyStart = output.count
        let isJSON = result.facts.contentType.isJSON
        if isJSON { output.append(UInt8(ascii: "[")) }
        for buffer in buffers { output.append(contentsOf: buffer) }
        if isJSON {
            output.removeLast(2)
            output.append(UInt8(ascii: "]"))
        }
        return SharedAnswer(block: OwnedBytes(copying: output), bodyStart: bodyStart, head: head)
    }

    // MARK: Server-sent events

    private func tellEvents(_ fanout: Fanout) -> Bool {
        let publication = fanout.work.publication
        let tail = publication.facts.tail
        let interval = StreamCursor.interval(atUnixMilliseconds: loop.wallNow)
        fanout.enter(interval)
        while fanout.nextEvents < fanout.work.events.count {
            if fanoutBudget.isSpent { return false }
            let reader = exchange(fanout.work.events[fanout.nextEvents])
            fanout.nextEvents += 1
            guard reader.isStreaming, reader.livePosition < tail || publication.facts.closed else { continue }
            guard reader.takesFrames(at: publication.from) else {
                reader.fallBehind()
                fanoutBudget.spend(0)
                continue
            }
            let own = reader.contextWithCursor(from: interval)
            if fanout.work.isLarge || !Self.fitsOneBuffer(publication) {
                reader.fallBehind(plan(of: fanout, carry: reader.carry, isShared: own == nil))
                fanoutBudget.spend(0)
                continue
            }
            if let own {
                let (frames, carry) = frames(of: publication, carry: reader.carry, cursor: responder.nextCursor(own))
                fanoutBudget.spend(frames?.count ?? 0)
                reader.take(shared: frames, to: tail, carry: carry, ends: publication.facts.closed)
                continue
            }
            var found = fanout.frames.firstIndex { $0.before == reader.carry }
            if found == nil {
                let (frames, carry) = frames(of: publication, carry: reader.carry, cursor: interval)
                fanout.frames.append((reader.carry, carry, frames))
                found = fanout.frames.count - 1
            }
            let entry = fanout.frames[found!]
            fanoutBudget.spend(entry.frames?.count ?? 0)
            reader.take(shared: entry.frames, to: tail, carry: entry.after, ends: publication.facts.closed)
        }
        return true
    }

    /// Whether its frames are certain to have room in one buffer: a line end becomes six bytes, and each append has two events around it.
    private static func fitsOneBuffer(_ publication: Publication) -> Bool {
        6 * Int(publication.facts.tail - publication.from) + ByteSink.reserve * (publication.appendEnds.count + 2) <= eventBufferBytes
    }

    private func plan(of fanout: Fanout, carry: Carry, isShared: Bool) -> EventPlan {
        let ends = fanout.work.publication.appendEnds
        guard isShared else { return EventPlan(ends, sharedIn: nil) }
        if let known = fanout.plans.first(where: { $0.before == carry }) { return known.plan }
        let plan = EventPlan(ends, sharedIn: sharedEvents)
        fanout.plans.append((carry, plan))
        return plan
    }

    /// One data and one control event per append; the end of the stream comes with the last. nil: all of it is held back.
    private func frames(of publication: Publication, carry: Carry, cursor: UInt64) -> (EventFrames?, Carry) {
        let facts = publication.facts
        var progress = EventProgress(
            position: publication.from, form: EventEncoder.Form(facts.contentType), carry: carry,
            plan: EventPlan(publication.appendEnds, sharedIn: nil))
        let buffers = publication.slices.map(\.bytes)
        let frames = encodeEvents { sink in
            if publication.from < facts.tail {
                _ = progress.encode(buffers, end: facts.tail, tail: facts.tail, closed: facts.closed, cursor: cursor, &sink)
            } else if facts.closed {
                progress.end(at: facts.tail, &sink)
            }
        }
        return (frames, progress.encoder.carry)
    }
}
