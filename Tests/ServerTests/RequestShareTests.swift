// What one address, one connection, and all together may begin and receive in one turn of the loop; and that all of it is served in the end.

import Glibc
import HTTP2SessionTesting
import StreamSimulation
import SystemCalls
import Testing
import TransportSecurity

@testable import Server

@Suite("Shares of a turn, of what comes in")
struct RequestShareTests {
    private static let attacker = PeerAddress.internet(0xFFFF_0A00_0001)
    private static let innocent = PeerAddress.internet(0xFFFF_0B00_0001)

    /// Runs turns until `isDone`, and says how many requests each of them began.
    private func turns(_ bench: ServerBench, until isDone: () -> Bool) -> [Int] {
        var begun: [Int] = []
        for _ in 0..<2_000 {
            let before = bench.core.requestsBegun
            bench.loop.runTurn(waiting: false)
            begun.append(Int(bench.core.requestsBegun - before))
            if isDone() { return begun }
        }
        Issue.record("it does not end")
        return begun
    }

    /// The beginning of an HTTP/2 connection that asks for the same so many times.
    private func streams(_ count: Int, _ target: String = "/v1/stream/s", method: String = "GET") -> [UInt8] {
        (0..<count).reduce(into: RawFrames.greeting) {
            $0 += RawFrames.headers(UInt32(1 + 2 * $1), RawFrames.request(target, method: method, scheme: "http"))
        }
    }

    /// The frames of a type that have come, unless one is on its way.
    private func frames(_ peer: Peer, _ type: UInt8) -> [RawFrames.Frame] {
        let bytes = peer.receive()
        return RawFrames.isWhole(bytes) ? RawFrames.parse(bytes).filter { $0.type == type } : []
    }

    @Test(arguments: [false, true]) func pipelinedRequestsOfOneAddress(isTrusted: Bool) throws {
        let bench = try ServerBench {
            $0.requestsPerAddress = 20
            $0.pipelineBudget = 8
            $0.requestsPerTurn = 30
        }
        try bench.create("s")
        bench.settle()
        let peers = try (0..<40).map { _ in try bench.connect(from: isTrusted ? .unix : Self.attacker) }
        let other = try bench.connect(from: Self.innocent)
        for peer in peers { peer.send(String(repeating: Peer.head("GET", "s"), count: 50)) }
        other.send(Peer.head("GET", "s"))
        bench.loop.runTurn(waiting: false)
        #expect(other.answers().map(\.status) == [200], "waits for another address")
        var answered = peers.map { $0.answers().count }
        let begun = turns(bench) {
            for (index, peer) in peers.enumerated() { answered[index] += peer.answers().count }
            return answered.allSatisfy { $0 == 50 }
        }
        // Of a trusted proxy: what the sockets tell, one more of each, and what was postponed.
        #expect(begun.allSatisfy { $0 <= (isTrusted ? 30 + 8 + 40 + 30 + 8 : 20) }, "\(begun)")
    }

    /// An address with many connections that ask once each.
    @Test func connectionsOfOneAddress() throws {
        let bench = try ServerBench { $0.requestsPerAddress = 5 }
        try bench.create("s")
        bench.settle()
        let peers = try (0..<30).map { _ in try bench.connect(from: Self.attacker) }
        for peer in peers { peer.send(Peer.head("GET", "s")) }
        var answered = 0
        let begun = turns(bench) {
            answered += peers.reduce(0) { $0 + $1.answers().count }
            return answered == 30
        }
        #expect(begun.allSatisfy { $0 <= 5 } && begun.count >= 6, "\(begun)")
    }

    @Test(arguments: [false, true]) func streamsOfHTTP2(isTrusted: Bool) throws {
        let bench = try ServerBench {
            $0.requestsPerAddress = 20
            $0.requestsPerTurn = 30
        }
        try bench.create("s")
        bench.settle()
        let address = isTrusted ? PeerAddress.unix : Self.attacker
        let peers = try (0..<20).map { _ in try bench.connect(from: address) }
        let other = try bench.connect(from: Self.innocent)
        for peer in peers {
            peer.send(streams(60, method: "HEAD"))
        }
        other.send(Peer.head("GET", "s"))
        bench.loop.runTurn(waiting: false)
        #expect(other.answers().map(\.status) == [200], "waits for another address")
        let begun = turns(bench) {
            peers.allSatisfy { frames($0, 1).count == 60 }
        }
        #expect(begun.allSatisfy { $0 <= (isTrusted ? 30 + 20 + 20 + 30 + 8 : 20) }, "\(begun)")
    }

