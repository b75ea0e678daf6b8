// A stream's entry in the catalog.
//
//   u8 version (2) · u64 id · string name · string content type · u8 expiry kind · u64 value · string text · u32 chunk size
//   i64 created · i64 renewed until · u64 applied LSN · u64 tail
//   u8 flags (1 closed, 2 closed by producer, 4 has Stream-Seq, 8 kept for its forks, 16 a cut at its first own byte)
//   [string id, u64 epoch, u64 sequence of the closing producer] [string Stream-Seq]
//   u64 last cut · u64 flushed · u64 base of the open segment · u32 n, n × u64 cuts past `flushed`
//   version 1 only: u32 producers, each: string id, u64 epoch, u64 sequence. Since version 2 they have a table of their own.
//   u8 forks (1: an origin follows, as in JournalRecord; 2: u64 number of forks follows) · string bytes from `flushed` to the tail · u32 CRC32C of all before
//
// Small streams have all their bytes in here and no file at all.

import StreamRules

package enum StreamEntry {
    static let version: UInt8 = 2

    /// `inline`: the bytes from `flushed` to the tail.
    package static func encode(_ image: StreamImage, inline: [ByteSlice]) -> [UInt8] {
        var writer = ByteWriter(reserving: 256 + Int(image.state.tail - image.flushed))
        writer.put(version)
        writer.put(image.id)
        writer.put(image.name)
        writer.put(image.configuration.contentType.bytes)
        writer.put(image.configuration.expiry)
        writer.put(image.configuration.chunkSize)
        writer.put(image.createdAt)
        writer.put(image.renewedUntil)
        writer.put(image.appliedLSN)
        let state = image.state
        writer.put(state.tail)
        writer.put(
            UInt8((state.closed ? 1 : 0) | (state.closedBy != nil ? 2 : 0) | (state.lastSequence != nil ? 4 : 0))
                | UInt8((image.isRetained ? 8 : 0) | (image.cutsAtStart ? 16 : 0)))
        if let producer = state.closedBy { writer.put(producer) }
        if let sequence = state.lastSequence { writer.put(sequence) }
        writer.put(state.chunks.lastCut)
        writer.put(image.flushed)
        writer.put(image.active.base)
        let cuts = image.active.cuts.drop { $0 <= image.flushed }
        writer.put(UInt32(cuts.count))
        for cut in cuts { writer.put(cut) }
        writer.put(UInt8((image.origin != nil ? 1 : 0) | (image.forks > 0 ? 2 : 0)))
        if let origin = image.origin { writer.put(origin) }
        if image.forks > 0 { writer.put(image.forks) }
        writer.put(UInt32(state.tail - image.flushed))
        for slice in inline { writer.putRaw(slice.bytes) }
        writer.put(writer.bytes.withUnsafeBytes { Checksum.of($0) })
        return writer.bytes
    }

    /// `segments`: the stream's segments as the catalog has them, ascending.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, segments: [SegmentMeta], producers known: [[UInt8]: ProducerState] = [:],
        ignoringSegments: Bool = false
    ) throws(CodingFault) -> StreamImage {
        guard bytes.count > 4 else { throw .truncated }
        let body = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
        let sum = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self))
        guard Checksum.of(body) == sum else { throw .invalid("the entry's checksum does not match") }
        var reader = ByteReader(body)
        let found = try reader.read(UInt8.self)
        guard found == version || found == 1 else { throw .invalid("entry version \(found)") }
        let id = try reader.read(UInt64.self)
        let name = try reader.readString()
        let contentType = ContentType(try reader.readString())
        let expiry = try reader.readExpiry()
        let chunkSize = try reader.read(UInt32.self)
        let createdAt = try reader.read(Int64.self)
        let renewedUntil = try reader.read(Int64.self)
        let appliedLSN = try reader.read(UInt64.self)
        let tailPosition = try reader.read(UInt64.self)
        let flags = try reader.read(UInt8.self)
        let closedBy = flags & 2 != 0 ? try reader.readProducer() : nil
        let lastSequence = flags & 4 != 0 ? try reader.readString() : nil
        let lastCut = try reader.read(UInt64.self)
        let flushed = try reader.read(UInt64.self)
        let activeBase = try reader.read(UInt64.self)
        let cutCount = Int(try reader.read(UInt32.self))
        guard reader.remaining >= cutCount * 8 else { throw .truncated }
        var cuts: [UInt64] = []
        for _ in 0..<cutCount { cuts.append(try reader.read()) }
        var producers = known
        var unsaved: [[UInt8]: ProducerState?] = [:]
        if found == 1 {
            let count = Int(try reader.read(UInt32.self))
            for _ in 0..<count {
                let producer = try reader.readString()
                let state = ProducerState(epoch: try reader.read(), sequence: try reader.read(), seen: renewedUntil)
                // A longer id is refused since, so that it would never be asked for again.
                guard producer.count <= StreamState.producerIDLimit else { continue }
                producers[producer] = state
                unsaved[producer] = state
            }
        }
        let forkFlags = try reader.read(UInt8.self)
        guard forkFlags < 4 else { throw .invalid("fork flags \(forkFlags)") }
        let origin = forkFlags & 1 != 0 ? try reader.readOrigin() : nil
        let forks = forkFlags & 2 != 0 ? try reader.read(UInt64.self) : 0
        let inline = try reader.readRaw(Int(try reader.read(UInt32.self)))
        guard flushed + UInt64(inline.count) == tailPosition else { throw .invalid("the entry's bytes do not reach the tail") }
        var tail = TailBuffer(at: flushed)
        tail.append(inline)
        var active = SegmentMeta(base: activeBase)
        var sealed: [StreamImage.SealedSegment] = []
        for segment in segments {
            if segment.base == activeBase { active = segment } else { sealed.append(.init(base: segment.base, end: segment.end)) }
        }
        guard ignoringSegments || active.end == flushed else {
            throw .invalid("the open segment ends at \(active.end), the entry says \(flushed)")
        }
        active.cuts += cuts
        if !ignoringSegments { try check(sealed, active, start: origin?.position ?? 0) }
        var image = StreamImage(
            id: id, name: name,
            configuration: StreamConfiguration(contentType: contentType, expiry: expiry, chunkSize: chunkSize),
            createdAt: createdAt, renewedUntil: renewedUntil, appliedLSN: appliedLSN,
            state: StreamState(
                tail: tailPosition, closed: flags & 1 != 0, closedBy: closedBy, lastSequence: lastSequence, producers: producers,
                chunks: ChunkRule(size: chunkSize, lastCut: lastCut)),
            flushed: flushed, tail: tail, sealed: sealed, active: active, origin: origin)
        image.forks = forks
        image.unsavedProducers = unsaved
        image.isRetained = flags & 8 != 0
        image.cutsAtStart = flags & 16 != 0
        return image
    }

    /// Segments follow each other without a gap from the stream's start to the open one, and their chunk ends ascend: reads rely on that.
    private static func check(_ sealed: [StreamImage.SealedSegment], _ active: SegmentMeta, start: UInt64) throws(CodingFault) {
        var position = start
        for segment in sealed {
            guard segment.base == position, segment.end > segment.base else {
                throw .invalid("a segment begins at \(segment.base) where \(position) was expected")
            }
            position = segment.end
        }
        guard active.base == position else { throw .invalid("the open segment begins at \(active.base) where \(position) was expected") }
        var last = active.base
        for cut in active.cuts {
            guard cut > last else { throw .invalid("its chunk ends are out of order: \(cut) behind \(last)") }
            last = cut
        }
    }
}
