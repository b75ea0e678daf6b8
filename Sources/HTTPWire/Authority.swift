// host [ ":" port ], as in Host and in absolute-form targets (RFC 3986 3.2.2 and 3.2.3, RFC 9110 7.2):
//
//     example.org:4437      127.0.0.1      [::1]:4437      ex%41mple      (empty: allowed in Host only)
//     `---------' `--'                     `---' `--'
//     name        digits, may be none      in brackets: name octets and colons
//
// User information ("user@") is not part of it: RFC 9110 4.2.4 has it treated as an error. The port's range is not judged: the value
// is compared and echoed, never connected to.

/// The syntax of `Host`, of `X-Forwarded-Host` and of the authority of an absolute target.
public enum Authority {
    /// Whether `bytes[range]` is host [":" port]; an empty host, with or without a port, only if `hostMayBeEmpty`.
    public static func isValid(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>, hostMayBeEmpty: Bool) -> Bool {
        var index = range.lowerBound
        let end = range.upperBound
        if index < end, bytes[index] == UInt8(ascii: "[") {
            index += 1
            let address = index
            while index < end, OctetSet.hostName.contains(bytes[index]) || bytes[index] == Octet.colon { index += 1 }
            guard index > address, index < end, bytes[index] == UInt8(ascii: "]") else { return false }
            index += 1
        } else {
            while index < end {
                if OctetSet.hostName.contains(bytes[index]) {
                    index += 1
                } else if bytes[index] == UInt8(ascii: "%") {
                    guard index + 2 < end, Octet.hexValue(bytes[index + 1]) != nil, Octet.hexValue(bytes[index + 2]) != nil else {
                        return false
                    }
                    index += 3
                } else {
                    break
                }
            }
            guard index > range.lowerBound || hostMayBeEmpty else { return false }
        }
        guard index < end else { return true }
        guard bytes[index] == Octet.colon else { return false }
        for digit in index + 1..<end where !Octet.isDigit(bytes[digit]) { return false }
        return true
    }
}
