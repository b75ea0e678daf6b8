// PROTOCOL.md section 7: what a PUT that forks may ask, what it is answered, and what a fork is to begin with. Reading forks is in
// ForkReadingTests, their ends in ForkEndTests, restarts in ForkRestartTests.

import Glibc
import Testing

@Suite struct ForkTests {
    static let server = SuiteServer(.dev, "--chunk-size", "4KiB")

    private let text = ["Content-Type: text/plain"]

    /// A refused fork leaves no trace: neither under its name nor on the source, which is gone at once when it is deleted.
    private func leavesNoTrace(_ fork: TestStream, on source: TestStream) throws {
        #expect(try fork.head().status == 404)
        #expect(try source.delete().status == 204)
        #expect(try source.head().status == 404 && source.put(["Content-Type: \(source.type)"]).status == 201)
    }

    // MARK: Where it begins

    @Test(
        "The fork reads the source's bytes up to the fork point, then its own; same offsets as the source",
        arguments: ["text/plain", "application/octet-stream", "application/json"])
    func begins(type: String) throws {
        let source = try Self.server.stream(type)
        let pieces: [Payload] = ["11", "222", "3333"]
        var offsets = [try source.create()]
        for piece in pieces { offsets.append(try source.append(piece)) }
        func content(_ pieces: some Sequence<Payload>) -> String {
            let parts = pieces.map { String(decoding: $0.bytes, as: UTF8.self) }
            return type == "application/json" ? "[\(parts.joined(separator: ","))]" : parts.joined()
        }
        for (count, offset) in offsets.enumerated() {
            let fork = try source.fork(at: offset)
            #expect(try fork.head().offset == offset)
            #expect(try fork.messages() == content(pieces.prefix(count)))
            let tail = try fork.append("9")
            #expect(try fork.messages() == content(pieces.prefix(count) + ["9"]))
            #expect(tail > offset)
            // Every offset up to the fork point is valid on both and means the same.
            for (index, earlier) in offsets.prefix(count + 1).enumerated() {
                #expect(try fork.messages("offset=\(earlier)") == content(pieces.prefix(count).dropFirst(index) + ["9"]))
            }
            #expect(try fork.messages("offset=\(tail)") == content([]))
            let beyond = try Offset.at(Offset.position(tail) + 1)
            #expect(try fork.get("offset=\(beyond)").status == 400)
        }
        // Absent: the source's tail.
        #expect(try source.fork().messages() == content(pieces))
        #expect(try source.messages() == content(pieces))
    }

    @Test("201 with Location, type, offset after the body; fork headers are never echoed")
    func answer() throws {
        let source = try Self.server.stream()
        try source.create("abc")
        let fork = try Self.server.get().stream()
        let fields = source.forkFields(at: Offset.at(2), sub: "1")
        let created = try fork.put(fields, "defg")
        #expect(created.status == 201 && created["Location"] == "\(Transport.current.scheme)://127.0.0.1:\(fork.server.port)\(fork.path)")
        #expect(created["Content-Type"] == "text/plain" && created.offset == Offset.at(7) && !created.isClosed)
        let others = [
            try fork.put(fields), try fork.head(), try fork.get(), try fork.get("offset=\(Offset.at(7))&live=long-poll&offset=1"),
            try fork.post(text, "x"), try fork.delete(), try fork.put(fields + ["Stream-TTL: x"]), try fork.put(source.forkFields(at: "x")),
        ]
        #expect(others.map(\.status) == [200, 200, 200, 400, 204, 204, 400, 400])
        for response in [created] + others {
            #expect(response.fields.allSatisfy { !$0.name.lowercased().hasPrefix("stream-fork") }, "\(response.summary)")
        }
    }

    @Test(
        "Offset malformed: 400, no trace",
        arguments: [
            "", "-1", "now", "0", "3", "0000000000000000", "0000000000000000_", "0000000000000000_000000000000000",
            "0000000000000000_00000000000000003", "0000000000000001_0000000000000003", "0000000000000000_000000000000000x",
            "0000000000000000-0000000000000003", "0000000000000000_+000000000000003", "%30000000000000000_0000000000000003",
            "0000000000000000_0000000000000003, 0000000000000000_0000000000000003",
        ])
    func malformedOffset(offset: String) throws {
        let source = try Self.server.stream()
        try source.create("abcdef")
        let fork = try Self.server.get().stream()
        let response = try fork.put(source.forkFields(at: offset))
        #expect(response.status == 400 && response.text.contains("Stream-Fork-Offset"), "\(response.summary)")
        try leavesNoTrace(fork, on: source)
    }

