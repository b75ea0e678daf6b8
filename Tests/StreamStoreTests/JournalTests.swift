import StreamRules
import StreamSimulation
import SystemPackage
import Testing

@testable import StreamStore

/// A journal on a disk in memory, driven by hand.
private final class Bench {
    let disk: SimulatedDisk
    let steps = SimulatedThreads()
    let journal: Journal
    var committed: [UInt64] = []
    var failures: [Errno] = []
    var roomCalls = 0
    /// What was added, by LSN.
    var added: [UInt64: String] = [:]
    private var tail: UInt64 = 0

    init(_ disk: SimulatedDisk = SimulatedDisk(), sizeLimit: Int = 4 << 20, syncs: Bool = true, recovered: Recovered = Recovered()) throws {
        self.disk = disk
        journal = try Journal(
            disk: disk, directory: journalPath, lane: steps, dispatcher: steps, syncs: syncs, sizeLimit: sizeLimit,
            recovered: recovered.position)
        journal.onCommit = { [unowned self] in committed.append($0) }
        journal.onFailure = { [unowned self] in failures.append($0) }
        journal.onRoom = { [unowned self] in roomCalls += 1 }
    }

    static func padded(_ size: Int) -> Int { JournalRecord.paddedLength(.delete(DeleteRecord(time: 0)), payload: size) }

    /// A delete of an unknown stream with a payload: a record of any size, which recovery reads and ignores.
    @discardableResult
    func add(_ size: Int, urgent: Bool = false, now: Int64 = 0) -> Journal.Room {
        let room = journal.reserve(Self.padded(size), urgent: urgent, now: now)
        if room == .available {
            let payload = [UInt8](repeating: 7, count: size)
            _ = payload.withUnsafeBytes { journal.add(.delete(DeleteRecord(time: 0)), stream: 1000, payload: $0) }
        }
        return room
    }

    /// One append to stream 1, made on the first call.
    func append(_ text: String) {
        let body: RecordBody = tail == 0 ? .create("a") : .append(at: tail)
        let lsn = Array(text.utf8).withUnsafeBytes { journal.add(body, stream: 1, payload: $0) }
        added[lsn] = text
        tail += UInt64(text.utf8.count)
    }

    /// Adds a record as soon as there is room, which must be within a few turns, and commits it.
    func addInTheEnd(_ size: Int) {
        for _ in 0..<5 {
            let room = add(size)
            turn()
            if room == .available { return }
        }
        Issue.record("no room for \(size) bytes")
    }

    func turn() {
        journal.submit()
        steps.runAll()
    }
}

@Suite struct JournalTests {
    @Test func aBatchIsOneWriteAndOneSync() throws {
        let bench = try Bench()
        bench.disk.log = []
        for index in 0..<100 { bench.append("record \(index);") }
        #expect(bench.disk.log.isEmpty && bench.journal.lastLSN == 100 && bench.journal.committedLSN == 0)
        bench.turn()
        #expect(bench.disk.log.map { $0.call } == [.write, .syncData])
        #expect(bench.committed == [100] && bench.journal.committedLSN == 100 && bench.journal.isIdle)
        #expect(try recover(bench.disk).contents["a"] == (0..<100).map { "record \($0);" }.joined())
    }

    @Test func nothingIsWrittenWithoutRecords() throws {
        let bench = try Bench()
        bench.disk.log = []
        bench.turn()
        #expect(bench.disk.log.isEmpty && bench.committed.isEmpty)
    }

    @Test func whatComesDuringASyncIsTheNextBatch() throws {
        let bench = try Bench()
        bench.append("one ")
        bench.journal.submit()
        bench.append("two ")
        bench.append("three")
        bench.journal.submit()
        #expect(bench.steps.journal.count == 1)
        bench.steps.runJournal()
        #expect(bench.committed.isEmpty, "a batch is committed on the reactor")
        bench.steps.runReactor()
        #expect(bench.committed == [1] && bench.steps.journal.count == 1 && !bench.journal.isIdle)
        bench.steps.runAll()
        #expect(bench.committed == [1, 3])
        #expect(try recover(bench.disk).contents["a"] == "one two three")
    }

