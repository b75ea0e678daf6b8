// Records, journal files and what a test sees of a stream.

import Glibc
import StreamRules
import StreamSimulation
import Testing

@testable import StreamStore

extension RecordBody {
    static func create(
        _ name: String, type: String = "text/plain", expiry: Expiry = .never, chunk: UInt32 = 1000, time: Int64 = 1, closed: Bool = false,
        origin: ForkOrigin? = nil
    ) -> RecordBody {
        .create(
            CreateRecord(
                name: Array(name.utf8),
                configuration: StreamConfiguration(contentType: ContentType(type), expiry: expiry, chunkSize: chunk),
                time: time, closed: closed, origin: origin))
    }

    static func append(at position: UInt64, time: Int64 = 2, closes: Bool = false, sequence: String? = nil, producer: ProducerStamp? = nil)
        -> RecordBody
    {
        .append(AppendRecord(position: position, time: time, closes: closes, sequence: sequence.map { Array($0.utf8) }, producer: producer))
    }

    /// Every field, for comparison.
    var fields: String {
        switch self {
        case .create(let record):
            "create \(record.name) \(record.configuration.contentType.bytes) \(record.configuration.expiry) \(record.configuration.chunkSize) \(record.time) \(record.closed) \(String(describing: record.origin))"
        case .append(let record):
            "append \(record.position) \(record.time) \(record.closes) \(String(describing: record.sequence)) \(String(describing: record.producer))"
        case .delete(let record): "delete \(record)"
        case .renew(let until): "renew \(until)"
        }
    }
}

struct Record: Sendable {
    let stream: UInt64
    let body: RecordBody
    let payload: [UInt8]

    init(_ stream: UInt64, _ body: RecordBody, _ payload: String = "") {
        self.stream = stream
        self.body = body
        self.payload = Array(payload.utf8)
    }

    init(_ stream: UInt64, _ body: RecordBody, _ payload: [UInt8]) {
        self.stream = stream
        self.body = body
        self.payload = payload
    }

    /// With padding.
    func encoded(lsn: UInt64) -> [UInt8] {
        let memory = UnsafeMutableRawBufferPointer.allocate(
            byteCount: JournalRecord.paddedLength(body, payload: payload.count), alignment: 8)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        let sum = payload.withUnsafeBytes { Checksum.of($0) }
        JournalRecord.encodeHead(
            body, lsn: lsn, stream: stream, payloadLength: payload.count, payloadChecksum: sum, to: memory.baseAddress!)
        let head = JournalRecord.headerLength + JournalRecord.metadataLength(body)
        for (index, byte) in payload.enumerated() { memory[head + index] = byte }
        return Array(memory)
    }
}

/// A small journal file made by hand: header, batches, `free` zeros.
struct FileText {
    var bytes: [UInt8]
    /// Where each batch begins, and behind the last its end.
    var batches: [Int] = []
    /// Where each record begins, with its LSN, and where it ends without and with padding.
    var records: [(lsn: UInt64, start: Int, end: Int, padded: Int)] = []

    init(number: UInt64, firstBatch: UInt64 = 1, firstLSN: UInt64 = 1, batches: [[Record]], free: Int = 128, alignment: Int = 8) {
        bytes = JournalFile.encodeHeader(number: number, size: 1 << 20, salt: 1000 + number, alignment: alignment)
        func pad() { bytes += [UInt8](repeating: 0, count: JournalFile.align(bytes.count, to: alignment) - bytes.count) }
        pad()
        var lsn = firstLSN
        for (index, batch) in batches.enumerated() {
            self.batches.append(bytes.count)
            let first = lsn
            var body: [UInt8] = []
            let base = bytes.count + JournalFile.batchHeaderLength
            for record in batch {
                let encoded = record.encoded(lsn: lsn)
                let length = JournalRecord.headerLength + JournalRecord.metadataLength(record.body) + record.payload.count
                records.append((lsn, base + body.count, base + body.count + length, base + body.count + encoded.count))
                body += encoded
                lsn += 1
            }
            var header = [UInt8](repeating: 0, count: JournalFile.batchHeaderLength)
            header.withUnsafeMutableBytes {
                JournalFile.BatchHeader(
                    file: number, number: firstBatch + UInt64(index), firstLSN: first, lastLSN: lsn - 1, byteCount: body.count,
                    salt: 1000 + number
                ).encode(to: $0.baseAddress!)
            }
            bytes += header + body
            pad()
        }
        self.batches.append(bytes.count)
        bytes += [UInt8](repeating: 0, count: free)
    }
}

/// What can be seen of a stream.
struct Seen: Equatable, CustomStringConvertible {
    var id: UInt64
    var name: String
    var content: String
    var closed: Bool
    var applied: UInt64
    var details: String

    init(_ image: StreamImage) {
        id = image.id
        name = String(decoding: image.name, as: UTF8.self)
        let slices = image.tail.slices(from: image.flushed, to: image.state.tail)
        content = String(decoding: slices.flatMap { Array($0.bytes) }, as: UTF8.self)
        closed = image.state.closed
        applied = image.appliedLSN
        let producers = image.state.producers.map { "\($0.key):\($0.value.epoch):\($0.value.sequence)" }.sorted()
        details =
            "\(image.configuration.contentType.text) \(image.configuration.expiry) \(image.configuration.chunkSize) \(image.createdAt) \(image.renewedUntil) \(image.state.tail) \(String(describing: image.state.closedBy)) \(String(describing: image.state.lastSequence)) \(producers) \(image.state.chunks) \(image.flushed) \(image.tail.end) \(image.sealed) \(image.active) \(String(describing: image.origin)) \(image.forks) \(image.isRetained) \(image.cutsAtStart)"
    }

    var description: String { "#\(id) \(name) \"\(content)\" closed \(closed) applied \(applied) \(details)" }
}

extension Recovered {
    var seen: [Seen] { streams.map { Seen($0) } }
    /// Name and content of each stream.
    var contents: [String: String] {
        Dictionary(uniqueKeysWithValues: seen.map { ($0.name, $0.content) })
    }
}

let journalPath = "/data/journal"

func journalFile(_ number: UInt64) -> String { journalPath + "/" + JournalFile.name(number) }

func recover(_ disk: any Disk, _ catalog: any Catalog = SimulatedCatalog()) throws -> Recovered {
    var recovery = Recovery(disk: disk, journal: journalPath, catalog: catalog)
    return try recovery.run()
}

/// Runs recovery over files made by hand.
func recover(_ files: [UInt64: [UInt8]], _ catalog: any Catalog = SimulatedCatalog()) throws -> Recovered {
    try recover(SimulatedDisk(files: Dictionary(uniqueKeysWithValues: files.map { (journalFile($0.key), $0.value) })), catalog)
}

func isRecoveryFault(_ body: () throws -> Recovered) -> String? {
    do {
        _ = try body()
        return nil
    } catch let fault as RecoveryFault {
        return fault.description
    } catch {
        Issue.record("another error: \(error)")
        return nil
    }
}
