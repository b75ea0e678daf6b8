// Eight bytes looked at in one step.
//
// A word is loaded in little-endian order, so that the first byte in memory is the lowest and the number of trailing zero
// bits of a mask, divided by eight, is an index in memory:
//
//     memory   b0 b1 b2 b3 b4 b5 b6 b7
//     word     b7 b6 b5 b4 b3 b2 b1 b0        (most significant first)
//     mask     0x80 in each byte that was found, 0x00 elsewhere
//
// A subtraction borrows upwards only. So in the masks of `zeroes` and `jsonStringStops` the lowest mark is always true, and
// a mark above it may be false: use them to find the first hit only. `exactZeroes` has no false marks.

public enum ByteWord {
    @usableFromInline static let ones: UInt64 = 0x0101_0101_0101_0101
    @usableFromInline static let highs: UInt64 = 0x8080_8080_8080_8080

    /// The eight bytes at `address`, which need not be aligned.
    @inlinable @inline(__always)
    static func load(_ address: UnsafeRawPointer) -> UInt64 {
        UInt64(littleEndian: address.loadUnaligned(as: UInt64.self))
    }

    /// The word with `byte` in all eight places.
    @inlinable @inline(__always)
    static func filled(_ byte: UInt8) -> UInt64 {
        ones &* UInt64(byte)
    }

    /// Marks bytes that are zero; only the lowest mark is certain.
    @inlinable @inline(__always)
    static func zeroes(_ word: UInt64) -> UInt64 {
        (word &- ones) & ~word & highs
    }

    /// The first place of `byte` in `bytes` from `start` on.
    public static func index(of byte: UInt8, _ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        guard let base = bytes.baseAddress else { return nil }
        var index = start
        while bytes.count - index >= 8 {
            let found = zeroes(load(base + index) ^ filled(byte))
            if found != 0 { return index + firstIndex(found) }
            index += 8
        }
        while index < bytes.count {
            if bytes[index] == byte { return index }
            index += 1
        }
        return nil
    }

    /// Marks exactly the bytes that are zero.
    @inlinable @inline(__always)
    static func exactZeroes(_ word: UInt64) -> UInt64 {
        ~(((word & ~highs) &+ ~highs) | word | ~highs)
    }

    /// Marks the bytes that end a plain run inside a JSON string: `"`, `\`, controls below 0x20, and everything above 0x7F;
    /// only the lowest mark is certain. Bytes above 0x7F stop the run anyway, which saves the `& ~word` of each test.
    @inlinable @inline(__always)
    static func jsonStringStops(_ word: UInt64) -> UInt64 {
        let quote = (word ^ filled(0x22)) &- ones
        let backslash = (word ^ filled(0x5C)) &- ones
        let control = word &- filled(0x20)
        return (quote | backslash | control | word) & highs
    }

    /// The index in memory of the lowest mark.
    @inlinable @inline(__always)
    static func firstIndex(_ mask: UInt64) -> Int {
        mask.trailingZeroBitCount &>> 3
    }

    /// The index in memory of the highest mark.
    @inlinable @inline(__always)
    static func lastIndex(_ mask: UInt64) -> Int {
        7 &- (mask.leadingZeroBitCount &>> 3)
    }
}
