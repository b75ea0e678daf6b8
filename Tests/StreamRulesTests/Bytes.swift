import StreamRules

/// Lends the bytes of a text.
func withBytes<R>(_ text: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    withBytes(Array(text.utf8), body)
}

/// Lends the bytes of an array, without any behind them that a test could read by mistake and go unnoticed.
func withBytes<R>(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    return body(UnsafeRawBufferPointer(buffer))
}

/// What a writer makes of a target of `count` bytes; the bytes behind it must stay.
func written(_ count: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xAA, count: count + 8)
    let length = bytes.withUnsafeMutableBytes { body(UnsafeMutableRawBufferPointer(rebasing: $0[..<count])) }
    guard length == count, bytes[count...].allSatisfy({ $0 == 0xAA }) else { return nil }
    return Array(bytes[..<count])
}
