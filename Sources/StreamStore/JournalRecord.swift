// One record per accepted command, whatever it changes; so data and producer state commit or vanish together.
//
//      0   u32  CRC32C of bytes 4 ..< 40 + metadata length
//      4   u32  length of the whole record without padding
//      8   u64  LSN, one more than the record before
//     16   u64  stream id (never used twice)
//     24   u8   kind: 1 create, 2 append, 3 delete, 4 renew      u8 version (1)      u16 zero
//     28   u32  metadata length
//     32   u32  CRC32C of the payload
//     36   u32  zero
//     40        metadata (below), then the payload: stored bytes; zero padding to a multiple of 8
//
// Metadata of an append (a close is an append that closes):
//     u64 position of the payload · i64 time, Unix ms · u8 flags: 1 closes, 2 has Stream-Seq, 4 has producer
//     [string Stream-Seq] [string producer id, u64 epoch, u64 sequence]
// of a create:  string name · string content type · u8 expiry kind (0 never, 1 TTL, 2 at) · u64 value · string text · u32 chunk size
//     i64 time · u8 closed · u8 fork kind (0: none; 1: a fork's origin follows)
//     origin: u64 source id · string source name · u64 offset · u8 1 if it was given · u64 sub-offset · u64 position · u64 last cut
// of a delete:  i64 time · [u8 1 if the stream is kept for its forks · u64 source id, 0 if it is no fork]
// of a renew:  i64 the moment until which reads have renewed the TTL
//
// The record that creates a fork also counts it at its source, and the one that deletes it takes it off again: so the number of
// forks is exact after any crash, without a record of its own.

import StreamRules

public enum RecordBody: Sendable {
    case create(CreateRecord)
    case append(AppendRecord)
    case delete(DeleteRecord)
    /// Reads up to this moment (Unix milliseconds) have renewed the stream's TTL.
    case renew(until: Int64)
}

public struct CreateRecord: Sendable {
    public let name: [UInt8]
    public let configuration: StreamConfiguration
    public let time: Int64
    public let closed: Bool
    public let origin: ForkOrigin?

    public init(name: [UInt8], configuration: StreamConfiguration, time: Int64, closed: Bool, origin: ForkOrigin? = nil) {
        self.name = name
        self.configuration = configuration
        self.time = time
        self.closed = closed
        self.origin = origin
    }

    /// The position of the stream's first own byte.
    public var start: UInt64 { origin?.position ?? 0 }
}

public struct DeleteRecord: Sendable, Equatable {
    public let time: Int64
    /// The stream has forks: it is gone for everyone but them.
    public let retains: Bool
    /// The source of the fork that is deleted.
    public let sourceID: UInt64?

    public init(time: Int64, retains: Bool = false, sourceID: UInt64? = nil) {
        self.time = time
        self.retains = retains
        self.sourceID = sourceID
    }
}

public struct AppendRecord: Sendable {
    public let position: UInt64
    public let time: Int64
    public let closes: Bool
    public let sequence: [UInt8]?
    public let producer: ProducerStamp?

    public init(position: UInt64, time: Int64, closes: Bool, sequence: [UInt8]?, producer: ProducerStamp?) {
        self.position = position
        self.time = time
        self.closes = closes
        self.sequence = sequence
        self.producer = producer
    }
}

public enum JournalRecord {
    public static let headerLength = 40
    static let version: UInt8 = 1

    enum Kind: UInt8 {
        case create = 1
        case append = 2
        case delete = 3
        case renew = 4
    }

    /// A decoded record; `payload` points into the bytes it was read from.
    public struct View {
        public let lsn: UInt64
        public let stream: UInt64
        public let body: RecordBody
        public let payload: UnsafeRawBufferPointer
        /// With padding.
        public let paddedLength: Int
    }

    public static func metadataLength(_ body: RecordBody) -> Int {
        switch body {
        case .create(let record):
            let configuration = record.configuration
            return 4 + record.name.count + 4 + configuration.contentType.bytes.count + StoredLength.of(configuration.expiry) + 4 + 8 + 1 + 1
                + (record.origin.map(StoredLength.of) ?? 0)
        case .append(let record):
            var length = 8 + 8 + 1
            if let sequence = record.sequence { length += 4 + sequence.count }
            if let producer = record.producer { length += StoredLength.of(producer) }
            return length
        case .delete: return 17
        case .renew: return 8
        }
    }

    public static func paddedLength(_ body: RecordBody, payload: Int) -> Int {
        (headerLength + metadataLength(body) + payload + 7) & ~7
    }

