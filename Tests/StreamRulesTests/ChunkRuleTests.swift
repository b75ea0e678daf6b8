// Chunk ends against a slow model, and what every reader relies on: they depend on the atoms alone.

import StreamRules
import Testing

@Suite struct ChunkRuleTests {
    /// The ends of the atoms, made into cuts one by one.
    static func cuts(_ size: UInt32, _ ends: [UInt64]) -> [UInt64] {
        var rule = ChunkRule(size: size, lastCut: 0)
        var cuts: [UInt64] = []
        var start: UInt64 = 0
        for end in ends {
            if let cut = rule.add(from: start, to: end) {
                cuts.append(cut)
                #expect(cut == start && rule.lastCut == cut)
            }
            start = end
        }
        return cuts
    }

    /// The same, slowly: take as many atoms as fit into a chunk, at least one, and begin the next chunk.
    static func model(_ size: UInt32, _ ends: [UInt64]) -> [UInt64] {
        var cuts: [UInt64] = []
        var chunkStart: UInt64 = 0
        var index = 0
        while index < ends.count {
            var taken = 1
            while index + taken < ends.count, ends[index + taken] - chunkStart <= UInt64(size) { taken += 1 }
            index += taken
            chunkStart = ends[index - 1]
            if index < ends.count { cuts.append(chunkStart) }
        }
        return cuts
    }

    @Test(
        arguments: [
            (10, [], []), (10, [10], []), (10, [11], []), (10, [10, 11], [10]), (10, [11, 12], [11]), (10, [9, 10, 11], [10]),
            (10, [5, 11], [5]), (10, [1, 100, 101], [1, 100]), (10, [100, 200, 300], [100, 200]), (1, [1, 2, 3], [1, 2]),
            (10, [10, 20, 30], [10, 20]), (10, [4, 8, 12, 16, 20], [8, 16]),
        ] as [(UInt32, [UInt64], [UInt64])])
    func table(size: UInt32, ends: [UInt64], expected: [UInt64]) {
        #expect(Self.cuts(size, ends) == expected)
        #expect(Self.model(size, ends) == expected)
    }

    static func randomAtoms(_ generator: inout SeededGenerator, size: UInt64) -> [UInt64] {
        let count = Int.random(in: 1...60, using: &generator)
        let largest = [1, size / 4 + 1, size, size + 1, 3 * size].randomElement(using: &generator)!
        var end: UInt64 = 0
        return (0..<count).map { _ in
            end += UInt64.random(in: 1...largest, using: &generator)
            return end
        }
    }

    @Test(arguments: [11, 12, 13, 14] as [UInt64])
    func againstTheModel(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            let size = UInt32.random(in: 1...64, using: &generator)
            let ends = Self.randomAtoms(&generator, size: UInt64(size))
            let cuts = Self.cuts(size, ends)
            #expect(cuts == Self.model(size, ends), "size \(size) ends \(ends)")
            // Two neighbouring cuts are at most `size` apart unless one atom lies between them.
            let bounds = [0] + cuts + [ends.last!]
            for (low, high) in zip(bounds, bounds.dropFirst()) where high - low > UInt64(size) {
                #expect(ends.filter { $0 > low && $0 <= high } == [high], "size \(size) ends \(ends) from \(low) to \(high)")
            }
            for cut in cuts { #expect(ends.contains(cut)) }
        }
    }

    /// Appends hold several atoms (messages of a JSON stream). What fits whole is not taken apart; the cuts are the same.
    @Test(arguments: [21, 22, 23] as [UInt64])
    func groupingMakesNoDifference(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            let size = UInt32.random(in: 1...64, using: &generator)
            let ends = Self.randomAtoms(&generator, size: UInt64(size))
            var rule = ChunkRule(size: size, lastCut: 0)
            var cuts: [UInt64] = []
            var index = 0
            var start: UInt64 = 0
            while index < ends.count {
                let group = ends[index..<min(ends.count, index + Int.random(in: 1...8, using: &generator))]
                if rule.fits(group.last!) {
                    start = group.last!
                } else {
                    for end in group {
                        if let cut = rule.add(from: start, to: end) { cuts.append(cut) }
                        start = end
                    }
                }
                index += group.count
            }
            #expect(cuts == Self.cuts(size, ends), "size \(size) ends \(ends)")
        }
    }

    /// A rule that is made anew from its last cut, as recovery does at any atom, goes on the same.
    @Test func goesOnAfterRecovery() {
        var generator = SeededGenerator(seed: 31)
        for _ in 0..<500 {
            let size = UInt32.random(in: 1...64, using: &generator)
            let ends = Self.randomAtoms(&generator, size: UInt64(size))
            var rule = ChunkRule(size: size, lastCut: 0)
            var cuts: [UInt64] = []
            var start: UInt64 = 0
            for end in ends {
                rule = ChunkRule(size: size, lastCut: rule.lastCut)
                if let cut = rule.add(from: start, to: end) { cuts.append(cut) }
                start = end
            }
            #expect(cuts == Self.cuts(size, ends))
        }
    }

    /// Positions near the end of what an offset can say, and the largest chunk.
    @Test func largePositions() {
        let top = StreamOffset.maximum
        var rule = ChunkRule(size: .max, lastCut: top - UInt64(UInt32.max) - 1)
        #expect(rule.fits(top - 1) && !rule.fits(top))
        #expect(rule.add(from: top - 2, to: top - 1) == nil)
        #expect(rule.add(from: top - 1, to: top) == top - 1)
    }
}
