// The fuzzer's way in: libFuzzer calls this with bytes that it varies to reach new branches. Built by Tests/Fuzz/run-http-fuzz only, with
// -sanitize=fuzzer,address; no part of the package.
//
//     first octet    arrivals: 1 to 64 bytes at a time
//     the rest       what comes from a connection
//
// Checked: nothing crashes and no octet outside the input is read (each reading has its own copy, so that the sanitizer sees its ends);
// ranges lie within the head (Transcript); the reading does not depend on the arrivals; a refused connection stays refused when more
// arrives; what was accepted can be written down and read again as the same message.

import HTTPWire
import HTTPWireTesting

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    guard let data, count > 0 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: data + 1, count: count - 1))
    let step = 1 + Int(data[0] & 63)

    for limits in [WireLimits(), tightLimits()] {
        let whole = Transcript(of: bytes, limits: limits)
        for step in [1, step] {
            let pieces = Transcript(of: bytes, step: step, limits: limits)
            precondition(pieces.messages == whole.messages, "the messages depend on the arrivals")
            precondition(pieces.end == whole.end, "the end depends on the arrivals")
        }
        if case .refused = whole.end {
            let more = Transcript(of: bytes + Array("\r\n\r\nGET / HTTP/1.1\r\n".utf8), limits: limits)
            precondition(more.messages == whole.messages && more.end == whole.end, "more bytes change a refusal")
        }
        for message in whole.messages { checkWrittenAgain(message, limits) }
    }
    bytes.withUnsafeBytes { buffer in
        _ = FieldName.recognize(buffer)
        _ = Method.recognize(buffer)
        _ = Authority.isValid(buffer, in: 0..<buffer.count, hostMayBeEmpty: true)
    }
    return 0
}

/// Bounds so small that short inputs meet them.
private func tightLimits() -> WireLimits {
    var limits = WireLimits()
    limits.headBytes = 128
    limits.targetBytes = 24
    limits.fieldCount = 4
    limits.emptyLines = 1
    limits.chunkLineBytes = 12
    limits.chunkExcessBytes = 8
    limits.trailerBytes = 16
    return limits
}

/// Writes the message in the simplest way and expects to read the same again.
private func checkWrittenAgain(_ message: Transcript.Message, _ limits: WireLimits) {
    var bytes = message.methodText + [0x20]
    if let authority = message.authority { bytes += Array("http://".utf8) + authority }
    bytes += message.target + Array(" HTTP/1.\(message.minorVersion)\r\n".utf8)
    for field in message.fields { bytes += field.name + Array(":".utf8) + field.value + Array("\r\n".utf8) }
    bytes += Array("\r\n".utf8)
    switch message.framing {
    case .none, .length: bytes += message.content
    case .chunked:
        if !message.content.isEmpty {
            bytes += Array(String(message.content.count, radix: 16).utf8) + Array("\r\n".utf8) + message.content + Array("\r\n".utf8)
        }
        bytes += Array("0\r\n\r\n".utf8)
    }
    let again = Transcript(of: bytes, limits: limits)
    var expected = message
    expected.end = bytes.count
    precondition(again.messages == [expected], "a message written again is read differently")
    precondition(again.end == (message.keepAlive ? .clean : .closed), "a message written again ends differently")
}
