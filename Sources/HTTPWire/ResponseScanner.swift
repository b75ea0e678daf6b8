// Reads the head of a response while it arrives, for clients: the status, how the content is delimited, and the few fields that a reader of
// streams acts on. Everything else is skipped by its length.
//
//     HTTP/1.1 200 OK CRLF   Date: … CRLF   Stream-Next-Offset: 0000…_0000…42 CRLF   Content-Length: 100 CRLF   CRLF
//              `-'                                              `-------------'                       `-'           ^ length returned
//              status                                           nextOffset                            framing
//
// It goes line by line: `line` is the start of the first line that has not been read, and octets before `searched` are never looked at again
// for a line end. Interim responses (1xx, RFC 9110 15.2) are passed over. How content is delimited is RFC 9112 6.3; what two readers
// could cut differently is a fault, as it is in requests.

/// Why bytes can be no response.
public enum ResponseFault: Error, Equatable, Sendable {
    /// The first line is no `HTTP/1.x NNN …`.
    case statusLine
    /// A line without a name and a colon, or without CR before LF.
    case fieldLine
    /// Content-Length that is no number or two of them, with Transfer-Encoding, or another coding than chunked.
    case framing
    /// The head does not end within ``ResponseScanner/headLimit``.
    case headTooLarge
}

/// Measures and reads a response head incrementally.
public struct ResponseScanner: Sendable {
    public enum Framing: Equatable, Sendable {
        /// So many bytes; 0 also for what has no content by its status.
        case length(Int)
        case chunked
        /// The content ends with the connection.
        case untilClose
    }

    /// Bytes of a head, interim responses included.
    public static let headLimit = 64 << 10

    private var line = 0
    private var searched = 0
    private var length: Int?
    private var isChunked = false
    private var isHTTP10 = false
    private var saysClose = false
    private var saysKeepAlive = false

    /// 100 to 999; 0 while the first line has not arrived.
    public private(set) var status = 0
    /// The value of Stream-Next-Offset, as a place in the head; empty if there is none.
    public private(set) var nextOffset = 0..<0
    /// The value of Stream-Cursor likewise.
    public private(set) var cursor = 0..<0
    /// Stream-Up-To-Date and Stream-Closed are there and `true`.
    public private(set) var isUpToDate = false
    public private(set) var isClosed = false

    public init() {}

    /// Makes the scanner ready for the next response.
    public mutating func reset() { self = ResponseScanner() }

    /// How the content behind the head is delimited. For a response to HEAD there is none, whatever this says.
    public var framing: Framing {
        if status == 204 || status == 304 { return .length(0) }
        if isChunked { return .chunked }
        return length.map { .length($0) } ?? .untilClose
    }

    /// Whether another response can follow on the connection (RFC 9112 9.3).
    public var keepsAlive: Bool { framing != .untilClose && !saysClose && (!isHTTP10 || saysKeepAlive) }

    /// Looks at what has arrived since the last call.
    ///
    /// - Parameter bytes: everything from the first byte of the response on; what was there in an earlier call is there still.
    /// - Returns: the length in bytes of the head with its final empty line, or nil when more has to arrive.
    public mutating func scan(_ bytes: UnsafeRawBufferPointer) throws(ResponseFault) -> Int? {
        let end = min(bytes.count, Self.headLimit)
        while true {
            let lineFeed = bytes.firstMarked(from: searched, to: end) { OctetWord.marks($0, equalTo: Octet.lineFeed) }
            guard lineFeed < end else {
                searched = end
                if bytes.count >= Self.headLimit { throw .headTooLarge }
                return nil
            }
            guard lineFeed > line, bytes[lineFeed - 1] == Octet.carriageReturn else { throw status == 0 ? .statusLine : .fieldLine }
            let range = line..<lineFeed - 1
            line = lineFeed + 1
            searched = line
            if status == 0 {
                try readStatus(bytes, range)
            } else if !range.isEmpty {
                try readField(bytes, range)
            } else if status >= 200 {
                if isChunked, length != nil { throw .framing }
                return line
            } else {
                let (line, searched) = (line, searched)
                reset()
                (self.line, self.searched) = (line, searched)
            }
        }
    }

    /// `HTTP/1.1 200 OK`; the reason may be missing, with its space (RFC 9112 4).
    private mutating func readStatus(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(ResponseFault) {
        let start = range.lowerBound
        guard range.count >= 12, bytes.equalsWithoutCase("http/1.", at: start), Octet.isDigit(bytes[start + 7]),
            bytes[start + 8] == Octet.space, range.count == 12 || bytes[start + 12] == Octet.space
        else { throw .statusLine }
        isHTTP10 = bytes[start + 7] == UInt8(ascii: "0")
        var value = 0
        for index in start + 9..<start + 12 {
            guard Octet.isDigit(bytes[index]) else { throw .statusLine }
            value = value * 10 + Int(bytes[index] &- 0x30)
        }
        guard value >= 100 else { throw .statusLine }
        status = value
    }

    private mutating func readField(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(ResponseFault) {
        let colon = bytes.firstMarked(from: range.lowerBound, to: range.upperBound) { OctetWord.marks($0, equalTo: Octet.colon) }
        guard colon < range.upperBound, colon > range.lowerBound else { throw .fieldLine }
        let name = range.lowerBound..<colon
        var value = colon + 1..<range.upperBound
        func trim() {
            while let first = value.first, Octet.isBlank(bytes[first]) { value = first + 1..<value.upperBound }
            while let last = value.last, Octet.isBlank(bytes[last]) { value = value.lowerBound..<last }
        }
        switch name.count {
        case 10 where bytes.equalsWithoutCase("connection", in: name):
            for element in ListElements(bytes, in: value) {
                if bytes.equalsWithoutCase("close", in: element) { saysClose = true }
                if bytes.equalsWithoutCase("keep-alive", in: element) { saysKeepAlive = true }
            }
        case 13 where bytes.equalsWithoutCase("stream-cursor", in: name):
            trim()
            cursor = value
        case 13 where bytes.equalsWithoutCase("stream-closed", in: name):
            trim()
            isClosed = bytes.equalsWithoutCase("true", in: value)
        case 14 where bytes.equalsWithoutCase("content-length", in: name):
            trim()
            try readLength(bytes, value)
        case 17 where bytes.equalsWithoutCase("transfer-encoding", in: name):
            trim()
            guard !isChunked, bytes.equalsWithoutCase("chunked", in: value) else { throw .framing }
            isChunked = true
        case 17 where bytes.equalsWithoutCase("stream-up-to-date", in: name):
            trim()
            isUpToDate = bytes.equalsWithoutCase("true", in: value)
        case 18 where bytes.equalsWithoutCase("stream-next-offset", in: name):
            trim()
            nextOffset = value
        default: break
        }
    }

    private mutating func readLength(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(ResponseFault) {
        guard (1...18).contains(range.count) else { throw .framing }
        var value = 0
        for index in range {
            guard Octet.isDigit(bytes[index]) else { throw .framing }
            value = value * 10 + Int(bytes[index] &- 0x30)
        }
        guard length == nil || length == value else { throw .framing }
        length = value
    }
}
