// Checks a data directory: every checksum, and everything that one part says of another.
//
//     catalog     entries (CRC), databases against each other
//     journal     records (CRC), gaps, and whether they follow from the entries: a recovery that writes nothing
//     streams     segments without gaps, files long enough, every block's CRC
//     forks       each has its source, begins within it, and is counted there
//     leftovers   files of streams that nobody knows: what a crash in a removal leaves and the next start removes; no damage
//
// Beside a running server only the catalog and the segments are looked at: the journal is in motion. There a finding counts only if the
// stream is still as it was when it was read.
// Invariant: nothing is written, not even a lock file's content.

import Glibc
import StreamRules
import SystemCalls
import SystemPackage

public struct Damage: Sendable, Codable, Equatable {
    /// The stream, where it is one stream's.
    public let stream: String?
    public let what: String
}

public struct VerifyReport: Sendable, Codable {
    public var streams = 0
    public var segments = 0
    /// Bytes of segments whose checksums were computed.
    public var segmentBytes = 0
    public var journalRecords = 0
    public var damage: [Damage] = []
    /// What is worth knowing and no damage.
    public var notes: [String] = []
    /// Findings beyond the first `StoreVerifier.limit`.
    public var unlisted = 0
}

public struct StoreVerifier {
    public static let limit = 1000
    /// Seconds that a checkpoint is waited for, three of the default interval.
    public static let patience = 90

    private let path: String
    private let online: Bool
    private let progress: (VerifyReport) -> Void
    private var report = VerifyReport()
    private let catalog: LMDBCatalog
    private let lock: (any DiskFile)?

    /// What forks are checked by, of each stream.
    private struct Line {
        let name: [UInt8]
        let start: UInt64
        let tail: UInt64
        let forks: UInt64
        let isRetained: Bool
        let source: UInt64?
    }
    private var lines: [UInt64: Line] = [:]
    private var missing: [(image: StreamImage, segment: SegmentMeta, fault: String)] = []

    /// - Parameters:
    ///   - online: a server may be running on the directory.
    ///   - progress: called after each stream.
    /// - Throws: `DataDirectoryFault`, `CatalogFault` if there is nothing that could be checked.
    public init(_ path: String, online: Bool, progress: @escaping (VerifyReport) -> Void = { _ in }) throws {
        self.path = path
        self.online = online
        self.progress = progress
        let format = try DataDirectory.existingFormat(path)
        guard format <= DataDirectory.format else {
            throw DataDirectoryFault(
                "the data directory \(path) has format \(format), this program knows formats up to \(DataDirectory.format)")
        }
        lock = online ? nil : try DataDirectory.lockForReading(path)
        catalog = try LMDBCatalog(reading: path + "/catalog")
    }

    public mutating func run() throws -> VerifyReport {
        for fault in try catalog.contradictions(limit: Self.limit) {
            // Between two commits a server's catalog is whole, so this holds online too.
            found(nil, fault)
        }
        var replayed: [UInt64: StreamImage] = [:]
        var ended: Set<UInt64> = []
        if !online { (replayed, ended) = verifyJournal() }
        var after: [UInt8]?
        while true {
            let rows = try catalog.rows(after: after, limit: 256)
            guard let last = rows.last else { break }
            after = last.key
            for row in rows {
                switch row.image {
                case .failure(let fault): found(row.key, "\(fault)")
                case .success(let image):
                    // The journal has its end: its files may be gone already.
                    if ended.contains(image.id) { continue }
                    report.streams += 1
                    verifySegments(image, row.segments)
                    enter(replayed[image.id] ?? image)
                }
                progress(report)
            }
        }
        judgeMissing()
        for image in replayed.values where lines[image.id] == nil {
            report.streams += 1
            enter(image)
        }
        if !online {
            verifyForks()
            findLeftovers(ended)
        }
        return report
    }

    private mutating func found(_ name: [UInt8]?, _ what: String) {
        if report.damage.count < Self.limit {
            report.damage.append(Damage(stream: name.map { StreamLabel.text($0) }, what: what))
        } else {
            report.unlisted += 1
        }
    }

