// Standard base64 with padding (RFC 4648 section 4), six bytes at a time and without a table:
//
//     memory    b0 b1 b2 b3 b4 b5                 48 bits
//     sextets   s0 s1 s2 s3 s4 s5 s6 s7           one in each byte of a word, by halving three times
//     letters   A…Z a…z 0…9 + /                   s + 65, corrected where s ≥ 26, 52, 62, 63

/// Encodes base64.
enum Base64 {
    /// The bytes of `count` bytes in base64.
    @inline(__always)
    static func encodedLength(_ count: Int) -> Int {
        (count + 2) / 3 * 4
    }

    /// Writes `bytes` in base64, padded, and returns `encodedLength(bytes.count)`.
    @discardableResult
    static func encode(_ bytes: UnsafeRawBufferPointer, to out: UnsafeMutableRawPointer) -> Int {
        guard var source = bytes.baseAddress else { return 0 }
        let end = source + bytes.count
        var target = out
        // A word is read for six bytes, so eight must be there.
        while end - source >= 8 {
            let word = UInt64(bigEndian: source.loadUnaligned(as: UInt64.self)) &>> 16
            target.storeBytes(of: letters(sextets(word)).littleEndian, as: UInt64.self)
            source += 6
            target += 8
        }
        while source < end {
            let count = min(3, end - source)
            var group: UInt64 = 0
            for index in 0..<3 {
                group = group << 8 | (index < count ? UInt64(source.load(fromByteOffset: index, as: UInt8.self)) : 0)
            }
            let four = letters(sextets(group << 24))
            for index in 0..<4 {
                let letter = index <= count ? UInt8(truncatingIfNeeded: four >> (8 * UInt64(index))) : 0x3D
                target.storeBytes(of: letter, toByteOffset: index, as: UInt8.self)
            }
            source += count
            target += 4
        }
        return target - out
    }

    /// Spreads the low 48 bits, six by six, over the bytes of a word; the highest six come first in memory.
    @inline(__always)
    private static func sextets(_ bits: UInt64) -> UInt64 {
        let halves = (bits &>> 24) | ((bits & 0xFF_FFFF) &<< 32)
        let quarters = ((halves &>> 12) & 0x0000_0FFF_0000_0FFF) | ((halves & 0x0000_0FFF_0000_0FFF) &<< 16)
        return ((quarters &>> 6) & 0x003F_003F_003F_003F) | ((quarters & 0x003F_003F_003F_003F) &<< 8)
    }

    /// Turns eight sextets into letters. No byte of the sums carries into the next.
    @inline(__always)
    private static func letters(_ sextets: UInt64) -> UInt64 {
        sextets &+ ByteWord.filled(65) &+ atLeast(26, sextets) &* 6 &- atLeast(52, sextets) &* 75 &- atLeast(62, sextets) &* 15
            &+ atLeast(63, sextets) &* 3
    }

    /// 1 in each byte whose sextet is at least `bound`.
    @inline(__always)
    private static func atLeast(_ bound: UInt8, _ sextets: UInt64) -> UInt64 {
        ((sextets &+ ByteWord.filled(128 - bound)) & ByteWord.highs) &>> 7
    }
}
