// The content of a request: text as a literal, or any bytes.

struct Payload: Sendable, Equatable, ExpressibleByStringInterpolation {
    let bytes: [UInt8]

    init(_ bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }
    init(stringLiteral value: String) { bytes = Array(value.utf8) }

    static let none = Payload([])

    /// Bytes that look like no other position of the same series: a wrong position shows.
    static func pattern(_ count: Int, seed: Int = 0) -> Payload { Payload(words(count, seed: seed, mask: .max, base: 0)) }

    /// The same in letters, without line ends.
    static func letters(_ count: Int, seed: Int = 0) -> Payload {
        // Each byte becomes 0x60 + 0…15, which is "`" and the letters up to "o".
        Payload(words(count, seed: seed, mask: 0x0F0F_0F0F_0F0F_0F0F, base: 0x6060_6060_6060_6060))
    }

    /// Eight bytes at a time, since the tests are not optimized.
    private static func words(_ count: Int, seed: Int, mask: UInt64, base: UInt64) -> [UInt8] {
        var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1
        return [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, initialized in
            var index = 0
            while index < count {
                state ^= state << 13
                state ^= state >> 7
                state ^= state << 17
                UnsafeMutableRawPointer(buffer.baseAddress! + index).storeBytes(of: state & mask | base, as: UInt64.self)
                index += 8
            }
            initialized = count
        }
    }

    /// In chunks of at most `size` bytes, without trailers.
    func chunked(by size: Int = 7) -> [UInt8] {
        var result: [UInt8] = []
        var index = 0
        while index < bytes.count {
            let end = min(index + size, bytes.count)
            result += Array(String(end - index, radix: 16).utf8) + [13, 10] + bytes[index..<end] + [13, 10]
            index = end
        }
        return result + Array("0\r\n\r\n".utf8)
    }
}