    private mutating func enter(_ image: StreamImage) {
        lines[image.id] = Line(
            name: image.name, start: image.start, tail: image.state.tail, forks: image.forks, isRetained: image.isRetained,
            source: image.origin?.sourceID)
    }

    // MARK: Journal

    private mutating func verifyJournal() -> ([UInt64: StreamImage], Set<UInt64>) {
        do {
            var recovery = Recovery(disk: SystemDisk(), journal: path + "/journal", catalog: catalog)
            let recovered = try recovery.run()
            report.journalRecords = recovered.recordsReplayed
            report.notes += recovered.notes
            return (
                Dictionary(recovered.streams.map { ($0.id, $0) }, uniquingKeysWith: { $1 }), Set(recovered.deleted.map(\.id))
            )
        } catch {
            found(nil, "\(error)")
            return ([:], [])
        }
    }

    // MARK: Segments

    private mutating func verifySegments(_ image: StreamImage, _ segments: [SegmentMeta]) {
        var position = image.start
        for (index, segment) in segments.enumerated() {
            report.segments += 1
            let isLast = index == segments.count - 1
            if segment.base != position {
                found(image.name, "segment \(segment.base) begins where \(position) was expected")
            }
            if !segment.sealed, !isLast { found(image.name, "segment \(segment.base) is open, and another follows it") }
            if let fault = Self.fault(in: segment) { found(image.name, "segment \(segment.base): \(fault)") }
            if let fault = verifyFile(image, segment), !hasChanged(image, segment) {
                if online, !isThere(image, segment) {
                    missing.append((image, segment, fault))
                } else {
                    found(image.name, "segment \(segment.base): \(fault)")
                }
            }
            position = segment.end
        }
        if position != image.flushed {
            found(image.name, "its segments end at \(position), its entry says \(image.flushed)")
        }
    }

    private static func fault(in segment: SegmentMeta) -> String? {
        if segment.end < segment.base { return "it ends before it begins" }
        let count = segment.end - segment.base
        if UInt64(segment.blockSums.count) != count / UInt64(SegmentMeta.blockLength) {
            return "its list of checksums is not as long as it is"
        }
        var last = segment.base
        for cut in segment.cuts {
            if cut <= last || cut > segment.end { return "its chunk ends are out of order: \(cut) behind \(last)" }
            last = cut
        }
        return nil
    }

    /// What is wrong with a segment's file.
    private mutating func verifyFile(_ image: StreamImage, _ segment: SegmentMeta) -> String? {
        let name = self.file(image, segment)
        let file: any DiskFile
        do throws(Errno) {
            file = try SystemDisk().open(name, .readOnly)
        } catch {
            return "its file \(name) cannot be opened: \(error.text)"
        }
        switch SegmentScan.scan(file, segment, from: 0, blocks: .max) {
        case .sound(let bytes):
            report.segmentBytes += bytes
            return nil
        case .unknown(let what): return "it could not be checked: \(what)"
        case .damaged(let at, let what): return "byte \(segment.base + UInt64(at)) of the stream (\(name)): \(what)"
        }
    }

    /// A file that is missing beside a server is most likely that of a stream that has just been deleted and that the catalog forgets with the
    /// next checkpoint; that is waited for.
    private mutating func judgeMissing() {
        var missing = missing
        for _ in 0..<Self.patience where !missing.isEmpty {
            missing.removeAll { hasChanged($0.image, $0.segment) || isThere($0.image, $0.segment) }
            if !missing.isEmpty { usleep(1_000_000) }
        }
        for (image, segment, fault) in missing { found(image.name, "segment \(segment.base): \(fault)") }
    }

    private func isThere(_ image: StreamImage, _ segment: SegmentMeta) -> Bool { access(file(image, segment), F_OK) == 0 }

    private func file(_ image: StreamImage, _ segment: SegmentMeta) -> String {
        path + "/streams/" + SegmentFile.directory(stream: image.id) + "/" + SegmentFile.name(base: segment.base)
    }

