// What a client sends first that knows of HTTP/2 already (RFC 9113 3.4), in clear or behind ALPN:
//
//     PRI * HTTP/2.0 CRLF CRLF SM CRLF CRLF
//
// No HTTP/1.1 request begins so: its parser would refuse the version.

public enum ConnectionPreface {
    /// The 24 bytes.
    public static let text: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    public enum Verdict: Sendable, Equatable {
        case http2
        /// What is here could become the preface; nothing that is needed to tell HTTP/1.1 is missing for long.
        case undecided
        case other
    }

    /// Judges the first bytes of a connection in clear.
    public static func judge(_ bytes: UnsafeRawBufferPointer) -> Verdict {
        let count = min(bytes.count, text.utf8CodeUnitCount)
        for index in 0..<count where bytes[index] != text.utf8Start[index] { return .other }
        return count == text.utf8CodeUnitCount ? .http2 : .undecided
    }
}
