// Where a text can be cut (PROTOCOL.md section 4, SSE): a live reader of a text stream is never sent half a character.
//
//     … 61 F0 9F 98          three bytes of a character of four: held back until the fourth is appended
//     … 61 98                a stray continuation byte: will never be a character, so it is sent
//
// Only bytes that can still become valid are held back (RFC 3629 section 4); a broken stream is not delayed.

/// The forms of UTF-8 characters.
enum UTF8Tail {
    /// The bytes of a character with this first byte; 0 if no character begins so.
    static func characterLength(_ lead: UInt8) -> Int {
        switch lead {
        case 0xC2...0xDF: 2
        case 0xE0...0xEF: 3
        case 0xF0...0xF4: 4
        default: 0
        }
    }

    /// Whether a continuation byte may be the second: no overlong form, no surrogate, nothing above U+10FFFF.
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