    /// Whether the server has changed or removed the stream since it was read.
    private func hasChanged(_ image: StreamImage, _ segment: SegmentMeta) -> Bool {
        guard online else { return false }
        guard let now = try? catalog.segments(of: image.id) else { return false }
        return !now.contains { $0.base == segment.base && $0.end == segment.end }
    }

    // MARK: Forks

    private mutating func verifyForks() {
        var counts: [UInt64: UInt64] = [:]
        for line in lines.values {
            guard let source = line.source else { continue }
            counts[source, default: 0] += 1
            guard let origin = lines[source] else {
                found(line.name, "it was forked from stream \(source), which is missing")
                continue
            }
            if line.start > origin.tail {
                found(line.name, "it was forked at \(line.start) from \(StreamLabel.text(origin.name)), which ends at \(origin.tail)")
            }
        }
        for (id, line) in lines {
            let count = counts[id] ?? 0
            if line.forks != count { found(line.name, "it counts \(line.forks) forks and has \(count)") }
            if line.isRetained, count == 0 {
                report.notes.append("\(StreamLabel.text(line.name)) was kept for forks that are gone; the next start removes it")
            }
        }
    }

    // MARK: Leftovers

    private mutating func findLeftovers(_ ended: Set<UInt64>) {
        let root = path + "/streams"
        var count = 0
        for shard in (try? SystemDisk().list(root)) ?? [] {
            for name in (try? SystemDisk().list(root + "/" + shard)) ?? [] {
                guard let id = UInt64(name, radix: 16), lines[id] == nil, !ended.contains(id) else { continue }
                count += 1
            }
        }
        if count > 0 { report.notes.append("\(count) directories under \(root) belong to no stream; the next start removes them") }
    }
}

/// Reads a segment's file against its checksums.
public enum SegmentScan {
    public enum Outcome: Sendable, Equatable {
        /// So many bytes were read and are as they were written.
        case sound(bytes: Int)
        /// Offset in the file of the block that is not.
        case damaged(at: Int, what: String)
        /// The process could not look: it is short of descriptors or memory, or may not. That says nothing about the file.
        case unknown(String)
    }

    /// What an error of a call says of the file that it was meant for.
    public static func judge(_ error: Errno, at offset: Int, doing what: String) -> Outcome {
        switch error {
        case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .permissionDenied, .notPermitted, .interrupted,
            .resourceTemporarilyUnavailable:
            .unknown("it cannot be \(what): \(error.text)")
        // A device, or a file system that checks by itself, says it in several ways.
        default: .damaged(at: offset, what: "it cannot be \(what): \(error.text)")
        }
    }

    /// Checks at most `blocks` blocks from block number `first` on; the last may be a part of one.
    public static func scan(_ file: any DiskFile, _ segment: SegmentMeta, from first: Int, blocks: Int) -> Outcome {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentMeta.blockLength, alignment: 4096)
        defer { block.deallocate() }
        let length = Int(segment.end - segment.base)
        var index = first
        var bytes = 0
        while index * SegmentMeta.blockLength < length, index - first < blocks {
            let offset = index * SegmentMeta.blockLength
            let count = min(SegmentMeta.blockLength, length - offset)
            let part = UnsafeMutableRawBufferPointer(rebasing: block[..<count])
            let got: Int
            do throws(Errno) {
                got = try file.read(into: part, at: offset)
            } catch {
                return judge(error, at: offset, doing: "read")
            }
            if got < count { return .damaged(at: offset + got, what: "the file ends there, \(length - offset - got) bytes early") }
            let expected = index < segment.blockSums.count ? segment.blockSums[index] : segment.partialSum
            if Checksum.of(UnsafeRawBufferPointer(part)) != expected {
                return .damaged(at: offset, what: "the checksum of the \(count) bytes from there does not match")
            }
            bytes += count
            index += 1
        }
        return .sound(bytes: bytes)
    }
}
