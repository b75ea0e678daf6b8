// Every way in which a peer's bytes can fail to be a request, in one table: the status to answer with, and one sentence that names
// what was wrong and what is expected. After any of these the connection is closed: where the next request would start is
// not known (RFC 9112 2.2 and 6.3; PROTOCOL.md section 11).
//
// The order of the table is the order of the message: lines, request line, field lines, what the fields mean, chunked content.

/// The peer's bytes are not an acceptable request: what to answer before closing the connection.
public struct HTTPRefusal: Error, Sendable, Equatable {
    /// The status code of the answer: 400, 414, 417, 431 or 505.
    public let status: Int
    /// One line of ASCII for the body of the answer: what was wrong, and what is expected instead.
    public let reason: String

    public init(status: Int, reason: String) {
        self.status = status
        self.reason = reason
    }

    @inline(never)
    private static func bad(_ reason: String) -> HTTPRefusal { HTTPRefusal(status: 400, reason: reason) }
}

// MARK: Lines (RFC 9112 2.2)

extension HTTPRefusal {
    public static var bareLineFeed: HTTPRefusal { bad("line feed without a carriage return before it: lines end in CRLF") }
    public static var bareCarriageReturn: HTTPRefusal { bad("carriage return without a line feed after it: lines end in CRLF") }
    public static var controlOctet: HTTPRefusal {
        bad("control octet in the request head: only horizontal tab is allowed, in field values")
    }
    public static var tooManyEmptyLines: HTTPRefusal {
        bad("too many empty lines before the request line: a request starts with its method")
    }
    public static var spokenTLS: HTTPRefusal { bad("TLS was spoken to a port that expects plain HTTP: use http:// or the TLS port") }

    public static func headTooLarge(limit: Int) -> HTTPRefusal {
        HTTPRefusal(status: 431, reason: "request head too large: request line and header fields may take \(limit) bytes")
    }
}

// MARK: Request line (RFC 9112 3)

extension HTTPRefusal {
    public static var requestLine: HTTPRefusal {
        bad("malformed request line: expected method, one space, target, one space, HTTP/1.1")
    }
    public static var method: HTTPRefusal { bad("malformed method: expected a token such as GET") }
    public static var targetOctet: HTTPRefusal { bad("malformed request target: expected visible ASCII; percent-encode everything else") }
    public static var targetFragment: HTTPRefusal { bad("malformed request target: '#' is not part of a target; percent-encode it as %23") }
    public static var targetForm: HTTPRefusal {
        bad("malformed request target: expected /path, or http://authority/path, or * with OPTIONS")
    }
    public static var targetAuthority: HTTPRefusal {
        bad("malformed authority in the request target: expected host or host:port, without user information")
    }
    public static var version: HTTPRefusal { bad("malformed HTTP version: expected HTTP/1.1 or HTTP/1.0") }
    public static var versionUnsupported: HTTPRefusal {
        HTTPRefusal(status: 505, reason: "HTTP version not supported: expected HTTP/1.1 or HTTP/1.0")
    }

    public static func targetTooLong(limit: Int) -> HTTPRefusal {
        HTTPRefusal(status: 414, reason: "request target too long: at most \(limit) bytes")
    }
}

// MARK: Field lines (RFC 9112 5, RFC 9110 5)

extension HTTPRefusal {
    public static var foldedLine: HTTPRefusal { bad("line starting with white space: folded header fields are not accepted") }
    public static var fieldWithoutColon: HTTPRefusal { bad("header line without a colon: expected name: value") }
    public static var fieldNameEmpty: HTTPRefusal { bad("header field without a name: expected name: value") }
    public static var fieldNameSpace: HTTPRefusal { bad("white space in a header field name: the colon must directly follow the name") }
    public static var fieldNameOctet: HTTPRefusal { bad("malformed header field name: expected a token directly followed by a colon") }
    public static var fieldValueOctet: HTTPRefusal { bad("control octet in a header field value: expected visible text, spaces and tabs") }

    public static func tooManyFields(limit: Int) -> HTTPRefusal {
        HTTPRefusal(status: 431, reason: "too many header fields: at most \(limit)")
    }
}

// MARK: What the fields mean (RFC 9112 3.2, 6.1, 6.3; RFC 9110 8.6, 10.1.1)

extension HTTPRefusal {
    public static var hostMissing: HTTPRefusal { bad("Host missing: HTTP/1.1 requires exactly one") }
    public static var hostRepeated: HTTPRefusal { bad("Host given more than once: exactly one is expected") }
    public static var hostMalformed: HTTPRefusal { bad("malformed Host: expected host or host:port") }
    public static var contentLengthMalformed: HTTPRefusal { bad("malformed Content-Length: expected decimal digits only") }
    public static var contentLengthOverflow: HTTPRefusal { bad("Content-Length out of range: expected at most 9223372036854775807") }
    public static var contentLengthConflict: HTTPRefusal { bad("different Content-Length values: exactly one length is expected") }
    public static var lengthAndCoding: HTTPRefusal {
        bad("Content-Length together with Transfer-Encoding: exactly one of them is expected")
    }
    public static var transferCoding: HTTPRefusal { bad("unsupported Transfer-Encoding: expected exactly chunked, once") }
    public static var transferCodingVersion: HTTPRefusal { bad("Transfer-Encoding in an HTTP/1.0 request: expected Content-Length") }
    public static var expectation: HTTPRefusal {
        HTTPRefusal(status: 417, reason: "unsupported Expect: expected 100-continue")
    }
}

// MARK: Chunked content (RFC 9112 7.1)

extension HTTPRefusal {
    public static var chunkSize: HTTPRefusal { bad("malformed chunk size: expected 1 to 15 hexadecimal digits, then CRLF or ;") }
    public static var chunkExtension: HTTPRefusal { bad("malformed chunk extension: expected visible text up to CRLF") }
    public static var chunkLineEnd: HTTPRefusal { bad("malformed chunk line: expected CRLF after the chunk size") }
    public static var chunkDataEnd: HTTPRefusal { bad("malformed chunk: expected CRLF directly after the chunk's data") }
    public static var chunkOverhead: HTTPRefusal { bad("chunk extensions out of proportion: expected more content than framing") }
    public static var trailerLineEnd: HTTPRefusal { bad("malformed trailer section: lines end in CRLF") }

    public static func chunkLineTooLong(limit: Int) -> HTTPRefusal {
        bad("chunk size line too long: size and extensions may take \(limit) bytes")
    }
    public static func trailerTooLarge(limit: Int) -> HTTPRefusal {
        HTTPRefusal(status: 431, reason: "trailer section too large: at most \(limit) bytes")
    }
}
