// StreamAddress: where a stream lives.
//
// A stream argument is either a name, put below the base URL, or a full http(s) URL, taken as it is.
//
//     base  http://localhost:4437/v1/stream/          name  account 1/chat/room:7
//     →     http://localhost:4437/v1/stream/account%201/chat/room:7
//
// A name is plain text: its `/` separate segments, and in each segment every byte that RFC 3986 does not allow in a path (`pchar`)
// becomes %XX, `%` included. So no name can reach outside the base, and a character that curl users may type as it is stays as it is.
// PROTOCOL.md "Base path": `.` and `..` segments and empty names are refused here already, as the server would.

public struct StreamAddress: Equatable, Sendable {
    /// Absolute, without fragment.
    public let url: String

    /// - Parameters:
    ///   - base: absolute http(s) URL without query; a trailing `/` makes no difference.
    ///   - name: a stream's name or its absolute URL.
    /// - Throws: `badInput`.
    public init(base: String, name: String) throws(ClientFailure) {
        if Self.isAbsolute(name) {
            let url = name.prefix { $0 != "#" }
            guard url.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
                throw .badInput("\(name): a URL holds no spaces and no characters outside ASCII")
            }
            self.url = String(url)
            return
        }
        guard Self.isAbsolute(base) else { throw .badInput("\(base): the base URL must begin with http:// or https://") }
        guard base.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }) else {
            throw .badInput("\(base): the base URL must have no spaces, no query and no fragment")
        }
        var url = Substring(base)
        while url.last == "/" { url.removeLast() }
        var encoded = String(url)
        let segments = name.drop { $0 == "/" }.split(separator: "/", omittingEmptySubsequences: false)
        guard segments != [""] else { throw .badInput("the stream's name is empty") }
        for segment in segments {
            guard segment != ".", segment != ".." else { throw .badInput("\(name): a stream's name has no `.` or `..` segments") }
            encoded += "/"
            Self.percentEncode(segment.utf8, into: &encoded, keeping: Self.isPathCharacter)
        }
        self.url = encoded
    }

    /// The URL with query parameters added; values are encoded.
    public func adding(_ parameters: [(name: String, value: String)]) -> String {
        var result = url
        var separator = url.utf8.contains(UInt8(ascii: "?")) ? "&" : "?"
        for (name, value) in parameters {
            result += separator + name + "="
            Self.percentEncode(value.utf8, into: &result, keeping: Self.isUnreserved)
            separator = "&"
        }
        return result
    }

    /// Scheme and authority, in lower case.
    public var origin: String { String(url[..<pathStart]).lowercased() }

    /// The path without the query.
    public var path: String { String(url[pathStart...].prefix { $0 != "?" }) }

    private var pathStart: String.Index {
        let authority = url.firstRange(of: "://")?.upperBound ?? url.startIndex
        return url[authority...].firstIndex { $0 == "/" || $0 == "?" } ?? url.endIndex
    }

    private static func isAbsolute(_ text: String) -> Bool {
        let scheme = text.prefix(8).lowercased()
        return scheme.hasPrefix("http://") || scheme == "https://"
    }

    private static func percentEncode(_ bytes: some Sequence<UInt8>, into text: inout String, keeping: (UInt8) -> Bool) {
        let digits = Array("0123456789ABCDEF".unicodeScalars)
        for byte in bytes {
            if keeping(byte) {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text.unicodeScalars.append("%")
                text.unicodeScalars.append(digits[Int(byte >> 4)])
                text.unicodeScalars.append(digits[Int(byte & 15)])
            }
        }
    }

    /// RFC 3986 section 2.3.
    private static func isUnreserved(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"): true
        default: false
        }
    }

    /// RFC 3986 section 3.3, `pchar`.
    private static func isPathCharacter(_ byte: UInt8) -> Bool {
        isUnreserved(byte) || "!$&'()*+,;=:@".utf8.contains(byte)
    }
}
