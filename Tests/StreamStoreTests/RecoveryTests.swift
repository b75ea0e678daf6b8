import StreamRules
import StreamSimulation
import SystemPackage
import Testing

@testable import StreamStore

/// Three batches that change four streams in every way.
private let history: [[Record]] = [
    [Record(1, .create("a"), "one "), Record(2, .create("b", type: "application/json", chunk: 8), "1,\n2,\n")],
    [Record(1, .append(at: 4, sequence: "s"), "two "), Record(3, .create("c", expiry: .timeToLive(seconds: 5)))],
    [
        Record(1, .append(at: 8, closes: true, producer: ProducerStamp(id: [65], epoch: 1, sequence: 0)), "end"),
        Record(3, .renew(until: 99)), Record(2, .delete(DeleteRecord(time: 9))),
    ],
]

/// The records of `history` in their order.
private let records = history.flatMap { $0 }

/// What recovery must find when it sees the first `count` records.
private func state(after count: Int) throws -> [Seen] {
    if count == 0 { return [] }
    return try recover([1: FileText(number: 1, batches: [Array(records.prefix(count))]).bytes]).seen
}

@Suite struct RecoveryTests {
    @Test func replaysEverything() throws {
        let result = try recover([1: FileText(number: 1, batches: history).bytes])
        #expect(result.contents == ["a": "one two end", "c": ""])
        #expect(result.deleted.map { $0.id } == [2])
        #expect(result.position.lastLSN == 7 && result.position.lastBatch == 3 && result.position.highestNumber == 1)
        #expect(result.nextStreamID == 4 && result.streamCount == 2 && result.recordsReplayed == 7)
        #expect(result.notes.isEmpty)
        let a = result.streams[0]
        #expect(a.state.closed && a.state.closedBy == ProducerStamp(id: [65], epoch: 1, sequence: 0))
        #expect(a.state.lastSequence == Array("s".utf8) && a.appliedLSN == 5)
        #expect(result.streams[1].renewedUntil == 99)
        #expect(result.position.files == [Journal.LiveFile(number: 1, size: FileText(number: 1, batches: history).bytes.count, lastLSN: 7)])
    }

    @Test func anEmptyJournalIsANewStore() throws {
        let result = try recover([:])
        #expect(result.streams.isEmpty && result.position.lastLSN == 0 && result.nextStreamID == 1 && result.streamCount == 0)
    }

    /// A file that was cut off anywhere holds a prefix of the records, and never anything else.
    @Test func truncationAtEveryByte() throws {
        let file = FileText(number: 1, batches: history, free: 0)
        let states = try (0...records.count).map { try state(after: $0) }
        for length in 0..<file.bytes.count {
            let whole = file.records.filter { $0.end <= length }.count
            let result = try? recover([1: Array(file.bytes[..<length])])
            guard let result else {
                Issue.record("truncated to \(length): refused")
                continue
            }
            let found = Int(result.position.lastLSN)
            if found > whole || result.seen != states[found] { Issue.record("truncated to \(length): \(found) records of \(whole)") }
        }
    }

    /// Exactly what a file that has been cut off anywhere still gives, in both forms: the batches that are whole. Of a batch whose header is
    /// there it is said that its end is missing.
    @Test(arguments: [8, 4096])
    func whatATruncatedFileGives(alignment: Int) throws {
        let file = FileText(number: 1, batches: history, free: 0, alignment: alignment)
        let states = try (0...records.count).map { try state(after: $0) }
        let starts = file.batches.dropLast()
        let ends = [1, 3, 6].map { file.records[$0].padded }
        for length in 0...file.bytes.count {
            let result = try recover([1: Array(file.bytes[..<length])])
            let whole = ends.filter { $0 <= length }.count
            let expected = [0, 2, 4, 7][whole]
            let isWithinBatch = zip(starts, ends).contains { $0 + JournalFile.batchHeaderLength <= length && length < $1 }
            let note =
                isWithinBatch
                ? [
                    "\(JournalFile.name(1)) ends at byte \(length), within batch \(whole + 1) at byte \(file.batches[whole]), which is left out: the file has been cut off, no crash does that"
                ]
                : length < JournalFile.headerLength
                    ? ["\(JournalFile.name(1)) has no valid header; its batches, if it has any, speak for themselves"] : []
            if result.position.lastLSN != UInt64(expected) || result.seen != states[expected] || result.notes != note {
                Issue.record("truncated to \(length): \(result.position.lastLSN) records of \(expected), \(result.notes)")
            }
        }
    }