    @Test func withoutSyncsNothingIsSynced() throws {
        let bench = try Bench(syncs: false)
        bench.append("x")
        bench.turn()
        #expect(!bench.disk.log.contains { $0.call == .syncData || $0.call == .syncDirectory })
        #expect(bench.committed == [1])
    }

    @Test(arguments: [SimulatedDisk.Call.write, .syncData])
    func anErrorIsFinal(call: SimulatedDisk.Call) throws {
        let bench = try Bench()
        bench.append("one")
        bench.turn()
        var faults = 0
        bench.disk.fault = { found, _ in
            if found == call { faults += 1 }
            return found == call ? .ioError : nil
        }
        bench.append("two")
        bench.journal.submit()
        bench.append("three")
        bench.steps.runAll()
        #expect(bench.journal.failure == .ioError && bench.failures == [.ioError] && faults == 1)
        bench.disk.fault = { _, _ in nil }
        bench.disk.log = []
        bench.turn()
        #expect(bench.disk.log.isEmpty && bench.committed == [1] && bench.journal.committedLSN == 1)
        #expect(bench.journal.reserve(64, urgent: true, now: 0) == .none)
    }

    /// A failure from elsewhere while a batch is in flight: the batch's completion comes too late.
    @Test func nothingIsCommittedAfterAFailure() throws {
        let bench = try Bench()
        bench.append("one")
        bench.journal.submit()
        bench.append("two")
        bench.steps.runJournal()
        bench.journal.fail(.ioError)
        bench.journal.fail(.noSpace)
        bench.steps.runAll()
        #expect(bench.committed.isEmpty && bench.journal.committedLSN == 0 && bench.failures == [.ioError])
    }

    @Test func reserveIsKept() throws {
        // Records of every size up to the file's, until several files are full: what was promised fits.
        for size in [0, 1000, 63 << 10, 65 << 10, 500_000, 900_000] {
            let bench = try Bench(sizeLimit: 4 << 20)
            var count: UInt64 = 0
            var refused = 0
            while refused < 3 && bench.journal.bytesSubmitted < 3 << 20 && count < 1000 {
                for _ in 0..<50 {
                    if bench.add(size) != .available { break }
                    count += 1
                }
                if bench.journal.isIdle { refused += 1 } else { refused = 0 }
                bench.turn()
            }
            #expect(bench.journal.committedLSN == count && bench.journal.failure == nil && count > 0, "size \(size)")
            let result = try recover(bench.disk)
            #expect(result.position.lastLSN == count, "size \(size)")
        }
    }

    @Test func rollsToThePreparedFile() throws {
        let bench = try Bench()
        #expect(bench.add(600_000) == .available)
        bench.turn()
        // More than half of the file is used: the next one is prepared.
        #expect(bench.disk.names[journalFile(2)] != nil)
        #expect(bench.add(600_000) == .available)
        bench.turn()
        let files = try recover(bench.disk).position.files
        #expect(files.map { $0.number } == [1, 2] + (bench.disk.names[journalFile(3)] == nil ? [] : [3]))
        #expect(files.map { $0.lastLSN }.prefix(2) == [1, 2])
    }

    @Test func soonWhileTheNextFileIsPrepared() throws {
        let bench = try Bench()
        #expect(bench.add(900_000) == .available)
        #expect(bench.add(900_000) == .soon)
        bench.journal.submit()
        bench.steps.runJournal()
        bench.steps.runReactor()
        #expect(bench.add(900_000) == .soon)
        let before = bench.roomCalls
        bench.steps.runAll()
        #expect(bench.roomCalls > before)
        #expect(bench.add(900_000) == .available)
        bench.turn()
        #expect(bench.committed == [1, 2])
    }

