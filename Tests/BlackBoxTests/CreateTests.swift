// PROTOCOL.md section 2.

import Testing

@Suite struct CreateTests {
    static let server = SuiteServer()

    @Test("201: Location, Content-Type, Stream-Next-Offset")
    func created() throws {
        let stream = try Self.server.stream()
        let response = try stream.put(["Host: streams.example:8080", "Content-Type: text/plain"])
        #expect(response.status == 201)
        #expect(response["Location"] == "\(Transport.current.scheme)://streams.example:8080\(stream.path)")
        #expect(response["Content-Type"] == "text/plain")
        #expect(response.offset == Offset.start)
        #expect(response["Stream-Closed"] == nil)
        #expect(response.body.isEmpty)
    }

    @Test(
        "Location: scheme from the connection or X-Forwarded-Proto, authority from X-Forwarded-Host or Host",
        arguments: [
            (["Host: a.example"], "own://a.example"), (["Host: a.example:81"], "own://a.example:81"),
            (["Host: a.example", "X-Forwarded-Proto: https"], "https://a.example"),
            (["Host: a.example", "X-Forwarded-Proto: http"], "http://a.example"),
            (["Host: a.example", "X-Forwarded-Host: b.example"], "own://b.example"),
            (["Host: a.example", "X-Forwarded-Host: b.example:444", "X-Forwarded-Proto: https"], "https://b.example:444"),
            (["Host: [::1]:4437"], "own://[::1]:4437"),
        ] as [([String], String)])
    func location(fields: [String], base: String) throws {
        let stream = try Self.server.stream()
        let response = try stream.put(fields)
        let base = base.replacing("own:", with: Transport.current.scheme + ":")
        #expect(response.status == 201 && response["Location"] == base + stream.path, "\(response.summary)")
    }

    @Test("Location names the stream again, whatever its name")
    func locationOfOddNames() throws {
        let server = try Self.server.get()
        let base = "\(Transport.current.scheme)://h"
        for name in ["odd/a%20b", "odd/a%2Fb", "odd/%E6%BC%A2", "odd/a%25b", "odd/a%3Fb%23c", "odd/%FF"] {
            let response = try server.stream(name).put(["Host: h"], "here")
            let location = try #require(response["Location"])
            #expect(location.hasPrefix(base + "/v1/stream/odd/"))
            #expect(try server.connect().exchange("GET", String(location.dropFirst(base.count))).text == "here", "\(location)")
        }
        let absolute = try server.connect().exchange("PUT", "http://abs.example/v1/stream/odd/absolute?x=y", ["Host: abs.example"])
        // The connection's scheme, whatever the target says.
        let expected = "\(Transport.current.scheme)://abs.example/v1/stream/odd/absolute"
        #expect(absolute["Location"] == expected, "\(absolute.summary)")
    }

    @Test("Content-Type: default application/octet-stream")
    func defaultType() throws {
        let stream = try Self.server.stream()
        #expect(try stream.put()["Content-Type"] == "application/octet-stream")
        #expect(try stream.get()["Content-Type"] == "application/octet-stream")
        #expect(try stream.put(["Content-Type: application/octet-stream"]).status == 200)
        #expect(try stream.post(["Content-Type: application/octet-stream"], "x").status == 204)
    }

    @Test("The body, also when sent chunked, becomes the first content", arguments: [false, true])
    func firstContent(chunked: Bool) throws {
        for size in [0, 1, 6, 7, 8, 5000, 200_000] {
            let stream = try Self.server.stream()
            let body = Payload.pattern(size)
            let response = try stream.put(["Content-Type: image/png"], body, chunked: chunked)
            #expect(response.status == 201)
            #expect(try Offset.position(response.offset ?? "") == size)
            #expect(try stream.contents() == body.bytes)
        }
    }

    @Test("Stream-Closed: true when created closed, with or without content")
    func createdClosed() throws {
        for body: Payload? in [nil, "", "all there is"] {
            let stream = try Self.server.stream()
            let response = try stream.put(["Content-Type: text/plain", "Stream-Closed: true"], body)
            #expect(response.status == 201 && response.isClosed, "\(response.summary)")
            #expect(response.offset == Offset.at(body?.bytes.count ?? 0))
            let read = try stream.get()
            #expect(read.body == body?.bytes ?? [] && read.isClosed && read.isUpToDate)
            #expect(try stream.post(["Content-Type: text/plain"], "more").status == 409)
        }
    }

