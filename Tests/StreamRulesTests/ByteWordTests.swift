import Testing

@testable import StreamRules

@Suite struct ByteWordTests {
    /// Words of bytes around every limit; the first hit must be right, and for `exactZeroes` all hits.
    @Test func masks() {
        let values: [UInt8] = [0x00, 0x01, 0x1F, 0x20, 0x21, 0x22, 0x23, 0x5B, 0x5C, 0x5D, 0x7F, 0x80, 0x81, 0xA2, 0xDC, 0xFE, 0xFF]
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<200_000 {
            let bytes = (0..<8).map { _ in values.randomElement(using: &generator)! }
            let word = withBytes(bytes) { ByteWord.load($0.baseAddress!) }
            let zero = bytes.firstIndex(of: 0)
            if found(ByteWord.zeroes(word)) != zero { Issue.record("\(bytes)") }
            let stop = bytes.firstIndex { $0 < 0x20 || $0 >= 0x80 || $0 == 0x22 || $0 == 0x5C }
            if found(ByteWord.jsonStringStops(word)) != stop { Issue.record("\(bytes)") }
            var exact: UInt64 = 0
            for (index, byte) in bytes.enumerated() where byte == 0 { exact |= 0x80 << (8 * UInt64(index)) }
            if ByteWord.exactZeroes(word) != exact { Issue.record("\(bytes)") }
            if exact != 0, ByteWord.lastIndex(exact) != bytes.lastIndex(of: 0) { Issue.record("\(bytes)") }
        }
    }

    private func found(_ mask: UInt64) -> Int? {
        mask == 0 ? nil : ByteWord.firstIndex(mask)
    }
}
