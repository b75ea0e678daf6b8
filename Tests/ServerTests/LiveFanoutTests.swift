// Passes over a stream's readers that take many turns: what happens between two shares of a pass is chosen by a seed.
//
//     readers (events, long-polls; at the tail, behind, from now; with small sockets that block)
//     steps:  append │ join │ vanish │ a turn │ time-out of one reader │ another request          then: close, or delete
//
// Each reader is checked against the stream: every byte from where it began, in order, once, whatever the cuts.

import StreamHTTP
import StreamRules
import StreamSimulation
import Testing

@testable import Server
@testable import StreamActors

@Suite("Passes over live readers")
struct LiveFanoutTests {
    /// A reader and what it must have got.
    private final class Reader {
        let peer: Peer
        let isPoll: Bool
        private(set) var position: Int
        private(set) var isClosed = false
        private(set) var isGone = false
        private var unparsed = ""

        init(_ bench: ServerBench, isPoll: Bool, from position: Int, now: Bool) throws {
            peer = try bench.connect()
            self.isPoll = isPoll
            self.position = position
            ask(now: now)
        }

        private func ask(now: Bool) {
            let offset = now ? "now" : StreamOffset(position: UInt64(position)).description
            peer.send(Peer.head("GET", "s?offset=\(offset)&live=\(isPoll ? "long-poll" : "sse")"))
        }

        /// Takes what has come and compares it with the stream. Long-polls ask again.
        func check(_ content: String) throws {
            if isPoll {
                for answer in peer.answers() {
                    if answer.status == 404 {
                        isGone = true
                        continue
                    }
                    try #require(answer.status == 200 || answer.status == 204)
                    try take(answer.body, content)
                    let next = try #require(answer.fields["stream-next-offset"])
                    #expect(next == StreamOffset(position: UInt64(position)).description)
                    if answer.fields["stream-closed"] == "true" { isClosed = true } else { ask(now: false) }
                }
                return
            }
            unparsed = peer.text
            if let head = unparsed.range(of: "\r\n\r\n") { unparsed.removeSubrange(..<head.upperBound) }
            unparsed = String(decoding: Dechunked(unparsed.utf8).content, as: UTF8.self)
            // Everything anew from the beginning: what was checked before is passed over.
            var text = ""
            var last = ""
            for event in unparsed.components(separatedBy: "\n\n").dropLast() {
                let data = event.components(separatedBy: "\n").filter { $0.hasPrefix("data:") }.map { $0.dropFirst(5) }
                if event.hasPrefix("event: control") { last = data.joined() } else { text += data.joined(separator: "\n") }
            }
            let from = try #require(start)
            try #require(content.dropFirst(from).hasPrefix(text))
            position = from + text.utf8.count
            if last.contains("\"streamClosed\":true") { isClosed = true }
            if peer.ended { isGone = true }
        }

        /// Where a reader of events began.
        var start: Int? { isPoll ? nil : began }
        private lazy var began = position

        func begins() { _ = began }

        private func take(_ text: String, _ content: String) throws {
            try #require(content.dropFirst(position).hasPrefix(text))
            position += text.utf8.count
        }
    }

