// Readers whose owners are no requests: something that follows a thousand streams at once, and something that knows no HTTP. And the lists and values
// that a stream keeps of those who wait.

import StreamRules
import StreamSimulation
import Testing

@testable import StreamActors
@testable import StreamStore

/// Follows streams, each with a reader of its own, and keeps all their bytes.
///
/// @unchecked Sendable: confined to the test's thread.
private final class Collector: Requester, ReaderOwner, @unchecked Sendable {
    let script: Script
    private(set) var readers: [StreamReader] = []
    private(set) var contents: [[UInt8]] = []
    private(set) var ends: [Refusal?] = []
    private var streams: [StreamActor?] = []
    private var names: [String] = []
    /// So many times it was told something.
    private(set) var told = 0

    init(_ script: Script) { self.script = script }

    func follow(_ name: String) {
        let number = readers.count
        names.append(name)
        readers.append(StreamReader(.follower, of: self, number: UInt32(number)))
        contents.append([])
        ends.append(nil)
        streams.append(nil)
        read(number)
    }

    /// Reads on from where a reader stands, until it waits at the tail.
    private func read(_ number: Int) {
        let request = ReadRequest(start: .position(readers[number].position), mode: .events)
        let call = StreamCall(.read(request), of: Array(names[number].utf8), requester: self, tag: UInt32(number), reader: readers[number])
        if let answer = script.server.registry.execute(call) { self.answer(answer.outcome, from: answer.stream, tag: UInt32(number)) }
    }

    func answer(_ outcome: Outcome, from stream: StreamActor?, tag: UInt32) {
        let number = Int(tag)
        streams[number] = stream
        switch outcome {
        case .read(let result):
            contents[number] += Simulation.bytes(of: result) ?? []
            readers[number].position = result.to
            if !result.closed { read(number) }
        case .waiting: break
        case .refused(let refusal): ends[number] = refusal
        default: Issue.record("a read is answered \(outcome)")
        }
    }

    func take(_ news: Fanout, _ reader: StreamReader, _ stream: isolated StreamActor) -> Int {
        told += 1
        let number = Int(reader.number)
        #expect(reader === readers[number] && stream === streams[number])
        if news.isLarge || reader.position != news.publication.from {
            stream.fallBehind(reader)
            read(number)
            return 0
        }
        let bytes = news.publication.slices.flatMap { Array($0.bytes) }
        contents[number] += bytes
        reader.position = news.publication.facts.tail
        return bytes.count
    }

    func end(_ refusal: Refusal, _ reader: StreamReader, _ stream: isolated StreamActor) { ends[Int(reader.number)] = refusal }

    func leave(_ number: Int) {
        guard let stream = streams[number] else { return }
        script.server.loop.isolated(stream) { $0.leave(readers[number]) }
    }
}

@Suite("Readers without requests")
struct ReaderTests {
    private func script() throws -> Script {
        try Script {
            $0.store.journalSize = 8 << 20
            $0.journal.firstFile = 2 << 20
            $0.journal.smallestFile = 1 << 20
            $0.store.idleStreams = 16
            $0.store.checkpointMilliseconds = 1_000
        }
    }

    /// One owner, a thousand streams, and appends to all of them, to some, and larger than what is published with its bytes.
    @Test func oneOwnerFollowsAThousandStreams() throws {
        let script = try script()
        let collector = Collector(script)
        var expected = (0..<1_000).map { "\($0):" }
        for number in 0..<1_000 { script.create("s\(number)", expected[number]) }
        script.run()
        for number in 0..<1_000 { collector.follow("s\(number)") }
        script.run()
        let dice = Dice(seed: 1)
        for round in 0..<5 {
            for number in 0..<1_000 where round == 0 || dice.chance(30) {
                let text = number % 400 == 7 && round == 3 ? String(repeating: "x", count: 100_000) : "\(round),"
                expected[number] += text
                script.append("s\(number)", text)
            }
            script.run()
        }
        #expect(collector.contents.map { String(decoding: $0, as: UTF8.self) } == expected)
        #expect(collector.told >= 1_000)
        // What is followed stays in memory, whatever there may be of idle streams.
        script.pass(seconds: 5)
        #expect(script.server.registry.loaded.count == 1_000)
        for number in 0..<900 { collector.leave(number) }
        script.pass(seconds: 5)
        #expect(script.server.registry.loaded.count <= 100 + 16)
        script.append("s3", "unseen")
        script.append("s950", "seen")
        script.run()
        #expect(collector.contents[3] == Array(expected[3].utf8))
        #expect(collector.contents[950] == Array((expected[950] + "seen").utf8))
    }

