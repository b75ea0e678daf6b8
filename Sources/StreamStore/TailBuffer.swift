// The newest bytes of a stream, in memory: what is not yet in a segment, and the end of what is.
//
//     start                                 end
//       [ block 1 ][ block 2      ][ block 3 …free ]
//
// Small appends are copied behind each other into the last block, which grows by taking larger blocks; a large append's own memory
// becomes a block. Blocks are reference-counted: a response that is being sent keeps its blocks alive after the buffer has dropped them.
// Invariant: the bytes of [start, end) never change once appended, so a slice stays valid while the buffer grows.

import Glibc

public struct ByteSlice: Sendable {
    public let block: OwnedBytes
    public let offset: Int
    public let count: Int

    public init(block: OwnedBytes, offset: Int, count: Int) {
        self.block = block
        self.offset = offset
        self.count = count
    }

    /// A copy of `bytes` in memory of its own.
    public init(_ bytes: [UInt8]) { self.init(block: OwnedBytes(copying: bytes), offset: 0, count: bytes.count) }

    @inline(__always)
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: block.base + offset, count: count) }
}

public struct TailBuffer: Sendable {
    private struct Piece: Sendable {
        let position: UInt64
        let block: OwnedBytes
        var end: UInt64 { position + UInt64(block.count) }
    }

    private static let smallestBlock = 512
    private static let largestBlock = 256 * 1024
    /// From this size on an append's own memory is kept instead of a copy.
    public static let adoptionThreshold = 64 * 1024

    public private(set) var start: UInt64
    public private(set) var end: UInt64
    private var pieces: [Piece] = []
    /// Bytes of memory that the blocks take.
    public private(set) var footprint = 0

    public init(at position: UInt64) {
        start = position
        end = position
    }

    /// Space for `count` more bytes at the end, all in one block; `fill` writes them.
    public mutating func append(count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) {
        if count == 0 { return }
        if pieces.isEmpty || pieces[pieces.count - 1].block.capacity - pieces[pieces.count - 1].block.count < count {
            let grown = min(Self.largestBlock, max(Self.smallestBlock, footprint))
            let block = OwnedBytes(capacity: max(count, grown))
            pieces.append(Piece(position: end, block: block))
            footprint += block.capacity
        }
        let block = pieces[pieces.count - 1].block
        fill(UnsafeMutableRawBufferPointer(start: block.base + block.count, count: count))
        block.count += count
        end += UInt64(count)
    }

    public mutating func append(_ bytes: UnsafeRawBufferPointer) {
        append(count: bytes.count) { $0.copyMemory(from: bytes) }
    }

    /// Keeps a block as it is.
    public mutating func adopt(_ block: OwnedBytes) {
        if block.count == 0 { return }
        pieces.append(Piece(position: end, block: block))
        footprint += block.capacity
        end += UInt64(block.count)
    }

    /// The memory of [from, to), in order.
    public func slices(from: UInt64, to: UInt64) -> [ByteSlice] {
        precondition(from >= start && to <= end && from <= to, "the range is not in memory")
        if from == to { return [] }
        var slices: [ByteSlice] = []
        var low = 0
        var high = pieces.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if pieces[middle].position <= from { low = middle } else { high = middle - 1 }
        }
        var index = low
        var position = from
        while position < to {
            let piece = pieces[index]
            let stop = min(to, piece.end)
            slices.append(ByteSlice(block: piece.block, offset: Int(position - piece.position), count: Int(stop - position)))
            position = stop
            index += 1
        }
        return slices
    }

    /// The only slice of a range that lies in the last block; nil when it does not.
    public func lastSlice(from: UInt64, to: UInt64) -> ByteSlice? {
        guard let last = pieces.last, from >= last.position, to <= last.end, from < to else { return nil }
        return ByteSlice(block: last.block, offset: Int(from - last.position), count: Int(to - from))
    }

    /// Forgets whole blocks below `position`. The last block stays when `keepLast`, as a cache for readers at the tail.
    public mutating func drop(below position: UInt64, keepLast: Bool) {
        var dropped = 0
        while dropped < pieces.count, pieces[dropped].end <= position, !(keepLast && dropped == pieces.count - 1) {
            footprint -= pieces[dropped].block.capacity
            dropped += 1
        }
        if dropped == 0 { return }
        pieces.removeFirst(dropped)
        start = pieces.first?.position ?? end
    }

    /// The byte at a position in memory.
    public func byte(at position: UInt64) -> UInt8 {
        slices(from: position, to: position + 1)[0].bytes[0]
    }
}
