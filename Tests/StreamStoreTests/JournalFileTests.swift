import Glibc
import StreamSimulation
import SystemCalls
import SystemPackage
import Testing

@testable import StreamStore

@Suite struct JournalFileTests {
    @Test(
        arguments: [(1, "0000000000000001.journal"), (42, "0000000000000042.journal"), (9_999_999_999_999_999, "9999999999999999.journal")]
            as [(UInt64, String)])
    func name(number: UInt64, name: String) {
        #expect(JournalFile.name(number) == name && JournalFile.number(of: name) == number)
    }

    @Test(arguments: [
        "", ".journal", "1.journal", "000000000000001.journal", "00000000000000001.journal", "+000000000000001.journal",
        "-000000000000001.journal",
        "000000000000000a.journal", "0000000000000001.journa", "0000000000000001.journalx", "0000000000000001.JOURNAL",
        " 000000000000001.journal",
        "0000000000000001", "\u{0660}0000000000000.journal",
    ])
    func notAName(name: String) {
        #expect(JournalFile.number(of: name) == nil)
    }

    @Test(arguments: [0, 1, 77, .max] as [UInt64])
    func header(number: UInt64) {
        let bytes = JournalFile.encodeHeader(number: number, size: 1 << 30, salt: ~number)
        #expect(bytes.count == JournalFile.headerLength && Array(bytes[0..<8]) == Array("DSJOURN1".utf8))
        #expect(bytes.withUnsafeBytes { JournalFile.decodeHeader($0) } == .valid(number: number, salt: ~number, alignment: 8))
        for place in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[place] ^= 1 << UInt8(bit)
                if changed.withUnsafeBytes({ JournalFile.decodeHeader($0) }) != .damaged { Issue.record("bit \(bit) of byte \(place)") }
            }
            let cut = Array(bytes[..<place]).withUnsafeBytes { JournalFile.decodeHeader($0) }
            if cut != .damaged { Issue.record("cut to \(place)") }
        }
    }

    @Test func batchHeader() {
        let header = JournalFile.BatchHeader(file: 3, number: 1 << 50, firstLSN: 17, lastLSN: .max, byteCount: 123_456, salt: 99)
        var bytes = [UInt8](repeating: 0xAA, count: JournalFile.batchHeaderLength)
        bytes.withUnsafeMutableBytes { header.encode(to: $0.baseAddress!) }
        #expect(Array(bytes[0..<4]) == Array("DSB1".utf8))
        #expect(bytes.withUnsafeBytes { JournalFile.BatchHeader.decode($0) } == header)
        for place in bytes.indices {
            for bit in 0..<8 {
                var changed = bytes
                changed[place] ^= 1 << UInt8(bit)
                if changed.withUnsafeBytes({ JournalFile.BatchHeader.decode($0) }) != nil { Issue.record("bit \(bit) of byte \(place)") }
            }
            if Array(bytes[..<place]).withUnsafeBytes({ JournalFile.BatchHeader.decode($0) }) != nil { Issue.record("cut to \(place)") }
        }
    }

    @Test func checksumIsTheStandardOne() {
        let text = Array("123456789".utf8)
        #expect(text.withUnsafeBytes { Checksum.of($0) } == 0xe306_9283)
        #expect([UInt8]().withUnsafeBytes { Checksum.of($0) } == 0)
        for middle in 0...text.count {
            let first = text[..<middle].withUnsafeBytes { Checksum.of($0) }
            #expect(text[middle...].withUnsafeBytes { Checksum.extend(first, with: $0) } == 0xe306_9283)
        }
    }
}

