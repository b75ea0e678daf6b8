// A histogram of durations with a high dynamic range: every value from 0 to an hour within a thousandth of itself, in a fixed array.
//
// A value below 2048 has a bucket of its own. Above, each power of two is cut into 1024 buckets, so a bucket is at most 1/1024 of its values wide:
//
//     value    0 1 2 … 2047 │ 2048 2050 … 4094 │ 4096 4100 … 8188 │ …          (the first value of each bucket)
//     width    1            │ 2                │ 4                │ …
//     index    0 1 2 … 2047 │ 2048      … 3071 │ 3072      … 4095 │ …
//
// Adding is a count of leading zeros and an increment. Two of them are merged by adding their buckets, so percentiles of several runs are
// exact to the same thousandth and not averages of percentiles. (The structure is that of G. Tene's HdrHistogram with three digits; it is
// here instead of a dependency because it is these few lines, and the package brings three more.)

/// Counts durations, in nanoseconds.
public struct LatencyHistogram: Sendable {
    private static let exactBits = 11
    private static let half = 1 << (exactBits - 1)
    /// 2^42 ns are 73 minutes; what is longer counts as this.
    private static let largest = UInt64(1) << 42 - 1

    private var buckets: [UInt64]
    public private(set) var count: UInt64 = 0
    /// Exact, as `maximum` and `minimum` are; a longer value than the largest bucket's is kept here as it is.
    public private(set) var sum: UInt64 = 0
    public private(set) var maximum: UInt64 = 0
    public private(set) var minimum = UInt64.max

    public init() { buckets = Array(repeating: 0, count: Self.index(of: Self.largest) + 1) }

    /// - Parameter nanoseconds: a negative duration (two clocks read in the wrong order) counts as 0.
    @inline(__always)
    public mutating func add(_ nanoseconds: Int64) {
        let value = UInt64(max(0, nanoseconds))
        buckets[Self.index(of: min(value, Self.largest))] &+= 1
        count &+= 1
        sum &+= value
        maximum = max(maximum, value)
        minimum = min(minimum, value)
    }

    public mutating func merge(_ other: LatencyHistogram) {
        for index in buckets.indices { buckets[index] &+= other.buckets[index] }
        count &+= other.count
        sum &+= other.sum
        maximum = max(maximum, other.maximum)
        minimum = min(minimum, other.minimum)
    }

    /// Makes it empty and keeps its memory.
    public mutating func clear() {
        for index in buckets.indices { buckets[index] = 0 }
        (count, sum, maximum, minimum) = (0, 0, 0, .max)
    }

    /// The smallest recorded value, up to the width of its bucket more, that at least `fraction` of all values do not exceed; 0 when empty.
    /// The largest value of its bucket is given, never more than the maximum.
    public func percentile(_ fraction: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = max(1, min(count, UInt64((fraction * Double(count)).rounded(.up))))
        var seen: UInt64 = 0
        for index in buckets.indices {
            seen += buckets[index]
            if seen >= wanted { return min(Self.last(of: index), maximum) }
        }
        return maximum
    }

    public var mean: Double { count == 0 ? 0 : Double(sum) / Double(count) }

    @inline(__always)
    private static func index(of value: UInt64) -> Int {
        let shift = max(0, 64 - exactBits - value.leadingZeroBitCount)
        return shift * half + Int(value >> UInt64(shift))
    }

    /// The largest value that is counted at `index`.
    private static func last(of index: Int) -> UInt64 {
        let shift = max(0, index / half - 1)
        let first = UInt64(index - shift * half) << UInt64(shift)
        return first + (UInt64(1) << UInt64(shift) - 1)
    }
}
