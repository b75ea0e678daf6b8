// Requests to the control API: what is asked of the server and not of one stream (SUBSCRIPTIONS.md 12.1, CONTROL.md 18).
//
//     /healthz, /readyz        beside the streams
//     R/__ds/…                 below each root: the first segment `__ds` ends the root (no route yet: 404)
//
// An answer may be there at once or come later, from a worker or an actor. Errors are JSON in one form (12.15).

import HTTPWire
import StreamRules

public enum ControlRoute: Sendable, Equatable, CaseIterable {
    /// Whether the process lives and its loop turns.
    case health
    /// Whether it would serve an append now.
    case readiness

    var path: StaticString {
        switch self {
        case .health: "/healthz"
        case .readiness: "/readyz"
        }
    }

    /// For `Allow`.
    var allowed: String { "GET, HEAD, OPTIONS" }

    func allows(_ method: Method) -> Bool { method == .get || method == .head }
}

public struct ControlRequest: Sendable {
    public let route: ControlRoute
    public let context: ResponseContext
}

public struct ControlAnswer: Sendable {
    public let status: Int
    public let contentType: String
    public let body: [UInt8]
    /// Whether the client may try again soon.
    public let mayRetry: Bool

    /// - Parameter json: a whole JSON text.
    public init(_ status: Int, json: String) {
        self.status = status
        contentType = "application/json"
        body = Array((json + "\n").utf8)
        mayRetry = false
    }

    /// An error in the form of 12.15.
    public init(_ problem: Problem) {
        status = problem.status
        contentType = "application/json"
        body = Self.error(code: problem.code ?? "UNAVAILABLE", problem.text)
        mayRetry = problem.mayRetry
    }

    static func error(code: String, _ message: String) -> [UInt8] {
        Array("{\"error\":{\"code\":\(JSONString.quoted(code)),\"message\":\(JSONString.quoted(message))}}\n".utf8)
    }
}

/// Strings in JSON (RFC 8259 7).
public enum JSONString {
    /// The text between quotation marks, with what has to be escaped.
    public static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\0"..."\u{1F}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