    /// Exactly what each flipped bit of a file gives, in the form with aligned batches: before the last batch the place is named, in it the
    /// good records before the place are kept, and what holds nothing changes nothing.
    @Test func everyFlippedBitOfAlignedBatches() throws {
        let file = FileText(number: 1, batches: history, alignment: 4096)
        let path = journalPath + "/" + JournalFile.name(1)
        let states = try (0...records.count).map { try state(after: $0) }
        for place in file.bytes.indices {
            let batch = file.batches.dropLast().lastIndex { $0 <= place }
            let record = file.records.firstIndex { $0.start <= place && place < $0.end }
            let isBatchHeader = batch.map { place < file.batches[$0] + JournalFile.batchHeaderLength } ?? false
            let isUsed = place < JournalFile.headerLength || isBatchHeader || record != nil
            // Of what holds nothing, some.
            if !isUsed && place % 61 != 0 { continue }
            for bit in isUsed ? 0..<8 : place % 8..<place % 8 + 1 {
                var bytes = file.bytes
                bytes[place] ^= 1 << UInt8(bit)
                var expected = 7
                var fault: String?
                if let batch, isBatchHeader {
                    if batch == 2 {
                        expected = 4
                    } else {
                        fault =
                            "the journal file \(path) is damaged at byte \(file.batches[batch]): a batch was there, because batch \(batch + 2) at byte \(file.batches[batch + 1]) was written after it"
                    }
                } else if let batch, let record {
                    if batch == 2 {
                        expected = record
                    } else {
                        fault =
                            "the journal file \(path) is damaged at byte \(file.records[record].start), record \(record + 1): batch \(batch + 2) at byte \(file.batches[batch + 1]) shows that it was complete once"
                    }
                }
                do {
                    let result = try recover([1: bytes])
                    if fault != nil || result.position.lastLSN != UInt64(expected) || result.seen != states[expected] {
                        Issue.record(
                            "bit \(bit) of byte \(place): \(result.position.lastLSN) records of \(expected), expected \(fault ?? "no fault")"
                        )
                    }
                } catch let found as RecoveryFault {
                    if found.description != fault {
                        Issue.record("bit \(bit) of byte \(place): \(found)\nexpected: \(fault ?? "\(expected) records")")
                    }
                }
            }
        }
    }

