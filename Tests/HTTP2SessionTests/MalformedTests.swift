import HTTP2Session
import HTTP2SessionTesting
import HTTPWire
import Testing

/// What the server does with `bytes` behind the greeting.
func frames(_ bytes: [UInt8], _ limits: HTTP2Limits = HTTP2Limits()) throws -> (server: RecordingServer, frames: [RawFrames.Frame]) {
    let server = try RecordingServer(limits)
    server.receive(RawFrames.greeting + bytes)
    let frames = RawFrames.parse(server.output())
    // Cut into arrivals of one byte, the same comes out.
    let slow = try RecordingServer(limits)
    for byte in RawFrames.greeting + bytes { slow.receive([byte]) }
    let slowFrames = RawFrames.parse(slow.output())
    #expect(slowFrames == frames, "the answer depends on the arrivals")
    #expect(slow.session.failure == server.session.failure)
    return (server, frames)
}

@Suite("What HTTP/2 must not accept")
struct MalformedTests {
    private typealias R = RawFrames
    private static let get = R.request()

    private static let malformedHeads: [(String, [UInt8])] = [
        ("upper case", get + R.field("Accept", "a")), ("empty name", get + R.field("", "a")),
        ("space in a name", get + R.field("a b", "a")),
        ("colon in a name", get + R.field("a:b", "a")), ("NUL in a value", get + R.field("a", "x\0y")),
        ("line feed in a value", get + R.field("a", "x\ny")), ("CRLF in a value", get + R.field("a", "x\r\nhost: evil")),
        ("CRLF in a name", get + R.field("a\r\nb", "x")), ("DEL in a name", get + R.field("a\u{7F}", "x")),
        ("space around a value", get + R.field("a", " x")), ("tab behind a value", get + R.field("a", "x\t")),
        ("connection", get + R.field("connection", "close")), ("keep-alive", get + R.field("keep-alive", "timeout=1")),
        ("proxy-connection", get + R.field("proxy-connection", "close")), ("upgrade", get + R.field("upgrade", "h2c")),
        ("transfer-encoding", get + R.field("transfer-encoding", "chunked")), ("te", get + R.field("te", "gzip")),
        ("te with more", get + R.field("te", "trailers, gzip")), ("no path", R.field(":method", "GET") + R.field(":scheme", "https")),
        ("no method", R.field(":scheme", "https") + R.field(":authority", "h") + R.field(":path", "/")),
        ("no scheme", R.field(":method", "GET") + R.field(":authority", "h") + R.field(":path", "/")),
        ("neither authority nor host", R.field(":method", "GET") + R.field(":scheme", "https") + R.field(":path", "/")),
        ("two paths", get + R.field(":path", "/b")), ("two methods", get + R.field(":method", "PUT")),
        ("two authorities", get + R.field(":authority", "h")), ("unknown pseudo-field", get + R.field(":version", "1")),
        (":status in a request", get + R.field(":status", "200")),
        (":protocol that was not offered", R.request(method: "CONNECT") + R.field(":protocol", "websocket")),
        (
            "pseudo-field behind a field",
            R.field(":method", "GET") + R.field("a", "b") + R.field(":scheme", "https") + R.field(":path", "/")
        ),
        ("empty path", R.request("")), ("path without slash", R.request("a")), ("absolute path", R.request("http://evil/")),
        ("star for GET", R.request("*")), ("space in the path", R.request("/a b")), ("CRLF in the path", R.request("/ HTTP/1.1\r\nx: y")),
        ("control in the path", R.request("/\u{1}")), ("space in the method", R.request(method: "GET /x")),
        ("CRLF in the method", R.request(method: "GET\r\n")), ("empty method", R.request(method: "")),
        ("CRLF in the authority", R.request(authority: "h\r\nx: y")), ("space in the authority", R.request(authority: "h x")),
        ("other scheme", R.request("x", scheme: "ftp")), ("other scheme, smuggled target", R.request("http://evil/", scheme: "foo")),
        ("host unlike authority", get + R.field("host", "evil")), ("two hosts", get + R.field("host", "h") + R.field("host", "h")),
        ("two lengths", get + R.field("content-length", "0") + R.field("content-length", "0")),
        ("length that is none", get + R.field("content-length", "1x")), ("negative length", get + R.field("content-length", "-1")),
        ("list of lengths", get + R.field("content-length", "1, 1")), ("length without content", get + R.field("content-length", "3")),
    ]

    @Test("malformed requests are reset and reach nobody", arguments: malformedHeads)
    func malformedHead(name: String, block: [UInt8]) throws {
        let (server, frames) = try frames(RawFrames.headers(1, block) + RawFrames.headers(3, RawFrames.request("/ok")))
        #expect(server.requests.map(\.target) == ["/ok"], "the next request is served, this one not")
        let resets = frames.filter { $0.type == 3 }
        #expect(resets.count == 1 && resets.first?.stream == 1 && resets.first?.number(at: 0) == HTTP2ErrorCode.protocolError)
        #expect(server.session.failure == nil && server.session.streamCount == 0)
    }

