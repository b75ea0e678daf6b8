// A request after routing: everything its head says, in types that cannot be wrong (PROTOCOL.md 1 to 4, 9).
//
// Routing reads a `RequestHead` and its bytes, whichever transport they came by, and keeps nothing of them.

import HTTPWire
import StreamRules

/// A refusal that is made from the request alone.
public struct Problem: Error, Sendable, Equatable {
    public let status: Int
    public let text: String

    public init(_ status: Int, _ text: String) {
        self.status = status
        self.text = text
    }
}

/// A class, so that it is handed on without copies of what it holds.
public final class StreamRequest: Sendable {
    public enum Verb: Sendable {
        case create(CreateRequest)
        /// Whether there is content is known when the body has been received: `complete` completes it.
        case append(AppendRequest)
        case read(ReadRequest)
        case metadata
        case delete
    }

    public let name: [UInt8]
    public let verb: Verb
    public let context: ResponseContext

    init(name: [UInt8], verb: Verb, context: ResponseContext) {
        self.name = name
        self.verb = verb
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
        } else if request.contentType == nil {
            throw Problem(400, "The header Content-Type is missing. A POST with content needs the content type of the stream.")
        }
        return request
    }
}

/// What of a request its response depends on.
public struct ResponseContext: Sendable {
    /// What few requests say, in one place, because a context is handed on a few times for each answer.
    private final class Rare: Sendable {
        let origin: [UInt8]?
        let ifNoneMatch: [UInt8]?
        let location: [UInt8]?

        init(origin: [UInt8]?, ifNoneMatch: [UInt8]?, location: [UInt8]?) {
            self.origin = origin
            self.ifNoneMatch = ifNoneMatch
            self.location = location
        }
    }

    private var rare: Rare?
    public var headOnly = false
    /// The request's Origin, if answers depend on it.
    public var origin: [UInt8]? {
        get { rare?.origin }
        set { rare = Rare(origin: newValue, ifNoneMatch: rare?.ifNoneMatch, location: rare?.location) }
    }
    public var ifNoneMatch: [UInt8]? {
        get { rare?.ifNoneMatch }
        set { rare = Rare(origin: rare?.origin, ifNoneMatch: newValue, location: rare?.location) }
    }
    /// The stream's URL, for a create.
    public var location: [UInt8]? {
        get { rare?.location }
        set { rare = Rare(origin: rare?.origin, ifNoneMatch: rare?.ifNoneMatch, location: newValue) }
    }
    public var cursor: UInt64?
    public var isLive = false
    /// `offset=now`: answers are not cached.
    public var fromNow = false
    /// The connection has TLS, and that matters: browsers are told to stay with it.
    public var tellsStrictTransport = false

    public init() {}

    /// Nothing of what few requests say is said.
    public var isPlain: Bool { rare == nil }
}

public enum Routed: Sendable {
    case stream(StreamRequest)
    case preflight(ResponseContext)
    case problem(Problem, ResponseContext)
}
