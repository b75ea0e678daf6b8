import StreamRules
import StreamSimulation
import Testing

@testable import StreamStore

/// The catalog of the simulation says what the real one says.
@Suite struct SimulatedCatalogTests {
    private let directory = TemporaryDirectory()

    private func change(_ dice: Dice, lsn: UInt64) -> CatalogChange {
        let id = UInt64(dice.number(1, 8))
        if dice.chance(30) { return .remove(id: id) }
        let expiry: Expiry = dice.chance(50) ? .never : .at(milliseconds: Int64(dice.below(50)), text: [])
        let record = CreateRecord(
            name: [UInt8(ascii: "a") + UInt8(id % 3)],
            configuration: StreamConfiguration(contentType: .octetStream, expiry: expiry, chunkSize: 10), time: 5, closed: false)
        var image = StreamImage(id: id, lsn: lsn, record: record)
        // What is in segments once stays there.
        let inSegments: UInt64 = id % 2 == 0 ? 30 : 0
        let inline = dice.bytes(dice.below(20))
        let content = dice.bytes(Int(inSegments)) + inline
        content.withUnsafeBytes {
            image.tail.append($0)
            image.take(AppendRecord(position: 0, time: 5, closes: false, sequence: nil, producer: nil), added: $0, lsn: lsn)
        }
        var sealed: [SegmentMeta] = []
        if inSegments > 0 {
            var first = SegmentMeta(base: 0)
            content[..<20].withUnsafeBytes { first.extend(with: $0) }
            first.sealed = true
            var active = SegmentMeta(base: 20)
            content[20..<30].withUnsafeBytes { active.extend(with: $0) }
            sealed = [first]
            image.take(SegmentFlush.Result(flushed: 30, sealed: sealed, active: active))
        }
        let (entry, slices) = image.forCatalog()
        return .put(entry, inline: slices, sealed: sealed)
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func saysWhatTheRealOneSays(seed: UInt64) throws {
        let dice = Dice(seed: seed)
        let real = try LMDBCatalog(directory: directory.path, syncs: false)
        let simulated = SimulatedCatalog()
        for step in 1...30 as ClosedRange<UInt64> {
            let changes = (0..<dice.number(0, 4)).map { _ in change(dice, lsn: step) }
            let mark = dice.chance(30) ? CatalogMark(checkpointLSN: step, nextStreamID: step + 1) : nil
            try real.commit(changes, mark: mark)
            try simulated.commit(changes, mark: mark)
            #expect(try real.mark() == simulated.mark(), "seed \(seed), step \(step)")
            for id in 1...8 as ClosedRange<UInt64> {
                #expect(try real.image(id: id).map { Seen($0) } == simulated.image(id: id).map { Seen($0) }, "seed \(seed), step \(step)")
                for base in [0, 20] as [UInt64] {
                    #expect(try real.segment(stream: id, base: base) == simulated.segment(stream: id, base: base))
                }
                let (one, other) = (try real.nextSegment(after: id, nil), try simulated.nextSegment(after: id, nil))
                #expect(one?.stream == other?.stream && one?.meta == other?.meta, "seed \(seed), step \(step)")
                let (next, same) = (try real.nextSegment(after: id, 0), try simulated.nextSegment(after: id, 0))
                #expect(next?.stream == same?.stream && next?.meta == same?.meta, "seed \(seed), step \(step)")
            }
            for name in ["a", "b", "c"] {
                let name = Array(name.utf8)
                #expect(try real.image(named: name).map { Seen($0) } == simulated.image(named: name).map { Seen($0) })
            }
            var after: DueStream?
            while true {
                let (one, other) = (
                    try real.due(before: 40, after: after, limit: 2), try simulated.due(before: 40, after: after, limit: 2)
                )
                #expect(one.map(\.id) == other.map(\.id) && one.map(\.deadline) == other.map(\.deadline), "seed \(seed), step \(step)")
                guard let last = one.last else { break }
                after = last
            }
        }
    }
}
