// What is known of one segment file besides its bytes, which are exactly the stream's bytes from `base` on.
//
//     streams/3f/000000000000003f/00000000000000000000.segment
//             └ id mod 256  └ id      └ base position (20 digits)
//
// Kept in the catalog, committed together with the stream's entry: so a segment's bytes beyond `end` do not count, whatever a crash left.
// Encoded:  u64 base · u64 end · u8 sealed · u32 n, n × u64 cut · u32 m, m × u32 CRC32C of a full 256 KiB block · u32 CRC32C of the rest

public struct SegmentMeta: Sendable, Equatable {
    public static let blockLength = 256 * 1024

    public var base: UInt64
    public var end: UInt64
    /// No more bytes will be added.
    public var sealed: Bool
    /// Ends of chunks (ChunkRule) in (base, end], ascending. In memory the open segment also holds those past `end`.
    public var cuts: [UInt64]
    /// Of each full block from the base on.
    public var blockSums: [UInt32]
    /// Of the bytes behind the last full block.
    public var partialSum: UInt32

    public init(base: UInt64) {
        self.base = base
        end = base
        sealed = false
        cuts = []
        blockSums = []
        partialSum = 0
    }

    /// Takes bytes that have been written behind `end` into the checksums.
    public mutating func extend(with bytes: UnsafeRawBufferPointer) {
        var position = 0
        while position < bytes.count {
            let inBlock = Int((end - base) % UInt64(Self.blockLength))
            let count = min(Self.blockLength - inBlock, bytes.count - position)
            partialSum = Checksum.extend(partialSum, with: UnsafeRawBufferPointer(rebasing: bytes[position..<position + count]))
            end += UInt64(count)
            position += count
            if inBlock + count == Self.blockLength {
                blockSums.append(partialSum)
                partialSum = 0
            }
        }
    }

    /// The first cut after `position`, if there is one up to `end`.
    public func nextCut(after position: UInt64) -> UInt64? {
        var low = 0
        var high = cuts.count
        while low < high {
            let middle = (low + high) / 2
            if cuts[middle] <= position { low = middle + 1 } else { high = middle }
        }
        return low < cuts.count ? cuts[low] : nil
    }

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 40 + cuts.count * 8 + blockSums.count * 4)
        let kept = cuts.prefix { $0 <= end }
        writer.put(base)
        writer.put(end)
        writer.put(UInt8(sealed ? 1 : 0))
        writer.put(UInt32(kept.count))
        for cut in kept { writer.put(cut) }
        writer.put(UInt32(blockSums.count))
        for sum in blockSums { writer.put(sum) }
        writer.put(partialSum)
        return writer.bytes
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(CodingFault) {
        var reader = ByteReader(bytes)
        self.init(base: try reader.read())
        end = try reader.read()
        sealed = try reader.read(UInt8.self) != 0
        let cutCount = Int(try reader.read(UInt32.self))
        guard reader.remaining >= cutCount * 8 else { throw .truncated }
        cuts.reserveCapacity(cutCount)
        for _ in 0..<cutCount { cuts.append(try reader.read()) }
        let sumCount = Int(try reader.read(UInt32.self))
        guard reader.remaining >= sumCount * 4 else { throw .truncated }
        blockSums.reserveCapacity(sumCount)
        for _ in 0..<sumCount { blockSums.append(try reader.read()) }
        partialSum = try reader.read()
    }
}

public enum SegmentFile {
    public static func directory(stream: UInt64) -> String { shard(stream) + "/" + hex(stream, digits: 16) }
    public static func shard(_ stream: UInt64) -> String { hex(stream & 0xff, digits: 2) }

    public static func name(base: UInt64) -> String {
        let digits = String(base)
        return String(repeating: "0", count: 20 - digits.utf8.count) + digits + ".segment"
    }

    static func hex(_ value: UInt64, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}
