// What is on the disk, as lines of text for a person. Nothing is written, and nothing is taken for granted: what cannot be read is
// shown as such, and the rest follows.

import Glibc
import StreamRules
import SystemCalls
import SystemPackage

public enum StoreInspection {
    // MARK: Journal

    public static func journal(_ path: String, file only: UInt64?, records: Bool, _ line: (String) -> Void) throws {
        _ = try DataDirectory.existingFormat(path)
        let directory = path + "/journal"
        for name in try SystemDisk().list(directory) {
            guard let number = JournalFile.number(of: name), only == nil || only == number else { continue }
            let memory = OwnedBytes(capacity: 0)
            var reader = try JournalReader(try SystemDisk().open(directory + "/" + name, .readOnly), number: number, memory: memory)
            switch reader.start {
            case .newer(let version):
                line("\(name): version \(version), which this program does not know")
                continue
            case .unreadable: line("\(name): \(reader.size) bytes, no valid header")
            case .foreign(let found): line("\(name): file \(found) about to be used again, \(reader.size) bytes")
            case .valid: line("\(name): file \(number), \(reader.size) bytes, batches at multiples of \(reader.alignment)")
            }
            try show(&reader, records: records, line)
        }
    }

    private static func show(_ reader: inout JournalReader, records: Bool, _ line: (String) -> Void) throws {
        var lastBatch: UInt64?
        while let batch = try reader.next() {
            // What an earlier use of the file has left.
            if let lastBatch, batch.number != lastBatch + 1 { break }
            lastBatch = batch.number
            line("  \(reader.offset): batch \(batch.number), records \(batch.firstLSN) to \(batch.lastLSN), \(batch.byteCount) bytes")
            let (end, _) = try reader.read(batch) { record, offset in
                if records { line("    \(offset): \(record.lsn) stream \(record.stream) \(text(record))") }
            }
            switch end {
            case .whole: break
            case .newer(let lsn, let kind, let version, let offset):
                line("    \(offset): \(lsn) of kind \(kind), version \(version), which this program does not know")
            case .broken(_, let offset): line("    \(offset): no valid record; the batch is torn or damaged")
            }
        }
        let offset = min(reader.offset, reader.size)
        line("  \(offset): end")
        if let later = try reader.laterBatch(behind: offset + 8, atLeast: (lastBatch ?? 0) + 1) {
            line("  \(later.offset): batch \(later.number) lies behind that end: the file is damaged")
        }
    }

    private static func text(_ record: JournalRecord.View) -> String {
        switch record.body {
        case .create(let create):
            "create \(StreamLabel.text(create.name)), \(create.configuration.contentType.text)\(text(create.configuration.expiry))"
                + (create.origin.map { ", fork of stream \($0.sourceID) (\(StreamLabel.text($0.source))) at \($0.position)" } ?? "")
                + (create.closed ? ", closed" : "") + ", \(record.payload.count) bytes"
        case .append(let append):
            "append \(record.payload.count) bytes at \(append.position)" + (append.closes ? ", closes" : "")
                + (append.sequence.map { ", Stream-Seq \(String(decoding: $0, as: UTF8.self))" } ?? "")
                + (append.producer.map { ", producer \(String(decoding: $0.id, as: UTF8.self)) \($0.epoch)/\($0.sequence)" } ?? "")
        case .delete(let delete):
            "delete" + (delete.retains ? ", kept for its forks" : "") + (delete.sourceID.map { ", a fork of stream \($0)" } ?? "")
        case .renew(let until): "renewed until \(until)"
        }
    }

    private static func text(_ expiry: Expiry) -> String {
        switch expiry {
        case .never: ""
        case .timeToLive(let seconds): ", TTL \(seconds) s"
        case .at(_, let text): ", expires at \(String(decoding: text, as: UTF8.self))"
        }
    }

    // MARK: Catalog

