// Where a text can be cut (PROTOCOL.md section 4, SSE): a live reader of a text stream is never sent half a character.
//
//     … 61 F0 9F 98          three bytes of a character of four: held back until the fourth is appended
//     … 61 98                a stray continuation byte: will never be a character, so it is sent
//
// Only bytes that can still become valid are held back (RFC 3629 section 4); a broken stream is not delayed.

/// The end of a piece of UTF-8 text.
public enum UTF8Tail {
    /// The number of bytes at the end, 0…3, that are the valid beginning of a character whose end is missing.
    @inlinable
    public static func incompleteSuffixLength(_ bytes: UnsafeRawBufferPointer) -> Int {
        let count = bytes.count
        guard count > 0, bytes[count - 1] >= 0x80 else { return 0 }
        for length in 1...min(3, count) {
            let lead = bytes[count - length]
            if lead & 0xC0 == 0x80 { continue }
            guard length < characterLength(lead) else { return 0 }
            if length == 1 { return 1 }
            return allowsSecond(lead, bytes[count - length + 1]) ? length : 0
        }
        return 0
    }

    /// The bytes of a character with this first byte; 0 if no character begins so.
    @inlinable
    static func characterLength(_ lead: UInt8) -> Int {
        switch lead {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 0
        }
    }

    /// Whether a continuation byte may be the second: no overlong form, no surrogate, nothing above U+10FFFF.
    @inlinable
    static func allowsSecond(_ lead: UInt8, _ second: UInt8) -> Bool {
        switch lead {
        case 0xE0: second >= 0xA0
        case 0xED: second < 0xA0
        case 0xF0: second >= 0x90
        case 0xF4: second < 0x90
        default: true
        }
    }
}
