import Synchronization
import Testing

@testable import StreamClient

@Suite struct StreamAppenderTests {
    static func appender(_ server: ScriptedServer, _ time: VirtualTime, retryFor: Int = 60_000) throws -> StreamAppender {
        StreamAppender(
            session: HTTPSession(time: time.timekeeper), address: try StreamAddress(base: server.url, name: "s"), contentType: "text/plain",
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: retryFor)), producer: "p")
    }

    @Test func numbersCountUpAndOptionsAreSent() throws {
        let server = ScriptedServer([
            .send(reply(200, ["Stream-Next-Offset: 1"])), .send(reply(204)), .send(reply(200, ["Stream-Next-Offset: 3"])),
            .send(reply(204)),
        ])
        let appender = try Self.appender(server, VirtualTime())
        try appender.append(Array("a".utf8))
        try appender.append(Array("b".utf8), order: "k1")
        #expect(appender.offset == "1")
        try appender.append(Array("c".utf8), closing: true)
        #expect(appender.offset == "3")
        try appender.close()
        let received = server.received
        #expect(received.map(\.line) == Array(repeating: "POST /v1/stream/s HTTP/1.1", count: 4))
        #expect(received.map(\.body) == ["a", "b", "c", ""])
        #expect(received.map { $0.fields["producer-seq"] } == ["0", "1", "2", nil])
        #expect(received.map { $0.fields["producer-epoch"] } == ["0", "0", "0", nil])
        #expect(received.map { $0.fields["producer-id"] } == ["p", "p", "p", nil])
        #expect(received.map { $0.fields["content-type"] } == ["text/plain", "text/plain", "text/plain", nil])
        #expect(received.map { $0.fields["stream-seq"] } == [nil, "k1", nil, nil])
        #expect(received.map { $0.fields["stream-closed"] } == [nil, nil, "true", "true"])
        #expect(received.allSatisfy { $0.fields["expect"] == nil })
    }

    @Test func largeBodiesGoWithoutAskingFirst() throws {
        let server = ScriptedServer([.send(reply(200))])
        try Self.appender(server, VirtualTime()).append([UInt8](repeating: 97, count: 3_000_000))
        #expect(server.received[0].body.utf8.count == 3_000_000 && server.received[0].fields["expect"] == nil)
    }

    @Test func theSameNumberIsSentUntilTheAnswerIsFinal() throws {
        let time = VirtualTime()
        let server = ScriptedServer([
            .cut, .send(reply(503, ["Retry-After: 3"], body: "busy")), .send(reply(500)), .send(reply(429)),
            .sendAndCut("HTTP/1.1 200 x\r\nContent-Le"),
            .send(reply(204, ["Producer-Seq: 0"])), .send(reply(200)),
        ])
        let appender = try Self.appender(server, time)
        try appender.append(Array("a".utf8))
        try appender.append(Array("b".utf8))
        #expect(server.received.map { $0.fields["producer-seq"] } == ["0", "0", "0", "0", "0", "0", "1"])
        #expect(server.received.map(\.body) == ["a", "a", "a", "a", "a", "a", "b"])
        #expect(time.waits.count == 5 && time.waits[1] == 3000)
    }

    @Test func givingUpTellsWhy() throws {
        let busy = ScriptedServer { _ in .send(reply(503, body: "disk full")) }
        let time = VirtualTime()
        #expect(throws: ClientFailure.refused(status: 503, text: "disk full")) {
            try Self.appender(busy, time, retryFor: 2000).append([97])
        }
        #expect(time.waits.reduce(0, +) == 2000)
        let gone = ScriptedServer { _ in .cut }
        #expect { try Self.appender(gone, VirtualTime(), retryFor: 500).append([97]) } throws: { ($0 as? ClientFailure)?.exitCode == 4 }
        #expect { try Self.appender(gone, VirtualTime(), retryFor: 0).append([97]) } throws: { ($0 as? ClientFailure)?.exitCode == 4 }
        let late = ScriptedServer { _ in .send(reply(503, ["Retry-After: 3600"])) }
        #expect(throws: ClientFailure.refused(status: 503, text: "")) { try Self.appender(late, VirtualTime()).append([97]) }
        #expect(late.received.count == 1)
    }

    @Test(arguments: [
        (reply(403, ["Producer-Epoch: 4"], body: "stale"), "another writer took over this producer id with epoch 4: stale"),
        (reply(403, body: "not yours"), "not yours"),
        (
            reply(409, ["Producer-Expected-Seq: 7", "Producer-Received-Seq: 0"]),
            "the server lost count of this producer (expected sequence number 7, received 0)"
        ),
        (reply(409, ["Stream-Closed: true"], body: "closed"), "the stream is closed: closed"),
        (reply(409, body: "Content-Type: expected a/b"), "Content-Type: expected a/b"),
        (reply(413, body: "too large"), "too large"),
        (reply(404, body: "no stream"), "no stream"),
    ])
    func finalRefusals(_ answer: String, _ text: String) throws {
        let server = ScriptedServer([.send(answer)])
        #expect { try Self.appender(server, VirtualTime()).append([97]) } throws: { error in
            guard case .refused(_, let actual)? = error as? ClientFailure else { return false }
            return actual == text
        }
        #expect(server.received.count == 1)
    }

    /// A server that stores by the rules and fails before, after or instead of every request in turn.
    @Test(arguments: 0..<8) func nothingIsLostOrDoubled(_ seed: Int) throws {
        let state = Mutex((stored: "", last: -1, chance: UInt32(seed) &* 747_796_405 &+ 1))
        let server = ScriptedServer { request in
            state.withLock { state in
                state.chance = state.chance &* 1_664_525 &+ 1_013_904_223
                let kind = state.chance >> 16 % 5
                if kind == 0 { return .cut }
                if kind == 1 { return .send(reply(503)) }
                let sequence = Int(request.fields["producer-seq"]!)!
                guard sequence <= state.last + 1 else { return .send(reply(409, ["Producer-Expected-Seq: \(state.last + 1)"])) }
                let isNew = sequence == state.last + 1
                if isNew {
                    state.stored += request.body
                    state.last = sequence
                }
                if kind == 2 { return .cut }
                if kind == 3 { return .sendAndCut("HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nab") }
                return .send(reply(isNew ? 200 : 204))
            }
        }
        let appender = try Self.appender(server, VirtualTime(), retryFor: 600_000)
        for number in 0..<40 { try appender.append(Array("\(number),".utf8)) }
        #expect(state.withLock { $0.stored } == (0..<40).map { "\($0)," }.joined())
    }

    @Test(arguments: [301, 302, 303, 307, 308]) func aRedirectKeepsMethodAndBody(_ status: Int) throws {
        let server = ScriptedServer([.send(reply(status, ["Location: /v1/stream/moved"])), .send(reply(200))])
        try Self.appender(server, VirtualTime()).append(Array("abc".utf8), closing: true)
        #expect(server.received.map(\.target) == ["/v1/stream/s", "/v1/stream/moved"])
        #expect(server.received.map(\.method) == ["POST", "POST"] && server.received.map(\.body) == ["abc", "abc"])
        #expect(server.received.map { $0.fields["producer-seq"] } == ["0", "0"])
    }

    @Test func fieldsOfTheSessionGoWithEveryRequest() throws {
        let server = ScriptedServer([.send(reply(200)), .send(reply(200, ["Content-Length: 0"], body: nil))])
        let session = HTTPSession(fields: [
            try .authorization("t"), try HeaderField(line: "X-A:", from: "test"), try HeaderField(line: "content-type: x/y", from: "test"),
        ])
        let appender = StreamAppender(
            session: session, address: try StreamAddress(base: server.url, name: "a/ö"), contentType: "text/plain",
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 0)))
        try appender.append([97])
        _ = try session.sendOnce(HTTPRequest(.head, server.url))
        #expect(server.received.map { $0.fields["authorization"] } == ["Bearer t", "Bearer t"])
        #expect(server.received.map { $0.fields["x-a"] } == ["", ""])
        #expect(server.received.map { $0.fields["content-type"] } == ["text/plain", "x/y"])
        #expect(server.received.map(\.method) == ["POST", "HEAD"])
        #expect(server.received[0].target == "/v1/stream/a/%C3%B6")
    }

    @Test(arguments: [
        ("a/b", false, ["x"], "a/b", [String]()),
        (nil, false, [reply(200, ["Content-Type: c/d"], body: nil)], "c/d", ["HEAD"]),
        (nil, false, [reply(200, [], body: nil)], "application/octet-stream", ["HEAD"]),
        ("a/b", true, [reply(200, ["Content-Type: c/d"], body: nil)], "a/b", ["HEAD"]),
        ("a/b", true, [reply(404, ["Content-Length: 0"], body: nil), reply(201, ["Content-Type: a/b"])], "a/b", ["HEAD", "PUT a/b"]),
        (nil, true, [reply(404, ["Content-Length: 0"], body: nil), reply(201, ["Content-Type: e/f"])], "e/f", ["HEAD", "PUT"]),
        (
            nil, true, [reply(404, ["Content-Length: 0"], body: nil), reply(409), reply(200, ["Content-Type: g/h"], body: nil)], "g/h",
            ["HEAD", "PUT", "HEAD"]
        ),
    ])
    func contentType(_ given: String?, _ creating: Bool, _ answers: [String], _ expected: String, _ requests: [String]) throws {
        let server = ScriptedServer(answers.map { .send($0) })
        let type = StreamType(
            session: HTTPSession(time: VirtualTime().timekeeper), address: try StreamAddress(base: server.url, name: "s"),
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 0)))
        #expect(try type.settle(given: given, creating: creating) == expected)
        #expect(server.received.map { [$0.method, $0.fields["content-type"]].compactMap { $0 }.joined(separator: " ") } == requests)
    }

    @Test func aMissingStreamIsNotCreatedUnasked() throws {
        let server = ScriptedServer([.send(reply(404, ["Content-Length: 0"], body: nil))])
        let type = StreamType(
            session: HTTPSession(time: VirtualTime().timekeeper), address: try StreamAddress(base: server.url, name: "s"),
            policy: RetryPolicy(retryFor: ClientDuration(milliseconds: 0)))
        #expect(throws: ClientFailure.refused(status: 404, text: "")) { try type.settle(given: nil, creating: false) }
    }
}