    @Test("Offset beyond the tail: 400", arguments: ["text/plain", "application/json"], [4, 5, 9_999_999_999_999_999])
    func beyondTail(type: String, position: Int) throws {
        let source = try Self.server.stream(type)
        // Three bytes of text; of JSON, the number and the two bytes behind it.
        try source.create(type == "text/plain" ? "123" : "1")
        let fork = try Self.server.get().stream()
        let response = try fork.put(source.forkFields(at: Offset.at(position)))
        #expect(response.status == 400 && response.text.contains("Stream-Fork-Offset"), "\(response.summary)")
        try leavesNoTrace(fork, on: source)
    }

    @Test("A position that is no message boundary of a JSON stream: 400")
    func noBoundary() throws {
        let source = try Self.server.stream("application/json")
        let first = try Offset.position(source.create("[11,22]"))
        let second = try Offset.position(source.append("{\"three\":3}"))
        let middle = first / 2
        for position in 0...second {
            let fork = try Self.server.get().stream()
            let response = try fork.put(source.forkFields(at: Offset.at(position)))
            #expect(response.status == ([0, middle, first, second].contains(position) ? 201 : 400), "\(position): \(response.summary)")
        }
        // Also in a fork, whose own bytes begin at a boundary.
        let fork = try source.fork(at: Offset.at(middle), [], "[4,5]")
        for position in 0...(try Offset.position(fork.tail())) {
            let response = try Self.server.get().stream().put(fork.forkFields(at: Offset.at(position)))
            let isBoundary = position == 0 || position == middle || position > middle && (position - middle) % 3 == 0
            #expect(response.status == (isBoundary ? 201 : 400), "\(position): \(response.summary)")
        }
    }

    @Test("Sub-offset of bytes: 0, some, the exact end; past the data that follows: 400; on forks too, across the fork point")
    func subOffsetOfBytes() throws {
        let root = try Self.server.stream("application/octet-stream")
        try root.create("0123")
        let tail = try root.append("456789")
        let branch = try root.fork(at: Offset.at(4), sub: "3", [], "abc")
        let after = try root.append(.letters(9000))
        for (source, content) in [(root, "0123456789"), (branch, "0123456abc")] {
            let end = source.path == root.path ? 9010 : 10
            for start in [0, 4, 5, 7, 10] {
                for sub in [0, 1, 2, 10 - start] where start + sub <= 10 {
                    let fork = try source.fork(at: Offset.at(start), sub: "\(sub)")
                    let wanted = String(content.prefix(start + sub))
                    #expect(try fork.get().text == wanted && fork.tail() == Offset.at(start + sub), "\(start)+\(sub)")
                }
                for sub in ["\(end - start + 1)", "99999", "9007199254740991"] {
                    let response = try Self.server.get().stream().put(source.forkFields(at: Offset.at(start), sub: sub))
                    #expect(response.status == 400 && response.text.contains("Sub-Offset"), "\(start)+\(sub): \(response.summary)")
                }
            }
        }
        #expect(try Offset.position(after) == 9010 && tail == Offset.at(10))
        // The default is the tail, which nothing follows.
        #expect(try root.fork(sub: "0").tail() == after)
        #expect(try Self.server.get().stream().put(root.forkFields(sub: "1")).status == 400)
    }

