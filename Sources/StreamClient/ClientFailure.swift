// ClientFailure: every way in which a client command ends without having done its work, and the exit code of each.
//
// One table from failure to exit code (`exitCode`), which the --help texts repeat:
//
//     0    done; also when the reader of our standard output went away
//     1    the server refused, or answered something that is no Durable Streams answer
//     2    usage, or input that cannot be sent
//     3    there is no such stream (404, 410)
//     4    the server could not be reached: refused connection, DNS, TLS, time-out
//     130  Ctrl-C

public enum ClientFailure: Error, Equatable, Sendable {
    /// No complete answer came. The text is the reason as libcurl words it.
    case unreachable(String)
    /// A complete answer with a status outside 2xx; `text` is the server's own explanation, possibly empty.
    case refused(status: Int, text: String)
    /// A 2xx answer that breaks the protocol.
    case badAnswer(String)
    /// Arguments, environment or standard input that cannot be used.
    case badInput(String)
    /// The reader of standard output went away (EPIPE).
    case outputClosed
    /// Standard output or input failed otherwise.
    case inputOutput(String)
    /// The user asked to stop.
    case interrupted

    public var exitCode: Int32 {
        switch self {
        case .outputClosed: 0
        case .badAnswer, .inputOutput: 1
        case .refused(let status, _): status == 404 || status == 410 ? 3 : 1
        case .badInput: 2
        case .unreachable: 4
        case .interrupted: 130
        }
    }

    /// One line for standard error, or nil where a Unix user expects silence.
    public var message: String? {
        switch self {
        case .outputClosed, .interrupted: nil
        case .badAnswer(let text), .badInput(let text), .inputOutput(let text): text
        case .unreachable(let text): "cannot reach the server: \(text)"
        case .refused(let status, let text):
            "the server answered \(HTTPStatus.line(status))" + (text.isEmpty ? "" : ": \(text)")
        }
    }
}

/// The words for a status (RFC 9110 section 15): HTTP/2 sends none, so the client has its own.
enum HTTPStatus {
    static func line(_ status: Int) -> String {
        let reason: String? =
            switch status {
            case 400: "Bad Request"
            case 401: "Unauthorized"
            case 403: "Forbidden"
            case 404: "Not Found"
            case 405: "Method Not Allowed"
            case 408: "Request Timeout"
            case 409: "Conflict"
            case 410: "Gone"
            case 411: "Length Required"
            case 413: "Content Too Large"
            case 414: "URI Too Long"
            case 415: "Unsupported Media Type"
            case 429: "Too Many Requests"
            case 431: "Request Header Fields Too Large"
            case 500: "Internal Server Error"
            case 501: "Not Implemented"
            case 502: "Bad Gateway"
            case 503: "Service Unavailable"
            case 504: "Gateway Timeout"
            case 507: "Insufficient Storage"
            default: nil
            }
        return reason.map { "\(status) \($0)" } ?? "\(status)"
    }

    /// Whether sending the same request again later may succeed.
    static func isTransient(_ status: Int) -> Bool {
        switch status {
        case 408, 425, 429: true
        case 501, 505: false
        default: (500...599).contains(status)
        }
    }
}