    /// Many connections that send a few requests at once, again and again: whoever asks for one thing waits for one request of each.
    @Test(arguments: [false, true]) func burstsOfManyConnections(isHTTP2: Bool) throws {
        let bench = try ServerBench { $0.requestsPerTurn = 30 }
        try bench.create("s")
        bench.settle()
        let peers = try (0..<60).map { try bench.connect(from: .internet(0xFFFF_0A01_0000 + UInt128($0))) }
        let burst =
            isHTTP2 ? streams(20, method: "HEAD") : Array(String(repeating: Peer.head("GET", "s"), count: 20).utf8)
        for peer in peers { peer.send(burst) }
        let begun = turns(bench) {
            peers.allSatisfy { isHTTP2 ? frames($0, 1).count == 20 : count("HTTP/1.1 200", in: $0) == 20 }
        }
        // What the sockets tell and what was postponed, and one of each beyond that.
        #expect(begun.allSatisfy { $0 <= 2 * (30 + 8) + 60 }, "\(begun)")
        // The first requests of all are begun before the second ones of most.
        #expect(begun.count >= 60 * 20 / (2 * 38 + 60), "\(begun)")
    }

    private func count(_ text: String, in peer: Peer) -> Int { peer.text.components(separatedBy: text).count - 1 }

    /// A connection whose address has had its share waits without work: what it has sent stays where it is.
    @Test func waitingCostsNothing() throws {
        let bench = try ServerBench { $0.requestsPerAddress = 1 }
        try bench.create("s")
        bench.settle()
        let peers = try (0..<3).map { _ in try bench.connect(from: Self.attacker) }
        for peer in peers {
            peer.send(streams(50, method: "HEAD"))
        }
        for _ in 0..<4 { bench.loop.runTurn(waiting: false) }
        let held = { bench.core.peers.held }
        let before = held()
        var counts: Set<Int> = []
        for _ in 0..<30 {
            bench.loop.runTurn(waiting: false)
            counts.insert(held())
        }
        // Blocks of the size that they had: not one more, and none that was copied to be smaller.
        #expect(counts.allSatisfy { abs($0 - before) < 8_192 }, "\(before) \(counts)")
        _ = turns(bench) { peers.allSatisfy { frames($0, 1).count == 50 } }
    }

    /// No time of the peer's runs while what it has sent waits for its turn: neither that for a head, nor that between requests, nor that of a body.
    @Test(arguments: [false, true]) func timeStandsStillForWhoWaits(isHTTP2: Bool) throws {
        let clock = VirtualClock()
        let bench = try ServerBench(
            {
                $0.requestsPerAddress = 1
                $0.headerMilliseconds = 1_000
                $0.idleMilliseconds = 1_000
            }, clocks: clock.clocks)
        try bench.create("s")
        bench.settle()
        let peers = try (0..<4).map { _ in try bench.connect(from: Self.attacker) }
        let requests =
            isHTTP2 ? streams(10, method: "HEAD") : Array(String(repeating: Peer.head("GET", "s"), count: 10).utf8)
        for peer in peers { peer.send(requests) }
        _ = turns(bench) {
            clock.advance(300)
            return peers.allSatisfy { isHTTP2 ? frames($0, 1).count == 10 : count("HTTP/1.1 200", in: $0) == 10 }
        }
    }

