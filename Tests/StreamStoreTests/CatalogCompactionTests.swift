// The catalog's file becomes small again, and nobody who reads or restarts sees anything of it.

import Glibc
import StreamRules
import Synchronization
import SystemCalls
import Testing

@testable import StreamStore

private func image(_ id: UInt64, expiry: Expiry = .never, content: Int = 1000, lsn: UInt64 = 1) -> StreamImage {
    // Names of all lengths, long ones among them, which have another kind of key.
    let name = Array("stream-\(id)-".utf8) + [UInt8](repeating: 0x61, count: Int(id * 37 % 700))
    let record = CreateRecord(
        name: name, configuration: StreamConfiguration(contentType: ContentType("text/plain"), expiry: expiry, chunkSize: 10), time: 5,
        closed: false)
    var image = StreamImage(id: id, lsn: lsn, record: record)
    [UInt8](repeating: UInt8(truncatingIfNeeded: id), count: content).withUnsafeBytes {
        image.tail.append($0)
        image.take(AppendRecord(position: 0, time: 5, closes: false, sequence: nil, producer: nil), added: $0, lsn: lsn)
    }
    return image
}

private func put(_ image: StreamImage, sealed: [SegmentMeta] = []) -> CatalogChange {
    let (entry, inline) = image.forCatalog()
    return .put(entry, inline: inline, sealed: sealed)
}

/// With a deadline, a sealed and an open segment, as the number will have it.
private func change(_ id: UInt64) -> CatalogChange {
    var stream = image(id, expiry: id % 2 == 0 ? .at(milliseconds: Int64(id), text: Array("t".utf8)) : .never, content: Int(id % 50) * 60)
    guard id % 5 == 0 else { return put(stream) }
    var sealed = SegmentMeta(base: 0)
    [UInt8](repeating: 1, count: 100_000 + Int(id)).withUnsafeBytes { sealed.extend(with: $0) }
    sealed.cuts = [id, sealed.end]
    sealed.sealed = true
    stream.active = SegmentMeta(base: sealed.end)
    [UInt8](repeating: 2, count: 500).withUnsafeBytes { stream.active.extend(with: $0) }
    stream.flushed = stream.active.end
    stream.state.tail = stream.active.end
    stream.tail = TailBuffer(at: stream.active.end)
    return put(stream, sealed: [sealed])
}

/// Everything that can be asked of a catalog.
private struct Content: Equatable {
    var mark = CatalogMark()
    var streams: [Seen] = []
    var due: [[UInt8]] = []
    var segments: [SegmentMeta] = []

    init(_ catalog: LMDBCatalog) throws {
        mark = try catalog.mark()
        var images: [StreamImage] = []
        // swift-format-ignore: ReplaceForEachWithForLoop
        try catalog.forEach {
            images.append($0)
            return true
        }
        streams = images.map { Seen($0) }
        due = try catalog.due(before: .max, after: nil, limit: .max).map { $0.name + [UInt8($0.id & 0xff)] }
        for image in images {
            if try catalog.image(named: image.name)?.id != image.id || catalog.image(id: image.id)?.name != image.name {
                Issue.record("stream \(image.id) is not found by its name and its id")
            }
            for base in image.sealed.map(\.base) + [image.active.base] {
                if let segment = try catalog.segment(stream: image.id, base: base) { segments.append(segment) }
            }
        }
    }
}

private let floor = CatalogEnvironment.smallestFile

@Suite struct CatalogCompactionTests {
    private let directory = TemporaryDirectory()
    private var data: String { directory.path + "/data.mdb" }
    private func open(syncs: Bool = true) throws -> LMDBCatalog { try LMDBCatalog(directory: directory.path, syncs: syncs) }

    private func information(_ path: String) -> stat {
        var found = stat()
        #expect(stat(path, &found) == 0, "\(path) is there")
        return found
    }
    private var size: Int { Int(information(data).st_size) }
    private var inode: UInt { UInt(information(data).st_ino) }
    private func files() throws -> [String] { try SystemDisk().list(directory.path) }

    /// Streams and their mark. - Returns: the file's size.
    @discardableResult
    private func fill(_ catalog: LMDBCatalog, count: UInt64 = 1000) throws -> Int {
        try catalog.commit((1...count).map { change($0) }, mark: CatalogMark(checkpointLSN: 77, nextStreamID: 1001))
        return size
    }

