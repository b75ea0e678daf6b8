// What is made for the readers of one pass, and shared by all that differ in nothing.
//
// Readers differ in what they have (position, held-back bytes), and in rare cases in what their request said (a cursor ahead of the clock,
// If-None-Match, an origin that matters, HTTP/1.0).

import HTTPWire
import StreamActors
import StreamHTTP
import StreamRules
import StreamStore

/// The answer to several long-polls: in the form of HTTP/1.1, head and body in one block, and for other transports the head apart.
final class SharedAnswer {
    let block: OwnedBytes
    let bodyStart: Int
    let head: ResponseHead

    init(block: OwnedBytes, bodyStart: Int, head: ResponseHead) {
        self.block = block
        self.bodyStart = bodyStart
        self.head = head
    }
}

/// The answers, frames and plans of one pass. What is in them names the cursor of an interval.
final class SharedForms {
    /// What long-polls may differ in and still share: where they are, whether they began at `offset=now` (not to be cached), whether they are told
    /// to stay with HTTPS.
    struct AnswerForm: Equatable {
        let position: UInt64
        let fromNow: Bool
        let tellsStrictTransport: Bool

        init(_ exchange: ExchangeState, at position: UInt64) {
            self.position = position
            fromNow = exchange.liveFromNow
            tellsStrictTransport = exchange.liveTellsStrictTransport
        }
    }

    /// Of the pass (`Fanout.number`).
    let number: UInt64
    let interval: UInt64
    private var answers: [(form: AnswerForm, answer: SharedAnswer)] = []
    /// Long-polls wait at the tail, so there are few positions.
    private static let answersKept = 8
    /// The frames for each distinct held-back tail of a character: readers at one position differ in that only if they began within a
    /// character, so there are at most four.
    private var frames: [(before: Carry, after: Carry, frames: EventFrames?)] = []
    /// Of a large publication: where its events end, and what is shared of them.
    private var plans: [(before: Carry, plan: EventPlan)] = []

    init(number: UInt64, interval: UInt64) {
        self.number = number
        self.interval = interval
    }

    func answer(_ form: AnswerForm) -> SharedAnswer? { answers.first { $0.form == form }?.answer }

    func keep(_ answer: SharedAnswer, _ form: AnswerForm) {
        if answers.count == Self.answersKept { answers.removeFirst() }
        answers.append((form, answer))
    }

    /// What a reader with these bytes held back gets, and what it holds back then; nil: all of the publication.
    func frames(for carry: Carry, _ make: () -> (EventFrames?, Carry)) -> (frames: EventFrames?, after: Carry) {
        if let known = frames.first(where: { $0.before == carry }) { return (known.frames, known.after) }
        let (made, after) = make()
        frames.append((carry, after, made))
        return (made, after)
    }

    func plan(for carry: Carry, _ make: () -> EventPlan) -> EventPlan {
        if let known = plans.first(where: { $0.before == carry }) { return known.plan }
        let plan = make()
        plans.append((carry, plan))
        return plan
    }
}

/// The forms of the passes that have been at work lately.
struct SharedFormsList {
    private var forms: [SharedForms] = []
    /// Passes that take turns; beyond that the one that had its turn longest ago makes its forms again.
    private static let kept = 64

    mutating func forms(of number: UInt64, in interval: UInt64) -> SharedForms {
        if let last = forms.last, last.number == number, last.interval == interval { return last }
        if let index = forms.firstIndex(where: { $0.number == number }) {
            let known = forms.remove(at: index)
            if known.interval == interval {
                forms.append(known)
                return known
            }
        }
        if forms.count == Self.kept { forms.removeFirst() }
        let new = SharedForms(number: number, interval: interval)
        forms.append(new)
        return new
    }

    /// No pass is under way.
    mutating func removeAll() { if !forms.isEmpty { forms = [] } }
}

extension ServerCore {
    /// What readers of this pass share.
    func forms(of news: Fanout) -> SharedForms {
        hasSharedForms = true
        return sharedForms.forms(of: news.number, in: StreamCursor.interval(atUnixMilliseconds: loop.wallNow))
    }

    func encode(_ result: ReadResult, _ buffers: [UnsafeRawBufferPointer], _ context: ResponseContext) -> SharedAnswer {
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

    /// Whether its frames are certain to have room in one buffer: a line end becomes six bytes, and each append has two events around it.
    static func fitsOneBuffer(_ publication: Publication) -> Bool {
        6 * Int(publication.facts.tail - publication.from) + ByteSink.reserve * (publication.appendEnds.count + 2) <= eventBufferBytes
    }

    /// One data and one control event per append; the end of the stream comes with the last. nil: all of it is held back.
    func frames(of publication: Publication, carry: Carry, cursor: UInt64) -> (EventFrames?, Carry) {
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
