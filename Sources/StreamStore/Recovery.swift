// Recovery: what the catalog holds plus what the journal adds after the checkpoint.
//
// `JournalReader` says how each file ends. Acknowledged data that is damaged is not started over silently.
// A file may end torn and be followed by another: then a server was started in between and went on at the next LSN.
//
// Recovery writes nothing, so it can be killed and repeated.

import StreamRules
import SystemCalls
import SystemPackage

public struct RecoveryFault: Error, Sendable, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

public struct Recovered: Sendable {
    /// Streams that the journal changed after the checkpoint.
    public var streams: [StreamImage] = []
    /// Streams that it deleted: their catalog entries and files are still to be removed.
    public var deleted: [StreamImage] = []
    public var position = JournalPosition()
    public var nextStreamID: UInt64 = 1
    public var streamCount = 0
    public var recordsReplayed = 0
    public var bytesRead = 0
    /// What an operator may want to know: torn ends, ignored files.
    public var notes: [String] = []
}

public struct Recovery {
    private let disk: any Disk
    private let directory: String
    private let catalog: any Catalog
    private let progress: (Double) -> Void

    /// An image in its place: a record changes it there, and the whole of it is never copied.
    private final class Replayed {
        var image: StreamImage
        init(_ image: StreamImage) { self.image = image }
    }

    private var streams: [UInt64: Replayed] = [:]
    private var deleted: [UInt64: Replayed] = [:]
    /// Of the window in which the files are read.
    private var memory = OwnedBytes(capacity: 0)
    /// Streams that neither the catalog nor the journal knows: deleted, and the deletion checkpointed already.
    private var unknown: Set<UInt64> = []
    private var result = Recovered()
    private var mark = CatalogMark()

    /// `progress` is called with 0…1 now and then.
    public init(disk: any Disk, journal directory: String, catalog: any Catalog, progress: @escaping (Double) -> Void = { _ in }) {
        self.disk = disk
        self.directory = directory
        self.catalog = catalog
        self.progress = progress
    }

    public mutating func run() throws -> Recovered {
        mark = try catalog.mark()
        result.nextStreamID = mark.nextStreamID
        result.position.lastLSN = mark.checkpointLSN
        result.streamCount = mark.streamCount
        let numbers = try disk.list(directory).compactMap { JournalFile.number(of: $0) }.sorted()
        result.position.highestNumber = numbers.last ?? 0
        var lastBatch: UInt64?
        var lastLSN: UInt64?
        for (index, number) in numbers.enumerated() {
            progress(Double(index) / Double(numbers.count))
            try read(number, lastBatch: &lastBatch, lastLSN: &lastLSN)
        }
        progress(1)
        result.position.lastBatch = lastBatch ?? 0
        result.position.lastLSN = max(mark.checkpointLSN, lastLSN ?? 0)
        // A crash may bring back a file that was dropped; one that somebody has put there looks the same.
        if let lastLSN, lastLSN < mark.checkpointLSN {
            result.notes.append(
                "the journal ends with LSN \(lastLSN), the catalog with \(mark.checkpointLSN): nothing in the journal is new")
        }
        memory = OwnedBytes(capacity: 0)
        result.streams = streams.values.map { $0.image }.sorted { $0.id < $1.id }
        result.deleted = deleted.values.map { $0.image }.sorted { $0.id < $1.id }
        return result
    }

    private mutating func read(_ number: UInt64, lastBatch: inout UInt64?, lastLSN: inout UInt64?) throws {
        let name = JournalFile.name(number)
        var reader = try JournalReader(try disk.open(directory + "/" + name, .readOnly), number: number, memory: memory)
        result.bytesRead += reader.size
        switch reader.start {
        case .valid: break
        case .newer(let version):
            throw RecoveryFault("the journal file \(directory)/\(name) has version \(version), which this server does not know")
        case .unreadable:
            result.notes.append("\(name) has no valid header; its batches, if it has any, speak for themselves")
        case .foreign(let found):
            if let batch = try reader.laterBatch(
                behind: JournalFile.headerLength, of: found, atLeast: 0, beyond: mark.checkpointLSN)
            {
                throw RecoveryFault(
                    "the journal file \(directory)/\(name) says that it is file \(found) and has records up to LSN \(batch.lastLSN); was it renamed?"
                )
            }
            result.notes.append("\(name) is file \(found) about to be used again; it holds nothing new")
        }
        var fileLastLSN = lastLSN ?? 0
        while let header = try next(&reader, name, lastBatch, lastLSN) {
            let (end, written) = try reader.read(header) { record, _ in
                try apply(record)
                lastLSN = record.lsn
                fileLastLSN = record.lsn
            }
            lastBatch = header.number
            result.position.lastWrite = (number, written)
            switch end {
            case .whole: continue
            case .newer(let lsn, let kind, let version, let position):
                throw RecoveryFault(
                    "the journal file \(directory)/\(name) has record \(lsn) of kind \(kind), version \(version), at byte \(position), which this server does not know: a newer server has written it"
                )
            case .broken(let lsn, let position):
                if let later = try reader.laterBatch(behind: reader.offset, atLeast: header.number + 1) {
                    throw RecoveryFault(
                        "the journal file \(directory)/\(name) is damaged at byte \(position), record \(lsn): batch \(later.number) at byte \(later.offset) shows that it was complete once"
                    )
                }
                result.notes.append("\(name) ends torn at byte \(position); records from \(lsn) on were never acknowledged")
            }
            break
        }
        result.position.files.append(Journal.LiveFile(number: number, size: reader.size, lastLSN: fileLastLSN))
    }