    /// Writes header and metadata to `out` (the first `headerLength + metadataLength` bytes of a record). The payload's checksum is given.
    static func encodeHead(
        _ body: RecordBody, lsn: UInt64, stream: UInt64, payloadLength: Int, payloadChecksum: UInt32, to out: UnsafeMutableRawPointer
    ) {
        let metadata = metadataLength(body)
        var cursor = Cursor(out)
        cursor.put(UInt32(0))
        cursor.put(UInt32(headerLength + metadata + payloadLength))
        cursor.put(lsn)
        cursor.put(stream)
        let kind: Kind =
            switch body {
            case .create: .create
            case .append: .append
            case .delete: .delete
            case .renew: .renew
            }
        cursor.put(kind.rawValue)
        cursor.put(version)
        cursor.put(UInt16(0))
        cursor.put(UInt32(metadata))
        cursor.put(payloadChecksum)
        cursor.put(UInt32(0))
        switch body {
        case .create(let record):
            cursor.put(record.name)
            cursor.put(record.configuration.contentType.bytes)
            cursor.put(record.configuration.expiry)
            cursor.put(record.configuration.chunkSize)
            cursor.put(record.time)
            cursor.put(UInt8(record.closed ? 1 : 0))
            cursor.put(UInt8(record.origin == nil ? 0 : 1))
            if let origin = record.origin { cursor.put(origin) }
        case .append(let record):
            cursor.put(record.position)
            cursor.put(record.time)
            cursor.put(UInt8((record.closes ? 1 : 0) | (record.sequence != nil ? 2 : 0) | (record.producer != nil ? 4 : 0)))
            if let sequence = record.sequence { cursor.put(sequence) }
            if let producer = record.producer { cursor.put(producer) }
        case .delete(let record):
            cursor.put(record.time)
            cursor.put(UInt8(record.retains ? 1 : 0))
            cursor.put(record.sourceID ?? 0)
        case .renew(let until): cursor.put(until)
        }
        precondition(cursor.pointer == out + headerLength + metadata, "the metadata's length was computed wrongly")
        let checksum = Checksum.of(UnsafeRawBufferPointer(start: out + 4, count: headerLength + metadata - 4))
        out.storeBytes(of: checksum.littleEndian, as: UInt32.self)
    }

    private struct Cursor: ByteOutput {
        var pointer: UnsafeMutableRawPointer
        init(_ pointer: UnsafeMutableRawPointer) { self.pointer = pointer }

        @inline(__always)
        mutating func put<Value: FixedWidthInteger>(_ value: Value) {
            pointer.storeBytes(of: value.littleEndian, as: Value.self)
            pointer += MemoryLayout<Value>.size
        }
        mutating func put(_ string: [UInt8]) {
            put(UInt32(string.count))
            string.withUnsafeBytes { if let base = $0.baseAddress { pointer.copyMemory(from: base, byteCount: $0.count) } }
            pointer += string.count
        }
    }

    /// What stands at the beginning of some bytes.
    public enum Decoded {
        case record(View)
        /// A record that was written whole, its checksums say, by a server that knows more kinds or versions than this one.
        case newer(lsn: UInt64, kind: UInt8, version: UInt8)
        /// No record, or one that is cut off or damaged.
        case none

        /// The record that this server knows.
        var record: View? { if case .record(let view) = self { view } else { nil } }
    }

    public static func decode(_ bytes: UnsafeRawBufferPointer) -> Decoded {
        guard bytes.count >= headerLength else { return .none }
        func load<Value: FixedWidthInteger>(_ offset: Int, _ type: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        let length = Int(load(4, UInt32.self))
        let metadataLength = Int(load(28, UInt32.self))
        guard length >= headerLength, length <= bytes.count, metadataLength <= length - headerLength,
            Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[4..<headerLength + metadataLength])) == load(0, UInt32.self)
        else { return .none }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[headerLength + metadataLength..<length])
        guard Checksum.of(payload) == load(32, UInt32.self) else { return .none }
        let newer = Decoded.newer(lsn: load(8, UInt64.self), kind: load(24, UInt8.self), version: load(25, UInt8.self))
        guard load(25, UInt8.self) == version, let kind = Kind(rawValue: load(24, UInt8.self)) else { return newer }
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[headerLength..<headerLength + metadataLength]))
        guard let body = try? decodeBody(kind, &reader), reader.remaining == 0 else { return newer }
        return .record(
            View(lsn: load(8, UInt64.self), stream: load(16, UInt64.self), body: body, payload: payload, paddedLength: (length + 7) & ~7))
    }

    private static func decodeBody(_ kind: Kind, _ reader: inout ByteReader) throws(CodingFault) -> RecordBody {
        switch kind {
        case .create:
            let name = try reader.readString()
            let type = try reader.readString()
            let expiry = try reader.readExpiry()
            let chunkSize = try reader.read(UInt32.self)
            let time = try reader.read(Int64.self)
            let closed = try reader.read(UInt8.self) != 0
            let origin = try reader.read(UInt8.self) == 0 ? nil : try reader.readOrigin()
            let configuration = StreamConfiguration(contentType: ContentType(type), expiry: expiry, chunkSize: chunkSize)
            return .create(CreateRecord(name: name, configuration: configuration, time: time, closed: closed, origin: origin))
        case .append:
            let position = try reader.read(UInt64.self)
            let time = try reader.read(Int64.self)
            let flags = try reader.read(UInt8.self)
            let sequence = flags & 2 != 0 ? try reader.readString() : nil
            let producer = flags & 4 != 0 ? try reader.readProducer() : nil
            return .append(AppendRecord(position: position, time: time, closes: flags & 1 != 0, sequence: sequence, producer: producer))
        case .delete:
            let time = try reader.read(Int64.self)
            // Records of before there were forks end here.
            if reader.remaining == 0 { return .delete(DeleteRecord(time: time)) }
            let retains = try reader.read(UInt8.self) != 0
            let source = try reader.read(UInt64.self)
            return .delete(DeleteRecord(time: time, retains: retains, sourceID: source == 0 ? nil : source))
        case .renew: return .renew(until: try reader.read(Int64.self))
        }
    }
}
