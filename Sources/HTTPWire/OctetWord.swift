// Looking at eight octets in one step. A word holds octets p ... p+7, the first in the least significant lane:
//
//     address   p   p+1  ...  p+7          marks: 0x80 in each lane whose octet satisfies the test, so that
//     lane      0    1   ...   7           trailingZeroBitCount / 8 is the distance to the first one
//
// Invariant: the lowest mark is always right. Subtraction borrows only upwards out of a lane that was marked rightly, so a
// false mark can only stand above a true one; joining marks with `|` keeps that.

enum OctetWord {
    static var lanes: UInt64 { 0x0101_0101_0101_0101 }
    static var tops: UInt64 { 0x8080_8080_8080_8080 }
    /// The letter a in every lane: nothing here looks for letters.
    static var unmarked: UInt64 { 0x6161_6161_6161_6161 }

    @inline(__always)
    static func load(_ bytes: UnsafeRawBufferPointer, at index: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
    }

    /// Marks octets below `limit`, which is at most 0x80.
    @inline(__always)
    static func marks(_ word: UInt64, below limit: UInt8) -> UInt64 {
        (word &- lanes &* UInt64(limit)) & ~word & tops
    }

    @inline(__always)
    static func marks(_ word: UInt64, equalTo octet: UInt8) -> UInt64 {
        let difference = word ^ (lanes &* UInt64(octet))
        return (difference &- lanes) & ~difference & tops
    }

    /// Marks octets from 0x80 on.
    @inline(__always)
    static func marksNotASCII(_ word: UInt64) -> UInt64 { word & tops }
}

extension UnsafeRawBufferPointer {
    /// The first index in `start ..< end` whose octet `marks` marks, or `end`. Reads nothing at or behind `end`; must not mark letters.
    @inline(__always)
    func firstMarked(from start: Int, to end: Int, _ marks: (UInt64) -> UInt64) -> Int {
        var index = start
        while index &+ 8 <= end {
            let found = marks(OctetWord.load(self, at: index))
            if found != 0 { return index &+ found.trailingZeroBitCount / 8 }
            index &+= 8
        }
        guard index < end else { return end }
        // The last 1 to 7 octets: the word that ends at `end`, moved down, and filled up with an octet that no test marks.
        let rest = UInt64(end &- index)
        guard end >= 8 else {
            while index < end, marks(OctetWord.lanes &* UInt64(self[index])) == 0 { index &+= 1 }
            return index
        }
        let word = OctetWord.load(self, at: end &- 8) &>> (64 &- 8 &* rest) | OctetWord.unmarked &<< (8 &* rest)
        let found = marks(word)
        return found == 0 ? end : index &+ found.trailingZeroBitCount / 8
    }
}
