// What a stream is created with and keeps for its life (PROTOCOL.md 2, 6).

public enum Expiry: Sendable, Equatable {
    case never
    /// Sliding window in seconds, renewed by create, append and read.
    case timeToLive(seconds: UInt64)
    /// A fixed moment in Unix milliseconds, and the text it was given as.
    case at(milliseconds: Int64, text: [UInt8])

    /// The same configuration, whatever the spelling of the moment.
    public func matches(_ other: Expiry) -> Bool {
        switch (self, other) {
        case (.never, .never): true
        case (.timeToLive(let mine), .timeToLive(let theirs)): mine == theirs
        case (.at(let mine, _), .at(let theirs, _)): mine == theirs
        default: false
        }
    }

    /// When a stream last renewed at `renewed` (Unix milliseconds) ends; nil if never.
    public func deadline(renewed: Int64) -> Int64? {
        switch self {
        case .never: return nil
        case .timeToLive(let seconds):
            let (milliseconds, overflow) = Int64(clamping: seconds).multipliedReportingOverflow(by: 1000)
            if overflow { return nil }
            let (deadline, tooFar) = renewed.addingReportingOverflow(milliseconds)
            return tooFar ? nil : deadline
        case .at(let milliseconds, _): return milliseconds
        }
    }

    /// How long one recorded renewal of a TTL covers further reads, in milliseconds: a sixteenth of the TTL, at least 0.25 s, at
    /// most a minute. A read inside that time records nothing; after a crash the stream lives at most this much longer.
    public var renewalGrain: Int64 {
        guard case .timeToLive(let seconds) = self else { return 0 }
        return min(60_000, max(250, Int64(clamping: min(seconds, 3600)) * 1000 / 16))
    }
}

public struct StreamConfiguration: Sendable {
    public let contentType: ContentType
    public let expiry: Expiry
    /// The chunk size in force when the stream was created, bytes. It stays for the stream's life, so that the ends of chunks, and with
    /// them every cached object, stay the same when the server's setting changes.
    public let chunkSize: UInt32

    public init(contentType: ContentType, expiry: Expiry, chunkSize: UInt32) {
        self.contentType = contentType
        self.expiry = expiry
        self.chunkSize = chunkSize
    }
}
