import Glibc
import StreamRules
import Testing

@testable import StreamStore

/// A directory that is gone with its content at the end of the test.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/stream-store-test-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template)!)
    }

    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        chmod(path, 0o700)
        for name in (try? SystemDisk().list(path)) ?? [] {
            if Glibc.unlink(path + "/" + name) != 0 { remove(path + "/" + name) }
        }
        rmdir(path)
    }
}

private func image(_ id: UInt64, _ name: [UInt8], expiry: Expiry = .never, content: String = "", lsn: UInt64 = 1) -> StreamImage {
    let record = CreateRecord(
        name: name, configuration: StreamConfiguration(contentType: ContentType("text/plain"), expiry: expiry, chunkSize: 10), time: 5,
        closed: false)
    var image = StreamImage(id: id, lsn: lsn, record: record)
    Array(content.utf8).withUnsafeBytes {
        image.tail.append($0)
        image.take(AppendRecord(position: 0, time: 5, closes: false, sequence: nil, producer: nil), added: $0, lsn: lsn)
    }
    return image
}

private func put(_ image: StreamImage, sealed: [SegmentMeta] = []) -> CatalogChange {
    let (entry, inline) = image.forCatalog()
    return .put(entry, inline: inline, sealed: sealed)
}

private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite struct LMDBCatalogTests {
    private let directory = TemporaryDirectory()
    private func open() throws -> LMDBCatalog { try LMDBCatalog(directory: directory.path, syncs: true) }

    @Test func aNewCatalogIsEmpty() throws {
        let catalog = try open()
        #expect(try catalog.mark() == CatalogMark())
        #expect(try catalog.image(named: name("a")) == nil)
        #expect(try catalog.image(id: 1) == nil)
        #expect(try catalog.segment(stream: 1, base: 0) == nil)
        #expect(try catalog.due(before: .max, after: nil, limit: 10).isEmpty)
    }

    @Test func staysAfterClosing() throws {
        let first = try open()
        try first.commit([put(image(7, name("a"), content: "hello"))], mark: CatalogMark(checkpointLSN: 12, nextStreamID: 8))
        first.close()
        let second = try open()
        #expect(try second.mark() == CatalogMark(checkpointLSN: 12, nextStreamID: 8, streamCount: 1))
        let found = try second.image(named: name("a"))
        #expect(found.map { Seen($0) } == Seen(image(7, name("a"), content: "hello")))
        #expect(try second.image(id: 7).map { Seen($0) } == found.map { Seen($0) })
    }

    @Test func aCommitWithoutAMarkLeavesTheMark() throws {
        let catalog = try open()
        try catalog.commit([], mark: CatalogMark(checkpointLSN: 12, nextStreamID: 8, streamCount: 99))
        try catalog.commit([put(image(1, name("a")))], mark: nil)
        #expect(try catalog.mark() == CatalogMark(checkpointLSN: 12, nextStreamID: 8, streamCount: 1))
    }

    /// Names of every length, among them many that share their first 440 and 480 bytes.
    @Test func namesOfEveryLength() throws {
        let catalog = try open()
        var names: [[UInt8]] = []
        for length in 1...1024 {
            names.append([UInt8](repeating: 0x61, count: length))
            if length > 430 { names.append([UInt8](repeating: 0x61, count: length - 1) + [0x62]) }
        }
        try catalog.commit(names.enumerated().map { put(image(UInt64($0.offset + 1), $0.element)) }, mark: nil)
        #expect(try catalog.mark().streamCount == names.count)
        for (index, name) in names.enumerated() {
            let found = try catalog.image(named: name)
            if found?.id != UInt64(index + 1) || found?.name != name {
                Issue.record("\(name.count) bytes: \(String(describing: found?.id))")
            }
        }
        #expect(try catalog.image(named: [UInt8](repeating: 0x63, count: 1000)) == nil)
        #expect(try catalog.image(named: [UInt8](repeating: 0x61, count: 1025)) == nil)
        var seen = Set<[UInt8]>()
        // swift-format-ignore: ReplaceForEachWithForLoop
        try catalog.forEach { seen.insert($0.name).inserted }
        #expect(seen == Set(names))
        // Removed one after the other, each takes only itself away.
        for (index, _) in names.enumerated() where index % 3 == 0 { try catalog.commit([.remove(id: UInt64(index + 1))], mark: nil) }
        for (index, name) in names.enumerated() {
            if (try catalog.image(named: name) == nil) != (index % 3 == 0) { Issue.record("\(name.count) bytes after the removals") }
        }
    }

    @Test func orderOfNames() throws {
        let catalog = try open()
        let names = ["b", "a", "a\u{1}b", "aa", "ab", "é", "B", "a/b"].map { name($0) }
        try catalog.commit(names.enumerated().map { put(image(UInt64($0.offset + 1), $0.element)) }, mark: nil)
        var seen: [[UInt8]] = []
        // swift-format-ignore: ReplaceForEachWithForLoop
        try catalog.forEach {
            seen.append($0.name)
            return true
        }
        #expect(seen == names.sorted { $0.lexicographicallyPrecedes($1) })
        var first: [[UInt8]] = []
        // swift-format-ignore: ReplaceForEachWithForLoop
        try catalog.forEach {
            first.append($0.name)
            return first.count < 2
        }
        #expect(first == Array(seen.prefix(2)))
    }

    /// Names beyond the length of a key stand among the others, in the order of all their bytes; pages of any size give the same.
    @Test func orderOfLongNames() throws {
        let catalog = try open()
        var generator = SystemRandomNumberGenerator()
        var names = Set<[UInt8]>()
        let stem = [UInt8](repeating: 0x61, count: 480)
        for length in [479, 480, 481, 500, 959, 960, 961, 1000, 1024] {
            for _ in 0..<6 {
                var name = (stem + stem + stem).prefix(length).map { $0 }
                for _ in 0..<Int.random(in: 0...2, using: &generator) {
                    let place = [length - 1, min(length - 1, 479), min(length - 1, 480), min(length - 1, 959), 3].randomElement(
                        using: &generator)!
                    name[place] = UInt8.random(in: 0x61...0x64, using: &generator)
                }
                names.insert(name)
            }
        }
        let shuffled = Array(names).shuffled(using: &generator)
        for (index, name) in shuffled.enumerated() { try catalog.commit([put(image(UInt64(index + 1), name))], mark: nil) }
        let sorted = shuffled.sorted { $0.lexicographicallyPrecedes($1) }
        for limit in [1, 2, 7, 1000] {
            var seen: [[UInt8]] = []
            while true {
                let rows = try catalog.rows(after: seen.last, limit: limit)
                if rows.isEmpty { break }
                seen += rows.map(\.key)
                for row in rows { #expect(try row.image.get().name == row.key) }
            }
            #expect(seen == sorted, "pages of \(limit)")
        }
        // From behind names that are not there.
        for _ in 0..<50 {
            var after = sorted.randomElement(using: &generator)!
            after[Int.random(in: 0..<after.count, using: &generator)] = UInt8.random(in: 0x60...0x66, using: &generator)
            let expected = sorted.first { after.lexicographicallyPrecedes($0) }
            #expect(try catalog.rows(after: after, limit: 1).first?.key == expected)
        }
        #expect(try catalog.contradictions(limit: 10) == [])
        // Nothing is left of long names that are gone.
        for index in shuffled.indices { try catalog.commit([.remove(id: UInt64(index + 1))], mark: nil) }
        #expect(try catalog.rows(after: nil, limit: 10).isEmpty)
        #expect(try catalog.entriesOfLongNames() == 0)
    }

    /// Names that a hash of another server would have taken for one.
    @Test func manyNamesWithOneBeginning() throws {
        let catalog = try open()
        let stem = [UInt8](repeating: 0x62, count: 700)
        let names = (0..<3_000).map { stem + Array(String($0).utf8) }
        try catalog.commit(names.enumerated().map { put(image(UInt64($0.offset + 1), $0.element)) }, mark: nil)
        for index in stride(from: 0, to: names.count, by: 37) {
            #expect(try catalog.image(named: names[index])?.id == UInt64(index + 1))
        }
    }

    /// A catalog of before long names were split: it is brought up to date when it is opened, once.
    @Test func anOlderForm() throws {
        let long = [[UInt8](repeating: 0x63, count: 481), [UInt8](repeating: 0x63, count: 1024), [UInt8](repeating: 0x64, count: 700)]
        do {
            let catalog = try open()
            try catalog.commit([put(image(9, name("short")))], mark: CatalogMark(checkpointLSN: 3, nextStreamID: 10))
            try catalog.makeOlder(long.enumerated().map { image(UInt64($0.offset + 1), $0.element, content: "content") })
            catalog.close()
        }
        for _ in 0..<2 {
            let catalog = try open()
            for (index, name) in long.enumerated() {
                #expect(try catalog.image(named: name)?.id == UInt64(index + 1))
                #expect(try catalog.image(id: UInt64(index + 1))?.name == name)
            }
            #expect(try catalog.image(named: name("short"))?.id == 9)
            #expect(try catalog.rows(after: nil, limit: 10).map(\.key) == [long[0], long[1], long[2], name("short")])
            #expect(try catalog.contradictions(limit: 10) == ["the catalog counts 1 streams and has 4 entries"])
            catalog.close()
        }
    }

    /// Producers stand apart from the entry: a commit writes those that have changed.
    @Test func producers() throws {
        let catalog = try open()
        func append(_ image: inout StreamImage, _ producer: String, _ sequence: UInt64) {
            image.take(
                AppendRecord(
                    position: image.state.tail, time: Int64(sequence), closes: false, sequence: nil,
                    producer: ProducerStamp(id: Array(producer.utf8), epoch: 1, sequence: sequence)),
                added: UnsafeRawBufferPointer(start: nil, count: 0), lsn: 2)
        }
        var stream = image(1, name("a"))
        append(&stream, "p", 0)
        append(&stream, "q", 0)
        try catalog.commit([put(stream)], mark: nil)
        #expect(try catalog.image(id: 1)?.state.producers == stream.state.producers)
        stream.unsavedProducers = [:]
        append(&stream, "q", 1)
        #expect(Set(stream.unsavedProducers.keys) == [Array("q".utf8)])
        try catalog.commit([put(stream)], mark: nil)
        let found = try #require(try catalog.image(id: 1))
        #expect(found.state.producers == stream.state.producers && found.state.producers[Array("q".utf8)]?.seen == 1)
        #expect(found.unsavedProducers.isEmpty)
        stream.unsavedProducers.updateValue(nil, forKey: Array("p".utf8))
        try catalog.commit([put(stream)], mark: nil)
        #expect(try catalog.image(id: 1)?.state.producers.keys.map { $0 } == [Array("q".utf8)])
        try catalog.commit([.remove(id: 1), put(image(2, name("a")))], mark: nil)
        #expect(try catalog.image(named: name("a"))?.state.producers.isEmpty == true)
        #expect(try catalog.contradictions(limit: 10) == [])
    }

    /// A name that belongs to a later stream: the later one stays, whichever of the changes comes first.
    @Test(arguments: [1, 480, 481, 1024], [0, 1, 2])
    func aNameTakenAgain(length: Int, order: Int) throws {
        let catalog = try open()
        let name = [UInt8](repeating: 0x61, count: length)
        var old = image(3, name, expiry: .timeToLive(seconds: 1), content: "old")
        old.active.end = 3
        old.flushed = 3
        try catalog.commit([put(old)], mark: nil)
        #expect(try catalog.segment(stream: 3, base: 0) != nil)
        let new = put(image(9, name, expiry: .timeToLive(seconds: 2), content: "new", lsn: 4))
        switch order {
        case 0: try catalog.commit([.remove(id: 3), new], mark: nil)
        case 1: try catalog.commit([new, .remove(id: 3)], mark: nil)
        default: try catalog.commit([new], mark: nil)
        }
        #expect(try catalog.image(named: name)?.id == 9)
        #expect(try catalog.image(id: 9)?.name == name)
        #expect(try catalog.image(id: 3) == nil)
        #expect(try catalog.segment(stream: 3, base: 0) == nil)
        #expect(try catalog.due(before: .max, after: nil, limit: 10).map { $0.id } == [9])
        #expect(try catalog.mark().streamCount == 1)
        try catalog.commit([.remove(id: 3)], mark: nil)
        #expect(try catalog.image(named: name)?.id == 9)
        try catalog.commit([.remove(id: 9)], mark: nil)
        #expect(try catalog.image(named: name) == nil)
        #expect(try catalog.mark().streamCount == 0)
        #expect(try catalog.due(before: .max, after: nil, limit: 10).isEmpty)
    }

    @Test func removingWhatIsNotThere() throws {
        let catalog = try open()
        try catalog.commit([.remove(id: 5), put(image(1, name("a"))), .remove(id: 5)], mark: nil)
        #expect(try catalog.mark().streamCount == 1)
    }

    @Test func deadlinesInOrder() throws {
        let catalog = try open()
        // Moments on both sides of 1970, two of them shared.
        let moments: [Int64] = [500, -7, 3, 1 << 40, 0, 500, -1_000_000, 3]
        try catalog.commit(
            moments.enumerated().map {
                put(image(UInt64($0.offset + 1), name("s\($0.offset)"), expiry: .at(milliseconds: $0.element, text: name("t"))))
            }, mark: nil)
        let sorted = moments.enumerated().sorted { ($0.element, $0.offset) < ($1.element, $1.offset) }.map { UInt64($0.offset + 1) }
        #expect(try catalog.due(before: .max, after: nil, limit: 100).map { $0.id } == sorted)
        #expect(try catalog.due(before: 500, after: nil, limit: 100).map { $0.id } == Array(sorted.prefix(5)))
        #expect(try catalog.due(before: 501, after: nil, limit: 100).map { $0.name } == sorted.prefix(7).map { name("s\($0 - 1)") })
        var paged: [UInt64] = []
        var last: DueStream?
        while let next = try catalog.due(before: .max, after: last, limit: 2).last {
            paged += try catalog.due(before: .max, after: last, limit: 2).map { $0.id }
            last = next
            if paged.count > 100 { break }
        }
        #expect(paged == sorted)
    }

    @Test func aDeadlineMoves() throws {
        let catalog = try open()
        var stream = image(1, name("a"), expiry: .timeToLive(seconds: 1))
        try catalog.commit([put(stream)], mark: nil)
        for until in [100, 50_000, 200] as [Int64] {
            stream.renewedUntil = until
            try catalog.commit([put(stream)], mark: nil)
            #expect(try catalog.due(before: .max, after: nil, limit: 10).map { $0.deadline } == [until + 1000])
        }
    }

    @Test func segmentsAndTheirStream() throws {
        let catalog = try open()
        var sealed = SegmentMeta(base: 0)
        [UInt8](repeating: 1, count: 300_000).withUnsafeBytes { sealed.extend(with: $0) }
        sealed.cuts = [100, 300_000]
        sealed.sealed = true
        var stream = image(5, name("a"))
        stream.active = SegmentMeta(base: 300_000)
        [UInt8](repeating: 2, count: 50).withUnsafeBytes { stream.active.extend(with: $0) }
        stream.active.cuts = [300_020, 300_060]
        stream.flushed = 300_050
        stream.state.tail = 300_060
        stream.tail = TailBuffer(at: 300_050)
        [UInt8](repeating: 3, count: 10).withUnsafeBytes { stream.tail.append($0) }
        try catalog.commit([put(stream, sealed: [sealed]), put(image(4, name("b"))), put(image(6, name("c")))], mark: nil)
        #expect(try catalog.segment(stream: 5, base: 0) == sealed)
        let found = try catalog.image(id: 5)
        #expect(found?.sealed == [StreamImage.SealedSegment(base: 0, end: 300_000)])
        #expect(found?.active == stream.active)
        #expect(found.map { Seen($0).content } == String(repeating: "\u{3}", count: 10))
        #expect(try catalog.image(id: 4)?.sealed == [])
        try catalog.commit([.remove(id: 5)], mark: nil)
        #expect(try catalog.segment(stream: 5, base: 0) == nil)
        #expect(try catalog.segment(stream: 5, base: 300_000) == nil)
    }

    /// A damaged entry is an error that names the stream, for this stream only.
    @Test func aDamagedEntry() throws {
        let catalog = try open()
        let marker = "UNIQUE-CONTENT-OF-THE-DAMAGED-STREAM"
        try catalog.commit([put(image(1, name("victim"), content: marker)), put(image(2, name("other"), content: "fine"))], mark: nil)
        catalog.close()
        let path = directory.path + "/data.mdb"
        let file = try SystemDisk().open(path, .readWrite)
        var bytes = [UInt8](repeating: 0, count: try file.size())
        _ = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        var changed = 0
        for place in 0..<bytes.count - marker.utf8.count
        where bytes[place] == 85 && bytes[place..<place + marker.utf8.count].elementsEqual(marker.utf8) {
            bytes[place] = 86
            changed += 1
        }
        #expect(changed > 0)
        try bytes.withUnsafeBytes { try file.write($0, at: 0) }
        let damaged = try open()
        #expect(throws: CatalogFault.self) { try damaged.image(named: name("victim")) }
        do { _ = try damaged.image(id: 1) } catch { #expect("\(error)".contains("victim")) }
        #expect(try damaged.image(named: name("other")).map { Seen($0).content } == "fine")
        // It can be removed, and replaced.
        try damaged.commit([.remove(id: 1)], mark: nil)
        #expect(try damaged.image(named: name("victim")) == nil)
    }

    @Test func aFileThatIsNoCatalog() throws {
        let file = try SystemDisk().open(directory.path + "/data.mdb", .createOrOpen)
        let junk = [UInt8](repeating: 0x5A, count: 8192)
        try junk.withUnsafeBytes { try file.write($0, at: 0) }
        #expect(throws: CatalogFault.self) { try open() }
    }

    @Test func aDirectoryThatIsNotThere() {
        #expect(throws: CatalogFault.self) { try LMDBCatalog(directory: directory.path + "/none", syncs: false) }
    }
}

extension LMDBCatalog {
    /// What `long` holds.
    fileprivate func entriesOfLongNames() throws(CatalogFault) -> Int {
        try read { (transaction) throws(CatalogFault) in
            var count = 0
            for database in [self.long, self.names] {
                try Self.scan(transaction, database, from: []) { _, _ in
                    count += 1
                    return true
                }
            }
            return count
        }
    }

    /// Enters streams with long names as servers of format 1 did, and takes the catalog's form away.
    fileprivate func makeOlder(_ images: [StreamImage]) throws(CatalogFault) {
        try write { (transaction) throws(CatalogFault) in
            for image in images {
                let key = Array(image.name.prefix(440)) + [0] + Self.bigEndian(0x1234_5678_9ABC_DEF0, image.id)
                let (entry, inline) = image.forCatalog()
                try Self.put(transaction, self.names, key, StreamEntry.encode(entry, inline: inline))
                try Self.put(transaction, self.ids, Self.bigEndian(image.id), key)
            }
            try Self.delete(transaction, self.meta, Array("form".utf8))
        }
    }
}
