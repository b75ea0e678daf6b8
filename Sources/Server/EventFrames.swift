// Bytes of an event stream as every transport takes them, made once and shared by reference:
//
//     1F4␍␊ event: data␊ … ␊␊ ␍␊        one block
//     ├ header ┤├──── bare ────┤           bare: HTTP/2 and HTTP/1.0
//     ├────────── chunked ────────┤        chunked: HTTP/1.1 (RFC 9112 7.1)
//
// An event may be one chunk or several: each chunk has a bounded size, and the last one of an orderly end is empty. A stream that is cut, inside
// an event or between two, lacks that one, and clients see that something is missing.

import StreamRules
import StreamStore

/// A piece of an event stream.
struct EventFrames {
    private let block: OwnedBytes
    private let headerCount: UInt8

    /// What ends an event stream that is chunked.
    static let lastChunk: [UInt8] = Array("0\r\n\r\n".utf8)

    var count: Int { block.count }
    var chunked: ByteSlice { ByteSlice(block: block, offset: 0, count: block.count) }
    var bare: ByteSlice { ByteSlice(block: block, offset: Int(headerCount), count: block.count - Int(headerCount) - 2) }

    /// Copies `bytes`, of which there is at least one: an empty chunk would be the end.
    init(_ bytes: UnsafeRawBufferPointer) {
        precondition(!bytes.isEmpty, "an empty chunk ends the body")
        let digits = (Int.bitWidth - bytes.count.leadingZeroBitCount + 3) / 4
        block = OwnedBytes(capacity: digits + bytes.count + 4)
        headerCount = UInt8(digits + 2)
        var place = block.base
        for index in (0..<digits).reversed() {
            let digit = UInt8(truncatingIfNeeded: bytes.count >> (4 * index)) & 0xF
            place.storeBytes(of: digit < 10 ? digit + 0x30 : digit + 0x37, as: UInt8.self)
            place += 1
        }
        place.storeBytes(of: UInt16(0x0A0D).littleEndian, as: UInt16.self)
        (place + 2).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        (place + 2 + bytes.count).storeBytes(of: UInt16(0x0A0D).littleEndian, as: UInt16.self)
        block.count = digits + bytes.count + 4
    }
}