    @Test("Sub-offset of a JSON stream: that many messages past the fork offset, over many chunks, on forks too")
    func subOffsetOfMessages() throws {
        let root = try Self.server.stream("application/json")
        // Messages of very different lengths; some are larger than a chunk, whose size is 4 KiB.
        let words = (0..<300).map { "\"\(String(repeating: "m", count: $0 % 50 == 49 ? 5000 : $0 % 7)) \($0)\"" }
        var offsets = [try root.create()]
        for start in stride(from: 0, to: 200, by: 8) {
            offsets.append(try root.append("[\(words[start..<start + 8].joined(separator: ","))]"))
        }
        let branch = try root.fork(at: offsets[20], sub: "3", [], "[\(words[200..<300].joined(separator: ","))]")
        let whole = words[..<163] + words[200..<300]
        for (source, words) in [(root, words[..<200]), (branch, whole)] {
            for (count, sub) in [(0, 0), (0, 1), (0, 199), (3, 1), (3, 100), (20, 0), (20, 3), (20, 4), (20, 40)] {
                let fork = try source.fork(at: offsets[count], sub: "\(sub)")
                let expected = words.prefix(count * 8 + sub)
                let read = String(decoding: try fork.contents(), as: UTF8.self)
                let found = read.split(whereSeparator: { "[],\n".contains($0) }).map(\.trimmed).filter { !$0.isEmpty }
                #expect(found == Array(expected).map { String($0) }, "\(count)+\(sub)")
            }
            let all = words.count
            #expect(try source.fork(at: offsets[3], sub: "\(all - 24)").tail() == source.tail())
            for sub in [all - 23, all, 9_007_199_254_740_991] {
                let response = try Self.server.get().stream().put(source.forkFields(at: offsets[3], sub: "\(sub)"))
                #expect(response.status == 400 && response.text.contains("Sub-Offset"), "\(sub): \(response.summary)")
            }
        }
        #expect(try Self.server.get().stream().put(root.forkFields(sub: "1")).status == 400)
    }

    @Test(
        "Sub-offset malformed: 400", arguments: ["", "-1", "+1", "01", "00", "1.0", "1e0", "0x1", "a", "1 2", "9007199254740992", "1, 1"])
    func malformedSubOffset(sub: String) throws {
        let source = try Self.server.stream()
        try source.create("abcdef")
        let fork = try Self.server.get().stream()
        for offset in [nil, Offset.start] {
            let response = try fork.put(source.forkFields(at: offset, sub: sub))
            #expect(response.status == 400 && response.text.contains("Stream-Fork-Sub-Offset"), "\(response.summary)")
        }
        try leavesNoTrace(fork, on: source)
    }

    @Test("Offset or sub-offset without Stream-Forked-From: 400")
    func withoutSource() throws {
        let stream = try Self.server.stream()
        for field in ["Stream-Fork-Offset: \(Offset.start)", "Stream-Fork-Sub-Offset: 0", "Stream-Fork-Sub-Offset:", "Stream-Fork-Offset:"]
        {
            #expect(try stream.put(text + [field]).status == 400)
        }
        #expect(try stream.head().status == 404)
        // On other methods they are unknown headers, which are ignored.
        try stream.create("x")
        #expect(try stream.post(text + stream.forkFields(at: "?"), "y").status == 204)
        #expect(try stream.get("", stream.forkFields(sub: "?")).text == "xy")
    }

    @Test(
        "Stream-Forked-From is no full path of a stream: 400",
        arguments: [
            "", "/", "source", "v1/stream/source", "/v1/stream", "/v1/stream/", "/v1/source", "http://localhost/v1/stream/source",
            "/v1/stream/a/../b", "/v1/stream/%zz", "/v1/stream/a%00b", "/v1/stream/s?offset=-1", "/v1/stream/s#x", "/v1/stream/__ds/x",
        ])
    func malformedSource(path: String) throws {
        let response = try Self.server.stream().put(["Stream-Forked-From: \(path)"])
        #expect(response.status == 400 && response.text.contains("Stream-Forked-From"), "\(response.summary)")
    }

    @Test("The source's name is percent-decoded like every other; names of several segments; the longest names")
    func names() throws {
        let server = try Self.server.get()
        for (name, same) in [
            ("fork-names/a/b", "fork-names/%61/b"), ("fork-names/%C3%A9", "fork-names/%c3%a9"), ("fork-names/x%2Fy", "fork-names/%78%2fy"),
            (String(repeating: "n", count: 1024), String(repeating: "%6E", count: 1024)),
        ] {
            let source = server.stream(name)
            try source.create("abc")
            let fork = server.stream()
            #expect(try fork.put(["Stream-Forked-From: /v1/stream/\(same)"]).status == 201)
            #expect(try fork.put(["Stream-Forked-From: /v1/stream/\(name)"]).status == 200)
            #expect(try fork.get().text == "abc")
        }
        // `%2F` stays distinct from `/`.
        #expect(try server.stream().put(["Stream-Forked-From: /v1/stream/fork-names/x/y"]).status == 404)
        #expect(try server.stream().put(["Stream-Forked-From: /v1/stream/f", "Stream-Forked-From: /v1/stream/f"]).status == 400)
    }

    // MARK: The source