    @Test(
        "what HTTP/1.1's rules refuse is refused by them",
        arguments: [
            (RawFrames.field(":method", "CONNECT") + RawFrames.field(":authority", "h:1"), 400),
            (RawFrames.request(authority: "user@h"), 400), (RawFrames.request("/a#b"), 400),
            (RawFrames.request("/" + String(repeating: "a", count: 9000)), 414),
            (RawFrames.request() + (0..<120).flatMap { RawFrames.field("f\($0)", "") }, 431),
            (RawFrames.request() + RawFrames.field("expect", "200-ok"), 417),
        ] as [([UInt8], Int)])
    func refused(block: [UInt8], status: Int) throws {
        let (server, frames) = try frames(RawFrames.headers(1, block))
        #expect(server.requests.count == 1 && server.requests[0].refusal?.status == status)
        #expect(frames.contains { $0.type == 1 && $0.stream == 1 })
        #expect(server.session.failure == nil && server.session.streamCount == 0)
    }

    @Test(
        "other good forms of a request",
        arguments: [
            (
                RawFrames.field(":path", "/x") + RawFrames.field(":method", "GET") + RawFrames.field(":scheme", "http")
                    + RawFrames.field("host", "a"), "GET /x a"
            ),
            (RawFrames.request() + RawFrames.field("host", "H"), "GET / h"), (RawFrames.request("*", method: "OPTIONS"), "OPTIONS * h"),
            (RawFrames.request("/?", method: "PATCH", scheme: "HTTPS", authority: "[::1]:1"), "PATCH /? [::1]:1"),
        ] as [([UInt8], String)])
    func accepted(block: [UInt8], text: String) throws {
        let (server, _) = try frames(RawFrames.headers(1, block))
        let request = try #require(server.requests.first)
        #expect(request.refusal == nil)
        #expect("\(request.method) \(request.target) \(request.value("host") ?? "")" == text)
        #expect(request.fields.filter { $0.name == "host" }.count == 1)
    }

    @Test("content that is not as long as it says", arguments: [[3], [1, 1], [5], [4, 1], [0, 3]])
    func contentLength(parts: [Int]) throws {
        var bytes = RawFrames.headers(1, RawFrames.request("/echo", method: "POST") + RawFrames.field("content-length", "4"), ends: false)
        for (index, part) in parts.enumerated() {
            bytes += RawFrames.data(1, [UInt8](repeating: 1, count: part), ends: index == parts.count - 1)
        }
        let (server, frames) = try frames(bytes)
        #expect(!server.requests[0].isComplete && server.requests[0].closedWith == HTTP2ErrorCode.protocolError)
        #expect(frames.contains { $0.type == 3 && $0.stream == 1 && $0.number(at: 0) == HTTP2ErrorCode.protocolError })
    }

    private static let badFrames: [(String, [UInt8], UInt32)] = [
        ("DATA on stream 0", R.data(0, [1]), 1), ("HEADERS on stream 0", R.headers(0, get), 1), ("even stream", R.headers(2, get), 1),
        ("DATA before HEADERS", R.data(1, [1]), 1),
        ("too large a frame", R.frame(0, stream: 1, length: 16_385), 6),
        (
            "padding beyond the frame",
            R.headers(1, get, ends: false)
                + R.frame(0, flags: 8, stream: 1, [9, 1]), 1
        ), ("short PING", R.frame(6, stream: 0, [1, 2]), 6),
        ("PING on a stream", R.frame(6, stream: 1, [UInt8](repeating: 0, count: 8)), 1),
        ("short RST_STREAM", R.frame(3, stream: 1, [0]), 6),
        ("RST_STREAM on an idle stream", R.reset(7), 1), ("RST_STREAM on stream 0", R.reset(0), 1),
        ("odd SETTINGS", R.frame(4, stream: 0, [0, 1, 0]), 6), ("SETTINGS on a stream", R.frame(4, stream: 1), 1),
        ("SETTINGS with acknowledgement and content", R.frame(4, flags: 1, stream: 0, [0, 1, 0, 0, 0, 0]), 6),
        ("window of more than 31 bits", R.frame(4, stream: 0, [0, 4, 0x80, 0, 0, 0]), 3),
        ("frame size too small", R.frame(4, stream: 0, [0, 5, 0, 0, 0, 1]), 1),
        ("push by a number", R.frame(4, stream: 0, [0, 2, 0, 0, 0, 2]), 1),
        ("WINDOW_UPDATE of 0", R.windowUpdate(0, 0), 1), ("window overflow", R.windowUpdate(0, 0x7FFF_FFFF), 3),
        ("WINDOW_UPDATE on an idle stream", R.windowUpdate(9, 1), 1), ("CONTINUATION alone", R.frame(9, flags: 4, stream: 1, get), 1),
        (
            "frame between HEADERS and CONTINUATION",
            R.frame(1, flags: 1, stream: 1, get) + R.frame(6, stream: 0, [UInt8](repeating: 0, count: 8)), 1
        ),
        ("another stream's CONTINUATION", R.frame(1, flags: 1, stream: 1, get) + R.frame(9, flags: 4, stream: 3, get), 1),
        ("PUSH_PROMISE by a client", R.frame(5, flags: 4, stream: 1, [0, 0, 0, 2] + get), 1),
        ("index that is not there", R.headers(1, [0xFF, 0x80, 0x80, 0x01]), 9), ("index 0", R.headers(1, [0x80]), 9),
        ("broken Huffman", R.headers(1, [0x00, 0x81, 0x00, 0x00]), 9), ("table larger than allowed", R.headers(1, [0x3F, 0xE2, 0x7F]), 9),
        ("block that ends within a field", R.headers(1, get + [0x00, 0x05, 0x61]), 9),
        ("HEADERS twice without end", R.headers(1, get, ends: false) + R.headers(1, R.field("a", "b"), ends: false), 1),
        ("DATA behind the end", R.headers(1, R.request("/wait")) + R.data(1, [1]), 5),
    ]