    private func removing(_ ids: some Sequence<UInt64>) -> [CatalogChange] { ids.map { .remove(id: $0) } }

    @Test(arguments: [true, false])
    func emptiedItIsAsSmallAsNew(syncs: Bool) throws {
        let catalog = try open(syncs: syncs)
        let (empty, blocks) = (size, information(data).st_blocks)
        #expect(empty == floor)
        for round in 1...5 as ClosedRange<UInt64> {
            #expect(try fill(catalog) > 4 * floor)
            try catalog.commit(removing(1...1000), mark: CatalogMark(checkpointLSN: 100 * round, nextStreamID: 1001))
            #expect(size == empty && information(data).st_blocks <= blocks)
            #expect(try files() == ["data.mdb", "lock.mdb"])
            #expect(try catalog.mark() == CatalogMark(checkpointLSN: 100 * round, nextStreamID: 1001))
        }
        catalog.close()
        let again = try open(syncs: syncs)
        #expect(try again.mark() == CatalogMark(checkpointLSN: 500, nextStreamID: 1001))
        #expect(size == empty)
    }

    /// Small commits, as a server under load makes them: the file never stays larger than what is needed allows.
    @Test func emptiedInSmallSteps() throws {
        let catalog = try open(syncs: false)
        try fill(catalog)
        for first in stride(from: 1, through: 1000, by: 25) {
            try catalog.commit(removing(UInt64(first)..<UInt64(first) + 25), mark: nil)
            let (file, content) = try catalog.environment.sizes()
            #expect(file <= max(floor, 4 * content) && file == size)
        }
        #expect(size == floor)
    }

    @Test func whatIsLeftStaysAsItWas() throws {
        let catalog = try open()
        let before = try fill(catalog)
        let first = inode
        let kept = (1...1000 as ClosedRange<UInt64>).filter { $0 % 20 == 5 }
        // The last removal, which makes it sparse, comes alone, so that there is a content before and after.
        try catalog.commit(removing((1...500).filter { $0 % 20 != 5 }), mark: nil)
        #expect(inode == first && size >= before, "more than a quarter is needed")
        try catalog.commit(removing((501...975).filter { $0 % 20 != 5 }), mark: nil)
        #expect(inode != first && size < before / 4)
        let content = try Content(catalog)
        #expect(content.streams.count == kept.count + 24 && content.due.count == 13 && content.segments.count == 2 * 54)
        let reference = TemporaryDirectory()
        let other = try LMDBCatalog(directory: reference.path, syncs: false)
        try other.commit(
            (1...1000).filter { $0 > 975 || $0 % 20 == 5 }.map { change($0) }, mark: CatalogMark(checkpointLSN: 77, nextStreamID: 1001))
        #expect(try Content(other) == content)
        // It goes on: more commits in the copy, and it is found again.
        try catalog.commit([change(3000), .remove(id: 5), change(25)], mark: CatalogMark(checkpointLSN: 78, nextStreamID: 3001))
        let last = try Content(catalog)
        #expect(last.streams.count == content.streams.count)
        catalog.close()
        #expect(try Content(open()) == last)
    }

    @Test func notWithoutNeed() throws {
        let catalog = try open()
        let first = inode
        // Below the smallest file, whatever is free.
        for _ in 0..<20 {
            try catalog.commit((1...10).map { put(image($0, content: 200)) }, mark: nil)
            try catalog.commit(removing(1...10), mark: nil)
        }
        #expect(inode == first && size == floor)
        // Above it, while more than a quarter is needed: the free pages are used again.
        try fill(catalog)
        let full = size
        for _ in 0..<3 {
            try catalog.commit(removing(1...500), mark: nil)
            try catalog.commit((1...500).map { change($0) }, mark: nil)
        }
        #expect(inode == first && size < 2 * full)
    }

