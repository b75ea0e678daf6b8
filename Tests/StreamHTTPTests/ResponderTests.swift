// Every answer, complete: status, all header lines in order, length (PROTOCOL.md 1 to 4, 9, 10).

import HTTPWire
import StreamRules
import Testing

@testable import StreamHTTP

@Suite struct ResponderTests {
    static let now: Int64 = 1_800_000_000_000
    static let date = "Date: Fri, 15 Jan 2027 08:00:00 GMT"
    static let exposed =
        "Access-Control-Expose-Headers: Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, Stream-SSE-Data-Encoding, Stream-Earliest-Offset, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, Producer-Received-Seq, ETag, Location, Retry-After"
    static let common = [
        date, "X-Content-Type-Options: nosniff", "Cross-Origin-Resource-Policy: cross-origin",
        "Content-Security-Policy: sandbox; default-src 'none'", "Access-Control-Allow-Origin: *", exposed,
    ]
    static let interval = UInt64((now - 1_728_432_000_000) / 20_000)

    static func responder(_ change: (inout ResponderSettings) -> Void = { _ in }) -> Responder {
        var settings = ResponderSettings()
        change(&settings)
        let responder = Responder(settings: settings)
        responder.now = now
        return responder
    }

    /// The lines of a head without their ends; the last one must end too.
    static func lines(_ head: ResponseHead) -> [String] {
        let text = String(decoding: head.lines, as: UTF8.self)
        #expect(text.hasSuffix("\r\n"))
        var lines = text.split(separator: "\r\n", omittingEmptySubsequences: false).map { String($0) }
        lines.removeLast()
        #expect(lines.allSatisfy { $0.contains(": ") && !$0.contains("\n") && !$0.contains("\r") })
        let names = lines.map { $0.prefix { $0 != ":" }.lowercased() }
        #expect(Set(names).count == names.count, "a field is there twice: \(lines)")
        return lines
    }

    static func token(_ position: UInt64) -> String { StreamOffset(position: position).description }

    static func facts(_ type: String = "text/plain", id: UInt64 = 26, tail: UInt64 = 42, closed: Bool = false, expiry: Expiry = .never)
        -> StreamFacts
    {
        StreamFacts(id: id, contentType: ContentType(type), tail: tail, closed: closed, expiry: expiry)
    }

    static func expect(
        _ head: ResponseHead, _ status: Int, _ own: [String], length: Int? = 0, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(head.status == status, sourceLocation: sourceLocation)
        #expect(lines(head) == common + own, sourceLocation: sourceLocation)
        #expect(head.contentLength == length, sourceLocation: sourceLocation)
    }

    // MARK: Without content

    @Test func created() {
        var head = ResponseHead()
        var context = ResponseContext()
        context.location = Array("http://a/v1/stream/x".utf8)
        for (new, status) in [(true, 201), (false, 200)] {
            for closed in [false, true] {
                Self.responder().created(Self.facts("Text/Plain; a=b", closed: closed), new: new, context, &head)
                Self.expect(
                    head, status,
                    ["Location: http://a/v1/stream/x", "Content-Type: Text/Plain; a=b", "Stream-Next-Offset: \(Self.token(42))"]
                        + (closed ? ["Stream-Closed: true"] : []))
            }
        }
        Self.responder().created(Self.facts(tail: 0), new: true, ResponseContext(), &head)
        Self.expect(head, 201, ["Content-Type: text/plain", "Stream-Next-Offset: \(Self.token(0))"])
    }

    @Test func appended() {
        var head = ResponseHead()
        let state = ProducerState(epoch: 3, sequence: (1 << 53) - 1)
        // producer, stored, content, closed → status (PROTOCOL.md 3)
        let table: [(ProducerState?, Bool, Bool, Bool, Int)] = [
            (nil, true, true, false, 204), (nil, true, true, true, 204), (nil, true, false, true, 204), (nil, false, false, true, 204),
            (state, true, true, false, 200), (state, true, true, true, 200), (state, true, false, true, 204),
            (state, false, true, false, 204), (state, false, true, true, 204), (state, false, false, true, 204),
        ]
        for (producer, stored, content, closed, status) in table {
            Self.responder().appended(
                tail: 42, closed: closed, producer: producer, stored: stored, hadContent: content, ResponseContext(), &head)
            Self.expect(
                head, status,
                ["Stream-Next-Offset: \(Self.token(42))"] + (closed ? ["Stream-Closed: true"] : [])
                    + (producer == nil ? [] : ["Producer-Epoch: 3", "Producer-Seq: 9007199254740991"]))
        }
    }