/// A real disk behind which writes that are not aligned are refused, as O_DIRECT does.
private struct DirectDisk: Disk {
    let disk = SystemDisk()
    final class File: DiskFile {
        let file: any DiskFile
        init(_ file: any DiskFile) { self.file = file }
        var alignment: Int { 4096 }
        var descriptor: Int32? { file.descriptor }
        func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
            try file.read(into: buffer, at: offset)
        }
        func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
            guard Int(bitPattern: bytes.baseAddress) % 4096 == 0, bytes.count % 4096 == 0, offset % 4096 == 0 else {
                throw .invalidArgument
            }
            try file.write(bytes, at: offset)
        }
        func write(vectors: inout [iovec], at offset: Int) throws(Errno) {
            for vector in vectors {
                guard Int(bitPattern: vector.iov_base) % 4096 == 0, vector.iov_len % 4096 == 0 else { throw .invalidArgument }
            }
            guard offset % 4096 == 0 else { throw .invalidArgument }
            try file.write(vectors: &vectors, at: offset)
        }
        func syncData() throws(Errno) { try file.syncData() }
        func allocate(size: Int) throws(Errno) { try file.allocate(size: size) }
        func truncate(size: Int) throws(Errno) { try file.truncate(size: size) }
        func size() throws(Errno) -> Int { try file.size() }
    }
    func open(_ path: String, _ access: FileCalls.Access) throws(Errno) -> any DiskFile {
        guard case .createOrOpenDirect = access else { return try disk.open(path, access) }
        return File(try disk.open(path, .createOrOpen))
    }
    func makeDirectory(_ path: String) throws(Errno) { try disk.makeDirectory(path) }
    func syncDirectory(_ path: String) throws(Errno) { try disk.syncDirectory(path) }
    func rename(_ from: String, to: String) throws(Errno) { try disk.rename(from, to: to) }
    func unlink(_ path: String) throws(Errno) { try disk.unlink(path) }
    func removeDirectory(_ path: String) throws(Errno) { try disk.removeDirectory(path) }
    func list(_ path: String) throws(Errno) -> [String] { try disk.list(path) }
}

/// Batches of every shape through a file that takes only aligned writes, and back.
@Test func alignedBatches() throws {
    let root = "/tmp/durable-streams-aligned-\(UInt64.random(in: 0 ... .max))"
    try SystemDisk().makeDirectory(root)
    defer {
        for name in (try? SystemDisk().list(root)) ?? [] { try? SystemDisk().unlink(root + "/" + name) }
        try? SystemDisk().removeDirectory(root)
    }
    let steps = SimulatedThreads()
    let journal = try Journal(
        disk: DirectDisk(), directory: root, lane: steps, dispatcher: steps, syncs: true, sizeLimit: 64 << 20, recovered: JournalPosition())
    // Gathered in groups: small ones, payloads of their own memory (64 KiB and more), the end of a block hit exactly, a file turned over.
    let groups = [[10], [1, 2, 3], [4096 - 64 - 40 - 17], [65_536], [70_000, 5, 200_000, 65_536], [1_500_000], [3_000_000, 1], [8]]
    var payloads: [[UInt8]] = []
    for group in groups {
        for size in group {
            let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ payloads.count) }
            payloads.append(payload)
            let block = OwnedBytes(copying: payload)
            while journal.reserve(JournalRecord.paddedLength(.append(at: 0), payload: size), now: 0) != .available { steps.runAll() }
            _ = journal.add(.append(at: 0), stream: 7, payload: block.bytes, block: block)
        }
        journal.submit()
        steps.runAll()
    }
    #expect(journal.failure == nil && journal.committedLSN == UInt64(payloads.count))
    var found: [[UInt8]] = []
    for name in try SystemDisk().list(root) {
        let file = try SystemDisk().open(root + "/" + name, .readOnly)
        var bytes = [UInt8](repeating: 0, count: try file.size())
        _ = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        bytes.withUnsafeBytes { bytes in
            guard case .valid(let number, let salt, let alignment) = JournalFile.decodeHeader(bytes) else {
                Issue.record("\(name) has no header")
                return
            }
            #expect(alignment == 4096)
            var offset = JournalFile.firstBatch(alignment: alignment)
            while offset < bytes.count,
                let batch = JournalFile.BatchHeader.decode(UnsafeRawBufferPointer(rebasing: bytes[offset...])), batch.file == number,
                batch.salt == salt
            {
                #expect(offset % 4096 == 0)
                var position = offset + JournalFile.batchHeaderLength
                while position < offset + JournalFile.batchHeaderLength + batch.byteCount,
                    let record = JournalRecord.decode(UnsafeRawBufferPointer(rebasing: bytes[position...])).record
                {
                    found.append(Array(record.payload))
                    position += record.paddedLength
                }
                offset = JournalFile.align(position, to: alignment)
            }
        }
    }
    #expect(found == payloads)
}
