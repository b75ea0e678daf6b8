// One journal file as its reader sees it: how it begins, which records it has, and which of the four ways it ends.

import StreamSimulation
import Testing

@testable import StreamStore

@Suite struct JournalReaderTests {
    private static let batches = [
        [Record(1, .delete(DeleteRecord(time: 1)))], [Record(1, .renew(until: 5)), Record(1, .renew(until: 6))],
        [Record(1, .renew(until: 7))],
    ]

    /// What a reader finds: the LSNs of the records, how the last batch that was read ends, and the first batch behind that.
    private struct Found: Equatable {
        var start: JournalReader.Start
        var lsns: [UInt64] = []
        var end: JournalReader.RecordsEnd?
        var later: UInt64?
    }

    private func read(_ bytes: [UInt8], number: UInt64 = 1) throws -> Found {
        let disk = SimulatedDisk(files: [journalFile(number): bytes])
        var reader = try JournalReader(
            try disk.open(journalFile(number), .readOnly), number: number, memory: OwnedBytes(capacity: 0))
        var found = Found(start: reader.start)
        var last: UInt64 = 0
        while let batch = try reader.next(), batch.number == last + 1, reader.isWithin(batch) {
            last = batch.number
            found.end = try reader.read(batch) { record, _ in found.lsns.append(record.lsn) }.end
            if found.end != .whole { break }
        }
        found.later = try reader.laterBatch(behind: reader.offset, atLeast: last + 1)?.number
        return found
    }

    @Test(arguments: [8, 512, 4096]) func whole(alignment: Int) throws {
        let file = FileText(number: 1, batches: Self.batches, alignment: alignment)
        #expect(try read(file.bytes) == Found(start: .valid, lsns: [1, 2, 3, 4], end: .whole))
        // Nothing behind the last batch, and nothing at all.
        #expect(try read(Array(file.bytes[..<file.batches[3]])) == Found(start: .valid, lsns: [1, 2, 3, 4], end: .whole))
        #expect(try read(FileText(number: 1, batches: []).bytes) == Found(start: .valid))
        #expect(try read([]) == Found(start: .unreadable))
    }

    /// A record that is not whole: torn where nothing lies behind it, damaged where something does.
    @Test func broken() throws {
        let file = FileText(number: 1, batches: Self.batches)
        var torn = file.bytes
        torn[file.records[3].start + 20] ^= 1
        #expect(
            try read(torn) == Found(start: .valid, lsns: [1, 2, 3], end: .broken(lsn: 4, offset: file.records[3].start)))
        var damaged = file.bytes
        damaged[file.records[2].start + 20] ^= 1
        #expect(
            try read(damaged)
                == Found(start: .valid, lsns: [1, 2], end: .broken(lsn: 3, offset: file.records[2].start), later: 3))
        // A header that is damaged: the batches behind it are told.
        var headless = file.bytes
        headless[file.batches[1] + 9] ^= 1
        #expect(try read(headless) == Found(start: .valid, lsns: [1], end: .whole, later: 3))
    }

    /// A whole record of a kind that nobody knows yet is newer, and never torn.
    @Test func newer() throws {
        let file = FileText(number: 1, batches: Self.batches)
        let record = file.records[3]
        var bytes = file.bytes
        bytes[record.start + 24] = 200
        let length = Int(UInt32(bytes[record.start + 28]))
        let sum = bytes[(record.start + 4)..<(record.start + JournalRecord.headerLength + length)].withUnsafeBytes { Checksum.of($0) }
        withUnsafeBytes(of: sum.littleEndian) { for (index, byte) in $0.enumerated() { bytes[record.start + index] = byte } }
        #expect(
            try read(bytes)
                == Found(
                    start: .valid, lsns: [1, 2, 3], end: .newer(lsn: 4, kind: 200, version: bytes[record.start + 25], offset: record.start))
        )
    }

    /// A file that is another one by its header holds nothing of this one; without a header the batches speak for themselves.
    @Test func headers() throws {
        let file = FileText(number: 1, batches: Self.batches)
        #expect(try read(file.bytes, number: 2) == Found(start: .foreign(1)))
        for alignment in [8, 4096] {
            var bytes = FileText(number: 1, batches: Self.batches, alignment: alignment).bytes
            for index in 0..<64 { bytes[index] = 0 }
            #expect(try read(bytes) == Found(start: .unreadable, lsns: [1, 2, 3, 4], end: .whole))
        }
    }
}
