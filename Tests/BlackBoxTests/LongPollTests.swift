// PROTOCOL.md section 4, long-poll. Waiting is observed as an answer that does not come; the tests that end a wait use a server whose
// time-out is far away, the tests of the time-out one where it is short.

import Testing

@Suite struct LongPollTests {
    static let patient = SuiteServer(.dev, "--long-poll-timeout", "60s")
    static let quick = SuiteServer(.dev, "--long-poll-timeout", "300ms")

    private let text = ["Content-Type: text/plain"]

    @Test("Data after the offset: answer at once as in catch-up, plus Stream-Cursor")
    func data() throws {
        let stream = try Self.patient.stream()
        try stream.create("hello")
        for offset in ["-1", Offset.start, Offset.at(2)] {
            let catchUp = try stream.get("offset=\(offset)")
            let response = try stream.longPoll(from: offset).response()
            #expect(response.status == 200 && response.body == catchUp.body && response.offset == Offset.at(5), "\(response.summary)")
            for name in ["Content-Type", "ETag", "Cache-Control", "Stream-Up-To-Date", "Stream-Closed", "Stream-Next-Offset"] {
                #expect(response[name] == catchUp[name], "\(name)")
            }
            #expect(response["Stream-Cursor"].map { $0.allSatisfy(\.isNumber) } == true)
        }
    }

    @Test("At the tail: wait. New data → 200")
    func wakes() throws {
        let stream = try Self.patient.stream()
        try stream.create("old")
        let client = try stream.longPoll(from: Offset.at(3))
        #expect(!client.isReadable(within: .milliseconds(100)))
        let tail = try stream.append("new")
        let response = try client.response()
        #expect(response.status == 200 && response.text == "new" && response.offset == tail, "\(response.summary)")
        #expect(response.isUpToDate && !response.isClosed && response["Stream-Cursor"] != nil && response["ETag"] != nil)
    }

    @Test("JSON: the answer is an array")
    func json() throws {
        let stream = try Self.patient.stream("application/json")
        let tail = try stream.create("[1,2]")
        let client = try stream.longPoll(from: tail)
        try stream.append("[3,{\"a\":[]}]")
        let response = try client.response()
        #expect(response.status == 200 && response.text.filter { !$0.isWhitespace } == "[3,{\"a\":[]}]", "\(response.summary)")
    }

    @Test("Timeout → 204 with Stream-Next-Offset, Stream-Up-To-Date: true, Stream-Cursor; not before")
    func timeout() throws {
        let stream = try Self.quick.stream()
        let tail = try stream.create("old")
        for offset in [tail, "now"] {
            let client = try stream.longPoll(from: offset)
            var response: Response?
            let time = try elapsed { response = try client.response() }
            let answer = try #require(response)
            #expect(answer.status == 204 && answer.offset == tail && answer.isUpToDate && !answer.isClosed, "\(answer.summary)")
            #expect(answer["Stream-Cursor"] != nil && answer["Cache-Control"] == "no-store")
            #expect(time > .milliseconds(250) && time < .seconds(5), "\(time)")
            // The connection goes on.
            #expect(try stream.get(over: client).text == "old")
        }
    }

    @Test("An empty stream is at its tail from the start")
    func emptyStream() throws {
        let stream = try Self.quick.stream()
        try stream.create()
        let response = try stream.longPoll(from: "-1").response()
        #expect(response.status == 204 && response.offset == Offset.start && response.isUpToDate, "\(response.summary)")
    }

    @Test("Closed and at the tail: 204 at once with Stream-Closed: true and Stream-Up-To-Date: true")
    func closed() throws {
        let stream = try Self.patient.stream()
        let tail = try stream.create("all")
        try stream.close()
        for offset in [tail, "now"] {
            let response = try stream.longPoll(from: offset).response()
            #expect(response.status == 204 && response.isClosed && response.isUpToDate && response.offset == tail, "\(response.summary)")
        }
        let rest = try stream.longPoll(from: Offset.at(1)).response()
        #expect(rest.status == 200 && rest.text == "ll" && rest.isClosed && rest.isUpToDate, "\(rest.summary)")
    }

    @Test("closed while waiting: 204 at once with Stream-Closed: true and Stream-Up-To-Date: true")
    func closedWhileWaiting() throws {
        let stream = try Self.patient.stream()
        let tail = try stream.create("all")
        let clients = try (0..<10).map { _ in try stream.longPoll(from: tail) }
        #expect(!clients[9].isReadable(within: .milliseconds(100)))
        try stream.close()
        for client in clients {
            let response = try client.response()
            #expect(response.status == 204 && response.isClosed && response.isUpToDate && response.offset == tail, "\(response.summary)")
        }
    }