    @Test func deleted() {
        var head = ResponseHead()
        Self.responder().deleted(ResponseContext(), &head)
        Self.expect(head, 204, [])
    }

    @Test func metadata() {
        var head = ResponseHead()
        let text = Array("2030-01-31t12:00:00.50Z".utf8)
        let table: [(Expiry, [String])] = [
            (.never, []), (.timeToLive(seconds: 0), ["Stream-TTL: 0"]), (.timeToLive(seconds: 3600), ["Stream-TTL: 3600"]),
            (.at(milliseconds: 1, text: text), ["Stream-Expires-At: 2030-01-31t12:00:00.50Z"]),
        ]
        for (expiry, lines) in table {
            for closed in [false, true] {
                Self.responder().metadata(Self.facts(closed: closed, expiry: expiry), ResponseContext(), &head)
                Self.expect(
                    head, 200,
                    ["Content-Type: text/plain", "Stream-Next-Offset: \(Self.token(42))", "Cache-Control: no-store"] + lines
                        + (closed ? ["Stream-Closed: true"] : []), length: nil)
            }
        }
    }

    @Test func preflight() {
        var head = ResponseHead()
        Self.responder().preflight(ResponseContext(), &head)
        Self.expect(
            head, 204,
            [
                "Allow: GET, HEAD, PUT, POST, DELETE, OPTIONS", "Access-Control-Allow-Methods: GET, POST, PUT, DELETE, HEAD, OPTIONS",
                "Access-Control-Allow-Headers: Content-Type, Authorization, If-Match, If-None-Match, Last-Event-ID, traceparent, tracestate, Stream-TTL, Stream-Expires-At, Stream-Seq, Stream-Closed, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq",
                "Access-Control-Max-Age: 86400",
            ])
    }

    // MARK: Reads

    static let shortPublic = "Cache-Control: public, max-age=60, stale-while-revalidate=300"

    struct Range: Sendable {
        let from: UInt64
        let to: UInt64
        var closed = false
        let etag: String
        let cache: String
        var flags: [String] = []
    }

    static let ranges: [Range] = [
        // Part of the stream, all of it, and nothing at its end; each of an open and of a closed stream.
        Range(from: 0, to: 10, etag: "\"0-1a-0-a\"", cache: shortPublic),
        Range(from: 0, to: 10, closed: true, etag: "\"0-1a-0-a\"", cache: shortPublic),
        Range(from: 10, to: 42, etag: "\"0-1a-a-2a\"", cache: shortPublic, flags: ["Stream-Up-To-Date: true"]),
        Range(
            from: 10, to: 42, closed: true, etag: "\"0-1a-a-2a-c\"", cache: shortPublic,
            flags: ["Stream-Up-To-Date: true", "Stream-Closed: true"]),
        Range(from: 42, to: 42, etag: "\"0-1a-2a-2a\"", cache: "Cache-Control: no-cache", flags: ["Stream-Up-To-Date: true"]),
        Range(
            from: 42, to: 42, closed: true, etag: "\"0-1a-2a-2a-c\"", cache: "Cache-Control: no-cache",
            flags: ["Stream-Up-To-Date: true", "Stream-Closed: true"]),
    ]