    /// The same when the journal begins with a later batch, as it does once files have been dropped.
    @Test func truncationOfALaterFile() throws {
        let catalog = SimulatedCatalog()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: 40, nextStreamID: 1))
        let file = FileText(number: 9, firstBatch: 30, firstLSN: 41, batches: history, free: 0)
        for length in 0..<file.bytes.count {
            let fault = isRecoveryFault { try recover([9: Array(file.bytes[..<length])], catalog) }
            if let fault { Issue.record("truncated to \(length): \(fault)") }
        }
    }

    /// What the last batch left on a disk that stopped in the middle of it: every prefix of it, zeros or an earlier life behind.
    @Test(arguments: [UInt8(0), 0xA5])
    func tornAtEveryByte(filler: UInt8) throws {
        let file = FileText(number: 1, batches: history)
        let states = try (0...records.count).map { try state(after: $0) }
        for length in file.batches[2]..<file.batches[3] {
            var bytes = file.bytes
            for index in length..<bytes.count { bytes[index] = filler }
            let result = try recover([1: bytes])
            let whole = file.records.filter { $0.end <= length }.count
            let found = Int(result.position.lastLSN)
            if found < 4 || found > 7 || (found < whole && length >= file.batches[2] + 64) || result.seen != states[found] {
                Issue.record("torn at \(length): \(found) records of \(whole)")
            }
        }
    }

    /// Every flipped bit is either found and named, or changes nothing that was acknowledged before the last batch.
    @Test func everyFlippedBit() throws {
        let file = FileText(number: 1, batches: history)
        let states = try (0...records.count).map { try state(after: $0) }
        for place in 0..<file.bytes.count {
            for bit in 0..<8 {
                var bytes = file.bytes
                bytes[place] ^= 1 << UInt8(bit)
                do {
                    let result = try recover([1: bytes])
                    let found = Int(result.position.lastLSN)
                    if result.seen != states[found] { Issue.record("bit \(bit) of byte \(place): wrong content") }
                    let isPadding = place >= file.batches[3] || file.records.contains { $0.end <= place && place < $0.padded }
                    if isPadding {
                        if found != 7 { Issue.record("bit \(bit) of byte \(place), which holds nothing: \(found) records") }
                    } else if place < JournalFile.headerLength {
                        // The batches name their file themselves.
                        if found != 7 || result.notes.isEmpty {
                            Issue.record("bit \(bit) of byte \(place) of the header: \(found) records")
                        }
                    } else if place < file.batches[2] {
                        Issue.record("bit \(bit) of byte \(place) in the middle: \(found) records and no error")
                    } else if found < 4 || found == 7 {
                        Issue.record("bit \(bit) of byte \(place) at the end: \(found) records")
                    }
                } catch let fault as RecoveryFault {
                    let text = fault.description
                    if place >= file.batches[2] { Issue.record("bit \(bit) of byte \(place) at the end: \(text)") }
                    if !text.contains(journalPath + "/" + JournalFile.name(1)) { Issue.record("byte \(place): \(text)") }
                    let batch = file.batches.last { $0 <= place }
                    if let batch, place < batch + 64, !text.contains("byte \(batch)") { Issue.record("byte \(place): \(text)") }
                    if let record = file.records.first(where: { $0.start <= place && place < $0.end }),
                        !text.contains("byte \(record.start), record \(record.lsn)")
                    {
                        Issue.record("byte \(place): \(text)")
                    }
                }
            }
        }
    }

    /// A damaged header must not pass for that of a file that was never used.
    @Test(arguments: [1, 2, 3] as [UInt64], [0, 7, 8, 12, 16, 24, 32, 63])
    func damagedHeader(number: UInt64, place: Int) throws {
        var files = Self.three
        files[number]![place] ^= 4
        let result = try recover(files)
        #expect(result.seen == (try state(after: 7)) && result.position.lastLSN == 7)
        #expect(result.notes.contains { $0.contains(JournalFile.name(number)) })
    }

    private static let three: [UInt64: [UInt8]] = [
        1: FileText(number: 1, batches: [history[0]]).bytes,
        2: FileText(number: 2, firstBatch: 2, firstLSN: 3, batches: [history[1]]).bytes,
        3: FileText(number: 3, firstBatch: 3, firstLSN: 5, batches: [history[2]]).bytes,
    ]

    @Test func severalFiles() throws {
        let result = try recover(Self.three)
        #expect(result.seen == (try state(after: 7)))
        #expect(result.position.files.map { $0.lastLSN } == [2, 4, 7])
    }

    @Test(arguments: [1, 2] as [UInt64])
    func missingFile(number: UInt64) {
        var files = Self.three
        files[number] = nil
        let fault = isRecoveryFault { try recover(files) }
        #expect(fault?.contains(JournalFile.name(number + 1)) == true)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func renamedFile(number: UInt64) {
        var files = Self.three
        files[7] = files.removeValue(forKey: number)
        let fault = isRecoveryFault { try recover(files) }
        #expect(fault != nil, "file \(number) under the name of file 7")
    }

    @Test func swappedFiles() {
        var files = Self.three
        (files[1], files[2]) = (files[2], files[1])
        #expect(isRecoveryFault { try recover(files) } != nil)
    }

    @Test(arguments: [
        "lost+found", "notes.txt", ".journal", "1.journal", "00000000000000001.journal", "+000000000000004.journal",
        "000000000000000x.journal",
    ])
    func extraFiles(name: String) throws {
        let disk = SimulatedDisk(files: Dictionary(uniqueKeysWithValues: Self.three.map { (journalFile($0.key), $0.value) }))
        disk.names[journalPath + "/" + name] = SimulatedDisk.Inode([1, 2, 3])
        #expect(try recover(disk).position.lastLSN == 7)
    }

    /// Files that were being prepared when the server ended: empty, zeros, with a header, with another file's header.
    @Test(arguments: [
        [], [UInt8](repeating: 0, count: 10), [UInt8](repeating: 0, count: 4096),
        JournalFile.encodeHeader(number: 4, size: 1 << 20, salt: 5),
        JournalFile.encodeHeader(number: 1, size: 1 << 20, salt: 5) + [UInt8](repeating: 0, count: 1000),
        FileText(number: 1, batches: [history[0]]).bytes,
        JournalFile.encodeHeader(number: 4, size: 1 << 20, salt: 5) + FileText(number: 1, batches: [history[0]]).bytes[64...],
    ])
    func preparedFile(bytes: [UInt8]) throws {
        let catalog = SimulatedCatalog()
        // File 1 is covered by a checkpoint, so its memory may be the prepared file's.
        try catalog.commit(
            try recover([1: Self.three[1]!]).streams.map { .put($0.forCatalog().image, inline: $0.forCatalog().inline, sealed: []) },
            mark: CatalogMark(checkpointLSN: 2, nextStreamID: 3))
        var files = Self.three
        files[1] = nil
        files[4] = bytes
        let disk = SimulatedDisk(files: Dictionary(uniqueKeysWithValues: files.map { (journalFile($0.key), $0.value) }))
        let first = try recover(disk, catalog)
        #expect(first.contents == ["a": "one two end", "c": ""] && first.position.lastLSN == 7)
        // The server goes on behind it, and starts again.
        try goOn(disk, first, catalog: catalog, append: "!")
        let second = try recover(disk, catalog)
        #expect(second.position.lastLSN == 8 && second.contents["d"] == "!")
    }

    /// Starts a journal behind what was recovered and creates stream "d" with `text`, durably.
    private func goOn(_ disk: SimulatedDisk, _ recovered: Recovered, catalog: SimulatedCatalog, append text: String) throws {
        let steps = SimulatedThreads()
        let journal = try Journal(
            disk: disk, directory: journalPath, lane: steps, dispatcher: steps, syncs: true, sizeLimit: 4 << 20,
            recovered: recovered.position)
        let record = Record(recovered.nextStreamID, .create("d"), text)
        #expect(journal.reserve(JournalRecord.paddedLength(record.body, payload: record.payload.count), now: 0) == .available)
        _ = record.payload.withUnsafeBytes { journal.add(record.body, stream: record.stream, payload: $0) }
        journal.submit()
        steps.runAll()
        #expect(journal.committedLSN == recovered.position.lastLSN + 1)
    }

    /// A torn end, a restart behind it, and another one; at each place where the write may have stopped.
    @Test func goesOnBehindATornEnd() throws {
        let file = FileText(number: 1, batches: history)
        for length in stride(from: file.batches[2], through: file.batches[3], by: 8) {
            var bytes = file.bytes
            for index in length..<bytes.count { bytes[index] = 0 }
            let disk = SimulatedDisk(files: [journalFile(1): bytes])
            let catalog = SimulatedCatalog()
            let first = try recover(disk, catalog)
            try goOn(disk, first, catalog: catalog, append: "new")
            let second = try recover(disk, catalog)
            #expect(second.seen.dropLast() == first.seen[...] && second.contents["d"] == "new", "torn at \(length)")
            try goOn(disk, second, catalog: catalog, append: "newer")
            let third = try recover(disk, catalog)
            #expect(third.seen.dropLast() == second.seen[...], "torn at \(length)")
            #expect(third.position.lastLSN == first.position.lastLSN + 2)
        }
    }

    @Test func recoveryRepeatedGivesTheSame() throws {
        let disk = SimulatedDisk(files: Dictionary(uniqueKeysWithValues: Self.three.map { (journalFile($0.key), $0.value) }))
        disk.changed = { Issue.record("recovery changed something: \($0)") }
        let first = try recover(disk)
        let second = try recover(disk)
        #expect(first.seen == second.seen && first.position.lastLSN == second.position.lastLSN && first.notes == second.notes)
    }

    /// A checkpoint at every LSN: the result does not depend on it.
    @Test func checkpointAtEveryRecord() throws {
        let expected = try state(after: 7)
        for checkpoint in 1...7 {
            let before = try recover([1: FileText(number: 1, batches: [Array(records.prefix(checkpoint))]).bytes])
            let catalog = SimulatedCatalog()
            try catalog.commit(
                before.streams.map { .put($0.forCatalog().image, inline: $0.forCatalog().inline, sealed: []) },
                mark: CatalogMark(checkpointLSN: UInt64(checkpoint), nextStreamID: before.nextStreamID))
            let result = try recover(Self.three, catalog)
            let names = Set(result.streams.map { $0.id })
            #expect(result.seen == expected.filter { names.contains($0.id) }, "checkpoint \(checkpoint)")
            #expect(result.streamCount == 2 && result.nextStreamID == 4, "checkpoint \(checkpoint)")
            #expect(result.recordsReplayed == 7 - checkpoint)
        }
    }

    /// Entries newer than the checkpoint's mark (a flush between checkpoints) are not applied twice.
    @Test func entriesNewerThanTheMark() throws {
        for entries in 1...7 {
            let before = try recover([1: FileText(number: 1, batches: [Array(records.prefix(entries))]).bytes])
            let catalog = SimulatedCatalog()
            try catalog.commit(before.streams.map { .put($0.forCatalog().image, inline: $0.forCatalog().inline, sealed: []) }, mark: nil)
            let result = try recover(Self.three, catalog)
            #expect(result.contents == ["a": "one two end", "c": ""], "entries of \(entries)")
            #expect(result.streamCount == 2, "entries of \(entries)")
        }
    }

    /// A journal that ends before the checkpoint: records behind it go on at the checkpoint's LSN, and are found again.
    @Test func catalogNewerThanTheJournal() throws {
        let catalog = SimulatedCatalog()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: 50, nextStreamID: 9))
        for files in [[:], [1: Self.three[1]!], Self.three] as [[UInt64: [UInt8]]] {
            let disk = SimulatedDisk(files: Dictionary(uniqueKeysWithValues: files.map { (journalFile($0.key), $0.value) }))
            let first = try recover(disk, catalog)
            #expect(first.streams.isEmpty && first.position.lastLSN == 50 && first.nextStreamID == 9 && first.recordsReplayed == 0)
            // Not refused: a crash may bring back a file that had been dropped. An operator who has put an old journal there is told.
            let last = [0, 2, 7][min(files.count, 2)]
            #expect(
                first.notes
                    == (files.isEmpty ? [] : ["the journal ends with LSN \(last), the catalog with 50: nothing in the journal is new"]))
            try goOn(disk, first, catalog: catalog, append: "new")
            let second = try recover(disk, catalog)
            #expect(second.position.lastLSN == 51 && second.contents == ["d": "new"])
        }
    }

    @Test func journalNewerThanTheCatalog() {
        let file = FileText(number: 3, firstBatch: 3, firstLSN: 5, batches: [history[2]])
        let fault = isRecoveryFault { try recover([3: file.bytes]) }
        #expect(
            fault
                == "the journal begins with LSN 5 in \(JournalFile.name(3)), but the catalog ends with 0; a journal file is missing or the catalog is older than the journal"
        )
    }

    /// Each file of three missing or empty, and what is said. The last one's absence cannot be told from a journal that ended there.
    @Test(arguments: [1, 2, 3] as [UInt64], [false, true])
    func missingOrEmptyFile(number: UInt64, isEmpty: Bool) throws {
        var files = Self.three
        files[number] = isEmpty ? [] : nil
        let fault = isRecoveryFault {
            let result = try recover(files)
            #expect(result.seen == (try state(after: 4)) && result.position.lastLSN == 4)
            return result
        }
        switch number {
        case 1:
            #expect(
                fault
                    == "the journal begins with LSN 3 in \(JournalFile.name(2)), but the catalog ends with 0; a journal file is missing or the catalog is older than the journal"
            )
        case 2:
            #expect(
                fault
                    == "the journal \(journalPath) lacks batches 2 to 2: \(JournalFile.name(3)) goes on with batch 3 at byte 64; is a file missing?"
            )
        default: #expect(fault == nil)
        }
    }

    /// What an earlier life of the file left behind its new batches, whole batches included.
    @Test func recycledFile() throws {
        var old = FileText(number: 1, firstBatch: 1, batches: history).bytes
        let new = FileText(number: 4, firstBatch: 4, firstLSN: 8, batches: [[Record(3, .append(at: 0), "x")]], free: 0).bytes
        old.replaceSubrange(..<new.count, with: new)
        var files = Self.three
        files[4] = old
        let result = try recover(files)
        #expect(result.contents == ["a": "one two end", "c": "x"] && result.position.lastLSN == 8)
    }

    /// Content that looks like a later batch must not turn a torn end into damage.
    @Test func forgedBatchInAPayload() throws {
        var header = [UInt8](repeating: 0, count: 64)
        header.withUnsafeMutableBytes {
            JournalFile.BatchHeader(file: 1, number: 1 << 40, firstLSN: 1, lastLSN: 1, byteCount: 0, salt: 0).encode(to: $0.baseAddress!)
        }
        var payload: [UInt8] = []
        // At every alignment, so that one of them lies where batches may begin.
        for _ in 0..<8 { payload += header + [0, 0, 0, 0, 0, 0, 0, 0, 0] }
        let file = FileText(number: 1, batches: [history[0], [Record(1, .append(at: 4), payload)]])
        var torn = file.bytes
        // The page with the batch's beginning was not written, those behind it were.
        for place in file.batches[1]..<file.batches[1] + 64 { torn[place] = 0 }
        #expect(isRecoveryFault { try recover([1: torn]) } == nil)
    }

    @Test func aVersionThatIsNotKnown() {
        var bytes = FileText(number: 1, batches: history).bytes
        bytes[12] = 3
        let sum = bytes[12..<64].withUnsafeBytes { Checksum.of($0) }
        withUnsafeBytes(of: sum.littleEndian) { bytes.replaceSubrange(8..<12, with: $0) }
        #expect(isRecoveryFault { try recover([1: bytes]) }?.contains("version 3") == true)
    }

    /// Records that cannot follow from each other are an error, not a guess.
    @Test func contradictions() {
        let wrong: [[Record]] = [
            [Record(1, .create("a"), "one"), Record(1, .append(at: 2), "x")],
            [Record(1, .create("a"), "one"), Record(1, .append(at: 4), "x")],
            [Record(1, .create("a", closed: true), "one"), Record(1, .append(at: 3), "x")],
        ]
        for batch in wrong { #expect(isRecoveryFault { try recover([1: FileText(number: 1, batches: [batch]).bytes]) } != nil) }
    }

    @Test func progressEndsAtOne() throws {
        final class Box { var values: [Double] = [] }
        let box = Box()
        let disk = SimulatedDisk(files: Dictionary(uniqueKeysWithValues: Self.three.map { (journalFile($0.key), $0.value) }))
        var recovery = Recovery(disk: disk, journal: journalPath, catalog: SimulatedCatalog()) { box.values.append($0) }
        _ = try recovery.run()
        #expect(box.values.last == 1 && box.values == box.values.sorted())
    }
}