    public static func catalog(_ path: String, stream: String?, _ line: (String) -> Void) throws {
        let catalog = try opened(path)
        if let stream {
            try describe(try image(stream, catalog), line)
            return
        }
        let mark = try catalog.mark()
        line("\(mark.streamCount) streams, checkpoint at record \(mark.checkpointLSN), next stream id \(mark.nextStreamID)")
        var after: [UInt8]?
        while true {
            let rows = try catalog.rows(after: after, limit: 256)
            guard let last = rows.last else { return }
            after = last.key
            for row in rows {
                switch row.image {
                case .failure(let fault): line("\(StreamLabel.text(row.key)): \(fault)")
                case .success(let image):
                    line(
                        "\(StreamLabel.text(image.name)): id \(image.id), \(image.configuration.contentType.text), \(image.state.tail - image.start) bytes"
                            + (image.origin.map { " from \($0.position) on, fork of \(StreamLabel.text($0.source))" } ?? "")
                            + (image.forks > 0 ? ", \(image.forks) forks" : "") + (image.isRetained ? ", deleted and kept for them" : "")
                            + (image.state.closed ? ", closed" : "") + text(image.configuration.expiry))
                }
            }
        }
    }

    private static func opened(_ path: String) throws -> LMDBCatalog {
        _ = try DataDirectory.existingFormat(path)
        return try LMDBCatalog(reading: path + "/catalog")
    }

    private static func image(_ stream: String, _ catalog: LMDBCatalog) throws -> StreamImage {
        guard let image = try catalog.image(named: Array(stream.utf8)) else {
            throw CatalogFault("the catalog has no stream \(stream); one that was created after the last checkpoint is in the journal only")
        }
        return image
    }

    private static func describe(_ image: StreamImage, _ line: (String) -> Void) throws {
        line("name          \(StreamLabel.text(image.name))")
        line("id            \(image.id)")
        line("content type  \(image.configuration.contentType.text)\(text(image.configuration.expiry))")
        line(
            "created       \(image.createdAt) ms, renewed until \(image.renewedUntil) ms"
                + (image.deadline.map { ", ends at \($0) ms" } ?? ""))
        line("applied       record \(image.appliedLSN)")
        line("bytes         \(image.start) to \(image.state.tail), in segments up to \(image.flushed), the rest in the entry")
        line("chunks        of \(image.configuration.chunkSize) bytes, the open one begins at \(image.state.chunks.lastCut)")
        if let origin = image.origin {
            line(
                "origin        \(StreamLabel.text(origin.source)) (id \(origin.sourceID)), offset \(origin.offset), sub-offset \(origin.subOffset)"
            )
        }
        if image.forks > 0 || image.isRetained {
            line("forks         \(image.forks)" + (image.isRetained ? ", deleted and kept for them" : ""))
        }
        if image.state.closed { line("closed") }
        if let sequence = image.state.lastSequence { line("Stream-Seq    \(String(decoding: sequence, as: UTF8.self))") }
        for (id, producer) in image.state.producers.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            line("producer      \(String(decoding: id, as: UTF8.self)): epoch \(producer.epoch), sequence \(producer.sequence)")
        }
    }

    // MARK: Segments

    public static func segments(_ path: String, stream: String, _ line: (String) -> Void) throws {
        let catalog = try opened(path)
        let image = try image(stream, catalog)
        let segments = try catalog.segments(of: image.id)
        if segments.isEmpty { line("no segment: all \(image.state.tail - image.start) bytes are in the catalog's entry") }
        for segment in segments {
            let name = path + "/streams/" + SegmentFile.directory(stream: image.id) + "/" + SegmentFile.name(base: segment.base)
            line(
                "\(name): \(segment.base) to \(segment.end), \(segment.sealed ? "sealed" : "open"), \(segment.cuts.count) chunk ends, \(segment.blockSums.count) full blocks of \(SegmentMeta.blockLength)"
            )
            do throws(Errno) {
                switch SegmentScan.scan(try SystemDisk().open(name, .readOnly), segment, from: 0, blocks: .max) {
                case .sound(let bytes): line("  \(bytes) bytes, all checksums match")
                case .unknown(let what): line("  \(what)")
                case .damaged(let at, let what): line("  DAMAGE at byte \(at) of the file: \(what)")
                }
            } catch {
                line("  cannot be opened: \(error.text)")
            }
        }
    }
}
