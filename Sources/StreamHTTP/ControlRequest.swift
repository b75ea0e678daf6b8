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

public enum ControlAnswer: Sendable {
    /// 200 with a whole JSON text.
    case json(String)
    /// An error, which has a code (12.15).
    case problem(Problem)
}