    /// A record larger than a file gets a file of its own size.
    @Test func oversizeRecord() throws {
        let bench = try Bench()
        #expect(bench.add(10) == .available)
        #expect(bench.add(10 << 20) == .soon)
        bench.turn()
        #expect(bench.add(10 << 20) == .available)
        bench.turn()
        #expect(bench.add(10, urgent: true) == .available, "a file is as large as its record and the usual margin")
        bench.turn()
        // The file that is over the journal's limit is the current one, and a checkpoint drops only the others.
        bench.journal.release(through: bench.journal.committedLSN)
        bench.addInTheEnd(10)
        bench.addInTheEnd(10)
        #expect(bench.journal.committedLSN == 5)
        let catalog = SimulatedCatalog()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: 3, nextStreamID: 1))
        #expect(try recover(bench.disk, catalog).position.lastLSN == 5)
    }

    @Test func oversizeRecordAfterAPreparedFile() throws {
        let bench = try Bench()
        #expect(bench.add(600_000) == .available)
        bench.turn()
        #expect(bench.disk.names[journalFile(2)] != nil)
        #expect(bench.add(3 << 20) == .soon)
        bench.steps.runAll()
        #expect(bench.add(3 << 20) == .available)
        bench.turn()
        #expect(bench.disk.names[journalFile(2)] == nil, "the file that was too small is gone")
        #expect(try recover(bench.disk).position.lastLSN == 2)
    }

    @Test func theLimitWaitsForACheckpoint() throws {
        let bench = try Bench(sizeLimit: 4 << 20)
        var count: UInt64 = 0
        for _ in 0..<100 where !bench.journal.needsCheckpoint {
            if bench.add(400_000) == .available { count += 1 }
            bench.turn()
        }
        #expect(bench.journal.needsCheckpoint && bench.add(400_000) == .soon && count >= 8)
        bench.journal.checkpointFails = true
        #expect(bench.add(400_000) == .none)
        bench.journal.checkpointFails = false
        #expect(bench.journal.bytesSubmitted <= 5 << 20)
        let before = bench.roomCalls
        bench.journal.release(through: count)
        #expect(bench.roomCalls > before, "room is announced")
        bench.steps.runAll()
        #expect(bench.add(400_000) != .none)
        bench.turn()
        #expect(bench.add(400_000) == .available)
        bench.turn()
        let catalog = SimulatedCatalog()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: count, nextStreamID: 1))
        #expect(try recover(bench.disk, catalog).position.lastLSN == bench.journal.committedLSN)
    }

    @Test func urgentRecordsUseTheLastRoom() throws {
        let bench = try Bench()
        bench.disk.fault = { call, _ in call == .allocate ? .noSpace : nil }
        var now: Int64 = 0
        var count = 0
        while count < 200, bench.add(10_000, now: now) == .available {
            bench.turn()
            count += 1
        }
        bench.turn()
        now += 1
        #expect(bench.add(10_000, now: now) == .none && bench.journal.roomFailure == .noSpace)
        while count < 2000, bench.add(10, now: now) == .available { count += 1 }
        bench.turn()
        #expect(bench.add(100, urgent: true, now: now) == .available)
        bench.turn()
        #expect(bench.journal.failure == nil, "a full disk is no failure of the journal")
        // A second later it is tried again.
        bench.disk.fault = { _, _ in nil }
        now = Int64.max / 2
        #expect(bench.add(10_000, now: now) == .soon)
        bench.steps.runAll()
        #expect(bench.add(10_000, now: now) == .available)
        bench.turn()
        #expect(try recover(bench.disk).position.lastLSN == bench.journal.committedLSN)
    }

    @Test(arguments: [SimulatedDisk.Call.open, .allocate, .write, .syncData, .syncDirectory])
    func aFullDiskAtTheStart(call: SimulatedDisk.Call) {
        let disk = SimulatedDisk()
        disk.fault = { found, _ in found == call ? .noSpace : nil }
        #expect(throws: Errno.noSpace) { try Bench(disk) }
        #expect(disk.names.isEmpty)
    }

    @Test func recyclesOneFileAndRemovesTheOthers() throws {
        let bench = try Bench()
        for _ in 0..<5 {
            bench.addInTheEnd(700_000)
        }
        let count = bench.journal.committedLSN
        let number = bench.disk.names.count
        #expect(number == 5)
        bench.journal.release(through: count)
        bench.steps.runAll()
        #expect(bench.disk.names.count < number)
        bench.disk.log = []
        for _ in 0..<3 {
            bench.addInTheEnd(700_000)
        }
        #expect(bench.disk.log.filter { $0.call == .rename }.count == 1)
        let catalog = SimulatedCatalog()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: count, nextStreamID: 1))
        #expect(try recover(bench.disk, catalog).position.lastLSN == bench.journal.committedLSN)
    }

    @Test func releaseKeepsWhatIsNotCovered() throws {
        let bench = try Bench()
        for _ in 0..<4 {
            bench.addInTheEnd(700_000)
        }
        let names = bench.disk.names.count
        bench.journal.release(through: 0)
        bench.steps.runAll()
        #expect(bench.disk.names.count == names)
        let catalog = SimulatedCatalog()
        for lsn in 1...bench.journal.committedLSN {
            bench.journal.release(through: lsn)
            bench.steps.runAll()
            try catalog.commit([], mark: CatalogMark(checkpointLSN: lsn, nextStreamID: 1))
            let result = try recover(bench.disk, catalog)
            #expect(result.position.lastLSN == 4 && result.recordsReplayed == Int(4 - lsn))
        }
    }

    /// Sizes of the journal's files.
    private func sizes(_ disk: SimulatedDisk) -> [Int] { disk.names.keys.sorted().map { disk.names[$0]!.bytes.count } }

    /// As a server does it once a second, with a checkpoint when one is wanted. - Returns: checkpoints.
    @discardableResult
    private func idle(_ bench: Bench, _ catalog: SimulatedCatalog, seconds: Int = 10) throws -> Int {
        var checkpoints = 0
        for _ in 0..<seconds {
            bench.journal.trim()
            if bench.journal.needsCheckpoint {
                checkpoints += 1
                try catalog.commit([], mark: CatalogMark(checkpointLSN: bench.journal.committedLSN, nextStreamID: 1))
                bench.journal.release(through: bench.journal.committedLSN)
            }
            bench.steps.runAll()
        }
        return checkpoints
    }

    /// Whatever was written, and whether the last checkpoint covers it or not.
    @Test(
        arguments: [[10], [600_000], [700_000, 700_000, 700_000], [10 << 20], [900_000, 3 << 20], [2 << 20, 10]],
        [0, 1, 2])
    func anIdleJournalIsAsSmallAsANewOne(records: [Int], covered: Int) throws {
        let bench = try Bench()
        let new = sizes(bench.disk)
        let catalog = SimulatedCatalog()
        #expect(new == [1 << 20])
        for round in 0..<3 {
            for size in records { bench.addInTheEnd(size) }
            // By none, by one that came too early, by all.
            let lsn = covered == 0 ? 0 : bench.journal.committedLSN - (covered == 1 ? 1 : 0)
            if lsn > 0 {
                try catalog.commit([], mark: CatalogMark(checkpointLSN: lsn, nextStreamID: 1))
                bench.journal.release(through: lsn)
                bench.steps.runAll()
            }
            #expect(try idle(bench, catalog) <= 1)
            #expect(sizes(bench.disk) == new, "round \(round)")
            #expect(try recover(bench.disk, catalog).position.lastLSN == bench.journal.committedLSN)
            // Nothing is left to do.
            bench.disk.log = []
            #expect(try idle(bench, catalog) == 0 && bench.disk.log.isEmpty)
        }
    }

    @Test func anActiveJournalKeepsItsFiles() throws {
        let bench = try Bench()
        for _ in 0..<3 { bench.addInTheEnd(700_000) }
        bench.journal.release(through: bench.journal.committedLSN)
        bench.steps.runAll()
        let names = bench.disk.names.keys.sorted()
        #expect(names.count > 2, "one in use, one prepared, one to be written anew")
        for second in 0..<50 {
            if second % Journal.trimsUntilIdle == 0 { bench.addInTheEnd(10) }
            bench.journal.trim()
            bench.steps.runAll()
            #expect(!bench.journal.needsCheckpoint && bench.disk.names.keys.sorted() == names)
        }
        // A batch that is on its way to the disk is a record, too.
        #expect(bench.add(10) == .available)
        for _ in 0..<10 { bench.journal.trim() }
        bench.journal.submit()
        for _ in 0..<10 { bench.journal.trim() }
        #expect(!bench.journal.needsCheckpoint)
        bench.steps.runAll()
        #expect(bench.disk.names.keys.sorted() == names && bench.journal.isIdle)
    }

    /// As long as it is told to, and with a new start for every record.
    @Test func idleOnlyAfterAWhile() throws {
        let bench = try Bench()
        for _ in 0..<3 { bench.addInTheEnd(700_000) }
        for calls in [1, Journal.trimsUntilIdle, 30] {
            bench.addInTheEnd(10)
            for call in 0...max(calls, Journal.trimsUntilIdle) {
                #expect(!bench.journal.needsCheckpoint, "call \(call) of \(calls)")
                bench.journal.trim(after: calls)
            }
            #expect(bench.journal.needsCheckpoint)
            bench.journal.checkpointFails = true
            bench.journal.trim(after: calls)
            bench.journal.checkpointFails = false
        }
    }

    /// A checkpoint that fails is not asked for again and again.
    @Test func idleWhileCheckpointsFail() throws {
        let bench = try Bench()
        for _ in 0..<3 { bench.addInTheEnd(700_000) }
        for _ in 0..<Journal.trimsUntilIdle { bench.journal.trim() }
        #expect(bench.journal.needsCheckpoint == false, "the second had records")
        bench.journal.trim()
        #expect(bench.journal.needsCheckpoint)
        bench.journal.checkpointFails = true
        bench.journal.trim()
        #expect(!bench.journal.needsCheckpoint)
        bench.journal.checkpointFails = false
        #expect(try idle(bench, SimulatedCatalog()) == 1 && sizes(bench.disk) == [1 << 20])
    }

    /// Prepared for a record whose sender went away.
    @Test func aPreparedFileThatNobodyUsed() throws {
        let bench = try Bench()
        #expect(bench.add(10) == .available)
        bench.turn()
        #expect(bench.add(3 << 20) == .soon)
        bench.steps.runAll()
        #expect(sizes(bench.disk).count == 2)
        let before = bench.roomCalls
        try idle(bench, SimulatedCatalog())
        #expect(sizes(bench.disk) == [1 << 20] && bench.roomCalls > before)
        // If it comes after all, it is made room for again.
        bench.addInTheEnd(3 << 20)
        #expect(bench.journal.committedLSN == 2)
    }

    /// What a killed server has left goes as well, also when there is nothing to replay.
    @Test func idleAfterAKill() throws {
        for records in 0...3 {
            let first = try Bench()
            for _ in 0..<records { first.addInTheEnd(700_000) }
            let catalog = SimulatedCatalog()
            try catalog.commit([], mark: CatalogMark(checkpointLSN: first.journal.committedLSN, nextStreamID: 1))
            let second = try Bench(first.disk, recovered: recover(first.disk, catalog))
            #expect(sizes(second.disk).count >= 2)
            #expect(try idle(second, catalog) == 1 && sizes(second.disk) == [1 << 20])
            second.addInTheEnd(10)
            #expect(try recover(second.disk, catalog).position.lastLSN == UInt64(records + 1))
        }
    }

    /// The machine or the process ends at any call of the way back.
    @Test(arguments: SimulatedDisk.Crash.allCases, [[700_000, 700_000, 700_000], [10 << 20]])
    func crashWhileTrimming(crash: SimulatedDisk.Crash, records: [Int]) throws {
        var steps = 0
        for step in 1... {
            let bench = try Bench()
            let catalog = SimulatedCatalog()
            for size in records { bench.addInTheEnd(size) }
            let count = bench.journal.committedLSN
            var calls = 0
            var kept: SimulatedDisk?
            bench.disk.changed = { _ in
                calls += 1
                if calls == step { kept = bench.disk.after(crash) }
            }
            try idle(bench, catalog)
            bench.disk.changed = { _ in }
            guard let kept else { break }
            steps = step
            let recovered = try recover(kept, catalog)
            #expect(recovered.position.lastLSN == count && recovered.recordsReplayed == 0, "step \(step)")
            // And on, to the same small journal and through another end.
            let next = try Bench(kept, recovered: recovered)
            next.addInTheEnd(600_000)
            try idle(next, catalog)
            #expect(sizes(next.disk) == [1 << 20])
            next.addInTheEnd(10)
            #expect(try recover(next.disk.after(crash), catalog).position.lastLSN == count + 2, "step \(step)")
        }
        #expect(steps >= 3)
    }

    @Test func removeAllFilesLeavesOthers() throws {
        let bench = try Bench()
        bench.append("x")
        bench.turn()
        bench.disk.names[journalPath + "/notes"] = SimulatedDisk.Inode()
        try bench.journal.removeAllFiles()
        #expect(Array(bench.disk.names.keys) == [journalPath + "/notes"])
    }

    /// A payload written from its own memory, to which the stream's tail goes on appending before the batch is written.
    @Test func aBlockThatGrowsWhileItWaits() throws {
        let disk = SimulatedDisk()
        let steps = SimulatedThreads()
        let journal = try Journal(
            disk: disk, directory: journalPath, lane: steps, dispatcher: steps, syncs: true, sizeLimit: 4 << 20,
            recovered: JournalPosition())
        let size = JournalArena.externalThreshold
        let block = OwnedBytes(capacity: size + 4096)
        block.base.initializeMemory(as: UInt8.self, repeating: 65, count: size)
        block.count = size
        _ = journal.add(.create("a"), stream: 1, payload: block.bytes, block: block)
        var tail = TailBuffer(at: 0)
        tail.adopt(block)
        tail.append(count: 3) { $0.copyBytes(from: [66, 66, 66]) }
        _ = [UInt8](repeating: 66, count: 3).withUnsafeBytes { journal.add(.append(at: UInt64(size)), stream: 1, payload: $0) }
        journal.submit()
        steps.runAll()
        let content = try recover(disk).contents["a"] ?? ""
        let isRight = content == String(repeating: "A", count: size) + "BBB"
        #expect(isRight, "\(content.utf8.count) bytes")
    }

    @Test func payloadsOfAllSizes() throws {
        let disk = SimulatedDisk()
        let steps = SimulatedThreads()
        let journal = try Journal(
            disk: disk, directory: journalPath, lane: steps, dispatcher: steps, syncs: true, sizeLimit: 12 << 20,
            recovered: JournalPosition())
        var expected: [UInt8] = []
        let threshold = JournalArena.externalThreshold
        let sizes = [0, 1, 7, 8, 9, threshold - 1, threshold, threshold + 1, 300_000, 3, 1_000_001, 5]
        for (index, size) in sizes.enumerated() {
            let block = OwnedBytes(copying: [UInt8](repeating: UInt8(index), count: size))
            let body: RecordBody = index == 0 ? .create("a") : .append(at: UInt64(expected.count))
            _ = journal.add(body, stream: 1, payload: block.bytes, block: index % 3 == 2 ? nil : block)
            expected += Array(block.bytes)
            extendLifetime(block)
            if index % 4 == 3 {
                journal.submit()
                steps.runAll()
            }
        }
        let image = try recover(disk).streams[0]
        let found = image.tail.slices(from: 0, to: image.tail.end).flatMap { Array($0.bytes) }
        #expect(found == expected)
    }

    /// The machine or the process ends after any call that changes the disk, several times in a row: nothing that was committed is lost,
    /// nothing that was seen once disappears, and the server always starts again.
    @Test(arguments: SimulatedDisk.Crash.allCases)
    func crashAfterEveryCall(crash: SimulatedDisk.Crash) throws {
        // A process's end leaves more to be found than a power failure, so it is tried less often.
        for step in stride(from: 1, to: 60, by: crash == .onlySyncedKept ? 3 : 7) {
            var disk = SimulatedDisk()
            let catalog = SimulatedCatalog()
            var known: UInt64 = 0
            var tail: UInt64 = 0
            // The last two lives end by a power failure, whatever the first ended by.
            for (life, end) in [crash, .onlySyncedKept, crash, .onlySyncedKept].enumerated() {
                let result: Recovered
                do { result = try recover(disk, catalog) } catch {
                    Issue.record("\(crash), step \(step), life \(life): \(error)")
                    return
                }
                if result.position.lastLSN < known {
                    Issue.record("\(crash), step \(step), life \(life): LSN \(result.position.lastLSN), but \(known) was committed or seen")
                    return
                }
                tail = try (result.streams.first ?? catalog.image(id: 1))?.state.tail ?? 0
                var kept: SimulatedDisk?
                var calls = 0
                let current = disk
                let steps = SimulatedThreads()
                var journal: Journal?
                var committed = result.position.lastLSN
                current.changed = { _ in
                    calls += 1
                    // Later lives end elsewhere, so that the ends meet in many ways.
                    if calls == max(1, step - 7 * life) {
                        kept = current.after(end)
                        // Before there is a journal, what recovery has read is shown to nobody.
                        if let journal {
                            committed = max(committed, journal.committedLSN)
                            known = committed
                        }
                    }
                }
                let running = try Journal(
                    disk: current, directory: journalPath, lane: steps, dispatcher: steps, syncs: true, sizeLimit: 4 << 20,
                    recovered: result.position)
                journal = running
                var checkpoint = try catalog.mark().checkpointLSN
                for round in 0..<12 where kept == nil {
                    if tail == 0 {
                        _ = [UInt8(65)].withUnsafeBytes { running.add(.create("a"), stream: 1, payload: $0) }
                        tail = 1
                    }
                    let payload = [UInt8](repeating: UInt8(66 + round), count: 300_000)
                    let body = RecordBody.append(at: tail)
                    if running.reserve(JournalRecord.paddedLength(body, payload: payload.count), now: 0) == .available {
                        _ = payload.withUnsafeBytes { running.add(body, stream: 1, payload: $0) }
                        tail += UInt64(payload.count)
                    }
                    running.submit()
                    steps.runAll()
                    if round % 5 == 4, kept == nil, let image = try recover(current, catalog).streams.first {
                        let (entry, inline) = image.forCatalog()
                        checkpoint = image.appliedLSN
                        try catalog.commit(
                            [.put(entry, inline: inline, sealed: [])], mark: CatalogMark(checkpointLSN: checkpoint, nextStreamID: 2))
                        running.release(through: checkpoint)
                        steps.runAll()
                    }
                }
                if let kept {
                    disk = kept
                    known = max(known, try catalog.mark().checkpointLSN)
                } else {
                    known = running.committedLSN
                    disk = current.after(end)
                }
            }
        }
    }
}
