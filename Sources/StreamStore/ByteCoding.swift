// Little-endian integers and length-prefixed byte strings: the vocabulary of every on-disk form here. Values that several of those forms have in
// them are written and read in one way (`StoredValues.swift`).
//
// A reader never trusts its input: each `read` fails with `.truncated` when the bytes end early, and a count is checked against
// what is left before anything is allocated.

/// Where the bytes of an on-disk form go.
protocol ByteOutput {
    mutating func put<Value: FixedWidthInteger>(_ value: Value)
    /// u32 count, then the bytes.
    mutating func put(_ string: [UInt8])
}

public struct ByteWriter: ByteOutput {
    public private(set) var bytes: [UInt8] = []

    public init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    public mutating func put<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    public mutating func put(_ string: [UInt8]) {
        put(UInt32(string.count))
        bytes.append(contentsOf: string)
    }

    public mutating func putRaw(_ raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }
}

public enum CodingFault: Error, Equatable, Sendable {
    case truncated
    case invalid(String)
}

public struct ByteReader {
    public let bytes: UnsafeRawBufferPointer
    public private(set) var position = 0

    public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    public var remaining: Int { bytes.count - position }

    public mutating func read<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(CodingFault) -> Value {
        guard remaining >= MemoryLayout<Value>.size else { throw .truncated }
        let value = Value(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
        position += MemoryLayout<Value>.size
        return value
    }

    public mutating func readString() throws(CodingFault) -> [UInt8] {
        let count = Int(try read(UInt32.self))
        return Array(try readRaw(count))
    }

    public mutating func readRaw(_ count: Int) throws(CodingFault) -> UnsafeRawBufferPointer {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }
}
