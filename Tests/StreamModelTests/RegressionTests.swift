// What the simulation has found, each as a short history of its own.

import StreamActors
import StreamRules
import StreamSimulation
import StreamStore
import SystemPackage
import Testing

@Suite struct RegressionTests {
    // MARK: Expiry

    /// After one client was told that a stream has expired, another one still read it, until the record of its end was durable.
    @Test func anExpiredStreamIsReadByNobody() throws {
        let script = try Script()
        script.create("a", "text", expiry: .timeToLive(seconds: 2))
        script.run()
        script.passAtOnce(milliseconds: 2_000)
        let head = script.head("a")
        let read = script.read("a")
        script.run()
        #expect(head.said == "notFound" && read.said == "notFound")
    }

    /// The time of a stream ends also while its delete is on its way to the disk.
    @Test func aStreamExpiresWhileItsDeleteWaits() throws {
        let script = try Script()
        script.create("a", "text", expiry: .timeToLive(seconds: 2))
        script.run()
        let delete = script.delete("a")
        script.passAtOnce(milliseconds: 2_000)
        let read = script.read("a")
        script.run()
        #expect(delete.said == "deleted" && read.said == "notFound")
    }

    /// With a full journal, a PUT on an expired name was never answered.
    @Test func aCreateOnAnExpiredNameWithoutRoomIsAnswered() throws {
        let script = try Script()
        script.create("a", "text", expiry: .timeToLive(seconds: 2))
        script.create("b")
        script.run()
        script.disk.fault = { call, _ in call == .allocate ? .noSpace : nil }
        var full = false
        for _ in 0..<1_000 where !full {
            let append = script.append("b", "x")
            script.run()
            full = append.said == "noSpace"
        }
        #expect(full)
        script.passAtOnce(milliseconds: 2_000)
        let create = script.create("a", "new")
        script.run()
        #expect(create.said == "noSpace")
        script.disk.fault = { _, _ in nil }
        script.pass(seconds: 3)
        let again = script.create("a", "new")
        script.run()
        #expect(again.said == "created new 3")
    }

    /// A stream whose last reader had left lived on by what had been recorded ahead for the reader, if it was dropped from memory.
    @Test func aTimeToLiveCountsFromWhenTheLastReaderLeaves() throws {
        let script = try Script {
            $0.store.idleStreams = 0
            $0.store.checkpointMilliseconds = 1_200
        }
        script.create("a", "text", expiry: .timeToLive(seconds: 20))
        script.run()
        let reader = script.read("a", at: 4, .events)
        script.run()
        #expect(reader.said == "waiting 4")
        script.pass(seconds: 1.6)
        script.server.loop.isolated(reader.stream!) { $0.leave(reader.reader!) }
        script.pass(seconds: 19.9)
        #expect(script.catalog.entries.count == 1)
        script.pass(seconds: 0.1)
        let head = script.head("a")
        script.run()
        #expect(head.said == "notFound")
    }

    /// A read that came while another one's renewal was on its way to the disk was answered before it was there: a crash left the stream
    /// less time than the reader had given it.
    @Test func aReadWaitsForTheRenewalThatCoversIt() throws {
        let script = try Script()
        script.create("a", "text", expiry: .timeToLive(seconds: 5))
        script.run()
        script.passAtOnce(milliseconds: 4_000)
        let first = script.read("a")
        let second = script.read("a")
        #expect(first.said == "" && second.said == "")
        script.run()
        #expect(first.said == "read 0 4" && second.said == "read 0 4")
        let third = script.read("a")
        #expect(third.said == "read 0 4", "the record covers those that come a little later")
        try script.restart(.onlySyncedKept)
        script.passAtOnce(milliseconds: 4_900)
        let head = script.head("a")
        script.run()
        #expect(head.said == "there 4")
    }

    /// In an idle server whose journal file was full to the last byte, an expired stream stayed for ever: the journal gave the next file back
    /// just before the end of the stream was to be recorded in it.
    @Test func anIdleServerWithAFullJournalFileEndsExpiredStreams() throws {
        let script = try Script(alignment: 4096) {
            $0.journal.smallestFile = 16_384
            $0.store.checkpointMilliseconds = 500
        }
        // One block for the file's header, one for this: the file is full.
        script.create("a", "text", expiry: .timeToLive(seconds: 10))
        script.run()
        script.pass(seconds: 9)
        #expect(script.catalog.entries.count == 1)
        script.pass(seconds: 11)
        #expect(script.catalog.entries.isEmpty && script.server.registry.streamCount == 0)
    }

    /// A repeated PUT was refused when the journal was just changing files, because it renews the TTL.
    @Test func aRepeatedCreateWaitsForRoomToRenew() throws {
        let script = try Script()
        script.create("a", expiry: .timeToLive(seconds: 20))
        script.create("b")
        script.run()
        script.passAtOnce(milliseconds: 3_000)
        var waiting = Asker()
        for _ in 0..<1_000 {
            waiting = script.append("b", "x")
            script.commit()
            if waiting.outcome == nil { break }
        }
        #expect(waiting.outcome == nil, "the file is full, and the next one is not ready")
        let create = script.create("a", expiry: .timeToLive(seconds: 20))
        #expect(create.said == "")
        script.run()
        #expect(create.said == "created old 0" && waiting.said.hasPrefix("appended"))
    }

