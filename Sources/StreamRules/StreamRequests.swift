// What is asked of streams and how they refuse, in the words of the protocol and without HTTP (PROTOCOL.md 2 to 4).

/// `If-Match` of a request that changes something (PROTOCOL.md 11). Streams have no entity tag of their own, so nothing but `*` ever holds.
public enum StreamCondition: Sendable, Equatable {
    case none
    /// `*`: the stream exists.
    case exists
    /// Some tag.
    case never
}

/// What is asked of one stream.
public enum StreamVerb: Sendable {
    case create(CreateRequest)
    /// Whether there is content is known when the body has been received.
    case append(AppendRequest)
    case read(ReadRequest)
    case metadata
    case delete

    /// It may change the stream, so its order among others matters.
    public var changesStream: Bool {
        switch self {
        case .create, .append, .delete: true
        case .read, .metadata: false
        }
    }

    /// Its request may bring content for the stream.
    public var takesContent: Bool {
        switch self {
        case .create, .append: true
        case .read, .metadata, .delete: false
        }
    }
}

public struct CreateRequest: Sendable {
    /// Absent: `application/octet-stream`, or for a fork the source's.
    public let contentType: ContentType?
    /// `.never` says that nothing was asked for; a fork then takes the source's.
    public let expiry: Expiry
    public let closed: Bool
    public let fork: ForkRequest?

    public init(contentType: ContentType?, expiry: Expiry, closed: Bool, fork: ForkRequest? = nil) {
        self.contentType = contentType
        self.expiry = expiry
        self.closed = closed
        self.fork = fork
    }
}

/// The fork headers of a PUT (PROTOCOL.md 7).
public struct ForkRequest: Sendable, Equatable {
    /// The source's name.
    public let source: [UInt8]
    /// nil: the source's tail.
    public let offset: UInt64?
    /// Messages of a JSON stream, bytes of any other, past the offset.
    public let subOffset: UInt64

    public init(source: [UInt8], offset: UInt64?, subOffset: UInt64) {
        self.source = source
        self.offset = offset
        self.subOffset = subOffset
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
    /// The reader goes on where the server itself has stopped within a message of a JSON stream.
    public let isInsideMessage: Bool

    public init(start: Start, mode: Mode, isInsideMessage: Bool = false) {
        self.start = start
        self.mode = mode
        self.isInsideMessage = isInsideMessage
    }
}

public enum Refusal: Sendable, Equatable {
    case notFound
    /// Deleted or expired, and kept because of its forks: 410.
    case retained
    /// The name belongs to such a stream: 409 for a PUT.
    case nameRetained
    /// The source of a fork does not exist, or is itself only kept for its forks.
    case sourceNotFound
    /// `If-Match` does not hold.
    case conditionFailed
    /// The chain of forks would be longer than this.
    case forkTooDeep(Int)
    case sourceRetained
    /// The fork asks for another content type than the source's, which is given.
    case sourceTypeDiffers(String)
    case forkOffsetBeyondTail(tail: UInt64)
    case forkOffsetNotAtMessage
    /// Fewer messages or bytes follow the fork offset.
    case forkSubOffsetBeyondTail(tail: UInt64)
    /// The stream exists with another configuration; what differs, and what the stream has.
    case configurationDiffers(String)
    case append(AppendRefusal, tail: UInt64, contentType: String)
    case invalidJSON(String)
    case emptyJSONArray
    case offsetBeyondTail(tail: UInt64)
    case offsetNotAtMessage
    /// The bytes on the disk are not what was written.
    case damaged(String)
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