    @Test("The source is open, closed, missing, soft-deleted, expired with and without forks, or the fork itself")
    func sources() throws {
        let server = try Self.server.get()
        func status(_ source: TestStream) throws -> Int { try server.stream().put(source.forkFields()).status }
        let open = server.stream()
        try open.create("a")
        #expect(try status(open) == 201)
        let closed = server.stream()
        try closed.create("a", ["Stream-Closed: true"])
        #expect(try status(closed) == 201)
        #expect(try status(server.stream()) == 404)
        let deleted = server.stream()
        try deleted.create("a")
        #expect(try deleted.delete().status == 204 && status(deleted) == 404)
        let softlyDeleted = server.stream()
        try softlyDeleted.create("a")
        let fork = try softlyDeleted.fork()
        #expect(try softlyDeleted.delete().status == 204 && status(softlyDeleted) == 409)
        #expect(try status(fork) == 201)
        let expired = server.stream()
        try expired.create("a", ["Stream-TTL: 0"])
        #expect(try status(expired) == 404)
        let past = server.stream()
        #expect(try past.put(text + ["Stream-Expires-At: 2001-01-01T00:00:00Z"]).status == 201 && status(past) == 404)
        let softlyExpired = server.stream()
        try softlyExpired.create("a", ["Stream-TTL: 1"])
        _ = try softlyExpired.fork(["Stream-TTL: 600"])
        #expect(try Deadline.poll(every: .milliseconds(50)) { try softlyExpired.head().status == 410 })
        #expect(try status(softlyExpired) == 409)
        let itself = server.stream()
        #expect(try status(itself) == 404 && itself.put(itself.forkFields()).status == 404)
        try itself.create("a")
        #expect(try itself.put(itself.forkFields()).status == 409)
        // Two that name each other.
        let (one, other) = (server.stream(), server.stream())
        #expect(try one.put(other.forkFields()).status == 404 && other.put(one.forkFields()).status == 404)
    }

    @Test("A fork starts open even if the source is closed; it may be created closed, and closing it closes nothing else")
    func closed() throws {
        let source = try Self.server.stream()
        try source.create("abc", ["Stream-Closed: true"])
        let fork = try source.fork()
        let read = try fork.get()
        #expect(read.text == "abc" && read.isUpToDate && !read.isClosed)
        try fork.append("def")
        #expect(try source.get().text == "abc" && source.post(text, "x").status == 409)
        let short = try source.fork(at: Offset.at(1), ["Stream-Closed: true"], "z")
        #expect(try short.get().text == "az" && short.get().isClosed && short.post(text, "x").status == 409)
        let longPoll = try short.longPoll(from: Offset.at(2)).response()
        #expect(longPoll.status == 204 && longPoll.isClosed)
        let other = try Self.server.stream()
        try other.create("abc")
        #expect(try other.fork(["Stream-Closed: true"]).head().isClosed)
        #expect(try !other.head().isClosed)
        try other.append("d")
        try fork.close()
        #expect(try fork.get().isClosed && !other.get().isClosed)
    }