    // MARK: Readers

    /// A reader that came to wait in answer to an append, on the same connection, was woken by that append, which it had already.
    @Test func aReaderThatComesWithTheNewsIsNotWokenByIt() throws {
        let script = try Script()
        script.create("a")
        script.run()
        let first = script.read("a", at: 0, .events)
        let second = Asker()
        let writer = Asker()
        writer.then = { script.read("a", at: 4, .longPoll, second) }
        script.append("a", "text", writer)
        script.run()
        #expect(first.said == "waiting 0" && second.said == "waiting 4")
        #expect(first.told == ["0 4"] && second.told.isEmpty)
        script.append("a", "more")
        script.run()
        #expect(first.told == ["0 4", "4 8"] && second.told == ["4 8"])
    }

    // MARK: Forks

    private func fork(_ source: String, _ offset: UInt64?, _ subOffset: UInt64 = 0) -> ForkRequest {
        ForkRequest(source: Array(source.utf8), offset: offset, subOffset: subOffset)
    }

    /// Messages that were accepted and not durable yet did not count for a sub-offset, while they counted for the offset.
    @Test func aSubOffsetCountsMessagesUnderWay() throws {
        let script = try Script()
        script.create("a", "[1]", type: "application/json")
        script.run()
        let append = script.append("a", "[2,3]", type: "application/json")
        let inside = script.create("b", type: nil, fork: fork("a", 3, 1))
        let behind = script.create("c", type: nil, fork: fork("a", 6, 1))
        let beyond = script.create("d", type: nil, fork: fork("a", 6, 2))
        script.runWithoutJournal()
        script.run()
        #expect(append.said == "appended 9" && inside.said == "created new 6" && behind.said == "created new 9")
        #expect(beyond.said == "forkSubOffsetBeyondTail(tail: 9)")
    }

    /// A refusal told of bytes of the source that a crash could still take back.
    @Test(arguments: [3, 4] as [UInt64])
    func aForkIsRefusedByWhatIsDurable(offset: UInt64) throws {
        let script = try Script()
        script.create("a", "123")
        script.run()
        script.append("a", "4")
        let refused = script.create("b", fork: fork("a", offset, 9))
        script.runWithoutJournal()
        #expect(refused.said == "")
        script.run()
        #expect(refused.said == "forkSubOffsetBeyondTail(tail: 4)")
    }

    /// A fork that needs two segments of its source opened each of them over and over when the cache held only one.
    @Test func aForkGetsOnWithOneOpenSegment() throws {
        let script = try Script {
            $0.store.chunkSize = 16
            $0.store.segmentSize = 16
            $0.store.descriptorCache = 1
            $0.store.inlineLimit = 0
            $0.store.flushThreshold = 1
            $0.store.tailBufferBudget = 0
        }
        script.create("a", "[\((10_000..<10_020).map { "\($0)" }.joined(separator: ","))]", type: "application/json")
        script.run()
        script.pass(seconds: 3)
        let created = script.create("b", type: nil, fork: fork("a", 7, 4))
        script.run()
        #expect(created.said == "created new 35")
    }

    /// When the byte in front of an offset could not be read, the client was told that its offset is not the boundary of a message.
    @Test func anErrorOfTheDiskSaysNothingAboutAnOffset() throws {
        let script = try Script {
            $0.store.inlineLimit = 0
            $0.store.flushThreshold = 1
            $0.store.tailBufferBudget = 0
        }
        script.create("a", #"["one","two","six"]"#, type: "application/json")
        script.run()
        script.pass(seconds: 3)
        script.disk.fault = { call, path in call == .read && path.contains("segment") ? .ioError : nil }
        let failed = script.read("a", at: 7)
        let notForked = script.create("b", type: nil, fork: fork("a", 7, 0))
        script.run()
        #expect(failed.said.hasPrefix("unavailable") && notForked.said.hasPrefix("unavailable"), "\(failed.said), \(notForked.said)")
        script.disk.fault = { _, _ in nil }
        let read = script.read("a", at: 7)
        let within = script.read("a", at: 8)
        let forked = script.create("b", type: nil, fork: fork("a", 7, 0))
        script.run()
        #expect(read.said == "read 7 21" && within.said == "offsetNotAtMessage" && forked.said == "created new 7")
    }

    // MARK: Durability

    /// After a failed sync the kernel takes pages for written that the disk does not have. What the next server read there, and showed, was
    /// gone with the next power failure.
    @Test func whatIsRecoveredAfterAFailedSyncStays() throws {
        let script = try Script()
        script.create("a", "one ")
        script.run()
        script.disk.fault = { call, path in call == .syncData && path.contains("journal") ? .ioError : nil }
        let append = script.append("a", "two")
        script.run()
        #expect(append.said == "" && script.server.fatal != nil)
        script.disk.fault = { _, _ in nil }
        try script.restart(.everythingKept)
        let seen = script.head("a")
        script.run()
        #expect(seen.said == "there 7")
        try script.restart(.onlySyncedKept)
        let still = script.head("a")
        script.run()
        #expect(still.said == "there 7")
    }
}