    /// Several readers of one owner on one stream, from different positions; then the stream ends, one way and the other.
    @Test(arguments: [false, true]) func readersOfOneStream(keepsForFork: Bool) throws {
        let script = try script()
        let collector = Collector(script)
        script.create("a", "one ")
        script.run()
        for _ in 0..<3 { collector.follow("a") }
        script.append("a", "two ")
        script.run()
        collector.follow("a")
        script.append("a", "three")
        if keepsForFork { script.create("b", fork: ForkRequest(source: Array("a".utf8), offset: nil, subOffset: 0)) }
        script.run()
        #expect(collector.contents.allSatisfy { String(decoding: $0, as: UTF8.self) == "one two three" })
        script.delete("a")
        script.run()
        #expect(collector.ends == Array(repeating: keepsForFork ? .retained : .notFound, count: 4))
    }

    /// An owner that gives up before its first read is answered comes to wait nowhere.
    @Test func aReaderThatIsOverDoesNotWait() throws {
        let script = try script()
        script.create("a", "text")
        script.run()
        script.pass(seconds: 1)
        let asker = Asker()
        asker.newReader(.read(ReadRequest(start: .now, mode: .events)))?.end()
        let stream = try #require(script.read("a").stream)
        let reader = try #require(asker.reader)
        script.server.loop.isolated(stream) { $0.wait(reader, at: 4) }
        script.server.loop.isolated(stream) {
            #expect($0.readers.count == 0)
            $0.fallBehind(reader)
            #expect($0.readers.count == 0)
        }
    }

    /// A pass that does not end in its turn: whoever leaves meanwhile is not told, whoever comes meanwhile is told of what comes then.
    @Test func aPassOverManyTurns() throws {
        let script = try script()
        script.create("a")
        script.run()
        script.server.context.fanouts.bytesPerTurn = 2 * FanoutBudget.perSend
        let polls = (0..<9).map { _ in script.read("a", at: 0, .longPoll) }
        let followers = (0..<9).map { _ in script.read("a", at: 0, .events) }
        script.append("a", "text")
        script.server.endTurn()
        script.server.threads.runJournal()
        script.server.threads.reactor.removeFirst()()
        let stream = try #require(polls[0].stream)
        let told = (polls + followers).filter { !$0.told.isEmpty }
        #expect(told.count == 2 && script.server.context.fanouts.count == 1)
        for one in [polls[8], followers[8]] { script.server.loop.isolated(stream) { $0.leave(one.reader!) } }
        // It stands where the others stood, and waits for what comes next.
        let late = script.read("a", at: 4, .longPoll)
        #expect(!polls[7].isWaiting && followers[7].isWaiting && late.isWaiting)
        script.append("a", "more")
        script.run()
        #expect(polls[..<8].allSatisfy { $0.told == ["0 4"] })
        #expect(followers[..<8].allSatisfy { $0.told == ["0 4", "4 8"] || $0.told == ["0 8"] })
        #expect(polls[8].told.isEmpty && followers[8].told.isEmpty && late.told == ["4 8"])
        #expect(script.server.context.fanouts.isEmpty)
    }
}

@Suite("A stream's values")
struct StreamValueTests {
    private let owner = Asker()

    private func reader(_ kind: StreamReader.Kind, at position: UInt64 = 0) -> StreamReader {
        let reader = StreamReader(kind, of: owner)
        reader.position = position
        return reader
    }

