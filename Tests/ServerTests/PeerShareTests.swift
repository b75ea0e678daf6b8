// What is counted for an address, and when it is given back.

import StreamSimulation
import Testing

@testable import Server

@Suite struct PeerShareTests {
    /// A body waits for its stream after its connection has gone, and is counted until its turn has come.
    @Test func aBodyThatWaitsForItsStream() throws {
        let bench = try ServerBench(store: { $0.preparedBytes = 1_000 }, clocks: VirtualClock().clocks)
        try bench.create("s", type: "application/json")
        bench.settle()
        #expect(bench.core.peers.held == 0)
        bench.workers.isHeld = true
        let body = "[\"" + String(repeating: "x", count: 30_000) + "\"]"
        let peers = try (0..<3).map { _ in try DicePeer(bench, .http1, buffer: nil) }
        for peer in peers {
            peer.send(
                Array(
                    (Peer.head("POST", "s", ["Content-Type: application/json", "Content-Length: \(body.utf8.count)"]) + body).utf8.prefix(
                        20_000)))
            peer.give(.max)
            bench.settle()
            peer.send(
                Array(
                    (Peer.head("POST", "s", ["Content-Type: application/json", "Content-Length: \(body.utf8.count)"]) + body).utf8
                        .dropFirst(20_000)))
            peer.give(.max)
            bench.settle()
        }
        let held = bench.core.peers.held
        #expect(held >= 3 * 30_000)
        for peer in peers { peer.close() }
        bench.settle()
        #expect(bench.core.connectionCount == 0)
        #expect(bench.core.peers.held == held)
        bench.workers.release()
        for _ in 0..<10 { bench.settle() }
        #expect(bench.core.peers.held == 0)
        #expect(bench.core.peers.count == 0)
    }

    /// A long head stays with a request that waits, and is counted.
    @Test func aLongHead() throws {
        let bench = try ServerBench(clocks: VirtualClock().clocks)
        try bench.create("s")
        let peer = try DicePeer(bench, .http1, buffer: nil)
        peer.send(
            Array(
                Peer.head("GET", "s?offset=now&live=long-poll", ["If-None-Match: \"" + String(repeating: "a", count: 20_000) + "\""]).utf8))
        peer.give(.max)
        bench.settle()
        #expect(bench.core.liveReaders == 1)
        #expect(bench.core.peers.held > 20_000)
        peer.close()
        bench.settle()
        #expect(bench.core.peers.held == 0 && bench.core.peers.count == 0)
    }

    /// Trust is one address's: not that of its neighbours in the same /56, whoever came first, and not for longer than the settings say.
    @Test(arguments: [true, false]) func trustIsOfOneAddress(proxyFirst: Bool) {
        let proxy: UInt128 = 0x2001_0db8 << 96 | 5
        let table = PeerTable(bound: 1 << 20, connectionBound: 10) { $0 == proxy }
        var held: [PeerShare] = []
        for address in proxyFirst ? [proxy, proxy + 1, proxy + 2] : [proxy + 1, proxy, proxy + 2] {
            let share = table.share(of: .internet(address))
            #expect(share.isExempt == (address == proxy) && table.enter(share))
            held.append(share)
        }
        // The neighbours are one subscriber.
        #expect(table.count == 2)
        table.isTrusted = { _ in false }
        #expect(!table.share(of: .internet(proxy)).isExempt)
        for share in held { table.leave(share) }
        #expect(table.count == 0)
    }

    /// Who has much waiting is cut off; who has little is not, though much waits for all.
    @Test func answersThatAreNotTaken() throws {
        let bench = try ServerBench({ $0.peerBytes = 1 << 20 }, clocks: VirtualClock().clocks)
        // 64 blocks of 20,000 bytes: more than may wait, half of a megabyte.
        for number in 0..<64 { try bench.create("s\(number)", content: String(repeating: "x", count: 20_000)) }
        func reader(_ stream: Int, _ address: UInt128) throws -> DicePeer {
            let peer = try DicePeer(bench, .http1, buffer: 4_096, address: address)
            peer.send(Array(Peer.head("GET", "s\(stream)?offset=-1").utf8))
            peer.give(.max)
            bench.settle()
            return peer
        }
        let greedy = try (0..<64).map { try reader($0, 1) }
        let modest = try reader(63, 2)
        #expect(bench.core.pinned.bytes <= 512 << 10)
        var whole = 0
        for _ in 0..<100 {
            while modest.take(1 << 16) > 0 {}
            bench.settle()
        }
        #expect(modest.inbox.count > 20_000)
        for peer in greedy {
            while peer.take(1 << 16) > 0 {}
            if peer.ended { whole += 1 }
        }
        #expect(whole > 0)
    }
}
