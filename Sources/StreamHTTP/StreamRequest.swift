// A request after routing: everything its head says, in types that cannot be wrong (PROTOCOL.md 1 to 4, 9).
//
// Routing reads a `RequestHead` and its bytes, whichever transport they came by, and keeps nothing of them.

import HTTPWire
import StreamRules

/// A refusal that is made from the request alone.
public struct Problem: Error, Sendable, Equatable {
    public let status: Int
    public let text: String
    /// The code of a control API's error, which is told as JSON (SUBSCRIPTIONS.md 12.15); nil: plain text.
    public let code: String?
    /// Of a 405: the methods that there are.
    public let allowed: String?

    public init(_ status: Int, _ text: String, code: String? = nil, allowed: String? = nil) {
        self.status = status
        self.text = text
        self.code = code
        self.allowed = allowed
    }
}

/// How a request came.
public struct RequestPeer: Sendable {
    /// The connection is TLS.
    public let secure: Bool
    /// Its peer is a proxy whose `X-Forwarded-*` count (ACCESS.md 15).
    public let isTrustedProxy: Bool

    public init(secure: Bool, isTrustedProxy: Bool = false) {
        self.secure = secure
        self.isTrustedProxy = isTrustedProxy
    }
}

/// A class, so that it is handed on without copies of what it holds.
public final class StreamRequest: Sendable {
    public let name: [UInt8]
    /// An append is completed by `complete` when its body is here.
    public let verb: StreamVerb
    /// Of PUT, POST and DELETE.
    public let condition: StreamCondition
    public let context: ResponseContext

    init(name: [UInt8], verb: StreamVerb, condition: StreamCondition, context: ResponseContext) {
        self.name = name
        self.verb = verb
        self.condition = condition
        self.context = context
    }

    /// The append, once it is known how long its body is.
    public static func complete(_ request: AppendRequest, contentCount: Int) throws(Problem) -> AppendRequest {
        var request = request
        request.hasContent = contentCount > 0
        if contentCount == 0 {
            if !request.closes {
                throw Problem(
                    400, "The body is empty. A POST needs content to append, or the header Stream-Closed: true to close the stream.")
            }
            request.contentType = nil
        } else if let type = request.contentType, type.bytes.count > StreamBounds.contentType {
            throw StreamBounds.problem("Content-Type", StreamBounds.contentType)
        } else if request.contentType == nil {
            throw Problem(400, "The header Content-Type is missing. A POST with content needs the content type of the stream.")
        }
        return request
    }
}

/// What of a request its response depends on.
public struct ResponseContext: Sendable {
    /// What few requests say, in one place, because a context is handed on a few times for each answer.
    private struct Rare: Sendable {
        var origin: [UInt8]?
        var ifMatch: [UInt8]?
        var ifNoneMatch: [UInt8]?
        var location: [UInt8]?
    }

    private final class RareBox: Sendable {
        let value: Rare
        init(_ value: Rare) { self.value = value }
    }

    private var rare: RareBox?

    private mutating func change(_ body: (inout Rare) -> Void) {
        var value = rare?.value ?? Rare()
        body(&value)
        rare = RareBox(value)
    }

    public var headOnly = false
    /// The request's Origin, if answers depend on it.
    public var origin: [UInt8]? {
        get { rare?.value.origin }
        set { change { $0.origin = newValue } }
    }
    /// Of a GET.
    public var ifMatch: [UInt8]? {
        get { rare?.value.ifMatch }
        set { change { $0.ifMatch = newValue } }
    }
    public var ifNoneMatch: [UInt8]? {
        get { rare?.value.ifNoneMatch }
        set { change { $0.ifNoneMatch = newValue } }
    }
    /// The stream's URL, for a create.
    public var location: [UInt8]? {
        get { rare?.value.location }
        set { change { $0.location = newValue } }
    }
    public var cursor: UInt64?
    public var isLive = false
    /// `offset=now`: answers are not cached.
    public var fromNow = false
    /// A reader of events begins where its `Last-Event-ID` says.
    public var isResumption = false
    /// The connection has TLS, and that matters: browsers are told to stay with it.
    public var tellsStrictTransport = false

    public init() {}

    /// Nothing of what few requests say is said.
    public var isPlain: Bool { rare == nil }
}

/// Bounds on header values that a stream keeps (ACCESS.md 16), bytes.
enum StreamBounds {
    static let producerID = 256
    static let sequence = 1024
    static let contentType = 1024
    static let expiresAt = 64

    static func problem(_ name: StaticString, _ bound: Int) -> Problem {
        Problem(400, "The header \(name) is longer than \(bound) bytes, which is the limit.")
    }
}

public enum Routed: Sendable {
    case stream(StreamRequest)
    case control(ControlRequest)
    case preflight(ResponseContext)
    case problem(Problem, ResponseContext)
}
