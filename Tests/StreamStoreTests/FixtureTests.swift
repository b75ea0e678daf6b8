// Data directories that earlier versions have written, and such as a later one might write (Tests/Fixtures/README.md).

import Glibc
import StreamRules
import SystemCalls
import SystemPackage
import Testing

@testable import StreamStore

/// A copy of a fixture, so that nothing changes the original.
private struct Fixture {
    private let temporary = TemporaryDirectory()
    let name: String
    var path: String { temporary.path + "/" + name }

    init(_ name: String) throws {
        self.name = name
        let fixtures = #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined() + "/Fixtures"
        try Self.copy(fixtures + "/" + name, to: temporary.path + "/" + name)
    }

    private static func copy(_ from: String, to: String) throws {
        var information = stat()
        #expect(stat(from, &information) == 0, "\(from) is missing")
        if information.st_mode & S_IFMT == S_IFDIR {
            try FileCalls.makeDirectory(to)
            for name in try FileCalls.list(from) { try copy(from + "/" + name, to: to + "/" + name) }
        } else {
            try SystemDisk().open(to, .createNew).write(Self.bytes(of: from), at: 0)
        }
    }

    private static func bytes(of path: String) throws -> [UInt8] {
        let file = try SystemDisk().open(path, .readOnly)
        var bytes = [UInt8](repeating: 0, count: try file.size())
        #expect(try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) } == bytes.count)
        return bytes
    }

    /// Every stream that is there after recovery, by name, and what recovery has said of it.
    func open() throws -> (streams: [String: StreamImage], recovered: Recovered) {
        let directory = try DataDirectory(path)
        let catalog = try LMDBCatalog(directory: directory.catalog, syncs: false)
        defer { catalog.close() }
        var recovery = Recovery(disk: SystemDisk(), journal: directory.journal, catalog: catalog)
        let recovered = try recovery.run()
        var streams: [String: StreamImage] = [:]
        for name in ["small", "json", "large", "closed", "deleted-later", "again", "expires", "late", "fork-early", "fork-late"] {
            let changed = recovered.streams.first { $0.name == Array(name.utf8) }
            let image = try changed ?? catalog.image(named: Array(name.utf8))
            guard let image, changed != nil || !recovered.deleted.contains(where: { $0.id == image.id }) else { continue }
            streams[name] = image
        }
        return (streams, recovered)
    }

    /// The verifier holds the directory's lock, and gives it back here.
    func verify() throws -> VerifyReport {
        var verifier = try StoreVerifier(path, online: false)
        return try verifier.run()
    }

