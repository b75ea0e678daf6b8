// From what a stream answered to the head of a response: status, fields, caching (PROTOCOL.md 1 to 4, 9, 10). One place for each.

import HTTPWire
import StreamRules

public struct ResponderSettings: Sendable {
    /// nil: any origin (`*`).
    public var origins: [[UInt8]]?
    public var publicCache = true
    public var retryAfterSeconds: UInt64 = 1
    /// Seconds for which browsers shall use nothing but HTTPS (RFC 6797); 0: they are not told.
    public var strictTransportSeconds: UInt64 = 0
    /// In every entity tag; drawn anew at each start of the process, so that no tag of another data directory, or of what an older copy of this one
    /// went on to hold, is ever given again for other bytes.
    public var tagLife: UInt64 = 0

    public init() {}
}

/// A range of a stream, as an answer to a read describes it.
public struct RangeFacts: Sendable {
    public let facts: StreamFacts
    public let from: UInt64
    public let to: UInt64

    public init(facts: StreamFacts, from: UInt64, to: UInt64) {
        self.facts = facts
        self.from = from
        self.to = to
    }

    public var upToDate: Bool { to == facts.tail }
    public var closed: Bool { upToDate && facts.closed }

    /// Bytes of the body: JSON gains brackets and loses the last `,\n`.
    public var contentLength: Int {
        let count = Int(to - from)
        return facts.contentType.isJSON && count == 0 ? 2 : count
    }
}

/// Confined to one thread, as its server is; a class, because a struct would be copied for each answer.
public final class Responder {
    public let settings: ResponderSettings
    private let common: [UInt8]
    private var generator = SystemRandomNumberGenerator()
    /// The Date line, remade when the second changes, and the others that every answer has.
    private var opening: [UInt8] = []
    private var dateSecond = Int64.min
    /// Unix milliseconds; set once a turn.
    public var now: Int64 = 0 {
        didSet { if now / 1000 != dateSecond { refreshDate() } }
    }

    static let exposed =
        "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, Stream-SSE-Data-Encoding, Stream-Earliest-Offset, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq, ETag, Location, Retry-After"

    public init(settings: ResponderSettings) {
        self.settings = settings
        var lines = "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: cross-origin\r\n"
        // Streams hold what others have written: a browser that opens one runs nothing of it in the server's origin.
        lines += "Content-Security-Policy: sandbox; default-src 'none'\r\n"
        lines += settings.origins == nil ? "Access-Control-Allow-Origin: *\r\n" : "Vary: Origin\r\n"
        lines += "Access-Control-Expose-Headers: \(Self.exposed)\r\n"
        common = Array(lines.utf8)
        refreshDate()
    }

    private func refreshDate() {
        dateSecond = now / 1000
        opening = Array("Date: ".utf8) + [UInt8](repeating: 0, count: HTTPDate.count) + [0x0D, 0x0A] + common
        let second = dateSecond
        opening.withUnsafeMutableBytes {
            HTTPDate.write(unixSeconds: second, into: UnsafeMutableRawBufferPointer(rebasing: $0[6..<6 + HTTPDate.count]))
        }
    }

    private func begin(_ status: Int, _ context: ResponseContext, _ head: inout ResponseHead) {
        head.begin(status)
        head.add(opening)
        if let origins = settings.origins, let origin = context.origin, origins.contains(origin) {
            head.field("Access-Control-Allow-Origin: ", origin)
            head.add("Access-Control-Allow-Credentials: true\r\n")
        }
        if context.tellsStrictTransport { head.field("Strict-Transport-Security: max-age=", settings.strictTransportSeconds) }
    }

    // MARK: Redirects

    /// To the same over TLS. 308: the method and the content stay as they are (RFC 9110 15.4.9).
    public func redirect(to location: [UInt8], _ head: inout ResponseHead) {
        begin(308, ResponseContext(), &head)
        head.field("Location: ", location)
        head.add("Cache-Control: no-store\r\n")
    }

    // MARK: Answers without content

