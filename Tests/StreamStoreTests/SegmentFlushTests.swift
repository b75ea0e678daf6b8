import StreamRules
import StreamSimulation
import Synchronization
import SystemCalls
import SystemPackage
import Testing

@testable import StreamStore

private func slices(_ bytes: [UInt8], pieces: Int) -> [ByteSlice] {
    var result: [ByteSlice] = []
    var position = 0
    while position < bytes.count {
        let count = min(pieces, bytes.count - position)
        // In the middle of a block, as slices of a tail buffer are.
        let block = OwnedBytes(copying: [0xEE] + bytes[position..<position + count] + [0xEE])
        result.append(ByteSlice(block: block, offset: 1, count: count))
        position += count
    }
    return result
}

private func checksums(_ bytes: ArraySlice<UInt8>) -> ([UInt32], UInt32) {
    var full: [UInt32] = []
    var rest = bytes
    while rest.count >= SegmentMeta.blockLength {
        full.append(rest.prefix(SegmentMeta.blockLength).withUnsafeBytes { Checksum.of($0) })
        rest = rest.dropFirst(SegmentMeta.blockLength)
    }
    return (full, rest.withUnsafeBytes { Checksum.of($0) })
}

@Suite struct SegmentFlushTests {
    private let root = "/data/streams"
    private let directory = "/data/streams/3f/000000000000013f"

    private func flush(
        _ disk: SimulatedDisk, _ active: SegmentMeta, _ bytes: [UInt8], pieces: Int = 1000, segmentSize: Int = 1000, syncs: Bool = true
    ) throws -> SegmentFlush.Result {
        try SegmentFlush(
            disk: disk, root: root, stream: 0x13f, active: active, isFirst: active.end == 0, bytes: slices(bytes, pieces: pieces),
            segmentSize: segmentSize,
            syncs: syncs
        ).run()
    }

