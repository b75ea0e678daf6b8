// PROTOCOL.md section 3, without producers.

import Testing

@Suite struct AppendAndCloseTests {
    static let server = SuiteServer()
    static let small = SuiteServer(.dev, "--body-limit", "1KiB")

    private let text = ["Content-Type: text/plain"]

    @Test("Success: 204, Stream-Next-Offset = new tail")
    func success() throws {
        let stream = try Self.server.stream()
        try stream.create()
        var position = 0
        var previous = Offset.start
        for size in [1, 2, 3, 500, 70_000, 1] {
            let response = try stream.post(text, .letters(size, seed: size))
            position += size
            #expect(response.status == 204 && response.body.isEmpty, "\(response.summary)")
            #expect(try Offset.position(response.offset ?? "") == position)
            #expect(response["Stream-Closed"] == nil)
            // "compared as strings they order positions"
            #expect(try #require(response.offset) > previous)
            previous = try #require(response.offset)
        }
        #expect(try stream.contents().count == position)
    }

    @Test("Body required, else 400")
    func bodyRequired() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        for response in [
            try stream.post(text), try stream.post(text, Payload.none), try stream.post(text, Payload.none, chunked: true),
            try stream.post(),
            try stream.post(text + ["Stream-Closed: false"], Payload.none), try stream.post(text + ["Stream-Closed: 1"]),
        ] {
            #expect(response.status == 400, "\(response.summary)")
        }
        #expect(try stream.tail() == Offset.at(1))
    }

    @Test("Content-Type required with a body (400 if missing), and it must match the stream's (409)")
    func contentType() throws {
        let stream = try Self.server.stream()
        try stream.create("x")
        #expect(try stream.post([], "y").status == 400)
        #expect(try stream.post(["Stream-Closed: true"], "y").status == 400)
        for type in ["text/html", "application/octet-stream", "application/json", "text/plainer"] {
            let response = try stream.post(["Content-Type: \(type)"], "y")
            #expect(response.status == 409, "\(type): \(response.summary)")
            #expect(response["Stream-Closed"] == nil)
        }
        #expect(try stream.post(["Content-Type: text/html", "Stream-Closed: true"], "y").status == 409)
        #expect(try stream.post(["Content-Type: TEXT/plain; charset=utf-8"], "z").status == 204)
        #expect(try stream.contents() == Array("xz".utf8))
        #expect(try !stream.head().isClosed)
    }

    @Test("With an empty body it is ignored", arguments: ["text/html", "application/json", "what is this", ""])
    func ignoredType(type: String) throws {
        let stream = try Self.server.stream()
        try stream.create()
        #expect(try stream.post(["Content-Type: \(type)", "Stream-Closed: true"], Payload.none).status == 204)
        #expect(try stream.head().isClosed)
    }

    @Test("Order of conflict checks: stream closed → content type → Stream-Seq")
    func conflictOrder() throws {
        let stream = try Self.server.stream()
        try stream.create()
        try stream.append("a", ["Stream-Seq: 5"])
        // Type and sequence are wrong: the answer is about the type.
        let typed = try stream.post(["Content-Type: text/html", "Stream-Seq: 1"], "x")
        #expect(typed.status == 409 && typed.text.lowercased().contains("content-type") && !typed.isClosed, "\(typed.summary)")
        try stream.close()
        // Everything is wrong: the answer is about the closed stream.
        let closed = try stream.post(["Content-Type: text/html", "Stream-Seq: 1"], "x")
        #expect(closed.status == 409 && closed.isClosed && closed.offset == Offset.at(1), "\(closed.summary)")
    }

    @Test("Stream-Seq: compared bytewise; lower than or equal to the last accepted: 409")
    func sequence() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let steps: [(String, Int)] = [
            ("b", 204), ("b", 409), ("a", 409), ("bb", 204), ("b", 409), ("ba", 409), ("bc", 204), ("Z", 409), ("bc!", 204), ("c", 204),
            ("100", 409),
            ("d9", 204), ("d10", 409), ("d", 409), ("d9 0", 204), ("~", 204), ("z", 409),
        ]
        var expected = ""
        for (value, status) in steps {
            let response = try stream.post(text + ["Stream-Seq: \(value)"], "\(value),")
            #expect(response.status == status, "\(value): \(response.summary)")
            if status == 204 { expected += value + "," }
        }
        #expect(try stream.get().text == expected)
        // Without the header nothing is compared, and nothing is forgotten.
        try stream.append("plain")
        #expect(try stream.post(text + ["Stream-Seq: ~"], "x").status == 409)
    }

    @Test("Stream-Seq: scope is the stream")
    func sequenceScope() throws {
        let first = try Self.server.stream()
        let second = try Self.server.stream()
        try first.create()
        try second.create()
        try first.append("x", ["Stream-Seq: 9"])
        #expect(try second.post(text + ["Stream-Seq: 1"], "x").status == 204)
        // Whoever sends it.
        #expect(try first.post(text + ["Stream-Seq: 8"] + TestStream.producer("p", 0, 0), "x").status == 409)
        #expect(try first.post(text + ["Stream-Seq: 91"] + TestStream.producer("p", 0, 0), "x").status == 200)
        #expect(try first.post(text + ["Stream-Seq: 90"], "x").status == 409)
    }

    @Test("A refused append leaves no Stream-Seq behind")
    func refusedSequence() throws {
        let stream = try Self.server.stream("application/json")
        try stream.create()
        #expect(try stream.post(["Content-Type: text/plain", "Stream-Seq: z"], "1").status == 409)
        #expect(try stream.post(["Content-Type: application/json", "Stream-Seq: z"], "{").status == 400)
        #expect(try stream.post(["Content-Type: application/json", "Stream-Seq: z"], "[]").status == 400)
        #expect(try stream.post(["Content-Type: application/json", "Stream-Seq: a"], "1").status == 204)
    }

    @Test("Close only (empty body): 204, Stream-Closed: true, tail unchanged; repeating it is again 204")
    func close() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        for fields in [
            ["Stream-Closed: true"], ["stream-closed: TRUE"], ["Stream-Closed: true", "Content-Length: 0"], ["Stream-Closed: true"],
        ] {
            let response = try stream.post(fields)
            #expect(response.status == 204 && response.isClosed && response.offset == Offset.at(3), "\(response.summary)")
        }
        #expect(try stream.post(["Stream-Closed: true"], Payload.none, chunked: true).status == 204)
        let read = try stream.get()
        #expect(read.text == "abc" && read.isClosed && read.isUpToDate)
    }

    @Test("Append to a closed stream: 409 with Stream-Closed: true and Stream-Next-Offset = final offset")
    func appendToClosed() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        try stream.close()
        for fields in [text, text + ["Stream-Closed: true"], ["Content-Type: text/html"], text + TestStream.producer("p", 0, 0)] {
            let response = try stream.post(fields, "more")
            #expect(response.status == 409 && response.isClosed && response.offset == Offset.at(3), "\(response.summary)")
        }
        #expect(try stream.contents() == Array("abc".utf8))
    }

    @Test("204 with Stream-Closed: true when it is now closed; append-and-close is one step")
    func appendAndClose() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        let response = try stream.post(text + ["Stream-Closed: true"], "def")
        #expect(response.status == 204 && response.isClosed && response.offset == Offset.at(6), "\(response.summary)")
        let read = try stream.get()
        #expect(read.text == "abcdef" && read.isClosed)
        #expect(try stream.post(text + ["Stream-Closed: true"], "def").status == 409)
        #expect(try stream.post(["Stream-Closed: true"]).status == 204)
    }

    @Test("Waiting readers get the data and the EOF, never the EOF alone")
    func waitingReaders() throws {
        let stream = try Self.server.stream()
        try stream.create("abc")
        let polls = try (0..<5).map { _ in try stream.longPoll(from: Offset.at(3)) }
        let events = try (0..<5).map { _ in try stream.follow(from: Offset.at(3)) }
        for reader in events { #expect(try #require(try reader.batch()).data == nil) }
        #expect(try stream.post(text + ["Stream-Closed: true"], "last").status == 204)
        for client in polls {
            let response = try client.response()
            #expect(response.status == 200 && response.text == "last" && response.isClosed && response.isUpToDate, "\(response.summary)")
            #expect(response.offset == Offset.at(7))
        }
        for reader in events {
            let batch = try #require(try reader.batch())
            #expect(batch.text == "last" && batch.control.streamClosed && batch.control.offset == Offset.at(7))
            #expect(batch.control.cursor == nil)
            #expect(try reader.batch() == nil)
        }
    }

    @Test("An append that is acknowledged is visible to any reader")
    func readYourWrites() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let writer = try stream.server.connect()
        let reader = try stream.server.connect()
        for round in 0..<200 {
            let tail = try stream.append("\(round);", over: writer)
            let response = try stream.get("offset=\(tail)", over: reader)
            #expect(response.isUpToDate && response.body.isEmpty, "\(response.summary)")
            #expect(try stream.request("HEAD", over: reader).offset == tail)
        }
        #expect(try stream.get().text == (0..<200).map { "\($0);" }.joined())
    }

    @Test("Appends from many connections at once are stored whole, once each, and each is told its own tail")
    func concurrentAppends() throws {
        let stream = try Self.server.stream()
        try stream.create()
        let clients = try (0..<20).map { _ in try stream.server.connect() }
        for round in 0..<20 {
            for (number, client) in clients.enumerated() {
                try client.send("POST", stream.path, text, "<\(number):\(round):\(String(repeating: "x", count: number * 7))>")
            }
        }
        var tails: [String: String] = [:]
        for (number, client) in clients.enumerated() {
            var previous = ""
            for round in 0..<20 {
                let response = try client.response()
                let tail = try #require(response.offset)
                #expect(response.status == 204 && tail > previous)
                previous = tail
                #expect(tails.updateValue("<\(number):\(round):\(String(repeating: "x", count: number * 7))>", forKey: tail) == nil)
            }
        }
        // The tails say where each append ended: put in that order, they are the content.
        let expected = tails.sorted { $0.key < $1.key }.map(\.value).joined()
        #expect(try String(decoding: stream.contents(), as: UTF8.self) == expected)
    }

    @Test("Body larger than the configured limit: 413, connection usable or cleanly closed, nothing stored", arguments: ["PUT", "POST"])
    func bodyLimit(method: String) throws {
        let server = try Self.small.get()
        for chunked in [false, true] {
            for size in [1025, 1026, 5000, 300_000] {
                let stream = server.stream()
                if method == "POST" { try stream.create("x") }
                let client = try server.connect()
                // A server that does not want the rest may close before it has been sent.
                try? client.send(method, stream.path, text, .letters(size), chunked: chunked)
                let response = try client.response(to: method)
                #expect(response.status == 413, "\(size): \(response.summary)")
                if response["Connection"]?.lowercased() != "close" {
                    #expect(try stream.request("OPTIONS", over: client).status == 204)
                }
                if method == "POST" { #expect(try stream.contents() == Array("x".utf8)) } else { #expect(try stream.head().status == 404) }
            }
            let stream = server.stream()
            if method == "POST" { try stream.create() }
            let response = try stream.request(method, "", text, .letters(1024), chunked: chunked)
            #expect(response.status / 100 == 2 && response.offset == Offset.at(1024), "\(response.summary)")
        }
    }

    @Test("413 is told without waiting for the body, also to 100-continue")
    func earlyRefusal() throws {
        let server = try Self.small.get()
        let stream = server.stream()
        try stream.create()
        for expectation in [[], ["Expect: 100-continue"]] {
            let client = try server.connect()
            try client.send(client.request("POST", stream.path, text + ["Content-Length: 99999999999"] + expectation))
            #expect(try client.response(to: "POST").status == 413)
        }
        #expect(try stream.tail() == Offset.start)
    }
}