    private func run(seed: UInt64) throws {
        var random = Dice(seed: seed)
        // Between one and four readers a turn.
        let share = Int.random(in: 1...4, using: &random) * FanoutBudget.perSend
        let bench = try ServerBench { ($0.liveBytesPerTurn, $0.catchUpBytesPerTurn) = (share, share) }
        try bench.create("s")
        var content = ""
        var readers: [Reader] = []
        let writer = try bench.connect()
        let other = try bench.connect()
        func join() throws {
            let isPoll = Bool.random(using: &random)
            for _ in 0..<8 { bench.settle() }
            let tail = content.utf8.count
            let from = Bool.random(using: &random) ? tail : Int.random(in: 0...tail, using: &random)
            let reader = try Reader(bench, isPoll: isPoll, from: from, now: from == tail && Bool.random(using: &random))
            reader.begins()
            readers.append(reader)
            bench.settle()
        }
        for _ in 0..<Int.random(in: 1...12, using: &random) { try join() }
        for step in 0..<60 {
            switch Int.random(in: 0..<12, using: &random) {
            case 0..<5:
                let text = "<\(seed).\(step)" + String(repeating: "x", count: Int.random(in: 0...300, using: &random)) + ">"
                writer.send(Peer.head("POST", "s", ["Content-Type: text/plain", "Content-Length: \(text.utf8.count)"]) + text)
                content += text
            case 5: if readers.count < 20 { try join() }
            case 6:
                guard let index = readers.indices.randomElement(using: &random) else { break }
                readers.remove(at: index).peer.close()
            case 7:
                // The time of one reader is over, wherever it stands.
                guard let reader = readers.randomElement(using: &random) else { break }
                try reader.check(content)
                if !reader.isPoll {
                    readers.removeAll { $0 === reader }
                    let later = bench.loop.now + bench.core.limits.eventsMilliseconds + 1_000
                    _ = reader.peer.connection.visit(now: later)
                }
            case 8:
                // Others are answered within a turn or two, however long the pass is.
                other.send(Peer.head("OPTIONS", "none"))
                for _ in 0..<2 { bench.loop.runTurn(waiting: false) }
                #expect(other.answers().map(\.status) == [204], "seed \(seed), step \(step)")
            default: bench.loop.runTurn(waiting: false)
            }
            if Bool.random(using: &random) { for reader in readers { try reader.check(content) } }
        }
        let closes = Bool.random(using: &random)
        if closes {
            writer.send(Peer.head("POST", "s", ["Stream-Closed: true", "Content-Length: 0"]))
        }
        for _ in 0..<60 {
            bench.settle()
            for reader in readers { try reader.check(content) }
        }
        #expect(bench.context.fanouts.isEmpty, "seed \(seed)")
        for reader in readers {
            #expect(reader.position == content.utf8.count && reader.isClosed == closes, "seed \(seed), poll \(reader.isPoll)")
        }
        if closes { return }
        _ = try bench.once("DELETE", "s")
        for _ in 0..<20 { bench.settle() }
        for reader in readers {
            try reader.check(content)
            #expect(reader.isGone, "seed \(seed)")
        }
    }

    @Test("Every reader gets every byte once", arguments: 0..<8)
    func seeds(block: UInt64) throws {
        for seed in block * 5..<(block + 1) * 5 {
            do { try run(seed: seed) } catch {
                Issue.record("seed \(seed): \(error)")
            }
        }
    }

    @Test("A pass over many takes several turns; who is not reached yet is told what came meanwhile with one send")
    func turns() throws {
        let bench = try ServerBench { $0.liveBytesPerTurn = 4 * FanoutBudget.perSend }
        try bench.create("s")
        let readers = try (0..<30).map { _ in try bench.connect() }
        for reader in readers { reader.say(Peer.head("GET", "s?offset=now&live=sse")) }
        for reader in readers { _ = reader.text }
        try bench.append("s", Array("a".utf8))
        // A settle is twelve turns of at most four readers and an unfinished send's budget.
        #expect(bench.context.fanouts.count <= 1)
        for letter in "bcdefg" { try bench.append("s", Array(String(letter).utf8)) }
        for _ in 0..<4 { bench.settle() }
        for reader in readers {
            let text = reader.text
            let letters = text.components(separatedBy: "\n").filter { $0.hasPrefix("data:") && $0.count == 6 }.map { $0.suffix(1) }
            #expect(letters.joined() == "abcdefg")
        }
    }

    @Test("A waiting reader keeps nothing of its request")
    func slim() throws {
        let bench = try ServerBench()
        try bench.create("s")
        for live in ["sse", "long-poll"] {
            for offset in ["now", "-1"] {
                let peer = try bench.connect()
                peer.say(Peer.head("GET", "s?offset=\(offset)&live=\(live)&cursor=7"))
                #expect(peer.connection.phase.isLive && peer.connection.request == nil && peer.connection.queue == nil)
            }
        }
        #expect(MemoryLayout<Carry>.size == 4)
    }

    @Test("A reader of events that catches up gets bounded pieces; a longer JSON message is one event of several")
    func pieces() throws {
        let bench = try ServerBench { $0.eventsPieceBytes = 16 }
        try bench.create("j", type: "application/json")
        let messages = ["1", "22222222222", "3", "\"" + String(repeating: "x", count: 90) + "\"", "5"]
        for message in messages { try bench.append("j", type: "application/json", Array(message.utf8)) }
        let peer = try bench.connect()
        peer.say(Peer.head("GET", "j?offset=-1&live=sse"))
        for _ in 0..<8 { bench.settle() }
        let text = String(
            decoding: Dechunked(peer.text.components(separatedBy: "\r\n\r\n").dropFirst().joined(separator: "\r\n\r\n").utf8).content,
            as: UTF8.self)
        let events = text.components(separatedBy: "\n\n").filter { $0.contains("event: data\n") }
        let data = events.map { event in
            event.components(separatedBy: "\n").filter { $0.hasPrefix("data:") }.map { String($0.dropFirst(5)) }.joined()
        }
        #expect(data == ["[\(messages[0]),\(messages[1])]", "[3]", "[\(messages[3])]", "[5]"])
    }
}