    /// Readers come, fall behind, leave, and are taken, in an order that a seed chooses; the lists hold what a set holds.
    @Test(arguments: 0..<20) func readerList(seed: UInt64) {
        let dice = Dice(seed: seed)
        var list = ReaderList()
        let readers = (0..<30).map { reader($0 % 2 == 0 ? .poll : .follower, at: UInt64($0 % 3)) }
        var waiting: Set<Int> = []
        var behind: Set<Int> = []
        for step in 0..<400 {
            let index = dice.below(30)
            switch dice.below(8) {
            case 0...3:
                list.wait(readers[index])
                waiting.insert(index)
                behind.remove(index)
            case 4:
                list.fallBehind(readers[index])
                behind.insert(index)
                waiting.remove(index)
            case 5, 6:
                #expect(list.leave(readers[index]) == (waiting.contains(index) || behind.contains(index)), "seed \(seed), step \(step)")
                waiting.remove(index)
                behind.remove(index)
            default:
                let spared: UInt64? = dice.chance(50) ? UInt64(dice.below(3)) : nil
                let taken = list.takePolls(sparing: spared)
                let expected = waiting.filter { $0 % 2 == 0 && readers[$0].position != spared }
                #expect(Set(taken.map { taken in readers.firstIndex { $0 === taken }! }) == expected, "seed \(seed), step \(step)")
                waiting.subtract(expected)
            }
            #expect(list.count == waiting.count + behind.count && list.hasWaiting == !waiting.isEmpty)
            for (index, reader) in readers.enumerated() { #expect(list.isWaiting(reader) == waiting.contains(index), "seed \(seed)") }
        }
    }

    private func view(_ tail: UInt64, closed: Bool = false, _ renewed: Int64 = 0) -> DurableView {
        DurableView(tail: tail, closed: closed, renewedUntil: renewed)
    }

    /// What has passed keeps its place until it is forgotten, whatever is added meanwhile.
    @Test func pendingAnswers() {
        var pending = PendingAnswers()
        #expect(pending.isEmpty && pending.pass(through: 100) == nil)
        for lsn: UInt64 in [3, 3, 5, 6, 6] { pending.add(.nothing, after: lsn, view(lsn * 10)) }
        #expect(pending.pass(through: 2) == nil && pending.head == 0)
        var tails: [UInt64] = []
        while let view = pending.pass(through: 5) { tails.append(view.tail) }
        #expect(tails == [30, 30, 50] && pending.head == 3 && !pending.isEmpty)
        pending.add(.nothing, after: 7, view(70))
        #expect((0..<3).map { pending[$0].lsn } == [3, 3, 5])
        pending.forgetPassed()
        while pending.pass(through: 7) != nil {}
        #expect(pending.isEmpty)
        pending.forgetPassed()
        #expect(pending.head == 0)
        // Many at once: the memory of those that have passed is given back while others wait.
        for lsn: UInt64 in 1...1_000 { pending.add(.nothing, after: lsn, view(lsn)) }
        while pending.pass(through: 600) != nil {}
        pending.forgetPassed()
        #expect(pending.head == 0 && pending[0].lsn == 601)
    }

    /// The tail and the renewal never go back; closed is what was accepted last.
    @Test func durableView() {
        var durable = view(10, 100)
        durable.advance(to: view(20, closed: true, 90))
        #expect(durable == view(20, closed: true, 100))
        durable.advance(to: view(15, closed: true, 120))
        #expect(durable == view(20, closed: true, 120))
    }

    private static let ending = StreamLife.Ending(lsn: 1, keepsForForks: false, seen: .whole)
    private static let retiring = StreamLife.Ending(lsn: 1, keepsForForks: true, seen: .whole)
    private static let unborn = StreamLife.Ending(lsn: 1, keepsForForks: false, seen: .unborn)

    /// In each life: takes calls, is seen as kept for forks, is kept for them; how an end is seen that is accepted then.
    @Test(arguments: [
        (StreamLife.creating, true, false, false, StreamLife.Seen.unborn), (.present, true, false, false, .whole),
        (.ending(ending), false, false, false, .retained), (.ending(retiring), false, false, true, .retained),
        (.retained, false, true, true, .retained), (.gone, false, false, false, .retained),
    ])
    func lives(life: StreamLife, isOpen: Bool, isSeenAsRetained: Bool, isKept: Bool, seen: StreamLife.Seen) {
        #expect(life.isOpen == isOpen && life.isSeenAsRetained == isSeenAsRetained && life.isKeptForForks == isKept)
        #expect(life.seen(expired: false) == seen)
        #expect(life.seen(expired: true) == (isOpen ? .expired : .retained))
    }

    @Test func birth() {
        var life = StreamLife.creating
        life.becomesBorn()
        #expect(life.isPresent)
        life = .ending(Self.unborn)
        life.becomesBorn()
        guard case .ending(let ending) = life else { return #expect(Bool(false), "it still ends") }
        #expect(ending.seen == .whole)
        life = .ending(StreamLife.Ending(lsn: 1, keepsForForks: false, seen: .expired))
        life.becomesBorn()
        guard case .ending(let expired) = life else { return #expect(Bool(false), "it still ends") }
        #expect(expired.seen == .expired)
    }

    @Test func lineOfCalls() {
        var line = CallLine()
        func call(_ tag: UInt32) -> StreamCall { StreamCall(.delete, of: [97], requester: owner, tag: tag) }
        line.hold()
        for tag: UInt32 in 1...3 { line.add(call(tag)) }
        #expect(line.isHeld && line.next() == nil && line.count == 3)
        line.free()
        #expect(line.next()?.tag == 1)
        line.hold()
        #expect(line.next() == nil)
        line.free()
        #expect(line.next()?.tag == 2 && line.next()?.tag == 3 && line.next() == nil)
    }

    /// Who waits for room gets on first in, first out; one that finds none stays the first.
    @Test func lineForRoom() {
        var line = RoomLine()
        func waiter(_ tag: UInt32, _ count: Int) -> RoomLine.Waiter {
            let content = Content.owned(OwnedBytes(copying: [UInt8](repeating: 1, count: count)))
            return RoomLine.Waiter(call: StreamCall(.delete, of: [97], content: content, requester: owner, tag: tag), stream: nil)
        }
        for tag: UInt32 in 1...3 { line.append(waiter(tag, Int(tag) * 10)) }
        #expect(line.bytes == 60 && line.count == 3)
        let first = line.takeFirst()!
        line.retrying = first
        #expect(first.call.tag == 1 && line.bytes == 50)
        line.putBack(first)
        #expect(line.retrying == nil && line.bytes == 60)
        #expect((0..<3).map { _ in line.takeFirst()!.call.tag } == [1, 2, 3] && line.bytes == 0 && line.takeFirst() == nil)
    }
}
