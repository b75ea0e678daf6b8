import StreamRules
import Testing

@Suite struct UTF8TailTests {
    /// How many bytes a text event holds back at the end of these.
    private static func heldBack(_ bytes: UnsafeRawBufferPointer) -> Int {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: ByteSink.reserve + 256, alignment: 1)
        defer { memory.deallocate() }
        var (encoder, sink) = (EventEncoder(.text), ByteSink(memory))
        let taken = encoder.encode(bytes, &sink)
        return taken == bytes.count ? encoder.carry.count : -1
    }

    @Test(
        arguments: [
            ([], 0), ([0x61], 0), ([0x7F], 0), ([0xC3], 1), ([0xC3, 0xA9], 0), ([0xE6], 1), ([0xE6, 0xBC], 2), ([0xE6, 0xBC, 0xA2], 0),
            ([0xF0], 1), ([0xF0, 0x9F], 2), ([0xF0, 0x9F, 0x98], 3),
            ([0xF0, 0x9F, 0x98, 0x80], 0), ([0x80], 0), ([0x80, 0x80], 0), ([0x80, 0x80, 0x80], 0), ([0x80, 0x80, 0x80, 0x80], 0),
            ([0xC0], 0), ([0xC1], 0), ([0xF5], 0), ([0xFF], 0),
            ([0xE0, 0x9F], 0), ([0xE0, 0xA0], 2), ([0xED, 0xA0], 0), ([0xED, 0x9F], 2), ([0xF0, 0x8F], 0), ([0xF0, 0x90], 2),
            ([0xF4, 0x90], 0), ([0xF4, 0x8F], 2), ([0xF4, 0x8F, 0xBF], 3),
            ([0xF4, 0x90, 0x80], 0), ([0xF1, 0x80, 0x41], 0), ([0xC3, 0xC3], 1), ([0xE6, 0x41], 0), ([0x61, 0xF0, 0x9F, 0x98], 3),
            ([0xC3, 0xA9, 0xA9], 0), ([0xE6, 0xBC, 0xA2, 0x80], 0),
        ] as [([UInt8], Int)])
    func table(bytes: [UInt8], expected: Int) {
        #expect(withBytes(bytes, Self.heldBack) == expected)
    }

    /// A suffix is held back exactly if it is the beginning of the encoding of some scalar.
    @Test func everyBeginningOfEveryScalar() {
        var beginnings: Set<[UInt8]> = []
        for value in 0x80...0x10FFFF as ClosedRange<UInt32> where value < 0x800 || value % 64 == 0 {
            guard let scalar = Unicode.Scalar(value) else { continue }
            let bytes = Array(UTF8.encode(scalar)!)
            for count in 1..<bytes.count { beginnings.insert(Array(bytes[..<count])) }
        }
        let edges: [UInt8] = [
            0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3,
            0xF4, 0xF5, 0xFF,
        ]
        var texts: [[UInt8]] = [[]]
        for _ in 0..<3 {
            texts = texts.flatMap { start in edges.map { start + [$0] } }
            for text in texts {
                let expected = (1...text.count).first { beginnings.contains(Array(text.suffix($0))) } ?? 0
                if withBytes(text, Self.heldBack) != expected { Issue.record("\(text)") }
                if withBytes([0x61] + text, Self.heldBack) != expected { Issue.record("\(text)") }
            }
        }
    }
}