    public func preflight(_ context: ResponseContext, _ head: inout ResponseHead) {
        begin(204, context, &head)
        head.add("Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS\r\n")
        head.add("Access-Control-Allow-Methods: GET, POST, PUT, DELETE, HEAD, OPTIONS\r\n")
        head.add(
            "Access-Control-Allow-Headers: Content-Type, Authorization, If-Match, If-None-Match, Last-Event-ID, traceparent, tracestate, Stream-TTL, Stream-Expires-At, Stream-Seq, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq\r\n"
        )
        head.add("Access-Control-Max-Age: 86400\r\n")
    }

    public func created(_ facts: StreamFacts, new: Bool, _ context: ResponseContext, _ head: inout ResponseHead) {
        begin(new ? 201 : 200, context, &head)
        if let location = context.location { head.field("Location: ", location) }
        head.field("Content-Type: ", facts.contentType.bytes)
        head.field("Stream-Next-Offset: ", StreamOffset(position: facts.tail))
        if facts.closed { head.add("Stream-Closed: true\r\n") }
    }

    public func appended(
        tail: UInt64, closed: Bool, producer: ProducerState?, stored: Bool, hadContent: Bool, _ context: ResponseContext,
        _ head: inout ResponseHead
    ) {
        begin(producer != nil && stored && hadContent ? 200 : 204, context, &head)
        head.field("Stream-Next-Offset: ", StreamOffset(position: tail))
        if closed { head.add("Stream-Closed: true\r\n") }
        if let producer {
            head.field("Producer-Epoch: ", producer.epoch)
            head.field("Producer-Seq: ", producer.sequence)
        }
    }

    public func deleted(_ context: ResponseContext, _ head: inout ResponseHead) { begin(204, context, &head) }

    public func metadata(_ facts: StreamFacts, _ context: ResponseContext, _ head: inout ResponseHead) {
        begin(200, context, &head)
        head.field("Content-Type: ", facts.contentType.bytes)
        head.field("Stream-Next-Offset: ", StreamOffset(position: facts.tail))
        head.add("Cache-Control: no-store\r\n")
        switch facts.expiry {
        case .never: break
        case .timeToLive(let seconds): head.field("Stream-TTL: ", seconds)
        case .at(_, let text): head.field("Stream-Expires-At: ", text)
        }
        if facts.closed { head.add("Stream-Closed: true\r\n") }
        head.contentLength = nil
    }

    // MARK: Reads

    /// What becomes of a read once its range is known.
    public enum ReadAnswer: Equatable, Sendable {
        /// The body follows.
        case content
        /// The client has it already: there is no body.
        case notModified
        /// `If-Match` does not hold; nothing has been written to the head.
        case conditionFailed
    }

    public func read(_ range: RangeFacts, _ context: ResponseContext, _ head: inout ResponseHead) -> ReadAnswer {
        let etag = context.fromNow ? nil : EntityTag(range, life: settings.tagLife)
        if let wanted = context.ifMatch {
            let holds = wanted.withUnsafeBytes { list in
                (etag?.bytes ?? []).withUnsafeBytes { EntityTags.holds(ifMatch: list, etag: $0) }
            }
            if !holds { return .conditionFailed }
        }
        var matches = false
        if let etag, let wanted = context.ifNoneMatch {
            matches = wanted.withUnsafeBytes { list in etag.bytes.withUnsafeBytes { EntityTags.matches(ifNoneMatch: list, etag: $0) } }
        }
        begin(matches ? 304 : 200, context, &head)
        head.field("Content-Type: ", range.facts.contentType.bytes)
        head.field("Stream-Next-Offset: ", StreamOffset(position: range.to))
        if let etag { head.field("ETag: ", etag) }
        cacheControl(range, context, &head)
        if range.upToDate { head.add("Stream-Up-To-Date: true\r\n") }
        if range.closed { head.add("Stream-Closed: true\r\n") }
        if context.isLive, !range.closed { cursor(context, &head) }
        head.contentLength = matches ? nil : range.contentLength
        return matches ? .notModified : .content
    }