    @Test func names() {
        #expect(
            SegmentFile.directory(stream: 0x13f) == "3f/000000000000013f" && SegmentFile.directory(stream: .max) == "ff/ffffffffffffffff")
        #expect(
            SegmentFile.name(base: 0) == "00000000000000000000.segment" && SegmentFile.name(base: .max) == "18446744073709551615.segment")
    }

    /// Flushed in pieces of every size, with cuts that become known before or after: files hold the bytes, segments end at cuts.
    @Test(arguments: [1, 7, 100, 333, 1000, 2500, 10_000])
    func againstAModel(step: Int) throws {
        let disk = SimulatedDisk()
        let content = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 / 256) }
        let cuts: [UInt64] = [90, 400, 999, 1000, 1700, 2300, 4000, 4100, 5050, 6060, 7070, 9999]
        var active = SegmentMeta(base: 0)
        var sealed: [SegmentMeta] = []
        var position = 0
        while position < content.count {
            let next = min(position + step, content.count)
            // A cut is known when the atom behind it has come.
            let known = cuts.filter { $0 > active.base && $0 < UInt64(next) }
            active.cuts = known
            let result = try flush(disk, active, Array(content[position..<next]), pieces: max(1, step / 3))
            #expect(result.flushed == UInt64(next) && result.active.end == UInt64(next))
            sealed += result.sealed
            active = result.active
            position = next
        }
        var base: UInt64 = 0
        for segment in sealed + [active] {
            #expect(segment.base == base)
            #expect(segment.base == 0 || cuts.contains(segment.base), "segments begin at cuts")
            let file = disk.names[directory + "/" + SegmentFile.name(base: base)]
            let expected = content[Int(base)..<Int(segment.end)]
            #expect((file?.bytes ?? []) == Array(expected) && (file?.medium ?? []) == Array(expected), "segment \(base)")
            let (full, partial) = checksums(expected)
            #expect(segment.blockSums == full && segment.partialSum == partial)
            #expect(segment.cuts == cuts.filter { $0 > base && ($0 <= segment.end && ($0 < UInt64(content.count))) }, "segment \(base)")
            base = segment.end
        }
        #expect(sealed.allSatisfy { $0.sealed && $0.end - $0.base >= 1000 } && !active.sealed)
        #expect(step > 333 || sealed.map { $0.end } == [1000, 2300, 4000, 5050, 6060, 7070, 9999])
    }

    @Test func blocksOfManyFlushes() throws {
        let disk = SimulatedDisk()
        let length = SegmentMeta.blockLength
        let content = [UInt8](repeating: 5, count: 2 * length + 10)
        for steps in [[2 * length + 10], [length, length, 10], [length - 1, 2, length - 1, 10], [1, length, length + 9]] {
            var active = SegmentMeta(base: 0)
            for count in steps {
                active = try flush(disk, active, Array(content.prefix(count)), pieces: 100_000, segmentSize: 1 << 30).active
            }
            let (full, partial) = checksums(content[...])
            #expect(active.blockSums == full && active.partialSum == partial && active.end == UInt64(content.count))
        }
    }

    /// Nothing of a flush is reported before it is durable: files, their names, the directories.
    @Test func whatIsSyncedAndWhen() throws {
        let disk = SimulatedDisk()
        let first = try flush(disk, SegmentMeta(base: 0), [1, 2, 3])
        let path = directory + "/" + SegmentFile.name(base: 0)
        #expect(
            disk.log.map { "\($0)" } == [
                "makeDirectory \(root)/3f", "makeDirectory \(directory)", "syncDirectory \(root)/3f", "syncDirectory \(root)",
                "open \(path)",
                "write \(path)", "syncData \(path)", "syncDirectory \(directory)",
            ])
        disk.log = []
        _ = try flush(disk, first.active, [4])
        #expect(disk.log.map { $0.call } == [.open, .write, .syncData])
        disk.log = []
        _ = try flush(disk, first.active, [4], syncs: false)
        #expect(disk.log.map { $0.call } == [.open, .write])
        disk.log = []
        #expect(try flush(disk, first.active, []).flushed == 3)
        #expect(disk.log.isEmpty)
    }

    /// A flush that failed, at any call, is done again from the same beginning.
    @Test func aFailedFlushIsForgotten() throws {
        for step in 0..<12 {
            let disk = SimulatedDisk()
            var calls = 0
            disk.fault = { _, _ in
                calls += 1
                return calls == step + 1 ? .noSpace : nil
            }
            var active = SegmentMeta(base: 0)
            active.cuts = [1200]
            let content = [UInt8](repeating: 9, count: 1500)
            let failed = (try? flush(disk, active, content)) == nil
            disk.fault = { _, _ in nil }
            let result = try flush(disk, active, content)
            #expect(result.flushed == 1500 && result.sealed.map { $0.end } == [1200] && result.active.base == 1200)
            let sizes = disk.names.keys.sorted().map { disk.names[$0]!.medium.count }
            #expect(sizes == [1200, 300], "step \(step), failed \(failed)")
        }
    }

    @Test func segmentMetaCodec() throws {
        var meta = SegmentMeta(base: 77)
        [UInt8](repeating: 1, count: SegmentMeta.blockLength + 5).withUnsafeBytes { meta.extend(with: $0) }
        meta.cuts = [80, 100]
        meta.sealed = true
        let bytes = meta.encode()
        #expect(try bytes.withUnsafeBytes { try SegmentMeta(decoding: $0) } == meta)
        for count in bytes.indices {
            #expect(throws: CodingFault.self) { try Array(bytes[..<count]).withUnsafeBytes { _ = try SegmentMeta(decoding: $0) } }
        }
        meta.cuts.append(meta.end + 1)
        #expect(
            try meta.encode().withUnsafeBytes { try SegmentMeta(decoding: $0) }.cuts == [80, 100],
            "a cut behind the end is not the segment's")
        for position in 0...120 as ClosedRange<UInt64> { #expect(meta.nextCut(after: position) == meta.cuts.first { $0 > position }) }
    }

    @Test func removeAndSweep() throws {
        let disk = SimulatedDisk()
        _ = try flush(disk, SegmentMeta(base: 0), [1])
        disk.names["\(root)/3f/notes"] = SimulatedDisk.Inode()
        #expect(StreamFiles.sweep(disk: disk, root: root) { _ in true } == 0)
        #expect(disk.names.count == 2)
        #expect(StreamFiles.sweep(disk: disk, root: root) { $0 != 0x13f } == 1)
        #expect(disk.names.keys.sorted() == ["\(root)/3f/notes"] && !disk.directories.contains(directory))
        #expect(disk.directories.contains("\(root)/3f"), "what is not ours stays, and where it is")
    }

    /// The shard's directory goes with its last stream, and with a crash in between at the next start.
    @Test func theLastStreamOfAShard() throws {
        let disk = SimulatedDisk()
        let empty = disk.directories
        for stream in [0x13f, 0x23f] as [UInt64] { try flushOne(disk, stream) }
        StreamFiles.remove(disk: disk, root: root, stream: 0x13f, bases: [0])
        #expect(disk.directories == empty.union(["\(root)/3f", "\(root)/3f/000000000000023f"]))
        disk.fault = { call, path in call == .removeDirectory && path == "\(root)/3f" ? .ioError : nil }
        StreamFiles.remove(disk: disk, root: root, stream: 0x23f, bases: [0])
        #expect(disk.directories == empty.union(["\(root)/3f"]) && disk.names.isEmpty)
        disk.fault = { _, _ in nil }
        #expect(StreamFiles.sweep(disk: disk, root: root) { _ in true } == 0)
        #expect(disk.directories == empty)
    }

    private func flushOne(_ disk: any Disk, root: String = "/data/streams", _ stream: UInt64, count: Int = 10) throws {
        _ = try SegmentFlush(
            disk: disk, root: root, stream: stream, active: SegmentMeta(base: 0), isFirst: true,
            bytes: slices([UInt8](repeating: 1, count: count), pieces: 1000),
            segmentSize: 1000, syncs: true
        ).run()
    }

    /// Another stream's removal takes the shard's directory away before the flush has made its own in it, again and again.
    @Test func theShardGoesMeanwhile() throws {
        let disk = SimulatedDisk()
        let empty = disk.directories
        for times in [1, 2, 50, 98] {
            var left = times
            disk.changed = { done in
                guard done.call == .makeDirectory, done.path == "\(root)/3f", left > 0 else { return }
                left -= 1
                StreamFiles.remove(disk: disk, root: root, stream: 0x23f, bases: [0])
            }
            disk.log = []
            try flushOne(disk, 0x13f)
            #expect(left == 0 && disk.names["\(directory)/\(SegmentFile.name(base: 0))"]?.medium.count == 10, "\(times) times")
            #expect(
                disk.log.suffix(6).map { $0.call } == [.syncDirectory, .syncDirectory, .open, .write, .syncData, .syncDirectory]
                    && disk.log.count >= 7 + 2 * times)
            StreamFiles.remove(disk: disk, root: root, stream: 0x13f, bases: [0])
            #expect(disk.directories == empty && disk.names.isEmpty)
        }
        // Not for ever.
        var calls = 0
        disk.changed = { done in
            guard done.call == .makeDirectory else { return }
            calls += 1
            disk.directories.remove(done.path)
        }
        #expect(throws: Errno.noSuchFileOrDirectory) { try flushOne(disk, 0x13f) }
        #expect(calls > 90 && calls <= 100)
        // A missing root is no race, and no reason to make one.
        disk.changed = { _ in }
        disk.directories = ["/data"]
        #expect(throws: Errno.noSuchFileOrDirectory) { try flushOne(disk, 0x13f) }
    }

    /// On a full disk nothing of a stream's first flush is left behind; of a later one, only what lies past the known end.
    @Test func aFailedFirstFlushLeavesNothing() throws {
        var succeeded = 0
        for step in 0..<20 {
            let disk = SimulatedDisk()
            let empty = disk.directories
            var calls = 0
            disk.fault = { call, _ in
                // Removing needs no space.
                if call == .unlink || call == .removeDirectory || call == .list { return nil }
                calls += 1
                return calls > step ? .noSpace : nil
            }
            do {
                try flushOne(disk, 0x13f, count: 2500)
                succeeded += 1
            } catch { #expect(disk.directories == empty && disk.names.isEmpty, "step \(step)") }
        }
        #expect(succeeded > 0 && succeeded < 15)
        let disk = SimulatedDisk()
        let first = try flush(disk, SegmentMeta(base: 0), [1, 2, 3])
        disk.fault = { call, _ in call == .syncData ? .noSpace : nil }
        #expect(throws: Errno.noSpace) { try flush(disk, first.active, [4]) }
        #expect(disk.names["\(directory)/\(SegmentFile.name(base: 0))"]?.medium == [1, 2, 3])
    }

    /// Streams of one shard, made and removed by several threads on a real file system.
    @Test func flushesAndRemovalsAtOnce() throws {
        let folder = TemporaryDirectory()
        let path = folder.path
        let faults = Mutex<[String]>([])
        let threads = (0..<4).map { (thread: UInt64) in
            Processes.startThread(named: "flush-\(thread)") {
                for round in 0..<300 as Range<UInt64> {
                    let stream = (thread << 32 | round) << 8 | 0x3f
                    do {
                        _ = try SegmentFlush(
                            disk: SystemDisk(), root: path, stream: stream, active: SegmentMeta(base: 0), isFirst: true,
                            bytes: slices([1, 2, 3], pieces: 2),
                            segmentSize: 1000, syncs: false
                        ).run()
                        let file = try SystemDisk().open(
                            "\(path)/\(SegmentFile.directory(stream: stream))/\(SegmentFile.name(base: 0))", .readOnly)
                        if try file.size() != 3 { throw Errno.ioError }
                    } catch { faults.withLock { $0.append("\(stream): \(error)") } }
                    StreamFiles.remove(disk: SystemDisk(), root: path, stream: stream, bases: [0])
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(faults.withLock { $0 } == [])
        #expect(try SystemDisk().list(folder.path) == [])
    }
}
