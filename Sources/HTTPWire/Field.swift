// One field line, as places in the head it was read from:
//
//     Content-Type:  text/plain \t CRLF
//     `----------'   `--------'
//     nameRange      valueRange, without the white space around it (RFC 9110 5.5)
//
// 20 bytes, so that a list of them stays in a few cache lines; a head is far below 4 GiB.

/// A header field: the name it was recognised as, and where name and value are.
public struct Field: Sendable, Equatable {
    public let name: FieldName
    @usableFromInline let nameStart: UInt32
    @usableFromInline let nameEnd: UInt32
    @usableFromInline let valueStart: UInt32
    @usableFromInline let valueEnd: UInt32

    /// Offsets into the head. Precondition: they fit 32 bits.
    @inlinable
    public init(name: FieldName, nameRange: Range<Int>, valueRange: Range<Int>) {
        self.name = name
        nameStart = UInt32(nameRange.lowerBound)
        nameEnd = UInt32(nameRange.upperBound)
        valueStart = UInt32(valueRange.lowerBound)
        valueEnd = UInt32(valueRange.upperBound)
    }

    /// The name as the peer wrote it.
    @inlinable
    public var nameRange: Range<Int> { Int(nameStart)..<Int(nameEnd) }

    /// The value without leading and trailing spaces and tabs; may be empty.
    @inlinable
    public var valueRange: Range<Int> { Int(valueStart)..<Int(valueEnd) }
}
