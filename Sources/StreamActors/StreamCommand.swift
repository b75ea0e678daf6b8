// What is asked of a stream, and what it answers: streams and no HTTP.

import StreamRules
import StreamStore

public struct StreamCommand: Sendable {
    public enum Action: Sendable {
        case create(CreateRequest)
        case append(AppendRequest)
        case read(ReadRequest)
        case metadata
        case delete
    }

    public let name: [UInt8]
    public let action: Action
    public let condition: StreamCondition
    /// Where the fork begins, once that has been searched for.
    var forkPoint: ForkPoint?
    /// Segments that were opened for it.
    var held: [SegmentHandle] = []
    /// The byte before the fork offset, once it has been read.
    var byte: ReadByte?

    /// It may change the stream, so that its order among others matters.
    var changesStream: Bool {
        switch action {
        case .create, .append, .delete: true
        case .read, .metadata: false
        }
    }

    public init(name: [UInt8], action: Action, condition: StreamCondition = .none) {
        self.name = name
        self.action = action
        self.condition = condition
    }
}

/// The body of a request.
///
/// @unchecked Sendable: a borrowed body is used only within the synchronous call it is given to, on the reactor's thread; whoever keeps it
/// longer calls `kept` first.
public enum Content: @unchecked Sendable {
    case none
    /// Bytes in the receive buffer; may be changed in place.
    case borrowed(UnsafeMutableRawBufferPointer)
    case owned(OwnedBytes)
    /// JSON that has been looked at.
    case prepared(PreparedJSON)

    /// For a prepared body: not 0, however few messages it has.
    public var count: Int {
        switch self {
        case .none: 0
        case .borrowed(let bytes): bytes.count
        case .owned(let block): block.count
        case .prepared(let prepared): max(1, prepared.stored?.count ?? 0)
        }
    }

    var isPrepared: Bool { if case .prepared = self { true } else { false } }

    var bytes: UnsafeMutableRawBufferPointer {
        switch self {
        case .none, .prepared: UnsafeMutableRawBufferPointer(start: nil, count: 0)
        case .borrowed(let bytes): bytes
        case .owned(let block): UnsafeMutableRawBufferPointer(start: block.base, count: block.count)
        }
    }

    /// The same content in memory of its own.
    public var kept: Content {
        if case .borrowed(let bytes) = self { return .owned(OwnedBytes(copying: UnsafeRawBufferPointer(bytes))) }
        return self
    }
}

public struct ReadResult: Sendable {
    public let facts: StreamFacts
    public let from: UInt64
    /// End of what this answer holds.
    public let to: UInt64
    public let pieces: [ReadPiece]

    public var upToDate: Bool { to == facts.tail }
    public var closed: Bool { upToDate && facts.closed }

    /// The first `count` bytes of it, or all if it has fewer.
    public func prefix(_ count: Int) -> ReadResult {
        if to - from <= UInt64(count) { return self }
        var left = count
        var kept: [ReadPiece] = []
        for piece in pieces where left > 0 {
            let part = min(left, piece.count)
            left -= part
            switch piece {
            case .memory(let slice): kept.append(.memory(ByteSlice(block: slice.block, offset: slice.offset, count: part)))
            case .file(let handle, let offset, _): kept.append(.file(handle, offset: offset, count: part))
            }
        }
        return ReadResult(facts: facts, from: from, to: from + UInt64(count), pieces: kept)
    }
}

/// A contiguous part of an answer, in memory or in a segment file.
public enum ReadPiece: Sendable {
    case memory(ByteSlice)
    case file(SegmentHandle, offset: Int, count: Int)

    public var count: Int {
        switch self {
        case .memory(let slice): slice.count
        case .file(_, _, let count): count
        }
    }
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

/// A requester that waits for what comes next.
public protocol LiveReader: Requester {
    /// Where it is among the stream's waiters; kept by the stream.
    var waiterIndex: Int { get set }
    /// Position up to which it has everything.
    var livePosition: UInt64 { get set }
}

/// What became visible in one group commit, for all of a stream's readers at once.
public struct Publication: Sendable {
    public let facts: StreamFacts
    public let from: UInt64
    /// Ends of the appends that became visible, ascending; the last is the new tail. Empty when only the end of the stream came.
    public let appendEnds: [UInt64]
    /// The bytes of [from, tail).
    public let slices: [ByteSlice]
    /// The stream has ended: how its readers are told.
    public let end: Refusal?

    /// The same without the bytes, for readers that read them from the stream.
    public func withoutBytes() -> Publication { Publication(facts: facts, from: from, appendEnds: appendEnds, slices: [], end: end) }

    /// This and what was published after it as one; without the bytes, where nobody will use them, and with the ends of `appends` appends at most.
    public func joined(by later: Publication, keepingBytes: Bool, appends: Int) -> Publication {
        Publication(
            facts: later.facts, from: from, appendEnds: Array((appendEnds + later.appendEnds).prefix(appends)),
            slices: keepingBytes ? slices + later.slices : [], end: later.end)
    }
}

public protocol LiveSink: AnyObject {
    /// `polls` have been taken off the stream's list; `events` stay on it until they leave. Each reader is woken at most once per call.
    func publish(_ publication: Publication, polls: [any LiveReader], events: [any LiveReader], stream: isolated StreamActor)
}
