// Forks in the journal and the catalog: however a checkpoint has cut the entries, replay comes to the same streams and counts.

import StreamRules
import StreamSimulation
import Testing

@testable import StreamStore

private func origin(_ id: UInt64, _ name: String, at position: UInt64, lastCut: UInt64 = 0) -> ForkOrigin {
    ForkOrigin(
        sourceID: id, source: Array(name.utf8), offset: position, offsetWasGiven: true, subOffset: 0, position: position, lastCut: lastCut)
}

/// a ◀ b ◀ c, a ◀ d; everything but d goes in the end.
private let history: [Record] = [
    Record(1, .create("a", chunk: 8), "12345"),
    Record(2, .create("b", chunk: 8, origin: origin(1, "a", at: 3)), "bb"),
    Record(1, .append(at: 5), "6789"),
    Record(3, .create("c", chunk: 8, closed: true, origin: origin(2, "b", at: 5)), "cccc"),
    Record(4, .create("d", chunk: 8, origin: origin(1, "a", at: 9, lastCut: 5))),
    Record(1, .delete(DeleteRecord(time: 4, retains: true))),
    Record(4, .append(at: 9), "dd"),
    Record(2, .delete(DeleteRecord(time: 5, retains: true))),
    Record(3, .delete(DeleteRecord(time: 6, sourceID: 2))),
    Record(2, .delete(DeleteRecord(time: 6, sourceID: 1))),
    Record(4, .append(at: 11, closes: true), "!"),
]

private func recovered(_ count: Int, _ catalog: SimulatedCatalog = SimulatedCatalog()) throws -> Recovered {
    try recover([1: FileText(number: 1, batches: [Array(history.prefix(count))], free: 64).bytes], catalog)
}

@Suite struct ForkRecoveryTests {
    @Test func theWholeHistory() throws {
        let result = try recovered(history.count)
        #expect(result.streams.map(\.id) == [1, 4] && result.deleted.map(\.id) == [2, 3] && result.streamCount == 2)
        let (a, d) = (result.streams[0], result.streams[1])
        #expect(a.isRetained && a.forks == 1 && a.deadline == nil)
        #expect(d.origin == origin(1, "a", at: 9, lastCut: 5) && d.start == 9 && d.state.tail == 12 && d.state.closed && !d.isRetained)
        // 5…13 would be more than 8: the fork point is where the atom begins that makes the cut.
        #expect(!d.cutsAtStart && d.state.chunks.lastCut == 5)
    }

    @Test func aCutAtTheForkPoint() throws {
        let result = try recover([
            1: FileText(
                number: 1,
                batches: [
                    [Record(1, .create("a", chunk: 8), "12345"), Record(2, .create("b", chunk: 8, origin: origin(1, "a", at: 5)), "6789a")]
                ]
            ).bytes
        ])
        let fork = result.streams[1]
        #expect(fork.cutsAtStart && fork.state.chunks.lastCut == 5 && fork.active.cuts.isEmpty)
        let (copy, inline) = fork.forCatalog()
        let decoded = try StreamEntry.encode(copy, inline: inline).withUnsafeBytes { try StreamEntry.decode($0, segments: []) }
        #expect(Seen(decoded) == Seen(fork))
    }

    @Test func whatWasKeptForForksThatAreGoneIsDue() throws {
        let result = try recovered(9)
        #expect(result.streams.map(\.id) == [1, 2, 4])
        #expect(result.streams[1].isRetained && result.streams[1].forks == 0 && result.streams[1].deadline == .min)
    }

    /// Every cutoff, and behind it every combination of moments at which the four entries were captured.
    @Test func everyFuzzyCheckpoint() throws {
        let prefixes = try (0...history.count).map { try recovered($0) }
        let complete = prefixes[history.count]
        var combinations = 0
        for cutoff in 0...history.count {
            for moments in Self.combinations(of: Self.changes[...], from: cutoff) {
                let catalog = SimulatedCatalog()
                var changes: [CatalogChange] = []
                for (index, moment) in moments.enumerated() {
                    guard let image = prefixes[moment].streams.first(where: { $0.id == UInt64(index + 1) }) else { continue }
                    let (copy, inline) = image.forCatalog()
                    changes.append(.put(copy, inline: inline, sealed: []))
                }
                try catalog.commit(changes, mark: CatalogMark(checkpointLSN: UInt64(cutoff), nextStreamID: 1))
                let result = try recovered(history.count, catalog)
                // What replay did not touch is in the catalog as it has to be.
                var found: [UInt64: Seen] = [:]
                for id in catalog.entries.keys { found[id] = try catalog.image(id: id).map { Seen($0) } }
                for image in result.streams { found[image.id] = Seen(image) }
                for image in result.deleted { found[image.id] = nil }
                let expected = Dictionary(uniqueKeysWithValues: complete.seen.map { ($0.id, $0) })
                if found != expected { Issue.record("cutoff \(cutoff), entries as of \(moments): \(found)") }
                combinations += 1
            }
        }
        #expect(combinations > 1_000)
    }

    /// The records that change each of the four, itself or its forks.
    private static let changes = [[1, 2, 3, 5, 6, 10], [2, 4, 8, 9, 10], [4, 9], [5, 7, 11]]

    private static func combinations(of changes: ArraySlice<[Int]>, from cutoff: Int) -> [[Int]] {
        guard let last = changes.last else { return [[]] }
        let moments = [cutoff] + last.filter { $0 > cutoff }
        return combinations(of: changes.dropLast(), from: cutoff).flatMap { rest in moments.map { rest + [$0] } }
    }
}
