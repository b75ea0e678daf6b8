// A stream as the store knows it between two processes: what the catalog holds, what replay changes, what an actor starts from.
//
// Replay and the live actor take an append through the same function (`take`), so they cannot disagree about tails and cuts.

import Glibc
import StreamRules

public struct StreamImage: Sendable {
    public let id: UInt64
    public let name: [UInt8]
    public let configuration: StreamConfiguration
    /// Unix milliseconds.
    public let createdAt: Int64
    /// The latest moment at which the TTL is known to have been renewed; may lie a little in the future (Expiry.renewalGrain).
    public var renewedUntil: Int64
    /// LSN of the last record that changed the stream.
    public var appliedLSN: UInt64
    public var state: StreamState
    /// Bytes before this position are in segments.
    public var flushed: UInt64
    /// Bytes from `flushed` (or earlier) to the tail.
    public var tail: TailBuffer
    /// Bases and ends of the sealed segments, ascending.
    public var sealed: [SealedSegment]
    /// The segment that the next flush writes to; empty while everything is in memory.
    public var active: SegmentMeta
    /// Where a fork's bytes up to its `start` come from.
    public let origin: ForkOrigin?
    /// Streams that were forked from this one and are still there, also those that are themselves kept for their forks.
    public var forks: UInt64 = 0
    /// Deleted or expired, and kept for its forks.
    public var isRetained = false
    /// Producers whose state the catalog does not know; nil: forgotten.
    public var unsavedProducers: [[UInt8]: ProducerState?] = [:]
    /// A chunk ends exactly where a fork's own bytes begin.
    public var cutsAtStart = false

    /// The position of the first own byte.
    public var start: UInt64 { origin?.position ?? 0 }

    public struct SealedSegment: Sendable, Equatable {
        public let base: UInt64
        public let end: UInt64
        public init(base: UInt64, end: UInt64) {
            self.base = base
            self.end = end
        }
    }

    /// The stream before its first content, and open: both come with the `take` that follows.
    public init(id: UInt64, lsn: UInt64, record: CreateRecord) {
        self.id = id
        name = record.name
        configuration = record.configuration
        createdAt = record.time
        renewedUntil = record.time
        appliedLSN = lsn
        state = StreamState(
            tail: record.start, chunks: ChunkRule(size: record.configuration.chunkSize, lastCut: record.origin?.lastCut ?? 0))
        flushed = record.start
        tail = TailBuffer(at: record.start)
        sealed = []
        active = SegmentMeta(base: record.start)
        origin = record.origin
        cutsAtStart = record.origin.map { $0.lastCut == $0.position && $0.position > 0 } ?? false
    }

    init(
        id: UInt64, name: [UInt8], configuration: StreamConfiguration, createdAt: Int64, renewedUntil: Int64, appliedLSN: UInt64,
        state: StreamState, flushed: UInt64, tail: TailBuffer, sealed: [SealedSegment], active: SegmentMeta, origin: ForkOrigin?
    ) {
        self.id = id
        self.name = name
        self.configuration = configuration
        self.createdAt = createdAt
        self.renewedUntil = renewedUntil
        self.appliedLSN = appliedLSN
        self.state = state
        self.flushed = flushed
        self.tail = tail
        self.sealed = sealed
        self.active = active
        self.origin = origin
    }

    /// Makes the cuts for stored bytes that have just been added behind `start`, and applies the record to the state.
    public mutating func take(_ record: AppendRecord, added: UnsafeRawBufferPointer, lsn: UInt64) {
        let start = state.tail
        precondition(record.position == start, "an append's position is the tail")
        let end = start + UInt64(added.count)
        if !state.chunks.fits(end) {
            if configuration.contentType.isJSON {
                cutMessages(added, from: start)
            } else if let cut = state.chunks.add(from: start, to: end) {
                add(cut)
            }
        }
        if let forgotten = state.apply(
            count: UInt64(added.count), closes: record.closes, sequence: record.sequence, producer: record.producer, at: record.time)
        {
            unsavedProducers.updateValue(nil, forKey: forgotten)
        }
        if let producer = record.producer, producer.id.count <= StreamState.producerIDLimit {
            unsavedProducers.updateValue(state.producers[producer.id], forKey: producer.id)
        }
        renewedUntil = max(renewedUntil, record.time)
        appliedLSN = lsn
    }