    /// A step that fails changes nothing, and the commit has succeeded; it is tried again, and with patience.
    @Test(arguments: [CompactionStep.copy, .sync, .open, .renameLock, .rename], [true, false])
    func aStepFails(step: CompactionStep, syncs: Bool) throws {
        let notes = Mutex<[String]>([])
        let catalog = try LMDBCatalog(directory: directory.path, syncs: syncs) { note in notes.withLock { $0.append(note) } }
        let full = try fill(catalog)
        let first = inode
        var attempts = 0
        catalog.beforeCompactionStep = { (next) throws(CatalogFault) in
            if next == .copy { attempts += 1 }
            if next == step { throw CatalogFault("the disk is full", isNoSpace: true) }
        }
        try catalog.commit(removing(2...1000), mark: CatalogMark(checkpointLSN: 78, nextStreamID: 1001))
        #expect(inode == first && size >= full && attempts == 1)
        #expect(notes.withLock { $0.count == 1 && $0[0].contains("the disk is full") })
        #expect(try files() == ["data.mdb", "lock.mdb"])
        let content = try Content(catalog)
        #expect(content.streams.map(\.id) == [1] && content.mark.checkpointLSN == 78)
        // After 1, 2, 4, 8 … commits.
        var tried: [Int] = []
        for index in 1...40 {
            let before = attempts
            try catalog.commit([], mark: CatalogMark(checkpointLSN: 78, nextStreamID: 1001))
            if attempts > before { tried.append(index) }
        }
        #expect(tried == [2, 5, 10, 19, 36])
        catalog.beforeCompactionStep = { _ in }
        for _ in 1...40 { try catalog.commit([], mark: nil) }
        #expect(inode != first && size == floor)
        #expect(try Content(catalog) == content)
        catalog.close()
        #expect(try Content(open()) == content)
    }

    /// The file system itself refuses: the copy's name is taken by a directory that cannot be removed.
    @Test func theNameOfTheCopyIsTaken() throws {
        let catalog = try open()
        let full = try fill(catalog)
        mkdir(data + ".new", 0o700)
        try catalog.commit(removing(1...1000), mark: nil)
        #expect(size >= full)
        rmdir(data + ".new")
        for _ in 0..<2 { try catalog.commit([], mark: nil) }
        #expect(size == floor)
    }

    /// The copy has the name, but perhaps not after a power failure: whoever commits must not go on.
    @Test func theLastSyncFails() throws {
        let catalog = try open()
        try fill(catalog)
        catalog.beforeCompactionStep = { (step) throws(CatalogFault) in if step == .syncDirectory { throw CatalogFault("an error") } }
        #expect(throws: CatalogFault.self) { try catalog.commit(removing(2...1000), mark: nil) }
        catalog.close()
        #expect(try Content(open()).streams.map(\.id) == [1])
    }

    /// The process ends at any step: the next start finds the catalog as it was committed, and nothing else.
    @Test(arguments: [true, false])
    func endsAtAnyStep(syncs: Bool) throws {
        let catalog = try open(syncs: syncs)
        try fill(catalog)
        var seen: [(CompactionStep, TemporaryDirectory)] = []
        let directory = directory
        catalog.beforeCompactionStep = { step in
            // Whoever finds the copy as data.mdb finds its lock file, too.
            #expect(step != .rename || (try? SystemDisk().list(directory.path)) == ["data.mdb", "data.mdb.new", "lock.mdb"])
            let kept = TemporaryDirectory()
            for name in (try? SystemDisk().list(directory.path)) ?? [] { copyFile(directory.path + "/" + name, kept.path + "/" + name) }
            seen.append((step, kept))
        }
        try catalog.commit(removing((1...1000).filter { $0 % 25 != 0 }), mark: CatalogMark(checkpointLSN: 90, nextStreamID: 1001))
        #expect(seen.map { $0.0 } == CompactionStep.allCases)
        let content = try Content(catalog)
        #expect(content.streams.count == 40)
        for (step, kept) in seen {
            let next = try LMDBCatalog(directory: kept.path, syncs: syncs)
            #expect(try SystemDisk().list(kept.path) == ["data.mdb", "lock.mdb"], "\(step)")
            #expect(try Content(next) == content, "\(step)")
            // It goes on, and its next commit makes up for what was not done.
            try next.commit([.remove(id: 25)], mark: nil)
            #expect(try next.image(id: 25) == nil && next.image(id: 50) != nil, "\(step)")
            #expect(try next.environment.sizes().file < 3 * floor, "\(step)")
        }
    }