    @Test("It inherits no producer and no Stream-Seq state")
    func states() throws {
        let source = try Self.server.stream()
        try source.create()
        for seq in 0..<3 { #expect(try source.post(text + TestStream.producer("p", 5, seq), "p").status == 200) }
        try source.append("s", ["Stream-Seq: 9"])
        let fork = try source.fork()
        let gap = try fork.post(text + TestStream.producer("p", 5, 3), "x")
        #expect(gap.status == 409 && gap["Producer-Expected-Seq"] == "0", "\(gap.summary)")
        #expect(try fork.post(text + TestStream.producer("p", 0, 0), "q").status == 200)
        try fork.append("t", ["Stream-Seq: 0"])
        #expect(try fork.get().text == "pppsqt")
        // Nor does the source hear of the fork's.
        #expect(try source.post(text + TestStream.producer("p", 5, 3), "p").status == 200)
        #expect(try source.post(text + ["Stream-Seq: 8"], "x").status == 409)
        #expect(try source.get().text == "pppsp")
    }

    @Test("A body on the PUT is appended to the fork; JSON is validated and flattened; a refused one leaves no trace")
    func bodies() throws {
        let source = try Self.server.stream("application/json")
        try source.create("[1,2]")
        for (body, expected) in [("3", "[1,2,3]"), ("[3,[4]]", "[1,2,3,[4]]"), ("[]", "[1,2]"), ("", "[1,2]"), ("[[]]", "[1,2,[]]")] {
            let fork = try source.fork([], Payload(body.utf8))
            #expect(try fork.messages() == expected)
        }
        let chunked = try Self.server.stream()
        #expect(try chunked.put(source.forkFields(), "[7,8]", chunked: true).status == 201)
        #expect(try chunked.messages() == "[1,2,7,8]")
        let broken = try Self.server.stream()
        #expect(try broken.put(source.forkFields(), "[3").status == 400 && broken.head().status == 404)
        let untouched = try Self.server.stream("application/json")
        try untouched.create("1")
        #expect(try broken.put(untouched.forkFields(), "{").status == 400)
        try leavesNoTrace(broken, on: untouched)
        // The body of a repeated PUT is never appended.
        #expect(try chunked.put(source.forkFields(), "[9]").status == 200)
        #expect(try chunked.messages() == "[1,2,7,8]")
    }

    // MARK: What it inherits

    @Test(
        "Content type: inherited if absent; given and different: 409; compared as elsewhere",
        arguments: [
            ("text/plain", nil, "text/plain"), ("text/plain", "text/plain", "text/plain"),
            ("text/plain", "TEXT/Plain; x=1", "TEXT/Plain; x=1"),
            ("text/plain", "text/html", nil), ("text/plain", "application/octet-stream", nil),
            ("application/json", nil, "application/json"),
            ("application/json; v=2", nil, "application/json; v=2"), ("application/json", "application/json;a=b", "application/json;a=b"),
            ("application/json", "text/plain", nil), ("application/octet-stream", nil, "application/octet-stream"),
            ("application/octet-stream", "application/json", nil), ("text/plain", "", "text/plain"),
        ] as [(String, String?, String?)])
    func contentTypes(of type: String, request: String?, expected: String?) throws {
        let source = try Self.server.stream(type)
        try source.create("1")
        let fork = try Self.server.get().stream()
        let response = try fork.put(source.forkFields() + (request.map { ["Content-Type: \($0)"] } ?? []), "2")
        if let expected {
            #expect(response.status == 201 && response["Content-Type"] == expected, "\(response.summary)")
            #expect(try fork.head()["Content-Type"] == expected && fork.get()["Content-Type"] == expected)
            #expect(try fork.messages() == (type.hasPrefix("application/json") ? "[1,2]" : "12"))
        } else {
            #expect(response.status == 409 && response.text.contains("Content-Type"), "\(response.summary)")
            try leavesNoTrace(fork, on: source)
        }
    }

    private static let expiries = ["", "Stream-TTL: 700", "Stream-Expires-At: 2098-01-02T03:04:05Z"]

    @Test("Expiry: own header if given; else the source's TTL value or its Expires-At", arguments: expiries, expiries)
    func expiry(of source: String, request: String) throws {
        let request = request.replacingOne("700", by: "800").replacingOne("2098", by: "2097")
        let stream = try Self.server.stream()
        try stream.create("x", source.isEmpty ? [] : [source])
        let fork = try stream.fork(request.isEmpty ? [] : [request])
        let expected = request.isEmpty ? source : request
        let head = try fork.head()
        #expect(
            (head["Stream-TTL"].map { "Stream-TTL: \($0)" } ?? head["Stream-Expires-At"].map { "Stream-Expires-At: \($0)" } ?? "")
                == expected)
        #expect(head["Stream-TTL"] == nil || head["Stream-Expires-At"] == nil)
        // Absent or spelled out, it is the same configuration; every other is not.
        #expect(try fork.put(stream.forkFields() + (expected.isEmpty ? [] : [expected])).status == 200)
        #expect(try fork.put(stream.forkFields()).status == (expected == source ? 200 : 409))
        #expect(try fork.put(stream.forkFields() + ["Stream-TTL: 801"]).status == 409)
        // A fork of the fork inherits from the fork.
        let next = try fork.fork().head()
        #expect(next["Stream-TTL"] == head["Stream-TTL"] && next["Stream-Expires-At"] == head["Stream-Expires-At"])
        #expect(try stream.put(stream.forkFields() + ["Stream-TTL: 1", "Stream-Expires-At: 2098-01-02T03:04:05Z"]).status == 400)
    }

