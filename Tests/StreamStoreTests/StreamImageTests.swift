import StreamRules
import StreamSimulation
import Testing

@testable import StreamStore

@Suite struct StreamImageTests {
    /// The cuts of chunks, as PROTOCOL.md states them: made before the atom that would make the open chunk too large.
    private static func cuts(of atoms: [Int], chunk: Int) -> [UInt64] {
        var cuts: [UInt64] = []
        var start = 0
        var end = 0
        for atom in atoms {
            if end > start && end + atom - start > chunk {
                cuts.append(UInt64(end))
                start = end
            }
            end += atom
        }
        return cuts
    }

    private static func image(type: String, chunk: UInt32) -> StreamImage {
        guard case .create(let record) = RecordBody.create("a", type: type, chunk: chunk) else { fatalError() }
        return StreamImage(id: 1, lsn: 1, record: record)
    }

    @Test(arguments: [1, 2, 10, 64, 1000] as [UInt32])
    func cutsAreThoseOfTheModel(chunk: UInt32) {
        var generator = Generator(seed: UInt64(chunk))
        for isJSON in [false, true] {
            var image = Self.image(type: isJSON ? "application/json" : "text/plain", chunk: chunk)
            var atoms: [Int] = []
            for step in 0..<400 {
                // An append is one atom of a byte stream, and some messages of a JSON stream.
                let count = isJSON ? Int(generator.next() % 4) : 1
                var bytes: [UInt8] = []
                for _ in 0..<count {
                    let size = Int(generator.next() % 40) + 3
                    atoms.append(size)
                    bytes += [UInt8](repeating: 0x31, count: size - 2) + Array(",\n".utf8)
                }
                let lsn = UInt64(step + 2)
                let record = AppendRecord(position: image.state.tail, time: Int64(step), closes: false, sequence: nil, producer: nil)
                bytes.withUnsafeBytes {
                    image.tail.append($0)
                    image.take(record, added: $0, lsn: lsn)
                }
                #expect(image.appliedLSN == lsn && image.state.tail == UInt64(atoms.reduce(0, +)))
            }
            #expect(image.active.cuts == Self.cuts(of: atoms, chunk: Int(chunk)))
        }
    }

    @Test func boundariesOfJSON() {
        func boundaries(_ text: String) -> [Int] { Array(text.utf8).withUnsafeBytes { Array(StoredJSON.boundaries($0)) } }
        #expect(boundaries("") == [] && boundaries("1,\n") == [3] && boundaries("1,\n{\"a\":[2,3]},\n\"x\",\n") == [3, 16, 21])
    }

    /// A checkpoint's image from before an append, with a flush from behind it, which has sealed a segment by the append's cut. Replay makes the
    /// cut again.
    @Test func aCutWhereASegmentBegins() {
        var image = Self.image(type: "text/plain", chunk: 10)
        func take(_ count: Int, at position: UInt64) {
            [UInt8](repeating: 65, count: count).withUnsafeBytes {
                image.tail.append($0)
                image.take(
                    AppendRecord(position: position, time: 1, closes: false, sequence: nil, producer: nil), added: $0, lsn: position + 2)
            }
        }
        take(12, at: 0)
        var sealed = SegmentMeta(base: 0)
        sealed.end = 12
        sealed.cuts = [12]
        image.take(SegmentFlush.Result(flushed: 12, sealed: [sealed], active: SegmentMeta(base: 12)))
        take(5, at: 12)
        #expect(image.active.cuts.isEmpty && image.state.chunks.lastCut == 12)
        take(6, at: 17)
        #expect(image.active.cuts == [17])
    }

    /// Entry and segments, through the codec and back, after appends, flushes and closes; then it goes on as if nothing had been.
    @Test func entryRoundTrip() throws {
        let disk = SimulatedDisk()
        var image = Self.image(type: "text/plain", chunk: 50)
        var metas: [UInt64: SegmentMeta] = [:]
        var generator = Generator(seed: 3)
        for step in 0..<120 {
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: Int(generator.next() % 60))
            let producer = step % 3 == 0 ? ProducerStamp(id: Array("p\(step % 5)".utf8), epoch: 1, sequence: UInt64(step)) : nil
            let record = AppendRecord(
                position: image.state.tail, time: Int64(step), closes: step == 119, sequence: step % 4 == 0 ? Array("\(step)".utf8) : nil,
                producer: producer)
            bytes.withUnsafeBytes {
                image.tail.append($0)
                image.take(record, added: $0, lsn: UInt64(step + 2))
            }
            if step % 7 == 3 {
                let to = image.flushed + (image.state.tail - image.flushed) * 2 / 3
                let result = try SegmentFlush(
                    disk: disk, root: "/data/streams", stream: 1, active: image.active, isFirst: image.flushed == 0,
                    bytes: image.tail.slices(from: image.flushed, to: to),
                    segmentSize: 300,
                    syncs: true
                ).run()
                for segment in result.sealed + [result.active] where segment.end > segment.base { metas[segment.base] = segment }
                image.take(result)
            }
            let (entry, inline) = image.forCatalog()
            let encoded = StreamEntry.encode(entry, inline: inline)
            // As the catalog stores it: the open segment through its own codec.
            var stored = metas
            if image.active.end > image.active.base {
                stored[image.active.base] = try image.active.encode().withUnsafeBytes { try SegmentMeta(decoding: $0) }
            }
            let segments = stored.keys.sorted().map { stored[$0]! }
            let decoded = try encoded.withUnsafeBytes { try StreamEntry.decode($0, segments: segments, producers: image.state.producers) }
            #expect(Seen(decoded) == Seen(image), "step \(step)")
            if step % 11 == 5 {
                // The server starts again: from the entry.
                image = decoded
            }
        }
        #expect(image.sealed.count > 3 && image.state.closed)
        var end: UInt64 = 0
        for segment in image.sealed {
            #expect(segment.base == end)
            end = segment.end
        }
        #expect(end == image.active.base)
    }

    @Test func everyFlippedBitOfAnEntry() throws {
        var image = Self.image(type: "text/plain", chunk: 50)
        Array("content".utf8).withUnsafeBytes {
            image.tail.append($0)
            image.take(
                AppendRecord(position: 0, time: 1, closes: true, sequence: [1], producer: ProducerStamp(id: [2], epoch: 3, sequence: 4)),
                added: $0, lsn: 2)
        }
        let (entry, inline) = image.forCatalog()
        let bytes = StreamEntry.encode(entry, inline: inline)
        func decodes(_ bytes: [UInt8]) -> Bool {
            bytes.withUnsafeBytes { raw in
                do {
                    _ = try StreamEntry.decode(raw, segments: [])
                    return true
                } catch { return false }
            }
        }
        #expect(decodes(bytes))
        for place in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[place] ^= 1 << UInt8(bit)
                if decodes(changed) { Issue.record("bit \(bit) of byte \(place)") }
            }
            if decodes(Array(bytes[..<place])) { Issue.record("cut to \(place)") }
        }
        var segment = SegmentMeta(base: 0)
        segment.end = 3
        #expect(throws: CodingFault.self) { try bytes.withUnsafeBytes { _ = try StreamEntry.decode($0, segments: [segment]) } }
    }
}