    @Test func timeStandsStillForBodies() throws {
        let clock = VirtualClock()
        let bench = try ServerBench(
            {
                $0.receiveBytesPerTurn = 20_000
                $0.receiveBudget = 20_000
                $0.bodyMilliseconds = 1_000
            }, clocks: clock.clocks)
        try bench.create("s")
        let peers = try (0..<12).map { _ in try bench.connect() }
        for peer in peers {
            SocketCalls.setOption(peer.descriptor, level: SOL_SOCKET, SO_SNDBUF, 1 << 20)
            peer.send(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: 200000"]))
        }
        bench.settle()
        for peer in peers { peer.send([UInt8](repeating: 120, count: 200_000)) }
        var stored = 0
        _ = turns(bench) {
            clock.advance(400)
            stored += peers.reduce(0) { $0 + $1.answers().count { $0.status == 204 } }
            return stored == 12
        }
    }

    /// What is kept of a connection's requests while its socket is blocked goes on afterwards.
    @Test func keptFramesWaitForTheSocket() throws {
        let bench = try ServerBench {
            $0.requestsPerAddress = 1
        }
        try bench.create("s", content: String(repeating: "x", count: 60_000))
        let peer = try bench.connect(from: Self.attacker)
        SocketCalls.setOption(peer.connection.descriptor, level: SOL_SOCKET, SO_SNDBUF, 4_096)
        peer.send(streams(20, "/v1/stream/s?offset=-1") + RawFrames.windowUpdate(0, 1 << 24))
        var bytes = 0
        _ = turns(bench) {
            bytes = frames(peer, 0).reduce(0) { $0 + $1.payload.count }
            return bytes == 20 * 60_000
        }
        #expect(bytes == 20 * 60_000)
    }

    /// A peer with large windows that takes its answers slowly, and asks for more meanwhile: it is read from beside what it is sent.
    @Test(arguments: [false, true]) func inputIsReadBesideOutput(isSecure: Bool) throws {
        Processes.ignoreSignals()
        let bench = try ServerBench()
        if isSecure {
            let (chain, key) = try #require(TestCertificate.pair)
            let identity = try TLSIdentity(
                certificates: chain, key: key, certificateFile: "c.pem", keyFile: "c.key", now: Int64(time(nil)))
            bench.core.tls = try TLSContext([identity], TLSSettings(), ticketKeys: SessionTicketKeys(now: 0))
        }
        try bench.create("s", content: String(repeating: "x", count: 400_000))
        let peer = try DicePeer(
            bench, isSecure ? .http2TLS : .http2, buffer: 8_192, client: HTTP2Client(window: 1 << 20, connectionWindow: 1 << 24))
        let client = try #require(peer.client)
        for _ in 0..<10 { _ = client.request("/v1/stream/s?offset=-1") }
        for _ in 0..<40 {
            peer.give(.max)
            bench.loop.runTurn(waiting: false)
            peer.take(2_000)
        }
        let append = client.request(
            "/v1/stream/s", method: "POST", [("content-type", "text/plain")], body: Array("more".utf8))
        var taken = 0
        for _ in 0..<5_000 where client.answers[append]?.hasEnded != true {
            peer.give(.max)
            bench.loop.runTurn(waiting: false)
            taken += peer.take(2_000)
        }
        // A frame of each answer may be in front of it, and what lies in the buffers.
        #expect(client.answers[append]?.status == 204 && taken < 500_000, "\(taken)")
    }

    /// Bodies that come as fast as they are taken: each turn takes a share, and nobody is passed over.
    @Test func bodiesShareTheTurns() throws {
        let bench = try ServerBench {
            $0.receiveBytesPerTurn = 64 * 1024
            $0.receiveBudget = 16 * 1024
        }
        try bench.create("s")
        let size = 400_000
        let peers = try (0..<20).map { _ in try bench.connect() }
        for peer in peers {
            SocketCalls.setOption(peer.descriptor, level: SOL_SOCKET, SO_SNDBUF, 1 << 20)
            peer.send(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: \(size)"]))
        }
        bench.settle()
        var left = peers.map { _ in size }
        var statuses = 0
        for _ in 0..<2_000 where statuses < 20 {
            for (index, peer) in peers.enumerated() where left[index] > 0 {
                if case .bytes(let count) = [UInt8](repeating: 120, count: min(left[index], 200_000)).withUnsafeBytes({
                    SocketCalls.send(peer.descriptor, $0)
                }) {
                    left[index] -= count
                }
            }
            let before = peers.map { $0.connection.phase == .body ? $0.connection.request!.body.received : size }
            bench.loop.runTurn(waiting: false)
            let after = peers.map { $0.connection.phase == .body ? $0.connection.request!.body.received : size }
            let taken = zip(after, before).reduce(0) { $0 + $1.0 - $1.1 }
            // What the socket tells, and what was put off.
            #expect(taken <= 2 * (64 + 16) * 1024)
            #expect(after.max()! - after.min()! <= 200_000 || statuses > 0 || after.contains(size), "\(after)")
            statuses += peers.reduce(0) { $0 + $1.answers().count { $0.status == 204 } }
        }
        #expect(statuses == 20)
    }

    /// What follows a request that waits is kept, up to its bound, from the first read on.
    @Test func inputBehindAFirstRequestIsBounded() throws {
        let bench = try ServerBench()
        try bench.create("s")
        let peer = try bench.connect(from: Self.attacker)
        SocketCalls.setOption(peer.descriptor, level: SOL_SOCKET, SO_SNDBUF, 1 << 20)
        let poll = Peer.head("GET", "s?offset=now&live=long-poll")
        peer.send(poll + String(repeating: Peer.head("GET", "s"), count: 1_000))
        bench.settle()
        #expect(peer.connection.phase == .polling)
        #expect(peer.connection.share.bytes <= bench.core.limits.pipelineBytes + 4_096)
        try bench.append("s", [120])
        var answered = 0
        for _ in 0..<100 where answered < 1_001 {
            bench.settle()
            answered += peer.answers().count
        }
        #expect(answered == 1_001)
    }
}
