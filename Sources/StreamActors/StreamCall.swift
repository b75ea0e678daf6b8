// One call to a stream: what is asked, with which content, by whom; and what has been worked out for it, so a call that waits is never worked out
// again. Streams and no HTTP.
//
//     transport ──▶ StreamRegistry.execute(call) ──▶ StreamActor.execute(call) ──▶ outcome at once
//                        │ waits for a name              │ waits for durability, for room in the journal, behind a large body, for a segment
//                        └────────── the call itself is what waits ───────────┘──▶ requester.answer, later

import StreamRules
import StreamStore

public struct StreamCall: Sendable {
    public let name: [UInt8]
    public let verb: StreamVerb
    public let condition: StreamCondition
    /// Of a create or an append.
    public internal(set) var content: Content
    public let requester: any Requester
    /// Tells the requester's calls apart.
    public let tag: UInt32
    /// Of a live read: who comes to wait at the tail.
    public let reader: StreamReader?
    /// What few calls need.
    private var workedOut: WorkedOut?

    public init(
        _ verb: StreamVerb, of name: [UInt8], condition: StreamCondition = .none, content: Content = .none, requester: any Requester,
        tag: UInt32, reader: StreamReader? = nil
    ) {
        self.name = name
        self.verb = verb
        self.condition = condition
        self.content = content
        self.requester = requester
        self.tag = tag
        self.reader = reader
    }

    /// The same call, to be kept beyond the one that brought it.
    var kept: StreamCall { with(content.kept) }

    /// The same call with its content in another form.
    func with(_ content: Content) -> StreamCall {
        var call = self
        call.content = content
        return call
    }

    func answer(_ outcome: Outcome, from stream: StreamActor?) { requester.answer(outcome, from: stream, tag: tag) }

    /// Answers, if there is an answer already.
    func answer(_ answer: Answer?) { if let answer { self.answer(answer.outcome, from: answer.stream) } }

    /// The other name that a fork needs.
    var forkSource: [UInt8]? {
        guard case .create(let request) = verb, let fork = request.fork, fork.source != name else { return nil }
        return fork.source
    }
}

extension StreamCall {
    private final class WorkedOut: Sendable {
        let forkPoint: ForkPoint?
        let held: [SegmentHandle]
        let byte: ReadByte?

        init(_ forkPoint: ForkPoint?, _ held: [SegmentHandle], _ byte: ReadByte?) {
            self.forkPoint = forkPoint
            self.held = held
            self.byte = byte
        }
    }

    /// Where the fork begins, as far as that has been searched for.
    var forkPoint: ForkPoint? {
        get { workedOut?.forkPoint }
        set { workedOut = WorkedOut(newValue, held, byte) }
    }

    /// Segments that were opened for it; held here, so it gets on however few the cache holds.
    var held: [SegmentHandle] {
        get { workedOut?.held ?? [] }
        set { workedOut = WorkedOut(forkPoint, newValue, byte) }
    }

    /// The byte that a disk worker has read for it: not every file system says whether a byte is in the page cache.
    var byte: ReadByte? {
        get { workedOut?.byte }
        set { workedOut = WorkedOut(forkPoint, held, newValue) }
    }
}

/// The answer to a call, and the stream that gives it.
public struct Answer: Sendable {
    public let outcome: Outcome
    public let stream: StreamActor?
}

public enum Outcome: Sendable {
    case created(StreamFacts, new: Bool)
    /// `stored` is false for a duplicate and for closing what is closed.
    case appended(tail: UInt64, closed: Bool, producer: ProducerState?, stored: Bool, hadContent: Bool)
    case deleted
    case metadata(StreamFacts)
    case read(ReadResult)
    /// A live read at the tail of an open stream waits; the reader is registered at this position.
    case waiting(StreamFacts)
    case refused(Refusal)
}

/// Whoever asked. Confined to the reactor; Sendable so that an actor can keep it until the answer is due.
public protocol Requester: AnyObject, Sendable {
    /// The answer to the request that was made with `tag`. A requester that is gone by now ignores it.
    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32)
    /// Whether the answer to that request is still wanted: a long search ends when it is not.
    func awaits(_ tag: UInt32) -> Bool
}

extension Requester {
    public func awaits(_ tag: UInt32) -> Bool { true }
}
