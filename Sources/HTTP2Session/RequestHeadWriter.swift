// From the fields of HTTP/2 to the head that HTTP/1.1 would have had, so that the same parser and the same rules judge both (RFC 9113 8.3.1,
// RFC 9112 3):
//
//     :method GET   :scheme https   :authority h   :path /v1/stream/a   accept */*   cookie a=1   cookie b=2
//
//     GET /v1/stream/a HTTP/1.1 CRLF host: h CRLF accept: */* CRLF cookie: a=1; b=2 CRLF CRLF
//
// libnghttp2 has checked each field: no CR, LF, NUL or upper case, no field of an HTTP/1.1 connection, the pseudo-fields complete, once each and
// first. Checked here: the scheme is http or https (others may have a path of any form), and Host says the same as :authority.
//
// A head that is too large is cut where the limit is, before its end, so that HeadScanner refuses it as it does in HTTP/1.1. Its rest is counted
// and dropped.

struct RequestHeadWriter {
    enum Verdict: Equatable {
        case taken
        /// More than may be unpacked at all.
        case bomb
    }

    private let limit: Int
    private let bombLimit: Int
    private var head: [UInt8] = []
    private var method: [UInt8] = []
    private var path: [UInt8] = []
    private var authority: [UInt8] = []
    private var cookies: [UInt8] = []
    private var hasAuthority = false
    private var hasRequestLine = false
    /// As RFC 9113 6.5.2 counts.
    private var unpacked = 0
    private(set) var isMalformed = false

    /// Room that is kept from request to request.
    private static let keptBytes = 1024

    init(limit: Int, bombLimit: Int) {
        self.limit = limit
        self.bombLimit = bombLimit
    }

    mutating func begin() {
        unpacked = 0
        isMalformed = false
        hasAuthority = false
        hasRequestLine = false
        head.removeAll(keepingCapacity: true)
    }

    /// Only counts: of trailers.
    mutating func drop(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Verdict {
        unpacked += name.count + value.count + 32
        return unpacked > bombLimit ? .bomb : .taken
    }

    mutating func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Verdict {
        if drop(name, value) == .bomb { return .bomb }
        if head.count + cookies.count > limit { return .taken }
        if name[0] == UInt8(ascii: ":") {
            addPseudo(name, value)
            return .taken
        }
        writeRequestLine()
        switch name.count {
        case 4 where name.elementsEqual("host".utf8) && hasAuthority:
            if !Self.areEqualWithoutCase(authority, value) { isMalformed = true }
            return .taken
        case 6 where name.elementsEqual("cookie".utf8):
            // RFC 9113 8.2.3: one crumb in each field.
            if !cookies.isEmpty { cookies += [UInt8(ascii: ";"), UInt8(ascii: " ")] }
            cookies += value
            return .taken
        default: break
        }
        line(name, value)
        return .taken
    }

    private mutating func addPseudo(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        switch name[1] {
        case UInt8(ascii: "m"): method = Array(value)
        case UInt8(ascii: "p"): path = Array(value)
        case UInt8(ascii: "a"):
            authority = Array(value)
            hasAuthority = true
        case UInt8(ascii: "s"):
            if !Self.areEqualWithoutCase(Array("http".utf8), value), !Self.areEqualWithoutCase(Array("https".utf8), value) {
                isMalformed = true
            }
        default: isMalformed = true
        }
    }

    /// All pseudo-fields are here when the first other field or the end comes. CONNECT has no path: its target is the authority, which
    /// HTTP/1.1's rules refuse.
    private mutating func writeRequestLine() {
        if hasRequestLine { return }
        hasRequestLine = true
        head += method
        head.append(UInt8(ascii: " "))
        head += path.isEmpty ? authority : path
        head += " HTTP/1.1\r\n".utf8
        if hasAuthority {
            head += "host: ".utf8
            head += authority
            endLine()
        }
    }

    private mutating func line(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        head += name
        head.append(UInt8(ascii: ":"))
        head.append(UInt8(ascii: " "))
        head += value
        endLine()
    }

    private mutating func endLine() {
        head.append(UInt8(ascii: "\r"))
        head.append(UInt8(ascii: "\n"))
    }

    /// The finished head is given to `body`; nothing is kept but a little room.
    mutating func take() -> [UInt8] {
        writeRequestLine()
        if !cookies.isEmpty {
            cookies.withUnsafeBytes { cookies in
                "cookie".utf8.withContiguousStorageIfAvailable { name in line(UnsafeRawBufferPointer(name), cookies) }
            }
        }
        endLine()
        if head.count > limit { head.removeSubrange(limit...) }
        method.removeAll(keepingCapacity: true)
        cookies = []
        path = []
        authority = []
        defer { head = [] }
        return head
    }

    /// Gives the room back that ``take()`` took.
    mutating func reuse(_ room: [UInt8]) {
        if room.capacity <= Self.keptBytes { head = room }
    }

    private static func areEqualWithoutCase(_ left: [UInt8], _ right: UnsafeRawBufferPointer) -> Bool {
        func folded(_ byte: UInt8) -> UInt8 { byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte }
        return left.count == right.count && zip(left, right).allSatisfy { folded($0) == folded($1) }
    }
}