    /// A stream's own bytes, of its segments and its tail.
    func content(_ image: StreamImage) throws -> String {
        var bytes: [UInt8] = []
        let directory = path + "/streams/" + SegmentFile.directory(stream: image.id) + "/"
        for (base, end) in image.sealed.map({ ($0.base, $0.end) }) + [(image.active.base, image.active.end)] where end > base {
            bytes += try Self.bytes(of: directory + SegmentFile.name(base: base)).prefix(Int(end - base))
        }
        #expect(image.start + UInt64(bytes.count) == image.flushed)
        bytes += image.tail.slices(from: image.flushed, to: image.state.tail).flatMap { Array($0.bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }
}

@Suite struct FixtureTests {
    @Test(arguments: [
        ("format-1-journal-1-no-forks", false), ("format-1-journal-1", true), ("format-1-journal-2", true),
    ])
    func holdsWhatWasWritten(name: String, hasForks: Bool) throws {
        let fixture = try Fixture(name)
        let (streams, recovered) = try fixture.open()
        #expect(recovered.notes.isEmpty)
        var contents = try streams.mapValues { try fixture.content($0) }
        let large = (0...300).map { number in
            let digits = String(number)
            return String(repeating: String(repeating: "0", count: 3 - digits.utf8.count) + digits + ";", count: 64)
        }.joined()
        #expect(contents.removeValue(forKey: "large") == large)
        var expected = [
            "small": "one;two;three;four;five;", "json": "{\"n\":1},\n{\"n\":2},\n3,\n", "closed": "the end", "again": "second life",
            "expires": "e", "late": "in the journal only",
        ]
        if hasForks { expected["fork-late"] = "own;" }
        #expect(contents == expected)

        let small = try #require(streams["small"])
        #expect(small.state.closed && small.state.closedBy == ProducerStamp(id: Array("p".utf8), epoch: 1, sequence: 2))
        #expect(small.state.producers == [Array("p".utf8): ProducerState(epoch: 1, sequence: 2)])
        #expect(small.state.lastSequence == Array("a".utf8) && small.forks == 0)
        #expect(streams["closed"]!.state.closed && !streams["json"]!.state.closed)
        #expect(streams["json"]!.configuration.contentType.isJSON)
        #expect(streams["again"]!.configuration.contentType.text == "application/octet-stream")
        #expect(streams["expires"]!.deadline == 4_922_899_200_000)
        #expect(streams["late"]!.configuration.expiry == .timeToLive(seconds: 3_155_760_000))
        #expect(!streams["large"]!.sealed.isEmpty && streams["large"]!.configuration.chunkSize == 4096)
        #expect(recovered.streamCount == streams.count)

        let origin = streams["fork-late"]?.origin
        #expect((origin != nil) == hasForks)
        if hasForks {
            #expect(origin?.sourceID == streams["large"]!.id && origin?.position == UInt64(large.utf8.count))
            #expect(streams["large"]!.isRetained && streams["large"]!.forks == 1)
        }
    }

    /// Cross-references and checksums, as `durable-streams verify` sees them; it changes nothing, so the same is found twice.
    @Test(arguments: [("format-1-journal-1-no-forks", 8), ("format-1-journal-1", 13), ("format-1-journal-2", 12)])
    func isWhole(name: String, records: Int) throws {
        let fixture = try Fixture(name)
        for _ in 0..<2 {
            let report = try fixture.verify()
            #expect(report.damage == [] && report.journalRecords == records && report.segments == 3)
        }
    }

    /// What verify says of each way in which the files of a stream can be wrong; the server starts, and reads of that range fail.
    @Test(arguments: [
        ("missing", "its file PATH cannot be opened: No such file or directory"),
        ("empty", "byte 32768 of the stream (PATH): the file ends there, 32768 bytes early"),
        ("short", "byte 65535 of the stream (PATH): the file ends there, 1 bytes early"),
        ("flipped", "byte 32768 of the stream (PATH): the checksum of the 32768 bytes from there does not match"),
        ("renamed", "its file PATH cannot be opened: No such file or directory"), ("extra", ""),
    ])
    func segmentFiles(change: String, said: String) throws {
        let fixture = try Fixture("format-1-journal-2")
        let directory = fixture.path + "/streams/03/0000000000000003/"
        let path = directory + SegmentFile.name(base: 32768)
        switch change {
        case "missing": try FileCalls.unlink(path)
        case "empty": try SystemDisk().open(path, .readWrite).truncate(size: 0)
        case "short": try SystemDisk().open(path, .readWrite).truncate(size: 32767)
        case "flipped": try SystemDisk().open(path, .readWrite).write([UInt8(0xFF)], at: 100)
        case "renamed": try FileCalls.rename(path, to: directory + SegmentFile.name(base: 99))
        default: try SystemDisk().open(directory + SegmentFile.name(base: 7_000_000), .createNew).write([1, 2, 3], at: 0)
        }
        let report = try fixture.verify()
        let text = "segment 32768: " + said.split(separator: "PATH").joined(separator: path)
        #expect(report.damage == (said.isEmpty ? [] : [Damage(stream: "large", what: text)]))
        let (streams, recovered) = try fixture.open()
        #expect(streams.count == 8 && recovered.recordsReplayed == 12 && recovered.notes.isEmpty)
    }

    /// A catalog that is gone would be an empty one, and then the files of all streams would be swept away.
    @Test(arguments: [false, true], [false, true])
    func aCatalogThatIsGoneIsRefused(isEmpty: Bool, withoutJournal: Bool) throws {
        let fixture = try Fixture("format-1-journal-2")
        let file = fixture.path + "/catalog/data.mdb"
        if isEmpty { try SystemDisk().open(file, .readWrite).truncate(size: 0) } else { try FileCalls.unlink(file) }
        if withoutJournal { try FileCalls.unlink(fixture.path + "/journal/" + JournalFile.name(1)) }
        let fault = #expect(throws: DataDirectoryFault.self) { try fixture.open() }
        #expect(
            fault?.description
                == "the data directory \(fixture.path) has a journal or streams but no catalog (\(file) is missing or empty); bring the file back, or start with an empty directory"
        )
    }

    /// Killed when the catalog was about to be made.
    @Test func aFirstStartThatMadeNoCatalog() throws {
        let temporary = TemporaryDirectory()
        for _ in 0..<2 { _ = try DataDirectory(temporary.path + "/data") }
        try SystemDisk().open(temporary.path + "/data/catalog/data.mdb", .createNew).syncData()
        _ = try DataDirectory(temporary.path + "/data")
    }

    @Test func aLaterDataDirectoryIsRefused() throws {
        let fixture = try Fixture("format-3")
        let fault = #expect(throws: DataDirectoryFault.self) { try fixture.open() }
        #expect(
            fault?.description
                == "the data directory \(fixture.path) has format 3, this server knows formats up to 2; start the newer server that wrote it"
        )
        #expect(try FileCalls.list(fixture.path) == ["FORMAT", "LOCK", "journal"], "nothing else was made")
    }

    @Test func aLaterJournalFileIsRefused() throws {
        let fixture = try Fixture("journal-3")
        let fault = #expect(throws: RecoveryFault.self) { try fixture.open() }
        #expect(
            fault?.description
                == "the journal file \(fixture.path)/journal/0000000000000001.journal has version 3, which this server does not know")
    }
}