    @Test(arguments: ResponderTests.ranges)
    func reads(range: Range) {
        var head = ResponseHead()
        for type in ["text/plain", "application/json", "application/octet-stream"] {
            let answer = RangeFacts(facts: Self.facts(type, closed: range.closed), from: range.from, to: range.to)
            let isEmptyJSON = type == "application/json" && range.from == range.to
            let start = ["Content-Type: \(type)", "Stream-Next-Offset: \(Self.token(range.to))"]
            let length = isEmptyJSON ? 2 : Int(range.to - range.from)
            for isPublic in [true, false] {
                let responder = Self.responder { $0.publicCache = isPublic }
                let cache = isPublic ? range.cache : range.cache.replacing("public", with: "private")
                let expected = start + ["ETag: \(range.etag)", cache] + range.flags
                #expect(responder.read(answer, ResponseContext(), &head) == .content)
                Self.expect(head, 200, expected, length: length)

                var context = ResponseContext()
                for (list, matches) in [
                    (range.etag, true), ("*", true), ("\"x\", W/\(range.etag)", true), ("\"x\"", false), ("", false),
                    ("\"0-1b-0-a\"", false), ("\"1-1a-0-a\"", false),
                ] {
                    context.ifNoneMatch = Array(list.utf8)
                    #expect(responder.read(answer, context, &head) == (matches ? .notModified : .content), "\(list)")
                    Self.expect(head, matches ? 304 : 200, expected, length: matches ? nil : length)
                }

                var live = ResponseContext()
                live.isLive = true
                #expect(responder.read(answer, live, &head) == .content)
                let cursor = range.flags.contains("Stream-Closed: true") ? [] : ["Stream-Cursor: \(Self.interval)"]
                Self.expect(head, 200, expected + cursor, length: length)
            }
            // offset=now: never cached, never compared.
            var context = ResponseContext()
            context.fromNow = true
            context.ifNoneMatch = [UInt8(ascii: "*")]
            let responder = Self.responder()
            #expect(responder.read(answer, context, &head) == .content)
            Self.expect(head, 200, start + ["Cache-Control: no-store"] + range.flags, length: length)
        }
    }

    /// What caches keep ends with the stream.
    @Test(
        arguments: [
            (.timeToLive(seconds: 5), 5, 0), (.timeToLive(seconds: 60), 60, 0), (.timeToLive(seconds: 61), 60, 1),
            (.timeToLive(seconds: 359), 60, 299), (.timeToLive(seconds: 360), 60, 300), (.timeToLive(seconds: .max), 60, 300),
            (.never, 60, 300),
            (.at(milliseconds: now + 2_999, text: []), 2, 0), (.at(milliseconds: now + 100_000, text: []), 60, 40),
            (.at(milliseconds: now - 1, text: []), 0, 0), (.at(milliseconds: .max, text: []), 60, 300),
            (.at(milliseconds: .min, text: []), 0, 0),
        ] as [(Expiry, Int, Int)])
    func cachesEndWithTheStream(expiry: Expiry, fresh: Int, stale: Int) {
        var head = ResponseHead()
        for isPublic in [true, false] {
            let responder = Self.responder { $0.publicCache = isPublic }
            _ = responder.read(RangeFacts(facts: Self.facts(expiry: expiry), from: 0, to: 10), ResponseContext(), &head)
            let visibility = isPublic ? "public" : "private"
            #expect(Self.lines(head).contains("Cache-Control: \(visibility), max-age=\(fresh), stale-while-revalidate=\(stale)"))
        }
    }

    /// `If-Match` on a read is compared strongly with the range's tag.
    @Test(arguments: [
        ("*", true), ("\"0-1a-0-a\"", true), ("\"x\", \"0-1a-0-a\"", true), ("W/\"0-1a-0-a\"", false), ("\"x\"", false), ("", false),
    ])
    func ifMatch(list: String, holds: Bool) {
        var head = ResponseHead()
        var context = ResponseContext()
        context.ifMatch = Array(list.utf8)
        let range = RangeFacts(facts: Self.facts(), from: 0, to: 10)
        #expect(Self.responder().read(range, context, &head) == (holds ? .content : .conditionFailed))
        context.fromNow = true
        #expect(Self.responder().read(range, context, &head) == (list == "*" ? .content : .conditionFailed))
    }

    /// Tags of another life of the data are never the same.
    @Test func tagsOfAnotherLife() {
        var head = ResponseHead()
        let range = RangeFacts(facts: Self.facts(), from: 0, to: 10)
        var context = ResponseContext()
        _ = Self.responder { $0.tagLife = 1 }.read(range, context, &head)
        let tag = Self.lines(head).first { $0.hasPrefix("ETag: ") }!.dropFirst(6)
        context.ifNoneMatch = Array(tag.utf8)
        #expect(Self.responder { $0.tagLife = 1 }.read(range, context, &head) == .notModified)
        #expect(Self.responder { $0.tagLife = 2 }.read(range, context, &head) == .content)
    }

