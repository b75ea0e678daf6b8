// What many streams, large bodies and long lines of forks do to the others: as short histories, with counts and orders instead of times.

import StreamRules
import StreamSimulation
import StreamStore
import Testing

@testable import StreamActors

@Suite struct LoadTests {
    private func fork(_ source: String, _ offset: UInt64?) -> ForkRequest {
        ForkRequest(source: Array(source.utf8), offset: offset, subOffset: 0)
    }

    private func bytes(_ asker: Asker) -> String {
        guard case .read(let result)? = asker.outcome else { return asker.said }
        return result.pieces.map { piece in
            guard case .memory(let slice) = piece else { return "?" }
            return String(decoding: slice.bytes, as: UTF8.self)
        }.joined()
    }

    // MARK: Lines of forks

    /// A fork of a fork that begins before its source does has nothing of it, nor of what its source was made from later than that.
    @Test func aForkFromBeforeItsSourceBegins() throws {
        let script = try Script()
        script.create("a", "0123456789")
        script.run()
        script.create("b", "bb", fork: fork("a", 6))
        script.run()
        script.create("c", "cc", fork: fork("b", 7))
        script.run()
        script.create("d", "dd", fork: fork("c", 3))
        script.create("e", "ee", fork: fork("c", 7))
        script.run()
        for (name, content) in [("b", "012345bb"), ("c", "012345bcc"), ("d", "012dd"), ("e", "012345bee")] {
            #expect(bytes(script.read(name)) == content)
        }
    }

