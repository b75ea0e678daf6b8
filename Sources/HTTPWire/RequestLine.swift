// Reads a request line (RFC 9112 3): method SP request-target SP HTTP-version CRLF, with exactly one space at each place.
//
//     GET /v1/stream/a?offset=-1 HTTP/1.1           origin-form
//     GET http://host:4437/v1/stream/a HTTP/1.1     absolute-form: authority and target are taken apart
//         `-----' authority  `-----------' target
//     OPTIONS * HTTP/1.1                            asterisk-form, for OPTIONS only
//     CONNECT host:443 HTTP/1.1                     authority-form: refused, this is no proxy

struct RequestLine {
    var method: Method
    var methodRange: Range<Int>
    var target: Range<Int>
    var authority: Range<Int>?
    var isAsteriskForm: Bool
    var minorVersion: Int

    /// Reads the line at `position` and moves behind its CRLF.
    @inline(__always)
    init(_ bytes: UnsafeRawBufferPointer, _ position: inout Int, _ limits: WireLimits) throws(HTTPRefusal) {
        let count = bytes.count
        let start = position
        let methodEnd = bytes.firstMarked(from: start, to: count) { OctetWord.marks($0, below: 0x21) }
        guard methodEnd < count, bytes[methodEnd] == Octet.space, methodEnd > start else { throw .requestLine }
        method = Method.recognize(UnsafeRawBufferPointer(rebasing: bytes[start..<methodEnd]))
        methodRange = start..<methodEnd
        if method == .other, !OctetSet.token.containsAll(of: bytes, in: methodRange) { throw .method }

        let targetStart = methodEnd + 1
        let targetEnd = bytes.firstMarked(from: targetStart, to: count) {
            OctetWord.marks($0, below: 0x21) | OctetWord.marks($0, equalTo: Octet.hash) | OctetWord.marks($0, equalTo: Octet.delete)
                | OctetWord.marksNotASCII($0)
        }
        guard targetEnd < count, bytes[targetEnd] == Octet.space, targetEnd > targetStart else {
            throw RequestLine.targetFault(bytes, targetStart, targetEnd)
        }
        guard targetEnd - targetStart <= limits.targetBytes else { throw .targetTooLong(limit: limits.targetBytes) }

        minorVersion = try RequestLine.minorVersion(bytes, at: targetEnd + 1)
        position = targetEnd + 1 + RequestLine.versionLength + 2

        target = targetStart..<targetEnd
        authority = nil
        isAsteriskForm = false
        if bytes[targetStart] == Octet.slash { return }
        if bytes[targetStart] == Octet.asterisk, target.count == 1 {
            guard method == .options else { throw .targetForm }
            isAsteriskForm = true
            return
        }
        let authorityStart = try RequestLine.schemeEnd(bytes, target)
        var authorityEnd = authorityStart
        while authorityEnd < targetEnd, bytes[authorityEnd] != Octet.slash, bytes[authorityEnd] != Octet.question { authorityEnd += 1 }
        guard Authority.isValid(bytes, in: authorityStart..<authorityEnd, hostMayBeEmpty: false) else { throw .targetAuthority }
        authority = authorityStart..<authorityEnd
        target = authorityEnd..<targetEnd
    }

    private static var versionLength: Int { 8 }

    /// The minor version spelled at `start`, which CRLF has to follow.
    @inline(__always)
    private static func minorVersion(_ bytes: UnsafeRawBufferPointer, at start: Int) throws(HTTPRefusal) -> Int {
        let end = start + versionLength
        guard end + 1 < bytes.count, bytes[end] == Octet.carriageReturn, bytes[end + 1] == Octet.lineFeed else { throw .version }
        // "HTTP/x.y" as one word; x and y are the lanes 5 and 7.
        let word = OctetWord.load(bytes, at: start)
        let name: UInt64 = 0x002E_002F_5054_5448
        guard word & 0x00FF_00FF_FFFF_FFFF == name else { throw .version }
        let major = UInt8(truncatingIfNeeded: word >> 40)
        let minor = UInt8(truncatingIfNeeded: word >> 56)
        guard Octet.isDigit(major), Octet.isDigit(minor) else { throw .version }
        guard major == UInt8(ascii: "1") else { throw .versionUnsupported }
        // A later minor version is served as the highest that this server knows (RFC 9110 2.5).
        return minor == UInt8(ascii: "0") ? 0 : 1
    }

    /// The end of `http://` or `https://`, compared without case, at the start of an absolute target.
    private static func schemeEnd(_ bytes: UnsafeRawBufferPointer, _ target: Range<Int>) throws(HTTPRefusal) -> Int {
        let schemes: (StaticString, StaticString) = ("http://", "https://")
        if let end = prefixEnd(schemes.0, bytes, target) ?? prefixEnd(schemes.1, bytes, target) { return end }
        throw .targetForm
    }

    private static func prefixEnd(_ prefix: StaticString, _ bytes: UnsafeRawBufferPointer, _ target: Range<Int>) -> Int? {
        let count = prefix.utf8CodeUnitCount
        guard target.count >= count, bytes.equalsWithoutCase(prefix, at: target.lowerBound) else { return nil }
        return target.lowerBound + count
    }

    /// Why the octet at `stop` cannot end the target that began at `start`.
    private static func targetFault(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ stop: Int) -> HTTPRefusal {
        guard stop < bytes.count else { return .requestLine }
        switch bytes[stop] {
        case Octet.space, Octet.carriageReturn, Octet.lineFeed: return .requestLine
        case Octet.hash: return .targetFragment
        default: return .targetOctet
        }
    }
}