    /// Not `immutable`, though a full chunk never changes while its stream lives: a stream that is created anew under the same name has the
    /// same URLs, and no cache may then go on serving the old one for a year.
    private func cacheControl(_ range: RangeFacts, _ context: ResponseContext, _ head: inout ResponseHead) {
        if context.fromNow {
            head.add("Cache-Control: no-store\r\n")
        } else if range.from == range.to {
            head.add("Cache-Control: no-cache\r\n")
        } else {
            guard let left = secondsLeft(range.facts.expiry), left < Self.freshSeconds + Self.staleSeconds else {
                head.add(
                    settings.publicCache
                        ? "Cache-Control: public, max-age=60, stale-while-revalidate=300\r\n"
                        : "Cache-Control: private, max-age=60, stale-while-revalidate=300\r\n")
                return
            }
            let fresh = min(Self.freshSeconds, left)
            let visibility = settings.publicCache ? "public" : "private"
            head.add(
                Array(
                    "Cache-Control: \(visibility), max-age=\(fresh), stale-while-revalidate=\(min(Self.staleSeconds, left - fresh))\r\n"
                        .utf8))
        }
    }

    private static let freshSeconds: Int64 = 60
    private static let staleSeconds: Int64 = 300

    /// What is left of a stream's life now; a read has just renewed a TTL. nil: it has no end.
    private func secondsLeft(_ expiry: Expiry) -> Int64? {
        switch expiry {
        case .never: nil
        case .timeToLive(let seconds): Int64(clamping: seconds)
        case .at(let moment, _): moment <= now ? 0 : moment.subtractingReportingOverflow(now).partialValue / 1000
        }
    }

    private func cursor(_ context: ResponseContext, _ head: inout ResponseHead) {
        head.field("Stream-Cursor: ", nextCursor(context))
    }

    public func nextCursor(_ context: ResponseContext) -> UInt64 {
        StreamCursor.answer(client: context.cursor, now: now, random: &generator)
    }

    /// A long-poll that ends without data: the time is over, or the stream is closed.
    public func nothing(_ facts: StreamFacts, _ context: ResponseContext, _ head: inout ResponseHead) {
        begin(204, context, &head)
        head.field("Stream-Next-Offset: ", StreamOffset(position: facts.tail))
        head.add("Stream-Up-To-Date: true\r\nCache-Control: no-store\r\n")
        if facts.closed {
            head.add("Stream-Closed: true\r\n")
        } else {
            cursor(context, &head)
        }
    }

    public func events(_ facts: StreamFacts, _ context: ResponseContext, _ head: inout ResponseHead) {
        begin(200, context, &head)
        head.add("Content-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n")
        if !facts.contentType.isText && !facts.contentType.isJSON { head.add("Stream-SSE-Data-Encoding: base64\r\n") }
        head.contentLength = nil
    }

    // MARK: Control

    /// Returns the body.
    public func control(_ answer: ControlAnswer, _ context: ResponseContext, _ head: inout ResponseHead) -> [UInt8] {
        switch answer {
        case .problem(let problem): return refuse(problem, context, &head)
        case .json(let text):
            let body = Array((text + "\n").utf8)
            begin(200, context, &head)
            head.add("Content-Type: application/json\r\nCache-Control: no-store\r\n")
            head.contentLength = body.count
            return body
        }
    }

    // MARK: Refusals

    /// Returns the body.
    public func refuse(_ problem: Problem, _ context: ResponseContext, _ head: inout ResponseHead) -> [UInt8] {
        begin(problem.status, context, &head)
        let body: [UInt8]
        if let code = problem.code {
            body = Array("{\"error\":{\"code\":\(JSONString.quoted(code)),\"message\":\(JSONString.quoted(problem.text))}}\n".utf8)
            head.add("Content-Type: application/json\r\n")
        } else {
            body = Array((problem.text + "\n").utf8)
            head.add("Content-Type: text/plain; charset=utf-8\r\n")
        }
        head.add("Cache-Control: no-store\r\n")
        if let allowed = problem.allowed { head.field("Allow: ", Array(allowed.utf8)) }
        if problem.status == 415 { head.add("Accept-Encoding: identity\r\n") }
        if problem.status == 503 || problem.status == 507 || problem.status == 429 {
            head.field("Retry-After: ", settings.retryAfterSeconds)
        }
        head.contentLength = body.count
        return body
    }

