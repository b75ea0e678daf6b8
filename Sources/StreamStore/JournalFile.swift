// The form of a journal file.
//
//     0         first     first + 64 + n, aligned
//     [ header ][ batch 1             ][ batch 2 ] … [ zeros, or what an earlier life of the file left ]
//                 [ batch header | record | record … | padding ]
//
// Every batch begins at a multiple of the file's alignment: 4096 where batches are written past the page cache (half the CPU time of a
// sync: no pages to lock, write back and wait for), else 8. The first begins at the first multiple behind the header. Such a file is also
// filled with zeros before it is used: the first write to a block that is only reserved changes the file's metadata, and every sync would
// then wait for the file system's own journal, too.
//
// A batch is what one write and one sync made durable. Batch numbers go up by one through all files, and batch n + 1 is written only
// after the sync of batch n has returned. So a damaged batch with a good later batch behind it was acknowledged once and is damage,
// while a damaged last batch is a write that never finished ("torn") and holds nothing that was acknowledged.
// Files are recycled: the batch header names the file's number, so that what an earlier life left is never taken for new.
// The salt is a random number of this life of the file. Nobody outside knows it, so no client can send content that looks like a batch.
//
// File header:   0 "DSJOURN1"  8 u32 CRC32C of bytes 12 ..< 64   12 u32 version   16 u64 file number   24 u64 file size
//               32 u64 salt   40 u32 alignment   zeros                       (version 1 has no alignment: 8)
// Batch header:  0 u32 "DSB1"  4 u32 CRC32C of bytes 8 ..< 64    8 u64 file number  16 u64 batch number  24 u64 first LSN
//               32 u64 last LSN  40 u64 bytes of records behind this header  48 u64 salt  56 zeros

public enum JournalFile {
    public static let headerLength = 64
    public static let batchHeaderLength = 64
    static let magic: UInt64 = 0x314e_5255_4f4a_5344  // "DSJOURN1"
    static let batchMagic: UInt32 = 0x3142_5344  // "DSB1"
    static let version: UInt32 = 2

    /// Where the first batch begins.
    static func firstBatch(alignment: Int) -> Int { max(headerLength, alignment) }
    static func align(_ position: Int, to alignment: Int) -> Int { (position + alignment - 1) & ~(alignment - 1) }

    /// `0000000000000001.journal`
    public static func name(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 16 - digits.utf8.count)) + digits + ".journal"
    }

    public static func number(of name: String) -> UInt64? {
        guard name.hasSuffix(".journal"), name.utf8.count == 24 else { return nil }
        guard let number = UInt64(name.dropLast(8)), self.name(number) == name else { return nil }
        return number
    }

    static func encodeHeader(number: UInt64, size: Int, salt: UInt64, alignment: Int = 8) -> [UInt8] {
        var header = [UInt8](repeating: 0, count: headerLength)
        header.withUnsafeMutableBytes { bytes in
            bytes.storeBytes(of: magic.littleEndian, toByteOffset: 0, as: UInt64.self)
            bytes.storeBytes(of: version.littleEndian, toByteOffset: 12, as: UInt32.self)
            bytes.storeBytes(of: number.littleEndian, toByteOffset: 16, as: UInt64.self)
            bytes.storeBytes(of: UInt64(size).littleEndian, toByteOffset: 24, as: UInt64.self)
            bytes.storeBytes(of: salt.littleEndian, toByteOffset: 32, as: UInt64.self)
            bytes.storeBytes(of: UInt32(alignment).littleEndian, toByteOffset: 40, as: UInt32.self)
            let checksum = Checksum.of(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[12..<headerLength]))
            bytes.storeBytes(of: checksum.littleEndian, toByteOffset: 8, as: UInt32.self)
        }
        return header
    }

    public enum HeaderVerdict: Equatable, Sendable {
        case valid(number: UInt64, salt: UInt64, alignment: Int)
        case damaged
        case newer(version: UInt32)
    }

    static func decodeHeader(_ bytes: UnsafeRawBufferPointer) -> HeaderVerdict {
        guard bytes.count >= headerLength, UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)) == magic,
            UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
                == Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[12..<headerLength]))
        else { return .damaged }
        let found = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
        if found > version { return .newer(version: found) }
        let alignment = found == 1 ? 8 : Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 40, as: UInt32.self)))
        guard alignment >= 8, alignment <= 1 << 20, alignment & (alignment - 1) == 0 else { return .damaged }
        return .valid(
            number: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
            salt: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 32, as: UInt64.self)), alignment: alignment)
    }

    public struct BatchHeader: Equatable, Sendable {
        public var file: UInt64
        public var number: UInt64
        public var firstLSN: UInt64
        public var lastLSN: UInt64
        public var byteCount: Int
        /// The file's.
        public var salt: UInt64

        func encode(to out: UnsafeMutableRawPointer) {
            out.initializeMemory(as: UInt8.self, repeating: 0, count: batchHeaderLength)
            out.storeBytes(of: batchMagic.littleEndian, as: UInt32.self)
            out.storeBytes(of: file.littleEndian, toByteOffset: 8, as: UInt64.self)
            out.storeBytes(of: number.littleEndian, toByteOffset: 16, as: UInt64.self)
            out.storeBytes(of: firstLSN.littleEndian, toByteOffset: 24, as: UInt64.self)
            out.storeBytes(of: lastLSN.littleEndian, toByteOffset: 32, as: UInt64.self)
            out.storeBytes(of: UInt64(byteCount).littleEndian, toByteOffset: 40, as: UInt64.self)
            out.storeBytes(of: salt.littleEndian, toByteOffset: 48, as: UInt64.self)
            let checksum = Checksum.of(UnsafeRawBufferPointer(start: out + 8, count: batchHeaderLength - 8))
            out.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
        }

        /// nil where there is no undamaged batch header.
        static func decode(_ bytes: UnsafeRawBufferPointer) -> BatchHeader? {
            guard bytes.count >= batchHeaderLength,
                UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt32.self)) == batchMagic,
                UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
                    == Checksum.of(UnsafeRawBufferPointer(rebasing: bytes[8..<batchHeaderLength]))
            else { return nil }
            func load(_ offset: Int) -> UInt64 { UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) }
            guard let count = Int(exactly: load(40)) else { return nil }
            return BatchHeader(
                file: load(8), number: load(16), firstLSN: load(24), lastLSN: load(32), byteCount: count, salt: load(48))
        }
    }
}
