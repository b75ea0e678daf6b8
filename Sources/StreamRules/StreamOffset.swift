// The offset token (PROTOCOL.md section 5): two 16-digit decimal numbers joined by `_`.
//
//     0000000000000000_0000000000000042
//     └ always zero ─┘ └ byte position in the stream's stored form
//
// Compared as strings, tokens order positions. The first number is room for a future second coordinate; a token in which
// it is not zero was never issued. `-1` and `now` are words of the read parameters, not offsets, and do not parse.

/// A byte position in a stream's stored form.
public struct StreamOffset: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Bytes from the start of the stream, 0…`maximum`.
    public let position: UInt64

    /// The largest position that sixteen digits hold.
    public static let maximum: UInt64 = 9_999_999_999_999_999

    /// The bytes of a token.
    public static let tokenLength = 33

    /// The position before the first byte.
    public static let start = StreamOffset(position: 0)

    @inlinable
    public init(position: UInt64) {
        precondition(position <= Self.maximum, "position over sixteen digits")
        self.position = position
    }

    @inlinable
    public static func < (left: StreamOffset, right: StreamOffset) -> Bool {
        left.position < right.position
    }

    /// Reads a token; nil unless it has exactly the form above.
    @inlinable
    public static func parse(_ token: UnsafeRawBufferPointer) -> StreamOffset? {
        guard token.count == tokenLength, let base = token.baseAddress else { return nil }
        let zeros = ByteWord.filled(0x30)
        guard ByteWord.load(base) == zeros, ByteWord.load(base + 8) == zeros, token[16] == 0x5F,
            let high = DecimalText.parseEight(base + 17), let low = DecimalText.parseEight(base + 25)
        else { return nil }
        return StreamOffset(position: high &* 100_000_000 &+ low)
    }

    /// Writes the token, exactly `tokenLength` bytes.
    @inlinable
    public func write(into address: UnsafeMutableRawPointer) {
        let zeros = ByteWord.filled(0x30)
        address.storeBytes(of: zeros, as: UInt64.self)
        address.storeBytes(of: zeros, toByteOffset: 8, as: UInt64.self)
        address.storeBytes(of: 0x5F, toByteOffset: 16, as: UInt8.self)
        DecimalText.writeEight(position / 100_000_000, to: address + 17)
        DecimalText.writeEight(position % 100_000_000, to: address + 25)
    }

    /// The token, for logs and tests.
    public var description: String {
        String(unsafeUninitializedCapacity: Self.tokenLength) { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            write(into: base)
            return Self.tokenLength
        }
    }
}
