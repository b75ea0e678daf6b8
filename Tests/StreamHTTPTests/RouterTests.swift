// Every parameter and header of PROTOCOL.md sections 1 to 4, 9 and 10: what is accepted and as what, what is refused and in which words.

import HTTPWire
import StreamHTTP
import StreamRules
import Testing

@Suite struct RouterTests {
    // MARK: Methods and names

    @Test func verbs() throws {
        guard case .read = try request("GET", "/v1/stream/a").verb else {
            Issue.record("GET")
            return
        }
        guard case .metadata = try request("HEAD", "/v1/stream/a").verb else {
            Issue.record("HEAD")
            return
        }
        guard case .create = try request("PUT", "/v1/stream/a").verb else {
            Issue.record("PUT")
            return
        }
        guard case .append = try request("POST", "/v1/stream/a").verb else {
            Issue.record("POST")
            return
        }
        guard case .delete = try request("DELETE", "/v1/stream/a").verb else {
            Issue.record("DELETE")
            return
        }
        for (method, headOnly) in [("GET", false), ("HEAD", true), ("PUT", false), ("POST", false), ("DELETE", false)] {
            #expect(try request(method, "/v1/stream/a").context.headOnly == headOnly)
        }
    }

    @Test(arguments: ["/v1/stream/a", "/v1/stream/", "/", "/nowhere", "/v1/stream/__ds/x", "*", "/v1/stream/%zz?offset="])
    func preflight(target: String) throws {
        guard case .preflight(let context) = try route("OPTIONS", target) else {
            Issue.record("no preflight")
            return
        }
        #expect(!context.headOnly && context.origin == nil)
    }

    /// Control paths beside the streams: exactly those, with a query that does not matter.
    @Test(arguments: [
        ("GET", "/healthz", ControlRoute.health), ("HEAD", "/healthz", .health), ("GET", "/readyz", .readiness),
        ("GET", "/readyz?verbose", .readiness),
    ])
    func controlRoutes(method: String, target: String, wanted: ControlRoute) throws {
        guard case .control(let asked) = try route(method, target) else { throw NotRouted() }
        #expect(asked.route == wanted && asked.context.headOnly == (method == "HEAD"))
    }

    @Test(arguments: ["POST", "PUT", "DELETE", "PATCH", "get"], ["/healthz", "/readyz"])
    func otherMethodsOfControlRoutes(method: String, target: String) throws {
        let refused = try problem(method, target)
        #expect(refused.status == 405 && refused.allowed == "GET, HEAD, OPTIONS" && refused.code == "INVALID_REQUEST")
    }

    @Test(arguments: ["/healthz/", "/Healthz", "/healthzz", "/health", "/%68ealthz", "/readyz/x", "//healthz"])
    func noControlRoutes(target: String) throws {
        #expect(try problem("GET", target).status == 404)
    }

    /// A page of a foreign origin, or a name that was made to point here, gets no answer of the server's health.
    @Test func controlRoutesAreGuardedAsStreamsAre() throws {
        var settings = RouterSettings()
        settings.allowsHost = { _ in false }
        guard case .problem(let refused, _) = try route("GET", "/healthz", router: Router(settings)) else { throw NotRouted() }
        #expect(refused.status == 421)
    }

    @Test(arguments: ["PATCH", "TRACE", "get", "Put", "LINK", "X"])
    func otherMethods(method: String) throws {
        let problem = try problem(method, "/v1/stream/a")
        #expect(problem.status == 405 && problem.allowed == "GET, HEAD, PUT, POST, DELETE, OPTIONS")
        for known in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"] { #expect(problem.text.contains(known)) }
    }

    @Test(arguments: [
        ("/v1/stream/a", "a"), ("/v1/stream/account-1/chat/room-7", "account-1/chat/room-7"), ("/v1/stream/a%2Fb", "a\u{1}b"),
        ("/v1/stream/a%2fb", "a\u{1}b"), ("/v1/stream/%61", "a"), ("/v1/stream/a?offset=-1", "a"), ("/v1/stream/a?", "a"),
        ("/v1/stream/%C3%A9", "é"), ("/v1/stream/a%20b", "a b"), ("/v1/stream/a%3Fb", "a?b"), ("/v1/stream/a+b", "a+b"),
        ("/v1/stream/__dsx", "__dsx"), ("/v1/stream/__DS/a", "__DS/a"), ("/v1/stream/a/__dsx", "a/__dsx"),
        ("/v1/stream/a%2F__ds", "a\u{1}__ds"), ("/v1/stream/...", "..."),
        ("http://example.org/v1/stream/a?offset=-1", "a"), ("https://example.org:1/v1/stream/a/b", "a/b"),
    ])
    func names(target: String, name: String) throws {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] { #expect(text(try request(method, target).name) == name) }
    }

