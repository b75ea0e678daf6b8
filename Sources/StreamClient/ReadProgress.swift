// ReadProgress: how far a reader has come, and what it asks for next (PROTOCOL.md section 4). Pure.
//
//     catchingUp ──up to date──▶ live ──closed──▶ ended          --no-follow: catchingUp ──up to date──▶ ended
//
// Catch-up requests carry no `live`, so caches can answer them. Over SSE the history comes on the live connection too. `offset=now` is always
// turned into the tail's token by a catch-up request first: a broken connection then resumes from there and misses nothing.
//
// A connection may break in the middle of an answer whose beginning is already printed. The next answer from the same offset begins with
// the same units (bytes, or JSON messages), though it need not end where the last one would have:
//
//     offset ├── delivered ──────────┤
//            ├── seen in this answer ──┤   → print what goes past `delivered`
//
// so `delivered` counts units printed since `offset`, `seen` those met again, and nothing is printed twice.

struct ReadProgress {
    enum Transport: Sendable { case longPoll, serverSentEvents }

    enum Phase: Equatable {
        case catchingUp, live
        case ended(closed: Bool)
    }

    let isFollowing: Bool
    let transport: Transport
    private(set) var phase: Phase
    private(set) var offset: String
    private(set) var cursor: String?
    private var delivered = 0
    private var seen = 0

    init(offset: String, isFollowing: Bool, transport: Transport) {
        self.offset = offset
        self.isFollowing = isFollowing
        self.transport = transport
        phase = transport == .serverSentEvents && offset != "now" ? .live : .catchingUp
    }

    /// Query parameters of the next request.
    var parameters: [(name: String, value: String)] {
        var parameters = [(name: "offset", value: offset)]
        guard phase == .live else { return parameters }
        parameters.append(("live", transport == .longPoll ? "long-poll" : "sse"))
        if let cursor { parameters.append(("cursor", cursor)) }
        return parameters
    }

    /// A request begins; nothing of its answer has been seen.
    mutating func begin() { seen = 0 }

    /// `count` units arrived.
    /// - Returns: how many of them, the first ones, have been printed before.
    mutating func receive(_ count: Int) -> Int {
        let known = min(max(delivered - seen, 0), count)
        seen += count
        delivered = max(delivered, seen)
        return known
    }

    /// An answer, or a batch of events, is complete.
    /// - Returns: whether it moved the reader on, or told it something new.
    @discardableResult
    mutating func advance(to next: String, cursor: String?, isUpToDate: Bool, isClosed: Bool) -> Bool {
        let before = (offset, phase)
        // A server that neither moves the offset nor says "up to date" would be asked the same for ever.
        let isAtTail = isUpToDate || (next == offset && seen == 0)
        delivered -= min(seen, delivered)
        seen = 0
        offset = next
        self.cursor = cursor ?? self.cursor
        if isClosed {
            phase = .ended(closed: true)
        } else if isAtTail {
            phase = isFollowing ? .live : .ended(closed: false)
        }
        return before != (offset, phase)
    }
}
