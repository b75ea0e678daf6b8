// Base64Decoder: standard padded base64 (RFC 4648 section 4) → bytes. Line breaks and spaces are skipped: an SSE payload may be wrapped.

enum Base64Decoder {
    /// Nil when a byte is outside the alphabet, the padding is missing or misplaced, or the unused bits are not zero.
    static func decode(_ text: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(text.count / 4 * 3)
        var accumulated: UInt32 = 0
        var digits = 0
        var padding = 0
        for byte in text {
            switch byte {
            case UInt8(ascii: "\n"), UInt8(ascii: "\r"), UInt8(ascii: " "), UInt8(ascii: "\t"): continue
            case UInt8(ascii: "="):
                padding += 1
                guard padding <= 2 else { return nil }
            default:
                guard padding == 0, let value = value(of: byte) else { return nil }
                accumulated = accumulated << 6 | value
                digits += 1
                if digits == 4 {
                    result.append(UInt8(truncatingIfNeeded: accumulated >> 16))
                    result.append(UInt8(truncatingIfNeeded: accumulated >> 8))
                    result.append(UInt8(truncatingIfNeeded: accumulated))
                    (accumulated, digits) = (0, 0)
                }
            }
        }
        switch (digits, padding) {
        case (0, 0): return result
        case (2, 2) where accumulated & 0xf == 0:
            result.append(UInt8(truncatingIfNeeded: accumulated >> 4))
            return result
        case (3, 1) where accumulated & 0x3 == 0:
            result.append(UInt8(truncatingIfNeeded: accumulated >> 10))
            result.append(UInt8(truncatingIfNeeded: accumulated >> 2))
            return result
        default: return nil
        }
    }

    private static func value(of byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
