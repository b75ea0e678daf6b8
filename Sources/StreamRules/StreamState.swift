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

    public init(epoch: UInt64, sequence: UInt64) {
        self.epoch = epoch
        self.sequence = sequence
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
    /// Producers that one stream remembers. Forgetting one could store a retry twice, so a further one is refused instead.
    public static let producerLimit = 16_384

    public var tail: UInt64
    public var closed: Bool
    /// Who closed the stream, if it was a producer.
    public var closedBy: ProducerStamp?
    /// The last accepted Stream-Seq.
    public var lastSequence: [UInt8]?
    public var producers: [[UInt8]: ProducerState]
    public var chunks: ChunkRule

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
    public func decide(_ request: AppendRequest, streamType: ContentType) -> AppendDecision {
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
                if producers.count >= Self.producerLimit { return .refuse(.tooManyProducers) }
            }
        }
        if request.hasContent, let type = request.contentType, !type.matches(streamType) { return .refuse(.contentTypeDiffers) }
        if let sequence = request.sequence, let last = lastSequence, !last.lexicographicallyPrecedes(sequence) {
            return .refuse(.sequenceNotGreater)
        }
        return .accept
    }

    /// Takes an accepted request whose content adds `count` stored bytes. The caller has made the cuts.
    public mutating func apply(count: UInt64, closes: Bool, sequence: [UInt8]?, producer: ProducerStamp?) {
        precondition(!closed, "a closed stream does not change")
        tail += count
        if let sequence { lastSequence = sequence }
        if let producer { producers[producer.id] = ProducerState(epoch: producer.epoch, sequence: producer.sequence) }
        if closes {
            closed = true
            closedBy = producer
        }
    }
}