    /// The batch that follows in this file, if one does; that there is none is an end, or a fault.
    private mutating func next(
        _ reader: inout JournalReader, _ name: String, _ lastBatch: UInt64?, _ lastLSN: UInt64?
    ) throws -> JournalFile.BatchHeader? {
        let offset = reader.offset
        let header = try reader.next()
        // Files before the checkpoint may be gone or about to be used again; a gap among them is none.
        let follows = lastBatch == nil || header?.number == lastBatch! + 1
        let skips = offset == reader.firstOffset && (header.map { $0.firstLSN <= mark.checkpointLSN + 1 } ?? false)
        guard let header, follows || skips, reader.isWithin(header) else {
            // Before the first batch any number may come.
            let expected = lastBatch.map { $0 + 1 } ?? header?.number ?? 0
            if let header, header.number > expected {
                throw RecoveryFault(
                    "the journal \(directory) lacks batches \(expected) to \(header.number - 1): \(name) goes on with batch \(header.number) at byte \(offset); is a file missing?"
                )
            }
            if let later = try reader.laterBatch(behind: offset + 8, atLeast: expected + 1) {
                throw RecoveryFault(
                    "the journal file \(directory)/\(name) is damaged at byte \(offset): a batch was there, because batch \(later.number) at byte \(later.offset) was written after it"
                )
            }
            if let header, follows || skips {
                result.notes.append(
                    "\(name) ends at byte \(reader.size), within batch \(header.number) at byte \(offset), which is left out: the file has been cut off, no crash does that"
                )
            }
            return nil
        }
        if let lastLSN, header.firstLSN != lastLSN + 1, !(skips && header.firstLSN > lastLSN) {
            throw RecoveryFault(
                "the journal file \(directory)/\(name) goes on with LSN \(header.firstLSN) at byte \(offset) where \(lastLSN + 1) was expected: records before it are damaged or missing"
            )
        }
        if lastLSN == nil, header.firstLSN > mark.checkpointLSN + 1 {
            throw RecoveryFault(
                "the journal begins with LSN \(header.firstLSN) in \(name), but the catalog ends with \(mark.checkpointLSN); a journal file is missing or the catalog is older than the journal"
            )
        }
        return header
    }

    private mutating func apply(_ record: JournalRecord.View) throws {
        guard record.lsn > mark.checkpointLSN else { return }
        result.recordsReplayed += 1
        result.nextStreamID = max(result.nextStreamID, record.stream + 1)
        if case .create(let create) = record.body {
            if let origin = create.origin { try count(+1, at: origin.sourceID, record.lsn) }
            if let image = try catalog.image(id: record.stream) {
                streams[record.stream] = Replayed(image)
                return
            }
            let stream = Replayed(StreamImage(id: record.stream, lsn: record.lsn, record: create))
            streams[record.stream] = stream
            result.streamCount += 1
            let first = AppendRecord(position: create.start, time: create.time, closes: create.closed, sequence: nil, producer: nil)
            Self.take(first, record, stream)
            return
        }
        // Before the stream itself is looked for: its source outlives it.
        if case .delete(let delete) = record.body, let source = delete.sourceID { try count(-1, at: source, record.lsn) }
        guard let stream = try load(record.stream), record.lsn > stream.image.appliedLSN else { return }
        switch record.body {
        case .create: preconditionFailure("handled above")
        case .append(let append):
            guard append.position == stream.image.state.tail, !stream.image.state.closed else {
                throw RecoveryFault(
                    "record \(record.lsn) appends to stream \(record.stream) at \(append.position), but its tail is \(stream.image.state.tail)"
                )
            }
            Self.take(append, record, stream)
        case .delete(let delete):
            if delete.retains {
                stream.image.isRetained = true
                stream.image.appliedLSN = record.lsn
            } else {
                deleted[record.stream] = streams.removeValue(forKey: record.stream)
                result.streamCount -= 1
            }
        case .renew(let until):
            stream.image.renewedUntil = max(stream.image.renewedUntil, until)
            stream.image.appliedLSN = record.lsn
        }
    }

    /// A stream as it is by now; its entry comes from the catalog, if it is not here yet and there is one.
    private mutating func load(_ id: UInt64) throws -> Replayed? {
        if let stream = streams[id] { return stream }
        guard deleted[id] == nil, !unknown.contains(id) else { return nil }
        guard let image = try catalog.image(id: id) else {
            unknown.insert(id)
            return nil
        }
        let stream = Replayed(image)
        streams[id] = stream
        return stream
    }

    /// A fork of the stream has come or gone.
    private mutating func count(_ change: Int, at source: UInt64, _ lsn: UInt64) throws {
        guard let stream = try load(source), lsn > stream.image.appliedLSN else { return }
        guard change > 0 || stream.image.forks > 0 else {
            throw RecoveryFault("record \(lsn) deletes a fork of stream \(source), which has none")
        }
        stream.image.forks = change > 0 ? stream.image.forks + 1 : stream.image.forks - 1
        stream.image.appliedLSN = lsn
    }

    private static func take(_ append: AppendRecord, _ record: JournalRecord.View, _ stream: Replayed) {
        stream.image.tail.append(record.payload)
        stream.image.take(append, added: record.payload, lsn: record.lsn)
    }
}