    @Test(arguments: [
        ("/", 404, "/v1/stream/"), ("/v1/stream", 404, "/v1/stream/"), ("/v1/streams/a", 404, "/v1/stream/"),
        ("/V1/stream/a", 404, "/v1/stream/"),
        ("/?offset=-1", 404, "/v1/stream/"), ("http://example.org", 404, "/v1/stream/"), ("http://example.org?x", 404, "/v1/stream/"),
        ("/v1/stream/", 400, "empty"), ("/v1/stream/?offset=-1", 400, "empty"), ("/v1/stream/.", 400, ".."),
        ("/v1/stream/a/../b", 400, ".."),
        ("/v1/stream/a/%2e%2E", 400, ".."), ("/v1/stream/a%00", 400, "control"), ("/v1/stream/a%01b", 400, "control"),
        ("/v1/stream/a%7f", 400, "control"), ("/v1/stream/a%0A", 400, "control"), ("/v1/stream/a%", 400, "hexadecimal"),
        ("/v1/stream/a%2", 400, "hexadecimal"), ("/v1/stream/a%zz", 400, "hexadecimal"),
    ])
    func refusedNames(target: String, status: Int, word: String) throws {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"] {
            let problem = try problem(method, target)
            #expect(problem.status == status && problem.text.contains(word), "\(method) \(target): \(problem)")
        }
    }

    /// A segment `__ds` belongs to the control APIs, wherever it stands and whatever else is wrong with the path.
    @Test(arguments: [
        "__ds", "__ds/", "__ds/subscriptions?x=y", "%5f_ds/x", "a/__ds", "a/__ds/x", "a/b/__ds/c", "a/%5F%5fds", "a/__ds/%zz", "../__ds",
        "a/__ds/" + String(repeating: "x", count: 2000), String(repeating: "x", count: 1020) + "/__ds", "%61/__ds",
    ])
    func reservedNames(name: String) throws {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            let problem = try problem(method, "/v1/stream/\(name)")
            #expect(problem.status == 404 && problem.code == "SUBSCRIPTION_NOT_FOUND", "\(method) \(name): \(problem)")
        }
        if !name.contains("?") {
            #expect(try problem("PUT", "/v1/stream/a", ["Stream-Forked-From: /v1/stream/\(name)"]).status == 400)
        }
    }

    @Test func lengthOfNames() throws {
        #expect(try request("GET", "/v1/stream/" + String(repeating: "a", count: 1024)).name.count == 1024)
        #expect(try request("GET", "/v1/stream/" + String(repeating: "%61", count: 1024)).name.count == 1024)
        for long in [String(repeating: "a", count: 1025), String(repeating: "%61", count: 1025)] {
            let problem = try problem("GET", "/v1/stream/" + long)
            #expect(problem.status == 400 && problem.text.contains("1024"))
        }
    }

    // MARK: Read

    struct Read: Sendable {
        let query: String
        let start: ReadRequest.Start
        let mode: ReadRequest.Mode
        var cursor: UInt64?
    }

    static let token = "0000000000000000_0000000000000042"

    @Test(arguments: [
        Read(query: "", start: .beginning, mode: .catchUp), Read(query: "?", start: .beginning, mode: .catchUp),
        Read(query: "?&&", start: .beginning, mode: .catchUp), Read(query: "?unknown=1&x", start: .beginning, mode: .catchUp),
        Read(query: "?Offset=x&LIVE=sse&offsets=&=y", start: .beginning, mode: .catchUp),
        Read(query: "?offset=-1", start: .beginning, mode: .catchUp), Read(query: "?offset=%2D1", start: .beginning, mode: .catchUp),
        Read(query: "?offset=now", start: .now, mode: .catchUp), Read(query: "?offset=%6eo%77", start: .now, mode: .catchUp),
        Read(query: "?offset=\(token)", start: .position(42), mode: .catchUp),
        Read(query: "?offset=0000000000000000%5F0000000000000042", start: .position(42), mode: .catchUp),
        Read(query: "?offset=0000000000000000_0000000000000000", start: .position(0), mode: .catchUp),
        Read(query: "?offset=0000000000000000_9999999999999999", start: .position(9_999_999_999_999_999), mode: .catchUp),
        Read(query: "?offset=-1&live=long-poll", start: .beginning, mode: .longPoll),
        Read(query: "?live=long-poll&offset=\(token)", start: .position(42), mode: .longPoll),
        Read(query: "?live=long%2Dpoll&offset=now", start: .now, mode: .longPoll),
        Read(query: "?offset=now&live=sse", start: .now, mode: .events),
        Read(query: "?offset=-1&live=sse&x=y", start: .beginning, mode: .events),
        Read(query: "?offset=now&live=long-poll&cursor=123", start: .now, mode: .longPoll, cursor: 123),
        Read(query: "?cursor=0&offset=-1", start: .beginning, mode: .catchUp, cursor: 0),
        // A cursor that is none counts as absent.
        Read(query: "?offset=now&live=sse&cursor=", start: .now, mode: .events),
        Read(query: "?offset=now&live=sse&cursor", start: .now, mode: .events),
        Read(query: "?offset=now&live=sse&cursor=x1", start: .now, mode: .events),
        Read(query: "?offset=now&live=sse&cursor=-1", start: .now, mode: .events),
        Read(query: "?offset=now&live=sse&cursor=18446744073709551616", start: .now, mode: .events),
    ])
    func reads(read: Read) throws {
        let request = try request("GET", "/v1/stream/a" + read.query)
        guard case .read(let wanted) = request.verb else {
            Issue.record("no read")
            return
        }
        #expect(wanted.start == read.start && wanted.mode == read.mode)
        #expect(request.context.cursor == read.cursor)
        #expect(request.context.isLive == (read.mode != .catchUp))
        #expect(request.context.fromNow == (read.start == .now))
        #expect(request.context.ifNoneMatch == nil && request.context.location == nil && request.context.origin == nil)
    }

    @Test(arguments: [
        ("?offset=", "offset"), ("?offset", "offset"), ("?offset=0", "offset"), ("?offset=-2", "offset"), ("?offset=NOW", "offset"),
        ("?offset=now%20", "offset"), ("?offset=+1", "offset"), ("?offset=42", "offset"),
        ("?offset=0000000000000000_000000000000004", "offset"),
        ("?offset=0000000000000000_00000000000000042", "offset"), ("?offset=0000000000000001_0000000000000042", "offset"),
        ("?offset=0000000000000000-0000000000000042", "offset"), ("?offset=0000000000000000_00000000000000x2", "offset"),
        ("?offset=0000000000000000_000000000000004%20", "offset"), ("?offset=a,b", "offset"), ("?offset=a/b", "offset"),
        ("?offset=..", "offset"),
        ("?offset=a%26b", "offset"), ("?offset=a=b", "offset"), ("?offset=a?b", "offset"), ("?offset=%00", "offset"),
        ("?offset=now%0A", "offset"),
        ("?offset=\(token)%00", "offset"), ("?offset=%", "percent-encoding"), ("?offset=%4", "percent-encoding"),
        ("?offset=%zz", "percent-encoding"),
        ("?live=%4&offset=-1", "percent-encoding"),
        ("?offset=-1&offset=-1", "offset is given twice"), ("?offset=&offset=-1", "offset is given twice"),
        ("?offset=now&x&offset", "offset is given twice"),
        ("?live=long-poll", "offset"), ("?live=sse", "offset"), ("?live=sse&cursor=1", "offset"),
        ("?offset=-1&live=", "live"), ("?offset=-1&live", "live"), ("?offset=-1&live=true", "live"), ("?offset=-1&live=SSE", "live"),
        ("?offset=-1&live=long-poll%20", "live"), ("?offset=-1&live=longpoll", "live"), ("?live=poll", "live"),
        ("?offset=-1&live=sse&live=sse", "live is given twice"),
    ])
    func refusedReads(query: String, word: String) throws {
        let problem = try problem("GET", "/v1/stream/a" + query)
        #expect(
            problem.status == 400 && problem.text.contains(word) && problem.text.contains("expected") || problem.text.contains("needs"),
            "\(problem)")
    }

    /// The query means something to GET only.
    @Test(arguments: ["HEAD", "PUT", "POST", "DELETE"])
    func queriesOfOtherMethods(method: String) throws {
        #expect(text(try request(method, "/v1/stream/a?offset=&live=x&offset=%").name) == "a")
    }

    @Test(
        arguments: [
            ([], nil), (["If-None-Match: \"a\""], "\"a\""), (["if-none-match: \"a\", W/\"b\""], "\"a\", W/\"b\""),
            (["If-None-Match: *"], "*"),
            (["If-None-Match: \"a\"", "X: y", "If-None-Match: \"b\""], "\"a\", \"b\""), (["If-None-Match:"], ""),
        ] as [([String], String?)])
    func ifNoneMatch(fields: [String], expected: String?) throws {
        #expect(try request("GET", "/v1/stream/a", fields).context.ifNoneMatch.map(text) == expected)
        #expect(try request("HEAD", "/v1/stream/a", fields).context.ifNoneMatch == nil)
        #expect(try request("PUT", "/v1/stream/a", fields).context.ifNoneMatch == nil)
    }

    // MARK: Create

    static func create(_ fields: [String]) throws -> CreateRequest {
        guard case .create(let create) = try request("PUT", "/v1/stream/a", fields).verb else { throw NotRouted() }
        return create
    }

    @Test(
        arguments: [
            ([], nil), (["Content-Type: text/plain"], "text/plain"),
            (["content-type:  Application/JSON; charset=utf-8 "], "Application/JSON; charset=utf-8"),
            (["Content-Type: text/plain;"], "text/plain;"), (["Content-Type:"], nil), (["Content-Type: a/b; c=\"d;e\""], "a/b; c=\"d;e\""),
        ] as [([String], String?)])
    func typesOfCreates(fields: [String], expected: String?) throws {
        #expect(try Self.create(fields).contentType?.text == expected)
    }

    @Test(
        arguments: [
            ([], .never), (["Stream-TTL: 0"], .timeToLive(seconds: 0)), (["stream-ttl: 3600"], .timeToLive(seconds: 3600)),
            (["Stream-TTL: 9007199254740991"], .timeToLive(seconds: 9_007_199_254_740_991)),
            (
                ["Stream-Expires-At: 2030-01-31T12:00:00Z"],
                .at(milliseconds: 1_896_091_200_000, text: Array("2030-01-31T12:00:00Z".utf8))
            ),
            (
                ["Stream-Expires-At:  2030-01-31t13:00:00.250+01:00\t"],
                .at(milliseconds: 1_896_091_200_250, text: Array("2030-01-31t13:00:00.250+01:00".utf8))
            ),
        ] as [([String], Expiry)])
    func expiries(fields: [String], expected: Expiry) throws {
        #expect(try Self.create(fields).expiry == expected)
    }

    @Test(arguments: [
        (["Stream-TTL:"], "Stream-TTL"), (["Stream-TTL: 01"], "Stream-TTL"), (["Stream-TTL: +1"], "Stream-TTL"),
        (["Stream-TTL: -1"], "Stream-TTL"),
        (["Stream-TTL: 1.0"], "Stream-TTL"), (["Stream-TTL: 1e3"], "Stream-TTL"), (["Stream-TTL: 1s"], "Stream-TTL"),
        (["Stream-TTL: 00"], "Stream-TTL"),
        (["Stream-TTL: 9007199254740992"], "Stream-TTL"), (["Stream-TTL: 99999999999999999999"], "Stream-TTL"),
        (["Stream-TTL: 1, 1"], "Stream-TTL"),
        (["Stream-TTL: 1", "Stream-TTL: 1"], "Stream-TTL is given twice"),
        (["Stream-Expires-At:"], "Stream-Expires-At"), (["Stream-Expires-At: tomorrow"], "Stream-Expires-At"),
        (["Stream-Expires-At: 2030-01-31"], "Stream-Expires-At"), (["Stream-Expires-At: 2030-02-30T12:00:00Z"], "Stream-Expires-At"),
        (["Stream-Expires-At: 2030-01-31T12:00:00"], "Stream-Expires-At"),
        (["Stream-Expires-At: 2030-01-31 12:00:00Z"], "Stream-Expires-At"),
        (["Stream-Expires-At: 1896091200"], "Stream-Expires-At"),
        (["Stream-Expires-At: 2030-01-31T12:00:00Z", "Stream-Expires-At: 2030-01-31T12:00:00Z"], "Stream-Expires-At is given twice"),
        (["Stream-TTL: 1", "Stream-Expires-At: 2030-01-31T12:00:00Z"], "Stream-TTL and Stream-Expires-At"),
        (["Stream-TTL: x", "Stream-Expires-At: x"], "Stream-TTL and Stream-Expires-At"),
        (["Content-Type: text"], "Content-Type"), (["Content-Type: text/plain charset"], "Content-Type"),
        (["Content-Type: text/plain, text/html"], "Content-Type"),
        (["Content-Type: a/b", "Content-Type: a/b"], "Content-Type is given twice"),
    ])
    func refusedCreates(fields: [String], word: String) throws {
        let problem = try problem("PUT", "/v1/stream/a", fields)
        #expect(problem.status == 400 && problem.text.contains(word) && problem.text.contains("expected"), "\(problem)")
    }

    @Test func forks() throws {
        let from = "Stream-Forked-From: /v1/stream/a%20b/c%2Fd"
        let name = Array("a b/c".utf8) + [StreamName.encodedSlash] + Array("d".utf8)
        #expect(try Self.create([]).fork == nil)
        #expect(try Self.create([from]).fork == ForkRequest(source: name, offset: nil, subOffset: 0))
        #expect(
            try Self.create([from, "Stream-Fork-Offset: 0000000000000000_0000000000000042"]).fork
                == ForkRequest(source: name, offset: 42, subOffset: 0))
        #expect(
            try Self.create([from, "Stream-Fork-Offset: \(RouterTests.token)", "Stream-Fork-Sub-Offset: 9007199254740991"]).fork?.subOffset
                == 9_007_199_254_740_991)
        #expect(try Self.create([from, "Stream-Fork-Sub-Offset: 0"]).fork?.subOffset == 0)
    }

    @Test(
        arguments: [
            (["Stream-Forked-From:"], "Stream-Forked-From"), (["Stream-Forked-From: a"], "Stream-Forked-From"),
            (["Stream-Forked-From: /v1/stream/"], "Stream-Forked-From"), (["Stream-Forked-From: v1/stream/b"], "Stream-Forked-From"),
            (["Stream-Forked-From: http://example.org/v1/stream/b"], "Stream-Forked-From"),
            (["Stream-Forked-From: /v1/stream/b?x"], "Stream-Forked-From"), (["Stream-Forked-From: /v1/stream/b#x"], "Stream-Forked-From"),
            (["Stream-Forked-From: /v1/stream/../b"], "Stream-Forked-From"), (["Stream-Forked-From: /v1/stream/%zz"], "Stream-Forked-From"),
            (["Stream-Forked-From: /v1/stream/__ds/x"], "Stream-Forked-From"),
            (["Stream-Forked-From: /v1/stream/b", "Stream-Forked-From: /v1/stream/b"], "Stream-Forked-From is given twice"),
            (["Stream-Fork-Offset: \(RouterTests.token)"], "Stream-Forked-From"), (["Stream-Fork-Sub-Offset: 1"], "Stream-Forked-From"),
            (["Stream-Fork-Sub-Offset: "], "Stream-Forked-From"),
        ]
            + ["", "-1", "now", "1", "0000000000000000-0000000000000001", "0000000000000001_0000000000000001"].map {
                (["Stream-Forked-From: /v1/stream/b", "Stream-Fork-Offset: \($0)"], "Stream-Fork-Offset")
            }
            + ["", "-1", "+1", "01", "1.0", "1e3", "x", "9007199254740992"].map {
                (["Stream-Forked-From: /v1/stream/b", "Stream-Fork-Sub-Offset: \($0)"], "Stream-Fork-Sub-Offset")
            })
    func refusedForks(fields: [String], word: String) throws {
        let problem = try problem("PUT", "/v1/stream/a", fields)
        #expect(problem.status == 400 && problem.text.contains(word), "\(problem)")
    }

    @Test(arguments: [
        ("true", true), ("TRUE", true), ("True", true), (" true\t", true), ("", false), ("false", false), ("1", false), ("yes", false),
        ("true, true", false), ("truee", false), ("tru", false), ("\"true\"", false),
    ])
    func closed(value: String, expected: Bool) throws {
        #expect(try Self.create(["Stream-Closed: \(value)"]).closed == expected)
        #expect(try Self.append(["Stream-Closed: \(value)"]).closes == expected)
    }

    // MARK: Location

    struct Place: Sendable {
        var target = "/v1/stream/a"
        var host: String? = "example.org:4437"
        var fields: [String] = []
        var secure = false
        var version = "1.1"
        let expected: String
    }

    @Test(arguments: [
        Place(expected: "http://example.org:4437/v1/stream/a"), Place(secure: true, expected: "https://example.org:4437/v1/stream/a"),
        Place(target: "/v1/stream/a%2Fb/%C3%A9?x=y", expected: "http://example.org:4437/v1/stream/a%2Fb/%C3%A9"),
        Place(host: "[::1]:4437", expected: "http://[::1]:4437/v1/stream/a"),
        Place(host: "", expected: "/v1/stream/a"), Place(host: nil, version: "1.0", expected: "/v1/stream/a"),
        Place(host: nil, fields: ["X-Forwarded-Host: a.example"], version: "1.0", expected: "http://a.example/v1/stream/a"),
        Place(target: "http://other.example:80/v1/stream/a", expected: "http://other.example:80/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: https"], expected: "https://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: HTTPS"], expected: "https://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: http"], secure: true, expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: https , http"], expected: "https://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: http,https"], secure: true, expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto: javascript"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Proto:"], secure: true, expected: "https://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: public.example"], expected: "http://public.example/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: public.example:8443 , inner"], expected: "http://public.example:8443/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: a/b"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: user@evil"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: a b"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host:"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: , x"], expected: "http://example.org:4437/v1/stream/a"),
        Place(fields: ["X-Forwarded-Host: :80"], expected: "http://example.org:4437/v1/stream/a"),
        Place(
            target: "http://other.example/v1/stream/a", fields: ["X-Forwarded-Host: public.example", "X-Forwarded-Proto: https"],
            expected: "https://public.example/v1/stream/a"),
    ])
    func location(place: Place) throws {
        let request = try request("PUT", place.target, place.fields, host: place.host, version: place.version, secure: place.secure)
        #expect(request.context.location.map(text) == place.expected)
        for method in ["GET", "HEAD", "POST", "DELETE"] {
            #expect(
                try StreamHTTPTests.request(method, place.target, place.fields, host: place.host, version: place.version).context.location
                    == nil)
        }
    }

    // MARK: Append

    static func append(_ fields: [String]) throws -> AppendRequest {
        guard case .append(let append) = try request("POST", "/v1/stream/a", fields).verb else { throw NotRouted() }
        return append
    }

    @Test(
        arguments: [
            ([], nil), (["Stream-Seq: a"], "a"), (["stream-seq:  a b,c \t"], "a b,c"), (["Stream-Seq:"], ""), (["Stream-Seq: é"], "é"),
        ] as [([String], String?)])
    func sequences(fields: [String], expected: String?) throws {
        #expect(try Self.append(fields).sequence.map(text) == expected)
    }

    /// A type is judged against the stream's when there is content; what is no media type is refused there, by the mismatch.
    @Test(
        arguments: [
            ([], nil), (["Content-Type: text/plain"], "text/plain"), (["Content-Type:"], nil), (["Content-Type: nonsense"], "nonsense"),
        ] as [([String], String?)])
    func typesOfAppends(fields: [String], expected: String?) throws {
        #expect(try Self.append(fields).contentType?.text == expected)
    }

    @Test(
        arguments: [
            ("p", "0", "0", 0, 0),
            (" my producer/1 ", "9007199254740991", "9007199254740991", 9_007_199_254_740_991, 9_007_199_254_740_991),
            ("é", "12", "34", 12, 34),
        ] as [(String, String, String, UInt64, UInt64)])
    func producers(id: String, epoch: String, number: String, wantedEpoch: UInt64, wantedNumber: UInt64) throws {
        let stamp = try #require(try Self.append(["Producer-Id: \(id)", "producer-epoch: \(epoch)", "PRODUCER-SEQ: \(number)"]).producer)
        let trimmed = String(id.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
        #expect(text(stamp.id) == trimmed && stamp.epoch == wantedEpoch && stamp.sequence == wantedNumber)
        #expect(try Self.append([]).producer == nil)
    }

    @Test(arguments: [
        (["Producer-Id: p"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Epoch: 0"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Seq: 0"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Id: p", "Producer-Epoch: 0"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Id: p", "Producer-Seq: 0"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Epoch: 0", "Producer-Seq: 0"], "Producer-Id, Producer-Epoch and Producer-Seq"),
        (["Producer-Id:", "Producer-Epoch: 0", "Producer-Seq: 0"], "Producer-Id"),
        (["Producer-Id: p", "Producer-Epoch:", "Producer-Seq: 0"], "Producer-Epoch"),
        (["Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq:"], "Producer-Seq"),
        (["Producer-Id: p", "Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0"], "Producer-Id is given twice"),
        (["Producer-Id: p", "Producer-Epoch: 0", "Producer-Epoch: 0", "Producer-Seq: 0"], "Producer-Epoch is given twice"),
        (["Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0", "Producer-Seq: 0"], "Producer-Seq is given twice"),
        (["Stream-Seq: a", "Stream-Seq: b"], "Stream-Seq is given twice"),
        (["Content-Type: a/b", "Content-Type: a/b"], "Content-Type is given twice"),
    ])
    func refusedAppends(fields: [String], word: String) throws {
        let problem = try problem("POST", "/v1/stream/a", fields)
        #expect(problem.status == 400 && problem.text.contains(word) && problem.text.contains("expected"), "\(problem)")
    }

    @Test(arguments: ["-1", "+1", "01", "1.0", "1e2", "x", "9007199254740992", "18446744073709551616", "1 2", "0x1"])
    func refusedProducerNumbers(value: String) throws {
        for (epoch, number, word) in [(value, "0", "Producer-Epoch"), ("0", value, "Producer-Seq")] {
            let problem = try problem("POST", "/v1/stream/a", ["Producer-Id: p", "Producer-Epoch: \(epoch)", "Producer-Seq: \(number)"])
            #expect(problem.status == 400 && problem.text.contains(word) && problem.text.contains("9007199254740991"), "\(problem)")
        }
    }

    /// What the body decides (PROTOCOL.md 3): content, type, closing → the completed request, or the word of the refusal.
    @Test(
        arguments: [
            (1, "text/plain", false, nil), (1, "text/plain", true, nil), (1, nil, false, "Content-Type"), (1, nil, true, "Content-Type"),
            (0, "text/plain", true, nil), (0, nil, true, nil), (0, "text/plain", false, "body is empty"), (0, nil, false, "body is empty"),
        ] as [(Int, String?, Bool, String?)])
    func completedAppends(count: Int, type: String?, closes: Bool, refusal: String?) throws {
        let request = try Self.append((type.map { ["Content-Type: \($0)"] } ?? []) + (closes ? ["Stream-Closed: true"] : []))
        do throws(Problem) {
            let complete = try StreamRequest.complete(request, contentCount: count)
            #expect(refusal == nil && complete.hasContent == (count > 0) && complete.closes == closes)
            #expect(complete.contentType?.text == (count > 0 ? type : nil))
        } catch {
            #expect(error.status == 400 && refusal.map { error.text.contains($0) } == true, "\(error)")
        }
    }

    // MARK: Origins

    private static var listed: Router {
        var settings = RouterSettings()
        settings.origins = [Array("https://app.example".utf8)]
        return Router(settings)
    }

    @Test func originsMatterOnlyWhenTheyAreListed() throws {
        let fields = ["Origin: https://app.example"]
        for matters in [false, true] {
            var settings = RouterSettings()
            settings.origins = matters ? [Array("https://app.example".utf8)] : nil
            let router = Router(settings)
            for (method, target) in [
                ("GET", "/v1/stream/a"), ("OPTIONS", "/v1/stream/a"), ("PUT", "/"), ("GET", "/v1/stream/a?live=x"), ("X", "/v1/stream/a"),
                ("GET", "/healthz"), ("PUT", "/readyz"),
            ] {
                let context: ResponseContext
                switch try route(method, target, fields, router: router) {
                case .stream(let request): context = request.context
                case .control(let request): context = request.context
                case .preflight(let preflight): context = preflight
                case .problem(_, let refused): context = refused
                }
                #expect(context.origin.map(text) == (matters ? "https://app.example" : nil), "\(method) \(target)")
            }
        }
        guard case .stream(let request) = try route("GET", "/v1/stream/a", router: Self.listed) else { throw NotRouted() }
        #expect(request.context.origin == nil)
    }

    /// A refusal keeps what its answer depends on.
    @Test func refusalsOfHeadHaveNoBody() throws {
        guard case .problem(_, let context) = try route("HEAD", "/") else { throw NotRouted() }
        #expect(context.headOnly)
    }

    /// One router serves request after request; nothing of one is seen in the next.
    @Test func nothingStays() throws {
        var router = Router()
        for (target, name) in [("/v1/stream/%61%62", "ab"), ("/v1/stream/c", "c"), ("/v1/stream/%zz", nil), ("/v1/stream/%64", "d")] {
            let bytes = Array("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
            try bytes.withUnsafeBytes { bytes in
                var head = RequestHead()
                try head.parse(bytes, limits: WireLimits())
                switch router.route(head, bytes, RequestPeer(secure: false)) {
                case .stream(let request): #expect(text(request.name) == name)
                default: #expect(name == nil)
                }
            }
        }
    }

    // MARK: Who may ask

    private static func router(_ change: (inout RouterSettings) -> Void) -> Router {
        var settings = RouterSettings()
        change(&settings)
        return Router(settings)
    }

    private func status(
        _ method: String, _ fields: [String] = [], host: String? = "example.org:4437", secure: Bool = false, trusted: Bool = false,
        _ router: Router
    ) throws -> Int? {
        let routed = try route(method, "/v1/stream/a", fields, host: host, secure: secure, trusted: trusted, router: router)
        if case .problem(let problem, _) = routed { return problem.status }
        return nil
    }

    @Test func hostsThatAreServed() throws {
        let router = Self.router { $0.allowsHost = { String(decoding: $0, as: UTF8.self) == "good.example" } }
        for method in ["GET", "POST", "OPTIONS", "PATCH"] {
            #expect(try status(method, host: "evil.example", router) == 421)
            #expect(try status(method, host: "good.example", router) != 421)
        }
        // Of a proxy that is trusted, the host that the client has asked it for.
        let forwarded = ["X-Forwarded-Host: good.example"]
        #expect(try status("GET", forwarded, host: "inner", trusted: true, router) == nil)
        #expect(try status("GET", forwarded, host: "inner", trusted: false, router) == 421)
        #expect(try status("GET", ["X-Forwarded-Host: evil.example"], host: "good.example", trusted: true, router) == 421)
    }

    @Test(arguments: ["script", "SCRIPT"]) func serviceWorkers(value: String) throws {
        #expect(try status("GET", ["Service-Worker: \(value)"], Router()) == 403)
        #expect(try status("GET", ["Service-Worker: \(value)x"], Router()) == nil)
    }

    /// With a list of origins, pages of others change nothing; the server's own pages, those in the list, and clients that are no page, may.
    @Test func changesByForeignPages() throws {
        let router = Self.listed
        for method in ["PUT", "POST", "DELETE"] {
            for (origin, host, secure, expected) in [
                ("https://app.example", "example.org", false, nil), ("https://evil.example", "example.org", false, 403),
                ("null", "example.org", false, 403),
                ("http://example.org", "example.org", false, nil), ("http://example.org", "EXAMPLE.org", false, nil),
                ("http://example.org", "example.org", true, 403),
                ("https://example.org", "example.org", true, nil), ("http://example.org:81", "example.org", false, 403),
            ] as [(String, String, Bool, Int?)] {
                #expect(try status(method, ["Origin: \(origin)"], host: host, secure: secure, router) == expected, "\(method) \(origin)")
            }
            #expect(try status(method, [], router) == nil)
        }
        #expect(try status("GET", ["Origin: https://evil.example"], router) == nil)
        #expect(try status("PUT", ["Origin: https://evil.example"], Router()) == nil)
    }

    @Test(arguments: [
        ("gzip", true), ("identity", false), ("Identity", false), ("", false), ("identity, identity", false), ("identity, br", true),
        (" , ", false),
        ("x", true),
    ])
    func contentEncoding(value: String, refused: Bool) throws {
        for method in ["PUT", "POST"] {
            #expect(try status(method, ["Content-Encoding: \(value)"], Router()) == (refused ? 415 : nil), "\(method)")
        }
        #expect(try status("POST", ["Content-Encoding: identity", "Content-Encoding: \(value)"], Router()) == (refused ? 415 : nil))
        for method in ["GET", "DELETE", "HEAD"] { #expect(try status(method, ["Content-Encoding: \(value)"], Router()) == nil) }
    }

    @Test(arguments: [("*", StreamCondition.exists), ("\"x\"", .never), ("", .never), ("*, \"x\"", .never)])
    func ifMatch(value: String, condition: StreamCondition) throws {
        for method in ["PUT", "POST", "DELETE"] {
            #expect(try request(method, "/v1/stream/a", ["If-Match: \(value)"]).condition == condition)
        }
        #expect(try request("POST", "/v1/stream/a", ["If-Match: *", "If-Match: *"]).condition == .never)
        let read = try request("GET", "/v1/stream/a", ["If-Match: \(value)"])
        #expect(read.condition == .none && read.context.ifMatch.map(text) == value && !read.context.isPlain)
        #expect(try request("PUT", "/v1/stream/a").condition == .none)
    }

    @Test func lastEventID() throws {
        let token = "0000000000000000_0000000000000042"
        func read(_ target: String, _ fields: [String]) throws -> (ReadRequest, ResponseContext) {
            let asked = try request("GET", "/v1/stream/a\(target)", fields)
            guard case .read(let read) = asked.verb else { throw NotRouted() }
            return (read, asked.context)
        }
        for offset in ["-1", "now", "0000000000000000_0000000000000007"] {
            let (asked, context) = try read("?offset=\(offset)&live=sse", ["Last-Event-ID: \(token)"])
            #expect(asked.start == .position(42) && asked.mode == .events && context.isResumption && !context.fromNow)
        }
        // Any other value, and any other kind of read, is as without it.
        for value in ["", "x", "42", token + "0", "-1", "now", "0000000000000001_0000000000000042"] {
            let (asked, context) = try read("?offset=now&live=sse", ["Last-Event-ID: \(value)"])
            #expect(asked.start == .now && !context.isResumption && context.fromNow, "\(value)")
        }
        let (asked, context) = try read("?offset=now&live=long-poll", ["Last-Event-ID: \(token)"])
        #expect(asked.start == .now && !context.isResumption)
        #expect(try problem("GET", "/v1/stream/a?live=sse", ["Last-Event-ID: \(token)"]).status == 400)
    }

    @Test func boundsOfWhatIsKept() throws {
        func field(_ name: String, _ count: Int) -> String { "\(name): " + String(repeating: "x", count: count) }
        let numbers = ["Producer-Epoch: 0", "Producer-Seq: 0"]
        #expect(try status("POST", [field("Producer-Id", 256)] + numbers, Router()) == nil)
        #expect(try status("POST", [field("Producer-Id", 257)] + numbers, Router()) == 400)
        #expect(try status("POST", [field("Stream-Seq", 1024)], Router()) == nil)
        #expect(try status("POST", [field("Stream-Seq", 1025)], Router()) == 400)
        #expect(try status("PUT", ["Content-Type: a/" + String(repeating: "x", count: 1022)], Router()) == nil)
        #expect(try status("PUT", ["Content-Type: a/" + String(repeating: "x", count: 1023)], Router()) == 400)
        #expect(try status("PUT", [field("Stream-Expires-At", 65)], Router()) == 400)
        // Of an append the type counts only with content.
        guard
            case .append(let append) = try request(
                "POST", "/v1/stream/a", ["Content-Type: a/" + String(repeating: "x", count: 1023), "Stream-Closed: true"]
            ).verb
        else { throw NotRouted() }
        #expect(try StreamRequest.complete(append, contentCount: 0).contentType == nil)
        #expect(throws: Problem.self) { try StreamRequest.complete(append, contentCount: 1) }
    }

    @Test func forksStayInTheirSegment() throws {
        let router = Self.router { $0.forksStayInSegment = true }
        func fork(_ target: String, _ source: String) throws -> Int? {
            let routed = try route("PUT", "/v1/stream/\(target)", ["Stream-Forked-From: /v1/stream/\(source)"], router: router)
            if case .problem(let problem, _) = routed { return problem.status }
            return nil
        }
        #expect(try fork("a/x", "a/y") == nil)
        #expect(try fork("a/x", "a") == nil)
        #expect(try fork("a/x", "b/y") == 403)
        #expect(try fork("a/x", "ab/y") == 403)
        #expect(try fork("a/x", "a%2Fy") == 403)
        #expect(try fork("a/x", "%61/y") == nil)
    }

    @Test func forwardedFieldsOfStrangers() throws {
        let fields = ["X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"]
        for (trusted, expected) in [(true, "https://evil.example/v1/stream/a"), (false, "http://example.org:4437/v1/stream/a")] {
            guard case .stream(let request) = try route("PUT", "/v1/stream/a", fields, trusted: trusted) else { throw NotRouted() }
            #expect(request.context.location.map(text) == expected)
        }
    }
}