    @Test(
        "An inherited TTL has its own window: reading the fork does not renew the source, nor the other way round",
        arguments: [true, false])
    func windows(forkLives: Bool) throws {
        let source = try Self.server.stream()
        try source.create("x", ["Stream-TTL: 1"])
        let fork = try source.fork()
        let (kept, left) = forkLives ? (fork, source) : (source, fork)
        let client = try kept.server.connect()
        // The source is softly deleted, because its fork is there.
        let isGone = try Deadline.poll(within: .seconds(6), every: .milliseconds(50)) {
            #expect(try kept.get(over: client).text == "x")
            return try left.head().status == (forkLives ? 410 : 404)
        }
        #expect(isGone)
        #expect(try kept.get(over: client).text == "x")
    }

    // MARK: Once more

    @Test("Target exists: with the same configuration 200, with another, fork origin and offset included, 409")
    func again() throws {
        let source = try Self.server.stream()
        try source.create("abcdef")
        let twin = try Self.server.stream()
        try twin.create("abcdef")
        let fields = source.forkFields(at: Offset.at(2), sub: "1")
        let fork = try source.fork(at: Offset.at(2), sub: "1", ["Stream-TTL: 60"], "xyz")
        let ttl = ["Stream-TTL: 60"]
        let missing = try Self.server.stream()
        for (fields, status) in [
            (fields + ttl, 200), (fields + ttl + text, 200), (fields + ttl + ["Content-Type: Text/Plain; a=b"], 200),
            (fields + ttl + ["Stream-Closed: false"], 200),
            // Each header left out or changed.
            (fields, 409), (fields + ["Stream-TTL: 61"], 409), (fields + ["Stream-Expires-At: 2098-01-02T03:04:05Z"], 409),
            (fields + ttl + ["Content-Type: text/html"], 409), (fields + ttl + ["Stream-Closed: true"], 409),
            (ttl + text, 409), (ttl, 409),
            (ttl + twin.forkFields(at: Offset.at(2), sub: "1"), 409), (ttl + fork.forkFields(at: Offset.at(2), sub: "1"), 409),
            (ttl + source.forkFields(at: Offset.at(2)), 409), (ttl + source.forkFields(at: Offset.at(2), sub: "0"), 409),
            (ttl + source.forkFields(at: Offset.at(2), sub: "2"), 409), (ttl + source.forkFields(at: Offset.at(1), sub: "1"), 409),
            (ttl + source.forkFields(sub: "1"), 409), (ttl + source.forkFields(), 409),
            (ttl + missing.forkFields(at: Offset.at(2), sub: "1"), 409),
        ] as [([String], Int)] {
            let response = try fork.put(fields, "never")
            #expect(response.status == status, "\(fields): \(response.summary)")
            if status == 200 { #expect(response.offset == Offset.at(6) && response["Content-Type"] == "text/plain") }
        }
        #expect(try fork.get().text == "abcxyz")
        // A stream that is no fork is not made one by a PUT that asks for it.
        #expect(try twin.put(text + source.forkFields()).status == 409)
        // The same request is the same also when the source has gone on, was closed or deleted since.
        try source.append("ghi")
        #expect(try fork.put(fields + ttl).status == 200)
        try source.close()
        #expect(try fork.put(fields + ttl).status == 200)
        #expect(try source.delete().status == 204 && fork.put(fields + ttl).status == 200)
        #expect(try fork.put(ttl + source.forkFields(at: Offset.at(3))).status == 409)
        try fork.close()
        #expect(try fork.put(fields + ttl).status == 409 && fork.put(fields + ttl + ["Stream-Closed: true"]).status == 200)
    }

    @Test("The offset left out and repeated: the same fork, whatever the source has got since; spelled out: the same too")
    func againAtTail() throws {
        let source = try Self.server.stream()
        let tail = try source.create("abc")
        let fork = try source.fork()
        #expect(try fork.put(source.forkFields()).status == 200)
        #expect(try fork.put(source.forkFields(at: tail)).status == 200)
        #expect(try fork.put(source.forkFields(at: tail, sub: "0")).status == 200)
        try source.append("def")
        #expect(try fork.put(source.forkFields()).status == 200 && fork.put(source.forkFields(at: tail)).status == 200)
        #expect(try fork.put(source.forkFields(at: Offset.at(6))).status == 409)
        #expect(try fork.get().text == "abc")
    }
}

extension String {
    /// The first occurrence replaced; the standard library has no such function.
    func replacingOne(_ part: String, by other: String) -> String {
        guard let range = firstRange(of: part) else { return self }
        return String(self[..<range.lowerBound]) + other + String(self[range.upperBound...])
    }
}
