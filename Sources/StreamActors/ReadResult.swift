// What a read gives: a range of a stream, in parts that are in memory or in segment files.

import StreamRules
import StreamStore

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