    /// The tag differs when the stream, the range or the closed status does.
    @Test func entityTagsDiffer() {
        var tags: [String: String] = [:]
        for id in [1, 2, 0x1A, 0x1A0, UInt64.max] as [UInt64] {
            for (from, to) in [(0, 1), (0, 42), (1, 42), (0, 16), (1, 16), (10, 42), (42, 42), (0, 0x10)] as [(UInt64, UInt64)] {
                for closed in [false, true] {
                    let range = RangeFacts(facts: Self.facts(id: id, closed: closed), from: from, to: to)
                    let tag = text(EntityTag(range, life: 1).bytes)
                    let meaning = "\(id) \(from) \(to) \(range.closed)"
                    #expect(tags[tag, default: meaning] == meaning)
                    tags[tag] = meaning
                    #expect(
                        tag.hasPrefix("\"") && tag.hasSuffix("\"") && tag.utf8.dropFirst().dropLast().allSatisfy { $0 > 0x22 && $0 < 0x7F })
                    #expect(range.contentLength == Int(to - from))
                }
            }
        }
    }

    // MARK: Live reads

    @Test func nothing() {
        var head = ResponseHead()
        let responder = Self.responder()
        responder.nothing(Self.facts(), ResponseContext(), &head)
        let start = ["Stream-Next-Offset: \(Self.token(42))", "Stream-Up-To-Date: true", "Cache-Control: no-store"]
        Self.expect(head, 204, start + ["Stream-Cursor: \(Self.interval)"])
        responder.nothing(Self.facts(closed: true), ResponseContext(), &head)
        Self.expect(head, 204, start + ["Stream-Closed: true"])
    }

    @Test(arguments: [
        ("text/plain", false), ("text/event-stream", false), ("TEXT/x;charset=y", false), ("application/json", false),
        ("application/json;x=y", false), ("application/octet-stream", true), ("image/png", true), ("application/ndjson", true),
    ])
    func events(type: String, encoded: Bool) {
        var head = ResponseHead()
        Self.responder().events(Self.facts(type), ResponseContext(), &head)
        Self.expect(
            head, 200,
            ["Content-Type: text/event-stream", "Cache-Control: no-cache, no-transform", "X-Accel-Buffering: no"]
                + (encoded ? ["Stream-SSE-Data-Encoding: base64"] : []), length: nil)
    }

    /// A client's cursor that is behind, or none, gets the current interval; any other gets a strictly larger one, at most 180 larger.
    @Test func cursors() {
        let responder = Self.responder()
        var context = ResponseContext()
        for client in [nil, 0, 1, Self.interval - 1] as [UInt64?] {
            context.cursor = client
            #expect(responder.nextCursor(context) == Self.interval)
        }
        for client in [Self.interval, Self.interval + 1, Self.interval + 100_000, StreamCursor.maximum] {
            context.cursor = client
            for _ in 0..<500 {
                let answer = responder.nextCursor(context)
                #expect(answer > client && answer - client <= 180)
            }
        }
        responder.now = 0
        context.cursor = nil
        #expect(responder.nextCursor(context) == 0)
    }

    // MARK: Refusals

    struct Case: Sendable {
        let refusal: Refusal
        let status: Int
        let words: [String]
        var extra: [String] = []
    }

    static func append(_ refusal: AppendRefusal) -> Refusal { .append(refusal, tail: 42, contentType: "Text/Plain; a=b") }

    @Test(arguments: [
        Case(refusal: .notFound, status: 404, words: ["no stream"]),
        Case(refusal: .configurationDiffers("stream is closed"), status: 409, words: ["stream is closed", "content type", "TTL"]),
        Case(
            refusal: append(.closed), status: 409, words: ["closed"],
            extra: ["Stream-Closed: true", "Stream-Next-Offset: 0000000000000000_0000000000000042"]),
        Case(refusal: append(.contentTypeDiffers), status: 409, words: ["Content-Type", "Text/Plain; a=b"]),
        Case(refusal: append(.sequenceNotGreater), status: 409, words: ["Stream-Seq", "bytewise"]),
        Case(refusal: append(.staleEpoch(current: 7)), status: 403, words: ["Producer-Epoch", "7"], extra: ["Producer-Epoch: 7"]),
        Case(refusal: append(.newEpochNotAtZero), status: 400, words: ["Producer-Seq", "0"]),
        Case(
            refusal: append(.producerGap(expected: 4, received: 9)), status: 409, words: ["Producer-Seq", "4", "9"],
            extra: ["Producer-Expected-Seq: 4", "Producer-Received-Seq: 9"]),
        Case(
            refusal: append(.producerGap(expected: 0, received: 1)), status: 409, words: ["Producer-Seq", "0", "1"],
            extra: ["Producer-Expected-Seq: 0", "Producer-Received-Seq: 1"]),
        Case(refusal: append(.tooManyProducers), status: 429, words: ["Producer-Id", "16384"]),
        Case(refusal: .invalidJSON("at byte 3: it is wrong"), status: 400, words: ["JSON", "at byte 3: it is wrong"]),
        Case(refusal: .emptyJSONArray, status: 400, words: ["empty JSON array"]),
        Case(refusal: .offsetBeyondTail(tail: 42), status: 400, words: ["offset", "0000000000000000_0000000000000042"]),
        Case(refusal: .offsetNotAtMessage, status: 400, words: ["offset", "Stream-Next-Offset"]),
        Case(refusal: .noSpace, status: 507, words: ["disk is full"]),
        Case(refusal: .unavailable("it rains"), status: 503, words: ["it rains"]),
    ])
    func refusals(row: Case) {
        var head = ResponseHead()
        let body = Self.responder().refuse(row.refusal, ResponseContext(), &head)
        let retry = [503, 507, 429].contains(row.status) ? ["Retry-After: 1"] : []
        Self.expect(
            head, row.status, ["Content-Type: text/plain; charset=utf-8", "Cache-Control: no-store"] + retry + row.extra, length: body.count
        )
        let text = text(body)
        #expect(text.hasSuffix("\n") && !text.dropLast().contains("\n") && text.utf8.count < 300)
        for word in row.words { #expect(text.contains(word), "\(text)") }
    }

    @Test(
        arguments: [
            (400, []), (403, []), (404, []), (405, ["Allow: GET, HEAD"]), (408, []), (413, []), (414, []),
            (417, []), (431, []),
            (503, ["Retry-After: 1"]), (505, []), (507, ["Retry-After: 1"]),
        ] as [(Int, [String])])
    func problems(status: Int, extra: [String]) {
        var head = ResponseHead()
        let body = Self.responder().refuse(
            Problem(status, "Why.", allowed: status == 405 ? "GET, HEAD" : nil), ResponseContext(), &head)
        Self.expect(head, status, ["Content-Type: text/plain; charset=utf-8", "Cache-Control: no-store"] + extra, length: 5)
        #expect(text(body) == "Why.\n")
    }

    /// Reserved names are answered as the control APIs will be: in JSON (PROTOCOL.md, introduction).
    @Test func reservedNames() throws {
        let refused = try problem("GET", "/v1/stream/__ds/x")
        var head = ResponseHead()
        let body = Self.responder().refuse(refused, ResponseContext(), &head)
        Self.expect(head, 404, ["Content-Type: application/json", "Cache-Control: no-store"], length: body.count)
        #expect(text(body) == "{\"error\":{\"code\":\"SUBSCRIPTION_NOT_FOUND\",\"message\":\"There is nothing at this path.\"}}\n")
    }

    /// The one form of errors of control routes (SUBSCRIPTIONS.md 12.15), whatever the message holds.
    @Test(
        arguments: [
            ("plain", "plain"), ("a \"b\" c", #"a \"b\" c"#), (#"back\slash"#, #"back\\slash"#),
            ("two\nlines\ttab\r", #"two\nlines\ttab\r"#),
            ("\u{1}\u{1F}\u{7F}", "\\u0001\\u001f\u{7F}"), ("umlaut ü, 日本 🙂", "umlaut ü, 日本 🙂"), ("", ""),
        ])
    func controlErrors(message: String, escaped: String) {
        var head = ResponseHead()
        let answer = ControlAnswer.problem(Problem(503, message, code: "UNAVAILABLE"))
        let body = Self.responder().control(answer, ResponseContext(), &head)
        Self.expect(
            head, 503, ["Content-Type: application/json", "Cache-Control: no-store", "Retry-After: 1"], length: body.count)
        #expect(text(body) == "{\"error\":{\"code\":\"UNAVAILABLE\",\"message\":\"\(escaped)\"}}\n")
    }

    @Test func controlAnswers() {
        var head = ResponseHead()
        #expect(text(Self.responder().control(.json("{}"), ResponseContext(), &head)) == "{}\n")
        Self.expect(head, 200, ["Content-Type: application/json", "Cache-Control: no-store"], length: 3)
    }

    // MARK: CORS and Date

    @Test(
        arguments: [
            (nil, nil, ["Access-Control-Allow-Origin: *"], []), (nil, "https://a.example", ["Access-Control-Allow-Origin: *"], []),
            (["https://a.example"], nil, ["Vary: Origin"], []),
            (["https://a.example"], "https://a.example", ["Vary: Origin"], ["Access-Control-Allow-Origin: https://a.example"]),
            (["https://a.example", "null"], "null", ["Vary: Origin"], ["Access-Control-Allow-Origin: null"]),
            (["https://a.example"], "https://A.example", ["Vary: Origin"], []),
            (["https://a.example"], "https://a.example:1", ["Vary: Origin"], []),
            (["https://a.example"], "*", ["Vary: Origin"], []), ([], "https://a.example", ["Vary: Origin"], []),
        ] as [([String]?, String?, [String], [String])])
    func origins(list: [String]?, origin: String?, policy: [String], allowed: [String]) {
        var context = ResponseContext()
        context.origin = origin.map { Array($0.utf8) }
        let responder = Self.responder { $0.origins = list.map { $0.map { Array($0.utf8) } } }
        let start =
            Array(Self.common.prefix(4)) + policy + [Self.exposed] + allowed
            + (allowed.isEmpty ? [] : ["Access-Control-Allow-Credentials: true"])
        var heads: [ResponseHead] = []
        var head = ResponseHead()
        responder.created(Self.facts(), new: true, context, &head)
        heads.append(head)
        responder.appended(tail: 1, closed: false, producer: nil, stored: true, hadContent: true, context, &head)
        heads.append(head)
        responder.deleted(context, &head)
        heads.append(head)
        responder.metadata(Self.facts(), context, &head)
        heads.append(head)
        _ = responder.read(RangeFacts(facts: Self.facts(), from: 0, to: 42), context, &head)
        heads.append(head)
        responder.nothing(Self.facts(), context, &head)
        heads.append(head)
        responder.events(Self.facts(), context, &head)
        heads.append(head)
        responder.preflight(context, &head)
        heads.append(head)
        _ = responder.refuse(Problem(400, "x"), context, &head)
        heads.append(head)
        _ = responder.refuse(Refusal.notFound, context, &head)
        heads.append(head)
        for head in heads { #expect(Array(Self.lines(head).prefix(start.count)) == start) }
    }

    @Test func dates() {
        let responder = Responder(settings: ResponderSettings())
        var head = ResponseHead()
        for (now, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (999, "Thu, 01 Jan 1970 00:00:00 GMT"), (1000, "Thu, 01 Jan 1970 00:00:01 GMT"),
            (784_111_777_123, "Sun, 06 Nov 1994 08:49:37 GMT"), (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778_000, "Sun, 06 Nov 1994 08:49:38 GMT"), (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ] as [(Int64, String)] {
            responder.now = now
            responder.deleted(ResponseContext(), &head)
            #expect(Self.lines(head).first == "Date: \(date)")
        }
    }

    /// A head is used again and again; what it held is gone.
    @Test func headsAreReused() {
        var head = ResponseHead()
        let responder = Self.responder()
        _ = responder.read(RangeFacts(facts: Self.facts(closed: true), from: 0, to: 42), ResponseContext(), &head)
        responder.events(Self.facts(), ResponseContext(), &head)
        responder.deleted(ResponseContext(), &head)
        Self.expect(head, 204, [])
    }

    @Test func numbers() {
        for number in [0, 1, 9, 10, 11, 15, 16, 99, 100, 255, 256, 1 << 32, (1 << 53) - 1, UInt64.max - 1, UInt64.max] as [UInt64] {
            // As short as it may be: lines make room for themselves.
            var head = ResponseHead(reserving: 1)
            head.field("A: ", number)
            head.field("ETag: ", EntityTag(RangeFacts(facts: Self.facts(id: number, tail: number), from: number, to: number), life: number))
            let hex = String(number, radix: 16)
            #expect(text(head.lines) == "A: \(number)\r\nETag: \"\(hex)-\(hex)-\(hex)-\(hex)\"\r\n")
        }
    }
}
