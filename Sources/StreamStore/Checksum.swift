// CRC32C (Castagnoli), computed by ISA-L with the processor's own instructions. Values are the standard ones
// (`Checksum.of("123456789") == 0xe3069283`), so other tools can check our files.

import CISAL

public enum Checksum {
    @inline(__always)
    public static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 { extend(0, with: bytes) }

    /// The checksum of what `checksum` covers followed by `bytes`.
    public static func extend(_ checksum: UInt32, with bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = ~checksum
        var position = 0
        while position < bytes.count {
            let count = min(bytes.count - position, 1 << 30)
            let pointer = bytes.baseAddress!.advanced(by: position).assumingMemoryBound(to: UInt8.self)
            crc = crc32_iscsi(UnsafeMutablePointer(mutating: pointer), Int32(count), crc)
            position += count
        }
        return ~crc
    }
}
