import Testing

@testable import StreamBench

@Suite("Latency histogram")
struct LatencyHistogramTests {
    /// The value at a percentile, by sorting.
    private func exact(_ values: [Int64], _ fraction: Double) -> UInt64 {
        let sorted = values.sorted()
        return UInt64(sorted[max(0, Int((fraction * Double(values.count)).rounded(.up)) - 1)])
    }

    @Test("every percentile is at or above the exact one, by less than a thousandth")
    func percentiles() {
        for seed in 0..<20 as Range<UInt64> {
            var generator = Generator(state: seed)
            var histogram = LatencyHistogram()
            var values: [Int64] = []
            for _ in 0..<(1 + Int.random(in: 0..<3000, using: &generator)) {
                // All magnitudes alike, from a nanosecond to an hour.
                let value = Int64.random(in: 0...(1 << Int64.random(in: 0...41, using: &generator)), using: &generator)
                values.append(value)
                histogram.add(value)
            }
            for fraction in [0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1] {
                let (found, wanted) = (histogram.percentile(fraction), exact(values, fraction))
                #expect(found >= wanted && found - wanted <= wanted / 1024, "seed \(seed), \(fraction): \(found) for \(wanted)")
            }
            #expect(histogram.count == UInt64(values.count) && histogram.maximum == UInt64(values.max()!))
            #expect(histogram.minimum == UInt64(values.min()!) && histogram.sum == UInt64(values.reduce(0, +)), "seed \(seed)")
        }
    }

    @Test("the values around each change of width", arguments: 0...42)
    func edges(power: Int64) {
        for value in [(1 << power) - 1, 1 << power, (1 << power) + 1] as [Int64] {
            var histogram = LatencyHistogram()
            histogram.add(value)
            histogram.add(.max / 4)
            let found = histogram.percentile(0.5)
            let wanted = UInt64(min(value, 1 << 42 - 1))
            #expect(found >= wanted && found - wanted <= wanted / 1024, "\(value): \(found)")
            #expect(value >= 2048 || found == value)
        }
    }

    @Test("merged, it is as if all had been added to one")
    func merge() {
        var (all, one, other) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
        for value in stride(from: 1 as Int64, to: 1_000_000_000, by: 1_234_567) {
            all.add(value)
            if value % 3 == 0 { one.add(value) } else { other.add(value) }
        }
        one.merge(other)
        #expect(one.count == all.count && one.sum == all.sum && one.minimum == all.minimum && one.maximum == all.maximum)
        for fraction in [0, 0.25, 0.5, 0.75, 0.99, 1] { #expect(one.percentile(fraction) == all.percentile(fraction)) }
    }

    @Test("empty, negative, too long, cleared")
    func corners() {
        var histogram = LatencyHistogram()
        #expect(histogram.percentile(0.5) == 0 && histogram.mean == 0)
        histogram.add(-5)
        #expect(histogram.percentile(1) == 0 && histogram.count == 1)
        histogram.add(.max)
        #expect(histogram.maximum == UInt64(Int64.max) && histogram.percentile(1) == (1 << 42) - 1)
        histogram.clear()
        #expect(histogram.count == 0 && histogram.maximum == 0 && histogram.percentile(1) == 0)
    }
}

/// SplitMix64, so that a failing seed can be repeated.
struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
