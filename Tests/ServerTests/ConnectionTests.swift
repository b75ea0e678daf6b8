// Every phase of a connection with everything that can happen in it:
//
//     head, body, executing, polling, streaming, sending, lingering  ×  bytes, end of input, time-out, answer, drain, broken socket
//
// Time-outs are visits with a later time; nothing waits.

import Glibc
import HTTPWire
import StreamHTTP
import StreamRules
import SystemCalls
import Testing

@testable import Server

@Suite struct ConnectionTests {
    static let get = Peer.head("GET", "s?offset=-1")
    static let poll = Peer.head("GET", "s?offset=now&live=long-poll")
    static let events = Peer.head("GET", "s?offset=-1&live=sse")

    static func post(_ content: String, _ fields: [String] = []) -> String {
        Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: \(content.utf8.count)"] + fields) + content
    }

    static func token(_ position: UInt64) -> String { StreamOffset(position: position).description }

    /// A connection to a server with the stream `s`.
    static func peer(
        content: String = "hello", type: String = "text/plain", _ change: (inout ServerLimits) -> Void = { _ in }
    ) throws -> (ServerBench, Peer) {
        let bench = try ServerBench(change)
        try bench.create("s", type: type, content: content)
        return (bench, try bench.connect())
    }

    /// Everything that was waiting has an answer and the connection is gone, or it is idle and takes another request.
    static func expectClosed(_ peer: Peer, sourceLocation: SourceLocation = #_sourceLocation) {
        peer.receiveAll()
        #expect(peer.connection.phase == .closed && peer.ended, sourceLocation: sourceLocation)
        #expect(!peer.isWaiting, "still among a stream's readers", sourceLocation: sourceLocation)
        if peer.bench.core.connectionCount == 0 { #expect(peer.bench.core.peers.held == 0, sourceLocation: sourceLocation) }
    }

    static func expectIdle(_ peer: Peer, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(peer.connection.phase == .head, sourceLocation: sourceLocation)
        peer.say(Peer.head("HEAD", "s"))
        #expect(peer.answers().map(\.status) == [200], sourceLocation: sourceLocation)
    }

    // MARK: head

    @Test func headByteByByte() throws {
        let (bench, peer) = try Self.peer()
        for byte in Self.get.utf8 {
            #expect(peer.connection.phase == .head && peer.answers().isEmpty)
            peer.send([byte])
            bench.loop.runTurn(waiting: false)
        }
        #expect(peer.answers().map(\.body) == ["hello"])
        Self.expectIdle(peer)
    }

    /// Requests behind one another, however they are cut, are answered in order; more than one turn's share as well.
    @Test(arguments: [1, 3, 64, 65, 300])
    func headPipelined(count: Int) throws {
        let (_, peer) = try Self.peer(content: "")
        var text = ""
        for number in 0..<count { text += Self.post("\(number),") }
        peer.say(text + Self.get)
        peer.receiveAll()
        let answers = peer.answers()
        #expect(answers.dropLast().allSatisfy { $0.status == 204 } && answers.count == count + 1)
        #expect(answers.last?.body == (0..<count).map { "\($0)," }.joined())
        Self.expectIdle(peer)
    }

    /// A peer that has sent its requests and ended its side gets all answers, also beyond one turn's share.
    @Test(arguments: [1, 64, 65, 150])
    func headPipelinedAndEnded(count: Int) throws {
        let (_, peer) = try Self.peer()
        peer.send(String(repeating: Peer.head("OPTIONS", "s"), count: count))
        peer.endSending()
        peer.receiveAll()
        let answers = peer.answers().count
        #expect(answers == count)
        #expect(peer.connection.phase == .closed)
    }

    @Test func everyCutOfTwoRequests() throws {
        let text = Array((Self.post("abc") + Self.get).utf8)
        for cut in 1..<text.count {
            let (bench, peer) = try Self.peer(content: "")
            peer.send(Array(text[..<cut]))
            bench.settle()
            peer.send(Array(text[cut...]))
            bench.settle()
            let answers = peer.answers()
            #expect(answers.map(\.status) == [204, 200] && answers.last?.body == "abc", "cut at \(cut)")
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\nHost: a\n\n", 400), ("\u{16}\u{3}\u{1}", 400), ("GET /v1/stream/s HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("GET /v1/stream/s HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /" + String(repeating: "a", count: 20_000), 414),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 40_000), 431),
    ])
    func headRefused(text: String, status: Int) throws {
        let (bench, peer) = try Self.peer()
        peer.say(text)
        let answer = try #require(peer.answers().first)
        #expect(answer.status == status && answer.fields["connection"] == "close" && !answer.body.isEmpty)
        #expect(peer.connection.phase == .lingering)
        peer.endSending()
        bench.settle()
        Self.expectClosed(peer)
    }

    @Test func headEnds() throws {
        for text in ["", "GET /v1", "\r\n"] {
            let (bench, peer) = try Self.peer()
            peer.say(text)
            peer.endSending()
            bench.settle()
            Self.expectClosed(peer)
            #expect(peer.answers().isEmpty)
        }
    }

    @Test func headTimesOut() throws {
        // Idle: closed without a word. Begun: told why.
        let (bench, idle) = try Self.peer()
        #expect(idle.connection.visit(now: bench.loop.now) == nil && idle.connection.phase == .head)
        _ = idle.connection.visit(now: bench.loop.now + bench.core.limits.headerMilliseconds + 1_000)
        Self.expectClosed(idle)
        #expect(idle.answers().isEmpty)
        let begun = try bench.connect()
        begun.say("GET /v1")
        _ = begun.connection.visit(now: bench.loop.now + bench.core.limits.headerMilliseconds + 1_000)
        let answer = try #require(begun.answers().first)
        #expect(answer.status == 408 && answer.fields["connection"] == "close" && begun.connection.phase == .lingering)
    }

    @Test func keptAliveTimesOut() throws {
        let (bench, peer) = try Self.peer { $0.idleMilliseconds = 5_000 }
        peer.say(Self.get)
        #expect(peer.answers().count == 1)
        let now = bench.loop.now
        _ = peer.connection.visit(now: now + 4_000)
        #expect(peer.connection.phase == .head)
        _ = peer.connection.visit(now: now + 6_000)
        Self.expectClosed(peer)
    }

    /// A deadline beyond what the wheel spans is kept all the same.
    @Test func farDeadlines() throws {
        let (bench, peer) = try Self.peer { $0.idleMilliseconds = 600_000 }
        peer.say(Self.get)
        let start = bench.loop.now
        var closedAt: Int64?
        for time in stride(from: start, through: start + 700_000, by: 1_000) {
            bench.core.wheel.advance(to: time) { owner in
                owner == peer.connection.id.packed
                    ? peer.connection.visit(now: time) : nil
            }
            if closedAt == nil, peer.connection.phase == .closed { closedAt = time - start }
        }
        let after = try #require(closedAt)
        #expect(after >= 599_000 && after <= 602_000)
    }

    @Test func headDrains() throws {
        let (bench, idle) = try Self.peer()
        idle.say(Self.get)
        #expect(idle.answers().count == 1)
        let begun = try bench.connect()
        let full = Self.get
        begun.say(String(full.prefix(20)))
        bench.core.drain()
        Self.expectClosed(idle)
        begun.say(String(full.dropFirst(20)))
        let answer = try #require(begun.answers().first)
        #expect(answer.status == 200 && answer.fields["connection"] == "close")
        begun.close()
        bench.settle()
        #expect(bench.core.connectionCount == 0)
    }

    /// A connection that has not been used yet was opened for a request: it is on its way, or here and not read.
    @Test func headOfANewConnectionDrains() throws {
        let (bench, silent) = try Self.peer()
        let late = try bench.connect()
        let unread = try bench.connect()
        bench.settle()
        unread.send(Self.get)
        bench.core.drain()
        #expect(unread.answers().map(\.body) == ["hello"])
        bench.settle()
        #expect(silent.connection.phase == .head && late.connection.phase == .head)
        late.say(Self.get)
        let answer = try #require(late.answers().first)
        #expect(answer.body == "hello" && answer.fields["connection"] == "close")
        _ = silent.connection.visit(now: bench.loop.now + bench.core.limits.newConnectionMilliseconds + 1)
        Self.expectClosed(silent)
    }

    /// The same for a connection that is used already: a request that is here is answered, and the connection ends then.
    @Test func unreadRequestDrains() throws {
        let (bench, peer) = try Self.peer()
        peer.say(Self.get)
        #expect(peer.answers().count == 1)
        peer.send(Self.post("!") + Self.get)
        bench.core.drain()
        bench.settle()
        let answers = peer.answers()
        #expect(answers.first?.status == 204 && answers.first?.fields["connection"] == "close")
    }

    @Test func liveReadersAreCounted() throws {
        let (bench, poll) = try Self.peer()
        #expect(bench.core.liveReaders == 0)
        poll.say(Self.poll)
        let events = try bench.connect()
        events.say(Self.events)
        #expect(bench.core.liveReaders == 2)
        try bench.append("s", Array("!".utf8))
        #expect(bench.core.liveReaders == 1)
        events.close()
        bench.settle()
        #expect(bench.core.liveReaders == 0)
    }

    /// What was read again holds for the next request, also of connections that are open.
    @Test func limitsChangeWhileConnectionsAreOpen() throws {
        let (bench, peer) = try Self.peer()
        peer.say(Self.post(String(repeating: "x", count: 100)))
        #expect(peer.answers().map(\.status) == [204])
        var limits = bench.core.limits
        limits.bodyBytes = 50
        var settings = ResponderSettings()
        settings.origins = [Array("https://app.example".utf8)]
        var router = RouterSettings()
        router.origins = settings.origins
        bench.core.adopt(limits, settings, router, isTrustedProxy: bench.core.peers.isTrusted, logsAccess: false)
        let target = "s?offset=-1"
        peer.say(Peer.head("GET", target, ["Origin: https://app.example"]) + Peer.head("GET", target, ["Origin: https://other.example"]))
        let answers = peer.answers()
        #expect(answers.map { $0.fields["access-control-allow-origin"] } == ["https://app.example", nil])
        peer.say(Self.post(String(repeating: "x", count: 100)))
        #expect(peer.answers().map(\.status) == [413])
    }

    @Test func headBreaks() throws {
        for text in ["", "GET /v1", Self.get] {
            let (bench, peer) = try Self.peer()
            peer.say(text)
            peer.close()
            bench.settle()
            #expect(peer.connection.phase == .closed && bench.core.connectionCount == 0)
        }
    }

    @Test(
        arguments: [
            ("1.1", [], nil, false), ("1.1", ["Connection: close"], "close", true), ("1.0", [], "close", true),
            ("1.0", ["Connection: keep-alive"], "keep-alive", false),
        ]
            as [(String, [String], String?, Bool)])
    func persistence(version: String, fields: [String], connection: String?, ends: Bool) throws {
        let (_, peer) = try Self.peer()
        peer.say("GET /v1/stream/s HTTP/\(version)\r\nHost: a\r\n" + fields.map { $0 + "\r\n" }.joined() + "\r\n")
        let answer = try #require(peer.answers().first)
        #expect(answer.body == "hello" && answer.fields["connection"] == connection)
        #expect(peer.ended == ends && peer.connection.phase == (ends ? .lingering : .head))
    }

    // MARK: body

    @Test(arguments: ["Content-Length: 5\r\n\r\nabcde", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3;x=y\r\ncde\r\n0\r\nT: u\r\n\r\n"])
    func bodyByteByByte(rest: String) throws {
        let (bench, peer) = try Self.peer(content: "")
        for byte in "POST /v1/stream/s HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\(rest)".utf8 {
            #expect(peer.answers().isEmpty)
            peer.send([byte])
            bench.loop.runTurn(waiting: false)
        }
        bench.settle()
        #expect(peer.answers().map(\.status) == [204])
        peer.say(Self.get)
        #expect(peer.answers().map(\.body) == ["abcde"])
        #expect(bench.core.peers.held == 0)
    }

    /// Larger than the receive buffer: read straight into the stream's memory.
    @Test func largeBody() throws {
        let (bench, peer) = try Self.peer(content: "")
        let content = (0..<400_000).map { UInt8(truncatingIfNeeded: 97 + $0 % 26) }
        peer.send(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: \(content.count)"]))
        peer.send(content)
        bench.settle()
        #expect(peer.answers().map(\.status) == [204] && bench.core.peers.held == 0)
        peer.send(Self.get)
        peer.receiveAll()
        let answer = try #require(peer.answers().first)
        #expect(Array(answer.body.utf8) == content)
        Self.expectIdle(peer)
    }

    @Test(arguments: [
        ("Content-Length: 101", "", 413), ("Transfer-Encoding: chunked", "65\r\n" + String(repeating: "a", count: 101), 413),
        ("Transfer-Encoding: chunked", "x\r\n", 400), ("Transfer-Encoding: chunked", "1\r\nab", 400),
    ])
    func bodyRefused(field: String, content: String, status: Int) throws {
        let (bench, peer) = try Self.peer { $0.bodyBytes = 100 }
        peer.say(Peer.head("POST", "s", ["Content-Type: text/plain", field]) + content)
        let answer = try #require(peer.answers().first)
        #expect(answer.status == status && answer.fields["connection"] == "close" && peer.connection.phase == .lingering)
        #expect(bench.core.peers.held == 0)
        let check = try bench.connect()
        check.say(Self.get)
        #expect(check.answers().map(\.body) == ["hello"])
    }

    /// 100 is sent when the content is wanted and has not come; a refusal comes instead of it.
    @Test func expectContinue() throws {
        let (_, peer) = try Self.peer(content: "")
        let fields = ["Content-Type: text/plain", "Content-Length: 3", "Expect: 100-continue"]
        peer.say(Peer.head("POST", "s", fields))
        #expect(peer.answers().map(\.status) == [100])
        peer.say("abc")
        #expect(peer.answers().map(\.status) == [204])
        peer.say(Peer.head("POST", "s", fields) + "def")
        #expect(peer.answers().map(\.status) == [204])
        peer.say(Peer.head("POST", "s", fields + ["Producer-Id: p"]))
        let answers = peer.answers()
        #expect(answers.map(\.status) == [400] && answers.first?.fields["connection"] == "close" && peer.ended)
    }

    /// The content of a refused request is read and dropped, and the next request is answered.
    @Test func bodyOfARefusedRequest() throws {
        let (_, peer) = try Self.peer()
        peer.say(Self.post("GET /v1/stream/s HTTP/1.1\r\n\r\n", ["Producer-Id: p"]) + Self.get)
        let answers = peer.answers()
        #expect(answers.map(\.status) == [400, 200] && answers.last?.body == "hello")
    }

    /// What has arrived counts, and not what was announced: large bodies share three quarters of the memory, and a small one always finds room.
    @Test func tooManyBytesOfBodies() throws {
        let (bench, first) = try Self.peer { $0.peerBytes = 400_000 }
        let large = Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: 390000"])
        var waiting = [first]
        for _ in 0..<20 { waiting.append(try bench.connect()) }
        for peer in waiting { peer.say(large + "x") }
        #expect(bench.core.peers.held == waiting.count)
        first.send([UInt8](repeating: 97, count: 299_000))
        bench.settle()
        #expect(bench.core.peers.held == 299_000 + waiting.count && first.answers().isEmpty)
        let second = waiting[1]
        second.send([UInt8](repeating: 97, count: 2_000))
        bench.settle()
        #expect(second.answers().isEmpty)
        second.send([UInt8](repeating: 97, count: 80_000))
        bench.settle()
        #expect(second.answers().map(\.status) == [503])
        let small = try bench.connect()
        small.say(Self.post(String(repeating: "y", count: 5_000)))
        #expect(small.answers().map(\.status) == [204])
        for peer in waiting { peer.close() }
        bench.settle()
        #expect(bench.core.peers.held == 0)
    }

    /// One address has a quarter of the memory; what a proxy hands on is its client's.
    @Test func bytesOfOneAddress() throws {
        let bench = try ServerBench {
            $0.peerBytes = 400_000
        }
        bench.core.peers.isTrusted = { $0 == nil }
        try bench.create("s")
        func upload(_ client: String, _ count: Int) throws -> Peer {
            let peer = try bench.connect()
            peer.send(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: 300000", "X-Forwarded-For: \(client)"]))
            peer.send([UInt8](repeating: 97, count: count))
            bench.settle()
            return peer
        }
        let one = try upload("192.0.2.1", 90_000)
        #expect(one.answers().isEmpty)
        let more = try upload("198.51.100.7, 192.0.2.1:4711", 20_000)
        #expect(more.answers().map(\.status) == [503])
        let other = try upload("192.0.2.2", 90_000)
        #expect(other.answers().isEmpty)
        // One subscriber has a /56.
        let six = try upload("2001:db8:0:1::1", 60_000)
        #expect(six.answers().isEmpty)
        let neighbour = try upload("[2001:db8:0:2::9]:80", 60_000)
        #expect(neighbour.answers().map(\.status) == [503])
    }

    @Test func bodyEnds() throws {
        let (bench, peer) = try Self.peer()
        peer.say(String(Self.post("abcdef").dropLast(3)))
        #expect(peer.connection.phase == .body)
        peer.endSending()
        bench.settle()
        Self.expectClosed(peer)
        #expect(peer.answers().isEmpty)
    }

    /// A request that was cut off behind one that is being answered does not hold the connection.
    @Test func bodyEndsBehindAnAnswer() throws {
        let (bench, peer) = try Self.peer()
        bench.journalLane.isHeld = true
        peer.say(Self.post("abc") + String(Self.post("abcdef").dropLast(3)))
        peer.endSending()
        bench.settle()
        bench.journalLane.release()
        bench.settle()
        #expect(peer.answers().map(\.status) == [204])
        try #require(peer.connection.phase == .closed)
    }

    /// A body may come as slowly as a model writes; a pause that is too long ends it.
    @Test func bodyTimesOut() throws {
        let (bench, peer) = try Self.peer { $0.bodyMilliseconds = 30_000 }
        peer.say(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: 100"]) + "a")
        let start = bench.loop.now
        _ = peer.connection.visit(now: start + 29_000)
        #expect(peer.connection.phase == .body && peer.answers().isEmpty)
        _ = peer.connection.visit(now: start + 31_000)
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 408 && answer.fields["connection"] == "close" && bench.core.peers.held == 0)
    }

    /// A body that holds much of the memory has to keep a rate; a small one beside it has not.
    @Test func bodyIsTooSlow() throws {
        let (bench, peer) = try Self.peer {
            $0.peerBytes = 6_400_000
            $0.bodyGraceMilliseconds = 5_000
            $0.bodyBytesPerSecond = 1024
        }
        let head = Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: 300000"])
        peer.send(head)
        peer.send([UInt8](repeating: 97, count: 100_000))
        let small = try bench.connect()
        small.say(head + "a")
        let start = bench.loop.now
        // So much came in the first seconds,
        _ = peer.connection.visit(now: start + 6_000)
        #expect(peer.connection.phase == .body)
        // and nothing in the next ones.
        _ = peer.connection.visit(now: start + 12_000)
        _ = small.connection.visit(now: start + 12_000)
        #expect(peer.answers().map(\.status) == [408] && small.connection.phase == .body)
    }

    @Test(arguments: [
        (1 << 10, 0.1, 0), (1 << 20, 0.1, 0), (16 << 20, 0.1, 1024), (1 << 10, 0.9, 0), (1 << 20, 0.5, 1024), (1 << 20, 0.75, 1024 * 32),
        (1 << 20, 1.0, 1024 * 64),
    ])
    func bodyRates(bytes: Int, pressure: Double, rate: Int) throws {
        let bench = try ServerBench { $0.bodyBytesPerSecond = 1024 }
        #expect(bench.core.limits.bodyRate(holding: bytes, pressure: pressure, bound: 1 << 30) == rate)
    }

    @Test func bodyDrains() throws {
        let (bench, peer) = try Self.peer()
        peer.say(String(Self.post("abcdef").dropLast(3)))
        bench.core.drain()
        #expect(peer.connection.phase == .body)
        peer.say("def")
        #expect(peer.answers().map(\.status) == [204] && peer.ended)
    }

    @Test func bodyBreaks() throws {
        let (bench, peer) = try Self.peer()
        peer.say(String(Self.post("abcdef").dropLast(3)))
        peer.close()
        bench.settle()
        #expect(peer.connection.phase == .closed && bench.core.peers.held == 0)
    }

    // MARK: executing

    /// A connection whose append is in the journal's hands.
    static func executing() throws -> (ServerBench, Peer) {
        let (bench, peer) = try peer()
        bench.journalLane.isHeld = true
        peer.say(post(" world"))
        #expect(peer.connection.phase == .executing && peer.answers().isEmpty)
        return (bench, peer)
    }

    @Test func executingIsAnswered() throws {
        let (bench, peer) = try Self.executing()
        bench.journalLane.release()
        bench.settle()
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 204 && answer.fields["stream-next-offset"] == Self.token(11))
        Self.expectIdle(peer)
    }

    @Test func executingGetsBytes() throws {
        let (bench, peer) = try Self.executing()
        peer.say(Self.get + Self.post("!") + Self.get)
        #expect(peer.answers().isEmpty)
        bench.journalLane.release()
        bench.settle()
        let answers = peer.answers()
        #expect(answers.map(\.status) == [204, 200, 204, 200] && answers.last?.body == "hello world!")
    }

    /// A peer that only sends is not read for ever.
    @Test func executingGetsTooManyBytes() throws {
        let (bench, peer) = try Self.executing()
        let limit = bench.core.limits.pipelineBytes + bench.core.limits.wire.headBytes
        let flood = Array(String(repeating: Self.get, count: 40_000).utf8)
        var sent = 0
        for _ in 0..<200 {
            if case .bytes(let count) = flood[sent...].withUnsafeBytes({ SocketCalls.send(peer.descriptor, $0) }) { sent += count }
            bench.loop.runTurn(waiting: false)
        }
        #expect(sent < flood.count && sent < limit + 2_000_000)
    }

    @Test func executingEnds() throws {
        let (bench, peer) = try Self.executing()
        peer.endSending()
        bench.settle()
        #expect(peer.connection.phase == .executing)
        bench.journalLane.release()
        bench.settle()
        #expect(peer.answers().map(\.status) == [204])
        Self.expectClosed(peer)
    }

    /// A peer that has ended its side is given what is due, but does not wait for something new.
    @Test(arguments: [poll, events])
    func executingALiveReadEnds(request: String) throws {
        let bench = try ServerBench()
        bench.journalLane.isHeld = true
        let creator = try bench.connect()
        creator.say(Peer.head("PUT", "s", ["Content-Type: text/plain"]))
        let peer = try bench.connect()
        peer.say(request)
        #expect(peer.connection.phase == .executing)
        peer.endSending()
        bench.settle()
        bench.journalLane.release()
        bench.settle()
        try #require(peer.connection.phase == .closed)
    }

    @Test func executingTimesOutNever() throws {
        let (bench, peer) = try Self.executing()
        _ = peer.connection.visit(now: bench.loop.now + 3_600_000)
        #expect(peer.connection.phase == .executing)
        bench.journalLane.release()
        bench.settle()
        #expect(peer.answers().map(\.status) == [204])
    }

    @Test func executingDrains() throws {
        let (bench, peer) = try Self.executing()
        bench.core.drain()
        #expect(peer.connection.phase == .executing)
        bench.journalLane.release()
        bench.settle()
        #expect(peer.answers().map(\.status) == [204] && peer.ended)
    }

    @Test func executingFails() throws {
        let (bench, peer) = try Self.executing()
        bench.core.failPending()
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 503 && answer.fields["connection"] == "close")
        bench.journalLane.release()
        bench.settle()
        #expect(peer.answers().isEmpty)
    }

    /// The append of a peer that is gone is stored; its answer goes nowhere.
    @Test func executingBreaks() throws {
        let (bench, peer) = try Self.executing()
        peer.close()
        bench.settle()
        #expect(peer.connection.phase == .closed)
        bench.journalLane.release()
        bench.settle()
        let check = try bench.connect()
        check.say(Self.get)
        #expect(check.answers().map(\.body) == ["hello world"])
    }

    /// A live reader that is gone before its stream was found is not kept among the stream's readers.
    @Test(arguments: [poll, events])
    func executingALiveReadBreaks(request: String) throws {
        let bench = try ServerBench()
        bench.journalLane.isHeld = true
        let creator = try bench.connect()
        creator.say(Peer.head("PUT", "s", ["Content-Type: text/plain"]))
        let peer = try bench.connect()
        peer.say(request)
        peer.close()
        bench.settle()
        #expect(peer.connection.phase == .closed)
        bench.journalLane.release()
        bench.settle()
        #expect(!peer.isWaiting)
    }

    // MARK: polling

    static func polling(_ change: (inout ServerLimits) -> Void = { _ in }) throws -> (ServerBench, Peer) {
        let (bench, peer) = try peer(change)
        peer.say(poll)
        #expect(peer.connection.phase == .polling && peer.answers().isEmpty && peer.isWaiting)
        return (bench, peer)
    }

    @Test func pollingGetsData() throws {
        let (bench, peer) = try Self.polling()
        let second = try bench.connect()
        second.say(Peer.head("GET", "s?offset=\(Self.token(5))&live=long-poll"))
        let third = try bench.connect()
        third.say(Peer.head("GET", "s?live=long-poll&offset=\(Self.token(5))&cursor=99999999999"))
        try bench.append("s", Array(" world".utf8))
        for reader in [peer, second, third] {
            let answer = try #require(reader.answers().first)
            #expect(answer.status == 200 && answer.body == " world" && answer.fields["stream-next-offset"] == Self.token(11))
            #expect(answer.fields["stream-up-to-date"] == "true" && answer.fields["stream-cursor"] != nil)
            #expect(answer.fields["cache-control"] == (reader === peer ? "no-store" : ResponderCache.short))
            #expect((answer.fields["etag"] == nil) == (reader === peer))
            #expect(!reader.isWaiting)
            Self.expectIdle(reader)
        }
    }

    enum ResponderCache { static let short = "public, max-age=60, stale-while-revalidate=300" }

    @Test func pollingTimesOut() throws {
        let (bench, peer) = try Self.polling { $0.longPollMilliseconds = 7_000 }
        _ = peer.connection.visit(now: bench.loop.now + 6_000)
        #expect(peer.connection.phase == .polling)
        _ = peer.connection.visit(now: bench.loop.now + 8_000)
        let answer = try #require(peer.answers().first)
        #expect(
            answer.status == 204 && answer.fields["stream-next-offset"] == Self.token(5) && answer.fields["stream-up-to-date"] == "true")
        #expect(answer.fields["stream-cursor"] != nil && !peer.isWaiting)
        Self.expectIdle(peer)
    }

    @Test func pollingGetsBytes() throws {
        let (bench, peer) = try Self.polling()
        peer.say(Self.get + Self.poll)
        #expect(peer.answers().isEmpty)
        try bench.append("s", [UInt8(ascii: "!")])
        #expect(peer.answers().map(\.body) == ["!", "hello!"])
        #expect(peer.connection.phase == .polling)
        try bench.append("s", [UInt8(ascii: "?")])
        #expect(peer.answers().map(\.body) == ["?"])
    }

    @Test func pollingAClosingStream() throws {
        let (bench, peer) = try Self.polling()
        let writer = try bench.connect()
        writer.say(Peer.head("POST", "s", ["Stream-Closed: true"]))
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 204 && answer.fields["stream-closed"] == "true" && answer.fields["stream-up-to-date"] == "true")
        #expect(answer.fields["stream-cursor"] == nil)
        peer.say(Self.poll)
        #expect(peer.answers().map(\.status) == [204])
    }

    /// Append-and-close brings the data and the end together.
    @Test func pollingALastAppend() throws {
        let (bench, peer) = try Self.polling()
        try bench.append("s", Array("!".utf8), fields: "Stream-Closed: true")
        let answer = try #require(peer.answers().first)
        #expect(answer.status == 200 && answer.body == "!" && answer.fields["stream-closed"] == "true")
    }

    @Test func pollingADeletedStream() throws {
        let (bench, peer) = try Self.polling()
        #expect(try bench.once("DELETE", "s").status == 204)
        #expect(peer.answers().map(\.status) == [404])
        #expect(peer.connection.phase == .head)
    }

    @Test func pollingEndsOrBreaks() throws {
        for breaks in [false, true] {
            let (bench, peer) = try Self.polling()
            if breaks { peer.close() } else { peer.endSending() }
            bench.settle()
            #expect(peer.connection.phase == .closed && !peer.isWaiting)
            try bench.append("s", Array("!".utf8))
        }
    }

    @Test func pollingDrains() throws {
        let (bench, peer) = try Self.polling()
        bench.core.drain()
        #expect(peer.answers().map(\.status) == [204] && peer.ended && !peer.isWaiting)
    }

    // MARK: streaming

    static func streaming(content: String = "hello", _ change: (inout ServerLimits) -> Void = { _ in }) throws -> (ServerBench, Peer) {
        let (bench, peer) = try peer(content: content, change)
        peer.say(events)
        #expect(peer.connection.phase == .streaming)
        return (bench, peer)
    }

    /// The events after the head, whose fields are checked.
    static func streamed(_ peer: Peer) throws -> [EventProgressTests.Event] {
        let bytes = peer.receive()
        let end = Array("\r\n\r\n".utf8)
        let mark = try #require(bytes.indices.first { bytes[$0...].starts(with: end) })
        let head = String(decoding: bytes[..<mark], as: UTF8.self).lowercased()
        for line in [
            "content-type: text/event-stream", "cache-control: no-cache, no-transform", "x-accel-buffering: no", "connection: close",
        ] {
            #expect(head.contains(line))
        }
        #expect(!head.contains("content-length"))
        #expect(head.contains("transfer-encoding: chunked"))
        return EventProgressTests.parse(Dechunked(bytes[(mark + 4)...]).content)
    }

    static func summary(_ events: [EventProgressTests.Event]) -> [String] {
        events.map { event in
            let text = String(decoding: event.data, as: UTF8.self)
            guard event.kind == "control" else { return text }
            let position = UInt64(text.split(separator: "_")[1].prefix(16))!
            return "@\(position)" + (text.contains("upToDate") ? " up" : "") + (text.contains("streamClosed") ? " closed" : "")
                + (text.contains("streamCursor") ? " cursor" : "")
        }
    }

    @Test func streamingGetsData() throws {
        let (bench, peer) = try Self.streaming()
        try bench.append("s", Array(" wor".utf8))
        try bench.append("s", Array("ld".utf8))
        #expect(Self.summary(try Self.streamed(peer)) == ["hello", "@5 up cursor", " wor", "@9 up cursor", "ld", "@11 up cursor"])
    }

    @Test func streamingAnEmptyStream() throws {
        let (_, peer) = try Self.streaming(content: "")
        #expect(Self.summary(try Self.streamed(peer)) == ["@0 up cursor"])
    }

    /// Several appends in one commit: one data and one control event each.
    @Test func streamingOneCommit() throws {
        let (bench, peer) = try Self.streaming(content: "")
        bench.journalLane.isHeld = true
        let writer = try bench.connect()
        writer.say(Self.post("a"))
        let writers = try ["b", "c"].map { text in
            let writer = try bench.connect()
            writer.say(Self.post(text))
            return writer
        }
        bench.journalLane.release()
        bench.settle()
        #expect(writers.count == 2)
        let summary = Self.summary(try Self.streamed(peer))
        #expect(summary.filter { !$0.hasPrefix("@") } == ["a", "b", "c"])
        #expect(summary.count == 7 && summary.last == "@3 up cursor")
    }

    /// A character whose end has not come is held back, and the offset that is told lies before it, also when nothing else is there.
    @Test func streamingHalfACharacter() throws {
        let bench = try ServerBench()
        try bench.create("s")
        try bench.append("s", [0xF0, 0x9F])
        let peer = try bench.connect()
        peer.say(Self.events)
        let first = Self.summary(try Self.streamed(peer))
        #expect(first == ["@0 up cursor"])
        try bench.append("s", [0x98, 0x80, 0x61, 0xC3])
        #expect(Self.summary(try Self.streamed(peer)).dropFirst() == ["😀a", "@5 up cursor"])
        try bench.append("s", [], fields: "Stream-Closed: true")
        #expect(Self.summary(try Self.streamed(peer)).last == "@6 up closed")
        Self.expectLingering(peer)
    }

    static func expectLingering(_ peer: Peer, sourceLocation: SourceLocation = #_sourceLocation) {
        peer.receiveAll()
        #expect(peer.connection.phase == .lingering && peer.ended && !peer.isWaiting, sourceLocation: sourceLocation)
        peer.close()
        peer.bench.settle()
        #expect(peer.connection.phase == .closed, sourceLocation: sourceLocation)
    }

    @Test(arguments: ["", "!"])
    func streamingAClosingStream(last: String) throws {
        let (bench, peer) = try Self.streaming()
        try bench.append("s", Array(last.utf8), fields: "Stream-Closed: true")
        let end = last.isEmpty ? ["@5 up closed"] : ["!", "@6 up closed"]
        #expect(Self.summary(try Self.streamed(peer)) == ["hello", "@5 up cursor"] + end)
        Self.expectLingering(peer)
    }

    @Test func streamingAClosedStream() throws {
        let (bench, peer) = try Self.peer()
        try bench.append("s", [], fields: "Stream-Closed: true")
        peer.say(Self.events)
        #expect(Self.summary(try Self.streamed(peer)) == ["hello", "@5 up closed"])
        Self.expectLingering(peer)
        let atEnd = try bench.connect()
        atEnd.say(Peer.head("GET", "s?offset=now&live=sse"))
        #expect(Self.summary(try Self.streamed(atEnd)) == ["@5 up closed"])
        Self.expectLingering(atEnd)
    }

    @Test func streamingADeletedStream() throws {
        let (bench, peer) = try Self.streaming()
        #expect(try bench.once("DELETE", "s").status == 204)
        #expect(Self.summary(try Self.streamed(peer)) == ["hello", "@5 up cursor"])
        Self.expectLingering(peer)
    }

    @Test func streamingGetsBytes() throws {
        let (bench, peer) = try Self.streaming()
        peer.say(Self.get + "nonsense")
        try bench.append("s", Array("!".utf8))
        #expect(Self.summary(try Self.streamed(peer)) == ["hello", "@5 up cursor", "!", "@6 up cursor"])
    }

    @Test func streamingTimesOut() throws {
        let (bench, peer) = try Self.streaming { $0.eventsMilliseconds = 10_000 }
        _ = peer.connection.visit(now: bench.loop.now + 8_000)
        #expect(peer.connection.phase == .streaming)
        _ = peer.connection.visit(now: bench.loop.now + 10_500)
        Self.expectLingering(peer)
    }

    @Test func streamingEndsOrBreaks() throws {
        for breaks in [false, true] {
            let (bench, peer) = try Self.streaming()
            if breaks { peer.close() } else { peer.endSending() }
            bench.settle()
            #expect(peer.connection.phase == .closed && !peer.isWaiting)
            try bench.append("s", Array("!".utf8))
        }
    }

    @Test func streamingDrains() throws {
        let (bench, peer) = try Self.streaming()
        bench.core.drain()
        Self.expectLingering(peer)
    }

    /// A reader that does not read falls behind, catches up by reading and joins again; nothing is lost and nothing comes twice.
    @Test func streamingFallsBehind() throws {
        let (bench, peer) = try Self.streaming(content: "")
        var all: [UInt8] = []
        for number in 0..<30 {
            let block = [UInt8](repeating: UInt8(97 + number % 26), count: 30_000)
            all += block
            try bench.append("s", block)
        }
        peer.receiveAll()
        try bench.append("s", Array("!".utf8))
        all += Array("!".utf8)
        peer.receiveAll()
        let events = try Self.streamed(peer)
        #expect(Array(events.filter { $0.kind == "data" }.flatMap(\.data)) == all)
        #expect(Self.summary(events.suffix(1)) == ["@900001 up cursor"])
        #expect(peer.isWaiting && peer.connection.phase == .streaming)
    }

    // MARK: sending

    /// A connection whose answer does not fit into the socket.
    static func sending(_ change: (inout ServerLimits) -> Void = { _ in }) throws -> (ServerBench, Peer, [UInt8]) {
        let (bench, peer) = try peer(content: "", change)
        let content = (0..<900_000).map { UInt8(truncatingIfNeeded: 97 + $0 % 23) }
        try bench.append("s", content)
        peer.say(get)
        #expect(peer.connection.phase == .sending)
        return (bench, peer, content)
    }

    @Test func sendingIsTaken() throws {
        let (_, peer, content) = try Self.sending()
        peer.receiveAll()
        #expect(peer.answers().first.map { Array($0.body.utf8) } == content)
        Self.expectIdle(peer)
    }

    @Test func sendingGetsBytes() throws {
        let (_, peer, content) = try Self.sending()
        peer.say(Peer.head("HEAD", "s") + Self.post("!"))
        #expect(peer.connection.phase == .sending)
        peer.receiveAll()
        let text = peer.text
        #expect(text.utf8.count > content.count && text.contains("HTTP/1.1 204 No Content"))
        #expect(peer.connection.phase == .head)
    }

    @Test func sendingEnds() throws {
        let (bench, peer, content) = try Self.sending()
        peer.endSending()
        bench.settle()
        #expect(peer.connection.phase == .sending)
        peer.receiveAll()
        #expect(peer.answers().first.map { Array($0.body.utf8) } == content)
        Self.expectClosed(peer)
    }

    /// Only a peer that takes nothing is cut off; as long as something goes, the time begins anew.
    @Test func sendingStalls() throws {
        let (bench, peer, _) = try Self.sending()
        let start = bench.loop.now
        _ = peer.connection.visit(now: start + bench.core.limits.peerMilliseconds - 1_000)
        #expect(peer.connection.phase == .sending)
        _ = peer.connection.visit(now: start + bench.core.limits.peerMilliseconds + 1_000)
        #expect(peer.connection.phase == .closed)
        peer.receiveAll()
        #expect(peer.ended && peer.answers().isEmpty)
    }

    @Test func sendingDrains() throws {
        let (bench, peer, content) = try Self.sending()
        bench.core.drain()
        #expect(peer.connection.phase == .sending)
        peer.receiveAll()
        #expect(peer.answers().first.map { Array($0.body.utf8) } == content && peer.ended)
    }

    @Test func sendingBreaks() throws {
        let (bench, peer, _) = try Self.sending()
        peer.close()
        bench.settle()
        #expect(peer.connection.phase == .closed)
    }

    // MARK: lingering

    static func lingering() throws -> (ServerBench, Peer) {
        let (bench, peer) = try peer()
        peer.say("nonsense\r\n\r\n")
        #expect(peer.connection.phase == .lingering && peer.answers().map(\.status) == [400] && peer.ended)
        return (bench, peer)
    }

    @Test func lingeringDropsBytes() throws {
        let (bench, peer) = try Self.lingering()
        peer.say(Self.get + Self.post("x"))
        #expect(peer.connection.phase == .lingering)
        let check = try bench.connect()
        check.say(Self.get)
        #expect(check.answers().map(\.body) == ["hello"])
    }

    @Test func lingeringEnds() throws {
        for breaks in [false, true] {
            let (bench, peer) = try Self.lingering()
            if breaks { peer.close() } else { peer.endSending() }
            bench.settle()
            #expect(peer.connection.phase == .closed)
        }
    }

    @Test func lingeringTimesOut() throws {
        let (bench, peer) = try Self.lingering()
        _ = peer.connection.visit(now: bench.loop.now + bench.core.limits.lingerMilliseconds + 1_000)
        Self.expectClosed(peer)
    }

    @Test func lingeringDrains() throws {
        let (bench, peer) = try Self.lingering()
        bench.core.drain()
        #expect(peer.connection.phase == .lingering)
        bench.core.closeAll()
        #expect(peer.connection.phase == .closed && bench.core.connectionCount == 0)
    }

    // MARK: All of them

    /// More connections than there may be are told so.
    @Test func connectionLimit() throws {
        let bench = try ServerBench { $0.connections = 1 }
        let first = try bench.connect()
        var pair: [Int32] = [-1, -1]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0, &pair) == 0)
        bench.core.accept(pair[0])
        #expect(bench.core.connectionCount == 1)
        let second = Peer(pair[1], first.connection, bench)
        #expect(second.answers().map(\.status) == [503] && second.ended)
    }

    @Test func closeAll() throws {
        let (bench, _) = try Self.polling()
        let peers = try [Self.events, Self.get, "GET", ""].map { text in
            let peer = try bench.connect()
            peer.say(text)
            return peer
        }
        bench.core.closeAll()
        #expect(bench.core.connectionCount == 0 && peers.allSatisfy { $0.connection.phase == .closed && !$0.isWaiting })
    }
}
