// HTTP/2 from outside: many live readers on one connection, readers that do not read, the drain, and peers who send frames to make work (RFC 9113
// 6.8, 8.7 and 10.5). What the session itself decides is tested in HTTP2SessionTests; here the whole server has to stand it, and its other clients.

import Glibc
import HTTP2SessionTesting
import Testing

@Suite(.onlyInClear("It chooses its transports itself")) struct HTTP2Tests {
    private static let text = ["Content-Type: text/plain"]
    private static let authority = "127.0.0.1"

    private func peer(_ server: ServerProcess, window: Int? = nil, connectionWindow: Int? = nil, receiveBuffer: Int32? = nil) throws
        -> HTTP2Peer
    {
        try HTTP2Peer(port: server.port, tls: false, window: window, connectionWindow: connectionWindow, receiveBuffer: receiveBuffer)
    }

    // MARK: Many readers on one connection

    /// What one live reader has, from answers that come one after another.
    private final class Tail {
        var stream: HTTP2Peer.Stream
        var text = ""
        var offset = Offset.start
        let isEvents: Bool
        private var rest = ""

        init(_ stream: HTTP2Peer.Stream, isEvents: Bool) { (self.stream, self.isEvents) = (stream, isEvents) }

        /// Data events of a text stream: `event: data`, `data:` lines, an empty line.
        func take(events bytes: [UInt8]) {
            rest += String(decoding: bytes, as: UTF8.self)
            while let end = rest.firstRange(of: "\n\n") {
                let event = rest[..<end.lowerBound]
                if event.hasPrefix("event: data\n") {
                    text += event.split(separator: "\n").filter { $0.hasPrefix("data:") }.map { $0.dropFirst(5) }.joined(separator: "\n")
                }
                rest = String(rest[end.upperBound...])
            }
        }
    }

    @Test("100 event streams and 100 long-polls on one connection each get every append, with and without TLS", arguments: [false, true])
    func manyTails(tls: Bool) throws {
        let server = try ServerProcess(tls: tls)
        func target(_ stream: Int, _ offset: String, _ live: String) -> String { "/v1/stream/tail-\(stream)?offset=\(offset)&live=\(live)" }
        let writer = try HTTP2Peer(port: server.port, tls: tls)
        for index in 0..<4 {
            let answer = try writer.exchange("PUT", "/v1/stream/tail-\(index)", authority: Self.authority, [("content-type", "text/plain")])
            #expect(answer.status == 201)
        }
        let peer = try HTTP2Peer(port: server.port, tls: tls, connectionWindow: 1 << 20)
        let tails = try (0..<200).map { index in
            let isEvents = index % 2 == 0
            return Tail(
                try peer.request("GET", target(index / 2 % 4, Offset.start, isEvents ? "sse" : "long-poll"), authority: Self.authority),
                isEvents: isEvents)
        }
        func step() throws {
            for (index, tail) in tails.enumerated() {
                if tail.isEvents {
                    tail.take(events: peer.take(tail.stream))
                } else if tail.stream.isOver {
                    guard tail.stream.hasEnded, tail.stream.status == 200 || tail.stream.status == 204 else {
                        throw TestFault("a long-poll ended with status \(tail.stream.status), code \(tail.stream.closedWith ?? 0)")
                    }
                    tail.text += String(decoding: peer.take(tail.stream), as: UTF8.self)
                    tail.offset = tail.stream["stream-next-offset"] ?? ""
                    peer.forget(tail.stream)
                    tail.stream = try peer.request("GET", target(index / 2 % 4, tail.offset, "long-poll"), authority: Self.authority)
                }
            }
        }
        var expected = [String](repeating: "", count: 4)
        for round in 0..<50 {
            for index in 0..<4 {
                let word = "<\(index):\(round)>"
                expected[index] += word
                let answer = try writer.exchange(
                    "POST", "/v1/stream/tail-\(index)", authority: Self.authority, [("content-type", "text/plain")], body: Array(word.utf8))
                #expect(answer.status == 204)
            }
            _ = try peer.run(within: .zero) { false }
            try step()
        }
        let isComplete = try peer.run {
            try step()
            return tails.indices.allSatisfy { tails[$0].text == expected[$0 / 2 % 4] }
        }
        #expect(
            isComplete, "\(tails.indices.filter { tails[$0].text != expected[$0 / 2 % 4] }.map { "\($0): \(tails[$0].text.suffix(30))" })")
        #expect(peer.goAways.isEmpty)
    }

    // MARK: Readers that do not read

    @Test(
        "A stream whose window is shut holds a bounded amount, delays no other, and is given up after peer-timeout; the connection goes on")
    func stalledStreams() throws {
        let server = try ServerProcess(.dev, ["--peer-timeout", "4s"])
        let writer = try RawClient(port: server.port)
        #expect(try writer.exchange("PUT", "/v1/stream/big", ["Content-Type: image/png"], .pattern(48 << 20)).status == 201)
        #expect(try writer.exchange("PUT", "/v1/stream/small", Self.text, "small").status == 201)
        let before = try server.residentBytes()
        let peer = try peer(server, window: 1000, connectionWindow: 1 << 28)
        // Catch-up reads, and event streams that have to catch up.
        let stalled = try (0..<100).map {
            try peer.request("GET", "/v1/stream/big?offset=-1\($0 % 2 == 0 ? "" : "&live=sse")", authority: Self.authority)
        }
        #expect(try peer.run { stalled.allSatisfy { $0.received == 1000 } })
        let held = try server.residentBytes() - before
        #expect(held < 64 << 20, "\(held >> 10) KiB for 100 streams that are not read")
        let others = try (0..<100).map { _ in
            try elapsed {
                let answer = try peer.exchange("GET", "/v1/stream/small", authority: Self.authority)
                #expect(answer.status == 200 && answer.text == "small")
            }
        }
        #expect(others.sorted()[50] < .milliseconds(500), "\(others.sorted()[50])")
        // Given up, each by itself.
        #expect(try peer.run { stalled.allSatisfy(\.isOver) })
        #expect(stalled.allSatisfy { !$0.hasEnded && $0.received == 1000 && $0.closedWith == 8 })
        #expect(try peer.exchange("GET", "/v1/stream/small", authority: Self.authority).status == 200)
    }

    @Test("A connection that takes nothing is given up after peer-timeout, with all its streams; others do not notice")
    func stalledConnection() throws {
        let server = try ServerProcess(.dev, ["--peer-timeout", "2s"])
        let writer = try RawClient(port: server.port)
        #expect(try writer.exchange("PUT", "/v1/stream/big", ["Content-Type: image/png"], .pattern(32 << 20)).status == 201)
        let other = try self.peer(server)
        #expect(try other.exchange("HEAD", "/v1/stream/big", authority: Self.authority).status == 200)
        let sockets = try server.socketCount()
        let peer = try peer(server, window: 1 << 30, connectionWindow: 1 << 30, receiveBuffer: 65_536)
        let streams = try (0..<20).map { _ in try peer.request("GET", "/v1/stream/big", authority: Self.authority) }
        #expect(try peer.run { streams[0].status == 200 })
        #expect(try server.socketCount() > sockets)
        let isGivenUp = try Deadline.poll(every: .milliseconds(100)) {
            let answer = try other.exchange("HEAD", "/v1/stream/big", authority: Self.authority)
            #expect(answer.status == 200)
            return try server.socketCount() <= sockets
        }
        #expect(isGivenUp)
        withExtendedLifetime(peer) {}
    }

    @Test("A window that is opened one byte at a time: the answer comes, and nobody waits for it")
    func tinyWindow() throws {
        let server = try ServerProcess()
        let writer = try RawClient(port: server.port)
        #expect(try writer.exchange("PUT", "/v1/stream/a", Self.text, .letters(900)).status == 201)
        let peer = try peer(server, window: 1)
        let answer = try peer.exchange("GET", "/v1/stream/a", authority: Self.authority)
        #expect(answer.status == 200 && answer.body.count == 900)
        #expect(answer.body == Payload.letters(900).bytes)
    }

    // MARK: The end of the server

    @Test(
        "SIGTERM: GOAWAY, what is in hand is answered, what was acknowledged is there, what was not taken is known",
        arguments: [false, true])
    func drain(tls: Bool) throws {
        let server = try ServerProcess(.serve, tls: tls)
        let first = try HTTP2Peer(port: server.port, tls: tls)
        #expect(
            try first.exchange("PUT", "/v1/stream/log", authority: Self.authority, [("content-type", "text/plain")]).status == 201)
        #expect(
            try first.exchange("PUT", "/v1/stream/quiet", authority: Self.authority, [("content-type", "text/plain")]).status == 201)
        let poll = try first.request("GET", "/v1/stream/quiet?offset=now&live=long-poll", authority: Self.authority)
        let events = try first.request("GET", "/v1/stream/quiet?offset=now&live=sse", authority: Self.authority)
        try first.run { events.received > 0 }
        let peers = try (0..<4).map { _ in try HTTP2Peer(port: server.port, tls: tls) }
        var appends: [(word: String, stream: HTTP2Peer.Stream, peer: Int)] = []
        var round = 0
        // Every connection has twenty requests under way all the time, before and after the signal.
        let deadline = Deadline()
        while !deadline.hasPassed, peers.contains(where: { !$0.hasEnded }) {
            for (index, peer) in peers.enumerated() where !peer.hasEnded {
                if peer.goAways.isEmpty {
                    for _ in 0..<20 {
                        let word = "(\(index).\(appends.count))"
                        let stream = try peer.request(
                            "POST", "/v1/stream/log", authority: Self.authority, [("content-type", "text/plain")], body: Array(word.utf8))
                        appends.append((word, stream, index))
                    }
                }
                // Sent together, received later: the signal comes while they are under way.
                peer.flush()
            }
            round += 1
            if round == 10 { server.process.send(SIGTERM) }
            for peer in peers where !peer.hasEnded {
                try peer.run(within: .milliseconds(round < 10 ? 1000 : 50)) {
                    peer.streams.values.allSatisfy(\.isOver) || peer.hasEnded
                }
            }
        }
        let isAnswered = try first.run { poll.isOver && events.isOver }
        #expect(isAnswered && poll.status == 204 && poll.hasEnded && events.hasEnded, "\(poll.status), \(first.goAways)")
        #expect(server.process.wait() == .exit(0), "\(server.log)")
        #expect(peers.allSatisfy { $0.goAways.last?.code == 0 })
        let successor = try server.successor()
        let found = try HTTP2Peer(port: successor.port, tls: tls).exchange("GET", "/v1/stream/log", authority: Self.authority).text
        var lost = 0
        for append in appends {
            let isThere = found.contains(append.word)
            if append.stream.status == 204 {
                #expect(isThere, "\(append.word) was acknowledged")
            } else {
                lost += 1
                // Beyond what GOAWAY names it was not taken, and the client may ask again elsewhere.
                let last = peers[append.peer].goAways.last?.last ?? 0
                #expect(append.stream.status == 0 && append.stream.identifier > last && !isThere, "\(append.word): \(append.stream.status)")
            }
        }
        #expect(appends.count >= 800)
        #expect(lost < appends.count / 2)
    }

    @Test("A connection on which nothing is asked ends after idle-timeout, with GOAWAY; one that was never used after header-timeout")
    func idle() throws {
        let server = try ServerProcess(.dev, ["--idle-timeout", "1s", "--header-timeout", "2s"])
        let used = try peer(server)
        #expect(try used.exchange("GET", "/v1/stream/none", authority: Self.authority).status == 404)
        #expect(try !used.run { used.hasEnded && false })
        #expect(used.hasEnded && used.goAways.map(\.code) == [0] && used.goAways[0].last == 1)
        let unused = try peer(server)
        try unused.run { unused.hasEnded }
        #expect(unused.hasEnded && unused.goAways.map(\.code) == [0])
        // A wait is no idleness.
        let writer = try RawClient(port: server.port)
        #expect(try writer.exchange("PUT", "/v1/stream/a", Self.text).status == 201)
        let waiting = try peer(server)
        let poll = try waiting.request("GET", "/v1/stream/a?offset=now&live=long-poll", authority: Self.authority)
        #expect(try !waiting.run(within: .milliseconds(2500)) { poll.isOver || waiting.hasEnded })
        #expect(!waiting.hasEnded)
    }

    // MARK: Frames to make work

    private enum Flood: String, CaseIterable, CustomTestStringConvertible {
        case rapidReset, madeResets, settings, ping, continuation, headerBomb, emptyData, windowUpdates, priorities, unknown

        var testDescription: String { rawValue }

        /// More and more of it, from the `round`-th time on.
        func frames(_ round: Int) -> [UInt8] {
            let stream = UInt32(2 * round + 1)
            let ask = RawFrames.request("/v1/stream/flood?offset=now&live=long-poll", scheme: "http")
            switch self {
            case .rapidReset: return RawFrames.headers(stream, ask) + RawFrames.reset(stream)
            case .madeResets: return RawFrames.headers(stream, ask) + RawFrames.windowUpdate(stream, 0)
            case .settings: return RawFrames.frame(4, stream: 0, [0, 3, 0, 0, 0, UInt8(round & 127)])
            case .ping: return RawFrames.frame(6, stream: 0, [UInt8](repeating: UInt8(round & 255), count: 8))
            case .continuation:
                return round == 0
                    ? RawFrames.frame(1, stream: 1, ask) : RawFrames.frame(9, stream: 1, RawFrames.field("x", String(round)))
            case .headerBomb:
                // One field in the table, named again and again: 4,000 bytes for each byte sent.
                return RawFrames.headers(
                    stream,
                    ask + RawFrames.indexedField("x", String(repeating: "y", count: 3900)) + [UInt8](repeating: 0x80 | 62, count: 12_000))
            case .emptyData:
                return round == 0
                    ? RawFrames.headers(1, RawFrames.request("/v1/stream/flood", method: "POST", scheme: "http"), ends: false)
                    : RawFrames.data(1, [])
            case .windowUpdates: return RawFrames.windowUpdate(0, 1)
            case .priorities: return RawFrames.frame(2, stream: stream, [0, 0, 0, 0, 1])
            // Nothing is done for these, and nothing said against them: they cost their bytes.
            case .unknown: return RawFrames.frame(200, stream: 0, [UInt8](repeating: 1, count: 100))
            }
        }
    }

    @Test("Floods end their connection; other clients are served, and memory stays where it was", arguments: Flood.allCases)
    private func flood(_ flood: Flood) throws {
        let server = try ServerProcess()
        let writer = try RawClient(port: server.port)
        #expect(try writer.exchange("PUT", "/v1/stream/flood", Self.text).status == 201)
        let other = try peer(server)
        for _ in 0..<20 { #expect(try other.exchange("HEAD", "/v1/stream/flood", authority: Self.authority).status == 200) }
        let before = try server.residentBytes()
        let processor = try server.processorMilliseconds()
        for _ in 0..<8 {
            let channel = try ClientChannel(port: server.port)
            _ = try channel.sendAll(RawFrames.greeting)
            var round = 0
            var isTaken = true
            // What comes back is not read, as by those who flood.
            while isTaken, round < 20_000 {
                var block: [UInt8] = []
                for _ in 0..<100 {
                    block += flood.frames(round)
                    round += 1
                    if block.count > 100_000 { break }
                }
                // After a few hundred kilobytes the kernel takes no more, if the server does not.
                isTaken = (try? channel.sendAll(block, within: .seconds(5))) ?? false
            }
            if flood != .unknown {
                #expect(round < 20_000 || channel.readToEnd() != nil, "after \(round) times the connection is still there")
                let answer = channel.readToEnd()
                #expect(answer != nil, "the connection is still there")
            }
            #expect(try other.exchange("HEAD", "/v1/stream/flood", authority: Self.authority).status == 200)
        }
        let used = try server.processorMilliseconds() - processor
        let growth = try server.residentBytes() - before
        #expect(growth < 24 << 20, "\(growth >> 10) KiB more")
        #expect(used < 8_000, "\(used) ms of processor time")
        #expect(try writer.exchange("POST", "/v1/stream/flood", Self.text, "x").status == 204)
    }
}
