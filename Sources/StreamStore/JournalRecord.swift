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
//     i64 time · u8 closed · u8 fork kind (0: none; 1 is reserved for a fork's origin, which follows then)
// of a delete:  i64 time.     of a renew:  i64 the moment until which reads have renewed the TTL

import StreamRules

public enum RecordBody: Sendable {
    case create(CreateRecord)
    case append(AppendRecord)
    case delete(time: Int64)
    /// Reads up to this moment (Unix milliseconds) have renewed the stream's TTL.
    case renew(until: Int64)
}

public struct CreateRecord: Sendable {
    public let name: [UInt8]
    public let configuration: StreamConfiguration
    public let time: Int64
    public let closed: Bool

    public init(name: [UInt8], configuration: StreamConfiguration, time: Int64, closed: Bool) {
        self.name = name
        self.configuration = configuration
        self.time = time
        self.closed = closed
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
            var length = 4 + record.name.count + 4 + record.configuration.contentType.bytes.count + 1 + 8 + 4 + 4 + 8 + 1 + 1
            if case .at(_, let text) = record.configuration.expiry { length += text.count }
            return length
        case .append(let record):
            var length = 8 + 8 + 1
            if let sequence = record.sequence { length += 4 + sequence.count }
            if let producer = record.producer { length += 4 + producer.id.count + 16 }
            return length
        case .delete, .renew: return 8
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
            cursor.put(UInt8(0))
        case .append(let record):
            cursor.put(record.position)
            cursor.put(record.time)
            cursor.put(UInt8((record.closes ? 1 : 0) | (record.sequence != nil ? 2 : 0) | (record.producer != nil ? 4 : 0)))
            if let sequence = record.sequence { cursor.put(sequence) }
            if let producer = record.producer {
                cursor.put(producer.id)
                cursor.put(producer.epoch)
                cursor.put(producer.sequence)
            }
        case .delete(let time): cursor.put(time)
        case .renew(let until): cursor.put(until)
        }
        precondition(cursor.pointer == out + headerLength + metadata, "the metadata's length was computed wrongly")
        let checksum = Checksum.of(UnsafeRawBufferPointer(start: out + 4, count: headerLength + metadata - 4))
        out.storeBytes(of: checksum.littleEndian, as: UInt32.self)
    }

    private struct Cursor {
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
        mutating func put(_ expiry: Expiry) {
            let form = storedForm(of: expiry)
            put(form.kind)
            put(form.value)
            put(form.text)
        }
    }

    /// Decodes the record at the beginning of `bytes`; nil when there is none that is whole and undamaged.
    public static func decode(_ bytes: UnsafeRawBufferPointer) -> View? {
        guard bytes.count >= headerLength else { return nil }
        func load<Value: FixedWidthInteger>(_ offset: Int, _ type: Value.Type) -> Value {
            Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
        }
        let length = Int(load(4, UInt32.self))
        let metadataLength = Int(load(28, UInt32.self))
        guard length >= headerLength, length <= bytes.count, metadataLength <= length - headerLength,
            Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[4..<headerLength + metadataLength])) == load(0, UInt32.self),
            load(25, UInt8.self) == version, let kind = Kind(rawValue: load(24, UInt8.self))
        else { return nil }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[headerLength + metadataLength..<length])
        guard Checksum.of(payload) == load(32, UInt32.self) else { return nil }
        var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[headerLength..<headerLength + metadataLength]))
        guard let body = try? decodeBody(kind, &reader), reader.remaining == 0 else { return nil }
        return View(
            lsn: load(8, UInt64.self), stream: load(16, UInt64.self), body: body, payload: payload, paddedLength: (length + 7) & ~7)
    }

    private static func decodeBody(_ kind: Kind, _ reader: inout ByteReader) throws(CodingFault) -> RecordBody {
        switch kind {
        case .create:
            let name = try reader.readString()
            let type = try reader.readString()
            let expiry = try decodeExpiry(&reader)
            let chunkSize = try reader.read(UInt32.self)
            let time = try reader.read(Int64.self)
            let closed = try reader.read(UInt8.self) != 0
            guard try reader.read(UInt8.self) == 0 else { throw .invalid("a fork's origin, which this version does not know") }
            let configuration = StreamConfiguration(contentType: ContentType(type), expiry: expiry, chunkSize: chunkSize)
            return .create(CreateRecord(name: name, configuration: configuration, time: time, closed: closed))
        case .append:
            let position = try reader.read(UInt64.self)
            let time = try reader.read(Int64.self)
            let flags = try reader.read(UInt8.self)
            let sequence = flags & 2 != 0 ? try reader.readString() : nil
            var producer: ProducerStamp?
            if flags & 4 != 0 {
                let id = try reader.readString()
                producer = ProducerStamp(id: id, epoch: try reader.read(UInt64.self), sequence: try reader.read(UInt64.self))
            }
            return .append(AppendRecord(position: position, time: time, closes: flags & 1 != 0, sequence: sequence, producer: producer))
        case .delete: return .delete(time: try reader.read(Int64.self))
        case .renew: return .renew(until: try reader.read(Int64.self))
        }
    }

    /// The form of an expiry in records and catalog entries; `decodeExpiry` reads it.
    static func storedForm(of expiry: Expiry) -> (kind: UInt8, value: UInt64, text: [UInt8]) {
        switch expiry {
        case .never: (0, 0, [])
        case .timeToLive(let seconds): (1, seconds, [])
        case .at(let milliseconds, let text): (2, UInt64(bitPattern: milliseconds), text)
        }
    }

    static func decodeExpiry(_ reader: inout ByteReader) throws(CodingFault) -> Expiry {
        let kind = try reader.read(UInt8.self)
        let value = try reader.read(UInt64.self)
        let text = try reader.readString()
        switch kind {
        case 0: return .never
        case 1: return .timeToLive(seconds: value)
        case 2: return .at(milliseconds: Int64(bitPattern: value), text: text)
        default: throw .invalid("expiry kind \(kind)")
        }
    }
}