    @Test("Deleted while waiting: 404")
    func deleted() throws {
        let stream = try Self.patient.stream()
        let tail = try stream.create("all")
        let clients = try (0..<10).map { _ in try stream.longPoll(from: tail) }
        #expect(!clients[9].isReadable(within: .milliseconds(100)))
        #expect(try stream.delete().status == 204)
        for client in clients {
            #expect(try client.response().status == 404)
            // The connection goes on.
            #expect(try stream.get(over: client).status == 404)
        }
    }

    @Test("`offset=now` starts to wait at once")
    func now() throws {
        let stream = try Self.patient.stream()
        try stream.create("old")
        let client = try stream.longPoll(from: "now")
        #expect(!client.isReadable(within: .milliseconds(100)))
        // Which append is the first after its "now" is not known from outside; that it gets one, and none of the old data, is.
        var count = 0
        #expect(
            try Deadline.poll {
                try stream.append("n")
                count += 1
                return client.isReadable(within: .milliseconds(20))
            })
        let response = try client.response()
        #expect(response.status == 200 && response.text.allSatisfy { $0 == "n" } && response.text.count <= count, "\(response.summary)")
    }

    @Test("A stream that does not exist: 404 at once")
    func missing() throws {
        #expect(try Self.patient.stream().longPoll(from: "-1").response().status == 404)
    }

    @Test("An append wakes all readers that wait, each with all that is behind its offset")
    func manyReaders() throws {
        let stream = try Self.patient.stream()
        try stream.create("abc")
        let clients = try (0..<150).map { _ in try stream.longPoll(from: Offset.at(3)) }
        #expect(!clients[149].isReadable(within: .milliseconds(100)))
        try stream.append("def")
        let first = try clients[0].response()
        for client in clients.dropFirst() {
            let response = try client.response()
            #expect(response.status == 200 && response.text == "def" && response["ETag"] == first["ETag"], "\(response.summary)")
        }
    }

    @Test("An append to one stream wakes no reader of another")
    func otherStreams() throws {
        let stream = try Self.patient.stream()
        let other = try Self.patient.stream()
        try stream.create()
        try other.create()
        let client = try stream.longPoll(from: Offset.start)
        try other.append("x")
        #expect(!client.isReadable(within: .milliseconds(150)))
        try stream.append("mine")
        #expect(try client.response().text == "mine")
    }

    @Test("Readers that have gone away hurt nobody")
    func abandoned() throws {
        let stream = try Self.patient.stream()
        try stream.create()
        for _ in 0..<50 { _ = try stream.longPoll(from: Offset.start) }
        let client = try stream.longPoll(from: Offset.start)
        try stream.append("x")
        #expect(try client.response().text == "x")
    }

    @Test("A reader that polls on from each answer gets everything, once, in order")
    func chain() throws {
        let stream = try Self.patient.stream("application/octet-stream")
        try stream.create()
        let writer = try stream.server.connect()
        let reader = try stream.server.connect()
        var offset = "-1"
        var cursor = ""
        var content: [UInt8] = []
        var read: [UInt8] = []
        for seed in 0..<200 {
            let body = Payload.pattern(seed % 50 + 1, seed: seed)
            content += body.bytes
            let fields = ["Content-Type: application/octet-stream"] + (seed == 199 ? ["Stream-Closed: true"] : [])
            try reader.send("GET", "\(stream.path)?offset=\(offset)&live=long-poll\(cursor)")
            try writer.send("POST", stream.path, fields, body)
            if seed % 3 == 0 { #expect(try writer.response().status == 204) }
            let response = try reader.response()
            if seed % 3 != 0 { #expect(try writer.response().status == 204) }
            try #require(response.status == 200, "\(response.summary)")
            read += response.body
            offset = try #require(response.offset)
            if !response.isClosed { cursor = "&cursor=\(try #require(response["Stream-Cursor"]))" }
        }
        read += try stream.contents(from: offset)
        #expect(read == content)
    }

    @Test("HTTP/1.0 may wait as well", .onlyHTTP1("HTTP/1.0 is another version"))
    func http10() throws {
        let stream = try Self.patient.stream()
        try stream.create()
        let client = try stream.server.connect()
        try client.send("GET \(stream.path)?offset=\(Offset.start)&live=long-poll HTTP/1.0\r\n\r\n")
        #expect(!client.isReadable(within: .milliseconds(100)))
        try stream.append("x")
        let response = try client.response()
        #expect(response.status == 200 && response.text == "x")
        try client.expectEnd()
    }
}
