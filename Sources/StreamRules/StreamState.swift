// The rules of appending and closing: PROTOCOL.md section 3, as decisions over a value.
//
// `decide` looks and changes nothing; `apply` changes and cannot fail. Between the two there is no suspension, so each stream's
// checks and changes are one step.
// Invariant: the tail never goes back; after `closed` nothing changes any more.

/// Epoch and sequence of one producer's request.
public struct ProducerStamp: Sendable, Equatable {
    public let id: [UInt8]
    public let epoch: UInt64
    public let sequence: UInt64

    public init(id: [UInt8], epoch: UInt64, sequence: UInt64) {
        self.id = id
        self.epoch = epoch
        self.sequence = sequence
    }
}

/// The last accepted request of a producer.
public struct ProducerState: Sendable, Equatable {
    public var epoch: UInt64
    public var sequence: UInt64
    /// When it was accepted, Unix milliseconds; no part of what the producer is told.
    public var seen: Int64

    public init(epoch: UInt64, sequence: UInt64, seen: Int64 = 0) {
        self.epoch = epoch
        self.sequence = sequence
        self.seen = seen
    }

    public static func == (one: ProducerState, other: ProducerState) -> Bool {
        one.epoch == other.epoch && one.sequence == other.sequence
    }
}

/// An append or a close, without its bytes.
public struct AppendRequest: Sendable {
    public var contentType: ContentType?
    public var hasContent: Bool
    public var closes: Bool
    /// Stream-Seq.
    public var sequence: [UInt8]?
    public var producer: ProducerStamp?

    public init(contentType: ContentType?, hasContent: Bool, closes: Bool, sequence: [UInt8]?, producer: ProducerStamp?) {
        self.contentType = contentType
        self.hasContent = hasContent
        self.closes = closes
        self.sequence = sequence
        self.producer = producer
    }
}

public enum AppendDecision: Equatable, Sendable {
    case accept
    /// The producer's request was accepted before: 204 with the highest accepted numbers.
    case duplicate(ProducerState)
    /// Closing what is closed already: 204.
    case alreadyClosed
    case refuse(AppendRefusal)
}

public enum AppendRefusal: Equatable, Sendable {
    case closed
    case contentTypeDiffers
    case sequenceNotGreater
    case staleEpoch(current: UInt64)
    case newEpochNotAtZero
    case producerGap(expected: UInt64, received: UInt64)
    case tooManyProducers
}

public struct StreamState: Sendable {
    /// Producers that one stream remembers. Forgetting one could store a retry twice, so a further one takes the place of the one that has been
    /// idle longest, if that is long enough, and is refused otherwise.
    public static let producerLimit = 16_384
    /// Bytes of a producer's id (ACCESS.md 16).
    public static let producerIDLimit = 256

    public var tail: UInt64
    public var closed: Bool
    /// Who closed the stream, if it was a producer.
    public var closedBy: ProducerStamp?
    /// The last accepted Stream-Seq.
    public var lastSequence: [UInt8]?
    public var producers: [[UInt8]: ProducerState]
    public var chunks: ChunkRule
    /// No producer was last seen before this, if it is known (Unix ms). Only refusals depend on it.
    private var producersSeenSince: Int64?

    public init(
        tail: UInt64, closed: Bool = false, closedBy: ProducerStamp? = nil, lastSequence: [UInt8]? = nil,
        producers: [[UInt8]: ProducerState] = [:], chunks: ChunkRule
    ) {
        self.tail = tail
        self.closed = closed
        self.closedBy = closedBy
        self.lastSequence = lastSequence
        self.producers = producers
        self.chunks = chunks
    }

    /// Order of the checks: closed, producer, content type, Stream-Seq.
    ///
    /// - Parameters:
    ///   - now: Unix milliseconds.
    ///   - retention: a producer idle for so long may be forgotten, milliseconds.
    public mutating func decide(
        _ request: AppendRequest, streamType: ContentType, now: Int64 = 0, retention: Int64 = .max
    ) -> AppendDecision {
        if closed {
            if let producer = request.producer {
                guard let closedBy, producer == closedBy else { return .refuse(.closed) }
                return .duplicate(producers[producer.id] ?? ProducerState(epoch: producer.epoch, sequence: producer.sequence))
            }
            return request.hasContent ? .refuse(.closed) : .alreadyClosed
        }
        if let producer = request.producer {
            if let state = producers[producer.id] {
                if producer.epoch < state.epoch { return .refuse(.staleEpoch(current: state.epoch)) }
                if producer.epoch > state.epoch {
                    if producer.sequence != 0 { return .refuse(.newEpochNotAtZero) }
                } else if producer.sequence <= state.sequence {
                    return .duplicate(state)
                } else if producer.sequence != state.sequence + 1 {
                    return .refuse(.producerGap(expected: state.sequence + 1, received: producer.sequence))
                }
            } else {
                if producer.sequence != 0 { return .refuse(.producerGap(expected: 0, received: producer.sequence)) }
                if producers.count >= Self.producerLimit {
                    if !makesRoomForProducer(now, retention) { return .refuse(.tooManyProducers) }
                }
            }
        }
        if request.hasContent, let type = request.contentType, !type.matches(streamType) { return .refuse(.contentTypeDiffers) }
        if let sequence = request.sequence, let last = lastSequence, !last.lexicographicallyPrecedes(sequence) {
            return .refuse(.sequenceNotGreater)
        }
        return .accept
    }

    /// Whether one of them has been idle for so long. They are looked through only when that may be.
    private mutating func makesRoomForProducer(_ now: Int64, _ retention: Int64) -> Bool {
        func isOver(_ seen: Int64) -> Bool { now.subtractingReportingOverflow(seen).partialValue >= retention }
        if let producersSeenSince, !isOver(producersSeenSince) { return false }
        guard let idlest = idlestProducer else { return true }
        producersSeenSince = idlest.value.seen
        return isOver(idlest.value.seen)
    }

    /// The producer whose place a new one takes; of several that were last seen at the same time that with the lowest id, so that a replay
    /// of the journal finds the same.
    private var idlestProducer: (key: [UInt8], value: ProducerState)? {
        producers.min {
            $0.value.seen == $1.value.seen ? $0.key.lexicographicallyPrecedes($1.key) : $0.value.seen < $1.value.seen
        }
    }

    /// Takes an accepted request whose content adds `count` stored bytes. The caller has made the cuts.
    ///
    /// - Parameter time: when it was accepted, Unix milliseconds.
    /// - Returns: the producer that was forgotten for it.
    @discardableResult
    public mutating func apply(
        count: UInt64, closes: Bool, sequence: [UInt8]?, producer: ProducerStamp?, at time: Int64 = 0
    ) -> [UInt8]? {
        precondition(!closed, "a closed stream does not change")
        tail += count
        var forgotten: [UInt8]?
        if let sequence { lastSequence = sequence }
        // A journal of an older server may have longer ids, which the catalog cannot hold.
        if let producer, producer.id.count <= Self.producerIDLimit {
            if producers.count >= Self.producerLimit, producers[producer.id] == nil { forgotten = idlestProducer?.key }
            if let forgotten { producers[forgotten] = nil }
            producers[producer.id] = ProducerState(epoch: producer.epoch, sequence: producer.sequence, seen: time)
            producersSeenSince = producersSeenSince.map { min($0, time) }
        }
        if closes {
            closed = true
            closedBy = producer
        }
        return forgotten
    }
}