    @Test(
        "A stream that exists: 200 with the same headers if content type, TTL/expiry and closed status all match, else 409",
        arguments: [
            // first request, second request, second status
            ([], [], 200),
            (["Content-Type: text/plain"], ["Content-Type: text/plain"], 200),
            (["Content-Type: text/plain"], [], 409),
            (["Content-Type: text/plain"], ["Content-Type: text/html"], 409),
            (["Content-Type: text/plain"], ["Content-Type: application/json"], 409),
            ([], ["Content-Type: text/plain"], 409),
            (["Stream-TTL: 600"], ["Stream-TTL: 600"], 200),
            (["Stream-TTL: 600"], ["Stream-TTL: 601"], 409),
            (["Stream-TTL: 600"], [], 409),
            ([], ["Stream-TTL: 600"], 409),
            (["Stream-TTL: 600"], ["Stream-Expires-At: 2099-01-01T00:00:00Z"], 409),
            (["Stream-Expires-At: 2099-01-01T00:00:00Z"], ["Stream-Expires-At: 2099-01-01T00:00:00Z"], 200),
            (["Stream-Expires-At: 2099-01-01T00:00:00Z"], ["Stream-Expires-At: 2099-01-01T00:00:01Z"], 409),
            (["Stream-Expires-At: 2099-01-01T00:00:00Z"], [], 409),
            ([], ["Stream-Expires-At: 2099-01-01T00:00:00Z"], 409),
            (["Stream-Closed: true"], ["Stream-Closed: true"], 200),
            (["Stream-Closed: true"], [], 409),
            (["Stream-Closed: true"], ["Stream-Closed: false"], 409),
            ([], ["Stream-Closed: true"], 409),
            (["Stream-Closed: false"], [], 200),
            (
                ["Content-Type: text/plain", "Stream-TTL: 60", "Stream-Closed: true"],
                ["Content-Type: text/plain", "Stream-TTL: 60", "Stream-Closed: TRUE"], 200
            ),
        ] as [([String], [String], Int)])
    func repeated(first: [String], second: [String], status: Int) throws {
        let stream = try Self.server.stream()
        let created = try stream.put(first, "once")
        try #require(created.status == 201)
        let response = try stream.put(second, "twice")
        #expect(response.status == status, "\(response.summary)")
        if status == 200 {
            #expect(response["Content-Type"] == created["Content-Type"] && response.offset == created.offset)
            #expect(response.isClosed == created.isClosed)
        }
        // "The body of a repeated PUT is never appended."
        #expect(try stream.contents() == Array("once".utf8))
        // Neither answer has changed anything.
        #expect(try stream.put(first, "thrice").status == 200)
    }

