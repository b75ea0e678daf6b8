import HTTP2Session
import HTTP2SessionTesting
import HTTPWire
import Testing

@Suite("HTTP/2 streams side by side")
struct StreamTests {
    private typealias R = RawFrames

    @Test("hundreds of streams at once, each with its own bytes")
    func manyStreams() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        try client.exchange(with: server)
        var streams: [(Int32, Int)] = []
        for index in 0..<250 {
            let count = 1 + index * 997 % 50_000
            streams.append((client.request(index % 2 == 0 ? "/bytes/\(count)" : "/later/\(count)"), count))
        }
        for _ in 0..<100 {
            try client.exchange(with: server)
            server.resumeAll()
        }
        for (stream, count) in streams {
            #expect(client.answers[stream]!.body == pattern(count) && client.answers[stream]!.closedWith == 0)
        }
        #expect(server.session.streamCount == 0 && server.session.failure == nil)
    }

    @Test("a stream that is not read delays no other, and holds nothing back for itself")
    func stalledStream() throws {
        let server = try RecordingServer()
        let client = HTTP2Client(window: 65_535)
        let stalled = client.request("/bytes/2000000")
        client.stalled = [stalled]
        try client.exchange(with: server)
        #expect(client.answers[stalled]!.body.count == 65_535)
        let productions = server.requests[0].productions
        let memory = server.session.memoryInUse
        for _ in 0..<20 {
            let stream = client.request("/bytes/200000")
            try client.exchange(with: server)
            #expect(client.answers[stream]!.body == pattern(200_000))
        }
        #expect(server.requests[0].productions == productions, "the stalled one was not asked for more")
        #expect(server.session.memoryInUse <= memory + 1000)
        client.unstall(stalled)
        try client.exchange(with: server)
        #expect(client.answers[stalled]!.body == pattern(2_000_000) && client.answers[stalled]!.hasEnded)
    }

    @Test("streams are served in turn, a frame each")
    func turns() throws {
        let server = try RecordingServer()
        // Windows that never shut; the second stream asks to be the least urgent.
        server.receive(R.greeting + R.windowUpdate(0, 1 << 30) + R.frame(4, stream: 0, [0, 4, 0x40, 0, 0, 0]))
        server.receive(R.headers(1, R.request("/bytes/1000000")) + R.headers(3, R.request("/bytes/1000000") + R.field("priority", "u=7")))
        let data = RawFrames.parse(server.output(limit: 1 << 23)).filter { $0.type == 0 }
        let first = data.prefix(100).map(\.stream)
        for start in stride(from: 0, to: 100, by: 2) { #expect(Set(first[start..<start + 2]) == [1, 3]) }
        #expect(data.map(\.payload.count).reduce(0, +) == 2_000_000)
    }

    @Test("a deferred answer is asked for again only when it is resumed, and that is announced")
    func deferral() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let stream = client.request("/later/10")
        try client.exchange(with: server)
        #expect(client.answers[stream]!.status == 200 && client.answers[stream]!.body.isEmpty)
        #expect(server.requests[0].productions == 1 && server.announcements == 0 && !server.session.wantsWrite)
        server.resumeAll()
        #expect(server.announcements == 1 && server.session.wantsWrite)
        server.requests[0].stream.resume()
        #expect(server.announcements == 1, "once until it is sent")
        try client.exchange(with: server)
        #expect(client.answers[stream]!.body == pattern(10) && client.answers[stream]!.hasEnded)
        server.requests[0].stream.resume()
        #expect(!server.session.wantsWrite, "of a stream that is over nothing comes")
    }

    @Test("an answer from outside, 1xx, and what a stream that is gone ignores")
    func lateAnswer() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let (late, hints, gone) = (client.request("/wait"), client.request("/hints"), client.request("/wait"))
        try client.exchange(with: server)
        #expect(client.answers[hints]!.interim == [103] && client.answers[hints]!.status == 200)
        server.requests[0].stream.respondInterim(status: 100)
        server.requests[0].answer(status: 201, count: 0, lines: "Set-Cookie: secret\r\nETag: \"1\"\r\nVary: Accept\r\nLocation: /a\r\n")
        #expect(server.announcements == 1)
        client.reset(gone)
        try client.exchange(with: server)
        let answer = client.answers[late]!
        #expect(answer.interim == [100] && answer.status == 201 && answer.value("content-length") == "0")
        let never = answer.fields.filter(\.neverIndexed).map(\.name)
        #expect(never == ["set-cookie", "etag", "location"], "what must not be in a table, and nothing else")
        #expect(server.requests[2].closedWith == HTTP2ErrorCode.cancel)
        server.requests[2].answer(status: 200, count: 10)
        server.requests[2].stream.reset(HTTP2ErrorCode.cancel)
        server.requests[2].stream.consume(5)
        #expect(!server.session.wantsWrite)
    }

    @Test(
        "lines become fields",
        arguments: [
            ("", ""), ("A: b\r\n", "a: b"), ("A:b\r\nEmpty:\r\n", "a: b|empty: "), ("X: a: b \u{e9}\r\n", "x: a: b \u{e9}"),
            ("Connection: close\r\nKEEP-ALIVE: x\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nY: z\r\n", "y: z"),
        ])
    func lines(lines: String, fields: String) throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let stream = client.request("/wait")
        try client.exchange(with: server)
        server.requests[0].answer(status: 304, count: 0, lines: lines)
        try client.exchange(with: server)
        let got = client.answers[stream]!.fields.map { "\($0.name): \($0.value)" }.joined(separator: "|")
        #expect(got == (fields.isEmpty ? ":status: 304" : ":status: 304|" + fields))
    }

    @Test("an answer before the end of the request declines the rest, without fault")
    func earlyAnswer() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let stream = client.request("/none", method: "POST", body: pattern(2_000_000))
        try client.exchange(with: server)
        #expect(client.answers[stream]!.status == 204 && client.answers[stream]!.closedWith == HTTP2ErrorCode.noError)
        #expect(client.uploaded(stream) < 2_000_000)
        #expect(server.session.streamCount == 0)
        // The connection's window was given back: another upload of any size goes through.
        let next = client.request("/echo", method: "POST", body: pattern(1_500_000))
        try client.exchange(with: server)
        #expect(client.answers[next]!.body == pattern(1_500_000))
    }

    @Test("content that is not consumed holds the peer back, and is given back when the stream ends")
    func backPressure() throws {
        let server = try RecordingServer()
        server.keepsContent = false
        let client = HTTP2Client()
        try client.exchange(with: server)
        var held: [Int32] = []
        for _ in 0..<4 { held.append(client.request("/hold", method: "POST", body: pattern(1_000_000))) }
        try client.exchange(with: server)
        let limits = server.session.limits
        for request in server.requests { #expect(request.contentCount <= limits.streamWindow) }
        #expect(server.requests.map(\.contentCount).reduce(0, +) == limits.connectionWindow)
        // All of the connection's window is held: another stream has to wait for it.
        let other = client.request("/echo", method: "POST", body: pattern(1000))
        try client.exchange(with: server)
        #expect(!client.answers[other]!.hasEnded)
        client.reset(held[0])
        server.requests[1].stream.reset(HTTP2ErrorCode.refusedStream)
        server.requests[2].stream.consume(200_000)
        try client.exchange(with: server)
        #expect(client.answers[other]!.hasEnded && server.requests[2].contentCount == limits.streamWindow + 200_000)
        server.requests[2].stream.consume(.max)
        #expect(client.answers[held[1]]!.closedWith == HTTP2ErrorCode.refusedStream)
    }

    @Test("trailers end a request and are dropped; malformed ones reset it")
    func trailers() throws {
        let server = try RecordingServer()
        server.receive(R.greeting)
        let head = R.headers(1, R.request("/echo", method: "POST"), ends: false) + R.data(1, [1, 2])
        server.receive(head + R.headers(1, R.field("x-sum", "1")))
        #expect(server.requests[0].isComplete && server.requests[0].contentCount == 2 && server.requests[0].value("x-sum") == nil)
        for (index, block) in [R.field(":path", "/"), R.field("Upper", "x"), R.field("connection", "close")].enumerated() {
            let stream = UInt32(3 + 2 * index)
            server.receive(R.headers(stream, R.request("/echo", method: "POST"), ends: false) + R.headers(stream, block))
            _ = server.output()
            #expect(!server.requests[1 + index].isComplete && server.requests[1 + index].closedWith == HTTP2ErrorCode.protocolError)
        }
        #expect(server.session.failure == nil)
    }

    @Test("an answer that cannot be completed resets its stream, and no other")
    func failure() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let (bad, good) = (client.request("/fail"), client.request("/bytes/100000"))
        try client.exchange(with: server)
        #expect(client.answers[bad]!.closedWith == HTTP2ErrorCode.internalError && !client.answers[bad]!.hasEnded)
        #expect(client.answers[bad]!.body == pattern(100))
        #expect(client.answers[good]!.body == pattern(100_000) && server.session.failure == nil)
    }

    @Test("the end in two steps: announced, then no more requests, then over")
    func drain() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        let open = client.request("/wait")
        try client.exchange(with: server)
        server.session.beginDrain()
        #expect(server.announcements == 1)
        let underWay = client.request("/bytes/10")
        let bytes = client.output()
        try client.receive(server.output())
        #expect(client.goAways.map(\.last) == [.max])
        server.receive(bytes)
        try client.exchange(with: server)
        #expect(client.answers[underWay]!.body == pattern(10), "a request that was under way is answered")
        server.session.finishDrain()
        try client.receive(server.output())
        #expect(client.goAways.map(\.last) == [.max, underWay] && client.goAways.allSatisfy { $0.code == 0 })
        server.receive(R.headers(101, R.request("/late")))
        #expect(!server.requests.contains { $0.target == "/late" })
        #expect(!server.session.isOver)
        server.requests[0].answer(status: 200, count: 70_000)
        try client.exchange(with: server)
        #expect(client.answers[open]!.body == pattern(70_000))
        #expect(server.session.isOver && server.session.failure == nil)
    }

    @Test("an idle session that is drained is over at once")
    func drainIdle() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        try client.exchange(with: server)
        server.session.finishDrain()
        try client.receive(server.output())
        #expect(server.session.isOver && client.goAways.count == 1)
    }

    @Test("close tells every open stream, once, and nothing comes after it")
    func close() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        for path in ["/wait", "/later/100", "/bytes/1000000"] { client.request(path) }
        server.receive(client.output())
        server.session.close()
        server.session.close()
        #expect(server.requests.map(\.closedWith) == [HTTP2ErrorCode.cancel, HTTP2ErrorCode.cancel, HTTP2ErrorCode.cancel])
        #expect(server.output().isEmpty && server.session.isOver && server.session.streamCount == 0)
        server.requests[0].stream.resume()
        server.receive(R.headers(9, R.request("/x")))
        #expect(server.requests.count == 3)
    }

    /// Closes the session from within a callback.
    private final class Closer: HTTP2SessionDelegate, HTTP2StreamHandler {
        var session: HTTP2Session?
        var closes = 0
        let place: Int
        init(place: Int) { self.place = place }
        func go(_ here: Int) { if here == place { session!.close() } }
        func requestHead(_ head: UnsafeRawBufferPointer, on stream: HTTP2Stream, hasContent: Bool) {
            stream.handler = self
            stream.respond(status: 200, lines: UnsafeRawBufferPointer(start: nil, count: 0), contentLength: nil, hasBody: true)
            go(0)
        }
        func outputWaits(_ session: HTTP2Session) {}
        func received(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2Stream) { go(1) }
        func requestEnded(on stream: HTTP2Stream) { go(2) }
        func produce(into buffer: UnsafeMutableRawBufferPointer, on stream: HTTP2Stream) -> HTTP2Production {
            go(3)
            return .bytes(buffer.count)
        }
        func closed(_ stream: HTTP2Stream, code: UInt32) { closes += 1 }
    }

    @Test("a session may be closed, and let go, from within its callbacks", arguments: 0..<4)
    func closeWithin(place: Int) throws {
        let closer = Closer(place: place)
        closer.session = try HTTP2Session(HTTP2Limits(), delegate: closer, now: 0)
        let bytes =
            R.greeting + R.headers(1, R.request("/"), ends: false) + R.data(1, [1]) + R.data(1, [2], ends: true)
            + R.headers(3, R.request("/"))
        bytes.withUnsafeBytes { closer.session?.receive($0, now: 0) }
        var block = [UInt8](repeating: 0, count: 100_000)
        _ = block.withUnsafeMutableBytes { closer.session?.send(into: $0) }
        #expect(closer.closes == (place == 3 ? 2 : 1))
        #expect(closer.session!.isOver)
        closer.session = nil
    }

    @Test("what a session and an idle stream cost")
    func memory() throws {
        let server = try RecordingServer()
        let client = HTTP2Client()
        try client.exchange(with: server)
        let empty = server.session.memoryInUse
        var streams: [Int32] = []
        for index in 0..<250 { streams.append(client.request("/later/\(index + 1)", [("accept", "text/event-stream")])) }
        try client.exchange(with: server)
        #expect(server.session.streamCount == 250)
        let each = (server.session.memoryInUse - empty) / 250
        print("libnghttp2: a session \(empty) bytes, an idle stream \(each) bytes")
        #expect(empty < 32_000 && each < 1500)
        for _ in 0..<4 {
            server.resumeAll()
            try client.exchange(with: server)
        }
        #expect(server.session.streamCount == 0 && server.session.memoryInUse < empty + 20_000, "it is given back")
    }
}
