// Reads cases from standard input and prints what HTTPWire makes of each, one JSON object per line, for Tests/Fuzz/differential.mjs.
//
//     case      4 bytes length, little-endian | bytes of a connection
//     answer    {"messages":[{"method":"474554",…}],"end":"refused","status":400,"reason":"…"}      all texts in hexadecimal
//
// Each case is read whole and byte by byte; a difference between the two ends the program.

import Glibc
import HTTPWire
import HTTPWireTesting

func hex(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef")
    var text = "\""
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return text + "\""
}

func json(_ message: Transcript.Message) -> String {
    let fields = message.fields.map { "[\(hex($0.name)),\(hex($0.value))]" }.joined(separator: ",")
    let framing =
        switch message.framing {
        case .none: "none"
        case .length(let length): "length \(length)"
        case .chunked: "chunked"
        }
    return """
        {"method":\(hex(message.methodText)),"target":\(hex(message.target)),"authority":\(message.authority.map { hex($0) } ?? "null"),\
        "minor":\(message.minorVersion),"fields":[\(fields)],"framing":"\(framing)","keepAlive":\(message.keepAlive),\
        "content":\(hex(message.content)),"at":\(message.end)}
        """
}

func json(_ transcript: Transcript) -> String {
    let end =
        switch transcript.end {
        case .clean: #""end":"clean""#
        case .incomplete: #""end":"incomplete""#
        case .closed: #""end":"closed""#
        case .refused(let refusal): #""end":"refused","status":\#(refusal.status),"reason":\#(hex(refusal.reason.utf8))"#
        }
    return "{\"messages\":[\(transcript.messages.map(json).joined(separator: ","))],\(end)}"
}

/// Exactly `count` bytes, or nil at the end of the input.
func take(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
        let received = bytes.withUnsafeMutableBytes { Glibc.read(STDIN_FILENO, $0.baseAddress! + filled, count - filled) }
        guard received > 0 else { return nil }
        filled += received
    }
    return bytes
}

while let prefix = take(4) {
    let length = prefix.reversed().reduce(0) { $0 << 8 | Int($1) }
    guard let bytes = take(length) else { fatalError("the last case is cut off") }
    let whole = Transcript(of: bytes)
    let pieces = Transcript(of: bytes, step: 1)
    guard whole.messages == pieces.messages, whole.end == pieces.end else { fatalError("whole and byte by byte differ: \(bytes)") }
    print(json(whole))
}
