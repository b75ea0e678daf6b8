import HTTP2Session
import HTTP2SessionTesting
import Testing

@Suite struct FrameCutsTests {
    /// The lengths of the pieces when the bytes come in parts of these lengths.
    private func pieces(_ bytes: [UInt8], parts: [Int]) -> [Int] {
        var cuts = FrameCuts()
        var ends: [Int] = []
        var position = 0
        var part = 0
        while position < bytes.count {
            let end = min(bytes.count, position + parts[part % parts.count])
            part += 1
            while position < end {
                let count = bytes[position..<end].withUnsafeBytes { cuts.next($0) }
                #expect(count > 0)
                position += count
                ends.append(position)
            }
        }
        return ends
    }

    /// Each piece ends with a HEADERS frame, wherever the bytes are split.
    @Test func onePerRequest() {
        var bytes = RawFrames.preface + RawFrames.frame(4, stream: 0)
        var ends: [Int] = []
        for stream: UInt32 in [1, 3, 5] {
            bytes += RawFrames.headers(stream, RawFrames.request("/a"))
            ends.append(bytes.count)
            bytes += RawFrames.data(stream, [UInt8](repeating: 7, count: 300)) + RawFrames.windowUpdate(0, 9)
        }
        #expect(pieces(bytes, parts: [bytes.count]) == ends + [bytes.count])
        for size in 1...40 {
            let split = pieces(bytes, parts: [size])
            #expect(ends.allSatisfy(split.contains), "parts of \(size)")
            #expect(Set(split) == Set(ends).union(stride(from: size, to: bytes.count, by: size)).union([bytes.count]), "parts of \(size)")
        }
    }

    /// Empty HEADERS, the longest length there is, and no frames at all.
    @Test func oddFrames() {
        let empty = RawFrames.preface + RawFrames.frame(1, stream: 1) + RawFrames.frame(1, stream: 3)
        #expect(pieces(empty, parts: [empty.count]) == [33, 42])
        let long = RawFrames.preface + [0xFF, 0xFF, 0xFF, 1, 4, 0, 0, 0, 1] + [UInt8](repeating: 1, count: 500)
        #expect(pieces(long, parts: [100]) == [100, 200, 300, 400, 500, 533])
        #expect(pieces([1, 2, 3], parts: [3]) == [3])
    }
}