    @Test("malformed frames end the connection with the right code, or the stream", arguments: badFrames)
    func malformedFrames(name: String, bytes: [UInt8], code: UInt32) throws {
        let (server, frames) = try frames(bytes)
        let goAway = frames.last { $0.type == 7 }
        let reset = frames.last { $0.type == 3 }
        let told = goAway.map { $0.number(at: 4) } ?? reset.map { $0.number(at: 0) }
        #expect(told == code, "\(frames.map { ($0.type, $0.stream, $0.payload) })")
        if goAway != nil {
            #expect(server.session.isOver && server.session.failure == .protocolError(code: code))
        } else {
            #expect(server.session.failure == nil)
        }
    }

    @Test("a stream older than the last is not served: libnghttp2 takes it for one that has closed")
    func olderStream() throws {
        let (server, frames) = try frames(RawFrames.headers(5, RawFrames.request("/a")) + RawFrames.headers(3, RawFrames.request("/b")))
        #expect(server.requests.map(\.target) == ["/a"] && !frames.contains { $0.stream == 3 })
    }

    @Test("first bytes that are not the preface", arguments: ["GET / HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.1", "\u{16}\u{3}\u{1}"])
    func preface(text: String) throws {
        let server = try RecordingServer()
        server.receive(Array(text.utf8))
        #expect(server.session.failure == .preface && !server.session.wantsRead)
        #expect(ConnectionPreface.judge(UnsafeRawBufferPointer(start: nil, count: 0)) == .undecided)
        let judged = Array(text.utf8).withUnsafeBytes { ConnectionPreface.judge($0) }
        #expect(judged == .other)
    }

    @Test("the preface is recognised at its last octet")
    func goodPreface() {
        for count in 0...30 {
            let bytes = Array((RawFrames.preface + Array("rest..".utf8)).prefix(count))
            #expect(bytes.withUnsafeBytes { ConnectionPreface.judge($0) } == (count < 24 ? .undecided : .http2))
        }
    }

    /// A small reproducible generator (xorshift).
    private struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
    }

    @Test("random and damaged frames break nothing", arguments: 1...10)
    func random(seed: Int) throws {
        var dice = Dice(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15)
        for _ in 0..<200 {
            let server = try RecordingServer()
            var bytes = RawFrames.greeting
            for stream in 0..<UInt32.random(in: 1...6, using: &dice) {
                let path = ["/echo", "/bytes/40000", "/later/500", "/wait", "/hold", "/fail", "/hints"].randomElement(using: &dice)!
                let ends = Bool.random(using: &dice)
                bytes += RawFrames.headers(2 * stream + 1, RawFrames.request(path, method: "POST"), ends: ends)
                if !ends { bytes += RawFrames.data(2 * stream + 1, [1, 2, 3], ends: Bool.random(using: &dice)) }
                if Bool.random(using: &dice) { bytes += RawFrames.windowUpdate(2 * stream + 1, 10_000) }
                if Int.random(in: 0..<4, using: &dice) == 0 { bytes += RawFrames.reset(2 * stream + 1) }
                if Int.random(in: 0..<4, using: &dice) == 0 {
                    let payload = (0..<Int.random(in: 0...20, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice) }
                    bytes += RawFrames.frame(
                        UInt8.random(in: 0...12, using: &dice), flags: UInt8.random(in: 0...255, using: &dice), stream: stream, payload)
                }
            }
            for _ in 0..<Int.random(in: 0...3, using: &dice) {
                bytes[Int.random(in: 24..<bytes.count, using: &dice)] = UInt8.random(in: 0...255, using: &dice)
            }
            var position = 0
            while position < bytes.count {
                let end = min(bytes.count, position + Int.random(in: 1...200, using: &dice))
                server.receive(Array(bytes[position..<end]))
                _ = RawFrames.parse(server.output(step: Int.random(in: 1...5000, using: &dice)))
                server.resumeAll()
                position = end
            }
            _ = server.output()
            #expect(server.session.memoryInUse <= server.session.limits.sessionBytes)
            server.session.close()
            #expect(server.requests.allSatisfy { $0.closedWith != nil }, "seed \(seed)")
        }
    }
}