    /// A reader that has begun goes on in the file it began in, which is given back after it.
    @Test func aReaderInTheMiddle() throws {
        let catalog = try open()
        try fill(catalog, count: 300)
        let before = try Content(catalog).streams
        var found: [Seen] = []
        // swift-format-ignore: ReplaceForEachWithForLoop
        try catalog.forEach {
            if found.isEmpty {
                #expect(throws: Never.self) {
                    try catalog.commit(removing(1...1000), mark: nil)
                    #expect(try size == floor && oldIsMapped() && catalog.mark().streamCount == 0)
                    // The old file's pages are not the new writer's to use.
                    for id in 5000..<5020 as Range<UInt64> { try catalog.commit([change(id)], mark: nil) }
                }
            }
            found.append(Seen($0))
            return true
        }
        #expect(found == before)
        #expect(try !oldIsMapped())
        #expect(try Content(catalog).streams.count == 20)
    }

    /// Readers in other threads while it is filled and emptied again and again: each sees one commit, never a mixture, and never an earlier
    /// one than before.
    @Test func readersMeanwhile() throws {
        let catalog = try open(syncs: false)
        let rounds: UInt64 = 30
        let finished = Atomic<Bool>(false)
        let reads = Atomic<Int>(0)
        let faults = Mutex<[String]>([])
        try catalog.commit([], mark: CatalogMark(checkpointLSN: 1, nextStreamID: 1))
        let threads = (0..<3).map { index in
            Processes.startThread(named: "reader-\(index)") {
                var last: UInt64 = 0
                repeat {
                    do {
                        let mark = try catalog.mark()
                        let expected = mark.checkpointLSN % 2 == 0 ? 300 : 1
                        if mark.streamCount != (mark.checkpointLSN == 1 ? 0 : expected) { throw CatalogFault("\(mark)") }
                        if mark.checkpointLSN < last { throw CatalogFault("\(mark) after \(last)") }
                        last = mark.checkpointLSN
                        var ids: [UInt64] = []
                        // swift-format-ignore: ReplaceForEachWithForLoop
                        try catalog.forEach {
                            ids.append($0.id)
                            return true
                        }
                        if ids.count > 1, ids.count != 300 { throw CatalogFault("\(ids.count) streams") }
                        if last > 1, try catalog.image(id: 1) == nil { throw CatalogFault("stream 1 is not there") }
                        reads.add(1, ordering: .relaxed)
                    } catch { faults.withLock { $0.append("\(error)") } }
                } while !finished.load(ordering: .acquiring)
            }
        }
        var files: Set<UInt> = []
        for round in 1...rounds {
            try catalog.commit(
                (1...300).map { put(image($0, content: 4000)) }, mark: CatalogMark(checkpointLSN: 2 * round, nextStreamID: 301))
            try catalog.commit(removing(2...300), mark: CatalogMark(checkpointLSN: 2 * round + 1, nextStreamID: 301))
            files.insert(inode)
            #expect(size == floor)
        }
        finished.store(true, ordering: .releasing)
        for thread in threads { thread.join() }
        #expect(faults.withLock { $0 } == [])
        #expect(reads.load(ordering: .relaxed) >= 3)
        #expect(try !oldIsMapped())
    }

    /// Whether a file that was replaced takes space still.
    private func oldIsMapped() throws -> Bool {
        let file = try SystemDisk().open("/proc/self/maps", .readOnly)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = try bytes.withUnsafeMutableBytes { try file.read(into: $0, at: 0) }
        let ending = Array("\(data) (deleted)".utf8)
        return bytes[..<count].split(separator: 0x0A).contains { $0.suffix(ending.count) == ending[...] }
    }
}

private func copyFile(_ from: String, _ to: String) {
    do {
        let source = try SystemDisk().open(from, .readOnly)
        let target = try SystemDisk().open(to, .createNew)
        var bytes = [UInt8](repeating: 0, count: try source.size())
        let count = try bytes.withUnsafeMutableBytes { try source.read(into: $0, at: 0) }
        try bytes[..<count].withUnsafeBytes { try target.write($0, at: 0) }
    } catch { Issue.record("\(from): \(error)") }
}
