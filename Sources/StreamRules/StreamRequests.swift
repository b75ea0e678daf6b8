// What is asked of streams and how they refuse, in the words of the protocol and without HTTP (PROTOCOL.md 2 to 4).

public struct CreateRequest: Sendable {
    public let contentType: ContentType?
    public let expiry: Expiry
    public let closed: Bool

    public init(contentType: ContentType?, expiry: Expiry, closed: Bool) {
        self.contentType = contentType
        self.expiry = expiry
        self.closed = closed
    }
}

public struct ReadRequest: Sendable {
    public enum Start: Sendable, Equatable {
        case beginning
        case now
        case position(UInt64)
    }
    public enum Mode: Sendable, Equatable {
        case catchUp
        case longPoll
        /// Server-sent events: at the tail the reader stays registered until it leaves.
        case events
    }

    public let start: Start
    public let mode: Mode

    public init(start: Start, mode: Mode) {
        self.start = start
        self.mode = mode
    }
}

public enum Refusal: Sendable, Equatable {
    case notFound
    /// The stream exists with another configuration; what differs, and what the stream has.
    case configurationDiffers(String)
    case append(AppendRefusal, tail: UInt64, contentType: String)
    case invalidJSON(String)
    case emptyJSONArray
    case offsetBeyondTail(tail: UInt64)
    case offsetNotAtMessage
    /// The disk is full.
    case noSpace
    /// The server cannot take writes now, or cannot read; why.
    case unavailable(String)
}

/// What a stream is, for the heads of responses.
public struct StreamFacts: Sendable {
    public let id: UInt64
    public let contentType: ContentType
    public let tail: UInt64
    public let closed: Bool
    public let expiry: Expiry

    public init(id: UInt64, contentType: ContentType, tail: UInt64, closed: Bool, expiry: Expiry) {
        self.id = id
        self.contentType = contentType
        self.tail = tail
        self.closed = closed
        self.expiry = expiry
    }
}
