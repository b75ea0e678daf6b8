// The `Content-Type` field (RFC 9110 section 8.3.1):
//
//     Text/HTML ; charset="utf-8"
//     └essence┘   └ parameters: token = token or quoted string
//
// Streams are compared by their essence, without case and without parameters (PROTOCOL.md section 2); what was sent at creation is
// what is returned. Whitespace at the ends is never part of a field value and is ignored here.

/// Rules for media types.
public enum MediaType {
    /// Whether two values have the same type and subtype.
    public static func matches(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        let (left, right) = (essence(left), essence(right))
        guard left.count == right.count else { return false }
        for index in 0..<left.count where lowercase(left[index]) != lowercase(right[index]) { return false }
        return true
    }

    /// Whether the value is `application/json`, with or without parameters.
    public static func isJSON(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let essence = essence(bytes)
        return essence.count == 16 && hasPrefix(essence, "application/json")
    }

    /// Whether the value is of type `text`.
    public static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let essence = essence(bytes)
        return essence.count > 5 && hasPrefix(essence, "text/")
    }

    /// Whether the value follows the grammar. Empty parameters, as in `text/plain;`, are in it.
    public static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let value = trimmed(bytes)
        var index = 0
        guard takeToken(value, &index), take(0x2F, value, &index), takeToken(value, &index) else { return false }
        while index < value.count {
            skipBlanks(value, &index)
            guard take(0x3B, value, &index) else { return false }
            skipBlanks(value, &index)
            if index == value.count || value[index] == 0x3B { continue }
            guard takeToken(value, &index), take(0x3D, value, &index) else { return false }
            guard takeToken(value, &index) || takeQuotedString(value, &index) else { return false }
        }
        return true
    }

    // MARK: Parts

    /// What lies before the first `;`, without whitespace at the ends.
    private static func essence(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var end = 0
        while end < bytes.count, bytes[end] != 0x3B { end += 1 }
        return trimmed(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
    }

    private static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var (lower, upper) = (0, bytes.count)
        while lower < upper, isBlank(bytes[lower]) { lower += 1 }
        while upper > lower, isBlank(bytes[upper - 1]) { upper -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[lower..<upper])
    }

    private static func hasPrefix(_ bytes: UnsafeRawBufferPointer, _ prefix: StaticString) -> Bool {
        guard bytes.count >= prefix.utf8CodeUnitCount else { return false }
        for index in 0..<prefix.utf8CodeUnitCount where lowercase(bytes[index]) != prefix.utf8Start[index] { return false }
        return true
    }

    private static func take(_ byte: UInt8, _ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Bool {
        guard index < bytes.count, bytes[index] == byte else { return false }
        index += 1
        return true
    }

    private static func skipBlanks(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) {
        while index < bytes.count, isBlank(bytes[index]) { index += 1 }
    }

    private static func takeToken(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Bool {
        let first = index
        while index < bytes.count, isTokenByte(bytes[index]) { index += 1 }
        return index > first
    }

    /// RFC 9110 section 5.6.4.
    private static func takeQuotedString(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Bool {
        guard take(0x22, bytes, &index) else { return false }
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == 0x22 { return true }
            if byte == 0x5C {
                guard index < bytes.count, isTextByte(bytes[index]) else { return false }
                index += 1
            } else if !isTextByte(byte) {
                return false
            }
        }
        return false
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09
    }

    /// What may stand in a quoted string, with or without a backslash.
    private static func isTextByte(_ byte: UInt8) -> Bool {
        byte == 0x09 || (byte >= 0x20 && byte != 0x7F)
    }

    private static func lowercase(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }

    /// `tchar` of RFC 9110 section 5.6.2.
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true  // digits, letters
        case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E...0x60, 0x7C, 0x7E: true  // ! # $ % & ' * + - . ^ _ ` | ~
        default: false
        }
    }
}
