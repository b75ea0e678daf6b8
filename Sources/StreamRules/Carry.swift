// The first one to three bytes of a UTF-8 character whose end has not come (PROTOCOL.md 4): held back in front of the next payload, so that a
// reader of a text stream is never sent half a character.

/// Up to three held-back bytes, in one word.
public struct Carry: Equatable, Hashable, Sendable {
    /// The count in the highest byte.
    private var packed: UInt32 = 0

    public var count: Int { Int(packed >> 24) }
    public var isEmpty: Bool { packed == 0 }

    public init() {}

    /// The first three of `bytes`, if there are more.
    public init(_ bytes: some Collection<UInt8>) {
        for byte in bytes.prefix(3) { append(byte) }
    }

    public subscript(index: Int) -> UInt8 { UInt8(truncatingIfNeeded: packed >> (8 * UInt32(index))) }

    public var bytes: [UInt8] { (0..<count).map { self[$0] } }

    mutating func append(_ byte: UInt8) {
        packed |= UInt32(byte) << (8 * UInt32(count))
        packed += 1 << 24
    }
}