    /// The cuts that adding message after message would make (`ChunkRule`), found from the ends of the chunks: the work grows with the number of
    /// chunks, and not with that of messages.
    private mutating func cutMessages(_ added: UnsafeRawBufferPointer, from start: UInt64) {
        let end = start + UInt64(added.count)
        while !state.chunks.fits(end) {
            let full = state.chunks.lastCut + state.chunks.size
            // The last message that fits ends here, if one does; else the first one is larger than a chunk.
            var cut = full < start ? start : StoredJSON.lastBoundary(added, upTo: Int(full - start)).map { start + UInt64($0) } ?? start
            if cut <= state.chunks.lastCut {
                guard let next = StoredJSON.firstBoundary(added, behind: Int(max(full, start) - start)) else { return }
                cut = start + UInt64(next)
            }
            // At the end nothing follows yet that would have to be in another chunk.
            if cut >= end { return }
            state.chunks.cut(at: cut)
            add(cut)
        }
    }

    private mutating func add(_ cut: UInt64) {
        if cut == start, origin != nil {
            cutsAtStart = true
        } else if cut > active.base {
            active.cuts.append(cut)
        }
        // Else a flush has sealed a segment there already, by a cut that replay now makes again: the segment's end says it.
    }

    /// What the catalog is to hold: the bytes behind `flushed` as slices, so that encoding them on another thread touches nothing that
    /// the reactor goes on changing.
    public func forCatalog() -> (image: StreamImage, inline: [ByteSlice]) {
        var image = self
        image.tail = TailBuffer(at: state.tail)
        // The catalog has these apart, and a copy held here would have the live one copied at its next change.
        image.state.producers = [:]
        return (image, tail.slices(from: flushed, to: state.tail))
    }

    /// Takes the result of a flush up to `result.flushed`.
    public mutating func take(_ result: SegmentFlush.Result) {
        let cuts = active.cuts
        flushed = result.flushed
        sealed += result.sealed.map { SealedSegment(base: $0.base, end: $0.end) }
        active = result.active
        active.cuts = cuts.filter { $0 > active.base }
    }

    /// When the stream ends; nil if never. What is kept for forks that are gone has been due for ever.
    public var deadline: Int64? {
        if isRetained { return forks == 0 ? .min : nil }
        return configuration.expiry.deadline(renewed: renewedUntil)
    }
}

/// The stored form of JSON streams: each message on one line, followed by `,\n`.
public enum StoredJSON {
    /// The ends of the messages in a range of stored form that begins at a boundary.
    public static func boundaries(_ bytes: UnsafeRawBufferPointer) -> BoundarySequence { BoundarySequence(bytes: bytes) }

    /// The last message's end at or before `position`; nil: there is none behind the start.
    static func lastBoundary(_ bytes: UnsafeRawBufferPointer, upTo position: Int) -> Int? {
        let count = min(position, bytes.count)
        return count > 0 ? bytes[..<count].lastIndex(of: 0x0A).map { $0 + 1 } : nil
    }

    /// The first message's end behind `position`.
    static func firstBoundary(_ bytes: UnsafeRawBufferPointer, behind position: Int) -> Int? {
        guard position < bytes.count, let base = bytes.baseAddress, let found = memchr(base + position, 0x0A, bytes.count - position)
        else { return nil }
        return UnsafeRawPointer(found) - base + 1
    }

    public struct BoundarySequence: Sequence, IteratorProtocol {
        let bytes: UnsafeRawBufferPointer
        var position = 0

        public mutating func next() -> Int? {
            while position < bytes.count {
                position += 1
                // A newline stands nowhere but at a message's end.
                if bytes[position - 1] == 0x0A { return position }
            }
            return nil
        }
    }
}