    /// The cost of a read does not depend on forks that have no bytes of their own between.
    @Test func emptyAncestorsArePassedOver() throws {
        let script = try Script()
        script.create("0", "root")
        script.run()
        for depth in 1...StoreLimits.forkDepth {
            let created = script.create("\(depth)", type: nil, fork: fork("\(depth - 1)", nil))
            script.run()
            if created.said != "created new 4" { Issue.record("\(depth): \(created.said)") }
        }
        let last = script.read("\(StoreLimits.forkDepth)")
        script.run()
        #expect(bytes(last) == "root")
        let line = script.server.loop.isolated(try #require(last.stream)) { $0.line(downTo: 0).count }
        #expect(line == 2)
        let tooDeep = script.create("more", type: nil, fork: fork("\(StoreLimits.forkDepth)", nil))
        script.run()
        #expect(tooDeep.said == "forkTooDeep(1000)")
        #expect(script.head("more").said == "" || script.head("more").said == "notFound")
    }

    // MARK: Large bodies

    /// Commands behind a large body keep their order, and those of other streams do not wait for it.
    @Test func whatComesBehindALargeBody() throws {
        let script = try Script { $0.store.preparedBytes = 20 }
        script.create("a", type: "application/json")
        script.create("b", type: "application/json")
        script.run()
        var order: [String] = []
        func asker(_ name: String) -> Asker {
            let asker = Asker()
            asker.then = { order.append(name) }
            return asker
        }
        let large = script.append("a", "[\"a rather large message\"]", type: "application/json", asker("large"))
        let small = script.append("a", "1", type: "application/json", asker("small"))
        let read = script.read("a", at: 0, .catchUp, asker("read"))
        let other = script.append("b", "2", type: "application/json", asker("other"))
        script.commit()
        #expect(order == ["read", "other"] && read.said == "read 0 0" && other.said == "appended 3")
        let delete = script.delete("a")
        script.run()
        #expect(order == ["read", "other", "large", "small"])
        #expect(large.said == "appended 26" && small.said == "appended 29" && delete.said == "deleted")
    }

    @Test(arguments: ["[\"a rather large message\",]", "[\"a rather large message\"] x"])
    func aLargeBodyThatIsNoJSON(body: String) throws {
        let script = try Script { $0.store.preparedBytes = 20 }
        script.create("a", type: "application/json")
        script.run()
        let append = script.append("a", body, type: "application/json")
        let create = script.create("b", body, type: "application/json")
        let behind = script.append("b", "1", type: "application/json")
        script.run()
        #expect(append.said.hasPrefix("invalidJSON") && create.said.hasPrefix("invalidJSON") && behind.said == "notFound")
        #expect(script.head("a").said == "there 0")
    }

    /// A name whose first stream has a large body is answered in the order of the questions.
    @Test func aCreateWithALargeBody() throws {
        let script = try Script { $0.store.preparedBytes = 20 }
        let create = script.create("a", "[\"a rather large message\",2]", type: "application/json")
        let append = script.append("a", "3", type: "application/json")
        let again = script.create("a", "[\"another rather large message\"]", type: "application/json")
        script.run()
        #expect(create.said == "created new 29" && append.said == "appended 32" && again.said == "created old 32")
        let fork = script.create("f", "[\"yet another large message\"]", type: nil, fork: fork("a", 26))
        script.run()
        #expect(fork.said == "created new 55")
    }

    // MARK: Room in the journal

    /// Who waits for room gets on in the order in which they came, up to the first that does not fit, and nobody's body is looked at twice.
    @Test func waitingForRoom() throws {
        let script = try Script {
            $0.store.journalSize = 16 * 1024
            $0.store.preparedBytes = 100
        }
        script.create("a", type: "application/json")
        script.run()
        var order: [Int] = []
        let body = "[\"" + String(repeating: "x", count: 1_500) + "\"]"
        let askers = (0..<24).map { number in
            let asker = Asker()
            asker.then = { order.append(number) }
            return script.append("a", body, type: "application/json", asker)
        }
        script.run()
        script.pass(seconds: 3)
        #expect(order == Array(0..<24))
        #expect(askers.allSatisfy { $0.said.hasPrefix("appended") })
        #expect(askers.last?.said == "appended \(24 * 1_504)")
    }

    // MARK: Many streams

    /// Streams that expire together are ended within moments, whatever their number, and those in the catalog as well.
    @Test(arguments: [false, true]) func aStormOfExpiries(isSaved: Bool) throws {
        let script = try Script {
            $0.store.idleStreams = 10
            $0.store.journalSize = 8 << 20
            $0.journal.firstFile = 1 << 20
            $0.journal.smallestFile = 1 << 20
            if isSaved { $0.store.checkpointMilliseconds = 1_000 }
        }
        for number in 0..<3_000 {
            script.create("s\(number)", "x", expiry: .timeToLive(seconds: 5))
            if number % 100 == 0 { script.run() }
        }
        script.run()
        #expect(script.server.registry.streamCount == 3_000)
        if isSaved { script.pass(seconds: 3) }
        script.pass(seconds: isSaved ? 4 : 6)
        #expect(script.server.registry.streamCount == 0)
    }

    /// Idle streams beyond the limit go, a share at a time; what a reader follows stays, wherever the reader stands.
    @Test func evictionInShares() throws {
        let script = try Script {
            $0.store.idleStreams = 20
            $0.store.journalSize = 8 << 20
            $0.journal.firstFile = 1 << 20
            $0.journal.smallestFile = 1 << 20
            $0.store.checkpointMilliseconds = 1_000
        }
        for number in 0..<2_000 {
            script.create("s\(number)", "x")
            if number % 100 == 0 { script.run() }
        }
        script.run()
        let followed = try #require(script.read("s7").stream)
        let reader = StreamReader(.follower, of: Asker())
        script.server.loop.isolated(followed) { $0.fallBehind(reader) }
        script.pass(seconds: 8)
        #expect(script.server.registry.loaded.count <= 20 + 1)
        #expect(script.read("s7").stream === followed)
        script.server.loop.isolated(followed) { $0.leave(reader) }
        script.run()
        #expect(bytes(script.read("s1234")) == "x" || script.read("s1234").said == "")
    }

    /// A reader that is behind keeps a TTL alive, also over the checkpoint, until it goes.
    @Test func aReaderThatIsBehind() throws {
        let script = try Script { $0.store.checkpointMilliseconds = 1_000 }
        script.create("a", "text", expiry: .timeToLive(seconds: 3))
        script.run()
        let stream = try #require(script.read("a").stream)
        let reader = StreamReader(.follower, of: Asker())
        script.server.loop.isolated(stream) { $0.fallBehind(reader) }
        script.pass(seconds: 20)
        #expect(script.head("a").said == "there 4")
        script.server.loop.isolated(stream) { $0.leave(reader) }
        script.pass(seconds: 2)
        #expect(script.head("a").said == "there 4")
        script.pass(seconds: 3)
        let head = script.head("a")
        script.run()
        #expect(head.said == "notFound")
    }

    // MARK: What is not durable

    /// Whether an expired stream is kept for a fork is told only when the fork is durable.
    @Test func theCountOfForksIsDurableBeforeItIsTold() throws {
        let script = try Script()
        script.create("a", "text", expiry: .timeToLive(seconds: 2))
        script.run()
        script.create("b", type: nil, fork: fork("a", nil))
        script.runWithoutJournal()
        script.passAtOnce(milliseconds: 2_000)
        let head = script.head("a")
        #expect(head.said == "")
        script.run()
        #expect(head.said == "retained")
    }
}
