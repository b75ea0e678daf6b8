// A server for the tests: reads each request head with HTTP/1.1's own scanner and parser, keeps what comes, and answers by script.
//
//     GET /echo        the request's content comes back as the body when it is complete
//     GET /bytes/N     N bytes of a pattern
//     GET /later/N     the same, but deferred before each piece until `resumeAll`
//     GET /wait        no answer before `answer`
//     GET /hold        as /wait, and the content is not consumed
//     GET /fail        a body that breaks off
//     GET /hints       103 and then an answer
//     anything else    204; a head that HTTP/1.1's rules refuse: their status

import HTTP2Session
import HTTPWire

/// What the server has seen of one request.
public final class RecordedRequest: HTTP2StreamHandler {
    public let stream: HTTP2Stream
    public private(set) var method = ""
    public private(set) var target = ""
    /// Names as they were given, in their order.
    public private(set) var fields: [(name: String, value: String)] = []
    public private(set) var refusal: HTTPRefusal?
    public private(set) var content: [UInt8] = []
    public private(set) var contentCount = 0
    public private(set) var isComplete: Bool
    public private(set) var closedWith: UInt32?
    /// Calls for bytes of the answer.
    public private(set) var productions = 0
    fileprivate var left = 0
    fileprivate var answered = 0
    fileprivate var defers = false
    fileprivate var isDeferred = false
    fileprivate var fails = false
    unowned let server: RecordingServer

    fileprivate init(_ head: UnsafeRawBufferPointer, _ stream: HTTP2Stream, hasContent: Bool, _ server: RecordingServer) {
        self.stream = stream
        self.server = server
        isComplete = !hasContent
        var scanner = HeadScanner()
        var parsed = RequestHead()
        do throws(HTTPRefusal) {
            guard let count = try scanner.scan(head, limits: server.wire) else {
                refusal = HTTPRefusal(status: 0, reason: "the head has no end")
                return
            }
            precondition(count == head.count, "something stands behind the head")
            try parsed.parse(head, limits: server.wire)
            method = Self.text(head, parsed.methodRange)
            target = Self.text(head, parsed.target)
            fields = parsed.fields.map { (Self.text(head, $0.nameRange), Self.text(head, $0.valueRange)) }
        } catch {
            refusal = error
        }
    }

    private static func text(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> String {
        String(decoding: bytes[range], as: UTF8.self)
    }

    public func value(_ name: String) -> String? { fields.first { $0.name == name }?.value }

    public func received(_ bytes: UnsafeRawBufferPointer, on stream: HTTP2Stream) {
        precondition(!isComplete && closedWith == nil, "content after the end")
        contentCount += bytes.count
        if server.keepsContent { content += bytes }
        if target != "/hold" { stream.consume(bytes.count) }
    }

    public func requestEnded(on stream: HTTP2Stream) {
        precondition(!isComplete && closedWith == nil, "a second end")
        isComplete = true
        if target == "/echo" { answer(status: 200, count: contentCount) }
    }

    public func produce(into buffer: UnsafeMutableRawBufferPointer, on stream: HTTP2Stream) -> HTTP2Production {
        precondition(closedWith == nil && !isDeferred, "asked for bytes without need")
        precondition(!buffer.isEmpty)
        productions += 1
        if fails, answered > 0 { return .failed }
        if defers, productions % 2 == 1 {
            isDeferred = true
            server.deferredRequests.append(self)
            return .deferred
        }
        let part = min(left, buffer.count)
        for index in 0..<part {
            buffer[index] = target == "/echo" && server.keepsContent ? content[answered + index] : Self.pattern(answered + index)
        }
        answered += part
        left -= part
        return left == 0 && !fails ? .end(part) : .bytes(part)
    }

    public static func pattern(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: index &* 31 &+ index >> 8) }

    public func closed(_ stream: HTTP2Stream, code: UInt32) {
        precondition(closedWith == nil && stream.isClosed, "closed twice")
        closedWith = code
    }

    /// Sends a head, and a body of so many bytes.
    public func answer(status: Int, count: Int, lines: String = "X-Answer: Yes\r\nConnection: keep-alive\r\nKeep-Alive: timeout=1\r\n") {
        left = count
        let lines = Array(lines.utf8)
        lines.withUnsafeBytes { stream.respond(status: status, lines: $0, contentLength: fails ? nil : count, hasBody: count > 0) }
    }

    fileprivate func goOn() {
        isDeferred = false
        stream.resume()
    }

    fileprivate func begin() {
        if let refusal {
            answer(status: refusal.status, count: 0)
            return
        }
        let parts = target.split(separator: "/")
        switch parts.first {
        case "bytes": answer(status: 200, count: Int(parts.last!) ?? 0)
        case "later":
            defers = true
            answer(status: 200, count: Int(parts.last!) ?? 0)
        case "fail":
            fails = true
            answer(status: 200, count: 100)
        case "hints":
            Array("Link: </a>\r\n".utf8).withUnsafeBytes { stream.respondInterim(status: 103, lines: $0) }
            answer(status: 200, count: 0)
        case "wait", "hold": break
        case "echo": if isComplete { answer(status: 200, count: 0) }
        default: answer(status: 204, count: 0)
        }
    }
}

public final class RecordingServer: HTTP2SessionDelegate {
    public private(set) var session: HTTP2Session!
    public let wire: WireLimits
    public private(set) var requests: [RecordedRequest] = []
    public fileprivate(set) var deferredRequests: [RecordedRequest] = []
    public private(set) var announcements = 0
    public var keepsContent = true

    public init(_ limits: HTTP2Limits = HTTP2Limits(), now: Int64 = 0) throws(HTTP2Failure) {
        var wire = WireLimits()
        wire.headBytes = limits.headBytes
        self.wire = wire
        session = try HTTP2Session(limits, delegate: self, now: now)
    }

    deinit { session?.close() }

    public func requestHead(_ head: UnsafeRawBufferPointer, on stream: HTTP2Stream, hasContent: Bool) {
        let request = RecordedRequest(head, stream, hasContent: hasContent, self)
        requests.append(request)
        stream.handler = request
        request.begin()
    }

    public func outputWaits(_ session: HTTP2Session) { announcements += 1 }

    public func receive(_ bytes: [UInt8], now: Int64 = 0) {
        bytes.withUnsafeBytes { session.receive($0, now: now) }
    }

    /// What is to be sent, up to `limit` bytes, fetched `step` bytes at a time.
    public func output(limit: Int = 1 << 20, step: Int = 16_384) -> [UInt8] {
        var all: [UInt8] = []
        var block = [UInt8](repeating: 0, count: step)
        while all.count < limit {
            let count = block.withUnsafeMutableBytes {
                session.send(into: UnsafeMutableRawBufferPointer(rebasing: $0[..<min(step, limit - all.count)]))
            }
            all += block[..<count]
            if count == 0 { break }
        }
        return all
    }

    /// Lets everyone go on who had nothing to send.
    public func resumeAll() {
        let waiting = deferredRequests
        deferredRequests = []
        for request in waiting where request.closedWith == nil { request.goOn() }
    }
}
