// Writing a stream's newest bytes to its segments: planned on the reactor, done on a disk worker.
//
// A flush writes [flushed, to) and makes it durable, files and directories included, before it reports. So the catalog may name the bytes
// as soon as the flush is done, and a flush has no memory: what a failed one left behind lies past the end that the catalog knows.
// The directory of a shard goes with its last stream, so a flush that makes a stream's directory may find its parent just removed.
// A segment is sealed at the first cut that lies `segmentSize` or more after its base; chunks therefore never cross a segment.

import Glibc
import SystemPackage

public struct SegmentFlush: Sendable {
    public struct Result: Sendable {
        public let flushed: UInt64
        public let sealed: [SegmentMeta]
        public let active: SegmentMeta
    }

    let disk: any Disk
    let root: String
    let stream: UInt64
    let active: SegmentMeta
    let isFirst: Bool
    let bytes: [ByteSlice]
    let segmentSize: Int
    let syncs: Bool

    /// `bytes` are the bytes of [active.end, to). `isFirst`: nothing of the stream has been flushed yet.
    public init(
        disk: any Disk, root: String, stream: UInt64, active: SegmentMeta, isFirst: Bool, bytes: [ByteSlice], segmentSize: Int, syncs: Bool
    ) {
        self.disk = disk
        self.root = root
        self.stream = stream
        self.active = active
        self.isFirst = isFirst
        self.bytes = bytes
        self.segmentSize = segmentSize
        self.syncs = syncs
    }

    public func run() throws(Errno) -> Result {
        do throws(Errno) {
            if isFirst { try makeDirectories() }
            return try write()
        } catch {
            // Nobody knows yet that the stream has files, so nobody would remove them with it.
            if isFirst { StreamFiles.remove(disk: disk, root: root, stream: stream, bases: []) }
            throw error
        }
    }

    private func write() throws(Errno) -> Result {
        var active = active
        var sealed: [SegmentMeta] = []
        var index = 0
        var offset = 0
        let directory = root + "/" + SegmentFile.directory(stream: stream)
        let end = active.end + UInt64(bytes.reduce(0) { $0 + $1.count })
        while active.end < end {
            // Where this segment stops: at the first cut that makes it large enough.
            let limit = active.cuts.first { $0 >= active.base + UInt64(segmentSize) && $0 >= active.end }
            let stop = min(limit ?? end, end)
            let path = directory + "/" + SegmentFile.name(base: active.base)
            let isNew = active.end == active.base
            let file = try disk.open(path, .createOrOpen)
            while active.end < stop {
                let slice = bytes[index]
                let count = min(slice.count - offset, Int(stop - active.end))
                let part = UnsafeRawBufferPointer(rebasing: slice.bytes[offset..<offset + count])
                try file.write(part, at: Int(active.end - active.base))
                active.extend(with: part)
                offset += count
                if offset == slice.count {
                    index += 1
                    offset = 0
                }
            }
            if syncs {
                try file.syncData()
                if isNew { try disk.syncDirectory(directory) }
            }
            if let limit, active.end == limit {
                var next = SegmentMeta(base: limit)
                next.cuts = active.cuts.filter { $0 > limit }
                active.cuts.removeAll { $0 > limit }
                active.sealed = true
                sealed.append(active)
                active = next
            }
        }
        return Result(flushed: end, sealed: sealed, active: active)
    }

    private func makeDirectories() throws(Errno) {
        let shard = root + "/" + SegmentFile.shard(stream)
        try makeDirectory(in: shard)
        // With a directory in it, the shard's stays.
        if syncs {
            try disk.syncDirectory(shard)
            try disk.syncDirectory(root)
        }
    }

    /// Each further attempt needs another stream of the shard whose removal has come between the two calls and emptied it.
    private static let attempts = 100

    private func makeDirectory(in shard: String) throws(Errno) {
        for _ in 1..<Self.attempts {
            try disk.makeDirectory(shard)
            do throws(Errno) {
                try disk.makeDirectory(root + "/" + SegmentFile.directory(stream: stream))
                return
            } catch { if error != .noSuchFileOrDirectory { throw error } }
        }
        throw .noSuchFileOrDirectory
    }
}

/// Removing a stream's files, on a disk worker. What a crash leaves over, or brings back because no removal is synced, is found by
/// `StreamFiles.sweep` at the next start.
public enum StreamFiles {
    public static func remove(disk: any Disk, root: String, stream: UInt64, bases: [UInt64]) {
        let directory = root + "/" + SegmentFile.directory(stream: stream)
        for base in bases { try? disk.unlink(directory + "/" + SegmentFile.name(base: base)) }
        if let left = try? disk.list(directory) {
            for name in left { try? disk.unlink(directory + "/" + name) }
        }
        try? disk.removeDirectory(directory)
        // Refused while another stream is in it.
        try? disk.removeDirectory(root + "/" + SegmentFile.shard(stream))
    }

    /// Removes the directories of streams for which `exists` says no, and those of shards without streams. Returns how many streams.
    public static func sweep(disk: any Disk, root: String, exists: (UInt64) throws -> Bool) rethrows -> Int {
        var removed = 0
        for shard in (try? disk.list(root)) ?? [] {
            let names = (try? disk.list(root + "/" + shard)) ?? []
            if names.isEmpty { try? disk.removeDirectory(root + "/" + shard) }
            for name in names {
                guard let stream = UInt64(name, radix: 16), try !exists(stream) else { continue }
                remove(disk: disk, root: root, stream: stream, bases: [])
                removed += 1
            }
        }
        return removed
    }
}
