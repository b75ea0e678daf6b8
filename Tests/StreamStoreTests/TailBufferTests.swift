import Testing

@testable import StreamStore

@Suite struct TailBufferTests {
    private static func bytes(_ slices: [ByteSlice]) -> [UInt8] { slices.flatMap { Array($0.bytes) } }

    /// Against an array that remembers everything.
    @Test(arguments: [0, 5, 1 << 40] as [UInt64])
    func againstAModel(start: UInt64) {
        var generator = Generator(seed: start &+ 1)
        var buffer = TailBuffer(at: start)
        var model: [UInt8] = []
        var held: [(slice: ByteSlice, bytes: [UInt8])] = []
        for step in 0..<600 {
            let size = [0, 1, 3, 100, 511, 513, 5000, 300_000][Int(generator.next() % (step % 50 == 0 ? 8 : 7))]
            let content = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: size)
            if generator.next() % 4 == 0 {
                let block = OwnedBytes(capacity: size + Int(generator.next() % 100))
                if size > 0 { block.base.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: step), count: size) }
                block.count = size
                buffer.adopt(block)
            } else {
                content.withUnsafeBytes { buffer.append($0) }
            }
            model += content
            #expect(buffer.end == start + UInt64(model.count))
            if generator.next() % 16 == 0 {
                let limit = buffer.start + generator.next() % (buffer.end - buffer.start + 1)
                let before = buffer.start
                buffer.drop(below: limit, keepLast: generator.next() % 2 == 0)
                #expect(buffer.start >= before && buffer.start <= max(limit, before))
            }
            let length = buffer.end - buffer.start
            let from = buffer.start + generator.next() % (length + 1)
            let to = from + generator.next() % (buffer.end - from + 1)
            let expected = model[Int(from - start)..<Int(to - start)]
            let slices = buffer.slices(from: from, to: to)
            if Self.bytes(slices) != Array(expected) { Issue.record("step \(step): [\(from), \(to))") }
            if slices.contains(where: { $0.count == 0 }) { Issue.record("step \(step): an empty slice") }
            if from < to, buffer.byte(at: from) != expected.first { Issue.record("step \(step): byte \(from)") }
            if let last = buffer.lastSlice(from: from, to: to) {
                if Array(last.bytes) != Array(expected) { Issue.record("step \(step): last slice") }
            } else if slices.count == 1, to == buffer.end, from < to {
                Issue.record("step \(step): the range lies in the last block")
            }
            if let slice = slices.last, step % 7 == 0 { held.append((slice, Array(slice.bytes))) }
        }
        buffer.drop(below: buffer.end, keepLast: true)
        #expect(buffer.footprint > 0 || buffer.start == buffer.end)
        buffer.drop(below: buffer.end, keepLast: false)
        #expect(buffer.footprint == 0 && buffer.start == buffer.end)
        // Slices live longer than the buffer's blocks and never change.
        let areWhole = held.allSatisfy { Array($0.slice.bytes) == $0.bytes }
        #expect(areWhole)
    }

    @Test func smallAppendsShareBlocks() {
        var buffer = TailBuffer(at: 0)
        for _ in 0..<100 { [UInt8](repeating: 1, count: 5).withUnsafeBytes { buffer.append($0) } }
        #expect(buffer.slices(from: 0, to: 500).count == 1 && buffer.footprint == 512)
        for _ in 0..<100_000 { [UInt8](repeating: 1, count: 50).withUnsafeBytes { buffer.append($0) } }
        #expect(buffer.footprint < 6_000_000 && buffer.slices(from: 0, to: buffer.end).count < 40)
    }
}

/// A generator whose numbers are the same in every run (SplitMix64).
struct Generator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