    public func refuse(_ refusal: Refusal, _ context: ResponseContext, _ head: inout ResponseHead) -> [UInt8] {
        let body = refuse(RefusalTable.problem(refusal), context, &head)
        guard case .append(let reason, let tail, _) = refusal else { return body }
        switch reason {
        case .closed:
            head.add("Stream-Closed: true\r\n")
            head.field("Stream-Next-Offset: ", StreamOffset(position: tail))
        case .staleEpoch(let current): head.field("Producer-Epoch: ", current)
        case .producerGap(let expected, let received):
            head.field("Producer-Expected-Seq: ", expected)
            head.field("Producer-Received-Seq: ", received)
        default: break
        }
        return body
    }
}

/// The one table from refusals to status and words.
public enum RefusalTable {
    public static func problem(_ refusal: Refusal) -> Problem {
        switch refusal {
        case .notFound: Problem(404, "There is no stream of this name.")
        case .retained: Problem(410, "The stream has been deleted; its content is kept only for its forks.")
        case .nameRetained:
            Problem(409, "A deleted stream of this name is kept for its forks; the name is free when the last of them is gone.")
        case .conditionFailed:
            Problem(412, "The header If-Match does not hold; expected * and a stream that exists. Stream-Seq compares and appends.")
        case .forkTooDeep(let limit): Problem(409, "The chain of forks is \(limit) streams long, which is the limit.")
        case .sourceNotFound: Problem(404, "The stream named by Stream-Forked-From does not exist.")
        case .sourceRetained: Problem(409, "The stream named by Stream-Forked-From has been deleted and is kept only for its forks.")
        case .sourceTypeDiffers(let type):
            Problem(409, "The header Content-Type does not match the type of the stream that is forked; expected \(type) or none.")
        case .forkOffsetBeyondTail(let tail):
            Problem(
                400,
                "The header Stream-Fork-Offset lies beyond the tail of the source; expected at most \(StreamOffset(position: tail).description)."
            )
        case .forkOffsetNotAtMessage:
            Problem(400, "The header Stream-Fork-Offset is not the boundary of a message; expected a token from Stream-Next-Offset.")
        case .forkSubOffsetBeyondTail(let tail):
            Problem(
                400,
                "The header Stream-Fork-Sub-Offset reaches beyond the tail of the source, which is \(StreamOffset(position: tail).description)."
            )
        case .configurationDiffers(let what):
            Problem(
                409,
                "The stream exists with another configuration: its \(what). Expected a PUT with the same content type, TTL or expiry and closed status."
            )
        case .append(.closed, _, _): Problem(409, "The stream is closed; nothing can be appended.")
        case .append(.contentTypeDiffers, _, let type):
            Problem(409, "The header Content-Type does not match the stream's; expected \(type).")
        case .append(.sequenceNotGreater, _, _):
            Problem(409, "The header Stream-Seq is not greater than the last one accepted; expected a greater one, compared bytewise.")
        case .append(.staleEpoch(let current), _, _):
            Problem(403, "The header Producer-Epoch is stale; expected \(current) or greater.")
        case .append(.newEpochNotAtZero, _, _):
            Problem(400, "The header Producer-Seq must be 0 with a new Producer-Epoch.")
        case .append(.producerGap(let expected, let received), _, _):
            Problem(409, "The header Producer-Seq leaves a gap; expected \(expected), received \(received).")
        case .append(.tooManyProducers, _, _):
            Problem(
                429,
                "The stream remembers \(StreamState.producerLimit) producers, all of them recent; expected a Producer-Id it knows, or a later try."
            )
        case .invalidJSON(let reason): Problem(400, "The body is not valid JSON \(reason). Expected one JSON text in UTF-8.")
        case .emptyJSONArray: Problem(400, "The body is an empty JSON array; expected at least one message.")
        case .offsetBeyondTail(let tail):
            Problem(
                400,
                "The parameter offset lies beyond the tail of the stream; expected at most \(StreamOffset(position: tail).description).")
        case .offsetNotAtMessage:
            Problem(400, "The parameter offset is not the boundary of a message; expected a token from Stream-Next-Offset.")
        case .damaged(let what): Problem(500, "Stored data is damaged: \(what). The rest of the stream can be read.")
        case .noSpace: Problem(507, "The server's disk is full. Nothing was stored; what is stored can be read.")
        case .unavailable(let reason): Problem(503, "The server cannot do this now: \(reason). Nothing was stored.")
        }
    }
}