    @Test("closed status: that of the stream now")
    func closedLater() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        try stream.close()
        #expect(try stream.put(["Content-Type: text/plain"]).status == 409)
        let response = try stream.put(["Content-Type: text/plain", "Stream-Closed: true"])
        #expect(response.status == 200 && response.isClosed && response.offset == Offset.at(1), "\(response.summary)")
    }

    @Test("200: Stream-Next-Offset is the tail as it is now")
    func repeatedAfterAppends() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        try stream.append("defg")
        let response = try stream.put(["Content-Type: text/plain"], "abc")
        #expect(response.status == 200 && response.offset == Offset.at(7), "\(response.summary)")
    }

    @Test("Stream-TTL: `0` or digits without leading zero", arguments: ["0", "1", "9", "10", "86400", "2147483648"])
    func goodTTL(value: String) throws {
        let stream = try Self.server.stream()
        let response = try stream.put(["Stream-TTL: \(value)"])
        #expect(response.status == 201, "\(response.summary)")
        if value.count > 2 { #expect(try stream.head()["Stream-TTL"] == value) }
    }

    @Test(
        "Stream-TTL: anything else is 400",
        arguments: [
            "", "00", "01", "007", "+1", "-1", "-0", "1.0", "1.", ".5", "1e3", "1E3", "0x10", "1 0", "1_0", "1,0", "1s", "ten", "NaN",
            "\u{0661}", "1;",
        ])
    func badTTL(value: String) throws {
        let stream = try Self.server.stream()
        let response = try stream.put(["Stream-TTL: \(value)"])
        #expect(response.status == 400, "\(value): \(response.summary)")
        #expect(try stream.head().status == 404)
    }

    @Test(
        "Stream-Expires-At: RFC 3339",
        arguments: [
            "2099-01-01T00:00:00Z", "2099-12-31T23:59:59.999Z", "2099-01-01T00:00:00.123456789Z", "2099-06-15T12:00:00+02:00",
            "2099-06-15T12:00:00-11:30", "2096-02-29T00:00:00Z", "2099-01-01t00:00:00z",
        ])
    func goodExpiry(value: String) throws {
        let stream = try Self.server.stream()
        #expect(try stream.put(["Stream-Expires-At: \(value)"]).status == 201)
        #expect(try stream.head()["Stream-Expires-At"] == value)
    }

    @Test(
        "Stream-Expires-At: anything else is 400",
        arguments: [
            "", "tomorrow", "2099-01-01", "2099-01-01T00:00:00", "2099-01-01T00:00Z", "2099-13-01T00:00:00Z", "2099-00-01T00:00:00Z",
            "2099-02-29T00:00:00Z", "2099-04-31T00:00:00Z", "2099-01-01T24:00:00Z", "2099-01-01T00:60:00Z", "2099-01-01T00:00:61Z",
            "2099-01-01T00:00:00.Z", "2099-01-01T00:00:00+2:00", "2099-01-01T00:00:00+25:00", "2099-01-01T00:00:00 Z", "99-01-01T00:00:00Z",
            "4070908800", "2099-1-1T00:00:00Z", "2099-01-01T00:00:00ZZ", "Wed, 01 Jan 2099 00:00:00 GMT",
        ])
    func badExpiry(value: String) throws {
        let stream = try Self.server.stream()
        let response = try stream.put(["Stream-Expires-At: \(value)"])
        #expect(response.status == 400, "\(value): \(response.summary)")
        #expect(try stream.head().status == 404)
    }

    @Test("Both together: 400")
    func both() throws {
        let stream = try Self.server.stream()
        #expect(try stream.put(["Stream-TTL: 60", "Stream-Expires-At: 2099-01-01T00:00:00Z"]).status == 400)
        #expect(try stream.head().status == 404)
    }

    @Test(
        "Stream-Closed counts only when its value is `true`, compared without case",
        arguments: [
            ("true", true), ("TRUE", true), ("True", true), ("tRuE", true), ("false", false), ("1", false), ("yes", false), ("", false),
            ("truee", false), ("true,true", false), ("\"true\"", false), ("t", false),
        ])
    func closedValues(value: String, counts: Bool) throws {
        let stream = try Self.server.stream()
        let response = try stream.put(["Content-Type: text/plain", "Stream-Closed: \(value)"])
        #expect(response.status == 201 && response.isClosed == counts, "\(response.summary)")
        #expect(try stream.head().isClosed == counts)
        let open = try Self.server.stream()
        try open.create()
        #expect(try open.post(["Content-Type: text/plain", "Stream-Closed: \(value)"], "x").isClosed == counts)
        #expect(try open.head().isClosed == counts)
    }

    @Test("JSON streams: `[]` or an empty body creates an empty stream", arguments: [nil, "", "[]", " [ \n] "] as [String?])
    func emptyJSON(body: String?) throws {
        let stream = try Self.server.stream("application/json")
        #expect(try stream.create(body.map { Payload(stringLiteral: $0) }) == Offset.start)
        let read = try stream.get()
        #expect(read.text == "[]" && read.isUpToDate)
    }

    @Test("JSON streams: otherwise section 8 applies to the body")
    func initialJSON() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create("[{\"a\":1},2]")
        #expect(try stream.get().text.filter { !$0.isWhitespace } == "[{\"a\":1},2]")
        for bad in ["{", "[1,]", " ", "nul", "1 2"] as [Payload] {
            let refused = try Self.server.stream("application/json")
            #expect(try refused.put(["Content-Type: application/json"], bad).status == 400)
            #expect(try refused.head().status == 404)
        }
    }

    @Test(
        "Content types are compared by media type without case and without parameters; responses return the type exactly as created",
        arguments: [
            ("text/plain", "TEXT/Plain", 200), ("Text/PLAIN; Charset=UTF-8", "text/plain", 200),
            ("text/plain", "text/plain;charset=latin1", 200),
            ("text/plain;a=b", "text/plain ; c=d", 200), ("text/plain", "text/plainer", 409), ("text/plain", "text/*", 409),
            ("application/json;v=2", "Application/JSON", 200), ("application/json", "application/json-seq", 409),
            ("application/x-a+json", "application/x-a", 409),
        ])
    func types(created: String, asked: String, status: Int) throws {
        let stream = try Self.server.stream()
        #expect(try stream.put(["Content-Type: \(created)"])["Content-Type"] == created)
        let response = try stream.put(["Content-Type: \(asked)"])
        #expect(response.status == status, "\(response.summary)")
        if status == 200 { #expect(response["Content-Type"] == created) }
        #expect(try stream.post(["Content-Type: \(asked)"], "1").status == (status == 200 ? 204 : 409))
        #expect(try stream.get()["Content-Type"] == created)
        #expect(try stream.head()["Content-Type"] == created)
    }

    @Test("Of many at once that create the same stream, one is told 201 and all others 200")
    func race() throws {
        let stream = try Self.server.stream()
        let clients = try (0..<16).map { _ in try stream.server.connect() }
        for client in clients { try client.send("PUT", stream.path, ["Content-Type: text/plain"], "once") }
        let statuses = try clients.map { try $0.response().status }
        #expect(statuses.filter { $0 == 201 }.count == 1 && statuses.filter { $0 == 200 }.count == 15, "\(statuses)")
        #expect(try stream.contents() == Array("once".utf8))
    }
}
