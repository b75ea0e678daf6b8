// Names for the octets that structure a message, and the sets of octets that its grammar is made of.
//
// A set is two 64-bit masks: octet c (below 128) is a member when bit (c mod 64) of `low` (c < 64) or `high` (c >= 64) is 1.
// Octets from 128 on are in no set. No table in memory, no lazily initialised global.

enum Octet {
    static var tab: UInt8 { 0x09 }
    static var lineFeed: UInt8 { 0x0A }
    static var carriageReturn: UInt8 { 0x0D }
    static var tlsHandshake: UInt8 { 0x16 }
    static var space: UInt8 { 0x20 }
    static var hash: UInt8 { 0x23 }
    static var asterisk: UInt8 { 0x2A }
    static var comma: UInt8 { 0x2C }
    static var slash: UInt8 { 0x2F }
    static var colon: UInt8 { 0x3A }
    static var semicolon: UInt8 { 0x3B }
    static var question: UInt8 { 0x3F }
    static var delete: UInt8 { 0x7F }

    /// SP or HTAB, the members of OWS (RFC 9110 5.6.3).
    @inline(__always)
    static func isBlank(_ octet: UInt8) -> Bool { octet == space || octet == tab }

    @inline(__always)
    static func isDigit(_ octet: UInt8) -> Bool { octet &- 0x30 < 10 }

    /// May stand inside a field value or a chunk extension: everything but controls; HTAB and obs-text are allowed (RFC 9110 5.5).
    @inline(__always)
    static func isFieldText(_ octet: UInt8) -> Bool { octet >= 0x20 && octet != delete || octet == tab }

    /// The value of a hexadecimal digit, in either case; nil for anything else.
    @inline(__always)
    static func hexValue(_ octet: UInt8) -> Int? {
        if isDigit(octet) { return Int(octet &- 0x30) }
        let letter = (octet | 0x20) &- 0x61
        return letter < 6 ? Int(letter) + 10 : nil
    }
}

struct OctetSet: Sendable {
    let low: UInt64
    let high: UInt64

    @inline(__always)
    func contains(_ octet: UInt8) -> Bool {
        let mask = octet & 0x40 == 0 ? low : high
        return octet < 0x80 && mask >> UInt64(octet & 0x3F) & 1 == 1
    }

    @inline(__always)
    func containsAll(of bytes: UnsafeRawBufferPointer, in range: Range<Int>) -> Bool {
        for index in range where !contains(bytes[index]) { return false }
        return true
    }

    /// tchar (RFC 9110 5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``.
    static var token: OctetSet { OctetSet(low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE) }

    /// unreserved and sub-delims (RFC 3986 2): letters, digits, `-._~` and `!$&'()*+,;=`. What a host name may hold besides `%`.
    static var hostName: OctetSet { OctetSet(low: 0x2BFF_7FD2_0000_0000, high: 0x47FF_FFFE_87FF_FFFE) }
}
