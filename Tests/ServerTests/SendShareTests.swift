// Answers that many readers take at once are sent in shares, a bounded one in each turn of the loop, so that everyone else waits for one share
// and not for all of them; and each answer arrives whole.

import Testing

@testable import Server

@Suite("Shares of a turn")
struct SendShareTests {
    @Test func largeAnswersShareTheTurns() throws {
        let (share, readers, size) = (64 * 1024, 12, 300_000)
        let bench = try ServerBench {
            $0.sendBytesPerTurn = share
            $0.sendBudget = 48 * 1024
        }
        let content = String((0..<size).map { Character(UnicodeScalar(UInt8(97 + $0 * $0 % 23))) })
        try bench.create("s")
        try bench.append("s", Array(content.utf8))
        let peers = try (0..<readers).map { _ in try bench.connect() }
        for peer in peers { peer.send(Peer.head("GET", "s?offset=-1")) }
        let other = try bench.connect()
        var received = 0
        var turns = 0
        var answered = 0
        // Far more turns than it may take.
        while received < readers * size, turns < 10_000 {
            if turns % 10 == 5 { other.send(Peer.head("HEAD", "s")) }
            bench.loop.runTurn(waiting: false)
            turns += 1
            let before = received
            received = peers.reduce(0) { $0 + $1.receive().count }
            // Heads go with what is answered at once, beside the share.
            #expect(received - before <= share + readers * 2048)
            if turns % 10 == 8 {
                // Asked three turns before.
                answered += String(decoding: other.receive(), as: UTF8.self).components(separatedBy: "HTTP/1.1 200").count - 1 - answered
                #expect(answered == turns / 10 + 1)
            }
        }
        #expect(turns >= readers * size / share)
        for peer in peers {
            let answer = try #require(peer.answers().first)
            #expect(answer.status == 200 && answer.body == content)
        }
    }

    /// Nobody is passed over: all are served about equally.
    @Test func sharesGoRound() throws {
        let bench = try ServerBench {
            $0.sendBytesPerTurn = 32 * 1024
            $0.sendBudget = 32 * 1024
        }
        try bench.create("s", content: String(repeating: "x", count: 1_000_000))
        let peers = try (0..<8).map { _ in try bench.connect() }
        for peer in peers { peer.send(Peer.head("GET", "s?offset=-1")) }
        for _ in 0..<80 {
            bench.loop.runTurn(waiting: false)
            for peer in peers { peer.receive() }
        }
        let counts = peers.map { $0.receive().count }
        #expect(counts.min()! * 3 >= counts.max()!, "\(counts)")
    }
}
